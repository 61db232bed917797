//! Packets from outside: UDP, ICMP, and what raw sockets see.

use core::{net::IpAddr, sync::atomic::Ordering};

use super::{
    Datagram, Failure, Kind, Message, PING, UDP,
    icmp::{self, Packet, checksum, icmp_checksum},
    send::{self, UDP_HEADER},
};
use crate::{
    arch::clock,
    net::inet::{
        address::Endpoint,
        link,
        options::{SOL_IP, SOL_IPV6, ip, ip6},
        wire::{self, Arrival, Failed, Outgoing},
    },
};

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn packet<'a>(arrival: &Arrival<'a>) -> Packet<'a> {
    Packet {
        from: arrival.from,
        to: arrival.to,
        protocol: arrival.protocol,
        ttl: arrival.ttl,
        tos: arrival.tos,
        payload: arrival.payload,
    }
}

/// Shows a packet to raw sockets. Whether one saw it.
pub(in crate::net::inet) fn show_raw(arrival: &Arrival<'_>) -> bool {
    icmp::show_to_raw(&packet(arrival))
}

/// A datagram of UDP. `None` when it means nothing.
pub(in crate::net::inet) fn arrive_udp(arrival: &Arrival<'_>) -> Option<()> {
    let head = arrival.payload.first_chunk::<UDP_HEADER>()?;
    let len = usize::from(half(head, 4));
    let segment = arrival.payload.get(..len).filter(|_| len >= UDP_HEADER)?;
    // IPv4 may do without a sum.
    let summed = half(head, 6) != 0 || arrival.to.is_ipv6();
    if !arrival.trusted && summed {
        let pseudo = wire::packet::pseudo(arrival.from, arrival.to, arrival.protocol, len);
        if checksum(&[&pseudo.to_be_bytes(), segment]) != 0 {
            return None;
        }
    }
    let from = Endpoint { addr: arrival.from, port: half(head, 0) };
    let to = Endpoint { addr: arrival.to, port: half(head, 2) };
    let message = || {
        let data = &segment[UDP_HEADER..];
        Message {
            charge: send::charge(data.len()),
            data: data.to_vec(),
            from,
            to: arrival.to,
            ttl: arrival.ttl,
            tos: arrival.tos,
            time: clock::realtime_ns(),
        }
    };
    if arrival.group {
        for socket in UDP.claimants(to.port) {
            let local = socket.inner.lock().local.addr;
            let same = local.is_ipv4() == to.addr.is_ipv4() || local.is_unspecified() && !socket.v6only();
            if same && (local.is_unspecified() || local == to.addr) {
                socket.deliver(message());
            }
        }
        return Some(());
    }
    match send::receiver(to, from) {
        Some(socket) => socket.deliver(message()),
        None => wire::report(arrival, if arrival.to.is_ipv6() { (1, 4) } else { (3, 3) }),
    }
    Some(())
}

/// A message of ICMP. `None` when it means nothing.
pub(in crate::net::inet) fn arrive_icmp(arrival: &Arrival<'_>) -> Option<()> {
    if arrival.payload.len() < icmp::HEADER || icmp_checksum(arrival.from, arrival.to, arrival.payload) != 0 {
        return None;
    }
    if wire::hear(arrival) {
        return Some(());
    }
    let (request, reply) = icmp::echo_types(arrival.to.is_ipv6());
    match arrival.payload[0] {
        kind if kind == request && arrival.payload[1] == 0 => answer_echo(arrival, reply),
        kind if kind == reply => {
            icmp::answer_ping(&packet(arrival));
            Some(())
        }
        _ => None,
    }
}

/// Answers an echo request. One to everybody is not answered, as Linux does by default.
fn answer_echo(arrival: &Arrival<'_>, reply: u8) -> Option<()> {
    if arrival.group {
        return None;
    }
    let mut answer = arrival.payload.to_vec();
    answer[0] = reply;
    answer[2..4].fill(0);
    let sum = icmp_checksum(arrival.to, arrival.from, &answer);
    answer[2..4].copy_from_slice(&sum.to_be_bytes());
    let packet = Outgoing {
        from: arrival.to,
        to: arrival.from,
        protocol: arrival.protocol,
        ttl: 64,
        tos: arrival.tos,
        pieces: [&answer, &[], &[]],
        offload: None,
        divisible: true,
    };
    wire::send(&packet).ok()
}

/// One of our packets did not arrive: its socket is told.
pub(in crate::net::inet) fn failed(failed: &Failed<'_>) {
    let Some(head) = failed.payload.first_chunk::<8>() else { return };
    let udp = i32::from(failed.protocol) == super::IPPROTO_UDP;
    let (local, remote) = if udp {
        (half(head, 0), half(head, 2))
    } else if head[0] == icmp::echo_types(failed.to.is_ipv6()).0 {
        (half(head, 4), 0)
    } else {
        return;
    };
    let (local, remote) =
        (Endpoint { addr: failed.from, port: local }, Endpoint { addr: failed.to, port: remote });
    let socket = if udp { send::receiver(local, remote) } else { PING.find(local, 0, |_| Some(0)) };
    if let Some(socket) = socket {
        socket.packet_failed(failed, remote);
    }
}

impl Datagram {
    fn packet_failed(&self, failed: &Failed<'_>, to: Endpoint) {
        let (errno, fatal) = failed.errno();
        let wants = if to.addr.is_ipv6() {
            self.values.flag(SOL_IPV6, ip6::RECVERR)
        } else {
            self.values.flag(SOL_IP, ip::RECVERR)
        };
        let skipped = if self.what == Kind::Udp { UDP_HEADER } else { 0 };
        let failure = Failure {
            errno,
            kind: failed.kind,
            code: failed.code,
            data: failed.payload.get(skipped..).unwrap_or_default().to_vec(),
            to,
        };
        self.tell_failure(failure, wants, fatal);
    }

