//! What programs are told of the network: interfaces by ioctl and netlink, tables in /proc.

use crate::{
    Case, Out, case,
    inet::{DGRAM, FAMILIES, STREAM, accept, bind, connect, connected, listen, lo, port, set, socket, v4},
    sys::{self, call},
};

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| format!("{path}: {}", error.kind()))
}

fn interface_requests(out: &mut Out) {
    let fd = socket(false, DGRAM);
    for name in ["lo", "nope0", ""] {
        for request in [0x8913, 0x8915, 0x8917, 0x8919, 0x891b, 0x891d, 0x8921, 0x8927, 0x8933, 0x8942] {
            let mut bytes = [0u8; 40];
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            let result = call!(SYS_ioctl, fd, request, bytes.as_mut_ptr());
            let told =
                if result == 0 { format!("{:?}", &bytes[16..24]) } else { sys::errno_name(-result as u32) };
            out.say(format_args!("{name} {request:#x} {told}"));
        }
    }
    for index in [1u8, 77] {
        let mut bytes = [0u8; 40];
        bytes[16] = index;
        out.ret("by number", call!(SYS_ioctl, fd, 0x8910, bytes.as_mut_ptr()));
        out.say(String::from_utf8_lossy(&bytes[..16]).trim_end_matches('\0'));
    }
    let mut bytes = [0u8; 40];
    bytes[..2].copy_from_slice(b"lo");
    out.ret("change it", call!(SYS_ioctl, fd, 0x8914, bytes.as_mut_ptr()));
    out.ret("a bad address", call!(SYS_ioctl, fd, 0x8913, 8));
}

fn configuration(out: &mut Out) {
    for number in [DGRAM, STREAM] {
        let fd = socket(false, number);
        let mut space = [0u8; 400];
        for len in [400u64, 40, 39, 0] {
            let mut header = [len, space.as_mut_ptr() as u64];
            out.ret("SIOCGIFCONF", call!(SYS_ioctl, fd, 0x8912, header.as_mut_ptr()));
            out.say(format_args!("{} {:?}", header[0] as u32, &space[..24]));
        }
        let mut header = [0u64, 0];
        out.ret("how long", call!(SYS_ioctl, fd, 0x8912, header.as_mut_ptr()));
        out.say(header[0] as u32);
    }
}

/// The file's lines that speak of one of these ports, without what differs from run to run.
fn lines(path: &str, ports: &[u16]) -> Vec<String> {
    let keys: Vec<String> = ports.iter().map(|port| format!(":{port:04X}")).collect();
    let mut found: Vec<String> = text(path)
        .lines()
        .skip(1)
        .filter(|line| keys.iter().any(|key| line.contains(key.as_str())))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            // Those of IPv4 are filled up.
            let mut text = if path.ends_with('6') { String::new() } else { format!("{} bytes:", line.len()) };
            for word in &words[1..5] {
                let mut word = (*word).to_owned();
                for (at, key) in keys.iter().enumerate() {
                    word = word.replace(key.as_str(), &format!(":port{at}"));
                }
                // A port that was chosen for a client.
                if let Some((addr, port)) = word.split_once(':')
                    && port.len() == 4
                    && port > "7FFF"
                {
                    word = format!("{addr}:P");
                }
                text.push(' ');
                text.push_str(&word);
            }
            text
        })
        .collect();
    found.sort();
    found
}

fn tables_of_tcp(out: &mut Out) {
    for (family, six) in FAMILIES {
        let server = socket(six, STREAM);
        bind(server, &lo(six, 0));
        listen(server, 7);
        let port = port(server);
        let path = if six { "/proc/net/tcp6" } else { "/proc/net/tcp" };
        let wait = socket(six, STREAM);
        connect(wait, &lo(six, port));
        let client = socket(six, STREAM);
        connect(client, &lo(six, port));
        out.say(format_args!("{family} {:#?}", lines(path, &[port])));
        let accepted = accept(server);
        call!(SYS_sendto, wait, b"abc".as_ptr(), 3, 0, 0, 0);
        sys::sleep_ms(20);
        out.say(format_args!("{:#?}", lines(path, &[port])));
        sys::close(server);
        sys::close(accepted as i32);
        out.say(text(path).lines().next().unwrap_or_default().trim_end());
    }
}

fn tables_of_udp(out: &mut Out) {
    for (family, six) in FAMILIES {
        let server = socket(six, DGRAM);
        bind(server, &lo(six, 0));
        let client = socket(six, DGRAM);
        connect(client, &lo(six, port(server)));
        let path = if six { "/proc/net/udp6" } else { "/proc/net/udp" };
        out.say(format_args!("{family} {:#?}", lines(path, &[port(server), port(client)])));
        out.say(text(path).lines().next().unwrap_or_default().trim_end());
    }
}

