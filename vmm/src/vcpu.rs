//! vCPU threads: run the guest, serve its hostcalls, and say what happened when it ends.
//!
//! Thread 0 runs the boot vCPU. The others are made before the seccomp filter is loaded, wait without a vCPU,
//! and make it when the sentry asks for it. Waiting is a futex; nothing here polls or times out.

use std::{
    os::fd::AsRawFd,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use hostcall::HOSTCALL_PORT;
use kvm_bindings::kvm_pre_fault_memory;
use kvm_ioctls::{VcpuExit, VcpuFd};

use crate::{
    cpu::Start,
    error::Error,
    sandbox::Sandbox,
    server::{Outcome, call_name},
    symbols,
};

/// The request that maps memory ahead of the guest.
pub(crate) const KVM_PRE_FAULT_MEMORY: u64 = 0xc040_aed5;
/// Deepest backtrace.
const FRAMES: usize = 32;

/// A vCPU that is to be started.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    stack: Mutex<Option<u64>>,
    wake: Condvar,
}

impl Waiting {
    /// Starts it; false when it has been started before.
    fn start(&self, stack: u64) -> bool {
        let mut slot = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() {
            return false;
        }
        *slot = Some(stack);
        self.wake.notify_one();
        true
    }

    /// Waits to be started; the stack.
    fn wait(&self) -> u64 {
        let mut slot = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(stack) = *slot {
                return stack;
            }
            slot = self.wake.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Body of the thread of vCPU `index` > 0.
pub(crate) fn secondary(sandbox: &Arc<Sandbox>, index: u32) -> ! {
    let stack = sandbox.waiting[index as usize].wait();
    let start = Start { index, stack, ..sandbox.start };
    let made = sandbox.vm.vcpu(index).and_then(|vcpu| {
        sandbox.vm.features.prepare(&vcpu, &start)?;
        Ok(vcpu)
    });
    match made {
        Ok(vcpu) => run(sandbox, index, vcpu),
        Err(error) => sandbox.fail(&error.to_string()),
    }
}

/// Runs a vCPU until the sandbox ends.
pub(crate) fn run(sandbox: &Arc<Sandbox>, index: u32, mut vcpu: VcpuFd) -> ! {
    // Where ring 3 was stopped last, with no hostcall since.
    let mut failed = None;
    loop {
        let exit = vcpu.run();
        sandbox.server.counts.exit(index);
        if matches!(exit, Ok(VcpuExit::IoOut(..))) {
            failed = None;
        }
        let problem = match exit {
            Ok(VcpuExit::IoOut(HOSTCALL_PORT, _)) => match sandbox.server.serve(index) {
                Ok(Outcome::Resume) => continue,
                Ok(Outcome::StartCpu { cpu, stack }) => {
                    if sandbox.waiting[cpu as usize].start(stack) {
                        continue;
                    }
                    format!("vCPU {cpu} was started twice")
                }
                Ok(Outcome::Created) => {
                    sandbox.created();
                    continue;
                }
                Ok(Outcome::Answer { tag, answer }) => {
                    sandbox.clients.answer(tag, answer);
                    continue;
                }
                Ok(Outcome::OutOfMemory { kills }) => {
                    sandbox.out_of_memory(kills);
                    continue;
                }
                Ok(Outcome::Populate { gpa, len }) => {
                    prefault(&vcpu, gpa, len);
                    continue;
                }
                Ok(Outcome::Exit(status)) => sandbox.exit(status),
                Ok(Outcome::StartFailed { errno, message }) => sandbox.start_failed(errno, message),
                Ok(Outcome::Panic { message, rip, rbp }) => {
                    sandbox.log.guest(1, &message);
                    backtrace(sandbox, &vcpu, rip, rbp);
                    let text = String::from_utf8_lossy(&message);
                    let what: Vec<&str> = text.lines().take(2).collect();
                    sandbox.fail(&format!("the sentry panicked: {}", what.join(" ")))
                }
                Err(errno) => format!("hostcall page: {errno}"),
            },
            Ok(VcpuExit::MemoryFault { .. }) => match machine_check(sandbox, &vcpu, &mut failed) {
                true => continue,
                false => "access to memory that cannot be provided".into(),
            },
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => continue,
            Err(error) if error.errno() == libc::EFAULT => match machine_check(sandbox, &vcpu, &mut failed) {
                true => continue,
                false => "access to memory that cannot be provided".into(),
            },
            Err(error) => format!("KVM_RUN: {error}"),
            Ok(VcpuExit::Shutdown) => "triple fault".into(),
            Ok(exit) => format!("unexpected exit {exit:?}"),
        };
        dump(sandbox, &vcpu);
        sandbox.fail(&format!("vCPU {index}: {problem}"));
    }
}

/// Lets KVM map memory that is there before the guest faults for each page of it. From Linux 6.11 on; without it the
/// guest faults.
fn prefault(vcpu: &VcpuFd, gpa: u64, len: u64) {
    static ABSENT: AtomicBool = AtomicBool::new(false);
    let mut range = kvm_pre_fault_memory { gpa, size: len, ..Default::default() };
    // What a signal interrupts is not gone on with, nor what others cut short meanwhile: it is advice.
    if len != 0 && !ABSENT.load(Ordering::Relaxed) {
        // SAFETY: the structure is valid for the call, and the descriptor is a vCPU's.
        let done = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_PRE_FAULT_MEMORY as _, &raw mut range) };
        let absent = [Some(libc::ENOTTY), Some(libc::EOPNOTSUPP), Some(libc::EINVAL)];
        if done < 0 && absent.contains(&std::io::Error::last_os_error().raw_os_error()) {
            ABSENT.store(true, Ordering::Relaxed);
        }
    }
}

