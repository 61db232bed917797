//! One small record per frame of RAM, in an array at the start of free memory.
//!
//! The array covers every frame number up to the highest one; what describes memory that was never used is
//! never touched, so it costs nothing.
#![allow(
    unsafe_code,
    reason = "turns the boot-time memory map into a static slice; everything above is safe"
)]

use core::sync::atomic::{AtomicU32, Ordering};

use crate::{arch, arch::PhysAddr};

/// Record of one frame. All zero means: never freed, reference count 0.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Meta {
    /// Owners of an allocated frame.
    pub(super) refs: AtomicU32,
    /// [`FREE`], [`ZERO`] and the order of a free block's first frame.
    pub(super) info: AtomicU32,
    /// Neighbours on a free list.
    pub(super) next: AtomicU32,
    /// See `next`.
    pub(super) prev: AtomicU32,
}

/// `info`: first frame of a free block; the low byte is its order.
pub(super) const FREE: u32 = 1 << 8;
/// `info`: the memory is known to read as zero.
pub(super) const ZERO: u32 = 1 << 9;

static TABLE: spin::Once<&'static [Meta]> = spin::Once::new();

/// Bytes that the records of `frames` frames take.
pub(super) const fn size_for(frames: u64) -> u64 {
    frames * size_of::<Meta>() as u64
}

/// Places the array for frame numbers below `frames` at `at`, which must be unused RAM that reads as zero.
pub(super) fn place(at: PhysAddr, frames: u64) {
    let base = arch::phys_to_virt(at).cast::<Meta>();
    // SAFETY: boot hands this range of RAM over, unused, zeroed and mapped for the life of the sentry; `Meta`
    // is made of atomics for which zero is valid; nothing else ever refers to the range.
    let table = unsafe { core::slice::from_raw_parts(base, frames as usize) };
    TABLE.call_once(|| table);
}

/// The record of a frame; `None` for a number outside RAM.
pub(super) fn get(pfn: u32) -> Option<&'static Meta> {
    // `get_unchecked` of the Once is not needed: `get` is one load and compare.
    TABLE.get().and_then(|table| table.get(pfn as usize))
}

impl Meta {
    /// Order and whether it reads as zero, when this is the first frame of a free block.
    pub(super) fn free_block(&self) -> Option<(u32, bool)> {
        let info = self.info.load(Ordering::Relaxed);
        (info & FREE != 0).then_some((info & 0xff, info & ZERO != 0))
    }
}
