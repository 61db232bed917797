//! The interfaces of the sandbox and what can be reached through them.
//!
//! There is `lo`, and at most one interface to the outside, the *wire*, which the host gives before the first process
//! runs. What shows them (ioctls, netlink, `/proc/net`, sysfs) reads [`interfaces`].

use alloc::vec::Vec;
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering},
};

use alloc::{boxed::Box, string::String};
use hostcall::{NET_LIST_MAX, NetRoute, NetworkSpec};

use crate::{
    errno::{Errno, Result},
    sync::Once,
};

/// `IFF_*` of an interface that is up.
pub mod flag {
    /// Up.
    pub const UP: u32 = 1;
    /// It has a broadcast address.
    pub const BROADCAST: u32 = 2;
    /// Loopback.
    pub const LOOPBACK: u32 = 8;
    /// Running.
    pub const RUNNING: u32 = 0x40;
    /// It carries multicast.
    pub const MULTICAST: u32 = 0x1000;
    /// The link is there (netlink only).
    pub const LOWER_UP: u32 = 0x1_0000;
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The address.
    pub addr: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// The address that reaches all of the network.
    pub broadcast: Option<IpAddr>,
}

/// `RT_SCOPE_HOST`: it means nothing outside.
pub const SCOPE_HOST: u8 = 254;

/// An interface.
#[derive(Debug)]
pub struct Interface {
    /// Number.
    pub index: u32,
    /// Name.
    pub name: &'static str,
    /// Most bytes of a packet.
    pub mtu: u32,
    /// Most packets that wait to be sent, as programs are told.
    pub queue: u32,
    /// The number of the interface at the other end, and of the namespace that has it.
    pub peer: Option<(u32, u32)>,
    /// `IFF_*`.
    pub flags: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Addresses.
    pub addresses: &'static [Assigned],
    /// Routes through it, but for those of the loopback interface.
    pub routes: &'static [NetRoute],
    /// What went through it.
    pub traffic: Traffic,
}

impl Interface {
    /// `ARPHRD_*`.
    #[must_use]
    pub fn hardware(&self) -> u16 {
        const ETHER: u16 = 1;
        const LOOPBACK: u16 = 772;
        if self.flags & flag::LOOPBACK != 0 { LOOPBACK } else { ETHER }
    }
}

