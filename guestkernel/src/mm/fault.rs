//! Page faults.

use super::{
    page_down,
    space::{AddressSpace, Inner},
    vma::{Backing, Mappable, PageSource, Prot, Vma, VmaFlags},
};
use crate::{
    arch::{self, PhysAddr, paging::PteFlags, tlb},
    errno::Errno,
    mem::{
        PAGE_SIZE,
        frame::{self, Frame},
    },
};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

/// Anonymous pages mapped at once when memory is touched in sequence.
const RUN: usize = 32;
/// File pages mapped at once when they are ready.
const AROUND: usize = 16;
/// Distance that a growing stack keeps from the area below it, as Linux (`stack_guard_gap`).
const STACK_GUARD: u64 = 256 * PAGE_SIZE;

/// How often a fault is tried again that fails though there is memory.
const MAX_TRIES: u32 = 16;

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Exec,
}

/// Why a fault cannot be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `SIGSEGV`: nothing is there (`SEGV_MAPERR`), or the area forbids it (`SEGV_ACCERR`).
    Segv {
        /// Whether there is an area.
        mapped: bool,
    },
    /// `SIGBUS`, `BUS_ADRERR`: beyond the end of the object, or it cannot be read.
    Bus,
    /// Memory is exhausted.
    OutOfMemory,
}

impl From<Errno> for Fault {
    fn from(error: Errno) -> Self {
        if error == Errno::ENOMEM { Self::OutOfMemory } else { Self::Bus }
    }
}

impl AddressSpace {
    /// Makes `addr` accessible, if its area permits `access`.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn handle_fault(&self, addr: u64, access: Access) -> core::result::Result<(), Fault> {
        // What fails though there is memory has another reason, which may pass.
        let mut tries = 0;
        loop {
            match self.fault_in(&mut self.inner.lock(), addr, access, u64::MAX) {
                Err(Fault::OutOfMemory) => {}
                result => return result,
            }
            tries += u32::from(!frame::is_short());
            if tries > MAX_TRIES || !super::oom::relieve() {
                return Err(Fault::OutOfMemory);
            }
        }
    }

    /// As [`Self::handle_fault`], the lock held; maps nothing from `limit` on.
    pub(super) fn fault_in(
        &self,
        inner: &mut Inner,
        addr: u64,
        access: Access,
        limit: u64,
    ) -> core::result::Result<(), Fault> {
        if self.reaped.load(Ordering::Relaxed) {
            return Err(Fault::OutOfMemory);
        }
        let (start, vma) = match inner.find(addr) {
            Some(found) => found,
            None => {
                let most = self.limits.stack.load(Ordering::Relaxed);
                inner.grow_stack(addr, most).ok_or(Fault::Segv { mapped: false })?
            }
        };
        let allowed = match access {
            Access::Read => !vma.prot.is_empty(),
            Access::Write => vma.prot.contains(Prot::WRITE),
            Access::Exec => vma.prot.contains(Prot::EXEC),
        };
        if !allowed {
            return Err(Fault::Segv { mapped: true });
        }
        let mut vma = vma.clone();
        vma.end = vma.end.min(limit);
        inner.resolve(start, &vma, page_down(addr), access == Access::Write)
    }
}

impl Inner {
    /// Extends the stack area above `addr` down to it, if it may grow so far.
    fn grow_stack(&mut self, addr: u64, limit: u64) -> Option<(u64, &Vma)> {
        let (&start, vma) = self.vmas.range(addr..).next()?;
        let new_start = page_down(addr);
        if !vma.flags.contains(VmaFlags::GROWSDOWN) || vma.end - new_start > limit {
            return None;
        }
        let floor = self.vmas.range(..addr).next_back().map_or(super::MMAP_MIN_ADDR, |(_, below)| {
            below.end + if below.prot.is_empty() { 0 } else { STACK_GUARD }
        });
        if new_start < floor {
            return None;
        }
        let mut vma = self.vmas.remove(&start)?;
        vma.offset = 0;
        self.total_pages += (start - new_start) / PAGE_SIZE;
        self.vmas.insert(new_start, vma);
        self.vmas.get(&new_start).map(|vma| (new_start, vma))
    }

    /// Maps the page at `page` of the area that starts at `start`.
    fn resolve(&mut self, start: u64, vma: &Vma, page: u64, write: bool) -> core::result::Result<(), Fault> {
        let flags = vma.pte_flags();
        let entry = self.table.entry(page)?;
        if entry.is_present() {
            let now = entry.flags();
            if !write || now.contains(PteFlags::WRITE) {
                // Another CPU was faster, or this one had a stale translation.
                tlb::flush_page(self.table.id(), page);
                return Ok(());
            }
            let addr = entry.addr();
            return self.make_writable(start, vma, page, addr, now);
        }
        match &vma.backing {
            Backing::Anonymous => self.map_anonymous(start, vma, page, write, flags),
            Backing::Object(object) => {
                let object = object.clone();
                self.map_object(start, vma, &object, page, write, flags)
            }
        }
    }

