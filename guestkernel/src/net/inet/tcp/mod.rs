//! TCP sockets.
//!
//! The two ends of a connection inside the sandbox are joined directly: what one sends is put into the other's queue,
//! its FIN and RST are calls of [`Tcp::take_fin`] and [`Tcp::take_rst`]. Nothing is cut into segments, acknowledged
//! or sent again, since nothing can be lost; the states are those of RFC 9293 as a program can see them. A connection
//! over the wire has a [`flow`] as its peer, which makes the same calls when segments say so.
//!
//! As much may be on its way as the sender's and the receiver's buffers hold together.
//!
//! Locks: a sender's mutex `writer` or a reader's `reader`, then one socket's `inner`. No two sockets' `inner` are
//! held at once, and the table of ports is locked with none of them held.

mod close;
mod connect;
mod control;
pub(super) mod flow;
mod options;
pub mod proc;
mod queue;
mod segment;
mod stream;
#[cfg(test)]
mod tests;

use alloc::{
    collections::VecDeque,
    sync::{Arc, Weak},
};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use self::{
    flow::Flow as WireFlow,
    queue::{Chunk, Reader},
};
use super::{
    address::Endpoint,
    ioctl,
    options::{SOL_IPV6, Values, ip6},
    table::{Claim, Flow, Table},
};
use crate::{
    arch::{try_current, uaccess},
    errno::{Errno, Result},
    fs::PollMask,
    net::{
        AF_INET, AF_INET6, Core, Received, Receiving, SOCK_STREAM, Sending, Socket,
        address::Address,
        half,
        options::{BUFFER_MAX, OptionIn, OptionOut, so},
    },
    sync::{Mutex, SpinLock},
    time::timer::{self, TimerId},
    uio::{Sink, Source},
};

/// `IPPROTO_TCP`.
pub const IPPROTO_TCP: i32 = 6;
/// Bytes of a new socket's buffers, and of the sending one's once it is connected.
const SNDBUF: u32 = 16_384;
const RCVBUF: u32 = 131_072;
const SNDBUF_CONNECTED: u32 = 2_626_560;

/// The ports.
pub(super) static PORTS: Table<Tcp> = Table::new();

/// What a connection is doing, numbered as Linux shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Established = 1,
    SynSent = 2,
    /// This end sends no more; the other may.
    FinWait = 5,
    Closed = 7,
    /// The other end sends no more; this one may.
    CloseWait = 8,
    Listen = 10,
}

/// How far connect(2) is. It is not the same as the state: it is connect that says how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Unconnected,
    Connecting,
    Connected,
}

/// A byte that was sent out of band.
#[derive(Clone, Copy, Debug)]
struct Urgent {
    /// Its place in the stream.
    at: u64,
    byte: u8,
    read: bool,
}

/// The other end of a connection.
#[derive(Clone)]
enum Peer {
    /// In this sandbox.
    Here(Arc<Tcp>),
    /// Somewhere else.
    Wire(Arc<WireFlow>),
}

/// The socket that listens at `at`.
fn listener(at: Endpoint, salt: u16) -> Option<Arc<Tcp>> {
    PORTS.find(at, salt, |claim| claim.listening.load(Ordering::Relaxed).then_some(0))
}

/// What a socket's lock guards.
struct Inner {
    state: State,
    phase: Phase,
    local: Endpoint,
    /// The address was chosen by bind(2).
    has_own_address: bool,
    /// So was the port.
    has_own_port: bool,
    remote: Option<Endpoint>,
    claim: Option<Arc<Claim<Tcp>>>,
    flow: Option<Flow>,
    peer: Option<Peer>,
    /// No descriptor refers to it.
    orphan: bool,
    /// The other end's FIN came: reading ends without an error.
    done: bool,
    inbox: VecDeque<Chunk>,
    spare: Option<Chunk>,
    /// Bytes that came so far.
    pushed: u64,
    urgent: Option<Urgent>,
    /// A listener's connections that wait to be accepted, and places kept for more.
    pending: VecDeque<Arc<Tcp>>,
    reserved: usize,
    backlog: u32,
    /// Sockets that wait for room in this listener's queue.
    waiting: VecDeque<Weak<Tcp>>,
    /// Connections to this listener whose handshake is not complete.
    embryos: VecDeque<Weak<WireFlow>>,
    /// When connecting is given up.
    timer: Option<TimerId>,
}

