//! Inodes of an overlay: attributes, and what brings them above.

use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use hostcall::{Attr, FileSystemStat, SetAttr, SetAttrValid};
use linux_raw_sys::general::{O_ACCMODE, O_RDONLY, O_TRUNC, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};

use super::{
    FIRST_INO, Kept, Key, Overlay,
    dir::{Names, OverlayDir},
    file,
};
use crate::{
    errno::{Errno, Result},
    fs::{
        acl::{Acl, Which},
        file::FileOps,
        inode::{Caching, Inode, NewNode},
        tmpfs::TmpInode,
    },
    sync::{Mutex, Once, SpinLock},
};

/// `OVERLAYFS_SUPER_MAGIC`.
const MAGIC: u64 = 0x794c_7630;

/// An object of an overlay.
pub struct OverlayInode {
    pub(super) fs: Arc<Overlay>,
    kind: u32,
    /// Of what is below, if it was below first.
    key: Option<Key>,
    /// What is below, for as long as it is needed: a directory's for good, a file's until its contents are above.
    pub(super) lower: SpinLock<Option<Arc<dyn Inode>>>,
    /// Attributes, and contents unless they are below, once anything was changed.
    upper: Once<Arc<TmpInode>>,
    /// A file's contents are those below.
    pub(super) contents_below: AtomicBool,
    /// Held over what brings it above.
    pub(super) above: Mutex<()>,
    /// Links more than what is above or below counts.
    links: AtomicI64,
    pub(super) names: SpinLock<Names>,
    readers: AtomicU32,
    /// The root's: what is kept.
    pub(super) keeps: Once<Arc<Kept>>,
    weak: Weak<OverlayInode>,
}

impl OverlayInode {
    fn new(fs: Arc<Overlay>, kind: u32, key: Option<Key>, lower: Option<Arc<dyn Inode>>) -> Arc<Self> {
        Arc::new_cyclic(|weak| Self {
            fs,
            kind,
            key,
            contents_below: AtomicBool::new(lower.is_some() && kind == S_IFREG),
            lower: SpinLock::new(lower),
            upper: Once::new(),
            above: Mutex::new(()),
            links: AtomicI64::new(0),
            names: SpinLock::new(Names::default()),
            readers: AtomicU32::new(0),
            keeps: Once::new(),
            weak: weak.clone(),
        })
    }

    pub(super) fn showing(fs: Arc<Overlay>, lower: Arc<dyn Inode>, key: Key) -> Arc<Self> {
        Self::new(fs, lower.kind(), Some(key), Some(lower))
    }

    /// One that there was not below.
    pub(super) fn made(fs: Arc<Overlay>, upper: Arc<TmpInode>) -> Arc<Self> {
        let inode: &dyn Inode = &*upper;
        let made = Self::new(fs, inode.kind(), None, None);
        made.upper.call_once(|| upper);
        made
    }

    pub(super) fn arc(&self) -> Result<Arc<Self>> {
        self.weak.upgrade().ok_or(Errno::ESTALE)
    }

    pub(super) fn lower(&self) -> Option<Arc<dyn Inode>> {
        self.lower.lock().clone()
    }

    pub(super) fn upper(&self) -> Option<&Arc<TmpInode>> {
        self.upper.get()
    }

    /// Whichever has the attributes.
    fn top(&self) -> Result<Arc<dyn Inode>> {
        match self.upper.get() {
            Some(upper) => Ok(upper.clone()),
            None => self.lower().ok_or(Errno::ESTALE),
        }
    }

    /// Makes `attr` this inode's.
    fn shown(&self, mut attr: Attr) -> Attr {
        match self.key {
            Some((dev, ino)) => (attr.dev, attr.ino) = (dev, ino),
            None => (attr.dev, attr.ino) = (self.fs.dev, attr.ino + FIRST_INO),
        }
        attr.nlink = attr.nlink.saturating_add_signed(self.links.load(Ordering::SeqCst));
        attr
    }

    /// The number that a listing shows.
    pub(super) fn number(&self) -> u64 {
        self.key.map_or_else(
            || self.upper.get().and_then(|upper| upper.access().ok()).map_or(0, |attr| attr.ino + FIRST_INO),
            |(_, ino)| ino,
        )
    }

