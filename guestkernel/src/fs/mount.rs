//! Mounts and paths.
//!
//! A mount shows a dentry of some file system (its root) on a dentry of another mount. A [`Path`] is a dentry
//! seen through a mount. A [`Namespace`] is a tree of mounts.

use alloc::{
    string::String,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use linux_raw_sys::general::{MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY};

use super::{dentry::Dentry, inode::Inode};
use crate::{
    errno::{Errno, Result},
    sync::SpinLock,
};

static NEXT_ID: AtomicU32 = AtomicU32::new(20);

/// A file system at a place.
#[derive(Debug)]
pub struct Mount {
    /// As `/proc/self/mountinfo` shows it.
    pub id: u32,
    /// The dentry that it shows.
    pub root: Arc<Dentry>,
    /// Name of the file-system type.
    pub kind: String,
    /// What is mounted, as `/proc/mounts` shows it.
    pub source: String,
    /// Options of the file system, as `/proc/mounts` shows them.
    pub data: String,
    /// `MS_*`.
    flags: AtomicU64,
    above: SpinLock<Option<(Weak<Mount>, Arc<Dentry>)>>,
    below: SpinLock<Vec<(Arc<Dentry>, Arc<Mount>)>>,
}

impl Mount {
    /// A mount that is nowhere yet.
    #[must_use]
    pub fn new(root: Arc<Dentry>, kind: &str, source: &str, flags: u64, data: &str) -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            root,
            kind: kind.into(),
            source: source.into(),
            data: data.into(),
            flags: AtomicU64::new(flags),
            above: SpinLock::new(None),
            below: SpinLock::new(Vec::new()),
        })
    }

    /// A mount for objects that no path leads to (pipes, sockets); one for all.
    #[must_use]
    pub fn detached(root: Arc<Dentry>) -> Arc<Self> {
        Self::new(root, "none", "none", 0, "")
    }

    /// `MS_*`.
    #[must_use]
    pub fn flags(&self) -> u64 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Changes the flags, as a remount does.
    pub fn set_flags(&self, flags: u64) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    /// Whether it refuses changes.
    #[must_use]
    pub fn is_readonly(&self) -> bool {
        self.flags() & u64::from(MS_RDONLY) != 0
    }

    /// Whether set-user-ID bits are ignored.
    #[must_use]
    pub fn is_nosuid(&self) -> bool {
        self.flags() & u64::from(MS_NOSUID) != 0
    }

    /// Whether nothing may be executed.
    #[must_use]
    pub fn is_noexec(&self) -> bool {
        self.flags() & u64::from(MS_NOEXEC) != 0
    }

    /// Whether device nodes cannot be opened.
    #[must_use]
    pub fn is_nodev(&self) -> bool {
        self.flags() & u64::from(MS_NODEV) != 0
    }

    /// The mount on `dentry` of this mount.
    #[must_use]
    pub fn mounted_at(&self, dentry: &Arc<Dentry>) -> Option<Arc<Self>> {
        self.below.lock().iter().find(|(at, _)| Arc::ptr_eq(at, dentry)).map(|(_, mount)| mount.clone())
    }

    /// Where it is mounted.
    #[must_use]
    pub fn mount_point(&self) -> Option<Path> {
        let above = self.above.lock();
        let (mount, dentry) = above.as_ref()?;
        Some(Path { mount: mount.upgrade()?, dentry: dentry.clone() })
    }

    fn for_each(self: &Arc<Self>, f: &mut dyn FnMut(&Arc<Self>)) {
        f(self);
        let below: Vec<Arc<Self>> = self.below.lock().iter().map(|(_, mount)| mount.clone()).collect();
        for mount in below {
            mount.for_each(f);
        }
    }
}

/// A dentry seen through a mount.
#[derive(Clone, Debug)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The dentry.
    pub dentry: Arc<Dentry>,
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
}

impl Path {
    /// The root of a mount.
    #[must_use]
    pub fn root_of(mount: &Arc<Mount>) -> Self {
        Self { mount: mount.clone(), dentry: mount.root.clone() }
    }

