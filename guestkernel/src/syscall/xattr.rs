//! Extended attributes.

use alloc::{sync::Arc, vec, vec::Vec};
use linux_raw_sys::general::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW};

use super::{
    Args,
    at::{Caller, FDCWD, only, open_file, path},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::{
        File, Path,
        perm::Who,
        xattr::{self, NAME_MAX, SIZE_MAX},
    },
    task::current,
};

/// What a call works on.
enum Place {
    Path { dirfd: i32, name: u64, flags: u32 },
    Descriptor(i32),
}

impl Place {
    fn followed(name: u64) -> Self {
        Self::Path { dirfd: FDCWD, name, flags: 0 }
    }

    fn itself(name: u64) -> Self {
        Self::Path { dirfd: FDCWD, name, flags: AT_SYMLINK_NOFOLLOW }
    }

    /// Runs `f` with what is there. `before` comes after a descriptor was found and before a path is walked.
    fn with<A, T>(
        &self,
        before: impl FnOnce() -> Result<A>,
        f: impl FnOnce(&Path, &Who<'_>, A) -> Result<T>,
    ) -> Result<T> {
        match *self {
            Self::Path { dirfd, name, flags } => {
                let prepared = before()?;
                let name = path(name)?;
                let caller = Caller::new()?;
                f(&caller.resolve(dirfd, &name, flags)?, &caller.who(), prepared)
            }
            Self::Descriptor(fd) => {
                let file: Arc<File> = open_file(fd)?;
                let prepared = before()?;
                let cred = current().cred();
                let who = Who {
                    uid: cred.fsuid,
                    gid: cred.fsgid,
                    groups: &cred.groups,
                    caps: cred.effective.bits(),
                };
                f(file.path(), &who, prepared)
            }
        }
    }
}

/// An attribute's name.
fn name(addr: u64) -> Result<Vec<u8>> {
    let mut bytes = [0; NAME_MAX + 1];
    match uaccess::strncpy_from_user(&mut bytes, addr)? {
        0 => Err(Errno::ERANGE),
        len if len == bytes.len() => Err(Errno::ERANGE),
        len => Ok(bytes[..len].to_vec()),
    }
}

/// Gives `bytes` to ring 3, whose buffer of `size` bytes it may be too long for; 0 asks for the length alone.
fn give(bytes: &[u8], to: u64, size: usize) -> Result<u64> {
    if size != 0 {
        if bytes.len() > size {
            return Err(if size >= SIZE_MAX { Errno::E2BIG } else { Errno::ERANGE });
        }
        uaccess::copy_to_user(to, bytes)?;
    }
    Ok(bytes.len() as u64)
}

fn refuse_read_only(place: &Path) -> Result<()> {
    if place.mount.is_readonly() { Err(Errno::EROFS) } else { Ok(()) }
}

fn set(place: &Place, name_at: u64, value: u64, size: usize, flags: u32) -> Result<u64> {
    let prepare = || {
        only(flags, linux_raw_sys::general::XATTR_CREATE | linux_raw_sys::general::XATTR_REPLACE)?;
        let name = name(name_at)?;
        if size > SIZE_MAX {
            return Err(Errno::E2BIG);
        }
        let mut bytes = vec![0; size];
        uaccess::copy_from_user(&mut bytes, value)?;
        Ok((name, bytes))
    };
    place.with(prepare, |place, who, (name, bytes)| {
        refuse_read_only(place)?;
        xattr::set(&**place.inode()?, who, &name, &bytes, flags).map(|()| 0)
    })
}

fn get(place: &Place, name_at: u64, value: u64, size: usize) -> Result<u64> {
    place.with(
        || name(name_at),
        |place, who, name| give(&xattr::get(&**place.inode()?, who, &name)?, value, size),
    )
}

fn list(place: &Place, to: u64, size: usize) -> Result<u64> {
    place.with(|| Ok(()), |place, who, ()| give(&xattr::list(&**place.inode()?, who)?, to, size))
}

fn remove(place: &Place, name_at: u64) -> Result<u64> {
    place.with(
        || name(name_at),
        |place, who, name| {
            refuse_read_only(place)?;
            xattr::remove(&**place.inode()?, who, &name).map(|()| 0)
        },
    )
}

/// setxattr(2).
///
/// # Errors
/// As setxattr(2).
pub fn setxattr(args: &Args) -> Result<u64> {
    set(&Place::followed(args.addr(0)), args.addr(1), args.addr(2), args.size(3), args.uint(4))
}

/// lsetxattr(2).
///
/// # Errors
/// As lsetxattr(2).
pub fn lsetxattr(args: &Args) -> Result<u64> {
    set(&Place::itself(args.addr(0)), args.addr(1), args.addr(2), args.size(3), args.uint(4))
}

/// fsetxattr(2).
///
/// # Errors
/// As fsetxattr(2).
pub fn fsetxattr(args: &Args) -> Result<u64> {
    set(&Place::Descriptor(args.int(0)), args.addr(1), args.addr(2), args.size(3), args.uint(4))
}

/// getxattr(2).
///
/// # Errors
/// As getxattr(2).
pub fn getxattr(args: &Args) -> Result<u64> {
    get(&Place::followed(args.addr(0)), args.addr(1), args.addr(2), args.size(3))
}

/// lgetxattr(2).
///
/// # Errors
/// As lgetxattr(2).
pub fn lgetxattr(args: &Args) -> Result<u64> {
    get(&Place::itself(args.addr(0)), args.addr(1), args.addr(2), args.size(3))
}

/// fgetxattr(2).
///
/// # Errors
/// As fgetxattr(2).
pub fn fgetxattr(args: &Args) -> Result<u64> {
    get(&Place::Descriptor(args.int(0)), args.addr(1), args.addr(2), args.size(3))
}

/// listxattr(2).
///
/// # Errors
/// As listxattr(2).
pub fn listxattr(args: &Args) -> Result<u64> {
    list(&Place::followed(args.addr(0)), args.addr(1), args.size(2))
}

/// llistxattr(2).
///
/// # Errors
/// As llistxattr(2).
pub fn llistxattr(args: &Args) -> Result<u64> {
    list(&Place::itself(args.addr(0)), args.addr(1), args.size(2))
}

/// flistxattr(2).
///
/// # Errors
/// As flistxattr(2).
pub fn flistxattr(args: &Args) -> Result<u64> {
    list(&Place::Descriptor(args.int(0)), args.addr(1), args.size(2))
}

/// removexattr(2).
///
/// # Errors
/// As removexattr(2).
pub fn removexattr(args: &Args) -> Result<u64> {
    remove(&Place::followed(args.addr(0)), args.addr(1))
}

/// lremovexattr(2).
///
/// # Errors
/// As lremovexattr(2).
pub fn lremovexattr(args: &Args) -> Result<u64> {
    remove(&Place::itself(args.addr(0)), args.addr(1))
}

/// fremovexattr(2).
///
/// # Errors
/// As fremovexattr(2).
pub fn fremovexattr(args: &Args) -> Result<u64> {
    remove(&Place::Descriptor(args.int(0)), args.addr(1))
}

/// What the `*xattrat` calls name: a path from a directory, or with `AT_EMPTY_PATH` and none the descriptor itself.
fn at(args: &Args) -> Result<Place> {
    let flags = args.uint(2);
    only(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    let (dirfd, name) = (args.int(0), args.addr(1));
    if flags & AT_EMPTY_PATH != 0 && dirfd >= 0 && (name == 0 || path(name)?.is_empty()) {
        return Ok(Place::Descriptor(dirfd));
    }
    Ok(Place::Path { dirfd, name, flags })
}

/// `struct xattr_args`: where the value is, its size, flags.
fn xattr_args(args: &Args) -> Result<(u64, usize, u32)> {
    const SIZE: usize = 16;
    let (addr, size) = (args.addr(4), args.size(5));
    if size < SIZE {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let [value, rest]: [u64; 2] = uaccess::get(addr)?;
    for at in SIZE..size {
        if uaccess::get::<u8>(addr + at as u64)? != 0 {
            return Err(Errno::E2BIG);
        }
    }
    Ok((value, rest as u32 as usize, (rest >> 32) as u32))
}

/// setxattrat(2).
///
/// # Errors
/// As setxattrat(2).
pub fn setxattrat(args: &Args) -> Result<u64> {
    let (value, size, flags) = xattr_args(args)?;
    set(&at(args)?, args.addr(3), value, size, flags)
}

/// getxattrat(2).
///
/// # Errors
/// As getxattrat(2).
pub fn getxattrat(args: &Args) -> Result<u64> {
    let (value, size, flags) = xattr_args(args)?;
    only(flags, 0)?;
    get(&at(args)?, args.addr(3), value, size)
}

/// listxattrat(2).
///
/// # Errors
/// As listxattrat(2).
pub fn listxattrat(args: &Args) -> Result<u64> {
    list(&at(args)?, args.addr(3), args.size(4))
}

/// removexattrat(2).
///
/// # Errors
/// As removexattrat(2).
pub fn removexattrat(args: &Args) -> Result<u64> {
    remove(&at(args)?, args.addr(3))
}
