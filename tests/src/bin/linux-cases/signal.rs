//! Sending, waiting for and handling signals.

use std::sync::atomic::Ordering;

use crate::{
    Case, Out, case,
    signals::{self, COUNT, Info, MASK, ORDER, SIG_DFL, SIG_IGN, WORDS, describe, sender},
    sys::{self, call},
};

const RT: i32 = 40;
const USR1: i32 = libc::SIGUSR1;
const USR2: i32 = libc::SIGUSR2;
const NOBODY: i32 = 0x3fff_ffff;
const NODEFER: u64 = 0x4000_0000;
const RESETHAND: u64 = 0x8000_0000;
const RESTART: u64 = 0x1000_0000;

fn count() -> i32 {
    COUNT.load(Ordering::SeqCst)
}

fn me() -> i32 {
    sys::getpid()
}

/// A child that runs `body` and whose status is written.
fn child(out: &mut Out, what: &str, body: impl FnOnce(&mut Out) -> i32) {
    let fd = out.fd();
    let pid = sys::fork(|| body(&mut Out::new(fd)));
    out.say(format_args!("{what}: {}", sys::status(sys::wait(pid) & !0x80)));
}

/// Sends this process a signal from a child in a moment.
fn soon(signo: i32, milliseconds: u64) -> i32 {
    let parent = me();
    sys::fork(|| {
        sys::sleep_ms(milliseconds);
        signals::kill(parent, signo);
        0
    })
}

