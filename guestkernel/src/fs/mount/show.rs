//! The tables of mounts in `/proc/PID`.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt::Write;
use linux_raw_sys::general::{
    MS_DIRSYNC, MS_LAZYTIME, MS_MANDLOCK, MS_NOATIME, MS_NODEV, MS_NODIRATIME, MS_NOEXEC, MS_NOSUID,
    MS_NOSYMFOLLOW, MS_RDONLY, MS_RELATIME, MS_SYNCHRONOUS,
};

use super::{Mount, Namespace, Path};

/// Flags of a mount by their names.
const OWN: [(u32, &str); 7] = [
    (MS_NOSUID, ",nosuid"),
    (MS_NODEV, ",nodev"),
    (MS_NOEXEC, ",noexec"),
    (MS_NOATIME, ",noatime"),
    (MS_NODIRATIME, ",nodiratime"),
    (MS_RELATIME, ",relatime"),
    (MS_NOSYMFOLLOW, ",nosymfollow"),
];

/// Flags of a file system by their names.
const OF_FILE_SYSTEM: [(u32, &str); 4] =
    [(MS_SYNCHRONOUS, ",sync"), (MS_DIRSYNC, ",dirsync"), (MS_MANDLOCK, ",mand"), (MS_LAZYTIME, ",lazytime")];

fn names(flags: u64, table: &[(u32, &str)]) -> String {
    table.iter().filter(|(bit, _)| flags & u64::from(*bit) != 0).map(|(_, name)| *name).collect()
}

const fn access(readonly: bool) -> &'static str {
    if readonly { "ro" } else { "rw" }
}

/// A name with the characters that separate fields escaped; `more` are others to escape.
fn escaped(bytes: &[u8], more: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in bytes {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\\') || more.contains(&byte) {
            out.extend_from_slice(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]);
        } else {
            out.push(byte);
        }
    }
    out
}

/// The options of the file system's type, with a comma before them.
fn options(mount: &Mount) -> String {
    let options = mount.fs.options();
    if options.is_empty() { options } else { alloc::format!(",{options}") }
}

fn source(mount: &Mount) -> Vec<u8> {
    escaped(if mount.source.is_empty() { "none" } else { &mount.source }.as_bytes(), b"#")
}

/// Mounts below `root`, with their places.
fn visible(namespace: &Namespace, root: &Path) -> Vec<(Arc<Mount>, Vec<u8>)> {
    let place = |mount: Arc<Mount>| {
        let (name, inside) = Path::root_of(&mount).absolute(root);
        inside.then(|| (mount, escaped(&name, b"")))
    };
    namespace.mounts().into_iter().filter_map(place).collect()
}

/// `/proc/PID/mounts`.
#[must_use]
pub fn mounts(namespace: &Namespace, root: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    for (mount, place) in visible(namespace, root) {
        let line = alloc::format!(
            " {} {}{}{}{} 0 0\n",
            mount.fs.kind,
            access(mount.is_readonly()),
            names(mount.fs.flags(), &OF_FILE_SYSTEM),
            names(mount.flags(), &OWN),
            options(&mount)
        );
        out.extend(source(&mount));
        out.push(b' ');
        out.extend(place);
        out.extend(line.into_bytes());
    }
    out
}

/// The name of the mount's root in its file system.
#[must_use]
pub fn root_name(mount: &Mount) -> Vec<u8> {
    let mut parts = Vec::new();
    let mut at = mount.root.clone();
    while let Some(parent) = at.parent() {
        parts.push(at.name());
        at = parent;
    }
    if parts.is_empty() {
        let name = at.name();
        return if name.is_empty() { b"/".to_vec() } else { name };
    }
    let mut out = Vec::new();
    for part in parts.iter().rev() {
        out.push(b'/');
        out.extend_from_slice(part);
    }
    if mount.root.is_dead() {
        out.extend_from_slice(b"//deleted");
    }
    out
}

/// `/proc/PID/mountinfo`.
#[must_use]
pub fn mountinfo(namespace: &Namespace, root: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    for (mount, place) in visible(namespace, root) {
        let parent = mount.mount_point().map_or(mount.id, |point| point.mount.id);
        let dev = mount.root.inode().and_then(|inode| inode.attr()).map_or(0, |attr| attr.dev);
        let (major, minor) = (dev >> 8 & 0xfff, (dev & 0xff) | (dev >> 12 & 0xfff00));
        out.extend(alloc::format!("{} {parent} {major}:{minor} ", mount.id).into_bytes());
        out.extend(escaped(&root_name(&mount), b""));
        out.push(b' ');
        out.extend(place);
        let readonly = |flags: u64| access(flags & u64::from(MS_RDONLY) != 0);
        let mut rest = alloc::format!(" {}{}", readonly(mount.flags()), names(mount.flags(), &OWN));
        {
            let sharing = mount.sharing.lock();
            for (name, group) in [("shared", &sharing.group), ("master", &sharing.master)] {
                if let Some(group) = group {
                    let _ = write!(rest, " {name}:{}", group.id);
                }
            }
            if sharing.unbindable {
                rest.push_str(" unbindable");
            }
        }
        let _ = write!(rest, " - {} ", mount.fs.kind);
        out.extend(rest.into_bytes());
        out.extend(source(&mount));
        let flags = mount.fs.flags();
        let of_type = options(&mount);
        out.extend(
            alloc::format!(" {}{}{of_type}\n", readonly(flags), names(flags, &OF_FILE_SYSTEM)).into_bytes(),
        );
    }
    out
}

/// `/proc/PID/mountstats`.
#[must_use]
pub fn mountstats(namespace: &Namespace, root: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    for (mount, place) in visible(namespace, root) {
        out.extend_from_slice(b"device ");
        out.extend(source(&mount));
        out.extend_from_slice(b" mounted on ");
        out.extend(place);
        out.extend(alloc::format!(" with fstype {}\n", mount.fs.kind).into_bytes());
    }
    out
}
