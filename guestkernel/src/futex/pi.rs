//! Futexes with priority inheritance.
//!
//! The word holds the owner's thread id, or 0. A locker that finds an owner sets `WAITERS` and waits in a table
//! here; the owner, whose exchange in user space then fails, hands the lock to the most urgent waiter. While it
//! holds the lock it runs with the priority of the most urgent waiter (futex(2), "Priority-inheritance
//! futexes"), and so does the owner of what it waits for itself. A task that ends hands on what it holds; the new owner
//! marks the word with `OWNER_DIED`.
//!
//! A bucket's lock may be held over a page fault; it is taken before an address space's.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering};

use super::{Key, OWNER_DIED, TID_MASK, WAITERS, index};
use crate::{
    arch::{clock, uaccess},
    errno::{Errno, Result},
    sync::Mutex,
    task::{Task, current, sched, tree},
};

/// Number of buckets.
const BUCKETS: usize = 64;

/// When to look again at a word whose owner is just ending, ns.
const RETRY_NS: u64 = 50_000;

/// Owners that wait for owners, as far as they are followed.
const CHAIN: usize = 1024;

static TABLE: [Mutex<Vec<State>>; BUCKETS] = [const { Mutex::new(Vec::new()) }; BUCKETS];

/// A futex that somebody waits for.
#[derive(Debug)]
struct State {
    key: Key,
    owner: Arc<Task>,
    /// In the order in which they came.
    waiters: Vec<Arc<Waiter>>,
    /// The owner before died, and the present one has not written itself into the word yet.
    unmarked: bool,
}

/// A task that waits, or is to, for a futex to become its own.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) task: Arc<Task>,
    granted: AtomicBool,
}

impl Waiter {
    pub(super) fn new(task: Arc<Task>) -> Arc<Self> {
        Arc::new(Self { task, granted: AtomicBool::new(false) })
    }
}

impl State {
    /// Takes the most urgent waiter, the first of equals.
    fn take_top(&mut self) -> Option<Arc<Waiter>> {
        let place =
            (0..self.waiters.len()).min_by_key(|&at| (self.waiters[at].task.sched.share.rank(), at))?;
        Some(self.waiters.remove(place))
    }

    /// Makes `waiter` the owner.
    fn grant(&mut self, waiter: &Waiter) {
        let old = core::mem::replace(&mut self.owner, waiter.task.clone());
        let held = old.pi_held.fetch_sub(1, Ordering::SeqCst);
        if held == 1 {
            sched::boost(&old, None);
        }
        self.owner.pi_held.fetch_add(1, Ordering::SeqCst);
        for other in &self.waiters {
            sched::boost(&self.owner, Some(&other.task));
        }
        *waiter.task.pi_waits.lock() = None;
        waiter.granted.store(true, Ordering::SeqCst);
        sched::wake(&waiter.task);
    }
}

fn bucket(key: &Key) -> &'static Mutex<Vec<State>> {
    &TABLE[index(key) % BUCKETS]
}

/// Exchanges the word; `EAGAIN` when it was not `old`.
fn exchange(addr: u64, old: u32, new: u32) -> Result<()> {
    if uaccess::cmpxchg_u32(addr, old, new)? == old { Ok(()) } else { Err(Errno::EAGAIN) }
}

/// What a look at the word came to.
pub(super) enum Look {
    Acquired,
    /// The task is among the waiters of this owner.
    Waiting(Arc<Task>),
    /// The word changed, or its owner is just ending.
    Again,
}

/// `FUTEX_LOCK_PI`, `FUTEX_TRYLOCK_PI`: until `deadline` (CLOCK_MONOTONIC, ns).
///
/// # Errors
/// `EDEADLK`, `EAGAIN` (`only_try`), `ESRCH`, `EINVAL`, `ETIMEDOUT`, `EFAULT`.
pub fn lock(addr: u64, private: bool, deadline: Option<u64>, only_try: bool) -> Result<()> {
    let key = Key::of(addr, private)?;
    let waiter = Waiter::new(current().arc());
    loop {
        match look(addr, &key, &waiter, only_try)? {
            Look::Acquired => return Ok(()),
            Look::Waiting(owner) => {
                if let Err(error) = spread(&owner, &waiter.task)
                    && withdraw(&key, &waiter)
                {
                    return Err(error);
                }
                return wait(addr, &key, &waiter, deadline);
            }
            Look::Again => pause()?,
        }
    }
}

