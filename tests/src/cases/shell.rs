//! Busybox scripts that print the same under runc.

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::Result;

use super::same;
use crate::bundle::Bundle;

/// A bundle that runs `script` with `arguments`, in a rootfs with a temporary directory for all.
fn bundle(name: &str, script: &str, arguments: &[&str]) -> Result<Bundle> {
    let mut args = vec!["sh", "/script"];
    args.extend(arguments);
    let bundle = Bundle::new(name, &args)?;
    fs::write(bundle.file("script"), script)?;
    fs::set_permissions(bundle.file("tmp"), fs::Permissions::from_mode(0o1777))?;
    Ok(bundle)
}

fn script(name: &str, script: &str, arguments: &[&str]) -> Result<String> {
    // The shell says so, or not, depending on whether it reaps a killed job in `wait` or before.
    let said = |line: &&str| !matches!(*line, "Terminated" | "Killed");
    same(|| bundle(name, script, arguments), |text| text.lines().filter(said).collect::<Vec<_>>().join("\n"))
}

pub(super) fn control() -> Result<String> {
    script("control", include_str!("../../shell/control.sh"), &[])
}

pub(super) fn jobs() -> Result<String> {
    script("jobs", include_str!("../../shell/jobs.sh"), &[])
}

pub(super) fn text() -> Result<String> {
    script("text", include_str!("../../shell/text.sh"), &[])
}

pub(super) fn files() -> Result<String> {
    script("files", include_str!("../../shell/files.sh"), &["/tmp"])
}

pub(super) fn files_in_memory() -> Result<String> {
    script("shm", include_str!("../../shell/files.sh"), &["/dev/shm"])
}

pub(super) fn archives() -> Result<String> {
    script("archives", include_str!("../../shell/archives.sh"), &[])
}

pub(super) fn devices() -> Result<String> {
    script("devices", include_str!("../../shell/devices.sh"), &[])
}

pub(super) fn system() -> Result<String> {
    script("system", include_str!("../../shell/system.sh"), &[])
}

pub(super) fn proc() -> Result<String> {
    script("proc", include_str!("../../shell/proc.sh"), &[])
}
