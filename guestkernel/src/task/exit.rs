//! The end of threads and processes.
//!
//! A thread lets go of its memory, files and names, leaves its group, and never runs again. The last one makes
//! the process a zombie: children get a new parent, the parent is told, and what is left waits for `wait4`.
//! The end of the first process ends the sandbox.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use super::{
    Process, Task, command, current,
    process::GroupEnd,
    sched,
    tree::{self, Tree, Zombie},
};
use crate::{
    arch::{self, uaccess},
    fs::locks,
    futex,
    signal::{
        self, SIGCHLD, SIGCONT, SIGHUP, SigInfo,
        action::{SA_NOCLDWAIT, SIG_IGN},
        info::cld,
        send, stop,
    },
    syscall::strace,
    time::{posix, timer},
    tty,
};

/// Ends the whole group with this wait status.
pub fn exit_group(status: i32) -> ! {
    let me = current();
    let status = {
        let mut inner = me.process.inner.lock();
        match inner.end {
            Some(GroupEnd::Exit(status)) => status,
            Some(GroupEnd::Exec(by)) if by != me.tid() => 0,
            _ => {
                inner.end = Some(GroupEnd::Exit(status));
                inner.threads.iter().filter(|task| !me.is(task)).for_each(|task| send::wake(task, true));
                status
            }
        }
    };
    exit_thread(status)
}

/// Ends the current thread; `status` counts if it is the last one or the leader.
pub fn exit_thread(status: i32) -> ! {
    {
        let me = current();
        me.exiting.store(true, Ordering::SeqCst);
        if strace::enabled() {
            strace::ended(me.tid(), status);
        }
        release_memory(&me);
        me.undo_semaphores();
        drop(me.set_files(None));
        drop(me.set_fs(None));
        // Mounts of its own go with it, not with the zombie.
        me.set_namespaces(super::namespace::initial());
        let process = me.process.clone();
        let last = leave_group(&me, &process, status);
        me.seccomp.release();
        process.threads_wait.wake_all();
        match last {
            Some(status) => {
                // What nobody runs any more may be written.
                let exe = process.inner.lock().exe.take();
                drop(exe);
                finish(&process, status, me.with_cred(|cred| cred.uid));
            }
            None => hand_children_over(&me, &process),
        }
        crate::mem::give_back::arm();
    }
    sched::exit_current()
}

/// Lets go of the address space, with what its users expect at that point: the thread-id word cleared, robust
/// futexes marked, a vfork parent woken.
pub(super) fn release_memory(me: &Task) {
    futex::exit(me);
    let clear = me.clear_child_tid.swap(0, Ordering::Relaxed);
    if clear != 0 && me.address_space().is_some_and(|mm| Arc::strong_count(&mm) > 2) {
        // A bad address is the program's own affair.
        if uaccess::put(clear, &0u32).is_ok() {
            futex::wake_address(clear, 1);
        }
    }
    let mm = me.mm.lock().take();
    if let Some(mm) = &mm {
        let peak = mm.usage().2 * 4;
        let mut inner = me.process.inner.lock();
        inner.dead.max_rss = inner.dead.max_rss.max(peak);
    }
    drop(mm);
    if let Some(done) = me.vfork.lock().take() {
        done.complete();
    }
}

/// Takes the thread off its group and the table. The process's status when it was the last one.
fn leave_group(me: &Task, process: &Arc<Process>, status: i32) -> Option<i32> {
    let mut stopped = None;
    let mut waiting = arrayvec::ArrayVec::<_, 2>::new();
    let (last, gone) = {
        let mut tree = tree::lock();
        let gone = tree.remove_task(me.tid());
        let mut inner = process.inner.lock();
        if me.is_leader() {
            inner.leader_status = status;
        }
        inner.threads.retain(|task| !core::ptr::eq(Arc::as_ptr(task), me));
        let usage = me.usage();
        inner.dead.add(&usage);
        if inner.threads.is_empty() {
            let status = match inner.end {
                Some(GroupEnd::Exit(status)) => status,
                _ => inner.leader_status,
            };
            inner.end = Some(GroupEnd::Exit(status));
            waiting.push(core::mem::take(&mut inner.pending));
            (Some(status), gone)
        } else {
            stopped = stop::one_less(&mut inner);
            (None, gone)
        }
    };
    drop(gone);
    // Signals that nobody takes any more count for the user no longer, however long the task itself is kept.
    waiting.push(core::mem::take(&mut *me.signals.pending.lock()));
    drop(waiting);
    if let Some(signo) = stopped {
        stop::notify_parent(process, cld::STOPPED, signo);
    }
    last
}

/// The children of a thread that ends become those of another one of its process; they are told as if their
/// parent had ended.
fn hand_children_over(me: &Task, process: &Arc<Process>) {
    let signals = {
        let mut tree = tree::lock();
        if tree.node(process.pid).is_none_or(|node| node.children.is_empty()) {
            return;
        }
        let Some(heir) = process.any_thread() else { return };
        let mut signals = Vec::new();
        for child in tree.hand_over(process.pid, me.tid(), heir.tid()) {
            death_signals(&child, process.pid, &mut signals);
        }
        signals
    };
    for (to, info) in signals {
        // A standard signal is merged with one that waits already; nothing is lost.
        let _ = signal::send_to_process(&to, info);
    }
}

