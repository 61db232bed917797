//! NETLINK_ROUTE (rtnetlink(7)): what there is of links, addresses and routes.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::codec::{self, Messages, Request, flag};
use crate::{
    errno::{Errno, Result},
    net::{
        AF_INET, AF_INET6, AF_UNSPEC,
        inet::{
            capable,
            link::{self, Interface, SCOPE_HOST},
            wire::neighbour,
        },
    },
    task::cred::Caps,
};

const NEWLINK: u16 = 16;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;
const GETNEIGH: u16 = 30;
/// The highest type.
const LAST: u16 = 123;
/// Bytes of a `struct ifinfomsg` and of a `struct rtmsg`.
const IFINFO: usize = 16;
const RTMSG: usize = 12;

const PERMANENT: u8 = 0x80;
const TABLE_MAIN: u8 = 254;
const TABLE_LOCAL: u8 = 255;
const PROTOCOL_KERNEL: u8 = 2;
const TYPE_UNICAST: u8 = 1;
const TYPE_LOCAL: u8 = 2;
const TYPE_BROADCAST: u8 = 3;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;

/// Numbers of attributes.
mod ifla {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const BROADCAST: u16 = 2;
    pub(super) const IFNAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const LINK: u16 = 5;
    pub(super) const QDISC: u16 = 6;
    pub(super) const TXQLEN: u16 = 13;
    pub(super) const OPERSTATE: u16 = 16;
    pub(super) const LINKMODE: u16 = 17;
    pub(super) const STATS64: u16 = 23;
    pub(super) const GROUP: u16 = 27;
    pub(super) const PROMISCUITY: u16 = 30;
    pub(super) const NUM_TX_QUEUES: u16 = 31;
    pub(super) const NUM_RX_QUEUES: u16 = 32;
    pub(super) const CARRIER: u16 = 33;
    pub(super) const LINK_NETNSID: u16 = 37;
}

/// The answer to a request, and whether it is a dump, behind which the end is told.
pub(super) fn answer(request: &Request<'_>, port: u32) -> Result<Option<Messages>> {
    if request.kind > LAST {
        return Err(Errno::EOPNOTSUPP);
    }
    let Some(&family) = request.payload().first() else { return Ok(None) };
    /// Types come in fours; the third asks, the others change something.
    const GET: u16 = 2;
    if request.kind & 3 != GET {
        return Err(if capable(Caps::NET_ADMIN) { Errno::EOPNOTSUPP } else { Errno::EPERM });
    }
    let family = u16::from(family);
    let writer =
        Writer { sequence: request.sequence, port, flags: if request.is_dump() { flag::MULTI } else { 0 } };
    let mut out = Messages::default();
    match (request.kind, request.is_dump()) {
        (GETLINK, true) => {
            link::interfaces().into_iter().for_each(|interface| writer.link(&mut out, interface));
        }
        (GETLINK, false) => writer.link(&mut out, chosen_link(request.payload())?),
        (GETADDR, true) => {
            link::interfaces()
                .into_iter()
                .for_each(|interface| writer.addresses(&mut out, interface, family));
        }
        (GETROUTE, true) => writer.routes(&mut out, family),
        (GETROUTE, false) => writer.route_to(&mut out, request.payload(), family)?,
        (GETNEIGH, true) => writer.neighbours(&mut out, family),
        _ => return Err(Errno::EOPNOTSUPP),
    }
    Ok(Some(out))
}

/// The link that a request names or numbers.
fn chosen_link(payload: &[u8]) -> Result<&'static Interface> {
    let index = payload.get(4..8).and_then(|word| word.try_into().ok()).map_or(0, u32::from_ne_bytes);
    if payload.len() < IFINFO {
        return Err(Errno::EINVAL);
    }
    if index != 0 {
        return link::by_index(index).ok_or(Errno::ENODEV);
    }
    let name = codec::attributes(payload, IFINFO).find(|(kind, _)| *kind == ifla::IFNAME);
    let (_, name) = name.ok_or(Errno::EINVAL)?;
    link::by_name(name.split(|&byte| byte == 0).next().unwrap_or_default()).ok_or(Errno::ENODEV)
}

