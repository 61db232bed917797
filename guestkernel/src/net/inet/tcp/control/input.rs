//! What a segment does to a connection (RFC 9293, section 3.10.7; RFC 5961 for what might be forged).

use super::{ACK_DELAY, BASE, Control, Event, GAPS, Io, LINGER, MS, State, extend};
use crate::{
    errno::Errno,
    net::inet::tcp::segment::{Flags, Head},
};

/// What remains to be done with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Rest {
    /// Nothing.
    None,
    /// It opens another connection with the same numbers: this one is over.
    Opens,
}

impl Control {
    /// Takes a segment in.
    pub(in super::super) fn segment(&mut self, head: &Head, data: &[u8], now: u64, io: &mut dyn Io) -> Rest {
        match self.state {
            State::Closed => return Rest::None,
            State::SynSent => self.segment_first(head, now, io),
            State::TimeWait => return self.segment_late(head, data, now, io),
            _ => self.segment_open(head, data, now, io),
        }
        if self.state != State::Closed {
            self.output(now, io);
        }
        Rest::None
    }

    /// The answer to a SYN.
    fn segment_first(&mut self, head: &Head, now: u64, io: &mut dyn Io) {
        let acknowledges = head.flags.contains(Flags::ACK);
        if acknowledges && extend(self.nxt, head.ack) != self.nxt {
            if !head.flags.contains(Flags::RST) {
                self.refuse(head.ack, io);
            }
            return;
        }
        if head.flags.contains(Flags::RST) {
            if acknowledges {
                self.fail(Errno::ECONNREFUSED, io);
            }
            return;
        }
        if !head.flags.contains(Flags::SYN) {
            return;
        }
        self.agree(head);
        (self.tries, self.resend_at) = (0, None);
        if acknowledges {
            self.measure(head, self.nxt, now);
            self.una = self.nxt;
            self.state = State::Established;
            self.trip.calm();
            self.ack_now = true;
            self.is_alive(now);
            io.tell(Event::Established);
        } else {
            // Both opened at once.
            self.state = State::SynReceived;
            self.send_syn(now, io);
        }
    }

    /// A segment after the end.
    fn segment_late(&mut self, head: &Head, data: &[u8], now: u64, io: &mut dyn Io) -> Rest {
        let seq = extend(self.expected, head.seq);
        if head.flags.contains(Flags::RST) {
            // A forged one must not shorten the wait.
            return Rest::None;
        }
        if head.flags.contains(Flags::SYN) && !head.flags.contains(Flags::ACK) && seq > self.expected {
            self.close(io);
            return Rest::Opens;
        }
        if head.flags.intersects(Flags::SYN | Flags::FIN) || !data.is_empty() || seq != self.expected {
            self.linger_at = Some(now + LINGER);
            self.send_ack(now, io);
        }
        Rest::None
    }

    fn segment_open(&mut self, head: &Head, data: &[u8], now: u64, io: &mut dyn Io) {
        let seq = extend(self.expected, head.seq);
        let len = data.len() as u64 + u64::from(head.flags.contains(Flags::FIN));
        let reset = head.flags.contains(Flags::RST);
        // The other end repeats its SYN: it did not hear the answer.
        if self.state == State::SynReceived && head.flags.contains(Flags::SYN) && seq + 1 == self.expected {
            self.send_syn(now, io);
            return;
        }
        let old = match (self.timestamps, head.options.timestamps) {
            (Some(last), Some((theirs, _))) => theirs.wrapping_sub(last).cast_signed() < 0,
            _ => false,
        };
        let fits = if len == 0 {
            (self.expected..=self.edge).contains(&seq)
        } else {
            seq + len > self.expected && seq < self.edge.max(self.expected + 1)
        };
        if old && !reset || !fits {
            if !reset {
                self.send_ack(now, io);
            }
            return;
        }
        if reset {
            if seq == self.expected {
                self.fail(
                    if self.state == State::SynReceived { Errno::ECONNREFUSED } else { Errno::ECONNRESET },
                    io,
                );
            } else {
                self.send_ack(now, io);
            }
            return;
        }
        if head.flags.contains(Flags::SYN) {
            self.send_ack(now, io);
            return;
        }
        if !head.flags.contains(Flags::ACK) {
            return;
        }
        let ack = extend(self.una, head.ack);
        if self.state == State::SynReceived {
            if ack != self.nxt {
                self.refuse(head.ack, io);
                return;
            }
            self.measure(head, ack, now);
            (self.una, self.tries, self.resend_at) = (ack, 0, None);
            self.state = State::Established;
            self.trip.calm();
            self.set_window(seq, ack, head.window);
            io.tell(Event::Established);
        }
        if ack > self.nxt || ack + self.window_max + BASE / 2 < self.una {
            self.send_ack(now, io);
            return;
        }
        self.is_alive(now);
        if let (Some(_), Some((theirs, _))) = (self.timestamps, head.options.timestamps)
            && seq <= self.expected
        {
            self.timestamps = Some(theirs);
        }
        self.acknowledge_to(head, data, seq, ack, now, io);
        if self.state != State::Closed {
            self.receive(head, data, seq, now, io);
        }
    }

    fn set_window(&mut self, seq: u64, ack: u64, window: u16) {
        if (seq, ack) >= self.window_at {
            self.window = u64::from(window) << self.their_scale;
            self.window_max = self.window_max.max(self.window);
            self.window_at = (seq, ack);
        }
    }

