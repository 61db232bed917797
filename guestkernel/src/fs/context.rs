//! What a process knows of the file system: root, working directory, mask.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use super::{
    mount::{Namespace, Path},
    perm::Who,
    walk::Walk,
};
use crate::{errno::Result, sync::RwSpinLock};

/// Root, working directory and mask; shared by threads, copied by fork.
#[derive(Debug)]
pub struct FsContext {
    places: RwSpinLock<Places>,
    umask: AtomicU32,
}

#[derive(Clone, Debug)]
struct Places {
    root: Path,
    cwd: Path,
}

impl FsContext {
    /// At the root of a namespace, with mask 022.
    #[must_use]
    pub fn new(namespace: &Namespace) -> Arc<Self> {
        let root = namespace.root();
        let places = RwSpinLock::new(Places { cwd: root.clone(), root });
        Arc::new(Self { places, umask: AtomicU32::new(0o022) })
    }

    /// A copy.
    #[must_use]
    pub fn fork(&self) -> Arc<Self> {
        Arc::new(Self {
            places: RwSpinLock::new(self.places.read().clone()),
            umask: AtomicU32::new(self.umask()),
        })
    }

    /// Root directory.
    #[must_use]
    pub fn root(&self) -> Path {
        self.places.read().root.clone()
    }

    /// Working directory.
    #[must_use]
    pub fn cwd(&self) -> Path {
        self.places.read().cwd.clone()
    }

    /// Changes the root.
    pub fn set_root(&self, root: Path) {
        let old = core::mem::replace(&mut self.places.write().root, root);
        drop(old);
    }

    /// Changes the working directory.
    pub fn set_cwd(&self, cwd: Path) {
        let old = core::mem::replace(&mut self.places.write().cwd, cwd);
        drop(old);
    }

    /// File mode creation mask.
    #[must_use]
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// Sets the mask; gives the old one.
    pub fn set_umask(&self, mask: u32) -> u32 {
        self.umask.swap(mask & 0o777, Ordering::Relaxed)
    }

    /// Root and working directory move to `namespace`, which is a copy of the one that they were in.
    ///
    /// # Errors
    /// As [`Namespace::copy`].
    pub fn copy_namespace(&self, namespace: &Namespace) -> Result<Arc<Namespace>> {
        let Places { mut root, mut cwd } = self.places.read().clone();
        let copy = namespace.copy(&mut [&mut root, &mut cwd])?;
        self.set_root(root);
        self.set_cwd(cwd);
        Ok(copy)
    }

    /// Where root or working directory is `old`, it becomes `new`.
    pub fn replace(&self, old: &Path, new: &Path) {
        if self.root() == *old {
            self.set_root(new.clone());
        }
        if self.cwd() == *old {
            self.set_cwd(new.clone());
        }
    }

    /// A walk from the working directory.
    #[must_use]
    pub fn walk<'a>(&self, who: Who<'a>) -> Walk<'a> {
        let places = self.places.read();
        Walk { root: places.root.clone(), start: places.cwd.clone(), who, umask: self.umask() }
    }
}
