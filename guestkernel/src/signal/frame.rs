//! The frame that a handler finds on its stack, and `rt_sigreturn`.
//!
//! Layout of x86-64 Linux, upwards from the stack pointer: return address, `ucontext`, `siginfo`, then the
//! 64-aligned XSAVE image that `fpstate` points at.

use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    Action, SigInfo, SigSet,
    action::{SA_ONSTACK, SA_RESTORER},
};
use crate::{
    arch::{self, USER_CS, USER_SS, UserRegs, uaccess},
    errno::{Errno, Result},
    task::{AltStack, Task, current},
};

/// Bytes below the stack pointer that belong to the interrupted function.
const RED_ZONE: u64 = 128;
/// `SS_ONSTACK`.
pub const SS_ONSTACK: u32 = 1;
/// `SS_DISABLE`.
pub const SS_DISABLE: u32 = 2;
/// `SS_AUTODISARM`.
pub const SS_AUTODISARM: u32 = 1 << 31;
/// An XSAVE image is there, `ss` is saved, and it is restored as it is.
const UC_FLAGS: u64 = 1 | 2 | 4;
/// Direction, trap and resume flags.
const CLEARED_FLAGS: u64 = 0x400 | 0x100 | 0x1_0000;
/// Length of the part of an FPU image that is always there.
const LEGACY_FPU: usize = 512;
/// Where the image says how long it is, and its mark.
const SOFTWARE: usize = 464;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;

/// `stack_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Stack {
    /// Lowest address.
    pub base: u64,
    /// `SS_*`.
    pub flags: u32,
    pad: u32,
    /// Length.
    pub size: u64,
}

/// `struct sigcontext`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SigContext {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    eflags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
    fpstate: u64,
    reserved: [u64; 8],
}

/// `struct ucontext`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct UContext {
    flags: u64,
    link: u64,
    stack: Stack,
    context: SigContext,
    mask: u64,
}

/// `struct rt_sigframe`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Frame {
    return_to: u64,
    ucontext: UContext,
    info: SigInfo,
}

/// Where a frame's signal mask lies from the stack pointer of `sigreturn` on.
pub const MASK_AT: u64 = core::mem::offset_of!(UContext, mask) as u64;

const _: () = assert!(size_of::<SigContext>() == 256);
const _: () = assert!(size_of::<UContext>() == 304);
const _: () = assert!(size_of::<Frame>() == 440);
const _: () = assert!(core::mem::offset_of!(SigContext, fpstate) == 184);
const _: () = assert!(core::mem::offset_of!(UContext, context) == 40);

impl AltStack {
    /// Whether `sp` lies on it.
    #[must_use]
    pub const fn holds(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && self.contains(sp)
    }

    const fn contains(&self, sp: u64) -> bool {
        sp > self.base && sp - self.base <= self.size
    }

    /// As `sigaltstack` and frames show it.
    #[must_use]
    pub const fn show(&self, sp: Option<u64>) -> Stack {
        let state = match sp {
            _ if self.size == 0 => SS_DISABLE,
            Some(sp) if self.holds(sp) => SS_ONSTACK,
            _ => 0,
        };
        Stack { base: self.base, flags: state | self.flags, pad: 0, size: self.size }
    }
}

/// Where things lie.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    frame: u64,
    fpu: u64,
}

/// Finds room for a frame with an FPU image of `fpu_len` bytes.
fn place(sp: u64, alt: &AltStack, on_stack: bool, fpu_len: u64) -> Result<Place> {
    let mut top = sp.wrapping_sub(RED_ZONE);
    let mut must_hold = alt.size != 0 && alt.holds(sp);
    if on_stack && alt.size != 0 && !alt.holds(sp) {
        top = alt.base.wrapping_add(alt.size);
        must_hold = true;
    }
    let fpu = top.wrapping_sub(fpu_len) & !63;
    let frame = (fpu.wrapping_sub(size_of::<Frame>() as u64) & !15).wrapping_sub(8);
    if must_hold && !alt.contains(frame) || frame > top {
        return Err(Errno::EFAULT);
    }
    Ok(Place { frame, fpu })
}

/// Builds the frame and lets `regs` go on in the handler. `mask` is what the handler's return brings back.
///
/// # Errors
/// `EFAULT` when the stack is bad or the action has no restorer.
pub(super) fn push(regs: &mut UserRegs, info: &SigInfo, action: &Action, mask: SigSet) -> Result<()> {
    let me = current();
    if !action.has(SA_RESTORER) {
        return Err(Errno::EFAULT);
    }
    let alt = *me.signals.alt_stack.lock();
    let mut image = Vec::new();
    image.try_reserve_exact(arch::fpu::size()).map_err(|_| Errno::EFAULT)?;
    image.resize(arch::fpu::size(), 0);
    let length = me.ctx.save_fpu(&mut image);
    let place = place(regs.rsp, &alt, action.has(SA_ONSTACK), length as u64)?;
    let frame = Frame {
        return_to: action.restorer,
        ucontext: UContext {
            flags: UC_FLAGS,
            link: 0,
            stack: alt.show(None),
            context: context(regs, &me, mask, place.fpu),
            mask: mask.0,
        },
        info: *info,
    };
    uaccess::copy_to_user(place.fpu, image.get(..length).unwrap_or(&[]))?;
    uaccess::put(place.frame, &frame)?;
    if alt.flags & SS_AUTODISARM != 0 {
        *me.signals.alt_stack.lock() = AltStack::default();
    }
    regs.rdi = u64::from(info.signo());
    regs.rsi = place.frame + core::mem::offset_of!(Frame, info) as u64;
    regs.rdx = place.frame + core::mem::offset_of!(Frame, ucontext) as u64;
    regs.rax = 0;
    regs.rsp = place.frame;
    regs.rip = action.handler;
    regs.eflags &= !CLEARED_FLAGS;
    regs.sanitize();
    Ok(())
}

