//! Clocks from the TSC.

use core::sync::atomic::{AtomicU64, Ordering};

use super::apic;
use crate::arch::timescale::{Factors, scale};

/// What turns a TSC value into time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockParams {
    /// TSC value of the two times.
    pub tsc_base: u64,
    /// Nanoseconds a tick, times 2³².
    pub mult: u64,
    /// CLOCK_MONOTONIC at `tsc_base`, ns.
    pub monotonic_ns: u64,
    /// CLOCK_REALTIME at `tsc_base`, ns.
    pub realtime_ns: u64,
}

static TSC_BASE: AtomicU64 = AtomicU64::new(0);
static MULT: AtomicU64 = AtomicU64::new(0);
static INVERSE: AtomicU64 = AtomicU64::new(0);
static MONOTONIC: AtomicU64 = AtomicU64::new(0);
static REALTIME: AtomicU64 = AtomicU64::new(0);
static KHZ: AtomicU64 = AtomicU64::new(0);

pub(super) fn init(info: &::hostcall::BootInfo) {
    let factors = Factors::new(info.tsc_khz);
    KHZ.store(info.tsc_khz.max(1), Ordering::Relaxed);
    TSC_BASE.store(info.tsc_base, Ordering::Relaxed);
    MULT.store(factors.to_ns, Ordering::Relaxed);
    INVERSE.store(factors.to_ticks, Ordering::Relaxed);
    MONOTONIC.store(info.monotonic_ns, Ordering::Relaxed);
    REALTIME.store(info.realtime_ns, Ordering::Relaxed);
}

/// The parameters, for a vDSO.
#[must_use]
pub fn params() -> ClockParams {
    ClockParams {
        tsc_base: TSC_BASE.load(Ordering::Relaxed),
        mult: MULT.load(Ordering::Relaxed),
        monotonic_ns: MONOTONIC.load(Ordering::Relaxed),
        realtime_ns: REALTIME.load(Ordering::Relaxed),
    }
}

/// The time-stamp counter.
#[must_use]
#[inline]
pub fn tsc() -> u64 {
    // SAFETY: RDTSC reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Its frequency, kHz.
#[must_use]
pub fn tsc_khz() -> u64 {
    KHZ.load(Ordering::Relaxed)
}

fn since_base() -> u64 {
    scale(tsc().saturating_sub(TSC_BASE.load(Ordering::Relaxed)), MULT.load(Ordering::Relaxed))
}

/// CLOCK_MONOTONIC, ns.
#[must_use]
pub fn monotonic_ns() -> u64 {
    MONOTONIC.load(Ordering::Relaxed) + since_base()
}

/// CLOCK_REALTIME, ns.
#[must_use]
pub fn realtime_ns() -> u64 {
    REALTIME.load(Ordering::Relaxed) + since_base()
}

/// Arms this CPU's timer interrupt for a time (CLOCK_MONOTONIC, ns), or disarms it.
pub fn arm(deadline: Option<u64>) {
    let tsc = deadline.map_or(0, |at| {
        let delta = at.saturating_sub(MONOTONIC.load(Ordering::Relaxed));
        // One tick more, so that the time has come when the interrupt does.
        TSC_BASE.load(Ordering::Relaxed).saturating_add(scale(delta, INVERSE.load(Ordering::Relaxed))) + 1
    });
    apic::set_deadline(tsc);
}
