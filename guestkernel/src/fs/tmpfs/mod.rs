//! tmpfs: a file system in memory.
//!
//! Contents are frames by page number; a page that was never written reads as zero and has none. A memory
//! mapping points at the frames themselves, so that it and read(2) see the same bytes.
//!
//! Locks: an inode's `attr`, `body`, `xattrs` and `acls` are leaves; frames are copied from and to with it released, their references held.

mod acl;
mod file;
mod loose;
mod xattr;

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use hashbrown::HashMap;
use hostcall::{Attr, FileSystemStat, SetAttr, SetAttrValid};
use linux_raw_sys::general::{RENAME_EXCHANGE, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK};

use self::{acl::Acls, file::TmpMapping, xattr::Attributes};
use super::{
    acl::{Acl, Which},
    anon, dev,
    file::FileOps,
    inode::{Inode, NewNode},
    memfd::{F_SEAL_EXEC, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK},
    pipe::Pipe,
};
use crate::{
    errno::{Errno, Result},
    mem::{
        PAGE_SIZE,
        frame::{self, Frame},
    },
    mm::Mappers,
    sync::{Mutex, SpinLock},
};

const MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;

/// A mounted tmpfs.
#[derive(Debug)]
pub struct Tmpfs {
    dev: u64,
    next_ino: AtomicU64,
    /// Pages that files may have in all, and have.
    limit: AtomicU64,
    used: AtomicU64,
    /// Inodes that there may be, and are.
    most_inodes: AtomicU64,
    inodes: AtomicU64,
    /// Bytes that extended attributes take.
    xattr_bytes: AtomicU64,
    /// `statfs` type: that of tmpfs or of ramfs.
    magic: u64,
}

/// Most inodes unless said otherwise: one for every second page of memory, as Linux.
pub(super) fn most_inodes() -> u64 {
    frame::stats().total / PAGE_SIZE / 2
}

impl Tmpfs {
    /// A new one of at most `limit` bytes, with its root.
    #[must_use]
    pub fn mount(limit: u64, mode: u32, uid: u32, gid: u32) -> Arc<TmpInode> {
        Self::with_magic(MAGIC, limit.div_ceil(PAGE_SIZE)).top(mode, uid, gid)
    }

    /// A new ramfs: the same without limits.
    #[must_use]
    pub fn ramfs(mode: u32) -> Arc<TmpInode> {
        let fs = Self::with_magic(RAMFS_MAGIC, u64::MAX / PAGE_SIZE);
        fs.most_inodes.store(u64::MAX, Ordering::Relaxed);
        fs.top(mode, 0, 0)
    }

    fn top(self: &Arc<Self>, mode: u32, uid: u32, gid: u32) -> Arc<TmpInode> {
        self.inode(S_IFDIR | mode, uid, gid, Body::Dir(Directory::default()), 0)
    }

    fn with_magic(magic: u64, limit: u64) -> Arc<Self> {
        Arc::new(Self {
            dev: anon::next_dev(),
            next_ino: AtomicU64::new(1),
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
            most_inodes: AtomicU64::new(most_inodes()),
            inodes: AtomicU64::new(0),
            xattr_bytes: AtomicU64::new(0),
            magic,
        })
    }

