//! Filters of requests for Internet sockets: `struct inet_diag_bc_op` (linux/inet_diag.h).
//!
//! An operation has a code and says how many bytes further it goes on if it is true, and if not. What comes to lie
//! exactly at the end takes the socket, what goes beyond does not. Every step goes forward, so a filter ends.

use alloc::{collections::BTreeSet, vec::Vec};
use core::net::IpAddr;

use crate::{
    errno::{Errno, Result},
    net::{AF_INET, AF_INET6, AF_UNSPEC, inet::shown::Shown, netlink::codec::half},
};

/// Bytes of an operation.
const OP: usize = 4;
/// Bytes of a `struct inet_diag_hostcond`, without its address.
const HOST: usize = 8;

/// Codes.
mod code {
    pub(super) const NOP: u8 = 0;
    pub(super) const JMP: u8 = 1;
    pub(super) const S_GE: u8 = 2;
    pub(super) const S_LE: u8 = 3;
    pub(super) const D_GE: u8 = 4;
    pub(super) const D_LE: u8 = 5;
    pub(super) const S_COND: u8 = 7;
    pub(super) const D_COND: u8 = 8;
    pub(super) const S_EQ: u8 = 11;
    pub(super) const D_EQ: u8 = 12;
}

/// A filter that was found to be well-formed.
#[derive(Debug)]
pub(super) struct Filter<'a>(&'a [u8]);

/// The operation at `at`: its code, and the steps if it is true and if not.
fn op(bytes: &[u8], at: usize) -> (u8, usize, usize) {
    (
        bytes.get(at).copied().unwrap_or(0),
        usize::from(bytes.get(at + 1).copied().unwrap_or(0)),
        usize::from(half(bytes, at + 2)),
    )
}

/// Bytes of an operation with what belongs to it.
fn size(bytes: &[u8], at: usize) -> Result<usize> {
    match op(bytes, at).0 {
        code::NOP | code::JMP => Ok(OP),
        code::S_GE | code::S_LE | code::D_GE | code::D_LE | code::S_EQ | code::D_EQ => Ok(2 * OP),
        code::S_COND | code::D_COND => {
            let host = bytes.get(at + OP..at + OP + HOST).ok_or(Errno::EINVAL)?;
            let most = match u16::from(host[0]) {
                AF_UNSPEC => 0,
                AF_INET => 4,
                AF_INET6 => 16,
                _ => return Err(Errno::EINVAL),
            };
            if usize::from(host[1]) > 8 * most { Err(Errno::EINVAL) } else { Ok(OP + HOST + most) }
        }
        _ => Err(Errno::EINVAL),
    }
}

impl<'a> Filter<'a> {
    /// Checks it.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self> {
        let (mut starts, mut targets) = (BTreeSet::new(), Vec::new());
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.len() - at;
            let size = size(bytes, at)?;
            let (code, yes, no) = op(bytes, at);
            let leads = |step: usize| step >= OP && step <= rest + OP && step.is_multiple_of(OP);
            if size > rest
                || yes < size && code != code::JMP
                || !leads(yes)
                || code != code::NOP && !leads(no)
            {
                return Err(Errno::EINVAL);
            }
            starts.insert(at);
            if code != code::NOP && no < rest {
                targets.push(at + no);
            }
            at += yes;
        }
        if at != bytes.len() || targets.iter().any(|target| !starts.contains(target)) {
            return Err(Errno::EINVAL);
        }
        Ok(Self(bytes))
    }

    /// Whether it takes a socket.
    pub(super) fn takes(&self, socket: &Shown) -> bool {
        let bytes = self.0;
        let (local, remote) = (socket.local, socket.remote());
        let mut at = 0;
        while at < bytes.len() {
            let (code, yes, no) = op(bytes, at);
            let number = half(bytes, at + OP + 2);
            let is = match code {
                code::NOP => true,
                code::S_GE => local.port >= number,
                code::S_LE => local.port <= number,
                code::D_GE => remote.port >= number,
                code::D_LE => remote.port <= number,
                code::S_EQ => local.port == number,
                code::D_EQ => remote.port == number,
                code::S_COND => is_host(&bytes[at + OP..], local.addr, local.port),
                code::D_COND => is_host(&bytes[at + OP..], remote.addr, remote.port),
                _ => false,
            };
            // Checked steps are not zero; one that was not ends here.
            match if is { yes } else { no } {
                0 => return false,
                step => at += step,
            }
        }
        at == bytes.len()
    }
}

/// Whether an end is one of those that a `struct inet_diag_hostcond` names.
fn is_host(condition: &[u8], addr: IpAddr, port: u16) -> bool {
    let Some((head, rest)) = condition.split_first_chunk::<HOST>() else { return false };
    let (family, bits) = (u16::from(head[0]), usize::from(head[1]));
    let wanted = i32::from_ne_bytes([head[4], head[5], head[6], head[7]]);
    if wanted != -1 && wanted != i32::from(port) {
        return false;
    }
    if bits == 0 {
        return true;
    }
    let prefix = |octets: &[u8]| {
        let (whole, part) = (bits / 8, bits % 8);
        let last = |bytes: &[u8]| bytes.get(whole).map(|byte| u16::from(*byte) >> (8 - part));
        octets.get(..whole).is_some_and(|octets| rest.get(..whole) == Some(octets))
            && (part == 0 || last(octets) == last(rest))
    };
    match (family, addr) {
        (AF_INET, IpAddr::V4(addr)) => prefix(&addr.octets()),
        (AF_INET6, IpAddr::V6(addr)) => prefix(&addr.octets()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::inet::{address::Endpoint, table::Flow};
    use proptest::prelude::*;

    fn socket(port: u16) -> Shown {
        let end = |port| Endpoint { port, addr: IpAddr::from([127, 0, 0, 1]) };
        Shown::ended(Flow { local: end(port), remote: end(9) }, 0)
    }

    fn between(from: u16, to: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (code, no, port) in [(code::S_GE, 20u16, from), (code::S_LE, 12, to)] {
            bytes.extend([code, 8]);
            bytes.extend(no.to_ne_bytes());
            bytes.extend([0, 0]);
            bytes.extend(port.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn ports_are_compared() {
        let code = between(10, 20);
        let filter = Filter::new(&code).expect("well-formed");
        assert_eq!(
            [9, 10, 15, 20, 21].map(|port| filter.takes(&socket(port))),
            [false, true, true, true, false]
        );
    }

    #[test]
    fn hosts_are_compared_by_their_prefix() {
        for (net, bits, expected) in [
            ([127, 0, 0, 0], 8, true),
            ([127, 0, 0, 0], 31, true),
            ([126, 0, 0, 1], 7, true),
            ([126, 0, 0, 1], 8, false),
        ] {
            let mut code = Vec::from([code::S_COND, 16, 20, 0, AF_INET as u8, bits, 0, 0]);
            code.extend((-1i32).to_ne_bytes());
            code.extend(net);
            assert_eq!(
                Filter::new(&code).expect("well-formed").takes(&socket(1)),
                expected,
                "{net:?}/{bits}"
            );
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for code in
            [&[0u8, 0, 0, 0][..], &[0, 8, 0, 0], &[1, 4, 2, 0], &[2, 8, 8, 0], &[99, 4, 4, 0], &[0, 4, 0]]
        {
            assert_eq!(Filter::new(code).err(), Some(Errno::EINVAL), "{code:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_filters_end(code in prop::collection::vec(prop_oneof![0u8..13, Just(4u8), Just(8)], 0..64)) {
            if let Ok(filter) = Filter::new(&code) {
                filter.takes(&socket(5));
            }
        }
    }
}
