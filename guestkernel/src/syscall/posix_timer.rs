//! `timer_create` and its fellows.

use alloc::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    Args,
    time::{TIMER_ABSTIME, check_timespec, timespec},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    signal::{self, SIGALRM},
    task::{cred::Caps, current, tree},
    time::{
        clocks::{Clock, is_device},
        posix::{self, Event, Notify},
    },
};

const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD: i32 = 2;
const SIGEV_THREAD_ID: i32 = 4;

/// The start of a `struct sigevent`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SigEvent {
    value: u64,
    signo: i32,
    notify: i32,
    thread: i32,
    padding: [u32; 11],
}

const _: () = assert!(size_of::<SigEvent>() == 64);

fn event(from: &SigEvent) -> Result<Event> {
    let thread = || -> Result<_> {
        let me = current();
        let task = u32::try_from(from.thread).ok().and_then(tree::task);
        let task = task.filter(|task| Arc::ptr_eq(&task.process, &me.process)).ok_or(Errno::EINVAL)?;
        Ok(Arc::downgrade(&task))
    };
    let signo = || -> Result<u32> {
        if signal::is_valid(from.signo) { Ok(from.signo as u32) } else { Err(Errno::EINVAL) }
    };
    let notify = match from.notify {
        SIGEV_NONE => Notify::Nobody,
        SIGEV_SIGNAL | SIGEV_THREAD => Notify::Process(signo()?),
        SIGEV_THREAD_ID => {
            let thread = thread()?;
            Notify::Thread(signo()?, thread)
        }
        _ => return Err(Errno::EINVAL),
    };
    Ok(Event { notify, value: Some(from.value) })
}

/// `timer_create(2)`.
///
/// # Errors
/// As `timer_create(2)`.
pub fn timer_create(args: &Args) -> Result<u64> {
    let from: Option<SigEvent> = if args.addr(1) == 0 { None } else { Some(uaccess::get(args.addr(1))?) };
    let which = args.int(0);
    if is_device(which) {
        return Err(Errno::EOPNOTSUPP);
    }
    let clock = Clock::find(which, false);
    // What a negative id names is looked at last.
    let clock = if which < 0 { clock } else { Ok(clock?) };
    if clock.as_ref().is_ok_and(|clock| !clock.has_timers()) {
        return Err(Errno::EOPNOTSUPP);
    }
    let slot = posix::reserve()?;
    let event = match &from {
        Some(from) => event(from)?,
        None => Event { notify: Notify::Process(SIGALRM), value: None },
    };
    let clock = clock?;
    if clock.is_alarm() && !current().with_cred(|cred| cred.capable(Caps::WAKE_ALARM)) {
        return Err(Errno::EPERM);
    }
    let id = posix::create(slot, clock, event);
    if let Err(error) = uaccess::put(args.addr(2), &id) {
        posix::delete(id)?;
        return Err(error);
    }
    Ok(0)
}

fn put(addr: u64, (left, interval): (u64, u64)) -> Result<()> {
    let ([interval_s, interval_ns], [left_s, left_ns]) = (timespec(interval), timespec(left));
    uaccess::put(addr, &[interval_s, interval_ns, left_s, left_ns])
}

/// `timer_settime(2)`.
///
/// # Errors
/// As `timer_settime(2)`.
pub fn timer_settime(args: &Args) -> Result<u64> {
    if args.addr(2) == 0 {
        return Err(Errno::EINVAL);
    }
    let [interval_s, interval_ns, value_s, value_ns]: [i64; 4] = uaccess::get(args.addr(2))?;
    let interval = check_timespec([interval_s, interval_ns])?;
    let value = check_timespec([value_s, value_ns])?;
    let timer = posix::find(args.int(0))?;
    let old = timer.set(value, interval, args.uint(1) & TIMER_ABSTIME != 0);
    if args.addr(3) != 0 {
        put(args.addr(3), old)?;
    }
    Ok(0)
}

/// `timer_gettime(2)`.
///
/// # Errors
/// As `timer_gettime(2)`.
pub fn timer_gettime(args: &Args) -> Result<u64> {
    put(args.addr(1), posix::find(args.int(0))?.get()).map(|()| 0)
}

/// `timer_getoverrun(2)`.
///
/// # Errors
/// As `timer_getoverrun(2)`.
pub fn timer_getoverrun(args: &Args) -> Result<u64> {
    Ok(posix::find(args.int(0))?.overrun() as u64)
}

/// `timer_delete(2)`.
///
/// # Errors
/// As `timer_delete(2)`.
pub fn timer_delete(args: &Args) -> Result<u64> {
    posix::delete(args.int(0)).map(|()| 0)
}
