//! What was typed, given to the program.

use linux_raw_sys::general::{EXTPROC, ICANON, VEOF};

use super::{DISABLED, Line, SIZE};

impl Line {
    /// Whether something can be read. `polled`: as poll(2) sees it, by which fewer bytes than `VMIN` are nothing.
    #[must_use]
    pub fn has_input(&self, polled: bool) -> bool {
        if self.is_canonical() {
            return self.canon != self.tail;
        }
        let (minimum, time) = self.minimum_and_time();
        let wanted = if polled && time == 0 && minimum != 0 { usize::from(minimum) } else { 1 };
        self.committed.wrapping_sub(self.tail) >= wanted
    }

    /// Bytes that can be read, as `FIONREAD` gives them.
    #[must_use]
    pub fn input_len(&self) -> usize {
        if !self.is_canonical() {
            return self.head.wrapping_sub(self.tail);
        }
        let all = self.canon.wrapping_sub(self.tail);
        let files = (0..all).map(|step| self.tail.wrapping_add(step));
        all - files.filter(|&place| self.is_file_end(place)).count()
    }

    fn is_file_end(&self, place: usize) -> bool {
        self.is_end(place) && self.byte(place) == DISABLED
    }

    /// Reads a line, or as much of it as `buffer` takes. 0 when the end of a file was typed.
    pub fn read_line(&mut self, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while self.tail != self.canon && done < buffer.len() {
            let (byte, end) = (self.byte(self.tail), self.is_end(self.tail));
            self.set_end(self.tail, false);
            self.tail = self.tail.wrapping_add(1);
            if !end || byte != DISABLED {
                buffer[done] = byte;
                done += 1;
            }
            if end {
                return done;
            }
        }
        // A line that fills the buffer and ends in no newline is not followed by the end of the file.
        if done != 0 && self.tail != self.canon && self.is_file_end(self.tail) {
            self.set_end(self.tail, false);
            self.tail = self.tail.wrapping_add(1);
        }
        done
    }

    /// Reads bytes, not by lines; also whether there are more.
    pub fn read_bytes(&mut self, buffer: &mut [u8]) -> (usize, bool) {
        let count = self.committed.wrapping_sub(self.tail).min(buffer.len());
        for (step, place) in buffer[..count].iter_mut().enumerate() {
            *place = self.bytes[self.tail.wrapping_add(step) % SIZE];
        }
        self.tail = self.tail.wrapping_add(count);
        let more = self.tail != self.committed;
        let file_end = count == 1 && !more && self.lflag(EXTPROC) && self.lflag(ICANON);
        if file_end && buffer[0] == self.char(VEOF) { (0, false) } else { (count, more) }
    }
}
