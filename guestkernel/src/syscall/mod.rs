//! System calls: the table, its dispatch, and the handlers, one file per family.
//!
//! A handler takes its arguments from [`Args`], checks them, calls a subsystem, and gives the result; what the
//! call means lives in the subsystem. Calls that replace the caller's registers (exec, clone, sigreturn) get
//! the registers instead.

mod at;
pub mod cred;
pub mod dirent;
pub mod fcntl;
pub mod file;
pub mod futex;
pub mod handle;
pub mod inotify;
pub mod ioprio;
mod ipc;
pub mod ipc_msg;
pub mod ipc_sem;
pub mod ipc_shm;
pub mod kcmp;
pub mod mempolicy;
pub mod misc;
pub mod mm;
pub mod mount;
pub mod mount_api;
pub mod namespace;
pub mod pages;
pub mod path;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod posix_timer;
pub mod prctl;
pub mod process;
pub mod process_vm;
pub mod resource;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod signalfd;
pub mod socket;
pub mod stat;
pub mod strace;
pub mod table;
pub mod time;
pub mod timerfd;
pub mod transfer;
pub mod xattr;

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::{
    arch::UserRegs,
    errno::{Errno, Result},
    mem::pressure,
    task::current,
};
use table::{COUNT, HANDLERS, TABLE};

/// The arguments of a call.
#[derive(Clone, Copy, Debug)]
pub struct Args(pub [u64; 6]);

impl Args {
    /// As a C `int`.
    #[must_use]
    pub const fn int(&self, index: usize) -> i32 {
        self.0[index] as i32
    }

    /// As a C `unsigned int`.
    #[must_use]
    pub const fn uint(&self, index: usize) -> u32 {
        self.0[index] as u32
    }

    /// As a C `long`.
    #[must_use]
    pub const fn long(&self, index: usize) -> i64 {
        self.0[index] as i64
    }

    /// As a user address.
    #[must_use]
    pub const fn addr(&self, index: usize) -> u64 {
        self.0[index]
    }

    /// As a length or count.
    #[must_use]
    pub const fn size(&self, index: usize) -> usize {
        self.0[index] as usize
    }
}

/// How often each absent call was asked for.
static ABSENT: [AtomicU32; COUNT] = [const { AtomicU32::new(0) }; COUNT];

/// How often calls without a number of ours were asked for.
static UNKNOWN: AtomicU32 = AtomicU32::new(0);

/// What there is to do at calls besides making them, in the whole sandbox: one look where there is nothing.
static ATTENTION: AtomicU8 = AtomicU8::new(0);
/// Calls are printed.
const STRACE: u8 = 1;
/// Some task has had a seccomp filter.
const SECCOMP: u8 = 2;
/// Memory is short: see [`pressure`].
const MEMORY: u8 = 4;

/// Some task has a seccomp filter from now on.
pub(crate) fn attend_seccomp() {
    ATTENTION.fetch_or(SECCOMP, Ordering::Relaxed);
}

/// Memory is short from now on, or no more. Whoever makes a call meanwhile makes room first: however many tasks there
/// are, they do not go into the reserve one after the other.
pub(crate) fn attend_memory(short: bool) {
    if short {
        ATTENTION.fetch_or(MEMORY, Ordering::Relaxed);
    } else {
        ATTENTION.fetch_and(!MEMORY, Ordering::Relaxed);
    }
}

/// Whether a call makes memory free, so that it is not held up for want of it.
const fn frees_memory(nr: usize) -> bool {
    const MUNMAP: usize = 11;
    const EXIT: usize = 60;
    const EXIT_GROUP: usize = 231;
    matches!(nr, MUNMAP | EXIT | EXIT_GROUP)
}

/// Runs the system call that `regs` asks for and stores its result there.
pub fn dispatch(regs: &mut UserRegs) {
    if ATTENTION.load(Ordering::Relaxed) != 0 {
        return attended(regs);
    }
    make(regs);
}

/// As [`dispatch`] where somebody looks at calls.
#[inline(never)]
fn attended(regs: &mut UserRegs) {
    let attention = ATTENTION.load(Ordering::Relaxed);
    if attention & SECCOMP != 0 && !seccomp::allows(&current(), regs) {
        return;
    }
    if attention & MEMORY != 0 && !frees_memory(number(regs)) {
        pressure::relieve();
    }
    if attention & STRACE != 0 { strace::traced(regs) } else { make(regs) }
}

/// The number of the call that is asked for: as on Linux the register's upper half does not count.
#[inline]
const fn number(regs: &UserRegs) -> usize {
    regs.orig_rax as u32 as usize
}

#[inline]
fn make(regs: &mut UserRegs) {
    let nr = number(regs);
    regs.rax = match HANDLERS.get(nr) {
        Some(handler) => handler(regs) as u64,
        None => unknown(nr) as u64,
    };
}

/// A number that no call has; x32 numbers are among them.
#[cold]
fn unknown(nr: usize) -> i64 {
    if UNKNOWN.fetch_add(1, Ordering::Relaxed) == 0 {
        log::warn!("system call {nr} does not exist");
    }
    Errno::ENOSYS.to_ret()
}

/// A call that the table lists as absent.
#[cold]
fn absent(nr: u64) -> i64 {
    if let (Some(count), Some(entry)) = (ABSENT.get(nr as usize), TABLE.get(nr as usize))
        && count.fetch_add(1, Ordering::Relaxed) == 0
    {
        log::warn!("[{}] system call {nr} ({}) is absent", current().tid(), entry.name);
    }
    let privilege = table::PRIVILEGED.iter().find(|(number, _)| *number == nr).map(|(_, cap)| *cap);
    if privilege.is_some_and(|cap| !current().with_cred(|cred| cred.capable(cap))) {
        return Errno::EPERM.to_ret();
    }
    Errno::ENOSYS.to_ret()
}

/// Absent calls that were asked for: number and count.
pub fn absent_counts() -> impl Iterator<Item = (usize, u32)> {
    ABSENT.iter().enumerate().map(|(nr, count)| (nr, count.load(Ordering::Relaxed))).filter(|&(_, n)| n != 0)
}

/// What goes into the result register.
#[inline]
fn encode(result: Result<u64>) -> i64 {
    match result {
        Ok(value) => value as i64,
        Err(errno) => errno.to_ret(),
    }
}
