//! Pseudo-terminals: two line disciplines, back to back, pty(7).
//!
//! What one end writes goes into a small store of the other, and from there through the other's line discipline.
//! The store holds what the line discipline has no room for; when both are full the writer waits. The program's
//! end ([`PROGRAM`]) has the line discipline that programs know; the controlling end's passes bytes on.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicU32, Ordering};

use super::{
    control::{self, Control, Terminal},
    file::End,
    line::{Effects, Line, Output},
    termios::Termios,
};
use crate::{
    errno::{Errno, Result},
    fs::{FileOps, dev, devpts::DevPts},
    mem::frame,
    signal::{SIGWINCH, SigSet},
    sync::{SpinLock, SpinLockGuard},
    task::{cred::Caps, current, wait::WaitQueue},
};

/// The end that `/dev/ptmx` gives.
pub const CONTROLLING: usize = 0;
/// The end that programs run on, `/dev/pts/N`.
pub const PROGRAM: usize = 1;

/// Most bytes that one printed character becomes: a tab's blanks.
const WIDEST: usize = 8;
/// Bytes on their way to an end that its line discipline has not taken.
const STORE: usize = 8192;

/// Bytes that wait for a line discipline. Their memory is there from the start, so that none is ever lost.
#[derive(Debug)]
pub(super) struct Store(Vec<u8>);

impl Store {
    /// Whether there may be no room for what one character becomes.
    pub(super) fn is_full(&self) -> bool {
        self.room() < WIDEST
    }
}

impl Output for Store {
    fn room(&self) -> usize {
        STORE - self.0.len()
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        self.0.extend_from_slice(&bytes[..count]);
        count
    }

    fn flush(&mut self) {
        self.0.clear();
    }
}

/// What belongs to one end.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) line: Line,
    pub(super) store: Store,
    /// Open file descriptions.
    opens: u32,
    /// The other end has been closed and nobody has opened it since.
    pub(super) other_closed: bool,
    /// `TIOCEXCL`
    pub(super) exclusive: bool,
    /// Reads begin with a byte that says what they are (`TIOCPKT`).
    pub(super) packets: bool,
}

impl Side {
    fn new(termios: Termios) -> Result<Self> {
        let mut store = Vec::new();
        store.try_reserve_exact(STORE).map_err(|_| Errno::ENOMEM)?;
        Ok(Self {
            line: Line::new(termios)?,
            store: Store(store),
            opens: 0,
            other_closed: false,
            exclusive: false,
            packets: false,
        })
    }

    /// Lets the line discipline take what it has room for; its echo goes to `out`.
    fn pump(&mut self, out: &mut Store) {
        if self.store.0.is_empty() {
            return;
        }
        let taken = self.line.receive(&self.store.0, out);
        self.store.0.drain(..taken);
    }
}

/// Both ends.
#[derive(Debug)]
pub(super) struct State {
    pub(super) sides: [Side; 2],
    /// The program's end cannot be opened (`TIOCSPTLCK`).
    pub(super) locked: bool,
    /// `struct winsize`
    pub(super) size: [u8; 8],
}

impl State {
    /// An end and the other one.
    pub(super) fn ends(&mut self, side: usize) -> (&mut Side, &mut Side) {
        let [controlling, program] = &mut self.sides;
        if side == CONTROLLING { (controlling, program) } else { (program, controlling) }
    }

    /// Moves what can be moved: typed bytes first, since their echo goes the other way.
    pub(super) fn settle(&mut self) {
        let (controlling, program) = self.ends(CONTROLLING);
        program.pump(&mut controlling.store);
        controlling.pump(&mut program.store);
    }
}

/// A pseudo-terminal.
pub struct Pty {
    state: SpinLock<State>,
    readers: [WaitQueue; 2],
    writers: [WaitQueue; 2],
    control: Control,
    /// How often each end was hung up: whoever opened it before has nothing of it any more.
    hang_ups: [AtomicU32; 2],
    /// N of `/dev/pts/N`.
    pub index: u32,
    /// Where its name is.
    fs: Weak<DevPts>,
}

impl core::fmt::Debug for Pty {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Pty({})", self.index)
    }
}

