//! AF_INET and AF_INET6 sockets: making, binding and naming them. The tools of the family; loopback only.

use crate::{
    Case, Out, case,
    sys::{self, call},
};

pub(crate) const STREAM: i32 = libc::SOCK_STREAM;
pub(crate) const DGRAM: i32 = libc::SOCK_DGRAM;
pub(crate) const NONBLOCK: i32 = libc::SOCK_NONBLOCK;
pub(crate) const NOW: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
pub(crate) const LO: [u8; 4] = [127, 0, 0, 1];
const SOL: i32 = libc::SOL_SOCKET;

/// Both families, with their names.
pub(crate) const FAMILIES: [(&str, bool); 2] = [("v4", false), ("v6", true)];

pub(crate) fn socket(v6: bool, kind: i32) -> i32 {
    call!(SYS_socket, if v6 { libc::AF_INET6 } else { libc::AF_INET }, kind, 0) as i32
}

/// A `struct sockaddr_in`.
pub(crate) fn v4(octets: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = vec![2, 0];
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes.extend_from_slice(&octets);
    bytes.resize(16, 0);
    bytes
}

/// A `struct sockaddr_in6`.
pub(crate) fn v6(addr: &str, port: u16) -> Vec<u8> {
    let mut bytes = vec![10, 0];
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let addr: std::net::Ipv6Addr = addr.parse().unwrap_or(std::net::Ipv6Addr::UNSPECIFIED);
    bytes.extend_from_slice(&addr.octets());
    bytes.extend_from_slice(&[0; 4]);
    bytes
}

/// The loopback address of a family.
pub(crate) fn lo(six: bool, port: u16) -> Vec<u8> {
    if six { v6("::1", port) } else { v4(LO, port) }
}

pub(crate) fn bind(fd: i32, address: &[u8]) -> i64 {
    call!(SYS_bind, fd, address.as_ptr(), address.len())
}

pub(crate) fn connect(fd: i32, address: &[u8]) -> i64 {
    call!(SYS_connect, fd, address.as_ptr(), address.len())
}

pub(crate) fn listen(fd: i32, backlog: i32) -> i64 {
    call!(SYS_listen, fd, backlog)
}

pub(crate) fn accept(fd: i32) -> i64 {
    call!(SYS_accept4, fd, 0, 0, 0)
}

fn close(fd: i32) {
    sys::close(fd);
}

pub(crate) fn shutdown(fd: i32, how: i32) -> i64 {
    call!(SYS_shutdown, fd, how)
}

/// getsockname or getpeername: the bytes.
fn raw_name(number: i64, fd: i32) -> Result<Vec<u8>, i64> {
    let (mut bytes, mut len) = ([0u8; 128], 128i32);
    match sys::raw(number, &[fd.into(), bytes.as_mut_ptr() as i64, &raw mut len as i64]) {
        0 => Ok(bytes[..(len as usize).min(128)].to_vec()),
        error => Err(error),
    }
}

/// An address in words; a port that was chosen for it is `P`.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let port = bytes.get(2..4).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
    let port = if port >= 1024 { "P".to_owned() } else { port.to_string() };
    match (bytes.len(), bytes.first()) {
        (16, Some(2)) => format!("{}.{}.{}.{}:{port}", bytes[4], bytes[5], bytes[6], bytes[7]),
        (28, Some(10)) => {
            let octets: [u8; 16] = bytes[8..24].try_into().unwrap_or_default();
            format!("[{}]:{port}", std::net::Ipv6Addr::from(octets))
        }
        (len, family) => format!("{len} bytes of family {family:?}"),
    }
}

pub(crate) fn name(fd: i32) -> String {
    raw_name(libc::SYS_getsockname, fd)
        .map_or_else(|error| sys::errno_name(-error as u32), |name| shown(&name))
}

pub(crate) fn peer(fd: i32) -> String {
    raw_name(libc::SYS_getpeername, fd)
        .map_or_else(|error| sys::errno_name(-error as u32), |name| shown(&name))
}

/// The port that a socket has.
pub(crate) fn port(fd: i32) -> u16 {
    raw_name(libc::SYS_getsockname, fd).map_or(0, |name| u16::from_be_bytes([name[2], name[3]]))
}

