//! Switching address spaces, and flushing TLBs.
//!
//! Each CPU publishes what it is doing (`PerCpu::mode`) and which table is active. A CPU in the kernel does
//! not use user mappings, so it only gets a mark and flushes before it uses them again; a CPU in ring 3 is
//! interrupted and waited for; a CPU that copies user memory is waited for. The mark and the mode are one
//! word: leaving the kernel exchanges it and so cannot miss a mark.

use core::{
    arch::asm,
    sync::atomic::{Ordering, fence},
};

use super::{
    KERNEL_ROOT, apic,
    cpu::{self, FLUSH, HALTED, KERNEL, PerCpu, UACCESS, USER},
    cpu_relax,
};
use crate::arch::PhysAddr;

const PAGE: u64 = 4096;
/// Pages up to which a range is flushed page by page.
const MAX_SINGLE: u64 = 32;

fn write_root(root: u64) {
    // SAFETY: `root` is a top-level table whose upper half is the kernel's.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
}

fn read_root() -> u64 {
    let root: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr3", out(reg) root, options(nostack, preserves_flags, nomem)) };
    root
}

fn invalidate_page(va: u64) {
    // SAFETY: drops a translation, which is always allowed.
    unsafe { asm!("invlpg [{}]", in(reg) va, options(nostack, preserves_flags)) };
}

/// Takes the boot page table as the kernel's.
pub(super) fn boot_root() -> PhysAddr {
    PhysAddr(read_root() & !(PAGE - 1))
}

/// Makes `root` this CPU's table.
pub(in crate::arch) fn activate_root(root: PhysAddr) {
    let cpu = cpu::this();
    if cpu.root.load(Ordering::Relaxed) != root.0 {
        // Published first: who changes entries before reading this is covered by the load of CR3, who reads
        // it later sees that this CPU must flush.
        cpu.root.store(root.0, Ordering::SeqCst);
        write_root(root.0);
        // Published last: until here the table that was left may not be freed.
        cpu.loaded.store(root.0, Ordering::SeqCst);
    }
}

/// Makes sure that no CPU has `root` active; it is about to be freed.
pub(in crate::arch) fn retire_root(root: PhysAddr) {
    let kernel = PhysAddr(KERNEL_ROOT.load(Ordering::Relaxed));
    if cpu::this().root.load(Ordering::Relaxed) == root.0 {
        activate_root(kernel);
    }
    for other in cpu::others() {
        let mut asked = false;
        while other.root.load(Ordering::SeqCst) == root.0 || other.loaded.load(Ordering::SeqCst) == root.0 {
            if !asked {
                asked = other.retire.compare_exchange(0, root.0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
                if asked && other.mode.load(Ordering::SeqCst) & HALTED != 0 {
                    apic::send_kick(other);
                }
            }
            cpu_relax();
        }
        if asked {
            // It may have left by itself. The request must not wait for another table at the same place.
            let _ = other.retire.compare_exchange(root.0, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

/// Leaves a table that another CPU wants to free.
pub(super) fn serve_retirement() {
    let cpu = cpu::this();
    let root = cpu.retire.load(Ordering::Relaxed);
    if root != 0 {
        if cpu.root.load(Ordering::Relaxed) == root {
            activate_root(PhysAddr(KERNEL_ROOT.load(Ordering::Relaxed)));
        }
        cpu.retire.store(0, Ordering::SeqCst);
    }
}

/// Flushes everything of this CPU's address space.
fn flush_here() {
    write_root(read_root());
}

/// Enters `mode` (USER or UACCESS); flushes first if that was asked for.
#[inline]
pub(super) fn enter(cpu: &PerCpu, mode: u32) {
    while !try_enter(cpu, mode) {}
}

/// Enters `mode` unless a flush was asked for: then does that instead.
#[inline]
pub(super) fn try_enter(cpu: &PerCpu, mode: u32) -> bool {
    let flush = cpu.mode.swap(mode, Ordering::SeqCst) & FLUSH != 0;
    if flush {
        flush_requested(cpu);
    }
    !flush
}

/// Does the flush that another CPU asked for.
#[cold]
pub(super) fn flush_requested(cpu: &PerCpu) {
    cpu.mode.store(KERNEL, Ordering::SeqCst);
    flush_here();
    cpu.served.fetch_add(1, Ordering::SeqCst);
}

/// The interrupt by which another CPU asked this one.
pub(super) fn serve() {
    flush_here();
    cpu::this().served.fetch_add(1, Ordering::SeqCst);
    serve_retirement();
}

/// Drops kernel translations, which are global, on this CPU.
pub(super) fn flush_kernel(start: u64, len: u64) {
    for va in (start..start + len).step_by(PAGE as usize) {
        invalidate_page(va);
    }
}

/// Drops a page of the address space `id` from every TLB.
pub fn flush_page(id: u64, va: u64) {
    if cpu::this().root.load(Ordering::Relaxed) == id {
        invalidate_page(va);
    }
    flush_others(id);
}

/// Drops a range from every TLB.
pub fn flush_range(id: u64, start: u64, end: u64) {
    if cpu::this().root.load(Ordering::Relaxed) == id {
        if end.saturating_sub(start) <= MAX_SINGLE * PAGE {
            let mut va = start;
            while va < end {
                invalidate_page(va);
                va += PAGE;
            }
        } else {
            flush_here();
        }
    }
    flush_others(id);
}

/// Drops an address space from every TLB.
pub fn flush_mm(id: u64) {
    if cpu::this().root.load(Ordering::Relaxed) == id {
        flush_here();
    }
    flush_others(id);
}

fn flush_others(id: u64) {
    if !cpu::is_smp() {
        return;
    }
    // The changed entries come before the look at the other CPUs' tables.
    fence(Ordering::SeqCst);
    for other in cpu::others() {
        shoot(other, id);
    }
}

fn shoot(cpu: &PerCpu, id: u64) {
    let served = cpu.served.load(Ordering::SeqCst);
    let mut sent = false;
    while cpu.root.load(Ordering::SeqCst) == id {
        let mode = cpu.mode.fetch_or(FLUSH, Ordering::SeqCst) & !FLUSH;
        match mode {
            USER if !sent => {
                apic::send_kick(cpu);
                sent = true;
            }
            USER | UACCESS => {}
            // In the kernel: the mark is enough.
            _ => return,
        }
        while cpu.mode.load(Ordering::SeqCst) & !FLUSH == mode {
            if cpu.served.load(Ordering::SeqCst) != served {
                return;
            }
            cpu_relax();
        }
        if cpu.served.load(Ordering::SeqCst) != served {
            return;
        }
    }
}
