//! The queues, seen through descriptors as programs use them.

use linux_raw_sys::general::O_NONBLOCK;
use proptest::prelude::*;
use std::{collections::VecDeque, sync::Arc, vec::Vec};

use super::{rights, *};
use crate::{
    fs::File,
    net::{MsgFlags, file},
};

const NOW: MsgFlags = MsgFlags::DONTWAIT;

fn connected(kind: u32) -> [Arc<File>; 2] {
    crate::mem::init_for_tests();
    pair(kind, 0).expect("a pair").map(|socket| file::open(socket, O_NONBLOCK))
}

fn of(file: &Arc<File>) -> &UnixSocket {
    file::socket(file).expect("a socket").downcast().expect("of this family")
}

fn send(file: &Arc<File>, bytes: &[u8]) -> Result<usize> {
    file.write(&mut Source::Kernel(bytes))
}

fn receive(file: &Arc<File>, len: usize, flags: MsgFlags) -> Result<(Vec<u8>, Received)> {
    let mut bytes = std::vec![0; len];
    let receiving = Receiving { flags: flags | NOW, wants_address: false };
    let received = of(file).receive(&mut Sink::Kernel(&mut bytes), receiving)?;
    bytes.truncate(received.len);
    Ok((bytes, received))
}

/// Sends `files` with a byte.
fn pass(to: &Arc<File>, files: Vec<Arc<File>>) {
    let ancillary = Ancillary { files: Some(rights::attach(files).expect("few")), cred: None };
    let sending = Sending { flags: NOW, to: None, control: &[] };
    of(to).send_stream(&mut Source::Kernel(b"x"), &sending, ancillary).expect("room");
}

