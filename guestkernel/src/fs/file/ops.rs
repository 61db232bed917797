//! What an open object does, as a [`File`] asks it.

use alloc::{string::String, sync::Arc};
use core::any::Any;

use super::File;
use crate::{
    errno::{Errno, Result},
    fs::inode::Dirent,
    mm::Mappable,
    task::wait::WaitQueue,
    uio::{Sink, Source},
};

bitflags::bitflags! {
    /// poll(2) bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct PollMask: u32 {
        /// Readable.
        const IN = 1;
        /// Urgent data.
        const PRI = 2;
        /// Writable.
        const OUT = 4;
        /// Error.
        const ERR = 8;
        /// Hang-up.
        const HUP = 0x10;
        /// Not open.
        const NVAL = 0x20;
        /// As `IN`.
        const RDNORM = 0x40;
        /// Priority band readable.
        const RDBAND = 0x80;
        /// As `OUT`.
        const WRNORM = 0x100;
        /// Priority band writable.
        const WRBAND = 0x200;
        /// The peer closed its writing half.
        const RDHUP = 0x2000;
    }
}

impl PollMask {
    /// Readable in both spellings.
    pub const READABLE: Self = Self::IN.union(Self::RDNORM);
    /// Writable in both spellings.
    pub const WRITABLE: Self = Self::OUT.union(Self::WRNORM);
}

/// What an open object does. Defaults are what Linux gives where the operation makes no sense.
#[allow(clippy::missing_errors_doc, reason = "errno of the system call they serve")]
pub trait FileOps: Any + Send + Sync {
    /// Reads at `offset` (streams ignore it).
    fn read_at(&self, _file: &File, _sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    /// Writes at `offset` (streams ignore it).
    fn write_at(&self, _file: &File, _source: &mut Source<'_>, _offset: u64) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    /// Writes at the end; gives bytes and the position after them.
    fn append(&self, file: &File, source: &mut Source<'_>) -> Result<(usize, u64)> {
        let end = file.inode().size()?;
        let done = self.write_at(file, source, end)?;
        Ok((done, end + done as u64))
    }

    /// Has no position.
    fn is_stream(&self) -> bool {
        false
    }

    /// lseek(2) does nothing and gives 0, as on most descriptors that are no files.
    fn ignores_seeks(&self) -> bool {
        false
    }

    /// What is ready now.
    fn poll(&self, _file: &File) -> PollMask {
        PollMask::READABLE | PollMask::WRITABLE
    }

    /// Queues that are woken when [`Self::poll`] may have changed.
    fn queues(&self) -> [Option<&WaitQueue>; 2] {
        [None, None]
    }

    /// With `O_ASYNC` its owner is told by a signal when one of [`Self::queues`] is woken.
    fn tells(&self) -> bool {
        false
    }

    /// Device operation.
    fn ioctl(&self, _file: &File, _request: u32, _arg: u64) -> Result<u64> {
        Err(Errno::ENOTTY)
    }

    /// Calls `emit` for entries from `cookie` on until it gives `false`. `.` and `..` come from the VFS.
    fn read_dir(&self, _file: &File, _cookie: u64, _emit: &mut dyn FnMut(&Dirent<'_>) -> bool) -> Result<()> {
        Err(Errno::ENOTDIR)
    }

    /// The object as memory.
    fn mappable(&self, _file: &File) -> Result<Arc<dyn Mappable>> {
        Err(Errno::ENODEV)
    }

    /// Mapping it gives memory of its own (`/dev/zero`).
    fn is_zero(&self) -> bool {
        false
    }

    /// fsync(2).
    fn sync(&self, _data_only: bool) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// fallocate(2).
    fn allocate(&self, _mode: u32, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::ENODEV)
    }

    /// The end, as `SEEK_END` uses it.
    fn end(&self, file: &File) -> Result<u64> {
        file.inode().size()
    }

    /// The next data, or the next `hole`, from `offset` on, which is before the end. What keeps no account of
    /// holes is all data.
    fn seek_data(&self, file: &File, offset: u64, hole: bool) -> Result<u64> {
        if hole { self.end(file) } else { Ok(offset) }
    }

    /// Lines of its own in `/proc/PID/fdinfo`.
    fn info(&self) -> String {
        String::new()
    }

    /// The position or flags are about to change; directories drop what they read ahead.
    fn rewound(&self) {}
}

impl core::fmt::Debug for dyn FileOps {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FileOps")
    }
}
