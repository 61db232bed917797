//! Lines as strace prints them, to the sandbox log.

use alloc::string::String;
use core::{
    fmt::Write,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    Args,
    table::{Entry, HANDLERS, Kind, TABLE},
};
use crate::{
    arch::{UserRegs, uaccess},
    errno::Errno,
    signal,
    task::{clone::Flags, current},
};

static ENABLED: AtomicBool = AtomicBool::new(false);
/// Bytes of a string that are shown.
const STRING_MAX: usize = 32;
/// Bytes of a path that are shown.
const PATH_MAX: usize = 256;

/// Whether calls are printed.
#[inline]
pub fn enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// Prints calls from now on.
pub fn enable() {
    ENABLED.store(true, Ordering::Relaxed);
}

/// Runs a call and prints it. Calls that do not return are printed before.
#[cold]
pub fn traced(regs: &mut UserRegs) {
    let nr = regs.orig_rax as usize;
    let tid = current().tid();
    let mut line = String::new();
    let args = Args(regs.args());
    match TABLE.get(nr).filter(|entry| !entry.name.is_empty()) {
        Some(entry) => describe(&mut line, entry, &args),
        None => {
            let _ = write!(line, "syscall_{nr:#x}(");
        }
    }
    if matches!(nr, 15 | 60 | 231) {
        log::info!("[{tid}] {line}) = ?");
        line.clear();
    }
    regs.rax = match HANDLERS.get(nr) {
        Some(handler) => handler(regs) as u64,
        None => Errno::ENOSYS.to_ret() as u64,
    };
    if !line.is_empty() {
        let _ = write!(line, ") = ");
        result(&mut line, regs.rax as i64);
        log::info!("[{tid}] {line}");
    }
}

fn result(line: &mut String, value: i64) {
    // Writing to a string does not fail.
    let _ = match value {
        -4095..0 => {
            let errno = Errno::from_ret(value);
            write!(line, "-1 {errno} ({})", errno.text())
        }
        _ if value > 0xffff_ffff => write!(line, "{value:#x}"),
        _ => write!(line, "{value}"),
    };
}

fn describe(line: &mut String, entry: &Entry, args: &Args) {
    let _ = write!(line, "{}(", entry.name);
    for (index, kind) in entry.args.iter().enumerate() {
        if index != 0 {
            line.push_str(", ");
        }
        let next = args.0.get(index + 1).copied().unwrap_or(0);
        argument(line, *kind, args.0[index], next);
    }
}

