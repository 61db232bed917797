//! The cases, by theme.

mod apps;
mod cpython;
pub(crate) mod docker;
mod engines;
mod escape;
mod faults;
mod files;
mod hostile;
mod jail;
mod life;
mod linux;
mod memory;
mod network;
mod oci;
mod overlay;
mod process;
mod program;
mod refusals;
mod shell;
mod stress;
mod terminal;
mod trace;
mod work;

use std::process::Output;

use anyhow::{Result, ensure};

use crate::{
    bundle::Bundle,
    command::{run, runtime},
};

/// A case gives a note for its line.
type Case = fn() -> Result<String>;

/// All cases, by name.
pub(crate) const ALL: &[(&str, Case)] = &[
    ("shell-as-runc", program::shell_as_runc),
    ("shell-control", shell::control),
    ("shell-jobs", shell::jobs),
    ("shell-text", shell::text),
    ("shell-files", shell::files),
    ("shell-files-in-memory", shell::files_in_memory),
    ("shell-archives", shell::archives),
    ("shell-devices", shell::devices),
    ("shell-proc", shell::proc),
    ("shell-system", shell::system),
    ("exit-status", program::exit_status),
    ("standard-input", program::standard_input),
    ("large-output", program::large_output),
    ("environment-and-directory", program::environment_and_directory),
    ("hostname", program::hostname),
    ("kinds-of-elf", program::kinds_of_elf),
    ("user-and-groups", process::user_and_groups),
    ("rlimits", process::rlimits),
    ("capabilities", process::capabilities),
    ("several-cpus", process::several_cpus),
    ("signals-are-forwarded", process::signals_are_forwarded),
    ("terminal", terminal::terminal),
    ("terminal-keys", terminal::keys),
    ("linux-cases", linux::linux_cases),
    ("readonly-root", files::readonly_root),
    ("mount-points-are-made", files::mount_points_are_made),
    ("files-reach-the-host", files::files_reach_the_host),
    ("overlay-as-linux", overlay::as_linux),
    ("overlay-of-mounts", overlay::of_mounts),
    ("do-over-the-host", overlay::throwaway),
    ("bad-input", refusals::bad_input),
    ("no-kvm", refusals::no_kvm),
    ("fault-outside-changes", faults::outside_changes),
    ("fault-truncated", faults::truncated),
    ("fault-disk-full", faults::disk_full),
    ("fault-readonly-host", faults::readonly_host),
    ("fault-failing-disk", faults::failing_disk),
    ("fault-descriptors", faults::descriptors),
    ("fault-many-files", faults::many_files),
    ("hostile-escapes", escape::attempts),
    ("memory-is-shared", faults::memory_is_shared),
    ("jail", jail::jail),
    ("commands", life::commands),
    ("oci-validation", oci::validation),
    ("oci-killed", oci::killed),
    ("debug", oci::debug),
    ("idle-memory", life::idle_memory),
    ("idle-time", life::idle_time),
    ("nothing-is-left", life::nothing_is_left),
    ("nothing-is-left-after-kill", life::nothing_is_left_after_kill),
    ("memory-bombs", memory::bombs),
    ("memory-first-process", memory::first_process),
    ("memory-comes-back", memory::comes_back),
    ("network-as-runc", network::as_runc),
    ("network-transfer", network::transfer),
    ("network-faults", network::faults),
    ("network-connections", network::connections),
    ("strace-as-strace", trace::strace_as_strace),
    ("docker-options", docker::options),
    ("docker-life", docker::life),
    ("docker-files", docker::files),
    ("docker-errors", docker::errors),
    ("docker-limits", docker::limits),
    ("docker-security", docker::security),
    ("docker-service", docker::service),
    ("docker-streams", docker::streams),
    ("docker-terminal", docker::terminal),
    ("docker-network", docker::network),
    ("docker-redis", docker::redis),
    ("docker-names", docker::names),
    ("docker-memory", docker::memory),
    ("containerd-ctr", engines::containerd),
    ("containerd-killed", engines::killed),
    ("podman", engines::podman),
    ("application-shell", apps::shell),
    ("application-python", apps::python),
    ("application-terminals", apps::terminals),
    ("application-perl", apps::perl),
    ("application-compilers", apps::compilers),
    ("application-make", apps::make),
    ("application-go", apps::go),
    ("application-cpython-suite", cpython::suite),
    ("application-stress", stress::stress),
    ("work-packages", work::packages),
    ("work-tar", work::tar),
    ("work-git", work::git),
    ("work-make", work::make),
    ("work-sqlite", work::sqlite),
    ("work-fio", work::fio),
    ("work-rsync", work::rsync),
    ("work-postgres", work::postgres),
    ("hostile-bombs", hostile::bombs),
    ("hostile-signals", hostile::signals),
    ("hostile-calls", hostile::calls),
    ("hostile-elves", hostile::elves),
];

