//! Locks.
//!
//! The kernel runs with interrupts off and is not preemptible, so a spinning lock need not be interrupt-safe.
//! A [`SpinLock`] is never held over anything that blocks, over a copy from or to user memory, or over a
//! hostcall that does I/O; a [`Mutex`] may be. While a lock is waited for, TLB-flush requests of other vCPUs
//! are served (`arch::cpu_relax`).
//!
//! # Order
//!
//! Outer first; locks of one line are never held together unless the line says so.
//!
//! 1. `fs` rename mutex, then directory mutexes from ancestor to descendant, then inode mutexes
//!    Of `net` a reader's or a sender's mutex of one socket, with which bytes are copied from and to ring 3
//! 2. `mm` address-space mutex (a page fault may come while no `fs` lock is held)
//! 3. `task` process-tree lock, then a process's lock, then a task's lock
//! 4. `signal` queues; a pseudo-terminal's state, what a terminal controls, a process's terminal; a socket's own lock;
//!    a table of ports, a leaf; a table of `ipc` objects, under which only the pages of shared memory are looked at
//! 5. futex buckets (two in address order), wait queues
//! 6. run queues, timer queue
//! 7. frames, heap

mod mutex;

pub use mutex::{Mutex, MutexGuard};
pub use spin::{LazyLock, Once};

/// How a spinning lock waits.
#[derive(Debug)]
pub struct Relax;

impl spin::RelaxStrategy for Relax {
    fn relax() {
        crate::arch::cpu_relax();
    }
}

/// A spinning lock for short sections.
pub type SpinLock<T> = spin::mutex::SpinMutex<T, Relax>;
/// Guard of a [`SpinLock`].
pub type SpinLockGuard<'a, T> = spin::mutex::SpinMutexGuard<'a, T, Relax>;
/// A spinning readers–writer lock.
pub type RwSpinLock<T> = spin::rwlock::RwLock<T, Relax>;
