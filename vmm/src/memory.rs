//! Guest-physical memory: RAM over one lazily populated memfd, and the file-window region.
//!
//! RAM lies at 0…3 GiB and from 4 GiB up; the hole between is where the local APIC and the VMM's own pages
//! for Intel are. The window region follows, aligned to 1 GiB: address space that is reserved but
//! inaccessible until a piece of a host file is mapped into it.

use std::{
    fs::File,
    ptr::NonNull,
    sync::{Mutex, PoisonError},
};

use rustix::{
    fd::OwnedFd,
    fs::MemfdFlags,
    io::Errno,
    mm::{MapFlags, ProtFlags},
};
use std::sync::Arc;
use vm_memory::{
    Address, Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap, MmapRegion, VolatileSlice,
};

use crate::error::{Context, Error};

/// End of low RAM.
pub(crate) const HOLE_START: u64 = 3 << 30;
/// Start of high RAM.
pub(crate) const HOLE_END: u64 = 4 << 30;
const GIB: u64 = 1 << 30;
const PAGE: u64 = hostcall::PAGE_SIZE as u64;

/// One guest-physical range and the host memory behind it, for a KVM memory slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) gpa: u64,
    pub(crate) len: u64,
    pub(crate) host: u64,
}

/// Where RAM of `bytes` lies: at most two ranges of (start, length).
pub(crate) fn ram_ranges(bytes: u64) -> Vec<(u64, u64)> {
    if bytes <= HOLE_START { vec![(0, bytes)] } else { vec![(0, HOLE_START), (HOLE_END, bytes - HOLE_START)] }
}

/// A piece of a host file inside the window region.
#[derive(Debug)]
struct Mapping {
    offset: u64,
    len: u64,
    file: Arc<OwnedFd>,
    file_offset: u64,
}

/// The file-window region.
#[derive(Debug)]
struct Window {
    base: NonNull<u8>,
    start: u64,
    len: u64,
    mappings: Mutex<Vec<Mapping>>,
}

// SAFETY: `base` is only an address; the memory behind it is changed by mmap(2) alone, and never read or
// written by this process.
unsafe impl Send for Window {}
// SAFETY: as above; the list of mappings has its own lock.
unsafe impl Sync for Window {}

/// Where in this program's file an address of its image lies.
pub(crate) fn offset_in_program(address: u64) -> Option<u64> {
    struct Search {
        address: u64,
        found: Option<u64>,
    }
    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _size: usize, search: *mut libc::c_void) -> i32 {
        // SAFETY: the C library passes a valid structure and our own pointer, for the length of the call.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
        // SAFETY: the program headers of an object that is loaded stay where they are.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let inside = |header: &&libc::Elf64_Phdr| {
            let start = info.dlpi_addr.wrapping_add(header.p_vaddr);
            header.p_type == libc::PT_LOAD && (start..start + header.p_filesz).contains(&search.address)
        };
        search.found = headers
            .iter()
            .find(inside)
            .map(|header| search.address - info.dlpi_addr.wrapping_add(header.p_vaddr) + header.p_offset);
        // The first object is the program itself.
        1
    }
    let mut search = Search { address, found: None };
    // SAFETY: the callback takes what it is given, and the pointer lives longer than the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.found
}

/// All memory of a guest.
#[derive(Debug)]
pub(crate) struct Memory {
    ram: GuestMemoryMmap,
    memfd: Arc<File>,
    window: Window,
}

impl Memory {
    /// Reserves RAM of `bytes` (a multiple of the page size) and a window region of `window_len`.
    pub(crate) fn new(bytes: u64, window_len: u64) -> Result<Self, Error> {
        let memfd = rustix::fs::memfd_create(c"ringfence-ram", MemfdFlags::CLOEXEC)
            .system("create the memory file")?;
        rustix::fs::ftruncate(&memfd, bytes).system("size the memory file")?;
        let memfd = Arc::new(File::from(memfd));
        let mut regions = Vec::new();
        let mut offset = 0;
        for (start, len) in ram_ranges(bytes) {
            let len_usize = usize::try_from(len).map_err(|_| too_big())?;
            let region = MmapRegion::build(
                Some(FileOffset::from_arc(memfd.clone(), offset)),
                len_usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
            )
            .map_err(|e| Error::Config(format!("guest memory of {bytes} bytes: {e}")))?;
            regions.push(GuestRegionMmap::new(region, GuestAddress(start)).ok_or_else(too_big)?);
            offset += len;
        }
        let ram = GuestMemoryMmap::from_regions(regions).map_err(|e| Error::Config(e.to_string()))?;
        let window = Window::reserve((ram.last_addr().raw_value() + 1).next_multiple_of(GIB), window_len)?;
        Ok(Self { ram, memfd, window })
    }

