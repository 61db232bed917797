//! The machine: the only home of assembly and of most `unsafe`.
//!
//! Two implementations stand behind one interface: `x86_64` drives the real CPU, `host` is a double for unit
//! tests (64 MiB of arena as physical memory, software page walks, one CPU index for every thread). What is
//! the same for both (page-table format, register frame, physical addresses) is here.
//!
//! The kernel runs with interrupts off; they are taken in ring 3 and in [`idle`] alone. Hence nothing in
//! here is re-entered by an interrupt, and per-CPU data need no lock except for access by other CPUs.
#![allow(unsafe_code, reason = "this module is the fence: all access to the hardware is here")]

mod addr;
mod current;
pub mod paging;
mod regs;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "the double reads the host's clock"))]
mod timescale;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "nothing interrupts the double"))]
mod upcall;
pub mod vdso;
mod xsave;

#[cfg(not(target_os = "none"))]
mod host;
#[cfg(not(target_os = "none"))]
pub use host::*;
#[cfg(target_os = "none")]
mod x86_64;
#[cfg(target_os = "none")]
pub use x86_64::*;

pub use addr::{PhysAddr, copy_page, read_phys, shared_word, write_phys, zero_page};
pub use context::{set_user_regs, user_regs};
pub use current::{CurrentTask, current, set_current, switch, try_current};
pub use regs::{USER_CS, USER_SS, UserRegs};

/// First address above user space (47 bits, less the guard page that keeps `SYSRET` away from
/// non-canonical addresses).
pub const USER_END: u64 = 0x0000_7fff_ffff_f000;

/// Base of the region of kernel stacks: a top-level slot that every page table shares.
pub const KERNEL_STACKS: u64 = 0xffff_c900_0000_0000;

/// Base of the region of large objects in scattered frames: the next such slot.
pub const SCATTERED: u64 = 0xffff_c980_0000_0000;
/// Its size, bytes.
pub const SCATTERED_LEN: u64 = 1 << 39;

/// Whether `len` bytes from `addr` lie in user space.
#[must_use]
pub const fn is_user_range(addr: u64, len: u64) -> bool {
    addr <= USER_END && len <= USER_END - addr
}
