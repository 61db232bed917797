//! `start`: lets the first process of a created container go.

use anyhow::{Context, Result, bail};
use vmm::control::{Reply, Request};

use crate::{
    cli::Global,
    container::{Container, Locked, Record, Status},
    hooks::{self, Point},
    network,
};

/// Starts a created container.
pub(crate) fn start(global: &Global, id: &str) -> Result<i32> {
    let (container, _) = Container::find(&global.root, id)?;
    let lock = container.lock()?;
    // Another command may have changed it meanwhile.
    let (container, record) = Container::find(&global.root, id)?;
    match container.status(&record)? {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        Status::Running => bail!("cannot start an already running container"),
        other => bail!("cannot start a container in the {} state", other.name()),
    }
    go(&container, lock, &record)?;
    Ok(0)
}

/// Lets the first process go, with the hooks around that.
pub(crate) fn go(container: &Container, lock: Locked, record: &Record) -> Result<()> {
    let started = hooks::run(container, record, Point::StartContainer).and_then(|()| {
        let client = container.connect()?;
        if record.network {
            network::attach(record.pid, &client)?;
        }
        client.send(&Request::Go, &[]).context("ask the sandbox")?;
        match client.receive().context("sandbox")? {
            Some(Reply::Done) => Ok(()),
            // A first process that ends at once may take the sandbox with it before it has said so.
            None => Ok(()),
            Some(Reply::Refused(errno)) => {
                Err(std::io::Error::from_raw_os_error(errno)).context("start the first process")
            }
            Some(reply) => bail!("the sandbox answers {reply:?}"),
        }
    });
    // Hooks of the next point may use commands.
    drop(lock);
    let done = started.and_then(|()| hooks::run(container, record, Point::Poststart));
    if done.is_err() {
        container.kill(record)?;
    }
    done
}
