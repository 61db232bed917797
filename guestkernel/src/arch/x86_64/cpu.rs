//! The per-CPU block behind GS, descriptor tables, control registers and model-specific registers.

use core::{
    arch::{
        asm,
        x86_64::{__cpuid, __cpuid_count, CpuidResult},
    },
    cell::UnsafeCell,
    mem::offset_of,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

use hostcall::{CallPage, Hostcall, MAX_CPUS};
use x86_64::registers::{
    control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags},
    model_specific::Msr,
};

use super::{context::ThreadContext, entry, hostcall as client, phys_to_virt};
use crate::{
    arch::{PhysAddr, vdso::CPU_SELECTOR},
    errno::{Errno, Result},
    mem::{frame, kstack::KernelStack},
};

/// `PerCpu::mode`: in the kernel, not touching user memory.
pub(super) const KERNEL: u32 = 0;
/// `PerCpu::mode`: in ring 3.
pub(super) const USER: u32 = 1;
/// `PerCpu::mode`: in the kernel, copying from or to user memory.
pub(super) const UACCESS: u32 = 2;
/// `PerCpu::mode`: waits for an interrupt in the kernel.
pub(super) const HALTED: u32 = 4;
/// `PerCpu::mode`, additional: flush the TLB before user memory is used again.
pub(super) const FLUSH: u32 = 0x100;

pub(super) const KERNEL_CS: u16 = 0x10;
const KERNEL_DS: u16 = 0x18;
const TSS_SELECTOR: u16 = 0x40;
const MSR_TSC_AUX: u32 = 0xc000_0103;
/// Entries of the GDT: the last is the one that says which CPU this is.
const GDT_LEN: usize = CPU_SELECTOR as usize / 8 + 1;
/// 0, unused, kernel code, kernel data, 32-bit user code, user data, user code, unused, TSS, unused, CPU.
const GDT: [u64; GDT_LEN] = [
    0,
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0x0040_f500_0000_0000,
];

/// Stacks of double fault, machine check: order of their frames.
const IST_ORDER: u32 = 1;

#[repr(C, packed(4))]
struct Tss {
    reserved: u32,
    rsp: [u64; 3],
    reserved2: u64,
    ist: [u64; 7],
    reserved3: u64,
    reserved4: u16,
    io_map: u16,
}

const _: () = assert!(size_of::<Tss>() == 104);

/// One CPU's own data. Other CPUs use the atomics only.
#[repr(C, align(64))]
pub(super) struct PerCpu {
    /// The running task and its machine context.
    pub(super) task: AtomicPtr<()>,
    pub(super) context: AtomicPtr<ThreadContext>,
    /// Top of the running task's kernel stack.
    pub(super) kernel_stack: AtomicU64,
    /// Where the system-call entry keeps the user's stack pointer for a moment.
    pub(super) user_rsp: AtomicU64,
    pub(super) mode: AtomicU32,
    index: AtomicU32,
    /// The active top-level page table, from just before it is loaded.
    pub(super) root: AtomicU64,
    /// The table that CR3 holds, from just after it was loaded.
    pub(super) loaded: AtomicU64,
    /// A top-level table that is about to be freed and must not stay active.
    pub(super) retire: AtomicU64,
    /// Full flushes done on request.
    pub(super) served: AtomicU32,
    pub(super) apic_id: AtomicU32,
    /// Somebody wants this CPU to look around.
    pub(super) wake: AtomicBool,
    pub(super) online: AtomicBool,
    /// The host was asked to start it.
    asked: AtomicBool,
    /// Whose FPU state the registers hold.
    pub(super) fpu_owner: AtomicPtr<ThreadContext>,
    pub(super) calls: AtomicPtr<CallPage>,
    gdt: UnsafeCell<[u64; GDT_LEN]>,
    tss: UnsafeCell<Tss>,
}

// SAFETY: everything but the descriptor tables is atomic; those are written by their own CPU alone, with
// interrupts off.
unsafe impl Sync for PerCpu {}

pub(super) const TASK: usize = offset_of!(PerCpu, task);
pub(super) const CONTEXT: usize = offset_of!(PerCpu, context);
pub(super) const KERNEL_STACK: usize = offset_of!(PerCpu, kernel_stack);
pub(super) const USER_RSP: usize = offset_of!(PerCpu, user_rsp);
pub(super) const MODE: usize = offset_of!(PerCpu, mode);
const INDEX: usize = offset_of!(PerCpu, index);

