//! The vDSO: a shared object that every program finds in its memory, whose functions read clocks without a
//! system call.
//!
//! The whole ELF image is laid out by the assembler, so it costs nothing at run time and has no relocations. Its
//! code is position independent and finds the page of time parameters ([`TimePage`]) at a fixed distance below
//! itself. The arithmetic is that of `timescale`, to the bit: a clock gives the same whichever way it is read.
//!
//! Sources: the System V ABI (ELF, symbol versions), vdso(7).

use core::{
    arch::global_asm,
    mem::offset_of,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use super::{PhysAddr, clock::ClockParams};
use crate::{mem::PAGE_SIZE, time::clocks::COARSE_NS};

/// Pages between the start of the parameters' area and that of the image, as Linux 6.12 has them; only the first
/// has anything in it.
pub const DATA_PAGES: u64 = 4;
/// Selector of the segment whose limit says which CPU this is, as in Linux.
pub const CPU_SELECTOR: u16 = 0x7b;
/// Bits of a CPU's number in that limit and in `TSC_AUX`; the node is above.
pub const CPU_BITS: u32 = 12;

/// What the functions read, in the first page of the area.
#[derive(Debug)]
#[repr(C)]
struct TimePage {
    /// Odd while the rest changes.
    sequence: AtomicU32,
    /// The CPU has `RDPID`.
    has_rdpid: AtomicU32,
    tsc_base: AtomicU64,
    mult: AtomicU64,
    monotonic_ns: AtomicU64,
    /// Right behind: the code picks one of the two by index.
    realtime_ns: AtomicU64,
}

/// Writes the parameters into their page, a frame that nobody else writes.
pub fn publish(page: PhysAddr, params: &ClockParams) {
    let pointer = super::phys_to_virt(page).cast::<TimePage>();
    // SAFETY: a whole frame of RAM, aligned, which the caller owns for good; all access is atomic.
    let page = unsafe { &*pointer };
    let sequence = page.sequence.load(Ordering::Relaxed);
    page.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
    fence(Ordering::Release);
    page.has_rdpid.store(u32::from(super::cpu::has_rdpid()), Ordering::Relaxed);
    page.tsc_base.store(params.tsc_base, Ordering::Relaxed);
    page.mult.store(params.mult, Ordering::Relaxed);
    page.monotonic_ns.store(params.monotonic_ns, Ordering::Relaxed);
    page.realtime_ns.store(params.realtime_ns, Ordering::Relaxed);
    page.sequence.store(sequence.wrapping_add(2), Ordering::Release);
}

/// The image: whole pages.
#[must_use]
pub fn image() -> &'static [u8] {
    unsafe extern "C" {
        static ringfence_vdso: u8;
        static ringfence_vdso_end: u8;
    }
    let (start, end) = (&raw const ringfence_vdso, &raw const ringfence_vdso_end);
    // SAFETY: the symbols are the two ends of the constant below.
    unsafe { core::slice::from_raw_parts(start, end as usize - start as usize) }
}

/// The hash of a version's name in an ELF file.
const fn elf_hash(name: &[u8]) -> u32 {
    let (mut hash, mut at) = (0u32, 0);
    while at < name.len() {
        hash = (hash << 4).wrapping_add(name[at] as u32);
        hash = (hash ^ (hash >> 24 & 0xf0)) & 0x0fff_ffff;
        at += 1;
    }
    hash
}

