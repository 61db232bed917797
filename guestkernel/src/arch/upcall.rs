//! Where the machine calls the rest of the kernel.

use super::UserRegs;
use crate::mm::{self, Access, Fault};

const PAGE_FAULT: u64 = 14;
/// Page-fault error code: the access was a write.
const ERROR_WRITE: u64 = 1 << 1;
/// Page-fault error code: the access was an instruction fetch.
const ERROR_FETCH: u64 = 1 << 4;

const SIGBUS: i32 = 7;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const BUS_ADRERR: i32 = 2;
const SI_KERNEL: i32 = 0x80;

/// A page fault of the kernel on user memory during a copy. Whether the access may be retried.
pub(super) fn kernel_fault(addr: u64, write: bool) -> bool {
    mm::handle_kernel_fault(addr, write)
}

/// The host cannot provide what ring 3 accessed in a file window: which page it was shows when it is tried again.
pub(super) fn user_window_fault() {
    mm::handle_window_fault();
}

/// A page fault in ring 3.
pub(super) fn user_fault(regs: &mut UserRegs, addr: u64, error: u64) {
    let access = match error {
        _ if error & ERROR_FETCH != 0 => Access::Exec,
        _ if error & ERROR_WRITE != 0 => Access::Write,
        _ => Access::Read,
    };
    crate::arch::current().process.count_fault(false);
    let Err(fault) = mm::handle_user_fault(addr, access) else { return };
    let (signal, code, addr) = match fault {
        Fault::Segv { mapped: false } => (SIGSEGV, SEGV_MAPERR, addr),
        Fault::Segv { mapped: true } => (SIGSEGV, SEGV_ACCERR, addr),
        Fault::Bus => (SIGBUS, BUS_ADRERR, addr),
        Fault::OutOfMemory => (SIGKILL, SI_KERNEL, 0),
    };
    force_fault(regs, (signal, code, addr), (PAGE_FAULT, error, addr));
}

/// A fault in ring 3 that becomes a signal (number, code, address). `facts` are for the signal frame: trap
/// number, error code, address.
pub(super) fn force_fault(regs: &mut UserRegs, signal: (i32, i32, u64), facts: (u64, u64, u64)) {
    log::debug!("signal {signal:x?} by {facts:x?}, rip {:#x}", regs.rip);
    crate::signal::send::note_fault(facts.0, facts.1, facts.2);
    let (signo, code, addr) = signal;
    crate::signal::force_fault(signo as u32, code, addr);
}

/// A system call.
pub(super) fn syscall(regs: &mut UserRegs) {
    crate::syscall::dispatch(regs);
}

/// The current task's work word is not zero on the way to ring 3.
pub(super) fn exit_work(regs: &mut UserRegs) {
    crate::task::exit_to_user_work(regs);
}

/// The timer interrupt.
pub(super) fn timer() {
    crate::time::on_timer();
}

/// The host's event interrupt.
pub(super) fn host_event() {
    crate::task::on_host_event();
}

/// The first CPU is ready.
#[cfg(target_os = "none")]
pub(super) fn main() -> ! {
    log::debug!("ringfence sentry {}", env!("CARGO_PKG_VERSION"));
    crate::task::sched::adopt(crate::task::Task::idle());
    crate::task::init();
    crate::task::sched::exit_current()
}
