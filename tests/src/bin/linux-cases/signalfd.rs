//! Signals that are read.

use crate::{
    Case, Out, case, signals,
    sys::{self, call},
};

const RT: i32 = 40;
const USR1: i32 = libc::SIGUSR1;
const NONBLOCK: i32 = libc::O_NONBLOCK;

fn open(signals: &[i32], flags: i32) -> i32 {
    signals::block(signals);
    let set = signals::set(signals);
    call!(SYS_signalfd4, -1, &raw const set, 8, flags) as i32
}

/// Reads up to `count` records; the result and what the first say.
fn take(out: &mut Out, what: &str, fd: i32, count: usize) {
    let mut bytes = vec![0u8; count * 128];
    let got = sys::read(fd, &mut bytes);
    out.ret(what, got);
    for record in bytes.chunks(128).take(got.max(0) as usize / 128) {
        let word =
            |at: usize| i32::from_ne_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
        let own = i64::from(word(12)) == call!(SYS_getpid);
        out.say(format_args!(
            "{} code {} own {own} uid {} tid {} overrun {} status {} int {} ptr {}",
            sys::signal_name(word(0)),
            word(8),
            word(16),
            word(24),
            word(32),
            word(40),
            word(44),
            word(48)
        ));
    }
}

fn readable(fd: i32, milliseconds: i32) -> i64 {
    let mut entry = libc::pollfd { fd, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
    call!(SYS_poll, &raw mut entry, 1, milliseconds);
    entry.revents.into()
}

pub(crate) const CASES: &[Case] = &[
    case("signal/fd-errors", &["signalfd", "signalfd4", "read", "write"], |out| {
        let set = signals::set(&[USR1]);
        let address = &raw const set;
        out.ret("size", call!(SYS_signalfd4, -1, address, 4, 0));
        out.ret("size, bad address", call!(SYS_signalfd4, -1, 8, 4, 0));
        out.ret("bad address", call!(SYS_signalfd4, -1, 8, 8, 0));
        out.ret("flags", call!(SYS_signalfd4, -1, address, 8, 1));
        out.ret("not open", call!(SYS_signalfd4, 999, address, 8, 0));
        out.ret("-2", call!(SYS_signalfd4, -2, address, 8, 0));
        let (pipe, _) = sys::pipe();
        out.ret("a pipe", call!(SYS_signalfd4, pipe, address, 8, 0));
        let fd = open(&[USR1], NONBLOCK | libc::O_CLOEXEC);
        out.ret("descriptor flags", call!(SYS_fcntl, fd, libc::F_GETFD, 0));
        out.ret("status flags", call!(SYS_fcntl, fd, libc::F_GETFL, 0));
        out.ret("nothing", sys::read(fd, &mut [0; 128]));
        out.ret("short", sys::read(fd, &mut [0; 127]));
        out.ret("write", sys::write(fd, &[0; 128]));
        out.ret("seek", call!(SYS_lseek, fd, 0, 0));
        signals::kill(sys::getpid(), USR1);
        out.ret("short, with a signal", sys::read(fd, &mut [0; 127]));
        take(out, "whole", fd, 1);
        out.ret("the older call", i64::from(call!(SYS_signalfd, -1, address, 8) > 0));
    }),
    case("signal/fd-several", &["read"], |out| {
        let fd = open(&[USR1, RT], NONBLOCK);
        let me = sys::getpid();
        signals::queue(me, RT, 1);
        signals::queue(me, RT, 2);
        signals::kill(me, USR1);
        call!(SYS_tkill, sys::gettid(), RT);
        take(out, "two", fd, 2);
        take(out, "the rest", fd, 9);
        take(out, "nothing", fd, 9);
    }),
    case("signal/fd-blocks", &["read"], |out| {
        let fd = open(&[USR1], 0);
        let parent = sys::getpid();
        let pid = sys::fork(|| {
            sys::sleep_ms(50);
            signals::kill(parent, USR1);
            0
        });
        take(out, "read", fd, 2);
        sys::wait(pid);
    }),
    case("signal/fd-poll", &["poll", "epoll_wait"], |out| {
        let fd = open(&[USR1], NONBLOCK);
        out.ret("nothing", readable(fd, 0));
        let epoll = call!(SYS_epoll_create1, 0) as i32;
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 7 };
        out.ret("add", call!(SYS_epoll_ctl, epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event));
        let parent = sys::getpid();
        let send = || {
            sys::fork(|| {
                sys::sleep_ms(50);
                signals::kill(parent, USR1);
                0
            })
        };
        let pid = send();
        out.ret("poll", readable(fd, 3000));
        sys::wait(pid);
        take(out, "take", fd, 1);
        let pid = send();
        out.ret("epoll", call!(SYS_epoll_wait, epoll, &raw mut event, 1, 3000));
        sys::wait(pid);
        take(out, "take", fd, 1);
        out.ret("nothing", call!(SYS_epoll_wait, epoll, &raw mut event, 1, 0));
    }),
    case("signal/fd-other-mask", &["signalfd4"], |out| {
        let fd = open(&[USR1], NONBLOCK);
        signals::block(&[RT]);
        signals::queue(sys::getpid(), RT, 5);
        out.ret("not wanted", readable(fd, 0));
        let set = signals::set(&[RT, 9, 19]);
        out.ret("wanted", call!(SYS_signalfd4, fd, &raw const set, 8, 0) - i64::from(fd));
        out.ret("flags stay", call!(SYS_fcntl, fd, libc::F_GETFL, 0));
        take(out, "take", fd, 1);
    }),
    case("signal/fd-reader-s-own-signals", &["clone", "read"], |out| {
        let fd = open(&[USR1], NONBLOCK);
        signals::kill(sys::getpid(), USR1);
        let to = out.fd();
        let pid = sys::fork(|| {
            let mut out = Out::new(to);
            take(&mut out, "the parent's", fd, 1);
            signals::kill(sys::getpid(), USR1);
            take(&mut out, "the child's", fd, 1);
            0
        });
        sys::wait(pid);
        take(out, "in the parent", fd, 1);
    }),
    case("signal/fd-child", &["read"], |out| {
        let fd = open(&[libc::SIGCHLD], 0);
        let pid = sys::fork(|| 6);
        take(out, "read", fd, 1);
        out.say(sys::status(sys::wait(pid)));
    }),
    case("signal/fd-timer", &["timer_create", "read"], |out| {
        let fd = open(&[RT], 0);
        let mut event = [0i32; 16];
        (event[0], event[2]) = (21, RT);
        let mut id = -1i32;
        out.ret("create", call!(SYS_timer_create, 1, event.as_ptr(), &raw mut id));
        call!(SYS_timer_settime, id, 0, [0i64, 0, 0, 1000].as_ptr(), 0);
        take(out, "read", fd, 1);
    }),
];
