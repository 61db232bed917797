//! The 4-level page-table format and operations on it, for real and simulated memory alike.
//!
//! A [`PageTable`] owns its top-level table and everything below the lower half; the upper half's entries
//! are shared with the kernel's own table. Entries are read and written atomically, since the CPU sets
//! accessed and dirty bits at any time. Who changes a table holds the address space's lock; who makes an
//! entry less permissive flushes the TLB afterwards ([`super::tlb`]).

use core::sync::atomic::{AtomicU64, Ordering};

use super::{PhysAddr, phys_to_virt};
use crate::{
    errno::{Errno, Result},
    mem::frame::{self, Frame},
};

const PAGE: u64 = 4096;
const ENTRIES: usize = 512;
/// Entries of the top-level table that belong to user space.
const USER_ENTRIES: usize = 256;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// The translation outlives a switch of address spaces: the kernel's own do.
const GLOBAL: u64 = 1 << 8;
/// In the place of a table: a large page.
const LARGE: u64 = 1 << 7;
/// An entry with one of these maps a page.
const OCCUPIED: u64 = PteFlags::PRESENT.bits() | PteFlags::PROT_NONE.bits();
/// Intermediate entries permit everything; the last level decides.
const TABLE_FLAGS: u64 = PteFlags::PRESENT.bits() | PteFlags::WRITE.bits() | PteFlags::USER.bits();

bitflags::bitflags! {
    /// Bits of a last-level entry.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct PteFlags: u64 {
        /// The entry is valid.
        const PRESENT = 1;
        /// Writes are allowed.
        const WRITE = 1 << 1;
        /// Ring 3 may use it.
        const USER = 1 << 2;
        /// Set by the CPU at any access.
        const ACCESSED = 1 << 5;
        /// Set by the CPU at a write.
        const DIRTY = 1 << 6;
        /// Software: a write makes a private copy.
        const COW = 1 << 9;
        /// Software: a reference-counted frame of RAM; clear for a page of a file window.
        const FRAME = 1 << 10;
        /// Software: in the place of `PRESENT`, the page is kept but no access is allowed.
        const PROT_NONE = 1 << 11;
        /// Instructions may not be fetched.
        const NX = 1 << 63;
    }
}

/// One last-level entry, in place.
#[derive(Debug)]
#[repr(transparent)]
pub struct Pte(AtomicU64);

impl Pte {
    /// The whole entry.
    fn raw(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Its flags.
    #[must_use]
    pub fn flags(&self) -> PteFlags {
        PteFlags::from_bits_truncate(self.raw())
    }

    /// The page that it maps.
    #[must_use]
    pub fn addr(&self) -> PhysAddr {
        PhysAddr(self.raw() & ADDRESS)
    }

    /// Whether it maps a page, be it one that may not be accessed ([`PteFlags::PROT_NONE`]).
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.raw() & OCCUPIED != 0
    }

    /// Makes it map `addr`; gives nothing back, so the former content must not hold a reference.
    pub fn set(&self, addr: PhysAddr, flags: PteFlags) {
        self.0.store(addr.0 & ADDRESS | flags.bits(), Ordering::Release);
    }

    /// Changes the flags and keeps the page.
    pub fn set_flags(&self, flags: PteFlags) {
        self.0.store(self.raw() & ADDRESS | flags.bits(), Ordering::Release);
    }

    /// Removes flags; whether any was set.
    pub fn clear_flags(&self, flags: PteFlags) -> bool {
        self.0.fetch_and(!flags.bits(), Ordering::AcqRel) & flags.bits() != 0
    }

    /// Empties it; gives what was mapped.
    pub fn take(&self) -> Option<(PhysAddr, PteFlags)> {
        if self.raw() == 0 {
            return None;
        }
        let old = self.0.swap(0, Ordering::AcqRel);
        (old & OCCUPIED != 0).then(|| (PhysAddr(old & ADDRESS), PteFlags::from_bits_truncate(old)))
    }
}

/// What [`PageTable::copy_range`] does with the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMode {
    /// Both sides lose the right to write and copy at the first write.
    CopyOnWrite,
    /// Both sides keep their rights.
    Share,
}

