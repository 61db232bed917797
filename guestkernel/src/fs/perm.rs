//! Permission checks: mode bits, groups, access control lists and capabilities, as `inode_permission` in Linux decides them.

use hostcall::Attr;
use linux_raw_sys::general::{S_IFDIR, S_IFMT, S_ISGID, S_ISUID, S_ISVTX};

use super::{
    acl::{self, Which},
    inode::Inode,
};
use crate::errno::{Errno, Result};

/// Search a directory or execute a file.
pub const EXEC: u32 = 1;
/// Write.
pub const WRITE: u32 = 2;
/// Read.
pub const READ: u32 = 4;

/// Capability numbers that file systems ask about.
pub mod cap {
    #![allow(missing_docs, reason = "capabilities(7) documents them")]
    pub const CHOWN: u32 = 0;
    pub const DAC_OVERRIDE: u32 = 1;
    pub const DAC_READ_SEARCH: u32 = 2;
    pub const FOWNER: u32 = 3;
    pub const FSETID: u32 = 4;
    pub const SYS_CHROOT: u32 = 18;
    pub const SYS_ADMIN: u32 = 21;
    pub const SYS_RESOURCE: u32 = 24;
    pub const MKNOD: u32 = 27;
    pub const SETFCAP: u32 = 31;
}

/// In whose name a file is accessed: the file-system ids of a task and its effective capabilities.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// File-system user.
    pub uid: u32,
    /// File-system group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: &'a [u32],
    /// Effective capabilities, a bit each.
    pub caps: u64,
}

impl Who<'static> {
    /// The kernel itself: everything is allowed.
    pub const KERNEL: Self = Self { uid: 0, gid: 0, groups: &[], caps: u64::MAX };
}

impl Who<'_> {
    /// Whether it holds a capability.
    #[must_use]
    pub const fn capable(&self, cap: u32) -> bool {
        self.caps & (1 << cap) != 0
    }

    /// Whether it is in a group.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// Whether it owns the inode or may act as if.
    #[must_use]
    pub fn owns(&self, attr: &Attr) -> bool {
        self.uid == attr.uid || self.capable(cap::FOWNER)
    }
}

/// Checks access to an inode.
///
/// # Errors
/// `EACCES`, those of the file system.
pub fn check(inode: &dyn Inode, who: &Who<'_>, mask: u32) -> Result<()> {
    let attr = inode.access()?;
    // Asked first, since lists may have to be fetched: what a capability allows no list forbids.
    if overridden(&attr, who, mask) {
        return Ok(());
    }
    // A list's mask is the group's bits, so that without any it gives nothing that they do not.
    if who.uid != attr.uid
        && attr.mode & 0o070 != 0
        && let Some(acl) = acl::of(inode, Which::Access)?
    {
        return acl.check(&attr, who, mask);
    }
    check_mode(&attr, who, mask)
}

/// Whether a capability allows what the mode may not.
fn overridden(attr: &Attr, who: &Who<'_>, mask: u32) -> bool {
    let dir = attr.mode & S_IFMT == S_IFDIR;
    // Root may execute a file only when somebody may.
    who.capable(cap::DAC_OVERRIDE) && (dir || mask & EXEC == 0 || attr.mode & 0o111 != 0)
        || who.capable(cap::DAC_READ_SEARCH) && (mask == READ || dir && mask & WRITE == 0)
}

/// Checks access by the mode alone.
fn check_mode(attr: &Attr, who: &Who<'_>, mask: u32) -> Result<()> {
    let bits = if who.uid == attr.uid {
        attr.mode >> 6
    } else if who.in_group(attr.gid) {
        attr.mode >> 3
    } else {
        attr.mode
    };
    if bits & mask == mask { Ok(()) } else { Err(Errno::EACCES) }
}

/// Checks whether a name of inode `victim` may be removed from the directory `dir`, sticky bit included.
///
/// # Errors
/// `EACCES`, `EPERM`, those of the file system.
pub fn check_delete(dir: &dyn Inode, victim: &Attr, who: &Who<'_>) -> Result<()> {
    check(dir, who, WRITE | EXEC)?;
    check_sticky(&dir.access()?, victim, who)
}

fn check_sticky(dir: &Attr, victim: &Attr, who: &Who<'_>) -> Result<()> {
    if dir.mode & S_ISVTX != 0 && who.uid != victim.uid && who.uid != dir.uid && !who.capable(cap::FOWNER) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Group and mode that a new node in `dir` gets: a set-group-ID directory hands its group down, and the bit
/// itself to directories.
#[must_use]
pub fn inherit(dir: &Attr, who: &Who<'_>, mode: u32) -> (u32, u32) {
    if dir.mode & S_ISGID == 0 {
        return (mode, who.gid);
    }
    let mode = if mode & S_IFMT == S_IFDIR {
        mode | S_ISGID
    } else if mode & (S_ISGID | 0o010) == S_ISGID | 0o010
        && !who.in_group(dir.gid)
        && !who.capable(cap::FSETID)
    {
        mode & !S_ISGID
    } else {
        mode
    };
    (mode, dir.gid)
}

/// A file's mode once its contents or owner are changed: it hands nobody's rights on any more.
#[must_use]
pub fn without_privileges(attr: &Attr, who: &Who<'_>) -> u32 {
    let mut mode = attr.mode & !S_ISUID;
    if mode & 0o010 != 0 || !who.in_group(attr.gid) && !who.capable(cap::FSETID) {
        mode &= !S_ISGID;
    }
    mode
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attr(mode: u32, uid: u32, gid: u32) -> Attr {
        Attr { mode, uid, gid, ..Attr::default() }
    }

    #[test]
    fn the_owner_class_is_decided_before_its_bits_are_read() {
        let user = Who { uid: 5, gid: 6, groups: &[7], caps: 0 };
        assert_eq!(check_mode(&attr(0o077, 5, 6), &user, READ), Err(Errno::EACCES));
        assert_eq!(check_mode(&attr(0o070, 1, 7), &user, READ | WRITE | EXEC), Ok(()));
        assert_eq!(check_mode(&attr(0o007, 1, 7), &user, READ), Err(Errno::EACCES));
        assert_eq!(check_mode(&attr(0o004, 1, 1), &user, READ), Ok(()));
    }

    #[test]
    fn root_executes_only_what_someone_may() {
        let root = Who::KERNEL;
        assert!(!overridden(&attr(0o100_644, 1, 1), &root, EXEC));
        assert!(overridden(&attr(0o100_001, 1, 1), &root, EXEC));
        assert!(overridden(&attr(S_IFDIR, 1, 1), &root, EXEC | WRITE));
    }

    #[test]
    fn sticky_directories_protect_names() {
        let user = Who { uid: 5, gid: 6, groups: &[], caps: 0 };
        let dir = attr(S_IFDIR | 0o1777, 0, 0);
        assert_eq!(check_sticky(&dir, &attr(0o644, 5, 5), &user), Ok(()));
        assert_eq!(check_sticky(&dir, &attr(0o644, 9, 5), &user), Err(Errno::EPERM));
    }
}
