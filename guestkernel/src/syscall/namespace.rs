//! Namespaces.

use alloc::sync::Arc;

use super::{
    Args,
    at::{self, open_file},
};
use crate::{
    errno::{Errno, Result},
    fs::{
        nsfs::{self, Namespace},
        pidfd::PidFd,
    },
    task::{
        Task,
        clone::{self, Flags},
        cred::Caps,
        current,
        namespace::{self, Kind, Namespaces},
    },
};

/// Gives the caller a descriptor of a namespace.
///
/// # Errors
/// `EMFILE`, `ENOMEM`.
pub(crate) fn install(kind: Kind, of: Arc<Namespaces>) -> Result<u64> {
    at::install(nsfs::open(kind, of)?, true)
}

/// setns(2).
///
/// # Errors
/// As setns(2).
pub fn setns(args: &Args) -> Result<u64> {
    let file = open_file(args.int(0))?;
    let me = current();
    let wanted = args.uint(1);
    if let Some(namespace) = file.downcast::<Namespace>() {
        let flag = namespace.kind.flag();
        if wanted != 0 && u64::from(wanted) != flag.bits() {
            return Err(Errno::EINVAL);
        }
        return join(&me, flag, namespace.of.clone()).map(|()| 0);
    }
    let pidfd = file.downcast::<PidFd>().ok_or(Errno::EINVAL)?;
    let flags = Flags::from_bits_truncate(wanted.into());
    if flags.bits() != u64::from(wanted)
        || flags.is_empty()
        || !(Flags::NAMESPACES | Flags::NEWTIME).contains(flags)
    {
        return Err(Errno::EINVAL);
    }
    join(&me, flags, pidfd.task()?.namespaces()).map(|()| 0)
}

/// Takes over the namespaces that `flags` say.
fn join(me: &Task, flags: Flags, from: Arc<Namespaces>) -> Result<()> {
    // Nobody enters the users' namespace that it is in, and there is one.
    if flags.contains(Flags::NEWUSER) {
        return Err(Errno::EINVAL);
    }
    if !me.with_cred(|cred| cred.capable(Caps::SYS_ADMIN)) {
        return Err(Errno::EPERM);
    }
    if !(namespace::NEW | Flags::NEWNET | Flags::NEWPID).contains(flags) {
        return Err(Errno::EINVAL);
    }
    let mut new = me.namespaces();
    for kind in [Kind::Uts, Kind::Ipc, Kind::Cgroup] {
        if flags.contains(kind.flag()) {
            new = new.join(kind, &from);
        }
    }
    if flags.contains(Flags::NEWNS) {
        join_mounts(me, &from)?;
        new = new.join(Kind::Mount, &from);
    }
    if flags.contains(Flags::NEWIPC) {
        me.undo_semaphores();
    }
    me.set_namespaces(new);
    Ok(())
}

/// Root and working directory become the root of other mounts.
fn join_mounts(me: &Task, from: &Namespaces) -> Result<()> {
    if !me.with_cred(|cred| cred.capable(Caps::SYS_CHROOT)) {
        return Err(Errno::EPERM);
    }
    let fs = me.fs()?;
    // Where others share them they cannot move: the task has one reference, `fs` is the other.
    if Arc::strong_count(&fs) > 2 {
        return Err(Errno::EINVAL);
    }
    let root = from.mounts.root();
    fs.set_cwd(root.clone());
    fs.set_root(root);
    Ok(())
}

/// unshare(2).
pub fn unshare(args: &Args) -> Result<u64> {
    let flags = Flags::from_bits(args.0[0]).ok_or(Errno::EINVAL)?;
    let known = Flags::NAMESPACES
        | Flags::NEWTIME
        | Flags::FS
        | Flags::FILES
        | Flags::THREAD
        | Flags::SIGHAND
        | Flags::VM
        | Flags::SYSVSEM;
    if !known.contains(flags) {
        return Err(Errno::EINVAL);
    }
    clone::unshare(flags).map(|()| 0)
}
