//! What a vCPU looks like: CPUID, control registers, segments, extended state.
//!
//! Only states that both VMX and SVM accept: valid flat segments, a busy TSS, long mode from the first
//! instruction.

use kvm_bindings::{
    CpuId, Msrs, kvm_dtable, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs, kvm_xcr, kvm_xcrs,
};
use kvm_ioctls::VcpuFd;

use crate::error::{Context, Error};

/// Kernel code selector, as in Linux.
const CODE: u16 = 0x10;
/// Kernel data selector.
const DATA: u16 = 0x18;
/// Task state selector.
const TASK: u16 = 0x40;

const CR0: u64 = 1 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 18 | 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const CR4_PGE: u64 = 1 << 7;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXMMEXCPT: u64 = 1 << 10;
const CR4_UMIP: u64 = 1 << 11;
const CR4_FSGSBASE: u64 = 1 << 16;
const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;
const EFER: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11;
/// KVM's registers for asynchronous page faults: vector of the interrupt, then address and flags.
const MSR_MISS_VECTOR: u32 = 0x4b56_4d06;
const MSR_MISS_AREA: u32 = 0x4b56_4d02;
/// Enabled, and the interrupt when a page is there. Faults come in ring 3 only.
const MISS_FLAGS: u64 = 1 | 1 << 3;
const APIC_BASE: u64 = 0xfee0_0000;
const APIC_X2: u64 = 1 << 10 | 1 << 11;
const APIC_BSP: u64 = 1 << 8;

/// x87, SSE, AVX.
const XCR0_BASE: u64 = 0b111;
/// The three AVX-512 components.
const XCR0_AVX512: u64 = 0b1110_0000;

/// CPUID and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Features {
    cpuid: CpuId,
    cpus: u32,
    pub(crate) xcr0: u64,
    cr4: u64,
    /// Pages of 1 GiB.
    pub(crate) huge_pages: bool,
    /// Width of a guest-physical address in bits.
    pub(crate) physical_bits: u32,
}

impl Features {
    /// Takes KVM's supported CPUID for a guest of `cpus` vCPUs.
    pub(crate) fn new(cpuid: CpuId, cpus: u32) -> Self {
        let leaf = |function: u32, index: u32| {
            let found = cpuid.as_slice().iter().find(|e| e.function == function && e.index == index);
            found.map_or((0, 0, 0, 0), |e| (e.eax, e.ebx, e.ecx, e.edx))
        };
        let (_, seven_b, seven_c, _) = leaf(7, 0);
        let mut cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT;
        let optional = [
            (seven_c >> 2, CR4_UMIP),
            (seven_b, CR4_FSGSBASE),
            (seven_b >> 7, CR4_SMEP),
            (seven_b >> 20, CR4_SMAP),
            (leaf(1, 0).2 >> 26, CR4_OSXSAVE),
        ];
        for (bit, flag) in optional {
            if bit & 1 != 0 {
                cr4 |= flag;
            }
        }
        let (low, _, _, high) = leaf(13, 0);
        let supported = u64::from(low) | u64::from(high) << 32;
        let mut xcr0 = supported & XCR0_BASE;
        if supported & XCR0_AVX512 == XCR0_AVX512 && xcr0 == XCR0_BASE {
            xcr0 |= XCR0_AVX512;
        }
        let physical_bits = match leaf(0x8000_0008, 0).0 & 0xff {
            0 => 36,
            bits => bits,
        };
        let huge_pages = leaf(0x8000_0001, 0).3 & 1 << 26 != 0;
        Self { cpuid, cpus, xcr0, cr4, huge_pages, physical_bits }
    }