/// A socket bound to some port of the loopback address.
pub(crate) fn bound(six: bool, kind: i32) -> (i32, u16) {
    let fd = socket(six, kind);
    assert_eq!(bind(fd, &lo(six, 0)), 0, "bind");
    (fd, port(fd))
}

pub(crate) fn listener(six: bool, backlog: i32) -> (i32, u16) {
    let (fd, port) = bound(six, STREAM);
    assert_eq!(listen(fd, backlog), 0, "listen");
    (fd, port)
}

/// The two ends of a connection: the connecting and the accepted one.
pub(crate) fn connected(six: bool) -> (i32, i32) {
    let (server, port) = listener(six, 4);
    let client = socket(six, STREAM);
    assert_eq!(connect(client, &lo(six, port)), 0, "connect");
    let accepted = accept(server) as i32;
    sys::close(server);
    (client, accepted)
}

pub(crate) fn send(fd: i32, bytes: &[u8], flags: i32) -> i64 {
    call!(SYS_sendto, fd, bytes.as_ptr(), bytes.len(), flags, 0, 0)
}

pub(crate) fn send_to(fd: i32, bytes: &[u8], flags: i32, to: &[u8]) -> i64 {
    call!(SYS_sendto, fd, bytes.as_ptr(), bytes.len(), flags, to.as_ptr(), to.len())
}

/// What a receive gave, in words.
pub(crate) fn recv(fd: i32, len: usize, flags: i32) -> String {
    let mut bytes = vec![0; len];
    let got = call!(SYS_recvfrom, fd, bytes.as_mut_ptr(), len, flags, 0, 0);
    if got < 0 {
        return sys::errno_name(-got as u32);
    }
    format!("{got} {:?}", String::from_utf8_lossy(&bytes[..len.min(got as usize)]))
}

/// A receive with the sender's address.
pub(crate) fn recv_from(fd: i32, len: usize, flags: i32) -> (String, Vec<u8>) {
    let (mut bytes, mut name, mut name_len) = (vec![0; len], [0u8; 128], 128i32);
    let got = call!(SYS_recvfrom, fd, bytes.as_mut_ptr(), len, flags, name.as_mut_ptr(), &raw mut name_len);
    if got < 0 {
        return (sys::errno_name(-got as u32), Vec::new());
    }
    let name = name[..(name_len as usize).min(128)].to_vec();
    (
        format!("{got} {:?} from {}", String::from_utf8_lossy(&bytes[..len.min(got as usize)]), shown(&name)),
        name,
    )
}

pub(crate) fn set(fd: i32, level: i32, option: i32, value: i32) -> i64 {
    call!(SYS_setsockopt, fd, level, option, &raw const value, 4)
}

pub(crate) fn get(fd: i32, level: i32, option: i32) -> i64 {
    let (mut value, mut len) = (-77i32, 4i32);
    match call!(SYS_getsockopt, fd, level, option, &raw mut value, &raw mut len) {
        0 => value.into(),
        error => error,
    }
}

/// The pending error.
pub(crate) fn error(fd: i32) -> String {
    match get(fd, SOL, libc::SO_ERROR) {
        0 => "none".into(),
        error => sys::errno_name(error as u32),
    }
}

/// What poll says of a descriptor when asked for everything.
pub(crate) fn events(fd: i32) -> String {
    poll(fd, 0)
}

pub(crate) fn poll(fd: i32, ms: i32) -> String {
    const NAMES: [(i16, &str); 10] = [
        (1, "IN"),
        (2, "PRI"),
        (4, "OUT"),
        (8, "ERR"),
        (0x10, "HUP"),
        (0x40, "RDNORM"),
        (0x80, "RDBAND"),
        (0x100, "WRNORM"),
        (0x200, "WRBAND"),
        (0x2000, "RDHUP"),
    ];
    let mut entry = libc::pollfd { fd, events: 0x23c7, revents: 0 };
    call!(SYS_poll, &raw mut entry, 1, ms);
    let names: Vec<_> =
        NAMES.iter().filter(|(bit, _)| entry.revents & bit != 0).map(|(_, name)| *name).collect();
    names.join("|")
}

