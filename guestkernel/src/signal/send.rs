//! Sending signals.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use super::{
    Default, Entry, RTMIN, SIGCONT, SIGKILL, SigInfo, SigSet,
    action::{Action, SIG_DFL, SIG_IGN},
    charge::Charge,
    default_action,
    info::SI_USER,
    stop,
};
use crate::{
    arch,
    errno::{Errno, Result},
    fs::signalfd,
    sync::SpinLockGuard,
    task::{
        Process, Task, current,
        process::{GroupEnd, Inner},
        rlimit::Resource,
        sched, tree, work,
    },
    time::posix::Timer,
};

/// Where a signal goes.
#[derive(Clone, Copy, Debug)]
enum Target<'a> {
    Process(&'a Arc<Process>),
    Thread(&'a Arc<Task>),
}

/// Sends to a process; one of its threads takes it.
///
/// # Errors
/// `EAGAIN` when too many real-time signals wait.
pub fn send_to_process(process: &Arc<Process>, info: SigInfo) -> Result<()> {
    send(Target::Process(process), info, false)
}

/// Sends to a process from outside of the container: `SIGKILL` and `SIGSTOP` reach the first process too.
///
/// # Errors
/// As [`send_to_process`].
pub fn send_from_outside(process: &Arc<Process>, info: SigInfo) -> Result<()> {
    send(Target::Process(process), info, true)
}

/// Sends to a thread.
///
/// # Errors
/// As [`send_to_process`].
pub fn send_to_task(task: &Arc<Task>, info: SigInfo) -> Result<()> {
    send(Target::Thread(task), info, false)
}

/// Sends to every process of a group.
///
/// # Errors
/// `ESRCH` when there is none; else the last error when none could be sent to.
pub fn send_to_group(pgid: u32, info: SigInfo) -> Result<()> {
    let members: alloc::vec::Vec<_> = tree::lock()
        .group(pgid)
        .filter(|node| node.zombie().is_none())
        .map(|node| node.process.clone())
        .collect();
    let mut result = Err(Errno::ESRCH);
    for process in &members {
        result = result.or(send_to_process(process, info));
    }
    result
}

/// What became of a timer's signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It waits.
    Queued,
    /// Its action is to ignore it.
    Ignored,
    /// There is nobody to take it.
    Gone,
}

/// Sends a timer's signal, which needs no room.
pub fn send_timer(
    process: &Arc<Process>,
    thread: Option<&Arc<Task>>,
    info: SigInfo,
    timer: Arc<Timer>,
) -> Sent {
    // An entry that does not get queued is dropped after the locks.
    let entry = Entry::of_timer(info, timer);
    let signo = info.signo();
    let mut inner = process.inner.lock();
    let exiting = |task: &Arc<Task>| task.exiting.load(Ordering::Relaxed);
    if thread.is_some_and(exiting) || is_over(&inner) {
        drop(inner);
        return Sent::Gone;
    }
    let removed = stop::prepare(&mut inner, signo).1;
    let sent = if has_no_effect(process, thread, &inner, signo, false) {
        Sent::Ignored
    } else {
        enqueue(thread, &mut inner, entry);
        return finish_timer(inner, thread, signo, removed);
    };
    drop(inner);
    drop(removed);
    sent
}

fn finish_timer(
    inner: SpinLockGuard<'_, Inner>,
    thread: Option<&Arc<Task>>,
    signo: u32,
    removed: Vec<VecDeque<Entry>>,
) -> Sent {
    tell(thread, &inner, signo);
    drop(inner);
    drop(removed);
    signalfd::arrived(signo);
    Sent::Queued
}

fn is_over(inner: &Inner) -> bool {
    inner.threads.is_empty() || matches!(inner.end, Some(GroupEnd::Exit(_)))
}

