//! The container's mount namespace, built from its specification.
//!
//! The root comes first, then the bundle's mounts in order. A mount point that does not exist is made, as runc
//! makes it; on a read-only root it is made too, before the root's flag takes effect (runc does the same).

use alloc::{string::String, sync::Arc, vec::Vec};
use hostcall::{MountKind, MountSpec, SandboxSpec};
use linux_raw_sys::general::{MS_BIND, MS_RDONLY, MS_REC, MS_REMOUNT, S_IFCHR, S_IFDIR, S_IFREG};

use super::{
    FsContext,
    dentry::Dentry,
    dev, devpts,
    hostfs::{self, HostFs, host::Vmm},
    inode::{Inode, NewNode},
    mount::{Mount, Namespace, Path},
    perm::Who,
    proc,
    stream::Console,
    sysfs,
    tmpfs::Tmpfs,
    walk::{Lookup, Walk},
};
use crate::{
    errno::{Errno, Result},
    mem::frame,
};

/// Flags that say how to mount, not what the mount is like.
const HOW: u64 = (MS_BIND | MS_REC | MS_REMOUNT) as u64;

/// Builds the namespace.
///
/// # Errors
/// The errno of the step that failed; the log names the mount.
pub fn init(spec: &SandboxSpec) -> Result<Arc<Namespace>> {
    let tree = HostFs::new(&Vmm, hostfs::windows(), true);
    let root = Dentry::root(tree.root(spec.root.handle)?);
    let mount = Mount::new(root, "ext4", "/dev/root", 0, "");
    let namespace = Namespace::new(mount.clone());
    for one in &spec.mounts {
        if let Err(error) = add(&namespace, one) {
            log::error!("mounting {}: {error}", String::from_utf8_lossy(&one.destination));
            return Err(error);
        }
    }
    if spec.root.readonly {
        mount.set_flags(mount.flags() | u64::from(MS_RDONLY));
    }
    Ok(namespace)
}

/// The terminal that the first process runs on, by its name.
///
/// # Errors
/// Those of making the name.
pub fn add_console(context: &FsContext, console: Arc<Console>) -> Result<()> {
    let namespace = context.namespace();
    let point = make_point(namespace, b"/dev/console", false)?;
    namespace.attach(&Mount::new(Dentry::root(console), "devpts", "devpts", 0, ""), &point)
}

fn add(namespace: &Arc<Namespace>, spec: &MountSpec) -> Result<()> {
    let (root, kind, data) = source(spec)?;
    let directory = root.is_dir();
    let is_dev = kind == "tmpfs" && spec.destination == b"/dev";
    let point = make_point(namespace, &spec.destination, directory)?;
    let source = String::from_utf8_lossy(&spec.source);
    let mount = Mount::new(Dentry::root(root.clone()), &kind, &source, spec.flags & !HOW, &data);
    namespace.attach(&mount, &point)?;
    if is_dev {
        fill_dev(&root)?;
    }
    Ok(())
}

/// The root of what is mounted, the name of its type, and the options that are shown.
fn source(spec: &MountSpec) -> Result<(Arc<dyn Inode>, String, String)> {
    let data = String::from_utf8_lossy(&spec.data).into_owned();
    match &spec.kind {
        MountKind::Host { handle } => {
            let tree = HostFs::new(&Vmm, hostfs::windows(), false);
            Ok((tree.root(*handle)?, "ext4".into(), data))
        }
        MountKind::Internal { fs } if fs == "devpts" => {
            let (root, options) = devpts::mount(&spec.data)?;
            Ok((root, fs.clone(), options))
        }
        MountKind::Internal { fs } => {
            let root: Arc<dyn Inode> = match fs.as_str() {
                "proc" => proc::root(),
                "sysfs" => sysfs::root(),
                "tmpfs" | "ramfs" | "mqueue" | "cgroup" | "cgroup2" | "devtmpfs" => {
                    tmpfs(&spec.data, if fs == "tmpfs" { 0o1777 } else { 0o755 })
                }
                _ => return Err(Errno::ENODEV),
            };
            // The sandbox has the unified hierarchy alone; runc mounts it under either name.
            let shown = if fs == "cgroup" { "cgroup2" } else { fs };
            Ok((root, shown.into(), data))
        }
    }
}

/// A tmpfs with its options.
fn tmpfs(data: &[u8], default_mode: u32) -> Arc<dyn Inode> {
    let (mut limit, mut mode, mut uid, mut gid) = (frame::stats().total / 2, default_mode, 0, 0);
    for option in data.split(|&b| b == b',') {
        let Ok(option) = core::str::from_utf8(option) else { continue };
        let Some((name, value)) = option.split_once('=') else { continue };
        match name {
            "size" => limit = parse_size(value).unwrap_or(limit),
            "mode" => mode = u32::from_str_radix(value, 8).unwrap_or(mode) & 0o7777,
            "uid" => uid = value.parse().unwrap_or(uid),
            "gid" => gid = value.parse().unwrap_or(gid),
            _ => {}
        }
    }
    Tmpfs::mount(limit, mode, uid, gid)
}

/// `64k`, `10%`, `1g`.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().ok()?;
    Some(match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => number,
        "k" => number << 10,
        "m" => number << 20,
        "g" => number << 30,
        "%" => frame::stats().total / 100 * number,
        _ => return None,
    })
}

/// Finds the mount point; makes it and what is missing above it.
fn make_point(namespace: &Arc<Namespace>, path: &[u8], directory: bool) -> Result<Path> {
    let root = namespace.root();
    let walk = Walk { root: root.clone(), start: root, who: Who::KERNEL };
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
