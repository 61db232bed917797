//! AF_UNIX sockets: making them, their options, what other calls say of them. The tools of the family.

use crate::{
    Case, Out, case,
    sys::{self, call},
};

pub(crate) const STREAM: i32 = libc::SOCK_STREAM;
pub(crate) const DGRAM: i32 = libc::SOCK_DGRAM;
pub(crate) const SEQ: i32 = libc::SOCK_SEQPACKET;
pub(crate) const NONBLOCK: i32 = libc::SOCK_NONBLOCK;
pub(crate) const KINDS: [(&str, i32); 3] = [("stream", STREAM), ("dgram", DGRAM), ("seqpacket", SEQ)];
const SOL: i32 = libc::SOL_SOCKET;

pub(crate) fn socket(kind: i32) -> i32 {
    call!(SYS_socket, libc::AF_UNIX, kind, 0) as i32
}

pub(crate) fn pair(kind: i32) -> (i32, i32) {
    let mut fds = [-1i32; 2];
    assert_eq!(call!(SYS_socketpair, libc::AF_UNIX, kind, 0, fds.as_mut_ptr()), 0, "socketpair");
    (fds[0], fds[1])
}

/// The address of a path, or with `@` in front of an abstract name.
pub(crate) fn address(name: &str) -> Vec<u8> {
    let mut bytes = vec![1, 0];
    match name.strip_prefix('@') {
        Some(name) => {
            bytes.push(0);
            bytes.extend_from_slice(name.as_bytes());
        }
        None => {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(0);
        }
    }
    bytes
}

pub(crate) fn bind(fd: i32, name: &str) -> i64 {
    let address = address(name);
    call!(SYS_bind, fd, address.as_ptr(), address.len())
}

pub(crate) fn connect(fd: i32, name: &str) -> i64 {
    let address = address(name);
    call!(SYS_connect, fd, address.as_ptr(), address.len())
}

pub(crate) fn listen(fd: i32, backlog: i32) -> i64 {
    call!(SYS_listen, fd, backlog)
}

pub(crate) fn accept(fd: i32) -> i64 {
    call!(SYS_accept4, fd, 0, 0, 0)
}

/// A listening socket.
pub(crate) fn listener(kind: i32, name: &str, backlog: i32) -> i32 {
    let fd = socket(kind);
    assert_eq!(bind(fd, name), 0, "bind");
    assert_eq!(listen(fd, backlog), 0, "listen");
    fd
}

/// Two ends of a connection by name: the connecting and the accepted one.
pub(crate) fn connected(kind: i32, name: &str) -> (i32, i32) {
    let server = listener(kind & 0xf, name, 4);
    let client = socket(kind);
    assert_eq!(connect(client, name), 0, "connect");
    let accepted = accept(server) as i32;
    sys::close(server);
    (client, accepted)
}

pub(crate) fn send(fd: i32, bytes: &[u8], flags: i32) -> i64 {
    call!(SYS_sendto, fd, bytes.as_ptr(), bytes.len(), flags, 0, 0)
}

pub(crate) fn send_to(fd: i32, bytes: &[u8], name: &str) -> i64 {
    let address = address(name);
    call!(SYS_sendto, fd, bytes.as_ptr(), bytes.len(), 0, address.as_ptr(), address.len())
}

/// What a receive gave, in words.
pub(crate) fn recv(fd: i32, len: usize, flags: i32) -> String {
    let mut bytes = vec![0; len];
    let got = call!(SYS_recvfrom, fd, bytes.as_mut_ptr(), len, flags, 0, 0);
    shown(got, &bytes)
}

fn shown(got: i64, bytes: &[u8]) -> String {
    if got < 0 {
        return sys::errno_name(-got as u32);
    }
    let text = &bytes[..bytes.len().min(got as usize)];
    format!("{got} {:?}", String::from_utf8_lossy(text))
}

