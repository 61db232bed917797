//! Clocks, sleeping, interval timers.

use alloc::sync::Arc;

use super::Args;
use crate::{
    arch::{clock, uaccess},
    errno::{Errno, Result},
    signal::{self, SIGALRM, SigInfo},
    task::{Process, Restart, current, process::Inner, sched},
    time::{NSEC_PER_SEC, timer},
};

const CLOCK_REALTIME: i32 = 0;
const CLOCK_MONOTONIC: i32 = 1;
const CLOCK_PROCESS_CPUTIME: i32 = 2;
const CLOCK_THREAD_CPUTIME: i32 = 3;
const CLOCK_MONOTONIC_RAW: i32 = 4;
const CLOCK_REALTIME_COARSE: i32 = 5;
const CLOCK_MONOTONIC_COARSE: i32 = 6;
const CLOCK_BOOTTIME: i32 = 7;
const CLOCK_REALTIME_ALARM: i32 = 8;
const CLOCK_BOOTTIME_ALARM: i32 = 9;
const CLOCK_TAI: i32 = 11;
const TIMER_ABSTIME: u32 = 1;
/// Resolution of the coarse clocks, ns.
const COARSE_NS: u64 = 4_000_000;
const ITIMER_REAL: i32 = 0;

/// Seconds and nanoseconds of a time in nanoseconds.
#[must_use]
pub const fn timespec(ns: u64) -> [u64; 2] {
    [ns / NSEC_PER_SEC, ns % NSEC_PER_SEC]
}

/// Reads a `struct timespec` as nanoseconds, at most what fits.
///
/// # Errors
/// `EFAULT`; `EINVAL` for a negative time or more than a second of nanoseconds.
pub fn get_timespec(addr: u64) -> Result<u64> {
    let [seconds, ns]: [i64; 2] = uaccess::get(addr)?;
    if seconds < 0 || !(0..NSEC_PER_SEC as i64).contains(&ns) {
        return Err(Errno::EINVAL);
    }
    Ok((seconds as u64).saturating_mul(NSEC_PER_SEC).saturating_add(ns as u64).min(i64::MAX as u64))
}

/// Reads a `struct timeval` as nanoseconds.
fn timeval_ns([seconds, us]: [i64; 2]) -> Result<u64> {
    if seconds < 0 || !(0..1_000_000).contains(&us) {
        return Err(Errno::EINVAL);
    }
    Ok((seconds as u64).saturating_mul(NSEC_PER_SEC).saturating_add(us as u64 * 1000).min(i64::MAX as u64))
}

const fn timeval(ns: u64) -> [u64; 2] {
    [ns / NSEC_PER_SEC, ns % NSEC_PER_SEC / 1000]
}

fn read(clock: i32) -> Result<u64> {
    Ok(match clock {
        CLOCK_REALTIME | CLOCK_REALTIME_COARSE | CLOCK_REALTIME_ALARM | CLOCK_TAI => clock::realtime_ns(),
        CLOCK_MONOTONIC
        | CLOCK_MONOTONIC_RAW
        | CLOCK_MONOTONIC_COARSE
        | CLOCK_BOOTTIME
        | CLOCK_BOOTTIME_ALARM => clock::monotonic_ns(),
        CLOCK_PROCESS_CPUTIME => {
            let usage = current().process.usage();
            usage.user_ns + usage.system_ns
        }
        CLOCK_THREAD_CPUTIME => current().cpu_ns(),
        // A CPU clock by id: the caller's own thread (-2, ‑6) or process alone.
        -6 | -2 => current().cpu_ns(),
        _ => return Err(Errno::EINVAL),
    })
}

/// `clock_gettime(2)`.
pub fn clock_gettime(args: &Args) -> Result<u64> {
    uaccess::put(args.addr(1), &timespec(read(args.int(0))?)).map(|()| 0)
}

/// `clock_getres(2)`.
pub fn clock_getres(args: &Args) -> Result<u64> {
    read(args.int(0))?;
    let coarse = matches!(args.int(0), CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE);
    if args.addr(1) != 0 {
        uaccess::put(args.addr(1), &timespec(if coarse { COARSE_NS } else { 1 }))?;
    }
    Ok(0)
}

/// `clock_settime(2)`.
pub fn clock_settime(args: &Args) -> Result<u64> {
    get_timespec(args.addr(1))?;
    if args.int(0) == CLOCK_REALTIME { Err(Errno::EPERM) } else { Err(Errno::EINVAL) }
}

/// settimeofday(2).
pub fn settimeofday(args: &Args) -> Result<u64> {
    if args.addr(0) != 0 {
        timeval_ns(uaccess::get(args.addr(0))?)?;
    }
    Err(Errno::EPERM)
}

/// gettimeofday(2).
pub fn gettimeofday(args: &Args) -> Result<u64> {
    if args.addr(0) != 0 {
        uaccess::put(args.addr(0), &timeval(clock::realtime_ns()))?;
    }
    if args.addr(1) != 0 {
        uaccess::put(args.addr(1), &[0u32; 2])?;
    }
    Ok(0)
}

/// time(2).
pub fn time(args: &Args) -> Result<u64> {
    let now = clock::realtime_ns() / NSEC_PER_SEC;
    if args.addr(0) != 0 {
        uaccess::put(args.addr(0), &now)?;
    }
    Ok(now)
}

