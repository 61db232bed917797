//! The last events of each CPU, for a panic's report.

use core::{
    fmt::Write,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};
use hostcall::MAX_CPUS;

use super::{clock, cpu};

/// Events kept per CPU.
const KEPT: usize = 16;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Event {
    /// A page fault in ring 3: address, instruction.
    UserFault = 1,
    /// A page fault during a copy: address, instruction.
    CopyFault = 2,
    /// Another exception of a program: vector, instruction.
    Exception = 3,
    /// A hostcall: number, first argument.
    Hostcall = 4,
    /// A task switch: the next task's context, its stack pointer.
    Switch = 5,
}

const NAMES: [&str; 6] = ["?", "user fault", "copy fault", "exception", "hostcall", "switch"];

struct Slot {
    kind: AtomicU32,
    tsc: AtomicU64,
    words: [AtomicU64; 2],
}

struct Ring {
    next: AtomicU32,
    slots: [Slot; KEPT],
}

static RINGS: [Ring; MAX_CPUS] = [const {
    Ring {
        next: AtomicU32::new(0),
        slots: [const {
            Slot {
                kind: AtomicU32::new(0),
                tsc: AtomicU64::new(0),
                words: [AtomicU64::new(0), AtomicU64::new(0)],
            }
        }; KEPT],
    }
}; MAX_CPUS];

/// Notes an event of this CPU.
pub(super) fn note(kind: Event, first: u64, second: u64) {
    let Some(ring) = RINGS.get(cpu::current_index()) else { return };
    let next = ring.next.load(Ordering::Relaxed);
    ring.next.store(next.wrapping_add(1), Ordering::Relaxed);
    let slot = &ring.slots[next as usize % KEPT];
    slot.kind.store(kind as u32, Ordering::Relaxed);
    slot.tsc.store(clock::tsc(), Ordering::Relaxed);
    slot.words[0].store(first, Ordering::Relaxed);
    slot.words[1].store(second, Ordering::Relaxed);
}

/// Writes this CPU's events, latest first, with their age in microseconds.
pub(super) fn dump(out: &mut impl Write) {
    let Some(ring) = RINGS.get(cpu::current_index()) else { return };
    let next = ring.next.load(Ordering::Relaxed) as usize;
    let now = clock::tsc();
    for back in 1..=KEPT.min(next) {
        let slot = &ring.slots[(next - back) % KEPT];
        let name = NAMES.get(slot.kind.load(Ordering::Relaxed) as usize).unwrap_or(&"?");
        let age = now.saturating_sub(slot.tsc.load(Ordering::Relaxed)) / (clock::tsc_khz() / 1000).max(1);
        let [first, second] = [0, 1].map(|i| slot.words[i].load(Ordering::Relaxed));
        let _ = writeln!(out, "{age} us ago: {name} {first:#x} {second:#x}");
    }
}
