//! What sock_diag(7) tells of sockets.

use crate::{
    Case, Out, case,
    inet::{DGRAM, connected, listener, lo, port, socket},
    inet_tables::{answers, ask, attribute},
    sys::{self, call},
};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
const DUMP: u16 = 0x301;

fn diag() -> i32 {
    call!(SYS_socket, libc::AF_NETLINK, libc::SOCK_DGRAM, 4) as i32
}

/// A `struct inet_diag_req_v2` for one port here, or any.
fn request(family: u8, protocol: u8, extensions: u8, states: u32, local: u16) -> Vec<u8> {
    let mut bytes = vec![family, protocol, extensions, 0];
    bytes.extend(states.to_ne_bytes());
    bytes.extend(local.to_be_bytes());
    bytes.resize(48, 0);
    bytes.extend([0xff; 8]);
    bytes
}

/// What is the same in every run of a `struct inet_diag_msg`, and which attributes there are of those that all kernels
/// have.
fn tell(kind: u16, payload: &[u8]) -> String {
    if kind != BY_FAMILY {
        return format!("{:?}", &payload[..4]);
    }
    let queues: Vec<u32> = payload[56..68]
        .chunks(4)
        .map(|word| u32::from_ne_bytes(word.try_into().unwrap_or_default()))
        .collect();
    let told: Vec<_> =
        [1, 2, 4, 7, 8, 11]
            .into_iter()
            .filter_map(|number| attribute(payload, 72, number).map(|data| (number, data)))
            .map(|(number, data)| {
                if matches!(number, 1 | 2 | 7) { format!("{number}") } else { format!("{number}: {data:?}") }
            })
            .collect();
    format!(
        "{:?} from {:?} to {:?} queues {queues:?} inode {} {told:?}",
        &payload[..4],
        &payload[8..24],
        &payload[24..40],
        payload[68..72] != [0; 4]
    )
}

fn tcp(out: &mut Out) {
    let fd = diag();
    for (family, six) in [(2u8, false), (10, true)] {
        let (server, at) = listener(six, 5);
        out.ret("a listener", ask(fd, BY_FAMILY, DUMP, &request(family, 6, 0, u32::MAX, at)));
        answers(out, fd, tell);
        out.ret("established ones", ask(fd, BY_FAMILY, DUMP, &request(family, 6, 0, 1 << 1, at)));
        answers(out, fd, tell);
        sys::close(server);
        let (client, server) = connected(six);
        sys::write(client, b"some bytes");
        for (what, at) in [("client", port(client)), ("server", port(server))] {
            out.ret(what, ask(fd, BY_FAMILY, DUMP, &request(family, 6, 0b100_1010, 1 << 1, at)));
            answers(out, fd, tell);
        }
        call!(SYS_shutdown, client, libc::SHUT_WR);
        // Until the other end has acknowledged it.
        sys::sleep_ms(300);
        out.ret("half", ask(fd, BY_FAMILY, DUMP, &request(family, 6, 0, u32::MAX, port(client))));
        answers(out, fd, tell);
        let other = if six { 2 } else { 10 };
        out.ret("the other family", ask(fd, BY_FAMILY, DUMP, &request(other, 6, 0, u32::MAX, port(client))));
        answers(out, fd, tell);
        sys::close(client);
        sys::close(server);
    }
}

fn udp(out: &mut Out) {
    let fd = diag();
    let one = socket(false, DGRAM);
    crate::inet::bind(one, &lo(false, 0));
    out.ret("bound", ask(fd, BY_FAMILY, DUMP, &request(2, 17, 0, u32::MAX, port(one))));
    answers(out, fd, tell);
    crate::inet::connect(one, &lo(false, port(one)));
    out.ret("connected", ask(fd, BY_FAMILY, DUMP, &request(2, 17, 0, u32::MAX, port(one))));
    answers(out, fd, tell);
}

