//! Pages that the host does not have at hand.
//!
//! When ring 3 touches one, KVM has it fetched and stops the vCPU meanwhile; if it cannot be fetched, because its
//! file was made shorter or its disk fails or is full, that goes on for ever without a word to the VMM. So the VMM has
//! KVM say so (its asynchronous page faults): a page fault whose reason is in memory that KVM and the sentry share,
//! and an interrupt when the page is there. An instruction that misses a page again and again with the same registers
//! gets none.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use hostcall::{MAX_CPUS, MissArea};
use x86_64::registers::model_specific::Msr;

use super::{apic, boot_info, cpu::current_index as index, phys_to_virt};
use crate::arch::{PhysAddr, UserRegs};

/// Tells KVM that the interrupt was seen.
const ACKNOWLEDGE: u32 = 0x4b56_4d07;
/// Misses of one instruction after which the page is taken for lost.
const LOST: u32 = 3;

/// The last miss of each vCPU: a digest of the registers, and how often it was.
struct Last {
    registers: AtomicU64,
    times: AtomicU32,
}

static LAST: [Last; MAX_CPUS] =
    [const { Last { registers: AtomicU64::new(0), times: AtomicU32::new(0) } }; MAX_CPUS];

/// The words that KVM writes for this CPU: why a page fault came, and which page is there.
fn words() -> (&'static AtomicU32, &'static AtomicU32) {
    let at = boot_info().misses + (index() * size_of::<MissArea>()) as u64;
    let area = phys_to_virt(PhysAddr(at)).cast::<MissArea>();
    // SAFETY: the area is this CPU's for good; KVM writes it while the CPU is not running, and it is only ever accessed
    // atomically.
    unsafe { (AtomicU32::from_ptr(&raw mut (*area).missing), AtomicU32::from_ptr(&raw mut (*area).ready)) }
}

/// What a page fault of ring 3 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// A page fault.
    None,
    /// The host has yet to fetch the page.
    Fetching,
    /// The host cannot fetch it.
    Lost,
}

/// Says what a page fault is.
pub(super) fn take(regs: &UserRegs) -> Miss {
    let missing = words().0;
    if missing.load(Ordering::Relaxed) == 0 {
        return Miss::None;
    }
    missing.store(0, Ordering::Relaxed);
    let digest = [regs.rsp, regs.rcx, regs.rdi, regs.rsi, regs.rax]
        .iter()
        .fold(regs.rip, |sum, register| sum.rotate_left(13).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ register);
    let last = &LAST[index()];
    if last.registers.swap(digest, Ordering::Relaxed) != digest {
        last.times.store(0, Ordering::Relaxed);
    }
    if last.times.fetch_add(1, Ordering::Relaxed) + 1 < LOST {
        return Miss::Fetching;
    }
    last.times.store(0, Ordering::Relaxed);
    Miss::Lost
}

/// The interrupt that says that a page is there: who missed it has been waiting in KVM.
pub(super) fn ready() {
    words().1.store(0, Ordering::Relaxed);
    apic::end_of_interrupt();
    // SAFETY: the register exists, since KVM has raised its interrupt.
    unsafe { Msr::new(ACKNOWLEDGE).write(1) };
}
