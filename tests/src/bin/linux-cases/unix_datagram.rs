//! AF_UNIX datagrams, and names.

use crate::{
    Case, case,
    sys::{self, call},
    unix::{
        self, DGRAM, KINDS, NONBLOCK, SEQ, STREAM, bind, connect, own_name, pair, peer_name, recv, recv_from,
        send, send_to, socket,
    },
};

const DONTWAIT: i32 = libc::MSG_DONTWAIT;

/// A bound datagram socket.
fn bound(name: &str) -> i32 {
    let fd = socket(DGRAM);
    assert_eq!(bind(fd, name), 0, "bind");
    fd
}

pub(crate) const CASES: &[Case] = &[
    case("unix/dgram-bounds", &["sendto", "recvfrom"], |out| {
        let (a, b) = pair(DGRAM);
        for bytes in [&b"abc"[..], b"", b"defgh", b"ij"] {
            out.ret("send", send(a, bytes, 0));
        }
        out.say(recv(b, 2, libc::MSG_PEEK));
        out.say(recv(b, 2, libc::MSG_PEEK | libc::MSG_TRUNC));
        out.say(recv(b, 2, 0));
        out.say(recv(b, 9, 0));
        out.say(recv(b, 2, libc::MSG_TRUNC));
        out.say(recv(b, 0, 0));
        out.say(recv(b, 9, DONTWAIT));
    }),
    case("unix/dgram-sizes", &["sendto"], |out| {
        let (a, b) = pair(DGRAM);
        for size in [100_000, 212_960, 212_961, 1 << 20] {
            out.ret(&format!("{size}"), send(a, &vec![1; size], DONTWAIT));
            out.say(recv(b, 1, DONTWAIT | libc::MSG_TRUNC));
        }
        unix::set(a, libc::SO_SNDBUF, 0);
        out.ret("small buffer", send(a, &[1; 4577], DONTWAIT));
        out.ret("small buffer", send(a, &[1; 4576], DONTWAIT));
        out.ret("full", send(a, &[1; 1], DONTWAIT));
    }),
    case("unix/dgram-fill", &["sendto"], |out| {
        for size in [1, 384, 385, 3000, 20_000, 100_000] {
            let (a, _b) = pair(DGRAM);
            let (calls, _) = unix::fill(a, &vec![1; size]);
            out.say(format_args!("{size}: {calls}"));
        }
    }),
    case("unix/dgram-queue-limit", &["sendto"], |out| {
        let _to = bound("to");
        let from = socket(DGRAM);
        connect(from, "to");
        out.say(format_args!("{:?}", unix::fill(from, b"x")));
        out.say(unix::poll(from, unix::ALL_EVENTS, 0));
        out.say(recv(_to, 4, 0));
        out.say(unix::poll(from, unix::ALL_EVENTS, 0));
        out.ret("one more", send(from, b"y", DONTWAIT));
        out.ret("too many", send(from, b"y", DONTWAIT));
        let other = socket(DGRAM);
        out.say(unix::poll(other, unix::ALL_EVENTS, 0));
    }),
    case("unix/dgram-queue-waits", &["sendto", "recvfrom"], |out| {
        let to = bound("to");
        let from = socket(DGRAM);
        connect(from, "to");
        unix::fill(from, b"x");
        let child = sys::fork(|| {
            let first = send(from, b"later", 0);
            (first != 5).into()
        });
        sys::sleep_ms(30);
        for _ in 0..11 {
            recv(to, 9, 0);
        }
        out.say(recv(to, 9, 0));
        out.say(sys::status(sys::wait(child)));
        unix::fill(from, b"x");
        let child = sys::fork(|| {
            sys::sleep_ms(30);
            recv(to, 9, 0);
            sys::sleep_ms(300);
            0
        });
        out.say(unix::poll(from, libc::POLLOUT, 5000));
        sys::wait(child);
        unix::timeout(from, libc::SO_SNDTIMEO, 40);
        unix::fill(from, b"x");
        out.ret("timed out", send(from, b"x", 0));
    }),
    case("unix/dgram-to-itself", &["sendto"], |out| {
        let fd = bound("me");
        out.ret("send", send_to(fd, b"x", "me"));
        out.say(recv_from(fd, 9));
        out.ret("connect", connect(fd, "me"));
        out.ret("send", send(fd, b"y", 0));
        out.say(recv_from(fd, 9));
    }),
    case("unix/dgram-addresses", &["sendto", "recvfrom"], |out| {
        let to = bound("to");
        for (what, fd) in
            [("path", bound("from")), ("abstract", bound("@case-dgram-addresses")), ("none", socket(DGRAM))]
        {
            out.ret(what, send_to(fd, b"x", "to"));
            out.say(recv_from(to, 9));
        }
        out.ret("reply", send_to(to, b"back", "from"));
    }),
    case("unix/dgram-errors", &["sendto", "connect"], |out| {
        let fd = socket(DGRAM);
        out.ret("nowhere", send(fd, b"x", 0));
        out.ret("nothing", send_to(fd, b"x", "nothing"));
        assert!(std::fs::write("file", "x").is_ok(), "a file");
        out.ret("a file", send_to(fd, b"x", "file"));
        let _other = unix::listener(STREAM, "s", 1);
        out.ret("a stream", send_to(fd, b"x", "s"));
        out.ret("a stream", connect(fd, "s"));
        sys::close(bound("closed"));
        out.ret("closed", send_to(fd, b"x", "closed"));
        for (what, bytes) in
            [("short", &[1u8, 0][..]), ("other family", &[2, 0, b'x', 0]), ("long", &[1; 111])]
        {
            out.ret(what, call!(SYS_sendto, fd, b"x".as_ptr(), 1, 0, bytes.as_ptr(), bytes.len()));
        }
        out.ret("receive", call!(SYS_recvfrom, fd, 8, 1, DONTWAIT, 0, 0));
        out.ret("oob", send(fd, b"x", libc::MSG_OOB));
    }),
    case("unix/dgram-connect", &["connect", "getpeername"], |out| {
        let (one, two) = (bound("one"), bound("two"));
        let fd = socket(DGRAM);
        out.say(peer_name(fd));
        out.ret("connect", connect(fd, "one"));
        out.say(peer_name(fd));
        out.ret("send", send(fd, b"x", 0));
        out.ret("send elsewhere", send_to(fd, b"y", "two"));
        out.ret("connect again", connect(fd, "two"));
        out.ret("send", send(fd, b"z", 0));
        out.say(recv(one, 9, DONTWAIT));
        out.say(recv(one, 9, DONTWAIT));
        out.say(recv(two, 9, DONTWAIT));
        out.say(recv(two, 9, DONTWAIT));
        let none = [0u8, 0, 0];
        out.ret("disconnect", call!(SYS_connect, fd, none.as_ptr(), 2));
        out.say(peer_name(fd));
        out.ret("send", send(fd, b"x", 0));
        out.ret("short", call!(SYS_connect, fd, none.as_ptr(), 1));
    }),
    case("unix/dgram-connected-hears-one", &["connect", "sendto"], |out| {
        let (one, two) = (bound("one"), bound("two"));
        out.ret("connect", connect(one, "two"));
        out.ret("from the peer", send_to(two, b"x", "one"));
        let other = bound("other");
        out.ret("from another", send_to(other, b"y", "one"));
        out.ret("connect to it", connect(other, "one"));
        out.say(recv(one, 9, DONTWAIT));
        out.say(recv(one, 9, DONTWAIT));
        out.ret("to a pair", call!(SYS_connect, pair(DGRAM).0, unix::address("one").as_ptr(), 6));
    }),
    case("unix/dgram-peer-closes", &["close", "sendto"], |out| {
        let to = bound("to");
        let fd = socket(DGRAM);
        connect(fd, "to");
        sys::close(to);
        out.say(unix::poll(fd, unix::ALL_EVENTS, 0));
        out.ret("send", send(fd, b"x", 0));
        out.ret("again", send(fd, b"x", 0));
        out.say(peer_name(fd));
        let (a, b) = pair(DGRAM);
        send(a, b"left", 0);
        sys::close(a);
        out.say(unix::poll(b, unix::ALL_EVENTS, 0));
        out.say(recv(b, 9, DONTWAIT));
        out.say(recv(b, 9, DONTWAIT));
        out.ret("send", send(b, b"x", 0));
        out.ret("send", send(b, b"x", 0));
    }),
    case("unix/dgram-reconnect-drops", &["connect"], |out| {
        let (one, two) = (bound("one"), bound("two"));
        connect(one, "two");
        connect(two, "one");
        send(two, b"lost", 0);
        let _third = bound("three");
        out.ret("connect", connect(one, "three"));
        out.say(recv(one, 9, DONTWAIT));
        out.ret("error", unix::get(two, libc::SO_ERROR));
        out.ret("send", send(two, b"x", 0));
    }),
    case("unix/dgram-shutdown", &["shutdown"], |out| {
        for how in [0, 1, 2] {
            let (a, b) = pair(DGRAM);
            send(b, b"left", 0);
            out.ret(&format!("shutdown {how}"), call!(SYS_shutdown, a, how));
            for fd in [a, b] {
                out.say(unix::poll(fd, unix::ALL_EVENTS, 0));
                out.ret("send", send(fd, b"x", 0));
                out.say(recv(fd, 9, DONTWAIT));
                out.say(recv(fd, 9, DONTWAIT));
            }
            if how != 1 {
                out.say(recv(a, 9, 0));
            }
        }
    }),
    case("unix/dgram-peek-offset", &["recvfrom", "setsockopt"], |out| {
        let (a, b) = pair(DGRAM);
        unix::set(b, libc::SO_PEEK_OFF, 0);
        send(a, b"abcd", 0);
        send(a, b"ef", 0);
        for flags in [libc::MSG_PEEK, libc::MSG_PEEK, libc::MSG_PEEK, 0, libc::MSG_PEEK] {
            out.say(recv(b, 3, flags | DONTWAIT));
            out.ret("offset", unix::get(b, libc::SO_PEEK_OFF));
        }
    }),
    case("unix/bind-path", &["bind", "stat", "unlink"], |out| {
        call!(SYS_umask, 0o027);
        let fd = socket(STREAM);
        out.ret("bind", bind(fd, "s"));
        let mut stat = [0u64; 18];
        out.ret("stat", call!(SYS_stat, sys::c("s"), stat.as_mut_ptr()));
        out.say(format_args!("{:o} {} {}", stat[3] as u32, stat[6], stat[2]));
        out.say(own_name(fd));
        out.ret("open", call!(SYS_open, sys::c("s"), libc::O_RDWR));
        out.ok("open path", call!(SYS_open, sys::c("s"), libc::O_PATH));
        out.ret("again", bind(socket(STREAM), "s"));
        sys::close(fd);
        out.ret("after close", bind(socket(STREAM), "s"));
        out.ret("unlink", call!(SYS_unlink, sys::c("s")));
        out.ret("after unlink", bind(socket(STREAM), "s"));
    }),
    case("unix/bind-errors", &["bind"], |out| {
        let fd = socket(STREAM);
        assert!(std::fs::write("file", "x").is_ok(), "a file");
        out.ret("a file", bind(fd, "file"));
        out.ret("a directory", bind(fd, "."));
        out.ret("no directory", bind(fd, "a/b"));
        out.ret("in a file", bind(fd, "file/s"));
        out.ret("slash", bind(fd, "s/"));
        for (what, bytes) in [
            ("nothing", &[][..]),
            ("one byte", &[1u8]),
            ("other family", &[2, 0, b'x', 0]),
            ("other family", &[2, 0]),
            ("long", &[1; 111]),
            ("too long", &[1; 129]),
        ] {
            out.ret(what, call!(SYS_bind, fd, bytes.as_ptr(), bytes.len()));
        }
        out.ret("negative", call!(SYS_bind, fd, [1u8, 0].as_ptr(), -1));
        out.ret("bad address", call!(SYS_bind, fd, 8, 10));
        out.ret("bind", bind(fd, "s"));
        out.ret("twice", bind(fd, "t"));
        out.ret("twice, there", bind(fd, "s"));
        out.ret("twice, abstract", bind(fd, "@case-bind-errors"));
        out.ret("nothing was left", call!(SYS_access, sys::c("t"), 0));
        let child = sys::fork(|| {
            call!(SYS_chmod, sys::c("."), 0o755);
            call!(SYS_setresuid, 1000, 1000, 1000);
            -bind(socket(STREAM), "u") as i32
        });
        out.say(sys::status(sys::wait(child)));
    }),
    case("unix/bind-path-forms", &["bind", "getsockname"], |out| {
        let long = "p".repeat(108);
        for (what, bytes) in
            [("no zero", b"abc".to_vec()), ("two", b"d\0e\0".to_vec()), ("longest", long.into_bytes())]
        {
            let fd = socket(STREAM);
            let mut address = vec![1, 0];
            address.extend_from_slice(&bytes);
            out.ret(what, call!(SYS_bind, fd, address.as_ptr(), address.len()));
            let name = own_name(fd);
            out.say(&name[..name.len().min(20)]);
        }
        out.ret("found", call!(SYS_access, sys::c("d"), 0));
    }),
    case("unix/bind-link-and-rename", &["bind", "connect", "link", "rename"], |out| {
        let server = unix::listener(STREAM, "s", 8);
        out.ret("link", call!(SYS_link, sys::c("s"), sys::c("hard")));
        out.ret("symlink", call!(SYS_symlink, sys::c("s"), sys::c("soft")));
        out.ret("hard", connect(socket(STREAM), "hard"));
        out.ret("soft", connect(socket(STREAM), "soft"));
        out.ret("rename", call!(SYS_rename, sys::c("s"), sys::c("moved")));
        out.ret("moved", connect(socket(STREAM), "moved"));
        out.ret("old", connect(socket(STREAM), "s"));
        out.ret("dangling", connect(socket(STREAM), "soft"));
        out.say(own_name(server));
        out.ret("bind to a link", bind(socket(STREAM), "soft"));
    }),
    case("unix/bind-on-tmpfs", &["bind", "connect"], |out| {
        let name = format!("/dev/shm/case-{}", sys::getpid());
        let server = unix::listener(STREAM, &name, 8);
        let client = socket(STREAM);
        out.ret("connect", connect(client, &name));
        let fd = unix::accept(server) as i32;
        send(client, b"x", 0);
        out.say(recv(fd, 4, 0));
        out.ret("unlink", call!(SYS_unlink, sys::c(&name)));
        out.ret("connect", connect(socket(STREAM), &name));
    }),
    case("unix/mknod-is-no-socket", &["mknod", "connect"], |out| {
        out.ret("mknod", call!(SYS_mknod, sys::c("s"), libc::S_IFSOCK | 0o600, 0));
        out.ret("connect", connect(socket(STREAM), "s"));
        out.ret("bind", bind(socket(STREAM), "s"));
    }),
    case("unix/abstract-names", &["bind", "connect"], |out| {
        let fd = socket(STREAM);
        let name = "@case-abstract";
        out.ret("bind", bind(fd, name));
        out.say(own_name(fd));
        out.ret("again", bind(socket(STREAM), name));
        out.ret("other type", bind(socket(DGRAM), name));
        out.ret("longer", bind(socket(STREAM), "@case-abstract\0"));
        out.ret("not listening", connect(socket(STREAM), name));
        unix::listen(fd, 1);
        out.ret("connect", connect(socket(STREAM), name));
        out.ret("prefix", connect(socket(STREAM), "@case-abstrac"));
        out.ret("other type", connect(socket(SEQ), name));
        sys::close(fd);
        out.ret("closed", connect(socket(STREAM), name));
        out.ret("bind", bind(socket(STREAM), name));
    }),
    case("unix/abstract-child-exit", &["bind", "exit_group"], |out| {
        let child = sys::fork(|| -bind(socket(STREAM), "@case-child") as i32);
        out.say(sys::status(sys::wait(child)));
        out.ret("free again", bind(socket(STREAM), "@case-child"));
    }),
    case("unix/autobind", &["bind"], |out| {
        let fd = socket(STREAM);
        let address = [1u8, 0];
        out.ret("bind", call!(SYS_bind, fd, address.as_ptr(), 2));
        let (mut bytes, mut len) = ([0xffu8; 128], 128i32);
        call!(SYS_getsockname, fd, bytes.as_mut_ptr(), &raw mut len);
        let digits = bytes[3..8].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        out.say(format_args!("{len} {} {digits}", bytes[2]));
        out.ret("again", call!(SYS_bind, fd, address.as_ptr(), 2));
        out.ret("another name", bind(fd, "s"));
        out.ret("connect", connect(socket(STREAM), "s"));
    }),
    case("unix/passcred-autobinds", &["connect", "setsockopt"], |out| {
        let server = unix::listener(STREAM, "s", 4);
        let to = bound("to");
        for kind in [STREAM, DGRAM] {
            let fd = socket(kind);
            unix::set(fd, libc::SO_PASSCRED, 1);
            out.ret("connect", connect(fd, if kind == STREAM { "s" } else { "to" }));
            out.say(own_name(fd).starts_with("8 "));
        }
        let fd = socket(DGRAM);
        unix::set(fd, libc::SO_PASSCRED, 1);
        out.ret("send", send_to(fd, b"x", "to"));
        out.say(recv_from(to, 9).starts_with("1 \"x\" from 8 "));
        let _ = server;
    }),
    case("unix/names-of-a-pair", &["getsockname", "getpeername", "bind"], |out| {
        for (what, kind) in KINDS {
            let (a, b) = pair(kind);
            out.say(format_args!("{what} {} {}", own_name(a), peer_name(a)));
            out.ret("bind", bind(a, what));
            out.say(format_args!("{} {}", own_name(a), peer_name(b)));
            send(a, b"x", 0);
            out.say(recv_from(b, 3));
        }
        let (a, _) = pair(STREAM);
        let (mut bytes, mut len) = ([0xffu8; 4], 1i32);
        out.ret("short", call!(SYS_getsockname, a, bytes.as_mut_ptr(), &raw mut len));
        out.say(format_args!("{bytes:?} {len}"));
        len = -1;
        out.ret("negative", call!(SYS_getsockname, a, bytes.as_mut_ptr(), &raw mut len));
        len = 4;
        out.ret("bad address", call!(SYS_getsockname, a, 8, &raw mut len));
        out.ret("bad length", call!(SYS_getpeername, a, bytes.as_mut_ptr(), 8));
    }),
    case("unix/poll-states", &["poll"], |out| {
        for (what, kind) in KINDS {
            let fd = socket(kind);
            out.say(format_args!("{what} new {}", unix::poll(fd, unix::ALL_EVENTS, 0)));
            bind(fd, what);
            out.say(format_args!("bound {}", unix::poll(fd, unix::ALL_EVENTS, 0)));
            unix::listen(fd, 1);
            out.say(format_args!("listening {}", unix::poll(fd, unix::ALL_EVENTS, 0)));
            let (a, b) = pair(kind);
            out.say(format_args!("pair {}", unix::poll(a, unix::ALL_EVENTS, 0)));
            send(b, b"x", 0);
            out.say(format_args!("data {}", unix::poll(a, unix::ALL_EVENTS, 0)));
            sys::close(b);
            out.say(format_args!("closed {}", unix::poll(a, unix::ALL_EVENTS, 0)));
        }
    }),
    case("unix/nonblocking", &["recvfrom", "accept", "connect"], |out| {
        for (what, kind) in KINDS {
            let (a, b) = pair(kind | NONBLOCK);
            out.say(format_args!("{what} {}", recv(a, 4, 0)));
            out.say(recv(a, 4, libc::MSG_WAITALL));
            unix::fill(b, &[1; 1000]);
            out.ret("full", send(b, &[1; 1000], 0));
            out.ret("write", sys::write(b, &[1; 1000]));
        }
    }),
];