fn send(target: Target<'_>, info: SigInfo, outside: bool) -> Result<()> {
    let signo = info.signo();
    let (process, thread) = match target {
        Target::Process(process) => (process, None),
        Target::Thread(task) => (&task.process, Some(task)),
    };
    let (result, continued, removed) = {
        let mut inner = process.inner.lock();
        if is_over(&inner) {
            return Ok(());
        }
        let (continued, removed) = stop::prepare(&mut inner, signo);
        (queue(process, thread, &mut inner, info, outside), continued, removed)
    };
    drop(removed);
    signalfd::arrived(signo);
    if continued {
        stop::notify_parent(process, super::info::cld::CONTINUED, SIGCONT);
    }
    result
}

/// Whether nobody would take notice of the signal: it is ignored and nobody blocks it.
fn has_no_effect(
    process: &Process,
    thread: Option<&Arc<Task>>,
    inner: &Inner,
    signo: u32,
    outside: bool,
) -> bool {
    let blocked = match thread {
        Some(task) => task.blocked(),
        None => inner.threads.first().map_or(SigSet::EMPTY, |task| task.blocked()),
    };
    let action = process.with_handlers(|handlers| handlers.get(signo));
    !blocked.has(signo) && is_ignored(signo, action, process.unkillable.load(Ordering::Relaxed), outside)
}

fn queue(
    process: &Arc<Process>,
    thread: Option<&Arc<Task>>,
    inner: &mut Inner,
    info: SigInfo,
    outside: bool,
) -> Result<()> {
    let signo = info.signo();
    if has_no_effect(process, thread, inner, signo, outside) {
        return Ok(());
    }
    let merges = match thread {
        Some(task) => task.signals.pending.lock().merges(signo),
        None => inner.pending.merges(signo),
    };
    if merges {
        return Ok(());
    }
    // Standard signals that the kernel or kill(2) sends are never lost, though what they say may be.
    let free = signo < RTMIN && info.code() >= 0;
    let limit = if free { u64::MAX } else { process.rlimit(Resource::SigPending).soft };
    let receiver = thread.or_else(|| inner.threads.first());
    match receiver.and_then(|task| Charge::new(task.with_cred(|cred| cred.uid), limit)) {
        Some(charge) => enqueue(thread, inner, Entry::new(info, Some(charge))),
        None if signo >= RTMIN && info.code() != SI_USER => return Err(Errno::EAGAIN),
        None => match thread {
            Some(task) => task.signals.pending.lock().push_bare(signo),
            None => inner.pending.push_bare(signo),
        },
    }
    tell(thread, inner, signo);
    Ok(())
}

fn enqueue(thread: Option<&Arc<Task>>, inner: &mut Inner, entry: Entry) {
    match thread {
        Some(task) => task.signals.pending.lock().push(entry),
        None => inner.pending.push(entry),
    }
}

/// Makes somebody who takes the signal look at it.
fn tell(thread: Option<&Arc<Task>>, inner: &Inner, signo: u32) {
    if signo == SIGKILL {
        inner.threads.iter().for_each(|task| wake(task, true));
        return;
    }
    let wants = |task: &Arc<Task>| !task.exiting.load(Ordering::Relaxed) && !task.blocked().has(signo);
    match thread {
        Some(task) if wants(task) => wake(task, false),
        // Whoever waits for it in `sigtimedwait` has it blocked.
        Some(task) => wake_waiter(task, signo),
        None => match inner.threads.iter().find(|task| wants(task)) {
            Some(task) => wake(task, false),
            None => inner.threads.iter().for_each(|task| wake_waiter(task, signo)),
        },
    }
}

/// Whether a signal that is not blocked would have no effect.
fn is_ignored(signo: u32, action: Action, unkillable: bool, outside: bool) -> bool {
    if unkillable && action.handler == SIG_DFL && !(outside && SigSet::UNBLOCKABLE.has(signo)) {
        return true;
    }
    action.handler == SIG_IGN || action.handler == SIG_DFL && default_action(signo) == Default::Ignore
}

