//! Who has which port: bound sockets, connections, and connections that ended not long ago.
//!
//! A [`Claim`] is a port that a socket was bound to; a flow is a connection's four numbers. Both are ordered by
//! port, so that nothing here takes longer the more sockets there are, but for what shares one port. A connection's
//! data path never comes here.
//!
//! Locks: a table's is taken with no socket's held, and none is taken under it.

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use super::address::Endpoint;
use crate::{
    arch::clock,
    errno::{Errno, Result},
    random,
    sync::SpinLock,
    time::NSEC_PER_SEC,
};

/// Ports that are given to sockets that ask for none (`ip_local_port_range`).
pub const EPHEMERAL: (u16, u16) = (32768, 60999);
/// How long an ended connection keeps its numbers, ns.
pub const TIME_WAIT: u64 = 60 * NSEC_PER_SEC;
/// After this long a new connection may take over the numbers of an ended one.
const TIME_WAIT_REUSE: u64 = NSEC_PER_SEC;
/// Most ended connections that are remembered (`tcp_max_tw_buckets`).
const TIME_WAIT_MAX: usize = 16_384;

/// A port that a socket is bound to.
#[derive(Debug)]
pub struct Claim<S> {
    /// Address and port.
    pub at: Endpoint,
    /// The wildcard of IPv6 leaves IPv4 out.
    pub v6only: bool,
    /// `SO_REUSEADDR`, as it was when it was bound or set since.
    pub reuse: AtomicBool,
    /// `SO_REUSEPORT`.
    pub reuseport: bool,
    /// Whose it is.
    pub uid: u32,
    /// Connections to it are accepted.
    pub listening: AtomicBool,
    /// Only packets from here are for it.
    pub remote: SpinLock<Option<Endpoint>>,
    /// The socket.
    pub socket: Weak<S>,
}

/// A connection's numbers, seen from one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// This end.
    pub local: Endpoint,
    /// The other.
    pub remote: Endpoint,
}

/// What has a flow's numbers.
#[derive(Debug)]
enum Holder<S> {
    Socket {
        socket: Weak<S>,
        reuse: bool,
    },
    /// Ended; forgotten at this time, ns.
    Ended {
        until: u64,
        reuse: bool,
    },
}

#[derive(Debug)]
struct Inner<S> {
    claims: BTreeMap<u16, Vec<Arc<Claim<S>>>>,
    flows: BTreeMap<Flow, Holder<S>>,
    /// Ended flows, oldest first. One that was taken over meanwhile is no longer as old as it says here.
    ended: VecDeque<(u64, Flow)>,
}

/// The ports of one protocol.
#[derive(Debug)]
pub struct Table<S> {
    inner: SpinLock<Inner<S>>,
}

/// Whether packets to some address could come to both.
fn overlap(one: (IpAddr, bool), other: (IpAddr, bool)) -> bool {
    match (one.0, other.0) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
            one.0 == other.0 || one.0.is_unspecified() || other.0.is_unspecified()
        }
        (IpAddr::V6(six), IpAddr::V4(_)) => six.is_unspecified() && !one.1,
        (IpAddr::V4(_), IpAddr::V6(six)) => six.is_unspecified() && !other.1,
    }
}

/// How well a claim fits a destination; `None` = not at all.
fn fit(at: IpAddr, v6only: bool, to: IpAddr) -> Option<u8> {
    match (at, to) {
        _ if at == to => Some(3),
        (IpAddr::V4(any), IpAddr::V4(_)) if any.is_unspecified() => Some(2),
        (IpAddr::V6(any), IpAddr::V6(_)) if any.is_unspecified() => Some(2),
        (IpAddr::V6(any), IpAddr::V4(_)) if any.is_unspecified() && !v6only => Some(1),
        _ => None,
    }
}

