//! What is typed: flow control, signals, translation, and the queue.

use linux_raw_sys::general::{
    ECHO, EXTPROC, ICANON, ICRNL, IEXTEN, IGNCR, INLCR, ISIG, ISTRIP, IUCLC, IXON, NOFLSH, PARMRK, VINTR,
    VQUIT, VSTART, VSTOP, VSUSP,
};

use super::{Line, Output, SIZE, chars, echo::Step};
use crate::signal::{SIGINT, SIGQUIT, SIGTSTP};

impl Line {
    /// Takes typed bytes as far as there is room; gives how many. Echo goes to `out`.
    ///
    /// A line that is longer than fits is cut, not refused: as long as there is no complete line to read, what
    /// does not fit replaces the last byte, so that erasing works and the line can be ended.
    pub fn receive(&mut self, input: &[u8], out: &mut impl Output) -> usize {
        let mut done = 0;
        loop {
            let free = SIZE - self.head.wrapping_sub(self.tail);
            // A byte may be marked by others, which take room too.
            let free = if self.iflag(PARMRK) { free.div_ceil(3) } else { free };
            let mut room = free.saturating_sub(1);
            if room == 0 && self.lflag(ICANON) && self.canon == self.tail {
                if free == 0 {
                    self.head = self.head.wrapping_sub(1);
                }
                room = 1;
            }
            let count = room.min(input.len() - done);
            if count == 0 {
                return done;
            }
            self.take(&input[done..done + count], out);
            done += count;
        }
    }

    fn take(&mut self, input: &[u8], out: &mut impl Output) {
        let translates = self.iflag(ISTRIP) || self.iflag(IUCLC) && self.lflag(IEXTEN);
        if self.raw || self.lflag(EXTPROC) && !translates {
            input.iter().for_each(|&char| self.queue(char));
        } else {
            input.iter().for_each(|&char| self.take_char(char, out));
            self.process_echo(out);
        }
        if !self.is_canonical() {
            self.committed = self.head;
            if self.head != self.tail {
                self.effects.readable = true;
            }
        }
    }

    pub(super) fn queue(&mut self, char: u8) {
        // A byte that is doubled may not fit in a line that is cut.
        if self.head.wrapping_sub(self.tail) < SIZE {
            self.bytes[self.head % SIZE] = char;
            self.head = self.head.wrapping_add(1);
        }
    }

    /// Queues a character as data, twice where that tells it from a mark.
    fn queue_data(&mut self, char: u8) {
        if char == 0xff && self.iflag(PARMRK) {
            self.queue(char);
        }
        self.queue(char);
    }

    fn take_char(&mut self, char: u8, out: &mut impl Output) {
        let mut char = char;
        if self.iflag(ISTRIP) {
            char &= 0x7f;
        }
        if self.iflag(IUCLC) && self.lflag(IEXTEN) {
            char = chars::lower(char);
        }
        if core::mem::take(&mut self.literal) {
            self.take_plain(char, out);
        } else if self.lflag(EXTPROC) {
            self.queue(char);
        } else if self.is_special(char) {
            self.take_special(char, out);
        } else {
            self.take_plain(char, out);
        }
    }

    /// A character without a meaning.
    fn take_plain(&mut self, char: u8, out: &mut impl Output) {
        self.start_by_any(out);
        if self.lflag(ECHO) {
            self.finish_erasing();
            self.begin_line();
            self.show(char);
            self.commit_echo(out);
        }
        self.queue_data(char);
    }

    /// Remembers where the line that is typed begins.
    pub(super) fn begin_line(&mut self) {
        if self.canon == self.head {
            self.echo.add(Step::Begin);
        }
    }

    fn take_special(&mut self, char: u8, out: &mut impl Output) {
        if self.iflag(IXON) {
            if char == self.char(VSTART) {
                self.start();
                self.process_echo(out);
                return;
            }
            if char == self.char(VSTOP) {
                self.stop();
                return;
            }
        }
        if self.lflag(ISIG) {
            for (index, signo) in [(VINTR, SIGINT), (VQUIT, SIGQUIT), (VSUSP, SIGTSTP)] {
                if char == self.char(index) {
                    return self.take_signal(char, signo, out);
                }
            }
        }
        self.start_by_any(out);
        let mut char = char;
        if char == b'\r' {
            if self.iflag(IGNCR) {
                return;
            }
            if self.iflag(ICRNL) {
                char = b'\n';
            }
        } else if char == b'\n' && self.iflag(INLCR) {
            char = b'\r';
        }
        if self.lflag(ICANON) && self.edit(char, out) {
            return;
        }
        if self.lflag(ECHO) {
            self.finish_erasing();
            if char == b'\n' {
                self.show_raw(char);
            } else {
                self.begin_line();
                self.show(char);
            }
            self.commit_echo(out);
        }
        self.queue_data(char);
    }

    fn take_signal(&mut self, char: u8, signo: u32, out: &mut impl Output) {
        self.effects.signals.add(signo);
        if !self.lflag(NOFLSH) {
            self.echo.clear();
            self.flush_output(out);
            self.flush_input();
        }
        if self.iflag(IXON) {
            self.start();
        }
        if self.lflag(ECHO) {
            self.show(char);
            self.commit_echo(out);
        } else {
            self.process_echo(out);
        }
    }
}
