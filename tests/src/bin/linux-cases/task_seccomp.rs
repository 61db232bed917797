//! System-call filters.

use crate::{
    Case, Out, case,
    sys::{self, call},
    task_pidfd::poll,
};

const SET_STRICT: i32 = 0;
const SET_FILTER: i32 = 1;
const TSYNC: u32 = 1;
const LOG: u32 = 2;
const NEW_LISTENER: u32 = 8;
const TSYNC_ESRCH: u32 = 16;

const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x3_0000;
const ERRNO: u32 = 0x5_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOGGED: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

/// A call that nothing but the cases makes.
const VICTIM: i64 = libc::SYS_getpgrp;

/// `struct sock_filter`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Insn {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

const fn op(code: u16, k: u32) -> Insn {
    Insn { code, jt: 0, jf: 0, k }
}

const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Insn {
    Insn { code, jt, jf, k }
}

const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u16,
    insns: *const Insn,
}

fn seccomp(operation: i32, flags: u32, insns: &[Insn]) -> i64 {
    let program = Program { len: insns.len() as u16, insns: insns.as_ptr() };
    call!(SYS_seccomp, operation, flags, &raw const program)
}

/// Does `action` to `nr`, allows the rest.
fn filter(nr: i64, action: u32) -> [Insn; 4] {
    [op(LOAD, 0), branch(EQUAL, nr as u32, 0, 1), op(RETURN, action), op(RETURN, ALLOW)]
}

fn no_new_privs() {
    call!(SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

fn in_child(out: &mut Out, what: &str, body: impl FnOnce(&mut Out)) {
    let fd = out.fd();
    let pid = sys::fork(|| {
        body(&mut Out::new(fd));
        0
    });
    out.say(format_args!("{what}: {}", sys::status(sys::wait(pid) & !0x80)));
}

fn status(out: &mut Out) {
    let text = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("Seccomp") || line.starts_with("NoNew"));
    out.say(lines.map(|line| line.replace('\t', " ")).collect::<Vec<_>>().join(", "));
}

/// What the handler of SIGSYS saw: signal, number, code, call, architecture, result register.
static SEEN: [std::sync::atomic::AtomicI64; 6] = [const { std::sync::atomic::AtomicI64::new(0) }; 6];

#[allow(unsafe_code, reason = "reads what the kernel gives a signal handler")]
extern "C" fn trapped(signo: i32, info: *const i32, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel passes valid pointers.
    let (info, registers) =
        unsafe { (std::slice::from_raw_parts(info, 8), &mut (*context).uc_mcontext.gregs) };
    let rax = registers[libc::REG_RAX as usize];
    let values =
        [signo.into(), info[1].into(), info[2].into(), info[6].into(), i64::from(info[7] as u32), rax];
    SEEN.iter().zip(values).for_each(|(slot, value)| slot.store(value, std::sync::atomic::Ordering::Relaxed));
    registers[libc::REG_RAX as usize] = 4242;
}

#[allow(unsafe_code, reason = "installs a handler")]
fn handle_sigsys() {
    // SAFETY: the structure is complete, and the handler calls nothing that is not safe in one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = trapped as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut());
    }
}

/// Reads a request of a listener: its id.
fn receive(out: &mut Out, listener: i64) -> u64 {
    let mut request = [0u64; 10];
    out.ret("receive", call!(SYS_ioctl, listener, 0xc050_2100u32, request.as_mut_ptr()));
    let nr = request[2] as u32;
    out.say(format_args!("  call {} arch {:#x} argument {:#x}", nr, request[2] >> 32, request[4]));
    request[0]
}

fn answer(listener: i64, id: u64, value: i64, error: i32, flags: u32) -> i64 {
    let answer = [id, value as u64, u64::from(error as u32) | u64::from(flags) << 32];
    call!(SYS_ioctl, listener, 0xc018_2101u32, answer.as_ptr())
}

