//! The scheduler: one run queue per vCPU, time slices, idle vCPUs that take waiting work.
//!
//! A task that blocks gives its CPU to the next runnable one. With nothing to run the CPU idles on the
//! blocked task's own kernel stack, so that a task that is woken where it slept continues without a switch.
//!
//! A task's `on_cpu` is set while a CPU runs on its stack. A waker that finds it set queues the task on that
//! very CPU; others take a task only once it is clear. Run-queue locks are leaves.
//!
//! Further vCPUs are started by need: a sandbox that never has two runnable tasks never pays for a second
//! vCPU.

use alloc::{collections::VecDeque, sync::Arc};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::{Task, current};
use crate::{arch, sync::SpinLock, time};

/// How long a task runs while others wait, ns.
pub const SLICE_NS: u64 = 3_000_000;
/// How soon a waiting task is offered to an idle vCPU, ns.
const BALANCE_NS: u64 = 500_000;

/// `SchedState::state`: running or on a run queue.
const RUNNABLE: u32 = 0;
/// Waiting; a signal wakes it.
const INTERRUPTIBLE: u32 = 1;
/// Waiting; only a wake-up ends it.
const UNINTERRUPTIBLE: u32 = 2;
/// Stopped by a job-control signal.
const STOPPED: u32 = 3;
/// Never runs again.
const DEAD: u32 = 4;

/// What the scheduler knows of a task.
#[derive(Debug)]
pub struct SchedState {
    state: AtomicU32,
    on_cpu: AtomicBool,
    /// On a run queue.
    queued: AtomicBool,
    cpu: AtomicU32,
    /// CPUs it may use, a bit each.
    pub affinity: AtomicU64,
    /// Nanoseconds of CPU time used until it was last switched out.
    pub runtime_ns: AtomicU64,
    /// When it was last switched in, CLOCK_MONOTONIC ns.
    pub since_ns: AtomicU64,
    /// Times it gave the CPU up by itself, and times it was made to.
    pub switches: [AtomicU64; 2],
}

impl Default for SchedState {
    fn default() -> Self {
        Self {
            state: AtomicU32::new(RUNNABLE),
            on_cpu: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            cpu: AtomicU32::new(0),
            affinity: AtomicU64::new(u64::MAX),
            runtime_ns: AtomicU64::new(0),
            since_ns: AtomicU64::new(0),
            switches: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }
}

impl SchedState {
    /// The letter that `/proc/PID/stat` shows: R, S, D, T or X.
    #[must_use]
    pub fn letter(&self) -> u8 {
        match self.state.load(Ordering::Relaxed) {
            RUNNABLE => b'R',
            INTERRUPTIBLE => b'S',
            UNINTERRUPTIBLE => b'D',
            STOPPED => b'T',
            _ => b'X',
        }
    }

    /// The CPU that it runs on or ran on last.
    #[must_use]
    pub fn cpu(&self) -> usize {
        self.cpu.load(Ordering::Relaxed) as usize
    }
}

/// Why [`block`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockEnd {
    /// Woken.
    Woken,
    /// A signal is pending.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

struct Cpu {
    queue: SpinLock<VecDeque<Arc<Task>>>,
    /// Length of `queue`, readable without its lock.
    waiting: AtomicU32,
    /// Runs; unset until the first CPU or `arch::start_cpu` brings it up.
    online: AtomicBool,
    /// In the idle loop.
    idle: AtomicBool,
    /// The running task; keeps it alive.
    running: SpinLock<Option<Arc<Task>>>,
    /// The task being switched away from; taken by [`finish_switch`] on the other side.
    leaving: SpinLock<Option<Arc<Task>>>,
    /// When the running task's slice ends, ns; 0 = not limited.
    slice_end: AtomicU64,
}

impl Cpu {
    const fn new() -> Self {
        Self {
            queue: SpinLock::new(VecDeque::new()),
            waiting: AtomicU32::new(0),
            online: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            running: SpinLock::new(None),
            leaving: SpinLock::new(None),
            slice_end: AtomicU64::new(0),
        }
    }

