//! Two connections over a link that loses, repeats, delays and disorders segments.

use proptest::prelude::*;
use std::{collections::BTreeMap, vec, vec::Vec};

use super::{super::segment, *};

/// One end.
struct End {
    control: Option<Control>,
    io: Side,
}

#[derive(Default)]
struct Side {
    got: Vec<u8>,
    events: Vec<Event>,
    out: Vec<Vec<u8>>,
    /// Bytes that are kept until they are read.
    unread: usize,
    capacity: usize,
}

impl Io for Side {
    fn deliver(&mut self, data: &[u8]) -> bool {
        self.got.extend_from_slice(data);
        self.unread += data.len();
        assert!(self.unread <= self.capacity + (1 << SCALE), "more than was offered");
        true
    }

    fn room(&self) -> usize {
        self.capacity - self.unread.min(self.capacity)
    }

    fn send(&mut self, head: &Head, data: [&[u8]; 2], size: usize) -> bool {
        let all = data.concat();
        let mut head = head.clone();
        let fin = head.flags & segment::Flags::FIN;
        let pieces: Vec<&[u8]> = if size == 0 { vec![&all] } else { all.chunks(size).collect() };
        let last = pieces.len() - 1;
        for (place, piece) in pieces.into_iter().enumerate() {
            head.flags.set(segment::Flags::FIN, place == last && !fin.is_empty());
            let mut bytes = head.write().to_vec();
            bytes.extend_from_slice(piece);
            self.out.push(bytes);
            head.seq = head.seq.wrapping_add(piece.len() as u32);
        }
        true
    }

    fn tell(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

/// Of a thousand segments.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    lost: u64,
    repeated: u64,
    late: u64,
    damaged: u64,
}

struct World {
    ends: [End; 2],
    now: u64,
    /// Segments on their way: when they come, and to whom.
    wire: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    count: u64,
    random: Random,
    faults: Faults,
}

const DELAY: u64 = 10 * MS;

impl World {
    fn new(faults: Faults, seed: u64, capacity: usize) -> Self {
        let side = || Side { capacity, ..Side::default() };
        let mut ends = [End { control: None, io: side() }, End { control: None, io: side() }];
        let first = (seed as u32).wrapping_mul(0x9e37_79b9);
        ends[0].control = Some(Control::connect((1, 2), (first, 7), 1460, 0, &mut ends[0].io));
        Self { ends, now: 0, wire: BTreeMap::new(), count: 0, random: Random(seed | 1), faults }
    }

    fn collect(&mut self) {
        for from in 0..2 {
            for mut bytes in core::mem::take(&mut self.ends[from].io.out) {
                let faults = self.faults;
                if self.random.below(1000) < faults.lost {
                    continue;
                }
                if self.random.below(1000) < faults.damaged {
                    // What the checksum does not find.
                    let at = self.random.below(bytes.len().min(40) as u64) as usize;
                    bytes[at] ^= 1 << self.random.below(8);
                }
                let copies = if self.random.below(1000) < faults.repeated { 2 } else { 1 };
                for _ in 0..copies {
                    let late = if self.random.below(1000) < faults.late { 5 * DELAY } else { 0 };
                    self.count += 1;
                    self.wire.insert((self.now + DELAY + late, self.count), (1 - from, bytes.clone()));
                }
            }
        }
    }

