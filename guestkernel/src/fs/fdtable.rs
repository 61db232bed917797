//! Descriptor tables.
//!
//! A table maps small numbers to open file descriptions, with a close-on-exec bit each. Threads share it,
//! fork copies it. The lock is a leaf: files are dropped after it is released.

use alloc::{sync::Arc, vec::Vec};

use super::{dnotify, file::File, locks};
use crate::{
    arch::try_current,
    errno::{Errno, Result},
    sync::SpinLock,
};

/// Highest `RLIMIT_NOFILE`.
pub const MAX_FILES: u64 = 1 << 20;

#[derive(Clone, Debug, Default)]
struct Table {
    files: Vec<Option<Arc<File>>>,
    /// Close-on-exec, one bit each.
    cloexec: Vec<u64>,
    /// No number below this is free.
    first_free: usize,
}

/// Open descriptors of a process.
#[derive(Debug, Default)]
pub struct FdTable {
    table: SpinLock<Table>,
}

impl Table {
    fn set_cloexec(&mut self, fd: usize, on: bool) {
        if let Some(word) = self.cloexec.get_mut(fd / 64) {
            if on { *word |= 1 << (fd % 64) } else { *word &= !(1 << (fd % 64)) }
        }
    }

    fn cloexec(&self, fd: usize) -> bool {
        self.cloexec.get(fd / 64).is_some_and(|word| word & 1 << (fd % 64) != 0)
    }

    /// Makes slot `fd` exist.
    fn grow(&mut self, fd: usize) -> Result<()> {
        if fd >= self.files.len() {
            let len = (fd + 1).next_multiple_of(64);
            self.files.try_reserve(len - self.files.len()).map_err(|_| Errno::ENOMEM)?;
            self.cloexec.try_reserve(len / 64).map_err(|_| Errno::ENOMEM)?;
            self.files.resize(len, None);
            self.cloexec.resize(len / 64, 0);
        }
        Ok(())
    }

    fn take(&mut self, fd: usize) -> Option<Arc<File>> {
        let file = self.files.get_mut(fd)?.take()?;
        self.set_cloexec(fd, false);
        self.first_free = self.first_free.min(fd);
        Some(file)
    }
}

