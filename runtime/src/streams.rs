//! The descriptors that a process of a container starts with.

use std::{
    fs::OpenOptions,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Process;

use crate::console;

/// Standard input, output, error, and what `--preserve-fds` adds; a closed one becomes `/dev/null`.
pub(crate) fn streams(preserved: u32) -> Result<Vec<OwnedFd>> {
    (0..3 + preserved as i32)
        .map(|number| {
            // SAFETY: a number that is not open gives an error below and is not used.
            #[allow(unsafe_code, reason = "inherited descriptors are known by number only")]
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            match fd.try_clone_to_owned() {
                Ok(fd) => Ok(fd),
                Err(_) if number < 3 => {
                    Ok(OpenOptions::new().read(true).write(true).open("/dev/null")?.into())
                }
                Err(error) => Err(error).with_context(|| format!("--preserve-fds: descriptor {number}")),
            }
        })
        .collect()
}

/// The streams of a process: the caller's, or a terminal that is handed to whoever listens on the socket.
/// `detached`: the caller does not wait for it.
pub(crate) fn of(
    process: &Process,
    socket: Option<&Path>,
    detached: bool,
    preserved: u32,
) -> Result<Vec<OwnedFd>> {
    let terminal = process.terminal().unwrap_or(false);
    match socket {
        None if terminal && detached => {
            bail!("cannot allocate tty if ringfence will detach without setting console socket")
        }
        Some(_) if !terminal || !detached => {
            bail!("cannot use console socket if ringfence will not detach or allocate tty")
        }
        _ => {}
    }
    let mut streams = streams(preserved)?;
    if let Some(socket) = socket {
        let slave = console::open(socket, process)?;
        for stream in streams.iter_mut().take(3) {
            *stream = slave.as_fd().try_clone_to_owned()?;
        }
    }
    Ok(streams)
}