/// A TCP socket.
pub struct Tcp {
    core: Arc<Core>,
    me: Weak<Self>,
    ino: AtomicU64,
    uid: AtomicU32,
    values: Values,
    writer: Mutex<()>,
    reader: Mutex<Reader>,
    inner: SpinLock<Inner>,
    /// Bytes that came and nobody has read.
    queued: AtomicUsize,
    /// Connections that wait to be accepted.
    acceptable: AtomicUsize,
    /// The other end waits for room here.
    sender_waits: AtomicBool,
    /// There is an urgent byte that reading must look out for.
    has_urgent: AtomicBool,
    /// The other end is told of room through a flow.
    by_wire: AtomicBool,
    /// Bytes that were sent and read.
    sent: AtomicU64,
    got: AtomicU64,
}

/// A new socket.
pub fn create(v6: bool) -> Arc<Tcp> {
    Tcp::new(v6)
}

impl Tcp {
    fn new(v6: bool) -> Arc<Self> {
        let core = Core::new(if v6 { AF_INET6 } else { AF_INET }, SOCK_STREAM, IPPROTO_TCP);
        core.options.start_with(SNDBUF, RCVBUF);
        let uid = try_current().map_or(0, |me| me.with_cred(|cred| cred.fsuid));
        Arc::new_cyclic(|me| Self {
            core,
            me: me.clone(),
            ino: AtomicU64::new(0),
            uid: AtomicU32::new(uid),
            values: Values::new(true, false),
            writer: Mutex::new(()),
            reader: Mutex::new(Reader::default()),
            inner: SpinLock::new(Inner {
                state: State::Closed,
                phase: Phase::Unconnected,
                local: Endpoint::unspecified(v6),
                has_own_address: false,
                has_own_port: false,
                remote: None,
                claim: None,
                flow: None,
                peer: None,
                orphan: false,
                done: false,
                inbox: VecDeque::new(),
                spare: None,
                pushed: 0,
                urgent: None,
                pending: VecDeque::new(),
                reserved: 0,
                backlog: 0,
                waiting: VecDeque::new(),
                embryos: VecDeque::new(),
                timer: None,
            }),
            queued: AtomicUsize::new(0),
            acceptable: AtomicUsize::new(0),
            sender_waits: AtomicBool::new(false),
            has_urgent: AtomicBool::new(false),
            by_wire: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            got: AtomicU64::new(0),
        })
    }

    fn is_v6(&self) -> bool {
        self.core.family == AF_INET6
    }

    fn v6only(&self) -> bool {
        self.is_v6() && self.values.flag(SOL_IPV6, ip6::V6ONLY)
    }

    fn reuse(&self) -> bool {
        self.core.options.flag(so::REUSEADDR)
    }

    fn queued(&self) -> usize {
        self.queued.load(Ordering::SeqCst)
    }

    /// Bytes that the other end may have on the way to `receiver`.
    fn capacity(&self, receiver: &Self) -> usize {
        self.core.options.sndbuf() as usize + receiver.window()
    }

    /// Bytes that this end takes in at most.
    fn window(&self) -> usize {
        self.core.options.rcvbuf() as usize / 2
    }

    /// Room at the other end, if enough to be called writable; else the other end is told that this one waits.
    fn has_room(&self, peer: &Self) -> bool {
        let capacity = self.capacity(peer);
        let enough = || peer.queued() <= capacity - capacity / 3;
        if enough() {
            return true;
        }
        peer.sender_waits.store(true, Ordering::SeqCst);
        // Looked at again: a reader that came between did not know.
        enough()
    }

    /// Bytes that the other end has not taken in.
    fn unsent(&self) -> usize {
        let peer = self.inner.lock().peer.clone();
        match peer {
            Some(Peer::Here(peer)) => peer.queued().saturating_sub(peer.window()),
            Some(Peer::Wire(flow)) => flow.buffered(),
            None => 0,
        }
    }

    fn state(&self) -> State {
        self.inner.lock().state
    }

    fn stop_timer(timer: Option<TimerId>) {
        if let Some(timer) = timer {
            timer::cancel(timer);
        }
    }
}

impl Socket for Tcp {
    fn core(&self) -> &Core {
        &self.core
    }

    fn opened(&self, ino: u64) {
        self.ino.store(ino, Ordering::Relaxed);
    }

    fn bind(&self, to: &Address, _mode: u32) -> Result<()> {
        self.bind_to(to)
    }

    fn listen(&self, backlog: u32) -> Result<()> {
        self.start_listening(backlog)
    }

