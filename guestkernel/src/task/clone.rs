//! Making tasks: fork, vfork, clone.

mod args;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{
    AltStack, Parts, Process, Task,
    cred::{Caps, Cred},
    current, namespace,
    rlimit::{INFINITY, Resource},
    sched, tree, work,
};
use crate::{
    arch::{UserRegs, uaccess},
    errno::{Errno, Result},
    fs::pidfd,
    mem::kstack::KernelStack,
    signal::Handlers,
    task::wait::WaitQueue,
};

pub use args::{CloneArgs, Flags};

/// Whether the caller may have the new namespaces that `flags` ask for.
fn check_namespaces(flags: Flags) -> Result<()> {
    let wanted = flags & (Flags::NAMESPACES | Flags::NEWTIME);
    if wanted.is_empty() {
        return Ok(());
    }
    let may = current().with_cred(|cred| cred.capable(Caps::SYS_ADMIN));
    match namespace::NEW.contains(wanted) {
        true if may => Ok(()),
        // As where Linux was built without them.
        _ if may || wanted.contains(Flags::NEWUSER) => Err(Errno::EINVAL),
        _ => Err(Errno::EPERM),
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

/// Gives the parent a descriptor of the child. The number.
fn make_pidfd(me: &Task, child: &Arc<Task>, args: &CloneArgs) -> Result<i32> {
    let file = pidfd::open(child, args.flags.contains(Flags::THREAD), 0);
    let files = me.files();
    let fd = files.install(file, true, 0, me.process.rlimit(Resource::OpenFiles).soft)?;
    uaccess::put(args.pidfd, &fd).inspect_err(|_| drop(files.close(fd)))?;
    Ok(fd)
}

/// An id for the child: any, or what the caller wants.
fn child_id(me: &Task, args: &CloneArgs) -> Result<u32> {
    let Some(wanted) = args.wanted_tid else { return tree::lock().allocate() };
    let id = u32::try_from(wanted).ok().filter(|&id| id != 0 && id < tree::PID_MAX).ok_or(Errno::EINVAL)?;
    if !me.with_cred(|cred| cred.capable(Caps::SYS_ADMIN) || cred.capable(Caps::CHECKPOINT_RESTORE)) {
        return Err(Errno::EPERM);
    }
    tree::lock().claim(id)
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
    let fs = if flags.contains(Flags::FS) { fs } else { fs.fork() };
    let mut namespaces = me.namespaces();
    if flags.intersects(namespace::NEW) {
        namespaces = namespaces.unshare(flags, &fs)?;
    }
    let parts = Parts {
        mm: Some(if flags.contains(Flags::VM) { mm } else { mm.fork()? }),
        files: Some(if flags.contains(Flags::FILES) { files } else { files.fork() }),
        fs: Some(fs),
    };
    let tid = child_id(me, args)?;
    let process = if flags.contains(Flags::THREAD) {
        me.process.clone()
    } else {
        Arc::new(new_process(&me.process, tid, args))
    };
    let mut cred = me.cred();
    if !flags.contains(Flags::THREAD) {
        // A process's credentials are its own, also while they are like its parent's.
        cred = Arc::new(Cred::clone(&cred));
    }
    let mut child = Task::build(tid, process, ctx, Some(stack), cred, parts);
    inherit(&mut child, me, args);
    *child.namespaces.get_mut() = namespaces;
    if flags.contains(Flags::SYSVSEM) {
        *child.sem_undo.get_mut() = Some(me.sem_undo());
    }
    let child = Arc::new(child);
    // Before the child can be seen: from there on nothing may fail.
    let pidfd = if flags.contains(Flags::PIDFD) { Some(make_pidfd(me, &child, args)?) } else { None };
    let entered = if flags.contains(Flags::INTO_CGROUP) { into_cgroup(me, args) } else { Ok(()) };
    if let Err(error) = entered.and_then(|()| enter(&child, me, flags)) {
        if let Some(fd) = pidfd {
            drop(me.files().close(fd));
        }
        return Err(error);
    }
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
    process.no_huge_pages.store(parent.no_huge_pages.load(Ordering::Relaxed), Ordering::Relaxed);
    process.tty.set(parent.tty.terminal());
    process.dumpable.store(parent.dumpable.load(Ordering::Relaxed), Ordering::Relaxed);
    process.oom.inherit(&parent.oom);
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
    *child.default_timer_slack.get_mut() = me.timer_slack.load(Ordering::Relaxed);
    *child.io_priority.get_mut() = me.io_priority.load(Ordering::Relaxed);
    *child.traits.get_mut() = me.traits();
    if !flags.contains(Flags::VM) {
        child.rseq.inherit(&me.rseq);
    }
    *child.personality.get_mut() = me.personality.load(Ordering::Relaxed);
    *child.no_new_privs.get_mut() = me.no_new_privs.load(Ordering::Relaxed);
}

/// Policy, priority and nice value.
fn inherit_share(child: &mut Task, me: &Task) {
    let nice = me.nice.load(Ordering::Relaxed);
    let reset = me.reset_on_fork.load(Ordering::Relaxed) && (me.sched.share.priority() > 0 || nice < 0);
    *child.nice.get_mut() = if reset { 0 } else { nice };
    if reset {
        child.sched.share.reset();
    }
}

/// No descriptor is one of a cgroup.
fn into_cgroup(me: &Task, args: &CloneArgs) -> Result<()> {
    me.file(args.cgroup).and(Err(Errno::EBADF))
}

/// Enters the child in its group and in the table.
fn enter(child: &Arc<Task>, me: &Task, flags: Flags) -> Result<()> {
    let mut tree = tree::lock();
    if tree.was_taken(child.tid()) {
        return Err(Errno::EAGAIN);
    }
    // Whoever was sent a signal by now makes no child that it would miss.
    if me.signal_pending() {
        return Err(Errno::ERESTARTNOINTR);
    }
    if !flags.contains(Flags::THREAD) {
        let caller = me.process.pid;
        let Some((mut parent, pgid, sid)) =
            tree.node(caller).map(|node| ((node.parent, node.parent_thread), node.pgid, node.sid))
        else {
            return Err(Errno::EAGAIN);
        };
        if !flags.contains(Flags::PARENT) {
            parent = (caller, me.tid());
        }
        tree.add_process(child.process.clone(), parent.0);
        if let Some(node) = tree.node_mut(child.tid()) {
            (node.parent_thread, node.pgid, node.sid) = (parent.1, pgid, sid);
        }
    }
    {
        let mut inner = child.process.inner.lock();
        if inner.end.is_some() || inner.job.stop != 0 {
            return Err(Errno::ERESTARTNOINTR);
        }
        // Under the lock that TSYNC takes: either it sees the child, or the child sees what it did.
        child.seccomp.inherit(&me.seccomp);
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
    check_namespaces(flags)?;
    let group = Flags::THREAD | Flags::SIGHAND | Flags::VM;
    if flags.intersects(group) && me.process.inner.lock().threads.len() > 1 {
        return Err(Errno::EINVAL);
    }
    let mut fs = me.fs()?;
    let own_fs = flags.intersects(Flags::FS | Flags::NEWNS);
    if own_fs {
        fs = fs.fork();
    }
    let namespaces =
        if flags.intersects(namespace::NEW) { Some(me.namespaces().unshare(flags, &fs)?) } else { None };
    if flags.intersects(Flags::SYSVSEM | Flags::NEWIPC) {
        me.undo_semaphores();
    }
    if let Some(namespaces) = namespaces {
        me.set_namespaces(namespaces);
    }
    if own_fs {
        drop(me.set_fs(Some(fs)));
    }
    if flags.contains(Flags::FILES) {
        drop(me.set_files(Some(me.files().fork())));
    }
    Ok(())
}
