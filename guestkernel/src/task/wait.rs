//! Wait queues: blocking until a condition holds.
//!
//! A waiter marks itself blocked, enqueues itself, checks the condition once more, and only then gives up the
//! CPU; a waker makes the condition true first and then looks at the queue. So no wake-up is lost. Besides
//! blocked tasks a queue holds *watchers* (`poll`, `epoll`), which are told of every wake-up.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU32, Ordering};

use super::{Task, current, sched};
use crate::{
    errno::{Errno, Result},
    sync::SpinLock,
};

/// Something that wants to know of wake-ups without being a blocked task.
pub trait Watcher: Send + Sync {
    /// Called at each wake-up, with the queue's lock released; must not block.
    fn notify(&self);
}

/// Names a registered [`Watcher`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchId(u64);

#[derive(Default)]
struct Inner {
    /// Blocked tasks, oldest first, each with the number that it has here: among very many it is found by that.
    tasks: VecDeque<(u64, Arc<Task>)>,
    watchers: Vec<(u64, Arc<dyn Watcher>)>,
    next_id: u64,
}

/// Tasks and watchers that wait for one thing.
pub struct WaitQueue {
    /// Entries in `inner`; lets a waker skip the lock when nobody waits.
    count: AtomicU32,
    inner: SpinLock<Inner>,
}

impl core::fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WaitQueue").field("count", &self.count).finish()
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// How a wait ended without its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// A signal is pending.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

impl From<WaitError> for Errno {
    /// Interruption restarts the call by `SA_RESTART`; a caller with a timeout maps `TimedOut` itself.
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Interrupted => Errno::ERESTARTSYS,
            WaitError::TimedOut => Errno::ETIMEDOUT,
        }
    }
}

impl WaitQueue {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            count: AtomicU32::new(0),
            inner: SpinLock::new(Inner { tasks: VecDeque::new(), watchers: Vec::new(), next_id: 0 }),
        }
    }

    /// Blocks until `condition` gives a value.
    ///
    /// # Errors
    /// `ERESTARTSYS` when a signal comes first.
    pub fn wait_until<T>(&self, condition: impl FnMut() -> Option<T>) -> Result<T> {
        self.wait(condition, true, None).map_err(Errno::from)
    }

    /// As [`Self::wait_until`], at most until `deadline` (CLOCK_MONOTONIC, ns).
    ///
    /// # Errors
    /// See [`WaitError`].
    pub fn wait_until_deadline<T>(
        &self,
        deadline: Option<u64>,
        condition: impl FnMut() -> Option<T>,
    ) -> core::result::Result<T, WaitError> {
        self.wait(condition, true, deadline)
    }

    /// As [`Self::wait_uninterruptible`], at most until `deadline` (CLOCK_MONOTONIC, ns).
    pub fn wait_at_most<T>(&self, deadline: u64, condition: impl FnMut() -> Option<T>) -> Option<T> {
        self.wait(condition, false, Some(deadline)).ok()
    }

    /// Blocks until `condition` gives a value, whatever signals come.
    pub fn wait_uninterruptible<T>(&self, mut condition: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Ok(value) = self.wait(&mut condition, false, None) {
                return value;
            }
        }
    }

    fn wait<T>(
        &self,
        mut condition: impl FnMut() -> Option<T>,
        interruptible: bool,
        deadline: Option<u64>,
    ) -> core::result::Result<T, WaitError> {
        if let Some(value) = condition() {
            return Ok(value);
        }
        let me = current().arc();
        loop {
            // In this order: a waker that takes the entry must find a task that it can wake.
            sched::prepare_to_block(&me, interruptible);
            let place = self.enqueue(&me);
            if let Some(value) = condition() {
                sched::cancel_block(&me);
                self.dequeue(place);
                return Ok(value);
            }
            let end = sched::block(&me, interruptible, deadline);
            self.dequeue(place);
            // The condition wins over the reason for the end: what was waited for may have come as well.
            if let Some(value) = condition() {
                return Ok(value);
            }
            match end {
                sched::BlockEnd::Woken => {}
                sched::BlockEnd::Interrupted => return Err(WaitError::Interrupted),
                sched::BlockEnd::TimedOut => return Err(WaitError::TimedOut),
            }
        }
    }

    fn enqueue(&self, task: &Arc<Task>) -> u64 {
        let mut inner = self.inner.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        inner.tasks.push_back((id, task.clone()));
        self.count.fetch_add(1, Ordering::SeqCst);
        id
    }

    fn dequeue(&self, id: u64) {
        let mut inner = self.inner.lock();
        if let Ok(place) = inner.tasks.binary_search_by_key(&id, |(id, _)| *id) {
            inner.tasks.remove(place);
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether anything waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // Pairs with the fetch_add in `enqueue`: the waker changed the condition before it looks here.
        core::sync::atomic::fence(Ordering::SeqCst);
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Wakes the task that waits longest, and tells every watcher. Whether a task was woken.
    pub fn wake_one(&self) -> bool {
        self.wake(1) == 1
    }

    /// Wakes every task and tells every watcher.
    pub fn wake_all(&self) {
        self.wake(usize::MAX);
    }

    /// Wakes at most `limit` tasks and tells every watcher; gives the number woken.
    pub fn wake(&self, limit: usize) -> usize {
        if self.is_empty() {
            return 0;
        }
        let mut woken = 0;
        let watchers: smallvec::SmallVec<[Arc<dyn Watcher>; 4]> = {
            let mut inner = self.inner.lock();
            while woken < limit {
                let Some((_, task)) = inner.tasks.pop_front() else { break };
                self.count.fetch_sub(1, Ordering::SeqCst);
                if sched::wake(&task) {
                    woken += 1;
                }
            }
            inner.watchers.iter().map(|(_, watcher)| watcher.clone()).collect()
        };
        for watcher in watchers {
            watcher.notify();
        }
        woken
    }

    /// Wakes the tasks that `which` names; they stay in the queue until they look.
    pub fn wake_those(&self, which: impl Fn(&Task) -> bool) {
        if !self.is_empty() {
            for (_, task) in self.inner.lock().tasks.iter().filter(|(_, task)| which(task)) {
                sched::wake(task);
            }
        }
    }

    /// Registers a watcher until [`Self::unwatch`].
    pub fn watch(&self, watcher: Arc<dyn Watcher>) -> WatchId {
        let mut inner = self.inner.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        inner.watchers.push((id, watcher));
        self.count.fetch_add(1, Ordering::SeqCst);
        WatchId(id)
    }

    /// Forgets a watcher.
    pub fn unwatch(&self, id: WatchId) {
        let mut inner = self.inner.lock();
        if let Some(place) = inner.watchers.iter().position(|(other, _)| *other == id.0) {
            inner.watchers.swap_remove(place);
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
