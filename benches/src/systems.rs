//! What is measured side by side, and how each is asked to run a container.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A way to run the same program on the same root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// No container: a chroot. Everything else is compared with it.
    Linux,
    /// runc.
    Runc,
    /// crun.
    Crun,
    /// gVisor on its KVM platform.
    RunscKvm,
    /// gVisor on its systrap platform.
    RunscSystrap,
    /// ringfence.
    Ringfence,
}

/// Every system, in the order of the table's columns.
pub const SYSTEMS: [System; 6] =
    [System::Linux, System::Runc, System::Crun, System::RunscKvm, System::RunscSystrap, System::Ringfence];

impl System {
    /// Name in files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            System::Linux => "linux",
            System::Runc => "runc",
            System::Crun => "crun",
            System::RunscKvm => "runsc-kvm",
            System::RunscSystrap => "runsc-systrap",
            System::Ringfence => "ringfence",
        }
    }

    /// The runtime's program, when it has one; ringfence's may lie outside `PATH`.
    #[must_use]
    pub fn program(self, ringfence: &Path) -> Option<String> {
        match self {
            System::Linux => None,
            System::Runc => Some("runc".into()),
            System::Crun => Some("crun".into()),
            System::RunscKvm | System::RunscSystrap => Some("runsc".into()),
            System::Ringfence => Some(ringfence.display().to_string()),
        }
    }

    /// Options that stand before the command.
    #[must_use]
    pub fn global_options(self, state: &Path) -> Vec<String> {
        let mut options = vec!["--root".to_string(), state.display().to_string()];
        let more: &[&str] = match self {
            System::Linux | System::Runc | System::Crun | System::Ringfence => &[],
            System::RunscKvm => &["--platform=kvm", "--network=none", "--ignore-cgroups"],
            System::RunscSystrap => &["--platform=systrap", "--network=none", "--ignore-cgroups"],
        };
        options.extend(more.iter().map(|option| (*option).to_string()));
        options
    }
}

impl fmt::Display for System {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for System {
    type Err = String;

    fn from_str(name: &str) -> Result<System, String> {
        SYSTEMS.into_iter().find(|system| system.name() == name).ok_or_else(|| {
            let known: Vec<_> = SYSTEMS.iter().map(|system| system.name()).collect();
            format!("no system is called {name:?}; there are {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for system in SYSTEMS {
            assert_eq!(system.name().parse(), Ok(system));
        }
        assert!("gvisor".parse::<System>().is_err());
    }
}
