//! File hostcalls on inodes that exist: attributes, contents, listings.

use std::sync::PoisonError;

use hostcall::{Attr, DirentHeader, FileSystemStat, Handle, SetAttr, SetAttrValid, Timespec};
use rustix::{
    fd::{AsFd, AsRawFd},
    fs::{AtFlags, FallocateFlags, FileType, RawDir, SeekFrom, StatxFlags},
    io::Errno,
};
use zerocopy::IntoBytes;

use super::{
    Server,
    files::{FileOp, raw},
    handles::Object,
    request::Ranges,
};
use crate::memory::Memory;

/// Bytes of directory entries taken from the host at a time.
const LISTING: usize = 32 * 1024;

/// Attributes of what a descriptor denotes.
pub(crate) fn attributes(fd: impl AsFd) -> Result<Attr, Errno> {
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    let time = |t: rustix::fs::StatxTimestamp| Timespec { sec: t.tv_sec, nsec: i64::from(t.tv_nsec) };
    Ok(Attr {
        ino: stat.stx_ino,
        dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        rdev: rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
        nlink: u64::from(stat.stx_nlink),
        mode: u32::from(stat.stx_mode),
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        blksize: stat.stx_blksize,
        atime: time(stat.stx_atime),
        mtime: time(stat.stx_mtime),
        ctime: time(stat.stx_ctime),
    })
}

/// The type in a mode.
pub(crate) fn kind(mode: u32) -> FileType {
    FileType::from_raw_mode(mode)
}

/// A time to set, checked.
fn timestamp(time: Option<Timespec>) -> Result<Option<(i64, i64)>, Errno> {
    match time {
        Some(t) if !(0..1_000_000_000).contains(&t.nsec) => Err(Errno::INVAL),
        time => Ok(time.map(|t| (t.sec, t.nsec))),
    }
}

/// Guest memory as an I/O vector.
fn io_vector(memory: &Memory, ranges: Ranges<'_>) -> Result<Vec<libc::iovec>, Errno> {
    ranges
        .iter()
        .map(|range| {
            let slice = memory.slice(range.gpa, range.len)?;
            Ok(libc::iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: slice.len() })
        })
        .collect()
}

fn result(n: isize) -> Result<u64, Errno> {
    u64::try_from(n).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::IO)
    })
}

impl Server {
    pub(super) fn getattr(&self, file: Handle) -> Result<Attr, Errno> {
        attributes(self.handles.get(file)?.fd())
    }

    /// Attributes, or zeroes where there are none to be had.
    pub(super) fn attr_or_none(&self, file: Handle) -> Attr {
        self.getattr(file).unwrap_or_default()
    }

    pub(super) fn setattr(&self, file: Handle, attr: &SetAttr) -> Result<Attr, Errno> {
        let object = self.handles.get(file)?;
        object.writable()?;
        let valid = SetAttrValid::from_bits(attr.valid).ok_or(Errno::INVAL)?;
        if valid.contains(SetAttrValid::SIZE) {
            if object.kind != FileType::RegularFile {
                return Err(Errno::INVAL);
            }
            object.open(&self.files, false, true)?;
            rustix::fs::ftruncate(object.io(false, true)?, attr.size)?;
        }
        let fd = object.fd();
        if valid.intersects(SetAttrValid::UID | SetAttrValid::GID) {
            let uid = valid.contains(SetAttrValid::UID).then_some(attr.uid);
            let gid = valid.contains(SetAttrValid::GID).then_some(attr.gid);
            self.files.call(&FileOp::Chown { file: raw(&fd), uid, gid })?;
        }
        if valid.contains(SetAttrValid::MODE) {
            self.chmod(&object, attr.mode)?;
        }
        if valid.intersects(SetAttrValid::ATIME | SetAttrValid::MTIME) {
            let atime = timestamp(valid.contains(SetAttrValid::ATIME).then_some(attr.atime))?;
            let mtime = timestamp(valid.contains(SetAttrValid::MTIME).then_some(attr.mtime))?;
            self.files.call(&FileOp::Times { file: raw(&fd), atime, mtime })?;
        }
        attributes(&fd)
    }

    /// chmod of an inode; a symbolic link has no mode of its own.
    pub(super) fn chmod(&self, object: &Object, mode: u32) -> Result<(), Errno> {
        if object.kind == FileType::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        // Held until the call is over, so that its number keeps denoting it.
        let fd = object.fd();
        self.files.call(&FileOp::Chmod { file: raw(&fd), mode })
    }

    pub(super) fn read_file(&self, file: Handle, offset: u64, ranges: Ranges<'_>) -> Result<u64, Errno> {
        let fd = self.handles.get(file)?.io(true, false)?;
        let offset = i64::try_from(offset).map_err(|_| Errno::INVAL)?;
        let vector = io_vector(&self.memory, ranges)?;
        let count = i32::try_from(vector.len()).map_err(|_| Errno::INVAL)?;
        // SAFETY: every entry is a checked range of guest RAM, which stays mapped for the life of the
        // process; the guest expects it to change.
        result(unsafe { libc::preadv(fd.as_raw_fd(), vector.as_ptr(), count, offset) })
    }

