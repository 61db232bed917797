//! epoll(7).
//!
//! Each registration watches its file's queues and puts itself on the instance's ready list when woken.
//! `wait` takes registrations off the list, asks the file what is ready, reports it, and puts
//! level-triggered ones back. A registration goes when its file is closed for the last time or by
//! `EPOLL_CTL_DEL`.
//!
//! Locks: `items` (registrations), then `ready` (a leaf that watchers take too).

use alloc::{
    collections::VecDeque,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, Ordering};
use hashbrown::HashMap;
use linux_raw_sys::general::O_RDWR;

use super::{
    anon,
    file::{File, FileOps, PollMask},
};
use crate::{
    errno::{Errno, Result},
    sync::SpinLock,
    task::wait::{WaitError, WaitQueue, WatchId, Watcher},
};

const ONESHOT: u32 = 1 << 30;
const EDGE: u32 = 1 << 31;
const EXCLUSIVE: u32 = 1 << 28;
const WAKEUP: u32 = 1 << 29;
/// Deepest nesting of instances.
const MAX_DEPTH: usize = 5;

/// What a registration asks for.
#[derive(Clone, Copy, Debug)]
pub struct Interest {
    /// Poll bits and `EPOLLET`, `EPOLLONESHOT`…
    pub events: u32,
    /// Handed back with events.
    pub data: u64,
}

struct Item {
    epoll: Weak<Inner>,
    /// Not strong: the registration must not keep the file open.
    file: Weak<File>,
    key: (i32, usize),
    interest: SpinLock<Interest>,
    queued: AtomicBool,
    watches: SpinLock<[Option<WatchId>; 2]>,
}

#[derive(Default)]
struct Inner {
    items: SpinLock<HashMap<(i32, usize), Arc<Item>>>,
    ready: SpinLock<VecDeque<Weak<Item>>>,
    queue: WaitQueue,
}

/// An instance.
pub struct Epoll {
    inner: Arc<Inner>,
}

/// A new instance.
#[must_use]
pub fn open() -> Arc<File> {
    let epoll = Arc::new(Epoll { inner: Arc::default() });
    File::anonymous(epoll, anon::shared(), b"anon_inode:[eventpoll]", O_RDWR)
}

impl Watcher for Item {
    fn notify(&self) {
        if let Some(epoll) = self.epoll.upgrade() {
            epoll.push(&epoll.items.lock().get(&self.key).cloned());
        }
    }
}

impl Inner {
    fn push(&self, item: &Option<Arc<Item>>) {
        let Some(item) = item else { return };
        if !item.queued.swap(true, Ordering::SeqCst) {
            self.ready.lock().push_back(Arc::downgrade(item));
            self.queue.wake_one();
        }
    }
}

impl Item {
    fn mask(&self) -> PollMask {
        PollMask::from_bits_truncate(self.interest.lock().events)
    }

    fn poll(&self) -> PollMask {
        let mask = self.mask();
        if mask.is_empty() {
            return mask;
        }
        self.file
            .upgrade()
            .map_or(PollMask::empty(), |file| file.poll() & (mask | PollMask::ERR | PollMask::HUP))
    }

    fn unwatch(&self) {
        let ids = core::mem::take(&mut *self.watches.lock());
        if let Some(file) = self.file.upgrade() {
            for (id, queue) in ids.iter().zip(file.ops().queues()) {
                if let (Some(id), Some(queue)) = (id, queue) {
                    queue.unwatch(*id);
                }
            }
        }
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        for item in core::mem::take(&mut *self.inner.items.lock()).into_values() {
            item.unwatch();
        }
    }
}

impl Epoll {
    /// `EPOLL_CTL_ADD`.
    ///
    /// # Errors
    /// `EEXIST`, `EPERM` for files that are always ready, `ELOOP`, `EINVAL`.
    pub fn add(&self, fd: i32, file: &Arc<File>, interest: Interest) -> Result<()> {
        if file.ops().queues().iter().all(Option::is_none) {
            return Err(Errno::EPERM);
        }
        if file.downcast::<Self>().is_some_and(|inner| inner.reaches(&self.inner, 0)) {
            return Err(Errno::ELOOP);
        }
        let key = (fd, Arc::as_ptr(file) as usize);
        let item = Arc::new(Item {
            epoll: Arc::downgrade(&self.inner),
            file: Arc::downgrade(file),
            key,
            interest: SpinLock::new(interest),
            queued: AtomicBool::new(false),
            watches: SpinLock::new([None, None]),
        });
        {
            let mut items = self.inner.items.lock();
            // A registration whose file was closed is gone.
            items.retain(|_, item| item.file.strong_count() != 0);
            if items.contains_key(&key) {
                return Err(Errno::EEXIST);
            }
            items.insert(key, item.clone());
        }
        let mut ids = [None, None];
        for (slot, queue) in ids.iter_mut().zip(file.ops().queues()) {
            *slot = queue.map(|queue| queue.watch(item.clone()));
        }
        *item.watches.lock() = ids;
        if !item.poll().is_empty() {
            self.inner.push(&Some(item));
        }
        Ok(())
    }

