//! File systems made of functions: what `proc` and `sysfs` are built from.
//!
//! A [`Node`] is a directory whose names are computed, a text made when it is read, or a link. Nodes are made
//! on look-up and have no state; the text of an open file is made when it is read at its start.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use hostcall::{Attr, FileSystemStat, SetAttr};
use linux_raw_sys::general::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};

use super::{
    anon,
    file::{File, FileOps},
    inode::{Caching, Dirent, Inode},
    mount::Path,
};
use crate::{
    errno::{Errno, Result},
    sync::SpinLock,
    task::Process,
    uio::{Sink, Source},
};

/// Names of a directory.
pub trait Names: Send + Sync {
    /// The node with this name.
    ///
    /// # Errors
    /// `ENOENT`.
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>>;

    /// Whether the caller may use it whatever its mode says.
    fn is_callers_own(&self) -> bool {
        false
    }

    /// The process that it is the directory of, if it is one's: `ESRCH` when that is no more.
    fn process(&self) -> Option<Result<Arc<Process>>> {
        None
    }

    /// Names with their `DT_*`, from the one after `cookie` on; each with its own cookie, ascending.
    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool);
}

type Read = Box<dyn Fn() -> Result<Vec<u8>> + Send + Sync>;
type Guard = Box<dyn Fn() -> Result<()> + Send + Sync>;
type Write = Box<dyn Fn(&[u8]) -> Result<()> + Send + Sync>;
type Magic = Box<dyn Fn() -> Result<Path> + Send + Sync>;

/// What a node is.
pub enum What {
    /// A directory.
    Dir(Box<dyn Names>),
    /// A text.
    Text(Read),
    /// Bytes by offset and length; as many as there are.
    Bytes(Box<dyn Fn(u64, usize) -> Result<Vec<u8>> + Send + Sync>),
    /// A text that not everybody may open.
    Guarded(Guard, Read),
    /// A text that can be written.
    Setting(Read, Write),
    /// A symbolic link.
    Link(Read),
    /// A link that leads to an object, whatever its text.
    Magic(Read, Magic),
}

/// Whose and in which file system a node is.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// Device number.
    pub dev: u64,
    /// statfs magic.
    pub magic: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// An object of a computed file system.
pub struct Node {
    attr: Attr,
    magic: u64,
    what: What,
}

impl Node {
    /// A node with permission bits `mode`.
    #[must_use]
    pub fn new(owner: Owner, ino: u64, mode: u32, what: What) -> Arc<Self> {
        let kind = match what {
            What::Dir(_) => S_IFDIR,
            What::Text(_) | What::Bytes(_) | What::Guarded(..) | What::Setting(..) => S_IFREG,
            What::Link(_) | What::Magic(..) => S_IFLNK,
        };
        let time = anon::now();
        let attr = Attr {
            ino,
            dev: owner.dev,
            mode: kind | mode,
            uid: owner.uid,
            gid: owner.gid,
            nlink: if kind == S_IFDIR { 2 } else { 1 },
            blksize: 1024,
            atime: time,
            mtime: time,
            ctime: time,
            ..Attr::default()
        };
        Arc::new(Self { attr, magic: owner.magic, what })
    }

    /// What has this name in it.
    ///
    /// # Errors
    /// `ENOENT`, also where it is no directory.
    pub fn child(&self, name: &[u8]) -> Result<Arc<Self>> {
        if let What::Dir(names) = &self.what { names.lookup(name) } else { Err(Errno::ENOENT) }
    }

    /// Writes the text of a setting.
    ///
    /// # Errors
    /// `EACCES` for what is no setting, and those of the setting.
    pub fn write(&self, text: &[u8]) -> Result<()> {
        if let What::Setting(_, write) = &self.what { write(text) } else { Err(Errno::EACCES) }
    }

    /// The process that it is the directory of.
    #[must_use]
    pub fn process(&self) -> Option<Result<Arc<Process>>> {
        if let What::Dir(names) = &self.what { names.process() } else { None }
    }
}

