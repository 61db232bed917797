//! Signals: their names, and forwarding them to the container while a command waits for it.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
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

/// A signal's number, by name (with or without SIG) or number.
pub(crate) fn number(text: &str) -> Result<u32> {
    if let Ok(number) = text.parse::<u32>() {
        // Zero only asks whether the process is there.
        ensure!(number <= 64, "unknown signal {text:?}");
        return Ok(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |base: &str, first: i64, direction: i64| {
        let rest = name.strip_prefix(base)?;
        let offset = match rest.strip_prefix(if direction > 0 { '+' } else { '-' }) {
            Some(digits) => digits.parse::<i64>().ok()?,
            None if rest.is_empty() => 0,
            None => return None,
        };
        u32::try_from(first + direction * offset).ok().filter(|number| (34..=64).contains(number))
    };
    let known = match name {
        "CLD" => Some(libc::SIGCHLD.unsigned_abs()),
        "POLL" => Some(libc::SIGIO.unsigned_abs()),
        "IOT" => Some(libc::SIGABRT.unsigned_abs()),
        _ => format!("SIG{name}").parse::<Signal>().ok().map(|signal| (signal as i32).unsigned_abs()),
    };
    known
        .or_else(|| real_time("RTMIN", 34, 1))
        .or_else(|| real_time("RTMAX", 64, -1))
        .with_context(|| format!("unknown signal {text:?}"))
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

    /// The next signal, if there is one.
    pub(crate) fn next(&self) -> Option<u32> {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        let got = nix::unistd::read(&self.0, &mut info).ok()?;
        (got == info.len()).then(|| u32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn signals_by_name_and_number() {
        for (text, expected) in [
            ("KILL", 9),
            ("sigterm", 15),
            ("64", 64),
            ("0", 0),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("CLD", 17),
        ] {
            assert_eq!(number(text).ok(), Some(expected), "{text}");
        }
        for bad in ["NOPE", "65", "-1", "", "RTMIN+31", "SIG"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }
}
