//! The call page and the list of hostcalls.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The I/O port whose write (32 bits, value ignored) makes the VMM serve the calling vCPU's [`CallPage`].
pub const HOSTCALL_PORT: u16 = 0x5246;

/// Bytes for names and structures in a [`CallPage`].
pub const CALL_DATA_LEN: usize = crate::PAGE_SIZE - size_of::<CallHeader>();

/// The level of a line of the trace that the user asked for: it is logged as it is, without a level.
pub const LOG_TRACE: u64 = 6;

/// Most bytes of one `PopulateMemory`.
pub const MAX_POPULATE: u64 = 2 << 20;
/// In the result of a listing: nothing follows.
pub const READDIR_END: u64 = 1 << 32;

/// Longest value of an extended attribute, and longest list of names, in bytes.
pub const MAX_XATTR: u64 = 65536;

/// Most inodes of one `FsGetattrs`.
pub const MAX_GETATTRS: usize = 32;

/// Most [`IoRange`]s in one call.
pub const MAX_IO_RANGES: usize = 128;

/// The fixed head of a [`CallPage`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CallHeader {
    /// A [`Hostcall`] number.
    pub nr: u32,
    /// Zero.
    pub reserved: u32,
    /// Arguments; unused ones are ignored.
    pub args: [u64; 6],
    /// Written by the VMM: the result, or a negative Linux errno.
    pub ret: i64,
}

/// One vCPU's request and answer. Exactly a page.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CallPage {
    /// Number, arguments, result.
    pub header: CallHeader,
    /// In and out bytes; each call's comment says what is in it.
    pub data: [u8; CALL_DATA_LEN],
}

const _: () = assert!(size_of::<CallPage>() == crate::PAGE_SIZE);
const _: () = assert!(MAX_GETATTRS * size_of::<crate::Attr>() <= CALL_DATA_LEN);

/// A range of guest-physical memory, bytes. Must lie wholly in one RAM region.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IoRange {
    /// Guest-physical start.
    pub gpa: u64,
    /// Length in bytes.
    pub len: u64,
}

macro_rules! hostcalls {
    ($($(#[$doc:meta])* $name:ident = $nr:literal, host: [$($sys:literal),*];)*) => {
        /// Every hostcall. Each entry says its arguments (`a0`…), what `data` holds, and its result.
        ///
        /// *inode handle* means a handle made by `FsLookup`, `FsCreate`, `FsMkdir`, `FsSymlink`, `FsMknod`,
        /// `FsTmpfile` or the root handle. It denotes an inode; `FsOpen` gives it the ability to do I/O. Offsets and
        /// open flags belong to the sentry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Hostcall { $($(#[$doc])* $name = $nr),* }

        impl Hostcall {
            /// All calls in numeric order.
            pub const ALL: &'static [Hostcall] = &[$(Hostcall::$name),*];

            /// The call with this number.
            #[must_use]
            pub const fn from_nr(nr: u32) -> Option<Self> {
                match nr { $($nr => Some(Self::$name),)* _ => None }
            }

            /// The call's name, for logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// The host system calls that serving this call may make. The VMM's seccomp filter is
            /// generated from these.
            #[must_use]
            pub const fn host_syscalls(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($sys),*]),* }
            }
        }
    };
}

