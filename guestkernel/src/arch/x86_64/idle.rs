//! Waiting for interrupts, and making other CPUs look around.

use core::{arch::asm, sync::atomic::Ordering};

use super::{
    clock,
    cpu::{self, FLUSH, HALTED, USER},
    tlb,
};

/// How long a CPU polls before it halts, when others could give it work, µs. A halt and the wake-up from it
/// leave the VM.
const POLL_US: u64 = 50;

/// Waits for an interrupt or a [`kick`]; may return early. Interrupts are served in here.
pub fn idle() {
    let cpu = cpu::this();
    if let Some(task) = crate::arch::try_current() {
        let frame: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mov {}, rbp", out(reg) frame, options(nostack, nomem, preserves_flags)) };
        task.ctx.idles_at(frame);
    }
    tlb::serve_retirement();
    crate::mem::give_back::arm();
    if cpu::is_smp() {
        let end = clock::tsc() + POLL_US * clock::tsc_khz() / 1000;
        while clock::tsc() < end {
            if cpu.wake.swap(false, Ordering::SeqCst) {
                return;
            }
            // SAFETY: interrupts are taken between these two; the handlers expect to run in here.
            unsafe { asm!("sti", "nop", "pause", "cli") };
            tlb::serve_retirement();
        }
    }
    // A kick that does not see the mode comes before it, and is seen in `wake`.
    cpu.mode.fetch_or(HALTED, Ordering::SeqCst);
    if !cpu.wake.swap(false, Ordering::SeqCst) && cpu.retire.load(Ordering::SeqCst) == 0 {
        // SAFETY: STI takes effect after the next instruction, so no interrupt slips in before the halt.
        unsafe { asm!("sti", "hlt", "cli") };
    }
    cpu.mode.fetch_and(FLUSH, Ordering::SeqCst);
    cpu.wake.store(false, Ordering::SeqCst);
    tlb::serve_retirement();
}

/// Makes CPU `index` look at its queues and its task's work, if it is not doing so anyway.
pub fn kick(index: usize) {
    let Some(cpu) = cpu::get(index) else { return };
    if index == cpu::current_index() || !cpu.online.load(Ordering::Acquire) {
        return;
    }
    cpu.wake.store(true, Ordering::SeqCst);
    if cpu.mode.load(Ordering::SeqCst) & (HALTED | USER) != 0 {
        super::apic::send_kick(cpu);
    }
}
