//! Where the benchmark happens: the root file system that all systems share, a bundle per purpose, and the command
//! lines that run it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use benches::bundle;
use benches::rows::Row;
use benches::systems::System;

use crate::Options;

/// The folder in the container that holds what operations use.
pub(crate) const FOLDER: &str = "/bench";

/// Files that are read once.
const COLD_FILES: u32 = 200;

/// The prepared place.
#[derive(Debug)]
pub(crate) struct Place {
    work: PathBuf,
    ringfence: PathBuf,
    /// How long a command may take.
    pub(crate) limit: Duration,
}

impl Place {
    /// Makes the root file system: busybox, opbench and one program with shared libraries.
    pub(crate) fn new(options: &Options, rows: &[&Row]) -> Result<Place> {
        let wanted = |name: &str| rows.iter().any(|row| row.name == name);
        let place = Place {
            work: options.work.join(format!("ringfence-bench-{}", std::process::id())),
            ringfence: options.ringfence.clone(),
            limit: Duration::from_secs(options.limit),
        };
        let root = place.rootfs();
        for folder in ["bin", "bench", "dev", "etc", "proc", "sys", "tmp", "root"] {
            fs::create_dir_all(root.join(folder))
                .with_context(|| format!("cannot make {}", root.display()))?;
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        fs::write(root.join("etc/group"), "root:x:0:\n")?;
        let busybox = find_program("busybox").context("busybox is needed for the root file system")?;
        fs::copy(&busybox, root.join("bin/busybox"))?;
        for applet in ["sh", "true", "sleep", "cat", "ls"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
        }
        fs::copy(&options.opbench, root.join("bench/opbench"))
            .with_context(|| format!("no program {}", options.opbench.display()))?;
        fs::copy(options.opbench.with_file_name("bench-true"), root.join("bench/true-static"))
            .context("no program bench-true beside opbench")?;
        place.add_dynamic_program()?;
        if wanted("python_start") {
            place.add_python(options.applications.as_deref());
        }
        let prepared = Command::new(&options.opbench)
            .arg("--prepare")
            .arg(root.join("bench"))
            .status()
            .context("opbench")?;
        if !prepared.success() {
            bail!("opbench --prepare: {prepared}");
        }
        if wanted("coldread_1m") {
            place.add_cold_files()?;
        }
        Ok(place)
    }

    fn rootfs(&self) -> PathBuf {
        self.work.join("rootfs")
    }

    /// A file for a runtime's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.work.join("runtime.log")
    }

    /// A file for a container's output.
    pub(crate) fn output(&self) -> PathBuf {
        self.work.join("output")
    }

    /// Copies this machine's `true` with the libraries that `ldd` names.
    fn add_dynamic_program(&self) -> Result<()> {
        let root = self.rootfs();
        let program = find_program("true").context("no program true")?;
        fs::copy(&program, root.join("bench/true-dynamic"))?;
        let listed = Command::new("ldd").arg(&program).output().context("ldd")?;
        for word in
            String::from_utf8_lossy(&listed.stdout).split_whitespace().filter(|word| word.starts_with('/'))
        {
            let place = root.join(word.trim_start_matches('/'));
            if let Some(folder) = place.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::copy(word, &place).with_context(|| word.to_string())?;
        }
        Ok(())
    }

    /// Copies Python from the disk of applications, if there is one; without it the row has no figure.
    fn add_python(&self, disk: Option<&Path>) {
        const STEPS: &str = "mkdir -p \"$3\"; mount -o ro \"$1\" \"$3\"; cd \"$3\"; \
            { echo usr/bin/python3; echo usr/bin/python3.13; echo usr/lib/python3.13; \
              chroot . ldd /usr/bin/python3.13 | grep -o '/[^ ]*' | sed 's|^/||'; } >\"$2/files\"; \
            tar -c --dereference --hard-dereference --exclude=usr/lib/python3.13/test -T \"$2/files\" | tar -x -C \"$2\" --keep-directory-symlink; \
            rm \"$2/files\"; cd /; umount \"$3\"";
        let Some(disk) = disk else { return };
        let copied = Command::new("sh")
            .args(["-ec", STEPS, "sh"])
            .args([disk, &self.rootfs(), &self.work.join("applications")])
            .status();
        if !matches!(copied, Ok(status) if status.success()) {
            eprintln!("bench: no Python from {}", disk.display());
        }
    }

