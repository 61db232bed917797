//! File hostcalls on names in a directory: looking up, making, linking, renaming, removing.
//!
//! A name is one component, resolved beneath the directory's own descriptor without following links. New
//! objects get exactly the mode and owner asked for, or are removed again: the process runs with umask 0 and,
//! having no capabilities, gets `EPERM` for an owner that is not its own.

use hostcall::{Attr, Handle};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags},
    io::Errno,
};

use super::{
    Server,
    fs::{attributes, gid, kind, uid},
    handles::{Descriptors, Object},
    request::{Name, Owner},
};

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS
}

/// Opens a name to look at it.
fn open_path(dir: &OwnedFd, name: Name<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(dir, name.bytes(), flags, Mode::empty(), beneath())
}

impl Server {
    pub(super) fn lookup(&self, dir: Handle, name: Name<'_>) -> Result<(Handle, Attr), Errno> {
        let dir = self.handles.get(dir)?;
        let fd = open_path(&dir.fd(), name)?;
        self.adopt(fd, dir.readonly)
    }

    /// Gives a descriptor a handle.
    fn adopt(&self, fd: OwnedFd, readonly: bool) -> Result<(Handle, Attr), Errno> {
        let attr = attributes(&fd)?;
        let handle = self.handles.insert(Object::path(fd, kind(attr.mode), readonly))?;
        Ok((handle, attr))
    }

    pub(super) fn create(
        &self,
        dir: Handle,
        name: Name<'_>,
        mode: u32,
        owner: Owner,
    ) -> Result<(Handle, Attr), Errno> {
        let dir = self.handles.get(dir)?;
        dir.writable()?;
        let parent = dir.fd();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat2(&parent, name.bytes(), flags, Mode::from_raw_mode(mode & 0o7777), beneath())?;
        let object = Object::open_file(fd, FileType::RegularFile);
        self.finish(&parent, name, object, mode, owner)
    }

    pub(super) fn mkdir(
        &self,
        dir: Handle,
        name: Name<'_>,
        mode: u32,
        owner: Owner,
    ) -> Result<(Handle, Attr), Errno> {
        let dir = self.handles.get(dir)?;
        dir.writable()?;
        let parent = dir.fd();
        rustix::fs::mkdirat(&parent, name.bytes(), Mode::from_raw_mode(mode & 0o7777))?;
        self.finish_new(&parent, name, mode, owner)
    }

    pub(super) fn symlink(
        &self,
        dir: Handle,
        name: Name<'_>,
        target: &[u8],
        owner: Owner,
    ) -> Result<(Handle, Attr), Errno> {
        let dir = self.handles.get(dir)?;
        dir.writable()?;
        let parent = dir.fd();
        rustix::fs::symlinkat(target, &parent, name.bytes())?;
        self.finish_new(&parent, name, 0, owner)
    }

    pub(super) fn mknod(
        &self,
        dir: Handle,
        name: Name<'_>,
        mode: u32,
        owner: Owner,
    ) -> Result<(Handle, Attr), Errno> {
        let dir = self.handles.get(dir)?;
        dir.writable()?;
        let node = kind(mode);
        match node {
            FileType::Fifo | FileType::Socket => {}
            FileType::CharacterDevice | FileType::BlockDevice => return Err(Errno::PERM),
            _ => return Err(Errno::INVAL),
        }
        let parent = dir.fd();
        rustix::fs::mknodat(&parent, name.bytes(), node, Mode::from_raw_mode(mode & 0o7777), 0)?;
        self.finish_new(&parent, name, mode, owner)
    }

    /// Adopts what has just been made under `name`.
    fn finish_new(
        &self,
        parent: &OwnedFd,
        name: Name<'_>,
        mode: u32,
        owner: Owner,
    ) -> Result<(Handle, Attr), Errno> {
        let fd = open_path(parent, name)?;
        let attr = attributes(&fd)?;
        self.finish(parent, name, Object::path(fd, kind(attr.mode), false), mode, owner)
    }

    /// Gives a new object its owner and mode, and a handle; removes it when that fails.
    fn finish(
        &self,
        parent: &OwnedFd,
        name: Name<'_>,
        object: Object,
        mode: u32,
        owner: Owner,
    ) -> Result<(Handle, Attr), Errno> {
        let flags = if object.kind == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        self.settle(&object, mode, owner)
            .and_then(|attr| Ok((self.handles.insert(object)?, attr)))
            .inspect_err(|_| {
                let _ = rustix::fs::unlinkat(parent, name.bytes(), flags);
            })
    }

    fn settle(&self, object: &Object, mode: u32, owner: Owner) -> Result<Attr, Errno> {
        let fd = object.fd();
        let mut attr = attributes(&fd)?;
        let chown = (attr.uid, attr.gid) != (owner.uid, owner.gid);
        if chown {
            let (user, group) = (Some(uid(owner.uid)?), Some(gid(owner.gid)?));
            rustix::fs::chownat(&fd, c"", user, group, AtFlags::EMPTY_PATH)?;
            attr = attributes(&fd)?;
        }
        if object.kind != FileType::Symlink && attr.mode & 0o7777 != mode & 0o7777 {
            self.chmod(object, mode)?;
            attr = attributes(&fd)?;
        }
        Ok(attr)
    }

    pub(super) fn link(&self, file: Handle, dir: Handle, name: Name<'_>) -> Result<(), Errno> {
        let (object, dir) = (self.handles.get(file)?, self.handles.get(dir)?);
        object.writable()?;
        dir.writable()?;
        // Held until the call is over, so that its number keeps denoting it.
        let fd = object.fd();
        let old = Descriptors::name(&fd);
        rustix::fs::linkat(&self.descriptors.0, old, dir.fd(), name.bytes(), AtFlags::SYMLINK_FOLLOW)
    }

    pub(super) fn unlink(&self, dir: Handle, name: Name<'_>, directory: bool) -> Result<(), Errno> {
        let dir = self.handles.get(dir)?;
        dir.writable()?;
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(dir.fd(), name.bytes(), flags)
    }

    pub(super) fn rename(
        &self,
        old_dir: Handle,
        old: Name<'_>,
        new_dir: Handle,
        new: Name<'_>,
        flags: u32,
    ) -> Result<(), Errno> {
        let (old_dir, new_dir) = (self.handles.get(old_dir)?, self.handles.get(new_dir)?);
        old_dir.writable()?;
        new_dir.writable()?;
        let allowed = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
        let flags =
            RenameFlags::from_bits(flags).filter(|flags| allowed.contains(*flags)).ok_or(Errno::INVAL)?;
        rustix::fs::renameat_with(old_dir.fd(), old.bytes(), new_dir.fd(), new.bytes(), flags)
    }
}