// The symbols of a program have one bucket, so that the table needs no hash of their names.
global_asm!(
    ".pushsection .rodata.ringfence_vdso, \"a\", @progbits",
    ".balign 4096",
    ".globl ringfence_vdso, ringfence_vdso_end",
    ".hidden ringfence_vdso, ringfence_vdso_end",
    "ringfence_vdso:",
    ".Lvdso:",
    // The ELF header.
    ".byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0",
    ".quad 0",
    ".short 3, 62",
    ".long 1",
    ".quad .Lvdso_text - .Lvdso",
    ".quad .Lvdso_headers - .Lvdso",
    ".quad 0",
    ".long 0",
    ".short 64, 56, 3, 64, 0, 0",
    // Program headers: all of it readable and executable; the dynamic section; no executable stack.
    ".Lvdso_headers:",
    ".long 1, 5",
    ".quad 0, 0, 0, .Lvdso_code_end - .Lvdso, .Lvdso_code_end - .Lvdso, 4096",
    ".long 2, 4",
    ".quad .Lvdso_dynamic - .Lvdso, .Lvdso_dynamic - .Lvdso, .Lvdso_dynamic - .Lvdso",
    ".quad .Lvdso_dynamic_end - .Lvdso_dynamic, .Lvdso_dynamic_end - .Lvdso_dynamic, 8",
    ".long 0x6474e551, 4",
    ".quad 0, 0, 0, 0, 0, 16",
    ".Lvdso_dynamic:",
    ".quad 14, .Lvdso_soname - .Lvdso_strings",
    ".quad 4, .Lvdso_hash - .Lvdso",
    ".quad 5, .Lvdso_strings - .Lvdso",
    ".quad 6, .Lvdso_symbols - .Lvdso",
    ".quad 10, .Lvdso_strings_end - .Lvdso_strings",
    ".quad 11, 24",
    ".quad 0x6ffffff0, .Lvdso_versions - .Lvdso",
    ".quad 0x6ffffffc, .Lvdso_definitions - .Lvdso",
    ".quad 0x6ffffffd, 2",
    ".quad 0, 0",
    ".Lvdso_dynamic_end:",
    ".Lvdso_symbols:",
    ".quad 0, 0, 0",
    ".macro vdso_symbol name, info, function",
    ".long .Lvdso_\\name - .Lvdso_strings",
    ".byte \\info, 0",
    ".short 1",
    ".quad .Lvdso_do_\\function - .Lvdso, .Lvdso_end_\\function - .Lvdso_do_\\function",
    ".endm",
    "vdso_symbol __vdso_clock_gettime, 0x12, clock_gettime",
    "vdso_symbol __vdso_gettimeofday, 0x12, gettimeofday",
    "vdso_symbol __vdso_time, 0x12, time",
    "vdso_symbol __vdso_clock_getres, 0x12, clock_getres",
    "vdso_symbol __vdso_getcpu, 0x12, getcpu",
    "vdso_symbol clock_gettime, 0x22, clock_gettime",
    "vdso_symbol gettimeofday, 0x22, gettimeofday",
    "vdso_symbol time, 0x22, time",
    "vdso_symbol clock_getres, 0x22, clock_getres",
    "vdso_symbol getcpu, 0x22, getcpu",
    // The version itself, absolute.
    ".long .Lvdso_version - .Lvdso_strings",
    ".byte 0x11, 0",
    ".short 0xfff1",
    ".quad 0, 0",
    ".Lvdso_hash:",
    ".long 1, 12, 1",
    ".long 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0",
    ".Lvdso_versions:",
    ".short 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2",
    ".balign 8",
    ".Lvdso_definitions:",
    ".short 1, 1, 1, 1",
    ".long {soname_hash}, 20, 28, .Lvdso_soname - .Lvdso_strings, 0",
    ".short 1, 0, 2, 1",
    ".long {version_hash}, 20, 0, .Lvdso_version - .Lvdso_strings, 0",
    ".Lvdso_strings:",
    ".byte 0",
    ".macro vdso_string name",
    ".Lvdso_\\name:",
    ".asciz \"\\name\"",
    ".endm",
    "vdso_string __vdso_clock_gettime",
    "vdso_string __vdso_gettimeofday",
    "vdso_string __vdso_time",
    "vdso_string __vdso_clock_getres",
    "vdso_string __vdso_getcpu",
    ".set .Lvdso_clock_gettime, .Lvdso___vdso_clock_gettime + 7",
    ".set .Lvdso_gettimeofday, .Lvdso___vdso_gettimeofday + 7",
    ".set .Lvdso_time, .Lvdso___vdso_time + 7",
    ".set .Lvdso_clock_getres, .Lvdso___vdso_clock_getres + 7",
    ".set .Lvdso_getcpu, .Lvdso___vdso_getcpu + 7",
    ".Lvdso_soname:",
    ".asciz \"linux-vdso.so.1\"",
    ".Lvdso_version:",
    ".asciz \"LINUX_2.6\"",
    ".Lvdso_strings_end:",
    ".balign 64, 0xcc",
    ".Lvdso_text:",
    // Leaves in rax the clock's nanoseconds; rcx: 1 for CLOCK_REALTIME, 0 for CLOCK_MONOTONIC. Changes rdx, r8, r9.
    ".macro vdso_now",
    "lea r8, [rip + .Lvdso - {data}]",
    "2:",
    "mov r9d, [r8 + {sequence}]",
    "test r9d, 1",
    "jnz 3f",
    "lfence",
    "rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "mov edx, 0",
    "sub rax, [r8 + {tsc_base}]",
    "cmovb rax, rdx",
    "mul qword ptr [r8 + {mult}]",
    "shrd rax, rdx, 32",
    "add rax, [r8 + 8 * rcx + {monotonic}]",
    "cmp r9d, [r8 + {sequence}]",
    "je 4f",
    "3:",
    "pause",
    "jmp 2b",
    "4:",
    ".endm",
    // Splits the nanoseconds in rax into seconds (rdx) and the rest (r9): a division by multiplication.
    ".macro vdso_split",
    "mov r9, rax",
    "shr rax, 9",
    "movabs rdx, 0x44b82fa09b5a53",
    "mul rdx",
    "shr rdx, 11",
    "imul rax, rdx, 1000000000",
    "sub r9, rax",
    ".endm",
    ".balign 16, 0xcc",
    ".Lvdso_do_clock_gettime:",
    "cmp edi, 11",
    "ja 9f",
    // REALTIME, MONOTONIC, MONOTONIC_RAW, both COARSE, BOOTTIME, TAI.
    "mov eax, 0x8f3",
    "bt eax, edi",
    "jnc 9f",
    // Of which REALTIME, REALTIME_COARSE, TAI.
    "xor ecx, ecx",
    "mov eax, 0x821",
    "bt eax, edi",
    "setc cl",
    "vdso_now",
    // The coarse clocks stand still between ticks.
    "mov ecx, 0x60",
    "bt ecx, edi",
    "jnc 5f",
    "xor edx, edx",
    "mov ecx, {coarse_ns}",
    "div rcx",
    "imul rax, rcx",
    "5:",
    "vdso_split",
    "mov [rsi], rdx",
    "mov [rsi + 8], r9",
    "xor eax, eax",
    "ret",
    "9:",
    "mov eax, 228",
    "syscall",
    "ret",
    ".Lvdso_end_clock_gettime:",
    ".balign 16, 0xcc",
    ".Lvdso_do_gettimeofday:",
    "test rdi, rdi",
    "jz 5f",
    "mov ecx, 1",
    "vdso_now",
    "vdso_split",
    "mov [rdi], rdx",
    "mov eax, r9d",
    "mov ecx, 1000",
    "xor edx, edx",
    "div ecx",
    "mov [rdi + 8], rax",
    "5:",
    "test rsi, rsi",
    "jz 6f",
    "mov qword ptr [rsi], 0",
    "6:",
    "xor eax, eax",
    "ret",
    ".Lvdso_end_gettimeofday:",
    ".balign 16, 0xcc",
    ".Lvdso_do_time:",
    "mov ecx, 1",
    "vdso_now",
    "vdso_split",
    "mov rax, rdx",
    "test rdi, rdi",
    "jz 5f",
    "mov [rdi], rax",
    "5:",
    "ret",
    ".Lvdso_end_time:",
    ".balign 16, 0xcc",
    ".Lvdso_do_clock_getres:",
    "cmp edi, 11",
    "ja 9f",
    "mov eax, 0x8f3",
    "bt eax, edi",
    "jnc 9f",
    "test rsi, rsi",
    "jz 5f",
    "mov ecx, {coarse_ns}",
    "mov edx, 1",
    "mov eax, 0x60",
    "bt eax, edi",
    "cmovc edx, ecx",
    "mov qword ptr [rsi], 0",
    "mov [rsi + 8], rdx",
    "5:",
    "xor eax, eax",
    "ret",
    "9:",
    "mov eax, 229",
    "syscall",
    "ret",
    ".Lvdso_end_clock_getres:",
    ".balign 16, 0xcc",
    ".Lvdso_do_getcpu:",
    "lea r8, [rip + .Lvdso - {data}]",
    "cmp dword ptr [r8 + {has_rdpid}], 0",
    "je 2f",
    "rdpid rax",
    "jmp 3f",
    "2:",
    "mov eax, {cpu_selector}",
    "lsl eax, eax",
    "3:",
    "test rdi, rdi",
    "jz 4f",
    "mov ecx, eax",
    "and ecx, {cpu_mask}",
    "mov [rdi], ecx",
    "4:",
    "test rsi, rsi",
    "jz 5f",
    "shr eax, {cpu_bits}",
    "mov [rsi], eax",
    "5:",
    "xor eax, eax",
    "ret",
    ".Lvdso_end_getcpu:",
    ".Lvdso_code_end:",
    ".balign 4096, 0",
    "ringfence_vdso_end:",
    ".popsection",
    ".purgem vdso_symbol",
    ".purgem vdso_string",
    ".purgem vdso_now",
    ".purgem vdso_split",
    soname_hash = const elf_hash(b"linux-vdso.so.1"),
    version_hash = const elf_hash(b"LINUX_2.6"),
    data = const DATA_PAGES * PAGE_SIZE,
    sequence = const offset_of!(TimePage, sequence),
    has_rdpid = const offset_of!(TimePage, has_rdpid),
    tsc_base = const offset_of!(TimePage, tsc_base),
    mult = const offset_of!(TimePage, mult),
    monotonic = const offset_of!(TimePage, monotonic_ns),
    coarse_ns = const COARSE_NS,
    cpu_selector = const CPU_SELECTOR,
    cpu_mask = const (1u32 << CPU_BITS) - 1,
    cpu_bits = const CPU_BITS,
);

const _: () = assert!(offset_of!(TimePage, realtime_ns) == offset_of!(TimePage, monotonic_ns) + 8);

#[cfg(test)]
mod tests;
