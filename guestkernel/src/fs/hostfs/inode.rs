//! Inodes of hostfs: attributes and names.

use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use hostcall::{Attr, FileSystemStat, Handle, SetAttr, SetAttrValid, Timespec};
use linux_raw_sys::general::{
    O_ACCMODE, O_RDONLY, O_WRONLY, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK,
};

use super::{
    HostFs,
    acl::KnownAcls,
    cache::Trust,
    dir::{HostDir, Listing},
    file::{Chunks, HostMapping},
};
use crate::{
    errno::{Errno, Result},
    fs::{
        acl::{Acl, Which},
        file::FileOps,
        fresh,
        inode::{Caching, Inode, NewNode},
        pipe::Pipe,
    },
    mm::Mappers,
    sync::{Mutex, Once, SpinLock},
};

/// Bytes of a file that went for good whose room is given back at once.
const LARGE: u64 = 64 << 10;

/// A file, directory or other object of the host.
pub struct HostInode {
    pub(super) fs: Arc<HostFs>,
    handle: Handle,
    kind: u32,
    key: (u64, u64),
    pub(super) attr: SpinLock<Attr>,
    /// How far the attributes can be believed.
    pub(super) trust: Trust,
    /// How the host has it open: 1 read, 2 write, 3 both.
    opened: AtomicU32,
    readers: AtomicU32,
    /// Held over what changes the size.
    pub(super) io: Mutex<()>,
    /// Bytes that were read by hostcall.
    pub(super) copied: AtomicU64,
    /// Chunks seen through windows, by index.
    pub(super) chunks: SpinLock<Chunks>,
    /// The file as memory, while anything maps it.
    pub(super) mapping: SpinLock<Weak<HostMapping>>,
    /// Who maps it.
    pub(super) mappers: Mappers,
    /// The time of its last change when the host said that it has no capabilities: each exec asks.
    pub(super) incapable: SpinLock<Option<Timespec>>,
    /// Target of a symbolic link.
    target: Once<Arc<[u8]>>,
    /// A FIFO's pipe, while anything has it open.
    pipe: SpinLock<Weak<Pipe>>,
    /// Names of a directory, all of them, while they are known.
    pub(super) listing: SpinLock<Option<Arc<Listing>>>,
    /// Access control lists as far as they are known.
    pub(super) acls: SpinLock<KnownAcls>,
    weak: Weak<HostInode>,
}

impl HostInode {
    pub(super) fn new(fs: Arc<HostFs>, handle: Handle, attr: Attr) -> Arc<Self> {
        Arc::new_cyclic(|weak| Self {
            fs,
            handle,
            kind: attr.mode & S_IFMT,
            key: (attr.dev, attr.ino),
            attr: SpinLock::new(attr),
            trust: Trust::new(&attr),
            opened: AtomicU32::new(0),
            readers: AtomicU32::new(0),
            io: Mutex::new(()),
            copied: AtomicU64::new(0),
            chunks: SpinLock::new(Chunks::default()),
            mapping: SpinLock::new(Weak::new()),
            mappers: Mappers::new(),
            incapable: SpinLock::new(None),
            target: Once::new(),
            pipe: SpinLock::new(Weak::new()),
            listing: SpinLock::new(None),
            acls: SpinLock::new(KnownAcls::default()),
            weak: weak.clone(),
        })
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle
    }

    pub(super) fn weak(&self) -> Weak<Self> {
        self.weak.clone()
    }

    pub(super) fn arc(&self) -> Result<Arc<Self>> {
        self.weak.upgrade().ok_or(Errno::ESTALE)
    }

    pub(super) fn size(&self) -> u64 {
        self.attr.lock().size
    }

    /// Readies the handle for I/O: 1 read, 2 write.
    pub(super) fn ready(&self, access: u32) -> Result<()> {
        let have = self.opened.load(Ordering::Acquire);
        if have & access != access {
            self.fs.with_room(|| self.fs.host.open(self.handle, (have | access).into(), false))?;
            self.opened.fetch_or(access, Ordering::Release);
        }
        Ok(())
    }

    /// Readies the handle for reading unless it is; the host then says whether there is an access control list.
    pub(super) fn ready_saying_acl(&self) -> Result<Option<bool>> {
        let have = self.opened.load(Ordering::Acquire);
        if have & 1 != 0 {
            return Ok(None);
        }
        let there = self.fs.with_room(|| self.fs.host.open(self.handle, (have | 1).into(), true))?;
        self.opened.fetch_or(1, Ordering::Release);
        Ok(Some(there))
    }

