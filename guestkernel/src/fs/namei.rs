//! Operations on names: make, remove, link, rename, open.
//!
//! Each checks as Linux does, in its order, under the directory's mutex; the inode does the work; the dentry
//! cache follows. A rename takes the rename mutex, then the directories' mutexes, ancestor first.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use hostcall::{SetAttr, SetAttrValid};
use linux_raw_sys::general::{
    IN_MODIFY, O_ACCMODE, O_CREAT, O_DIRECTORY, O_EXCL, O_NOATIME, O_NOFOLLOW, O_PATH, O_RDONLY, O_TMPFILE,
    O_TRUNC, O_WRONLY, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, S_IFBLK, S_IFCHR, S_IFDIR,
    S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK,
};

use super::{
    acl,
    dentry::Dentry,
    file::File,
    inode::{Inode, NewNode},
    inotify,
    mount::{Path, tree},
    perm::{self, Who, cap},
    protect,
    walk::{Lookup, Walk, Walked},
};
use crate::{
    arch::try_current,
    errno::{Errno, Result},
    sync::Mutex,
};

/// Serialises renames between directories.
static RENAMES: Mutex<()> = Mutex::new(());

/// Looks the last name of a walk up again under the directory's mutex, which is held for `f`.
fn with_name<T>(
    walked: &Walked,
    who: &Who<'_>,
    f: impl FnOnce(&Arc<dyn Inode>, &[u8], &Arc<Dentry>) -> Result<T>,
) -> Result<T> {
    let name = walked.name.as_ref().ok_or(Errno::EEXIST)?;
    let dir = walked.parent.inode()?;
    let _names = walked.parent.dentry.lock_names();
    let dentry = walked.parent.dentry.lookup_locked(name)?;
    if !dentry.is_negative() {
        return Err(Errno::EEXIST);
    }
    if walked.parent.mount.is_readonly() {
        return Err(Errno::EROFS);
    }
    if walked.parent.dentry.is_dead() {
        return Err(Errno::ENOENT);
    }
    perm::check(&**dir, who, perm::WRITE | perm::EXEC)?;
    f(dir, name, &walked.parent.dentry)
}

