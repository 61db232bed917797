//! FPU state: a block of bytes.

use crate::{arch::xsave, errno::Result, sync::SpinLock};

const SIZE: usize = xsave::MINIMUM + 256;
const FEATURES: u64 = 7;

/// A task's FPU state.
#[derive(Debug)]
pub struct FpuState(SpinLock<[u8; SIZE]>);

impl Default for FpuState {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for FpuState {
    fn clone(&self) -> Self {
        Self(SpinLock::new(*self.0.lock()))
    }
}

impl FpuState {
    /// The initial state.
    #[must_use]
    pub fn new() -> Self {
        let state = Self(SpinLock::new([0; SIZE]));
        state.reset();
        state
    }

    /// Back to the initial state.
    pub(super) fn reset(&self) {
        xsave::clear(&mut *self.0.lock());
    }

    /// Writes the image for a signal frame; gives its length.
    pub(super) fn to_bytes(&self, out: &mut [u8]) -> usize {
        xsave::export(&*self.0.lock(), FEATURES, out)
    }

    /// Takes an image from a signal frame.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(super) fn take_image(&self, image: &[u8]) -> Result<()> {
        xsave::import(&mut *self.0.lock(), image, FEATURES, 0xffff)
    }
}

/// State components that programs may use.
#[must_use]
pub fn components() -> u64 {
    FEATURES
}

/// Length of the image in a signal frame.
#[must_use]
pub fn size() -> usize {
    SIZE + 4
}