pub(crate) const CASES: &[Case] = &[
    case("seccomp/argument-errors", &["seccomp", "prctl"], |out| {
        out.ret("bad operation", call!(SYS_seccomp, 9, 0, 0));
        out.ret("strict with flags", call!(SYS_seccomp, SET_STRICT, 1, 0));
        out.ret("strict with an address", call!(SYS_seccomp, SET_STRICT, 0, 8));
        out.ret("bad flags", seccomp(SET_FILTER, 0x40, &filter(VICTIM, ALLOW)));
        out.ret("two results", seccomp(SET_FILTER, TSYNC | NEW_LISTENER, &filter(VICTIM, ALLOW)));
        out.ret("killable without listener", seccomp(SET_FILTER, 0x20, &filter(VICTIM, ALLOW)));
        out.ret("without the right", seccomp(SET_FILTER, 0, &filter(VICTIM, ALLOW)));
        out.ret("empty, without the right", seccomp(SET_FILTER, 0, &[]));
        no_new_privs();
        out.ret("bad address", call!(SYS_seccomp, SET_FILTER, 0, 8));
        out.ret("no address", call!(SYS_seccomp, SET_FILTER, 0, 0));
        let program = Program { len: 4, insns: 8 as *const Insn };
        out.ret("bad address of the program", call!(SYS_seccomp, SET_FILTER, 0, &raw const program));
        out.ret("empty", seccomp(SET_FILTER, 0, &[]));
        out.ret("too long", seccomp(SET_FILTER, 0, &vec![op(RETURN, ALLOW); 4097]));
        out.ret("as long as can be", seccomp(SET_FILTER, 0, &vec![op(RETURN, ALLOW); 4096]));
        out.ret("prctl with a bad mode", call!(SYS_prctl, libc::PR_SET_SECCOMP, 3, 0, 0, 0));
        out.ret("prctl with mode 0", call!(SYS_prctl, libc::PR_SET_SECCOMP, 0, 0, 0, 0));
    }),
    case("seccomp/programs-that-are-refused", &["seccomp"], |out| {
        no_new_privs();
        let end = op(RETURN, ALLOW);
        let mut with = |what: &str, insns: &[Insn]| out.ret(what, seccomp(SET_FILTER, 0, insns));
        with("no return", &[op(LOAD, 0)]);
        with("jump past the end", &[op(0x05, 1), end]);
        with("jump to the end", &[op(0x05, 0), end]);
        with("jump back", &[op(0x05, u32::MAX), end]);
        with("branch past the end", &[branch(EQUAL, 0, 1, 0), end]);
        with("load behind the facts", &[op(LOAD, 64), end]);
        with("load the last word", &[op(LOAD, 60), end]);
        with("load between words", &[op(LOAD, 2), end]);
        with("load half a word", &[op(0x28, 0), end]);
        with("load a byte", &[op(0x30, 0), end]);
        with("load by index", &[op(0x40, 0), end]);
        with("load the length", &[op(0x80, 0), end]);
        with("load X with the length", &[op(0x81, 0), end]);
        with("load X with an IP header", &[op(0xb1, 0), end]);
        with("scratch 15", &[op(0x02, 15), end]);
        with("scratch 16", &[op(0x02, 16), end]);
        with("scratch not written", &[op(0x60, 0), end]);
        with("scratch written on one way", &[branch(EQUAL, 1, 0, 1), op(0x02, 0), op(0x60, 0), end]);
        with("division by zero", &[op(0x34, 0), end]);
        with("remainder", &[op(0x94, 1), end]);
        with("shift by 32", &[op(0x64, 32), end]);
        with("shift by 31", &[op(0x64, 31), end]);
        with("return X", &[op(0x0e, 0)]);
        with("return A", &[op(0x16, 0)]);
        with("unknown", &[op(0xff, 0), end]);
    }),
    case("seccomp/arithmetic", &["seccomp"], |out| {
        let give = |out: &mut Out, what: &str, insns: &[Insn]| {
            in_child(out, what, |out| {
                no_new_privs();
                // The victim's error is what the program computed.
                let mut all = vec![op(LOAD, 0), branch(EQUAL, VICTIM as u32, 1, 0), op(RETURN, ALLOW)];
                all.extend(insns);
                all.extend([op(0x54, 0xfff), op(0x44, ERRNO), op(0x16, 0)]);
                out.ret("  set", seccomp(SET_FILTER, 0, &all));
                out.ret("  gives", sys::raw(VICTIM, &[]));
            });
        };
        give(out, "add", &[op(0, 5), op(0x04, 6)]);
        give(out, "subtract below zero", &[op(0, 5), op(0x14, 6)]);
        give(out, "multiply", &[op(0, 5), op(0x24, 3)]);
        give(out, "divide", &[op(0, 13), op(0x34, 4)]);
        give(out, "negate", &[op(0, 0xffff_fff8), op(0x84, 0)]);
        give(out, "shift by X", &[op(0, 1), op(1, 3), op(0x6c, 0)]);
        give(out, "shift by 33 in X", &[op(0, 1), op(1, 33), op(0x6c, 0)]);
        give(out, "xor X", &[op(0, 6), op(1, 3), op(0xac, 0)]);
        give(out, "length", &[op(0x80, 0), op(0x74, 2)]);
        give(out, "scratch", &[op(0, 9), op(0x02, 7), op(0, 0), op(0x60, 7)]);
        give(out, "exchange", &[op(0, 9), op(0x07, 0), op(0, 2), op(0x87, 0)]);
    }),
    case("seccomp/errno", &["seccomp"], |out| {
        no_new_privs();
        status(out);
        out.ret("set", seccomp(SET_FILTER, 0, &filter(VICTIM, ERRNO | 13)));
        out.ret("the call", sys::raw(VICTIM, &[]));
        out.ret("another", i64::from(call!(SYS_getppid) > 0));
        out.ret("mode", call!(SYS_prctl, libc::PR_GET_SECCOMP, 0, 0, 0, 0));
        out.ret("set by prctl", {
            let insns = filter(libc::SYS_getuid, ERRNO);
            let program = Program { len: 4, insns: insns.as_ptr() };
            call!(SYS_prctl, libc::PR_SET_SECCOMP, 2, &raw const program, 0, 0)
        });
        out.ret("error 0", call!(SYS_getuid));
        out.ret("set with LOG", seccomp(SET_FILTER, LOG, &filter(libc::SYS_geteuid, ERRNO | 0xffff)));
        out.ret("error too high", call!(SYS_geteuid));
        out.ret("strict is refused", call!(SYS_seccomp, SET_STRICT, 0, 0));
        status(out);
    }),
    case("seccomp/strictest-counts", &["seccomp"], |out| {
        no_new_privs();
        seccomp(SET_FILTER, 0, &filter(VICTIM, ERRNO | 1));
        seccomp(SET_FILTER, 0, &filter(VICTIM, ERRNO | 2));
        out.ret("the newest of equals", sys::raw(VICTIM, &[]));
        seccomp(SET_FILTER, 0, &filter(VICTIM, TRACE | 3));
        out.ret("error before trace", sys::raw(VICTIM, &[]));
        handle_sigsys();
        seccomp(SET_FILTER, 0, &filter(VICTIM, TRAP | 3));
        out.ret("trap before error", sys::raw(VICTIM, &[]));
    }),
    case("seccomp/kill", &["seccomp"], |out| {
        for (what, action) in [("thread", KILL_THREAD), ("process", KILL_PROCESS), ("unknown", 0x1234_0000)] {
            in_child(out, what, |out| {
                no_new_privs();
                out.ret("  set", seccomp(SET_FILTER, 0, &filter(VICTIM, action)));
                sys::raw(VICTIM, &[]);
                out.say("alive");
            });
        }
    }),
    case("seccomp/kill-in-thread", &["seccomp"], |out| {
        for (what, action) in [("thread", KILL_THREAD), ("process", KILL_PROCESS)] {
            in_child(out, what, |out| {
                no_new_privs();
                let tid = std::sync::atomic::AtomicI32::new(0);
                let tid = &*Box::leak(Box::new(tid));
                std::thread::spawn(move || {
                    tid.store(sys::gettid(), std::sync::atomic::Ordering::Relaxed);
                    seccomp(SET_FILTER, 0, &filter(VICTIM, action));
                    sys::raw(VICTIM, &[]);
                });
                loop {
                    let id = tid.load(std::sync::atomic::Ordering::Relaxed);
                    if id != 0 && call!(SYS_tgkill, sys::getpid(), id, 0) < 0 {
                        break;
                    }
                    sys::sleep_ms(1);
                }
                out.say("  the rest lives");
            });
        }
    }),
    case("seccomp/trap", &["seccomp"], |out| {
        handle_sigsys();
        no_new_privs();
        out.ret("set", seccomp(SET_FILTER, 0, &filter(VICTIM, TRAP | 77)));
        out.ret("the handler's result", sys::raw(VICTIM, &[]));
        let seen: Vec<i64> =
            SEEN.iter().map(|slot| slot.load(std::sync::atomic::Ordering::Relaxed)).collect();
        out.say(format_args!("{seen:?}"));
        in_child(out, "without a handler", |_| {
            let action = [0u64; 4];
            call!(SYS_rt_sigaction, libc::SIGSYS, action.as_ptr(), 0, 8);
            sys::raw(VICTIM, &[]);
        });
        in_child(out, "blocked", |_| {
            let set = 1u64 << (libc::SIGSYS - 1);
            call!(SYS_rt_sigprocmask, 0, &raw const set, 0, 8);
            sys::raw(VICTIM, &[]);
        });
    }),
    case("seccomp/trace-and-log", &["seccomp"], |out| {
        no_new_privs();
        seccomp(SET_FILTER, 0, &filter(libc::SYS_getuid, LOGGED));
        out.ret("logged", call!(SYS_getuid));
        seccomp(SET_FILTER, 0, &filter(VICTIM, TRACE | 1));
        out.ret("without a tracer", sys::raw(VICTIM, &[]));
        seccomp(SET_FILTER, 0, &filter(VICTIM, NOTIFY));
        out.ret("without a listener", sys::raw(VICTIM, &[]));
    }),
    case("seccomp/arguments", &["seccomp"], |out| {
        no_new_privs();
        // kill(2) with signal 0 only, of which the upper half counts, too.
        let insns = [
            op(LOAD, 0),
            branch(EQUAL, libc::SYS_kill as u32, 0, 4),
            op(LOAD, 24),
            branch(EQUAL, 0, 0, 3),
            op(LOAD, 28),
            branch(EQUAL, 0, 0, 1),
            op(RETURN, ALLOW),
            op(RETURN, ERRNO | 22),
        ];
        out.ret("set", seccomp(SET_FILTER, 0, &insns));
        out.ret("signal 0", call!(SYS_kill, sys::getpid(), 0));
        out.ret("signal 23", call!(SYS_kill, sys::getpid(), 23));
        out.ret("upper half", call!(SYS_kill, sys::getpid(), 1i64 << 32));
    }),
    case("seccomp/architecture-and-x32", &["seccomp"], |out| {
        no_new_privs();
        let insns = [
            op(LOAD, 4),
            branch(EQUAL, 0xc000_003e, 1, 0),
            op(RETURN, KILL_PROCESS),
            op(LOAD, 0),
            branch(0x35, 0x4000_0000, 0, 1),
            op(RETURN, ERRNO | 95),
            op(RETURN, ALLOW),
        ];
        out.ret("x32 before", sys::raw(0x4000_0000 + libc::SYS_getpid, &[]));
        out.ret("set", seccomp(SET_FILTER, 0, &insns));
        out.ret("x32", sys::raw(0x4000_0000 + libc::SYS_getpid, &[]));
        out.ret("too high", sys::raw(1000, &[]));
        out.ret("upper half", sys::raw(1 << 32 | libc::SYS_getuid, &[]));
    }),
    case("seccomp/numbers-without-a-call", &["seccomp"], |out| {
        no_new_privs();
        out.ret("set", seccomp(SET_FILTER, 0, &filter(1000, ERRNO | 13)));
        out.ret("1000", sys::raw(1000, &[]));
        out.ret("1001", sys::raw(1001, &[]));
        out.ret("set -1", seccomp(SET_FILTER, 0, &filter(0xffff_ffff, ERRNO | 14)));
    }),
    case("seccomp/strict", &["seccomp", "prctl"], |out| {
        for (what, by_prctl) in [("seccomp", false), ("prctl", true)] {
            in_child(out, what, |out| {
                let result = if by_prctl {
                    call!(SYS_prctl, libc::PR_SET_SECCOMP, 1, 0, 0, 0)
                } else {
                    call!(SYS_seccomp, SET_STRICT, 0, 0)
                };
                out.ret("  set", result);
                out.say("  write works");
                sys::getpid();
                out.say("  alive");
            });
        }
        in_child(out, "exit", |_| {
            call!(SYS_seccomp, SET_STRICT, 0, 0);
            call!(SYS_exit, 3);
        });
        in_child(out, "exit_group", |_| {
            call!(SYS_seccomp, SET_STRICT, 0, 0);
        });
    }),
    case("seccomp/inherited", &["seccomp", "clone", "execve"], |out| {
        no_new_privs();
        seccomp(SET_FILTER, 0, &filter(VICTIM, ERRNO | 13));
        in_child(out, "fork", |out| {
            out.ret("  the call", sys::raw(VICTIM, &[]));
            status(out);
            seccomp(SET_FILTER, 0, &filter(VICTIM, ERRNO | 12));
            out.ret("  its own", sys::raw(VICTIM, &[]));
        });
        out.ret("the parent's", sys::raw(VICTIM, &[]));
        let fd = out.fd();
        std::thread::spawn(move || Out::new(fd).ret("a thread", sys::raw(VICTIM, &[]))).join().ok();
        // The exec'd program is killed by its first exit.
        seccomp(SET_FILTER, 0, &filter(libc::SYS_exit_group, KILL_PROCESS));
        let pid = sys::fork(|| -sys::exec_self(&["exit", "0"]) as i32);
        out.say(format_args!("exec: {}", sys::status(sys::wait(pid) & !0x80)));
        sys::raw(libc::SYS_exit, &[0]);
    }),
    case("seccomp/synchronise-threads", &["seccomp"], |out| {
        no_new_privs();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (say, hear) = std::sync::mpsc::channel::<(i64, i64)>();
        let thread = std::thread::spawn(move || {
            for () in wait {
                let privs = call!(SYS_prctl, libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
                say.send((sys::raw(VICTIM, &[]), privs)).ok();
            }
        });
        let look = |out: &mut Out, what: &str| {
            go.send(()).ok();
            let (result, privs) = hear.recv().unwrap_or((0, 0));
            out.ret(what, result.min(0));
            out.ret("  its no_new_privs", privs);
        };
        look(out, "before");
        out.ret("alone", seccomp(SET_FILTER, 0, &filter(libc::SYS_getuid, ERRNO | 1)));
        look(out, "not synchronised");
        out.ret("together", seccomp(SET_FILTER, TSYNC, &filter(VICTIM, ERRNO | 2)));
        look(out, "synchronised");
        drop(go);
        thread.join().ok();
    }),
    case("seccomp/synchronise-fails", &["seccomp"], |out| {
        no_new_privs();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (say, hear) = std::sync::mpsc::channel::<i32>();
        let thread = std::thread::spawn(move || {
            seccomp(SET_FILTER, 0, &filter(libc::SYS_getuid, ERRNO | 1));
            say.send(sys::gettid()).ok();
            wait.recv().ok();
        });
        let tid = hear.recv().unwrap_or(0);
        out.ret("the thread's id", seccomp(SET_FILTER, TSYNC, &filter(VICTIM, ERRNO | 2)) - i64::from(tid));
        let flags = TSYNC | TSYNC_ESRCH;
        out.ret("as an error", seccomp(SET_FILTER, flags, &filter(VICTIM, ERRNO | 2)));
        out.ret("nothing happened", sys::raw(VICTIM, &[]).min(0));
        out.ret("with a listener", seccomp(SET_FILTER, flags | NEW_LISTENER, &filter(VICTIM, ERRNO | 2)));
        go.send(()).ok();
        thread.join().ok();
    }),
    case("seccomp/too-many", &["seccomp"], |out| {
        no_new_privs();
        let long = vec![op(RETURN, ALLOW); 4096];
        for count in 1..10 {
            let result = seccomp(SET_FILTER, 0, &long);
            if result != 0 {
                // How many it takes depends on what the kernel makes of them.
                out.ret("refused", result);
                out.say(count > 2);
                break;
            }
        }
    }),
    case("seccomp/what-there-is", &["seccomp"], |out| {
        let actions =
            [KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, NOTIFY, TRACE, LOGGED, ALLOW, 1, ERRNO | 1, 0x1234_0000];
        for action in actions {
            out.ret(&format!("{action:#x}"), call!(SYS_seccomp, 2, 0, &raw const action));
        }
        out.ret("bad address", call!(SYS_seccomp, 2, 0, 8));
        out.ret("bad flags", call!(SYS_seccomp, 2, 1, &raw const actions[0]));
        let mut sizes = [0u16; 3];
        out.ret("sizes", call!(SYS_seccomp, 3, 0, sizes.as_mut_ptr()));
        out.say(format_args!("{sizes:?}"));
        out.ret("sizes with flags", call!(SYS_seccomp, 3, 1, sizes.as_mut_ptr()));
    }),
    case("seccomp/notify", &["seccomp", "ioctl"], |out| {
        no_new_privs();
        let insns = [
            op(LOAD, 0),
            branch(EQUAL, libc::SYS_getpgid as u32, 0, 3),
            op(LOAD, 16),
            branch(EQUAL, 0x4321, 0, 1),
            op(RETURN, NOTIFY),
            op(RETURN, ALLOW),
        ];
        let listener = seccomp(SET_FILTER, NEW_LISTENER, &insns);
        out.ok("listener", listener);
        out.ret("its flags", call!(SYS_fcntl, listener, libc::F_GETFD, 0));
        out.ret("a second one", seccomp(SET_FILTER, NEW_LISTENER, &insns));
        out.say(poll(listener, 0));
        let fd = out.fd();
        let ask = |what: &'static str| {
            sys::fork(move || {
                sys::close(listener as i32);
                Out::new(fd).ret(what, call!(SYS_getpgid, 0x4321));
                0
            })
        };
        let pid = ask("answered with a value");
        out.say(poll(listener, 5000));
        let id = receive(out, listener);
        out.say(poll(listener, 0));
        out.ret("valid", call!(SYS_ioctl, listener, 0x4008_2102u32, &raw const id));
        out.ret("bad flags", answer(listener, id, 0, 0, 2));
        out.ret("value with CONTINUE", answer(listener, id, 1, 0, 1));
        out.ret("nobody's", answer(listener, id + 100, 0, 0, 0));
        let answered = answer(listener, id, 99, 0, 0);
        sys::wait(pid);
        out.ret("answer", answered);
        out.ret("again", answer(listener, id, 99, 0, 0));
        out.ret("valid", call!(SYS_ioctl, listener, 0x4008_2102u32, &raw const id));
        let pid = ask("answered with an error");
        let id = receive(out, listener);
        answer(listener, id, 0, -libc::ENOTTY, 0);
        sys::wait(pid);
        let pid = ask("continued");
        let id = receive(out, listener);
        answer(listener, id, 0, 0, 1);
        sys::wait(pid);
        let dirty = [1u64; 10];
        out.ret("dirty buffer", call!(SYS_ioctl, listener, 0xc050_2100u32, dirty.as_ptr()));
        out.ret("bad operation", call!(SYS_ioctl, listener, 0x1234, 0));
        let pid = ask("the listener goes");
        poll(listener, 5000);
        sys::close(listener as i32);
        sys::wait(pid);
    }),
    case("seccomp/notify-adds-a-descriptor", &["seccomp", "ioctl", "pidfd_getfd"], |out| {
        no_new_privs();
        let (from, to) = sys::pipe();
        let listener = seccomp(SET_FILTER, NEW_LISTENER, &filter(libc::SYS_getpgid, NOTIFY));
        let pid = sys::fork(|| {
            let fd = call!(SYS_getpgid, 0);
            sys::write(fd as i32, b"from the child");
            call!(SYS_fcntl, fd, libc::F_GETFD, 0) as i32
        });
        let id = receive(out, listener);
        let mut add = |what: &str, flags: u32, source: i32, at: u32, at_flags: u32| {
            let request =
                [id, u64::from(flags) | (source as u64) << 32, u64::from(at) | u64::from(at_flags) << 32];
            let result = call!(SYS_ioctl, listener, 0x4018_2103u32, request.as_ptr());
            out.ret(what, result);
        };
        add("bad flags", 4, to, 0, 0);
        add("a number without the flag", 0, to, 100, 0);
        add("no descriptor", 0, 77, 0, 0);
        add("bad descriptor flags", 0, to, 0, 1);
        add("at a number", 1, to, 100, 0);
        add("and answer", 3, to, 101, libc::O_CLOEXEC as u32);
        out.say(sys::status(sys::wait(pid)));
        let mut bytes = [0; 20];
        out.ret("arrived", sys::read(from, &mut bytes));
    }),
];
