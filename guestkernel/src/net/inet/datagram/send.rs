//! Sending a packet.

use alloc::{sync::Arc, vec::Vec};
use core::net::IpAddr;

use super::{
    Datagram, Failure, Kind, Message, UDP,
    arrive::{is_outside, udp_header},
    icmp::{self, Packet},
};
use crate::{
    arch::clock,
    errno::{Errno, Result},
    net::{
        MsgFlags, Sending, half,
        inet::{
            IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_UDP,
            address::{self, Endpoint},
            control::{self, Said},
            link,
            options::{SOL_IP, SOL_IPV6, ip, ip6},
            wire::{self, packet::V4_HEADER},
        },
    },
    uio::Source,
};

/// Most bytes of a packet's payload behind IP's header.
const IP_MAX: usize = 65535;
/// Bytes of a UDP header.
pub(super) const UDP_HEADER: usize = 8;
/// `IPPROTO_RAW`: the header comes from ring 3.
const IPPROTO_RAW: i32 = 255;
/// Most failures that are kept.
pub(super) const FAILURES_MAX: usize = 64;

/// Memory of a packet as Linux counts it: a descriptor and one piece with room for headers.
pub(super) fn charge(len: usize) -> usize {
    256 + (len + 64 + 320).next_power_of_two().max(512)
}

impl Datagram {
    pub(super) fn send_packet(&self, source: &mut Source<'_>, sending: &Sending<'_>) -> Result<usize> {
        let len = source.remaining();
        if len > IP_MAX {
            return Err(Errno::EMSGSIZE);
        }
        if sending.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let to = self.destination(sending)?;
        let v6 = to.addr.is_ipv6();
        let said = control::read(sending.control, v6)?;
        self.core.take_error()?;
        let source_addr = self.source(to, &said)?;
        self.check_broadcast(to.addr)?;
        let most = match (self.what, v6) {
            (Kind::Udp, false) => IP_MAX - V4_HEADER - UDP_HEADER,
            (Kind::Udp, true) => IP_MAX - UDP_HEADER,
            (_, false) => IP_MAX - V4_HEADER,
            (_, true) => IP_MAX,
        };
        let header = self.wants_header();
        if len > most + if header { V4_HEADER } else { 0 } {
            return Err(Errno::EMSGSIZE);
        }
        if self.core.is_shut(half::SEND) {
            return Err(Errno::EPIPE);
        }
        if !matches!(self.what, Kind::Raw(_)) {
            self.autobind()?;
        }
        let mut data = Vec::new();
        data.try_reserve_exact(len).map_err(|_| Errno::ENOBUFS)?;
        data.resize(len, 0);
        if len != 0 && source.read(&mut data)? != len {
            return Err(Errno::EFAULT);
        }
        let (ttl, tos) = self.ttl_and_tos(v6, &said);
        match self.what {
            Kind::Udp => self.send_udp(data, to, source_addr, ttl, tos)?,
            Kind::Ping => self.send_echo(data, to.addr, source_addr, ttl, tos)?,
            Kind::Raw(_) if header => self.send_with_header(&data, to.addr, source_addr)?,
            Kind::Raw(protocol) => self.send_raw(data, to.addr, source_addr, protocol as u8, ttl, tos)?,
        }
        Ok(len)
    }

    fn wants_header(&self) -> bool {
        !self.is_v6() && (self.values.flag(SOL_IP, ip::HDRINCL) || self.what == Kind::Raw(IPPROTO_RAW))
    }

    fn destination(&self, sending: &Sending<'_>) -> Result<Endpoint> {
        let mut to = match sending.to {
            None => self.inner.lock().remote.ok_or(Errno::EDESTADDRREQ)?,
            Some(address) => {
                let to = address::for_datagram(address, self.is_v6())?;
                if to.port == 0 && self.what == Kind::Udp {
                    return Err(Errno::EINVAL);
                }
                to
            }
        };
        if self.v6only() && to.addr.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        to.addr = link::destination(to.addr);
        Ok(to)
    }

    fn source(&self, to: Endpoint, said: &Said) -> Result<IpAddr> {
        let found = link::source_for(to.addr)?;
        let (local, own) = {
            let inner = self.inner.lock();
            (inner.local.addr, inner.has_own_address)
        };
        let addr = said.source.unwrap_or(if own && link::is_local(local) { local } else { found });
        // As Linux: nothing leaves from an address of the loopback.
        if is_outside(to.addr) && matches!(addr, IpAddr::V4(addr) if addr.is_loopback()) {
            return Err(Errno::EINVAL);
        }
        if addr.is_ipv4() == to.addr.is_ipv4() { Ok(addr) } else { Err(Errno::ENETUNREACH) }
    }

    fn ttl_and_tos(&self, v6: bool, said: &Said) -> (u8, u8) {
        let [ttl, tos] = if v6 {
            [(SOL_IPV6, ip6::UNICAST_HOPS), (SOL_IPV6, ip6::TCLASS)]
        } else {
            [(SOL_IP, ip::TTL), (SOL_IP, ip::TOS)]
        }
        .map(|(level, name)| self.values.number(level, name) as u8);
        (said.ttl.unwrap_or(ttl), said.tos.unwrap_or(tos))
    }