    /// Keeps a failure for who asks, and leaves an error for the next call.
    pub(super) fn tell_failure(&self, failure: Failure, wants: bool, fatal: bool) {
        let errno = failure.errno;
        {
            let mut inner = self.inner.lock();
            if wants && inner.failures.len() < send::FAILURES_MAX {
                inner.failures.push_back(failure);
                self.failed.store(true, Ordering::SeqCst);
            } else if inner.remote.is_none() || !fatal {
                return;
            }
        }
        self.core.set_error(errno);
        self.core.changed();
    }

    /// Sends a packet to somebody outside.
    pub(super) fn send_out(
        &self,
        (from, to): (IpAddr, IpAddr),
        (protocol, ttl, tos): (u8, u8, u8),
        pieces: [&[u8]; 2],
    ) -> crate::errno::Result<()> {
        // IP_PMTUDISC_DO and IP_PMTUDISC_PROBE forbid pieces.
        let discover = if to.is_ipv6() { (SOL_IPV6, ip6::MTU_DISCOVER) } else { (SOL_IP, ip::MTU_DISCOVER) };
        let divisible = !matches!(self.values.number(discover.0, discover.1), 2 | 3);
        let [first, second] = pieces;
        let ttl = match to {
            IpAddr::V4(to) if to.is_multicast() => self.values.number(SOL_IP, ip::MULTICAST_TTL) as u8,
            IpAddr::V6(to) if to.is_multicast() => self.values.number(SOL_IPV6, ip6::MULTICAST_HOPS) as u8,
            _ => ttl,
        };
        let packet =
            Outgoing { from, to, protocol, ttl, tos, pieces: [first, second, &[]], offload: None, divisible };
        match wire::send(&packet) {
            // A full queue drops packets without a word, unless errors are wanted.
            Err(crate::errno::Errno::ENOBUFS) => Ok(()),
            result => result,
        }
    }
}

/// A UDP header for `data`.
pub(super) fn udp_header(from: Endpoint, to: Endpoint, data: &[u8]) -> [u8; UDP_HEADER] {
    let len = UDP_HEADER + data.len();
    let mut head = [0; UDP_HEADER];
    head[..2].copy_from_slice(&from.port.to_be_bytes());
    head[2..4].copy_from_slice(&to.port.to_be_bytes());
    head[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    let pseudo = wire::packet::pseudo(from.addr, to.addr, super::IPPROTO_UDP as u8, len);
    let sum = match checksum(&[&pseudo.to_be_bytes(), &head, data]) {
        // 0 says that there is none.
        0 => 0xffff,
        sum => sum,
    };
    head[6..].copy_from_slice(&sum.to_be_bytes());
    head
}

/// Whether packets to `to` leave the sandbox.
pub(super) fn is_outside(to: IpAddr) -> bool {
    !link::is_local(to) && !matches!(to, IpAddr::V4(to) if to == link::LOOPBACK_BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn arrival<'a>(payload: &'a [u8], protocol: u8, v6: bool) -> Arrival<'a> {
        let [from, to] = if v6 {
            [IpAddr::from([1u16, 0, 0, 0, 0, 0, 0, 9]), IpAddr::from([1u16, 0, 0, 0, 0, 0, 0, 8])]
        } else {
            [IpAddr::from([10, 0, 0, 9]), IpAddr::from([10, 0, 0, 8])]
        };
        Arrival { from, to, protocol, ttl: 64, tos: 0, payload, trusted: true, group: false, whole: payload }
    }

    #[test]
    fn a_datagram_finds_its_socket() {
        crate::mem::init_for_tests();
        let socket = super::super::create(false, Kind::Udp).expect("a socket");
        let any = Endpoint { port: 0, addr: IpAddr::from([0, 0, 0, 0]) };
        crate::net::Socket::bind(&*socket, &any.address(false), 0).expect("free");
        let to = socket.inner.lock().local.port;
        let mut bytes = arrival(&[], 17, false);
        let from = Endpoint { addr: bytes.from, port: 53 };
        let to = Endpoint { addr: bytes.to, port: to };
        let mut segment = udp_header(from, to, b"abc").to_vec();
        segment.extend_from_slice(b"abc");
        (bytes.payload, bytes.trusted) = (&segment, false);
        assert_eq!(arrive_udp(&bytes), Some(()));
        let message = socket.inner.lock().queue.pop_front().expect("it came");
        assert_eq!((&message.data[..], message.from, message.to), (&b"abc"[..], from, to.addr));
        let mut damaged: Vec<u8> = segment.clone();
        damaged[9] ^= 4;
        bytes.payload = &damaged;
        assert_eq!(arrive_udp(&bytes), None);
        crate::net::Socket::release(&*socket);
    }

    proptest! {
        #[test]
        fn hostile_packets_are_taken_or_dropped(
            bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 0u8..14, v6: bool
        ) {
            crate::mem::init_for_tests();
            let mut bytes: Vec<u8> = bytes;
            let _ = arrive_udp(&arrival(&bytes, 17, v6));
            if bytes.len() > 28 {
                (bytes[0], bytes[1]) = (if v6 { kind % 5 } else { kind }, 0);
                bytes[8] = if v6 { 0x60 } else { 0x45 };
                bytes[2..4].fill(0);
                let what = arrival(&bytes, if v6 { 58 } else { 1 }, v6);
                let sum = icmp_checksum(what.from, what.to, &bytes);
                bytes[2..4].copy_from_slice(&sum.to_be_bytes());
            }
            let _ = arrive_icmp(&arrival(&bytes, if v6 { 58 } else { 1 }, v6));
        }
    }
}
