//! AF_INET and AF_INET6.
//!
//! [`tcp`] are streams, [`datagram`] everything else: UDP, ICMP echo sockets and raw ones. [`link`] knows the
//! interfaces and what can be reached, [`table`] who has which port, [`options`] the options that are numbers.
//! There is the loopback interface; a packet for it goes from one socket's call straight into the other's queue.

pub mod address;
pub mod control;
pub mod datagram;
pub mod ioctl;
pub mod link;
pub mod options;
pub mod proc;
pub mod settings;
pub mod shown;
pub mod table;
pub mod tcp;
pub mod wire;

use alloc::sync::Arc;
use core::net::IpAddr;

use self::{address::Endpoint, datagram::Kind};
use super::{AF_INET6, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, Socket};
use crate::{
    arch::try_current,
    errno::{Errno, Result},
    task::cred::Caps,
};

/// `IPPROTO_ICMP`.
pub const IPPROTO_ICMP: i32 = 1;
/// `IPPROTO_UDP`.
pub const IPPROTO_UDP: i32 = 17;
/// `IPPROTO_ICMPV6`.
pub const IPPROTO_ICMPV6: i32 = 58;
/// One more than the highest protocol.
const PROTOCOL_MAX: i32 = 263;

/// Whether the caller has one of these capabilities; there is no caller in unit tests.
pub(super) fn capable(caps: Caps) -> bool {
    try_current().is_some_and(|me| me.with_cred(|cred| cred.effective.intersects(caps)))
}

/// Whether a socket may be bound to `at`.
///
/// # Errors
/// `EINVAL`, `EADDRNOTAVAIL`, `EACCES`.
fn may_bind(at: Endpoint, v6only: bool, stream: bool) -> Result<()> {
    if v6only && at.addr.is_ipv4() || stream && at.addr.is_ipv6() && at.addr.is_multicast() {
        return Err(Errno::EINVAL);
    }
    // An address of one link says nothing without its number.
    if matches!(at.addr, IpAddr::V6(addr) if addr.is_unicast_link_local() || addr.octets()[..2] == [0xff, 2])
    {
        return Err(Errno::EINVAL);
    }
    if !link::may_bind(at.addr, stream) {
        return Err(Errno::EADDRNOTAVAIL);
    }
    if at.port != 0 && i64::from(at.port) < settings::PORT_START.get() && !capable(Caps::NET_BIND_SERVICE) {
        return Err(Errno::EACCES);
    }
    Ok(())
}

/// A new socket.
///
/// # Errors
/// As socket(2).
pub fn create(family: u16, kind: u32, protocol: i32) -> Result<Arc<dyn Socket>> {
    if !(0..PROTOCOL_MAX).contains(&protocol) {
        return Err(Errno::EINVAL);
    }
    let v6 = family == AF_INET6;
    let icmp = if v6 { IPPROTO_ICMPV6 } else { IPPROTO_ICMP };
    match (kind, protocol) {
        (SOCK_STREAM, 0 | tcp::IPPROTO_TCP) => Ok(tcp::create(v6)),
        (SOCK_DGRAM, 0 | IPPROTO_UDP) => Ok(datagram::create(v6, Kind::Udp)?),
        (SOCK_DGRAM, protocol) if protocol == icmp => {
            settings::check_ping_group()?;
            Ok(datagram::create(v6, Kind::Ping)?)
        }
        (SOCK_RAW, 0) => Err(Errno::EPROTONOSUPPORT),
        (SOCK_RAW, _) if !capable(Caps::NET_RAW) => Err(Errno::EPERM),
        (SOCK_RAW, protocol) if protocol < 256 => Ok(datagram::create(v6, Kind::Raw(protocol))?),
        (SOCK_STREAM | SOCK_DGRAM | SOCK_RAW, _) => Err(Errno::EPROTONOSUPPORT),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}
