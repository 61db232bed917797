//! What the scheduler keeps of a vCPU, and sharing work between vCPUs.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::{
    super::{Task, current},
    queue::{End, FAIR, Key, RunQueue},
};
use crate::{arch, sync::SpinLock, time};

/// How soon a waiting task is offered to another vCPU, ns.
const BALANCE_NS: u64 = 500_000;
/// After this many slices two vCPUs whose queues differ by one task exchange their roles.
const ROTATE_SLICES: u32 = 16;

/// A vCPU.
pub(super) struct Cpu {
    queue: SpinLock<RunQueue>,
    /// Length of `queue`, readable without its lock.
    pub(super) waiting: AtomicU32,
    /// Runs; unset until the first CPU or `arch::start_cpu` brings it up.
    pub(super) online: AtomicBool,
    /// In the idle loop.
    pub(super) idle: AtomicBool,
    /// The running task; keeps it alive.
    pub(super) running: SpinLock<Option<Arc<Task>>>,
    /// The task being switched away from; taken by `finish_switch` on the other side.
    pub(super) leaving: SpinLock<Option<Arc<Task>>>,
    /// `leaving` may not run here any more: it is to be queued elsewhere.
    pub(super) moving: AtomicBool,
    /// The boot context, to which nothing switches but a task that must leave this CPU.
    pub(super) boot: SpinLock<Option<Arc<Task>>>,
    /// When the running task's slice ends, ns; 0 = not limited.
    pub(super) slice_end: AtomicU64,
    /// When the running task's turn began, ns.
    pub(super) turn_start: AtomicU64,
    /// Slices that ended.
    slices: AtomicU32,
}

pub(super) static CPUS: [Cpu; hostcall::MAX_CPUS] = [const { Cpu::new() }; hostcall::MAX_CPUS];

/// The CPU that runs this.
pub(super) fn this_cpu() -> (usize, &'static Cpu) {
    let index = arch::cpu::current_index();
    (index, &CPUS[index])
}

/// Whether `task` may run on `cpu` and `cpu` is up.
pub(super) fn usable(cpu: usize, task: &Task) -> bool {
    CPUS[cpu].online.load(Ordering::Relaxed) && task.sched.affinity.load(Ordering::Relaxed) & (1 << cpu) != 0
}

/// CPUs that are up.
fn online() -> impl Iterator<Item = usize> {
    (0..arch::cpu::count()).filter(|&cpu| CPUS[cpu].online.load(Ordering::Relaxed))
}

impl Cpu {
    const fn new() -> Self {
        Self {
            queue: SpinLock::new(RunQueue::new()),
            waiting: AtomicU32::new(0),
            online: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            running: SpinLock::new(None),
            leaving: SpinLock::new(None),
            moving: AtomicBool::new(false),
            boot: SpinLock::new(None),
            slice_end: AtomicU64::new(0),
            turn_start: AtomicU64::new(0),
            slices: AtomicU32::new(0),
        }
    }

    /// Calls `f` with the queue; what it says of its length stays true.
    pub(super) fn with_queue<T>(&self, f: impl FnOnce(&mut RunQueue) -> T) -> T {
        let mut queue = self.queue.lock();
        let result = f(&mut queue);
        self.waiting.store(queue.len() as u32, Ordering::SeqCst);
        result
    }

    /// The queue's floor.
    pub(super) fn floor(&self) -> u64 {
        self.queue.lock().floor
    }

    /// Takes the task whose turn is next.
    pub(super) fn pop(&self) -> Option<Arc<Task>> {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.with_queue(|queue| {
            let entry = queue.pop()?;
            queue.advance((entry.key.rank == FAIR).then_some(entry.key.vtime));
            Some(entry.task)
        })
    }

    /// Calls `f` with the task that runs on this CPU, number `index`, unless it idles.
    fn with_running<T>(&self, index: usize, f: impl FnOnce(&Task) -> T) -> Option<T> {
        if self.idle.load(Ordering::SeqCst) {
            None
        } else if index == arch::cpu::current_index() {
            Some(f(&current()))
        } else {
            self.running.lock().as_deref().map(f)
        }
    }

    /// The running task's turn begins, or begins anew.
    pub(super) fn begin_turn(&self, now: u64) {
        self.turn_start.store(now, Ordering::Relaxed);
        self.slice_end.store(0, Ordering::Relaxed);
    }

