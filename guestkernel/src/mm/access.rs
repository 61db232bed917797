//! Reading and writing a space's memory from outside: `/proc/PID/cmdline`, `process_vm_readv(2)`, building a new
//! program's stack. A page is looked up and copied under the space's lock, so that it is not given away meanwhile.

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
            let rest = &mut bytes[done..];
            let copied =
                self.with_page(addr.wrapping_add(done as u64), rest.len(), Access::Read, |at, count| {
                    arch::read_phys(at, &mut rest[..count]);
                });
            match copied {
                Ok(count) => done += count,
                Err(_) => break,
            }
        }
        done
    }

    /// Copies into the space.
    ///
    /// # Errors
    /// The fault at the first inaccessible byte.
    pub fn write_memory(&self, addr: u64, bytes: &[u8]) -> Result<(), Fault> {
        let (done, fault) = self.write_part(addr, bytes);
        fault.map_or(Ok(()), |fault| if done < bytes.len() { Err(fault) } else { Ok(()) })
    }

    /// Copies into the space; gives the bytes copied, and the fault that ended it.
    pub fn write_part(&self, addr: u64, bytes: &[u8]) -> (usize, Option<Fault>) {
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            let copied =
                self.with_page(addr.wrapping_add(done as u64), rest.len(), Access::Write, |at, count| {
                    arch::write_phys(at, &rest[..count]);
                });
            match copied {
                Ok(count) => done += count,
                Err(fault) => return (done, Some(fault)),
            }
        }
        (done, None)
    }

    /// Calls `copy` with where `addr` is in physical memory, and how many bytes of `len` lie in the same page.
    fn with_page(
        &self,
        addr: u64,
        len: usize,
        access: Access,
        copy: impl FnOnce(PhysAddr, usize),
    ) -> Result<usize, Fault> {
        let page = page_down(addr);
        let offset = addr - page;
        let count = len.min((PAGE_SIZE - offset) as usize);
        if addr >= arch::USER_END {
            return Err(Fault::Segv { mapped: false });
        }
        let mut inner = self.inner.lock();
        self.fault_in(&mut inner, addr, access, u64::MAX)?;
        let (at, _) = inner.table.translate(page).ok_or(Fault::Segv { mapped: true })?;
        copy(PhysAddr(at.0 + offset), count);
        Ok(count)
    }
}
