//! System calls on the host's files that ownership and permissions may refuse.
//!
//! The threads that serve calls have no capability: the host sees an ordinary user whose id happens to be the
//! superuser's. What that user may do to a file they do themselves; what is refused they ask the
//! [broker](crate::broker) for. Which of the container's users may do what was decided by the sentry before. One
//! [`FileOp`] describes the call in both places.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Timestamps, Uid, XattrFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::request::{Name, XattrName};
use crate::broker::Broker;

/// One call. Descriptors are named by number: the caller holds them until the call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FileOp<'a> {
    /// Opens a name to look at it; gives a descriptor.
    Look {
        dir: RawFd,
        name: &'a [u8],
    },
    /// Makes a regular file and opens it; gives a descriptor.
    Create {
        dir: RawFd,
        name: &'a [u8],
        mode: u32,
    },
    /// Makes a regular file without a name on a directory's file system and opens it; gives a descriptor.
    Tmpfile {
        dir: RawFd,
        mode: u32,
    },
    /// Opens what a descriptor denotes, for I/O; gives a descriptor.
    Reopen {
        file: RawFd,
        flags: u32,
    },
    Mkdir {
        dir: RawFd,
        name: &'a [u8],
        mode: u32,
    },
    Symlink {
        dir: RawFd,
        name: &'a [u8],
        target: &'a [u8],
    },
    /// Makes a FIFO or a socket node.
    Mknod {
        dir: RawFd,
        name: &'a [u8],
        mode: u32,
    },
    Link {
        file: RawFd,
        dir: RawFd,
        name: &'a [u8],
    },
    Unlink {
        dir: RawFd,
        name: &'a [u8],
        directory: bool,
    },
    Rename {
        old_dir: RawFd,
        old: &'a [u8],
        new_dir: RawFd,
        new: &'a [u8],
        flags: u32,
    },
    Chown {
        file: RawFd,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    Chmod {
        file: RawFd,
        mode: u32,
    },
    /// Sets times; `None` leaves one as it is.
    Times {
        file: RawFd,
        atime: Option<(i64, i64)>,
        mtime: Option<(i64, i64)>,
    },
    /// Reads an extended attribute. The bytes that go with the call are its room, and then the value.
    GetXattr {
        file: RawFd,
        name: &'a [u8],
    },
    /// Sets an extended attribute to the bytes that go with the call.
    SetXattr {
        file: RawFd,
        name: &'a [u8],
        flags: u32,
    },
    RemoveXattr {
        file: RawFd,
        name: &'a [u8],
    },
}

/// Opening flags that [`FileOp::Reopen`] takes.
const REOPEN: OFlags = OFlags::RDWR.union(OFlags::WRONLY).union(OFlags::DIRECTORY);

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS
}

fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

/// The name of a descriptor in a directory of descriptors.
fn number(fd: RawFd) -> rustix::path::DecInt {
    rustix::path::DecInt::new(fd)
}

fn time(time: Option<(i64, i64)>) -> rustix::fs::Timespec {
    match time {
        None => rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        Some((tv_sec, tv_nsec)) => rustix::fs::Timespec { tv_sec, tv_nsec },
    }
}

/// Borrows a descriptor by its number.
fn borrow<'fd>(fd: RawFd) -> Result<BorrowedFd<'fd>, Errno> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: whoever makes or asks for a call holds its descriptors until it is over.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

