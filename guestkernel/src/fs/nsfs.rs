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
    arch::uaccess,
    errno::{Errno, Result},
    sync::Once,
    task::namespace::{Kind, Namespaces},
};

/// `NSFS_MAGIC`.
const MAGIC: u64 = 0x6e73_6673;
const GET_USERS: u32 = 0xb701;
const GET_PARENT: u32 = 0xb702;
const GET_TYPE: u32 = 0xb703;
const GET_OWNER: u32 = 0xb704;

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

/// A descriptor of a namespace.
///
/// # Errors
/// None that a namespace has.
pub fn open(kind: Kind, of: Arc<Namespaces>) -> Result<Arc<File>> {
    File::open(place(kind, of), O_RDONLY)
}

/// Whether the inode stands for a namespace.
#[must_use]
pub fn is_namespace(inode: &Arc<dyn Inode>) -> bool {
    inode.downcast::<NsInode>().is_some()
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

    fn ioctl(&self, _file: &File, request: u32, arg: u64) -> Result<u64> {
        match request {
            GET_TYPE => Ok(self.kind.flag().bits()),
            // Nothing is above the one namespace of users.
            GET_USERS if self.kind == Kind::User => Err(Errno::EPERM),
            GET_USERS => crate::syscall::namespace::install(Kind::User, self.of.clone()),
            GET_PARENT if matches!(self.kind, Kind::User | Kind::Pid) => Err(Errno::EPERM),
            GET_PARENT => Err(Errno::EINVAL),
            GET_OWNER if self.kind == Kind::User => uaccess::put(arg, &0u32).map(|()| 0),
            GET_OWNER => Err(Errno::EINVAL),
            _ => Err(Errno::ENOTTY),
        }
    }
}
