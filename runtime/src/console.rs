//! Pseudo-terminals that are handed to whoever listens on `--console-socket`.

use std::{
    fs::File,
    io::IoSlice,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::OpenOptionsExt, net::UnixStream},
    },
    path::Path,
};

use anyhow::{Context, Result};
use oci_spec::runtime::Process;
use rustix::{
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
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
        .custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path)
        .with_context(|| path.display().to_string())?;
    send(&stream, &master, name.to_bytes())?;
    Ok(slave.into())
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
