//! shmdt(2): the areas that an attachment of a shared memory segment has become.

use alloc::{sync::Arc, vec::Vec};

use super::{
    space::{AddressSpace, Inner},
    vma::{Backing, Mappable, Vma},
};
use crate::{
    errno::{Errno, Result},
    mem::PAGE_SIZE,
};

impl AddressSpace {
    /// Removes the attachment that began at `addr`; of one that was cut up or moved apart, what lies where it lay.
    ///
    /// # Errors
    /// `EINVAL` when there is none.
    pub fn detach(&self, addr: u64) -> Result<()> {
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.inner.lock();
        let (object, pages) = inner.attached_at(addr).ok_or(Errno::EINVAL)?;
        let first = inner.vmas.range(addr..).find(|&(&at, vma)| shows(addr, at, vma).is_some());
        let first = first.map(|(&at, vma)| (at, vma.end));
        let end = addr.saturating_add(pages.saturating_mul(PAGE_SIZE));
        let own = |vma: &Vma| matches!(&vma.backing, Backing::Object(other) if Arc::ptr_eq(other, &object));
        let rest = inner
            .vmas
            .range(addr..end)
            .filter(|&(&at, vma)| vma.end <= end && own(vma) && shows(addr, at, vma).is_some());
        let mut areas: Vec<_> = rest.map(|(&at, vma)| (at, vma.end)).collect();
        areas.extend(first.filter(|area| !areas.contains(area)));
        for (from, to) in areas {
            // What is sealed stays; the call says nothing of it.
            if inner.check_unsealed(from, to).is_ok() {
                inner.remove(from, to);
            }
        }
        Ok(())
    }
}

/// The segment that the area at `at` shows, if it could be a part of an attachment at `addr`.
fn shows(addr: u64, at: u64, vma: &Vma) -> Option<(&Arc<dyn Mappable>, u64)> {
    let Backing::Object(object) = &vma.backing else { return None };
    let pages = object.segment()?;
    (at.checked_sub(addr)? == vma.offset).then_some((object, pages))
}

impl Inner {
    /// The segment, and its pages, of the first area that can be a part of an attachment at `addr`.
    fn attached_at(&self, addr: u64) -> Option<(Arc<dyn Mappable>, u64)> {
        let mut areas = self.vmas.range(addr..);
        areas.find_map(|(&at, vma)| shows(addr, at, vma)).map(|(object, pages)| (object.clone(), pages))
    }
}
