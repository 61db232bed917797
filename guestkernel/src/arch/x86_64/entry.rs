//! The ways into the kernel and back: `SYSCALL`, exceptions, interrupts.
//!
//! Every entry from ring 3 leaves a [`UserRegs`] at the top of the task's kernel stack, 168 bytes, so the
//! stack is 8 bytes off a multiple of 16 afterwards; calls push 8 more. On the way out the task's work word
//! is checked, then the CPU's mode is exchanged for `USER`, which tells whether a TLB flush is due. A system
//! call returns by `SYSRET` when the frame is what `SYSRET` can restore, by `IRET` otherwise.

use core::arch::naked_asm;
use core::mem::offset_of;
use x86_64::{
    PrivilegeLevel, VirtAddr,
    registers::{
        model_specific::{LStar, Msr, SFMask},
        rflags::RFlags,
    },
    structures::idt::{Entry, InterruptDescriptorTable},
};

use super::{
    cpu::{self, CONTEXT, KERNEL, KERNEL_STACK, MODE, USER, USER_RSP},
    tlb, trap,
};
use crate::{
    arch::{USER_CS, USER_END, USER_SS, UserRegs, upcall},
    task::sched,
};

/// Bytes between two stubs.
const STUB_SIZE: u64 = 16;

static IDT: spin::Once<InterruptDescriptorTable> = spin::Once::new();

fn stub(vector: u8) -> VirtAddr {
    VirtAddr::new_truncate(stubs as *const () as u64 + u64::from(vector) * STUB_SIZE)
}

fn set<F>(entry: &mut Entry<F>, address: VirtAddr, ring: PrivilegeLevel, ist: Option<u16>) {
    // SAFETY: `address` is an entry stub for this vector, `ist` a stack that the TSS has.
    unsafe {
        let options = entry.set_handler_addr(address);
        options.set_privilege_level(ring);
        if let Some(ist) = ist {
            options.set_stack_index(ist);
        }
    }
}

fn build_idt() -> InterruptDescriptorTable {
    let mut idt = InterruptDescriptorTable::new();
    let (ring0, ring3) = (PrivilegeLevel::Ring0, PrivilegeLevel::Ring3);
    set(&mut idt.divide_error, stub(0), ring0, None);
    set(&mut idt.debug, stub(1), ring0, None);
    set(&mut idt.non_maskable_interrupt, VirtAddr::new_truncate(ignore as *const () as u64), ring0, Some(1));
    set(&mut idt.breakpoint, stub(3), ring3, None);
    set(&mut idt.overflow, stub(4), ring3, None);
    set(&mut idt.bound_range_exceeded, stub(5), ring0, None);
    set(&mut idt.invalid_opcode, stub(6), ring0, None);
    set(&mut idt.device_not_available, stub(7), ring0, None);
    set(&mut idt.double_fault, VirtAddr::new_truncate(fatal_stub_8 as *const () as u64), ring0, Some(0));
    set(&mut idt.invalid_tss, stub(10), ring0, None);
    set(&mut idt.segment_not_present, stub(11), ring0, None);
    set(&mut idt.stack_segment_fault, stub(12), ring0, None);
    set(&mut idt.general_protection_fault, stub(13), ring0, None);
    set(&mut idt.page_fault, stub(14), ring0, None);
    set(&mut idt.x87_floating_point, stub(16), ring0, None);
    set(&mut idt.alignment_check, stub(17), ring0, None);
    set(&mut idt.machine_check, stub(18), ring0, None);
    set(&mut idt.simd_floating_point, stub(19), ring0, None);
    set(&mut idt.virtualization, stub(20), ring0, None);
    set(&mut idt.cp_protection_exception, stub(21), ring0, None);
    set(&mut idt.hv_injection_exception, stub(28), ring0, None);
    set(&mut idt.vmm_communication_exception, stub(29), ring0, None);
    set(&mut idt.security_exception, stub(30), ring0, None);
    for vector in 32..=255 {
        set(&mut idt[vector], stub(vector), ring0, None);
    }
    idt
}

/// Loads the interrupt descriptor table, which all CPUs share.
pub(super) fn load_idt() {
    IDT.call_once(build_idt).load();
}

