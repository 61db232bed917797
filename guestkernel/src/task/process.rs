//! Processes: what the threads of a group share.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::{
    Task,
    rlimit::{Resource, Rlimit, Rlimits},
    times::Usage,
    wait::WaitQueue,
};
use crate::{
    signal::{Handlers, Queue},
    sync::SpinLock,
    time::{self, timer::TimerId},
};

/// Job control: what `SIGSTOP` and its like, and `SIGCONT`, did.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobControl {
    /// Threads shall stop, with this signal; 0 = not.
    pub stop: u32,
    /// Threads that are still to stop.
    pub to_stop: u32,
    /// All have stopped.
    pub stopped: bool,
    /// A stop that no `wait` has reported yet.
    pub report_stop: bool,
    /// A continuation that no `wait` has reported yet.
    pub report_continue: bool,
}

/// The end of the whole group, once begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupEnd {
    /// All threads end with this wait status.
    Exit(i32),
    /// All but the thread with this id end: it calls exec.
    Exec(u32),
}

/// What `Process::inner` guards.
#[derive(Debug, Default)]
pub struct Inner {
    /// Living threads.
    pub threads: Vec<Arc<Task>>,
    /// Signals for whichever thread takes them.
    pub pending: Queue,
    /// Job control.
    pub job: JobControl,
    /// The group ends.
    pub end: Option<GroupEnd>,
    /// Wait status that the first thread ended with.
    pub leader_status: i32,
    /// What threads that are gone used.
    pub dead: Usage,
    /// What children that were waited for used.
    pub children: Usage,
    /// The real-time interval timer: its timer, when it expires, its interval.
    pub itimer: Option<(TimerId, u64, u64)>,
    /// Path of the program, for `/proc/PID/exe`.
    pub exe: Option<Arc<crate::fs::File>>,
}

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has threads.
    Alive,
    /// It has ended and waits to be waited for.
    Ended,
    /// Nothing but references is left.
    Reaped,
}

/// A thread group.
#[derive(Debug)]
pub struct Process {
    /// Process id: the thread id of the first thread.
    pub pid: u32,
    /// Threads, queue, job control.
    pub inner: SpinLock<Inner>,
    handlers: SpinLock<Arc<Handlers>>,
    rlimits: SpinLock<Rlimits>,
    /// `wait4` callers.
    pub child_wait: WaitQueue,
    /// Waits of an exec for the end of the other threads.
    pub threads_wait: WaitQueue,
    /// Woken when [`Self::phase`] changes.
    pub ended: WaitQueue,
    phase: AtomicU8,
    /// Signal to the parent at the end; `SIGCHLD` for fork.
    pub exit_signal: AtomicU32,
    /// Cannot be ended by signals that it has no handler for (the first process).
    pub unkillable: AtomicBool,
    /// The host started it: nobody in the container waits for it.
    pub unwaited: AtomicBool,
    /// Names it to the host, which waits for its end; 0 = it does not.
    pub tag: AtomicU64,
    /// What it is to run, until it has found it.
    pub birth: SpinLock<Option<Box<hostcall::ProcessSpec>>>,
    /// `PR_SET_CHILD_SUBREAPER`.
    pub subreaper: AtomicBool,
    /// `PR_SET_DUMPABLE`.
    pub dumpable: AtomicU32,
    /// `PR_SET_THP_DISABLE`.
    pub no_huge_pages: AtomicBool,
    /// It has called exec since fork.
    pub did_exec: AtomicBool,
    /// What the out-of-memory killer knows of it.
    pub oom: crate::mm::oom::OomState,
    /// Page faults served: without and with I/O.
    pub faults: [AtomicU64; 2],
    /// When it started, CLOCK_MONOTONIC ns.
    pub start_ns: u64,
    /// POSIX timers.
    pub timers: SpinLock<time::posix::Timers>,
    /// Its controlling terminal.
    pub tty: crate::tty::control::Controlled,
    /// What waits for its CPU time.
    pub cpu_timers: time::cpu_timer::CpuTimers,
}

impl Process {
    /// A process without threads.
    #[must_use]
    pub fn new(pid: u32, handlers: Arc<Handlers>, rlimits: Rlimits) -> Self {
        Self {
            pid,
            inner: SpinLock::default(),
            handlers: SpinLock::new(handlers),
            rlimits: SpinLock::new(rlimits),
            child_wait: WaitQueue::new(),
            threads_wait: WaitQueue::new(),
            ended: WaitQueue::new(),
            phase: AtomicU8::new(Phase::Alive as u8),
            exit_signal: AtomicU32::new(crate::signal::SIGCHLD),
            unkillable: AtomicBool::new(false),
            unwaited: AtomicBool::new(false),
            tag: AtomicU64::new(0),
            birth: SpinLock::default(),
            subreaper: AtomicBool::new(false),
            dumpable: AtomicU32::new(1),
            no_huge_pages: AtomicBool::new(false),
            did_exec: AtomicBool::new(false),
            oom: crate::mm::oom::OomState::default(),
            faults: [AtomicU64::new(0), AtomicU64::new(0)],
            start_ns: crate::arch::clock::monotonic_ns(),
            timers: SpinLock::default(),
            tty: Default::default(),
            cpu_timers: time::cpu_timer::CpuTimers::new(rlimits.0[Resource::Cpu as usize]),
        }
    }

    /// The signal actions.
    #[must_use]
    pub fn handlers(&self) -> Arc<Handlers> {
        self.handlers.lock().clone()
    }

    /// Calls `f` with the signal actions.
    pub fn with_handlers<T>(&self, f: impl FnOnce(&Handlers) -> T) -> T {
        f(&self.handlers.lock())
    }

    /// Replaces the signal actions by ones that nobody shares, as exec does.
    pub fn set_handlers(&self, handlers: Arc<Handlers>) {
        let old = core::mem::replace(&mut *self.handlers.lock(), handlers);
        drop(old);
    }

    /// How far it has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Alive,
            1 => Phase::Ended,
            _ => Phase::Reaped,
        }
    }

    /// Notes how far it has come. Whoever does so wakes [`Self::ended`] once no lock is held.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// A resource limit.
    #[must_use]
    pub fn rlimit(&self, resource: Resource) -> Rlimit {
        self.rlimits.lock().0[resource as usize]
    }

    /// All limits.
    #[must_use]
    pub fn rlimits(&self) -> Rlimits {
        *self.rlimits.lock()
    }

    /// Changes limits under their lock.
    pub fn with_rlimits<T>(&self, f: impl FnOnce(&mut Rlimits) -> T) -> T {
        f(&mut self.rlimits.lock())
    }

    /// A living thread: the leader if it lives.
    #[must_use]
    pub fn any_thread(&self) -> Option<Arc<Task>> {
        let inner = self.inner.lock();
        inner.threads.iter().find(|task| task.is_leader()).or_else(|| inner.threads.first()).cloned()
    }

    /// All living threads.
    #[must_use]
    pub fn threads(&self) -> Vec<Arc<Task>> {
        self.inner.lock().threads.clone()
    }

    /// Parent's process id; 0 for the first process.
    #[must_use]
    pub fn ppid(&self) -> u32 {
        super::tree::lock().parent_of(self.pid)
    }

    /// The letter that `/proc/PID/stat` shows.
    #[must_use]
    pub fn state(&self) -> u8 {
        match self.any_thread() {
            Some(task) => task.sched.letter(),
            None => b'Z',
        }
    }

    /// Counts a page fault.
    pub fn count_fault(&self, with_io: bool) {
        self.faults[usize::from(with_io)].fetch_add(1, Ordering::Relaxed);
    }
}
