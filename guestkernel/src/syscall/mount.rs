//! mount(2), umount2(2), pivot_root(2).

use alloc::{string::String, sync::Arc, vec::Vec};
use linux_raw_sys::general::{
    MNT_DETACH, MNT_EXPIRE, MNT_FORCE, MS_BIND, MS_MGC_MSK, MS_MGC_VAL, MS_MOVE, MS_NOATIME, MS_NODIRATIME,
    MS_NOUSER, MS_PRIVATE, MS_RDONLY, MS_REC, MS_RELATIME, MS_REMOUNT, MS_SHARED, MS_SILENT, MS_SLAVE,
    MS_STRICTATIME, MS_UNBINDABLE,
};

use super::{
    Args,
    at::{Caller, FDCWD, only, path},
};
use crate::{
    errno::{Errno, Result},
    fs::{
        Path,
        fstypes::{Kind, Options},
        mount::{self, ATIME, Mount, Namespace, OF_FILE_SYSTEM, propagate, tree},
        perm::cap,
        walk::Lookup,
    },
    task::{self, current},
};

const UMOUNT_NOFOLLOW: u32 = 8;

/// The caller's mounts.
pub(super) fn namespace() -> Arc<Namespace> {
    current().namespaces().mounts.clone()
}

/// Whether the caller may change mounts.
pub(super) fn check_right(caller: &Caller) -> Result<()> {
    if caller.who().capable(cap::SYS_ADMIN) { Ok(()) } else { Err(Errno::EPERM) }
}

/// A string that may be left out.
fn optional(addr: u64) -> Result<Option<Vec<u8>>> {
    if addr == 0 {
        return Ok(None);
    }
    match path(addr) {
        Ok(text) => Ok(Some(text.to_vec())),
        Err(Errno::ENAMETOOLONG) => Err(Errno::EINVAL),
        Err(error) => Err(error),
    }
}

/// The kind of sharing that exactly one flag asks for.
pub(super) fn sharing(flags: u64) -> Result<propagate::Kind> {
    use propagate::Kind;
    let kinds = [Kind::Shared, Kind::Private, Kind::Slave, Kind::Unbindable];
    kinds.into_iter().find(|kind| flags == u64::from(kind.flag())).ok_or(Errno::EINVAL)
}

/// mount(2).
///
/// # Errors
/// As mount(2).
pub fn mount(args: &Args) -> Result<u64> {
    let kind = optional(args.addr(2))?;
    let source = optional(args.addr(0))?;
    let data = optional(args.addr(4))?;
    let name = path(args.addr(1))?;
    let caller = Caller::new()?;
    let at = caller.walk(FDCWD, &name)?.resolve(&name, Lookup::FOLLOW)?;
    let mut flags = args.0[3];
    let has = |flags: u64, flag: u32| flags & u64::from(flag) != 0;
    if flags & u64::from(MS_MGC_MSK) == u64::from(MS_MGC_VAL) {
        flags &= !u64::from(MS_MGC_MSK);
    }
    if has(flags, MS_NOUSER) {
        return Err(Errno::EINVAL);
    }
    check_right(&caller)?;
    let mut own = mount::own_flags(flags);
    if has(flags, MS_REMOUNT)
        && flags & u64::from(MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME) == 0
    {
        own = own & !ATIME | at.mount.flags() & ATIME;
    }
    let namespace = namespace();
    let from = || {
        let name = source.as_deref().filter(|name| !name.is_empty()).ok_or(Errno::EINVAL)?;
        caller.walk(FDCWD, name)?.resolve(name, Lookup::FOLLOW)
    };
    if has(flags, MS_REMOUNT) {
        remount(&namespace, &at, flags, own, data.as_deref())?;
    } else if has(flags, MS_BIND) {
        namespace.bind(&from()?, &at, has(flags, MS_REC))?;
    } else if has(flags, MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE) {
        if !at.is_mounted() {
            return Err(Errno::EINVAL);
        }
        let kind = sharing(flags & !u64::from(MS_REC | MS_SILENT))?;
        tree::change_sharing(&at, kind, has(flags, MS_REC))?;
    } else if has(flags, MS_MOVE) {
        namespace.relocate(&from()?, &at)?;
    } else {
        let kind = Kind::by_name(&kind.ok_or(Errno::EINVAL)?)?;
        let mut options = Options::new(kind);
        options.flags.0 = flags & OF_FILE_SYSTEM;
        options.set_all(data.as_deref().unwrap_or_default())?;
        let source =
            options.source.clone().or_else(|| source.map(|text| String::from_utf8_lossy(&text).into()));
        let fs = options.create()?;
        let mount = Mount::of(fs.clone(), fs.root.clone(), source.as_deref().unwrap_or("none"), own);
        namespace.attach(&mount, &at)?;
    }
    Ok(0)
}

