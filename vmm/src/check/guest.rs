//! The tiny guest of the probe.
//!
//! It exits a number of times from ring 0, goes to ring 3, times an empty loop and a number of system calls,
//! and executes an undefined instruction, whose handler in ring 0 reports what was seen. Its length is bounded,
//! however slowly it runs.

use std::{arch::global_asm, os::fd::OwnedFd, time::Instant};

use kvm_bindings::{Msrs, kvm_dtable, kvm_msr_entry};
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::{Costs, Problem, SLOW_NS};
use crate::{cpu::Start, error::Error, memory::Memory, vm::Vm};

const PORT: u16 = 0x5246;
const EXITS: u64 = 64;
const LOOP: u64 = 10_000;
const CALLS: u64 = 1000;

const ROOT: u64 = 0x1000;
const GDT: u64 = 0x4000;
const TSS: u64 = 0x5000;
const IDT: u64 = 0x6000;
/// The system-call handler leaves its privilege level plus 1 here.
const MARK: u64 = 0x7000;
const CODE: u64 = 0x8000;
const USER_STACK: u64 = 0xf000;
const KERNEL_STACK: u64 = 0x1_1000;
const BOOT_STACK: u64 = 0x1_2000;

const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const FMASK: u32 = 0xc000_0084;

global_asm!(
    ".pushsection .rodata.ringfence_probe, \"a\"",
    "ringfence_probe_start:",
    "mov ecx, {exits}",
    "2: mov dx, {port}",
    "out dx, al",
    "dec ecx",
    "jnz 2b",
    // To ring 3.
    "push 0x2b",
    "push {user_stack}",
    "push 2",
    "push 0x33",
    "lea rax, [rip + 3f]",
    "push rax",
    "iretq",
    // Ring 3: the best of three empty loops into r12.
    "3: mov r12, -1",
    "mov r8d, 3",
    "4: rdtsc",
    "shl rdx, 32",
    "lea r9, [rax + rdx]",
    "mov ecx, {loops}",
    "5: dec ecx",
    "jnz 5b",
    "rdtsc",
    "shl rdx, 32",
    "add rax, rdx",
    "sub rax, r9",
    "cmp rax, r12",
    "cmovb r12, rax",
    "dec r8d",
    "jnz 4b",
    // System calls into r13.
    "rdtsc",
    "shl rdx, 32",
    "lea r9, [rax + rdx]",
    "mov r10d, {calls}",
    "6: syscall",
    "dec r10d",
    "jnz 6b",
    "rdtsc",
    "shl rdx, 32",
    "add rax, rdx",
    "sub rax, r9",
    "mov r13, rax",
    "ud2",
    "ringfence_probe_syscall:",
    "mov eax, cs",
    "and eax, 3",
    "inc eax",
    "mov dword ptr [{mark}], eax",
    "sysretq",
    // The undefined instruction: where from into r15, privilege level here into rbx.
    "ringfence_probe_fault:",
    "mov r15, [rsp + 8]",
    "mov ebx, cs",
    "and ebx, 3",
    "mov dx, {port}",
    "out dx, al",
    "hlt",
    "ringfence_probe_end:",
    ".popsection",
    exits = const EXITS,
    port = const PORT,
    user_stack = const USER_STACK,
    loops = const LOOP,
    calls = const CALLS,
    mark = const MARK,
);

unsafe extern "C" {
    static ringfence_probe_start: u8;
    static ringfence_probe_syscall: u8;
    static ringfence_probe_fault: u8;
    static ringfence_probe_end: u8;
}

/// The guest's code and the offsets of its two handlers.
fn code() -> (&'static [u8], u64, u64) {
    let start = &raw const ringfence_probe_start;
    let offset = |label: *const u8| label as usize - start as usize;
    // SAFETY: the labels above delimit one read-only piece of this program.
    let bytes = unsafe { std::slice::from_raw_parts(start, offset(&raw const ringfence_probe_end)) };
    let syscall = offset(&raw const ringfence_probe_syscall) as u64;
    let fault = offset(&raw const ringfence_probe_fault) as u64;
    (bytes, syscall, fault)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Kvm(error.to_string())
    }
}

fn kvm(error: kvm_ioctls::Error) -> Problem {
    Problem::Kvm(error.to_string())
}

