//! Sending and receiving.

use core::sync::atomic::Ordering;

use super::{
    Peer, State, Tcp, Urgent,
    flow::Flow,
    queue::{CHUNK_MAX, Chunk, Reader},
};
use crate::{
    errno::{Errno, Result},
    net::{
        MsgFlags, Received, Receiving, Sending, broken_pipe,
        common::wait,
        half,
        inet::{control, link},
        options::so,
    },
    uio::{Sink, Source},
};

/// Pieces up to this long are put together, bytes.
const SMALL: usize = 512;

/// What a look at the queue gave.
struct Look {
    copied: Result<usize>,
    /// An urgent byte is in the way.
    at_mark: bool,
    /// How much had come when it was taken over.
    seen: u64,
}

/// The other end takes nothing any more.
pub(super) struct Refused;

impl Tcp {
    /// Takes bytes in, `f` puts them into the queue.
    fn take_in(
        &self,
        len: usize,
        urgent: Option<u8>,
        f: impl FnOnce(&mut alloc::collections::VecDeque<Chunk>) -> Result<()>,
    ) -> Result<core::result::Result<(), Refused>> {
        {
            let mut inner = self.inner.lock();
            if inner.orphan || matches!(inner.state, State::Closed | State::Listen) {
                return Ok(Err(Refused));
            }
            f(&mut inner.inbox)?;
            inner.pushed += len as u64;
            if let Some(byte) = urgent {
                inner.urgent = Some(Urgent { at: inner.pushed - 1, byte, read: false });
                self.has_urgent.store(true, Ordering::SeqCst);
            }
            self.queued.fetch_add(len, Ordering::SeqCst);
        }
        self.core.readable.wake_all();
        Ok(Ok(()))
    }

    /// Takes bytes in that came by the wire.
    pub(super) fn take_bytes(&self, bytes: &[u8]) -> Result<core::result::Result<(), Refused>> {
        if self.core.is_shut(half::RECEIVE) {
            // Nobody reads them.
            return Ok(Ok(()));
        }
        self.take_in(bytes.len(), None, |inbox| {
            if inbox.back_mut().is_some_and(|chunk| chunk.append(bytes)) {
                return Ok(());
            }
            let mut chunk = if bytes.len() <= SMALL { Chunk::small()? } else { Chunk::new(bytes.len())? };
            chunk.append(bytes);
            inbox.push_back(chunk);
            Ok(())
        })
    }

    /// Copies one piece over to `peer`.
    fn pass(
        &self,
        peer: &Self,
        source: &mut Source<'_>,
        len: usize,
        urgent: bool,
    ) -> Result<core::result::Result<usize, Refused>> {
        if len <= SMALL {
            let mut bytes = [0; SMALL];
            let len = source.read(&mut bytes[..len])?;
            let bytes = &bytes[..len];
            let taken = peer.take_in(len, bytes.last().copied().filter(|_| urgent), |inbox| {
                if !inbox.back_mut().is_some_and(|chunk| chunk.append(bytes)) {
                    let mut chunk = Chunk::small()?;
                    chunk.append(bytes);
                    inbox.push_back(chunk);
                }
                Ok(())
            })?;
            return Ok(taken.map(|()| len));
        }
        let spare = if len >= CHUNK_MAX / 2 { peer.inner.lock().spare.take() } else { None };
        let mut chunk = match spare {
            Some(chunk) => chunk,
            None if len >= CHUNK_MAX / 2 => Chunk::new(CHUNK_MAX)?,
            None => Chunk::new(len)?,
        };
        chunk.fill(len, |room| source.read(room))?;
        let len = chunk.bytes().len();
        let last = chunk.bytes().last().copied().filter(|_| urgent);
        let taken = peer.take_in(len, last, |inbox| {
            inbox.push_back(chunk);
            Ok(())
        })?;
        Ok(taken.map(|()| len))
    }

    /// The other end, once there is one.
    fn connected_peer(&self, deadline: Option<u64>) -> Result<Peer> {
        loop {
            {
                let inner = self.inner.lock();
                match (inner.state, &inner.peer) {
                    (State::Established | State::CloseWait, Some(peer)) => return Ok(peer.clone()),
                    (State::SynSent, _) => {}
                    _ => {
                        drop(inner);
                        self.core.take_error()?;
                        return Err(Errno::EPIPE);
                    }
                }
            }
            self.core.take_error()?;
            wait(&self.core.writable, deadline, || (self.state() != State::SynSent).then_some(()))?;
        }
    }

    pub(super) fn send_stream(&self, source: &mut Source<'_>, sending: &Sending<'_>) -> Result<usize> {
        control::check(sending.control)?;
        match self.try_send(source, sending.flags) {
            Err(Errno::EPIPE) => {
                self.core.take_error()?;
                broken_pipe(sending.flags);
                Err(Errno::EPIPE)
            }
            result => result,
        }
    }