    /// Makes files that are read once, on a disk in memory: reading them takes the whole way through a file system, and
    /// no time waiting.
    fn add_cold_files(&self) -> Result<()> {
        const STEPS: &str = "modprobe loop; mkdir -p \"$1\" \"$2\"; mount -t tmpfs tmpfs \"$2\"; truncate -s 256M \"$2/disk\"; \
            mke2fs -q -t ext4 -F \"$2/disk\"; mount -o loop \"$2/disk\" \"$1\"; \
            n=0; while [ $n -lt $3 ]; do cp \"$1/../data\" \"$1/$n\"; n=$((n + 1)); done; sync";
        let status = Command::new("sh")
            .args(["-ec", STEPS, "sh"])
            .args([self.cold_files(), self.work.join("memory")])
            .arg(COLD_FILES.to_string())
            .status()?;
        if !status.success() {
            bail!("cannot make a disk in memory: {status}");
        }
        Ok(())
    }

    fn cold_files(&self) -> PathBuf {
        self.rootfs().join("bench/cold")
    }

    /// Has the kernel forget what it has read of the files that are read once.
    pub(crate) fn cool(&self) {
        if self.cold_files().exists()
            && let Err(error) = fs::write("/proc/sys/vm/drop_caches", "3")
        {
            eprintln!("bench: caches stay: {error}");
        }
    }

    /// Why a system cannot be measured here at all.
    pub(crate) fn unusable(&self, system: System) -> Option<String> {
        let program = system.program(&self.ringfence)?;
        if find_program(&program).is_none() {
            return Some(format!("no program {program}"));
        }
        let needs_kvm = matches!(system, System::RunscKvm | System::Ringfence);
        (needs_kvm && !Path::new("/dev/kvm").exists()).then(|| "no /dev/kvm".into())
    }

    /// Makes the bundle `name` that runs `args`.
    pub(crate) fn bundle(&self, name: &str, args: &[&str]) -> Result<PathBuf> {
        let bundle = self.work.join("bundles").join(name);
        fs::create_dir_all(&bundle)?;
        let mut config = bundle::config(args);
        config["root"]["path"] = serde_json::json!(self.rootfs());
        fs::write(bundle.join("config.json"), serde_json::to_string_pretty(&config)?)?;
        Ok(bundle)
    }

    /// A command of a runtime, before its arguments.
    pub(crate) fn runtime(&self, system: System) -> Option<Command> {
        let mut command = Command::new(system.program(&self.ringfence)?);
        command.args(system.global_options(&self.work.join("state").join(system.name())));
        Some(command)
    }

    /// Runs a program in a new container, or in a chroot for bare Linux.
    pub(crate) fn run(&self, system: System, args: &[&str]) -> Result<Command> {
        let Some(mut command) = self.runtime(system) else { return Ok(self.bare(args)) };
        let bundle = self.bundle("operations", args)?;
        command.args(["run", "--bundle"]).arg(bundle).arg("bench-operations");
        Ok(command)
    }

    /// The same tree without a container: device nodes and a tmpfs, in mounts of its own.
    fn bare(&self, args: &[&str]) -> Command {
        const STEPS: &str = "root=$1; shift; mount --bind /dev \"$root/dev\"; mount -t proc proc \"$root/proc\"; \
                             mount -t tmpfs tmpfs \"$root/tmp\"; exec chroot \"$root\" \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", STEPS, "sh"]).arg(self.rootfs()).args(args);
        command
    }

    /// Ends a container and forgets it, whatever its state.
    pub(crate) fn clear(&self, system: System, id: &str) {
        if let Some(mut command) = self.runtime(system) {
            // Most often there is nothing to clear.
            let _gone = command
                .args(["delete", "--force", id])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for place in [self.cold_files(), self.work.join("memory")] {
            if place.exists() {
                let _said = Command::new("umount").arg(place).status();
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.work) {
            eprintln!("bench: {} stays: {error}", self.work.display());
        }
    }
}

/// Looks a program up as a shell would.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.exists());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.exists())
}
