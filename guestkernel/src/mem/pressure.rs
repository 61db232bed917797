//! What a task owes for memory that it took from the reserve.
//!
//! The kernel's own objects may use memory down to the last frame, since an allocation of theirs cannot fail. Whoever
//! made one that went below the reserve is marked, and before it goes on in ring 3 makes room: caches are dropped, or
//! the out-of-memory killer runs. So a task goes into the reserve by what one system call needs at most.

use core::sync::atomic::Ordering;

use crate::{arch, task::work};

/// Makes the current task look at memory before it goes on in ring 3.
pub(super) fn note() {
    if let Some(me) = arch::try_current() {
        me.ctx.work.fetch_or(work::MEMORY, Ordering::Relaxed);
    }
}

/// Whether the current task is to end for want of memory, and may have some of the reserve for that.
pub(super) fn is_for_victim() -> bool {
    arch::try_current().is_some_and(|me| me.process.oom.is_victim())
}

/// What a marked task does before it goes on in ring 3.
pub fn relieve() {
    super::give_back::arm();
    while super::frame::is_short() && crate::mm::oom::relieve() {}
}