impl FdTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The file behind a descriptor.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get(&self, fd: i32) -> Result<Arc<File>> {
        let table = self.table.lock();
        match table.files.get(fd as usize) {
            Some(Some(file)) => Ok(file.clone()),
            _ => Err(Errno::EBADF),
        }
    }

    /// Gives `file` the lowest free number from `min` on, below `limit` (`RLIMIT_NOFILE`).
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`; `EINVAL` when `min` is not below the limit.
    pub fn install(&self, file: Arc<File>, cloexec: bool, min: u32, limit: u64) -> Result<i32> {
        let limit = limit.min(MAX_FILES) as usize;
        let min = min as usize;
        if min != 0 && min >= limit {
            return Err(Errno::EINVAL);
        }
        let mut table = self.table.lock();
        let from = min.max(table.first_free);
        let fd = (from..table.files.len())
            .find(|&fd| table.files[fd].is_none())
            .unwrap_or(from.max(table.files.len()));
        if fd >= limit {
            return Err(Errno::EMFILE);
        }
        table.grow(fd)?;
        table.files[fd] = Some(file);
        table.set_cloexec(fd, cloexec);
        if min <= table.first_free {
            table.first_free = fd + 1;
        }
        Ok(fd as i32)
    }

    /// Whether a descriptor below `limit` is free.
    #[must_use]
    pub fn has_room(&self, limit: u64) -> bool {
        let table = self.table.lock();
        let limit = limit.min(MAX_FILES) as usize;
        table.files.len() < limit || (table.first_free..limit).any(|fd| table.files[fd].is_none())
    }

    /// Puts `file` at `fd`, closing what was there.
    ///
    /// # Errors
    /// `EBADF` when `fd` is not below `limit`, `ENOMEM`.
    pub fn install_at(&self, fd: i32, file: Arc<File>, cloexec: bool, limit: u64) -> Result<()> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if at as u64 >= limit.min(MAX_FILES) {
            return Err(Errno::EBADF);
        }
        let old = {
            let mut table = self.table.lock();
            table.grow(at)?;
            let old = table.files[at].replace(file);
            table.set_cloexec(at, cloexec);
            if at == table.first_free {
                table.first_free = at + 1;
            }
            old
        };
        old.iter().for_each(|old| self.let_go(old));
        Ok(())
    }

    /// Takes a descriptor out.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn close(&self, fd: i32) -> Result<Arc<File>> {
        let file = self.table.lock().take(fd as usize).ok_or(Errno::EBADF)?;
        self.let_go(&file);
        Ok(file)
    }

    /// The table's identity among those that there are.
    #[must_use]
    pub fn id(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }

    /// A descriptor of `file` was closed: what belonged to the table's processes ends, whoever else has it open.
    fn let_go(&self, file: &Arc<File>) {
        if file.is_path() {
            return;
        }
        dnotify::end(file, self.id());
        if let Some(me) = try_current().filter(|_| locks::any())
            && me.files_if_alive().is_some_and(|own| own.id() == self.id())
        {
            locks::release_process(file.inode(), me.process.pid);
        }
    }

    /// Close-on-exec flag.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn cloexec(&self, fd: i32) -> Result<bool> {
        let table = self.table.lock();
        match table.files.get(fd as usize) {
            Some(Some(_)) => Ok(table.cloexec(fd as usize)),
            _ => Err(Errno::EBADF),
        }
    }

    /// Sets the close-on-exec flag.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn set_cloexec(&self, fd: i32, on: bool) -> Result<()> {
        let mut table = self.table.lock();
        match table.files.get(fd as usize) {
            Some(Some(_)) => {
                table.set_cloexec(fd as usize, on);
                Ok(())
            }
            _ => Err(Errno::EBADF),
        }
    }

    /// Closes a range, both ends included; or marks it close-on-exec.
    pub fn close_range(&self, first: u32, last: u32, mark_only: bool) {
        let mut closed = Vec::new();
        let mut table = self.table.lock();
        let end = table.files.len().min(last as usize + 1);
        for fd in first as usize..end {
            if mark_only {
                let open = table.files[fd].is_some();
                table.set_cloexec(fd, open);
            } else {
                closed.extend(table.take(fd));
            }
        }
        drop(table);
        closed.iter().for_each(|file| self.let_go(file));
    }

    /// Closes what is marked close-on-exec.
    pub fn close_on_exec(&self) {
        let mut closed = Vec::new();
        let mut table = self.table.lock();
        for word in 0..table.cloexec.len() {
            while table.cloexec[word] != 0 {
                let fd = word * 64 + table.cloexec[word].trailing_zeros() as usize;
                match table.take(fd) {
                    Some(file) => closed.push(file),
                    None => table.set_cloexec(fd, false),
                }
            }
        }
        drop(table);
        closed.iter().for_each(|file| self.let_go(file));
    }

    /// A copy, as fork makes it.
    #[must_use]
    pub fn fork(&self) -> Arc<Self> {
        let table = self.table.lock();
        let last = table.files.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let len = last.next_multiple_of(64);
        Arc::new(Self {
            table: SpinLock::new(Table {
                files: table.files[..len].to_vec(),
                cloexec: table.cloexec[..len / 64].to_vec(),
                first_free: table.first_free,
            }),
        })
    }

    /// Open descriptors in order, for `/proc`.
    #[must_use]
    pub fn list(&self) -> Vec<i32> {
        let table = self.table.lock();
        (0..table.files.len()).filter(|&fd| table.files[fd].is_some()).map(|fd| fd as i32).collect()
    }
}

impl Drop for FdTable {
    fn drop(&mut self) {
        if dnotify::any() {
            let table = core::mem::take(self.table.get_mut());
            table.files.iter().flatten().for_each(|file| dnotify::end(file, self.id()));
        }
    }
}
