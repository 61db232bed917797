//! Socket addresses as ring 3 passes them.

use crate::{
    arch::uaccess,
    errno::{Errno, Result},
};

/// Size of `struct sockaddr_storage`.
pub const MAX_LEN: usize = 128;

/// A `struct sockaddr` of some family: the family, then what the family says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Default for Address {
    fn default() -> Self {
        Self { bytes: [0; MAX_LEN], len: 0 }
    }
}

impl Address {
    /// From its bytes.
    ///
    /// # Errors
    /// `EINVAL` when it is too long.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        let mut address = Self { bytes: [0; MAX_LEN], len: bytes.len() };
        address.bytes.get_mut(..bytes.len()).ok_or(Errno::EINVAL)?.copy_from_slice(bytes);
        Ok(address)
    }

    /// From user memory; `len` is an `int` there.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT`.
    pub fn import(addr: u64, len: i32) -> Result<Self> {
        let len = usize::try_from(len).ok().filter(|&len| len <= MAX_LEN).ok_or(Errno::EINVAL)?;
        let mut address = Self { bytes: [0; MAX_LEN], len };
        uaccess::copy_from_user(&mut address.bytes[..len], addr)?;
        Ok(address)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Its family, when it is long enough to have one.
    #[must_use]
    pub fn family(&self) -> Option<u16> {
        (self.len >= 2).then(|| u16::from_ne_bytes([self.bytes[0], self.bytes[1]]))
    }

    /// Stores as much as fits into `*len_at` bytes at `addr`, and the real length there.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` for a negative length.
    pub fn export(&self, addr: u64, len_at: u64) -> Result<()> {
        let space: i32 = uaccess::get(len_at)?;
        let space = usize::try_from(space).map_err(|_| Errno::EINVAL)?;
        uaccess::copy_to_user(addr, &self.bytes[..self.len.min(space)])?;
        uaccess::put(len_at, &(self.len as i32))
    }
}

/// Stores an address that there is none of.
///
/// # Errors
/// As [`Address::export`].
pub fn export(address: Option<&Address>, addr: u64, len_at: u64) -> Result<()> {
    match address {
        Some(address) => address.export(addr, len_at),
        None => Address::default().export(addr, len_at),
    }
}
