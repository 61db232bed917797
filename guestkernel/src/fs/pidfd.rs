//! pidfd_open(2): processes and threads as descriptors.
//!
//! A descriptor keeps the process's record, not its memory or stack, and never names another process that got the
//! same number later.

use alloc::{
    format,
    string::String,
    sync::{Arc, Weak},
};
use hostcall::{Attr, FileSystemStat, SetAttr};
use linux_raw_sys::general::{O_EXCL, O_RDWR, S_IFREG};

use super::{
    anon::{self, AnonInode},
    file::{File, FileOps, PollMask},
    inode::Inode,
};
use crate::{
    errno::{Errno, Result},
    sync::Once,
    task::{Process, Task, process::Phase, wait::WaitQueue},
};

/// `PID_FS_MAGIC`.
const MAGIC: u64 = 0x5049_4446;

/// A process or thread that can be waited for.
pub struct PidFd {
    process: Arc<Process>,
    thread: Option<Thread>,
}

/// The thread of a descriptor that is about one.
struct Thread {
    tid: u32,
    task: Weak<Task>,
}

/// A descriptor of the process of `task`, or of that thread alone. `flags` are status flags.
#[must_use]
pub fn open(task: &Arc<Task>, thread: bool, flags: u32) -> Arc<File> {
    let thread = thread.then(|| Thread { tid: task.tid(), task: Arc::downgrade(task) });
    make(PidFd { process: task.process.clone(), thread }, flags)
}

/// A descriptor of a process that may have no thread left.
#[must_use]
pub fn open_process(process: &Arc<Process>, flags: u32) -> Arc<File> {
    make(PidFd { process: process.clone(), thread: None }, flags)
}

fn make(pidfd: PidFd, flags: u32) -> Arc<File> {
    static DEV: Once<u64> = Once::new();
    let inode = PidInode(AnonInode::new(0o700, 0, 0, *DEV.call_once(anon::next_dev), MAGIC));
    let thread = pidfd.is_thread();
    let file = File::anonymous(Arc::new(pidfd), Arc::new(inode), b"anon_inode:[pidfd]", O_RDWR | flags);
    if thread {
        file.show_flags(O_EXCL);
    }
    file
}

/// A regular file that does not say so, whose attributes are fixed.
#[derive(Debug)]
struct PidInode(Arc<AnonInode>);

impl Inode for PidInode {
    fn attr(&self) -> Result<Attr> {
        self.0.attr()
    }

    fn kind(&self) -> u32 {
        S_IFREG
    }

    fn set_attr(&self, _change: &SetAttr) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn statfs(&self) -> Result<FileSystemStat> {
        self.0.statfs()
    }

    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Err(Errno::ENXIO)
    }
}

impl PidFd {
    /// One of a process, without a descriptor.
    #[must_use]
    pub fn of(process: Arc<Process>) -> Self {
        Self { process, thread: None }
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Whether it is about one thread.
    #[must_use]
    pub fn is_thread(&self) -> bool {
        self.thread.is_some()
    }

    /// The id that it was opened with.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.thread.as_ref().map_or(self.process.pid, |thread| thread.tid)
    }

    /// The thread, or a living one of the process.
    ///
    /// # Errors
    /// `ESRCH` when there is none.
    pub fn task(&self) -> Result<Arc<Task>> {
        match &self.thread {
            None => self.process.any_thread(),
            Some(thread) => thread.task.upgrade().filter(|task| self.lists(task)),
        }
        .ok_or(Errno::ESRCH)
    }

    fn lists(&self, task: &Arc<Task>) -> bool {
        self.process.inner.lock().threads.iter().any(|other| Arc::ptr_eq(other, task))
    }

    /// Whether nothing is left that could be waited for.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.process.phase() == Phase::Reaped
            || self.thread.as_ref().is_some_and(|thread| thread.tid != self.process.pid)
                && self.task().is_err()
    }
}

impl FileOps for PidFd {
    fn poll(&self, _file: &File) -> PollMask {
        if self.is_gone() {
            PollMask::READABLE | PollMask::HUP
        } else if self.process.phase() == Phase::Ended || self.is_thread() && self.task().is_err() {
            PollMask::READABLE
        } else {
            PollMask::empty()
        }
    }

    fn queues(&self) -> [Option<&WaitQueue>; 2] {
        [Some(&self.process.ended), self.thread.as_ref().map(|_| &self.process.threads_wait)]
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn ioctl(&self, _file: &File, request: u32, arg: u64) -> Result<u64> {
        crate::syscall::pidfd::ioctl(self, request, arg)
    }

    fn info(&self) -> String {
        let id = if self.is_gone() { -1 } else { i64::from(self.id()) };
        format!("Pid:\t{id}\nNSpid:\t{id}\n")
    }
}

impl core::fmt::Debug for PidFd {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PidFd({})", self.id())
    }
}
