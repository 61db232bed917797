//! Whom a file sends signals (`F_SETOWN`, `F_SETSIG`), and signals about directories (`F_NOTIFY`).

use crate::{
    Case, Out, case,
    files::{CREATE, RDONLY, as_user, both, file, open},
    signals::{self, Info},
    sys::{self, call},
};

const SETSIG: i32 = 10;
const GETSIG: i32 = 11;
const SETOWN_EX: i32 = 15;
const GETOWN_EX: i32 = 16;
const NOTIFY: i32 = 1026;

const ACCESS: u32 = 1;
const MODIFY: u32 = 2;
const MADE: u32 = 4;
const DELETE: u32 = 8;
const RENAME: u32 = 0x10;
const ATTRIB: u32 = 0x20;
const AGAIN: u32 = 0x8000_0000;

/// A real-time signal, which is not merged.
const RT: i32 = 40;

/// Takes the signals that were sent and says what they are about.
pub(crate) fn told(out: &mut Out, what: &str, signals: &[i32]) {
    let mut all = Vec::new();
    let mut info: Info = [0; 32];
    while signals::wait(signals, 0, &mut info) > 0 {
        let about = match info[2] {
            0x80 => String::new(),
            code => format!(" code {code} band {:#x} fd {}", info[4], info[6]),
        };
        all.push(format!("{}{about}", sys::signal_name(info[0])));
        info = [0; 32];
    }
    out.say(format_args!("{what}: {all:?}"));
}

/// Its owner, as a relation.
fn owner(out: &mut Out, what: &str, fd: i32) {
    let name = |id: i64| match id {
        0 => "nobody".to_owned(),
        id if id == i64::from(sys::getpid()) => "me".into(),
        id if id == -i64::from(sys::getpid()) => "my group".into(),
        id if id > 0 => "another".into(),
        id if id > -4096 && (1..200).contains(&-id) => sys::errno_name(-id as u32),
        _ => "another group".into(),
    };
    let mut both = [-1i32; 2];
    let plain = name(call!(SYS_fcntl, fd, libc::F_GETOWN));
    let result = call!(SYS_fcntl, fd, GETOWN_EX, both.as_mut_ptr());
    out.say(format_args!("{what}: {plain}, {result} kind {} {}", both[0], name(both[1].into())));
}

fn set_owner(fd: i32, id: i32) -> i64 {
    call!(SYS_fcntl, fd, libc::F_SETOWN, id)
}

fn set_owner_of_kind(fd: i32, kind: i32, id: i32) -> i64 {
    let pair = [kind, id];
    call!(SYS_fcntl, fd, SETOWN_EX, pair.as_ptr())
}

/// An id that nobody has.
fn nobody() -> i32 {
    let pid = sys::fork(|| 0);
    sys::wait(pid);
    pid
}

fn notify(fd: i32, wants: u32) -> i64 {
    call!(SYS_fcntl, fd, NOTIFY, wants)
}

/// The current directory, whose events come as a real-time signal.
fn watched() -> i32 {
    signals::block(&[RT, libc::SIGIO]);
    let fd = open(".", RDONLY);
    call!(SYS_fcntl, fd, SETSIG, RT);
    fd
}

/// Does everything that can be told of.
fn do_all(out: &mut Out) {
    let all = [RT, libc::SIGIO];
    let fd = open("new", CREATE);
    told(out, "make", &all);
    sys::write(fd, b"text");
    told(out, "write", &all);
    call!(SYS_lseek, fd, 0, 0);
    sys::read(fd, &mut [0; 4]);
    told(out, "read", &all);
    call!(SYS_fchmod, fd, 0o600);
    told(out, "chmod", &all);
    call!(SYS_ftruncate, fd, 1);
    told(out, "truncate", &all);
    call!(SYS_close, fd);
    told(out, "close", &all);
    call!(SYS_rename, sys::c("new"), sys::c("old"));
    told(out, "rename", &all);
    call!(SYS_link, sys::c("old"), sys::c("other"));
    told(out, "link", &all);
    call!(SYS_mkdir, sys::c("dir"), 0o755);
    told(out, "mkdir", &all);
    call!(SYS_rename, sys::c("old"), sys::c("dir/old"));
    told(out, "move down", &all);
    call!(SYS_rename, sys::c("dir/old"), sys::c("old"));
    told(out, "move up", &all);
    call!(SYS_unlink, sys::c("other"));
    told(out, "unlink", &all);
    call!(SYS_rmdir, sys::c("dir"));
    told(out, "rmdir", &all);
    call!(SYS_chmod, sys::c("."), 0o777);
    told(out, "chmod of itself", &all);
    call!(SYS_unlink, sys::c("old"));
    told(out, "unlink the last", &all);
}

