//! What an address space has, counted: for `/proc/PID/status`, `statm` and `smaps`.

use alloc::vec::Vec;

use super::{
    map::is_data,
    space::{AddressSpace, Inner, Sizes, VmaInfo},
    vma::{Backing, Prot, Vma, VmaFlags},
};
use crate::{
    arch::{PhysAddr, USER_END, paging::PteFlags, tlb},
    errno::{Errno, Result},
    mem::{PAGE_SIZE, frame::Frame},
};

/// Pages of one area.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measure {
    /// Mapped.
    pub resident: u64,
    /// Of those: private memory, not an object's.
    pub anonymous: u64,
    /// Of those: mapped or held by others too.
    pub shared: u64,
    /// Of those: written since they were mapped.
    pub dirty: u64,
    /// Of the resident ones: used since that was last forgotten.
    pub referenced: u64,
    /// Of the dirty ones: shared.
    pub shared_dirty: u64,
    /// Its part of each resident page, bytes.
    pub proportional: u64,
}

impl AddressSpace {
    /// Size and resident size and the like.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let mut sizes = Sizes {
            total: inner.total_pages,
            total_peak: inner.total_peak.max(inner.total_pages),
            resident: inner.resident,
            peak: inner.peak.max(inner.resident),
            locked: inner.locked(0, USER_END) / PAGE_SIZE,
            areas: inner.vmas.len() as u64,
            tables: inner.table.tables() * PAGE_SIZE,
            ..Sizes::default()
        };
        let Inner { table, vmas, .. } = inner;
        for (&start, vma) in vmas.iter() {
            let pages = (vma.end - start) / PAGE_SIZE;
            if is_data(vma.prot, vma.flags) {
                sizes.data += pages;
            } else if vma.flags.contains(VmaFlags::GROWSDOWN) {
                sizes.stack += pages;
            } else if vma.prot.contains(Prot::EXEC) && !vma.prot.contains(Prot::WRITE) {
                sizes.code += pages;
            }
            if matches!(vma.backing, Backing::Object(_)) {
                table.for_range(start, vma.end, |_, _| sizes.shared += 1);
            }
        }
        sizes
    }

    /// Pages that its end would bring: mapped ones, tables, and what the kernel knows of its areas.
    #[must_use]
    pub fn footprint(&self) -> u64 {
        /// Bytes for an area.
        const AREA: u64 = 128;
        let inner = self.inner.lock();
        inner.resident + inner.table.tables() + inner.vmas.len() as u64 * AREA / PAGE_SIZE
    }

    /// Whether the page of `addr` is there.
    ///
    /// # Errors
    /// `EFAULT` where nothing is mapped, and for the page of zeroes that all share.
    pub fn page_at(&self, addr: u64) -> Result<bool> {
        let inner = self.inner.lock();
        inner.find(addr).ok_or(Errno::EFAULT)?;
        let found = inner.table.translate(addr & !(PAGE_SIZE - 1)).map(|(at, _)| at);
        let zero = super::fault::zero_frame().map(|frame| frame.addr());
        if found.is_some() && found == zero { Err(Errno::EFAULT) } else { Ok(found.is_some()) }
    }

    /// The memory policies of the areas of a range.
    #[must_use]
    pub fn policies(&self, start: u64, end: u64) -> Vec<u32> {
        let inner = self.inner.lock();
        let mut policies: Vec<_> = inner.areas_in(start, end).map(|(_, vma)| vma.flags.policy()).collect();
        policies.reverse();
        policies
    }

    /// Forgets which pages were used: those of anonymous areas, of files', or (`None`) of all.
    pub fn forget_references(&self, anonymous: Option<bool>) {
        let mut inner = self.inner.lock();
        let Inner { table, vmas, .. } = &mut *inner;
        let mut cleared = false;
        for (&start, vma) in vmas.iter() {
            if anonymous.is_none_or(|wanted| wanted == matches!(vma.backing, Backing::Anonymous)) {
                table.for_range(start, vma.end, |_, entry| cleared |= entry.clear_flags(PteFlags::ACCESSED));
            }
        }
        if cleared {
            // Else the CPU would not set the bit again for as long as it keeps the translation.
            tlb::flush_mm(table.id());
        }
    }

    /// Makes the peaks what is there now.
    pub fn reset_peak(&self) {
        let mut inner = self.inner.lock();
        inner.peak = inner.resident;
    }

    /// What `/proc/PID/pagemap` says of `count` pages from number `first` on.
    #[must_use]
    pub fn page_entries(&self, first: u64, count: u64) -> Vec<u64> {
        const PRESENT: u64 = 1 << 63;
        const OF_OBJECT: u64 = 1 << 61;
        const EXCLUSIVE: u64 = 1 << 56;
        const SOFT_DIRTY: u64 = 1 << 55;
        let end = first.saturating_add(count).min(USER_END / PAGE_SIZE);
        let mut inner = self.inner.lock();
        let Inner { table, vmas, .. } = &mut *inner;
        let mut entries = alloc::vec![0; end.saturating_sub(first) as usize];
        table.for_range(first.saturating_mul(PAGE_SIZE), end * PAGE_SIZE, |va, entry| {
            let flags = entry.flags();
            let is_frame = flags.contains(PteFlags::FRAME);
            let object = vmas.range(..=va).next_back().is_some_and(|(_, vma)| {
                matches!(vma.backing, Backing::Object(_))
                    && (vma.flags.contains(VmaFlags::SHARED) || !is_frame || flags.contains(PteFlags::COW))
            });
            let mut value = PRESENT | SOFT_DIRTY;
            value |= if object { OF_OBJECT } else { 0 };
            // The object holds its pages, too.
            value |= if is_frame && owners(entry.addr()) == 1 + u64::from(object) { EXCLUSIVE } else { 0 };
            if let Some(slot) = entries.get_mut((va / PAGE_SIZE - first) as usize) {
                *slot = value;
            }
        });
        entries
    }

    /// All areas with their pages counted.
    #[must_use]
    pub fn measure(&self) -> Vec<(VmaInfo, Measure)> {
        let zero = super::fault::zero_frame().map(|frame| frame.addr());
        self.areas_with(|inner, start, vma| measure(inner, start, vma, zero))
    }
}

fn measure(inner: &mut Inner, start: u64, vma: &Vma, zero: Option<PhysAddr>) -> Measure {
    let mut sum = Measure::default();
    let private = !vma.flags.contains(VmaFlags::SHARED);
    let anonymous = matches!(vma.backing, Backing::Anonymous);
    inner.table.for_range(start, vma.end, |_, entry| {
        let flags = entry.flags();
        let is_frame = flags.contains(PteFlags::FRAME);
        if is_frame && Some(entry.addr()) == zero {
            return;
        }
        let owners = if is_frame { owners(entry.addr()) } else { 1 };
        sum.resident += 1;
        sum.proportional += PAGE_SIZE / owners;
        if private && is_frame && (anonymous || !flags.contains(PteFlags::COW)) {
            sum.anonymous += 1;
        }
        let dirty = flags.contains(PteFlags::DIRTY) || anonymous;
        sum.shared += u64::from(owners > 1);
        sum.referenced += u64::from(flags.contains(PteFlags::ACCESSED));
        sum.dirty += u64::from(dirty);
        sum.shared_dirty += u64::from(dirty && owners > 1);
    });
    sum
}

/// Owners of the frame at `addr`.
fn owners(addr: PhysAddr) -> u64 {
    let frame = Frame::from_raw(addr);
    let count = u64::from(frame.refcount());
    let _ = frame.into_raw();
    count.max(1)
}
