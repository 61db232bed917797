//! clone(2) and clone3(2) in all their forms.

use crate::{
    Case, Out, case,
    sys::{self, call},
    task_pidfd::waitid,
};

const VM: u64 = 0x100;
const FS: u64 = 0x200;
const FILES: u64 = 0x400;
const SIGHAND: u64 = 0x800;
const PIDFD: u64 = 0x1000;
const VFORK: u64 = 0x4000;
const PARENT: u64 = 0x8000;
const THREAD: u64 = 0x1_0000;
const NEWNS: u64 = 0x2_0000;
const PARENT_SETTID: u64 = 0x10_0000;
const CHILD_CLEARTID: u64 = 0x20_0000;
const DETACHED: u64 = 0x40_0000;
const CHILD_SETTID: u64 = 0x100_0000;
const NEWUSER: u64 = 0x1000_0000;
const NEWPID: u64 = 0x2000_0000;
const CLEAR_SIGHAND: u64 = 1 << 32;
const INTO_CGROUP: u64 = 1 << 33;

/// `struct clone_args` with room for more.
type Args = [u64; 16];
const FLAGS: usize = 0;
const FD: usize = 1;
const CHILD: usize = 2;
const PARENT_TID: usize = 3;
const SIGNAL: usize = 4;
const STACK: usize = 5;
const STACK_SIZE: usize = 6;
const SET_TID: usize = 8;
const SET_TID_SIZE: usize = 9;
const CGROUP: usize = 10;

fn args(pairs: &[(usize, u64)]) -> Args {
    let mut args = [0; 16];
    args[SIGNAL] = libc::SIGCHLD as u64;
    pairs.iter().for_each(|&(at, value)| args[at] = value);
    args
}

/// Makes a child that exits with 3; what came of it.
fn clone3(out: &mut Out, what: &str, args: &Args, size: usize) -> i64 {
    let result = call!(SYS_clone3, args.as_ptr(), size);
    if result == 0 {
        sys::exit(3);
    }
    out.ok(what, result);
    if result > 0 {
        let mut status = 0i32;
        call!(SYS_wait4, result, &raw mut status, libc::__WALL, 0);
        out.say(format_args!("  {}", sys::status(status.into())));
    }
    result
}

fn clone(out: &mut Out, what: &str, flags: u64) {
    let result = call!(SYS_clone, flags, 0, 0, 0, 0);
    if result == 0 {
        sys::exit(3);
    }
    out.ok(what, result);
    if result > 0 {
        let mut status = 0i32;
        let waited = call!(SYS_wait4, result, &raw mut status, libc::__WALL, 0);
        out.ret("  wait", waited - result);
        out.say(format_args!("  {}", sys::status(status.into())));
    }
}

/// In a child of its own, since rights do not come back.
fn as_user(out: &mut Out, body: impl FnOnce(&mut Out)) {
    let fd = out.fd();
    let pid = sys::fork(|| {
        call!(SYS_setresuid, 1000, 1000, 1000);
        body(&mut Out::new(fd));
        0
    });
    sys::wait(pid);
}

