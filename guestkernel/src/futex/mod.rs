//! Futexes.
//!
//! Waiters are kept in a table of buckets hashed by what the word is: an address of one address space, or a
//! place in a shared object. A waiter enters its bucket, looks at the word once more, and only then blocks; a
//! waker changes the word before it looks at the bucket. The word is read with the bucket unlocked (it may
//! fault), which is why the waiter enters first.

mod operation;
pub mod pi;
pub mod requeue_pi;
mod robust;
pub mod vector;

use alloc::{collections::VecDeque, sync::Arc};
use core::{
    hash::BuildHasher,
    sync::atomic::{AtomicBool, Ordering},
};
use hashbrown::DefaultHashBuilder;

use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    sync::{LazyLock, SpinLock},
    task::{Restart, Task, current, sched},
};
use operation::Operation;

/// Lets go of the futexes that a thread holds at its end.
pub fn exit(me: &Task) {
    robust::exit(me);
    pi::exit(me);
}

/// Waits for any waker.
pub const MATCH_ANY: u32 = u32::MAX;
/// Number of buckets.
const BUCKETS: usize = 256;

/// In a word of the robust and priority-inheritance protocols: somebody waits.
const WAITERS: u32 = 0x8000_0000;
/// The owner ended while it held the lock.
const OWNER_DIED: u32 = 0x4000_0000;
/// The owner's thread id.
const TID_MASK: u32 = 0x3fff_ffff;

/// What a futex word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// An address of an address space.
    Private {
        /// The space.
        space: u64,
        /// The address.
        addr: u64,
    },
    /// A place in an object that spaces share.
    Shared {
        /// The object.
        object: usize,
        /// Byte offset.
        offset: u64,
    },
}

impl Key {
    /// The key of the word at `addr` of the current task.
    ///
    /// # Errors
    /// `EINVAL` when unaligned, `EFAULT` outside of user space or where nothing is mapped (shared).
    pub fn of(addr: u64, private: bool) -> Result<Self> {
        if !addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if !crate::arch::is_user_range(addr, 4) {
            return Err(Errno::EFAULT);
        }
        let mm = current().mm()?;
        if !private && let Some((object, offset)) = mm.shared_place(addr)? {
            return Ok(Self::Shared { object, offset });
        }
        Ok(Self::Private { space: mm.id(), addr })
    }
}

struct Waiter {
    task: Arc<Task>,
    key: SpinLock<Key>,
    bits: u32,
    woken: AtomicBool,
}

fn new_waiter(task: &Arc<Task>, key: Key, bits: u32) -> Arc<Waiter> {
    Arc::new(Waiter { task: task.clone(), key: SpinLock::new(key), bits, woken: AtomicBool::new(false) })
}

type Bucket = SpinLock<VecDeque<Arc<Waiter>>>;

static TABLE: [Bucket; BUCKETS] = [const { SpinLock::new(VecDeque::new()) }; BUCKETS];
static HASHER: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);

fn index(key: &Key) -> usize {
    HASHER.hash_one(key) as usize % BUCKETS
}

fn bucket(key: &Key) -> &'static Bucket {
    &TABLE[index(key)]
}

/// Takes a waiter off its bucket, wherever it was moved. Whether it was still there.
fn leave(waiter: &Arc<Waiter>) -> bool {
    loop {
        let key = *waiter.key.lock();
        let mut bucket = bucket(&key).lock();
        if *waiter.key.lock() != key {
            continue;
        }
        let place = bucket.iter().position(|other| Arc::ptr_eq(other, waiter));
        if let Some(place) = place {
            bucket.remove(place);
        }
        return place.is_some();
    }
}