    /// Queues a task unless it is on a queue already; gives the queue's length.
    fn push(&self, task: Arc<Task>) -> usize {
        let mut queue = self.queue.lock();
        if !task.sched.queued.swap(true, Ordering::SeqCst) {
            queue.push_back(task);
        }
        self.waiting.store(queue.len() as u32, Ordering::SeqCst);
        queue.len()
    }

    /// Takes the next task that CPU `index` may run. From another CPU's queue only one that nobody runs on.
    fn pop(&self, index: usize, own: bool) -> Option<Arc<Task>> {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut queue = self.queue.lock();
        let place = if own {
            (!queue.is_empty()).then_some(0)
        } else {
            queue.iter().position(|task| {
                !task.sched.on_cpu.load(Ordering::Acquire)
                    && task.sched.affinity.load(Ordering::Relaxed) & (1 << index) != 0
            })
        };
        let task = queue.remove(place?);
        self.waiting.store(queue.len() as u32, Ordering::SeqCst);
        if let Some(task) = &task {
            task.sched.queued.store(false, Ordering::SeqCst);
        }
        task
    }
}

static CPUS: [Cpu; hostcall::MAX_CPUS] = [const { Cpu::new() }; hostcall::MAX_CPUS];

fn this_cpu() -> (usize, &'static Cpu) {
    let index = arch::cpu::current_index();
    (index, &CPUS[index])
}

/// Number of tasks that run or could, on all CPUs.
#[must_use]
pub fn runnable() -> usize {
    CPUS.iter()
        .take(arch::cpu::count())
        .filter(|cpu| cpu.online.load(Ordering::Relaxed))
        .map(|cpu| {
            cpu.waiting.load(Ordering::Relaxed) as usize + usize::from(!cpu.idle.load(Ordering::Relaxed))
        })
        .sum()
}

/// Makes a new task runnable on this CPU.
pub fn spawn(task: Arc<Task>) {
    task.sched.state.store(RUNNABLE, Ordering::SeqCst);
    enqueue(task, true);
}

/// Marks the current task as about to block. What it waits for must be checked once more after this and
/// before [`block`].
pub fn prepare_to_block(me: &Arc<Task>, interruptible: bool) {
    let state = if interruptible { INTERRUPTIBLE } else { UNINTERRUPTIBLE };
    me.sched.state.store(state, Ordering::SeqCst);
}

/// Takes [`prepare_to_block`] back.
pub fn cancel_block(me: &Arc<Task>) {
    // A waker may have queued the task already; whoever takes it from the queue finds it running (a spurious
    // wake-up at worst) or blocked again (a stale entry).
    me.sched.state.store(RUNNABLE, Ordering::SeqCst);
}

/// Gives up the CPU until woken, interrupted (if `interruptible`) or `deadline` (CLOCK_MONOTONIC, ns).
/// [`prepare_to_block`] comes first.
pub fn block(me: &Arc<Task>, interruptible: bool, deadline: Option<u64>) -> BlockEnd {
    if interruptible && me.signal_pending() {
        cancel_block(me);
        return BlockEnd::Interrupted;
    }
    let timer = match deadline {
        Some(at) if at <= arch::clock::monotonic_ns() => {
            cancel_block(me);
            return BlockEnd::TimedOut;
        }
        Some(at) => Some(time::timer::add(at, time::timer::Action::Wake(me.clone()))),
        None => None,
    };
    me.sched.switches[0].fetch_add(1, Ordering::Relaxed);
    schedule();
    let expired = timer.is_some_and(|timer| !time::timer::cancel(timer));
    if interruptible && me.signal_pending() {
        BlockEnd::Interrupted
    } else if expired {
        BlockEnd::TimedOut
    } else {
        BlockEnd::Woken
    }
}

/// Blocks until [`wake_stopped`], as a job-control stop does. `still_stopped` is checked after the state is
/// set.
pub fn stop_current(still_stopped: impl Fn() -> bool) {
    let me = current().arc();
    me.sched.state.store(STOPPED, Ordering::SeqCst);
    if still_stopped() {
        schedule();
    } else {
        cancel_block(&me);
    }
}

/// Wakes a task from any kind of wait except a stop. Whether it was waiting.
pub fn wake(task: &Arc<Task>) -> bool {
    wake_from(task, |state| state == INTERRUPTIBLE || state == UNINTERRUPTIBLE)
}

/// Wakes a task that waits interruptibly. Whether it did.
pub fn wake_interruptible(task: &Arc<Task>) -> bool {
    wake_from(task, |state| state == INTERRUPTIBLE)
}

/// Continues a stopped task (`SIGCONT`, `SIGKILL`). Whether it was stopped.
pub fn wake_stopped(task: &Arc<Task>) -> bool {
    wake_from(task, |state| state == STOPPED)
}

fn wake_from(task: &Arc<Task>, from: impl Fn(u32) -> bool) -> bool {
    let change = task
        .sched
        .state
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| from(state).then_some(RUNNABLE));
    if change.is_ok() {
        enqueue(task.clone(), false);
    }
    change.is_ok()
}