impl<S> Inner<S> {
    /// Forgets connections that ended long ago.
    fn age(&mut self, now: u64) {
        while let Some(&(until, flow)) = self.ended.front() {
            if until > now && self.ended.len() <= TIME_WAIT_MAX {
                break;
            }
            self.ended.pop_front();
            if matches!(self.flows.get(&flow), Some(Holder::Ended { until: other, .. }) if *other == until) {
                self.flows.remove(&flow);
            }
        }
    }

    fn flows_of(&self, port: u16) -> impl Iterator<Item = (&Flow, &Holder<S>)> {
        let any = super::address::wildcard(false);
        let first = Flow { local: Endpoint { port, addr: any }, remote: Endpoint { port: 0, addr: any } };
        self.flows.range(first..).take_while(move |(flow, _)| flow.local.port == port)
    }

    /// Whether somebody has what `claim` asks for and does not share it.
    fn conflicts(&self, claim: &Claim<S>, stream: bool) -> bool {
        let reuse = claim.reuse.load(Ordering::Relaxed);
        let mine = (claim.at.addr, claim.v6only);
        let others = self.claims.get(&claim.at.port).map(Vec::as_slice).unwrap_or_default();
        let claimed = others.iter().filter(|other| !other.socket.ptr_eq(&claim.socket)).any(|other| {
            let listens = stream && other.listening.load(Ordering::Relaxed);
            let shared = reuse && other.reuse.load(Ordering::Relaxed) && !listens
                || claim.reuseport && other.reuseport && claim.uid == other.uid;
            overlap(mine, (other.at.addr, other.v6only)) && !shared
        });
        claimed
            || self.flows_of(claim.at.port).any(|(flow, holder)| {
                let theirs = match holder {
                    Holder::Socket { socket, .. } if socket.ptr_eq(&claim.socket) => return false,
                    Holder::Socket { reuse, .. } | Holder::Ended { reuse, .. } => *reuse,
                };
                overlap(mine, (flow.local.addr, false)) && !(reuse && theirs)
            })
    }
}

