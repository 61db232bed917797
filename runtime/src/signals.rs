//! Forwarding signals to the container while a foreground command waits for it.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

/// Faults of this process itself, and what tells it of its child and its output.
const OWN: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGTRAP,
    Signal::SIGCHLD,
    Signal::SIGPIPE,
];

/// Whether a waiting `run` hands this signal on to the container.
pub(crate) fn forwarded(signal: i32) -> bool {
    ![libc::SIGKILL, libc::SIGSTOP].contains(&signal) && !OWN.iter().any(|&own| own as i32 == signal)
}

/// The signals as a readable descriptor.
#[derive(Debug)]
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Blocks what is to be forwarded and opens the descriptor.
    pub(crate) fn block() -> Result<Self> {
        let mut set = SigSet::all();
        OWN.into_iter().for_each(|own| set.remove(own));
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).context("sigprocmask")?;
        // SAFETY: the set is a valid signal set; the call makes a new descriptor.
        #[allow(unsafe_code, reason = "nix has no signalfd that gives its descriptor away")]
        let fd = unsafe { libc::signalfd(-1, set.as_ref(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error()).context("signalfd");
        }
        // SAFETY: the descriptor is new and nobody else's.
        #[allow(unsafe_code, reason = "see above")]
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The descriptor's number.
    pub(crate) fn raw(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// The next signal, if there is one.
    pub(crate) fn next(&self) -> Option<u32> {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        let got = nix::unistd::read(&self.0, &mut info).ok()?;
        (got == info.len()).then(|| u32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
    }
}
