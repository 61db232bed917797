//! Controlling terminals and job control.

use crate::{
    Case, Out, case,
    pty_tools::{
        RDWR, block, drain, get, ignore, ioctl, ioctl_int, job, master, name, next_signal, open, pair, poll,
        read, read_soon, session, set, set_group, stat_tty, take_terminal, type_in, unblock, wait_any,
    },
    sys::{self, call},
};

fn own_group() -> i32 {
    call!(SYS_getpgid, 0) as i32
}

/// `TIOCGPGRP` or `TIOCGSID`: whose it is.
fn whose(out: &mut Out, what: &str, fd: i32, request: u64) {
    let mut id = -1i32;
    match ioctl(fd, request, &raw mut id) {
        0 if id == sys::getpid() => out.say(format_args!("{what}: mine")),
        0 if id == 0 => out.say(format_args!("{what}: nobody's")),
        0 => out.say(format_args!("{what}: another's")),
        error => out.ret(what, error),
    }
}

fn show_terminal(out: &mut Out, master: i32) {
    let (number, group) = stat_tty("self");
    let expected = i64::from(136 << 8 | crate::pty_tools::number(master));
    let number = if number == expected { "this".into() } else { number.to_string() };
    let group = match group {
        -1 => "nobody",
        group if group == i64::from(own_group()) => "mine",
        _ => "another's",
    };
    out.say(format_args!("terminal {number}, in front {group}"));
}

/// A child in a session of its own that waits until the returned descriptor is closed.
fn other_session(first: impl FnOnce()) -> (i32, i32) {
    let (from, to) = sys::pipe();
    let (ready, say) = sys::pipe();
    let pid = sys::fork(|| {
        sys::close(to);
        sys::close(ready);
        call!(SYS_setsid);
        first();
        sys::close(say);
        sys::read(from, &mut [0]);
        0
    });
    sys::close(from);
    sys::close(say);
    sys::read(ready, &mut [0]);
    sys::close(ready);
    (pid, to)
}

