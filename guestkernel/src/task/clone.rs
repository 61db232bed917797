//! Making tasks: fork, vfork, clone.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{
    AltStack, Parts, Process, Task,
    cred::Caps,
    current,
    rlimit::{INFINITY, Resource},
    sched, tree, work,
};
use crate::{
    arch::{UserRegs, uaccess},
    errno::{Errno, Result},
    mem::kstack::KernelStack,
    signal::{Handlers, SIGCHLD},
    task::wait::WaitQueue,
};

bitflags::bitflags! {
    /// `CLONE_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u64 {
        /// Share memory.
        const VM = 0x100;
        /// Share root, working directory and mask.
        const FS = 0x200;
        /// Share descriptors.
        const FILES = 0x400;
        /// Share signal actions.
        const SIGHAND = 0x800;
        /// Make a descriptor of the child.
        const PIDFD = 0x1000;
        /// Trace the child too.
        const PTRACE = 0x2000;
        /// Wait until the child lets go of the memory.
        const VFORK = 0x4000;
        /// Be a sibling.
        const PARENT = 0x8000;
        /// Be a thread of the group.
        const THREAD = 0x1_0000;
        /// New mount namespace.
        const NEWNS = 0x2_0000;
        /// Share semaphore undo values.
        const SYSVSEM = 0x4_0000;
        /// Set the base of FS.
        const SETTLS = 0x8_0000;
        /// Store the id in the parent's memory.
        const PARENT_SETTID = 0x10_0000;
        /// Clear the id and wake at the end.
        const CHILD_CLEARTID = 0x20_0000;
        /// Nothing any more.
        const DETACHED = 0x40_0000;
        /// Never traced.
        const UNTRACED = 0x80_0000;
        /// Store the id in the child's memory.
        const CHILD_SETTID = 0x100_0000;
        /// New cgroup namespace.
        const NEWCGROUP = 0x200_0000;
        /// New UTS namespace.
        const NEWUTS = 0x400_0000;
        /// New IPC namespace.
        const NEWIPC = 0x800_0000;
        /// New user namespace.
        const NEWUSER = 0x1000_0000;
        /// New PID namespace.
        const NEWPID = 0x2000_0000;
        /// New network namespace.
        const NEWNET = 0x4000_0000;
        /// Share the I/O context.
        const IO = 0x8000_0000;
        /// Default signal actions.
        const CLEAR_SIGHAND = 0x1_0000_0000;
        /// Start in another cgroup.
        const INTO_CGROUP = 0x2_0000_0000;
        /// New time namespace.
        const NEWTIME = 0x80;
        /// All that make namespaces.
        const NAMESPACES = Self::NEWNS.bits() | Self::NEWCGROUP.bits() | Self::NEWUTS.bits()
            | Self::NEWIPC.bits() | Self::NEWUSER.bits() | Self::NEWPID.bits() | Self::NEWNET.bits();
    }
}

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct CloneArgs {
    /// What is shared.
    pub flags: Flags,
    /// Stack pointer of the child, 0 = the parent's.
    pub stack: u64,
    /// Where the id goes in the parent's memory.
    pub parent_tid: u64,
    /// Where the id goes in the child's memory, or what is cleared at its end.
    pub child_tid: u64,
    /// Base of FS.
    pub tls: u64,
    /// Signal to the parent at the child's end; 0 = none.
    pub exit_signal: u32,
}

impl CloneArgs {
    /// fork(2).
    #[must_use]
    pub const fn fork() -> Self {
        Self { flags: Flags::empty(), stack: 0, parent_tid: 0, child_tid: 0, tls: 0, exit_signal: SIGCHLD }
    }

