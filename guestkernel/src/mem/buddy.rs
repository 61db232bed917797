//! Free blocks of RAM, in sizes of powers of two.
//!
//! There are two kinds: blocks that hold old contents, for which the host holds memory, and blocks that read as zero
//! because the host has none for them. Neighbours are merged within a kind only, so that what the host could have
//! back is known exactly. Used blocks are preferred: they cost the host nothing new.

use arrayvec::ArrayVec;
use core::sync::atomic::Ordering;

use super::meta::{self, FREE, ZERO};

/// Largest block: 2¹³ frames, 32 MiB.
pub(super) const MAX_ORDER: u32 = 13;
/// No frame; ends lists. Frame 0 is never free: boot structures are there.
const NONE: u32 = 0;
/// Blocks smaller than this, 32 KiB, are not worth telling the host about.
const MIN_RELEASE: u32 = 3;

/// Heads of the lists of each order.
type Heads = [u32; MAX_ORDER as usize + 1];

pub(super) struct Buddy {
    /// Used blocks, and blocks of zeroes.
    heads: [Heads; 2],
    /// Frames in used blocks.
    used: u64,
    /// Least that `used` has been.
    lowest: u64,
    /// Frames in blocks of zeroes.
    zero: u64,
    /// Blocks are merged up to this order.
    merge: u32,
    /// Frame numbers never handed out yet, as ranges.
    fresh: ArrayVec<(u32, u32), { hostcall::MAX_REGIONS }>,
}

impl Buddy {
    pub(super) const fn new() -> Self {
        Self {
            merge: MAX_ORDER,
            heads: [[NONE; MAX_ORDER as usize + 1]; 2],
            used: 0,
            lowest: 0,
            zero: 0,
            fresh: ArrayVec::new_const(),
        }
    }

    /// Merges blocks up to this order only. Of two allocators side by side the one that has a single block of order
    /// *n* must not make it whole again: the other would take it for the rest of a block of its own.
    pub(super) const fn limit_merging(&mut self, order: u32) {
        self.merge = order;
    }

    /// Adds frames that were never used.
    pub(super) fn add_fresh(&mut self, range: (u32, u32)) -> bool {
        self.fresh.try_push(range).is_ok()
    }

    /// Takes a block off the end of what was never used.
    pub(super) fn take_last_fresh(&mut self, order: u32) -> Option<u32> {
        let (start, end) = self.fresh.last_mut()?;
        let first = end.checked_sub(1 << order)? & !((1 << order) - 1);
        // What alignment cuts off the end is lost: a few pages at most.
        (first > *start).then(|| {
            *end = first;
            first
        })
    }

    /// Free frames that the host has no memory for.
    pub(super) fn fresh(&self) -> u64 {
        self.zero + self.fresh.iter().map(|(start, end)| u64::from(end - start)).sum::<u64>()
    }

    /// Free frames with old contents.
    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    /// The least that [`Self::used`] has been since this was asked last.
    pub(super) const fn take_lowest(&mut self) -> u64 {
        core::mem::replace(&mut self.lowest, self.used)
    }

    /// Takes a block; whether it reads as zero.
    pub(super) fn take(&mut self, order: u32) -> Option<(u32, bool)> {
        if let Some(pfn) = self.take_kind(order, false) {
            return Some((pfn, false));
        }
        self.take_zero(order).map(|pfn| (pfn, true))
    }

    /// Takes a block of zeroes.
    pub(super) fn take_zero(&mut self, order: u32) -> Option<u32> {
        self.take_kind(order, true).or_else(|| self.take_fresh(order))
    }

    /// Takes a block of one kind.
    pub(super) fn take_kind(&mut self, order: u32, zero: bool) -> Option<u32> {
        let heads = &self.heads[usize::from(zero)];
        let found = (order..=MAX_ORDER).find(|&o| heads[o as usize] != NONE)?;
        let pfn = heads[found as usize];
        self.unlink(pfn, found, zero);
        for half in (order..found).rev() {
            self.link(pfn + (1 << half), half, zero);
        }
        self.lowest = self.lowest.min(self.used);
        Some(pfn)
    }

    /// Takes the largest used block of at most `most` frames, if it is worth it: frame and order.
    pub(super) fn take_used(&mut self, most: u64) -> Option<(u32, u32)> {
        let fits = (most.checked_ilog2()?).min(MAX_ORDER);
        let order = (MIN_RELEASE..=fits).rev().find(|&order| self.heads[0][order as usize] != NONE)?;
        let pfn = self.heads[0][order as usize];
        self.unlink(pfn, order, false);
        Some((pfn, order))
    }

    /// Takes a block from memory that was never used; frames skipped for alignment become free blocks.
    fn take_fresh(&mut self, order: u32) -> Option<u32> {
        let size = 1u32 << order;
        for index in 0..self.fresh.len() {
            let (start, end) = self.fresh[index];
            let aligned = start.next_multiple_of(size);
            if aligned.checked_add(size).is_none_or(|stop| stop > end) {
                continue;
            }
            self.fresh[index].0 = aligned + size;
            let mut skipped = start;
            while skipped < aligned {
                let step = skipped.trailing_zeros().min((aligned - skipped).ilog2());
                self.put(skipped, step, true);
                skipped += 1 << step;
            }
            return Some(aligned);
        }
        None
    }

    /// Frees a block, merged with its free neighbours of the same kind.
    pub(super) fn put(&mut self, mut pfn: u32, mut order: u32, zero: bool) {
        while order < self.merge {
            let buddy = pfn ^ (1 << order);
            if meta::get(buddy).and_then(meta::Meta::free_block) != Some((order, zero)) {
                break;
            }
            self.unlink(buddy, order, zero);
            pfn &= !(1 << order);
            order += 1;
        }
        self.link(pfn, order, zero);
    }

    fn link(&mut self, pfn: u32, order: u32, zero: bool) {
        let head = &mut self.heads[usize::from(zero)][order as usize];
        if let Some(meta) = meta::get(pfn) {
            meta.info.store(FREE | order | if zero { ZERO } else { 0 }, Ordering::Relaxed);
            meta.next.store(*head, Ordering::Relaxed);
            meta.prev.store(NONE, Ordering::Relaxed);
        }
        if *head != NONE
            && let Some(old) = meta::get(*head)
        {
            old.prev.store(pfn, Ordering::Relaxed);
        }
        *head = pfn;
        *self.count(zero) += 1 << order;
    }

    /// Takes a free block off its list.
    fn unlink(&mut self, pfn: u32, order: u32, zero: bool) {
        let Some(meta) = meta::get(pfn) else { return };
        let (next, prev) = (meta.next.load(Ordering::Relaxed), meta.prev.load(Ordering::Relaxed));
        if prev == NONE {
            self.heads[usize::from(zero)][order as usize] = next;
        } else if let Some(before) = meta::get(prev) {
            before.next.store(next, Ordering::Relaxed);
        }
        if let Some(after) = meta::get(next).filter(|_| next != NONE) {
            after.prev.store(prev, Ordering::Relaxed);
        }
        meta.info.store(0, Ordering::Relaxed);
        *self.count(zero) -= 1 << order;
    }

    const fn count(&mut self, zero: bool) -> &mut u64 {
        if zero { &mut self.zero } else { &mut self.used }
    }
}