    /// What the security model needs and this CPU lacks.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let needed = [(CR4_SMEP, "SMEP"), (CR4_SMAP, "SMAP"), (CR4_OSXSAVE, "XSAVE")];
        needed.into_iter().filter(|(flag, _)| self.cr4 & flag == 0).map(|(_, name)| name).collect()
    }

    /// CPUID of vCPU `index`: x2APIC and the TSC-deadline timer on (KVM leaves both to us), one thread a core,
    /// one package.
    fn cpuid_of(&self, index: u32) -> CpuId {
        let mut cpuid = self.cpuid.clone();
        let width = self.cpus.next_power_of_two().trailing_zeros();
        for entry in cpuid.as_mut_slice() {
            match entry.function {
                1 => {
                    entry.ecx |= 1 << 21 | 1 << 24;
                    entry.ebx = entry.ebx & 0xffff | index << 24 | self.cpus.min(255) << 16;
                    entry.edx = entry.edx & !(1 << 28) | u32::from(self.cpus > 1) << 28;
                }
                4 => entry.eax = entry.eax & 0x3fff | (self.cpus - 1).min(63) << 26,
                0xb | 0x1f => {
                    (entry.eax, entry.ebx, entry.ecx) = match entry.index {
                        0 => (0, 1, 1 << 8),
                        1 => (width, self.cpus, 2 << 8 | 1),
                        n => (0, 0, n & 0xff),
                    };
                    entry.edx = index;
                }
                0x8000_0008 => entry.ecx = width << 12 | (self.cpus - 1),
                0x8000_001e => (entry.eax, entry.ebx, entry.ecx) = (index, index, 0),
                _ => {}
            }
        }
        cpuid
    }

    /// Makes a fresh vCPU ready to run at `entry`.
    pub(crate) fn prepare(&self, vcpu: &VcpuFd, start: &Start) -> Result<(), Error> {
        vcpu.set_cpuid2(&self.cpuid_of(start.index)).kvm("KVM_SET_CPUID2")?;
        let mut sregs = vcpu.get_sregs().kvm("KVM_GET_SREGS")?;
        self.long_mode(&mut sregs, start);
        vcpu.set_sregs(&sregs).kvm("KVM_SET_SREGS")?;
        if self.cr4 & CR4_OSXSAVE != 0 {
            let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
            xcrs.xcrs[0] = kvm_xcr { xcr: 0, value: self.xcr0, ..Default::default() };
            vcpu.set_xcrs(&xcrs).kvm("KVM_SET_XCRS")?;
        }
        vcpu.set_regs(&kvm_regs {
            rip: start.entry,
            rsp: start.stack,
            rdi: start.boot_info,
            rsi: u64::from(start.index),
            rflags: 2,
            ..Default::default()
        })
        .kvm("KVM_SET_REGS")?;
        if let Some(misses) = start.misses {
            report_misses(vcpu, misses + u64::from(start.index) * size_of::<hostcall::MissArea>() as u64)?;
        }
        if start.index != 0 {
            let runnable = kvm_mp_state { mp_state: kvm_bindings::KVM_MP_STATE_RUNNABLE };
            vcpu.set_mp_state(runnable).kvm("KVM_SET_MP_STATE")?;
        }
        Ok(())
    }

    fn long_mode(&self, sregs: &mut kvm_sregs, start: &Start) {
        let code = kvm_segment {
            limit: u32::MAX,
            selector: CODE,
            type_: 11,
            present: 1,
            s: 1,
            l: 1,
            g: 1,
            ..Default::default()
        };
        let data = kvm_segment { selector: DATA, type_: 3, l: 0, db: 1, ..code };
        sregs.cs = code;
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
        sregs.tr =
            kvm_segment { selector: TASK, type_: 11, present: 1, s: 0, limit: 0x67, ..Default::default() };
        sregs.ldt = kvm_segment { unusable: 1, type_: 2, ..Default::default() };
        sregs.gdt = kvm_dtable { base: 0, limit: 0, ..Default::default() };
        sregs.idt = kvm_dtable { base: 0, limit: 0, ..Default::default() };
        sregs.cr0 = CR0;
        sregs.cr3 = start.page_table;
        sregs.cr4 = self.cr4;
        sregs.efer = EFER;
        sregs.apic_base = APIC_BASE | APIC_X2 | if start.index == 0 { APIC_BSP } else { 0 };
    }
}

/// Has KVM say when it cannot give ring 3 a page at once. Where it does not know how, a page that cannot be given at all
/// stops its program for good.
fn report_misses(vcpu: &VcpuFd, area: u64) -> Result<(), Error> {
    let set = |index, data| kvm_msr_entry { index, data, ..Default::default() };
    let entries =
        [set(MSR_MISS_VECTOR, u64::from(hostcall::MISS_VECTOR)), set(MSR_MISS_AREA, area | MISS_FLAGS)];
    let msrs = Msrs::from_entries(&entries).map_err(|e| Error::Config(format!("MSR list: {e:?}")))?;
    // It says how many it knows.
    vcpu.set_msrs(&msrs).kvm("KVM_SET_MSRS").map(drop)
}

/// Where a vCPU starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) index: u32,
    /// Virtual addresses.
    pub(crate) entry: u64,
    pub(crate) stack: u64,
    pub(crate) boot_info: u64,
    /// Guest-physical address of the root page table.
    pub(crate) page_table: u64,
    /// Guest-physical address of the first vCPU's [`MissArea`](hostcall::MissArea).
    pub(crate) misses: Option<u64>,
}
