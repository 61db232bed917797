//! Terminals of the host. The container's own terminal is the sentry's, with its line discipline; the host's, a
//! pseudo-terminal that is handed to whoever listens on `--console-socket` or the caller's, passes bytes on as they are.

use std::{
    fs::File,
    io::IoSlice,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::OpenOptionsExt, net::UnixStream},
    },
    path::Path,
};

use anyhow::{Context, Result};
use oci_spec::runtime::Process;
use rustix::{
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, Termios, Winsize, isatty, tcgetattr, tcsetattr, tcsetwinsize},
};

/// Makes a terminal of the size that the process asks for, sends its master over the socket, and gives its slave.
pub(crate) fn open(socket: &Path, process: &Process) -> Result<OwnedFd> {
    let stream =
        UnixStream::connect(socket).with_context(|| format!("--console-socket {}", socket.display()))?;
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).context("openpt")?;
    grantpt(&master).context("grantpt")?;
    unlockpt(&master).context("unlockpt")?;
    if let Some(size) = process.console_size().as_ref() {
        let number = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
        let size = Winsize {
            ws_row: number(size.height()),
            ws_col: number(size.width()),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).context("size the terminal")?;
    }
    let name = ptsname(&master, Vec::new()).context("ptsname")?;
    let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
    let slave = File::options()
        .read(true)
        .write(true)
        // Whoever reads slowly must not hold the sandbox up.
        .custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)
        .with_context(|| path.display().to_string())?;
    pass_on(slave.as_fd()).context("set the terminal up")?;
    send(&stream, &master, name.to_bytes())?;
    Ok(slave.into())
}

/// Lets a terminal pass bytes on as they are; its settings before.
fn pass_on(terminal: BorrowedFd<'_>) -> rustix::io::Result<Termios> {
    let before = tcgetattr(terminal)?;
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(terminal, OptionalActions::Now, &raw)?;
    Ok(before)
}

/// The caller's terminal while it passes bytes on: it is as it was when this is dropped.
#[derive(Debug)]
pub(crate) struct Caller {
    terminal: OwnedFd,
    before: Termios,
}

impl Caller {
    /// The terminal among the standard streams; there may be none.
    pub(crate) fn of(streams: &[OwnedFd]) -> Result<Option<Self>> {
        let Some(terminal) = streams.iter().take(3).find(|stream| isatty(stream)) else { return Ok(None) };
        let terminal = terminal.try_clone().context("the caller's terminal")?;
        let before = pass_on(terminal.as_fd()).context("the caller's terminal")?;
        Ok(Some(Self { terminal, before }))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // One that is gone needs nothing.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Sends one descriptor, with its name as runc does.
fn send(socket: &UnixStream, fd: &OwnedFd, name: &[u8]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(name)], &mut control, SendFlags::NOSIGNAL)
        .context("--console-socket: send the terminal")?;
    Ok(())
}
