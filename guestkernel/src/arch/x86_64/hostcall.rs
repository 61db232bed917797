//! The hostcall client: one page per CPU and one `out`.
//!
//! The kernel is not preemptible and interrupts are off, so a CPU's page is never used twice at once.

use core::{
    arch::asm,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};
use hostcall::{CALL_DATA_LEN, EventPage, HOSTCALL_PORT, Hostcall};

use super::{
    boot_info, cpu, phys_to_virt,
    trace::{self, Event},
};
use crate::{
    arch::PhysAddr,
    errno::{Errno, Result},
};

/// A call without data.
///
/// # Errors
/// What the host answers.
pub fn call(nr: Hostcall, args: [u64; 6]) -> Result<u64> {
    call_data(nr, args, &[], &mut [])
}

/// A call with data in and out. Bytes past the call's own output are unspecified.
///
/// # Errors
/// What the host answers; `E2BIG` when the input does not fit.
pub fn call_data(nr: Hostcall, args: [u64; 6], input: &[&[u8]], output: &mut [u8]) -> Result<u64> {
    let page = NonNull::new(cpu::this().calls.load(Ordering::Relaxed)).ok_or(Errno::EIO)?;
    let mut filled = 0;
    for part in input {
        if part.len() > CALL_DATA_LEN - filled {
            return Err(Errno::E2BIG);
        }
        // SAFETY: the page is this CPU's own, mapped for good; the part fits behind what is there.
        unsafe {
            let data = (&raw mut (*page.as_ptr()).data).cast::<u8>();
            core::ptr::copy_nonoverlapping(part.as_ptr(), data.add(filled), part.len());
        }
        filled += part.len();
    }
    trace::note(Event::Hostcall, nr as u64, args[0]);
    let header = hostcall::CallHeader { nr: nr as u32, reserved: 0, args, ret: 0 };
    // SAFETY: as above; the header is the page's head.
    unsafe { (&raw mut (*page.as_ptr()).header).write_volatile(header) };
    // SAFETY: the port is the VMM's; it reads and writes the page during this instruction, which the
    // compiler takes for a use of all memory.
    unsafe { asm!("out dx, eax", in("dx") HOSTCALL_PORT, in("eax") 0, options(nostack, preserves_flags)) };
    // SAFETY: as above.
    let ret = unsafe { (&raw const (*page.as_ptr()).header.ret).read_volatile() };
    if ret < 0 {
        return Err(Errno::from_host(ret));
    }
    let count = output.len().min(CALL_DATA_LEN);
    // SAFETY: the page holds `CALL_DATA_LEN` bytes of data; nobody writes them until the next call.
    unsafe {
        let data = (&raw const (*page.as_ptr()).data).cast::<u8>();
        core::ptr::copy_nonoverlapping(data, output.as_mut_ptr(), count);
    }
    Ok(ret as u64)
}

/// Wakes the thread that moves frames.
pub fn ring_network() {
    // SAFETY: the write signals an eventfd of the VMM; it touches no memory, but what was written before is to be seen.
    unsafe {
        asm!("out dx, eax", in("dx") hostcall::NET_DOORBELL_PORT, in("eax") 0, options(nostack, preserves_flags));
    }
}

/// Takes what the host announced: event flags, ready streams.
#[must_use]
pub fn take_events() -> (u64, u64) {
    let page = phys_to_virt(PhysAddr(boot_info().events)).cast::<EventPage>();
    // SAFETY: the event page is shared with the VMM for good; its words are aligned and only ever accessed
    // atomically.
    let (flags, streams) = unsafe {
        (AtomicU64::from_ptr(&raw mut (*page).flags), AtomicU64::from_ptr(&raw mut (*page).streams))
    };
    (flags.swap(0, Ordering::AcqRel), streams.swap(0, Ordering::AcqRel))
}
