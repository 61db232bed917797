//! Path walk: from a string to a [`Path`].
//!
//! As in Linux: at most 40 symbolic links; a trailing slash asks for a directory and follows a link; `..`
//! stops at the root; each directory on the way needs search permission; mounts are crossed both ways. The
//! `RESOLVE_*` limits of openat2 are flags here.

use alloc::sync::Arc;
use smallvec::SmallVec;

use super::{
    fresh,
    mount::Path,
    perm::{self, Who},
    protect,
};
use crate::errno::{Errno, Result};

/// Most symbolic links in one walk.
pub const MAX_LINKS: u32 = 40;
/// Longest name of a directory entry.
pub const NAME_MAX: usize = 255;
/// Longest path with its terminating zero.
pub const PATH_MAX: usize = 4096;

bitflags::bitflags! {
    /// How to walk.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Lookup: u32 {
        /// Follow a symbolic link at the end.
        const FOLLOW = 1;
        /// The result must be a directory.
        const DIRECTORY = 2;
        /// An empty path means the start.
        const EMPTY = 4;
        /// Stay on one mount.
        const NO_XDEV = 8;
        /// Refuse the links of `/proc` that are not text.
        const NO_MAGIC = 16;
        /// Refuse symbolic links.
        const NO_SYMLINKS = 32;
        /// Refuse to leave the start.
        const BENEATH = 64;
        /// Take the start as root.
        const IN_ROOT = 128;
    }
}

/// Where a walk begins and in whose name.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    /// The root directory.
    pub root: Path,
    /// Start of relative paths.
    pub start: Path,
    /// Who walks.
    pub who: Who<'a>,
    /// Permission bits that what is made does not get.
    pub umask: u32,
}

/// A name, short ones in place.
pub type Name = SmallVec<[u8; 40]>;

/// The end of a walk.
#[derive(Debug)]
pub struct Walked {
    /// The directory of the last component.
    pub parent: Path,
    /// The last component; `None` when it was `.`, `..` or absent.
    pub name: Option<Name>,
    /// What is there.
    pub found: Option<Path>,
    /// The path ended in a slash.
    pub slash: bool,
}

impl Walked {
    /// What is there.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn existing(self) -> Result<Path> {
        self.found.ok_or(Errno::ENOENT)
    }
}

/// A string being walked.
enum Text<'a> {
    Given(&'a [u8]),
    Link(Arc<[u8]>),
}

impl Text<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Given(bytes) => bytes,
            Self::Link(bytes) => bytes,
        }
    }
}

/// The strings still to be walked, innermost last, each with how far it was taken.
struct Rest<'a>(SmallVec<[(Text<'a>, usize); 2]>);

/// A component: its place in the top string, and what follows.
struct Component {
    start: usize,
    end: usize,
    /// Nothing but slashes follows.
    last: bool,
    /// A slash follows the last component.
    slash: bool,
}

impl Rest<'_> {
    /// Takes the next component; it lies in the top string.
    fn next(&mut self) -> Option<Component> {
        loop {
            let (text, at) = self.0.last_mut()?;
            let bytes = text.bytes();
            let Some(skip) = bytes[*at..].iter().position(|&b| b != b'/') else {
                self.0.pop();
                continue;
            };
            let start = *at + skip;
            let end = bytes[start..].iter().position(|&b| b == b'/').map_or(bytes.len(), |n| start + n);
            *at = end;
            let last = self.0.iter().all(|(text, at)| text.bytes()[*at..].iter().all(|&b| b == b'/'));
            let slash = last && self.0.iter().any(|(text, at)| *at < text.bytes().len());
            return Some(Component { start, end, last, slash });
        }
    }

    fn component(&self, part: &Component) -> &[u8] {
        self.0.last().map_or(b"", |(text, _)| &text.bytes()[part.start..part.end])
    }
}

