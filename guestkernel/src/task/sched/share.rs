//! What a task is entitled to: policies, weights, virtual time.
//!
//! A time-sharing task's virtual time runs at a rate that falls as its weight grows, and the task that is
//! furthest behind runs next (sched(7)). One step of the nice value changes the weight by a quarter, so that two
//! tasks one step apart share a CPU 10 per cent apart. Real-time tasks run before all of these.

use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use super::queue::{FAIR, Key};

/// Policies, as sched(7) names them.
pub mod policy {
    #![allow(missing_docs, reason = "sched(7) documents them")]
    pub const OTHER: u32 = 0;
    pub const FIFO: u32 = 1;
    pub const RR: u32 = 2;
    pub const BATCH: u32 = 3;
    pub const IDLE: u32 = 5;
    pub const DEADLINE: u32 = 6;
    /// As `OTHER`, without a scheduler of the program's own.
    pub const EXT: u32 = 7;
}

/// The weight of nice 0.
const UNIT: u64 = 1024;
/// The weight of `SCHED_IDLE`.
const IDLE_WEIGHT: u64 = 3;
/// How far before the floor a task may be placed that has slept, ns.
const CREDIT: u64 = 1_500_000;
/// How far behind the running task a woken one must be to take its place, ns.
const GRANULARITY: u64 = 1_000_000;
/// How long a task runs while others wait, ns.
pub const SLICE_NS: u64 = 3_000_000;
/// The same for `SCHED_RR`, ns.
pub const RR_SLICE_NS: u64 = 100_000_000;

/// Weights from nice -20 to 19.
const WEIGHTS: [u64; 40] = weights();

const fn weights() -> [u64; 40] {
    let mut all = [0; 40];
    let mut index = 20;
    // 16 more bits while multiplying.
    let mut weight = UNIT << 16;
    while index < 40 {
        all[index] = (weight + (1 << 15)) >> 16;
        weight = weight * 4 / 5;
        index += 1;
    }
    weight = UNIT << 16;
    index = 20;
    while index > 0 {
        index -= 1;
        weight = weight * 5 / 4;
        all[index] = (weight + (1 << 15)) >> 16;
    }
    all
}

/// How a task is scheduled, and what it has had.
#[derive(Debug)]
pub struct Share {
    policy: AtomicU32,
    /// Real-time priority, 1–99; 0 for time sharing.
    priority: AtomicU32,
    weight: AtomicU64,
    /// The rank of the most urgent task that waits for this one (priority inheritance).
    boost: AtomicU32,
    /// Virtual time, ns; comparable on one vCPU only. Valid while the task runs or waits to.
    vtime: AtomicU64,
    /// How far ahead of the floor it was when it left its vCPU, ns.
    lag: AtomicI64,
    /// When that was, CLOCK_MONOTONIC ns.
    left: AtomicU64,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            policy: AtomicU32::new(policy::OTHER),
            priority: AtomicU32::new(0),
            weight: AtomicU64::new(UNIT),
            boost: AtomicU32::new(FAIR),
            vtime: AtomicU64::new(0),
            lag: AtomicI64::new(0),
            left: AtomicU64::new(0),
        }
    }
}

impl Share {
    /// The policy.
    #[must_use]
    pub fn policy(&self) -> u32 {
        self.policy.load(Ordering::Relaxed)
    }

    /// The real-time priority; 0 for time sharing.
    #[must_use]
    pub fn priority(&self) -> u32 {
        self.priority.load(Ordering::Relaxed)
    }

    /// Sets policy, real-time priority and nice value.
    pub(super) fn set(&self, policy: u32, priority: u32, nice: i32) {
        let weight = match policy {
            policy::IDLE => IDLE_WEIGHT,
            _ => WEIGHTS[(nice + 20).clamp(0, 39) as usize],
        };
        self.policy.store(policy, Ordering::Relaxed);
        self.priority.store(priority, Ordering::Relaxed);
        self.weight.store(weight, Ordering::Relaxed);
    }

