//! Users, groups, capabilities.

use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Args;
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    task::{
        cred::{Caps, Cred},
        current, tree,
    },
};

/// "Do not change."
const KEEP: u32 = u32::MAX;
/// Most supplementary groups.
const MAX_GROUPS: usize = 65_536;
/// `_LINUX_CAPABILITY_VERSION_3`, and the obsolete second.
const VERSION_3: u32 = 0x2008_0522;
const VERSION_2: u32 = 0x2007_1026;
const VERSION_1: u32 = 0x1998_0330;

/// Changes the caller's credentials.
fn change(f: impl FnOnce(&Cred, &mut Cred) -> Result<()>) -> Result<u64> {
    let me = current();
    let old = me.cred();
    let mut new = (*old).clone();
    f(&old, &mut new)?;
    if new.euid != old.euid
        || new.egid != old.egid
        || new.fsuid != old.fsuid
        || new.fsgid != old.fsgid
        || !old.permitted.contains(new.permitted)
    {
        me.process.dumpable.store(0, core::sync::atomic::Ordering::Relaxed);
        me.death_signal.store(0, core::sync::atomic::Ordering::Relaxed);
    }
    me.set_cred(new);
    Ok(0)
}

/// getuid(2).
pub fn getuid(_: &Args) -> Result<u64> {
    Ok(current().with_cred(|cred| u64::from(cred.uid)))
}

/// geteuid(2).
pub fn geteuid(_: &Args) -> Result<u64> {
    Ok(current().with_cred(|cred| u64::from(cred.euid)))
}

/// getgid(2).
pub fn getgid(_: &Args) -> Result<u64> {
    Ok(current().with_cred(|cred| u64::from(cred.gid)))
}

/// getegid(2).
pub fn getegid(_: &Args) -> Result<u64> {
    Ok(current().with_cred(|cred| u64::from(cred.egid)))
}

/// setuid(2).
pub fn setuid(args: &Args) -> Result<u64> {
    let uid = args.uint(0);
    if uid == KEEP {
        return Err(Errno::EINVAL);
    }
    change(|old, new| {
        if old.capable(Caps::SETUID) {
            (new.uid, new.suid) = (uid, uid);
        } else if uid != old.uid && uid != old.suid {
            return Err(Errno::EPERM);
        }
        (new.euid, new.fsuid) = (uid, uid);
        new.fix_caps_after_setuid(old);
        Ok(())
    })
}

/// setgid(2).
pub fn setgid(args: &Args) -> Result<u64> {
    let gid = args.uint(0);
    if gid == KEEP {
        return Err(Errno::EINVAL);
    }
    change(|old, new| {
        if old.capable(Caps::SETGID) {
            (new.gid, new.sgid) = (gid, gid);
        } else if gid != old.gid && gid != old.sgid {
            return Err(Errno::EPERM);
        }
        (new.egid, new.fsgid) = (gid, gid);
        Ok(())
    })
}

/// setreuid(2).
pub fn setreuid(args: &Args) -> Result<u64> {
    let (ruid, euid) = (args.uint(0), args.uint(1));
    change(|old, new| {
        let free = old.capable(Caps::SETUID);
        if ruid != KEEP {
            if !free && ruid != old.uid && ruid != old.euid {
                return Err(Errno::EPERM);
            }
            new.uid = ruid;
        }
        if euid != KEEP {
            if !free && ![old.uid, old.euid, old.suid].contains(&euid) {
                return Err(Errno::EPERM);
            }
            new.euid = euid;
        }
        if ruid != KEEP || euid != KEEP && euid != old.uid {
            new.suid = new.euid;
        }
        new.fsuid = new.euid;
        new.fix_caps_after_setuid(old);
        Ok(())
    })
}

/// setregid(2).
pub fn setregid(args: &Args) -> Result<u64> {
    let (rgid, egid) = (args.uint(0), args.uint(1));
    change(|old, new| {
        let free = old.capable(Caps::SETGID);
        if rgid != KEEP {
            if !free && rgid != old.gid && rgid != old.egid {
                return Err(Errno::EPERM);
            }
            new.gid = rgid;
        }
        if egid != KEEP {
            if !free && ![old.gid, old.egid, old.sgid].contains(&egid) {
                return Err(Errno::EPERM);
            }
            new.egid = egid;
        }
        if rgid != KEEP || egid != KEEP && egid != old.gid {
            new.sgid = new.egid;
        }
        new.fsgid = new.egid;
        Ok(())
    })
}

/// setresuid(2).
pub fn setresuid(args: &Args) -> Result<u64> {
    let wanted = [args.uint(0), args.uint(1), args.uint(2)];
    change(|old, new| {
        let have = [old.uid, old.euid, old.suid];
        if !old.capable(Caps::SETUID) && !wanted.iter().all(|id| *id == KEEP || have.contains(id)) {
            return Err(Errno::EPERM);
        }
        let pick = |index: usize| if wanted[index] == KEEP { have[index] } else { wanted[index] };
        (new.uid, new.euid, new.suid) = (pick(0), pick(1), pick(2));
        new.fsuid = new.euid;
        new.fix_caps_after_setuid(old);
        Ok(())
    })
}

/// setresgid(2).
pub fn setresgid(args: &Args) -> Result<u64> {
    let wanted = [args.uint(0), args.uint(1), args.uint(2)];
    change(|old, new| {
        let have = [old.gid, old.egid, old.sgid];
        if !old.capable(Caps::SETGID) && !wanted.iter().all(|id| *id == KEEP || have.contains(id)) {
            return Err(Errno::EPERM);
        }
        let pick = |index: usize| if wanted[index] == KEEP { have[index] } else { wanted[index] };
        (new.gid, new.egid, new.sgid) = (pick(0), pick(1), pick(2));
        new.fsgid = new.egid;
        Ok(())
    })
}

