//! AF_UNIX.
//!
//! As in Linux a message is charged to its sender's buffer until it is received, and lies in the receiver's queue;
//! datagrams from strangers are limited by number as well. A stream is a queue of messages that a reader glues
//! together, up to where descriptors or other credentials come. Nothing is locked over a copy but the readers'
//! mutex of the receiving socket.
//!
//! Locks: `io` (a sleeping mutex, readers), then `rights`' registry, then one socket's `inner`, then one packet's
//! files. No two sockets' `inner` are held at once.

mod accept;
mod datagram;
mod name;
mod packet;
pub mod proc;
pub mod rights;
mod stream;
#[cfg(test)]
mod tests;

use alloc::{
    collections::VecDeque,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use self::{
    name::Binding,
    packet::{Ancillary, Packet},
};
use super::{
    AF_UNIX, Core, PeerCred, Received, Receiving, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM, Sending,
    Socket, address::Address, common::wait, half,
};
use crate::{
    arch::{try_current, uaccess},
    errno::{Errno, Result},
    fs::PollMask,
    sync::{Mutex, SpinLock},
    uio::{Sink, Source},
};

/// Most messages of strangers that a datagram socket keeps, less one.
const DATAGRAM_BACKLOG: u32 = 10;

/// What a socket is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unconnected,
    Listening,
    Connected,
}

/// What a socket's lock guards.
#[derive(Debug)]
struct Inner {
    state: State,
    /// Released: nobody sends to it any more.
    dead: bool,
    peer: Option<Arc<UnixSocket>>,
    name: Option<Arc<Binding>>,
    queue: VecDeque<Arc<Packet>>,
    /// A listener's connections that wait to be accepted.
    pending: VecDeque<Arc<UnixSocket>>,
    backlog: u32,
    /// Senders and connecting sockets that wait for room here.
    waiting: Vec<Weak<Core>>,
}

impl Inner {
    fn is_full(&self) -> bool {
        self.queue.len().max(self.pending.len()) > self.backlog as usize
    }
}

/// A socket of this family.
pub struct UnixSocket {
    core: Arc<Core>,
    me: Weak<Self>,
    ino: AtomicU64,
    /// Who made it.
    uid: u32,
    /// Held by who takes from the queue.
    io: Mutex<()>,
    inner: SpinLock<Inner>,
    /// Messages or connections in it, readable without its lock.
    queued: AtomicUsize,
}

/// A new socket.
///
/// # Errors
/// As socket(2).
pub fn create(kind: u32, protocol: i32) -> Result<Arc<UnixSocket>> {
    if protocol != 0 && protocol != i32::from(AF_UNIX) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let kind = match kind {
        SOCK_STREAM | SOCK_DGRAM | SOCK_SEQPACKET => kind,
        SOCK_RAW => SOCK_DGRAM,
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    };
    Ok(UnixSocket::new(kind, 0))
}

/// Two sockets that are connected to each other.
///
/// # Errors
/// As socketpair(2).
pub fn pair(kind: u32, protocol: i32) -> Result<[Arc<UnixSocket>; 2]> {
    let [first, second] = [create(kind, protocol)?, create(kind, protocol)?];
    for (socket, peer) in [(&first, &second), (&second, &first)] {
        *socket.core.peer.lock() = PeerCred::current();
        let mut inner = socket.inner.lock();
        inner.peer = Some(peer.clone());
        inner.state = State::Connected;
    }
    Ok([first, second])
}

impl UnixSocket {
    fn new(kind: u32, protocol: i32) -> Arc<Self> {
        let socket = Arc::new_cyclic(|me| Self {
            core: Core::new(AF_UNIX, kind, protocol),
            me: me.clone(),
            ino: AtomicU64::new(0),
            uid: try_current().map_or(0, |me| me.with_cred(|cred| cred.fsuid)),
            io: Mutex::new(()),
            inner: SpinLock::new(Inner {
                state: State::Unconnected,
                dead: false,
                peer: None,
                name: None,
                queue: VecDeque::new(),
                pending: VecDeque::new(),
                backlog: DATAGRAM_BACKLOG,
                waiting: Vec::new(),
            }),
            queued: AtomicUsize::new(0),
        });
        proc::enter(&socket);
        socket
    }

    fn kind(&self) -> u32 {
        self.core.kind
    }

    fn is_stream(&self) -> bool {
        self.kind() == SOCK_STREAM
    }

