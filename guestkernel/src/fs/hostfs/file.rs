//! Contents of host files: reads out of windows, writes by hostcall, memory mappings.
//!
//! What is read for the first time goes by hostcall into a bounce buffer. Later a read copies from the chunk's slot,
//! bounded by the cached size, and falls back to a hostcall when no slot is to be had, or when the host cannot provide what
//! the slot shows: the file was made shorter by others, or its disk fails. A write goes to the host at once; the window
//! shows it by itself, since both are the host's page cache. Pages that are read are provided many at once, those of a
//! mapping one by one: of what is mapped few are touched.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU64, Ordering};
use hostcall::IoRange;
use linux_raw_sys::general::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, SEEK_DATA, SEEK_HOLE};

use super::{
    inode::HostInode,
    window::{Chunk, ChunkUse, Windows},
};
use crate::{
    arch::{self, PhysAddr},
    errno::{Errno, Result},
    fs::{
        copy,
        file::{File, FileOps, shown_path},
        fresh,
        inode::Inode,
        mount::Path,
    },
    mem::{PAGE_SIZE, frame},
    mm::{Mappable, Mappers, ObjectName, PageSource, Zap},
    sync::SpinLock,
    task::sched,
    uio::{Sink, Source},
};

/// How often a shrinking file looks whether a chunk is still copied from.
const MOST_WAITS: u32 = 1 << 20;
/// Periods for which pages are made sure of.
const DOUBT: u64 = 1;
/// Reads of at least so many bytes go by hostcall the first time.
const SHOWN: u64 = 4 * PAGE_SIZE;
/// log₂ of the most pages that one hostcall carries.
const MAX_ORDER: u32 = 5;

/// The chunks of a file that are seen through windows.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// Length of each; 0 while there is none.
    len: u64,
    list: Vec<Option<Arc<Chunk>>>,
}

impl Chunks {
    pub(super) fn into_all(self) -> impl Iterator<Item = Arc<Chunk>> {
        self.list.into_iter().flatten()
    }

    fn get(&self, index: u64) -> Option<&Arc<Chunk>> {
        self.list.get(index as usize)?.as_ref()
    }

    fn set(&mut self, index: u64, chunk: Arc<Chunk>) -> Result<()> {
        let index = index as usize;
        if index >= self.list.len() {
            self.list.try_reserve(index + 1 - self.list.len()).map_err(|_| Errno::ENOMEM)?;
            self.list.resize(index + 1, None);
        }
        self.list[index] = Some(chunk);
        Ok(())
    }

    /// The chunks that reach beyond `size`.
    fn beyond(&self, size: u64) -> Vec<Arc<Chunk>> {
        let keep = size.checked_div(self.len).unwrap_or(0) as usize;
        self.list.iter().skip(keep).flatten().cloned().collect()
    }

    /// Takes out the chunks that reach beyond `size`.
    fn cut(&mut self, size: u64) -> Vec<Arc<Chunk>> {
        let keep = size.checked_div(self.len).unwrap_or(0) as usize;
        if keep >= self.list.len() {
            return Vec::new();
        }
        let cut = self.list.drain(keep..).flatten().collect();
        if self.list.is_empty() {
            self.len = 0;
        }
        cut
    }
}

impl HostInode {
    /// The size is about to become `size`, smaller: nothing maps what is beyond it any more, nor will. Gives the
    /// old size, to be put back if the host refuses.
    pub(super) fn shrink(&self, size: u64) -> u64 {
        let old = core::mem::replace(&mut self.attr.lock().size, size);
        // Pages of a window beyond the host file's end must not be touched: the CPU could not go on.
        self.mappers.zap(size.div_ceil(PAGE_SIZE), u64::MAX, Zap::All);
        // A copy that began before ends first; one that begins now sees the new size.
        let beyond = self.chunks.lock().beyond(size);
        for chunk in beyond {
            for _ in 0..MOST_WAITS {
                if !chunk.is_used() {
                    break;
                }
                arch::cpu_relax();
                sched::yield_now();
            }
        }
        old
    }

