//! Address spaces.
//!
//! What Linux does: an address space is a set of areas (VMAs); a page gets its memory at the first access;
//! fork shares pages until one side writes. What we do: the same, over [`crate::arch::paging`]. One sleeping
//! lock guards areas and page tables of a space; a fault may do a hostcall under it. Nothing copies from or to
//! user memory while it holds that lock.
//!
//! Anonymous memory that is touched in sequence is mapped in runs, and file pages that are ready around a
//! fault are mapped with it: the exception is paid once for many pages.
//!
//! A page whose area has no rights keeps its memory in a page-table entry that is not present
//! ([`PteFlags::PROT_NONE`](crate::arch::paging::PteFlags)).

mod access;
mod advise;
mod change;
pub mod commit;
mod detach;
pub mod exec;
#[cfg(test)]
mod exec_tests;
mod fault;
mod lock;
mod map;
mod measure;
pub mod oom;
mod rmap;
mod seal;
pub mod shmem;
mod space;
#[cfg(test)]
mod tests;
mod vdso;
mod vma;

pub use advise::Advice;
pub use change::Remap;
pub use fault::{Access, Fault};
pub(crate) use map::may_promise;
pub use map::{MapFlags, MapRequest};
pub use measure::Measure;
pub use rmap::{Mappers, Zap};
pub use space::{AddressSpace, Limits, Marks, Sizes, VmaInfo};
pub use vma::{Backing, Mappable, ObjectName, PageSource, Prot, VmaFlags};

use crate::{errno::Errno, mem::PAGE_SIZE};

/// Lowest address that may be mapped without `CAP_SYS_RAWIO` (`vm.mmap_min_addr`).
pub const MMAP_MIN_ADDR: u64 = 0x1_0000;
/// Most areas of a space (`vm.max_map_count`).
pub const MAX_MAP_COUNT: usize = 65530;

/// Rounds up to whole pages; `None` on overflow.
pub(crate) const fn page_up(value: u64) -> Option<u64> {
    match value.checked_add(PAGE_SIZE - 1) {
        Some(value) => Some(value & !(PAGE_SIZE - 1)),
        None => None,
    }
}

/// Rounds down to a page.
pub(crate) const fn page_down(value: u64) -> u64 {
    value & !(PAGE_SIZE - 1)
}

/// Resolves a page fault of ring 3 at `addr`.
///
/// # Errors
/// The signal that the fault becomes.
pub fn handle_user_fault(addr: u64, access: Access) -> core::result::Result<(), Fault> {
    match crate::task::current().address_space() {
        Some(mm) => mm.handle_fault(addr, access),
        None => Err(Fault::Segv { mapped: false }),
    }
}

/// The host could not provide a page of a file window for an access of ring 3. It does not say which one: all of them
/// are taken out of the space, and each is made sure of when it is accessed again.
pub fn handle_window_fault() {
    if let Some(mm) = crate::task::current().address_space() {
        mm.doubt_windows();
    }
}

/// Resolves a page fault of the kernel on user memory; whether the access can be tried again.
#[must_use]
pub fn handle_kernel_fault(addr: u64, write: bool) -> bool {
    handle_user_fault(addr, if write { Access::Write } else { Access::Read }).is_ok()
}

impl From<Fault> for Errno {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::OutOfMemory => Errno::ENOMEM,
            Fault::Segv { .. } | Fault::Bus => Errno::EFAULT,
        }
    }
}
