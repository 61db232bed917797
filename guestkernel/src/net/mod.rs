//! Sockets.
//!
//! A program sees a socket as a descriptor: [`file`] puts a [`Socket`] behind an open file description with an
//! inode of its own (`socket:[number]`). The calls' arguments are decoded in one place ([`message`], [`control`],
//! [`address`]), what all families share is in [`Core`]: buffer sizes, timeouts, flags, the pending error, the two
//! wait queues. A family implements [`Socket`] and has its line in [`create`] and [`pair`].
//!
//! Locks: a socket's own lock is a spinning leaf, never held over a copy from or to user memory and never with
//! another socket's. A family may hold a sleeping mutex over copies to keep readers apart. Files that travel in
//! messages are let go of with no lock held (`unix::rights`).

pub mod address;
mod common;
pub mod control;
pub mod file;
pub mod inet;
pub mod message;
pub mod netlink;
pub mod options;
pub mod unix;

#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use core::any::Any;
use smallvec::SmallVec;

pub use self::common::{Core, PeerCred};
use self::{
    address::Address,
    control::Item,
    options::{OptionIn, OptionOut},
};
use crate::{
    errno::{Errno, Result},
    fs::PollMask,
    signal::{self, SigInfo},
    task::wait::WaitQueue,
    uio::{Sink, Source},
};

/// `AF_UNSPEC`.
pub const AF_UNSPEC: u16 = 0;
/// `AF_UNIX`.
pub const AF_UNIX: u16 = 1;
/// `AF_INET`.
pub const AF_INET: u16 = 2;
/// `AF_INET6`.
pub const AF_INET6: u16 = 10;
/// `AF_NETLINK`.
pub const AF_NETLINK: u16 = 16;
/// One more than the highest family number.
const AF_MAX: i32 = 46;

/// `SOCK_STREAM`.
pub const SOCK_STREAM: u32 = 1;
/// `SOCK_DGRAM`.
pub const SOCK_DGRAM: u32 = 2;
/// `SOCK_RAW`.
pub const SOCK_RAW: u32 = 3;
/// `SOCK_SEQPACKET`.
pub const SOCK_SEQPACKET: u32 = 5;
/// One more than the highest type.
const SOCK_MAX: u32 = 11;

bitflags::bitflags! {
    /// `MSG_*`, given and answered.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MsgFlags: u32 {
        /// Out-of-band data.
        const OOB = 1;
        /// Look and leave it there.
        const PEEK = 2;
        /// Control data was cut off.
        const CTRUNC = 8;
        /// Say the real length; or: data was cut off.
        const TRUNC = 0x20;
        /// Do not block this once.
        const DONTWAIT = 0x40;
        /// The end of a record.
        const EOR = 0x80;
        /// Wait for all that was asked for.
        const WAITALL = 0x100;
        /// From the error queue.
        const ERRQUEUE = 0x2000;
        /// No `SIGPIPE`.
        const NOSIGNAL = 0x4000;
        /// More follows.
        const MORE = 0x8000;
        /// `recvmmsg` blocks for the first message only.
        const WAITFORONE = 0x1_0000;
        /// Passed descriptors are closed on exec.
        const CMSG_CLOEXEC = 0x4000_0000;
    }
}

/// What goes with the bytes of a message to be sent.
#[derive(Debug)]
pub struct Sending<'a> {
    /// Flags, `DONTWAIT` included where the file does not block.
    pub flags: MsgFlags,
    /// Where to.
    pub to: Option<&'a Address>,
    /// Control data as ring 3 laid it out.
    pub control: &'a [u8],
}

/// What a receiver asks for.
#[derive(Clone, Copy, Debug)]
pub struct Receiving {
    /// Flags, `DONTWAIT` included where the file does not block.
    pub flags: MsgFlags,
    /// The sender's address is wanted.
    pub wants_address: bool,
}

/// What came besides the bytes.
#[derive(Debug, Default)]
pub struct Received {
    /// What the call returns.
    pub len: usize,
    /// `TRUNC`, `EOR` and the like.
    pub flags: MsgFlags,
    /// The sender's address.
    pub from: Option<Address>,
    /// Control data.
    pub control: SmallVec<[Item; 2]>,
}

/// Halves of a connection.
pub mod half {
    /// Receiving.
    pub const RECEIVE: u32 = 1;
    /// Sending.
    pub const SEND: u32 = 2;
    /// Both.
    pub const BOTH: u32 = 3;
}