pub(crate) const CASES: &[Case] = &[
    case("clone/flags-that-need-others", &["clone"], |out| {
        clone(out, "THREAD", THREAD);
        clone(out, "THREAD|VM", THREAD | VM);
        clone(out, "SIGHAND", SIGHAND);
        clone(out, "NEWNS|FS", NEWNS | FS);
        clone(out, "NEWUSER|FS", NEWUSER | FS);
        clone(out, "NEWPID|THREAD", NEWPID | THREAD | SIGHAND | VM);
        clone(out, "PIDFD|DETACHED", PIDFD | DETACHED);
        clone(out, "DETACHED", DETACHED | 17);
        clone(out, "FS|FILES", FS | FILES | 17);
        clone(out, "VM|VFORK", VM | VFORK | 17);
    }),
    case("clone/exit-signals", &["clone", "wait4"], |out| {
        for signo in [0, 17, 10, 64, 65, 255] {
            // What is ignored by default, so that the case lives on.
            let mut action = [0u64; 4];
            action[0] = 1;
            if signo == 10 || signo == 64 {
                call!(SYS_rt_sigaction, signo, action.as_ptr(), 0, 8);
            }
            clone(out, &format!("signal {signo}"), signo);
        }
    }),
    case("clone/wait-kinds", &["clone", "wait4"], |out| {
        for signo in [0, 17, 23] {
            let pid = call!(SYS_clone, signo, 0, 0, 0, 0);
            if pid == 0 {
                sys::exit(4);
            }
            let mut wait = |what: &str, options: i32| {
                let result = call!(SYS_wait4, pid, 0, options | libc::WNOHANG, 0);
                out.ret(&format!("{signo} {what}"), if result > 0 { 1 } else { result });
                result
            };
            sys::sleep_ms(50);
            let waits = [("plain", 0), ("clone", libc::__WCLONE), ("all", libc::__WALL)];
            for (what, options) in waits {
                wait(what, options);
            }
        }
    }),
    case("clone/tids-are-stored", &["clone"], |out| {
        let mut ids = [0i32; 2];
        let [parent, child] = &mut ids;
        let flags = PARENT_SETTID | CHILD_SETTID | 17;
        let pid = call!(SYS_clone, flags, 0, std::ptr::from_mut(parent), std::ptr::from_mut(child), 0);
        if pid == 0 {
            let seen = unsafe_read(&ids[1]);
            sys::exit(
                i32::from(seen == sys::getpid()) + 2 * i32::from(unsafe_read(&ids[0]) == sys::getpid()),
            );
        }
        out.say(sys::status(sys::wait(pid as i32)));
        out.say(format_args!("{} {}", i64::from(unsafe_read(&ids[0])) == pid, unsafe_read(&ids[1])));
        // Bad addresses do no harm.
        let pid = call!(SYS_clone, flags | CHILD_CLEARTID, 0, 8, 8, 0);
        if pid == 0 {
            sys::exit(0);
        }
        out.say(sys::status(sys::wait(pid as i32)));
    }),
    case("clone/sibling", &["clone", "getppid"], |out| {
        let fd = out.fd();
        let me = sys::getpid();
        let (from, to) = sys::pipe();
        let pid = sys::fork(|| {
            let pid = call!(SYS_clone, PARENT | 17, 0, 0, 0, 0);
            if pid == 0 {
                sys::read(from, &mut [0]);
                Out::new(fd).ret("parent of the sibling", call!(SYS_getppid) - i64::from(me));
                return 9;
            }
            Out::new(fd).ret("not its child", sys::wait(-1));
            2
        });
        out.say(sys::status(sys::wait(pid)));
        sys::write(to, &[0]);
        out.say(sys::status(sys::wait(-1)));
        out.ret("no more", sys::wait(-1));
    }),
    case("clone3/sizes", &["clone3"], |out| {
        let plain = args(&[]);
        for size in [0, 63, 64, 65, 72, 80, 88, 96, 128] {
            clone3(out, &format!("size {size}"), &plain, size);
        }
        let page = [0u64; 640];
        out.ret("a page and more", call!(SYS_clone3, page.as_ptr(), 4097));
        let pid = call!(SYS_clone3, page.as_ptr(), 4096);
        if pid == 0 {
            sys::exit(0);
        }
        out.ok("a page", pid);
        clone3(out, "what is unknown", &args(&[(11, 1)]), 96);
        clone3(out, "what is unknown and not looked at", &args(&[(11, 1)]), 88);
        out.ret("bad address", call!(SYS_clone3, 8, 88));
    }),
    case("clone3/argument-errors", &["clone3"], |out| {
        let mut with = |what: &str, pairs: &[(usize, u64)]| {
            clone3(out, what, &args(pairs), 88);
        };
        with("exit signal 65", &[(SIGNAL, 65)]);
        with("exit signal 256", &[(SIGNAL, 256)]);
        with("exit signal 0", &[(SIGNAL, 0)]);
        with("CSIGNAL in flags", &[(FLAGS, 17)]);
        with("unknown flag", &[(FLAGS, 1 << 34)]);
        with("DETACHED", &[(FLAGS, DETACHED)]);
        with("stack without size", &[(STACK, 0x1000)]);
        with("size without stack", &[(STACK_SIZE, 0x1000)]);
        with("thread with a signal", &[(FLAGS, THREAD | VM | SIGHAND)]);
        with("sibling with a signal", &[(FLAGS, PARENT)]);
        with("CLEAR_SIGHAND|SIGHAND", &[(FLAGS, CLEAR_SIGHAND | SIGHAND | VM)]);
        with("stack too high", &[(STACK, u64::MAX - 100), (STACK_SIZE, 50)]);
    }),
    case("clone3/pidfd", &["clone3", "waitid"], |out| {
        let mut ids = [-1i32; 3];
        let place = |at: usize, ids: &mut [i32; 3]| &raw mut ids[at] as u64;
        let args = args(&[
            (FLAGS, PIDFD | PARENT_SETTID | CHILD_SETTID),
            (FD, place(0, &mut ids)),
            (PARENT_TID, place(1, &mut ids)),
            (CHILD, place(2, &mut ids)),
        ]);
        let pid = call!(SYS_clone3, args.as_ptr(), 64);
        if pid == 0 {
            sys::exit(i32::from(unsafe_read(&ids[2]) == sys::getpid()));
        }
        out.say(i64::from(unsafe_read(&ids[1])) == pid);
        out.ret("descriptor flags", call!(SYS_fcntl, unsafe_read(&ids[0]), libc::F_GETFD, 0));
        waitid(out, "take", 3, unsafe_read(&ids[0]).into(), libc::WEXITED);
        clone3(out, "bad address", &self::args(&[(FLAGS, PIDFD), (FD, 8)]), 64);
    }),
    case("clone3/clear-sighand", &["clone3", "rt_sigaction"], |out| {
        let set = |signo: i32, handler: u64| {
            let action = [handler, 0x400_0000, 0x1000, 0];
            call!(SYS_rt_sigaction, signo, action.as_ptr(), 0, 8)
        };
        set(libc::SIGUSR1, 0x1234);
        set(libc::SIGUSR2, 1);
        let args = args(&[(FLAGS, CLEAR_SIGHAND)]);
        let pid = call!(SYS_clone3, args.as_ptr(), 88);
        if pid == 0 {
            let mut now = [0u64; 4];
            call!(SYS_rt_sigaction, libc::SIGUSR1, 0, now.as_mut_ptr(), 8);
            out.say(format_args!("{:#x}", now[0]));
            call!(SYS_rt_sigaction, libc::SIGUSR2, 0, now.as_mut_ptr(), 8);
            out.say(format_args!("{:#x}", now[0]));
            sys::exit(0);
        }
        out.say(sys::status(sys::wait(pid as i32)));
    }),
    case("clone3/set-tid", &["clone3"], |out| {
        // A number that is surely free: of a process that is gone.
        let free = sys::fork(|| 0);
        sys::wait(free);
        let ids = |id: i32| [id, 0];
        let mut with = |what: &str, id: i32, count: u64| {
            let ids = ids(id);
            let args = args(&[(SET_TID, ids.as_ptr() as u64), (SET_TID_SIZE, count)]);
            let result = clone3(out, what, &args, 88);
            (result > 0).then_some(result == i64::from(id))
        };
        let got = [
            with("free", free, 1),
            with("taken", sys::getpid(), 1),
            with("init", 1, 1),
            with("zero", 0, 1),
            with("negative", -1, 1),
            with("too high", 4_194_304, 1),
            with("too many", free, 33),
            with("no array of one", free, 0),
        ];
        out.say(format_args!("{got:?}"));
        clone3(out, "no address", &args(&[(SET_TID_SIZE, 1)]), 88);
        clone3(out, "bad address", &args(&[(SET_TID, 8), (SET_TID_SIZE, 1)]), 88);
        as_user(out, |out| {
            let ids = [free];
            let args = args(&[(SET_TID, ids.as_ptr() as u64), (SET_TID_SIZE, 1)]);
            clone3(out, "as a user", &args, 88);
        });
    }),
    case("clone3/into-cgroup-errors", &["clone3"], |out| {
        clone3(out, "closed", &args(&[(FLAGS, INTO_CGROUP), (CGROUP, 77)]), 88);
        clone3(out, "a pipe", &args(&[(FLAGS, INTO_CGROUP), (CGROUP, out.fd() as u64)]), 88);
        clone3(out, "too high", &args(&[(FLAGS, INTO_CGROUP), (CGROUP, 1 << 31)]), 88);
        clone3(out, "short arguments", &args(&[(FLAGS, INTO_CGROUP), (CGROUP, 77)]), 80);
        out.ret("nothing is left", sys::wait(-1));
    }),
];

/// What a word is now: the kernel changes it behind the compiler's back.
#[allow(unsafe_code, reason = "a volatile read of a live reference")]
fn unsafe_read(place: &i32) -> i32 {
    // SAFETY: the reference is valid.
    unsafe { std::ptr::read_volatile(place) }
}
