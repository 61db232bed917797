//! The address space: its areas, page table, layout and accounting.

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::MAX_MAP_COUNT;
use super::vma::{Backing, Mappable, ObjectName, Prot, Vma, VmaFlags};
use crate::{
    arch::{
        paging::{CopyMode, PageTable, PteFlags, TableHandle},
        tlb,
    },
    errno::{Errno, Result},
    mem::{PAGE_SIZE, frame::Frame},
    sync::Mutex,
};

/// Pages whose frames are freed after one TLB flush.
const FLUSH_BATCH: usize = 256;

/// Sizes that resource limits set, bytes. `u64::MAX` = none.
#[derive(Debug)]
pub struct Limits {
    /// `RLIMIT_AS`.
    pub space: AtomicU64,
    /// `RLIMIT_DATA`.
    pub data: AtomicU64,
    /// `RLIMIT_STACK`.
    pub stack: AtomicU64,
}

/// Pages by what they are, for `/proc/PID/status` and `statm`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// All areas.
    pub total: u64,
    /// Mapped now, and at most.
    pub resident: u64,
    /// Most that `resident` has been.
    pub peak: u64,
    /// Most that `total` has been.
    pub total_peak: u64,
    /// Of the resident ones, those of objects.
    pub shared: u64,
    /// Private and writable, the stack apart.
    pub data: u64,
    /// Stacks.
    pub stack: u64,
    /// Executable, not writable.
    pub code: u64,
    /// Locked.
    pub locked: u64,
    /// Page tables, bytes.
    pub tables: u64,
    /// Number of areas.
    pub areas: u64,
}

/// Addresses that `/proc/PID/stat` and `prctl(PR_SET_MM)` know.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "proc(5) documents them")]
pub struct Marks {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
}

/// One area, for `/proc/PID/maps`.
#[derive(Debug)]
pub struct VmaInfo {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Rights.
    pub prot: Prot,
    /// Properties.
    pub flags: VmaFlags,
    /// Offset in the object.
    pub offset: u64,
    /// The object's name, if there is an object.
    pub name: Option<ObjectName>,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) table: PageTable,
    pub(super) vmas: BTreeMap<u64, Vma>,
    pub(super) marks: Marks,
    /// The auxiliary vector that the program was started with.
    pub(super) auxv: Option<Arc<[u8]>>,
    /// How areas made from now on are locked (`MCL_FUTURE`).
    pub(super) lock_future: VmaFlags,
    /// Where searching for free space starts, downwards.
    pub(super) mmap_base: u64,
    /// Pages of all areas.
    pub(super) total_pages: u64,
    /// Most that `total_pages` has been.
    pub(super) total_peak: u64,
    /// Pages that are mapped.
    pub(super) resident: u64,
    /// Most that `resident` has been.
    pub(super) peak: u64,
}

/// An address space, shared by the tasks of a process (and by `CLONE_VM` children).
#[derive(Debug)]
pub struct AddressSpace {
    pub(super) inner: Mutex<Inner>,
    /// The page table, for activating it without the lock.
    handle: TableHandle,
    /// Sizes that resource limits set.
    pub limits: Limits,
    /// Barriers that the program asked for (`MEMBARRIER_CMD_REGISTER_*`).
    pub barriers: AtomicU32,
    /// The out-of-memory killer took its pages: what is missing is not made again.
    pub(super) reaped: AtomicBool,
    pub(super) weak: Weak<Self>,
}

