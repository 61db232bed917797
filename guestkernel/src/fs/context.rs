//! What a process knows of the file system: root, working directory, mask.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use super::{
    mount::{Namespace, Path},
    perm::Who,
    walk::Walk,
};
use crate::sync::RwSpinLock;

/// Root, working directory and mask; shared by threads, copied by fork.
#[derive(Debug)]
pub struct FsContext {
    places: RwSpinLock<Places>,
    umask: AtomicU32,
    namespace: Arc<Namespace>,
}

#[derive(Clone, Debug)]
struct Places {
    root: Path,
    cwd: Path,
}

impl FsContext {
    /// At the root of a namespace, with mask 022.
    #[must_use]
    pub fn new(namespace: Arc<Namespace>) -> Arc<Self> {
        let root = namespace.root();
        let places = RwSpinLock::new(Places { cwd: root.clone(), root });
        Arc::new(Self { places, umask: AtomicU32::new(0o022), namespace })
    }

    /// A copy.
    #[must_use]
    pub fn fork(&self) -> Arc<Self> {
        Arc::new(Self {
            places: RwSpinLock::new(self.places.read().clone()),
            umask: AtomicU32::new(self.umask()),
            namespace: self.namespace.clone(),
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

    /// The mount namespace.
    #[must_use]
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// A walk from the working directory.
    #[must_use]
    pub fn walk<'a>(&self, who: Who<'a>) -> Walk<'a> {
        let places = self.places.read();
        Walk { root: places.root.clone(), start: places.cwd.clone(), who }
    }
}
