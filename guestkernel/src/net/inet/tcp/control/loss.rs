//! How long a round trip takes (RFC 6298), how much may be on its way (RFC 5681, 6582), and what of it is lost
//! (RFC 6675).

use alloc::vec::Vec;

use super::{MS, SECOND};

/// Limits of the time after which something is sent again, and what it is at first.
const RTO_MIN: u64 = 200 * MS;
const RTO_MAX: u64 = 120 * SECOND;
const RTO_FIRST: u64 = SECOND;
/// Segments at the start.
const INITIAL: usize = 10;
/// Acknowledgements of nothing new that mean a loss.
const DUPLICATES: u32 = 3;
/// Most ranges that are remembered.
const RANGES: usize = 128;
/// Most that is ever on its way.
const MOST: u64 = 64 << 20;

/// The time of a round trip.
#[derive(Debug, Default)]
pub(in super::super) struct RoundTrip {
    pub(in super::super) smooth: u64,
    pub(in super::super) variation: u64,
    backoff: u32,
    /// Without timestamps: a number whose acknowledgement is waited for, and since when.
    pub(super) probe: Option<(u64, u64)>,
}

impl RoundTrip {
    pub(super) fn sample(&mut self, trip: u64) {
        self.backoff = 0;
        if self.smooth == 0 {
            (self.smooth, self.variation) = (trip.max(1), trip / 2);
            return;
        }
        self.variation = (3 * self.variation + self.smooth.abs_diff(trip)) / 4;
        self.smooth = ((7 * self.smooth + trip) / 8).max(1);
    }

    /// When what is sent now is sent again, from now, ns.
    pub(in super::super) fn timeout(&self) -> u64 {
        let plain = match self.smooth {
            0 => RTO_FIRST,
            smooth => (smooth + (4 * self.variation).max(RTO_MIN)).max(RTO_MIN),
        };
        plain.saturating_mul(1 << self.backoff.min(10)).min(RTO_MAX)
    }

    pub(super) fn back_off(&mut self) {
        self.backoff += 1;
        self.probe = None;
    }

    pub(super) fn calm(&mut self) {
        self.backoff = 0;
    }
}

/// What is on its way, and what is known of it.
#[derive(Debug)]
pub(in super::super) struct Congestion {
    pub(super) mss: usize,
    pub(in super::super) window: u64,
    pub(in super::super) threshold: u64,
    /// While a loss is repaired: what had been sent when it was seen.
    pub(super) recover: Option<u64>,
    /// All that has not been told to have come counts as lost.
    everything: bool,
    pub(super) duplicates: u32,
    /// Ranges beyond the first gap that have come, in order.
    come: Vec<(u64, u64)>,
    /// What was sent again goes up to here.
    pub(super) resent: u64,
}

impl Congestion {
    pub(super) fn new(mss: usize) -> Self {
        Self {
            mss,
            window: (INITIAL * mss) as u64,
            threshold: u64::MAX,
            recover: None,
            everything: false,
            duplicates: 0,
            come: Vec::new(),
            resent: 0,
        }
    }

    /// The other end has a range; what is not within the bounds is a lie.
    pub(super) fn note(&mut self, start: u64, end: u64, bounds: (u64, u64)) {
        if start >= end || start < bounds.0 || end > bounds.1 {
            return;
        }
        let (mut start, mut end) = (start, end);
        self.come.retain(|&(first, last)| {
            let apart = last < start || end < first;
            if !apart {
                (start, end) = (start.min(first), end.max(last));
            }
            apart
        });
        let place = self.come.partition_point(|&(first, _)| first < start);
        if self.come.len() < RANGES && self.come.try_reserve(1).is_ok() {
            self.come.insert(place, (start, end));
        }
    }

    /// Everything before `una` has come.
    fn forget(&mut self, una: u64) {
        self.come.retain_mut(|range| {
            range.0 = range.0.max(una);
            range.0 < range.1
        });
        self.resent = self.resent.max(una);
    }

    fn come_bytes(&self) -> u64 {
        self.come.iter().map(|(start, end)| end - start).sum()
    }

