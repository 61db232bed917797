//! An open end of a pseudo-terminal: reading, writing, polling.

use alloc::{sync::Arc, vec::Vec};

use super::{
    Terminal, control, ioctl,
    pty::{PROGRAM, Pty},
};
use crate::{
    arch::clock,
    errno::{Errno, Result},
    fs::{File, FileOps, PollMask},
    signal::{SIGTTIN, SIGTTOU},
    task::wait::{WaitError, WaitQueue},
    uio::{Sink, Source},
};

/// Most bytes of one read: all that a line discipline keeps.
const MOST: usize = super::line::SIZE;
/// Reads up to this need no memory.
const SMALL: usize = 256;
/// Bytes that a read takes before it looks whether `VMIN` is reached, and the most that `VMIN` waits for.
const PIECE: usize = 64;
/// Bytes of a write that are taken from the program at once.
const WRITE_PIECE: usize = 2048;
/// What `VTIME` counts in, ns.
const TENTH: u64 = 100_000_000;

/// An open end.
pub struct End {
    pty: Arc<Pty>,
    side: usize,
    /// How often the end had been hung up when this was opened.
    hang_ups: u32,
}

impl core::fmt::Debug for End {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "End({:?}, {})", self.pty, self.side)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.pty.closed(self.side);
    }
}

/// What a read waits for when input is not by lines.
struct Patience {
    /// Bytes that end it.
    minimum: usize,
    /// When it ends though there is nothing, CLOCK_MONOTONIC ns.
    deadline: Option<u64>,
    /// Time between bytes, ns; 0 = any.
    gap: u64,
    /// It only looks.
    looks: bool,
}

impl Patience {
    fn new(by_lines: bool, (minimum, time): (u8, u8)) -> Self {
        let time = u64::from(time) * TENTH;
        match (by_lines, minimum, time) {
            (true, ..) => Self { minimum: 0, deadline: None, gap: 0, looks: false },
            (false, 0, 0) => Self { minimum: 1, deadline: None, gap: 0, looks: true },
            (false, 0, _) => {
                Self { minimum: 1, deadline: Some(clock::monotonic_ns() + time), gap: 0, looks: false }
            }
            _ => Self { minimum: usize::from(minimum), deadline: None, gap: time, looks: false },
        }
    }
}

/// One look at what there is to read.
enum Look {
    Done,
    /// Bytes came and more are wanted.
    More,
    Empty,
    /// Nothing will come.
    Gone,
}

impl End {
    pub(super) fn new(pty: Arc<Pty>, side: usize) -> Arc<Self> {
        let hang_ups = pty.hang_ups(side);
        Arc::new(Self { pty, side, hang_ups })
    }

    /// The pseudo-terminal.
    #[must_use]
    pub fn pty(&self) -> &Arc<Pty> {
        &self.pty
    }

    /// Which end it is.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }

    /// Whether the end was hung up since this was opened.
    pub(super) fn is_hung_up(&self) -> bool {
        self.pty.hang_ups(self.side) != self.hang_ups
    }

    /// What job control says to a caller of whose session this is the terminal.
    pub(super) fn check(&self, signo: u32) -> Result<()> {
        if self.side == PROGRAM { control::check(&*self.pty, signo) } else { Ok(()) }
    }

    fn look(&self, buffer: &mut [u8], done: &mut usize, minimum: usize) -> Look {
        self.pty.with(|state| {
            let (own, other) = state.ends(self.side);
            if own.packets && other.line.status() != 0 {
                if *done == 0 {
                    buffer[0] = other.line.take_status();
                    *done = 1;
                }
                return Look::Done;
            }
            if !own.line.has_input(false) {
                return if own.other_closed { Look::Gone } else { Look::Empty };
            }
            // Only then a writer may wait; others are not to be woken for nothing.
            if own.store.is_full() {
                other.line.note_room();
            }
            if own.line.is_canonical() {
                *done = own.line.read_line(buffer);
                return Look::Done;
            }
            if own.packets && *done == 0 {
                buffer[0] = 0;
                *done = 1;
            }
            let piece = buffer.len().min(PIECE);
            let mut more = false;
            if *done < piece {
                let (count, left) = own.line.read_bytes(&mut buffer[*done..piece]);
                *done += count;
                more = left;
            }
            if more && *done >= minimum {
                *done += own.line.read_bytes(&mut buffer[*done..]).0;
            }
            if *done >= minimum.min(piece) { Look::Done } else { Look::More }
        })
    }

    fn read(&self, file: &File, buffer: &mut [u8]) -> Result<usize> {
        let mut patience = {
            let mut state = self.pty.lock();
            let line = &state.ends(self.side).0.line;
            Patience::new(line.is_by_lines(), line.minimum_and_time())
        };
        let mut done = 0;
        let result = loop {
            match self.look(buffer, &mut done, patience.minimum) {
                Look::Done => break Ok(()),
                Look::More => {
                    if patience.gap != 0 {
                        patience.deadline = Some(clock::monotonic_ns() + patience.gap);
                    }
                    continue;
                }
                Look::Gone => break Err(Errno::EIO),
                Look::Empty if self.is_hung_up() || patience.looks => break Ok(()),
                Look::Empty if file.nonblocking() => break Err(Errno::EAGAIN),
                Look::Empty => {}
            }
            match self.wait_for_input(patience.deadline) {
                Ok(()) => {}
                Err(WaitError::TimedOut) => patience.looks = true,
                Err(error @ WaitError::Interrupted) => break Err(error.into()),
            }
        };
        if done != 0 { Ok(done) } else { result.map(|()| 0) }
    }