    /// A name in this directory came or went by our doing; `links` changes its link count.
    fn names_changed(&self, links: i64) {
        *self.listing.lock() = None;
        self.doubt_names();
        self.links_changed(links);
    }

    fn links_changed(&self, links: i64) {
        let mut attr = self.attr.lock();
        attr.nlink = attr.nlink.saturating_add_signed(links);
        self.touched();
    }

    fn made(&self, make: impl Fn() -> Result<(Handle, Attr)>) -> Result<Arc<dyn Inode>> {
        let (handle, attr) = self.fs.with_room(make)?;
        self.names_changed(i64::from(attr.mode & S_IFMT == S_IFDIR));
        let inode = self.fs.inode(handle, attr);
        self.hands_down(&inode);
        Ok(inode)
    }

    fn lookup_inode(&self, name: &[u8]) -> Result<Arc<Self>> {
        let seen = self.fs.changes.load(Ordering::Acquire);
        let (handle, attr) = self.fs.with_room(|| self.fs.host.lookup(self.handle, name))?;
        let inode = self.fs.inode(handle, attr);
        // What we changed meanwhile may be newer.
        if self.fs.changes.load(Ordering::Acquire) == seen || !self.fs.exclusive {
            inode.learn(attr);
        }
        Ok(inode)
    }
}

impl Drop for HostInode {
    fn drop(&mut self) {
        for chunk in core::mem::take(&mut *self.chunks.lock()).into_all() {
            self.fs.windows.release(&chunk);
        }
        self.fs.forget(self.key);
        if self.handle != hostcall::ROOT_HANDLE {
            // The host gives a large file's room back only then.
            let attr = self.attr.get_mut();
            self.fs.close(self.handle, attr.nlink == 0 && attr.size > LARGE);
        }
    }
}

impl Inode for HostInode {
    fn attr(&self) -> Result<Attr> {
        fresh::look();
        if !self.fs.exclusive || self.is_stale() {
            self.ask()?;
        }
        Ok(*self.attr.lock())
    }

    fn access(&self) -> Result<Attr> {
        // A shared tree's attributes came with the look-up just made.
        if self.fs.exclusive && !self.is_asked() {
            self.ask()?;
        }
        Ok(*self.attr.lock())
    }

    fn size(&self) -> Result<u64> {
        fresh::look();
        if !self.fs.exclusive || !self.is_asked() {
            self.ask()?;
        }
        Ok(self.size())
    }

