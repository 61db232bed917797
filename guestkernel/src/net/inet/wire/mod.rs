//! The interface to the outside: frames on two rings that are shared with the host.
//!
//! Frames come in an interrupt and are taken to the end there: [`ether`] and [`neighbour`] know the link, [`packet`] and
//! [`fragment`] IP; then UDP, ICMP and raw sockets (`datagram`), or a flow of TCP. What is sent goes through [`send`]
//! straight into the ring. There is one sender at a time (`SENDER`) and one receiver, which no lock is held over but its
//! own.
//!
//! Locks: a flow's, then the table of neighbours, then `SENDER`, a leaf.

mod error;
mod ether;
mod fragment;
mod names;
pub mod neighbour;
pub(super) mod packet;
mod ring;

use alloc::{sync::Arc, vec::Vec};
use core::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicU16, AtomicU64, Ordering},
};

use hostcall::{
    NET_CHECKSUM_VALID, NET_GSO_TCP4, NET_GSO_TCP6, NET_NAMES, NET_NEEDS_CHECKSUM, NET_PORT_INNER, NetFrame,
    NetworkSpec,
};

use self::{
    ether::Mac,
    packet::{Header, Protocol},
    ring::{Receiver, Sender},
};
use super::{
    datagram,
    link::{self, Interface},
    tcp::flow,
};
use crate::{
    arch::clock,
    errno::{Errno, Result},
    sync::SpinLock,
    time::timer::{self, Action},
};

pub(super) use error::{Failed, hear, report};
pub(super) use names::is_server;

/// Frames that one interrupt takes; then programs have a turn.
const BURST: usize = 256;
/// How long that turn is, ns.
const TURN: u64 = 100_000;

static SENDER: SpinLock<Option<Sender>> = SpinLock::new(None);
static RECEIVER: SpinLock<Option<(Receiver, Vec<u8>)>> = SpinLock::new(None);
/// Frames that did not fit into the ring.
static LOST: AtomicU64 = AtomicU64::new(0);

/// There is an interface.
///
/// # Errors
/// `EINVAL`, `EEXIST`, `ENOMEM`, or what the host says.
pub fn start(spec: &NetworkSpec) -> Result<()> {
    let interface = link::add_wire(spec)?;
    let (receiver, sender) = ring::make()?;
    *SENDER.lock() = Some(sender);
    *RECEIVER.lock() = Some((receiver, Vec::new()));
    for (addr, mac) in &spec.neighbours {
        neighbour::know(*addr, *mac);
    }
    if let Some(names) = spec.names {
        names::start(names);
    }
    log::debug!("network interface {} with MTU {}", interface.name, interface.mtu);
    on_event();
    Ok(())
}

/// The host announced frames.
pub fn on_event() {
    let Some(mut guard) = RECEIVER.try_lock() else { return };
    let (Some((receiver, buffer)), Some(wire)) = (guard.as_mut(), link::wire()) else { return };
    receiver.wait(false);
    let mut count = 0;
    loop {
        while count < BURST
            && let Some(head) = receiver.next(buffer)
        {
            count += 1;
            wire.traffic.received.add(1, buffer.len());
            if take(wire, &head, buffer).is_none() {
                wire.traffic.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        receiver.release();
        if count >= BURST {
            // The rest, if there is any, after somebody else's turn.
            timer::add(clock::monotonic_ns() + TURN, Action::Call(Arc::new(on_event)));
            return;
        }
        if !receiver.wait(true) {
            return;
        }
        // More came while this was said.
        receiver.wait(false);
    }
}

/// Takes a frame. `None` when it is for somebody else, or means nothing.
fn take(wire: &Interface, head: &NetFrame, frame: &[u8]) -> Option<()> {
    if head.port == NET_PORT_INNER {
        return names::take(head, frame);
    }
    let (ethernet, body) = frame.split_first_chunk::<{ ether::HEADER }>()?;
    // Groups have the lowest bit of the first byte.
    if ethernet[..6] != wire.mac && ethernet[0] & 1 == 0 || ethernet[6..12] == wire.mac {
        return None;
    }
    let trusted = head.flags & (NET_NEEDS_CHECKSUM | NET_CHECKSUM_VALID) != 0;
    let header = match u16::from_be_bytes([ethernet[12], ethernet[13]]) {
        ether::ARP => {
            neighbour::hear(&ether::read_arp(body)?);
            return Some(());
        }
        ether::IPV4 => packet::read_v4(body, false)?,
        ether::IPV6 => packet::read_v6(body, false)?,
        _ => return None,
    };
    if names::pass(head, &header) {
        return Some(());
    }
    arrive(&header, trusted)
}

/// A packet as it goes to whom it is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) payload: &'a [u8],
    /// The host has looked at the checksum.
    pub(super) trusted: bool,
    /// It is for everybody, or for a group.
    pub(super) group: bool,
    /// With its header, to be quoted; empty where it came in pieces.
    pub(super) whole: &'a [u8],
}

fn arrive(header: &Header<'_>, trusted: bool) -> Option<()> {
    let group = is_for_us(header.from, header.to)?;
    let mut arrival = Arrival {
        from: header.from,
        to: header.to,
        protocol: header.protocol,
        ttl: header.ttl,
        tos: header.tos,
        payload: header.payload,
        trusted,
        group,
        whole: header.whole,
    };
    let Some(piece) = header.piece else { return dispatch(&arrival) };
    let key = (header.from, header.to, header.protocol, piece.id);
    // One that is not complete yet is not lost.
    let Some(whole) = fragment::add(key, piece, header.payload, clock::monotonic_ns()) else {
        return Some(());
    };
    (arrival.payload, arrival.trusted, arrival.whole) = (&whole, false, &[]);
    dispatch(&arrival)
}

/// Whether a packet is for this sandbox, and if so, whether for others too.
fn is_for_us(from: IpAddr, to: IpAddr) -> Option<bool> {
    let wire = link::wire()?;
    let broadcast = |addr: IpAddr| matches!(addr, IpAddr::V4(addr) if link::is_broadcast_of(wire, addr));
    if from.is_loopback()
        || to.is_loopback()
        || from.is_multicast()
        || broadcast(from)
        || link::is_local(from)
    {
        return None;
    }
    if link::is_local(to) {
        return Some(false);
    }
    // Of groups there are only those that every host is in.
    let group = match to {
        IpAddr::V4(addr) => addr.octets() == [224, 0, 0, 1],
        IpAddr::V6(addr) => {
            addr == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)
                || wire
                    .addresses
                    .iter()
                    .any(|one| matches!(one.addr, IpAddr::V6(own) if ether::solicited(own) == addr))
        }
    };
    (group || broadcast(to)).then_some(true)
}