    /// How long the round trip of what `ack` acknowledges took.
    fn measure(&mut self, head: &Head, ack: u64, now: u64) {
        let echoed = match (self.timestamps, head.options.timestamps) {
            (Some(_), Some((_, echo))) if echo != 0 => Some(echo),
            _ => None,
        };
        if let Some((until, since)) = self.trip.probe
            && ack >= until
        {
            self.trip.probe = None;
            self.trip.sample(now.saturating_sub(since));
        } else if let Some(echo) = echoed {
            let trip = u64::from(self.time(now).wrapping_sub(echo));
            // A time that the other end made up.
            if trip < 120_000 && self.trip.probe.is_none() {
                self.trip.sample(trip * MS);
            }
        }
    }

    fn acknowledge_to(&mut self, head: &Head, data: &[u8], seq: u64, ack: u64, now: u64, io: &mut dyn Io) {
        let window = self.window;
        if ack >= self.una {
            self.set_window(seq, ack, head.window);
        }
        if self.sack {
            for (start, end) in &head.options.sacks {
                let (start, end) = (extend(self.una, *start), extend(self.una, *end));
                self.congestion.note(start, end, (ack.max(self.una), self.nxt));
            }
        }
        if ack > self.una {
            let (acked, flight) = (ack - self.una, self.congestion.pipe(self.una, self.nxt));
            self.measure(head, ack, now);
            self.una = ack;
            let gone = ack.saturating_sub(self.base).min(self.buffer.len() as u64);
            self.buffer.drain(..gone as usize);
            self.base += gone;
            self.congestion.acknowledged(ack, acked, flight);
            self.trip.calm();
            self.tries = 0;
            self.resend_at = (self.nxt > self.una).then(|| now + self.trip.timeout());
            if gone != 0 {
                self.tell_room(io);
            }
            if self.ends && ack == self.last() {
                self.end_acknowledged(now, io);
            }
        } else if ack == self.una && self.nxt > self.una && data.is_empty() && self.window == window {
            self.congestion.duplicates += 1;
        }
        if ack == self.una && self.nxt == self.una && self.last() > self.nxt {
            // An answer to a look whether the window is open.
            self.tries = 0;
        }
        if self.nxt > self.una && self.congestion.is_lossy(self.una, self.nxt) {
            self.resend_at = Some(now + self.trip.timeout());
        }
    }

    /// Our FIN has arrived.
    fn end_acknowledged(&mut self, now: u64, io: &mut dyn Io) {
        match self.state {
            State::FinWait1 => {
                self.state = State::FinWait2;
                if self.orphan {
                    self.linger_at = Some(now + LINGER);
                }
            }
            State::Closing => self.begin_time_wait(now),
            State::LastAck => self.close(io),
            _ => {}
        }
    }

    /// Takes data and the end of the stream.
    fn receive(&mut self, head: &Head, data: &[u8], seq: u64, now: u64, io: &mut dyn Io) {
        if data.is_empty() && !head.flags.contains(Flags::FIN) {
            return;
        }
        if !matches!(self.state, State::Established | State::FinWait1 | State::FinWait2) {
            // After its FIN there is nothing new.
            self.ack_now = true;
            return;
        }
        let end = seq + data.len() as u64;
        if head.flags.contains(Flags::FIN) && end <= self.edge {
            self.end = Some(end);
        }
        // What lies outside of the window is not taken.
        let from = self.expected.clamp(seq, end);
        let to = self.edge.clamp(from, end);
        let piece = &data[(from - seq) as usize..(to - seq) as usize];
        let in_order = seq <= self.expected;
        if in_order {
            if !piece.is_empty() && !self.deliver(piece, io) {
                return;
            }
        } else {
            self.keep(from, piece);
            self.ack_now = true;
        }
        while let Some(entry) = self.early.first_entry().filter(|entry| *entry.key() <= self.expected) {
            let (start, bytes) = entry.remove_entry();
            self.early_bytes -= bytes.len();
            // What fills a gap is told at once.
            self.ack_now = true;
            let skipped = ((self.expected - start) as usize).min(bytes.len());
            if skipped < bytes.len() && !self.deliver(&bytes[skipped..], io) {
                return;
            }
        }
        if self.end == Some(self.expected) {
            self.end_received(now, io);
        }
        self.unacknowledged += piece.len();
        if self.unacknowledged >= 2 * self.mss || self.quick != 0 || !self.early.is_empty() {
            self.quick = self.quick.saturating_sub(1);
            self.ack_now = true;
        } else if self.ack_at.is_none() {
            self.ack_at = Some(now + ACK_DELAY);
        }
    }

    fn deliver(&mut self, piece: &[u8], io: &mut dyn Io) -> bool {
        if self.orphan || !io.deliver(piece) {
            // Nobody will ever read it.
            self.send_reset(io);
            self.fail(Errno::ECONNRESET, io);
            return false;
        }
        self.expected += piece.len() as u64;
        self.edge = self.edge.max(self.expected);
        true
    }

    /// Keeps a piece that came early, within bounds.
    fn keep(&mut self, at: u64, piece: &[u8]) {
        let most = (self.edge - self.expected) as usize;
        if piece.is_empty() || self.early.len() >= GAPS || self.early_bytes + piece.len() > most {
            return;
        }
        self.latest = at;
        if self.early.get(&at).is_some_and(|known| known.len() >= piece.len()) {
            return;
        }
        let mut kept = alloc::vec::Vec::new();
        if kept.try_reserve_exact(piece.len()).is_err() {
            return;
        }
        kept.extend_from_slice(piece);
        self.early_bytes += kept.len();
        if let Some(old) = self.early.insert(at, kept) {
            self.early_bytes -= old.len();
        }
    }

    /// The other end's stream is complete.
    fn end_received(&mut self, now: u64, io: &mut dyn Io) {
        self.end = None;
        self.expected += 1;
        self.edge = self.edge.max(self.expected);
        self.ack_now = true;
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.begin_time_wait(now),
            _ => return,
        }
        io.tell(Event::Fin);
    }
}