/// A receive with the sender's address.
pub(crate) fn recv_from(fd: i32, len: usize) -> String {
    let (mut bytes, mut name, mut name_len) = (vec![0; len], [0xffu8; 128], 128i32);
    let got = call!(SYS_recvfrom, fd, bytes.as_mut_ptr(), len, 0, name.as_mut_ptr(), &raw mut name_len);
    format!("{} from {}", shown(got, &bytes), shown_name(&name, name_len))
}

fn shown_name(bytes: &[u8], len: i32) -> String {
    let bytes = &bytes[..bytes.len().min(len.max(0) as usize)];
    format!("{len} {:?}", String::from_utf8_lossy(bytes.get(2..).unwrap_or_default()))
}

/// getsockname or getpeername, in words.
pub(crate) fn name(number: i64, fd: i32) -> String {
    let (mut bytes, mut len) = ([0u8; 128], 128i32);
    match sys::raw(number, &[fd.into(), bytes.as_mut_ptr() as i64, &raw mut len as i64]) {
        0 => shown_name(&bytes, len),
        error => sys::errno_name(-error as u32),
    }
}

pub(crate) fn own_name(fd: i32) -> String {
    name(libc::SYS_getsockname, fd)
}

pub(crate) fn peer_name(fd: i32) -> String {
    name(libc::SYS_getpeername, fd)
}

pub(crate) fn set(fd: i32, option: i32, value: i32) -> i64 {
    call!(SYS_setsockopt, fd, SOL, option, &raw const value, 4)
}

pub(crate) fn get(fd: i32, option: i32) -> i64 {
    let (mut value, mut len) = (-77i32, 4i32);
    match call!(SYS_getsockopt, fd, SOL, option, &raw mut value, &raw mut len) {
        0 => value.into(),
        error => error,
    }
}

/// Sets a timeout option.
pub(crate) fn timeout(fd: i32, option: i32, milliseconds: i64) -> i64 {
    let time = [milliseconds / 1000, milliseconds % 1000 * 1000];
    call!(SYS_setsockopt, fd, SOL, option, time.as_ptr(), 16)
}

pub(crate) const ALL_EVENTS: i16 = 0x1 | 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x2000;

/// What poll says now.
pub(crate) fn poll(fd: i32, events: i16, milliseconds: i32) -> String {
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    let ready = call!(SYS_poll, &raw mut entry, 1, milliseconds);
    const NAMES: [(i16, &str); 10] = [
        (1, "IN"),
        (2, "PRI"),
        (4, "OUT"),
        (8, "ERR"),
        (0x10, "HUP"),
        (0x20, "NVAL"),
        (0x40, "RDNORM"),
        (0x100, "WRNORM"),
        (0x200, "WRBAND"),
        (0x2000, "RDHUP"),
    ];
    let words: Vec<&str> =
        NAMES.iter().filter(|(bit, _)| entry.revents & bit != 0).map(|(_, name)| *name).collect();
    format!("{ready} {}", words.join(" "))
}

/// Sends as much as fits without blocking; gives calls and bytes.
pub(crate) fn fill(fd: i32, bytes: &[u8]) -> (i64, i64) {
    let (mut calls, mut sent) = (0, 0);
    loop {
        match send(fd, bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) {
            got if got >= 0 && calls < 100_000 => {
                calls += 1;
                sent += got;
            }
            _ => return (calls, sent),
        }
    }
}

