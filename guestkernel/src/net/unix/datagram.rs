//! SOCK_DGRAM and SOCK_SEQPACKET: sending and receiving; connecting datagram sockets.

use alloc::{sync::Arc, vec::Vec};

use super::{
    Ancillary, Packet, State, UnixSocket, name,
    stream::{move_peek_offset, peek_offset},
    wait,
};
use crate::{
    errno::{Errno, Result},
    mem::PAGE_SIZE,
    net::{
        AF_UNSPEC, MsgFlags, Received, Receiving, SOCK_SEQPACKET, Sending, address::Address, control::Item,
        half,
    },
    uio::{Sink, Source},
};

/// Most bytes of a message in one piece of memory.
const MAX_PIECE: usize = 16064;

/// Where a message goes.
enum Delivery {
    Done,
    /// The receiver is full.
    Full(Packet),
    /// The receiver is gone.
    Gone(Packet),
}

impl UnixSocket {
    fn is_seqpacket(&self) -> bool {
        self.kind() == SOCK_SEQPACKET
    }

    pub(super) fn send_datagram(
        &self,
        source: &mut Source<'_>,
        sending: &Sending<'_>,
        mut ancillary: Ancillary,
    ) -> Result<usize> {
        if self.is_seqpacket() {
            self.core.take_error()?;
            if self.inner.lock().state != State::Connected {
                return Err(Errno::ENOTCONN);
            }
        }
        if sending.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let to = sending.to.filter(|_| !self.is_seqpacket());
        let target = match to {
            Some(address) => {
                name::check(address)?;
                None
            }
            None => Some(self.inner.lock().peer.clone().ok_or(Errno::ENOTCONN)?),
        };
        if self.core.options.passcred() {
            self.autobind()?;
        }
        let len = source.remaining();
        if len > (self.core.options.sndbuf() as usize).saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        let deadline = self.core.send_deadline(sending.flags.contains(MsgFlags::DONTWAIT));
        self.wait_for_room(deadline)?;
        let own = self.inner.lock().name.clone();
        let paged = len.saturating_sub(MAX_PIECE).next_multiple_of(PAGE_SIZE as usize);
        let mut packet = Packet::new(&self.core, source, len, paged, own)?;
        packet.carry(&mut ancillary);
        self.send_packet(packet, to, target, deadline)?;
        Ok(len)
    }

    fn send_packet(
        &self,
        mut packet: Packet,
        to: Option<&Address>,
        mut target: Option<Arc<Self>>,
        deadline: Option<u64>,
    ) -> Result<()> {
        loop {
            let other = match (&target, to) {
                (Some(other), _) => other.clone(),
                (None, Some(address)) => name::find(address, self.kind())?,
                (None, None) => return Err(Errno::ECONNRESET),
            };
            if self.core.options.passcred() || other.core.options.passcred() {
                packet.sign();
            }
            match self.deliver(&other, packet)? {
                Delivery::Done => {
                    other.core.readable.wake_all();
                    return Ok(());
                }
                Delivery::Full(back) => {
                    packet = back;
                    wait(&self.core.writable, deadline, || {
                        let blocked = self.peer_is_full(&other) && !other.core.is_shut(half::RECEIVE);
                        (!blocked).then_some(())
                    })?;
                }
                Delivery::Gone(back) => {
                    packet = back;
                    if self.is_seqpacket() {
                        return Err(Errno::EPIPE);
                    }
                    self.lose_peer(&other)?;
                    target = None;
                }
            }
        }
    }

    fn deliver(&self, other: &Arc<Self>, packet: Packet) -> Result<Delivery> {
        let mut inner = other.inner.lock();
        let theirs = inner.peer.as_ref().is_some_and(|peer| self.is_me(peer));
        if inner.peer.is_some() && !theirs {
            return Err(Errno::EPERM);
        }
        if inner.dead {
            return Ok(Delivery::Gone(packet));
        }
        if other.core.is_shut(half::RECEIVE) {
            return Err(Errno::EPIPE);
        }
        if !theirs && !self.is_me(other) && inner.is_full() {
            return Ok(Delivery::Full(packet));
        }
        other.push(&mut inner, packet);
        Ok(Delivery::Done)
    }

    /// The default destination is gone.
    fn lose_peer(&self, other: &Arc<Self>) -> Result<()> {
        {
            let mut inner = self.inner.lock();
            if !inner.peer.as_ref().is_some_and(|peer| Arc::ptr_eq(peer, other)) {
                return Ok(());
            }
            inner.peer = None;
            inner.state = State::Unconnected;
        }
        self.disconnected(other);
        Err(Errno::ECONNREFUSED)
    }

