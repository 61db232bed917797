//! The interface of a file system: inodes.
//!
//! An inode is reached by `Arc<dyn Inode>` from dentries and open files. The VFS has checked permissions,
//! read-only mounts and names before it calls, and holds the directory's mutex around everything that reads
//! or changes names.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{any::Any, sync::atomic::AtomicU32};
use hostcall::{Attr, FileSystemStat, SetAttr};
use linux_raw_sys::general::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};

use super::{
    acl::{Acl, Which},
    file::FileOps,
    mount::Path,
};
use crate::errno::{Errno, Result};

/// What a new node is to be.
#[derive(Clone, Copy, Debug)]
pub struct NewNode {
    /// Permission bits; for `mknod` with the type.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// How a directory's names may be kept in the dentry cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Names and absences stay valid until we change them or [`Inode::generation`] does.
    Full,
    /// Look up each time.
    None,
}

/// One directory entry.
#[derive(Clone, Copy, Debug)]
pub struct Dirent<'a> {
    /// Inode number.
    pub ino: u64,
    /// Where reading goes on after it.
    pub next: u64,
    /// `DT_*`.
    pub kind: u8,
    /// Name.
    pub name: &'a [u8],
}

/// A file-system object. Each method's default is the errno that Linux gives where the operation makes no
/// sense.
#[allow(missing_docs, reason = "the methods are named after the system calls that they serve")]
#[allow(clippy::missing_errors_doc, reason = "errno of the system call they serve")]
pub trait Inode: Any + Send + Sync {
    /// Attributes. Cheap.
    fn attr(&self) -> Result<Attr>;

    /// Type and permission bits, owner, group and number of links only; cheaper than [`Self::attr`] where that asks
    /// others.
    fn access(&self) -> Result<Attr> {
        self.attr()
    }

    /// Size in bytes; cheaper than [`Self::attr`] where that asks others.
    fn size(&self) -> Result<u64> {
        Ok(self.attr()?.size)
    }

    /// Changes when others may have changed names of this directory: names that were looked up under another one
    /// are looked up again. Constant where only we change them.
    fn generation(&self) -> u64 {
        0
    }

    /// `S_IFMT` bits; never change.
    fn kind(&self) -> u32;

    fn set_attr(&self, _change: &SetAttr) -> Result<()> {
        Err(Errno::EPERM)
    }

    fn statfs(&self) -> Result<FileSystemStat>;

    /// What may be cached of a directory.
    fn caching(&self) -> Caching {
        Caching::Full
    }

    fn lookup(&self, _name: &[u8]) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOTDIR)
    }

    /// A new regular file.
    fn create(&self, _name: &[u8], _new: NewNode) -> Result<Arc<dyn Inode>> {
        Err(Errno::EACCES)
    }

    /// A new regular file without a name, on the same file system.
    fn tmpfile(&self, _new: NewNode) -> Result<Arc<dyn Inode>> {
        Err(Errno::EOPNOTSUPP)
    }

    fn mkdir(&self, _name: &[u8], _new: NewNode) -> Result<Arc<dyn Inode>> {
        Err(Errno::EPERM)
    }

    fn mknod(&self, _name: &[u8], _new: NewNode, _rdev: u64) -> Result<Arc<dyn Inode>> {
        Err(Errno::EPERM)
    }

    fn symlink(&self, _name: &[u8], _target: &[u8], _new: NewNode) -> Result<Arc<dyn Inode>> {
        Err(Errno::EPERM)
    }

    fn link(&self, _name: &[u8], _target: &Arc<dyn Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }

    fn unlink(&self, _name: &[u8], _victim: &Arc<dyn Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }

    fn rmdir(&self, _name: &[u8], _victim: &Arc<dyn Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Moves `old` to `new` in `new_dir`, of the same file system. `flags` as renameat2.
    fn rename(&self, _old: &[u8], _new_dir: &Arc<dyn Inode>, _new: &[u8], _flags: u32) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Target of a symbolic link.
    fn readlink(&self) -> Result<Arc<[u8]>> {
        Err(Errno::EINVAL)
    }

    /// Where a link of `/proc` that is not text leads; `None` for ordinary links.
    fn magic_link(&self) -> Option<Result<Path>> {
        None
    }

    /// How many open file descriptions only read it, of a file that leases can be had on.
    fn readers(&self) -> Option<&AtomicU32> {
        None
    }

    /// Readies it for I/O. `flags` are open(2)'s.
    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn FileOps>>;

    /// The value of an extended attribute, whole.
    fn get_xattr(&self, _name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets an extended attribute, or removes it without a value. `flags` are setxattr(2)'s.
    fn set_xattr(&self, _name: &[u8], _value: Option<&[u8]>, _flags: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// An access control list. `EOPNOTSUPP` where the file system keeps none.
    fn acl(&self, _which: Which) -> Result<Option<Arc<Acl>>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets or removes an access control list, which is valid. Whether the mode follows is not certain.
    fn set_acl(&self, _which: Which, _acl: Option<Acl>) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Names of all extended attributes.
    fn list_xattr(&self) -> Result<Vec<Box<[u8]>>> {
        Ok(Vec::new())
    }
}

impl core::fmt::Debug for dyn Inode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Inode({:o})", self.kind())
    }
}

impl dyn Inode {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind() == S_IFDIR
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_link(&self) -> bool {
        self.kind() == S_IFLNK
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        self.kind() == S_IFREG
    }

    /// The concrete inode, when it is a `T`.
    #[must_use]
    pub fn downcast<T: Inode>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// `DT_*` of a mode.
#[must_use]
pub const fn dirent_kind(mode: u32) -> u8 {
    ((mode & S_IFMT) >> 12) as u8
}
