//! Moving bytes between descriptors without a stop in the program.

use crate::{
    Case, Out, case,
    files::{CREATE, RDONLY, WRONLY, both, file, open, show, text},
    sys::{self, call},
};

const NONBLOCK: i32 = libc::SPLICE_F_NONBLOCK as i32;

/// splice(2).
fn splice(
    from: i32,
    from_at: Option<&mut i64>,
    to: i32,
    to_at: Option<&mut i64>,
    len: usize,
    flags: i32,
) -> i64 {
    between(libc::SYS_splice, (from, from_at), (to, to_at), len, flags)
}

/// copy_file_range(2).
fn copy(
    from: i32,
    from_at: Option<&mut i64>,
    to: i32,
    to_at: Option<&mut i64>,
    len: usize,
    flags: i32,
) -> i64 {
    between(libc::SYS_copy_file_range, (from, from_at), (to, to_at), len, flags)
}

/// A call that moves bytes between two descriptors, each with the place of an offset.
fn between(
    nr: i64,
    from: (i32, Option<&mut i64>),
    to: (i32, Option<&mut i64>),
    len: usize,
    flags: i32,
) -> i64 {
    let [from_at, to_at] = [from.1, to.1].map(|at| at.map_or(std::ptr::null_mut(), std::ptr::from_mut));
    let [from_at, to_at] = [from_at as i64, to_at as i64];
    sys::raw(nr, &[from.0.into(), from_at, to.0.into(), to_at, len as i64, flags.into()])
}

fn sendfile(to: i32, from: i32, at: Option<&mut i64>, len: usize) -> i64 {
    call!(SYS_sendfile, to, from, at.map_or(std::ptr::null_mut(), std::ptr::from_mut), len)
}

fn position(fd: i32) -> i64 {
    call!(SYS_lseek, fd, 0, libc::SEEK_CUR)
}

/// What a pipe has now.
fn drain(out: &mut Out, what: &str, pipe: i32) {
    call!(SYS_fcntl, pipe, libc::F_SETFL, libc::O_NONBLOCK);
    let mut bytes = vec![0; 1 << 20];
    match usize::try_from(sys::read(pipe, &mut bytes)) {
        Ok(len) => out.say(format_args!("{what}: {}", text(&bytes[..len]))),
        Err(_) => out.ret(what, sys::read(pipe, &mut bytes)),
    }
    call!(SYS_fcntl, pipe, libc::F_SETFL, 0);
}

fn nonblocking_pipe() -> (i32, i32) {
    let (reader, writer) = sys::pipe();
    for end in [reader, writer] {
        call!(SYS_fcntl, end, libc::F_SETFL, libc::O_NONBLOCK);
    }
    (reader, writer)
}

fn socket_pair(kind: i32) -> (i32, i32) {
    let mut ends = [0i32; 2];
    call!(SYS_socketpair, libc::AF_UNIX, kind, 0, ends.as_mut_ptr());
    (ends[0], ends[1])
}

fn ignore_sigpipe() {
    let action = [1usize, 0, 0, 0];
    call!(SYS_rt_sigaction, libc::SIGPIPE, action.as_ptr(), 0, 8);
}

/// Runs `body` in a child a little later.
fn later(body: impl FnOnce()) -> i32 {
    sys::fork(|| {
        sys::sleep_ms(50);
        body();
        0
    })
}

