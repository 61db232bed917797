//! Namespaces of mounts, and changes of their trees.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::Ordering;

use super::{
    super::{dentry::Dentry, tmpfs::Tmpfs},
    COUNT, MOUNTS_MAX, Mount, Path, TREE,
    propagate::{self, Copying},
};
use crate::{
    errno::{Errno, Result},
    sync::SpinLock,
    task::namespace::Identity,
};

/// A tree of mounts.
#[derive(Debug)]
pub struct Namespace {
    /// What tells it from others.
    pub identity: Identity,
    /// The mount below all others; that of nothing once a descriptor's tree was mounted elsewhere.
    root: SpinLock<Arc<Mount>>,
    /// It belongs to a descriptor, not to tasks.
    anonymous: bool,
}

/// Every namespace that tasks are in.
static ALL: SpinLock<Vec<Weak<Namespace>>> = SpinLock::new(Vec::new());

/// A mount and those on it, those below first.
pub(super) fn subtree(mount: &Arc<Mount>) -> Vec<Arc<Mount>> {
    let mut all = alloc::vec![mount.clone()];
    let mut next = 0;
    while let Some(mount) = all.get(next).cloned() {
        all.extend(mount.children());
        next += 1;
    }
    all
}

/// Hangs `child` onto `dentry` of `parent`.
fn hang(child: &Arc<Mount>, parent: &Arc<Mount>, dentry: &Arc<Dentry>) {
    dentry.pin();
    *child.above.lock() = Some((Arc::downgrade(parent), dentry.clone()));
    parent.below.lock().push((dentry.clone(), child.clone()));
    dentry.mounted.fetch_add(1, Ordering::Release);
}

/// Places that mounts were taken from: to be dropped when [`TREE`] is released, as that may ask the host.
type Places = Vec<(Path, Vec<Arc<Dentry>>)>;

/// Takes `child` from where it hangs.
fn unhang(child: &Arc<Mount>, places: &mut Places) {
    let Some(point) = child.mount_point() else { return };
    let taken = {
        let mut below = point.mount.below.lock();
        let index = below.iter().position(|(_, other)| Arc::ptr_eq(other, child));
        index.map(|index| below.remove(index))
    };
    *child.above.lock() = None;
    let last = point.dentry.mounted.fetch_sub(1, Ordering::Release) == 1;
    let unpinned = if last { point.dentry.unpin() } else { Vec::new() };
    places.push((point, unpinned));
    // The caller refers to the mount, and `places` to the dentry.
    drop(taken);
}

/// Takes mounts out of their trees, each by itself.
#[must_use]
fn scatter(mounts: &[Arc<Mount>]) -> Places {
    let mut places = Places::new();
    for mount in mounts.iter().rev() {
        unhang(mount, &mut places);
        *mount.namespace.lock() = Weak::new();
        propagate::leave(mount);
    }
    places
}

/// Hangs the tree of `source` onto `at`, and copies of it wherever changes there are shared.
fn graft(source: &Arc<Mount>, at: &Path, places: &mut Places) -> Result<()> {
    let namespace = at.mount.namespace().ok_or(Errno::EINVAL)?;
    let shared = propagate::is_shared(&at.mount);
    let mut copies = Vec::new();
    if shared {
        for mount in subtree(source) {
            propagate::share(&mount);
        }
        if let Err(error) = propagate::copies(&at.mount, &at.dentry, source, &mut copies) {
            copies.iter().for_each(|(_, copy)| places.extend(scatter(&subtree(copy))));
            return Err(error);
        }
    }
    unhang(source, places);
    hang(source, &at.mount, &at.dentry);
    for mount in subtree(source) {
        *mount.namespace.lock() = Arc::downgrade(&namespace);
    }
    for (place, copy) in copies {
        let covered = place.mounted_at(&at.dentry);
        let namespace = place.namespace.lock().clone();
        for mount in subtree(&copy) {
            *mount.namespace.lock() = namespace.clone();
        }
        if let Some(covered) = covered {
            // What is there already stays on top.
            unhang(&covered, places);
            hang(&covered, &copy, &copy.root);
        }
        hang(&copy, &place, &at.dentry);
    }
    Ok(())
}