/// Sleeps until `until` (CLOCK_MONOTONIC, ns). `Ok` when that was reached.
fn sleep(until: u64) -> Result<()> {
    let me = current().arc();
    loop {
        sched::prepare_to_block(&me, true);
        match sched::block(&me, true, Some(until)) {
            sched::BlockEnd::TimedOut => return Ok(()),
            _ if clock::monotonic_ns() >= until => return Ok(()),
            sched::BlockEnd::Interrupted => return Err(Errno::ERESTARTNOHAND),
            sched::BlockEnd::Woken => {}
        }
    }
}

/// Sleeps; when interrupted, stores what is left at `remaining` and sets up the restart.
///
/// # Errors
/// `ERESTART_RESTARTBLOCK`, `EFAULT`.
pub fn sleep_until(until: u64, remaining: u64) -> Result<u64> {
    if sleep(until).is_ok() {
        return Ok(0);
    }
    if remaining != 0 {
        uaccess::put(remaining, &timespec(until.saturating_sub(clock::monotonic_ns())))?;
    }
    *current().signals.restart.lock() = Some(Restart::Sleep { until, remaining });
    Err(Errno::ERESTART_RESTARTBLOCK)
}

/// nanosleep(2).
pub fn nanosleep(args: &Args) -> Result<u64> {
    let ns = get_timespec(args.addr(0))?;
    sleep_until(clock::monotonic_ns().saturating_add(ns), args.addr(1))
}

/// `clock_nanosleep(2)`.
pub fn clock_nanosleep(args: &Args) -> Result<u64> {
    let which = args.int(0);
    let known = matches!(
        which,
        CLOCK_REALTIME
            | CLOCK_MONOTONIC
            | CLOCK_BOOTTIME
            | CLOCK_TAI
            | CLOCK_REALTIME_ALARM
            | CLOCK_BOOTTIME_ALARM
            | CLOCK_PROCESS_CPUTIME
    );
    if !known {
        return Err(if read(which).is_ok() { Errno::EOPNOTSUPP } else { Errno::EINVAL });
    }
    if which == CLOCK_PROCESS_CPUTIME {
        return Err(Errno::EOPNOTSUPP);
    }
    let ns = get_timespec(args.addr(2))?;
    if args.uint(1) & TIMER_ABSTIME == 0 {
        return sleep_until(clock::monotonic_ns().saturating_add(ns), args.addr(3));
    }
    let now = read(which)?;
    sleep(clock::monotonic_ns().saturating_add(ns.saturating_sub(now))).map(|()| 0)
}

/// The real-time interval timer: time left and interval, ns.
fn read_itimer(inner: &Inner) -> (u64, u64) {
    match inner.itimer {
        // An expiry that is about to be delivered counts as the shortest time left.
        Some((_, expires, interval)) => (expires.saturating_sub(clock::monotonic_ns()).max(1000), interval),
        None => (0, 0),
    }
}

/// Arms it to expire after `value`; 0 disarms it. What it was before.
fn set_itimer(process: &Arc<Process>, value: u64, interval: u64) -> (u64, u64) {
    let mut inner = process.inner.lock();
    let old = read_itimer(&inner);
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

fn put_itimer(addr: u64, (left, interval): (u64, u64)) -> Result<()> {
    let ([interval_s, interval_us], [left_s, left_us]) = (timeval(interval), timeval(left));
    uaccess::put(addr, &[interval_s, interval_us, left_s, left_us])
}

/// getitimer(2).
pub fn getitimer(args: &Args) -> Result<u64> {
    if args.int(0) != ITIMER_REAL {
        return Err(Errno::EINVAL);
    }
    let now = read_itimer(&current().process.inner.lock());
    put_itimer(args.addr(1), now).map(|()| 0)
}

/// setitimer(2).
pub fn setitimer(args: &Args) -> Result<u64> {
    if args.int(0) != ITIMER_REAL {
        return Err(Errno::EINVAL);
    }
    let [interval_s, interval_us, value_s, value_us]: [i64; 4] = match args.addr(1) {
        0 => [0; 4],
        addr => uaccess::get(addr)?,
    };
    let (value, interval) = (timeval_ns([value_s, value_us])?, timeval_ns([interval_s, interval_us])?);
    let old = set_itimer(&current().process, value, interval);
    if args.addr(2) != 0 {
        put_itimer(args.addr(2), old)?;
    }
    Ok(0)
}

/// alarm(2).
pub fn alarm(args: &Args) -> Result<u64> {
    let (left, _) = set_itimer(&current().process, u64::from(args.uint(0)) * NSEC_PER_SEC, 0);
    // Rounded, but never to 0 while it runs.
    let seconds = (left + NSEC_PER_SEC / 2) / NSEC_PER_SEC;
    Ok(if left != 0 { seconds.max(1) } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_convert() {
        assert_eq!(timespec(1_500_000_000), [1, 500_000_000]);
        assert_eq!(timeval(1_500_000_999), [1, 500_000]);
        assert_eq!(timeval_ns([1, 5]), Ok(1_000_005_000));
        assert_eq!(timeval_ns([0, 1_000_000]), Err(Errno::EINVAL));
        assert_eq!(timeval_ns([i64::MAX, 0]), Ok(i64::MAX as u64));
    }
}
