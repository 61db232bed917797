//! pipe, eventfd.

use linux_raw_sys::general::{O_CLOEXEC, O_DIRECT, O_NONBLOCK};

use super::{
    Args,
    at::{Caller, install, only},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::{eventfd, pipe},
    task::current,
};

fn make(to: u64, flags: u32) -> Result<u64> {
    if flags & O_DIRECT != 0 {
        return Err(Errno::EINVAL);
    }
    only(flags, O_CLOEXEC | O_NONBLOCK)?;
    let caller = Caller::new()?;
    let cloexec = flags & O_CLOEXEC != 0;
    let (reader, writer) = pipe::pair(flags & O_NONBLOCK, caller.cred().fsuid, caller.cred().fsgid);
    let first = install(reader, cloexec)? as i32;
    let done = install(writer, cloexec).map(|fd| fd as i32).and_then(|second| {
        uaccess::put(to, &[first, second]).inspect_err(|_| {
            drop(current().files().close(second));
        })
    });
    if let Err(error) = done {
        drop(current().files().close(first));
        return Err(error);
    }
    Ok(0)
}

/// pipe(2).
///
/// # Errors
/// As pipe(2).
pub fn pipe(args: &Args) -> Result<u64> {
    make(args.addr(0), 0)
}

/// pipe2(2). Packet mode is not there.
///
/// # Errors
/// As pipe2(2).
pub fn pipe2(args: &Args) -> Result<u64> {
    make(args.addr(0), args.uint(1))
}

fn event(count: u32, flags: u32) -> Result<u64> {
    const SEMAPHORE: u32 = 1;
    only(flags, SEMAPHORE | O_CLOEXEC | O_NONBLOCK)?;
    let file = eventfd::open(count.into(), flags & SEMAPHORE != 0, flags & O_NONBLOCK);
    install(file, flags & O_CLOEXEC != 0)
}

/// eventfd(2).
///
/// # Errors
/// As eventfd(2).
pub fn eventfd(args: &Args) -> Result<u64> {
    event(args.uint(0), 0)
}

/// eventfd2(2).
///
/// # Errors
/// As eventfd2(2).
pub fn eventfd2(args: &Args) -> Result<u64> {
    event(args.uint(0), args.uint(1))
}
