//! VM exits, counted by the kernel's own trace points.
//!
//! KVM's statistics vanish with the VM, and the VM ends with the container. Trace instances stay: one counts
//! `kvm_exit` (every exit), one those of them that an interrupt of the host caused (its clock ticks, mostly, which come
//! with time and not with operations), one `kvm_userspace_exit` (those that went on to the VMM). What is read is how
//! many events their buffers have taken in, kept or overwritten; the events themselves are never looked at. Of two runs
//! that do different numbers of the same operation, the difference holds the operations' exits alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// An external interrupt as the reason of an exit: VMX (`isa` 1) and SVM (`isa` 2) number it differently.
const INTERRUPTED: &str = "(isa == 1 && exit_reason == 1) || (isa == 2 && exit_reason == 96)";

/// Counts of exits by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    /// All exits.
    pub all: u64,
    /// Exits that only let the host take an interrupt.
    pub interrupts: u64,
    /// Exits that the VMM served.
    pub user: u64,
}

/// Three trace instances that count until they are dropped.
#[derive(Debug)]
pub struct Counter {
    all: Instance,
    interrupts: Instance,
    user: Instance,
}

impl Counter {
    /// Starts to count, with the trace file system that is mounted at `tracing`.
    ///
    /// # Errors
    /// When the kernel does not offer trace instances or KVM's trace points.
    pub fn new(tracing: &Path) -> io::Result<Counter> {
        Ok(Counter {
            all: Instance::new(tracing, "ringfence-bench-exits", "kvm_exit", None)?,
            interrupts: Instance::new(tracing, "ringfence-bench-interrupts", "kvm_exit", Some(INTERRUPTED))?,
            user: Instance::new(tracing, "ringfence-bench-user", "kvm_userspace_exit", None)?,
        })
    }

    /// Exits so far.
    ///
    /// # Errors
    /// When the statistics cannot be read.
    pub fn read(&self) -> io::Result<Exits> {
        Ok(Exits { all: self.all.count()?, interrupts: self.interrupts.count()?, user: self.user.count()? })
    }
}

#[derive(Debug)]
struct Instance(PathBuf);

impl Instance {
    fn new(tracing: &Path, name: &str, event: &str, filter: Option<&str>) -> io::Result<Instance> {
        let folder = tracing.join("instances").join(name);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let instance = Instance(folder);
        let event = instance.0.join("events/kvm").join(event);
        if let Some(filter) = filter {
            fs::write(event.join("filter"), filter)?;
        }
        fs::write(event.join("enable"), "1")?;
        Ok(instance)
    }

    fn count(&self) -> io::Result<u64> {
        let mut events = 0;
        for cpu in fs::read_dir(self.0.join("per_cpu"))? {
            events += taken_in(&fs::read_to_string(cpu?.path().join("stats"))?);
        }
        Ok(events)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // An instance that stays behind is found again by the next run.
        let _removed = fs::remove_dir(&self.0);
    }
}

/// Events that a trace buffer has seen, from its statistics.
fn taken_in(statistics: &str) -> u64 {
    statistics
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| ["entries", "overrun", "dropped events"].contains(&name.trim()))
        .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
        .sum()
}

/// Exits per operation from two runs: what each did and how many exits it took.
#[must_use]
pub fn per_operation(short: (u64, u64), long: (u64, u64)) -> Option<f64> {
    let operations = long.0.checked_sub(short.0).filter(|operations| *operations > 0)?;
    Some((long.1 as f64 - short.1 as f64) / operations as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_and_overwritten_events_count() {
        let statistics = "entries: 129\noverrun: 40\ncommit overrun: 0\nbytes: 100\noldest event ts: 1.5\n\
                          now ts: 2.0\ndropped events: 1\nread events: 0\n";
        assert_eq!(taken_in(statistics), 170);
    }

    #[test]
    fn what_both_runs_share_cancels_out() {
        assert_eq!(per_operation((1000, 700), (3000, 2700)), Some(1.0));
        assert_eq!(per_operation((1000, 700), (1000, 700)), None);
        assert_eq!(per_operation((1000, 700), (2000, 700)), Some(0.0));
    }
}
