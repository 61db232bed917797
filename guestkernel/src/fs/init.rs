//! The container's mount namespace, built from its specification.
//!
//! The root comes first, then the bundle's mounts in order. A mount point that does not exist is made, as runc
//! makes it; on a read-only root it is made too, before the root's flag takes effect (runc does the same).

use alloc::{string::String, sync::Arc, vec::Vec};
use hostcall::{MountKind, MountSpec, NodeSpec, SandboxSpec, SetAttr, SetAttrValid};
use linux_raw_sys::general::{MS_RDONLY, MS_REC, S_IFCHR, S_IFDIR, S_IFREG};

use super::{
    cgroupfs,
    dentry::Dentry,
    dev,
    fstypes::{self, Options},
    hostfs::{self, HostFs, host::Vmm},
    inode::{Inode, NewNode},
    mount::{self, Mount, Namespace, OF_FILE_SYSTEM, Path, Super, propagate::Kind, tree},
    overlay::Overlay,
    perm::Who,
    tmpfs::Tmpfs,
    walk::{Lookup, Walk},
};
use crate::{
    errno::{Errno, Result},
    mem::frame,
};

/// Builds the namespace.
///
/// # Errors
/// The errno of the step that failed; the log names the mount.
pub fn init(spec: &SandboxSpec) -> Result<Arc<Namespace>> {
    let tree = HostFs::new(&Vmm, hostfs::windows(), true);
    let root = tree.root(spec.root.handle)?;
    let mount = match spec.root.overlay {
        None => Mount::new(Dentry::root(root), "ext4", "/dev/root", mount::own_flags(0), ""),
        Some(size) => {
            let root = Dentry::root(Overlay::mount(root, size)?);
            Mount::new(root, "overlay", "overlay", mount::own_flags(0), "")
        }
    };
    let namespace = Namespace::new(mount.clone());
    for one in &spec.mounts {
        if let Err(error) = add(&namespace, one) {
            log::error!("mounting {}: {error}", String::from_utf8_lossy(&one.destination));
            return Err(error);
        }
    }
    for node in &spec.nodes {
        if let Err(error) = add_node(&namespace, node) {
            log::error!("making {}: {error}", String::from_utf8_lossy(&node.path));
            return Err(error);
        }
    }
    if spec.root.readonly {
        mount.set_flags(mount.flags() | u64::from(MS_RDONLY))?;
    }
    Ok(namespace)
}

/// The terminal that the first process runs on, by its name.
///
/// # Errors
/// Those of making the name.
pub fn add_console(namespace: &Arc<Namespace>, terminal: &Path) -> Result<()> {
    let point = make_point(namespace, b"/dev/console", false)?;
    namespace.bind(terminal, &point, false)
}

/// Makes a device node. One that the sentry knows nothing of cannot be opened (`ENXIO`), as where there is no driver.
fn add_node(namespace: &Arc<Namespace>, spec: &NodeSpec) -> Result<()> {
    let root = namespace.root();
    let walk = Walk { root: root.clone(), start: root, who: Who::KERNEL, umask: 0 };
    let cut = spec.path.iter().rposition(|&byte| byte == b'/').ok_or(Errno::EINVAL)?;
    if cut != 0 {
        make_point(namespace, &spec.path[..cut], true)?;
    }
    match walk.mknod(&spec.path, spec.mode, dev::make(spec.major.into(), spec.minor.into())) {
        // What every container has is in its place already.
        Err(Errno::EEXIST) => return Ok(()),
        made => made?,
    };
    let change = SetAttr {
        valid: (SetAttrValid::MODE | SetAttrValid::UID | SetAttrValid::GID).bits(),
        mode: spec.mode & 0o7777,
        uid: spec.uid,
        gid: spec.gid,
        ..SetAttr::default()
    };
    walk.resolve(&spec.path, Lookup::empty())?.inode()?.set_attr(&change)
}

fn add(namespace: &Arc<Namespace>, spec: &MountSpec) -> Result<()> {
    if matches!(spec.kind, MountKind::Masked | MountKind::ReadOnly) {
        return cover(namespace, spec);
    }
    let fs = file_system(spec)?;
    let root = fs.root.inode()?.clone();
    let point = make_point(namespace, &spec.destination, root.is_dir())?;
    let source = String::from_utf8_lossy(&spec.source);
    let mount = Mount::of(fs.clone(), fs.root.clone(), &source, mount::own_flags(spec.flags));
    namespace.attach(&mount, &point)?;
    if fs.kind == "tmpfs" && spec.destination == b"/dev" {
        fill_dev(&root)?;
    }
    let recursive = spec.flags & u64::from(MS_REC) != 0;
    for kind in [Kind::Shared, Kind::Slave, Kind::Private, Kind::Unbindable] {
        if spec.flags & u64::from(kind.flag()) != 0 {
            tree::change_sharing(&Path::root_of(&mount), kind, recursive)?;
        }
    }
    Ok(())
}

