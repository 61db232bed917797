//! Reading directories of hostfs.
//!
//! Cookies are the host's. A listing that was read whole is kept with the inode until a name changes, so that
//! reading a directory again asks nobody. A reader that is under way when a name changes goes on with
//! what it has; rewinding gets it the new names.

use alloc::{sync::Arc, vec::Vec};
use hostcall::DirentHeader;
use zerocopy::FromBytes;

use super::inode::HostInode;
use crate::{
    arch::read_phys,
    errno::{Errno, Result},
    fs::{
        file::{File, FileOps},
        fresh,
        inode::{Dirent, Inode},
    },
    mem::frame,
    sync::SpinLock,
};

/// Most bytes of a listing that is kept.
const KEEP: usize = 1 << 20;
/// log₂ of the pages that one hostcall fills.
const ORDER: u32 = 3;

/// Entries in order.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// [`DirentHeader`] records as the host sent them.
    bytes: Vec<u8>,
    /// Where each starts.
    starts: Vec<u32>,
    /// Sorted by name, as indices into `starts`.
    sorted: Vec<u32>,
}

impl Listing {
    fn push(&mut self, bytes: &[u8]) -> Result<u64> {
        let mut at = 0;
        let mut last = 0;
        while at < bytes.len() {
            let (head, rest) = DirentHeader::read_from_prefix(&bytes[at..]).map_err(|_| Errno::EIO)?;
            let name = rest.get(..head.name_len as usize).ok_or(Errno::EIO)?;
            if name.is_empty() || name.len() > 255 || name.contains(&b'/') {
                return Err(Errno::EIO);
            }
            let len = (size_of::<DirentHeader>() + name.len()).next_multiple_of(8);
            let record = bytes.get(at..at + len).ok_or(Errno::EIO)?;
            self.starts.push(self.bytes.len() as u32);
            self.bytes.extend_from_slice(record);
            last = head.next;
            at += len;
        }
        Ok(last)
    }

    fn entry(&self, index: usize) -> Option<(DirentHeader, &[u8])> {
        let start = *self.starts.get(index)? as usize;
        let (head, rest) = DirentHeader::read_from_prefix(&self.bytes[start..]).ok()?;
        Some((head, &rest[..head.name_len as usize]))
    }

    fn name(&self, index: u32) -> &[u8] {
        self.entry(index as usize).map_or(b"", |(_, name)| name)
    }

    fn sort(&mut self) {
        let mut sorted: Vec<u32> = (0..self.starts.len() as u32).collect();
        sorted.sort_unstable_by(|&a, &b| self.name(a).cmp(self.name(b)));
        self.sorted = sorted;
    }

    /// Whether a complete listing has this name.
    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.sorted.binary_search_by(|&index| self.name(index).cmp(name)).is_ok()
    }

    /// Index of the entry after `cookie`.
    fn after(&self, cookie: u64, hint: usize) -> Option<usize> {
        if cookie == 0 {
            return Some(0);
        }
        let follows =
            |index: usize| index > 0 && self.entry(index - 1).is_some_and(|(head, _)| head.next == cookie);
        if follows(hint) {
            return Some(hint);
        }
        (1..=self.starts.len()).find(|&index| follows(index))
    }
}

/// An open directory.
pub(super) struct HostDir {
    inode: Arc<HostInode>,
    state: SpinLock<State>,
}

#[derive(Default)]
struct State {
    listing: Option<Arc<Listing>>,
    /// Where in it the last read ended.
    hint: usize,
}

impl HostDir {
    pub(super) fn new(inode: Arc<HostInode>) -> Self {
        Self { inode, state: SpinLock::new(State::default()) }
    }

