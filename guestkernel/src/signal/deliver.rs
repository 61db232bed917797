//! Taking signals on the way to ring 3.

use core::sync::atomic::Ordering;

use super::{
    Action, Default, Entry, SIGKILL, SIGSEGV, SigInfo, SigSet,
    action::{SA_RESETHAND, SA_RESTART, SIG_DFL, SIG_IGN},
    default_action, frame, send, stop,
};
use crate::{
    arch::UserRegs,
    errno::Errno,
    syscall::strace,
    task::{
        Task, current, exit,
        process::{GroupEnd, Inner},
        tree,
    },
};

/// `restart_syscall`.
const NR_RESTART: u64 = 219;
/// Length of the `syscall` instruction.
const SYSCALL_LEN: u64 = 2;

/// Takes what waits: ends or stops the task, or lets it go on in a handler.
pub fn handle_pending(regs: &mut UserRegs) {
    let me = current();
    match next_to_handle(&me) {
        Some((info, action)) => {
            restart(regs, Some(&action));
            enter(regs, &me, &info, action);
        }
        None => {
            restart(regs, None);
            me.restore_blocked();
        }
    }
    send::recalculate(&me);
}

/// Builds the handler's frame; a bad stack costs a `SIGSEGV`.
fn enter(regs: &mut UserRegs, me: &Task, info: &SigInfo, action: Action) {
    let signo = info.signo();
    let mask = me.mask_for_frame();
    match frame::push(regs, info, &action, mask) {
        Ok(()) => {
            regs.orig_rax = u64::MAX;
            me.set_blocked(me.blocked().union(action.blocks(signo)));
        }
        Err(_) => {
            log::debug!("[{}] no room for the frame of {}", me.tid(), super::name(signo));
            if signo == SIGSEGV {
                me.process.with_handlers(|handlers| handlers.set(SIGSEGV, Action::default()));
            }
            send::force_signal(SigInfo::kernel(SIGSEGV));
        }
    }
}

/// What to do next.
enum Step {
    Handle(Entry, Action),
    /// The default action.
    Default(Entry),
    /// Nothing comes of it.
    Ignore(Entry),
    Park,
    End(i32),
    EndThread,
    Nothing,
}

const ALL_BUT_KILL: SigSet = SigSet(!(1 << (SIGKILL - 1)));

/// Takes signals until one has a handler, with default actions carried out.
fn next_to_handle(me: &Task) -> Option<(SigInfo, Action)> {
    loop {
        let step = next_step(me, &mut me.process.inner.lock());
        match step {
            Step::Handle(entry, action) => return Some((entry.take(), action)),
            Step::Ignore(entry) => drop(entry.take()),
            Step::Nothing => return None,
            Step::Park => stop::park(),
            Step::End(status) => exit::exit_group(status),
            Step::EndThread => exit::exit_thread(0),
            Step::Default(entry) => take_default(me, &entry.take()),
        }
    }
}

fn next_step(me: &Task, inner: &mut Inner) -> Step {
    match inner.end {
        Some(GroupEnd::Exit(status)) => return Step::End(status),
        Some(GroupEnd::Exec(by)) if by != me.tid() => return Step::EndThread,
        _ => {}
    }
    if inner.job.stop != 0 {
        return Step::Park;
    }
    let blocked = me.blocked();
    let own = {
        let mut pending = me.signals.pending.lock();
        // A kill comes before everything, a fault among it: the killer of a process without memory causes some.
        let kill = pending.pop(ALL_BUT_KILL).or_else(|| inner.pending.pop(ALL_BUT_KILL));
        kill.or_else(|| pending.pop_fault(blocked)).or_else(|| pending.pop(blocked))
    };
    let Some(entry) = own.or_else(|| inner.pending.pop(blocked)) else { return Step::Nothing };
    let signo = entry.signo();
    if strace::enabled() {
        strace::signal(me.tid(), entry.info());
    }
    let action = me.process.with_handlers(|handlers| {
        let action = handlers.get(signo);
        if action.is_caught() && action.has(SA_RESETHAND) {
            handlers.set(signo, Action { handler: SIG_DFL, ..action });
        }
        action
    });
    match action.handler {
        SIG_IGN => Step::Ignore(entry),
        SIG_DFL => {
            let kept = me.process.unkillable.load(Ordering::Relaxed) && !SigSet::UNBLOCKABLE.has(signo);
            if default_action(signo) == Default::Ignore || kept {
                Step::Ignore(entry)
            } else {
                Step::Default(entry)
            }
        }
        _ => Step::Handle(entry, action),
    }
}

fn take_default(me: &Task, info: &SigInfo) {
    let signo = info.signo();
    match default_action(signo) {
        Default::Ignore => {}
        Default::Terminate => exit::exit_group(signo as i32),
        Default::Core => {
            log::debug!("[{}] ends by {info:?}", me.tid());
            exit::exit_group(signo as i32)
        }
        Default::Stop => {
            let orphaned = signo != super::SIGSTOP && {
                let tree = tree::lock();
                tree.node(me.process.pid).is_some_and(|node| tree.is_orphaned(node.pgid))
            };
            if !orphaned {
                stop::begin(signo);
            }
        }
    }
}

/// Settles an interrupted call before a handler runs (`action`) or none does.
fn restart(regs: &mut UserRegs, action: Option<&Action>) {
    if !regs.is_syscall() || regs.rax as i64 >= 0 {
        return;
    }
    let is = |errno: Errno| regs.rax as i64 == errno.to_ret();
    let (again, nr) = if is(Errno::ERESTARTNOINTR) {
        (true, regs.orig_rax)
    } else if is(Errno::ERESTARTSYS) {
        (action.is_none_or(|action| action.has(SA_RESTART)), regs.orig_rax)
    } else if is(Errno::ERESTARTNOHAND) {
        (action.is_none(), regs.orig_rax)
    } else if is(Errno::ERESTART_RESTARTBLOCK) {
        (action.is_none(), NR_RESTART)
    } else {
        return;
    };
    if again {
        regs.rax = nr;
        regs.rip = regs.rip.wrapping_sub(SYSCALL_LEN);
    } else {
        regs.rax = Errno::EINTR.to_ret() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(errno: Errno, action: Option<Action>) -> (i64, u64) {
        let mut regs =
            UserRegs { rax: errno.to_ret() as u64, orig_rax: 7, rip: 0x1002, ..UserRegs::default() };
        restart(&mut regs, action.as_ref());
        (regs.rax as i64, regs.rip)
    }

    #[test]
    fn calls_restart_as_their_error_says() {
        let plain = Some(Action { handler: 0x100, ..Action::default() });
        let again = Some(Action { handler: 0x100, flags: SA_RESTART, ..Action::default() });
        assert_eq!(after(Errno::ERESTARTSYS, None), (7, 0x1000));
        assert_eq!(after(Errno::ERESTARTSYS, plain), (-4, 0x1002));
        assert_eq!(after(Errno::ERESTARTSYS, again), (7, 0x1000));
        assert_eq!(after(Errno::ERESTARTNOHAND, again), (-4, 0x1002));
        assert_eq!(after(Errno::ERESTARTNOHAND, None), (7, 0x1000));
        assert_eq!(after(Errno::ERESTARTNOINTR, plain), (7, 0x1000));
        assert_eq!(after(Errno::ERESTART_RESTARTBLOCK, None), (219, 0x1000));
        assert_eq!(after(Errno::ERESTART_RESTARTBLOCK, again), (-4, 0x1002));
        assert_eq!(after(Errno::EINTR, None), (-4, 0x1002));
    }
}