    /// It has connections rather than a default destination.
    fn has_connections(&self) -> bool {
        self.kind() != SOCK_DGRAM
    }

    fn is_me(&self, other: &Arc<Self>) -> bool {
        core::ptr::eq(Arc::as_ptr(other), self)
    }

    /// Notes how much is in the queue; the lock is held.
    fn count(&self, inner: &Inner) {
        self.queued.store(inner.queue.len() + inner.pending.len(), Ordering::SeqCst);
    }

    fn has_queued(&self) -> bool {
        self.queued.load(Ordering::SeqCst) != 0
    }

    /// Takes `packet` off the front of the queue, if it still is there.
    fn pop(&self, packet: &Arc<Packet>) {
        let mut inner = self.inner.lock();
        if inner.queue.front().is_some_and(|front| Arc::ptr_eq(front, packet)) {
            inner.queue.pop_front();
            self.count(&inner);
        }
    }

    /// Notes that `core` waits for room here; the lock is held.
    fn note_waiting(inner: &mut Inner, core: &Arc<Core>) {
        let pointer = Arc::downgrade(core);
        if !inner.waiting.iter().any(|known| known.ptr_eq(&pointer)) {
            inner.waiting.push(pointer);
        }
    }

    /// Wakes who waits for room here.
    fn wake_waiting(&self) {
        let waiting = {
            let mut inner = self.inner.lock();
            if inner.waiting.is_empty() {
                return;
            }
            core::mem::take(&mut inner.waiting)
        };
        waiting.iter().filter_map(Weak::upgrade).for_each(|core| core.writable.wake_all());
    }

    /// Waits until the sender's buffer has room for one more message.
    fn wait_for_room(&self, deadline: Option<u64>) -> Result<()> {
        let core = &*self.core;
        core.take_error()?;
        if core.is_shut(half::SEND) {
            return Err(Errno::EPIPE);
        }
        if core.has_room() {
            return Ok(());
        }
        loop {
            wait(&core.writable, deadline, || {
                (core.has_room() || core.is_shut(half::SEND) || core.has_error()).then_some(())
            })?;
            core.take_error()?;
            if core.is_shut(half::SEND) {
                return Err(Errno::EPIPE);
            }
            if core.has_room() {
                return Ok(());
            }
        }
    }

    /// Puts a packet into the queue and says so; `inner` is this socket's.
    fn push(&self, inner: &mut Inner, packet: Packet) {
        inner.queue.push_back(Arc::new(packet));
        self.count(inner);
    }

    /// Everything in the queue, for its end.
    fn purge(&self) -> VecDeque<Arc<Packet>> {
        let mut inner = self.inner.lock();
        let packets = core::mem::take(&mut inner.queue);
        self.count(&inner);
        packets
    }

    /// Bytes that can be read now.
    fn readable_bytes(&self) -> Result<usize> {
        let inner = self.inner.lock();
        if inner.state == State::Listening {
            return Err(Errno::EINVAL);
        }
        Ok(if self.has_connections() {
            inner.queue.iter().map(|packet| packet.remaining()).sum()
        } else {
            inner.queue.front().map_or(0, |packet| packet.remaining())
        })
    }

    /// Ends one side of a connection; `never_accepted` resets the other.
    fn end(&self, never_accepted: bool) {
        let (peer, pending, binding, listening, unread) = {
            let mut inner = self.inner.lock();
            inner.dead = true;
            let listening = inner.state == State::Listening;
            inner.state = State::Unconnected;
            let unread = !inner.queue.is_empty();
            let pending = core::mem::take(&mut inner.pending);
            self.count(&inner);
            (inner.peer.take(), pending, inner.name.clone(), listening, unread)
        };
        if let Some(binding) = binding {
            binding.forget(self);
        }
        self.core.shut_down(half::BOTH);
        self.wake_waiting();
        if let Some(peer) = peer.filter(|_| self.has_connections()) {
            if unread || never_accepted {
                peer.core.set_error(Errno::ECONNRESET);
            }
            peer.core.shut_down(half::BOTH);
        }
        if listening {
            pending.iter().for_each(|socket| socket.end(true));
        }
        drop(self.purge());
        proc::leave(self);
    }