fn context(regs: &UserRegs, me: &Task, mask: SigSet, fpstate: u64) -> SigContext {
    let [trapno, err, cr2] = *me.signals.fault.lock();
    SigContext {
        r8: regs.r8,
        r9: regs.r9,
        r10: regs.r10,
        r11: regs.r11,
        r12: regs.r12,
        r13: regs.r13,
        r14: regs.r14,
        r15: regs.r15,
        rdi: regs.rdi,
        rsi: regs.rsi,
        rbp: regs.rbp,
        rbx: regs.rbx,
        rdx: regs.rdx,
        rax: regs.rax,
        rcx: regs.rcx,
        rsp: regs.rsp,
        rip: regs.rip,
        eflags: regs.eflags,
        cs: USER_CS as u16,
        gs: 0,
        fs: 0,
        ss: USER_SS as u16,
        err,
        trapno,
        oldmask: mask.0,
        cr2,
        fpstate,
        reserved: [0; 8],
    }
}

/// `rt_sigreturn`: takes everything back from the frame above the stack pointer. A bad frame costs a
/// `SIGSEGV`.
pub fn sigreturn(regs: &mut UserRegs) {
    if pop(regs).is_err() {
        super::force_signal(SigInfo::kernel(super::SIGSEGV));
    }
    regs.orig_rax = u64::MAX;
}

fn pop(regs: &mut UserRegs) -> Result<()> {
    let me = current();
    let start = regs.rsp.wrapping_sub(8) + core::mem::offset_of!(Frame, ucontext) as u64;
    let ucontext: UContext = uaccess::get(start)?;
    me.set_blocked(SigSet(ucontext.mask));
    let context = &ucontext.context;
    restore_registers(regs, context);
    restore_fpu(&me, context.fpstate)?;
    check_selectors(&ucontext)?;
    // A bad stack is ignored here, as in Linux.
    let _ = crate::syscall::signal::set_alt_stack(&me, &ucontext.stack, regs.rsp);
    Ok(())
}

/// Whether ring 3 can go on with the frame's selectors; a bad address is found on the way there.
fn check_selectors(ucontext: &UContext) -> Result<()> {
    const RING3: u16 = 3;
    const STRICT_SS: u64 = 4;
    let context = &ucontext.context;
    let code = u64::from(context.cs | RING3) == USER_CS;
    let stack = ucontext.flags & STRICT_SS == 0 || u64::from(context.ss | RING3) == USER_SS;
    if code && stack { Ok(()) } else { Err(Errno::EFAULT) }
}

fn restore_registers(regs: &mut UserRegs, from: &SigContext) {
    *regs = UserRegs {
        r15: from.r15,
        r14: from.r14,
        r13: from.r13,
        r12: from.r12,
        rbp: from.rbp,
        rbx: from.rbx,
        r11: from.r11,
        r10: from.r10,
        r9: from.r9,
        r8: from.r8,
        rax: from.rax,
        rcx: from.rcx,
        rdx: from.rdx,
        rsi: from.rsi,
        rdi: from.rdi,
        orig_rax: u64::MAX,
        rip: from.rip,
        cs: USER_CS,
        eflags: from.eflags,
        rsp: from.rsp,
        ss: USER_SS,
    };
    regs.sanitize();
}

fn restore_fpu(me: &Task, addr: u64) -> Result<()> {
    if addr == 0 {
        return me.ctx.restore_fpu(&initial_fpu());
    }
    let mut image = Vec::new();
    image.try_reserve_exact(arch::fpu::size()).map_err(|_| Errno::ENOMEM)?;
    image.resize(LEGACY_FPU, 0);
    uaccess::copy_from_user(&mut image, addr)?;
    let mark = image.get(SOFTWARE..SOFTWARE + 4).and_then(|bytes| bytes.try_into().ok());
    if mark.map(u32::from_le_bytes) == Some(FP_XSTATE_MAGIC1) {
        image.resize(arch::fpu::size(), 0);
        uaccess::copy_from_user(&mut image, addr)?;
    }
    me.ctx.restore_fpu(&image)
}

/// The legacy image in which programs start.
fn initial_fpu() -> [u8; LEGACY_FPU] {
    let mut image = [0; LEGACY_FPU];
    image[..2].copy_from_slice(&0x37fu16.to_le_bytes());
    image[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_lies_below_the_red_zone_and_is_aligned_as_after_a_call() {
        let at = place(0x7fff_0000_1234, &AltStack::default(), true, 836).unwrap();
        assert_eq!(at.frame % 16, 8);
        assert_eq!(at.fpu % 64, 0);
        assert!(at.fpu + 836 <= 0x7fff_0000_1234 - 128 && at.frame + 440 <= at.fpu);
    }

    #[test]
    fn the_alternate_stack_is_entered_once_and_must_not_overflow() {
        let alt = AltStack { base: 0x10_000, size: 0x2000, flags: 0 };
        let first = place(0x7fff_0000_0000, &alt, true, 836).unwrap();
        assert!(alt.contains(first.frame));
        let nested = place(first.frame, &alt, true, 836).unwrap();
        assert!(nested.frame < first.frame);
        assert_eq!(place(0x10_200, &alt, true, 836), Err(Errno::EFAULT));
        let plain = place(0x7fff_0000_0000, &alt, false, 836).unwrap();
        assert!(!alt.contains(plain.frame));
    }
}
