//! Tasks and processes.
//!
//! A [`Task`] is a thread, a [`Process`] a thread group. Who is whose parent, in which group and session, and
//! which ids are taken, is in one table behind one lock ([`tree`]).
//!
//! Lock order: the tree, then `Process::inner`, then the locks inside a task; see `sync` for the rest.

pub mod access;
mod children;
pub mod clone;
pub mod command;
pub mod cred;
pub mod exec;
pub mod exit;
pub mod namespace;
pub mod personality;
pub mod process;
mod report;
pub mod rlimit;
pub mod rseq;
pub mod sched;
pub mod start;
pub mod times;
pub mod tree;
pub mod uts;
pub mod wait;
pub mod wait4;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

pub use crate::arch::{CurrentTask as Current, current};
use crate::{
    arch::{UserRegs, context::ThreadContext},
    errno::Result,
    fs::{FdTable, FsContext},
    futex::Key,
    ipc::sem::Undo,
    mem::kstack::KernelStack,
    mm::AddressSpace,
    signal::{Queue, SigSet},
    sync::{Once, SpinLock},
};
pub use command::on_host_event;
use cred::Cred;
pub use process::Process;
pub use start::init;
pub use tree::{for_each_process, process, task};

/// Bits of a task's work word (`ctx.work`): what must be looked at before ring 3 goes on.
pub mod work {
    /// Give the CPU up.
    pub const RESCHED: u32 = 1;
    /// A signal, a stop or the end of the group waits.
    pub const SIGNAL: u32 = 2;
    /// The signal mask that `sigsuspend` and its like replaced comes back.
    pub const RESTORE_MASK: u32 = 4;
    /// The new task's id goes into its memory (`CLONE_CHILD_SETTID`).
    pub const SET_TID: u32 = 8;
    /// Memory is short, or enough of it became free that the host should have it.
    pub const MEMORY: u32 = 16;
    /// A restartable sequence may have been interrupted, or the CPU is another one.
    pub const RSEQ: u32 = 32;
    /// The new task was started by the host and has no program yet.
    pub const BIRTH: u32 = 64;
}

/// Bits of a task's traits, which prctl(2) sets.
pub mod trait_bits {
    /// It writes dirty memory back.
    pub const IO_FLUSHER: u32 = 1;
    /// It has a policy of its own for broken memory.
    pub const MCE_OWN: u32 = 2;
    /// That policy: to be told early.
    pub const MCE_EARLY: u32 = 4;
}

/// An alternate signal stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AltStack {
    /// Lowest address.
    pub base: u64,
    /// Length; 0 = none.
    pub size: u64,
    /// `SS_AUTODISARM` or 0.
    pub flags: u32,
}

/// How an interrupted call goes on that cannot simply be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Sleep until this time (CLOCK_MONOTONIC, ns), and say at this address what was left.
    Sleep {
        /// When it ends.
        until: u64,
        /// Where the rest goes, or 0.
        remaining: u64,
    },
    /// Sleep until a CPU clock shows this time, and say at this address what was left.
    CpuSleep {
        /// The clock.
        id: i32,
        /// When it ends, by that clock, ns.
        until: u64,
        /// Where the rest goes, or 0.
        remaining: u64,
    },
    /// Wait for a futex word until this time.
    Futex {
        /// Address of the word.
        addr: u64,
        /// Value it must have.
        value: u32,
        /// Bits that a waker must share.
        bits: u32,
        /// Private to the process.
        private: bool,
        /// When it ends, CLOCK_MONOTONIC ns.
        until: u64,
    },
    /// Poll again until this time.
    Poll {
        /// The array.
        fds: u64,
        /// Its length.
        count: u32,
        /// When it ends, CLOCK_MONOTONIC ns.
        until: u64,
    },
}

/// A thread's part of signal handling.
#[derive(Debug, Default)]
pub struct TaskSignals {
    /// The mask. Only the task itself writes it.
    blocked: AtomicU64,
    /// The mask to come back, with [`work::RESTORE_MASK`].
    saved: AtomicU64,
    /// Signals for this thread.
    pub pending: SpinLock<Queue>,
    /// The alternate stack.
    pub alt_stack: SpinLock<AltStack>,
    /// The last fault: trap number, error code, address; for the signal frame.
    pub fault: SpinLock<[u64; 3]>,
    /// Signals that the thread waits for in `sigtimedwait`.
    pub waiting_for: AtomicU64,
    /// For `restart_syscall`.
    pub restart: SpinLock<Option<Restart>>,
}

