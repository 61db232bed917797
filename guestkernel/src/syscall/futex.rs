//! Futexes.

use super::Args;
use crate::{
    arch::{clock, uaccess},
    errno::{Errno, Result},
    futex::{self, MATCH_ANY},
    task::{current, tree},
};
use core::sync::atomic::Ordering;

const FUTEX_WAIT: u32 = 0;
const FUTEX_WAKE: u32 = 1;
const FUTEX_REQUEUE: u32 = 3;
const FUTEX_CMP_REQUEUE: u32 = 4;
const FUTEX_WAKE_OP: u32 = 5;
const FUTEX_WAIT_BITSET: u32 = 9;
const FUTEX_WAKE_BITSET: u32 = 10;
const FUTEX_PRIVATE: u32 = 128;
const FUTEX_CLOCK_REALTIME: u32 = 256;
/// `sizeof(struct robust_list_head)`.
const ROBUST_HEAD: usize = 24;

/// futex(2).
pub fn futex(args: &Args) -> Result<u64> {
    let (addr, op, value) = (args.addr(0), args.uint(1), args.uint(2));
    let private = op & FUTEX_PRIVATE != 0;
    let realtime = op & FUTEX_CLOCK_REALTIME != 0;
    let command = op & !(FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME);
    if realtime && command != FUTEX_WAIT_BITSET {
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
            futex::requeue(addr, args.addr(4), wake, limit, None, private).map(|(_, woken)| woken)
        }
        FUTEX_CMP_REQUEUE => {
            let (wake, limit) = (count(2)?, count(3)?);
            futex::requeue(addr, args.addr(4), wake, limit, Some(args.uint(5)), private).map(|(all, _)| all)
        }
        FUTEX_WAKE_OP => {
            futex::wake_op(addr, args.addr(4), value.max(1), args.uint(3), args.uint(5), private)
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