    fn try_send(&self, source: &mut Source<'_>, flags: MsgFlags) -> Result<usize> {
        let deadline = self.core.send_deadline(flags.contains(MsgFlags::DONTWAIT));
        let peer = match self.connected_peer(deadline)? {
            Peer::Here(peer) => peer,
            Peer::Wire(flow) => return self.send_by_wire(&flow, source, flags, deadline),
        };
        let mut writer = Some(self.writer.lock());
        let mut sent = 0;
        loop {
            if self.core.has_error() || self.core.is_shut(half::SEND) {
                return if sent != 0 { Ok(sent) } else { Err(Errno::EPIPE) };
            }
            if source.remaining() == 0 {
                return Ok(sent);
            }
            let room = self.capacity(&peer).saturating_sub(peer.queued());
            if room == 0 {
                drop(writer.take());
                let waited = wait(&self.core.writable, deadline, || {
                    let ended = self.core.has_error() || self.core.is_shut(half::SEND);
                    (self.has_room(&peer) || ended).then_some(())
                });
                if let Err(error) = waited {
                    if deadline == Some(0) {
                        // Whoever polls next is to be told when there is room.
                        peer.sender_waits.store(true, Ordering::SeqCst);
                    }
                    return if sent != 0 { Ok(sent) } else { Err(error) };
                }
                writer = Some(self.writer.lock());
                continue;
            }
            let len = source.remaining().min(room).min(CHUNK_MAX);
            let last = len == source.remaining();
            match self.pass(&peer, source, len, last && flags.contains(MsgFlags::OOB)) {
                Ok(Ok(step)) => {
                    sent += step;
                    self.sent.fetch_add(step as u64, Ordering::Relaxed);
                    link::LO.traffic.count(2, step + 104);
                }
                Ok(Err(Refused)) => {
                    // As on a wire this data is sent, and answered with a reset.
                    self.take_rst();
                    return Ok(sent + len);
                }
                Err(error) => return if sent != 0 { Ok(sent) } else { Err(error) },
            }
        }
    }