pub(crate) const CASES: &[Case] = &[
    case("pty/terminal-of-a-session", &["openat", "ioctl", "setsid"], |out| {
        session(out, |out| {
            let master = master(true);
            show_terminal(out, master);
            out.ret("/dev/tty", open("/dev/tty", libc::O_RDWR));
            let plain = open(&name(master), RDWR) as i32;
            whose(out, "asked not to", plain, libc::TIOCGSID);
            show_terminal(out, master);
            let writes = open(&name(master), libc::O_WRONLY);
            out.ret("for writing", writes.min(0));
            show_terminal(out, master);
            let slave = take_terminal(master);
            whose(out, "session", slave, libc::TIOCGSID);
            whose(out, "group", slave, libc::TIOCGPGRP);
            whose(out, "session, at the master", master, libc::TIOCGSID);
            whose(out, "group, at the master", master, libc::TIOCGPGRP);
            show_terminal(out, master);
            let tty = open("/dev/tty", libc::O_RDWR) as i32;
            sys::write(tty, b"hello\n");
            out.say(crate::pty_tools::show(&drain(master)));
            let link = std::fs::read_link(format!("/proc/self/fd/{tty}")).unwrap_or_default();
            out.say(link.display());
            let mut stat = [0u64; 18];
            call!(SYS_fstat, tty, stat.as_mut_ptr());
            out.say(format_args!("device {:#x}", stat[5]));
            let second = crate::pty_tools::master(true);
            take_terminal(second);
            show_terminal(out, master);
        });
    }),
    case("pty/terminal-not-of-others", &["openat", "setsid"], |out| {
        session(out, |out| {
            let master = master(true);
            let pid = sys::fork(|| {
                // No session leader.
                let fd = take_terminal(master);
                let mut id = 0i32;
                i32::from(ioctl(fd, libc::TIOCGSID, &raw mut id) == 0)
            });
            out.say(sys::status(sys::wait(pid)));
            show_terminal(out, master);
            take_terminal(master);
            let fd = out.fd();
            let pid = sys::fork(|| {
                let mut out = Out::new(fd);
                show_terminal(&mut out, master);
                call!(SYS_setsid);
                show_terminal(&mut out, master);
                out.ret("/dev/tty", open("/dev/tty", libc::O_RDWR));
                let fd = take_terminal(master);
                whose(&mut out, "another session's", fd, libc::TIOCGSID);
                out.ret("read", i64::from(poll(fd, libc::POLLIN, 0)));
                0
            });
            out.say(sys::status(sys::wait(pid)));
        });
    }),
    case("pty/tiocsctty", &["ioctl"], |out| {
        let (master, slave) = pair();
        out.ret("no leader", ioctl_int(slave, libc::TIOCSCTTY, 0));
        let m = master;
        let (other, to) = other_session(|| {
            ioctl_int(slave, libc::TIOCSCTTY, 0);
        });
        session(out, |out| {
            out.ret("another's", ioctl_int(slave, libc::TIOCSCTTY, 0));
            out.ret("another's by force", ioctl_int(slave, libc::TIOCSCTTY, 1));
            whose(out, "another's", slave, libc::TIOCGSID);
            whose(out, "another's", slave, libc::TIOCGPGRP);
            whose(out, "another's, at the master", m, libc::TIOCGPGRP);
        });
        sys::close(to);
        out.say(sys::status(sys::wait(other)));
        session(out, |out| {
            out.ret("free again", ioctl_int(slave, libc::TIOCSCTTY, 0));
            out.ret("once more", ioctl_int(slave, libc::TIOCSCTTY, 0));
            let second = pair();
            out.ret("a second one", ioctl_int(second.1, libc::TIOCSCTTY, 0));
        });
        session(out, |out| {
            out.ret("by the master", ioctl_int(m, libc::TIOCSCTTY, 0));
            show_terminal(out, m);
        });
        session(out, |out| {
            let writes = open(&name(m), libc::O_WRONLY | libc::O_NOCTTY) as i32;
            out.ret("for writing", ioctl_int(writes, libc::TIOCSCTTY, 0));
        });
    }),
    case("pty/tiocspgrp", &["ioctl", "setpgid"], |out| {
        let (_master, slave) = pair();
        out.ret("not mine", set_group(slave, own_group()));
        let (other, end) = other_session(|| {});
        session(out, |out| {
            let master = master(true);
            let slave = take_terminal(master);
            let (pid, to) = job(|| 0);
            out.ret("a job", set_group(slave, pid));
            let mut id = 0i32;
            ioctl(slave, libc::TIOCGPGRP, &raw mut id);
            out.say(format_args!("it is {}", id == pid));
            ignore(libc::SIGTTOU);
            let (number, group) = stat_tty("self");
            out.say(format_args!("{} {}", number != 0, group == i64::from(pid)));
            out.ret("back", set_group(slave, own_group()));
            out.ret("negative", set_group(slave, -5));
            out.ret("nobody", set_group(slave, 4_194_303));
            out.ret("zero", set_group(slave, 0));
            out.ret("another session's", set_group(slave, other));
            out.ret("the first process's", set_group(slave, 1));
            out.ret("bad address", ioctl_int(slave, libc::TIOCSPGRP, 8));
            out.ret("by the master", set_group(master, pid));
            sys::close(to);
            out.say(sys::status(sys::wait(pid)));
            out.ret("a group that is gone", set_group(slave, pid));
        });
        sys::close(end);
        sys::wait(other);
    }),
    case("pty/tiocnotty", &["ioctl"], |out| {
        session(out, |out| {
            let master = master(true);
            let slave = take_terminal(master);
            out.ret("at the master", ioctl_int(master, libc::TIOCNOTTY, 0));
            let pid = sys::fork(|| {
                let given = ioctl_int(slave, libc::TIOCNOTTY, 0) == 0;
                i32::from(given && open("/dev/tty", libc::O_RDWR) == -i64::from(libc::ENXIO))
            });
            out.say(sys::status(sys::wait(pid)));
            show_terminal(out, master);
            block(&[libc::SIGHUP, libc::SIGCONT]);
            out.ret("leader", ioctl_int(slave, libc::TIOCNOTTY, 0));
            for signo in [libc::SIGHUP, libc::SIGCONT] {
                out.say(next_signal(&[signo], 0));
            }
            show_terminal(out, master);
            out.ret("again", ioctl_int(slave, libc::TIOCNOTTY, 0));
            whose(out, "at the master", master, libc::TIOCGSID);
            out.ret("taken again", ioctl_int(slave, libc::TIOCSCTTY, 0));
            show_terminal(out, master);
        });
    }),
    case("pty/typed-signals", &["ioctl", "kill"], |out| {
        session(out, |out| {
            let master = master(true);
            let slave = take_terminal(master);
            // The groups are put into the foreground from behind.
            ignore(libc::SIGTTOU);
            for typed in [b"\x03", b"\x1c", b"\x1a"] {
                let (pid, to) = job(|| {
                    sys::sleep_ms(5000);
                    0
                });
                set_group(slave, pid);
                sys::write(to, b"x");
                type_in(master, typed);
                out.say(wait_any(pid));
                call!(SYS_kill, pid, libc::SIGKILL);
                sys::close(to);
                while call!(SYS_wait4, pid, 0, 0, 0) >= 0 {}
                out.say(crate::pty_tools::show(&drain(master)));
            }
            ignore(libc::SIGTTOU);
            set_group(slave, own_group());
            block(&[libc::SIGINT]);
            set(slave, |t| t.lflag &= !libc::ISIG);
            type_in(master, b"\x03\n");
            out.say(next_signal(&[libc::SIGINT], 50));
            read_soon(out, "read", slave, 10);
        });
    }),
    case("pty/signals-flush", &["ioctl", "read"], |out| {
        session(out, |out| {
            let master = master(true);
            let slave = take_terminal(master);
            let all = [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP];
            block(&all);
            type_in(master, b"line\npart");
            poll(slave, libc::POLLIN, 1000);
            drain(master);
            type_in(master, b"\x03");
            out.say(next_signal(&all, 1000));
            out.say(crate::pty_tools::show(&drain(master)));
            type_in(master, b"new\n");
            read_soon(out, "flushed", slave, 100);
            read_soon(out, "flushed", slave, 100);
            set(slave, |t| t.lflag |= libc::NOFLSH);
            drain(master);
            type_in(master, b"line\npart\x1cial\n");
            out.say(next_signal(&all, 1000));
            read_soon(out, "kept", slave, 100);
            read_soon(out, "kept", slave, 100);
            out.say(crate::pty_tools::show(&drain(master)));
            out.ret("TIOCSIG", ioctl_int(master, 0x4004_5436, libc::SIGINT.into()));
            out.say(next_signal(&all, 0));
            out.ret("another", ioctl_int(master, 0x4004_5436, libc::SIGTERM.into()));
            out.ret("at the slave", ioctl_int(slave, 0x4004_5436, libc::SIGINT.into()));
            set(slave, |t| t.cc[libc::VINTR] = b'z');
            type_in(master, b"z\x03\n");
            out.say(next_signal(&all, 1000));
            read_soon(out, "another key", slave, 100);
        });
    }),
    case("pty/background-read", &["read", "ioctl"], |out| {
        session(out, |out| {
            let master = master(true);
            let slave = take_terminal(master);
            type_in(master, b"line\nmore\n");
            poll(slave, libc::POLLIN, 1000);
            let fd = out.fd();
            let (pid, to) = job(|| {
                let mut out = Out::new(fd);
                read(&mut out, "read", slave, 100);
                0
            });
            sys::write(to, b"x");
            out.say(wait_any(pid));
            ignore(libc::SIGTTOU);
            set_group(slave, pid);
            call!(SYS_kill, pid, libc::SIGCONT);
            // Said when the job has said what it has to say.
            let continued = wait_any(pid);
            sys::close(to);
            let ended = wait_any(pid);
            out.say(continued);
            out.say(ended);
            set_group(slave, own_group());
            for blocks in [true, false] {
                let (pid, to) = job(|| {
                    if blocks {
                        block(&[libc::SIGTTIN])
                    } else {
                        ignore(libc::SIGTTIN)
                    }
                    let mut out = Out::new(fd);
                    read(&mut out, "signal blocked or ignored", slave, 100);
                    read(&mut out, "nothing", slave, 0);
                    0
                });
                sys::close(to);
                out.say(wait_any(pid));
            }
            read_soon(out, "still there", slave, 100);
        });
    }),
    case("pty/background-write", &["write", "ioctl"], |out| {
        session(out, |out| {
            let master = master(true);
            let slave = take_terminal(master);
            let fd = out.fd();
            for (stop, ignores) in [(false, false), (true, false), (true, true)] {
                set(slave, |t| t.lflag = if stop { t.lflag | libc::TOSTOP } else { t.lflag & !libc::TOSTOP });
                let (pid, to) = job(|| {
                    if ignores {
                        ignore(libc::SIGTTOU);
                    }
                    let mut out = Out::new(fd);
                    out.ret("write", sys::write(slave, b"x"));
                    0
                });
                if !stop || ignores {
                    sys::close(to);
                    out.say(wait_any(pid));
                    continue;
                }
                sys::write(to, b"x");
                out.say(wait_any(pid));
                set(slave, |t| t.lflag &= !libc::TOSTOP);
                call!(SYS_kill, pid, libc::SIGCONT);
                // Said when the job has said what it has to say.
                let continued = wait_any(pid);
                sys::close(to);
                let ended = wait_any(pid);
                out.say(continued);
                out.say(ended);
            }
            out.say(crate::pty_tools::show(&drain(master)));
        });
    }),
    case("pty/background-changes", &["ioctl"], |out| {
        session(out, |out| {
            let master = master(true);
            let slave = take_terminal(master);
            let fd = out.fd();
            let termios = get(slave);
            let requests: [(&str, u64, i64); 6] = [
                ("TCSETS", libc::TCSETS, &raw const termios as i64),
                ("TCFLSH", libc::TCFLSH, 0),
                ("TCXONC", libc::TCXONC, 1),
                ("TCSBRK", libc::TCSBRK, 1),
                ("TIOCSPGRP", libc::TIOCSPGRP, 8),
                ("TIOCSWINSZ", libc::TIOCSWINSZ, &raw const termios as i64),
            ];
            for (what, request, arg) in requests {
                for ignores in [false, true] {
                    let (pid, to) = job(|| {
                        if ignores {
                            ignore(libc::SIGTTOU);
                        }
                        Out::new(fd).ret(what, ioctl_int(slave, request, arg));
                        0
                    });
                    sys::close(to);
                    out.say(format_args!("{what}, ignored {ignores}: {}", wait_any(pid)));
                    call!(SYS_kill, pid, libc::SIGKILL);
                    while call!(SYS_wait4, pid, 0, 0, 0) >= 0 {}
                }
            }
        });
    }),
    case("pty/orphaned-group", &["read", "write", "ioctl"], |out| {
        call!(SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        session(out, |out| {
            let master = master(true);
            let slave = take_terminal(master);
            let fd = out.fd();
            let (from, to) = sys::pipe();
            // A child of a child, in a group of its own; its parent ends, so nobody of the session could go on with it.
            let pid = sys::fork(|| {
                sys::fork(|| {
                    call!(SYS_setpgid, 0, 0);
                    while call!(SYS_getppid) == call!(SYS_getsid, 0) || sys::read(from, &mut [0]) < 1 {}
                    let mut out = Out::new(fd);
                    read(&mut out, "read", slave, 10);
                    set(slave, |t| t.lflag |= libc::TOSTOP);
                    let mut termios = get(slave);
                    termios.lflag |= libc::TOSTOP;
                    out.ret("settings", ioctl(slave, libc::TCSETS, &raw const termios));
                    out.ret("group", set_group(slave, own_group()));
                    out.ret("write", sys::write(slave, b"x"));
                    0
                });
                0
            });
            sys::wait(pid);
            set(slave, |t| t.lflag |= libc::TOSTOP);
            sys::write(to, b"x");
            // It is another's child now.
            sys::sleep_ms(300);
        });
        out.say(sys::status(sys::wait(-1)));
    }),
    case("pty/window-change", &["ioctl"], |out| {
        session(out, |out| {
            let master = master(true);
            let slave = take_terminal(master);
            block(&[libc::SIGWINCH]);
            for (what, fd, size) in [
                ("master", master, [24u16, 80, 0, 0]),
                ("the same", master, [24, 80, 0, 0]),
                ("slave", slave, [25, 80, 0, 0]),
                ("pixels", slave, [25, 80, 1, 0]),
            ] {
                out.ret(what, ioctl(fd, libc::TIOCSWINSZ, size.as_ptr()));
                out.say(next_signal(&[libc::SIGWINCH], 0));
            }
            out.ret("bad address", ioctl_int(master, libc::TIOCSWINSZ, 8));
        });
    }),
    case("pty/leader-ends", &["exit_group", "ioctl"], |out| {
        let (master, slave) = pair();
        let fd = out.fd();
        let (from, to) = sys::pipe();
        call!(SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        let leader = sys::fork(|| {
            call!(SYS_setsid);
            ioctl_int(slave, libc::TIOCSCTTY, 0);
            for front in [true, false] {
                let (pid, end) = job(|| {
                    block(&[libc::SIGHUP, libc::SIGCONT]);
                    sys::write(to, b"r");
                    let got = next_signal(&[libc::SIGHUP], if front { 5000 } else { 300 });
                    let mut out = Out::new(fd);
                    if !front {
                        sys::sleep_ms(300);
                    }
                    out.say(format_args!("in front {front}: {got}, {}", next_signal(&[libc::SIGCONT], 0)));
                    out.ret("/dev/tty", open("/dev/tty", libc::O_RDWR));
                    whose(&mut out, "session", slave, libc::TIOCGSID);
                    0
                });
                if front {
                    set_group(slave, pid);
                }
                sys::write(end, b"x");
                sys::read(from, &mut [0]);
            }
            0
        });
        let ended = sys::status(sys::wait(leader));
        sys::wait(-1);
        sys::wait(-1);
        out.say(ended);
        whose(out, "at the master", master, libc::TIOCGSID);
        out.ret("write", sys::write(slave, b"x"));
        session(out, |out| {
            out.ret("another session's", ioctl_int(slave, libc::TIOCSCTTY, 0));
        });
    }),
    case("pty/hung-up", &["close", "read"], |out| {
        let (master, slave) = pair();
        let fd = out.fd();
        let (from, to) = sys::pipe();
        let leader = sys::fork(|| {
            call!(SYS_setsid);
            sys::close(master);
            ioctl_int(slave, libc::TIOCSCTTY, 0);
            block(&[libc::SIGHUP, libc::SIGCONT]);
            let mut out = Out::new(fd);
            let (pid, end) = job(|| {
                // In front, and not the leader: it is told when the leader ends.
                block(&[libc::SIGHUP, libc::SIGCONT]);
                sys::write(to, b"r");
                let got = [libc::SIGHUP, libc::SIGCONT].map(|signo| next_signal(&[signo], 5000));
                Out::new(fd).say(format_args!("in front: {got:?}"));
                0
            });
            set_group(slave, pid);
            sys::write(end, b"x");
            for signo in [libc::SIGHUP, libc::SIGCONT] {
                out.say(next_signal(&[signo], 5000));
            }
            out.ret("/dev/tty", open("/dev/tty", libc::O_RDWR));
            out.say(format_args!("{:?}", stat_tty("self")));
            read(&mut out, "read", slave, 10);
            out.ret("write", sys::write(slave, b"x"));
            0
        });
        call!(SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        sys::read(from, &mut [0]);
        sys::sleep_ms(50);
        sys::close(slave);
        sys::close(master);
        // Both have said what they have to say before anything of their ends is said.
        let ends = [sys::wait(leader), sys::wait(-1)];
        ends.into_iter().for_each(|end| out.say(sys::status(end)));
    }),
    case("pty/hang-up-ends-a-session", &["close"], |out| {
        let (master, slave) = pair();
        let (from, to) = sys::pipe();
        let leader = sys::fork(|| {
            call!(SYS_setsid);
            sys::close(master);
            ioctl_int(slave, libc::TIOCSCTTY, 0);
            unblock();
            sys::write(to, b"r");
            sys::sleep_ms(5000);
            0
        });
        sys::read(from, &mut [0]);
        sys::close(master);
        out.say(sys::status(sys::wait(leader)));
    }),
    case("pty/interrupted-read", &["read"], |out| {
        extern "C" fn nothing(_: i32) {}
        session(out, |out| {
            let master = master(true);
            let slave = take_terminal(master);
            #[allow(unsafe_code, reason = "installs a handler that does nothing, without SA_RESTART")]
            // SAFETY: the structure is complete.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = nothing as *const () as usize;
                libc::sigaction(libc::SIGINT, &raw const action, std::ptr::null_mut());
            }
            let pid = sys::fork(|| {
                sys::sleep_ms(100);
                type_in(master, b"ab\x03");
                0
            });
            // The child is in the group too; it has the handler.
            read(out, "read", slave, 10);
            out.say(sys::status(sys::wait(pid)));
            type_in(master, b"c\n");
            read(out, "read", slave, 10);
        });
    }),
    case("pty/zombie-has-its-terminal", &["waitid"], |out| {
        session(out, |out| {
            let master = master(true);
            let slave = take_terminal(master);
            let pid = sys::fork(|| 0);
            let mut info = [0u8; 128];
            let options = libc::WEXITED | libc::WNOWAIT;
            call!(SYS_waitid, libc::P_PID, pid, info.as_mut_ptr(), options, 0);
            let (number, group) = stat_tty(&pid.to_string());
            out.say(format_args!("{} {}", number != 0, group == i64::from(own_group())));
            sys::wait(pid);
            out.ret("close", sys::close(slave));
            let tty = open("/dev/tty", libc::O_RDWR);
            out.ret("/dev/tty with no end open", tty.min(0));
            sys::write(tty as i32, b"x");
            read_soon(out, "read", master, 10);
        });
    }),
];
