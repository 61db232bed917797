//! Timers that are descriptors.

use crate::{
    Case, Out, case,
    sys::{self, call},
};

const NONBLOCK: i32 = libc::O_NONBLOCK;
const ABSOLUTE: i32 = 1;

fn create(clock: i32, flags: i32) -> i32 {
    call!(SYS_timerfd_create, clock, flags) as i32
}

/// Interval and value in milliseconds.
fn spec(interval: i64, value: i64) -> [i64; 4] {
    [interval / 1000, interval % 1000 * 1_000_000, value / 1000, value % 1000 * 1_000_000]
}

fn set(fd: i32, flags: i32, interval: i64, value: i64) -> i64 {
    call!(SYS_timerfd_settime, fd, flags, spec(interval, value).as_ptr(), 0)
}

/// Reads the count.
fn ticks(fd: i32) -> i64 {
    let mut count = [0; 8];
    match sys::read(fd, &mut count) {
        8 => i64::from_ne_bytes(count),
        other => other,
    }
}

fn readable(fd: i32, milliseconds: i32) -> i64 {
    let mut entry = libc::pollfd { fd, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
    call!(SYS_poll, &raw mut entry, 1, milliseconds);
    entry.revents.into()
}

fn left(fd: i32, out: &mut Out, what: &str) {
    let mut now = [0i64; 4];
    out.ret(what, call!(SYS_timerfd_gettime, fd, now.as_mut_ptr()));
    let ms = |at: usize| now[at] * 1000 + now[at + 1] / 1_000_000;
    out.say(format_args!("interval {} ms, armed {}", ms(0), now[2] != 0 || now[3] != 0));
}

pub(crate) const CASES: &[Case] = &[
    case("timer/timerfd-create", &["timerfd_create"], |out| {
        for clock in 0..13 {
            out.ok(&format!("clock {clock}"), create(clock, 0).into());
        }
        out.ret("negative clock", create(-1, 0).into());
        out.ret("bad flags", create(1, 1).into());
        let fd = create(1, libc::O_CLOEXEC | NONBLOCK);
        out.ret("descriptor flags", call!(SYS_fcntl, fd, libc::F_GETFD, 0));
        out.ret("status flags", call!(SYS_fcntl, fd, libc::F_GETFL, 0));
    }),
    case("timer/timerfd-once", &["timerfd_settime", "timerfd_gettime", "read"], |out| {
        let fd = create(1, 0);
        left(fd, out, "new");
        out.ret("set", set(fd, 0, 0, 500));
        left(fd, out, "set");
        out.ret("ready at once", readable(fd, 0));
        out.ret("ticks", ticks(fd));
        left(fd, out, "fired");
        out.ret("set again", set(fd, 0, 0, 5));
        out.ret("ready", readable(fd, 2000));
        out.ret("ticks", ticks(fd));
        out.ret("ready no more", readable(fd, 0));
    }),
    case("timer/timerfd-interval", &["timerfd_settime", "read"], |out| {
        let fd = create(1, NONBLOCK);
        out.ret("set", set(fd, 0, 10, 500));
        out.ret("too early", ticks(fd));
        sys::sleep_ms(605);
        let count = ticks(fd);
        out.say(format_args!("several: {}", (9..300).contains(&count)));
        left(fd, out, "going on");
        out.ret("disarm", set(fd, 0, 10, 0));
        sys::sleep_ms(30);
        out.ret("disarmed", ticks(fd));
        left(fd, out, "disarmed");
    }),
    case("timer/timerfd-absolute", &["timerfd_settime"], |out| {
        for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME, libc::CLOCK_BOOTTIME] {
            let fd = create(clock, NONBLOCK);
            out.ret("in the past", set(fd, ABSOLUTE, 0, 1));
            out.ret("ready", readable(fd, 2000));
            out.ret("ticks", ticks(fd));
            let mut now = [0i64; 2];
            call!(SYS_clock_gettime, clock, now.as_mut_ptr());
            out.ret("soon", set(fd, ABSOLUTE, 0, now[0] * 1000 + now[1] / 1_000_000 + 500));
            out.ret("not yet", ticks(fd));
            out.ret("ready", readable(fd, 2000));
            out.ret("ticks", ticks(fd));
            out.ret("in the past, periodic", set(fd, ABSOLUTE, 3_600_000, 1));
            out.ret("ready", readable(fd, 2000));
            out.say(format_args!("ticks: {}", ticks(fd) >= 1));
        }
    }),
    case("timer/timerfd-old-value", &["timerfd_settime"], |out| {
        let fd = create(1, 0);
        set(fd, 0, 7000, 60_000);
        let mut old = [0i64; 4];
        out.ret("set", call!(SYS_timerfd_settime, fd, 0, spec(0, 5000).as_ptr(), old.as_mut_ptr()));
        out.say(format_args!("interval {} left {}", old[0], (58..=60).contains(&old[2])));
        out.ret("bad address for it", call!(SYS_timerfd_settime, fd, 0, spec(0, 1000).as_ptr(), 8));
        let mut now = [0i64; 4];
        call!(SYS_timerfd_gettime, fd, now.as_mut_ptr());
        out.say(format_args!("was set all the same: {}", now[2] < 1));
    }),
    case("timer/timerfd-errors", &["timerfd_settime", "timerfd_gettime", "read", "write"], |out| {
        let fd = create(1, NONBLOCK);
        out.ret("negative", set(fd, 0, 0, -1));
        let bad = [0i64, 0, 0, 1_000_000_000];
        out.ret("a whole second of ns", call!(SYS_timerfd_settime, fd, 0, bad.as_ptr(), 0));
        out.ret("bad flags", set(fd, 4, 0, 1));
        out.ret("bad address", call!(SYS_timerfd_settime, fd, 0, 8, 0));
        out.ret("not open", set(999, 0, 0, 1));
        let (pipe, _) = sys::pipe();
        out.ret("a pipe", set(pipe, 0, 0, 1));
        out.ret("gettime of a pipe", call!(SYS_timerfd_gettime, pipe, spec(0, 0).as_mut_ptr()));
        out.ret("gettime, bad address", call!(SYS_timerfd_gettime, fd, 8));
        set(fd, ABSOLUTE, 0, 1);
        out.ret("ready", readable(fd, 2000));
        out.ret("short read", sys::read(fd, &mut [0; 7]));
        out.ret("longer read", sys::read(fd, &mut [0; 16]));
        out.ret("write", sys::write(fd, &[0; 8]));
        out.ret("seek", call!(SYS_lseek, fd, 0, 0));
    }),
    case("timer/timerfd-epoll", &["epoll_wait", "timerfd_settime"], |out| {
        let (fd, epoll) = (create(1, NONBLOCK), call!(SYS_epoll_create1, 0) as i32);
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 7 };
        out.ret("add", call!(SYS_epoll_ctl, epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event));
        out.ret("nothing", call!(SYS_epoll_wait, epoll, &raw mut event, 1, 0));
        set(fd, 0, 0, 100);
        out.ret("fired", call!(SYS_epoll_wait, epoll, &raw mut event, 1, 2000));
        out.ret("events", i64::from(event.events));
        out.ret("ticks", ticks(fd));
        out.ret("nothing", call!(SYS_epoll_wait, epoll, &raw mut event, 1, 0));
    }),
    case("timer/timerfd-shared-over-fork", &["clone", "read"], |out| {
        let fd = create(1, 0);
        set(fd, 0, 0, 20);
        let pid = sys::fork(|| if ticks(fd) == 1 { 0 } else { 1 });
        out.say(sys::status(sys::wait(pid)));
        out.ret("taken", readable(fd, 0));
    }),
];
