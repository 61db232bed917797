//! AF_UNIX streams and sequences of packets: connecting, moving bytes, ending.

use crate::{
    Case, Out, case,
    sys::{self, call},
    unix::{
        self, NONBLOCK, SEQ, STREAM, accept, connect, connected, listen, listener, pair, recv, send, socket,
    },
};

const DONTWAIT: i32 = libc::MSG_DONTWAIT;
const NOSIGNAL: i32 = libc::MSG_NOSIGNAL;

fn ignore_sigpipe() {
    let action = [1u64, 0, 0, 0];
    call!(SYS_rt_sigaction, libc::SIGPIPE, action.as_ptr(), 0, 8);
}

fn ended(out: &mut Out, a: i32, b: i32) {
    ignore_sigpipe();
    out.say(recv(b, 10, DONTWAIT));
    out.ret("send", send(b, b"x", NOSIGNAL));
    out.ret("error", unix::get(b, libc::SO_ERROR));
    out.say(recv(b, 10, DONTWAIT));
    out.say(unix::poll(b, unix::ALL_EVENTS, 0));
    out.say(unix::peer_name(b));
    let _ = a;
}

pub(crate) const CASES: &[Case] = &[
    case("unix/stream-bytes", &["sendto", "recvfrom"], |out| {
        let (a, b) = pair(STREAM);
        out.ret("send", send(a, b"abc", 0));
        out.ret("send", send(a, b"defgh", 0));
        out.say(recv(b, 2, 0));
        out.say(recv(b, 100, 0));
        out.say(recv(b, 100, DONTWAIT));
        out.ret("empty send", send(a, b"", 0));
        out.say(recv(b, 100, DONTWAIT));
        out.ret("write", sys::write(b, b"back"));
        let mut bytes = [0; 3];
        out.ret("read", sys::read(a, &mut bytes));
        out.ret("empty read", sys::read(a, &mut []));
        out.say(recv(a, 0, DONTWAIT));
        out.say(recv(a, 9, DONTWAIT));
        out.say(recv(a, 0, DONTWAIT));
    }),
    case("unix/stream-vectors", &["writev", "readv"], |out| {
        let (a, b) = pair(STREAM);
        let pieces = ["ab", "", "cde"].map(|text| [text.as_ptr() as u64, text.len() as u64]);
        out.ret("writev", call!(SYS_writev, a, pieces.as_ptr(), 3));
        let (mut one, mut two) = ([0u8; 3], [0u8; 9]);
        let places = [[one.as_mut_ptr() as u64, 3], [two.as_mut_ptr() as u64, 9]];
        out.ret("readv", call!(SYS_readv, b, places.as_ptr(), 2));
        out.say(format_args!("{one:?} {two:?}"));
    }),
    case("unix/stream-peek", &["recvfrom"], |out| {
        let (a, b) = pair(STREAM);
        send(a, b"abc", 0);
        send(a, b"def", 0);
        out.say(recv(b, 2, libc::MSG_PEEK));
        out.say(recv(b, 5, libc::MSG_PEEK));
        out.say(recv(b, 10, libc::MSG_PEEK | libc::MSG_TRUNC));
        out.say(recv(b, 10, 0));
        out.say(recv(b, 10, libc::MSG_PEEK | DONTWAIT));
    }),
    case("unix/stream-peek-offset", &["recvfrom", "setsockopt"], |out| {
        let (a, b) = pair(STREAM);
        out.ret("default", unix::get(b, libc::SO_PEEK_OFF));
        out.ret("set", unix::set(b, libc::SO_PEEK_OFF, 0));
        send(a, b"abc", 0);
        send(a, b"def", 0);
        for flags in [libc::MSG_PEEK, libc::MSG_PEEK, 0, libc::MSG_PEEK, libc::MSG_PEEK] {
            out.say(recv(b, 2, flags | DONTWAIT));
            out.ret("offset", unix::get(b, libc::SO_PEEK_OFF));
        }
    }),
    case("unix/stream-waitall", &["recvfrom"], |out| {
        let (a, b) = pair(STREAM);
        let child = sys::fork(|| {
            for piece in [&b"ab"[..], b"cd", b"ef"] {
                send(a, piece, 0);
                sys::sleep_ms(20);
            }
            0
        });
        out.say(recv(b, 5, libc::MSG_WAITALL));
        sys::wait(child);
        sys::close(a);
        out.say(recv(b, 5, libc::MSG_WAITALL));
        out.say(recv(b, 5, libc::MSG_WAITALL));
    }),
    case("unix/stream-low-water", &["recvfrom", "setsockopt"], |out| {
        let (a, b) = pair(STREAM);
        out.ret("set", unix::set(b, libc::SO_RCVLOWAT, 4));
        let child = sys::fork(|| {
            for piece in [&b"ab"[..], b"cd"] {
                send(a, piece, 0);
                sys::sleep_ms(20);
            }
            0
        });
        out.say(recv(b, 9, 0));
        sys::wait(child);
        send(a, b"x", 0);
        out.say(recv(b, 9, DONTWAIT));
    }),
    case("unix/stream-bad-addresses", &["sendto", "recvfrom"], |out| {
        let (a, b) = pair(STREAM);
        out.ret("send", call!(SYS_sendto, a, 8, 10, 0, 0, 0));
        out.say(recv(b, 9, DONTWAIT));
        send(a, b"abc", 0);
        out.ret("receive", call!(SYS_recvfrom, b, 8, 10, 0, 0, 0));
        out.say(recv(b, 9, DONTWAIT));
        out.ret("kernel address", call!(SYS_sendto, a, -4096i64, 10, 0, 0, 0));
    }),
    case("unix/stream-oob-flags", &["sendto", "recvfrom"], |out| {
        let (a, b) = pair(SEQ);
        out.ret("send", send(a, b"x", libc::MSG_OOB));
        out.say(recv(b, 9, libc::MSG_OOB | DONTWAIT));
        let (a, b) = pair(STREAM);
        out.say(recv(b, 9, libc::MSG_OOB | DONTWAIT));
        out.ret("more and eor", send(a, b"x", libc::MSG_MORE | libc::MSG_EOR | libc::MSG_DONTROUTE));
        out.say(recv(b, 9, 0));
    }),
    case("unix/stream-fill-small", &["sendto"], |out| {
        let (a, b) = pair(STREAM);
        let (calls, bytes) = unix::fill(a, b"x");
        out.say(format_args!("{calls} {bytes}"));
        out.say(unix::poll(a, unix::ALL_EVENTS, 0));
        recv(b, 1, 0);
        out.ret("one more", send(a, b"x", DONTWAIT));
        recv(b, (calls / 2) as usize, 0);
        out.say(unix::poll(a, unix::ALL_EVENTS, 0));
        recv(b, calls as usize, 0);
        out.say(unix::poll(a, unix::ALL_EVENTS, 0));
    }),
    case("unix/stream-fill-large", &["sendto", "setsockopt"], |out| {
        for (size, buffer) in
            [(3000, 0), (5000, 0), (100_000, 0), (1 << 20, 0), (3000, 4096), (20_000, 10_000)]
        {
            let (a, _b) = pair(STREAM);
            if buffer != 0 {
                unix::set(a, libc::SO_SNDBUF, buffer);
            }
            let (calls, bytes) = unix::fill(a, &vec![7; size]);
            out.say(format_args!("{size} {buffer}: {calls} {bytes}"));
        }
    }),
    case("unix/stream-large-transfer", &["write", "read"], |out| {
        let (a, b) = pair(STREAM);
        let child = sys::fork(|| {
            sys::close(b);
            let bytes: Vec<u8> = (0..1_000_000u32).map(|at| ((at * 7) >> 3) as u8).collect();
            let mut done = 0;
            while done < bytes.len() {
                match sys::write(a, &bytes[done..]) {
                    step @ 1.. => done += step as usize,
                    _ => return 1,
                }
            }
            0
        });
        sys::close(a);
        let (mut sum, mut count) = (0u64, 0);
        let mut bytes = vec![0; 70_000];
        loop {
            match sys::read(b, &mut bytes) {
                step @ 1.. => {
                    for &byte in &bytes[..step as usize] {
                        sum = sum.wrapping_mul(31).wrapping_add(byte.into());
                    }
                    count += step;
                }
                end => {
                    out.ret("end", end);
                    break;
                }
            }
        }
        out.say(format_args!("{count} bytes, {sum}"));
        out.say(sys::status(sys::wait(child)));
    }),
    case("unix/stream-unconnected", &["sendto", "recvfrom", "shutdown", "getpeername"], |out| {
        for kind in [STREAM, SEQ] {
            let fd = socket(kind);
            out.ret("send", send(fd, b"x", NOSIGNAL));
            out.say(recv(fd, 9, 0));
            out.ret("write", sys::write(fd, b"x"));
            out.ret("read", sys::read(fd, &mut [0]));
            out.say(unix::peer_name(fd));
            out.say(unix::own_name(fd));
            out.ret("send to", unix::send_to(fd, b"x", "nobody"));
            out.ret("accept", accept(fd));
            out.ret("shutdown", call!(SYS_shutdown, fd, 2));
            out.ret("send", send(fd, b"x", NOSIGNAL));
            out.say(recv(fd, 9, 0));
        }
    }),
    case("unix/stream-close", &["close"], |out| {
        for kind in [STREAM, SEQ] {
            let (a, b) = pair(kind);
            sys::close(a);
            ended(out, a, b);
        }
    }),
    case("unix/stream-close-after-data", &["close"], |out| {
        for kind in [STREAM, SEQ] {
            let (a, b) = pair(kind);
            send(a, b"last", 0);
            sys::close(a);
            out.say(unix::poll(b, unix::ALL_EVENTS, 0));
            out.say(recv(b, 9, 0));
            ended(out, a, b);
        }
    }),
    case("unix/stream-reset", &["close"], |out| {
        for kind in [STREAM, SEQ] {
            let (a, b) = pair(kind);
            send(b, b"unread", 0);
            sys::close(a);
            out.say(unix::poll(b, unix::ALL_EVENTS, 0));
            ended(out, a, b);
        }
    }),
    case("unix/stream-reset-by-send", &["close", "sendto"], |out| {
        for kind in [STREAM, SEQ] {
            let (a, b) = pair(kind);
            send(b, b"unread", 0);
            sys::close(a);
            out.ret("send", send(b, b"x", NOSIGNAL));
            out.ret("again", send(b, b"x", NOSIGNAL));
            out.say(recv(b, 9, 0));
        }
    }),
    case("unix/stream-sigpipe", &["sendto", "write", "writev", "sendmsg"], |out| {
        for (name, kind) in unix::KINDS {
            for how in 0..3 {
                let (a, b) = pair(kind);
                sys::close(b);
                let child = sys::fork(|| {
                    let got = match how {
                        0 => send(a, b"x", 0),
                        1 => sys::write(a, b"x"),
                        _ => send(a, b"x", NOSIGNAL),
                    };
                    (-got) as i32
                });
                sys::close(a);
                out.say(format_args!("{name} {how} {}", sys::status(sys::wait(child))));
            }
        }
    }),
    case("unix/shutdown-each", &["shutdown"], |out| {
        for kind in [STREAM, SEQ] {
            for how in [0, 1, 2, 3, -1] {
                let (a, b) = pair(kind);
                send(a, b"to b", 0);
                send(b, b"to a", 0);
                out.ret(&format!("shutdown {how}"), call!(SYS_shutdown, a, how));
                for (what, fd) in [("a", a), ("b", b)] {
                    out.say(what);
                    out.say(unix::poll(fd, unix::ALL_EVENTS, 0));
                    out.ret("send", send(fd, b"more", NOSIGNAL | DONTWAIT));
                    out.say(recv(fd, 9, DONTWAIT));
                    out.say(recv(fd, 9, DONTWAIT));
                }
            }
        }
    }),
    case("unix/shutdown-wakes", &["shutdown", "read"], |out| {
        let (a, b) = pair(STREAM);
        let child = sys::fork(|| {
            sys::sleep_ms(30);
            call!(SYS_shutdown, a, 1);
            sys::sleep_ms(30);
            0
        });
        out.ret("read", sys::read(b, &mut [0; 4]));
        sys::wait(child);
    }),
    case("unix/connect-accept", &["connect", "accept", "listen"], |out| {
        for (kind, name) in [(STREAM, "stream"), (SEQ, "seq"), (STREAM, "@case-connect-accept")] {
            let (client, server) = connected(kind, name);
            out.ret("send", send(client, b"hello", 0));
            out.say(recv(server, 9, 0));
            out.ret("send", send(server, b"back", 0));
            out.say(recv(client, 9, 0));
            for fd in [client, server] {
                out.say(unix::own_name(fd));
                out.say(unix::peer_name(fd));
            }
        }
    }),
    case("unix/connect-before-accept", &["connect", "accept"], |out| {
        let server = listener(STREAM, "s", 4);
        let client = socket(STREAM);
        out.ret("connect", connect(client, "s"));
        out.say(unix::poll(server, unix::ALL_EVENTS, 0));
        out.ret("send", send(client, b"early", 0));
        sys::close(client);
        let fd = accept(server) as i32;
        out.say(recv(fd, 9, 0));
        out.say(recv(fd, 9, 0));
        out.say(unix::poll(server, unix::ALL_EVENTS, 0));
    }),
    case("unix/connect-errors", &["connect"], |out| {
        let fd = socket(STREAM);
        out.ret("nothing there", connect(fd, "nothing"));
        out.ret("no directory", connect(fd, "a/b"));
        assert!(std::fs::write("file", "x").is_ok(), "a file");
        out.ret("a file", connect(fd, "file"));
        out.ret("a directory", connect(fd, "."));
        out.ret("abstract", connect(fd, "@case-connect-errors"));
        let other = socket(SEQ);
        unix::bind(other, "other");
        out.ret("other type", connect(fd, "other"));
        let same = socket(STREAM);
        unix::bind(same, "same");
        out.ret("not listening", connect(fd, "same"));
        listen(same, 1);
        sys::close(same);
        out.ret("closed", connect(fd, "same"));
        for (what, bytes) in [
            ("short", &[1u8, 0][..]),
            ("nothing", &[]),
            ("one byte", &[1]),
            ("other family", &[2, 0, b'x', 0]),
            ("no family", &[0, 0, b'x', 0]),
            ("long", &[1; 111]),
            ("too long", &[1; 129]),
        ] {
            out.ret(what, call!(SYS_connect, fd, bytes.as_ptr(), bytes.len()));
        }
        out.ret("negative", call!(SYS_connect, fd, [1u8, 0].as_ptr(), -1));
        out.ret("bad address", call!(SYS_connect, fd, 8, 10));
    }),
    case("unix/connect-twice", &["connect"], |out| {
        let server = listener(STREAM, "s", 4);
        let client = socket(STREAM);
        out.ret("connect", connect(client, "s"));
        out.ret("again", connect(client, "s"));
        out.ret("elsewhere", connect(client, "nothing"));
        out.ret("listener", connect(server, "s"));
        out.ret("of a pair", connect(pair(STREAM).0, "s"));
        out.ret("send to", unix::send_to(client, b"x", "s"));
    }),
    case("unix/connect-permission", &["connect"], |out| {
        let _server = listener(STREAM, "s", 4);
        for mode in [0o777, 0o666, 0o555, 0o222, 0o000] {
            call!(SYS_chmod, sys::c("s"), mode);
            let child = sys::fork(|| {
                call!(SYS_setresgid, 1000, 1000, 1000);
                call!(SYS_setresuid, 1000, 1000, 1000);
                -connect(socket(STREAM), "s") as i32
            });
            out.say(format_args!("{mode:o} {}", sys::status(sys::wait(child))));
        }
    }),
    case("unix/connect-backlog", &["connect", "listen"], |out| {
        for backlog in [0, 1, 3, -1] {
            let name = format!("s{backlog}");
            let server = listener(STREAM, &name, backlog);
            let mut made = 0;
            let end = loop {
                match connect(socket(STREAM | NONBLOCK), &name) {
                    0 if made < 20 => made += 1,
                    end => break end,
                }
            };
            out.ret(&format!("backlog {backlog}: {made}"), end);
            accept(server);
            out.ret("after accept", connect(socket(STREAM | NONBLOCK), &name));
        }
    }),
    case("unix/connect-waits", &["connect", "accept"], |out| {
        let server = listener(STREAM, "s", 0);
        out.ret("first", connect(socket(STREAM), "s"));
        let child = sys::fork(|| {
            let fd = socket(STREAM);
            let got = connect(fd, "s");
            send(fd, b"x", 0);
            (got != 0).into()
        });
        sys::sleep_ms(40);
        out.ok("accept", accept(server));
        let fd = accept(server) as i32;
        out.say(recv(fd, 4, 0));
        out.say(sys::status(sys::wait(child)));
    }),
    case("unix/connect-waits-for-time", &["connect", "setsockopt"], |out| {
        let _server = listener(STREAM, "s", 0);
        out.ret("first", connect(socket(STREAM), "s"));
        let fd = socket(STREAM);
        unix::timeout(fd, libc::SO_SNDTIMEO, 60);
        let start = sys::now_ms();
        out.ret("second", connect(fd, "s"));
        out.say(sys::now_ms() - start >= 55);
    }),
    case("unix/connect-listener-closes", &["connect", "close"], |out| {
        let server = listener(STREAM, "s", 0);
        let first = socket(STREAM);
        out.ret("first", connect(first, "s"));
        let child = sys::fork(|| {
            sys::close(server);
            sys::close(first);
            -connect(socket(STREAM), "s") as i32
        });
        sys::sleep_ms(40);
        sys::close(server);
        out.say(sys::status(sys::wait(child)));
        out.say(recv(first, 4, 0));
        out.say(recv(first, 4, 0));
    }),
    case("unix/listen-errors", &["listen"], |out| {
        out.ret("unbound", listen(socket(STREAM), 1));
        let fd = socket(libc::SOCK_DGRAM);
        unix::bind(fd, "d");
        out.ret("datagram", listen(fd, 1));
        out.ret("accept", accept(fd));
        out.ret("of a pair", listen(pair(STREAM).0, 1));
        let (client, server) = connected(STREAM, "s");
        out.ret("accepted", listen(server, 1));
        out.ret("connected", listen(client, 1));
        let fd = listener(STREAM, "t", 1);
        out.ret("again", listen(fd, 5));
        out.ret("send", send(fd, b"x", NOSIGNAL));
        out.say(recv(fd, 9, 0));
        out.say(unix::poll(fd, unix::ALL_EVENTS, 0));
        out.ret("listening", unix::get(fd, libc::SO_ACCEPTCONN));
        out.say(unix::peer_name(fd));
    }),
    case("unix/accept-flags", &["accept4", "fcntl"], |out| {
        let server = listener(STREAM | NONBLOCK, "s", 4);
        out.ret("nobody", accept(server));
        for flags in [0, NONBLOCK, libc::SOCK_CLOEXEC] {
            connect(socket(STREAM), "s");
            let fd = call!(SYS_accept4, server, 0, 0, flags) as i32;
            out.ret("descriptor", call!(SYS_fcntl, fd, libc::F_GETFD, 0));
            out.ret("status", call!(SYS_fcntl, fd, libc::F_GETFL, 0));
        }
        out.ret("bad flags", call!(SYS_accept4, server, 0, 0, 1));
    }),
    case("unix/accept-address", &["accept"], |out| {
        let server = listener(STREAM, "s", 4);
        for (bound, space) in [("", 128i32), ("client", 128), ("other", 4), ("third", -1)] {
            let client = socket(STREAM);
            if !bound.is_empty() {
                unix::bind(client, bound);
            }
            connect(client, "s");
            let (mut name, mut len) = ([0xffu8; 20], space);
            let got = call!(SYS_accept, server, name.as_mut_ptr(), &raw mut len);
            out.ok("accept", got);
            out.say(format_args!("{name:?} {len}"));
        }
    }),
    case("unix/accept-after-shutdown", &["accept", "shutdown"], |out| {
        let server = listener(STREAM, "s", 4);
        out.ret("connect", connect(socket(STREAM), "s"));
        out.ret("shutdown", call!(SYS_shutdown, server, 0));
        out.ret("connect", connect(socket(STREAM), "s"));
        out.ok("accept", accept(server));
        out.ret("accept", accept(server));
        out.say(unix::poll(server, unix::ALL_EVENTS, 0));
    }),
    case("unix/seqpacket-bounds", &["sendto", "recvfrom"], |out| {
        let (a, b) = pair(SEQ);
        for bytes in [&b"abc"[..], b"", b"defgh"] {
            out.ret("send", send(a, bytes, 0));
        }
        out.say(recv(b, 2, 0));
        out.say(recv(b, 9, DONTWAIT));
        out.say(recv(b, 2, libc::MSG_TRUNC));
        out.say(recv(b, 9, DONTWAIT));
        out.ret("too large", send(a, &vec![0; 300_000], DONTWAIT));
        out.ret("largest", send(a, &vec![0; 212_960], DONTWAIT));
        recv(b, 1, 0);
        out.ret("with an address", unix::send_to(a, b"x", "ignored"));
    }),
];
