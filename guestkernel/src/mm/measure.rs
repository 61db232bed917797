//! What an address space has, counted: for `/proc/PID/status`, `statm` and `smaps`.

use alloc::vec::Vec;

use super::{
    map::is_data,
    space::{AddressSpace, Inner, Sizes, VmaInfo},
    vma::{Backing, Prot, Vma, VmaFlags},
};
use crate::{
    arch::{PhysAddr, USER_END, paging::PteFlags},
    mem::{PAGE_SIZE, frame::Frame},
};

/// What one last-level table spans.
const LEAF: u64 = PAGE_SIZE * 512;
/// Tables above the last level that every space has.
const UPPER_TABLES: u64 = 3;

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
            tables: UPPER_TABLES * PAGE_SIZE,
            ..Sizes::default()
        };
        let Inner { table, vmas, .. } = inner;
        let mut leaf = 0;
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
            let mut at = start.max(leaf);
            while let Some(page) = table.first_occupied(at, vma.end) {
                sizes.tables += PAGE_SIZE;
                leaf = (page / LEAF + 1) * LEAF;
                at = leaf;
            }
        }
        sizes
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
