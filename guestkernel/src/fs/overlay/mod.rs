//! An overlay in memory: a tree that nobody changes, and over it what the container does to it.
//!
//! It behaves as Linux's overlayfs with a tmpfs above. What is above has no tree of its own: a directory knows which of
//! its names differ from those below (a *whiteout* is a name with nothing behind it), and an inode that was changed has
//! a loose one of a tmpfs for its attributes, and for its contents once they are written to. So a directory can be
//! renamed like anything else, and nothing is made above a file that is changed.
//!
//! Inodes are known by the device and number of what they show. One that was changed is kept, since what is below does
//! not know of it; it keeps its number.
//!
//! Locks: an inode's `above` mutex is an inode mutex; `names`, `lower` and the table of inodes are leaves.

mod dir;
mod file;
mod inode;

pub use inode::OverlayInode;

use alloc::sync::{Arc, Weak};
use hashbrown::HashMap;
use hostcall::Attr;
use linux_raw_sys::general::S_IFDIR;

use super::{
    inode::{Inode, NewNode},
    tmpfs::{TmpInode, Tmpfs},
};
use crate::{errno::Result, sync::SpinLock};

/// Device and number of what is below.
type Key = (u64, u64);

/// Inodes that were made above have numbers from here on: those of the host's file systems are smaller.
const FIRST_INO: u64 = 1 << 48;

/// An overlay.
pub struct Overlay {
    /// Where changes are.
    upper: Arc<Tmpfs>,
    /// Says how much room there is.
    room: Arc<TmpInode>,
    /// The device of the tree below.
    dev: u64,
    inodes: SpinLock<HashMap<Key, Weak<OverlayInode>>>,
    kept: Weak<Kept>,
}

/// Inodes that were changed, and must not be forgotten. The root has it, so that all goes with the root.
#[derive(Default)]
struct Kept(SpinLock<HashMap<Key, Arc<OverlayInode>>>);

impl Overlay {
    /// An overlay over `lower` for at most `limit` bytes of changes (`None`: half of the memory); gives its root.
    ///
    /// # Errors
    /// Those of asking for attributes.
    pub fn mount(lower: Arc<dyn Inode>, limit: Option<u64>) -> Result<Arc<OverlayInode>> {
        let attr = lower.attr()?;
        let inodes = SpinLock::new(HashMap::new());
        let upper = Tmpfs::of_size(limit);
        let root = NewNode { mode: S_IFDIR, uid: 0, gid: 0 };
        let room = upper.loose(root, 0, None)?;
        let kept = Arc::new(Kept::default());
        let fs = Arc::new(Self { upper, room, dev: attr.dev, inodes, kept: Arc::downgrade(&kept) });
        let root = fs.inode(lower, &attr);
        root.keeps.call_once(|| kept);
        Ok(root)
    }

    /// The inode that shows `lower`.
    fn inode(self: &Arc<Self>, lower: Arc<dyn Inode>, attr: &Attr) -> Arc<OverlayInode> {
        let key = (attr.dev, attr.ino);
        let mut inodes = self.inodes.lock();
        let known = inodes.get(&key).and_then(Weak::upgrade);
        if let Some(known) = known {
            drop(inodes);
            return known;
        }
        let inode = OverlayInode::showing(self.clone(), lower, key);
        inodes.insert(key, Arc::downgrade(&inode));
        inode
    }

    /// Keeps an inode that was changed, or does so no more.
    fn keep(&self, key: Key, inode: Option<Arc<OverlayInode>>) {
        let Some(kept) = self.kept.upgrade() else { return };
        let old = match inode {
            Some(inode) => kept.0.lock().insert(key, inode),
            None => kept.0.lock().remove(&key),
        };
        // It may be the last to hold it.
        drop(old);
    }

    /// An inode is dropped.
    fn forget(&self, key: Key) {
        let mut inodes = self.inodes.lock();
        if inodes.get(&key).is_some_and(|known| known.strong_count() == 0) {
            inodes.remove(&key);
        }
    }
}

impl core::fmt::Debug for Overlay {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Overlay")
    }
}
