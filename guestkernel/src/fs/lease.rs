//! Leases on files (`F_SETLEASE` of fcntl(2)): whoever holds one is told before another opens or truncates the file in
//! a way that conflicts, and has `fs.lease-break-time` seconds to give it up.
//!
//! A lease is granted by who has the file open: inodes count their readers, [`super::busy`] their writers. Who opens
//! counts first and looks at [`COUNT`] then, who asks for a lease does it the other way round, so that one sees the
//! other. The table is a spinning leaf; nothing is dropped under it.

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use linux_raw_sys::general::{F_RDLCK, F_UNLCK, F_WRLCK, O_ACCMODE, O_RDONLY};

use super::{busy, file::File, inode::Inode, owner::Reason};
use crate::{
    arch::clock,
    errno::{Errno, Result},
    sync::SpinLock,
    task::{
        cred::Caps,
        current,
        wait::{WaitError, WaitQueue},
    },
};

/// `fs.leases-enable`.
static ENABLED: AtomicU32 = AtomicU32::new(1);
/// `fs.lease-break-time`, seconds; 0 waits for ever.
static BREAK_TIME: AtomicU32 = AtomicU32::new(45);
/// Leases that there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Leases by the address of their inode, which their file keeps.
static LEASES: SpinLock<BTreeMap<usize, Vec<Lease>>> = SpinLock::new(BTreeMap::new());
/// Woken when a lease ends or gets weaker.
static RELEASED: WaitQueue = WaitQueue::new();

#[derive(Clone)]
struct Lease {
    file: Weak<File>,
    /// The descriptor that it was asked for by.
    fd: i32,
    /// Against readers too.
    write: bool,
    /// Its holder was told to end it and has until then (CLOCK_MONOTONIC, ns).
    ends: Option<u64>,
    /// As `ends`, to let readers in.
    weakens: Option<u64>,
}

impl Lease {
    fn is_of(&self, file: *const File) -> bool {
        core::ptr::eq(self.file.as_ptr(), file)
    }

    fn conflicts(&self, writes: bool) -> bool {
        self.write || writes
    }

    /// The holder is to be told that somebody wants in; whether it was not told so before.
    fn press(&mut self, writes: bool, until: u64) -> bool {
        let told = self.ends.is_some() || !writes && self.weakens.is_some();
        if !told {
            *(if writes { &mut self.ends } else { &mut self.weakens }) = Some(until);
        }
        !told
    }

    /// What `F_GETLEASE` says: what it is becoming.
    fn kind(&self) -> u32 {
        match self {
            Self { ends: Some(_), .. } => F_UNLCK,
            Self { weakens: None, write: true, .. } => F_WRLCK,
            _ => F_RDLCK,
        }
    }
}

/// `fs.leases-enable`.
#[must_use]
pub fn enabled() -> u32 {
    ENABLED.load(Ordering::Relaxed)
}

/// Changes it.
pub fn set_enabled(value: u32) {
    ENABLED.store(value, Ordering::Relaxed);
}

/// `fs.lease-break-time`, seconds.
#[must_use]
pub fn break_time() -> u32 {
    BREAK_TIME.load(Ordering::Relaxed)
}

/// Changes it.
pub fn set_break_time(value: u32) {
    BREAK_TIME.store(value, Ordering::Relaxed);
}

fn key(inode: &Arc<dyn Inode>) -> usize {
    Arc::as_ptr(inode).cast::<()>() as usize
}

/// Looks at or changes the leases of an inode, of which those whose time is over are gone.
fn with_leases<T>(inode: &Arc<dyn Inode>, f: impl FnOnce(&mut Vec<Lease>) -> T) -> T {
    let now = clock::monotonic_ns();
    let mut gone = Vec::new();
    let result = {
        let mut table = LEASES.lock();
        let leases = table.entry(key(inode)).or_default();
        let before = leases.len();
        time_out(leases, now, &mut gone);
        let result = f(leases);
        let after = leases.len();
        if after == 0 {
            table.remove(&key(inode));
        }
        COUNT.fetch_add(after.wrapping_sub(before), Ordering::SeqCst);
        result
    };
    if !gone.is_empty() {
        gone.iter().for_each(ended);
        RELEASED.wake_all();
    }
    result
}

