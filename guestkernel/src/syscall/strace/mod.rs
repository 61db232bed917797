//! Calls, signals and ends of tasks in the sandbox log, as `strace -f` prints them.
//!
//! What an argument is comes from the table of calls. Arguments are printed when a call begins, up to the
//! first that the call fills in; the rest and the result when it ends. All that is read of user memory is
//! bounded, and what cannot be read is shown as its address.

mod args;
mod call;
mod control;
mod events;
mod line;
mod names;
mod outcome;
mod process;
mod signals;
mod structs;

use core::sync::atomic::Ordering;

use super::{
    ATTENTION, STRACE, number,
    table::{Entry, HANDLERS, TABLE},
};
use crate::{
    arch::UserRegs,
    errno::Errno,
    signal::{self, SigInfo},
    task::current,
};
use call::Call;

/// `rt_sigreturn`.
const NR_SIGRETURN: usize = 15;

/// Whether calls are printed.
#[inline]
pub fn enabled() -> bool {
    ATTENTION.load(Ordering::Relaxed) & STRACE != 0
}

/// Prints calls from now on, or does not.
pub fn enable(on: bool) {
    if on {
        ATTENTION.fetch_or(STRACE, Ordering::Relaxed);
    } else {
        ATTENTION.fetch_and(!STRACE, Ordering::Relaxed);
    }
}

/// The call that the table has under a number.
fn entry(nr: usize) -> Option<&'static Entry> {
    TABLE.get(nr).filter(|entry| !entry.name.is_empty())
}

/// Runs a call and prints it.
#[cold]
pub fn traced(regs: &mut UserRegs) {
    let nr = number(regs);
    let tid = current().tid();
    let mut arguments = regs.args();
    if nr == NR_SIGRETURN {
        // It has none; shown is the mask in the frame that the stack pointer is at.
        arguments[0] = regs.rsp.wrapping_add(signal::frame::MASK_AT);
    }
    let mut call = Call::new(nr, arguments);
    let next = args::begin(&mut call, entry(nr));
    let decoded = entry(nr).is_none_or(|entry| next >= entry.args.len());
    line::begin(tid, entry(nr).map_or("syscall", |entry| entry.name), call.take(), decoded);
    regs.rax = match HANDLERS.get(nr) {
        Some(handler) => handler(regs) as u64,
        None => Errno::ENOSYS.to_ret() as u64,
    };
    if is_dying(regs.rax as i64) {
        // The task's end prints the call, which does not return.
        return;
    }
    call.finish(regs.rax as i64);
    args::end(&mut call, entry(nr), next);
    call.push(")");
    let arguments = call.take();
    outcome::print(&mut call);
    line::end(tid, &arguments, &call.take());
}

/// Whether a call was interrupted for good: its process ends.
fn is_dying(result: i64) -> bool {
    let restarts = matches!(
        Errno::from_ret(result),
        Errno::ERESTARTSYS | Errno::ERESTARTNOINTR | Errno::ERESTARTNOHAND | Errno::ERESTART_RESTARTBLOCK
    );
    restarts && {
        let me = current();
        let inner = me.process.inner.lock();
        inner.end.is_some() || inner.pending.set().has(signal::SIGKILL)
    }
}

/// Prints the call that would have started the first process.
#[cold]
pub fn started(tid: u32, path: &[u8], argv: &[alloc::vec::Vec<u8>], envp: u64, variables: usize) {
    let mut call = Call::new(59, [0; 6]);
    process::started(&mut call, path, argv, envp, variables);
    line::begin(tid, "execve", call.take(), true);
    line::end(tid, ")", "0");
}

/// Prints a signal that a task takes.
#[cold]
pub fn signal(tid: u32, info: &SigInfo) {
    if info.signo() == signal::SIGKILL {
        return;
    }
    let mut call = Call::new(0, [0; 6]);
    call.push("--- ");
    signals::name(&mut call, info.signo() as i32);
    call.push(" ");
    signals::info(&mut call, info);
    call.push(" ---");
    line::event(tid, &call.take());
}

/// Prints that a task stops.
#[cold]
pub fn stopped(tid: u32, signo: u32) {
    let mut call = Call::new(0, [0; 6]);
    call.push("--- stopped by ");
    signals::name(&mut call, signo as i32);
    call.push(" ---");
    line::event(tid, &call.take());
}

/// Prints that a task ends with this wait status; a call that it is in has no result.
#[cold]
pub fn ended(tid: u32, status: i32) {
    line::abandon(tid);
    let mut call = Call::new(0, [0; 6]);
    match status & 0x7f {
        0 => out!(call, "+++ exited with {} +++", status >> 8 & 0xff),
        signo => {
            call.push("+++ killed by ");
            signals::name(&mut call, signo);
            call.push(if status & 0x80 == 0 { " +++" } else { " (core dumped) +++" });
        }
    }
    line::event(tid, &call.take());
}

/// Appends to a call's text.
macro_rules! out {
    ($call:expr, $($text:tt)*) => {
        $call.put(format_args!($($text)*))
    };
}
use out;

#[cfg(test)]
mod tests;
