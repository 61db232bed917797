//! Sending, blocking and waiting for signals.

use std::sync::atomic::Ordering;

use crate::{
    Case, Out, case,
    signals::{self, COUNT, Info, MASK, ORDER, SIG_DFL, SIG_IGN, describe, sender},
    sys::{self, call},
};

pub(crate) const RT: i32 = 40;
pub(crate) const USR1: i32 = libc::SIGUSR1;
pub(crate) const USR2: i32 = libc::SIGUSR2;
const NOBODY: i32 = 0x3fff_ffff;
const NODEFER: u64 = 0x4000_0000;
const RESETHAND: u64 = 0x8000_0000;
pub(crate) const RESTART: u64 = 0x1000_0000;

pub(crate) fn count() -> i32 {
    COUNT.load(Ordering::SeqCst)
}

pub(crate) fn me() -> i32 {
    sys::getpid()
}

/// A child that runs `body` and whose status is written.
pub(crate) fn child(out: &mut Out, what: &str, body: impl FnOnce(&mut Out) -> i32) {
    let fd = out.fd();
    let pid = sys::fork(|| body(&mut Out::new(fd)));
    out.say(format_args!("{what}: {}", sys::status(sys::wait(pid) & !0x80)));
}

/// Sends this process a signal from a child in a moment.
pub(crate) fn soon(signo: i32, milliseconds: u64) -> i32 {
    let parent = me();
    sys::fork(|| {
        sys::sleep_ms(milliseconds);
        signals::kill(parent, signo);
        0
    })
}

/// A call that a handler interrupts after a moment: its result.
pub(crate) fn interrupted(flags: u64, call: impl FnOnce() -> i64) -> i64 {
    signals::catch(USR1, flags);
    let pid = soon(USR1, 60);
    let result = call();
    sys::wait(pid);
    result
}

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
];