/// Whether the other end goes; another test's thread may be the one that lets go of it.
fn ended(file: &Arc<File>) -> bool {
    (0..200).any(|_| {
        let shut = of(file).core.is_shut(half::SEND);
        if !shut {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        shut
    })
}

#[test]
fn a_closed_peer_ends_the_stream_and_unread_data_reset_it() {
    let [first, second] = connected(SOCK_STREAM);
    send(&first, b"abc").expect("room");
    drop(first);
    assert_eq!(receive(&second, 9, NOW).expect("data").0, b"abc");
    assert_eq!(receive(&second, 9, NOW).expect("end").0, b"");
    assert_eq!(send(&second, b"x"), Err(Errno::EPIPE));
    let [first, second] = connected(SOCK_STREAM);
    send(&first, b"abc").expect("room");
    drop(second);
    assert_eq!(receive(&first, 9, NOW).err(), Some(Errno::ECONNRESET));
    assert_eq!(receive(&first, 9, NOW).expect("end").0, b"");
}

#[test]
fn messages_keep_their_bounds_and_say_when_they_are_cut() {
    for kind in [SOCK_DGRAM, SOCK_SEQPACKET] {
        let [first, second] = connected(kind);
        send(&first, b"abcdef").expect("room");
        send(&first, b"").expect("room");
        let (bytes, received) = receive(&second, 2, MsgFlags::PEEK | MsgFlags::TRUNC).expect("data");
        assert_eq!((bytes.len(), received.len, received.flags), (2, 6, MsgFlags::TRUNC));
        assert_eq!(receive(&second, 3, NOW).expect("data").0, b"abc");
        assert_eq!(receive(&second, 3, NOW).expect("empty").0, b"");
        assert_eq!(receive(&second, 3, NOW).err(), Some(Errno::EAGAIN));
    }
}

#[test]
fn what_is_sent_is_charged_until_it_is_read() {
    let [first, second] = connected(SOCK_STREAM);
    let mut sent = 0;
    while let Ok(step) = send(&first, &[7; 3000]) {
        sent += step;
    }
    assert_eq!(send(&first, b"x"), Err(Errno::EAGAIN));
    assert!(!of(&first).poll().contains(PollMask::OUT));
    assert!(of(&first).core.charged() < 212_992 + 8192);
    assert_eq!(of(&second).readable_bytes(), Ok(sent));
    let mut got = 0;
    while let Ok((bytes, _)) = receive(&second, 10_000, NOW) {
        got += bytes.len();
    }
    assert_eq!((got, of(&first).core.charged()), (sent, 0));
    assert!(of(&first).poll().contains(PollMask::OUT));
}

#[test]
fn files_travel_and_bound_a_read() {
    let [first, second] = connected(SOCK_STREAM);
    let [inner, other] = connected(SOCK_STREAM);
    send(&first, b"ab").expect("room");
    pass(&first, std::vec![inner]);
    send(&first, b"cd").expect("room");
    let (bytes, received) = receive(&second, 9, NOW).expect("data");
    assert_eq!((bytes.as_slice(), received.control.len()), (b"abx".as_slice(), 1));
    send(&other, b"!").expect("the other end is open");
    drop(received);
    assert!(ended(&other));
    assert_eq!(send(&other, b"!"), Err(Errno::EPIPE));
    assert_eq!(receive(&second, 9, NOW).expect("data").0, b"cd");
}

#[test]
fn rings_of_sockets_in_flight_are_found() {
    let [first, second] = connected(SOCK_STREAM);
    let [watch, inside] = connected(SOCK_STREAM);
    // A socket in its own queue, with another file in there.
    pass(&first, std::vec![second.clone(), inside]);
    pass(&second, std::vec![first.clone()]);
    drop((first, second));
    let [spark, _] = connected(SOCK_STREAM);
    // Other tests' rings count as well: enough closes pay for all.
    drop(spark);
    for _ in 0..64 {
        drop(connected(SOCK_STREAM));
    }
    assert!(ended(&watch), "the ring is still there");
}

#[test]
fn living_sockets_in_flight_are_kept() {
    let [first, second] = connected(SOCK_STREAM);
    let [watch, inside] = connected(SOCK_STREAM);
    let [outer, carried] = connected(SOCK_STREAM);
    pass(&outer, std::vec![inside]);
    pass(&first, std::vec![carried]);
    drop(outer);
    for _ in 0..64 {
        drop(connected(SOCK_STREAM));
    }
    assert!(!of(&watch).core.is_shut(half::SEND));
    drop((first, second));
    assert!(ended(&watch));
}

#[test]
fn deeply_nested_files_are_let_go_of_one_by_one() {
    let [mut outer, mut carried] = connected(SOCK_STREAM);
    for _ in 0..20_000 {
        let [first, second] = connected(SOCK_STREAM);
        pass(&first, std::vec![outer, carried]);
        (outer, carried) = (first, second);
    }
    drop((outer, carried));
}

proptest! {
    #[test]
    fn a_stream_is_its_bytes_in_order(steps in prop::collection::vec((0u8..3, 1usize..9000), 1..60)) {
        let [first, second] = connected(SOCK_STREAM);
        let mut model: VecDeque<u8> = VecDeque::new();
        let mut next = 0u8;
        for (step, len) in steps {
            if step == 0 {
                let bytes: Vec<u8> = (0..len).map(|_| { next = next.wrapping_add(1); next }).collect();
                let done = send(&first, &bytes).unwrap_or(0);
                model.extend(&bytes[..done]);
                next = bytes[..done].last().copied().unwrap_or(next.wrapping_sub(len as u8));
            } else {
                let flags = if step == 1 { MsgFlags::PEEK } else { NOW };
                let expected: Vec<u8> = model.iter().take(len).copied().collect();
                let got = receive(&second, len, flags).map(|(bytes, _)| bytes).unwrap_or_default();
                prop_assert_eq!(&got, &expected);
                if step == 2 {
                    model.drain(..got.len());
                }
            }
            prop_assert_eq!(of(&second).readable_bytes(), Ok(model.len()));
        }
    }

    #[test]
    fn datagrams_come_one_by_one(steps in prop::collection::vec((any::<bool>(), 0usize..3000), 1..60)) {
        let [first, second] = connected(SOCK_DGRAM);
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        for (at, (sends, len)) in steps.into_iter().enumerate() {
            if sends {
                let bytes = std::vec![at as u8; len];
                if send(&first, &bytes).is_ok() {
                    model.push_back(bytes);
                }
            } else {
                let expected = model.pop_front().map(|mut bytes| { bytes.truncate(len); bytes });
                prop_assert_eq!(receive(&second, len, NOW).ok().map(|(bytes, _)| bytes), expected);
            }
        }
    }
}
