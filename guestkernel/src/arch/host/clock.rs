//! Clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

static START: spin::Once<Instant> = spin::Once::new();

/// A counter.
#[must_use]
pub fn tsc() -> u64 {
    monotonic_ns()
}

/// Frequency of [`tsc`], kHz.
#[must_use]
pub fn tsc_khz() -> u64 {
    1_000_000
}

/// CLOCK_MONOTONIC, ns.
#[must_use]
pub fn monotonic_ns() -> u64 {
    START.call_once(Instant::now).elapsed().as_nanos() as u64 + 1_000_000_000
}

/// CLOCK_REALTIME, ns.
#[must_use]
pub fn realtime_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Arms the timer interrupt for a time (CLOCK_MONOTONIC, ns), or disarms it. Nothing comes here.
pub fn arm(_deadline: Option<u64>) {}

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

/// The parameters, for a vDSO.
#[must_use]
pub fn params() -> ClockParams {
    ClockParams { mult: 1 << 32, ..ClockParams::default() }
}
