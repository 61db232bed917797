//! Pipes and FIFOs.
//!
//! A ring of bytes that grows from a page to its capacity (64 KiB unless `F_SETPIPE_SZ` says otherwise). One
//! sleeping mutex guards it, held over the copy from or to user memory; no allocation happens per write once
//! the ring has grown. A write of at most `PIPE_BUF` bytes is atomic. Writers are woken on the change from
//! full only, one task at a time, as readers are; a woken task that leaves something over wakes the next.

mod splice;

use alloc::{sync::Arc, vec::Vec};
use core::{
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};
use hostcall::{Attr, FileSystemStat, SetAttr};
use linux_raw_sys::general::{O_ACCMODE, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY, S_IFIFO};

use super::{
    anon::{self, AnonInode},
    file::{File, FileOps, PollMask},
    inode::Inode,
};
use crate::{
    errno::{Errno, Result},
    mem::frame,
    sync::{Mutex, Once},
    task::wait::WaitQueue,
    uio::{Sink, Source},
};

/// Writes up to this are atomic.
pub const PIPE_BUF: usize = 4096;
/// Default capacity.
const CAPACITY: usize = 65536;
/// Largest capacity that may be asked for.
pub const MAX_CAPACITY: usize = 1 << 20;
/// ioctl: bytes that can be read.
const FIONREAD: u32 = 0x541B;

/// The bytes of a pipe.
#[derive(Debug, Default)]
struct Ring {
    bytes: Vec<u8>,
    head: usize,
    len: usize,
    capacity: usize,
}

impl Ring {
    fn room(&self) -> usize {
        self.capacity - self.len
    }

    /// Makes space for `more` bytes if the capacity allows.
    fn grow(&mut self, more: usize) -> Result<()> {
        let need = (self.len + more).min(self.capacity);
        if need <= self.bytes.len() {
            return Ok(());
        }
        let size = need.next_power_of_two().max(PIPE_BUF).min(self.capacity.next_power_of_two());
        self.resize(size)
    }

