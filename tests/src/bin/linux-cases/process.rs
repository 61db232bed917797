//! Processes: fork, wait, exit, groups and sessions.

use crate::{
    Case, case,
    sys::{self, call},
};

/// No process has this number.
const NOBODY: i32 = 0x3fff_ffff;

pub(crate) const CASES: &[Case] = &[
    case("process/wait4-without-children", &["wait4"], |out| {
        out.ret("wait4(-1)", sys::wait(-1));
        out.ret("wait4(1)", sys::wait(1));
        out.ret("wait4(0)", sys::wait(0));
        out.ret("wait4(INT_MIN)", sys::wait(i32::MIN));
        out.ret("bad options", call!(SYS_wait4, -1, 0, 0x1000_0000, 0));
    }),
    case("process/exit-status", &["clone", "exit_group", "wait4"], |out| {
        for status in [0, 1, 7, 255, 256, 257, -1] {
            let pid = sys::fork(|| status);
            out.say(format_args!("{status}: {}", sys::status(sys::wait(pid))));
        }
    }),
    case("process/killed-by-signal", &["kill", "wait4"], |out| {
        for signo in [libc::SIGTERM, libc::SIGKILL, libc::SIGSEGV, libc::SIGUSR1, 34, 64] {
            let pid = sys::fork(|| {
                call!(SYS_kill, sys::getpid(), signo);
                0
            });
            out.say(format_args!("{signo}: {}", sys::status(sys::wait(pid) & !0x80)));
        }
    }),
    case("process/wnohang", &["wait4"], |out| {
        let (from, to) = sys::pipe();
        let pid = sys::fork(|| {
            sys::close(to);
            sys::read(from, &mut [0]);
            5
        });
        out.ret("while it runs", call!(SYS_wait4, pid, 0, libc::WNOHANG, 0));
        sys::close(to);
        out.say(sys::status(sys::wait(pid)));
        out.ret("again", call!(SYS_wait4, pid, 0, libc::WNOHANG, 0));
    }),
    case("process/stop-and-continue", &["kill", "wait4"], |out| {
        let pid = sys::fork(|| {
            loop {
                sys::sleep_ms(1000);
            }
        });
        let mut status = 0i32;
        call!(SYS_kill, pid, libc::SIGSTOP);
        out.ret("stopped", call!(SYS_wait4, pid, &raw mut status, libc::WUNTRACED, 0) - i64::from(pid));
        out.say(sys::status(status.into()));
        call!(SYS_kill, pid, libc::SIGCONT);
        out.ret("continued", call!(SYS_wait4, pid, &raw mut status, libc::WCONTINUED, 0) - i64::from(pid));
        out.say(sys::status(status.into()));
        call!(SYS_kill, pid, libc::SIGKILL);
        out.say(sys::status(sys::wait(pid)));
    }),
    case("process/exec-words", &["execve"], |out| {
        let fd = out.fd();
        let pid = sys::fork(|| {
            call!(SYS_dup2, fd, 1);
            -sys::exec_self(&["words", "a b", "", "c"]) as i32
        });
        out.say(sys::status(sys::wait(pid)));
    }),
    case("process/exec-errors", &["execve"], |out| {
        let none: [*const libc::c_char; 1] = [std::ptr::null()];
        let mut exec = |what: &str, path: *const libc::c_char| {
            let result = call!(SYS_execve, path, none.as_ptr(), none.as_ptr());
            out.ret(what, result);
        };
        exec("no such file", sys::c("/nothing"));
        exec("a directory", sys::c("/tmp"));
        exec("not executable", sys::c("/proc/self/maps"));
        exec("empty path", sys::c(""));
        exec("bad address", 8 as *const libc::c_char);
        exec("through a file", sys::c("/proc/self/exe/x"));
    }),
    case("process/setpgid-errors", &["setpgid", "getpgid"], |out| {
        out.ret("of nobody", call!(SYS_setpgid, NOBODY, 0));
        out.ret("negative group", call!(SYS_setpgid, 0, -1));
        out.ret("a group of another session", call!(SYS_setpgid, 0, NOBODY));
        out.ret("of init", call!(SYS_setpgid, 1, 0));
        out.ret("getpgid of nobody", call!(SYS_getpgid, NOBODY));
        out.ret("own group", call!(SYS_getpgid, 0) - i64::from(sys::getpid()));
    }),
    case("process/setsid", &["setsid", "getsid"], |out| {
        out.ret("as a group's leader", call!(SYS_setsid));
        let fd = out.fd();
        let pid = sys::fork(|| {
            let mut out = crate::Out::new(fd);
            out.ret("in a child", call!(SYS_setsid) - i64::from(sys::getpid()));
            out.ret("its session", call!(SYS_getsid, 0) - i64::from(sys::getpid()));
            out.ret("its group", call!(SYS_getpgid, 0) - i64::from(sys::getpid()));
            out.ret("again", call!(SYS_setsid));
            0
        });
        sys::wait(pid);
        out.ret("getsid of nobody", call!(SYS_getsid, NOBODY));
    }),
    case("process/orphans-go-to-the-reaper", &["getppid", "prctl"], |out| {
        const SET_CHILD_SUBREAPER: i32 = 36;
        out.ret("become a subreaper", call!(SYS_prctl, SET_CHILD_SUBREAPER, 1, 0, 0, 0));
        let me = sys::getpid();
        let fd = out.fd();
        let middle = sys::fork(|| {
            let parent = sys::getpid();
            sys::fork(|| {
                while call!(SYS_getppid) == i64::from(parent) {
                    sys::sleep_ms(1);
                }
                crate::Out::new(fd).ret("parent is the subreaper", call!(SYS_getppid) - i64::from(me));
                3
            });
            0
        });
        // The grandchild's own line comes before it ends.
        let ends = [sys::wait(middle), sys::wait(-1), sys::wait(-1)];
        ends.into_iter().for_each(|end| out.say(sys::status(end)));
    }),
];
