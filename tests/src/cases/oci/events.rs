//! Figures and events of a container.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, life::Life};
use crate::command::{finish, kill};

const STAYS: &str = "echo up; while :; do sleep 0.1; done";

pub(super) const CASES: &[(&str, Case)] = &[
    ("events/stats", |life| {
        life.bundle.config["linux"]["cgroupsPath"] = json!(format!("/oci-tests/{}", life.id));
        life.bundle.config["linux"]["resources"]["memory"] = json!({ "limit": 96 << 20 });
        life.bundle.config["linux"]["resources"]["pids"] = json!({ "limit": 40 });
        life.up(STAYS)?;
        let output = life.asks(&["events", "--stats", &life.id])?;
        let event: Value = serde_json::from_slice(&output.stdout).context("events")?;
        life.note("type", &event["type"]);
        life.note("its id", event["id"] == json!(life.id));
        let data = &event["data"];
        let mut shape = String::new();
        describe(data, "", &mut shape);
        life.lines.push_str(&shape);
        life.note(
            "memory",
            (&data["memory"]["usage"]["limit"], is_positive(&data["memory"]["usage"]["usage"])),
        );
        // The shell, and perhaps a sleep.
        let tasks = data["pids"]["current"].as_u64().unwrap_or(0);
        life.note("tasks", ((1..=2).contains(&tasks), &data["pids"]["limit"]));
        life.note("CPU time", is_positive(&data["cpu"]["usage"]["total"]));
        life.does(&["delete", "--force", &life.id])?;
        let _ = std::fs::remove_dir("/sys/fs/cgroup/oci-tests");
        Ok(())
    }),
    ("cgroup/inside", |life| {
        life.bundle.config["linux"]["cgroupsPath"] = json!(format!("/oci-tests/{}", life.id));
        life.bundle.config["linux"]["resources"]["memory"] = json!({ "limit": 96 << 20 });
        life.bundle.config["linux"]["resources"]["pids"] = json!({ "limit": 40 });
        life.bundle.config["linux"]["resources"]["cpu"] = json!({ "quota": 50_000, "period": 100_000 });
        life.up(
            "cd /sys/fs/cgroup; stat -f -c %t .; cat memory.max pids.max cpu.max cgroup.type cgroup.events; \
             cat memory.low memory.high cgroup.freeze; grep -c . cgroup.procs; grep -x 1 cgroup.procs; \
             for c in cpu memory pids; do grep -cw $c cgroup.controllers; done; \
             test $(cat memory.current) -gt 4096 && echo used; test $(cat pids.current) -lt 4 && echo few; \
             echo 1 >memory.max; mkdir x; awk '/^oom_kill /' memory.events; echo up; \
             trap 'cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/pids.max; echo seen' USR1; while :; do sleep 0.1; done",
        )?;
        let id = life.id.clone();
        life.does(&["update", "--cpu-quota", "70000", "--pids-limit", "30", &id])?;
        life.does(&["kill", &id, "USR1"])?;
        life.await_output("seen\n")?;
        life.does(&["delete", "--force", &id])?;
        let _ = std::fs::remove_dir("/sys/fs/cgroup/oci-tests");
        // What it may not do is worded by the shell, which says in which line.
        let output = life.output();
        life.note("inside", output);
        Ok(())
    }),
    ("events/nobody", |life| {
        life.tries("nobody", &["events", "--stats", "nobody-has-this"])?;
        life.up("echo up")?;
        life.await_status("stopped")?;
        let id = life.id.clone();
        life.tries("stopped", &["events", "--stats", &id])?;
        life.tries("interval", &["events", "--interval", "x", &id]).map(drop)
    }),
    ("events/stream", |life| {
        life.bundle.config["linux"]["cgroupsPath"] = json!(format!("/oci-tests/{}", life.id));
        life.bundle.config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
        life.up(STAYS)?;
        let id = life.id.clone();
        let command = life.start_command(&["events", "--interval", "500ms", &id])?;
        life.await_output("\"type\":\"stats\"")?;
        let status = life.status_of(&["exec", &id, "tail", "/dev/zero"])?;
        life.note("a process without memory", status);
        life.await_output("\"type\":\"oom\"")?;
        life.does(&["kill", &id, "KILL"])?;
        let ended = finish(command);
        life.note("it ends with the container", ended?.status.code());
        let lines = life.output();
        let mut events = lines.lines().filter(|line| line.starts_with('{'));
        let good = events
            .all(|line| serde_json::from_str::<Value>(line).is_ok_and(|event| event["id"] == json!(id)));
        life.note("each line is an event", good);
        life.does(&["delete", "--force", &id])?;
        let _ = std::fs::remove_dir("/sys/fs/cgroup/oci-tests");
        Ok(())
    }),
];

