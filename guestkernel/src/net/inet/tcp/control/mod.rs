//! The state machine of a connection over the wire (RFC 9293): a block of numbers that segments, timers and its user
//! change. It knows nothing of sockets, clocks or frames: [`Io`] has them.
//!
//! Numbers of the stream are 64 bits here, so that they never wrap; the 32 bits in a segment are taken for the nearest
//! to what is expected.

mod input;
mod loss;
mod output;
#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

pub(super) use self::input::Rest;
use self::loss::{Congestion, RoundTrip};
use super::segment::Head;
use crate::errno::{Errno, Result};

/// A millisecond and a second in ns.
const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
/// How long an acknowledgement may wait for data to go with it.
const ACK_DELAY: u64 = 40 * MS;
/// How long the end of a connection is remembered, and the other end's FIN is waited for.
const LINGER: u64 = 60 * SECOND;
/// Tries of a SYN, a SYN with ACK, and data.
const SYN_TRIES: u32 = 6;
const SYN_ACK_TRIES: u32 = 5;
const DATA_TRIES: u32 = 15;
const ORPHAN_TRIES: u32 = 8;
/// How far windows are scaled: up to 8 MiB.
const SCALE: u8 = 7;
/// Most pieces that wait for what is missing before them.
const GAPS: usize = 512;
/// Where a stream's numbers begin, so that there are smaller ones.
const BASE: u64 = 1 << 32;
/// Bytes of timestamps in every segment.
const TIMESTAMPS: usize = 12;

/// States of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

/// What a connection tells its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Both ends are open.
    Established,
    /// The other end sends no more.
    Fin,
    /// There is room to send.
    Room,
    /// It ended with this error.
    Failed(Errno),
    /// Nothing of it is left.
    Closed,
}

/// What a connection needs.
pub(super) trait Io {
    /// Takes bytes of the stream; `false` when nobody is there to read them.
    fn deliver(&mut self, data: &[u8]) -> bool;
    /// Bytes that could be taken now.
    fn room(&self) -> usize;
    /// Sends a segment; with `size` other than 0 it is to be cut into such pieces. `false` when it cannot go now.
    fn send(&mut self, head: &Head, data: [&[u8]; 2], size: usize) -> bool;
    /// Tells the user, at the latest when the call is over.
    fn tell(&mut self, event: Event);
}

/// What the user has chosen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choices {
    /// Small pieces go at once.
    pub(super) nodelay: bool,
    /// Only full segments go.
    pub(super) cork: bool,
    /// Idle time, ns, pause and number of looks whether the other end lives; 0 = it is not looked after.
    pub(super) keepalive: (u64, u64, u32),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) state: State,
    ports: (u16, u16),
    pub(super) choices: Choices,
    /// Nobody has it open any more.
    pub(super) orphan: bool,

    /// Sending: what is not acknowledged yet, what goes next, the other end's window and how old it is.
    una: u64,
    nxt: u64,
    window: u64,
    window_max: u64,
    window_at: (u64, u64),
    their_scale: u8,
    pub(super) mss: usize,
    /// Bytes from `base` on: not acknowledged or not sent.
    buffer: VecDeque<u8>,
    base: u64,
    /// A FIN goes behind them.
    ends: bool,

    /// Receiving: what comes next, up to where it may come, pieces that came early, where the stream ends.
    expected: u64,
    edge: u64,
    our_scale: u8,
    early: BTreeMap<u64, Vec<u8>>,
    early_bytes: usize,
    latest: u64,
    end: Option<u64>,

    /// Acknowledging: bytes that have not been, and when they will be.
    unacknowledged: usize,
    ack_now: bool,
    quick: u8,

    sack: bool,
    /// The last time that the other end told, where timestamps are used; what is added to ours.
    timestamps: Option<u32>,
    offset: u32,
    pub(super) trip: RoundTrip,
    pub(super) congestion: Congestion,
    /// What is there goes, however little it is.
    force: bool,
    tries: u32,
    probes: u32,
    pub(super) resent: u64,

    resend_at: Option<u64>,
    /// When the ring may have room again.
    retry_at: Option<u64>,
    ack_at: Option<u64>,
    linger_at: Option<u64>,
    alive_at: Option<u64>,
}

