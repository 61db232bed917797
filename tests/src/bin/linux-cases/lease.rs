//! Leases on files (`F_SETLEASE`).

use crate::{
    Case, Out, case,
    fcntl_owner::told,
    files::{CREATE, RDONLY, RDWR, WRONLY, as_user, both, file, open},
    signals,
    sys::{self, call},
};

const SETSIG: i32 = 10;
const GETSIG: i32 = 11;
const SETLEASE: i32 = 1024;
const GETLEASE: i32 = 1025;
const RD: i32 = libc::F_RDLCK;
const WR: i32 = libc::F_WRLCK;
const UN: i32 = libc::F_UNLCK;
const NOW: i32 = libc::O_NONBLOCK;
const RT: i32 = 40;

fn set(fd: i32, kind: i32) -> i64 {
    call!(SYS_fcntl, fd, SETLEASE, kind)
}

fn get(out: &mut Out, fd: i32) {
    match call!(SYS_fcntl, fd, GETLEASE) {
        0 => out.say("a read lease"),
        1 => out.say("a write lease"),
        2 => out.say("no lease"),
        other => out.ret("lease", other),
    }
}

/// What opening gives; closed at once.
fn try_open(out: &mut Out, what: &str, flags: i32) {
    let fd = open("a", flags);
    out.ok(what, fd.into());
    if fd >= 0 {
        sys::close(fd);
    }
}

/// A file that is open for reading only, and its descriptor's signals as a real-time signal.
fn held(kind: i32) -> i32 {
    signals::block(&[RT, libc::SIGIO]);
    sys::close(file("a", b"text"));
    let fd = open("a", RDONLY);
    call!(SYS_fcntl, fd, SETSIG, RT);
    set(fd, kind);
    fd
}

/// A child that opens the file, or does what it is told, and says so; its id.
fn opener(out: &Out, what: &'static str, body: impl FnOnce() -> i64) -> i32 {
    let to = out.fd();
    sys::fork(|| {
        let result = body();
        let mut out = Out::new(to);
        out.ok(what, result);
        0
    })
}

/// Waits for the signal that somebody wants in.
fn pressed(out: &mut Out) {
    let mut info: signals::Info = [0; 32];
    let signo = signals::wait(&[RT], 10_000, &mut info);
    out.say(format_args!("signal {signo} code {} band {:#x}", info[2], info[4]));
}