/// Sets the registers of `SYSCALL` and `SYSRET`.
pub(super) fn init_syscall() {
    const STAR: u32 = 0xc000_0081;
    const CSTAR: u32 = 0xc000_0083;
    // SYSRET adds 16 for the code and 8 for the stack selector.
    let star = (USER_CS - 16) << 48 | u64::from(cpu::KERNEL_CS) << 32;
    // SAFETY: the selectors are the GDT's; entries go to `syscall_entry` with interrupts off.
    unsafe { Msr::new(STAR).write(star) };
    LStar::write(VirtAddr::new_truncate(syscall_entry as *const () as u64));
    // SAFETY: on CPUs that have 32-bit SYSCALL (AMD) it goes to a stub that refuses it.
    unsafe { Msr::new(CSTAR).write(syscall_entry_32 as *const () as u64) };
    SFMask::write(
        RFlags::INTERRUPT_FLAG
            | RFlags::DIRECTION_FLAG
            | RFlags::TRAP_FLAG
            | RFlags::ALIGNMENT_CHECK
            | RFlags::NESTED_TASK
            | RFlags::IOPL_LOW
            | RFlags::IOPL_HIGH,
    );
}

/// System calls of 64-bit programs.
#[unsafe(naked)]
extern "C" fn syscall_entry() {
    naked_asm!(
        "swapgs",
        "mov gs:[{user_rsp}], rsp",
        "mov rsp, gs:[{kernel_stack}]",
        "mov dword ptr gs:[{mode}], {kernel}",
        "push {ss}",
        "push gs:[{user_rsp}]",
        "push r11",
        "push {cs}",
        "push rcx",
        "push rax",
        "push rdi",
        "push rsi",
        "push rdx",
        "push rcx",
        // The result until there is one: ENOSYS.
        "push -38",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov rdi, rsp",
        "xor ebp, ebp",
        "push rbp",
        "call {dispatch}",
        "pop rbp",
        "mov rax, gs:[{context}]",
        "cmp dword ptr [rax], 0",
        "jne {return_to_user}",
        // An address that is not canonical: before the mode changes, since the way there stays in the kernel.
        "mov rcx, [rsp + {rip}]",
        "mov rax, rcx",
        "shr rax, 47",
        "jne {return_to_user}",
        "mov eax, {user}",
        "xchg gs:[{mode}], eax",
        "test eax, eax",
        "jne {flush_taken}",
        // SYSRET loads rip from rcx and the flags from r11, and nothing else of the frame; the selectors are
        // the fixed ones (`UserRegs::sanitize`).
        "cmp rcx, [rsp + {rcx}]",
        "jne {restore}",
        "mov r11, [rsp + {eflags}]",
        "cmp r11, [rsp + {r11}]",
        "jne {restore}",
        // RF and TF need IRET.
        "test r11d, 0x10100",
        "jne {restore}",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "add rsp, 8",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rax",
        "add rsp, 8",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "mov rsp, [rsp + 32]",
        "swapgs",
        "sysretq",
        user_rsp = const USER_RSP,
        kernel_stack = const KERNEL_STACK,
        mode = const MODE,
        context = const CONTEXT,
        kernel = const KERNEL,
        user = const USER,
        ss = const USER_SS,
        cs = const USER_CS,
        rip = const offset_of!(UserRegs, rip),
        rcx = const offset_of!(UserRegs, rcx),
        eflags = const offset_of!(UserRegs, eflags),
        r11 = const offset_of!(UserRegs, r11),
        dispatch = sym dispatch,
        return_to_user = sym return_to_user,
        flush_taken = sym flush_taken,
        restore = sym restore,
    )
}

extern "C" fn dispatch(regs: &mut UserRegs) {
    upcall::syscall(regs);
}

/// 32-bit `SYSCALL`: there is no 32-bit ABI; ENOSYS.
#[unsafe(naked)]
extern "C" fn syscall_entry_32() {
    naked_asm!("mov eax, -38", "sysret")
}

/// The common way to ring 3: `rsp` points to the task's [`UserRegs`]. The mode is KERNEL, with the mark of a
/// flush that is due: it must not be written here.
#[unsafe(naked)]
pub(super) extern "C" fn return_to_user() {
    naked_asm!(
        "2:",
        "mov rax, gs:[{context}]",
        "cmp dword ptr [rax], 0",
        "jne 3f",
        // IRET to an address that is not canonical would fault in the kernel.
        "mov rax, {user_end}",
        "cmp rax, [rsp + {rip}]",
        "jb 4f",
        "jmp {flush_and_return}",
        "3:",
        "mov rdi, rsp",
        "push rbp",
        "call {work}",
        "pop rbp",
        "jmp 2b",
        "4:",
        "mov rdi, rsp",
        "push rbp",
        "call {bad_rip}",
        "pop rbp",
        "jmp 2b",
        context = const CONTEXT,
        user_end = const USER_END,
        rip = const offset_of!(UserRegs, rip),
        flush_and_return = sym flush_and_return,
        work = sym exit_work,
        bad_rip = sym bad_rip,
    )
}

