//! System V IPC: what the three kinds share.

use alloc::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    errno::{Errno, Result},
    ipc::{Namespace, ids::PLACES, perm::Perm},
    task::current,
};

/// Remove the object.
pub(super) const IPC_RMID: i32 = 0;
/// Change its owner and mode.
pub(super) const IPC_SET: i32 = 1;
/// Tell of it.
pub(super) const IPC_STAT: i32 = 2;
/// Tell of the limits.
pub(super) const IPC_INFO: i32 = 3;

/// `struct ipc64_perm`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct UserPerm {
    key: i32,
    /// Owner.
    pub(super) uid: u32,
    /// Its group.
    pub(super) gid: u32,
    cuid: u32,
    cgid: u32,
    /// Permissions, and bits of its kind.
    pub(super) mode: u32,
    round: u16,
    pad: [u16; 3],
    unused: [u64; 2],
}

impl UserPerm {
    /// Of the object with this id.
    pub(super) fn new(id: i32, perm: &Perm) -> Self {
        let &Perm { key, uid, gid, cuid, cgid, mode } = perm;
        let round = (id as u32 / PLACES) as u16;
        Self { key, uid, gid, cuid, cgid, mode, round, ..Self::default() }
    }

    /// What `IPC_SET` takes of it.
    pub(super) const fn to_set(self) -> (u32, u32, u32) {
        (self.uid, self.gid, self.mode)
    }
}

/// The caller's IPC namespace.
pub(super) fn namespace() -> Arc<Namespace> {
    current().namespaces().ipc.clone()
}

/// Refuses ids and commands that are never right.
pub(super) const fn check(id: i32, command: i32) -> Result<()> {
    if id < 0 || command < 0 { Err(Errno::EINVAL) } else { Ok(()) }
}
