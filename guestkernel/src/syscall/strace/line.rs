//! Whole lines from the pieces of calls that overlap.
//!
//! A call's text stays back until the call ends or another line comes first; then it is printed as
//! unfinished, and its rest as resumed.

use alloc::{collections::BTreeMap, string::String};
use core::fmt::Write;

use crate::{arch, sync::SpinLock};

/// Column of results.
const RESULT_COLUMN: usize = 40;

/// A call that has begun and not ended.
struct Begun {
    name: &'static str,
    /// Whether all arguments were printed at its begin.
    decoded: bool,
}

/// What is not printed yet. A leaf lock: nothing is locked under it but the way to the host.
struct Lines {
    /// The task whose call's begin stays back, and its text.
    open: Option<(u32, String)>,
    begun: BTreeMap<u32, Begun>,
}

static LINES: SpinLock<Lines> = SpinLock::new(Lines { open: None, begun: BTreeMap::new() });

impl Lines {
    /// Prints what stayed back as unfinished.
    fn break_off(&mut self) {
        if let Some((tid, text)) = self.open.take() {
            print(tid, &text, " <unfinished ...>");
        }
    }

    /// The text before the rest of a call.
    fn resume(&mut self, tid: u32, name: &str) -> String {
        match self.open.take_if(|(of, _)| *of == tid) {
            Some((_, text)) => text,
            None => {
                self.break_off();
                alloc::format!("<... {name} resumed>")
            }
        }
    }
}

fn print(tid: u32, text: &str, more: &str) {
    arch::trace_line(&alloc::format!("[pid {tid:5}] {text}{more}"));
}

/// A call begins.
pub(super) fn begin(tid: u32, name: &'static str, text: String, decoded: bool) {
    let mut lines = LINES.lock();
    lines.break_off();
    lines.open = Some((tid, text));
    lines.begun.insert(tid, Begun { name, decoded });
}

/// Pads the text to the column of results and appends one.
fn with_result(tid: u32, mut text: String, result: &str) -> String {
    let width = RESULT_COLUMN - "[pid ] ".len() - alloc::format!("{tid:5}").len();
    let _ = write!(text, "{:1$} = {result}", "", width.saturating_sub(text.len() + 1));
    text
}

/// A call ends.
pub(super) fn end(tid: u32, arguments: &str, result: &str) {
    let mut lines = LINES.lock();
    let name = lines.begun.remove(&tid).map_or("syscall", |begun| begun.name);
    let mut text = lines.resume(tid, name);
    text.push_str(arguments);
    print(tid, &with_result(tid, text, result), "");
}

/// A task ends; a call that it is in does not return.
pub(super) fn abandon(tid: u32) {
    let mut lines = LINES.lock();
    let Some(begun) = lines.begun.remove(&tid) else { return };
    let mut text = lines.resume(tid, begun.name);
    text.push_str(if begun.decoded { ")" } else { " <unfinished ...>)" });
    print(tid, &with_result(tid, text, "?"), "");
}

/// Something that is no call.
pub(super) fn event(tid: u32, text: &str) {
    let mut lines = LINES.lock();
    lines.break_off();
    print(tid, text, "");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_a_column() {
        assert_eq!(with_result(2, "close(3)".into(), "0"), "close(3)                    = 0");
        let long = "x".repeat(50);
        assert_eq!(with_result(2, long.clone(), "0"), long + " = 0");
    }

    #[test]
    fn a_call_that_is_overtaken_is_resumed() {
        let mut lines = Lines { open: Some((7, "read(0, ".into())), begun: BTreeMap::new() };
        assert_eq!(lines.resume(8, "close"), "<... close resumed>");
        assert_eq!(lines.resume(7, "read"), "<... read resumed>");
        lines.open = Some((7, "read(0, ".into()));
        assert_eq!(lines.resume(7, "read"), "read(0, ");
    }
}