/// Enters the mode USER and restores the frame. If a flush is due it is done first, and all is looked at again:
/// who asked for it may have left work before.
#[unsafe(naked)]
extern "C" fn flush_and_return() {
    naked_asm!(
        "push rbp",
        "call {enter}",
        "pop rbp",
        "test al, al",
        "jz {return_to_user}",
        "jmp {restore}",
        enter = sym enter_user,
        return_to_user = sym return_to_user,
        restore = sym restore,
    )
}

/// The same where the exchange of modes has taken the mark of a flush.
#[unsafe(naked)]
extern "C" fn flush_taken() {
    naked_asm!(
        "push rbp",
        "call {flush}",
        "pop rbp",
        "jmp {return_to_user}",
        flush = sym flush_user,
        return_to_user = sym return_to_user,
    )
}

/// Restores the frame at `rsp`; the mode is USER.
#[unsafe(naked)]
extern "C" fn restore() {
    naked_asm!(
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rax",
        "pop rcx",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "add rsp, 8",
        "swapgs",
        "iretq",
    )
}

extern "C" fn enter_user() -> bool {
    tlb::try_enter(cpu::this(), USER)
}

extern "C" fn flush_user() {
    tlb::flush_requested(cpu::this());
}

extern "C" fn exit_work(regs: &mut UserRegs) {
    upcall::exit_work(regs);
}

extern "C" fn bad_rip(regs: &mut UserRegs) {
    trap::bad_instruction_pointer(regs);
}

/// Where a new user task starts: `rsp` is 8 below its [`UserRegs`].
#[unsafe(naked)]
pub(super) extern "C" fn user_start() {
    naked_asm!(
        "xor ebp, ebp",
        "call {finish}",
        "add rsp, 8",
        "jmp {return_to_user}",
        finish = sym finish_switch,
        return_to_user = sym return_to_user,
    )
}

/// Where a new kernel task starts: function in `r12`, argument in `r13`.
#[unsafe(naked)]
pub(super) extern "C" fn kernel_start() {
    naked_asm!("xor ebp, ebp", "call {finish}", "mov rdi, r13", "call r12", "ud2", finish = sym finish_switch)
}

extern "C" fn finish_switch() {
    sched::finish_switch();
}

/// An interrupt that nobody needs to know of.
#[unsafe(naked)]
extern "C" fn ignore() {
    naked_asm!("iretq")
}

/// A stub for each vector: the error code (0 where the CPU pushes none) in the place of `orig_rax`, the
/// vector in `edi`.
#[unsafe(naked)]
extern "C" fn stubs() {
    naked_asm!(
        ".set vector, 0",
        ".rept 256",
        ".balign 16, 0xcc",
        ".if (vector != 8) && (vector != 10) && (vector != 11) && (vector != 12) && (vector != 13) && (vector != 14) && (vector != 17) && (vector != 21) && (vector != 29) && (vector != 30)",
        "push 0",
        ".endif",
        "push rdi",
        "mov edi, vector",
        "jmp {common}",
        ".set vector, vector + 1",
        ".endr",
        common = sym trap_entry,
    )
}

/// The rest of a trap's entry.
#[unsafe(naked)]
extern "C" fn trap_entry() {
    naked_asm!(
        "cld",
        "clac",
        "push rsi",
        "push rdx",
        "push rcx",
        "push rax",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov esi, edi",
        "mov rdi, rsp",
        "test byte ptr [rsp + {cs}], 3",
        "jz 2f",
        "swapgs",
        "mov dword ptr gs:[{mode}], {kernel}",
        "xor ebp, ebp",
        "push rbp",
        "call {from_user}",
        "pop rbp",
        "jmp {return_to_user}",
        "2:",
        "push rbp",
        "call {from_kernel}",
        "pop rbp",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rax",
        "pop rcx",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "add rsp, 8",
        "iretq",
        cs = const offset_of!(UserRegs, cs),
        mode = const MODE,
        kernel = const KERNEL,
        from_user = sym trap::from_user,
        from_kernel = sym trap::from_kernel,
        return_to_user = sym return_to_user,
    )
}

/// A fault that ends the sandbox, on its own stack, from anywhere: GS may be the user's.
#[unsafe(naked)]
extern "C" fn fatal_stub_8() {
    naked_asm!("push rdi", "mov edi, 8", "jmp {common}", common = sym fatal_entry)
}

#[unsafe(naked)]
extern "C" fn fatal_entry() {
    naked_asm!(
        "cld",
        "clac",
        "push rsi",
        "push rdx",
        "push rcx",
        "push rax",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov esi, edi",
        "mov rdi, rsp",
        // The kernel's GS base is in the upper half.
        "mov ecx, 0xc0000101",
        "rdmsr",
        "test edx, edx",
        "js 2f",
        "swapgs",
        "2:",
        "push rbp",
        "call {fatal}",
        "ud2",
        fatal = sym trap::fatal,
    )
}
