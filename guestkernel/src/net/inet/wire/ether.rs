//! Ethernet, ARP (RFC 826) and neighbour discovery (RFC 4861): what is on a link.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::packet::Protocol;
use crate::net::inet::datagram::icmp_checksum;

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// Everybody.
pub(super) const BROADCAST: Mac = [0xff; 6];
/// Bytes of an Ethernet header.
pub(super) const HEADER: usize = 14;
/// Kinds of frames.
pub(super) const IPV4: u16 = 0x0800;
pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV6: u16 = 0x86dd;

/// Bytes of an ARP message.
const ARP_LEN: usize = 28;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// Types of neighbour discovery's messages.
pub(super) const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;
/// Bytes of a solicitation or advertisement with one hardware address.
const NEIGHBOUR: usize = 32;
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;

/// An Ethernet header.
pub(super) fn header(to: Mac, from: Mac, kind: u16) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..6].copy_from_slice(&to);
    bytes[6..12].copy_from_slice(&from);
    bytes[12..].copy_from_slice(&kind.to_be_bytes());
    bytes
}

/// The hardware address of a group, which is computed.
pub(super) fn group(addr: IpAddr) -> Option<Mac> {
    match addr {
        IpAddr::V4(addr) if addr.is_multicast() => {
            let [_, b, c, d] = addr.octets();
            Some([1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(addr) if addr.is_multicast() => {
            let o = addr.octets();
            Some([0x33, 0x33, o[12], o[13], o[14], o[15]])
        }
        _ => None,
    }
}

/// Who answers for an address of IPv6 is in this group.
pub(super) fn solicited(addr: Ipv6Addr) -> Ipv6Addr {
    let o = addr.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(o[13]), u16::from_be_bytes([o[14], o[15]]))
}

/// What a neighbour says or asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Talk {
    /// Who speaks; unspecified for one that has no address yet.
    pub(super) sender: IpAddr,
    pub(super) mac: Option<Mac>,
    /// Whom it asks for; for an answer, of whom it speaks.
    pub(super) target: IpAddr,
    pub(super) asks: bool,
}

fn v4(bytes: &[u8]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
}

/// Reads an ARP message.
pub(super) fn read_arp(bytes: &[u8]) -> Option<Talk> {
    let bytes: &[u8; ARP_LEN] = bytes.first_chunk()?;
    if bytes[..6] != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let asks = match u16::from_be_bytes([bytes[6], bytes[7]]) {
        REQUEST => true,
        REPLY => false,
        _ => return None,
    };
    let mac = bytes[8..14].try_into().ok();
    let sender = v4(&bytes[14..18]);
    Some(Talk { sender, mac, target: if asks { v4(&bytes[24..28]) } else { sender }, asks })
}

/// An ARP message: a question, or the answer to one.
pub(super) fn arp(asks: bool, from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr)) -> [u8; ARP_LEN] {
    let mut bytes = [0; ARP_LEN];
    bytes[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
    bytes[7] = if asks { REQUEST } else { REPLY } as u8;
    bytes[8..14].copy_from_slice(&from.0);
    bytes[14..18].copy_from_slice(&from.1.octets());
    bytes[18..24].copy_from_slice(&to.0);
    bytes[24..28].copy_from_slice(&to.1.octets());
    bytes
}

/// Reads a solicitation or advertisement; `bytes` is the ICMPv6 message, which has come with this sender and hop limit.
pub(super) fn read_neighbour(sender: Ipv6Addr, hops: u8, bytes: &[u8]) -> Option<Talk> {
    // From farther than the link it is a lie.
    if hops != 255 || bytes.len() < 24 || bytes[1] != 0 {
        return None;
    }
    let asks = match bytes[0] {
        SOLICITATION => true,
        ADVERTISEMENT => false,
        _ => return None,
    };
    let target: [u8; 16] = bytes[8..24].try_into().ok()?;
    let wanted = if asks { SOURCE_ADDRESS } else { TARGET_ADDRESS };
    let mut mac = None;
    let mut options = &bytes[24..];
    while options.len() >= 8 {
        let len = usize::from(options[1]) * 8;
        let option = options.get(..len).filter(|option| !option.is_empty())?;
        if option[0] == wanted {
            mac = option[2..8].try_into().ok();
        }
        options = &options[len..];
    }
    Some(Talk { sender: IpAddr::V6(sender), mac, target: IpAddr::V6(target.into()), asks })
}

/// A solicitation for `target`, or with `answer` an advertisement of it, from `from` to `to`.
pub(super) fn neighbour(
    mac: Mac,
    target: Ipv6Addr,
    from: Ipv6Addr,
    to: Ipv6Addr,
    answer: bool,
    solicited: bool,
) -> [u8; NEIGHBOUR] {
    let mut bytes = [0; NEIGHBOUR];
    bytes[0] = if answer { ADVERTISEMENT } else { SOLICITATION };
    if answer {
        // It may replace what was known; and whether it was asked for.
        bytes[4] = 0x20 | if solicited { 0x40 } else { 0 };
    }
    bytes[8..24].copy_from_slice(&target.octets());
    bytes[24] = if answer { TARGET_ADDRESS } else { SOURCE_ADDRESS };
    bytes[25] = 1;
    bytes[26..32].copy_from_slice(&mac);
    let sum = icmp_checksum(IpAddr::V6(from), IpAddr::V6(to), &bytes);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The kind of frame for packets of a family.
pub(super) fn kind_of(addr: IpAddr) -> u16 {
    if addr.is_ipv6() { IPV6 } else { IPV4 }
}

const _: () = assert!(Protocol::ICMPV6 == 58);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_said_is_understood() {
        let (mine, theirs) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let (here, there) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let talk = read_arp(&arp(true, (mine, here), ([0; 6], there))).expect("ARP");
        assert_eq!(talk, Talk { sender: here.into(), mac: Some(mine), target: there.into(), asks: true });
        let talk = read_arp(&arp(false, (theirs, there), (mine, here))).expect("ARP");
        assert_eq!((talk.asks, talk.target, talk.mac), (false, there.into(), Some(theirs)));
        let (here, there): (Ipv6Addr, Ipv6Addr) =
            ("fd00::1".parse().expect("here"), "fd00::12:3456".parse().expect("there"));
        assert_eq!(solicited(there).to_string(), "ff02::1:ff12:3456");
        assert_eq!(group(IpAddr::V6(solicited(there))), Some([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]));
        let bytes = neighbour(mine, there, here, solicited(there), false, false);
        let talk = read_neighbour(here, 255, &bytes).expect("a question");
        assert_eq!(talk, Talk { sender: here.into(), mac: Some(mine), target: there.into(), asks: true });
        assert_eq!(read_neighbour(here, 254, &bytes), None);
    }

    proptest! {
        #[test]
        fn hostile_frames_say_nothing_or_something(bytes in prop::collection::vec(any::<u8>(), 0..90), first: u8) {
            let mut bytes = bytes;
            let _ = read_arp(&bytes);
            if let Some(kind) = bytes.first_mut() {
                *kind = SOLICITATION + first % 2;
            }
            let _ = read_neighbour(Ipv6Addr::LOCALHOST, 255, &bytes);
        }
    }

    use std::string::ToString;
}
