//! Clock ids.
//!
//! Non-negative ids name the machine's clocks, negative ones the CPU time of a process or thread: the complement of
//! its id times eight, a bit for threads, and which of its times.

use alloc::sync::{Arc, Weak};

use crate::{
    arch::clock,
    errno::{Errno, Result},
    task::{Process, Task, current, times::Usage, tree},
};

/// Resolution of the coarse clocks and of sampled CPU time, ns.
pub const COARSE_NS: u64 = 4_000_000;
const THREAD: i32 = 4;
const WHICH: i32 = 3;
/// The low bits of an id that names a clock device by its descriptor; there are none.
const DEVICE: i32 = 3;

/// Which of a process's or thread's CPU times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// In both rings.
    Prof,
    /// In ring 3.
    Virt,
    /// In both, as exactly as it is known.
    Sched,
}

/// Whose CPU time.
#[derive(Clone, Debug)]
pub enum Owner {
    /// All threads of a process.
    Process(Arc<Process>),
    /// One thread of a process; a clock does not keep it alive.
    Thread(Weak<Task>, Arc<Process>),
}

impl Owner {
    /// This thread.
    #[must_use]
    pub fn thread(task: &Arc<Task>) -> Self {
        Self::Thread(Arc::downgrade(task), task.process.clone())
    }
}

/// A CPU-time clock.
#[derive(Clone, Debug)]
pub struct CpuClock {
    /// Whose.
    pub owner: Owner,
    /// Which.
    pub kind: Kind,
}

impl CpuClock {
    /// CPU time so far, ns.
    #[must_use]
    pub fn now(&self) -> u64 {
        let usage = match &self.owner {
            Owner::Process(process) => process.usage(),
            Owner::Thread(task, _) => task.upgrade().map_or_else(Usage::default, |task| task.usage()),
        };
        match self.kind {
            Kind::Virt => usage.user_ns,
            Kind::Prof | Kind::Sched => usage.user_ns + usage.system_ns,
        }
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        match &self.owner {
            Owner::Process(process) | Owner::Thread(_, process) => process,
        }
    }
}

/// A clock.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The time of day: `CLOCK_REALTIME`, `CLOCK_TAI`.
    Wall,
    /// Time since the machine started: `CLOCK_MONOTONIC`, `CLOCK_BOOTTIME`.
    Machine,
    /// As `Wall`; would wake a suspended machine.
    WallAlarm,
    /// As `Machine`; would wake a suspended machine.
    MachineAlarm,
    /// `CLOCK_MONOTONIC_RAW`: read, but not waited for.
    Raw,
    /// `CLOCK_REALTIME_COARSE`.
    WallCoarse,
    /// `CLOCK_MONOTONIC_COARSE`.
    MachineCoarse,
    /// `CLOCK_THREAD_CPUTIME_ID`: not slept on.
    OwnThread(CpuClock),
    /// CPU time.
    Cpu(CpuClock),
}

impl Clock {
    /// The clock of an id. `reading`: a process may be named by its caller's thread id.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn find(id: i32, reading: bool) -> Result<Self> {
        Ok(match id {
            0 | 11 => Self::Wall,
            1 | 7 => Self::Machine,
            2 => Self::Cpu(CpuClock { owner: Owner::Process(current().process.clone()), kind: Kind::Sched }),
            3 => Self::OwnThread(CpuClock { owner: Owner::thread(&current().arc()), kind: Kind::Sched }),
            4 => Self::Raw,
            5 => Self::WallCoarse,
            6 => Self::MachineCoarse,
            8 => Self::WallAlarm,
            9 => Self::MachineAlarm,
            ..0 => Self::Cpu(cpu_clock(id, reading)?),
            _ => return Err(Errno::EINVAL),
        })
    }

    /// Its time, ns.
    #[must_use]
    pub fn now(&self) -> u64 {
        match self {
            Self::Wall | Self::WallAlarm => clock::realtime_ns(),
            Self::WallCoarse => clock::realtime_ns() / COARSE_NS * COARSE_NS,
            Self::Machine | Self::MachineAlarm | Self::Raw => clock::monotonic_ns(),
            Self::MachineCoarse => clock::monotonic_ns() / COARSE_NS * COARSE_NS,
            Self::OwnThread(cpu) | Self::Cpu(cpu) => cpu.now(),
        }
    }

    /// Its resolution, ns.
    #[must_use]
    pub const fn resolution(&self) -> u64 {
        match self {
            Self::WallCoarse | Self::MachineCoarse => COARSE_NS,
            Self::Cpu(CpuClock { kind: Kind::Prof | Kind::Virt, .. }) => COARSE_NS,
            _ => 1,
        }
    }

    /// Whether waiting on it takes `CAP_WAKE_ALARM`.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        matches!(self, Self::WallAlarm | Self::MachineAlarm)
    }

    /// Whether it can be waited for.
    #[must_use]
    pub const fn has_timers(&self) -> bool {
        !matches!(self, Self::Raw | Self::WallCoarse | Self::MachineCoarse)
    }

    /// The CPU time behind it.
    #[must_use]
    pub fn cpu(&self) -> Option<CpuClock> {
        match self {
            Self::OwnThread(cpu) | Self::Cpu(cpu) => Some(cpu.clone()),
            _ => None,
        }
    }

    /// The CLOCK_MONOTONIC time at which a clock that is not of CPU time shows `at`.
    #[must_use]
    pub fn to_monotonic(&self, at: u64) -> u64 {
        match self {
            Self::Wall | Self::WallAlarm => {
                clock::monotonic_ns().saturating_add(at.saturating_sub(clock::realtime_ns()))
            }
            _ => at,
        }
    }
}

/// The process or thread of a negative id.
fn cpu_clock(id: i32, reading: bool) -> Result<CpuClock> {
    let kind = match id & WHICH {
        0 => Kind::Prof,
        1 => Kind::Virt,
        2 => Kind::Sched,
        _ => return Err(Errno::EINVAL),
    };
    let me = current();
    let pid = !(id >> 3) as u32;
    let owner = if id & THREAD != 0 {
        let task = if pid == 0 { Some(me.arc()) } else { tree::task(pid) };
        let own = |task: &Arc<Task>| Arc::ptr_eq(&task.process, &me.process);
        Owner::thread(&task.filter(own).ok_or(Errno::EINVAL)?)
    } else if pid == 0 || reading && pid == me.tid() {
        Owner::Process(me.process.clone())
    } else {
        Owner::Process(tree::process(pid).ok_or(Errno::EINVAL)?)
    };
    Ok(CpuClock { owner, kind })
}

/// Whether the id names a clock device.
#[must_use]
pub const fn is_device(id: i32) -> bool {
    id < 0 && id & (WHICH | THREAD) == DEVICE
}

/// Whether a negative id names the calling thread, which cannot wait for its own CPU time.
#[must_use]
pub fn is_own_thread(id: i32) -> bool {
    let pid = !(id >> 3) as u32;
    id < 0 && id & THREAD != 0 && (pid == 0 || pid == current().tid())
}