/// A thread.
#[derive(Debug)]
pub struct Task {
    tid: AtomicU32,
    /// The thread group.
    pub process: Arc<Process>,
    /// The scheduler's part.
    pub sched: sched::SchedState,
    /// The machine's part.
    pub ctx: ThreadContext,
    /// Lives as long as the task; nothing runs on it once the task has been switched out for good.
    _stack: Option<KernelStack>,
    mm: SpinLock<Option<Arc<AddressSpace>>>,
    files: SpinLock<Option<Arc<FdTable>>>,
    fs: SpinLock<Option<Arc<FsContext>>>,
    cred: SpinLock<Arc<Cred>>,
    namespaces: SpinLock<Arc<namespace::Namespaces>>,
    /// What its semaphore operations have to take back; threads share it.
    sem_undo: SpinLock<Option<Arc<Undo>>>,
    comm: SpinLock<[u8; 16]>,
    /// Signals.
    pub signals: TaskSignals,
    /// Cleared and woken at exit (`CLONE_CHILD_CLEARTID`).
    pub clear_child_tid: AtomicU64,
    /// Where the id goes on the first way to ring 3 (`CLONE_CHILD_SETTID`).
    set_child_tid: AtomicU64,
    /// Restartable sequences.
    pub rseq: rseq::Rseq,
    /// `personality(2)`.
    pub personality: AtomicU32,
    /// Head of the robust futex list.
    pub robust_list: AtomicU64,
    /// Futexes with priority inheritance that it holds and others wait for.
    pub pi_held: AtomicU32,
    /// The one that it waits for.
    pub pi_waits: SpinLock<Option<Key>>,
    /// Signal on the parent thread's end.
    pub death_signal: AtomicU32,
    /// -20 … 19.
    pub nice: AtomicI32,
    /// Children start with `SCHED_OTHER` (`SCHED_RESET_ON_FORK`).
    pub reset_on_fork: AtomicBool,
    /// Memory policy (`MPOL_*` with mode flags).
    pub memory_policy: AtomicU32,
    /// Timer slack, ns.
    pub timer_slack: AtomicU64,
    /// What [`Self::timer_slack`] goes back to, ns.
    pub default_timer_slack: AtomicU64,
    /// I/O priority, `IOPRIO_*`; 0 = none of its own.
    pub io_priority: AtomicU32,
    traits: AtomicU32,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: AtomicBool,
    /// It is on its way out: takes no signals.
    pub exiting: AtomicBool,
    /// What system calls it may make.
    pub seccomp: crate::seccomp::State,
    /// A vfork parent waits for this.
    pub vfork: SpinLock<Option<Arc<clone::VforkDone>>>,
    /// In which ring it was found.
    pub samples: times::Samples,
    /// The TSC-based clock when it started, ns.
    pub start_ns: u64,
}

impl Task {
    /// The task of a CPU's boot context.
    #[must_use]
    pub fn idle() -> Arc<Self> {
        static KERNEL: Once<Arc<Process>> = Once::new();
        let process =
            KERNEL.call_once(|| Arc::new(Process::new(0, Arc::default(), Default::default()))).clone();
        Arc::new(Self::build(0, process, ThreadContext::boot(), None, Arc::default(), Parts::default()))
    }

    fn build(
        tid: u32,
        process: Arc<Process>,
        ctx: ThreadContext,
        stack: Option<KernelStack>,
        cred: Arc<Cred>,
        parts: Parts,
    ) -> Self {
        Self {
            tid: AtomicU32::new(tid),
            process,
            sched: sched::SchedState::default(),
            ctx,
            _stack: stack,
            mm: SpinLock::new(parts.mm),
            files: SpinLock::new(parts.files),
            fs: SpinLock::new(parts.fs),
            cred: SpinLock::new(cred),
            namespaces: SpinLock::new(namespace::initial()),
            sem_undo: SpinLock::new(None),
            comm: SpinLock::new([0; 16]),
            signals: TaskSignals::default(),
            clear_child_tid: AtomicU64::new(0),
            set_child_tid: AtomicU64::new(0),
            rseq: rseq::Rseq::default(),
            personality: AtomicU32::new(0),
            robust_list: AtomicU64::new(0),
            pi_held: AtomicU32::new(0),
            pi_waits: SpinLock::new(None),
            death_signal: AtomicU32::new(0),
            nice: AtomicI32::new(0),
            reset_on_fork: AtomicBool::new(false),
            memory_policy: AtomicU32::new(0),
            timer_slack: AtomicU64::new(50_000),
            default_timer_slack: AtomicU64::new(50_000),
            io_priority: AtomicU32::new(0),
            traits: AtomicU32::new(0),
            no_new_privs: AtomicBool::new(false),
            exiting: AtomicBool::new(false),
            seccomp: crate::seccomp::State::default(),
            vfork: SpinLock::new(None),
            samples: times::Samples::default(),
            start_ns: crate::arch::clock::monotonic_ns(),
        }
    }