    /// The ranges for KVM's memory slots.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        let ram = self.ram.iter().map(|region| Slot {
            gpa: region.start_addr().raw_value(),
            len: region.len(),
            host: region.get_mmap().as_ptr() as u64,
        });
        let window =
            Slot { gpa: self.window.start, len: self.window.len, host: self.window.base.as_ptr() as u64 };
        ram.chain([window]).collect()
    }

    /// Start and length of each RAM region.
    pub(crate) fn ram_regions(&self) -> Vec<(u64, u64)> {
        self.ram.iter().map(|region| (region.start_addr().raw_value(), region.len())).collect()
    }

    /// Start and length of the window region.
    pub(crate) fn window(&self) -> (u64, u64) {
        (self.window.start, self.window.len)
    }

    /// End of all guest-physical memory.
    pub(crate) fn end(&self) -> u64 {
        self.window.start + self.window.len
    }

    /// RAM, for the loader.
    pub(crate) fn ram(&self) -> &GuestMemoryMmap {
        &self.ram
    }

    /// `len` bytes of RAM at `gpa`; `EFAULT` unless they lie in one region.
    pub(crate) fn slice(&self, gpa: u64, len: u64) -> Result<VolatileSlice<'_>, Errno> {
        let len = usize::try_from(len).map_err(|_| Errno::FAULT)?;
        self.ram.get_slice(GuestAddress(gpa), len).map_err(|_| Errno::FAULT)
    }

    /// Copies out of RAM.
    pub(crate) fn read(&self, gpa: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        self.ram.read_slice(buffer, GuestAddress(gpa)).map_err(|_| Errno::FAULT)
    }

    /// Copies into RAM.
    pub(crate) fn write(&self, gpa: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.ram.write_slice(bytes, GuestAddress(gpa)).map_err(|_| Errno::FAULT)
    }

    /// Gives pages back to the host; they read as zero afterwards.
    pub(crate) fn release(&self, gpa: u64, len: u64) -> Result<(), Errno> {
        if !gpa.is_multiple_of(PAGE) || !len.is_multiple_of(PAGE) {
            return Err(Errno::INVAL);
        }
        if len == 0 {
            return Ok(());
        }
        self.slice(gpa, len)?;
        let offset = if gpa < HOLE_START { gpa } else { gpa - (HOLE_END - HOLE_START) };
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&*self.memfd, flags, offset, len)
    }

    /// Provides pages that are to be used soon; what they hold stays.
    pub(crate) fn populate(&self, gpa: u64, len: u64) -> Result<(), Errno> {
        if !gpa.is_multiple_of(PAGE) || !len.is_multiple_of(PAGE) {
            return Err(Errno::INVAL);
        }
        let slice = self.slice(gpa, len)?;
        // SAFETY: the range is RAM of the guest; the advice changes no contents.
        let done = unsafe {
            libc::madvise(
                slice.ptr_guard_mut().as_ptr().cast(),
                usize::try_from(len).map_err(|_| Errno::INVAL)?,
                libc::MADV_POPULATE_WRITE,
            )
        };
        if done == 0 { Ok(()) } else { Err(Errno::NOMEM) }
    }

    /// Puts a piece of a host file in the place of RAM, shared with the host's page cache as long as nobody writes to
    /// it; a last page that is not whole comes with what follows in the file.
    pub(crate) fn map_file(&self, gpa: u64, file: &File, file_offset: u64, len: u64) -> Result<(), Errno> {
        let len = len.next_multiple_of(PAGE);
        if !gpa.is_multiple_of(PAGE) || !file_offset.is_multiple_of(PAGE) {
            return Err(Errno::INVAL);
        }
        let slice = self.slice(gpa, len)?;
        // SAFETY: the range is RAM of the guest, whose contents nobody relies on; it stays readable and writable, and
        // a write makes a private copy.
        unsafe {
            rustix::mm::mmap(
                slice.ptr_guard_mut().as_ptr().cast(),
                usize::try_from(len).map_err(|_| Errno::INVAL)?,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
                file,
                file_offset,
            )?;
        }
        Ok(())
    }

    /// Maps a piece of a host file into the window region.
    pub(crate) fn map_window(
        &self,
        file: &Arc<OwnedFd>,
        file_offset: u64,
        len: u64,
        offset: u64,
        writable: bool,
    ) -> Result<(), Errno> {
        let address = self.window.address(offset, len)?;
        if !file_offset.is_multiple_of(PAGE)
            || file_offset.checked_add(len).is_none_or(|end| end > i64::MAX as u64)
        {
            return Err(Errno::INVAL);
        }
        let mut prot = ProtFlags::READ;
        if writable {
            prot |= ProtFlags::WRITE;
        }
        let mut mappings = self.window.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: `address` and `len` lie in the reservation, which this process itself never accesses.
        unsafe {
            rustix::mm::mmap(
                address.cast(),
                usize::try_from(len).map_err(|_| Errno::INVAL)?,
                prot,
                MapFlags::SHARED | MapFlags::FIXED | MapFlags::NORESERVE,
                file,
                file_offset,
            )?;
        }
        forget(&mut mappings, offset, len);
        mappings.push(Mapping { offset, len, file: file.clone(), file_offset });
        Ok(())
    }

    /// Makes a piece of the window region inaccessible again.
    pub(crate) fn unmap_window(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let address = self.window.address(offset, len)?;
        let mut mappings = self.window.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: `address` and `len` lie in the reservation, which this process itself never accesses.
        unsafe {
            rustix::mm::mmap_anonymous(
                address.cast(),
                usize::try_from(len).map_err(|_| Errno::INVAL)?,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
            )?;
        }
        forget(&mut mappings, offset, len);
        Ok(())
    }

    /// Whether the host can provide the pages of a piece of the window region: `EFAULT` when an access would fail.
    pub(crate) fn probe_window(&self, offset: u64, len: u64, write: bool) -> Result<(), Errno> {
        if len > hostcall::MAX_POPULATE {
            return Err(Errno::INVAL);
        }
        let address = self.window.address(offset, len)?;
        let advice = if write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
        let size = usize::try_from(len).map_err(|_| Errno::INVAL)?;
        // SAFETY: the range lies in the reservation, which this process itself never accesses; the advice changes no
        // contents.
        if unsafe { libc::madvise(address.cast(), size, advice) } == 0 {
            return Ok(());
        }
        match Errno::from_io_error(&std::io::Error::last_os_error()) {
            // A host before Linux 5.14 does not know the advice.
            Some(Errno::INVAL) if !write => self.window.read(offset, len),
            _ => Err(Errno::FAULT),
        }
    }

    /// Whether an access to a window failed because of its file: what KVM says of a guest that it cannot go on with is
    /// the same for all memory.
    pub(crate) fn has_windows(&self) -> bool {
        !self.window.mappings.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Window {
    fn reserve(start: u64, len: u64) -> Result<Self, Error> {
        let size = usize::try_from(len).map_err(|_| too_big())?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                size,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }
        .system("reserve the file windows")?;
        let base = NonNull::new(base.cast()).ok_or_else(too_big)?;
        Ok(Self { base, start, len, mappings: Mutex::new(Vec::new()) })
    }

    /// Whether the files can be read that are mapped at a range.
    fn read(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let mappings = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        for page in (offset..offset + len).step_by(hostcall::PAGE_SIZE) {
            let mapping = mappings
                .iter()
                .find(|mapping| (mapping.offset..mapping.offset + mapping.len).contains(&page))
                .ok_or(Errno::FAULT)?;
            let mut bytes = [0; hostcall::PAGE_SIZE];
            let room = &mut [std::io::IoSliceMut::new(&mut bytes)];
            let read = rustix::io::preadv(&mapping.file, room, mapping.file_offset + page - mapping.offset);
            if read.unwrap_or(0) == 0 {
                return Err(Errno::FAULT);
            }
        }
        Ok(())
    }

    /// Host address of a page-aligned, non-empty range.
    fn address(&self, offset: u64, len: u64) -> Result<*mut u8, Errno> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        if !inside || len == 0 || !offset.is_multiple_of(PAGE) || !len.is_multiple_of(PAGE) {
            return Err(Errno::INVAL);
        }
        let offset = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
        Ok(self.base.as_ptr().wrapping_add(offset))
    }
}

