//! The line discipline: what happens to bytes between the two ends of a terminal, termios(3).
//!
//! [`Line::receive`] takes what was typed (`input`, `edit`), [`Line::write`] what a program prints (`output`,
//! with the `echo`), and `read` gives what was typed to the program. Everything is bounded: what was typed and
//! not read by [`SIZE`], the echo that waits by as much.

mod chars;
mod echo;
mod edit;
mod input;
mod output;
mod read;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use linux_raw_sys::general::{
    ECHO, EXTPROC, ICANON, ICRNL, IEXTEN, IGNCR, INLCR, ISIG, ISTRIP, IUCLC, IXANY, IXON, PARMRK,
    TIOCPKT_DOSTOP, TIOCPKT_FLUSHREAD, TIOCPKT_FLUSHWRITE, TIOCPKT_IOCTL, TIOCPKT_NOSTOP, TIOCPKT_START,
    TIOCPKT_STOP, TOSTOP, VEOF, VEOL, VEOL2, VERASE, VINTR, VKILL, VLNEXT, VMIN, VQUIT, VREPRINT, VSTART,
    VSTOP, VSUSP, VTIME, VWERASE,
};

use super::termios::Termios;
use crate::{
    errno::{Errno, Result},
    signal::SigSet,
};
use echo::Echo;
pub use output::Output;

/// Bytes that can have been typed and not read, and one more than the longest line with its end.
pub const SIZE: usize = 4096;

/// A character that is given to no function; it also stands for the end of a file that was typed.
const DISABLED: u8 = 0;

/// What others are to be told once nothing is locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Signals for the foreground group.
    pub signals: SigSet,
    /// There may be something to read.
    pub readable: bool,
    /// Writers may go on.
    pub writable: bool,
    /// The other end may have a status to read.
    pub status: bool,
}

/// One end's line discipline.
#[derive(Debug)]
pub struct Line {
    termios: Termios,
    /// What was typed, a ring: places are counted on and wrapped when they are used.
    bytes: Vec<u8>,
    /// A bit for each place: a line ends there.
    ends: [u64; SIZE / 64],
    /// Where the next byte goes.
    head: usize,
    /// The next byte to read.
    tail: usize,
    /// Lines are complete up to here.
    canon: usize,
    /// Bytes may be read up to here when input is not by lines.
    committed: usize,
    /// Characters that mean something in these settings.
    special: [u64; 4],
    /// No character means anything.
    raw: bool,
    /// The next character is taken as it is.
    literal: bool,
    /// Erased characters are being shown, up to a slash.
    erasing: bool,
    /// Column of the output, and where the line that is typed began.
    column: u32,
    canon_column: u32,
    echo: Echo,
    /// Output is stopped, by a character or by a program.
    stopped: bool,
    stopped_by_program: bool,
    /// The other end reads statuses (`TIOCPKT`).
    watched: bool,
    /// `TIOCPKT_*` for the other end.
    status: u8,
    effects: Effects,
}

