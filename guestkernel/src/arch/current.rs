//! The current task, and switching to another one.

use alloc::sync::Arc;
use core::{marker::PhantomData, ops::Deref, ptr::NonNull};

use super::context::{self, ThreadContext};
use crate::task::Task;

/// The task that runs this code. It cannot leave its thread of control, and lives as long as that.
#[derive(Debug, Clone, Copy)]
pub struct CurrentTask {
    task: NonNull<Task>,
    /// Not `Send`: on another task it would name the wrong one.
    here: PhantomData<*const ()>,
}

/// The current task.
///
/// # Panics
/// Before a CPU's boot has adopted its idle task.
#[must_use]
pub fn current() -> CurrentTask {
    match NonNull::new(context::current_pointer().cast_mut().cast::<Task>()) {
        Some(task) => CurrentTask { task, here: PhantomData },
        None => no_task(),
    }
}

/// The current task, if there is one yet.
#[must_use]
pub fn try_current() -> Option<CurrentTask> {
    NonNull::new(context::current_pointer().cast_mut().cast::<Task>())
        .map(|task| CurrentTask { task, here: PhantomData })
}

#[cold]
#[allow(clippy::panic, reason = "a bug in the boot sequence; nothing can go on")]
fn no_task() -> ! {
    panic!("no task runs on this CPU yet")
}

impl Deref for CurrentTask {
    type Target = Task;

    fn deref(&self) -> &Task {
        // SAFETY: the scheduler holds a reference to the running task for as long as it runs, and this value
        // cannot be used once it no longer runs.
        unsafe { self.task.as_ref() }
    }
}

impl CurrentTask {
    /// A counted reference.
    #[must_use]
    pub fn arc(&self) -> Arc<Task> {
        let pointer = self.task.as_ptr().cast_const();
        // SAFETY: the pointer came from `Arc::as_ptr` in `switch` or `set_current`; the scheduler's own
        // reference keeps the count above zero.
        unsafe {
            Arc::increment_strong_count(pointer);
            Arc::from_raw(pointer)
        }
    }

    /// Whether `task` is this one.
    #[must_use]
    pub fn is(&self, task: &Arc<Task>) -> bool {
        core::ptr::eq(Arc::as_ptr(task), self.task.as_ptr())
    }
}

fn context_of(task: &Task) -> &ThreadContext {
    &task.ctx
}

/// Makes `task` the current one without a switch: a CPU's boot context, or a test's thread. The caller keeps
/// it alive.
pub fn set_current(task: &Arc<Task>) {
    context::set_current_pointer(Arc::as_ptr(task).cast(), context_of(task));
}

/// Leaves `prev`, which is current, for `next`, until something switches back.
///
/// Takes `next` and lets go of it before the switch: a task that exits never comes back to do so. The scheduler's
/// own reference (what runs on this CPU) keeps `next` alive, as it keeps `prev` until `finish_switch` ran on the
/// other side.
pub fn switch(prev: &Task, next: Arc<Task>) {
    let place = Arc::as_ptr(&next);
    debug_assert!(Arc::strong_count(&next) > 1, "the scheduler holds what it switches to");
    drop(next);
    // SAFETY: the scheduler put its own reference to `next` where only the next switch on this CPU takes it away.
    let next = unsafe { &*place };
    context::switch_to(context_of(prev), context_of(next), place.cast());
}
