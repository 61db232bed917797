//! Streams of the host: standard input, output and error, terminals among them.
//!
//! The host reads and writes what is there now. To wait, a stream is armed: the host announces readiness once
//! by the event interrupt, which ends up in [`on_event`].

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use hostcall::{Attr, FileSystemStat, Hostcall, MAX_STREAMS};
use linux_raw_sys::{
    general::{O_RDWR, S_IFCHR, S_IFMT, TOSTOP},
    ioctl::{TCGETS, TCSETS, TCSETSF, TIOCGWINSZ, TIOCSWINSZ},
};
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
    signal::{SIGTTIN, SIGTTOU},
    sync::SpinLock,
    task::wait::WaitQueue,
    tty::{
        self, Terminal,
        control::{self, Control},
    },
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

/// A terminal of the host that streams lead to; also what `/dev/console` is. Its line discipline is the host's; what
/// it controls is ours.
pub struct Console {
    attr: Attr,
    /// Streams that lead to it.
    streams: SpinLock<Vec<Weak<Stream>>>,
    control: Control,
    /// What prints in the background is stopped (`TOSTOP`), as it was set or seen last.
    stops_background: AtomicBool,
}

impl Console {
    fn stream(&self) -> Option<Arc<Stream>> {
        self.streams.lock().iter().find_map(Weak::upgrade)
    }
}

impl Terminal for Console {
    fn control(&self) -> &Control {
        &self.control
    }

    fn number(&self) -> u64 {
        self.attr.rdev
    }

    fn reopen(self: Arc<Self>) -> Result<Arc<dyn FileOps>> {
        Ok(self.stream().ok_or(Errno::EIO)?)
    }
}

impl Inode for Console {
    fn attr(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn kind(&self) -> u32 {
        S_IFCHR
    }

    fn statfs(&self) -> Result<FileSystemStat> {
        Ok(anon::plain_statfs(0x1cd1))
    }

    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn FileOps>> {
        self.reopen()
    }
}

/// Terminals that streams lead to.
static CONSOLES: SpinLock<Vec<Weak<Console>>> = SpinLock::new(Vec::new());

/// The terminal with this device number; it is one as long as any stream leads to it.
fn console(attr: &Attr) -> Arc<Console> {
    let mut all = CONSOLES.lock();
    all.retain(|console| console.strong_count() != 0);
    let known = all.iter().filter_map(Weak::upgrade).find(|console| {
        console.attr.rdev == attr.rdev
            && console.streams.lock().iter().any(|stream| stream.strong_count() != 0)
    });
    known.unwrap_or_else(|| {
        let console = Arc::new(Console {
            attr: *attr,
            streams: SpinLock::default(),
            control: Control::default(),
            stops_background: AtomicBool::new(false),
        });
        all.push(Arc::downgrade(&console));
        console
    })
}

/// An open stream; also its inode.
pub struct Stream {
    number: u32,
    attr: Attr,
    console: Option<Arc<Console>>,
}

/// What leads to stream `number`. It belongs to `uid`, as runc gives it to the container's user, so that the user
/// may open it again.
fn stream(number: u32, uid: u32) -> Result<Arc<Stream>> {
    if number as usize >= MAX_STREAMS {
        return Err(Errno::EBADF);
    }
    let mut attr = Attr::default();
    call_data(Hostcall::StreamStat, [number.into(), 0, 0, 0, 0, 0], &[], attr.as_mut_bytes())?;
    attr.uid = uid;
    let mut stream = Stream { number, attr, console: None };
    if attr.mode & S_IFMT == S_IFCHR && stream.is_terminal() {
        stream.console = Some(console(&attr));
    }
    let stream = Arc::new(stream);
    if let Some(console) = &stream.console {
        let mut streams = console.streams.lock();
        streams.retain(|stream| stream.strong_count() != 0);
        streams.push(Arc::downgrade(&stream));
    }
    Ok(stream)
}

/// Opens stream `number` as a descriptor.
///
/// # Errors
/// `EBADF` when the sandbox was not given it.
pub fn open(number: u32, uid: u32) -> Result<Arc<File>> {
    let stream = stream(number, uid)?;
    let attr = stream.attr;
    let name = match attr.mode & S_IFMT {
        linux_raw_sys::general::S_IFIFO => anon::numbered("pipe", attr.ino),
        linux_raw_sys::general::S_IFSOCK => anon::numbered("socket", attr.ino),
        S_IFCHR if stream.console.is_some() => b"/dev/console".to_vec(),
        S_IFCHR => b"/dev/null".to_vec(),
        _ => anon::numbered("stream", number.into()),
    };
    Ok(File::anonymous(stream.clone(), stream, &name, O_RDWR))
}

/// What leads to stream `number`, to be used by the kernel.
///
/// # Errors
/// `EBADF` when the sandbox was not given it.
pub fn raw(number: u32) -> Result<Arc<Stream>> {
    stream(number, 0)
}

impl Stream {
    /// Takes what is there; 0 at its end.
    ///
    /// # Errors
    /// `EAGAIN` when nothing is there; the host's.
    pub fn take(&self, bytes: &mut [u8]) -> Result<usize> {
        let mut sink = Sink::Kernel(bytes);
        Self::with_buffer(sink.remaining(), |buffer, len| {
            let read = call(Hostcall::StreamRead, [self.number.into(), buffer.0, len as u64, 0, 0, 0])?;
            copy::to_sink(&mut sink, buffer, (read as usize).min(len))
        })
    }

