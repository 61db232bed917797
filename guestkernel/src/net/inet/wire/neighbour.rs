//! Who is on the link: hardware addresses by address, asked for when they are needed.
//!
//! Locks: the table, a leaf under nothing but a flow's lock.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::net::IpAddr;

use hostcall::NetFrame;

use super::{
    ether::{self, Mac, Talk},
    transmit,
};
use crate::{
    arch::clock,
    net::inet::link,
    sync::SpinLock,
    time::{
        NSEC_PER_SEC,
        timer::{self, Action},
    },
};

/// Most neighbours, and packets that wait for one.
const MOST: usize = 1024;
const WAITING: usize = 16;
/// How long an answer is good without another look, ns.
const FRESH: u64 = 30 * NSEC_PER_SEC;
/// Between two questions, ns, and how many are asked.
const PAUSE: u64 = NSEC_PER_SEC;
const TRIES: u8 = 3;

/// A frame that waits for its first 6 bytes.
type Waiting = (NetFrame, Vec<u8>);

#[derive(Debug, Default)]
struct Entry {
    mac: Option<Mac>,
    /// When it answered last.
    confirmed: u64,
    asked: u64,
    tries: u8,
    queue: Vec<Waiting>,
}

#[derive(Debug)]
struct Table {
    entries: BTreeMap<IpAddr, Entry>,
    /// The timer runs.
    ticking: bool,
}

static TABLE: SpinLock<Table> = SpinLock::new(Table { entries: BTreeMap::new(), ticking: false });

impl Table {
    /// Room for one more.
    fn make_room(&mut self) {
        while self.entries.len() >= MOST {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| (entry.mac.is_none(), entry.confirmed));
            let Some(addr) = oldest.map(|(addr, _)| *addr) else { return };
            self.entries.remove(&addr);
        }
    }

    /// The address, and whether to ask for it.
    fn resolve(&mut self, next: IpAddr, now: u64) -> (Option<Mac>, bool) {
        if !self.entries.contains_key(&next) {
            self.make_room();
        }
        let entry = self.entries.entry(next).or_default();
        if entry.mac.is_some() && now.saturating_sub(entry.confirmed) < FRESH {
            return (entry.mac, false);
        }
        let asks = entry.tries == 0 || now.saturating_sub(entry.asked) >= PAUSE;
        if asks {
            entry.asked = now;
            entry.tries = entry.tries.saturating_add(1);
            if entry.mac.is_some() && entry.tries > TRIES {
                // It has gone.
                (entry.mac, entry.tries) = (None, 1);
            }
        }
        (entry.mac, asks)
    }

    /// A neighbour speaks of an address; what waited for it.
    fn learn(&mut self, addr: IpAddr, mac: Mac, insert: bool, now: u64) -> Vec<Waiting> {
        if !self.entries.contains_key(&addr) {
            if !insert {
                return Vec::new();
            }
            self.make_room();
        }
        let entry = self.entries.entry(addr).or_default();
        (entry.mac, entry.confirmed, entry.tries) = (Some(mac), now, 0);
        core::mem::take(&mut entry.queue)
    }

    /// Who is to be asked once more, and what nobody will ever take.
    fn tick(&mut self, now: u64) -> (Vec<IpAddr>, Vec<Waiting>) {
        let (mut asks, mut lost) = (Vec::new(), Vec::new());
        self.entries.retain(|addr, entry| {
            if entry.mac.is_some() || now.saturating_sub(entry.asked) < PAUSE / 2 {
                return true;
            }
            if entry.tries >= TRIES {
                lost.append(&mut entry.queue);
                return false;
            }
            entry.asked = now;
            entry.tries += 1;
            asks.push(*addr);
            true
        });
        self.ticking = self.entries.values().any(|entry| entry.mac.is_none());
        (asks, lost)
    }
}

/// The hardware address of `next`. Where it is not known yet, it is asked for and `frame` is kept until it is.
pub(super) fn resolve(next: IpAddr, frame: impl FnOnce() -> Waiting) -> Option<Mac> {
    let now = clock::monotonic_ns();
    let (mac, asks) = {
        let mut table = TABLE.lock();
        let (mac, asks) = table.resolve(next, now);
        if mac.is_none() {
            if let Some(entry) = table.entries.get_mut(&next)
                && entry.queue.try_reserve(1).is_ok()
            {
                if entry.queue.len() >= WAITING {
                    entry.queue.remove(0);
                }
                entry.queue.push(frame());
            }
            if !core::mem::replace(&mut table.ticking, true) {
                start_timer(now);
            }
        }
        (mac, asks)
    };
    if asks {
        ask(next);
    }
    mac
}

fn start_timer(now: u64) {
    timer::add(now + PAUSE, Action::Call(Arc::new(tick)));
}

fn tick() {
    let now = clock::monotonic_ns();
    let (asks, lost) = {
        let mut table = TABLE.lock();
        let outcome = table.tick(now);
        if table.ticking {
            start_timer(now);
        }
        outcome
    };
    asks.into_iter().for_each(ask);
    for (_, frame) in lost {
        super::lost(&frame);
    }
}

