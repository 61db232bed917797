//! The doctor: can ringfence run here, and if not, what is to be done.

use std::{fs, io::ErrorKind, os::fd::OwnedFd, path::Path};

use anyhow::{Result, bail};

const KVM: &str = "/dev/kvm";

/// Opens `/dev/kvm`; the error says what to do.
pub(crate) fn open_kvm() -> Result<OwnedFd> {
    match fs::File::options().read(true).write(true).open(KVM) {
        Ok(file) => Ok(file.into()),
        Err(error) => bail!("{}", kvm_error(&error)),
    }
}

fn kvm_error(error: &std::io::Error) -> String {
    let advice = match error.kind() {
        ErrorKind::NotFound => {
            "load the kvm_intel or kvm_amd module, and enable virtualisation in the firmware (or nested virtualisation for this VM)"
        }
        ErrorKind::PermissionDenied => "run as root or as a member of the group that owns it",
        _ => "see the kernel log",
    };
    format!("{KVM}: {}: {advice}", message(error))
}

/// An OS error as strerror(3) words it, in lower case.
pub(crate) fn message(error: &std::io::Error) -> String {
    let text = error
        .raw_os_error()
        .map_or_else(|| error.to_string(), |code| nix::errno::Errno::from_raw(code).desc().to_owned());
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// One line of the report.
enum Finding {
    Good(String),
    Odd(String),
    Bad(String),
}

impl Finding {
    fn print(&self) {
        match self {
            Self::Good(text) => println!("ok    {text}"),
            Self::Odd(text) => println!("warn  {text}"),
            Self::Bad(text) => println!("FAIL  {text}"),
        }
    }
}

fn cpu() -> Finding {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = text.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |flag: &str| flags.split_ascii_whitespace().any(|word| word == flag);
    match (has("vmx"), has("svm")) {
        (true, _) => Finding::Good("CPU: Intel VT-x (vmx)".into()),
        (_, true) => Finding::Good("CPU: AMD-V (svm)".into()),
        _ => Finding::Odd("CPU: neither vmx nor svm in /proc/cpuinfo; enable virtualisation in the firmware, or nested virtualisation for this VM".into()),
    }
}

fn module() -> Finding {
    for name in ["kvm_intel", "kvm_amd"] {
        if Path::new("/sys/module").join(name).exists() {
            return Finding::Good(format!("module: {name}"));
        }
    }
    if Path::new("/sys/module/kvm").exists() {
        Finding::Odd("module: kvm without kvm_intel or kvm_amd; it may emulate instead of executing".into())
    } else {
        Finding::Odd("module: kvm is not loaded; try `modprobe kvm_intel` or `modprobe kvm_amd`".into())
    }
}

/// `check`.
pub(crate) fn check() -> Result<i32> {
    cpu().print();
    module().print();
    let report = vmm::check::probe();
    for problem in &report.problems {
        Finding::Bad(format!("{problem}: {}", problem.advice())).print();
    }
    if report.usable() {
        Finding::Good(format!("{KVM}: a guest ran: ring 3, system call, fault, exit")).print();
    }
    if let Some(costs) = report.costs {
        Finding::Good(format!("cost: {} ns an exit, {} ns a system call", costs.exit, costs.syscall)).print();
    }
    Ok(i32::from(!report.usable()))
}
