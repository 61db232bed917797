//! Signals: names, sets, actions, `siginfo_t`.

use super::{
    call::Call,
    names::{self, SA_FLAGS, SS_FLAGS},
    out,
};
use crate::signal::{self, Action, SigInfo, SigSet};
use zerocopy::IntoBytes;

/// Clock ticks in a second.
const TICKS: i32 = 100;

/// A signal's name, or the number that is none.
pub(super) fn name(call: &mut Call, signo: i32) {
    match u32::try_from(signo) {
        Ok(signo @ 1..32) => call.push(signal::name(signo)),
        Ok(32) => call.push("SIGRTMIN"),
        Ok(signo @ 33..=64) => out!(call, "SIGRT_{}", signo - 32),
        _ => out!(call, "{signo}"),
    }
}

/// A set; one that has most signals is shown by those it lacks.
pub(super) fn bits(call: &mut Call, set: u64) {
    let mostly = set.count_ones() >= 42;
    let shown = SigSet(if mostly { !set } else { set });
    call.push(if mostly { "~[" } else { "[" });
    let mut space = "";
    for signo in (1..=64).filter(|signo| shown.has(*signo)) {
        match signo {
            32 => out!(call, "{space}RTMIN"),
            33.. => out!(call, "{space}RT_{}", signo - 32),
            _ => out!(call, "{space}{}", signal::name(signo).trim_start_matches("SIG")),
        }
        space = " ";
    }
    call.push("]");
}

/// A set of user memory.
pub(super) fn set(call: &mut Call, addr: u64) {
    call.value(addr, |call, set: &u64| bits(call, *set));
}

/// `struct sigaction`.
pub(super) fn action(call: &mut Call, action: &Action) {
    call.push("{sa_handler=");
    match action.handler {
        0 => call.push("SIG_DFL"),
        1 => call.push("SIG_IGN"),
        handler => out!(call, "{handler:#x}"),
    }
    call.push(", sa_mask=");
    bits(call, action.mask);
    call.push(", sa_flags=");
    call.bits(action.flags, &SA_FLAGS);
    if action.flags & signal::action::SA_RESTORER != 0 {
        call.push(", sa_restorer=");
        call.addr(action.restorer);
    }
    call.push("}");
}

/// `stack_t`.
pub(super) fn stack(call: &mut Call, stack: &[u64; 3]) {
    call.push("{ss_sp=");
    call.addr(stack[0]);
    call.push(", ss_flags=");
    call.bits(stack[1] & 0xffff_ffff, &SS_FLAGS);
    out!(call, ", ss_size={}}}", stack[2]);
}

/// `siginfo_t`, of which a zero signal is shown as empty.
pub(super) fn info(call: &mut Call, info: &SigInfo) {
    if info.signo() == 0 {
        return call.push("{}");
    }
    let bytes = info.as_bytes();
    let int = |at: usize| {
        let mut four = [0; 4];
        four.copy_from_slice(&bytes[at..at + 4]);
        i32::from_le_bytes(four)
    };
    call.push("{si_signo=");
    name(call, info.signo() as i32);
    call.push(", si_code=");
    call.one_of(info.code() as u64, names::si_codes(info.signo(), info.code()));
    match info.signo() {
        _ if matches!(info.code(), signal::info::SI_USER | signal::info::SI_TKILL) => {
            out!(call, ", si_pid={}, si_uid={}", int(16), int(20));
        }
        _ if info.code() == signal::info::SI_KERNEL => {}
        signal::SIGCHLD => {
            out!(call, ", si_pid={}, si_uid={}, si_status=", int(16), int(20));
            match info.code() {
                signal::info::cld::EXITED => out!(call, "{}", int(24)),
                _ => name(call, int(24)),
            }
            for (name, ticks) in [("si_utime", int(32)), ("si_stime", int(40))] {
                out!(call, ", {name}={ticks}");
                if ticks != 0 {
                    out!(call, " /* {}.{:02} s */", ticks / TICKS, ticks % TICKS);
                }
            }
        }
        signal::SIGSEGV | signal::SIGBUS | signal::SIGILL | signal::SIGFPE | signal::SIGTRAP => {
            call.push(", si_addr=");
            call.addr(info.addr());
        }
        _ if info.code() < 0 => {
            out!(call, ", si_pid={}, si_uid={}, si_int={}", int(16), int(20), int(24));
            out!(call, ", si_ptr={:#x}", u64::from(int(24) as u32) | u64::from(int(28) as u32) << 32);
        }
        _ => {}
    }
    call.push("}");
}
