//! Switching tasks; segment bases.

use alloc::vec::Vec;
use core::{
    arch::{asm, naked_asm},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};
use x86_64::registers::model_specific::Msr;

use super::{
    boot_info,
    cpu::{self, TASK},
    entry,
    fpu::FpuState,
    panic::link_address,
    trace::{self, Event},
};
use crate::{
    arch::{USER_END, UserRegs},
    errno::{Errno, Result},
    mem::kstack::STACK_SIZE,
};

/// Most frames of a backtrace.
const MAX_FRAMES: usize = 24;

const MSR_FS_BASE: u32 = 0xc000_0100;
/// While in the kernel the user's GS base is here.
const MSR_KERNEL_GS_BASE: u32 = 0xc000_0102;

/// What the machine keeps of a task.
#[derive(Debug)]
#[repr(C)]
pub struct ThreadContext {
    /// Bits that must be looked at before ring 3 goes on. First: the entry code reads it.
    pub work: AtomicU32,
    is_user: bool,
    /// Kernel stack pointer while the task does not run.
    rsp: AtomicU64,
    stack_top: u64,
    /// The frame of the wait for interrupts, where a CPU that has nothing to do is on the task's stack.
    idle_frame: AtomicU64,
    fs_base: AtomicU64,
    gs_base: AtomicU64,
    fpu: FpuState,
}

/// Callee-saved registers and the return address, as `switch_stacks` leaves them.
#[repr(C)]
struct SwitchFrame {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    rbx: u64,
    rbp: u64,
    ret: u64,
    padding: u64,
}

fn regs_at(stack_top: u64) -> *mut UserRegs {
    (stack_top - size_of::<UserRegs>() as u64) as *mut UserRegs
}

impl ThreadContext {
    fn new(is_user: bool, stack_top: u64, fpu: FpuState) -> Self {
        Self {
            work: AtomicU32::new(0),
            is_user,
            rsp: AtomicU64::new(0),
            stack_top,
            idle_frame: AtomicU64::new(0),
            fs_base: AtomicU64::new(0),
            gs_base: AtomicU64::new(0),
            fpu,
        }
    }

    /// The context of a CPU's boot, which becomes its idle task.
    #[must_use]
    pub fn boot() -> Self {
        Self::new(false, 0, FpuState::none())
    }

