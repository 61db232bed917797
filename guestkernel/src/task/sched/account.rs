//! A task's CPU time.

use core::sync::atomic::{AtomicU64, Ordering};

/// A clock that runs while its task does. One word, so that others read it without seeing it jump: twice the
/// time used, or, while it runs, twice the time used less the time it was started, plus one.
#[derive(Debug, Default)]
pub struct CpuClock(AtomicU64);

impl CpuClock {
    /// The task runs from `now` on (CLOCK_MONOTONIC, ns).
    pub(super) fn start(&self, now: u64) {
        let word = self.0.load(Ordering::Relaxed);
        if word & 1 == 0 {
            self.0.store(word.wrapping_sub(now << 1) | 1, Ordering::Relaxed);
        }
    }

    /// It does not run any more.
    pub(super) fn stop(&self, now: u64) {
        self.0.store(self.read(now) << 1, Ordering::Relaxed);
    }

    /// Whether the task runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.0.load(Ordering::Relaxed) & 1 != 0
    }

    /// Nanoseconds used so far.
    #[must_use]
    pub fn read(&self, now: u64) -> u64 {
        match self.0.load(Ordering::Relaxed) {
            word if word & 1 == 0 => word >> 1,
            word => (word & !1).wrapping_add(now << 1) >> 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_while_it_runs() {
        let clock = CpuClock::default();
        assert_eq!(clock.read(77), 0);
        clock.start(1_000);
        assert_eq!(clock.read(1_250), 250);
        clock.start(1_100);
        clock.stop(1_500);
        assert_eq!((clock.read(9_000), clock.read(0)), (500, 500));
        clock.start(10_000);
        assert_eq!(clock.read(10_003), 503);
    }
}
