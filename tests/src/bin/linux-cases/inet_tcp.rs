//! TCP on the loopback: connections and their ends.

use crate::{
    Case, Out, case,
    inet::{
        FAMILIES, NONBLOCK, NOW, STREAM, accept, bind, bound, connect, connected, error, events, listen,
        listener, lo, name, peer, poll, port, recv, send, send_to, set, shutdown, socket, state, v4, v6,
    },
    sys::{self, call},
};

const SOL: i32 = libc::SOL_SOCKET;

fn names_and_states(out: &mut Out) {
    for (family, six) in FAMILIES {
        let (server, port) = listener(six, 4);
        out.say(format_args!(
            "{family} {} {} {} {}",
            name(server),
            peer(server),
            state(server),
            events(server)
        ));
        let client = socket(six, STREAM);
        out.ret("connect", connect(client, &lo(six, port)));
        out.say(events(server));
        let mut from = [0u8; 128];
        let mut len = 128i32;
        let accepted = call!(SYS_accept4, server, from.as_mut_ptr(), &raw mut len, libc::SOCK_CLOEXEC) as i32;
        out.say(format_args!("{len} {}", crate::inet::shown(&from[..len as usize])));
        for fd in [client, accepted] {
            out.say(format_args!("{} {} {} {}", name(fd), peer(fd), state(fd), events(fd)));
        }
        out.ret("again", connect(client, &lo(six, port)));
        out.ret("bind", bind(client, &lo(six, 0)));
        out.ret("listen", listen(client, 1));
        out.ret("accept", accept(client));
    }
}

fn echoing(out: &mut Out) {
    for (_, six) in FAMILIES {
        let (client, server) = connected(six);
        out.ret("send", send(client, b"hello", 0));
        out.say(poll(server, 5000));
        out.say(recv(server, 3, 0));
        out.say(recv(server, 9, 0));
        out.say(recv(server, 9, NOW));
        out.ret("back", send_to(server, b"you too", 0, &v4([1, 2, 3, 4], 5)));
        out.say(recv(client, 9, libc::MSG_PEEK));
        out.say(recv(client, 9, 0));
        out.ret("nothing", send(client, b"", 0));
        out.say(recv(server, 9, NOW));
    }
}

fn many_bytes(out: &mut Out) {
    const TOTAL: usize = 3_000_000;
    let (client, server) = connected(false);
    let child = sys::fork(|| {
        sys::close(server);
        let bytes: Vec<u8> = (0..TOTAL).map(|at| (at % 251) as u8).collect();
        let mut at = 0;
        while at < TOTAL {
            let step = (at % 70_001 + 1).min(TOTAL - at);
            let sent = send(client, &bytes[at..at + step], 0);
            if sent <= 0 {
                return 1;
            }
            at += sent as usize;
        }
        0
    });
    sys::close(client);
    let (mut at, mut wrong) = (0usize, 0);
    let mut bytes = vec![0u8; 50_000];
    loop {
        let got = sys::read(server, &mut bytes);
        if got <= 0 {
            out.ret("the end", got);
            break;
        }
        wrong += bytes[..got as usize]
            .iter()
            .enumerate()
            .filter(|(i, byte)| **byte != ((at + i) % 251) as u8)
            .count();
        at += got as usize;
    }
    out.say(format_args!("{at} bytes, {wrong} wrong, {}", sys::status(sys::wait(child))));
}

fn refused(out: &mut Out) {
    for (_, six) in FAMILIES {
        let (gone, port) = bound(six, STREAM);
        sys::close(gone);
        let client = socket(six, STREAM);
        out.ret("connect", connect(client, &lo(six, port)));
        out.say(format_args!("{} {} {}", error(client), events(client), state(client)));
        out.ret("once more", connect(client, &lo(six, port)));
        out.ret("send", send(client, b"x", NOW));
        out.say(recv(client, 1, NOW));
    }
}

