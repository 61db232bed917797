//! What follows the `=`.

use super::{
    call::Call,
    control,
    names::{FD_FLAGS, POLICIES},
    out, signals, structs,
};
use crate::errno::Errno;
use linux_raw_sys::general::{F_GETFD, F_GETFL};

/// Prints the result of a call that has ended.
pub(super) fn print(call: &mut Call) {
    let Some(value) = call.ret else { return call.push("?") };
    if call.failed() {
        return error(call, Errno::from_ret(value));
    }
    // Calls whose result is an address, a mode, or names.
    match call.nr {
        9 | 12 | 25 | 30 => call.hex(value as u64),
        95 => structs::permissions(call, value as u32),
        72 if call.args[1] as u32 == F_GETFL => {
            out!(call, "{value:#x} (flags ");
            control::open_flags(call, value as u64);
            call.push(")");
        }
        72 if call.args[1] as u32 == F_GETFD && value != 0 => {
            out!(call, "{value:#x} (flags ");
            call.bits(value as u64, &FD_FLAGS);
            call.push(")");
        }
        128 => {
            out!(call, "{value} (");
            signals::name(call, value as i32);
            call.push(")");
        }
        135 if value == 0 => call.push("0 (PER_LINUX)"),
        145 => {
            out!(call, "{value} (");
            call.one_of(value as u64, &POLICIES);
            call.push(")");
        }
        157 if call.args[0] == 3 => {
            let name = ["SUID_DUMP_DISABLE", "SUID_DUMP_USER", "SUID_DUMP_ROOT"].get(value as usize);
            out!(call, "{value} ({})", name.unwrap_or(&"?"));
        }
        201 => {
            out!(call, "{value} (");
            structs::date(call, value, 0, 0);
            call.push(")");
        }
        _ => out!(call, "{value}"),
    }
    if !call.note.is_empty() {
        let note = core::mem::take(&mut call.note);
        out!(call, " ({note})");
    }
}

fn error(call: &mut Call, errno: Errno) {
    let restart = match errno {
        Errno::ERESTARTSYS => "To be restarted if SA_RESTART is set",
        Errno::ERESTARTNOINTR => "To be restarted",
        Errno::ERESTARTNOHAND => "To be restarted if no handler",
        Errno::ERESTART_RESTARTBLOCK => "Interrupted by signal",
        _ => return out!(call, "-1 {errno} ({})", errno.text()),
    };
    out!(call, "? {errno} ({restart})");
}
