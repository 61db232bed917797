//! Receiving a packet, or what became of one.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use super::{Datagram, Kind, Message};
use crate::{
    errno::{Errno, Result},
    net::{
        MsgFlags, Received, Receiving,
        common::wait,
        control::{Item, SOL_SOCKET},
        half,
        inet::{
            address::Endpoint,
            control::{item, packet_info},
            options::{SOL_IP, SOL_IPV6, ip, ip6},
        },
        options::so,
    },
    time::NSEC_PER_SEC,
    uio::Sink,
};

/// Where an error came from, in a `struct sock_extended_err`.
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

impl Datagram {
    pub(super) fn receive_packet(&self, sink: &mut Sink<'_>, receiving: Receiving) -> Result<Received> {
        let flags = receiving.flags;
        if flags.contains(MsgFlags::ERRQUEUE) {
            return self.receive_failure(sink);
        }
        if flags.contains(MsgFlags::OOB) && self.what != Kind::Udp {
            return Err(Errno::EOPNOTSUPP);
        }
        let deadline = self.core.receive_deadline(flags.contains(MsgFlags::DONTWAIT));
        loop {
            self.core.take_error()?;
            if let Some(message) = self.next(flags.contains(MsgFlags::PEEK)) {
                return self.read(&message, sink, receiving);
            }
            if self.core.is_shut(half::RECEIVE) && deadline != Some(0) {
                return Ok(Received::default());
            }
            wait(&self.core.readable, deadline, || {
                let ended = self.core.has_error() || self.core.is_shut(half::RECEIVE);
                (self.has_queued() || ended).then_some(())
            })?;
        }
    }

    fn next(&self, peek: bool) -> Option<Arc<Message>> {
        let mut inner = self.inner.lock();
        if peek {
            return inner.queue.front().cloned();
        }
        let message = inner.queue.pop_front()?;
        inner.charged = inner.charged.saturating_sub(message.charge);
        self.queued.store(inner.queue.len(), Ordering::SeqCst);
        Some(message)
    }

    fn read(&self, message: &Message, sink: &mut Sink<'_>, receiving: Receiving) -> Result<Received> {
        let len = message.data.len().min(sink.remaining());
        if len != 0 && sink.write(&message.data[..len])? != len {
            return Err(Errno::EFAULT);
        }
        let mut received = Received { len, ..Received::default() };
        if len < message.data.len() {
            received.flags |= MsgFlags::TRUNC;
            if receiving.flags.contains(MsgFlags::TRUNC) {
                received.len = message.data.len();
            }
        }
        received.from = receiving.wants_address.then(|| message.from.address(self.is_v6()));
        self.tell(message, &mut received);
        Ok(received)
    }

    /// The control messages that were asked for.
    fn tell(&self, message: &Message, received: &mut Received) {
        let mut put = |what: Item| received.control.push(what);
        if self.core.options.flag(so::TIMESTAMP) {
            let time = [message.time / NSEC_PER_SEC, message.time % NSEC_PER_SEC / 1000];
            let bytes: Vec<u8> = time.iter().flat_map(|word| word.to_ne_bytes()).collect();
            put(item(SOL_SOCKET, so::TIMESTAMP, &bytes));
        }
        let (ttl, tos) = (i32::from(message.ttl), message.tos);
        // A socket of AF_INET6 is told in IPv6's words, of packets of IPv4 too in IPv4's.
        if self.is_v6() {
            if self.values.flag(SOL_IPV6, ip6::RECVPKTINFO) {
                put(packet_info(message.to, message.from.addr, true));
            }
            if message.to.is_ipv6() {
                if self.values.flag(SOL_IPV6, ip6::RECVHOPLIMIT) {
                    put(item(SOL_IPV6, ip6::HOPLIMIT, &ttl.to_ne_bytes()));
                }
                if self.values.flag(SOL_IPV6, ip6::RECVTCLASS) {
                    put(item(SOL_IPV6, ip6::TCLASS, &i32::from(tos).to_ne_bytes()));
                }
                return;
            }
        }
        if self.values.flag(SOL_IP, ip::PKTINFO) {
            put(packet_info(message.to, message.from.addr, false));
        }
        if self.values.flag(SOL_IP, ip::RECVTTL) {
            put(item(SOL_IP, ip::TTL, &ttl.to_ne_bytes()));
        }
        if self.values.flag(SOL_IP, ip::RECVTOS) {
            put(item(SOL_IP, ip::TOS, &[tos]));
        }
    }

    /// `MSG_ERRQUEUE`.
    fn receive_failure(&self, sink: &mut Sink<'_>) -> Result<Received> {
        let failure = {
            let mut inner = self.inner.lock();
            let failure = inner.failures.pop_front();
            self.failed.store(!inner.failures.is_empty(), Ordering::SeqCst);
            failure
        };
        let failure = failure.ok_or(Errno::EAGAIN)?;
        // The error is told here; the next call is not to fail with it too.
        self.core.take_error_code();
        let len = failure.data.len().min(sink.remaining());
        if len != 0 && sink.write(&failure.data[..len])? != len {
            return Err(Errno::EFAULT);
        }
        let mut received = Received { len, flags: MsgFlags::ERRQUEUE, ..Received::default() };
        if len < failure.data.len() {
            received.flags |= MsgFlags::TRUNC;
        }
        received.from = Some(failure.to.address(self.is_v6()));
        let v6 = failure.to.addr.is_ipv6();
        let mut data = Vec::new();
        data.extend_from_slice(&failure.errno.code().to_ne_bytes());
        let origin = if v6 { ORIGIN_ICMP6 } else { ORIGIN_ICMP };
        data.extend_from_slice(&[origin, failure.kind, failure.code, 0]);
        data.extend_from_slice(&[0; 8]);
        // Who said so: the machine that it was for.
        let offender = Endpoint { port: 0, addr: failure.to.addr }.address(v6);
        data.extend_from_slice(offender.bytes());
        let (level, name) = if v6 { (SOL_IPV6, ip6::RECVERR) } else { (SOL_IP, ip::RECVERR) };
        received.control.push(item(level, name, &data));
        Ok(received)
    }
}