fn dispatch(arrival: &Arrival<'_>) -> Option<()> {
    let heard = datagram::show_raw(arrival);
    let v6 = arrival.to.is_ipv6();
    match arrival.protocol {
        Protocol::TCP => flow::arrive(arrival),
        Protocol::UDP => datagram::arrive_udp(arrival),
        Protocol::ICMP if !v6 => datagram::arrive_icmp(arrival),
        Protocol::ICMPV6 if v6 => match (arrival.from, arrival.payload.first()) {
            (IpAddr::V6(from), Some(&(ether::SOLICITATION | ether::ADVERTISEMENT))) => {
                if datagram::icmp_checksum(arrival.from, arrival.to, arrival.payload) != 0 {
                    return None;
                }
                neighbour::hear(&ether::read_neighbour(from, arrival.ttl, arrival.payload)?);
                Some(())
            }
            _ => datagram::arrive_icmp(arrival),
        },
        _ if heard => Some(()),
        _ => {
            // Nobody here speaks that.
            report(arrival, if v6 { (4, 1) } else { (3, 2) });
            None
        }
    }
}

/// A packet to be sent, without its IP header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    /// The transport protocol's header and its data.
    pub(super) pieces: [&'a [u8]; 3],
    /// The host is to complete the checksum at this place, and to cut the data into pieces of this length (0 = not).
    pub(super) offload: Option<(u16, u16)>,
    /// It may go in pieces where it is too long.
    pub(super) divisible: bool,
}

/// Why a packet was not sent.
fn no_room() -> Errno {
    LOST.fetch_add(1, Ordering::Relaxed);
    Errno::ENOBUFS
}

/// Sends a packet to somebody outside.
///
/// # Errors
/// `ENETUNREACH`, `EMSGSIZE`, `ENOBUFS` where the ring is full.
pub(super) fn send(packet: &Outgoing<'_>) -> Result<()> {
    if packet.to == IpAddr::V4(NET_NAMES) {
        return names::send(packet);
    }
    let wire = link::wire().ok_or(Errno::ENETUNREACH)?;
    let next = link::path(packet.to)?.next;
    let len: usize = packet.pieces.iter().map(|piece| piece.len()).sum();
    let header = if packet.to.is_ipv6() { packet::V6_HEADER } else { packet::V4_HEADER };
    let cut = packet.offload.is_some_and(|(_, size)| size != 0);
    if header + len > u16::MAX.into() {
        return Err(Errno::EMSGSIZE);
    }
    if cut || header + len <= wire.mtu as usize {
        return send_whole(wire, next, packet, len, None);
    }
    if !packet.divisible {
        return Err(Errno::EMSGSIZE);
    }
    send_divided(wire, next, packet, header)
}

static ID: AtomicU16 = AtomicU16::new(1);