/// A route.
struct Route {
    to: IpAddr,
    bits: u8,
    table: u8,
    scope: u8,
    kind: u8,
    source: Option<IpAddr>,
    priority: Option<u32>,
    gateway: Option<IpAddr>,
    protocol: u8,
    interface: u32,
}

/// The routes that the loopback interface has.
fn loopback_routes() -> [Route; 4] {
    let lo = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let v4 = |to: [u8; 4], bits, kind, scope| Route {
        to: IpAddr::from(to),
        bits,
        table: TABLE_LOCAL,
        scope,
        kind,
        source: Some(lo),
        priority: None,
        gateway: None,
        protocol: PROTOCOL_KERNEL,
        interface: link::LO.index,
    };
    let v6 = Route {
        to: IpAddr::V6(Ipv6Addr::LOCALHOST),
        bits: 128,
        table: TABLE_LOCAL,
        scope: SCOPE_UNIVERSE,
        kind: TYPE_LOCAL,
        source: None,
        priority: Some(0),
        gateway: None,
        protocol: PROTOCOL_KERNEL,
        interface: link::LO.index,
    };
    [
        v4([127, 0, 0, 0], 8, TYPE_LOCAL, SCOPE_HOST),
        v4([127, 0, 0, 1], 32, TYPE_LOCAL, SCOPE_HOST),
        v4([127, 255, 255, 255], 32, TYPE_BROADCAST, SCOPE_LINK),
        v6,
    ]
}

