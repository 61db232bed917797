//! CPU time and other usage.
//!
//! Time is counted at context switches. How much of it was in which ring is estimated from samples, as Linux does:
//! timer interrupts note what they interrupted. Splitting it exactly would cost every system call two clock reads.

use super::{Process, Task};
use crate::arch::clock;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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

/// Samples of what a task was doing, and what was said of them.
#[derive(Debug, Default)]
pub struct Samples {
    user: AtomicU32,
    system: AtomicU32,
    /// User and system time that were given out.
    shown: [AtomicU64; 2],
}

impl Samples {
    /// Notes what an interrupt found.
    pub fn note(&self, system: bool) {
        let count = if system { &self.system } else { &self.user };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// User and system time of `total` ns.
    fn split(&self, total: u64) -> (u64, u64) {
        let (user, system) = (self.user.load(Ordering::Relaxed), self.system.load(Ordering::Relaxed));
        let all = u64::from(user) + u64::from(system);
        let part = (u128::from(total) * u128::from(system)).checked_div(u128::from(all)).unwrap_or(0);
        // Neither of the two goes back.
        let [shown_user, shown_system] = self.shown.each_ref().map(|shown| shown.load(Ordering::Relaxed));
        let system = (part as u64).max(shown_system).min(total.saturating_sub(shown_user));
        let user = total - system;
        for (shown, now) in self.shown.iter().zip([user, system]) {
            shown.fetch_max(now, Ordering::Relaxed);
        }
        (user, system)
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
        let (user_ns, system_ns) = self.samples.split(self.cpu_ns());
        Usage {
            user_ns,
            system_ns,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_follows_the_samples_and_does_not_go_back() {
        let samples = Samples::default();
        assert_eq!(samples.split(100), (100, 0));
        samples.note(true);
        samples.note(false);
        assert_eq!(samples.split(200), (100, 100));
        samples.note(false);
        samples.note(false);
        assert_eq!(samples.split(200), (100, 100));
        assert_eq!(samples.split(400), (300, 100));
    }
}
