//! A task's machine state: plain data here. Tests never switch stacks.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::cell::RefCell;

use super::fpu::FpuState;
use crate::{
    arch::{USER_END, UserRegs},
    errno::{Errno, Result},
    sync::SpinLock,
};

/// What the machine keeps of a task that does not run.
#[derive(Debug, Default)]
pub struct ThreadContext {
    /// Bits that must be looked at before ring 3 goes on.
    pub work: AtomicU32,
    fs_base: AtomicU64,
    gs_base: AtomicU64,
    fpu: FpuState,
    regs: SpinLock<UserRegs>,
}

impl ThreadContext {
    /// The context of a CPU's boot, which becomes its idle task.
    #[must_use]
    pub fn boot() -> Self {
        Self::default()
    }

    /// A task that enters ring 3 with `regs`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new_user(_stack_top: u64, regs: &UserRegs) -> Result<Self> {
        Ok(Self { regs: SpinLock::new(*regs), ..Self::default() })
    }

    /// A task that enters ring 3 with `regs` and what else `self`, the current task's, has.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn fork(&self, _stack_top: u64, regs: &UserRegs) -> Result<Self> {
        Ok(Self {
            work: AtomicU32::new(0),
            fs_base: AtomicU64::new(self.fs_base()),
            gs_base: AtomicU64::new(self.gs_base()),
            fpu: self.fpu.clone(),
            regs: SpinLock::new(*regs),
        })
    }

    /// A task that runs `entry(argument)` in the kernel.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new_kernel(_stack_top: u64, _entry: fn(usize) -> !, _argument: usize) -> Result<Self> {
        Ok(Self::default())
    }

    /// Base of FS.
    #[must_use]
    pub fn fs_base(&self) -> u64 {
        self.fs_base.load(Ordering::Relaxed)
    }

    /// Sets the base of FS.
    ///
    /// # Errors
    /// `EPERM` when it is not in user space, as Linux.
    pub fn set_fs_base(&self, base: u64) -> Result<()> {
        if base >= USER_END {
            return Err(Errno::EPERM);
        }
        self.fs_base.store(base, Ordering::Relaxed);
        Ok(())
    }

    /// Base of GS.
    #[must_use]
    pub fn gs_base(&self) -> u64 {
        self.gs_base.load(Ordering::Relaxed)
    }

    /// Sets the base of GS.
    ///
    /// # Errors
    /// `EPERM` when it is not in user space, as Linux.
    pub fn set_gs_base(&self, base: u64) -> Result<()> {
        if base >= USER_END {
            return Err(Errno::EPERM);
        }
        self.gs_base.store(base, Ordering::Relaxed);
        Ok(())
    }

    /// Writes the FPU image for a signal frame; gives its length.
    pub fn save_fpu(&self, out: &mut [u8]) -> usize {
        self.fpu.to_bytes(out)
    }

    /// Takes an FPU image from a signal frame.
    ///
    /// # Errors
    /// `EINVAL`; the state is unchanged then.
    pub fn restore_fpu(&self, image: &[u8]) -> Result<()> {
        self.fpu.take_image(image)
    }

    /// The registers with which the task will go on in ring 3.
    #[must_use]
    pub fn user_regs(&self) -> UserRegs {
        *self.regs.lock()
    }

    /// Whether it is in a system call.
    #[must_use]
    pub fn is_in_syscall(&self) -> bool {
        self.regs.lock().is_syscall()
    }

    /// Nothing waits in a kernel here.
    #[must_use]
    pub fn backtrace(&self, _idle: bool) -> alloc::vec::Vec<u64> {
        alloc::vec::Vec::new()
    }

    /// Sets them.
    pub fn set_user_regs(&self, regs: &UserRegs) {
        *self.regs.lock() = *regs;
    }

    /// Forgets bases and FPU state, as exec does.
    pub fn reset(&self) {
        let _ = self.set_fs_base(0);
        let _ = self.set_gs_base(0);
        self.fpu.reset();
    }
}

std::thread_local! {
    static CURRENT: RefCell<*const ()> = const { RefCell::new(core::ptr::null()) };
}

/// The current task's address; a fresh idle task in a thread that has none.
pub(in crate::arch) fn current_pointer() -> *const () {
    let known = CURRENT.with(|slot| *slot.borrow());
    if !known.is_null() {
        return known;
    }
    let task = alloc::sync::Arc::into_raw(crate::task::Task::idle()).cast();
    CURRENT.with(|slot| *slot.borrow_mut() = task);
    task
}

/// Sets it.
pub(in crate::arch) fn set_current_pointer(task: *const (), _context: &ThreadContext) {
    CURRENT.with(|slot| *slot.borrow_mut() = task);
}

/// Only the current task's pointer changes.
pub(in crate::arch) fn switch_to(_prev: &ThreadContext, next: &ThreadContext, task: *const ()) {
    set_current_pointer(task, next);
}

/// The registers with which the current task will go on in ring 3.
#[must_use]
pub fn user_regs() -> UserRegs {
    super::super::current().ctx.user_regs()
}

/// Sets them.
pub fn set_user_regs(regs: &UserRegs) {
    super::super::current().ctx.set_user_regs(regs);
}
