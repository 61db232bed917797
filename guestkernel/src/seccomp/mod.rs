//! seccomp(2): what system calls a task may make.
//!
//! A task has a list of [`Filter`]s, the newest first; lists share their tails, as tasks inherit them. Every filter
//! of the list judges a call, and the strictest verdict counts. For each number of a call the list knows whether
//! every filter allows it whatever its arguments: most calls cost the look at one bit.

pub mod notify;
pub mod program;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU8, Ordering};

use crate::{
    arch::UserRegs,
    errno::{Errno, Result},
    sync::SpinLock,
    syscall::{self, table},
};
use notify::Listener;
use program::{Program, WORDS};

/// `AUDIT_ARCH_X86_64`.
pub const ARCH: u32 = 0xc000_003e;
/// Most instructions of a list, with [`PENALTY`] for each filter but the newest.
const MAX_TOTAL: usize = 32_768;
const PENALTY: usize = 4;
/// Steps that are spent on finding out what a new filter always allows.
const STEPS: usize = 1 << 18;
/// Words of the bit map of calls.
const MAP: usize = table::COUNT.div_ceil(64);

/// How strict a task's regime is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything is allowed.
    Disabled = 0,
    /// `read`, `write`, `exit` and `rt_sigreturn`.
    Strict = 1,
    /// What the filters allow.
    Filter = 2,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The process ends.
    KillProcess,
    /// The thread ends.
    KillThread,
    /// `SIGSYS` with this number.
    Trap(u16),
    /// This error.
    Errno(u16),
    /// Whoever listens decides.
    UserNotify,
    /// A tracer decides.
    Trace(u16),
    /// It is logged and made.
    Log,
    /// It is made.
    Allow,
}

impl Action {
    /// From what a program returns: the upper half says what, the lower half is a number.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        let number = raw as u16;
        match raw >> 16 {
            0 => Self::KillThread,
            3 => Self::Trap(number),
            5 => Self::Errno(if number > 4095 { 4095 } else { number }),
            0x7fc0 => Self::UserNotify,
            0x7ff0 => Self::Trace(number),
            0x7ffc => Self::Log,
            0x7fff => Self::Allow,
            // Unknown ones are as strict as can be.
            _ => Self::KillProcess,
        }
    }

    /// Whether `raw` is one that exists, without a number.
    #[must_use]
    pub const fn exists(raw: u32) -> bool {
        raw == 0x8000_0000 || raw as u16 == 0 && !matches!(Self::from_raw(raw), Self::KillProcess)
    }
}

/// What a program sees of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts(pub [u32; WORDS]);

impl Facts {
    /// Of the call that `regs` ask for.
    #[must_use]
    pub fn of(regs: &UserRegs) -> Self {
        let mut words = [0; WORDS];
        words[0] = regs.orig_rax as u32;
        words[1] = ARCH;
        let halves =
            core::iter::once(regs.rip).chain(regs.args()).flat_map(|long| [long as u32, (long >> 32) as u32]);
        words[2..].iter_mut().zip(halves).for_each(|(to, half)| *to = half);
        Self(words)
    }
}

/// A filter and those that were there before it.
#[derive(Debug)]
pub struct Filter {
    program: Program,
    previous: Option<Arc<Filter>>,
    /// Calls that the whole list allows whatever their arguments.
    allowed: [u64; MAP],
    /// Instructions of the list, with its penalties.
    total: usize,
    /// Filters in the list.
    count: u32,
    /// All but allowed calls are logged.
    log: bool,
    /// Who decides for [`Action::UserNotify`].
    listener: Option<Arc<Listener>>,
}

impl Filter {
    /// Puts a program before a list.
    ///
    /// # Errors
    /// `ENOMEM` when the list gets too long.
    pub fn new(
        program: Program,
        previous: Option<Arc<Self>>,
        log: bool,
        listener: Option<Arc<Listener>>,
    ) -> Result<Arc<Self>> {
        let before = previous.as_ref().map_or(0, |filter| filter.total + PENALTY);
        let total = program.len() + before;
        if total > MAX_TOTAL {
            return Err(Errno::ENOMEM);
        }
        let allowed = always_allowed(&program, previous.as_deref());
        let count = previous.as_ref().map_or(0, |filter| filter.count) + 1;
        Ok(Arc::new(Self { program, previous, allowed, total, count, log, listener }))
    }

    /// Whether the call with this number is allowed whatever its arguments.
    #[inline]
    #[must_use]
    pub fn always_allows(&self, nr: u64) -> bool {
        self.allowed.get((nr / 64) as usize).is_some_and(|word| word & 1 << (nr % 64) != 0)
    }

    fn list(&self) -> impl Iterator<Item = &Self> {
        core::iter::successors(Some(self), |filter| filter.previous.as_deref())
    }

