//! Options of the levels IP, IPv6 and TCP (ip(7), ipv6(7), tcp(7)).
//!
//! Nearly all are a number within limits: they are data, in [`KNOWN`]. What is not is in the sockets' own files.

use core::sync::atomic::{AtomicI32, Ordering};

use crate::{
    errno::{Errno, Result},
    net::options::{OptionIn, OptionOut},
};

/// `SOL_IP`.
pub const SOL_IP: i32 = 0;
/// `SOL_TCP`.
pub const SOL_TCP: i32 = 6;
/// `SOL_IPV6`.
pub const SOL_IPV6: i32 = 41;

/// Numbers of options of `SOL_IP`.
pub mod ip {
    #![allow(missing_docs, reason = "ip(7) documents them")]
    pub const TOS: u32 = 1;
    pub const TTL: u32 = 2;
    pub const HDRINCL: u32 = 3;
    pub const PKTINFO: u32 = 8;
    pub const MTU_DISCOVER: u32 = 10;
    pub const RECVERR: u32 = 11;
    pub const RECVTTL: u32 = 12;
    pub const RECVTOS: u32 = 13;
    pub const MTU: u32 = 14;
    pub const FREEBIND: u32 = 15;
    pub const RECVORIGDSTADDR: u32 = 20;
    pub const MINTTL: u32 = 21;
    pub const BIND_ADDRESS_NO_PORT: u32 = 24;
    pub const MULTICAST_IF: u32 = 32;
    pub const MULTICAST_TTL: u32 = 33;
    pub const MULTICAST_LOOP: u32 = 34;
    pub const ADD_MEMBERSHIP: u32 = 35;
    pub const DROP_MEMBERSHIP: u32 = 36;
    pub const MULTICAST_ALL: u32 = 49;
}

/// Numbers of options of `SOL_IPV6`.
pub mod ip6 {
    #![allow(missing_docs, reason = "ipv6(7) documents them")]
    pub const UNICAST_HOPS: u32 = 16;
    pub const MULTICAST_HOPS: u32 = 18;
    pub const MULTICAST_LOOP: u32 = 19;
    pub const JOIN_GROUP: u32 = 20;
    pub const LEAVE_GROUP: u32 = 21;
    pub const MTU_DISCOVER: u32 = 23;
    pub const MTU: u32 = 24;
    pub const RECVERR: u32 = 25;
    pub const V6ONLY: u32 = 26;
    pub const RECVPKTINFO: u32 = 49;
    pub const PKTINFO: u32 = 50;
    pub const RECVHOPLIMIT: u32 = 51;
    pub const HOPLIMIT: u32 = 52;
    pub const DONTFRAG: u32 = 62;
    pub const RECVTCLASS: u32 = 66;
    pub const TCLASS: u32 = 67;
}

/// Numbers of options of `SOL_TCP`.
pub mod tcp {
    #![allow(missing_docs, reason = "tcp(7) documents them")]
    pub const NODELAY: u32 = 1;
    pub const MAXSEG: u32 = 2;
    pub const CORK: u32 = 3;
    pub const KEEPIDLE: u32 = 4;
    pub const KEEPINTVL: u32 = 5;
    pub const KEEPCNT: u32 = 6;
    pub const SYNCNT: u32 = 7;
    pub const LINGER2: u32 = 8;
    pub const DEFER_ACCEPT: u32 = 9;
    pub const WINDOW_CLAMP: u32 = 10;
    pub const INFO: u32 = 11;
    pub const QUICKACK: u32 = 12;
    pub const CONGESTION: u32 = 13;
    pub const USER_TIMEOUT: u32 = 18;
    pub const NOTSENT_LOWAT: u32 = 25;
}

/// Which sockets have an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    All,
    /// All but streams.
    Packets,
    /// Raw sockets.
    Raw,
}

/// A number that can be set.
#[derive(Debug)]
struct Known {
    level: i32,
    name: u32,
    low: i32,
    high: i32,
    default: i32,
    /// Shown for -1, which means that the default of the network holds.
    unset: i32,
    on: On,
}