    /// The size is now `size`: chunks that reached beyond a smaller size show nothing there any more.
    pub(super) fn resized(&self, size: u64) {
        let old = self.size();
        if size >= old {
            return;
        }
        self.mappers.zap(size.div_ceil(PAGE_SIZE), u64::MAX, Zap::All);
        self.cut(size);
    }

    /// Forgets the chunks that reach beyond `size`.
    pub(super) fn cut(&self, size: u64) {
        let cut = self.chunks.lock().cut(size);
        for chunk in cut {
            self.fs.windows.release(&chunk);
        }
    }

    /// Length of this file's chunks, which grow with it as long as nothing maps it.
    fn chunk_len(&self, size: u64) -> u64 {
        let wanted = Windows::chunk_len(size);
        let mut chunks = self.chunks.lock();
        if chunks.len == wanted {
            return wanted;
        }
        if chunks.len != 0 && self.mapping.lock().strong_count() != 0 {
            return chunks.len;
        }
        let old = core::mem::take(&mut *chunks);
        chunks.len = wanted;
        drop(chunks);
        for chunk in old.into_all() {
            self.fs.windows.release(&chunk);
        }
        wanted
    }

    /// The chunk at `offset`, kept for copying, and the offset in it.
    fn chunk(&self, offset: u64, size: u64) -> Result<(ChunkUse, u64)> {
        let len = self.chunk_len(size);
        let index = offset / len;
        let known = self.chunks.lock().get(index).and_then(Chunk::enter);
        if let Some(chunk) = known {
            return Ok((chunk, offset % len));
        }
        let chunk = self.fs.windows.map(self.fs.host, self.handle(), index * len, len, false)?;
        let kept = chunk.enter().ok_or(Errno::EAGAIN)?;
        let mut chunks = self.chunks.lock();
        if chunks.len == len {
            chunks.set(index, chunk)?;
        }
        drop(chunks);
        Ok((kept, offset % len))
    }

    /// Whether a read of `want` bytes goes by hostcall: a large or whole one, as long as no more than the file's size
    /// was read. What is read once would cost more to show than to copy.
    fn is_read_first(&self, offset: u64, want: u64, size: u64) -> bool {
        if want < SHOWN && want < size || self.copied.load(Ordering::Relaxed) >= size {
            return false;
        }
        let chunks = self.chunks.lock();
        let shown = chunks.len != 0 && chunks.get(offset / chunks.len).is_some();
        !shown
    }

    /// Reads by hostcall through a bounce buffer.
    fn read_directly(&self, sink: &mut Sink<'_>, offset: u64, len: u64) -> Result<usize> {
        let mut done = 0;
        with_bounce(len, |buffer, size| {
            while done < len {
                let step = (len - done).min(size);
                let range = IoRange { gpa: buffer.0, len: step };
                let read = self.fs.host.read(self.handle(), offset + done, &[range])? as u64;
                let read = read.min(step);
                let copied = copy::to_sink(sink, buffer, read as usize)? as u64;
                done += copied;
                if read < step || copied < read {
                    break;
                }
            }
            Ok(())
        })
        .or_else(|error| if done != 0 { Ok(()) } else { Err(error) })?;
        Ok(done as usize)
    }

    /// Writes by hostcall: `write` gets the buffer's range and the bytes done so far.
    fn write_directly(
        &self,
        source: &mut Source<'_>,
        mut write: impl FnMut(IoRange, u64) -> Result<u64>,
    ) -> Result<u64> {
        let total = source.remaining() as u64;
        let mut done = 0;
        with_bounce(total, |buffer, size| {
            while done < total {
                let step = (total - done).min(size);
                let got = copy::from_source(source, buffer, step as usize)? as u64;
                if got == 0 {
                    break;
                }
                let written = write(IoRange { gpa: buffer.0, len: got }, done)?.min(got);
                done += written;
                if written < step {
                    break;
                }
            }
            Ok(())
        })
        .or_else(|error| if done != 0 { Ok(()) } else { Err(error) })?;
        Ok(done)
    }
}