impl Pty {
    /// A new one, locked, that nobody has open.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(index: u32, fs: &Arc<DevPts>) -> Result<Arc<Self>> {
        if frame::is_short() {
            return Err(Errno::ENOMEM);
        }
        let sides = [Side::new(Termios::RAW)?, Side::new(Termios::COOKED)?];
        Ok(Arc::new(Self {
            state: SpinLock::new(State { sides, locked: true, size: [0; 8] }),
            readers: [const { WaitQueue::new() }; 2],
            writers: [const { WaitQueue::new() }; 2],
            control: Control::default(),
            hang_ups: [const { AtomicU32::new(0) }; 2],
            index,
            fs: Arc::downgrade(fs),
        }))
    }

    pub(super) fn lock(&self) -> SpinLockGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn readers(&self, side: usize) -> &WaitQueue {
        &self.readers[side]
    }

    pub(super) fn writers(&self, side: usize) -> &WaitQueue {
        &self.writers[side]
    }

    pub(super) fn hang_ups(&self, side: usize) -> u32 {
        self.hang_ups[side].load(Ordering::SeqCst)
    }

    /// Whether its name is in this file system.
    #[must_use]
    pub fn is_in(&self, fs: &Arc<DevPts>) -> bool {
        core::ptr::eq(self.fs.as_ptr(), Arc::as_ptr(fs))
    }

    /// As `TIOCSPTLCK` does.
    pub(crate) fn unlock(&self) {
        self.lock().locked = false;
    }

    /// As `TCSETS` does.
    #[cfg(test)]
    pub(crate) fn set_termios(&self, termios: Termios) {
        self.with(|state| {
            let (program, controlling) = state.ends(PROGRAM);
            program.line.set_termios(termios, &mut controlling.store);
        });
    }

    /// Bytes that an end's store holds.
    #[cfg(test)]
    pub(crate) fn waiting(&self, side: usize) -> usize {
        self.lock().ends(side).0.store.0.len()
    }

    /// Opens an end.
    ///
    /// # Errors
    /// `EIO` when it is locked or the other end is gone, `EBUSY` when it is somebody's alone.
    pub fn open(self: &Arc<Self>, side: usize) -> Result<Arc<End>> {
        {
            let mut state = self.state.lock();
            let locked = state.locked;
            let (own, other) = state.ends(side);
            if side == PROGRAM {
                if own.exclusive && !current().with_cred(|cred| cred.capable(Caps::SYS_ADMIN)) {
                    return Err(Errno::EBUSY);
                }
                if locked || own.other_closed || other.opens == 0 {
                    return Err(Errno::EIO);
                }
                other.other_closed = false;
            }
            own.opens += 1;
        }
        Ok(End::new(self.clone(), side))
    }

    /// An open file description of an end is gone.
    pub(super) fn closed(&self, side: usize) {
        let (last, unused) = {
            let mut state = self.state.lock();
            let (own, other) = state.ends(side);
            own.opens -= 1;
            let last = own.opens == 0;
            if last {
                other.other_closed = true;
                if side == CONTROLLING {
                    own.packets = false;
                    own.other_closed = true;
                    other.line.watch(false);
                }
            }
            (last, last && other.opens == 0 && (side == CONTROLLING || own.other_closed))
        };
        if last {
            self.wake_all();
            if side == CONTROLLING {
                if let Some(fs) = self.fs.upgrade() {
                    fs.remove(self.index);
                }
                self.hang_up(PROGRAM);
            }
        }
        if unused && let Some(fs) = self.fs.upgrade() {
            fs.release(self.index);
        }
    }

    fn wake_all(&self) {
        self.readers.iter().chain(&self.writers).for_each(WaitQueue::wake_all);
    }

    /// Whoever has the end open has nothing of it any more, vhangup(2).
    pub(super) fn hang_up(&self, side: usize) {
        self.hang_ups[side].fetch_add(1, Ordering::SeqCst);
        if side == PROGRAM {
            control::hang_up(self);
        }
        {
            let mut state = self.state.lock();
            let (own, other) = state.ends(side);
            own.line.flush_input();
            own.line.flush_output(&mut other.store);
            let usual = if side == PROGRAM { Termios::COOKED } else { Termios::RAW };
            own.line.set_termios(usual, &mut other.store);
            own.line.take_status();
            own.line.take_effects();
        }
        self.wake_all();
    }

    /// Does something to both ends, moves what can be moved then, and tells everybody who is to know.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let (result, effects) = {
            let mut state = self.state.lock();
            let result = f(&mut state);
            state.settle();
            (result, [CONTROLLING, PROGRAM].map(|side| state.sides[side].line.take_effects()))
        };
        self.tell(effects);
        result
    }

    fn tell(&self, effects: [Effects; 2]) {
        for (side, effects) in effects.into_iter().enumerate() {
            if side == PROGRAM && !effects.signals.is_empty() {
                control::send_to_foreground(self, effects.signals);
            }
            if effects.readable {
                self.readers[side].wake_all();
            }
            if effects.writable {
                self.writers[side].wake_all();
            }
            if effects.status {
                self.readers[1 - side].wake_all();
            }
        }
    }

    /// `TIOCSWINSZ`: who runs in the foreground is told of a change.
    pub(super) fn set_size(&self, size: [u8; 8]) {
        let old = core::mem::replace(&mut self.state.lock().size, size);
        if old != size {
            control::send_to_foreground(self, SigSet::of(&[SIGWINCH]));
        }
    }

    /// `struct winsize`
    pub(super) fn size(&self) -> [u8; 8] {
        self.state.lock().size
    }
}

impl Terminal for Pty {
    fn control(&self) -> &Control {
        &self.control
    }

    fn number(&self) -> u64 {
        dev::make(dev::PTS_MAJOR, u64::from(self.index))
    }

    fn reopen(self: Arc<Self>) -> Result<Arc<dyn FileOps>> {
        Ok(self.open(PROGRAM)?)
    }
}