const fn number(level: i32, name: u32, (low, high): (i32, i32), default: i32) -> Known {
    Known { level, name, low, high, default, unset: default, on: On::All }
}

/// On or off.
const fn flag(level: i32, name: u32) -> Known {
    number(level, name, (0, 1), 0)
}

const COUNT: usize = 38;

static KNOWN: [Known; COUNT] = [
    number(SOL_IP, ip::TOS, (0, 255), 0),
    Known { default: -1, unset: 64, ..number(SOL_IP, ip::TTL, (1, 255), 64) },
    Known { on: On::Raw, ..flag(SOL_IP, ip::HDRINCL) },
    flag(SOL_IP, ip::PKTINFO),
    number(SOL_IP, ip::MTU_DISCOVER, (0, 5), 1),
    flag(SOL_IP, ip::RECVERR),
    flag(SOL_IP, ip::RECVTTL),
    flag(SOL_IP, ip::RECVTOS),
    flag(SOL_IP, ip::FREEBIND),
    flag(SOL_IP, ip::RECVORIGDSTADDR),
    number(SOL_IP, ip::MINTTL, (0, 255), 0),
    flag(SOL_IP, ip::BIND_ADDRESS_NO_PORT),
    Known { on: On::Packets, ..number(SOL_IP, ip::MULTICAST_TTL, (0, 255), 1) },
    Known { default: 1, ..flag(SOL_IP, ip::MULTICAST_LOOP) },
    Known { default: 1, ..flag(SOL_IP, ip::MULTICAST_ALL) },
    Known { default: -1, unset: 64, ..number(SOL_IPV6, ip6::UNICAST_HOPS, (0, 255), 64) },
    Known { on: On::Packets, ..number(SOL_IPV6, ip6::MULTICAST_HOPS, (0, 255), 1) },
    Known { default: 1, ..flag(SOL_IPV6, ip6::MULTICAST_LOOP) },
    number(SOL_IPV6, ip6::MTU_DISCOVER, (0, 5), 1),
    flag(SOL_IPV6, ip6::RECVERR),
    flag(SOL_IPV6, ip6::V6ONLY),
    flag(SOL_IPV6, ip6::RECVPKTINFO),
    flag(SOL_IPV6, ip6::RECVHOPLIMIT),
    flag(SOL_IPV6, ip6::DONTFRAG),
    flag(SOL_IPV6, ip6::RECVTCLASS),
    Known { default: -1, unset: 0, ..number(SOL_IPV6, ip6::TCLASS, (0, 255), 0) },
    flag(SOL_TCP, tcp::NODELAY),
    flag(SOL_TCP, tcp::CORK),
    number(SOL_TCP, tcp::KEEPIDLE, (1, 32767), 7200),
    number(SOL_TCP, tcp::KEEPINTVL, (1, 32767), 75),
    number(SOL_TCP, tcp::KEEPCNT, (1, 127), 9),
    number(SOL_TCP, tcp::SYNCNT, (1, 127), 6),
    number(SOL_TCP, tcp::LINGER2, (i32::MIN, 120), 60),
    number(SOL_TCP, tcp::DEFER_ACCEPT, (i32::MIN, i32::MAX), 0),
    number(SOL_TCP, tcp::WINDOW_CLAMP, (0, i32::MAX), 0),
    Known { default: 1, ..flag(SOL_TCP, tcp::QUICKACK) },
    number(SOL_TCP, tcp::USER_TIMEOUT, (0, i32::MAX), 0),
    number(SOL_TCP, tcp::NOTSENT_LOWAT, (i32::MIN, i32::MAX), 0),
];

impl Known {
    fn is_flag(&self) -> bool {
        (self.low, self.high) == (0, 1)
    }
}

/// The values of a socket's options.
#[derive(Debug)]
pub struct Values {
    numbers: [AtomicI32; COUNT],
    stream: bool,
    raw: bool,
}

fn place(level: i32, name: u32) -> Option<usize> {
    KNOWN.iter().position(|known| known.level == level && known.name == name)
}

