//! eventfd(2).

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use linux_raw_sys::general::O_RDWR;

use super::{
    anon,
    file::{File, FileOps, PollMask},
};
use crate::{
    errno::{Errno, Result},
    task::wait::WaitQueue,
    uio::{Sink, Source},
};

/// Largest count.
const MAX: u64 = u64::MAX - 1;

/// A counter that can be waited for.
pub struct EventFd {
    count: AtomicU64,
    semaphore: bool,
    readable: WaitQueue,
    writable: WaitQueue,
}

/// A new one. `flags` are status flags.
#[must_use]
pub fn open(count: u64, semaphore: bool, flags: u32) -> Arc<File> {
    let event = EventFd {
        count: AtomicU64::new(count),
        semaphore,
        readable: WaitQueue::new(),
        writable: WaitQueue::new(),
    };
    File::anonymous(Arc::new(event), anon::shared(), b"anon_inode:[eventfd]", O_RDWR | flags)
}

impl EventFd {
    fn take(&self) -> Option<u64> {
        let old = self
            .count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| match count {
                0 => None,
                count if self.semaphore => Some(count - 1),
                _ => Some(0),
            })
            .ok()?;
        Some(if self.semaphore { 1 } else { old })
    }

    fn add(&self, value: u64) -> Option<()> {
        self.count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
                count.checked_add(value).filter(|&sum| sum <= MAX)
            })
            .ok()
            .map(drop)
    }
}

impl FileOps for EventFd {
    fn read_at(&self, file: &File, sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        if sink.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let value = match self.take() {
            Some(value) => value,
            None if file.nonblocking() => return Err(Errno::EAGAIN),
            None => self.readable.wait_until(|| self.take())?,
        };
        self.writable.wake_one();
        sink.write(&value.to_ne_bytes())
    }

    fn write_at(&self, file: &File, source: &mut Source<'_>, _offset: u64) -> Result<usize> {
        let mut bytes = [0; 8];
        if source.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        source.read(&mut bytes)?;
        let value = u64::from_ne_bytes(bytes);
        if value > MAX {
            return Err(Errno::EINVAL);
        }
        match self.add(value) {
            Some(()) => {}
            None if file.nonblocking() => return Err(Errno::EAGAIN),
            None => self.writable.wait_until(|| self.add(value))?,
        }
        if value != 0 {
            self.readable.wake_one();
        }
        Ok(8)
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn ignores_seeks(&self) -> bool {
        true
    }

    fn poll(&self, _file: &File) -> PollMask {
        let count = self.count.load(Ordering::SeqCst);
        let mut mask = PollMask::empty();
        if count > 0 {
            mask |= PollMask::READABLE;
        }
        if count < MAX {
            mask |= PollMask::WRITABLE;
        }
        mask
    }

    fn queues(&self) -> [Option<&WaitQueue>; 2] {
        [Some(&self.readable), Some(&self.writable)]
    }
}

impl core::fmt::Debug for EventFd {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("EventFd")
    }
}
