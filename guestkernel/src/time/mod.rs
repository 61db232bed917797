//! Clocks and timers.
//!
//! Time is the TSC with the parameters of the boot information ([`crate::arch::clock`]). Timers are kept per
//! vCPU and fire in its timer interrupt, which is taken only in ring 3 and in the idle loop: a timer's action
//! may take any lock.

pub mod timer;

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;

/// The timer interrupt.
pub fn on_timer() {
    timer::run_expired();
    crate::task::sched::on_tick();
    timer::rearm(crate::task::sched::slice_end());
}
