//! Streams of the host: standard input, output and error, terminals among them.
//!
//! The host reads and writes what is there now. To wait, a stream is armed: the host announces readiness once
//! by the event interrupt, which ends up in [`on_event`].

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use hostcall::{Attr, FileSystemStat, Hostcall, MAX_STREAMS};
use linux_raw_sys::general::{O_RDWR, S_IFMT};
use zerocopy::IntoBytes;

use super::{
    anon, copy,
    file::{File, FileOps, PollMask},
    inode::Inode,
};
use crate::{
    arch::{
        hostcall::{call, call_data},
        uaccess,
    },
    errno::{Errno, Result},
    mem::frame,
    task::wait::WaitQueue,
    uio::{Sink, Source},
};

/// log₂ of the pages of the bounce buffer for large transfers.
const ORDER: u32 = 4;

/// Readiness of one stream.
struct Ready {
    /// Counts announcements.
    events: AtomicU64,
    queue: WaitQueue,
}

static READY: [Ready; MAX_STREAMS] =
    [const { Ready { events: AtomicU64::new(0), queue: WaitQueue::new() } }; MAX_STREAMS];

/// The host announced these streams, a bit each.
pub fn on_event(mut bits: u64) {
    while bits != 0 {
        let ready = &READY[bits.trailing_zeros() as usize];
        ready.events.fetch_add(1, Ordering::SeqCst);
        ready.queue.wake_all();
        bits &= bits - 1;
    }
}

/// An open stream; also its inode.
pub struct Stream {
    number: u32,
    attr: Attr,
}

/// Opens stream `number` as a descriptor. It belongs to `uid`, as runc gives it to the container's user, so that
/// the user may open it again.
///
/// # Errors
/// `EBADF` when the sandbox was not given it.
pub fn open(number: u32, uid: u32) -> Result<Arc<File>> {
    if number as usize >= MAX_STREAMS {
        return Err(Errno::EBADF);
    }
    let mut attr = Attr::default();
    call_data(Hostcall::StreamStat, [number.into(), 0, 0, 0, 0, 0], &[], attr.as_mut_bytes())?;
    attr.uid = uid;
    let stream = Arc::new(Stream { number, attr });
    let name = match attr.mode & S_IFMT {
        linux_raw_sys::general::S_IFIFO => anon::numbered("pipe", attr.ino),
        linux_raw_sys::general::S_IFSOCK => anon::numbered("socket", attr.ino),
        linux_raw_sys::general::S_IFCHR if stream.is_terminal() => b"/dev/console".to_vec(),
        linux_raw_sys::general::S_IFCHR => b"/dev/null".to_vec(),
        _ => anon::numbered("stream", number.into()),
    };
    Ok(File::anonymous(stream.clone(), stream, &name, O_RDWR))
}

impl Stream {
    fn ready(&self) -> &'static Ready {
        &READY[self.number as usize]
    }

    fn is_terminal(&self) -> bool {
        let mut termios = [0; 36];
        self.terminal(0x5401, &[], &mut termios).is_ok()
    }

    /// What of `events` is ready; when nothing is, one event is asked for.
    fn arm(&self, events: PollMask) -> PollMask {
        let bits = call(Hostcall::StreamArm, [self.number.into(), events.bits().into(), 0, 0, 0, 0]);
        match bits {
            Ok(bits) => PollMask::from_bits_truncate(bits as u32),
            // The host cannot wait for it (a regular file): it is always ready.
            Err(_) => events,
        }
    }

    /// Waits until `events` may be ready.
    fn wait(&self, file: &File, events: PollMask) -> Result<()> {
        if file.nonblocking() {
            return Err(Errno::EAGAIN);
        }
        let ready = self.ready();
        let seen = ready.events.load(Ordering::SeqCst);
        if !self.arm(events).is_empty() {
            return Ok(());
        }
        ready.queue.wait_until(|| (ready.events.load(Ordering::SeqCst) != seen).then_some(()))
    }

    fn terminal(&self, request: u32, input: &[u8], output: &mut [u8]) -> Result<u64> {
        call_data(Hostcall::StreamIoctl, [self.number.into(), request.into(), 0, 0, 0, 0], &[input], output)
    }

    /// Runs `f` with a buffer for `len` bytes (or as many as one call carries).
    fn with_buffer(
        len: usize,
        f: impl FnOnce(crate::arch::PhysAddr, usize) -> Result<usize>,
    ) -> Result<usize> {
        if len <= 4096 {
            let frame = frame::alloc().ok_or(Errno::ENOMEM)?;
            return f(frame.addr(), len);
        }
        let (buffer, _) = frame::alloc_order(ORDER).ok_or(Errno::ENOMEM)?;
        let result = f(buffer, len.min(4096 << ORDER));
        frame::free_order(buffer, ORDER);
        result
    }
}