    /// Brings the attributes above, with `above` held.
    pub(super) fn raise_locked(&self) -> Result<&Arc<TmpInode>> {
        if let Some(upper) = self.upper.get() {
            return Ok(upper);
        }
        let lower = self.lower().ok_or(Errno::ESTALE)?;
        let attr = lower.attr()?;
        let target = if self.kind == S_IFLNK { Some(lower.readlink()?) } else { None };
        let new = NewNode { mode: attr.mode, uid: attr.uid, gid: attr.gid };
        let upper = self.fs.upper.loose(new, attr.rdev, target)?;
        for name in lower.list_xattr()? {
            if Which::by_name(&name).is_some() {
                continue;
            }
            match lower.get_xattr(&name) {
                Ok(value) => upper.set_xattr(&name, Some(&value), 0)?,
                // It went meanwhile, or is the host's own affair.
                Err(Errno::ENODATA | Errno::EOPNOTSUPP) => {}
                Err(error) => return Err(error),
            }
        }
        for which in [Which::Access, Which::Default] {
            match lower.acl(which) {
                Ok(Some(acl)) => upper.set_acl(which, Some(Acl::clone(&acl)))?,
                Ok(None) | Err(Errno::EOPNOTSUPP) => {}
                Err(error) => return Err(error),
            }
        }
        upper.stand_for(&attr);
        let upper = self.upper.call_once(|| upper);
        self.keep();
        if !matches!(self.kind, S_IFREG | S_IFDIR) {
            self.lower.lock().take();
        }
        Ok(upper)
    }

    /// Brings the attributes above.
    pub(super) fn raise(&self) -> Result<&Arc<TmpInode>> {
        if let Some(upper) = self.upper.get() {
            return Ok(upper);
        }
        let _above = self.above.lock();
        self.raise_locked()
    }

    /// The name below must go on leading here.
    fn keep(&self) {
        if let Some(key) = self.key.filter(|_| self.keeps.get().is_none()) {
            let gone = self.access().is_ok_and(|attr| attr.nlink == 0);
            self.fs.keep(key, self.weak.upgrade().filter(|_| !gone));
        }
    }

    /// Counts a link more or less.
    pub(super) fn link_count_changed(&self, by: i64) {
        self.links.fetch_add(by, Ordering::SeqCst);
        if let Some(upper) = self.upper.get() {
            upper.links_changed();
        }
        self.keep();
    }
}

impl Drop for OverlayInode {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.fs.forget(key);
        }
        // Directories in directories, one after the other and not one within the other.
        let mut rest = self.names.get_mut().take(&self.fs.upper);
        while let Some(node) = rest.pop() {
            if let Some(mut inner) = Arc::into_inner(node) {
                rest.extend(inner.names.get_mut().take(&inner.fs.upper));
            }
        }
    }
}

impl Inode for OverlayInode {
    fn attr(&self) -> Result<Attr> {
        let mut attr = self.top()?.attr()?;
        if self.upper.get().is_some()
            && self.contents_below.load(Ordering::SeqCst)
            && let Some(lower) = self.lower()
        {
            attr.blocks = lower.attr()?.blocks;
        }
        Ok(self.shown(attr))
    }

    fn access(&self) -> Result<Attr> {
        Ok(self.shown(self.top()?.access()?))
    }

    fn size(&self) -> Result<u64> {
        self.top()?.size()
    }

