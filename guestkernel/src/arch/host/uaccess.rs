//! User memory: pages of the activated table, or buffers of [`user_buffer`].

use core::sync::atomic::{AtomicU32, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{super::paging::PteFlags, PAGE, active_root, phys_to_virt};
use crate::{
    arch::{PhysAddr, is_user_range, paging, upcall},
    errno::{Errno, Result},
    sync::SpinLock,
};
use std::vec::Vec;

static BUFFERS: SpinLock<Vec<(u64, u64)>> = SpinLock::new(Vec::new());

/// A buffer of zeroes whose host address counts as user memory; never freed.
#[must_use]
pub fn user_buffer(len: usize) -> u64 {
    let start = std::vec![0u8; len].leak().as_mut_ptr() as u64;
    BUFFERS.lock().push((start, len as u64));
    start
}

fn in_buffer(addr: u64, len: u64) -> bool {
    BUFFERS.lock().iter().any(|&(start, size)| addr >= start && addr + len <= start + size)
}

/// Finds the bytes from `addr` to the end of its page.
fn page_pointer(addr: u64, write: bool) -> Result<*mut u8> {
    let needed = if write { PteFlags::WRITE | PteFlags::USER } else { PteFlags::USER };
    let root = active_root().ok_or(Errno::EFAULT)?;
    loop {
        if let Some((page, flags)) = paging::translate_in(root, addr)
            && flags.contains(needed)
        {
            return Ok(phys_to_virt(PhysAddr(page.0 + addr % PAGE as u64)));
        }
        if !upcall::kernel_fault(addr, write) {
            return Err(Errno::EFAULT);
        }
    }
}

/// Calls `f` with a pointer and an offset for each piece of a user range.
fn pieces(addr: u64, len: usize, write: bool, mut f: impl FnMut(*mut u8, usize, usize)) -> Result<()> {
    if !is_user_range(addr, len as u64) {
        return Err(Errno::EFAULT);
    }
    if in_buffer(addr, len as u64) {
        f(addr as *mut u8, 0, len);
        return Ok(());
    }
    let mut done = 0;
    while done < len {
        let at = addr + done as u64;
        let count = (PAGE - at as usize % PAGE).min(len - done);
        f(page_pointer(at, write)?, done, count);
        done += count;
    }
    Ok(())
}

/// Copies from user memory.
///
/// # Errors
/// `EFAULT`.
pub fn copy_from_user(dst: &mut [u8], src: u64) -> Result<()> {
    pieces(src, dst.len(), false, |from, done, count| {
        // SAFETY: `pieces` gives a pointer to `count` bytes of the arena or of a leaked buffer.
        let bytes = unsafe { core::slice::from_raw_parts(from, count) };
        dst[done..done + count].copy_from_slice(bytes);
    })
}

/// Copies to user memory.
///
/// # Errors
/// `EFAULT`.
pub fn copy_to_user(dst: u64, src: &[u8]) -> Result<()> {
    // SAFETY: the slice is valid for reads of its length.
    unsafe { copy_to_user_raw(dst, src.as_ptr(), src.len()) }
}

/// Copies from any kernel memory (a file window) to user memory.
///
/// # Safety
/// `src` is valid for reads of `len` bytes.
///
/// # Errors
/// `EFAULT`.
pub unsafe fn copy_to_user_raw(dst: u64, src: *const u8, len: usize) -> Result<()> {
    pieces(dst, len, true, |to, done, count| {
        // SAFETY: `pieces` gives a pointer to `count` bytes; the caller vouches for the source.
        unsafe { core::ptr::copy(src.add(done), to, count) };
    })
}

/// Clears user memory.
///
/// # Errors
/// `EFAULT`.
pub fn zero_user(dst: u64, len: usize) -> Result<()> {
    pieces(dst, len, true, |to, _, count| {
        // SAFETY: `pieces` gives a pointer to `count` bytes.
        unsafe { core::ptr::write_bytes(to, 0, count) };
    })
}

/// Copies a string up to its zero byte, which is not stored. Gives its length; `dst.len()` when there was
/// no zero byte within it.
///
/// # Errors
/// `EFAULT`.
pub fn strncpy_from_user(dst: &mut [u8], src: u64) -> Result<usize> {
    for index in 0..dst.len() {
        let mut byte = [0];
        copy_from_user(&mut byte, src.checked_add(index as u64).ok_or(Errno::EFAULT)?)?;
        if byte[0] == 0 {
            return Ok(index);
        }
        dst[index] = byte[0];
    }
    Ok(dst.len())
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

fn word<T>(addr: u64, write: bool, f: impl Fn(&AtomicU32) -> T) -> Result<T> {
    if addr % 4 != 0 {
        return Err(Errno::EINVAL);
    }
    let mut result = None;
    // SAFETY: `pieces` gives a pointer to 4 bytes, aligned as the address is.
    pieces(addr, 4, write, |at, _, _| result = Some(f(unsafe { &*at.cast::<AtomicU32>() })))?;
    result.ok_or(Errno::EFAULT)
}

/// Reads a futex word.
///
/// # Errors
/// `EFAULT`; `EINVAL` when unaligned.
pub fn load_u32(addr: u64) -> Result<u32> {
    word(addr, false, |word| word.load(Ordering::SeqCst))
}

/// Replaces a futex word that has the value `old`; gives the value found.
///
/// # Errors
/// `EFAULT`; `EINVAL` when unaligned.
pub fn cmpxchg_u32(addr: u64, old: u32, new: u32) -> Result<u32> {
    word(addr, true, |word| {
        word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).unwrap_or_else(|found| found)
    })
}
