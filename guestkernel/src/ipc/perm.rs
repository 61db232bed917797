//! Who may do what with an object: svipc(7), "Resource access permissions".

use crate::{
    errno::{Errno, Result},
    task::cred::{Caps, Cred},
};

/// Bits of a mode that are permissions.
pub const MODE: u32 = 0o777;
/// Read, for whoever it is.
pub const READ: u32 = 0o444;
/// Write (of semaphores: alter), for whoever it is.
pub const WRITE: u32 = 0o222;
/// Execute, for whoever it is.
pub const EXEC: u32 = 0o111;

/// An object's owner and mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Perm {
    /// Finds it; `IPC_PRIVATE` = nothing does.
    pub key: i32,
    /// Owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Who made it.
    pub cuid: u32,
    /// The maker's group.
    pub cgid: u32,
    /// Permissions, and bits of its kind.
    pub mode: u32,
}

impl Perm {
    /// Of an object that `cred` makes with the flags of the call.
    #[must_use]
    pub const fn new(key: i32, flags: u32, cred: &Cred) -> Self {
        let (uid, gid) = (cred.euid, cred.egid);
        Self { key, uid, gid, cuid: uid, cgid: gid, mode: flags & MODE }
    }

    const fn owned_by(&self, cred: &Cred) -> bool {
        cred.euid == self.uid || cred.euid == self.cuid
    }

    /// Whether `cred` has the rights that `wanted` names, in whichever of its three places.
    ///
    /// # Errors
    /// `EACCES`.
    pub fn check(&self, cred: &Cred, wanted: u32) -> Result<()> {
        let wanted = wanted >> 6 | wanted >> 3 | wanted;
        let granted = if self.owned_by(cred) {
            self.mode >> 6
        } else if cred.in_group(self.cgid) || cred.in_group(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        let enough = wanted & !granted & 7 == 0 || cred.capable(Caps::IPC_OWNER);
        if enough { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Whether `cred` may change or remove it.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn check_owner(&self, cred: &Cred) -> Result<()> {
        if self.owned_by(cred) || cred.capable(Caps::SYS_ADMIN) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// `IPC_SET`: owner and permissions become those given.
    ///
    /// # Errors
    /// `EINVAL` for ids that nobody has.
    pub fn set(&mut self, uid: u32, gid: u32, mode: u32) -> Result<()> {
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        (self.uid, self.gid) = (uid, gid);
        self.mode = self.mode & !MODE | mode & MODE;
        Ok(())
    }
}
