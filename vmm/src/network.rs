//! Moving frames between the container's network interface and the rings that the sentry has.
//!
//! The I/O thread does it: it is woken by the socket, or by the sentry's doorbell. Nothing that the guest writes is
//! trusted: a counter or a length that cannot be ends the network of this sandbox, and nothing else. Which addresses
//! are used follows from counters that are kept here.

use std::{
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use hostcall::{
    NET_ALIGN, NET_CONSUMED, NET_CONSUMER_WAITS, NET_FRAME_MAX, NET_FROM_SENTRY, NET_HOST_HEADER, NET_NAMES,
    NET_PORT_INNER, NET_PORT_WIRE, NET_PRODUCED, NET_PRODUCER_WAITS, NET_RING, NET_SKIP, NET_TO_SENTRY,
    NetFrame, PAGE_SIZE, net_record,
};
use rustix::{event::epoll, io::Errno};
use vm_memory::VolatileMemory;
use vmm_sys_util::eventfd::EventFd;
use zerocopy::IntoBytes;

use crate::{events::Events, marks, memory::Memory};

/// Most frames of one call.
const BATCH: usize = 32;
/// Rounds after which other work has its turn.
const ROUNDS: usize = 16;
/// Bytes of an Ethernet header: no frame is shorter.
const FRAME_MIN: u32 = 14;

/// The network of a sandbox.
#[derive(Debug)]
pub(crate) struct Network {
    doorbell: EventFd,
    link: Mutex<Option<Link>>,
}

/// An interface.
#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    inner: Option<Inner>,
    rings: Option<Rings>,
    /// The I/O thread is told when the socket has something.
    watched: bool,
}

/// The way to a server of names that the host's stack has in the container's network namespace.
#[derive(Debug)]
struct Inner {
    /// A packet socket at that stack's loopback interface.
    socket: OwnedFd,
    /// The container's address, which is that stack's too.
    own: Ipv4Addr,
}

/// The rings, as far as they have been used.
#[derive(Clone, Copy, Debug)]
struct Rings {
    counters: u64,
    to_sentry: u64,
    from_sentry: u64,
    produced: u64,
    consumed: u64,
}

/// What is next in the ring of frames from the sentry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The rest of the ring is not used.
    Skip(u64),
    /// A frame of so many bytes; the whole record is so long.
    Frame(u32, u64),
}

/// Reads the head of a record at counter `consumed`, of which `available` bytes are there.
fn next(head: &NetFrame, consumed: u64, available: u64) -> Result<Next, Errno> {
    let rest = NET_RING - consumed % NET_RING;
    if head.len == NET_SKIP {
        return if rest <= available { Ok(Next::Skip(rest)) } else { Err(Errno::BADMSG) };
    }
    if !(FRAME_MIN..=NET_FRAME_MAX).contains(&head.len) {
        return Err(Errno::BADMSG);
    }
    let record = net_record(head.len);
    if record > rest || record > available { Err(Errno::BADMSG) } else { Ok(Next::Frame(head.len, record)) }
}

/// What lies between two counters, if they can be those of a ring.
fn between(consumed: u64, produced: u64) -> Result<u64, Errno> {
    let used = produced.wrapping_sub(consumed);
    if used > NET_RING || !used.is_multiple_of(NET_ALIGN) { Err(Errno::BADMSG) } else { Ok(used) }
}

/// Where the next frame for the sentry goes: how much of the ring is skipped before it; `None` = there is no room for
/// the longest.
fn room(produced: u64, used: u64) -> Option<u64> {
    let rest = NET_RING - produced % NET_RING;
    let skipped = if rest < net_record(NET_FRAME_MAX) { rest } else { 0 };
    (NET_RING - used >= skipped + net_record(NET_FRAME_MAX)).then_some(skipped)
}

impl Network {
    pub(crate) fn new(doorbell: EventFd) -> Self {
        Self { doorbell, link: Mutex::new(None) }
    }