fn connecting_without_waiting(out: &mut Out) {
    let (server, port) = listener(false, 4);
    let client = socket(false, STREAM | NONBLOCK);
    out.ret("connect", connect(client, &lo(false, port)));
    out.say(poll(client, 5000));
    out.say(error(client));
    out.ret("connect once more", connect(client, &lo(false, port)));
    out.ret("and again", connect(client, &lo(false, port)));
    sys::close(server);
    let (gone, port) = bound(false, STREAM);
    sys::close(gone);
    let client = socket(false, STREAM | NONBLOCK);
    out.ret("connect", connect(client, &lo(false, port)));
    out.say(poll(client, 5000));
    out.say(error(client));
    out.ret("the error was taken", connect(client, &lo(false, port)));
    let client = socket(false, STREAM | NONBLOCK);
    out.ret("connect", connect(client, &lo(false, port)));
    poll(client, 5000);
    out.ret("the error is there", connect(client, &lo(false, port)));
}

fn unconnected(out: &mut Out) {
    for (_, six) in FAMILIES {
        let fd = socket(six, STREAM);
        out.say(events(fd));
        out.say(recv(fd, 1, NOW));
        out.ret("send", send(fd, b"x", NOW));
        out.ret("accept", accept(fd));
        out.ret("shutdown", shutdown(fd, 2));
        out.say(format_args!("{} {}", events(fd), state(fd)));
        out.ret("a bad way", shutdown(fd, 3));
        let (server, _) = listener(six, 1);
        out.say(recv(server, 1, NOW));
        out.ret("send", send(server, b"x", NOW));
    }
}

fn one_half(out: &mut Out) {
    let (client, server) = connected(false);
    send(client, b"last", 0);
    out.ret("shutdown", shutdown(client, 1));
    out.say(poll(server, 5000));
    out.ret("state", state(server));
    out.say(recv(server, 9, 0));
    out.say(recv(server, 9, 0));
    out.ret("send", send(client, b"x", NOW));
    out.ret("the other half", send(server, b"still", 0));
    out.say(recv(client, 9, 0));
    out.say(events(client));
    out.ret("shutdown", shutdown(server, 1));
    poll(client, 5000);
    out.say(format_args!("{} {} {} {}", events(client), events(server), peer(client), peer(server)));
    out.say(recv(client, 9, 0));
    out.say(format_args!("{} {}", state(client), state(server)));
    out.ret("once more", shutdown(server, 1));
}

fn no_more_reading(out: &mut Out) {
    let (client, server) = connected(false);
    send(client, b"before", 0);
    out.ret("shutdown", shutdown(server, 0));
    out.say(events(server));
    out.say(recv(server, 9, 0));
    out.say(recv(server, 9, 0));
    out.ret("the other sends", send(client, b"after", NOW));
    out.say(recv(server, 9, 0));
    out.say(format_args!("{} {}", state(client), state(server)));
}

fn closed_by_the_other(out: &mut Out) {
    let (client, server) = connected(false);
    sys::close(server);
    out.say(poll(client, 5000));
    out.say(recv(client, 9, 0));
    out.ret("the first", send(client, b"x", NOW));
    out.say(poll(client, 5000));
    out.ret("the second", send(client, b"x", NOW));
    out.ret("the third", send(client, b"x", NOW));
    out.say(recv(client, 9, NOW));
    out.say(format_args!("{} {} {}", error(client), state(client), peer(client)));
}

fn closed_with_data_unread(out: &mut Out) {
    let (client, server) = connected(false);
    send(server, b"for you", 0);
    send(client, b"unread", 0);
    poll(server, 5000);
    sys::close(server);
    out.say(poll(client, 5000));
    out.say(recv(client, 9, 0));
    out.say(recv(client, 9, 0));
    out.say(recv(client, 9, 0));
    out.ret("send", send(client, b"x", NOW));
    out.say(events(client));
}

fn lingering(out: &mut Out) {
    let (client, server) = connected(false);
    let linger = [1i32, 0];
    out.ret("set", call!(SYS_setsockopt, server, SOL, libc::SO_LINGER, linger.as_ptr(), 8));
    let (mut got, mut len) = ([9i32; 2], 8i32);
    call!(SYS_getsockopt, server, SOL, libc::SO_LINGER, got.as_mut_ptr(), &raw mut len);
    out.say(format_args!("{got:?} {len}"));
    sys::close(server);
    out.say(poll(client, 5000));
    out.say(error(client));
    out.say(recv(client, 9, NOW));
    out.say(events(client));
    let (client, server) = connected(false);
    let linger = [1i32, 5];
    call!(SYS_setsockopt, server, SOL, libc::SO_LINGER, linger.as_ptr(), 8);
    send(server, b"bye", 0);
    out.ret("close", sys::close(server));
    out.say(recv(client, 9, 0));
    out.say(recv(client, 9, 0));
}

