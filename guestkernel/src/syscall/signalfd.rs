//! signalfd.

use linux_raw_sys::general::{O_CLOEXEC, O_NONBLOCK};

use super::{
    Args,
    at::{file, install, only},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::{self, signalfd::SignalFd},
    signal::SigSet,
};

/// signalfd(2).
///
/// # Errors
/// As signalfd(2).
pub fn signalfd(args: &Args) -> Result<u64> {
    open_or_change(args, 0)
}

/// `signalfd4(2)`.
///
/// # Errors
/// As signalfd(2).
pub fn signalfd4(args: &Args) -> Result<u64> {
    open_or_change(args, args.uint(3))
}

fn open_or_change(args: &Args, flags: u32) -> Result<u64> {
    if args.size(2) != 8 {
        return Err(Errno::EINVAL);
    }
    let wanted = SigSet(uaccess::get(args.addr(1))?).without(SigSet::UNBLOCKABLE);
    only(flags, O_CLOEXEC | O_NONBLOCK)?;
    let fd = args.int(0);
    if fd == -1 {
        return install(fs::signalfd::open(wanted, flags & O_NONBLOCK), flags & O_CLOEXEC != 0);
    }
    let file = file(fd)?;
    file.downcast::<SignalFd>().ok_or(Errno::EINVAL)?.set(wanted);
    Ok(fd as u64)
}
