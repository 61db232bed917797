//! Sending signals.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::{
    Default, SIGCONT, SIGKILL, SigInfo, SigSet,
    action::{Action, SIG_DFL, SIG_IGN},
    default_action, stop,
};
use crate::{
    arch,
    errno::{Errno, Result},
    task::{
        Process, Task, current,
        process::{GroupEnd, Inner},
        rlimit::Resource,
        sched, tree, work,
    },
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
        .filter(|node| node.zombie.is_none())
        .map(|node| node.process.clone())
        .collect();
    let mut result = Err(Errno::ESRCH);
    for process in &members {
        result = result.or(send_to_process(process, info));
    }
    result
}

fn send(target: Target<'_>, info: SigInfo, outside: bool) -> Result<()> {
    let signo = info.signo();
    let (process, thread) = match target {
        Target::Process(process) => (process, None),
        Target::Thread(task) => (&task.process, Some(task)),
    };
    let (result, continued) = {
        let mut inner = process.inner.lock();
        if inner.threads.is_empty() || matches!(inner.end, Some(GroupEnd::Exit(_))) {
            return Ok(());
        }
        let continued = stop::prepare(&mut inner, signo);
        (queue(process, thread, &mut inner, info, outside), continued)
    };
    if continued {
        stop::notify_parent(process, super::info::cld::CONTINUED, SIGCONT);
    }
    result
}

fn queue(
    process: &Arc<Process>,
    thread: Option<&Arc<Task>>,
    inner: &mut Inner,
    info: SigInfo,
    outside: bool,
) -> Result<()> {
    let signo = info.signo();
    let blocked = match thread {
        Some(task) => task.blocked(),
        None => inner.threads.first().map_or(SigSet::EMPTY, |task| task.blocked()),
    };
    let action = process.with_handlers(|handlers| handlers.get(signo));
    if !blocked.has(signo) && is_ignored(signo, action, process.unkillable.load(Ordering::Relaxed), outside) {
        return Ok(());
    }
    let limit = process.rlimit(Resource::SigPending).soft;
    let queued = match thread {
        Some(task) => task.signals.pending.lock().push(info, limit),
        None => inner.pending.push(info, limit),
    };
    if !queued {
        return Err(Errno::EAGAIN);
    }
    if signo == SIGKILL {
        inner.threads.iter().for_each(|task| wake(task, true));
        return Ok(());
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
    Ok(())
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
        me.signals.pending.lock().push(info, u64::MAX);
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
