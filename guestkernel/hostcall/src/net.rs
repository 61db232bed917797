//! Frames between the sentry and the container's network interface.
//!
//! Two rings of bytes, one for each direction, and a page of counters that both sides share. A ring holds records:
//! a [`NetFrame`] and the Ethernet frame behind it, filled up to [`NET_ALIGN`]. A record lies in one piece; where the
//! rest of the ring is too short for it, a record of length [`NET_SKIP`] says that the next one is at the start.
//! Counters are bytes since the start and never wrap in the life of a sandbox. A side that has nothing to do sets its
//! `waits` word and looks once more; the other clears it and rings: the sentry by a write to [`NET_DOORBELL_PORT`], the
//! VMM by [`EventFlags::NETWORK`](crate::EventFlags::NETWORK).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The I/O port whose write wakes the thread that moves frames.
pub const NET_DOORBELL_PORT: u16 = 0x5248;
/// Bytes of each ring.
pub const NET_RING: u64 = 512 << 10;
/// Records begin at multiples of this.
pub const NET_ALIGN: u64 = 16;
/// Longest frame in bytes: a packet of IP and its Ethernet header.
pub const NET_FRAME_MAX: u32 = 65_536 + 16;
/// [`NetFrame::len`] of a record that only fills the rest of the ring.
pub const NET_SKIP: u32 = u32::MAX;

/// Where in the page of counters those of frames for the sentry begin.
pub const NET_TO_SENTRY: u64 = 0;
/// Where those of frames from the sentry begin.
pub const NET_FROM_SENTRY: u64 = 256;
/// A 64-bit word after that: bytes that were put into the ring.
pub const NET_PRODUCED: u64 = 0;
/// 1 while the side that puts waits for room.
pub const NET_PRODUCER_WAITS: u64 = 8;
/// Bytes that were taken out.
pub const NET_CONSUMED: u64 = 64;
/// 1 while the side that takes waits for more.
pub const NET_CONSUMER_WAITS: u64 = 72;

/// [`NetFrame::flags`]: the checksum from `csum_start` on is still to be put at `csum_offset` behind that.
pub const NET_NEEDS_CHECKSUM: u8 = 1;
/// [`NetFrame::flags`]: the checksum has been looked at.
pub const NET_CHECKSUM_VALID: u8 = 2;
/// [`NetFrame::gso_type`]: segments of TCP over IPv4.
pub const NET_GSO_TCP4: u8 = 1;
/// [`NetFrame::gso_type`]: segments of TCP over IPv6.
pub const NET_GSO_TCP6: u8 = 4;

/// What stands before a frame: its length, and the host's `struct virtio_net_hdr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NetFrame {
    /// Bytes of the frame.
    pub len: u32,
    /// `NET_NEEDS_CHECKSUM` and the like.
    pub flags: u8,
    /// What the frame is to be cut into; 0 = nothing.
    pub gso_type: u8,
    /// Bytes of all headers.
    pub hdr_len: u16,
    /// Bytes of each piece.
    pub gso_size: u16,
    /// Where the checksum starts.
    pub csum_start: u16,
    /// Where it is put, from there.
    pub csum_offset: u16,
    /// Where it came from or goes to: [`NET_PORT_WIRE`] or [`NET_PORT_INNER`].
    pub port: u16,
}

/// [`NetFrame::port`]: the container's interface.
pub const NET_PORT_WIRE: u16 = 0;
/// [`NetFrame::port`]: the loopback interface that the host's stack has in the container's network namespace.
pub const NET_PORT_INNER: u16 = 1;

const _: () = assert!(size_of::<NetFrame>() as u64 == NET_ALIGN);

/// Where in a [`NetFrame`] the host's header begins, and its length.
pub const NET_HOST_HEADER: (u64, usize) = (4, 10);

/// Bytes that a frame takes in a ring.
#[must_use]
pub const fn net_record(len: u32) -> u64 {
    NET_ALIGN + (len as u64).next_multiple_of(NET_ALIGN)
}

/// Most addresses, routes or neighbours that are taken over.
pub const NET_LIST_MAX: usize = 256;

/// An address of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetAddress {
    /// The address.
    pub addr: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// The address that reaches all of the network.
    pub broadcast: Option<IpAddr>,
}

/// A route through the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetRoute {
    /// Where it leads.
    pub to: IpAddr,
    /// Bits of `to` that count; 0 = everywhere.
    pub bits: u8,
    /// Who passes packets on; without one the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The lowest is taken.
    pub metric: u32,
    /// The address that packets come from.
    pub source: Option<IpAddr>,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// `RTPROT_*`.
    pub protocol: u8,
}

/// A server of names in the container's network namespace, on the loopback interface of the host's stack there, as
/// Docker has one for user-defined networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetNames {
    /// Its ports: datagrams and connections to [`NET_NAMES`], port 53, go there.
    pub udp: u16,
    /// The same of TCP.
    pub tcp: u16,
    /// The container's address, from which the server asks others.
    pub own: Ipv4Addr,
}

/// The address at which Docker's server of names listens.
pub const NET_NAMES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The network interface of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Its name.
    pub name: Vec<u8>,
    /// Its number.
    pub index: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Most bytes of a packet.
    pub mtu: u32,
    /// Most packets that wait to be sent, as programs are told.
    pub queue: u32,
    /// Where its other end is: the number of an interface, and the number of the namespace that has it.
    pub peer: Option<(u32, u32)>,
    /// Addresses.
    pub addresses: Vec<NetAddress>,
    /// Routes.
    pub routes: Vec<NetRoute>,
    /// Who is known already.
    pub neighbours: Vec<(IpAddr, [u8; 6])>,
    /// A server of names on the other side of [`NET_PORT_INNER`].
    pub names: Option<NetNames>,
}
