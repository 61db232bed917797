//! tmpfs: a file system in memory.
//!
//! Contents are frames by page number; a page that was never written reads as zero and has none. A memory
//! mapping points at the frames themselves, so that it and read(2) see the same bytes.
//!
//! Locks: an inode's `body` is a leaf; frames are copied from and to with it released, their references held.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use hashbrown::HashMap;
use hostcall::{Attr, FileSystemStat, SetAttr, SetAttrValid};
use linux_raw_sys::general::{
    FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, RENAME_EXCHANGE, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG,
    S_IFSOCK,
};

use super::{
    anon, copy, dev,
    file::{File, FileOps, shown_path},
    inode::{Dirent, Inode, NewNode, dirent_kind},
    memfd::{F_SEAL_EXEC, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE},
    mount::Path,
    pipe::Pipe,
};
use crate::{
    arch::write_phys,
    errno::{Errno, Result},
    mem::{
        PAGE_SIZE,
        frame::{self, Frame},
    },
    mm::{Mappable, Mappers, ObjectName, PageSource, Zap},
    sync::{Mutex, SpinLock},
    uio::{Sink, Source},
};

const MAGIC: u64 = 0x0102_1994;

/// A mounted tmpfs.
#[derive(Debug)]
pub struct Tmpfs {
    dev: u64,
    next_ino: AtomicU64,
    /// Pages that files may have in all, and have.
    limit: u64,
    used: AtomicU64,
    /// Inodes that there are.
    inodes: AtomicU64,
}

/// Most inodes: one for every second page of memory, as Linux.
fn most_inodes() -> u64 {
    frame::stats().total / PAGE_SIZE / 2
}

impl Tmpfs {
    /// A new one of at most `limit` bytes, with its root.
    #[must_use]
    pub fn mount(limit: u64, mode: u32, uid: u32, gid: u32) -> Arc<TmpInode> {
        let fs = Arc::new(Self {
            dev: anon::next_dev(),
            next_ino: AtomicU64::new(1),
            limit: limit.div_ceil(PAGE_SIZE),
            used: AtomicU64::new(0),
            inodes: AtomicU64::new(0),
        });
        fs.inode(S_IFDIR | mode, uid, gid, Body::Dir(Directory::default()), 0)
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
            mapping: SpinLock::new(Weak::new()),
            mappers: Mappers::new(),
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
        Arc::new(Self {
            dev: anon::next_dev(),
            next_ino: AtomicU64::new(1),
            limit: u64::MAX / PAGE_SIZE,
            used: AtomicU64::new(0),
            inodes: AtomicU64::new(0),
        })
    }