fn tables_of_interfaces(out: &mut Out) {
    for path in ["/proc/net/if_inet6", "/proc/net/route", "/proc/net/arp"] {
        out.say(text(path));
    }
    let dev = text("/proc/net/dev");
    out.say(dev.lines().take(2).collect::<Vec<_>>().join("\n"));
    out.say(
        dev.lines()
            .skip(2)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
            .join(" "),
    );
    let sockstat = text("/proc/net/sockstat");
    let words = |line: &str| {
        line.split_whitespace().filter(|word| word.parse::<i64>().is_err()).collect::<Vec<_>>().join(" ")
    };
    out.say(sockstat.lines().map(words).collect::<Vec<_>>().join("\n"));
}

fn settings(out: &mut Out) {
    for name in [
        "core/somaxconn",
        "ipv4/ip_local_port_range",
        "ipv4/ip_unprivileged_port_start",
        "ipv4/ping_group_range",
        "ipv4/tcp_keepalive_time",
        "ipv4/tcp_keepalive_intvl",
        "ipv4/tcp_keepalive_probes",
        "ipv4/tcp_fin_timeout",
        "ipv4/ip_default_ttl",
        "ipv4/tcp_syn_retries",
        "ipv6/bindv6only",
    ] {
        out.say(format_args!("{name} {}", text(&format!("/proc/sys/net/{name}")).trim_end()));
    }
}

fn netlink(kind: i32) -> i32 {
    call!(SYS_socket, libc::AF_NETLINK, kind, 0) as i32
}

pub(crate) fn ask(fd: i32, kind: u16, flags: u16, payload: &[u8]) -> i64 {
    let mut bytes = (16 + payload.len() as u32).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&7u32.to_ne_bytes());
    bytes.extend_from_slice(&0u32.to_ne_bytes());
    bytes.extend_from_slice(payload);
    call!(SYS_sendto, fd, bytes.as_ptr(), bytes.len(), 0, 0, 0)
}