    /// Gives what the host takes now; how much that was.
    ///
    /// # Errors
    /// `EAGAIN` when it takes nothing; the host's.
    pub fn give(&self, bytes: &[u8]) -> Result<usize> {
        let mut source = Source::Kernel(bytes);
        Self::with_buffer(source.remaining(), |buffer, len| {
            let len = copy::from_source(&mut source, buffer, len)?;
            let written = call(Hostcall::StreamWrite, [self.number.into(), buffer.0, len as u64, 0, 0, 0])?;
            Ok((written as usize).min(len))
        })
    }

    /// Waits, whatever signals come, until `events` may be ready or it is `over`.
    pub fn await_ready(&self, events: PollMask, over: impl Fn() -> bool) {
        let ready = self.ready();
        let seen = ready.events.load(Ordering::SeqCst);
        if self.arm(events).is_empty() {
            let announced = || ready.events.load(Ordering::SeqCst) != seen;
            ready.queue.wait_uninterruptible(|| (over() || announced()).then_some(()));
        }
    }

    /// Lets whoever waits look again.
    pub fn wake(&self) {
        self.ready().queue.wake_all();
    }

    /// `struct winsize` of the terminal.
    ///
    /// # Errors
    /// `ENOTTY` where it leads to none.
    pub fn size(&self) -> Result<[u8; 8]> {
        let mut size = [0; 8];
        self.terminal(TIOCGWINSZ, &[], &mut size)?;
        Ok(size)
    }

    /// Whether it led to a terminal when it was opened.
    #[must_use]
    pub fn is_terminal_end(&self) -> bool {
        self.console.is_some()
    }

    /// The terminal that it leads to.
    #[must_use]
    pub fn console(&self) -> Option<Arc<Console>> {
        self.console.clone()
    }

    /// What job control says to a caller of whose session this is the terminal.
    fn check(&self, signo: u32) -> Result<()> {
        self.console.as_ref().map_or(Ok(()), |console| control::check(&**console, signo))
    }

    /// The settings of its terminal were seen.
    fn note_settings(&self, termios: &[u8; 36]) {
        let Some(console) = &self.console else { return };
        let local = u32::from_ne_bytes([termios[12], termios[13], termios[14], termios[15]]);
        console.stops_background.store(local & TOSTOP != 0, Ordering::Relaxed);
    }

    fn ready(&self) -> &'static Ready {
        &READY[self.number as usize]
    }

    fn is_terminal(&self) -> bool {
        let mut termios = [0; 36];
        self.terminal(TCGETS, &[], &mut termios).is_ok()
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
        self.check(SIGTTIN)?;
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
        if self.console.as_ref().is_some_and(|console| console.stops_background.load(Ordering::Relaxed)) {
            self.check(SIGTTOU)?;
        }
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

    fn ioctl(&self, file: &File, request: u32, arg: u64) -> Result<u64> {
        let mut data = [0; 36];
        match request {
            TCGETS => {
                self.terminal(request, &[], &mut data)?;
                self.note_settings(&data);
                uaccess::copy_to_user(arg, &data)?;
            }
            TIOCGWINSZ => {
                self.terminal(request, &[], &mut data[..8])?;
                uaccess::copy_to_user(arg, &data[..8])?;
            }
            TCSETS..=TCSETSF => {
                self.check(SIGTTOU)?;
                uaccess::copy_from_user(&mut data, arg)?;
                self.terminal(request, &data, &mut [])?;
                self.note_settings(&data);
            }
            TIOCSWINSZ => {
                uaccess::copy_from_user(&mut data[..8], arg)?;
                self.terminal(request, &data[..8], &mut [])?;
            }
            _ => {
                let terminal: Arc<dyn Terminal> = self.console().ok_or(Errno::ENOTTY)?;
                return tty::ioctl::job_control(&terminal, false, file, request, arg);
            }
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

impl core::fmt::Debug for Console {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Console({:#x})", self.attr.rdev)
    }
}

impl core::fmt::Debug for Stream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Stream")
    }
}
