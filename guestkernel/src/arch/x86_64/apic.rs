//! The local APIC in x2APIC mode.

use core::sync::atomic::Ordering;
use x86_64::registers::model_specific::Msr;

use super::cpu::{self, PerCpu};

/// The timer's vector.
pub(super) const TIMER_VECTOR: u8 = 0xec;
/// Vector by which a CPU makes another one look around.
pub(super) const KICK_VECTOR: u8 = 0xfd;
/// Vector of spurious interrupts.
const SPURIOUS_VECTOR: u8 = 0xff;

const APIC_BASE: u32 = 0x1b;
const ID: u32 = 0x802;
const EOI: u32 = 0x80b;
const SPURIOUS: u32 = 0x80f;
const ICR: u32 = 0x830;
const LVT_TIMER: u32 = 0x832;
const TSC_DEADLINE: u32 = 0x6e0;
/// LVT timer mode: TSC deadline.
const MODE_TSC_DEADLINE: u64 = 2 << 17;

fn write(register: u32, value: u64) {
    // SAFETY: callers pass the registers above with values that they define; none affects memory.
    unsafe { Msr::new(register).write(value) };
}

fn read(register: u32) -> u64 {
    // SAFETY: callers pass the registers above.
    unsafe { Msr::new(register).read() }
}

/// Enables this CPU's APIC and its timer.
pub(super) fn init() {
    write(APIC_BASE, read(APIC_BASE) | 3 << 10);
    write(SPURIOUS, 0x100 | u64::from(SPURIOUS_VECTOR));
    write(LVT_TIMER, MODE_TSC_DEADLINE | u64::from(TIMER_VECTOR));
    cpu::this().apic_id.store(read(ID) as u32, Ordering::Relaxed);
}

/// Ends the interrupt being served.
pub(super) fn end_of_interrupt() {
    write(EOI, 0);
}

/// Arms the timer for a TSC value; 0 disarms it.
pub(super) fn set_deadline(tsc: u64) {
    write(TSC_DEADLINE, tsc);
}

/// Interrupts another CPU.
pub(super) fn send_kick(cpu: &PerCpu) {
    write(ICR, u64::from(cpu.apic_id.load(Ordering::Relaxed)) << 32 | u64::from(KICK_VECTOR));
}