/// What the holders did not do in time is done.
fn time_out(leases: &mut Vec<Lease>, now: u64, gone: &mut Vec<Lease>) {
    for lease in leases.iter_mut() {
        if lease.weakens.is_some_and(|until| until <= now) {
            (lease.weakens, lease.write) = (None, false);
        }
    }
    gone.extend(leases.extract_if(.., |lease| lease.ends.is_some_and(|until| until <= now)));
}

/// The holder's file is nobody's again.
fn ended(lease: &Lease) {
    if let Some(file) = lease.file.upgrade() {
        file.clear_owner();
    }
}

/// Refuses a lease that others who have the file open stand against.
fn check_open(file: &File, write: bool) -> Result<()> {
    let inode = file.inode();
    let reads_only = file.flags() & O_ACCMODE == O_RDONLY;
    let readers = inode.readers().ok_or(Errno::EINVAL)?.load(Ordering::SeqCst);
    let writers = busy::writers(inode);
    let alone = writers == i64::from(!reads_only) && readers == u32::from(reads_only);
    if if write { alone } else { writers <= 0 } { Ok(()) } else { Err(Errno::EAGAIN) }
}

/// `F_SETLEASE` for descriptor `fd`: `kind` is `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
///
/// # Errors
/// As fcntl(2).
pub fn set(file: &Arc<File>, fd: i32, kind: u32) -> Result<()> {
    let write = match kind {
        F_RDLCK => Some(false),
        F_WRLCK => Some(true),
        F_UNLCK => None,
        _ => return Err(Errno::EINVAL),
    };
    let owner = file.inode().access()?.uid;
    if current().with_cred(|cred| cred.fsuid != owner && !cred.capable(Caps::LEASE)) {
        return Err(Errno::EACCES);
    }
    if !file.inode().is_regular() {
        return Err(Errno::EINVAL);
    }
    match write {
        Some(write) => add(file, fd, write),
        None if release(file.inode(), Arc::as_ptr(file)) => {
            file.clear_owner();
            Ok(())
        }
        None => Err(Errno::EAGAIN),
    }
}

fn add(file: &Arc<File>, fd: i32, write: bool) -> Result<()> {
    check_open(file, write)?;
    file.note_locked();
    let is_new = with_leases(file.inode(), |leases| {
        let others = leases.iter().filter(|lease| !lease.is_of(Arc::as_ptr(file)));
        if others.clone().any(|other| write || other.ends.is_some()) {
            return Err(Errno::EAGAIN);
        }
        if let Some(own) = leases.iter_mut().find(|lease| lease.is_of(Arc::as_ptr(file))) {
            (own.fd, own.write) = (fd, write);
            if !write {
                own.weakens = None;
            }
            return Ok(false);
        }
        if enabled() == 0 {
            return Err(Errno::EINVAL);
        }
        leases.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        leases.push(Lease { file: Arc::downgrade(file), fd, write, ends: None, weakens: None });
        Ok(true)
    })?;
    if is_new {
        // Somebody may have opened it since it was looked at.
        check_open(file, write).inspect_err(|_| {
            release(file.inode(), Arc::as_ptr(file));
        })?;
    } else {
        RELEASED.wake_all();
    }
    file.show_asynchronous(true);
    file.with_owner(|owner| {
        owner.set_default();
        Ok(())
    })
}

/// `F_GETLEASE`.
pub fn get(file: &File) -> u32 {
    if COUNT.load(Ordering::SeqCst) == 0 {
        return F_UNLCK;
    }
    with_leases(file.inode(), |leases| {
        leases.iter().find(|lease| lease.is_of(file)).map_or(F_UNLCK, Lease::kind)
    })
}

