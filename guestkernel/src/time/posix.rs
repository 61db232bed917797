//! POSIX timers: timer_create(2).
//!
//! As in Linux a periodic timer that has fired is armed again when its signal is taken; the expirations that passed
//! meanwhile are its overrun. So at most one signal of each timer waits, and a short interval costs nothing while
//! its signal is blocked.

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, Ordering};

use super::{
    clocks::Clock,
    cpu_timer,
    timer::{self, Action, TimerId},
};
use crate::{
    arch,
    errno::{Errno, Result},
    signal::{SigInfo, charge::Charge, send},
    sync::SpinLock,
    task::{Process, Task, current, rlimit::Resource},
};

/// Shortest time between two expirations whose signal is ignored, ns.
const IGNORED_NS: u64 = 4_000_000;

/// Where an expiration goes.
#[derive(Clone, Debug)]
pub enum Notify {
    /// Nowhere: the timer is only read.
    Nobody,
    /// A signal to the process.
    Process(u32),
    /// A signal to a thread.
    Thread(u32, Weak<Task>),
}

#[derive(Debug, Default)]
enum Armed {
    #[default]
    No,
    At(TimerId),
    Cpu(cpu_timer::Id),
}

#[derive(Debug, Default)]
struct State {
    /// By its clock (CPU time) or CLOCK_MONOTONIC, ns.
    expires: u64,
    interval: u64,
    armed: Armed,
    /// It has an expiry time that has not led to a signal yet, whether anything is armed for it or not.
    active: bool,
    /// It is to be armed again when its signal is taken.
    requeue: bool,
    /// Expirations since the last signal was sent.
    overrun: u64,
    /// Expirations that found the signal still waiting.
    merged: u64,
    /// What `timer_getoverrun` gives.
    last_overrun: u64,
    /// Deleted.
    gone: bool,
}

/// A timer. Locks: the state is a leaf but for the timer queue and the process's CPU timers.
pub struct Timer {
    id: i32,
    process: Weak<Process>,
    clock: Clock,
    notify: Notify,
    value: u64,
    queued: AtomicBool,
    state: SpinLock<State>,
    _charge: Charge,
}

impl core::fmt::Debug for Timer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Timer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A process's timers by id.
#[derive(Debug, Default)]
pub struct Timers {
    all: BTreeMap<i32, Arc<Timer>>,
    next: i32,
}

/// What a program says of a timer that it makes.
#[derive(Clone, Debug)]
pub struct Event {
    /// Where expirations go.
    pub notify: Notify,
    /// What the signal carries; `None` = the timer's id.
    pub value: Option<u64>,
}

/// What a timer takes before it is known what it will do: as in Linux a failure after that uses up an id.
#[derive(Debug)]
pub struct Slot {
    id: i32,
    charge: Charge,
}

/// Takes the next id of the current process.
///
/// # Errors
/// `EAGAIN` at the limit of signals that may wait.
pub fn reserve() -> Result<Slot> {
    let me = current();
    let limit = me.process.rlimit(Resource::SigPending).soft;
    let charge = Charge::new(me.with_cred(|cred| cred.uid), limit).ok_or(Errno::EAGAIN)?;
    let mut timers = me.process.timers.lock();
    let id = timers.next;
    timers.next = id.checked_add(1).unwrap_or(0);
    if timers.all.contains_key(&id) {
        return Err(Errno::EAGAIN);
    }
    Ok(Slot { id, charge })
}

/// Makes a timer of the current process; its id.
pub fn create(slot: Slot, clock: Clock, event: Event) -> i32 {
    let me = current();
    let id = slot.id;
    let timer = Timer {
        id,
        process: Arc::downgrade(&me.process),
        clock,
        notify: event.notify,
        value: event.value.unwrap_or(id as u32 as u64),
        queued: AtomicBool::new(false),
        state: SpinLock::default(),
        _charge: slot.charge,
    };
    me.process.timers.lock().all.insert(id, Arc::new(timer));
    id
}

