//! How long what the host said of an exclusive tree is believed.
//!
//! The container's root is cached as if nobody else changed it, yet `docker cp` and its like do. So time is cut
//! into *periods*: what was asked in the current one is taken as it is, what is older is asked again when it is
//! used next. An answer out of an earlier period says of a directory whether any of its names changed, so that
//! one question stands for all names of a directory, and one hostcall asks for many inodes
//! ([`Host::getattrs`](super::hostfs::host::Host::getattrs)). A sandbox that does nothing asks nothing.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch::clock;

/// Length of a period, milliseconds: what changes outside is seen after at most this time.
const PERIOD_MS: u64 = 250;

static PERIOD: AtomicU64 = AtomicU64::new(1);
/// The TSC at which the period ends.
static UNTIL: AtomicU64 = AtomicU64::new(0);

/// The number of the period, as it was when somebody last looked at the clock.
#[inline]
#[must_use]
pub fn period() -> u64 {
    PERIOD.load(Ordering::Acquire)
}

/// Looks at the clock, and ends the period when its time is over.
#[inline]
pub fn look() {
    // Tests end periods by hand.
    if !cfg!(test) && clock::tsc() >= UNTIL.load(Ordering::Relaxed) {
        end();
    }
}

/// Ends the period: somebody outside acts on the container, and is to find his changes seen.
pub fn end() {
    let length = clock::tsc_khz().saturating_mul(PERIOD_MS);
    UNTIL.store(clock::tsc().saturating_add(length), Ordering::Relaxed);
    PERIOD.fetch_add(1, Ordering::AcqRel);
}
