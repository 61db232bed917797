//! The KVM side of a guest: memory slots, interrupt controller, vCPUs.
//!
//! Of the in-kernel interrupt hardware only the local APICs are made (split irqchip): the sentry needs no
//! PIC, IOAPIC or PIT, and what does not exist cannot be attacked. Events come in by an eventfd that KVM turns
//! into a message-signalled interrupt.

use std::{os::fd::IntoRawFd, os::fd::OwnedFd};

use hostcall::{EVENT_VECTOR, NET_DOORBELL_PORT};
use kvm_bindings::{
    KVM_CAP_SPLIT_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_MAX_CPUID_ENTRIES, KvmIrqRouting, Msrs, kvm_enable_cap,
    kvm_irq_routing_entry, kvm_msr_entry, kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, IoEventAddress, Kvm, NoDatamatch, VcpuFd, VmFd};
use vmm_sys_util::eventfd::EventFd;

use crate::{
    boot::Clocks,
    cpu::Features,
    error::{Context, Error},
    memory::Memory,
};

/// Guest-physical addresses in the hole that Intel's KVM wants for itself.
const IDENTITY_MAP: u64 = 0xfffb_c000;
const TSS: usize = 0xfffb_d000;
const MSI_ADDRESS: u32 = 0xfee0_0000;
const EVENT_GSI: u32 = 0;
const MSR_TSC: u32 = 0x10;

/// A virtual machine without vCPUs yet.
#[derive(Debug)]
pub(crate) struct Vm {
    fd: VmFd,
    pub(crate) features: Features,
}

impl Vm {
    /// Makes a machine for `cpus` vCPUs.
    pub(crate) fn new(kvm: OwnedFd, cpus: u32) -> Result<Self, Error> {
        use std::os::fd::FromRawFd;
        // SAFETY: the descriptor was ours alone and is handed over.
        let kvm = unsafe { Kvm::from_raw_fd(kvm.into_raw_fd()) };
        if kvm.get_api_version() != 12 {
            return Err(Error::Config("/dev/kvm is not KVM with API version 12".into()));
        }
        for (cap, name) in [(Cap::SplitIrqchip, "SPLIT_IRQCHIP"), (Cap::Irqfd, "IRQFD"), (Cap::Xcrs, "XCRS")]
        {
            if !kvm.check_extension(cap) {
                return Err(Error::Config(format!("this KVM lacks KVM_CAP_{name}")));
            }
        }
        let features = Features::new(
            kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).kvm("KVM_GET_SUPPORTED_CPUID")?,
            cpus,
        );
        let fd = kvm.create_vm().kvm("KVM_CREATE_VM")?;
        fd.set_identity_map_address(IDENTITY_MAP).kvm("KVM_SET_IDENTITY_MAP_ADDR")?;
        fd.set_tss_address(TSS).kvm("KVM_SET_TSS_ADDR")?;
        fd.enable_cap(&kvm_enable_cap { cap: KVM_CAP_SPLIT_IRQCHIP, ..Default::default() })
            .kvm("KVM_CAP_SPLIT_IRQCHIP")?;
        Ok(Self { fd, features })
    }

    /// Gives the machine its memory.
    pub(crate) fn map(&self, memory: &Memory) -> Result<(), Error> {
        if memory.end() > 1 << self.features.physical_bits {
            return Err(Error::Config("guest memory does not fit the CPU's physical addresses".into()));
        }
        for (slot, range) in (0..).zip(memory.slots()) {
            let region = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: range.gpa,
                memory_size: range.len,
                userspace_addr: range.host,
            };
            // SAFETY: `memory` keeps these mappings for the life of the process, and the guest may do with
            // them what it likes.
            unsafe { self.fd.set_user_memory_region(region) }.kvm("KVM_SET_USER_MEMORY_REGION")?;
        }
        Ok(())
    }

    /// An eventfd whose every write interrupts vCPU 0 on [`EVENT_VECTOR`].
    pub(crate) fn event_interrupt(&self) -> Result<EventFd, Error> {
        let mut entry =
            kvm_irq_routing_entry { gsi: EVENT_GSI, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };
        entry.u.msi.address_lo = MSI_ADDRESS;
        entry.u.msi.data = u32::from(EVENT_VECTOR);
        let routing = KvmIrqRouting::from_entries(&[entry])
            .map_err(|e| Error::Config(format!("interrupt routing: {e:?}")))?;
        self.fd.set_gsi_routing(&routing).kvm("KVM_SET_GSI_ROUTING")?;
        let event = EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK).system("eventfd")?;
        self.fd.register_irqfd(&event, EVENT_GSI).kvm("KVM_IRQFD")?;
        Ok(event)
    }

    /// An eventfd that every write to the network's doorbell port signals, without an exit to this process.
    pub(crate) fn network_doorbell(&self) -> Result<EventFd, Error> {
        let event = EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK).system("eventfd")?;
        let port = IoEventAddress::Pio(u64::from(NET_DOORBELL_PORT));
        self.fd.register_ioevent(&event, &port, NoDatamatch).kvm("KVM_IOEVENTFD")?;
        Ok(event)
    }

    /// Makes vCPU `index`.
    pub(crate) fn vcpu(&self, index: u32) -> Result<VcpuFd, Error> {
        self.fd.create_vcpu(u64::from(index)).kvm("KVM_CREATE_VCPU")
    }
}

/// The guest's TSC and the host's clocks at one moment.
pub(crate) fn clocks(vcpu: &VcpuFd) -> Result<Clocks, Error> {
    let tsc_khz = u64::from(vcpu.get_tsc_khz().kvm("KVM_GET_TSC_KHZ")?);
    let entry = kvm_msr_entry { index: MSR_TSC, ..Default::default() };
    let mut msrs = Msrs::from_entries(&[entry]).map_err(|e| Error::Config(format!("MSR list: {e:?}")))?;
    let before = now(rustix::time::ClockId::Monotonic);
    vcpu.get_msrs(&mut msrs).kvm("KVM_GET_MSRS")?;
    let after = now(rustix::time::ClockId::Monotonic);
    let realtime = now(rustix::time::ClockId::Realtime);
    let middle = before + (after - before) / 2;
    let tsc = msrs.as_slice().first().map_or(0, |msr| msr.data);
    Ok(Clocks { tsc_khz, tsc, realtime_ns: realtime.saturating_sub(after - middle), monotonic_ns: middle })
}

fn now(clock: rustix::time::ClockId) -> u64 {
    let t = rustix::time::clock_gettime(clock);
    t.tv_sec.unsigned_abs() * 1_000_000_000 + t.tv_nsec.unsigned_abs()
}
