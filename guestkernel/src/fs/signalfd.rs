//! signalfd(2).
//!
//! Who reads or polls one sees the signals that wait for itself and its process, whoever made it. So a signal may
//! concern every signalfd there is; they are few, and a sender looks at them only if there are any.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use linux_raw_sys::general::O_RDWR;

use super::{
    anon,
    file::{File, FileOps, PollMask},
};
use crate::{
    errno::{Errno, Result},
    signal::{Entry, SigInfo, SigSet, info},
    sync::SpinLock,
    task::{current, wait::WaitQueue},
    uio::Sink,
};

/// Length of what is read for a signal.
const RECORD: usize = 128;

static ALL: SpinLock<Vec<Weak<SignalFd>>> = SpinLock::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Signals as something to read.
pub struct SignalFd {
    wanted: AtomicU64,
    readable: WaitQueue,
}

/// A new one. `flags` are status flags.
#[must_use]
pub fn open(wanted: SigSet, flags: u32) -> Arc<File> {
    let fd = Arc::new(SignalFd { wanted: AtomicU64::new(wanted.0), readable: WaitQueue::new() });
    ALL.lock().push(Arc::downgrade(&fd));
    COUNT.fetch_add(1, Ordering::SeqCst);
    File::anonymous(fd, anon::shared(), b"anon_inode:[signalfd]", O_RDWR | flags)
}

/// A signal was queued somewhere. No lock of a process is held.
pub fn arrived(signo: u32) {
    if COUNT.load(Ordering::SeqCst) == 0 {
        return;
    }
    let concerned: Vec<Arc<SignalFd>> =
        ALL.lock().iter().filter_map(Weak::upgrade).filter(|fd| fd.wanted().has(signo)).collect();
    for fd in concerned {
        fd.readable.wake_all();
    }
}

impl Drop for SignalFd {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::SeqCst);
        ALL.lock().retain(|fd| fd.strong_count() != 0);
    }
}

impl SignalFd {
    fn wanted(&self) -> SigSet {
        SigSet(self.wanted.load(Ordering::SeqCst))
    }

    /// Waits for other signals from now on.
    pub fn set(&self, wanted: SigSet) {
        self.wanted.store(wanted.0, Ordering::SeqCst);
        self.readable.wake_all();
    }

    /// Takes the next signal.
    fn take(&self) -> Option<SigInfo> {
        let (me, others) = (current(), SigSet(!self.wanted().0));
        let entry = {
            let mut inner = me.process.inner.lock();
            let own = me.signals.pending.lock().pop(others);
            own.or_else(|| inner.pending.pop(others))
        };
        let info = entry.map(Entry::take)?;
        crate::signal::send::recalculate(&me);
        Some(info)
    }
}

/// `struct signalfd_siginfo`.
fn record(info: &SigInfo) -> [u8; RECORD] {
    let mut out = [0; RECORD];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = out.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    let [first, second, third, fourth] = info.data();
    let word = |value: u64, at: usize| (value >> (32 * at)) as u32;
    put(0, &info.signo().to_ne_bytes());
    put(4, &info.errno().to_ne_bytes());
    put(8, &info.code().to_ne_bytes());
    let sender = [word(first, 0), word(first, 1)];
    let value = |put: &mut dyn FnMut(usize, &[u8])| {
        put(44, &word(second, 0).to_ne_bytes());
        put(48, &second.to_ne_bytes());
    };
    match info.layout() {
        info::Layout::Kill => {
            put(12, &sender[0].to_ne_bytes());
            put(16, &sender[1].to_ne_bytes());
        }
        info::Layout::Queued => {
            put(12, &sender[0].to_ne_bytes());
            put(16, &sender[1].to_ne_bytes());
            value(&mut put);
        }
        info::Layout::Timer => {
            put(24, &sender[0].to_ne_bytes());
            put(32, &sender[1].to_ne_bytes());
            value(&mut put);
        }
        info::Layout::Child => {
            put(12, &sender[0].to_ne_bytes());
            put(16, &sender[1].to_ne_bytes());
            put(40, &word(second, 0).to_ne_bytes());
            put(56, &third.to_ne_bytes());
            put(64, &fourth.to_ne_bytes());
        }
        info::Layout::Poll => {
            put(28, &word(first, 0).to_ne_bytes());
            put(20, &word(second, 0).to_ne_bytes());
        }
        info::Layout::Fault => put(72, &first.to_ne_bytes()),
        info::Layout::Syscall => {
            put(88, &first.to_ne_bytes());
            put(84, &word(second, 0).to_ne_bytes());
            put(96, &word(second, 1).to_ne_bytes());
        }
    }
    out
}

impl FileOps for SignalFd {
    fn read_at(&self, file: &File, sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        let most = sink.remaining() / RECORD;
        if most == 0 {
            return Err(Errno::EINVAL);
        }
        let mut next = match self.take() {
            Some(info) => Some(info),
            None if file.nonblocking() => return Err(Errno::EAGAIN),
            None => Some(self.readable.wait_until(|| self.take())?),
        };
        let mut count = 0;
        while let Some(info) = next {
            match sink.write(&record(&info)) {
                Ok(RECORD) => count += 1,
                Ok(_) | Err(_) if count != 0 => break,
                Ok(_) => return Err(Errno::EFAULT),
                Err(error) => return Err(error),
            }
            next = if count < most { self.take() } else { None };
        }
        Ok(count * RECORD)
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn ignores_seeks(&self) -> bool {
        true
    }

    fn poll(&self, _file: &File) -> PollMask {
        let (me, others) = (current(), SigSet(!self.wanted().0));
        let shared = me.process.inner.lock().pending.next(others);
        if shared.or_else(|| me.signals.pending.lock().next(others)).is_some() {
            PollMask::READABLE
        } else {
            PollMask::empty()
        }
    }

    fn queues(&self) -> [Option<&WaitQueue>; 2] {
        [Some(&self.readable), None]
    }
}

impl core::fmt::Debug for SignalFd {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SignalFd")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{SIGCHLD, SIGSYS};

    #[test]
    fn records_have_linux_layout() {
        let int =
            |record: &[u8; RECORD], at: usize| u32::from_ne_bytes(record[at..at + 4].try_into().unwrap());
        let child = record(&SigInfo::child(SIGCHLD, 1, 7, 1000, 3, [11, 12]));
        assert_eq!((int(&child, 0), int(&child, 12), int(&child, 16), int(&child, 40)), (17, 7, 1000, 3));
        assert_eq!((int(&child, 56), int(&child, 64)), (11, 12));
        let timer = record(&SigInfo::timer(40, 5, 77));
        assert_eq!((int(&timer, 24), int(&timer, 44), int(&timer, 48)), (5, 77, 77));
        let fault = record(&SigInfo::fault(11, 1, 0x1234));
        assert_eq!(int(&fault, 72), 0x1234);
        assert_eq!(int(&record(&SigInfo::fault(SIGSYS, 0x80, 9)), 12), 9);
    }
}
