//! Robust futexes: what a thread held at its end is marked, so that others need not wait for ever.

use core::sync::atomic::Ordering;

use super::{OWNER_DIED, TID_MASK, WAITERS, wake_address};
use crate::{arch::uaccess, errno::Result, task::Task};

/// Robust list entries that are looked at.
const ROBUST_LIMIT: u32 = 2048;
/// Marks the robust futexes that a thread holds at its end, and wakes one waiter of each.
pub(super) fn exit(me: &Task) {
    let head = me.robust_list.swap(0, Ordering::Relaxed);
    if head == 0 {
        return;
    }
    // A broken list is the program's own affair; what was reached is marked.
    let _ = walk_robust_list(head, me.tid());
}

fn walk_robust_list(head: u64, tid: u32) -> Result<()> {
    let offset: u64 = uaccess::get(head.wrapping_add(8))?;
    let pending: u64 = uaccess::get(head.wrapping_add(16))?;
    let mut entry: u64 = uaccess::get(head)?;
    let mut left = ROBUST_LIMIT;
    while entry & !1 != head && left > 0 {
        // The next one is read first: its owner may free this one once it is woken.
        let next = uaccess::get::<u64>(entry & !1);
        if entry & !1 != pending & !1 {
            owner_died((entry & !1).wrapping_add(offset), tid, false, entry & 1 != 0)?;
        }
        entry = next?;
        left -= 1;
    }
    if pending & !1 != 0 {
        owner_died((pending & !1).wrapping_add(offset), tid, true, pending & 1 != 0)?;
    }
    Ok(())
}

/// `inherits`: the lock is one with priority inheritance, whose waiters are woken when it is handed on.
fn owner_died(addr: u64, tid: u32, pending: bool, inherits: bool) -> Result<()> {
    let mut old = uaccess::load_u32(addr)?;
    loop {
        if pending && !inherits && old == 0 {
            wake_address(addr, 1);
            return Ok(());
        }
        if old & TID_MASK != tid & TID_MASK {
            return Ok(());
        }
        let found = uaccess::cmpxchg_u32(addr, old, old & WAITERS | OWNER_DIED)?;
        if found == old {
            break;
        }
        old = found;
    }
    if old & WAITERS != 0 && !inherits {
        wake_address(addr, 1);
    }
    Ok(())
}
