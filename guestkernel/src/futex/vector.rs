//! Waiting for any of several futexes (futex_waitv(2)).

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use super::{Key, MATCH_ANY, Waiter, bucket, leave, new_waiter};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    task::{current, sched},
};

/// Most futexes that one call waits for.
pub const VECTOR_MAX: usize = 128;

/// One futex of the vector.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// Address of the word.
    pub addr: u64,
    /// Value it must have.
    pub value: u32,
    /// Private to the process.
    pub private: bool,
}

/// Waits until one of `words` is woken, at most until `deadline` (CLOCK_MONOTONIC, ns). Its index.
///
/// # Errors
/// `EAGAIN` when a word differs, `ETIMEDOUT`, `ERESTARTSYS`, `EFAULT`, `EINVAL`.
pub fn wait_any(words: &[Word], deadline: Option<u64>) -> Result<u64> {
    let me = current().arc();
    let keys = words.iter().map(|word| Key::of(word.addr, word.private)).collect::<Result<Vec<_>>>()?;
    let mut waiters: Vec<Arc<Waiter>> = Vec::with_capacity(words.len());
    for (word, key) in words.iter().zip(keys) {
        let waiter = new_waiter(&me, key, MATCH_ANY);
        bucket(&key).lock().push_back(waiter.clone());
        waiters.push(waiter);
        let refused = match uaccess::load_u32(word.addr) {
            Ok(now) if now == word.value => continue,
            Ok(_) => Errno::EAGAIN,
            Err(error) => error,
        };
        return give_up(&waiters).ok_or(refused);
    }
    loop {
        sched::prepare_to_block(&me, true);
        if woken(&waiters).is_some() {
            sched::cancel_block(&me);
            return give_up(&waiters).ok_or(Errno::EAGAIN);
        }
        let end = sched::block(&me, true, deadline);
        let reason = match end {
            sched::BlockEnd::Woken if woken(&waiters).is_none() => continue,
            sched::BlockEnd::Woken => Errno::EAGAIN,
            sched::BlockEnd::TimedOut => Errno::ETIMEDOUT,
            sched::BlockEnd::Interrupted => Errno::ERESTARTSYS,
        };
        return give_up(&waiters).ok_or(reason);
    }
}

/// The last one that was woken, as Linux counts.
fn woken(waiters: &[Arc<Waiter>]) -> Option<usize> {
    waiters.iter().rposition(|waiter| waiter.woken.load(Ordering::SeqCst))
}

/// Takes all off their buckets; the index of one that had been woken, whose wake-up must not be lost.
fn give_up(waiters: &[Arc<Waiter>]) -> Option<u64> {
    let mut taken = None;
    for (index, waiter) in waiters.iter().enumerate() {
        if !leave(waiter) {
            taken = Some(index as u64);
        }
    }
    taken
}
