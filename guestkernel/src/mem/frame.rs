//! Frames of RAM.

use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use super::{
    PAGE_SHIFT, PAGE_SIZE,
    buddy::{Buddy, MAX_ORDER},
    give_back,
    meta::{self, ZERO},
    pressure,
};
use crate::{
    arch::{self, PhysAddr},
    sync::SpinLock,
};
use hostcall::MemoryRegion;

/// Frames that a vCPU keeps to itself.
const CACHE: usize = 64;
/// Frames moved between a cache and the buddy lists at once.
const BATCH: usize = 32;

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
    /// Never used since boot, or given back to the host since; bytes.
    pub fresh: u64,
}

/// Bounds of [`reserve`]: 2 MiB and 32 MiB.
const MIN_RESERVE: u64 = 512;
const MAX_RESERVE: u64 = 8192;
/// Most that is set aside for large objects: 4 MiB.
const LAST_ORDER: u32 = 10;

/// Least that the host is asked to provide at once: 4 pages.
const MIN_POPULATE: u32 = 2;
/// Most: 2 MiB.
const MAX_POPULATE: u32 = 9;

/// Frames of one vCPU.
struct Cache {
    frames: ArrayVec<u32, CACHE>,
    /// Frames that read as zero and were never handed out: first, and one more than the last.
    ready: (u32, u32),
}

static BUDDY: SpinLock<Buddy> = SpinLock::new(Buddy::new());
/// Blocks for the kernel's large objects once memory is so scattered that there are no others.
static LAST: SpinLock<Buddy> = SpinLock::new(Buddy::new());
/// First and last frame of [`LAST`], and one more.
static LAST_RANGE: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static CACHES: [SpinLock<Cache>; hostcall::MAX_CPUS] =
    [const { SpinLock::new(Cache::new()) }; hostcall::MAX_CPUS];
static TOTAL: AtomicU64 = AtomicU64::new(0);
static FREE_FRAMES: AtomicU64 = AtomicU64::new(0);
/// Free frames that are left to the kernel's own objects: see [`reserve`].
static RESERVE: AtomicU64 = AtomicU64::new(0);

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
            if buddy.add_fresh(range) {
                TOTAL.fetch_add(u64::from(range.1 - range.0), Ordering::Relaxed);
            }
        }
    }
    let total = TOTAL.load(Ordering::Relaxed);
    RESERVE.store((total / 32).clamp(MIN_RESERVE, MAX_RESERVE), Ordering::Relaxed);
    let order = (total / 128).clamp(1, 1 << LAST_ORDER).ilog2();
    let mut free = total;
    if let Some(start) = buddy.take_last_fresh(order) {
        let end = start + (1 << order);
        free -= 1 << order;
        let mut last = LAST.lock();
        last.limit_merging(order.saturating_sub(1));
        last.add_fresh((start, end));
        LAST_RANGE[0].store(start.into(), Ordering::Relaxed);
        LAST_RANGE[1].store(end.into(), Ordering::Relaxed);
    }
    FREE_FRAMES.store(free, Ordering::Relaxed);
}

/// A frame with any contents for a program or on its behalf. `None` when memory is exhausted: what is left then is
/// for the kernel's own objects, and a part of it for those that the out-of-memory killer chose.
pub fn alloc() -> Option<Frame> {
    let pfn = pop_cached(false)?;
    claim(pfn);
    Some(Frame(pfn))
}

/// A frame of zeroes, as [`alloc`].
pub fn alloc_zeroed() -> Option<Frame> {
    pop_cached(false).map(zeroed)
}

fn zeroed(pfn: u32) -> Frame {
    if !claim(pfn) {
        arch::zero_page(PhysAddr(u64::from(pfn) << PAGE_SHIFT));
    }
    Frame(pfn)
}

/// A frame for the kernel's own objects, which cannot do without: down to the last one.
pub fn alloc_for_kernel() -> Option<Frame> {
    let pfn = pop_cached(true)?;
    claim(pfn);
    Some(Frame(pfn))
}

