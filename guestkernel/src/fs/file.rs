//! Open file descriptions.
//!
//! A [`File`] is what open(2) makes and descriptors share: the object's operations ([`FileOps`]), access mode,
//! status flags and the position. The position's mutex is held over a read or write that uses it, so that
//! concurrent ones do not overlap; objects without a position (pipes, terminals) take no lock here.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use hostcall::Attr;
use linux_raw_sys::general::{
    IN_ACCESS, IN_MODIFY, O_ACCMODE, O_APPEND, O_CLOEXEC, O_CREAT, O_DIRECT, O_DIRECTORY, O_DSYNC, O_EXCL,
    O_LARGEFILE, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_SYNC, O_TRUNC, O_WRONLY, S_IFCHR,
    SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET,
};

use super::{
    asynchronous::Telling,
    busy,
    inode::Inode,
    inotify, lease,
    mount::{Mount, Path},
    owner::Owner,
    protect,
};
use crate::{
    arch::try_current,
    errno::{Errno, Result},
    mm::Mappable,
    signal::{self, SigInfo},
    sync::{Mutex, SpinLock},
    task::{cred::Cred, rlimit::Resource},
    tty,
    uio::{Sink, Source},
};

mod ops;

pub use ops::{FileOps, PollMask};

/// An open file description.
#[derive(Debug)]
pub struct File {
    ops: Arc<dyn FileOps>,
    path: Path,
    inode: Arc<dyn Inode>,
    /// Access mode and status flags as `F_GETFL` shows them.
    flags: AtomicU32,
    position: Mutex<u64>,
    /// It may hold locks, which go with it.
    locked: AtomicBool,
    /// It counts as a writer.
    writes: bool,
    /// It was opened as a regular file, and counts as a writer or a reader.
    opens: bool,
    /// It was opened by a path, so that what is done with it may be watched.
    noted: bool,
    /// It counts as a running program.
    runs: AtomicBool,
    /// In whose name it was opened by a path.
    opener: Option<Arc<Cred>>,
    /// Whom it sends signals, once that was asked for.
    owner: SpinLock<Option<Box<Owner>>>,
    /// How it does that, with `O_ASYNC`.
    telling: SpinLock<Option<Box<Telling>>>,
}

impl Drop for File {
    fn drop(&mut self) {
        if let Some(telling) = self.telling.lock().take() {
            telling.end(self.ops.queues());
        }
        if self.noted {
            inotify::closed(&self.path, self.flags());
        }
        if self.locked.load(Ordering::Relaxed) {
            super::locks::release_file(&self.inode, self);
        }
        if self.opens {
            end_use(&self.path, &self.inode, self.writes);
        }
        if self.runs.load(Ordering::Relaxed) {
            busy::end_run(&self.inode);
        }
    }
}

/// Flags that act at open only.
const OPEN_ONLY: u32 = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC;
/// `O_ASYNC`, which holders of leases show too.
const FASYNC: u32 = 0o20000;
/// Flags that `F_SETFL` changes.
const SETTABLE: u32 =
    O_APPEND | O_NONBLOCK | linux_raw_sys::general::O_DIRECT | linux_raw_sys::general::O_NOATIME;

