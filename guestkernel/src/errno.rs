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
                write!(f, "errno {}", self.0)
            }
        }
    };
}

errnos! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY
    EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK
    EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENODATA ETIME ENOLINK EPROTO EBADMSG
    EOVERFLOW ELIBBAD EILSEQ EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT
    ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH
    ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ETIMEDOUT ECONNREFUSED EHOSTUNREACH EALREADY EINPROGRESS
    ESTALE EDQUOT ECANCELED EOWNERDEAD ENOTRECOVERABLE
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