/// Runs `f` with a buffer for up to `len` bytes; gives it the buffer and its size.
fn with_bounce(len: u64, f: impl FnOnce(PhysAddr, u64) -> Result<()>) -> Result<()> {
    let pages = len.div_ceil(PAGE_SIZE).max(1);
    let order = pages.next_power_of_two().ilog2().min(MAX_ORDER);
    if order == 0 {
        let frame = frame::alloc().ok_or(Errno::ENOMEM)?;
        return f(frame.addr(), PAGE_SIZE);
    }
    let (buffer, _) = frame::alloc_order(order).ok_or(Errno::ENOMEM)?;
    let result = f(buffer, PAGE_SIZE << order);
    frame::free_order(buffer, order);
    result
}

impl FileOps for HostInode {
    fn read_at(&self, _file: &File, sink: &mut Sink<'_>, offset: u64) -> Result<usize> {
        let size = Inode::size(self)?;
        if offset >= size {
            return Ok(0);
        }
        let want = (size - offset).min(sink.remaining() as u64);
        let mut done = 0;
        while done < want {
            let at = offset + done;
            if self.is_read_first(at, want - done, size) {
                let copied = self.read_directly(sink, at, want - done);
                self.copied.fetch_add(*copied.as_ref().unwrap_or(&0) as u64, Ordering::Relaxed);
                return match copied {
                    Err(_) if done != 0 => Ok(done as usize),
                    copied => Ok(done as usize + copied?),
                };
            }
            let Ok((chunk, within)) = self.chunk(at, size) else {
                let rest = self.read_directly(sink, at, want - done);
                return match rest {
                    Ok(rest) => Ok(done as usize + rest),
                    Err(_) if done != 0 => Ok(done as usize),
                    Err(error) => Err(error),
                };
            };
            // While the chunk is kept, the file does not get shorter than it is now.
            let end = size.min(self.size());
            if at >= end {
                break;
            }
            let step = (chunk.size() - within).min(want - done).min(end - at);
            chunk.provide(self.fs.host, within, step, end - (at - within));
            let faults = arch::window_faults();
            let copied = copy::to_sink(sink, chunk.addr(within), step as usize);
            if let Ok(copied) = copied {
                done += copied as u64;
                if copied as u64 == step {
                    continue;
                }
            }
            // It was the file, not the buffer: the host says what is the matter.
            let copied = if arch::window_faults() == faults {
                copied
            } else {
                self.read_directly(sink, offset + done, want - done).inspect(|more| done += *more as u64)
            };
            return if done != 0 { Ok(done as usize) } else { copied };
        }
        Ok(done as usize)
    }

    fn write_at(&self, _file: &File, source: &mut Source<'_>, offset: u64) -> Result<usize> {
        let _io = self.io.lock();
        let done = self.write_directly(source, |range, done| {
            self.fs.host.write(self.handle(), offset + done, &[range]).map(|n| n as u64)
        })?;
        let mut attr = self.attr.lock();
        if done != 0 {
            attr.size = attr.size.max(offset + done);
            attr.blocks = attr.blocks.max(attr.size.div_ceil(4096) * 8);
            self.touched();
        }
        Ok(done as usize)
    }

    fn append(&self, _file: &File, source: &mut Source<'_>) -> Result<(usize, u64)> {
        let _io = self.io.lock();
        let mut end = self.size();
        let done = self.write_directly(source, |range, _| {
            let (written, size) = self.fs.host.append(self.handle(), &[range])?;
            end = size;
            Ok(written as u64)
        })?;
        let mut attr = self.attr.lock();
        if done != 0 {
            attr.size = end;
            attr.blocks = attr.blocks.max(end.div_ceil(4096) * 8);
            self.touched();
        }
        Ok((done as usize, end))
    }

    fn mappable(&self, file: &File) -> Result<Arc<dyn Mappable>> {
        let mut slot = self.mapping.lock();
        if let Some(mapping) = slot.upgrade() {
            return Ok(mapping);
        }
        let mapping = Arc::new(HostMapping {
            inode: self.arc()?,
            path: file.path().clone(),
            pinned: SpinLock::new(Vec::new()),
            doubted: AtomicU64::new(0),
        });
        *slot = Arc::downgrade(&mapping);
        Ok(mapping)
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        self.fs.host.sync(self.handle(), data_only)
    }

