//! Changing the areas: mmap(2), munmap(2), mprotect(2), mremap(2), madvise(2), brk(2).

use core::sync::atomic::Ordering;

use super::{
    MAX_MAP_COUNT, MMAP_MIN_ADDR, page_down, page_up,
    space::{AddressSpace, Inner},
    vma::{Backing, Prot, Vma, VmaFlags},
};
use crate::{
    arch::{USER_END, paging::PteFlags, tlb},
    errno::{Errno, Result},
    mem::{PAGE_SIZE, frame::Frame},
};

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

/// What madvise(2) may ask of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Forget the contents (`MADV_DONTNEED`, `MADV_FREE`).
    Forget,
    /// Set properties of the areas, and clear others.
    Flags(VmaFlags, VmaFlags),
    /// Bring the pages in (`MADV_POPULATE_*`, `MADV_WILLNEED` does not promise it); `true` = for writing.
    Populate(bool),
    /// Only check the range.
    Nothing,
}

/// Checks a range of whole pages; gives its end.
fn range_end(start: u64, len: u64) -> Option<u64> {
    let end = start.checked_add(page_up(len)?)?;
    (end <= USER_END).then_some(end)
}

impl AddressSpace {
    /// Makes a mapping; gives its address.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM`, `EEXIST`, `EPERM` as mmap(2) has them.
    pub fn map(&self, request: MapRequest) -> Result<u64> {
        let len = page_up(request.len).filter(|&len| len != 0 && len <= USER_END).ok_or(Errno::ENOMEM)?;
        if request.offset.checked_add(len).is_none() {
            return Err(Errno::EOVERFLOW);
        }
        let populate = request.place.contains(MapFlags::POPULATE) && !request.prot.is_empty();
        let write = request.prot.contains(Prot::WRITE);
        let addr = {
            let mut inner = self.inner.lock();
            let addr = inner.place(&request, len)?;
            self.check_size(&inner, len, &request)?;
            let end = addr + len;
            if inner.overlaps(addr, end) {
                inner.remove(addr, end);
            }
            if inner.vmas.len() >= MAX_MAP_COUNT {
                return Err(Errno::ENOMEM);
            }
            let vma = Vma {
                end,
                prot: request.prot,
                flags: request.flags,
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

    /// Enforces `RLIMIT_AS` and `RLIMIT_DATA` for `len` more bytes.
    fn check_size(&self, inner: &Inner, len: u64, request: &MapRequest) -> Result<()> {
        let size = inner.total_pages * PAGE_SIZE;
        let private_write = request.prot.contains(Prot::WRITE) && !request.flags.contains(VmaFlags::SHARED);
        if size.saturating_add(len) > self.limits.space.load(Ordering::Relaxed)
            || (private_write && len > self.limits.data.load(Ordering::Relaxed))
        {
            return Err(Errno::ENOMEM);
        }
        Ok(())
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
        if inner.vmas.len() >= MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        inner.remove(start, end);
        Ok(())
    }

    /// Changes the rights of a range, which must be mapped throughout.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM` (a hole), `EACCES` (the object forbids it).
    pub fn protect(&self, start: u64, len: u64, prot: Prot) -> Result<()> {
        if !start.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let end = range_end(start, len).ok_or(Errno::ENOMEM)?;
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        inner.check_mapped(start, end)?;
        if prot.contains(Prot::WRITE)
            && inner
                .vmas
                .range(..end)
                .rev()
                .take_while(|(_, vma)| vma.end > start)
                .any(|(_, vma)| vma.flags.contains(VmaFlags::SHARED | VmaFlags::NEVER_WRITE))
        {
            return Err(Errno::EACCES);
        }
        inner.split_at(start, end);
        for (&at, vma) in inner.vmas.range_mut(start..end) {
            if vma.prot == prot {
                continue;
            }
            vma.prot = prot;
            let flags = vma.pte_flags();
            let shared = vma.flags.contains(VmaFlags::SHARED);
            inner.table.for_range(at, vma.end, |_, entry| {
                let kind = entry.flags() & (PteFlags::FRAME | PteFlags::COW | PteFlags::DIRTY);
                // Writing is given back at once to what nobody else shares; the rest faults first.
                let sole = !shared && kind.contains(PteFlags::FRAME) && is_sole(entry.addr());
                let flags = if sole { flags - PteFlags::COW } else { flags - PteFlags::WRITE };
                entry.set_flags(flags | kind);
            });
        }
        inner.join_around(start, end);
        tlb::flush_range(inner.table.id(), start, end);
        Ok(())
    }

    /// Applies advice to a range. Holes are skipped and reported at the end, as madvise(2) has it.
    ///
    /// # Errors
    /// `ENOMEM` (a hole), `EINVAL` (not possible for one of the areas).
    pub fn advise(&self, start: u64, len: u64, advice: Advice) -> Result<()> {
        let end = range_end(start, len).ok_or(Errno::EINVAL)?;
        if let Advice::Populate(write) = advice {
            return self.populate(start, end, write).map_err(|_| Errno::ENOMEM);
        }
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let complete = inner.check_mapped(start, end);
        match advice {
            Advice::Nothing | Advice::Populate(_) => {}
            Advice::Forget => {
                if inner.areas_in(start, end).any(|(_, vma)| vma.flags.contains(VmaFlags::LOCKED)) {
                    return Err(Errno::EINVAL);
                }
                inner.zap(start, end);
            }
            Advice::Flags(set, clear) => {
                inner.split_at(start, end);
                for (_, vma) in inner.vmas.range_mut(start..end) {
                    vma.flags.insert(set);
                    vma.flags.remove(clear);
                }
                inner.join_around(start, end);
            }
        }
        complete
    }

    /// Brings pages in.
    fn populate(&self, start: u64, end: u64, write: bool) -> core::result::Result<(), super::Fault> {
        let access = if write { super::Access::Write } else { super::Access::Read };
        let mut at = start;
        while at < end {
            self.handle_fault(at, access)?;
            at += PAGE_SIZE;
        }
        Ok(())
    }

    /// Moves the end of the heap; gives the new end, or the old one when that is not possible.
    pub fn brk(&self, wanted: u64) -> u64 {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let marks = inner.marks;
        let (Some(new), Some(old)) = (page_up(wanted), page_up(marks.brk)) else { return marks.brk };
        if wanted < marks.start_brk || new > USER_END {
            return marks.brk;
        }
        if new < old {
            inner.remove(new, old);
        } else if new > old {
            let data = self.limits.data.load(Ordering::Relaxed);
            let size = inner.total_pages * PAGE_SIZE + (new - old);
            if wanted - marks.start_brk > data
                || size > self.limits.space.load(Ordering::Relaxed)
                || inner.overlaps(old, new.saturating_add(PAGE_SIZE))
            {
                return marks.brk;
            }
            let vma = Vma {
                end: new,
                prot: Prot::READ | Prot::WRITE,
                flags: VmaFlags::HEAP,
                backing: Backing::Anonymous,
                offset: 0,
            };
            inner.insert(old, vma);
        }
        inner.marks.brk = wanted;
        wanted
    }

    /// Changes the size or the place of a mapping. `target`: `None` = not to be moved, `Some(0)` = wherever there
    /// is room, else exactly there.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT`, `ENOMEM` as mremap(2) has them.
    pub fn remap(&self, start: u64, old_len: u64, new_len: u64, target: Option<u64>) -> Result<u64> {
        let old_len = page_up(old_len).ok_or(Errno::EINVAL)?;
        let new_len = page_up(new_len).filter(|&len| len != 0 && len <= USER_END).ok_or(Errno::EINVAL)?;
        if !start.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let fixed = target.filter(|&to| to != 0);
        if let Some(to) = fixed {
            let end = range_end(to, new_len).ok_or(Errno::EINVAL)?;
            if to % PAGE_SIZE != 0 || (to < start + old_len && start < end) {
                return Err(Errno::EINVAL);
            }
        }
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let (at, vma) = inner.find(start).ok_or(Errno::EFAULT)?;
        let vma = vma.clone();
        if old_len == 0 && !vma.flags.contains(VmaFlags::SHARED) {
            return Err(Errno::EINVAL);
        }
        if start + old_len > vma.end {
            return Err(Errno::EFAULT);
        }
        if fixed.is_none() && new_len <= old_len && old_len != 0 {
            if new_len < old_len {
                inner.remove(start + new_len, start + old_len);
            }
            return Ok(start);
        }
        let grow = new_len.saturating_sub(old_len);
        if inner.total_pages * PAGE_SIZE + grow > self.limits.space.load(Ordering::Relaxed) {
            return Err(Errno::ENOMEM);
        }
        let grown_end = start + new_len;
        if fixed.is_none()
            && old_len != 0
            && start + old_len == vma.end
            && grown_end <= USER_END
            && !inner.overlaps(vma.end, grown_end)
        {
            let more = Vma { end: grown_end, offset: offset_at(&vma, at, vma.end), ..vma.clone() };
            inner.insert(vma.end, more);
            return Ok(start);
        }
        let to = match (fixed, target) {
            (Some(to), _) => {
                inner.remove(to, to + new_len);
                to
            }
            (None, Some(_)) => inner.find_gap(new_len, inner.mmap_base).ok_or(Errno::ENOMEM)?,
            (None, None) => return Err(Errno::ENOMEM),
        };
        let offset = offset_at(&vma, at, start);
        inner.insert(to, Vma { end: to + new_len, offset, ..vma });
        inner.move_pages(start, to, old_len.min(new_len))?;
        if old_len != 0 {
            inner.remove(start, start + old_len);
        }
        Ok(to)
    }

    /// Whether each page of a range is in memory, as mincore(2) reports it.
    ///
    /// # Errors
    /// `ENOMEM` when a part is not mapped.
    pub fn residency(&self, start: u64, out: &mut [u8]) -> Result<()> {
        let mut inner = self.inner.lock();
        let end = start + out.len() as u64 * PAGE_SIZE;
        inner.check_mapped(start, end)?;
        out.fill(0);
        inner.table.for_range(start, end, |va, _| {
            if let Some(byte) = out.get_mut(((va - start) / PAGE_SIZE) as usize) {
                *byte = 1;
            }
        });
        Ok(())
    }
}

/// The object offset of address `to` in the area at `start`.
fn offset_at(vma: &Vma, start: u64, to: u64) -> u64 {
    match vma.backing {
        Backing::Anonymous => 0,
        Backing::Object(_) => vma.offset + (to - start),
    }
}

/// Whether the frame at `addr` has one owner.
fn is_sole(addr: crate::arch::PhysAddr) -> bool {
    let frame = Frame::from_raw(addr);
    let sole = frame.is_unique();
    let _ = frame.into_raw();
    sole
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
        let hint = page_down(request.addr);
        if hint >= MMAP_MIN_ADDR && range_end(hint, len).is_some_and(|end| !self.overlaps(hint, end)) {
            return Ok(hint);
        }
        let top = if request.place.contains(MapFlags::LOW) { 1 << 31 } else { self.mmap_base };
        self.find_gap(len, top).or_else(|| self.find_gap(len, USER_END)).ok_or(Errno::ENOMEM)
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
            self.vmas.remove(&at);
            any = true;
        }
        if any {
            self.zap(start, end);
        }
    }

    /// The areas that meet `[start, end)`, last first.
    fn areas_in(&self, start: u64, end: u64) -> impl Iterator<Item = (&u64, &Vma)> {
        self.vmas.range(..end).rev().take_while(move |(_, vma)| vma.end > start)
    }

    /// Whether all of `[start, end)` is mapped.
    fn check_mapped(&self, start: u64, end: u64) -> Result<()> {
        let mut at = start;
        while at < end {
            let (_, vma) = self.find(at).ok_or(Errno::ENOMEM)?;
            at = vma.end;
        }
        Ok(())
    }

    /// Moves mapped pages to another place.
    fn move_pages(&mut self, from: u64, to: u64, len: u64) -> Result<()> {
        let mut moved = smallvec::SmallVec::<[u64; 64]>::new();
        self.table.for_range(from, from + len, |va, _| moved.push(va));
        for va in moved {
            // The target's table first, so that nothing is lost when memory runs out.
            self.table.entry(to + (va - from))?;
            if let Some((addr, flags)) = self.table.unmap(va) {
                self.table.map(to + (va - from), addr, flags)?;
            }
        }
        tlb::flush_range(self.table.id(), from, from + len);
        Ok(())
    }
}
