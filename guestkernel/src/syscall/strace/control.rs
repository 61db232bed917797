//! Calls whose arguments depend on a command: fcntl, ioctl, prctl, futex.

use super::{
    call::{Call, Quote},
    names::{
        CAPS, FD_FLAGS, FILE_FLAGS, FUTEX_COMPARES, FUTEX_OPERATIONS, FUTEX_OPS, IOCTLS, LOCK_TYPES, PRCTL,
        WHENCE,
    },
    out, signals, structs,
};
use linux_raw_sys::general as raw;

/// Open flags: how it is accessed, then the bits.
pub(super) fn open_flags(call: &mut Call, flags: u64) {
    call.push(["O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"][flags as usize & 3]);
    if flags & 0xffff_fffc != 0 {
        call.push("|");
        call.bits(flags & 0xffff_fffc, &FILE_FLAGS);
    }
}

/// What `fcntl`'s command takes.
pub(super) fn fcntl(call: &mut Call) {
    let value = call.args[2];
    match call.args[1] as u32 {
        raw::F_GETFD
        | raw::F_GETFL
        | raw::F_GETOWN
        | raw::F_GETSIG
        | raw::F_GETPIPE_SZ
        | raw::F_GET_SEALS
        | raw::F_GETLEASE => {}
        raw::F_SETFD => {
            call.push(", ");
            call.bits(value & 0xffff_ffff, &FD_FLAGS);
        }
        raw::F_SETFL => {
            call.push(", ");
            open_flags(call, value & 0xffff_ffff);
        }
        raw::F_GETLK
        | raw::F_SETLK
        | raw::F_SETLKW
        | raw::F_OFD_GETLK
        | raw::F_OFD_SETLK
        | raw::F_OFD_SETLKW => {
            call.push(", ");
            call.stored(value, |call, lock: &[u64; 4]| {
                call.push("{l_type=");
                call.one_of(lock[0] & 0xffff, &LOCK_TYPES);
                call.push(", l_whence=");
                call.one_of(lock[0] >> 16 & 0xffff, &WHENCE);
                out!(call, ", l_start={}, l_len={}", lock[1].cast_signed(), lock[2].cast_signed());
                if matches!(call.args[1] as u32, raw::F_GETLK | raw::F_OFD_GETLK) {
                    out!(call, ", l_pid={}", lock[3] as i32);
                }
                call.push("}");
            });
        }
        raw::F_SETSIG => {
            call.push(", ");
            signals::name(call, value as i32);
        }
        raw::F_DUPFD | raw::F_DUPFD_CLOEXEC | raw::F_SETOWN | raw::F_SETPIPE_SZ => {
            out!(call, ", {}", value as i32);
        }
        _ => out!(call, ", {value:#x}"),
    }
}

/// Whether `fcntl`'s argument is shown when the call ends.
pub(super) const fn fcntl_stores(command: u64) -> bool {
    matches!(command as u32, raw::F_GETLK | raw::F_OFD_GETLK)
}

/// The number of an ioctl.
pub(super) fn ioctl(call: &mut Call, request: u64) {
    let request = request & 0xffff_ffff;
    if IOCTLS.known.iter().any(|(known, _)| *known == request) {
        return call.one_of(request, &IOCTLS);
    }
    let direction =
        ["_IOC_NONE", "_IOC_WRITE", "_IOC_READ", "_IOC_READ|_IOC_WRITE"][(request >> 30) as usize & 3];
    out!(call, "_IOC({direction}, ");
    for (index, part) in [request >> 8 & 0xff, request & 0xff, request >> 16 & 0x3fff].into_iter().enumerate()
    {
        if index != 0 {
            call.push(", ");
        }
        call.hex(part);
    }
    call.push(")");
}

/// Whether an ioctl's argument is shown when the call ends.
pub(super) const fn ioctl_stores(request: u64) -> bool {
    matches!(request as u32, 0x5401 | 0x540f | 0x5413 | 0x5411 | 0x541b | 0x5429)
}

/// An ioctl's argument.
pub(super) fn ioctl_argument(call: &mut Call, addr: u64) {
    match call.args[1] as u32 {
        // TIOCGWINSZ, TIOCSWINSZ
        0x5413 | 0x5414 => call.stored(addr, |call, size: &[u16; 4]| {
            out!(call, "{{ws_row={}, ws_col={}", size[0], size[1]);
            out!(call, ", ws_xpixel={}, ws_ypixel={}}}", size[2], size[3]);
        }),
        // TCGETS and what sets the same
        0x5401..=0x5404 => call.stored(addr, |call, modes: &[u32; 4]| {
            out!(call, "{{c_iflag={:#x}, c_oflag={:#x}", modes[0], modes[1]);
            out!(call, ", c_cflag={:#x}, c_lflag={:#x}, ...}}", modes[2], modes[3]);
        }),
        // TIOCGPGRP, TIOCSPGRP, TIOCOUTQ, FIONREAD, FIONBIO, TIOCGSID, FIOASYNC
        0x540f | 0x5410 | 0x5411 | 0x541b | 0x5421 | 0x5429 | 0x5452 => {
            call.stored(addr, |call, value: &i32| out!(call, "[{value}]"));
        }
        // FIOCLEX, FIONCLEX, TIOCNOTTY take none.
        0x5450 | 0x5451 | 0x5422 => call.hex(addr),
        0x540a | 0x540b | 0x540e | 0x5409 => out!(call, "{}", addr as i32),
        _ => call.hex(addr),
    }
}

