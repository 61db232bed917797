//! What may be promised (`vm.overcommit_memory`), and what is.
//!
//! Linux keeps a running total. Here it is added up when somebody asks: `/proc/meminfo`, and every new mapping while
//! the strict mode is set. So it costs nothing otherwise.

use alloc::{collections::BTreeMap, sync::Arc};
use core::sync::atomic::{AtomicU32, Ordering};

use super::{
    space::AddressSpace,
    vma::{Backing, Prot, VmaFlags},
};
use crate::{
    errno::{Errno, Result},
    mem::{PAGE_SIZE, frame},
    task,
};

/// Only what is obviously too much is refused.
pub const HEURISTIC: u32 = 0;
/// Nothing beyond the limit is promised; 1 = everything is.
pub const STRICT: u32 = 2;

/// Modes and the share of memory, percent, that the strict one promises.
static MODE: AtomicU32 = AtomicU32::new(HEURISTIC);
static RATIO: AtomicU32 = AtomicU32::new(50);

/// `vm.overcommit_memory`.
#[must_use]
pub fn mode() -> u32 {
    MODE.load(Ordering::Relaxed)
}

/// Sets it.
pub fn set_mode(mode: u32) {
    MODE.store(mode, Ordering::Relaxed);
}

/// `vm.overcommit_ratio`.
#[must_use]
pub fn ratio() -> u32 {
    RATIO.load(Ordering::Relaxed)
}

/// Sets it.
pub fn set_ratio(percent: u32) {
    RATIO.store(percent, Ordering::Relaxed);
}

/// `CommitLimit`, bytes.
#[must_use]
pub fn limit() -> u64 {
    let pages = frame::stats().total / PAGE_SIZE;
    pages.saturating_mul(ratio().into()) / 100 * PAGE_SIZE
}

/// `Committed_AS`, bytes: what all programs could come to need.
#[must_use]
pub fn committed() -> u64 {
    let mut spaces: BTreeMap<u64, Arc<AddressSpace>> = BTreeMap::new();
    task::for_each_process(|process| {
        if let Some(mm) = process.any_thread().and_then(|task| task.address_space()) {
            spaces.insert(mm.id(), mm);
        }
    });
    spaces.values().map(|mm| mm.promised()).sum::<u64>() * PAGE_SIZE
}

/// Whether an area counts: memory of its own that may be written.
pub(super) fn counts(prot: Prot, flags: VmaFlags, backing: &Backing) -> bool {
    let private = prot.contains(Prot::WRITE) && !flags.contains(VmaFlags::SHARED);
    private && matches!(backing, Backing::Anonymous)
}

/// Refuses what goes beyond the limit, in the strict mode. Called without locks.
pub(super) fn check(len: u64, prot: Prot, flags: VmaFlags, backing: &Backing) -> Result<()> {
    if mode() != STRICT || len == 0 || !counts(prot, flags, backing) {
        return Ok(());
    }
    if committed().saturating_add(len) > limit() { Err(Errno::ENOMEM) } else { Ok(()) }
}

impl AddressSpace {
    /// Pages of areas that count.
    fn promised(&self) -> u64 {
        let inner = self.inner.lock();
        let counted = inner.vmas.iter().filter(|(_, vma)| counts(vma.prot, vma.flags, &vma.backing));
        counted.map(|(start, vma)| (vma.end - start) / PAGE_SIZE).sum()
    }
}
