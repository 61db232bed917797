//! The settings `fs.protected_*`: what may not be done to other users' files in directories that everybody writes.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use hostcall::{Attr, SetAttr, SetAttrValid};
use linux_raw_sys::general::{S_IFIFO, S_IFMT, S_IFREG, S_ISGID, S_ISUID, S_ISVTX};

use super::{
    inode::Inode,
    perm::{self, Who},
};
use crate::{
    arch::try_current,
    errno::{Errno, Result},
    task::{cred::Caps, exec},
};

/// One of the settings, with the value that Debian gives it.
#[derive(Debug)]
pub struct Setting(AtomicU32);

impl Setting {
    /// Its value.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes it.
    pub fn set(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// `fs.protected_hardlinks`.
pub static HARD_LINKS: Setting = Setting(AtomicU32::new(1));
/// `fs.protected_symlinks`.
pub static SYMBOLIC_LINKS: Setting = Setting(AtomicU32::new(1));
/// `fs.protected_fifos`.
pub static FIFOS: Setting = Setting(AtomicU32::new(1));
/// `fs.protected_regular`.
pub static REGULAR: Setting = Setting(AtomicU32::new(2));

/// Whether a symbolic link at the end of a path may be followed: not another user's in a sticky directory that
/// everybody writes, unless it is the directory's owner's.
///
/// # Errors
/// `EACCES`.
pub fn check_follow(dir: &Attr, link: &Attr, who: &Who<'_>) -> Result<()> {
    const OPEN: u32 = S_ISVTX | 0o002;
    if SYMBOLIC_LINKS.get() == 0 || dir.mode & OPEN != OPEN || link.uid == who.uid || link.uid == dir.uid {
        return Ok(());
    }
    Err(Errno::EACCES)
}

/// Whether a file may get another name: one's own, or a plain one that may be read and written.
///
/// # Errors
/// `EPERM`.
pub fn check_link(inode: &dyn Inode, who: &Who<'_>) -> Result<()> {
    let source = &inode.access()?;
    let plain = source.mode & S_IFMT == S_IFREG
        && source.mode & S_ISUID == 0
        && source.mode & (S_ISGID | 0o010) != S_ISGID | 0o010;
    if HARD_LINKS.get() == 0
        || who.owns(source)
        || plain && perm::check(inode, who, perm::READ | perm::WRITE).is_ok()
    {
        return Ok(());
    }
    Err(Errno::EPERM)
}

/// Whether `O_CREAT` may open what is there: not another user's in a sticky directory.
///
/// # Errors
/// `EACCES`.
pub fn check_create(dir: &Attr, found: &Attr, who: &Who<'_>) -> Result<()> {
    let level = match found.mode & S_IFMT {
        S_IFREG => REGULAR.get(),
        S_IFIFO => FIFOS.get(),
        _ => return Ok(()),
    };
    if dir.mode & S_ISVTX == 0 || level == 0 || found.uid == dir.uid || found.uid == who.uid {
        return Ok(());
    }
    let open = dir.mode & 0o002 != 0 || level >= 2 && dir.mode & 0o020 != 0;
    if open { Err(Errno::EACCES) } else { Ok(()) }
}

/// Whoever changes a program takes its set-id bits away, unless `CAP_FSETID` is there to keep them.
///
/// # Errors
/// Those of the file system.
pub fn drop_privileges(inode: &Arc<dyn Inode>) -> Result<()> {
    let Some(me) = try_current() else { return Ok(()) };
    if me.with_cred(|cred| cred.capable(Caps::FSETID)) {
        return Ok(());
    }
    let attr = inode.access()?;
    if attr.mode & (S_ISUID | S_ISGID) == 0 {
        return Ok(());
    }
    let cred = me.cred();
    let mode = perm::without_privileges(&attr, &exec::who(&cred));
    if mode != attr.mode {
        let valid = SetAttrValid::MODE.bits();
        inode.set_attr(&SetAttr { valid, mode: mode & 0o7777, ..SetAttr::default() })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use linux_raw_sys::general::S_IFDIR;

    use super::*;
    use crate::fs::{inode::NewNode, tmpfs::Tmpfs};

    fn attr(mode: u32, uid: u32) -> Attr {
        Attr { mode, uid, ..Attr::default() }
    }

    #[test]
    fn others_links_in_tmp_are_not_followed() {
        let who = Who { uid: 5, gid: 5, groups: &[], caps: 0 };
        let tmp = attr(S_IFDIR | 0o1777, 0);
        assert_eq!(check_follow(&tmp, &attr(0o777, 6), &who), Err(Errno::EACCES));
        assert_eq!(check_follow(&tmp, &attr(0o777, 0), &who), Ok(()));
        assert_eq!(check_follow(&attr(S_IFDIR | 0o777, 0), &attr(0o777, 6), &who), Ok(()));
    }

    #[test]
    fn others_files_get_no_names() {
        let who = Who { uid: 5, gid: 5, groups: &[], caps: 0 };
        let root = Tmpfs::mount(1 << 20, 0o1777, 0, 0);
        for (mode, may) in [(0o644, Err(Errno::EPERM)), (0o666, Ok(())), (0o4666, Err(Errno::EPERM))] {
            let file = root.create(b"file", NewNode { mode, uid: 6, gid: 6 }).unwrap();
            assert_eq!(check_link(&*file, &who), may);
        }
    }

    #[test]
    fn others_files_in_tmp_are_not_opened_for_making() {
        let who = Who { uid: 5, gid: 5, groups: &[], caps: 0 };
        let tmp = attr(S_IFDIR | 0o1777, 0);
        assert_eq!(check_create(&tmp, &attr(S_IFREG | 0o666, 6), &who), Err(Errno::EACCES));
        assert_eq!(check_create(&tmp, &attr(S_IFIFO | 0o666, 0), &who), Ok(()));
    }
}