/// Makes a thread look at its signals.
pub fn wake(task: &Arc<Task>, kill: bool) {
    task.ctx.work.fetch_or(work::SIGNAL, Ordering::SeqCst);
    // A kill wakes from every kind of wait: whatever waits looks again at what it waits for, and at this.
    if sched::wake_interruptible(task) || kill && (sched::wake_stopped(task) || sched::wake(task)) {
        return;
    }
    let cpu = task.sched.cpu();
    if !current().is(task) && cpu != arch::cpu::current_index() && task.sched.letter() == b'R' {
        arch::kick(cpu);
    }
}

/// Wakes a thread that waits in `sigtimedwait` for a blocked signal.
fn wake_waiter(task: &Arc<Task>, signo: u32) {
    if task.signals.waiting_for.load(Ordering::SeqCst) & SigSet::of(&[signo]).0 != 0 {
        sched::wake_interruptible(task);
    }
}

/// Sets or clears the thread's work bit by what waits for it.
pub fn recalculate(task: &Task) {
    let inner = task.process.inner.lock();
    recalculate_locked(task, &inner);
}

/// As [`recalculate`], with the process's lock held.
pub(super) fn recalculate_locked(task: &Task, inner: &Inner) {
    let blocked = task.blocked();
    let ends = match inner.end {
        Some(GroupEnd::Exit(_)) => true,
        Some(GroupEnd::Exec(by)) => by != task.tid(),
        None => false,
    };
    let waits = ends
        || inner.job.stop != 0
        || inner.pending.next(blocked).is_some()
        || task.signals.pending.lock().next(blocked).is_some();
    if waits {
        task.ctx.work.fetch_or(work::SIGNAL, Ordering::SeqCst);
    } else {
        task.ctx.work.fetch_and(!work::SIGNAL, Ordering::SeqCst);
    }
}

/// Raises a signal that the current thread cannot escape: when it is blocked or ignored the default action is
/// taken.
pub fn force_signal(info: SigInfo) {
    let me = current();
    let signo = info.signo();
    {
        let _inner = me.process.inner.lock();
        me.process.with_handlers(|handlers| {
            let action = handlers.get(signo);
            if action.handler == SIG_IGN || me.blocked().has(signo) {
                handlers.set(signo, Action::default());
                me.process.unkillable.store(false, Ordering::Relaxed);
            } else if action.handler == SIG_DFL {
                me.process.unkillable.store(false, Ordering::Relaxed);
            }
        });
        me.signals.pending.lock().push(Entry::new(info, None));
    }
    let mut mask = me.blocked();
    mask.remove(signo);
    me.set_blocked(mask);
}

/// Raises the signal of a fault.
pub fn force_fault(signo: u32, code: i32, addr: u64) {
    force_signal(SigInfo::fault(signo, code, addr));
}

/// Notes the facts of a fault for the signal frame: trap number, error code, address.
pub fn note_fault(trap: u64, error: u64, addr: u64) {
    *current().signals.fault.lock() = [trap, error, addr];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{SIGCHLD, SIGSTOP, SIGTERM};

    #[test]
    fn the_first_process_takes_only_what_it_handles() {
        let default = Action::default();
        assert!(is_ignored(SIGTERM, default, true, false));
        assert!(is_ignored(SIGKILL, default, true, false));
        assert!(is_ignored(SIGTERM, default, true, true));
        assert!(!is_ignored(SIGKILL, default, true, true));
        assert!(!is_ignored(SIGSTOP, default, true, true));
        assert!(!is_ignored(SIGTERM, Action { handler: 0x1000, ..default }, true, false));
    }

    #[test]
    fn default_ignored_signals_have_no_effect_unless_handled() {
        assert!(is_ignored(SIGCHLD, Action::default(), false, false));
        assert!(!is_ignored(SIGCHLD, Action { handler: 0x1000, ..Action::default() }, false, false));
        assert!(!is_ignored(SIGTERM, Action::default(), false, false));
    }
}
