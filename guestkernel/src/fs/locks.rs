//! Advisory locks: whole-file ones (flock) and record locks (fcntl), of processes and of open files.
//!
//! All locks of the sandbox are in one table by inode; there are few. A waiter is woken whenever anything is
//! released and looks again. Processes that wait for record locks are listed, so that a circle of them is
//! found by the one that would close it. Lock order: the table, then the list.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering};
use linux_raw_sys::general::{F_GETLK, F_RDLCK, F_SETLKW, F_UNLCK, F_WRLCK, SEEK_CUR, SEEK_END, SEEK_SET};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{file::File, inode::Inode, lease};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    sync::SpinLock,
    task::wait::WaitQueue,
};

/// Who holds a record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process.
    Process(u32),
    /// An open file description.
    File(usize),
}

impl Owner {
    /// The open file description as owner.
    #[must_use]
    pub fn file(file: &Arc<File>) -> Self {
        Self::File(Arc::as_ptr(file) as usize)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    owner: Owner,
    start: u64,
    /// Last byte.
    end: u64,
    exclusive: bool,
}

impl Record {
    fn conflicts(&self, other: &Self) -> bool {
        self.owner != other.owner
            && self.start <= other.end
            && other.start <= self.end
            && (self.exclusive || other.exclusive)
    }
}

#[derive(Debug, Default)]
struct Held {
    records: Vec<Record>,
    /// flock: open file and whether exclusive.
    whole: Vec<(usize, bool)>,
}

static LOCKS: SpinLock<BTreeMap<usize, Held>> = SpinLock::new(BTreeMap::new());
/// Inodes with locks; lets others skip the table.
static COUNT: AtomicUsize = AtomicUsize::new(0);
static RELEASED: WaitQueue = WaitQueue::new();

fn key(inode: &Arc<dyn Inode>) -> usize {
    Arc::as_ptr(inode).cast::<u8>() as usize
}

fn with_held<T>(inode: &Arc<dyn Inode>, f: impl FnOnce(&mut Held) -> T) -> T {
    let mut locks = LOCKS.lock();
    let held = locks.entry(key(inode)).or_default();
    let result = f(held);
    if held.records.is_empty() && held.whole.is_empty() {
        locks.remove(&key(inode));
    }
    COUNT.store(locks.len(), Ordering::SeqCst);
    result
}

fn try_flock(file: &Arc<File>, exclusive: Option<bool>) -> bool {
    let me = Arc::as_ptr(file) as usize;
    with_held(file.inode(), |held| {
        let Some(exclusive) = exclusive else {
            held.whole.retain(|(owner, _)| *owner != me);
            return true;
        };
        if held.whole.iter().any(|(owner, other)| *owner != me && (exclusive || *other)) {
            return false;
        }
        held.whole.retain(|(owner, _)| *owner != me);
        held.whole.push((me, exclusive));
        true
    })
}

/// flock(2): `None` unlocks.
///
/// # Errors
/// `EWOULDBLOCK`, `ERESTARTSYS`.
pub fn flock(file: &Arc<File>, exclusive: Option<bool>, wait: bool) -> Result<()> {
    file.note_locked();
    if !try_flock(file, exclusive) {
        // A conversion gives the old lock up first, also one that then fails.
        try_flock(file, None);
        RELEASED.wake_all();
        if !wait {
            return Err(Errno::EAGAIN);
        }
        RELEASED.wait_until(|| try_flock(file, exclusive).then_some(()))?;
    }
    RELEASED.wake_all();
    Ok(())
}

/// `struct flock`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Flock {
    kind: i16,
    whence: i16,
    pad: i32,
    start: i64,
    len: i64,
    pid: i32,
    pad2: i32,
}