    /// `EPOLL_CTL_MOD`.
    ///
    /// # Errors
    /// `ENOENT`; `EINVAL` for an exclusive registration.
    pub fn modify(&self, fd: i32, file: &Arc<File>, interest: Interest) -> Result<()> {
        let key = (fd, Arc::as_ptr(file) as usize);
        let item = self.inner.items.lock().get(&key).cloned().ok_or(Errno::ENOENT)?;
        if (interest.events | item.interest.lock().events) & EXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        *item.interest.lock() = interest;
        if !item.poll().is_empty() {
            self.inner.push(&Some(item));
        }
        Ok(())
    }

    /// `EPOLL_CTL_DEL`.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn remove(&self, fd: i32, file: &Arc<File>) -> Result<()> {
        let key = (fd, Arc::as_ptr(file) as usize);
        let item = self.inner.items.lock().remove(&key).ok_or(Errno::ENOENT)?;
        item.unwatch();
        Ok(())
    }

    /// Whether `target` is watched by this instance, directly or through others.
    fn reaches(&self, target: &Arc<Inner>, depth: usize) -> bool {
        if Arc::ptr_eq(&self.inner, target) || depth >= MAX_DEPTH {
            return true;
        }
        let files: Vec<Arc<File>> =
            self.inner.items.lock().values().filter_map(|item| item.file.upgrade()).collect();
        files.iter().any(|file| file.downcast::<Self>().is_some_and(|epoll| epoll.reaches(target, depth + 1)))
    }

    /// Calls `emit` for at most `max` ready registrations; gives their number.
    fn collect(&self, max: usize, emit: &mut dyn FnMut(u32, u64) -> Result<()>) -> Result<usize> {
        let mut again: Vec<Arc<Item>> = Vec::new();
        let mut count = 0;
        let mut left = self.inner.ready.lock().len();
        let mut result = Ok(());
        while count < max && left > 0 {
            left -= 1;
            let Some(weak) = self.inner.ready.lock().pop_front() else { break };
            let Some(item) = weak.upgrade() else { continue };
            // Woken from here on, it is queued again.
            item.queued.store(false, Ordering::SeqCst);
            if item.watches.lock().iter().all(Option::is_none) {
                continue;
            }
            let ready = item.poll();
            if ready.is_empty() {
                continue;
            }
            let interest = *item.interest.lock();
            result = emit(ready.bits(), interest.data);
            if result.is_err() {
                again.push(item);
                break;
            }
            count += 1;
            if interest.events & ONESHOT != 0 {
                item.interest.lock().events &= ONESHOT | EDGE | WAKEUP | EXCLUSIVE;
            } else if interest.events & EDGE == 0 {
                again.push(item);
            }
        }
        for item in again {
            if !item.queued.swap(true, Ordering::SeqCst) {
                self.inner.ready.lock().push_back(Arc::downgrade(&item));
            }
        }
        if count != 0 { Ok(count) } else { result.map(|()| 0) }
    }

    /// epoll_wait(2): `emit` takes events and data.
    ///
    /// # Errors
    /// `EINTR`; those of `emit`.
    pub fn wait(
        &self,
        max: usize,
        deadline: Option<u64>,
        mut emit: impl FnMut(u32, u64) -> Result<()>,
    ) -> Result<usize> {
        loop {
            let count = self.collect(max, &mut emit)?;
            if count != 0 || deadline == Some(0) {
                return Ok(count);
            }
            let woken = self
                .inner
                .queue
                .wait_until_deadline(deadline, || (!self.inner.ready.lock().is_empty()).then_some(()));
            match woken {
                Ok(()) => {}
                Err(WaitError::TimedOut) => return Ok(0),
                Err(WaitError::Interrupted) => return Err(Errno::EINTR),
            }
        }
    }
}

impl FileOps for Epoll {
    fn is_stream(&self) -> bool {
        true
    }

    fn ignores_seeks(&self) -> bool {
        true
    }

    fn poll(&self, _file: &File) -> PollMask {
        let items: Vec<Arc<Item>> = self.inner.ready.lock().iter().filter_map(Weak::upgrade).collect();
        if items.iter().any(|item| !item.poll().is_empty()) { PollMask::READABLE } else { PollMask::empty() }
    }

    fn queues(&self) -> [Option<&WaitQueue>; 2] {
        [Some(&self.inner.queue), None]
    }
}

impl core::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Epoll")
    }
}
