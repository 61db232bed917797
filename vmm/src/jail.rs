//! The jail of a sandbox process.
//!
//! Everything that the sandbox may reach on the host is a descriptor. Trees are cloned first (`open_tree`):
//! each clone is a mount of its own whose top is the tree's root, so that even `..` from such a descriptor
//! leads nowhere. Then the process gets mount, IPC, UTS and cgroup namespaces of its own and an empty,
//! read-only root, and loses every capability; only the [broker](crate::broker)'s thread keeps five. No network namespace is
//! made: the seccomp filter lets no socket be created, and making one costs more than the rest of the jail together.

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{CWD, Mode},
    io::Errno,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags},
    process::{DumpableBehavior, Resource, Rlimit},
    thread::{CapabilitySet, CapabilitySets, UnshareFlags},
};

use crate::error::{Context, Error};

/// Descriptors that the process itself needs beside the sentry's handles.
const OWN_DESCRIPTORS: u64 = 256;
/// Most descriptors.
const MAX_DESCRIPTORS: u64 = 65_536;

/// Clones a tree into a mount of its own.
pub(crate) fn clone_tree(tree: impl AsFd) -> Result<OwnedFd, Error> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(tree, c"", flags).system("clone a host tree for the jail")
}

/// A mount of nothing but this process's descriptors.
pub(crate) fn descriptors() -> Result<OwnedFd, Error> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, c"/proc/self/fd", flags).system("clone /proc/self/fd for the jail")
}

/// Leaves the host's namespaces for an empty root, and gives up what only privileges could regain.
pub(crate) fn enter() -> Result<(), Error> {
    let flags = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    // SAFETY: the descriptor table stays shared; only namespaces change.
    unsafe { rustix::thread::unshare_unsafe(flags) }.system("unshare namespaces")?;
    rustix::mount::mount_change(
        c"/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )
    .system("make mounts private")?;
    let tmpfs = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).system("fsopen tmpfs")?;
    rustix::mount::fsconfig_set_string(tmpfs.as_fd(), c"size", c"4096").system("size the jail's root")?;
    rustix::mount::fsconfig_create(tmpfs.as_fd()).system("make the jail's root")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = rustix::mount::fsmount(tmpfs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .system("mount the jail's root")?;
    rustix::mount::move_mount(&root, c"", CWD, c"/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .system("attach the jail's root")?;
    rustix::process::fchdir(&root).system("enter the jail")?;
    rustix::process::pivot_root(c".", c".").system("pivot into the jail")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).system("leave the host's mounts")?;
    rustix::process::chdir(c"/").system("enter the jail")?;
    set_bounds()
}

/// Sets limits, and says how many handles the sentry may have.
pub(crate) fn limits() -> Result<usize, Error> {
    rustix::process::umask(Mode::empty());
    let files = rustix::process::getrlimit(Resource::Nofile);
    let most = files.maximum.map_or(MAX_DESCRIPTORS, |max| max.max(MAX_DESCRIPTORS));
    let raised = Rlimit { current: Some(MAX_DESCRIPTORS), maximum: Some(MAX_DESCRIPTORS) };
    let most = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => most.min(MAX_DESCRIPTORS),
        Err(_) => files.maximum.unwrap_or(MAX_DESCRIPTORS).min(files.current.unwrap_or(MAX_DESCRIPTORS)),
    };
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).system("limit core files")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).system("make undumpable")?;
    Ok(usize::try_from(most.saturating_sub(OWN_DESCRIPTORS)).unwrap_or(0))
}

/// Forbids further threads and processes; the kernel does not enforce it for the superuser, the filter does.
pub(crate) fn no_more_threads() -> Result<(), Error> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Nproc, none).system("limit processes")
}

/// Sees to it that no capability can be gained: `no_new_privs`, an empty bounding set, an empty ambient set.
fn set_bounds() -> Result<(), Error> {
    rustix::thread::set_no_new_privs(true).system("set no_new_privs")?;
    for number in 0..64 {
        // SAFETY: PR_CAPBSET_DROP takes a number and no pointer.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } != 0 {
            let error = std::io::Error::last_os_error();
            match Errno::from_io_error(&error) {
                // The first number that this kernel does not know.
                Some(Errno::INVAL) => break,
                // Not privileged: nothing to drop.
                Some(Errno::PERM) => break,
                _ => return Err(Error::System { what: "drop bounding capabilities", source: error }),
            }
        }
    }
    rustix::thread::clear_ambient_capability_set().system("clear ambient capabilities")
}

/// Drops every capability of the calling thread but these, for good.
pub(crate) fn keep_capabilities(kept: CapabilitySet) -> Result<(), Error> {
    let kept = kept & rustix::thread::capabilities(None).system("read capabilities")?.permitted;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).system("drop capabilities")
}

/// Drops every capability of the calling thread and those that it starts, for good.
pub(crate) fn drop_capabilities() -> Result<(), Error> {
    keep_capabilities(CapabilitySet::empty())
}
