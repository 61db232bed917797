//! Clocks and timers.
//!
//! Time is the TSC with the parameters of the boot information ([`crate::arch::clock`]). Timers are kept per
//! vCPU and fire in its timer interrupt, which is taken only in ring 3 and in the idle loop: a timer's action
//! may take any lock.

pub mod clocks;
pub mod cpu_timer;
pub mod itimer;
pub mod posix;
pub mod timer;

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;

/// The timer interrupt.
pub fn on_timer() {
    let task = crate::task::current();
    timer::run_expired();
    // While the CPU idles no task's time passes.
    let runs = task.sched.clock.runs();
    if runs {
        cpu_timer::on_tick(&task, crate::arch::clock::monotonic_ns());
    }
    crate::task::sched::on_tick();
    let look = if runs { cpu_timer::on_switch_in(&task, crate::arch::clock::monotonic_ns()) } else { None };
    timer::rearm(crate::task::sched::slice_end().into_iter().chain(look).min());
}