/// Puts a runnable task on the run queue of the CPU that should run it.
fn enqueue(task: Arc<Task>, fresh: bool) {
    let (here, _) = this_cpu();
    let last = task.sched.cpu();
    let target = if !fresh && task.sched.on_cpu.load(Ordering::Acquire) {
        // Still on its way out over there: only that CPU may take it.
        last
    } else if !fresh && last != here && usable(last, &task) && CPUS[last].idle.load(Ordering::SeqCst) {
        last
    } else if usable(here, &task) {
        here
    } else {
        (0..arch::cpu::count()).find(|&cpu| usable(cpu, &task)).unwrap_or(here)
    };
    task.sched.cpu.store(target as u32, Ordering::Relaxed);
    let length = CPUS[target].push(task);
    if target != here {
        if CPUS[target].idle.load(Ordering::SeqCst) {
            arch::kick(target);
        }
    } else if !CPUS[here].idle.load(Ordering::Relaxed) {
        start_slice(here, length);
    }
}

/// Whether `task` may run on `cpu` and `cpu` is up.
fn usable(cpu: usize, task: &Task) -> bool {
    CPUS[cpu].online.load(Ordering::Relaxed) && task.sched.affinity.load(Ordering::Relaxed) & (1 << cpu) != 0
}

/// Somebody waits on this CPU: limit the running task's slice, if it is not limited yet.
fn start_slice(here: usize, waiting: usize) {
    let cpu = &CPUS[here];
    if cpu.slice_end.load(Ordering::Relaxed) == 0 {
        let helpable = waiting > 0 && arch::cpu::count() > 1;
        let length = if helpable { BALANCE_NS } else { SLICE_NS };
        let end = arch::clock::monotonic_ns() + length;
        cpu.slice_end.store(end, Ordering::Relaxed);
        time::timer::rearm(Some(end));
    }
}

/// The timer interrupt's part of the scheduler: ends the slice when it is over and others wait.
pub fn on_tick() {
    let (here, cpu) = this_cpu();
    let end = cpu.slice_end.load(Ordering::Relaxed);
    if end == 0 || arch::clock::monotonic_ns() < end {
        return;
    }
    cpu.slice_end.store(0, Ordering::Relaxed);
    if cpu.waiting.load(Ordering::SeqCst) == 0 {
        return;
    }
    offer_work(here);
    if !cpu.idle.load(Ordering::Relaxed) {
        current().request_resched();
    }
}

/// Makes another CPU take what waits here: an idle one, or one that has not been started yet.
fn offer_work(here: usize) {
    let count = arch::cpu::count();
    let idle = (0..count).find(|&i| {
        i != here && CPUS[i].online.load(Ordering::Relaxed) && CPUS[i].idle.load(Ordering::SeqCst)
    });
    if let Some(other) = idle {
        arch::kick(other);
    } else if let Some(new) = (0..count).find(|&i| !CPUS[i].online.load(Ordering::Relaxed))
        && let Err(error) = arch::cpu::start(new)
    {
        log::warn!("vCPU {new} does not start: {error}");
    }
}

/// When the running slice ends on this CPU, for the timer queue's arming; `None` when nobody waits.
#[must_use]
pub fn slice_end() -> Option<u64> {
    let end = this_cpu().1.slice_end.load(Ordering::Relaxed);
    (end != 0).then_some(end)
}

