//! The descriptors that a process of a container starts with.

use std::{
    fs::OpenOptions,
    os::fd::{BorrowedFd, OwnedFd},
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

/// What a process starts with.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Its streams.
    pub(crate) all: Vec<OwnedFd>,
    /// The host's end of its terminal, if that was made for it.
    pub(crate) terminal: Option<OwnedFd>,
    /// The caller's terminal, if it is on that.
    pub(crate) caller: Option<console::Caller>,
}

impl Streams {
    /// Those of the caller, or a terminal that is handed to whoever listens on the socket. `detached`: the caller does
    /// not wait for the process.
    pub(crate) fn of(
        process: &Process,
        socket: Option<&Path>,
        detached: bool,
        preserved: u32,
    ) -> Result<Self> {
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
        let mut all = streams(preserved)?;
        let Some(socket) = socket else {
            let caller = if terminal { console::Caller::of(&all)? } else { None };
            return Ok(Self { all, terminal: None, caller });
        };
        let slave = console::open(socket, process)?;
        for stream in all.iter_mut().take(3) {
            *stream = slave.try_clone()?;
        }
        Ok(Self { all, terminal: Some(slave), caller: None })
    }
}
