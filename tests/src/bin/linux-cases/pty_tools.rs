//! What the cases of terminals share.
#![allow(dead_code, reason = "a tool box: not every family uses every tool")]

use crate::{
    Out,
    sys::{self, call},
};

pub(crate) const RDWR: i32 = libc::O_RDWR | libc::O_NOCTTY;

/// The kernel's `struct termios`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Termios {
    pub(crate) iflag: u32,
    pub(crate) oflag: u32,
    pub(crate) cflag: u32,
    pub(crate) lflag: u32,
    pub(crate) line: u8,
    pub(crate) cc: [u8; 19],
}

pub(crate) fn ioctl<T>(fd: i32, request: u64, arg: *const T) -> i64 {
    call!(SYS_ioctl, fd, request, arg)
}

/// An ioctl whose argument is a number.
pub(crate) fn ioctl_int(fd: i32, request: u64, arg: i64) -> i64 {
    call!(SYS_ioctl, fd, request, arg)
}

pub(crate) fn open(path: &str, flags: i32) -> i64 {
    call!(SYS_openat, libc::AT_FDCWD, sys::c(path), flags, 0)
}

/// A controlling end, unlocked or not.
pub(crate) fn master(unlock: bool) -> i32 {
    let fd = open("/dev/ptmx", RDWR) as i32;
    if unlock {
        ioctl(fd, libc::TIOCSPTLCK, &0i32);
    }
    fd
}

pub(crate) fn number(master: i32) -> i32 {
    let mut number = -1i32;
    ioctl(master, libc::TIOCGPTN, &raw mut number);
    number
}

pub(crate) fn name(master: i32) -> String {
    format!("/dev/pts/{}", number(master))
}

/// Both ends.
pub(crate) fn pair() -> (i32, i32) {
    let master = master(true);
    (master, open(&name(master), RDWR) as i32)
}

pub(crate) fn get(fd: i32) -> Termios {
    let mut termios = Termios::default();
    ioctl(fd, libc::TCGETS, &raw mut termios);
    termios
}

/// Changes the settings.
pub(crate) fn set(fd: i32, change: impl FnOnce(&mut Termios)) -> i64 {
    let mut termios = get(fd);
    change(&mut termios);
    ioctl(fd, libc::TCSETS, &raw const termios)
}

/// Both ends with changed settings.
pub(crate) fn pair_with(change: impl FnOnce(&mut Termios)) -> (i32, i32) {
    let (master, slave) = pair();
    set(slave, change);
    (master, slave)
}

/// As cfmakeraw(3).
pub(crate) fn raw(termios: &mut Termios) {
    termios.iflag = 0;
    termios.oflag = 0;
    termios.lflag = 0;
    termios.cc[libc::VMIN] = 1;
    termios.cc[libc::VTIME] = 0;
}

pub(crate) fn show(bytes: &[u8]) -> String {
    if bytes.len() > 200 {
        let ends = (&bytes[..8], &bytes[bytes.len() - 8..]);
        return format!("{} bytes: {}...{}", bytes.len(), ends.0.escape_ascii(), ends.1.escape_ascii());
    }
    bytes.escape_ascii().to_string()
}

/// Waits until one of `events` holds; those that do.
pub(crate) fn poll(fd: i32, events: i16, ms: i32) -> i16 {
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    call!(SYS_poll, &raw mut entry, 1, ms);
    entry.revents
}

/// All that can be read within a while.
pub(crate) fn drain(fd: i32) -> Vec<u8> {
    let mut all = Vec::new();
    while poll(fd, libc::POLLIN, 150) & libc::POLLIN != 0 {
        let mut bytes = [0; 4096];
        match sys::read(fd, &mut bytes) {
            count @ 1.. => all.extend_from_slice(&bytes[..count as usize]),
            _ => break,
        }
    }
    all
}

/// What the controlling end has to read, once what it wrote has been looked at.
pub(crate) fn shown(out: &mut Out, master: i32, slave: i32) {
    poll(slave, libc::POLLIN, 0);
    out.say(format_args!("shown: {}", show(&drain(master))));
}

/// Types on the controlling end.
pub(crate) fn type_in(master: i32, text: &[u8]) {
    sys::write(master, text);
}