/// TCP_INFO's state.
pub(crate) fn state(fd: i32) -> i64 {
    let (mut info, mut len) = ([0u8; 104], 104i32);
    match call!(SYS_getsockopt, fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr(), &raw mut len) {
        0 => info[0].into(),
        error => error,
    }
}

fn making(out: &mut Out) {
    for (name, family) in [("inet", libc::AF_INET), ("inet6", libc::AF_INET6)] {
        for (kind, number) in [("stream", 1), ("dgram", 2), ("raw", 3), ("rdm", 4)] {
            for protocol in [0, 1, 6, 17, 58, 255, 300, -1] {
                out.ok(&format!("{name} {kind} {protocol}"), call!(SYS_socket, family, number, protocol));
            }
        }
    }
    let mut fds = [0i32; 2];
    out.ret("a pair", call!(SYS_socketpair, libc::AF_INET, STREAM, 0, fds.as_mut_ptr()));
}

fn describing(out: &mut Out) {
    for (family, six) in FAMILIES {
        for (kind, number) in [("stream", STREAM), ("dgram", DGRAM)] {
            let fd = socket(six, number);
            for (option, of) in [
                ("type", libc::SO_TYPE),
                ("domain", libc::SO_DOMAIN),
                ("protocol", libc::SO_PROTOCOL),
                ("acceptconn", libc::SO_ACCEPTCONN),
                ("rcvbuf", libc::SO_RCVBUF),
                ("sndbuf", libc::SO_SNDBUF),
                ("reuseport", libc::SO_REUSEPORT),
                ("keepalive", libc::SO_KEEPALIVE),
            ] {
                out.ret(&format!("{family} {kind} {option}"), get(fd, SOL, of));
            }
            out.say(format_args!("{} {} {}", name(fd), peer(fd), events(fd)));
        }
    }
}

fn binding(out: &mut Out) {
    for (kind, number) in [("stream", STREAM), ("dgram", DGRAM)] {
        let fd = socket(false, number);
        out.ret("short", bind(fd, &v4(LO, 0)[..15]));
        let mut unspecified = v4([0; 4], 0);
        unspecified[0] = 0;
        let mut wrong = v4(LO, 0);
        wrong[0] = 0;
        out.ret("no family", bind(fd, &wrong));
        wrong[0] = 10;
        out.ret("another family", bind(fd, &wrong));
        out.ret("not ours", bind(fd, &v4([8, 8, 8, 8], 0)));
        out.ret("a low port", bind(fd, &v4(LO, 81)));
        out.ret("any", bind(fd, &unspecified));
        out.say(format_args!("{kind} {}", name(fd)));
        out.ret("again", bind(fd, &v4(LO, 0)));
        let fd = socket(false, number);
        out.ret("another of ours", bind(fd, &v4([127, 1, 2, 3], 0)));
        out.say(name(fd));
        let fd = socket(false, number);
        out.ret("a group", bind(fd, &v4([224, 0, 0, 1], 0)));
        out.ret("a null address", call!(SYS_bind, fd, 0, 16));
    }
}

fn binding_v6(out: &mut Out) {
    for (kind, number) in [("stream", STREAM), ("dgram", DGRAM)] {
        let fd = socket(true, number);
        out.ret("short", bind(fd, &v6("::1", 0)[..23]));
        out.ret("an address of IPv4", bind(fd, &v4(LO, 0)));
        out.ret("not ours", bind(fd, &v6("2001:db8::1", 0)));
        out.ret("mapped, not ours", bind(fd, &v6("::ffff:8.8.8.8", 0)));
        out.ret("24 bytes", bind(fd, &v6("::1", 0)[..24]));
        out.say(format_args!("{kind} {}", name(fd)));
        let fd = socket(true, number);
        out.ret("mapped", bind(fd, &v6("::ffff:127.0.0.1", 0)));
        out.say(name(fd));
        let fd = socket(true, number);
        out.ret("only IPv6", set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1));
        out.ret("mapped", bind(fd, &v6("::ffff:127.0.0.1", 0)));
        out.ret("any", bind(fd, &v6("::", 0)));
        out.ret("too late", set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0));
        out.ret("only IPv6", get(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY));
        let fd = socket(true, number);
        out.ret("a group", bind(fd, &v6("ff02::1", 0)));
    }
}

