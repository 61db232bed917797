//! The machine: what it is, what is installed on it, and the file systems that measuring needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use benches::systems::System;

use crate::place::find_program;

/// Where the kernel's trace file system is mounted.
pub(crate) const TRACING: &str = "/sys/kernel/tracing";

/// Kernel and CPU, and the emulator that they run on.
pub(crate) fn describe(emulator: &str) -> BTreeMap<String, String> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpu.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim().to_string())
            .unwrap_or_default()
    };
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default().trim().to_string();
    BTreeMap::from([
        ("kernel".into(), read("/proc/sys/kernel/osrelease")),
        ("kernel_version".into(), read("/proc/sys/kernel/version")),
        ("huge_pages".into(), read("/sys/kernel/mm/transparent_hugepage/enabled")),
        ("cpu".into(), field("model name")),
        ("cpu_flags".into(), field("flags")),
        ("cpus".into(), cpu.lines().filter(|line| line.starts_with("processor")).count().to_string()),
        ("emulator".into(), emulator.to_string()),
    ])
}

/// The first line of each program's `--version`.
pub(crate) fn versions(systems: &[System], ringfence: &Path, revision: &str) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for system in systems {
        let Some(program) = system.program(ringfence) else { continue };
        let version = match system {
            System::Ringfence if !revision.is_empty() => revision.to_string(),
            _ => version_of(&program),
        };
        versions.insert(system.name().to_string(), version);
    }
    versions
}

fn version_of(program: &str) -> String {
    if find_program(program).is_none() {
        return "not installed".into();
    }
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_string()
}

/// Mounts the control groups, which runtimes want, and the trace files, which count exits.
pub(crate) fn mount_what_is_needed() {
    for (kind, place, sign) in
        [("cgroup2", "/sys/fs/cgroup", "cgroup.controllers"), ("tracefs", TRACING, "instances")]
    {
        if Path::new(place).join(sign).exists()
            || (kind == "cgroup2" && Path::new(place).join("memory").exists())
        {
            continue;
        }
        match Command::new("mount").args(["-t", kind, kind, place]).status() {
            Ok(status) if status.success() => {}
            _ => eprintln!("cannot mount {kind} at {place}; what needs it will not be measured"),
        }
    }
}

/// Switches automatic task groups off, which make every switch of tasks dearer by a level for programs that a session of
/// their own started. Only for a machine that lives as long as the benchmark.
pub(crate) fn without_task_groups() {
    if let Err(error) = fs::write("/proc/sys/kernel/sched_autogroup_enabled", "0") {
        eprintln!("automatic task groups stay as they are: {error}");
    }
}
