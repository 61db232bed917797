//! Inodes without a place: pipes, eventfds and the like.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU64, Ordering};
use hostcall::{Attr, FileSystemStat, SetAttr, SetAttrValid, Timespec};
use linux_raw_sys::general::S_IFMT;

use super::{dentry::Dentry, file::FileOps, inode::Inode, mount::Mount};
use crate::{
    arch::clock,
    errno::{Errno, Result},
    sync::{Once, SpinLock},
};

static NEXT_INO: AtomicU64 = AtomicU64::new(1);
static NEXT_DEV: AtomicU64 = AtomicU64::new(30);

/// An inode number that no other pipe, socket or the like has.
pub fn next_ino() -> u64 {
    NEXT_INO.fetch_add(1, Ordering::Relaxed)
}

/// A device number for a file system of the sentry.
pub fn next_dev() -> u64 {
    NEXT_DEV.fetch_add(1, Ordering::Relaxed)
}

/// The wall clock as file times have it.
#[must_use]
pub fn now() -> Timespec {
    let ns = clock::realtime_ns();
    Timespec { sec: (ns / 1_000_000_000) as i64, nsec: (ns % 1_000_000_000) as i64 }
}

/// statfs of a file system that has no size.
#[must_use]
pub fn plain_statfs(magic: u64) -> FileSystemStat {
    FileSystemStat { kind: magic, bsize: 4096, namelen: 255, frsize: 4096, ..FileSystemStat::default() }
}

/// Applies `change` to `attr`, sizes apart.
pub fn apply(attr: &mut Attr, change: &SetAttr) {
    let valid = SetAttrValid::from_bits_truncate(change.valid);
    if valid.contains(SetAttrValid::MODE) {
        attr.mode = attr.mode & S_IFMT | change.mode & 0o7777;
    }
    if valid.contains(SetAttrValid::UID) {
        attr.uid = change.uid;
    }
    if valid.contains(SetAttrValid::GID) {
        attr.gid = change.gid;
    }
    if valid.contains(SetAttrValid::ATIME) {
        attr.atime = change.atime;
    }
    if valid.contains(SetAttrValid::MTIME) {
        attr.mtime = change.mtime;
    }
    attr.ctime = now();
}

/// An inode that is only attributes.
pub struct AnonInode {
    attr: SpinLock<Attr>,
    kind: u32,
    magic: u64,
}

impl AnonInode {
    /// A new one. `magic` is the file system's number in statfs.
    #[must_use]
    pub fn new(mode: u32, uid: u32, gid: u32, dev: u64, magic: u64) -> Arc<Self> {
        let time = now();
        let attr = Attr {
            ino: next_ino(),
            dev,
            nlink: 1,
            mode,
            uid,
            gid,
            blksize: 4096,
            atime: time,
            mtime: time,
            ctime: time,
            ..Attr::default()
        };
        Arc::new(Self { attr: SpinLock::new(attr), kind: mode & S_IFMT, magic })
    }
}

impl Inode for AnonInode {
    fn attr(&self) -> Result<Attr> {
        Ok(*self.attr.lock())
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        if change.valid & SetAttrValid::SIZE.bits() != 0 {
            return Err(Errno::EINVAL);
        }
        apply(&mut self.attr.lock(), change);
        Ok(())
    }

    fn statfs(&self) -> Result<FileSystemStat> {
        Ok(plain_statfs(self.magic))
    }

    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Err(Errno::ENXIO)
    }
}

/// The inode that all nameless objects share (`anon_inode:`).
pub fn shared() -> Arc<AnonInode> {
    static SHARED: Once<Arc<AnonInode>> = Once::new();
    SHARED.call_once(|| AnonInode::new(0o600, 0, 0, next_dev(), 0x0904_1934)).clone()
}

impl Mount {
    /// The mount of objects that no path leads to.
    #[must_use]
    pub fn none() -> Arc<Self> {
        static NONE: Once<Arc<Mount>> = Once::new();
        NONE.call_once(|| Self::detached(Dentry::anonymous(b"none", shared()))).clone()
    }
}

/// Formats `prefix:[number]`.
#[must_use]
pub fn numbered(prefix: &str, number: u64) -> Vec<u8> {
    alloc::format!("{prefix}:[{number}]").into_bytes()
}

impl core::fmt::Debug for AnonInode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("AnonInode")
    }
}