/// Lets others run before a word is looked at again.
///
/// # Errors
/// `ERESTARTNOINTR` for a signal.
pub(super) fn pause() -> Result<()> {
    let me = current().arc();
    if me.signal_pending() {
        return Err(Errno::ERESTARTNOINTR);
    }
    // Whatever the priorities, the one that ends gets the CPU meanwhile.
    sched::prepare_to_block(&me, true);
    sched::block(&me, true, Some(clock::monotonic_ns() + RETRY_NS));
    Ok(())
}

/// Makes the word the task's own if it is free, else the task one of those that wait for it.
///
/// # Errors
/// As [`lock`].
pub(super) fn look(addr: u64, key: &Key, waiter: &Arc<Waiter>, only_try: bool) -> Result<Look> {
    let me = &waiter.task;
    let mut bucket = bucket(key).lock();
    let word = uaccess::load_u32(addr)?;
    let owner = word & TID_MASK;
    if owner == me.tid() {
        return Err(Errno::EDEADLK);
    }
    let place = match bucket.iter().position(|state| state.key == *key) {
        Some(place) if !bucket[place].unmarked && bucket[place].owner.tid() != owner => {
            return Err(Errno::EINVAL);
        }
        Some(_) if only_try => return Err(Errno::EAGAIN),
        Some(place) => place,
        None if owner == 0 => {
            let new = me.tid() | word & (OWNER_DIED | WAITERS);
            return Ok(if exchange(addr, word, new).is_ok() { Look::Acquired } else { Look::Again });
        }
        None if only_try => return Err(Errno::EAGAIN),
        None => {
            if exchange(addr, word, word | WAITERS).is_err() {
                return Ok(Look::Again);
            }
            let Some(task) = tree::task(owner) else {
                let unchanged = uaccess::load_u32(addr)? == word | WAITERS;
                return if unchanged { Err(Errno::ESRCH) } else { Ok(Look::Again) };
            };
            if task.exiting.load(Ordering::SeqCst) {
                return Ok(Look::Again);
            }
            task.pi_held.fetch_add(1, Ordering::SeqCst);
            bucket.push(State { key: *key, owner: task, waiters: Vec::new(), unmarked: false });
            bucket.len() - 1
        }
    };
    bucket[place].waiters.push(waiter.clone());
    *me.pi_waits.lock() = Some(*key);
    sched::boost(&bucket[place].owner, Some(me));
    Ok(Look::Waiting(bucket[place].owner.clone()))
}

/// Gives the owner of what `owner` waits for itself the priority of `urgent`, and so on.
///
/// # Errors
/// `EDEADLK` when `urgent` would wait for itself.
pub(super) fn spread(owner: &Arc<Task>, urgent: &Arc<Task>) -> Result<()> {
    let mut owner = owner.clone();
    for _ in 0..CHAIN {
        let Some(key) = *owner.pi_waits.lock() else { return Ok(()) };
        let next = bucket(&key).lock().iter().find(|state| state.key == key).map(|state| state.owner.clone());
        let Some(next) = next else { return Ok(()) };
        if Arc::ptr_eq(&next, urgent) {
            return Err(Errno::EDEADLK);
        }
        sched::boost(&next, Some(urgent));
        owner = next;
    }
    Ok(())
}

/// Takes a waiter back; false when it owns the futex already.
fn withdraw(key: &Key, waiter: &Arc<Waiter>) -> bool {
    let mut bucket = bucket(key).lock();
    let granted = waiter.granted.load(Ordering::SeqCst);
    if !granted {
        let place = bucket.iter().position(|state| state.key == *key);
        leave(&mut bucket, place, waiter);
    }
    !granted
}

/// Takes a waiter off the futex at `place`.
fn leave(bucket: &mut Vec<State>, place: Option<usize>, waiter: &Arc<Waiter>) {
    if let Some(place) = place {
        bucket[place].waiters.retain(|other| !Arc::ptr_eq(other, waiter));
    }
    *waiter.task.pi_waits.lock() = None;
    tidy(bucket, place);
}

