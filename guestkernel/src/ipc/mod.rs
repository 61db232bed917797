//! System V IPC: objects that programs find by a number.
//!
//! What Linux does (sysvipc(7)): each IPC namespace has three tables; an object has a key, by which it is found, and
//! an id, by which it is used. It lives until it is removed. What we do is the same; each table has one lock, which
//! guards its objects, too.
//!
//! Order of locks: an address space's mutex, then a table. Nothing blocks, and no memory of a program is touched,
//! while a table is locked.

pub mod ids;
pub mod msg;
pub mod perm;
pub mod sem;
pub mod shm;
#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicU64, Ordering};

use crate::{
    arch::{clock, try_current},
    errno::{Errno, Result},
    mem::frame,
    sync::SpinLock,
    task::namespace::Identity,
};

/// Make it where there is none.
pub const IPC_CREAT: u32 = 0o1000;
/// Only where there is none.
pub const IPC_EXCL: u32 = 0o2000;
/// The key of an object that no key finds.
pub const IPC_PRIVATE: i32 = 0;

/// An IPC namespace.
#[derive(Debug)]
pub struct Namespace {
    /// What it is.
    pub identity: Identity,
    /// Shared memory.
    pub shm: SpinLock<shm::Table>,
    /// Semaphores.
    pub sem: SpinLock<sem::Table>,
    /// Message queues.
    pub msg: SpinLock<msg::Table>,
}

impl Namespace {
    /// One without objects.
    #[must_use]
    pub const fn new(identity: Identity) -> Self {
        Self {
            identity,
            shm: SpinLock::new(shm::Table::new()),
            sem: SpinLock::new(sem::Table::new()),
            msg: SpinLock::new(msg::Table::new()),
        }
    }
}

/// Part of memory that semaphores and messages may take.
const SHARE: u64 = 16;
/// What they take, in the whole sandbox, bytes.
static CHARGED: AtomicU64 = AtomicU64::new(0);

/// A part of that, until it is dropped.
#[derive(Debug)]
struct Charge(u64);

impl Charge {
    /// # Errors
    /// `ENOMEM`.
    fn new(bytes: u64) -> Result<Self> {
        let limit = frame::stats().total / SHARE;
        let charge = Self(bytes);
        if CHARGED.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > limit {
            return Err(Errno::ENOMEM);
        }
        Ok(charge)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        CHARGED.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Seconds of the real-time clock, as objects note them.
fn now() -> i64 {
    (clock::realtime_ns() / 1_000_000_000) as i64
}

/// The process that acts.
fn caller() -> u32 {
    try_current().map_or(0, |me| me.process.pid)
}
