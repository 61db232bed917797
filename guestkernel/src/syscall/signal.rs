//! Signals.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use super::{Args, time};
use crate::{
    arch::{UserRegs, clock, uaccess},
    errno::{Errno, Result},
    futex,
    signal::{
        self, Action, Default, Entry, SIGCONT, SigInfo, SigSet,
        action::{SA_KNOWN, SIG_DFL, SIG_IGN},
        default_action,
        frame::{SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, Stack},
        info::{SI_TKILL, SI_USER},
        send,
    },
    task::{
        AltStack, Process, Restart, Task,
        cred::{Caps, Cred},
        current, sched, tree,
    },
    time::clocks::Clock,
};

/// `sizeof(sigset_t)` in the kernel.
const SET_SIZE: usize = 8;
/// `MINSIGSTKSZ`.
const MIN_STACK: u64 = 2048;

fn check_size(size: usize) -> Result<()> {
    if size == SET_SIZE { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Reads a mask.
fn get_set(addr: u64) -> Result<SigSet> {
    uaccess::get(addr).map(SigSet)
}

/// `rt_sigaction(2)`.
pub fn rt_sigaction(args: &Args) -> Result<u64> {
    check_size(args.size(3))?;
    let signo = args.int(0);
    let new: Option<Action> = if args.addr(1) == 0 { None } else { Some(uaccess::get(args.addr(1))?) };
    if !signal::is_valid(signo) || new.is_some() && SigSet::UNBLOCKABLE.has(signo as u32) {
        return Err(Errno::EINVAL);
    }
    let signo = signo as u32;
    let me = current();
    let old = match new {
        None => me.process.with_handlers(|handlers| handlers.get(signo)),
        Some(mut new) => {
            new.flags &= SA_KNOWN;
            new.mask &= !SigSet::UNBLOCKABLE.0;
            let old = me.process.with_handlers(|handlers| handlers.set(signo, new));
            let ignored =
                new.handler == SIG_IGN || new.handler == SIG_DFL && default_action(signo) == Default::Ignore;
            if ignored {
                forget(&me.process, signo);
            }
            old
        }
    };
    if args.addr(2) != 0 {
        uaccess::put(args.addr(2), &old)?;
    }
    Ok(0)
}

/// Drops pending signals that are ignored from now on.
fn forget(process: &Process, signo: u32) {
    let dropped = signal::stop::take_pending(&mut process.inner.lock(), SigSet::of(&[signo]));
    drop(dropped);
}

/// `rt_sigprocmask(2)`.
pub fn rt_sigprocmask(args: &Args) -> Result<u64> {
    check_size(args.size(3))?;
    let me = current();
    let old = me.blocked();
    if args.addr(1) != 0 {
        let set = get_set(args.addr(1))?;
        let new = match args.int(0) {
            0 => old.union(set),
            1 => old.without(set),
            2 => set,
            _ => return Err(Errno::EINVAL),
        };
        me.set_blocked(new);
    }
    if args.addr(2) != 0 {
        uaccess::put(args.addr(2), &old.0)?;
    }
    Ok(0)
}

/// `rt_sigreturn(2)`.
pub fn rt_sigreturn(regs: &mut UserRegs) -> Result<u64> {
    signal::frame::sigreturn(regs);
    Ok(regs.rax)
}

/// `rt_sigpending(2)`.
pub fn rt_sigpending(args: &Args) -> Result<u64> {
    if args.size(1) > SET_SIZE {
        return Err(Errno::EINVAL);
    }
    let me = current();
    let waiting = me.process.inner.lock().pending.set().union(me.signals.pending.lock().set());
    let set = waiting.intersection(me.blocked()).0.to_le_bytes();
    uaccess::copy_to_user(args.addr(0), set.get(..args.size(1)).unwrap_or(&set)).map(|()| 0)
}

/// `rt_sigsuspend(2)`.
pub fn rt_sigsuspend(args: &Args) -> Result<u64> {
    check_size(args.size(1))?;
    let set = get_set(args.addr(0))?;
    current().set_blocked_for_call(set);
    sleep_until_signal()
}

/// pause(2).
pub fn pause(_: &Args) -> Result<u64> {
    sleep_until_signal()
}

fn sleep_until_signal() -> Result<u64> {
    let me = current().arc();
    while !me.signal_pending() {
        sched::prepare_to_block(&me, true);
        sched::block(&me, true, None);
    }
    Err(Errno::ERESTARTNOHAND)
}

/// `rt_sigtimedwait(2)`.
pub fn rt_sigtimedwait(args: &Args) -> Result<u64> {
    check_size(args.size(3))?;
    let wanted = get_set(args.addr(0))?.without(SigSet::UNBLOCKABLE);
    let deadline = match args.addr(2) {
        0 => None,
        addr => Some(clock::monotonic_ns().saturating_add(time::get_timespec(addr)?)),
    };
    let info = wait_for(wanted, deadline)?;
    if args.addr(1) != 0 {
        uaccess::put(args.addr(1), &info)?;
    }
    Ok(u64::from(info.signo()))
}

fn wait_for(wanted: SigSet, deadline: Option<u64>) -> Result<SigInfo> {
    let me = current().arc();
    let take = || {
        let mut inner = me.process.inner.lock();
        let own = me.signals.pending.lock().pop(SigSet(!wanted.0));
        let entry = own.or_else(|| inner.pending.pop(SigSet(!wanted.0)));
        drop(inner);
        entry.map(Entry::take)
    };
    me.signals.waiting_for.store(wanted.0, Ordering::SeqCst);
    let result = loop {
        sched::prepare_to_block(&me, true);
        if let Some(info) = take() {
            sched::cancel_block(&me);
            break Ok(info);
        }
        let end = sched::block(&me, true, deadline);
        if let Some(info) = take() {
            break Ok(info);
        }
        match end {
            sched::BlockEnd::Woken => {}
            sched::BlockEnd::TimedOut => break Err(Errno::EAGAIN),
            sched::BlockEnd::Interrupted => break Err(Errno::EINTR),
        }
    };
    me.signals.waiting_for.store(0, Ordering::SeqCst);
    send::recalculate(&me);
    result
}

/// Whether the caller may send `signo` to the process of `target`.
pub(super) fn may_signal(own: &Cred, target: &Task, signo: u32) -> bool {
    if alloc::sync::Arc::ptr_eq(&current().process, &target.process) || own.capable(Caps::KILL) {
        return true;
    }
    let same_user =
        target.with_cred(|other| [own.euid, own.uid].iter().any(|id| *id == other.uid || *id == other.suid));
    same_user || signo == SIGCONT && same_session(target)
}

fn same_session(target: &Task) -> bool {
    let tree = tree::lock();
    let session = |pid| tree.node(pid).map(|node| node.sid);
    session(current().process.pid) == session(target.process.pid)
}

pub(super) fn signal_number(value: i32) -> Result<u32> {
    if (0..=signal::MAX as i32).contains(&value) { Ok(value as u32) } else { Err(Errno::EINVAL) }
}

/// As Linux this is looked at when there is somebody to send to.
fn check_signal(signo: u32) -> Result<()> {
    if signo <= signal::MAX { Ok(()) } else { Err(Errno::EINVAL) }
}

pub(super) fn own_info(signo: u32, code: i32) -> SigInfo {
    let me = current();
    SigInfo::user(signo, code, me.process.pid, me.with_cred(|cred| cred.uid))
}

/// Checks and sends to one process; `signo` 0 only checks.
pub(super) fn send_checked(process: &Arc<Process>, info: SigInfo, signo: u32) -> Result<()> {
    check_signal(signo)?;
    let cred = current().cred();
    match process.any_thread() {
        Some(task) if !may_signal(&cred, &task, signo) => Err(Errno::EPERM),
        Some(_) if signo != 0 => send::send_to_process(process, info),
        // A zombie takes everything.
        _ => Ok(()),
    }
}

/// kill(2).
pub fn kill(args: &Args) -> Result<u64> {
    let signo = args.uint(1);
    let info = own_info(signo, SI_USER);
    let pid = args.int(0);
    if pid > 0 {
        let process = process_named(pid as u32)?;
        return send_checked(&process, info, signo).map(|()| 0);
    }
    if pid == i32::MIN {
        return Err(Errno::ESRCH);
    }
    let own = current().process.pid;
    let tree = tree::lock();
    let group = match pid {
        -1 => None,
        0 => tree.node(own).map(|node| node.pgid),
        _ => Some(pid.unsigned_abs()),
    };
    let wanted = |node: &&tree::Node| match group {
        Some(group) => node.pgid == group,
        None => node.process.pid != 1 && node.process.pid != own,
    };
    let targets: Vec<Arc<Process>> = tree.nodes().filter(wanted).map(|node| node.process.clone()).collect();
    // A kill reaches all of them before one can fork, or a fork bomb would outrun it. Sending it takes no lock that
    // comes before the table's.
    let _tree = (signo == signal::SIGKILL).then_some(tree);
    if targets.is_empty() {
        return Err(Errno::ESRCH);
    }
    let (mut sent, mut result) = (false, Ok(()));
    for process in &targets {
        match send_checked(process, info, signo) {
            Ok(()) => sent = true,
            // Whoever signals everybody means those that it may signal.
            Err(Errno::EPERM) if pid == -1 => {}
            Err(error) => result = Err(error),
        }
    }
    if sent && pid != -1 { Ok(0) } else { result.map(|()| 0) }
}

/// The process of an id, which may be any thread's.
fn process_named(pid: u32) -> Result<Arc<Process>> {
    tree::process(pid).or_else(|| tree::task(pid).map(|task| task.process.clone())).ok_or(Errno::ESRCH)
}

fn send_to_thread(group: Option<i32>, tid: i32, info: SigInfo, signo: u32) -> Result<u64> {
    if tid <= 0 || group.is_some_and(|group| group <= 0) {
        return Err(Errno::EINVAL);
    }
    let task = tree::task(tid as u32).ok_or(Errno::ESRCH)?;
    if group.is_some_and(|group| task.process.pid != group as u32) {
        return Err(Errno::ESRCH);
    }
    check_signal(signo)?;
    if !may_signal(&current().cred(), &task, signo) {
        return Err(Errno::EPERM);
    }
    if signo != 0 {
        send::send_to_task(&task, info)?;
    }
    Ok(0)
}

/// tkill(2).
pub fn tkill(args: &Args) -> Result<u64> {
    let signo = args.uint(1);
    send_to_thread(None, args.int(0), own_info(signo, SI_TKILL), signo)
}

/// tgkill(2).
pub fn tgkill(args: &Args) -> Result<u64> {
    let signo = args.uint(2);
    send_to_thread(Some(args.int(0)), args.int(1), own_info(signo, SI_TKILL), signo)
}

/// The `siginfo_t` of a `*queueinfo` call. Nobody pretends to be the kernel towards others.
fn queued_info(addr: u64, signo: u32, target: i32) -> Result<SigInfo> {
    let mut info: SigInfo = uaccess::get(addr)?;
    info.set_signo(signo);
    if (info.code() >= 0 || info.code() == SI_TKILL) && target != current().process.pid as i32 {
        return Err(Errno::EPERM);
    }
    Ok(info)
}

/// `rt_sigqueueinfo(2)`.
pub fn rt_sigqueueinfo(args: &Args) -> Result<u64> {
    let signo = args.uint(1);
    let info = queued_info(args.addr(2), signo, args.int(0))?;
    let pid = u32::try_from(args.int(0)).map_err(|_| Errno::ESRCH)?;
    send_checked(&process_named(pid)?, info, signo).map(|()| 0)
}

/// `rt_tgsigqueueinfo(2)`.
pub fn rt_tgsigqueueinfo(args: &Args) -> Result<u64> {
    let signo = args.uint(2);
    let info = queued_info(args.addr(3), signo, args.int(0))?;
    send_to_thread(Some(args.int(0)), args.int(1), info, signo)
}

/// sigaltstack(2).
pub fn sigaltstack(args: &Args) -> Result<u64> {
    let me = current();
    let sp = me.ctx.user_regs().rsp;
    let new: Option<Stack> = if args.addr(0) == 0 { None } else { Some(uaccess::get(args.addr(0))?) };
    let old = me.signals.alt_stack.lock().show(Some(sp));
    if let Some(new) = new {
        set_alt_stack(&me, &new, sp)?;
    }
    if args.addr(1) != 0 {
        uaccess::put(args.addr(1), &old)?;
    }
    Ok(0)
}

/// Sets the alternate stack of the current task, whose stack pointer is `sp`.
///
/// # Errors
/// `EPERM` while it is in use, `EINVAL`, `ENOMEM` when it is too small.
pub fn set_alt_stack(me: &Task, new: &Stack, sp: u64) -> Result<()> {
    let mut slot = me.signals.alt_stack.lock();
    if slot.holds(sp) {
        return Err(Errno::EPERM);
    }
    let mode = new.flags & !SS_AUTODISARM;
    *slot = match mode {
        SS_DISABLE => AltStack { flags: new.flags & SS_AUTODISARM, ..AltStack::default() },
        0 | SS_ONSTACK if new.size < MIN_STACK => return Err(Errno::ENOMEM),
        0 | SS_ONSTACK => AltStack { base: new.base, size: new.size, flags: new.flags & SS_AUTODISARM },
        _ => return Err(Errno::EINVAL),
    };
    Ok(())
}

/// `restart_syscall(2)`: an interrupted sleep goes on.
pub fn restart_syscall(_: &Args) -> Result<u64> {
    let what = current().signals.restart.lock().take();
    match what {
        Some(Restart::Sleep { until, remaining }) => time::sleep_until(until, remaining),
        Some(Restart::CpuSleep { id, until, remaining }) => {
            let cpu = Clock::find(id, false)?.cpu().ok_or(Errno::EINTR)?;
            time::sleep_cpu(&cpu, id, until, remaining, false)
        }
        Some(Restart::Futex { addr, value, bits, private, until }) => {
            futex::wait_restartable(addr, value, bits, private, Some(until)).map(|()| 0)
        }
        Some(Restart::Poll { fds, count, until }) => super::poll::poll_until(fds, count, until),
        None => Err(Errno::EINTR),
    }
}