/// An `int`, or at level IP what a `char` holds.
fn value_of(level: i32, value: OptionIn) -> Result<i32> {
    match value.len {
        4.. => value.get(),
        1..4 if level == SOL_IP => value.get::<u8>().map(i32::from),
        _ => Err(Errno::EINVAL),
    }
}

impl Values {
    /// Of a new socket.
    #[must_use]
    pub fn new(stream: bool, raw: bool) -> Self {
        Self { numbers: core::array::from_fn(|at| AtomicI32::new(KNOWN[at].default)), stream, raw }
    }

    /// Takes over another socket's.
    pub fn copy(&self, from: &Self) {
        for (to, from) in self.numbers.iter().zip(&from.numbers) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The value of an option that there is.
    #[must_use]
    pub fn number(&self, level: i32, name: u32) -> i32 {
        place(level, name).map_or(0, |at| match self.numbers[at].load(Ordering::Relaxed) {
            -1 if KNOWN[at].default == -1 => KNOWN[at].unset,
            value => value,
        })
    }

    /// Whether a flag is on.
    #[must_use]
    pub fn flag(&self, level: i32, name: u32) -> bool {
        self.number(level, name) != 0
    }

    fn has(&self, known: &Known) -> Result<()> {
        match known.on {
            On::All => Ok(()),
            On::Packets if self.stream && known.level == SOL_IPV6 => Err(Errno::ENOPROTOOPT),
            On::Packets if self.stream => Err(Errno::EINVAL),
            On::Raw if !self.raw => Err(Errno::ENOPROTOOPT),
            On::Packets | On::Raw => Ok(()),
        }
    }

    /// Sets a number.
    ///
    /// # Errors
    /// `ENOPROTOOPT` for an option that there is not, `EINVAL`, `EFAULT`.
    pub fn set(&self, level: i32, name: u32, value: OptionIn) -> Result<()> {
        let at = place(level, name).ok_or(Errno::ENOPROTOOPT)?;
        let known = &KNOWN[at];
        let mut value = value_of(level, value)?;
        self.has(known)?;
        let unset = value == -1 && (known.default == -1 || known.on == On::Packets);
        value = match (level, name) {
            // A switch that takes nothing but its two positions.
            (SOL_IPV6, ip6::MULTICAST_LOOP) if value != value & 1 => return Err(Errno::EINVAL),
            _ if known.is_flag() => i32::from(value != 0),
            _ if unset => known.default,
            // The congestion bits of a stream are its own.
            (SOL_IP, ip::TOS) => value & if self.stream { 0xfc } else { 0xff },
            // Seconds, at most two minutes; negative = not at all, 0 = as long as usual.
            (SOL_TCP, tcp::LINGER2) => match value {
                0 => known.default,
                value => value.clamp(-1, 120),
            },
            _ if !(known.low..=known.high).contains(&value) => return Err(Errno::EINVAL),
            (SOL_IPV6, ip6::TCLASS) if self.stream => value & 0xfc,
            _ => value,
        };
        self.numbers[at].store(value, Ordering::Relaxed);
        Ok(())
    }

    /// Shows a number.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EFAULT`.
    pub fn get(&self, level: i32, name: u32, to: OptionOut) -> Result<()> {
        place(level, name).ok_or(Errno::ENOPROTOOPT)?;
        put(level, self.number(level, name), to)
    }
}

/// Stores a number as its level does it.
///
/// # Errors
/// `EFAULT`.
pub fn put(level: i32, value: i32, to: OptionOut) -> Result<()> {
    match u8::try_from(value) {
        Ok(byte) if level == SOL_IP && (1..4).contains(&to.len) => to.put(&byte),
        _ => to.put(&value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_there_once_and_its_default_is_allowed() {
        for (at, known) in KNOWN.iter().enumerate() {
            assert_eq!(place(known.level, known.name), Some(at));
            assert!(known.default == -1 || (known.low..=known.high).contains(&known.default));
        }
        let values = Values::new(true, false);
        assert_eq!(values.number(SOL_IP, ip::TTL), 64);
        assert_eq!(values.number(SOL_TCP, tcp::KEEPIDLE), 7200);
        assert!(values.flag(SOL_IP, ip::MULTICAST_LOOP));
    }
}