/// Runs the guest.
pub(super) fn run(fd: OwnedFd) -> Result<Costs, Problem> {
    let vm = Vm::new(fd, 1)?;
    let memory = Memory::new(2 << 20, 1 << 30)?;
    vm.map(&memory)?;
    let (bytes, syscall, fault) = code();
    fill(&memory, bytes, CODE + fault).map_err(|e| Problem::Guest(e.to_string()))?;
    let mut vcpu = vm.vcpu(0)?;
    let start =
        Start { index: 0, entry: CODE, stack: BOOT_STACK, boot_info: 0, page_table: ROOT, misses: None };
    vm.features.prepare(&vcpu, &start)?;
    configure(&vcpu, CODE + syscall)?;
    let exit = rounds(&mut vcpu)?;
    let mark = |memory: &Memory| {
        let mut bytes = [0; 4];
        memory.read(MARK, &mut bytes).map_or(0, |()| u32::from_le_bytes(bytes))
    };
    match vcpu.run() {
        Ok(VcpuExit::IoOut(PORT, _)) => {}
        Ok(VcpuExit::Shutdown) if mark(&memory) > 1 => {
            return Err(Problem::Emulated("SYSCALL in ring 3 does not enter ring 0".into()));
        }
        Ok(exit) => return Err(Problem::Guest(format!("{exit:?}"))),
        Err(error) => return Err(Problem::Guest(error.to_string())),
    }
    let regs = vcpu.get_regs().map_err(kvm)?;
    if mark(&memory) != 1 {
        return Err(Problem::Emulated("SYSCALL in ring 3 does not enter ring 0".into()));
    }
    if regs.r15 & 3 != 3 || regs.rbx != 0 {
        return Err(Problem::Guest("a fault in ring 3 did not enter ring 0".into()));
    }
    let khz = u64::from(vcpu.get_tsc_khz().map_err(kvm)?.max(1));
    let nanoseconds =
        |cycles: u64| u64::try_from(u128::from(cycles) * 1_000_000 / u128::from(khz)).unwrap_or(0);
    let thousand_instructions = nanoseconds(regs.r12) * 1000 / (2 * LOOP);
    if thousand_instructions > SLOW_NS * 1000 {
        let each = thousand_instructions / 1000;
        return Err(Problem::Emulated(format!("an instruction takes {each} ns")));
    }
    Ok(Costs { exit, syscall: nanoseconds(regs.r13) / CALLS, thousand_instructions })
}

/// Takes the exits from ring 0; the cost of one in nanoseconds.
fn rounds(vcpu: &mut VcpuFd) -> Result<u64, Problem> {
    let mut start = Instant::now();
    for round in 0..EXITS {
        match vcpu.run() {
            Ok(VcpuExit::IoOut(PORT, _)) => {}
            Ok(exit) => return Err(Problem::Guest(format!("{exit:?}"))),
            Err(error) => return Err(Problem::Guest(error.to_string())),
        }
        if round == 0 {
            start = Instant::now();
        }
    }
    Ok(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX) / (EXITS - 1))
}

/// Writes page tables (one user-accessible page of 2 MiB), descriptor tables, task state and code.
fn fill(memory: &Memory, code: &[u8], fault: u64) -> Result<(), rustix::io::Errno> {
    let put = |at: u64, value: u64| memory.write(at, &value.to_le_bytes());
    put(ROOT, 0x2007)?;
    put(0x2000, 0x3007)?;
    put(0x3000, 0x87)?;
    // Kernel code and data, user 32-bit code, user data, user code, as in Linux.
    let segments = [
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
    ];
    for (index, descriptor) in (2..).zip(segments) {
        put(GDT + index * 8, descriptor)?;
    }
    put(TSS + 4, KERNEL_STACK)?;
    // Gate of exception 6: ring 0 code segment, interrupt gate.
    put(IDT + 6 * 16, fault & 0xffff | 0x10 << 16 | 0x8e00 << 32 | (fault >> 16 & 0xffff) << 48)?;
    memory.write(CODE, code)
}

fn configure(vcpu: &VcpuFd, syscall: u64) -> Result<(), Problem> {
    let mut sregs = vcpu.get_sregs().map_err(kvm)?;
    // Everything lies in one user page here: no SMEP, no SMAP.
    sregs.cr4 &= !(3 << 20);
    sregs.gdt = kvm_dtable { base: GDT, limit: 0x4f, ..Default::default() };
    sregs.idt = kvm_dtable { base: IDT, limit: 0x1ff, ..Default::default() };
    sregs.tr.base = TSS;
    vcpu.set_sregs(&sregs).map_err(kvm)?;
    let entry = |index, data| kvm_msr_entry { index, data, ..Default::default() };
    let entries = [entry(STAR, 0x23 << 48 | 0x10 << 32), entry(LSTAR, syscall), entry(FMASK, 0x200)];
    let msrs = Msrs::from_entries(&entries).map_err(|e| Problem::Kvm(format!("MSR list: {e:?}")))?;
    match vcpu.set_msrs(&msrs).map_err(kvm)? {
        n if n == entries.len() => Ok(()),
        n => Err(Problem::Kvm(format!("KVM_SET_MSRS set {n} of {}", entries.len()))),
    }
}