/// Sends a packet that is too long in pieces.
fn send_divided(wire: &Interface, next: IpAddr, packet: &Outgoing<'_>, header: usize) -> Result<()> {
    const EXTENSION: usize = 8;
    let v6 = packet.to.is_ipv6();
    let all = packet.pieces.concat();
    let id = ID.fetch_add(1, Ordering::Relaxed);
    let most = (wire.mtu as usize - header - if v6 { EXTENSION } else { 0 }) / 8 * 8;
    let mut offset = 0;
    while offset < all.len() {
        let end = (offset + most).min(all.len());
        let more = end < all.len();
        let body = &all[offset..end];
        if v6 {
            let mut extension = [0; EXTENSION];
            extension[0] = packet.protocol;
            extension[2..4].copy_from_slice(&(offset as u16 | u16::from(more)).to_be_bytes());
            extension[6..].copy_from_slice(&id.to_be_bytes());
            let piece = Outgoing { protocol: Protocol::FRAGMENT, pieces: [&extension, body, &[]], ..*packet };
            send_whole(wire, next, &piece, EXTENSION + body.len(), None)?;
        } else {
            let piece = Outgoing { pieces: [body, &[], &[]], ..*packet };
            send_whole(wire, next, &piece, body.len(), Some((id, offset, more)))?;
        }
        offset = end;
    }
    Ok(())
}

/// The head of a frame whose checksum, at this place of the transport's header, the host is to complete, and whose data it
/// is to cut into pieces of this length (0 = not). IP's header has `ip` bytes.
fn offloaded(packet: &Outgoing<'_>, ip: usize, (place, size): (u16, u16)) -> NetFrame {
    let start = (ether::HEADER + ip) as u16;
    let mut head =
        NetFrame { flags: NET_NEEDS_CHECKSUM, csum_start: start, csum_offset: place, ..NetFrame::default() };
    if size != 0 {
        head.gso_type = if packet.to.is_ipv6() { NET_GSO_TCP6 } else { NET_GSO_TCP4 };
        head.gso_size = size;
        head.hdr_len = start + packet.pieces[0].len() as u16;
    }
    head
}

/// Sends one packet of IP.
fn send_whole(
    wire: &Interface,
    next: IpAddr,
    packet: &Outgoing<'_>,
    len: usize,
    piece: Option<(u16, usize, bool)>,
) -> Result<()> {
    let words = (packet.protocol, packet.ttl, packet.tos);
    let (v4, v6);
    let ip: &[u8] = match (packet.from, packet.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let id = piece.map_or_else(|| ID.fetch_add(1, Ordering::Relaxed), |(id, ..)| id);
            let piece =
                piece.map(|(_, offset, more)| (offset, more)).or(packet.divisible.then_some((0, false)));
            v4 = packet::write_v4((from, to), words, len, id, piece);
            &v4
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            v6 = packet::write_v6((from, to), words, len);
            &v6
        }
        _ => return Err(Errno::EINVAL),
    };
    let head = packet.offload.map_or_else(NetFrame::default, |work| offloaded(packet, ip.len(), work));
    let [first, second, third] = packet.pieces;
    let kind = ether::kind_of(packet.to);
    let to = match packet.to {
        IpAddr::V4(addr) if link::is_broadcast_of(wire, addr) => Some(ether::BROADCAST),
        to => ether::group(to),
    };
    let mac = to.or_else(|| {
        neighbour::resolve(next, || {
            (head, [&ether::header([0; 6], wire.mac, kind), ip, first, second, third].concat())
        })
    });
    let Some(mac) = mac else { return Ok(()) };
    let ethernet = ether::header(mac, wire.mac, kind);
    if transmit(head, &[&ethernet, ip, first, second, third]) { Ok(()) } else { Err(no_room()) }
}

/// Sends a frame. `false` when there is no room for it.
fn transmit(head: NetFrame, pieces: &[&[u8]]) -> bool {
    let sent = SENDER.lock().as_mut().is_some_and(|sender| sender.send(head, pieces));
    if sent && let Some(wire) = link::wire() {
        wire.traffic.sent.add(1, pieces.iter().map(|piece| piece.len()).sum());
    }
    sent
}

/// Sends a message of neighbour discovery, to a group unless a hardware address is given.
fn send_discovery(body: &[u8], from: Ipv6Addr, to: Ipv6Addr, mac: Option<Mac>) {
    let Some(wire) = link::wire() else { return };
    let Some(mac) = mac.or_else(|| ether::group(to.into())) else { return };
    let ip = packet::write_v6((from, to), (Protocol::ICMPV6, 255, 0), body.len());
    transmit(NetFrame::default(), &[&ether::header(mac, wire.mac, ether::IPV6), &ip, body]);
}

/// A frame that was to be sent to somebody who does not answer.
fn lost(frame: &[u8]) {
    let Some(packet) = frame.get(ether::HEADER..) else { return };
    let v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
    error::failed(packet, if v6 { (1, 3) } else { (3, 1) }, 0);
}
