//! Packets of IPv4 (RFC 791) and IPv6 (RFC 8200), read and written.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::net::inet::datagram::checksum;

/// Bytes of the headers without options.
pub(in crate::net::inet) const V4_HEADER: usize = 20;
pub(super) const V6_HEADER: usize = 40;
/// Most extension headers that are looked through.
const EXTENSIONS: usize = 8;

/// Numbers of protocols.
pub(super) struct Protocol;

impl Protocol {
    pub(super) const ICMP: u8 = 1;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const ICMPV6: u8 = 58;
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
}

/// Where a piece of a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) id: u32,
    /// Bytes before it.
    pub(super) offset: usize,
    /// There are bytes behind it.
    pub(super) more: bool,
}

/// A packet as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) piece: Option<Piece>,
    pub(super) payload: &'a [u8],
    /// With its header, to be quoted.
    pub(super) whole: &'a [u8],
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Reads a packet of IPv4. `quoted`: it is the beginning of one, in an error message.
pub(super) fn read_v4(bytes: &[u8], quoted: bool) -> Option<Header<'_>> {
    let head = bytes.first_chunk::<V4_HEADER>()?;
    let header = usize::from(head[0] & 0xf) * 4;
    let len = usize::from(half(head, 2));
    if head[0] >> 4 != 4 || header < V4_HEADER || header > bytes.len() || len < header {
        return None;
    }
    if !quoted && (len > bytes.len() || checksum(&[&bytes[..header]]) != 0) {
        return None;
    }
    let whole = &bytes[..len.min(bytes.len())];
    let fragment = half(head, 6);
    let (more, offset) = (fragment & 0x2000 != 0, usize::from(fragment & 0x1fff) * 8);
    let addr = |at: usize| IpAddr::V4(Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]));
    Some(Header {
        from: addr(12),
        to: addr(16),
        protocol: head[9],
        ttl: head[8],
        tos: head[1],
        piece: (more || offset != 0).then_some(Piece { id: half(head, 4).into(), offset, more }),
        payload: &whole[header..],
        whole,
    })
}

/// Reads a packet of IPv6, extension headers included.
pub(super) fn read_v6(bytes: &[u8], quoted: bool) -> Option<Header<'_>> {
    let head = bytes.first_chunk::<V6_HEADER>()?;
    let len = V6_HEADER + usize::from(half(head, 4));
    if head[0] >> 4 != 6 || !quoted && len > bytes.len() {
        return None;
    }
    let whole = &bytes[..len.min(bytes.len())];
    let addr =
        |at: usize| <[u8; 16]>::try_from(&head[at..at + 16]).ok().map(|octets| Ipv6Addr::from(octets).into());
    let (mut protocol, mut at, mut piece) = (head[6], V6_HEADER, None);
    for _ in 0..EXTENSIONS {
        match protocol {
            Protocol::HOP_BY_HOP | Protocol::ROUTING | Protocol::DESTINATION => {
                let option = whole.get(at..at + 2)?;
                // A routing header that is not done would have the packet go on.
                if protocol == Protocol::ROUTING && *whole.get(at + 3)? != 0 {
                    return None;
                }
                protocol = option[0];
                at += (usize::from(option[1]) + 1) * 8;
            }
            Protocol::FRAGMENT if piece.is_none() => {
                let option = whole.get(at..at + 8)?;
                let place = half(option, 2);
                let id = u32::from_be_bytes([option[4], option[5], option[6], option[7]]);
                piece = Some(Piece { id, offset: usize::from(place & 0xfff8), more: place & 1 != 0 });
                protocol = option[0];
                at += 8;
                // What follows is known when it is whole.
                break;
            }
            _ => break,
        }
    }
    // A fragment that is the whole packet.
    let piece = piece.filter(|piece| piece.more || piece.offset != 0);
    Some(Header {
        from: addr(8)?,
        to: addr(24)?,
        protocol,
        ttl: head[7],
        tos: head[0] << 4 | head[1] >> 4,
        piece,
        payload: whole.get(at..)?,
        whole,
    })
}