/// Lets others run, as `sched_yield(2)` and the end of a slice do.
pub fn yield_now() {
    let (here, cpu) = this_cpu();
    if cpu.waiting.load(Ordering::SeqCst) == 0 {
        return;
    }
    let me = current().arc();
    me.sched.switches[1].fetch_add(1, Ordering::Relaxed);
    me.sched.cpu.store(here as u32, Ordering::Relaxed);
    cpu.push(me);
    schedule();
}

/// Ends the current task; another one runs from here on. The task must be off every list but its zombie's.
pub fn exit_current() -> ! {
    loop {
        // Every time: a stale queue entry of this task makes it look runnable once more.
        current().sched.state.store(DEAD, Ordering::SeqCst);
        schedule();
    }
}

/// Switches to the next task. The current one has been queued (it stays runnable), or is blocked.
pub fn schedule() {
    loop {
        let (here, cpu) = this_cpu();
        if let Some(next) = cpu.pop(here, true) {
            if switch_to(here, cpu, next) {
                return;
            }
            continue;
        }
        if current().sched.state.load(Ordering::SeqCst) == RUNNABLE {
            return;
        }
        if let Some(next) = steal(here) {
            if switch_to(here, cpu, next) {
                return;
            }
            continue;
        }
        idle(cpu);
    }
}

fn steal(here: usize) -> Option<Arc<Task>> {
    (0..arch::cpu::count()).filter(|&i| i != here).find_map(|i| CPUS[i].pop(here, false))
}

/// Waits for an interrupt or for work.
fn idle(cpu: &Cpu) {
    cpu.slice_end.store(0, Ordering::Relaxed);
    cpu.idle.store(true, Ordering::SeqCst);
    if cpu.waiting.load(Ordering::SeqCst) == 0 {
        arch::idle();
    }
    cpu.idle.store(false, Ordering::SeqCst);
}

/// Runs `next`, just taken from a queue. Returns `true` in the current task's context when that runs again,
/// `false` at once when `next` was a stale entry.
fn switch_to(here: usize, cpu: &Cpu, next: Arc<Task>) -> bool {
    let me = current();
    if me.is(&next) {
        next.sched.state.store(RUNNABLE, Ordering::SeqCst);
        return true;
    }
    if next.sched.state.load(Ordering::SeqCst) != RUNNABLE {
        return false;
    }
    if next.sched.on_cpu.swap(true, Ordering::SeqCst) {
        // Another CPU runs it or is leaving it: the entry belongs there.
        let owner = next.sched.cpu();
        CPUS[owner].push(next);
        if CPUS[owner].idle.load(Ordering::SeqCst) {
            arch::kick(owner);
        }
        return false;
    }
    let now = arch::clock::monotonic_ns();
    let since = me.sched.since_ns.load(Ordering::Relaxed);
    me.sched.runtime_ns.fetch_add(now.saturating_sub(since), Ordering::Relaxed);
    next.sched.since_ns.store(now, Ordering::Relaxed);
    next.sched.cpu.store(here as u32, Ordering::Relaxed);
    cpu.slice_end.store(0, Ordering::Relaxed);
    if let Some(mm) = next.address_space() {
        mm.activate();
    }
    *cpu.leaving.lock() = cpu.running.lock().replace(next.clone());
    arch::switch(&me, next);
    finish_switch();
    true
}

/// First thing on the new stack after a switch (new tasks: from their trampoline): lets go of the task that
/// was left.
pub fn finish_switch() {
    let (here, cpu) = this_cpu();
    let left = cpu.leaving.lock().take();
    if let Some(left) = &left {
        left.sched.on_cpu.store(false, Ordering::Release);
    }
    let waiting = cpu.waiting.load(Ordering::Relaxed);
    if waiting != 0 {
        start_slice(here, waiting as usize);
    }
}

/// The life of a vCPU: takes the boot context as an idle task and runs what comes.
pub fn cpu_main() -> ! {
    adopt(Task::idle());
    exit_current()
}

/// Makes `task` the one that runs on this CPU, before anything is scheduled there.
pub fn adopt(task: Arc<Task>) {
    let (here, cpu) = this_cpu();
    task.sched.on_cpu.store(true, Ordering::SeqCst);
    task.sched.cpu.store(here as u32, Ordering::Relaxed);
    arch::set_current(&task);
    *cpu.running.lock() = Some(task);
    cpu.online.store(true, Ordering::SeqCst);
}
