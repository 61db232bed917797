//! `/proc/net`: what there is of Internet sockets and interfaces, as text.

use alloc::{format, string::String, vec::Vec};
use core::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
    sync::atomic::Ordering,
};

use super::{
    address::{Endpoint, to_v6},
    datagram, link, shown,
    table::Table,
    tcp, wire,
};
use crate::net::common;

/// Characters of a line of the tables of IPv4, which are filled up with blanks.
const TCP_WIDTH: usize = 149;
const UDP_WIDTH: usize = 127;

/// An end as the tables show it: the address in words of host order.
pub(super) fn end(endpoint: Endpoint, v6: bool) -> String {
    let mut text = String::new();
    let octets = to_v6(endpoint.addr).octets();
    let words = octets.as_chunks::<4>().0;
    for word in if v6 { words } else { &words[3..] } {
        let _ = write!(text, "{:08X}", u32::from_ne_bytes(*word));
    }
    let _ = write!(text, ":{:04X}", endpoint.port);
    text
}

/// A line of a table, filled up in those of IPv4.
pub(super) fn line(text: &str, v6: bool, width: usize) -> String {
    if v6 { format!("{text}\n") } else { format!("{text:width$}\n") }
}

/// `tcp` or `tcp6`.
#[must_use]
pub fn tcp(v6: bool) -> Vec<u8> {
    let header = if v6 {
        "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
    } else {
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
    };
    let mut text = line(header, v6, TCP_WIDTH);
    for (at, entry) in tcp::proc::lines(v6).iter().enumerate() {
        text.push_str(&line(&format!("{at:4}: {entry}"), v6, TCP_WIDTH));
    }
    text.into_bytes()
}

/// `udp`, `udp6`, `raw` or `raw6`.
fn datagrams(table: &Table<datagram::Datagram>, v6: bool) -> Vec<u8> {
    let header = if v6 {
        "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops"
    } else {
        "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops"
    };
    let mut text = line(header, v6, UDP_WIDTH);
    for shown in shown::datagrams(table).into_iter().filter(|shown| shown.v6 == v6) {
        let entry = format!(
            "{:5}: {} {} {:02X} {:08X}:{:08X} 00:00000000 00000000 {:5} {:8} {} 2 {:016x} {}",
            shown.local.port,
            end(shown.local, v6),
            end(shown.remote(), v6),
            shown.state,
            shown.unsent,
            shown.waiting,
            shown.uid,
            0,
            shown.ino,
            0,
            shown.dropped
        );
        text.push_str(&line(&entry, v6, UDP_WIDTH));
    }
    text.into_bytes()
}

/// `udp` or `udp6`.
#[must_use]
pub fn udp(v6: bool) -> Vec<u8> {
    datagrams(&datagram::UDP, v6)
}

/// `raw` or `raw6`.
#[must_use]
pub fn raw(v6: bool) -> Vec<u8> {
    datagrams(&datagram::RAW, v6)
}

/// `dev`.
#[must_use]
pub fn dev() -> Vec<u8> {
    let mut text = String::from(
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier \
         compressed\n",
    );
    for interface in link::interfaces() {
        let ((packets, bytes), (out, sent)) =
            (interface.traffic.received.read(), interface.traffic.sent.read());
        let name = interface.name;
        let dropped = interface.traffic.dropped.load(Ordering::Relaxed);
        let _ = writeln!(
            text,
            "{name:>6}: {bytes:7} {packets:7} {0:4} {dropped:4} {0:4} {0:5} {0:10} {0:9} {sent:8} {out:7} {0:4} {0:4} \
             {0:4} {0:5} {0:7} {0:10}",
            0
        );
    }
    text.into_bytes()
}

/// `route`: what leads elsewhere.
#[must_use]
pub fn route() -> Vec<u8> {
    const UP: u32 = 1;
    const GATEWAY: u32 = 2;
    const HOST: u32 = 4;
    let header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
    let mut text = line(header, false, UDP_WIDTH);
    let word = |addr: Ipv4Addr| u32::from_ne_bytes(addr.octets());
    let Some(wire) = link::wire() else { return text.into_bytes() };
    for route in wire.routes {
        let IpAddr::V4(to) = route.to else { continue };
        let gateway = match route.gateway {
            Some(IpAddr::V4(gateway)) => gateway,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let mut flags = UP;
        flags |= if route.gateway.is_some() { GATEWAY } else { 0 };
        flags |= if route.bits == 32 { HOST } else { 0 };
        let mask = Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(route.bits)).unwrap_or(0));
        let entry = format!(
            "{}\t{:08X}\t{:08X}\t{flags:04X}\t0\t0\t{}\t{:08X}\t0\t0\t0",
            wire.name,
            word(to),
            word(gateway),
            route.metric,
            word(mask)
        );
        text.push_str(&line(&entry, false, UDP_WIDTH));
    }
    text.into_bytes()
}