/// `FUTEX_WAIT_BITSET` until `deadline` (CLOCK_MONOTONIC, ns).
///
/// # Errors
/// `EAGAIN` when the word differs, `ETIMEDOUT`, `ERESTARTSYS`, `EFAULT`, `EINVAL`.
pub fn wait(addr: u64, value: u32, bits: u32, private: bool, deadline: Option<u64>) -> Result<()> {
    if bits == 0 {
        return Err(Errno::EINVAL);
    }
    let key = Key::of(addr, private)?;
    let me = current().arc();
    let waiter = new_waiter(&me, key, bits);
    bucket(&key).lock().push_back(waiter.clone());
    let now = match uaccess::load_u32(addr) {
        Ok(now) => now,
        Err(error) => {
            leave(&waiter);
            return Err(error);
        }
    };
    if now != value {
        // A waker may have chosen this one meanwhile: then the wake-up must not be lost.
        return if leave(&waiter) { Err(Errno::EAGAIN) } else { Ok(()) };
    }
    loop {
        sched::prepare_to_block(&me, true);
        if waiter.woken.load(Ordering::SeqCst) {
            sched::cancel_block(&me);
            return Ok(());
        }
        let end = sched::block(&me, true, deadline);
        if waiter.woken.load(Ordering::SeqCst) {
            return Ok(());
        }
        let error = match end {
            sched::BlockEnd::Woken => continue,
            sched::BlockEnd::TimedOut => Errno::ETIMEDOUT,
            sched::BlockEnd::Interrupted => Errno::ERESTARTSYS,
        };
        return if leave(&waiter) { Err(error) } else { Ok(()) };
    }
}

