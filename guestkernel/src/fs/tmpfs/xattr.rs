//! Extended attributes of tmpfs: kept in order of their names, charged to the file system.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering};
use linux_raw_sys::general::{XATTR_CREATE, XATTR_REPLACE};

use super::{TmpInode, Tmpfs, most_inodes};
use crate::{
    errno::{Errno, Result},
    fs::{anon, xattr},
    mem::frame,
};

/// Bytes that an inode counts for where attributes share the inodes' space.
const INODE_SPACE: u64 = 1024;
/// What an attribute takes beside its name and value.
const OVERHEAD: u64 = 64;

/// Files anywhere that carry capabilities; as long as there are none, a write need not look.
static CAPABLE_FILES: AtomicUsize = AtomicUsize::new(0);

/// Names and values.
pub(super) type Attributes = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// What an attribute is charged.
fn space(name: &[u8], value: &[u8]) -> u64 {
    OVERHEAD + (name.len() + value.len()) as u64
}

impl Tmpfs {
    pub(super) fn charge_xattr(&self, bytes: u64) -> Result<()> {
        let limit =
            most_inodes().saturating_sub(self.inodes.load(Ordering::Relaxed)).saturating_mul(INODE_SPACE);
        let before = self.xattr_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > limit || !frame::has_room_for(bytes) {
            self.xattr_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    fn forget_xattr(&self, name: &[u8], value: &[u8]) {
        self.xattr_bytes.fetch_sub(space(name, value), Ordering::Relaxed);
        if name == xattr::CAPABILITY {
            CAPABLE_FILES.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl TmpInode {
    /// A value.
    ///
    /// # Errors
    /// `ENODATA`, `EOPNOTSUPP`, `EINVAL`.
    pub(super) fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        xattr::kept_kind(name)?;
        self.xattrs.lock().get(name).map(|value| value.to_vec()).ok_or(Errno::ENODATA)
    }

    /// Sets or removes a value; `flags` are those of setxattr(2).
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA`, `ENOSPC`, `EOPNOTSUPP`, `EINVAL`.
    pub(super) fn change_xattr(&self, name: &[u8], value: Option<&[u8]>, flags: u32) -> Result<()> {
        xattr::kept_kind(name)?;
        if let Some(value) = value {
            self.fs.charge_xattr(space(name, value))?;
        }
        let mut xattrs = self.xattrs.lock();
        let there = xattrs.contains_key(name);
        let refused = match value {
            _ if there && flags & XATTR_CREATE != 0 => Some(Errno::EEXIST),
            _ if !there && (value.is_none() || flags & XATTR_REPLACE != 0) => Some(Errno::ENODATA),
            _ => None,
        };
        let new = value.filter(|_| refused.is_none());
        let old = match (refused, new) {
            (Some(_), _) => None,
            (None, Some(value)) => {
                if name == xattr::CAPABILITY {
                    CAPABLE_FILES.fetch_add(1, Ordering::Relaxed);
                }
                xattrs.insert(name.into(), value.into())
            }
            (None, None) => xattrs.remove(name),
        };
        drop(xattrs);
        if let Some(old) = old {
            self.fs.forget_xattr(name, &old);
        }
        match (refused, value) {
            (Some(error), Some(value)) => {
                self.fs.xattr_bytes.fetch_sub(space(name, value), Ordering::Relaxed);
                Err(error)
            }
            (Some(error), None) => Err(error),
            (None, _) => {
                self.attr.lock().ctime = anon::now();
                Ok(())
            }
        }
    }

    /// The names, access control lists first, the others sorted.
    #[allow(clippy::unnecessary_wraps, reason = "the form of the inode's method")]
    pub(super) fn xattr_names(&self) -> Result<Vec<Box<[u8]>>> {
        let mut names = self.acl_names();
        names.extend(self.xattrs.lock().keys().cloned());
        Ok(names)
    }

    /// The contents or the owner changed: the file's capabilities are no longer meant.
    pub(super) fn drop_file_capabilities(&self) {
        if CAPABLE_FILES.load(Ordering::Relaxed) == 0 {
            return;
        }
        let gone = self.xattrs.lock().remove(xattr::CAPABILITY);
        if let Some(value) = gone {
            self.fs.forget_xattr(xattr::CAPABILITY, &value);
        }
    }

    /// The inode goes.
    pub(super) fn drop_xattrs(&mut self) {
        for (name, value) in core::mem::take(self.xattrs.get_mut()) {
            self.fs.forget_xattr(&name, &value);
        }
    }
}