impl AddressSpace {
    /// An empty space.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Arc<Self>> {
        let table = PageTable::new()?;
        let handle = table.handle();
        Ok(Arc::new_cyclic(|weak| Self {
            weak: weak.clone(),
            inner: Mutex::new(Inner {
                table,
                vmas: BTreeMap::new(),
                marks: Marks::default(),
                auxv: None,
                lock_future: VmaFlags::empty(),
                mmap_base: crate::arch::USER_END - (128 << 20),
                total_pages: 0,
                total_peak: 0,
                resident: 0,
                peak: 0,
            }),
            handle,
            limits: Limits {
                space: AtomicU64::new(u64::MAX),
                data: AtomicU64::new(u64::MAX),
                stack: AtomicU64::new(8 << 20),
            },
            barriers: AtomicU32::new(0),
            reaped: AtomicBool::new(false),
        }))
    }

    /// Names the space for as long as it lives.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.handle.id()
    }

    /// Makes it the current CPU's.
    pub fn activate(&self) {
        self.handle.activate();
    }

    /// A copy for a forked child: private pages are shared until one side writes.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn fork(&self) -> Result<Arc<Self>> {
        let child = Self::new()?;
        {
            let mut to = child.inner.lock();
            let mut from = self.inner.lock();
            let from = &mut *from;
            to.marks = from.marks;
            to.auxv = from.auxv.clone();
            to.mmap_base = from.mmap_base;
            let mut last: Option<&Arc<dyn Mappable>> = None;
            for (&start, vma) in &from.vmas {
                if vma.flags.contains(VmaFlags::DONTFORK) {
                    continue;
                }
                let mut copy = vma.clone();
                copy.flags.remove(VmaFlags::LOCKED | VmaFlags::ONFAULT);
                if let Backing::Object(object) = &copy.backing
                    && !last.is_some_and(|last| Arc::ptr_eq(last, object))
                {
                    register(object, &child);
                }
                last = match &vma.backing {
                    Backing::Object(object) => Some(object),
                    Backing::Anonymous => last,
                };
                to.total_pages += (copy.end - start) / PAGE_SIZE;
                copy.backing.opened();
                to.vmas.insert(start, copy);
                if vma.flags.contains(VmaFlags::WIPEONFORK) {
                    continue;
                }
                let mode = if vma.flags.contains(VmaFlags::SHARED) {
                    CopyMode::Share
                } else {
                    CopyMode::CopyOnWrite
                };
                if let Err(error) = to.table.copy_range(&mut from.table, start, vma.end, mode) {
                    tlb::flush_mm(self.id());
                    return Err(error);
                }
            }
            to.resident = from.resident;
            to.total_peak = to.total_pages;
            to.peak = to.resident;
            tlb::flush_mm(self.id());
        }
        for (to, from) in [
            (&child.limits.space, &self.limits.space),
            (&child.limits.data, &self.limits.data),
            (&child.limits.stack, &self.limits.stack),
        ] {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        child.barriers.store(self.barriers.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(child)
    }

    /// Takes its private pages, since all its tasks are to end. A task that holds the lock may take long: then they
    /// go with the tasks.
    pub fn reap(&self) {
        self.reaped.store(true, Ordering::SeqCst);
        let Some(mut inner) = self.inner.try_lock() else { return };
        let private = inner.vmas.iter().filter(|(_, vma)| !vma.flags.contains(VmaFlags::SHARED));
        let ranges: Vec<_> = private.map(|(&start, vma)| (start, vma.end)).collect();
        ranges.into_iter().for_each(|(start, end)| inner.zap(start, end));
    }

    /// Addresses of code, heap, stack, arguments.
    #[must_use]
    pub fn marks(&self) -> Marks {
        self.inner.lock().marks
    }

    /// The auxiliary vector that the program was started with, as it lay on the stack.
    #[must_use]
    pub fn auxv(&self) -> Option<Arc<[u8]>> {
        self.inner.lock().auxv.clone()
    }

    /// Changes [`Self::marks`].
    pub fn set_marks(&self, change: impl FnOnce(&mut Marks)) {
        change(&mut self.inner.lock().marks);
    }

    /// Size and resident size in pages, and the peak of the latter.
    #[must_use]
    pub fn usage(&self) -> (u64, u64, u64) {
        let inner = self.inner.lock();
        (inner.total_pages, inner.resident, inner.peak)
    }

    /// What of a shared object lies at `addr`: the object and a byte offset; `None` for private memory. Names
    /// futexes.
    ///
    /// # Errors
    /// `EFAULT` where nothing is mapped.
    pub fn shared_place(&self, addr: u64) -> Result<Option<(usize, u64)>> {
        let inner = self.inner.lock();
        let (start, vma) = inner.find(addr).ok_or(crate::errno::Errno::EFAULT)?;
        Ok(match &vma.backing {
            Backing::Object(object) if vma.flags.contains(VmaFlags::SHARED) => {
                Some((Arc::as_ptr(object).cast::<()>() as usize, vma.offset + (addr - start)))
            }
            _ => None,
        })
    }

    /// All areas in address order.
    #[must_use]
    pub fn areas(&self) -> Vec<VmaInfo> {
        self.areas_with(|_, _, _| ()).into_iter().map(|(info, ())| info).collect()
    }

    /// All areas, each with what `more` says of it under the lock. Names are asked for without it.
    pub(super) fn areas_with<T>(
        &self,
        mut more: impl FnMut(&mut Inner, u64, &Vma) -> T,
    ) -> Vec<(VmaInfo, T)> {
        let areas: Vec<_> = {
            let mut inner = self.inner.lock();
            let vmas: Vec<_> = inner.vmas.iter().map(|(&start, vma)| (start, vma.clone())).collect();
            vmas.into_iter()
                .map(|(start, vma)| {
                    let told = more(&mut inner, start, &vma);
                    (start, vma, told)
                })
                .collect()
        };
        let info = |start, vma: Vma| VmaInfo {
            start,
            end: vma.end,
            prot: vma.prot,
            flags: vma.flags,
            offset: vma.offset,
            name: match &vma.backing {
                Backing::Anonymous => None,
                Backing::Object(object) => Some(object.name()),
            },
        };
        areas.into_iter().map(|(start, vma, told)| (info(start, vma), told)).collect()
    }
}

