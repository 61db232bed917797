//! Frames of RAM.

use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use super::{
    PAGE_SHIFT, PAGE_SIZE,
    meta::{self, FREE, ZERO},
};
use crate::{
    arch::{self, PhysAddr},
    sync::SpinLock,
};
use hostcall::MemoryRegion;

/// Largest block: 2¹³ frames, 32 MiB.
pub const MAX_ORDER: u32 = 13;
/// Frames that a vCPU keeps to itself.
const CACHE: usize = 64;
/// Frames moved between a cache and the buddy lists at once.
const BATCH: usize = 32;
/// No frame; ends lists. Frame 0 is never free: boot structures are there.
const NONE: u32 = 0;

/// One reference to a 4 KiB frame. Cloning shares the frame; the last drop frees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame(u32);

/// How much memory there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemStats {
    /// All of RAM that the sentry manages, bytes.
    pub total: u64,
    /// Free, bytes; includes what was never used.
    pub free: u64,
    /// Never used since boot, bytes.
    pub fresh: u64,
}

struct Buddy {
    heads: [u32; MAX_ORDER as usize + 1],
    /// Frame numbers never handed out yet, as ranges.
    fresh: ArrayVec<(u32, u32), { hostcall::MAX_REGIONS }>,
}

static BUDDY: SpinLock<Buddy> =
    SpinLock::new(Buddy { heads: [NONE; MAX_ORDER as usize + 1], fresh: ArrayVec::new_const() });
static CACHES: [SpinLock<ArrayVec<u32, CACHE>>; hostcall::MAX_CPUS] =
    [const { SpinLock::new(ArrayVec::new_const()) }; hostcall::MAX_CPUS];
static TOTAL: AtomicU64 = AtomicU64::new(0);
static FREE_FRAMES: AtomicU64 = AtomicU64::new(0);

