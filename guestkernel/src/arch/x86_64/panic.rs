//! A panic's last words: message, registers, and a backtrace as link addresses that the host can symbolise.

use core::{
    arch::asm,
    fmt::Write,
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering},
};
use hostcall::Hostcall;

use super::{boot_info, cpu, hostcall::call_data, logger::Line, trace};
use crate::arch::{KERNEL_STACKS, UserRegs};

/// Where the linker script puts the image.
const LINK_BASE: u64 = 0xffff_ffff_8000_0000;
/// Most frames of a backtrace.
const MAX_FRAMES: usize = 32;

/// A panic while one is being reported must not loop.
static PANICKED: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn on_panic(info: &PanicInfo<'_>) -> ! {
    let (rip, rbp): (u64, u64);
    // SAFETY: reads two registers.
    unsafe { asm!("lea {}, [rip]", "mov {}, rbp", out(reg) rip, out(reg) rbp, options(nostack, nomem)) };
    let mut text = Line::<3072>::new();
    let _ = writeln!(text, "{info}");
    report(text, rip, rbp)
}

/// A trap that the kernel must not have.
pub(super) fn trap(regs: &UserRegs, vector: u32, addr: u64) -> ! {
    let mut text = Line::<3072>::new();
    let _ = writeln!(text, "trap {vector} in the kernel, error {:#x}, address {addr:#x}", regs.orig_rax);
    let _ = writeln!(
        text,
        "rip {:#x} ({:#x}) eflags {:#x} rsp {:#x}",
        regs.rip,
        link_address(regs.rip),
        regs.eflags,
        regs.rsp
    );
    let _ = writeln!(text, "rax {:#x} rbx {:#x} rcx {:#x} rdx {:#x}", regs.rax, regs.rbx, regs.rcx, regs.rdx);
    let _ = writeln!(text, "rsi {:#x} rdi {:#x} rbp {:#x} cs {:#x}", regs.rsi, regs.rdi, regs.rbp, regs.cs);
    let _ = writeln!(text, "r8 {:#x} r9 {:#x} r10 {:#x} r11 {:#x}", regs.r8, regs.r9, regs.r10, regs.r11);
    let _ = writeln!(text, "r12 {:#x} r13 {:#x} r14 {:#x} r15 {:#x}", regs.r12, regs.r13, regs.r14, regs.r15);
    report(text, regs.rip, regs.rbp)
}

/// An address of the running image as the linker placed it.
pub(super) fn link_address(address: u64) -> u64 {
    address.wrapping_sub(boot_info().image_virt).wrapping_add(LINK_BASE)
}

fn report(mut text: Line<3072>, rip: u64, rbp: u64) -> ! {
    if !PANICKED.swap(true, Ordering::SeqCst) {
        let _ = write!(text, "cpu {}", cpu::current_index());
        if let Some(task) = crate::arch::try_current() {
            let _ = write!(text, ", task {}", task.tid());
        }
        let _ = write!(text, "\nbacktrace:");
        backtrace(rip, rbp, |address| {
            let _ = write!(text, " {:#x}", link_address(address));
        });
        let _ = writeln!(text);
        trace::dump(&mut text);
    }
    loop {
        let bytes = text.as_bytes();
        let _ = call_data(Hostcall::Panic, [bytes.len() as u64, rip, rbp, 0, 0, 0], &[bytes], &mut []);
        // SAFETY: nothing is left to do; interrupts are off.
        unsafe { asm!("hlt") };
    }
}

/// Walks the chain of frame pointers while it stays on one stack.
fn backtrace(rip: u64, rbp: u64, mut frame: impl FnMut(u64)) {
    frame(rip);
    let image = boot_info().image_virt..boot_info().image_virt + boot_info().image_len;
    let direct = boot_info().direct_map;
    let mut at = rbp;
    for _ in 0..MAX_FRAMES {
        let on_stack = (KERNEL_STACKS..KERNEL_STACKS + (1 << 39)).contains(&at)
            || (direct..KERNEL_STACKS).contains(&at)
            || image.contains(&at);
        if !on_stack || !at.is_multiple_of(8) {
            return;
        }
        // SAFETY: the address is in one of the regions where stacks are, and the chain was followed from a
        // live frame; a broken chain faults into the second panic, which stops at once.
        let (next, ret) = unsafe { ((at as *const u64).read(), ((at + 8) as *const u64).read()) };
        if !image.contains(&ret) {
            return;
        }
        frame(ret);
        if next <= at || next - at > 64 * 1024 {
            return;
        }
        at = next;
    }
}
