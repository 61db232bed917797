//! Descriptors: read, write, seek, duplicate, control.

use linux_raw_sys::general::{
    FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_UNSHARE_RANGE, FALLOC_FL_ZERO_RANGE, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, O_APPEND, O_CLOEXEC,
    O_DSYNC, O_SYNC, RWF_APPEND, RWF_DSYNC, RWF_NOWAIT, RWF_SYNC, S_IFDIR, S_IFIFO, S_IFREG, S_IFSOCK,
};

use super::{
    Args,
    at::{self, file, install, nofile, only, open_file},
};
use crate::{
    arch::{is_user_range, uaccess},
    errno::{Errno, Result},
    fs::{File, locks, tmpfs::TmpInode},
    task::current,
    uio::{self, Sink, Source},
};

/// Most bytes of one transfer, as Linux limits it.
pub(super) const MAX_RW: usize = 0x7fff_f000;

/// Sends SIGPIPE for an `EPIPE`. Sockets do so themselves, where their type has it.
pub(super) fn broken_pipe<T>(file: &File, result: Result<T>) -> Result<T> {
    if matches!(result, Err(Errno::EPIPE)) && file.inode().kind() != S_IFSOCK {
        at::sigpipe();
    }
    result
}

/// A position argument.
pub(super) fn position(value: u64) -> Result<u64> {
    if value > i64::MAX as u64 { Err(Errno::EINVAL) } else { Ok(value) }
}

/// How much of a user buffer one call moves.
fn buffer(args: &Args) -> Result<usize> {
    if is_user_range(args.addr(1), args.0[2]) { Ok(args.size(2).min(MAX_RW)) } else { Err(Errno::EFAULT) }
}

/// read(2).
///
/// # Errors
/// As read(2).
pub fn read(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    file.check_readable()?;
    let mut sink = Sink::user(args.addr(1), buffer(args)?);
    file.read(&mut sink).map(|n| n as u64)
}

/// write(2).
///
/// # Errors
/// As write(2).
pub fn write(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    file.check_writable()?;
    let mut source = Source::user(args.addr(1), buffer(args)?);
    broken_pipe(&file, file.write(&mut source)).map(|n| n as u64)
}

/// pread64(2).
///
/// # Errors
/// As pread(2).
pub fn pread64(args: &Args) -> Result<u64> {
    let offset = position(args.0[3])?;
    let file = file(args.int(0))?;
    file.check_readable()?;
    let mut sink = Sink::user(args.addr(1), buffer(args)?);
    file.pread(&mut sink, offset).map(|n| n as u64)
}

/// pwrite64(2).
///
/// # Errors
/// As pwrite(2).
pub fn pwrite64(args: &Args) -> Result<u64> {
    let offset = position(args.0[3])?;
    let file = file(args.int(0))?;
    file.check_writable()?;
    let mut source = Source::user(args.addr(1), buffer(args)?);
    file.pwrite(&mut source, offset).map(|n| n as u64)
}

/// readv(2).
///
/// # Errors
/// As readv(2).
pub fn readv(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    let mut sink = Sink::User(uio::import_iovec(args.addr(1), args.size(2))?);
    file.read(&mut sink).map(|n| n as u64)
}

/// writev(2).
///
/// # Errors
/// As writev(2).
pub fn writev(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    let mut source = Source::User(uio::import_iovec(args.addr(1), args.size(2))?);
    broken_pipe(&file, file.write(&mut source)).map(|n| n as u64)
}

/// preadv(2).
///
/// # Errors
/// As preadv(2).
pub fn preadv(args: &Args) -> Result<u64> {
    let offset = position(args.0[3])?;
    let file = file(args.int(0))?;
    let mut sink = Sink::User(uio::import_iovec(args.addr(1), args.size(2))?);
    file.pread(&mut sink, offset).map(|n| n as u64)
}

/// pwritev(2).
///
/// # Errors
/// As pwritev(2).
pub fn pwritev(args: &Args) -> Result<u64> {
    let offset = position(args.0[3])?;
    let file = file(args.int(0))?;
    let mut source = Source::User(uio::import_iovec(args.addr(1), args.size(2))?);
    file.pwrite(&mut source, offset).map(|n| n as u64)
}