/// Whether `prctl`'s option stores something.
pub(super) const fn prctl_stores(option: u64) -> bool {
    matches!(option as i32, 2 | 16 | 37)
}

/// What `prctl`'s option takes.
pub(super) fn prctl(call: &mut Call) {
    let [option, a, b, c, d, _] = call.args;
    match option as i32 {
        3 | 7 | 14 | 21 | 27 | 30 => {}
        // PR_SET_NAME, PR_GET_NAME
        15 => {
            call.push(", ");
            call.string(a, 16);
        }
        16 => {
            call.push(", ");
            if call.failed() { call.addr(a) } else { call.string(a, 16) }
        }
        // PR_SET_PDEATHSIG, PR_GET_PDEATHSIG
        1 => {
            call.push(", ");
            signals::name(call, a as i32);
        }
        2 => {
            call.push(", ");
            call.stored(a, |call, signo: &i32| {
                call.push("[");
                signals::name(call, *signo);
                call.push("]");
            });
        }
        // PR_SET_DUMPABLE
        4 => out!(
            call,
            ", {}",
            ["SUID_DUMP_DISABLE", "SUID_DUMP_USER", "SUID_DUMP_ROOT"].get(a as usize).unwrap_or(&"?")
        ),
        // PR_CAPBSET_READ, PR_CAPBSET_DROP
        23 | 24 => {
            call.push(", ");
            call.one_of(a, &CAPS);
        }
        // PR_GET_CHILD_SUBREAPER
        37 => {
            call.push(", ");
            call.stored(a, |call, value: &i32| out!(call, "[{value}]"));
        }
        // One number: PR_SET_KEEPCAPS, PR_SET_TIMERSLACK, PR_SET_CHILD_SUBREAPER.
        8 | 29 | 36 => out!(call, ", {a}"),
        // PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS
        38 => out!(call, ", {a}, {b}, {c}, {d}"),
        39 => out!(call, ", {a}, {b}, {c}, {d}"),
        _ if PRCTL.known.iter().any(|(known, _)| *known == option & 0xffff_ffff) => {
            call.push(", ");
            call.hex(a);
        }
        _ => {
            for value in [a, b, c, d] {
                call.push(", ");
                call.hex(value);
            }
        }
    }
}

/// A futex operation with its flags.
pub(super) fn futex_op(call: &mut Call, op: u64) {
    match FUTEX_OPS.get(op as usize & 0x7f) {
        Some(name) => out!(call, "FUTEX_{name}"),
        None => out!(call, "{:#x} /* FUTEX_??? */", op & 0x7f),
    }
    call.push(if op & 0x80 != 0 { "_PRIVATE" } else { "" });
    call.push(if op & 0x100 != 0 { "|FUTEX_CLOCK_REALTIME" } else { "" });
}

/// What a futex operation takes after the operation.
pub(super) fn futex(call: &mut Call) {
    let [_, op, value, timeout, other, last] = call.args;
    let value = value as u32;
    let bits = |call: &mut Call, bits: u64| match bits as u32 {
        u32::MAX => call.push("FUTEX_BITSET_MATCH_ANY"),
        bits => out!(call, "{bits:#x}"),
    };
    match op & 0x7f {
        // WAIT, LOCK_PI, WAIT_BITSET
        0 | 9 => {
            out!(call, ", {value}, ");
            call.value(timeout, |call, time: &[i64; 2]| structs::time(call, time, "tv_nsec"));
            if op & 0x7f == 9 {
                call.push(", ");
                bits(call, last);
            }
        }
        // WAKE, WAKE_BITSET
        1 => out!(call, ", {}", value.cast_signed()),
        10 => {
            out!(call, ", {}, ", value.cast_signed());
            bits(call, last);
        }
        // REQUEUE, CMP_REQUEUE, WAKE_OP
        3..=5 => {
            out!(call, ", {}, {}, ", value.cast_signed(), timeout as i32);
            call.addr(other);
            match op & 0x7f {
                4 => out!(call, ", {}", last as u32),
                5 => wake_op(call, last),
                _ => {}
            }
        }
        6 | 13 => {
            call.push(", ");
            call.value(timeout, |call, time: &[i64; 2]| structs::time(call, time, "tv_nsec"));
        }
        7 | 8 => {}
        _ => out!(call, ", {value}, {timeout:#x}, {other:#x}, {}", last as u32),
    }
}

fn wake_op(call: &mut Call, op: u64) {
    let shift = if op >> 31 & 1 != 0 { "FUTEX_OP_OPARG_SHIFT<<28|" } else { "" };
    out!(call, ", {shift}FUTEX_OP_");
    call.one_of(op >> 28 & 7, &FUTEX_OPERATIONS);
    call.push("<<28|");
    call.hex(op >> 12 & 0xfff);
    call.push("<<12|FUTEX_OP_CMP_");
    call.one_of(op >> 24 & 0xf, &FUTEX_COMPARES);
    call.push("<<24|");
    call.hex(op & 0xfff);
}

/// Bytes that are as good as random: hexadecimal.
pub(super) fn random(call: &mut Call, addr: u64) {
    match call.ret {
        Some(count @ 0..) => call.bytes(addr, count as u64, Quote::Hex),
        _ => call.addr(addr),
    }
}