    fn wait_for_input(&self, deadline: Option<u64>) -> core::result::Result<(), WaitError> {
        self.pty.readers(self.side).wait_until_deadline(deadline, || {
            let mut state = self.pty.lock();
            let (own, other) = state.ends(self.side);
            let ready = own.line.has_input(false)
                || own.other_closed
                || own.packets && other.line.status() != 0
                || self.is_hung_up();
            ready.then_some(())
        })
    }

    /// Whether a write cannot go on, ever.
    fn is_over(&self) -> bool {
        self.is_hung_up() || self.side == PROGRAM && self.pty.lock().ends(self.side).0.other_closed
    }

    /// Writes a piece that was taken from the program.
    fn write_piece(&self, file: &File, bytes: &[u8]) -> Result<usize> {
        if self.side == PROGRAM && self.pty.lock().ends(PROGRAM).0.line.stops_background() {
            self.check(SIGTTOU)?;
        }
        let mut done = 0;
        let error = loop {
            if self.is_over() {
                break Errno::EIO;
            }
            done += self.pty.with(|state| {
                let (own, other) = state.ends(self.side);
                own.line.write(&bytes[done..], &mut other.store)
            });
            // The other end reads bytes from its line discipline only once they were moved there.
            if done == bytes.len() {
                return Ok(done);
            }
            if file.nonblocking() {
                break Errno::EAGAIN;
            }
            let ready =
                self.pty.writers(self.side).wait_until(|| (self.has_room() || self.is_over()).then_some(()));
            if let Err(error) = ready {
                break error;
            }
        };
        if done != 0 { Ok(done) } else { Err(error) }
    }

    /// Whether something can be written now.
    fn has_room(&self) -> bool {
        let mut state = self.pty.lock();
        let (own, other) = state.ends(self.side);
        !own.line.is_stopped() && !other.store.is_full()
    }
}

impl FileOps for End {
    fn read_at(&self, file: &File, sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        if self.is_hung_up() {
            return Ok(0);
        }
        self.check(SIGTTIN)?;
        let wanted = sink.remaining().min(MOST);
        if wanted == 0 {
            return Ok(0);
        }
        let mut small = [0; SMALL];
        let mut large = Vec::new();
        let buffer = if wanted <= SMALL {
            &mut small[..wanted]
        } else {
            large.try_reserve_exact(wanted).map_err(|_| Errno::ENOMEM)?;
            large.resize(wanted, 0);
            &mut large[..]
        };
        let count = self.read(file, buffer)?;
        sink.write(&buffer[..count])
    }

    fn write_at(&self, file: &File, source: &mut Source<'_>, _offset: u64) -> Result<usize> {
        if self.is_hung_up() {
            return Err(Errno::EIO);
        }
        let mut piece = Vec::new();
        let len = source.remaining().min(WRITE_PIECE);
        piece.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        piece.resize(len, 0);
        let mut done = 0;
        loop {
            let len = source.remaining().min(WRITE_PIECE);
            let step = match source.read(&mut piece[..len]) {
                Ok(count) if count == len => self.write_piece(file, &piece[..len]),
                _ => Err(Errno::EFAULT),
            };
            match step {
                Ok(count) => {
                    done += count;
                    if count < len || source.remaining() == 0 {
                        return Ok(done);
                    }
                }
                Err(_) if done != 0 => return Ok(done),
                Err(error) => return Err(error),
            }
        }
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn poll(&self, _file: &File) -> PollMask {
        let mut mask = PollMask::empty();
        if self.is_hung_up() {
            return PollMask::READABLE | PollMask::WRITABLE | PollMask::ERR | PollMask::HUP;
        }
        {
            let mut state = self.pty.lock();
            let (own, other) = state.ends(self.side);
            if own.line.has_input(true) {
                mask |= PollMask::READABLE;
            }
            if own.packets && other.line.status() != 0 {
                mask |= PollMask::PRI | PollMask::READABLE;
            }
            if own.other_closed {
                mask |= PollMask::HUP;
            }
        }
        if self.has_room() {
            mask |= PollMask::WRITABLE;
        }
        mask
    }

    fn queues(&self) -> [Option<&WaitQueue>; 2] {
        [Some(self.pty.readers(self.side)), Some(self.pty.writers(self.side))]
    }

    fn tells(&self) -> bool {
        true
    }

    fn ioctl(&self, file: &File, request: u32, arg: u64) -> Result<u64> {
        ioctl::ioctl(self, file, request, arg)
    }
}

/// A device node was opened as `ops` with these flags: a terminal may become that of the caller's session.
pub fn opened(ops: &Arc<dyn FileOps>, flags: u32) {
    use linux_raw_sys::general::{O_ACCMODE, O_NOCTTY, O_WRONLY};
    let any: &dyn core::any::Any = ops.as_ref();
    let Some(end) = any.downcast_ref::<End>() else { return };
    if end.side == PROGRAM && flags & O_NOCTTY == 0 && flags & O_ACCMODE != O_WRONLY {
        let terminal: Arc<dyn Terminal> = end.pty.clone();
        control::opened(terminal);
    }
}