/// The entries of the table at `addr`.
///
/// Tables are only reached from the root of a live [`PageTable`] (or the kernel's), whose intermediate
/// entries are written by this module alone.
fn table(addr: PhysAddr) -> &'static [Pte; ENTRIES] {
    // SAFETY: `addr` is a page-table frame, mapped by the direct map; entries are atomics, every bit pattern
    // is valid. The lifetime is that of the owning `PageTable`; no caller keeps the reference longer than
    // its borrow of that.
    unsafe { &*phys_to_virt(addr).cast::<[Pte; ENTRIES]>() }
}

const fn slot(va: u64, level: u32) -> usize {
    (va >> (12 + 9 * level)) as usize & (ENTRIES - 1)
}

/// Bytes that one entry of `level` spans.
const fn span(level: u32) -> u64 {
    1 << (12 + 9 * level)
}

/// The last-level table for `va`, if it exists.
fn find_leaf(root: PhysAddr, va: u64) -> Option<&'static [Pte; ENTRIES]> {
    let mut at = root;
    for level in [3, 2, 1] {
        let entry = &table(at)[slot(va, level)];
        if !entry.is_present() {
            return None;
        }
        at = entry.addr();
    }
    Some(table(at))
}

/// The last-level table for `va`; missing tables are made and counted.
fn make_leaf(root: PhysAddr, va: u64, tables: &mut u64) -> Result<&'static [Pte; ENTRIES]> {
    leaf_with(root, va, tables, frame::alloc_zeroed)
}

/// As [`make_leaf`], the tables being what `make` gives.
fn leaf_with(
    root: PhysAddr,
    va: u64,
    tables: &mut u64,
    make: fn() -> Option<Frame>,
) -> Result<&'static [Pte; ENTRIES]> {
    let mut at = root;
    for level in [3, 2, 1] {
        let entry = &table(at)[slot(va, level)];
        if !entry.is_present() {
            let new = make().ok_or(Errno::ENOMEM)?.into_raw();
            entry.set(new, PteFlags::from_bits_retain(TABLE_FLAGS));
            *tables += 1;
        }
        at = entry.addr();
    }
    Ok(table(at))
}

/// Maps a kernel page in the table at `root`.
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "the double has no kernel half"))]
pub(super) fn map_kernel(root: PhysAddr, va: u64, page: PhysAddr) -> Result<()> {
    let flags = PteFlags::PRESENT | PteFlags::WRITE | PteFlags::NX | PteFlags::ACCESSED | PteFlags::DIRTY;
    let leaf = leaf_with(root, va, &mut 0, frame::alloc_zeroed_for_kernel)?;
    leaf[slot(va, 0)].set(page, flags | PteFlags::from_bits_retain(GLOBAL));
    Ok(())
}

/// Takes a kernel page out of the table at `root`.
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "the double has no kernel half"))]
pub(super) fn unmap_kernel(root: PhysAddr, va: u64) -> Option<PhysAddr> {
    find_leaf(root, va)?[slot(va, 0)].take().map(|(page, _)| page)
}

/// Makes the top-level entry for `va` in the table at `root`, so that copies of the table share it.
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "the double has no kernel half"))]
pub(super) fn reserve_kernel_slot(root: PhysAddr, va: u64) -> Result<()> {
    let entry = &table(root)[slot(va, 3)];
    if entry.is_present() {
        return Err(Errno::EEXIST);
    }
    let new = frame::alloc_zeroed().ok_or(Errno::ENOMEM)?.into_raw();
    entry.set(new, PteFlags::PRESENT | PteFlags::WRITE);
    Ok(())
}

/// Takes the right to write from the kernel's pages of a range, splitting large pages that reach beyond it.
/// The caller flushes the range.
#[cfg_attr(not(any(test, target_os = "none")), expect(dead_code, reason = "the double has no kernel half"))]
pub(super) fn write_protect_kernel(root: PhysAddr, start: u64, len: u64) -> Result<()> {
    for va in (start..start + len).step_by(PAGE as usize) {
        let mut at = root;
        for level in [3, 2, 1] {
            let entry = &table(at)[slot(va, level)];
            if entry.raw() & LARGE != 0 {
                split(entry, level)?;
            }
            if !entry.is_present() {
                return Err(Errno::EFAULT);
            }
            at = entry.addr();
        }
        table(at)[slot(va, 0)].clear_flags(PteFlags::WRITE);
    }
    Ok(())
}

