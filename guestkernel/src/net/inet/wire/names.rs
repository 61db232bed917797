//! The way to a server of names that the host's stack has in the container's network namespace: Docker's, for networks
//! that users define.
//!
//! Under Linux address translation takes what programs send to 127.0.0.11, port 53, to the server's own port. Here such
//! packets leave by the rings' inner port and arrive at the loopback interface of the host's stack, from an address that
//! stands for the program's; answers come back the same way. What the server does not know it asks others, from the
//! container's address: its questions come in by the inner port and go out by the wire, and the answers are told from
//! the sandbox's own packets by who was asked lately.

use alloc::collections::VecDeque;
use core::net::{IpAddr, Ipv4Addr};

use hostcall::{NET_CHECKSUM_VALID, NET_NAMES, NET_NEEDS_CHECKSUM, NET_PORT_INNER, NetFrame, NetNames};

use super::{
    Arrival, Outgoing, SENDER, dispatch, ether, no_room, offloaded,
    packet::{self, Header, Protocol, pseudo},
};
use crate::{
    arch::clock,
    errno::{Errno, Result},
    net::inet::{address::Endpoint, datagram::checksum, link},
    sync::{Once, SpinLock},
    time::NSEC_PER_SEC,
};

/// The port of servers of names.
const PORT: u16 = 53;
/// What stands for 127.0.0.1 and for the container's address: of a network that nobody has (RFC 5737).
const LOOPBACK_STANDS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OWN_STANDS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Most questions of the server that are on their way, and how long an answer is waited for, ns.
const ASKED_MOST: usize = 256;
const ASKED_FOR: u64 = 30 * NSEC_PER_SEC;

static NAMES: Once<NetNames> = Once::new();
/// Whom the server has asked, the latest last. A leaf lock.
static ASKED: SpinLock<VecDeque<Asked>> = SpinLock::new(VecDeque::new());

/// A question of the server's that went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    protocol: u8,
    whom: IpAddr,
    /// The server's port.
    port: u16,
    until: u64,
}

impl Asked {
    fn is(&self, other: &Self) -> bool {
        (self.protocol, self.whom, self.port) == (other.protocol, other.whom, other.port)
    }
}

/// There is a server.
pub(super) fn start(names: NetNames) {
    NAMES.call_once(|| names);
}

/// Whether packets to `to` go to the server.
pub(in crate::net::inet) fn is_server(to: Endpoint) -> bool {
    to.port == PORT && to.addr == IpAddr::V4(NET_NAMES) && NAMES.get().is_some()
}