    /// Sends to somebody outside.
    fn send_by_wire(
        &self,
        flow: &Flow,
        source: &mut Source<'_>,
        flags: MsgFlags,
        deadline: Option<u64>,
    ) -> Result<usize> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut writer = Some(self.writer.lock());
        let (mut sent, all) = (0, source.remaining());
        let mut chunk = Chunk::new(all.clamp(1, CHUNK_MAX))?;
        loop {
            if self.core.has_error() || self.core.is_shut(half::SEND) {
                return if sent != 0 { Ok(sent) } else { Err(Errno::EPIPE) };
            }
            if source.remaining() == 0 {
                return Ok(sent);
            }
            let room = flow.room(self);
            if room == 0 {
                drop(writer.take());
                let waited = wait(&self.core.writable, deadline, || {
                    let ended = self.core.has_error() || self.core.is_shut(half::SEND);
                    (flow.has_room(self) || ended).then_some(())
                });
                if let Err(error) = waited {
                    return if sent != 0 { Ok(sent) } else { Err(error) };
                }
                writer = Some(self.writer.lock());
                continue;
            }
            let copied = chunk.fill(source.remaining().min(room), |room| source.read(room));
            let written = copied.and_then(|()| {
                let more = source.remaining() != 0 || flags.contains(MsgFlags::MORE);
                let mut choices = self.choices();
                choices.cork |= more;
                flow.write(chunk.bytes(), choices)
            });
            match written {
                Ok(()) => {
                    sent += chunk.bytes().len();
                    self.sent.fetch_add(chunk.bytes().len() as u64, Ordering::Relaxed);
                }
                Err(error) => return if sent != 0 { Ok(sent) } else { Err(error) },
            }
        }
    }

    pub(super) fn receive_stream(&self, sink: &mut Sink<'_>, receiving: Receiving) -> Result<Received> {
        let flags = receiving.flags;
        if flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        if self.state() == State::Listen {
            return Err(Errno::ENOTCONN);
        }
        if flags.contains(MsgFlags::OOB) {
            return self.receive_urgent(sink, flags);
        }
        let wanted = sink.remaining();
        let target = self.core.options.target(wanted, flags.contains(MsgFlags::WAITALL));
        let deadline = self.core.receive_deadline(flags.contains(MsgFlags::DONTWAIT));
        let mut copied = 0;
        loop {
            let look = {
                let mut reader = self.reader.lock();
                self.take_some(&mut reader, sink, wanted, copied, flags)
            };
            match look.copied {
                Ok(step) => copied += step,
                Err(_) if copied != 0 => break,
                Err(error) => return Err(error),
            }
            // More has come since this look: whatever ended meanwhile, that was before it.
            let more = || self.inner.lock().pushed != look.seen;
            if copied >= target || look.at_mark || wanted == 0 && self.queued() != 0 {
                break;
            }
            if copied != 0 {
                let ended = self.core.has_error() || self.is_ended() || deadline == Some(0);
                if ended && !more() {
                    break;
                }
            } else if (self.core.has_error() || self.is_ended()) && more() {
                continue;
            } else if self.inner.lock().done {
                break;
            } else {
                self.core.take_error()?;
                if self.core.is_shut(half::RECEIVE) {
                    break;
                }
                if self.state() == State::Closed {
                    return Err(Errno::ENOTCONN);
                }
            }
            let waited = wait(&self.core.readable, deadline, || {
                (more() || self.core.has_error() || self.is_ended()).then_some(())
            });
            match waited {
                Ok(()) => {}
                Err(Errno::EAGAIN) if more() => {}
                Err(_) if copied != 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Received { len: copied, ..Received::default() })
    }

    /// Nothing more will come.
    fn is_ended(&self) -> bool {
        self.core.is_shut(half::RECEIVE) || self.state() == State::Closed
    }

    /// Copies what there is.
    fn take_some(
        &self,
        reader: &mut Reader,
        sink: &mut Sink<'_>,
        wanted: usize,
        copied: usize,
        flags: MsgFlags,
    ) -> Look {
        let (peek, discard) = (flags.contains(MsgFlags::PEEK), flags.contains(MsgFlags::TRUNC));
        let inline = self.core.options.flag(so::OOBINLINE);
        // Where this look begins, and how far it has come.
        let begin = if peek { copied } else { 0 };
        let (mut skip, mut done) = (begin, 0);
        let mut result = Ok(());
        let mut at_mark = false;
        while copied + done < wanted {
            if reader.piece(skip).is_none() {
                let mut inner = self.inner.lock();
                reader.take_over(&mut inner.inbox);
                reader.seen = inner.pushed;
            }
            let mut limit = wanted - copied - done;
            // Not locked in what follows.
            let urgent = if self.has_urgent.load(Ordering::SeqCst) { self.inner.lock().urgent } else { None };
            if let Some(urgent) = urgent
                && let Some(distance) = urgent.at.checked_sub(reader.offset + skip as u64)
            {
                if distance != 0 {
                    limit = limit.min(distance as usize);
                } else if copied + done != 0 {
                    at_mark = true;
                    break;
                } else if !inline && reader.piece(skip).is_some() {
                    // It is read by itself or not at all.
                    if peek {
                        skip += 1;
                    } else {
                        self.consume(reader, 1);
                    }
                    continue;
                }
            }
            let Some(piece) = reader.piece(skip) else { break };
            let piece = &piece[..piece.len().min(limit)];
            let step = if discard { Ok(piece.len()) } else { sink.write(piece) };
            let step = match step {
                Ok(0) => break,
                Ok(step) => step,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            let short = step < piece.len();
            done += step;
            if peek {
                skip += step;
            } else {
                self.consume(reader, step);
                self.got.fetch_add(step as u64, Ordering::Relaxed);
            }
            if short {
                break;
            }
        }
        let copied = match result {
            Err(error) if done == 0 => Err(error),
            _ => Ok(done),
        };
        Look { copied, at_mark, seen: reader.seen }
    }

    /// Forgets bytes that were read, and lets a sender that waits go on.
    fn consume(&self, reader: &mut Reader, len: usize) {
        if let Some(spare) = reader.consume(len) {
            self.inner.lock().spare = Some(spare);
        }
        if self.has_urgent.load(Ordering::Relaxed) {
            let mut inner = self.inner.lock();
            if inner.urgent.is_some_and(|urgent| urgent.at < reader.offset) {
                inner.urgent = None;
                self.has_urgent.store(false, Ordering::SeqCst);
            }
        }
        self.queued.fetch_sub(len, Ordering::SeqCst);
        if self.by_wire.load(Ordering::Relaxed) {
            self.note_room();
            return;
        }
        if self.sender_waits.load(Ordering::SeqCst) {
            let peer = self.inner.lock().peer.clone();
            if let Some(Peer::Here(peer)) = peer {
                self.sender_waits.store(false, Ordering::SeqCst);
                // Sets the mark again where there is not enough room yet.
                if peer.has_room(self) {
                    peer.core.writable.wake_all();
                }
            }
        }
    }

    fn receive_urgent(&self, sink: &mut Sink<'_>, flags: MsgFlags) -> Result<Received> {
        let (urgent, state, done) = {
            let inner = self.inner.lock();
            (inner.urgent, inner.state, inner.done)
        };
        let urgent = urgent.filter(|urgent| !urgent.read && !self.core.options.flag(so::OOBINLINE));
        let urgent = urgent.ok_or(Errno::EINVAL)?;
        if state == State::Closed && !done {
            return Err(Errno::ENOTCONN);
        }
        let mut received = Received { flags: MsgFlags::OOB, ..Received::default() };
        if sink.remaining() == 0 {
            received.flags |= MsgFlags::TRUNC;
        } else {
            received.len = sink.write(&[urgent.byte])?;
        }
        if !flags.contains(MsgFlags::PEEK)
            && let Some(now) = &mut self.inner.lock().urgent
        {
            now.read |= now.at == urgent.at;
        }
        Ok(received)
    }

    /// Whether the next byte is the urgent one.
    pub(super) fn is_at_mark(&self) -> bool {
        let reader = self.reader.lock();
        let offset = reader.offset;
        self.inner.lock().urgent.is_some_and(|urgent| urgent.at == offset)
    }
}