    /// Whether a datagram to `other` would wait for room there, and if so, note that this socket waits.
    fn peer_is_full(&self, other: &Arc<Self>) -> bool {
        let mut inner = other.inner.lock();
        let connected = inner.peer.as_ref().is_some_and(|peer| self.is_me(peer));
        let full = !connected && inner.is_full() && !inner.dead;
        if full {
            Self::note_waiting(&mut inner, &self.core);
        }
        full
    }
}

impl Socket for UnixSocket {
    fn core(&self) -> &Core {
        &self.core
    }

    fn opened(&self, ino: u64) {
        self.ino.store(ino, Ordering::Relaxed);
    }

    fn bind(&self, to: &Address, mode: u32) -> Result<()> {
        self.bind_name(to, mode)
    }

    fn listen(&self, backlog: u32) -> Result<()> {
        self.start_listening(backlog)
    }

    fn connect(&self, to: &Address, nonblocking: bool) -> Result<()> {
        if self.has_connections() { self.connect_stream(to, nonblocking) } else { self.connect_datagram(to) }
    }

    fn accept(&self, nonblocking: bool) -> Result<Arc<dyn Socket>> {
        self.take_connection(nonblocking).map(|socket| socket as Arc<dyn Socket>)
    }

    fn send(&self, source: &mut Source<'_>, sending: &Sending<'_>) -> Result<usize> {
        let ancillary = Ancillary::import(sending.control)?;
        if self.is_stream() {
            self.send_stream(source, sending, ancillary)
        } else {
            self.send_datagram(source, sending, ancillary)
        }
    }

    fn receive(&self, sink: &mut Sink<'_>, receiving: Receiving) -> Result<Received> {
        if self.is_stream() {
            self.receive_stream(sink, receiving)
        } else {
            self.receive_datagram(sink, receiving)
        }
    }

    fn shutdown(&self, how: u32) -> Result<()> {
        let peer = self.inner.lock().peer.clone();
        self.core.shut_down(how);
        if let Some(peer) = peer.filter(|_| self.has_connections()) {
            // What one side no longer sends the other no longer receives.
            let mirrored = (how & half::RECEIVE) << 1 | (how & half::SEND) >> 1;
            peer.core.shut_down(mirrored);
        }
        // Who waits to send here or connect must look again.
        self.wake_waiting();
        Ok(())
    }

    fn local_name(&self) -> Result<Address> {
        name::shown(self.inner.lock().name.as_deref())
    }

    fn peer_name(&self) -> Result<Address> {
        let peer = self.inner.lock().peer.clone().ok_or(Errno::ENOTCONN)?;
        name::shown(peer.inner.lock().name.as_deref())
    }

    fn has_peek_offset(&self) -> bool {
        true
    }

    fn is_listening(&self) -> bool {
        self.inner.lock().state == State::Listening
    }

    fn ioctl(&self, request: u32, arg: u64) -> Result<u64> {
        const SIOCOUTQ: u32 = 0x5411;
        const FIONREAD: u32 = 0x541B;
        let value = match request {
            SIOCOUTQ => self.core.charged(),
            FIONREAD => self.readable_bytes()?,
            // What is asked of interfaces, any socket answers: if_nametoindex(3) asks one of this family.
            0x8910..=0x8970 => return super::inet::ioctl::interface(request, arg),
            _ => return Err(Errno::ENOTTY),
        };
        uaccess::put(arg, &i32::try_from(value).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn poll(&self) -> PollMask {
        let core = &*self.core;
        let shut = core.shut();
        let mut mask = PollMask::empty();
        if core.has_error() {
            mask |= PollMask::ERR;
        }
        if shut == half::BOTH {
            mask |= PollMask::HUP;
        }
        if shut & half::RECEIVE != 0 {
            mask |= PollMask::RDHUP | PollMask::READABLE;
        }
        if self.has_queued() {
            mask |= PollMask::READABLE;
        }
        let (state, peer) = {
            let inner = self.inner.lock();
            (inner.state, if self.has_connections() { None } else { inner.peer.clone() })
        };
        if self.has_connections() && state == State::Unconnected {
            mask |= PollMask::HUP;
        }
        let writable = state != State::Listening && core.has_much_room();
        if writable && !peer.is_some_and(|peer| self.peer_is_full(&peer)) {
            mask |= PollMask::WRITABLE | PollMask::WRBAND;
        }
        mask
    }

    fn release(&self) {
        self.end(false);
        rights::collect_if_due();
    }
}

impl core::fmt::Debug for UnixSocket {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "UnixSocket({})", self.ino.load(Ordering::Relaxed))
    }
}
