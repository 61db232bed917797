//! Signals: queues, masks, actions, delivery.
//!
//! A signal is queued on a thread or on its whole process and found on the way to ring 3, where the default
//! action is taken or a frame for the handler is built on the user's stack. A sender sets the work bit of a
//! thread that takes the signal and wakes it.
//!
//! Lock order: task tree, `Process::inner` (shared queue, threads, job control), the handler table, a
//! thread's own queue. None is held over a copy to user memory.

pub mod action;
pub mod charge;
pub mod deliver;
pub mod frame;
pub mod info;
pub mod queue;
pub mod send;
pub mod stop;

pub use action::{Action, Handlers};
pub use deliver::handle_pending;
pub use info::SigInfo;
pub use queue::{Entry, Queue};
pub use send::{force_fault, force_signal, send_to_group, send_to_process, send_to_task};

/// Highest signal number.
pub const MAX: u32 = 64;
/// First real-time signal.
pub const RTMIN: u32 = 32;

macro_rules! signals {
    ($($name:ident = $nr:literal)*) => {
        $(#[allow(missing_docs, reason = "signal(7) names them")] pub const $name: u32 = $nr;)*
        const NAMES: &[&str] = &["0", $(stringify!($name)),*];
    };
}

signals! {
    SIGHUP = 1 SIGINT = 2 SIGQUIT = 3 SIGILL = 4 SIGTRAP = 5 SIGABRT = 6 SIGBUS = 7 SIGFPE = 8 SIGKILL = 9
    SIGUSR1 = 10 SIGSEGV = 11 SIGUSR2 = 12 SIGPIPE = 13 SIGALRM = 14 SIGTERM = 15 SIGSTKFLT = 16 SIGCHLD = 17
    SIGCONT = 18 SIGSTOP = 19 SIGTSTP = 20 SIGTTIN = 21 SIGTTOU = 22 SIGURG = 23 SIGXCPU = 24 SIGXFSZ = 25
    SIGVTALRM = 26 SIGPROF = 27 SIGWINCH = 28 SIGIO = 29 SIGPWR = 30 SIGSYS = 31
}

/// The signal's name, for logs.
#[must_use]
pub fn name(signo: u32) -> &'static str {
    NAMES.get(signo as usize).copied().unwrap_or("SIGRT")
}

/// A set of signals; bit `n - 1` is signal `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// `SIGKILL` and `SIGSTOP`, which nobody blocks, handles or ignores.
    pub const UNBLOCKABLE: Self = Self::of(&[SIGKILL, SIGSTOP]);
    /// Signals that stop by default.
    pub const STOPS: Self = Self::of(&[SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU]);
    /// Signals that a fault raises; delivered first.
    pub const SYNCHRONOUS: Self = Self::of(&[SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS]);
    const IGNORED: Self = Self::of(&[SIGCONT, SIGCHLD, SIGWINCH, SIGURG]);
    const CORE: Self =
        Self::of(&[SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGSEGV, SIGBUS, SIGSYS, SIGXCPU, SIGXFSZ]);

    /// The set of these signals.
    #[must_use]
    pub const fn of(signals: &[u32]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < signals.len() {
            bits |= 1 << (signals[index] - 1);
            index += 1;
        }
        Self(bits)
    }

    /// Whether the signal is in the set.
    #[must_use]
    pub const fn has(self, signo: u32) -> bool {
        signo != 0 && self.0 & (1 << (signo - 1)) != 0
    }

    /// Adds a signal.
    pub const fn add(&mut self, signo: u32) {
        self.0 |= 1 << (signo - 1);
    }

    /// Removes a signal.
    pub const fn remove(&mut self, signo: u32) {
        self.0 &= !(1 << (signo - 1));
    }

    /// Those in this set and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What happens to a process that has set nothing up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// It ends.
    Terminate,
    /// It ends; Linux may write a core file, which we never do, and so the wait status names none.
    Core,
    /// Nothing.
    Ignore,
    /// It stops.
    Stop,
}

/// The default action.
#[must_use]
pub const fn default_action(signo: u32) -> Default {
    if SigSet::IGNORED.has(signo) {
        Default::Ignore
    } else if SigSet::STOPS.has(signo) {
        Default::Stop
    } else if SigSet::CORE.has(signo) {
        Default::Core
    } else {
        Default::Terminate
    }
}

/// Whether `signo` is a signal's number.
#[must_use]
pub const fn is_valid(signo: i32) -> bool {
    signo >= 1 && signo <= MAX as i32
}
