//! Inodes of a tmpfs that no directory of it has: [`overlay`](crate::fs::overlay) keeps the names itself.

use alloc::{collections::BTreeMap, sync::Arc};
use core::sync::atomic::Ordering;
use hostcall::Attr;
use linux_raw_sys::general::{S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG};

use super::{Body, Directory, TmpInode, Tmpfs, Weak};
use crate::{
    arch::write_phys,
    errno::{Errno, Result},
    fs::{anon, inode::NewNode},
    mem::{PAGE_SIZE, frame},
};

impl Tmpfs {
    /// One that is mounted nowhere, of at most `limit` bytes; without, as much as a tmpfs has unless said otherwise.
    pub(in crate::fs) fn of_size(limit: Option<u64>) -> Arc<Self> {
        let limit = limit.unwrap_or_else(|| frame::stats().total / 2);
        Self::with_magic(super::MAGIC, limit.div_ceil(PAGE_SIZE))
    }

    /// A new inode of any type. `new.mode` has the type; `target` is a symbolic link's.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(in crate::fs) fn loose(
        self: &Arc<Self>,
        new: NewNode,
        rdev: u64,
        target: Option<Arc<[u8]>>,
    ) -> Result<Arc<TmpInode>> {
        let body = match (new.mode & S_IFMT, target) {
            (S_IFDIR, _) => Body::Dir(Directory::default()),
            (S_IFREG, _) => Body::File(BTreeMap::new()),
            (S_IFLNK, Some(target)) => Body::Link(target),
            (S_IFIFO, _) => Body::Fifo(Weak::new()),
            _ => Body::Node,
        };
        let inode = self.inode(new.mode, new.uid, new.gid, body, rdev);
        self.check_inodes()?;
        Ok(inode)
    }

    /// A name that is kept elsewhere takes the room of an inode.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(in crate::fs) fn charge_name(&self) -> Result<()> {
        self.inodes.fetch_add(1, Ordering::Relaxed);
        self.check_inodes().inspect_err(|_| self.discharge_names(1))
    }

    /// So many of those are gone.
    pub(in crate::fs) fn discharge_names(&self, count: u64) {
        self.inodes.fetch_sub(count, Ordering::Relaxed);
    }
}

impl TmpInode {
    /// Takes size, links and times over from what it stands for; the contents come later.
    pub(in crate::fs) fn stand_for(&self, other: &Attr) {
        let mut attr = self.attr.lock();
        attr.nlink = other.nlink;
        attr.size = other.size;
        attr.blksize = other.blksize;
        (attr.atime, attr.mtime, attr.ctime) = (other.atime, other.mtime, other.ctime);
    }

    /// Puts a page of the contents in its place, which has none; nothing else shows that it came.
    ///
    /// # Errors
    /// `ENOSPC`, `ENOMEM`.
    pub(in crate::fs) fn put_page(&self, index: u64, bytes: &[u8]) -> Result<()> {
        if !frame::has_room_for(PAGE_SIZE) {
            return Err(Errno::ENOMEM);
        }
        let frame = self.frame(index, true)?.ok_or(Errno::EIO)?;
        write_phys(frame.addr(), bytes);
        Ok(())
    }

    /// Gives all pages up; its size stays.
    pub(in crate::fs) fn discard(&self) {
        self.punch(0, i64::MAX as u64);
    }

    /// Gives pages up and says how long it is now.
    pub(in crate::fs) fn cut_to(&self, size: u64) {
        self.resize(size);
    }

    /// Its names changed, so that its times do.
    pub(in crate::fs) fn names_changed(&self) {
        self.changed(0);
    }

    /// Its links changed, so that one of its times does.
    pub(in crate::fs) fn links_changed(&self) {
        self.attr.lock().ctime = anon::now();
    }
}