    /// Goes on to whatever comes next. `false` when nothing ever will.
    fn step(&mut self) -> bool {
        self.collect();
        let timers =
            self.ends.iter().filter_map(|end| end.control.as_ref().and_then(Control::deadline)).min();
        let segment = self.wire.first_key_value().map(|((at, _), _)| *at);
        let Some(next) = timers.into_iter().chain(segment).min() else { return false };
        self.now = self.now.max(next);
        if segment == Some(next) {
            let Some((_, (to, bytes))) = self.wire.pop_first() else { return false };
            let end = &mut self.ends[to];
            let Some((head, data)) = segment::read(&bytes) else { return true };
            match &mut end.control {
                Some(control) => {
                    control.segment(&head, data, self.now, &mut end.io);
                }
                None if head.flags == segment::Flags::SYN => {
                    let made = Control::accept((2, 1), (99, 5), 1460, &head, self.now, &mut end.io);
                    end.control = Some(made);
                }
                None => {}
            }
        } else {
            for end in &mut self.ends {
                if let Some(control) =
                    end.control.as_mut().filter(|one| one.deadline().is_some_and(|at| at <= next))
                {
                    control.on_time(self.now, &mut end.io);
                }
            }
        }
        true
    }

    fn read(&mut self, who: usize) {
        let end = &mut self.ends[who];
        end.io.unread = 0;
        if let Some(control) = &mut end.control {
            control.opened(self.now, &mut end.io);
        }
    }

    fn has(&self, who: usize, event: Event) -> bool {
        self.ends[who].io.events.contains(&event)
    }
}

fn bytes(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8) ^ salt).collect()
}

/// Transfers as much both ways, reading now and then; both ends close. How long it took, ns.
fn transfer(faults: Faults, seed: u64, len: usize, capacity: usize) -> u64 {
    let mut world = World::new(faults, seed, capacity);
    let data = [bytes(len, 1), bytes(len, 2)];
    let mut written = [0; 2];
    let mut closed = [false; 2];
    for round in 0..2_000_000u64 {
        assert!(world.step(), "stuck at {} ms: {:?}", world.now / MS, world.ends[0].control);
        for who in 0..2 {
            let open = world.has(who, Event::Established);
            let end = &mut world.ends[who];
            assert!(
                !end.io.events.iter().any(|event| matches!(event, Event::Failed(_))),
                "{:?}",
                end.io.events
            );
            let Some(control) = end.control.as_mut().filter(|_| open && !closed[who]) else { continue };
            if written[who] < len && control.buffered() < 200_000 {
                let step = (len - written[who]).min(50_000);
                control
                    .write(&data[who][written[who]..written[who] + step], world.now, &mut end.io)
                    .expect("memory");
                written[who] += step;
            } else if written[who] == len {
                control.finish(world.now, &mut end.io);
                closed[who] = true;
            }
        }
        if round % 5 == 0 {
            world.read(0);
            world.read(1);
        }
        if (0..2).all(|who| world.has(who, Event::Fin)) {
            for who in 0..2 {
                assert!(world.ends[who].io.got == data[1 - who], "other bytes");
            }
            let time = world.now;
            while world.step() {}
            let states = world.ends.each_ref().map(|end| end.control.as_ref().map(|one| one.state));
            assert_eq!(states, [Some(State::Closed); 2]);
            return time;
        }
    }
    panic!(
        "no end: {:?}",
        world.ends.each_ref().map(|end| end.control.as_ref().map(|one| (one.state, one.una, one.nxt)))
    );
}

#[test]
fn a_good_link() {
    let time = transfer(Faults::default(), 1, 3_000_000, 1 << 20);
    // The window opens by slow start; nothing waits for a timer.
    assert!(time < 1000 * MS, "{} ms", time / MS);
}

#[test]
fn a_small_window() {
    transfer(Faults::default(), 2, 300_000, 4096);
}

#[test]
fn a_bad_link() {
    let faults = Faults { lost: 50, repeated: 20, late: 100, damaged: 0 };
    for seed in 3..9 {
        let time = transfer(faults, seed, 400_000, 1 << 20);
        assert!(time < 60_000 * MS, "{} ms", time / MS);
    }
}

#[test]
fn nobody_answers() {
    let mut world = World::new(Faults { lost: 1000, ..Faults::default() }, 1, 1000);
    while world.step() {}
    assert_eq!(world.ends[0].io.events, [Event::Failed(Errno::ETIMEDOUT), Event::Closed]);
    assert_eq!(world.now / SECOND, 127);
}

