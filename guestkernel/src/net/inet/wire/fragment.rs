//! Packets that come in pieces. As many are kept as are bounded here; a piece that overlaps another ends its packet
//! (RFC 5722).

use alloc::{collections::BTreeMap, vec::Vec};
use core::net::IpAddr;

use super::packet::Piece;
use crate::{sync::SpinLock, time::NSEC_PER_SEC};

/// Most packets that are put together at a time, pieces of each, and bytes of all.
const PACKETS: usize = 64;
const PIECES: usize = 64;
const BYTES: usize = 1 << 20;
/// Longest packet.
const LONGEST: usize = 65_535;
/// How long the rest is waited for, ns.
const PATIENCE: u64 = 30 * NSEC_PER_SEC;

type Key = (IpAddr, IpAddr, u8, u32);

#[derive(Debug)]
struct Packet {
    since: u64,
    pieces: BTreeMap<usize, Vec<u8>>,
    /// Its length, once the last piece has come.
    len: Option<usize>,
    have: usize,
}

#[derive(Debug)]
struct Table {
    packets: BTreeMap<Key, Packet>,
    bytes: usize,
}

static TABLE: SpinLock<Table> = SpinLock::new(Table { packets: BTreeMap::new(), bytes: 0 });

impl Table {
    fn remove(&mut self, key: &Key) -> Option<Packet> {
        let packet = self.packets.remove(key)?;
        self.bytes -= packet.have;
        Some(packet)
    }

    fn make_room(&mut self, now: u64, len: usize) {
        let old: Vec<Key> = self
            .packets
            .iter()
            .filter(|(_, packet)| now.saturating_sub(packet.since) > PATIENCE)
            .map(|(key, _)| *key)
            .collect();
        for key in old {
            self.remove(&key);
        }
        while self.packets.len() >= PACKETS || self.bytes + len > BYTES {
            let oldest = self.packets.iter().min_by_key(|(_, packet)| packet.since).map(|(key, _)| *key);
            let Some(oldest) = oldest else { return };
            self.remove(&oldest);
        }
    }

    fn add(&mut self, key: Key, piece: Piece, data: &[u8], now: u64) -> Option<Vec<u8>> {
        let end = piece.offset + data.len();
        let whole = data.len().is_multiple_of(8) || !piece.more;
        if data.is_empty() || end > LONGEST || !whole {
            return None;
        }
        if !self.packets.contains_key(&key) {
            self.make_room(now, data.len());
        } else if self.bytes + data.len() > BYTES {
            self.remove(&key);
            return None;
        }
        let packet = self.packets.entry(key).or_insert_with(|| Packet {
            since: now,
            pieces: BTreeMap::new(),
            len: None,
            have: 0,
        });
        let before = packet.pieces.range(..end).next_back().map_or(0, |(at, data)| at + data.len());
        let ends = packet.len.map_or(!piece.more || packet.pieces.range(end..).next().is_none(), |len| {
            if piece.more { end <= len } else { end == len }
        });
        let beyond = !piece.more && packet.pieces.range(end..).next().is_some();
        if before > piece.offset || !ends && packet.len.is_some() || beyond || packet.pieces.len() >= PIECES {
            self.remove(&key);
            return None;
        }
        if !piece.more {
            packet.len = Some(end);
        }
        packet.have += data.len();
        packet.pieces.insert(piece.offset, data.to_vec());
        let done = packet.len == Some(packet.have);
        self.bytes += data.len();
        if !done {
            return None;
        }
        let packet = self.remove(&key)?;
        Some(packet.pieces.into_values().flatten().collect())
    }
}

/// Adds a piece; the packet's payload once it is whole.
pub(super) fn add(key: Key, piece: Piece, data: &[u8], now: u64) -> Option<Vec<u8>> {
    TABLE.lock().add(key, piece, data, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(id: u32) -> Key {
        (IpAddr::from([1, 1, 1, 1]), IpAddr::from([2, 2, 2, 2]), 17, id)
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_make_the_packet(
            lens in prop::collection::vec(1usize..20, 1..12), order in any::<u64>(), last in 1usize..9
        ) {
            let mut table = Table { packets: BTreeMap::new(), bytes: 0 };
            let len = lens.iter().sum::<usize>() * 8 + last;
            let whole: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut pieces = Vec::new();
            let mut at = 0;
            for len in lens {
                pieces.push((at, len * 8, true));
                at += len * 8;
            }
            pieces.push((at, last, false));
            pieces.sort_by_key(|(at, ..)| (*at as u64).wrapping_mul(order | 1));
            let count = pieces.len();
            for (place, (offset, len, more)) in pieces.into_iter().enumerate() {
                let got = table.add(key(1), Piece { id: 1, offset, more }, &whole[offset..offset + len], 0);
                prop_assert_eq!(got, (place + 1 == count).then(|| whole.clone()));
            }
            prop_assert_eq!((table.bytes, table.packets.len()), (0, 0));
        }

        #[test]
        fn hostile_pieces_are_bounded(
            pieces in prop::collection::vec((0u32..90, 0usize..9000, any::<bool>(), 0usize..1500), 0..400)
        ) {
            let mut table = Table { packets: BTreeMap::new(), bytes: 0 };
            for (now, (id, offset, more, len)) in pieces.into_iter().enumerate() {
                let piece = Piece { id, offset: offset * 8, more };
                let _ = table.add(key(id), piece, &alloc::vec![0; len], now as u64);
                prop_assert!(table.packets.len() <= PACKETS && table.bytes <= BYTES);
                prop_assert_eq!(table.bytes, table.packets.values().map(|packet| packet.have).sum::<usize>());
            }
        }
    }
}
