//! Netlink messages (netlink(7)): reading requests, laying out answers.

use alloc::vec::Vec;

/// Bytes of a `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// Bytes of a `struct rtattr`.
const ATTRIBUTE: usize = 4;

/// `nlmsg_flags`.
pub(super) mod flag {
    pub(in crate::net::netlink) const REQUEST: u16 = 1;
    pub(in crate::net::netlink) const MULTI: u16 = 2;
    pub(in crate::net::netlink) const ACK: u16 = 4;
    pub(in crate::net::netlink) const DUMP: u16 = 0x300;
}

/// `NLMSG_ERROR`.
pub(super) const ERROR: u16 = 2;
/// `NLMSG_DONE`.
pub(super) const DONE: u16 = 3;
/// Types below are netlink's own.
pub(super) const FIRST_TYPE: u16 = 16;

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// Header and all.
    pub(super) whole: &'a [u8],
}

impl<'a> Request<'a> {
    /// What follows the header.
    pub(super) fn payload(&self) -> &'a [u8] {
        &self.whole[HEADER..]
    }

    pub(super) fn is_dump(&self) -> bool {
        self.flags & flag::DUMP == flag::DUMP
    }
}

/// The word at `at`; 0 when it is not there.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// Half a word, likewise.
pub(super) fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|half| half.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

/// The type of the first message in a datagram.
pub(super) fn kind(bytes: &[u8]) -> u16 {
    half(bytes, 4)
}

/// The requests in a datagram, up to the first that is malformed.
pub(super) fn requests(bytes: &[u8]) -> impl Iterator<Item = Request<'_>> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        if rest.len() < HEADER {
            return None;
        }
        let len = word(rest, 0) as usize;
        let whole = rest.get(..len).filter(|_| len >= HEADER)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Request { kind: half(whole, 4), flags: half(whole, 6), sequence: word(whole, 8), whole })
    })
}

/// The attributes behind the first `skip` bytes of a payload: types and data.
pub(super) fn attributes(payload: &[u8], skip: usize) -> impl Iterator<Item = (u16, &[u8])> {
    /// Nested, or in network order: no part of the type.
    const TYPE: u16 = 0x3fff;
    let mut rest = payload.get(skip..).unwrap_or_default();
    core::iter::from_fn(move || {
        let len = usize::from(half(rest, 0));
        let data = rest.get(ATTRIBUTE..len)?;
        let kind = half(rest, 2) & TYPE;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, data))
    })
}

/// Messages that are laid out one behind the other.
#[derive(Debug, Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    /// Where the last begins.
    start: usize,
}

impl Messages {
    /// Begins a message.
    pub(super) fn begin(&mut self, kind: u16, flags: u16, sequence: u32, port: u32) {
        self.pad();
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&port.to_ne_bytes());
        self.end();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Notes how long the message is now.
    fn end(&mut self) {
        let len = (self.bytes.len() - self.start) as u32;
        self.bytes[self.start..self.start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// Adds to the message's fixed part.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.end();
    }

    /// Adds an attribute.
    pub(super) fn attribute(&mut self, kind: u16, data: &[u8]) {
        self.pad();
        self.bytes.extend_from_slice(&((ATTRIBUTE + data.len()) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(data);
        self.pad();
        self.end();
    }

    /// Adds an attribute that is a number.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// Adds an attribute that is a text with its end.
    pub(super) fn text(&mut self, kind: u16, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    /// All of them, in parts of whole messages that are `most` bytes long unless one message is longer.
    pub(super) fn into_parts(self, most: usize) -> Vec<Vec<u8>> {
        let bytes = self.into_bytes();
        let (mut parts, mut part) = (Vec::new(), Vec::new());
        for message in requests(&bytes) {
            if !part.is_empty() && part.len() + message.whole.len() > most {
                parts.push(core::mem::take(&mut part));
            }
            part.extend_from_slice(message.whole);
            part.resize(part.len().next_multiple_of(4), 0);
        }
        if !part.is_empty() {
            parts.push(part);
        }
        parts
    }

    /// All of them.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.pad();
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_laid_out_is_read() {
        let mut messages = Messages::default();
        messages.begin(18, flag::REQUEST, 7, 9);
        messages.put(&[0; 16]);
        messages.text(3, "lo");
        messages.number(4, 65536);
        messages.begin(DONE, 0, 8, 9);
        let bytes = messages.into_bytes();
        let all: Vec<_> = requests(&bytes).collect();
        assert_eq!(all.iter().map(|one| (one.kind, one.sequence)).collect::<Vec<_>>(), [(18, 7), (DONE, 8)]);
        let attributes: Vec<_> = attributes(all[0].payload(), 16).collect();
        assert_eq!(attributes, [(3, b"lo\0".as_slice()), (4, 65536u32.to_ne_bytes().as_slice())]);
    }

    proptest! {
        #[test]
        fn hostile_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300), small in prop::collection::vec(0u8..20, 0..200), skip in 0usize..40) {
            for bytes in [bytes, small] {
                let count = requests(&bytes).map(|one| attributes(one.payload(), skip).count()).sum::<usize>();
                prop_assert!(count <= bytes.len());
                prop_assert!(attributes(&bytes, skip).count() <= bytes.len());
            }
        }
    }
}