fn is_positive(value: &Value) -> bool {
    value.as_u64().is_some_and(|number| number > 0)
}

/// Which fields there are that are always there: what is zero is left out.
fn describe(value: &Value, path: &str, into: &mut String) {
    let Some(object) = value.as_object() else { return };
    for (name, inner) in object {
        let name = format!("{path}.{name}");
        // What was read and written before depends on what the page cache had, and a peak or a limit reached on luck.
        let by_chance = ["blkio.", ".cache", ".max", ".failcnt", ".throttling.", ".percpu"];
        if by_chance.iter().any(|part| name.contains(part)) {
            continue;
        }
        if !inner.is_object() {
            into.push_str(&format!("field {name}\n"));
        }
        describe(inner, &name, into);
    }
}

/// What else there is to see of a sandbox: its tasks' stacks, its counters, its calls; the level of its log.
pub(in crate::cases) fn debug() -> Result<String> {
    let program = crate::command::runtime();
    let mut bundle = crate::bundle::Bundle::new("debug", &["true"])?;
    let mut life = Life::new(&program, &mut bundle);
    life.up("echo up; sleep 300 & while :; do sleep 0.1; done")?;
    let asks = |words: &[&str]| -> Result<String> {
        let output = life.asks(words)?;
        ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let id = life.id.as_str();
    let all = asks(&["debug", id])?;
    for text in [
        "hostcall        Created 1\n",
        "exits of vCPU 0 ",
        "(sleep): S, in system call ",
        "log level       info\n",
    ] {
        ensure!(all.contains(text), "no {text:?} in {all}");
    }
    let stacks = asks(&["debug", "--stacks", id])?;
    // What sleeps lies in the scheduler, however much was inlined.
    ensure!(stacks.contains("guestkernel::task::sched::"), "{stacks}");
    ensure!(!stacks.contains("hostcall"), "{stacks}");
    ensure!(asks(&["debug", "--log-level", "debug", id])?.is_empty(), "setting the level prints something");
    ensure!(
        asks(&["debug", "--counters", id])?.contains("log level       debug\n"),
        "the level is as before"
    );
    let path = life.bundle.path.join("trace");
    let file = path.to_str().context("path")?.to_owned();
    let trace = life.start_command(&["strace", "--output", &file, id])?;
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    life.until("a call", || Ok(read().contains("execve(\"/proc/self/exe\", [\"sleep\", \"0.1\"]")))?;
    kill(trace.id(), libc::SIGINT);
    let status = finish(trace)?.status;
    ensure!(status.success(), "{status}");
    // Nobody looks any more: calls cost nothing again.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let before = read().len();
    std::thread::sleep(std::time::Duration::from_millis(500));
    ensure!(read().len() == before, "calls are printed though nobody asks");
    let lines = read().lines().count();
    ensure!(life.status_of(&["debug", "nobody-has-this"])? == Some(1), "debug of nobody");
    Ok(format!("{} lines of stacks, {lines} calls", stacks.lines().count()))
}
