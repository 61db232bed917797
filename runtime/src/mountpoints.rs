//! Mount points on a read-only root.
//!
//! The sandbox process gets a read-only root as a read-only mount, so what the sentry would make there is made
//! here first, as runc makes it: with every name resolved inside the root, whatever its links say.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    sys::stat::{Mode, mkdirat},
};

/// Makes those of `points` (a destination, and whether a directory goes there) that are missing. What lies
/// beneath an earlier one is that mount's own matter.
pub(crate) fn make(root: BorrowedFd<'_>, points: &[(PathBuf, bool)]) -> Result<(), (usize, Errno)> {
    for (index, (point, directory)) in points.iter().enumerate() {
        if !points[..index].iter().any(|(earlier, _)| point.starts_with(earlier)) {
            make_one(root, point, *directory).map_err(|errno| (index, errno))?;
        }
    }
    Ok(())
}

fn make_one(root: BorrowedFd<'_>, point: &Path, directory: bool) -> Result<(), Errno> {
    let names: Vec<_> = point.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let mut parent = inside(root, Path::new("."))?;
    let mut path = PathBuf::new();
    for (index, name) in names.iter().enumerate() {
        path.push(name);
        parent = match inside(root, &path) {
            Err(Errno::ENOENT) => {
                let name = Path::new(name);
                if directory || index + 1 < names.len() {
                    mkdirat(parent.as_fd(), name, Mode::from_bits_truncate(0o755))?;
                } else {
                    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                    openat(parent.as_fd(), name, flags, Mode::from_bits_truncate(0o644))?;
                }
                inside(root, &path)?
            }
            found => found?,
        };
    }
    Ok(())
}

/// What a path means to a process whose root this is.
fn inside(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how)
}

/// Whether there is nothing at a path below `root`: no directory, or an empty one.
pub(crate) fn is_empty(root: BorrowedFd<'_>, path: &Path) -> bool {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) else { return true };
    let Ok(entries) = rustix::fs::Dir::new(directory) else { return false };
    entries.flatten().all(|entry| matches!(entry.file_name().to_bytes(), b"." | b".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn points_are_made_inside_the_root() {
        let base = std::env::temp_dir().join(format!("ringfence-points-{}", std::process::id()));
        let root = base.join("root");
        fs::create_dir_all(root.join("real")).unwrap();
        symlink("/real", root.join("link")).unwrap();
        symlink("../../..", root.join("out")).unwrap();
        let handle = fs::File::open(&root).unwrap();
        let points: Vec<_> = [("/proc", true), ("/link/a/b", true), ("/out/c", true), ("/etc/f", false)]
            .into_iter()
            .chain([("/proc/sub", true)])
            .map(|(path, directory)| (PathBuf::from(path), directory))
            .collect();
        make(handle.as_fd(), &points).unwrap();
        make(handle.as_fd(), &points).unwrap();
        assert!(root.join("proc").is_dir() && root.join("real/a/b").is_dir() && root.join("c").is_dir());
        assert!(root.join("etc/f").is_file());
        assert!(!root.join("proc/sub").exists() && !base.join("c").exists());
        for (path, empty) in [("/nothing", true), ("/real", false), ("/link/a/b", true), ("/out", false)] {
            assert_eq!(is_empty(handle.as_fd(), Path::new(path)), empty, "{path}");
        }
        fs::remove_dir_all(base).unwrap();
    }
}