    /// Entries among which those after `cookie` are, and the first one's index.
    fn entries(&self, cookie: u64) -> Result<(Arc<Listing>, usize)> {
        // Names that others changed are not in the listing that is kept.
        fresh::look();
        let generation = self.inode.generation();
        let shared = if self.inode.fs.exclusive { self.inode.listing.lock().clone() } else { None };
        let (own, hint) = {
            let state = self.state.lock();
            (state.listing.clone(), state.hint)
        };
        // Names that came or went since the directory was opened or rewound may show or not.
        let own = own.filter(|_| cookie != 0);
        for listing in own.into_iter().chain(shared) {
            if let Some(index) = listing.after(cookie, hint) {
                return Ok((listing, index));
            }
        }
        let listing = Arc::new(self.fetch(cookie)?);
        let unchanged = self.inode.generation() == generation;
        if cookie == 0 && self.inode.fs.exclusive && listing.bytes.len() <= KEEP && unchanged {
            *self.inode.listing.lock() = Some(listing.clone());
        }
        Ok((listing, 0))
    }

    /// Reads from `cookie` to the end.
    fn fetch(&self, cookie: u64) -> Result<Listing> {
        let (buffer, _) = frame::alloc_order(ORDER).ok_or(Errno::ENOMEM)?;
        let result = self.fetch_into(cookie, buffer.0);
        frame::free_order(buffer, ORDER);
        result
    }

    fn fetch_into(&self, mut cookie: u64, gpa: u64) -> Result<Listing> {
        const LEN: usize = 4096 << ORDER;
        let mut listing = Listing::default();
        let mut bytes = Vec::new();
        loop {
            let read = || self.inode.fs.host.readdir(self.inode.handle(), cookie, gpa, LEN as u64);
            let (len, last) = self.inode.fs.with_room(read)?;
            if len == 0 {
                break;
            }
            bytes.resize(len.min(LEN), 0);
            read_phys(crate::arch::PhysAddr(gpa), &mut bytes);
            cookie = listing.push(&bytes)?;
            if last {
                break;
            }
        }
        listing.sort();
        Ok(listing)
    }
}

impl FileOps for HostDir {
    fn read_dir(&self, _file: &File, cookie: u64, emit: &mut dyn FnMut(&Dirent<'_>) -> bool) -> Result<()> {
        let (listing, mut index) = self.entries(cookie)?;
        while let Some((head, name)) = listing.entry(index) {
            if !emit(&Dirent { ino: head.ino, next: head.next, kind: head.kind as u8, name }) {
                break;
            }
            index += 1;
        }
        *self.state.lock() = State { listing: Some(listing), hint: index };
        Ok(())
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        self.inode.ready(1)?;
        self.inode.fs.host.sync(self.inode.handle(), data_only)
    }

    fn read_at(&self, _file: &File, _sink: &mut crate::uio::Sink<'_>, _offset: u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn end(&self, _file: &File) -> Result<u64> {
        Ok(i64::MAX as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};
    use zerocopy::IntoBytes;

    use super::*;

    fn record(name: &[u8], next: u64) -> Vec<u8> {
        let header = DirentHeader { ino: 7, next, kind: 8, name_len: name.len() as u32 };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(name);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// Uses everything of a listing.
    fn walk(listing: &mut Listing) {
        listing.sort();
        for index in 0..listing.starts.len() {
            let name = listing.name(index as u32).to_vec();
            assert!(!name.is_empty() && name.len() < 256 && !name.contains(&b'/'));
            assert!(listing.contains(&name));
        }
        let _ = listing.after(1, usize::MAX);
    }

    proptest! {
        #[test]
        fn listings_are_read_or_refused(
            names in collection::vec(collection::vec(any::<u8>(), 0..300), 0..8),
            damage in collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes: Vec<u8> =
                names.iter().enumerate().flat_map(|(at, name)| record(name, at as u64 + 1)).collect();
            for (at, byte) in damage {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            let mut listing = Listing::default();
            let _ = listing.push(&bytes);
            walk(&mut listing);
        }

        #[test]
        fn any_bytes_are_a_listing_or_refused(bytes in collection::vec(any::<u8>(), 0..400)) {
            let mut listing = Listing::default();
            let _ = listing.push(&bytes);
            walk(&mut listing);
        }
    }
}