    /// A store to a page that is mapped without the right to write.
    fn make_writable(
        &mut self,
        start: u64,
        vma: &Vma,
        page: u64,
        addr: PhysAddr,
        now: PteFlags,
    ) -> core::result::Result<(), Fault> {
        let flags = vma.pte_flags() | PteFlags::DIRTY;
        let is_frame = now.contains(PteFlags::FRAME);
        if let (true, Backing::Object(object)) = (vma.flags.contains(VmaFlags::SHARED), &vma.backing) {
            let index = (vma.offset + (page - start)) / PAGE_SIZE;
            let source = object.page(index, true)?;
            let (new, kind) = into_entry(source);
            let entry = self.table.entry(page)?;
            let old = entry.take();
            entry.set(new, flags | kind);
            tlb::flush_page(self.table.id(), page);
            release(old);
            return Ok(());
        }
        if is_frame {
            let frame = Frame::from_raw(addr);
            let sole = frame.is_unique();
            let _ = frame.into_raw();
            if sole {
                self.table.entry(page)?.set_flags(flags | PteFlags::FRAME);
                return Ok(());
            }
        }
        let copy = frame::alloc().ok_or(Fault::OutOfMemory)?;
        if !arch::copy_page(copy.addr(), addr) {
            return Err(Fault::Bus);
        }
        let entry = self.table.entry(page)?;
        let old = entry.take();
        entry.set(copy.into_raw(), flags | PteFlags::FRAME);
        tlb::flush_page(self.table.id(), page);
        release(old);
        Ok(())
    }

    /// First access to anonymous memory. Memory that is touched in ascending order is mapped in runs.
    fn map_anonymous(
        &mut self,
        start: u64,
        vma: &Vma,
        page: u64,
        write: bool,
        flags: PteFlags,
    ) -> core::result::Result<(), Fault> {
        let sequential =
            page > start && self.table.find(page - PAGE_SIZE).is_some_and(|entry| entry.is_present());
        let most = if sequential { RUN.min(((vma.end - page) / PAGE_SIZE) as usize) } else { 1 };
        let mut mapped = 0;
        if !write && most == 1 {
            // A load alone shares one page of zeroes.
            if let Some(zero) = zero_frame() {
                let flags = (flags - PteFlags::WRITE) | PteFlags::COW | PteFlags::FRAME;
                self.table.entry(page)?.set(zero.into_raw(), flags);
                self.count_resident(1);
                return Ok(());
            }
        }
        let flags = flags | PteFlags::FRAME | if write { PteFlags::DIRTY } else { PteFlags::empty() };
        for entry in self.table.entries(page, most)? {
            if entry.is_present() {
                break;
            }
            match frame::alloc_zeroed() {
                Some(frame) => entry.set(frame.into_raw(), flags),
                None if mapped > 0 => break,
                None => return Err(Fault::OutOfMemory),
            }
            mapped += 1;
        }
        self.count_resident(mapped);
        Ok(())
    }

    /// First access to a page of an object.
    fn map_object(
        &mut self,
        start: u64,
        vma: &Vma,
        object: &Arc<dyn Mappable>,
        page: u64,
        write: bool,
        flags: PteFlags,
    ) -> core::result::Result<(), Fault> {
        let index = (vma.offset + (page - start)) / PAGE_SIZE;
        let shared = vma.flags.contains(VmaFlags::SHARED);
        let source = object.page(index, write && shared)?;
        if write && !shared {
            let copy = frame::alloc().ok_or(Fault::OutOfMemory)?;
            if !arch::copy_page(copy.addr(), source_addr(&source)) {
                return Err(Fault::Bus);
            }
            self.table.entry(page)?.set(copy.into_raw(), flags | PteFlags::DIRTY | PteFlags::FRAME);
            self.count_resident(1);
            return Ok(());
        }
        let read_only = (flags - PteFlags::WRITE) | if shared { PteFlags::empty() } else { PteFlags::COW };
        let (addr, kind) = into_entry(source);
        let first = if write { flags | PteFlags::DIRTY } else { read_only };
        self.table.entry(page)?.set(addr, first | kind);
        let mut mapped = 1;
        if !write {
            let most = AROUND.min(((vma.end - page) / PAGE_SIZE) as usize);
            let ready = object.ready(index, most).min(most);
            if ready > 1 {
                // The entries of one table; the run ends at its border.
                for (offset, entry) in (1u64..).zip(self.table.entries(page, ready)?.iter().skip(1)) {
                    if entry.is_present() {
                        break;
                    }
                    let Ok(source) = object.page(index + offset, false) else { break };
                    let (addr, kind) = into_entry(source);
                    entry.set(addr, read_only | kind);
                    mapped += 1;
                }
            }
        }
        self.count_resident(mapped);
        Ok(())
    }
}

/// Drops the reference that an emptied entry held.
pub(super) fn release(old: Option<(PhysAddr, PteFlags)>) {
    if let Some((addr, flags)) = old
        && flags.contains(PteFlags::FRAME)
    {
        drop(Frame::from_raw(addr));
    }
}

fn source_addr(source: &PageSource) -> PhysAddr {
    match source {
        PageSource::Frame(frame) => frame.addr(),
        PageSource::Window(addr) => *addr,
    }
}

/// The address for a page-table entry, which takes the reference over, and the flag that says what it is.
fn into_entry(source: PageSource) -> (PhysAddr, PteFlags) {
    match source {
        PageSource::Frame(frame) => (frame.into_raw(), PteFlags::FRAME),
        PageSource::Window(addr) => (addr, PteFlags::empty()),
    }
}

/// The page of zeroes that loads share.
pub(super) fn zero_frame() -> Option<Frame> {
    static ZERO: spin::Once<Option<Frame>> = spin::Once::new();
    ZERO.call_once(frame::alloc_zeroed).clone()
}
