//! The sandbox log: one line a message, `LEVEL target: text`, each a single write.
//!
//! What the sentry says is data: control characters are escaped, lines are cut, and a flood is dropped and
//! counted, unless the user asked for a trace of every call. Lines of that trace have no level and target.

use std::{
    fmt::Write as _,
    fs::File,
    io::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Longest text of a line in bytes.
const MAX_TEXT: usize = 4000;
/// Lines of the sentry that may come at once, and how many more each second adds.
const BURST: u32 = 4096;
const PER_SECOND: u32 = 1024;

const LEVELS: [&str; 6] = ["ERROR", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// Where messages go. Its locks are leaves, and none is held while something is written.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    level: AtomicU32,
    limited: bool,
    bucket: Mutex<Bucket>,
    start: Option<Duration>,
    /// Who else gets the trace, each with the number of its connection.
    tracers: Mutex<Vec<(u64, Arc<File>)>>,
}

#[derive(Debug)]
struct Bucket {
    lines: u32,
    dropped: u64,
    refilled: Instant,
}

impl Bucket {
    /// Takes room for a line; the number of lines dropped before it, or `None` when this one must be.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let elapsed = now.saturating_duration_since(self.refilled);
        let gained = elapsed.as_millis() * u128::from(PER_SECOND) / 1000;
        if gained > 0 {
            self.lines = u32::try_from(gained).unwrap_or(BURST).saturating_add(self.lines).min(BURST);
            self.refilled = now;
        }
        if self.lines == 0 {
            self.dropped += 1;
            return None;
        }
        self.lines -= 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

impl Log {
    /// A log of messages up to `level`; `limited` unless a trace was asked for; `start` is the process's first
    /// moment when timing lines are wanted.
    pub(crate) fn new(file: File, level: u32, limited: bool, start: Option<Duration>) -> Self {
        let bucket = Mutex::new(Bucket { lines: BURST, dropped: 0, refilled: Instant::now() });
        Self { file, level: AtomicU32::new(level), limited, bucket, start, tracers: Mutex::default() }
    }

    /// The level up to which is logged.
    pub(crate) fn level(&self) -> u32 {
        self.level.load(Ordering::Relaxed)
    }

    /// Logs up to this level from now on.
    pub(crate) fn set_level(&self, level: u32) {
        self.level.store(level, Ordering::Relaxed);
    }

    fn tracers(&self) -> MutexGuard<'_, Vec<(u64, Arc<File>)>> {
        self.tracers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the trace to a connection's file as well.
    pub(crate) fn add_tracer(&self, number: u64, file: File) {
        self.tracers().push((number, Arc::new(file)));
    }

    /// A connection has ended. Whether the trace was for nobody else.
    pub(crate) fn remove_tracer(&self, number: u64) -> bool {
        let mut tracers = self.tracers();
        let before = tracers.len();
        tracers.retain(|(other, _)| *other != number);
        tracers.len() < before && tracers.is_empty() && self.limited
    }

    /// A message of the VMM.
    pub(crate) fn line(&self, level: u32, text: &str) {
        if level <= self.level() {
            self.write(level, "vmm", text.as_bytes());
        }
    }

    /// A message of the sentry.
    pub(crate) fn guest(&self, level: u32, text: &[u8]) {
        if u64::from(level) == hostcall::LOG_TRACE {
            return self.bare(text);
        }
        let level = level.clamp(1, 5);
        if self.limited {
            let dropped = self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
            match dropped {
                None => return,
                Some(0) => {}
                Some(n) => self.write(2, "vmm", format!("{n} lines of the sentry were dropped").as_bytes()),
            }
        }
        self.write(level, "sentry", text);
    }

    /// A line that says when a phase of the sandbox's life was reached.
    pub(crate) fn timing(&self, phase: &str) {
        if let Some(start) = self.start {
            let ns = monotonic().saturating_sub(start).as_nanos();
            self.put(format!("timing {phase} {ns}\n").as_bytes());
        }
    }

    fn write(&self, level: u32, target: &str, text: &[u8]) {
        let name = LEVELS.get(level as usize).copied().unwrap_or("TRACE");
        let mut line = format!("{name} {target}: ");
        escape(&text[..text.len().min(MAX_TEXT)], &mut line);
        line.push('\n');
        self.put(line.as_bytes());
    }

    /// A line of the trace that the user asked for.
    fn bare(&self, text: &[u8]) {
        let mut line = String::new();
        escape(&text[..text.len().min(MAX_TEXT)], &mut line);
        line.push('\n');
        if !self.limited {
            self.put(line.as_bytes());
        }
        let tracers: Vec<_> = self.tracers().iter().map(|(_, file)| file.clone()).collect();
        for file in tracers {
            // Who asked for it may be gone.
            drop((&*file).write_all(line.as_bytes()));
        }
    }

    fn put(&self, bytes: &[u8]) {
        // A log that cannot be written must not stop the container.
        drop((&self.file).write_all(bytes));
    }
}

/// CLOCK_MONOTONIC.
pub(crate) fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Appends text with what could confuse a terminal or a reader of lines escaped.
fn escape(text: &[u8], line: &mut String) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() && c != '\t' {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let mut line = String::new();
        escape(b"a\tb\x1b[31m\n\xffz\xc3\xa9", &mut line);
        assert_eq!(line, "a\tb\\u{1b}[31m\\n\\xffz\u{e9}");
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let now = Instant::now();
        let mut bucket = Bucket { lines: 1, dropped: 0, refilled: now };
        assert_eq!(bucket.take(now), Some(0));
        assert_eq!(bucket.take(now), None);
        assert_eq!(bucket.take(now), None);
        assert_eq!(bucket.take(now + Duration::from_secs(1)), Some(2));
        assert_eq!(bucket.lines, PER_SECOND - 1);
    }
}
