//! Physical memory: frames, the kernel heap, kernel stacks.
//!
//! * [`frame`]: a buddy allocator over guest RAM with a small cache per vCPU. Memory that was never used is
//!   kept apart: the host gave it as zeroes and has not backed it yet, so it is neither touched at start nor
//!   cleared at first use, and used memory is preferred to it.
//! * [`give_back`]: free memory that the host gets back, and memory that it provides in advance; [`pressure`]: what happens when there is none.
//! * [`heap`]: size classes over frames for the kernel's own objects.
//! * [`kstack`]: kernel stacks with a guard page below each; [`scattered`]: large objects in frames that do not lie
//!   side by side.

mod buddy;
pub mod frame;
pub mod give_back;
#[cfg(target_os = "none")]
mod heap;
pub mod kstack;
mod meta;
pub mod pressure;
#[cfg(target_os = "none")]
mod scattered;

/// Page size in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// log₂ of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// Gives the memory of what is kept for the next time back, when memory is short; whether there was any.
pub fn trim() -> bool {
    #[cfg(target_os = "none")]
    let any = scattered::trim();
    #[cfg(not(target_os = "none"))]
    let any = false;
    kstack::trim() || any
}

/// Sets memory up for unit tests, once, over the arena of the host's `arch`.
#[cfg(not(target_os = "none"))]
pub fn init_for_tests() {
    static DONE: spin::Once<()> = spin::Once::new();
    DONE.call_once(|| {
        let (start, len) = crate::arch::arena();
        frame::init(&[hostcall::MemoryRegion { start, len }], start);
    });
}
