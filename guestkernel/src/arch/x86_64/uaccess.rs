//! Copies from and to user memory.
//!
//! SMAP is lifted for the instructions that touch user memory only, and the CPU's mode says so to others that
//! flush TLBs. A page fault of such an instruction is resolved if the program's own access would be;
//! otherwise the exception table leads to code that ends the copy. So it does when the host cannot provide a page of a
//! file window, on either side.

use core::{arch::asm, sync::atomic::Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    cpu::{self, KERNEL, UACCESS},
    tlb,
};
use crate::{
    arch::{PhysAddr, USER_END, addr, is_user_range},
    errno::{Errno, Result},
};

unsafe extern "C" {
    static __ex_table_start: [Entry; 0];
    static __ex_table_end: [Entry; 0];
}

/// Offsets from each field's own place: an instruction that may fault, and where to go on then.
#[repr(C)]
struct Entry {
    instruction: i32,
    fixup: i32,
}

/// Where to go on after an unresolved fault at `rip`.
pub(super) fn fixup(rip: u64) -> Option<u64> {
    let (start, end) =
        ((&raw const __ex_table_start).cast::<Entry>(), (&raw const __ex_table_end).cast::<Entry>());
    // SAFETY: the linker script puts the two symbols around the table.
    let table = unsafe { core::slice::from_raw_parts(start, end.offset_from(start) as usize) };
    let target = |field: &i32| (core::ptr::from_ref(field) as i64 + i64::from(*field)) as u64;
    table.iter().find(|entry| target(&entry.instruction) == rip).map(|entry| target(&entry.fixup))
}

/// An assembly line for the exception table: a fault at label `$from` continues at label `$to`.
macro_rules! ex_table {
    ($from:literal, $to:literal) => {
        concat!(
            ".pushsection .ex_table, \"a\"\n.balign 4\n.long ",
            $from,
            " - .\n.long ",
            $to,
            " - .\n.popsection"
        )
    };
}

/// While this lives, user memory may be touched.
struct Access;

impl Access {
    fn begin() -> Self {
        tlb::enter(cpu::this(), UACCESS);
        // SAFETY: sets the AC flag; `drop` clears it. No call leaves this file in between.
        unsafe { asm!("stac", options(nostack)) };
        Self
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        // SAFETY: clears the AC flag.
        unsafe { asm!("clac", options(nostack)) };
        // A fault may have moved the task to another CPU.
        cpu::this().mode.store(KERNEL, Ordering::SeqCst);
    }
}

