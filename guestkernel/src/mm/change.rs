//! Changing areas: mprotect(2) and mremap(2).

use super::{
    MAX_MAP_COUNT, MMAP_MIN_ADDR,
    map::{check_promise, is_data, range_end},
    page_up,
    space::{AddressSpace, Inner},
    vma::{Backing, Prot, Vma, VmaFlags},
};
use crate::{
    arch::{PhysAddr, USER_END, paging::PteFlags, tlb},
    errno::{Errno, Result},
    mem::{PAGE_SIZE, frame::Frame},
};

/// A change of a mapping's size or place.
#[derive(Clone, Copy, Debug)]
pub struct Remap {
    /// Where it is.
    pub start: u64,
    /// Its length; 0 = another mapping of the same shared object.
    pub old_len: u64,
    /// Its length afterwards.
    pub new_len: u64,
    /// Where to: `None` = not to be moved, `Some(0)` = wherever there is room, else exactly there.
    pub target: Option<u64>,
    /// The old area stays, empty (`MREMAP_DONTUNMAP`).
    pub keep: bool,
}

/// What a locked mapping has gained: from, to, and whether for writing.
type ToBringIn = (u64, u64, bool);

impl AddressSpace {
    /// Changes the rights of a range area by area. `down`: from the start of its first area, which grows down.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM` (a hole, a limit), `EACCES` (the object forbids it); what comes before is changed.
    pub fn protect(&self, start: u64, len: u64, prot: Prot, down: bool) -> Result<()> {
        let end = range_end(start, len).filter(|&end| end > start).ok_or(Errno::ENOMEM)?;
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let mut at = start;
        if down {
            let (first, vma) =
                inner.area_from(start).filter(|(first, _)| *first < end).ok_or(Errno::ENOMEM)?;
            if !vma.flags.contains(VmaFlags::GROWSDOWN) {
                return Err(Errno::EINVAL);
            }
            at = first;
        }
        let first = at;
        let mut result = Ok(());
        while at < end && result.is_ok() {
            result = match inner.find(at) {
                None => Err(Errno::ENOMEM),
                Some((_, vma)) => {
                    let (vma, to) = (vma.clone(), vma.end.min(end));
                    self.protect_area(inner, &vma, at, to, prot).map(|()| at = to)
                }
            };
        }
        inner.join_around(first, at.max(first + 1));
        tlb::flush_range(inner.table.id(), first, at);
        result
    }

    /// Changes the rights of `[from, to)`, a part of `vma`.
    fn protect_area(&self, inner: &mut Inner, vma: &Vma, from: u64, to: u64, prot: Prot) -> Result<()> {
        if vma.flags.contains(VmaFlags::SEALED) {
            return Err(Errno::EPERM);
        }
        if vma.prot == prot {
            return Ok(());
        }
        if prot.contains(Prot::WRITE) && vma.flags.contains(VmaFlags::NEVER_WRITE)
            || prot.contains(Prot::EXEC) && vma.flags.contains(VmaFlags::NEVER_EXEC)
        {
            return Err(Errno::EACCES);
        }
        if is_data(prot, vma.flags) && !is_data(vma.prot, vma.flags) {
            self.check_growth_of_data(inner, to - from)?;
            check_promise(to - from, prot, vma.flags, &vma.backing)?;
        }
        inner.check_split(from, to)?;
        inner.split_at(from, to);
        let Some(vma) = inner.vmas.get_mut(&from) else { return Err(Errno::ENOMEM) };
        vma.prot = prot;
        let flags = vma.pte_flags();
        let shared = vma.flags.contains(VmaFlags::SHARED);
        inner.table.for_range(from, to, |_, entry| {
            let kind = entry.flags() & (PteFlags::FRAME | PteFlags::COW | PteFlags::DIRTY);
            // Writing is given back at once to what nobody else shares; the rest faults first.
            let sole = !shared && kind.contains(PteFlags::FRAME) && is_sole(entry.addr());
            let flags = if sole { flags - PteFlags::COW } else { flags - PteFlags::WRITE };
            entry.set_flags(flags | kind);
        });
        Ok(())
    }

    /// Changes the size or the place of a mapping; gives its address.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT`, `ENOMEM`, `EAGAIN` as mremap(2) has them.
    pub fn remap(&self, change: Remap) -> Result<u64> {
        let (addr, more) = self.remap_locked(change)?;
        if let Some((from, to, write)) = more {
            // What fails shows at the access.
            let _ = self.populate(from, to, write);
        }
        Ok(addr)
    }

