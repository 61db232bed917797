//! wait4(2) and waitid(2); who inherits children.

use crate::{
    Case, Out, case,
    sys::{self, call},
    task_pidfd::{waitid, waiting_child},
};

const P_ALL: i32 = 0;
const P_PID: i32 = 1;
const P_PGID: i32 = 2;
const SUBREAPER: i32 = 36;

pub(crate) const CASES: &[Case] = &[
    case("wait/waitid-states", &["waitid", "kill"], |out| {
        let (pid, to) = waiting_child();
        let id = i64::from(pid);
        waitid(
            out,
            "nothing yet",
            P_PID,
            id,
            libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG,
        );
        call!(SYS_kill, pid, libc::SIGSTOP);
        waitid(out, "stopped", P_PID, id, libc::WSTOPPED | libc::WNOWAIT);
        waitid(out, "stopped, only ends", P_PID, id, libc::WEXITED | libc::WNOHANG);
        waitid(out, "stopped, taken", P_PID, id, libc::WSTOPPED);
        waitid(out, "stopped, gone", P_PID, id, libc::WSTOPPED | libc::WNOHANG);
        call!(SYS_kill, pid, libc::SIGCONT);
        waitid(out, "continued", P_PID, id, libc::WCONTINUED | libc::WNOWAIT);
        waitid(out, "continued, taken", P_PID, id, libc::WCONTINUED);
        waitid(out, "continued, gone", P_PID, id, libc::WCONTINUED | libc::WNOHANG);
        sys::close(to);
        waitid(out, "ended", P_ALL, 0, libc::WEXITED | libc::WNOWAIT);
        waitid(out, "ended, taken", P_ALL, 0, libc::WEXITED);
        waitid(out, "nobody", P_ALL, 0, libc::WEXITED);
    }),
    case("wait/waitid-killed", &["waitid", "kill"], |out| {
        for signo in [libc::SIGKILL, libc::SIGTERM, 34] {
            let (pid, _to) = waiting_child();
            call!(SYS_kill, pid, signo);
            waitid(out, "killed", P_PID, pid.into(), libc::WEXITED);
        }
    }),
    case("wait/waitid-null-and-bad-places", &["waitid"], |out| {
        let pid = sys::fork(|| 1);
        out.ret("no place", call!(SYS_waitid, P_PID, pid, 0, libc::WEXITED | libc::WNOWAIT, 0));
        out.ret("bad place", call!(SYS_waitid, P_PID, pid, 8, libc::WEXITED | libc::WNOWAIT, 0));
        out.ret("bad usage", call!(SYS_waitid, P_PID, pid, 0, libc::WEXITED | libc::WNOWAIT, 8));
        out.ret("take", call!(SYS_waitid, P_PID, pid, 0, libc::WEXITED, 0));
        let pid = sys::fork(|| 1);
        out.ret("wait4 with a bad status", call!(SYS_wait4, pid, 8, 0, 0));
        out.ret("and gone", call!(SYS_wait4, pid, 0, 0, 0));
    }),
    case("wait/usage", &["wait4", "waitid", "getrusage"], |out| {
        let work = || {
            let start = sys::now_ms();
            while sys::now_ms() < start + 60 {}
            0
        };
        let time = |usage: &[i64; 18]| usage[0] * 1000 + usage[1] / 1000 + usage[2] * 1000 + usage[3] / 1000;
        let mut usage = [0i64; 18];
        let pid = sys::fork(work);
        call!(SYS_wait4, pid, 0, 0, usage.as_mut_ptr());
        out.say(format_args!("wait4: at least 20 ms {}", time(&usage) >= 20));
        let pid = sys::fork(work);
        usage = [0; 18];
        call!(SYS_waitid, P_PID, pid, 0, libc::WEXITED, usage.as_mut_ptr());
        out.say(format_args!("waitid: at least 20 ms {}", time(&usage) >= 20));
        usage = [0; 18];
        call!(SYS_getrusage, libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        out.say(format_args!("children: at least 40 ms {}", time(&usage) >= 40));
        out.ret("bad who", call!(SYS_getrusage, 5, usage.as_mut_ptr()));
        out.ret("bad place", call!(SYS_getrusage, 0, 8));
    }),
    case("wait/groups", &["wait4", "waitid", "setpgid"], |out| {
        let (pid, to) = waiting_child();
        call!(SYS_setpgid, pid, 0);
        sys::close(to);
        out.ret("own group", call!(SYS_wait4, 0, 0, 0, 0));
        waitid(out, "own group", P_PGID, 0, libc::WEXITED);
        waitid(out, "its group", P_PGID, pid.into(), libc::WEXITED | libc::WNOWAIT);
        out.ret("its group", call!(SYS_wait4, -pid, 0, 0, 0) - i64::from(pid));
        out.ret("again", call!(SYS_wait4, -pid, 0, 0, 0));
    }),
    case("wait/options", &["wait4"], |out| {
        for bit in 0..32 {
            let options = libc::WNOHANG as u32 | 1 << bit;
            out.ret(&format!("{options:#x}"), call!(SYS_wait4, -1, 0, options, 0));
        }
    }),
    case("wait/oldest-first", &["wait4", "waitid"], |out| {
        let pids: Vec<i32> = (0..3).map(|status| sys::fork(move || status)).collect();
        for &pid in pids.iter().rev() {
            call!(SYS_waitid, P_PID, pid, 0, libc::WEXITED | libc::WNOWAIT, 0);
        }
        for _ in 0..3 {
            out.say(sys::status(sys::wait(-1)));
        }
    }),
    case("wait/of-another-thread", &["wait4", "waitid"], |out| {
        let (say, hear) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            say.send(sys::fork(|| 6)).ok();
            wait.recv().ok();
        });
        let pid = hear.recv().unwrap_or(0);
        let none = libc::__WNOTHREAD;
        out.ret("only own children", call!(SYS_wait4, pid, 0, none, 0));
        waitid(out, "only own children", P_PID, pid.into(), libc::WEXITED | none);
        waitid(out, "any thread's", P_PID, pid.into(), libc::WEXITED | libc::WNOWAIT);
        go.send(()).ok();
        thread.join().ok();
        // Its child is handed to another thread before the join can be seen, or soon after.
        let mut tries = 0;
        while call!(SYS_wait4, pid, 0, none, 0) < 0 && tries < 1000 {
            tries += 1;
            sys::sleep_ms(1);
        }
        out.ret("once the thread is gone", i64::from(tries < 1000));
        out.ret("taken", sys::wait(-1));
    }),
    case("wait/sigchld-ignored", &["wait4", "rt_sigaction"], |out| {
        let mut action = [1u64, 0, 0, 0];
        call!(SYS_rt_sigaction, libc::SIGCHLD, action.as_ptr(), 0, 8);
        let pid = sys::fork(|| 0);
        out.ret("ignored", sys::wait(pid));
        action = [0, libc::SA_NOCLDWAIT as u64, 0, 0];
        call!(SYS_rt_sigaction, libc::SIGCHLD, action.as_ptr(), 0, 8);
        let pid = sys::fork(|| 0);
        out.ret("SA_NOCLDWAIT", sys::wait(pid));
    }),
    case("wait/interrupted", &["wait4", "alarm"], |out| {
        extern "C" fn nothing(_: i32) {}
        let (_pid, _to) = waiting_child();
        #[allow(unsafe_code, reason = "installs a handler that does nothing, without SA_RESTART")]
        // SAFETY: the structure is complete.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as *const () as usize;
            libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        }
        let timer = [0i64, 0, 0, 50_000];
        call!(SYS_setitimer, 0, timer.as_ptr(), 0);
        out.ret("wait", sys::wait(-1));
    }),
    case("wait/orphans-of-a-chain", &["prctl", "getppid", "wait4"], |out| {
        out.ret("subreaper", call!(SYS_prctl, SUBREAPER, 1, 0, 0, 0));
        let fd = out.fd();
        let me = sys::getpid();
        // Two levels die; their children come here, with the signal of an ordinary child.
        let first = sys::fork(|| {
            let middle = call!(SYS_clone, 0, 0, 0, 0, 0);
            if middle == 0 {
                let parent = sys::getpid();
                let last = call!(SYS_clone, 0, 0, 0, 0, 0);
                if last == 0 {
                    while call!(SYS_getppid) == i64::from(parent) {
                        sys::sleep_ms(1);
                    }
                    let adopted = i32::from(call!(SYS_getppid) == i64::from(me));
                    sys::exit(20 + adopted);
                }
                sys::exit(30);
            }
            let mut status = 0i32;
            call!(SYS_wait4, middle, &raw mut status, libc::__WALL, 0);
            Out::new(fd).say(format_args!("middle {}", sys::status(status.into())));
            10
        });
        out.say(sys::status(sys::wait(first)));
        out.say(sys::status(sys::wait(-1)));
        out.ret("nobody", sys::wait(-1));
        let mut value = 7i32;
        out.ret("get", call!(SYS_prctl, 37, &raw mut value, 0, 0, 0));
        out.ret("value", value.into());
        let pid = sys::fork(|| {
            let mut value = 7i32;
            call!(SYS_prctl, 37, &raw mut value, 0, 0, 0);
            value
        });
        out.say(format_args!("a child: {}", sys::status(sys::wait(pid))));
    }),
    case("wait/parent-death-signal", &["prctl", "clone"], |out| {
        let fd = out.fd();
        call!(SYS_prctl, SUBREAPER, 1, 0, 0, 0);
        let (from, to) = sys::pipe();
        let middle = sys::fork(|| {
            sys::fork(|| {
                let mut out = Out::new(fd);
                out.ret("set", call!(SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0));
                let mut signo = 0i32;
                call!(SYS_prctl, libc::PR_GET_PDEATHSIG, &raw mut signo, 0, 0, 0);
                out.ret("is", signo.into());
                let pid = sys::fork(|| {
                    let mut signo = 9i32;
                    call!(SYS_prctl, libc::PR_GET_PDEATHSIG, &raw mut signo, 0, 0, 0);
                    signo
                });
                out.say(format_args!("in a child {}", sys::status(sys::wait(pid))));
                sys::write(to, &[1]);
                loop {
                    sys::sleep_ms(1000);
                }
            });
            sys::read(from, &mut [0]);
            1
        });
        out.say(sys::status(sys::wait(middle)));
        out.say(sys::status(sys::wait(-1)));
    }),
    case("wait/setpgid-rules", &["setpgid", "setsid", "getpgid", "getsid"], |out| {
        let (pid, to) = waiting_child();
        out.ret("child into own group", call!(SYS_setpgid, pid, pid));
        out.ret("child back", call!(SYS_setpgid, pid, sys::getpid()));
        out.ret("child to nobody's group", call!(SYS_setpgid, pid, 0x3fff_ffff));
        out.ret("getpgid", call!(SYS_getpgid, pid) - i64::from(sys::getpid()));
        out.ret("negative", call!(SYS_getpgid, -1));
        out.ret("getsid negative", call!(SYS_getsid, -1));
        out.ret("getsid of a child", call!(SYS_getsid, pid) - call!(SYS_getsid, 0));
        sys::close(to);
        call!(SYS_waitid, P_PID, pid, 0, libc::WEXITED | libc::WNOWAIT, 0);
        out.ret("of a zombie", call!(SYS_getpgid, pid) - i64::from(sys::getpid()));
        out.ret("move a zombie", call!(SYS_setpgid, pid, 0));
        sys::wait(pid);
        out.ret("of what is gone", call!(SYS_getpgid, pid));
        let (ready, set) = sys::pipe();
        let (from, to) = sys::pipe();
        let leader = sys::fork(|| {
            sys::close(to);
            call!(SYS_setsid);
            sys::write(set, &[0]);
            sys::read(from, &mut [0]);
            0
        });
        sys::read(ready, &mut [0]);
        out.ret("a child in another session", call!(SYS_setpgid, leader, 0));
        out.ret("into another session's group", call!(SYS_setpgid, 0, leader));
        let pid = sys::fork(|| -sys::exec_self(&["exit", "0"]) as i32);
        call!(SYS_waitid, P_PID, pid, 0, libc::WEXITED | libc::WNOWAIT, 0);
        sys::wait(pid);
        sys::close(to);
        out.say(sys::status(sys::wait(leader)));
    }),
];