impl Inode for Node {
    fn attr(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn kind(&self) -> u32 {
        self.attr.mode & S_IFMT
    }

    fn access(&self) -> Result<Attr> {
        let own = matches!(&self.what, What::Dir(names) if names.is_callers_own());
        Ok(Attr { mode: self.attr.mode | if own { 0o555 } else { 0 }, ..self.attr })
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        // Opening a text with O_TRUNC changes nothing.
        if change.valid == hostcall::SetAttrValid::SIZE.bits() { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn statfs(&self) -> Result<FileSystemStat> {
        Ok(anon::plain_statfs(self.magic))
    }

    fn caching(&self) -> Caching {
        Caching::None
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        match &self.what {
            What::Dir(names) => Ok(names.lookup(name)?),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn readlink(&self) -> Result<Arc<[u8]>> {
        match &self.what {
            What::Link(text) | What::Magic(text, _) => Ok(text()?.into()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn magic_link(&self) -> Option<Result<Path>> {
        match &self.what {
            What::Magic(_, target) => Some(target()),
            _ => None,
        }
    }

    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn FileOps>> {
        if let What::Guarded(guard, _) = &self.what {
            guard()?;
        }
        match &self.what {
            What::Dir(_) | What::Text(_) | What::Bytes(_) | What::Guarded(..) | What::Setting(..) => {
                Ok(Arc::new(OpenNode { node: self, text: SpinLock::new(None) }))
            }
            What::Link(_) | What::Magic(..) => Err(Errno::ELOOP),
        }
    }
}

/// An open node.
struct OpenNode {
    node: Arc<Node>,
    text: SpinLock<Option<Arc<[u8]>>>,
}

impl FileOps for OpenNode {
    fn read_at(&self, _file: &File, sink: &mut Sink<'_>, offset: u64) -> Result<usize> {
        if let What::Bytes(read) = &self.node.what {
            let bytes = read(offset, sink.remaining())?;
            return sink.write(&bytes);
        }
        let (What::Text(read) | What::Guarded(_, read) | What::Setting(read, _)) = &self.node.what else {
            return Err(Errno::EISDIR);
        };
        let known = self.text.lock().clone().filter(|_| offset != 0);
        let text: Arc<[u8]> = match known {
            Some(text) => text,
            None => {
                let text: Arc<[u8]> = read()?.into();
                *self.text.lock() = Some(text.clone());
                text
            }
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        sink.write(&text[from..])
    }

    fn write_at(&self, _file: &File, source: &mut Source<'_>, _offset: u64) -> Result<usize> {
        let What::Setting(_, write) = &self.node.what else { return Err(Errno::EIO) };
        let mut bytes = [0; 512];
        let len = source.remaining().min(bytes.len());
        let len = source.read(&mut bytes[..len])?;
        write(&bytes[..len])?;
        Ok(len)
    }

    fn append(&self, file: &File, source: &mut Source<'_>) -> Result<(usize, u64)> {
        let done = self.write_at(file, source, 0)?;
        Ok((done, done as u64))
    }

    fn read_dir(&self, _file: &File, cookie: u64, emit: &mut dyn FnMut(&Dirent<'_>) -> bool) -> Result<()> {
        let What::Dir(names) = &self.node.what else { return Err(Errno::ENOTDIR) };
        let base = self.node.attr.ino << 16;
        names.list(cookie, &mut |next, kind, name| emit(&Dirent { ino: base + next, next, kind, name }));
        Ok(())
    }
}

/// A name with its `DT_*` and what makes its node.
pub type Entry = (&'static [u8], u8, fn() -> Arc<Node>);

/// A fixed table of names.
pub struct Table<const N: usize> {
    entries: [Entry; N],
}

impl<const N: usize> Table<N> {
    /// A table; each entry has a name, its `DT_*` and what makes its node.
    #[must_use]
    pub const fn new(entries: [Entry; N]) -> Self {
        Self { entries }
    }
}

impl<const N: usize> Names for Table<N> {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        let entry = self.entries.iter().find(|(known, ..)| *known == name).ok_or(Errno::ENOENT)?;
        Ok(entry.2())
    }

    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool) {
        for (index, (name, kind, _)) in self.entries.iter().enumerate().skip(cookie as usize) {
            if !emit(index as u64 + 1, *kind, name) {
                return;
            }
        }
    }
}

impl core::fmt::Debug for What {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("What")
    }
}

impl core::fmt::Debug for Node {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Node")
    }
}

impl<const N: usize> core::fmt::Debug for Table<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Table({N})")
    }
}