/// Ephemeral ports, each once, from a random one on.
fn candidates() -> impl Iterator<Item = u16> {
    let (low, high) = EPHEMERAL;
    let count = u32::from(high - low) + 1;
    let mut bytes = [0; 4];
    random::fill(&mut bytes);
    let start = u32::from_ne_bytes(bytes) % count;
    (0..count).map(move |step| low + ((start + step) % count) as u16)
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Table<S> {
    /// Without any port taken.
    pub const fn new() -> Self {
        let inner = Inner { claims: BTreeMap::new(), flows: BTreeMap::new(), ended: VecDeque::new() };
        Self { inner: SpinLock::new(inner) }
    }

    /// Binds `claim`, to a free port when it says none.
    ///
    /// # Errors
    /// `EADDRINUSE`.
    pub fn bind(&self, mut claim: Claim<S>, stream: bool) -> Result<Arc<Claim<S>>> {
        let mut inner = self.inner.lock();
        inner.age(clock::monotonic_ns());
        if claim.at.port == 0 {
            let free = candidates()
                .find(|port| !inner.claims.contains_key(port) && inner.flows_of(*port).next().is_none());
            claim.at.port = match free {
                Some(port) => port,
                None => candidates()
                    .find(|&port| {
                        claim.at.port = port;
                        !inner.conflicts(&claim, stream)
                    })
                    .ok_or(Errno::EADDRINUSE)?,
            };
        } else if inner.conflicts(&claim, stream) {
            return Err(Errno::EADDRINUSE);
        }
        let claim = Arc::new(claim);
        inner.claims.entry(claim.at.port).or_default().push(claim.clone());
        Ok(claim)
    }

    /// The socket of `claim` listens.
    ///
    /// # Errors
    /// `EADDRINUSE` when another does so already.
    pub fn listen(&self, claim: &Claim<S>) -> Result<()> {
        let inner = self.inner.lock();
        if inner.conflicts(claim, true) {
            return Err(Errno::EADDRINUSE);
        }
        claim.listening.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Gives a port back.
    pub fn unbind(&self, claim: &Arc<Claim<S>>) {
        let mut inner = self.inner.lock();
        let port = claim.at.port;
        if let Some(claims) = inner.claims.get_mut(&port) {
            claims.retain(|other| !Arc::ptr_eq(other, claim));
            if claims.is_empty() {
                inner.claims.remove(&port);
            }
        }
    }

    /// The claim that packets to `to` are for; of several that share it one by `salt`. `wanted` says how much better
    /// than others one is, or that it is not meant.
    pub fn find(&self, to: Endpoint, salt: u16, wanted: impl Fn(&Claim<S>) -> Option<u8>) -> Option<Arc<S>> {
        let inner = self.inner.lock();
        let claims = inner.claims.get(&to.port)?;
        let fits = |claim: &Claim<S>| Some(fit(claim.at.addr, claim.v6only, to.addr)? + wanted(claim)?);
        let best = claims.iter().filter_map(|claim| fits(claim)).max()?;
        let of_best = || claims.iter().filter(|claim| fits(claim) == Some(best));
        // The one that came last, unless they share on purpose.
        let last = of_best().next_back()?;
        let chosen = if last.reuseport {
            let count = of_best().count();
            of_best().nth(salt as usize % count).unwrap_or(last)
        } else {
            last
        };
        let socket = chosen.socket.clone();
        drop(inner);
        socket.upgrade()
    }

    /// All sockets that have a claim on `port`, in the order of their binding.
    pub fn claimants(&self, port: u16) -> Vec<Arc<S>> {
        let inner = self.inner.lock();
        let claims = inner.claims.get(&port).map(Vec::as_slice).unwrap_or_default();
        claims.iter().filter_map(|claim| claim.socket.upgrade()).collect()
    }

    /// Takes a flow's numbers; a local port of 0 becomes a free one.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when they are taken, or all ports. An accepted connection takes over an ended one's at once.
    pub fn connect(&self, mut flow: Flow, socket: Weak<S>, reuse: bool, accepted: bool) -> Result<Flow> {
        let now = clock::monotonic_ns();
        let mut inner = self.inner.lock();
        inner.age(now);
        let free = |inner: &Inner<S>, flow: &Flow| match inner.flows.get(flow) {
            None => true,
            Some(Holder::Ended { until, .. }) => accepted || until - TIME_WAIT + TIME_WAIT_REUSE <= now,
            Some(Holder::Socket { socket, .. }) => socket.strong_count() == 0,
        };
        if flow.local.port == 0 {
            let port = candidates().find(|&port| {
                flow.local.port = port;
                !inner.claims.contains_key(&port) && free(&inner, &flow)
            });
            flow.local.port = port.ok_or(Errno::EADDRNOTAVAIL)?;
        } else if !free(&inner, &flow) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        inner.flows.insert(flow, Holder::Socket { socket, reuse });
        Ok(flow)
    }

    /// A connection is no more; with `lingers` its numbers are kept for a while.
    pub fn disconnect(&self, flow: &Flow, socket: &Weak<S>, lingers: bool) {
        let now = clock::monotonic_ns();
        let mut inner = self.inner.lock();
        let Some(Holder::Socket { socket: holder, reuse }) = inner.flows.get(flow) else { return };
        if !holder.ptr_eq(socket) {
            return;
        }
        let reuse = *reuse;
        if lingers {
            let until = now + TIME_WAIT;
            inner.flows.insert(*flow, Holder::Ended { until, reuse });
            inner.ended.push_back((until, *flow));
            inner.age(now);
        } else {
            inner.flows.remove(flow);
        }
    }

    /// The socket that has these numbers.
    pub fn holder(&self, flow: &Flow) -> Option<Arc<S>> {
        match self.inner.lock().flows.get(flow) {
            Some(Holder::Socket { socket, .. }) => socket.upgrade(),
            _ => None,
        }
    }

    /// Everything, for those who show it: bound sockets, connected ones, and ended connections with the time left, ns.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<S> {
        let now = clock::monotonic_ns();
        let mut inner = self.inner.lock();
        inner.age(now);
        let bound = inner.claims.values().flatten().filter_map(|claim| claim.socket.upgrade()).collect();
        let (mut connected, mut ended) = (Vec::new(), Vec::new());
        for (flow, holder) in &inner.flows {
            match holder {
                Holder::Socket { socket, .. } => connected.extend(socket.upgrade()),
                Holder::Ended { until, .. } => ended.push((*flow, until.saturating_sub(now))),
            }
        }
        Snapshot { bound, connected, ended }
    }
}

/// What is in a table.
#[derive(Debug)]
pub struct Snapshot<S> {
    /// Sockets with a claim.
    pub bound: Vec<Arc<S>>,
    /// Sockets with a connection.
    pub connected: Vec<Arc<S>>,
    /// Ended connections.
    pub ended: Vec<(Flow, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    fn claim(socket: &Arc<u8>, addr: IpAddr, port: u16, reuse: bool) -> Claim<u8> {
        Claim {
            at: Endpoint { port, addr },
            v6only: false,
            reuse: AtomicBool::new(reuse),
            reuseport: false,
            uid: 0,
            listening: AtomicBool::new(false),
            remote: SpinLock::new(None),
            socket: Arc::downgrade(socket),
        }
    }

    #[test]
    fn a_port_is_one_sockets_unless_all_share_it() {
        let table = Table::new();
        let [one, two, three] = [1, 2, 3].map(Arc::new);
        let first = table.bind(claim(&one, V4, 80, true), true).expect("free");
        assert!(table.bind(claim(&two, V4, 80, false), true).is_err());
        assert!(table.bind(claim(&two, V6, 80, false), true).is_ok());
        assert!(table.bind(claim(&three, V4, 80, true), true).is_ok());
        assert_eq!(table.listen(&first), Ok(()));
        let dual = super::super::address::wildcard(true);
        assert!(table.bind(claim(&Arc::new(4), dual, 80, true), true).is_err());
        assert_eq!(
            table.find(first.at, 0, |claim| claim.listening.load(Ordering::Relaxed).then_some(0)).as_deref(),
            Some(&1)
        );
        table.unbind(&first);
        assert_eq!(table.find(first.at, 0, |_| Some(0)).as_deref(), Some(&3));
    }

    #[test]
    fn an_ended_connection_keeps_its_port_from_those_who_do_not_share() {
        let table = Table::new();
        let socket = Arc::new(1);
        let weak = Arc::downgrade(&socket);
        let flow = Flow { local: Endpoint { port: 0, addr: V4 }, remote: Endpoint { port: 9, addr: V4 } };
        let flow = table.connect(flow, weak.clone(), true, false).expect("free");
        assert!((EPHEMERAL.0..=EPHEMERAL.1).contains(&flow.local.port));
        assert_eq!(table.connect(flow, weak.clone(), true, false), Err(Errno::EADDRNOTAVAIL));
        table.disconnect(&flow, &weak, true);
        assert_eq!(table.snapshot().ended.len(), 1);
        let other = Arc::new(2);
        assert!(table.bind(claim(&other, V4, flow.local.port, false), true).is_err());
        assert!(table.bind(claim(&other, V4, flow.local.port, true), true).is_ok());
    }

    #[test]
    fn a_connected_socket_is_found_by_its_numbers() {
        let table = Table::new();
        let socket = Arc::new(5);
        let flow = Flow { local: Endpoint { port: 7, addr: V6 }, remote: Endpoint { port: 9, addr: V6 } };
        table.connect(flow, Arc::downgrade(&socket), false, false).expect("free");
        assert_eq!(table.holder(&flow), Some(socket.clone()));
        table.disconnect(&flow, &Arc::downgrade(&socket), false);
        assert_eq!(table.holder(&flow), None);
    }
}