/// The number nearest to `near` whose low half is `value`.
fn extend(near: u64, value: u32) -> u64 {
    near.wrapping_add_signed(i64::from(value.wrapping_sub(near as u32).cast_signed()))
}

impl Control {
    /// A connection of which nothing has been sent. `first` is where its stream begins, `mss` what a packet holds.
    fn new(state: State, ports: (u16, u16), first: u32, offset: u32, mss: usize) -> Self {
        let una = BASE + u64::from(first);
        Self {
            state,
            ports,
            choices: Choices::default(),
            orphan: false,
            una,
            nxt: una,
            window: 0,
            window_max: 0,
            window_at: (0, 0),
            their_scale: 0,
            mss,
            buffer: VecDeque::new(),
            base: una + 1,
            ends: false,
            expected: 0,
            edge: 0,
            our_scale: SCALE,
            early: BTreeMap::new(),
            early_bytes: 0,
            latest: 0,
            end: None,
            unacknowledged: 0,
            ack_now: false,
            quick: 16,
            sack: true,
            timestamps: None,
            offset,
            trip: RoundTrip::default(),
            congestion: Congestion::new(mss),
            force: false,
            tries: 0,
            probes: 0,
            resent: 0,
            resend_at: None,
            retry_at: None,
            ack_at: None,
            linger_at: None,
            alive_at: None,
        }
    }

    /// Opens a connection: sends a SYN.
    pub(super) fn connect(
        ports: (u16, u16),
        (first, offset): (u32, u32),
        mss: usize,
        now: u64,
        io: &mut dyn Io,
    ) -> Self {
        let mut control = Self::new(State::SynSent, ports, first, offset, mss);
        // The other end says whether it knows them.
        control.timestamps = Some(0);
        control.nxt = control.una + 1;
        control.send_syn(now, io);
        control
    }

    /// Answers a SYN.
    pub(super) fn accept(
        ports: (u16, u16),
        (first, offset): (u32, u32),
        mss: usize,
        syn: &Head,
        now: u64,
        io: &mut dyn Io,
    ) -> Self {
        let mut control = Self::new(State::SynReceived, ports, first, offset, mss);
        control.nxt = control.una + 1;
        control.agree(syn);
        control.send_syn(now, io);
        control
    }

    /// Takes over what the other end's SYN says.
    fn agree(&mut self, syn: &Head) {
        self.expected = BASE + u64::from(syn.seq) + 1;
        self.edge = self.expected;
        self.window_at = (self.expected, self.una);
        self.window = syn.window.into();
        self.window_max = self.window;
        match syn.options.scale {
            Some(scale) => self.their_scale = scale,
            None => self.our_scale = 0,
        }
        self.sack = syn.options.sack_permitted;
        self.timestamps = syn.options.timestamps.map(|(now, _)| now);
        let theirs = usize::from(syn.options.mss.unwrap_or(536)).max(64);
        self.mss = self.mss.min(theirs) - if self.timestamps.is_some() { TIMESTAMPS } else { 0 };
        self.congestion = Congestion::new(self.mss);
    }

    /// Bytes that were written and not acknowledged.
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// What is beyond the last byte that was written, the FIN included.
    fn last(&self) -> u64 {
        self.base + self.buffer.len() as u64 + u64::from(self.ends)
    }

    /// Takes bytes to be sent.
    ///
    /// # Errors
    /// `ENOBUFS`.
    pub(super) fn write(&mut self, bytes: &[u8], now: u64, io: &mut dyn Io) -> Result<()> {
        self.buffer.try_reserve(bytes.len()).map_err(|_| Errno::ENOBUFS)?;
        self.buffer.extend(bytes);
        self.output(now, io);
        Ok(())
    }

    /// The user sends no more.
    pub(super) fn finish(&mut self, now: u64, io: &mut dyn Io) {
        self.state = match self.state {
            State::Established | State::SynReceived => State::FinWait1,
            State::CloseWait => State::LastAck,
            _ => return,
        };
        self.ends = true;
        self.output(now, io);
    }

