//! Linux error numbers.

use core::fmt;
use linux_raw_sys::errno as raw;

/// What a failed operation gives. System calls return its negative.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(u16);

/// The result of anything that can fail with an errno.
pub type Result<T> = core::result::Result<T, Errno>;

impl Errno {
    /// The positive number.
    #[must_use]
    pub const fn code(self) -> i32 {
        self.0 as i32
    }

    /// What the system call returns.
    #[must_use]
    pub const fn to_ret(self) -> i64 {
        -(self.0 as i64)
    }

    /// From a hostcall's negative result; numbers that Linux does not have become `EIO`.
    #[must_use]
    pub const fn from_host(ret: i64) -> Self {
        if ret < 0 && ret > -512 { Self((-ret) as u16) } else { Self::EIO }
    }

    /// From what a system call returns, between -4095 and -1.
    #[must_use]
    pub const fn from_ret(ret: i64) -> Self {
        if ret < 0 && ret >= -4095 { Self(-ret as u16) } else { Self::EINVAL }
    }

    /// The message that programs print for it.
    #[must_use]
    pub fn text(self) -> &'static str {
        TEXTS.iter().find(|(errno, _)| *errno == self).map_or("Unknown error", |(_, text)| text)
    }

    /// Internal: restart after a signal unless its handler was installed without `SA_RESTART`.
    pub const ERESTARTSYS: Self = Self(512);
    /// Internal: always restart.
    pub const ERESTARTNOINTR: Self = Self(513);
    /// Internal: restart only if no handler ran.
    pub const ERESTARTNOHAND: Self = Self(514);
    /// Internal: restart by `restart_syscall` if no handler ran.
    pub const ERESTART_RESTARTBLOCK: Self = Self(516);
}

macro_rules! errnos {
    ($($name:ident)*) => {
        #[allow(missing_docs, reason = "errno(3) documents them")]
        impl Errno { $(pub const $name: Self = Self(raw::$name as u16);)* }

        impl fmt::Debug for Errno {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(if *self == Self::$name { return f.write_str(stringify!($name)); })*
                f.write_str(match self.0 {
                    512 => "ERESTARTSYS",
                    513 => "ERESTARTNOINTR",
                    514 => "ERESTARTNOHAND",
                    516 => "ERESTART_RESTARTBLOCK",
                    number => return write!(f, "errno {number}"),
                })
            }
        }
    };
}

errnos! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY
    EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK
    EPIPE EDOM ERANGE ENOMSG EIDRM EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENODATA ETIME ENOLINK EPROTO EBADMSG
    EOVERFLOW ELIBBAD EILSEQ EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT
    ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH
    ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ETIMEDOUT ECONNREFUSED EHOSTUNREACH EALREADY EINPROGRESS
    ESTALE EDQUOT ECANCELED EOWNERDEAD ENOTRECOVERABLE
    ETOOMANYREFS
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Messages of the numbers that are met most, as the C library has them.
const TEXTS: &[(Errno, &str)] = &[
    (Errno::EPERM, "Operation not permitted"),
    (Errno::ENOENT, "No such file or directory"),
    (Errno::ESRCH, "No such process"),
    (Errno::EINTR, "Interrupted system call"),
    (Errno::EIO, "Input/output error"),
    (Errno::ENXIO, "No such device or address"),
    (Errno::E2BIG, "Argument list too long"),
    (Errno::ENOEXEC, "Exec format error"),
    (Errno::EBADF, "Bad file descriptor"),
    (Errno::ECHILD, "No child processes"),
    (Errno::EAGAIN, "Resource temporarily unavailable"),
    (Errno::ENOMEM, "Cannot allocate memory"),
    (Errno::EACCES, "Permission denied"),
    (Errno::EFAULT, "Bad address"),
    (Errno::EBUSY, "Device or resource busy"),
    (Errno::EEXIST, "File exists"),
    (Errno::EXDEV, "Invalid cross-device link"),
    (Errno::ENODEV, "No such device"),
    (Errno::ENOTDIR, "Not a directory"),
    (Errno::EISDIR, "Is a directory"),
    (Errno::EINVAL, "Invalid argument"),
    (Errno::EMFILE, "Too many open files"),
    (Errno::ENOTTY, "Inappropriate ioctl for device"),
    (Errno::ETXTBSY, "Text file busy"),
    (Errno::EFBIG, "File too large"),
    (Errno::ENOSPC, "No space left on device"),
    (Errno::ESPIPE, "Illegal seek"),
    (Errno::EROFS, "Read-only file system"),
    (Errno::EMLINK, "Too many links"),
    (Errno::EPIPE, "Broken pipe"),
    (Errno::ERANGE, "Numerical result out of range"),
    (Errno::EDEADLK, "Resource deadlock avoided"),
    (Errno::ENAMETOOLONG, "File name too long"),
    (Errno::ENOSYS, "Function not implemented"),
    (Errno::ENOTEMPTY, "Directory not empty"),
    (Errno::ELOOP, "Too many levels of symbolic links"),
    (Errno::EOVERFLOW, "Value too large for defined data type"),
    (Errno::ELIBBAD, "Accessing a corrupted shared library"),
    (Errno::ENODATA, "No data available"),
    (Errno::ENOTSOCK, "Socket operation on non-socket"),
    (Errno::EOPNOTSUPP, "Operation not supported"),
    (Errno::EAFNOSUPPORT, "Address family not supported by protocol"),
    (Errno::ETIMEDOUT, "Connection timed out"),
    (Errno::ERESTARTSYS, "To be restarted if SA_RESTART is set"),
    (Errno::ERESTARTNOINTR, "To be restarted"),
    (Errno::ERESTARTNOHAND, "To be restarted if no handler"),
    (Errno::ERESTART_RESTARTBLOCK, "Interrupted by signal"),
];
