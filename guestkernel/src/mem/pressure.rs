//! What a task owes for memory that it took from the reserve.
//!
//! The kernel's own objects may use memory down to the last frame, since an allocation of theirs cannot fail. Whoever
//! made one that went below the reserve is marked, and before it goes on in ring 3 makes room: caches are dropped, or
//! the out-of-memory killer runs. Once half of the reserve is gone all others do so before their next system call. So
//! what the other half has to last for are those that were in a call at that moment, however many tasks there are.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::{arch, syscall, task::work};

/// Whether calls are held up.
static SHORT: AtomicBool = AtomicBool::new(false);

/// Makes the current task look at memory before it goes on in ring 3.
pub(super) fn note() {
    if let Some(me) = arch::try_current() {
        me.ctx.work.fetch_or(work::MEMORY, Ordering::Relaxed);
    }
}

/// As [`note`] where memory is short; `deep`: half of the reserve is gone, and all others look before their next call.
pub(super) fn note_short(deep: bool) {
    note();
    if deep && !SHORT.load(Ordering::Relaxed) {
        SHORT.store(true, Ordering::Relaxed);
        syscall::attend_memory(true);
    }
}

/// Whether the current task is to end for want of memory, and may have some of the reserve for that.
pub(super) fn is_for_victim() -> bool {
    arch::try_current().is_some_and(|me| me.process.oom.is_victim())
}

/// What a task does before it goes on: makes room, or waits until there is.
pub fn relieve() {
    super::give_back::arm();
    while super::frame::is_short() && crate::mm::oom::relieve() {}
    // Who takes from the reserve at this moment says so again with the next frame.
    if !super::frame::is_short() && SHORT.load(Ordering::Relaxed) {
        SHORT.store(false, Ordering::Relaxed);
        syscall::attend_memory(false);
    }
}
