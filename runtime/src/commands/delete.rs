//! `delete`: removes what a container that has stopped left.

use anyhow::{Result, bail};

use crate::{
    cli::Global,
    container::{Container, Locked, Record, Status},
    hooks::{self, Point},
};

/// Deletes a container; one that was not started yet, or by force any, is killed first.
pub(crate) fn delete(global: &Global, id: &str, force: bool) -> Result<i32> {
    Container::remove_leftovers(&global.root, id)?;
    let found = Container::find(&global.root, id).and_then(|(container, _)| {
        let lock = container.lock()?;
        // Another command may have changed it meanwhile.
        let (container, record) = Container::find(&global.root, id)?;
        Ok((container, record, lock))
    });
    let (container, record, lock) = match found {
        Ok(found) => found,
        Err(_) if force => return Ok(0),
        Err(error) => return Err(error),
    };
    let status = if force && container.is_alive() { None } else { Some(container.status(&record)?) };
    match status {
        Some(Status::Stopped) => {}
        None | Some(Status::Created) => container.kill(&record)?,
        Some(other) => bail!("cannot delete container {id} that is not stopped: {}", other.name()),
    }
    destroy(&container, &lock, &record)?;
    Ok(0)
}

/// Removes what there is of a container whose sandbox is gone: its cgroup and its directory. Between these run the
/// `poststop` hooks.
pub(crate) fn destroy(container: &Container, lock: &Locked, record: &Record) -> Result<()> {
    if let Some(cgroup) = &record.cgroup {
        cgroup.remove()?;
    }
    // A container that never had a process has not come as far as to have an end.
    if record.pid != 0 {
        hooks::run_all(record, Point::Poststop);
    }
    container.remove(lock)
}
