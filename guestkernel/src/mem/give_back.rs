//! Free memory goes back to the host.
//!
//! When enough used memory is free a timer is armed; what was free all the time until it expires is given back, piece
//! by piece with pauses. Memory that is freed and allocated again meanwhile never gets that far, and with nothing to
//! give back no timer runs.

use alloc::sync::Arc;
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU32, Ordering};
use hostcall::{Hostcall, IoRange, MAX_IO_RANGES};
use zerocopy::IntoBytes;

use super::{PAGE_SHIFT, PAGE_SIZE, frame, pressure};
use crate::{
    arch,
    time::timer::{self, Action},
};

/// Frames that make it worthwhile: 8 MiB.
const WORTHWHILE: u64 = 2048;
/// Frames that stay for the next allocations: 4 MiB.
const KEEP: u64 = 1024;
/// Frames given back at once: 32 MiB.
const PIECE: u64 = 8192;
/// How long memory must have been free, ns.
const SETTLE_NS: u64 = 150_000_000;
/// Bounds of the pause between two pieces, ns.
const PAUSE_NS: (u64, u64) = (2_000_000, 20_000_000);

/// [`STATE`]: no timer; one is to be armed; one is armed.
const IDLE: u32 = 0;
const WANTED: u32 = 1;
const ARMED: u32 = 2;

static STATE: AtomicU32 = AtomicU32::new(IDLE);

/// Memory was freed; `used` frames of used memory are free now. Takes no lock.
pub(super) fn consider(used: u64) {
    if used >= WORTHWHILE && STATE.load(Ordering::Relaxed) == IDLE {
        STATE.store(WANTED, Ordering::Relaxed);
        pressure::note();
    }
}

/// Arms the timer if that is wanted. Called without locks, before a task goes on in ring 3 or ends, and before a CPU
/// idles.
#[inline]
pub fn arm() {
    if STATE.load(Ordering::Relaxed) == WANTED {
        arm_wanted();
    }
}

#[cold]
fn arm_wanted() {
    if STATE.compare_exchange(WANTED, ARMED, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        let _ = frame::used_free();
        arm_in(SETTLE_NS);
    }
}

fn arm_in(ns: u64) {
    timer::add(arch::clock::monotonic_ns() + ns, Action::Call(Arc::new(on_timer)));
}

fn on_timer() {
    let (used, lowest) = frame::used_free();
    let settled = used.min(lowest);
    if settled >= WORTHWHILE {
        let start = arch::clock::monotonic_ns();
        if release((settled - KEEP).min(PIECE)) {
            let spent = arch::clock::monotonic_ns() - start;
            return arm_in((2 * spent).clamp(PAUSE_NS.0, PAUSE_NS.1));
        }
    } else if used >= WORTHWHILE {
        return arm_in(SETTLE_NS);
    }
    // What is left is scattered, or too little. The next memory that is freed starts over.
    STATE.store(IDLE, Ordering::Relaxed);
}

/// Asks the host to provide 2^`order` frames from `pfn` on, which are to be used at once. A page costs a fault of the
/// whole machine otherwise.
pub(super) fn populate(pfn: u32, order: u32) {
    let args = [u64::from(pfn) << PAGE_SHIFT, PAGE_SIZE << order, 0, 0, 0, 0];
    // Advice: the memory comes with the first access as well.
    let _ = arch::hostcall::call(Hostcall::PopulateMemory, args);
}

/// Gives at most `most` frames back; whether there were any.
fn release(most: u64) -> bool {
    let mut blocks = ArrayVec::new();
    if frame::take_used(most, &mut blocks) == 0 {
        return false;
    }
    let ranges: ArrayVec<IoRange, MAX_IO_RANGES> = blocks
        .iter()
        .map(|&(pfn, order)| IoRange { gpa: u64::from(pfn) << PAGE_SHIFT, len: PAGE_SIZE << order })
        .collect();
    let args = [ranges.len() as u64, 0, 0, 0, 0, 0];
    let result = arch::hostcall::call_data(Hostcall::ReleaseMemory, args, &[ranges.as_bytes()], &mut []);
    frame::put_back(&blocks, result.is_ok());
    if let Err(error) = result {
        log::warn!("the host does not take memory back: {error}");
    }
    result.is_ok()
}
