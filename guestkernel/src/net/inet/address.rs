//! Internet addresses: `struct sockaddr_in` and `struct sockaddr_in6` (ip(7), ipv6(7)).
//!
//! A socket of AF_INET6 may have IPv4 ends. Inside they are IPv4 addresses; ring 3 sees them mapped (`::ffff:a.b.c.d`).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    errno::{Errno, Result},
    net::{AF_INET, AF_INET6, AF_UNSPEC, address::Address},
};

/// Bytes of a `struct sockaddr_in`.
const IN_LEN: usize = 16;
/// Fewest bytes of a `struct sockaddr_in6`: without its scope, as RFC 2133 had it.
const IN6_LEAST: usize = 24;
/// Bytes of a `struct sockaddr_in6`.
const IN6_LEN: usize = 28;

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Port, host order. First, so that a table that is ordered by endpoints is ordered by ports.
    pub port: u16,
    /// Address.
    pub addr: IpAddr,
}

impl Endpoint {
    /// No address and no port.
    #[must_use]
    pub fn unspecified(v6: bool) -> Self {
        Self { port: 0, addr: wildcard(v6) }
    }

    /// As ring 3 sees it through a socket of AF_INET6 or AF_INET.
    #[must_use]
    pub fn address(&self, v6: bool) -> Address {
        let mut bytes = [0; IN6_LEN];
        bytes[2..4].copy_from_slice(&self.port.to_be_bytes());
        let len = if v6 {
            bytes[..2].copy_from_slice(&AF_INET6.to_ne_bytes());
            bytes[8..24].copy_from_slice(&to_v6(self.addr).octets());
            IN6_LEN
        } else {
            bytes[..2].copy_from_slice(&AF_INET.to_ne_bytes());
            if let IpAddr::V4(addr) = self.addr {
                bytes[4..8].copy_from_slice(&addr.octets());
            }
            IN_LEN
        };
        Address::new(&bytes[..len]).unwrap_or_default()
    }
}

/// The wildcard address.
#[must_use]
pub fn wildcard(v6: bool) -> IpAddr {
    if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
}

/// An address as AF_INET6 shows it.
#[must_use]
pub fn to_v6(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped(),
        IpAddr::V6(addr) => addr,
    }
}

fn port(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[2], bytes[3]])
}

/// The endpoint in a `struct sockaddr_in`, whatever family it says.
///
/// # Errors
/// `EINVAL` when it is too short.
pub fn read_v4(address: &Address) -> Result<Endpoint> {
    let bytes = address.bytes();
    if bytes.len() < IN_LEN {
        return Err(Errno::EINVAL);
    }
    let addr = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
    Ok(Endpoint { port: port(bytes), addr: IpAddr::V4(addr) })
}

/// The endpoint in a `struct sockaddr_in6`, whatever family it says; mapped ones are IPv4.
///
/// # Errors
/// `EINVAL` when it is too short.
pub fn read_v6(address: &Address) -> Result<Endpoint> {
    let bytes = address.bytes();
    let octets: [u8; 16] =
        bytes.get(8..IN6_LEAST).ok_or(Errno::EINVAL)?.try_into().map_err(|_| Errno::EINVAL)?;
    let addr = Ipv6Addr::from(octets);
    let addr = addr.to_ipv4_mapped().map_or(IpAddr::V6(addr), IpAddr::V4);
    Ok(Endpoint { port: port(bytes), addr })
}

/// What a socket is to be bound to.
///
/// # Errors
/// `EINVAL`, `EAFNOSUPPORT`.
pub fn for_bind(address: &Address, v6: bool) -> Result<Endpoint> {
    let family = address.family();
    if v6 {
        let endpoint = read_v6(address)?;
        return if family == Some(AF_INET6) { Ok(endpoint) } else { Err(Errno::EAFNOSUPPORT) };
    }
    let endpoint = read_v4(address)?;
    match family {
        Some(AF_INET) => Ok(endpoint),
        // Programs of old left the family out.
        Some(AF_UNSPEC) if endpoint.addr.is_unspecified() => Ok(endpoint),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// What a stream is to be connected to.
///
/// # Errors
/// `EINVAL`, `EAFNOSUPPORT`.
pub fn for_connect(address: &Address, v6: bool) -> Result<Endpoint> {
    let (endpoint, family) = if v6 { (read_v6(address)?, AF_INET6) } else { (read_v4(address)?, AF_INET) };
    if address.family() == Some(family) { Ok(endpoint) } else { Err(Errno::EAFNOSUPPORT) }
}

/// Where a datagram is to go. A socket of AF_INET6 takes both families.
///
/// # Errors
/// `EINVAL`, `EAFNOSUPPORT`.
pub fn for_datagram(address: &Address, v6: bool) -> Result<Endpoint> {
    match (v6, address.family()) {
        (true, Some(AF_INET6)) => read_v6(address),
        (true | false, Some(AF_INET)) => read_v4(address),
        (true, _) => Err(Errno::EINVAL),
        (false, family) => {
            let endpoint = read_v4(address)?;
            if family == Some(AF_UNSPEC) { Ok(endpoint) } else { Err(Errno::EAFNOSUPPORT) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hostile_addresses_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..130), v6: bool) {
            if let Ok(address) = Address::new(&bytes) {
                let _ = for_bind(&address, v6);
                let _ = for_connect(&address, v6);
                let _ = for_datagram(&address, v6);
            }
        }

        #[test]
        fn what_is_written_is_read(port: u16, four: u32, six: u128, mapped: bool) {
            let addr = if mapped { IpAddr::V4(four.into()) } else { IpAddr::V6(six.into()) };
            let endpoint = Endpoint { port, addr };
            let canonical = to_v6(addr).to_ipv4_mapped().map_or(addr, IpAddr::V4);
            prop_assert_eq!(for_bind(&endpoint.address(true), true), Ok(Endpoint { port, addr: canonical }));
            if mapped {
                prop_assert_eq!(for_connect(&endpoint.address(false), false), Ok(endpoint));
            }
        }
    }

    #[test]
    fn families_are_checked_as_linux_checks_them() {
        let four = Endpoint { port: 7, addr: IpAddr::V4(Ipv4Addr::LOCALHOST) }.address(false);
        let short = Address::new(&four.bytes()[..15]).expect("short");
        assert_eq!(for_bind(&short, false), Err(Errno::EINVAL));
        assert_eq!(for_bind(&four, true), Err(Errno::EINVAL));
        let unspecified = Address::new(&[0; 16]).expect("zeroes");
        assert!(for_bind(&unspecified, false).is_ok());
        assert_eq!(for_connect(&unspecified, false), Err(Errno::EAFNOSUPPORT));
    }
}
