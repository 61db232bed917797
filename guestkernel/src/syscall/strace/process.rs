//! Programs and processes: exec, clone, wait.

use alloc::vec::Vec;

use super::{
    call::{ARRAY_MAX, Call, Quote},
    names::CLONE_FLAGS,
    out, signals, structs,
};
use crate::arch::uaccess;

/// Most environment variables that are counted.
const VARIABLES_MAX: u64 = 4096;

/// An array of strings.
pub(super) fn argv(call: &mut Call, array: u64) {
    if array == 0 || uaccess::get::<u64>(array).is_err() {
        return call.addr(array);
    }
    call.push("[");
    for index in 0.. {
        let Ok(pointer @ 1..) = uaccess::get::<u64>(array.wrapping_add(index * 8)) else { break };
        if index != 0 {
            call.push(", ");
        }
        if index >= ARRAY_MAX as u64 {
            call.push("...");
            break;
        }
        call.string(pointer, super::call::STRING_MAX);
    }
    call.push("]");
}

/// The environment: where it is and how large.
pub(super) fn environment(call: &mut Call, array: u64) {
    call.addr(array);
    if array == 0 {
        return;
    }
    let read = |index| uaccess::get::<u64>(array.wrapping_add(index * 8));
    let count = (0..VARIABLES_MAX).take_while(|&index| matches!(read(index), Ok(1..))).count();
    variables(call, count);
}

fn variables(call: &mut Call, count: usize) {
    out!(call, " /* {count} var{} */", if count == 1 { "" } else { "s" });
}

/// The `execve` of the first process, which no program made.
pub(super) fn started(call: &mut Call, path: &[u8], argv: &[Vec<u8>], envp: u64, count: usize) {
    call.push("execve(");
    call.quoted(path, Quote::Text, false);
    call.push(", [");
    for (index, argument) in argv.iter().take(ARRAY_MAX).enumerate() {
        if index != 0 {
            call.push(", ");
        }
        let shown = argument.len().min(super::call::STRING_MAX);
        call.quoted(&argument[..shown], Quote::Text, shown < argument.len());
    }
    call.push(if argv.len() > ARRAY_MAX { ", ...], " } else { "], " });
    call.addr(envp);
    variables(call, count);
}

/// What both forms of clone say of their flags, the exit signal aside.
const CHILD_SETTID: u64 = 0x100_0000;
const CHILD_CLEARTID: u64 = 0x20_0000;
const PARENT_SETTID: u64 = 0x10_0000;
const PIDFD: u64 = 0x1000;
const SETTLS: u64 = 0x8_0000;

/// Flags of clone with the signal in their low byte.
pub(super) fn flags(call: &mut Call, value: u64) {
    match value & 0xff {
        0 => call.bits(value, &CLONE_FLAGS),
        signo => {
            if value & !0xff != 0 {
                call.bits(value & !0xff, &CLONE_FLAGS);
                call.push("|");
            }
            signals::name(call, signo as i32);
        }
    }
}

/// The first arguments of clone.
pub(super) fn clone(call: &mut Call) {
    call.push("child_stack=");
    call.addr(call.args[1]);
    call.push(", flags=");
    flags(call, call.args[0] & 0xffff_ffff);
}

/// The arguments of clone that its flags ask for.
pub(super) fn clone_rest(call: &mut Call) {
    let [flags, _, parent, child, tls, _] = call.args;
    if flags & (PARENT_SETTID | PIDFD) != 0 {
        call.push(if flags & PIDFD != 0 { ", pidfd=" } else { ", parent_tid=" });
        call.stored(parent, |call, id: &u32| out!(call, "[{id}]"));
    }
    if flags & SETTLS != 0 {
        call.push(", tls=");
        call.addr(tls);
    }
    if flags & (CHILD_SETTID | CHILD_CLEARTID) != 0 {
        call.push(", child_tidptr=");
        call.addr(child);
    }
}

/// `struct clone_args`, of which the fields count that the flags ask for.
pub(super) fn clone3(call: &mut Call) {
    call.value(call.args[0], |call, w: &[u64; 8]| {
        call.push("{flags=");
        call.bits(w[0], &CLONE_FLAGS);
        for (wanted, name, value) in [
            (w[0] & PIDFD != 0, "pidfd", w[1]),
            (w[0] & (CHILD_SETTID | CHILD_CLEARTID) != 0, "child_tid", w[2]),
            (w[0] & PARENT_SETTID != 0, "parent_tid", w[3]),
        ] {
            if wanted {
                out!(call, ", {name}=");
                call.addr(value);
            }
        }
        call.push(", exit_signal=");
        signals::name(call, w[4] as i32);
        call.push(", stack=");
        call.addr(w[5]);
        call.push(", stack_size=");
        call.hex(w[6]);
        if w[0] & SETTLS != 0 {
            call.push(", tls=");
            call.addr(w[7]);
        }
        call.push("}");
    });
}

/// What clone3 stored.
pub(super) fn clone3_rest(call: &mut Call) {
    let Ok(w) = uaccess::get::<[u64; 4]>(call.args[0]) else { return };
    if w[0] & PARENT_SETTID != 0 && !call.failed() {
        call.push(" => {parent_tid=");
        call.value(w[3], |call, id: &u32| out!(call, "[{id}]"));
        call.push("}");
    }
}

/// A wait status; a call that waited for nobody has stored none.
pub(super) fn status(call: &mut Call, addr: u64) {
    if call.ret.is_none_or(|ret| ret <= 0) {
        return call.addr(addr);
    }
    call.value(addr, |call, status: &i32| {
        let value = status >> 8 & 0xff;
        match (status & 0x7f, status & 0xff) {
            (0, _) => out!(call, "[{{WIFEXITED(s) && WEXITSTATUS(s) == {value}}}]"),
            (_, 0x7f) => {
                call.push("[{WIFSTOPPED(s) && WSTOPSIG(s) == ");
                signals::name(call, value);
                call.push("}]");
            }
            _ if *status == 0xffff => call.push("[{WIFCONTINUED(s)}]"),
            (signo, low) => {
                call.push("[{WIFSIGNALED(s) && WTERMSIG(s) == ");
                signals::name(call, signo);
                call.push(if low & 0x80 == 0 { "}]" } else { " && WCOREDUMP(s)}]" });
            }
        }
    });
}

/// The usage of a process that was waited for.
pub(super) fn waited_usage(call: &mut Call, addr: u64) {
    let none = call.nr == 61 && call.ret.is_none_or(|ret| ret <= 0);
    if none { call.addr(addr) } else { structs::usage(call, addr) }
}
