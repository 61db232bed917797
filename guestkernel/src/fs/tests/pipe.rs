use linux_raw_sys::general::O_NONBLOCK;
use proptest::prelude::*;
use std::collections::VecDeque;

use super::{
    super::{
        file::PollMask,
        pipe::{self, PipeEnd},
    },
    *,
};
use crate::errno::Errno;

#[test]
fn ends_see_each_other_go() {
    let (reader, writer) = pipe::pair(O_NONBLOCK, 0, 0);
    assert_eq!(read(&reader, 1), Err(Errno::EAGAIN));
    assert_eq!(writer.poll(), PollMask::WRITABLE);
    write(&writer, b"abc").expect("room");
    drop(writer);
    assert_eq!(reader.poll(), PollMask::READABLE | PollMask::HUP);
    assert_eq!(read(&reader, 9).expect("data"), b"abc");
    assert_eq!(read(&reader, 9).expect("end"), b"");
    let (reader, writer) = pipe::pair(O_NONBLOCK, 0, 0);
    drop(reader);
    assert_eq!(write(&writer, b"x"), Err(Errno::EPIPE));
}

#[test]
fn small_writes_are_all_or_nothing() {
    let (reader, writer) = pipe::pair(O_NONBLOCK, 0, 0);
    assert_eq!(write(&writer, &std::vec![1; 65000]), Ok(65000));
    assert_eq!(write(&writer, &[2; 600]), Err(Errno::EAGAIN));
    assert_eq!(write(&writer, &[2; 5000]), Ok(536));
    assert_eq!(read(&reader, 100).map(|bytes| bytes.len()), Ok(100));
    let pipe = writer.downcast::<PipeEnd>().expect("pipe").pipe();
    assert_eq!(pipe.set_capacity(4096), Err(Errno::EBUSY));
    assert_eq!(pipe.set_capacity(100_000), Ok(131_072));
    assert_eq!(write(&writer, &[2; 600]), Ok(600));
}

proptest! {
    #[test]
    fn bytes_come_out_as_they_went_in(steps in prop::collection::vec((any::<bool>(), 1usize..9000), 1..80)) {
        let (reader, writer) = pipe::pair(O_NONBLOCK, 0, 0);
        let mut model: VecDeque<u8> = VecDeque::new();
        let mut next = 0u8;
        for (writes, len) in steps {
            if writes {
                let bytes: Vec<u8> = (0..len).map(|_| { next = next.wrapping_add(1); next }).collect();
                let room = 65536 - model.len();
                let expected = if len <= room { len } else if len <= 4096 { 0 } else { room };
                let got = write(&writer, &bytes).unwrap_or(0);
                prop_assert_eq!(got, expected);
                model.extend(&bytes[..got]);
            } else {
                let expected: Vec<u8> = model.drain(..len.min(model.len())).collect();
                prop_assert_eq!(read(&reader, len).unwrap_or_default(), expected);
            }
        }
    }
}
