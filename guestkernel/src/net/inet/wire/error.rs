//! What ICMP says of packets that did not arrive: told to others, and heard from them.

use core::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    Arrival, Outgoing,
    packet::{self, Protocol},
};
use crate::{
    arch::clock,
    errno::Errno,
    net::inet::{datagram, link, tcp::flow},
    time::NSEC_PER_SEC,
};

/// Most messages in a second.
const LIMIT: u64 = 1000;
/// Longest message that quotes a packet: what every path carries.
const V4_LONGEST: usize = 576;
const V6_LONGEST: usize = 1280;

/// A packet of ours that did not arrive.
#[derive(Clone, Copy, Debug)]
pub(in crate::net::inet) struct Failed<'a> {
    /// Its ends.
    pub(in crate::net::inet) from: IpAddr,
    pub(in crate::net::inet) to: IpAddr,
    pub(in crate::net::inet) protocol: u8,
    /// As much of it as is known, from the transport protocol's header on.
    pub(in crate::net::inet) payload: &'a [u8],
    /// ICMP's type and code.
    pub(in crate::net::inet) kind: u8,
    pub(in crate::net::inet) code: u8,
    /// The longest packet that would have arrived, if that was it.
    pub(in crate::net::inet) mtu: u32,
}

impl Failed<'_> {
    /// What a program is told, and whether it means that no other packet will arrive either.
    pub(in crate::net::inet) fn errno(&self) -> (Errno, bool) {
        match (self.to.is_ipv6(), self.kind, self.code) {
            (false, 3, 0 | 6 | 11) => (Errno::ENETUNREACH, false),
            (false, 3, 2) => (Errno::ENOPROTOOPT, true),
            (false, 3, 3) | (true, 1, 4) => (Errno::ECONNREFUSED, true),
            (false, 3, 4) | (true, 2, _) => (Errno::EMSGSIZE, true),
            (false, 3, 5) => (Errno::EOPNOTSUPP, false),
            (true, 1, 0) => (Errno::ENETUNREACH, false),
            (true, 1, 1 | 5 | 6) => (Errno::EACCES, true),
            (false, 12, _) | (true, 4, _) => (Errno::EPROTO, true),
            _ => (Errno::EHOSTUNREACH, false),
        }
    }
}

/// Whether one more message may be sent now.
fn may_send(now: u64) -> bool {
    static SECOND: AtomicU64 = AtomicU64::new(0);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let second = now / NSEC_PER_SEC;
    if SECOND.swap(second, Ordering::Relaxed) != second {
        COUNT.store(0, Ordering::Relaxed);
    }
    COUNT.fetch_add(1, Ordering::Relaxed) < LIMIT
}

/// Tells the sender of a packet that it did not arrive; `what` are ICMP's type and code.
pub(in crate::net::inet) fn report(arrival: &Arrival<'_>, what: (u8, u8)) {
    let v6 = arrival.to.is_ipv6();
    if arrival.group || arrival.whole.is_empty() || !may_send(clock::monotonic_ns()) {
        return;
    }
    let longest = if v6 { V6_LONGEST - packet::V6_HEADER } else { V4_LONGEST - packet::V4_HEADER } - 8;
    let quoted = &arrival.whole[..arrival.whole.len().min(longest)];
    let mut message = alloc::vec![what.0, what.1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(quoted);
    let sum = datagram::icmp_checksum(arrival.to, arrival.from, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let packet = Outgoing {
        from: arrival.to,
        to: arrival.from,
        protocol: if v6 { Protocol::ICMPV6 } else { Protocol::ICMP },
        ttl: 64,
        tos: 0,
        pieces: [&message, &[], &[]],
        offload: None,
        divisible: true,
    };
    if let Err(error) = super::send(&packet) {
        log::debug!("an ICMP error: {error}");
    }
}

/// One of our packets, or its beginning, did not arrive.
pub(super) fn failed(packet: &[u8], (kind, code): (u8, u8), mtu: u32) {
    let header = match packet.first().map(|byte| byte >> 4) {
        Some(4) => packet::read_v4(packet, true),
        Some(6) => packet::read_v6(packet, true),
        _ => None,
    };
    let Some(header) = header.filter(|header| link::is_local(header.from)) else { return };
    let failed = Failed {
        from: header.from,
        to: header.to,
        protocol: header.protocol,
        payload: header.payload,
        kind,
        code,
        mtu,
    };
    match header.protocol {
        Protocol::TCP => flow::failed(&failed),
        _ => datagram::failed(&failed),
    }
}

/// Takes in an error message of ICMP. `false` when it is none.
pub(in crate::net::inet) fn hear(arrival: &Arrival<'_>) -> bool {
    let [kind, code, ..] = *arrival.payload else { return false };
    let is_error = if arrival.to.is_ipv6() { (1..=4).contains(&kind) } else { matches!(kind, 3 | 11 | 12) };
    let Some((head, quoted)) = arrival.payload.split_first_chunk::<8>().filter(|_| is_error) else {
        return is_error;
    };
    let mtu = if arrival.to.is_ipv6() {
        u32::from_be_bytes([head[4], head[5], head[6], head[7]])
    } else {
        u32::from(u16::from_be_bytes([head[6], head[7]]))
    };
    failed(quoted, (kind, code), mtu);
    true
}
