//! Who maps an object: what shrinking it has to take out of page tables.
//!
//! What Linux does: a file that gets shorter loses its pages in every mapping, copies in private ones included;
//! a hole that is punched takes the file's own pages only. What we do: each object that can lose pages keeps a
//! list of the spaces that map it. Spaces are never taken off one by one: dead ones go when the list has grown.
//!
//! Order of locks: the object's own mutex (what guards its size), then a space's. A fault takes the space's only,
//! so the object first says that the pages are gone, and then takes them out here.
//!
//! What others do to a file of the host shows when its pages are accessed: the VMM raises a machine check.

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};

use super::{
    space::{AddressSpace, Inner},
    vma::{Backing, Vma, VmaFlags},
};
use crate::{
    arch::{PhysAddr, paging::PteFlags, tlb},
    mem::PAGE_SIZE,
    sync::SpinLock,
};

/// Length at which the list is first looked through for dead spaces.
const FIRST_PRUNE: usize = 16;

/// The spaces that map an object.
#[derive(Debug, Default)]
pub struct Mappers {
    spaces: SpinLock<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    by_id: BTreeMap<u64, Weak<AddressSpace>>,
    prune_at: usize,
}

/// What [`Mappers::zap`] takes out.
#[derive(Clone, Copy)]
pub enum Zap<'a> {
    /// Everything, copies in private mappings too (a file got shorter).
    All,
    /// Pages for which the function says so, and pages of file windows (a hole was punched).
    Only(&'a dyn Fn(u64, PhysAddr) -> bool),
}

impl core::fmt::Debug for Zap<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::All => "All",
            Self::Only(_) => "Only",
        })
    }
}

impl Mappers {
    /// Nobody.
    #[must_use]
    pub const fn new() -> Self {
        Self { spaces: SpinLock::new(Registry { by_id: BTreeMap::new(), prune_at: FIRST_PRUNE }) }
    }

    pub(super) fn add(&self, id: u64, space: &Weak<AddressSpace>) {
        let mut registry = self.spaces.lock();
        if registry.by_id.len() >= registry.prune_at {
            registry.by_id.retain(|_, space| space.strong_count() != 0);
            registry.prune_at = (registry.by_id.len() * 2).max(FIRST_PRUNE);
        }
        registry.by_id.insert(id, space.clone());
    }

    fn living(&self) -> Vec<Arc<AddressSpace>> {
        let registry = self.spaces.lock();
        registry.by_id.values().filter_map(Weak::upgrade).collect()
    }

    /// Takes the object's pages `[first, end)` out of every mapping.
    pub fn zap(&self, first: u64, end: u64, what: Zap<'_>) {
        for space in self.living() {
            let mut inner = space.inner.lock();
            let ranges: Vec<_> = self
                .mappings(&inner)
                .filter_map(|(start, vma)| {
                    let index = vma.offset / PAGE_SIZE;
                    let pages = (vma.end - start) / PAGE_SIZE;
                    let from = first.clamp(index, index + pages) - index;
                    let to = end.clamp(index, index + pages) - index;
                    (from < to).then_some((start + from * PAGE_SIZE, start + to * PAGE_SIZE, index + from))
                })
                .collect();
            for (from, to, index) in ranges {
                match what {
                    Zap::All => inner.zap(from, to),
                    Zap::Only(gone) => {
                        inner.zap_some(from, to, &|at, addr| gone(index + (at - from) / PAGE_SIZE, addr))
                    }
                }
            }
        }
    }

    /// Whether a shared mapping exists that may be written, now or after mprotect(2).
    #[must_use]
    pub fn any_writable(&self) -> bool {
        self.living().iter().any(|space| {
            let inner = space.inner.lock();
            self.mappings(&inner).any(|(_, vma)| {
                vma.flags.contains(VmaFlags::SHARED) && !vma.flags.contains(VmaFlags::NEVER_WRITE)
            })
        })
    }

    fn mappings<'a>(&'a self, inner: &'a Inner) -> impl Iterator<Item = (u64, &'a Vma)> {
        inner.vmas.iter().map(|(&start, vma)| (start, vma)).filter(|(_, vma)| match &vma.backing {
            Backing::Anonymous => false,
            Backing::Object(object) => object.mappers().is_some_and(|own| core::ptr::eq(own, self)),
        })
    }
}

impl AddressSpace {
    /// Takes the pages of file windows out of the page table.
    pub(super) fn doubt_windows(&self) {
        let mut inner = self.inner.lock();
        let ranges: Vec<_> = inner
            .vmas
            .iter()
            .filter(|(_, vma)| match &vma.backing {
                Backing::Anonymous => false,
                Backing::Object(object) => object.doubt(),
            })
            .map(|(&start, vma)| (start, vma.end))
            .collect();
        for (start, end) in ranges {
            inner.zap_some(start, end, &|_, _| false);
        }
    }
}

impl Inner {
    /// As [`Self::zap`], for the pages of `[start, end)` that `gone` knows or that are of a file window.
    fn zap_some(&mut self, start: u64, end: u64, gone: &dyn Fn(u64, PhysAddr) -> bool) {
        let mut frames = Vec::new();
        let mut pages = 0;
        self.table.for_range(start, end, |at, entry| {
            let is_frame = entry.flags().contains(PteFlags::FRAME);
            if (!is_frame || gone(at, entry.addr()))
                && let Some(old) = entry.take()
            {
                pages += 1;
                frames.push(old);
            }
        });
        self.resident = self.resident.saturating_sub(pages);
        tlb::flush_range(self.table.id(), start, end);
        frames.into_iter().for_each(|old| super::fault::release(Some(old)));
    }
}
