//! Control messages are read or refused, whatever ring 3 passes.

use alloc::vec::Vec;
use proptest::{collection, prelude::*};

use super::control::{HEADER, Message, messages, place};
use crate::errno::Errno;

fn layout(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADER + data.len()) as u64).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&level.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

#[test]
fn a_length_beyond_the_space_is_refused() {
    let mut bytes = layout(1, 1, &[1, 2, 3, 4]);
    bytes[0] = 200;
    assert_eq!(messages(&bytes).next(), Some(Err(Errno::EINVAL)));
    bytes[0] = 15;
    assert_eq!(messages(&bytes).collect::<Vec<_>>(), [Err(Errno::EINVAL)]);
    assert_eq!(messages(&bytes[..15]).next(), None);
}

proptest! {
    #[test]
    fn what_was_laid_out_is_read(
        sent in collection::vec((any::<i32>(), any::<i32>(), collection::vec(any::<u8>(), 0..40)), 0..6)
    ) {
        let bytes: Vec<u8> = sent.iter().flat_map(|(level, kind, data)| layout(*level, *kind, data)).collect();
        let read: Vec<_> = messages(&bytes).collect::<Result<_, _>>().expect("well formed");
        let sent: Vec<_> =
            sent.iter().map(|(level, kind, data)| Message { level: *level, kind: *kind, data }).collect();
        prop_assert_eq!(read, sent);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in collection::vec(any::<u8>(), 0..200)) {
        let mut count = 0;
        for message in messages(&bytes) {
            count += 1;
            if let Ok(message) = message {
                prop_assert!(message.data.len() + HEADER <= bytes.len());
            }
        }
        prop_assert!(count <= bytes.len() / HEADER + 1);
    }

    #[test]
    fn damaged_layouts_are_read_or_refused(
        data in collection::vec(any::<u8>(), 0..40),
        len in any::<u64>(),
    ) {
        let mut bytes = layout(1, 2, &data);
        bytes[..8].copy_from_slice(&len.to_ne_bytes());
        for message in messages(&bytes).flatten() {
            prop_assert!(message.data.len() + HEADER <= bytes.len());
        }
    }

    #[test]
    fn what_is_stored_fits(data in 0usize..5000, space in 0usize..5000) {
        match place(data, space) {
            None => prop_assert!(space < HEADER),
            Some(place) => {
                prop_assert!(place.len <= space && place.step <= space && place.len <= HEADER + data);
                prop_assert_eq!(place.cut, place.len < HEADER + data);
                prop_assert!(place.step >= place.len || place.step == space);
            }
        }
    }
}