/// Ends the lease of an open file description; whether it had one.
pub(super) fn release(inode: &Arc<dyn Inode>, file: *const File) -> bool {
    if COUNT.load(Ordering::SeqCst) == 0 {
        return false;
    }
    let gone: Vec<Lease> =
        with_leases(inode, |leases| leases.extract_if(.., |lease| lease.is_of(file)).collect());
    if !gone.is_empty() {
        RELEASED.wake_all();
    }
    !gone.is_empty()
}

/// Somebody wants to read a file, or change it with `writes`: waits until no lease stands against it, or only tells the
/// holders with `no_wait`.
///
/// # Errors
/// `EAGAIN` with `no_wait`; `ERESTARTSYS` when a signal comes first.
pub fn request(inode: &Arc<dyn Inode>, writes: bool, no_wait: bool) -> Result<()> {
    if COUNT.load(Ordering::SeqCst) == 0 { Ok(()) } else { wait(inode, writes, no_wait) }
}

#[cold]
fn wait(inode: &Arc<dyn Inode>, writes: bool, no_wait: bool) -> Result<()> {
    loop {
        let until = match break_time() {
            0 => u64::MAX,
            seconds => clock::monotonic_ns().saturating_add(u64::from(seconds) * 1_000_000_000),
        };
        // Until when the first of those in the way has time, and who is to be told.
        let (first, told) = with_leases(inode, |leases| {
            let mut told: Vec<(Weak<File>, i32)> = Vec::new();
            let mut first = None;
            for lease in leases.iter_mut().filter(|lease| lease.conflicts(writes)) {
                if lease.press(writes, until) {
                    told.push((lease.file.clone(), lease.fd));
                }
                let due = lease.ends.into_iter().chain(lease.weakens.filter(|_| !writes)).min();
                first = first.into_iter().chain(due).min();
            }
            (first, told)
        });
        for (file, fd) in told {
            if let Some(owner) = file.upgrade().and_then(|file| file.owner()) {
                owner.send(fd, Reason::Message);
            }
        }
        let Some(first) = first else { return Ok(()) };
        if no_wait {
            return Err(Errno::EAGAIN);
        }
        let free =
            || with_leases(inode, |leases| !leases.iter().any(|lease| lease.conflicts(writes))).then_some(());
        let deadline = Some(first).filter(|&first| first != u64::MAX);
        match RELEASED.wait_until_deadline(deadline, free) {
            Ok(()) => return Ok(()),
            Err(WaitError::TimedOut) => {}
            Err(error @ WaitError::Interrupted) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(write: bool) -> Lease {
        Lease { file: Weak::new(), fd: 3, write, ends: None, weakens: None }
    }

    #[test]
    fn a_holder_is_told_once_and_again_when_it_gets_worse() {
        let mut one = lease(true);
        assert_eq!(one.kind(), F_WRLCK);
        assert!(one.press(false, 5) && !one.press(false, 6));
        assert_eq!(one.kind(), F_RDLCK);
        assert!(one.press(true, 7) && !one.press(true, 8) && !one.press(false, 9));
        assert_eq!((one.kind(), one.weakens, one.ends), (F_UNLCK, Some(5), Some(7)));
    }

    #[test]
    fn what_is_not_given_up_in_time_is_taken() {
        let mut all = alloc::vec![lease(true), lease(false), lease(true)];
        all[0].press(false, 10);
        all[1].press(true, 20);
        let mut gone = Vec::new();
        time_out(&mut all, 9, &mut gone);
        assert!(gone.is_empty() && all[0].write);
        time_out(&mut all, 10, &mut gone);
        assert!(gone.is_empty() && !all[0].write && all[0].weakens.is_none());
        time_out(&mut all, 20, &mut gone);
        assert_eq!((gone.len(), all.len()), (1, 2));
    }

    #[test]
    fn readers_stand_only_against_write_leases() {
        assert!(!lease(false).conflicts(false) && lease(false).conflicts(true));
        assert!(lease(true).conflicts(false) && lease(true).conflicts(true));
    }
}
