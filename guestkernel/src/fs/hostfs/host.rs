//! The file hostcalls as a trait, so that hostfs can be tested without a VMM.

use alloc::{sync::Arc, vec};
use hostcall::{Attr, CALL_DATA_LEN, FileSystemStat, Handle, Hostcall, IoRange, READDIR_END, SetAttr};
use zerocopy::{FromZeros, IntoBytes};

use crate::{
    arch::hostcall::{call, call_data},
    errno::{Errno, Result},
};

/// What hostfs asks the host for. The calls' comments in the `hostcall` crate say what each does.
#[allow(missing_docs, reason = "one method a hostcall, documented there")]
#[allow(clippy::missing_errors_doc, reason = "the host's errno")]
pub trait Host: Send + Sync {
    fn lookup(&self, dir: Handle, name: &[u8]) -> Result<(Handle, Attr)>;
    fn getattr(&self, inode: Handle) -> Result<Attr>;
    /// Of several at once, at most [`MAX_GETATTRS`](hostcall::MAX_GETATTRS); mode 0 where there is an error.
    fn getattrs(&self, inodes: &[Handle], attrs: &mut [Attr]) -> Result<()>;
    fn setattr(&self, inode: Handle, change: &SetAttr) -> Result<Attr>;
    /// With `acl` says whether there is an access control list.
    fn open(&self, inode: Handle, access: u64, acl: bool) -> Result<bool>;
    /// At least one, at most [`MAX_GETATTRS`](hostcall::MAX_GETATTRS).
    fn close(&self, inodes: &[Handle]);
    fn read(&self, file: Handle, offset: u64, ranges: &[IoRange]) -> Result<usize>;
    fn write(&self, file: Handle, offset: u64, ranges: &[IoRange]) -> Result<usize>;
    /// Bytes and the size afterwards.
    fn append(&self, file: Handle, ranges: &[IoRange]) -> Result<(usize, u64)>;
    /// Bytes, and whether they are known to be the last.
    fn readdir(&self, dir: Handle, cookie: u64, gpa: u64, len: u64) -> Result<(usize, bool)>;
    fn readlink(&self, link: Handle) -> Result<Arc<[u8]>>;
    fn create(&self, dir: Handle, name: &[u8], mode: u32, uid: u32, gid: u32) -> Result<(Handle, Attr)>;
    fn tmpfile(&self, dir: Handle, mode: u32, uid: u32, gid: u32) -> Result<(Handle, Attr)>;
    fn mkdir(&self, dir: Handle, name: &[u8], mode: u32, uid: u32, gid: u32) -> Result<(Handle, Attr)>;
    fn symlink(&self, dir: Handle, name: &[u8], target: &[u8], uid: u32, gid: u32) -> Result<(Handle, Attr)>;
    fn mknod(&self, dir: Handle, name: &[u8], mode: u32, uid: u32, gid: u32) -> Result<(Handle, Attr)>;
    fn link(&self, inode: Handle, dir: Handle, name: &[u8]) -> Result<()>;
    fn unlink(&self, dir: Handle, name: &[u8], directory: bool) -> Result<()>;
    fn rename(&self, dir: Handle, old: &[u8], to: Handle, new: &[u8], flags: u32) -> Result<()>;
    fn sync(&self, file: Handle, data_only: bool) -> Result<()>;
    fn statfs(&self, inode: Handle) -> Result<FileSystemStat>;
    fn allocate(&self, file: Handle, mode: u32, offset: u64, len: u64) -> Result<()>;
    /// The value's length; the value at `gpa`, of at most `len` bytes.
    fn get_xattr(&self, inode: Handle, name: &[u8], gpa: u64, len: usize) -> Result<usize>;
    fn set_xattr(&self, inode: Handle, name: &[u8], gpa: u64, len: usize, flags: u32) -> Result<()>;
    fn list_xattr(&self, inode: Handle, gpa: u64, len: usize) -> Result<usize>;
    fn remove_xattr(&self, inode: Handle, name: &[u8]) -> Result<()>;
    /// The next data or hole (`SEEK_DATA`, `SEEK_HOLE`) from `offset` on.
    fn seek(&self, file: Handle, offset: u64, whence: u32) -> Result<u64>;
    fn window_map(&self, file: Handle, offset: u64, len: u64, window: u64, writable: bool) -> Result<()>;
    /// Fails when the pages of a window cannot be provided.
    fn window_probe(&self, window: u64, len: u64, write: bool) -> Result<()>;
}

/// The VMM.
#[derive(Debug)]
pub struct Vmm;

