//! `/sys/fs/cgroup`: the container's own control group, as cgroups(7) of version 2 shows it.
//!
//! Runtimes of languages size their heaps and pools by these files (`memory.max`, `cpu.max`, `pids.max`). There is what the
//! sentry knows: limits as the bundle or `update` gave them, and what is used inside. What the host charges the sandbox
//! process with is not among it, so there is no `cpu.stat`, `io.stat` or `memory.stat`. Nothing can be changed.

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU64, Ordering};

use hostcall::CgroupLimits;
use linux_raw_sys::general::DT_REG;

use super::{
    anon,
    inode::Inode,
    static_fs::{Node, Owner, Table, What},
};
use crate::{errno::Errno, mem::frame, mm::oom, task::tree};

/// `CGROUP2_SUPER_MAGIC`.
const MAGIC: u64 = 0x6367_7270;
const FILE: u8 = DT_REG as u8;
/// Stands for no limit.
const NONE: u64 = u64::MAX;

/// The limit of memory, bytes.
static MEMORY: AtomicU64 = AtomicU64::new(NONE);
/// CPU time of a period, and the period, µs.
static QUOTA: AtomicU64 = AtomicU64::new(NONE);
static PERIOD: AtomicU64 = AtomicU64::new(100_000);

/// Takes the limits that are given; others stay.
pub fn limit(limits: &CgroupLimits) {
    if let Some(memory) = limits.memory {
        MEMORY.store(memory, Ordering::Relaxed);
    }
    if let Some((quota, period)) = limits.cpu {
        QUOTA.store(quota, Ordering::Relaxed);
        PERIOD.store(period, Ordering::Relaxed);
    }
}

/// A limit in words.
fn most(value: u64) -> String {
    if value == NONE { "max".into() } else { format!("{value}") }
}

fn owner() -> Owner {
    static DEV: spin::Once<u64> = spin::Once::new();
    Owner { dev: *DEV.call_once(anon::next_dev), magic: MAGIC, uid: 0, gid: 0 }
}

fn text(ino: u64, read: fn() -> String) -> Arc<Node> {
    Node::new(owner(), ino, 0o444, What::Text(Box::new(move || Ok(read().into_bytes()))))
}

/// A file that could be changed if this were the host's group.
fn fixed(ino: u64, read: fn() -> String) -> Arc<Node> {
    let what = What::Setting(Box::new(move || Ok(read().into_bytes())), Box::new(|_| Err(Errno::EPERM)));
    Node::new(owner(), ino, 0o644, what)
}

fn lines(ids: impl Iterator<Item = u32>) -> String {
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids.iter().map(|id| format!("{id}\n")).collect()
}

/// Files with what they say. Inode numbers follow from their places.
macro_rules! files {
    ($(($name:literal, $ino:literal, $make:ident, $read:expr),)*) => {
        [$(($name, FILE, || $make($ino, $read)),)*]
    };
}

/// The directory.
#[must_use]
pub fn root() -> Arc<dyn Inode> {
    let table = Table::new(files![
        (b"cgroup.controllers", 2, text, || "cpu memory pids\n".into()),
        (b"cgroup.events", 3, text, || "populated 1\nfrozen 0\n".into()),
        (b"cgroup.freeze", 4, fixed, || "0\n".into()),
        (b"cgroup.max.depth", 5, fixed, || "max\n".into()),
        (b"cgroup.max.descendants", 6, fixed, || "max\n".into()),
        (b"cgroup.procs", 7, fixed, processes),
        (b"cgroup.stat", 8, text, || "nr_descendants 0\nnr_dying_descendants 0\n".into()),
        (b"cgroup.subtree_control", 9, fixed, String::new),
        (b"cgroup.threads", 10, fixed, || lines(tree::lock().tasks().map(|task| task.tid()))),
        (b"cgroup.type", 11, fixed, || "domain\n".into()),
        (b"cpu.max", 12, fixed, || {
            format!("{} {}\n", most(QUOTA.load(Ordering::Relaxed)), PERIOD.load(Ordering::Relaxed))
        }),
        (b"memory.current", 13, text, || {
            let memory = frame::stats();
            format!("{}\n", memory.total.saturating_sub(memory.free))
        }),
        (b"memory.events", 14, text, events),
        (b"memory.events.local", 15, text, events),
        (b"memory.high", 16, fixed, || "max\n".into()),
        (b"memory.low", 17, fixed, || "0\n".into()),
        (b"memory.max", 18, fixed, || format!("{}\n", most(MEMORY.load(Ordering::Relaxed)))),
        (b"memory.min", 19, fixed, || "0\n".into()),
        (b"memory.oom.group", 20, fixed, || "0\n".into()),
        (b"memory.swap.current", 21, text, || "0\n".into()),
        (b"memory.swap.max", 22, fixed, || "0\n".into()),
        (b"pids.current", 23, text, || format!("{}\n", tree::lock().task_count())),
        (b"pids.max", 24, fixed, || {
            let limit = tree::lock().most();
            format!("{}\n", most(if limit < tree::TASKS_MAX { limit as u64 } else { NONE }))
        }),
    ]);
    Node::new(owner(), 1, 0o755, What::Dir(Box::new(table)))
}

/// Those that have threads.
fn processes() -> String {
    let tree = tree::lock();
    lines(tree.nodes().filter(|node| node.zombie().is_none()).map(|node| node.process.pid))
}

/// The limit was met at least as often as a process was killed for it.
fn events() -> String {
    let kills = oom::kills();
    format!("low 0\nhigh 0\nmax {kills}\noom {kills}\noom_kill {kills}\noom_group_kill 0\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shown_as_linux_shows_them() {
        assert_eq!(most(NONE), "max");
        assert_eq!(most(5), "5");
        limit(&CgroupLimits { memory: Some(64 << 20), cpu: None });
        limit(&CgroupLimits { memory: None, cpu: Some((50_000, 100_000)) });
        assert_eq!(MEMORY.load(Ordering::Relaxed), 64 << 20);
        assert_eq!(QUOTA.load(Ordering::Relaxed), 50_000);
        limit(&CgroupLimits { memory: Some(NONE), cpu: Some((NONE, 100_000)) });
        assert_eq!(most(QUOTA.load(Ordering::Relaxed)), "max");
        assert_eq!(lines([3, 1].into_iter()), "1\n3\n");
    }
}
