//! madvise(2), and which pages are there.

use alloc::sync::Arc;

use super::{
    Access, Fault,
    map::range_end,
    space::{AddressSpace, Inner},
    vma::{Backing, Mappable, Vma, VmaFlags},
};
use crate::{
    errno::{Errno, Result},
    mem::PAGE_SIZE,
};

/// What madvise(2) may ask of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Forget the contents (`MADV_DONTNEED`); `true` = of locked areas, too.
    Forget(bool),
    /// Private anonymous contents are not needed any more (`MADV_FREE`).
    Free,
    /// Set properties of the areas, and clear others.
    Flags(VmaFlags, VmaFlags),
    /// Bring the pages in (`MADV_POPULATE_*`); `true` = for writing.
    Populate(bool),
    /// Take the pages out of the object (`MADV_REMOVE`).
    Remove,
    /// Not needed soon (`MADV_COLD`, `MADV_PAGEOUT`).
    Cold,
    /// Only check the range.
    Nothing,
    /// As msync(2) does: `true` = drop other copies.
    Sync(bool),
}

/// What is left to do for an area without the space's lock.
type Removal = (Arc<dyn Mappable>, u64, u64);

impl AddressSpace {
    /// Applies advice to the areas of a range one after another. Holes are passed over and reported at the end, as
    /// madvise(2) has it.
    ///
    /// # Errors
    /// `ENOMEM` (a hole), `EINVAL` and others (not possible for one of the areas).
    pub fn advise(&self, start: u64, len: u64, advice: Advice) -> Result<()> {
        let end = super::page_up(len).and_then(|len| start.checked_add(len)).ok_or(Errno::EINVAL)?;
        if let Advice::Populate(write) = advice {
            range_end(start, len).ok_or(Errno::ENOMEM)?;
            return self.populate(start, end, write).map_err(|fault| match fault {
                Fault::Segv { mapped: false } | Fault::OutOfMemory => Errno::ENOMEM,
                Fault::Segv { mapped: true } => Errno::EINVAL,
                Fault::Bus => Errno::EFAULT,
            });
        }
        let mut complete = Ok(());
        let mut at = start;
        while at < end {
            let mut inner = self.inner.lock();
            let Some((first, vma)) = inner.area_from(at).filter(|(first, _)| *first < end) else {
                complete = Err(Errno::ENOMEM);
                break;
            };
            if first > at {
                complete = Err(Errno::ENOMEM);
            }
            let (from, to) = (first.max(at), vma.end.min(end));
            check(vma, advice)?;
            if matches!(advice, Advice::Flags(..)) {
                inner.check_split(from, to)?;
            }
            if let Some((object, offset, len)) = inner.take_advice(first, from, to, advice) {
                drop(inner);
                object.remove(offset, len)?;
            }
            at = to;
        }
        if matches!(advice, Advice::Flags(..)) {
            self.inner.lock().join_around(start, end);
        }
        complete
    }

    /// The flags of the area that holds `addr`.
    #[must_use]
    pub fn flags_at(&self, addr: u64) -> Option<VmaFlags> {
        self.inner.lock().find(addr).map(|(_, vma)| vma.flags)
    }

    /// Brings pages in.
    pub(super) fn populate(&self, start: u64, end: u64, write: bool) -> core::result::Result<(), Fault> {
        let access = if write { Access::Write } else { Access::Read };
        let mut at = start;
        while at < end {
            self.fault_in(&mut self.inner.lock(), at, access, end)?;
            at += PAGE_SIZE;
        }
        Ok(())
    }

    /// Whether each page of a range is in memory, as mincore(2) reports it.
    ///
    /// # Errors
    /// `ENOMEM` when a part is not mapped.
    pub fn residency(&self, start: u64, out: &mut [u8]) -> Result<()> {
        let mut inner = self.inner.lock();
        let end = start + out.len() as u64 * PAGE_SIZE;
        let mut at = start;
        out.fill(0);
        while at < end {
            let (first, vma) = inner.find(at).ok_or(Errno::ENOMEM)?;
            let to = vma.end.min(end);
            if let Backing::Object(object) = &vma.backing {
                let index = (vma.offset + (at - first)) / PAGE_SIZE;
                let pages = out.iter_mut().skip(((at - start) / PAGE_SIZE) as usize);
                for (byte, page) in pages.zip(0..(to - at) / PAGE_SIZE) {
                    *byte = u8::from(object.resident(index + page));
                }
            }
            at = to;
        }
        inner.table.for_range(start, end, |va, _| {
            if let Some(byte) = out.get_mut(((va - start) / PAGE_SIZE) as usize) {
                *byte = 1;
            }
        });
        Ok(())
    }
}

/// Whether an area can be treated so.
fn check(vma: &Vma, advice: Advice) -> Result<()> {
    let locked = vma.flags.contains(VmaFlags::LOCKED);
    let shared = vma.flags.contains(VmaFlags::SHARED);
    let object = matches!(vma.backing, Backing::Object(_));
    match advice {
        Advice::Forget(_) | Advice::Free | Advice::Remove if vma.keeps_contents() => Err(Errno::EPERM),
        Advice::Flags(set, _)
            if set.intersects(VmaFlags::DONTFORK | VmaFlags::WIPEONFORK) && vma.keeps_contents() =>
        {
            Err(Errno::EPERM)
        }
        Advice::Forget(false) | Advice::Cold if locked => Err(Errno::EINVAL),
        Advice::Free if locked || object => Err(Errno::EINVAL),
        Advice::Flags(set, _) if set.contains(VmaFlags::WIPEONFORK) && object => Err(Errno::EINVAL),
        Advice::Remove if locked || !object => Err(Errno::EINVAL),
        Advice::Remove if !shared || vma.flags.contains(VmaFlags::NEVER_WRITE) => Err(Errno::EACCES),
        Advice::Sync(true) if locked => Err(Errno::EBUSY),
        _ => Ok(()),
    }
}

impl Inner {
    /// Does to `[from, to)` of the area at `first` what was advised.
    fn take_advice(&mut self, first: u64, from: u64, to: u64, advice: Advice) -> Option<Removal> {
        match advice {
            Advice::Forget(_) | Advice::Free => self.zap(from, to),
            Advice::Flags(set, clear) => {
                self.split_at(from, to);
                if let Some(vma) = self.vmas.get_mut(&from) {
                    vma.flags.remove(clear);
                    vma.flags.insert(set);
                }
            }
            Advice::Remove => {
                let vma = self.vmas.get(&first)?;
                if let Backing::Object(object) = &vma.backing {
                    return Some((object.clone(), vma.offset + (from - first), to - from));
                }
            }
            Advice::Populate(_) | Advice::Cold | Advice::Nothing | Advice::Sync(_) => {}
        }
        None
    }
}
