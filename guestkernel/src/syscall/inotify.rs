//! inotify(7).

use alloc::sync::Arc;
use linux_raw_sys::general::{
    IN_DONT_FOLLOW, IN_MASK_ADD, IN_MASK_CREATE, IN_ONLYDIR, O_CLOEXEC, O_NONBLOCK,
};

use super::{
    Args,
    at::{Caller, FDCWD, install, only, open_file, path},
};
use crate::{
    errno::{Errno, Result},
    fs::{
        File,
        inotify::{self, Inotify},
        perm,
        walk::Lookup,
    },
};

/// inotify_init(2).
///
/// # Errors
/// As inotify_init(2).
pub fn inotify_init(_args: &Args) -> Result<u64> {
    install(inotify::open(0)?, false)
}

/// `inotify_init1(2)`.
///
/// # Errors
/// As inotify_init(2).
pub fn inotify_init1(args: &Args) -> Result<u64> {
    let flags = args.uint(0);
    only(flags, O_CLOEXEC | O_NONBLOCK)?;
    install(inotify::open(flags & O_NONBLOCK)?, flags & O_CLOEXEC != 0)
}

fn instance(file: &Arc<File>) -> Result<&Inotify> {
    file.downcast::<Inotify>().ok_or(Errno::EINVAL)
}

/// inotify_add_watch(2).
///
/// # Errors
/// As inotify_add_watch(2).
pub fn inotify_add_watch(args: &Args) -> Result<u64> {
    let mask = args.uint(2);
    only(mask, inotify::KNOWN)?;
    if mask == 0 {
        return Err(Errno::EINVAL);
    }
    let file = open_file(args.int(0))?;
    if mask & IN_MASK_ADD != 0 && mask & IN_MASK_CREATE != 0 {
        return Err(Errno::EINVAL);
    }
    let instance = instance(&file)?;
    let name = path(args.addr(1))?;
    let mut lookup = if mask & IN_DONT_FOLLOW != 0 { Lookup::empty() } else { Lookup::FOLLOW };
    lookup.set(Lookup::DIRECTORY, mask & IN_ONLYDIR != 0);
    let caller = Caller::new()?;
    let found = caller.walk(FDCWD, &name)?.resolve(&name, lookup)?;
    perm::check(&**found.inode()?, &caller.who(), perm::READ)?;
    instance.add(&found, mask).map(|number| number as u64)
}

/// inotify_rm_watch(2).
///
/// # Errors
/// As inotify_rm_watch(2).
pub fn inotify_rm_watch(args: &Args) -> Result<u64> {
    let file = open_file(args.int(0))?;
    instance(&file)?.remove(args.int(1)).map(|()| 0)
}
