//! `pause` and `resume`: a container that stands still.
//!
//! The sandbox process is stopped with `SIGSTOP`: that stops its vCPUs and with them every process of the container,
//! needs no cgroup, and is known afterwards from the kernel alone.

use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::Signal;

use crate::{
    cli::Global,
    container::{Container, Record, Status, is_stopped},
};

/// How long the kernel may take to stop or continue all threads.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stops a container that runs.
pub(crate) fn pause(global: &Global, id: &str) -> Result<i32> {
    change(global, id, Signal::STOP, |status| {
        matches!(status, Status::Running | Status::Created)
            .then_some(())
            .ok_or_else(|| format!("container not running or created: {}", status.name()))
    })
}

/// Lets a paused container go on.
pub(crate) fn resume(global: &Global, id: &str) -> Result<i32> {
    change(global, id, Signal::CONT, |status| {
        (status == Status::Paused).then_some(()).ok_or_else(|| "container not paused".to_owned())
    })
}

fn change(
    global: &Global,
    id: &str,
    signal: Signal,
    may: impl FnOnce(Status) -> Result<(), String>,
) -> Result<i32> {
    let (container, _) = Container::find(&global.root, id)?;
    let _lock = container.lock()?;
    let (container, record) = Container::find(&global.root, id)?;
    if let Err(reason) = may(container.status(&record)?) {
        bail!(reason);
    }
    if !container.signal_sandbox(&record, signal)?
        || !await_stopped(&container, &record, signal == Signal::STOP)
    {
        bail!("container not running");
    }
    Ok(0)
}

fn await_stopped(container: &Container, record: &Record, stopped: bool) -> bool {
    let step = Duration::from_millis(1);
    for _ in 0..PATIENCE.as_millis() {
        if is_stopped(record.pid) == stopped {
            return true;
        }
        if !container.is_alive() {
            return false;
        }
        std::thread::sleep(step);
    }
    false
}