fn check(addr: u64, len: usize) -> Result<()> {
    if is_user_range(addr, len as u64) { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copies between the kernel's memory and user space. Gives the bytes not copied.
///
/// # Safety
/// Whichever side is the kernel's is valid for `len` bytes; the other side is in user space.
unsafe fn copy(to: *mut u8, from: *const u8, len: usize) -> usize {
    let _access = Access::begin();
    // SAFETY: as the caller guarantees.
    unsafe { copy_kernel(to, from, len) }
}

/// Copies words, then bytes, where either side may fault: the kernel's own memory includes file windows. Gives the bytes
/// not copied: those from the first on that user space does not have or the host cannot provide.
///
/// # Safety
/// The kernel's sides are mapped for `len` bytes and do not overlap; the target is the caller's. For a side in user space
/// access is open.
#[inline(always)]
pub(in crate::arch) unsafe fn copy_kernel(to: *mut u8, from: *const u8, len: usize) -> usize {
    let left: usize;
    // SAFETY: as the caller guarantees; faults end the copy.
    unsafe {
        asm!(
            "mov {tail}, rcx",
            "and {tail}, 7",
            "shr rcx, 3",
            "2: rep movsq",
            "mov rcx, {tail}",
            "3: rep movsb",
            "jmp 5f",
            // A word that is partly there: its bytes.
            "4: lea rcx, [{tail} + rcx*8]",
            "jmp 3b",
            "5:",
            ex_table!("2b", "4b"),
            ex_table!("3b", "5b"),
            tail = out(reg) _,
            inout("rcx") len => left,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack),
        );
    }
    left
}

/// Copies from user memory.
///
/// # Errors
/// `EFAULT`.
pub fn copy_from_user(dst: &mut [u8], src: u64) -> Result<()> {
    check(src, dst.len())?;
    // SAFETY: the slice is valid, the source in user space.
    let left = unsafe { copy(dst.as_mut_ptr(), src as *const u8, dst.len()) };
    if left == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copies to user memory.
///
/// # Errors
/// `EFAULT`.
pub fn copy_to_user(dst: u64, src: &[u8]) -> Result<()> {
    check(dst, src.len())?;
    // SAFETY: the slice is valid for reads of its length, the target in user space.
    let left = unsafe { copy(dst as *mut u8, src.as_ptr(), src.len()) };
    if left == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// As [`copy_from_user`], as far as it goes: gives the bytes copied before a fault.
#[must_use]
pub fn copy_from_user_partial(dst: &mut [u8], src: u64) -> usize {
    let len = user_part(src, dst.len());
    // SAFETY: the slice is valid, the source in user space.
    len - unsafe { copy(dst.as_mut_ptr(), src as *const u8, len) }
}

/// As [`copy_to_user`], as far as it goes: gives the bytes copied before a fault.
#[must_use]
pub fn copy_to_user_partial(dst: u64, src: &[u8]) -> usize {
    let len = user_part(dst, src.len());
    // SAFETY: the slice is valid, the target in user space.
    len - unsafe { copy(dst as *mut u8, src.as_ptr(), len) }
}

/// Copies from physical memory (a frame, a file window) to user memory: gives the bytes copied.
#[must_use]
pub fn copy_phys_to_user(dst: u64, src: PhysAddr, len: usize) -> usize {
    let len = user_part(dst, len);
    let src = addr::pointer(src, len);
    // SAFETY: `pointer` checked the source; the target is in user space.
    len - unsafe { copy(dst as *mut u8, src, len) }
}

/// Copies from user memory to physical memory that the caller owns: gives the bytes copied.
#[must_use]
pub fn copy_user_to_phys(dst: PhysAddr, src: u64, len: usize) -> usize {
    let len = user_part(src, len);
    let dst = addr::pointer(dst, len);
    // SAFETY: `pointer` checked the target; the source is in user space.
    len - unsafe { copy(dst, src as *const u8, len) }
}

/// How much of `len` bytes from `addr` is in user space.
fn user_part(addr: u64, len: usize) -> usize {
    len.min(USER_END.saturating_sub(addr) as usize)
}

/// Clears user memory.
///
/// # Errors
/// `EFAULT`.
pub fn zero_user(dst: u64, len: usize) -> Result<()> {
    check(dst, len)?;
    let left: usize;
    let access = Access::begin();
    // SAFETY: the target is in user space; faults end the loop.
    unsafe {
        asm!(
            "mov {tail}, rcx",
            "and {tail}, 7",
            "shr rcx, 3",
            "2: rep stosq",
            "mov rcx, {tail}",
            "3: rep stosb",
            "jmp 5f",
            // A word that is partly there: its bytes.
            "4: lea rcx, [{tail} + rcx*8]",
            "jmp 3b",
            "5:",
            ex_table!("2b", "4b"),
            ex_table!("3b", "5b"),
            tail = out(reg) _,
            inout("rcx") len => left,
            inout("rdi") dst => _,
            in("rax") 0u64,
            options(nostack),
        );
    }
    drop(access);
    if left == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Loads an aligned word of user memory; `Access` is open.
///
/// # Safety
/// `addr` is in user space and access is open.
unsafe fn load_word(addr: u64) -> Option<u64> {
    let (value, ok): (u64, u32);
    // SAFETY: as the caller guarantees; a fault leaves `ok` at 0.
    unsafe {
        asm!(
            "xor {ok:e}, {ok:e}",
            "2: mov {value}, [{addr}]",
            "inc {ok:e}",
            "3:",
            ex_table!("2b", "3b"),
            addr = in(reg) addr,
            value = out(reg) value,
            ok = out(reg) ok,
            options(nostack, readonly),
        );
    }
    (ok != 0).then_some(value)
}

/// Copies a string up to its zero byte, which is not stored. Gives its length; `dst.len()` when there was
/// no zero byte within it.
///
/// # Errors
/// `EFAULT`.
pub fn strncpy_from_user(dst: &mut [u8], src: u64) -> Result<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    check(src, 1)?;
    let access = Access::begin();
    // Aligned words never cross a page, so no byte is touched whose page the string does not reach.
    let mut word_at = src & !7;
    let mut skip = (src & 7) as usize;
    let mut done = 0;
    let result = loop {
        if done >= dst.len() {
            break Ok(dst.len());
        }
        if !is_user_range(word_at, 8) {
            break Err(Errno::EFAULT);
        }
        // SAFETY: just checked; access is open.
        let Some(word) = (unsafe { load_word(word_at) }) else { break Err(Errno::EFAULT) };
        let word = word >> (8 * skip);
        let valid = 8 - skip;
        let zero = word.wrapping_sub(ONES) & !word & (ONES << 7);
        // Shifted-in bytes are zero: they lie past `valid`.
        let length = (zero.trailing_zeros() as usize / 8).min(valid);
        let count = length.min(dst.len() - done);
        dst[done..done + count].copy_from_slice(&word.to_le_bytes()[..count]);
        done += count;
        if length < valid {
            break Ok(done);
        }
        word_at += 8;
        skip = 0;
    };
    drop(access);
    result
}

/// Reads a value.
///
/// # Errors
/// `EFAULT`.
pub fn get<T: FromBytes + IntoBytes>(addr: u64) -> Result<T> {
    let mut value = T::new_zeroed();
    copy_from_user(value.as_mut_bytes(), addr)?;
    Ok(value)
}

/// Writes a value.
///
/// # Errors
/// `EFAULT`.
pub fn put<T: IntoBytes + Immutable + ?Sized>(addr: u64, value: &T) -> Result<()> {
    copy_to_user(addr, value.as_bytes())
}

fn check_word(addr: u64) -> Result<()> {
    if !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    check(addr, 4)
}

/// Reads a futex word.
///
/// # Errors
/// `EFAULT`; `EINVAL` when unaligned.
pub fn load_u32(addr: u64) -> Result<u32> {
    check_word(addr)?;
    let (value, ok): (u32, u32);
    let access = Access::begin();
    // SAFETY: the word is in user space and access is open; a fault leaves `ok` at 0.
    unsafe {
        asm!(
            "xor {ok:e}, {ok:e}",
            "2: mov {value:e}, [{addr}]",
            "inc {ok:e}",
            "3:",
            ex_table!("2b", "3b"),
            addr = in(reg) addr,
            value = out(reg) value,
            ok = out(reg) ok,
            options(nostack),
        );
    }
    drop(access);
    if ok != 0 { Ok(value) } else { Err(Errno::EFAULT) }
}

/// Replaces a futex word that has the value `old`; gives the value found.
///
/// # Errors
/// `EFAULT`; `EINVAL` when unaligned.
pub fn cmpxchg_u32(addr: u64, old: u32, new: u32) -> Result<u32> {
    check_word(addr)?;
    let (found, ok): (u32, u32);
    let access = Access::begin();
    // SAFETY: the word is in user space and access is open; a fault leaves `ok` at 0.
    unsafe {
        asm!(
            "xor {ok:e}, {ok:e}",
            "2: lock cmpxchg [{addr}], {new:e}",
            "inc {ok:e}",
            "3:",
            ex_table!("2b", "3b"),
            addr = in(reg) addr,
            new = in(reg) new,
            ok = out(reg) ok,
            inout("eax") old => found,
            options(nostack),
        );
    }
    drop(access);
    if ok != 0 { Ok(found) } else { Err(Errno::EFAULT) }
}
