//! File windows: pieces of host files seen in guest-physical space.
//!
//! The window region is cut into slots of two sizes. A slot shows one aligned piece (a *chunk*) of one file,
//! through the host's page cache: what we or others write to the file shows at once. Reads are copies out of
//! the slot, memory mappings point into it; neither leaves the VM.
//!
//! A slot is taken from its chunk only when nobody copies from it (`users`) and no memory mapping may point
//! into it (`pins`, held for as long as the file is mapped anywhere).

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::host::Host;
use crate::{
    arch::{self, PhysAddr},
    errno::{Errno, Result},
    mem::PAGE_SIZE,
    sync::SpinLock,
};
use hostcall::Handle;

/// Chunk of a small file.
pub const SMALL: u64 = 256 << 10;
/// Chunk of a file larger than [`SMALL`].
pub const LARGE: u64 = 2 << 20;

/// Pages that are asked for ahead of a reader in sequence.
const AHEAD: u64 = 16;
/// Most pages that are asked for at once.
const AT_ONCE: u64 = 64;

/// A slot that shows a chunk.
#[derive(Debug)]
pub struct Chunk {
    /// Offset in the window region.
    window: u64,
    /// Offset in the file.
    offset: u64,
    len: u64,
    writable: AtomicBool,
    /// Pages that the host was asked to provide since the slot shows the chunk, one bit each.
    provided: [AtomicU64; (LARGE / PAGE_SIZE / 64) as usize],
    users: AtomicU32,
    pins: AtomicU32,
    /// Used since the clock came by.
    used: AtomicBool,
    /// Its slot was given to another chunk, or the file shrank: look it up again.
    gone: AtomicBool,
}

/// Keeps a chunk's slot while it is copied from.
#[derive(Debug)]
pub struct ChunkUse(Arc<Chunk>);

impl Chunk {
    /// Keeps the slot; fails when it was taken already.
    pub fn enter(self: &Arc<Self>) -> Option<ChunkUse> {
        self.users.fetch_add(1, Ordering::SeqCst);
        let guard = ChunkUse(self.clone());
        if self.gone.load(Ordering::SeqCst) {
            return None;
        }
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        Some(guard)
    }

