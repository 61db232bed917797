//! Tests of the logic of IPC objects.

use alloc::sync::Arc;

use super::{
    IPC_CREAT, IPC_EXCL, Namespace,
    ids::{Ids, Object},
    perm::Perm,
    shm,
};
use crate::{
    errno::Errno,
    mem,
    mm::{AddressSpace, MapFlags, MapRequest, Prot, VmaFlags},
    task::{
        cred::{Caps, Cred},
        namespace::Identity,
    },
};

fn user(id: u32) -> Cred {
    let effective = Caps::empty();
    Cred { uid: id, euid: id, fsuid: id, gid: id, egid: id, fsgid: id, effective, ..Cred::default() }
}

fn namespace() -> Arc<Namespace> {
    Arc::new(Namespace::new(Identity::fresh()))
}

fn segment(namespace: &Arc<Namespace>, key: i32, size: u64, flags: u32, cred: &Cred) -> Result<i32, Errno> {
    shm::get(namespace, key, size, flags, cred, |_| Ok(()))
}

/// Attaches; gives the address.
fn attach(namespace: &Arc<Namespace>, space: &AddressSpace, id: i32) -> u64 {
    let prot = Prot::READ | Prot::WRITE;
    let attachment = namespace.shm.lock().take(id, &Cred::default(), prot).unwrap();
    let request = MapRequest {
        addr: 0,
        len: attachment.size,
        prot,
        place: MapFlags::empty(),
        flags: VmaFlags::SHARED,
        backing: attachment.hold.backing(),
        offset: 0,
    };
    space.map(request).unwrap()
}

fn attached(namespace: &Namespace, id: i32) -> Option<u64> {
    namespace.shm.lock().ids().get(id).map(|record| record.attached)
}

/// An object that is nothing but its owner and mode.
fn plain(key: i32) -> Perm {
    Perm::new(key, 0, &user(1))
}

impl Object for Perm {
    fn perm(&self) -> &Perm {
        self
    }
}

#[test]
fn places_are_taken_in_turn_and_ids_not_soon_again() {
    let mut ids = Ids::new();
    assert_eq!(ids.add(1, 10, |_| plain(1)), Ok(0));
    assert_eq!(ids.add(2, 10, |_| plain(2)), Ok(1));
    for round in 0..200 {
        let id = ids.add(3, 3, |_| plain(3)).unwrap();
        assert_eq!(ids.add(4, 3, |_| plain(4)), Err(Errno::ENOSPC));
        assert!(ids.get(id).is_some() && ids.at(id).is_some());
        assert!((2..64).contains(&(id % 32768)), "{round}");
        assert!(ids.remove(id).is_some());
        assert!(ids.get(id).is_none());
    }
    assert_eq!(ids.highest(), 1);
    assert!(ids.get(-1).is_none() && ids.at(i32::MIN).is_none());
}

#[test]
fn permissions_are_those_of_the_place_that_one_has() {
    let perm = Perm::new(1, 0o640, &user(5));
    assert_eq!(perm.check(&user(5), 0o600), Ok(()));
    assert_eq!(perm.check(&user(5), 0o100), Err(Errno::EACCES));
    let member = Cred { groups: [5].into(), ..user(6) };
    assert_eq!(perm.check(&member, 0o444), Ok(()));
    assert_eq!(perm.check(&member, 0o222), Err(Errno::EACCES));
    assert_eq!(perm.check(&user(7), 0o004), Err(Errno::EACCES));
    assert_eq!(perm.check(&Cred { effective: Caps::IPC_OWNER, ..user(7) }, 0o777), Ok(()));
    assert_eq!(perm.check_owner(&member), Err(Errno::EPERM));
    assert_eq!(perm.check_owner(&Cred { effective: Caps::SYS_ADMIN, ..user(7) }), Ok(()));
}

#[test]
fn keys_find_segments() {
    let (namespace, cred) = (namespace(), user(1));
    assert_eq!(segment(&namespace, 7, 10, 0, &cred), Err(Errno::ENOENT));
    let id = segment(&namespace, 7, 10, IPC_CREAT | 0o600, &cred).unwrap();
    assert_eq!(segment(&namespace, 7, 10, 0o600, &cred), Ok(id));
    assert_eq!(segment(&namespace, 7, 0, 0, &cred), Ok(id));
    assert_eq!(segment(&namespace, 7, 11, 0, &cred), Err(Errno::EINVAL));
    assert_eq!(segment(&namespace, 7, 10, IPC_CREAT | IPC_EXCL, &cred), Err(Errno::EEXIST));
    assert_eq!(segment(&namespace, 7, 10, 0o004, &user(2)), Err(Errno::EACCES));
    assert_eq!(namespace.shm.lock().remove(id, &user(2)), Err(Errno::EPERM));
    assert_eq!(namespace.shm.lock().remove(id, &cred), Ok(()));
    assert_eq!(segment(&namespace, 7, 10, 0, &cred), Err(Errno::ENOENT));
    for size in [0, u64::MAX] {
        assert_eq!(segment(&namespace, 0, size, 0, &cred), Err(Errno::EINVAL));
    }
}

#[test]
fn areas_are_counted_and_the_last_takes_the_segment_with_it() {
    mem::init_for_tests();
    let (namespace, space) = (namespace(), AddressSpace::new().unwrap());
    let cred = Cred::default();
    let id = segment(&namespace, 7, 3 * 4096 - 1, IPC_CREAT | 0o600, &cred).unwrap();
    let addr = attach(&namespace, &space, id);
    assert_eq!(attached(&namespace, id), Some(1));
    let child = space.fork().unwrap();
    assert_eq!(attached(&namespace, id), Some(2));
    drop(child);
    assert_eq!(attached(&namespace, id), Some(1));
    space.protect(addr + 4096, 4096, Prot::READ, false).unwrap();
    assert_eq!(attached(&namespace, id), Some(3));
    space.protect(addr + 4096, 4096, Prot::READ | Prot::WRITE, false).unwrap();
    space.unmap(addr + 4096, 4096).unwrap();
    assert_eq!(attached(&namespace, id), Some(2));
    assert_eq!(namespace.shm.lock().remove(id, &cred), Ok(()));
    assert_eq!(segment(&namespace, 7, 1, 0, &cred), Err(Errno::ENOENT));
    assert_eq!(space.detach(addr + 4096), Err(Errno::EINVAL));
    assert_eq!(space.detach(addr), Ok(()));
    assert_eq!(attached(&namespace, id), None);
    assert_eq!(space.detach(addr), Err(Errno::EINVAL));
    assert_eq!(namespace.shm.lock().usage(), shm::Usage::default());
}

#[test]
fn a_space_may_outlive_the_namespace() {
    mem::init_for_tests();
    let (namespace, space) = (namespace(), AddressSpace::new().unwrap());
    let id = segment(&namespace, 0, 4096, 0o600, &Cred::default()).unwrap();
    let addr = attach(&namespace, &space, id);
    drop(namespace);
    assert_eq!(space.detach(addr), Ok(()));
}
