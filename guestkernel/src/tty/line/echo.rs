//! The echo of what is typed: kept in order until there is room for it.
//!
//! How a character is shown depends on the column at which it comes out, so what is kept are steps, not bytes.

use alloc::collections::VecDeque;
use linux_raw_sys::general::{ECHOCTL, OPOST};

use super::{Line, Output, SIZE, chars};

/// Steps kept; the oldest go when there are more.
const LIMIT: usize = SIZE - 256;
/// So many steps are not kept until what was typed with them has been looked at.
const EARLY: usize = 256;

/// A step of the echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A character as programs print it.
    Char(u8),
    /// A control character as `^X`.
    Control(u8),
    /// The line that is typed begins at this column.
    Begin,
    /// The column is one less.
    Back,
    /// A tab is taken back: columns used since the last one, modulo 8, and whether there was a last one.
    Tab(u8, bool),
}

/// Steps that wait.
#[derive(Debug, Default)]
pub(super) struct Echo(VecDeque<Step>);

impl Echo {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn add(&mut self, step: Step) {
        if self.0.len() >= LIMIT {
            self.0.pop_front();
        }
        // Without memory a step of the echo is lost, nothing else.
        if self.0.len() < self.0.capacity() || self.0.try_reserve(64).is_ok() {
            self.0.push_back(step);
        }
    }
}

impl Line {
    /// Shows a character that was typed.
    pub(super) fn show(&mut self, char: u8) {
        let hidden = self.lflag(ECHOCTL) && chars::is_control(char) && char != b'\t';
        self.echo.add(if hidden { Step::Control(char) } else { Step::Char(char) });
    }

    /// Shows a character as it is.
    pub(super) fn show_raw(&mut self, char: u8) {
        self.echo.add(Step::Char(char));
    }

    /// Lets the echo out early when there is much of it.
    pub(super) fn commit_echo(&mut self, out: &mut impl Output) {
        if self.echo.0.len() >= EARLY {
            self.process_echo(out);
        }
    }

    /// Lets out what there is room for.
    pub(super) fn process_echo(&mut self, out: &mut impl Output) {
        while let Some(&step) = self.echo.0.front() {
            if !self.take_step(step, out) {
                return;
            }
            self.echo.0.pop_front();
        }
    }

    fn take_step(&mut self, step: Step, out: &mut impl Output) -> bool {
        let room = self.room(out);
        match step {
            Step::Char(char) if self.oflag(OPOST) => return self.print(char, out),
            Step::Char(char) => {
                if room == 0 {
                    return false;
                }
                out.put(&[char]);
            }
            Step::Control(char) => {
                if room < 2 {
                    return false;
                }
                out.put(&[b'^', char ^ 0o100]);
                self.column = self.column.wrapping_add(2);
            }
            Step::Begin => self.canon_column = self.column,
            Step::Back => self.column = self.column.saturating_sub(1),
            Step::Tab(used, after_tab) => {
                let from = u32::from(used) + if after_tab { 0 } else { self.canon_column % 8 };
                let back = 8 - from % 8;
                if room < back as usize {
                    return false;
                }
                for _ in 0..back {
                    out.put(b"\x08");
                }
                self.column = self.column.saturating_sub(back);
            }
        }
        true
    }
}
