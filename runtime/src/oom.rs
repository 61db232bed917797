//! The stand-in: how the host learns that the sentry killed a process for want of memory.
//!
//! Docker and Kubernetes ask the kernel: they watch `memory.events` of the container's cgroup (v1: `memory.oom_control`),
//! and the kernel counts only processes that it killed itself. A container's processes are none of the host's, so one of
//! the host's dies for each: a process of this program waits in the cgroup, and when the sandbox says that there was a
//! kill, it starts a child that takes memory until the cgroup's limit is reached. The kernel then kills that child, which
//! offers itself by its `oom_score_adj`.
//!
//! Both sides send packets of eight bytes: how many kills there were, and of how many the host knows. The stand-in ends
//! with the sandbox, whose socket closes.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair,
    sockopt::{Timeout, set_socket_timeout},
};

use crate::cgroup::{Cgroup, usage::number};

/// The variable of the environment by which the program knows that it is a stand-in; the cgroup's directory.
pub(crate) const STAND_IN_VARIABLE: &str = "RINGFENCE_STAND_IN";
/// The same for the child that is to die.
pub(crate) const VICTIM_VARIABLE: &str = "RINGFENCE_VICTIM";

/// How long a sandbox waits at its end until the host knows what it was told.
const PATIENCE: Duration = Duration::from_secs(3);
/// Least time from one death to the next.
const PAUSE: Duration = Duration::from_millis(100);
/// Most memory that is taken to reach the limit, bytes. What the sandbox could still take is no more than its own share
/// when the guest has all of its memory; where there is more the limit is not what the sentry ran into.
const MOST: u64 = 192 << 20;
/// What is taken beyond the limit: memory that can be dropped makes room for as much, bytes.
const BEYOND: u64 = 64 << 20;
/// Memory is taken in pieces of this, bytes.
const PIECE: usize = 1 << 20;

/// Starts a container's stand-in; the sandbox's end of the connection.
pub(crate) fn start(cgroup: &Cgroup) -> Result<Option<OwnedFd>> {
    let Some(directory) = cgroup.memory() else { return Ok(None) };
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .context("socketpair")?;
    set_socket_timeout(&ours, Timeout::Recv, Some(PATIENCE)).context("socket")?;
    let child = Command::new("/proc/self/exe")
        .arg0("ringfence-stand-in")
        .process_group(0)
        .env_clear()
        .env(STAND_IN_VARIABLE, directory)
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start the stand-in")?;
    cgroup.add(child.id())?;
    Ok(Some(ours))
}

/// Whether a process is a stand-in or its child: lists of a container's processes are without them.
pub(crate) fn is_one(pid: u32) -> bool {
    let mut title = Vec::new();
    let read =
        File::open(format!("/proc/{pid}/cmdline")).and_then(|file| file.take(64).read_to_end(&mut title));
    read.is_ok() && title.starts_with(b"ringfence-stand-in\0")
}

/// Main of a stand-in. Its standard input is the connection.
pub(crate) fn stand_in(directory: PathBuf) -> i32 {
    vmm::take_name();
    // Before the sandbox, whenever the host has to choose.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    let socket = std::io::stdin();
    let mut number = [0; 8];
    loop {
        match rustix::net::recv(socket.as_fd(), &mut number, RecvFlags::empty()) {
            Ok((_, 8)) => {}
            Err(rustix::io::Errno::INTR) => continue,
            _ => return 0,
        }
        // Kills that came meanwhile are told of by the same death.
        while let Ok((_, 8)) = rustix::net::recv(socket.as_fd(), &mut number, RecvFlags::DONTWAIT) {}
        die(&directory);
        if rustix::net::send(socket.as_fd(), &number, SendFlags::NOSIGNAL).is_err() {
            return 0;
        }
        thread::sleep(PAUSE);
    }
}

/// Has a child killed for want of memory.
fn die(directory: &Path) {
    // Without this the kernel would write the container's memory out first, as far as it has swap.
    let swap = directory.join("memory.swap.max");
    let before = fs::read_to_string(&swap).ok();
    if before.is_some() {
        let _ = fs::write(&swap, "0");
    }
    let child = Command::new("/proc/self/exe")
        .arg0("ringfence-stand-in")
        .env_clear()
        .env(VICTIM_VARIABLE, directory)
        .stdin(Stdio::null())
        .spawn();
    if let Ok(mut child) = child {
        let _ = child.wait();
    }
    if let Some(before) = before {
        let _ = fs::write(&swap, before);
    }
}

/// Main of the child: takes memory until it is killed, or until there is too much of it.
pub(crate) fn victim(directory: &Path) -> i32 {
    let read = |unified: &str, divided: &str| {
        number(&directory.join(unified)).or_else(|| number(&directory.join(divided)))
    };
    let limit = read("memory.max", "memory.limit_in_bytes").unwrap_or(u64::MAX);
    let used = read("memory.current", "memory.usage_in_bytes").unwrap_or(0);
    let room = limit.saturating_sub(used);
    if room > MOST {
        return 1;
    }
    let mut taken = Vec::new();
    while (taken.len() * PIECE) as u64 <= room + BEYOND {
        taken.push(std::hint::black_box(vec![1u8; PIECE]));
    }
    let _ = std::io::sink().write_all(taken.last().map_or(&[], Vec::as_slice));
    1
}
