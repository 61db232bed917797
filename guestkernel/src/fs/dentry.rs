//! The dentry cache: names of a file system, present and absent, as a tree.
//!
//! A dentry is positive (it has an inode) or negative (the name is known not to exist), for good: when a name
//! comes into being or goes, the parent's entry is replaced by another dentry. So a reader never locks to
//! look at an inode. Name and parent change by rename only.
//!
//! Where others may change names as well, a dentry counts for one generation of its directory
//! ([`Inode::generation`]); in another one it is looked up again. If the name is then something else, the dentry is
//! *detached*: who holds it goes on using its inode, and nothing is cached below it any more.
//!
//! The number of cached dentries is bounded. A clock runs over them and drops those that nobody holds and
//! that were not used since it last came by; only leaves can go.
//!
//! Locks: a directory's mutex serialises look-ups that miss and all changes of its names, and may be held
//! over hostcalls. The spinning locks inside are leaves.

use alloc::{
    boxed::Box,
    collections::VecDeque,
    format,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use hashbrown::HashMap;

use super::inode::{Caching, Inode};
use crate::{
    errno::{Errno, Result},
    sync::{Mutex, MutexGuard, SpinLock},
};

/// Dentries kept beyond those in use.
const LIMIT: usize = 8192;
/// Dentries that the clock looks at when there are too many.
const SWEEP: usize = 64;

/// A name in a directory.
pub struct Dentry {
    place: SpinLock<Place>,
    inode: Option<Arc<dyn Inode>>,
    children: SpinLock<HashMap<Box<[u8]>, Arc<Dentry>>>,
    /// Serialises changes of the names below.
    names: Mutex<()>,
    /// Mounts on it, in all namespaces.
    pub(super) mounted: AtomicU32,
    /// Removed: the name is gone, the inode may live on.
    dead: AtomicBool,
    /// Others took its name from it: it is not in its parent, and its children are not kept.
    detached: AtomicBool,
    /// The directory's generation in which the name was looked up.
    checked: AtomicU64,
    /// It never had a name, and may be given one.
    linkable: AtomicBool,
    /// Used since the clock came by.
    used: AtomicBool,
}

struct Place {
    parent: Option<Arc<Dentry>>,
    name: Box<[u8]>,
}

static CLOCK: SpinLock<VecDeque<Weak<Dentry>>> = SpinLock::new(VecDeque::new());

impl core::fmt::Debug for Dentry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Dentry({})", alloc::string::String::from_utf8_lossy(&self.place.lock().name))
    }
}

impl Dentry {
    fn new(parent: Option<Arc<Self>>, name: &[u8], inode: Option<Arc<dyn Inode>>) -> Arc<Self> {
        Arc::new(Self {
            place: SpinLock::new(Place { parent, name: name.into() }),
            inode,
            children: SpinLock::new(HashMap::new()),
            names: Mutex::new(()),
            mounted: AtomicU32::new(0),
            dead: AtomicBool::new(false),
            detached: AtomicBool::new(false),
            checked: AtomicU64::new(0),
            linkable: AtomicBool::new(false),
            used: AtomicBool::new(true),
        })
    }

    /// A file that was made in this directory without a name; `linkable` where link(2) may give it one.
    #[must_use]
    pub fn unnamed(self: &Arc<Self>, inode: Arc<dyn Inode>, ino: u64, linkable: bool) -> Arc<Self> {
        let dentry = Self::new(Some(self.clone()), format!("#{ino}").as_bytes(), Some(inode));
        dentry.dead.store(true, Ordering::Release);
        dentry.linkable.store(linkable, Ordering::Release);
        dentry
    }

    /// Whether it never had a name and may be given one.
    #[must_use]
    pub fn is_linkable(&self) -> bool {
        self.linkable.load(Ordering::Acquire)
    }

    /// Its inode got a name.
    pub fn linked(&self) {
        self.linkable.store(false, Ordering::Release);
    }

    /// The root of a file system, or an object without a name.
    #[must_use]
    pub fn root(inode: Arc<dyn Inode>) -> Arc<Self> {
        Self::new(None, b"", Some(inode))
    }

    /// An object that shows under `name` in `/proc` but is in no directory (`pipe:[7]`).
    #[must_use]
    pub fn anonymous(name: &[u8], inode: Arc<dyn Inode>) -> Arc<Self> {
        Self::new(None, name, Some(inode))
    }

    /// The inode.
    ///
    /// # Errors
    /// `ENOENT` for a negative dentry.
    pub fn inode(&self) -> Result<&Arc<dyn Inode>> {
        self.inode.as_ref().ok_or(Errno::ENOENT)
    }