    fn send_udp(&self, data: Vec<u8>, to: Endpoint, source: IpAddr, ttl: u8, tos: u8) -> Result<()> {
        let from = Endpoint { addr: source, port: self.inner.lock().local.port };
        if is_outside(to.addr) || wire::is_server(to) {
            let head = udp_header(from, to, &data);
            return self.send_out((source, to.addr), (IPPROTO_UDP as u8, ttl, tos), [&head, &data]);
        }
        link::LO.traffic.count(1, data.len() + V4_HEADER + UDP_HEADER);
        let message = |data: Vec<u8>| Message {
            charge: charge(data.len()),
            data,
            from,
            to: to.addr,
            ttl,
            tos,
            time: clock::realtime_ns(),
        };
        if matches!(to.addr, IpAddr::V4(addr) if link::is_broadcast(addr)) {
            for socket in UDP.claimants(to.port) {
                let local = socket.inner.lock().local.addr;
                if local.is_unspecified() || local == to.addr {
                    socket.deliver(message(data.clone()));
                }
            }
            return Ok(());
        }
        match receiver(to, from) {
            Some(socket) => socket.deliver(message(data)),
            None => self.unreachable(data, to),
        }
        Ok(())
    }

    /// Nobody has the port: what comes back says so.
    fn unreachable(&self, data: Vec<u8>, to: Endpoint) {
        let v6 = to.addr.is_ipv6();
        let wants = if v6 && self.is_v6() {
            self.values.flag(SOL_IPV6, ip6::RECVERR)
        } else {
            self.values.flag(SOL_IP, ip::RECVERR)
        };
        let (kind, code) = if v6 { (1, 4) } else { (3, 3) };
        self.tell_failure(Failure { errno: Errno::ECONNREFUSED, kind, code, data, to }, wants, true);
    }

    fn send_echo(&self, mut data: Vec<u8>, to: IpAddr, from: IpAddr, ttl: u8, tos: u8) -> Result<()> {
        let v6 = to.is_ipv6();
        if data.len() < icmp::HEADER || data[0] != icmp::echo_types(v6).0 || data[1] != 0 {
            return Err(Errno::EINVAL);
        }
        let ident = self.inner.lock().local.port;
        data[4..6].copy_from_slice(&ident.to_be_bytes());
        data[2..4].fill(0);
        let sum = icmp::icmp_checksum(from, to, &data);
        data[2..4].copy_from_slice(&sum.to_be_bytes());
        let protocol = if v6 { IPPROTO_ICMPV6 } else { IPPROTO_ICMP } as u8;
        self.send_packet_of((from, to), (protocol, ttl, tos), &data)
    }

    /// Sends a packet that is complete but for IP's header.
    fn send_packet_of(
        &self,
        (from, to): (IpAddr, IpAddr),
        words: (u8, u8, u8),
        payload: &[u8],
    ) -> Result<()> {
        if is_outside(to) {
            return self.send_out((from, to), words, [payload, &[]]);
        }
        let (protocol, ttl, tos) = words;
        icmp::arrive(&Packet { from, to, protocol, ttl, tos, payload });
        Ok(())
    }

    fn send_raw(
        &self,
        mut data: Vec<u8>,
        to: IpAddr,
        from: IpAddr,
        protocol: u8,
        ttl: u8,
        tos: u8,
    ) -> Result<()> {
        if to.is_ipv6() && i32::from(protocol) == IPPROTO_ICMPV6 {
            // The kernel sums ICMPv6 messages, always.
            if data.len() < 4 {
                return Err(Errno::EINVAL);
            }
            data[2..4].fill(0);
            let sum = icmp::icmp_checksum(from, to, &data);
            data[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        self.send_packet_of((from, to), (protocol, ttl, tos), &data)
    }

    /// Sends what has its IPv4 header.
    fn send_with_header(&self, data: &[u8], to: IpAddr, source: IpAddr) -> Result<()> {
        let header = data.get(..V4_HEADER).ok_or(Errno::EINVAL)?;
        let header_len = usize::from(header[0] & 0xf) * 4;
        if header_len < V4_HEADER || header_len > data.len() {
            return Err(Errno::EINVAL);
        }
        let said = [header[12], header[13], header[14], header[15]];
        let from = if said == [0; 4] { source } else { IpAddr::from(said) };
        self.send_packet_of((from, to), (header[9], header[8], header[1]), &data[header_len..])
    }
}

/// The UDP socket that a packet is for; a connected one before others.
pub(super) fn receiver(to: Endpoint, from: Endpoint) -> Option<Arc<Datagram>> {
    UDP.find(to, from.port, |claim| match *claim.remote.lock() {
        None => Some(0),
        Some(remote) if remote == from => Some(4),
        Some(_) => None,
    })
}
