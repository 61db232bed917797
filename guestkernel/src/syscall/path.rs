//! Names: open, make, remove, link, rename, working directory.

use linux_raw_sys::general::{
    AT_EACCESS, AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, O_ACCMODE, O_APPEND,
    O_CLOEXEC, O_CREAT, O_DIRECT, O_DIRECTORY, O_DSYNC, O_EXCL, O_LARGEFILE, O_NOATIME, O_NOCTTY, O_NOFOLLOW,
    O_NONBLOCK, O_PATH, O_RDONLY, O_SYNC, O_TMPFILE, O_TRUNC, O_WRONLY, RESOLVE_BENEATH, RESOLVE_CACHED,
    RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV,
};

use super::{
    Args,
    at::{Caller, FDCWD, file, install, lookup, only, path},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::{
        perm::{self, cap},
        walk::{Lookup, PATH_MAX},
    },
    task::cred::Caps,
};

/// Flags that open(2) knows; others are ignored by it and refused by openat2.
const KNOWN: u32 = O_ACCMODE
    | O_APPEND
    | O_CLOEXEC
    | O_CREAT
    | O_DIRECT
    | O_DIRECTORY
    | O_DSYNC
    | O_EXCL
    | O_LARGEFILE
    | O_NOATIME
    | O_NOCTTY
    | O_NOFOLLOW
    | O_NONBLOCK
    | O_PATH
    | O_SYNC
    | O_TMPFILE
    | O_TRUNC
    | 0o20000;
/// Flags that go with `O_PATH`.
const WITH_PATH: u32 = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

