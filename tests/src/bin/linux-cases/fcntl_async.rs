//! Files that tell their owner by a signal when they may be ready (`O_ASYNC`, `FIOASYNC`).

use crate::{
    Case, Out, case,
    fcntl_owner::told,
    files::file,
    signals,
    sys::{self, call},
    unix,
};

const SETSIG: i32 = 10;
const FIOASYNC: u32 = 0x5452;
const ASYNC: i64 = libc::O_ASYNC as i64;
/// A real-time signal, which is not merged.
const RT: i32 = 40;
const ALL: [i32; 2] = [RT, libc::SIGIO];

/// Has `fd` tell this process.
fn own(fd: i32, signal: i32) {
    call!(SYS_fcntl, fd, libc::F_SETOWN, sys::getpid());
    call!(SYS_fcntl, fd, SETSIG, signal);
}

/// Asks for signals, or for none.
fn asynchronous(fd: i32, on: i32) -> i64 {
    let on = [on];
    call!(SYS_ioctl, fd, FIOASYNC, on.as_ptr())
}

fn shows(out: &mut Out, what: &str, fd: i32) {
    let flags = call!(SYS_fcntl, fd, libc::F_GETFL);
    out.say(format_args!("{what}: {}", flags & ASYNC != 0));
}

pub(crate) const CASES: &[Case] = &[
    case("async/ready", &["fcntl", "ioctl"], |out| {
        signals::block(&ALL);
        for (what, (reader, writer)) in [
            ("pipe", sys::pipe()),
            ("stream", unix::pair(libc::SOCK_STREAM)),
            ("datagram", unix::pair(libc::SOCK_DGRAM)),
        ] {
            out.say(what);
            sys::write(writer, b"a");
            told(out, "nobody asked", &ALL);
            own(reader, RT);
            sys::write(writer, b"a");
            told(out, "with an owner alone", &ALL);
            out.ret("on", asynchronous(reader, 1));
            out.ret("again", asynchronous(reader, 5));
            shows(out, "shown", reader);
            told(out, "what was there before", &ALL);
            sys::write(writer, b"b");
            told(out, "more", &ALL);
            let copy = call!(SYS_dup, reader) as i32;
            sys::close(reader);
            sys::write(writer, b"c");
            told(out, "by another descriptor", &ALL);
            own(copy, 0);
            sys::write(writer, b"d");
            told(out, "without details", &ALL);
            out.ret("off", asynchronous(copy, 0));
            shows(out, "shown", copy);
            sys::write(writer, b"e");
            told(out, "after that", &ALL);
            call!(SYS_fcntl, copy, libc::F_SETFL, ASYNC);
            shows(out, "by its flags", copy);
            sys::write(writer, b"f");
            told(out, "then", &ALL);
            call!(SYS_fcntl, copy, libc::F_SETFL, 0);
            sys::write(writer, b"g");
            told(out, "and not", &ALL);
            asynchronous(copy, 1);
            sys::close(copy);
            sys::close(writer);
            signals::wait(&ALL, 0, &mut [0; 32]);
        }
    }),
    case("async/owners", &["fcntl", "ioctl"], |out| {
        signals::block(&ALL);
        let (reader, writer) = sys::pipe();
        asynchronous(reader, 1);
        sys::write(writer, b"a");
        told(out, "nobody's", &ALL);
        own(reader, RT);
        sys::write(writer, b"a");
        told(out, "mine", &ALL);
        let child = sys::fork(|| {
            sys::write(writer, b"a");
            0
        });
        sys::wait(child);
        told(out, "a child wrote", &ALL);
        call!(SYS_fcntl, reader, libc::F_SETOWN, -sys::getpid());
        call!(SYS_setpgid, 0, 0);
        call!(SYS_fcntl, reader, libc::F_SETOWN, -sys::getpid());
        sys::write(writer, b"a");
        told(out, "my group's", &ALL);
        call!(SYS_fcntl, reader, libc::F_SETOWN, 0);
        sys::write(writer, b"a");
        told(out, "nobody's again", &ALL);
    }),
    case("async/kinds", &["fcntl", "ioctl"], |out| {
        let event = call!(SYS_eventfd2, 0, 0) as i32;
        let socket = call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0) as i32;
        let notices = call!(SYS_inotify_init1, 0) as i32;
        let all = [
            ("file", file("a", b"")),
            ("event", event),
            ("socket", socket),
            ("inotify", notices),
            ("none", 99),
        ];
        for (what, fd) in all {
            out.ret(what, asynchronous(fd, 1));
            shows(out, what, fd);
            out.ret("off", asynchronous(fd, 0));
            out.ret("flags", call!(SYS_fcntl, fd, libc::F_SETFL, ASYNC));
            shows(out, what, fd);
        }
        out.ret("no address", call!(SYS_ioctl, socket, FIOASYNC, 0));
    }),
];
