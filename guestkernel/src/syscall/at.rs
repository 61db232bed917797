//! What the file calls share: the caller's context, paths from user memory, starting points.

use alloc::sync::Arc;
use linux_raw_sys::general::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW};
use smallvec::SmallVec;

use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::{
        File, FsContext, Path,
        perm::Who,
        walk::{Lookup, PATH_MAX, Walk},
    },
    signal::SigInfo,
    task::{cred::Cred, current, rlimit::Resource},
};

/// `AT_FDCWD`.
pub(super) const FDCWD: i32 = -100;

/// A path copied from user memory.
pub(super) type UserPath = SmallVec<[u8; 256]>;

/// Copies a path.
pub(super) fn path(addr: u64) -> Result<UserPath> {
    let mut bytes = UserPath::from_buf([0; 256]);
    let mut len = uaccess::strncpy_from_user(&mut bytes, addr)?;
    if len == bytes.len() {
        bytes.resize(PATH_MAX, 0);
        len = uaccess::strncpy_from_user(&mut bytes, addr)?;
        if len == PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// The file behind a descriptor of the caller.
pub(super) fn file(fd: i32) -> Result<Arc<File>> {
    current().file(fd)
}

/// As [`file`], but not for `O_PATH` descriptors.
pub(super) fn open_file(fd: i32) -> Result<Arc<File>> {
    let file = file(fd)?;
    if file.is_path() { Err(Errno::EBADF) } else { Ok(file) }
}

/// Gives the caller a descriptor for `file`.
pub(super) fn install(file: Arc<File>, cloexec: bool) -> Result<u64> {
    current().files().install(file, cloexec, 0, nofile()).map(|fd| fd as u64)
}

/// How many descriptors the caller may have.
pub(super) fn nofile() -> u64 {
    current().process.rlimit(Resource::OpenFiles).soft
}

/// In whose name the caller accesses files.
pub(super) struct Caller {
    cred: Arc<Cred>,
    pub(super) fs: Arc<FsContext>,
}

impl Caller {
    pub(super) fn new() -> Result<Self> {
        let task = current();
        Ok(Self { cred: task.cred(), fs: task.fs()? })
    }

    pub(super) fn cred(&self) -> &Arc<Cred> {
        &self.cred
    }

    pub(super) fn who(&self) -> Who<'_> {
        let cred = &*self.cred;
        Who { uid: cred.fsuid, gid: cred.fsgid, groups: &cred.groups, caps: cred.effective.bits() }
    }

    /// As [`Self::who`] with the real ids, as access(2) asks.
    pub(super) fn real(&self) -> Who<'_> {
        let cred = &*self.cred;
        let caps = if cred.uid == 0 { cred.permitted.bits() } else { 0 };
        Who { uid: cred.uid, gid: cred.gid, groups: &cred.groups, caps }
    }

    /// A walk of `path` from `dirfd`.
    pub(super) fn walk(&self, dirfd: i32, path: &[u8]) -> Result<Walk<'_>> {
        let mut walk = self.fs.walk(self.who());
        if dirfd != FDCWD && path.first() != Some(&b'/') {
            let dir = file(dirfd)?;
            if !path.is_empty() && !dir.inode().is_dir() {
                return Err(Errno::ENOTDIR);
            }
            walk.start = dir.path().clone();
        }
        Ok(walk)
    }

    /// Finds what `path` from `dirfd` names; `flags` are `AT_*`.
    pub(super) fn resolve(&self, dirfd: i32, path: &[u8], flags: u32) -> Result<Path> {
        self.walk(dirfd, path)?.resolve(path, lookup(flags))
    }
}

/// The walk that `AT_SYMLINK_NOFOLLOW` and `AT_EMPTY_PATH` ask for.
pub(super) fn lookup(flags: u32) -> Lookup {
    let mut lookup = if flags & AT_SYMLINK_NOFOLLOW != 0 { Lookup::empty() } else { Lookup::FOLLOW };
    if flags & AT_EMPTY_PATH != 0 {
        lookup |= Lookup::EMPTY;
    }
    lookup
}

/// Refuses unknown flags.
pub(super) fn only(flags: u32, allowed: u32) -> Result<()> {
    if flags & !allowed != 0 { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Refuses to make a file of `now` bytes as long as `wanted` where `RLIMIT_FSIZE` is less; the caller gets `SIGXFSZ`.
pub(super) fn check_file_size(now: u64, wanted: u64) -> Result<()> {
    let me = current();
    if wanted <= now || wanted <= me.process.rlimit(Resource::FileSize).soft {
        return Ok(());
    }
    crate::signal::send_to_task(&me.arc(), SigInfo::kernel(crate::signal::SIGXFSZ))?;
    Err(Errno::EFBIG)
}

/// Sends the caller SIGPIPE, as a write to a pipe without readers does.
pub(super) fn sigpipe() {
    let info = SigInfo::kernel(crate::signal::SIGPIPE);
    // A standard signal that is pending already is not queued again; nothing is lost.
    if let Err(error) = crate::signal::send_to_task(&current().arc(), info) {
        log::debug!("SIGPIPE: {error}");
    }
}