/// Flags of one write or read that Linux 6.12 knows.
const RWF_KNOWN: u32 = 0x7f;
/// Does not append whatever the file's flags say.
const RWF_NOAPPEND: u32 = 0x20;
/// Writes all or nothing, on devices that can.
const RWF_ATOMIC: u32 = 0x40;

/// What one call is to do otherwise than the file's status flags say: those flags, and whether it must not wait.
fn call_flags(file: &File, flags: u32) -> Result<(u32, bool)> {
    let no_wait = flags & RWF_NOWAIT != 0;
    let can_tell = matches!(file.inode().kind(), S_IFIFO | S_IFSOCK);
    if flags & !RWF_KNOWN != 0 || flags & RWF_ATOMIC != 0 || no_wait && !can_tell {
        return Err(Errno::EOPNOTSUPP);
    }
    if flags & RWF_APPEND != 0 && flags & RWF_NOAPPEND != 0 {
        return Err(Errno::EINVAL);
    }
    let mut status = file.flags();
    if flags & RWF_NOAPPEND != 0 {
        status &= !O_APPEND;
    }
    for (flag, means) in [(RWF_APPEND, O_APPEND), (RWF_DSYNC, O_DSYNC), (RWF_SYNC, O_SYNC)] {
        if flags & flag != 0 {
            status |= means;
        }
    }
    Ok((status, no_wait))
}

/// preadv2(2): position -1 reads at the file's own.
///
/// # Errors
/// As preadv2(2).
pub fn preadv2(args: &Args) -> Result<u64> {
    let offset = if args.long(3) == -1 { None } else { Some(position(args.0[3])?) };
    let file = file(args.int(0))?;
    file.check_readable()?;
    let mut sink = Sink::User(uio::import_iovec(args.addr(1), args.size(2))?);
    let (_, no_wait) = call_flags(&file, args.uint(5))?;
    match offset {
        Some(offset) => file.pread(&mut sink, offset),
        None if no_wait => file.without_waiting().read(&mut sink),
        None => file.read(&mut sink),
    }
    .map(|n| n as u64)
}

/// pwritev2(2): position -1 writes at the file's own.
///
/// # Errors
/// As pwritev2(2).
pub fn pwritev2(args: &Args) -> Result<u64> {
    let offset = if args.long(3) == -1 { None } else { Some(position(args.0[3])?) };
    let file = file(args.int(0))?;
    file.check_writable()?;
    let mut source = Source::User(uio::import_iovec(args.addr(1), args.size(2))?);
    let (status, no_wait) = call_flags(&file, args.uint(5))?;
    let done = match offset {
        Some(offset) => file.pwrite_as(&mut source, offset, status),
        None if no_wait => file.without_waiting().write_as(&mut source, status),
        None => file.write_as(&mut source, status),
    };
    broken_pipe(&file, done).map(|n| n as u64)
}

/// lseek(2).
///
/// # Errors
/// As lseek(2).
pub fn lseek(args: &Args) -> Result<u64> {
    file(args.int(0))?.seek(args.long(1), args.uint(2))
}

/// close(2).
///
/// # Errors
/// `EBADF`.
pub fn close(args: &Args) -> Result<u64> {
    current().files().close(args.int(0))?;
    Ok(0)
}

/// close_range(2).
///
/// # Errors
/// As close_range(2).
pub fn close_range(args: &Args) -> Result<u64> {
    const UNSHARE: u32 = 2;
    const CLOEXEC: u32 = 4;
    let (first, last, flags) = (args.uint(0), args.uint(1), args.uint(2));
    only(flags, UNSHARE | CLOEXEC)?;
    if first > last {
        return Err(Errno::EINVAL);
    }
    let task = current();
    if flags & UNSHARE != 0 {
        drop(task.set_files(Some(task.files().fork())));
    }
    task.files().close_range(first, last, flags & CLOEXEC != 0);
    Ok(0)
}

