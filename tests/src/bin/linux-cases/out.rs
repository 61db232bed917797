//! What a case writes.

use std::{fmt, io::Write, os::fd::RawFd};

use crate::sys;

/// Where a case's lines go: a pipe to the harness, written at once, so that nothing is lost when the case dies.
#[derive(Debug)]
pub(crate) struct Out(RawFd);

impl Out {
    pub(crate) fn new(fd: RawFd) -> Self {
        Self(fd)
    }

    /// A line.
    pub(crate) fn say(&mut self, line: impl fmt::Display) {
        let mut text = line.to_string();
        text.push('\n');
        // The harness reads until the end; a broken pipe means that it is gone.
        let _ = sys::write(self.0, text.as_bytes());
    }

    /// The result of a call: its value, or the name of its error.
    pub(crate) fn ret(&mut self, what: &str, result: i64) {
        match u32::try_from(-result) {
            Ok(errno @ 1..4096) => self.say(format_args!("{what}: {}", sys::errno_name(errno))),
            _ => self.say(format_args!("{what} = {result}")),
        }
    }

    #[allow(dead_code, reason = "a tool box")]
    /// Whether a call succeeded, where its value may differ from run to run.
    pub(crate) fn ok(&mut self, what: &str, result: i64) {
        self.ret(what, if result > 0 { 0 } else { result });
    }

    /// The standard output's own descriptor number, for children that are to write there.
    pub(crate) fn fd(&self) -> RawFd {
        self.0
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match sys::write(self.0, bytes) {
            done @ 0.. => Ok(done as usize),
            error => Err(std::io::Error::from_raw_os_error(-error as i32)),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
