//! The one CPU.

use crate::errno::{Errno, Result};

/// Index of the CPU that runs this.
#[must_use]
pub fn current_index() -> usize {
    0
}

/// CPUs that the sandbox may use.
#[must_use]
pub fn count() -> usize {
    1
}

/// Starts a CPU.
///
/// # Errors
/// Always `ENODEV`: there is one only.
pub fn start(_index: usize) -> Result<()> {
    Err(Errno::ENODEV)
}

/// Whether FS and GS bases have instructions of their own.
#[must_use]
pub fn has_fsgsbase() -> bool {
    true
}

/// Whether the CPU has `RDPID`.
#[must_use]
pub fn has_rdpid() -> bool {
    false
}

/// CPUID leaf 1 EDX.
#[must_use]
pub fn features_edx() -> u32 {
    0x178b_fbff
}