fn broken_pipe(out: &mut Out) {
    let child = sys::fork(|| {
        let (client, _) = connected(false);
        shutdown(client, 1);
        send(client, b"x", 0) as i32
    });
    out.say(sys::status(sys::wait(child)));
}

fn never_accepted(out: &mut Out) {
    let (server, port) = listener(false, 4);
    let client = socket(false, STREAM);
    out.ret("connect", connect(client, &lo(false, port)));
    out.ret("send", send(client, b"early", 0));
    sys::close(server);
    out.say(poll(client, 5000));
    out.say(recv(client, 9, NOW));
    out.say(error(client));
}

fn gone_before_accepted(out: &mut Out) {
    let (server, port) = listener(false, 4);
    let client = socket(false, STREAM);
    connect(client, &lo(false, port));
    send(client, b"early", 0);
    sys::close(client);
    let accepted = accept(server) as i32;
    out.say(recv(accepted, 9, 0));
    out.say(recv(accepted, 9, 0));
    out.say(format_args!("{} {}", events(accepted), peer(accepted)));
}

fn accepting_without_waiting(out: &mut Out) {
    let (server, port) = listener(false, 4);
    call!(SYS_fcntl, server, libc::F_SETFL, libc::O_NONBLOCK);
    out.ret("nobody", accept(server));
    let client = socket(false, STREAM);
    connect(client, &lo(false, port));
    out.say(poll(server, 5000));
    let accepted = call!(SYS_accept4, server, 0, 0, NONBLOCK) as i32;
    out.ret("flags", call!(SYS_fcntl, accepted, libc::F_GETFL, 0) & i64::from(libc::O_NONBLOCK));
    out.ret("a bad flag", call!(SYS_accept4, server, 0, 0, 1));
    out.ret("a datagram socket", accept(socket(false, libc::SOCK_DGRAM)));
    out.say(events(server));
    out.ret("shutdown", shutdown(server, 0));
    out.ret("after it", accept(server));
    out.say(events(server));
    out.ret("listen again", listen(server, 1));
}

fn a_full_queue(out: &mut Out) {
    let (server, port) = listener(false, 0);
    let clients: Vec<i32> = (0..3).map(|_| socket(false, STREAM | NONBLOCK)).collect();
    for client in &clients[..2] {
        out.ret("connect", connect(*client, &lo(false, port)));
    }
    out.say(poll(clients[0], 5000));
    out.say(format_args!("{} {}", state(clients[0]), state(clients[1])));
    out.say(format_args!("{:?} {}", events(clients[1]), recv(clients[1], 1, NOW)));
    out.ret("send", send(clients[1], b"x", NOW));
    out.ret("connect", connect(clients[1], &lo(false, port)));
    out.ok("accept", accept(server));
    out.say(poll(clients[1], 10_000));
    out.say(state(clients[1]));
}

fn by_name_of_nobody(out: &mut Out) {
    let server = socket(false, STREAM);
    bind(server, &v4([0; 4], 0));
    listen(server, 4);
    out.say(name(server));
    let client = socket(false, STREAM);
    out.ret("to any", connect(client, &v4([0; 4], port(server))));
    out.say(peer(client));
    out.say(name(accept(server) as i32));
    let client = socket(false, STREAM);
    out.ret("to another", connect(client, &v4([127, 9, 9, 9], port(server))));
    out.say(format_args!("{} {}", name(client), peer(client)));
    let accepted = accept(server) as i32;
    out.say(format_args!("{} {}", name(accepted), peer(accepted)));
    let client = socket(false, STREAM);
    bind(client, &v4([127, 5, 5, 5], 0));
    connect(client, &v4([127, 0, 0, 1], port(server)));
    out.say(peer(accept(server) as i32));
}

fn both_families(out: &mut Out) {
    let server = socket(true, STREAM);
    bind(server, &v6("::", 0));
    listen(server, 4);
    let four = socket(false, STREAM);
    out.ret("IPv4", connect(four, &lo(false, port(server))));
    let accepted = accept(server) as i32;
    out.say(format_args!("{} {}", name(accepted), peer(accepted)));
    let six = socket(true, STREAM);
    out.ret("mapped", connect(six, &v6("::ffff:127.0.0.1", port(server))));
    out.say(format_args!("{} {}", name(six), peer(six)));
    accept(server);
    let six = socket(true, STREAM);
    out.ret("to any", connect(six, &v6("::", port(server))));
    out.say(format_args!("{} {}", name(six), peer(six)));
    let only = socket(true, STREAM);
    set(only, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1);
    bind(only, &v6("::", 0));
    listen(only, 4);
    out.ret("where only IPv6 is", connect(socket(false, STREAM), &lo(false, port(only))));
}