/// A call that answers with a handle and attributes.
fn node(nr: Hostcall, args: [u64; 6], input: &[&[u8]]) -> Result<(Handle, Attr)> {
    let mut attr = Attr::default();
    let handle = call_data(nr, args, input, attr.as_mut_bytes())?;
    Ok((Handle::try_from(handle).map_err(|_| Errno::EIO)?, attr))
}

impl Host for Vmm {
    fn lookup(&self, dir: Handle, name: &[u8]) -> Result<(Handle, Attr)> {
        node(Hostcall::FsLookup, [dir.into(), name.len() as u64, 0, 0, 0, 0], &[name])
    }

    fn getattr(&self, inode: Handle) -> Result<Attr> {
        let mut attr = Attr::default();
        call_data(Hostcall::FsGetattr, [inode.into(), 0, 0, 0, 0, 0], &[], attr.as_mut_bytes())?;
        Ok(attr)
    }

    fn getattrs(&self, inodes: &[Handle], attrs: &mut [Attr]) -> Result<()> {
        let args = [inodes.len() as u64, 0, 0, 0, 0, 0];
        call_data(Hostcall::FsGetattrs, args, &[inodes.as_bytes()], attrs.as_mut_bytes()).map(drop)
    }

    fn setattr(&self, inode: Handle, change: &SetAttr) -> Result<Attr> {
        let mut attr = Attr::default();
        let args = [inode.into(), 0, 0, 0, 0, 0];
        call_data(Hostcall::FsSetattr, args, &[change.as_bytes()], attr.as_mut_bytes())?;
        Ok(attr)
    }

    fn open(&self, inode: Handle, access: u64, acl: bool) -> Result<bool> {
        call(Hostcall::FsOpen, [inode.into(), access, acl.into(), 0, 0, 0]).map(|there| there != 0)
    }

    fn close(&self, inodes: &[Handle]) {
        let Some((first, others)) = inodes.split_first() else { return };
        let args = [(*first).into(), others.len() as u64, 0, 0, 0, 0];
        if let Err(error) = call_data(Hostcall::FsClose, args, &[others.as_bytes()], &mut []) {
            log::warn!("closing host handles {inodes:?}: {error}");
        }
    }

    fn read(&self, file: Handle, offset: u64, ranges: &[IoRange]) -> Result<usize> {
        let args = [file.into(), offset, ranges.len() as u64, 0, 0, 0];
        call_data(Hostcall::FsRead, args, &[ranges.as_bytes()], &mut []).map(|n| n as usize)
    }

    fn write(&self, file: Handle, offset: u64, ranges: &[IoRange]) -> Result<usize> {
        let args = [file.into(), offset, ranges.len() as u64, 0, 0, 0];
        call_data(Hostcall::FsWrite, args, &[ranges.as_bytes()], &mut []).map(|n| n as usize)
    }

    fn append(&self, file: Handle, ranges: &[IoRange]) -> Result<(usize, u64)> {
        let mut size = 0u64;
        let args = [file.into(), 0, ranges.len() as u64, 1, 0, 0];
        let done = call_data(Hostcall::FsWrite, args, &[ranges.as_bytes()], size.as_mut_bytes())?;
        Ok((done as usize, size))
    }

    fn readdir(&self, dir: Handle, cookie: u64, gpa: u64, len: u64) -> Result<(usize, bool)> {
        let n = call(Hostcall::FsReaddir, [dir.into(), cookie, gpa, len, 0, 0])?;
        Ok(((n & !READDIR_END) as usize, n & READDIR_END != 0))
    }

    fn readlink(&self, link: Handle) -> Result<Arc<[u8]>> {
        let mut target = vec![0; CALL_DATA_LEN];
        let len = call_data(Hostcall::FsReadlink, [link.into(), 0, 0, 0, 0, 0], &[], &mut target)?;
        let target = target.get(..len as usize).ok_or(Errno::EIO)?;
        Ok(target.into())
    }

    fn create(&self, dir: Handle, name: &[u8], mode: u32, uid: u32, gid: u32) -> Result<(Handle, Attr)> {
        let args = [dir.into(), name.len() as u64, mode.into(), uid.into(), gid.into(), 0];
        node(Hostcall::FsCreate, args, &[name])
    }

    fn tmpfile(&self, dir: Handle, mode: u32, uid: u32, gid: u32) -> Result<(Handle, Attr)> {
        node(Hostcall::FsTmpfile, [dir.into(), mode.into(), uid.into(), gid.into(), 0, 0], &[])
    }