pub(crate) const CASES: &[Case] = &[
    case("owner/set", &["fcntl"], |out| {
        both(out, |out| {
            let fd = file("a", b"");
            owner(out, "new", fd);
            out.ret("signal", call!(SYS_fcntl, fd, GETSIG));
            out.ret("me", set_owner(fd, sys::getpid()));
            owner(out, "then", fd);
            out.ret("my group", set_owner(fd, -sys::getpid()));
            owner(out, "then", fd);
            out.ret("no process", set_owner(fd, nobody()));
            out.ret("no group", set_owner(fd, -nobody()));
            out.ret("the least number", set_owner(fd, i32::MIN));
            owner(out, "still", fd);
            out.ret("nobody", set_owner(fd, 0));
            owner(out, "then", fd);
        });
    }),
    case("owner/kinds", &["fcntl"], |out| {
        let fd = file("a", b"");
        let me = sys::getpid();
        for kind in -1..4 {
            out.ret(&format!("kind {kind}"), set_owner_of_kind(fd, kind, me));
            owner(out, "then", fd);
        }
        out.ret("no thread", set_owner_of_kind(fd, 0, nobody()));
        out.ret("negative", set_owner_of_kind(fd, 1, -me));
        out.ret("nobody", set_owner_of_kind(fd, 1, 0));
        owner(out, "then", fd);
        out.ret("address to set", call!(SYS_fcntl, fd, SETOWN_EX, 8));
        out.ret("address to get", call!(SYS_fcntl, fd, GETOWN_EX, 8));
    }),
    case("owner/of-what", &["fcntl"], |out| {
        let fd = file("a", b"");
        let me = sys::getpid();
        set_owner(fd, me);
        owner(out, "a copy", call!(SYS_dup, fd) as i32);
        owner(out, "opened again", open("a", RDONLY));
        out.ret("a pipe", set_owner(sys::pipe().0, me));
        out.ret("a directory", set_owner(open(".", RDONLY), me));
        out.ret("a place", set_owner(open(".", libc::O_PATH), me));
        out.ret("not open", set_owner(999, me));
        let child = sys::fork(|| {
            sys::sleep_ms(10_000);
            0
        });
        set_owner(fd, child);
        owner(out, "a child", fd);
        signals::kill(child, libc::SIGKILL);
        sys::wait(child);
        owner(out, "that is gone", fd);
    }),
    case("owner/signal", &["fcntl"], |out| {
        let fd = file("a", b"");
        for signo in [0, 1, RT, 64, 65, -1] {
            out.ret(&format!("set {signo}"), call!(SYS_fcntl, fd, SETSIG, signo));
            out.ret("get", call!(SYS_fcntl, fd, GETSIG));
        }
    }),
    case("owner/closing-ends-locks", &["fcntl", "dup2", "close_range"], |out| {
        let look = |out: &mut Out, what: &str, fd: i32| {
            let to = out.fd();
            let pid = sys::fork(|| {
                let mut record =
                    libc::flock { l_type: libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
                call!(SYS_fcntl, fd, libc::F_GETLK, &raw mut record);
                Out::new(to).say(format_args!("{what}: type {}", record.l_type));
                0
            });
            sys::wait(pid);
        };
        let lock = |fd: i32| {
            let record =
                libc::flock { l_type: libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
            call!(SYS_fcntl, fd, libc::F_SETLK, &raw const record)
        };
        let fd = file("a", b"text");
        out.ret("lock", lock(fd));
        look(out, "locked", fd);
        let other = open("a", RDONLY);
        call!(SYS_dup2, open("/dev/null", RDONLY), other);
        look(out, "another descriptor was replaced", fd);
        lock(fd);
        let other = open("a", RDONLY);
        call!(SYS_close_range, other, other, 0);
        look(out, "another descriptor was closed in a range", fd);
        lock(fd);
        let other = open("a", libc::O_PATH);
        sys::close(other);
        look(out, "a place was closed", fd);
    }),
    case("dnotify/everything", &["fcntl"], |out| {
        both(out, |out| {
            let fd = watched();
            out.ret("notify", notify(fd, ACCESS | MODIFY | MADE | DELETE | RENAME | ATTRIB | AGAIN));
            owner(out, "owner", fd);
            do_all(out);
        });
    }),
    case("dnotify/one-kind", &["fcntl"], |out| {
        for wants in [ACCESS, MODIFY, MADE, DELETE, RENAME, ATTRIB] {
            let fd = watched();
            out.ret(&format!("notify {wants:#x}"), notify(fd, wants | AGAIN));
            do_all(out);
            sys::close(fd);
        }
    }),
    case("dnotify/once", &["fcntl"], |out| {
        let fd = watched();
        let all = [RT, libc::SIGIO];
        out.ret("notify", notify(fd, MADE | DELETE));
        sys::close(open("a", CREATE));
        told(out, "make", &all);
        call!(SYS_unlink, sys::c("a"));
        told(out, "unlink", &all);
        out.ret("again", notify(fd, MADE));
        out.ret("and more", notify(fd, DELETE | AGAIN));
        sys::close(open("a", CREATE));
        told(out, "make", &all);
        call!(SYS_unlink, sys::c("a"));
        told(out, "unlink", &all);
        out.ret("no more", notify(fd, 0));
        sys::close(open("a", CREATE));
        told(out, "make", &all);
        out.ret("none to end", notify(fd, AGAIN));
        out.ret("bits without meaning", notify(fd, 0x40));
        call!(SYS_unlink, sys::c("a"));
        told(out, "unlink", &all);
    }),
    case("dnotify/signal", &["fcntl"], |out| {
        let all = [RT, libc::SIGIO, libc::SIGUSR1, libc::SIGCHLD];
        signals::block(&all);
        let fd = open(".", RDONLY);
        out.ret("notify", notify(fd, MADE | AGAIN));
        sys::close(open("a", CREATE));
        told(out, "without a choice", &all);
        for signo in [libc::SIGIO, libc::SIGUSR1, libc::SIGCHLD, RT, 0] {
            call!(SYS_fcntl, fd, SETSIG, signo);
            call!(SYS_unlink, sys::c("a"));
            sys::close(open("a", CREATE));
            sys::close(open("b", CREATE));
            call!(SYS_unlink, sys::c("b"));
            told(out, &sys::signal_name(signo), &all);
        }
        call!(SYS_fcntl, fd, SETSIG, RT);
        out.ret("nobody", set_owner(fd, 0));
        sys::close(open("c", CREATE));
        told(out, "to nobody", &all);
        out.ret("notify", notify(fd, MADE | AGAIN));
        sys::close(open("d", CREATE));
        told(out, "to whoever asks", &all);
    }),
    case("dnotify/closing", &["fcntl", "close", "dup2"], |out| {
        let all = [RT, libc::SIGIO];
        let fd = watched();
        notify(fd, MADE | AGAIN);
        let copy = call!(SYS_dup, fd) as i32;
        sys::close(fd);
        sys::close(open("a", CREATE));
        told(out, "one of two closed", &all);
        out.ret("by the other", notify(copy, MADE | AGAIN));
        sys::close(open("b", CREATE));
        told(out, "make", &all);
        let pid = sys::fork(|| {
            sys::close(copy);
            0
        });
        sys::wait(pid);
        sys::close(open("c", CREATE));
        told(out, "a child closed it", &all);
        call!(SYS_dup2, 0, copy);
        sys::close(open("d", CREATE));
        told(out, "replaced", &all);
    }),
    case("dnotify/two", &["fcntl"], |out| {
        let all = [RT, RT + 1, libc::SIGIO];
        signals::block(&all);
        let (one, two) = (open(".", RDONLY), open(".", RDONLY));
        for (fd, signo) in [(one, RT), (two, RT + 1)] {
            call!(SYS_fcntl, fd, SETSIG, signo);
            notify(fd, MADE | AGAIN);
        }
        sys::close(open("a", CREATE));
        told(out, "two descriptions", &all);
        let pid = sys::fork(|| {
            signals::block(&all);
            notify(two, DELETE | AGAIN);
            0
        });
        sys::wait(pid);
        call!(SYS_unlink, sys::c("a"));
        told(out, "what a child asked for ended with it", &all);
    }),
    case("dnotify/errors", &["fcntl"], |out| {
        let fd = file("a", b"");
        out.ret("a file", notify(fd, MADE));
        out.ret("nothing of a file", notify(fd, 0));
        out.ret("a place", notify(open(".", libc::O_PATH), MADE));
        out.ret("a pipe", notify(sys::pipe().0, MADE));
        out.ret("not open", notify(999, MADE));
        let enabled = std::fs::read_to_string("/proc/sys/fs/dir-notify-enable");
        out.say(format_args!("{enabled:?}"));
    }),
    case("dnotify/others", &["fcntl"], |out| {
        // Signals go where whoever set the owner may send them.
        let all = [RT, libc::SIGIO];
        call!(SYS_chmod, sys::c("."), 0o777);
        let fd = watched();
        let me = sys::getpid();
        as_user(out, 1000, |out| {
            out.ret("the superuser's process", set_owner(fd, me));
        });
        out.ret("notify", notify(fd, MADE | AGAIN));
        sys::close(open("a", CREATE));
        told(out, "set by another user", &all);
        out.ret("mine", set_owner(fd, me));
        sys::close(open("b", CREATE));
        told(out, "set by me", &all);
    }),
];