    /// As [`Self::remap`]; gives also what is to be brought in.
    fn remap_locked(&self, change: Remap) -> Result<(u64, Option<ToBringIn>)> {
        let Remap { start, target, keep, .. } = change;
        let mut old_len = page_up(change.old_len).ok_or(Errno::EINVAL)?;
        let new_len = page_up(change.new_len).filter(|&len| len != 0).ok_or(Errno::EINVAL)?;
        if !start.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let (_, vma) = inner.find(start).ok_or(Errno::EFAULT)?;
        if vma.flags.contains(VmaFlags::SEALED) {
            return Err(Errno::EPERM);
        }
        let fixed = target.filter(|&to| to != 0);
        if let Some(to) = fixed {
            let end = range_end(to, new_len).ok_or(Errno::EINVAL)?;
            if !to.is_multiple_of(PAGE_SIZE) || (to < start.saturating_add(old_len) && start < end) {
                return Err(Errno::EINVAL);
            }
            if to < MMAP_MIN_ADDR {
                return Err(Errno::EPERM);
            }
            if inner.vmas.len() + 2 >= MAX_MAP_COUNT {
                return Err(Errno::ENOMEM);
            }
            inner.check_unsealed(to, end)?;
            inner.remove(to, end);
            if old_len > new_len {
                inner.remove(start + new_len, range_end(start, old_len).ok_or(Errno::EFAULT)?);
                old_len = new_len;
            }
        } else if !keep && old_len >= new_len {
            if old_len > new_len {
                inner.remove(start + new_len, range_end(start, old_len).ok_or(Errno::EINVAL)?);
            }
            return Ok((start, None));
        }
        let (at, vma) = inner.find(start).ok_or(Errno::EFAULT)?;
        let vma = vma.clone();
        if old_len == 0 && !vma.flags.contains(VmaFlags::SHARED) {
            return Err(Errno::EINVAL);
        }
        if old_len > vma.end - start {
            return Err(Errno::EFAULT);
        }
        let grow = new_len.saturating_sub(old_len);
        let locked = vma.flags.contains(VmaFlags::LOCKED);
        if grow != 0 {
            if locked {
                inner.check_lockable(grow, false)?;
            }
            self.check_growth(inner, grow, vma.prot, vma.flags)?;
            check_promise(grow, vma.prot, vma.flags, &vma.backing)?;
        }
        if keep {
            self.check_growth(inner, old_len, vma.prot, vma.flags)?;
        }
        let bring = |from, to| {
            let write = vma.prot.contains(Prot::WRITE) && !vma.flags.contains(VmaFlags::SHARED);
            (locked && from < to && !vma.flags.contains(VmaFlags::ONFAULT)).then_some((from, to, write))
        };
        let in_place = target.is_none_or(|to| to == 0) && !keep && old_len == vma.end - start;
        let grown_end = start.checked_add(new_len).filter(|&end| end <= USER_END);
        if let Some(end) = grown_end.filter(|&end| in_place && !inner.overlaps(vma.end, end)) {
            let more = Vma { end, offset: offset_at(&vma, at, vma.end), ..vma.clone() };
            inner.insert(vma.end, more);
            return Ok((start, bring(start + old_len, end)));
        }
        let to = match (fixed, target) {
            (Some(to), _) => to,
            (None, Some(_)) => inner.find_gap(new_len, inner.mmap_base).ok_or(Errno::ENOMEM)?,
            (None, None) => return Err(Errno::ENOMEM),
        };
        let offset = offset_at(&vma, at, start);
        inner.insert(to, Vma { end: to + new_len, offset, ..vma.clone() });
        inner.move_pages(start, to, old_len)?;
        if keep {
            inner.split_at(start, start + old_len);
            if let Some(old) = inner.vmas.get_mut(&start) {
                old.flags -= VmaFlags::LOCKED | VmaFlags::ONFAULT;
            }
            inner.join_around(start, start + old_len);
        } else if old_len != 0 {
            inner.remove(start, start + old_len);
        }
        Ok((to, bring(to + old_len, to + new_len)))
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
fn is_sole(addr: PhysAddr) -> bool {
    let frame = Frame::from_raw(addr);
    let sole = frame.is_unique();
    let _ = frame.into_raw();
    sole
}

impl Inner {
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