/// One read, with what came of it.
pub(crate) fn read(out: &mut Out, what: &str, fd: i32, len: usize) -> i64 {
    let mut bytes = vec![0; len];
    match sys::read(fd, &mut bytes) {
        count @ 0.. => {
            out.say(format_args!("{what}: {count} {}", show(&bytes[..count as usize])));
            count
        }
        error => {
            out.ret(what, error);
            error
        }
    }
}

/// One read that does not wait long: `nothing` when there is nothing.
pub(crate) fn read_soon(out: &mut Out, what: &str, fd: i32, len: usize) {
    if poll(fd, libc::POLLIN, 150) == 0 {
        out.say(format_args!("{what}: nothing"));
    } else {
        read(out, what, fd, len);
    }
}

/// Makes calls of a descriptor wait, or not.
pub(crate) fn nonblocking(fd: i32, on: bool) {
    call!(SYS_fcntl, fd, libc::F_SETFL, libc::O_RDWR | if on { libc::O_NONBLOCK } else { 0 });
}

/// Runs `body` as the leader of a session of its own, and says how it ended.
pub(crate) fn session(out: &mut Out, body: impl FnOnce(&mut Out)) {
    let fd = out.fd();
    let pid = sys::fork(|| {
        call!(SYS_setsid);
        body(&mut Out::new(fd));
        0
    });
    out.say(format_args!("session: {}", sys::status(sys::wait(pid))));
}

/// Fields 7 and 8 of `/proc/self/stat`: the terminal's number and its group.
pub(crate) fn stat_tty(pid: &str) -> (i64, i64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit(')').next().unwrap_or_default();
    let field = |index| rest.split_whitespace().nth(index).and_then(|text| text.parse().ok()).unwrap_or(-99);
    (field(4), field(5))
}

/// Opens the terminal of a session that this process leads: it becomes its terminal.
pub(crate) fn take_terminal(master: i32) -> i32 {
    open(&name(master), libc::O_RDWR) as i32
}

/// Blocks signals; they are taken by [`next_signal`].
pub(crate) fn block(signals: &[i32]) {
    let mask = signals.iter().fold(0u64, |mask, signo| mask | 1 << (signo - 1));
    call!(SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const mask, 0, 8);
}

/// Unblocks all signals.
pub(crate) fn unblock() {
    let mask = 0u64;
    call!(SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, 0, 8);
}

/// The next of these signals that waits within a while.
pub(crate) fn next_signal(signals: &[i32], ms: i64) -> String {
    let mask = signals.iter().fold(0u64, |mask, signo| mask | 1 << (signo - 1));
    let time = [ms / 1000, ms % 1000 * 1_000_000];
    match call!(SYS_rt_sigtimedwait, &raw const mask, 0, time.as_ptr(), 8) {
        signo @ 1.. => sys::signal_name(signo as i32),
        error => sys::errno_name(-error as u32),
    }
}

pub(crate) fn ignore(signo: i32) {
    let action = [1u64, 0, 0, 0];
    call!(SYS_rt_sigaction, signo, action.as_ptr(), 0, 8);
}

/// A child in a group of its own that runs `body` when a byte is sent, or when the returned descriptor is closed; it does
/// not end before that.
pub(crate) fn job(body: impl FnOnce() -> i32) -> (i32, i32) {
    let (from, to) = sys::pipe();
    let pid = sys::fork(|| {
        sys::close(to);
        call!(SYS_setpgid, 0, 0);
        sys::read(from, &mut [0]);
        let status = body();
        sys::read(from, &mut [0]);
        status
    });
    sys::close(from);
    call!(SYS_setpgid, pid, pid);
    (pid, to)
}

/// Puts a group into the foreground.
pub(crate) fn set_group(fd: i32, group: i32) -> i64 {
    ioctl(fd, libc::TIOCSPGRP, &raw const group)
}

/// Waits for an end, a stop or a continuation.
pub(crate) fn wait_any(pid: i32) -> String {
    let mut status = 0i32;
    let got = call!(SYS_wait4, pid, &raw mut status, libc::WUNTRACED | libc::WCONTINUED, 0);
    if got < 0 { sys::errno_name(-got as u32) } else { sys::status(status.into()) }
}
