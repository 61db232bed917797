//! UDP on the loopback: messages, who sent them, and what came of those that nobody took.

use crate::{
    Case, Out, case,
    inet::{
        DGRAM, FAMILIES, LO, NOW, bind, bound, connect, error, events, get, lo, name, peer, poll, port, recv,
        recv_from, send, send_to, set, shutdown, socket, v4, v6,
    },
    sys::{self, call},
};

const SOL: i32 = libc::SOL_SOCKET;

fn to_and_fro(out: &mut Out) {
    for (_, six) in FAMILIES {
        let (server, port) = bound(six, DGRAM);
        let client = socket(six, DGRAM);
        out.ret("send", send_to(client, b"hello", 0, &lo(six, port)));
        out.say(name(client));
        out.say(poll(server, 5000));
        let (text, from) = recv_from(server, 9, 0);
        out.say(text);
        out.ret("answer", send_to(server, b"you too", 0, &from));
        out.say(recv_from(client, 9, 0).0);
        out.say(recv(client, 9, NOW));
        out.say(format_args!("{} {}", peer(client), events(client)));
    }
}

fn sizes(out: &mut Out) {
    let (server, port) = bound(false, DGRAM);
    let client = socket(false, DGRAM);
    let to = lo(false, port);
    out.ret("empty", send_to(client, b"", 0, &to));
    out.say(poll(server, 5000));
    out.say(recv(server, 9, 0));
    send_to(client, b"abcdef", 0, &to);
    out.say(recv(server, 3, libc::MSG_PEEK));
    out.say(recv(server, 3, libc::MSG_PEEK | libc::MSG_TRUNC));
    out.say(recv(server, 3, libc::MSG_TRUNC));
    out.say(recv(server, 3, NOW));
    let big = vec![b'x'; 70_000];
    for len in [1472, 9000, 65_507, 65_508, 70_000] {
        out.ret(&format!("{len}"), send_to(client, &big[..len], 0, &to));
    }
    for _ in 0..3 {
        let mut bytes = vec![0; 70_000];
        out.ret("got", sys::read(server, &mut bytes));
    }
    let (server, port) = bound(true, DGRAM);
    let client = socket(true, DGRAM);
    for len in [65_507, 65_527, 65_528] {
        out.ret(&format!("IPv6 {len}"), send_to(client, &big[..len], 0, &lo(true, port)));
    }
    let mut bytes = vec![0; 70_000];
    out.ret("got", sys::read(server, &mut bytes));
}

fn wrong_addresses(out: &mut Out) {
    let fd = socket(false, DGRAM);
    out.ret("none", send(fd, b"x", NOW));
    out.ret("short", send_to(fd, b"x", 0, &v4(LO, 9)[..15]));
    out.ret("port 0", send_to(fd, b"x", 0, &v4(LO, 0)));
    out.ret("IPv6", send_to(fd, b"x", 0, &v6("::1", 9)));
    let mut odd = v4(LO, 9);
    odd[0] = 0;
    out.ret("no family", send_to(fd, b"x", 0, &odd));
    odd[0] = 3;
    out.ret("a strange family", send_to(fd, b"x", 0, &odd));
    out.ret("out of band", send_to(fd, b"x", libc::MSG_OOB, &v4(LO, 9)));
    let fd = socket(true, DGRAM);
    out.ret("none", send(fd, b"x", NOW));
    out.ret("short", send_to(fd, b"x", 0, &v6("::1", 9)[..23]));
    out.ret("port 0", send_to(fd, b"x", 0, &v6("::1", 0)));
    out.ret("IPv4", send_to(fd, b"x", 0, &v4(LO, 9)));
    let fd = socket(true, DGRAM);
    set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1);
    out.ret("mapped", send_to(fd, b"x", 0, &v6("::ffff:127.0.0.1", 9)));
}

fn connected_ones(out: &mut Out) {
    for (_, six) in FAMILIES {
        let (server, port) = bound(six, DGRAM);
        let (client, own) = bound(six, DGRAM);
        out.ret("connect", connect(client, &lo(six, port)));
        out.say(format_args!("{} {}", name(client), peer(client)));
        let stranger = socket(six, DGRAM);
        send_to(stranger, b"stranger", 0, &lo(six, own));
        send_to(server, b"friend", 0, &lo(six, own));
        out.say(poll(client, 5000));
        out.say(recv(client, 20, NOW));
        out.say(recv(client, 20, NOW));
        out.ret("send", send(client, b"x", 0));
        out.say(recv(server, 9, 0));
        out.ret("elsewhere", send_to(client, b"y", 0, &lo(six, own)));
        out.ret("disconnect", connect(client, &[0, 0]));
        out.say(format_args!("{} {}", name(client), peer(client)));
        out.ret("send", send(client, b"x", 0));
    }
}