static CPUS: [PerCpu; MAX_CPUS] = [const {
    PerCpu {
        task: AtomicPtr::new(core::ptr::null_mut()),
        context: AtomicPtr::new(core::ptr::null_mut()),
        kernel_stack: AtomicU64::new(0),
        user_rsp: AtomicU64::new(0),
        mode: AtomicU32::new(KERNEL),
        index: AtomicU32::new(0),
        root: AtomicU64::new(0),
        loaded: AtomicU64::new(0),
        retire: AtomicU64::new(0),
        served: AtomicU32::new(0),
        apic_id: AtomicU32::new(0),
        wake: AtomicBool::new(false),
        online: AtomicBool::new(false),
        asked: AtomicBool::new(false),
        fpu_owner: AtomicPtr::new(core::ptr::null_mut()),
        calls: AtomicPtr::new(core::ptr::null_mut()),
        gdt: UnsafeCell::new([0; GDT_LEN]),
        tss: UnsafeCell::new(Tss {
            reserved: 0,
            rsp: [0; 3],
            reserved2: 0,
            ist: [0; 7],
            reserved3: 0,
            reserved4: 0,
            io_map: 0,
        }),
    }
}; MAX_CPUS];

static COUNT: AtomicU32 = AtomicU32::new(1);
static ONLINE: AtomicU32 = AtomicU32::new(0);
static HAS_FSGSBASE: AtomicBool = AtomicBool::new(false);

/// Index of the CPU that runs this.
#[must_use]
#[inline]
pub fn current_index() -> usize {
    let index: u32;
    // SAFETY: GS points to this CPU's `PerCpu` whenever kernel code runs.
    unsafe {
        asm!("mov {:e}, gs:[{}]", out(reg) index, const INDEX, options(nostack, preserves_flags, readonly));
    }
    index as usize
}

/// This CPU's block.
#[inline]
pub(super) fn this() -> &'static PerCpu {
    &CPUS[current_index() % MAX_CPUS]
}

/// The block of CPU `index`.
pub(super) fn get(index: usize) -> Option<&'static PerCpu> {
    CPUS.get(index)
}

/// Other CPUs that run.
pub(super) fn others() -> impl Iterator<Item = &'static PerCpu> {
    let me = current_index();
    let count = if ONLINE.load(Ordering::Acquire) > 1 { count() } else { 0 };
    CPUS.iter()
        .take(count)
        .enumerate()
        .filter(move |(index, cpu)| *index != me && cpu.online.load(Ordering::Acquire))
        .map(|(_, cpu)| cpu)
}

/// Whether more than one CPU runs.
pub(super) fn is_smp() -> bool {
    ONLINE.load(Ordering::Relaxed) > 1
}

/// CPUs that the sandbox may use.
#[must_use]
pub fn count() -> usize {
    COUNT.load(Ordering::Relaxed) as usize
}

pub(super) fn set_count(count: u32) {
    COUNT.store(count, Ordering::Relaxed);
}

/// Starts a CPU; it comes up by itself later.
///
/// # Errors
/// `ENOMEM`, `EEXIST`, or what the host says.
pub fn start(index: usize) -> Result<()> {
    let cpu = CPUS.get(index).filter(|_| index < count()).ok_or(Errno::EINVAL)?;
    if cpu.asked.swap(true, Ordering::AcqRel) {
        // It is on its way.
        return Ok(());
    }
    let stack = KernelStack::new()?;
    client::call(Hostcall::StartCpu, [index as u64, stack.top(), 0, 0, 0, 0])?;
    // The new CPU lives on this stack for good.
    let _ = core::mem::ManuallyDrop::new(stack);
    Ok(())
}

/// Points GS to this CPU's block. Nothing of the kernel works before.
pub(super) fn init_gs(index: usize, calls: *mut CallPage) {
    let cpu = &CPUS[index % MAX_CPUS];
    cpu.index.store(index as u32, Ordering::Relaxed);
    cpu.calls.store(calls, Ordering::Relaxed);
    // SAFETY: the block is static; the kernel's GS base is this CPU's to set.
    unsafe { Msr::new(0xc000_0101).write(core::ptr::from_ref(cpu) as u64) };
    // SAFETY: the user's GS base starts at zero.
    unsafe { Msr::new(0xc000_0102).write(0) };
}

/// Loads this CPU's descriptor tables and turns the CPU's protections on.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn init() -> Result<()> {
    protections();
    let cpu = this();
    let ist = [ist_stack()?, ist_stack()?];
    // SAFETY: this CPU's own tables, not loaded yet.
    let (gdt, tss) = unsafe { (&mut *cpu.gdt.get(), &mut *cpu.tss.get()) };
    *gdt = GDT;
    // No I/O bitmap: it starts past the segment's end.
    tss.io_map = size_of::<Tss>() as u16;
    tss.ist[0] = ist[0];
    tss.ist[1] = ist[1];
    let base = core::ptr::from_ref(tss) as u64;
    gdt[8] = 0x0000_8900_0000_0067 | (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56;
    gdt[9] = base >> 32;
    // What user code reads as its CPU's number: a segment's limit, and a register where there is one.
    gdt[GDT_LEN - 1] |= current_index() as u64;
    if has_rdpid() || has_rdtscp() {
        // SAFETY: the CPU has the register; only user code looks at it.
        unsafe { Msr::new(MSR_TSC_AUX).write(current_index() as u64) };
    }
    load_gdt(core::ptr::from_ref(gdt));
    entry::load_idt();
    entry::init_syscall();
    cpu.online.store(true, Ordering::Release);
    ONLINE.fetch_add(1, Ordering::AcqRel);
    Ok(())
}