/// Packets and bytes that went one way.
#[derive(Debug)]
pub struct Counter {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    const fn new() -> Self {
        Self { packets: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Counts packets of altogether `bytes`.
    pub fn add(&self, packets: u64, bytes: usize) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Packets and bytes.
    #[must_use]
    pub fn read(&self) -> (u64, u64) {
        (self.packets.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// Counters of an interface.
#[derive(Debug)]
pub struct Traffic {
    /// What came.
    pub received: Counter,
    /// What was sent.
    pub sent: Counter,
    /// Frames that came and meant nothing.
    pub dropped: AtomicU64,
}

impl Traffic {
    const fn new() -> Self {
        Self { received: Counter::new(), sent: Counter::new(), dropped: AtomicU64::new(0) }
    }

    /// Counts packets of altogether `bytes` that were sent and received at once.
    pub fn count(&self, packets: u64, bytes: usize) {
        self.received.add(packets, bytes);
        self.sent.add(packets, bytes);
    }
}

const fn of_host(addr: IpAddr, prefix: u8) -> Assigned {
    Assigned { addr, prefix, scope: SCOPE_HOST, broadcast: None }
}

/// The loopback interface.
pub static LO: Interface = Interface {
    index: 1,
    name: "lo",
    mtu: 65536,
    queue: 1000,
    peer: None,
    flags: flag::UP | flag::LOOPBACK | flag::RUNNING,
    mac: [0; 6],
    addresses: &[of_host(IpAddr::V4(Ipv4Addr::LOCALHOST), 8), of_host(IpAddr::V6(Ipv6Addr::LOCALHOST), 128)],
    routes: &[],
    traffic: Traffic::new(),
};

/// The interface to the outside.
static WIRE: Once<Interface> = Once::new();

/// The interface to the outside, where there is one.
#[must_use]
pub fn wire() -> Option<&'static Interface> {
    WIRE.get()
}

/// There is an interface to the outside. What it was given stays for the life of the sandbox.
///
/// # Errors
/// `EINVAL` for one that cannot be, `EEXIST` for a second one.
pub fn add_wire(spec: &NetworkSpec) -> Result<&'static Interface> {
    const MTU: core::ops::RangeInclusive<u32> = 576..=65_535;
    let name = core::str::from_utf8(&spec.name).map_err(|_| Errno::EINVAL)?;
    let printable = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    let lists = [spec.addresses.len(), spec.routes.len(), spec.neighbours.len()];
    if !(1..16).contains(&name.len()) || !printable || name == LO.name || !MTU.contains(&spec.mtu) {
        return Err(Errno::EINVAL);
    }
    let widths = spec.addresses.iter().map(|one| (one.addr, one.prefix));
    let widths = widths.chain(spec.routes.iter().map(|one| (one.to, one.bits)));
    let fits = |(addr, bits): (IpAddr, u8)| bits <= if addr.is_ipv6() { 128 } else { 32 };
    if lists.iter().any(|len| *len > NET_LIST_MAX) || !widths.into_iter().all(fits) {
        return Err(Errno::EINVAL);
    }
    if wire().is_some() {
        return Err(Errno::EEXIST);
    }
    let assigned = spec.addresses.iter().map(|one| Assigned {
        addr: one.addr,
        prefix: one.prefix,
        scope: one.scope,
        broadcast: one.broadcast,
    });
    Ok(WIRE.call_once(|| Interface {
        index: if spec.index <= LO.index { LO.index + 1 } else { spec.index },
        name: Box::leak(String::from(name).into_boxed_str()),
        mtu: spec.mtu,
        queue: spec.queue,
        peer: spec.peer,
        flags: flag::UP | flag::BROADCAST | flag::RUNNING | flag::MULTICAST,
        mac: spec.mac,
        addresses: Box::leak(assigned.collect::<Vec<_>>().into_boxed_slice()),
        routes: Box::leak(spec.routes.clone().into_boxed_slice()),
        traffic: Traffic::new(),
    }))
}

/// A hardware address as it is shown.
#[must_use]
pub fn mac_text([a, b, c, d, e, f]: [u8; 6]) -> String {
    alloc::format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// All of them.
#[must_use]
pub fn interfaces() -> Vec<&'static Interface> {
    core::iter::once(&LO).chain(wire()).collect()
}

/// The interface of this name.
#[must_use]
pub fn by_name(name: &[u8]) -> Option<&'static Interface> {
    interfaces().into_iter().find(|interface| interface.name.as_bytes() == name)
}

/// The interface of this number.
#[must_use]
pub fn by_index(index: u32) -> Option<&'static Interface> {
    interfaces().into_iter().find(|interface| interface.index == index)
}

/// Whether packets to `addr` come to this sandbox.
#[must_use]
pub fn is_local(addr: IpAddr) -> bool {
    let loops = match addr {
        IpAddr::V4(addr) => addr.is_loopback() && addr != LOOPBACK_BROADCAST,
        IpAddr::V6(addr) => addr.is_loopback(),
    };
    loops || wire().is_some_and(|wire| wire.addresses.iter().any(|assigned| assigned.addr == addr))
}

/// The broadcast address of the loopback network.
pub const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

/// Whether `addr` is a broadcast address.
#[must_use]
pub fn is_broadcast(addr: Ipv4Addr) -> bool {
    addr == LOOPBACK_BROADCAST || wire().is_some_and(|wire| is_broadcast_of(wire, addr))
}

/// Whether `addr` reaches everybody on the link of `interface`.
#[must_use]
pub fn is_broadcast_of(interface: &Interface, addr: Ipv4Addr) -> bool {
    addr.is_broadcast()
        || interface.addresses.iter().any(|assigned| match assigned.addr {
            IpAddr::V4(own) if assigned.prefix < 31 => {
                let host = u32::MAX >> assigned.prefix;
                assigned.broadcast == Some(IpAddr::V4(addr)) || u32::from(own) | host == u32::from(addr)
            }
            _ => false,
        })
}

/// Whether a socket may be bound to `addr`.
#[must_use]
pub fn may_bind(addr: IpAddr, stream: bool) -> bool {
    let group = match addr {
        IpAddr::V4(addr) => addr.is_multicast() || addr.is_broadcast() || is_broadcast(addr),
        IpAddr::V6(addr) => addr.is_multicast() && !stream,
    };
    addr.is_unspecified() || is_local(addr) || group
}

/// The address that packets to `to` come from, unless the socket has one.
///
/// # Errors
/// `ENETUNREACH` when nothing leads there.
pub fn source_for(to: IpAddr) -> Result<IpAddr> {
    match to {
        IpAddr::V4(addr) if addr.is_loopback() => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ if is_local(to) => Ok(to),
        _ => Ok(path(to)?.source),
    }
}

/// The interface that packets to `to`, from here or from outside, come in by.
#[must_use]
pub fn index_for(to: IpAddr, from: IpAddr) -> u32 {
    match wire() {
        Some(wire) if !is_local(from) || !is_local(to) => wire.index,
        _ => LO.index,
    }
}

/// Most bytes of a packet to `to`.
#[must_use]
pub fn mtu_for(to: IpAddr) -> u32 {
    match wire() {
        Some(wire) if !is_local(to) => wire.mtu,
        _ => LO.mtu,
    }
}

/// How packets leave the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Who gets them on the link.
    pub next: IpAddr,
    /// Where they come from.
    pub source: IpAddr,
}

