//! `kill`: sends a signal to the first process, or to all.

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use vmm::control::{Reply, Request, Target};

use crate::{
    cli::Global,
    container::{Container, Status},
    signals,
};

/// Sends a signal.
pub(crate) fn kill(global: &Global, id: &str, signal: &str, all: bool) -> Result<i32> {
    let (container, record) = Container::find(&global.root, id)?;
    let signal = signals::number(signal)?;
    let status = container.status(&record)?;
    if status == Status::Stopped {
        // With the first process every other one has ended.
        if all {
            return Ok(0);
        }
        bail!("container not running");
    }
    // The end of the sandbox is the end of every process, also of one that is paused.
    if signal == libc::SIGKILL.unsigned_abs() {
        container.signal_sandbox(&record, Signal::KILL)?;
        return Ok(0);
    }
    if signal == 0 {
        return Ok(0);
    }
    let client = container.connect()?;
    let to = if all { Target::All } else { Target::First };
    client.send(&Request::Signal { signal, to }, &[]).context("ask the sandbox")?;
    if status == Status::Paused {
        // It is taken when the container is resumed, as a stopped process takes it.
        return Ok(0);
    }
    match client.receive().context("sandbox")? {
        Some(Reply::Done) => Ok(0),
        Some(Reply::Refused(errno)) => Err(std::io::Error::from_raw_os_error(errno)).context("kill"),
        Some(reply) => bail!("the sandbox answers {reply:?}"),
        None => bail!("container not running"),
    }
}
