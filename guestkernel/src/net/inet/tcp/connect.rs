//! Binding, listening, connecting, accepting.

use alloc::sync::{Arc, Weak};
use core::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{PORTS, Peer, Phase, SNDBUF_CONNECTED, State, Tcp, WireFlow};
use crate::{
    arch::{clock, try_current},
    errno::{Errno, Result},
    net::{
        AF_UNSPEC,
        address::Address,
        common::wait,
        half,
        inet::{
            self,
            address::{self, Endpoint},
            link,
            options::{SOL_TCP, tcp},
            table::{Claim, Flow},
            wire,
        },
        options::so,
    },
    sync::SpinLock,
    time::{
        NSEC_PER_SEC,
        timer::{self, Action},
    },
};

impl Tcp {
    fn claim(&self, at: Endpoint) -> Claim<Self> {
        Claim {
            at,
            v6only: self.v6only(),
            reuse: AtomicBool::new(self.reuse()),
            reuseport: self.core.options.flag(so::REUSEPORT),
            uid: self.uid.load(Ordering::Relaxed),
            listening: AtomicBool::new(false),
            remote: SpinLock::new(None),
            socket: self.me.clone(),
        }
    }

    pub(super) fn bind_to(&self, to: &Address) -> Result<()> {
        let at = address::for_bind(to, self.is_v6())?;
        inet::may_bind(at, self.v6only(), true)?;
        {
            let inner = self.inner.lock();
            if inner.state != State::Closed || inner.claim.is_some() {
                return Err(Errno::EINVAL);
            }
        }
        let claim = PORTS.bind(self.claim(at), true)?;
        let mut inner = self.inner.lock();
        if inner.claim.is_some() {
            drop(inner);
            PORTS.unbind(&claim);
            return Err(Errno::EINVAL);
        }
        inner.local = claim.at;
        inner.has_own_address = !at.addr.is_unspecified();
        inner.has_own_port = at.port != 0;
        inner.claim = Some(claim);
        Ok(())
    }

    pub(super) fn start_listening(&self, backlog: u32) -> Result<()> {
        let claim = {
            let mut inner = self.inner.lock();
            if inner.phase != Phase::Unconnected || !matches!(inner.state, State::Closed | State::Listen) {
                return Err(Errno::EINVAL);
            }
            inner.backlog = backlog;
            if inner.state == State::Listen {
                drop(inner);
                self.admit();
                return Ok(());
            }
            inner.claim.clone()
        };
        let claim = match claim {
            Some(claim) => claim,
            None => {
                let local = self.inner.lock().local;
                let claim = PORTS.bind(self.claim(local), true)?;
                let mut inner = self.inner.lock();
                inner.local = claim.at;
                inner.claim = Some(claim.clone());
                claim
            }
        };
        self.core.reopen();
        self.inner.lock().state = State::Listen;
        PORTS.listen(&claim).inspect_err(|_| self.inner.lock().state = State::Closed)
    }

    pub(super) fn connect_to(&self, to: &Address, nonblocking: bool) -> Result<()> {
        if to.family().ok_or(Errno::EINVAL)? == AF_UNSPEC {
            self.disconnect();
            return Ok(());
        }
        let (phase, state) = {
            let inner = self.inner.lock();
            (inner.phase, inner.state)
        };
        let unfinished = match phase {
            Phase::Connected => return Err(Errno::EISCONN),
            Phase::Connecting => Errno::EALREADY,
            Phase::Unconnected if state != State::Closed => return Err(Errno::EISCONN),
            Phase::Unconnected => {
                self.begin(to)?;
                if nonblocking {
                    // Whatever came of it already: as in Linux, which has not looked yet.
                    return Err(Errno::EINPROGRESS);
                }
                Errno::EINPROGRESS
            }
        };
        let connecting = || self.state() == State::SynSent;
        if connecting() {
            let deadline = self.core.send_deadline(nonblocking);
            match wait(&self.core.writable, deadline, || (!connecting()).then_some(())) {
                Err(Errno::EAGAIN) => return Err(unfinished),
                result => result?,
            }
        }
        let mut inner = self.inner.lock();
        if inner.state != State::Closed {
            inner.phase = Phase::Connected;
            return Ok(());
        }
        drop(inner);
        let error = self.core.take_error().err().unwrap_or(Errno::ECONNABORTED);
        self.disconnect();
        Err(error)
    }

