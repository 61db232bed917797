//! Locked memory: mlock(2) and its family. Nothing is ever paged out, so locking is bringing in and accounting.

use super::{
    page_down,
    space::{AddressSpace, Inner},
    vma::{Prot, VmaFlags},
};
use crate::{
    arch::{USER_END, try_current},
    errno::{Errno, Result},
    mem::PAGE_SIZE,
    task::{cred::Caps, rlimit::Resource},
};

/// What an area carries when it is locked.
const BOTH: VmaFlags = VmaFlags::LOCKED.union(VmaFlags::ONFAULT);

/// Bytes that the caller may lock; with the capability there is no limit.
fn allowance() -> u64 {
    let Some(me) = try_current() else { return u64::MAX };
    if me.with_cred(|cred| cred.capable(Caps::IPC_LOCK)) {
        return u64::MAX;
    }
    me.process.rlimit(Resource::Memlock).soft
}

fn check_allowed() -> Result<u64> {
    match allowance() {
        0 => Err(Errno::EPERM),
        bytes => Ok(bytes),
    }
}

impl Inner {
    /// Bytes locked in `[start, end)`.
    pub(super) fn locked(&self, start: u64, end: u64) -> u64 {
        let locked = self.areas_in(start, end).filter(|(_, vma)| vma.flags.contains(VmaFlags::LOCKED));
        locked.map(|(&at, vma)| vma.end.min(end) - at.max(start)).sum()
    }

    /// Whether `len` more bytes may be locked. `asked`: by the call itself, not by mlockall(2) before.
    pub(super) fn check_lockable(&self, len: u64, asked: bool) -> Result<()> {
        let allowed = if asked { check_allowed()? } else { allowance() };
        if allowed != u64::MAX && self.locked(0, USER_END).saturating_add(len) > allowed {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }

    /// Sets how the areas of a range are locked; stops at a hole.
    fn set_lock(&mut self, start: u64, end: u64, how: VmaFlags) -> Result<()> {
        let mut at = start;
        let mut result = Ok(());
        while at < end {
            let Some((_, vma)) = self.find(at) else {
                result = Err(Errno::ENOMEM);
                break;
            };
            let to = vma.end.min(end);
            if let Err(error) = self.check_split(at, to) {
                result = Err(error);
                break;
            }
            self.split_at(at, to);
            if let Some(vma) = self.vmas.get_mut(&at) {
                vma.flags = (vma.flags - BOTH) | how;
            }
            at = to;
        }
        self.join_around(start, at);
        result
    }
}

impl AddressSpace {
    /// mlock(2) and, with no flags, munlock(2). Wraps around where Linux does.
    ///
    /// # Errors
    /// `EPERM`, `ENOMEM`, `EINVAL` as mlock(2) has them.
    pub fn lock_range(&self, start: u64, len: u64, how: VmaFlags) -> Result<()> {
        let allowed = if how.is_empty() { u64::MAX } else { check_allowed()? };
        let first = page_down(start);
        let len = page_down(len.wrapping_add(start - first).wrapping_add(PAGE_SIZE - 1));
        let end = first.wrapping_add(len);
        {
            let mut inner = self.inner.lock();
            if allowed != u64::MAX {
                let others = inner.locked(0, USER_END) - inner.locked(first, end.max(first));
                if others.saturating_add(len) > allowed {
                    return Err(Errno::ENOMEM);
                }
            }
            if end < first {
                return Err(Errno::EINVAL);
            }
            inner.set_lock(first, end, how)?;
        }
        if how == VmaFlags::LOCKED {
            self.bring_in(first, end).map_err(|_| Errno::ENOMEM)?;
        }
        Ok(())
    }

    /// mlockall(2) and, with nothing set, munlockall(2).
    ///
    /// # Errors
    /// `EPERM`, `ENOMEM`.
    pub fn lock_all(&self, current: bool, future: bool, on_fault: bool) -> Result<()> {
        let mut how = VmaFlags::LOCKED;
        how.set(VmaFlags::ONFAULT, on_fault);
        let allowed = if current || future { check_allowed()? } else { u64::MAX };
        {
            let mut inner = self.inner.lock();
            let inner = &mut *inner;
            if current && inner.total_pages * PAGE_SIZE > allowed {
                return Err(Errno::ENOMEM);
            }
            inner.lock_future = if future { how } else { VmaFlags::empty() };
            if future && !current {
                return Ok(());
            }
            for vma in inner.vmas.values_mut() {
                vma.flags = (vma.flags - BOTH) | if current { how } else { VmaFlags::empty() };
            }
            inner.join_around(0, USER_END);
        }
        if current && !on_fault {
            let ranges: alloc::vec::Vec<_> =
                self.inner.lock().vmas.iter().map(|(&start, vma)| (start, vma.end)).collect();
            for (start, end) in ranges {
                // What cannot be brought in stays as it is.
                let _ = self.bring_in(start, end);
            }
        }
        Ok(())
    }

    /// Brings the pages of locked areas in: for writing where a write would make a copy.
    fn bring_in(&self, start: u64, end: u64) -> core::result::Result<(), super::Fault> {
        let mut at = start;
        while at < end {
            let (to, write, lazy) = {
                let inner = self.inner.lock();
                let Some((_, vma)) = inner.find(at) else { return Err(super::Fault::Segv { mapped: false }) };
                let write = vma.prot.contains(Prot::WRITE) && !vma.flags.contains(VmaFlags::SHARED);
                (vma.end.min(end), write, vma.flags.contains(VmaFlags::ONFAULT))
            };
            if !lazy {
                self.populate(at, to, write)?;
            }
            at = to;
        }
        Ok(())
    }
}
