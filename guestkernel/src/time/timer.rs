//! The timer queue of each vCPU.
//!
//! The hardware timer is armed for the earliest of the queue's deadlines and the scheduler's slice end.
//! Cancelling does not re-arm: an early interrupt finds nothing to do and arms for the next deadline. That
//! keeps sleeping and waking cheap, since writing the deadline register leaves the VM.

use alloc::{collections::BTreeMap, sync::Arc};
use core::sync::atomic::{AtomicU64, Ordering};

use crate::{
    arch,
    sync::SpinLock,
    task::{Task, sched},
};

/// What happens when a timer expires.
#[derive(Clone)]
pub enum Action {
    /// Wake a blocked task.
    Wake(Arc<Task>),
    /// Call this; it must not block.
    Call(Arc<dyn Fn() + Send + Sync>),
}

impl core::fmt::Debug for Action {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Wake(_) => "Wake",
            Self::Call(_) => "Call",
        })
    }
}

/// Names a timer until it has expired or been cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId {
    cpu: u32,
    deadline: u64,
    sequence: u64,
}

struct Queue {
    timers: SpinLock<BTreeMap<(u64, u64), Action>>,
    /// What the hardware is armed for, ns; `u64::MAX` = not.
    armed: AtomicU64,
}

static QUEUES: [Queue; hostcall::MAX_CPUS] =
    [const { Queue { timers: SpinLock::new(BTreeMap::new()), armed: AtomicU64::new(u64::MAX) } };
        hostcall::MAX_CPUS];

static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// Adds a timer that expires at `deadline` (CLOCK_MONOTONIC, ns) on this vCPU.
pub fn add(deadline: u64, action: Action) -> TimerId {
    let cpu = arch::cpu::current_index();
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    QUEUES[cpu].timers.lock().insert((deadline, sequence), action);
    arm_for(cpu, deadline);
    TimerId { cpu: cpu as u32, deadline, sequence }
}

/// Cancels a timer. `false` when it has expired (its action ran or is running).
pub fn cancel(id: TimerId) -> bool {
    QUEUES[id.cpu as usize].timers.lock().remove(&(id.deadline, id.sequence)).is_some()
}

/// Arms the hardware for the earlier of the first timer and `also`.
pub fn rearm(also: Option<u64>) {
    let cpu = arch::cpu::current_index();
    let first = QUEUES[cpu].timers.lock().first_key_value().map(|((deadline, _), _)| *deadline);
    if let Some(deadline) = first.into_iter().chain(also).min() {
        arm_for(cpu, deadline);
    }
}

fn arm_for(cpu: usize, deadline: u64) {
    let queue = &QUEUES[cpu];
    if deadline < queue.armed.load(Ordering::Relaxed) {
        queue.armed.store(deadline, Ordering::Relaxed);
        arch::clock::arm(Some(deadline));
    }
}

/// Runs every expired timer of this vCPU. Called by the timer interrupt.
pub fn run_expired() {
    let queue = &QUEUES[arch::cpu::current_index()];
    queue.armed.store(u64::MAX, Ordering::Relaxed);
    loop {
        let now = arch::clock::monotonic_ns();
        let action = {
            let mut timers = queue.timers.lock();
            match timers.first_entry() {
                Some(entry) if entry.key().0 <= now => entry.remove(),
                _ => return,
            }
        };
        match action {
            Action::Wake(task) => {
                sched::wake(&task);
            }
            Action::Call(function) => function(),
        }
    }
}