    fn charge(&self) -> Result<()> {
        if self.used.fetch_add(1, Ordering::Relaxed) >= self.limit {
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
    /// The file as memory, while anything maps it, and who does.
    mapping: SpinLock<Weak<TmpMapping>>,
    mappers: Mappers,
    weak: Weak<TmpInode>,
}

impl Drop for TmpInode {
    fn drop(&mut self) {
        self.fs.inodes.fetch_sub(1, Ordering::Relaxed);
        if let Body::File(pages) = self.body.get_mut() {
            self.fs.used.fetch_sub(pages.len() as u64, Ordering::Relaxed);
        }
    }
}

impl TmpInode {
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

    fn add(&self, name: &[u8], inode: Arc<Self>) -> Result<Arc<dyn Inode>> {
        let links = i64::from(inode.kind == S_IFDIR);
        if self.fs.inodes.load(Ordering::Relaxed) > most_inodes() {
            return Err(Errno::ENOSPC);
        }
        self.with_dir(|dir| {
            dir.insert(name, inode.clone());
            Ok(())
        })?;
        self.changed(links);
        Ok(inode)
    }

    /// The page's frame; with `make` a fresh one where there is none.
    fn frame(&self, index: u64, make: bool) -> Result<Option<Frame>> {
        let mut body = self.body.lock();
        let Body::File(pages) = &mut *body else { return Err(Errno::EINVAL) };
        if let Some(frame) = pages.get(&index) {
            return Ok(Some(frame.clone()));
        }
        if !make {
            return Ok(None);
        }
        self.fs.charge()?;
        let Some(frame) = frame::alloc_zeroed() else {
            self.fs.used.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::ENOMEM);
        };
        pages.insert(index, frame.clone());
        Ok(Some(frame))
    }

    fn size(&self) -> u64 {
        self.attr.lock().size
    }

    fn resize(&self, size: u64) {
        let old = core::mem::replace(&mut self.attr.lock().size, size);
        if size >= old {
            return;
        }
        let cut = {
            let mut body = self.body.lock();
            let Body::File(pages) = &mut *body else { return };
            if !size.is_multiple_of(PAGE_SIZE)
                && let Some(frame) = pages.get(&(size / PAGE_SIZE))
            {
                clear(frame, size % PAGE_SIZE, PAGE_SIZE);
            }
            pages.split_off(&size.div_ceil(PAGE_SIZE))
        };
        self.mappers.zap(size.div_ceil(PAGE_SIZE), u64::MAX, Zap::All);
        self.fs.used.fetch_sub(cut.len() as u64, Ordering::Relaxed);
        drop(cut);
    }

    fn punch(&self, offset: u64, len: u64) {
        let end = offset.saturating_add(len);
        let mut gone = BTreeMap::new();
        {
            let mut body = self.body.lock();
            let Body::File(pages) = &mut *body else { return };
            let inside: Vec<u64> =
                pages.range(offset / PAGE_SIZE..end.div_ceil(PAGE_SIZE)).map(|(&i, _)| i).collect();
            for index in inside {
                let start = index * PAGE_SIZE;
                let (from, to) = (offset.max(start) - start, (end - start).min(PAGE_SIZE));
                if from == 0 && to == PAGE_SIZE {
                    gone.extend(pages.remove_entry(&index));
                    self.fs.used.fetch_sub(1, Ordering::Relaxed);
                } else if let Some(frame) = pages.get(&index) {
                    clear(frame, from, to);
                }
            }
        }
        let is_gone = |index, addr| gone.get(&index).is_some_and(|frame: &Frame| frame.addr() == addr);
        self.mappers.zap(offset / PAGE_SIZE, end.div_ceil(PAGE_SIZE), Zap::Only(&is_gone));
    }

    /// Refuses what a seal of `seals` forbids.
    fn check_seals(&self, seals: u32) -> Result<()> {
        if self.seals.load(Ordering::SeqCst) & seals != 0 { Err(Errno::EPERM) } else { Ok(()) }
    }
}

/// Clears bytes of a frame.
fn clear(frame: &Frame, from: u64, to: u64) {
    const ZEROES: [u8; 512] = [0; 512];
    let mut at = from;
    while at < to {
        let step = (to - at).min(512);
        write_phys(frame.addr().add(at), &ZEROES[..step as usize]);
        at += step;
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
        if change.valid & SetAttrValid::MODE.bits() != 0 && (self.attr.lock().mode ^ change.mode) & 0o111 != 0
        {
            self.check_seals(F_SEAL_EXEC)?;
        }
        anon::apply(&mut self.attr.lock(), change);
        Ok(())
    }

    fn statfs(&self) -> Result<FileSystemStat> {
        let free = self.fs.limit.saturating_sub(self.fs.used.load(Ordering::Relaxed));
        Ok(FileSystemStat {
            blocks: self.fs.limit,
            bfree: free,
            bavail: free,
            files: most_inodes(),
            ffree: most_inodes().saturating_sub(self.fs.inodes.load(Ordering::Relaxed)),
            ..anon::plain_statfs(MAGIC)
        })
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.with_dir(|dir| Ok(dir.get(name).ok_or(Errno::ENOENT)?.clone() as Arc<dyn Inode>))
    }

    fn create(&self, name: &[u8], new: NewNode) -> Result<Arc<dyn Inode>> {
        let body = Body::File(BTreeMap::new());
        self.add(name, self.fs.inode(S_IFREG | new.mode & 0o7777, new.uid, new.gid, body, 0))
    }

    fn mkdir(&self, name: &[u8], new: NewNode) -> Result<Arc<dyn Inode>> {
        let body = Body::Dir(Directory::default());
        self.add(name, self.fs.inode(S_IFDIR | new.mode & 0o7777, new.uid, new.gid, body, 0))
    }

    fn mknod(&self, name: &[u8], new: NewNode, rdev: u64) -> Result<Arc<dyn Inode>> {
        let body = if new.mode & S_IFMT == S_IFIFO { Body::Fifo(Weak::new()) } else { Body::Node };
        self.add(name, self.fs.inode(new.mode, new.uid, new.gid, body, rdev))
    }

    fn symlink(&self, name: &[u8], target: &[u8], new: NewNode) -> Result<Arc<dyn Inode>> {
        self.add(name, self.fs.inode(S_IFLNK | 0o777, new.uid, new.gid, Body::Link(target.into()), 0))
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

impl FileOps for TmpInode {
    fn read_at(&self, _file: &File, sink: &mut Sink<'_>, offset: u64) -> Result<usize> {
        if self.kind == S_IFDIR {
            return Err(Errno::EISDIR);
        }
        let size = self.size();
        let want = size.saturating_sub(offset).min(sink.remaining() as u64);
        let mut done = 0;
        while done < want {
            let at = offset + done;
            let step = (PAGE_SIZE - at % PAGE_SIZE).min(want - done);
            let moved = match self.frame(at / PAGE_SIZE, false)? {
                Some(frame) => copy::to_sink(sink, frame.addr().add(at % PAGE_SIZE), step as usize),
                None => sink.write_zeros(step as usize),
            };
            match moved {
                Ok(moved) => {
                    done += moved as u64;
                    if (moved as u64) < step {
                        break;
                    }
                }
                Err(_) if done != 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done as usize)
    }

    fn write_at(&self, _file: &File, source: &mut Source<'_>, offset: u64) -> Result<usize> {
        let _io = self.io.lock();
        self.write_locked(source, offset)
    }

    fn append(&self, _file: &File, source: &mut Source<'_>) -> Result<(usize, u64)> {
        let _io = self.io.lock();
        let end = self.size();
        let done = self.write_locked(source, end)?;
        Ok((done, end + done as u64))
    }

    fn read_dir(&self, _file: &File, cookie: u64, emit: &mut dyn FnMut(&Dirent<'_>) -> bool) -> Result<()> {
        // Entries leave in small batches: `emit` copies to user memory.
        let mut from = cookie + 1;
        loop {
            let batch: Vec<(u64, Box<[u8]>, Arc<Self>)> = self.with_dir(|dir| {
                let rest = dir.entries.range(from..).take(32);
                Ok(rest.map(|(&cookie, (name, inode))| (cookie, name.clone(), inode.clone())).collect())
            })?;
            if batch.is_empty() {
                return Ok(());
            }
            for (next, name, inode) in &batch {
                let ino = inode.attr.lock().ino;
                if !emit(&Dirent { ino, next: *next, kind: dirent_kind(inode.kind), name }) {
                    return Ok(());
                }
                from = next + 1;
            }
        }
    }

    fn mappable(&self, file: &File) -> Result<Arc<dyn Mappable>> {
        if self.kind != S_IFREG {
            return Err(Errno::ENODEV);
        }
        let mut slot = self.mapping.lock();
        if let Some(mapping) = slot.upgrade() {
            return Ok(mapping);
        }
        let inode = self.weak.upgrade().ok_or(Errno::ESTALE)?;
        let mapping = Arc::new(TmpMapping { inode, path: file.path().clone() });
        *slot = Arc::downgrade(&mapping);
        Ok(mapping)
    }

    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let _io = self.io.lock();
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        if mode & FALLOC_FL_PUNCH_HOLE != 0 {
            if mode != FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE {
                return Err(Errno::EOPNOTSUPP);
            }
            self.check_seals(F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)?;
            self.punch(offset, len);
            return Ok(());
        }
        if mode & !FALLOC_FL_KEEP_SIZE != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if mode & FALLOC_FL_KEEP_SIZE == 0 && end > self.size() {
            self.check_seals(F_SEAL_GROW)?;
        }
        for index in offset / PAGE_SIZE..end.div_ceil(PAGE_SIZE) {
            self.frame(index, true)?;
        }
        if mode & FALLOC_FL_KEEP_SIZE == 0 && end > self.size() {
            self.resize(end);
        }
        Ok(())
    }
}

impl TmpInode {
    /// The seals, of a file.
    pub(super) fn seals(&self) -> Option<u32> {
        (self.kind == S_IFREG).then(|| self.seals.load(Ordering::SeqCst))
    }

    /// Adds seals.
    ///
    /// # Errors
    /// `EPERM` when there may be no more; `EBUSY` when a mapping exists that writes.
    pub(super) fn add_seals(&self, mut seals: u32) -> Result<()> {
        let _io = self.io.lock();
        let old = self.seals.load(Ordering::SeqCst);
        if old & F_SEAL_SEAL != 0 {
            return Err(Errno::EPERM);
        }
        if seals & F_SEAL_EXEC != 0 && self.attr.lock().mode & 0o111 != 0 {
            seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
        }
        // Set before mappings are looked for: one that comes now sees it.
        self.seals.store(old | seals, Ordering::SeqCst);
        if seals & F_SEAL_WRITE != 0 && old & F_SEAL_WRITE == 0 && self.mappers.any_writable() {
            self.seals.store(old, Ordering::SeqCst);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    fn write_locked(&self, source: &mut Source<'_>, offset: u64) -> Result<usize> {
        self.check_seals(F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)?;
        if offset.saturating_add(source.remaining() as u64) > self.size() {
            self.check_seals(F_SEAL_GROW)?;
        }
        let mut done = 0;
        let mut result = Ok(());
        while source.remaining() != 0 {
            let at = offset + done;
            let step = (PAGE_SIZE - at % PAGE_SIZE).min(source.remaining() as u64);
            if !frame::has_room_for(PAGE_SIZE) {
                result = Err(Errno::ENOMEM);
                break;
            }
            let moved = self.frame(at / PAGE_SIZE, true).and_then(|frame| {
                let frame = frame.ok_or(Errno::EIO)?;
                copy::from_source(source, frame.addr().add(at % PAGE_SIZE), step as usize)
            });
            match moved {
                Ok(moved) => {
                    done += moved as u64;
                    if (moved as u64) < step {
                        break;
                    }
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        if done != 0 {
            let mut attr = self.attr.lock();
            attr.size = attr.size.max(offset + done);
            let time = anon::now();
            attr.mtime = time;
            attr.ctime = time;
            return Ok(done as usize);
        }
        result.map(|()| 0)
    }
}

/// A tmpfs file as memory.
struct TmpMapping {
    inode: Arc<TmpInode>,
    /// Where it was first mapped from.
    path: Path,
}

impl Mappable for TmpMapping {
    fn page(&self, index: u64, _write: bool) -> Result<PageSource> {
        let offset = index.checked_mul(PAGE_SIZE).ok_or(Errno::ENXIO)?;
        if offset >= self.inode.size() {
            return Err(Errno::ENXIO);
        }
        let frame = self.inode.frame(index, true)?.ok_or(Errno::ENXIO)?;
        Ok(PageSource::Frame(frame))
    }

    fn name(&self) -> ObjectName {
        let attr = *self.inode.attr.lock();
        ObjectName { dev: attr.dev, ino: attr.ino, path: shown_path(&self.path) }
    }

    fn mappers(&self) -> Option<&Mappers> {
        Some(&self.inode.mappers)
    }

    fn admit_shared(&self, write: bool) -> Result<bool> {
        let sealed = self.inode.check_seals(F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
        if write { sealed.map(|()| true) } else { Ok(sealed.is_ok()) }
    }

    fn resident_in(&self, range: core::ops::Range<u64>) -> u64 {
        match &*self.inode.body.lock() {
            Body::File(pages) if range.start < range.end => pages.range(range).count() as u64,
            _ => 0,
        }
    }

    fn resident(&self, index: u64) -> bool {
        matches!(&*self.inode.body.lock(), Body::File(pages) if pages.contains_key(&index))
    }

    fn remove(&self, offset: u64, len: u64) -> Result<()> {
        self.inode.allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len)
    }
}

impl core::fmt::Debug for TmpInode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TmpInode")
    }
}
