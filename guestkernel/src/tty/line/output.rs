//! What a program prints on its way to the other end.

use linux_raw_sys::general::{IUTF8, OCRNL, OLCUC, ONLCR, ONLRET, ONOCR, OPOST, TABDLY, XTABS};

use super::{Line, chars};

/// Where output goes.
pub trait Output {
    /// Bytes that it takes now.
    fn room(&self) -> usize;
    /// Takes bytes; gives how many.
    fn put(&mut self, bytes: &[u8]) -> usize;
    /// Forgets what it has and has not passed on.
    fn flush(&mut self);
}

/// Columns of a tab.
const TAB: u32 = 8;
/// The blanks that a tab becomes.
const BLANKS: [u8; TAB as usize] = [b' '; TAB as usize];

impl Line {
    /// Prints bytes; gives how many went, 0 when there is no room.
    pub fn write(&mut self, bytes: &[u8], out: &mut impl Output) -> usize {
        self.process_echo(out);
        if self.stopped {
            return 0;
        }
        if !self.oflag(OPOST) {
            return out.put(bytes);
        }
        let mut done = 0;
        while done < bytes.len() {
            let plain = self.plain(&bytes[done..], out.room());
            if plain != 0 {
                let put = out.put(&bytes[done..done + plain]);
                done += put;
                if put < plain {
                    break;
                }
            }
            let Some(&char) = bytes.get(done) else { break };
            if !self.print(char, out) {
                break;
            }
            done += 1;
        }
        done
    }

    /// Length of the part at the start, at most `room`, that goes out as it is; columns are counted.
    fn plain(&mut self, bytes: &[u8], room: usize) -> usize {
        let upper = self.oflag(OLCUC);
        let bytes = &bytes[..bytes.len().min(room)];
        for (index, &char) in bytes.iter().enumerate() {
            if chars::is_control(char) || upper && chars::upper(char) != char {
                return index;
            }
            if !self.continues(char) {
                self.column = self.column.wrapping_add(1);
            }
        }
        bytes.len()
    }

    /// Whether a byte is a later one of a character.
    pub(super) const fn continues(&self, byte: u8) -> bool {
        self.iflag(IUTF8) && byte & 0xc0 == 0x80
    }

    /// Bytes that go out now.
    pub(super) fn room(&self, out: &impl Output) -> usize {
        if self.stopped { 0 } else { out.room() }
    }

    /// Prints a character with `OPOST`. `false` when there is no room for all that it becomes.
    pub(super) fn print(&mut self, char: u8, out: &mut impl Output) -> bool {
        let room = self.room(out);
        if room == 0 {
            return false;
        }
        let mut char = char;
        match char {
            b'\n' => {
                if self.oflag(ONLRET) {
                    self.column = 0;
                }
                if self.oflag(ONLCR) {
                    if room < 2 {
                        return false;
                    }
                    (self.column, self.canon_column) = (0, 0);
                    out.put(b"\r\n");
                    return true;
                }
                self.canon_column = self.column;
            }
            b'\r' => {
                if self.oflag(ONOCR) && self.column == 0 {
                    return true;
                }
                if self.oflag(OCRNL) {
                    char = b'\n';
                }
                if !self.oflag(OCRNL) || self.oflag(ONLRET) {
                    (self.column, self.canon_column) = (0, 0);
                }
            }
            b'\t' => {
                let blanks = TAB - self.column % TAB;
                if self.termios.output & TABDLY == XTABS {
                    if room < blanks as usize {
                        return false;
                    }
                    self.column = self.column.wrapping_add(blanks);
                    out.put(&BLANKS[..blanks as usize]);
                    return true;
                }
                self.column = self.column.wrapping_add(blanks);
            }
            0x08 => self.column = self.column.saturating_sub(1),
            _ if chars::is_control(char) => {}
            _ => {
                if self.oflag(OLCUC) {
                    char = chars::upper(char);
                }
                if !self.continues(char) {
                    self.column = self.column.wrapping_add(1);
                }
            }
        }
        out.put(&[char]);
        true
    }
}
