//! Virtual memory areas and what is behind them.

use alloc::{sync::Arc, vec::Vec};

use super::rmap::Mappers;
use crate::{
    arch::{PhysAddr, paging::PteFlags},
    errno::{Errno, Result},
    mem::frame::Frame,
};

bitflags::bitflags! {
    /// Rights of an area (`PROT_*`, with their values).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Prot: u32 {
        /// `PROT_READ`.
        const READ = 1;
        /// `PROT_WRITE`.
        const WRITE = 2;
        /// `PROT_EXEC`.
        const EXEC = 4;
    }

    /// Properties of an area.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct VmaFlags: u32 {
        /// Writes are seen by every mapping of the object (`MAP_SHARED`).
        const SHARED = 1;
        /// Grows towards lower addresses by faults (a stack).
        const GROWSDOWN = 2;
        /// Locked in memory.
        const LOCKED = 4;
        /// Not copied by fork.
        const DONTFORK = 8;
        /// Empty in a forked child.
        const WIPEONFORK = 16;
        /// The object does not permit `PROT_WRITE` to be given later.
        const NEVER_WRITE = 32;
        /// The heap that `brk(2)` moves the end of.
        const HEAP = 64;
        /// A locked area's pages come with the first access only (`MLOCK_ONFAULT`).
        const ONFAULT = 128;
        /// Not counted against what may be promised (`MAP_NORESERVE`).
        const NORESERVE = 256;
        /// Memory policy (`MPOL_*`), three bits.
        const POLICY = 7 << 9;
        /// Neither it nor its place may be changed (mseal(2)).
        const SEALED = 1 << 12;
        /// It lies on a mount from which nothing is executed: `PROT_EXEC` cannot be given later.
        const NEVER_EXEC = 1 << 13;
    }
}

/// A page of an object.
#[derive(Debug)]
pub enum PageSource {
    /// A frame of RAM; the reference goes to the mapping.
    Frame(Frame),
    /// A page of a file window, valid as long as the object.
    Window(PhysAddr),
}

/// What `/proc/PID/maps` says of an object.
#[derive(Clone, Debug, Default)]
pub struct ObjectName {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Path.
    pub path: Vec<u8>,
}

/// A thing that can be mapped: a file's pages, shared memory.
pub trait Mappable: Send + Sync {
    /// Page `index` of the object. `write`: it is about to be written through the mapping.
    ///
    /// # Errors
    /// `ENXIO` beyond the end of the object (`SIGBUS`), `EIO` also where the host cannot provide it, `ENOMEM`.
    fn page(&self, index: u64, write: bool) -> Result<PageSource>;

    /// How many pages from `index` on, at most `max`, [`Self::page`] gives without I/O.
    fn ready(&self, index: u64, max: usize) -> usize {
        let _ = (index, max);
        1
    }

    /// Its name.
    fn name(&self) -> ObjectName {
        ObjectName::default()
    }

    /// The host could not provide some page for an access of ring 3, perhaps one of this object. Whether it may have
    /// been: then its pages are made sure of before they are mapped again.
    fn doubt(&self) -> bool {
        false
    }

    /// Who maps it, where it can lose pages.
    fn mappers(&self) -> Option<&Mappers> {
        None
    }

    /// A shared mapping is about to be made, `write`: for writing. Whether it may ever be written.
    ///
    /// # Errors
    /// `EPERM` for a seal.
    fn admit_shared(&self, write: bool) -> Result<bool> {
        let _ = write;
        Ok(true)
    }

    /// Whether page `index` is in memory, mapped or not.
    fn resident(&self, index: u64) -> bool {
        let _ = index;
        false
    }

    /// How many pages of a range are in memory.
    fn resident_in(&self, pages: core::ops::Range<u64>) -> u64 {
        let _ = pages;
        0
    }

    /// Takes pages out of the object (`MADV_REMOVE`); byte offset and length.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, or as fallocate(2).
    fn remove(&self, offset: u64, len: u64) -> Result<()> {
        let _ = (offset, len);
        Err(Errno::EOPNOTSUPP)
    }

    /// Whether it counts the areas that show it: then they are never joined. It is told by [`Self::opened`] and
    /// [`Self::closed`], under the lock of the space.
    fn counts_areas(&self) -> bool {
        false
    }

    /// One more area shows it.
    fn opened(&self) {}

    /// One area less shows it.
    fn closed(&self) {}

    /// Of a shared memory segment: its length in pages.
    fn segment(&self) -> Option<u64> {
        None
    }
}

/// What an area shows.
#[derive(Clone)]
pub enum Backing {
    /// Private zero-filled memory.
    Anonymous,
    /// An object.
    Object(Arc<dyn Mappable>),
}

impl Backing {
    /// Tells an object that one more area shows it.
    pub(super) fn opened(&self) {
        if let Self::Object(object) = self {
            object.opened();
        }
    }

    /// Tells an object that one area less shows it.
    pub(super) fn closed(&self) {
        if let Self::Object(object) = self {
            object.closed();
        }
    }
}

impl core::fmt::Debug for Backing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Object(_) => "Object",
        })
    }
}

/// One area; its start is the key it is stored under.
#[derive(Clone, Debug)]
pub(super) struct Vma {
    /// First address after it.
    pub end: u64,
    /// Rights.
    pub prot: Prot,
    /// Properties.
    pub flags: VmaFlags,
    /// What it shows.
    pub backing: Backing,
    /// Byte offset in the object of the area's start.
    pub offset: u64,
}

impl VmaFlags {
    /// The bits for a memory policy.
    #[must_use]
    pub const fn of_policy(mode: u32) -> Self {
        Self::from_bits_truncate((mode & 7) << 9)
    }

    /// The memory policy.
    #[must_use]
    pub const fn policy(self) -> u32 {
        self.intersection(Self::POLICY).bits() >> 9
    }
}

impl Vma {
    /// The page-table flags of a page of this area that may be written (if the area may).
    pub(super) fn pte_flags(&self) -> PteFlags {
        let mut flags = PteFlags::USER | PteFlags::ACCESSED;
        if self.prot.is_empty() {
            return flags | PteFlags::PROT_NONE | PteFlags::NX;
        }
        flags |= PteFlags::PRESENT;
        if self.prot.contains(Prot::WRITE) {
            flags |= PteFlags::WRITE;
        }
        if !self.prot.contains(Prot::EXEC) {
            flags |= PteFlags::NX;
        }
        flags
    }

    /// Whether the area at `start` and `next`, which follows it, can be one.
    pub(super) fn joins(&self, start: u64, next: &Self) -> bool {
        let continues = match (&self.backing, &next.backing) {
            (Backing::Anonymous, Backing::Anonymous) => true,
            (Backing::Object(a), Backing::Object(b)) => {
                Arc::ptr_eq(a, b) && self.offset + (self.end - start) == next.offset && !a.counts_areas()
            }
            _ => false,
        };
        continues && self.prot == next.prot && self.flags == next.flags
    }
}