impl FileOp<'_> {
    /// Makes the call. `descriptors` is a directory of the calling process's descriptors, by which an `O_PATH`
    /// descriptor is reached; `bytes` go with those calls that say so. Gives the number of a new descriptor, or 0.
    pub(crate) fn perform(&self, descriptors: BorrowedFd<'_>, bytes: &mut Vec<u8>) -> Result<RawFd, Errno> {
        let made = |fd: OwnedFd| fd.into_raw_fd();
        let done = |()| 0;
        match *self {
            Self::Look { dir, name } => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let name = Name::new(name)?.bytes();
                rustix::fs::openat2(borrow(dir)?, name, flags, Mode::empty(), beneath()).map(made)
            }
            Self::Create { dir, name, mode } => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let name = Name::new(name)?.bytes();
                rustix::fs::openat2(borrow(dir)?, name, flags, permissions(mode), beneath()).map(made)
            }
            Self::Tmpfile { dir, mode } => {
                let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
                rustix::fs::openat2(borrow(dir)?, c".", flags, permissions(mode), beneath()).map(made)
            }
            Self::Reopen { file, flags } => {
                let flags = OFlags::from_bits_truncate(flags) & REOPEN;
                let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
                rustix::fs::openat(descriptors, number(file), flags, Mode::empty()).map(made)
            }
            Self::Mkdir { dir, name, mode } => {
                rustix::fs::mkdirat(borrow(dir)?, Name::new(name)?.bytes(), permissions(mode)).map(done)
            }
            Self::Symlink { dir, name, target } => {
                rustix::fs::symlinkat(target, borrow(dir)?, Name::new(name)?.bytes()).map(done)
            }
            Self::Mknod { dir, name, mode } => {
                let kind = FileType::from_raw_mode(mode);
                if !matches!(kind, FileType::Fifo | FileType::Socket) {
                    return Err(Errno::PERM);
                }
                rustix::fs::mknodat(borrow(dir)?, Name::new(name)?.bytes(), kind, permissions(mode), 0)
                    .map(done)
            }
            Self::Link { file, dir, name } => {
                let name = Name::new(name)?.bytes();
                rustix::fs::linkat(descriptors, number(file), borrow(dir)?, name, AtFlags::SYMLINK_FOLLOW)
                    .map(done)
            }
            Self::Unlink { dir, name, directory } => {
                let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
                rustix::fs::unlinkat(borrow(dir)?, Name::new(name)?.bytes(), flags).map(done)
            }
            Self::Rename { old_dir, old, new_dir, new, flags } => {
                let allowed = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
                let flags = RenameFlags::from_bits(flags)
                    .filter(|flags| allowed.contains(*flags))
                    .ok_or(Errno::INVAL)?;
                let (old, new) = (Name::new(old)?.bytes(), Name::new(new)?.bytes());
                rustix::fs::renameat_with(borrow(old_dir)?, old, borrow(new_dir)?, new, flags).map(done)
            }
            Self::Chown { file, uid, gid } => {
                let [uid, gid] = [uid, gid].map(|id| {
                    id.map_or(Ok(None), |id| match id {
                        u32::MAX => Err(Errno::INVAL),
                        id => Ok(Some(id)),
                    })
                });
                let (uid, gid) = (uid?.map(Uid::from_raw), gid?.map(Gid::from_raw));
                rustix::fs::chownat(borrow(file)?, c"", uid, gid, AtFlags::EMPTY_PATH).map(done)
            }
            Self::Chmod { file, mode } => {
                rustix::fs::chmodat(descriptors, number(file), permissions(mode), AtFlags::empty()).map(done)
            }
            Self::Times { file, atime, mtime } => {
                let times = Timestamps { last_access: time(atime), last_modification: time(mtime) };
                rustix::fs::utimensat(borrow(file)?, c"", &times, AtFlags::EMPTY_PATH).map(done)
            }
            Self::GetXattr { file, name } => {
                let name = XattrName::new(name)?.bytes();
                let len = rustix::fs::fgetxattr(borrow(file)?, name, &mut bytes[..])?;
                bytes.truncate(len);
                Ok(0)
            }
            Self::SetXattr { file, name, flags } => {
                let name = XattrName::new(name)?.bytes();
                let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
                rustix::fs::fsetxattr(borrow(file)?, name, bytes, flags).map(done)
            }
            Self::RemoveXattr { file, name } => {
                rustix::fs::fremovexattr(borrow(file)?, XattrName::new(name)?.bytes()).map(done)
            }
        }
    }

    /// Whether an ordinary user's call would succeed and do less: the kernel silently drops the set-group-id bit
    /// of a group that the caller is not in.
    fn needs_privilege(&self) -> bool {
        matches!(self, Self::Chmod { mode, .. } if mode & 0o2000 != 0)
    }
}

/// Makes the calls of a sandbox.
#[derive(Debug)]
pub(crate) struct Files {
    /// A directory of this process's descriptors.
    descriptors: OwnedFd,
    broker: Option<Broker>,
}

impl Files {
    /// `descriptors` is a directory of this process's descriptors; without a broker, what the host refuses stays
    /// refused.
    pub(crate) fn new(descriptors: OwnedFd, broker: Option<Broker>) -> Self {
        Self { descriptors, broker }
    }

    /// Makes a call that gives nothing.
    pub(crate) fn call(&self, op: &FileOp<'_>) -> Result<(), Errno> {
        self.perform(op, &mut Vec::new()).map(drop)
    }

    /// Makes a call that bytes go with.
    pub(crate) fn exchange(&self, op: &FileOp<'_>, bytes: &mut Vec<u8>) -> Result<(), Errno> {
        self.perform(op, bytes).map(drop)
    }

    /// Makes a call that gives a descriptor.
    pub(crate) fn open(&self, op: &FileOp<'_>) -> Result<OwnedFd, Errno> {
        debug_assert!(matches!(
            op,
            FileOp::Look { .. } | FileOp::Create { .. } | FileOp::Tmpfile { .. } | FileOp::Reopen { .. }
        ));
        let fd = self.perform(op, &mut Vec::new())?;
        // SAFETY: these operations give the number of a descriptor that they have just made, here or in the
        // broker's thread.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn perform(&self, op: &FileOp<'_>, bytes: &mut Vec<u8>) -> Result<RawFd, Errno> {
        use std::os::fd::AsFd;
        let Some(broker) = &self.broker else { return op.perform(self.descriptors.as_fd(), bytes) };
        if op.needs_privilege() {
            return broker.ask(op, bytes);
        }
        match op.perform(self.descriptors.as_fd(), bytes) {
            Err(Errno::ACCESS | Errno::PERM) => broker.ask(op, bytes),
            result => result,
        }
    }
}

/// The number of a descriptor that the caller goes on holding.
pub(crate) fn raw(fd: &impl AsRawFd) -> RawFd {
    fd.as_raw_fd()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;

    #[test]
    fn a_file_without_a_name_gets_one() {
        let place = std::env::temp_dir().join(format!("ringfence-unnamed-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let dir: OwnedFd = fs::File::open(&place).unwrap().into();
        let files = Files::new(fs::File::open("/proc/self/fd").unwrap().into(), None);
        let file = files.open(&FileOp::Tmpfile { dir: raw(&dir), mode: 0o600 }).unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        assert!(files.open(&FileOp::Tmpfile { dir: raw(&file), mode: 0o600 }).is_err());
        files.call(&FileOp::Link { file: raw(&file), dir: raw(&dir), name: b"a" }).unwrap();
        let found = fs::metadata(place.join("a")).unwrap();
        assert_eq!((found.mode() & 0o7777, found.nlink()), (0o600, 1));
        fs::remove_dir_all(&place).unwrap();
    }
}