    /// Sends the SYN, so to speak.
    fn begin(&self, to: &Address) -> Result<()> {
        let mut remote = address::for_connect(to, self.is_v6())?;
        if self.v6only() && remote.addr.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        let (bound, own) = {
            let inner = self.inner.lock();
            (inner.local, inner.has_own_address)
        };
        if remote.addr.is_unspecified() && bound.addr.is_ipv4() && own {
            remote.addr = address::wildcard(false);
        }
        remote.addr = link::destination(remote.addr);
        let source = link::source_for(remote.addr)?;
        let addr = if own { bound.addr } else { source };
        if addr.is_ipv4() != remote.addr.is_ipv4() {
            return Err(if addr.is_ipv4() { Errno::ENETUNREACH } else { Errno::EINVAL });
        }
        if matches!(remote.addr, IpAddr::V4(addr) if link::is_broadcast(addr)) {
            return Err(Errno::ENETUNREACH);
        }
        let local = Endpoint { addr, port: bound.port };
        let flow = PORTS.connect(Flow { local, remote }, self.me.clone(), self.reuse(), false)?;
        self.core.reopen();
        {
            let mut inner = self.inner.lock();
            inner.local = flow.local;
            inner.remote = Some(remote);
            inner.flow = Some(flow);
            inner.state = State::SynSent;
            inner.phase = Phase::Connecting;
            inner.done = false;
        }
        self.grow();
        if !link::is_local(remote.addr) || wire::is_server(remote) {
            return self.open_wire(flow);
        }
        link::LO.traffic.count(3, 180);
        match super::listener(remote, flow.local.port) {
            Some(listener) => listener.enter(self),
            None if remote == flow.local => self.connect_to_itself(),
            None => self.fail(Errno::ECONNREFUSED),
        }
        Ok(())
    }

    /// Opens a connection to somebody outside.
    fn open_wire(&self, flow: Flow) -> Result<()> {
        // As Linux: nothing leaves from an address of the loopback.
        if flow.local.addr.is_loopback() && !wire::is_server(flow.remote) {
            self.disconnect();
            self.core.take_error_code();
            return Err(Errno::EINVAL);
        }
        let me = self.me.upgrade().ok_or(Errno::EINVAL)?;
        match WireFlow::connect(flow, &me) {
            Ok(wire) => {
                self.join_wire(wire);
                Ok(())
            }
            Err(error) => {
                self.disconnect();
                self.core.take_error_code();
                Err(error)
            }
        }
    }

    /// A socket with this one's options.
    pub(super) fn offspring(&self) -> Arc<Self> {
        let child = Self::new(self.is_v6());
        child.uid.store(self.uid.load(Ordering::Relaxed), Ordering::Relaxed);
        child.core.options.copy(&self.core.options);
        child.values.copy(&self.values);
        child.grow();
        child
    }

    /// The sending buffer of a connection is larger, unless its size was asked for.
    fn grow(&self) {
        let options = &self.core.options;
        if !options.has_own_sndbuf() {
            options.start_with(SNDBUF_CONNECTED, options.rcvbuf());
        }
    }

    /// Both ends open to each other at once, and are the same.
    fn connect_to_itself(&self) {
        {
            let mut inner = self.inner.lock();
            inner.state = State::Established;
            inner.peer = self.me.upgrade().map(Peer::Here);
        }
        self.core.changed();
    }

