//! The OCI bundle: reading config.json and refusing what cannot work, before anything is created.

use std::{
    fs::File,
    os::fd::OwnedFd,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{Process, Root, Spec};

/// Largest config.json that is read, bytes.
const MAX_CONFIG: u64 = 16 << 20;

/// A checked bundle.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Absolute path of its directory.
    pub(crate) path: PathBuf,
    /// config.json.
    pub(crate) spec: Spec,
    /// The root file system, opened.
    pub(crate) rootfs: OwnedFd,
}

impl Bundle {
    /// Reads and checks the bundle in `directory`.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let path = directory.canonicalize().with_context(|| format!("bundle {}", directory.display()))?;
        let config = path.join("config.json");
        let file = File::open(&config).with_context(|| config.display().to_string())?;
        let len = file.metadata().with_context(|| config.display().to_string())?.len();
        ensure!(len <= MAX_CONFIG, "{}: larger than {MAX_CONFIG} bytes", config.display());
        let text = std::io::read_to_string(file).with_context(|| config.display().to_string())?;
        let spec: Spec = serde_json::from_str(&text).with_context(|| config.display().to_string())?;
        check_version(spec.version())?;
        let root = spec.root().as_ref().context("config.json: root: missing")?;
        check_process(spec.process().as_ref().context("config.json: process: missing")?)?;
        let rootfs = open_rootfs(&path, root)?;
        Ok(Self { path, spec, rootfs })
    }

    /// The first process.
    pub(crate) fn process(&self) -> Result<&Process> {
        self.spec.process().as_ref().context("config.json: process: missing")
    }

    /// Absolute path of the root file system.
    pub(crate) fn rootfs_path(&self) -> PathBuf {
        self.spec.root().as_ref().map_or_else(|| self.path.clone(), |root| self.path.join(root.path()))
    }

    /// Whether the root file system is read-only.
    pub(crate) fn readonly(&self) -> bool {
        self.spec.root().as_ref().and_then(Root::readonly).unwrap_or(false)
    }
}

fn check_version(version: &str) -> Result<()> {
    let mut parts = version.split(['.', '-']);
    let major = parts.next().and_then(|part| part.parse::<u32>().ok());
    ensure!(
        major == Some(1) && parts.next().is_some_and(|minor| minor.parse::<u32>().is_ok()),
        "config.json: ociVersion: {version:?} is not supported (1.x is)"
    );
    Ok(())
}

pub(crate) fn check_process(process: &Process) -> Result<()> {
    let args = process.args().as_deref().unwrap_or_default();
    ensure!(
        args.first().is_some_and(|first| !first.is_empty()),
        "config.json: process.args: must not be empty"
    );
    ensure!(process.cwd().is_absolute(), "config.json: process.cwd: must be an absolute path");
    let strings = args.iter().chain(process.env().iter().flatten());
    ensure!(
        strings.into_iter().all(|s| !s.contains('\0')),
        "config.json: process: a string contains a NUL byte"
    );
    if let Some(name) = process.user().username() {
        bail!(
            "config.json: process.user.username: {name:?}: only numeric uid and gid are supported on Linux"
        );
    }
    Ok(())
}

fn open_rootfs(bundle: &Path, root: &Root) -> Result<OwnedFd> {
    let path = bundle.join(root.path());
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(&path)
        .with_context(|| format!("config.json: root.path: {}", path.display()))?;
    Ok(file.into())
}

/// Checks a container id by runc's rule.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    ensure!(
        !id.is_empty() && id.len() <= 1024 && id != "." && id != ".." && id.chars().all(good),
        "invalid container ID format: {id:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_rule() {
        for good in ["a", "redis-1", "A_b+c.d"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\n"] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn versions() {
        for good in ["1.0.0", "1.2.1", "1.0.2-dev"] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in ["", "2.0.0", "1", "x.y"] {
            assert!(check_version(bad).is_err(), "{bad:?}");
        }
    }
}