    /// Thread id. It changes when a thread that is not the leader calls exec.
    #[inline]
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// Whether a signal waits that the task must look at.
    #[must_use]
    pub fn signal_pending(&self) -> bool {
        self.ctx.work.load(Ordering::SeqCst) & work::SIGNAL != 0
    }

    /// Makes it give the CPU up before it goes on in ring 3.
    pub fn request_resched(&self) {
        self.ctx.work.fetch_or(work::RESCHED, Ordering::Relaxed);
    }

    /// Its address space.
    #[must_use]
    pub fn address_space(&self) -> Option<Arc<AddressSpace>> {
        self.mm.lock().clone()
    }

    /// Its address space, which a task that makes system calls has.
    ///
    /// # Errors
    /// `ESRCH` for a task that is over.
    pub fn mm(&self) -> Result<Arc<AddressSpace>> {
        self.address_space().ok_or(crate::errno::Errno::ESRCH)
    }

    /// Its file descriptors; an empty table once it is over.
    #[must_use]
    pub fn files(&self) -> Arc<FdTable> {
        self.files.lock().clone().unwrap_or_default()
    }

    /// The open file behind a descriptor, without touching the table's reference count.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn file(&self, fd: i32) -> Result<Arc<crate::fs::File>> {
        match &*self.files.lock() {
            Some(files) => files.get(fd),
            None => Err(crate::errno::Errno::EBADF),
        }
    }

    /// Its file descriptors, unless it is over.
    #[must_use]
    pub fn files_if_alive(&self) -> Option<Arc<FdTable>> {
        self.files.lock().clone()
    }

    /// Gives it other file descriptors; gives the old ones back to be dropped by the caller.
    pub fn set_files(&self, files: Option<Arc<FdTable>>) -> Option<Arc<FdTable>> {
        core::mem::replace(&mut *self.files.lock(), files)
    }

    /// Its root, working directory and mask.
    ///
    /// # Errors
    /// `ENOENT` once it is over.
    pub fn fs(&self) -> Result<Arc<FsContext>> {
        self.fs.lock().clone().ok_or(crate::errno::Errno::ENOENT)
    }

    /// Replaces them.
    pub fn set_fs(&self, fs: Option<Arc<FsContext>>) -> Option<Arc<FsContext>> {
        core::mem::replace(&mut *self.fs.lock(), fs)
    }

    /// Its namespaces.
    #[must_use]
    pub fn namespaces(&self) -> Arc<namespace::Namespaces> {
        self.namespaces.lock().clone()
    }

    /// Replaces its namespaces.
    pub fn set_namespaces(&self, namespaces: Arc<namespace::Namespaces>) {
        let old = core::mem::replace(&mut *self.namespaces.lock(), namespaces);
        drop(old);
    }

    /// Where its semaphore operations note what is to be taken back.
    pub fn sem_undo(&self) -> Arc<Undo> {
        let namespaces = self.namespaces();
        self.sem_undo.lock().get_or_insert_with(|| Undo::new(namespaces.ipc.clone())).clone()
    }

    /// Takes back what its semaphore operations did, unless others share it.
    pub fn undo_semaphores(&self) {
        let undo = self.sem_undo.lock().take();
        drop(undo);
    }

    /// Its credentials.
    #[must_use]
    pub fn cred(&self) -> Arc<Cred> {
        self.cred.lock().clone()
    }

    /// Calls `f` with its credentials.
    pub fn with_cred<T>(&self, f: impl FnOnce(&Cred) -> T) -> T {
        f(&self.cred.lock())
    }

    /// Replaces its credentials.
    pub fn set_cred(&self, cred: Cred) {
        let cred = Arc::new(cred);
        let old = core::mem::replace(&mut *self.cred.lock(), cred);
        drop(old);
    }

    /// Its [`trait_bits`].
    #[must_use]
    pub fn traits(&self) -> u32 {
        self.traits.load(Ordering::Relaxed)
    }

    /// Sets those of `mask`. Only the task itself does so.
    pub fn set_traits(&self, mask: u32, bits: u32) {
        self.traits.store(self.traits() & !mask | bits & mask, Ordering::Relaxed);
    }

    /// Its name, at most 15 bytes.
    #[must_use]
    pub fn comm(&self) -> [u8; 16] {
        *self.comm.lock()
    }

    /// Sets its name; cut to 15 bytes.
    pub fn set_comm(&self, name: &[u8]) {
        let mut comm = [0; 16];
        for (to, from) in comm.iter_mut().take(15).zip(name.iter().take_while(|&&byte| byte != 0)) {
            *to = *from;
        }
        *self.comm.lock() = comm;
    }

    /// The signal mask.
    #[must_use]
    pub fn blocked(&self) -> SigSet {
        SigSet(self.signals.blocked.load(Ordering::SeqCst))
    }

    /// Sets the current task's signal mask, and looks whether something became deliverable.
    pub fn set_blocked(&self, mask: SigSet) {
        let mask = mask.without(SigSet::UNBLOCKABLE);
        self.signals.blocked.store(mask.0, Ordering::SeqCst);
        crate::signal::send::recalculate(self);
    }

    /// Replaces the mask until the way back to ring 3, for `sigsuspend`, `ppoll` and others: the handler runs
    /// with `mask`, and what was before comes back after it.
    pub fn set_blocked_for_call(&self, mask: SigSet) {
        self.signals.saved.store(self.blocked().0, Ordering::SeqCst);
        self.ctx.work.fetch_or(work::RESTORE_MASK, Ordering::SeqCst);
        self.set_blocked(mask);
    }

    /// Puts the mask of [`Self::set_blocked_for_call`] back at once, when the call was not interrupted.
    pub fn restore_blocked(&self) {
        if self.ctx.work.fetch_and(!work::RESTORE_MASK, Ordering::SeqCst) & work::RESTORE_MASK != 0 {
            self.set_blocked(SigSet(self.signals.saved.load(Ordering::SeqCst)));
        }
    }

    /// Takes the mask that a signal frame must save: the one before the call that replaced it.
    fn take_saved_mask(&self) -> SigSet {
        if self.ctx.work.fetch_and(!work::RESTORE_MASK, Ordering::SeqCst) & work::RESTORE_MASK != 0 {
            SigSet(self.signals.saved.load(Ordering::SeqCst))
        } else {
            self.blocked()
        }
    }

    /// Takes the mask for a signal frame.
    pub(crate) fn mask_for_frame(&self) -> SigSet {
        self.take_saved_mask()
    }

    /// Whether it is its process's first thread.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.tid() == self.process.pid
    }
}