    fn generation(&self) -> u64 {
        // Whoever walks has looked at the clock. Names that cannot be asked for are looked up, which says why.
        if self.fs.exclusive && !self.is_asked() && self.ask().is_err() {
            self.forget_names();
        }
        self.trust.generation()
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn caching(&self) -> Caching {
        if self.fs.exclusive { Caching::Full } else { Caching::None }
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        if change.valid & SetAttrValid::SIZE.bits() != 0 {
            let _io = self.io.lock();
            self.ready(2)?;
            let old = (change.size < self.size()).then(|| self.shrink(change.size));
            let attr = self.fs.host.setattr(self.handle, change).inspect_err(|_| {
                if let Some(old) = old {
                    self.attr.lock().size = old;
                }
            })?;
            if old.is_some() {
                self.cut(attr.size);
            }
            self.changed(attr);
            return Ok(());
        }
        let attr = self.fs.host.setattr(self.handle, change)?;
        self.changed(attr);
        if change.valid & SetAttrValid::MODE.bits() != 0 {
            self.mode_changed();
        }
        Ok(())
    }

    fn statfs(&self) -> Result<FileSystemStat> {
        self.fs.host.statfs(self.handle)
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if self.fs.exclusive
            && let Some(listing) = &*self.listing.lock()
            && !listing.contains(name)
        {
            return Err(Errno::ENOENT);
        }
        Ok(self.lookup_inode(name)?)
    }

    fn create(&self, name: &[u8], new: NewNode) -> Result<Arc<dyn Inode>> {
        let (handle, attr) = self
            .fs
            .with_room(|| self.fs.host.create(self.handle, name, new.mode & 0o7777, new.uid, new.gid))?;
        self.names_changed(0);
        let inode = self.fs.inode(handle, attr);
        inode.opened.store(3, Ordering::Release);
        self.hands_down(&inode);
        Ok(inode)
    }

    fn tmpfile(&self, new: NewNode) -> Result<Arc<dyn Inode>> {
        let (handle, attr) =
            self.fs.with_room(|| self.fs.host.tmpfile(self.handle, new.mode & 0o7777, new.uid, new.gid))?;
        let inode = self.fs.inode(handle, attr);
        inode.opened.store(3, Ordering::Release);
        Ok(inode)
    }

    fn mkdir(&self, name: &[u8], new: NewNode) -> Result<Arc<dyn Inode>> {
        self.made(|| self.fs.host.mkdir(self.handle, name, new.mode & 0o7777, new.uid, new.gid))
    }

    fn mknod(&self, name: &[u8], new: NewNode, _rdev: u64) -> Result<Arc<dyn Inode>> {
        self.made(|| self.fs.host.mknod(self.handle, name, new.mode, new.uid, new.gid))
    }

    fn symlink(&self, name: &[u8], target: &[u8], new: NewNode) -> Result<Arc<dyn Inode>> {
        let link = self.made(|| self.fs.host.symlink(self.handle, name, target, new.uid, new.gid))?;
        if let Some(link) = link.downcast::<Self>() {
            link.target.call_once(|| target.into());
        }
        Ok(link)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let target =
            target.downcast::<Self>().filter(|inode| Arc::ptr_eq(&inode.fs, &self.fs)).ok_or(Errno::EXDEV)?;
        self.fs.host.link(target.handle, self.handle, name)?;
        target.links_changed(1);
        self.names_changed(0);
        Ok(())
    }

    fn unlink(&self, name: &[u8], victim: &Arc<dyn Inode>) -> Result<()> {
        self.fs.host.unlink(self.handle, name, false)?;
        if let Some(victim) = victim.downcast::<Self>() {
            victim.links_changed(-1);
        }
        self.names_changed(0);
        Ok(())
    }

    fn rmdir(&self, name: &[u8], victim: &Arc<dyn Inode>) -> Result<()> {
        self.fs.host.unlink(self.handle, name, true)?;
        if let Some(victim) = victim.downcast::<Self>() {
            victim.links_changed(-2);
        }
        self.names_changed(-1);
        Ok(())
    }

    fn rename(&self, old: &[u8], new_dir: &Arc<dyn Inode>, new: &[u8], flags: u32) -> Result<()> {
        let to =
            new_dir.downcast::<Self>().filter(|dir| Arc::ptr_eq(&dir.fs, &self.fs)).ok_or(Errno::EXDEV)?;
        self.fs.host.rename(self.handle, old, to.handle, new, flags)?;
        // Link counts of the directories may have changed in several ways: who wants to know asks.
        self.names_changed(0);
        to.names_changed(0);
        Ok(())
    }

    fn readlink(&self) -> Result<Arc<[u8]>> {
        if self.kind != S_IFLNK {
            return Err(Errno::EINVAL);
        }
        if let Some(target) = self.target.get() {
            return Ok(target.clone());
        }
        let target = self.fs.host.readlink(self.handle)?;
        Ok(self.target.call_once(|| target).clone())
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.xattr(name)
    }

    fn set_xattr(&self, name: &[u8], value: Option<&[u8]>, flags: u32) -> Result<()> {
        self.change_xattr(name, value, flags)
    }

    fn list_xattr(&self) -> Result<Vec<Box<[u8]>>> {
        self.xattr_names()
    }

    fn readers(&self) -> Option<&AtomicU32> {
        Some(&self.readers)
    }

    fn acl(&self, which: Which) -> Result<Option<Arc<Acl>>> {
        self.known_acl(which)
    }

    fn set_acl(&self, which: Which, acl: Option<Acl>) -> Result<()> {
        self.change_acl(which, acl.as_ref())
    }

    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn FileOps>> {
        match self.kind {
            S_IFREG => {
                self.ready(match flags & O_ACCMODE {
                    O_RDONLY => 1,
                    O_WRONLY => 2,
                    _ => 3,
                })?;
                Ok(self)
            }
            S_IFDIR => Ok(Arc::new(HostDir::new(self))),
            S_IFIFO => {
                let pipe = {
                    let mut slot = self.pipe.lock();
                    slot.upgrade().unwrap_or_else(|| {
                        let pipe = Pipe::new();
                        *slot = Arc::downgrade(&pipe);
                        pipe
                    })
                };
                let end = pipe.open_fifo(flags)?;
                Ok(end)
            }
            S_IFLNK => Err(Errno::ELOOP),
            S_IFSOCK => Err(Errno::ENXIO),
            // Device nodes of the host are never opened.
            _ => crate::fs::dev::open(self.attr.lock().rdev, self.kind, flags),
        }
    }
}

impl core::fmt::Debug for HostInode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("HostInode")
    }
}
