//! Pending signals.

use alloc::collections::VecDeque;

use super::{RTMIN, SigInfo, SigSet};

/// Most queued entries of one queue, whatever `RLIMIT_SIGPENDING` says.
const MAX_QUEUED: usize = 32_768;

/// Signals that wait: of each standard signal one, of each real-time signal any number, in order.
#[derive(Debug, Default)]
pub struct Queue {
    set: SigSet,
    entries: VecDeque<SigInfo>,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self { set: SigSet::EMPTY, entries: VecDeque::new() }
    }

    /// The signals that wait.
    #[must_use]
    pub const fn set(&self) -> SigSet {
        self.set
    }

    /// Number of queued entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Adds a signal; a standard one that waits already is merged. `false` when the limit of real-time
    /// entries is reached and nothing was queued.
    pub fn push(&mut self, info: SigInfo, limit: u64) -> bool {
        let signo = info.signo();
        if signo < RTMIN && self.set.has(signo) {
            return true;
        }
        let limit = usize::try_from(limit).unwrap_or(MAX_QUEUED).min(MAX_QUEUED);
        if signo >= RTMIN && self.entries.len() >= limit {
            return false;
        }
        if self.entries.try_reserve(1).is_ok() {
            self.entries.push_back(info);
        } else if signo >= RTMIN {
            return false;
        }
        self.set.add(signo);
        true
    }

    /// The next signal outside `blocked`: faults first, then the lowest number.
    #[must_use]
    pub fn next(&self, blocked: SigSet) -> Option<u32> {
        let ready = self.set.without(blocked);
        let first = ready.intersection(SigSet::SYNCHRONOUS);
        let from = if first.is_empty() { ready } else { first };
        (!from.is_empty()).then(|| from.0.trailing_zeros() + 1)
    }

    /// Takes the next signal outside `blocked`.
    pub fn pop(&mut self, blocked: SigSet) -> Option<SigInfo> {
        let signo = self.next(blocked)?;
        let place = self.entries.iter().position(|entry| entry.signo() == signo);
        let info = place.and_then(|place| self.entries.remove(place));
        if !self.entries.iter().any(|entry| entry.signo() == signo) {
            self.set.remove(signo);
        }
        // Without memory only the fact was kept.
        Some(info.unwrap_or_else(|| SigInfo::user(signo, super::info::SI_USER, 0, 0)))
    }

    /// Drops every entry of these signals.
    pub fn remove(&mut self, signals: SigSet) {
        if !self.set.intersection(signals).is_empty() {
            self.entries.retain(|entry| !signals.has(entry.signo()));
            self.set = self.set.without(signals);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{SIGINT, SIGSEGV, SIGUSR1};

    fn user(signo: u32, pid: u32) -> SigInfo {
        SigInfo::user(signo, 0, pid, 0)
    }

    #[test]
    fn standard_signals_merge_and_real_time_ones_queue_in_order() {
        let mut queue = Queue::new();
        assert!(queue.push(user(SIGUSR1, 1), 10) && queue.push(user(SIGUSR1, 2), 10));
        assert!(queue.push(user(40, 3), 10) && queue.push(user(40, 4), 10));
        assert_eq!(queue.len(), 3);
        assert_eq!(queue.pop(SigSet::EMPTY), Some(user(SIGUSR1, 1)));
        assert_eq!(queue.pop(SigSet::EMPTY), Some(user(40, 3)));
        assert!(queue.set().has(40));
        assert_eq!(queue.pop(SigSet::EMPTY), Some(user(40, 4)));
        assert_eq!(queue.pop(SigSet::EMPTY), None);
    }

    #[test]
    fn faults_come_first_and_blocked_ones_stay() {
        let mut queue = Queue::new();
        queue.push(user(SIGINT, 1), 10);
        queue.push(SigInfo::fault(SIGSEGV, 1, 0), 10);
        assert_eq!(queue.next(SigSet::EMPTY), Some(SIGSEGV));
        assert_eq!(queue.pop(SigSet::of(&[SIGSEGV])).map(|i| i.signo()), Some(SIGINT));
        assert_eq!(queue.pop(SigSet::of(&[SIGSEGV])), None);
        queue.remove(SigSet::of(&[SIGSEGV]));
        assert!(queue.is_empty());
    }

    #[test]
    fn real_time_signals_obey_the_limit() {
        let mut queue = Queue::new();
        assert!(queue.push(user(33, 1), 1));
        assert!(!queue.push(user(33, 2), 1));
        assert!(queue.push(user(SIGINT, 2), 1));
    }
}