/// A frame of zeroes, as [`alloc_for_kernel`].
pub fn alloc_zeroed_for_kernel() -> Option<Frame> {
    pop_cached(true).map(zeroed)
}

/// Frames below which programs get none.
fn reserve() -> u64 {
    RESERVE.load(Ordering::Relaxed)
}

/// Whether `bytes` more for data that the kernel keeps for programs (contents of pipes, of files in memory) leave
/// enough for what they touch themselves.
#[must_use]
pub fn has_room_for(bytes: u64) -> bool {
    FREE_FRAMES.load(Ordering::Relaxed) > 2 * reserve() + bytes.div_ceil(PAGE_SIZE)
}

/// Whether programs can have memory.
#[must_use]
pub fn is_short() -> bool {
    FREE_FRAMES.load(Ordering::Relaxed) <= reserve()
}

/// Bytes that programs can still have.
#[must_use]
pub fn available() -> u64 {
    FREE_FRAMES.load(Ordering::Relaxed).saturating_sub(reserve()) * PAGE_SIZE
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

fn pop_cached(kernel: bool) -> Option<u32> {
    let mut cache = CACHES[arch::cpu::current_index()].lock();
    if let Some(pfn) = cache.frames.pop() {
        return Some(pfn);
    }
    if cache.ready.0 == cache.ready.1 && is_short() {
        return pop_reserve(kernel);
    }
    cache.refill();
    cache.frames.pop()
}

/// A frame of the reserve, for who may have one. One at a time: what lay in a cache would be anybody's.
#[cold]
fn pop_reserve(kernel: bool) -> Option<u32> {
    let (free, reserve) = (FREE_FRAMES.load(Ordering::Relaxed), reserve());
    pressure::note_short(free <= reserve / 2);
    let floor = match kernel {
        true => 0,
        false if pressure::is_for_victim() => reserve / 2,
        false => reserve,
    };
    if free <= floor {
        return None;
    }
    let (pfn, zero) = BUDDY.lock().take(0)?;
    FREE_FRAMES.fetch_sub(1, Ordering::Relaxed);
    if zero && let Some(meta) = meta::get(pfn) {
        meta.info.store(ZERO, Ordering::Relaxed);
    }
    Some(pfn)
}

impl Cache {
    const fn new() -> Self {
        Self { frames: ArrayVec::new_const(), ready: (0, 0) }
    }

    /// Gets some frames: used ones, which the host has memory for, before others.
    fn refill(&mut self) {
        let mut buddy = BUDDY.lock();
        while self.frames.len() < BATCH
            && let Some(pfn) = buddy.take_kind(0, false)
        {
            self.frames.push(pfn);
        }
        FREE_FRAMES.fetch_sub(self.frames.len() as u64, Ordering::Relaxed);
        if self.frames.is_empty() && self.ready.0 == self.ready.1 {
            let order = growth(TOTAL.load(Ordering::Relaxed), buddy.fresh());
            let taken = buddy.take_zero(order).map(|pfn| (pfn, order));
            if let Some((pfn, order)) = taken.or_else(|| buddy.take_zero(0).map(|pfn| (pfn, 0))) {
                FREE_FRAMES.fetch_sub(1 << order, Ordering::Relaxed);
                self.ready = (pfn, pfn + (1 << order));
                drop(buddy);
                if order >= MIN_POPULATE {
                    give_back::populate(pfn, order);
                }
            }
        }
        while self.frames.len() < BATCH && self.ready.0 < self.ready.1 {
            if let Some(meta) = meta::get(self.ready.0) {
                meta.info.store(ZERO, Ordering::Relaxed);
            }
            self.frames.push(self.ready.0);
            self.ready.0 += 1;
        }
        // Handed out in ascending order.
        self.frames.reverse();
    }
}

/// How much new memory to ask the host for at once: a small part of what there is already, so that what is not used
/// after all is little.
fn growth(total: u64, fresh: u64) -> u32 {
    let most = (total / 512).clamp(1, 1 << MAX_POPULATE);
    (total.saturating_sub(fresh) / 32).clamp(1, most).ilog2()
}

fn push_cached(pfn: u32) {
    let cache = &mut CACHES[arch::cpu::current_index()].lock().frames;
    if cache.is_full() {
        let mut buddy = BUDDY.lock();
        for old in cache.drain(..BATCH) {
            buddy.put(old, 0, false);
        }
        FREE_FRAMES.fetch_add(BATCH as u64, Ordering::Relaxed);
        give_back::consider(buddy.used());
    }
    cache.push(pfn);
}

/// 2^`order` contiguous frames, aligned to their size, and whether they read as zero. For the kernel.
pub fn alloc_order(order: u32) -> Option<(PhysAddr, bool)> {
    if order > MAX_ORDER {
        return None;
    }
    let taken = BUDDY.lock().take(order);
    let (pfn, zero) = match taken {
        Some(taken) => {
            FREE_FRAMES.fetch_sub(1 << order, Ordering::Relaxed);
            taken
        }
        None => LAST.lock().take(order)?,
    };
    if is_short() {
        pressure::note_short(FREE_FRAMES.load(Ordering::Relaxed) <= reserve() / 2);
    }
    Some((PhysAddr(u64::from(pfn) << PAGE_SHIFT), zero))
}

/// Frees what [`alloc_order`] gave.
pub fn free_order(addr: PhysAddr, order: u32) {
    let pfn = addr.0 >> PAGE_SHIFT;
    if (LAST_RANGE[0].load(Ordering::Relaxed)..LAST_RANGE[1].load(Ordering::Relaxed)).contains(&pfn) {
        return LAST.lock().put(pfn as u32, order, false);
    }
    let mut buddy = BUDDY.lock();
    buddy.put(pfn as u32, order, false);
    FREE_FRAMES.fetch_add(1 << order, Ordering::Relaxed);
    give_back::consider(buddy.used());
}

/// Free frames that the host may still hold memory for, and how few they have been since this was asked last.
pub(super) fn used_free() -> (u64, u64) {
    let mut buddy = BUDDY.lock();
    let lowest = buddy.take_lowest();
    (buddy.used(), lowest)
}

/// Takes large blocks of used free memory, at most `most` frames, and marks them as not free meanwhile.
pub(super) fn take_used(most: u64, blocks: &mut ArrayVec<(u32, u32), { hostcall::MAX_IO_RANGES }>) -> u64 {
    let mut buddy = BUDDY.lock();
    let mut taken = 0;
    while !blocks.is_full()
        && let Some((pfn, order)) = buddy.take_used(most - taken)
    {
        blocks.push((pfn, order));
        taken += 1 << order;
    }
    FREE_FRAMES.fetch_sub(taken, Ordering::Relaxed);
    taken
}

/// Puts blocks of [`take_used`] back; `zero`: they read as zero now.
pub(super) fn put_back(blocks: &[(u32, u32)], zero: bool) {
    let mut buddy = BUDDY.lock();
    let mut count = 0;
    for &(pfn, order) in blocks {
        buddy.put(pfn, order, zero);
        count += 1 << order;
    }
    FREE_FRAMES.fetch_add(count, Ordering::Relaxed);
}

/// Present use.
#[must_use]
pub fn stats() -> MemStats {
    let fresh = BUDDY.lock().fresh();
    let cached = |cache: &SpinLock<Cache>| {
        let cache = cache.lock();
        cache.frames.len() as u64 + u64::from(cache.ready.1 - cache.ready.0)
    };
    let cached: u64 = CACHES.iter().take(arch::cpu::count()).map(cached).sum();
    MemStats {
        total: TOTAL.load(Ordering::Relaxed) * PAGE_SIZE,
        free: (FREE_FRAMES.load(Ordering::Relaxed) + cached) * PAGE_SIZE,
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
