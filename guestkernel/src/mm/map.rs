//! Making and removing areas: mmap(2), munmap(2), brk(2); what may be promised.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::{
    MAX_MAP_COUNT, MMAP_MIN_ADDR, commit, page_down, page_up,
    space::{AddressSpace, Inner, register},
    vma::{Backing, Prot, Vma, VmaFlags},
};
use crate::{
    arch::USER_END,
    errno::{Errno, Result},
    mem::{PAGE_SIZE, frame},
};

/// End of where `MAP_32BIT` puts things.
const LOW_END: u64 = 1 << 31;

bitflags::bitflags! {
    /// How a mapping is placed.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MapFlags: u32 {
        /// Exactly at the address, replacing what is there.
        const FIXED = 1;
        /// Exactly at the address, unless something is there.
        const NOREPLACE = 2;
        /// In the first 2 GiB.
        const LOW = 4;
        /// Give it memory at once.
        const POPULATE = 8;
    }
}

/// A mapping to be made.
#[derive(Debug)]
pub struct MapRequest {
    /// Wanted address; 0 = anywhere.
    pub addr: u64,
    /// Length in bytes, not 0.
    pub len: u64,
    /// Rights.
    pub prot: Prot,
    /// Placement.
    pub place: MapFlags,
    /// Properties of the area.
    pub flags: VmaFlags,
    /// What it shows.
    pub backing: Backing,
    /// Byte offset in the object.
    pub offset: u64,
}

/// Whether an area counts as data: private and writable, not a stack.
pub(super) fn is_data(prot: Prot, flags: VmaFlags) -> bool {
    prot.contains(Prot::WRITE) && !flags.intersects(VmaFlags::SHARED | VmaFlags::GROWSDOWN)
}

/// Refuses what all of memory could not hold, as Linux does unless told otherwise (`vm.overcommit_memory` 0).
pub(super) fn check_promise(len: u64, prot: Prot, flags: VmaFlags, backing: &Backing) -> Result<()> {
    /// No machine is too small for this.
    const SMALL: u64 = 16 << 20;
    if len <= SMALL || flags.contains(VmaFlags::NORESERVE) || !commit::counts(prot, flags, backing) {
        return Ok(());
    }
    let heuristic = commit::mode() == commit::HEURISTIC;
    if heuristic && len > frame::stats().total { Err(Errno::ENOMEM) } else { Ok(()) }
}

/// Refuses an object of memory of `len` bytes that could not be held. Called without locks.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn may_promise(len: u64, flags: VmaFlags) -> Result<()> {
    commit::check(len, Prot::WRITE, flags, &Backing::Anonymous)?;
    check_promise(len, Prot::WRITE, flags, &Backing::Anonymous)
}

/// Checks a range of whole pages; gives its end.
pub(super) fn range_end(start: u64, len: u64) -> Option<u64> {
    let end = start.checked_add(page_up(len)?)?;
    (end <= USER_END).then_some(end)
}

impl AddressSpace {
    /// Makes a mapping; gives its address.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM`, `EEXIST`, `EPERM` as mmap(2) has them.
    pub fn map(&self, request: MapRequest) -> Result<u64> {
        commit::check(request.len, request.prot, request.flags, &request.backing)?;
        let len = page_up(request.len).filter(|&len| len != 0 && len <= USER_END).ok_or(Errno::ENOMEM)?;
        if request.offset.checked_add(len).is_none() {
            return Err(Errno::EOVERFLOW);
        }
        let mut populate = request.place.contains(MapFlags::POPULATE);
        let write = request.prot.contains(Prot::WRITE) && !request.flags.contains(VmaFlags::SHARED);
        let addr = {
            let mut inner = self.inner.lock();
            if inner.vmas.len() > MAX_MAP_COUNT {
                return Err(Errno::ENOMEM);
            }
            let addr = inner.place(&request, len)?;
            let mut flags = request.flags | inner.lock_future;
            if flags.contains(VmaFlags::LOCKED) {
                inner.check_lockable(len, request.flags.contains(VmaFlags::LOCKED))?;
                populate |= !flags.contains(VmaFlags::ONFAULT);
            }
            let end = addr + len;
            self.check_size(&inner, (addr, end), request.prot, flags)?;
            check_promise(len, request.prot, flags, &request.backing)?;
            if let Backing::Object(object) = &request.backing {
                // Known before it is asked: a seal set meanwhile finds the mapping.
                register(object, self);
                if flags.contains(VmaFlags::SHARED)
                    && !object.admit_shared(request.prot.contains(Prot::WRITE))?
                {
                    flags.insert(VmaFlags::NEVER_WRITE);
                }
            }
            if inner.overlaps(addr, end) {
                inner.check_unsealed(addr, end)?;
                inner.remove(addr, end);
            }
            let vma = Vma {
                end,
                prot: request.prot,
                flags,
                offset: if matches!(request.backing, Backing::Anonymous) { 0 } else { request.offset },
                backing: request.backing,
            };
            inner.insert(addr, vma);
            addr
        };
        if populate {
            // Failures show at the access, as Linux has it.
            let _ = self.populate(addr, addr + len, write);
        }
        Ok(addr)
    }

