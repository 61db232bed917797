//! Shared memory segments: shmget(2), shmat(2), shmctl(2).
//!
//! A segment is an object that areas of address spaces show. Each such area counts as an attachment: what adds or
//! removes one (shmat and shmdt, but fork, exit, exec, and the splitting of areas as well) tells the segment. One
//! that was removed goes with its last attachment.

use alloc::{
    format,
    sync::{Arc, Weak},
};

use super::{
    IPC_PRIVATE, Namespace, caller,
    ids::{Found, Ids, Object},
    now,
    perm::{EXEC, Perm, READ, WRITE},
};
use crate::{
    errno::{Errno, Result},
    mem::PAGE_SIZE,
    mm::{
        Backing, Mappable, Mappers, ObjectName, PageSource, Prot, VmaFlags, may_promise, page_up,
        shmem::SharedMemory,
    },
    task::cred::{Caps, Cred},
};

/// It goes with its last attachment.
pub const DEST: u32 = 0o1000;
/// It is locked in memory.
pub const LOCKED: u32 = 0o2000;
/// Longest segment, bytes (`kernel.shmmax`).
pub const MAX: u64 = u64::MAX - (1 << 24);
/// Pages of all segments (`kernel.shmall`).
pub const ALL: u64 = u64::MAX - (1 << 24);
/// Number of segments (`kernel.shmmni`).
pub const NUMBER: usize = 4096;

/// What the table knows of a segment.
#[derive(Debug)]
pub struct Record {
    /// Owner and mode.
    pub perm: Perm,
    /// Length as asked for, bytes.
    pub size: u64,
    /// Attachments.
    pub attached: u64,
    /// Last attachment, detachment and change, seconds.
    pub times: [i64; 3],
    /// Who made it, and who was the last to attach or detach.
    pub pids: [u32; 2],
    /// The user whom its being locked counts for.
    locked_by: u32,
    segment: Arc<Segment>,
}

impl Object for Record {
    fn perm(&self) -> &Perm {
        &self.perm
    }
}

impl Record {
    const fn pages(&self) -> u64 {
        self.size.div_ceil(PAGE_SIZE)
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.segment.memory.resident_pages() * PAGE_SIZE
    }
}

/// A segment's memory.
#[derive(Debug)]
pub struct Segment {
    memory: Arc<SharedMemory>,
    id: i32,
    key: i32,
    of: Weak<Namespace>,
}

impl Segment {
    fn change(&self, change: impl FnOnce(&mut Table, i32)) {
        if let Some(namespace) = self.of.upgrade() {
            change(&mut namespace.shm.lock(), self.id);
        }
    }
}

impl Mappable for Segment {
    fn page(&self, index: u64, write: bool) -> Result<PageSource> {
        self.memory.page(index, write)
    }

    fn name(&self) -> ObjectName {
        let path = format!("/SYSV{:08x} (deleted)", self.key).into_bytes();
        ObjectName { dev: 1, ino: self.id as u64, path }
    }

    fn mappers(&self) -> Option<&Mappers> {
        self.memory.mappers()
    }

    fn resident(&self, index: u64) -> bool {
        self.memory.resident(index)
    }

    fn remove(&self, offset: u64, len: u64) -> Result<()> {
        self.memory.remove(offset, len)
    }

    fn counts_areas(&self) -> bool {
        true
    }

    fn opened(&self) {
        self.change(|table, id| table.attach(id));
    }

    fn closed(&self) {
        self.change(|table, id| table.detach(id));
    }

    fn segment(&self) -> Option<u64> {
        Some(self.memory.pages())
    }
}

/// What shmat(2) maps.
#[derive(Debug)]
pub struct Attachment {
    /// Keeps the segment meanwhile.
    pub hold: Hold,
    /// Length, bytes.
    pub size: u64,
}

/// An attachment before it has its place.
#[derive(Debug)]
pub struct Hold(Arc<Segment>);

impl Hold {
    /// What the area is to show.
    #[must_use]
    pub fn backing(&self) -> Backing {
        Backing::Object(self.0.clone())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.change(|table, id| table.release(id));
    }
}

/// The segments of a namespace.
#[derive(Debug)]
pub struct Table {
    ids: Ids<Record>,
    /// Pages of all of them.
    total: u64,
}