    /// A task that enters ring 3 with `regs`. `stack_top` is the top of its own kernel stack.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new_user(stack_top: u64, regs: &UserRegs) -> Result<Self> {
        Ok(Self::user(stack_top, regs, FpuState::new()?))
    }

    /// A task that enters ring 3 with `regs` and what else `self`, the current task's, has.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn fork(&self, stack_top: u64, regs: &UserRegs) -> Result<Self> {
        let child = Self::user(stack_top, regs, self.fpu.duplicate(self.is_live())?);
        child.fs_base.store(self.fs_base(), Ordering::Relaxed);
        child.gs_base.store(self.gs_base(), Ordering::Relaxed);
        Ok(child)
    }

    fn user(stack_top: u64, regs: &UserRegs, fpu: FpuState) -> Self {
        let context = Self::new(true, stack_top, fpu);
        let place = regs_at(stack_top);
        let below = place as u64 - 8;
        // SAFETY: the stack is the new task's own, mapped and unused; the frame lies at its top.
        unsafe { place.write(*regs) };
        context.prepare(below, entry::user_start as *const () as u64, 0, 0);
        context
    }

    /// A task that runs `entry(argument)` in the kernel. `stack_top` is the top of its own kernel stack.
    ///
    /// # Errors
    /// None so far.
    pub fn new_kernel(stack_top: u64, function: fn(usize) -> !, argument: usize) -> Result<Self> {
        let context = Self::new(false, stack_top, FpuState::none());
        context.prepare(
            stack_top,
            entry::kernel_start as *const () as u64,
            function as *const () as u64,
            argument as u64,
        );
        Ok(context)
    }

    /// Lays out the stack so that the first switch returns to `ret` with `rsp` = `above`, a multiple of 16.
    fn prepare(&self, above: u64, ret: u64, r12: u64, r13: u64) {
        let frame = SwitchFrame { r15: 0, r14: 0, r13, r12, rbx: 0, rbp: 0, ret, padding: 0 };
        let at = above - core::mem::offset_of!(SwitchFrame, padding) as u64;
        // SAFETY: the stack is the new task's own, mapped and unused below `above`; the padding word is not
        // written.
        unsafe {
            core::ptr::copy_nonoverlapping(
                (&raw const frame).cast::<u64>(),
                at as *mut u64,
                core::mem::offset_of!(SwitchFrame, padding) / 8,
            );
        }
        self.rsp.store(at, Ordering::Relaxed);
    }

    /// Whether this is the current task's.
    fn is_live(&self) -> bool {
        core::ptr::eq(cpu::this().context.load(Ordering::Relaxed), self)
    }

    /// Base of FS.
    #[must_use]
    pub fn fs_base(&self) -> u64 {
        if self.is_live() && self.is_user { read_fs_base() } else { self.fs_base.load(Ordering::Relaxed) }
    }

    /// Sets the base of FS, an address in user space.
    ///
    /// # Errors
    /// `EPERM` when it is not in user space, as Linux.
    pub fn set_fs_base(&self, base: u64) -> Result<()> {
        if base >= USER_END {
            return Err(Errno::EPERM);
        }
        self.fs_base.store(base, Ordering::Relaxed);
        if self.is_live() {
            write_fs_base(base);
        }
        Ok(())
    }

    /// Base of GS.
    #[must_use]
    pub fn gs_base(&self) -> u64 {
        if self.is_live() && self.is_user { read_user_gs() } else { self.gs_base.load(Ordering::Relaxed) }
    }

    /// Sets the base of GS, an address in user space.
    ///
    /// # Errors
    /// `EPERM` when it is not in user space, as Linux.
    pub fn set_gs_base(&self, base: u64) -> Result<()> {
        if base >= USER_END {
            return Err(Errno::EPERM);
        }
        self.gs_base.store(base, Ordering::Relaxed);
        if self.is_live() {
            write_user_gs(base);
        }
        Ok(())
    }

    /// Writes the FPU image for a signal frame; gives its length.
    pub fn save_fpu(&self, out: &mut [u8]) -> usize {
        self.fpu.to_bytes(self.is_live(), out)
    }

    /// Takes an FPU image from a signal frame.
    ///
    /// # Errors
    /// `EINVAL`; the state is unchanged then.
    pub fn restore_fpu(&self, image: &[u8]) -> Result<()> {
        self.fpu.take_image(self.is_live(), image)
    }

    /// Forgets bases and FPU state, as exec does.
    pub fn reset(&self) {
        let _ = self.set_fs_base(0);
        let _ = self.set_gs_base(0);
        self.fpu.reset(self.is_live());
    }

    /// The registers with which the task will go on in ring 3. The task is current or does not run.
    #[must_use]
    pub fn user_regs(&self) -> UserRegs {
        if !self.is_user {
            return UserRegs::default();
        }
        // SAFETY: a user task's frame lies at the top of its kernel stack, which lives as long as the task.
        unsafe { regs_at(self.stack_top).read() }
    }

    /// Whether it is in a system call. The task is current or does not run.
    #[must_use]
    pub fn is_in_syscall(&self) -> bool {
        // SAFETY: as in `user_regs`.
        self.is_user && unsafe { (&raw const (*regs_at(self.stack_top)).orig_rax).read() as i64 >= 0 }
    }

    /// Where the task waits in the kernel, innermost first: return addresses as linked. The task does not run; one that
    /// is woken meanwhile gives addresses that mean nothing. `idle`: a CPU with nothing to do is on its stack.
    #[must_use]
    pub fn backtrace(&self, idle: bool) -> Vec<u64> {
        let mut frames = Vec::new();
        let image = boot_info().image_virt..boot_info().image_virt + boot_info().image_len;
        let word = |at: u64| {
            let inside = at >= self.stack_top.saturating_sub(STACK_SIZE) && at + 8 <= self.stack_top;
            // SAFETY: an aligned word of the task's own stack, which is mapped for as long as the task is there; the
            // task may write to it meanwhile, and any value will do.
            (inside && at.is_multiple_of(8)).then(|| unsafe { (at as *const u64).read_volatile() })
        };
        let (ret_at, frame_at) = if idle {
            let frame = self.idle_frame.load(Ordering::Relaxed);
            (frame.wrapping_add(8), frame)
        } else {
            let saved = self.rsp.load(Ordering::Relaxed);
            let at = |offset: usize| saved.wrapping_add(offset as u64);
            (at(core::mem::offset_of!(SwitchFrame, ret)), at(core::mem::offset_of!(SwitchFrame, rbp)))
        };
        let (mut ret, mut frame) = (word(ret_at), word(frame_at));
        while let Some(address) = ret.filter(|address| image.contains(address))
            && frames.len() < MAX_FRAMES
        {
            frames.push(link_address(address));
            let Some(at) = frame else { break };
            ret = word(at.wrapping_add(8));
            // Frames lie ever higher, or the chain is broken.
            frame = word(at).filter(|next| *next > at);
        }
        frames
    }

    /// A CPU waits for interrupts on this task's stack, in the function with this frame.
    pub(super) fn idles_at(&self, frame: u64) {
        self.idle_frame.store(frame, Ordering::Relaxed);
    }

    /// Sets them. The task is current or does not run.
    pub fn set_user_regs(&self, regs: &UserRegs) {
        if self.is_user {
            // SAFETY: as in `user_regs`; nothing else refers to the frame while the task is here or stopped.
            unsafe { regs_at(self.stack_top).write(*regs) };
        }
    }
}