/// Replaces an entry for a large page by a table of the next smaller ones.
fn split(entry: &Pte, level: u32) -> Result<()> {
    let large = entry.raw();
    let lower = level - 1;
    let keep = if lower == 0 { !LARGE } else { u64::MAX };
    let new = frame::alloc_zeroed().ok_or(Errno::ENOMEM)?.into_raw();
    for (index, part) in (0u64..).zip(table(new)) {
        part.0.store((large + index * span(lower)) & keep, Ordering::Relaxed);
    }
    entry.set(new, PteFlags::PRESENT | PteFlags::WRITE | PteFlags::ACCESSED);
    Ok(())
}

/// Empties the lower half of the table at `root` without freeing anything: removes boot-time mappings.
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "the double has no boot mappings"))]
pub(super) fn clear_user_half(root: PhysAddr) {
    for entry in &table(root)[..USER_ENTRIES] {
        entry.take();
    }
}

/// What the table at `root` maps at `va`.
#[cfg_attr(target_os = "none", expect(dead_code, reason = "only the double walks in software"))]
pub(super) fn translate_in(root: PhysAddr, va: u64) -> Option<(PhysAddr, PteFlags)> {
    let entry = &find_leaf(root, va)?[slot(va, 0)];
    entry.is_present().then(|| (entry.addr(), entry.flags()))
}

/// Names a [`PageTable`] to the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableHandle(PhysAddr);

impl TableHandle {
    /// Makes the table the current CPU's address space.
    pub fn activate(self) {
        super::activate_root(self.0);
    }

    /// As [`PageTable::id`].
    #[must_use]
    pub const fn id(self) -> u64 {
        self.0.0
    }
}

/// An address space's tables. Dropping it drops the frame references that entries still hold.
#[derive(Debug)]
pub struct PageTable {
    root: PhysAddr,
    /// Tables below the top-level one; they stay as long as it does.
    tables: u64,
}

impl PageTable {
    /// An empty lower half under the kernel's upper half.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        let root = frame::alloc_zeroed().ok_or(Errno::ENOMEM)?.into_raw();
        if let Some(kernel) = super::kernel_root() {
            for (to, from) in table(root).iter().zip(table(kernel)).skip(USER_ENTRIES) {
                to.0.store(from.raw(), Ordering::Relaxed);
            }
        }
        Ok(Self { root, tables: 0 })
    }

    /// Names the table for [`super::tlb`]: its physical address.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.root.0
    }

    /// Number of tables that it is made of, without the top-level one.
    #[must_use]
    pub const fn tables(&self) -> u64 {
        self.tables
    }

    /// Physical address of the top-level table.
    #[must_use]
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// Makes this the current CPU's address space.
    pub fn activate(&self) {
        super::activate_root(self.root);
    }

    /// What activating needs, usable while something else has the table borrowed. Its holder keeps the table
    /// alive.
    #[must_use]
    pub const fn handle(&self) -> TableHandle {
        TableHandle(self.root)
    }

    /// Maps a page. The entry must not be in use.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn map(&mut self, va: u64, page: PhysAddr, flags: PteFlags) -> Result<()> {
        make_leaf(self.root, va, &mut self.tables)?[slot(va, 0)].set(page, flags);
        Ok(())
    }

    /// The entry for `va`, made if need be.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn entry(&mut self, va: u64) -> Result<&Pte> {
        Ok(&make_leaf(self.root, va, &mut self.tables)?[slot(va, 0)])
    }

    /// The entries for the pages from `va` on that lie in the same last-level table, at most `max`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn entries(&mut self, va: u64, max: usize) -> Result<&[Pte]> {
        let first = slot(va, 0);
        let leaf = make_leaf(self.root, va, &mut self.tables)?;
        Ok(&leaf[first..(first + max).min(ENTRIES)])
    }

    /// The entry for `va`, if its table exists.
    #[must_use]
    pub fn find(&self, va: u64) -> Option<&Pte> {
        find_leaf(self.root, va).map(|leaf| &leaf[slot(va, 0)])
    }

    /// Unmaps a page; gives what was mapped.
    pub fn unmap(&mut self, va: u64) -> Option<(PhysAddr, PteFlags)> {
        self.find(va)?.take()
    }

    /// Sets the flags of a mapped page. Whether there was one.
    pub fn protect(&mut self, va: u64, flags: PteFlags) -> bool {
        match self.find(va) {
            Some(entry) if entry.is_present() => {
                entry.set_flags(flags);
                true
            }
            _ => false,
        }
    }

    /// What is mapped at `va`.
    #[must_use]
    pub fn translate(&self, va: u64) -> Option<(PhysAddr, PteFlags)> {
        let entry = self.find(va)?;
        entry.is_present().then(|| (entry.addr(), entry.flags()))
    }

    /// Calls `f` for every present entry of `[start, end)`; absent tables are skipped whole.
    pub fn for_range(&mut self, start: u64, end: u64, mut f: impl FnMut(u64, &Pte)) {
        walk(self.root, start, end, &mut |va, entry| {
            f(va, entry);
            Ok(())
        })
        .unwrap_or_default();
    }

    /// The first address of `[start, end)` whose page has an entry.
    #[must_use]
    pub fn first_occupied(&self, start: u64, end: u64) -> Option<u64> {
        let mut found = None;
        // The error ends the walk.
        let _ = walk(self.root, start, end, &mut |va, _| {
            found = Some(va);
            Err(Errno::EINTR)
        });
        found
    }

    /// Copies the entries of `parent`'s `[start, end)`, which must be empty here. Reference counts of frames
    /// go up by one each. The caller flushes the parent's TLB when the mode is copy-on-write.
    ///
    /// # Errors
    /// `ENOMEM`; then a part may have been copied.
    pub fn copy_range(&mut self, parent: &mut Self, start: u64, end: u64, mode: CopyMode) -> Result<()> {
        let write = PteFlags::WRITE.bits();
        let dirty = PteFlags::DIRTY.bits();
        let (root, tables) = (self.root, &mut self.tables);
        let mut leaf: Option<(u64, &[Pte; ENTRIES])> = None;
        walk(parent.root, start, end, &mut |va, entry| {
            let region = va / span(1);
            let target = match leaf {
                Some((at, table)) if at == region => table,
                _ => {
                    let table = make_leaf(root, va, tables)?;
                    leaf = Some((region, table));
                    table
                }
            };
            let mut value = entry.raw();
            if mode == CopyMode::CopyOnWrite && value & write != 0 {
                // The CPU may set the dirty bit meanwhile; only the write bit has to go atomically.
                entry.0.fetch_and(!write, Ordering::AcqRel);
                entry.0.fetch_or(PteFlags::COW.bits(), Ordering::AcqRel);
                value = value & !write | PteFlags::COW.bits();
            }
            if value & PteFlags::FRAME.bits() != 0 {
                Frame::share_raw(PhysAddr(value & ADDRESS));
            }
            let keep = if mode == CopyMode::Share { value } else { value & !dirty };
            target[slot(va, 0)].0.store(keep, Ordering::Relaxed);
            Ok(())
        })
    }
}

