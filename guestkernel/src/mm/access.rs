//! Reading and writing a space's memory from outside: `/proc/PID/cmdline`, building a new program's stack.

use super::{
    fault::{Access, Fault},
    page_down,
    space::AddressSpace,
};
use crate::{
    arch::{self, PhysAddr},
    mem::PAGE_SIZE,
};

impl AddressSpace {
    /// Copies from the space; gives the bytes copied before the first inaccessible one.
    pub fn read_memory(&self, addr: u64, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let Ok((at, count)) = self.piece(addr + done as u64, bytes.len() - done, Access::Read) else {
                break;
            };
            arch::read_phys(at, &mut bytes[done..done + count]);
            done += count;
        }
        done
    }

    /// Copies into the space.
    ///
    /// # Errors
    /// The fault at the first inaccessible byte.
    pub fn write_memory(&self, addr: u64, bytes: &[u8]) -> Result<(), Fault> {
        let mut done = 0;
        while done < bytes.len() {
            let (at, count) = self.piece(addr + done as u64, bytes.len() - done, Access::Write)?;
            arch::write_phys(at, &bytes[done..done + count]);
            done += count;
        }
        Ok(())
    }

    /// Where `addr` is in physical memory, and how many bytes of `len` lie in the same page.
    fn piece(&self, addr: u64, len: usize, access: Access) -> Result<(PhysAddr, usize), Fault> {
        let page = page_down(addr);
        let offset = addr - page;
        let count = len.min((PAGE_SIZE - offset) as usize);
        if addr >= arch::USER_END {
            return Err(Fault::Segv { mapped: false });
        }
        self.handle_fault(addr, access)?;
        let inner = self.inner.lock();
        let (at, _) = inner.table.translate(page).ok_or(Fault::Segv { mapped: true })?;
        Ok((PhysAddr(at.0 + offset), count))
    }
}
