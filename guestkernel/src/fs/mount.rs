//! Mounts and paths.
//!
//! A mount shows a dentry of some file system (its root) on a dentry of another mount. A [`Path`] is a dentry
//! seen through a mount. A [`Namespace`] is a tree of mounts; [`tree`] changes it, [`propagate`] repeats changes
//! where mounts share them, [`show`] writes the tables of `/proc`.
//!
//! Locks: [`TREE`] is held over every change of a tree and of what mounts share. It spins, and is taken before
//! the locks of mounts and dentries. What a change leaves over is dropped after it is released.

pub mod propagate;
pub mod show;
pub mod tree;

use alloc::{
    string::String,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use linux_raw_sys::general::{
    MS_DIRSYNC, MS_LAZYTIME, MS_MANDLOCK, MS_NOATIME, MS_NODEV, MS_NODIRATIME, MS_NOEXEC, MS_NOSUID,
    MS_NOSYMFOLLOW, MS_RDONLY, MS_RELATIME, MS_STRICTATIME, MS_SYNCHRONOUS,
};

use super::{dentry::Dentry, inode::Inode};
use crate::{
    errno::{Errno, Result},
    sync::SpinLock,
};
use propagate::Sharing;
pub use tree::Namespace;

/// Serialises changes of trees of mounts.
static TREE: SpinLock<()> = SpinLock::new(());
static NEXT_ID: AtomicU32 = AtomicU32::new(20);
/// Mounts that there are.
static COUNT: AtomicU32 = AtomicU32::new(0);
/// Most of them.
pub const MOUNTS_MAX: u32 = 16_384;

/// Flags of a mount that say how access times are kept.
pub const ATIME: u64 = (MS_NOATIME | MS_NODIRATIME | MS_RELATIME) as u64;
/// Flags that a mount has, as opposed to its file system.
pub const OWN: u64 = (MS_RDONLY
    | MS_NOSUID
    | MS_NODEV
    | MS_NOEXEC
    | MS_NOSYMFOLLOW
    | MS_NOATIME
    | MS_NODIRATIME
    | MS_RELATIME) as u64;
/// Flags that a file system has.
pub const OF_FILE_SYSTEM: u64 = (MS_RDONLY | MS_SYNCHRONOUS | MS_MANDLOCK | MS_DIRSYNC | MS_LAZYTIME) as u64;

/// The flags of a mount that `mount(2)` is asked for: access times are relative unless said otherwise.
#[must_use]
pub const fn own_flags(ms: u64) -> u64 {
    let mut flags = ms & OWN & !(MS_RELATIME as u64);
    if ms & MS_NOATIME as u64 == 0 {
        flags |= MS_RELATIME as u64;
    }
    if ms & MS_STRICTATIME as u64 != 0 {
        flags &= !((MS_RELATIME | MS_NOATIME) as u64);
    }
    flags
}

/// A mounted file system, which several mounts may show.
#[derive(Debug)]
pub struct Super {
    /// Name of its type.
    pub kind: String,
    /// Its root.
    pub root: Arc<Dentry>,
    /// `MS_*` of [`OF_FILE_SYSTEM`].
    flags: AtomicU64,
    /// Options of the type, as `/proc/mounts` shows them.
    options: SpinLock<String>,
    /// Descriptions that may write to it.
    writers: AtomicU32,
}

impl Super {
    /// One whose root is `root`.
    #[must_use]
    pub fn new(root: Arc<Dentry>, kind: &str, flags: u64, options: &str) -> Arc<Self> {
        Arc::new(Self {
            kind: kind.into(),
            root,
            flags: AtomicU64::new(flags & OF_FILE_SYSTEM),
            options: SpinLock::new(options.into()),
            writers: AtomicU32::new(0),
        })
    }

    /// `MS_*` of [`OF_FILE_SYSTEM`].
    #[must_use]
    pub fn flags(&self) -> u64 {
        self.flags.load(Ordering::SeqCst)
    }

    /// Its options.
    #[must_use]
    pub fn options(&self) -> String {
        self.options.lock().clone()
    }

    /// Changes the shown options.
    pub fn set_options(&self, options: String) {
        *self.options.lock() = options;
    }

    /// Changes the flags.
    ///
    /// # Errors
    /// `EBUSY`: it is to be read-only and somebody may write.
    pub fn set_flags(&self, flags: u64) -> Result<()> {
        let old = self.flags.swap(flags & OF_FILE_SYSTEM, Ordering::SeqCst);
        let closes = flags & !old & u64::from(MS_RDONLY) != 0;
        if closes && self.writers.load(Ordering::SeqCst) != 0 {
            self.flags.store(old, Ordering::SeqCst);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }
}

impl Drop for Super {
    fn drop(&mut self) {
        super::inotify::unmounted(self);
    }
}

/// A file system at a place.
#[derive(Debug)]
pub struct Mount {
    /// As `/proc/self/mountinfo` shows it.
    pub id: u32,
    /// The dentry that it shows.
    pub root: Arc<Dentry>,
    /// The file system.
    pub fs: Arc<Super>,
    /// What is mounted, as `/proc/mounts` shows it.
    pub source: String,
    /// `MS_*` of [`OWN`].
    flags: AtomicU64,
    /// It cannot be taken away from what it covers.
    locked: AtomicBool,
    /// It was asked for with `MNT_EXPIRE` and not used since.
    expires: AtomicBool,
    /// Descriptions that may write through it.
    writers: AtomicU32,
    above: SpinLock<Option<(Weak<Mount>, Arc<Dentry>)>>,
    below: SpinLock<Vec<(Arc<Dentry>, Arc<Mount>)>>,
    namespace: SpinLock<Weak<Namespace>>,
    sharing: SpinLock<Sharing>,
}

impl Drop for Mount {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Mount {
    /// A mount of a file system of its own that is nowhere yet.
    #[must_use]
    pub fn new(root: Arc<Dentry>, kind: &str, source: &str, flags: u64, options: &str) -> Arc<Self> {
        let fs = Super::new(root.clone(), kind, 0, options);
        Self::of(fs, root, source, flags)
    }

    /// A mount of `root` of a file system.
    #[must_use]
    pub fn of(fs: Arc<Super>, root: Arc<Dentry>, source: &str, flags: u64) -> Arc<Self> {
        COUNT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            root,
            fs,
            source: source.into(),
            flags: AtomicU64::new(flags & OWN),
            locked: AtomicBool::new(false),
            expires: AtomicBool::new(false),
            writers: AtomicU32::new(0),
            above: SpinLock::new(None),
            below: SpinLock::new(Vec::new()),
            namespace: SpinLock::new(Weak::new()),
            sharing: SpinLock::new(Sharing::default()),
        })
    }

    /// A mount for objects that no path leads to (pipes, sockets); one for all.
    #[must_use]
    pub fn detached(root: Arc<Dentry>) -> Arc<Self> {
        Self::new(root, "none", "none", 0, "")
    }

    /// `MS_*` of [`OWN`].
    #[must_use]
    pub fn flags(&self) -> u64 {
        self.flags.load(Ordering::SeqCst)
    }

    /// Changes the flags.
    ///
    /// # Errors
    /// `EBUSY`: it is to be read-only and somebody may write through it.
    pub fn set_flags(&self, flags: u64) -> Result<()> {
        let old = self.flags.swap(flags & OWN, Ordering::SeqCst);
        let closes = flags & !old & u64::from(MS_RDONLY) != 0;
        if closes && self.writers.load(Ordering::SeqCst) != 0 {
            self.flags.store(old, Ordering::SeqCst);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    /// Whether it refuses changes.
    #[must_use]
    pub fn is_readonly(&self) -> bool {
        (self.flags() | self.fs.flags()) & u64::from(MS_RDONLY) != 0
    }

    /// One more description may write through it.
    ///
    /// # Errors
    /// `EROFS`.
    pub fn begin_write(&self) -> Result<()> {
        self.writers.fetch_add(1, Ordering::SeqCst);
        self.fs.writers.fetch_add(1, Ordering::SeqCst);
        if self.is_readonly() {
            self.end_write();
            return Err(Errno::EROFS);
        }
        Ok(())
    }

    /// One less.
    pub fn end_write(&self) {
        self.fs.writers.fetch_sub(1, Ordering::SeqCst);
        self.writers.fetch_sub(1, Ordering::SeqCst);
    }

    fn has(&self, flag: u32) -> bool {
        self.flags() & u64::from(flag) != 0
    }

    /// Whether set-user-ID bits are ignored.
    #[must_use]
    pub fn is_nosuid(&self) -> bool {
        self.has(MS_NOSUID)
    }

    /// Whether nothing may be executed.
    #[must_use]
    pub fn is_noexec(&self) -> bool {
        self.has(MS_NOEXEC)
    }

    /// Whether device nodes cannot be opened.
    #[must_use]
    pub fn is_nodev(&self) -> bool {
        self.has(MS_NODEV)
    }

    /// Whether symbolic links are not followed.
    #[must_use]
    pub fn is_nosymfollow(&self) -> bool {
        self.has(MS_NOSYMFOLLOW)
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

    /// Whether it is in the namespace.
    #[must_use]
    pub fn is_in(&self, namespace: &Arc<Namespace>) -> bool {
        core::ptr::eq(self.namespace.lock().as_ptr(), Arc::as_ptr(namespace))
    }

    /// The namespace that it is in.
    #[must_use]
    pub fn namespace(&self) -> Option<Arc<Namespace>> {
        self.namespace.lock().upgrade()
    }

    /// The mounts on it.
    fn children(&self) -> Vec<Arc<Self>> {
        self.below.lock().iter().map(|(_, mount)| mount.clone()).collect()
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

    /// Whether it is the root of its mount.
    #[must_use]
    pub fn is_mounted(&self) -> bool {
        Arc::ptr_eq(&self.dentry, &self.mount.root)
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
                // Above the topmost mount is nothing: there one stays.
                let Some(point) = at.mount.mount_point() else { return self.clone() };
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
