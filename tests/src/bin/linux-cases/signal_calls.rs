//! Signals and calls that they interrupt: restarts, stops and continuing.

use crate::{
    Case, Out, case,
    signal::{RESTART, RT, USR1, USR2, child, count, interrupted, me, soon},
    signals::{self, SIG_DFL, SIG_IGN},
    sys::{self, call},
};

/// A call that is restarted, and ends because of what comes a moment later.
fn restarted(call: impl FnOnce(i32) -> i64) -> i64 {
    signals::catch(USR1, RESTART);
    let (from, to) = sys::pipe();
    let parent = me();
    let pid = sys::fork(|| {
        sys::sleep_ms(60);
        signals::kill(parent, USR1);
        sys::sleep_ms(60);
        sys::write(to, b"x");
        0
    });
    let result = call(from);
    sys::wait(pid);
    result
}

/// A call by name.
type Named = (&'static str, fn() -> i64);

pub(crate) const CASES: &[Case] = &[
    case("signal/restart-read", &["read"], |out| {
        out.ret("restarted", restarted(|from| sys::read(from, &mut [0; 4])));
        let (from, _to) = sys::pipe();
        out.ret("interrupted", interrupted(0, || sys::read(from, &mut [0; 4])));
        out.ret("handlers", count().into());
    }),
    case("signal/restart-never", &["poll", "epoll_wait", "select", "pause", "nanosleep"], |out| {
        let (from, _to) = sys::pipe();
        let mut entry = libc::pollfd { fd: from, events: libc::POLLIN, revents: 0 };
        let time = [5i64, 0];
        out.ret("poll", interrupted(RESTART, || call!(SYS_poll, &raw mut entry, 1, 5000)));
        out.ret("poll, no limit", interrupted(RESTART, || call!(SYS_poll, &raw mut entry, 1, -1)));
        out.ret("ppoll", interrupted(RESTART, || call!(SYS_ppoll, &raw mut entry, 1, time.as_ptr(), 0, 0)));
        out.ret("select", interrupted(RESTART, || call!(SYS_select, 0, 0, 0, 0, [5i64, 0].as_mut_ptr())));
        out.ret("pselect", interrupted(RESTART, || call!(SYS_pselect6, 0, 0, 0, 0, time.as_ptr(), 0)));
        let epoll = call!(SYS_epoll_create1, 0);
        let mut event = [0u8; 12];
        out.ret("epoll", interrupted(RESTART, || call!(SYS_epoll_wait, epoll, event.as_mut_ptr(), 1, 5000)));
        out.ret("pause", interrupted(RESTART, || call!(SYS_pause)));
        out.ret("nanosleep", interrupted(RESTART, || call!(SYS_nanosleep, time.as_ptr(), 0)));
        out.ret("handlers", count().into());
    }),
    case("signal/restart-wait-and-futex", &["wait4", "futex", "flock"], |out| {
        let pid = sys::fork(|| {
            sys::sleep_ms(250);
            5
        });
        signals::catch(USR1, RESTART);
        let other = soon(USR1, 60);
        out.say(sys::status(sys::wait(pid)));
        sys::wait(other);
        let word = 0u32;
        let time = [0i64, 400_000_000];
        let futex = |time: *const i64| call!(SYS_futex, &raw const word, 0, 0, time, 0, 0);
        out.ret("futex, limit", interrupted(RESTART, || futex(time.as_ptr())));
        let pid = sys::fork(|| {
            sys::sleep_ms(100_000);
            0
        });
        out.ret("wait, interrupted", interrupted(0, || call!(SYS_wait4, pid, 0, 0, 0)));
        out.ret("futex, interrupted", interrupted(0, || futex(std::ptr::null())));
        out.ret("handlers", count().into());
        signals::kill(pid, libc::SIGKILL);
    }),
    case("signal/stop-continues-calls", &["poll", "futex", "epoll_wait", "rt_sigtimedwait"], |out| {
        let calls: [Named; 4] = [
            ("poll", || call!(SYS_poll, 0, 0, 300)),
            ("futex", || {
                let (word, time) = (0u32, [0i64, 300_000_000]);
                call!(SYS_futex, &raw const word, 0, 0, time.as_ptr(), 0, 0)
            }),
            ("epoll", || call!(SYS_epoll_wait, call!(SYS_epoll_create1, 0), [0u8; 12].as_mut_ptr(), 1, 300)),
            ("sigtimedwait", || signals::wait(&[USR1], 300, &mut [0; 32])),
        ];
        for (what, body) in calls {
            let fd = out.fd();
            let pid = sys::fork(|| {
                Out::new(fd).ret(what, body());
                0
            });
            sys::sleep_ms(60);
            signals::kill(pid, libc::SIGSTOP);
            call!(SYS_wait4, pid, 0, libc::WUNTRACED, 0);
            signals::kill(pid, libc::SIGCONT);
            sys::wait(pid);
        }
    }),
    case("signal/stop-and-continue-cancel", &["kill"], |out| {
        signals::block(&[libc::SIGTSTP, libc::SIGCONT]);
        signals::kill(me(), libc::SIGTSTP);
        out.say(format_args!("{:x}", signals::pending()));
        signals::kill(me(), libc::SIGCONT);
        out.say(format_args!("{:x}", signals::pending()));
        signals::kill(me(), libc::SIGTSTP);
        out.say(format_args!("{:x}", signals::pending()));
    }),
    case("signal/orphaned-group-does-not-stop", &["kill", "setsid"], |out| {
        child(out, "terminal stop", |_| {
            call!(SYS_setsid);
            signals::kill(me(), libc::SIGTSTP);
            4
        });
        let pid = sys::fork(|| {
            call!(SYS_setsid);
            signals::kill(me(), libc::SIGSTOP);
            5
        });
        let mut status = 0i32;
        call!(SYS_wait4, pid, &raw mut status, libc::WUNTRACED, 0);
        out.say(sys::status(status.into()));
        signals::kill(pid, libc::SIGCONT);
        out.say(sys::status(sys::wait(pid)));
    }),
    case("signal/kill-a-stopped-process", &["kill", "wait4"], |out| {
        for signo in [libc::SIGKILL, libc::SIGTERM] {
            let pid = sys::fork(|| {
                sys::sleep_ms(100_000);
                0
            });
            signals::kill(pid, libc::SIGSTOP);
            call!(SYS_wait4, pid, 0, libc::WUNTRACED, 0);
            signals::kill(pid, signo);
            sys::sleep_ms(60);
            let mut status = 0i32;
            let got = call!(SYS_wait4, pid, &raw mut status, libc::WNOHANG, 0);
            out.say(format_args!("{signo}: ended at once {}", got == i64::from(pid)));
            signals::kill(pid, libc::SIGCONT);
            if got == 0 {
                out.say(sys::status(sys::wait(pid)));
            }
        }
    }),
    case("signal/status-fields", &["read"], |out| {
        let fields = |out: &mut Out| {
            let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            for line in text.lines().filter(|line| line.starts_with("Sig") || line.starts_with("ShdPnd")) {
                let line = line.split('/').next().unwrap_or_default();
                out.say(line);
            }
        };
        call!(SYS_setresuid, 4324, 4324, 4324);
        signals::block(&[USR1, USR2, RT]);
        signals::action(libc::SIGHUP, SIG_IGN, 0, 0);
        signals::action(libc::SIGPIPE, SIG_DFL, 0, 0);
        signals::catch(libc::SIGINT, 0);
        fields(out);
        signals::kill(me(), USR1);
        call!(SYS_tkill, sys::gettid(), USR2);
        signals::queue(me(), RT, 1);
        signals::queue(me(), RT, 1);
        fields(out);
    }),
];
