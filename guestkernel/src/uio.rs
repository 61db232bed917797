//! I/O buffers: where bytes go to or come from, in the kernel or in ring 3.
//!
//! A copy that meets a bad user address moves what it can: the bytes moved are reported, and `EFAULT` only
//! when none were (as `read(2)` and `write(2)` have it).

use smallvec::SmallVec;

use crate::{
    arch::{self, PhysAddr, uaccess},
    errno::{Errno, Result},
};

/// One piece of user memory: address, length in bytes.
pub type UserRange = (u64, usize);

/// Pieces of user memory with a position.
#[derive(Debug)]
pub struct UserRanges {
    ranges: SmallVec<[UserRange; 4]>,
    /// Index of the current piece, whose address and length are what is left of it.
    at: usize,
    remaining: usize,
}

impl UserRanges {
    /// The pieces in order.
    #[must_use]
    pub fn new(ranges: SmallVec<[UserRange; 4]>) -> Self {
        let remaining = ranges.iter().map(|range| range.1).sum();
        Self { ranges, at: 0, remaining }
    }

    fn truncate(&mut self, len: usize) {
        self.remaining = self.remaining.min(len);
        let mut left = len;
        for range in self.ranges.iter_mut().skip(self.at) {
            range.1 = range.1.min(left);
            left -= range.1;
        }
    }

    /// Calls `copy(address, offset, length)`, which gives the bytes that it moved, for as much as `len` bytes.
    fn step(&mut self, len: usize, mut copy: impl FnMut(u64, usize, usize) -> usize) -> Result<usize> {
        let mut done = 0;
        while done < len {
            let Some(range) = self.ranges.get_mut(self.at) else { break };
            if range.1 == 0 {
                self.at += 1;
                continue;
            }
            let wanted = range.1.min(len - done);
            let count = copy(range.0, done, wanted);
            range.0 += count as u64;
            range.1 -= count;
            done += count;
            self.remaining -= count;
            if count < wanted {
                return if done > 0 { Ok(done) } else { Err(Errno::EFAULT) };
            }
        }
        Ok(done)
    }
}

/// Where bytes go.
#[derive(Debug)]
pub enum Sink<'a> {
    /// Kernel memory.
    Kernel(&'a mut [u8]),
    /// User memory of the current task.
    User(UserRanges),
}

/// Where bytes come from.
#[derive(Debug)]
pub enum Source<'a> {
    /// Kernel memory.
    Kernel(&'a [u8]),
    /// User memory of the current task.
    User(UserRanges),
}

impl Sink<'_> {
    /// One piece of user memory.
    #[must_use]
    pub fn user(addr: u64, len: usize) -> Self {
        Self::User(UserRanges::new(SmallVec::from_slice(&[(addr, len)])))
    }

    /// Bytes that still fit.
    #[must_use]
    pub fn remaining(&self) -> usize {
        match self {
            Self::Kernel(bytes) => bytes.len(),
            Self::User(ranges) => ranges.remaining,
        }
    }

    /// Adds bytes; gives how many fitted.
    ///
    /// # Errors
    /// `EFAULT` when the first of them could not be stored.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Kernel(space) => {
                let count = bytes.len().min(space.len());
                let (now, rest) = core::mem::take(space).split_at_mut(count);
                now.copy_from_slice(&bytes[..count]);
                *space = rest;
                Ok(count)
            }
            Self::User(ranges) => ranges
                .step(bytes.len(), |addr, at, len| uaccess::copy_to_user_partial(addr, &bytes[at..at + len])),
        }
    }

    /// Adds zeroes; gives how many fitted.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_zeros(&mut self, count: usize) -> Result<usize> {
        match self {
            Self::Kernel(space) => {
                let count = count.min(space.len());
                let (now, rest) = core::mem::take(space).split_at_mut(count);
                now.fill(0);
                *space = rest;
                Ok(count)
            }
            Self::User(ranges) => {
                ranges.step(count, |addr, _, len| uaccess::zero_user(addr, len).map_or(0, |()| len))
            }
        }
    }

    /// Adds `len` bytes of RAM or of a file window, which lie contiguously from `from`.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_phys(&mut self, from: PhysAddr, len: usize) -> Result<usize> {
        match self {
            Self::Kernel(space) => {
                let count = len.min(space.len());
                let (now, rest) = core::mem::take(space).split_at_mut(count);
                arch::read_phys(from, now);
                *space = rest;
                Ok(count)
            }
            Self::User(ranges) => ranges.step(len, |addr, at, len| {
                uaccess::copy_phys_to_user(addr, PhysAddr(from.0 + at as u64), len)
            }),
        }
    }
}