    fn connect(&self, to: &Address, nonblocking: bool) -> Result<()> {
        self.connect_to(to, nonblocking)
    }

    fn accept(&self, nonblocking: bool) -> Result<Arc<dyn Socket>> {
        self.take_connection(nonblocking).map(|socket| socket as Arc<dyn Socket>)
    }

    fn send(&self, source: &mut Source<'_>, sending: &Sending<'_>) -> Result<usize> {
        self.send_stream(source, sending)
    }

    fn receive(&self, sink: &mut Sink<'_>, receiving: Receiving) -> Result<Received> {
        self.receive_stream(sink, receiving)
    }

    fn shutdown(&self, how: u32) -> Result<()> {
        self.shut(how)
    }

    fn local_name(&self) -> Result<Address> {
        Ok(self.inner.lock().local.address(self.is_v6()))
    }

    fn peer_name(&self) -> Result<Address> {
        let inner = self.inner.lock();
        match inner.remote {
            Some(remote) if !matches!(inner.state, State::Closed | State::SynSent) => {
                Ok(remote.address(self.is_v6()))
            }
            _ => Err(Errno::ENOTCONN),
        }
    }

    fn accepted_name(&self) -> Result<Address> {
        // What waited to be accepted may have ended meanwhile; who it was is known.
        let remote = self.inner.lock().remote.ok_or(Errno::ENOTCONN)?;
        Ok(remote.address(self.is_v6()))
    }

    fn set_option(&self, level: i32, name: u32, value: OptionIn) -> Result<()> {
        self.set_value(level, name, value)
    }

    fn option(&self, level: i32, name: u32, to: OptionOut) -> Result<()> {
        self.show_value(level, name, to.measured()?)
    }

    fn option_changed(&self, name: u32) {
        if name == so::REUSEADDR
            && let Some(claim) = self.inner.lock().claim.clone()
        {
            claim.reuse.store(self.reuse(), Ordering::Relaxed);
        }
        if name == so::KEEPALIVE
            && let Some(flow) = self.wire()
        {
            flow.choose(self.choices());
        }
    }

    fn is_listening(&self) -> bool {
        self.state() == State::Listen
    }

    fn ioctl(&self, request: u32, arg: u64) -> Result<u64> {
        const SIOCOUTQ: u32 = 0x5411;
        const FIONREAD: u32 = 0x541B;
        const SIOCATMARK: u32 = 0x8905;
        let value = match request {
            SIOCATMARK => self.is_at_mark().into(),
            SIOCOUTQ | FIONREAD if self.is_listening() => return Err(Errno::EINVAL),
            SIOCOUTQ => self.unsent(),
            FIONREAD => self.queued(),
            _ => return ioctl::interface(request, arg),
        };
        uaccess::put(arg, &i32::try_from(value).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn poll(&self) -> PollMask {
        let core = &*self.core;
        let (state, peer, urgent) = {
            let inner = self.inner.lock();
            (inner.state, inner.peer.clone(), inner.urgent.is_some_and(|urgent| !urgent.read))
        };
        if state == State::Listen {
            let some = self.acceptable.load(Ordering::SeqCst) != 0;
            return if some { PollMask::READABLE } else { PollMask::empty() };
        }
        let shut = core.shut();
        let mut mask = PollMask::empty();
        if shut == half::BOTH || state == State::Closed {
            mask |= PollMask::HUP;
        }
        if shut & half::RECEIVE != 0 {
            mask |= PollMask::READABLE | PollMask::RDHUP;
        }
        if state != State::SynSent {
            if self.queued() >= core.options.target(usize::MAX, false) {
                mask |= PollMask::READABLE;
            }
            if urgent {
                mask |= PollMask::PRI;
            }
            let has_room = match &peer {
                None => true,
                Some(Peer::Here(peer)) => self.has_room(peer),
                Some(Peer::Wire(flow)) => flow.has_room(self),
            };
            if shut & half::SEND != 0 || has_room {
                mask |= PollMask::WRITABLE;
            }
        }
        if core.has_error() {
            mask |= PollMask::ERR;
        }
        mask
    }

    fn release(&self) {
        self.close();
    }
}

impl core::fmt::Debug for Tcp {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let inner = self.inner.lock();
        write!(f, "Tcp({:?} {:?} -> {:?})", inner.state, inner.local, inner.remote)
    }
}

const _: () = assert!(RCVBUF <= BUFFER_MAX);
