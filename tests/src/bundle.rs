//! Bundles with a busybox root file system.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A bundle directory, removed when dropped.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    pub(crate) config: Value,
}

impl Bundle {
    /// A bundle whose process runs `args`.
    pub(crate) fn new(name: &str, args: &[&str]) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("ringfence-{name}-{}", std::process::id()));
        let root = path.join("rootfs");
        let _ = fs::remove_dir_all(&path);
        for directory in ["bin", "etc", "proc", "dev", "sys", "tmp", "root"] {
            fs::create_dir_all(root.join(directory)).context("rootfs")?;
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
        let busybox = busybox.context("no busybox here")?;
        fs::copy(busybox, root.join("bin/busybox")).context("busybox")?;
        let applets = Command::new(busybox).arg("--list").output().context("busybox --list")?.stdout;
        for applet in String::from_utf8(applets)?.lines().filter(|applet| *applet != "busybox") {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        fs::write(root.join("etc/group"), "root:x:0:\n")?;
        fs::write(root.join("etc/os-release"), "NAME=\"test\"\nID=test\n")?;
        let status = Command::new("runc").arg("spec").current_dir(&path).status().context("runc spec")?;
        anyhow::ensure!(status.success(), "runc spec: {status}");
        let mut config: Value = serde_json::from_slice(&fs::read(path.join("config.json"))?)?;
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(args);
        config["root"]["readonly"] = json!(false);
        let bundle = Self { path, config };
        bundle.write()?;
        Ok(bundle)
    }

    /// Writes config.json after a change.
    pub(crate) fn write(&self) -> Result<()> {
        fs::write(self.path.join("config.json"), serde_json::to_vec(&self.config)?).context("config.json")
    }

    /// A path in the root file system, from outside.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.path.join("rootfs").join(path)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
