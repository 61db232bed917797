//! What waits for CPU time: POSIX timers and sleeps on CPU clocks, `ITIMER_VIRTUAL` and `ITIMER_PROF`, `RLIMIT_CPU`.
//!
//! CPU time passes only while a task runs, so its waits are looked at only then: the scheduler asks at each switch
//! when the running task must be looked at, and the timer interrupt looks. A process that waits for nothing costs one
//! load; the counts of user and system time of a process that asks for them are sampled by the same means.

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::{
    NSEC_PER_SEC,
    clocks::{CpuClock, Kind, Owner},
    posix::Timer,
};
use crate::{
    arch,
    signal::{self, SIGKILL, SIGPROF, SIGVTALRM, SIGXCPU, SigInfo},
    sync::SpinLock,
    task::{
        Process, Task,
        rlimit::{INFINITY, Resource, Rlimit},
        sched,
        times::Usage,
    },
};

/// Shortest time to the next look, ns: bounds the cost of waits that are a little short again and again.
const SHORTEST_NS: u64 = 50_000;
/// How often user and system time are sampled, ns.
const SAMPLE_NS: u64 = 10_000_000;

/// Processes that have anything here. The scheduler's only load when it is 0.
static ACTIVE: AtomicU32 = AtomicU32::new(0);

/// When each vCPU takes its next sample, ns. It stays while tasks come and go, so that the hardware need not be armed
/// anew at each switch.
static NEXT_SAMPLE: [AtomicU64; hostcall::MAX_CPUS] = [const { AtomicU64::new(0) }; hostcall::MAX_CPUS];

/// What happens when the CPU time is reached.
#[derive(Clone, Debug)]
pub enum Expiry {
    /// A timer fires.
    Timer(Weak<Timer>),
    /// A sleeper wakes.
    Wake(Arc<Task>),
}

/// Thread (0 = the process) and which time.
type Target = (u32, Kind);

/// Names a wait until it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(Target, u64, u64);

/// `ITIMER_VIRTUAL` or `ITIMER_PROF`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interval {
    /// CPU time at which it expires, ns; 0 = never.
    expires: u64,
    interval: u64,
}

#[derive(Debug, Default)]
struct State {
    waits: BTreeMap<(Target, u64, u64), Expiry>,
    next: u64,
    virt: Interval,
    prof: Interval,
    sampled: bool,
}

/// A process's part.
#[derive(Debug)]
pub struct CpuTimers {
    /// Counted in [`ACTIVE`].
    active: AtomicBool,
    state: SpinLock<State>,
}

impl CpuTimers {
    /// For a process that starts with this limit of CPU time.
    #[must_use]
    pub fn new(limit: Rlimit) -> Self {
        let new = Self { active: AtomicBool::new(false), state: SpinLock::default() };
        new.on_limit(limit);
        new
    }

    /// The limit was set.
    pub fn on_limit(&self, limit: Rlimit) {
        if limit.soft != INFINITY || limit.hard != INFINITY {
            self.activate();
        }
    }