/// All routes: those of the main table that the wire has, and for each address that it is local.
fn all_routes() -> Vec<Route> {
    let mut routes = Vec::from(loopback_routes());
    let Some(wire) = link::wire() else { return routes };
    let given = wire.routes.iter().map(|route| Route {
        to: route.to,
        bits: route.bits,
        table: TABLE_MAIN,
        scope: route.scope,
        kind: TYPE_UNICAST,
        source: route.source,
        priority: (route.metric != 0).then_some(route.metric),
        gateway: route.gateway,
        protocol: route.protocol,
        interface: wire.index,
    });
    let local = wire.addresses.iter().map(|assigned| Route {
        to: assigned.addr,
        bits: if assigned.addr.is_ipv6() { 128 } else { 32 },
        table: TABLE_LOCAL,
        scope: if assigned.addr.is_ipv6() { SCOPE_UNIVERSE } else { SCOPE_HOST },
        kind: TYPE_LOCAL,
        source: Some(assigned.addr).filter(IpAddr::is_ipv4),
        priority: assigned.addr.is_ipv6().then_some(0),
        gateway: None,
        protocol: PROTOCOL_KERNEL,
        interface: wire.index,
    });
    routes.extend(given.chain(local));
    routes
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

fn family_of(addr: IpAddr) -> u16 {
    if addr.is_ipv6() { AF_INET6 } else { AF_INET }
}

/// Whom answers are for.
struct Writer {
    sequence: u32,
    port: u32,
    flags: u16,
}

impl Writer {
    fn begin(&self, out: &mut Messages, kind: u16) {
        out.begin(kind, self.flags, self.sequence, self.port);
    }

    fn link(&self, out: &mut Messages, interface: &Interface) {
        self.begin(out, NEWLINK);
        out.put(&[0, 0]);
        out.put(&interface.hardware().to_ne_bytes());
        out.put(&interface.index.to_ne_bytes());
        out.put(&(interface.flags | link::flag::LOWER_UP).to_ne_bytes());
        out.put(&0u32.to_ne_bytes());
        out.text(ifla::IFNAME, interface.name);
        out.number(ifla::TXQLEN, interface.queue);
        // Unknown, as of every interface without a cable; or up.
        let loops = interface.flags & link::flag::LOOPBACK != 0;
        out.attribute(ifla::OPERSTATE, &[if loops { 0 } else { 6 }]);
        out.attribute(ifla::LINKMODE, &[0]);
        out.number(ifla::MTU, interface.mtu);
        if let Some((index, namespace)) = interface.peer {
            out.number(ifla::LINK, index);
            out.number(ifla::LINK_NETNSID, namespace);
        }
        out.number(ifla::GROUP, 0);
        out.number(ifla::PROMISCUITY, 0);
        out.number(ifla::NUM_TX_QUEUES, 1);
        out.number(ifla::NUM_RX_QUEUES, 1);
        out.attribute(ifla::CARRIER, &[1]);
        out.text(ifla::QDISC, "noqueue");
        out.attribute(ifla::ADDRESS, &interface.mac);
        out.attribute(ifla::BROADCAST, &[if loops { 0 } else { 0xff }; 6]);
        let ((packets, bytes), (out_packets, out_bytes)) =
            (interface.traffic.received.read(), interface.traffic.sent.read());
        let mut stats = [0u64; 24];
        [stats[0], stats[1], stats[2], stats[3]] = [packets, out_packets, bytes, out_bytes];
        let stats: Vec<u8> = stats.iter().flat_map(|word| word.to_ne_bytes()).collect();
        out.attribute(ifla::STATS64, &stats);
    }

    fn addresses(&self, out: &mut Messages, interface: &Interface, family: u16) {
        const ADDRESS: u16 = 1;
        const LOCAL: u16 = 2;
        const LABEL: u16 = 3;
        const BROADCAST: u16 = 4;
        const CACHEINFO: u16 = 6;
        const FLAGS: u16 = 8;
        for assigned in interface.addresses {
            let of = family_of(assigned.addr);
            if family != AF_UNSPEC && family != of {
                continue;
            }
            self.begin(out, NEWADDR);
            out.put(&[of as u8, assigned.prefix, PERMANENT, assigned.scope]);
            out.put(&interface.index.to_ne_bytes());
            out.attribute(ADDRESS, &octets(assigned.addr));
            if of == AF_INET {
                out.attribute(LOCAL, &octets(assigned.addr));
                if let Some(broadcast) = assigned.broadcast {
                    out.attribute(BROADCAST, &octets(broadcast));
                }
                out.text(LABEL, interface.name);
            }
            out.number(FLAGS, PERMANENT.into());
            // For ever, since the start.
            let times: Vec<u8> =
                [u32::MAX, u32::MAX, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
            out.attribute(CACHEINFO, &times);
        }
    }

    fn route(&self, out: &mut Messages, route: &Route) {
        const DST: u16 = 1;
        const OIF: u16 = 4;
        const GATEWAY: u16 = 5;
        const PRIORITY: u16 = 6;
        const PREFSRC: u16 = 7;
        const TABLE: u16 = 15;
        self.begin(out, NEWROUTE);
        out.put(&[
            family_of(route.to) as u8,
            route.bits,
            0,
            0,
            route.table,
            route.protocol,
            route.scope,
            route.kind,
        ]);
        out.put(&0u32.to_ne_bytes());
        out.number(TABLE, route.table.into());
        if route.bits != 0 {
            out.attribute(DST, &octets(route.to));
        }
        if let Some(gateway) = route.gateway {
            out.attribute(GATEWAY, &octets(gateway));
        }
        if let Some(priority) = route.priority {
            out.number(PRIORITY, priority);
        }
        if let Some(source) = route.source {
            out.attribute(PREFSRC, &octets(source));
        }
        out.number(OIF, route.interface);
    }

    fn neighbours(&self, out: &mut Messages, family: u16) {
        const DST: u16 = 1;
        const ADDRESS: u16 = 2;
        /// States: nobody has answered yet, or somebody has.
        const INCOMPLETE: u16 = 1;
        const REACHABLE: u16 = 2;
        let Some(wire) = link::wire() else { return };
        for (addr, mac) in neighbour::list() {
            if family != AF_UNSPEC && family != family_of(addr) {
                continue;
            }
            self.begin(out, NEWNEIGH);
            out.put(&[family_of(addr) as u8, 0, 0, 0]);
            out.put(&wire.index.to_ne_bytes());
            out.put(&(if mac.is_some() { REACHABLE } else { INCOMPLETE }).to_ne_bytes());
            out.put(&[0, TYPE_UNICAST]);
            out.attribute(DST, &octets(addr));
            if let Some(mac) = mac {
                out.attribute(ADDRESS, &mac);
            }
        }
    }

    fn routes(&self, out: &mut Messages, family: u16) {
        for route in all_routes() {
            if family == AF_UNSPEC || family == family_of(route.to) {
                self.route(out, &route);
            }
        }
    }

    /// The route to one address.
    fn route_to(&self, out: &mut Messages, payload: &[u8], family: u16) -> Result<()> {
        const DST: u16 = 1;
        if payload.len() < RTMSG {
            return Err(Errno::EINVAL);
        }
        let dst = codec::attributes(payload, RTMSG).find(|(kind, _)| *kind == DST).map(|(_, data)| data);
        let to = match (family, dst) {
            (AF_INET, Some(data)) => {
                <[u8; 4]>::try_from(data).map(IpAddr::from).map_err(|_| Errno::EINVAL)?
            }
            (AF_INET6, Some(data)) => {
                <[u8; 16]>::try_from(data).map(IpAddr::from).map_err(|_| Errno::EINVAL)?
            }
            (AF_INET | AF_INET6, None) => return Err(Errno::EINVAL),
            _ => return Err(Errno::EOPNOTSUPP),
        };
        let source = link::source_for(to)?;
        let local = link::is_local(to);
        self.route(
            out,
            &Route {
                to,
                bits: if to.is_ipv6() { 128 } else { 32 },
                table: if local { TABLE_LOCAL } else { TABLE_MAIN },
                scope: SCOPE_UNIVERSE,
                kind: if local { TYPE_LOCAL } else { TYPE_UNICAST },
                source: Some(source),
                priority: None,
                gateway: if local { None } else { Some(link::path(to)?.next).filter(|next| *next != to) },
                protocol: 0,
                interface: match link::wire() {
                    Some(wire) if !local => wire.index,
                    _ => link::LO.index,
                },
            },
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(kind: u16, flags: u16, payload: &[u8]) -> Result<Option<Messages>> {
        let mut whole = Messages::default();
        whole.begin(kind, flags, 1, 0);
        whole.put(payload);
        let whole = whole.into_bytes();
        let request = codec::requests(&whole).next().expect("one");
        answer(&request, 5)
    }

    #[test]
    fn dumps_have_a_message_for_each_thing() {
        for (kind, family, count) in [
            (GETLINK, 0, 1),
            (GETADDR, 0, 2),
            (GETADDR, 10, 1),
            (GETROUTE, 2, 3),
            (GETROUTE, 10, 1),
            (GETNEIGH, 0, 0),
        ] {
            let mut payload = [0; 16];
            payload[0] = family;
            let out = ask(kind, flag::REQUEST | flag::DUMP, &payload)
                .expect("known")
                .expect("an answer")
                .into_bytes();
            assert_eq!(codec::requests(&out).count(), count, "{kind} {family}");
        }
        assert!(ask(NEWLINK, flag::REQUEST, &[0; 16]).is_err());
        assert_eq!(ask(200, flag::REQUEST, &[0; 16]).err(), Some(Errno::EOPNOTSUPP));
    }

    proptest! {
        #[test]
        fn hostile_requests_are_answered_or_refused(
            kind in 0u16..130, flags: u16, payload in prop::collection::vec(any::<u8>(), 0..80)
        ) {
            let _ = ask(kind, flags, &payload);
        }
    }
}