impl Source<'_> {
    /// One piece of user memory.
    #[must_use]
    pub fn user(addr: u64, len: usize) -> Self {
        Self::User(UserRanges::new(SmallVec::from_slice(&[(addr, len)])))
    }

    /// Bytes left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        match self {
            Self::Kernel(bytes) => bytes.len(),
            Self::User(ranges) => ranges.remaining,
        }
    }

    /// Cuts it to its first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Kernel(rest) => *rest = &rest[..len.min(rest.len())],
            Self::User(ranges) => ranges.truncate(len),
        }
    }

    /// Passes over at most `len` bytes without reading them, as a sink of everything does.
    pub fn skip(&mut self, len: usize) -> usize {
        match self {
            Self::Kernel(rest) => {
                let count = len.min(rest.len());
                *rest = &rest[count..];
                count
            }
            Self::User(ranges) => ranges.step(len, |_, _, count| count).unwrap_or(0),
        }
    }

    /// Takes bytes; gives how many there were.
    ///
    /// # Errors
    /// `EFAULT` when the first of them could not be read.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        match self {
            Self::Kernel(rest) => {
                let count = bytes.len().min(rest.len());
                bytes[..count].copy_from_slice(&rest[..count]);
                *rest = &rest[count..];
                Ok(count)
            }
            Self::User(ranges) => ranges.step(bytes.len(), |addr, at, len| {
                uaccess::copy_from_user_partial(&mut bytes[at..at + len], addr)
            }),
        }
    }

    /// Takes at most `len` bytes into RAM or a file window, contiguously from `to`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_phys(&mut self, to: PhysAddr, len: usize) -> Result<usize> {
        match self {
            Self::Kernel(rest) => {
                let count = len.min(rest.len());
                arch::write_phys(to, &rest[..count]);
                *rest = &rest[count..];
                Ok(count)
            }
            Self::User(ranges) => ranges
                .step(len, |addr, at, len| uaccess::copy_user_to_phys(PhysAddr(to.0 + at as u64), addr, len)),
        }
    }
}

/// Most pieces of a vectored call.
pub const IOV_MAX: usize = 1024;

/// The pieces of a `struct iovec` array of ring 3. Lengths are cut so that the whole is at most what one call
/// may move.
///
/// # Errors
/// `EINVAL` for too many pieces or a negative length, `EFAULT` for a bad array, `ENOMEM`.
pub fn import_iovec(addr: u64, count: usize) -> Result<UserRanges> {
    const MAX_RW: usize = 0x7fff_f000;
    if count > IOV_MAX {
        return Err(Errno::EINVAL);
    }
    let mut ranges = SmallVec::new();
    ranges.try_reserve(count).map_err(|_| Errno::ENOMEM)?;
    let mut total = 0usize;
    for index in 0..count as u64 {
        let [base, len]: [u64; 2] = uaccess::get(addr.checked_add(index * 16).ok_or(Errno::EFAULT)?)?;
        if len > i64::MAX as u64 {
            return Err(Errno::EINVAL);
        }
        if !arch::is_user_range(base, len) {
            return Err(Errno::EFAULT);
        }
        let len = (len as usize).min(MAX_RW - total);
        total += len;
        ranges.push((base, len));
    }
    Ok(UserRanges::new(ranges))
}