/// After an access to memory that the host could not provide: raises a machine check, by which the sentry learns of it.
/// Most likely a page of a file window is behind it, whose file others made shorter, whose disk fails or is full.
///
/// False when that makes no sense: there are no windows, or ring 3 tries the same again though the sentry, which asks
/// about each page before it maps it again, has asked nothing.
fn machine_check(sandbox: &Sandbox, vcpu: &VcpuFd, failed: &mut Option<u64>) -> bool {
    const VECTOR: u8 = 18;
    let (Ok(regs), Ok(sregs), Ok(mut events)) = (vcpu.get_regs(), vcpu.get_sregs(), vcpu.get_vcpu_events())
    else {
        return false;
    };
    let user = sregs.cs.selector & 3 != 0;
    if !sandbox.server.memory.has_windows() || user && failed.replace(regs.rip) == Some(regs.rip) {
        return false;
    }
    events.exception.injected = 1;
    events.exception.nr = VECTOR;
    events.exception.has_error_code = 0;
    events.exception.error_code = 0;
    sandbox.log.line(4, &format!("the host cannot provide memory; machine check at {:x}", regs.rip));
    vcpu.set_vcpu_events(&events).is_ok()
}

/// Writes a vCPU's registers and backtrace to the log.
fn dump(sandbox: &Sandbox, vcpu: &VcpuFd) {
    let Ok(r) = vcpu.get_regs() else { return };
    sandbox.log.line(1, &format!("rip {}", symbols::describe(r.rip, sandbox.slide)));
    sandbox.log.line(1, &format!("rax {:x} rbx {:x} rcx {:x} rdx {:x}", r.rax, r.rbx, r.rcx, r.rdx));
    sandbox.log.line(1, &format!("rsi {:x} rdi {:x} rbp {:x} rsp {:x}", r.rsi, r.rdi, r.rbp, r.rsp));
    sandbox.log.line(1, &format!("r8 {:x} r9 {:x} r10 {:x} r11 {:x}", r.r8, r.r9, r.r10, r.r11));
    sandbox.log.line(1, &format!("r12 {:x} r13 {:x} r14 {:x} r15 {:x}", r.r12, r.r13, r.r14, r.r15));
    if let Ok(s) = vcpu.get_sregs() {
        let control =
            format!("cr0 {:x} cr2 {:x} cr3 {:x} cr4 {:x} efer {:x}", s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
        sandbox.log.line(
            1,
            &format!("{control} cs {:x} ss {:x} rflags {:x}", s.cs.selector, s.ss.selector, r.rflags),
        );
    }
    let mut nr = [0; 4];
    if sandbox.server.memory.read(sandbox.server.calls, &mut nr).is_ok() {
        sandbox.log.line(1, &format!("last hostcall of vCPU 0: {}", call_name(u32::from_le_bytes(nr))));
    }
    backtrace(sandbox, vcpu, r.rip, r.rbp);
}

/// Follows frame pointers from `rbp`. Everything read is the guest's and believed only as far as it leads to
/// readable memory at rising addresses.
fn backtrace(sandbox: &Sandbox, vcpu: &VcpuFd, rip: u64, rbp: u64) {
    let (mut rip, mut rbp) = (rip, rbp);
    for frame in 0..FRAMES {
        sandbox.log.line(1, &format!("#{frame} {}", symbols::describe(rip, sandbox.slide)));
        let word = |virt: u64| -> Option<u64> {
            let translation = vcpu.translate_gva(virt).ok().filter(|t| t.valid != 0)?;
            let mut bytes = [0; 8];
            sandbox.server.memory.read(translation.physical_address, &mut bytes).ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        let (Some(next), Some(ret)) = (word(rbp), word(rbp.wrapping_add(8))) else { return };
        if next <= rbp || ret == 0 {
            return;
        }
        (rip, rbp) = (ret, next);
    }
}

/// Makes the boot vCPU.
pub(crate) fn boot(vm: &crate::vm::Vm, start: &Start) -> Result<VcpuFd, Error> {
    let vcpu = vm.vcpu(0)?;
    vm.features.prepare(&vcpu, start)?;
    Ok(vcpu)
}
