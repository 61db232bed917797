//! Where messages go: one line on standard error, and the log file in the form that was asked for.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Form of the log file's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// `time="…" level=… msg="…"`
    Text,
    /// One JSON object a line.
    Json,
}

struct Logger {
    file: Option<Mutex<File>>,
    format: LogFormat,
}

/// Seconds since the epoch as RFC 3339 in UTC.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // Civil date from days since 1970, by the Gregorian calendar's 400-year cycle.
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The time now as RFC 3339 in UTC, with nanoseconds.
pub(crate) fn now() -> String {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(time.as_secs()).replace('Z', &format!(".{:09}Z", time.subsec_nanos()))
}

fn line(format: LogFormat, level: &str, message: &str) -> String {
    let time = rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()));
    match format {
        LogFormat::Text => format!("time=\"{time}\" level={level} msg={message:?}\n"),
        LogFormat::Json => {
            format!("{}\n", serde_json::json!({ "level": level, "msg": message, "time": time }))
        }
    }
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug | Level::Trace => "debug",
        };
        let text = line(self.format, level, &record.args().to_string());
        match &self.file {
            Some(file) => {
                if let Ok(mut file) = file.lock() {
                    let _ = file.write_all(text.as_bytes());
                }
            }
            None if record.level() <= Level::Warn => eprint!("{text}"),
            None => {}
        }
    }

    fn flush(&self) {}
}

/// Starts logging to `path`, if there is one.
pub(crate) fn start(path: Option<&Path>, format: LogFormat, debug: bool) -> anyhow::Result<()> {
    let file = path
        .map(|path| {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("--log {}", path.display()))
        })
        .transpose()?;
    let logger = Logger { file: file.map(Mutex::new), format };
    log::set_boxed_logger(Box::new(logger))?;
    log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
    Ok(())
}

/// Says why a command failed: to the caller, and in the log file.
pub(crate) fn failure(error: &anyhow::Error, log: Option<&Path>, format: LogFormat) {
    let message = format!("{error:#}").replace('\n', " ");
    eprintln!("ringfence: {message}");
    if let Some(path) = log
        && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path)
    {
        let _ = file.write_all(line(format, "error", &message).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_right() {
        assert_eq!(super::rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(super::rfc3339(951_826_554), "2000-02-29T12:15:54Z");
        assert_eq!(super::rfc3339(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