fn ist_stack() -> Result<u64> {
    let (base, _) = frame::alloc_order(IST_ORDER).ok_or(Errno::ENOMEM)?;
    Ok(phys_to_virt(PhysAddr(base.0)) as u64 + (4096 << IST_ORDER))
}

fn load_gdt(gdt: *const [u64; GDT_LEN]) {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let pointer = Pointer { limit: (size_of::<[u64; GDT_LEN]>() - 1) as u16, base: gdt as u64 };
    // SAFETY: the table is static and its selectors are the ones loaded here; the far return goes to the
    // next instruction.
    unsafe {
        asm!(
            "lgdt [{pointer}]",
            "push {cs}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ds, {zero:e}",
            "mov es, {zero:e}",
            "mov fs, {zero:e}",
            "mov ss, {ds:e}",
            "ltr {tss:x}",
            pointer = in(reg) &raw const pointer,
            cs = in(reg) u64::from(KERNEL_CS),
            zero = in(reg) 0,
            ds = in(reg) u32::from(KERNEL_DS),
            tss = in(reg) TSS_SELECTOR,
            scratch = out(reg) _,
        );
    }
}

/// A CPUID leaf; zeroes when the CPU does not have it.
pub(super) fn cpuid(leaf: u32, sub: u32) -> CpuidResult {
    if __cpuid(leaf & 0x8000_0000).eax < leaf {
        return CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    }
    __cpuid_count(leaf, sub)
}

/// Whether the CPU has `RDPID`.
#[must_use]
pub fn has_rdpid() -> bool {
    cpuid(7, 0).ecx & 1 << 22 != 0
}

fn has_rdtscp() -> bool {
    cpuid(0x8000_0001, 0).edx & 1 << 27 != 0
}

/// CPUID leaf 1 EDX, which programs get as `AT_HWCAP`.
#[must_use]
pub fn features_edx() -> u32 {
    cpuid(1, 0).edx
}

/// What the security model needs, always; what else the CPU has, when it has it.
fn protections() {
    let features = cpuid(7, 0);
    let mut cr4 = Cr4::read();
    cr4 |= Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE | Cr4Flags::PAGE_GLOBAL | Cr4Flags::OSXSAVE;
    cr4.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, features.ebx & 1 << 7 != 0);
    cr4.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, features.ebx & 1 << 20 != 0);
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.ecx & 1 << 2 != 0);
    let fsgsbase = features.ebx & 1 != 0;
    cr4.set(Cr4Flags::FSGSBASE, fsgsbase);
    HAS_FSGSBASE.store(fsgsbase, Ordering::Relaxed);
    // SAFETY: the features are there; nothing that runs depends on their absence.
    unsafe { Cr4::write(cr4) };
    let cr0 =
        (Cr0::read() | Cr0Flags::WRITE_PROTECT | Cr0Flags::MONITOR_COPROCESSOR | Cr0Flags::NUMERIC_ERROR)
            - (Cr0Flags::EMULATE_COPROCESSOR | Cr0Flags::TASK_SWITCHED);
    // SAFETY: only adds write protection and the FPU.
    unsafe { Cr0::write(cr0) };
    // SAFETY: NX and SYSCALL exist on every 64-bit CPU.
    unsafe {
        Efer::update(|efer| *efer |= EferFlags::NO_EXECUTE_ENABLE | EferFlags::SYSTEM_CALL_EXTENSIONS);
    }
}

/// Whether the CPU has what the sandbox's protection rests on.
pub(super) fn has_smap() -> bool {
    Cr4::read().contains(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION)
}

/// Whether FS and GS bases have instructions of their own.
#[must_use]
pub fn has_fsgsbase() -> bool {
    HAS_FSGSBASE.load(Ordering::Relaxed)
}

/// Sets the stack on which entries from ring 3 start.
pub(super) fn set_kernel_stack(cpu: &PerCpu, top: u64) {
    cpu.kernel_stack.store(top, Ordering::Relaxed);
    // SAFETY: only this CPU writes its TSS, and the hardware reads it at entries from ring 3 only. The field
    // is not aligned.
    unsafe { (&raw mut (*cpu.tss.get()).rsp[0]).write_unaligned(top) };
}
