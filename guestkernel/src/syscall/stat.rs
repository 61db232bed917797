//! Attributes: stat and its kin, modes, owners, times, sizes, file-system statistics.

use alloc::sync::Arc;
use hostcall::{Attr, FileSystemStat, SetAttr, SetAttrValid, Timespec};
use linux_raw_sys::general::{
    AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_STATX_SYNC_TYPE, AT_SYMLINK_NOFOLLOW, IN_ACCESS, IN_ATTRIB, IN_MODIFY,
    MS_MANDLOCK, MS_NOATIME, MS_NODEV, MS_NODIRATIME, MS_NOEXEC, MS_NOSUID, MS_NOSYMFOLLOW, MS_RDONLY,
    MS_RELATIME, MS_SYNCHRONOUS, S_IFLNK, S_IFMT, S_ISGID, UTIME_NOW, UTIME_OMIT,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    Args,
    at::{self, Caller, FDCWD, only, path},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::{
        Inode, Path, anon, inotify,
        mount::Mount,
        perm::{self, Who, cap},
        protect,
        walk::Lookup,
    },
};

/// `struct stat` of x86-64.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Stat {
    dev: u64,
    ino: u64,
    nlink: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    pad: u32,
    rdev: u64,
    size: u64,
    blksize: u64,
    blocks: u64,
    times: [Timespec; 3],
    unused: [u64; 3],
}

const _: () = assert!(size_of::<Stat>() == 144);

fn put_stat(to: u64, attr: &Attr) -> Result<u64> {
    let stat = Stat {
        dev: attr.dev,
        ino: attr.ino,
        nlink: attr.nlink,
        mode: attr.mode,
        uid: attr.uid,
        gid: attr.gid,
        pad: 0,
        rdev: attr.rdev,
        size: attr.size,
        blksize: attr.blksize.into(),
        blocks: attr.blocks,
        times: [attr.atime, attr.mtime, attr.ctime],
        unused: [0; 3],
    };
    uaccess::put(to, &stat)?;
    Ok(0)
}

fn attr_at(dirfd: i32, name: u64, flags: u32) -> Result<Attr> {
    // A null path with AT_EMPTY_PATH means the descriptor, as from Linux 6.11 on.
    let name = if name == 0 && flags & AT_EMPTY_PATH != 0 { at::UserPath::new() } else { path(name)? };
    if name.is_empty() && flags & AT_EMPTY_PATH != 0 && dirfd != FDCWD {
        return at::file(dirfd)?.attr();
    }
    Caller::new()?.resolve(dirfd, &name, flags)?.inode()?.attr()
}

/// stat(2).
///
/// # Errors
/// As stat(2).
pub fn stat(args: &Args) -> Result<u64> {
    put_stat(args.addr(1), &attr_at(FDCWD, args.addr(0), 0)?)
}

/// lstat(2).
///
/// # Errors
/// As lstat(2).
pub fn lstat(args: &Args) -> Result<u64> {
    put_stat(args.addr(1), &attr_at(FDCWD, args.addr(0), AT_SYMLINK_NOFOLLOW)?)
}

/// fstat(2).
///
/// # Errors
/// As fstat(2).
pub fn fstat(args: &Args) -> Result<u64> {
    put_stat(args.addr(1), &at::file(args.int(0))?.attr()?)
}

/// newfstatat(2).
///
/// # Errors
/// As fstatat(2).
pub fn newfstatat(args: &Args) -> Result<u64> {
    let flags = args.uint(3);
    only(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT)?;
    put_stat(args.addr(2), &attr_at(args.int(0), args.addr(1), flags)?)
}

/// `struct statx_timestamp`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct StatxTime {
    sec: i64,
    nsec: u32,
    pad: u32,
}

impl From<Timespec> for StatxTime {
    fn from(time: Timespec) -> Self {
        Self { sec: time.sec, nsec: time.nsec as u32, pad: 0 }
    }
}

/// `struct statx`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Statx {
    mask: u32,
    blksize: u32,
    attributes: u64,
    nlink: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    pad: u16,
    ino: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    atime: StatxTime,
    btime: StatxTime,
    ctime: StatxTime,
    mtime: StatxTime,
    rdev: [u32; 2],
    dev: [u32; 2],
    rest: [u64; 14],
}

const _: () = assert!(size_of::<Statx>() == 256);

/// Major and minor of a device number.
fn split(dev: u64) -> [u32; 2] {
    let major = (dev >> 8 & 0xfff) | (dev >> 32 & !0xfff);
    let minor = (dev & 0xff) | (dev >> 12 & !0xff);
    [major as u32, minor as u32]
}

