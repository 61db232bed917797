//! UDP, ICMP echo and raw sockets: messages in a queue.
//!
//! A packet is put into the receiver's queue by the sender's call. It is charged to the receiver's buffer and dropped
//! where that is full; the sender never waits.
//!
//! Locks: one socket's `inner`, a leaf. The tables of ports are locked with none held.

mod arrive;
mod icmp;
mod receive;
mod send;
#[cfg(test)]
mod tests;

pub(super) use self::{
    arrive::{arrive_icmp, arrive_udp, failed, show_raw},
    icmp::{checksum, icmp_checksum},
};

use alloc::{
    collections::VecDeque,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    net::IpAddr,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use super::{
    IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_UDP,
    address::{self, Endpoint},
    ioctl, link,
    options::{self, SOL_IP, SOL_IPV6, Values, ip, ip6},
    table::{Claim, Table},
};
use crate::{
    arch::{try_current, uaccess},
    errno::{Errno, Result},
    fs::PollMask,
    net::{
        AF_INET, AF_INET6, AF_UNSPEC, Core, Received, Receiving, SOCK_DGRAM, SOCK_RAW, Sending, Socket,
        address::Address,
        half,
        options::{OptionIn, OptionOut, so},
    },
    sync::SpinLock,
    uio::{Sink, Source},
};

/// Levels of the options of raw sockets of ICMP, and their one option (`ICMP_FILTER`, `ICMP6_FILTER`).
const SOL_ICMPV6: i32 = 58;
const SOL_RAW: i32 = 255;
const ICMP_FILTER: u32 = 1;

/// What kind of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UDP.
    Udp,
    /// ICMP echo, identified by the socket's port.
    Ping,
    /// Packets of this protocol, headers and all.
    Raw(i32),
}

/// Ports of UDP, identifiers of ICMP echo (both families apart by their addresses), protocols of raw sockets.
pub(super) static UDP: Table<Datagram> = Table::new();
static PING: Table<Datagram> = Table::new();
pub(super) static RAW: Table<Datagram> = Table::new();

/// A packet that came.
#[derive(Debug)]
struct Message {
    data: Vec<u8>,
    from: Endpoint,
    /// The address that it was sent to.
    to: IpAddr,
    ttl: u8,
    tos: u8,
    /// CLOCK_REALTIME, ns.
    time: u64,
    charge: usize,
}

/// A packet that could not be delivered, for who asked to know.
#[derive(Debug)]
struct Failure {
    errno: Errno,
    /// ICMP's type and code.
    kind: u8,
    code: u8,
    data: Vec<u8>,
    to: Endpoint,
}

#[derive(Debug)]
struct Inner {
    local: Endpoint,
    has_own_address: bool,
    has_own_port: bool,
    remote: Option<Endpoint>,
    claim: Option<Arc<Claim<Datagram>>>,
    queue: VecDeque<Arc<Message>>,
    /// Bytes of memory in the queue.
    charged: usize,
    failures: VecDeque<Failure>,
    dead: bool,
}

/// A socket whose packets are kept apart.
pub struct Datagram {
    core: Arc<Core>,
    me: Weak<Self>,
    what: Kind,
    ino: AtomicU64,
    uid: AtomicU32,
    values: Values,
    inner: SpinLock<Inner>,
    /// Types of ICMP that a raw socket does not want to see, a bit each.
    unwanted: SpinLock<[u32; 8]>,
    /// Messages in the queue.
    queued: AtomicUsize,
    /// Failures in the other.
    failed: AtomicBool,
    dropped: AtomicU64,
}

