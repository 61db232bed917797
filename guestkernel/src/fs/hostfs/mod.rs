//! hostfs: directories of the host.
//!
//! Inodes are named by host handles that the VMM issues, and known by the host's device and inode number, so
//! that hard links meet in one inode. Attributes and names of an *exclusive* tree (the container's root) are
//! cached and believed for a quarter of a second ([`super::fresh`]); those of a *shared* tree are looked up each time. Reads and memory mappings go
//! through file windows, writes to the host at once; both see the host's page cache.
//!
//! Locks: `attr`, `chunks`, `names`, `asked`, `unneeded` and `stale`, which is taken under `attr`, are leaves; no lock is held over a hostcall except `io`, a sleeping mutex that
//! serialises what changes a file's size.

mod acl;
mod cache;
mod dir;
mod file;
pub mod host;
mod inode;
pub mod window;
mod xattr;

pub use inode::HostInode;

use alloc::{
    collections::VecDeque,
    string::String,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::AtomicU64;
use hashbrown::HashMap;
use hostcall::{Attr, Handle, MAX_GETATTRS};

use self::{host::Host, window::Windows};
use crate::{
    errno::{Errno, Result},
    fs::dentry,
    sync::{Once, SpinLock},
};

/// A tree of the host.
pub struct HostFs {
    host: &'static dyn Host,
    windows: &'static Windows,
    /// Others change it seldom: it is cached.
    exclusive: bool,
    inodes: SpinLock<HashMap<(u64, u64), Weak<HostInode>>>,
    /// Inodes that were asked for, the longest ago first.
    asked: SpinLock<VecDeque<Weak<HostInode>>>,
    /// Inodes that we changed and have not asked for since, the latest last.
    stale: SpinLock<VecDeque<Weak<HostInode>>>,
    /// Handles that nobody needs any more: the host is told of many at once.
    unneeded: SpinLock<Vec<Handle>>,
    /// Counts our own changes of attributes.
    changes: AtomicU64,
    /// A device of the host whose file system keeps no access control lists; 0 while none is known.
    without_acls: AtomicU64,
    /// Name of the host's file-system type, for `/proc/mounts`.
    pub kind: String,
}

impl core::fmt::Debug for HostFs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("HostFs").field("exclusive", &self.exclusive).finish_non_exhaustive()
    }
}

impl Drop for HostFs {
    fn drop(&mut self) {
        self.close_unneeded();
    }
}

/// The windows of this machine.
pub fn windows() -> &'static Windows {
    static WINDOWS: Once<Windows> = Once::new();
    WINDOWS.call_once(|| Windows::new(crate::arch::window_len()))
}

impl HostFs {
    /// A tree reached through `host`.
    #[must_use]
    pub fn new(host: &'static dyn Host, windows: &'static Windows, exclusive: bool) -> Arc<Self> {
        Arc::new(Self {
            host,
            windows,
            exclusive,
            inodes: SpinLock::new(HashMap::new()),
            asked: SpinLock::new(VecDeque::new()),
            stale: SpinLock::new(VecDeque::new()),
            unneeded: SpinLock::new(Vec::new()),
            changes: AtomicU64::new(0),
            without_acls: AtomicU64::new(0),
            kind: "hostfs".into(),
        })
    }

    /// The inode behind a handle given from outside (the root, a mount).
    ///
    /// # Errors
    /// The host's.
    pub fn root(self: &Arc<Self>, handle: Handle) -> Result<Arc<HostInode>> {
        let attr = self.host.getattr(handle)?;
        Ok(self.inode(handle, attr))
    }

    /// The inode for a new handle: a known one (then the handle is closed), or a new one.
    fn inode(self: &Arc<Self>, handle: Handle, attr: Attr) -> Arc<HostInode> {
        let key = (attr.dev, attr.ino);
        let mut inodes = self.inodes.lock();
        if let Some(known) = inodes.get(&key).and_then(Weak::upgrade) {
            drop(inodes);
            if known.handle() != handle {
                self.close(handle, false);
            }
            return known;
        }
        let inode = HostInode::new(self.clone(), handle, attr);
        inodes.insert(key, Arc::downgrade(&inode));
        inode
    }

    /// A handle is needed no more; with `now` what it stood for is to be given up at once.
    fn close(&self, handle: Handle, now: bool) {
        let full = {
            let mut unneeded = self.unneeded.lock();
            unneeded.push(handle);
            unneeded.len() >= MAX_GETATTRS
        };
        if full || now {
            self.close_unneeded();
        }
    }

    /// Tells the host which handles nobody needs.
    fn close_unneeded(&self) {
        let handles = core::mem::take(&mut *self.unneeded.lock());
        for handles in handles.chunks(MAX_GETATTRS) {
            self.host.close(handles);
        }
    }

    /// Makes a call that needs a descriptor of the VMM. When it has none left, what is only cached makes room; when all
    /// are in use, that is to programs what Linux's own limit on open files is.
    fn with_room<T>(&self, call: impl Fn() -> Result<T>) -> Result<T> {
        match call() {
            Err(Errno::EMFILE | Errno::ENFILE) => {
                dentry::make_room();
                self.close_unneeded();
                call().map_err(|error| if error == Errno::EMFILE { Errno::ENFILE } else { error })
            }
            result => result,
        }
    }

    /// An inode is dropped.
    fn forget(&self, key: (u64, u64)) {
        let mut inodes = self.inodes.lock();
        // Another may have come for the same key meanwhile.
        if inodes.get(&key).is_some_and(|weak| weak.strong_count() == 0) {
            inodes.remove(&key);
        }
    }
}
