//! The sentry's ends of the two rings of frames ([`hostcall::NetFrame`]).

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use hostcall::{
    Hostcall, NET_ALIGN, NET_CONSUMED, NET_CONSUMER_WAITS, NET_FRAME_MAX, NET_FROM_SENTRY, NET_PRODUCED,
    NET_PRODUCER_WAITS, NET_RING, NET_SKIP, NET_TO_SENTRY, NetFrame, net_record,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::{
    arch::{self, PhysAddr},
    errno::{Errno, Result},
    mem::{PAGE_SIZE, frame},
};

/// Pages of a ring, as a power of two.
const RING_ORDER: u32 = (NET_RING / PAGE_SIZE).ilog2();

/// One direction.
#[derive(Debug)]
struct Ring {
    counters: PhysAddr,
    memory: PhysAddr,
    /// How far this end is.
    place: u64,
}

impl Ring {
    fn word(&self, at: u64) -> &'static AtomicU64 {
        arch::shared_word(self.counters.add(at))
    }

    fn at(&self) -> PhysAddr {
        self.memory.add(self.place % NET_RING)
    }

    fn rest(&self) -> u64 {
        NET_RING - self.place % NET_RING
    }
}

/// Where frames come from.
#[derive(Debug)]
pub(super) struct Receiver(Ring);

/// Where frames go.
#[derive(Debug)]
pub(super) struct Sender(Ring);

/// Makes the rings and tells the host.
///
/// # Errors
/// `ENOMEM`, or what the host says.
pub(super) fn make() -> Result<(Receiver, Sender)> {
    let zeroed = |order: u32| -> Result<PhysAddr> {
        let (addr, is_zero) = frame::alloc_order(order).ok_or(Errno::ENOMEM)?;
        if !is_zero {
            for page in 0..1u64 << order {
                arch::zero_page(addr.add(page * PAGE_SIZE));
            }
        }
        Ok(addr)
    };
    let counters = zeroed(0)?;
    let (to, from) = (zeroed(RING_ORDER)?, zeroed(RING_ORDER)?);
    // They are the host's too from now on, for good.
    arch::hostcall::call(Hostcall::NetworkStart, [counters.0, to.0, from.0, 0, 0, 0])?;
    Ok((
        Receiver(Ring { counters: counters.add(NET_TO_SENTRY), memory: to, place: 0 }),
        Sender(Ring { counters: counters.add(NET_FROM_SENTRY), memory: from, place: 0 }),
    ))
}

impl Receiver {
    /// Takes the next frame into `buffer`.
    pub(super) fn next(&mut self, buffer: &mut Vec<u8>) -> Option<NetFrame> {
        let ring = &mut self.0;
        loop {
            let there = ring.word(NET_PRODUCED).load(Ordering::Acquire).wrapping_sub(ring.place);
            if !(NET_ALIGN..=NET_RING).contains(&there) {
                return None;
            }
            let mut head = NetFrame::new_zeroed();
            arch::read_phys(ring.at(), head.as_mut_bytes());
            if head.len == NET_SKIP {
                ring.place += ring.rest();
                continue;
            }
            if head.len > NET_FRAME_MAX || net_record(head.len) > ring.rest().min(there) {
                // The host does not do that.
                return None;
            }
            buffer.clear();
            buffer.resize(head.len as usize, 0);
            arch::read_phys(ring.at().add(NET_ALIGN), buffer);
            ring.place += net_record(head.len);
            return Some(head);
        }
    }

    /// Tells the host what has been taken.
    pub(super) fn release(&self) {
        let ring = &self.0;
        ring.word(NET_CONSUMED).store(ring.place, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let word = ring.word(NET_PRODUCER_WAITS);
        if word.load(Ordering::SeqCst) != 0 && word.swap(0, Ordering::SeqCst) != 0 {
            arch::hostcall::ring_network();
        }
    }

    /// Says whether this end waits for more to be announced. Whether there is more already.
    pub(super) fn wait(&self, waits: bool) -> bool {
        self.0.word(NET_CONSUMER_WAITS).store(waits.into(), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.0.word(NET_PRODUCED).load(Ordering::SeqCst) != self.0.place
    }
}

impl Sender {
    /// Puts a frame, given in pieces, into the ring. `false` when there is no room.
    pub(super) fn send(&mut self, mut head: NetFrame, pieces: &[&[u8]]) -> bool {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        if len > NET_FRAME_MAX as usize {
            return false;
        }
        head.len = len as u32;
        let ring = &mut self.0;
        let record = net_record(head.len);
        let skipped = if ring.rest() < record { ring.rest() } else { 0 };
        let used = ring.place.wrapping_sub(ring.word(NET_CONSUMED).load(Ordering::Acquire));
        if used > NET_RING || NET_RING - used < skipped + record {
            return false;
        }
        if skipped != 0 {
            let skip = NetFrame { len: NET_SKIP, ..NetFrame::default() };
            arch::write_phys(ring.at(), skip.as_bytes());
            ring.place += skipped;
        }
        arch::write_phys(ring.at(), head.as_bytes());
        let mut at = ring.at().add(NET_ALIGN);
        for piece in pieces {
            arch::write_phys(at, piece);
            at = at.add(piece.len() as u64);
        }
        ring.place += record;
        ring.word(NET_PRODUCED).store(ring.place, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let word = ring.word(NET_CONSUMER_WAITS);
        if word.load(Ordering::SeqCst) != 0 && word.swap(0, Ordering::SeqCst) != 0 {
            arch::hostcall::ring_network();
        }
        true
    }
}
