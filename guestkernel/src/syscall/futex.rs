//! Futexes.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::Args;
use crate::{
    arch::{clock, uaccess},
    errno::{Errno, Result},
    futex::{
        self, Key, MATCH_ANY, pi, requeue_pi,
        vector::{self, VECTOR_MAX, Word},
    },
    task::{current, tree},
};

const FUTEX_WAIT: u32 = 0;
const FUTEX_WAKE: u32 = 1;
const FUTEX_REQUEUE: u32 = 3;
const FUTEX_CMP_REQUEUE: u32 = 4;
const FUTEX_WAKE_OP: u32 = 5;
const FUTEX_LOCK_PI: u32 = 6;
const FUTEX_UNLOCK_PI: u32 = 7;
const FUTEX_TRYLOCK_PI: u32 = 8;
const FUTEX_WAIT_BITSET: u32 = 9;
const FUTEX_WAKE_BITSET: u32 = 10;
const FUTEX_WAIT_REQUEUE_PI: u32 = 11;
const FUTEX_CMP_REQUEUE_PI: u32 = 12;
const FUTEX_LOCK_PI2: u32 = 13;
const FUTEX_PRIVATE: u32 = 128;
const FUTEX_CLOCK_REALTIME: u32 = 256;
/// Flags of the newer calls: the word's size, 32 bits.
const SIZE_MASK: u32 = 3;
const SIZE_U32: u32 = 2;
const CLOCK_REALTIME: i32 = 0;
const CLOCK_MONOTONIC: i32 = 1;
/// `sizeof(struct robust_list_head)`.
const ROBUST_HEAD: usize = 24;