pub(crate) const CASES: &[Case] = &[
    case("lease/grant", &["fcntl"], |out| {
        both(out, |out| {
            sys::close(file("a", b"text"));
            let reader = open("a", RDONLY);
            get(out, reader);
            out.ret("none to give up", set(reader, UN));
            out.ret("to read", set(reader, RD));
            get(out, reader);
            out.ret("to write, open to read", set(reader, WR));
            get(out, reader);
            out.ret("to read again", set(reader, RD));
            out.ret("give up", set(reader, UN));
            get(out, reader);
            out.ret("to write at once", set(reader, WR));
            sys::close(reader);
            let writer = open("a", RDWR);
            out.ret("to read, open to write", set(writer, RD));
            out.ret("to write", set(writer, WR));
            get(out, writer);
            out.ret("down", set(writer, RD));
            sys::close(writer);
            let writer = open("a", WRONLY);
            out.ret("to write, write only", set(writer, WR));
        });
    }),
    case("lease/others-open", &["fcntl"], |out| {
        both(out, |out| {
            sys::close(file("a", b"text"));
            let (one, two) = (open("a", RDONLY), open("a", RDONLY));
            out.ret("to write beside a reader", set(one, WR));
            out.ret("to read", set(one, RD));
            out.ret("to read too", set(two, RD));
            out.ret("to write over another's", set(one, WR));
            sys::close(two);
            out.ret("to write alone", set(one, WR));
            sys::close(one);
            let writer = open("a", WRONLY);
            let reader = open("a", RDONLY);
            out.ret("to read beside a writer", set(reader, RD));
            out.ret("to write beside a reader", set(writer, WR));
            sys::close(writer);
            out.ret("to read", set(reader, RD));
            let place = open("a", libc::O_PATH);
            out.ret("to write beside a place", set(reader, WR));
            get(out, reader);
            sys::close(place);
        });
    }),
    case("lease/one-description", &["fcntl", "dup"], |out| {
        let fd = held(WR);
        let copy = call!(SYS_dup, fd) as i32;
        get(out, copy);
        sys::close(fd);
        get(out, copy);
        out.ret("down by the copy", set(copy, RD));
        let to = out.fd();
        let pid = sys::fork(|| {
            let mut out = Out::new(to);
            get(&mut out, copy);
            out.ret("given up by a child", set(copy, UN));
            0
        });
        sys::wait(pid);
        get(out, copy);
        out.ret("to write", set(copy, WR));
        sys::close(copy);
        try_open(out, "closed", RDWR | NOW);
    }),
    case("lease/errors", &["fcntl"], |out| {
        let fd = file("a", b"");
        out.ret("kind", set(fd, 3));
        out.ret("kind", set(fd, -1));
        out.ret("a directory", set(open(".", RDONLY), RD));
        out.ret("a directory, kind", set(open(".", RDONLY), 9));
        out.ret("a pipe", set(sys::pipe().0, RD));
        out.ret("a device", set(open("/dev/null", RDONLY), RD));
        out.ret("a place", set(open("a", libc::O_PATH), RD));
        out.ret("not open", set(999, RD));
        out.ret("of a pipe", call!(SYS_fcntl, sys::pipe().0, GETLEASE));
        sys::close(fd);
        call!(SYS_chmod, sys::c("."), 0o777);
        call!(SYS_chmod, sys::c("a"), 0o666);
        as_user(out, 1000, |out| {
            out.ret("another's", set(open("a", RDONLY), RD));
            out.ret("another's to give up", set(open("a", RDONLY), UN));
            sys::close(open("mine", CREATE));
            out.ret("one's own", set(open("mine", RDONLY), RD));
        });
        for name in ["leases-enable", "lease-break-time"] {
            out.say(format_args!("{:?}", std::fs::read_to_string(format!("/proc/sys/fs/{name}"))));
        }
    }),
    case("lease/flags", &["fcntl"], |out| {
        let fd = held(RD);
        let flags = |out: &mut Out, what: &str| {
            let flags = call!(SYS_fcntl, fd, libc::F_GETFL);
            let signo = call!(SYS_fcntl, fd, GETSIG);
            let own = call!(SYS_fcntl, fd, libc::F_GETOWN) == i64::from(sys::getpid());
            out.say(format_args!("{what}: {flags:#o} signal {signo} own {own}"));
        };
        flags(out, "with a lease");
        set(fd, WR);
        flags(out, "with another");
        set(fd, UN);
        flags(out, "without");
    }),
    case("lease/told", &["fcntl", "open", "truncate"], |out| {
        both(out, |out| {
            let all = [RT, libc::SIGIO];
            let fd = held(RD);
            try_open(out, "to read", RDONLY | NOW);
            told(out, "told", &all);
            try_open(out, "to write", WRONLY | NOW);
            told(out, "told", &all);
            get(out, fd);
            try_open(out, "to write again", WRONLY | NOW);
            told(out, "told", &all);
            out.ret("given up", set(fd, UN));
            try_open(out, "to write", WRONLY | NOW);
            sys::close(fd);
            let fd = held(WR);
            try_open(out, "to read", RDONLY | NOW);
            told(out, "told", &all);
            get(out, fd);
            try_open(out, "to write", RDWR | NOW);
            told(out, "told", &all);
            get(out, fd);
            try_open(out, "to truncate", RDONLY | libc::O_TRUNC | NOW);
            try_open(out, "a place", libc::O_PATH | NOW);
            told(out, "told", &all);
            out.ret("chmod", call!(SYS_chmod, sys::c("a"), 0o600));
            out.ret("rename", call!(SYS_rename, sys::c("a"), sys::c("b")));
            out.ret("link", call!(SYS_link, sys::c("b"), sys::c("a")));
            out.ret("unlink", call!(SYS_unlink, sys::c("a")));
            told(out, "told", &all);
            out.ret("to read", set(fd, RD));
            get(out, fd);
            out.ret("give up", set(fd, UN));
        });
    }),
    case("lease/without-a-choice", &["fcntl"], |out| {
        signals::block(&[libc::SIGIO]);
        sys::close(file("a", b"text"));
        let fd = open("a", RDONLY);
        set(fd, RD);
        try_open(out, "to write", WRONLY | NOW);
        told(out, "told", &[libc::SIGIO]);
    }),
    case("lease/waits", &["fcntl", "open"], |out| {
        both(out, |out| {
            let fd = held(RD);
            let pid = opener(out, "opened", || open("a", RDWR).into());
            pressed(out);
            get(out, fd);
            let given_up = set(fd, UN);
            out.say(sys::status(sys::wait(pid)));
            out.ret("give up", given_up);
            sys::close(fd);
            let fd = held(WR);
            let pid = opener(out, "opened to read", || open("a", RDONLY).into());
            pressed(out);
            get(out, fd);
            let down = set(fd, RD);
            out.say(sys::status(sys::wait(pid)));
            out.ret("down", down);
            get(out, fd);
            sys::close(fd);
            let fd = held(WR);
            let pid = opener(out, "truncated", || call!(SYS_truncate, sys::c("a"), 1));
            pressed(out);
            sys::close(fd);
            out.say(sys::status(sys::wait(pid)));
        });
    }),
    case("lease/signal-ends-the-wait", &["fcntl", "open"], |out| {
        let _fd = held(RD);
        let to = out.fd();
        let pid = sys::fork(|| {
            let mut out = Out::new(to);
            signals::catch(libc::SIGUSR1, 0);
            out.ret("without restart", open("a", RDWR).into());
            0
        });
        pressed(out);
        sys::sleep_ms(50);
        signals::kill(pid, libc::SIGUSR1);
        out.say(sys::status(sys::wait(pid)));
    }),
    case("lease/exec", &["fcntl", "execve"], |out| {
        signals::block(&[RT, libc::SIGIO]);
        std::fs::copy("/proc/self/exe", "a").ok();
        call!(SYS_chmod, sys::c("a"), 0o755);
        let fd = open("a", RDONLY);
        call!(SYS_fcntl, fd, SETSIG, RT);
        out.ret("to read", set(fd, RD));
        let run = || {
            sys::fork(|| {
                let argv = [sys::c("a"), sys::c("child"), sys::c("exit"), sys::c("7"), std::ptr::null()];
                call!(SYS_execve, sys::c("a"), argv.as_ptr(), [0u64; 1].as_ptr());
                99
            })
        };
        let pid = run();
        out.say(sys::status(sys::wait(pid)));
        told(out, "told", &[RT]);
        out.ret("to write", set(fd, WR));
        let pid = run();
        pressed(out);
        out.ret("down", set(fd, RD));
        out.say(sys::status(sys::wait(pid)));
    }),
];
