//! ICMP and headers: what raw and echo sockets see of packets.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::{
    super::{IPPROTO_ICMP, IPPROTO_ICMPV6},
    Datagram, Kind, Message, PING, RAW,
};
use crate::{
    arch::clock,
    net::inet::{
        address::Endpoint,
        link,
        wire::packet::{V4_HEADER, write_v4},
    },
};

/// Bytes of an ICMP header.
pub(super) const HEADER: usize = 8;

/// The types of an echo: request and reply.
pub(super) fn echo_types(v6: bool) -> (u8, u8) {
    if v6 { (128, 129) } else { (8, 0) }
}

/// The Internet checksum (RFC 1071) of some pieces; all but the last have an even length.
pub(in crate::net::inet) fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for piece in pieces {
        let (words, rest) = piece.as_chunks::<2>();
        sum += words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
        sum += rest.first().map_or(0, |&byte| u64::from(byte) << 8);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A packet on its way.
#[derive(Clone, Debug)]
pub(super) struct Packet<'a> {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) payload: &'a [u8],
}

impl Packet<'_> {
    /// With its IPv4 header, as raw sockets see it.
    fn with_header(&self) -> Vec<u8> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (self.from, self.to) else { return self.payload.to_vec() };
        // A length that has no room in the header is shown as the longest.
        let len = self.payload.len().min(usize::from(u16::MAX) - V4_HEADER);
        let words = (self.protocol, self.ttl, self.tos);
        let mut bytes = write_v4((from, to), words, len, 0, None).to_vec();
        bytes.extend_from_slice(self.payload);
        bytes
    }

    fn message(&self, data: Vec<u8>) -> Message {
        Message {
            charge: super::send::charge(data.len()),
            data,
            from: Endpoint { port: 0, addr: self.from },
            to: self.to,
            ttl: self.ttl,
            tos: self.tos,
            time: clock::realtime_ns(),
        }
    }
}

/// The checksum of an ICMP message; IPv6's covers the addresses too.
pub(in crate::net::inet) fn icmp_checksum(from: IpAddr, to: IpAddr, payload: &[u8]) -> u16 {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) else { return checksum(&[payload]) };
    let len = (payload.len() as u32).to_be_bytes();
    checksum(&[&from.octets(), &to.octets(), &len, &[0, 0, 0, IPPROTO_ICMPV6 as u8], payload])
}

/// A packet arrives: raw sockets see it, an echo is answered.
pub(super) fn arrive(packet: &Packet<'_>) {
    link::LO.traffic.count(1, packet.payload.len() + V4_HEADER);
    show_to_raw(packet);
    let v6 = packet.to.is_ipv6();
    let icmp = if v6 { IPPROTO_ICMPV6 } else { IPPROTO_ICMP };
    if i32::from(packet.protocol) != icmp || packet.payload.len() < HEADER {
        return;
    }
    if icmp_checksum(packet.from, packet.to, packet.payload) != 0 {
        return;
    }
    let (request, reply) = echo_types(v6);
    if packet.payload[0] == request && packet.payload[1] == 0 {
        let mut answer = packet.payload.to_vec();
        answer[0] = reply;
        answer[2..4].fill(0);
        let sum = icmp_checksum(packet.to, packet.from, &answer);
        answer[2..4].copy_from_slice(&sum.to_be_bytes());
        let answer = Packet { from: packet.to, to: packet.from, ttl: 64, payload: &answer, ..packet.clone() };
        link::LO.traffic.count(1, answer.payload.len() + V4_HEADER);
        show_to_raw(&answer);
        answer_ping(&answer);
    }
}

/// Raw sockets see a packet. Whether one did.
pub(super) fn show_to_raw(packet: &Packet<'_>) -> bool {
    let mut seen = false;
    for socket in RAW.claimants(packet.protocol.into()) {
        if socket.is_v6() == packet.to.is_ipv6() && socket.wants(packet) {
            let v6 = packet.to.is_ipv6();
            let data = if v6 { packet.payload.to_vec() } else { packet.with_header() };
            socket.deliver(packet.message(data));
            seen = true;
        }
    }
    seen
}

/// An echo's reply goes to the socket whose port it names.
pub(super) fn answer_ping(packet: &Packet<'_>) {
    let ident = u16::from_be_bytes([packet.payload[4], packet.payload[5]]);
    let to = Endpoint { port: ident, addr: packet.to };
    if let Some(socket) = PING.find(to, 0, |_| Some(0)) {
        socket.deliver(packet.message(packet.payload.to_vec()));
    }
}

impl Datagram {
    /// Whether a raw socket is bound and connected so that it sees this packet.
    fn wants(&self, packet: &Packet<'_>) -> bool {
        let icmp = self.what == Kind::Raw(if packet.to.is_ipv6() { IPPROTO_ICMPV6 } else { IPPROTO_ICMP });
        if let Some(&kind) = packet.payload.first().filter(|_| icmp)
            && self.unwanted.lock()[usize::from(kind >> 5)] & 1 << (kind & 31) != 0
        {
            return false;
        }
        let inner = self.inner.lock();
        matches!(self.what, Kind::Raw(_))
            && (inner.local.addr.is_unspecified() || inner.local.addr == packet.to)
            && inner.remote.is_none_or(|remote| remote.addr == packet.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_cancel() {
        let mut bytes = [8u8, 0, 0, 0, 1, 2, 3, 4, 5];
        let sum = checksum(&[&bytes]);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&[&bytes]), 0);
        assert_eq!(checksum(&[&[0xff, 0xff]]), 0);
    }
}