fn filters(out: &mut Out) {
    let fd = diag();
    let (server, at) = listener(false, 5);
    // By the other end's port, of which a listener has none; then by its own address.
    let equal = |code: u8, number: u16| {
        let mut bytes = vec![code, 8, 12, 0, 0, 0];
        bytes.extend(number.to_ne_bytes());
        bytes
    };
    let host = |net: [u8; 4], bits: u8| {
        let mut bytes = vec![7, 16, 20, 0, 2, bits, 0, 0];
        bytes.extend((-1i32).to_ne_bytes());
        bytes.extend(net);
        bytes
    };
    let codes = [
        equal(11, at),
        equal(11, at ^ 1),
        equal(12, 0),
        host([127, 0, 0, 0], 8),
        host([10, 0, 0, 0], 8),
        vec![0, 4, 0, 0],
        vec![0, 8, 0, 0],
        vec![1, 4, 2, 0],
        vec![77, 4, 4, 0],
    ];
    for code in codes {
        let mut bytes = request(2, 6, 0, 1 << 10, at);
        bytes.extend((code.len() as u16 + 4).to_ne_bytes());
        bytes.extend([1, 0]);
        bytes.extend(&code);
        out.ret("filtered", ask(fd, BY_FAMILY, DUMP, &bytes));
        answers(out, fd, tell);
    }
    sys::close(server);
}

fn errors(out: &mut Out) {
    let fd = diag();
    for (what, kind, flags, payload) in [
        ("short", BY_FAMILY, DUMP, vec![2, 6]),
        ("shorter", BY_FAMILY, DUMP, vec![2]),
        ("a family too high", BY_FAMILY, DUMP, request(99, 6, 0, 0, 0)),
        ("no such socket", BY_FAMILY, 1, request(2, 6, 0, 0, 1)),
        ("nothing there", BY_FAMILY, DUMP, request(2, 6, 0, u32::MAX, 1)),
        ("another type", 77, 1, request(2, 6, 0, 0, 0)),
        ("unix without a number", BY_FAMILY, 1, vec![1; 24]),
    ] {
        let mut payload = payload;
        if what.starts_with("unix") {
            payload[8..12].fill(0);
        }
        out.ret(what, ask(fd, kind, flags, &payload));
        answers(
            out,
            fd,
            |kind, payload| if kind == 2 { format!("{:?}", &payload[..4]) } else { tell(kind, payload) },
        );
    }
}

fn unix(out: &mut Out) {
    let fd = diag();
    let server = call!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0) as i32;
    let name = b"\x01\0\0ringfence-diag";
    out.ret("bind", call!(SYS_bind, server, name.as_ptr(), name.len()));
    out.ret("listen", call!(SYS_listen, server, 3));
    let client = call!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0) as i32;
    out.ret("connect", call!(SYS_connect, client, name.as_ptr(), name.len()));
    for (what, socket) in [("listener", server), ("client", client)] {
        let link = std::fs::read_link(format!("/proc/self/fd/{socket}")).unwrap_or_default();
        let digits: String = link.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
        let number: u32 = digits.parse().unwrap_or(0);
        let mut bytes = vec![1, 0, 0, 0];
        bytes.extend(u32::MAX.to_ne_bytes());
        bytes.extend(number.to_ne_bytes());
        bytes.extend(0x1du32.to_ne_bytes());
        bytes.extend([0xff; 8]);
        out.ret(what, ask(fd, BY_FAMILY, 1, &bytes));
        answers(out, fd, |kind, payload| {
            if kind != BY_FAMILY {
                return format!("{:?}", &payload[..4]);
            }
            let told = |number| attribute(payload, 16, number);
            format!(
                "{:?} {} name {:?} peer {} waiting {} queue {:?} shut {:?}",
                &payload[..4],
                payload[4..8] == number.to_ne_bytes(),
                told(0),
                told(2).is_some(),
                told(3).is_some(),
                told(4),
                told(6)
            )
        });
    }
}

pub(crate) const CASES: &[Case] = &[
    case("inet/diag-tcp", &["sendto", "recvfrom"], tcp),
    case("inet/diag-udp", &["sendto", "recvfrom"], udp),
    case("inet/diag-filters", &["sendto", "recvfrom"], filters),
    case("inet/diag-errors", &["sendto", "recvfrom"], errors),
    case("inet/diag-unix", &["sendto", "recvfrom"], unix),
];
