//! Restartable sequences, rseq(2): a thread's critical section that starts over when the thread was interrupted
//! in it.
//!
//! The thread registers an area where it finds the number of its CPU and where it says which section it is in.
//! System calls know nothing of it. A switch to a thread costs one comparison; only a thread that comes to
//! another CPU, that was interrupted in ring 3, or that gets a signal looks at its area on the way out.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Process, Task, work};
use crate::{
    arch::{self, USER_END, UserRegs, uaccess},
    errno::{Errno, Result},
    signal::{Action, SIGSEGV, SigInfo, send},
};

/// Bytes of the area that have a meaning (`AT_RSEQ_FEATURE_SIZE`).
pub const FEATURE_SIZE: u64 = 28;
/// Alignment of the area (`AT_RSEQ_ALIGN`).
pub const ALIGN: u64 = 32;
/// Length of the first published area.
const FIRST_LEN: u32 = 32;
const FLAG_UNREGISTER: u32 = 1;
/// `cpu_id` of an area that is not registered.
const UNINITIALISED: u32 = u32::MAX;
/// [`Rseq::cpu`] of a thread without an area.
const NONE: u32 = u32::MAX;
/// [`Rseq::cpu`] of an area that was not written yet.
const UNKNOWN: u32 = u32::MAX - 1;
const CS_AT: u64 = 8;
const FLAGS_AT: u64 = 16;
const NODE_AT: u64 = 20;

/// A thread's registration. Only the thread itself changes it.
#[derive(Debug)]
pub struct Rseq {
    area: AtomicU64,
    len: AtomicU32,
    signature: AtomicU32,
    /// The CPU that the area says, or [`NONE`].
    cpu: AtomicU32,
}

impl Default for Rseq {
    fn default() -> Self {
        Self {
            area: AtomicU64::new(0),
            len: AtomicU32::new(0),
            signature: AtomicU32::new(0),
            cpu: AtomicU32::new(NONE),
        }
    }
}

/// `struct rseq_cs`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Section {
    version: u32,
    flags: u32,
    start: u64,
    len: u64,
    abort: u64,
}

impl Section {
    fn holds(&self, ip: u64) -> bool {
        ip.wrapping_sub(self.start) < self.len
    }

    /// Whether everything lies in user space, and the way out not in the section.
    fn is_valid(&self) -> bool {
        self.version == 0
            && self.start < USER_END
            && self.start.checked_add(self.len).is_some_and(|end| end < USER_END)
            && self.abort < USER_END
            && !self.holds(self.abort)
    }
}

impl Rseq {
    /// What a forked child takes over.
    pub(super) fn inherit(&mut self, parent: &Self) {
        let area = parent.area.load(Ordering::Relaxed);
        if area != 0 {
            *self.area.get_mut() = area;
            *self.len.get_mut() = parent.len.load(Ordering::Relaxed);
            *self.signature.get_mut() = parent.signature.load(Ordering::Relaxed);
            *self.cpu.get_mut() = UNKNOWN;
        }
    }

    /// Forgets the area, as exec does.
    pub(super) fn clear(&self) {
        self.area.store(0, Ordering::Relaxed);
        self.cpu.store(NONE, Ordering::Relaxed);
    }

    fn is_registered(&self) -> bool {
        self.cpu.load(Ordering::Relaxed) != NONE
    }