/// As [`graft`] for what is mounted anew.
fn graft_at(mount: &Arc<Mount>, at: &Path, places: &mut Places) -> Result<()> {
    if at.inode()?.is_dir() != mount.root.inode()?.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    graft(mount, at, places)
}

/// Copies a mount and those on it, seen from `dentry`.
///
/// # Errors
/// `ENOSPC` beyond [`MOUNTS_MAX`].
pub(super) fn copy_tree(mount: &Arc<Mount>, dentry: &Arc<Dentry>, how: &Copying) -> Result<Arc<Mount>> {
    let top = copy_one(mount, dentry, how)?;
    let mut pairs = alloc::vec![(mount.clone(), top.clone())];
    let mut next = 0;
    while let Some((from, to)) = pairs.get(next).cloned() {
        next += 1;
        let below: Vec<_> = from.below.lock().clone();
        for (point, child) in below {
            let visible = next > 1 || dentry.is_ancestor_of(&point);
            if !visible || !how.with_unbindable && propagate::is_unbindable(&child) {
                continue;
            }
            match copy_one(&child, &child.root, how) {
                Ok(copy) => {
                    copy.locked.store(child.locked.load(Ordering::Relaxed), Ordering::Relaxed);
                    hang(&copy, &to, &point);
                    pairs.push((child, copy));
                }
                Err(error) => {
                    // What they hang on lives on in the originals.
                    drop(scatter(&subtree(&top)));
                    return Err(error);
                }
            }
        }
    }
    Ok(top)
}

fn copy_one(mount: &Arc<Mount>, dentry: &Arc<Dentry>, how: &Copying) -> Result<Arc<Mount>> {
    if COUNT.load(Ordering::Relaxed) >= MOUNTS_MAX {
        return Err(Errno::ENOSPC);
    }
    let copy = Mount::of(mount.fs.clone(), dentry.clone(), &mount.source, mount.flags());
    propagate::inherit(&copy, mount, how);
    Ok(copy)
}

/// The topmost mount at a place, whose name must still exist.
fn settle(at: &Path) -> Result<Path> {
    let at = at.clone().cross();
    let gone = at.dentry.is_dead() || at.mount.namespace().is_none();
    if gone { Err(Errno::ENOENT) } else { Ok(at) }
}

impl Namespace {
    /// A namespace whose root is `root`, mounted on an empty file system that nobody sees.
    #[must_use]
    pub fn new(root: Arc<Mount>) -> Arc<Self> {
        let bottom = Dentry::root(Tmpfs::mount(0, 0o755, 0, 0));
        let bottom = Mount::new(bottom, "rootfs", "none", 0, "");
        let namespace = Self::around(bottom.clone(), Identity::initial_mounts(), false);
        let _tree = TREE.lock();
        hang(&root, &bottom, &bottom.root);
        *root.namespace.lock() = Arc::downgrade(&namespace);
        drop(_tree);
        namespace
    }

    fn around(root: Arc<Mount>, identity: Identity, anonymous: bool) -> Arc<Self> {
        let mounts = subtree(&root);
        let namespace = Arc::new(Self { identity, root: SpinLock::new(root), anonymous });
        for mount in mounts {
            *mount.namespace.lock() = Arc::downgrade(&namespace);
        }
        if !anonymous {
            let mut all = ALL.lock();
            all.retain(|other| other.strong_count() != 0);
            all.push(Arc::downgrade(&namespace));
        }
        namespace
    }

    /// A tree of a descriptor's own.
    #[must_use]
    pub fn of_descriptor(root: Arc<Mount>) -> Arc<Self> {
        Self::around(root, Identity::fresh(), true)
    }

    /// One without mounts, for what runs before there are any.
    #[must_use]
    pub fn empty() -> Arc<Self> {
        Arc::new(Self {
            identity: Identity::initial_mounts(),
            root: SpinLock::new(Mount::none()),
            anonymous: true,
        })
    }