fn nobody_there(out: &mut Out) {
    for (_, six) in FAMILIES {
        let (gone, port) = bound(six, DGRAM);
        sys::close(gone);
        let client = socket(six, DGRAM);
        out.ret("send", send_to(client, b"x", 0, &lo(six, port)));
        out.say(format_args!("{} {}", events(client), error(client)));
        connect(client, &lo(six, port));
        out.ret("connected", send(client, b"x", 0));
        out.say(poll(client, 5000));
        out.say(recv(client, 9, NOW));
        out.say(recv(client, 9, NOW));
        send(client, b"x", 0);
        poll(client, 5000);
        out.ret("send", send(client, b"x", 0));
        out.say(error(client));
    }
}

/// Receives with control data: what came, in words.
fn receive(fd: i32, flags: i32, space: usize) -> String {
    let (mut bytes, mut name, mut control) = ([0u8; 64], [0u8; 64], [0u8; 256]);
    let iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 64 };
    let mut header = [
        name.as_mut_ptr() as u64,
        64,
        (&raw const iov) as u64,
        1,
        control.as_mut_ptr() as u64,
        space as u64,
        0,
    ];
    let got = call!(SYS_recvmsg, fd, header.as_mut_ptr(), flags);
    if got < 0 {
        return sys::errno_name(-got as u32);
    }
    let mut text = format!("{got} name {} flags {:#x}", header[1] as u32, header[6] as u32);
    let used = (header[5] as usize).min(256);
    let mut at = 0;
    while at + 16 <= used {
        let len = u64::from_ne_bytes(control[at..at + 8].try_into().unwrap_or_default()) as usize;
        let level = i32::from_ne_bytes(control[at + 8..at + 12].try_into().unwrap_or_default());
        let kind = i32::from_ne_bytes(control[at + 12..at + 16].try_into().unwrap_or_default());
        let mut data = control[at + 16..(at + len).clamp(at + 16, 256)].to_vec();
        // An error's offender and what it met differ in nothing but ports; times differ always.
        if (level, kind) == (SOL, 29) {
            data = vec![data.len() as u8];
        }
        text.push_str(&format!("; {level} {kind} {data:?}"));
        at += len.max(16).next_multiple_of(8);
    }
    text
}

fn told_of_packets(out: &mut Out) {
    let (server, port) = bound(false, DGRAM);
    for option in [libc::IP_PKTINFO, libc::IP_RECVTTL, libc::IP_RECVTOS] {
        out.ret("set", set(server, libc::IPPROTO_IP, option, 1));
    }
    set(server, SOL, libc::SO_TIMESTAMP, 1);
    let client = socket(false, DGRAM);
    set(client, libc::IPPROTO_IP, libc::IP_TTL, 9);
    set(client, libc::IPPROTO_IP, libc::IP_TOS, 0x10);
    for space in [256, 64, 20, 0] {
        send_to(client, b"x", 0, &lo(false, port));
        out.say(receive(server, 0, space));
    }
}

fn told_of_packets_v6(out: &mut Out) {
    let server = socket(true, DGRAM);
    bind(server, &v6("::", 0));
    for option in [libc::IPV6_RECVPKTINFO, 51, libc::IPV6_RECVTCLASS] {
        out.ret("set", set(server, libc::IPPROTO_IPV6, option, 1));
    }
    let client = socket(true, DGRAM);
    set(client, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, 7);
    set(client, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 0x20);
    send_to(client, b"x", 0, &lo(true, port(server)));
    out.say(receive(server, 0, 256));
    send_to(client, b"x", 0, &v6("::ffff:127.0.0.1", port(server)));
    out.say(receive(server, 0, 256));
}

