//! What a sandbox process counts: exits and hostcalls, for who asks (`debug`).

use std::sync::atomic::{AtomicU64, Ordering};

use hostcall::Hostcall;

/// Counters, all of which only rise.
#[derive(Debug)]
pub(crate) struct Counts {
    exits: Vec<AtomicU64>,
    hostcalls: Vec<AtomicU64>,
}

impl Counts {
    pub(crate) fn new(cpus: u32) -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let last = Hostcall::ALL.iter().map(|call| *call as usize).max().unwrap_or(0);
        Self { exits: zeros(cpus as usize), hostcalls: zeros(last + 1) }
    }

    /// A vCPU came out of the guest.
    pub(crate) fn exit(&self, cpu: u32) {
        if let Some(count) = self.exits.get(cpu as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The sentry made a hostcall; numbers that there are not count nowhere.
    pub(crate) fn hostcall(&self, nr: u32) {
        if let Some(count) = self.hostcalls.get(nr as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Exits of each vCPU.
    pub(crate) fn exits(&self) -> Vec<u64> {
        self.exits.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Hostcalls that were made, by number.
    pub(crate) fn hostcalls(&self) -> Vec<(u32, u64)> {
        let counts = self.hostcalls.iter().map(|count| count.load(Ordering::Relaxed));
        (0..).zip(counts).filter(|&(_, count)| count != 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn what_does_not_exist_is_not_counted() {
        let counts = Counts::new(2);
        counts.exit(1);
        counts.exit(2);
        counts.hostcall(4);
        counts.hostcall(4);
        counts.hostcall(u32::MAX);
        assert_eq!(counts.exits(), [0, 1]);
        assert_eq!(counts.hostcalls(), [(4, 2)]);
    }
}
