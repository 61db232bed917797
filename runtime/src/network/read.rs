//! What a network namespace has: links, addresses, routes and neighbours, asked for by rtnetlink(7).
//!
//! The answers are the host kernel's; they are decoded with bounds all the same.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result, bail, ensure};
use hostcall::{NET_LIST_MAX, NET_NAMES, NetAddress, NetNames, NetRoute, NetworkSpec};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_GETNEIGH: u16 = 30;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
/// Bytes of a message's header.
const HEADER: usize = 16;
/// Bytes for one answer.
const BUFFER: usize = 64 << 10;

const ARPHRD_ETHER: u16 = 1;
const IFF_UP: u32 = 1;
const TABLE_MAIN: u32 = 254;
const RTN_UNICAST: u8 = 1;
/// States of a neighbour that is known: reachable, stale, delay, probe, permanent.
const NUD_KNOWN: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x80;

/// A message's payload.
type Message = Vec<u8>;

/// A socket to the kernel's tables.
#[derive(Debug)]
struct Tables {
    socket: OwnedFd,
    sequence: u32,
}

impl Tables {
    fn open() -> Result<Self> {
        let socket =
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
                .context("netlink socket")?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).context("netlink socket")?;
        Ok(Self { socket, sequence: 0 })
    }

    fn ask(&mut self, kind: u16, flags: u16, payload: &[u8]) -> Result<Vec<Message>> {
        self.sequence += 1;
        let mut request = Vec::new();
        request.extend_from_slice(&((HEADER + payload.len()) as u32).to_ne_bytes());
        request.extend_from_slice(&kind.to_ne_bytes());
        request.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        request.extend_from_slice(&self.sequence.to_ne_bytes());
        request.extend_from_slice(&[0; 4]);
        request.extend_from_slice(payload);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty()).context("netlink request")?;
        let mut all = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let count =
                recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).context("netlink answer")?;
            let mut rest = &buffer[..count];
            while let Some(len) = word(rest, 0).map(|len| len as usize).filter(|len| *len >= HEADER) {
                let Some(message) = rest.get(..len) else { break };
                match half(message, 4) {
                    Some(NLMSG_DONE) => return Ok(all),
                    Some(NLMSG_ERROR) => {
                        let error = word(message, HEADER).unwrap_or(0).cast_signed();
                        ensure!(error == 0, std::io::Error::from_raw_os_error(-error));
                        return Ok(all);
                    }
                    _ => all.push(message[HEADER..].to_vec()),
                }
                rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    fn dump(&mut self, kind: u16, family_header: usize) -> Result<Vec<Message>> {
        self.ask(kind, NLM_F_DUMP, &vec![0; family_header])
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// The attribute of this kind behind a header of `skip` bytes.
fn attribute(message: &[u8], skip: usize, kind: u16) -> Option<&[u8]> {
    let mut rest = message.get(skip..)?;
    loop {
        let len = usize::from(half(rest, 0)?);
        let one = rest.get(4..len)?;
        if half(rest, 2)? & 0x3fff == kind {
            return Some(one);
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// An interface that could be a container's: up, Ethernet. Its number, name, hardware address and MTU.
fn interface(message: &[u8]) -> Option<NetworkSpec> {
    const IFINFO: usize = 16;
    const ADDRESS: u16 = 1;
    const IFNAME: u16 = 3;
    const MTU: u16 = 4;
    const LINK: u16 = 5;
    const TXQLEN: u16 = 13;
    const LINK_NETNSID: u16 = 37;
    let number = |kind| attribute(message, IFINFO, kind).and_then(|value| word(value, 0));
    if half(message, 2)? != ARPHRD_ETHER || word(message, 8)? & IFF_UP == 0 {
        return None;
    }
    let name = attribute(message, IFINFO, IFNAME)?;
    Some(NetworkSpec {
        name: name.split(|byte| *byte == 0).next()?.to_vec(),
        index: word(message, 4)?,
        mac: attribute(message, IFINFO, ADDRESS)?.try_into().ok()?,
        mtu: number(MTU)?,
        queue: number(TXQLEN).unwrap_or(0),
        peer: number(LINK).zip(number(LINK_NETNSID)),
        ..NetworkSpec::default()
    })
}

/// An address and the number of its interface.
fn assigned(message: &[u8]) -> Option<(u32, NetAddress)> {
    const IFADDR: usize = 8;
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    const BROADCAST: u16 = 4;
    let of = |kind| attribute(message, IFADDR, kind).and_then(address);
    let addr = of(LOCAL).or_else(|| of(ADDRESS))?;
    let (prefix, scope) = (*message.get(1)?, *message.get(3)?);
    Some((word(message, 4)?, NetAddress { addr, prefix, scope, broadcast: of(BROADCAST) }))
}

/// A route of the main table and the number of its interface.
fn route(message: &[u8]) -> Option<(u32, NetRoute)> {
    const RTMSG: usize = 12;
    const DST: u16 = 1;
    const OIF: u16 = 4;
    const GATEWAY: u16 = 5;
    const PRIORITY: u16 = 6;
    const PREFSRC: u16 = 7;
    const TABLE: u16 = 15;
    let of = |kind| attribute(message, RTMSG, kind);
    let table = of(TABLE).and_then(|table| word(table, 0)).unwrap_or(u32::from(*message.get(4)?));
    if table != TABLE_MAIN || *message.get(7)? != RTN_UNICAST {
        return None;
    }
    let any = if i32::from(message[0]) == libc::AF_INET6 {
        IpAddr::from([0u8; 16])
    } else {
        IpAddr::from([0u8; 4])
    };
    let to = match of(DST) {
        Some(bytes) => address(bytes)?,
        None => any,
    };
    let route = NetRoute {
        to,
        bits: *message.get(1)?,
        gateway: of(GATEWAY).and_then(address),
        metric: of(PRIORITY).and_then(|metric| word(metric, 0)).unwrap_or(0),
        source: of(PREFSRC).and_then(address),
        scope: *message.get(6)?,
        protocol: *message.get(5)?,
    };
    Some((word(of(OIF)?, 0)?, route))
}

/// A neighbour whose hardware address is known, and the number of the interface.
fn neighbour(message: &[u8]) -> Option<(u32, (IpAddr, [u8; 6]))> {
    const NDMSG: usize = 12;
    const DST: u16 = 1;
    const LLADDR: u16 = 2;
    if half(message, 8)? & NUD_KNOWN == 0 {
        return None;
    }
    let addr = address(attribute(message, NDMSG, DST)?)?;
    let mac = attribute(message, NDMSG, LLADDR)?.try_into().ok()?;
    Some((word(message, 4)?, (addr, mac)))
}

/// The interface of the namespace that this thread is in: the first that is up and has an address.
pub(super) fn read() -> Result<Option<NetworkSpec>> {
    let mut tables = Tables::open()?;
    let links = tables.dump(RTM_GETLINK, 16).context("interfaces")?;
    let addresses = tables.dump(RTM_GETADDR, 8).context("addresses")?;
    let of = |index: u32, addresses: &[Message]| -> Vec<NetAddress> {
        let all = addresses.iter().filter_map(|message| assigned(message));
        all.filter(|(of, _)| *of == index).map(|(_, address)| address).take(NET_LIST_MAX).collect()
    };
    let usable = links.iter().filter_map(|message| interface(message));
    let Some(mut spec) = usable.into_iter().find(|spec| !of(spec.index, &addresses).is_empty()) else {
        return Ok(None);
    };
    spec.addresses = of(spec.index, &addresses);
    let routes = tables.dump(RTM_GETROUTE, 12).context("routes")?;
    let routes = routes.iter().filter_map(|message| route(message));
    spec.routes =
        routes.filter(|(of, _)| *of == spec.index).map(|(_, route)| route).take(NET_LIST_MAX).collect();
    let known = tables.dump(RTM_GETNEIGH, 12).context("neighbours")?;
    let known = known.iter().filter_map(|message| neighbour(message));
    spec.neighbours =
        known.filter(|(of, _)| *of == spec.index).map(|(_, one)| one).take(NET_LIST_MAX).collect();
    spec.names = names(&spec.addresses);
    Ok(Some(spec))
}

/// The port of a socket at the address of Docker's server of names, in a table of `/proc/net`.
fn port_of(table: &str, states: &[&str]) -> Option<u16> {
    let addr = format!("{:08X}:", u32::from_ne_bytes(NET_NAMES.octets()));
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let port = words.next()?.strip_prefix(&addr)?;
        states.contains(&words.nth(1)?).then(|| u16::from_str_radix(port, 16).ok())?
    })
}

/// The server of names that listens in the namespace that this thread is in.
fn names(addresses: &[NetAddress]) -> Option<NetNames> {
    // Sockets that listen, and datagram sockets without a peer.
    const LISTEN: &str = "0A";
    const UNCONNECTED: &str = "07";
    let table = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).ok();
    let own = addresses.iter().find_map(|one| match one.addr {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    });
    Some(NetNames {
        udp: port_of(&table("udp")?, &[UNCONNECTED])?,
        tcp: port_of(&table("tcp")?, &[LISTEN])?,
        own: own?,
    })
}

/// The number of the loopback interface.
pub(super) const LOOPBACK: u32 = 1;

/// Lets the server of names be reached from the sandbox, and reach others through it: what the host's stack in this
/// namespace sends leaves by its loopback interface, where the sandbox sees it, and nothing that comes in by the
/// container's interface has a meaning for it.
pub(super) fn turn_inwards(spec: &NetworkSpec, names: NetNames) -> Result<()> {
    let name = std::str::from_utf8(&spec.name)?;
    for (setting, value) in [(format!("{name}/rp_filter"), "1"), ("lo/route_localnet".into(), "1")] {
        let path = format!("/proc/sys/net/ipv4/conf/{setting}");
        std::fs::write(&path, value).context(path)?;
    }
    let mut tables = Tables::open()?;
    let attribute = |kind: u16, value: &[u8; 4]| -> Vec<u8> {
        [&8u16.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
    };
    let own = names.own.octets();
    let family = libc::AF_INET as u8;
    // struct ifaddrmsg, IFA_LOCAL, IFA_ADDRESS.
    let header = [&[family, 32, 0, 0][..], &LOOPBACK.to_ne_bytes()].concat();
    let payload = [header, attribute(2, &own), attribute(1, &own)].concat();
    tables.ask(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, &payload).context("address")?;
    // struct rtmsg: the main table, RTPROT_STATIC, RT_SCOPE_LINK, RTN_UNICAST; RTA_OIF, RTA_PREFSRC.
    let header = [&[family, 0, 0, 0, TABLE_MAIN as u8, 4, 253, RTN_UNICAST][..], &[0; 4]].concat();
    let payload = [header, attribute(4, &LOOPBACK.to_ne_bytes()), attribute(7, &own)].concat();
    tables.ask(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, &payload).context("route")?;
    Ok(())
}

/// Takes the addresses off the host's interface: its stack neither answers for them nor resets what it knows
/// nothing of.
pub(super) fn silence(spec: &NetworkSpec) -> Result<()> {
    let name = std::str::from_utf8(&spec.name)?;
    // First: an interface without IPv6 does not get a new address when its link comes back.
    let setting = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    if let Err(error) = std::fs::write(&setting, "1") {
        log::debug!("{setting}: {error}");
    }
    let mut tables = Tables::open()?;
    for address in &spec.addresses {
        let mut payload = Vec::new();
        let octets = match address.addr {
            IpAddr::V4(addr) => addr.octets().to_vec(),
            IpAddr::V6(addr) => addr.octets().to_vec(),
        };
        let family = if address.addr.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
        payload.extend_from_slice(&[family as u8, address.prefix, 0, 0]);
        payload.extend_from_slice(&spec.index.to_ne_bytes());
        payload.extend_from_slice(&(4 + octets.len() as u16).to_ne_bytes());
        // IFA_LOCAL
        payload.extend_from_slice(&2u16.to_ne_bytes());
        payload.extend_from_slice(&octets);
        match tables.ask(RTM_DELADDR, NLM_F_ACK, &payload) {
            Err(error) if address.addr.is_ipv4() => {
                bail!("take {} off {name}: {error}", address.addr)
            }
            // Went with IPv6 as a whole.
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_namespace_can_be_read() {
        // Whatever there is, the answers are understood.
        assert!(read().is_ok());
    }

    #[test]
    fn a_server_of_names_is_found_by_its_address() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
             0: 00000000:0035 00000000:0000 07 00000000:00000000\n\
             1: 0B00007F:1F40 0100007F:0001 01 00000000:00000000\n\
             2: 0B00007F:8ACF 00000000:0000 07 00000000:00000000\n";
        assert_eq!(port_of(table, &["07"]), Some(0x8acf));
        assert_eq!(port_of(table, &["0A"]), None);
        assert_eq!(port_of("0: 0B00007F:zz 00000000:0000 07", &["07"]), None);
    }

    #[test]
    fn damaged_messages_say_nothing() {
        for len in 0..64 {
            for fill in [0u8, 1, 4, 255] {
                let message = vec![fill; len];
                let _ = (interface(&message), assigned(&message), neighbour(&message));
                if len >= 8 {
                    let _ = route(&message);
                }
            }
        }
    }
}
