//! Editing the line that is typed.

use linux_raw_sys::general::{
    ECHO, ECHOCTL, ECHOE, ECHOK, ECHOKE, ECHONL, ECHOPRT, IEXTEN, PARMRK, VEOF, VEOL, VEOL2, VERASE, VKILL,
    VLNEXT, VREPRINT, VWERASE,
};

use super::{DISABLED, Line, Output, chars, echo::Step};

/// What is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Erase {
    Char,
    Word,
    Line,
}

impl Line {
    /// A character of line editing. `false` when it is data.
    pub(super) fn edit(&mut self, char: u8, out: &mut impl Output) -> bool {
        let extended = self.lflag(IEXTEN);
        if char == self.char(VERASE) {
            self.erase(Erase::Char);
        } else if char == self.char(VKILL) || extended && char == self.char(VWERASE) {
            // Where both are the same character it erases a word.
            self.erase(if char == self.char(VWERASE) { Erase::Word } else { Erase::Line });
        } else if extended && char == self.char(VLNEXT) {
            self.literal = true;
            if self.lflag(ECHO) {
                self.finish_erasing();
                if self.lflag(ECHOCTL) {
                    self.show_raw(b'^');
                    self.show_raw(0x08);
                }
            }
        } else if extended && self.lflag(ECHO) && char == self.char(VREPRINT) {
            self.finish_erasing();
            self.show(char);
            self.show_raw(b'\n');
            for step in 0..self.head.wrapping_sub(self.canon) {
                self.show(self.byte(self.canon.wrapping_add(step)));
            }
        } else if char == b'\n' {
            if self.lflag(ECHO | ECHONL) {
                self.show_raw(b'\n');
            }
            self.end_line(char);
        } else if char == self.char(VEOF) {
            self.end_line(DISABLED);
        } else if char == self.char(VEOL) || extended && char == self.char(VEOL2) {
            if self.lflag(ECHO) {
                self.begin_line();
                self.show(char);
            }
            if char == 0xff && self.iflag(PARMRK) {
                self.queue(char);
            }
            self.end_line(char);
        } else {
            return false;
        }
        self.commit_echo(out);
        true
    }

    fn end_line(&mut self, char: u8) {
        self.set_end(self.head, true);
        self.queue(char);
        self.canon = self.head;
        self.effects.readable = true;
    }

    /// Ends what shows erased characters.
    pub(super) fn finish_erasing(&mut self) {
        if core::mem::take(&mut self.erasing) {
            self.show_raw(b'/');
        }
    }

    fn erase(&mut self, what: Erase) {
        if self.head == self.canon {
            return;
        }
        if what == Erase::Line
            && !(self.lflag(ECHO) && self.lflag(ECHOK) && self.lflag(ECHOKE) && self.lflag(ECHOE))
        {
            self.head = self.canon;
            if self.lflag(ECHO) {
                self.finish_erasing();
                self.show(self.char(VKILL));
                if self.lflag(ECHOK) {
                    self.show_raw(b'\n');
                }
            }
            return;
        }
        let mut in_word = false;
        while self.head != self.canon {
            let mut start = self.head.wrapping_sub(1);
            while start != self.canon && self.continues(self.byte(start)) {
                start = start.wrapping_sub(1);
            }
            let char = self.byte(start);
            if self.continues(char) {
                // The line begins in the middle of a character: there is nothing whole to erase.
                break;
            }
            if what == Erase::Word {
                if chars::is_word(char) {
                    in_word = true;
                } else if in_word {
                    break;
                }
            }
            let end = core::mem::replace(&mut self.head, start);
            if self.lflag(ECHO) {
                self.show_erased(what, start, end);
            }
            if what == Erase::Char {
                break;
            }
        }
        if self.head == self.canon && self.lflag(ECHO) {
            self.finish_erasing();
        }
    }

    /// Shows that the character at `start`, which ended before `end`, is gone.
    fn show_erased(&mut self, what: Erase, start: usize, end: usize) {
        let char = self.byte(start);
        if self.lflag(ECHOPRT) {
            if !core::mem::replace(&mut self.erasing, true) {
                self.show_raw(b'\\');
            }
            self.show(char);
            for step in 1..end.wrapping_sub(start) {
                self.show_raw(self.byte(start.wrapping_add(step)));
                self.echo.add(Step::Back);
            }
        } else if what == Erase::Char && !self.lflag(ECHOE) {
            self.show(self.char(VERASE));
        } else if char == b'\t' {
            let (columns, after_tab) = self.columns_before(start);
            self.echo.add(Step::Tab((columns % 8) as u8, after_tab));
        } else {
            let cells = match (chars::is_control(char), self.lflag(ECHOCTL)) {
                (false, _) => 1,
                (true, shown) => 2 * usize::from(shown),
            };
            for _ in 0..cells {
                [0x08, b' ', 0x08].iter().for_each(|&char| self.show_raw(char));
            }
        }
    }

    /// Columns that the line takes before `end`, since its last tab; and whether there is one.
    fn columns_before(&self, end: usize) -> (u32, bool) {
        let mut columns = 0;
        let mut at = end;
        while at != self.canon {
            at = at.wrapping_sub(1);
            let char = self.byte(at);
            if char == b'\t' {
                return (columns, true);
            }
            if chars::is_control(char) {
                columns += if self.lflag(ECHOCTL) { 2 } else { 0 };
            } else if !self.continues(char) {
                columns += 1;
            }
        }
        (columns, false)
    }
}
