//! Guest-physical memory through the direct map, by checked safe wrappers.

use super::{is_physical, phys_to_virt};

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

/// Copies from physical memory (RAM or file windows).
pub fn read_phys(addr: PhysAddr, out: &mut [u8]) {
    let from = pointer(addr, out.len());
    // SAFETY: `pointer` checked that the source is mapped memory; the two cannot overlap in a way that
    // matters, since `copy` allows it.
    unsafe { core::ptr::copy(from, out.as_mut_ptr(), out.len()) };
}

/// Copies to physical memory (RAM or file windows).
pub fn write_phys(addr: PhysAddr, bytes: &[u8]) {
    let to = pointer(addr, bytes.len());
    // SAFETY: `pointer` checked that the target is mapped memory; it belongs to the caller, who owns the
    // frame or the window page.
    unsafe { core::ptr::copy(bytes.as_ptr(), to, bytes.len()) };
}

/// Clears a page.
pub fn zero_page(addr: PhysAddr) {
    let page = pointer(addr, PAGE as usize);
    // SAFETY: `pointer` checked that the page is mapped memory; the caller owns the frame.
    unsafe { core::ptr::write_bytes(page, 0, PAGE as usize) };
}

/// Copies a page.
pub fn copy_page(to: PhysAddr, from: PhysAddr) {
    let (to, from) = (pointer(to, PAGE as usize), pointer(from, PAGE as usize));
    // SAFETY: `pointer` checked both pages; pages are either the same or disjoint, and `copy` allows the
    // former.
    unsafe { core::ptr::copy(from, to, PAGE as usize) };
}
