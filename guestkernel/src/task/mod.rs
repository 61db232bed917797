//! Tasks.

pub mod sched;
pub mod wait;

use alloc::sync::Arc;

use crate::arch::context::ThreadContext;
pub use crate::arch::{CurrentTask as Current, current};

/// A thread.
#[derive(Debug)]
pub struct Task {
    /// Thread id.
    pub tid: u32,
    /// The scheduler's part.
    pub sched: sched::SchedState,
    /// The machine's part.
    pub ctx: ThreadContext,
}

impl Task {
    /// The task of a CPU's boot context.
    #[must_use]
    pub fn idle() -> Arc<Self> {
        Arc::new(Self { tid: 0, sched: sched::SchedState::default(), ctx: ThreadContext::boot() })
    }

    /// Whether a signal waits.
    #[must_use]
    pub fn signal_pending(&self) -> bool {
        false
    }

    /// Makes it give the CPU up before it goes on in ring 3.
    pub fn request_resched(&self) {
        self.ctx.work.fetch_or(1, core::sync::atomic::Ordering::Relaxed);
    }

    /// Its address space.
    #[must_use]
    pub fn address_space(&self) -> Option<Arc<crate::mm::AddressSpace>> {
        None
    }
}
