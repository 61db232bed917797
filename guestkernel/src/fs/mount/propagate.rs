//! What mounts share: a change on a mount is repeated on its peers and on those that follow them.
//!
//! A [`Group`] is a set of peers. A mount is in at most one (`shared:`), and follows at most one (`master:`).
//! All of it changes under the lock of trees.

use alloc::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Weak},
    vec::Vec,
};

use linux_raw_sys::general::{MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE};

use super::{super::dentry::Dentry, Mount, tree::copy_tree};
use crate::{errno::Result, sync::SpinLock};

/// Peers.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: u32,
    members: SpinLock<Vec<Weak<Mount>>>,
    /// Those that follow it.
    followers: SpinLock<Vec<Weak<Mount>>>,
}

static IDS: SpinLock<BTreeSet<u32>> = SpinLock::new(BTreeSet::new());

impl Drop for Group {
    fn drop(&mut self) {
        IDS.lock().remove(&self.id);
    }
}

impl Group {
    fn new() -> Arc<Self> {
        let mut ids = IDS.lock();
        let mut id = 1;
        for taken in ids.iter() {
            if *taken != id {
                break;
            }
            id += 1;
        }
        ids.insert(id);
        Arc::new(Self { id, members: SpinLock::new(Vec::new()), followers: SpinLock::new(Vec::new()) })
    }

    fn living(list: &SpinLock<Vec<Weak<Mount>>>) -> Vec<Arc<Mount>> {
        list.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

fn remove(list: &SpinLock<Vec<Weak<Mount>>>, mount: &Arc<Mount>) {
    list.lock().retain(|other| !core::ptr::eq(other.as_ptr(), Arc::as_ptr(mount)));
}

/// What a mount shares.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    pub(super) group: Option<Arc<Group>>,
    pub(super) master: Option<Arc<Group>>,
    pub(super) unbindable: bool,
}

/// The kinds that mount(2) sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Changes go both ways.
    Shared,
    /// No changes go anywhere.
    Private,
    /// Changes come in and do not go out.
    Slave,
    /// As private, and it cannot be shown elsewhere.
    Unbindable,
}

impl Kind {
    /// The `MS_*` that asks for it.
    #[must_use]
    pub const fn flag(self) -> u32 {
        match self {
            Self::Shared => MS_SHARED,
            Self::Private => MS_PRIVATE,
            Self::Slave => MS_SLAVE,
            Self::Unbindable => MS_UNBINDABLE,
        }
    }
}

/// How to copy mounts.
#[derive(Clone, Debug)]
pub(super) struct Copying {
    /// Unbindable ones too.
    pub(super) with_unbindable: bool,
    /// The copies follow the originals.
    follow: bool,
    /// The copies are shared, if not with the originals then with each other.
    share: bool,
}

impl Copying {
    /// As the originals.
    pub(super) const PLAIN: Self = Self { with_unbindable: false, follow: false, share: false };
    /// For a new namespace.
    pub(super) const NAMESPACE: Self = Self { with_unbindable: true, follow: false, share: false };
}

pub(super) fn is_shared(mount: &Arc<Mount>) -> bool {
    mount.sharing.lock().group.is_some()
}

pub(super) fn is_unbindable(mount: &Arc<Mount>) -> bool {
    mount.sharing.lock().unbindable
}

fn group_of(mount: &Arc<Mount>) -> Option<Arc<Group>> {
    mount.sharing.lock().group.clone()
}

fn join(mount: &Arc<Mount>, group: Arc<Group>) {
    group.members.lock().push(Arc::downgrade(mount));
    mount.sharing.lock().group = Some(group);
}

fn follow(mount: &Arc<Mount>, master: Option<Arc<Group>>) {
    let old = mount.sharing.lock().master.take();
    if let Some(old) = old {
        remove(&old.followers, mount);
    }
    if let Some(master) = &master {
        master.followers.lock().push(Arc::downgrade(mount));
    }
    mount.sharing.lock().master = master;
}

/// Makes the mount shared.
pub(super) fn share(mount: &Arc<Mount>) {
    mount.sharing.lock().unbindable = false;
    if !is_shared(mount) {
        join(mount, Group::new());
    }
}

/// Leaves the group; those that followed a group which is empty now follow its master.
fn part(mount: &Arc<Mount>) -> Option<Arc<Group>> {
    let group = mount.sharing.lock().group.take()?;
    remove(&group.members, mount);
    if !Group::living(&group.members).is_empty() {
        return Some(group);
    }
    let master = mount.sharing.lock().master.clone();
    for follower in Group::living(&group.followers) {
        follow(&follower, master.clone());
    }
    None
}

/// Sets the kind.
pub(super) fn change(mount: &Arc<Mount>, kind: Kind) {
    if kind == Kind::Shared {
        return share(mount);
    }
    let rest = part(mount);
    if kind == Kind::Slave {
        if rest.is_some() {
            follow(mount, rest);
        }
    } else {
        follow(mount, None);
    }
    if kind != Kind::Slave {
        mount.sharing.lock().unbindable = kind == Kind::Unbindable;
    }
}

