//! What a container costs while it lives and leaves when it ends.

use std::{
    collections::BTreeSet,
    fs,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::scaled;
use crate::{
    bundle::Bundle,
    command::{await_text, finish, id, kill, run, runtime, start},
};

/// What a container could leave: processes of the runtime, mounts, cgroups, sockets, state.
pub(super) fn traces() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(program) = fs::read_link(entry.path().join("exe")) else { continue };
        if program.ends_with("ringfence") {
            found.insert(format!("process {name}"));
        }
    }
    for (what, path) in [("mount", "/proc/self/mounts"), ("socket", "/proc/net/unix")] {
        for line in fs::read_to_string(path)?.lines().filter(|line| line.contains("ringfence")) {
            found.insert(format!("{what} {line}"));
        }
    }
    for directory in ["/run/ringfence", "/sys/fs/cgroup"] {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            found.insert(entry.path().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

/// Fails unless what is there is what was there before, within a second.
pub(super) fn unchanged(before: &BTreeSet<String>) -> Result<()> {
    for _ in 0..50 {
        if traces()?.is_subset(before) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    let now = traces()?;
    ensure!(now.is_subset(before), "left: {:?}", now.difference(before).collect::<Vec<_>>());
    Ok(())
}

/// What `state`, `kill`, `list` and `delete` do to a container that runs, in lines.
fn commanded(program: &str) -> Result<String> {
    let script = "trap 'echo got TERM' TERM; trap 'echo got USR1' USR1; echo up; while :; do sleep 0.1; done";
    let bundle = Bundle::new("commands", &["sh", "-c", script])?;
    let (id, mut seen, mut lines) = (id(), Vec::new(), String::new());
    let command =
        |words: &[&str]| std::process::Command::new(program).args(words).output().context("command");
    let mut note = |what: &str, output: &std::process::Output| {
        lines.push_str(&format!("{what}: {:?}\n", output.status.code()));
    };
    note("state of nobody", &command(&["state", &id])?);
    note("kill of nobody", &command(&["kill", &id, "TERM"])?);
    note("delete of nobody", &command(&["delete", &id])?);
    note("delete of nobody, forced", &command(&["delete", "--force", &id])?);
    let mut child = start(program, &bundle.path, &id)?;
    await_text(&mut child, &mut seen, "up\n")?;
    let state = command(&["state", &id])?;
    note("state", &state);
    let state: serde_json::Value = serde_json::from_slice(&state.stdout)?;
    let listed = command(&["list", "--quiet"])?;
    note("list", &listed);
    let listed = String::from_utf8_lossy(&listed.stdout).lines().any(|line| line == id);
    for signal in ["TERM", "SIGUSR1", "15"] {
        note(signal, &command(&["kill", &id, signal])?);
        await_text(&mut child, &mut seen, "got ")?;
        await_text(&mut child, &mut seen, "\n")?;
    }
    note("no such signal", &command(&["kill", &id, "NONE"])?);
    note("delete while it runs", &command(&["delete", &id])?);
    note("the same id again", &run_named(program, &bundle.path, &id)?);
    note("kill", &command(&["kill", &id, "KILL"])?);
    let output = finish(child)?;
    note("run", &output);
    note("state afterwards", &command(&["state", &id])?);
    lines.push_str(&format!(
        "{} {} {} {listed}\n{}",
        state["status"],
        state["id"] == id.as_str(),
        state["pid"].as_u64().is_some_and(|pid| pid > 1),
        String::from_utf8_lossy(&seen)
    ));
    Ok(lines)
}

fn run_named(program: &str, bundle: &std::path::Path, id: &str) -> Result<std::process::Output> {
    finish(start(program, bundle, id)?)
}

/// The commands on a container that `run` holds in the foreground.
pub(super) fn commands() -> Result<String> {
    let (expected, got) = (commanded("runc")?, commanded(&runtime())?);
    match super::difference(&expected, &got) {
        Some(difference) => anyhow::bail!("{difference}"),
        None => Ok(format!("{} lines", got.lines().count())),
    }
}

pub(super) fn nothing_is_left() -> Result<String> {
    let bundle = Bundle::new("left", &["true"])?;
    let before = traces()?;
    let (sequence, together) = (scaled(100), scaled(20));
    for number in 0..sequence {
        let output = run(&runtime(), &bundle.path)?;
        ensure!(
            output.status.success(),
            "run {number}: {} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let children: Vec<_> =
        (0..together).map(|_| start(&runtime(), &bundle.path, &id())).collect::<Result<_>>()?;
    for child in children {
        let output = finish(child)?;
        ensure!(
            output.status.success(),
            "at once: {} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    unchanged(&before)?;
    Ok(format!("{sequence} in sequence, {together} at once"))
}

/// The sandbox process below a runtime process.
pub(super) fn sandbox_of(parent: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    // Where memory is limited, a process waits beside it that the host counts kills by.
    let stands_in = |pid: &&str| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable.starts_with(b"RINGFENCE_STAND_IN="))
    };
    children.split_whitespace().find(|pid| !stands_in(pid))?.parse().ok()
}

pub(super) fn nothing_is_left_after_kill() -> Result<String> {
    let bundle = Bundle::new("killed", &["sh", "-c", "while true; do (true); done"])?;
    let before = traces()?;
    let count = scaled(50);
    let mut random = 0x9e37_79b9u64;
    for _ in 0..count {
        let child = start(&runtime(), &bundle.path, &id())?;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        thread::sleep(Duration::from_millis(random >> 33 & 0x1ff));
        while sandbox_of(child.id()).is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        if let Some(pid) = sandbox_of(child.id()) {
            kill(pid, libc::SIGKILL);
        }
        let output = finish(child)?;
        ensure!(!output.status.success(), "a killed container succeeds");
    }
    unchanged(&before)?;
    Ok(format!("{count} times"))
}

/// A container that sleeps, and its sandbox process.
fn sleeper() -> Result<(Bundle, Child, u32)> {
    let bundle = Bundle::new("idle", &["sh", "-c", "echo up; exec sleep 300"])?;
    let mut child = start(&runtime(), &bundle.path, &id())?;
    let mut first = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().context("stdout")?, &mut first)
        .context("it does not start")?;
    thread::sleep(Duration::from_millis(500));
    let pid = sandbox_of(child.id()).context("no sandbox process")?;
    Ok((bundle, child, pid))
}

pub(super) fn idle_memory() -> Result<String> {
    let (_bundle, mut child, pid) = sleeper()?;
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let private: u64 = text
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    child.kill()?;
    let _ = finish(child)?;
    ensure!(private <= 16 << 10, "{private} KiB");
    Ok(format!("{private} KiB private"))
}

/// Time that all threads of a process have run, ns.
fn cpu_time(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).context(text)?;
    }
    Ok(sum)
}

/// An idle sandbox uses less than a thousandth of a CPU.
pub(super) fn idle_time() -> Result<String> {
    let (_bundle, mut child, pid) = sleeper()?;
    thread::sleep(Duration::from_secs(2));
    let (begin, before) = (Instant::now(), cpu_time(pid)?);
    thread::sleep(Duration::from_secs(10));
    let (time, used) = (begin.elapsed(), cpu_time(pid)? - before);
    child.kill()?;
    let _ = finish(child)?;
    ensure!(u128::from(used) * 1000 < time.as_nanos(), "{used} ns of {time:?}");
    Ok(format!("{used} ns in {} s", time.as_secs()))
}