/// A header for IPv4 with `len` bytes behind it. `piece`: it is one of several.
pub(in crate::net::inet) fn write_v4(
    (from, to): (Ipv4Addr, Ipv4Addr),
    (protocol, ttl, tos): (u8, u8, u8),
    len: usize,
    id: u16,
    piece: Option<(usize, bool)>,
) -> [u8; V4_HEADER] {
    let mut bytes = [0; V4_HEADER];
    bytes[0] = 0x45;
    bytes[1] = tos;
    bytes[2..4].copy_from_slice(&((V4_HEADER + len) as u16).to_be_bytes());
    bytes[4..6].copy_from_slice(&id.to_be_bytes());
    let fragment = match piece {
        None => 0x4000,
        Some((offset, more)) => (offset / 8) as u16 | if more { 0x2000 } else { 0 },
    };
    bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
    bytes[8] = ttl;
    bytes[9] = protocol;
    bytes[12..16].copy_from_slice(&from.octets());
    bytes[16..].copy_from_slice(&to.octets());
    let sum = checksum(&[&bytes]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// A header for IPv6 with `len` bytes behind it.
pub(super) fn write_v6(
    (from, to): (Ipv6Addr, Ipv6Addr),
    (protocol, ttl, tos): (u8, u8, u8),
    len: usize,
) -> [u8; V6_HEADER] {
    let mut bytes = [0; V6_HEADER];
    bytes[0] = 0x60 | tos >> 4;
    bytes[1] = tos << 4;
    bytes[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    bytes[6] = protocol;
    bytes[7] = ttl;
    bytes[8..24].copy_from_slice(&from.octets());
    bytes[24..].copy_from_slice(&to.octets());
    bytes
}

/// The sum of what a transport protocol's checksum covers of the addresses, not yet inverted.
pub(in crate::net::inet) fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, len: usize) -> u16 {
    let len = (len as u32).to_be_bytes();
    let tail = [0, 0, 0, protocol];
    !match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => checksum(&[&from.octets(), &to.octets(), &len, &tail]),
        (IpAddr::V6(from), IpAddr::V6(to)) => checksum(&[&from.octets(), &to.octets(), &len, &tail]),
        _ => 0xffff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn what_is_written_is_read(from: u32, to: u32, six: (u128, u128), word: (u8, u8, u8), len in 0usize..60) {
            let protocol = if word.0 % 2 == 0 { Protocol::UDP } else { Protocol::TCP };
            let mut bytes = write_v4((from.into(), to.into()), (protocol, word.1, word.2), len, 7, None).to_vec();
            bytes.resize(bytes.len() + len, 3);
            let header = read_v4(&bytes, false).expect("a packet");
            prop_assert_eq!((header.from, header.to), (Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into()));
            prop_assert_eq!((header.protocol, header.ttl, header.tos), (protocol, word.1, word.2));
            prop_assert_eq!((header.payload.len(), header.piece), (len, None));
            bytes[8] ^= 1;
            prop_assert_eq!(read_v4(&bytes, false), None);
            let mut bytes = write_v6((six.0.into(), six.1.into()), (protocol, word.1, word.2), len).to_vec();
            bytes.resize(bytes.len() + len, 3);
            let header = read_v6(&bytes, false).expect("a packet");
            prop_assert_eq!((header.from, header.tos), (Ipv6Addr::from(six.0).into(), word.2));
            prop_assert_eq!(header.payload.len(), len);
        }

        #[test]
        fn hostile_packets_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120), next: u8, quoted: bool) {
            let mut bytes: Vec<u8> = bytes;
            for version in [0x45, 0x60] {
                if bytes.len() > 8 {
                    bytes[0] = version;
                    bytes[6] = next % 64;
                    bytes[4] = 0;
                }
                let _ = (read_v4(&bytes, quoted), read_v6(&bytes, quoted));
            }
        }
    }
}
