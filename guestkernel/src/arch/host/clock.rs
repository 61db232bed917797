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
