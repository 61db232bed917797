//! timerfd_create(2).
//!
//! As in Linux a periodic timer is not armed again when it fires but when somebody looks: the expirations that have
//! passed meanwhile are computed. So a short interval costs nothing until it is read.

use alloc::sync::{Arc, Weak};
use linux_raw_sys::general::O_RDWR;

use super::{
    anon,
    file::{File, FileOps, PollMask},
};
use crate::{
    arch::clock,
    errno::{Errno, Result},
    sync::SpinLock,
    task::wait::WaitQueue,
    time::timer::{self, Action, TimerId},
    uio::Sink,
};

/// A timer that can be read and waited for. Locks: `state` is a leaf but for the timer queue.
pub struct TimerFd {
    /// The clock is that of the day, not of the machine.
    realtime: bool,
    state: SpinLock<State>,
    readable: WaitQueue,
    weak: Weak<Self>,
}

#[derive(Default)]
struct State {
    /// When it fires next or has fired last, CLOCK_MONOTONIC, ns.
    deadline: u64,
    /// ns; 0 = once.
    interval: u64,
    /// Set while it is to fire.
    armed: Option<TimerId>,
    /// It has fired and was not looked at since.
    fired: bool,
    /// Expirations that nobody has read, besides the ones that `fired` stands for.
    ticks: u64,
}

/// A new one, disarmed. `flags` are status flags.
#[must_use]
pub fn open(realtime: bool, flags: u32) -> Arc<File> {
    let timer = Arc::new_cyclic(|weak| TimerFd {
        realtime,
        state: SpinLock::new(State::default()),
        readable: WaitQueue::new(),
        weak: weak.clone(),
    });
    File::anonymous(timer, anon::shared(), b"anon_inode:[timerfd]", O_RDWR | flags)
}

impl TimerFd {
    /// Sets it: `value` and `interval` in ns, 0 disarms; `absolute` by its own clock. Gives what was left and the
    /// interval before.
    pub fn set(&self, value: u64, interval: u64, absolute: bool) -> (u64, u64) {
        let now = clock::monotonic_ns();
        let mut state = self.state.lock();
        let old = self.look(&mut state, now);
        self.stop(&mut state);
        *state = State { interval, ..State::default() };
        if value != 0 {
            let behind = if !absolute {
                0
            } else if self.realtime {
                clock::realtime_ns()
            } else {
                now
            };
            state.deadline = now.saturating_add(value.saturating_sub(behind));
            self.start(&mut state, now);
        }
        drop(state);
        // A reader of the old setting looks at the new one.
        self.readable.wake_all();
        old
    }

    /// Time left and interval, ns.
    pub fn get(&self) -> (u64, u64) {
        self.look(&mut self.state.lock(), clock::monotonic_ns())
    }

    /// Counts what has passed, goes on, and says what is left.
    fn look(&self, state: &mut State, now: u64) -> (u64, u64) {
        self.catch_up(state, now);
        let left = match state.armed {
            // One that is about to fire counts as the shortest time left.
            Some(_) => state.deadline.saturating_sub(now).max(1),
            None => 0,
        };
        (left, state.interval)
    }

    /// Turns a firing into a count, and arms a periodic timer for its next time.
    fn catch_up(&self, state: &mut State, now: u64) {
        if !state.fired {
            return;
        }
        state.fired = false;
        state.ticks = state.ticks.saturating_add(1);
        if let Some(missed) = now.saturating_sub(state.deadline).checked_div(state.interval) {
            state.ticks = state.ticks.saturating_add(missed);
            let passed = (missed + 1).saturating_mul(state.interval);
            state.deadline = state.deadline.saturating_add(passed);
            self.start(state, now);
        }
    }

    fn start(&self, state: &mut State, now: u64) {
        if state.deadline <= now {
            state.fired = true;
            return;
        }
        let (weak, deadline) = (self.weak.clone(), state.deadline);
        let action = move || {
            if let Some(timer) = weak.upgrade() {
                timer.fire(deadline);
            }
        };
        state.armed = Some(timer::add(deadline, Action::Call(Arc::new(action))));
    }

    fn stop(&self, state: &mut State) {
        if let Some(id) = state.armed.take() {
            timer::cancel(id);
        }
    }

    fn fire(&self, deadline: u64) {
        {
            let mut state = self.state.lock();
            if state.armed.is_none() || state.deadline != deadline {
                // Set anew meanwhile.
                return;
            }
            state.armed = None;
            state.fired = true;
        }
        self.readable.wake_all();
    }

    /// Takes the expirations so far.
    fn take(&self) -> Option<u64> {
        let mut state = self.state.lock();
        self.catch_up(&mut state, clock::monotonic_ns());
        match core::mem::take(&mut state.ticks) {
            0 => None,
            ticks => Some(ticks),
        }
    }
}

impl Drop for TimerFd {
    fn drop(&mut self) {
        if let Some(id) = self.state.lock().armed.take() {
            timer::cancel(id);
        }
    }
}

impl FileOps for TimerFd {
    fn read_at(&self, file: &File, sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        if sink.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let ticks = match self.take() {
            Some(ticks) => ticks,
            None if file.nonblocking() => return Err(Errno::EAGAIN),
            None => self.readable.wait_until(|| self.take())?,
        };
        sink.write(&ticks.to_ne_bytes())
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn ignores_seeks(&self) -> bool {
        true
    }

    fn poll(&self, _file: &File) -> PollMask {
        let state = self.state.lock();
        if state.fired || state.ticks != 0 { PollMask::READABLE } else { PollMask::empty() }
    }

    fn queues(&self) -> [Option<&WaitQueue>; 2] {
        [Some(&self.readable), None]
    }
}

impl core::fmt::Debug for TimerFd {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TimerFd")
    }
}
