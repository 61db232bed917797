//! What is sent, and when.

use super::{
    BASE, Control, DATA_TRIES, Event, Io, MS, ORPHAN_TRIES, SCALE, SYN_ACK_TRIES, SYN_TRIES, State,
    TIMESTAMPS,
};
use crate::{
    errno::Errno,
    net::inet::tcp::segment::{Flags, Head, Options},
};

/// Longest segment that the host is to cut, bytes.
const LARGEST: usize = 60_000;
/// When something is tried again that found no room in the ring.
const RETRY: u64 = MS;

impl Control {
    fn head(&self, seq: u64, flags: Flags, now: u64) -> Head {
        let mut options = Options::default();
        if let Some(echo) = self.timestamps {
            options.timestamps = Some((self.time(now), echo));
        }
        Head {
            source: self.ports.0,
            target: self.ports.1,
            seq: seq as u32,
            ack: if flags.contains(Flags::ACK) { self.expected as u32 } else { 0 },
            flags,
            window: 0,
            options,
        }
    }

    /// Our time for timestamps.
    pub(super) fn time(&self, now: u64) -> u32 {
        ((now / MS) as u32).wrapping_add(self.offset)
    }

    /// The window that is offered now; what was offered stays.
    fn offer(&mut self, room: usize) -> u16 {
        let unit = 1u64 << self.our_scale;
        let most = u64::from(u16::MAX) * unit;
        let wanted = self.expected + (room as u64 / unit * unit).min(most);
        self.edge = self.edge.max(wanted);
        ((self.edge - self.expected) / unit).min(u16::MAX.into()) as u16
    }

    /// Sends a SYN, with the acknowledgement of the other's where that has come.
    pub(super) fn send_syn(&mut self, now: u64, io: &mut dyn Io) {
        let answers = self.state == State::SynReceived;
        let flags = if answers { Flags::SYN | Flags::ACK } else { Flags::SYN };
        let mut head = self.head(self.una, flags, now);
        let timestamps = if self.timestamps.is_some() { TIMESTAMPS } else { 0 };
        // The options of every segment count to the largest one, in what is told.
        let mss = if answers { self.mss + timestamps } else { self.mss };
        head.options.mss = Some(mss.min(u16::MAX.into()) as u16);
        head.options.scale = (!answers || self.our_scale != 0).then_some(SCALE);
        head.options.sack_permitted = self.sack;
        // Not scaled yet.
        let room = io.room().min(u16::MAX.into());
        head.window = room as u16;
        if answers {
            self.edge = self.edge.max(self.expected + room as u64);
        }
        io.send(&head, [&[], &[]], 0);
        if self.tries == 0 {
            self.trip.probe = Some((self.una + 1, now));
        }
        self.resend_at = Some(now + self.trip.timeout());
    }

    /// Sends a reset.
    pub(super) fn send_reset(&self, io: &mut dyn Io) {
        let mut head = self.head(self.nxt, Flags::RST | Flags::ACK, 0);
        head.options = Options::default();
        io.send(&head, [&[], &[]], 0);
    }

    /// Answers a segment that acknowledges what was never sent.
    pub(super) fn refuse(&self, ack: u32, io: &mut dyn Io) {
        let mut head = self.head(BASE | u64::from(ack), Flags::RST, 0);
        head.options = Options::default();
        io.send(&head, [&[], &[]], 0);
    }

    /// Sends an acknowledgement of what has come.
    pub(super) fn send_ack(&mut self, now: u64, io: &mut dyn Io) {
        self.acknowledge(self.nxt, now, io);
    }

    /// Sends something old, to which the other end has to answer.
    pub(super) fn send_probe(&mut self, now: u64, io: &mut dyn Io) {
        self.acknowledge(self.una - 1, now, io);
    }

    fn acknowledge(&mut self, seq: u64, now: u64, io: &mut dyn Io) {
        let mut head = self.head(seq, Flags::ACK, now);
        head.window = self.offer(io.room());
        if self.sack {
            // The range that came last, and others, put together.
            let mut ranges: arrayvec::ArrayVec<(u64, u64), 16> = arrayvec::ArrayVec::new();
            for (start, data) in &self.early {
                let end = start + data.len() as u64;
                if let Some(last) = ranges.last_mut().filter(|last| *start <= last.1) {
                    last.1 = last.1.max(end);
                } else if ranges.try_push((*start, end)).is_err() {
                    break;
                }
            }
            let newest = |range: &&(u64, u64)| (range.0..range.1).contains(&self.latest);
            let others = ranges.iter().filter(|range| !newest(range));
            let chosen = ranges.iter().filter(newest).chain(others).take(3);
            head.options.sacks = chosen.map(|(start, end)| (*start as u32, *end as u32)).collect();
        }
        if io.send(&head, [&[], &[]], 0) {
            (self.unacknowledged, self.ack_now, self.ack_at) = (0, false, None);
        } else {
            self.ack_at = Some(now + RETRY);
        }
    }