impl Drop for ThreadContext {
    fn drop(&mut self) {
        // Another context may come to lie at this address.
        self.fpu.forget_owner(self);
    }
}

/// The registers with which the current task will go on in ring 3.
#[must_use]
pub fn user_regs() -> UserRegs {
    crate::arch::current().ctx.user_regs()
}

/// Sets them.
pub fn set_user_regs(regs: &UserRegs) {
    crate::arch::current().ctx.set_user_regs(regs);
}

fn read_fs_base() -> u64 {
    if cpu::has_fsgsbase() {
        let base: u64;
        // SAFETY: CR4.FSGSBASE is set.
        unsafe { asm!("rdfsbase {}", out(reg) base, options(nostack, preserves_flags, nomem)) };
        base
    } else {
        // SAFETY: the register exists on every 64-bit CPU.
        unsafe { Msr::new(MSR_FS_BASE).read() }
    }
}

fn write_fs_base(base: u64) {
    if cpu::has_fsgsbase() {
        // SAFETY: CR4.FSGSBASE is set; the base is a user address, and the kernel does not use FS.
        unsafe { asm!("wrfsbase {}", in(reg) base, options(nostack, preserves_flags, nomem)) };
    } else {
        // SAFETY: as above.
        unsafe { Msr::new(MSR_FS_BASE).write(base) };
    }
}

fn read_user_gs() -> u64 {
    // SAFETY: the register exists on every 64-bit CPU.
    unsafe { Msr::new(MSR_KERNEL_GS_BASE).read() }
}

fn write_user_gs(base: u64) {
    // SAFETY: the base is a user address; the kernel's own is not in this register.
    unsafe { Msr::new(MSR_KERNEL_GS_BASE).write(base) };
}

/// The current task's address; null before the boot has one.
#[inline]
pub(in crate::arch) fn current_pointer() -> *const () {
    let task: *const ();
    // SAFETY: GS points to this CPU's block. A task sees the same value for as long as it runs.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) task, const TASK, options(nostack, preserves_flags, readonly));
    }
    task
}

/// Makes the boot context the current task's.
pub(in crate::arch) fn set_current_pointer(task: *const (), context: &ThreadContext) {
    let cpu = cpu::this();
    cpu.task.store(task.cast_mut(), Ordering::Relaxed);
    cpu.context.store(core::ptr::from_ref(context).cast_mut(), Ordering::Relaxed);
}

/// Switches stacks, segment bases, FPU state.
pub(in crate::arch) fn switch_to(prev: &ThreadContext, next: &ThreadContext, task: *const ()) {
    let cpu = cpu::this();
    trace::note(Event::Switch, core::ptr::from_ref(next) as u64, next.rsp.load(Ordering::Relaxed));
    if prev.is_user {
        prev.fs_base.store(read_fs_base(), Ordering::Relaxed);
        prev.gs_base.store(read_user_gs(), Ordering::Relaxed);
        prev.fpu.save();
    }
    set_current_pointer(task, next);
    if next.is_user {
        cpu::set_kernel_stack(cpu, next.stack_top);
        write_fs_base(next.fs_base.load(Ordering::Relaxed));
        write_user_gs(next.gs_base.load(Ordering::Relaxed));
        next.fpu.load_for(next);
    }
    // SAFETY: `next` was left by this function or prepared by `prepare`; the scheduler made sure that it runs
    // nowhere else.
    unsafe { switch_stacks(prev.rsp.as_ptr(), next.rsp.load(Ordering::Relaxed)) };
}

/// Saves the callee-saved registers and `rsp` of one context, and restores the other's.
///
/// # Safety
/// `next` is a stack pointer that this function (or `prepare`) left.
#[unsafe(naked)]
unsafe extern "C" fn switch_stacks(save: *mut u64, next: u64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        "mov rsp, rsi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// `si_code` from exception flags of x87 or SSE that are not masked.
fn fault_code(flags: u32) -> i32 {
    const CODES: [(u32, i32); 6] = [(1, 7), (4, 3), (8, 4), (16, 5), (2, 5), (32, 6)];
    CODES.iter().find(|(bit, _)| flags & bit != 0).map_or(0, |(_, code)| *code)
}

/// The cause of an `#MF` of the current task.
pub(super) fn x87_fault_code() -> i32 {
    let (mut control, mut status) = (0u16, 0u16);
    // SAFETY: stores two words; the no-wait forms do not fault.
    unsafe {
        asm!("fnstcw [{}]", "fnstsw [{}]", in(reg) &raw mut control, in(reg) &raw mut status, options(nostack));
    }
    fault_code(u32::from(status & !control))
}

/// The cause of an `#XM` of the current task.
pub(super) fn simd_fault_code() -> i32 {
    let mut mxcsr = 0u32;
    // SAFETY: stores a word.
    unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack)) };
    fault_code(mxcsr & !(mxcsr >> 7))
}
