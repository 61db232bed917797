//! Pending signals.

use alloc::{collections::VecDeque, sync::Arc};

use super::{RTMIN, SigInfo, SigSet, charge::Charge};
use crate::time::posix::Timer;

/// A queued signal, with what it holds while it waits.
#[derive(Debug)]
pub struct Entry {
    info: SigInfo,
    /// The timer that sent it: it goes on when the signal is taken.
    timer: Option<Arc<Timer>>,
    /// A timer's signal was charged when the timer was made.
    _charge: Option<Charge>,
}

impl Entry {
    /// A signal that is charged to its receiver.
    #[must_use]
    pub const fn new(info: SigInfo, charge: Option<Charge>) -> Self {
        Self { info, timer: None, _charge: charge }
    }

    /// A timer's signal.
    #[must_use]
    pub fn of_timer(info: SigInfo, timer: Arc<Timer>) -> Self {
        Self { info, timer: Some(timer), _charge: None }
    }

    /// The signal.
    #[must_use]
    pub const fn signo(&self) -> u32 {
        self.info.signo()
    }

    /// What it says so far.
    #[must_use]
    pub const fn info(&self) -> &SigInfo {
        &self.info
    }

    /// Takes it: what it says, with the timer that sent it going on. No lock of a process may be held.
    #[must_use]
    pub fn take(mut self) -> SigInfo {
        match self.timer.take() {
            Some(timer) => timer.taken(self.info),
            None => self.info,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.dropped();
        }
    }
}

/// Signals that wait: of each standard signal one, of each real-time signal any number, in order.
#[derive(Debug, Default)]
pub struct Queue {
    set: SigSet,
    entries: VecDeque<Entry>,
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

    /// Whether one more of this signal would be merged with one that waits already.
    #[must_use]
    pub const fn merges(&self, signo: u32) -> bool {
        signo < RTMIN && self.set.has(signo)
    }

    /// Adds a signal; a standard one that waits already is merged, but for a timer's, which goes on when it is taken.
    /// Without memory only the fact is kept.
    pub fn push(&mut self, entry: Entry) {
        let signo = entry.signo();
        if self.merges(signo) && entry.timer.is_none() {
            return;
        }
        self.set.add(signo);
        if self.entries.try_reserve(1).is_ok() {
            self.entries.push_back(entry);
        }
    }

    /// Notes the fact that a signal waits; what it would say is lost.
    pub const fn push_bare(&mut self, signo: u32) {
        self.set.add(signo);
    }

    /// The next signal outside `blocked`: faults first, then the lowest number.
    #[must_use]
    pub fn next(&self, blocked: SigSet) -> Option<u32> {
        let ready = self.set.without(blocked);
        let first = ready.intersection(SigSet::SYNCHRONOUS);
        let from = if first.is_empty() { ready } else { first };
        (!from.is_empty()).then(|| from.0.trailing_zeros() + 1)
    }

    /// Takes the fault that was raised last of all in `signals`, whatever else waits: a synchronous signal that the
    /// kernel made.
    pub fn pop_fault(&mut self, blocked: SigSet) -> Option<Entry> {
        let ready = self.set.without(blocked).intersection(SigSet::SYNCHRONOUS);
        if ready.is_empty() {
            return None;
        }
        let place =
            self.entries.iter().position(|entry| ready.has(entry.signo()) && entry.info.from_kernel())?;
        let entry = self.entries.remove(place)?;
        self.forget_if_last(entry.signo());
        Some(entry)
    }

    fn forget_if_last(&mut self, signo: u32) {
        if !self.entries.iter().any(|entry| entry.signo() == signo) {
            self.set.remove(signo);
        }
    }

    /// Takes the next signal outside `blocked`.
    pub fn pop(&mut self, blocked: SigSet) -> Option<Entry> {
        let ready = self.set.without(blocked);
        let signo = self.next(blocked).filter(|_| !ready.is_empty())?;
        let place = self.entries.iter().position(|entry| entry.signo() == signo);
        let entry = place.and_then(|place| self.entries.remove(place));
        self.forget_if_last(signo);
        // Only the fact was kept.
        let bare = || Entry::new(SigInfo::user(signo, super::info::SI_USER, 0, 0), None);
        Some(entry.unwrap_or_else(bare))
    }

    /// Takes every entry of these signals out, to be dropped once no lock is held.
    #[must_use]
    pub fn remove(&mut self, signals: SigSet) -> VecDeque<Entry> {
        let mut removed = VecDeque::new();
        if !self.set.intersection(signals).is_empty() {
            let (gone, kept) =
                core::mem::take(&mut self.entries).into_iter().partition(|entry| signals.has(entry.signo()));
            (removed, self.entries) = (gone, kept);
            self.set = self.set.without(signals);
        }
        removed
    }

    /// Takes the signals of timers out, as exec does.
    #[must_use]
    pub fn remove_timers(&mut self) -> VecDeque<Entry> {
        let (gone, kept): (VecDeque<_>, VecDeque<_>) =
            core::mem::take(&mut self.entries).into_iter().partition(|entry| entry.timer.is_some());
        self.entries = kept;
        for entry in &gone {
            self.forget_if_last(entry.signo());
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{SIGINT, SIGSEGV, SIGUSR1};

    fn user(signo: u32, pid: u32) -> SigInfo {
        SigInfo::user(signo, 0, pid, 0)
    }

    fn push(queue: &mut Queue, info: SigInfo) {
        queue.push(Entry::new(info, None));
    }

    fn pop(queue: &mut Queue, blocked: SigSet) -> Option<SigInfo> {
        queue.pop(blocked).map(Entry::take)
    }

    #[test]
    fn standard_signals_merge_and_real_time_ones_queue_in_order() {
        let mut queue = Queue::new();
        for info in [user(SIGUSR1, 1), user(SIGUSR1, 2), user(40, 3), user(40, 4)] {
            push(&mut queue, info);
        }
        assert_eq!(queue.len(), 3);
        assert_eq!(pop(&mut queue, SigSet::EMPTY), Some(user(SIGUSR1, 1)));
        assert_eq!(pop(&mut queue, SigSet::EMPTY), Some(user(40, 3)));
        assert!(queue.set().has(40));
        assert_eq!(pop(&mut queue, SigSet::EMPTY), Some(user(40, 4)));
        assert_eq!(pop(&mut queue, SigSet::EMPTY), None);
    }

    #[test]
    fn faults_come_first_and_blocked_ones_stay() {
        let mut queue = Queue::new();
        push(&mut queue, user(SIGINT, 1));
        push(&mut queue, SigInfo::fault(SIGSEGV, 1, 0));
        assert_eq!(queue.next(SigSet::EMPTY), Some(SIGSEGV));
        assert_eq!(pop(&mut queue, SigSet::of(&[SIGSEGV])).map(|i| i.signo()), Some(SIGINT));
        assert_eq!(pop(&mut queue, SigSet::of(&[SIGSEGV])), None);
        assert_eq!(queue.remove(SigSet::of(&[SIGSEGV])).len(), 1);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_bare_signal_says_nothing_but_itself() {
        let mut queue = Queue::new();
        queue.push_bare(33);
        assert_eq!(pop(&mut queue, SigSet::EMPTY), Some(user(33, 0)));
        assert!(queue.is_empty());
    }
}
