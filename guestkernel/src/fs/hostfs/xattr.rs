//! Extended attributes of host files.
//!
//! The host keeps `user.` attributes, a file's capabilities and access control lists of regular files and directories. Everything
//! else is none of the container's business: `trusted.` and `security.` are what the host's own administrator
//! and its security modules say of the file, and what they say there is said of the host.

use alloc::{boxed::Box, vec, vec::Vec};

use super::inode::HostInode;
use crate::{
    arch::{PhysAddr, read_phys, write_phys},
    errno::{Errno, Result},
    fs::{
        acl::Which,
        inode::Inode,
        xattr::{self, Kind},
    },
    mem::{PAGE_SIZE, frame},
};

/// log₂ of the pages that the longest value fills.
const ORDER: u32 = (xattr::SIZE_MAX / PAGE_SIZE as usize).ilog2();

/// Runs `f` with guest memory for `len` bytes.
fn with_buffer<T>(len: usize, f: impl FnOnce(u64) -> Result<T>) -> Result<T> {
    let order = (len as u64).div_ceil(PAGE_SIZE).max(1).next_power_of_two().ilog2();
    let (buffer, _) = frame::alloc_order(order).ok_or(Errno::ENOMEM)?;
    let result = f(buffer.0);
    frame::free_order(buffer, order);
    result
}

/// Fetches bytes by `call`, which gets a buffer and its length and gives theirs: first with a page, then with
/// room for the longest.
fn fetch(call: impl Fn(u64, usize) -> Result<usize>) -> Result<Vec<u8>> {
    let attempt = |len: usize| {
        with_buffer(len, |buffer| {
            let got = call(buffer, len)?;
            if got > len {
                return Err(Errno::EIO);
            }
            let mut bytes = vec![0; got];
            read_phys(PhysAddr(buffer), &mut bytes);
            Ok(bytes)
        })
    };
    match attempt(PAGE_SIZE as usize) {
        Err(Errno::ERANGE) => attempt((PAGE_SIZE as usize) << ORDER),
        result => result,
    }
}

/// Whether the host is asked about this name.
fn is_shared(name: &[u8]) -> bool {
    xattr::kind(name) == Some(Kind::User) || name == xattr::CAPABILITY || Which::by_name(name).is_some()
}

impl HostInode {
    pub(super) fn has_xattrs(&self) -> bool {
        let inode: &dyn Inode = self;
        inode.is_regular() || inode.is_dir()
    }

    /// A value.
    ///
    /// # Errors
    /// `ENODATA`, `EOPNOTSUPP`, the host's.
    pub(super) fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        xattr::kept_kind(name)?;
        if !is_shared(name) || !self.has_xattrs() {
            return Err(Errno::ENODATA);
        }
        if name == xattr::CAPABILITY {
            return self.capability();
        }
        self.ready(1)?;
        self.fetch_xattr(name)
    }

    /// A value that the host is asked for, of an inode that is ready.
    ///
    /// # Errors
    /// The host's.
    pub(super) fn fetch_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        fetch(|buffer, len| self.fs.host.get_xattr(self.handle(), name, buffer, len))
    }

    /// The file's capabilities. That there are none is remembered until the file changes.
    fn capability(&self) -> Result<Vec<u8>> {
        let inode: &dyn Inode = self;
        let changed = inode.attr()?.ctime;
        if *self.incapable.lock() == Some(changed) {
            return Err(Errno::ENODATA);
        }
        self.ready(1)?;
        let value =
            fetch(|buffer, len| self.fs.host.get_xattr(self.handle(), xattr::CAPABILITY, buffer, len));
        if matches!(value, Err(Errno::ENODATA | Errno::EOPNOTSUPP)) {
            *self.incapable.lock() = Some(changed);
        }
        value
    }

    /// Sets or removes a value.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, the host's.
    pub(super) fn change_xattr(&self, name: &[u8], value: Option<&[u8]>, flags: u32) -> Result<()> {
        xattr::kept_kind(name)?;
        if !is_shared(name) || !self.has_xattrs() {
            return Err(if value.is_none() { Errno::ENODATA } else { Errno::EOPNOTSUPP });
        }
        self.ready(1)?;
        self.put_xattr(name, value, flags)
    }

    /// Has the host set or remove a value, of an inode that is ready.
    ///
    /// # Errors
    /// The host's.
    pub(super) fn put_xattr(&self, name: &[u8], value: Option<&[u8]>, flags: u32) -> Result<()> {
        match value {
            None => self.fs.host.remove_xattr(self.handle(), name)?,
            Some(value) => with_buffer(value.len(), |buffer| {
                write_phys(PhysAddr(buffer), value);
                self.fs.host.set_xattr(self.handle(), name, buffer, value.len(), flags)
            })?,
        }
        *self.incapable.lock() = None;
        let _attr = self.attr.lock();
        self.touched();
        Ok(())
    }

    /// The names that the container may know.
    ///
    /// # Errors
    /// The host's.
    pub(super) fn xattr_names(&self) -> Result<Vec<Box<[u8]>>> {
        if !self.has_xattrs() {
            return Ok(Vec::new());
        }
        self.ready(1)?;
        let list = match fetch(|buffer, len| self.fs.host.list_xattr(self.handle(), buffer, len)) {
            // A file system that keeps none.
            Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
            list => list?,
        };
        Ok(list.split(|&byte| byte == 0).filter(|name| is_shared(name)).map(Box::from).collect())
    }
}
