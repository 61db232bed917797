//! File hostcalls on names in a directory: looking up, making, linking, renaming, removing.
//!
//! A name is one component, resolved beneath the directory's own descriptor without following links. New
//! objects get exactly the mode and owner asked for, or are removed again; the process runs with umask 0.

use hostcall::{Attr, Handle};
use rustix::{fd::OwnedFd, fs::FileType, io::Errno};

use super::{
    Server,
    files::{FileOp, raw},
    fs::{attributes, kind},
    handles::Object,
    request::{Name, Owner},
};

impl Server {
    pub(super) fn lookup(&self, dir: Handle, name: Name<'_>) -> Result<(Handle, Attr), Errno> {
        let dir = self.handles.get(dir)?;
        let fd = self.look(&dir.fd(), name)?;
        self.adopt(fd, dir.readonly)
    }

    /// Opens a name to look at it.
    fn look(&self, dir: &OwnedFd, name: Name<'_>) -> Result<OwnedFd, Errno> {
        self.files.open(&FileOp::Look { dir: raw(dir), name: name.bytes() })
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
        let fd = self.files.open(&FileOp::Create { dir: raw(&parent), name: name.bytes(), mode })?;
        let object = Object::open_file(fd, FileType::RegularFile);
        self.finish(&parent, name, object, mode, owner)
    }

    pub(super) fn tmpfile(&self, dir: Handle, mode: u32, owner: Owner) -> Result<(Handle, Attr), Errno> {
        let dir = self.handles.get(dir)?;
        dir.writable()?;
        let dir = dir.fd();
        let fd = self.files.open(&FileOp::Tmpfile { dir: raw(&dir), mode })?;
        let object = Object::open_file(fd, FileType::RegularFile);
        let attr = self.settle(&object, mode, owner)?;
        Ok((self.handles.insert(object)?, attr))
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
        self.files.call(&FileOp::Mkdir { dir: raw(&parent), name: name.bytes(), mode })?;
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
        self.files.call(&FileOp::Symlink { dir: raw(&parent), name: name.bytes(), target })?;
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
        match kind(mode) {
            FileType::Fifo | FileType::Socket => {}
            FileType::CharacterDevice | FileType::BlockDevice => return Err(Errno::PERM),
            _ => return Err(Errno::INVAL),
        }
        let parent = dir.fd();
        self.files.call(&FileOp::Mknod { dir: raw(&parent), name: name.bytes(), mode })?;
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
        let fd = self.look(parent, name)?;
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
        let directory = object.kind == FileType::Directory;
        self.settle(&object, mode, owner)
            .and_then(|attr| Ok((self.handles.insert(object)?, attr)))
            .inspect_err(|_| {
                let _ = self.files.call(&FileOp::Unlink { dir: raw(parent), name: name.bytes(), directory });
            })
    }

    fn settle(&self, object: &Object, mode: u32, owner: Owner) -> Result<Attr, Errno> {
        let fd = object.fd();
        let mut attr = attributes(&fd)?;
        let chown = (attr.uid, attr.gid) != (owner.uid, owner.gid);
        if chown {
            self.files.call(&FileOp::Chown { file: raw(&fd), uid: Some(owner.uid), gid: Some(owner.gid) })?;
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
        // Held until the call is over, so that their numbers keep denoting them.
        let (file, dir) = (object.fd(), dir.fd());
        self.files.call(&FileOp::Link { file: raw(&file), dir: raw(&dir), name: name.bytes() })
    }

    pub(super) fn unlink(&self, dir: Handle, name: Name<'_>, directory: bool) -> Result<(), Errno> {
        let dir = self.handles.get(dir)?;
        dir.writable()?;
        let dir = dir.fd();
        self.files.call(&FileOp::Unlink { dir: raw(&dir), name: name.bytes(), directory })
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
        let (old_dir, new_dir) = (old_dir.fd(), new_dir.fd());
        self.files.call(&FileOp::Rename {
            old_dir: raw(&old_dir),
            old: old.bytes(),
            new_dir: raw(&new_dir),
            new: new.bytes(),
            flags,
        })
    }
}
