//! The scheduler: one run queue per vCPU, fair shares by weight, real-time priorities, idle vCPUs that take
//! waiting work.
//!
//! A task that blocks gives its CPU to the next runnable one. With nothing to run the CPU idles on the
//! blocked task's own kernel stack, so that a task that is woken where it slept continues without a switch.
//!
//! A task's state word has a flag, `SCHEDULED`, while the task runs or is on a queue. Who blocks takes the flag
//! away; who wakes sets it again, and the one that sets it queues the task. So a task is on at most one queue,
//! and everything on a queue is runnable.
//!
//! `on_cpu` is set while a CPU runs on the task's stack. A waker that finds it set queues the task on that very
//! CPU; others take a task only once it is clear. Run-queue locks are leaves; `Cpu::running` may be taken under
//! one.
//!
//! Further vCPUs are started by need: a sandbox that never has two runnable tasks never pays for a second
//! vCPU. Nothing ticks while nobody waits for the CPU.

mod account;
mod cpu;
mod queue;
mod share;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

pub use account::CpuClock;
use cpu::{CPUS, place, poke, steal, this_cpu, usable};
use queue::{End, FAIR, Key};
pub use share::{RR_SLICE_NS, SLICE_NS, Share, policy};

use super::{Task, current};
use crate::{arch, time};

/// Kinds of `SchedState::state`: running or on a run queue.
const RUNNABLE: u32 = 0;
/// Waiting; a signal wakes it.
const INTERRUPTIBLE: u32 = 1;
/// Waiting; only a wake-up ends it.
const UNINTERRUPTIBLE: u32 = 2;
/// Stopped by a job-control signal.
const STOPPED: u32 = 3;
/// Never runs again.
const DEAD: u32 = 4;
/// With a kind: runs, or is on a run queue.
const SCHEDULED: u32 = 0x100;

/// How long a vCPU may take to come up, ns.
const START_NS: u64 = 2_000_000_000;

/// What the scheduler knows of a task.
#[derive(Debug)]
pub struct SchedState {
    state: AtomicU32,
    on_cpu: AtomicBool,
    cpu: AtomicU32,
    /// CPUs it may use, a bit each.
    affinity: AtomicU64,
    /// Policy, weight, virtual time.
    pub share: Share,
    /// CPU time used.
    pub clock: CpuClock,
    /// Up to when its running has been charged, CLOCK_MONOTONIC ns.
    charged: AtomicU64,
    /// Times it gave the CPU up by itself, and times it was made to.
    pub switches: [AtomicU64; 2],
}