    /// Sends what lies between two numbers, of which the last may be the FIN. Whether it went.
    fn send_range(&mut self, start: u64, end: u64, now: u64, io: &mut dyn Io) -> bool {
        let written = self.base + self.buffer.len() as u64;
        let (from, to) = ((start - self.base) as usize, (end.min(written) - self.base) as usize);
        let mut flags = Flags::ACK;
        if end > written {
            flags |= Flags::FIN;
        }
        if end >= written {
            flags |= Flags::PSH;
        }
        let mut head = self.head(start, flags, now);
        head.window = self.offer(io.room());
        let (first, second) = self.buffer.as_slices();
        let cut = |slice: &[u8], skipped: usize| {
            let begin = from.saturating_sub(skipped).min(slice.len());
            begin..to.saturating_sub(skipped).clamp(begin, slice.len())
        };
        let data = [&first[cut(first, 0)], &second[cut(second, first.len())]];
        let size = if to - from > self.mss { self.mss } else { 0 };
        let sent = io.send(&head, data, size);
        if sent {
            (self.unacknowledged, self.ack_now, self.ack_at) = (0, false, None);
        }
        sent
    }

    /// Sends what may go: first what is lost, then what is new, then an acknowledgement.
    pub(super) fn output(&mut self, now: u64, io: &mut dyn Io) {
        if matches!(self.state, State::Closed | State::SynSent | State::SynReceived) {
            return;
        }
        let mut stuck = false;
        if self.state != State::TimeWait {
            stuck = !(self.send_lost(now, io) && self.send_new(now, io));
        }
        if self.ack_now {
            self.send_ack(now, io);
        }
        if self.state == State::TimeWait {
            return;
        }
        // Something is on its way; or it waits, and another end without a window is asked from time to time.
        if self.nxt > self.una || self.last() > self.nxt {
            self.resend_at = self.resend_at.or_else(|| Some(now + self.trip.timeout()));
        } else {
            self.resend_at = None;
        }
        if stuck {
            self.retry_at = Some(now + RETRY);
        }
    }

    /// Whether all went that could.
    fn send_lost(&mut self, now: u64, io: &mut dyn Io) -> bool {
        while let Some((start, end)) = self.congestion.lost(self.una) {
            let end = end.min(self.nxt);
            if start >= end {
                break;
            }
            let pipe = self.congestion.pipe(self.una, self.nxt);
            // The first is sent whatever there is.
            if start != self.una && pipe + (end - start) > self.congestion.window {
                break;
            }
            if !self.send_range(start, end, now, io) {
                return false;
            }
            self.resent += 1;
            self.trip.probe = None;
            self.congestion.resent = end;
        }
        true
    }

    /// Whether all went that could.
    fn send_new(&mut self, now: u64, io: &mut dyn Io) -> bool {
        loop {
            let waiting = self.last() - self.nxt;
            if waiting == 0 {
                return true;
            }
            let offered = (self.una + self.window).saturating_sub(self.nxt);
            let free = self.congestion.window.saturating_sub(self.congestion.pipe(self.una, self.nxt));
            let mss = self.mss as u64;
            let mut len = waiting.min(offered).min(free).min(LARGEST as u64);
            if len > mss && len < waiting {
                len = len / mss * mss;
            }
            // A FIN alone takes no window.
            let only_end = self.ends && waiting == 1;
            if only_end {
                len = 1;
            }
            if len == 0 {
                return true;
            }
            let idle = self.nxt == self.una;
            if len < mss && !only_end {
                // Little pieces: not because of a window that is nearly shut, nor one after the other.
                let all = len == waiting;
                let held = if all {
                    (self.choices.cork || !self.choices.nodelay && !idle) && !self.ends
                } else {
                    len < self.window_max / 2 || free < mss && !idle
                };
                if held && !self.force {
                    return true;
                }
            }
            if !self.send_range(self.nxt, self.nxt + len, now, io) {
                return false;
            }
            self.force = false;
            if idle {
                // What the timer ran for before is over.
                self.resend_at = None;
                self.trip.calm();
            }
            if self.trip.probe.is_none() {
                self.trip.probe = Some((self.nxt + len, now));
            }
            self.nxt += len;
        }
    }

    /// Nothing was acknowledged for long.
    pub(super) fn resend_timeout(&mut self, now: u64, io: &mut dyn Io) {
        let most = match self.state {
            State::SynSent => SYN_TRIES,
            State::SynReceived => SYN_ACK_TRIES,
            _ if self.orphan => ORPHAN_TRIES,
            _ => DATA_TRIES,
        };
        if self.tries >= most {
            return self.fail(Errno::ETIMEDOUT, io);
        }
        match self.state {
            State::SynSent | State::SynReceived => {
                self.tries += 1;
                self.resent += 1;
                self.trip.back_off();
                self.send_syn(now, io);
            }
            _ if self.nxt > self.una => {
                self.tries += 1;
                self.trip.back_off();
                self.congestion.time_out(self.una, self.nxt);
            }
            _ if self.last() > self.nxt && self.window == 0 => {
                // A window that stays shut is not the end, as long as the other end answers.
                self.tries += 1;
                self.trip.back_off();
                self.send_probe(now, io);
            }
            // Little pieces have waited long enough for more, or for a wider window.
            _ => self.force = true,
        }
    }

    /// Tells the user that there is room, where there is.
    pub(super) fn tell_room(&self, io: &mut dyn Io) {
        if !self.orphan {
            io.tell(Event::Room);
        }
    }
}
