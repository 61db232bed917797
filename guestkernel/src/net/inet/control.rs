//! Control messages of Internet sockets: what a sender may say of one packet, what a receiver is told.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    address::to_v6,
    link,
    options::{SOL_IP, SOL_IPV6, ip, ip6},
};
use crate::{
    errno::{Errno, Result},
    net::control::{Item, Message, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET, messages},
};

/// What a sender says of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Where it comes from.
    pub source: Option<IpAddr>,
    /// How far it may go.
    pub ttl: Option<u8>,
    /// Its type of service or traffic class.
    pub tos: Option<u8>,
}

fn int(data: &[u8]) -> Result<i32> {
    Ok(i32::from_ne_bytes(data.try_into().map_err(|_| Errno::EINVAL)?))
}

/// What every family of sockets knows of `SOL_SOCKET`; those of AF_UNIX mean nothing here.
fn of_socket(message: &Message<'_>) -> Result<()> {
    match message.kind {
        SCM_RIGHTS | SCM_CREDENTIALS => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

/// Checks control data that say nothing to a stream.
///
/// # Errors
/// `EINVAL`.
pub fn check(bytes: &[u8]) -> Result<()> {
    for message in messages(bytes) {
        let message = message?;
        if message.level == SOL_SOCKET {
            of_socket(&message)?;
        }
    }
    Ok(())
}

/// Reads a sender's control data; `v6` says what family the packet is of.
///
/// # Errors
/// `EINVAL`, `ENODEV`.
pub fn read(bytes: &[u8], v6: bool) -> Result<Said> {
    let mut said = Said::default();
    for message in messages(bytes) {
        let message = message?;
        match (message.level, message.kind as u32) {
            (SOL_SOCKET, _) => of_socket(&message)?,
            (SOL_IP, ip::PKTINFO) if !v6 => {
                let info: [u8; 12] = message.data.try_into().map_err(|_| Errno::EINVAL)?;
                check_interface(&info[..4])?;
                let source = Ipv4Addr::new(info[4], info[5], info[6], info[7]);
                said.source = (!source.is_unspecified()).then_some(IpAddr::V4(source));
            }
            (SOL_IP, ip::TTL) if !v6 => {
                said.ttl =
                    Some(u8::try_from(int(message.data)?).ok().filter(|&ttl| ttl != 0).ok_or(Errno::EINVAL)?);
            }
            (SOL_IP, ip::TOS) if !v6 => {
                let tos = if message.data.len() == 1 { message.data[0].into() } else { int(message.data)? };
                said.tos = Some(u8::try_from(tos).map_err(|_| Errno::EINVAL)?);
            }
            (SOL_IPV6, ip6::PKTINFO) if v6 => {
                let info: &[u8; 20] = message.data.try_into().map_err(|_| Errno::EINVAL)?;
                check_interface(&info[16..])?;
                let octets: [u8; 16] = info[..16].try_into().map_err(|_| Errno::EINVAL)?;
                let source = Ipv6Addr::from(octets);
                said.source = (!source.is_unspecified()).then_some(IpAddr::V6(source));
            }
            (SOL_IPV6, ip6::HOPLIMIT) if v6 => {
                said.ttl = match int(message.data)? {
                    -1 => None,
                    hops => Some(u8::try_from(hops).map_err(|_| Errno::EINVAL)?),
                };
            }
            (SOL_IPV6, ip6::TCLASS) if v6 => {
                said.tos = match int(message.data)? {
                    -1 => None,
                    class => Some(u8::try_from(class).map_err(|_| Errno::EINVAL)?),
                };
            }
            (SOL_IP, _) if !v6 => return Err(Errno::EINVAL),
            (SOL_IPV6, _) if v6 => return Err(Errno::EINVAL),
            _ => {}
        }
    }
    if said.source.is_some_and(|source| !link::is_local(source)) {
        return Err(Errno::EINVAL);
    }
    Ok(said)
}

fn check_interface(index: &[u8]) -> Result<()> {
    match int(index)? {
        0 => Ok(()),
        index if link::by_index(index as u32).is_some() => Ok(()),
        _ => Err(Errno::ENODEV),
    }
}

/// A control message.
#[must_use]
pub fn item(level: i32, kind: u32, data: &[u8]) -> Item {
    Item::Bytes { level, kind: kind as i32, data: data.to_vec() }
}

/// `IP_PKTINFO`: where a packet came in and what it was sent to.
#[must_use]
pub fn packet_info(to: IpAddr, from: IpAddr, v6: bool) -> Item {
    let mut data = Vec::new();
    let index = link::index_for(to, from).to_ne_bytes();
    if v6 {
        data.extend_from_slice(&to_v6(to).octets());
        data.extend_from_slice(&index);
        return item(SOL_IPV6, ip6::PKTINFO, &data);
    }
    let octets = match to {
        IpAddr::V4(to) => to.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    data.extend_from_slice(&index);
    // The address that was meant and the one in the header are the same where nothing is forwarded.
    data.extend_from_slice(&octets);
    data.extend_from_slice(&octets);
    item(SOL_IP, ip::PKTINFO, &data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn laid_out(level: i32, kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + data.len() as u64).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&level.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn what_a_sender_says_is_read() {
        let mut bytes = laid_out(SOL_IP, ip::TTL, &7i32.to_ne_bytes());
        bytes.extend(laid_out(SOL_IP, ip::PKTINFO, &[1, 0, 0, 0, 127, 0, 0, 5, 0, 0, 0, 0]));
        let said = read(&bytes, false).expect("well-formed");
        assert_eq!((said.ttl, said.source), (Some(7), Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5)))));
        assert_eq!(read(&laid_out(SOL_IP, ip::TTL, &[0; 4]), false), Err(Errno::EINVAL));
        assert_eq!(read(&laid_out(SOL_IP, ip::PKTINFO, &[9; 12]), false), Err(Errno::ENODEV));
        assert_eq!(read(&laid_out(SOL_IPV6, ip6::HOPLIMIT, &300i32.to_ne_bytes()), true), Err(Errno::EINVAL));
    }

    proptest! {
        #[test]
        fn hostile_control_data_are_refused_or_read(
            bytes in prop::collection::vec(any::<u8>(), 0..90), kind in 0u32..80, level in 0i32..42, v6: bool
        ) {
            let _ = (read(&bytes, v6), check(&bytes));
            let _ = read(&laid_out(level, kind, &bytes), v6);
        }
    }
}