/// Asks everybody on the link.
fn ask(target: IpAddr) {
    let Some(wire) = link::wire() else { return };
    match target {
        IpAddr::V4(target) => {
            let from = match link::path(target.into()).map(|path| path.source) {
                Ok(IpAddr::V4(source)) => source,
                _ => return,
            };
            let head = ether::header(ether::BROADCAST, wire.mac, ether::ARP);
            transmit(NetFrame::default(), &[&head, &ether::arp(true, (wire.mac, from), ([0; 6], target))]);
        }
        IpAddr::V6(target) => {
            let from = match link::path(target.into()).map(|path| path.source) {
                Ok(IpAddr::V6(source)) => source,
                _ => return,
            };
            let group = ether::solicited(target);
            let body = ether::neighbour(wire.mac, target, from, group, false, false);
            super::send_discovery(&body, from, group, None);
        }
    }
}

/// Takes in what a neighbour said, and answers what it asked.
pub(super) fn hear(talk: &Talk) {
    let Some(wire) = link::wire() else { return };
    let for_us = link::is_local(talk.target) && wire.addresses.iter().any(|one| one.addr == talk.target);
    // Somebody who says that he has our address, or a group's, is not believed.
    let believed = talk.mac.filter(|mac| mac[0] & 1 == 0 && *mac != wire.mac);
    let speaks_of = if talk.asks { talk.sender } else { talk.target };
    if let Some(mac) = believed
        && !speaks_of.is_unspecified()
        && !speaks_of.is_multicast()
        && !link::is_local(speaks_of)
    {
        let waiting = TABLE.lock().learn(speaks_of, mac, talk.asks && for_us, clock::monotonic_ns());
        for (head, mut frame) in waiting {
            frame[..6].copy_from_slice(&mac);
            transmit(head, &[&frame]);
        }
    }
    if !(talk.asks && for_us) {
        return;
    }
    match (talk.target, talk.sender, believed) {
        (IpAddr::V4(target), IpAddr::V4(sender), Some(mac)) => {
            let head = ether::header(mac, wire.mac, ether::ARP);
            transmit(NetFrame::default(), &[&head, &ether::arp(false, (wire.mac, target), (mac, sender))]);
        }
        (IpAddr::V6(target), IpAddr::V6(sender), _) => {
            // Who has no address yet looks whether one is free: everybody is to hear that it is not.
            let all = core::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            let to = if sender.is_unspecified() { all } else { sender };
            let body = ether::neighbour(wire.mac, target, target, to, true, !sender.is_unspecified());
            super::send_discovery(&body, target, to, believed);
        }
        _ => {}
    }
}

/// Somebody whom the host knew.
pub(super) fn know(addr: IpAddr, mac: Mac) {
    if mac[0] & 1 == 0 {
        TABLE.lock().learn(addr, mac, true, clock::monotonic_ns());
    }
}

/// Who is known.
#[must_use]
pub fn list() -> Vec<(IpAddr, Option<Mac>)> {
    TABLE.lock().entries.iter().map(|(addr, entry)| (*addr, entry.mac)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a_neighbour_is_asked_for_until_it_answers_or_is_given_up() {
        let mut table = Table { entries: BTreeMap::new(), ticking: true };
        assert_eq!(table.resolve(addr(1), 0), (None, true));
        assert_eq!(table.resolve(addr(1), 1), (None, false));
        assert_eq!(table.tick(PAUSE).0, [addr(1)]);
        table.entries.get_mut(&addr(1)).expect("there").queue.push((NetFrame::default(), Vec::new()));
        assert_eq!(table.learn(addr(1), [2; 6], false, PAUSE).len(), 1);
        assert_eq!(table.resolve(addr(1), 2 * PAUSE), (Some([2; 6]), false));
        // Old knowledge is used while it is looked at again.
        let later = PAUSE + FRESH;
        assert_eq!(table.resolve(addr(1), later), (Some([2; 6]), true));
        assert_eq!(table.resolve(addr(1), later + 1), (Some([2; 6]), false));
        for round in 1..3 {
            assert_eq!(table.resolve(addr(1), later + round * PAUSE), (Some([2; 6]), true));
        }
        assert_eq!(table.resolve(addr(1), later + 3 * PAUSE), (None, true));
        let (mut now, mut asked) = (later + 3 * PAUSE, 0);
        while table.ticking {
            now += PAUSE;
            asked += table.tick(now).0.len();
        }
        assert_eq!((asked, table.entries.len()), (2, 0));
        assert!(table.learn(addr(9), [2; 6], false, now).is_empty());
        assert!(table.entries.is_empty(), "what was not asked for is not kept");
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = Table { entries: BTreeMap::new(), ticking: false };
        for number in 0..5000 {
            table.learn(addr(number), [2; 6], true, number.into());
            table.resolve(addr(1 << 20 | number), number.into());
            assert!(table.entries.len() <= MOST);
        }
    }
}