/// Changes the flags of the mount, and without `MS_BIND` the options of the file system too.
fn remount(namespace: &Arc<Namespace>, at: &Path, flags: u64, own: u64, data: Option<&[u8]>) -> Result<()> {
    if !at.is_mounted() || !at.mount.is_in(namespace) {
        return Err(Errno::EINVAL);
    }
    if flags & u64::from(MS_BIND) != 0 {
        return at.mount.set_flags(own);
    }
    let data = data.unwrap_or_default();
    match Options::of(&at.mount.fs) {
        Some(old) => {
            let mut new = old.clone();
            new.flags = (flags & OF_FILE_SYSTEM, OF_FILE_SYSTEM);
            new.set_all(data)?;
            new.apply(&at.mount.fs, &old)?;
        }
        // The host's options are not the container's to change.
        None if !data.is_empty() => return Err(Errno::EINVAL),
        None => at.mount.fs.set_flags(flags)?,
    }
    at.mount.set_flags(own)
}

/// umount2(2).
///
/// # Errors
/// As umount2(2).
pub fn umount2(args: &Args) -> Result<u64> {
    let flags = args.uint(1);
    only(flags, MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW)?;
    let name = path(args.addr(0))?;
    let lookup = if flags & UMOUNT_NOFOLLOW != 0 { Lookup::empty() } else { Lookup::FOLLOW };
    let (at, root) = {
        let caller = Caller::new()?;
        let at = caller.walk(FDCWD, &name)?.resolve(&name, lookup)?;
        check_right(&caller)?;
        (at, caller.fs.root())
    };
    let namespace = namespace();
    let is_root = Arc::ptr_eq(&at.mount, &root.mount);
    drop(root);
    namespace.check_unmount(&at)?;
    if flags & MNT_EXPIRE != 0 {
        if is_root || flags & (MNT_FORCE | MNT_DETACH) != 0 {
            return Err(Errno::EINVAL);
        }
        namespace.expire(at)?;
    } else if is_root && flags & MNT_DETACH == 0 {
        // The root cannot go: it becomes read-only.
        at.mount.fs.set_flags(at.mount.fs.flags() | u64::from(MS_RDONLY))?;
    } else {
        namespace.unmount(at, flags & MNT_DETACH != 0)?;
    }
    Ok(0)
}

/// pivot_root(2).
///
/// # Errors
/// As pivot_root(2).
pub fn pivot_root(args: &Args) -> Result<u64> {
    let caller = Caller::new()?;
    check_right(&caller)?;
    let dir = |addr| {
        let name = path(addr)?;
        caller.walk(FDCWD, &name)?.resolve(&name, Lookup::FOLLOW | Lookup::DIRECTORY)
    };
    let new = dir(args.addr(0))?;
    let old = dir(args.addr(1))?;
    let root = caller.fs.root();
    namespace().pivot(&root, &new, &old)?;
    task::for_each_process(|process| {
        for task in process.threads() {
            if let Ok(fs) = task.fs() {
                fs.replace(&root, &new);
            }
        }
    });
    Ok(0)
}
