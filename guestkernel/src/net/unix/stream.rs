//! SOCK_STREAM: sending and receiving.

use alloc::sync::Arc;

use super::{Ancillary, Packet, State, UnixSocket, wait};
use crate::{
    errno::{Errno, Result},
    mem::PAGE_SIZE,
    net::{
        MsgFlags, Received, Receiving, Sending, broken_pipe,
        control::{Item, Ucred},
        half,
        options::Options,
    },
    uio::{Sink, Source},
};

/// Most bytes of a message in pages besides.
const MAX_PAGED: usize = 32768;
/// What of a message's bytes lies in one piece before pages are used.
const HEAD: usize = 3776;

/// How many bytes the next message has, and how many of them are in pages.
fn piece(left: usize, sndbuf: usize) -> (usize, usize) {
    let len = left.min(sndbuf / 2 - 64).min(HEAD + MAX_PAGED);
    (len, len.min(len.saturating_sub(HEAD).next_multiple_of(PAGE_SIZE as usize)))
}

/// Where a reader stands.
struct Reading {
    received: Received,
    copied: usize,
    /// Message that comes next; the first, unless it peeks.
    index: usize,
    /// Bytes of it to pass over.
    skip: usize,
    /// Whose messages they are.
    cred: Option<crate::net::control::Ucred>,
}

/// What to do after a message.
#[derive(PartialEq, Eq)]
enum Then {
    Go,
    Stop,
}

impl UnixSocket {
    pub(super) fn send_stream(
        &self,
        source: &mut Source<'_>,
        sending: &Sending<'_>,
        mut ancillary: Ancillary,
    ) -> Result<usize> {
        if sending.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let (peer, name, state) = {
            let inner = self.inner.lock();
            (inner.peer.clone(), inner.name.clone(), inner.state)
        };
        if sending.to.is_some() {
            return Err(if state == State::Connected { Errno::EISCONN } else { Errno::EOPNOTSUPP });
        }
        let peer = peer.ok_or(Errno::ENOTCONN)?;
        let mut sent = 0;
        if self.core.is_shut(half::SEND) {
            broken_pipe(sending.flags);
            return Err(Errno::EPIPE);
        }
        let deadline = self.core.send_deadline(sending.flags.contains(MsgFlags::DONTWAIT));
        while source.remaining() != 0 {
            let (len, paged) = piece(source.remaining(), self.core.options.sndbuf() as usize);
            let packet = self
                .wait_for_room(deadline)
                .and_then(|()| Packet::new(&self.core, source, len, paged, name.clone()));
            let mut packet = match packet {
                Ok(packet) => packet,
                Err(error) => return if sent != 0 { Ok(sent) } else { Err(error) },
            };
            packet.carry(&mut ancillary);
            if self.core.options.passcred() || peer.core.options.passcred() {
                packet.sign();
            }
            if !peer.take_in(packet) {
                if sent != 0 {
                    return Ok(sent);
                }
                broken_pipe(sending.flags);
                return Err(Errno::EPIPE);
            }
            sent += len;
        }
        Ok(sent)
    }

    /// Takes a message of a connection in, unless it is closed.
    fn take_in(&self, packet: Packet) -> bool {
        {
            let mut inner = self.inner.lock();
            if inner.dead || self.core.is_shut(half::RECEIVE) {
                drop(inner);
                return false;
            }
            self.push(&mut inner, packet);
        }
        self.core.readable.wake_all();
        true
    }

    pub(super) fn receive_stream(&self, sink: &mut Sink<'_>, receiving: Receiving) -> Result<Received> {
        let flags = receiving.flags;
        if flags.contains(MsgFlags::OOB) || self.inner.lock().state != State::Connected {
            return Err(Errno::EINVAL);
        }
        let peek = flags.contains(MsgFlags::PEEK);
        let options = &self.core.options;
        let target = options.target(sink.remaining(), flags.contains(MsgFlags::WAITALL) && !peek);
        let deadline = self.core.receive_deadline(flags.contains(MsgFlags::DONTWAIT));
        let mut reading = Reading {
            received: Received::default(),
            copied: 0,
            index: 0,
            skip: if peek { peek_offset(options) } else { 0 },
            cred: None,
        };
        let mut io = Some(self.io.lock());
        loop {
            let next = self.inner.lock().queue.get(reading.index).cloned();
            let step = match next {
                Some(packet) => self.take_from(&packet, sink, receiving, &mut reading),
                None if reading.copied >= target => break,
                None => {
                    // Lets other readers in meanwhile.
                    drop(io.take());
                    let step = self.wait_for_data(deadline, reading.index);
                    io = Some(self.io.lock());
                    step
                }
            };
            match step {
                Ok(Then::Go) => {}
                Ok(Then::Stop) => break,
                Err(_) if reading.copied != 0 => break,
                Err(error) => return Err(error),
            }
        }
        if reading.cred.is_none() && options.passcred() {
            // At the end of the stream there is nobody whose they could be.
            reading.received.control.push(Item::Credentials(Ucred::default()));
        }
        reading.received.len = reading.copied;
        Ok(reading.received)
    }