    /// Changes how many pages and inodes there may be; `None` leaves it.
    ///
    /// # Errors
    /// `EINVAL`: there are more already.
    pub(super) fn set_limits(&self, pages: Option<u64>, inodes: Option<u64>) -> Result<()> {
        if pages.is_some_and(|limit| limit < self.used.load(Ordering::Relaxed))
            || inodes.is_some_and(|most| most < self.inodes.load(Ordering::Relaxed))
        {
            return Err(Errno::EINVAL);
        }
        if let Some(pages) = pages {
            self.limit.store(pages, Ordering::Relaxed);
        }
        if let Some(inodes) = inodes {
            self.most_inodes.store(inodes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn inode(self: &Arc<Self>, mode: u32, uid: u32, gid: u32, body: Body, rdev: u64) -> Arc<TmpInode> {
        let time = anon::now();
        let dir = mode & S_IFMT == S_IFDIR;
        self.inodes.fetch_add(1, Ordering::Relaxed);
        let attr = Attr {
            ino: self.next_ino.fetch_add(1, Ordering::Relaxed),
            dev: self.dev,
            mode,
            uid,
            gid,
            rdev,
            nlink: if dir { 2 } else { 1 },
            blksize: 4096,
            size: body.size(),
            atime: time,
            mtime: time,
            ctime: time,
            ..Attr::default()
        };
        Arc::new_cyclic(|weak| TmpInode {
            fs: self.clone(),
            kind: mode & S_IFMT,
            attr: SpinLock::new(attr),
            body: SpinLock::new(body),
            io: Mutex::new(()),
            seals: AtomicU32::new(F_SEAL_SEAL),
            readers: AtomicU32::new(0),
            mapping: SpinLock::new(Weak::new()),
            mappers: Mappers::new(),
            xattrs: SpinLock::new(Attributes::default()),
            acls: SpinLock::new(Acls::default()),
            weak: weak.clone(),
        })
    }

    /// A file without a name.
    pub(super) fn unnamed(self: &Arc<Self>, mode: u32, uid: u32, gid: u32, seals: u32) -> Arc<TmpInode> {
        let inode = self.inode(S_IFREG | mode, uid, gid, Body::File(BTreeMap::new()), 0);
        inode.attr.lock().nlink = 0;
        inode.seals.store(seals, Ordering::SeqCst);
        inode
    }

    /// One that is mounted nowhere.
    pub(super) fn unmounted() -> Arc<Self> {
        Self::with_magic(MAGIC, u64::MAX / PAGE_SIZE)
    }

    /// Whether there may be the inode that was just made.
    fn check_inodes(&self) -> Result<()> {
        let most = self.most_inodes.load(Ordering::Relaxed);
        if self.inodes.load(Ordering::Relaxed) > most { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    fn charge(&self) -> Result<()> {
        if self.used.fetch_add(1, Ordering::Relaxed) >= self.limit.load(Ordering::Relaxed) {
            self.used.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }
}

#[derive(Default)]
struct Directory {
    names: HashMap<Box<[u8]>, u64>,
    /// In order of making; the key is the cookie.
    entries: BTreeMap<u64, (Box<[u8]>, Arc<TmpInode>)>,
    next: u64,
}

impl Directory {
    fn get(&self, name: &[u8]) -> Option<&Arc<TmpInode>> {
        Some(&self.entries.get(self.names.get(name)?)?.1)
    }

    fn insert(&mut self, name: &[u8], inode: Arc<TmpInode>) {
        self.next += 1;
        self.names.insert(name.into(), self.next);
        self.entries.insert(self.next, (name.into(), inode));
    }

    fn remove(&mut self, name: &[u8]) -> Option<Arc<TmpInode>> {
        let cookie = self.names.remove(name)?;
        self.entries.remove(&cookie).map(|(_, inode)| inode)
    }
}

enum Body {
    Dir(Directory),
    File(BTreeMap<u64, Frame>),
    Link(Arc<[u8]>),
    Fifo(Weak<Pipe>),
    Node,
}

impl Body {
    fn size(&self) -> u64 {
        if let Self::Link(target) = self { target.len() as u64 } else { 0 }
    }
}

/// An object of a tmpfs.
pub struct TmpInode {
    fs: Arc<Tmpfs>,
    kind: u32,
    attr: SpinLock<Attr>,
    body: SpinLock<Body>,
    /// Held over what changes the size.
    io: Mutex<()>,
    /// What may not be done to a file's contents any more (`F_SEAL_*`).
    seals: AtomicU32,
    readers: AtomicU32,
    /// The file as memory, while anything maps it, and who does.
    mapping: SpinLock<Weak<TmpMapping>>,
    mappers: Mappers,
    xattrs: SpinLock<Attributes>,
    acls: SpinLock<Acls>,
    weak: Weak<TmpInode>,
}

impl Drop for TmpInode {
    fn drop(&mut self) {
        self.fs.inodes.fetch_sub(1, Ordering::Relaxed);
        self.drop_xattrs();
        self.drop_acls();
        if let Body::File(pages) = self.body.get_mut() {
            self.fs.used.fetch_sub(pages.len() as u64, Ordering::Relaxed);
        }
    }
}

impl TmpInode {
    /// The file system that it is of.
    pub(super) fn file_system(&self) -> &Arc<Tmpfs> {
        &self.fs
    }

    fn with_dir<T>(&self, f: impl FnOnce(&mut Directory) -> Result<T>) -> Result<T> {
        match &mut *self.body.lock() {
            Body::Dir(dir) => f(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn changed(&self, links: i64) {
        let mut attr = self.attr.lock();
        let time = anon::now();
        attr.mtime = time;
        attr.ctime = time;
        attr.nlink = attr.nlink.saturating_add_signed(links);
    }

    fn linked(&self, links: i64) {
        let mut attr = self.attr.lock();
        attr.ctime = anon::now();
        attr.nlink = attr.nlink.saturating_add_signed(links);
    }

    /// Adds a new inode.
    fn add_new(&self, name: &[u8], inode: Arc<Self>) -> Result<Arc<dyn Inode>> {
        self.hand_down(&inode)?;
        self.add(name, inode)
    }

    fn add(&self, name: &[u8], inode: Arc<Self>) -> Result<Arc<dyn Inode>> {
        let links = i64::from(inode.kind == S_IFDIR);
        self.fs.check_inodes()?;
        self.with_dir(|dir| {
            dir.insert(name, inode.clone());
            Ok(())
        })?;
        self.changed(links);
        Ok(inode)
    }
}

impl Inode for TmpInode {
    fn attr(&self) -> Result<Attr> {
        let mut attr = *self.attr.lock();
        match &*self.body.lock() {
            Body::File(pages) => attr.blocks = pages.len() as u64 * 8,
            Body::Dir(dir) => attr.size = 40 + 20 * dir.entries.len() as u64,
            _ => {}
        }
        Ok(attr)
    }

    fn access(&self) -> Result<Attr> {
        Ok(*self.attr.lock())
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        if change.valid & SetAttrValid::SIZE.bits() != 0 {
            let _io = self.io.lock();
            match change.size.cmp(&self.size()) {
                core::cmp::Ordering::Less => self.check_seals(F_SEAL_SHRINK)?,
                core::cmp::Ordering::Greater => self.check_seals(F_SEAL_GROW)?,
                core::cmp::Ordering::Equal => {}
            }
            self.resize(change.size);
            self.changed(0);
        }
        if change.valid & (SetAttrValid::UID | SetAttrValid::GID | SetAttrValid::SIZE).bits() != 0 {
            self.drop_file_capabilities();
        }
        if change.valid & SetAttrValid::MODE.bits() != 0 && (self.attr.lock().mode ^ change.mode) & 0o111 != 0
        {
            self.check_seals(F_SEAL_EXEC)?;
        }
        if change.valid & SetAttrValid::MODE.bits() != 0 {
            self.acl_follows(change.mode);
        }
        anon::apply(&mut self.attr.lock(), change);
        Ok(())
    }

    fn statfs(&self) -> Result<FileSystemStat> {
        let limit = self.fs.limit.load(Ordering::Relaxed);
        if limit == u64::MAX / PAGE_SIZE {
            return Ok(anon::plain_statfs(self.fs.magic));
        }
        let free = limit.saturating_sub(self.fs.used.load(Ordering::Relaxed));
        let files = self.fs.most_inodes.load(Ordering::Relaxed);
        Ok(FileSystemStat {
            blocks: limit,
            bfree: free,
            bavail: free,
            files,
            ffree: files.saturating_sub(self.fs.inodes.load(Ordering::Relaxed)),
            ..anon::plain_statfs(self.fs.magic)
        })
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.with_dir(|dir| Ok(dir.get(name).ok_or(Errno::ENOENT)?.clone() as Arc<dyn Inode>))
    }

    fn create(&self, name: &[u8], new: NewNode) -> Result<Arc<dyn Inode>> {
        let body = Body::File(BTreeMap::new());
        self.add_new(name, self.fs.inode(S_IFREG | new.mode & 0o7777, new.uid, new.gid, body, 0))
    }

    fn tmpfile(&self, new: NewNode) -> Result<Arc<dyn Inode>> {
        let inode = self.fs.unnamed(new.mode & 0o7777, new.uid, new.gid, F_SEAL_SEAL);
        self.fs.check_inodes()?;
        self.hand_down(&inode)?;
        Ok(inode)
    }

    fn mkdir(&self, name: &[u8], new: NewNode) -> Result<Arc<dyn Inode>> {
        let body = Body::Dir(Directory::default());
        self.add_new(name, self.fs.inode(S_IFDIR | new.mode & 0o7777, new.uid, new.gid, body, 0))
    }

    fn mknod(&self, name: &[u8], new: NewNode, rdev: u64) -> Result<Arc<dyn Inode>> {
        let body = if new.mode & S_IFMT == S_IFIFO { Body::Fifo(Weak::new()) } else { Body::Node };
        self.add_new(name, self.fs.inode(new.mode, new.uid, new.gid, body, rdev))
    }

    fn symlink(&self, name: &[u8], target: &[u8], new: NewNode) -> Result<Arc<dyn Inode>> {
        self.add_new(name, self.fs.inode(S_IFLNK | 0o777, new.uid, new.gid, Body::Link(target.into()), 0))
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let target = target.downcast::<Self>().ok_or(Errno::EXDEV)?;
        if !Arc::ptr_eq(&target.fs, &self.fs) {
            return Err(Errno::EXDEV);
        }
        target.linked(1);
        let inode = target.weak.upgrade().ok_or(Errno::ESTALE)?;
        self.add(name, inode).map(drop)
    }

    fn unlink(&self, name: &[u8], _victim: &Arc<dyn Inode>) -> Result<()> {
        let gone = self.with_dir(|dir| dir.remove(name).ok_or(Errno::ENOENT))?;
        gone.linked(-1);
        self.changed(0);
        Ok(())
    }

    fn rmdir(&self, name: &[u8], victim: &Arc<dyn Inode>) -> Result<()> {
        let victim = victim.downcast::<Self>().ok_or(Errno::ENOTDIR)?;
        victim.with_dir(|dir| if dir.entries.is_empty() { Ok(()) } else { Err(Errno::ENOTEMPTY) })?;
        let gone = self.with_dir(|dir| dir.remove(name).ok_or(Errno::ENOENT))?;
        gone.linked(-2);
        self.changed(-1);
        Ok(())
    }

    fn rename(&self, old: &[u8], new_dir: &Arc<dyn Inode>, new: &[u8], flags: u32) -> Result<()> {
        let to = new_dir.downcast::<Self>().ok_or(Errno::EXDEV)?;
        if !Arc::ptr_eq(&to.fs, &self.fs) {
            return Err(Errno::EXDEV);
        }
        let source = self.with_dir(|dir| dir.get(old).cloned().ok_or(Errno::ENOENT))?;
        let target = to.with_dir(|dir| Ok(dir.get(new).cloned()))?;
        let dirs = |inode: &Arc<Self>| i64::from(inode.kind == S_IFDIR);
        if flags & RENAME_EXCHANGE != 0 {
            let target = target.ok_or(Errno::ENOENT)?;
            let delta = dirs(&target) - dirs(&source);
            self.with_dir(|dir| {
                dir.remove(old);
                dir.insert(old, target.clone());
                Ok(())
            })?;
            to.with_dir(|dir| {
                dir.remove(new);
                dir.insert(new, source.clone());
                Ok(())
            })?;
            self.changed(delta);
            to.changed(-delta);
            return Ok(());
        }
        if let Some(target) = &target {
            if target.kind == S_IFDIR {
                target.with_dir(|dir| if dir.entries.is_empty() { Ok(()) } else { Err(Errno::ENOTEMPTY) })?;
            }
            to.with_dir(|dir| Ok(dir.remove(new)))?;
            target.linked(if target.kind == S_IFDIR { -2 } else { -1 });
            to.changed(-dirs(target));
        }
        self.with_dir(|dir| Ok(dir.remove(old)))?;
        self.changed(-dirs(&source));
        to.with_dir(|dir| {
            dir.insert(new, source.clone());
            Ok(())
        })?;
        to.changed(dirs(&source));
        source.linked(0);
        Ok(())
    }

    fn readlink(&self) -> Result<Arc<[u8]>> {
        match &*self.body.lock() {
            Body::Link(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
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
        self.kept_acl(which)
    }

    fn set_acl(&self, which: Which, acl: Option<Acl>) -> Result<()> {
        self.change_acl(which, acl)
    }

    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn FileOps>> {
        match self.kind {
            S_IFIFO => {
                let pipe = match &mut *self.body.lock() {
                    Body::Fifo(slot) => slot.upgrade().unwrap_or_else(|| {
                        let pipe = Pipe::new();
                        *slot = Arc::downgrade(&pipe);
                        pipe
                    }),
                    _ => return Err(Errno::ENXIO),
                };
                let end = pipe.open_fifo(flags)?;
                Ok(end)
            }
            S_IFREG | S_IFDIR => Ok(self),
            S_IFLNK => Err(Errno::ELOOP),
            S_IFSOCK => Err(Errno::ENXIO),
            kind => dev::open(self.attr.lock().rdev, kind, flags),
        }
    }
}

impl core::fmt::Debug for TmpInode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TmpInode")
    }
}