    /// Whether a number is of something that was sent and not acknowledged.
    pub(super) fn is_on_its_way(&self, seq: u32) -> bool {
        (self.una..=self.nxt).contains(&extend(self.una, seq))
    }

    /// Nobody will read or write any more: what is left goes on by itself, for a while.
    pub(super) fn abandon(&mut self, now: u64) {
        self.orphan = true;
        if self.state == State::FinWait2 {
            self.linger_at = Some(now + LINGER);
        }
    }

    /// Ends the connection at once.
    pub(super) fn abort(&mut self, io: &mut dyn Io) {
        if !matches!(self.state, State::SynSent | State::TimeWait | State::Closed) {
            self.send_reset(io);
        }
        self.close(io);
    }

    fn fail(&mut self, errno: Errno, io: &mut dyn Io) {
        if self.state != State::Closed {
            io.tell(Event::Failed(errno));
            self.close(io);
        }
    }

    fn close(&mut self, io: &mut dyn Io) {
        if self.state != State::Closed {
            self.state = State::Closed;
            (self.resend_at, self.retry_at, self.ack_at, self.linger_at, self.alive_at) = Default::default();
            self.buffer = VecDeque::new();
            self.early.clear();
            io.tell(Event::Closed);
        }
    }

    fn begin_time_wait(&mut self, now: u64) {
        self.state = State::TimeWait;
        (self.resend_at, self.alive_at) = (None, None);
        self.linger_at = Some(now + LINGER);
    }

    /// When [`Self::on_time`] is to be called.
    pub(super) fn deadline(&self) -> Option<u64> {
        [self.resend_at, self.retry_at, self.ack_at, self.linger_at, self.alive_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Some time has come.
    pub(super) fn on_time(&mut self, now: u64, io: &mut dyn Io) {
        let due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if due(self.linger_at) {
            return self.close(io);
        }
        if due(self.resend_at) {
            self.resend_at = None;
            self.resend_timeout(now, io);
        }
        if due(self.retry_at) {
            self.retry_at = None;
        }
        if due(self.alive_at) {
            self.look_after(now, io);
        }
        if due(self.ack_at) {
            self.ack_now = true;
        }
        self.output(now, io);
    }

    /// Nothing has come for long: is the other end there?
    fn look_after(&mut self, now: u64, io: &mut dyn Io) {
        let (_, pause, looks) = self.choices.keepalive;
        self.alive_at = None;
        if pause == 0 || !matches!(self.state, State::Established | State::CloseWait | State::FinWait2) {
            return;
        }
        if self.probes >= looks {
            self.send_reset(io);
            return self.fail(Errno::ETIMEDOUT, io);
        }
        self.probes += 1;
        self.send_probe(now, io);
        self.alive_at = Some(now + pause);
    }

    /// The user's choices have changed, or something came: idle time begins again.
    pub(super) fn is_alive(&mut self, now: u64) {
        self.probes = 0;
        let (idle, ..) = self.choices.keepalive;
        let open = matches!(self.state, State::Established | State::CloseWait | State::FinWait2);
        self.alive_at = (idle != 0 && open).then_some(now.saturating_add(idle));
    }

    /// The reader has taken bytes: the other end is told when that makes much room.
    pub(super) fn opened(&mut self, now: u64, io: &mut dyn Io) {
        if !matches!(self.state, State::Established | State::FinWait1 | State::FinWait2) {
            return;
        }
        let (room, offered) = (io.room() as u64, self.edge - self.expected);
        if room >= offered + 2 * self.mss as u64 && room >= 2 * offered {
            self.ack_now = true;
            self.output(now, io);
        }
    }

    /// A router says how long a packet may be.
    pub(super) fn limit(&mut self, mss: usize, now: u64, io: &mut dyn Io) {
        let least = 64;
        if mss < self.mss {
            self.mss = mss.max(least);
            self.congestion.mss = self.mss;
            self.congestion.lose_all(self.una, self.nxt);
            self.output(now, io);
        }
    }
}
