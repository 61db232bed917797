//! What config.json says of the process: user, limits, capabilities, CPUs; and signals to it.

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{agree, same};
use crate::{
    bundle::Bundle,
    command::{await_text, finish, id, kill, run, run_under, runtime, start},
};

/// A bundle whose shell runs `script`, with a change to `process`.
fn shell(name: &str, script: &str, change: impl Fn(&mut Value)) -> Result<Bundle> {
    let mut bundle = Bundle::new(name, &["sh", "-c", script])?;
    fs::set_permissions(bundle.file("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::write(bundle.file("root/secret"), "secret\n")?;
    fs::set_permissions(bundle.file("root"), fs::Permissions::from_mode(0o700))?;
    change(&mut bundle.config["process"]);
    bundle.write()?;
    Ok(bundle)
}

pub(super) fn user_and_groups() -> Result<String> {
    let script = "exec 2>&1; id; umask; cd /tmp; touch f; mkdir d; stat -c '%n %a %u %g' f d; cat /root/secret; \
                  ls /root; touch /x; echo $?; rm /bin/sh; echo $?; chmod 777 /bin; echo $?; chgrp 20 f; echo $?; \
                  chgrp 30 f; echo $?; chown 0 f; echo $?; stat -c '%u %g' f; kill -0 1; echo $?; \
                  grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs)' /proc/self/status; \
                  stat -c '%U %u' /proc/self; whoami; groups; (umask 077; touch p; stat -c %a p); \
                  echo to-stderr >/dev/stderr; cat /proc/1/environ >/dev/null; echo $?; su -c id; echo $?";
    let users = [
        json!({ "uid": 1000, "gid": 1000, "additionalGids": [10, 20], "umask": 0o027 }),
        json!({ "uid": 1000, "gid": 0 }),
        json!({ "uid": 0, "gid": 1000, "additionalGids": [7], "umask": 0 }),
    ];
    for user in &users {
        same(|| shell("user", script, |process| process["user"] = user.clone()), str::to_owned)
            .with_context(|| user.to_string())?;
    }
    Ok(format!("{} users", users.len()))
}

pub(super) fn rlimits() -> Result<String> {
    let limits = [
        ("NOFILE", 100, 200),
        ("CORE", 0, 4096),
        ("STACK", 4 << 20, 6 << 20),
        ("FSIZE", 64 << 10, 128 << 10),
        ("NPROC", 500, 600),
        ("CPU", 100, 200),
        ("DATA", 256 << 20, 512 << 20),
        ("MEMLOCK", 32 << 10, 64 << 10),
        ("SIGPENDING", 100, 200),
        ("MSGQUEUE", 8192, 16384),
        ("NICE", 5, 6),
        ("RTPRIO", 1, 2),
    ];
    let limits: Vec<_> = limits
        .iter()
        .map(|(name, soft, hard)| json!({ "type": format!("RLIMIT_{name}"), "soft": soft, "hard": hard }))
        .collect();
    let script = "exec 2>&1; cd /tmp; for o in n c s f p t v d l e r; do echo $o $(ulimit -S$o) $(ulimit -H$o); done; \
                  grep -vE '^Max (resident|file locks|realtime timeout)' /proc/self/limits; \
                  dd if=/dev/zero of=f bs=1k count=100; echo $?; stat -c %s f; \
                  sh -c 'i=3; while [ $i -lt 120 ]; do eval \"exec $i</dev/null\" || exit; i=$((i+1)); done; echo $i'; \
                  echo $?; ulimit -n 150; ulimit -n; sh -c 'ulimit -Sn; ulimit -Hn 10; ulimit -n 11; ulimit -n'; ulimit -n 151; echo $?; \
                  f() { f; }; sh -c 'f() { f; }; f'; echo $?";
    same(|| shell("limits", script, |process| process["rlimits"] = json!(limits)), str::to_owned)
}

pub(super) fn capabilities() -> Result<String> {
    let script = "exec 2>&1; cd /tmp; grep -E '^(Cap...|NoNewPrivs)' /proc/self/status; touch f; chown 5:6 f; echo $?; \
                  stat -c '%u %g' f; chmod 0 f; cat f; echo $?; chmod 600 f; echo $?; mknod n c 1 3; echo $?; \
                  cat /tmp/other; echo $?; hostname x; echo $?; kill -0 1; echo $?; nice -n -5 true; echo $?; \
                  chroot / /bin/true; echo $?; ls other-dir; echo $?; rm other-dir/f; echo $?";
    let all = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETUID", "SETGID", "SYS_CHROOT"]
        .map(|name| format!("CAP_{name}"));
    let sets = [vec![], all.to_vec(), vec!["CAP_CHOWN".into()], vec!["CAP_DAC_OVERRIDE".into()]];
    for set in &sets {
        let make = || {
            let bundle = shell("caps", script, |process| {
                process["capabilities"] =
                    json!({ "bounding": set, "effective": set, "permitted": set, "ambient": set });
                process["noNewPrivileges"] = json!(false);
            })?;
            fs::write(bundle.file("tmp/other"), "other\n")?;
            fs::create_dir(bundle.file("tmp/other-dir"))?;
            fs::write(bundle.file("tmp/other-dir/f"), "")?;
            for (path, mode) in [("tmp/other", 0o600), ("tmp/other-dir", 0o700)] {
                std::os::unix::fs::chown(bundle.file(path), Some(77), Some(77))?;
                fs::set_permissions(bundle.file(path), fs::Permissions::from_mode(mode))?;
            }
            Ok(bundle)
        };
        same(make, str::to_owned).with_context(|| format!("{set:?}"))?;
    }
    Ok(format!("{} sets", sets.len()))
}

pub(super) fn several_cpus() -> Result<String> {
    let script = "nproc; \
                  spin() { i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; echo $i; }; \
                  spin & spin & wait; spin | cat & (spin) & wait; echo end";
    let note = same(|| shell("cpus", script, |_| ()), str::to_owned)?;
    // The container has as many as the caller may use, numbered from 0, and sees no others.
    let allowed = allowed_cpus()?;
    let bundle = shell(
        "cpu",
        "nproc; grep -c ^processor /proc/cpuinfo; grep -c '^cpu[0-9]' /proc/stat; \
         grep Cpus_allowed_list /proc/self/status",
        |_| (),
    )?;
    for (count, list) in [(allowed.len(), allowed.clone()), (1, vec![allowed[0]])] {
        let list: Vec<String> = list.iter().map(u32::to_string).collect();
        let output = run_under(&["taskset", "-c", &list.join(",")], &runtime(), &bundle.path)?;
        let range = if count == 1 { "0".to_owned() } else { format!("0-{}", count - 1) };
        let expected = format!("{count}\n{count}\n{count}\nCpus_allowed_list:\t{range}\n");
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(text == expected, "on CPUs {list:?}: {text}");
    }
    Ok(format!("{note}; {} CPUs", allowed.len()))
}

/// The CPUs that this process may use.
fn allowed_cpus() -> Result<Vec<u32>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).context("no list")?;
    let mut cpus = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>()?..=last.parse::<u32>()?);
    }
    ensure!(!cpus.is_empty(), "no CPUs: {list}");
    Ok(cpus)
}

