//! AF_NETLINK (netlink(7)): NETLINK_ROUTE, which tells of links, addresses and routes, and NETLINK_SOCK_DIAG, which tells
//! of sockets.
//!
//! A request is answered while it is sent; the answers wait in the socket's own queue, which is as long as its buffer
//! allows; a dump is cut into datagrams that any reader has room for, and is there whole.
//!
//! Locks: the table of ports, or one socket's `inner`; both are leaves.

mod codec;
mod diag;
mod route;

use alloc::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use self::codec::{Messages, Request, flag};
use super::{
    AF_NETLINK, Core, MsgFlags, Received, Receiving, SOCK_DGRAM, SOCK_RAW, Sending, Socket,
    address::Address,
    common::wait,
    options::{OptionIn, OptionOut},
};
use crate::{
    arch::{try_current, uaccess},
    errno::{Errno, Result},
    fs::PollMask,
    random,
    sync::SpinLock,
    uio::{Sink, Source},
};

/// The protocols that there are.
const NETLINK_ROUTE: i32 = 0;
const NETLINK_SOCK_DIAG: i32 = 4;
/// One more than the highest protocol.
const PROTOCOL_MAX: i32 = 32;
/// Bytes of a `struct sockaddr_nl`.
const NAME_LEN: usize = 12;
/// `SOL_NETLINK`.
const SOL_NETLINK: i32 = 270;
/// What a queued message takes besides its bytes.
const OVERHEAD: usize = 512;

/// Most bytes of a dump's datagrams, unless one message is longer.
const DUMP_PART: usize = 3776;

/// Ports that are taken, by protocol.
static PORTS: SpinLock<BTreeSet<(i32, u32)>> = SpinLock::new(BTreeSet::new());

#[derive(Debug, Default)]
struct Inner {
    /// 0 = not bound.
    port: u32,
    groups: u32,
    peer: (u32, u32),
    queue: VecDeque<Arc<Vec<u8>>>,
    charged: usize,
    /// A dump's end has not been received yet.
    dumping: bool,
}

/// A netlink socket.
#[derive(Debug)]
pub struct Netlink {
    core: Arc<Core>,
    inner: SpinLock<Inner>,
    queued: AtomicUsize,
    /// Options that are on, by number.
    options: AtomicU32,
}

/// A new socket.
///
/// # Errors
/// As socket(2).
pub fn create(kind: u32, protocol: i32) -> Result<Arc<dyn Socket>> {
    if !matches!(kind, SOCK_RAW | SOCK_DGRAM) {
        return Err(Errno::ESOCKTNOSUPPORT);
    }
    if !(0..PROTOCOL_MAX).contains(&protocol) || !matches!(protocol, NETLINK_ROUTE | NETLINK_SOCK_DIAG) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    Ok(Arc::new(Netlink {
        core: Core::new(AF_NETLINK, kind, protocol),
        inner: SpinLock::new(Inner::default()),
        queued: AtomicUsize::new(0),
        options: AtomicU32::new(0),
    }))
}

fn name(port: u32, groups: u32) -> Address {
    let mut bytes = [0; NAME_LEN];
    bytes[..2].copy_from_slice(&AF_NETLINK.to_ne_bytes());
    bytes[4..8].copy_from_slice(&port.to_ne_bytes());
    bytes[8..].copy_from_slice(&groups.to_ne_bytes());
    Address::new(&bytes).unwrap_or_default()
}

/// Port and groups of an address.
fn read_name(address: &Address) -> Result<(u32, u32)> {
    let bytes: &[u8; NAME_LEN] =
        address.bytes().get(..NAME_LEN).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EINVAL)?;
    if address.family() != Some(AF_NETLINK) {
        return Err(Errno::EINVAL);
    }
    let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Ok((word(4), word(8)))
}

impl Netlink {
    /// Takes a port: this one, or for 0 the process's number, or if that is taken a random one.
    fn take_port(&self, wanted: u32) -> Result<u32> {
        let mut ports = PORTS.lock();
        let mut port = wanted;
        if wanted == 0 {
            port = try_current().map_or(1, |me| me.process.pid);
            while port == 0 || ports.contains(&(self.core.protocol, port)) {
                let mut bytes = [0; 4];
                random::fill(&mut bytes);
                port = u32::from_ne_bytes(bytes) | 1 << 31;
            }
        }
        if !ports.insert((self.core.protocol, port)) {
            return Err(Errno::EADDRINUSE);
        }
        drop(ports);
        let mut inner = self.inner.lock();
        if inner.port != 0 {
            PORTS.lock().remove(&(self.core.protocol, port));
        } else {
            inner.port = port;
        }
        Ok(inner.port)
    }

