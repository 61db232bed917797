//! What exceptions and interrupts mean.

use core::sync::atomic::{AtomicU64, Ordering};
use hostcall::{EVENT_VECTOR, MISS_VECTOR};

use super::{
    apic::{self, KICK_VECTOR, TIMER_VECTOR},
    cpu::{self, FLUSH, UACCESS},
    miss::{self, Miss},
    panic, tlb,
    trace::{self, Event},
    uaccess,
};
use crate::arch::{USER_END, UserRegs, upcall};

const DEBUG: u32 = 1;
const NMI: u32 = 2;
const GENERAL_PROTECTION: u32 = 13;
const PAGE_FAULT: u32 = 14;
/// The VMM raises it for an access to a page of a file window that the host cannot provide.
const MACHINE_CHECK: u32 = 18;
/// Page-fault error code: the access was a write.
const ERROR_WRITE: u64 = 1 << 1;
/// The flag that makes the CPU trap after each instruction.
const TRAP_FLAG: u64 = 1 << 8;
/// First vector that is an interrupt.
const FIRST_INTERRUPT: u32 = 32;

const SIGILL: i32 = 4;
const SIGTRAP: i32 = 5;
const SIGBUS: i32 = 7;
const SIGFPE: i32 = 8;
const SIGSEGV: i32 = 11;
const SI_KERNEL: i32 = 0x80;
const FPE_INTDIV: i32 = 1;
const ILL_ILLOPN: i32 = 2;
const BUS_ADRALN: i32 = 1;
const TRAP_BRKPT: i32 = 1;
const TRAP_TRACE: i32 = 2;

/// Accesses of the kernel to file windows that the host could not serve.
static WINDOW_FAULTS: AtomicU64 = AtomicU64::new(0);

/// How many accesses of the kernel to file windows the host could not serve.
#[must_use]
pub fn window_faults() -> u64 {
    WINDOW_FAULTS.load(Ordering::SeqCst)
}

fn fault_address() -> u64 {
    x86_64::registers::control::Cr2::read_raw()
}

/// A trap in ring 3.
pub(super) extern "C" fn from_user(regs: &mut UserRegs, vector: u32) {
    let error = regs.orig_rax;
    regs.orig_rax = u64::MAX;
    match vector {
        PAGE_FAULT => {
            match miss::take(regs) {
                Miss::None => {}
                Miss::Fetching => return,
                Miss::Lost => return upcall::user_window_fault(),
            }
            let addr = fault_address();
            trace::note(Event::UserFault, addr, regs.rip);
            upcall::user_fault(regs, addr, error);
        }
        MACHINE_CHECK => {
            trace::note(Event::Exception, u64::from(vector), regs.rip);
            upcall::user_window_fault();
        }
        FIRST_INTERRUPT.. => {
            note_ring(regs, vector);
            interrupt(vector);
        }
        NMI => {}
        _ => exception(regs, vector, error),
    }
}

/// The timer interrupted ring 3; if it came in ring 0, where interrupts are off, it waited for the return. A program
/// that has just returned from a system call has its address in RCX.
fn note_ring(regs: &UserRegs, vector: u32) {
    if vector == u32::from(TIMER_VECTOR) {
        crate::arch::current().samples.note(regs.rip == regs.rcx);
    }
}

/// Linux's signal and code for an exception of a program.
fn exception(regs: &mut UserRegs, vector: u32, error: u64) {
    let rip = regs.rip;
    trace::note(Event::Exception, u64::from(vector), rip);
    let (signal, code, addr) = match vector {
        0 => (SIGFPE, FPE_INTDIV, rip),
        DEBUG => {
            regs.eflags &= !TRAP_FLAG;
            (SIGTRAP, TRAP_TRACE, rip)
        }
        3 => (SIGTRAP, SI_KERNEL, 0),
        4 | 5 => (SIGSEGV, SI_KERNEL, 0),
        6 => (SIGILL, ILL_ILLOPN, rip),
        11 | 12 => (SIGBUS, SI_KERNEL, 0),
        16 => (SIGFPE, super::context::x87_fault_code(), rip),
        17 => (SIGBUS, BUS_ADRALN, 0),
        19 => (SIGFPE, super::context::simd_fault_code(), rip),
        20 => (SIGTRAP, TRAP_BRKPT, rip),
        // #GP and what no program can cause.
        _ => (SIGSEGV, SI_KERNEL, 0),
    };
    upcall::force_fault(regs, (signal, code, addr), (u64::from(vector), error, 0));
}

/// The program was to go on at an address that is not its own.
pub(super) fn bad_instruction_pointer(regs: &mut UserRegs) {
    upcall::force_fault(regs, (SIGSEGV, SI_KERNEL, 0), (u64::from(GENERAL_PROTECTION), 0, 0));
}

fn interrupt(vector: u32) {
    const TIMER: u32 = TIMER_VECTOR as u32;
    const KICK: u32 = KICK_VECTOR as u32;
    const EVENT: u32 = EVENT_VECTOR as u32;
    const MISS: u32 = MISS_VECTOR as u32;
    match vector {
        TIMER => {
            apic::end_of_interrupt();
            upcall::timer();
        }
        KICK => {
            apic::end_of_interrupt();
            tlb::serve();
        }
        EVENT => {
            apic::end_of_interrupt();
            upcall::host_event();
        }
        MISS => miss::ready(),
        // Spurious.
        _ => {}
    }
    cpu::this().wake.store(true, Ordering::SeqCst);
}

/// A trap in ring 0: an interrupt while idle, or a fault on user memory during a copy. Anything else is a
/// bug of the kernel.
pub(super) extern "C" fn from_kernel(regs: &mut UserRegs, vector: u32) {
    let cpu = cpu::this();
    let mode = cpu.mode.fetch_and(FLUSH, Ordering::SeqCst);
    match vector {
        FIRST_INTERRUPT.. => interrupt(vector),
        PAGE_FAULT if mode & UACCESS != 0 && fault_address() < USER_END => {
            let addr = fault_address();
            trace::note(Event::CopyFault, addr, regs.rip);
            let write = regs.orig_rax & ERROR_WRITE != 0;
            if upcall::kernel_fault(addr, write) {
                // The fault may have blocked: this may be another CPU.
                tlb::enter(cpu::this(), UACCESS);
            } else if let Some(fixup) = uaccess::fixup(regs.rip) {
                regs.rip = fixup;
                // What is there still touches user memory.
                tlb::enter(cpu::this(), UACCESS);
            } else {
                panic::trap(regs, vector, addr);
            }
        }
        MACHINE_CHECK if uaccess::fixup(regs.rip).is_some() => {
            trace::note(Event::CopyFault, 0, regs.rip);
            WINDOW_FAULTS.fetch_add(1, Ordering::SeqCst);
            regs.rip = uaccess::fixup(regs.rip).unwrap_or(regs.rip);
            if mode & UACCESS != 0 {
                tlb::enter(cpu::this(), UACCESS);
            }
        }
        // A single step that ring 3 began and that reached the kernel's first instruction.
        DEBUG => regs.eflags &= !TRAP_FLAG,
        PAGE_FAULT => panic::trap(regs, vector, fault_address()),
        _ => panic::trap(regs, vector, 0),
    }
}

/// A double fault.
pub(super) extern "C" fn fatal(regs: &mut UserRegs, vector: u32) -> ! {
    panic::trap(regs, vector, fault_address())
}
