//! Connections over the wire: a [`Control`] with its lock and its timer, between segments and a socket.
//!
//! A flow is in the table of flows until it has ended, whatever becomes of its socket. The socket refers to it as its
//! peer; it refers to the socket weakly, except while that waits for its handshake.
//!
//! Locks: a flow's, under which the socket's `inner` may be taken, the table of neighbours and the ring. What the
//! machine tells is done when the flow's lock has been let go. The table of flows is a leaf.

mod arrive;
mod socket;

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};
use core::net::IpAddr;

use smallvec::SmallVec;

pub(in crate::net::inet) use self::arrive::{arrive, failed};
use super::{
    IPPROTO_TCP, PORTS, State as SocketState, Tcp,
    control::{Choices, Control, Event, Io, State},
    segment::Head,
};
use crate::{
    arch::clock,
    errno::{Errno, Result},
    net::inet::{
        link,
        options::{SOL_IP, SOL_IPV6, ip, ip6},
        table,
        wire::{self, Outgoing, packet::pseudo},
    },
    random,
    sync::SpinLock,
    time::timer::{self, Action, TimerId},
};

/// Where the checksum is in a header.
const CHECKSUM: u16 = 16;
/// Most flows at a time. When there are so many, this many of those that only wait for stray segments go.
const FLOWS: usize = 32_768;
const SWEEP: usize = 512;
/// Most connections of a listener whose handshake is not complete.
const EMBRYOS: usize = 512;
/// Most bytes that wait to be acknowledged, and that wait to be read where nobody chose a buffer's size.
const SEND_MOST: usize = 1 << 20;
const RECEIVE_MOST: usize = 1 << 20;

static TABLE: SpinLock<BTreeMap<table::Flow, Arc<Flow>>> = SpinLock::new(BTreeMap::new());

/// A connection over the wire.
pub(super) struct Flow {
    numbers: table::Flow,
    me: Weak<Self>,
    socket: Weak<Tcp>,
    listener: Weak<Tcp>,
    ttl: (u8, u8),
    inner: SpinLock<Inner>,
}

struct Inner {
    control: Option<Control>,
    armed: Option<(u64, TimerId)>,
    /// The socket, until a listener has it.
    embryo: Option<Arc<Tcp>>,
}

type Told = SmallVec<[Event; 4]>;

/// What a machine sees of its flow.
struct Side<'a> {
    flow: &'a Flow,
    socket: Option<Arc<Tcp>>,
    told: Told,
}

impl Io for Side<'_> {
    fn deliver(&mut self, data: &[u8]) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.take_segment(data))
    }

    fn room(&self) -> usize {
        self.socket.as_ref().map_or(0, |socket| socket.wire_room())
    }

    fn send(&mut self, head: &Head, data: [&[u8]; 2], size: usize) -> bool {
        send_segment(&self.flow.numbers, head, data, size, self.flow.ttl)
    }

    fn tell(&mut self, event: Event) {
        self.told.push(event);
    }
}

/// Sends a segment. Its checksum is completed by the host.
fn send_segment(
    numbers: &table::Flow,
    head: &Head,
    data: [&[u8]; 2],
    size: usize,
    (ttl, tos): (u8, u8),
) -> bool {
    let mut bytes = head.write();
    let len = bytes.len() + data[0].len() + data[1].len();
    let (from, to) = (numbers.local.addr, numbers.remote.addr);
    let protocol = IPPROTO_TCP as u8;
    let sum = pseudo(from, to, protocol, len);
    if let Some(place) = bytes.get_mut(usize::from(CHECKSUM)..usize::from(CHECKSUM) + 2) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    let packet = Outgoing {
        from,
        to,
        protocol,
        ttl,
        tos,
        pieces: [&bytes, data[0], data[1]],
        offload: Some((CHECKSUM, size as u16)),
        divisible: false,
    };
    match wire::send(&packet) {
        Ok(()) => true,
        Err(Errno::ENOBUFS) => false,
        // It is lost; the machine tries again, or is told in time.
        Err(error) => {
            log::debug!("a segment to {to}: {error}");
            true
        }
    }
}

/// The most that a segment may carry on the way to `to`, without options.
fn mss_for(to: IpAddr) -> usize {
    let headers = if to.is_ipv6() { 60 } else { 40 };
    (link::mtu_for(to) as usize).saturating_sub(headers).max(64)
}