    fn port(&self) -> Result<u32> {
        match self.inner.lock().port {
            0 => {}
            port => return Ok(port),
        }
        self.take_port(0)
    }

    /// Puts a datagram into the queue, or notes that there was no room. There is always room for what belongs to a dump:
    /// a socket has one at a time.
    fn queue(&self, bytes: Vec<u8>, dumped: bool) {
        let charge = bytes.len() + OVERHEAD;
        {
            let mut inner = self.inner.lock();
            if !dumped && inner.charged + charge > self.core.options.rcvbuf() as usize {
                drop(inner);
                self.core.set_error(Errno::ENOBUFS);
                self.core.changed();
                return;
            }
            inner.charged += charge;
            inner.queue.push_back(Arc::new(bytes));
            self.queued.store(inner.queue.len(), Ordering::SeqCst);
        }
        self.core.readable.wake_all();
    }

    fn answer(&self, request: &Request<'_>, port: u32) -> Result<Option<Messages>> {
        if request.is_dump() && core::mem::replace(&mut self.inner.lock().dumping, true) {
            return Err(Errno::EBUSY);
        }
        let answer = if self.core.protocol == NETLINK_ROUTE {
            route::answer(request, port)
        } else {
            diag::answer(request, port)
        };
        if !matches!(answer, Ok(Some(_))) && request.is_dump() {
            self.inner.lock().dumping = false;
        }
        answer
    }

    fn serve(&self, request: &Request<'_>, port: u32) {
        let mut result = Ok(());
        if request.flags & flag::REQUEST != 0 && request.kind >= codec::FIRST_TYPE {
            match self.answer(request, port) {
                Ok(Some(answer)) => {
                    let dump = request.is_dump();
                    answer.into_parts(DUMP_PART).into_iter().for_each(|part| self.queue(part, dump));
                    if dump {
                        let mut done = Messages::default();
                        done.begin(codec::DONE, flag::MULTI, request.sequence, port);
                        done.put(&0i32.to_ne_bytes());
                        self.queue(done.into_bytes(), true);
                        // The end of a dump is its acknowledgement.
                        return;
                    }
                }
                Ok(None) => {}
                Err(error) => result = Err(error),
            }
        }
        if result.is_err() || request.flags & flag::ACK != 0 {
            let mut message = Messages::default();
            message.begin(codec::ERROR, 0, request.sequence, port);
            let code = result.map_or_else(|error| -error.code(), |()| 0);
            message.put(&code.to_ne_bytes());
            // What failed is told whole, what succeeded by its header.
            message.put(if code == 0 { &request.whole[..codec::HEADER] } else { request.whole });
            self.queue(message.into_bytes(), false);
        }
    }
}

impl Socket for Netlink {
    fn core(&self) -> &Core {
        &self.core
    }

    fn bind(&self, to: &Address, _mode: u32) -> Result<()> {
        let (port, groups) = read_name(to)?;
        let bound = self.inner.lock().port;
        if bound != 0 && port != bound {
            return Err(Errno::EINVAL);
        }
        if bound == 0 {
            self.take_port(port)?;
        }
        self.inner.lock().groups = groups;
        Ok(())
    }

    fn connect(&self, to: &Address, _nonblocking: bool) -> Result<()> {
        if to.family() == Some(super::AF_UNSPEC) {
            self.inner.lock().peer = (0, 0);
            return Ok(());
        }
        let peer = read_name(to)?;
        self.port()?;
        self.inner.lock().peer = peer;
        Ok(())
    }

    fn send(&self, source: &mut Source<'_>, sending: &Sending<'_>) -> Result<usize> {
        if sending.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let (to, groups) = match sending.to {
            Some(address) => read_name(address)?,
            None => self.inner.lock().peer,
        };
        let port = self.port()?;
        let len = source.remaining();
        if len > (self.core.options.sndbuf() as usize).saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        if groups != 0 {
            return Err(Errno::EPERM);
        }
        if to != 0 {
            // The kernel is the only one that answers here.
            return Err(Errno::ECONNREFUSED);
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| Errno::ENOBUFS)?;
        bytes.resize(len, 0);
        if len != 0 && source.read(&mut bytes)? != len {
            return Err(Errno::EFAULT);
        }
        codec::requests(&bytes).for_each(|request| self.serve(&request, port));
        Ok(len)
    }