impl Default for SchedState {
    fn default() -> Self {
        Self {
            state: AtomicU32::new(RUNNABLE | SCHEDULED),
            on_cpu: AtomicBool::new(false),
            cpu: AtomicU32::new(0),
            affinity: AtomicU64::new(u64::MAX),
            share: Share::default(),
            clock: CpuClock::default(),
            charged: AtomicU64::new(0),
            switches: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }
}

impl SchedState {
    /// The letter that `/proc/PID/stat` shows: R, S, D, T or X.
    #[must_use]
    pub fn letter(&self) -> u8 {
        match self.state.load(Ordering::Relaxed) & !SCHEDULED {
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

    /// Whether a CPU runs it at this moment, in ring 3 or in the kernel.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.on_cpu.load(Ordering::Acquire)
    }

    /// CPUs that it may use, a bit each.
    #[must_use]
    pub fn affinity(&self) -> u64 {
        self.affinity.load(Ordering::Relaxed)
    }

    /// What a new task takes over from its parent.
    pub(super) fn inherit(&self, parent: &Self) {
        self.affinity.store(parent.affinity(), Ordering::Relaxed);
        self.share.inherit(&parent.share);
    }

    /// Its key, with the time that it has run and that is not charged yet.
    fn key_now(&self, now: u64) -> Key {
        self.share.key_after(now.saturating_sub(self.charged.load(Ordering::Relaxed)))
    }

    /// Charges the time that it has run.
    fn charge(&self, now: u64) {
        self.share.charge(now.saturating_sub(self.charged.load(Ordering::Relaxed)));
        self.charged.store(now, Ordering::Relaxed);
    }

    /// It runs from `now` on.
    fn start(&self, now: u64) {
        self.charged.store(now, Ordering::Relaxed);
        self.clock.start(now);
    }

    /// It does not run any more.
    fn stop(&self, now: u64) {
        self.charge(now);
        self.clock.stop(now);
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
    let now = arch::clock::monotonic_ns();
    task.sched.share.leave_level(now);
    enqueue(task, now, true);
}

/// Marks the current task as about to block. What it waits for must be checked once more after this and
/// before [`block`].
pub fn prepare_to_block(me: &Arc<Task>, interruptible: bool) {
    let kind = if interruptible { INTERRUPTIBLE } else { UNINTERRUPTIBLE };
    me.sched.state.store(kind | SCHEDULED, Ordering::SeqCst);
}

/// Takes [`prepare_to_block`] back.
pub fn cancel_block(me: &Arc<Task>) {
    me.sched.state.store(RUNNABLE | SCHEDULED, Ordering::SeqCst);
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
    me.sched.state.store(STOPPED | SCHEDULED, Ordering::SeqCst);
    if still_stopped() {
        schedule();
    } else {
        cancel_block(&me);
    }
}

/// Wakes a task from any kind of wait except a stop. Whether it was waiting.
pub fn wake(task: &Arc<Task>) -> bool {
    wake_from(task, |kind| kind == INTERRUPTIBLE || kind == UNINTERRUPTIBLE)
}

/// Wakes a task that waits interruptibly. Whether it did.
pub fn wake_interruptible(task: &Arc<Task>) -> bool {
    wake_from(task, |kind| kind == INTERRUPTIBLE)
}

/// Continues a stopped task (`SIGCONT`, `SIGKILL`). Whether it was stopped.
pub fn wake_stopped(task: &Arc<Task>) -> bool {
    wake_from(task, |kind| kind == STOPPED)
}

fn wake_from(task: &Arc<Task>, from: impl Fn(u32) -> bool) -> bool {
    let change = task.sched.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| {
        from(state & !SCHEDULED).then_some(RUNNABLE | SCHEDULED)
    });
    if let Ok(old) = change
        && old & SCHEDULED == 0
    {
        enqueue(task.clone(), arch::clock::monotonic_ns(), false);
    }
    change.is_ok()
}

/// Puts a runnable task on the run queue of the CPU that should run it.
fn enqueue(task: Arc<Task>, now: u64, fresh: bool) {
    let target = choose(&task, fresh);
    task.sched.cpu.store(target as u32, Ordering::Relaxed);
    place(target, task, now);
}

/// The CPU on which a woken task waits for its turn.
fn choose(task: &Task, fresh: bool) -> usize {
    let (here, _) = this_cpu();
    let last = task.sched.cpu();
    if !fresh && task.sched.on_cpu.load(Ordering::Acquire) {
        // Still on its way out over there: only that CPU may take it.
        last
    } else if !fresh && last != here && usable(last, task) && CPUS[last].idle.load(Ordering::SeqCst) {
        last
    } else if usable(here, task) {
        here
    } else {
        (0..arch::cpu::count())
            .filter(|&cpu| usable(cpu, task))
            .min_by_key(|&cpu| CPUS[cpu].waiting.load(Ordering::Relaxed))
            .unwrap_or(here)
    }
}

/// The timer interrupt's part of the scheduler: what happens when the slice is over and others wait.
pub fn on_tick() {
    let (here, cpu) = this_cpu();
    let end = cpu.slice_end.load(Ordering::Relaxed);
    let now = arch::clock::monotonic_ns();
    if end == 0 || now < end {
        return;
    }
    cpu.slice_end.store(0, Ordering::Relaxed);
    if cpu.waiting.load(Ordering::SeqCst) == 0 || cpu.idle.load(Ordering::Relaxed) {
        return;
    }
    cpu::balance(here);
    if cpu.turn_is_over(now) {
        current().request_resched();
    } else {
        cpu.limit_slice(now);
    }
}

/// When the running slice ends on this CPU, for the timer queue's arming; `None` when nobody waits.
#[must_use]
pub fn slice_end() -> Option<u64> {
    let end = this_cpu().1.slice_end.load(Ordering::Relaxed);
    (end != 0).then_some(end)
}

/// Lets others run whose turn it is, as `sched_yield(2)`: of equals all others come first.
pub fn yield_now() {
    let (_, cpu) = this_cpu();
    if cpu.waiting.load(Ordering::SeqCst) == 0 {
        return;
    }
    let me = current();
    let now = arch::clock::monotonic_ns();
    me.sched.charge(now);
    let first = cpu.with_queue(|queue| queue.first());
    if let Some(Key { rank: FAIR, vtime }) = first {
        me.sched.share.step_behind(vtime);
    }
    give_way(&me, cpu, now, End::Tail);
}

/// Gives the CPU up if the task's turn is over, if a more urgent one waits, or if it may not run here any more.
/// On the way to ring 3, when that was asked for.
pub fn preempt() {
    let (here, cpu) = this_cpu();
    let me = current();
    let now = arch::clock::monotonic_ns();
    if me.sched.affinity() & (1 << here) == 0 && (0..arch::cpu::count()).any(|other| usable(other, &me)) {
        move_away(&me, cpu, now);
        return;
    }
    if cpu.waiting.load(Ordering::SeqCst) == 0 {
        return;
    }
    me.sched.charge(now);
    let over = cpu.turn_is_over(now);
    let key = me.sched.share.key();
    let ends = cpu.with_queue(|queue| {
        queue.peek().is_some_and(|(first, task)| {
            if over { first <= key } else { task.sched.share.preempts(first, me.sched.share.policy(), key) }
        })
    });
    if ends {
        give_way(&me, cpu, now, if over { End::Tail } else { End::Head });
    } else {
        if over {
            cpu.begin_turn(now);
        }
        cpu.limit_slice(now);
    }
}

/// Queues the current task and runs the one whose turn it is.
fn give_way(me: &Task, cpu: &'static cpu::Cpu, now: u64, end: End) {
    me.sched.stop(now);
    let (key, task) = (me.sched.share.key(), current().arc());
    cpu.with_queue(|queue| queue.push(key, task, end));
    match cpu.pop() {
        Some(next) if !current().is(&next) => {
            me.sched.switches[1].fetch_add(1, Ordering::Relaxed);
            switch_to(me, cpu, next, now);
        }
        _ => go_on(me, cpu, now),
    }
}

/// Leaves this CPU for one on which the current task may run.
fn move_away(me: &Task, cpu: &'static cpu::Cpu, now: u64) {
    me.sched.stop(now);
    me.sched.share.leave(cpu.floor(), now);
    let next = cpu.pop().or_else(|| cpu.boot.lock().clone());
    match next {
        Some(next) => {
            cpu.moving.store(true, Ordering::Relaxed);
            me.sched.switches[1].fetch_add(1, Ordering::Relaxed);
            switch_to(me, cpu, next, now);
        }
        None => go_on(me, cpu, now),
    }
}

/// The current task keeps the CPU.
fn go_on(me: &Task, cpu: &cpu::Cpu, now: u64) {
    me.sched.start(now);
    cpu.begin_turn(now);
    time::cpu_timer::arm_for(me, now);
    if cpu.waiting.load(Ordering::SeqCst) != 0 {
        cpu.limit_slice(now);
    }
}

/// Ends the current task; another one runs from here on. The task must be off every list but its zombie's.
pub fn exit_current() -> ! {
    loop {
        // A boot context comes back here each time that a CPU has nothing else to run on.
        current().sched.state.store(DEAD | SCHEDULED, Ordering::SeqCst);
        schedule();
    }
}

/// Switches to the next task, if the current one has not been woken meanwhile.
pub fn schedule() {
    let me = current();
    let (_, cpu) = this_cpu();
    let mut now = arch::clock::monotonic_ns();
    if !leave(&me, cpu, now) {
        return;
    }
    // To whatever comes next, be it that the CPU idles.
    me.sched.switches[0].fetch_add(1, Ordering::Relaxed);
    loop {
        let (here, cpu) = this_cpu();
        match cpu.pop().or_else(|| steal(here)) {
            Some(next) if me.is(&next) => {
                go_on(&me, cpu, now);
                return;
            }
            Some(next) => {
                switch_to(&me, cpu, next, now);
                return;
            }
            None => {
                idle(cpu);
                now = arch::clock::monotonic_ns();
            }
        }
    }
}

/// Takes the current task, which is to block, off what is scheduled. `false` when it is runnable again.
fn leave(me: &Task, cpu: &cpu::Cpu, now: u64) -> bool {
    let state = me.sched.state.load(Ordering::SeqCst);
    if state == RUNNABLE | SCHEDULED {
        return false;
    }
    // All of this before the exchange: from then on the task may be placed on another CPU's queue.
    me.sched.stop(now);
    me.sched.share.leave(cpu.floor(), now);
    let blocked =
        me.sched.state.compare_exchange(state, state & !SCHEDULED, Ordering::SeqCst, Ordering::SeqCst);
    if blocked.is_err() {
        me.sched.start(now);
    }
    blocked.is_ok()
}

/// Waits for an interrupt or for work.
fn idle(cpu: &cpu::Cpu) {
    cpu.slice_end.store(0, Ordering::Relaxed);
    cpu.idle.store(true, Ordering::SeqCst);
    if cpu.waiting.load(Ordering::SeqCst) == 0 {
        arch::idle();
    }
    cpu.idle.store(false, Ordering::SeqCst);
}

/// Runs `next`, just taken from a queue. Returns in the current task's context when that runs again.
fn switch_to(me: &Task, cpu: &cpu::Cpu, next: Arc<Task>, now: u64) {
    let (here, _) = this_cpu();
    next.sched.on_cpu.store(true, Ordering::SeqCst);
    next.sched.cpu.store(here as u32, Ordering::Relaxed);
    next.sched.start(now);
    cpu.begin_turn(now);
    time::cpu_timer::arm_for(&next, now);
    if let Some(mm) = next.address_space() {
        mm.activate();
    }
    *cpu.leaving.lock() = cpu.running.lock().replace(next.clone());
    arch::switch(me, next);
    finish_switch();
}

/// First thing on the new stack after a switch (new tasks: from their trampoline): lets go of the task that
/// was left.
pub fn finish_switch() {
    let (_, cpu) = this_cpu();
    super::rseq::switched_in(&current());
    let left = cpu.leaving.lock().take();
    if let Some(left) = left {
        left.sched.on_cpu.store(false, Ordering::Release);
        if cpu.moving.swap(false, Ordering::Relaxed) {
            enqueue(left, arch::clock::monotonic_ns(), false);
        }
    }
    if cpu.waiting.load(Ordering::SeqCst) != 0 {
        cpu.limit_slice(arch::clock::monotonic_ns());
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
    *cpu.boot.lock() = Some(task.clone());
    *cpu.running.lock() = Some(task);
    cpu.online.store(true, Ordering::SeqCst);
}

/// Sets policy (`SCHED_*`), real-time priority (0 for time sharing) and nice value.
pub fn set_share(task: &Arc<Task>, policy: u32, priority: u32, nice: i32) {
    change_share(task, |share| share.set(policy, priority, nice));
}

/// Lets a task run with the priority of one that waits for it, until it is called with `None`.
pub fn boost(task: &Arc<Task>, waiter: Option<&Arc<Task>>) {
    let rank = waiter.map(|waiter| waiter.sched.share.rank());
    let share = &task.sched.share;
    if rank.map_or(share.is_boosted(), |rank| rank < share.rank()) {
        change_share(task, |share| share.set_boost(rank));
    }
}

fn change_share(task: &Arc<Task>, change: impl FnOnce(&Share)) {
    let index = task.sched.cpu();
    CPUS[index].with_queue(|queue| {
        let queued = queue.take(|other| core::ptr::eq(other, &**task));
        change(&task.sched.share);
        if let Some(entry) = queued {
            queue.push(task.sched.share.key(), entry.task, End::Tail);
        }
    });
    reconsider(task);
}

/// Sets the CPUs that a task may use, of which at least one exists. The task leaves the others before it goes on
/// in ring 3.
pub fn set_affinity(task: &Arc<Task>, cpus: u64) {
    task.sched.affinity.store(cpus, Ordering::SeqCst);
    if !(0..arch::cpu::count()).any(|cpu| usable(cpu, task)) {
        bring_up(cpus.trailing_zeros() as usize);
    }
    let index = task.sched.cpu();
    if !usable(index, task)
        && let Some(entry) = CPUS[index].with_queue(|queue| {
            // One that still runs over there leaves when its turn comes.
            queue.take(|other| core::ptr::eq(other, &**task) && !other.sched.on_cpu.load(Ordering::Acquire))
        })
    {
        let now = arch::clock::monotonic_ns();
        task.sched.share.leave(CPUS[index].floor(), now);
        enqueue(entry.task, now, false);
        return;
    }
    reconsider(task);
}

/// Starts a CPU and waits until it runs.
fn bring_up(index: usize) {
    if let Err(error) = arch::cpu::start(index) {
        log::warn!("vCPU {index} does not start: {error}");
        return;
    }
    let end = arch::clock::monotonic_ns() + START_NS;
    while !CPUS[index].online.load(Ordering::SeqCst) && arch::clock::monotonic_ns() < end {
        arch::cpu_relax();
    }
}

/// Makes the CPU that runs `task` look whether it should.
fn reconsider(task: &Arc<Task>) {
    task.request_resched();
    let index = task.sched.cpu();
    if index == arch::cpu::current_index() {
        current().request_resched();
    } else {
        poke(index);
    }
}