    /// Whether anything copies from it.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.users.load(Ordering::SeqCst) != 0
    }

    /// Keeps the slot for memory mappings.
    pub fn pin(&self) {
        self.pins.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes one [`Self::pin`] back.
    pub fn unpin(&self) {
        self.pins.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether the slot no longer shows the chunk.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Where byte `offset` of the chunk is.
    #[must_use]
    pub fn addr(&self, offset: u64) -> PhysAddr {
        arch::window_phys(self.window + offset)
    }

    /// Whether its pages may be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writable.load(Ordering::SeqCst)
    }

    /// Makes its pages writable; the slot is kept by the caller.
    ///
    /// # Errors
    /// The host's.
    pub fn make_writable(&self, host: &dyn Host, file: Handle) -> Result<()> {
        if !self.is_writable() {
            host.window_map(file, self.offset, self.len, self.window, true)?;
            self.writable.store(true, Ordering::SeqCst);
            // The machine forgot where they were.
            for pages in &self.provided {
                pages.store(0, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn is_provided(&self, page: u64) -> bool {
        self.provided[(page / 64) as usize].load(Ordering::Relaxed) & 1 << (page % 64) != 0
    }

    /// Has the host provide `len` bytes at `offset` in one go, which are about to be read: what it has not been asked
    /// for yet, it would be for each page by an exit. Reading in sequence it is asked ahead, not beyond `end`. The slot
    /// is kept by the caller. What cannot be provided is found when it is read.
    pub fn provide(&self, host: &dyn Host, offset: u64, len: u64, end: u64) {
        let last = end.min(self.len).div_ceil(PAGE_SIZE);
        let mut page = offset / PAGE_SIZE;
        let stop = (offset + len).div_ceil(PAGE_SIZE).min(last);
        while page < stop {
            if self.is_provided(page) {
                page += 1;
                continue;
            }
            let ahead = if page != 0 && self.is_provided(page - 1) { AHEAD } else { 0 };
            let mut next = page;
            while next < stop.max(page + ahead).min(last).min(page + AT_ONCE) && !self.is_provided(next) {
                self.provided[(next / 64) as usize].fetch_or(1 << (next % 64), Ordering::Relaxed);
                next += 1;
            }
            // One page is as well asked for by reading it.
            if next - page > 1 {
                let _ = host.window_probe(self.window + page * PAGE_SIZE, (next - page) * PAGE_SIZE, false);
            }
            page = next;
        }
    }

    /// Makes sure that the host can provide the page at `offset` of the chunk; the slot is kept by the caller.
    ///
    /// # Errors
    /// `EIO` when it cannot.
    pub fn probe(&self, host: &dyn Host, offset: u64, write: bool) -> Result<()> {
        host.window_probe(self.window + offset, PAGE_SIZE, write).map_err(|_| Errno::EIO)
    }

    /// Length of the chunk.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.len
    }
}

impl core::ops::Deref for ChunkUse {
    type Target = Arc<Chunk>;
    fn deref(&self) -> &Arc<Chunk> {
        &self.0
    }
}

impl Drop for ChunkUse {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Slots of one size.
#[derive(Debug)]
struct Class {
    size: u64,
    /// Region of the class: next never-used offset and end.
    next: u64,
    end: u64,
    free: Vec<u64>,
    live: Vec<Arc<Chunk>>,
    hand: usize,
}

impl Class {
    /// A slot for a new chunk.
    fn take(&mut self) -> Result<u64> {
        if let Some(window) = self.free.pop() {
            return Ok(window);
        }
        if self.next + self.size <= self.end {
            self.next += self.size;
            return Ok(self.next - self.size);
        }
        // Two rounds of the clock: the first may only clear the marks.
        for _ in 0..self.live.len() * 2 {
            self.hand = (self.hand + 1) % self.live.len();
            let chunk = &self.live[self.hand];
            let idle = !chunk.used.swap(false, Ordering::Relaxed)
                && chunk.pins.load(Ordering::SeqCst) == 0
                && chunk.users.load(Ordering::SeqCst) == 0;
            if !idle {
                continue;
            }
            chunk.gone.store(true, Ordering::SeqCst);
            // A user that came between sees `gone` and leaves; one that was earlier shows here.
            if chunk.users.load(Ordering::SeqCst) != 0 || chunk.pins.load(Ordering::SeqCst) != 0 {
                chunk.gone.store(false, Ordering::SeqCst);
                continue;
            }
            let window = chunk.window;
            self.live.swap_remove(self.hand);
            return Ok(window);
        }
        Err(Errno::ENOMEM)
    }
}

/// The window region.
#[derive(Debug)]
pub struct Windows {
    classes: SpinLock<[Class; 2]>,
}

impl Windows {
    /// Cuts a region of `len` bytes up.
    #[must_use]
    pub fn new(len: u64) -> Self {
        let small = (len / 8) / LARGE * LARGE;
        let class = |size, next, end| Class { size, next, end, free: Vec::new(), live: Vec::new(), hand: 0 };
        Self { classes: SpinLock::new([class(SMALL, 0, small), class(LARGE, small, len / LARGE * LARGE)]) }
    }

    /// Length of the chunks of a file of `size` bytes.
    #[must_use]
    pub const fn chunk_len(size: u64) -> u64 {
        if size <= SMALL { SMALL } else { LARGE }
    }

    /// Shows `len` bytes (a chunk length) of `file` from `offset`.
    ///
    /// # Errors
    /// `ENOMEM` when every slot is in use; the host's.
    pub fn map(
        &self,
        host: &dyn Host,
        file: Handle,
        offset: u64,
        len: u64,
        writable: bool,
    ) -> Result<Arc<Chunk>> {
        let index = usize::from(len != SMALL);
        let window = self.classes.lock()[index].take()?;
        if let Err(error) = host.window_map(file, offset, len, window, writable) {
            self.classes.lock()[index].free.push(window);
            return Err(error);
        }
        let chunk = Arc::new(Chunk {
            window,
            offset,
            len,
            writable: AtomicBool::new(writable),
            provided: [const { AtomicU64::new(0) }; _],
            users: AtomicU32::new(0),
            pins: AtomicU32::new(0),
            used: AtomicBool::new(true),
            gone: AtomicBool::new(false),
        });
        self.classes.lock()[index].live.push(chunk.clone());
        Ok(chunk)
    }

    /// Gives a chunk up whose inode forgets it. Its slot is used again once nobody copies from it.
    pub fn release(&self, chunk: &Arc<Chunk>) {
        if chunk.pins.load(Ordering::SeqCst) != 0 {
            return;
        }
        let mut classes = self.classes.lock();
        let class = &mut classes[usize::from(chunk.len != SMALL)];
        let Some(place) = class.live.iter().position(|other| Arc::ptr_eq(other, chunk)) else { return };
        chunk.gone.store(true, Ordering::SeqCst);
        if chunk.users.load(Ordering::SeqCst) == 0 {
            class.live.swap_remove(place);
            class.free.push(chunk.window);
        } else {
            // Found idle by the clock later.
            chunk.gone.store(false, Ordering::SeqCst);
        }
    }
}
