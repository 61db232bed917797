//! Streams through sockets as programs use them.

use proptest::prelude::*;
use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr},
    vec::Vec,
};

use super::*;
use crate::net::MsgFlags;

fn any_port() -> Address {
    Endpoint { port: 0, addr: IpAddr::V4(Ipv4Addr::LOCALHOST) }.address(false)
}

fn listener(backlog: u32) -> (Arc<Tcp>, Address) {
    crate::mem::init_for_tests();
    let socket = create(false);
    socket.bind(&any_port(), 0).expect("a free port");
    socket.listen(backlog).expect("bound");
    let name = socket.local_name().expect("a name");
    (socket, name)
}

fn accept(listener: &Tcp) -> Result<Arc<Tcp>> {
    listener.take_connection(true)
}

/// The connecting and the accepted end.
fn connected() -> (Arc<Tcp>, Arc<Tcp>) {
    let (server, name) = listener(4);
    let client = create(false);
    client.connect(&name, false).expect("it listens");
    let accepted = accept(&server).expect("a connection");
    server.release();
    (client, accepted)
}

fn send(socket: &Tcp, bytes: &[u8], flags: MsgFlags) -> Result<usize> {
    let sending = Sending { flags: flags | MsgFlags::DONTWAIT | MsgFlags::NOSIGNAL, to: None, control: &[] };
    socket.send(&mut Source::Kernel(bytes), &sending)
}

fn receive(socket: &Tcp, len: usize, flags: MsgFlags) -> Result<Vec<u8>> {
    let mut bytes = std::vec![0; len];
    let receiving = Receiving { flags: flags | MsgFlags::DONTWAIT, wants_address: false };
    let received = socket.receive(&mut Sink::Kernel(&mut bytes), receiving)?;
    bytes.truncate(received.len);
    Ok(bytes)
}

const NO: MsgFlags = MsgFlags::empty();

#[test]
fn an_end_of_each_kind() {
    let (client, server) = connected();
    assert_eq!(send(&client, b"abc", NO), Ok(3));
    client.shutdown(half::SEND).expect("connected");
    assert_eq!(receive(&server, 9, NO).as_deref(), Ok(b"abc".as_slice()));
    assert_eq!(receive(&server, 9, NO).as_deref(), Ok(b"".as_slice()));
    assert_eq!(send(&client, b"x", NO), Err(Errno::EPIPE));
    assert_eq!(send(&server, b"more", NO), Ok(4));
    assert_eq!(receive(&client, 9, NO).as_deref(), Ok(b"more".as_slice()));
    server.release();
    assert_eq!(receive(&client, 9, NO).as_deref(), Ok(b"".as_slice()));
    client.release();

    let (client, server) = connected();
    assert_eq!(send(&client, b"abc", NO), Ok(3));
    server.release();
    assert_eq!(receive(&client, 9, NO), Err(Errno::ECONNRESET));
    assert_eq!(receive(&client, 9, NO).as_deref(), Ok(b"".as_slice()));
    client.release();

    let (client, server) = connected();
    server.release();
    assert_eq!(send(&client, b"x", NO), Ok(1), "sent before the reset comes back");
    assert_eq!(send(&client, b"x", NO), Err(Errno::EPIPE));
    client.release();
}

#[test]
fn nobody_listens() {
    let (server, name) = listener(0);
    server.release();
    let client = create(false);
    assert_eq!(client.connect(&name, false), Err(Errno::ECONNREFUSED));
    assert_eq!(client.connect(&name, true), Err(Errno::EINPROGRESS));
    assert!(client.poll().contains(PollMask::ERR | PollMask::HUP));
    assert_eq!(client.core.take_error_code(), Errno::ECONNREFUSED.code());
    client.release();
}