impl Walk<'_> {
    /// Finds what `path` names.
    ///
    /// # Errors
    /// As path_resolution(7).
    pub fn resolve(&self, path: &[u8], flags: Lookup) -> Result<Path> {
        let walked = self.walk(path, flags)?;
        let found = walked.existing()?;
        if flags.contains(Lookup::DIRECTORY) && !found.inode()?.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(found)
    }

    /// Walks to the end of `path`, whose last component need not exist.
    ///
    /// # Errors
    /// As path_resolution(7).
    pub fn walk(&self, path: &[u8], flags: Lookup) -> Result<Walked> {
        if path.is_empty() {
            if !flags.contains(Lookup::EMPTY) {
                return Err(Errno::ENOENT);
            }
            let here = self.start.clone();
            return Ok(Walked { parent: here.clone(), name: None, found: Some(here), slash: false });
        }
        fresh::look();
        let confined = flags.intersects(Lookup::BENEATH | Lookup::IN_ROOT);
        let root = if confined { &self.start } else { &self.root };
        let mut at = if path[0] == b'/' { self.jump_to_root(root, flags)? } else { self.start.clone() };
        let mut rest = Rest(SmallVec::new());
        rest.0.push((Text::Given(path), 0));
        let mut links = 0;
        loop {
            let Some(part) = rest.next() else {
                let found = Some(at.clone());
                return Ok(Walked { parent: at, name: None, found, slash: true });
            };
            let dir = at.inode()?;
            if !dir.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            perm::check(&**dir, &self.who, perm::EXEC)?;
            let name = rest.component(&part);
            if name == b"." || name == b".." {
                if name.len() == 2 {
                    if flags.contains(Lookup::BENEATH) && at == *root {
                        return Err(Errno::EXDEV);
                    }
                    let up = at.up(root);
                    self.check_mount(&at, &up, flags)?;
                    at = up;
                }
                if part.last {
                    return Ok(Walked { parent: at.clone(), name: None, found: Some(at), slash: part.slash });
                }
                continue;
            }
            if name.len() > NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            let dentry = at.dentry.lookup(name)?;
            let Ok(inode) = dentry.inode() else {
                if !part.last {
                    return Err(Errno::ENOENT);
                }
                return Ok(Walked {
                    name: Some(Name::from_slice(name)),
                    parent: at,
                    found: None,
                    slash: part.slash,
                });
            };
            if inode.is_link() && (!part.last || part.slash || flags.contains(Lookup::FOLLOW)) {
                links += 1;
                if links > MAX_LINKS || flags.contains(Lookup::NO_SYMLINKS) || at.mount.is_nosymfollow() {
                    return Err(Errno::ELOOP);
                }
                if part.last && inode.magic_link().is_none() {
                    protect::check_follow(&dir.access()?, &inode.access()?, &self.who)?;
                }
                if let Some(target) = inode.magic_link() {
                    if flags.contains(Lookup::NO_MAGIC) || confined {
                        return Err(if confined { Errno::EXDEV } else { Errno::ELOOP });
                    }
                    let target = target?;
                    self.check_mount(&at, &target, flags)?;
                    at = target;
                    if part.last {
                        if part.slash && !at.inode()?.is_dir() {
                            return Err(Errno::ENOTDIR);
                        }
                        return Ok(Walked {
                            parent: at.clone(),
                            name: None,
                            found: Some(at),
                            slash: part.slash,
                        });
                    }
                    continue;
                }
                let target = inode.readlink()?;
                match target.first() {
                    None => return Err(Errno::ENOENT),
                    Some(b'/') => at = self.jump_to_root(root, flags)?,
                    Some(_) => {}
                }
                rest.0.push((Text::Link(target), 0));
                continue;
            }
            let next = Path { mount: at.mount.clone(), dentry }.cross();
            self.check_mount(&at, &next, flags)?;
            if part.last {
                if part.slash && !next.inode()?.is_dir() {
                    return Err(Errno::ENOTDIR);
                }
                return Ok(Walked {
                    name: Some(Name::from_slice(name)),
                    parent: at,
                    found: Some(next),
                    slash: part.slash,
                });
            }
            at = next;
        }
    }

    fn jump_to_root(&self, root: &Path, flags: Lookup) -> Result<Path> {
        if flags.contains(Lookup::BENEATH) {
            return Err(Errno::EXDEV);
        }
        self.check_mount(&self.start, root, flags)?;
        Ok(root.clone())
    }

    fn check_mount(&self, from: &Path, to: &Path, flags: Lookup) -> Result<()> {
        if flags.contains(Lookup::NO_XDEV) && !Arc::ptr_eq(&from.mount, &to.mount) {
            return Err(Errno::EXDEV);
        }
        Ok(())
    }
}