/// Where the checksum is in a header of UDP or TCP.
fn checksum_place(protocol: u8) -> Option<usize> {
    match protocol {
        Protocol::UDP => Some(6),
        Protocol::TCP => Some(16),
        _ => None,
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn put_half(bytes: &mut [u8], at: usize, value: u16) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = value.to_be_bytes();
    Some(())
}

fn transmit(head: NetFrame, [ip, first, second, third]: [&[u8]; 4]) -> Result<()> {
    let ethernet = ether::header([0; 6], [0; 6], ether::IPV4);
    let pieces = [&ethernet, ip, first, second, third];
    let sent = SENDER.lock().as_mut().is_some_and(|sender| sender.send(head, &pieces));
    if sent { Ok(()) } else { Err(no_room()) }
}

/// Sends a packet to the server.
///
/// # Errors
/// `EINVAL` from an address that has none that stands for it, `ENETUNREACH` for other protocols, `ENOBUFS`.
pub(super) fn send(packet: &Outgoing<'_>) -> Result<()> {
    let names = NAMES.get().ok_or(Errno::ENETUNREACH)?;
    let place = checksum_place(packet.protocol).ok_or(Errno::ENETUNREACH)?;
    let stands = match packet.from {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => LOOPBACK_STANDS,
        IpAddr::V4(addr) if addr == names.own => OWN_STANDS,
        _ => return Err(Errno::EINVAL),
    };
    let [first, second, third] = packet.pieces;
    let len = first.len() + second.len() + third.len();
    let mut first = first.to_vec();
    let port = if packet.protocol == Protocol::TCP { names.tcp } else { names.udp };
    put_half(&mut first, 2, port).ok_or(Errno::EINVAL)?;
    let sum = pseudo(stands.into(), NET_NAMES.into(), packet.protocol, len);
    put_half(&mut first, place, sum).ok_or(Errno::EINVAL)?;
    let ip = packet::write_v4(
        (stands, NET_NAMES),
        (packet.protocol, packet.ttl, packet.tos),
        len,
        super::ID.fetch_add(1, core::sync::atomic::Ordering::Relaxed),
        None,
    );
    let size = packet.offload.map_or(0, |(_, size)| size);
    let head = NetFrame { port: NET_PORT_INNER, ..offloaded(packet, ip.len(), (place as u16, size)) };
    link::LO.traffic.sent.add(1, ip.len() + len);
    transmit(head, [&ip, &first, second, third])
}

/// Takes a frame of the host's stack. `None` when it means nothing.
pub(super) fn take(head: &NetFrame, frame: &[u8]) -> Option<()> {
    let names = NAMES.get()?;
    let (ethernet, body) = frame.split_first_chunk::<{ ether::HEADER }>()?;
    if half(ethernet, 12)? != ether::IPV4 {
        return None;
    }
    let header = packet::read_v4(body, false).filter(|header| header.piece.is_none())?;
    if header.from == IpAddr::V4(NET_NAMES) {
        answered(names, head, &header)
    } else if header.from == IpAddr::V4(names.own) {
        asks(head, &header)
    } else {
        None
    }
}

/// The server answers a program.
fn answered(names: &NetNames, head: &NetFrame, header: &Header<'_>) -> Option<()> {
    let to = match header.to {
        IpAddr::V4(LOOPBACK_STANDS) => Ipv4Addr::LOCALHOST,
        IpAddr::V4(OWN_STANDS) => names.own,
        _ => return None,
    };
    checksum_place(header.protocol)?;
    // Where the host has forgotten the question, its address translation takes the answer for a new one and gives it
    // the port that is asked.
    let port = if header.protocol == Protocol::TCP { names.tcp } else { names.udp };
    half(header.payload, 0).filter(|from| [port, PORT].contains(from))?;
    if head.flags & (NET_NEEDS_CHECKSUM | NET_CHECKSUM_VALID) == 0 {
        let pseudo = pseudo(header.from, header.to, header.protocol, header.payload.len());
        if checksum(&[&pseudo.to_be_bytes(), header.payload]) != 0 {
            return None;
        }
    }
    let mut payload = header.payload.to_vec();
    put_half(&mut payload, 0, PORT)?;
    link::LO.traffic.received.add(1, header.whole.len());
    dispatch(&Arrival {
        from: header.from,
        to: to.into(),
        protocol: header.protocol,
        ttl: header.ttl,
        tos: header.tos,
        payload: &payload,
        trusted: true,
        group: false,
        whole: &[],
    })
}

/// The server asks another one, outside.
fn asks(head: &NetFrame, header: &Header<'_>) -> Option<()> {
    if half(header.payload, 2)? != PORT || link::is_local(header.to) {
        return None;
    }
    let now = clock::monotonic_ns();
    let asked = Asked {
        protocol: header.protocol,
        whom: header.to,
        port: half(header.payload, 0)?,
        until: now + ASKED_FOR,
    };
    let place = checksum_place(header.protocol)?;
    let transport = match header.protocol {
        Protocol::TCP => usize::from(*header.payload.get(12)? >> 4) * 4,
        _ => 8,
    };
    let (first, second) = header.payload.split_at_checked(transport).filter(|_| transport >= 8)?;
    {
        let mut all = ASKED.lock();
        all.retain(|one| one.until > now && !one.is(&asked));
        if all.len() >= ASKED_MOST {
            all.pop_front();
        }
        all.push_back(asked);
    }
    let size = if head.gso_type == 0 { 0 } else { head.gso_size };
    let packet = Outgoing {
        from: header.from,
        to: header.to,
        protocol: header.protocol,
        ttl: header.ttl,
        tos: header.tos,
        pieces: [first, second, &[]],
        offload: (head.flags & NET_NEEDS_CHECKSUM != 0).then_some((place as u16, size)),
        divisible: false,
    };
    super::send(&packet).ok()
}

/// Passes a packet from the wire on to the server, if that has asked for it. Whether it was passed on.
pub(super) fn pass(head: &NetFrame, header: &Header<'_>) -> bool {
    let Some(names) = NAMES.get() else { return false };
    let ports = half(header.payload, 0).zip(half(header.payload, 2));
    let Some((PORT, port)) = ports.filter(|_| header.to == IpAddr::V4(names.own)) else { return false };
    let answer = Asked { protocol: header.protocol, whom: header.from, port, until: 0 };
    let now = clock::monotonic_ns();
    if header.piece.is_some() || !ASKED.lock().iter().any(|one| one.until > now && one.is(&answer)) {
        return false;
    }
    let head = NetFrame { port: NET_PORT_INNER, ..*head };
    // What is lost is asked again.
    let _ = transmit(head, [header.whole, &[], &[], &[]]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);

    fn frame(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8], protocol: u8) -> Vec<u8> {
        let ip = packet::write_v4((from, to), (protocol, 64, 0), payload.len(), 1, None);
        [&ether::header([0; 6], [0; 6], ether::IPV4), &ip[..], payload].concat()
    }

    fn datagram(from: u16, to: u16) -> Vec<u8> {
        let ports = [from.to_be_bytes(), to.to_be_bytes(), 12u16.to_be_bytes(), [0; 2]].concat();
        [&ports[..], b"text"].concat()
    }

    #[test]
    fn only_answers_to_what_was_asked_are_passed_on() {
        crate::mem::init_for_tests();
        start(NetNames { udp: 4000, tcp: 4001, own: OWN });
        let others = Ipv4Addr::new(9, 9, 9, 9);
        let head = NetFrame { flags: NET_CHECKSUM_VALID, ..NetFrame::default() };
        let answer = frame(others, OWN, &datagram(53, 777), Protocol::UDP);
        let passes = || {
            let header = packet::read_v4(&answer[ether::HEADER..], false).expect("a packet");
            pass(&head, &header)
        };
        assert!(!passes());
        // There is no wire to send it by here, but it was asked.
        take(&head, &frame(OWN, others, &datagram(777, 54), Protocol::UDP));
        assert!(!passes());
        take(&head, &frame(OWN, others, &datagram(777, 53), Protocol::UDP));
        assert!(passes());
        for port in 0..2000 {
            take(&head, &frame(OWN, others, &datagram(port, 53), Protocol::UDP));
        }
        assert!(ASKED.lock().len() <= ASKED_MOST);
        // The server answers from its own port, not from another.
        let answer = |port| frame(NET_NAMES, LOOPBACK_STANDS, &datagram(port, 9), Protocol::UDP);
        assert_eq!(take(&head, &answer(4000)), Some(()));
        assert_eq!(take(&head, &answer(4002)), None);
    }

    proptest! {
        #[test]
        fn hostile_frames_are_taken_or_dropped(
            payload in prop::collection::vec(any::<u8>(), 0..80), way in 0u8..4, tcp: bool, flags: u8
        ) {
            crate::mem::init_for_tests();
            start(NetNames { udp: 4000, tcp: 4001, own: OWN });
            let others = Ipv4Addr::new(9, 9, 9, 8);
            let (from, to) = [(NET_NAMES, LOOPBACK_STANDS), (NET_NAMES, OWN_STANDS), (OWN, others), (others, OWN)]
                [usize::from(way)];
            let frame = frame(from, to, &payload, if tcp { Protocol::TCP } else { Protocol::UDP });
            let head = NetFrame { flags, ..NetFrame::default() };
            let _ = take(&head, &frame);
            if let Some(header) = packet::read_v4(&frame[ether::HEADER..], false) {
                pass(&head, &header);
            }
        }
    }
}
