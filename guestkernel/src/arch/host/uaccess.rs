//! User memory: pages of the activated table, or buffers of [`user_buffer`].

use core::sync::atomic::{AtomicU32, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{super::paging::PteFlags, PAGE, active_root, phys_to_virt};
use crate::{
    arch::{PhysAddr, is_user_range, paging, read_phys, upcall, write_phys},
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
    let usable = PteFlags::PRESENT | PteFlags::USER;
    let needed = if write { usable | PteFlags::WRITE } else { usable };
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

/// Copies within the kernel's own memory; gives the bytes not copied.
///
/// # Safety
/// Both sides are mapped for `len` bytes and do not overlap; the target is the caller's.
pub(in crate::arch) unsafe fn copy_kernel(to: *mut u8, from: *const u8, len: usize) -> usize {
    // SAFETY: as the caller guarantees.
    unsafe { core::ptr::copy(from, to, len) };
    0
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
    pieces(dst, src.len(), true, |to, done, count| {
        // SAFETY: `pieces` gives a pointer to `count` bytes.
        unsafe { core::ptr::copy(src[done..].as_ptr(), to, count) };
    })
}

/// As [`copy_from_user`], as far as it goes: gives the bytes copied before a fault.
#[must_use]
pub fn copy_from_user_partial(dst: &mut [u8], src: u64) -> usize {
    let mut copied = 0;
    let _ = pieces(src, dst.len(), false, |from, done, count| {
        // SAFETY: `pieces` gives a pointer to `count` bytes of the arena or of a leaked buffer.
        dst[done..done + count].copy_from_slice(unsafe { core::slice::from_raw_parts(from, count) });
        copied = done + count;
    });
    copied
}

/// As [`copy_to_user`], as far as it goes: gives the bytes copied before a fault.
#[must_use]
pub fn copy_to_user_partial(dst: u64, src: &[u8]) -> usize {
    let mut copied = 0;
    let _ = pieces(dst, src.len(), true, |to, done, count| {
        // SAFETY: `pieces` gives a pointer to `count` bytes.
        unsafe { core::ptr::copy(src[done..].as_ptr(), to, count) };
        copied = done + count;
    });
    copied
}

/// Copies from physical memory (a frame, a file window) to user memory: gives the bytes copied.
#[must_use]
pub fn copy_phys_to_user(dst: u64, src: PhysAddr, len: usize) -> usize {
    let mut bytes = std::vec![0; len];
    read_phys(src, &mut bytes);
    copy_to_user_partial(dst, &bytes)
}

/// Copies from user memory to physical memory that the caller owns: gives the bytes copied.
#[must_use]
pub fn copy_user_to_phys(dst: PhysAddr, src: u64, len: usize) -> usize {
    let mut bytes = std::vec![0; len];
    let count = copy_from_user_partial(&mut bytes, src);
    write_phys(dst, &bytes[..count]);
    count
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
    for (index, out) in dst.iter_mut().enumerate() {
        let mut byte = [0];
        copy_from_user(&mut byte, src.checked_add(index as u64).ok_or(Errno::EFAULT)?)?;
        if byte[0] == 0 {
            return Ok(index);
        }
        *out = byte[0];
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
    if !addr.is_multiple_of(4) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::paging::PageTable;
    use crate::mem::frame;

    #[test]
    fn copies_go_through_the_active_table() {
        crate::mem::init_for_tests();
        let mut table = PageTable::new().unwrap();
        let flags = PteFlags::PRESENT | PteFlags::USER | PteFlags::WRITE | PteFlags::FRAME;
        for page in 0..2 {
            table.map(0x1000 + page * 4096, frame::alloc_zeroed().unwrap().into_raw(), flags).unwrap();
        }
        table.activate();
        copy_to_user(0x1ffa, b"across pages").unwrap();
        let mut back = [0; 12];
        copy_from_user(&mut back, 0x1ffa).unwrap();
        assert_eq!(&back, b"across pages");
        let mut name = [0; 32];
        assert_eq!(strncpy_from_user(&mut name, 0x1ffa), Ok(12));
        assert_eq!(copy_to_user_partial(0x2ffc, b"12345678"), 4);
        assert_eq!(copy_to_user(0x3000, b"x"), Err(Errno::EFAULT));
        assert_eq!(copy_to_user(u64::MAX - 2, b"xyzw"), Err(Errno::EFAULT));
        assert!(table.protect(0x1000, PteFlags::PRESENT | PteFlags::USER | PteFlags::FRAME));
        assert_eq!(copy_to_user(0x1000, b"x"), Err(Errno::EFAULT));
        assert_eq!(cmpxchg_u32(0x2000, 0, 9), Ok(u32::from_le_bytes(*b" pag")));
        assert_eq!(load_u32(0x2001), Err(Errno::EINVAL));
    }

    #[test]
    fn buffers_are_user_memory() {
        let buffer = user_buffer(64);
        put(buffer + 8, &0x1122_3344u32).unwrap();
        assert_eq!(get::<u32>(buffer + 8), Ok(0x1122_3344));
        zero_user(buffer, 64).unwrap();
        assert_eq!(get::<u32>(buffer + 8), Ok(0));
    }
}