    fn generation(&self) -> u64 {
        self.lower().map_or(0, |lower| lower.generation())
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn caching(&self) -> Caching {
        self.lower().map_or(Caching::Full, |lower| lower.caching())
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        if change.valid & SetAttrValid::SIZE.bits() != 0 {
            self.raise_contents(change.size)?;
        }
        let _above = self.above.lock();
        self.raise_locked()?.set_attr(change)
    }

    fn statfs(&self) -> Result<FileSystemStat> {
        Ok(FileSystemStat { kind: MAGIC, ..self.fs.room.statfs()? })
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        Ok(self.find(name)?)
    }

    fn create(&self, name: &[u8], new: NewNode) -> Result<Arc<dyn Inode>> {
        self.make(name, NewNode { mode: S_IFREG | new.mode & 0o7777, ..new }, 0, None)
    }

    fn tmpfile(&self, new: NewNode) -> Result<Arc<dyn Inode>> {
        let new = NewNode { mode: S_IFREG | new.mode & 0o7777, ..new };
        let upper = self.fs.upper.loose(new, 0, None)?;
        self.raise()?.hand_down(&upper)?;
        let made = Self::made(self.fs.clone(), upper);
        made.links.store(-1, Ordering::SeqCst);
        Ok(made)
    }

    fn mkdir(&self, name: &[u8], new: NewNode) -> Result<Arc<dyn Inode>> {
        self.make(name, NewNode { mode: S_IFDIR | new.mode & 0o7777, ..new }, 0, None)
    }

    fn mknod(&self, name: &[u8], new: NewNode, rdev: u64) -> Result<Arc<dyn Inode>> {
        debug_assert_ne!(new.mode & S_IFMT, 0);
        self.make(name, new, rdev, None)
    }

    fn symlink(&self, name: &[u8], target: &[u8], new: NewNode) -> Result<Arc<dyn Inode>> {
        self.make(name, NewNode { mode: S_IFLNK | 0o777, ..new }, 0, Some(target.into()))
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let target = self.of_same(target)?.arc()?;
        self.raise()?;
        self.put(name, target.clone())?;
        target.link_count_changed(1);
        Ok(())
    }

    fn unlink(&self, name: &[u8], victim: &Arc<dyn Inode>) -> Result<()> {
        let victim = self.of_same(victim)?;
        self.raise()?;
        self.take_away(name)?;
        victim.link_count_changed(-1);
        Ok(())
    }

    fn rmdir(&self, name: &[u8], victim: &Arc<dyn Inode>) -> Result<()> {
        let victim = self.of_same(victim)?;
        victim.check_empty()?;
        self.raise()?;
        self.take_away(name)?;
        victim.link_count_changed(-2);
        self.link_count_changed(-1);
        Ok(())
    }

    fn rename(&self, old: &[u8], new_dir: &Arc<dyn Inode>, new: &[u8], flags: u32) -> Result<()> {
        self.move_name(old, self.of_same(new_dir)?, new, flags)
    }

    fn readlink(&self) -> Result<Arc<[u8]>> {
        self.top()?.readlink()
    }

    fn readers(&self) -> Option<&AtomicU32> {
        Some(&self.readers)
    }

    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn FileOps>> {
        match self.kind {
            S_IFREG => {
                if flags & O_ACCMODE != O_RDONLY || flags & O_TRUNC != 0 {
                    self.raise_contents(if flags & O_TRUNC != 0 { 0 } else { u64::MAX })?;
                } else {
                    self.contents()?;
                }
                Ok(self)
            }
            S_IFDIR => Ok(Arc::new(OverlayDir::new(self))),
            _ => self.top()?.open(flags),
        }
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.top()?.get_xattr(name)
    }

    fn set_xattr(&self, name: &[u8], value: Option<&[u8]>, flags: u32) -> Result<()> {
        if value.is_none() && self.upper.get().is_none() {
            // What is not there is not removed, and nothing changes.
            self.get_xattr(name)?;
        }
        self.raise()?.set_xattr(name, value, flags)
    }

    fn acl(&self, which: Which) -> Result<Option<Arc<Acl>>> {
        match self.top()?.acl(which) {
            // Above there can be lists, whatever the host's file system keeps.
            Err(Errno::EOPNOTSUPP) => Ok(None),
            acl => acl,
        }
    }

    fn set_acl(&self, which: Which, acl: Option<Acl>) -> Result<()> {
        self.raise()?.set_acl(which, acl)
    }

    fn list_xattr(&self) -> Result<Vec<Box<[u8]>>> {
        self.top()?.list_xattr()
    }
}

impl OverlayInode {
    /// The inode as one of this overlay.
    fn of_same<'a>(&self, inode: &'a Arc<dyn Inode>) -> Result<&'a Self> {
        inode.downcast::<Self>().filter(|inode| Arc::ptr_eq(&inode.fs, &self.fs)).ok_or(Errno::EXDEV)
    }

    /// Brings a file's contents above, the first `limit` bytes of them; the rest is about to be cut off.
    pub(super) fn raise_contents(&self, limit: u64) -> Result<()> {
        if !self.contents_below.load(Ordering::SeqCst) {
            return Ok(());
        }
        let _above = self.above.lock();
        let upper = self.raise_locked()?;
        if self.contents_below.load(Ordering::SeqCst) {
            file::copy(&*self.contents()?, &self.arc()?, upper, limit)?;
            self.contents_below.store(false, Ordering::SeqCst);
            self.lower.lock().take();
        }
        Ok(())
    }
}

impl core::fmt::Debug for OverlayInode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("OverlayInode")
    }
}
