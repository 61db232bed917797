//! FPU state: a block of bytes.

use crate::{
    errno::{Errno, Result},
    sync::SpinLock,
};

const SIZE: usize = 576;

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
        Self(SpinLock::new([0; SIZE]))
    }

    /// Back to the initial state.
    pub(super) fn reset(&self) {
        *self.0.lock() = [0; SIZE];
    }

    /// Writes the image for a signal frame; gives its length.
    pub(super) fn to_bytes(&self, out: &mut [u8]) -> usize {
        match out.get_mut(..SIZE) {
            Some(out) => out.copy_from_slice(&*self.0.lock()),
            None => return 0,
        }
        SIZE
    }

    /// Takes an image from a signal frame.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(super) fn take_image(&self, image: &[u8]) -> Result<()> {
        self.0.lock().copy_from_slice(image.get(..SIZE).ok_or(Errno::EINVAL)?);
        Ok(())
    }
}

/// Length of the image in a signal frame.
#[must_use]
pub fn size() -> usize {
    SIZE
}