fn numbers() -> (u32, u32) {
    let mut bytes = [0; 8];
    random::fill(&mut bytes);
    let word = u64::from_ne_bytes(bytes);
    (word as u32, (word >> 32) as u32)
}

impl Flow {
    /// Makes a flow and enters it; `start` makes its machine.
    fn make(
        numbers: table::Flow,
        socket: &Arc<Tcp>,
        listener: Option<&Tcp>,
        start: impl FnOnce(&mut Side<'_>) -> Control,
    ) -> Result<Arc<Self>> {
        let v6 = numbers.remote.addr.is_ipv6();
        let [ttl, tos] = if v6 {
            [(SOL_IPV6, ip6::UNICAST_HOPS), (SOL_IPV6, ip6::TCLASS)]
        } else {
            [(SOL_IP, ip::TTL), (SOL_IP, ip::TOS)]
        }
        .map(|(level, name)| socket.values.number(level, name) as u8);
        let flow = Arc::new_cyclic(|me| Self {
            numbers,
            me: me.clone(),
            socket: Arc::downgrade(socket),
            listener: listener.map_or_else(Weak::new, |listener| listener.me.clone()),
            ttl: (ttl, tos),
            inner: SpinLock::new(Inner {
                control: None,
                armed: None,
                embryo: listener.map(|_| socket.clone()),
            }),
        });
        sweep();
        {
            let mut table = TABLE.lock();
            if table.len() >= FLOWS || table.contains_key(&numbers) {
                return Err(Errno::EADDRNOTAVAIL);
            }
            table.insert(numbers, flow.clone());
        }
        {
            let mut inner = flow.inner.lock();
            let mut side = flow.side();
            let mut control = start(&mut side);
            control.choices = socket.choices();
            inner.control = Some(control);
            flow.arm(&mut inner);
        }
        Ok(flow)
    }

    /// Opens a connection for `socket`.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL`.
    pub(super) fn connect(numbers_of: table::Flow, socket: &Arc<Tcp>) -> Result<Arc<Self>> {
        let ports = (numbers_of.local.port, numbers_of.remote.port);
        let (mss, now) = (mss_for(numbers_of.remote.addr), clock::monotonic_ns());
        Self::make(numbers_of, socket, None, |side| Control::connect(ports, numbers(), mss, now, side))
    }

    fn side(&self) -> Side<'_> {
        Side { flow: self, socket: self.socket.upgrade(), told: Told::new() }
    }

    /// Sets the timer for what the machine waits for.
    fn arm(&self, inner: &mut Inner) {
        let wanted = inner.control.as_ref().and_then(Control::deadline);
        let is_late = |at: u64| inner.armed.is_none_or(|(armed, _)| at < armed);
        // One that is early finds nothing to do, and is set again.
        let Some(at) = wanted.filter(|at| is_late(*at)) else { return };
        if let Some((_, id)) = inner.armed.take() {
            timer::cancel(id);
        }
        let me = self.me.clone();
        let action = move || {
            if let Some(flow) = me.upgrade() {
                flow.on_time();
            }
        };
        inner.armed = Some((at, timer::add(at, Action::Call(Arc::new(action)))));
    }

    fn on_time(&self) {
        self.inner.lock().armed = None;
        self.with(|control, now, side| {
            if control.deadline().is_some_and(|at| at <= now) {
                control.on_time(now, side);
            }
        });
    }