/// The bytes that a request names: first and last.
fn range(file: &File, lock: &Flock) -> Result<(u64, u64)> {
    let base = match lock.whence as u32 {
        SEEK_SET => 0,
        SEEK_CUR => file.position() as i64,
        SEEK_END => file.inode().size()? as i64,
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(lock.start).ok_or(Errno::EOVERFLOW)?;
    let (start, end) = match lock.len {
        0 => (start, i64::MAX),
        len if len > 0 => (start, start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?),
        len => (start.checked_add(len).ok_or(Errno::EINVAL)?, start - 1),
    };
    if start < 0 || end < start {
        return Err(Errno::EINVAL);
    }
    Ok((start as u64, end as u64))
}

/// Puts `record` in place of what its owner holds in that range; `kind` unlocks when `None`.
fn replace(records: &mut Vec<Record>, record: Record, lock: bool) {
    let mut rest = Vec::new();
    records.retain(|old| {
        if old.owner != record.owner || old.end < record.start || record.end < old.start {
            return true;
        }
        if old.start < record.start {
            rest.push(Record { end: record.start - 1, ..*old });
        }
        if old.end > record.end {
            rest.push(Record { start: record.end + 1, ..*old });
        }
        false
    });
    records.append(&mut rest);
    if lock {
        // Locks of one kind that touch are one.
        let mut whole = record;
        records.retain(|old| {
            let joins = old.owner == whole.owner
                && old.exclusive == whole.exclusive
                && (old.end.checked_add(1) == Some(whole.start)
                    || whole.end.checked_add(1) == Some(old.start));
            if joins {
                whole.start = whole.start.min(old.start);
                whole.end = whole.end.max(old.end);
            }
            !joins
        });
        records.push(whole);
    }
    records.sort_by_key(|record| record.start);
}

/// A process that waits for a record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiter {
    inode: usize,
    record: Record,
}

static WAITERS: SpinLock<Vec<Waiter>> = SpinLock::new(Vec::new());

/// Whether waiting would close a circle: who is in the way waits for somebody who waits … for the waiter.
fn is_deadlock(table: &BTreeMap<usize, Held>, waiters: &[Waiter], new: &Waiter) -> bool {
    let mut seen = alloc::vec![false; waiters.len()];
    let mut open = alloc::vec![*new];
    while let Some(next) = open.pop() {
        let held = table.get(&next.inode).map_or(&[][..], |held| &held.records);
        for holder in held.iter().filter(|holder| holder.conflicts(&next.record)) {
            if holder.owner == new.record.owner {
                return true;
            }
            for (waiter, seen) in waiters.iter().zip(&mut seen) {
                if waiter.record.owner == holder.owner && !*seen {
                    *seen = true;
                    open.push(*waiter);
                }
            }
        }
    }
    false
}

/// A place in the list of those who wait; left when dropped.
struct Waiting(Waiter);

impl Waiting {
    fn begin(inode: &Arc<dyn Inode>, record: Record) -> Result<Self> {
        let waiter = Waiter { inode: key(inode), record };
        let table = LOCKS.lock();
        let mut waiters = WAITERS.lock();
        // Locks of open files belong to nobody who could wait.
        if matches!(record.owner, Owner::Process(_)) && is_deadlock(&table, &waiters, &waiter) {
            return Err(Errno::EDEADLK);
        }
        waiters.push(waiter);
        Ok(Self(waiter))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiters = WAITERS.lock();
        if let Some(index) = waiters.iter().position(|waiter| *waiter == self.0) {
            waiters.swap_remove(index);
        }
    }
}

fn try_set(inode: &Arc<dyn Inode>, record: Record, lock: bool) -> bool {
    with_held(inode, |held| {
        if lock && held.records.iter().any(|other| other.conflicts(&record)) {
            return false;
        }
        replace(&mut held.records, record, lock);
        true
    })
}

