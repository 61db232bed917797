//! Contents of tmpfs files: reading, writing, holes, seals, memory mappings.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;
use linux_raw_sys::general::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, S_IFDIR, S_IFREG};

use super::{Body, TmpInode};
use crate::{
    arch::write_phys,
    errno::{Errno, Result},
    fs::{
        anon, copy,
        file::{File, FileOps, shown_path},
        inode::{Dirent, dirent_kind},
        memfd::{F_SEAL_EXEC, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE},
        mount::Path,
    },
    mem::{
        PAGE_SIZE,
        frame::{self, Frame},
    },
    mm::{Mappable, Mappers, ObjectName, PageSource, Zap},
    uio::{Sink, Source},
};

impl TmpInode {
    /// The page's frame; with `make` a fresh one where there is none.
    pub(super) fn frame(&self, index: u64, make: bool) -> Result<Option<Frame>> {
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

    pub(super) fn size(&self) -> u64 {
        self.attr.lock().size
    }

    pub(super) fn resize(&self, size: u64) {
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

    pub(super) fn punch(&self, offset: u64, len: u64) {
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
    pub(super) fn check_seals(&self, seals: u32) -> Result<()> {
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

    fn seek_data(&self, _file: &File, offset: u64, hole: bool) -> Result<u64> {
        let size = self.size();
        let body = self.body.lock();
        let Body::File(pages) = &*body else { return Err(Errno::EINVAL) };
        let mut index = offset / PAGE_SIZE;
        let mut rest = pages.range(index..);
        if hole {
            while rest.next().is_some_and(|(&page, _)| page == index) {
                index += 1;
            }
            return Ok((index * PAGE_SIZE).max(offset).min(size));
        }
        let next = rest.next().map(|(&page, _)| (page * PAGE_SIZE).max(offset));
        next.filter(|&next| next < size).ok_or(Errno::ENXIO)
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
        if end > self.size() {
            self.check_seals(F_SEAL_GROW)?;
        }
        for index in offset / PAGE_SIZE..end.div_ceil(PAGE_SIZE) {
            if !frame::has_room_for(PAGE_SIZE) {
                return Err(Errno::ENOSPC);
            }
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
    pub(in crate::fs) fn seals(&self) -> Option<u32> {
        (self.kind == S_IFREG).then(|| self.seals.load(Ordering::SeqCst))
    }

    /// Adds seals.
    ///
    /// # Errors
    /// `EPERM` when there may be no more; `EBUSY` when a mapping exists that writes.
    pub(in crate::fs) fn add_seals(&self, mut seals: u32) -> Result<()> {
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
            drop(attr);
            self.drop_file_capabilities();
            return Ok(done as usize);
        }
        result.map(|()| 0)
    }
}

/// A tmpfs file as memory.
pub(super) struct TmpMapping {
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