impl FileOps for Stream {
    fn read_at(&self, file: &File, sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        Self::with_buffer(sink.remaining(), |buffer, len| {
            loop {
                match call(Hostcall::StreamRead, [self.number.into(), buffer.0, len as u64, 0, 0, 0]) {
                    Ok(read) => return copy::to_sink(sink, buffer, (read as usize).min(len)),
                    Err(Errno::EAGAIN) => self.wait(file, PollMask::IN)?,
                    Err(error) => return Err(error),
                }
            }
        })
    }

    fn write_at(&self, file: &File, source: &mut Source<'_>, _offset: u64) -> Result<usize> {
        let mut total = 0;
        while source.remaining() != 0 {
            let step = Self::with_buffer(source.remaining(), |buffer, len| {
                let len = copy::from_source(source, buffer, len)?;
                let mut done = 0;
                while done < len {
                    let at = buffer.add(done as u64);
                    match call(
                        Hostcall::StreamWrite,
                        [self.number.into(), at.0, (len - done) as u64, 0, 0, 0],
                    ) {
                        Ok(written) => done += (written as usize).min(len - done),
                        Err(Errno::EAGAIN) => match self.wait(file, PollMask::OUT) {
                            Ok(()) => {}
                            Err(_) if done != 0 => return Ok(done),
                            Err(error) => return Err(error),
                        },
                        Err(error) => return Err(error),
                    }
                }
                Ok(done)
            });
            match step {
                Ok(0) => break,
                Ok(step) => total += step,
                Err(_) if total != 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn poll(&self, _file: &File) -> PollMask {
        let mask = self.arm(PollMask::IN | PollMask::OUT | PollMask::PRI);
        let mut all = mask;
        if mask.contains(PollMask::IN) {
            all |= PollMask::RDNORM;
        }
        if mask.contains(PollMask::OUT) {
            all |= PollMask::WRNORM;
            // Armed for the rest: the host gave what is ready and armed nothing.
            all |= self.arm(PollMask::IN | PollMask::PRI);
        }
        all
    }

    fn queues(&self) -> [Option<&WaitQueue>; 2] {
        [Some(&self.ready().queue), None]
    }

    fn ioctl(&self, _file: &File, request: u32, arg: u64) -> Result<u64> {
        const TCGETS: u32 = 0x5401;
        const TIOCGWINSZ: u32 = 0x5413;
        const TIOCSWINSZ: u32 = 0x5414;
        let mut data = [0; 36];
        match request {
            TCGETS => {
                self.terminal(request, &[], &mut data)?;
                uaccess::copy_to_user(arg, &data)?;
            }
            TIOCGWINSZ => {
                self.terminal(request, &[], &mut data[..8])?;
                uaccess::copy_to_user(arg, &data[..8])?;
            }
            // TCSETS, TCSETSW, TCSETSF
            0x5402..=0x5404 => {
                uaccess::copy_from_user(&mut data, arg)?;
                self.terminal(request, &data, &mut [])?;
            }
            TIOCSWINSZ => {
                uaccess::copy_from_user(&mut data[..8], arg)?;
                self.terminal(request, &data[..8], &mut [])?;
            }
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }
}

impl Inode for Stream {
    fn attr(&self) -> Result<Attr> {
        let mut attr = self.attr;
        call_data(Hostcall::StreamStat, [self.number.into(), 0, 0, 0, 0, 0], &[], attr.as_mut_bytes())?;
        attr.uid = self.attr.uid;
        Ok(attr)
    }

    fn access(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn kind(&self) -> u32 {
        self.attr.mode & S_IFMT
    }

    fn statfs(&self) -> Result<FileSystemStat> {
        Ok(anon::plain_statfs(0x0904_1934))
    }

    /// Reached again by `/proc/self/fd` or `/dev/stdout`.
    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Ok(self)
    }
}

impl Drop for Stream {
    /// The other end sees that nobody here has it any more.
    fn drop(&mut self) {
        let _ = call(Hostcall::StreamClose, [self.number.into(), 0, 0, 0, 0, 0]);
    }
}

impl core::fmt::Debug for Stream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Stream")
    }
}