/// Notes in an object that `space` maps it.
pub(super) fn register(object: &Arc<dyn Mappable>, space: &AddressSpace) {
    if let Some(mappers) = object.mappers() {
        mappers.add(space.id(), &space.weak);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.vmas.values().for_each(|vma| vma.backing.closed());
    }
}

impl Inner {
    /// The area that holds `addr`.
    pub(super) fn find(&self, addr: u64) -> Option<(u64, &Vma)> {
        self.vmas
            .range(..=addr)
            .next_back()
            .map(|(&start, vma)| (start, vma))
            .filter(|(_, vma)| addr < vma.end)
    }

    /// Whether any area meets `[start, end)`.
    pub(super) fn overlaps(&self, start: u64, end: u64) -> bool {
        self.vmas.range(..end).next_back().is_some_and(|(_, vma)| vma.end > start)
    }

    /// Fails when making `start` and `end` borders of areas would make too many.
    pub(super) fn check_split(&self, start: u64, end: u64) -> Result<()> {
        let splits = |at| self.find(at).is_some_and(|(first, _)| first < at);
        let more = usize::from(splits(start)) + usize::from(splits(end));
        if more != 0 && self.vmas.len() + more > MAX_MAP_COUNT { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Makes area borders of `start` and `end`.
    pub(super) fn split_at(&mut self, start: u64, end: u64) {
        for border in [start, end] {
            let Some((&at, vma)) = self.vmas.range_mut(..border).next_back() else { continue };
            if vma.end <= border {
                continue;
            }
            let mut upper = vma.clone();
            upper.offset = match upper.backing {
                Backing::Anonymous => 0,
                Backing::Object(_) => vma.offset + (border - at),
            };
            vma.end = border;
            upper.backing.opened();
            self.vmas.insert(border, upper);
        }
    }

    /// Adds an area where there is none; joins it with its neighbours.
    pub(super) fn insert(&mut self, start: u64, vma: Vma) {
        self.total_pages += (vma.end - start) / PAGE_SIZE;
        self.total_peak = self.total_peak.max(self.total_pages);
        vma.backing.opened();
        self.vmas.insert(start, vma);
        self.join_around(start, start + 1);
    }

    /// Joins areas that have become alike, around `[start, end)`.
    pub(super) fn join_around(&mut self, start: u64, end: u64) {
        let first = self.vmas.range(..start).next_back().map_or(start, |(&at, _)| at);
        let mut at = first;
        while let Some((&next_start, next)) = self.vmas.range(at + 1..).next() {
            let joined = self.vmas.get(&at).is_some_and(|vma| vma.end == next_start && vma.joins(at, next));
            if joined {
                let end = next.end;
                if let Some(next) = self.vmas.remove(&next_start) {
                    next.backing.closed();
                }
                if let Some(vma) = self.vmas.get_mut(&at) {
                    vma.end = end;
                }
            } else if next_start >= end {
                break;
            } else {
                at = next_start;
            }
        }
    }

    /// Takes the pages of `[start, end)` away; the areas stay. Frames are freed after the TLB flush.
    pub(super) fn zap(&mut self, start: u64, end: u64) {
        let mut from = start;
        while let Some(next) = self.table.first_occupied(from, end) {
            from = next;
            let to = end.min((from + FLUSH_BATCH as u64 * PAGE_SIZE) & !(FLUSH_BATCH as u64 * PAGE_SIZE - 1));
            let mut frames: ArrayVec<Frame, FLUSH_BATCH> = ArrayVec::new();
            let mut pages = 0;
            self.table.for_range(from, to, |_, entry| {
                if let Some((addr, flags)) = entry.take() {
                    pages += 1;
                    if flags.contains(PteFlags::FRAME) {
                        frames.push(Frame::from_raw(addr));
                    }
                }
            });
            if pages > 0 {
                self.resident = self.resident.saturating_sub(pages);
                tlb::flush_range(self.table.id(), from, to);
            }
            drop(frames);
            from = to;
        }
    }

    /// Counts a page that was mapped.
    pub(super) fn count_resident(&mut self, pages: u64) {
        self.resident += pages;
        self.peak = self.peak.max(self.resident);
    }
}