/// A socket of some family. Defaults are the errno that Linux gives where a family has no such operation.
#[allow(missing_docs, reason = "the methods are named after the system calls that they serve")]
#[allow(clippy::missing_errors_doc, reason = "errno of the system call they serve")]
pub trait Socket: Any + Send + Sync {
    /// What all families share.
    fn core(&self) -> &Core;

    /// Its inode's number is known now.
    fn opened(&self, _ino: u64) {}

    /// `mode` are the permission bits of the socket's own inode.
    fn bind(&self, _to: &Address, _mode: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn listen(&self, _backlog: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn connect(&self, _to: &Address, _nonblocking: bool) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn accept(&self, _nonblocking: bool) -> Result<Arc<dyn Socket>> {
        Err(Errno::EOPNOTSUPP)
    }

    fn send(&self, source: &mut Source<'_>, sending: &Sending<'_>) -> Result<usize>;

    fn receive(&self, sink: &mut Sink<'_>, receiving: Receiving) -> Result<Received>;

    /// `how` is of [`half`].
    fn shutdown(&self, _how: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local_name(&self) -> Result<Address>;

    fn peer_name(&self) -> Result<Address> {
        Err(Errno::ENOTCONN)
    }

    /// The peer's address, of a socket that was just accepted.
    fn accepted_name(&self) -> Result<Address> {
        self.peer_name()
    }

    /// Options of other levels than `SOL_SOCKET`.
    fn set_option(&self, _level: i32, _name: u32, _value: OptionIn) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn option(&self, _level: i32, _name: u32, _to: OptionOut) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// A flag of `SOL_SOCKET` was set or cleared.
    fn option_changed(&self, _name: u32) {}

    /// `SO_PEEK_OFF` works.
    fn has_peek_offset(&self) -> bool {
        false
    }

    /// `SO_ACCEPTCONN`.
    fn is_listening(&self) -> bool {
        false
    }

    fn ioctl(&self, _request: u32, _arg: u64) -> Result<u64> {
        Err(Errno::ENOTTY)
    }

    fn poll(&self) -> PollMask;

    /// Queues that are woken when [`Self::poll`] may have changed.
    fn queues(&self) -> [Option<&WaitQueue>; 2] {
        [Some(&self.core().readable), Some(&self.core().writable)]
    }

    /// The last descriptor is gone.
    fn release(&self);
}

impl core::fmt::Debug for dyn Socket {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let core = self.core();
        write!(f, "Socket({}, {})", core.family, core.kind)
    }
}

impl dyn Socket {
    /// The concrete socket, when it is a `T`.
    #[must_use]
    pub fn downcast<T: Socket>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// Checks what is the same for all families.
fn check(family: i32, kind: u32) -> Result<u16> {
    if !(0..AF_MAX).contains(&family) {
        return Err(Errno::EAFNOSUPPORT);
    }
    if kind >= SOCK_MAX {
        return Err(Errno::EINVAL);
    }
    Ok(family as u16)
}

/// A family that there is none of.
fn absent(family: u16) -> Errno {
    log::debug!("address family {family} is absent");
    Errno::EAFNOSUPPORT
}

/// socket(2), flags apart.
///
/// # Errors
/// As socket(2).
pub fn create(family: i32, kind: u32, protocol: i32) -> Result<Arc<dyn Socket>> {
    match check(family, kind)? {
        AF_UNIX => unix::create(kind, protocol).map(|socket| socket as Arc<dyn Socket>),
        AF_INET | AF_INET6 => inet::create(family as u16, kind, protocol),
        AF_NETLINK => netlink::create(kind, protocol),
        family => Err(absent(family)),
    }
}

/// socketpair(2), flags apart.
///
/// # Errors
/// As socketpair(2).
pub fn pair(family: i32, kind: u32, protocol: i32) -> Result<[Arc<dyn Socket>; 2]> {
    match check(family, kind)? {
        AF_UNIX => {
            let [first, second] = unix::pair(kind, protocol)?;
            Ok([first, second])
        }
        AF_INET | AF_INET6 | AF_NETLINK => {
            // Made first, as in Linux: what it cannot make has its own error.
            create(family, kind, protocol)?.release();
            Err(Errno::EOPNOTSUPP)
        }
        family => Err(absent(family)),
    }
}

/// Sends the caller `SIGPIPE`, unless it asked not to.
pub(crate) fn broken_pipe(flags: MsgFlags) {
    let Some(me) = crate::arch::try_current().filter(|_| !flags.contains(MsgFlags::NOSIGNAL)) else { return };
    // A standard signal that is pending already is not queued again; nothing is lost.
    if let Err(error) = signal::send_to_task(&me.arc(), SigInfo::kernel(signal::SIGPIPE)) {
        log::debug!("SIGPIPE: {error}");
    }
}
