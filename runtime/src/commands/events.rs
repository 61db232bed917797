//! `events`: what a container uses, and when memory ran out, as lines of JSON in runc's form.
//!
//! CPU time, memory and I/O are what the host charges the container's cgroup with, the sandbox process included; where
//! there is no cgroup, what the host says of that process. The limit of memory and the number of processes are the
//! container's own, which the sentry keeps.

use std::{
    io::Write,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use hostcall::{Answer, Stats};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use vmm::control::{Reply, Request};

use crate::{
    cgroup::usage::{self, Usage},
    cli::{Events, Global},
    container::{Container, Record, Status, answer},
};

/// Shows figures once, or figures and events until the container ends.
pub(crate) fn events(global: &Global, options: &Events) -> Result<i32> {
    let interval = duration(&options.interval)
        .filter(|interval| !interval.is_zero())
        .context("duration interval must be greater than 0")?;
    let (container, record) = Container::find(&global.root, &options.id)?;
    ensure!(
        container.status(&record)? != Status::Stopped,
        "container with id {} is not running",
        container.id()
    );
    if options.stats {
        say("stats", &record, Some(stats(&container, &record)?));
        return Ok(0);
    }
    stream(&container, &record, interval)
}

fn stream(container: &Container, record: &Record, interval: Duration) -> Result<i32> {
    let client = container.connect()?;
    let killed = || record.cgroup.as_ref().map_or(0, usage::oom_kills);
    let (mut known, mut told) = (killed(), 0);
    client.send(&Request::Watch, &[]).context("ask the sandbox")?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // It may end while it is looked at.
            if let Ok(stats) = stats(container, record) {
                say("stats", record, Some(stats));
            }
            next = Instant::now() + interval;
            continue;
        }
        let mut fds = [PollFd::from_borrowed_fd(client.as_fd(), PollFlags::IN)];
        let limit = Timespec::try_from(left).context("interval")?;
        match poll(&mut fds, Some(&limit)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        match client.receive().context("sandbox")? {
            Some(Reply::OutOfMemory { .. }) => {
                told += 1;
                say("oom", record, None);
            }
            Some(Reply::Refused(errno)) => {
                return Err(std::io::Error::from_raw_os_error(errno)).context("the sandbox");
            }
            Some(_) => {}
            None => {
                // The host may have killed the sandbox itself; what it was told of the sentry's kills is among its own.
                known += told;
                if killed() > known {
                    say("oom", record, None);
                }
                return Ok(0);
            }
        }
    }
}

/// Prints one line. Nobody reading it is no reason to fail.
fn say(kind: &str, record: &Record, data: Option<Value>) {
    let mut event = json!({ "type": kind, "id": record.id });
    if let Some(data) = data {
        event["data"] = data;
    }
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{event}").and_then(|()| output.flush());
}

/// The sentry's figures.
pub(crate) fn figures(container: &Container) -> Result<Stats> {
    match answer(&container.ask(&Request::Stats)?)? {
        Some(Reply::Answer(Answer::Stats(stats))) => Ok(*stats),
        Some(reply) => bail!("the sandbox answers {reply:?}"),
        None => bail!("container not running"),
    }
}

/// What the container uses, as runc words it.
fn stats(container: &Container, record: &Record) -> Result<Value> {
    let used = match &record.cgroup {
        Some(cgroup) => usage::of(cgroup)?,
        None => Usage::of_process(record.pid)?,
    };
    // A container that stands still cannot be asked.
    let inside = match container.status(record)? {
        Status::Created | Status::Running => Some(figures(container)?),
        _ => None,
    };
    let mut value = used.to_json();
    if let Some(stats) = inside {
        let limit = if stats.most_tasks < UNLIMITED_TASKS { stats.most_tasks } else { 0 };
        value["pids"] = usage::sparse(&[("current", stats.tasks), ("limit", limit)]);
    }
    Ok(value)
}

/// From here on the sentry's limit of tasks is its own and not the container's.
const UNLIMITED_TASKS: u64 = 65_536;

/// A length of time as Go's programs write it: `1h2m`, `1.5s`, `300ms`.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (name, after) = after.split_at(unit);
        let (_, scale) = UNITS.iter().find(|(unit, _)| *unit == name)?;
        seconds += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    // Go counts nanoseconds in 64 bits.
    let most = Duration::from_nanos(i64::MAX.unsigned_abs());
    (!text.is_empty())
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
        .filter(|time| *time <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        for (text, expected) in [
            ("5s", Some(5000)),
            ("1m1.5s", Some(61_500)),
            ("300ms", Some(300)),
            ("1h", Some(3_600_000)),
            ("5", None),
            ("s", None),
            ("5x", None),
            ("", None),
            ("-1s", None),
            ("2562048h", None),
            ("2562047h", Some(9_223_369_200_000)),
        ] {
            assert_eq!(duration(text).map(|time| time.as_millis()), expected, "{text}");
        }
    }
}
