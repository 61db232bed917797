//! The interfaces of the sandbox and what can be reached through them.
//!
//! There is `lo`. An interface to the outside adds itself to [`interfaces`] with its addresses, and its route to
//! [`source_for`]; what reads them (ioctls, netlink, `/proc/net`) follows.

use alloc::vec::Vec;
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::errno::{Errno, Result};

/// `IFF_*` of an interface that is up.
pub mod flag {
    /// Up.
    pub const UP: u32 = 1;
    /// Loopback.
    pub const LOOPBACK: u32 = 8;
    /// Running.
    pub const RUNNING: u32 = 0x40;
    /// The link is there (netlink only).
    pub const LOWER_UP: u32 = 0x1_0000;
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The address.
    pub addr: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
}

/// An interface.
#[derive(Debug)]
pub struct Interface {
    /// Number.
    pub index: u32,
    /// Name.
    pub name: &'static str,
    /// Most bytes of a packet.
    pub mtu: u32,
    /// `IFF_*`.
    pub flags: u32,
    /// Addresses.
    pub addresses: &'static [Assigned],
    /// What went through it.
    pub traffic: Traffic,
}

/// Counters of an interface; what is sent through `lo` is received there as well.
#[derive(Debug)]
pub struct Traffic {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    /// Counts packets of altogether `bytes`.
    pub fn count(&self, packets: u64, bytes: usize) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Packets and bytes.
    #[must_use]
    pub fn read(&self) -> (u64, u64) {
        (self.packets.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// The loopback interface.
pub static LO: Interface = Interface {
    index: 1,
    name: "lo",
    mtu: 65536,
    flags: flag::UP | flag::LOOPBACK | flag::RUNNING,
    addresses: &[
        Assigned { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), prefix: 8 },
        Assigned { addr: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 },
    ],
    traffic: Traffic { packets: AtomicU64::new(0), bytes: AtomicU64::new(0) },
};

/// All of them.
#[must_use]
pub fn interfaces() -> Vec<&'static Interface> {
    alloc::vec![&LO]
}

/// The interface of this name.
#[must_use]
pub fn by_name(name: &[u8]) -> Option<&'static Interface> {
    interfaces().into_iter().find(|interface| interface.name.as_bytes() == name)
}

/// The interface of this number.
#[must_use]
pub fn by_index(index: u32) -> Option<&'static Interface> {
    interfaces().into_iter().find(|interface| interface.index == index)
}

/// Whether packets to `addr` come to this sandbox.
#[must_use]
pub fn is_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_loopback() && !is_broadcast(addr),
        IpAddr::V6(addr) => addr.is_loopback(),
    }
}

/// The broadcast address of the loopback network.
#[must_use]
pub fn is_broadcast(addr: Ipv4Addr) -> bool {
    addr == Ipv4Addr::new(127, 255, 255, 255)
}

/// Whether a socket may be bound to `addr`.
#[must_use]
pub fn may_bind(addr: IpAddr, stream: bool) -> bool {
    let group = match addr {
        IpAddr::V4(addr) => addr.is_multicast() || addr.is_broadcast() || is_broadcast(addr),
        IpAddr::V6(addr) => addr.is_multicast() && !stream,
    };
    addr.is_unspecified() || is_local(addr) || group
}

/// The address that packets to `to` come from, unless the socket has one.
///
/// # Errors
/// `ENETUNREACH` when nothing leads there.
pub fn source_for(to: IpAddr) -> Result<IpAddr> {
    match to {
        IpAddr::V4(addr) if addr.is_loopback() => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        IpAddr::V6(addr) if addr.is_loopback() => Ok(to),
        _ => Err(Errno::ENETUNREACH),
    }
}

/// The address that is meant: nobody's address is this machine's.
#[must_use]
pub fn destination(to: IpAddr) -> IpAddr {
    match to {
        IpAddr::V4(addr) if addr.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(addr) if addr.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        to => to,
    }
}