/// It is taken away: it shares nothing any more.
pub(super) fn leave(mount: &Arc<Mount>) {
    change(mount, Kind::Private);
}

/// What a copy shares.
pub(super) fn inherit(copy: &Arc<Mount>, from: &Arc<Mount>, how: &Copying) {
    let (group, master, unbindable) = {
        let sharing = from.sharing.lock();
        (sharing.group.clone(), sharing.master.clone(), sharing.unbindable)
    };
    if how.follow {
        follow(copy, group.or(master));
    } else {
        if let Some(group) = group {
            join(copy, group);
        }
        follow(copy, master);
        copy.sharing.lock().unbindable = unbindable && how.with_unbindable;
    }
    if how.share {
        share(copy);
    }
}

/// Whether `dentry` is seen through the mount.
fn sees(mount: &Arc<Mount>, dentry: &Arc<Dentry>) -> bool {
    mount.root.is_ancestor_of(dentry)
}

/// A mount and what is to be mounted on it.
pub(super) type Pair = (Arc<Mount>, Arc<Mount>);

/// Copies of `source` for all that see what is mounted on `dentry` of `place`, each with the mount that it goes
/// onto.
///
/// # Errors
/// `ENOSPC`; what was made is in `made` even so.
pub(super) fn copies(
    place: &Arc<Mount>,
    dentry: &Arc<Dentry>,
    source: &Arc<Mount>,
    made: &mut Vec<Pair>,
) -> Result<()> {
    let mut add = |on: &Arc<Mount>, model: &Arc<Mount>, how: &Copying| -> Result<Arc<Mount>> {
        let copy = copy_tree(model, &model.root, how)?;
        made.push((on.clone(), copy.clone()));
        Ok(copy)
    };
    let peers = Copying { with_unbindable: true, ..Copying::PLAIN };
    let mut queue = VecDeque::new();
    queue.extend(group_of(place).map(|group| (group, source.clone(), place.clone())));
    let mut seen: Vec<Arc<Group>> = queue.iter().map(|(group, ..)| group.clone()).collect();
    while let Some((group, model, done)) = queue.pop_front() {
        for peer in Group::living(&group.members) {
            if !Arc::ptr_eq(&peer, &done) && sees(&peer, dentry) {
                add(&peer, &model, &peers)?;
            }
        }
        for follower in Group::living(&group.followers) {
            let own = group_of(&follower);
            let how = Copying { with_unbindable: true, follow: true, share: own.is_some() };
            let Some(own) = own else {
                if sees(&follower, dentry) {
                    add(&follower, &model, &how)?;
                }
                continue;
            };
            if seen.iter().any(|other| Arc::ptr_eq(other, &own)) {
                continue;
            }
            seen.push(own.clone());
            let first = Group::living(&own.members).into_iter().find(|member| sees(member, dentry));
            match first {
                Some(first) => {
                    let copy = add(&first, &model, &how)?;
                    queue.push_back((own, copy, first));
                }
                None => queue.push_back((own, model.clone(), follower)),
            }
        }
    }
    Ok(())
}

/// Every mount that a change on `place` is repeated on.
fn reached(place: &Arc<Mount>) -> Vec<Arc<Mount>> {
    let mut groups: Vec<Arc<Group>> = group_of(place).into_iter().collect();
    let mut mounts: Vec<Arc<Mount>> = Vec::new();
    let mut next = 0;
    while let Some(group) = groups.get(next).cloned() {
        next += 1;
        mounts.extend(Group::living(&group.members).into_iter().filter(|peer| !Arc::ptr_eq(peer, place)));
        for follower in Group::living(&group.followers) {
            match group_of(&follower) {
                Some(own) if groups.iter().any(|other| Arc::ptr_eq(other, &own)) => {}
                Some(own) => groups.push(own),
                None => mounts.push(follower),
            }
        }
    }
    mounts
}

/// Mounts that go when `mount` does.
pub(super) fn counterparts(mount: &Arc<Mount>) -> Vec<Arc<Mount>> {
    let Some(point) = mount.mount_point() else { return Vec::new() };
    reached(&point.mount).iter().filter_map(|place| place.mounted_at(&point.dentry)).collect()
}

/// Those that go when `tree` does: itself and the copies of it elsewhere, as far as nothing else is mounted on
/// them.
pub(super) fn unmounted(tree: Vec<Arc<Mount>>) -> Vec<Arc<Mount>> {
    let mut gone = tree.clone();
    for mount in tree.iter().rev() {
        for other in counterparts(mount) {
            let known = |mount: &Arc<Mount>| gone.iter().any(|one| Arc::ptr_eq(one, mount));
            let free =
                other.below.lock().iter().all(|(at, child)| known(child) || Arc::ptr_eq(at, &other.root));
            let locked = other.locked.load(core::sync::atomic::Ordering::Relaxed);
            if free && !locked && !known(&other) {
                gone.push(other);
            }
        }
    }
    gone
}