#[test]
fn a_full_queue_lets_others_wait() {
    let (server, name) = listener(0);
    let clients: Vec<_> = (0..3).map(|_| create(false)).collect();
    for client in &clients {
        assert_eq!(client.connect(&name, true), Err(Errno::EINPROGRESS));
    }
    let states = || clients.iter().map(|client| client.state()).collect::<Vec<_>>();
    assert_eq!(states(), [State::Established, State::SynSent, State::SynSent]);
    let first = accept(&server).expect("a connection");
    assert_eq!(states()[1], State::Established);
    server.release();
    assert_eq!(states(), [State::Established, State::Closed, State::Closed]);
    assert_eq!(clients[1].core.take_error_code(), Errno::ECONNRESET.code());
    assert_eq!(clients[2].core.take_error_code(), Errno::ECONNREFUSED.code());
    first.release();
    clients.iter().for_each(|client| client.release());
}

#[test]
fn an_urgent_byte_is_read_by_itself() {
    let (client, server) = connected();
    assert_eq!(send(&client, b"ab", NO), Ok(2));
    assert_eq!(send(&client, b"cU", MsgFlags::OOB), Ok(2));
    assert_eq!(send(&client, b"de", NO), Ok(2));
    assert!(server.poll().contains(PollMask::PRI));
    assert_eq!(receive(&server, 9, NO).as_deref(), Ok(b"abc".as_slice()));
    assert!(server.is_at_mark());
    assert_eq!(receive(&server, 1, MsgFlags::OOB).as_deref(), Ok(b"U".as_slice()));
    assert_eq!(receive(&server, 1, MsgFlags::OOB), Err(Errno::EINVAL));
    assert_eq!(receive(&server, 9, NO).as_deref(), Ok(b"de".as_slice()));
    client.release();
    server.release();
}

#[test]
fn a_peek_that_meets_only_an_urgent_byte_ends() {
    let (client, server) = connected();
    assert_eq!(send(&client, b"U", MsgFlags::OOB), Ok(1));
    assert_eq!(receive(&server, 9, MsgFlags::PEEK), Err(Errno::EAGAIN));
    client.release();
    assert_eq!(receive(&server, 9, MsgFlags::PEEK).as_deref(), Ok(b"".as_slice()));
    server.release();
}

#[test]
fn no_more_than_the_buffers_hold_is_on_the_way() {
    let (client, server) = connected();
    let mut sent = 0;
    let bytes = std::vec![7; 100_000];
    while let Ok(step) = send(&client, &bytes, NO) {
        sent += step;
    }
    assert_eq!(sent, client.capacity(&server));
    assert!(!client.poll().contains(PollMask::OUT));
    let mut got = 0;
    while let Ok(bytes) = receive(&server, 65_536, NO) {
        got += bytes.len();
    }
    assert_eq!((got, server.queued()), (sent, 0));
    assert!(client.poll().contains(PollMask::OUT));
    client.release();
    server.release();
}

proptest! {
    #[test]
    fn a_stream_is_its_bytes_in_order(steps in prop::collection::vec((0u8..4, 1usize..40_000), 1..40)) {
        let (client, server) = connected();
        let mut model: VecDeque<u8> = VecDeque::new();
        let mut next = 0u8;
        for (step, len) in steps {
            match step {
                0 | 1 => {
                    let len = if step == 0 { len } else { len % 600 };
                    let bytes: Vec<u8> = (0..len).map(|at| next.wrapping_add(at as u8)).collect();
                    let done = send(&client, &bytes, NO).unwrap_or(0);
                    model.extend(&bytes[..done]);
                    next = next.wrapping_add(done as u8);
                }
                _ => {
                    let flags = if step == 2 { MsgFlags::PEEK } else { NO };
                    let expected: Vec<u8> = model.iter().take(len).copied().collect();
                    let got = receive(&server, len, flags).unwrap_or_default();
                    prop_assert_eq!(&got, &expected);
                    if step == 3 {
                        model.drain(..got.len());
                    }
                }
            }
            prop_assert_eq!(server.queued(), model.len());
        }
        client.release();
        server.release();
    }
}
