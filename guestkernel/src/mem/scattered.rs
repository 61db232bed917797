//! Large objects of the kernel where no frames lie side by side.
//!
//! Once memory is in use everywhere there may be no block for a table that grows, though there are frames enough. Such
//! an object then lies in single frames that are mapped one after the other in a region of kernel addresses. As with
//! kernel stacks a freed one keeps its mapping and is used again, so no TLB flush is ever needed; [`trim`] gives their
//! memory back, and their addresses up.
#![allow(unsafe_code, reason = "free objects are a list threaded through themselves")]

use core::sync::atomic::{AtomicU64, Ordering};

use super::{
    PAGE_SIZE,
    buddy::MAX_ORDER,
    frame::{self, Frame},
};
use crate::{
    arch::{self, SCATTERED, SCATTERED_LEN},
    sync::SpinLock,
};

/// Pages whose addresses may be given up for good: their tables stay, 8 MiB of them at most.
const MAX_RETIRED: u64 = 1 << 20;

/// First free object of each order, 0 for none; its first word is the next one.
static POOL: SpinLock<[u64; MAX_ORDER as usize + 1]> = SpinLock::new([0; MAX_ORDER as usize + 1]);
/// Pages of the region that were given out, or are guard pages between objects.
static NEXT: AtomicU64 = AtomicU64::new(0);
static RETIRED: AtomicU64 = AtomicU64::new(0);

/// An object of 2^`order` pages with any contents.
pub(super) fn alloc(order: u32) -> Option<*mut u8> {
    if let Some(address) = take(order) {
        return Some(address as *mut u8);
    }
    let pages = 1u64 << order;
    // With a page that is never mapped behind it.
    let first = NEXT.fetch_add(pages + 1, Ordering::Relaxed);
    if order > MAX_ORDER || first + pages > SCATTERED_LEN / PAGE_SIZE {
        return None;
    }
    let base = SCATTERED + first * PAGE_SIZE;
    for page in 0..pages {
        let mapped = frame::alloc_for_kernel()
            .is_some_and(|frame| arch::kernel_map(base + page * PAGE_SIZE, frame.into_raw()).is_ok());
        if !mapped {
            unmap(base, page);
            return None;
        }
    }
    Some(base as *mut u8)
}

/// Whether an address is of an object that [`alloc`] gave.
pub(super) fn contains(object: *const u8) -> bool {
    (SCATTERED..SCATTERED + SCATTERED_LEN).contains(&(object as u64))
}

/// Frees what [`alloc`] gave.
///
/// # Safety
/// `object` is one of 2^`order` pages that nothing refers to any more.
pub(super) unsafe fn free(object: *mut u8, order: u32) {
    let mut pool = POOL.lock();
    let head = &mut pool[order as usize];
    // SAFETY: as the caller says; a page is aligned for a word.
    unsafe { object.cast::<u64>().write(*head) };
    *head = object as u64;
}

fn take(order: u32) -> Option<u64> {
    let mut pool = POOL.lock();
    let head = pool.get_mut(order as usize)?;
    let first = *head;
    if first == 0 {
        return None;
    }
    // SAFETY: a free object is mapped, belongs to the pool, and begins with the address of the next one.
    *head = unsafe { (first as *const u64).read() };
    Some(first)
}

/// Gives the memory of free objects back; whether there was any. A CPU may still have translations of such an object,
/// so its addresses are never used again.
pub(super) fn trim() -> bool {
    let mut any = false;
    for order in 0..=MAX_ORDER {
        while RETIRED.load(Ordering::Relaxed) < MAX_RETIRED
            && let Some(base) = take(order)
        {
            unmap(base, 1 << order);
            any = true;
        }
    }
    any
}

fn unmap(base: u64, pages: u64) {
    for page in 0..pages {
        if let Some(addr) = arch::kernel_unmap(base + page * PAGE_SIZE) {
            drop(Frame::from_raw(addr));
        }
    }
    RETIRED.fetch_add(pages + 1, Ordering::Relaxed);
}
