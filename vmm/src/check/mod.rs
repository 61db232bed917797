//! The doctor's VM part: can this host run ringfence, and what does it cost?
//!
//! Flags and capabilities are hints; what counts is a tiny guest that is really run: ring 0, ring 3, system
//! calls, a fault. Some hosts offer a `/dev/kvm` that interprets a guest instruction by instruction; on those
//! everything opens and nothing works, so the guest also times itself.

mod guest;

use std::{
    fmt, io,
    os::fd::OwnedFd,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use kvm_bindings::KVM_MAX_CPUID_ENTRIES;
use kvm_ioctls::{Cap, Kvm};
use rustix::fs::{Mode, OFlags};

use crate::cpu::Features;

/// The whole probe ends within this time.
pub const LIMIT: Duration = Duration::from_millis(1500);

/// Slower than this per instruction of an empty loop means that no CPU runs the guest.
const SLOW_NS: u64 = 100;

/// KVM capabilities that ringfence needs.
const NEEDED: &[(Cap, &str)] = &[
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::SplitIrqchip, "KVM_CAP_SPLIT_IRQCHIP"),
    (Cap::Irqfd, "KVM_CAP_IRQFD"),
    (Cap::IrqRouting, "KVM_CAP_IRQ_ROUTING"),
    (Cap::Xcrs, "KVM_CAP_XCRS"),
    (Cap::GetTscKhz, "KVM_CAP_GET_TSC_KHZ"),
    (Cap::TscDeadlineTimer, "KVM_CAP_TSC_DEADLINE_TIMER"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
];

/// Why this host cannot run ringfence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no `/dev/kvm`.
    Missing,
    /// It may not be opened.
    Permission,
    /// It cannot be opened for another reason.
    Open(String),
    /// It is not KVM as it has been since Linux 2.6.22.
    Version(i32),
    /// KVM lacks a capability.
    Capability(&'static str),
    /// The CPU that KVM offers lacks a feature.
    Feature(&'static str),
    /// A KVM call failed.
    Kvm(String),
    /// A CPU does not run the guest: KVM interprets it.
    Emulated(String),
    /// The tiny guest did not do what it should.
    Guest(String),
    /// It did not end in time.
    Deadline,
}

impl Problem {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Missing => {
                "load the module (modprobe kvm_intel or kvm_amd); in a virtual machine, ask its host for nested \
                 virtualisation; on bare metal, switch VT-x or SVM on in the firmware"
            }
            Self::Permission => "run as root, or add the user to the group of /dev/kvm (often `kvm`)",
            Self::Open(_) => "see that /dev/kvm is the device 10:232 and no other program blocks it",
            Self::Version(_) | Self::Capability(_) => "use a newer host kernel (5.10 or later)",
            Self::Feature(_) => "use a CPU with it, or let the hypervisor below pass it on",
            Self::Emulated(_) => {
                "this machine's KVM interprets guests in software; use a machine whose KVM uses the CPU's own \
                 virtualisation (svm or vmx in /proc/cpuinfo)"
            }
            Self::Kvm(_) | Self::Guest(_) | Self::Deadline => "see the host's kernel log",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "there is no /dev/kvm"),
            Self::Permission => write!(f, "/dev/kvm: permission denied"),
            Self::Open(error) => write!(f, "/dev/kvm: {error}"),
            Self::Version(version) => write!(f, "KVM has API version {version}, not 12"),
            Self::Capability(name) => write!(f, "KVM lacks {name}"),
            Self::Feature(name) => write!(f, "the virtual CPU lacks {name}"),
            Self::Kvm(error) => write!(f, "{error}"),
            Self::Emulated(how) => write!(f, "KVM emulates instead of executing: {how}"),
            Self::Guest(what) => write!(f, "the test guest failed: {what}"),
            Self::Deadline => write!(f, "the test guest did not end within {} ms", LIMIT.as_millis()),
        }
    }
}