/// Starts a container that traps, sends what it waits for, and gives its output.
fn signalled(program: &str) -> Result<std::process::Output> {
    let script = "for s in HUP INT QUIT USR1 USR2 WINCH ALRM; do trap \"echo $s\" $s; done; \
                  trap 'echo got; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let bundle = shell("signals", script, |_| ())?;
    let mut child = start(program, &bundle.path, &id())?;
    let pid = child.id();
    let mut seen = Vec::new();
    let text = await_text(&mut child, &mut seen, "up\n");
    for (signal, word) in [
        (libc::SIGHUP, "HUP\n"),
        (libc::SIGINT, "INT\n"),
        (libc::SIGQUIT, "QUIT\n"),
        (libc::SIGUSR1, "USR1\n"),
        (libc::SIGUSR2, "USR2\n"),
        (libc::SIGALRM, "ALRM\n"),
    ] {
        if text.is_err() {
            break;
        }
        kill(pid, signal);
        await_text(&mut child, &mut seen, word)
            .with_context(|| format!("{program}: signal {signal} does not arrive"))?;
    }
    kill(pid, if text.is_ok() { libc::SIGTERM } else { libc::SIGKILL });
    let mut output = finish(child)?;
    text?;
    seen.append(&mut output.stdout);
    output.stdout = seen;
    Ok(output)
}

pub(super) fn signals_are_forwarded() -> Result<String> {
    let expected = signalled("runc")?;
    ensure!(expected.status.code() == Some(3), "runc: {}", expected.status);
    let note = agree(&expected, &signalled(&runtime())?, str::to_owned)?;
    // One that the container does not handle ends its first process only if it is not init's default.
    let bundle = shell("killed", "echo up; sleep 20; echo end", |_| ())?;
    let mut child = start(&runtime(), &bundle.path, &id())?;
    let mut seen = Vec::new();
    let up = await_text(&mut child, &mut seen, "up\n");
    kill(child.id(), libc::SIGKILL);
    let output = finish(child)?;
    up?;
    ensure!(output.stdout.is_empty(), "it goes on: {:?}", String::from_utf8_lossy(&output.stdout));
    run(&runtime(), &shell("after", "true", |_| ())?.path)?;
    Ok(note)
}