    /// Its root directory.
    #[must_use]
    pub fn root(&self) -> Path {
        let root = self.root.lock().clone();
        Path::root_of(&root).cross()
    }

    /// Whether it belongs to a descriptor.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.anonymous
    }

    /// A copy for other tasks, and what became of the given paths in it.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub fn copy(&self, places: &mut [&mut Path]) -> Result<Arc<Self>> {
        let tree = TREE.lock();
        let root = self.root.lock().clone();
        let copy = copy_tree(&root, &root.root, &Copying::NAMESPACE)?;
        // Both lists are in the same order.
        let mut gone = Vec::new();
        for (old, new) in subtree(&root).iter().zip(subtree(&copy)) {
            for place in &mut *places {
                if Arc::ptr_eq(&place.mount, old) {
                    gone.push(core::mem::replace(&mut place.mount, new.clone()));
                }
            }
        }
        let namespace = Self::around(copy, Identity::fresh(), false);
        drop(tree);
        drop(gone);
        Ok(namespace)
    }

    /// Mounts `mount` at `at`.
    ///
    /// # Errors
    /// `ENOTDIR` when one is a directory and the other is not, `ENOENT` when the place is gone, `EINVAL` when it
    /// is of another namespace, `EBUSY` when the same file system is there already, `ENOSPC`.
    pub fn attach(self: &Arc<Self>, mount: &Arc<Mount>, at: &Path) -> Result<()> {
        let mut places = Places::new();
        let _tree = TREE.lock();
        let at = settle(at)?;
        if !at.mount.is_in(self) {
            return Err(Errno::EINVAL);
        }
        if at.is_mounted() && Arc::ptr_eq(&at.mount.fs, &mount.fs) {
            return Err(Errno::EBUSY);
        }
        if mount.root.inode()?.is_link() {
            return Err(Errno::EINVAL);
        }
        graft_at(mount, &at, &mut places)
    }

    /// Shows `from` at `at` as well; with `recursive` what is mounted below it too.
    ///
    /// # Errors
    /// As mount(2).
    pub fn bind(self: &Arc<Self>, from: &Path, at: &Path, recursive: bool) -> Result<()> {
        let mut places = Places::new();
        let _tree = TREE.lock();
        let at = settle(at)?;
        let copy = self.copy_of(from, recursive)?;
        let done = if at.mount.is_in(self) { graft_at(&copy, &at, &mut places) } else { Err(Errno::EINVAL) };
        if done.is_err() {
            places.extend(scatter(&subtree(&copy)));
        }
        done
    }

    /// A copy of what is at `from`, nowhere yet. The lock is held by the caller.
    fn copy_of(self: &Arc<Self>, from: &Path, recursive: bool) -> Result<Arc<Mount>> {
        let nsfs = from.dentry.inode().is_ok_and(super::super::nsfs::is_namespace);
        if propagate::is_unbindable(&from.mount) || !from.mount.is_in(self) && !nsfs {
            return Err(Errno::EINVAL);
        }
        let copy = if recursive {
            copy_tree(&from.mount, &from.dentry, &Copying::PLAIN)?
        } else {
            let hides = |(point, child): &(Arc<Dentry>, Arc<Mount>)| {
                child.locked.load(Ordering::Relaxed) && from.dentry.is_ancestor_of(point)
            };
            if from.mount.below.lock().iter().any(hides) {
                return Err(Errno::EINVAL);
            }
            copy_one(&from.mount, &from.dentry, &Copying::PLAIN)?
        };
        Ok(copy)
    }

    /// A copy of what is at `from` as a tree of a descriptor's own.
    ///
    /// # Errors
    /// As open_tree(2).
    pub fn detached_copy(self: &Arc<Self>, from: &Path, recursive: bool) -> Result<Arc<Self>> {
        let _tree = TREE.lock();
        Ok(Self::of_descriptor(self.copy_of(from, recursive)?))
    }

    /// Moves the mount at `from` to `at`.
    ///
    /// # Errors
    /// As mount(2) with `MS_MOVE`, and move_mount(2).
    pub fn relocate(self: &Arc<Self>, from: &Path, at: &Path) -> Result<()> {
        let mut emptied = None;
        let mut places = Places::new();
        let _tree = TREE.lock();
        let at = settle(at)?;
        let home = from.mount.namespace().ok_or(Errno::EINVAL)?;
        let attached = from.mount.mount_point();
        let movable = match &attached {
            Some(_) => from.mount.is_in(self),
            None => home.anonymous,
        };
        if !at.mount.is_in(self)
            || !movable
            || from.mount.locked.load(Ordering::Relaxed)
            || !from.is_mounted()
            || from.inode()?.is_dir() != at.inode()?.is_dir()
            || attached.as_ref().is_some_and(|point| propagate::is_shared(&point.mount))
        {
            return Err(Errno::EINVAL);
        }
        let tree = subtree(&from.mount);
        if propagate::is_shared(&at.mount) && tree.iter().any(propagate::is_unbindable) {
            return Err(Errno::EINVAL);
        }
        if tree.iter().any(|mount| Arc::ptr_eq(mount, &at.mount)) {
            return Err(Errno::ELOOP);
        }
        graft(&from.mount, &at, &mut places)?;
        if home.anonymous {
            emptied = Some(core::mem::replace(&mut *home.root.lock(), Mount::none()));
        }
        drop(_tree);
        drop(emptied);
        Ok(())
    }

    /// Takes the mount at `at` away, wherever the change is shared; with `lazy` those on it too, whoever uses
    /// them.
    ///
    /// # Errors
    /// `EINVAL` when nothing of this namespace is mounted there or it is locked, `EBUSY`.
    pub fn unmount(self: &Arc<Self>, at: Path, lazy: bool) -> Result<()> {
        let mut places = Places::new();
        let tree = TREE.lock();
        self.check_unmount(&at)?;
        if !lazy {
            // Referred to by where it hangs and by the caller.
            if Arc::strong_count(&at.mount) > 2 || !at.mount.below.lock().is_empty() {
                return Err(Errno::EBUSY);
            }
            for other in propagate::counterparts(&at.mount) {
                if other.below.lock().is_empty() && Arc::strong_count(&other) > 2 {
                    return Err(Errno::EBUSY);
                }
            }
        }
        let gone = propagate::unmounted(subtree(&at.mount));
        for mount in &gone {
            let outside: Vec<_> = mount
                .children()
                .into_iter()
                .filter(|child| !gone.iter().any(|other| Arc::ptr_eq(other, child)))
                .collect();
            // What covers a mount that goes stays where that was.
            for child in outside {
                if let Some(point) = mount.mount_point() {
                    unhang(&child, &mut places);
                    hang(&child, &point.mount, &point.dentry);
                }
            }
        }
        places.extend(scatter(&gone));
        drop(tree);
        Ok(())
    }

    /// Whether the mount at `at` may be taken away.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn check_unmount(self: &Arc<Self>, at: &Path) -> Result<()> {
        let locked = at.mount.locked.load(Ordering::Relaxed);
        if !at.is_mounted() || !at.mount.is_in(self) || locked { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// `MNT_EXPIRE`: takes the mount away when this is asked for the second time and nobody used it meanwhile.
    ///
    /// # Errors
    /// `EAGAIN` the first time, `EBUSY`, `EINVAL`.
    pub fn expire(self: &Arc<Self>, at: Path) -> Result<()> {
        self.check_unmount(&at)?;
        if Arc::strong_count(&at.mount) > 2 {
            return Err(Errno::EBUSY);
        }
        if !at.mount.expires.swap(true, Ordering::SeqCst) {
            return Err(Errno::EAGAIN);
        }
        self.unmount(at, false)
    }

    /// pivot_root(2): `new` becomes the root of all, and what `root` was goes to `old`.
    ///
    /// # Errors
    /// As pivot_root(2).
    pub fn pivot(self: &Arc<Self>, root: &Path, new: &Path, old: &Path) -> Result<()> {
        let mut places = Places::new();
        let _tree = TREE.lock();
        let old = settle(old)?;
        let (new_point, root_point) = (new.mount.mount_point(), root.mount.mount_point());
        let shared = |point: &Option<Path>| point.as_ref().is_some_and(|at| propagate::is_shared(&at.mount));
        if propagate::is_shared(&old.mount)
            || shared(&new_point)
            || shared(&root_point)
            || !root.mount.is_in(self)
            || !new.mount.is_in(self)
            || new.mount.locked.load(Ordering::Relaxed)
        {
            return Err(Errno::EINVAL);
        }
        if new.dentry.is_dead() {
            return Err(Errno::ENOENT);
        }
        if Arc::ptr_eq(&new.mount, &root.mount) || Arc::ptr_eq(&old.mount, &root.mount) {
            return Err(Errno::EBUSY);
        }
        let (Some(_), Some(root_point)) = (new_point, root_point) else { return Err(Errno::EINVAL) };
        if !root.is_mounted() || !new.is_mounted() || !reaches(&old, new) || !reaches(new, root) {
            return Err(Errno::EINVAL);
        }
        let locked = root.mount.locked.swap(false, Ordering::Relaxed);
        new.mount.locked.store(locked, Ordering::Relaxed);
        unhang(&new.mount, &mut places);
        unhang(&root.mount, &mut places);
        hang(&new.mount, &root_point.mount, &root_point.dentry);
        hang(&root.mount, &old.mount, &old.dentry);
        Ok(())
    }

    /// All mounts, in the order of their making.
    #[must_use]
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        let root = self.root.lock().clone();
        let mut all = {
            let _tree = TREE.lock();
            subtree(&root)
        };
        all.sort_by_key(|mount| mount.id);
        all
    }
}

