//! Segments of TCP (RFC 9293, 7323, 2018), read and written.

use arrayvec::ArrayVec;

/// Bytes of a header without options, and the longest with them.
pub(super) const HEADER: usize = 20;
const LONGEST: usize = 60;
/// Most ranges that one segment tells.
pub(super) const SACKS: usize = 4;

bitflags::bitflags! {
    /// Flags of a segment.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(super) struct Flags: u8 {
        const FIN = 1;
        const SYN = 2;
        const RST = 4;
        const PSH = 8;
        const ACK = 16;
    }
}

mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
}

/// Options that are understood.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Options {
    pub(super) mss: Option<u16>,
    pub(super) scale: Option<u8>,
    pub(super) sack_permitted: bool,
    /// The sender's time, and the last that it heard.
    pub(super) timestamps: Option<(u32, u32)>,
    pub(super) sacks: ArrayVec<(u32, u32), SACKS>,
}

/// A segment without its data.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub(super) source: u16,
    pub(super) target: u16,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: Flags,
    pub(super) window: u16,
    pub(super) options: Options,
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads a segment: its head and its data.
pub(super) fn read(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let head = bytes.first_chunk::<HEADER>()?;
    let len = usize::from(head[12] >> 4) * 4;
    let options = bytes.get(HEADER..len)?;
    let read = Head {
        source: half(head, 0),
        target: half(head, 2),
        seq: word(head, 4),
        ack: word(head, 8),
        flags: Flags::from_bits_truncate(head[13]),
        window: half(head, 14),
        options: read_options(options),
    };
    Some((read, &bytes[len..]))
}

/// Reads options as far as they make sense.
fn read_options(mut bytes: &[u8]) -> Options {
    let mut options = Options::default();
    while let Some((&kind, rest)) = bytes.split_first() {
        if kind == option::END {
            break;
        }
        if kind == option::NOP {
            bytes = rest;
            continue;
        }
        let Some(len) = rest.first().map(|len| usize::from(*len)).filter(|len| *len >= 2) else { break };
        let Some(one) = bytes.get(2..len) else { break };
        match (kind, one.len()) {
            (option::MSS, 2) => options.mss = Some(half(one, 0)),
            // RFC 7323: one that is too large is taken for the largest.
            (option::SCALE, 1) => options.scale = Some(one[0].min(14)),
            (option::SACK_PERMITTED, 0) => options.sack_permitted = true,
            (option::TIMESTAMPS, 8) => options.timestamps = Some((word(one, 0), word(one, 4))),
            (option::SACK, _) => {
                let ranges = one.chunks_exact(8).map(|range| (word(range, 0), word(range, 4)));
                options.sacks = ranges.take(SACKS).collect();
            }
            _ => {}
        }
        bytes = &bytes[len..];
    }
    options
}

impl Head {
    /// As bytes, without a checksum.
    pub(super) fn write(&self) -> ArrayVec<u8, LONGEST> {
        let mut bytes: ArrayVec<u8, LONGEST> = ArrayVec::new();
        // All of this together is at most 60 bytes: SACK goes with at most three ranges beside timestamps.
        let mut put = |more: &[u8]| bytes.try_extend_from_slice(more).is_ok();
        put(&self.source.to_be_bytes());
        put(&self.target.to_be_bytes());
        put(&self.seq.to_be_bytes());
        put(&self.ack.to_be_bytes());
        put(&[0, self.flags.bits()]);
        put(&self.window.to_be_bytes());
        put(&[0; 4]);
        let options = &self.options;
        if let Some(mss) = options.mss {
            let [high, low] = mss.to_be_bytes();
            put(&[option::MSS, 4, high, low]);
        }
        if let Some(scale) = options.scale {
            put(&[option::NOP, option::SCALE, 3, scale]);
        }
        if options.sack_permitted {
            put(&[option::NOP, option::NOP, option::SACK_PERMITTED, 2]);
        }
        if let Some((now, echo)) = options.timestamps {
            put(&[option::NOP, option::NOP, option::TIMESTAMPS, 10]);
            put(&now.to_be_bytes());
            put(&echo.to_be_bytes());
        }
        if !options.sacks.is_empty() {
            put(&[option::NOP, option::NOP, option::SACK, 2 + options.sacks.len() as u8 * 8]);
            for (start, end) in &options.sacks {
                put(&start.to_be_bytes());
                put(&end.to_be_bytes());
            }
        }
        let words = bytes.len() / 4;
        if let Some(byte) = bytes.get_mut(12) {
            *byte = (words as u8) << 4;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            ports: (u16, u16), words: (u32, u32, u16), flags in 0u8..32, mss: Option<u16>, scale in prop::option::of(0u8..15),
            sack_permitted: bool, timestamps: Option<(u32, u32)>,
            sacks in prop::collection::vec(any::<(u32, u32)>(), 0..4), data in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            // Ranges never go with what is told at the start only.
            let first = flags & 2 != 0;
            let head = Head {
                source: ports.0,
                target: ports.1,
                seq: words.0,
                ack: words.1,
                window: words.2,
                flags: Flags::from_bits_truncate(flags),
                options: Options {
                    mss: mss.filter(|_| first),
                    scale: scale.filter(|_| first),
                    sack_permitted: sack_permitted && first,
                    timestamps,
                    sacks: if first { ArrayVec::new() } else { sacks.into_iter().collect() },
                },
            };
            let mut bytes = head.write().to_vec();
            prop_assert!(bytes.len().is_multiple_of(4));
            bytes.extend_from_slice(&data);
            prop_assert_eq!(read(&bytes), Some((head, &data[..])));
        }

        #[test]
        fn hostile_segments_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80), len in 0u8..16) {
            let mut bytes = bytes;
            let _ = read(&bytes);
            if let Some(byte) = bytes.get_mut(12) {
                *byte = len << 4;
            }
            let _ = read(&bytes);
        }
    }
}