fn put_three(args: &Args, values: [u32; 3]) -> Result<u64> {
    for (index, value) in values.iter().enumerate() {
        uaccess::put(args.addr(index), value)?;
    }
    Ok(0)
}

/// getresuid(2).
pub fn getresuid(args: &Args) -> Result<u64> {
    put_three(args, current().with_cred(|cred| [cred.uid, cred.euid, cred.suid]))
}

/// getresgid(2).
pub fn getresgid(args: &Args) -> Result<u64> {
    put_three(args, current().with_cred(|cred| [cred.gid, cred.egid, cred.sgid]))
}

/// setfsuid(2): gives the old id, whatever happens.
pub fn setfsuid(args: &Args) -> Result<u64> {
    let uid = args.uint(0);
    let before = current().with_cred(|cred| cred.fsuid);
    let _ = change(|old, new| {
        let have = [old.uid, old.euid, old.suid, old.fsuid];
        if uid == KEEP || !old.capable(Caps::SETUID) && !have.contains(&uid) {
            return Err(Errno::EPERM);
        }
        new.fsuid = uid;
        new.fix_caps_after_setfsuid(old);
        Ok(())
    });
    Ok(u64::from(before))
}

/// setfsgid(2): gives the old id, whatever happens.
pub fn setfsgid(args: &Args) -> Result<u64> {
    let gid = args.uint(0);
    let before = current().with_cred(|cred| cred.fsgid);
    let _ = change(|old, new| {
        let have = [old.gid, old.egid, old.sgid, old.fsgid];
        if gid == KEEP || !old.capable(Caps::SETGID) && !have.contains(&gid) {
            return Err(Errno::EPERM);
        }
        new.fsgid = gid;
        Ok(())
    });
    Ok(u64::from(before))
}

/// getgroups(2).
pub fn getgroups(args: &Args) -> Result<u64> {
    let size = usize::try_from(args.int(0)).map_err(|_| Errno::EINVAL)?;
    let groups = current().cred();
    let groups = &groups.groups;
    if size != 0 {
        if size < groups.len() {
            return Err(Errno::EINVAL);
        }
        uaccess::copy_to_user(args.addr(1), groups.as_bytes())?;
    }
    Ok(groups.len() as u64)
}

/// setgroups(2).
pub fn setgroups(args: &Args) -> Result<u64> {
    if !current().with_cred(|cred| cred.capable(Caps::SETGID)) {
        return Err(Errno::EPERM);
    }
    let count = args.uint(0) as usize;
    if count > MAX_GROUPS {
        return Err(Errno::EINVAL);
    }
    let mut groups: Vec<u32> = Vec::new();
    groups.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    groups.resize(count, 0);
    uaccess::copy_from_user(groups.as_mut_bytes(), args.addr(1))?;
    groups.sort_unstable();
    change(|_, new| {
        new.groups = groups;
        Ok(())
    })
}

/// `struct __user_cap_header_struct`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

/// How many 32-bit parts the caller's version has. An unknown version is answered with the newest.
fn parts(addr: u64) -> Result<(usize, CapHeader, bool)> {
    let header: CapHeader = uaccess::get(addr)?;
    match header.version {
        VERSION_1 => Ok((1, header, true)),
        VERSION_2 | VERSION_3 => Ok((2, header, true)),
        _ => {
            uaccess::put(addr, &VERSION_3)?;
            Ok((2, header, false))
        }
    }
}

/// capget(2).
pub fn capget(args: &Args) -> Result<u64> {
    let (count, header, known) = parts(args.addr(0))?;
    if !known {
        return if args.addr(1) == 0 { Ok(0) } else { Err(Errno::EINVAL) };
    }
    let cred = match header.pid {
        0 => current().cred(),
        pid if pid < 0 => return Err(Errno::EINVAL),
        pid => tree::task(pid as u32).ok_or(Errno::ESRCH)?.cred(),
    };
    if args.addr(1) == 0 {
        return Ok(0);
    }
    let sets = [cred.effective, cred.permitted, cred.inheritable];
    for part in 0..count {
        let words = sets.map(|set| (set.bits() >> (32 * part)) as u32);
        uaccess::put(args.addr(1) + 12 * part as u64, &words)?;
    }
    Ok(0)
}

/// capset(2).
pub fn capset(args: &Args) -> Result<u64> {
    let (count, header, known) = parts(args.addr(0))?;
    if !known {
        return Err(Errno::EINVAL);
    }
    if header.pid != 0 && header.pid as u32 != current().tid() {
        return Err(Errno::EPERM);
    }
    let mut sets = [0u64; 3];
    for part in 0..count {
        let words: [u32; 3] = uaccess::get(args.addr(1) + 12 * part as u64)?;
        for (set, word) in sets.iter_mut().zip(words) {
            *set |= u64::from(word) << (32 * part);
        }
    }
    let [effective, permitted, inheritable] = sets.map(Caps::from_bits_truncate);
    change(|old, new| {
        let may_add = old.capable(Caps::SETPCAP);
        let valid = old.permitted.contains(permitted)
            && permitted.contains(effective)
            && (may_add || (old.inheritable | old.permitted).contains(inheritable))
            && (old.inheritable | old.bounding).contains(inheritable);
        if !valid {
            return Err(Errno::EPERM);
        }
        (new.effective, new.permitted, new.inheritable) = (effective, permitted, inheritable);
        new.ambient &= permitted & inheritable;
        Ok(())
    })
}
