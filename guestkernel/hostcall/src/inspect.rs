//! What the sentry tells of itself when it is asked: figures, and where its threads are; what it shows of limits.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Figures of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Threads that there are.
    pub tasks: u64,
    /// Most that there may be.
    pub most_tasks: u64,
    /// Memory that programs and the sentry's own objects can have altogether, bytes.
    pub memory: u64,
    /// Of it, what is not in use, bytes.
    pub memory_free: u64,
    /// Of that, what was never used, bytes.
    pub memory_fresh: u64,
    /// Processes that were killed for want of memory.
    pub oom_kills: u64,
    /// Calls that are absent and were asked for: number and count.
    pub absent: Vec<(u32, u32)>,
}

/// A thread, as a list shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadInfo {
    /// Its process.
    pub pid: u32,
    /// Its id.
    pub tid: u32,
    /// The letter of `/proc/PID/stat`.
    pub state: u8,
    /// The vCPU that it runs on or ran on last.
    pub cpu: u32,
    /// It runs at this moment; then nothing is known of the next two.
    pub running: bool,
    /// The system call that it is in.
    pub call: Option<u32>,
    /// Where it waits in the sentry, innermost first: addresses as linked.
    pub stack: Vec<u64>,
    /// CPU time used, ms.
    pub cpu_ms: u64,
    /// How often it gave the CPU up by itself, and how often it was made to.
    pub switches: (u64, u64),
    /// Name.
    pub name: Vec<u8>,
}

/// Limits that the sentry does not keep itself, for the files of the container's control group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupLimits {
    /// Memory in bytes, `u64::MAX` for no limit; `None` as before, at first none.
    pub memory: Option<u64>,
    /// CPU time of a period, `u64::MAX` for no limit, and the period, µs; `None` as before, at first none.
    pub cpu: Option<(u64, u64)>,
}
