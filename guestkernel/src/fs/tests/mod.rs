//! Unit and property tests of the file systems on the host.

mod devpts;
mod fdtable;
mod host;
mod hostfs;
mod outside;
mod overlay;
mod pipe;
mod tmpfs;
mod unnamed;
mod walk;

use std::{sync::Arc, vec::Vec};

use super::{
    dentry::Dentry,
    file::File,
    mount::{Mount, Namespace, Path},
    perm::Who,
    tmpfs::Tmpfs,
    walk::{Lookup, Walk},
};
use crate::{
    errno::Result,
    uio::{Sink, Source},
};

/// A namespace whose root is a fresh tmpfs, and a walk in the kernel's name.
fn world() -> (Arc<Namespace>, Walk<'static>) {
    crate::mem::init_for_tests();
    let root = Dentry::root(Tmpfs::mount(16 << 20, 0o755, 0, 0));
    let namespace = Namespace::new(Mount::new(root, "tmpfs", "none", 0, ""));
    let root: Path = namespace.root();
    (namespace, Walk { start: root.clone(), root, who: Who::KERNEL, umask: 0 })
}

/// Creates a file with contents.
fn put(walk: &Walk<'_>, path: &str, bytes: &[u8]) -> Result<Arc<File>> {
    use linux_raw_sys::general::{O_CREAT, O_RDWR};
    let file = walk.open(path.as_bytes(), O_CREAT | O_RDWR, 0o644, Lookup::empty())?;
    write(&file, bytes)?;
    Ok(file)
}

fn write(file: &File, bytes: &[u8]) -> Result<usize> {
    file.write(&mut Source::Kernel(bytes))
}

fn read(file: &File, len: usize) -> Result<Vec<u8>> {
    let mut bytes = std::vec![0; len];
    let done = file.read(&mut Sink::Kernel(&mut bytes))?;
    bytes.truncate(done);
    Ok(bytes)
}

fn pread(file: &File, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = std::vec![0; len];
    let done = file.pread(&mut Sink::Kernel(&mut bytes), offset)?;
    bytes.truncate(done);
    Ok(bytes)
}

/// Names in a directory, as read piece by piece.
fn names(walk: &Walk<'_>, path: &str) -> Result<Vec<Vec<u8>>> {
    use linux_raw_sys::general::O_DIRECTORY;
    let dir = walk.open(path.as_bytes(), O_DIRECTORY, 0, Lookup::empty())?;
    let (mut all, mut cookie) = (Vec::new(), 0);
    loop {
        let before = all.len();
        dir.ops().read_dir(&dir, cookie, &mut |entry| {
            if all.len() - before == 3 {
                return false;
            }
            all.push(entry.name.to_vec());
            cookie = entry.next;
            true
        })?;
        if all.len() == before {
            all.sort();
            return Ok(all);
        }
    }
}
