//! TCP on the loopback: how data are read, waited for and told of.

use crate::{
    Case, Out, case,
    inet::{
        NONBLOCK, NOW, STREAM, accept, connect, connected, events, get, listener, lo, poll, recv, send, set,
        shutdown, socket,
    },
    sys::{self, call},
};

const SOL: i32 = libc::SOL_SOCKET;

fn waiting_for_all(out: &mut Out) {
    let (client, server) = connected(false);
    let child = sys::fork(|| {
        for piece in [b"ab", b"cd", b"ef"] {
            sys::sleep_ms(20);
            send(client, piece, 0);
        }
        sys::sleep_ms(20);
        0
    });
    sys::close(client);
    out.say(recv(server, 5, libc::MSG_WAITALL));
    out.say(recv(server, 5, libc::MSG_WAITALL));
    sys::wait(child);
    out.say(recv(server, 5, libc::MSG_WAITALL));
}

fn throwing_away(out: &mut Out) {
    let (client, server) = connected(false);
    send(client, b"abcdef", 0);
    poll(server, 5000);
    let mut bytes = [b'-'; 4];
    out.ret("trunc", call!(SYS_recvfrom, server, bytes.as_mut_ptr(), 4, libc::MSG_TRUNC, 0, 0));
    out.say(String::from_utf8_lossy(&bytes));
    out.say(recv(server, 9, 0));
    out.say(recv(server, 0, NOW));
    send(client, b"x", 0);
    poll(server, 5000);
    out.say(recv(server, 0, NOW));
    out.ret("a bad address", call!(SYS_recvfrom, server, 8, 4, 0, 0, 0));
    out.say(recv(server, 9, NOW));
}

fn low_water(out: &mut Out) {
    let (client, server) = connected(false);
    set(server, SOL, libc::SO_RCVLOWAT, 4);
    send(client, b"ab", 0);
    sys::sleep_ms(50);
    out.say(events(server));
    out.say(recv(server, 9, NOW));
    send(client, b"cdef", 0);
    sys::sleep_ms(50);
    out.say(events(server));
    out.say(recv(server, 9, 0));
}

fn urgent(out: &mut Out) {
    let (client, server) = connected(false);
    out.say(recv(server, 1, libc::MSG_OOB));
    send(client, b"ab", 0);
    out.ret("send", send(client, b"cU", libc::MSG_OOB));
    send(client, b"de", 0);
    sys::sleep_ms(50);
    out.say(events(server));
    let mark = || {
        let mut at = -1i32;
        call!(SYS_ioctl, server, 0x8905, &raw mut at);
        at
    };
    out.say(mark());
    out.say(recv(server, 9, 0));
    out.say(mark());
    out.say(recv(server, 9, libc::MSG_OOB | libc::MSG_PEEK));
    out.say(recv(server, 9, libc::MSG_OOB));
    out.say(recv(server, 9, libc::MSG_OOB));
    out.say(recv(server, 9, 0));
    out.say(mark());
    set(server, SOL, libc::SO_OOBINLINE, 1);
    send(client, b"xyZ", libc::MSG_OOB);
    sys::sleep_ms(50);
    out.say(recv(server, 9, libc::MSG_OOB));
    out.say(recv(server, 9, 0));
    out.say(recv(server, 9, 0));
}

fn time_limits(out: &mut Out) {
    let (client, server) = connected(false);
    let limit = [0i64, 40_000];
    out.ret("set", call!(SYS_setsockopt, server, SOL, libc::SO_RCVTIMEO, limit.as_ptr(), 16));
    out.say(recv(server, 1, 0));
    send(client, b"x", 0);
    out.say(recv(server, 2, libc::MSG_WAITALL));
    let (listening, port) = listener(false, 1);
    call!(SYS_setsockopt, listening, SOL, libc::SO_RCVTIMEO, limit.as_ptr(), 16);
    out.ret("accept", accept(listening));
    let fd = socket(false, STREAM);
    connect(fd, &lo(false, port));
    let accepted = accept(listening) as i32;
    let (mut got, mut len) = ([0i64; 2], 16i32);
    call!(SYS_getsockopt, accepted, SOL, libc::SO_RCVTIMEO, got.as_mut_ptr(), &raw mut len);
    out.say(format_args!("{got:?}"));
}

fn a_full_buffer(out: &mut Out) {
    let (client, server) = connected(false);
    let bytes = vec![b'x'; 100_000];
    let mut sent = 0;
    loop {
        match send(client, &bytes, NOW) {
            step @ 1.. => sent += step,
            error => {
                out.ret("full", error);
                break;
            }
        }
        if sent > 100_000_000 {
            break;
        }
    }
    out.say(events(client));
    let mut got = 0;
    let mut bytes = vec![0; 100_000];
    while got < sent {
        match sys::read(server, &mut bytes) {
            step @ 1.. => got += step,
            _ => break,
        }
    }
    out.say(format_args!("all read: {}", got == sent));
    out.say(poll(client, 5000));
}

fn reading_counts(out: &mut Out) {
    let (client, server) = connected(false);
    send(client, b"abcde", 0);
    poll(server, 5000);
    let count = |fd, request| {
        let mut value = -1i32;
        match call!(SYS_ioctl, fd, request, &raw mut value) {
            0 => i64::from(value),
            error => error,
        }
    };
    out.ret("FIONREAD", count(server, 0x541b));
    out.ret("SIOCOUTQ", count(client, 0x5411));
    let (listening, _) = listener(false, 1);
    out.ret("of a listener", count(listening, 0x541b));
    out.ret("unknown", count(server, 0x5499));
    out.ret("seek", call!(SYS_lseek, server, 0, 0));
    let mut bytes = [0u8; 4];
    out.ret("pread", call!(SYS_pread64, server, bytes.as_mut_ptr(), 4, 0));
}