    fn resize(&mut self, size: usize) -> Result<()> {
        if frame::is_short() || (size > PIPE_BUF && !frame::has_room_for(size as u64)) {
            return Err(Errno::ENOMEM);
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        let (first, second) = self.filled();
        bytes.extend_from_slice(first);
        bytes.extend_from_slice(second);
        bytes.resize(size, 0);
        self.bytes = bytes;
        self.head = 0;
        Ok(())
    }

    fn filled(&self) -> (&[u8], &[u8]) {
        let end = self.head + self.len;
        let size = self.bytes.len();
        if end <= size {
            (&self.bytes[self.head..end], &[])
        } else {
            (&self.bytes[self.head..], &self.bytes[..end - size])
        }
    }

    /// Where the next bytes go: as many as lie contiguously.
    fn space(&self) -> Range<usize> {
        let size = self.bytes.len();
        if self.room() == 0 || size == 0 {
            return 0..0;
        }
        let tail = (self.head + self.len) & (size - 1);
        let end = if tail < self.head || self.len == size { self.head } else { size };
        tail..end.min(tail + self.room()).max(tail)
    }

    /// Takes bytes away from the front.
    fn consume(&mut self, count: usize) {
        self.len -= count;
        self.head = if self.len == 0 { 0 } else { (self.head + count) & (self.bytes.len() - 1) };
    }

    fn read(&mut self, sink: &mut Sink<'_>) -> Result<usize> {
        let (first, second) = self.filled();
        let wanted = first.len().min(sink.remaining());
        let mut done = whole(sink.write(first)?, wanted)?;
        if done == first.len() && !second.is_empty() && sink.remaining() != 0 {
            let wanted = second.len().min(sink.remaining());
            let rest = sink.write(second).and_then(|step| whole(step, wanted));
            done += rest.or_else(|error| if done != 0 { Ok(0) } else { Err(error) })?;
        }
        self.consume(done);
        Ok(done)
    }

    fn write(&mut self, source: &mut Source<'_>) -> Result<usize> {
        self.grow(source.remaining())?;
        let mut done = 0;
        while source.remaining() != 0 {
            let space = self.space();
            if space.is_empty() {
                break;
            }
            let wanted = space.len().min(source.remaining());
            match source.read(&mut self.bytes[space]).and_then(|step| whole(step, wanted)) {
                Ok(0) => break,
                Ok(step) => {
                    self.len += step;
                    done += step;
                }
                Err(_) if done != 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

/// What counts of a copy that ended early: a page is moved as a whole or not at all.
fn whole(moved: usize, wanted: usize) -> Result<usize> {
    match moved / PIPE_BUF * PIPE_BUF {
        _ if moved == wanted => Ok(moved),
        0 => Err(Errno::EFAULT),
        pages => Ok(pages),
    }
}

/// A pipe, whoever has it open.
#[derive(Debug)]
pub struct Pipe {
    ring: Mutex<Ring>,
    /// Bytes in the ring, readable without its mutex.
    filled: AtomicU32,
    capacity: AtomicU32,
    readers: AtomicU32,
    writers: AtomicU32,
    /// Times that each end was opened, so that a FIFO's opener sees a peer that came and went.
    opened: [AtomicU32; 2],
    readable: WaitQueue,
    writable: WaitQueue,
}

/// One open end (or both, for a FIFO opened read-write).
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    access: u32,
}

impl Pipe {
    /// A pipe that nobody has open.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            ring: Mutex::new(Ring { capacity: CAPACITY, ..Ring::default() }),
            filled: AtomicU32::new(0),
            capacity: AtomicU32::new(CAPACITY as u32),
            readers: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            opened: [AtomicU32::new(0), AtomicU32::new(0)],
            readable: WaitQueue::new(),
            writable: WaitQueue::new(),
        })
    }

    fn end(self: &Arc<Self>, access: u32) -> Arc<PipeEnd> {
        if access != O_WRONLY {
            self.readers.fetch_add(1, Ordering::SeqCst);
            self.opened[0].fetch_add(1, Ordering::SeqCst);
        }
        if access != O_RDONLY {
            self.writers.fetch_add(1, Ordering::SeqCst);
            self.opened[1].fetch_add(1, Ordering::SeqCst);
        }
        Arc::new(PipeEnd { pipe: self.clone(), access })
    }

    /// open(2) of a FIFO: waits for the other end.
    ///
    /// # Errors
    /// `ENXIO` for a non-blocking writer without a reader, `ERESTARTSYS`.
    pub fn open_fifo(self: &Arc<Self>, flags: u32) -> Result<Arc<PipeEnd>> {
        let access = flags & O_ACCMODE;
        if access == O_WRONLY && flags & O_NONBLOCK != 0 && self.readers.load(Ordering::SeqCst) == 0 {
            return Err(Errno::ENXIO);
        }
        let (peers, index, mine, theirs) = match access {
            O_RDONLY => (&self.writers, 1, &self.readable, &self.writable),
            _ => (&self.readers, 0, &self.writable, &self.readable),
        };
        let seen = self.opened[index].load(Ordering::SeqCst);
        let end = self.end(access);
        theirs.wake_all();
        if access == O_RDWR || flags & O_NONBLOCK != 0 {
            return Ok(end);
        }
        mine.wait_until(|| {
            let there =
                peers.load(Ordering::SeqCst) != 0 || self.opened[index].load(Ordering::SeqCst) != seen;
            there.then_some(())
        })?;
        Ok(end)
    }

    fn has_writers(&self) -> bool {
        self.writers.load(Ordering::SeqCst) != 0
    }

    fn has_readers(&self) -> bool {
        self.readers.load(Ordering::SeqCst) != 0
    }

    fn filled(&self) -> usize {
        self.filled.load(Ordering::SeqCst) as usize
    }

    fn room(&self) -> usize {
        (self.capacity.load(Ordering::SeqCst) as usize).saturating_sub(self.filled())
    }

    fn read(&self, file: &File, sink: &mut Sink<'_>) -> Result<usize> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        loop {
            if self.filled() != 0 {
                let mut ring = self.ring.lock();
                if ring.len != 0 {
                    let before = ring.room();
                    let done = ring.read(sink)?;
                    let left = ring.len;
                    self.filled.store(left as u32, Ordering::SeqCst);
                    drop(ring);
                    if before < PIPE_BUF {
                        self.writable.wake_one();
                    }
                    if left != 0 {
                        self.readable.wake_one();
                    }
                    return Ok(done);
                }
            }
            if !self.has_writers() {
                return Ok(0);
            }
            if file.nonblocking() {
                return Err(Errno::EAGAIN);
            }
            self.readable.wait_until(|| (self.filled() != 0 || !self.has_writers()).then_some(()))?;
        }
    }

    fn write(&self, file: &File, source: &mut Source<'_>) -> Result<usize> {
        let total = source.remaining();
        // What must fit at once.
        let atomic = if total <= PIPE_BUF { total } else { 1 };
        let mut done = 0;
        loop {
            if !self.has_readers() {
                return if done != 0 { Ok(done) } else { Err(Errno::EPIPE) };
            }
            if source.remaining() == 0 {
                return Ok(done);
            }
            if self.room() >= atomic {
                let mut ring = self.ring.lock();
                if ring.room() >= atomic {
                    let step = match ring.write(source) {
                        Ok(step) => step,
                        Err(_) if done != 0 => return Ok(done),
                        Err(error) => return Err(error),
                    };
                    let room = ring.room();
                    self.filled.store(ring.len as u32, Ordering::SeqCst);
                    drop(ring);
                    done += step;
                    // Also where there was something already: who polls is told of each write, as in Linux.
                    if step != 0 {
                        self.readable.wake_one();
                    }
                    if room >= PIPE_BUF {
                        self.writable.wake_one();
                    }
                    if step == 0 || source.remaining() == 0 {
                        return Ok(done);
                    }
                    continue;
                }
            }
            if file.nonblocking() {
                return if done != 0 { Ok(done) } else { Err(Errno::EAGAIN) };
            }
            let ready =
                self.writable.wait_until(|| (self.room() >= atomic || !self.has_readers()).then_some(()));
            match ready {
                Ok(()) => {}
                Err(_) if done != 0 => return Ok(done),
                Err(error) => return Err(error),
            }
        }
    }

