//! The file systems.
//!
//! Linux keeps a tree of names over many file systems; so do we, with its own vocabulary. A [`mount::Mount`]
//! shows a file system's [`dentry::Dentry`] tree somewhere; a [`walk::Walk`] turns a string into a
//! [`mount::Path`]; [`namei`] changes names; an [`inode::Inode`] is an object of a file system and a
//! [`file::File`] an open one, found by number in an [`fdtable::FdTable`].
//!
//! Lock order, outer first: a file's position, a pipe's ring, the rename mutex, directories' name mutexes
//! (ancestor first), an inode's `io` mutex, the lock of trees of mounts. All others are spinning leaves. Copies from and to user memory may
//! fault and block; only the position, `io` and ring mutexes are held over them.

pub mod acl;
pub mod anon;
pub mod asynchronous;
pub mod busy;
pub mod cgroupfs;
pub mod context;
mod copy;
pub mod dentry;
pub mod dev;
pub mod devpts;
pub mod dnotify;
pub mod epoll;
pub mod eventfd;
pub mod fdtable;
pub mod file;
pub mod fresh;
pub mod fstypes;
pub mod hostfs;
pub mod init;
pub mod inode;
pub mod inotify;
pub mod lease;
pub mod locks;
pub mod memfd;
pub mod mount;
pub mod namei;
pub mod nsfs;
pub mod overlay;
pub mod owner;
pub mod perm;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod proc;
pub mod protect;
pub mod signalfd;
pub mod static_fs;
pub mod stream;
pub mod sysfs;
pub mod timerfd;
pub mod tmpfs;
pub mod walk;
pub mod xattr;

pub use context::FsContext;
pub use fdtable::FdTable;
pub use file::{File, FileOps, PollMask};
pub use init::init;
pub use inode::Inode;
pub use mount::{Namespace, Path};

#[cfg(test)]
mod tests;
