//! Namespaces as files: what the links in `/proc/PID/ns` lead to.

use alloc::sync::Arc;
use hostcall::{Attr, FileSystemStat, SetAttr};
use linux_raw_sys::general::{O_ACCMODE, O_RDONLY, S_IFREG};

use super::{
    anon,
    dentry::Dentry,
    file::{File, FileOps},
    inode::Inode,
    mount::{Mount, Path},
};
use crate::{
    errno::{Errno, Result},
    sync::Once,
    task::namespace::{Kind, Namespaces},
};

/// `NSFS_MAGIC`.
const MAGIC: u64 = 0x6e73_6673;
const GET_TYPE: u32 = 0xb703;

/// A namespace: the one of `kind` among those of a task.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// What it is of.
    pub kind: Kind,
    /// Keeps it.
    pub of: Arc<Namespaces>,
}

/// Where a link in `/proc/PID/ns` leads.
#[must_use]
pub fn place(kind: Kind, of: Arc<Namespaces>) -> Path {
    let name = anon::numbered(kind.name(), of.number(kind));
    let inode = Arc::new(NsInode(Namespace { kind, of }));
    Path { mount: Mount::none(), dentry: Dentry::anonymous(&name, inode) }
}

#[derive(Debug)]
struct NsInode(Namespace);

impl Inode for NsInode {
    fn attr(&self) -> Result<Attr> {
        static DEV: Once<u64> = Once::new();
        Ok(Attr {
            ino: self.0.of.number(self.0.kind),
            dev: *DEV.call_once(anon::next_dev),
            nlink: 1,
            mode: S_IFREG | 0o444,
            blksize: 4096,
            ..Attr::default()
        })
    }

    fn kind(&self) -> u32 {
        S_IFREG
    }

    fn set_attr(&self, _change: &SetAttr) -> Result<()> {
        Err(Errno::EPERM)
    }

    fn statfs(&self) -> Result<FileSystemStat> {
        Ok(anon::plain_statfs(MAGIC))
    }

    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn FileOps>> {
        if flags & O_ACCMODE != O_RDONLY {
            return Err(Errno::EPERM);
        }
        Ok(Arc::new(self.0.clone()))
    }
}

impl FileOps for Namespace {
    fn is_stream(&self) -> bool {
        true
    }

    fn ioctl(&self, _file: &File, request: u32, _arg: u64) -> Result<u64> {
        if request == GET_TYPE { Ok(self.kind.flag().bits()) } else { Err(Errno::ENOTTY) }
    }
}