/// What `SHM_INFO` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Segments.
    pub segments: u32,
    /// Their pages.
    pub total: u64,
    /// Those in memory.
    pub resident: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { ids: Ids::new(), total: 0 }
    }

    /// The segments.
    #[must_use]
    pub const fn ids(&self) -> &Ids<Record> {
        &self.ids
    }

    /// What they use.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let resident = self.ids.iter().map(|(_, record)| record.segment.memory.resident_pages()).sum();
        Usage { segments: self.ids.len() as u32, total: self.total, resident }
    }

    fn attach(&mut self, id: i32) {
        let Some(record) = self.ids.get_mut(id) else { return };
        record.attached += 1;
        record.times[0] = now();
        record.pids[1] = caller();
    }

    fn detach(&mut self, id: i32) {
        let Some(record) = self.ids.get_mut(id) else { return };
        record.times[1] = now();
        record.pids[1] = caller();
        self.release(id);
    }

    /// One attachment less.
    fn release(&mut self, id: i32) {
        let Some(record) = self.ids.get_mut(id) else { return };
        record.attached = record.attached.saturating_sub(1);
        if record.attached == 0 && record.perm.mode & DEST != 0 {
            self.destroy(id);
        }
    }

    fn destroy(&mut self, id: i32) {
        if let Some(record) = self.ids.remove(id) {
            self.total -= record.pages();
        }
    }

    /// `IPC_RMID`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn remove(&mut self, id: i32, cred: &Cred) -> Result<()> {
        let record = self.ids.get(id).ok_or(Errno::EINVAL)?;
        record.perm.check_owner(cred)?;
        if record.attached == 0 {
            self.destroy(id);
            return Ok(());
        }
        self.ids.forget_key(id);
        if let Some(record) = self.ids.get_mut(id) {
            record.perm.mode |= DEST;
            record.perm.key = IPC_PRIVATE;
        }
        Ok(())
    }

    /// `IPC_SET`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn set(&mut self, id: i32, cred: &Cred, (uid, gid, mode): (u32, u32, u32)) -> Result<()> {
        let record = self.ids.get_mut(id).ok_or(Errno::EINVAL)?;
        record.perm.check_owner(cred)?;
        record.perm.set(uid, gid, mode)?;
        record.times[2] = now();
        Ok(())
    }

    /// `SHM_LOCK` and `SHM_UNLOCK`: nothing is ever paged out, so only the accounting is to be done. `limit`: bytes
    /// that a user may lock.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`, `ENOMEM`.
    pub fn lock(&mut self, id: i32, cred: &Cred, on: bool, limit: u64) -> Result<()> {
        let record = self.ids.get(id).ok_or(Errno::EINVAL)?;
        let privileged = cred.capable(Caps::IPC_LOCK);
        let owner = cred.euid == record.perm.uid || cred.euid == record.perm.cuid;
        if !privileged && (!owner || (on && limit == 0)) {
            return Err(Errno::EPERM);
        }
        let was = record.perm.mode & LOCKED != 0;
        if on && !was && !privileged {
            let own = |record: &Record| record.perm.mode & LOCKED != 0 && record.locked_by == cred.uid;
            let locked: u64 =
                self.ids.iter().filter(|(_, record)| own(record)).map(|(_, record)| record.pages()).sum();
            if (locked + record.pages()).saturating_mul(PAGE_SIZE) > limit {
                return Err(Errno::ENOMEM);
            }
        }
        if let Some(record) = self.ids.get_mut(id) {
            record.perm.mode = if on { record.perm.mode | LOCKED } else { record.perm.mode & !LOCKED };
            record.locked_by = if on && !was { cred.uid } else { record.locked_by };
        }
        Ok(())
    }

    /// What shmat(2) is to map, for an area with these rights.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn take(&mut self, id: i32, cred: &Cred, prot: Prot) -> Result<Attachment> {
        let record = self.ids.get_mut(id).ok_or(Errno::EINVAL)?;
        let mut wanted = READ;
        wanted |= if prot.contains(Prot::WRITE) { WRITE } else { 0 };
        wanted |= if prot.contains(Prot::EXEC) { EXEC } else { 0 };
        record.perm.check(cred, wanted)?;
        record.attached += 1;
        Ok(Attachment { hold: Hold(record.segment.clone()), size: record.size })
    }
}

/// shmget(2). `admit`: what else is asked, without locks, before one of so many bytes is made.
///
/// # Errors
/// `EINVAL`, `ENOSPC`, `ENOMEM`, `ENOENT`, `EEXIST`, `EACCES`.
pub fn get(
    namespace: &Arc<Namespace>,
    key: i32,
    size: u64,
    flags: u32,
    cred: &Cred,
    admit: impl FnOnce(u64) -> Result<()>,
) -> Result<i32> {
    let fits = |record: &Record| if record.size < size { Err(Errno::EINVAL) } else { Ok(()) };
    if let Found::Old(id) = namespace.shm.lock().ids.find(key, flags, cred, fits)? {
        return Ok(id);
    }
    if size == 0 || size > MAX {
        return Err(Errno::EINVAL);
    }
    let len = page_up(size).ok_or(Errno::ENOSPC)?;
    admit(len)?;
    let mut table = namespace.shm.lock();
    // Somebody else may have made one meanwhile.
    if let Found::Old(id) = table.ids.find(key, flags, cred, fits)? {
        return Ok(id);
    }
    let total = table.total.checked_add(len / PAGE_SIZE).filter(|&total| total <= ALL);
    let total = total.ok_or(Errno::ENOSPC)?;
    let of = Arc::downgrade(namespace);
    let id = table.ids.add(key, NUMBER, |id| Record {
        perm: Perm::new(key, flags, cred),
        size,
        attached: 0,
        times: [0, 0, now()],
        pids: [caller(), 0],
        locked_by: 0,
        segment: Arc::new(Segment { memory: SharedMemory::new(len / PAGE_SIZE), id, key, of }),
    })?;
    table.total = total;
    Ok(id)
}

/// Whether a segment of `len` bytes can be promised.
///
/// # Errors
/// `EINVAL` (longer than any file), `ENOMEM`.
pub fn admit(len: u64, reserve: bool) -> Result<()> {
    if len > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    let flags = if reserve { VmaFlags::empty() } else { VmaFlags::NORESERVE };
    may_promise(len, flags)
}
