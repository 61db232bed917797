//! From the VMM's first instruction to the scheduler.

use core::arch::naked_asm;
use core::sync::atomic::Ordering;
use hostcall::{BOOT_MAGIC, BOOT_VERSION, BootInfo, CallPage, MAX_CPUS};

use super::{DIRECT_MAP, KERNEL_ROOT, PHYS_END, apic, clock, cpu, exit_sandbox, fpu, logger, tlb};
use crate::{
    arch::{KERNEL_STACKS, PhysAddr, SCATTERED, paging, phys_to_virt, upcall},
    errno::{Errno, Result},
    mem::{frame, kstack::KernelStack},
};

static INFO: spin::Once<BootInfo> = spin::Once::new();

/// Wait status of a sandbox whose kernel cannot start.
const BOOT_FAILED: i32 = 125 << 8;

/// What the VMM said at the start. The seed is not in it: see [`take_seed`].
///
/// # Panics
/// Before the boot has read it.
#[must_use]
pub fn boot_info() -> &'static BootInfo {
    match INFO.get() {
        Some(info) => info,
        None => stop(),
    }
}

static SEED: spin::Once<[u8; 32]> = spin::Once::new();
static SEED_TAKEN: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

/// The host's random bytes; they are given once only.
#[must_use]
pub fn take_seed() -> Option<[u8; 32]> {
    if SEED_TAKEN.swap(true, Ordering::AcqRel) { None } else { SEED.get().copied() }
}

/// Nothing works yet, not even a hostcall.
fn stop() -> ! {
    loop {
        x86_64::instructions::hlt();
    }
}

/// The entry point of every vCPU: `rdi` = boot information, `rsi` = index, `rsp` = a stack.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.entry")]
extern "C" fn _start() -> ! {
    naked_asm!("cld", "cli", "xor ebp, ebp", "and rsp, -16", "call {start}", "ud2", start = sym start)
}

extern "C" fn start(info: *mut BootInfo, index: u64) -> ! {
    let result = if index == 0 { first_cpu(info) } else { further_cpu(index as usize) };
    if let Err(error) = result {
        log::error!("vCPU {index} does not start: {error}");
        exit_sandbox(BOOT_FAILED);
    }
    if index != 0 {
        crate::task::sched::cpu_main()
    }
    // The VMM's stack has no guard page below it.
    match KernelStack::new() {
        Ok(stack) => {
            let top = core::mem::ManuallyDrop::new(stack).top();
            // SAFETY: the stack is mapped and unused; nothing of this one is needed any more.
            unsafe { move_to(top) }
        }
        Err(_) => exit_sandbox(BOOT_FAILED),
    }
}

/// Goes on in [`main`] on another stack.
///
/// # Safety
/// `top` is the top of a mapped, unused stack.
#[unsafe(naked)]
unsafe extern "C" fn move_to(top: u64) -> ! {
    naked_asm!("mov rsp, rdi", "xor ebp, ebp", "call {main}", "ud2", main = sym main)
}

extern "C" fn main() -> ! {
    upcall::main()
}

/// Copies the boot information and clears the original's seed.
fn read_info(info: *mut BootInfo) -> Option<&'static BootInfo> {
    if info.is_null() || !info.is_aligned() {
        return None;
    }
    // SAFETY: the VMM passes the address of a mapped, initialised `BootInfo`, and nobody else uses it.
    let mut copy = unsafe { info.read() };
    if copy.magic != BOOT_MAGIC || copy.version != BOOT_VERSION {
        return None;
    }
    SEED.call_once(|| copy.seed);
    copy.seed = [0; 32];
    // SAFETY: as above.
    unsafe { (&raw mut (*info).seed).write_volatile([0; 32]) };
    Some(INFO.call_once(|| copy))
}

fn calls_of(info: &BootInfo, index: usize) -> *mut CallPage {
    phys_to_virt(PhysAddr(info.calls + (index * size_of::<CallPage>()) as u64)).cast()
}

fn first_cpu(info: *mut BootInfo) -> Result<()> {
    let Some(info) = read_info(info) else { stop() };
    DIRECT_MAP.store(info.direct_map, Ordering::Relaxed);
    let ram_end = info.regions.iter().map(|r| r.start + r.len).max().unwrap_or(0);
    PHYS_END.store(ram_end.max(info.window_start + info.window_len), Ordering::Relaxed);
    cpu::init_gs(0, calls_of(info, 0));
    cpu::set_count(info.cpus.clamp(1, MAX_CPUS as u32));
    logger::init(info.log_level);
    clock::init(info);
    frame::init(&info.regions, info.free_start);
    let root = tlb::boot_root();
    paging::clear_user_half(root);
    paging::reserve_kernel_slot(root, KERNEL_STACKS)?;
    paging::reserve_kernel_slot(root, SCATTERED)?;
    KERNEL_ROOT.store(root.0, Ordering::Relaxed);
    tlb::activate_root(root);
    protect_image(info, root)?;
    this_cpu(info)?;
    if !cpu::has_smap() {
        log::warn!("the CPU has no SMAP: a bug of the kernel could reach user memory unnoticed");
    }
    Ok(())
}

/// The direct map shows the image too; there as well its text and constants are not writable.
fn protect_image(info: &BootInfo, root: PhysAddr) -> Result<()> {
    unsafe extern "C" {
        static __image_start: [u8; 0];
        static __data_start: [u8; 0];
    }
    let len = (&raw const __data_start) as u64 - (&raw const __image_start) as u64;
    let alias = info.direct_map + info.image_phys;
    paging::write_protect_kernel(root, alias, len)?;
    tlb::flush_kernel(alias, len);
    Ok(())
}

fn further_cpu(index: usize) -> Result<()> {
    let info = boot_info();
    if index >= info.cpus as usize || index >= MAX_CPUS {
        return Err(Errno::EINVAL);
    }
    cpu::init_gs(index, calls_of(info, index));
    tlb::activate_root(PhysAddr(KERNEL_ROOT.load(Ordering::Relaxed)));
    cpu::this().wake.store(false, Ordering::Relaxed);
    this_cpu(info)
}

fn this_cpu(info: &BootInfo) -> Result<()> {
    cpu::init()?;
    fpu::init(info.xcr0);
    apic::init();
    Ok(())
}