/// A control message.
fn control(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + data.len() as u64).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&level.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn send_with(fd: i32, to: &[u8], control: &[u8]) -> i64 {
    let iov = libc::iovec { iov_base: b"x".as_ptr() as *mut _, iov_len: 1 };
    let header = [
        to.as_ptr() as u64,
        to.len() as u64,
        (&raw const iov) as u64,
        1,
        control.as_ptr() as u64,
        control.len() as u64,
        0,
    ];
    call!(SYS_sendmsg, fd, header.as_ptr(), 0)
}

fn saying_of_packets(out: &mut Out) {
    let (server, port) = bound(false, DGRAM);
    set(server, libc::IPPROTO_IP, libc::IP_RECVTTL, 1);
    let client = socket(false, DGRAM);
    let to = lo(false, port);
    out.ret("ttl", send_with(client, &to, &control(libc::IPPROTO_IP, libc::IP_TTL, &5i32.to_ne_bytes())));
    out.say(receive(server, 0, 64));
    let info = [0, 0, 0, 0, 127, 0, 0, 7, 0, 0, 0, 0];
    out.ret("source", send_with(client, &to, &control(libc::IPPROTO_IP, libc::IP_PKTINFO, &info)));
    out.say(recv_from(server, 9, 0).0);
    for (what, level, kind, data) in [
        ("ttl 0", libc::IPPROTO_IP, libc::IP_TTL, vec![0; 4]),
        ("ttl 256", libc::IPPROTO_IP, libc::IP_TTL, vec![0, 1, 0, 0]),
        ("short ttl", libc::IPPROTO_IP, libc::IP_TTL, vec![1]),
        ("unknown", libc::IPPROTO_IP, 99, vec![0; 4]),
        ("another level", 77, 1, vec![0; 4]),
        ("unknown of sockets", SOL, 99, vec![0; 4]),
        ("no such interface", libc::IPPROTO_IP, libc::IP_PKTINFO, [&[77, 0, 0, 0][..], &[0; 8]].concat()),
    ] {
        out.ret(what, send_with(client, &to, &control(level, kind, &data)));
    }
}

fn errors_queued(out: &mut Out) {
    for (_, six) in FAMILIES {
        let (gone, port) = bound(six, DGRAM);
        sys::close(gone);
        let client = socket(six, DGRAM);
        out.say(receive(client, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT, 256));
        if six {
            set(client, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1);
        } else {
            set(client, libc::IPPROTO_IP, libc::IP_RECVERR, 1);
        }
        out.ret("send", send_to(client, b"lost", 0, &lo(six, port)));
        out.say(poll(client, 5000));
        out.say(receive(client, libc::MSG_ERRQUEUE, 256));
        out.say(receive(client, libc::MSG_ERRQUEUE, 256));
        out.say(events(client));
    }
}

fn shut(out: &mut Out) {
    let (fd, _) = bound(false, DGRAM);
    out.ret("not connected", shutdown(fd, 2));
    out.say(events(fd));
    let (server, port) = bound(false, DGRAM);
    let fd = socket(false, DGRAM);
    connect(fd, &lo(false, port));
    out.ret("sending", shutdown(fd, 1));
    out.ret("send", send(fd, b"x", 0));
    out.ret("reading", shutdown(fd, 0));
    out.say(format_args!("{} {}", events(fd), recv(fd, 1, 0)));
    out.say(recv(fd, 1, NOW));
    out.say(recv(server, 1, NOW));
    out.ret("listen", call!(SYS_listen, fd, 1));
}

fn too_many(out: &mut Out) {
    let (server, port) = bound(false, DGRAM);
    set(server, SOL, libc::SO_RCVBUF, 4096);
    let client = socket(false, DGRAM);
    for _ in 0..100 {
        if send_to(client, &[b'x'; 500], 0, &lo(false, port)) != 500 {
            out.say("not sent");
        }
    }
    let mut count = 0;
    while recv(server, 600, NOW).starts_with("500") {
        count += 1;
    }
    out.say(format_args!("some came: {}, some were dropped: {}", count > 0, count < 100));
    out.ret("send", send_to(client, b"fits", 0, &lo(false, port)));
    out.say(recv(server, 9, 0));
}