/// `snmp`: what is counted of the protocols.
#[must_use]
pub fn snmp() -> Vec<u8> {
    let all = link::interfaces();
    let received: u64 = all.iter().map(|one| one.traffic.received.read().0).sum();
    let sent: u64 = all.iter().map(|one| one.traffic.sent.read().0).sum();
    let established = tcp::proc::established();
    format!(
        "Ip: Forwarding DefaultTTL InReceives InDelivers OutRequests\nIp: 2 64 {received} {received} {sent}\n\
         Tcp: RtoAlgorithm RtoMin RtoMax MaxConn CurrEstab\nTcp: 1 200 120000 -1 {established}\n"
    )
    .into_bytes()
}

/// `arp`.
#[must_use]
pub fn arp() -> Vec<u8> {
    let mut text =
        String::from("IP address       HW type     Flags       HW address            Mask     Device\n");
    let Some(wire) = link::wire() else { return text.into_bytes() };
    for (addr, mac) in wire::neighbour::list() {
        let IpAddr::V4(addr) = addr else { continue };
        let flags = if mac.is_some() { 2 } else { 0 };
        let mac = link::mac_text(mac.unwrap_or_default());
        let _ = writeln!(text, "{addr:<16} 0x1         0x{flags:x}         {mac}     *        {}", wire.name);
    }
    text.into_bytes()
}

/// `if_inet6`.
#[must_use]
pub fn if_inet6() -> Vec<u8> {
    // What Linux calls an address of this host, of this link, and of the world.
    let scope = |scope: u8| match scope {
        link::SCOPE_HOST => 0x10,
        253 => 0x20,
        _ => 0,
    };
    const PERMANENT: u8 = 0x80;
    let mut text = String::new();
    for interface in link::interfaces() {
        for assigned in interface.addresses {
            if let IpAddr::V6(addr) = assigned.addr {
                let _ = writeln!(
                    text,
                    "{:032x} {:02x} {:02x} {:02x} {PERMANENT:02x} {:>8}",
                    u128::from(addr),
                    interface.index,
                    assigned.prefix,
                    scope(assigned.scope),
                    interface.name
                );
            }
        }
    }
    text.into_bytes()
}

/// `sockstat`: sockets in use and the memory of their queues in pages.
#[must_use]
pub fn sockstat() -> Vec<u8> {
    let tcp = tcp::PORTS.snapshot();
    let used = |v6| tcp::proc::lines(v6).len();
    let ended = tcp.ended.len();
    let udp = count(&datagram::UDP, false);
    let raw = count(&datagram::RAW, false);
    format!(
        "sockets: used {}\nTCP: inuse {} orphan 0 tw {ended} alloc {} mem {}\nUDP: inuse {} mem {}\nUDPLITE: inuse 0\n\
         RAW: inuse {}\nFRAG: inuse 0 memory 0\n",
        common::count(),
        used(false).saturating_sub(ended),
        tcp.bound.len().max(tcp.connected.len()),
        tcp::proc::memory() / 4096,
        udp.0,
        udp.1 / 4096,
        raw.0,
    )
    .into_bytes()
}

/// `sockstat6`.
#[must_use]
pub fn sockstat6() -> Vec<u8> {
    format!(
        "TCP6: inuse {}\nUDP6: inuse {}\nUDPLITE6: inuse 0\nRAW6: inuse {}\nFRAG6: inuse 0 memory 0\n",
        tcp::proc::lines(true).len(),
        count(&datagram::UDP, true).0,
        count(&datagram::RAW, true).0,
    )
    .into_bytes()
}

/// Sockets of a table and the bytes in their queues.
fn count(table: &Table<datagram::Datagram>, v6: bool) -> (usize, usize) {
    shown::datagrams(table)
        .iter()
        .filter(|shown| shown.v6 == v6)
        .fold((0, 0), |(count, bytes), shown| (count + 1, bytes + shown.waiting))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn ends_are_shown_as_linux_shows_them() {
        let endpoint = Endpoint { port: 8080, addr: IpAddr::V4(Ipv4Addr::LOCALHOST) };
        assert_eq!(end(endpoint, false), "0100007F:1F90");
        assert_eq!(end(endpoint, true), "0000000000000000FFFF00000100007F:1F90");
        assert_eq!(if_inet6(), b"00000000000000000000000000000001 01 80 10 80       lo\n");
        assert_eq!(tcp(false).iter().position(|&byte| byte == b'\n'), Some(149));
    }
}
