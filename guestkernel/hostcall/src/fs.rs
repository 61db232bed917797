//! Structures of the file hostcalls. Numbers are Linux's (mode bits, errno, time in seconds and ns).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Seconds and nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, below 10⁹.
    pub nsec: i64,
}

/// Attributes of an inode, as stat(2) has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Host device of the file system.
    pub dev: u64,
    /// Size in bytes.
    pub size: u64,
    /// 512-byte blocks in use.
    pub blocks: u64,
    /// Device number of a device node.
    pub rdev: u64,
    /// Hard links.
    pub nlink: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
    /// Last access.
    pub atime: Timespec,
    /// Last change of contents.
    pub mtime: Timespec,
    /// Last change of the inode.
    pub ctime: Timespec,
}

bitflags::bitflags! {
    /// Which fields of a [`SetAttr`] are to be applied.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SetAttrValid: u32 {
        /// `mode`.
        const MODE = 1;
        /// `uid`.
        const UID = 2;
        /// `gid`.
        const GID = 4;
        /// `size`.
        const SIZE = 8;
        /// `atime`.
        const ATIME = 16;
        /// `mtime`.
        const MTIME = 32;
    }
}

/// Attributes to change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetAttr {
    /// [`SetAttrValid`].
    pub valid: u32,
    /// Permission bits (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of contents.
    pub mtime: Timespec,
}

/// Head of one directory entry; `name_len` bytes of name follow, then padding to 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirentHeader {
    /// Inode number.
    pub ino: u64,
    /// Cookie of the entry after this one.
    pub next: u64,
    /// `DT_*`.
    pub kind: u32,
    /// Length of the name in bytes, 1…255.
    pub name_len: u32,
}

/// statfs(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileSystemStat {
    /// Magic number of the file system type.
    pub kind: u64,
    /// Block size in bytes.
    pub bsize: u64,
    /// Blocks in all, in units of `frsize`.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Blocks free to an unprivileged user.
    pub bavail: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Longest name in bytes.
    pub namelen: u64,
    /// Fragment size in bytes.
    pub frsize: u64,
}
