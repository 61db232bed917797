//! `do`: runs one command in a sandbox of its own over a tree of the host, which it cannot change.

use std::{
    fs,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use nix::unistd;
use serde_json::{Value, json};

use super::run;
use crate::{
    cli::{Do, Global, Launch, Run},
    overlay, translate,
};

/// A bundle that is gone with its owner.
#[derive(Debug)]
struct Bundle(PathBuf);

impl Drop for Bundle {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            log::warn!("{} stays: {error}", self.0.display());
        }
    }
}

/// Runs a command; gives its exit status.
pub(crate) fn run_command(global: &Global, options: &Do) -> Result<i32> {
    let root = options.directory.canonicalize().with_context(|| options.directory.display().to_string())?;
    let cwd = match &options.cwd {
        Some(cwd) => {
            ensure!(cwd.is_absolute(), "--cwd {}: must be an absolute path", cwd.display());
            cwd.clone()
        }
        // Where the caller is, if that is in the tree.
        None => std::env::current_dir()
            .ok()
            .and_then(|here| Some(Path::new("/").join(here.strip_prefix(&root).ok()?)))
            .unwrap_or_else(|| "/".into()),
    };
    let place = std::env::temp_dir().join("ringfence-do-XXXXXX");
    let bundle = Bundle(unistd::mkdtemp(&place).with_context(|| place.display().to_string())?);
    let config = bundle.0.join("config.json");
    fs::write(&config, config_of(&root, &cwd, &options.args)?.to_string())
        .with_context(|| config.display().to_string())?;
    let name = bundle.0.file_name().map(|name| name.to_string_lossy().into_owned());
    let launch = Launch::of(&bundle.0, &name.context("no name")?);
    run::run(global, &Run { launch, detach: false, keep: false, no_subreaper: false })
}

/// Text of the host, which config.json can hold if it is UTF-8.
fn text(what: &str, bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).with_context(|| format!("{what}: not UTF-8"))
}

/// The configuration: the caller's identity, environment and directory, all capabilities, file systems of the sandbox's
/// own where the host has the like.
fn config_of(root: &Path, cwd: &Path, args: &[String]) -> Result<Value> {
    let path = |what, path: &Path| text(what, path.as_os_str().as_bytes());
    let env: Vec<String> = std::env::vars_os()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value.to_str()?)))
        .collect();
    let groups: Vec<u32> =
        unistd::getgroups().context("getgroups")?.into_iter().map(unistd::Gid::as_raw).collect();
    let capabilities = translate::capability_names();
    let tmpfs = |place: &str, mode: &str| json!({ "destination": place, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", mode] });
    Ok(json!({
        "ociVersion": "1.2.0",
        "annotations": { (overlay::ANNOTATION): "root:memory" },
        "root": { "path": path("--root", root)? },
        "process": {
            "terminal": unistd::isatty(std::io::stdin().as_fd()).unwrap_or(false),
            "user": {
                "uid": unistd::geteuid().as_raw(), "gid": unistd::getegid().as_raw(), "additionalGids": groups
            },
            "args": args,
            "env": env,
            "cwd": path("--cwd", cwd)?,
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities
            }
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            tmpfs("/dev", "mode=755"),
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
            tmpfs("/dev/shm", "mode=1777"),
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] }
        ],
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
            ]
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_a_specification() {
        let config = config_of(Path::new("/"), Path::new("/tmp"), &["true".into()]).unwrap();
        let spec: oci_spec::runtime::Spec = serde_json::from_value(config).unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.args().as_deref(), Some(&["true".to_owned()][..]));
        let bounding = process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap();
        assert_eq!(bounding.len(), 41);
    }
}
