//! `siginfo_t`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// From kill(2).
pub const SI_USER: i32 = 0;
/// From the kernel.
pub const SI_KERNEL: i32 = 0x80;
/// From tkill(2) and tgkill(2).
pub const SI_TKILL: i32 = -6;
/// From asynchronous I/O, for a signal whose other codes mean something else.
const SI_SIGIO: i32 = -5;
/// From a POSIX timer.
pub const SI_TIMER: i32 = -2;

/// `CLD_EXITED` and its fellows, `si_code` of `SIGCHLD`.
pub mod cld {
    /// It exited.
    pub const EXITED: i32 = 1;
    /// A signal ended it.
    pub const KILLED: i32 = 2;
    /// A signal ended it with a core.
    pub const DUMPED: i32 = 3;
    /// It stopped.
    pub const STOPPED: i32 = 5;
    /// It continued.
    pub const CONTINUED: i32 = 6;
}

/// Bytes of a `siginfo_t`.
pub const SIZE: usize = 128;

/// A `siginfo_t` as user code sees it. What lies in `data` depends on the signal and code.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigInfo {
    signo: i32,
    errno: i32,
    code: i32,
    pad: i32,
    data: [u64; 4],
    rest: [u64; 10],
}

const _: () = assert!(size_of::<SigInfo>() == SIZE);

impl core::fmt::Debug for SigInfo {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SigInfo({}, code {}, {:x?})", super::name(self.signo()), self.code, self.data)
    }
}

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// What the words after the head mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Sender's process and user.
    Kill,
    /// The same, and a value.
    Queued,
    /// Timer, overrun, value.
    Timer,
    /// Child, its user, status, times.
    Child,
    /// Band and descriptor.
    Poll,
    /// An address.
    Fault,
    /// Address of the call, its number, its architecture.
    Syscall,
}

impl SigInfo {
    const fn with(signo: u32, code: i32, data: [u64; 4]) -> Self {
        Self { signo: signo as i32, errno: 0, code, pad: 0, data, rest: [0; 10] }
    }

    /// Sent by a process.
    #[must_use]
    pub const fn user(signo: u32, code: i32, pid: u32, uid: u32) -> Self {
        Self::with(signo, code, [pair(pid, uid), 0, 0, 0])
    }

    /// Sent by the kernel.
    #[must_use]
    pub const fn kernel(signo: u32) -> Self {
        Self::with(signo, SI_KERNEL, [0; 4])
    }

    /// Something happened to the file behind descriptor `fd`; `band` are the poll(2) bits for it.
    #[must_use]
    pub const fn poll(signo: u32, code: i32, band: u64, fd: i32) -> Self {
        // These signals' own codes mean something else.
        let specific = matches!(
            signo,
            super::SIGILL
                | super::SIGFPE
                | super::SIGSEGV
                | super::SIGBUS
                | super::SIGTRAP
                | super::SIGCHLD
                | super::SIGSYS
        );
        Self::with(signo, if specific { SI_SIGIO } else { code }, [band, fd as u32 as u64, 0, 0])
    }

    /// A fault at `addr`.
    #[must_use]
    pub const fn fault(signo: u32, code: i32, addr: u64) -> Self {
        Self::with(signo, code, [addr, 0, 0, 0])
    }

    /// A seccomp filter traps the call `nr`; `addr` is behind its instruction, `data` what the filter says.
    #[must_use]
    pub const fn seccomp(addr: u64, nr: u32, arch: u32, data: u16) -> Self {
        let info = Self::with(super::SIGSYS, 1, [addr, pair(nr, arch), 0, 0]);
        Self { errno: data as i32, ..info }
    }

    /// A child changed state; `times` in clock ticks, user and system.
    #[must_use]
    pub const fn child(signo: u32, code: i32, pid: u32, uid: u32, status: i32, times: [u64; 2]) -> Self {
        Self::with(signo, code, [pair(pid, uid), status as u32 as u64, times[0], times[1]])
    }

    /// A timer expired.
    #[must_use]
    pub const fn timer(signo: u32, id: i32, value: u64) -> Self {
        Self::with(signo, SI_TIMER, [pair(id as u32, 0), value, 0, 0])
    }

    /// Sets how often a timer expired besides.
    pub const fn set_overrun(&mut self, overrun: i32) {
        self.data[0] = pair(self.data[0] as u32, overrun as u32);
    }

    /// What the words after the head mean, by signal and code.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        /// Codes of asynchronous I/O.
        const POLL_CODES: i32 = 6;
        match (self.signo as u32, self.code) {
            (super::SIGCHLD, 1..SI_KERNEL) => Layout::Child,
            (super::SIGSYS, 1..SI_KERNEL) => Layout::Syscall,
            (
                super::SIGILL | super::SIGFPE | super::SIGSEGV | super::SIGBUS | super::SIGTRAP,
                1..SI_KERNEL,
            ) => Layout::Fault,
            (_, 1..=POLL_CODES) | (super::SIGIO, 1..SI_KERNEL) | (_, SI_SIGIO) => Layout::Poll,
            (_, SI_TIMER) => Layout::Timer,
            (_, ..=-1) => Layout::Queued,
            _ => Layout::Kill,
        }
    }

    /// The four words after the head, whose meaning depends on the code.
    #[must_use]
    pub const fn data(&self) -> [u64; 4] {
        self.data
    }

    /// `si_errno`.
    #[must_use]
    pub const fn errno(&self) -> i32 {
        self.errno
    }

    /// The signal.
    #[must_use]
    pub const fn signo(&self) -> u32 {
        self.signo as u32
    }

    /// Sets the signal, as the `*queueinfo` calls do.
    pub const fn set_signo(&mut self, signo: u32) {
        self.signo = signo as i32;
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> i32 {
        self.code
    }

    /// The fault's address.
    #[must_use]
    pub const fn addr(&self) -> u64 {
        self.data[0]
    }

    /// Whether the kernel made it (a user's code is at most 0).
    #[must_use]
    pub const fn from_kernel(&self) -> bool {
        self.code > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_linux_has_them() {
        let info = SigInfo::child(17, cld::EXITED, 7, 1000, 3, [11, 12]);
        let bytes = info.as_bytes();
        let int = |at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((int(0), int(8), int(16), int(20), int(24)), (17, 1, 7, 1000, 3));
        assert_eq!((int(32), int(40)), (11, 12));
        let fault = SigInfo::fault(11, 1, 0x1234);
        assert_eq!(u64::from_le_bytes(fault.as_bytes()[16..24].try_into().unwrap()), 0x1234);
    }
}