pub(crate) const CASES: &[Case] = &[
    case("unix/socket-types", &["socket"], |out| {
        for kind in 0..12 {
            out.ok(&format!("type {kind}"), socket(kind).into());
        }
        out.ret("negative type", socket(-1).into());
        out.ret("bad flag", socket(STREAM | 0x1000).into());
        for protocol in [1, 2, -1, 17] {
            out.ok(&format!("protocol {protocol}"), call!(SYS_socket, libc::AF_UNIX, STREAM, protocol));
        }
    }),
    case("unix/socket-raw-is-datagram", &["socket", "getsockopt"], |out| {
        out.ret("type", get(socket(libc::SOCK_RAW), libc::SO_TYPE));
    }),
    case("unix/socket-families", &["socket", "socketpair"], |out| {
        for family in [-1, 0, 46, 47, 1000] {
            out.ok(&format!("family {family}"), call!(SYS_socket, family, STREAM, 0));
        }
        let mut fds = [0i32; 2];
        out.ret("pair of family 46", call!(SYS_socketpair, 46, STREAM, 0, fds.as_mut_ptr()));
        out.ret("family 46, bad type", call!(SYS_socket, 46, 99, 0));
    }),
    case("unix/socket-flags", &["socket", "fcntl"], |out| {
        for flags in [0, NONBLOCK, libc::SOCK_CLOEXEC, NONBLOCK | libc::SOCK_CLOEXEC] {
            let fd = socket(STREAM | flags);
            out.ret("descriptor", call!(SYS_fcntl, fd, libc::F_GETFD, 0));
            out.ret("status", call!(SYS_fcntl, fd, libc::F_GETFL, 0));
        }
    }),
    case("unix/socketpair-errors", &["socketpair"], |out| {
        let mut fds = [0i32; 2];
        for (what, family, kind, protocol) in [
            ("type", 1, 4, 0),
            ("flags", 1, STREAM | 0x100, 0),
            ("protocol", 1, STREAM, 5),
            ("family", 99, 1, 0),
        ] {
            out.ret(what, call!(SYS_socketpair, family, kind, protocol, fds.as_mut_ptr()));
        }
        out.ret("bad address", call!(SYS_socketpair, 1, STREAM, 0, 8));
        out.ok("next descriptor is free", i64::from(socket(STREAM) == sys::pipe().0 - 1));
    }),
    case("unix/socketpair-flags", &["socketpair", "fcntl"], |out| {
        let (a, b) = pair(SEQ | NONBLOCK | libc::SOCK_CLOEXEC);
        for fd in [a, b] {
            out.ret("descriptor", call!(SYS_fcntl, fd, libc::F_GETFD, 0));
            out.ret("status", call!(SYS_fcntl, fd, libc::F_GETFL, 0));
        }
    }),
    case("unix/not-a-socket", &["bind", "listen", "getsockopt", "sendmsg"], |out| {
        let (pipe, _) = sys::pipe();
        for (what, fd) in [("pipe", pipe), ("closed", 999), ("negative", -1)] {
            out.ret(what, bind(fd, "x"));
            out.ret(what, connect(fd, "x"));
            out.ret(what, listen(fd, 1));
            out.ret(what, accept(fd));
            out.ret(what, send(fd, b"x", 0));
            out.say(recv(fd, 1, 0));
            out.ret(what, call!(SYS_shutdown, fd, 0));
            out.ret(what, get(fd, libc::SO_TYPE));
            out.ret(what, set(fd, libc::SO_REUSEADDR, 1));
            out.say(own_name(fd));
            out.say(peer_name(fd));
            out.ret(what, call!(SYS_sendmsg, fd, 0, 0));
            out.ret(what, call!(SYS_recvmsg, fd, 0, 0));
        }
    }),
    case("unix/fstat", &["fstat", "fstatfs", "fchmod"], |out| {
        let fd = socket(STREAM);
        let mut stat = [0u64; 18];
        out.ret("fstat", call!(SYS_fstat, fd, stat.as_mut_ptr()));
        out.say(format_args!("mode {:o} links {} size {}", stat[3] as u32, stat[2], stat[6]));
        let mut fs = [0u64; 15];
        out.ret("fstatfs", call!(SYS_fstatfs, fd, fs.as_mut_ptr()));
        out.say(format_args!("type {:x}", fs[0]));
        out.ret("fchmod", call!(SYS_fchmod, fd, 0o600));
        call!(SYS_fstat, fd, stat.as_mut_ptr());
        out.say(format_args!("mode {:o}", stat[3] as u32));
    }),
    case("unix/proc-fd", &["readlink", "open"], |out| {
        let fd = socket(STREAM);
        let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        let mut stat = [0u64; 18];
        call!(SYS_fstat, fd, stat.as_mut_ptr());
        out.say(link.to_string_lossy() == format!("socket:[{}]", stat[1]));
        out.ret("open", call!(SYS_open, sys::c(&format!("/proc/self/fd/{fd}")), libc::O_RDWR));
    }),
    case("unix/lseek-and-others", &["lseek", "pread64", "pwrite64", "ftruncate", "fsync"], |out| {
        let (a, _) = pair(STREAM);
        let mut bytes = [0u8; 4];
        out.ret("lseek", call!(SYS_lseek, a, 0, 0));
        out.ret("pread", call!(SYS_pread64, a, bytes.as_mut_ptr(), 4, 0));
        out.ret("pwrite", call!(SYS_pwrite64, a, bytes.as_ptr(), 4, 0));
        out.ret("ftruncate", call!(SYS_ftruncate, a, 0));
        out.ret("fsync", call!(SYS_fsync, a));
        out.ret("mmap", call!(SYS_mmap, 0, 4096, 1, 1, a, 0));
        out.ret("fallocate", call!(SYS_fallocate, a, 0, 0, 10));
    }),
    case("unix/option-facts", &["getsockopt"], |out| {
        for (name, kind) in KINDS {
            let fd = socket(kind);
            for option in
                [libc::SO_TYPE, libc::SO_DOMAIN, libc::SO_PROTOCOL, libc::SO_ERROR, libc::SO_ACCEPTCONN]
            {
                out.ret(&format!("{name} {option}"), get(fd, option));
                out.ret("set", set(fd, option, 1));
            }
        }
        out.ret("protocol 1", get(call!(SYS_socket, 1, STREAM, 1) as i32, libc::SO_PROTOCOL));
    }),
    case("unix/option-buffers", &["setsockopt", "getsockopt"], |out| {
        let fd = socket(STREAM);
        for option in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
            out.ret("default", get(fd, option));
            for value in [0, 1, 2000, 4096, 100_000, 212_992, 212_993, 1 << 30, -1] {
                out.ret("set", set(fd, option, value));
                out.ret(&format!("after {value}"), get(fd, option));
            }
        }
    }),
    case("unix/option-buffers-forced", &["setsockopt"], |out| {
        let fd = socket(STREAM);
        for (force, option) in
            [(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF), (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)]
        {
            call!(SYS_setresuid, -1, 1000, -1);
            out.ret("as a user", set(fd, force, 1 << 20));
            out.ret("still", get(fd, option));
            call!(SYS_setresuid, -1, 0, -1);
        }
        out.ret("reading it", get(fd, libc::SO_SNDBUFFORCE));
    }),
    case("unix/option-flags", &["setsockopt", "getsockopt"], |out| {
        let fd = socket(DGRAM);
        for option in [
            libc::SO_REUSEADDR,
            libc::SO_DONTROUTE,
            libc::SO_BROADCAST,
            libc::SO_KEEPALIVE,
            libc::SO_OOBINLINE,
            libc::SO_PASSCRED,
        ] {
            out.ret(&format!("option {option}"), get(fd, option));
            out.ret("set 5", set(fd, option, 5));
            out.ret("is", get(fd, option));
            out.ret("set 0", set(fd, option, 0));
            out.ret("is", get(fd, option));
        }
    }),
    case("unix/option-timeouts", &["setsockopt", "getsockopt"], |out| {
        let fd = socket(STREAM);
        for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
            for (sec, usec) in [
                (0, 0),
                (1, 500_000),
                (0, 1),
                (0, 4000),
                (0, 4001),
                (3, 999_999),
                (-1, 0),
                (0, -1),
                (0, 1_000_000),
            ] {
                let time = [sec as i64, usec as i64];
                out.ret(
                    &format!("set {sec} {usec}"),
                    call!(SYS_setsockopt, fd, SOL, option, time.as_ptr(), 16),
                );
                let (mut now, mut len) = ([7i64; 2], 16i32);
                call!(SYS_getsockopt, fd, SOL, option, now.as_mut_ptr(), &raw mut len);
                out.say(format_args!("{now:?} {len}"));
            }
            out.ret("short", call!(SYS_setsockopt, fd, SOL, option, [0i64; 2].as_ptr(), 8));
        }
    }),
    case("unix/option-linger", &["setsockopt", "getsockopt"], |out| {
        let fd = socket(STREAM);
        for value in [[1i32, 5], [0, 9], [1, 0]] {
            out.ret("set", call!(SYS_setsockopt, fd, SOL, libc::SO_LINGER, value.as_ptr(), 8));
            let (mut now, mut len) = ([7i32; 2], 8i32);
            call!(SYS_getsockopt, fd, SOL, libc::SO_LINGER, now.as_mut_ptr(), &raw mut len);
            out.say(format_args!("{now:?} {len}"));
        }
        out.ret("short", set(fd, libc::SO_LINGER, 1));
    }),
    case("unix/option-lengths", &["setsockopt", "getsockopt"], |out| {
        let fd = socket(STREAM);
        let value = 1i32;
        for len in [0, 1, 3, 5, 100] {
            out.ret(
                &format!("set {len}"),
                call!(SYS_setsockopt, fd, SOL, libc::SO_REUSEADDR, &raw const value, len),
            );
        }
        out.ret("negative", call!(SYS_setsockopt, fd, SOL, libc::SO_REUSEADDR, &raw const value, -1));
        out.ret("bad address", call!(SYS_setsockopt, fd, SOL, libc::SO_REUSEADDR, 8, 4));
        for space in [0, 1, 2, 4, 8] {
            let (mut bytes, mut len) = ([0xffu8; 8], space);
            out.ret("get", call!(SYS_getsockopt, fd, SOL, libc::SO_TYPE, bytes.as_mut_ptr(), &raw mut len));
            out.say(format_args!("{bytes:?} {len}"));
        }
        let mut len = -1i32;
        out.ret("negative", call!(SYS_getsockopt, fd, SOL, libc::SO_TYPE, 8, &raw mut len));
        len = 4;
        out.ret("bad address", call!(SYS_getsockopt, fd, SOL, libc::SO_TYPE, 8, &raw mut len));
        out.ret("bad length", call!(SYS_getsockopt, fd, SOL, libc::SO_TYPE, 8, 8));
    }),
    case("unix/option-unknown", &["setsockopt", "getsockopt"], |out| {
        let fd = socket(STREAM);
        out.ret("set", set(fd, 999, 1));
        out.ret("get", get(fd, 999));
        for level in [0, 6, 41, 280] {
            let (mut value, mut len) = (1i32, 4i32);
            out.ret("level", call!(SYS_setsockopt, fd, level, 1, &raw const value, 4));
            out.ret("level", call!(SYS_getsockopt, fd, level, 1, &raw mut value, &raw mut len));
        }
        out.ret("low water of sends", get(fd, libc::SO_SNDLOWAT));
        out.ret("set it", set(fd, libc::SO_SNDLOWAT, 1));
        for value in [5, 0, -1] {
            out.ret("low water", set(fd, libc::SO_RCVLOWAT, value));
            out.ret("is", get(fd, libc::SO_RCVLOWAT));
        }
    }),
    case("unix/option-priority-mark", &["setsockopt", "getsockopt"], |out| {
        let fd = socket(STREAM);
        call!(SYS_setresuid, -1, 1000, -1);
        for value in [0, 6, 7, -1] {
            out.ret("priority", set(fd, libc::SO_PRIORITY, value));
            out.ret("is", get(fd, libc::SO_PRIORITY));
        }
        out.ret("mark", set(fd, libc::SO_MARK, 1));
        out.ret("debug", set(fd, libc::SO_DEBUG, 1));
        out.ret("no debug", set(fd, libc::SO_DEBUG, 0));
    }),
    case("unix/option-peercred", &["getsockopt"], |out| {
        let show = |out: &mut Out, what: &str, fd: i32, pid: i32| {
            let (mut cred, mut len) = ([7i32; 3], 12i32);
            out.ret(what, call!(SYS_getsockopt, fd, SOL, libc::SO_PEERCRED, cred.as_mut_ptr(), &raw mut len));
            out.say(format_args!("mine {} none {} ids {:?} {len}", cred[0] == pid, cred[0] == 0, &cred[1..]));
        };
        show(out, "unconnected", socket(STREAM), sys::getpid());
        for (name, kind) in KINDS {
            show(out, name, pair(kind).0, sys::getpid());
        }
        out.ret("set", set(socket(STREAM), libc::SO_PEERCRED, 1));
        let server = listener(STREAM, "s", 4);
        let child = sys::fork(|| {
            call!(SYS_setresgid, 55, 56, 57);
            call!(SYS_setresuid, 1000, 0, 1002);
            let fd = socket(STREAM);
            (connect(fd, "s") != 0).into()
        });
        out.say(sys::status(sys::wait(child)));
        show(out, "accepted", accept(server) as i32, child);
        show(out, "listening", server, sys::getpid());
    }),
    case("unix/option-peergroups", &["getsockopt"], |out| {
        let groups = [5u32, 9, 70_000];
        call!(SYS_setgroups, 3, groups.as_ptr());
        let (a, _) = pair(STREAM);
        for space in [0, 4, 12, 40] {
            let (mut got, mut len) = ([7u32; 10], space);
            out.ret("get", call!(SYS_getsockopt, a, SOL, 59, got.as_mut_ptr(), &raw mut len));
            out.say(format_args!("{got:?} {len}"));
        }
        let mut len = 40i32;
        out.ret(
            "unconnected",
            call!(SYS_getsockopt, socket(STREAM), SOL, 59, [0u32; 10].as_mut_ptr(), &raw mut len),
        );
    }),
    case("unix/ioctl", &["ioctl"], |out| {
        for (name, kind) in KINDS {
            let (a, b) = pair(kind);
            send(a, b"abc", 0);
            send(a, b"defgh", 0);
            let mut value = -1i32;
            out.ret(name, call!(SYS_ioctl, b, libc::FIONREAD, &raw mut value));
            out.say(value);
            out.ret("out", call!(SYS_ioctl, a, libc::TIOCOUTQ, &raw mut value));
            out.say(value > 8);
            recv(b, 2, 0);
            out.ret(name, call!(SYS_ioctl, b, libc::FIONREAD, &raw mut value));
            out.say(value);
            out.ret("bad address", call!(SYS_ioctl, b, libc::FIONREAD, 8));
            out.ret("terminal's", call!(SYS_ioctl, b, libc::TCGETS, &raw mut value));
        }
        let mut value = -1i32;
        out.ret("listening", call!(SYS_ioctl, listener(STREAM, "l", 1), libc::FIONREAD, &raw mut value));
        let one = 1i32;
        let (a, _) = pair(STREAM);
        out.ret("FIONBIO", call!(SYS_ioctl, a, libc::FIONBIO, &raw const one));
        out.say(recv(a, 1, 0));
    }),
    case("unix/proc-net", &["read"], |out| {
        let name = format!("@case-proc-net-{}", sys::getpid());
        let _server = listener(SEQ, &name, 1);
        let text = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
        out.say(text.lines().next().unwrap_or_default());
        let line = text.lines().find(|line| line.ends_with(&name)).unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        out.say(words.len());
        out.say(format_args!("{:?}", words.get(2..6)));
    }),
    case("unix/descriptor-limit", &["socketpair", "accept"], |out| {
        let server = listener(STREAM, "s", 4);
        let client = socket(STREAM);
        out.ret("connect", connect(client, "s"));
        let limit = [i64::from(client) + 2; 2];
        call!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, limit.as_ptr(), 0);
        let mut fds = [0i32; 2];
        out.ret("pair", call!(SYS_socketpair, 1, STREAM, 0, fds.as_mut_ptr()));
        let last = socket(STREAM);
        out.say(last == client + 1);
        out.ret("socket", socket(STREAM).into());
        out.ret("accept", accept(server));
        sys::close(last);
        out.say(accept(server) == i64::from(last));
    }),
];