    /// Enforces `RLIMIT_AS` and `RLIMIT_DATA` for a new area.
    fn check_size(&self, inner: &Inner, (start, end): (u64, u64), prot: Prot, flags: VmaFlags) -> Result<()> {
        let replaced: u64 =
            inner.areas_in(start, end).map(|(&at, vma)| vma.end.min(end) - at.max(start)).sum();
        self.check_growth(inner, end - start - replaced.min(end - start), prot, flags)
    }

    /// Enforces `RLIMIT_AS` and `RLIMIT_DATA` for `len` more bytes.
    pub(super) fn check_growth(&self, inner: &Inner, len: u64, prot: Prot, flags: VmaFlags) -> Result<()> {
        let size = inner.total_pages * PAGE_SIZE;
        if size.saturating_add(len) > self.limits.space.load(Ordering::Relaxed) {
            return Err(Errno::ENOMEM);
        }
        if is_data(prot, flags) { self.check_growth_of_data(inner, len) } else { Ok(()) }
    }

    /// Enforces `RLIMIT_DATA` for `len` more bytes.
    pub(super) fn check_growth_of_data(&self, inner: &Inner, len: u64) -> Result<()> {
        let data = self.limits.data.load(Ordering::Relaxed);
        if data != u64::MAX && inner.data_pages() * PAGE_SIZE + len > data {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// Shows another part of a shared object in the place of a mapping of it: from byte `offset` on.
    ///
    /// # Errors
    /// `EINVAL` for anything else than whole areas of one object.
    pub fn remap_object(&self, start: u64, end: u64, offset: u64, populate: bool) -> Result<()> {
        let request = {
            let inner = self.inner.lock();
            let (_, first) = inner.find(start).ok_or(Errno::EINVAL)?;
            let Backing::Object(object) = &first.backing else { return Err(Errno::EINVAL) };
            let mut at = start;
            while at < end {
                let (_, vma) = inner.find(at).ok_or(Errno::EINVAL)?;
                let same = matches!(&vma.backing, Backing::Object(other) if Arc::ptr_eq(object, other));
                if !same || vma.flags != first.flags || !vma.flags.contains(VmaFlags::SHARED) {
                    return Err(Errno::EINVAL);
                }
                at = vma.end;
            }
            let mut place = MapFlags::FIXED;
            place.set(MapFlags::POPULATE, populate);
            MapRequest {
                addr: start,
                len: end - start,
                prot: first.prot,
                place,
                flags: first.flags - VmaFlags::SEALED,
                backing: first.backing.clone(),
                offset,
            }
        };
        self.map(request).map(|_| ())
    }

    /// Removes all mappings of a range.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM`.
    pub fn unmap(&self, start: u64, len: u64) -> Result<()> {
        if !start.is_multiple_of(PAGE_SIZE) || len == 0 {
            return Err(Errno::EINVAL);
        }
        let end = range_end(start, len).ok_or(Errno::EINVAL)?;
        let mut inner = self.inner.lock();
        // Only a hole in the middle makes more areas than there were.
        let hole = inner.find(start).is_some_and(|(at, vma)| at < start && end < vma.end);
        if hole && inner.vmas.len() >= MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        inner.check_unsealed(start, end)?;
        inner.remove(start, end);
        Ok(())
    }

    /// Moves the end of the heap; gives the new end, or the old one when that is not possible.
    pub fn brk(&self, wanted: u64) -> u64 {
        let now = self.marks().brk;
        let prot = Prot::READ | Prot::WRITE;
        if commit::check(wanted.saturating_sub(now), prot, VmaFlags::HEAP, &Backing::Anonymous).is_err() {
            return now;
        }
        let mut locked = None;
        let end = self.move_brk(wanted, &mut locked);
        if let Some((from, to)) = locked {
            // What fails shows at the access.
            let _ = self.populate(from, to, true);
        }
        end
    }

    fn move_brk(&self, wanted: u64, locked: &mut Option<(u64, u64)>) -> u64 {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let marks = inner.marks;
        let (Some(new), Some(old)) = (page_up(wanted), page_up(marks.brk)) else { return marks.brk };
        if wanted < marks.start_brk || new > USER_END || new < marks.start_brk {
            return marks.brk;
        }
        if new < old {
            if inner.check_unsealed(new, old).is_err() {
                return marks.brk;
            }
            inner.remove(new, old);
        } else if new > old {
            let prot = Prot::READ | Prot::WRITE;
            let flags = VmaFlags::HEAP | inner.lock_future;
            let data = self.limits.data.load(Ordering::Relaxed);
            let size = inner.total_pages * PAGE_SIZE + (new - old);
            if wanted - marks.start_brk > data
                || size > self.limits.space.load(Ordering::Relaxed)
                || inner.overlaps(old, new.saturating_add(PAGE_SIZE))
                || self.check_growth(inner, new - old, prot, VmaFlags::HEAP).is_err()
                || check_promise(new - old, prot, VmaFlags::HEAP, &Backing::Anonymous).is_err()
                || (flags.contains(VmaFlags::LOCKED) && inner.check_lockable(new - old, false).is_err())
            {
                return marks.brk;
            }
            let vma = Vma { end: new, prot, flags, backing: Backing::Anonymous, offset: 0 };
            inner.insert(old, vma);
            if flags & (VmaFlags::LOCKED | VmaFlags::ONFAULT) == VmaFlags::LOCKED {
                *locked = Some((old, new));
            }
        }
        inner.marks.brk = wanted;
        wanted
    }
}

impl Inner {
    /// Where a mapping goes.
    fn place(&self, request: &MapRequest, len: u64) -> Result<u64> {
        let exact = request.place.intersects(MapFlags::FIXED | MapFlags::NOREPLACE);
        if exact {
            if !request.addr.is_multiple_of(PAGE_SIZE) {
                return Err(Errno::EINVAL);
            }
            let end = range_end(request.addr, len).ok_or(Errno::ENOMEM)?;
            if request.addr < MMAP_MIN_ADDR {
                return Err(Errno::EPERM);
            }
            if request.place.contains(MapFlags::NOREPLACE) && self.overlaps(request.addr, end) {
                return Err(Errno::EEXIST);
            }
            return Ok(request.addr);
        }
        let mut hint = page_down(request.addr);
        if hint != 0 && hint < MMAP_MIN_ADDR {
            hint = MMAP_MIN_ADDR;
        }
        if request.place.contains(MapFlags::LOW) {
            let fits = hint != 0 && hint.checked_add(len).is_some_and(|end| end <= LOW_END);
            if fits && !self.overlaps(hint, hint + len) {
                return Ok(hint);
            }
            return self.find_gap(len, LOW_END).ok_or(Errno::ENOMEM);
        }
        if hint != 0 && range_end(hint, len).is_some_and(|end| !self.overlaps(hint, end)) {
            return Ok(hint);
        }
        self.find_gap(len, self.mmap_base).or_else(|| self.find_gap(len, USER_END)).ok_or(Errno::ENOMEM)
    }

    /// The highest free range of `len` bytes below `top`.
    pub(super) fn find_gap(&self, len: u64, top: u64) -> Option<u64> {
        let mut ceiling = top;
        for (&start, vma) in self.vmas.range(..top).rev() {
            if vma.end <= ceiling && ceiling - vma.end >= len {
                return Some(ceiling - len);
            }
            ceiling = ceiling.min(start);
        }
        (ceiling >= MMAP_MIN_ADDR + len).then(|| ceiling - len)
    }

    /// Removes what is mapped in `[start, end)`.
    pub(super) fn remove(&mut self, start: u64, end: u64) {
        self.split_at(start, end);
        let mut any = false;
        while let Some((&at, vma)) = self.vmas.range(start..end).next() {
            self.total_pages -= (vma.end - at) / PAGE_SIZE;
            if let Some(gone) = self.vmas.remove(&at) {
                gone.backing.closed();
            }
            any = true;
        }
        if any {
            self.zap(start, end);
        }
    }

    /// The areas that meet `[start, end)`, last first.
    pub(super) fn areas_in(&self, start: u64, end: u64) -> impl Iterator<Item = (&u64, &Vma)> {
        self.vmas.range(..end).rev().take_while(move |(_, vma)| vma.end > start)
    }

    /// The area that holds `at`, or the next one above.
    pub(super) fn area_from(&self, at: u64) -> Option<(u64, &Vma)> {
        self.find(at).or_else(|| self.vmas.range(at..).next().map(|(&start, vma)| (start, vma)))
    }

    /// Pages of areas that count as data.
    pub(super) fn data_pages(&self) -> u64 {
        let data = self.vmas.iter().filter(|(_, vma)| is_data(vma.prot, vma.flags));
        data.map(|(start, vma)| (vma.end - start) / PAGE_SIZE).sum()
    }
}