/// Cases that fail for a reason that is known: what is missing. One that passes every time is to leave the list.
pub(crate) const KNOWN: &[(&str, &str)] =
    &[("shell-system", "paths of /proc that the sentry does not have are not masked, some may be written")];

/// Runs a bundle made by `make` under runc and another under the runtime: output and status must agree.
fn same(make: impl Fn() -> Result<Bundle>, normalise: impl Fn(&str) -> String) -> Result<String> {
    let expected = run("runc", &make()?.path)?;
    ensure!(!expected.stdout.is_empty(), "runc: {}", String::from_utf8_lossy(&expected.stderr));
    let got = run(&runtime(), &make()?.path)?;
    agree(&expected, &got, normalise)
}

/// Fails unless the runtime's output and status are runc's.
fn agree(expected: &Output, got: &Output, normalise: impl Fn(&str) -> String) -> Result<String> {
    let text = |bytes: &[u8]| normalise(&String::from_utf8_lossy(bytes));
    if let Some(difference) = difference(&text(&expected.stdout), &text(&got.stdout)) {
        anyhow::bail!("{difference}{}", String::from_utf8_lossy(&got.stderr));
    }
    ensure!(
        expected.status.code() == got.status.code(),
        "{} under runc, {} here; {}",
        expected.status,
        got.status,
        String::from_utf8_lossy(&got.stderr)
    );
    Ok(format!("{} lines", text(&got.stdout).lines().count()))
}

/// The lines that differ.
fn difference(expected: &str, got: &str) -> Option<String> {
    if expected == got {
        return None;
    }
    let (expected, got): (Vec<_>, Vec<_>) = (expected.lines().collect(), got.lines().collect());
    let mut text = String::from("lines differ (-: under runc, +: here)");
    let (mut left, mut right) = (0, 0);
    while left < expected.len() || right < got.len() {
        // The nearest pair of equal lines ends a difference.
        let (skip_left, skip_right) = (0..40)
            .flat_map(|sum| (0..=sum).map(move |one| (one, sum - one)))
            .find(|&(a, b)| match (expected.get(left + a), got.get(right + b)) {
                (Some(one), Some(other)) => one == other,
                (one, other) => one.is_none() && other.is_none(),
            })
            .unwrap_or((expected.len() - left, got.len() - right));
        if skip_left + skip_right > 0 && left > 0 {
            text += &format!("\n        {}", expected[left - 1]);
        }
        for line in expected.iter().skip(left).take(skip_left) {
            text += &format!("\n      - {line}");
        }
        for line in got.iter().skip(right).take(skip_right) {
            text += &format!("\n      + {line}");
        }
        left += skip_left + 1;
        right += skip_right + 1;
    }
    Some(text + "\n")
}

/// Whether what takes long is wanted: `RINGFENCE_TEST_LONG` says something.
fn long() -> bool {
    std::env::var_os("RINGFENCE_TEST_LONG").is_some_and(|value| !value.is_empty())
}

/// How many of `full` repetitions: `RINGFENCE_TEST_SCALE` percent.
fn scaled(full: u32) -> u32 {
    let percent = std::env::var("RINGFENCE_TEST_SCALE").ok().and_then(|v| v.parse().ok()).unwrap_or(100);
    (full * percent / 100).max(1)
}
