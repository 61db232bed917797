//! What a process does on a signal.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{MAX, SigSet};
use crate::sync::SpinLock;

/// `SIG_DFL`.
pub const SIG_DFL: u64 = 0;
/// `SIG_IGN`.
pub const SIG_IGN: u64 = 1;

/// `SA_NOCLDSTOP`.
pub const SA_NOCLDSTOP: u64 = 1;
/// `SA_NOCLDWAIT`.
pub const SA_NOCLDWAIT: u64 = 2;
/// `SA_SIGINFO`.
pub const SA_SIGINFO: u64 = 4;
/// `SA_EXPOSE_TAGBITS`: no effect where addresses have no tags, but known.
pub const SA_EXPOSE_TAGBITS: u64 = 0x800;
/// `SA_RESTORER`.
pub const SA_RESTORER: u64 = 0x0400_0000;
/// `SA_ONSTACK`.
pub const SA_ONSTACK: u64 = 0x0800_0000;
/// `SA_RESTART`.
pub const SA_RESTART: u64 = 0x1000_0000;
/// `SA_NODEFER`.
pub const SA_NODEFER: u64 = 0x4000_0000;
/// `SA_RESETHAND`.
pub const SA_RESETHAND: u64 = 0x8000_0000;
/// The bits that are kept; the others read back as clear, so that programs can probe.
pub const SA_KNOWN: u64 = SA_NOCLDSTOP
    | SA_NOCLDWAIT
    | SA_SIGINFO
    | SA_EXPOSE_TAGBITS
    | SA_RESTORER
    | SA_ONSTACK
    | SA_RESTART
    | SA_NODEFER
    | SA_RESETHAND;

/// `struct sigaction` as the kernel has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Action {
    /// `SIG_DFL`, `SIG_IGN` or a function.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: u64,
}

impl Action {
    /// Whether a function is called.
    #[must_use]
    pub const fn is_caught(&self) -> bool {
        self.handler != SIG_DFL && self.handler != SIG_IGN
    }

    /// Whether the flag is set.
    #[must_use]
    pub const fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// What is blocked besides while the handler of `signo` runs.
    #[must_use]
    pub const fn blocks(&self, signo: u32) -> SigSet {
        let own = if self.has(SA_NODEFER) { SigSet::EMPTY } else { SigSet::of(&[signo]) };
        SigSet(self.mask).union(own).without(SigSet::UNBLOCKABLE)
    }
}

/// The actions for all signals; shared by what was cloned with `CLONE_SIGHAND`.
#[derive(Debug)]
pub struct Handlers(SpinLock<[Action; MAX as usize]>);

impl Default for Handlers {
    fn default() -> Self {
        Self(SpinLock::new([Action::default(); MAX as usize]))
    }
}

impl Handlers {
    /// The action for a signal.
    #[must_use]
    pub fn get(&self, signo: u32) -> Action {
        self.0.lock().get(signo as usize - 1).copied().unwrap_or_default()
    }

    /// Sets it; gives the old one.
    pub fn set(&self, signo: u32, action: Action) -> Action {
        match self.0.lock().get_mut(signo as usize - 1) {
            Some(slot) => core::mem::replace(slot, action),
            None => Action::default(),
        }
    }

    /// A copy that nobody shares.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(SpinLock::new(*self.0.lock()))
    }

    /// Everything back to the default, as `CLONE_CLEAR_SIGHAND` and, but for what is ignored, exec do.
    pub fn reset(&self, keep_ignored: bool) {
        for action in self.0.lock().iter_mut() {
            let handler = if keep_ignored && action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
            *action = Action { handler, ..Action::default() };
        }
    }

    /// The ignored and the caught signals, for `/proc/PID/status`.
    #[must_use]
    pub fn summary(&self) -> (SigSet, SigSet) {
        let (mut ignored, mut caught) = (SigSet::EMPTY, SigSet::EMPTY);
        for (action, signo) in self.0.lock().iter().zip(1..) {
            if action.handler == SIG_IGN {
                ignored.add(signo);
            } else if action.is_caught() {
                caught.add(signo);
            }
        }
        (ignored, caught)
    }
}