/// A new socket.
///
/// # Errors
/// As socket(2).
pub fn create(v6: bool, what: Kind) -> Result<Arc<Datagram>> {
    let (kind, protocol) = match what {
        Kind::Udp => (SOCK_DGRAM, IPPROTO_UDP),
        Kind::Ping => (SOCK_DGRAM, if v6 { IPPROTO_ICMPV6 } else { IPPROTO_ICMP }),
        Kind::Raw(protocol) => (SOCK_RAW, protocol),
    };
    let uid = try_current().map_or(0, |me| me.with_cred(|cred| cred.fsuid));
    let socket = Arc::new_cyclic(|me| Datagram {
        core: Core::new(if v6 { AF_INET6 } else { AF_INET }, kind, protocol),
        me: me.clone(),
        what,
        ino: AtomicU64::new(0),
        uid: AtomicU32::new(uid),
        values: Values::new(false, kind == SOCK_RAW),
        inner: SpinLock::new(Inner {
            local: Endpoint::unspecified(v6),
            has_own_address: false,
            has_own_port: false,
            remote: None,
            claim: None,
            queue: VecDeque::new(),
            charged: 0,
            failures: VecDeque::new(),
            dead: false,
        }),
        unwanted: SpinLock::new([0; 8]),
        queued: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        dropped: AtomicU64::new(0),
    });
    if let Kind::Raw(protocol) = what {
        let at = Endpoint { port: protocol as u16, addr: address::wildcard(v6) };
        socket.enter(at)?;
    }
    Ok(socket)
}

impl Datagram {
    fn is_v6(&self) -> bool {
        self.core.family == AF_INET6
    }

    fn v6only(&self) -> bool {
        self.is_v6() && self.values.flag(SOL_IPV6, ip6::V6ONLY)
    }