    /// Has the machine do something, and then what it tells.
    fn with<R>(&self, f: impl FnOnce(&mut Control, u64, &mut Side<'_>) -> R) -> Option<R> {
        let now = clock::monotonic_ns();
        let mut side = self.side();
        let result = {
            let mut inner = self.inner.lock();
            let control = inner.control.as_mut()?;
            let result = f(control, now, &mut side);
            self.arm(&mut inner);
            result
        };
        let Side { socket, told, .. } = side;
        for event in told {
            self.told(event, socket.as_ref());
        }
        Some(result)
    }

    fn told(&self, event: Event, socket: Option<&Arc<Tcp>>) {
        if event == Event::Closed {
            {
                let mut table = TABLE.lock();
                if table.get(&self.numbers).is_some_and(|flow| core::ptr::eq(&**flow, self)) {
                    table.remove(&self.numbers);
                }
            }
            let (embryo, armed) = {
                let mut inner = self.inner.lock();
                (inner.embryo.take(), inner.armed.take())
            };
            if let Some((_, id)) = armed {
                timer::cancel(id);
            }
            drop(embryo);
        }
        let Some(socket) = socket else { return };
        match event {
            Event::Established => {
                let embryo = self.inner.lock().embryo.take();
                match embryo {
                    Some(child) => self.enter(&child),
                    None => socket.opened_by_wire(),
                }
            }
            Event::Fin => socket.take_fin(),
            Event::Room => {
                if self.has_room(socket) {
                    socket.core.writable.wake_all();
                }
            }
            // The reset of a stream: what that means depends on the socket.
            Event::Failed(Errno::ECONNRESET | Errno::ECONNREFUSED) => socket.take_rst(),
            Event::Failed(errno) => {
                if !matches!(socket.state(), SocketState::Closed | SocketState::Listen) {
                    socket.fail(errno);
                }
            }
            Event::Closed => {}
        }
    }

    /// The handshake is complete: the listener has one more connection.
    fn enter(&self, child: &Arc<Tcp>) {
        let entered = self.listener.upgrade().is_some_and(|listener| {
            let flow = self.numbers;
            if PORTS.connect(flow, child.me.clone(), listener.reuse(), true).is_err() {
                return false;
            }
            {
                let mut inner = child.inner.lock();
                (inner.local, inner.remote, inner.flow) = (flow.local, Some(flow.remote), Some(flow));
            }
            listener.take_child(child)
        });
        if !entered {
            child.abort();
        }
    }

    /// Bytes that may be written now.
    pub(super) fn room(&self, socket: &Tcp) -> usize {
        most_buffered(socket).saturating_sub(self.buffered())
    }

    /// Room, if enough to be called writable.
    pub(super) fn has_room(&self, socket: &Tcp) -> bool {
        let most = most_buffered(socket);
        self.buffered() <= most - most / 3
    }

    /// Bytes that were written and not acknowledged.
    pub(super) fn buffered(&self) -> usize {
        self.inner.lock().control.as_ref().map_or(0, Control::buffered)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// `ENOBUFS`.
    pub(super) fn write(&self, bytes: &[u8], choices: Choices) -> Result<()> {
        let written = self.with(|control, now, side| {
            control.choices = choices;
            control.write(bytes, now, side)
        });
        written.unwrap_or(Ok(()))
    }

    /// The socket's options have changed.
    pub(super) fn choose(&self, choices: Choices) {
        self.with(|control, now, side| {
            let revived = control.choices.keepalive != choices.keepalive;
            control.choices = choices;
            if revived {
                control.is_alive(now);
            }
            let _ = control.write(&[], now, side);
        });
    }

    /// Sends no more.
    pub(super) fn finish(&self) {
        self.with(|control, now, side| control.finish(now, side));
    }

    /// Nobody has the socket open any more.
    pub(super) fn abandon(&self) {
        self.with(|control, now, _| control.abandon(now));
    }

    /// Ends at once.
    pub(super) fn abort(&self) {
        self.with(|control, _, side| control.abort(side));
    }

    /// The reader has made room.
    pub(super) fn opened(&self) {
        self.with(|control, now, side| control.opened(now, side));
    }

    /// Looks at the machine.
    pub(super) fn look<R>(&self, f: impl FnOnce(&Control) -> R) -> Option<R> {
        self.inner.lock().control.as_ref().map(f)
    }
}

/// Most bytes of a socket's that wait to be acknowledged.
fn most_buffered(socket: &Tcp) -> usize {
    (socket.core.options.sndbuf() as usize).min(SEND_MOST)
}

/// Makes room in a table that is full.
fn sweep() {
    let ended: alloc::vec::Vec<Arc<Flow>> = {
        let table = TABLE.lock();
        if table.len() < FLOWS {
            return;
        }
        // Not waited for: a flow's lock comes before the table's.
        let is_over = |flow: &&Arc<Flow>| {
            flow.inner.try_lock().is_some_and(|inner| {
                inner.control.as_ref().is_some_and(|control| control.state == State::TimeWait)
            })
        };
        table.values().filter(is_over).take(SWEEP).cloned().collect()
    };
    ended.iter().for_each(|flow| flow.abort());
}
