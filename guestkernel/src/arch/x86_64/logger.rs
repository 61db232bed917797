//! The `log` crate's lines go to the sandbox log.

use core::fmt::{self, Write};
use hostcall::{CALL_DATA_LEN, Hostcall};
use log::{LevelFilter, Log, Metadata, Record};

use super::hostcall::call_data;

/// Longest line.
const MAX_LINE: usize = 1024;

const _: () = assert!(MAX_LINE <= CALL_DATA_LEN);

/// Text in a fixed buffer; what does not fit is cut off.
pub(super) struct Line<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Line<N> {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<const N: usize> Write for Line<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut count = text.len().min(N - self.len);
        while !text.is_char_boundary(count) {
            count -= 1;
        }
        self.bytes[self.len..self.len + count].copy_from_slice(&text.as_bytes()[..count]);
        self.len += count;
        Ok(())
    }
}

struct HostLog;

impl Log for HostLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = Line::<MAX_LINE>::new();
        let _ = line.write_fmt(*record.args());
        let args = [record.level() as u64, line.as_bytes().len() as u64, 0, 0, 0, 0];
        let _ = call_data(Hostcall::Log, args, &[line.as_bytes()], &mut []);
    }

    fn flush(&self) {}
}

/// Sends a line of a trace, which is no message and stands alone.
pub fn trace_line(text: &str) {
    let mut length = text.len().min(CALL_DATA_LEN);
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    let args = [hostcall::LOG_TRACE, length as u64, 0, 0, 0, 0];
    let _ = call_data(Hostcall::Log, args, &[&text.as_bytes()[..length]], &mut []);
}

/// Starts logging up to `level`, 0 (off) to 5 (trace).
pub(super) fn init(level: u32) {
    // It fails only when a logger is there already.
    let _ = log::set_logger(&HostLog);
    set_log_level(level);
}

/// Logs up to `level` from now on, 0 (off) to 5 (trace).
pub fn set_log_level(level: u32) {
    const LEVELS: [LevelFilter; 6] = [
        LevelFilter::Off,
        LevelFilter::Error,
        LevelFilter::Warn,
        LevelFilter::Info,
        LevelFilter::Debug,
        LevelFilter::Trace,
    ];
    log::set_max_level(LEVELS[(level as usize).min(5)]);
}