    /// The strictest verdict, and the newest filter that gives it.
    #[must_use]
    pub fn judge(&self, facts: &Facts) -> (Action, &Self) {
        // Signed, the actions are in the order of their strictness.
        let rank = |raw: u32| (raw & 0xffff_0000).cast_signed();
        let (mut worst, mut by) = (u32::from(u16::MAX) | 0x7fff_0000, self);
        for filter in self.list() {
            let raw = filter.program.run(&facts.0);
            if rank(raw) < rank(worst) {
                (worst, by) = (raw, filter);
            }
        }
        (Action::from_raw(worst), by)
    }

    /// Whether `older` is this list or a tail of it.
    fn descends_from(&self, older: &Arc<Self>) -> bool {
        self.list().any(|filter| core::ptr::eq(filter, Arc::as_ptr(older)))
    }

    /// Whether what it does not allow is logged.
    #[must_use]
    pub fn logs(&self) -> bool {
        self.log
    }

    /// Whether a filter of the list has a listener.
    #[must_use]
    pub fn has_listener(&self) -> bool {
        self.list().any(|filter| filter.listener.is_some())
    }

    /// Who decides for it.
    #[must_use]
    pub fn listener(&self) -> Option<&Arc<Listener>> {
        self.listener.as_ref()
    }
}

impl Drop for Filter {
    /// One after another: a list may be longer than the stack is deep.
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.filter_gone();
        }
        let mut next = self.previous.take();
        while let Some(mut filter) = next.and_then(Arc::into_inner) {
            next = filter.previous.take();
        }
    }
}

fn always_allowed(program: &Program, previous: Option<&Filter>) -> [u64; MAP] {
    let mut map = [0; MAP];
    let mut steps = STEPS;
    for nr in 0..table::COUNT as u32 {
        let before = previous.is_none_or(|filter| filter.always_allows(nr.into()));
        let says = if before { program.run_knowing(&[nr, ARCH], &mut steps) } else { None };
        if says.is_some_and(|raw| Action::from_raw(raw) == Action::Allow)
            && let Some(word) = map.get_mut(nr as usize / 64)
        {
            *word |= 1 << (nr % 64);
        }
    }
    map
}

/// A task's regime.
#[derive(Debug, Default)]
pub struct State {
    mode: AtomicU8,
    filters: SpinLock<Option<Arc<Filter>>>,
}

impl State {
    /// How strict it is.
    #[inline]
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self.mode.load(Ordering::Relaxed) {
            0 => Mode::Disabled,
            1 => Mode::Strict,
            _ => Mode::Filter,
        }
    }

    /// The list.
    #[must_use]
    pub fn filters(&self) -> Option<Arc<Filter>> {
        self.filters.lock().clone()
    }

    /// Number of filters.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.filters.lock().as_ref().map_or(0, |filter| filter.count)
    }

    /// Whether filters allow the call with this number whatever its arguments.
    #[inline]
    #[must_use]
    pub fn always_allows(&self, nr: u64) -> bool {
        self.filters.lock().as_ref().is_some_and(|filter| filter.always_allows(nr))
    }

    /// Begins the strict regime.
    ///
    /// # Errors
    /// `EINVAL` where there are filters.
    pub fn set_strict(&self) -> Result<()> {
        if self.mode() == Mode::Filter {
            return Err(Errno::EINVAL);
        }
        self.mode.store(Mode::Strict as u8, Ordering::Relaxed);
        syscall::attend_seccomp();
        Ok(())
    }

    /// Sets the list; gives the old one back to be dropped when no lock is held.
    pub fn set_filters(&self, filters: Arc<Filter>) -> Option<Arc<Filter>> {
        let old = self.filters.lock().replace(filters);
        self.mode.store(Mode::Filter as u8, Ordering::Relaxed);
        syscall::attend_seccomp();
        old
    }

    /// Lets go of the list when the task ends, so that those who listen learn of it.
    pub fn release(&self) {
        let old = self.filters.lock().take();
        drop(old);
    }

    /// A new task's regime is its maker's.
    pub fn inherit(&self, from: &Self) {
        if from.mode() == Mode::Disabled {
            return;
        }
        let filters = from.filters();
        let old = core::mem::replace(&mut *self.filters.lock(), filters);
        self.mode.store(from.mode() as u8, Ordering::Relaxed);
        drop(old);
    }

    /// Whether a task with this regime can take over the list of another thread, which `ours` is.
    #[must_use]
    pub fn can_follow(&self, ours: Option<&Arc<Filter>>) -> bool {
        match (self.mode(), &*self.filters.lock()) {
            (Mode::Disabled, _) | (Mode::Filter, None) => true,
            (Mode::Filter, Some(theirs)) => ours.is_some_and(|ours| ours.descends_from(theirs)),
            (Mode::Strict, _) => false,
        }
    }
}