/// Takes a range out of the list of mappings, splitting those that it cuts.
fn forget(mappings: &mut Vec<Mapping>, offset: u64, len: u64) {
    let end = offset + len;
    let mut tails = Vec::new();
    mappings.retain_mut(|mapping| {
        let mapping_end = mapping.offset + mapping.len;
        if mapping_end <= offset || mapping.offset >= end {
            return true;
        }
        if mapping_end > end {
            let cut = end - mapping.offset;
            tails.push(Mapping {
                offset: end,
                len: mapping_end - end,
                file: mapping.file.clone(),
                file_offset: mapping.file_offset + cut,
            });
        }
        mapping.len = offset.saturating_sub(mapping.offset);
        mapping.len > 0
    });
    mappings.append(&mut tails);
}

fn too_big() -> Error {
    Error::Config("guest memory is too large for this host".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_leaves_the_hole_free() {
        assert_eq!(ram_ranges(1 << 30), [(0, 1 << 30)]);
        assert_eq!(ram_ranges(5 << 30), [(0, 3 << 30), (4 << 30, 2 << 30)]);
    }

    #[test]
    fn slices_stay_in_ram() {
        let memory = Memory::new(4 << 20, 1 << 30).unwrap();
        assert_eq!(memory.window(), (1 << 30, 1 << 30));
        assert!(memory.slice(0, 4 << 20).is_ok());
        assert_eq!(memory.slice(1, 4 << 20).err(), Some(Errno::FAULT));
        assert_eq!(memory.slice(1 << 30, 1).err(), Some(Errno::FAULT));
        assert_eq!(memory.slice(u64::MAX, 2).err(), Some(Errno::FAULT));
    }

    #[test]
    fn released_memory_reads_as_zero() {
        let memory = Memory::new(4 << 20, 1 << 30).unwrap();
        memory.write(0x3000, &[7; 16]).unwrap();
        memory.release(0x3000, 0x1000).unwrap();
        let mut bytes = [1; 16];
        memory.read(0x3000, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 16]);
        memory.write(0x3000, &[7; 16]).unwrap();
        memory.populate(0x2000, 0x3000).unwrap();
        memory.read(0x3000, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 16]);
        assert_eq!(memory.populate(4 << 20, 0x1000), Err(Errno::FAULT));
        assert_eq!(memory.populate(0, 0x1001), Err(Errno::INVAL));
        assert_eq!(memory.release(0x3001, 0x1000), Err(Errno::INVAL));
        assert_eq!(memory.release(4 << 20, 0x1000), Err(Errno::FAULT));
    }

    #[test]
    fn truncated_windows_are_found() {
        let memory = Memory::new(4 << 20, 1 << 30).unwrap();
        let file = rustix::fs::memfd_create(c"test", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, 0x4000).unwrap();
        let file = Arc::new(file);
        assert!(!memory.has_windows());
        memory.map_window(&file, 0, 0x4000, 0x10000, true).unwrap();
        memory.unmap_window(0x11000, 0x1000).unwrap();
        assert!(memory.has_windows());
        let probe = |page, write| memory.probe_window(0x10000 + page * PAGE, PAGE, write);
        assert_eq!(probe(3, true), Ok(()));
        assert_eq!(probe(1, false), Err(Errno::FAULT));
        rustix::fs::ftruncate(&*file, 0x800).unwrap();
        assert_eq!((probe(0, true), probe(0, false)), (Ok(()), Ok(())));
        assert_eq!((probe(3, true), probe(3, false)), (Err(Errno::FAULT), Err(Errno::FAULT)));
        assert_eq!(
            (memory.window.read(0x10000, PAGE), memory.window.read(0x13000, PAGE)),
            (Ok(()), Err(Errno::FAULT))
        );
        rustix::fs::ftruncate(&*file, 0x4000).unwrap();
        assert_eq!(probe(3, true), Ok(()));
        assert_eq!(memory.probe_window(0, 1 << 30, false), Err(Errno::INVAL));
        assert_eq!(memory.map_window(&file, 0, 0x1000, 1 << 30, false), Err(Errno::INVAL));
        assert_eq!(memory.map_window(&file, 0, 0, 0, false), Err(Errno::INVAL));
    }
}