/// Hides what is at a place, or makes it read-only; as runc does it: a file by `/dev/null`, a directory by an empty
/// one.
fn cover(namespace: &Arc<Namespace>, spec: &MountSpec) -> Result<()> {
    let root = namespace.root();
    let walk = Walk { root: root.clone(), start: root, who: Who::KERNEL, umask: 0 };
    let at = match walk.resolve(&spec.destination, Lookup::FOLLOW) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        found => found?,
    };
    if spec.kind == MountKind::ReadOnly {
        namespace.bind(&at, &at, true)?;
        let covered = at.cross();
        return covered.mount.set_flags(covered.mount.flags() | u64::from(MS_RDONLY));
    }
    if !at.inode()?.is_dir() {
        return namespace.bind(&walk.resolve(b"/dev/null", Lookup::FOLLOW)?, &at, false);
    }
    let mut options = Options::new(fstypes::Kind::Tmpfs);
    options.flags.0 = MS_RDONLY.into();
    let fs = options.create()?;
    let mount = Mount::of(fs.clone(), fs.root.clone(), "tmpfs", mount::own_flags(MS_RDONLY.into()));
    namespace.attach(&mount, &at)
}

/// What is mounted.
fn file_system(spec: &MountSpec) -> Result<Arc<Super>> {
    let kind = match &spec.kind {
        MountKind::Host { handle, overlay: None } => {
            let tree = HostFs::new(&Vmm, hostfs::windows(), false);
            return Ok(Super::new(Dentry::root(tree.root(*handle)?), "ext4", 0, ""));
        }
        MountKind::Host { handle, overlay: Some(size) } => {
            // Nobody is to change what is below an overlay.
            let tree = HostFs::new(&Vmm, hostfs::windows(), true);
            let root = Overlay::mount(tree.root(*handle)?, *size)?;
            return Ok(Super::new(Dentry::root(root), "overlay", 0, ""));
        }
        MountKind::Internal { fs } => fs.as_str(),
        MountKind::Masked | MountKind::ReadOnly => return Err(Errno::EINVAL),
    };
    if let Ok(kind) = fstypes::Kind::by_name(kind.as_bytes()) {
        let mut options = Options::new(kind);
        options.flags.0 = spec.flags & OF_FILE_SYSTEM;
        if matches!(kind, fstypes::Kind::Tmpfs | fstypes::Kind::Devpts) {
            options.set_all(&spec.data)?;
        }
        return options.create();
    }
    match kind {
        // The sandbox has the unified hierarchy alone; runc mounts it under either name.
        "cgroup" | "cgroup2" => Ok(Super::new(Dentry::root(cgroupfs::root()), "cgroup2", spec.flags, "")),
        "mqueue" | "devtmpfs" => {
            let mode = if kind == "mqueue" { 0o1777 } else { 0o755 };
            let root = Dentry::root(Tmpfs::mount(frame::stats().total / 2, mode, 0, 0));
            Ok(Super::new(root, kind, spec.flags, ""))
        }
        _ => Err(Errno::ENODEV),
    }
}

/// Finds the mount point; makes it and what is missing above it.
fn make_point(namespace: &Arc<Namespace>, path: &[u8], directory: bool) -> Result<Path> {
    let root = namespace.root();
    let walk = Walk { root: root.clone(), start: root, who: Who::KERNEL, umask: 0 };
    match walk.resolve(path, Lookup::FOLLOW) {
        Err(Errno::ENOENT) => {}
        found => return found,
    }
    let parts: Vec<&[u8]> = path.split(|&b| b == b'/').filter(|part| !part.is_empty()).collect();
    let mut prefix = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        prefix.push(b'/');
        prefix.extend_from_slice(part);
        let last = index + 1 == parts.len();
        let made = if last && !directory {
            walk.mknod(&prefix, S_IFREG | 0o644, 0).map(drop)
        } else {
            walk.mkdir(&prefix, S_IFDIR | 0o755)
        };
        match made {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
    }
    walk.resolve(path, Lookup::FOLLOW)
}

/// What a fresh `/dev` holds.
fn fill_dev(root: &Arc<dyn Inode>) -> Result<()> {
    for (name, major, minor, mode) in dev::NODES {
        root.mknod(name, NewNode { mode: S_IFCHR | mode, uid: 0, gid: 0 }, dev::make(major, minor))?;
    }
    for (name, target) in dev::LINKS {
        root.symlink(name, target, NewNode { mode: 0o777, uid: 0, gid: 0 })?;
    }
    Ok(())
}