impl Walk<'_> {
    /// A new node's owner and mode in `dir`.
    fn node(&self, dir: &Arc<dyn Inode>, mode: u32) -> Result<NewNode> {
        let (mode, gid) = perm::inherit(&dir.access()?, &self.who, mode);
        Ok(NewNode { mode: acl::creation_mode(&**dir, mode, self.umask)?, uid: self.who.uid, gid })
    }

    /// mkdir(2).
    ///
    /// # Errors
    /// As mkdir(2).
    pub fn mkdir(&self, path: &[u8], mode: u32) -> Result<()> {
        let walked = self.walk(path, Lookup::empty())?;
        if walked.found.is_some() {
            return Err(Errno::EEXIST);
        }
        with_name(&walked, &self.who, |dir, name, dentry| {
            let inode = dir.mkdir(name, self.node(dir, S_IFDIR | mode & 0o1777)?)?;
            dentry.add(name, Some(inode.clone()));
            inotify::created(dir, name, &inode, false);
            Ok(())
        })
    }

    /// mknod(2), regular files included. Gives the new node.
    ///
    /// # Errors
    /// As mknod(2).
    pub fn mknod(&self, path: &[u8], mode: u32, rdev: u64) -> Result<Path> {
        let kind = match mode & S_IFMT {
            0 | S_IFREG => S_IFREG,
            kind @ (S_IFIFO | S_IFSOCK) => kind,
            kind @ (S_IFCHR | S_IFBLK) => kind,
            S_IFDIR => return Err(Errno::EPERM),
            _ => return Err(Errno::EINVAL),
        };
        let walked = self.walk(path, Lookup::empty())?;
        if walked.found.is_some() {
            return Err(Errno::EEXIST);
        }
        if walked.slash {
            return Err(Errno::ENOENT);
        }
        if matches!(kind, S_IFCHR | S_IFBLK) && !self.who.capable(cap::MKNOD) {
            return Err(Errno::EPERM);
        }
        with_name(&walked, &self.who, |dir, name, dentry| {
            let new = self.node(dir, kind | mode & 0o7777)?;
            let inode = if kind == S_IFREG { dir.create(name, new)? } else { dir.mknod(name, new, rdev)? };
            let made = dentry.add(name, Some(inode.clone()));
            inotify::created(dir, name, &inode, false);
            Ok(Path { mount: walked.parent.mount.clone(), dentry: made })
        })
    }

    /// symlink(2).
    ///
    /// # Errors
    /// As symlink(2).
    pub fn symlink(&self, target: &[u8], path: &[u8]) -> Result<()> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        let walked = self.walk(path, Lookup::empty())?;
        if walked.found.is_some() {
            return Err(Errno::EEXIST);
        }
        if walked.slash {
            return Err(Errno::ENOENT);
        }
        with_name(&walked, &self.who, |dir, name, dentry| {
            let (_, gid) = perm::inherit(&dir.access()?, &self.who, 0);
            let new = NewNode { mode: S_IFLNK | 0o777, uid: self.who.uid, gid };
            let inode = dir.symlink(name, target, new)?;
            dentry.add(name, Some(inode.clone()));
            inotify::created(dir, name, &inode, false);
            Ok(())
        })
    }

    /// link(2) of `old` under a new name.
    ///
    /// # Errors
    /// As link(2).
    pub fn link(&self, old: &Path, path: &[u8]) -> Result<()> {
        let walked = self.walk(path, Lookup::empty())?;
        if walked.found.is_some() {
            return Err(Errno::EEXIST);
        }
        if walked.slash {
            return Err(Errno::ENOENT);
        }
        if !Arc::ptr_eq(&walked.parent.mount, &old.mount) {
            return Err(Errno::EXDEV);
        }
        let inode = old.inode()?;
        protect::check_link(&**inode, &self.who)?;
        with_name(&walked, &self.who, |dir, name, dentry| {
            if inode.is_dir() {
                return Err(Errno::EPERM);
            }
            // What lost its last name gets none again.
            if old.dentry.is_dead() && !old.dentry.is_linkable() && inode.attr()?.nlink == 0 {
                return Err(Errno::ENOENT);
            }
            dir.link(name, inode)?;
            old.dentry.linked();
            dentry.add(name, Some(inode.clone()));
            inotify::created(dir, name, inode, true);
            Ok(())
        })
    }

    /// unlink(2), or rmdir(2) with `directory`.
    ///
    /// # Errors
    /// As those.
    pub fn unlink(&self, path: &[u8], directory: bool) -> Result<()> {
        let walked = self.walk(path, Lookup::empty())?;
        let Some(name) = &walked.name else {
            return Err(last_is_dots(path, directory));
        };
        let parent = &walked.parent;
        if parent.mount.is_readonly() {
            return Err(Errno::EROFS);
        }
        let dir = parent.inode()?;
        let _renames = directory.then(|| RENAMES.lock());
        let _names = parent.dentry.lock_names();
        let victim = match walked.found.as_ref() {
            // An uncached name may be one that is mounted on: take what the walk found.
            Some(found) if !Arc::ptr_eq(&found.mount, &parent.mount) => return Err(Errno::EBUSY),
            _ => parent.dentry.lookup_locked(name)?,
        };
        let inode = victim.inode()?;
        if walked.slash && !directory {
            return Err(if inode.is_dir() { Errno::EISDIR } else { Errno::ENOTDIR });
        }
        perm::check_delete(&**dir, &inode.access()?, &self.who)?;
        if directory != inode.is_dir() {
            return Err(if directory { Errno::ENOTDIR } else { Errno::EISDIR });
        }
        if is_local_mount_point(&victim) {
            return Err(Errno::EBUSY);
        }
        if directory {
            dir.rmdir(name, inode)?
        } else {
            dir.unlink(name, inode)?
        }
        parent.dentry.remove(name, &victim);
        inotify::removed(dir, name, &victim, references(&victim, walked.found.as_ref()));
        tree::name_removed(&victim);
        Ok(())
    }

    /// renameat2(2); `to` may start elsewhere.
    ///
    /// # Errors
    /// As renameat2(2).
    pub fn rename(&self, from: &[u8], to_walk: &Walk<'_>, to: &[u8], flags: u32) -> Result<()> {
        if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE) != 0
            || flags & RENAME_WHITEOUT != 0
            || flags == RENAME_NOREPLACE | RENAME_EXCHANGE
        {
            return Err(Errno::EINVAL);
        }
        let from = self.walk(from, Lookup::empty())?;
        let to = to_walk.walk(to, Lookup::empty())?;
        if !Arc::ptr_eq(&from.parent.mount, &to.parent.mount) {
            return Err(Errno::EXDEV);
        }
        let Some(old) = &from.name else { return Err(Errno::EBUSY) };
        let Some(new) = &to.name else {
            return Err(if flags & RENAME_NOREPLACE != 0 { Errno::EEXIST } else { Errno::EBUSY });
        };
        let (old_dir, new_dir) = (&from.parent.dentry, &to.parent.dentry);
        let same = Arc::ptr_eq(old_dir, new_dir);
        let _renames = RENAMES.lock();
        let (first, second) =
            if old_dir.is_ancestor_of(new_dir) { (old_dir, new_dir) } else { (new_dir, old_dir) };
        let _first = first.lock_names();
        let _second = (!same).then(|| second.lock_names());

        if from.parent.mount.is_readonly() {
            return Err(Errno::EROFS);
        }
        let source = old_dir.lookup_locked(old)?;
        let target = new_dir.lookup_locked(new)?;
        let inode = source.inode()?;
        if source.is_ancestor_of(new_dir) {
            return Err(Errno::EINVAL);
        }
        if from.slash && !inode.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let replaced = target.inode().ok();
        match (flags, replaced) {
            (RENAME_NOREPLACE, Some(_)) => return Err(Errno::EEXIST),
            (RENAME_EXCHANGE, None) => return Err(Errno::ENOENT),
            _ => {}
        }
        if target.is_ancestor_of(old_dir) {
            return Err(if flags & RENAME_EXCHANGE != 0 { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
        if to.slash && !inode.is_dir() && flags & RENAME_EXCHANGE == 0 {
            return Err(Errno::ENOTDIR);
        }
        let to_dir = &**to.parent.inode()?;
        perm::check_delete(&**from.parent.inode()?, &inode.access()?, &self.who)?;
        match replaced {
            None => perm::check(to_dir, &self.who, perm::WRITE | perm::EXEC)?,
            Some(other) => {
                perm::check_delete(to_dir, &other.access()?, &self.who)?;
                if flags & RENAME_EXCHANGE == 0 {
                    match (inode.is_dir(), other.is_dir()) {
                        (true, false) => return Err(Errno::ENOTDIR),
                        (false, true) => return Err(Errno::EISDIR),
                        _ => {}
                    }
                }
                if Arc::ptr_eq(inode, other) {
                    return Ok(());
                }
            }
        }
        if inode.is_dir() && !same {
            perm::check(&**inode, &self.who, perm::WRITE)?;
        }
        if is_local_mount_point(&source) || is_local_mount_point(&target) {
            return Err(Errno::EBUSY);
        }
        if new_dir.is_dead() || old_dir.is_dead() {
            return Err(Errno::ENOENT);
        }
        from.parent.inode()?.rename(old, to.parent.inode()?, new, flags)?;
        if flags & RENAME_EXCHANGE != 0 {
            old_dir.exchanged(old, &source, new_dir, new, &target);
            let dirs = (from.parent.inode()?, to.parent.inode()?);
            inotify::moved((dirs.0, old), (dirs.1, new), inode, None);
            inotify::moved((dirs.1, new), (dirs.0, old), target.inode()?, None);
        } else {
            old_dir.moved(old, &source, new_dir, new);
            let dirs = (from.parent.inode()?, to.parent.inode()?);
            let gone = replaced.map(|_| (&target, references(&target, to.found.as_ref())));
            inotify::moved((dirs.0, old), (dirs.1, new), inode, gone);
            if replaced.is_some() {
                tree::name_removed(&target);
            }
        }
        Ok(())
    }

    /// open(2). `mode` is that of a new file.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(&self, path: &[u8], flags: u32, mode: u32, lookup: Lookup) -> Result<Arc<File>> {
        let mut how = lookup;
        if flags & O_NOFOLLOW == 0 && flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL {
            how |= Lookup::FOLLOW;
        }
        if flags & O_TMPFILE == O_TMPFILE {
            return self.open_unnamed(&self.resolve(path, how | Lookup::DIRECTORY)?, flags, mode);
        }
        let walked = self.walk(path, how)?;
        if flags & O_PATH != 0 {
            let found = walked.existing()?;
            if flags & O_DIRECTORY != 0 && !found.inode()?.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            return File::open_path(found, flags);
        }
        if flags & O_CREAT == 0 {
            return self.open_found(walked.existing()?, flags);
        }
        if walked.slash && walked.name.is_some() {
            return Err(if walked.found.is_some() || flags & O_CREAT != 0 {
                Errno::EISDIR
            } else {
                Errno::ENOENT
            });
        }
        if let Some(found) = walked.found {
            return self.open_existing_for_create(&walked.parent, found, flags);
        }
        let created = with_name(&walked, &self.who, |dir, name, dentry| {
            let inode = dir.create(name, self.node(dir, S_IFREG | mode & 0o7777)?)?;
            let made = dentry.add(name, Some(inode.clone()));
            inotify::created(dir, name, &inode, false);
            Ok(made)
        });
        match created {
            // The mode of a new file does not limit the descriptor that made it.
            Ok(dentry) => File::open(Path { mount: walked.parent.mount, dentry }, flags),
            // Somebody else made it meanwhile.
            Err(Errno::EEXIST) => {
                let found = self.resolve(path, how)?;
                self.open_existing_for_create(&walked.parent, found, flags)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a file without a name in a directory (`O_TMPFILE`) and opens it.
    fn open_unnamed(&self, found: &Path, flags: u32, mode: u32) -> Result<Arc<File>> {
        if found.mount.is_readonly() {
            return Err(Errno::EROFS);
        }
        let dir = found.inode()?;
        perm::check(&**dir, &self.who, perm::WRITE | perm::EXEC)?;
        let inode = dir.tmpfile(self.node(dir, S_IFREG | mode & 0o7777)?)?;
        let ino = inode.attr()?.ino;
        let dentry = found.dentry.unnamed(inode, ino, flags & O_EXCL == 0);
        File::open(Path { mount: found.mount.clone(), dentry }, flags)
    }

    /// Opens a program for exec: a regular file that may be executed, on a mount that allows it.
    ///
    /// # Errors
    /// As execve(2).
    pub fn open_exec(&self, path: &[u8], lookup: Lookup) -> Result<Arc<File>> {
        let found = self.resolve(path, lookup)?;
        let inode = found.inode()?;
        if inode.is_link() {
            return Err(Errno::ELOOP);
        }
        if !inode.is_regular() || found.mount.is_noexec() {
            return Err(Errno::EACCES);
        }
        perm::check(&**inode, &self.who, perm::EXEC)?;
        File::open(found, O_RDONLY)
    }

    fn open_existing_for_create(&self, parent: &Path, found: Path, flags: u32) -> Result<Arc<File>> {
        if flags & O_EXCL != 0 {
            return Err(Errno::EEXIST);
        }
        if found.inode()?.is_dir() {
            return Err(Errno::EISDIR);
        }
        protect::check_create(&parent.inode()?.access()?, &found.inode()?.access()?, &self.who)?;
        self.open_found(found, flags)
    }

    /// Opens what a walk found, with all checks.
    ///
    /// # Errors
    /// As open(2).
    pub fn open_found(&self, found: Path, flags: u32) -> Result<Arc<File>> {
        let inode = found.inode()?;
        let kind = inode.kind();
        if kind == S_IFLNK {
            return Err(Errno::ELOOP);
        }
        if flags & O_DIRECTORY != 0 && kind != S_IFDIR {
            return Err(Errno::ENOTDIR);
        }
        let writes = flags & O_ACCMODE != O_RDONLY || flags & O_TRUNC != 0;
        if kind == S_IFDIR && (writes || flags & O_CREAT != 0) {
            return Err(Errno::EISDIR);
        }
        let mut mask = if flags & O_ACCMODE == O_WRONLY { 0 } else { perm::READ };
        if writes {
            mask |= perm::WRITE;
        }
        perm::check(&**inode, &self.who, mask)?;
        if writes && matches!(kind, S_IFREG | S_IFDIR) && found.mount.is_readonly() {
            return Err(Errno::EROFS);
        }
        if matches!(kind, S_IFCHR | S_IFBLK) && found.mount.is_nodev() {
            return Err(Errno::EACCES);
        }
        if flags & O_NOATIME != 0 && !self.who.owns(&inode.access()?) {
            return Err(Errno::EPERM);
        }
        let truncate = flags & O_TRUNC != 0 && kind == S_IFREG;
        let file = File::open(found, flags)?;
        if truncate {
            file.inode().set_attr(&SetAttr { valid: SetAttrValid::SIZE.bits(), ..SetAttr::default() })?;
            file.note_event(IN_MODIFY);
        }
        Ok(file)
    }
}

/// How often a removed dentry is referred to here: by the caller, and by what its walk found.
fn references(dentry: &Arc<Dentry>, found: Option<&Path>) -> usize {
    1 + usize::from(found.is_some_and(|found| Arc::ptr_eq(&found.dentry, dentry)))
}

/// Whether something is mounted on it that the caller sees.
fn is_local_mount_point(dentry: &Arc<Dentry>) -> bool {
    try_current().map_or_else(
        || dentry.mounted.load(Ordering::Acquire) != 0,
        |me| tree::is_mount_point(&me.namespaces().mounts, dentry),
    )
}

/// What removing a path that ends in `.`, `..` or `/` gives.
fn last_is_dots(path: &[u8], directory: bool) -> Errno {
    if !directory {
        return Errno::EISDIR;
    }
    let trimmed = path.iter().rposition(|&b| b != b'/').map_or(&path[..0], |end| &path[..=end]);
    match trimmed.rsplit(|&b| b == b'/').next() {
        Some(b".") => Errno::EINVAL,
        Some(b"..") => Errno::ENOTEMPTY,
        _ => Errno::EBUSY,
    }
}