/// Refuses flags that make no sense together.
fn check_flags(flags: u32) -> Result<()> {
    const UNNAMED: u32 = O_TMPFILE & !O_DIRECTORY;
    let directory = flags & O_DIRECTORY != 0;
    let unnamed = flags & UNNAMED != 0 && (!directory || flags & O_ACCMODE == O_RDONLY);
    if directory && flags & O_CREAT != 0 || unnamed { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Flags of open(2): others are ignored, those that a mere path has no use for too.
fn open_flags(flags: u32) -> u32 {
    if flags & O_PATH != 0 { flags & WITH_PATH } else { flags & KNOWN }
}

fn do_open(dirfd: i32, name: u64, flags: u32, mode: u32, how: Lookup) -> Result<u64> {
    check_flags(flags)?;
    let name = path(name)?;
    let caller = Caller::new()?;
    let walk = caller.walk(dirfd, &name)?;
    let file = walk.open(&name, flags, mode & 0o7777, how)?;
    install(file, flags & O_CLOEXEC != 0)
}

/// open(2).
///
/// # Errors
/// As open(2).
pub fn open(args: &Args) -> Result<u64> {
    do_open(FDCWD, args.addr(0), open_flags(args.uint(1)), args.uint(2), Lookup::empty())
}

/// openat(2).
///
/// # Errors
/// As openat(2).
pub fn openat(args: &Args) -> Result<u64> {
    do_open(args.int(0), args.addr(1), open_flags(args.uint(2)), args.uint(3), Lookup::empty())
}

/// creat(2).
///
/// # Errors
/// As creat(2).
pub fn creat(args: &Args) -> Result<u64> {
    do_open(FDCWD, args.addr(0), O_CREAT | O_WRONLY | O_TRUNC, args.uint(1), Lookup::empty())
}

/// openat2(2).
///
/// # Errors
/// As openat2(2).
pub fn openat2(args: &Args) -> Result<u64> {
    let size = args.size(3);
    if size < 24 {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let [flags, mode, resolve]: [u64; 3] = uaccess::get(args.addr(2))?;
    for at in 24..size {
        if uaccess::get::<u8>(args.addr(2) + at as u64)? != 0 {
            return Err(Errno::E2BIG);
        }
    }
    let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    only(flags, KNOWN)?;
    let creates = flags & (O_CREAT | O_TMPFILE & !O_DIRECTORY) != 0;
    if mode & !0o7777 != 0 || mode != 0 && !creates {
        return Err(Errno::EINVAL);
    }
    if flags & O_PATH != 0 {
        only(flags, WITH_PATH)?;
    }
    let bits = [
        (RESOLVE_NO_XDEV, Lookup::NO_XDEV),
        (RESOLVE_NO_MAGICLINKS, Lookup::NO_MAGIC),
        (RESOLVE_NO_SYMLINKS, Lookup::NO_SYMLINKS),
        (RESOLVE_BENEATH, Lookup::BENEATH),
        (RESOLVE_IN_ROOT, Lookup::IN_ROOT),
    ];
    let known = bits.iter().fold(u64::from(RESOLVE_CACHED), |all, (bit, _)| all | u64::from(*bit));
    if resolve & !known != 0
        || resolve & u64::from(RESOLVE_BENEATH) != 0 && resolve & u64::from(RESOLVE_IN_ROOT) != 0
    {
        return Err(Errno::EINVAL);
    }
    if resolve & u64::from(RESOLVE_CACHED) != 0 {
        return Err(Errno::EAGAIN);
    }
    let how = bits
        .iter()
        .filter(|(bit, _)| resolve & u64::from(*bit) != 0)
        .fold(Lookup::empty(), |all, (_, how)| all | *how);
    do_open(args.int(0), args.addr(1), flags, mode as u32, how)
}

fn do_mkdir(dirfd: i32, name: u64, mode: u32) -> Result<u64> {
    let name = path(name)?;
    let caller = Caller::new()?;
    caller.walk(dirfd, &name)?.mkdir(&name, mode)?;
    Ok(0)
}

/// mkdir(2).
///
/// # Errors
/// As mkdir(2).
pub fn mkdir(args: &Args) -> Result<u64> {
    do_mkdir(FDCWD, args.addr(0), args.uint(1))
}

/// mkdirat(2).
///
/// # Errors
/// As mkdirat(2).
pub fn mkdirat(args: &Args) -> Result<u64> {
    do_mkdir(args.int(0), args.addr(1), args.uint(2))
}

/// The device number as stat(2) shows it, from the 32 bits that mknod(2) takes.
fn device(number: u64) -> u64 {
    number & 0xffff_ffff
}

fn do_mknod(dirfd: i32, name: u64, mode: u32, rdev: u64) -> Result<u64> {
    let name = path(name)?;
    let caller = Caller::new()?;
    caller.walk(dirfd, &name)?.mknod(&name, mode, device(rdev))?;
    Ok(0)
}

/// mknod(2).
///
/// # Errors
/// As mknod(2).
pub fn mknod(args: &Args) -> Result<u64> {
    do_mknod(FDCWD, args.addr(0), args.uint(1), args.0[2])
}

/// mknodat(2).
///
/// # Errors
/// As mknodat(2).
pub fn mknodat(args: &Args) -> Result<u64> {
    do_mknod(args.int(0), args.addr(1), args.uint(2), args.0[3])
}

fn do_unlink(dirfd: i32, name: u64, directory: bool) -> Result<u64> {
    let name = path(name)?;
    let caller = Caller::new()?;
    caller.walk(dirfd, &name)?.unlink(&name, directory)?;
    Ok(0)
}

/// unlink(2).
///
/// # Errors
/// As unlink(2).
pub fn unlink(args: &Args) -> Result<u64> {
    do_unlink(FDCWD, args.addr(0), false)
}

/// rmdir(2).
///
/// # Errors
/// As rmdir(2).
pub fn rmdir(args: &Args) -> Result<u64> {
    do_unlink(FDCWD, args.addr(0), true)
}

/// unlinkat(2).
///
/// # Errors
/// As unlinkat(2).
pub fn unlinkat(args: &Args) -> Result<u64> {
    let flags = args.uint(2);
    only(flags, AT_REMOVEDIR)?;
    do_unlink(args.int(0), args.addr(1), flags & AT_REMOVEDIR != 0)
}

fn do_rename(from_dir: i32, from: u64, to_dir: i32, to: u64, flags: u32) -> Result<u64> {
    let (from, to) = (path(from)?, path(to)?);
    let caller = Caller::new()?;
    let to_walk = caller.walk(to_dir, &to)?;
    caller.walk(from_dir, &from)?.rename(&from, &to_walk, &to, flags)?;
    Ok(0)
}

/// rename(2).
///
/// # Errors
/// As rename(2).
pub fn rename(args: &Args) -> Result<u64> {
    do_rename(FDCWD, args.addr(0), FDCWD, args.addr(1), 0)
}

/// renameat(2).
///
/// # Errors
/// As renameat(2).
pub fn renameat(args: &Args) -> Result<u64> {
    do_rename(args.int(0), args.addr(1), args.int(2), args.addr(3), 0)
}

/// renameat2(2).
///
/// # Errors
/// As renameat2(2).
pub fn renameat2(args: &Args) -> Result<u64> {
    do_rename(args.int(0), args.addr(1), args.int(2), args.addr(3), args.uint(4))
}

fn do_link(from_dir: i32, from: u64, to_dir: i32, to: u64, flags: u32) -> Result<u64> {
    let (from, to) = (path(from)?, path(to)?);
    let caller = Caller::new()?;
    let mut how = if flags & AT_SYMLINK_FOLLOW != 0 { Lookup::FOLLOW } else { Lookup::empty() };
    if flags & AT_EMPTY_PATH != 0 {
        how |= Lookup::EMPTY;
    }
    // By its number only whoever opened it may link it.
    if flags & AT_EMPTY_PATH != 0
        && from_dir != FDCWD
        && from.first() != Some(&b'/')
        && !file(from_dir)?.is_opened_by(caller.cred())
        && !caller.cred().capable(Caps::DAC_READ_SEARCH)
    {
        return Err(Errno::ENOENT);
    }
    let old = caller.walk(from_dir, &from)?.resolve(&from, how)?;
    caller.walk(to_dir, &to)?.link(&old, &to)?;
    Ok(0)
}

/// link(2).
///
/// # Errors
/// As link(2).
pub fn link(args: &Args) -> Result<u64> {
    do_link(FDCWD, args.addr(0), FDCWD, args.addr(1), 0)
}

/// linkat(2).
///
/// # Errors
/// As linkat(2).
pub fn linkat(args: &Args) -> Result<u64> {
    let flags = args.uint(4);
    only(flags, AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)?;
    do_link(args.int(0), args.addr(1), args.int(2), args.addr(3), flags)
}

fn do_symlink(target: u64, dirfd: i32, name: u64) -> Result<u64> {
    let (target, name) = (path(target)?, path(name)?);
    Caller::new()?.walk(dirfd, &name)?.symlink(&target, &name)?;
    Ok(0)
}

/// symlink(2).
///
/// # Errors
/// As symlink(2).
pub fn symlink(args: &Args) -> Result<u64> {
    do_symlink(args.addr(0), FDCWD, args.addr(1))
}

/// symlinkat(2).
///
/// # Errors
/// As symlinkat(2).
pub fn symlinkat(args: &Args) -> Result<u64> {
    do_symlink(args.addr(0), args.int(1), args.addr(2))
}

fn do_readlink(dirfd: i32, name: u64, buffer: u64, size: i32) -> Result<u64> {
    let size = usize::try_from(size).ok().filter(|&size| size > 0).ok_or(Errno::EINVAL)?;
    let name = path(name)?;
    let link = Caller::new()?.walk(dirfd, &name)?.resolve(&name, Lookup::EMPTY)?;
    if !link.inode()?.is_link() {
        return Err(if name.is_empty() { Errno::ENOENT } else { Errno::EINVAL });
    }
    let target = link.inode()?.readlink()?;
    let len = target.len().min(size);
    uaccess::copy_to_user(buffer, &target[..len])?;
    Ok(len as u64)
}

/// readlink(2).
///
/// # Errors
/// As readlink(2).
pub fn readlink(args: &Args) -> Result<u64> {
    do_readlink(FDCWD, args.addr(0), args.addr(1), args.int(2))
}

/// readlinkat(2).
///
/// # Errors
/// As readlinkat(2).
pub fn readlinkat(args: &Args) -> Result<u64> {
    do_readlink(args.int(0), args.addr(1), args.addr(2), args.int(3))
}

fn do_access(dirfd: i32, name: u64, mode: u32, flags: u32) -> Result<u64> {
    only(mode, 7)?;
    let name = path(name)?;
    let caller = Caller::new()?;
    let who = if flags & AT_EACCESS != 0 { caller.who() } else { caller.real() };
    let mut walk = caller.walk(dirfd, &name)?;
    walk.who = who;
    let found = walk.resolve(&name, lookup(flags))?;
    let inode = found.inode()?;
    if mode & perm::WRITE != 0 && found.mount.is_readonly() && (inode.is_dir() || inode.is_regular()) {
        return Err(Errno::EROFS);
    }
    if mode & perm::EXEC != 0 && inode.is_regular() && found.mount.is_noexec() {
        return Err(Errno::EACCES);
    }
    perm::check(&**inode, &who, mode)?;
    Ok(0)
}

/// access(2).
///
/// # Errors
/// As access(2).
pub fn access(args: &Args) -> Result<u64> {
    do_access(FDCWD, args.addr(0), args.uint(1), 0)
}

/// faccessat(2), which has no flags.
///
/// # Errors
/// As faccessat(2).
pub fn faccessat(args: &Args) -> Result<u64> {
    do_access(args.int(0), args.addr(1), args.uint(2), 0)
}

/// faccessat2(2).
///
/// # Errors
/// As faccessat2(2).
pub fn faccessat2(args: &Args) -> Result<u64> {
    let flags = args.uint(3);
    only(flags, AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    do_access(args.int(0), args.addr(1), args.uint(2), flags)
}

/// getcwd(2).
///
/// # Errors
/// As getcwd(2).
pub fn getcwd(args: &Args) -> Result<u64> {
    let caller = Caller::new()?;
    let cwd = caller.fs.cwd();
    if cwd.dentry.is_dead() {
        return Err(Errno::ENOENT);
    }
    let (name, inside) = cwd.absolute(&caller.fs.root());
    let mut text = if inside { name } else { [b"(unreachable)".as_slice(), &name].concat() };
    text.push(0);
    if text.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if text.len() > args.size(1) {
        return Err(Errno::ERANGE);
    }
    uaccess::copy_to_user(args.addr(0), &text)?;
    Ok(text.len() as u64)
}

/// chdir(2).
///
/// # Errors
/// As chdir(2).
pub fn chdir(args: &Args) -> Result<u64> {
    let name = path(args.addr(0))?;
    let caller = Caller::new()?;
    let dir = caller.walk(FDCWD, &name)?.resolve(&name, Lookup::FOLLOW | Lookup::DIRECTORY)?;
    perm::check(&**dir.inode()?, &caller.who(), perm::EXEC)?;
    caller.fs.set_cwd(dir);
    Ok(0)
}

/// chroot(2).
///
/// # Errors
/// As chroot(2).
pub fn chroot(args: &Args) -> Result<u64> {
    let name = path(args.addr(0))?;
    let caller = Caller::new()?;
    let dir = caller.walk(FDCWD, &name)?.resolve(&name, Lookup::FOLLOW | Lookup::DIRECTORY)?;
    perm::check(&**dir.inode()?, &caller.who(), perm::EXEC)?;
    if !caller.who().capable(cap::SYS_CHROOT) {
        return Err(Errno::EPERM);
    }
    caller.fs.set_root(dir);
    Ok(0)
}

/// umask(2).
///
/// # Errors
/// None.
pub fn umask(args: &Args) -> Result<u64> {
    Ok(Caller::new()?.fs.set_umask(args.uint(0)).into())
}