#[test]
fn a_reset_in_its_place_ends_a_connection_and_another_is_asked_about() {
    let mut world = World::new(Faults::default(), 1, 100_000);
    while !world.has(1, Event::Established) {
        world.step();
    }
    let end = &mut world.ends[1];
    let control = end.control.as_mut().expect("open");
    let mut head = Head { flags: segment::Flags::RST, seq: control.expected as u32 + 5, ..Head::default() };
    end.io.out.clear();
    control.segment(&head, &[], world.now, &mut end.io);
    assert_eq!((control.state, end.io.out.len()), (State::Established, 1));
    head.seq -= 5;
    control.segment(&head, &[], world.now, &mut end.io);
    assert_eq!(control.state, State::Closed);
    assert!(end.io.events.contains(&Event::Failed(Errno::ECONNRESET)));
}

#[test]
fn an_idle_connection_is_looked_after() {
    let mut world = World::new(Faults::default(), 1, 100_000);
    while !world.has(1, Event::Established) {
        world.step();
    }
    let end = &mut world.ends[1];
    let control = end.control.as_mut().expect("open");
    control.choices.keepalive = (10 * SECOND, SECOND, 3);
    control.is_alive(world.now);
    let until = world.now + 60 * SECOND;
    while world.now < until {
        assert!(world.step());
    }
    assert!(!world.has(1, Event::Closed), "the other end answers");
    world.faults.lost = 1000;
    while world.step() {}
    assert!(world.has(1, Event::Failed(Errno::ETIMEDOUT)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_sent_comes(
        seed: u64, lost in 0u64..150, repeated in 0u64..100, late in 0u64..300, len in 1usize..120_000,
        capacity in 2000usize..100_000,
    ) {
        transfer(Faults { lost, repeated, late, damaged: 0 }, seed, len, capacity);
    }

    #[test]
    fn damaged_segments_do_no_harm(seed: u64, damaged in 1u64..400) {
        // The stream may be wrong then, or end; no more than that.
        let mut world = World::new(Faults { lost: 20, repeated: 20, late: 50, damaged }, seed, 60_000);
        let data = bytes(100_000, 3);
        for round in 0..4000 {
            if !world.step() {
                break;
            }
            for end in &mut world.ends {
                if let Some(control) = end.control.as_mut().filter(|one| one.buffered() < 20_000) {
                    let _ = control.write(&data[..3000], world.now, &mut end.io);
                }
            }
            if round % 7 == 0 {
                world.read(0);
                world.read(1);
            }
        }
    }

    #[test]
    fn random_segments_do_no_harm(
        segments in prop::collection::vec((any::<u8>(), -9i64..9, -9i64..9, any::<u16>(), 0usize..40, any::<u16>()), 0..60)
    ) {
        let mut world = World::new(Faults::default(), 5, 3000);
        while !world.has(1, Event::Established) {
            world.step();
        }
        let end = &mut world.ends[1];
        let control = end.control.as_mut().expect("open");
        control.write(&bytes(9000, 1), 0, &mut end.io).expect("memory");
        for (flags, seq, ack, window, len, far) in segments {
            let spread = i64::from(far) * 3;
            let head = Head {
                seq: control.expected.wrapping_add_signed(seq * if flags & 64 != 0 { spread } else { 1 }) as u32,
                ack: control.una.wrapping_add_signed(ack * if flags & 128 != 0 { spread } else { 1 }) as u32,
                flags: segment::Flags::from_bits_truncate(flags),
                window,
                options: segment::Options {
                    sacks: core::iter::once((control.una as u32 + u32::from(far), control.una as u32 + 2000)).collect(),
                    ..Default::default()
                },
                ..Head::default()
            };
            control.segment(&head, &bytes(len, 0), world.now, &mut end.io);
            if let Some(at) = control.deadline() {
                control.on_time(at, &mut end.io);
            }
            end.io.unread = 0;
            end.io.out.clear();
        }
    }
}