/// futex(2).
pub fn futex(args: &Args) -> Result<u64> {
    let (addr, op, value) = (args.addr(0), args.uint(1), args.uint(2));
    let private = op & FUTEX_PRIVATE != 0;
    let realtime = op & FUTEX_CLOCK_REALTIME != 0;
    let command = op & !(FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME);
    if realtime && !matches!(command, FUTEX_WAIT_BITSET | FUTEX_LOCK_PI2 | FUTEX_WAIT_REQUEUE_PI) {
        return Err(Errno::ENOSYS);
    }
    let count = |index: usize| {
        let count = args.int(index);
        if count < 0 { Err(Errno::EINVAL) } else { Ok(count as u32) }
    };
    match command {
        FUTEX_WAIT => {
            let until = deadline(args.addr(3), false, false)?;
            futex::wait_restartable(addr, value, MATCH_ANY, private, until).map(|()| 0)
        }
        FUTEX_WAIT_BITSET => {
            let until = deadline(args.addr(3), true, realtime)?;
            // An absolute time needs no restart block.
            futex::wait(addr, value, args.uint(5), private, until).map(|()| 0)
        }
        FUTEX_WAKE => futex::wake(addr, value.max(1), MATCH_ANY, private),
        FUTEX_WAKE_BITSET => futex::wake(addr, value.max(1), args.uint(5), private),
        FUTEX_REQUEUE => {
            let (wake, limit) = (count(2)?, count(3)?);
            futex::requeue(addr, args.addr(4), wake, limit, None, private)
        }
        FUTEX_CMP_REQUEUE => {
            let (wake, limit) = (count(2)?, count(3)?);
            futex::requeue(addr, args.addr(4), wake, limit, Some(args.uint(5)), private)
        }
        FUTEX_WAKE_OP => {
            futex::wake_op(addr, args.addr(4), value.max(1), args.uint(3), args.uint(5), private)
        }
        FUTEX_LOCK_PI | FUTEX_LOCK_PI2 => {
            let until = deadline(args.addr(3), true, realtime || command == FUTEX_LOCK_PI)?;
            pi::lock(addr, private, until, false).map(|()| 0)
        }
        FUTEX_TRYLOCK_PI => pi::lock(addr, private, None, true).map(|()| 0),
        FUTEX_UNLOCK_PI => pi::unlock(addr, private).map(|()| 0),
        FUTEX_WAIT_REQUEUE_PI => {
            let until = deadline(args.addr(3), true, realtime)?;
            requeue_pi::wait(addr, value, private, until, args.addr(4)).map(|()| 0)
        }
        FUTEX_CMP_REQUEUE_PI => {
            let (wake, limit) = (count(2)?, count(3)?);
            requeue_pi::requeue(addr, args.addr(4), wake, limit, args.uint(5), private)
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// The time-out argument as CLOCK_MONOTONIC, ns.
fn deadline(addr: u64, absolute: bool, realtime: bool) -> Result<Option<u64>> {
    if addr == 0 {
        return Ok(None);
    }
    let ns = super::time::get_timespec(addr)?;
    let now = clock::monotonic_ns();
    Ok(Some(match (absolute, realtime) {
        (false, _) => now.saturating_add(ns),
        (true, false) => ns,
        (true, true) => now.saturating_add(ns.saturating_sub(clock::realtime_ns())),
    }))
}

/// Decodes the flags of the newer calls: words of 32 bits only. Whether the word is private to the process.
fn is_private(flags: u32) -> Result<bool> {
    if flags & !(SIZE_MASK | FUTEX_PRIVATE) != 0 || flags & SIZE_MASK != SIZE_U32 {
        return Err(Errno::EINVAL);
    }
    Ok(flags & FUTEX_PRIVATE != 0)
}

/// A time-out of the newer calls: absolute, by the clock given.
fn absolute(addr: u64, clock: i32) -> Result<Option<u64>> {
    match clock {
        _ if addr == 0 => Ok(None),
        CLOCK_REALTIME => deadline(addr, true, true),
        CLOCK_MONOTONIC => deadline(addr, true, false),
        _ => Err(Errno::EINVAL),
    }
}

/// `struct futex_waitv`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct WaitWord {
    value: u64,
    addr: u64,
    flags: u32,
    reserved: u32,
}

fn get_words(addr: u64, count: usize) -> Result<Vec<Word>> {
    (0..count as u64)
        .map(|index| {
            let at = addr.checked_add(index * size_of::<WaitWord>() as u64).ok_or(Errno::EFAULT)?;
            let word: WaitWord = uaccess::get(at)?;
            if word.reserved != 0 || word.value > u64::from(u32::MAX) {
                return Err(Errno::EINVAL);
            }
            Ok(Word { addr: word.addr, value: word.value as u32, private: is_private(word.flags)? })
        })
        .collect()
}

/// futex_waitv(2).
pub fn futex_waitv(args: &Args) -> Result<u64> {
    let count = args.uint(1) as usize;
    if args.uint(2) != 0 || !(1..=VECTOR_MAX).contains(&count) || args.addr(0) == 0 {
        return Err(Errno::EINVAL);
    }
    let until = absolute(args.addr(3), args.int(4))?;
    vector::wait_any(&get_words(args.addr(0), count)?, until)
}

/// `futex_wake(2)`.
pub fn futex_wake(args: &Args) -> Result<u64> {
    let (private, mask) = (is_private(args.uint(3))?, args.size(1));
    let bits = u32::try_from(mask).map_err(|_| Errno::EINVAL)?;
    if bits == 0 {
        return Err(Errno::EINVAL);
    }
    match args.int(2) {
        count if count > 0 => futex::wake(args.addr(0), count as u32, bits, private),
        _ => Key::of(args.addr(0), private).map(|_| 0),
    }
}

/// `futex_wait(2)`.
pub fn futex_wait(args: &Args) -> Result<u64> {
    let private = is_private(args.uint(3))?;
    let (Ok(value), Ok(bits)) = (u32::try_from(args.size(1)), u32::try_from(args.size(2))) else {
        return Err(Errno::EINVAL);
    };
    let until = absolute(args.addr(4), args.int(5))?;
    futex::wait(args.addr(0), value, bits, private, until).map(|()| 0)
}

/// `futex_requeue(2)`.
pub fn futex_requeue(args: &Args) -> Result<u64> {
    if args.uint(1) != 0 || args.addr(0) == 0 {
        return Err(Errno::EINVAL);
    }
    let words = get_words(args.addr(0), 2)?;
    let (Ok(wake), Ok(limit)) = (u32::try_from(args.int(2)), u32::try_from(args.int(3))) else {
        return Err(Errno::EINVAL);
    };
    let (from, to) = (words[0], words[1]);
    let keys = (Key::of(from.addr, from.private)?, Key::of(to.addr, to.private)?);
    futex::requeue_keys(from.addr, keys, wake, limit, Some(from.value))
}

/// `set_robust_list(2)`.
pub fn set_robust_list(args: &Args) -> Result<u64> {
    if args.size(1) != ROBUST_HEAD {
        return Err(Errno::EINVAL);
    }
    current().robust_list.store(args.addr(0), Ordering::Relaxed);
    Ok(0)
}

/// `get_robust_list(2)`.
pub fn get_robust_list(args: &Args) -> Result<u64> {
    let task = match args.int(0) {
        0 => current().arc(),
        tid => tree::task(tid as u32).ok_or(Errno::ESRCH)?,
    };
    uaccess::put(args.addr(1), &task.robust_list.load(Ordering::Relaxed))?;
    uaccess::put(args.addr(2), &(ROBUST_HEAD as u64)).map(|()| 0)
}