hostcalls! {
    /// The sandbox is done. `a0` = wait status of its first process, as `wait4` encodes it. Does not return.
    Exit = 1, host: ["exit_group"];
    /// A line for the sandbox log. `a0` = level (1 error … 5 trace, or [`LOG_TRACE`](crate::LOG_TRACE)),
    /// `a1` = length; `data` = UTF-8 text.
    Log = 2, host: ["write"];
    /// The sentry panicked. `a0` = length; `data` = message. `a1` = rip, `a2` = rbp of the panic, for the
    /// host's symboliser. Does not return.
    Panic = 3, host: ["write", "exit_group"];
    /// Takes the next [`Command`](crate::Command). `a0` = gpa, `a1` = capacity of the buffer. Result: its
    /// encoded length, 0 when there is none, `-EMSGSIZE` (command kept) when it does not fit.
    TakeCommand = 4, host: [];
    /// Makes vCPU `a0` runnable at the boot-info entry point. `a1` = its initial stack pointer.
    StartCpu = 5, host: ["futex"];
    /// Gives pages back to the host. `a0` = count of [`IoRange`](crate::IoRange)s in `data`, page aligned.
    /// They read as zero afterwards.
    ReleaseMemory = 6, host: ["fallocate"];
    /// The first process cannot be started. `a0` = errno, `a1` = length; `data` = UTF-8 text that says what
    /// failed (`exec /bin/foo: no such file or directory`). Does not return.
    StartFailed = 7, host: ["write", "exit_group"];
    /// A process was killed because the container has no memory left. `a0` = how many were so far.
    OutOfMemory = 8, host: ["sendto"];
    /// Provides `a1` bytes of RAM at gpa `a0` that are to be used soon, page aligned, at most
    /// [`MAX_POPULATE`](crate::MAX_POPULATE). Contents stay. Advice only.
    PopulateMemory = 9, host: ["madvise", "ioctl"];
    /// The first process is ready and waits for [`Command::Go`](crate::Command::Go), as the start asked for.
    Created = 10, host: ["sendto"];
    /// An answer to the command with tag `a0`. `a1` = length; `data` = an encoded [`Answer`](crate::Answer).
    /// `-EINVAL` when it is none; one that nobody waits for any more is dropped.
    Answer = 11, host: ["sendto"];

    /// Reads what stream `a0` has now. `a1` = gpa, `a2` = length. Result: bytes, 0 at end of file, `-EAGAIN`.
    StreamRead = 16, host: ["ppoll", "read"];
    /// Writes to stream `a0` what it takes now. `a1` = gpa, `a2` = length. Result: bytes, `-EAGAIN`, `-EPIPE`.
    StreamWrite = 17, host: ["ppoll", "write"];
    /// Asks for one event when stream `a0` has any of the poll(2) bits `a1`. Result: the bits that are
    /// ready already (then nothing is armed).
    StreamArm = 18, host: ["ppoll", "epoll_ctl"];
    /// Terminal operation on stream `a0`. `a1` = an ioctl number among TCGETS, TCSETS, TCSETSW, TCSETSF,
    /// TIOCGWINSZ, TIOCSWINSZ; `data` = its structure, in or out. `-ENOTTY` when it is no terminal.
    StreamIoctl = 19, host: ["ioctl"];
    /// What stream `a0` is: `data` = [`Attr`](crate::Attr). `-EBADF` when it was not given.
    StreamStat = 20, host: ["statx"];
    /// Gives stream `a0` up; its number may be used for another one.
    StreamClose = 21, host: ["epoll_ctl", "close"];

    /// Looks one name up. `a0` = inode handle of a directory, `a1` = name length; `data` = name (no slash,
    /// not `.` or `..`). Result: a new inode handle; `data` = [`Attr`](crate::Attr).
    FsLookup = 32, host: ["openat2", "statx", "close"];
    /// Attributes of inode handle `a0`. `data` = [`Attr`](crate::Attr).
    FsGetattr = 33, host: ["statx"];
    /// Changes attributes of inode handle `a0`. `data` = [`SetAttr`](crate::SetAttr); afterwards
    /// [`Attr`](crate::Attr).
    FsSetattr = 34, host: ["fchmodat", "fchownat", "utimensat", "ftruncate", "openat", "statx", "close"];
    /// Readies inode handle `a0` for I/O. `a1` = 1 read, 2 write, 3 both. Idempotent; upgrades. `a2` = 1 asks whether
    /// there is an access control list: then the result is 1 if so, and if not 0.
    FsOpen = 35, host: ["openat", "close", "fgetxattr"];
    /// Forgets handle `a0`, and `a1` others in `data`, at most [`MAX_GETATTRS`](crate::MAX_GETATTRS).
    FsClose = 36, host: ["close"];
    /// Reads file `a0` at offset `a1` into `a2` [`IoRange`](crate::IoRange)s in `data`. Result: bytes.
    FsRead = 37, host: ["preadv"];
    /// Writes file `a0` at offset `a1` from `a2` [`IoRange`](crate::IoRange)s in `data`. Result: bytes.
    /// `a3` = 1: append; then `a1` is ignored and `data` afterwards holds the new file size (u64).
    FsWrite = 38, host: ["pwritev2", "fstat"];
    /// Entries of directory `a0` from cookie `a1` (0 = start) into gpa `a2`, length `a3`, as
    /// [`DirentHeader`](crate::DirentHeader) records without `.` and `..`. Result: bytes, 0 at the end, with
    /// [`READDIR_END`](crate::READDIR_END) when these are known to be the last.
    FsReaddir = 39, host: ["openat", "getdents64", "lseek", "close"];
    /// Target of symbolic link `a0`. Result: length; `data` = target.
    FsReadlink = 40, host: ["readlinkat"];
    /// Creates a regular file, exclusively. `a0` = directory, `a1` = name length, `a2` = mode, `a3` = uid,
    /// `a4` = gid; `data` = name. Result: an inode handle open for read and write; `data` =
    /// [`Attr`](crate::Attr).
    FsCreate = 41, host: ["openat2", "fchownat", "fchmodat", "statx", "unlinkat", "close"];
    /// Makes a directory; arguments and answer as `FsCreate` (not open).
    FsMkdir = 42, host: ["mkdirat", "openat2", "fchownat", "fchmodat", "statx", "unlinkat", "close"];
    /// Makes a symbolic link. `a0` = directory, `a1` = name length, `a2` = target length, `a3` = uid, `a4` =
    /// gid; `data` = name, target. Answer as `FsLookup`.
    FsSymlink = 43, host: ["symlinkat", "openat2", "fchownat", "statx", "unlinkat", "close"];
    /// Makes a FIFO or socket node. `a0` = directory, `a1` = name length, `a2` = mode with type, `a3` = uid,
    /// `a4` = gid. Device nodes are refused with `-EPERM`. Answer as `FsLookup`.
    FsMknod = 44, host: ["mknodat", "openat2", "fchownat", "fchmodat", "statx", "unlinkat", "close"];
    /// Hard link. `a0` = inode handle, `a1` = directory, `a2` = name length; `data` = name.
    FsLink = 45, host: ["linkat"];
    /// Removes a name. `a0` = directory, `a1` = name length, `a2` = 1 for a directory; `data` = name.
    FsUnlink = 46, host: ["unlinkat"];
    /// Renames. `a0` = old directory, `a1` = old name length, `a2` = new directory, `a3` = new name length,
    /// `a4` = renameat2 flags; `data` = old name, new name.
    FsRename = 47, host: ["renameat2"];
    /// Flushes file `a0`; `a1` = 1 for data only.
    FsSync = 48, host: ["fsync", "fdatasync"];
    /// `data` = [`FileSystemStat`](crate::FileSystemStat) of the file system of `a0`.
    FsStatfs = 49, host: ["fstatfs"];
    /// fallocate(2): `a0` = file, `a1` = mode, `a2` = offset, `a3` = length.
    FsAllocate = 50, host: ["fallocate"];
    /// Value of an extended attribute. `a0` = inode handle, open, of a regular file or directory, `a1` = name
    /// length, `a2` = gpa, `a3` = capacity; `data` = name: `user.` and more, `security.capability`, or
    /// those of access control lists, `system.posix_acl_access` and `system.posix_acl_default`; others are
    /// `-EOPNOTSUPP`. Result: length of the value, which is then at the gpa; `-ERANGE` when it does not fit.
    FsGetXattr = 51, host: ["fgetxattr"];
    /// Sets an extended attribute. As `FsGetXattr`, `a3` = length of the value, at most
    /// [`MAX_XATTR`](crate::MAX_XATTR), `a4` = flags of setxattr(2).
    FsSetXattr = 52, host: ["fsetxattr"];
    /// Names of extended attributes, each with a zero after it. `a0` = inode handle as for `FsGetXattr`, `a1` =
    /// gpa, `a2` = capacity. Result: length; `-ERANGE` when they do not fit.
    FsListXattr = 53, host: ["flistxattr"];
    /// Removes an extended attribute. `a0` = inode handle as for `FsGetXattr`, `a1` = name length; `data` = name.
    FsRemoveXattr = 54, host: ["fremovexattr"];
    /// The next data (`a2` = 3) or hole (`a2` = 4) of file `a0` from offset `a1` on. Result: its offset; `-ENXIO`
    /// beyond the end.
    FsSeek = 55, host: ["lseek"];
    /// Attributes of `a0` inode handles, at most [`MAX_GETATTRS`](crate::MAX_GETATTRS), that are in `data`, 32 bits
    /// each. `data` = an [`Attr`](crate::Attr) for each; all zero where there is an error.
    FsGetattrs = 56, host: ["statx"];
    /// Creates a regular file without a name. `a0` = a directory of the file system that it is to be on, `a1` = mode,
    /// `a2` = uid, `a3` = gid. Answer as `FsCreate`; `FsLink` can give it a name.
    FsTmpfile = 57, host: ["openat2", "fchownat", "fchmodat", "statx", "close"];
    /// Maps `a2` bytes of file `a0` from offset `a1` at window offset `a3` (all multiples of the page size),
    /// shared with the host's page cache; `a4` = 1 for a writable mapping. Replaces what was there.
    WindowMap = 64, host: ["mmap"];
    /// Makes `a1` bytes at window offset `a0` inaccessible again.
    WindowUnmap = 65, host: ["mmap"];
    /// Whether the pages of `a1` bytes at window offset `a0` can be provided, `a2` = 1: for writing. `-EFAULT` when an
    /// access would raise a machine check: they lie beyond the end of the file, cannot be read, or there is no room for
    /// them.
    WindowProbe = 66, host: ["madvise", "preadv"];

    /// Starts moving frames. `a0` = gpa of the page of counters, `a1` = of the ring of frames for the sentry, `a2` =
    /// of the ring of frames from it, all zero and page aligned ([`NET_RING`](crate::NET_RING)). `-ENODEV` without an
    /// interface, `-EBUSY` the second time.
    NetworkStart = 72, host: ["recvmsg", "sendmmsg", "epoll_ctl", "write"];
}

#[cfg(test)]
mod tests {
    use super::Hostcall;

    #[test]
    fn numbers_are_unique_and_round_trip() {
        for pair in Hostcall::ALL.windows(2) {
            assert!((pair[0] as u32) < pair[1] as u32);
        }
        for call in Hostcall::ALL {
            assert_eq!(Hostcall::from_nr(*call as u32), Some(*call));
        }
        assert_eq!(Hostcall::from_nr(0), None);
    }
}
