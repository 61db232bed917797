//! mseal(2): areas that stay as they are.

use super::{
    page_up,
    space::{AddressSpace, Inner},
    vma::{Backing, Prot, Vma, VmaFlags},
};
use crate::{
    errno::{Errno, Result},
    mem::PAGE_SIZE,
};

impl AddressSpace {
    /// Seals a range.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM` (a hole).
    pub fn seal(&self, start: u64, len: u64) -> Result<()> {
        let end = page_up(len).and_then(|len| start.checked_add(len)).ok_or(Errno::EINVAL)?;
        if !start.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.inner.lock();
        let mut at = start;
        while at < end {
            at = inner.find(at).ok_or(Errno::ENOMEM)?.1.end;
        }
        if start == end {
            return Ok(());
        }
        inner.check_split(start, end)?;
        inner.split_at(start, end);
        for (_, vma) in inner.vmas.range_mut(start..end) {
            vma.flags.insert(VmaFlags::SEALED);
        }
        inner.join_around(start, end);
        Ok(())
    }
}

impl Inner {
    /// Fails when a part of `[start, end)` is sealed.
    pub(super) fn check_unsealed(&self, start: u64, end: u64) -> Result<()> {
        match self.areas_in(start, end).any(|(_, vma)| vma.flags.contains(VmaFlags::SEALED)) {
            true => Err(Errno::EPERM),
            false => Ok(()),
        }
    }
}

impl Vma {
    /// Whether advice that loses contents must be refused: who cannot write may not.
    pub(super) fn keeps_contents(&self) -> bool {
        self.flags.contains(VmaFlags::SEALED)
            && matches!(self.backing, Backing::Anonymous)
            && !self.prot.contains(Prot::WRITE)
    }
}
