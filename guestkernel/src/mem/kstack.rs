//! Kernel stacks.
//!
//! Each lies in its own slot of a region of kernel addresses, with an unmapped page below it: an overflow
//! faults (and ends in a double fault on its own stack, hence a clear panic) instead of overwriting memory.
//! Freed stacks keep their mapping and are reused, so no TLB flush is ever needed; [`trim`] gives up their place.

use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{PAGE_SIZE, frame};
use crate::{
    arch,
    errno::{Errno, Result},
    sync::SpinLock,
};

/// Size of a stack in bytes.
pub const STACK_SIZE: u64 = 32 * 1024;
/// Distance of two stacks.
const SLOT: u64 = 2 * STACK_SIZE;

static POOL: SpinLock<Vec<u64>> = SpinLock::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Stacks that stay in the pool when memory is short.
const KEEP: usize = 16;
/// Slots that may be given up for good: their tables stay, 8 MiB of them at most.
const MAX_RETIRED: u64 = 65536;
static RETIRED: AtomicU64 = AtomicU64::new(0);

/// Gives the memory of pooled stacks back, when it is short; whether there was any. A CPU may still have translations
/// of such a stack, so its slot is never used again.
pub(super) fn trim() -> bool {
    let mut any = false;
    while RETIRED.load(Ordering::Relaxed) < MAX_RETIRED {
        let top = {
            let mut pool = POOL.lock();
            if pool.len() <= KEEP { None } else { pool.pop() }
        };
        let Some(top) = top else { break };
        for page in 1..=STACK_SIZE / PAGE_SIZE {
            if let Some(addr) = arch::kernel_unmap(top - page * PAGE_SIZE) {
                drop(frame::Frame::from_raw(addr));
            }
        }
        RETIRED.fetch_add(1, Ordering::Relaxed);
        any = true;
    }
    any
}

/// A kernel stack; goes back to the pool when dropped, which must not be while it is in use.
#[derive(Debug)]
pub struct KernelStack {
    top: u64,
}

impl KernelStack {
    /// A stack.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        let pooled = POOL.lock().pop();
        if let Some(top) = pooled {
            return Ok(Self { top });
        }
        // All of it first: a slot that is mapped in part would be lost.
        let mut frames = ArrayVec::<_, { (STACK_SIZE / PAGE_SIZE) as usize }>::new();
        while !frames.is_full() {
            frames.push(frame::alloc().ok_or(Errno::ENOMEM)?);
        }
        let base = arch::KERNEL_STACKS + NEXT.fetch_add(1, Ordering::Relaxed) * SLOT + (SLOT - STACK_SIZE);
        for (page, frame) in (0..).zip(frames) {
            arch::kernel_map(base + page * PAGE_SIZE, frame.into_raw())?;
        }
        Ok(Self { top: base + STACK_SIZE })
    }

    /// Highest address, 16-aligned; the stack grows down from it.
    #[must_use]
    pub const fn top(&self) -> u64 {
        self.top
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        POOL.lock().push(self.top);
    }
}