fn sharing_a_port(out: &mut Out) {
    for (kind, number) in [("stream", STREAM), ("dgram", DGRAM)] {
        for (first, second) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let one = socket(false, number);
            set(one, SOL, libc::SO_REUSEADDR, first);
            bind(one, &v4(LO, 0));
            let two = socket(false, number);
            set(two, SOL, libc::SO_REUSEADDR, second);
            out.ret(&format!("{kind} reuse {first} {second}"), bind(two, &v4(LO, port(one))));
            let three = socket(false, number);
            out.ret("elsewhere", bind(three, &v4([127, 0, 0, 2], port(one))));
            let four = socket(false, number);
            set(four, SOL, libc::SO_REUSEADDR, second);
            out.ret("everywhere", bind(four, &v4([0; 4], port(one))));
            if number == STREAM {
                out.ret("listen", listen(one, 1));
                let five = socket(false, number);
                set(five, SOL, libc::SO_REUSEADDR, second);
                out.ret("a port that is listened on", bind(five, &v4(LO, port(one))));
                out.ret("another listens", listen(two, 1));
            }
            [one, two, three, four].into_iter().for_each(close);
        }
        for (first, second) in [(1, 0), (1, 1)] {
            let one = socket(false, number);
            set(one, SOL, libc::SO_REUSEPORT, first);
            bind(one, &v4(LO, 0));
            let two = socket(false, number);
            set(two, SOL, libc::SO_REUSEPORT, second);
            out.ret(&format!("{kind} port {first} {second}"), bind(two, &v4(LO, port(one))));
            if number == STREAM {
                out.ret("listen", listen(one, 1));
                out.ret("both", listen(two, 1));
            }
            [one, two].into_iter().for_each(close);
        }
    }
}

fn sharing_between_families(out: &mut Out) {
    for number in [STREAM, DGRAM] {
        for only in [0, 1] {
            let six = socket(true, number);
            set(six, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, only);
            bind(six, &v6("::", 0));
            let four = socket(false, number);
            out.ret(&format!("only {only}, any"), bind(four, &v4([0; 4], port(six))));
            let four = socket(false, number);
            out.ret(&format!("only {only}, one"), bind(four, &v4(LO, port(six))));
            let one = socket(true, number);
            out.ret("another of IPv6", bind(one, &v6("::1", port(six))));
        }
    }
}

fn connecting_elsewhere(out: &mut Out) {
    for number in [STREAM, DGRAM] {
        let fd = socket(false, number);
        out.ret("far away", connect(fd, &v4([192, 0, 2, 1], 9)));
        out.ret("short", connect(fd, &v4(LO, 9)[..15]));
        out.ret("one byte", connect(fd, &[2]));
        out.ret("another family", connect(fd, &v6("::1", 9)));
        let fd = socket(true, number);
        out.ret("far away", connect(fd, &v6("2001:db8::1", 9)));
        out.ret("mapped and far away", connect(fd, &v6("::ffff:192.0.2.1", 9)));
        out.ret("short", connect(fd, &v6("::1", 9)[..23]));
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1);
        out.ret("mapped where it may not", connect(fd, &v6("::ffff:127.0.0.1", 9)));
        out.say(format_args!("{} {}", peer(fd), error(fd)));
    }
    let fd = socket(false, DGRAM);
    out.ret("send far away", send_to(fd, b"x", 0, &v4([192, 0, 2, 1], 9)));
    out.ret("to all", send_to(fd, b"x", 0, &v4([127, 255, 255, 255], 9)));
}

pub(crate) const CASES: &[Case] = &[
    case("inet/making", &["socket", "socketpair"], making),
    case("inet/describing", &["socket", "getsockopt", "getsockname"], describing),
    case("inet/binding", &["bind", "getsockname"], binding),
    case("inet/binding-v6", &["bind", "getsockname", "setsockopt"], binding_v6),
    case("inet/sharing-a-port", &["bind", "listen", "setsockopt"], sharing_a_port),
    case("inet/sharing-between-families", &["bind", "setsockopt"], sharing_between_families),
    case("inet/connecting-elsewhere", &["connect", "sendto"], connecting_elsewhere),
];