/// dup(2).
///
/// # Errors
/// As dup(2).
pub fn dup(args: &Args) -> Result<u64> {
    install(file(args.int(0))?, false)
}

fn dup_to(old: i32, new: i32, cloexec: bool) -> Result<u64> {
    let task = current();
    let file = task.files().get(old)?;
    task.files().install_at(new, file, cloexec, nofile())?;
    Ok(new as u64)
}

/// dup2(2).
///
/// # Errors
/// As dup2(2).
pub fn dup2(args: &Args) -> Result<u64> {
    let (old, new) = (args.int(0), args.int(1));
    if old == new {
        file(old)?;
        return Ok(new as u64);
    }
    dup_to(old, new, false)
}

/// dup3(2).
///
/// # Errors
/// As dup3(2).
pub fn dup3(args: &Args) -> Result<u64> {
    let (old, new, flags) = (args.int(0), args.int(1), args.uint(2));
    only(flags, O_CLOEXEC)?;
    if old == new {
        return Err(Errno::EINVAL);
    }
    dup_to(old, new, flags & O_CLOEXEC != 0)
}

/// flock(2).
///
/// # Errors
/// As flock(2).
pub fn flock(args: &Args) -> Result<u64> {
    let file = open_file(args.int(0))?;
    let operation = args.uint(1);
    let exclusive = match operation & !LOCK_NB {
        LOCK_SH => Some(false),
        LOCK_EX => Some(true),
        LOCK_UN => None,
        _ => return Err(Errno::EINVAL),
    };
    locks::flock(&file, exclusive, operation & LOCK_NB == 0).map(|()| 0)
}

/// ioctl(2).
///
/// # Errors
/// As ioctl(2).
pub fn ioctl(args: &Args) -> Result<u64> {
    const FIONREAD: u32 = 0x541B;
    const FIONBIO: u32 = 0x5421;
    const FIOASYNC: u32 = 0x5452;
    const FIONCLEX: u32 = 0x5450;
    const FIOCLEX: u32 = 0x5451;
    let (fd, request, arg) = (args.int(0), args.uint(1), args.addr(2));
    let file = open_file(fd)?;
    match request {
        FIOCLEX | FIONCLEX => current().files().set_cloexec(fd, request == FIOCLEX).map(|()| 0),
        FIONBIO => {
            let on: i32 = uaccess::get(arg)?;
            let nonblock = linux_raw_sys::general::O_NONBLOCK;
            let flags = file.flags();
            file.set_flags(if on != 0 { flags | nonblock } else { flags & !nonblock });
            Ok(0)
        }
        FIOASYNC => {
            let on: i32 = uaccess::get(arg)?;
            crate::fs::asynchronous::set(&file, fd, on != 0).map(|()| 0)
        }
        FIONREAD if file.inode().is_regular() => {
            let left = file.inode().size()?.saturating_sub(file.position());
            uaccess::put(arg, &i32::try_from(left).unwrap_or(i32::MAX))?;
            Ok(0)
        }
        _ => file.ops().clone().ioctl(&file, request, arg),
    }
}

/// ftruncate(2).
///
/// # Errors
/// As ftruncate(2).
pub fn ftruncate(args: &Args) -> Result<u64> {
    let file = open_file(args.int(0))?;
    let size = position(args.0[1])?;
    if file.check_writable().is_err() || !file.inode().is_regular() {
        return Err(Errno::EINVAL);
    }
    super::stat::set_size(file.inode(), size)?;
    file.note_event(linux_raw_sys::general::IN_MODIFY);
    Ok(0)
}