fn who_gets_it(out: &mut Out) {
    let any = socket(false, DGRAM);
    set(any, SOL, libc::SO_REUSEADDR, 1);
    bind(any, &v4([0; 4], 0));
    let one = socket(false, DGRAM);
    set(one, SOL, libc::SO_REUSEADDR, 1);
    out.ret("bind", bind(one, &v4([127, 0, 0, 5], port(any))));
    let client = socket(false, DGRAM);
    send_to(client, b"to one", 0, &v4([127, 0, 0, 5], port(any)));
    send_to(client, b"to any", 0, &v4([127, 0, 0, 6], port(any)));
    out.say(format_args!("{} {}", recv(any, 9, NOW), recv(one, 9, NOW)));
    let six = socket(true, DGRAM);
    bind(six, &v6("::", 0));
    send_to(client, b"four", 0, &lo(false, port(six)));
    out.say(recv_from(six, 9, 0).0);
    out.say(recv(any, 9, NOW));
}

fn many_at_once(out: &mut Out) {
    let (server, port) = bound(false, DGRAM);
    let client = socket(false, DGRAM);
    connect(client, &lo(false, port));
    let texts = [b"one".as_slice(), b"three", b"fifteen"];
    let iovs: Vec<libc::iovec> = texts
        .iter()
        .map(|text| libc::iovec { iov_base: text.as_ptr() as *mut _, iov_len: text.len() })
        .collect();
    let mut headers: Vec<[u64; 8]> =
        iovs.iter().map(|iov| [0, 0, (iov as *const libc::iovec) as u64, 1, 0, 0, 0, 0]).collect();
    out.ret("sendmmsg", call!(SYS_sendmmsg, client, headers.as_mut_ptr(), 3, 0));
    out.say(headers.iter().map(|header| header[7].to_string()).collect::<Vec<_>>().join(" "));
    let mut space = [[0u8; 5]; 4];
    let iovs: Vec<libc::iovec> =
        space.iter_mut().map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: 5 }).collect();
    let mut headers: Vec<[u64; 8]> =
        iovs.iter().map(|iov| [0, 0, (iov as *const libc::iovec) as u64, 1, 0, 0, 0, 0]).collect();
    poll(server, 5000);
    out.ret("recvmmsg", call!(SYS_recvmmsg, server, headers.as_mut_ptr(), 4, libc::MSG_DONTWAIT, 0));
    out.say(
        headers
            .iter()
            .map(|header| format!("{} {:#x}", header[7], header[6] as u32))
            .collect::<Vec<_>>()
            .join(", "),
    );
    out.ret("none left", call!(SYS_recvmmsg, server, headers.as_mut_ptr(), 4, libc::MSG_DONTWAIT, 0));
}

fn time_limits(out: &mut Out) {
    let (server, _) = bound(false, DGRAM);
    let limit = [0i64, 30_000];
    call!(SYS_setsockopt, server, SOL, libc::SO_RCVTIMEO, limit.as_ptr(), 16);
    out.say(recv(server, 1, 0));
    out.say(poll(server, 30));
    let mut value = -1i32;
    out.ret("FIONREAD", call!(SYS_ioctl, server, 0x541b, &raw mut value));
    out.say(value);
    send_to(server, b"to me", 0, &lo(false, port(server)));
    poll(server, 5000);
    call!(SYS_ioctl, server, 0x541b, &raw mut value);
    out.say(value);
    out.ret("SIOCOUTQ", call!(SYS_ioctl, server, 0x5411, &raw mut value));
}

fn options(out: &mut Out) {
    let levels =
        [("ip", libc::IPPROTO_IP), ("ipv6", libc::IPPROTO_IPV6), ("tcp", libc::IPPROTO_TCP), ("udp", 17)];
    for (family, six) in FAMILIES {
        for (kind, number) in [("stream", libc::SOCK_STREAM), ("dgram", DGRAM)] {
            let fd = socket(six, number);
            for (level, of) in levels.iter().take(3) {
                let names: &[i32] = match *level {
                    "ip" => &[1, 2, 3, 8, 10, 11, 12, 13, 15, 24, 33, 34],
                    "ipv6" => &[16, 18, 19, 23, 25, 26, 49, 51, 62, 66, 67],
                    _ => &[1, 3, 4, 5, 6, 7, 8, 12, 18],
                };
                for name in names {
                    let before = get(fd, *of, *name);
                    let changes = [2, -1, 0, 300, 70_000].map(|value| {
                        let result = set(fd, *of, *name, value);
                        format!("{value}:{result}:{}", get(fd, *of, *name))
                    });
                    out.say(format_args!("{family} {kind} {level} {name}: {before} {}", changes.join(" ")));
                }
            }
        }
    }
}