    fn mkdir(&self, dir: Handle, name: &[u8], mode: u32, uid: u32, gid: u32) -> Result<(Handle, Attr)> {
        let args = [dir.into(), name.len() as u64, mode.into(), uid.into(), gid.into(), 0];
        node(Hostcall::FsMkdir, args, &[name])
    }

    fn symlink(&self, dir: Handle, name: &[u8], target: &[u8], uid: u32, gid: u32) -> Result<(Handle, Attr)> {
        let args = [dir.into(), name.len() as u64, target.len() as u64, uid.into(), gid.into(), 0];
        if name.len() + target.len() > CALL_DATA_LEN {
            return Err(Errno::ENAMETOOLONG);
        }
        node(Hostcall::FsSymlink, args, &[name, target])
    }

    fn mknod(&self, dir: Handle, name: &[u8], mode: u32, uid: u32, gid: u32) -> Result<(Handle, Attr)> {
        let args = [dir.into(), name.len() as u64, mode.into(), uid.into(), gid.into(), 0];
        node(Hostcall::FsMknod, args, &[name])
    }

    fn link(&self, inode: Handle, dir: Handle, name: &[u8]) -> Result<()> {
        let args = [inode.into(), dir.into(), name.len() as u64, 0, 0, 0];
        call_data(Hostcall::FsLink, args, &[name], &mut []).map(drop)
    }

    fn unlink(&self, dir: Handle, name: &[u8], directory: bool) -> Result<()> {
        let args = [dir.into(), name.len() as u64, directory.into(), 0, 0, 0];
        call_data(Hostcall::FsUnlink, args, &[name], &mut []).map(drop)
    }

    fn rename(&self, dir: Handle, old: &[u8], to: Handle, new: &[u8], flags: u32) -> Result<()> {
        let args = [dir.into(), old.len() as u64, to.into(), new.len() as u64, flags.into(), 0];
        call_data(Hostcall::FsRename, args, &[old, new], &mut []).map(drop)
    }

    fn sync(&self, file: Handle, data_only: bool) -> Result<()> {
        call(Hostcall::FsSync, [file.into(), data_only.into(), 0, 0, 0, 0]).map(drop)
    }

    fn statfs(&self, inode: Handle) -> Result<FileSystemStat> {
        let mut stat = FileSystemStat::new_zeroed();
        call_data(Hostcall::FsStatfs, [inode.into(), 0, 0, 0, 0, 0], &[], stat.as_mut_bytes())?;
        Ok(stat)
    }

    fn allocate(&self, file: Handle, mode: u32, offset: u64, len: u64) -> Result<()> {
        call(Hostcall::FsAllocate, [file.into(), mode.into(), offset, len, 0, 0]).map(drop)
    }

    fn get_xattr(&self, inode: Handle, name: &[u8], gpa: u64, len: usize) -> Result<usize> {
        let args = [inode.into(), name.len() as u64, gpa, len as u64, 0, 0];
        call_data(Hostcall::FsGetXattr, args, &[name], &mut []).map(|n| n as usize)
    }

    fn set_xattr(&self, inode: Handle, name: &[u8], gpa: u64, len: usize, flags: u32) -> Result<()> {
        let args = [inode.into(), name.len() as u64, gpa, len as u64, flags.into(), 0];
        call_data(Hostcall::FsSetXattr, args, &[name], &mut []).map(drop)
    }

    fn list_xattr(&self, inode: Handle, gpa: u64, len: usize) -> Result<usize> {
        call(Hostcall::FsListXattr, [inode.into(), gpa, len as u64, 0, 0, 0]).map(|n| n as usize)
    }

    fn remove_xattr(&self, inode: Handle, name: &[u8]) -> Result<()> {
        let args = [inode.into(), name.len() as u64, 0, 0, 0, 0];
        call_data(Hostcall::FsRemoveXattr, args, &[name], &mut []).map(drop)
    }

    fn seek(&self, file: Handle, offset: u64, whence: u32) -> Result<u64> {
        call(Hostcall::FsSeek, [file.into(), offset, whence.into(), 0, 0, 0])
    }

    fn window_map(&self, file: Handle, offset: u64, len: u64, window: u64, writable: bool) -> Result<()> {
        call(Hostcall::WindowMap, [file.into(), offset, len, window, writable.into(), 0]).map(drop)
    }

    fn window_probe(&self, window: u64, len: u64, write: bool) -> Result<()> {
        call(Hostcall::WindowProbe, [window, len, write.into(), 0, 0, 0]).map(drop)
    }
}