/// The current process's timer of this id.
///
/// # Errors
/// `EINVAL`.
pub fn find(id: i32) -> Result<Arc<Timer>> {
    current().process.timers.lock().all.get(&id).cloned().ok_or(Errno::EINVAL)
}

/// Removes it.
///
/// # Errors
/// `EINVAL`.
pub fn delete(id: i32) -> Result<()> {
    let timer = current().process.timers.lock().all.remove(&id).ok_or(Errno::EINVAL)?;
    timer.retire();
    Ok(())
}

/// Removes all timers of a process: at exec and at its end.
pub fn clear(process: &Process) {
    let timers = core::mem::take(&mut *process.timers.lock());
    for timer in timers.all.into_values() {
        timer.retire();
    }
    let removed = {
        let mut inner = process.inner.lock();
        let mut removed = Vec::from([inner.pending.remove_timers()]);
        removed.extend(inner.threads.iter().map(|task| task.signals.pending.lock().remove_timers()));
        removed
    };
    drop(removed);
}

impl Timer {
    fn is_silent(&self) -> bool {
        matches!(self.notify, Notify::Nobody)
    }

    /// Time by which `expires` counts.
    fn now(&self) -> u64 {
        match self.clock.cpu() {
            Some(cpu) => cpu.now(),
            None => arch::clock::monotonic_ns(),
        }
    }

    /// Time left and interval, ns.
    pub fn get(&self) -> (u64, u64) {
        let now = self.now();
        self.look(&mut self.state.lock(), now)
    }

    fn look(&self, state: &mut State, now: u64) -> (u64, u64) {
        let silent = self.is_silent();
        if state.interval == 0 && !state.active && !silent || state.expires == 0 {
            return (0, state.interval);
        }
        if state.interval != 0 && (silent || state.requeue) {
            state.overrun = state.overrun.saturating_add(forward(state, now));
        }
        match state.expires.saturating_sub(now) {
            0 if silent => (0, state.interval),
            left => (left.max(1), state.interval),
        }
    }

    /// Sets it: `value` and `interval` in ns, 0 disarms; `absolute` by its own clock. What was left and the interval
    /// before.
    pub fn set(self: &Arc<Self>, value: u64, interval: u64, absolute: bool) -> (u64, u64) {
        let now = self.now();
        let mut state = self.state.lock();
        let old = self.look(&mut state, now);
        self.disarm(&mut state);
        *state = State { gone: state.gone, ..State::default() };
        if value != 0 && !state.gone {
            state.interval = interval;
            state.expires = match (absolute, self.clock.cpu()) {
                (true, None) => self.clock.to_monotonic(value),
                (true, Some(_)) => value,
                (false, _) => now.saturating_add(value),
            };
            state.active = !self.is_silent();
            self.arm(&mut state);
        }
        old
    }

    /// What `timer_getoverrun` gives.
    pub fn overrun(&self) -> i32 {
        i32::try_from(self.state.lock().last_overrun).unwrap_or(i32::MAX)
    }

    fn arm(self: &Arc<Self>, state: &mut State) {
        if self.is_silent() || state.gone {
            return;
        }
        let expires = state.expires;
        state.armed = match self.clock.cpu() {
            Some(cpu) => {
                Armed::Cpu(cpu_timer::add(&cpu, expires, cpu_timer::Expiry::Timer(Arc::downgrade(self))))
            }
            None => {
                let weak = Arc::downgrade(self);
                let fire = move || {
                    if let Some(timer) = weak.upgrade() {
                        timer.fire(expires);
                    }
                };
                Armed::At(timer::add(expires, Action::Call(Arc::new(fire))))
            }
        };
    }

    fn disarm(&self, state: &mut State) {
        match core::mem::take(&mut state.armed) {
            Armed::No => {}
            Armed::At(id) => {
                timer::cancel(id);
            }
            Armed::Cpu(id) => {
                if let Some(cpu) = self.clock.cpu() {
                    cpu_timer::cancel(&cpu, id);
                }
            }
        }
    }