/// The signals of `PR_SET_PDEATHSIG` that the threads of a child asked for.
fn death_signals(child: &Arc<Process>, parent: u32, signals: &mut Vec<(Arc<Process>, SigInfo)>) {
    for task in child.inner.lock().threads.iter() {
        let signo = task.death_signal.load(Ordering::Relaxed);
        if signo != 0 {
            signals.push((child.clone(), SigInfo::user(signo, 0, parent, 0)));
        }
    }
}

/// Somebody to tell once the table is unlocked.
#[derive(Default)]
struct Notices {
    signals: Vec<(Arc<Process>, SigInfo)>,
    wake: Vec<Arc<Process>>,
    reaped: Vec<tree::Node>,
}

/// The last thread is gone.
fn finish(process: &Arc<Process>, status: i32, uid: u32) {
    let (itimer, exe) = {
        let mut inner = process.inner.lock();
        (inner.itimer.take(), inner.exe.take())
    };
    if let Some((timer, ..)) = itimer {
        timer::cancel(timer);
    }
    posix::clear(process);
    drop(exe);
    // fcntl(2): record locks belong to the process, whoever still shares its descriptors.
    locks::process_exit(process.pid);
    if process.pid == 1 {
        log::debug!("the first process ended with status {status:#x}");
        tty::joint::drain(0);
        arch::exit_sandbox(status);
    }
    let tag = process.tag.load(Ordering::Relaxed);
    if tag != 0 {
        tty::joint::drain(tag);
    }
    tty::control::leave(process, true);
    if tag != 0 {
        tty::joint::end(tag);
    }
    let usage = process.usage();
    let mut notices = Notices::default();
    {
        let mut tree = tree::lock();
        hang_up_orphans(&tree, process.pid, &mut notices);
        signal_on_parent_death(&tree, process.pid, &mut notices);
        let reaper = tree.reaper_of(process.pid);
        for child in tree.reparent(process.pid, reaper) {
            tell_parent(&mut tree, child, &mut notices);
        }
        tree.end(process.pid, Zombie { status, uid, usage });
        if process.unwaited.load(Ordering::Relaxed) {
            notices.reaped.extend(tree.remove_process(process.pid));
        } else {
            tell_parent(&mut tree, process.pid, &mut notices);
        }
    }
    command::ended(process, status);
    for (to, info) in notices.signals {
        // A standard signal is merged with one that waits already; nothing is lost.
        let _ = signal::send_to_process(&to, info);
    }
    for process in notices.wake {
        process.child_wait.wake_all();
    }
    process.ended.wake_all();
    for node in notices.reaped {
        node.process.ended.wake_all();
    }
}

/// Tells the parent of a zombie, or removes it when the parent does not want to know.
fn tell_parent(tree: &mut Tree, pid: u32, notices: &mut Notices) {
    let Some(node) = tree.node(pid) else { return };
    let Some(&zombie) = node.zombie() else { return };
    let Some(parent) = tree.node(node.parent).map(|parent| parent.process.clone()) else { return };
    let signo = node.process.exit_signal.load(Ordering::Relaxed);
    if (1..=signal::MAX).contains(&signo) {
        let action = parent.with_handlers(|handlers| handlers.get(signo));
        if signo == SIGCHLD && (action.handler == SIG_IGN || action.has(SA_NOCLDWAIT)) {
            notices.reaped.extend(tree.remove_process(pid));
        }
        if !(signo == SIGCHLD && action.handler == SIG_IGN) {
            notices.signals.push((parent.clone(), child_info(signo, pid, &zombie)));
        }
    }
    notices.wake.push(parent);
}

/// `SIGCHLD`'s information about an end.
fn child_info(signo: u32, pid: u32, zombie: &Zombie) -> SigInfo {
    let (code, value) = super::wait4::decode(zombie.status);
    SigInfo::child(signo, code, pid, zombie.uid, value, zombie.usage.ticks())
}

/// Stopped groups that nobody can continue any more, once `pid` is gone, get `SIGHUP` and `SIGCONT`.
fn hang_up_orphans(tree: &Tree, pid: u32, notices: &mut Notices) {
    let Some(node) = tree.node(pid) else { return };
    let own = (node.pgid, node.sid);
    let children = node.children.iter().filter_map(|child| tree.node(child));
    let mut groups: Vec<u32> =
        children.filter(|child| child.sid == own.1 && child.pgid != own.0).map(|child| child.pgid).collect();
    if tree.node(node.parent).is_some_and(|parent| parent.sid == own.1 && parent.pgid != own.0) {
        groups.push(own.0);
    }
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        let members = || tree.group(group).filter(|member| member.process.pid != pid);
        let stopped = members().any(|member| member.process.inner.lock().job.stopped);
        if stopped && tree.would_be_orphaned(group, pid) {
            for member in members() {
                notices.signals.push((member.process.clone(), SigInfo::kernel(SIGHUP)));
                notices.signals.push((member.process.clone(), SigInfo::kernel(SIGCONT)));
            }
        }
    }
}

/// `PR_SET_PDEATHSIG`.
fn signal_on_parent_death(tree: &Tree, pid: u32, notices: &mut Notices) {
    let Some(node) = tree.node(pid) else { return };
    for child in node.children.iter().filter_map(|child| tree.node(child)) {
        death_signals(&child.process, pid, &mut notices.signals);
    }
}