fn with_epoll(out: &mut Out) {
    let epoll = call!(SYS_epoll_create1, 0) as i32;
    let (server, port) = listener(false, 4);
    let add = |fd: i32, events: u32| {
        let event = libc::epoll_event { events, u64: fd as u64 };
        call!(SYS_epoll_ctl, epoll, libc::EPOLL_CTL_ADD, fd, &raw const event)
    };
    let wait = |what: &str, out: &mut Out, fds: &[(i32, &str)]| {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
        let count = call!(SYS_epoll_wait, epoll, events.as_mut_ptr(), 8, 1000);
        let mut lines: Vec<String> = (0..count.max(0) as usize)
            .map(|at| {
                let (fd, bits) = (events[at].u64 as i32, events[at].events);
                let name = fds.iter().find(|(one, _)| *one == fd).map_or("?", |(_, name)| *name);
                format!("{name} {bits:#x}")
            })
            .collect();
        lines.sort();
        out.say(format_args!("{what}: {}", lines.join(", ")));
    };
    add(server, 1);
    let client = socket(false, STREAM | NONBLOCK);
    connect(client, &lo(false, port));
    wait("a connection", out, &[(server, "server")]);
    let accepted = accept(server) as i32;
    let fds = [(server, "server"), (client, "client"), (accepted, "accepted")];
    // Edges: in, out, rdhup.
    add(accepted, 0x8000_2005);
    wait("at first", out, &fds);
    send(client, b"ab", 0);
    wait("data", out, &fds);
    send(client, b"cd", 0);
    wait("more data", out, &fds);
    out.say(recv(accepted, 9, 0));
    shutdown(client, 1);
    wait("its end", out, &fds);
    add(client, 0x2005);
    wait("both", out, &fds);
    shutdown(accepted, 1);
    wait("both ends", out, &fds);
}

fn vectors(out: &mut Out) {
    let (client, server) = connected(false);
    let pieces = [b"one ".as_slice(), b"", b"two"];
    let iov: Vec<libc::iovec> = pieces
        .iter()
        .map(|piece| libc::iovec { iov_base: piece.as_ptr() as *mut _, iov_len: piece.len() })
        .collect();
    out.ret("writev", call!(SYS_writev, client, iov.as_ptr(), 3));
    poll(server, 5000);
    let mut space = [[0u8; 3]; 3];
    let iov: Vec<libc::iovec> =
        space.iter_mut().map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: 3 }).collect();
    out.ret("readv", call!(SYS_readv, server, iov.as_ptr(), 3));
    out.say(
        space.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect::<Vec<_>>().join("|"),
    );
    let mut header = [0u64; 7];
    let iov = libc::iovec { iov_base: b"msg".as_ptr() as *mut _, iov_len: 3 };
    header[2] = (&raw const iov) as u64;
    header[3] = 1;
    out.ret("sendmsg", call!(SYS_sendmsg, client, header.as_ptr(), 0));
    let control = [16u64, 0x63_0000_0001];
    header[4] = control.as_ptr() as u64;
    header[5] = 16;
    out.ret("strange control data", call!(SYS_sendmsg, client, header.as_ptr(), 0));
    header[5] = 15;
    out.ret("short control data", call!(SYS_sendmsg, client, header.as_ptr(), 0));
    poll(server, 5000);
    let mut bytes = [0u8; 8];
    let iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 8 };
    let mut name = [7u8; 32];
    let mut header = [name.as_mut_ptr() as u64, 32, (&raw const iov) as u64, 1, 0, 0, 0];
    out.ret("recvmsg", call!(SYS_recvmsg, server, header.as_mut_ptr(), 0));
    out.say(format_args!("name {} flags {:#x} {:?}", header[1] as u32, header[6] as u32, bytes));
}

fn its_end_wakes(out: &mut Out) {
    let (client, server) = connected(false);
    let child = sys::fork(|| {
        sys::sleep_ms(60);
        shutdown(client, 1);
        0
    });
    sys::close(client);
    out.say(poll(server, 5000));
    out.say(recv(server, 1, 0));
    sys::wait(child);
    out.say(poll(server, 5000));
    out.ret("keepalive", set(server, SOL, libc::SO_KEEPALIVE, 1));
    out.ret("keepalive", get(server, SOL, libc::SO_KEEPALIVE));
}

pub(crate) const CASES: &[Case] = &[
    case("inet/tcp-waiting-for-all", &["recvfrom"], waiting_for_all),
    case("inet/tcp-throwing-away", &["recvfrom"], throwing_away),
    case("inet/tcp-low-water", &["setsockopt", "poll"], low_water),
    case("inet/tcp-urgent", &["sendto", "recvfrom", "ioctl"], urgent),
    case("inet/tcp-time-limits", &["setsockopt", "recvfrom", "accept"], time_limits),
    case("inet/tcp-a-full-buffer", &["sendto", "poll"], a_full_buffer),
    case("inet/tcp-reading-counts", &["ioctl", "lseek", "pread64"], reading_counts),
    case("inet/tcp-with-epoll", &["epoll_wait", "epoll_ctl"], with_epoll),
    case("inet/tcp-vectors", &["writev", "readv", "sendmsg", "recvmsg"], vectors),
    case("inet/tcp-its-end-wakes", &["poll", "shutdown"], its_end_wakes),
];