impl Line {
    /// A line discipline with these settings.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(termios: Termios) -> Result<Self> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(SIZE).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(SIZE, 0);
        let mut line = Self {
            termios,
            bytes,
            ends: [0; SIZE / 64],
            head: 0,
            tail: 0,
            canon: 0,
            committed: 0,
            special: [0; 4],
            raw: false,
            literal: false,
            erasing: false,
            column: 0,
            canon_column: 0,
            echo: Echo::default(),
            stopped: false,
            stopped_by_program: false,
            watched: false,
            status: 0,
            effects: Effects::default(),
        };
        line.choose_special();
        Ok(line)
    }

    /// Its settings.
    #[must_use]
    pub const fn termios(&self) -> &Termios {
        &self.termios
    }

    /// What others are to be told since this was asked last.
    pub fn take_effects(&mut self) -> Effects {
        core::mem::take(&mut self.effects)
    }

    const fn iflag(&self, flag: u32) -> bool {
        self.termios.input & flag != 0
    }

    const fn oflag(&self, flag: u32) -> bool {
        self.termios.output & flag != 0
    }

    const fn lflag(&self, flag: u32) -> bool {
        self.termios.local & flag != 0
    }

    const fn char(&self, index: u32) -> u8 {
        self.termios.char(index)
    }

    /// Whether input is by lines that are edited here.
    #[must_use]
    pub const fn is_canonical(&self) -> bool {
        self.lflag(ICANON) && !self.lflag(EXTPROC)
    }

    /// Whether a read ends with what there is: `VMIN` and `VTIME` mean nothing.
    #[must_use]
    pub const fn is_by_lines(&self) -> bool {
        self.lflag(ICANON)
    }

    /// `VMIN` and `VTIME`.
    #[must_use]
    pub const fn minimum_and_time(&self) -> (u8, u8) {
        (self.char(VMIN), self.char(VTIME))
    }

    fn byte(&self, place: usize) -> u8 {
        self.bytes[place % SIZE]
    }

    fn is_end(&self, place: usize) -> bool {
        let place = place % SIZE;
        self.ends[place / 64] & 1 << (place % 64) != 0
    }

    fn set_end(&mut self, place: usize, on: bool) {
        let place = place % SIZE;
        let bit = 1 << (place % 64);
        if on { self.ends[place / 64] |= bit } else { self.ends[place / 64] &= !bit }
    }

    /// Other settings.
    pub fn set_termios(&mut self, termios: Termios, out: &mut impl Output) {
        let old = core::mem::replace(&mut self.termios, termios);
        if (old.local ^ termios.local) & (ICANON | EXTPROC) != 0 {
            self.ends = [0; SIZE / 64];
            if !self.lflag(ICANON) || self.head == self.tail {
                self.canon = self.tail;
            } else {
                // What was typed so far is a line of its own.
                self.set_end(self.head.wrapping_sub(1), true);
                self.canon = self.head;
            }
            self.committed = self.head;
            self.erasing = false;
            self.literal = false;
        }
        self.choose_special();
        self.tell_flow(&old);
        if !self.iflag(IXON) && old.input & IXON != 0 && !self.stopped_by_program {
            self.start();
            self.process_echo(out);
        }
        self.effects.readable = true;
        self.effects.writable = true;
    }

    /// Notes in the status whether the flow characters are the usual ones.
    fn tell_flow(&mut self, old: &Termios) {
        if !self.watched {
            return;
        }
        let usual = |termios: &Termios| {
            termios.input & IXON != 0 && termios.char(VSTOP) == 0x13 && termios.char(VSTART) == 0x11
        };
        let (before, now) = (usual(old), usual(&self.termios));
        if before != now {
            let (gone, set) =
                if now { (TIOCPKT_NOSTOP, TIOCPKT_DOSTOP) } else { (TIOCPKT_DOSTOP, TIOCPKT_NOSTOP) };
            self.note_status(gone, set);
        }
        if (old.local | self.termios.local) & EXTPROC != 0 {
            self.note_status(0, TIOCPKT_IOCTL);
        }
    }

    /// Finds which characters mean something in these settings.
    fn choose_special(&mut self) {
        self.special = [0; 4];
        self.raw = !self.iflag(ISTRIP | IUCLC | IGNCR | ICRNL | INLCR | IXON | PARMRK)
            && !self.lflag(ICANON | ISIG | ECHO);
        let mut wanted = [DISABLED; 20];
        let mut count = 0;
        let mut add = |char: u8| {
            wanted[count] = char;
            count += 1;
        };
        if self.iflag(IGNCR | ICRNL) {
            add(b'\r');
        }
        if self.iflag(INLCR) {
            add(b'\n');
        }
        if self.lflag(ICANON) {
            [VERASE, VKILL, VEOF, VEOL].iter().for_each(|&index| add(self.char(index)));
            add(b'\n');
            if self.lflag(IEXTEN) {
                [VWERASE, VLNEXT, VEOL2].iter().for_each(|&index| add(self.char(index)));
                if self.lflag(ECHO) {
                    add(self.char(VREPRINT));
                }
            }
        }
        if self.iflag(IXON) {
            [VSTART, VSTOP].iter().for_each(|&index| add(self.char(index)));
        }
        if self.lflag(ISIG) {
            [VINTR, VQUIT, VSUSP].iter().for_each(|&index| add(self.char(index)));
        }
        for char in wanted.into_iter().filter(|&char| char != DISABLED) {
            self.special[usize::from(char) / 64] |= 1 << (char % 64);
        }
    }

    const fn is_special(&self, char: u8) -> bool {
        self.special[char as usize / 64] & 1 << (char % 64) != 0
    }

    /// Whether output is stopped.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn stop(&mut self) {
        if !self.stopped {
            self.stopped = true;
            self.note_status(TIOCPKT_START, TIOCPKT_STOP);
        }
    }

    fn start(&mut self) {
        if self.stopped && !self.stopped_by_program {
            self.stopped = false;
            self.note_status(TIOCPKT_STOP, TIOCPKT_START);
            self.effects.writable = true;
        }
    }

    /// `TCOOFF` and `TCOON`.
    pub fn stop_by_program(&mut self, stop: bool) {
        if stop && !self.stopped_by_program {
            self.stopped_by_program = true;
            self.stop();
        } else if !stop && self.stopped_by_program {
            self.stopped_by_program = false;
            self.start();
        }
    }

    /// Sends a character before everything else and though output is stopped (`TCIOFF`, `TCION`).
    pub fn send(&mut self, char: u8, out: &mut impl Output) {
        let stopped = self.stopped;
        if stopped {
            self.start();
        }
        if !self.stopped {
            out.put(&[char]);
        }
        if stopped {
            self.stop();
        }
    }

    /// Any character goes on with output that was stopped by one.
    fn start_by_any(&mut self, out: &mut impl Output) {
        if self.stopped && !self.stopped_by_program && self.iflag(IXON) && self.iflag(IXANY) {
            self.start();
            self.process_echo(out);
        }
    }

    /// The other end has room again.
    pub fn note_room(&mut self) {
        self.effects.writable = true;
    }

    /// Whether output from processes that are not in the foreground stops them.
    #[must_use]
    pub const fn stops_background(&self) -> bool {
        self.lflag(TOSTOP)
    }

    fn note_status(&mut self, gone: u32, set: u32) {
        if self.watched {
            self.status = self.status & !(gone as u8) | set as u8;
            self.effects.status = true;
        }
    }

    /// The other end reads statuses from now on, or does not.
    pub fn watch(&mut self, on: bool) {
        if on && !self.watched {
            self.status = 0;
        }
        self.watched = on;
    }

    /// The status for the other end; 0 for none.
    #[must_use]
    pub const fn status(&self) -> u8 {
        self.status
    }

    /// Takes the status.
    pub fn take_status(&mut self) -> u8 {
        core::mem::take(&mut self.status)
    }

    /// Forgets what was typed.
    pub fn flush_input(&mut self) {
        (self.head, self.tail, self.canon, self.committed) = (0, 0, 0, 0);
        self.ends = [0; SIZE / 64];
        self.erasing = false;
        self.note_status(0, TIOCPKT_FLUSHREAD);
    }

    /// Forgets what was printed and did not arrive.
    pub fn flush_output(&mut self, out: &mut impl Output) {
        out.flush();
        self.note_status(0, TIOCPKT_FLUSHWRITE);
    }
}