    pub(super) fn write_file(
        &self,
        file: Handle,
        offset: u64,
        ranges: Ranges<'_>,
        append: bool,
    ) -> Result<(u64, Option<u64>), Errno> {
        let object = self.handles.get(file)?;
        object.writable()?;
        let fd = object.io(false, true)?;
        let offset = if append { 0 } else { i64::try_from(offset).map_err(|_| Errno::INVAL)? };
        let flags = if append { libc::RWF_APPEND } else { 0 };
        let vector = io_vector(&self.memory, ranges)?;
        let count = i32::try_from(vector.len()).map_err(|_| Errno::INVAL)?;
        // SAFETY: every entry is a checked range of guest RAM, which stays mapped for the life of the
        // process; that the guest may change it meanwhile only changes what is written.
        let n = result(unsafe { libc::pwritev2(fd.as_raw_fd(), vector.as_ptr(), count, offset, flags) })?;
        let size = if append { u64::try_from(rustix::fs::fstat(&fd)?.st_size).ok() } else { None };
        Ok((n, size))
    }

    pub(super) fn readdir(&self, dir: Handle, cookie: u64, gpa: u64, len: u64) -> Result<u64, Errno> {
        let object = self.handles.get(dir)?;
        if object.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        object.open(&self.files, true, false)?;
        let fd = object.io(true, false)?;
        self.memory.slice(gpa, len)?;
        let room = usize::try_from(len).unwrap_or(usize::MAX).min(LISTING);
        let _position = object.position.lock().unwrap_or_else(PoisonError::into_inner);
        rustix::fs::seek(&fd, SeekFrom::Start(cookie))?;
        let mut buffer = Vec::with_capacity(LISTING);
        let mut listing = RawDir::new(&fd, buffer.spare_capacity_mut());
        let mut records = Vec::with_capacity(room);
        let mut end = 0;
        loop {
            let Some(entry) = listing.next() else {
                end = hostcall::READDIR_END;
                break;
            };
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let header = DirentHeader {
                ino: entry.ino(),
                next: entry.next_entry_cookie(),
                kind: u32::from(dirent_kind(entry.file_type())),
                name_len: u32::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?,
            };
            let record = (size_of::<DirentHeader>() + name.len()).next_multiple_of(8);
            if records.len() + record > room {
                if records.is_empty() {
                    return Err(Errno::INVAL);
                }
                break;
            }
            let after = records.len() + record;
            records.extend_from_slice(header.as_bytes());
            records.extend_from_slice(name);
            records.resize(after, 0);
            // What the host gives next might not fit.
            if listing.is_buffer_empty() && records.len() > room / 2 {
                break;
            }
        }
        self.memory.write(gpa, &records)?;
        Ok(records.len() as u64 | end)
    }

    pub(super) fn readlink(&self, file: Handle) -> Result<Vec<u8>, Errno> {
        let object = self.handles.get(file)?;
        if object.kind != FileType::Symlink {
            return Err(Errno::INVAL);
        }
        Ok(rustix::fs::readlinkat(object.fd(), c"", Vec::new())?.into_bytes())
    }

    pub(super) fn sync(&self, file: Handle, data_only: bool) -> Result<(), Errno> {
        let object = self.handles.get(file)?;
        let fd = object.io(false, false)?;
        if data_only { rustix::fs::fdatasync(fd) } else { rustix::fs::fsync(fd) }
    }

    pub(super) fn statfs(&self, file: Handle) -> Result<FileSystemStat, Errno> {
        let stat = rustix::fs::fstatfs(self.handles.get(file)?.fd())?;
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
        Ok(FileSystemStat {
            kind: unsigned(stat.f_type),
            bsize: unsigned(stat.f_bsize),
            blocks: stat.f_blocks,
            bfree: stat.f_bfree,
            bavail: stat.f_bavail,
            files: stat.f_files,
            ffree: stat.f_ffree,
            namelen: unsigned(stat.f_namelen),
            frsize: unsigned(stat.f_frsize),
        })
    }

    pub(super) fn allocate(&self, file: Handle, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let object = self.handles.get(file)?;
        object.writable()?;
        let mode = FallocateFlags::from_bits(mode).ok_or(Errno::OPNOTSUPP)?;
        rustix::fs::fallocate(object.io(false, true)?, mode, offset, len)
    }

    pub(super) fn seek(&self, file: Handle, offset: u64, hole: bool) -> Result<u64, Errno> {
        let fd = self.handles.get(file)?.io(false, false)?;
        i64::try_from(offset).map_err(|_| Errno::INVAL)?;
        rustix::fs::seek(fd, if hole { SeekFrom::Hole(offset) } else { SeekFrom::Data(offset) })
    }

    pub(super) fn window_map(
        &self,
        file: Handle,
        offset: u64,
        len: u64,
        window: u64,
        writable: bool,
    ) -> Result<(), Errno> {
        let object = self.handles.get(file)?;
        if writable {
            object.writable()?;
        }
        if object.kind != FileType::RegularFile {
            return Err(Errno::NODEV);
        }
        self.memory.map_window(&object.io(true, writable)?, offset, len, window, writable)
    }
}

fn dirent_kind(kind: FileType) -> u8 {
    match kind {
        FileType::RegularFile => libc::DT_REG,
        FileType::Directory => libc::DT_DIR,
        FileType::Symlink => libc::DT_LNK,
        FileType::Fifo => libc::DT_FIFO,
        FileType::Socket => libc::DT_SOCK,
        FileType::CharacterDevice => libc::DT_CHR,
        FileType::BlockDevice => libc::DT_BLK,
        FileType::Unknown => libc::DT_UNKNOWN,
    }
}
