//! Who may look into whom: the rules of ptrace(2) that many calls and `/proc` share.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::{
    Task,
    cred::{Caps, Cred},
};

/// In which of the caller's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creds {
    /// Its real ids and permitted capabilities: of system calls.
    Real,
    /// Its ids and capabilities for files: of `/proc`.
    Files,
}

/// Whether `me` may look into `other`.
#[must_use]
pub fn may(me: &Task, other: &Task, creds: Creds) -> bool {
    if Arc::ptr_eq(&me.process, &other.process) {
        return true;
    }
    let dumpable = other.process.dumpable.load(Ordering::Relaxed) == 1;
    allowed(&me.cred(), &other.cred(), dumpable, creds)
}

fn allowed(own: &Cred, theirs: &Cred, dumpable: bool, creds: Creds) -> bool {
    if own.capable(Caps::SYS_PTRACE) {
        return true;
    }
    let (uid, gid, caps) = match creds {
        Creds::Real => (own.uid, own.gid, own.permitted),
        Creds::Files => (own.fsuid, own.fsgid, own.effective),
    };
    let same = [theirs.uid, theirs.euid, theirs.suid] == [uid; 3]
        && [theirs.gid, theirs.egid, theirs.sgid] == [gid; 3];
    same && dumpable && caps.contains(theirs.permitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32, caps: Caps) -> Cred {
        Cred { uid, euid: uid, suid: uid, fsuid: uid, effective: caps, permitted: caps, ..Cred::default() }
    }

    #[test]
    fn only_the_same_user_with_as_many_rights_looks_in() {
        let (none, some) = (Caps::empty(), Caps::KILL);
        let ask = |own: &Cred, theirs: &Cred| allowed(own, theirs, true, Creds::Files);
        assert!(ask(&user(1, none), &user(1, none)));
        assert!(!ask(&user(1, none), &user(2, none)));
        assert!(!ask(&user(1, none), &user(1, some)));
        assert!(!ask(&user(0, some), &user(1, none)), "root is nobody special");
        assert!(ask(&user(5, Caps::SYS_PTRACE), &user(1, some)));
        assert!(!allowed(&user(1, none), &user(1, none), false, Creds::Files));
        let fs = Cred { fsuid: 2, ..user(1, none) };
        assert!(ask(&fs, &user(2, none)) && !allowed(&fs, &user(2, none), true, Creds::Real));
    }
}
