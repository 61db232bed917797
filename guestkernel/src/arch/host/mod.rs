//! The double for unit tests on the host.
//!
//! Physical memory is an arena of 64 MiB; every thread is CPU 0; user memory is reached by walking the page
//! table that the thread activated, or directly in a buffer from [`user_buffer`].

use core::sync::atomic::{AtomicPtr, Ordering};
use std::{
    alloc::{Layout, alloc_zeroed},
    cell::Cell,
};

use zerocopy::FromZeros;

use super::PhysAddr;
use crate::errno::Result;

pub mod clock;
pub mod context;
pub mod cpu;
pub mod fpu;
pub mod hostcall;
pub mod tlb;
pub mod uaccess;

pub use uaccess::user_buffer;

/// How many accesses of the kernel to file windows the host could not serve. None here.
#[must_use]
pub fn window_faults() -> u64 {
    0
}

const ARENA_START: u64 = 0x10_0000;
const ARENA_LEN: u64 = 64 << 20;
const PAGE: usize = 4096;

static ARENA: spin::Once<AtomicPtr<u8>> = spin::Once::new();

std::thread_local! {
    static ROOT: Cell<Option<PhysAddr>> = const { Cell::new(None) };
}

/// A line of a trace: nobody reads it here.
pub const fn trace_line(_: &str) {}

/// Nothing is logged here.
pub const fn set_log_level(_: u32) {}

/// Start and length of simulated physical memory.
#[must_use]
pub fn arena() -> (u64, u64) {
    (ARENA_START, ARENA_LEN)
}

fn arena_base() -> *mut u8 {
    ARENA
        .call_once(|| {
            let layout = Layout::from_size_align(ARENA_LEN as usize, PAGE).unwrap_or(Layout::new::<u64>());
            // SAFETY: the layout has a size; the memory is never freed.
            let base = unsafe { alloc_zeroed(layout) };
            assert!(!base.is_null(), "no memory for the arena");
            AtomicPtr::new(base)
        })
        .load(Ordering::Relaxed)
}

pub(super) fn is_physical(addr: PhysAddr, len: u64) -> bool {
    addr.0 >= ARENA_START && addr.0.checked_add(len).is_some_and(|end| end <= ARENA_START + ARENA_LEN)
}

/// Where physical memory is seen.
#[must_use]
pub fn phys_to_virt(addr: PhysAddr) -> *mut u8 {
    assert!(is_physical(addr, 1), "no physical memory at {:#x}", addr.0);
    arena_base().wrapping_add((addr.0 - ARENA_START) as usize)
}

/// The inverse of [`phys_to_virt`].
#[must_use]
pub fn virt_to_phys(pointer: *const u8) -> u64 {
    (pointer as usize - arena_base() as usize) as u64 + ARENA_START
}

/// The double has no file windows; offsets fall into the arena's last quarter.
#[must_use]
pub fn window_phys(offset: u64) -> PhysAddr {
    PhysAddr(ARENA_START + ARENA_LEN / 4 * 3 + offset)
}

/// Pointer to a byte of the window region.
#[must_use]
pub fn window_virt(offset: u64) -> *mut u8 {
    phys_to_virt(window_phys(offset))
}

/// Length of the window region.
#[must_use]
pub fn window_len() -> u64 {
    0
}

pub(super) fn kernel_root() -> Option<PhysAddr> {
    None
}

pub(super) fn activate_root(root: PhysAddr) {
    ROOT.set(Some(root));
}

pub(super) fn retire_root(root: PhysAddr) {
    if ROOT.get() == Some(root) {
        ROOT.set(None);
    }
}

fn active_root() -> Option<PhysAddr> {
    ROOT.get()
}

/// Maps a kernel page. Stacks are never used here.
///
/// # Errors
/// None.
pub fn kernel_map(_va: u64, _page: PhysAddr) -> Result<()> {
    Ok(())
}

/// Takes a kernel page out; there are none here.
pub fn kernel_unmap(_va: u64) -> Option<PhysAddr> {
    None
}

/// One turn of a spinning wait.
pub fn cpu_relax() {
    std::thread::yield_now();
}

/// Waits for an interrupt.
pub fn idle() {
    std::thread::sleep(std::time::Duration::from_millis(1));
}

/// Makes another CPU look at its queues.
pub fn kick(_cpu: usize) {}

/// Random bytes from the hardware.
#[must_use]
pub fn hardware_random() -> Option<u64> {
    None
}

/// What the VMM said at the start: here, one CPU and the arena.
#[must_use]
pub fn boot_info() -> &'static ::hostcall::BootInfo {
    static INFO: spin::Once<::hostcall::BootInfo> = spin::Once::new();
    INFO.call_once(|| {
        let mut info = ::hostcall::BootInfo::new_zeroed();
        info.cpus = 1;
        info.regions[0] = ::hostcall::MemoryRegion { start: ARENA_START, len: ARENA_LEN };
        info
    })
}

/// The host's random bytes; they are given once only.
#[must_use]
pub fn take_seed() -> Option<[u8; 32]> {
    Some([7; 32])
}

/// Ends the sandbox.
pub fn exit_sandbox(wait_status: i32) -> ! {
    std::process::exit(wait_status)
}