/// A call that a handler interrupts after a moment: its result.
fn interrupted(flags: u64, call: impl FnOnce() -> i64) -> i64 {
    signals::catch(USR1, flags);
    let pid = soon(USR1, 60);
    let result = call();
    sys::wait(pid);
    result
}

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
    case("signal/kill-errors", &["kill"], |out| {
        out.ret("signal 65", signals::kill(me(), 65));
        out.ret("signal -1", signals::kill(me(), -1));
        out.ret("nobody", signals::kill(NOBODY, USR1));
        out.ret("nobody, signal 65", signals::kill(NOBODY, 65));
        out.ret("no group", signals::kill(-NOBODY, USR1));
        out.ret("no group, signal 65", signals::kill(-NOBODY, 65));
        out.ret("INT_MIN", signals::kill(i32::MIN, USR1));
        out.ret("nothing to self", signals::kill(me(), 0));
        out.ret("nothing to the group", signals::kill(0, 0));
        out.ret("signal 65 to the group", signals::kill(0, 65));
        let pid = sys::fork(|| 0);
        sys::sleep_ms(50);
        out.ret("a zombie", signals::kill(pid, USR1));
        out.ret("a zombie, signal 65", signals::kill(pid, 65));
        sys::wait(pid);
        out.ret("gone", signals::kill(pid, 0));
    }),
    case("signal/tkill-errors", &["tkill", "tgkill"], |out| {
        let tid = sys::gettid();
        out.ret("tkill 0", call!(SYS_tkill, 0, USR1));
        out.ret("tkill -1", call!(SYS_tkill, -1, USR1));
        out.ret("tkill nobody", call!(SYS_tkill, NOBODY, USR1));
        out.ret("tkill signal 65", call!(SYS_tkill, tid, 65));
        out.ret("tkill nobody, signal 65", call!(SYS_tkill, NOBODY, 65));
        out.ret("tkill nothing", call!(SYS_tkill, tid, 0));
        out.ret("tgkill 0", call!(SYS_tgkill, 0, tid, USR1));
        out.ret("tgkill another group", call!(SYS_tgkill, 1, tid, USR1));
        out.ret("tgkill signal -1", call!(SYS_tgkill, me(), tid, -1));
        out.ret("tgkill nothing", call!(SYS_tgkill, me(), tid, 0));
    }),
    case("signal/kill-permission", &["kill", "setresuid"], |out| {
        let pid = sys::fork(|| {
            sys::sleep_ms(100_000);
            0
        });
        child(out, "another user", |out| {
            call!(SYS_setresuid, 1000, 1000, 1000);
            out.ret("signal", signals::kill(pid, USR1));
            out.ret("nothing", signals::kill(pid, 0));
            out.ret("signal 65", signals::kill(pid, 65));
            out.ret("continue", signals::kill(pid, libc::SIGCONT));
            out.ret("tkill", call!(SYS_tkill, pid, USR1));
            out.ret("queue", signals::queue(pid, USR1, 1));
            out.ret("itself", signals::kill(me(), 0));
            0
        });
        child(out, "real user alike", |out| {
            call!(SYS_setresuid, 0, 1000, 1000);
            out.ret("signal", signals::kill(pid, 0));
            0
        });
        signals::kill(pid, libc::SIGKILL);
        sys::wait(pid);
    }),
    case("signal/sources", &["kill", "tkill", "tgkill", "rt_sigqueueinfo"], |out| {
        signals::block(&[USR1, RT]);
        let mut info: Info = [0; 32];
        let mut take = |out: &mut Out, what: &str| {
            let got = signals::wait(&[USR1, RT], 2000, &mut info);
            out.ret(what, got);
            out.say(format_args!(
                "{} errno {} {} value {}",
                describe(&info),
                info[1],
                sender(&info),
                info[6]
            ));
        };
        signals::kill(me(), USR1);
        take(out, "kill");
        call!(SYS_tkill, sys::gettid(), USR1);
        take(out, "tkill");
        call!(SYS_tgkill, me(), sys::gettid(), RT);
        take(out, "tgkill");
        signals::queue(me(), RT, 12);
        take(out, "queue");
        let pid = sys::fork(|| {
            signals::kill(call!(SYS_getppid) as i32, USR1);
            0
        });
        take(out, "from a child");
        sys::wait(pid);
    }),
    case("signal/sigqueue-codes", &["rt_sigqueueinfo", "rt_tgsigqueueinfo"], |out| {
        signals::block(&[RT]);
        let pid = sys::fork(|| {
            signals::action(RT, SIG_IGN, 0, 0);
            sys::sleep_ms(100_000);
            0
        });
        for code in [0, 1, 0x80, -1, -2, -5, -6, -60, i32::MIN, i32::MAX] {
            let info = signals::queued(RT, code, 1);
            out.ret(&format!("self, code {code}"), call!(SYS_rt_sigqueueinfo, me(), RT, info.as_ptr()));
            out.ret("another", call!(SYS_rt_sigqueueinfo, pid, RT, info.as_ptr()));
            out.ret("another's thread", call!(SYS_rt_tgsigqueueinfo, pid, pid, RT, info.as_ptr()));
        }
        let info = signals::queued(USR1, -1, 1);
        out.ret("another number inside", call!(SYS_rt_sigqueueinfo, me(), RT, info.as_ptr()));
        signals::drain(out, &[RT, USR1]);
        out.ret("bad address", call!(SYS_rt_sigqueueinfo, me(), RT, 8));
        out.ret("bad address, nobody", call!(SYS_rt_sigqueueinfo, NOBODY, RT, 8));
        out.ret("nobody", call!(SYS_rt_sigqueueinfo, NOBODY, RT, info.as_ptr()));
        out.ret("signal 65", call!(SYS_rt_sigqueueinfo, me(), 65, info.as_ptr()));
        out.ret("signal 0", call!(SYS_rt_sigqueueinfo, me(), 0, info.as_ptr()));
        out.ret("thread 0", call!(SYS_rt_tgsigqueueinfo, me(), 0, RT, info.as_ptr()));
        out.ret("another group", call!(SYS_rt_tgsigqueueinfo, pid, sys::gettid(), RT, info.as_ptr()));
        signals::kill(pid, libc::SIGKILL);
        sys::wait(pid);
    }),
    case("signal/queue-order", &["rt_sigqueueinfo", "rt_sigtimedwait"], |out| {
        let all = [RT, RT + 1, 64, USR1, libc::SIGHUP];
        signals::block(&all);
        for (signo, value) in
            [(64, 1), (RT + 1, 2), (RT, 3), (RT, 4), (USR1, 5), (USR1, 6), (RT, 7), (libc::SIGHUP, 8)]
        {
            out.ret("queue", signals::queue(me(), signo, value));
        }
        signals::drain(out, &all);
    }),
    case("signal/own-before-shared", &["tgkill", "kill"], |out| {
        signals::block(&[USR1, USR2, RT]);
        signals::kill(me(), USR1);
        call!(SYS_tkill, sys::gettid(), RT);
        call!(SYS_tkill, sys::gettid(), USR2);
        signals::drain(out, &[USR1, USR2, RT]);
    }),
    case("signal/handler-order", &["rt_sigprocmask", "rt_sigaction"], |out| {
        let all = [USR1, USR2, libc::SIGHUP, RT, RT + 1];
        signals::block(&all);
        for signo in all {
            signals::catch(signo, 0);
            signals::kill(me(), signo);
        }
        signals::unblock(&all);
        out.say(format_args!("{} in order {:x}", count(), ORDER.load(Ordering::SeqCst)));
    }),
    case("signal/limit", &["rt_sigqueueinfo", "prlimit64"], |out| {
        call!(SYS_setresuid, 4322, 4322, 4322);
        signals::block(&[RT, USR1, USR2]);
        let limit = [3u64, 3];
        out.ret("limit", call!(SYS_prlimit64, 0, libc::RLIMIT_SIGPENDING, limit.as_ptr(), 0));
        for value in 0..5 {
            out.ret("queue", signals::queue(me(), RT, value));
        }
        out.ret("tkill", call!(SYS_tkill, sys::gettid(), RT));
        out.ret("kill", signals::kill(me(), RT));
        out.ret("queued standard signal", signals::queue(me(), USR1, 9));
        out.ret("standard signal", signals::kill(me(), USR2));
        signals::drain(out, &[RT, USR1, USR2]);
        out.ret("again", signals::queue(me(), RT, 0));
    }),
    case("signal/limit-of-the-user", &["rt_sigqueueinfo"], |out| {
        call!(SYS_setresuid, 4323, 4323, 4323);
        signals::block(&[RT]);
        let limit = [4u64, 4];
        call!(SYS_prlimit64, 0, libc::RLIMIT_SIGPENDING, limit.as_ptr(), 0);
        out.ret("one", signals::queue(me(), RT, 0));
        child(out, "child", |out| {
            for value in 0..4 {
                out.ret("queue", signals::queue(me(), RT, value));
            }
            0
        });
        for value in 0..4 {
            out.ret("queue", signals::queue(me(), RT, value));
        }
    }),
    case("signal/sigaction-errors", &["rt_sigaction"], |out| {
        for signo in [-1, 0, 65, libc::SIGKILL, libc::SIGSTOP] {
            out.ret(&format!("{signo}"), signals::action(signo, SIG_IGN, 0, 0));
            out.ret("get", call!(SYS_rt_sigaction, signo, 0, [0u64; 4].as_mut_ptr(), 8));
        }
        out.ret("size", call!(SYS_rt_sigaction, USR1, 0, 0, 4));
        out.ret("bad address", call!(SYS_rt_sigaction, USR1, 8, 0, 8));
        out.ret("bad address for the old", call!(SYS_rt_sigaction, USR1, 0, 8, 8));
    }),
    case("signal/sigaction-flags", &["rt_sigaction"], |out| {
        for flags in [0, 1, 2, 4, 0x400, 0x800, 0x1000, 0xffff_ffff, 0x7000_0000, u64::MAX] {
            signals::action(USR1, SIG_IGN, flags, u64::MAX);
            let old = signals::old_action(USR1);
            out.say(format_args!("{flags:x}: {:x} mask {:x}", old.flags, old.mask));
        }
    }),
    case("signal/handler-mask", &["rt_sigaction"], |out| {
        signals::action(USR1, signals::note_address(), libc::SA_SIGINFO as u64, signals::set(&[USR2, 9, 19]));
        signals::kill(me(), USR1);
        out.say(format_args!("{:x} then {:x}", MASK.load(Ordering::SeqCst), signals::blocked()));
        signals::catch(USR1, NODEFER);
        signals::kill(me(), USR1);
        out.say(format_args!("{:x} then {:x}", MASK.load(Ordering::SeqCst), signals::blocked()));
        signals::catch(USR1, RESETHAND);
        signals::kill(me(), USR1);
        let old = signals::old_action(USR1);
        out.say(format_args!(
            "{:x} reset {} {:x}",
            MASK.load(Ordering::SeqCst),
            old.handler == SIG_DFL,
            old.flags
        ));
        child(out, "again", |_| {
            signals::kill(me(), USR1);
            0
        });
    }),
    case("signal/sigprocmask", &["rt_sigprocmask", "rt_sigpending"], |out| {
        out.ret("how 3", call!(SYS_rt_sigprocmask, 3, [1u64].as_ptr(), 0, 8));
        out.ret("how -1, no set", call!(SYS_rt_sigprocmask, -1, 0, 0, 8));
        out.ret("size", call!(SYS_rt_sigprocmask, 0, 0, 0, 16));
        out.ret("bad address", call!(SYS_rt_sigprocmask, 0, 8, 0, 8));
        out.ret("bad address for the old", call!(SYS_rt_sigprocmask, 0, [0x200u64].as_ptr(), 8, 8));
        out.say(format_args!("set all the same {:x}", signals::blocked()));
        signals::mask(libc::SIG_SETMASK, u64::MAX);
        out.say(format_args!("all {:x}", signals::blocked()));
        signals::kill(me(), USR1);
        signals::kill(me(), 64);
        out.say(format_args!("pending {:x}", signals::pending()));
        out.ret("pending, size 9", call!(SYS_rt_sigpending, [0u64].as_mut_ptr(), 9));
        out.ret("pending, size 0", call!(SYS_rt_sigpending, 8, 0));
        out.ret("pending, bad address", call!(SYS_rt_sigpending, 8, 8));
    }),
    case("signal/ignoring-drops-what-waits", &["rt_sigaction"], |out| {
        signals::block(&[USR1, libc::SIGCHLD, RT]);
        signals::kill(me(), USR1);
        signals::kill(me(), libc::SIGCHLD);
        signals::queue(me(), RT, 1);
        out.say(format_args!("{:x}", signals::pending()));
        signals::action(USR1, SIG_IGN, 0, 0);
        signals::action(RT, SIG_DFL, 0, 0);
        out.say(format_args!("{:x}", signals::pending()));
        signals::action(libc::SIGCHLD, SIG_DFL, 0, 0);
        out.say(format_args!("{:x}", signals::pending()));
        signals::kill(me(), USR1);
        out.say(format_args!("ignored and blocked {:x}", signals::pending()));
    }),
    case("signal/sigsuspend", &["rt_sigsuspend"], |out| {
        signals::catch(USR1, RESTART);
        signals::block(&[USR1]);
        signals::kill(me(), USR1);
        let set = signals::set(&[USR2]);
        out.ret("waits", call!(SYS_rt_sigsuspend, &raw const set, 8));
        out.say(format_args!(
            "{} with {:x} then {:x}",
            count(),
            MASK.load(Ordering::SeqCst),
            signals::blocked()
        ));
        out.ret("size", call!(SYS_rt_sigsuspend, &raw const set, 4));
        out.ret("bad address", call!(SYS_rt_sigsuspend, 8, 8));
        let result = interrupted(0, || call!(SYS_rt_sigsuspend, &raw const set, 8));
        out.ret("later", result);
    }),
    case("signal/sigtimedwait", &["rt_sigtimedwait"], |out| {
        signals::block(&[USR1, RT]);
        let mut info: Info = [0; 32];
        out.ret("nothing", signals::wait(&[USR1], 0, &mut info));
        let start = sys::now_ms();
        out.ret("nothing, later", signals::wait(&[USR1], 50, &mut info));
        out.say(format_args!("waited {}", sys::now_ms() - start >= 50));
        let pid = soon(USR1, 50);
        out.ret("comes", signals::wait(&[USR1, RT], 5000, &mut info));
        sys::wait(pid);
        let set = signals::set(&[USR1, 9]);
        let time = [0i64, -1];
        out.ret("bad time", call!(SYS_rt_sigtimedwait, &raw const set, 0, time.as_ptr(), 8));
        out.ret("size", call!(SYS_rt_sigtimedwait, &raw const set, 0, 0, 4));
        out.ret("bad set", call!(SYS_rt_sigtimedwait, 8, 0, 0, 8));
        out.ret("bad time's address", call!(SYS_rt_sigtimedwait, &raw const set, 0, 8, 8));
        signals::kill(me(), USR1);
        out.ret("bad address", call!(SYS_rt_sigtimedwait, &raw const set, 8, 0, 8));
        out.say(format_args!("taken all the same {:x}", signals::pending()));
        signals::catch(USR2, RESTART);
        let pid = soon(USR2, 50);
        out.ret("another signal", signals::wait(&[USR1], 5000, &mut info));
        sys::wait(pid);
        out.ret("handlers", count().into());
    }),
    case("signal/sigtimedwait-not-blocked", &["rt_sigtimedwait"], |out| {
        let mut info: Info = [0; 32];
        signals::catch(USR1, 0);
        let pid = soon(USR1, 50);
        out.ret("caught", signals::wait(&[USR1], 3000, &mut info));
        sys::wait(pid);
        out.ret("handlers", count().into());
    }),
    case("signal/sigchld", &["rt_sigtimedwait", "wait4"], |out| {
        signals::block(&[libc::SIGCHLD]);
        let mut info: Info = [0; 32];
        let mut take = |out: &mut Out, pid: i32, what: &str| {
            signals::wait(&[libc::SIGCHLD], 3000, &mut info);
            out.say(format_args!("{what}: {} of it {} status {}", describe(&info), info[4] == pid, info[6]));
        };
        let pid = sys::fork(|| 7);
        take(out, pid, "exit");
        sys::wait(pid);
        let pid = sys::fork(|| {
            sys::sleep_ms(100_000);
            0
        });
        signals::kill(pid, libc::SIGSTOP);
        take(out, pid, "stop");
        signals::kill(pid, libc::SIGCONT);
        take(out, pid, "continue");
        signals::kill(pid, libc::SIGTERM);
        take(out, pid, "kill");
        sys::wait(pid);
    }),
    case("signal/no-stop-notices", &["rt_sigaction"], |out| {
        signals::catch(libc::SIGCHLD, 1);
        let pid = sys::fork(|| {
            sys::sleep_ms(100_000);
            0
        });
        signals::kill(pid, libc::SIGSTOP);
        call!(SYS_wait4, pid, 0, libc::WUNTRACED, 0);
        signals::kill(pid, libc::SIGCONT);
        call!(SYS_wait4, pid, 0, libc::WCONTINUED, 0);
        out.ret("handlers", count().into());
        signals::kill(pid, libc::SIGKILL);
        sys::wait(pid);
        out.ret("handlers", count().into());
    }),
    case("signal/no-child-wait", &["rt_sigaction", "wait4"], |out| {
        for (what, handler, flags) in
            [("ignored", SIG_IGN, 0), ("no wait", signals::note_address(), 2 | libc::SA_SIGINFO as u64)]
        {
            signals::action(libc::SIGCHLD, handler, flags, 0);
            let pid = sys::fork(|| 3);
            out.ret(what, sys::wait(pid));
            out.ret("handlers", count().into());
        }
        signals::action(libc::SIGCHLD, SIG_DFL, 2, 0);
        let pid = sys::fork(|| 3);
        out.ret("default, no wait", sys::wait(pid));
    }),
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
    case("signal/faults", &["rt_sigaction"], |out| {
        #[allow(unsafe_code, reason = "the case makes faults")]
        let faults: [(&str, fn()); 6] = [
            // SAFETY: ends the child or reaches its handler.
            ("unmapped", || unsafe { core::arch::asm!("mov eax, [rcx]", in("rcx") 8u64, out("eax") _) }),
            // SAFETY: as above.
            ("write to text", || unsafe {
                core::arch::asm!("mov [rcx], eax", in("rcx") signals::note_address(), in("eax") 0)
            }),
            // SAFETY: as above.
            ("not canonical", || unsafe {
                core::arch::asm!("mov eax, [rcx]", in("rcx") 0x8000_0000_0000_0000u64, out("eax") _)
            }),
            // SAFETY: as above.
            ("bad instruction", || unsafe { core::arch::asm!("ud2") }),
            // SAFETY: as above.
            ("breakpoint", || unsafe { core::arch::asm!("int3") }),
            // SAFETY: as above.
            ("division", || unsafe {
                core::arch::asm!("div ecx", in("ecx") 0, inout("eax") 1 => _, inout("edx") 0 => _)
            }),
        ];
        for (what, fault) in faults {
            let (from, to) = sys::pipe();
            let pid = sys::fork(|| {
                for signo in [libc::SIGSEGV, libc::SIGILL, libc::SIGTRAP, libc::SIGFPE, libc::SIGBUS] {
                    signals::action(signo, teller(to), libc::SA_SIGINFO as u64, 0);
                }
                fault();
                9
            });
            let mut info: Info = [0; 32];
            let mut bytes = [0u8; 24];
            sys::read(from, &mut bytes);
            for (word, bytes) in info.iter_mut().zip(bytes.chunks(4)) {
                *word = i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
            out.say(format_args!("{what}: {} address {}", describe(&info), info[4] != 0 || info[5] != 0));
            out.say(sys::status(sys::wait(pid)));
        }
    }),
    case("signal/forced-when-blocked-or-ignored", &["rt_sigprocmask"], |out| {
        let fault = || {
            #[allow(unsafe_code, reason = "the case makes faults")]
            // SAFETY: it ends the child.
            unsafe {
                core::arch::asm!("ud2");
            }
        };
        child(out, "blocked", |_| {
            signals::catch(libc::SIGILL, 0);
            signals::block(&[libc::SIGILL]);
            fault();
            0
        });
        child(out, "ignored", |_| {
            signals::action(libc::SIGILL, SIG_IGN, 0, 0);
            fault();
            0
        });
        child(out, "sent while blocked", |_| {
            signals::block(&[libc::SIGILL]);
            signals::kill(me(), libc::SIGILL);
            11
        });
    }),
    case("signal/altstack", &["sigaltstack"], |out| {
        let space = vec![0u8; 64 << 10];
        let base = space.as_ptr() as u64;
        let set = |base: u64, flags: u64, size: u64| call!(SYS_sigaltstack, [base, flags, size].as_ptr(), 0);
        let show = |out: &mut Out| {
            let mut old = [0u64; 3];
            out.ret("get", call!(SYS_sigaltstack, 0, old.as_mut_ptr()));
            out.say(format_args!("set {} flags {:x} size {}", old[0] != 0, old[1] as u32, old[2]));
        };
        show(out);
        for (flags, size) in
            [(0, 2047), (0, 2048), (1, 8192), (2, 0), (3, 8192), (4, 8192), (1 << 31, 8192), (1 << 31 | 2, 0)]
        {
            out.ret(&format!("flags {flags:x} size {size}"), set(base, flags, size));
            show(out);
        }
        out.ret("bad address", call!(SYS_sigaltstack, 8, 0));
        out.ret("bad address for the old", call!(SYS_sigaltstack, 0, 8));
        let _ = &WORDS;
    }),
    case("signal/altstack-unmapped", &["sigaltstack"], |out| {
        child(out, "unmapped", |_| {
            call!(SYS_sigaltstack, [0u64, 0, 1 << 20].as_ptr(), 0);
            signals::catch(USR1, libc::SA_ONSTACK as u64);
            signals::kill(me(), USR1);
            count()
        });
    }),
    case("signal/without-restorer", &["rt_sigaction"], |out| {
        child(out, "handler", |_| {
            let action = [signals::note_address(), 0, 0, 0];
            call!(SYS_rt_sigaction, USR1, action.as_ptr(), 0, 8);
            signals::kill(me(), USR1);
            0
        });
    }),
];

/// Where [`tell`] writes.
static TELL: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(-1);

/// A handler that writes the start of its information to `fd` and ends the process.
fn teller(fd: i32) -> u64 {
    extern "C" fn tell(_: i32, info: *const u8, _: u64) {
        call!(SYS_write, TELL.load(Ordering::SeqCst), info, 24);
        sys::exit(40);
    }
    TELL.store(fd, Ordering::SeqCst);
    tell as *const () as u64
}