fn starting_afresh(out: &mut Out) {
    let (server, port) = listener(false, 4);
    let client = socket(false, STREAM);
    connect(client, &lo(false, port));
    let accepted = accept(server) as i32;
    out.ret("disconnect", connect(client, &[0, 0]));
    out.say(format_args!("{} {} {}", peer(client), state(client), events(client)));
    out.say(error(client));
    out.say(poll(accepted, 5000));
    out.say(error(accepted));
    out.ret("connect", connect(client, &lo(false, port)));
    out.ret("accept", accept(server).min(1));
    out.ret("send", send(client, b"x", NOW));
}

fn to_itself(out: &mut Out) {
    let (fd, port) = bound(false, STREAM);
    out.ret("connect", connect(fd, &lo(false, port)));
    out.ret("send", send(fd, b"me", NOW));
    out.say(recv(fd, 9, 0));
    out.say(format_args!("{}", state(fd)));
}

fn waiting_for_time(out: &mut Out) {
    for reuse in [0, 1] {
        let server = socket(false, STREAM);
        set(server, SOL, libc::SO_REUSEADDR, reuse);
        bind(server, &lo(false, 0));
        listen(server, 4);
        let port = port(server);
        let client = socket(false, STREAM);
        connect(client, &lo(false, port));
        let accepted = accept(server) as i32;
        sys::close(server);
        let other = socket(false, STREAM);
        set(other, SOL, libc::SO_REUSEADDR, reuse);
        out.ret("while a connection is open", bind(other, &lo(false, port)));
        sys::close(other);
        // This end is the first: its numbers stay.
        sys::close(accepted);
        poll(client, 5000);
        sys::close(client);
        sys::sleep_ms(50);
        let other = socket(false, STREAM);
        set(other, SOL, libc::SO_REUSEADDR, reuse);
        out.ret(&format!("reuse {reuse}"), bind(other, &lo(false, port)));
    }
}

pub(crate) const CASES: &[Case] = &[
    case(
        "inet/tcp-names-and-states",
        &["connect", "accept4", "getsockname", "getpeername"],
        names_and_states,
    ),
    case("inet/tcp-echoing", &["sendto", "recvfrom"], echoing),
    case("inet/tcp-many-bytes", &["sendto", "read"], many_bytes),
    case("inet/tcp-refused", &["connect"], refused),
    case(
        "inet/tcp-connecting-without-waiting",
        &["connect", "getsockopt", "poll"],
        connecting_without_waiting,
    ),
    case("inet/tcp-unconnected", &["sendto", "recvfrom", "shutdown"], unconnected),
    case("inet/tcp-one-half", &["shutdown", "poll"], one_half),
    case("inet/tcp-no-more-reading", &["shutdown", "recvfrom"], no_more_reading),
    case("inet/tcp-closed-by-the-other", &["close", "sendto", "recvfrom"], closed_by_the_other),
    case("inet/tcp-closed-with-data-unread", &["close", "recvfrom"], closed_with_data_unread),
    case("inet/tcp-lingering", &["setsockopt", "close"], lingering),
    case("inet/tcp-broken-pipe", &["sendto"], broken_pipe),
    case("inet/tcp-never-accepted", &["listen", "close"], never_accepted),
    case("inet/tcp-gone-before-accepted", &["accept", "recvfrom"], gone_before_accepted),
    case("inet/tcp-accepting-without-waiting", &["accept4", "shutdown", "listen"], accepting_without_waiting),
    case("inet/tcp-a-full-queue", &["listen", "connect", "accept4"], a_full_queue),
    case("inet/tcp-by-name-of-nobody", &["connect", "getsockname"], by_name_of_nobody),
    case("inet/tcp-both-families", &["connect", "accept"], both_families),
    case("inet/tcp-starting-afresh", &["connect"], starting_afresh),
    case("inet/tcp-to-itself", &["connect"], to_itself),
    case("inet/tcp-waiting-for-time", &["bind", "close"], waiting_for_time),
];