fn odd_options(out: &mut Out) {
    let fd = socket(false, libc::SOCK_STREAM);
    let value = 1i32;
    for len in [0, 1, 3, 4, 8] {
        out.ret(
            &format!("ttl, {len} bytes"),
            call!(SYS_setsockopt, fd, 0, libc::IP_TTL, &raw const value, len),
        );
        out.ret(
            &format!("nodelay, {len} bytes"),
            call!(SYS_setsockopt, fd, 6, libc::TCP_NODELAY, &raw const value, len),
        );
        let (mut got, mut space) = (0x5555_5555i32, len);
        let result = call!(SYS_getsockopt, fd, 0, libc::IP_TTL, &raw mut got, &raw mut space);
        out.say(format_args!("{result} {got:#x} {space}"));
    }
    let mut name = [0u8; 16];
    let mut len = 16i32;
    out.ret(
        "congestion",
        call!(SYS_getsockopt, fd, 6, libc::TCP_CONGESTION, name.as_mut_ptr(), &raw mut len),
    );
    out.say(format_args!("{len} {}", String::from_utf8_lossy(&name).trim_end_matches('\0')));
    out.ret("unknown", call!(SYS_setsockopt, fd, 6, libc::TCP_CONGESTION, b"bogus".as_ptr(), 5));
    out.ret("bad address", call!(SYS_setsockopt, fd, 6, libc::TCP_NODELAY, 8, 4));
    out.ret("a strange level", set(fd, 99, 1, 1));
    out.ret("a strange option", set(fd, 6, 999, 1));
    out.ret("and shown", get(fd, 99, 1));
    out.ret("device", call!(SYS_setsockopt, fd, SOL, libc::SO_BINDTODEVICE, b"lo".as_ptr(), 2));
    let mut len = 16i32;
    out.ret("device", call!(SYS_getsockopt, fd, SOL, libc::SO_BINDTODEVICE, name.as_mut_ptr(), &raw mut len));
    out.say(format_args!("{len} {}", String::from_utf8_lossy(&name[..3]).trim_end_matches('\0')));
    let fd = socket(false, libc::SOCK_STREAM);
    out.ret("no such device", call!(SYS_setsockopt, fd, SOL, libc::SO_BINDTODEVICE, b"nope0".as_ptr(), 5));
    for size in [0, 1000, 100_000, 10_000_000] {
        set(fd, SOL, libc::SO_RCVBUF, size);
        set(fd, SOL, libc::SO_SNDBUF, size);
        out.say(format_args!("{size}: {} {}", get(fd, SOL, libc::SO_RCVBUF), get(fd, SOL, libc::SO_SNDBUF)));
    }
}

pub(crate) const CASES: &[Case] = &[
    case("inet/udp-to-and-fro", &["sendto", "recvfrom"], to_and_fro),
    case("inet/udp-sizes", &["sendto", "recvfrom"], sizes),
    case("inet/udp-wrong-addresses", &["sendto"], wrong_addresses),
    case("inet/udp-connected-ones", &["connect", "recvfrom"], connected_ones),
    case("inet/udp-nobody-there", &["sendto", "recvfrom", "getsockopt"], nobody_there),
    case("inet/udp-told-of-packets", &["recvmsg", "setsockopt"], told_of_packets),
    case("inet/udp-told-of-packets-v6", &["recvmsg", "setsockopt"], told_of_packets_v6),
    case("inet/udp-saying-of-packets", &["sendmsg"], saying_of_packets),
    case("inet/udp-errors-queued", &["recvmsg"], errors_queued),
    case("inet/udp-shut", &["shutdown", "poll"], shut),
    case("inet/udp-too-many", &["recvfrom", "setsockopt"], too_many),
    case("inet/udp-who-gets-it", &["bind", "recvfrom"], who_gets_it),
    case("inet/udp-many-at-once", &["sendmmsg", "recvmmsg"], many_at_once),
    case("inet/udp-time-limits", &["recvfrom", "ioctl"], time_limits),
    case("inet/options", &["setsockopt", "getsockopt"], options),
    case("inet/odd-options", &["setsockopt", "getsockopt"], odd_options),
];