    /// Refuses what does not name the registered area.
    fn same(&self, area: u64, len: u32, signature: u32) -> Result<()> {
        if self.area.load(Ordering::Relaxed) != area || self.len.load(Ordering::Relaxed) != len {
            return Err(Errno::EINVAL);
        }
        if self.signature.load(Ordering::Relaxed) != signature { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Ends the section that the thread is in, and says which CPU this is.
    fn fix(&self, regs: &mut UserRegs) -> Result<()> {
        let area = self.area.load(Ordering::Relaxed);
        let pointer: u64 = uaccess::get(area + CS_AT)?;
        if pointer != 0 {
            self.leave_section(regs, area, pointer)?;
        }
        let here = arch::cpu::current_index() as u32;
        // Before the area: a switch in the midst of writing it makes the thread come here again.
        if self.cpu.swap(here, Ordering::Relaxed) != here {
            write_ids(area, here, here, here)?;
        }
        Ok(())
    }

    fn leave_section(&self, regs: &mut UserRegs, area: u64, pointer: u64) -> Result<()> {
        if pointer >= USER_END {
            return Err(Errno::EINVAL);
        }
        let section: Section = uaccess::get(pointer)?;
        let signature = section.is_valid().then(|| section.abort.wrapping_sub(4)).ok_or(Errno::EINVAL)?;
        if uaccess::get::<u32>(signature)? != self.signature.load(Ordering::Relaxed) {
            return Err(Errno::EINVAL);
        }
        if !section.holds(regs.rip) {
            return uaccess::put(area + CS_AT, &0u64);
        }
        // Flags that once kept a section from starting over are refused.
        if section.flags != 0 || uaccess::get::<u32>(area + FLAGS_AT)? != 0 {
            return Err(Errno::EINVAL);
        }
        uaccess::put(area + CS_AT, &0u64)?;
        regs.rip = section.abort;
        Ok(())
    }
}

/// Writes the fields of an area that say where the thread runs. A thread's concurrency id is its CPU's number,
/// which no other running thread has.
fn write_ids(area: u64, start: u32, cpu: u32, concurrency: u32) -> Result<()> {
    uaccess::put(area, &[start, cpu])?;
    uaccess::put(area + NODE_AT, &[0, concurrency])
}

/// rseq(2).
///
/// # Errors
/// As rseq(2).
pub fn register(me: &Task, area: u64, len: u32, flags: u32, signature: u32) -> Result<()> {
    let own = &me.rseq;
    if flags == FLAG_UNREGISTER {
        if area == 0 {
            return Err(Errno::EINVAL);
        }
        own.same(area, len, signature)?;
        write_ids(area, 0, UNINITIALISED, 0)?;
        own.clear();
        return Ok(());
    }
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    if own.is_registered() {
        return own.same(area, len, signature).and(Err(Errno::EBUSY));
    }
    let least = if len == FIRST_LEN { FIRST_LEN } else { FEATURE_SIZE as u32 };
    if len < FIRST_LEN.max(least) || !area.is_multiple_of(ALIGN) {
        return Err(Errno::EINVAL);
    }
    if !arch::is_user_range(area, u64::from(len)) {
        return Err(Errno::EFAULT);
    }
    uaccess::put(area + CS_AT, &0u64)?;
    own.area.store(area, Ordering::Relaxed);
    own.len.store(len, Ordering::Relaxed);
    own.signature.store(signature, Ordering::Relaxed);
    own.cpu.store(UNKNOWN, Ordering::Relaxed);
    me.ctx.work.fetch_or(work::RSEQ, Ordering::SeqCst);
    Ok(())
}

/// The current task runs again after others did.
#[inline]
pub(super) fn switched_in(me: &Task) {
    let cpu = me.rseq.cpu.load(Ordering::Relaxed);
    if cpu != NONE && (cpu != arch::cpu::current_index() as u32 || !me.ctx.is_in_syscall()) {
        me.ctx.work.fetch_or(work::RSEQ, Ordering::SeqCst);
    }
}

/// Makes every thread of the process leave its sequence before it goes on in ring 3. Those that run there are to
/// be interrupted by the caller.
pub fn interrupt_all(process: &Process) {
    for task in &process.inner.lock().threads {
        if task.rseq.is_registered() {
            task.ctx.work.fetch_or(work::RSEQ, Ordering::SeqCst);
        }
    }
}

/// On the way to ring 3, when [`work::RSEQ`] asks for it or a signal is about to be taken. An area that cannot be
/// used costs a `SIGSEGV`.
pub(super) fn before_user(me: &Task, regs: &mut UserRegs) {
    if me.rseq.is_registered() && me.rseq.fix(regs).is_err() {
        me.rseq.cpu.store(arch::cpu::current_index() as u32, Ordering::Relaxed);
        // A handler would only lead back.
        me.process.with_handlers(|handlers| handlers.set(SIGSEGV, Action::default()));
        send::force_signal(SigInfo::kernel(SIGSEGV));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_checked() {
        let good = Section { version: 0, flags: 0, start: 0x1000, len: 0x10, abort: 0x2000 };
        assert!(good.is_valid() && good.holds(0x1000) && good.holds(0x100f) && !good.holds(0x1010));
        for bad in [
            Section { version: 1, ..good },
            Section { abort: 0x1008, ..good },
            Section { abort: u64::MAX, ..good },
            Section { start: USER_END, ..good },
            Section { len: u64::MAX, ..good },
            Section { len: USER_END, ..good },
        ] {
            assert!(!bad.is_valid(), "{bad:x?}");
        }
    }
}
