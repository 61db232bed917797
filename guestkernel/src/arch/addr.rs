//! Guest-physical memory through the direct map, by checked safe wrappers.

use core::sync::atomic::AtomicU64;

use super::{is_physical, phys_to_virt, uaccess};

const PAGE: u64 = 4096;

/// A guest-physical address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysAddr(pub u64);

impl PhysAddr {
    /// The address `bytes` further on.
    #[must_use]
    pub const fn add(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

/// Pointer to `len` bytes of physical memory; an address outside it is a bug of the kernel.
pub(super) fn pointer(addr: PhysAddr, len: usize) -> *mut u8 {
    assert!(is_physical(addr, len as u64), "physical range {:#x}+{len:#x} does not exist", addr.0);
    phys_to_virt(addr)
}

/// Copies from physical memory (RAM or file windows). What the host cannot provide of a window reads as zero, and counts
/// as a window fault ([`super::window_faults`]).
pub fn read_phys(addr: PhysAddr, out: &mut [u8]) {
    let from = pointer(addr, out.len());
    // SAFETY: `pointer` checked that the source is mapped memory; the slice is the caller's, and nobody else's frame
    // or window page.
    let left = unsafe { uaccess::copy_kernel(out.as_mut_ptr(), from, out.len()) };
    let done = out.len() - left;
    out[done..].fill(0);
}

/// Copies to physical memory (RAM or file windows). What the host cannot provide of a window stays as it is, and counts
/// as a window fault.
pub fn write_phys(addr: PhysAddr, bytes: &[u8]) {
    let to = pointer(addr, bytes.len());
    // SAFETY: `pointer` checked that the target is mapped memory; it belongs to the caller, who owns the
    // frame or the window page.
    unsafe { uaccess::copy_kernel(to, bytes.as_ptr(), bytes.len()) };
}

/// A word of physical memory that is shared with the host, for good.
pub fn shared_word(addr: PhysAddr) -> &'static AtomicU64 {
    let word = pointer(addr, size_of::<u64>()).cast::<u64>();
    assert!(word.is_aligned(), "a shared word is aligned");
    // SAFETY: `pointer` checked that it is mapped memory, which stays mapped; the caller's page is given to nobody else
    // and is only ever accessed atomically.
    unsafe { AtomicU64::from_ptr(word) }
}

/// Clears a page.
pub fn zero_page(addr: PhysAddr) {
    let page = pointer(addr, PAGE as usize);
    // SAFETY: `pointer` checked that the page is mapped memory; the caller owns the frame.
    unsafe { core::ptr::write_bytes(page, 0, PAGE as usize) };
}

/// Copies a page to one that is not yet used. Whether all of it could be read: a page of a window may be one that the
/// host cannot provide.
#[must_use]
pub fn copy_page(to: PhysAddr, from: PhysAddr) -> bool {
    let (to, from) = (pointer(to, PAGE as usize), pointer(from, PAGE as usize));
    // SAFETY: `pointer` checked both pages, which are two.
    unsafe { uaccess::copy_kernel(to, from, PAGE as usize) == 0 }
}
