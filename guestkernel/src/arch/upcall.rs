//! Where the machine calls the rest of the kernel.

use super::UserRegs;

/// A page fault of the kernel on user memory during a copy. Whether the access may be retried.
pub(super) fn kernel_fault(addr: u64, write: bool) -> bool {
    let _ = (addr, write);
    false
}

/// A page fault in ring 3.
pub(super) fn user_fault(regs: &mut UserRegs, addr: u64, error: u64) {
    let _ = error;
    log::error!("page fault at {addr:#x}, rip {:#x}", regs.rip);
    super::exit_sandbox(11)
}

/// Any other fault in ring 3: a signal with its code and address.
pub(super) fn force_fault(regs: &mut UserRegs, signal: i32, code: i32, addr: u64) {
    log::error!("signal {signal} code {code} at {addr:#x}, rip {:#x}", regs.rip);
    super::exit_sandbox(signal)
}

/// A system call.
pub(super) fn syscall(regs: &mut UserRegs) {
    regs.rax = -38i64 as u64;
}

/// The current task's work word is not zero on the way to ring 3.
pub(super) fn exit_work(regs: &mut UserRegs) {
    let _ = regs;
    super::current().ctx.work.store(0, core::sync::atomic::Ordering::Relaxed);
}

/// The timer interrupt.
pub(super) fn timer() {
    crate::time::on_timer();
}

/// The host's event interrupt.
pub(super) fn host_event() {}

/// The first CPU is ready.
#[cfg(target_os = "none")]
pub(super) fn main() -> ! {
    log::info!("ringfence sentry {}", env!("CARGO_PKG_VERSION"));
    super::exit_sandbox(0)
}
