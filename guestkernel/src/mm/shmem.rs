//! Shared memory objects: sparse pages of RAM that mappings share.

use alloc::{collections::BTreeMap, sync::Arc};
use core::sync::atomic::{AtomicU64, Ordering};

use super::{
    rmap::{Mappers, Zap},
    vma::{Mappable, ObjectName, PageSource},
};
use crate::{
    errno::{Errno, Result},
    mem::{
        PAGE_SIZE,
        frame::{self, Frame},
    },
    sync::SpinLock,
};

/// The object behind `MAP_SHARED | MAP_ANONYMOUS`.
#[derive(Debug)]
pub struct SharedMemory {
    pages: SpinLock<BTreeMap<u64, Frame>>,
    /// Length in pages.
    len: u64,
    ino: u64,
    mappers: Mappers,
}

impl SharedMemory {
    /// An object of `pages` pages of zeroes.
    #[must_use]
    pub fn new(pages: u64) -> Arc<Self> {
        static INODES: AtomicU64 = AtomicU64::new(1);
        let ino = INODES.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { pages: SpinLock::new(BTreeMap::new()), len: pages, ino, mappers: Mappers::new() })
    }

    /// Its length in pages.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.len
    }

    /// Pages that are in memory.
    #[must_use]
    pub fn resident_pages(&self) -> u64 {
        self.pages.lock().len() as u64
    }
}

impl Mappable for SharedMemory {
    fn page(&self, index: u64, _write: bool) -> Result<PageSource> {
        if index >= self.len {
            return Err(Errno::ENXIO);
        }
        let mut pages = self.pages.lock();
        if let Some(frame) = pages.get(&index) {
            return Ok(PageSource::Frame(frame.clone()));
        }
        let frame = frame::alloc_zeroed().ok_or(Errno::ENOMEM)?;
        pages.insert(index, frame.clone());
        Ok(PageSource::Frame(frame))
    }

    fn mappers(&self) -> Option<&Mappers> {
        Some(&self.mappers)
    }

    fn resident(&self, index: u64) -> bool {
        self.pages.lock().contains_key(&index)
    }

    fn remove(&self, offset: u64, len: u64) -> Result<()> {
        let (first, end) = (offset / PAGE_SIZE, (offset + len) / PAGE_SIZE);
        let gone = {
            let mut pages = self.pages.lock();
            let mut gone = pages.split_off(&first);
            pages.append(&mut gone.split_off(&end));
            gone
        };
        self.mappers.zap(
            first,
            end,
            Zap::Only(&|index, addr| gone.get(&index).is_some_and(|frame| frame.addr() == addr)),
        );
        Ok(())
    }

    fn name(&self) -> ObjectName {
        ObjectName { dev: 1, ino: self.ino, path: b"/dev/zero (deleted)".to_vec() }
    }
}