/// Visits the occupied last-level entries of `[start, end)`.
fn walk(root: PhysAddr, start: u64, end: u64, f: &mut impl FnMut(u64, &Pte) -> Result<()>) -> Result<()> {
    let mut va = start & !(PAGE - 1);
    'outer: while va < end {
        let mut at = root;
        for level in [3, 2, 1] {
            let entry = &table(at)[slot(va, level)];
            if !entry.is_present() {
                // On overflow the next address wraps to 0 and ends the walk.
                match (va & !(span(level) - 1)).checked_add(span(level)) {
                    Some(next) => va = next,
                    None => break 'outer,
                }
                continue 'outer;
            }
            at = entry.addr();
        }
        let first = slot(va, 0);
        let count = ((end - va).div_ceil(PAGE) as usize).min(ENTRIES - first);
        for (index, entry) in table(at)[first..first + count].iter().enumerate() {
            if entry.is_present() {
                f(va + index as u64 * PAGE, entry)?;
            }
        }
        va += count as u64 * PAGE;
    }
    Ok(())
}

/// Frees a table and what it refers to.
fn free_tables(at: PhysAddr, level: u32, entries: usize) {
    for entry in &table(at)[..entries] {
        let value = entry.raw();
        if value & OCCUPIED == 0 {
            continue;
        }
        let addr = PhysAddr(value & ADDRESS);
        if level > 0 {
            free_tables(addr, level - 1, ENTRIES);
        } else if value & PteFlags::FRAME.bits() != 0 {
            drop(Frame::from_raw(addr));
        }
    }
    drop(Frame::from_raw(at));
}

impl Drop for PageTable {
    fn drop(&mut self) {
        super::retire_root(self.root);
        free_tables(self.root, 3, USER_ENTRIES);
    }
}

#[cfg(test)]
mod tests;