/// An address as a number whose first bits are its network's, and how many bits it has.
fn number(addr: IpAddr) -> (u128, u8) {
    match addr {
        IpAddr::V4(addr) => (u128::from(u32::from(addr)) << 96, 32),
        IpAddr::V6(addr) => (u128::from(addr), 128),
    }
}

/// Whether the first `bits` of two addresses are the same.
fn is_within(addr: IpAddr, net: IpAddr, bits: u8) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    addr.is_ipv4() == net.is_ipv4() && (number(addr).0 ^ number(net).0) & mask == 0
}

/// The best route of `interface` to `to`.
#[must_use]
pub fn route_of(interface: &Interface, to: IpAddr) -> Option<&NetRoute> {
    let leads = interface.routes.iter().filter(|route| is_within(to, route.to, route.bits));
    leads.min_by_key(|route| (core::cmp::Reverse(route.bits), route.metric))
}

/// How packets to `to`, which is somebody else's address, leave the sandbox.
///
/// # Errors
/// `ENETUNREACH`.
pub fn path(to: IpAddr) -> Result<Path> {
    let wire = wire().ok_or(Errno::ENETUNREACH)?;
    path_through(wire, to).ok_or(Errno::ENETUNREACH)
}

fn path_through(wire: &Interface, to: IpAddr) -> Option<Path> {
    let local = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    };
    if to.is_loopback() {
        return None;
    }
    let group = to.is_multicast() || matches!(to, IpAddr::V4(addr) if is_broadcast_of(wire, addr));
    let route = route_of(wire, to);
    let near = |to: IpAddr| wire.addresses.iter().find(|one| is_within(to, one.addr, one.prefix));
    let next = match route {
        Some(route) if !group => route.gateway.unwrap_or(to),
        Some(_) => to,
        None if group || near(to).is_some() => to,
        None => return None,
    };
    let of_family = || wire.addresses.iter().filter(|one| one.addr.is_ipv4() == to.is_ipv4());
    let source = route
        .and_then(|route| route.source)
        .or_else(|| near(next).filter(|one| local(one.addr) == local(to)).map(|one| one.addr))
        .or_else(|| of_family().find(|one| local(one.addr) == local(to)).map(|one| one.addr))
        .or_else(|| of_family().next().map(|one| one.addr))?;
    Some(Path { next, source })
}