pub(crate) const CASES: &[Case] = &[
    case("splice/file-to-pipe", &["splice"], |out| {
        both(out, |out| {
            let fd = file("a", b"0123456789");
            let (reader, writer) = sys::pipe();
            out.ret("some", splice(fd, None, writer, None, 4, 0));
            out.ret("position", position(fd));
            let mut at = 7;
            out.ret("at an offset", splice(fd, Some(&mut at), writer, None, 2, 0));
            out.say(format_args!("offset {at}"));
            out.ret("position", position(fd));
            out.ret("the rest", splice(fd, None, writer, None, 100, 0));
            out.ret("at the end", splice(fd, None, writer, None, 100, 0));
            drain(out, "in the pipe", reader);
            let mut beyond = 1000;
            out.ret("beyond the end", splice(fd, Some(&mut beyond), writer, None, 5, 0));
        });
    }),
    case("splice/pipe-to-file", &["splice"], |out| {
        both(out, |out| {
            let fd = file("a", b"0123456789");
            let (reader, writer) = sys::pipe();
            sys::write(writer, b"abcdefgh");
            out.ret("some", splice(reader, None, fd, None, 3, 0));
            out.ret("position", position(fd));
            let mut at = 12;
            out.ret("beyond the end", splice(reader, None, fd, Some(&mut at), 2, 0));
            out.say(format_args!("offset {at}"));
            out.ret("more than there is", splice(reader, None, fd, None, 100, 0));
            show(out, "file", "a");
            sys::close(writer);
            out.ret("nobody writes", splice(reader, None, fd, None, 100, 0));
        });
    }),
    case("splice/pipe-to-pipe", &["splice"], |out| {
        let (first, to_first) = sys::pipe();
        let (second, to_second) = sys::pipe();
        sys::write(to_first, b"0123456789");
        out.ret("some", splice(first, None, to_second, None, 4, 0));
        out.ret("the rest", splice(first, None, to_second, None, 100, 0));
        out.ret("nothing", splice(first, None, to_second, None, 100, NONBLOCK));
        drain(out, "second", second);
        out.ret("itself", splice(first, None, to_first, None, 1, 0));
        sys::write(to_first, b"xyz");
        sys::close(to_first);
        out.ret("last", splice(first, None, to_second, None, 100, 0));
        out.ret("nobody writes", splice(first, None, to_second, None, 100, 0));
        drain(out, "second", second);
    }),
    case("splice/errors", &["splice"], |out| {
        let fd = file("a", b"0123456789");
        let other = file("b", b"");
        let (reader, writer) = sys::pipe();
        let mut at = 0;
        out.ret("no pipe", splice(fd, None, other, None, 1, 0));
        out.ret("no length", splice(999, None, other, None, 0, 0));
        out.ret("no length, flags", splice(999, None, other, None, 0, 999));
        out.ret("flags", splice(fd, None, writer, None, 1, 16));
        out.ret("flags, not open", splice(999, None, writer, None, 1, 16));
        out.ret("from not open", splice(999, None, writer, None, 1, 0));
        out.ret("to not open", splice(fd, None, 999, None, 1, 0));
        out.ret("offset of a pipe", splice(fd, None, writer, Some(&mut at), 1, 0));
        out.ret("offset of a reader", splice(reader, Some(&mut at), other, None, 1, 0));
        out.ret("from a writer", splice(writer, None, other, None, 1, 0));
        out.ret("to a reader", splice(fd, None, reader, None, 1, 0));
        out.ret("bad offset", call!(SYS_splice, fd, 8, writer, 0, 1, 0));
        out.ret("bad offset of a pipe", call!(SYS_splice, fd, 0, writer, 8, 1, 0));
        let mut negative = -1;
        out.ret("negative offset", splice(fd, Some(&mut negative), writer, None, 1, 0));
        let only_write = open("a", WRONLY);
        out.ret("from one that only writes", splice(only_write, None, writer, None, 1, 0));
        let only_read = open("a", RDONLY);
        sys::write(writer, b"x");
        out.ret("to one that only reads", splice(reader, None, only_read, None, 1, 0));
        let path = open("a", libc::O_PATH);
        out.ret("from a place", splice(path, None, writer, None, 1, 0));
        drain(out, "left", reader);
    }),
    case("splice/append", &["splice", "sendfile"], |out| {
        both(out, |out| {
            file("a", b"start");
            let fd = open("a", libc::O_WRONLY | libc::O_APPEND);
            let (reader, writer) = sys::pipe();
            sys::write(writer, b"more");
            out.ret("splice", splice(reader, None, fd, None, 4, 0));
            let source = file("b", b"text");
            out.ret("sendfile", sendfile(fd, source, None, 4));
            out.ret("copy_file_range", copy(source, None, fd, None, 4, 0));
            show(out, "file", "a");
        });
    }),
    case("splice/odd-files", &["splice"], |out| {
        let (reader, writer) = nonblocking_pipe();
        call!(SYS_mkdir, sys::c("dir"), 0o755);
        let dir = open("dir", RDONLY);
        out.ret("from a directory", splice(dir, None, writer, None, 10, 0));
        let event = call!(SYS_eventfd2, 5, 0) as i32;
        out.ret("from an eventfd", splice(event, None, writer, None, 8, 0));
        sys::write(writer, b"12345678");
        out.ret("to an eventfd", splice(reader, None, event, None, 8, 0));
        let epoll = call!(SYS_epoll_create1, 0) as i32;
        out.ret("from an epoll", splice(epoll, None, writer, None, 8, 0));
        out.ret("to an epoll", splice(reader, None, epoll, None, 8, 0));
        let memory = call!(SYS_memfd_create, sys::c("m"), 0) as i32;
        out.ret("to a memfd", splice(reader, None, memory, None, 8, 0));
        call!(SYS_lseek, memory, 2, 0);
        out.ret("from a memfd", splice(memory, None, writer, None, 8, 0));
        drain(out, "in the pipe", reader);
    }),
    case("splice/devices", &["splice"], |out| {
        let (reader, writer) = nonblocking_pipe();
        let zero = open("/dev/zero", libc::O_RDWR);
        let null = open("/dev/null", libc::O_RDWR);
        let full = open("/dev/full", libc::O_RDWR);
        out.ret("from zero", splice(zero, None, writer, None, 5000, 0));
        out.ret("to null", splice(reader, None, null, None, 1000, 0));
        out.ret("from null", splice(null, None, writer, None, 10, 0));
        out.ret("from full", splice(full, None, writer, None, 10, 0));
        out.ret("to full", splice(reader, None, full, None, 10, 0));
        out.ret("to zero", splice(reader, None, zero, None, 10, 0));
        drain(out, "left", reader);
        out.ret("to null from nothing", splice(reader, None, null, None, 10, NONBLOCK));
        out.ret("sendfile from null", sendfile(zero, null, None, 10));
        out.ret("sendfile to full", sendfile(full, zero, None, 10));
    }),
    case("splice/does-not-wait", &["splice", "tee"], |out| {
        let fd = file("a", &[b'x'; 70000]);
        let (reader, writer) = sys::pipe();
        let null = open("/dev/null", WRONLY);
        out.ret("empty", splice(reader, None, null, None, 10, NONBLOCK));
        out.ret("fills", splice(fd, None, writer, None, 65536, NONBLOCK));
        out.ret("full", splice(fd, None, writer, None, 10, NONBLOCK));
        let (second, to_second) = nonblocking_pipe();
        out.ret("to another", splice(reader, None, to_second, None, 65536, 0));
        out.ret("full, by its own flag", splice(fd, None, to_second, None, 10, 0));
        out.ret("empty to full", splice(reader, None, to_second, None, 10, NONBLOCK));
        sys::write(writer, b"some");
        out.ret("some to full", splice(reader, None, to_second, None, 10, NONBLOCK));
        out.ret("tee some to full", call!(SYS_tee, reader, to_second, 10, NONBLOCK));
        out.ret("tee by its own flag", call!(SYS_tee, reader, to_second, 10, 0));
        drain(out, "second", second);
        drain(out, "first", reader);
        out.ret("tee of nothing", call!(SYS_tee, reader, to_second, 10, NONBLOCK));
    }),
    case("splice/waits", &["splice"], |out| {
        let fd = file("a", b"0123456789");
        let (reader, writer) = sys::pipe();
        let child = later(|| {
            sys::write(writer, b"abc");
        });
        let to = file("b", b"");
        out.ret("for bytes", splice(reader, None, to, None, 100, 0));
        sys::wait(child);
        show(out, "b", "b");
        sys::write(writer, &[b'x'; 65536]);
        let child = later(|| {
            sys::read(reader, &mut [0; 65536]);
        });
        out.ret("for room", splice(fd, None, writer, None, 4, 0));
        sys::wait(child);
        drain(out, "in the pipe", reader);
        let child = later(|| {
            sys::close(writer);
        });
        sys::close(writer);
        out.ret("for the writer's end", splice(reader, None, to, None, 100, 0));
        sys::wait(child);
    }),
    case("splice/waits-between-pipes", &["splice", "tee"], |out| {
        let (first, to_first) = sys::pipe();
        let (second, to_second) = sys::pipe();
        let child = later(|| {
            sys::write(to_first, b"abc");
        });
        out.ret("for bytes", splice(first, None, to_second, None, 100, 0));
        sys::wait(child);
        let child = later(|| {
            sys::write(to_first, b"def");
        });
        out.ret("tee for bytes", call!(SYS_tee, first, to_second, 100, 0));
        sys::wait(child);
        drain(out, "second", second);
        sys::write(to_second, &[b'x'; 65536]);
        let child = later(|| {
            sys::read(second, &mut [0; 65536]);
        });
        out.ret("for room", splice(first, None, to_second, None, 100, 0));
        sys::wait(child);
        drain(out, "second", second);
    }),
    case("splice/no-reader", &["splice", "tee", "sendfile", "vmsplice"], |out| {
        ignore_sigpipe();
        let fd = file("a", b"0123456789");
        let (reader, writer) = sys::pipe();
        sys::close(reader);
        let (first, to_first) = sys::pipe();
        sys::write(to_first, b"abc");
        out.ret("file to pipe", splice(fd, None, writer, None, 4, 0));
        out.ret("pipe to pipe", splice(first, None, writer, None, 4, 0));
        out.ret("tee", call!(SYS_tee, first, writer, 4, 0));
        out.ret("sendfile", sendfile(writer, fd, None, 4));
        let piece = [b"text".as_ptr() as usize, 4];
        out.ret("vmsplice", call!(SYS_vmsplice, writer, piece.as_ptr(), 1, 0));
        out.ret("position", position(fd));
        drain(out, "kept", first);
        let (mine, other) = socket_pair(libc::SOCK_STREAM);
        sys::close(other);
        out.ret("socket", splice(first, None, mine, None, 3, NONBLOCK));
    }),
    case("splice/no-reader-signals", &["splice"], |out| {
        let fd = file("a", b"0123456789");
        let pid = sys::fork(|| {
            let (reader, writer) = sys::pipe();
            sys::close(reader);
            splice(fd, None, writer, None, 4, 0);
            0
        });
        out.say(sys::status(sys::wait(pid)));
        let pid = sys::fork(|| {
            let (reader, writer) = sys::pipe();
            sys::close(reader);
            sendfile(writer, fd, None, 4);
            0
        });
        out.say(sys::status(sys::wait(pid)));
    }),
    case("splice/sockets", &["splice"], |out| {
        let (mine, other) = socket_pair(libc::SOCK_STREAM);
        let (reader, writer) = sys::pipe();
        sys::write(writer, b"by pipe");
        out.ret("to a socket", splice(reader, None, mine, None, 100, 0));
        out.ret("from a socket", splice(other, None, writer, None, 3, 0));
        out.ret("the rest", splice(other, None, writer, None, 100, 0));
        out.ret("nothing", splice(other, None, writer, None, 100, NONBLOCK));
        drain(out, "in the pipe", reader);
        let child = later(|| {
            sys::write(mine, b"later");
        });
        out.ret("waits", splice(other, None, writer, None, 100, 0));
        sys::wait(child);
        drain(out, "in the pipe", reader);
        let mut at = 0;
        out.ret("offset of a socket", splice(other, Some(&mut at), writer, None, 1, 0));
        out.ret("offset of a target", splice(reader, None, mine, Some(&mut at), 1, 0));
        call!(SYS_shutdown, mine, libc::SHUT_WR);
        out.ret("at its end", splice(other, None, writer, None, 100, 0));
        let fd = file("a", b"by file");
        out.ret("file to socket", sendfile(other, fd, None, 100));
        let mut bytes = [0; 100];
        let got = sys::read(mine, &mut bytes);
        out.say(text(&bytes[..got.max(0) as usize]));
        out.ret("socket to file", sendfile(fd, other, None, 100));
    }),
    case("splice/large", &["splice"], |out| {
        both(out, |out| {
            let bytes: Vec<u8> = (0..300_000u32).map(|at| (at / 3) as u8).collect();
            let from = file("a", &bytes);
            let to = file("b", b"");
            let (reader, writer) = sys::pipe();
            let child = sys::fork(|| {
                sys::close(reader);
                while splice(from, None, writer, None, 1 << 20, 0) > 0 {}
                0
            });
            sys::close(writer);
            let mut total = 0;
            loop {
                let step = splice(reader, None, to, None, 1 << 20, 0);
                if step <= 0 {
                    break out.ret("end", step);
                }
                total += step;
            }
            sys::wait(child);
            let same = std::fs::read("b").is_ok_and(|copied| copied == bytes);
            out.say(format_args!("{total} {same}"));
        });
    }),
    case("splice/tee", &["tee"], |out| {
        let (first, to_first) = sys::pipe();
        let (second, to_second) = sys::pipe();
        sys::write(to_first, b"0123456789");
        out.ret("some", call!(SYS_tee, first, to_second, 4, 0));
        out.ret("all", call!(SYS_tee, first, to_second, 100, 0));
        drain(out, "second", second);
        drain(out, "first", first);
        sys::close(to_first);
        out.ret("nobody writes", call!(SYS_tee, first, to_second, 100, 0));
    }),
    case("splice/tee-errors", &["tee"], |out| {
        let fd = file("a", b"0123456789");
        let (first, to_first) = sys::pipe();
        let (_, to_second) = sys::pipe();
        out.ret("no length", call!(SYS_tee, 999, 999, 0, 0));
        out.ret("flags", call!(SYS_tee, 999, 999, 0, 16));
        out.ret("from not open", call!(SYS_tee, 999, to_second, 1, 0));
        out.ret("to not open", call!(SYS_tee, first, 999, 1, 0));
        out.ret("from a file", call!(SYS_tee, fd, to_second, 1, 0));
        out.ret("to a file", call!(SYS_tee, first, fd, 1, 0));
        out.ret("itself", call!(SYS_tee, first, to_first, 1, 0));
        out.ret("from a writer", call!(SYS_tee, to_first, to_second, 1, 0));
        out.ret("to a reader", call!(SYS_tee, first, first, 1, 0));
    }),
    case("splice/vmsplice", &["vmsplice"], |out| {
        let (reader, writer) = sys::pipe();
        let pieces = [b"one".as_ptr() as usize, 3, 8, 0, b"three".as_ptr() as usize, 5];
        out.ret("in", call!(SYS_vmsplice, writer, pieces.as_ptr(), 3, 0));
        let (mut first, mut second) = ([b'#'; 2], [b'#'; 4]);
        let space = [first.as_mut_ptr() as usize, 2, second.as_mut_ptr() as usize, 4];
        out.ret("out", call!(SYS_vmsplice, reader, space.as_ptr(), 2, 0));
        out.say(format_args!("{} {}", text(&first), text(&second)));
        drain(out, "left", reader);
        out.ret("nothing", call!(SYS_vmsplice, reader, space.as_ptr(), 2, NONBLOCK));
        out.ret("no pieces", call!(SYS_vmsplice, writer, pieces.as_ptr(), 0, 0));
        out.ret("flags", call!(SYS_vmsplice, writer, pieces.as_ptr(), 1, 16));
        out.ret("not open", call!(SYS_vmsplice, 999, pieces.as_ptr(), 1, 0));
        let fd = file("a", b"");
        out.ret("a file", call!(SYS_vmsplice, fd, pieces.as_ptr(), 1, 0));
        out.ret("too many", call!(SYS_vmsplice, writer, pieces.as_ptr(), 1025, 0));
        out.ret("bad vector", call!(SYS_vmsplice, writer, 8, 1, 0));
        let bad = [8usize, 4];
        out.ret("bad piece", call!(SYS_vmsplice, writer, bad.as_ptr(), 1, 0));
        sys::close(writer);
        out.ret("nobody writes", call!(SYS_vmsplice, reader, space.as_ptr(), 2, 0));
    }),
    case("splice/vmsplice-full", &["vmsplice"], |out| {
        let (reader, writer) = sys::pipe();
        sys::write(writer, &[b'x'; 65536]);
        let piece = [b"text".as_ptr() as usize, 4];
        out.ret("full", call!(SYS_vmsplice, writer, piece.as_ptr(), 1, NONBLOCK));
        let child = later(|| {
            sys::read(reader, &mut [0; 65536]);
        });
        out.ret("waits for room", call!(SYS_vmsplice, writer, piece.as_ptr(), 1, 0));
        sys::wait(child);
        drain(out, "left", reader);
        let child = later(|| {
            sys::write(writer, b"later");
        });
        let mut bytes = [b'#'; 10];
        let space = [bytes.as_mut_ptr() as usize, 10];
        out.ret("waits for bytes", call!(SYS_vmsplice, reader, space.as_ptr(), 1, 0));
        sys::wait(child);
        out.say(text(&bytes));
    }),
    case("splice/sendfile", &["sendfile"], |out| {
        both(out, |out| {
            let from = file("a", b"0123456789");
            let to = file("b", b"");
            out.ret("some", sendfile(to, from, None, 4));
            out.ret("position", position(from));
            let mut at = 7;
            out.ret("at an offset", sendfile(to, from, Some(&mut at), 100));
            out.say(format_args!("offset {at} position {}", position(from)));
            out.ret("rest", sendfile(to, from, None, 100));
            out.ret("end", sendfile(to, from, None, 100));
            show(out, "b", "b");
            out.ret("nothing", sendfile(to, from, None, 0));
            let mut negative = -1;
            out.ret("negative", sendfile(to, from, Some(&mut negative), 1));
            out.ret("bad offset", call!(SYS_sendfile, to, from, 8, 1));
            out.ret("from not open", sendfile(to, 999, None, 1));
            out.ret("to not open", sendfile(999, from, None, 1));
            out.ret("to one that only reads", sendfile(open("b", RDONLY), from, None, 1));
            out.ret("from one that only writes", sendfile(to, open("a", WRONLY), None, 1));
        });
    }),
    case("splice/sendfile-kinds", &["sendfile"], |out| {
        let from = file("a", b"0123456789");
        let to = file("b", b"");
        let (reader, writer) = sys::pipe();
        out.ret("to a pipe", sendfile(writer, from, None, 5));
        drain(out, "in the pipe", reader);
        out.ret("from a pipe", sendfile(to, reader, None, 5));
        let mut at = 0;
        out.ret("from a pipe at an offset", sendfile(to, reader, Some(&mut at), 5));
        call!(SYS_mkdir, sys::c("dir"), 0o755);
        out.ret("from a directory", sendfile(to, open("dir", RDONLY), None, 5));
        out.ret("from zero", sendfile(to, open("/dev/zero", RDONLY), None, 5));
        out.ret("to null", sendfile(open("/dev/null", WRONLY), from, None, 5));
        let event = call!(SYS_eventfd2, 5, 0) as i32;
        out.ret("from an eventfd", sendfile(to, event, None, 8));
        let (socket, _) = socket_pair(libc::SOCK_STREAM);
        out.ret("from a socket", sendfile(to, socket, None, 8));
        show(out, "b", "b");
        let large = file("c", &[b'x'; 100_000]);
        out.ret("a full pipe ends it", sendfile(writer, large, None, 100_000));
        out.ret("position", position(large));
    }),
    case("splice/copy-range", &["copy_file_range"], |out| {
        both(out, |out| {
            let from = file("a", b"0123456789");
            let to = file("b", b"abcdefgh");
            out.ret("some", copy(from, None, to, None, 4, 0));
            let (mut from_at, mut to_at) = (8, 6);
            out.ret("at offsets", copy(from, Some(&mut from_at), to, Some(&mut to_at), 100, 0));
            out.say(format_args!("{from_at} {to_at} {} {}", position(from), position(to)));
            show(out, "b", "b");
            let mut end = 10;
            out.ret("at the end", copy(from, Some(&mut end), to, None, 5, 0));
            let mut beyond = 100;
            out.ret("beyond it", copy(from, Some(&mut beyond), to, None, 5, 0));
            out.ret("nothing", copy(from, None, to, None, 0, 0));
            let mut hole = 20;
            out.ret("leaves a hole", copy(from, None, to, Some(&mut hole), 2, 0));
            show(out, "b", "b");
        });
    }),
    case("splice/copy-range-overlap", &["copy_file_range"], |out| {
        both(out, |out| {
            let fd = file("a", b"0123456789");
            for (from, to, len) in
                [(0, 2, 4), (2, 0, 4), (0, 5, 5), (5, 0, 5), (3, 3, 1), (8, 9, 100), (0, 0, 0)]
            {
                let (mut from_at, mut to_at) = (from, to);
                let copied = copy(fd, Some(&mut from_at), fd, Some(&mut to_at), len, 0);
                out.ret(&format!("{len} from {from} to {to}"), copied);
                show(out, "file", "a");
            }
            let again = open("a", libc::O_RDWR);
            let (mut from_at, mut to_at) = (0, 2);
            out.ret("by two descriptions", copy(fd, Some(&mut from_at), again, Some(&mut to_at), 4, 0));
        });
    }),
    case("splice/copy-range-errors", &["copy_file_range"], |out| {
        let from = file("a", b"0123456789");
        let to = file("b", b"");
        let (reader, writer) = sys::pipe();
        call!(SYS_mkdir, sys::c("dir"), 0o755);
        let dir = open("dir", RDONLY);
        out.ret("flags", copy(from, None, to, None, 1, 1));
        out.ret("flags, not open", copy(999, None, to, None, 1, 1));
        out.ret("from not open", copy(999, None, to, None, 1, 0));
        out.ret("to not open", copy(from, None, 999, None, 1, 0));
        out.ret("from a directory", copy(dir, None, to, None, 1, 0));
        out.ret("to a directory", copy(from, None, dir, None, 1, 0));
        out.ret("from a pipe", copy(reader, None, to, None, 1, 0));
        out.ret("to a pipe", copy(from, None, writer, None, 1, 0));
        out.ret("to a reader", copy(from, None, open("b", RDONLY), None, 1, 0));
        out.ret("from a writer", copy(open("a", WRONLY), None, to, None, 1, 0));
        out.ret("to null", copy(from, None, open("/dev/null", WRONLY), None, 1, 0));
        out.ret("bad offset", call!(SYS_copy_file_range, from, 8, to, 0, 1, 0));
        out.ret("bad target offset", call!(SYS_copy_file_range, from, 0, to, 8, 1, 0));
        let mut negative = -1;
        out.ret("negative", copy(from, Some(&mut negative), to, None, 1, 0));
        out.ret("negative target", copy(from, None, to, Some(&mut negative), 1, 0));
        let mut far = i64::MAX - 1;
        out.ret("overflow", copy(from, None, to, Some(&mut far), 10, 0));
        let place = open("a", libc::O_PATH);
        out.ret("a place", copy(place, None, to, None, 1, 0));
        let other = open("/root/copied", CREATE);
        out.ret("another file system", copy(from, None, other, None, 1, 0));
        call!(SYS_unlink, sys::c("/root/copied"));
    }),
    case("splice/size-limit", &["splice", "sendfile", "copy_file_range"], |out| {
        let action = [1usize, 0, 0, 0];
        call!(SYS_rt_sigaction, libc::SIGXFSZ, action.as_ptr(), 0, 8);
        let from = file("a", &[b'x'; 3000]);
        let to = file("b", b"");
        let limit = [1000u64, 1000];
        call!(SYS_setrlimit, libc::RLIMIT_FSIZE, limit.as_ptr());
        let (reader, writer) = sys::pipe();
        sys::write(writer, &[b'y'; 3000]);
        let mut at = 400;
        out.ret("splice", splice(reader, None, to, Some(&mut at), 3000, 0));
        out.ret("beyond", splice(reader, None, to, Some(&mut at), 3000, 0));
        let mut at = 900;
        out.ret("copy_file_range", copy(from, None, to, Some(&mut at), 3000, 0));
        out.ret("beyond", copy(from, None, to, Some(&mut at), 3000, 0));
        call!(SYS_lseek, to, 990, 0);
        out.ret("sendfile", sendfile(to, from, None, 3000));
    }),
];