    /// The inode.
    ///
    /// # Errors
    /// `ENOENT` for a negative dentry.
    pub fn inode(&self) -> Result<&Arc<dyn Inode>> {
        self.dentry.inode()
    }

    /// Steps onto whatever is mounted here.
    #[must_use]
    pub fn cross(mut self) -> Self {
        while self.dentry.mounted.load(Ordering::Acquire) != 0 {
            let Some(mount) = self.mount.mounted_at(&self.dentry) else { break };
            self = Self::root_of(&mount);
        }
        self
    }

    /// One directory up, not beyond `root`.
    #[must_use]
    pub fn up(&self, root: &Self) -> Self {
        let mut at = self.clone();
        loop {
            if at == *root {
                return at;
            }
            if Arc::ptr_eq(&at.dentry, &at.mount.root) {
                let Some(point) = at.mount.mount_point() else { return at };
                at = point;
                continue;
            }
            let Some(parent) = at.dentry.parent() else { return at };
            return Self { mount: at.mount, dentry: parent }.cross();
        }
    }

    /// The absolute name below `root`; outside of it the name from the namespace's root and `false`.
    #[must_use]
    pub fn absolute(&self, root: &Self) -> (Vec<u8>, bool) {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut at = self.clone();
        let inside = loop {
            if at == *root {
                break true;
            }
            if Arc::ptr_eq(&at.dentry, &at.mount.root) {
                let Some(point) = at.mount.mount_point() else { break false };
                at = point;
                continue;
            }
            let (parent, name) = at.dentry.with_place(|parent, name| (parent.cloned(), name.to_vec()));
            let Some(parent) = parent else {
                if !name.is_empty() {
                    return (name, true);
                }
                break false;
            };
            parts.push(name);
            at.dentry = parent;
        };
        let mut text = Vec::new();
        for part in parts.iter().rev() {
            text.push(b'/');
            text.extend_from_slice(part);
        }
        if text.is_empty() {
            text.push(b'/');
        }
        (text, inside)
    }

    /// As `/proc` shows it: with ` (deleted)` when the name is gone.
    #[must_use]
    pub fn display(&self, root: &Self) -> Vec<u8> {
        let (mut text, _) = self.absolute(root);
        if self.dentry.is_dead() {
            text.extend_from_slice(b" (deleted)");
        }
        text
    }
}

/// A tree of mounts.
#[derive(Debug)]
pub struct Namespace {
    root: Arc<Mount>,
}

impl Namespace {
    /// A namespace with one mount.
    #[must_use]
    pub fn new(root: Arc<Mount>) -> Arc<Self> {
        Arc::new(Self { root })
    }

    /// Its root directory.
    #[must_use]
    pub fn root(&self) -> Path {
        Path::root_of(&self.root).cross()
    }

    /// Mounts `mount` at `at`.
    ///
    /// # Errors
    /// `ENOTDIR` when one is a directory and the other is not, `ENOENT` when the place is gone.
    pub fn attach(&self, mount: &Arc<Mount>, at: &Path) -> Result<()> {
        if at.dentry.is_dead() {
            return Err(Errno::ENOENT);
        }
        if at.inode()?.is_dir() != mount.root.inode()?.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        at.dentry.pin();
        *mount.above.lock() = Some((Arc::downgrade(&at.mount), at.dentry.clone()));
        at.mount.below.lock().push((at.dentry.clone(), mount.clone()));
        at.dentry.mounted.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Takes a mount away.
    ///
    /// # Errors
    /// `EINVAL` when it is the namespace's root, `EBUSY` when something is mounted below it.
    pub fn detach(&self, mount: &Arc<Mount>) -> Result<()> {
        let point = mount.mount_point().ok_or(Errno::EINVAL)?;
        if !mount.below.lock().is_empty() {
            return Err(Errno::EBUSY);
        }
        point.mount.below.lock().retain(|(_, other)| !Arc::ptr_eq(other, mount));
        point.dentry.mounted.fetch_sub(1, Ordering::Release);
        *mount.above.lock() = None;
        Ok(())
    }

    /// Visits all mounts, parents first.
    pub fn for_each(&self, mut f: impl FnMut(&Arc<Mount>)) {
        self.root.for_each(&mut f);
    }
}