    /// Drops what the old peer sent; it is told when it still thinks that it is connected.
    fn disconnected(&self, old: &Arc<Self>) {
        let packets = self.purge();
        if packets.is_empty() {
            return;
        }
        drop(packets);
        self.wake_waiting();
        let connected = {
            let inner = old.inner.lock();
            !inner.dead && inner.peer.as_ref().is_some_and(|peer| self.is_me(peer))
        };
        if connected {
            old.core.set_error(Errno::ECONNRESET);
            old.core.changed();
        }
    }

    pub(super) fn connect_datagram(&self, to: &Address) -> Result<()> {
        let other = match to.family().ok_or(Errno::EINVAL)? {
            AF_UNSPEC => None,
            _ => {
                name::check(to)?;
                if self.core.options.passcred() {
                    self.autobind()?;
                }
                let other = name::find(to, self.kind())?;
                let mut inner = other.inner.lock();
                if inner.peer.as_ref().is_some_and(|peer| !self.is_me(peer)) {
                    return Err(Errno::EPERM);
                }
                inner.state = State::Connected;
                drop(inner);
                Some(other)
            }
        };
        let old = {
            let mut inner = self.inner.lock();
            inner.state = if other.is_some() { State::Connected } else { State::Unconnected };
            core::mem::replace(&mut inner.peer, other.clone())
        };
        if let Some(old) = old
            && !other.as_ref().is_some_and(|other| Arc::ptr_eq(other, &old))
        {
            self.disconnected(&old);
            let mut inner = old.inner.lock();
            if inner.peer.is_none() {
                inner.state = State::Unconnected;
            }
        }
        self.core.writable.wake_all();
        Ok(())
    }

    pub(super) fn receive_datagram(&self, sink: &mut Sink<'_>, receiving: Receiving) -> Result<Received> {
        let flags = receiving.flags;
        if self.is_seqpacket() && self.inner.lock().state != State::Connected {
            return Err(Errno::ENOTCONN);
        }
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let deadline = self.core.receive_deadline(flags.contains(MsgFlags::DONTWAIT));
        loop {
            self.core.take_error()?;
            {
                let _io = self.io.lock();
                if let Some((packet, skip)) = self.next_datagram(flags) {
                    return self.read_datagram(&packet, skip, sink, receiving);
                }
            }
            let shut = self.core.is_shut(half::RECEIVE);
            if shut && (self.is_seqpacket() || deadline != Some(0)) {
                return Ok(Received::default());
            }
            // With an offset to peek at, only more messages than there are help.
            let seen = self.queued.load(core::sync::atomic::Ordering::SeqCst);
            let peeks = flags.contains(MsgFlags::PEEK);
            wait(&self.core.readable, deadline, || {
                let queued = self.queued.load(core::sync::atomic::Ordering::SeqCst);
                let more = if peeks { queued > seen } else { queued != 0 };
                (more || self.core.is_shut(half::RECEIVE) || self.core.has_error()).then_some(())
            })?;
        }
    }

    /// The message to be read and where in it.
    fn next_datagram(&self, flags: MsgFlags) -> Option<(Arc<Packet>, usize)> {
        let inner = self.inner.lock();
        if !flags.contains(MsgFlags::PEEK) {
            return inner.queue.front().cloned().map(|packet| (packet, 0));
        }
        let mut skip = peek_offset(&self.core.options);
        for packet in &inner.queue {
            if skip == 0 || skip < packet.remaining() {
                return Some((packet.clone(), skip));
            }
            skip -= packet.remaining();
        }
        None
    }

    fn read_datagram(
        &self,
        packet: &Arc<Packet>,
        skip: usize,
        sink: &mut Sink<'_>,
        receiving: Receiving,
    ) -> Result<Received> {
        let peek = receiving.flags.contains(MsgFlags::PEEK);
        let bytes = &packet.bytes()[skip..];
        let len = bytes.len().min(sink.remaining());
        if !peek {
            // As in Linux it is gone even when it cannot be stored.
            self.pop(packet);
            self.wake_waiting();
        }
        if len != 0 && sink.write(&bytes[..len])? != len {
            return Err(Errno::EFAULT);
        }
        let mut received = Received { len, ..Received::default() };
        if len < bytes.len() {
            received.flags |= MsgFlags::TRUNC;
        }
        if receiving.flags.contains(MsgFlags::TRUNC) {
            received.len = bytes.len();
        }
        if receiving.wants_address {
            received.from = packet.name.as_ref().map(|name| name.address());
        }
        if self.core.options.passcred() {
            received.control.push(Item::Credentials(packet.cred()));
        }
        let files: Option<Vec<_>> = if peek {
            move_peek_offset(&self.core.options, len as i64);
            packet.peek_files()
        } else {
            move_peek_offset(&self.core.options, -(packet.remaining() as i64));
            packet.take_files()
        };
        received.control.extend(files.map(Item::Rights));
        Ok(received)
    }
}
