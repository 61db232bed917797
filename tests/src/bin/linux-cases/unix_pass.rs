//! AF_UNIX control messages: descriptors and credentials; the message calls.

use crate::{
    Case, Out, case,
    sys::{self, call},
    unix::{self, DGRAM, KINDS, SEQ, STREAM, pair, recv, send, socket},
};

const RIGHTS: i32 = libc::SCM_RIGHTS;
const CREDENTIALS: i32 = libc::SCM_CREDENTIALS;
const DONTWAIT: i32 = libc::MSG_DONTWAIT;

/// One control message.
fn control(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = ((16 + data.len()) as u64).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&level.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn rights(fds: &[i32]) -> Vec<u8> {
    control(1, RIGHTS, &fds.iter().flat_map(|fd| fd.to_ne_bytes()).collect::<Vec<_>>())
}

fn credentials(ids: [i32; 3]) -> Vec<u8> {
    control(1, CREDENTIALS, &ids.iter().flat_map(|id| id.to_ne_bytes()).collect::<Vec<_>>())
}

fn sendmsg(fd: i32, bytes: &[u8], control: &[u8]) -> i64 {
    let piece = [bytes.as_ptr() as u64, bytes.len() as u64];
    let header = [0u64, 0, piece.as_ptr() as u64, 1, control.as_ptr() as u64, control.len() as u64, 0];
    call!(SYS_sendmsg, fd, header.as_ptr(), libc::MSG_NOSIGNAL | DONTWAIT)
}

/// What a recvmsg gave.
struct Got {
    ret: i64,
    bytes: Vec<u8>,
    flags: u64,
    used: u64,
    control: Vec<u8>,
}

fn recvmsg(fd: i32, len: usize, space: usize, flags: i32) -> Got {
    let (mut bytes, mut control) = (vec![0u8; len], vec![0u8; space]);
    let piece = [bytes.as_mut_ptr() as u64, len as u64];
    let at = if space == 0 { 0 } else { control.as_mut_ptr() as u64 };
    let mut header = [0u64, 0, piece.as_ptr() as u64, 1, at, space as u64, 0];
    let ret = call!(SYS_recvmsg, fd, header.as_mut_ptr(), flags | DONTWAIT);
    bytes.truncate(ret.max(0) as usize);
    Got { ret, bytes, flags: header[6] & 0xffff_ffff, used: header[5], control }
}

fn word(bytes: &[u8], at: usize) -> i32 {
    bytes.get(at..at + 4).map_or(-1, |word| i32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
}

/// Descriptors among control messages.
fn fds(got: &Got) -> Vec<i32> {
    let mut all = Vec::new();
    let mut at = 0;
    while at + 16 <= got.used as usize {
        let len = word(&got.control, at) as usize;
        if word(&got.control, at + 12) == RIGHTS {
            all.extend((at + 16..at + len).step_by(4).map(|at| word(&got.control, at)));
        }
        at += len.next_multiple_of(8).max(16);
    }
    all
}

/// Says what came: of control messages lengths, levels, types; of credentials who.
fn say(out: &mut Out, what: &str, got: &Got) {
    out.ret(what, got.ret);
    out.say(format_args!(
        "{:?} flags {:#x} control {}",
        String::from_utf8_lossy(&got.bytes),
        got.flags,
        got.used
    ));
    if got.ret < 0 {
        // What the kernel wrote before it failed is nobody's business.
        return;
    }
    let mut at = 0;
    while at + 16 <= got.used as usize {
        let (len, level, kind) =
            (word(&got.control, at), word(&got.control, at + 8), word(&got.control, at + 12));
        let mut line = format!("  {len} level {level} type {kind}");
        if kind == CREDENTIALS {
            let ids = [word(&got.control, at + 16), word(&got.control, at + 20), word(&got.control, at + 24)];
            line += &format!(" own {} none {} ids {:?}", ids[0] == sys::getpid(), ids[0] == 0, &ids[1..]);
        }
        out.say(line);
        at += (len as usize).next_multiple_of(8).max(16);
    }
}

pub(crate) const CASES: &[Case] = &[
    case("unix/rights-pass", &["sendmsg", "recvmsg"], |out| {
        for (what, kind) in KINDS {
            let (a, b) = pair(kind);
            let (from, to) = sys::pipe();
            out.ret("send", sendmsg(a, b"x", &rights(&[to])));
            sys::close(to);
            let got = recvmsg(b, 9, 64, 0);
            say(out, what, &got);
            out.ret("write", sys::write(fds(&got)[0], b"through"));
            let mut bytes = [0; 9];
            out.ret("read", sys::read(from, &mut bytes));
            out.ret("flags", call!(SYS_fcntl, fds(&got)[0], libc::F_GETFD, 0));
        }
    }),
    case("unix/rights-cloexec", &["recvmsg"], |out| {
        let (a, b) = pair(STREAM);
        sendmsg(a, b"x", &rights(&[a]));
        let got = recvmsg(b, 9, 64, libc::MSG_CMSG_CLOEXEC);
        say(out, "receive", &got);
        out.ret("flags", call!(SYS_fcntl, fds(&got)[0], libc::F_GETFD, 0));
    }),
    case("unix/rights-share-the-description", &["sendmsg", "lseek"], |out| {
        let (a, b) = pair(STREAM);
        assert!(std::fs::write("file", "abcdef").is_ok(), "a file");
        let file = call!(SYS_open, sys::c("file"), libc::O_RDONLY) as i32;
        sendmsg(a, b"x", &rights(&[file, file]));
        let got = recvmsg(b, 9, 64, 0);
        let fds = fds(&got);
        out.say(fds.len());
        sys::read(fds[0], &mut [0; 3]);
        out.ret("position", call!(SYS_lseek, file, 0, 1));
        out.ret("position", call!(SYS_lseek, fds[1], 0, 1));
    }),
    case("unix/rights-errors", &["sendmsg"], |out| {
        let (a, b) = pair(STREAM);
        out.ret("closed", sendmsg(a, b"x", &rights(&[999])));
        out.ret("negative", sendmsg(a, b"x", &rights(&[-1])));
        out.ret("one of two", sendmsg(a, b"x", &rights(&[a, 999])));
        out.ret("none", sendmsg(a, b"x", &rights(&[])));
        out.ret("odd length", sendmsg(a, b"x", &control(1, RIGHTS, &[9, 0])));
        out.ret("most", sendmsg(a, b"x", &rights(&[a; 253])));
        out.ret("too many", sendmsg(a, b"x", &rights(&[a; 254])));
        out.ret("too many in two", sendmsg(a, b"x", &[rights(&[a; 200]), rights(&[a; 54])].concat()));
        out.ret("path only", sendmsg(a, b"x", &rights(&[call!(SYS_open, sys::c("."), libc::O_PATH) as i32])));
        out.say(recv(b, 99, DONTWAIT));
        out.say(recv(b, 99, DONTWAIT));
        out.say(recv(b, 99, DONTWAIT));
    }),
    case("unix/control-errors", &["sendmsg"], |out| {
        let (a, _b) = pair(STREAM);
        for len in [0u8, 1, 15, 16, 20, 24, 25, 200] {
            let mut bytes = rights(&[a, a]);
            bytes[0] = len;
            out.ret(&format!("length {len}"), sendmsg(a, b"x", &bytes));
        }
        out.ret("unknown type", sendmsg(a, b"x", &control(1, 99, &[0; 4])));
        out.ret("other level", sendmsg(a, b"x", &control(6, 1, &[0; 4])));
        out.ret("short", sendmsg(a, b"x", &[1; 15]));
        out.ret("two", sendmsg(a, b"x", &[rights(&[a]), rights(&[a])].concat()));
        for (at, len) in [(8u64, 24u64), (0, 24), (8, 0), (8, 1 << 32), (8, 1 << 20)] {
            let piece = [b"x".as_ptr() as u64, 1];
            let header = [0u64, 0, piece.as_ptr() as u64, 1, at, len, 0];
            out.ret("control", call!(SYS_sendmsg, a, header.as_ptr(), DONTWAIT));
        }
    }),
    case("unix/rights-cut", &["recvmsg"], |out| {
        for space in [0, 8, 16, 19, 20, 24, 28, 32, 100] {
            let (a, b) = pair(STREAM);
            sendmsg(a, b"x", &rights(&[a, a, a]));
            let got = recvmsg(b, 9, space, 0);
            say(out, &format!("space {space}"), &got);
            out.say(fds(&got).len());
        }
    }),
    case("unix/rights-cut-are-closed", &["recvmsg", "recvfrom", "read"], |out| {
        for how in 0..4 {
            let (a, b) = pair(STREAM);
            let (from, to) = sys::pipe();
            sendmsg(a, b"x", &rights(&[to]));
            sys::close(to);
            match how {
                0 => drop(recvmsg(b, 9, 16, 0)),
                1 => drop(recv(b, 9, 0)),
                2 => drop(sys::read(b, &mut [0; 9])),
                _ => drop(sys::close(b)),
            }
            out.say(unix::poll(from, unix::ALL_EVENTS, 500));
        }
    }),
    case("unix/rights-descriptor-limit", &["recvmsg"], |out| {
        let (a, b) = pair(STREAM);
        sendmsg(a, b"x", &rights(&[a, a, a]));
        let limit = [i64::from(socket(STREAM)) + 3; 2];
        call!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, limit.as_ptr(), 0);
        let got = recvmsg(b, 9, 64, 0);
        say(out, "receive", &got);
        out.say(fds(&got).len());
    }),
    case("unix/rights-bound-streams", &["recvmsg"], |out| {
        let (a, b) = pair(STREAM);
        send(a, b"ab", 0);
        sendmsg(a, b"cd", &rights(&[a]));
        send(a, b"ef", 0);
        sendmsg(a, b"gh", &rights(&[a]));
        sendmsg(a, b"ij", &rights(&[a]));
        for _ in 0..5 {
            let got = recvmsg(b, 3, 64, 0);
            say(out, "three", &got);
        }
        sendmsg(a, b"kl", &rights(&[a]));
        send(a, b"mn", 0);
        say(out, "all", &recvmsg(b, 99, 64, 0));
        say(out, "all", &recvmsg(b, 99, 64, 0));
    }),
    case("unix/rights-peek", &["recvmsg"], |out| {
        for (what, kind) in KINDS {
            let (a, b) = pair(kind);
            sendmsg(a, b"abc", &rights(&[a]));
            send(a, b"d", 0);
            say(out, what, &recvmsg(b, 9, 64, libc::MSG_PEEK));
            say(out, what, &recvmsg(b, 9, 64, libc::MSG_PEEK));
            say(out, what, &recvmsg(b, 9, 64, 0));
            say(out, what, &recvmsg(b, 9, 64, 0));
        }
    }),
    case("unix/rights-without-bytes", &["sendmsg"], |out| {
        for (what, kind) in KINDS {
            let (a, b) = pair(kind);
            out.ret(what, sendmsg(a, b"", &rights(&[a])));
            say(out, what, &recvmsg(b, 9, 64, 0));
        }
    }),
    case("unix/rights-of-the-socket-itself", &["sendmsg", "close"], |out| {
        let (from, to) = sys::pipe();
        for round in 0..3 {
            let (a, b) = pair(STREAM);
            out.ret("send", sendmsg(a, b"x", &rights(&[b, to])));
            if round == 1 {
                sendmsg(b, b"x", &rights(&[a]));
            }
            sys::close(a);
            sys::close(b);
        }
        sys::close(to);
        // Rings are looked for when sockets close.
        sys::close(socket(STREAM));
        out.say(unix::poll(from, unix::ALL_EVENTS, 5000));
    }),
    case("unix/rights-nested", &["sendmsg", "close"], |out| {
        let (from, to) = sys::pipe();
        let (mut a, mut b) = pair(STREAM);
        sendmsg(a, b"x", &rights(&[to]));
        sys::close(to);
        for _ in 0..500 {
            let (c, d) = pair(STREAM);
            sendmsg(c, b"x", &rights(&[a, b]));
            sys::close(a);
            sys::close(b);
            (a, b) = (c, d);
        }
        out.say(unix::poll(from, unix::ALL_EVENTS, 0));
        sys::close(a);
        sys::close(b);
        out.say(unix::poll(from, unix::ALL_EVENTS, 5000));
    }),
    case("unix/rights-to-a-child", &["sendmsg", "recvmsg"], |out| {
        let (a, b) = pair(SEQ);
        let (from, to) = sys::pipe();
        let child = sys::fork(|| {
            sys::close(from);
            sys::close(to);
            sys::close(a);
            loop {
                let got = recvmsg(b, 9, 64, 0);
                if got.ret >= 0 {
                    return (sys::write(fds(&got)[0], b"child") != 5).into();
                }
                sys::sleep_ms(5);
            }
        });
        sendmsg(a, b"x", &rights(&[to]));
        out.say(sys::status(sys::wait(child)));
        let mut bytes = [0; 9];
        out.ret("read", sys::read(from, &mut bytes));
    }),
    case("unix/credentials", &["sendmsg", "recvmsg"], |out| {
        for (what, kind) in KINDS {
            let (a, b) = pair(kind);
            send(a, b"before", 0);
            unix::set(b, libc::SO_PASSCRED, 1);
            say(out, what, &recvmsg(b, 9, 64, 0));
            send(a, b"after", 0);
            say(out, what, &recvmsg(b, 9, 64, 0));
            sendmsg(a, b"given", &credentials([1, 5, 6]));
            say(out, what, &recvmsg(b, 9, 64, 0));
            sendmsg(a, b"both", &[credentials([sys::getpid(), 0, 0]), rights(&[a])].concat());
            say(out, what, &recvmsg(b, 9, 64, 0));
            sendmsg(a, b"cut", &credentials([sys::getpid(), 0, 0]));
            say(out, what, &recvmsg(b, 9, 20, 0));
            send(a, b"no room", 0);
            say(out, what, &recvmsg(b, 9, 0, 0));
            unix::set(b, libc::SO_PASSCRED, 0);
            sendmsg(a, b"unseen", &credentials([1, 5, 6]));
            say(out, what, &recvmsg(b, 9, 64, 0));
        }
    }),
    case("unix/credentials-bound-streams", &["recvmsg"], |out| {
        let (a, b) = pair(STREAM);
        unix::set(b, libc::SO_PASSCRED, 1);
        send(a, b"ab", 0);
        send(a, b"cd", 0);
        sendmsg(a, b"ef", &credentials([1, 5, 6]));
        sendmsg(a, b"gh", &credentials([1, 5, 6]));
        sendmsg(a, b"ij", &credentials([1, 5, 7]));
        for _ in 0..3 {
            say(out, "receive", &recvmsg(b, 99, 64, 0));
        }
    }),
    case("unix/credentials-refused", &["sendmsg"], |out| {
        let (a, b) = pair(DGRAM);
        unix::set(b, libc::SO_PASSCRED, 1);
        out.ret("nobody's pid", sendmsg(a, b"x", &credentials([0x3fff_fff0, 0, 0])));
        out.ret("bad uid", sendmsg(a, b"x", &credentials([sys::getpid(), -1, 0])));
        out.ret("short", sendmsg(a, b"x", &control(1, CREDENTIALS, &[0; 8])));
        out.ret("long", sendmsg(a, b"x", &control(1, CREDENTIALS, &[0; 16])));
        call!(SYS_setresgid, 1000, 1001, 1002);
        call!(SYS_setresuid, 1000, 1001, 1002);
        let pid = sys::getpid();
        for ids in [
            [pid, 1000, 1000],
            [pid, 1001, 1002],
            [pid, 1002, 1001],
            [pid, 0, 1000],
            [pid, 1000, 0],
            [1, 1000, 1000],
            [0, 1000, 1000],
        ] {
            out.ret(&format!("{:?} {}", &ids[1..], ids[0] == pid), sendmsg(a, b"x", &credentials(ids)));
        }
        send(a, b"x", 0);
        for _ in 0..4 {
            say(out, "receive", &recvmsg(b, 9, 64, 0));
        }
    }),
    case("unix/msghdr-errors", &["sendmsg", "recvmsg"], |out| {
        let (a, b) = pair(STREAM);
        out.ret("header", call!(SYS_sendmsg, a, 8, 0));
        out.ret("header", call!(SYS_recvmsg, a, 8, 0));
        let piece = [b"x".as_ptr() as u64, 1];
        let base = [0u64, 0, piece.as_ptr() as u64, 1, 0, 0, 0];
        let with = |at: usize, value: u64| {
            let mut header = base;
            header[at] = value;
            header
        };
        for (what, header) in [
            ("pieces", with(3, 1025)),
            ("many pieces", with(3, u64::MAX)),
            ("bad pieces", with(2, 8)),
            ("no pieces", with(3, 0)),
            ("name without length", with(0, 8)),
            ("length without name", with(1, 16)),
        ] {
            out.ret(what, call!(SYS_sendmsg, a, header.as_ptr(), DONTWAIT));
            out.ret(what, call!(SYS_recvmsg, a, header.as_ptr(), DONTWAIT));
        }
        let mut header = base;
        (header[0], header[1]) = (8, 16);
        out.ret("bad name", call!(SYS_sendmsg, a, header.as_ptr(), DONTWAIT));
        header[1] = 0xffff_ffff;
        out.ret("negative length", call!(SYS_sendmsg, a, header.as_ptr(), DONTWAIT));
        out.ret("negative length", call!(SYS_recvmsg, a, header.as_ptr(), DONTWAIT));
        let huge = [b"x".as_ptr() as u64, u64::MAX];
        let header = [0u64, 0, huge.as_ptr() as u64, 1, 0, 0, 0];
        out.ret("huge piece", call!(SYS_sendmsg, a, header.as_ptr(), DONTWAIT));
        out.say(recv(b, 99, DONTWAIT));
    }),
    case("unix/msghdr-name", &["recvmsg", "sendmsg"], |out| {
        let to = socket(DGRAM);
        unix::bind(to, "to");
        let from = socket(DGRAM);
        unix::bind(from, "from");
        let name = unix::address("to");
        let piece = [b"abc".as_ptr() as u64, 3];
        let header = [name.as_ptr() as u64, name.len() as u64, piece.as_ptr() as u64, 1, 0, 0, 0];
        for _ in 0..3 {
            out.ret("send", call!(SYS_sendmsg, from, header.as_ptr(), 0));
        }
        for space in [128u64, 4, 0] {
            let (mut bytes, mut name) = ([0u8; 2], [0xffu8; 12]);
            let piece = [bytes.as_mut_ptr() as u64, 2];
            let mut header = [name.as_mut_ptr() as u64, space, piece.as_ptr() as u64, 1, 0, 0, 0xdead];
            out.ret("receive", call!(SYS_recvmsg, to, header.as_mut_ptr(), 0));
            out.say(format_args!("{bytes:?} {name:?} {} flags {:#x}", header[1] as u32, header[6] as u32));
        }
    }),
    case("unix/sendmmsg", &["sendmmsg", "recvmmsg"], |out| {
        let (a, b) = pair(DGRAM);
        let texts = [&b"one"[..], b"three", b""];
        let pieces = texts.map(|text| [text.as_ptr() as u64, text.len() as u64]);
        let mut headers = [[0u64; 8]; 3];
        for (header, piece) in headers.iter_mut().zip(&pieces) {
            (header[2], header[3]) = (piece.as_ptr() as u64, 1);
        }
        out.ret("send", call!(SYS_sendmmsg, a, headers.as_mut_ptr(), 3, 0));
        out.say(format_args!("{:?}", headers.map(|header| header[7])));
        let mut bytes = [[0u8; 4]; 4];
        let places: Vec<[u64; 2]> = bytes.iter_mut().map(|bytes| [bytes.as_mut_ptr() as u64, 4]).collect();
        let mut headers = [[0u64; 8]; 4];
        for (header, place) in headers.iter_mut().zip(&places) {
            (header[2], header[3]) = (place.as_ptr() as u64, 1);
        }
        out.ret("receive", call!(SYS_recvmmsg, b, headers.as_mut_ptr(), 4, 0x10000, 0));
        out.say(format_args!("{:?}", headers.map(|header| (header[7], header[6]))));
        out.say(format_args!("{bytes:?}"));
        out.ret("nothing", call!(SYS_recvmmsg, b, headers.as_mut_ptr(), 4, DONTWAIT, 0));
        out.ret("none", call!(SYS_recvmmsg, b, headers.as_mut_ptr(), 0, DONTWAIT, 0));
        out.ret("bad array", call!(SYS_sendmmsg, a, 8, 1, 0));
        let time = [0i64, -1];
        out.ret("bad time", call!(SYS_recvmmsg, b, headers.as_mut_ptr(), 1, 0, time.as_ptr()));
        out.ret("not a socket", call!(SYS_sendmmsg, 999, headers.as_mut_ptr(), 1, 0));
        let (_, pipe) = sys::pipe();
        out.ret("a pipe", call!(SYS_sendmmsg, pipe, headers.as_mut_ptr(), 1, 0));
    }),
    case("unix/sendfile", &["sendfile"], |out| {
        assert!(std::fs::write("file", "contents").is_ok(), "a file");
        let file = call!(SYS_open, sys::c("file"), libc::O_RDONLY);
        let (a, b) = pair(STREAM);
        out.ret("sendfile", call!(SYS_sendfile, a, file, 0, 99));
        out.say(recv(b, 99, 0));
    }),
    case("unix/exec-closes", &["execve"], |out| {
        let (a, b) = pair(STREAM | libc::SOCK_CLOEXEC);
        let child = sys::fork(|| sys::exec_self(&["exit", "3"]) as i32);
        sys::close(a);
        out.say(sys::status(sys::wait(child)));
        out.say(recv(b, 4, 0));
    }),
];