/// Takes RAM over. Of the first region everything below `free_start` is in use.
pub fn init(regions: &[MemoryRegion], free_start: u64) {
    let end = regions.iter().map(|region| region.start + region.len).max().unwrap_or(0);
    let frames = end >> PAGE_SHIFT;
    let table = free_start.next_multiple_of(PAGE_SIZE);
    meta::place(PhysAddr(table), frames);
    let first_free = (table + meta::size_for(frames)).next_multiple_of(PAGE_SIZE);
    let mut buddy = BUDDY.lock();
    for region in regions.iter().filter(|region| region.len != 0) {
        let start = region.start.max(if region.start <= table { first_free } else { 0 }).max(PAGE_SIZE);
        let end = region.start + region.len;
        if start < end {
            let range = ((start >> PAGE_SHIFT) as u32, (end >> PAGE_SHIFT) as u32);
            if buddy.fresh.try_push(range).is_ok() {
                TOTAL.fetch_add(u64::from(range.1 - range.0), Ordering::Relaxed);
            }
        }
    }
    FREE_FRAMES.store(TOTAL.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// A frame with any contents. `None` when memory is exhausted.
pub fn alloc() -> Option<Frame> {
    let pfn = pop_cached()?;
    claim(pfn);
    Some(Frame(pfn))
}

/// A frame of zeroes.
pub fn alloc_zeroed() -> Option<Frame> {
    let pfn = pop_cached()?;
    if !claim(pfn) {
        arch::zero_page(PhysAddr(u64::from(pfn) << PAGE_SHIFT));
    }
    Some(Frame(pfn))
}

/// Marks a frame as having one owner; tells whether it reads as zero.
fn claim(pfn: u32) -> bool {
    let Some(meta) = meta::get(pfn) else { return false };
    meta.refs.store(1, Ordering::Relaxed);
    let info = meta.info.load(Ordering::Relaxed);
    if info != 0 {
        meta.info.store(0, Ordering::Relaxed);
    }
    info & ZERO != 0
}

fn pop_cached() -> Option<u32> {
    let mut cache = CACHES[arch::cpu::current_index()].lock();
    if let Some(pfn) = cache.pop() {
        return Some(pfn);
    }
    let mut buddy = BUDDY.lock();
    while cache.len() < BATCH {
        let Some(pfn) = buddy.take_single() else { break };
        cache.push(pfn);
    }
    FREE_FRAMES.fetch_sub(cache.len() as u64, Ordering::Relaxed);
    drop(buddy);
    // Handed out in ascending order.
    cache.reverse();
    cache.pop()
}

fn push_cached(pfn: u32) {
    let mut cache = CACHES[arch::cpu::current_index()].lock();
    if cache.is_full() {
        let mut buddy = BUDDY.lock();
        for old in cache.drain(..BATCH) {
            buddy.put(old, 0, false);
        }
        FREE_FRAMES.fetch_add(BATCH as u64, Ordering::Relaxed);
    }
    cache.push(pfn);
}

/// 2^`order` contiguous frames, aligned to their size, and whether they read as zero.
pub fn alloc_order(order: u32) -> Option<(PhysAddr, bool)> {
    if order > MAX_ORDER {
        return None;
    }
    let (pfn, zero) = BUDDY.lock().take(order)?;
    FREE_FRAMES.fetch_sub(1 << order, Ordering::Relaxed);
    Some((PhysAddr(u64::from(pfn) << PAGE_SHIFT), zero))
}

/// Frees what [`alloc_order`] gave.
pub fn free_order(addr: PhysAddr, order: u32) {
    BUDDY.lock().put((addr.0 >> PAGE_SHIFT) as u32, order, false);
    FREE_FRAMES.fetch_add(1 << order, Ordering::Relaxed);
}

/// Present use.
#[must_use]
pub fn stats() -> MemStats {
    let fresh: u64 = BUDDY.lock().fresh.iter().map(|(start, end)| u64::from(end - start)).sum();
    let cached: usize = CACHES.iter().take(arch::cpu::count()).map(|cache| cache.lock().len()).sum();
    MemStats {
        total: TOTAL.load(Ordering::Relaxed) * PAGE_SIZE,
        free: (FREE_FRAMES.load(Ordering::Relaxed) + cached as u64) * PAGE_SIZE,
        fresh: fresh * PAGE_SIZE,
    }
}

impl Frame {
    /// Guest-physical address.
    #[must_use]
    pub const fn addr(&self) -> PhysAddr {
        PhysAddr((self.0 as u64) << PAGE_SHIFT)
    }

    /// Gives the reference up without dropping it; the caller stores the address (in a page table) and owes
    /// one [`Self::from_raw`].
    #[must_use]
    pub fn into_raw(self) -> PhysAddr {
        // The reference lives on in the address.
        core::mem::ManuallyDrop::new(self).addr()
    }

    /// Takes back the reference that [`Self::into_raw`] left in `addr`.
    #[must_use]
    pub const fn from_raw(addr: PhysAddr) -> Self {
        Self((addr.0 >> PAGE_SHIFT) as u32)
    }

    /// Adds a reference to the frame at `addr`, which has one already (in a page table that the caller has
    /// locked).
    pub fn share_raw(addr: PhysAddr) {
        if let Some(meta) = meta::get((addr.0 >> PAGE_SHIFT) as u32) {
            meta.refs.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Number of references.
    #[must_use]
    pub fn refcount(&self) -> u32 {
        meta::get(self.0).map_or(0, |meta| meta.refs.load(Ordering::Acquire))
    }

    /// Whether this is the only reference.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        self.refcount() == 1
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        Self::share_raw(self.addr());
        Self(self.0)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let Some(meta) = meta::get(self.0) else { return };
        // A sole owner frees without an atomic exchange.
        if meta.refs.load(Ordering::Acquire) == 1 || meta.refs.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            meta.refs.store(0, Ordering::Relaxed);
            push_cached(self.0);
        }
    }
}

impl Buddy {
    /// Takes one frame for a cache; it keeps its `ZERO` mark.
    fn take_single(&mut self) -> Option<u32> {
        let (pfn, zero) = self.take(0)?;
        if zero && let Some(meta) = meta::get(pfn) {
            meta.info.store(ZERO, Ordering::Relaxed);
        }
        Some(pfn)
    }

    fn take(&mut self, order: u32) -> Option<(u32, bool)> {
        if let Some(found) = (order..=MAX_ORDER).find(|&o| self.heads[o as usize] != NONE) {
            let pfn = self.heads[found as usize];
            let zero = self.unlink(pfn, found);
            for half in (order..found).rev() {
                self.link(pfn + (1 << half), half, zero);
            }
            return Some((pfn, zero));
        }
        self.take_fresh(order)
    }

    /// Takes a block from memory that was never used; frames skipped for alignment become free blocks.
    fn take_fresh(&mut self, order: u32) -> Option<(u32, bool)> {
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
            return Some((aligned, true));
        }
        None
    }

    /// Frees a block, merged with its free neighbours.
    fn put(&mut self, mut pfn: u32, mut order: u32, mut zero: bool) {
        while order < MAX_ORDER {
            let buddy = pfn ^ (1 << order);
            if meta::get(buddy).and_then(meta::Meta::free_order) != Some(order) {
                break;
            }
            zero &= self.unlink(buddy, order);
            pfn &= !(1 << order);
            order += 1;
        }
        self.link(pfn, order, zero);
    }

    fn link(&mut self, pfn: u32, order: u32, zero: bool) {
        let head = &mut self.heads[order as usize];
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
    }

    /// Takes a free block off its list; tells whether it reads as zero.
    fn unlink(&mut self, pfn: u32, order: u32) -> bool {
        let Some(meta) = meta::get(pfn) else { return false };
        let (next, prev) = (meta.next.load(Ordering::Relaxed), meta.prev.load(Ordering::Relaxed));
        if prev == NONE {
            self.heads[order as usize] = next;
        } else if let Some(before) = meta::get(prev) {
            before.next.store(next, Ordering::Relaxed);
        }
        if let Some(after) = meta::get(next).filter(|_| next != NONE) {
            after.prev.store(prev, Ordering::Relaxed);
        }
        meta.info.swap(0, Ordering::Relaxed) & ZERO != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeMap, sync::Mutex, vec::Vec};

    /// The allocator is one for the process; tests that compare its totals take turns.
    static TURN: Mutex<()> = Mutex::new(());

    #[test]
    fn a_shared_frame_is_freed_by_its_last_owner() {
        super::super::init_for_tests();
        let frame = alloc_zeroed().expect("memory");
        let other = frame.clone();
        assert_eq!(frame.refcount(), 2);
        drop(frame);
        assert!(other.is_unique());
        let addr = other.into_raw();
        assert!(Frame::from_raw(addr).is_unique());
    }

    #[test]
    fn a_recycled_frame_is_cleared() {
        super::super::init_for_tests();
        let frame = alloc().expect("memory");
        arch::write_phys(frame.addr(), &[7; 16]);
        drop(frame);
        for _ in 0..200 {
            let frame = alloc_zeroed().expect("memory");
            let mut bytes = [1; 16];
            arch::read_phys(frame.addr(), &mut bytes);
            assert_eq!(bytes, [0; 16]);
            let _ = frame.into_raw();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn blocks_never_overlap(steps in prop::collection::vec((0u32..6, any::<bool>(), any::<prop::sample::Index>()), 1..120)) {
            super::super::init_for_tests();
            let _turn = TURN.lock();
            let mut live: BTreeMap<u64, u32> = BTreeMap::new();
            for (order, free, which) in steps {
                if free && !live.is_empty() {
                    let keys: Vec<u64> = live.keys().copied().collect();
                    let addr = *which.get(&keys);
                    let order = live.remove(&addr).expect("live");
                    free_order(PhysAddr(addr), order);
                } else if let Some((addr, _)) = alloc_order(order) {
                    let len = PAGE_SIZE << order;
                    prop_assert_eq!(addr.0 % len, 0);
                    if let Some((before, o)) = live.range(..=addr.0).next_back() {
                        prop_assert!(before + (PAGE_SIZE << o) <= addr.0);
                    }
                    if let Some((after, _)) = live.range(addr.0..).next() {
                        prop_assert!(addr.0 + len <= *after);
                    }
                    live.insert(addr.0, order);
                }
            }
            for (addr, order) in live {
                free_order(PhysAddr(addr), order);
            }
        }
    }
}
