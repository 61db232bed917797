//! What sockets of all families have.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};

use super::{control::Ucred, options::Options};
use crate::{
    arch::{clock, try_current},
    errno::{Errno, Result},
    sync::SpinLock,
    task::{
        cred::Cred,
        wait::{WaitError, WaitQueue},
    },
};

/// Who a peer was when the connection was made.
#[derive(Clone, Debug)]
pub struct PeerCred {
    /// Process.
    pub pid: u32,
    /// Ids and groups.
    pub cred: Arc<Cred>,
}

impl PeerCred {
    /// The current task; `None` where there is none.
    #[must_use]
    pub fn current() -> Option<Self> {
        try_current().map(|me| Self { pid: me.process.pid, cred: me.cred() })
    }

    /// As `SO_PEERCRED` shows it.
    #[must_use]
    pub fn ucred(&self) -> Ucred {
        Ucred { pid: self.pid, uid: self.cred.euid, gid: self.cred.egid }
    }
}

/// Sockets that there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// How many sockets there are.
#[must_use]
pub(super) fn count() -> usize {
    COUNT.load(Ordering::Relaxed)
}

impl Drop for Core {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket's family-independent part.
#[derive(Debug)]
pub struct Core {
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*`.
    pub kind: u32,
    /// Protocol.
    pub protocol: i32,
    /// Options of `SOL_SOCKET`.
    pub options: Options,
    /// Woken when there may be something to receive or accept, or the connection changed.
    pub readable: WaitQueue,
    /// Woken when there may be room to send, or the connection changed.
    pub writable: WaitQueue,
    /// What it sent and nobody has received, in bytes of memory.
    charged: AtomicUsize,
    /// Shut halves ([`super::half`]).
    shut: AtomicU32,
    /// The pending error, reported once.
    error: AtomicI32,
    /// Who is at the other end.
    pub peer: SpinLock<Option<PeerCred>>,
}

impl Core {
    /// A new socket's.
    #[must_use]
    pub fn new(family: u16, kind: u32, protocol: i32) -> Arc<Self> {
        COUNT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            family,
            kind,
            protocol,
            options: Options::default(),
            readable: WaitQueue::new(),
            writable: WaitQueue::new(),
            charged: AtomicUsize::new(0),
            shut: AtomicU32::new(0),
            error: AtomicI32::new(0),
            peer: SpinLock::new(None),
        })
    }

    /// Shut halves.
    #[must_use]
    pub fn shut(&self) -> u32 {
        self.shut.load(Ordering::SeqCst)
    }

    /// Whether one of these halves is shut.
    #[must_use]
    pub fn is_shut(&self, halves: u32) -> bool {
        self.shut() & halves != 0
    }

    /// Shuts halves and wakes everybody.
    pub fn shut_down(&self, halves: u32) {
        self.shut.fetch_or(halves, Ordering::SeqCst);
        self.changed();
    }

    /// No half is shut any more: it starts afresh.
    pub fn reopen(&self) {
        self.shut.store(0, Ordering::SeqCst);
    }

    /// Wakes everybody: the connection is not what it was.
    pub fn changed(&self) {
        self.readable.wake_all();
        self.writable.wake_all();
    }

    /// Leaves an error for the next call.
    pub fn set_error(&self, error: Errno) {
        self.error.store(error.code(), Ordering::SeqCst);
    }

    /// Whether an error waits.
    #[must_use]
    pub fn has_error(&self) -> bool {
        self.error.load(Ordering::SeqCst) != 0
    }

    /// Takes the pending error's number; 0 = none.
    pub fn take_error_code(&self) -> i32 {
        if self.has_error() { self.error.swap(0, Ordering::SeqCst) } else { 0 }
    }

    /// Fails with the pending error, once.
    ///
    /// # Errors
    /// The pending one.
    pub fn take_error(&self) -> Result<()> {
        match self.take_error_code() {
            0 => Ok(()),
            code => Err(Errno::from_ret(-i64::from(code))),
        }
    }

    /// Bytes of memory that it sent and nobody has received.
    #[must_use]
    pub fn charged(&self) -> usize {
        self.charged.load(Ordering::SeqCst)
    }

    /// Charges a message.
    pub fn charge(&self, bytes: usize) {
        self.charged.fetch_add(bytes, Ordering::SeqCst);
    }

    /// A message is gone; senders that wait go on once there is much room.
    pub fn uncharge(&self, bytes: usize) {
        self.charged.fetch_sub(bytes, Ordering::SeqCst);
        if self.has_much_room() {
            self.writable.wake_all();
        }
    }

    /// Room for one more message of any size.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.charged() < self.options.sndbuf() as usize
    }

    /// Enough room to be called writable.
    #[must_use]
    pub fn has_much_room(&self) -> bool {
        self.charged() << 2 <= self.options.sndbuf() as usize
    }

    /// When a receiving call that may block ends: `Some(0)` at once.
    #[must_use]
    pub fn receive_deadline(&self, nonblocking: bool) -> Option<u64> {
        deadline(nonblocking, self.options.receive_timeout())
    }

    /// When a sending call that may block ends: `Some(0)` at once.
    #[must_use]
    pub fn send_deadline(&self, nonblocking: bool) -> Option<u64> {
        deadline(nonblocking, self.options.send_timeout())
    }
}

fn deadline(nonblocking: bool, timeout: u64) -> Option<u64> {
    match timeout {
        _ if nonblocking => Some(0),
        u64::MAX => None,
        0 => Some(0),
        ns => Some(clock::monotonic_ns().saturating_add(ns)),
    }
}

/// Blocks on `queue` until `condition` gives a value, at most until `deadline`. Without time it does not look: the
/// caller has, and would otherwise come back for ever.
///
/// # Errors
/// `EAGAIN` at the deadline; for a signal `ERESTARTSYS`, or `EINTR` when there is a deadline.
pub(super) fn wait<T>(
    queue: &WaitQueue,
    deadline: Option<u64>,
    condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    if deadline == Some(0) {
        return Err(Errno::EAGAIN);
    }
    queue.wait_until_deadline(deadline, condition).map_err(|error| match error {
        WaitError::TimedOut => Errno::EAGAIN,
        WaitError::Interrupted if deadline.is_some() => Errno::EINTR,
        WaitError::Interrupted => Errno::ERESTARTSYS,
    })
}