/// One more description has a regular file open.
fn begin_use(path: &Path, inode: &Arc<dyn Inode>, writes: bool) -> Result<()> {
    if writes {
        path.mount.begin_write()?;
        busy::begin_write(inode).inspect_err(|_| path.mount.end_write())?;
    } else if let Some(readers) = inode.readers() {
        readers.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// One less.
fn end_use(path: &Path, inode: &Arc<dyn Inode>, writes: bool) {
    if writes {
        busy::end_write(inode);
        path.mount.end_write();
    } else if let Some(readers) = inode.readers() {
        readers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An `O_PATH` descriptor: names a place and does no I/O.
struct PathOnly;

impl FileOps for PathOnly {}

impl File {
    /// Opens an inode found by a walk; permissions were checked.
    ///
    /// # Errors
    /// As the inode's `open`.
    pub fn open(path: Path, flags: u32) -> Result<Arc<Self>> {
        let inode = path.inode()?.clone();
        let opens = inode.is_regular();
        let writes = flags & O_ACCMODE != O_RDONLY && opens;
        let ops = if opens {
            begin_use(&path, &inode, writes)?;
            lease::request(&inode, writes, flags & O_NONBLOCK != 0)
                .and_then(|()| inode.clone().open(flags))
                .inspect_err(|_| end_use(&path, &inode, writes))?
        } else {
            super::devpts::open_foreign_ptmx(&path, &inode).unwrap_or_else(|| inode.clone().open(flags))?
        };
        if inode.kind() == S_IFCHR {
            if flags & O_DIRECT != 0 {
                return Err(Errno::EINVAL);
            }
            tty::file::opened(&ops, flags);
        }
        let mut file = Self::with(ops, path, inode, flags | O_LARGEFILE);
        (file.writes, file.opens) = (writes, opens);
        file.opener = try_current().map(|me| me.cred());
        file.noted = true;
        inotify::opened(&file.path);
        Ok(Arc::new(file))
    }

    /// As [`Self::open`] for reading a program that is to be run: nobody may write it as long as this lives.
    ///
    /// # Errors
    /// `ETXTBSY`, and as the inode's `open`.
    pub fn open_program(path: Path) -> Result<Arc<Self>> {
        let file = Self::open(path, O_RDONLY)?;
        busy::begin_run(&file.inode)?;
        file.runs.store(true, Ordering::Relaxed);
        Ok(file)
    }

    /// An `O_PATH` descriptor.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn open_path(path: Path, flags: u32) -> Result<Arc<Self>> {
        Self::open_path_with(path, flags, Arc::new(PathOnly))
    }

    /// An `O_PATH` descriptor that keeps something: `ops` do no I/O.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn open_path_with(path: Path, flags: u32, ops: Arc<dyn FileOps>) -> Result<Arc<Self>> {
        let inode = path.inode()?.clone();
        let flags = flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW);
        let mut file = Self::with(ops, path, inode, flags);
        file.opener = try_current().map(|me| me.cred());
        Ok(Arc::new(file))
    }

    /// An object that no path leads to. `name` is what `/proc/PID/fd` shows.
    #[must_use]
    pub fn anonymous(ops: Arc<dyn FileOps>, inode: Arc<dyn Inode>, name: &[u8], flags: u32) -> Arc<Self> {
        let dentry = super::dentry::Dentry::anonymous(name, inode.clone());
        let path = Path { mount: Mount::none(), dentry };
        Arc::new(Self::with(ops, path, inode, flags))
    }

    fn with(ops: Arc<dyn FileOps>, path: Path, inode: Arc<dyn Inode>, flags: u32) -> Self {
        Self {
            ops,
            path,
            inode,
            flags: AtomicU32::new(flags & !OPEN_ONLY),
            position: Mutex::new(0),
            locked: AtomicBool::new(false),
            writes: false,
            opens: false,
            noted: false,
            runs: AtomicBool::new(false),
            opener: None,
            owner: SpinLock::new(None),
            telling: SpinLock::new(None),
        }
    }

    /// The same object as a description of its own, whose calls do not wait.
    #[must_use]
    pub fn without_waiting(&self) -> Self {
        Self::with(self.ops.clone(), self.path.clone(), self.inode.clone(), self.flags() | O_NONBLOCK)
    }

    /// The object's operations.
    #[must_use]
    pub fn ops(&self) -> &Arc<dyn FileOps> {
        &self.ops
    }

    /// The operations, when they are a `T`.
    #[must_use]
    pub fn downcast<T: FileOps>(&self) -> Option<&T> {
        (self.ops.as_ref() as &dyn Any).downcast_ref()
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its inode.
    #[must_use]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// Access mode and status flags.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// `F_SETFL`.
    pub fn set_flags(&self, flags: u32) {
        let keep = self.flags() & !SETTABLE;
        self.flags.store(keep | flags & SETTABLE, Ordering::Relaxed);
    }

    /// Adds status flags that nobody can set.
    pub(super) fn show_flags(&self, flags: u32) {
        self.flags.fetch_or(flags, Ordering::Relaxed);
    }

    /// Shows `O_ASYNC` or not.
    pub(super) fn show_asynchronous(&self, on: bool) {
        if on {
            self.flags.fetch_or(FASYNC, Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!FASYNC, Ordering::Relaxed);
        }
    }

    /// Whether `O_ASYNC` is set.
    pub(super) fn is_asynchronous(&self) -> bool {
        self.flags() & FASYNC != 0
    }

    /// Sets how its owner is told that it may be ready, and shows that; gives what was there.
    pub(super) fn set_telling(&self, telling: Option<Box<Telling>>) -> Option<Box<Telling>> {
        let mut place = self.telling.lock();
        self.show_asynchronous(telling.is_some());
        core::mem::replace(&mut *place, telling)
    }

    /// Nobody is sent signals any more, as `O_ASYNC` shows.
    pub(super) fn clear_owner(&self) {
        let old = self.owner.lock().take();
        drop(old);
        self.show_asynchronous(false);
    }

    /// Whom it sends signals.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.owner.lock().as_deref().cloned()
    }

    /// Changes whom it sends signals.
    ///
    /// # Errors
    /// Those of `change`, which then changes nothing.
    pub fn with_owner(&self, change: impl FnOnce(&mut Owner) -> Result<()>) -> Result<()> {
        let mut owner = self.owner().unwrap_or_default();
        change(&mut owner)?;
        if let Some(telling) = self.telling.lock().as_deref() {
            telling.set_owner(owner.clone());
        }
        let old = self.owner.lock().replace(Box::new(owner));
        drop(old);
        Ok(())
    }

    /// It is about to be locked.
    pub(super) fn note_locked(&self) {
        self.locked.store(true, Ordering::Relaxed);
    }

    /// Whether it was opened with the very credentials `cred`, by the process itself since it last changed them, if by a
    /// path at all.
    #[must_use]
    pub fn is_opened_by(&self, cred: &Arc<Cred>) -> bool {
        self.opener.as_ref().is_none_or(|opener| Arc::ptr_eq(opener, cred))
    }

    /// Whether calls that would block give `EAGAIN`.
    #[must_use]
    pub fn nonblocking(&self) -> bool {
        self.flags() & O_NONBLOCK != 0
    }

    /// Whether it is an `O_PATH` descriptor.
    #[must_use]
    pub fn is_path(&self) -> bool {
        self.flags() & O_PATH != 0
    }

    /// Checks that it may be read.
    ///
    /// # Errors
    /// `EBADF`; `EISDIR` for a directory.
    pub fn check_readable(&self) -> Result<()> {
        let flags = self.flags();
        if flags & O_PATH != 0 || flags & O_ACCMODE == O_WRONLY {
            return Err(Errno::EBADF);
        }
        Ok(())
    }

    /// Checks that it may be written.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn check_writable(&self) -> Result<()> {
        let flags = self.flags();
        if flags & O_PATH != 0 || flags & O_ACCMODE == O_RDONLY {
            return Err(Errno::EBADF);
        }
        Ok(())
    }

    /// read(2).
    ///
    /// # Errors
    /// As read(2).
    pub fn read(&self, sink: &mut Sink<'_>) -> Result<usize> {
        self.check_readable()?;
        if self.ops.is_stream() {
            let done = self.ops.read_at(self, sink, 0)?;
            self.note(done, IN_ACCESS);
            return Ok(done);
        }
        let mut position = self.position.lock();
        let done = self.ops.read_at(self, sink, *position)?;
        *position += done as u64;
        drop(position);
        self.note(done, IN_ACCESS);
        Ok(done)
    }

    /// Those who watch it are told that `done` bytes were moved.
    fn note(&self, done: usize, event: u32) {
        if self.noted && done != 0 {
            inotify::happened(&self.path.dentry, event);
        }
    }

    /// Its names were read, or its contents changed otherwise than by writing.
    pub fn note_event(&self, event: u32) {
        self.note(1, event);
    }

    /// write(2).
    ///
    /// # Errors
    /// As write(2).
    pub fn write(&self, source: &mut Source<'_>) -> Result<usize> {
        self.write_as(source, self.flags())
    }

    /// As [`Self::write`] with `flags` in the place of the file's status flags.
    ///
    /// # Errors
    /// As write(2).
    pub fn write_as(&self, source: &mut Source<'_>, flags: u32) -> Result<usize> {
        self.check_writable()?;
        if self.ops.is_stream() {
            let done = self.ops.write_at(self, source, 0)?;
            self.note(done, IN_MODIFY);
            return Ok(done);
        }
        if self.writes {
            protect::drop_privileges(&self.inode)?;
        }
        let mut position = self.position.lock();
        self.limit_size(source, *position, flags)?;
        let done = if flags & O_APPEND != 0 {
            let (done, end) = self.ops.append(self, source)?;
            *position = end;
            done
        } else {
            let done = self.ops.write_at(self, source, *position)?;
            *position += done as u64;
            done
        };
        drop(position);
        self.note(done, IN_MODIFY);
        self.sync_if_asked(flags)?;
        Ok(done)
    }

    /// pread(2).
    ///
    /// # Errors
    /// As pread(2).
    pub fn pread(&self, sink: &mut Sink<'_>, offset: u64) -> Result<usize> {
        self.check_readable()?;
        if self.ops.is_stream() {
            return Err(Errno::ESPIPE);
        }
        let done = self.ops.read_at(self, sink, offset)?;
        self.note(done, IN_ACCESS);
        Ok(done)
    }

    /// pwrite(2). With `O_APPEND` it appends, as Linux does.
    ///
    /// # Errors
    /// As pwrite(2).
    pub fn pwrite(&self, source: &mut Source<'_>, offset: u64) -> Result<usize> {
        self.pwrite_as(source, offset, self.flags())
    }

    /// As [`Self::pwrite`] with `flags` in the place of the file's status flags.
    ///
    /// # Errors
    /// As pwrite(2).
    pub fn pwrite_as(&self, source: &mut Source<'_>, offset: u64, flags: u32) -> Result<usize> {
        self.check_writable()?;
        if self.ops.is_stream() {
            return Err(Errno::ESPIPE);
        }
        if self.writes {
            protect::drop_privileges(&self.inode)?;
        }
        self.limit_size(source, offset, flags)?;
        let done = if flags & O_APPEND != 0 {
            self.ops.append(self, source)?.0
        } else {
            self.ops.write_at(self, source, offset)?
        };
        self.note(done, IN_MODIFY);
        self.sync_if_asked(flags)?;
        Ok(done)
    }

    /// Cuts a write to a regular file to what `RLIMIT_FSIZE` allows; where it allows nothing, the caller gets
    /// `SIGXFSZ`.
    fn limit_size(&self, source: &mut Source<'_>, position: u64, flags: u32) -> Result<()> {
        let Some(me) = try_current().filter(|_| self.inode.is_regular()) else { return Ok(()) };
        let limit = me.process.rlimit(Resource::FileSize).soft;
        if limit == u64::MAX || source.remaining() == 0 {
            return Ok(());
        }
        let position = if flags & O_APPEND != 0 { self.inode.size()? } else { position };
        let room = limit.saturating_sub(position);
        if room == 0 {
            signal::send_to_task(&me.arc(), SigInfo::kernel(signal::SIGXFSZ))?;
            return Err(Errno::EFBIG);
        }
        source.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        Ok(())
    }

    fn sync_if_asked(&self, flags: u32) -> Result<()> {
        if flags & O_DSYNC != 0 { self.ops.sync(flags & O_SYNC != O_SYNC) } else { Ok(()) }
    }

    /// lseek(2).
    ///
    /// # Errors
    /// As lseek(2).
    pub fn seek(&self, offset: i64, whence: u32) -> Result<u64> {
        if self.is_path() {
            return Err(Errno::EBADF);
        }
        if self.ops.ignores_seeks() && whence <= SEEK_HOLE {
            return Ok(0);
        }
        if self.ops.is_stream() {
            return Err(Errno::ESPIPE);
        }
        let mut position = self.position.lock();
        let base = match whence {
            SEEK_SET => 0,
            SEEK_CUR => *position,
            SEEK_END => self.ops.end(self)?,
            SEEK_DATA | SEEK_HOLE => {
                let end = self.ops.end(self)?;
                let from = u64::try_from(offset).ok().filter(|&from| from < end).ok_or(Errno::ENXIO)?;
                *position = self.ops.seek_data(self, from, whence == SEEK_HOLE)?;
                return Ok(*position);
            }
            _ => return Err(Errno::EINVAL),
        };
        let to = base.checked_add_signed(offset).filter(|&to| to <= i64::MAX as u64).ok_or(Errno::EINVAL)?;
        if to != *position {
            *position = to;
            self.ops.rewound();
        }
        Ok(to)
    }

    /// Runs `f` with the position locked; it may move it.
    pub fn with_position<T>(&self, f: impl FnOnce(&mut u64) -> T) -> T {
        f(&mut self.position.lock())
    }

    /// The position, for `/proc/PID/fdinfo`.
    #[must_use]
    pub fn position(&self) -> u64 {
        *self.position.lock()
    }

    /// What is ready.
    #[must_use]
    pub fn poll(&self) -> PollMask {
        self.ops.poll(self)
    }

    /// Attributes.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn attr(&self) -> Result<Attr> {
        self.inode.attr()
    }

    /// The object as memory.
    ///
    /// # Errors
    /// `ENODEV` when it cannot be mapped.
    pub fn mappable(&self) -> Result<Arc<dyn Mappable>> {
        self.ops.mappable(self)
    }

    /// Reads up to the end into a new vector of at most `max` bytes, from `offset`. For the kernel's own use.
    ///
    /// # Errors
    /// Those of reading; `ENOMEM`.
    pub fn read_to_vec(&self, offset: u64, max: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let size = usize::try_from(self.inode.size()?.saturating_sub(offset)).unwrap_or(usize::MAX).min(max);
        bytes.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(size, 0);
        let mut done = 0;
        while done < size {
            let mut sink = Sink::Kernel(&mut bytes[done..]);
            let step = self.ops.read_at(self, &mut sink, offset + done as u64)?;
            if step == 0 {
                break;
            }
            done += step;
        }
        bytes.truncate(done);
        Ok(bytes)
    }
}

/// A file's path as `/proc/PID/maps` shows it.
pub(super) fn shown_path(path: &Path) -> Vec<u8> {
    let mut top = path.mount.clone();
    while let Some(point) = top.mount_point() {
        top = point.mount;
    }
    path.display(&Path::root_of(&top))
}