fn argument(line: &mut String, kind: Kind, value: u64, next: u64) {
    let int = value as i32;
    // Writing to a string does not fail.
    let _ = match kind {
        Kind::Int | Kind::Fd => write!(line, "{int}"),
        Kind::Uint => write!(line, "{}", value as u32),
        Kind::Long => write!(line, "{}", value as i64),
        Kind::Size => write!(line, "{value}"),
        Kind::Hex => write!(line, "{value:#x}"),
        Kind::Addr if value == 0 => write!(line, "NULL"),
        Kind::Addr => write!(line, "{value:#x}"),
        Kind::DirFd if int == -100 => write!(line, "AT_FDCWD"),
        Kind::DirFd => write!(line, "{int}"),
        Kind::Path => {
            path(line, value);
            Ok(())
        }
        Kind::Bytes => {
            bytes(line, value, next);
            Ok(())
        }
        Kind::Argv => {
            argv(line, value);
            Ok(())
        }
        Kind::Mode => write!(line, "0{:o}", value as u32),
        Kind::OFlags => {
            open_flags(line, value as u32);
            Ok(())
        }
        Kind::Prot => {
            names(line, value, &[(1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC")], "PROT_NONE");
            Ok(())
        }
        Kind::MFlags => {
            names(line, value, MAP_FLAGS, "0");
            Ok(())
        }
        Kind::Sig => write!(line, "{}", signal_name(int)),
        Kind::SigSet => signal_set(line, value),
        Kind::Timespec => time(line, value),
        Kind::CloneFlags => {
            let flags = Flags::from_bits_truncate(value & !0xff);
            let mut shown = false;
            for (name, _) in flags.iter_names() {
                let _ = write!(line, "{}CLONE_{name}", if shown { "|" } else { "" });
                shown = true;
            }
            match value & 0xff {
                0 if shown => Ok(()),
                0 => write!(line, "0"),
                signo => write!(line, "{}{}", if shown { "|" } else { "" }, signal_name(signo as i32)),
            }
        }
        Kind::FutexOp => {
            let command = FUTEX_OPS.get(value as usize & 0x7f).copied().unwrap_or("?");
            write!(line, "FUTEX_{command}{}", if value & 128 != 0 { "_PRIVATE" } else { "" })
        }
        Kind::Prctl => write!(line, "{int}"),
    };
}

const MAP_FLAGS: &[(u64, &str)] = &[
    (1, "MAP_SHARED"),
    (2, "MAP_PRIVATE"),
    (0x10, "MAP_FIXED"),
    (0x20, "MAP_ANONYMOUS"),
    (0x100, "MAP_GROWSDOWN"),
    (0x800, "MAP_DENYWRITE"),
    (0x2000, "MAP_LOCKED"),
    (0x4000, "MAP_NORESERVE"),
    (0x8000, "MAP_POPULATE"),
    (0x2_0000, "MAP_STACK"),
    (0x4_0000, "MAP_HUGETLB"),
    (0x10_0000, "MAP_FIXED_NOREPLACE"),
];

const OPEN_FLAGS: &[(u64, &str)] = &[
    (0x40, "O_CREAT"),
    (0x80, "O_EXCL"),
    (0x100, "O_NOCTTY"),
    (0x200, "O_TRUNC"),
    (0x400, "O_APPEND"),
    (0x800, "O_NONBLOCK"),
    (0x1_0000, "O_DIRECTORY"),
    (0x2_0000, "O_NOFOLLOW"),
    (0x8_0000, "O_CLOEXEC"),
    (0x20_0000, "O_PATH"),
];

const FUTEX_OPS: &[&str] = &[
    "WAIT",
    "WAKE",
    "FD",
    "REQUEUE",
    "CMP_REQUEUE",
    "WAKE_OP",
    "LOCK_PI",
    "UNLOCK_PI",
    "TRYLOCK_PI",
    "WAIT_BITSET",
    "WAKE_BITSET",
    "WAIT_REQUEUE_PI",
    "CMP_REQUEUE_PI",
    "LOCK_PI2",
];

fn names(line: &mut String, value: u64, known: &[(u64, &str)], none: &str) {
    let mut rest = value;
    let mut shown = false;
    for (bit, name) in known {
        if value & bit != 0 {
            let _ = write!(line, "{}{name}", if shown { "|" } else { "" });
            rest &= !bit;
            shown = true;
        }
    }
    if rest != 0 {
        let _ = write!(line, "{}{rest:#x}", if shown { "|" } else { "" });
    } else if !shown {
        line.push_str(none);
    }
}

fn open_flags(line: &mut String, flags: u32) {
    line.push_str(["O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"][flags as usize & 3]);
    if flags & !3 != 0 {
        line.push('|');
        names(line, u64::from(flags & !3), OPEN_FLAGS, "");
    }
}

fn signal_name(signo: i32) -> String {
    match u32::try_from(signo) {
        Ok(signo @ 1..32) => signal::name(signo).into(),
        Ok(signo @ 32..=64) => alloc::format!("SIGRT_{}", signo - 32),
        _ => alloc::format!("{signo}"),
    }
}

fn signal_set(line: &mut String, addr: u64) -> core::fmt::Result {
    let Ok(bits) = uaccess::get::<u64>(addr) else { return write!(line, "{addr:#x}") };
    line.push('[');
    for signo in (1..=64).filter(|signo| bits >> (signo - 1) & 1 != 0) {
        let _ = write!(line, "{} ", signal_name(signo));
    }
    if line.ends_with(' ') {
        line.pop();
    }
    line.push(']');
    Ok(())
}

fn time(line: &mut String, addr: u64) -> core::fmt::Result {
    match uaccess::get::<[i64; 2]>(addr) {
        Ok([seconds, ns]) if addr != 0 => write!(line, "{{tv_sec={seconds}, tv_nsec={ns}}}"),
        _ if addr == 0 => write!(line, "NULL"),
        _ => write!(line, "{addr:#x}"),
    }
}

/// A quoted string with escapes.
fn quote(line: &mut String, text: &[u8], cut: bool) {
    line.push('"');
    for &byte in text {
        match byte {
            b'"' => line.push_str("\\\""),
            b'\\' => line.push_str("\\\\"),
            b'\n' => line.push_str("\\n"),
            b'\t' => line.push_str("\\t"),
            b'\r' => line.push_str("\\r"),
            0x20..0x7f => line.push(char::from(byte)),
            _ => {
                let _ = write!(line, "\\{byte:o}");
            }
        }
    }
    line.push_str(if cut { "\"..." } else { "\"" });
}

fn path(line: &mut String, addr: u64) {
    let mut buffer = [0; PATH_MAX];
    match uaccess::strncpy_from_user(&mut buffer, addr) {
        Ok(length) => quote(line, &buffer[..length], length == PATH_MAX),
        Err(_) if addr == 0 => line.push_str("NULL"),
        Err(_) => {
            let _ = write!(line, "{addr:#x}");
        }
    }
}

fn bytes(line: &mut String, addr: u64, length: u64) {
    let mut buffer = [0; STRING_MAX];
    let count = usize::try_from(length).unwrap_or(STRING_MAX).min(STRING_MAX);
    match uaccess::copy_from_user(&mut buffer[..count], addr) {
        Ok(()) => quote(line, &buffer[..count], length > STRING_MAX as u64),
        Err(_) => {
            let _ = write!(line, "{addr:#x}");
        }
    }
}

fn argv(line: &mut String, array: u64) {
    line.push('[');
    for index in 0..8 {
        let Ok(pointer) = uaccess::get::<u64>(array.wrapping_add(index * 8)) else { break };
        if pointer == 0 {
            break;
        }
        if index != 0 {
            line.push_str(", ");
        }
        path(line, pointer);
    }
    line.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: Kind, value: u64) -> String {
        let mut line = String::new();
        argument(&mut line, kind, value, 0);
        line
    }

    #[test]
    fn arguments_look_as_strace_shows_them() {
        assert_eq!(shown(Kind::DirFd, -100i64 as u64), "AT_FDCWD");
        assert_eq!(shown(Kind::Prot, 3), "PROT_READ|PROT_WRITE");
        assert_eq!(shown(Kind::Prot, 0), "PROT_NONE");
        assert_eq!(shown(Kind::MFlags, 0x22), "MAP_PRIVATE|MAP_ANONYMOUS");
        assert_eq!(shown(Kind::OFlags, 0x8_0241), "O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC");
        assert_eq!(shown(Kind::Sig, 17), "SIGCHLD");
        assert_eq!(shown(Kind::CloneFlags, 0x4111), "CLONE_VM|CLONE_VFORK|SIGCHLD");
        assert_eq!(shown(Kind::FutexOp, 129), "FUTEX_WAKE_PRIVATE");
        assert_eq!(shown(Kind::Mode, 0o644), "0644");
    }

    #[test]
    fn errors_have_name_and_text() {
        let mut line = String::new();
        result(&mut line, -2);
        assert_eq!(line, "-1 ENOENT (No such file or directory)");
    }

    #[test]
    fn strings_are_escaped() {
        let mut line = String::new();
        quote(&mut line, b"a\"b\n\x01", true);
        assert_eq!(line, "\"a\\\"b\\n\\1\"...");
    }
}