/// The messages that came: type, flags, sequence, and of an answer what `tell` says.
pub(crate) fn answers(out: &mut Out, fd: i32, tell: impl Fn(u16, &[u8]) -> String) {
    let mut bytes = vec![0u8; 32768];
    let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
    loop {
        let got = call!(SYS_recvfrom, fd, bytes.as_mut_ptr(), bytes.len(), libc::MSG_DONTWAIT, 0, 0);
        if got < 0 {
            out.ret("the end", got);
            return;
        }
        let mut rest = &bytes[..got as usize];
        while rest.len() >= 16 {
            let len = word(rest, 0) as usize;
            let (kind, flags) = (word(rest, 4) as u16, (word(rest, 4) >> 16) as u16);
            // Whether a dump was filtered is said by newer kernels only.
            let flags = flags & 0xf;
            out.say(format_args!(
                "type {kind} flags {flags:#x} sequence {} {}",
                word(rest, 8),
                tell(kind, &rest[16..len])
            ));
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// An attribute's data.
pub(crate) fn attribute(payload: &[u8], skip: usize, wanted: u16) -> Option<&[u8]> {
    let mut rest = payload.get(skip..)?;
    while rest.len() >= 4 {
        let len = u16::from_ne_bytes([rest[0], rest[1]]) as usize;
        let kind = u16::from_ne_bytes([rest[2], rest[3]]);
        if kind == wanted {
            return rest.get(4..len);
        }
        rest = rest.get(len.max(4).next_multiple_of(4)..)?;
    }
    None
}

fn netlink_links(out: &mut Out) {
    let fd = netlink(libc::SOCK_RAW);
    let tell = |kind: u16, payload: &[u8]| match kind {
        16 => format!(
            "{:?} name {:?} mtu {:?} address {:?}",
            &payload[..12],
            attribute(payload, 16, 3),
            attribute(payload, 16, 4),
            attribute(payload, 16, 1)
        ),
        _ => format!("{:?}", &payload[..4]),
    };
    out.ret("all", ask(fd, 18, 0x301, &[0; 16]));
    answers(out, fd, tell);
    let mut one = [0u8; 16];
    one[4] = 1;
    out.ret("the first", ask(fd, 18, 1, &one));
    answers(out, fd, tell);
    one[4] = 77;
    out.ret("none", ask(fd, 18, 5, &one));
    answers(out, fd, tell);
    let mut named = vec![0u8; 16];
    named.extend_from_slice(&[7, 0, 3, 0, b'l', b'o', 0, 0]);
    out.ret("by name", ask(fd, 18, 1, &named));
    answers(out, fd, tell);
}

fn netlink_addresses(out: &mut Out) {
    let fd = netlink(libc::SOCK_RAW);
    for family in [0u8, 2, 10] {
        out.ret("ask", ask(fd, 22, 0x301, &[family, 0, 0, 0, 0, 0, 0, 0]));
        answers(out, fd, |kind, payload| match kind {
            20 => format!(
                "{:?} address {:?} local {:?} label {:?}",
                &payload[..8],
                attribute(payload, 8, 1),
                attribute(payload, 8, 2),
                attribute(payload, 8, 3)
            ),
            _ => format!("{:?}", &payload[..4]),
        });
    }
}

fn netlink_routes(out: &mut Out) {
    let fd = netlink(libc::SOCK_RAW);
    let mut to = vec![2u8, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 127, 0, 0, 9];
    let tell = |kind: u16, payload: &[u8]| match kind {
        24 => format!(
            "family {} bits {} type {} oif {:?} source {:?}",
            payload[0],
            payload[1],
            payload[7],
            attribute(payload, 12, 4),
            attribute(payload, 12, 7)
        ),
        _ => format!("{:?}", &payload[..4]),
    };
    out.ret("to ours", ask(fd, 26, 1, &to));
    answers(out, fd, tell);
    to[16] = 9;
    out.ret("elsewhere", ask(fd, 26, 1, &to));
    answers(out, fd, tell);
}

fn netlink_errors(out: &mut Out) {
    for (kind, protocol) in [(STREAM, 0), (3, 0), (2, 0), (3, 31), (3, 40)] {
        out.ok(&format!("socket {kind} {protocol}"), call!(SYS_socket, libc::AF_NETLINK, kind, protocol));
    }
    let fd = netlink(libc::SOCK_RAW);
    let tell = |_: u16, payload: &[u8]| format!("{:?}", &payload[..4]);
    out.ret("change a link", ask(fd, 16, 5, &[0; 16]));
    answers(out, fd, tell);
    out.ret("an unknown type", ask(fd, 1000, 5, &[0; 16]));
    answers(out, fd, tell);
    out.ret("a control message", ask(fd, 1, 5, &[0; 4]));
    answers(out, fd, tell);
    out.ret("no request", ask(fd, 18, 0, &[0; 16]));
    answers(out, fd, tell);
    out.ret("too short", call!(SYS_sendto, fd, [3u8, 0, 0].as_ptr(), 3, 0, 0, 0));
    answers(out, fd, tell);
    out.ret("listen", call!(SYS_listen, fd, 1));
    out.ret("accept", accept(fd));
    let mut short = [16u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    out.ret("bind", call!(SYS_bind, fd, short.as_ptr(), 8));
    out.ret("bind again", call!(SYS_bind, fd, short.as_ptr(), 12));
    short[0] = 2;
    out.ret("another family", call!(SYS_bind, fd, short.as_ptr(), 12));
}

fn netlink_names(out: &mut Out) {
    let me = sys::getpid() as u32;
    let names = |fd: i32| {
        let (mut bytes, mut len) = ([0u8; 16], 16i32);
        call!(SYS_getsockname, fd, bytes.as_mut_ptr(), &raw mut len);
        let port = u32::from_ne_bytes(bytes[4..8].try_into().unwrap_or_default());
        let port = match port {
            0 => "none",
            port if port == me => "the process",
            _ => "another",
        };
        format!("{len} family {} port {port}", bytes[0])
    };
    let address = [16u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let one = netlink(libc::SOCK_DGRAM);
    out.say(names(one));
    out.ret("bind", call!(SYS_bind, one, address.as_ptr(), 12));
    out.say(names(one));
    let two = netlink(libc::SOCK_DGRAM);
    out.ret("bind", call!(SYS_bind, two, address.as_ptr(), 12));
    out.say(names(two));
    let three = netlink(libc::SOCK_DGRAM);
    let mut taken = address;
    taken[4..8].copy_from_slice(&me.to_ne_bytes());
    out.ret("taken", call!(SYS_bind, three, taken.as_ptr(), 12));
    sys::close(one);
    out.ret("given back", call!(SYS_bind, three, taken.as_ptr(), 12));
    out.say(names(three));
}

fn in_listings(out: &mut Out) {
    let (client, server) = connected(false);
    set(client, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
    let link =
        std::fs::read_link(format!("/proc/self/fd/{client}")).map(|link| link.to_string_lossy().into_owned());
    let link = link.unwrap_or_default();
    out.say(format_args!("a socket: {}", link.starts_with("socket:[")));
    let ino = link.trim_start_matches("socket:[").trim_end_matches(']').to_owned();
    let listed =
        text("/proc/net/tcp").lines().any(|line| line.split_whitespace().nth(9) == Some(ino.as_str()));
    out.say(format_args!("listed: {listed}"));
    sys::close(server);
    let fd = socket(false, STREAM);
    out.ret("a low port", bind(fd, &v4([127, 0, 0, 1], 1023)));
    out.ret("a high port", bind(fd, &v4([127, 0, 0, 1], 1024)));
}

pub(crate) const CASES: &[Case] = &[
    case("inet/interface-requests", &["ioctl"], interface_requests),
    case("inet/interface-configuration", &["ioctl"], configuration),
    case("inet/tables-of-tcp", &["read"], tables_of_tcp),
    case("inet/tables-of-udp", &["read"], tables_of_udp),
    case("inet/tables-of-interfaces", &["read"], tables_of_interfaces),
    case("inet/settings", &["read"], settings),
    case("inet/netlink-links", &["sendto", "recvfrom"], netlink_links),
    case("inet/netlink-addresses", &["sendto", "recvfrom"], netlink_addresses),
    case("inet/netlink-routes", &["sendto", "recvfrom"], netlink_routes),
    case("inet/netlink-errors", &["socket", "bind", "sendto"], netlink_errors),
    case("inet/netlink-names", &["bind", "getsockname"], netlink_names),
    case("inet/in-listings", &["readlink", "bind"], in_listings),
];
