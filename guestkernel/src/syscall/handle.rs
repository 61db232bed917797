//! File handles: names of files that outlive their paths.
//!
//! No file system of ours can find a file again by a handle, as few of Linux's can that a container sees; what there is
//! are handles that only tell files apart (`AT_HANDLE_FID`).

use linux_raw_sys::general::{AT_EMPTY_PATH, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, O_DIRECTORY};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    Args,
    at::{Caller, FDCWD, only, open_file, path},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    task::cred::Caps,
};

/// The handle is only to tell files apart.
const AT_HANDLE_FID: u32 = 0x200;
/// The mount's identity is one that is never used again, in 64 bits.
const AT_HANDLE_MNT_ID_UNIQUE: u32 = 1;
/// Longest handle in bytes.
const MAX_HANDLE: u32 = 128;
/// A handle of an inode's number and generation that cannot be opened.
const INODE_AND_GENERATION: i32 = 0x81;

/// `struct file_handle` without the handle.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Head {
    bytes: u32,
    kind: i32,
}

/// `name_to_handle_at(2)`.
///
/// # Errors
/// As name_to_handle_at(2).
pub fn name_to_handle_at(args: &Args) -> Result<u64> {
    let (to, mount_to, flags) = (args.addr(2), args.addr(3), args.uint(4));
    only(flags, AT_SYMLINK_FOLLOW | AT_EMPTY_PATH | AT_HANDLE_FID | AT_HANDLE_MNT_ID_UNIQUE)?;
    let name = path(args.addr(1))?;
    let follow = if flags & AT_SYMLINK_FOLLOW != 0 { 0 } else { AT_SYMLINK_NOFOLLOW };
    let found = Caller::new()?.resolve(args.int(0), &name, follow | flags & AT_EMPTY_PATH)?;
    if flags & AT_HANDLE_FID == 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let room: Head = uaccess::get(to)?;
    if room.bytes > MAX_HANDLE {
        return Err(Errno::EINVAL);
    }
    let ino = found.inode()?.attr()?.ino;
    let handle = [ino as u32, (ino >> 32) as u32, 0];
    let bytes = size_of_val(&handle) as u32;
    if flags & AT_HANDLE_MNT_ID_UNIQUE != 0 {
        uaccess::put(mount_to, &u64::from(found.mount.id))?;
    } else {
        uaccess::put(mount_to, &found.mount.id)?;
    }
    if room.bytes < bytes {
        uaccess::put(to, &Head { bytes, kind: 0xff })?;
        return Err(Errno::EOVERFLOW);
    }
    uaccess::put(to, &Head { bytes, kind: INODE_AND_GENERATION })?;
    uaccess::put(to + size_of::<Head>() as u64, &handle)?;
    Ok(0)
}

/// `open_by_handle_at(2)`.
///
/// # Errors
/// As open_by_handle_at(2); `ESTALE` for what looks like a handle.
pub fn open_by_handle_at(args: &Args) -> Result<u64> {
    let (dir, from, flags) = (args.int(0), args.addr(1), args.uint(2));
    if dir != FDCWD {
        open_file(dir)?;
    }
    let caller = Caller::new()?;
    let may = caller.cred().capable(Caps::DAC_READ_SEARCH)
        || flags & O_DIRECTORY != 0 && caller.cred().capable(Caps::SYS_ADMIN);
    if !may {
        return Err(Errno::EPERM);
    }
    let head: Head = uaccess::get(from)?;
    if head.bytes == 0 || head.bytes > MAX_HANDLE {
        return Err(Errno::EINVAL);
    }
    let mut handle = [0; MAX_HANDLE as usize];
    uaccess::copy_from_user(&mut handle[..head.bytes as usize], from + size_of::<Head>() as u64)?;
    Err(Errno::ESTALE)
}
