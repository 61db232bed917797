//! Bundles: with a busybox root file system, or with a Debian system full of applications.

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
    /// Whether the root is a mount of its own.
    mounted: bool,
}

impl Bundle {
    /// A bundle whose process runs `args`.
    pub(crate) fn new(name: &str, args: &[&str]) -> Result<Self> {
        Self::on(name, args, None)
    }

    /// The same with a root that is a mount of its own, made by `mount` with these arguments.
    pub(crate) fn mounted(name: &str, args: &[&str], words: &[&str]) -> Result<Self> {
        Self::on(name, args, Some(words))
    }

    fn on(name: &str, args: &[&str], disk: Option<&[&str]>) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("ringfence-{name}-{}", std::process::id()));
        let root = path.join("rootfs");
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&root).context("rootfs")?;
        if let Some(words) = disk {
            mount(words, &root)?;
        }
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
        Self::with_root(path, disk.is_some(), args)
    }

    /// Adds a program of the tests to the root.
    pub(crate) fn add_program(&self, name: &str) -> Result<()> {
        let programs = std::env::var_os("RINGFENCE_TEST_PROGRAMS").context("no RINGFENCE_TEST_PROGRAMS")?;
        fs::copy(Path::new(&programs).join(name), self.file(name)).with_context(|| name.to_owned())?;
        Ok(())
    }

    /// A bundle whose root is the Debian system of applications; what it writes goes to memory and is gone with it.
    pub(crate) fn applications(name: &str, args: &[&str]) -> Result<Self> {
        let lower = applications()?;
        let path = std::env::temp_dir().join(format!("ringfence-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let [root, upper, work] = ["rootfs", "upper", "work"].map(|name| path.join(name));
        for directory in [&root, &upper, &work] {
            fs::create_dir_all(directory).context("rootfs")?;
        }
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        mount(&["-t", "overlay", "-o", &options, "overlay"], &root)?;
        let mut bundle = Self::with_root(path, true, args)?;
        bundle.config["process"]["env"] = json!([
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LANG=C.UTF-8",
            "GOROOT=/usr/lib/go",
            "GOCACHE=/var/cache/go",
            "GOFLAGS=-trimpath",
            "GO111MODULE=off",
        ]);
        bundle.config["process"]["cwd"] = json!("/job");
        bundle.write()?;
        Ok(bundle)
    }

    fn with_root(path: PathBuf, mounted: bool, args: &[&str]) -> Result<Self> {
        let status = Command::new("runc").arg("spec").current_dir(&path).status().context("runc spec")?;
        anyhow::ensure!(status.success(), "runc spec: {status}");
        let mut config: Value = serde_json::from_slice(&fs::read(path.join("config.json"))?)?;
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(args);
        config["root"]["readonly"] = json!(false);
        let bundle = Self { path, config, mounted };
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
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(self.path.join("rootfs")).status();
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The directory of the applications' root: `RINGFENCE_TEST_APPLICATIONS` names it, or the disk that holds it.
fn applications() -> Result<PathBuf> {
    let given = std::env::var_os("RINGFENCE_TEST_APPLICATIONS").filter(|path| Path::new(path).exists());
    let given = PathBuf::from(given.context("RINGFENCE_TEST_APPLICATIONS names no disk or directory")?);
    if given.is_dir() {
        return Ok(given);
    }
    let place = PathBuf::from("/run/ringfence-test-applications");
    if !place.join("usr").exists() {
        fs::create_dir_all(&place).context("mount point")?;
        mount(&["-o", "ro", given.to_str().context("path")?], &place)?;
    }
    Ok(place)
}

/// Mounts something at a place.
pub(crate) fn mount(words: &[&str], place: &Path) -> Result<()> {
    let status = Command::new("mount").args(words).arg(place).status().context("mount")?;
    anyhow::ensure!(status.success(), "mount {words:?}: {status}");
    Ok(())
}
