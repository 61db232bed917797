//! Condition variables over mutexes with priority inheritance: who waits for the condition is moved to the mutex's
//! waiters without waking up (futex(2), `FUTEX_WAIT_REQUEUE_PI` and `FUTEX_CMP_REQUEUE_PI`).
//!
//! The list's lock is taken before that of a bucket of [`pi`]; like it, it may be held over a page fault.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::{Key, pi};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    sync::Mutex,
    task::{current, sched},
};

/// It waits for the condition.
const SLEEPING: u8 = 0;
/// It waits for the mutex.
const MOVED: u8 = 1;
/// The mutex is its own.
const ACQUIRED: u8 = 2;

/// All who wait for a condition, in the order in which they came.
static SLEEPERS: Mutex<Vec<Arc<Sleeper>>> = Mutex::new(Vec::new());
/// Their number: as long as there are none, nobody else looks for them.
static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Sleeper {
    waiter: Arc<pi::Waiter>,
    condition: Key,
    mutex: Key,
    state: AtomicU8,
}

impl Sleeper {
    /// It waits for the condition no more. Whether it did until now.
    fn leave(self: &Arc<Self>, list: &mut Vec<Arc<Self>>) -> bool {
        let place = list.iter().position(|other| Arc::ptr_eq(other, self));
        if let Some(place) = place {
            list.remove(place);
            COUNT.fetch_sub(1, Ordering::SeqCst);
        }
        place.is_some()
    }
}

/// Whether anybody waits for the word as a condition: such a one is not to be woken in another way.
pub(super) fn is_condition(key: &Key) -> bool {
    COUNT.load(Ordering::SeqCst) != 0 && SLEEPERS.lock().iter().any(|sleeper| sleeper.condition == *key)
}

fn keys(condition: u64, mutex: u64, private: bool) -> Result<(Key, Key)> {
    if condition == mutex {
        return Err(Errno::EINVAL);
    }
    let keys = (Key::of(condition, private)?, Key::of(mutex, private)?);
    if keys.0 == keys.1 { Err(Errno::EINVAL) } else { Ok(keys) }
}

/// `FUTEX_WAIT_REQUEUE_PI`: waits for the condition and then for the mutex, until `deadline` (CLOCK_MONOTONIC, ns).
///
/// # Errors
/// `EAGAIN` when the word differs or a signal came while it waited for the mutex, `ETIMEDOUT`, `EINVAL`, `EFAULT`.
pub fn wait(condition: u64, value: u32, private: bool, deadline: Option<u64>, mutex: u64) -> Result<()> {
    let (condition_key, mutex_key) = keys(condition, mutex, private)?;
    let me = current().arc();
    let sleeper = Arc::new(Sleeper {
        waiter: pi::Waiter::new(me.clone()),
        condition: condition_key,
        mutex: mutex_key,
        state: AtomicU8::new(SLEEPING),
    });
    {
        // Who signals the condition changes the word before it takes this lock.
        let mut list = SLEEPERS.lock();
        if uaccess::load_u32(condition)? != value {
            return Err(Errno::EAGAIN);
        }
        COUNT.fetch_add(1, Ordering::SeqCst);
        list.push(sleeper.clone());
    }
    loop {
        sched::prepare_to_block(&me, true);
        let state = sleeper.state.load(Ordering::SeqCst);
        if state != SLEEPING {
            sched::cancel_block(&me);
        }
        match state {
            ACQUIRED => return Ok(()),
            MOVED => {
                return match pi::wait(mutex, &mutex_key, &sleeper.waiter, deadline) {
                    // It is no longer where the call could begin again.
                    Err(Errno::ERESTARTNOINTR) => Err(Errno::EAGAIN),
                    result => result,
                };
            }
            _ => {}
        }
        let error = match sched::block(&me, true, deadline) {
            sched::BlockEnd::Woken => continue,
            sched::BlockEnd::TimedOut => Errno::ETIMEDOUT,
            sched::BlockEnd::Interrupted => Errno::ERESTARTNOINTR,
        };
        if sleeper.leave(&mut SLEEPERS.lock()) {
            return Err(error);
        }
    }
}

/// `FUTEX_CMP_REQUEUE_PI`: gives the mutex to the most urgent who waits for the condition, if it is free, and makes at
/// most `limit` others (that one too, if it is not) wait for it. Their number.
///
/// # Errors
/// `EAGAIN` when the word is not `expected`, `EINVAL` for those who wait otherwise or for another mutex; as
/// [`pi::lock`].
pub fn requeue(
    condition: u64,
    mutex: u64,
    wake: u32,
    limit: u32,
    expected: u32,
    private: bool,
) -> Result<u64> {
    if wake != 1 {
        return Err(Errno::EINVAL);
    }
    let (condition_key, mutex_key) = keys(condition, mutex, private)?;
    let mut done = 0;
    loop {
        let mut list = SLEEPERS.lock();
        if done == 0 && uaccess::load_u32(condition)? != expected {
            return Err(Errno::EAGAIN);
        }
        if super::has_waiter(&condition_key) {
            return Err(Errno::EINVAL);
        }
        loop {
            let next = list
                .iter()
                .filter(|sleeper| sleeper.condition == condition_key)
                .min_by_key(|sleeper| sleeper.waiter.task.sched.share.rank())
                .cloned();
            let Some(sleeper) = next.filter(|_| done <= u64::from(limit)) else { return Ok(done) };
            if sleeper.mutex != mutex_key {
                return Err(Errno::EINVAL);
            }
            match pi::look(mutex, &mutex_key, &sleeper.waiter, false)? {
                pi::Look::Acquired => {
                    sleeper.leave(&mut list);
                    sleeper.state.store(ACQUIRED, Ordering::SeqCst);
                    sched::wake(&sleeper.waiter.task);
                }
                pi::Look::Waiting(owner) => {
                    sleeper.leave(&mut list);
                    sleeper.state.store(MOVED, Ordering::SeqCst);
                    // One who waits for itself was one before it came here.
                    let _ = pi::spread(&owner, &sleeper.waiter.task);
                }
                pi::Look::Again => break,
            }
            done += 1;
        }
        drop(list);
        pi::pause()?;
    }
}
