//! timerfd.

use linux_raw_sys::general::{O_CLOEXEC, O_NONBLOCK};

use super::{
    Args,
    at::{file, install, only},
    time::{get_timespec, timespec},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::{self, timerfd::TimerFd},
    task::{cred::Caps, current},
};

const CLOCK_REALTIME: i32 = 0;
const CLOCK_MONOTONIC: i32 = 1;
const CLOCK_BOOTTIME: i32 = 7;
const CLOCK_REALTIME_ALARM: i32 = 8;
const CLOCK_BOOTTIME_ALARM: i32 = 9;
const ABSOLUTE: u32 = 1;
/// Reads fail when the clock is set; nobody in a sandbox can set it.
const CANCEL_ON_SET: u32 = 2;

/// `timerfd_create(2)`.
///
/// # Errors
/// As `timerfd_create(2)`.
pub fn timerfd_create(args: &Args) -> Result<u64> {
    let flags = args.uint(1);
    only(flags, O_CLOEXEC | O_NONBLOCK)?;
    let realtime = match args.int(0) {
        CLOCK_REALTIME => true,
        CLOCK_MONOTONIC | CLOCK_BOOTTIME => false,
        which @ (CLOCK_REALTIME_ALARM | CLOCK_BOOTTIME_ALARM) => {
            if !current().with_cred(|cred| cred.capable(Caps::WAKE_ALARM)) {
                return Err(Errno::EPERM);
            }
            which == CLOCK_REALTIME_ALARM
        }
        _ => return Err(Errno::EINVAL),
    };
    install(fs::timerfd::open(realtime, flags & O_NONBLOCK), flags & O_CLOEXEC != 0)
}

fn put(addr: u64, (left, interval): (u64, u64)) -> Result<()> {
    let ([interval_s, interval_ns], [left_s, left_ns]) = (timespec(interval), timespec(left));
    uaccess::put(addr, &[interval_s, interval_ns, left_s, left_ns])
}

/// `timerfd_settime(2)`.
///
/// # Errors
/// As `timerfd_settime(2)`.
pub fn timerfd_settime(args: &Args) -> Result<u64> {
    let new = args.addr(2);
    // A bad address shows before a bad value.
    uaccess::get::<[i64; 4]>(new)?;
    only(args.uint(1), ABSOLUTE | CANCEL_ON_SET)?;
    let (interval, value) = (get_timespec(new)?, get_timespec(new.wrapping_add(16))?);
    let file = file(args.int(0))?;
    let timer = file.downcast::<TimerFd>().ok_or(Errno::EINVAL)?;
    let old = timer.set(value, interval, args.uint(1) & ABSOLUTE != 0);
    if args.addr(3) != 0 {
        put(args.addr(3), old)?;
    }
    Ok(0)
}

/// `timerfd_gettime(2)`.
///
/// # Errors
/// As `timerfd_gettime(2)`.
pub fn timerfd_gettime(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    let timer = file.downcast::<TimerFd>().ok_or(Errno::EINVAL)?;
    put(args.addr(1), timer.get()).map(|()| 0)
}