    /// Its time, `expired`, has come. No lock of a process is held.
    pub(super) fn fire(self: &Arc<Self>, expired: u64) {
        {
            let mut state = self.state.lock();
            if state.gone || state.expires != expired || matches!(state.armed, Armed::No) {
                // Set anew meanwhile.
                return;
            }
            state.armed = Armed::No;
            state.active = false;
            state.requeue = state.interval != 0;
        }
        if self.queued.swap(true, Ordering::SeqCst) {
            let mut state = self.state.lock();
            state.merged = state.merged.saturating_add(1);
            return;
        }
        if self.send() == send::Sent::Ignored {
            self.queued.store(false, Ordering::SeqCst);
            self.go_on_ignored();
        }
    }

    fn send(self: &Arc<Self>) -> send::Sent {
        let Some(process) = self.process.upgrade() else { return send::Sent::Gone };
        match &self.notify {
            Notify::Nobody => send::Sent::Gone,
            Notify::Process(signo) => send::send_timer(&process, None, self.info(*signo), self.clone()),
            Notify::Thread(signo, task) => match task.upgrade() {
                Some(task) => send::send_timer(&process, Some(&task), self.info(*signo), self.clone()),
                None => send::Sent::Gone,
            },
        }
    }

    fn info(&self, signo: u32) -> SigInfo {
        SigInfo::timer(signo, self.id, self.value)
    }

    /// The signal was ignored: nobody will take it, so a periodic timer goes on by itself, not too often.
    fn go_on_ignored(self: &Arc<Self>) {
        let now = self.now();
        let mut state = self.state.lock();
        if state.requeue && matches!(state.armed, Armed::No) {
            let passed = forward(&mut state, now.saturating_add(IGNORED_NS));
            state.overrun = state.overrun.saturating_add(passed);
            state.requeue = false;
            state.active = true;
            self.arm(&mut state);
        }
    }

    /// The signal is taken: the timer goes on, and the signal says how often it expired meanwhile.
    pub fn taken(self: Arc<Self>, mut info: SigInfo) -> SigInfo {
        self.queued.store(false, Ordering::SeqCst);
        let now = self.now();
        let mut state = self.state.lock();
        if state.gone {
            return info;
        }
        let merged = core::mem::take(&mut state.merged);
        if state.requeue && matches!(state.armed, Armed::No) {
            let passed = forward(&mut state, now);
            // The first of them is the signal itself.
            let overrun = core::mem::take(&mut state.overrun).saturating_add(passed).saturating_sub(1);
            state.last_overrun = overrun;
            state.requeue = false;
            state.active = true;
            self.arm(&mut state);
        }
        let overrun = state.last_overrun.saturating_add(merged);
        info.set_overrun(i32::try_from(overrun).unwrap_or(i32::MAX));
        info
    }

    /// The signal was dropped without being taken, as when it is ignored from now on.
    pub fn dropped(self: &Arc<Self>) {
        self.queued.store(false, Ordering::SeqCst);
    }

    fn retire(&self) {
        let mut state = self.state.lock();
        self.disarm(&mut state);
        state.gone = true;
    }
}

/// Moves the expiry past `now` by whole intervals; how many that were.
fn forward(state: &mut State, now: u64) -> u64 {
    if now < state.expires {
        return 0;
    }
    let Some(missed) = (now - state.expires).checked_div(state.interval) else { return 0 };
    let count = missed + 1;
    state.expires = state.expires.saturating_add(count.saturating_mul(state.interval));
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expirations_that_passed_are_counted() {
        let mut state = State { expires: 1000, interval: 10, ..State::default() };
        assert_eq!(forward(&mut state, 999), 0);
        assert_eq!(forward(&mut state, 1000), 1);
        assert_eq!(state.expires, 1010);
        assert_eq!(forward(&mut state, 1055), 5);
        assert_eq!(state.expires, 1060);
        let mut once = State { expires: 1000, ..State::default() };
        assert_eq!(forward(&mut once, 5000), 0);
    }
}