    fn activate(&self) {
        if !self.active.swap(true, Ordering::SeqCst) {
            ACTIVE.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Samples user and system time from the next switch on.
    pub fn sample(&self) {
        if !core::mem::replace(&mut self.state.lock().sampled, true) {
            self.activate();
        }
    }

    /// Whether they are sampled, which children inherit.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.active.load(Ordering::Relaxed) && self.state.lock().sampled
    }
}

impl Drop for CpuTimers {
    fn drop(&mut self) {
        if *self.active.get_mut() {
            ACTIVE.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn target(clock: &CpuClock) -> Target {
    let thread = match &clock.owner {
        Owner::Process(_) => 0,
        Owner::Thread(task, _) => task.upgrade().map_or(u32::MAX, |task| task.tid()),
    };
    (thread, clock.kind)
}

/// Adds a wait for `clock` to show `expires`.
pub fn add(clock: &CpuClock, expires: u64, what: Expiry) -> Id {
    let timers = &clock.process().cpu_timers;
    let target = target(clock);
    let id = {
        let mut state = timers.state.lock();
        let id = state.next;
        state.next += 1;
        state.waits.insert((target, expires, id), what);
        id
    };
    timers.activate();
    look_again(clock.process());
    Id(target, expires, id)
}

/// Takes a wait back. `false` when it is over.
pub fn cancel(clock: &CpuClock, id: Id) -> bool {
    let removed = clock.process().cpu_timers.state.lock().waits.remove(&(id.0, id.1, id.2));
    removed.is_some()
}

/// Makes the CPUs that run the process find out when they must look.
pub fn look_again(process: &Process) {
    let here = arch::cpu::current_index();
    let running: Vec<Arc<Task>> =
        process.threads().into_iter().filter(|task| task.sched.letter() == b'R').collect();
    for task in running {
        if arch::current().is(&task) {
            arm_for(&task, arch::clock::monotonic_ns());
        } else if task.sched.cpu() != here {
            task.request_resched();
            arch::kick(task.sched.cpu());
        }
    }
}

/// Has the running task looked at in time: what it waits for, or that it runs, is new.
#[inline]
pub fn arm_for(task: &Task, now: u64) {
    if let Some(look) = on_switch_in(task, now) {
        super::timer::rearm(Some(look));
    }
}

/// One of the two interval timers: time left and interval, ns.
#[must_use]
pub fn interval(process: &Process, kind: Kind) -> (u64, u64) {
    let used = of(&process.usage(), kind);
    let state = process.cpu_timers.state.lock();
    let timer = if kind == Kind::Virt { &state.virt } else { &state.prof };
    match timer.expires {
        0 => (0, timer.interval),
        // One that is about to expire counts as a tick.
        at => (if at > used { at - used } else { super::clocks::COARSE_NS }, timer.interval),
    }
}

/// Sets it to expire after `value`; 0 disarms it. What it was before.
pub fn set_interval(process: &Process, kind: Kind, value: u64, every: u64) -> (u64, u64) {
    let old = interval(process, kind);
    let used = of(&process.usage(), kind);
    {
        let mut state = process.cpu_timers.state.lock();
        let timer = if kind == Kind::Virt { &mut state.virt } else { &mut state.prof };
        let expires = if value == 0 { 0 } else { used.saturating_add(value).max(1) };
        *timer = Interval { expires, interval: every };
    }
    if value != 0 {
        if kind == Kind::Virt {
            process.cpu_timers.sample();
        }
        process.cpu_timers.activate();
        look_again(process);
    }
    old
}

const fn of(usage: &Usage, kind: Kind) -> u64 {
    match kind {
        Kind::Virt => usage.user_ns,
        Kind::Prof | Kind::Sched => usage.user_ns + usage.system_ns,
    }
}

/// When (CLOCK_MONOTONIC, ns) the task, which runs from `now` on, must be looked at.
#[inline]
#[must_use]
pub fn on_switch_in(task: &Task, now: u64) -> Option<u64> {
    if ACTIVE.load(Ordering::Relaxed) == 0 || !task.process.cpu_timers.active.load(Ordering::Relaxed) {
        return None;
    }
    next_look(task, now)
}

#[cold]
fn next_look(task: &Task, now: u64) -> Option<u64> {
    let process = &task.process;
    let (own, all) = (task.usage(), process.usage());
    let limits = process.rlimit(Resource::Cpu);
    let (left, sampled) = {
        let state = process.cpu_timers.state.lock();
        let mut left = u64::MAX;
        let mut until = |at: u64, used: u64| left = left.min(at.saturating_sub(used));
        for (thread, usage) in [(0, &all), (task.tid(), &own)] {
            for kind in [Kind::Prof, Kind::Virt, Kind::Sched] {
                if let Some(at) = first(&state, (thread, kind)) {
                    until(at, of(usage, kind));
                }
            }
        }
        for (timer, kind) in [(&state.virt, Kind::Virt), (&state.prof, Kind::Prof)] {
            if timer.expires != 0 {
                until(timer.expires, of(&all, kind));
            }
        }
        for limit in [limits.soft, limits.hard] {
            if limit != INFINITY {
                until(limit.saturating_mul(NSEC_PER_SEC), of(&all, Kind::Prof));
            }
        }
        (left, state.sampled)
    };
    let look = (left != u64::MAX).then(|| {
        // The other threads may run at the same time.
        let share = (arch::cpu::count() as u64).min(process.threads().len() as u64).max(1);
        now.saturating_add((left / share).max(SHORTEST_NS))
    });
    look.into_iter().chain(sampled.then(|| next_sample(now))).min()
}

fn next_sample(now: u64) -> u64 {
    let Some(next) = NEXT_SAMPLE.get(arch::cpu::current_index()) else { return now + SAMPLE_NS };
    let at = next.load(Ordering::Relaxed);
    if at > now {
        return at;
    }
    next.store(now + SAMPLE_NS, Ordering::Relaxed);
    now + SAMPLE_NS
}

fn first(state: &State, target: Target) -> Option<u64> {
    let mut range = state.waits.range((target, 0, 0)..=(target, u64::MAX, u64::MAX));
    range.next().map(|((_, at, _), _)| *at)
}

/// The timer interrupt's part, while `task` runs.
pub fn on_tick(task: &Task, now: u64) {
    if ACTIVE.load(Ordering::Relaxed) == 0 || !task.process.cpu_timers.active.load(Ordering::Relaxed) {
        return;
    }
    look(task, now);
}

#[cold]
fn look(task: &Task, _now: u64) {
    let process = &task.process;
    let (own, all) = (task.usage(), process.usage());
    let (expired, signals) = {
        let mut state = process.cpu_timers.state.lock();
        let mut expired = Vec::new();
        for (thread, usage) in [(0, &all), (task.tid(), &own)] {
            for kind in [Kind::Prof, Kind::Virt, Kind::Sched] {
                take_expired(&mut state, (thread, kind), of(usage, kind), &mut expired);
            }
        }
        let virt = state.virt.pass(all.user_ns).then_some(SIGVTALRM);
        let prof = state.prof.pass(of(&all, Kind::Prof)).then_some(SIGPROF);
        (expired, [virt, prof])
    };
    for signo in signals.into_iter().flatten().chain(over_limit(process, of(&all, Kind::Prof))) {
        // A standard signal is merged with one that waits already; nothing is lost.
        let _ = signal::send_to_process(process, SigInfo::kernel(signo));
    }
    for (at, what) in expired {
        match what {
            Expiry::Timer(timer) => {
                if let Some(timer) = timer.upgrade() {
                    timer.fire(at);
                }
            }
            Expiry::Wake(task) => {
                sched::wake(&task);
            }
        }
    }
}

fn take_expired(state: &mut State, target: Target, used: u64, expired: &mut Vec<(u64, Expiry)>) {
    while let Some(entry) = state.waits.range((target, 0, 0)..=(target, used, u64::MAX)).next() {
        let key = *entry.0;
        if let Some(what) = state.waits.remove(&key) {
            expired.push((key.1, what));
        }
    }
}

impl Interval {
    /// Whether it has expired by `used`; goes on to the next time.
    const fn pass(&mut self, used: u64) -> bool {
        if self.expires == 0 || used < self.expires {
            return false;
        }
        self.expires = match (used - self.expires).checked_div(self.interval) {
            Some(missed) => self.expires.saturating_add((missed + 1).saturating_mul(self.interval)),
            None => 0,
        };
        true
    }
}

/// The signal of `RLIMIT_CPU`: one each second from the soft limit on, the end at the hard one.
fn over_limit(process: &Process, used: u64) -> Option<u32> {
    process.with_rlimits(|limits| {
        let limit = &mut limits.0[Resource::Cpu as usize];
        let reached = |seconds: u64| seconds != INFINITY && used >= seconds.saturating_mul(NSEC_PER_SEC);
        if reached(limit.hard) {
            Some(SIGKILL)
        } else if reached(limit.soft) {
            limit.soft += 1;
            Some(SIGXCPU)
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_timer_goes_on_without_making_up_for_what_it_missed() {
        let mut timer = Interval { expires: 100, interval: 10 };
        assert!(!timer.pass(99));
        assert!(timer.pass(125));
        assert_eq!(timer.expires, 130);
        let mut once = Interval { expires: 100, interval: 0 };
        assert!(once.pass(100) && !once.pass(200));
    }

    #[test]
    fn waits_expire_in_order_and_by_clock() {
        let mut state = State::default();
        let what = || Expiry::Timer(Weak::new());
        for (target, at, id) in [((0, Kind::Prof), 5, 0), ((0, Kind::Prof), 3, 1), ((7, Kind::Sched), 1, 2)] {
            state.waits.insert((target, at, id), what());
        }
        assert_eq!(first(&state, (0, Kind::Prof)), Some(3));
        assert_eq!(first(&state, (0, Kind::Virt)), None);
        let mut expired = Vec::new();
        take_expired(&mut state, (0, Kind::Prof), 4, &mut expired);
        assert_eq!(expired.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [3]);
        assert_eq!(state.waits.len(), 2);
    }
}
