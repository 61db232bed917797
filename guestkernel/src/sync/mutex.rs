//! The sleeping lock.

use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

use super::{SpinLock, SpinLockGuard};
use crate::task::wait::WaitQueue;

/// A lock whose holder may block. Waiting for it blocks the task, uninterruptibly.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized> {
    /// Tasks that wait or are about to; the holder wakes one only when there are any.
    waiters: AtomicU32,
    queue: WaitQueue,
    value: SpinLock<T>,
}

/// Releases the lock when dropped.
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized> {
    owner: &'a Mutex<T>,
    /// `None` only while dropping.
    inner: Option<SpinLockGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// A new, free lock.
    pub const fn new(value: T) -> Self {
        Self { waiters: AtomicU32::new(0), queue: WaitQueue::new(), value: SpinLock::new(value) }
    }

    /// The value, when nothing else refers to the lock.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock; blocks while another task has it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let inner = match self.value.try_lock() {
            Some(inner) => inner,
            None => self.lock_slowly(),
        };
        MutexGuard { owner: self, inner: Some(inner) }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.value.try_lock().map(|inner| MutexGuard { owner: self, inner: Some(inner) })
    }

    /// The value, by exclusive reference.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[cold]
    fn lock_slowly(&self) -> SpinLockGuard<'_, T> {
        if crate::arch::try_current().is_none() {
            // During boot, and in unit tests, there is no task to block.
            return self.value.lock();
        }
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let inner = self.queue.wait_uninterruptible(|| self.value.try_lock());
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        inner
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[allow(clippy::expect_used, reason = "`inner` is taken only in `drop`")]
    fn deref(&self) -> &T {
        self.inner.as_ref().expect("held")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[allow(clippy::expect_used, reason = "`inner` is taken only in `drop`")]
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("held")
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.inner = None;
        // The release above and this load are ordered against the waiter's increment and retry: one of the
        // two sides sees the other.
        core::sync::atomic::fence(Ordering::SeqCst);
        if self.owner.waiters.load(Ordering::SeqCst) != 0 {
            self.owner.queue.wake_one();
        }
    }
}