    /// Waits for more than `seen` messages; [`Then::Stop`] at the end of the stream.
    fn wait_for_data(&self, deadline: Option<u64>, seen: usize) -> Result<Then> {
        let more = || self.queued.load(core::sync::atomic::Ordering::SeqCst) > seen;
        let shared = &*self.core;
        shared.take_error()?;
        if shared.is_shut(half::RECEIVE) {
            // What was sent before the end counts.
            return Ok(if more() { Then::Go } else { Then::Stop });
        }
        if deadline == Some(0) {
            return if more() { Ok(Then::Go) } else { Err(Errno::EAGAIN) };
        }
        wait(&shared.readable, deadline, || {
            (more() || shared.is_shut(half::RECEIVE) || shared.has_error()).then_some(())
        })?;
        Ok(Then::Go)
    }

    fn take_from(
        &self,
        packet: &Arc<Packet>,
        sink: &mut Sink<'_>,
        receiving: Receiving,
        reading: &mut Reading,
    ) -> Result<Then> {
        let peek = receiving.flags.contains(MsgFlags::PEEK);
        let options = &self.core.options;
        if reading.skip != 0 && reading.skip >= packet.remaining() {
            reading.skip -= packet.remaining();
            reading.index += 1;
            return Ok(Then::Go);
        }
        match reading.cred {
            Some(cred) if cred != packet.cred() => return Ok(Then::Stop),
            None if options.passcred() => {
                reading.cred = Some(packet.cred());
                reading.received.control.push(Item::Credentials(packet.cred()));
            }
            _ => {}
        }
        if receiving.wants_address && reading.received.from.is_none() {
            reading.received.from = packet.name.as_ref().map(|name| name.address());
        }
        let bytes = &packet.bytes()[reading.skip..];
        let len = bytes.len().min(sink.remaining());
        if len != 0 && sink.write(&bytes[..len])? != len {
            return Err(Errno::EFAULT);
        }
        reading.copied += len;
        let files = if peek {
            move_peek_offset(options, len as i64);
            packet.peek_files()
        } else {
            packet.consume(len);
            move_peek_offset(options, -(len as i64));
            packet.take_files()
        };
        let carried = files.is_some();
        reading.received.control.extend(files.map(Item::Rights));
        if peek {
            reading.skip = 0;
            reading.index += 1;
        } else if packet.remaining() != 0 {
            return Ok(Then::Stop);
        } else {
            self.pop(packet);
        }
        Ok(if carried || sink.remaining() == 0 { Then::Stop } else { Then::Go })
    }
}

/// Where a peek starts.
pub(super) fn peek_offset(options: &Options) -> usize {
    options.peek_offset.load(core::sync::atomic::Ordering::Relaxed).max(0) as usize
}

/// Moves where the next peek starts, if it moves at all.
pub(super) fn move_peek_offset(options: &Options, by: i64) {
    use core::sync::atomic::Ordering;
    let old = options.peek_offset.load(Ordering::Relaxed);
    if old >= 0 && (by > 0 || old > 0) {
        let new = (i64::from(old) + by).clamp(0, i32::MAX.into());
        options.peek_offset.store(new as i32, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::piece;

    #[test]
    fn messages_are_cut_as_linux_cuts_them() {
        assert_eq!(piece(1, 212_992), (1, 0));
        assert_eq!(piece(5000, 212_992), (5000, 4096));
        assert_eq!(piece(1 << 20, 212_992), (36544, 32768));
        assert_eq!(piece(1 << 20, 4608).0, 2240);
    }
}