/// Waits until the futex is the waiter's.
///
/// # Errors
/// `ETIMEDOUT`, `ERESTARTNOINTR`, `EFAULT`.
pub(super) fn wait(addr: u64, key: &Key, waiter: &Arc<Waiter>, deadline: Option<u64>) -> Result<()> {
    let me = &waiter.task;
    let end = loop {
        sched::prepare_to_block(me, true);
        if waiter.granted.load(Ordering::SeqCst) {
            sched::cancel_block(me);
            break sched::BlockEnd::Woken;
        }
        match sched::block(me, true, deadline) {
            sched::BlockEnd::Woken if !waiter.granted.load(Ordering::SeqCst) => {}
            end => break end,
        }
    };
    let mut bucket = bucket(key).lock();
    let place = bucket.iter().position(|state| state.key == *key);
    if waiter.granted.load(Ordering::SeqCst) {
        let marked = match place {
            Some(place) if bucket[place].unmarked && Arc::ptr_eq(&bucket[place].owner, me) => {
                bucket[place].unmarked = false;
                mark(addr, me.tid())
            }
            _ => Ok(()),
        };
        tidy(&mut bucket, place);
        return marked;
    }
    leave(&mut bucket, place, waiter);
    Err(if end == sched::BlockEnd::TimedOut { Errno::ETIMEDOUT } else { Errno::ERESTARTNOINTR })
}

/// Forgets a futex for which nobody waits.
fn tidy(bucket: &mut Vec<State>, place: Option<usize>) {
    if let Some(place) = place
        && bucket[place].waiters.is_empty()
        && !bucket[place].unmarked
    {
        let state = bucket.swap_remove(place);
        if state.owner.pi_held.fetch_sub(1, Ordering::SeqCst) == 1 {
            sched::boost(&state.owner, None);
        }
    }
}

/// Writes the new owner, whose predecessor died, into the word.
fn mark(addr: u64, tid: u32) -> Result<()> {
    let mut old = uaccess::load_u32(addr)?;
    loop {
        let found = uaccess::cmpxchg_u32(addr, old, tid | WAITERS | OWNER_DIED)?;
        if found == old {
            return Ok(());
        }
        old = found;
    }
}

/// `FUTEX_UNLOCK_PI`.
///
/// # Errors
/// `EPERM` when the caller does not hold it, `EAGAIN`, `EINVAL`, `EFAULT`.
pub fn unlock(addr: u64, private: bool) -> Result<()> {
    let me = current();
    // As Linux: who does not hold it learns that before anything is said of the address.
    if uaccess::get::<u32>(addr)? & TID_MASK != me.tid() {
        return Err(Errno::EPERM);
    }
    let key = Key::of(addr, private)?;
    let mut bucket = bucket(&key).lock();
    loop {
        let word = uaccess::load_u32(addr)?;
        if word & TID_MASK != me.tid() {
            return Err(Errno::EPERM);
        }
        let Some(place) = bucket.iter().position(|state| state.key == key) else {
            match exchange(addr, word, 0) {
                Err(Errno::EAGAIN) => continue,
                result => return result,
            }
        };
        let state = &mut bucket[place];
        if !me.is(&state.owner) {
            return Err(Errno::EINVAL);
        }
        let Some(top) = state.take_top() else {
            tidy(&mut bucket, Some(place));
            continue;
        };
        if let Err(error) = exchange(addr, word, top.task.tid() | WAITERS) {
            state.waiters.insert(0, top);
            match error {
                Errno::EAGAIN => continue,
                other => return Err(other),
            }
        }
        state.grant(&top);
        tidy(&mut bucket, Some(place));
        return Ok(());
    }
}

/// Hands on what a task holds that ends.
pub(super) fn exit(me: &Task) {
    if me.pi_held.load(Ordering::SeqCst) == 0 {
        return;
    }
    for bucket in &TABLE {
        let mut bucket = bucket.lock();
        let mut place = 0;
        while place < bucket.len() {
            let state = &mut bucket[place];
            if core::ptr::eq(&*state.owner, me) {
                match state.take_top() {
                    Some(top) => {
                        state.unmarked = true;
                        state.grant(&top);
                    }
                    None => {
                        state.unmarked = false;
                        tidy(&mut bucket, Some(place));
                        continue;
                    }
                }
            }
            place += 1;
        }
    }
}
