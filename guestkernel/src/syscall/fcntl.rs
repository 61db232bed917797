//! fcntl(2).

use alloc::sync::Arc;
use linux_raw_sys::general::{
    F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, F_GETLK, F_GETOWN, F_GETOWN_EX, F_GETPIPE_SZ, F_GETSIG,
    F_SETFD, F_SETFL, F_SETLK, F_SETLKW, F_SETOWN, F_SETOWN_EX, F_SETPIPE_SZ, F_SETSIG, FD_CLOEXEC,
};

use super::{Args, at::nofile};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::{
        File, dnotify, lease,
        locks::{self, Owner},
        memfd,
        owner::Kind,
        pipe::PipeEnd,
    },
    task::current,
};

/// `F_SETOWN`: a process, or a group as a negative number.
fn set_owner(file: &File, id: i32) -> Result<u64> {
    if id == i32::MIN {
        return Err(Errno::EINVAL);
    }
    let kind = if id < 0 { Kind::Group } else { Kind::Process };
    file.with_owner(|owner| owner.set(kind, id.unsigned_abs())).map(|()| 0)
}

/// fcntl(2).
///
/// # Errors
/// As fcntl(2).
pub fn fcntl(args: &Args) -> Result<u64> {
    const OFD_GETLK: u32 = 36;
    const OFD_SETLK: u32 = 37;
    const OFD_SETLKW: u32 = 38;
    const F_SETLEASE: u32 = 1024;
    const F_GETLEASE: u32 = 1025;
    const F_NOTIFY: u32 = 1026;
    const F_ADD_SEALS: u32 = 1033;
    const F_GET_SEALS: u32 = 1034;
    let (fd, command, arg) = (args.int(0), args.uint(1), args.0[2]);
    let task = current();
    let files = task.files();
    let file = files.get(fd)?;
    let works_on_path = matches!(command, F_DUPFD | F_DUPFD_CLOEXEC | F_GETFD | F_SETFD | F_GETFL);
    if file.is_path() && !works_on_path {
        return Err(Errno::EBADF);
    }
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let min = u32::try_from(arg).map_err(|_| Errno::EINVAL)?;
            let limit = nofile();
            files.install(file, command == F_DUPFD_CLOEXEC, min, limit).map(|fd| fd as u64)
        }
        F_GETFD => Ok(u64::from(files.cloexec(fd)?) * u64::from(FD_CLOEXEC)),
        F_SETFD => files.set_cloexec(fd, arg & u64::from(FD_CLOEXEC) != 0).map(|()| 0),
        F_GETFL => Ok(file.flags().into()),
        F_SETFL => {
            let asynchronous = arg as u32 & linux_raw_sys::general::FASYNC != 0;
            // Kinds that tell nobody do not mind.
            let _ = crate::fs::asynchronous::set(&file, fd, asynchronous);
            file.set_flags(arg as u32);
            Ok(0)
        }
        F_GETPIPE_SZ => Ok(file.downcast::<PipeEnd>().ok_or(Errno::EBADF)?.pipe().capacity() as u64),
        F_SETPIPE_SZ => {
            let pipe = file.downcast::<PipeEnd>().ok_or(Errno::EBADF)?.pipe().clone();
            pipe.set_capacity(arg as usize).map(|size| size as u64)
        }
        F_GETLK | F_SETLK | F_SETLKW => {
            locks::control(&file, Owner::Process(task.process.pid), command, arg).map(|()| 0)
        }
        OFD_GETLK | OFD_SETLK | OFD_SETLKW => {
            locks::control(&file, Owner::file(&file), command - OFD_GETLK + F_GETLK, arg).map(|()| 0)
        }
        F_GET_SEALS => memfd::seals(&file).map(u64::from),
        F_ADD_SEALS => memfd::add_seals(&file, arg as u32).map(|()| 0),
        F_SETOWN => set_owner(&file, arg as i32),
        F_GETOWN => Ok(match file.owner().unwrap_or_default().get() {
            (Kind::Group, id) => i64::from(id).wrapping_neg() as u64,
            (_, id) => id.into(),
        }),
        F_SETOWN_EX => {
            let [kind, id]: [i32; 2] = uaccess::get(arg)?;
            let kind = Kind::new(kind)?;
            let id = u32::try_from(id).map_err(|_| Errno::ESRCH)?;
            file.with_owner(|owner| owner.set(kind, id)).map(|()| 0)
        }
        F_GETOWN_EX => {
            let (kind, id) = file.owner().unwrap_or_default().get();
            uaccess::put(arg, &[kind as i32, id as i32]).map(|()| 0)
        }
        F_SETSIG => file.with_owner(|owner| owner.set_signal(arg)).map(|()| 0),
        F_GETSIG => Ok(file.owner().unwrap_or_default().signal().into()),
        F_SETLEASE => lease::set(&file, fd, arg as u32).map(|()| 0),
        F_GETLEASE => Ok(lease::get(&file).into()),
        F_NOTIFY => {
            dnotify::control(&file, files.id(), fd, arg as u32)?;
            // Another thread may have closed it meanwhile.
            if !files.get(fd).is_ok_and(|now| Arc::ptr_eq(&now, &file)) {
                dnotify::end(&file, files.id());
            }
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}
