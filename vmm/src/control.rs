//! The control socket of a sandbox: how commands of the runtime reach a container that runs.
//!
//! A `SOCK_SEQPACKET` socket in the container's state directory, made by the runtime, which alone may connect to it.
//! A connection carries one [`Request`] a packet, with descriptors where it says so, and [`Reply`]s back. A process
//! that was started over a connection belongs to it: it is signalled through it, its end is told there, and it is
//! killed when the connection ends before it.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};

use hostcall::{Answer, CgroupLimits, NetworkSpec, ProcessSpec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};

use crate::config::{self, MAX_MESSAGE};

/// Most descriptors that come with a request.
pub const MAX_DESCRIPTORS: usize = 32;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// What a sandbox is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// How far it has come: [`Reply::Phase`].
    Phase,
    /// Lets the first process go: [`Reply::Done`]. Refused with `EINVAL` unless the container is just created.
    Go,
    /// Sends a signal: [`Reply::Done`].
    Signal {
        /// Its number.
        signal: u32,
        /// Who gets it.
        to: Target,
    },
    /// The terminal of whoever attends to the process that was started over this connection changed its size:
    /// [`Reply::Done`].
    Resize,
    /// Sets how many processes there may be: [`Reply::Done`].
    Tasks {
        /// Most of them; 0 = no limit of the container's own.
        most: u64,
    },
    /// Changes what the files of the container's control group show: [`Reply::Done`].
    Limits(CgroupLimits),
    /// Starts a process whose standard streams are the descriptors that come with the request. The replies are
    /// [`Reply::Answer`]s.
    Exec(Box<ProcessSpec>),
    /// Lists processes, in [`Reply::Answer`]s.
    Processes,
    /// Gives a container that is just created its network interface: the descriptor that comes with it, made by
    /// [`packet::open`](crate::packet::open). The reply is [`Reply::Done`].
    Network(Box<NetworkSpec>),
    /// Gives the sentry's figures: one [`Reply::Answer`].
    Stats,
    /// Lists the sentry's threads, in [`Reply::Answer`]s.
    Threads,
    /// Gives the sandbox process's figures: [`Reply::Counters`].
    Counters,
    /// Sets up to which level the sandbox process and the sentry log, 0 (off) to 5 (trace): [`Reply::Done`].
    LogLevel(u32),
    /// Prints every system call to the descriptor that comes with it, for as long as the connection lasts:
    /// [`Reply::Done`].
    Trace,
    /// Says from now on when a process was killed for want of memory: [`Reply::Done`], and then any number of
    /// [`Reply::OutOfMemory`].
    Watch,
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// The container's first process.
    First,
    /// Every process of the container.
    All,
    /// The process that was started over this connection.
    Own,
}

/// How far a container has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Its first process is not ready yet.
    Creating,
    /// The first process waits to be let go.
    Created,
    /// It runs.
    Running,
}

/// What a sandbox says to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// How far the container has come.
    Phase(Phase),
    /// What the sentry answers.
    Answer(Answer),
    /// The sandbox process's figures.
    Counters(Counters),
    /// A process was killed for want of memory.
    OutOfMemory {
        /// How many were so far.
        kills: u64,
    },
    /// It is not done: a Linux errno.
    Refused(i32),
}

/// What a sandbox process counted since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Exits of each vCPU to this process.
    pub exits: Vec<u64>,
    /// Hostcalls by number; those that were made.
    pub hostcalls: Vec<(u32, u64)>,
    /// The level up to which is logged.
    pub log_level: u32,
}

/// Makes the socket at `path`, for its owner alone.
///
/// # Errors
/// When it cannot be made.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket()?;
    // Nobody may connect between these two: there is no listener yet.
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::fs::chmod(path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// A connection to a sandbox.
#[derive(Debug)]
pub struct Client(OwnedFd);

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = socket()?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self(socket))
    }

    /// Takes over a connected socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Waits no longer than this for a reply.
    ///
    /// # Errors
    /// When the socket refuses it.
    pub fn limit(&self, time: Option<Duration>) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_timeout(&self.0, rustix::net::sockopt::Timeout::Recv, time)?)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the sandbox is gone, or the request is too long.
    pub fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = config::encode(request).map_err(io::Error::other)?;
        if bytes.len() > MAX_MESSAGE || descriptors.len() > MAX_DESCRIPTORS {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        rustix::io::retry_on_intr(|| {
            let parts = [io::IoSlice::new(&bytes)];
            rustix::net::sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL)
        })?;
        Ok(())
    }

    /// Waits for a reply; `None` when the sandbox is gone. What a sandbox says has been made fit to be shown.
    ///
    /// # Errors
    /// When the socket fails or the reply is malformed.
    pub fn receive(&self) -> io::Result<Option<Reply>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let got =
            rustix::io::retry_on_intr(|| rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty()));
        match got {
            Ok((0, _)) | Err(rustix::io::Errno::CONNRESET) => Ok(None),
            Ok((count, _)) => match config::decode(&buffer[..count]).map_err(io::Error::other)? {
                Reply::Answer(Answer::Failed { errno, message }) => {
                    let message = config::one_line(&message);
                    Ok(Some(Reply::Answer(Answer::Failed { errno, message })))
                }
                reply => Ok(Some(reply)),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// The socket.
    #[must_use]
    pub fn into_socket(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Client {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// A packet without waiting for it: its length, and the descriptors that came with it.
pub(crate) fn receive_request(
    socket: &OwnedFd,
    buffer: &mut [u8],
) -> Result<(usize, Vec<OwnedFd>), rustix::io::Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut parts = [io::IoSliceMut::new(buffer)];
    let got = rustix::net::recvmsg(socket, &mut parts, &mut control, flags)?;
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if got.flags.intersects(rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC) {
        return Err(rustix::io::Errno::MSGSIZE);
    }
    Ok((got.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;
    use crate::config::{decode, encode};

    #[test]
    fn descriptors_come_with_requests() {
        let directory = std::env::temp_dir().join(format!("ringfence-control-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("control");
        let listener = listen(&path).unwrap();
        let client = Client::connect(&path).unwrap();
        let server = rustix::net::accept(&listener).unwrap();
        let process = ProcessSpec { args: vec![b"true".to_vec()], ..Default::default() };
        let request = Request::Exec(Box::new(process));
        client.send(&request, &[listener.as_fd(), client.as_fd()]).unwrap();
        let mut buffer = vec![0; MAX_MESSAGE];
        let (count, descriptors) = receive_request(&server, &mut buffer).unwrap();
        assert_eq!(descriptors.len(), 2);
        assert_eq!(decode::<Request>(&buffer[..count]).unwrap(), request);
        rustix::net::send(&server, &encode(&Reply::Done).unwrap(), SendFlags::empty()).unwrap();
        assert_eq!(client.receive().unwrap(), Some(Reply::Done));
        drop(server);
        assert_eq!(client.receive().unwrap(), None);
        std::fs::remove_dir_all(directory).unwrap();
    }

    proptest! {
        #[test]
        fn any_bytes_are_requests_or_refused(bytes in collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<Request>(&bytes);
            let _ = decode::<Reply>(&bytes);
        }

        #[test]
        fn damaged_requests_are_refused_or_read(
            args in collection::vec(collection::vec(any::<u8>(), 0..20), 0..5),
            damage in collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let process = ProcessSpec { args, ..Default::default() };
            let mut bytes = encode(&Request::Exec(Box::new(process))).unwrap();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = decode::<Request>(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            let _ = decode::<Request>(&bytes);
        }
    }
}
