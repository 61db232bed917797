//! The real machine.
//!
//! | file | is |
//! | --- | --- |
//! | `boot` | from the VMM's first instruction to the scheduler, first and further vCPUs |
//! | `cpu` | the per-CPU block behind GS, descriptor tables, control registers |
//! | `entry` | the assembly of system calls, exceptions, interrupts |
//! | `trap` | what an exception means |
//! | `context` | task switch, segment bases |
//! | `fpu` | XSAVE state |
//! | `uaccess` | copies from and to user memory, with an exception table |
//! | `miss` | pages that the host does not have at hand |
//! | `tlb` | address-space switch and TLB flushes across CPUs |
//! | `apic`, `clock` | interrupts between CPUs, time |
//! | `idle` | waiting for interrupts |
//! | `hostcall` | the only way out of the VM |
//! | `logger`, `trace`, `panic` | last words and others |

mod apic;
mod boot;
pub mod clock;
pub mod context;
pub mod cpu;
mod entry;
pub mod fpu;
pub mod hostcall;
mod idle;
mod logger;
mod miss;
mod panic;
pub mod tlb;
mod trace;
mod trap;
pub mod uaccess;

use core::sync::atomic::{AtomicU64, Ordering};

use super::{PhysAddr, paging};
use crate::{errno::Result, sync::SpinLock};

pub use boot::{boot_info, take_seed};
pub use idle::{idle, kick};
pub use logger::{set_log_level, trace_line};
pub(super) use tlb::{activate_root, retire_root};
pub use trap::window_faults;

static DIRECT_MAP: AtomicU64 = AtomicU64::new(0);
static PHYS_END: AtomicU64 = AtomicU64::new(0);
static KERNEL_ROOT: AtomicU64 = AtomicU64::new(0);
static KERNEL_MAP: SpinLock<()> = SpinLock::new(());

pub(super) fn is_physical(addr: PhysAddr, len: u64) -> bool {
    addr.0.checked_add(len).is_some_and(|end| end <= PHYS_END.load(Ordering::Relaxed))
}

/// Where physical memory is seen.
#[must_use]
pub fn phys_to_virt(addr: PhysAddr) -> *mut u8 {
    (DIRECT_MAP.load(Ordering::Relaxed) + addr.0) as *mut u8
}

/// The inverse of [`phys_to_virt`]; the pointer is into the direct map.
#[must_use]
pub fn virt_to_phys(pointer: *const u8) -> u64 {
    pointer as u64 - DIRECT_MAP.load(Ordering::Relaxed)
}

/// Physical address of a byte of the file-window region.
#[must_use]
pub fn window_phys(offset: u64) -> PhysAddr {
    PhysAddr(boot_info().window_start + offset)
}

/// Pointer to a byte of the file-window region.
#[must_use]
pub fn window_virt(offset: u64) -> *mut u8 {
    phys_to_virt(window_phys(offset))
}

/// Length of the file-window region.
#[must_use]
pub fn window_len() -> u64 {
    boot_info().window_len
}

pub(super) fn kernel_root() -> Option<PhysAddr> {
    Some(PhysAddr(KERNEL_ROOT.load(Ordering::Relaxed)))
}

/// Maps a page into the kernel half, below a top-level slot that every table shares.
///
/// # Errors
/// `ENOMEM`.
pub fn kernel_map(va: u64, page: PhysAddr) -> Result<()> {
    let _guard = KERNEL_MAP.lock();
    paging::map_kernel(PhysAddr(KERNEL_ROOT.load(Ordering::Relaxed)), va, page)
}

/// Takes a page of [`kernel_map`] out; what was there. Other CPUs may have its translation still.
pub fn kernel_unmap(va: u64) -> Option<PhysAddr> {
    let _guard = KERNEL_MAP.lock();
    let page = paging::unmap_kernel(PhysAddr(KERNEL_ROOT.load(Ordering::Relaxed)), va);
    tlb::flush_kernel(va, 4096);
    page
}

/// One turn of a spinning wait; serves what other CPUs wait for.
pub fn cpu_relax() {
    core::hint::spin_loop();
    tlb::serve_retirement();
}

/// Random bits from the hardware, if it has any.
#[must_use]
pub fn hardware_random() -> Option<u64> {
    x86_64::instructions::random::RdRand::new()?.get_u64()
}

/// Ends the sandbox with the wait status of its first process.
pub fn exit_sandbox(wait_status: i32) -> ! {
    loop {
        let _ = hostcall::call(::hostcall::Hostcall::Exit, [wait_status as u32 as u64, 0, 0, 0, 0, 0]);
    }
}