/// `FUTEX_WAIT` with a relative time-out, which a stop and continuation must not lengthen.
///
/// # Errors
/// As [`wait`].
pub fn wait_restartable(addr: u64, value: u32, bits: u32, private: bool, until: Option<u64>) -> Result<()> {
    match (wait(addr, value, bits, private, until), until) {
        (Err(Errno::ERESTARTSYS), Some(until)) => {
            *current().signals.restart.lock() = Some(Restart::Futex { addr, value, bits, private, until });
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
        (result, _) => result,
    }
}

/// Wakes at most `count` of those that wait for any of `bits`; gives their number.
///
/// # Errors
/// `EFAULT`, `EINVAL`.
pub fn wake(addr: u64, count: u32, bits: u32, private: bool) -> Result<u64> {
    if bits == 0 {
        return Err(Errno::EINVAL);
    }
    let key = Key::of(addr, private)?;
    if requeue_pi::is_condition(&key) {
        return Err(Errno::EINVAL);
    }
    Ok(wake_key(&key, count, bits))
}

/// Whether anybody waits for the word to be woken.
fn has_waiter(key: &Key) -> bool {
    bucket(key).lock().iter().any(|waiter| *waiter.key.lock() == *key)
}

fn wake_key(key: &Key, count: u32, bits: u32) -> u64 {
    let mut chosen = smallvec::SmallVec::<[Arc<Waiter>; 8]>::new();
    {
        let mut bucket = bucket(key).lock();
        take(&mut bucket, key, count, bits, |waiter| chosen.push(waiter));
    }
    for waiter in &chosen {
        finish(waiter);
    }
    chosen.len() as u64
}

/// Takes at most `count` matching waiters off a bucket.
fn take(
    bucket: &mut VecDeque<Arc<Waiter>>,
    key: &Key,
    count: u32,
    bits: u32,
    mut each: impl FnMut(Arc<Waiter>),
) -> u32 {
    let (mut taken, mut at) = (0, 0);
    while taken < count && at < bucket.len() {
        let matches = bucket.get(at).is_some_and(|w| w.bits & bits != 0 && *w.key.lock() == *key);
        if !matches {
            at += 1;
        } else if let Some(waiter) = bucket.remove(at) {
            each(waiter);
            taken += 1;
        }
    }
    taken
}

fn finish(waiter: &Waiter) {
    waiter.woken.store(true, Ordering::SeqCst);
    sched::wake(&waiter.task);
}

/// Wakes waiters of a word of the current address space, private or shared; for the end of a thread.
pub fn wake_address(addr: u64, count: u32) {
    for private in [true, false] {
        if let Ok(key) = Key::of(addr, private)
            && (private || matches!(key, Key::Shared { .. }))
        {
            wake_key(&key, count, MATCH_ANY);
        }
    }
}

/// `FUTEX_REQUEUE`, `FUTEX_CMP_REQUEUE`: wakes `wake` waiters and moves `limit` others to another word. The
/// number of those woken and moved.
///
/// # Errors
/// `EAGAIN` when the word is not `expected`, `EFAULT`, `EINVAL`.
pub fn requeue(
    from: u64,
    to: u64,
    wake: u32,
    limit: u32,
    expected: Option<u32>,
    private: bool,
) -> Result<u64> {
    requeue_keys(from, (Key::of(from, private)?, Key::of(to, private)?), wake, limit, expected)
}

/// As [`requeue`], of words that may differ in what they are private to.
///
/// # Errors
/// `EAGAIN`, `EFAULT`.
pub fn requeue_keys(
    from: u64,
    (source, target): (Key, Key),
    wake: u32,
    limit: u32,
    expected: Option<u32>,
) -> Result<u64> {
    if let Some(expected) = expected
        && uaccess::load_u32(from)? != expected
    {
        return Err(Errno::EAGAIN);
    }
    if requeue_pi::is_condition(&source) {
        return Err(Errno::EINVAL);
    }
    let woken = wake_key(&source, wake, MATCH_ANY);
    let moved = if source == target { 0 } else { move_waiters(&source, &target, limit) };
    Ok(woken + moved)
}

fn move_waiters(source: &Key, target: &Key, limit: u32) -> u64 {
    let (from, to) = (index(source), index(target));
    let rename = |waiter: &Arc<Waiter>| *waiter.key.lock() = *target;
    let mut moved = VecDeque::new();
    if from == to {
        let mut bucket = TABLE[from].lock();
        take(&mut bucket, source, limit, MATCH_ANY, |waiter| moved.push_back(waiter));
        moved.iter().for_each(rename);
        let count = moved.len();
        bucket.append(&mut moved);
        return count as u64;
    }
    // Two buckets, in the order of the table.
    let first = TABLE[from.min(to)].lock();
    let second = TABLE[from.max(to)].lock();
    let (mut source_bucket, mut target_bucket) = if from < to { (first, second) } else { (second, first) };
    take(&mut source_bucket, source, limit, MATCH_ANY, |waiter| moved.push_back(waiter));
    moved.iter().for_each(rename);
    let count = moved.len();
    target_bucket.append(&mut moved);
    count as u64
}

/// `FUTEX_WAKE_OP`: changes the second word, wakes waiters of the first, and, if the old value compares, of the
/// second.
///
/// # Errors
/// `ENOSYS` for an unknown operation, `EFAULT`, `EINVAL`.
pub fn wake_op(one: u64, two: u64, wake_one: u32, wake_two: u32, code: u32, private: bool) -> Result<u64> {
    let (first, second) = (Key::of(one, private)?, Key::of(two, private)?);
    let operation = Operation::decode(code)?;
    let mut old = uaccess::load_u32(two)?;
    loop {
        let found = uaccess::cmpxchg_u32(two, old, operation.apply(old))?;
        if found == old {
            break;
        }
        old = found;
    }
    let mut woken = wake_key(&first, wake_one, MATCH_ANY);
    if operation.compare(old) {
        woken += wake_key(&second, wake_two, MATCH_ANY);
    }
    Ok(woken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(key: Key, bits: u32) -> Arc<Waiter> {
        let waiter = new_waiter(&current().arc(), key, bits);
        bucket(&key).lock().push_back(waiter.clone());
        waiter
    }

    const fn key(addr: u64) -> Key {
        Key::Private { space: 9, addr }
    }

    #[test]
    fn waking_respects_count_order_and_bits() {
        let (one, two, other) = (waiter(key(8), 1), waiter(key(8), 3), waiter(key(12), 1));
        assert_eq!(wake_key(&key(8), 1, 2), 1);
        assert!(two.woken.load(Ordering::SeqCst) && !one.woken.load(Ordering::SeqCst));
        assert_eq!(wake_key(&key(8), 9, MATCH_ANY), 1);
        assert!(one.woken.load(Ordering::SeqCst) && !other.woken.load(Ordering::SeqCst));
        assert!(leave(&other) && !leave(&one));
    }

    #[test]
    fn moved_waiters_are_woken_by_their_new_word() {
        let all: alloc::vec::Vec<_> = (0..3).map(|_| waiter(key(0x1000), MATCH_ANY)).collect();
        assert_eq!(move_waiters(&key(0x1000), &key(0x2000), 2), 2);
        assert_eq!(wake_key(&key(0x2000), 9, MATCH_ANY), 2);
        assert!(leave(&all[2]) && !leave(&all[0]));
    }
}