    fn link(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the I/O thread listen to the doorbell.
    pub(crate) fn watch(&self, epoll: &OwnedFd) -> Result<(), Errno> {
        // SAFETY: the eventfd lives as long as `self`, which outlives the borrow.
        let doorbell = unsafe { rustix::fd::BorrowedFd::borrow_raw(self.doorbell.as_raw_fd()) };
        epoll::add(epoll, doorbell, epoll::EventData::new_u64(marks::DOORBELL), epoll::EventFlags::IN)
    }

    /// There is an interface behind `socket`; `inner` is a socket at the loopback interface of the host's stack in
    /// the same namespace, and the container's address.
    pub(crate) fn attach(&self, socket: OwnedFd, inner: Option<(OwnedFd, Ipv4Addr)>) -> Result<(), Errno> {
        let mut link = self.link();
        if link.is_some() {
            return Err(Errno::BUSY);
        }
        let inner = inner.map(|(socket, own)| Inner { socket, own });
        *link = Some(Link { socket, inner, rings: None, watched: false });
        Ok(())
    }

    /// The sentry has rings: from now on frames are moved.
    pub(crate) fn start(&self, memory: &Memory, [counters, to, from]: [u64; 3]) -> Result<(), Errno> {
        for (gpa, len) in [(counters, PAGE_SIZE as u64), (to, NET_RING), (from, NET_RING)] {
            if !gpa.is_multiple_of(PAGE_SIZE as u64) {
                return Err(Errno::INVAL);
            }
            memory.slice(gpa, len)?;
        }
        let mut link = self.link();
        let link = link.as_mut().ok_or(Errno::NODEV)?;
        if link.rings.is_some() {
            return Err(Errno::BUSY);
        }
        link.rings = Some(Rings { counters, to_sentry: to, from_sentry: from, produced: 0, consumed: 0 });
        self.doorbell.write(1).map_err(|_| Errno::IO)
    }

    /// Moves what there is, both ways.
    ///
    /// # Errors
    /// When the guest's words cannot be true; then the network is at its end.
    pub(crate) fn serve(&self, memory: &Memory, events: &Events, epoll: &OwnedFd) -> Result<(), Errno> {
        let _ = self.doorbell.read();
        let mut guard = self.link();
        let Some(link) = guard.as_mut().filter(|link| link.rings.is_some()) else { return Ok(()) };
        let mut work = || -> Result<bool, Errno> {
            for _ in 0..ROUNDS {
                let sent = link.send(memory)?;
                if !(link.receive(memory, events, epoll)? | sent) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        match work() {
            Ok(false) => Ok(()),
            // The rest after whatever else there is to do.
            Ok(true) => self.doorbell.write(1).map_err(|_| Errno::IO),
            Err(error) => {
                let _ = link.watch(false, epoll);
                *guard = None;
                Err(error)
            }
        }
    }
}

fn load(memory: &Memory, at: u64) -> Result<u64, Errno> {
    let word = memory.slice(at, 8)?;
    let value = word.get_atomic_ref::<AtomicU64>(0).map_err(|_| Errno::FAULT)?.load(Ordering::SeqCst);
    Ok(value)
}

fn swap(memory: &Memory, at: u64, value: u64) -> Result<u64, Errno> {
    let word = memory.slice(at, 8)?;
    let old = word.get_atomic_ref::<AtomicU64>(0).map_err(|_| Errno::FAULT)?.swap(value, Ordering::SeqCst);
    Ok(old)
}

/// A piece of guest memory for the kernel to read or write.
fn piece(memory: &Memory, gpa: u64, len: usize) -> Result<libc::iovec, Errno> {
    let slice = memory.slice(gpa, len as u64)?;
    // RAM stays mapped for the life of the process.
    Ok(libc::iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: len })
}

impl Link {
    fn rings(&mut self) -> Result<&mut Rings, Errno> {
        self.rings.as_mut().ok_or(Errno::NODEV)
    }

    /// Sends one batch. Whether there was one.
    fn send(&mut self, memory: &Memory) -> Result<bool, Errno> {
        let Self { socket, inner, rings, .. } = self;
        let socket = socket.as_raw_fd();
        let rings = rings.as_mut().ok_or(Errno::NODEV)?;
        let counters = rings.counters + NET_FROM_SENTRY;
        let mut available = between(rings.consumed, load(memory, counters + NET_PRODUCED)?)?;
        if available == 0 {
            swap(memory, counters + NET_CONSUMER_WAITS, 1)?;
            fence(Ordering::SeqCst);
            available = between(rings.consumed, load(memory, counters + NET_PRODUCED)?)?;
            if available == 0 {
                return Ok(false);
            }
            swap(memory, counters + NET_CONSUMER_WAITS, 0)?;
        }
        let mut pieces = Vec::with_capacity(BATCH * 2);
        let mut at = rings.consumed;
        while available != 0 && pieces.len() < BATCH * 2 {
            let gpa = rings.from_sentry + at % NET_RING;
            let mut head = NetFrame::default();
            memory.read(gpa, head.as_mut_bytes())?;
            let step = match next(&head, at, available)? {
                Next::Skip(step) => step,
                Next::Frame(len, record) if head.port == NET_PORT_INNER => {
                    if let Some(inner) = inner {
                        inner.send(memory, gpa, len)?;
                    }
                    record
                }
                Next::Frame(len, record) => {
                    pieces.push(piece(memory, gpa + NET_HOST_HEADER.0, NET_HOST_HEADER.1)?);
                    pieces.push(piece(memory, gpa + NET_ALIGN, len as usize)?);
                    record
                }
            };
            at += step;
            available -= step;
        }
        send_all(socket, &mut pieces);
        rings.consumed = at;
        swap(memory, counters + NET_CONSUMED, at)?;
        Ok(true)
    }

    /// Receives one batch. Whether anything came.
    fn receive(&mut self, memory: &Memory, events: &Events, epoll: &OwnedFd) -> Result<bool, Errno> {
        let socket = self.socket.as_raw_fd();
        let inner = self.inner.as_ref().map(|inner| inner.socket.as_raw_fd());
        let mut count = 0;
        let mut full = false;
        let rings = self.rings()?;
        let counters = rings.counters + NET_TO_SENTRY;
        while count < BATCH {
            let used = between(load(memory, counters + NET_CONSUMED)?, rings.produced)?;
            let Some(skipped) = room(rings.produced, used) else {
                if full {
                    break;
                }
                // Looked at again: a sentry that took something meanwhile did not know.
                swap(memory, counters + NET_PRODUCER_WAITS, 1)?;
                full = true;
                continue;
            };
            full = false;
            let gpa = rings.to_sentry + (rings.produced + skipped) % NET_RING;
            let pieces = [
                piece(memory, gpa + NET_HOST_HEADER.0, NET_HOST_HEADER.1)?,
                piece(memory, gpa + NET_ALIGN, NET_FRAME_MAX as usize)?,
            ];
            let got = receive_one(socket, pieces).map(|len| (len, NET_PORT_WIRE));
            let got = got.or_else(|| Some((receive_one(inner?, pieces)?, NET_PORT_INNER)));
            let Some((len, port)) = got else { break };
            memory.write(gpa, &len.to_le_bytes())?;
            memory.write(gpa + std::mem::offset_of!(NetFrame, port) as u64, &port.to_le_bytes())?;
            if skipped != 0 {
                memory.write(rings.to_sentry + rings.produced % NET_RING, &NET_SKIP.to_le_bytes())?;
            }
            rings.produced += skipped + net_record(len);
            count += 1;
        }
        if count != 0 {
            swap(memory, counters + NET_PRODUCED, rings.produced)?;
            fence(Ordering::SeqCst);
            if swap(memory, counters + NET_CONSUMER_WAITS, 0)? == 1 {
                events.network()?;
            }
        }
        self.watch(!full, epoll)?;
        Ok(count != 0)
    }

    /// Has the I/O thread told of frames, or not while there is no room for them.
    fn watch(&mut self, wanted: bool, epoll: &OwnedFd) -> Result<(), Errno> {
        if wanted != self.watched {
            for socket in std::iter::once(&self.socket).chain(self.inner.as_ref().map(|inner| &inner.socket))
            {
                if wanted {
                    epoll::add(
                        epoll,
                        socket,
                        epoll::EventData::new_u64(marks::FRAMES),
                        epoll::EventFlags::IN,
                    )?;
                } else {
                    epoll::delete(epoll, socket)?;
                }
            }
        }
        self.watched = wanted;
        Ok(())
    }
}

/// Whether a frame may go to the host's stack: a datagram or segment of IPv4 for an address that is that stack's own,
/// so that it passes nothing on.
fn may_enter(frame: &[u8], own: Ipv4Addr) -> bool {
    const IPV4: [u8; 2] = [8, 0];
    const PACKET: usize = FRAME_MIN as usize;
    let (Some(kind), Some(packet)) = (frame.get(12..14), frame.get(PACKET..PACKET + 20)) else {
        return false;
    };
    let protocol = i32::from(packet[9]);
    let to = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
    kind == IPV4
        && packet[0] == 0x45
        && matches!(protocol, libc::IPPROTO_TCP | libc::IPPROTO_UDP)
        && (to == NET_NAMES || to == own)
}

impl Inner {
    /// Sends the frame of so many bytes behind the head at `gpa`, if it may.
    fn send(&self, memory: &Memory, gpa: u64, len: u32) -> Result<(), Errno> {
        // Looked at in a copy, which the guest cannot change.
        let mut bytes = vec![0; NET_HOST_HEADER.1 + len as usize];
        let (header, frame) = bytes.split_at_mut(NET_HOST_HEADER.1);
        memory.read(gpa + NET_HOST_HEADER.0, header)?;
        memory.read(gpa + NET_ALIGN, frame)?;
        if may_enter(frame, self.own) {
            let (header, frame) = (header.as_mut_ptr().cast(), frame.as_mut_ptr().cast());
            send_all(
                self.socket.as_raw_fd(),
                &mut [
                    libc::iovec { iov_base: header, iov_len: NET_HOST_HEADER.1 },
                    libc::iovec { iov_base: frame, iov_len: len as usize },
                ],
            );
        }
        Ok(())
    }
}

/// Sends frames, each of two pieces. What the interface does not take is lost, as on any wire.
fn send_all(socket: i32, pieces: &mut [libc::iovec]) {
    let mut messages: Vec<libc::mmsghdr> = pieces
        .chunks_exact_mut(2)
        .map(|frame| {
            // SAFETY: all zeroes are a valid message header.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = frame.as_mut_ptr();
            message.msg_hdr.msg_iovlen = 2;
            message
        })
        .collect();
    let mut done = 0;
    while done < messages.len() {
        let rest = &mut messages[done..];
        // SAFETY: the headers refer to pieces of guest memory that stays mapped, or of a buffer of the caller's; the
        // guest may change what is in its own at any time, which the kernel copies as it is.
        let sent = unsafe {
            libc::sendmmsg(
                socket,
                rest.as_mut_ptr(),
                rest.len() as u32,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        // The one that failed is dropped.
        done += usize::try_from(sent).unwrap_or(0).max(1);
    }
}

/// Receives one frame into a header and a body; its length.
fn receive_one(socket: i32, mut pieces: [libc::iovec; 2]) -> Option<u32> {
    loop {
        // SAFETY: all zeroes are a valid message header.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = pieces.as_mut_ptr();
        message.msg_iovlen = 2;
        // SAFETY: the pieces are guest memory that stays mapped, and the guest's to change.
        let got = unsafe { libc::recvmsg(socket, &raw mut message, libc::MSG_DONTWAIT | libc::MSG_TRUNC) };
        if got < 0 {
            match std::io::Error::last_os_error().kind() {
                // EAGAIN: that was all.
                std::io::ErrorKind::WouldBlock => return None,
                // The link went down; said once.
                std::io::ErrorKind::NetworkDown | std::io::ErrorKind::Interrupted => continue,
                _ => return None,
            }
        }
        let len = usize::try_from(got).unwrap_or(0).saturating_sub(NET_HOST_HEADER.1);
        match u32::try_from(len) {
            Ok(len) if (FRAME_MIN..=NET_FRAME_MAX).contains(&len) => return Some(len),
            // Too short or too long to be one.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_stays_in_its_ring(
            len in prop_oneof![any::<u32>(), 0u32..70_000, Just(NET_SKIP)],
            consumed in (0u64..4 * NET_RING / NET_ALIGN).prop_map(|at| at * NET_ALIGN),
            available in (1u64..=NET_RING / NET_ALIGN).prop_map(|at| at * NET_ALIGN),
        ) {
            let head = NetFrame { len, ..NetFrame::default() };
            if let Ok(Next::Skip(step) | Next::Frame(_, step)) = next(&head, consumed, available) {
                prop_assert!(step <= available && step != 0 && step.is_multiple_of(NET_ALIGN));
                prop_assert!(consumed % NET_RING + step <= NET_RING);
            }
        }

        #[test]
        fn counters_are_those_of_a_ring_or_refused(consumed: u64, produced: u64, near in 0u64..2 * NET_RING) {
            for produced in [produced, consumed.wrapping_add(near)] {
                if let Ok(used) = between(consumed, produced) {
                    prop_assert!(used <= NET_RING && used.is_multiple_of(NET_ALIGN));
                    if let Some(skipped) = room(produced / NET_ALIGN * NET_ALIGN, used) {
                        prop_assert!(used + skipped + net_record(NET_FRAME_MAX) <= NET_RING);
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn whatever_is_in_the_rings_moves_or_ends(
            words in prop::collection::vec((0u64..40, prop_oneof![any::<u64>(), 0u64..NET_RING]), 1..6),
            heads in prop::collection::vec((0u64..64, prop_oneof![any::<u32>(), 0u32..200, Just(NET_SKIP)]), 0..20),
            count in 0u64..2048,
        ) {
            let (memory, events, network, far, epoll) = rings();
            for (at, len) in heads {
                memory.write(0x20_0000 + at * NET_ALIGN, &len.to_le_bytes()).unwrap();
            }
            swap(&memory, 0x3000 + NET_FROM_SENTRY + NET_PRODUCED, count * NET_ALIGN).unwrap();
            let _ = network.serve(&memory, &events, &epoll);
            for (at, value) in words {
                swap(&memory, 0x3000 + at * 8, value).unwrap();
                let _ = rustix::net::send(&far, &[9; 70], rustix::net::SendFlags::empty());
                let _ = network.serve(&memory, &events, &epoll);
            }
        }
    }

    fn rings() -> (Arc<Memory>, Events, Network, OwnedFd, OwnedFd) {
        let memory = Arc::new(Memory::new(4 << 20, 1 << 30).unwrap());
        let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let events = Events::new(memory.clone(), 0x2000, interrupt);
        let network = Network::new(EventFd::new(libc::EFD_NONBLOCK).unwrap());
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::DGRAM,
            rustix::net::SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        assert_eq!(network.start(&memory, [0x3000, 0x10_0000, 0x20_0000]), Err(Errno::NODEV));
        network.attach(ours, None).unwrap();
        network.start(&memory, [0x3000, 0x10_0000, 0x20_0000]).unwrap();
        assert_eq!(network.start(&memory, [0x3000, 0x10_0000, 0x20_0000]), Err(Errno::BUSY));
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        (memory, events, network, theirs, epoll)
    }

    #[test]
    fn frames_go_both_ways() {
        let (memory, events, network, far, epoll) = rings();
        let frame = [7u8; 100];
        memory.write(0x20_0000, NetFrame { len: 100, ..NetFrame::default() }.as_bytes()).unwrap();
        memory.write(0x20_0010, &frame).unwrap();
        swap(&memory, 0x3000 + NET_FROM_SENTRY + NET_PRODUCED, net_record(100)).unwrap();
        swap(&memory, 0x3000 + NET_TO_SENTRY + NET_CONSUMER_WAITS, 1).unwrap();
        rustix::net::send(&far, &[9; 70], rustix::net::SendFlags::empty()).unwrap();
        network.serve(&memory, &events, &epoll).unwrap();
        let mut got = [0; 200];
        let (count, _) = rustix::net::recv(&far, &mut got, rustix::net::RecvFlags::empty()).unwrap();
        assert_eq!((count, &got[10..110]), (110, &frame[..]));
        assert_eq!(load(&memory, 0x3000 + NET_FROM_SENTRY + NET_CONSUMED), Ok(net_record(100)));
        assert_eq!(load(&memory, 0x3000 + NET_TO_SENTRY + NET_PRODUCED), Ok(net_record(60)));
        let mut head = NetFrame::default();
        memory.read(0x10_0000, head.as_mut_bytes()).unwrap();
        assert_eq!(head.len, 60);
        assert_eq!(load(&memory, 0x2000), Ok(hostcall::EventFlags::NETWORK.bits()));
    }

    #[test]
    fn lies_end_the_network() {
        for (at, value) in [
            (NET_FROM_SENTRY + NET_PRODUCED, NET_RING + NET_ALIGN),
            (NET_FROM_SENTRY + NET_PRODUCED, 8),
            (NET_FROM_SENTRY + NET_PRODUCED, 64),
            (NET_TO_SENTRY + NET_CONSUMED, 16),
        ] {
            let (memory, events, network, far, epoll) = rings();
            rustix::net::send(&far, &[9; 70], rustix::net::SendFlags::empty()).unwrap();
            swap(&memory, 0x3000 + at, value).unwrap();
            assert_eq!(network.serve(&memory, &events, &epoll), Err(Errno::BADMSG), "{at} {value}");
            assert_eq!(network.serve(&memory, &events, &epoll), Ok(()));
        }
    }

    #[test]
    fn only_what_is_for_the_inner_stack_enters() {
        let own = Ipv4Addr::new(172, 18, 0, 2);
        let frame = |first: u8, protocol: u8, to: Ipv4Addr| {
            let mut frame = [0; 42];
            frame[12] = 8;
            (frame[14], frame[23]) = (first, protocol);
            frame[30..34].copy_from_slice(&to.octets());
            frame
        };
        assert!(may_enter(&frame(0x45, 17, NET_NAMES), own) && may_enter(&frame(0x45, 6, own), own));
        assert!(!may_enter(&frame(0x45, 17, Ipv4Addr::LOCALHOST), own));
        assert!(!may_enter(&frame(0x45, 1, own), own));
        assert!(!may_enter(&frame(0x46, 17, own), own));
        assert!(!may_enter(&[8; 20], own));
        let mut other = frame(0x45, 17, own);
        other[12] = 0x86;
        assert!(!may_enter(&other, own));
    }

    #[test]
    fn a_full_ring_waits_for_room() {
        let (memory, events, network, far, epoll) = rings();
        let frame = vec![1; 60_000];
        let mut sent = 0;
        for _ in 0..20 {
            while rustix::net::send(&far, &frame, rustix::net::SendFlags::empty()).is_ok() {
                sent += 1;
            }
            network.serve(&memory, &events, &epoll).unwrap();
        }
        let produced = load(&memory, 0x3000 + NET_TO_SENTRY + NET_PRODUCED).unwrap();
        assert!(sent > 8 && produced <= NET_RING, "{sent} {produced}");
        assert_eq!(load(&memory, 0x3000 + NET_TO_SENTRY + NET_PRODUCER_WAITS), Ok(1));
        swap(&memory, 0x3000 + NET_TO_SENTRY + NET_CONSUMED, produced).unwrap();
        network.serve(&memory, &events, &epoll).unwrap();
        assert!(load(&memory, 0x3000 + NET_TO_SENTRY + NET_PRODUCED).unwrap() > produced);
    }
}