    /// Refuses the combinations that Linux refuses.
    ///
    /// # Errors
    /// `EINVAL`; `EPERM` for namespaces without the right.
    pub fn check(&self) -> Result<()> {
        let flags = self.flags;
        let needs = |have: Flags, need: Flags| !flags.contains(have) || flags.contains(need);
        let excludes = |one: Flags, other: Flags| !(flags.contains(one) && flags.intersects(other));
        let valid = needs(Flags::THREAD, Flags::SIGHAND)
            && needs(Flags::SIGHAND, Flags::VM)
            && excludes(Flags::NEWNS, Flags::FS)
            && excludes(Flags::NEWUSER, Flags::FS)
            && excludes(Flags::THREAD, Flags::NEWUSER | Flags::NEWPID)
            && excludes(Flags::NEWIPC, Flags::SYSVSEM)
            && excludes(Flags::CLEAR_SIGHAND, Flags::SIGHAND)
            && excludes(Flags::PIDFD, Flags::DETACHED)
            && self.exit_signal <= crate::signal::MAX;
        if !valid {
            return Err(Errno::EINVAL);
        }
        if flags.intersects(Flags::NAMESPACES) {
            let may = current().with_cred(|cred| cred.capable(Caps::SYS_ADMIN));
            return Err(if may || flags.contains(Flags::NEWUSER) { Errno::EINVAL } else { Errno::EPERM });
        }
        if flags.intersects(Flags::PIDFD | Flags::INTO_CGROUP) {
            return Err(Errno::EINVAL);
        }
        // The first process cannot have siblings.
        if flags.contains(Flags::PARENT) && current().process.pid == 1 {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

/// What a vfork parent waits for.
#[derive(Debug, Default)]
pub struct VforkDone {
    done: AtomicBool,
    queue: WaitQueue,
}

impl VforkDone {
    /// The child has let go of the parent's memory.
    pub fn complete(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.queue.wake_all();
    }

    /// Waits for that; a kill ends the wait too.
    fn wait(&self) {
        let me = current().arc();
        self.queue
            .wait_uninterruptible(|| (self.done.load(Ordering::SeqCst) || is_killed(&me)).then_some(()));
    }
}

/// Whether the task is to end at once.
fn is_killed(task: &Task) -> bool {
    let inner = task.process.inner.lock();
    let kill = crate::signal::SIGKILL;
    inner.end.is_some() || inner.pending.set().has(kill) || task.signals.pending.lock().set().has(kill)
}

/// Makes a task as a copy of the current one, whose registers are `regs`. Its id.
///
/// # Errors
/// As clone(2).
pub fn clone(regs: &UserRegs, args: &CloneArgs) -> Result<u64> {
    args.check()?;
    let me = current();
    if me.signal_pending() {
        return Err(Errno::ERESTARTNOINTR);
    }
    let child = build(&me, regs, args)?;
    let tid = child.tid();
    if args.flags.contains(Flags::PARENT_SETTID) {
        // Linux ignores a bad address here, too.
        let _ = uaccess::put(args.parent_tid, &tid);
    }
    let vfork = args.flags.contains(Flags::VFORK).then(|| {
        let done = Arc::new(VforkDone::default());
        *child.vfork.lock() = Some(done.clone());
        done
    });
    sched::spawn(child);
    if let Some(done) = vfork {
        done.wait();
    }
    Ok(u64::from(tid))
}

/// Checks `RLIMIT_NPROC`.
fn check_limit(me: &Task) -> Result<()> {
    let limit = me.process.rlimit(Resource::Processes).soft;
    let (uid, free) = me.with_cred(|cred| {
        (cred.uid, cred.uid == 0 || cred.capable(Caps::SYS_RESOURCE) || cred.capable(Caps::SYS_ADMIN))
    });
    if free || limit == INFINITY || (tree::lock().tasks_of_user(uid) as u64) < limit {
        Ok(())
    } else {
        Err(Errno::EAGAIN)
    }
}

/// Makes the child and enters it in the table.
fn build(me: &Task, regs: &UserRegs, args: &CloneArgs) -> Result<Arc<Task>> {
    let flags = args.flags;
    check_limit(me)?;
    let stack = KernelStack::new()?;
    let mut child_regs = *regs;
    child_regs.rax = 0;
    child_regs.orig_rax = u64::MAX;
    if args.stack != 0 {
        child_regs.rsp = args.stack;
    }
    let ctx = me.ctx.fork(stack.top(), &child_regs)?;
    if flags.contains(Flags::SETTLS) {
        ctx.set_fs_base(args.tls)?;
    }
    let mm = me.mm()?;
    let (files, fs) = (me.files(), me.fs()?);
    let parts = Parts {
        mm: Some(if flags.contains(Flags::VM) { mm } else { mm.fork()? }),
        files: Some(if flags.contains(Flags::FILES) { files } else { files.fork() }),
        fs: Some(if flags.contains(Flags::FS) { fs } else { fs.fork() }),
    };
    let tid = tree::lock().allocate()?;
    let process = if flags.contains(Flags::THREAD) {
        me.process.clone()
    } else {
        Arc::new(new_process(&me.process, tid, args))
    };
    let mut child = Task::build(tid, process, ctx, Some(stack), me.cred(), parts);
    inherit(&mut child, me, args);
    let child = Arc::new(child);
    enter(&child, me, flags)?;
    Ok(child)
}

fn new_process(parent: &Process, pid: u32, args: &CloneArgs) -> Process {
    let handlers = if args.flags.contains(Flags::SIGHAND) {
        parent.handlers()
    } else {
        let own = parent.with_handlers(Handlers::fork);
        if args.flags.contains(Flags::CLEAR_SIGHAND) {
            own.reset(true);
        }
        Arc::new(own)
    };
    let process = Process::new(pid, handlers, parent.rlimits());
    process.exit_signal.store(
        if args.flags.contains(Flags::PARENT) {
            parent.exit_signal.load(Ordering::Relaxed)
        } else {
            args.exit_signal
        },
        Ordering::Relaxed,
    );
    process.dumpable.store(parent.dumpable.load(Ordering::Relaxed), Ordering::Relaxed);
    process.inner.lock().exe = parent.inner.lock().exe.clone();
    if parent.cpu_timers.is_sampled() {
        process.cpu_timers.sample();
    }
    process
}

/// The thread's own state.
fn inherit(child: &mut Task, me: &Task, args: &CloneArgs) {
    let flags = args.flags;
    *child.comm.get_mut() = me.comm();
    child.signals.blocked = AtomicU64::new(me.blocked().0);
    *child.signals.alt_stack.get_mut() = if flags.contains(Flags::VM) && !flags.contains(Flags::VFORK) {
        AltStack::default()
    } else {
        *me.signals.alt_stack.lock()
    };
    if flags.contains(Flags::CHILD_CLEARTID) {
        *child.clear_child_tid.get_mut() = args.child_tid;
    }
    if flags.contains(Flags::CHILD_SETTID) {
        *child.set_child_tid.get_mut() = args.child_tid;
        child.ctx.work.fetch_or(work::SET_TID, Ordering::Relaxed);
    }
    child.sched.inherit(&me.sched);
    inherit_share(child, me);
    *child.memory_policy.get_mut() = me.memory_policy.load(Ordering::Relaxed);
    *child.timer_slack.get_mut() = me.timer_slack.load(Ordering::Relaxed);
    *child.no_new_privs.get_mut() = me.no_new_privs.load(Ordering::Relaxed);
}

/// Policy, priority and nice value.
fn inherit_share(child: &mut Task, me: &Task) {
    let nice = me.nice.load(Ordering::Relaxed);
    if me.reset_on_fork.load(Ordering::Relaxed) {
        child.sched.share.reset(nice.max(0));
        *child.nice.get_mut() = if me.sched.share.priority() > 0 { 0 } else { nice.max(0) };
    } else {
        *child.nice.get_mut() = nice;
    }
}

/// Enters the child in its group and in the table.
fn enter(child: &Arc<Task>, me: &Task, flags: Flags) -> Result<()> {
    let mut tree = tree::lock();
    if !flags.contains(Flags::THREAD) {
        let caller = me.process.pid;
        let parent = if flags.contains(Flags::PARENT) { tree.parent_of(caller) } else { caller };
        let place = tree.node(caller).map(|node| (node.pgid, node.sid));
        tree.add_process(child.process.clone(), parent);
        if let (Some((pgid, sid)), Some(node)) = (place, tree.node_mut(child.tid())) {
            (node.pgid, node.sid) = (pgid, sid);
        }
    }
    {
        let mut inner = child.process.inner.lock();
        if inner.end.is_some() || inner.job.stop != 0 {
            return Err(Errno::ERESTARTNOINTR);
        }
        inner.threads.push(child.clone());
    }
    tree.add_task(child.clone());
    Ok(())
}

/// Writes the id into the child's memory, on its first way to ring 3.
pub(super) fn store_own_tid(me: &Task) {
    let addr = me.set_child_tid.swap(0, Ordering::Relaxed);
    if addr != 0 {
        // Linux ignores a bad address here, too.
        let _ = uaccess::put(addr, &me.tid());
    }
}

/// `unshare`: own copies of what was shared.
///
/// # Errors
/// `EPERM` for namespaces without the right, `EINVAL` for what cannot be unshared.
pub fn unshare(flags: Flags) -> Result<()> {
    let me = current();
    if flags.intersects(Flags::NAMESPACES | Flags::NEWTIME) {
        let may = me.with_cred(|cred| cred.capable(Caps::SYS_ADMIN));
        return Err(if may || flags.contains(Flags::NEWUSER) { Errno::EINVAL } else { Errno::EPERM });
    }
    let group = Flags::THREAD | Flags::SIGHAND | Flags::VM;
    if flags.intersects(group) && me.process.inner.lock().threads.len() > 1 {
        return Err(Errno::EINVAL);
    }
    if flags.contains(Flags::FS) {
        drop(me.set_fs(Some(me.fs()?.fork())));
    }
    if flags.contains(Flags::FILES) {
        drop(me.set_files(Some(me.files().fork())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flags: Flags) -> Result<()> {
        CloneArgs { flags, ..CloneArgs::fork() }.check()
    }

    #[test]
    fn invalid_combinations_are_refused() {
        assert_eq!(check(Flags::empty()), Ok(()));
        assert_eq!(check(Flags::THREAD), Err(Errno::EINVAL));
        assert_eq!(check(Flags::SIGHAND), Err(Errno::EINVAL));
        assert_eq!(check(Flags::SIGHAND | Flags::VM | Flags::CLEAR_SIGHAND), Err(Errno::EINVAL));
        assert_eq!(check(Flags::NEWNS | Flags::FS), Err(Errno::EINVAL));
        let pthread = Flags::VM | Flags::FS | Flags::FILES | Flags::SIGHAND | Flags::THREAD | Flags::SYSVSEM;
        assert_eq!(check(pthread | Flags::SETTLS | Flags::PARENT_SETTID | Flags::CHILD_CLEARTID), Ok(()));
        assert_eq!(check(Flags::VM | Flags::VFORK), Ok(()));
    }
}
