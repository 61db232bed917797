//! What the sandbox process can do on the host: nothing but change the container's files.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result, ensure};

use super::life::sandbox_of;
use crate::{
    bundle::Bundle,
    command::{await_text, finish, id, kill, runtime, start},
};

/// `CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_FOWNER`, `CAP_FSETID`, `CAP_SETFCAP`.
const BROKER: u64 = 0x8000_001b;

/// The value of a line of a status file.
fn field<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name}"))?.trim())
}

/// Fails unless the thread whose status this is has no privileges and a system-call filter.
fn powerless(status: &str) -> Result<()> {
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        ensure!(field(status, set)? == "0000000000000000", "{set} is {}", field(status, set)?);
    }
    ensure!(field(status, "NoNewPrivs")? == "1", "NoNewPrivs is {}", field(status, "NoNewPrivs")?);
    ensure!(field(status, "Seccomp")? == "2", "Seccomp is {}", field(status, "Seccomp")?);
    Ok(())
}

/// The one thread with capabilities, on files.
fn broker(status: &str) -> Result<()> {
    for (set, expected) in
        [("CapInh", 0), ("CapPrm", BROKER), ("CapEff", BROKER), ("CapBnd", 0), ("CapAmb", 0)]
    {
        let value = u64::from_str_radix(field(status, set)?, 16)?;
        ensure!(value == expected, "the broker's {set} is {value:#x}");
    }
    ensure!(
        field(status, "NoNewPrivs")? == "1" && field(status, "Seccomp")? == "2",
        "the broker is not confined"
    );
    Ok(())
}

fn inspect(pid: u32) -> Result<String> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    powerless(&fs::read_to_string(process.join("status"))?)?;
    let (mut threads, mut brokers) = (0, 0);
    for task in fs::read_dir(process.join("task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let name = field(&status, "Name").unwrap_or("?");
        threads += 1;
        if name == "files" {
            brokers += 1;
            broker(&status)?;
        } else {
            powerless(&status).with_context(|| format!("thread {name}"))?;
        }
    }
    ensure!(brokers == 1, "{brokers} file brokers");
    for namespace in ["mnt", "ipc", "uts", "cgroup"] {
        let theirs = fs::read_link(process.join("ns").join(namespace))?;
        let ours = fs::read_link(format!("/proc/self/ns/{namespace}"))?;
        ensure!(theirs != ours, "it shares the caller's {namespace} namespace");
    }
    let root: Vec<_> = fs::read_dir(process.join("root"))?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(root.is_empty(), "its root holds {root:?}");
    let mounts = fs::read_to_string(process.join("mountinfo"))?;
    ensure!(mounts.lines().count() == 1, "its mounts: {mounts}");
    ensure!(mounts.contains(" ro,"), "its root can be written: {mounts}");
    ensure!(fs::write(process.join("root/x"), "").is_err(), "its root can be written");
    // No descriptor leads to a socket but that to the runtime and the control socket, nor to a directory of a mount that the caller has.
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let ours: BTreeSet<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    let mut sockets = BTreeSet::new();
    for entry in fs::read_dir(process.join("fd"))?.flatten() {
        let target = fs::read_link(entry.path())?.to_string_lossy().into_owned();
        if target.starts_with("socket:") {
            sockets.insert(target);
        } else if fs::metadata(entry.path()).is_ok_and(|data| data.is_dir()) {
            let info = fs::read_to_string(process.join("fdinfo").join(entry.file_name()))?;
            ensure!(!ours.contains(field(&info, "mnt_id")?), "a descriptor leads to the caller's {target}");
        }
    }
    ensure!(sockets.len() <= 2, "sockets: {sockets:?}");
    Ok(format!("{threads} threads"))
}

pub(super) fn jail() -> Result<String> {
    let bundle = Bundle::new("jail", &["sh", "-c", "echo up; exec sleep 30"])?;
    let mut child = start(&runtime(), &bundle.path, &id())?;
    let up = await_text(&mut child, &mut Vec::new(), "up\n");
    let sandbox = sandbox_of(child.id()).context("no sandbox process");
    let result = up.and(sandbox).and_then(inspect);
    kill(child.id(), libc::SIGKILL);
    let _ = finish(child)?;
    result
}
