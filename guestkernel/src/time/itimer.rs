//! `ITIMER_REAL`, and alarm(2) with it.

use alloc::sync::Arc;

use super::timer;
use crate::{
    arch::clock,
    signal::{self, SIGALRM, SigInfo},
    task::{Process, process::Inner},
};

/// The real-time interval timer: time left and interval, ns.
#[must_use]
pub fn get(process: &Process) -> (u64, u64) {
    read(&process.inner.lock())
}

fn read(inner: &Inner) -> (u64, u64) {
    match inner.itimer {
        // An expiry that is about to be delivered counts as the shortest time left.
        Some((_, expires, interval)) => (expires.saturating_sub(clock::monotonic_ns()).max(1000), interval),
        None => (0, 0),
    }
}

/// Arms it to expire after `value`; 0 disarms it. What it was before.
pub fn set(process: &Arc<Process>, value: u64, interval: u64) -> (u64, u64) {
    let mut inner = process.inner.lock();
    let old = read(&inner);
    if let Some((timer, ..)) = inner.itimer.take() {
        timer::cancel(timer);
    }
    if value != 0 {
        arm(process, &mut inner, clock::monotonic_ns().saturating_add(value), interval);
    }
    old
}

fn arm(process: &Arc<Process>, inner: &mut Inner, expires: u64, interval: u64) {
    let weak = Arc::downgrade(process);
    let action = move || {
        if let Some(process) = weak.upgrade() {
            expire(&process, expires);
        }
    };
    let timer = timer::add(expires, timer::Action::Call(Arc::new(action)));
    inner.itimer = Some((timer, expires, interval));
}

/// The timer's action: the signal, and the next interval.
fn expire(process: &Arc<Process>, expired: u64) {
    {
        let mut inner = process.inner.lock();
        match inner.itimer {
            Some((_, expires, interval)) if expires == expired => {
                inner.itimer = None;
                // Intervals that have passed already are not made up for.
                let late = clock::monotonic_ns().saturating_sub(expired);
                if let Some(missed) = late.checked_div(interval) {
                    arm(process, &mut inner, expired + (missed + 1) * interval, interval);
                }
            }
            // Set anew meanwhile.
            _ => return,
        }
    }
    // A standard signal is merged with one that waits already; nothing is lost.
    let _ = signal::send_to_process(process, SigInfo::kernel(SIGALRM));
}