    /// Whether the name does not exist.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.inode.is_none()
    }

    /// Whether the name was removed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// The directory above, `None` at the root.
    #[must_use]
    pub fn parent(&self) -> Option<Arc<Self>> {
        self.place.lock().parent.clone()
    }

    /// A copy of the name.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        self.place.lock().name.to_vec()
    }

    /// Calls `f` with parent and name.
    pub fn with_place<T>(&self, f: impl FnOnce(Option<&Arc<Self>>, &[u8]) -> T) -> T {
        let place = self.place.lock();
        f(place.parent.as_ref(), &place.name)
    }

    /// Whether `self` is `other` or lies above it.
    #[must_use]
    pub fn is_ancestor_of(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = Some(other.clone());
        while let Some(dentry) = at {
            if Arc::ptr_eq(&dentry, self) {
                return true;
            }
            at = dentry.parent();
        }
        false
    }

    /// Takes the mutex over this directory's names.
    pub fn lock_names(&self) -> MutexGuard<'_, ()> {
        self.names.lock()
    }

    /// The child called `name`, from the cache or the file system; possibly negative.
    ///
    /// # Errors
    /// Those of the file system, except `ENOENT`.
    pub fn lookup(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Self>> {
        if let Some(child) = self.cached(name)
            && child.is_checked(self.generation())
        {
            return Ok(child);
        }
        let _names = self.names.lock();
        self.lookup_locked(name)
    }

    /// As [`Self::lookup`], with the mutex held by the caller.
    ///
    /// # Errors
    /// Those of the file system, except `ENOENT`.
    pub fn lookup_locked(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Self>> {
        let generation = self.generation();
        let known = self.cached(name);
        if let Some(child) = &known
            && child.is_checked(generation)
        {
            return Ok(child.clone());
        }
        let dir = self.inode()?;
        let inode = match dir.lookup(name) {
            Ok(inode) => Some(inode),
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(error),
        };
        if let Some(child) = known {
            let same = match (&child.inode, &inode) {
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                (None, None) => true,
                _ => false,
            };
            if same || child.has_mounts() {
                child.checked.store(generation, Ordering::Release);
                return Ok(child);
            }
            child.detach();
        }
        let child = self.add(name, inode);
        child.checked.store(generation, Ordering::Release);
        Ok(child)
    }

    /// The generation of the names in this directory.
    fn generation(&self) -> u64 {
        self.inode.as_ref().map_or(0, |dir| dir.generation())
    }

    fn is_checked(&self, generation: u64) -> bool {
        self.checked.load(Ordering::Acquire) == generation
    }

    /// Counts `child` as looked up.
    fn check(&self, child: &Self) {
        child.checked.store(self.generation(), Ordering::Release);
    }

    /// Whether something is mounted on it or below it.
    fn has_mounts(&self) -> bool {
        let mounted = |dentry: &Self| dentry.mounted.load(Ordering::Acquire) != 0;
        mounted(self) || self.below().iter().any(|one| mounted(one))
    }

    /// All cached dentries below this one.
    fn below(&self) -> Vec<Arc<Self>> {
        let children = |dentry: &Self| dentry.children.lock().values().cloned().collect::<Vec<_>>();
        let mut all = children(self);
        let mut next = 0;
        while next < all.len() {
            let more = children(&all[next]);
            all.extend(more);
            next += 1;
        }
        all
    }

    /// Others took the name away: removed it, moved it, or put something else in its place.
    fn detach(&self) {
        let cut = |dentry: &Self| {
            dentry.detached.store(true, Ordering::Release);
            let children = core::mem::take(&mut *dentry.children.lock());
            drop(children);
        };
        self.below().iter().for_each(|one| cut(one));
        cut(self);
        let unlinked = |inode: &Arc<dyn Inode>| inode.attr().is_ok_and(|attr| attr.nlink == 0);
        if self.inode.as_ref().is_some_and(unlinked) {
            self.dead.store(true, Ordering::Release);
        }
    }

    /// Whether names in it are kept.
    fn keeps_names(&self) -> bool {
        self.inode.as_ref().is_some_and(|dir| dir.caching() == Caching::Full)
            && !self.is_dead()
            && !self.detached.load(Ordering::Acquire)
    }

    fn cached(&self, name: &[u8]) -> Option<Arc<Self>> {
        let children = self.children.lock();
        let child = children.get(name)?;
        if !child.used.load(Ordering::Relaxed) {
            child.used.store(true, Ordering::Relaxed);
        }
        Some(child.clone())
    }

    /// Records that `name` is now `inode` (or absent). The mutex is held by the caller.
    pub fn add(self: &Arc<Self>, name: &[u8], inode: Option<Arc<dyn Inode>>) -> Arc<Self> {
        let child = Self::new(Some(self.clone()), name, inode);
        if self.keeps_names() {
            self.check(&child);
            let old = self.children.lock().insert(name.into(), child.clone());
            drop(old);
            remember(&child);
        }
        child
    }

    /// Keeps this dentry and those above in the cache, whatever their file system says: it is to be a mount
    /// point.
    pub(super) fn pin(self: &Arc<Self>) {
        let mut at = self.clone();
        while let Some(parent) = at.parent() {
            let name = at.name();
            parent.children.lock().entry(name.into()).or_insert_with(|| at.clone());
            at = parent;
        }
    }

    /// Nothing is mounted on it any more: where names are not to be kept they go. What went, to be dropped by the
    /// caller.
    pub(super) fn unpin(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut gone = Vec::new();
        let mut at = self.clone();
        while let Some(parent) = at.parent() {
            let kept = parent.inode.as_ref().is_some_and(|dir| dir.caching() == Caching::Full);
            let used = at.mounted.load(Ordering::Acquire) != 0 || !at.children.lock().is_empty();
            if kept || used {
                break;
            }
            let name = at.name();
            {
                let mut children = parent.children.lock();
                if children.get(name.as_slice()).is_some_and(|known| Arc::ptr_eq(known, &at)) {
                    gone.extend(children.remove(name.as_slice()));
                }
            }
            gone.push(core::mem::replace(&mut at, parent));
        }
        gone.push(at);
        gone
    }

    /// Records that `child` lost its name to a removal.
    pub fn remove(self: &Arc<Self>, name: &[u8], child: &Arc<Self>) {
        child.dead.store(true, Ordering::Release);
        let below = core::mem::take(&mut *child.children.lock());
        drop(below);
        self.add(name, None);
    }

    /// Records that `child` moved from `self`/`old` to `to`/`new`.
    pub fn moved(self: &Arc<Self>, old: &[u8], child: &Arc<Self>, to: &Arc<Self>, new: &[u8]) {
        let replaced = to.children.lock().remove(new);
        if let Some(replaced) = replaced.filter(|r| !Arc::ptr_eq(r, child)) {
            replaced.dead.store(true, Ordering::Release);
        }
        self.add(old, None);
        *child.place.lock() = Place { parent: Some(to.clone()), name: new.into() };
        if to.keeps_names() {
            to.check(child);
            to.children.lock().insert(new.into(), child.clone());
        }
    }

    /// Records that two names were exchanged.
    pub fn exchanged(
        self: &Arc<Self>,
        name: &[u8],
        child: &Arc<Self>,
        to: &Arc<Self>,
        other: &[u8],
        with: &Arc<Self>,
    ) {
        *child.place.lock() = Place { parent: Some(to.clone()), name: other.into() };
        *with.place.lock() = Place { parent: Some(self.clone()), name: name.into() };
        if self.keeps_names() && to.keeps_names() {
            to.check(child);
            self.check(with);
            to.children.lock().insert(other.into(), child.clone());
            self.children.lock().insert(name.into(), with.clone());
        }
    }

    /// Drops the cached child unless it is in use. The clock calls it.
    fn forget(&self, child: &Arc<Self>) -> Option<Arc<Self>> {
        let mut children = self.children.lock();
        let place = child.place.lock();
        // Two references: the parent's and the clock's.
        let idle = Arc::strong_count(child) == 2
            && children.get(&place.name).is_some_and(|known| Arc::ptr_eq(known, child));
        if idle { children.remove(&place.name) } else { None }
    }

    /// Number of cached children, for tests and statistics.
    #[must_use]
    pub fn cached_children(&self) -> usize {
        self.children.lock().len()
    }
}

/// Puts a new dentry on the clock, and lets it run when there are too many.
fn remember(dentry: &Arc<Dentry>) {
    let full = {
        let mut clock = CLOCK.lock();
        clock.push_back(Arc::downgrade(dentry));
        clock.len() > LIMIT
    };
    if full {
        sweep(SWEEP);
    }
}

/// Drops all dentries that nobody holds: what they stand for is scarce.
pub fn make_room() {
    // The first round clears the marks; a directory can go when what is in it has gone.
    for _ in 0..3 {
        let count = CLOCK.lock().len();
        sweep(count);
    }
}

/// Looks at `count` dentries and drops the unused among them.
pub fn sweep(count: usize) {
    for _ in 0..count {
        let Some(next) = CLOCK.lock().pop_front() else { return };
        let Some(dentry) = next.upgrade() else { continue };
        if dentry.is_dead() {
            continue;
        }
        let keep = dentry.used.swap(false, Ordering::Relaxed)
            || dentry.mounted.load(Ordering::Relaxed) != 0
            || !dentry.children.lock().is_empty();
        let dropped = if keep { None } else { dentry.parent().and_then(|parent| parent.forget(&dentry)) };
        if dropped.is_none() {
            CLOCK.lock().push_back(next);
        }
    }
}