/// What the probe found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeReport {
    /// What stands in the way; empty when ringfence can run.
    pub problems: Vec<Problem>,
    /// Measured by the tiny guest, when it ran to its end.
    pub costs: Option<Costs>,
    /// Whether guest pages may be faulted in ahead (`KVM_PRE_FAULT_MEMORY`); not needed.
    pub pre_fault: bool,
}

/// What things cost here, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// From the guest to this process and back.
    pub exit: u64,
    /// SYSCALL and SYSRET.
    pub syscall: u64,
    /// A thousand instructions of an empty loop.
    pub thousand_instructions: u64,
}

impl ProbeReport {
    /// Whether ringfence can run.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.problems.is_empty()
    }

    fn failed(problem: Problem) -> Self {
        Self { problems: vec![problem], ..Self::default() }
    }
}

/// Examines `/dev/kvm`. Takes at most [`LIMIT`] and a little.
#[must_use]
pub fn probe() -> ProbeReport {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(c"/dev/kvm", flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(error) => {
            return ProbeReport::failed(match io::Error::from(error).kind() {
                io::ErrorKind::NotFound => Problem::Missing,
                io::ErrorKind::PermissionDenied => Problem::Permission,
                _ => Problem::Open(io::Error::from(error).to_string()),
            });
        }
    };
    // A KVM call that hangs must not hang us: the work is a thread's, which is left behind when it is late.
    let start = Instant::now();
    let (sender, receiver) = mpsc::channel();
    let worker = thread::Builder::new().name("probe".into()).spawn(move || {
        // The receiver may have given up.
        let _ = sender.send(examine(fd));
    });
    if let Err(error) = worker {
        return ProbeReport::failed(Problem::Open(error.to_string()));
    }
    let left = LIMIT.saturating_sub(start.elapsed());
    receiver.recv_timeout(left).unwrap_or_else(|_| ProbeReport::failed(Problem::Deadline))
}

fn examine(fd: OwnedFd) -> ProbeReport {
    let mut report = ProbeReport::default();
    let copy = match fd.try_clone() {
        Ok(copy) => copy,
        Err(error) => return ProbeReport::failed(Problem::Open(error.to_string())),
    };
    let kvm = {
        use std::os::fd::{FromRawFd, IntoRawFd};
        // SAFETY: the copy is ours alone and handed over.
        unsafe { Kvm::from_raw_fd(copy.into_raw_fd()) }
    };
    let version = kvm.get_api_version();
    if version != 12 {
        return ProbeReport::failed(Problem::Version(version));
    }
    let lacking = NEEDED.iter().filter(|(cap, _)| !kvm.check_extension(*cap));
    let complete = lacking.clone().next().is_none();
    report.problems.extend(lacking.map(|(_, name)| Problem::Capability(name)));
    report.pre_fault = kvm.check_extension_raw(PRE_FAULT_MEMORY) > 0;
    match kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES) {
        Ok(cpuid) => {
            report.problems.extend(Features::new(cpuid, 1).missing().into_iter().map(Problem::Feature));
        }
        Err(error) => report.problems.push(Problem::Kvm(format!("KVM_GET_SUPPORTED_CPUID: {error}"))),
    }
    if complete {
        match guest::run(fd) {
            Ok(costs) => report.costs = Some(costs),
            // Before missing features: a KVM that interprets lacks them as a consequence.
            Err(problem) => report.problems.insert(0, problem),
        }
    }
    report
}

/// `KVM_CAP_PRE_FAULT_MEMORY`.
const PRE_FAULT_MEMORY: std::ffi::c_ulong = 236;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs on any machine: whatever its `/dev/kvm` is, the answer comes in time, and one that interprets is
    /// recognised.
    #[test]
    fn answers_within_two_seconds() {
        let start = Instant::now();
        let report = probe();
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let hardware = flags.split_whitespace().any(|flag| flag == "svm" || flag == "vmx");
        eprintln!("{report:?} after {:?}", start.elapsed());
        if !hardware {
            assert!(!report.usable());
        }
    }
}