/// Whether `from` lies at or below `to`.
fn reaches(from: &Path, to: &Path) -> bool {
    let mut at = from.clone();
    while !Arc::ptr_eq(&at.mount, &to.mount) {
        let Some(point) = at.mount.mount_point() else { return false };
        at = point;
    }
    to.dentry.is_ancestor_of(&at.dentry)
}

/// Changes what a mount shares, with `recursive` of those on it too.
///
/// # Errors
/// `EINVAL` when `at` is no mount.
pub fn change_sharing(at: &Path, kind: propagate::Kind, recursive: bool) -> Result<()> {
    if !at.is_mounted() {
        return Err(Errno::EINVAL);
    }
    let _tree = TREE.lock();
    let mounts = if recursive { subtree(&at.mount) } else { alloc::vec![at.mount.clone()] };
    mounts.iter().for_each(|mount| propagate::change(mount, kind));
    Ok(())
}

/// A mount and those on it.
#[must_use]
pub fn with_those_on(mount: &Arc<Mount>) -> Vec<Arc<Mount>> {
    let _tree = TREE.lock();
    subtree(mount)
}

/// Whether something of `namespace` is mounted on `dentry`.
#[must_use]
pub fn is_mount_point(namespace: &Namespace, dentry: &Arc<Dentry>) -> bool {
    dentry.mounted.load(Ordering::Acquire) != 0
        && namespace
            .mounts()
            .iter()
            .any(|mount| mount.mount_point().is_some_and(|at| Arc::ptr_eq(&at.dentry, dentry)))
}

/// A name was removed: what other namespaces had mounted on it goes.
pub fn name_removed(dentry: &Arc<Dentry>) {
    if dentry.mounted.load(Ordering::Acquire) == 0 {
        return;
    }
    let namespaces: Vec<_> = ALL.lock().iter().filter_map(Weak::upgrade).collect();
    for namespace in namespaces {
        for mount in namespace.mounts() {
            if mount.mount_point().is_some_and(|at| Arc::ptr_eq(&at.dentry, dentry)) {
                let tree = TREE.lock();
                let gone = subtree(&mount);
                let places = scatter(&gone);
                drop(tree);
                drop(places);
            }
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let root = self.root.lock().clone();
        let tree = TREE.lock();
        let gone = subtree(&root);
        let places = scatter(&gone);
        drop(tree);
        drop(places);
    }
}