    /// A listener makes a connection with `client`, or lets it wait.
    fn enter(&self, client: &Self) {
        let Some((local, remote)) = ({
            let inner = client.inner.lock();
            inner.remote.map(|remote| (inner.local, remote))
        }) else {
            return;
        };
        let outcome = {
            let mut inner = self.inner.lock();
            if inner.state != State::Listen {
                None
            } else if inner.pending.len() + inner.reserved > inner.backlog as usize {
                inner.waiting.retain(|other| other.strong_count() != 0 && !other.ptr_eq(&client.me));
                inner.waiting.push_back(client.me.clone());
                Some(false)
            } else {
                inner.reserved += 1;
                Some(true)
            }
        };
        match outcome {
            None => return client.fail(Errno::ECONNREFUSED),
            Some(false) => return client.start_timer(),
            Some(true) => {}
        }
        let child = self.offspring();
        let flow = Flow { local: remote, remote: local };
        let entered = PORTS.connect(flow, child.me.clone(), self.reuse(), true).is_ok();
        let mut made = entered;
        if entered {
            {
                let mut inner = child.inner.lock();
                (inner.state, inner.phase) = (State::Established, Phase::Connected);
                (inner.local, inner.remote, inner.flow) = (remote, Some(local), Some(flow));
                inner.peer = client.me.upgrade().map(Peer::Here);
            }
            let mut inner = client.inner.lock();
            if inner.state == State::SynSent {
                inner.state = State::Established;
                inner.peer = Some(Peer::Here(child.clone()));
                let timer = inner.timer.take();
                drop(inner);
                Self::stop_timer(timer);
            } else {
                made = false;
            }
        }
        let listens = {
            let mut inner = self.inner.lock();
            inner.reserved -= 1;
            let listens = inner.state == State::Listen;
            if listens && made {
                inner.pending.push_back(child.clone());
                self.acceptable.store(inner.pending.len(), Ordering::SeqCst);
            }
            listens
        };
        if made && listens {
            client.core.changed();
            self.core.readable.wake_all();
        } else if made {
            child.abort();
        } else if entered {
            child.inner.lock().peer = None;
            child.abort();
        } else {
            client.fail(Errno::ECONNREFUSED);
        }
    }

    /// Lets sockets that wait for room in the queue in, as many as there is room for.
    fn admit(&self) {
        loop {
            let client = {
                let mut inner = self.inner.lock();
                if inner.pending.len() + inner.reserved > inner.backlog as usize {
                    return;
                }
                inner.waiting.pop_front()
            };
            let Some(client) = client else { return };
            if let Some(client) = client.upgrade().filter(|client| client.state() == State::SynSent) {
                self.enter(&client);
            }
        }
    }

    /// Connecting is given up when all tries would have failed.
    fn start_timer(&self) {
        let tries = self.values.number(SOL_TCP, tcp::SYNCNT) as u32;
        let all = match self.values.number(SOL_TCP, tcp::USER_TIMEOUT) {
            0 => ((2u64 << tries.min(32)) - 1).min(3600) * NSEC_PER_SEC,
            ms => ms as u64 * 1_000_000,
        };
        let mut inner = self.inner.lock();
        if inner.timer.is_some() || inner.state != State::SynSent || try_current().is_none() {
            return;
        }
        let socket: Weak<Self> = self.me.clone();
        let give_up = move || {
            if let Some(socket) = socket.upgrade().filter(|socket| socket.state() == State::SynSent) {
                socket.fail(Errno::ETIMEDOUT);
            }
        };
        let at = clock::monotonic_ns().saturating_add(all);
        inner.timer = Some(timer::add(at, Action::Call(Arc::new(give_up))));
    }

    pub(super) fn take_connection(&self, nonblocking: bool) -> Result<Arc<Self>> {
        let deadline = self.core.receive_deadline(nonblocking);
        loop {
            let taken = {
                let mut inner = self.inner.lock();
                if inner.state != State::Listen {
                    return Err(Errno::EINVAL);
                }
                let taken = inner.pending.pop_front();
                self.acceptable.store(inner.pending.len(), Ordering::SeqCst);
                taken
            };
            if let Some(socket) = taken {
                self.admit();
                return Ok(socket);
            }
            wait(&self.core.readable, deadline, || {
                let some = self.acceptable.load(Ordering::SeqCst) != 0;
                (some || self.state() != State::Listen).then_some(())
            })?;
        }
    }

    /// Ends listening: nobody will accept what waits.
    pub(super) fn stop_listening(&self) {
        let (pending, waiting, embryos, claim) = {
            let mut inner = self.inner.lock();
            inner.state = State::Closed;
            self.acceptable.store(0, Ordering::SeqCst);
            let (pending, waiting) =
                (core::mem::take(&mut inner.pending), core::mem::take(&mut inner.waiting));
            (pending, waiting, core::mem::take(&mut inner.embryos), inner.claim.clone())
        };
        if let Some(claim) = claim {
            claim.listening.store(false, Ordering::Relaxed);
        }
        pending.iter().for_each(|child| child.abort());
        for embryo in embryos.iter().filter_map(Weak::upgrade) {
            if embryo.look(|control| control.state) == Some(super::control::State::SynReceived) {
                embryo.abort();
            }
        }
        for client in waiting.iter().filter_map(Weak::upgrade) {
            client.fail(Errno::ECONNREFUSED);
        }
        self.core.shut_down(half::BOTH);
    }
}
