//! Names of an overlay's directories.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use linux_raw_sys::general::{O_RDONLY, RENAME_EXCHANGE, S_IFDIR, S_IFLNK};

use super::OverlayInode;
use crate::{
    errno::{Errno, Result},
    fs::{
        file::{File, FileOps},
        inode::{Dirent, Inode, NewNode, dirent_kind},
        tmpfs::Tmpfs,
    },
    mem::frame,
    sync::SpinLock,
    uio::Sink,
};

/// Names that differ from those below.
#[derive(Default)]
pub(super) struct Names {
    entries: BTreeMap<Box<[u8]>, Entry>,
    next: u64,
}

struct Entry {
    /// What is there; nothing is a whiteout.
    node: Option<Arc<OverlayInode>>,
    /// The name is below as well.
    covers: bool,
    /// Grows from one to the next.
    order: u64,
}

impl Names {
    /// Takes everything out.
    pub(super) fn take(&mut self, fs: &Tmpfs) -> Vec<Arc<OverlayInode>> {
        let entries = core::mem::take(&mut self.entries);
        fs.discharge_names(entries.len() as u64);
        entries.into_values().filter_map(|entry| entry.node).collect()
    }
}

/// What a directory holds, as it is read.
type Listing = Vec<(u64, u8, Box<[u8]>)>;

/// Bytes that an entry of a listing takes, its name apart.
const ENTRY: u64 = 64;

impl OverlayInode {
    /// What is called `name`.
    ///
    /// # Errors
    /// `ENOENT`, those of what is below.
    pub(super) fn find(&self, name: &[u8]) -> Result<Arc<Self>> {
        if let Some(entry) = self.names.lock().entries.get(name) {
            return entry.node.clone().ok_or(Errno::ENOENT);
        }
        let lower = self.lower().ok_or(Errno::ENOENT)?.lookup(name)?;
        let attr = lower.access()?;
        Ok(self.fs.inode(lower, &attr))
    }

    /// Makes `name` lead to `node`; the directory is above.
    pub(super) fn put(&self, name: &[u8], node: Arc<Self>) -> Result<()> {
        self.set(name, Some(node), false)?;
        self.raise()?.names_changed();
        Ok(())
    }

    /// Takes a name away that is there; the directory is above.
    pub(super) fn take_away(&self, name: &[u8]) -> Result<()> {
        self.set(name, None, true)?;
        self.raise()?.names_changed();
        Ok(())
    }

    /// Sets what a name leads to. One that has no entry is below if it is there (`there`).
    fn set(&self, name: &[u8], node: Option<Arc<Self>>, there: bool) -> Result<()> {
        let fs = &self.fs.upper;
        let mut names = self.names.lock();
        let order = names.next;
        names.next += 1;
        let old = if let Some(entry) = names.entries.get_mut(name) {
            if node.is_none() && !entry.covers {
                fs.discharge_names(1);
                names.entries.remove(name).and_then(|entry| entry.node)
            } else {
                entry.order = order;
                core::mem::replace(&mut entry.node, node)
            }
        } else {
            fs.charge_name()?;
            names.entries.insert(name.into(), Entry { node, covers: there, order });
            None
        };
        drop(names);
        drop(old);
        Ok(())
    }

    /// Makes a new node.
    pub(super) fn make(
        &self,
        name: &[u8],
        new: NewNode,
        rdev: u64,
        target: Option<Arc<[u8]>>,
    ) -> Result<Arc<dyn Inode>> {
        let dir = self.raise()?;
        let upper = self.fs.upper.loose(new, rdev, target)?;
        if !matches!(Inode::kind(&*upper), S_IFLNK) {
            dir.hand_down(&upper)?;
        }
        let made = Self::made(self.fs.clone(), upper);
        self.put(name, made.clone())?;
        if Inode::kind(&*made) == S_IFDIR {
            self.link_count_changed(1);
        }
        Ok(made)
    }

    /// Renames; the VFS has checked that types agree and that nothing moves below itself.
    pub(super) fn move_name(&self, old: &[u8], to: &Self, new: &[u8], flags: u32) -> Result<()> {
        let source = self.find(old)?;
        let target = match to.find(new) {
            Err(Errno::ENOENT) => None,
            found => Some(found?),
        };
        let dirs = |inode: &Arc<Self>| i64::from(Inode::kind(&**inode) == S_IFDIR);
        self.raise()?;
        to.raise()?;
        if flags & RENAME_EXCHANGE != 0 {
            let target = target.ok_or(Errno::ENOENT)?;
            let delta = dirs(&target) - dirs(&source);
            self.set(old, Some(target.clone()), true)?;
            if let Err(error) = to.set(new, Some(source.clone()), true) {
                // An entry is there now, so that this takes nothing.
                self.set(old, Some(source), true)?;
                return Err(error);
            }
            self.link_count_changed(delta);
            to.link_count_changed(-delta);
            source.link_count_changed(0);
            target.link_count_changed(0);
        } else {
            if let Some(target) = target.as_ref().filter(|target| dirs(target) != 0) {
                target.check_empty()?;
            }
            to.set(new, Some(source.clone()), target.is_some())?;
            if let Err(error) = self.set(old, None, true) {
                to.set(new, target, true)?;
                return Err(error);
            }
            if let Some(target) = target {
                target.link_count_changed(-1 - dirs(&target));
                to.link_count_changed(-dirs(&target));
            }
            self.link_count_changed(-dirs(&source));
            to.link_count_changed(dirs(&source));
            source.link_count_changed(0);
        }
        self.raise()?.names_changed();
        to.raise()?.names_changed();
        Ok(())
    }