    /// Somebody waits on this CPU, which runs this: limit the running task's slice, if it is not limited yet.
    pub(super) fn limit_slice(&self, now: u64) {
        if self.slice_end.load(Ordering::Relaxed) != 0 {
            return;
        }
        let balance = (arch::cpu::count() > 1).then_some(now + BALANCE_NS);
        if let Some(end) = self.turn_end().into_iter().chain(balance).min() {
            let end = end.max(now + 1);
            self.slice_end.store(end, Ordering::Relaxed);
            time::timer::rearm(Some(end));
        }
    }

    /// When the current task's turn ends, if others wait.
    fn turn_end(&self) -> Option<u64> {
        let slice = current().sched.share.slice_ns()?;
        Some(self.turn_start.load(Ordering::Relaxed) + slice)
    }

    /// Whether the current task has had its turn.
    pub(super) fn turn_is_over(&self, now: u64) -> bool {
        self.turn_end().is_some_and(|end| end <= now)
    }
}

/// Queues a runnable task, which is on no queue, on CPU `target`, and sees to it that it gets its turn there.
pub(super) fn place(target: usize, task: Arc<Task>, now: u64) {
    let (here, _) = this_cpu();
    let cpu = &CPUS[target];
    let preempts = cpu.with_queue(|queue| {
        let running =
            cpu.with_running(target, |running| (running.sched.key_now(now), running.sched.share.policy()));
        queue.advance(running.filter(|(key, _)| key.rank == FAIR).map(|(key, _)| key.vtime));
        task.sched.share.join(queue.floor, now);
        let key = task.sched.share.key();
        let preempts = running.is_some_and(|(other, policy)| task.sched.share.preempts(key, policy, other));
        queue.push(key, task, End::Tail);
        preempts
    });
    if target != here {
        poke(target);
    } else if !cpu.idle.load(Ordering::Relaxed) {
        if preempts {
            current().request_resched();
        }
        cpu.limit_slice(now);
    }
}

/// Makes CPU `target`, not this one, look at its queue.
pub(super) fn poke(target: usize) {
    let cpu = &CPUS[target];
    if !cpu.idle.load(Ordering::SeqCst)
        && let Some(task) = cpu.running.lock().as_deref()
    {
        task.request_resched();
    }
    arch::kick(target);
}

/// Takes a task that waits on another CPU and that nobody runs on.
pub(super) fn steal(here: usize) -> Option<Arc<Task>> {
    online().filter(|&cpu| cpu != here).find_map(|cpu| take_over(cpu, here))
}

/// Takes a task from `from`'s queue that may run on `to`, and fits it to the time there.
fn take_over(from: usize, to: usize) -> Option<Arc<Task>> {
    if CPUS[from].waiting.load(Ordering::SeqCst) == 0 {
        return None;
    }
    let (task, floor) = CPUS[from].with_queue(|queue| {
        let entry = queue.take(|task| !task.sched.on_cpu.load(Ordering::Acquire) && usable(to, task))?;
        Some((entry.task, queue.floor))
    })?;
    task.sched.share.migrate(floor, CPUS[to].floor());
    Some(task)
}

/// A slice ended on CPU `here` while others wait: lets another CPU take one of them.
pub(super) fn balance(here: usize) {
    let count = arch::cpu::count();
    if count == 1 {
        return;
    }
    let cpu = &CPUS[here];
    let rotate = cpu.slices.fetch_add(1, Ordering::Relaxed).is_multiple_of(ROTATE_SLICES);
    let mine = cpu.waiting.load(Ordering::Relaxed);
    let others = || online().filter(|&other| other != here);
    if let Some(idle) = others().find(|&other| CPUS[other].idle.load(Ordering::SeqCst)) {
        arch::kick(idle);
    } else if let Some(new) = (0..count).find(|&other| !CPUS[other].online.load(Ordering::Relaxed)) {
        if let Err(error) = arch::cpu::start(new) {
            log::warn!("vCPU {new} does not start: {error}");
        }
    } else if let Some(other) = others().min_by_key(|&other| CPUS[other].waiting.load(Ordering::Relaxed)) {
        let theirs = CPUS[other].waiting.load(Ordering::Relaxed);
        if mine > theirs + 1 || rotate && mine == theirs + 1 {
            give(here, other);
        }
    }
}

/// Moves a task that waits on `here` to `other`'s queue.
fn give(here: usize, other: usize) {
    if let Some(task) = take_over(here, other) {
        task.sched.cpu.store(other as u32, Ordering::Relaxed);
        let key: Key = task.sched.share.key();
        CPUS[other].with_queue(|queue| queue.push(key, task, End::Tail));
        poke(other);
    }
}