    fn seek_data(&self, _file: &File, offset: u64, hole: bool) -> Result<u64> {
        self.fs.host.seek(self.handle(), offset, if hole { SEEK_HOLE } else { SEEK_DATA })
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let _io = self.io.lock();
        self.fs.host.allocate(self.handle(), mode, offset, len)?;
        let attr = self.fs.host.getattr(self.handle())?;
        self.changed(attr);
        Ok(())
    }
}

/// A host file as memory. It lives as long as anything maps the file, and keeps the slots that page tables
/// may point into.
pub(super) struct HostMapping {
    inode: Arc<HostInode>,
    /// Where it was first mapped from.
    path: Path,
    pinned: SpinLock<Vec<Arc<Chunk>>>,
    /// The period in which the host could not provide a page of what a program had mapped.
    doubted: AtomicU64,
}

impl HostMapping {
    /// Whether pages are to be made sure of before they are mapped.
    fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Acquire) + DOUBT >= fresh::period()
    }

    fn pin(&self, chunk: &Arc<Chunk>) -> Result<()> {
        let mut pinned = self.pinned.lock();
        if pinned.iter().any(|other| Arc::ptr_eq(other, chunk)) {
            return Ok(());
        }
        pinned.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        chunk.pin();
        pinned.push(chunk.clone());
        Ok(())
    }
}

impl Drop for HostMapping {
    fn drop(&mut self) {
        let pinned = core::mem::take(&mut *self.pinned.lock());
        for chunk in pinned {
            chunk.unpin();
            let known =
                self.inode.chunks.lock().list.iter().flatten().any(|other| Arc::ptr_eq(other, &chunk));
            if !known {
                self.inode.fs.windows.release(&chunk);
            }
        }
    }
}

impl Mappable for HostMapping {
    fn page(&self, index: u64, write: bool) -> Result<PageSource> {
        let offset = index.checked_mul(PAGE_SIZE).ok_or(Errno::ENXIO)?;
        let mut size = self.inode.size();
        if offset >= size || self.is_doubted() {
            // Others may have made it longer or shorter; what that means for others who map it is seen later,
            // where no page table is locked.
            size = self.inode.fs.host.getattr(self.inode.handle())?.size;
        }
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        self.inode.ready(if write { 3 } else { 1 })?;
        let (chunk, within) = self.inode.chunk(offset, size)?;
        self.pin(&chunk)?;
        if write {
            chunk.make_writable(self.inode.fs.host, self.inode.handle())?;
        }
        if self.is_doubted() {
            chunk.probe(self.inode.fs.host, within, write)?;
        }
        Ok(PageSource::Window(chunk.addr(within)))
    }

    fn ready(&self, index: u64, max: usize) -> usize {
        if self.is_doubted() {
            return 1;
        }
        let size = self.inode.size();
        let end = size.div_ceil(PAGE_SIZE).saturating_sub(index);
        let chunks = self.inode.chunks.lock();
        if chunks.len == 0 {
            return 1;
        }
        // As far as the chunk goes.
        let per_chunk = chunks.len / PAGE_SIZE;
        let in_chunk = per_chunk - index % per_chunk;
        end.min(in_chunk).min(max as u64).max(1) as usize
    }

    fn name(&self) -> ObjectName {
        let attr = *self.inode.attr.lock();
        ObjectName { dev: attr.dev, ino: attr.ino, path: shown_path(&self.path) }
    }

    fn doubt(&self) -> bool {
        fresh::look();
        self.doubted.store(fresh::period(), Ordering::Release);
        true
    }

    fn mappers(&self) -> Option<&Mappers> {
        Some(&self.inode.mappers)
    }

    fn resident(&self, index: u64) -> bool {
        index.checked_mul(PAGE_SIZE).is_some_and(|offset| offset < self.inode.size())
    }

    fn remove(&self, offset: u64, len: u64) -> Result<()> {
        self.inode.allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len)
    }
}
