//! Datagram sockets among themselves.

use proptest::prelude::*;
use std::{net::Ipv4Addr, vec::Vec};

use super::*;
use crate::net::MsgFlags;

fn udp() -> Arc<Datagram> {
    crate::mem::init_for_tests();
    create(false, Kind::Udp).expect("a socket")
}

fn bound() -> (Arc<Datagram>, Address) {
    let socket = udp();
    let any = Endpoint { port: 0, addr: IpAddr::V4(Ipv4Addr::LOCALHOST) };
    socket.bind(&any.address(false), 0).expect("a free port");
    let name = socket.local_name().expect("a name");
    (socket, name)
}

fn send(socket: &Datagram, bytes: &[u8], to: Option<&Address>) -> Result<usize> {
    let sending = Sending { flags: MsgFlags::DONTWAIT, to, control: &[] };
    socket.send(&mut Source::Kernel(bytes), &sending)
}

fn receive(socket: &Datagram, len: usize, flags: MsgFlags) -> Result<(Vec<u8>, Received)> {
    let mut bytes = std::vec![0; len];
    let receiving = Receiving { flags: flags | MsgFlags::DONTWAIT, wants_address: true };
    let received = socket.receive(&mut Sink::Kernel(&mut bytes), receiving)?;
    bytes.truncate(received.len);
    Ok((bytes, received))
}

#[test]
fn a_message_says_who_sent_it_and_a_reply_finds_its_way() {
    let (server, name) = bound();
    let client = udp();
    assert_eq!(send(&client, b"hello", Some(&name)), Ok(5));
    let (bytes, received) = receive(&server, 9, MsgFlags::empty()).expect("a message");
    assert_eq!(
        (bytes.as_slice(), received.from.as_ref().map(|from| from.bytes().len())),
        (b"hello".as_slice(), Some(16))
    );
    let from = Endpoint { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), ..client.inner.lock().local };
    assert_eq!(received.from, Some(from.address(false)));
    assert_eq!(send(&server, b"you too", received.from.as_ref()), Ok(7));
    assert_eq!(receive(&client, 9, MsgFlags::empty()).expect("a message").0, b"you too");
    client.release();
    server.release();
}

#[test]
fn a_connected_socket_learns_that_nobody_is_there() {
    let (server, name) = bound();
    server.release();
    let client = udp();
    client.connect(&name, true).expect("local");
    assert_eq!(send(&client, b"x", None), Ok(1));
    assert!(client.poll().contains(PollMask::ERR));
    assert_eq!(send(&client, b"x", None), Err(Errno::ECONNREFUSED));
    client.release();
}

#[test]
fn what_does_not_fit_is_dropped() {
    let (server, name) = bound();
    let client = udp();
    for _ in 0..10_000 {
        assert_eq!(send(&client, &[1; 1000], Some(&name)), Ok(1000));
    }
    assert!(server.inner.lock().charged <= server.core.options.rcvbuf() as usize);
    assert!(server.dropped.load(Ordering::Relaxed) != 0);
    client.release();
    server.release();
}

proptest! {
    #[test]
    fn raw_packets_of_any_shape_are_refused_or_sent(bytes in prop::collection::vec(any::<u8>(), 0..80), v6: bool) {
        crate::mem::init_for_tests();
        for what in [Kind::Raw(1), Kind::Raw(255), Kind::Raw(58), Kind::Ping] {
            let socket = create(v6, what).expect("a socket");
            let local = if v6 { IpAddr::V6(std::net::Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
            let to = Endpoint { port: 0, addr: local }.address(v6);
            let _ = send(&socket, &bytes, Some(&to));
            let _ = receive(&socket, 100, MsgFlags::empty());
            socket.release();
        }
    }
}