/// The address that is meant: nobody's address is this machine's.
#[must_use]
pub fn destination(to: IpAddr) -> IpAddr {
    match to {
        IpAddr::V4(addr) if addr.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(addr) if addr.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        to => to,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use hostcall::NetAddress;
    use std::{borrow::ToOwned, string::ToString};

    /// An interface as Docker makes it.
    pub(crate) fn spec() -> NetworkSpec {
        let addr = |text: &str| text.parse::<IpAddr>().expect("an address");
        let route = |to: &str, bits, gateway: Option<&str>, source: Option<&str>| NetRoute {
            to: addr(to),
            bits,
            gateway: gateway.map(addr),
            metric: 0,
            source: source.map(addr),
            scope: 0,
            protocol: 2,
        };
        NetworkSpec {
            name: b"eth0".to_vec(),
            index: 7,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            queue: 1000,
            peer: None,
            addresses: alloc::vec![
                NetAddress {
                    addr: addr("172.17.0.2"),
                    prefix: 16,
                    scope: 0,
                    broadcast: Some(addr("172.17.255.255"))
                },
                NetAddress { addr: addr("fd00::2"), prefix: 64, scope: 0, broadcast: None },
                NetAddress { addr: addr("fe80::1:2"), prefix: 64, scope: 253, broadcast: None },
            ],
            routes: alloc::vec![
                route("0.0.0.0", 0, Some("172.17.0.1"), None),
                route("172.17.0.0", 16, None, Some("172.17.0.2")),
                route("::", 0, Some("fd00::1"), None),
                route("fd00::", 64, None, None),
                route("fe80::", 64, None, None),
            ],
            neighbours: Vec::new(),
            names: None,
        }
    }

    fn interface() -> Interface {
        let spec = spec();
        let assigned = spec.addresses.iter().map(|one| Assigned {
            addr: one.addr,
            prefix: one.prefix,
            scope: one.scope,
            broadcast: one.broadcast,
        });
        Interface {
            index: 7,
            name: "eth0",
            mtu: 1500,
            queue: 1000,
            peer: None,
            flags: 0,
            mac: spec.mac,
            addresses: Box::leak(assigned.collect::<Vec<_>>().into_boxed_slice()),
            routes: Box::leak(spec.routes.into_boxed_slice()),
            traffic: Traffic::new(),
        }
    }

    #[test]
    fn packets_take_the_narrowest_route() {
        let interface = interface();
        let path = |to: &str| {
            let path = path_through(&interface, to.parse().expect("an address"))?;
            Some((path.next.to_string(), path.source.to_string()))
        };
        let is = |next: &str, source: &str| Some((next.to_owned(), source.to_owned()));
        assert_eq!(path("8.8.8.8"), is("172.17.0.1", "172.17.0.2"));
        assert_eq!(path("172.17.3.4"), is("172.17.3.4", "172.17.0.2"));
        assert_eq!(path("172.17.255.255"), is("172.17.255.255", "172.17.0.2"));
        assert_eq!(path("224.0.0.5"), is("224.0.0.5", "172.17.0.2"));
        assert_eq!(path("2001:db8::1"), is("fd00::1", "fd00::2"));
        assert_eq!(path("fd00::9"), is("fd00::9", "fd00::2"));
        assert_eq!(path("fe80::9"), is("fe80::9", "fe80::1:2"));
        assert_eq!(path("127.0.0.2"), None);
        assert!(is_broadcast_of(&interface, Ipv4Addr::new(172, 17, 255, 255)));
        assert!(!is_broadcast_of(&interface, Ipv4Addr::new(172, 17, 0, 255)));
    }
}
