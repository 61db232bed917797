//! Job control: stopping and continuing whole processes.
//!
//! The thread that takes a stop signal tells the others; each parks itself on its way to ring 3, and the last
//! one to park notifies the parent.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use super::{
    Entry, SIGCHLD, SIGCONT, SIGKILL, SigInfo, SigSet,
    action::{SA_NOCLDSTOP, SIG_IGN},
    info::cld,
    send,
};
use crate::{
    syscall::strace,
    task::{
        Process, current,
        process::{Inner, JobControl},
        sched, tree,
    },
};

/// What a signal does to job control when it is sent, whatever is blocked: `SIGCONT` and stop signals cancel
/// each other. Whether a stopped process was continued.
///
/// Besides it gives what was cancelled, to be dropped once the process is unlocked.
pub(super) fn prepare(inner: &mut Inner, signo: u32) -> (bool, Vec<VecDeque<Entry>>) {
    if SigSet::STOPS.has(signo) {
        return (false, take_pending(inner, SigSet::of(&[SIGCONT])));
    }
    if signo != SIGCONT && signo != SIGKILL {
        return (false, Vec::new());
    }
    let cancelled = if signo == SIGCONT { take_pending(inner, SigSet::STOPS) } else { Vec::new() };
    if inner.job.stop == 0 {
        return (false, cancelled);
    }
    let continued = inner.job.stopped && signo == SIGCONT;
    inner.job = JobControl { report_continue: continued, ..JobControl::default() };
    for task in &inner.threads {
        sched::wake_stopped(task);
    }
    (continued, cancelled)
}

/// Takes signals out of every queue of a process.
pub(crate) fn take_pending(inner: &mut Inner, signals: SigSet) -> Vec<VecDeque<Entry>> {
    let mut taken = Vec::from([inner.pending.remove(signals)]);
    taken.extend(inner.threads.iter().map(|task| task.signals.pending.lock().remove(signals)));
    taken
}

/// The current thread took a stop signal: all threads shall stop.
pub(super) fn begin(signo: u32) {
    let me = current();
    let mut inner = me.process.inner.lock();
    if inner.job.stop != 0 || inner.end.is_some() {
        return;
    }
    inner.job = JobControl { stop: signo, to_stop: inner.threads.len() as u32, ..JobControl::default() };
    for task in &inner.threads {
        send::wake(task, false);
    }
}

/// Parks the current thread while its process is stopped.
pub(super) fn park() {
    let me = current();
    let process = me.process.clone();
    let complete = {
        let mut inner = process.inner.lock();
        if inner.job.stop == 0 || inner.end.is_some() {
            return;
        }
        if strace::enabled() {
            strace::stopped(me.tid(), inner.job.stop);
        }
        one_less(&mut inner)
    };
    if let Some(signo) = complete {
        notify_parent(&process, cld::STOPPED, signo);
    }
    let stopped = || {
        let inner = process.inner.lock();
        inner.job.stop != 0 && inner.end.is_none()
    };
    while stopped() {
        sched::stop_current(stopped);
    }
}

/// One thread less that is still to stop. The signal when that was the last one.
pub fn one_less(inner: &mut Inner) -> Option<u32> {
    if inner.job.stop == 0 || inner.job.stopped {
        return None;
    }
    inner.job.to_stop = inner.job.to_stop.saturating_sub(1);
    if inner.job.to_stop != 0 {
        return None;
    }
    inner.job.stopped = true;
    inner.job.report_stop = true;
    Some(inner.job.stop)
}

/// Tells the parent that a process stopped or continued.
pub fn notify_parent(process: &Arc<Process>, code: i32, signo: u32) {
    let parent = {
        let tree = tree::lock();
        tree.node(tree.parent_of(process.pid)).map(|node| node.process.clone())
    };
    let Some(parent) = parent else { return };
    let action = parent.with_handlers(|handlers| handlers.get(SIGCHLD));
    if action.handler != SIG_IGN && !action.has(SA_NOCLDSTOP) {
        let uid = process.any_thread().map_or(0, |task| task.with_cred(|cred| cred.uid));
        let times = process.usage().ticks();
        let info = SigInfo::child(SIGCHLD, code, process.pid, uid, signo as i32, times);
        // A standard signal is merged with one that waits already; nothing is lost.
        let _ = send::send_to_process(&parent, info);
    }
    parent.child_wait.wake_all();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{SIGSTOP, SIGTSTP};

    #[test]
    fn stop_and_continue_cancel_each_other() {
        let mut inner = Inner::default();
        inner.pending.push(Entry::new(SigInfo::kernel(SIGTSTP), None));
        assert!(!prepare(&mut inner, SIGCONT).0);
        assert!(inner.pending.is_empty());
        inner.pending.push(Entry::new(SigInfo::kernel(SIGCONT), None));
        let _ = prepare(&mut inner, SIGSTOP);
        assert!(inner.pending.is_empty());
    }

    #[test]
    fn only_a_complete_stop_is_reported_as_continued() {
        let job = JobControl { stop: SIGSTOP, to_stop: 2, ..JobControl::default() };
        let mut inner = Inner { job, ..Inner::default() };
        assert_eq!(one_less(&mut inner), None);
        let mut early = Inner { job: inner.job, ..Inner::default() };
        assert!(!prepare(&mut early, SIGCONT).0);
        assert_eq!(one_less(&mut inner), Some(SIGSTOP));
        assert!(inner.job.report_stop);
        assert!(prepare(&mut inner, SIGCONT).0);
        assert!(inner.job.report_continue && !inner.job.report_stop && inner.job.stop == 0);
    }
}