    /// `F_GETPIPE_SZ`.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity.load(Ordering::SeqCst) as usize
    }

    /// `F_SETPIPE_SZ`; gives the size that it has now.
    ///
    /// # Errors
    /// `EBUSY` when the contents do not fit, `EPERM` beyond [`MAX_CAPACITY`], `EINVAL`, `ENOMEM`.
    pub fn set_capacity(&self, size: usize) -> Result<usize> {
        if size == 0 || size > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let size = size.next_power_of_two().max(PIPE_BUF);
        if size > MAX_CAPACITY {
            return Err(Errno::EPERM);
        }
        let mut ring = self.ring.lock();
        if ring.len > size {
            return Err(Errno::EBUSY);
        }
        if ring.bytes.len() > size {
            ring.resize(size)?;
        }
        ring.capacity = size;
        self.capacity.store(size as u32, Ordering::SeqCst);
        drop(ring);
        self.writable.wake_all();
        Ok(size)
    }
}

impl PipeEnd {
    /// The pipe behind it.
    #[must_use]
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let pipe = &self.pipe;
        if self.access != O_WRONLY && pipe.readers.fetch_sub(1, Ordering::SeqCst) == 1 {
            pipe.writable.wake_all();
        }
        if self.access != O_RDONLY && pipe.writers.fetch_sub(1, Ordering::SeqCst) == 1 {
            pipe.readable.wake_all();
        }
    }
}

impl FileOps for PipeEnd {
    fn read_at(&self, file: &File, sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        self.pipe.read(file, sink)
    }

    fn write_at(&self, file: &File, source: &mut Source<'_>, _offset: u64) -> Result<usize> {
        self.pipe.write(file, source)
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn poll(&self, _file: &File) -> PollMask {
        let mut mask = PollMask::empty();
        if self.access != O_WRONLY {
            if self.pipe.filled() != 0 {
                mask |= PollMask::READABLE;
            }
            if !self.pipe.has_writers() && self.pipe.opened[1].load(Ordering::SeqCst) != 0 {
                mask |= PollMask::HUP;
            }
        }
        if self.access != O_RDONLY {
            if self.pipe.room() >= PIPE_BUF {
                mask |= PollMask::WRITABLE;
            }
            if !self.pipe.has_readers() {
                mask |= PollMask::ERR;
            }
        }
        mask
    }

    fn queues(&self) -> [Option<&WaitQueue>; 2] {
        [
            (self.access != O_WRONLY).then_some(&self.pipe.readable),
            (self.access != O_RDONLY).then_some(&self.pipe.writable),
        ]
    }

    fn tells(&self) -> bool {
        true
    }

    fn ioctl(&self, _file: &File, request: u32, arg: u64) -> Result<u64> {
        if request != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        crate::arch::uaccess::copy_to_user(arg, &(self.pipe.filled() as i32).to_ne_bytes())?;
        Ok(0)
    }
}

/// The inode of a nameless pipe, which `/proc/self/fd` opens again; unlike a FIFO's opener that one never waits.
struct PipeInode {
    plain: Arc<AnonInode>,
    pipe: Arc<Pipe>,
}

impl Inode for PipeInode {
    fn attr(&self) -> Result<Attr> {
        self.plain.attr()
    }

    fn kind(&self) -> u32 {
        S_IFIFO
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        self.plain.set_attr(change)
    }

    fn statfs(&self) -> Result<FileSystemStat> {
        self.plain.statfs()
    }

    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn FileOps>> {
        Ok(self.pipe.end(flags & O_ACCMODE))
    }
}

fn pipefs_dev() -> u64 {
    static DEV: Once<u64> = Once::new();
    *DEV.call_once(anon::next_dev)
}

/// pipe2(2): the reading and the writing end. `flags` are status flags.
#[must_use]
pub fn pair(flags: u32, uid: u32, gid: u32) -> (Arc<File>, Arc<File>) {
    let pipe = Pipe::new();
    let plain = AnonInode::new(S_IFIFO | 0o600, uid, gid, pipefs_dev(), 0x5049_5045);
    let name = anon::numbered("pipe", plain.attr().map_or(0, |attr| attr.ino));
    let inode = Arc::new(PipeInode { plain, pipe: pipe.clone() });
    let reader = File::anonymous(pipe.end(O_RDONLY), inode.clone(), &name, O_RDONLY | flags);
    let writer = File::anonymous(pipe.end(O_WRONLY), inode, &name, O_WRONLY | flags);
    (reader, writer)
}

impl core::fmt::Debug for PipeEnd {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PipeEnd")
    }
}
