//! CPU time and other usage.
//!
//! Time is counted at context switches. All of it counts as user time of the task: splitting it would cost
//! every system call two clock reads.

use super::{Process, Task};
use crate::arch::clock;
use core::sync::atomic::Ordering;

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in ring 3, ns.
    pub user_ns: u64,
    /// CPU time in ring 0, ns.
    pub system_ns: u64,
    /// Page faults without I/O.
    pub minor_faults: u64,
    /// Page faults with I/O.
    pub major_faults: u64,
    /// Times the CPU was given up.
    pub voluntary: u64,
    /// Times the CPU was taken.
    pub involuntary: u64,
    /// Most memory resident, KiB.
    pub max_rss: u64,
}

impl Usage {
    /// The sum.
    pub fn add(&mut self, other: &Self) {
        self.user_ns += other.user_ns;
        self.system_ns += other.system_ns;
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.max_rss = self.max_rss.max(other.max_rss);
    }

    /// User and system time in ticks of a hundredth of a second.
    #[must_use]
    pub const fn ticks(&self) -> [u64; 2] {
        [self.user_ns / 10_000_000, self.system_ns / 10_000_000]
    }
}

impl Task {
    /// CPU time used so far, ns.
    #[must_use]
    pub fn cpu_ns(&self) -> u64 {
        self.sched.clock.read(clock::monotonic_ns())
    }

    /// What it used.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            user_ns: self.cpu_ns(),
            voluntary: self.sched.switches[0].load(Ordering::Relaxed),
            involuntary: self.sched.switches[1].load(Ordering::Relaxed),
            ..Usage::default()
        }
    }
}

impl Process {
    /// What all its threads used, those that are gone included.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let inner = self.inner.lock();
        let mut sum = inner.dead;
        for task in &inner.threads {
            sum.add(&task.usage());
        }
        sum.minor_faults = self.faults[0].load(Ordering::Relaxed);
        sum.major_faults = self.faults[1].load(Ordering::Relaxed);
        sum
    }

    /// What children that were waited for used.
    #[must_use]
    pub fn children_usage(&self) -> Usage {
        self.inner.lock().children
    }
}
