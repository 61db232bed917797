//! From TSC ticks to nanoseconds and back, by a multiplication and a shift.

/// Fixed-point factors of a TSC frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Factors {
    /// Nanoseconds a tick, times 2³².
    pub(super) to_ns: u64,
    /// Ticks a nanosecond, times 2³².
    pub(super) to_ticks: u64,
}

impl Factors {
    /// For a frequency in kHz, taken into 1 kHz … 1 THz.
    pub(super) fn new(khz: u64) -> Self {
        let khz = khz.clamp(1, 1 << 30);
        Self { to_ns: (1_000_000 << 32) / khz, to_ticks: (khz << 32) / 1_000_000 }
    }
}

/// `value` times a factor.
#[inline]
pub(super) fn scale(value: u64, factor: u64) -> u64 {
    ((u128::from(value) * u128::from(factor)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_exact_to_five_microseconds() {
        for khz in [1_000_000, 1_999_998, 2_593_904, 3_400_000, 24_000] {
            let factors = Factors::new(khz);
            let ns = scale(khz * 3_600_000, factors.to_ns);
            assert!(ns.abs_diff(3_600_000_000_000) < 5_000, "{khz} kHz: {ns}");
        }
    }

    #[test]
    fn deadlines_are_not_early_by_more_than_a_tick() {
        let factors = Factors::new(2_593_904);
        for ns in [1, 1_000, 1_000_000, 60_000_000_000] {
            let back = scale(scale(ns, factors.to_ticks) + 1, factors.to_ns);
            assert!(back.abs_diff(ns) <= 1 + ns / 1_000_000_000, "{ns} → {back}");
        }
    }
}