    fn table(&self) -> &'static Table<Self> {
        match self.what {
            Kind::Udp => &UDP,
            Kind::Ping => &PING,
            Kind::Raw(_) => &RAW,
        }
    }

    /// Takes a port.
    fn enter(&self, at: Endpoint) -> Result<()> {
        let raw = matches!(self.what, Kind::Raw(_));
        let claim = Claim {
            at,
            v6only: self.v6only() || raw,
            // Raw sockets share their protocol.
            reuse: AtomicBool::new(raw || self.core.options.flag(so::REUSEADDR)),
            reuseport: !raw && self.core.options.flag(so::REUSEPORT),
            uid: self.uid.load(Ordering::Relaxed),
            listening: AtomicBool::new(false),
            remote: SpinLock::new(None),
            socket: self.me.clone(),
        };
        let claim = self.table().bind(claim, false)?;
        let mut inner = self.inner.lock();
        if inner.claim.is_some() {
            drop(inner);
            self.table().unbind(&claim);
            return Err(Errno::EINVAL);
        }
        if !raw {
            inner.local = claim.at;
        }
        inner.claim = Some(claim);
        Ok(())
    }

    /// Takes some port, unless it has one.
    fn autobind(&self) -> Result<()> {
        let local = {
            let inner = self.inner.lock();
            if inner.claim.is_some() {
                return Ok(());
            }
            inner.local
        };
        match self.enter(local) {
            Err(Errno::EADDRINUSE) => Err(Errno::EAGAIN),
            // Another thread was faster.
            Err(Errno::EINVAL) => Ok(()),
            result => result,
        }
    }

    fn leave(&self) {
        let claim = self.inner.lock().claim.take();
        if let Some(claim) = claim {
            self.table().unbind(&claim);
        }
    }

    fn has_queued(&self) -> bool {
        self.queued.load(Ordering::SeqCst) != 0
    }

    /// Takes a packet in, unless there is no room.
    fn deliver(&self, message: Message) {
        {
            let mut inner = self.inner.lock();
            if inner.dead || self.core.is_shut(half::RECEIVE) && self.what != Kind::Udp {
                return;
            }
            let full = inner.charged + message.charge > self.core.options.rcvbuf() as usize;
            if full && !inner.queue.is_empty() || inner.queue.try_reserve(1).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            inner.charged += message.charge;
            inner.queue.push_back(Arc::new(message));
            self.queued.store(inner.queue.len(), Ordering::SeqCst);
        }
        self.core.readable.wake_all();
    }

    /// Forgets where packets go.
    fn disconnect(&self) {
        let (claim, keeps) = {
            let mut inner = self.inner.lock();
            inner.remote = None;
            let any = address::wildcard(self.is_v6());
            if !inner.has_own_address {
                inner.local.addr = any;
            }
            let keeps = inner.has_own_port || matches!(self.what, Kind::Raw(_));
            if !keeps {
                inner.local.port = 0;
            }
            (inner.claim.clone(), keeps)
        };
        if let Some(claim) = claim {
            *claim.remote.lock() = None;
        }
        if !keeps {
            self.leave();
        }
    }

    fn connect_to(&self, to: &Address) -> Result<()> {
        if to.family().ok_or(Errno::EINVAL)? == AF_UNSPEC {
            self.disconnect();
            return Ok(());
        }
        if !matches!(self.what, Kind::Raw(_)) {
            // Even where it fails.
            self.autobind()?;
        }
        let v6 = self.is_v6();
        let mut remote = match (v6, to.family()) {
            (true, Some(AF_INET)) if self.v6only() => return Err(Errno::EAFNOSUPPORT),
            (true, Some(AF_INET)) => address::read_v4(to)?,
            _ => address::for_connect(to, v6)?,
        };
        if self.v6only() && remote.addr.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        let (local, own) = {
            let inner = self.inner.lock();
            (inner.local, inner.has_own_address)
        };
        remote.addr = link::destination(remote.addr);
        let source = link::source_for(remote.addr)?;
        self.check_broadcast(remote.addr)?;
        if own && local.addr.is_ipv4() != remote.addr.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        let claim = {
            let mut inner = self.inner.lock();
            inner.remote = Some(remote);
            if !own {
                inner.local.addr = source;
            }
            inner.claim.clone()
        };
        if let Some(claim) = claim {
            *claim.remote.lock() = Some(remote);
        }
        Ok(())
    }

    fn check_broadcast(&self, to: IpAddr) -> Result<()> {
        let broadcast = matches!(to, IpAddr::V4(addr) if link::is_broadcast(addr));
        if broadcast && !self.core.options.flag(so::BROADCAST) { Err(Errno::EACCES) } else { Ok(()) }
    }

    fn bind_to(&self, to: &Address) -> Result<()> {
        let at = address::for_bind(to, self.is_v6())?;
        if let Kind::Raw(_) = self.what {
            if !link::may_bind(at.addr, false) {
                return Err(Errno::EADDRNOTAVAIL);
            }
            let mut inner = self.inner.lock();
            inner.local.addr = at.addr;
            inner.has_own_address = !at.addr.is_unspecified();
            return Ok(());
        }
        super::may_bind(at, self.v6only(), false)?;
        if self.inner.lock().claim.is_some() {
            return Err(Errno::EINVAL);
        }
        self.enter(at)?;
        let mut inner = self.inner.lock();
        inner.has_own_address = !at.addr.is_unspecified();
        inner.has_own_port = at.port != 0;
        Ok(())
    }

    /// What `/proc/net` shows: the two ends, the state, bytes that wait.
    pub(super) fn shown(&self) -> Shown {
        let inner = self.inner.lock();
        Shown {
            local: inner.local,
            remote: inner.remote,
            v6: self.is_v6(),
            waiting: inner.charged,
            uid: self.uid.load(Ordering::Relaxed),
            ino: self.ino.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

/// A line of `/proc/net/udp`.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) local: Endpoint,
    pub(super) remote: Option<Endpoint>,
    pub(super) v6: bool,
    pub(super) waiting: usize,
    pub(super) uid: u32,
    pub(super) ino: u64,
    pub(super) dropped: u64,
}

impl Socket for Datagram {
    fn core(&self) -> &Core {
        &self.core
    }

    fn opened(&self, ino: u64) {
        self.ino.store(ino, Ordering::Relaxed);
    }

    fn bind(&self, to: &Address, _mode: u32) -> Result<()> {
        self.bind_to(to)
    }

    fn connect(&self, to: &Address, _nonblocking: bool) -> Result<()> {
        self.connect_to(to)
    }

    fn send(&self, source: &mut Source<'_>, sending: &Sending<'_>) -> Result<usize> {
        self.send_packet(source, sending)
    }

    fn receive(&self, sink: &mut Sink<'_>, receiving: Receiving) -> Result<Received> {
        self.receive_packet(sink, receiving)
    }

    fn shutdown(&self, how: u32) -> Result<()> {
        self.core.shut_down(how);
        if self.inner.lock().remote.is_some() { Ok(()) } else { Err(Errno::ENOTCONN) }
    }

    fn local_name(&self) -> Result<Address> {
        Ok(self.inner.lock().local.address(self.is_v6()))
    }

    fn peer_name(&self) -> Result<Address> {
        let remote = self.inner.lock().remote.filter(|remote| remote.port != 0);
        Ok(remote.ok_or(Errno::ENOTCONN)?.address(self.is_v6()))
    }

    fn set_option(&self, level: i32, name: u32, value: OptionIn) -> Result<()> {
        match (level, name) {
            (SOL_IPV6, _) if !self.is_v6() => return Err(Errno::ENOPROTOOPT),
            (SOL_IPV6, ip6::V6ONLY) if self.inner.lock().claim.is_some() && self.what == Kind::Udp => {
                return Err(Errno::EINVAL);
            }
            // No interface here takes part in groups.
            (SOL_IP, ip::ADD_MEMBERSHIP) | (SOL_IPV6, ip6::JOIN_GROUP) => return Err(Errno::ENODEV),
            (SOL_IP, ip::DROP_MEMBERSHIP) | (SOL_IPV6, ip6::LEAVE_GROUP) => return Err(Errno::EADDRNOTAVAIL),
            (SOL_IP | SOL_IPV6, _) => {}
            (SOL_ICMPV6, ICMP_FILTER) if self.what == Kind::Raw(IPPROTO_ICMPV6) && self.is_v6() => {
                let unwanted: [u32; 8] = value.get()?;
                *self.unwanted.lock() = unwanted;
                return Ok(());
            }
            (SOL_RAW, ICMP_FILTER) if self.what == Kind::Raw(IPPROTO_ICMP) => {
                let unwanted: u32 = value.get()?;
                self.unwanted.lock()[0] = unwanted;
                return Ok(());
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        self.values.set(level, name, value)
    }

    fn option(&self, level: i32, name: u32, to: OptionOut) -> Result<()> {
        let to = to.measured()?;
        let remote = self.inner.lock().remote;
        match (level, name) {
            (SOL_IPV6, _) if !self.is_v6() => Err(Errno::EOPNOTSUPP),
            (SOL_IP, ip::MTU) | (SOL_IPV6, ip6::MTU) => {
                options::put(level, link::mtu_for(remote.ok_or(Errno::ENOTCONN)?.addr) as i32, to)
            }
            (SOL_IP | SOL_IPV6, _) => self.values.get(level, name, to),
            (SOL_ICMPV6, ICMP_FILTER) if self.what == Kind::Raw(IPPROTO_ICMPV6) && self.is_v6() => {
                let unwanted = *self.unwanted.lock();
                to.put(&unwanted)
            }
            (SOL_RAW, ICMP_FILTER) if self.what == Kind::Raw(IPPROTO_ICMP) => {
                let unwanted = self.unwanted.lock()[0];
                to.put(&unwanted)
            }
            _ if self.is_v6() => Err(Errno::ENOPROTOOPT),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn option_changed(&self, name: u32) {
        if name == so::REUSEADDR
            && self.what == Kind::Udp
            && let Some(claim) = self.inner.lock().claim.clone()
        {
            claim.reuse.store(self.core.options.flag(name), Ordering::Relaxed);
        }
    }

    fn ioctl(&self, request: u32, arg: u64) -> Result<u64> {
        const SIOCOUTQ: u32 = 0x5411;
        const FIONREAD: u32 = 0x541B;
        let value = match request {
            // What is sent is at the receiver's.
            SIOCOUTQ => 0,
            FIONREAD => self.inner.lock().queue.front().map_or(0, |message| message.data.len()),
            _ => return ioctl::interface(request, arg),
        };
        uaccess::put(arg, &i32::try_from(value).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn poll(&self) -> PollMask {
        let core = &*self.core;
        let shut = core.shut();
        let mut mask = PollMask::WRITABLE | PollMask::WRBAND;
        if core.has_error() || self.failed.load(Ordering::SeqCst) {
            mask |= PollMask::ERR;
        }
        if shut & half::RECEIVE != 0 {
            mask |= PollMask::RDHUP | PollMask::READABLE;
        }
        if shut == half::BOTH {
            mask |= PollMask::HUP;
        }
        if self.has_queued() {
            mask |= PollMask::READABLE;
        }
        mask
    }

    fn release(&self) {
        let rest = {
            let mut inner = self.inner.lock();
            inner.dead = true;
            inner.charged = 0;
            inner.failures.clear();
            self.queued.store(0, Ordering::SeqCst);
            core::mem::take(&mut inner.queue)
        };
        drop(rest);
        self.leave();
        self.core.shut_down(half::BOTH);
    }
}

impl core::fmt::Debug for Datagram {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Datagram({:?})", self.what)
    }
}