    /// Starts with another task's policy and weight, level with who runs.
    pub(super) fn inherit(&self, parent: &Self) {
        self.policy.store(parent.policy(), Ordering::Relaxed);
        self.priority.store(parent.priority(), Ordering::Relaxed);
        self.weight.store(parent.weight.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Back to ordinary time sharing, if it is real-time, and to nice 0.
    pub(in crate::task) fn reset(&self) {
        let policy = if self.priority() > 0 { policy::OTHER } else { self.policy() };
        self.set(policy, 0, 0);
    }

    /// 99 less its real-time priority, inherited ones included; more for time sharing.
    #[must_use]
    pub fn rank(&self) -> u32 {
        let own = match self.priority() {
            0 => FAIR,
            priority => 99 - priority.min(99),
        };
        own.min(self.boost.load(Ordering::Relaxed))
    }

    /// Whether it runs with an inherited priority.
    pub(super) fn is_boosted(&self) -> bool {
        self.boost.load(Ordering::Relaxed) != FAIR
    }

    /// Inherits a rank, or gives up what it inherited.
    pub(super) fn set_boost(&self, rank: Option<u32>) {
        match rank {
            Some(rank) => self.boost.fetch_min(rank, Ordering::Relaxed),
            None => self.boost.swap(FAIR, Ordering::Relaxed),
        };
    }

    /// When its turn comes.
    pub(super) fn key(&self) -> Key {
        match self.rank() {
            FAIR => Key { rank: FAIR, vtime: self.vtime.load(Ordering::Relaxed) },
            rank => Key { rank, vtime: 0 },
        }
    }

    /// Its key once it has run for `ran` ns more.
    pub(super) fn key_after(&self, ran: u64) -> Key {
        let mut key = self.key();
        if key.rank == FAIR {
            key.vtime += self.virtual_ns(ran);
        }
        key
    }

    fn virtual_ns(&self, ns: u64) -> u64 {
        match self.weight.load(Ordering::Relaxed) {
            UNIT => ns,
            weight => ns.saturating_mul(UNIT) / weight.max(1),
        }
    }

    /// Counts `ran` ns.
    pub(super) fn charge(&self, ran: u64) {
        self.vtime.store(self.vtime.load(Ordering::Relaxed) + self.virtual_ns(ran), Ordering::Relaxed);
    }

    /// Leaves a queue whose floor is `floor`.
    pub(super) fn leave(&self, floor: u64, now: u64) {
        let ahead = self.vtime.load(Ordering::Relaxed).wrapping_sub(floor).cast_signed();
        self.lag.store(ahead, Ordering::Relaxed);
        self.left.store(now, Ordering::Relaxed);
    }

    /// Leaves as one that is level with the floor, whichever that is.
    pub(super) fn leave_level(&self, now: u64) {
        self.lag.store(0, Ordering::Relaxed);
        self.left.store(now, Ordering::Relaxed);
    }

    /// Joins a queue whose floor is `floor`: as far ahead as it was, less the time since; at most a bounded
    /// time before the others.
    pub(super) fn join(&self, floor: u64, now: u64) {
        let slept = now.saturating_sub(self.left.load(Ordering::Relaxed)).min(i64::MAX as u64).cast_signed();
        let ahead = self.lag.load(Ordering::Relaxed).saturating_sub(slept).max(-CREDIT.cast_signed());
        self.vtime.store(floor.saturating_add_signed(ahead), Ordering::Relaxed);
    }

    /// Goes over from the queue with floor `from` to the one with `to`, without having slept.
    pub(super) fn migrate(&self, from: u64, to: u64) {
        let ahead = self.vtime.load(Ordering::Relaxed).wrapping_sub(from).cast_signed();
        self.vtime.store(to.saturating_add_signed(ahead), Ordering::Relaxed);
    }

    /// Lets one that has had `vtime` go first (sched_yield(2)).
    pub(super) fn step_behind(&self, vtime: u64) {
        self.vtime.fetch_max(vtime, Ordering::Relaxed);
    }

    /// How long it runs while others wait; `None` for `SCHED_FIFO`, which is not limited.
    #[must_use]
    pub fn slice_ns(&self) -> Option<u64> {
        match self.policy() {
            policy::FIFO => None,
            policy::RR => Some(RR_SLICE_NS),
            _ => Some(SLICE_NS),
        }
    }

    /// Whether this task, woken with `key`, takes the place of one of policy `other` that runs with `running`.
    pub(super) fn preempts(&self, key: Key, other: u32, running: Key) -> bool {
        if key.rank != running.rank {
            return key.rank < running.rank;
        }
        if key.rank != FAIR || self.policy() == policy::BATCH {
            return false;
        }
        match (self.policy() == policy::IDLE, other == policy::IDLE) {
            (false, true) => true,
            (true, false) => false,
            _ => key.vtime + GRANULARITY < running.vtime,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_change_by_a_quarter_a_step() {
        assert_eq!(WEIGHTS[20], 1024);
        assert_eq!((WEIGHTS[19], WEIGHTS[21]), (1280, 819));
        assert_eq!((WEIGHTS[0], WEIGHTS[39]), (88818, 15));
        assert!(WEIGHTS.windows(2).all(|pair| pair[0] > pair[1]));
    }

    #[test]
    fn a_sleeper_is_placed_a_bounded_time_before_the_others() {
        let share = Share::default();
        share.charge(10_000_000);
        share.leave(4_000_000, 0);
        share.join(50_000_000, 1_000_000);
        assert_eq!(share.key().vtime, 55_000_000, "6 ms ahead, 1 ms later");
        share.leave(50_000_000, 0);
        share.join(90_000_000, 1_000_000_000);
        assert_eq!(share.key().vtime, 90_000_000 - CREDIT);
        share.leave(u64::MAX, 0);
        share.join(0, u64::MAX);
        assert_eq!(share.key().vtime, 0);
    }

    #[test]
    fn heavier_tasks_age_more_slowly() {
        let (light, heavy) = (Share::default(), Share::default());
        light.set(policy::OTHER, 0, 5);
        heavy.set(policy::OTHER, 0, -5);
        light.charge(1_000_000);
        heavy.charge(1_000_000);
        assert!(light.key().vtime > 9 * heavy.key().vtime);
        heavy.set(policy::FIFO, 50, 0);
        assert!(heavy.key() < light.key());
        assert_eq!((heavy.slice_ns(), light.slice_ns()), (None, Some(SLICE_NS)));
    }

    #[test]
    fn who_takes_whose_place() {
        let (one, other) = (Share::default(), Share::default());
        let fair = |vtime| Key { rank: FAIR, vtime };
        assert!(!one.preempts(fair(5_000_000), other.policy(), fair(5_500_000)));
        assert!(one.preempts(fair(5_000_000), other.policy(), fair(6_500_000)));
        assert!(one.preempts(Key { rank: 3, vtime: 0 }, other.policy(), fair(0)));
        assert!(!one.preempts(fair(0), other.policy(), Key { rank: 3, vtime: 0 }));
        other.set(policy::IDLE, 0, 0);
        assert!(one.preempts(fair(9_000_000), other.policy(), fair(0)));
        assert!(!other.preempts(fair(0), one.policy(), fair(9_000_000)));
        one.set(policy::BATCH, 0, 0);
        assert!(!one.preempts(fair(0), other.policy(), fair(9_000_000)));
    }
}
