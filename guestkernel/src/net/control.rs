//! Control messages (`struct cmsghdr`): reading what a sender passes, laying out what a receiver gets.
//!
//! A header is 16 bytes (length, level, type); data follow, and the next header at a multiple of 8.

use alloc::{sync::Arc, vec::Vec};
use linux_raw_sys::general::O_CLOEXEC;

use super::MsgFlags;
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::File,
    task::{current, rlimit::Resource},
};

/// Bytes of a header.
pub const HEADER: usize = 16;
/// `SOL_SOCKET`.
pub const SOL_SOCKET: i32 = 1;
/// Descriptors.
pub const SCM_RIGHTS: i32 = 1;
/// Who sent it.
pub const SCM_CREDENTIALS: i32 = 2;
/// Most descriptors in one message.
pub const MAX_FILES: usize = 253;

/// `struct ucred`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable,
)]
#[repr(C)]
pub struct Ucred {
    /// Process.
    pub pid: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// One control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Level.
    pub level: i32,
    /// Type at that level.
    pub kind: i32,
    /// What follows the header.
    pub data: &'a [u8],
}

/// The control messages in `bytes`; ends after the first that is malformed (`EINVAL`).
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Reads control data.
#[must_use]
pub fn messages(bytes: &[u8]) -> Messages<'_> {
    Messages { bytes, at: 0 }
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| rest.len() >= HEADER)?;
        let len = u64::from_ne_bytes(word(rest, 0)?);
        let level = i32::from_ne_bytes(word(rest, 8)?);
        let kind = i32::from_ne_bytes(word(rest, 12)?);
        let data = usize::try_from(len).ok().and_then(|len| rest.get(HEADER..len));
        let Some(data) = data else {
            self.at = self.bytes.len();
            return Some(Err(Errno::EINVAL));
        };
        self.at += (HEADER + data.len()).next_multiple_of(8);
        Some(Ok(Message { level, kind, data }))
    }
}

/// Where an item's bytes go: what fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The length that the header says.
    pub len: usize,
    /// Bytes that it takes of the space.
    pub step: usize,
    /// Something was cut off.
    pub cut: bool,
}

/// How `data` bytes with a header lie in `space`; `None` when not even a header fits.
#[must_use]
pub fn place(data: usize, space: usize) -> Option<Place> {
    if space < HEADER {
        return None;
    }
    let len = (HEADER + data).min(space);
    Some(Place { len, step: (HEADER + data).next_multiple_of(8).min(space), cut: len < HEADER + data })
}

/// A control message for a receiver.
#[derive(Debug)]
pub enum Item {
    /// `SCM_CREDENTIALS`.
    Credentials(Ucred),
    /// `SCM_RIGHTS`.
    Rights(Vec<Arc<File>>),
    /// What a family lays out itself.
    Bytes {
        /// Level.
        level: i32,
        /// Type.
        kind: i32,
        /// Data.
        data: Vec<u8>,
    },
}

/// Space in ring 3 that control messages are stored in.
#[derive(Debug)]
pub struct Writer {
    addr: u64,
    space: usize,
    used: usize,
    cut: bool,
}

impl Writer {
    /// `space` bytes at `addr`.
    #[must_use]
    pub fn new(addr: u64, space: usize) -> Self {
        Self { addr, space: if addr == 0 { 0 } else { space }, used: 0, cut: false }
    }

    /// Bytes stored.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// `CTRUNC` when something did not fit.
    #[must_use]
    pub fn flags(&self) -> MsgFlags {
        if self.cut { MsgFlags::CTRUNC } else { MsgFlags::empty() }
    }

    fn header(&self, len: usize, level: i32, kind: i32) -> Result<()> {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&(len as u64).to_ne_bytes());
        header[8..12].copy_from_slice(&level.to_ne_bytes());
        header[12..].copy_from_slice(&kind.to_ne_bytes());
        uaccess::copy_to_user(self.at(), &header)
    }

    fn at(&self) -> u64 {
        self.addr.wrapping_add(self.used as u64)
    }

    fn bytes(&mut self, level: i32, kind: i32, data: &[u8]) -> Result<()> {
        let Some(place) = place(data.len(), self.space - self.used) else {
            self.cut = true;
            return Ok(());
        };
        self.cut |= place.cut;
        self.header(place.len, level, kind)?;
        uaccess::copy_to_user(self.at().wrapping_add(HEADER as u64), &data[..place.len - HEADER])?;
        self.used += place.step;
        Ok(())
    }

    /// Gives the caller descriptors for `files`, as many as fit; the rest is let go of.
    fn rights(&mut self, files: &[Arc<File>], cloexec: bool) -> Result<()> {
        let space = self.space - self.used;
        let most = space.saturating_sub(HEADER) / 4;
        let task = current();
        let limit = task.process.rlimit(Resource::OpenFiles).soft;
        let mut count = 0;
        for file in files.iter().take(most) {
            let Ok(fd) = task.files().install(file.clone(), cloexec, 0, limit) else { break };
            let to = self.at().wrapping_add((HEADER + 4 * count) as u64);
            if uaccess::put(to, &fd).is_err() {
                drop(task.files().close(fd));
                break;
            }
            count += 1;
        }
        if count != 0 {
            self.header(HEADER + 4 * count, SOL_SOCKET, SCM_RIGHTS)?;
            self.used += (HEADER + 4 * count).next_multiple_of(8).min(space);
        }
        self.cut |= count < files.len();
        Ok(())
    }

    /// Stores an item. What does not fit is cut off, descriptors whole.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn store(&mut self, item: &Item, flags: MsgFlags) -> Result<()> {
        match item {
            Item::Credentials(cred) => {
                self.bytes(SOL_SOCKET, SCM_CREDENTIALS, zerocopy::IntoBytes::as_bytes(cred))
            }
            Item::Rights(files) => self.rights(files, flags.contains(MsgFlags::CMSG_CLOEXEC)),
            Item::Bytes { level, kind, data } => self.bytes(*level, *kind, data),
        }
    }
}

/// `SOCK_CLOEXEC` is `O_CLOEXEC`.
pub const SOCK_CLOEXEC: u32 = O_CLOEXEC;