/// statx(2).
///
/// # Errors
/// As statx(2).
pub fn statx(args: &Args) -> Result<u64> {
    const BASIC: u32 = 0x7ff;
    let (flags, mask) = (args.uint(2), args.uint(3));
    only(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE)?;
    if mask & 1 << 31 != 0 || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE {
        return Err(Errno::EINVAL);
    }
    let attr = attr_at(args.int(0), args.addr(1), flags)?;
    let statx = Statx {
        mask: BASIC,
        blksize: attr.blksize,
        nlink: attr.nlink as u32,
        uid: attr.uid,
        gid: attr.gid,
        mode: attr.mode as u16,
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.atime.into(),
        ctime: attr.ctime.into(),
        mtime: attr.mtime.into(),
        rdev: split(attr.rdev),
        dev: split(attr.dev),
        ..Statx::default()
    };
    uaccess::put(args.addr(4), &statx)?;
    Ok(0)
}

/// Refuses changes on a read-only mount.
fn writable(path: &Path) -> Result<&Arc<dyn Inode>> {
    if path.mount.is_readonly() { Err(Errno::EROFS) } else { path.inode() }
}

fn change_mode(path: &Path, who: &Who<'_>, mode: u32) -> Result<u64> {
    let inode = writable(path)?;
    let attr = inode.access()?;
    if !who.owns(&attr) {
        return Err(Errno::EPERM);
    }
    if attr.mode & S_IFMT == S_IFLNK {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut mode = mode & 0o7777;
    if !who.in_group(attr.gid) && !who.capable(cap::FSETID) {
        mode &= !S_ISGID;
    }
    inode.set_attr(&SetAttr { valid: SetAttrValid::MODE.bits(), mode, ..SetAttr::default() })?;
    inotify::happened(&path.dentry, IN_ATTRIB);
    Ok(0)
}

/// chmod(2).
///
/// # Errors
/// As chmod(2).
pub fn chmod(args: &Args) -> Result<u64> {
    do_chmod(FDCWD, args.addr(0), args.uint(1), 0)
}

/// fchmod(2).
///
/// # Errors
/// As fchmod(2).
pub fn fchmod(args: &Args) -> Result<u64> {
    let file = at::open_file(args.int(0))?;
    change_mode(file.path(), &Caller::new()?.who(), args.uint(1))
}

/// fchmodat(2), which has no flags.
///
/// # Errors
/// As fchmodat(2).
pub fn fchmodat(args: &Args) -> Result<u64> {
    do_chmod(args.int(0), args.addr(1), args.uint(2), 0)
}

/// fchmodat2(2).
///
/// # Errors
/// As fchmodat2(2).
pub fn fchmodat2(args: &Args) -> Result<u64> {
    let flags = args.uint(3);
    only(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    do_chmod(args.int(0), args.addr(1), args.uint(2), flags)
}

fn do_chmod(dirfd: i32, name: u64, mode: u32, flags: u32) -> Result<u64> {
    let name = path(name)?;
    let caller = Caller::new()?;
    let found = caller.resolve(dirfd, &name, flags)?;
    change_mode(&found, &caller.who(), mode)
}

fn change_owner(path: &Path, who: &Who<'_>, uid: u32, gid: u32) -> Result<u64> {
    let inode = writable(path)?;
    let attr = inode.access()?;
    let mut valid = SetAttrValid::empty();
    if uid != u32::MAX {
        valid |= SetAttrValid::UID;
        if !(who.capable(cap::CHOWN) || who.uid == attr.uid && uid == attr.uid) {
            return Err(Errno::EPERM);
        }
    }
    if gid != u32::MAX {
        valid |= SetAttrValid::GID;
        if !(who.capable(cap::CHOWN) || who.uid == attr.uid && (who.in_group(gid) || gid == attr.gid)) {
            return Err(Errno::EPERM);
        }
    }
    // A new owner does not inherit the set-id bits of a program.
    let mut mode = attr.mode & 0o7777;
    if !inode.is_dir() {
        let kept = mode;
        mode = perm::without_privileges(&attr, who) & 0o7777;
        if mode != kept {
            valid |= SetAttrValid::MODE;
        }
    }
    inode.set_attr(&SetAttr { valid: valid.bits(), mode, uid, gid, ..SetAttr::default() })?;
    if !valid.is_empty() {
        inotify::happened(&path.dentry, IN_ATTRIB);
    }
    Ok(0)
}

fn do_chown(dirfd: i32, name: u64, uid: u32, gid: u32, flags: u32) -> Result<u64> {
    let name = path(name)?;
    let caller = Caller::new()?;
    let found = caller.resolve(dirfd, &name, flags)?;
    change_owner(&found, &caller.who(), uid, gid)
}

/// chown(2).
///
/// # Errors
/// As chown(2).
pub fn chown(args: &Args) -> Result<u64> {
    do_chown(FDCWD, args.addr(0), args.uint(1), args.uint(2), 0)
}

/// lchown(2).
///
/// # Errors
/// As lchown(2).
pub fn lchown(args: &Args) -> Result<u64> {
    do_chown(FDCWD, args.addr(0), args.uint(1), args.uint(2), AT_SYMLINK_NOFOLLOW)
}

/// fchown(2).
///
/// # Errors
/// As fchown(2).
pub fn fchown(args: &Args) -> Result<u64> {
    let file = at::open_file(args.int(0))?;
    change_owner(file.path(), &Caller::new()?.who(), args.uint(1), args.uint(2))
}

/// fchownat(2).
///
/// # Errors
/// As fchownat(2).
pub fn fchownat(args: &Args) -> Result<u64> {
    let flags = args.uint(4);
    only(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    do_chown(args.int(0), args.addr(1), args.uint(2), args.uint(3), flags)
}

/// A time to set: `None` leaves it.
type NewTime = Option<Timespec>;

fn change_times(path: &Path, who: &Who<'_>, times: Option<[Timespec; 2]>) -> Result<u64> {
    let now = anon::now();
    let mut to_now = true;
    let mut new: [NewTime; 2] = [Some(now), Some(now)];
    if let Some(times) = times {
        for (slot, time) in new.iter_mut().zip(times) {
            *slot = match time.nsec as u32 {
                UTIME_NOW => Some(now),
                UTIME_OMIT => {
                    to_now = false;
                    None
                }
                _ if (0..1_000_000_000).contains(&time.nsec) => {
                    to_now = false;
                    Some(time)
                }
                _ => return Err(Errno::EINVAL),
            };
        }
        if new == [None, None] {
            return Ok(0);
        }
    }
    let inode = writable(path)?;
    let attr = inode.access()?;
    if !who.owns(&attr) {
        if !to_now {
            return Err(Errno::EPERM);
        }
        perm::check(&**inode, who, perm::WRITE)?;
    }
    let mut change = SetAttr::default();
    let mut valid = SetAttrValid::empty();
    if let Some(time) = new[0] {
        valid |= SetAttrValid::ATIME;
        change.atime = time;
    }
    if let Some(time) = new[1] {
        valid |= SetAttrValid::MTIME;
        change.mtime = time;
    }
    change.valid = valid.bits();
    inode.set_attr(&change)?;
    let event = match (valid.contains(SetAttrValid::ATIME), valid.contains(SetAttrValid::MTIME)) {
        (true, true) => IN_ATTRIB,
        (true, false) => IN_ACCESS,
        _ => IN_MODIFY,
    };
    inotify::happened(&path.dentry, event);
    Ok(0)
}

fn do_utimes(dirfd: i32, name: u64, times: Option<[Timespec; 2]>, flags: u32) -> Result<u64> {
    let caller = Caller::new()?;
    if name == 0 && dirfd != FDCWD {
        let file = at::open_file(dirfd)?;
        return change_times(file.path(), &caller.who(), times);
    }
    let name = path(name)?;
    let found = caller.resolve(dirfd, &name, flags)?;
    change_times(&found, &caller.who(), times)
}

/// utimensat(2).
///
/// # Errors
/// As utimensat(2).
pub fn utimensat(args: &Args) -> Result<u64> {
    let flags = args.uint(3);
    only(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    let times = match args.addr(2) {
        0 => None,
        addr => Some(uaccess::get::<[Timespec; 2]>(addr)?),
    };
    do_utimes(args.int(0), args.addr(1), times, flags)
}

/// Times given in microseconds.
fn micro_times(addr: u64) -> Result<Option<[Timespec; 2]>> {
    if addr == 0 {
        return Ok(None);
    }
    let mut times = uaccess::get::<[Timespec; 2]>(addr)?;
    for time in &mut times {
        if !(0..1_000_000).contains(&time.nsec) {
            return Err(Errno::EINVAL);
        }
        time.nsec *= 1000;
    }
    Ok(Some(times))
}

/// utimes(2).
///
/// # Errors
/// As utimes(2).
pub fn utimes(args: &Args) -> Result<u64> {
    do_utimes(FDCWD, args.addr(0), micro_times(args.addr(1))?, 0)
}

/// futimesat(2).
///
/// # Errors
/// As futimesat(2).
pub fn futimesat(args: &Args) -> Result<u64> {
    do_utimes(args.int(0), args.addr(1), micro_times(args.addr(2))?, 0)
}

/// utime(2).
///
/// # Errors
/// As utime(2).
pub fn utime(args: &Args) -> Result<u64> {
    let times = match args.addr(1) {
        0 => None,
        addr => Some(uaccess::get::<[i64; 2]>(addr)?.map(|sec| Timespec { sec, nsec: 0 })),
    };
    do_utimes(FDCWD, args.addr(0), times, 0)
}

/// Sets a regular file's size.
pub(super) fn set_size(inode: &Arc<dyn Inode>, size: u64) -> Result<()> {
    super::at::check_file_size(inode.size()?, size)?;
    protect::drop_privileges(inode)?;
    inode.set_attr(&SetAttr { valid: SetAttrValid::SIZE.bits(), size, ..SetAttr::default() })
}

/// truncate(2).
///
/// # Errors
/// As truncate(2).
pub fn truncate(args: &Args) -> Result<u64> {
    let size = u64::try_from(args.long(1)).map_err(|_| Errno::EINVAL)?;
    let name = path(args.addr(0))?;
    let caller = Caller::new()?;
    let found = caller.resolve(FDCWD, &name, 0)?;
    let inode = found.inode()?;
    if inode.is_dir() {
        return Err(Errno::EISDIR);
    }
    if !inode.is_regular() {
        return Err(Errno::EINVAL);
    }
    perm::check(&**inode, &caller.who(), perm::WRITE)?;
    let inode = writable(&found)?;
    crate::fs::busy::check_idle(inode)?;
    crate::fs::lease::request(inode, true, false)?;
    set_size(inode, size)?;
    inotify::happened(&found.dentry, IN_MODIFY);
    Ok(0)
}

/// `struct statfs` of x86-64.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Statfs {
    kind: u64,
    bsize: u64,
    blocks: u64,
    bfree: u64,
    bavail: u64,
    files: u64,
    ffree: u64,
    fsid: u64,
    namelen: u64,
    frsize: u64,
    flags: u64,
    spare: [u64; 4],
}

/// `ST_*` of a mount: most bits agree with those of mount(2).
fn statfs_flags(mount: &Mount) -> u64 {
    const SAME_OF_FILE_SYSTEM: u64 = (MS_RDONLY | MS_SYNCHRONOUS | MS_MANDLOCK) as u64;
    const SAME: u64 = (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME) as u64;
    const ST_RELATIME: u64 = 4096;
    const ST_NOSYMFOLLOW: u64 = 8192;
    let flags = mount.flags();
    let mut shown = flags & SAME | mount.fs.flags() & SAME_OF_FILE_SYSTEM;
    if flags & u64::from(MS_RELATIME) != 0 {
        shown |= ST_RELATIME;
    }
    if flags & u64::from(MS_NOSYMFOLLOW) != 0 {
        shown |= ST_NOSYMFOLLOW;
    }
    shown
}

fn put_statfs(to: u64, path: &Path, stat: &FileSystemStat) -> Result<u64> {
    const VALID: u64 = 0x20;
    let statfs = Statfs {
        kind: stat.kind,
        bsize: stat.bsize,
        blocks: stat.blocks,
        bfree: stat.bfree,
        bavail: stat.bavail,
        files: stat.files,
        ffree: stat.ffree,
        fsid: 0,
        namelen: stat.namelen,
        frsize: stat.frsize,
        flags: VALID | statfs_flags(&path.mount),
        spare: [0; 4],
    };
    uaccess::put(to, &statfs)?;
    Ok(0)
}

/// statfs(2).
///
/// # Errors
/// As statfs(2).
pub fn statfs(args: &Args) -> Result<u64> {
    let name = path(args.addr(0))?;
    let found = Caller::new()?.walk(FDCWD, &name)?.resolve(&name, Lookup::FOLLOW)?;
    put_statfs(args.addr(1), &found, &found.inode()?.statfs()?)
}

/// fstatfs(2).
///
/// # Errors
/// As fstatfs(2).
pub fn fstatfs(args: &Args) -> Result<u64> {
    let file = at::file(args.int(0))?;
    put_statfs(args.addr(1), file.path(), &file.inode().statfs()?)
}