    /// Up to where gaps count as lost.
    fn lost_until(&self, una: u64) -> u64 {
        let Some(recover) = self.recover else { return una };
        if self.everything {
            return recover;
        }
        let mss = self.mss as u64;
        let highest = self.come.last().map_or(0, |range| range.1);
        // The first segment is, or there would be no repair; others when enough behind them has come.
        highest.saturating_sub(u64::from(DUPLICATES) * mss).max(una + mss).min(recover)
    }

    /// The next range that is lost and has not been sent again.
    pub(super) fn lost(&self, una: u64) -> Option<(u64, u64)> {
        let until = self.lost_until(una);
        let mut at = self.resent.max(una);
        for &(start, end) in &self.come {
            if at < start {
                break;
            }
            at = at.max(end);
        }
        let next = self.come.iter().map(|range| range.0).find(|start| *start > at).unwrap_or(u64::MAX);
        let end = until.min(next).min(at + self.mss as u64);
        (at < end).then_some((at, end))
    }

    /// Bytes that are on their way.
    pub(super) fn pipe(&self, una: u64, nxt: u64) -> u64 {
        let all = nxt - una;
        if self.recover.is_none() {
            return all.saturating_sub(self.come_bytes());
        }
        let (from, until) = (self.resent.max(una), self.lost_until(una));
        let come_there: u64 =
            self.come.iter().map(|&(start, end)| end.min(until).saturating_sub(start.max(from))).sum();
        let lost = until.saturating_sub(from).saturating_sub(come_there);
        // Without ranges each repeated acknowledgement says that a segment has come.
        let come = match self.come.is_empty() {
            true => u64::from(self.duplicates) * self.mss as u64,
            false => self.come_bytes(),
        };
        all.saturating_sub(come).saturating_sub(lost)
    }

    /// Bytes up to `ack` have been acknowledged, `acked` of them now, of `flight` on their way.
    pub(super) fn acknowledged(&mut self, ack: u64, acked: u64, flight: u64) {
        self.duplicates = 0;
        let mss = self.mss as u64;
        self.forget(ack);
        match self.recover {
            Some(recover) if ack >= recover => {
                if !self.everything {
                    self.window = self.threshold;
                }
                (self.recover, self.everything) = (None, false);
            }
            // What was sent again first has come, and something behind it has not.
            Some(_) if !self.everything && self.come.is_empty() => self.resent = ack,
            Some(_) if !self.everything => return,
            _ => {}
        }
        if self.recover.is_some() && !self.everything {
            return;
        }
        // Only a window that was used says something.
        if self.window < self.threshold {
            if flight + acked >= self.window / 2 {
                self.window += acked.min(self.threshold - self.window);
            }
        } else if flight >= self.window.saturating_sub(mss) {
            self.window += (mss * acked / self.window.max(1)).max(1);
        }
        self.window = self.window.min(MOST);
    }

    /// The same was acknowledged again, or ranges came. Whether that means that something is lost.
    pub(super) fn is_lossy(&mut self, una: u64, nxt: u64) -> bool {
        if self.recover.is_some() {
            return false;
        }
        let mss = self.mss as u64;
        let beyond = self.come.last().is_some_and(|range| range.1 > una + u64::from(DUPLICATES) * mss);
        if self.duplicates < DUPLICATES && !beyond {
            return false;
        }
        self.shrink(nxt - una);
        self.window = self.threshold;
        self.recover = Some(nxt);
        self.resent = una;
        true
    }

    /// CUBIC's share of the window is left, as with Linux's default.
    fn shrink(&mut self, flight: u64) {
        self.threshold = (flight.min(self.window) * 7 / 10).max(2 * self.mss as u64);
    }

    /// No acknowledgement came in time: everything may be lost.
    pub(super) fn time_out(&mut self, una: u64, nxt: u64) {
        if !self.everything {
            self.shrink(nxt - una);
        }
        self.window = self.mss as u64;
        self.lose_all(una, nxt);
    }

    /// Everything is to be sent again.
    pub(super) fn lose_all(&mut self, una: u64, nxt: u64) {
        self.recover = Some(nxt);
        self.everything = true;
        self.duplicates = 0;
        self.resent = una;
    }
}