    /// Calls `emit` for each name below that no name above replaces.
    fn each_below(&self, emit: &mut dyn FnMut(&Dirent<'_>) -> bool) -> Result<()> {
        let Some(lower) = self.lower() else { return Ok(()) };
        let ops = lower.clone().open(O_RDONLY)?;
        let file = File::anonymous(ops.clone(), lower, b"", O_RDONLY);
        ops.read_dir(&file, 0, &mut |entry| {
            let replaced = self.names.lock().entries.contains_key(entry.name);
            replaced || emit(entry)
        })
    }

    /// # Errors
    /// `ENOTEMPTY`.
    pub(super) fn check_empty(&self) -> Result<()> {
        if self.names.lock().entries.values().any(|entry| entry.node.is_some()) {
            return Err(Errno::ENOTEMPTY);
        }
        let mut empty = true;
        self.each_below(&mut |_| {
            empty = false;
            false
        })?;
        if empty { Ok(()) } else { Err(Errno::ENOTEMPTY) }
    }

    /// Everything that it holds.
    fn listing(&self) -> Result<Listing> {
        let mut listing = Listing::new();
        let mut full = false;
        let mut push = |listing: &mut Listing, ino, kind, name: &[u8]| {
            let fits = frame::has_room_for(ENTRY + name.len() as u64) && listing.try_reserve(1).is_ok();
            if fits {
                listing.push((ino, kind, name.into()));
            }
            full |= !fits;
            fits
        };
        self.each_below(&mut |entry| push(&mut listing, entry.ino, entry.kind, entry.name))?;
        let mut own: Vec<(u64, Box<[u8]>, Arc<Self>)> = {
            let names = self.names.lock();
            let entries = names.entries.iter();
            entries
                .filter_map(|(name, entry)| Some((entry.order, name.clone(), entry.node.clone()?)))
                .collect()
        };
        own.sort_unstable_by_key(|(order, ..)| *order);
        for (_, name, node) in own {
            push(&mut listing, node.number(), dirent_kind(Inode::kind(&*node)), &name);
        }
        if full { Err(Errno::ENOMEM) } else { Ok(listing) }
    }
}

/// An open directory. Where names differ from those below, what it holds is put together when it is read from its
/// beginning; a position is then a place in that list.
pub(super) struct OverlayDir {
    inode: Arc<OverlayInode>,
    reading: SpinLock<Reading>,
}

#[derive(Clone, Default)]
enum Reading {
    #[default]
    Nothing,
    /// What is below, as it is.
    Below(Arc<File>),
    Listing(Arc<Listing>),
}

impl OverlayDir {
    pub(super) fn new(inode: Arc<OverlayInode>) -> Self {
        Self { inode, reading: SpinLock::new(Reading::Nothing) }
    }

    /// What a reader at `cookie` reads.
    fn reading(&self, cookie: u64) -> Result<Reading> {
        let known = self.reading.lock().clone();
        if cookie != 0 && !matches!(known, Reading::Nothing) {
            return Ok(known);
        }
        let unchanged = self.inode.names.lock().entries.is_empty();
        let reading = match self.inode.lower() {
            Some(lower) if unchanged => {
                let ops = lower.clone().open(O_RDONLY)?;
                Reading::Below(File::anonymous(ops, lower, b"", O_RDONLY))
            }
            _ => Reading::Listing(Arc::new(self.inode.listing()?)),
        };
        let old = core::mem::replace(&mut *self.reading.lock(), reading.clone());
        drop(old);
        Ok(reading)
    }
}

impl FileOps for OverlayDir {
    fn read_dir(&self, _file: &File, cookie: u64, emit: &mut dyn FnMut(&Dirent<'_>) -> bool) -> Result<()> {
        match self.reading(cookie)? {
            Reading::Nothing => Ok(()),
            Reading::Below(below) => below.ops().read_dir(&below, cookie, emit),
            Reading::Listing(listing) => {
                let from = usize::try_from(cookie).unwrap_or(usize::MAX);
                for (at, (ino, kind, name)) in listing.iter().enumerate().skip(from) {
                    if !emit(&Dirent { ino: *ino, next: at as u64 + 1, kind: *kind, name }) {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }

    fn read_at(&self, _file: &File, _sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn end(&self, _file: &File) -> Result<u64> {
        Ok(i64::MAX as u64)
    }
}
