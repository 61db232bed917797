//! Clocks, sleeping, interval timers.

use super::Args;
use crate::{
    arch::{clock, uaccess},
    errno::{Errno, Result},
    task::{Restart, cred::Caps, current, sched},
    time::{
        NSEC_PER_SEC,
        clocks::{Clock, CpuClock, Kind, is_device, is_own_thread},
        cpu_timer, itimer,
    },
};

const CLOCK_MONOTONIC: i32 = 1;
const CLOCK_REALTIME: i32 = 0;
/// `clock_nanosleep` and `timer_settime`: the time is the clock's own.
pub const TIMER_ABSTIME: u32 = 1;

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
    check_timespec(uaccess::get(addr)?)
}

/// A `struct timespec` as nanoseconds, at most what fits.
///
/// # Errors
/// `EINVAL`.
pub fn check_timespec([seconds, ns]: [i64; 2]) -> Result<u64> {
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

/// `clock_gettime(2)`.
pub fn clock_gettime(args: &Args) -> Result<u64> {
    let now = match args.int(0) {
        // The two that everybody reads, without a look at what else there is.
        CLOCK_REALTIME => clock::realtime_ns(),
        CLOCK_MONOTONIC => clock::monotonic_ns(),
        id => {
            let clock = Clock::find(id, true)?;
            if let Some(cpu) = clock.cpu().filter(|cpu| cpu.kind == Kind::Virt) {
                cpu.process().cpu_timers.sample();
            }
            clock.now()
        }
    };
    uaccess::put(args.addr(1), &timespec(now)).map(|()| 0)
}

/// `clock_getres(2)`.
pub fn clock_getres(args: &Args) -> Result<u64> {
    let resolution = Clock::find(args.int(0), false)?.resolution();
    if args.addr(1) != 0 {
        uaccess::put(args.addr(1), &timespec(resolution))?;
    }
    Ok(0)
}

/// `clock_settime(2)`: a sandbox sets no clock.
pub fn clock_settime(args: &Args) -> Result<u64> {
    let id = args.int(0);
    if id != CLOCK_REALTIME && (id >= 0 || is_device(id)) {
        return Err(Errno::EINVAL);
    }
    let time: [i64; 2] = uaccess::get(args.addr(1))?;
    if id == CLOCK_REALTIME {
        check_timespec(time)?;
    } else {
        Clock::find(id, false)?;
    }
    Err(Errno::EPERM)
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
    let id = args.int(0);
    if is_device(id) {
        return Err(Errno::EOPNOTSUPP);
    }
    // The calls of a negative id check it only when they come to sleep.
    let early = if id < 0 { None } else { Some(Clock::find(id, false)?) };
    if matches!(&early, Some(clock) if !clock.has_timers() || matches!(clock, Clock::OwnThread(_))) {
        return Err(Errno::EOPNOTSUPP);
    }
    let ns = get_timespec(args.addr(2))?;
    let absolute = args.uint(1) & TIMER_ABSTIME != 0;
    if is_own_thread(id) {
        return Err(Errno::EINVAL);
    }
    let clock = match early {
        Some(clock) => clock,
        None => Clock::find(id, false)?,
    };
    if clock.is_alarm() {
        if args.uint(1) & !TIMER_ABSTIME != 0 {
            return Err(Errno::EINVAL);
        }
        if !current().with_cred(|cred| cred.capable(Caps::WAKE_ALARM)) {
            return Err(Errno::EPERM);
        }
    }
    let remaining = if absolute { 0 } else { args.addr(3) };
    if let Some(cpu) = clock.cpu() {
        let until = if absolute { ns } else { cpu.now().saturating_add(ns) };
        return sleep_cpu(&cpu, id, until, remaining, absolute);
    }
    if !absolute {
        return sleep_until(clock::monotonic_ns().saturating_add(ns), remaining);
    }
    sleep(clock.to_monotonic(ns)).map(|()| 0)
}

/// Sleeps until a CPU clock shows `until`.
///
/// # Errors
/// `ERESTART_RESTARTBLOCK`, or `ERESTARTNOHAND` for an absolute time; `EFAULT`.
pub fn sleep_cpu(cpu: &CpuClock, id: i32, until: u64, remaining: u64, absolute: bool) -> Result<u64> {
    let me = current().arc();
    loop {
        sched::prepare_to_block(&me, true);
        if cpu.now() >= until {
            sched::cancel_block(&me);
            return Ok(0);
        }
        let wait = cpu_timer::add(cpu, until, cpu_timer::Expiry::Wake(me.clone()));
        let end = sched::block(&me, true, None);
        cpu_timer::cancel(cpu, wait);
        if cpu.now() >= until {
            return Ok(0);
        }
        if end == sched::BlockEnd::Interrupted {
            break;
        }
    }
    if absolute {
        return Err(Errno::ERESTARTNOHAND);
    }
    if remaining != 0 {
        uaccess::put(remaining, &timespec(until.saturating_sub(cpu.now())))?;
    }
    *me.signals.restart.lock() = Some(Restart::CpuSleep { id, until, remaining });
    Err(Errno::ERESTART_RESTARTBLOCK)
}

/// `struct timex`.
const TIMEX: usize = 208;

/// What the clock's discipline looks like: that of a machine that nobody has synchronised. Nothing of it can be set.
fn timex(into: &mut [u8; TIMEX]) -> u64 {
    const UNSYNCHRONISED: u64 = 0x40;
    const ERROR_US: u64 = 16_000_000;
    let now = clock::realtime_ns();
    let fields = [
        (16, 0),
        (8, 0),
        (24, ERROR_US),
        (32, ERROR_US),
        (40, UNSYNCHRONISED),
        (48, 2),
        (56, 1),
        (64, 500 << 16),
        (72, now / NSEC_PER_SEC),
        (80, now % NSEC_PER_SEC / 1000),
        (88, 10_000),
    ];
    if let Some(rest) = into.get_mut(96..164) {
        rest.fill(0);
    }
    for (at, value) in fields {
        if let Some(place) = into.get_mut(at..at + 8) {
            place.copy_from_slice(&u64::to_le_bytes(value));
        }
    }
    // TIME_ERROR: not synchronised.
    5
}

fn adjust(addr: u64, check: impl FnOnce() -> Result<()>) -> Result<u64> {
    const ADJTIME: u32 = 0x8000;
    const SINGLE_SHOT: u32 = 1;
    const READ_ONLY: u32 = 0x2000;
    let mut bytes: [u8; TIMEX] = uaccess::get(addr)?;
    check()?;
    let modes = bytes.first_chunk().copied().map_or(0, u32::from_le_bytes);
    if modes & ADJTIME != 0 && modes & SINGLE_SHOT == 0 {
        return Err(Errno::EINVAL);
    }
    if modes != 0 && (modes & ADJTIME == 0 || modes & READ_ONLY == 0) {
        return Err(Errno::EPERM);
    }
    let state = timex(&mut bytes);
    uaccess::put(addr, &bytes).map(|()| state)
}

/// adjtimex(2).
pub fn adjtimex(args: &Args) -> Result<u64> {
    adjust(args.addr(0), || Ok(()))
}

/// `clock_adjtime(2)`.
pub fn clock_adjtime(args: &Args) -> Result<u64> {
    let id = args.int(0);
    adjust(args.addr(1), || match id {
        CLOCK_REALTIME => Ok(()),
        _ if is_device(id) => Err(Errno::EINVAL),
        // Of a CPU clock it is asked whether it can be adjusted before whose it is.
        ..0 => Err(Errno::EOPNOTSUPP),
        _ => Clock::find(id, false).and(Err(Errno::EOPNOTSUPP)),
    })
}

const ITIMER_REAL: i32 = 0;

fn itimer_kind(which: i32) -> Result<Option<Kind>> {
    match which {
        ITIMER_REAL => Ok(None),
        1 => Ok(Some(Kind::Virt)),
        2 => Ok(Some(Kind::Prof)),
        _ => Err(Errno::EINVAL),
    }
}

fn put_itimer(addr: u64, (left, interval): (u64, u64)) -> Result<()> {
    let ([interval_s, interval_us], [left_s, left_us]) = (timeval(interval), timeval(left));
    uaccess::put(addr, &[interval_s, interval_us, left_s, left_us])
}

/// getitimer(2).
pub fn getitimer(args: &Args) -> Result<u64> {
    let process = &current().process;
    let now = match itimer_kind(args.int(0))? {
        None => itimer::get(process),
        Some(kind) => cpu_timer::interval(process, kind),
    };
    put_itimer(args.addr(1), now).map(|()| 0)
}

/// setitimer(2).
pub fn setitimer(args: &Args) -> Result<u64> {
    let [interval_s, interval_us, value_s, value_us]: [i64; 4] = match args.addr(1) {
        0 => [0; 4],
        addr => uaccess::get(addr)?,
    };
    let (value, interval) = (timeval_ns([value_s, value_us])?, timeval_ns([interval_s, interval_us])?);
    let process = &current().process;
    let old = match itimer_kind(args.int(0))? {
        None => itimer::set(process, value, interval),
        Some(kind) => cpu_timer::set_interval(process, kind, value, interval),
    };
    if args.addr(2) != 0 {
        put_itimer(args.addr(2), old)?;
    }
    Ok(0)
}

/// alarm(2).
pub fn alarm(args: &Args) -> Result<u64> {
    let (left, _) = itimer::set(&current().process, u64::from(args.uint(0)) * NSEC_PER_SEC, 0);
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