/// Refuses combinations of modes that no file system takes.
fn check_mode(mode: u32) -> Result<()> {
    let (what, keeps) = (mode & !FALLOC_FL_KEEP_SIZE, mode & FALLOC_FL_KEEP_SIZE != 0);
    match what {
        0 | FALLOC_FL_UNSHARE_RANGE | FALLOC_FL_ZERO_RANGE => Ok(()),
        FALLOC_FL_PUNCH_HOLE if keeps => Ok(()),
        FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE if !keeps => Ok(()),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// fallocate(2).
///
/// # Errors
/// As fallocate(2).
pub fn fallocate(args: &Args) -> Result<u64> {
    let file = open_file(args.int(0))?;
    let (mode, offset, len) = (args.uint(1), args.long(2), args.long(3));
    if offset < 0 || len <= 0 {
        return Err(Errno::EINVAL);
    }
    check_mode(mode)?;
    file.check_writable()?;
    match file.inode().kind() {
        S_IFREG if !file.ops().is_stream() => {}
        S_IFIFO => return Err(Errno::ESPIPE),
        S_IFDIR => return Err(Errno::EISDIR),
        _ => return Err(Errno::ENODEV),
    }
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)? as u64;
    // On a tmpfs, what lies beyond the size that is kept counts as well.
    let grows = mode & FALLOC_FL_KEEP_SIZE == 0 || file.inode().downcast::<TmpInode>().is_some();
    if grows && mode & FALLOC_FL_PUNCH_HOLE == 0 {
        at::check_file_size(file.inode().size()?, end)?;
    }
    file.ops().allocate(mode, offset as u64, len as u64).map(|()| 0)
}

/// sync_file_range(2).
///
/// # Errors
/// As sync_file_range(2).
pub fn sync_file_range(args: &Args) -> Result<u64> {
    const WAIT_AFTER: u32 = 4;
    let file = open_file(args.int(0))?;
    let (offset, len, flags) = (args.long(1), args.long(2), args.uint(3));
    only(flags, 7)?;
    if offset < 0 || offset.checked_add(len).is_none_or(|end| end < offset) {
        return Err(Errno::EINVAL);
    }
    if !matches!(file.inode().kind(), S_IFREG | S_IFDIR) {
        return Err(Errno::ESPIPE);
    }
    // What is written is on its way to the host already; waiting for it is what is left.
    if flags & WAIT_AFTER != 0 && file.inode().is_regular() {
        file.ops().sync(true)?;
    }
    Ok(0)
}

/// fsync(2).
///
/// # Errors
/// As fsync(2).
pub fn fsync(args: &Args) -> Result<u64> {
    open_file(args.int(0))?.ops().sync(false).map(|()| 0)
}

/// fdatasync(2).
///
/// # Errors
/// As fdatasync(2).
pub fn fdatasync(args: &Args) -> Result<u64> {
    open_file(args.int(0))?.ops().sync(true).map(|()| 0)
}

/// sync(2). Writes reach the host when they are made; what the host still has in its cache is the host's to
/// write back.
///
/// # Errors
/// None.
pub fn sync(_args: &Args) -> Result<u64> {
    Ok(0)
}

/// syncfs(2).
///
/// # Errors
/// `EBADF`.
pub fn syncfs(args: &Args) -> Result<u64> {
    open_file(args.int(0))?;
    Ok(0)
}

/// fadvise64(2). Advice is taken note of by no file system of ours.
///
/// # Errors
/// As posix_fadvise(2).
pub fn fadvise64(args: &Args) -> Result<u64> {
    let file = open_file(args.int(0))?;
    if file.ops().is_stream() {
        return Err(Errno::ESPIPE);
    }
    if args.uint(3) > 5 || args.long(2) < 0 {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}

/// readahead(2).
///
/// # Errors
/// As readahead(2).
pub fn readahead(args: &Args) -> Result<u64> {
    let file = open_file(args.int(0))?;
    file.check_readable()?;
    if file.inode().is_regular() { Ok(0) } else { Err(Errno::EINVAL) }
}

/// fchdir(2).
///
/// # Errors
/// As fchdir(2).
pub fn fchdir(args: &Args) -> Result<u64> {
    let file = at::file(args.int(0))?;
    let caller = at::Caller::new()?;
    if !file.inode().is_dir() {
        return Err(Errno::ENOTDIR);
    }
    crate::fs::perm::check(&**file.inode(), &caller.who(), crate::fs::perm::EXEC)?;
    caller.fs.set_cwd(file.path().clone());
    Ok(0)
}