/// Starts a task of the kernel's own, which never comes to ring 3.
///
/// # Errors
/// `ENOMEM`.
pub fn spawn_kernel(body: fn(usize) -> !) -> Result<()> {
    let stack = KernelStack::new()?;
    let ctx = ThreadContext::new_kernel(stack.top(), body, 0)?;
    let kernel = Task::idle().process.clone();
    let task = Task::build(0, kernel, ctx, Some(stack), Arc::default(), Parts::default());
    sched::spawn(Arc::new(task));
    Ok(())
}

/// What a new task shares or copies.
#[derive(Default)]
struct Parts {
    mm: Option<Arc<AddressSpace>>,
    files: Option<Arc<FdTable>>,
    fs: Option<Arc<FsContext>>,
}

/// Looks at everything that waits before ring 3 goes on. Called when the work word is not zero.
pub fn exit_to_user_work(regs: &mut UserRegs) {
    loop {
        let me = current();
        let pending = me.ctx.work.load(Ordering::SeqCst);
        if pending == 0 {
            return;
        }
        if pending & work::MEMORY != 0 {
            me.ctx.work.fetch_and(!work::MEMORY, Ordering::SeqCst);
            crate::mem::pressure::relieve();
            continue;
        }
        if pending & work::RESCHED != 0 {
            me.ctx.work.fetch_and(!work::RESCHED, Ordering::SeqCst);
            sched::preempt();
            crate::time::cpu_timer::arm_for(&me, crate::arch::clock::monotonic_ns());
        }
        if pending & work::BIRTH != 0 {
            me.ctx.work.fetch_and(!work::BIRTH, Ordering::SeqCst);
            start::be_born(&me, regs);
            continue;
        }
        if pending & work::SET_TID != 0 {
            me.ctx.work.fetch_and(!work::SET_TID, Ordering::SeqCst);
            clone::store_own_tid(&me);
        }
        if pending & (work::SIGNAL | work::RSEQ) != 0 {
            // A handler's frame must not lead back into a sequence.
            me.ctx.work.fetch_and(!work::RSEQ, Ordering::SeqCst);
            rseq::before_user(&me, regs);
        }
        if pending & (work::SIGNAL | work::RESTORE_MASK) != 0 {
            crate::signal::handle_pending(regs);
        }
    }
}