    fn receive(&self, sink: &mut Sink<'_>, receiving: Receiving) -> Result<Received> {
        let flags = receiving.flags;
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let deadline = self.core.receive_deadline(flags.contains(MsgFlags::DONTWAIT));
        let message = loop {
            self.core.take_error()?;
            let next = {
                let mut inner = self.inner.lock();
                if flags.contains(MsgFlags::PEEK) {
                    inner.queue.front().cloned()
                } else {
                    let next = inner.queue.pop_front();
                    if let Some(message) = &next {
                        inner.charged -= message.len() + OVERHEAD;
                        inner.dumping &= codec::kind(message) != codec::DONE;
                    }
                    self.queued.store(inner.queue.len(), Ordering::SeqCst);
                    next
                }
            };
            if let Some(message) = next {
                break message;
            }
            wait(&self.core.readable, deadline, || {
                (self.queued.load(Ordering::SeqCst) != 0 || self.core.has_error()).then_some(())
            })?;
        };
        let len = message.len().min(sink.remaining());
        if len != 0 && sink.write(&message[..len])? != len {
            return Err(Errno::EFAULT);
        }
        let mut received = Received { len, from: Some(name(0, 0)), ..Received::default() };
        if len < message.len() {
            received.flags |= MsgFlags::TRUNC;
            if flags.contains(MsgFlags::TRUNC) {
                received.len = message.len();
            }
        }
        Ok(received)
    }

    fn local_name(&self) -> Result<Address> {
        let inner = self.inner.lock();
        Ok(name(inner.port, inner.groups))
    }

    fn peer_name(&self) -> Result<Address> {
        let (port, groups) = self.inner.lock().peer;
        Ok(name(port, groups))
    }

    fn set_option(&self, level: i32, option: u32, value: OptionIn) -> Result<()> {
        const ADD_MEMBERSHIP: u32 = 1;
        const DROP_MEMBERSHIP: u32 = 2;
        if level != SOL_NETLINK {
            return Err(Errno::ENOPROTOOPT);
        }
        let value: u32 = value.get()?;
        match option {
            ADD_MEMBERSHIP | DROP_MEMBERSHIP if (1..=32).contains(&value) => {
                let bit = 1 << (value - 1);
                let mut inner = self.inner.lock();
                inner.groups =
                    if option == ADD_MEMBERSHIP { inner.groups | bit } else { inner.groups & !bit };
            }
            ADD_MEMBERSHIP | DROP_MEMBERSHIP => return Err(Errno::EINVAL),
            // What they change is of broadcasts and of errors' details, of which there are none.
            4 | 5 | 10 | 11 | 12 => {
                let bit = 1 << option;
                if value != 0 {
                    self.options.fetch_or(bit, Ordering::Relaxed);
                } else {
                    self.options.fetch_and(!bit, Ordering::Relaxed);
                }
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn option(&self, level: i32, option: u32, to: OptionOut) -> Result<()> {
        let to = to.measured()?;
        if level != SOL_NETLINK || !matches!(option, 4 | 5 | 10 | 11 | 12) {
            return Err(Errno::ENOPROTOOPT);
        }
        to.put(&i32::from(self.options.load(Ordering::Relaxed) & 1 << option != 0))
    }

    fn ioctl(&self, request: u32, arg: u64) -> Result<u64> {
        const FIONREAD: u32 = 0x541B;
        match request {
            FIONREAD => {
                let len = self.inner.lock().queue.front().map_or(0, |message| message.len());
                uaccess::put(arg, &(len as i32))?;
                Ok(0)
            }
            _ => super::inet::ioctl::interface(request, arg),
        }
    }

    fn poll(&self) -> PollMask {
        let mut mask = PollMask::WRITABLE | PollMask::WRBAND;
        if self.core.has_error() {
            mask |= PollMask::ERR;
        }
        if self.queued.load(Ordering::SeqCst) != 0 {
            mask |= PollMask::READABLE;
        }
        mask
    }

    fn release(&self) {
        let port = {
            let mut inner = self.inner.lock();
            inner.queue.clear();
            core::mem::take(&mut inner.port)
        };
        if port != 0 {
            PORTS.lock().remove(&(self.core.protocol, port));
        }
    }
}
