//! `run`: creates a container and starts it; in the foreground until it ends, and then deletes it.

use std::fs;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::{
    fd::{AsFd, BorrowedFd},
    unix::process::ExitStatusExt,
};
use vmm::{
    SandboxProcess,
    config::{FromSandbox, ToSandbox, exit_status},
};

use super::{delete, start};
use crate::{
    cli::{Global, Run},
    container::{Container, Record},
    failure,
    launch::launch,
    signals::Signals,
    timing,
};

/// Runs a container; gives the exit status of its first process, or 0 when that goes on without this command.
pub(crate) fn run(global: &Global, options: &Run) -> Result<i32> {
    // What comes while the container is made is for the container.
    let signals = if options.detach { None } else { Some(Signals::block()?) };
    let mut launched = launch(global, &options.launch, options.detach).context("ringfence run failed")?;
    if launched.held {
        if let Err(error) = start::go(&launched.container, launched.lock, &launched.record) {
            let _ = launched.sandbox.kill();
            let _ = launched.sandbox.wait();
            clean_up(&launched.container, &launched.record, options)?;
            return Err(error);
        }
    } else {
        // From now on others may use it.
        drop(launched.lock);
    }
    let Some(signals) = signals else { return Ok(0) };
    let mut sandbox = launched.sandbox;
    let result = attend(&mut sandbox, &signals);
    drop(launched.caller);
    if result.is_err() {
        let _ = sandbox.kill();
    }
    let ended = sandbox.wait().context("wait for the sandbox process")?;
    timing::phase("exited");
    if !options.keep {
        clean_up(&launched.container, &launched.record, options)?;
    }
    timing::phase("cleaned");
    match result? {
        Some(status) => Ok(status),
        // `kill ID KILL` and the host's OOM killer end the sandbox as runc's init would end.
        None if ended.signal() == Some(libc::SIGKILL) => Ok(128 + libc::SIGKILL),
        None => bail!("the sandbox ended without a word ({ended}); its log may tell more"),
    }
}

/// Deletes the container, unless somebody else has done so.
fn clean_up(container: &Container, record: &Record, options: &Run) -> Result<()> {
    if let Ok(lock) = container.lock() {
        delete::destroy(container, &lock, record)?;
    }
    if let Some(path) = &options.launch.pid_file {
        let _ = fs::remove_file(path);
    }
    Ok(())
}

/// Forwards signals until the container ends. Its exit status, if the sandbox lived to tell it.
fn attend(sandbox: &mut SandboxProcess, signals: &Signals) -> Result<Option<i32>> {
    loop {
        wait_for(sandbox.control().as_fd(), signals)?;
        while let Some(signal) = signals.next() {
            // The container may have ended meanwhile; its last message tells.
            let message = if signal == libc::SIGWINCH.unsigned_abs() {
                ToSandbox::Resize
            } else {
                ToSandbox::Signal(signal)
            };
            let _ = sandbox.control().send(&message);
        }
        if !readable(sandbox.control().as_fd()) {
            continue;
        }
        match sandbox.control().receive().context("sandbox")? {
            Some(FromSandbox::Ready) => timing::phase("ready"),
            Some(FromSandbox::Created) => {}
            Some(FromSandbox::OutOfMemory { kills }) => {
                log::warn!("the container has no memory left; {kills} processes were killed so far");
            }
            Some(FromSandbox::Exited { wait_status }) => return Ok(Some(exit_status(wait_status))),
            Some(FromSandbox::StartFailed { errno, message }) => bail!(failure::start(errno, &message)),
            Some(FromSandbox::Failed { message }) => bail!("{message}"),
            None => return Ok(None),
        }
    }
}

/// Waits until the sandbox says something or a signal comes.
fn wait_for(control: BorrowedFd<'_>, signals: &Signals) -> Result<()> {
    let mut fds = [control, signals.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    match poll(&mut fds, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno).context("poll"),
    }
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
}