/// `F_GETLK`, `F_SETLK`, `F_SETLKW` for an owner; `arg` is the user's `struct flock`.
///
/// # Errors
/// As fcntl(2).
pub fn control(file: &Arc<File>, owner: Owner, command: u32, arg: u64) -> Result<()> {
    let mut request: Flock = uaccess::get(arg)?;
    if matches!(owner, Owner::File(_)) && request.pid != 0 {
        return Err(Errno::EINVAL);
    }
    let (start, end) = range(file, &request)?;
    let (lock, exclusive) = match request.kind as u32 {
        F_RDLCK => (true, false),
        F_WRLCK => (true, true),
        F_UNLCK if command != F_GETLK => (false, false),
        _ => return Err(Errno::EINVAL),
    };
    let record = Record { owner, start, end, exclusive };
    if command == F_GETLK {
        let found =
            with_held(file.inode(), |held| held.records.iter().find(|r| r.conflicts(&record)).copied());
        match found {
            None => request.kind = F_UNLCK as i16,
            Some(other) => {
                request.kind = if other.exclusive { F_WRLCK } else { F_RDLCK } as i16;
                request.whence = 0;
                request.start = other.start as i64;
                request.len =
                    if other.end == i64::MAX as u64 { 0 } else { (other.end - other.start + 1) as i64 };
                request.pid = if let Owner::Process(pid) = other.owner { pid as i32 } else { -1 };
            }
        }
        return uaccess::put(arg, &request);
    }
    if lock {
        if exclusive { file.check_writable()? } else { file.check_readable()? }
    }
    file.note_locked();
    if !try_set(file.inode(), record, lock) {
        if command != F_SETLKW {
            return Err(Errno::EAGAIN);
        }
        let _waiting = Waiting::begin(file.inode(), record)?;
        RELEASED.wait_until(|| try_set(file.inode(), record, lock).then_some(()))?;
    }
    RELEASED.wake_all();
    Ok(())
}

fn drop_matching(inode: &Arc<dyn Inode>, records: impl Fn(&Owner) -> bool, whole: Option<usize>) {
    if COUNT.load(Ordering::SeqCst) == 0 {
        return;
    }
    with_held(inode, |held| {
        held.records.retain(|record| !records(&record.owner));
        held.whole.retain(|(owner, _)| Some(*owner) != whole);
    });
    RELEASED.wake_all();
}

/// Whether there are any locks.
pub(super) fn any() -> bool {
    COUNT.load(Ordering::SeqCst) != 0
}

/// A process closed a descriptor of this inode: its record locks go.
pub fn release_process(inode: &Arc<dyn Inode>, pid: u32) {
    drop_matching(inode, |owner| *owner == Owner::Process(pid), None);
}

/// An open file description is gone, and with it its locks and its lease.
pub(super) fn release_file(inode: &Arc<dyn Inode>, file: *const File) {
    lease::release(inode, file);
    let file = file as usize;
    drop_matching(inode, |owner| *owner == Owner::File(file), Some(file));
}

/// A process ended: its record locks go.
pub fn process_exit(pid: u32) {
    if COUNT.load(Ordering::SeqCst) == 0 {
        return;
    }
    let mut locks = LOCKS.lock();
    locks.retain(|_, held| {
        held.records.retain(|record| record.owner != Owner::Process(pid));
        !held.records.is_empty() || !held.whole.is_empty()
    });
    COUNT.store(locks.len(), Ordering::SeqCst);
    drop(locks);
    RELEASED.wake_all();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlocking_the_middle_splits_a_record() {
        let record = |start, end| Record { owner: Owner::Process(1), start, end, exclusive: true };
        let mut records = alloc::vec![record(0, 9)];
        replace(&mut records, record(3, 5), false);
        let mut left: Vec<_> = records.iter().map(|r| (r.start, r.end)).collect();
        left.sort_unstable();
        assert_eq!(left, [(0, 2), (6, 9)]);
    }

    #[test]
    fn locks_that_touch_are_one() {
        let record = |start, end| Record { owner: Owner::Process(1), start, end, exclusive: true };
        let mut records = alloc::vec![record(0, 2), record(6, 9)];
        replace(&mut records, record(3, 5), true);
        assert_eq!(records, [record(0, 9)]);
    }

    #[test]
    fn a_circle_of_waiters_is_found() {
        let record = |pid, start| Record { owner: Owner::Process(pid), start, end: start, exclusive: true };
        let records = alloc::vec![record(1, 1), record(2, 2), record(3, 3)];
        let table = BTreeMap::from([(7, Held { records, whole: Vec::new() })]);
        let waits = |pid, start| Waiter { inode: 7, record: record(pid, start) };
        let waiters = [waits(1, 2), waits(2, 3)];
        assert!(is_deadlock(&table, &waiters, &waits(3, 1)));
        assert!(!is_deadlock(&table, &waiters, &waits(4, 1)));
        assert!(!is_deadlock(&table, &waiters[1..], &waits(3, 1)));
    }
}
