//! The container's cgroup, which holds its sandbox process. Files of the cgroup file system, v2 or v1.
//!
//! Limits are those of the container with what the sandbox process itself needs added, so that the container meets
//! its own limits inside first, as a process of its own would.

mod settings;
pub(crate) mod usage;

use std::{
    fs,
    io::ErrorKind,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

const MOUNT: &str = "/sys/fs/cgroup";
/// Memory of a sandbox process beside the guest's, bytes.
const OWN_MEMORY: i64 = 64 << 20;
/// Threads of a sandbox process beside its vCPUs, and its stand-in's processes.
const OWN_TASKS: i64 = 10;
/// Hierarchies of v1 that are used where they are mounted.
const CONTROLLERS: [&str; 9] =
    ["memory", "pids", "cpu", "cpuacct", "cpuset", "blkio", "freezer", "devices", "systemd"];

/// Where a container's processes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cgroup {
    /// Directories that were made for it: one on v2, one for each hierarchy on v1.
    pub(crate) directories: Vec<PathBuf>,
    /// Whether there is the unified hierarchy alone.
    pub(crate) unified: bool,
}

impl Cgroup {
    /// The cgroup at `path` of the specification; nothing is made yet. `None` where there are no cgroups.
    pub(crate) fn at(path: &Path) -> Result<Option<Self>> {
        Self::below(Path::new(MOUNT), path)
    }

    fn below(mount: &Path, path: &Path) -> Result<Option<Self>> {
        let relative: PathBuf =
            path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        ensure!(
            !path.components().any(|part| part == Component::ParentDir),
            "config.json: linux.cgroupsPath: must not contain .."
        );
        ensure!(
            relative.components().next().is_some(),
            "config.json: linux.cgroupsPath: must name a cgroup below the root"
        );
        if mount.join("cgroup.controllers").exists() {
            return Ok(Some(Self { directories: vec![mount.join(relative)], unified: true }));
        }
        let directories: Vec<_> = CONTROLLERS
            .iter()
            .map(|controller| mount.join(controller))
            .filter(|hierarchy| hierarchy.join("cgroup.procs").exists())
            .map(|hierarchy| hierarchy.join(&relative))
            .collect();
        Ok((!directories.is_empty()).then_some(Self { directories, unified: false }))
    }

    /// Makes it and sets its limits.
    pub(crate) fn make(&self, resources: Option<&LinuxResources>, cpus: u32) -> Result<()> {
        for directory in &self.directories {
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
            if self.unified {
                enable_controllers(directory);
            }
        }
        if let Some(resources) = resources {
            self.apply(resources, cpus)?;
        }
        Ok(())
    }

    /// Sets limits.
    pub(crate) fn apply(&self, resources: &LinuxResources, cpus: u32) -> Result<()> {
        for setting in settings::of(resources, cpus)? {
            let (file, value) = match (self.unified, &setting.v1, &setting.v2) {
                (true, _, Some((file, value))) => (self.directories.first().map(|d| d.join(file)), value),
                (false, Some((controller, file, value)), _) => {
                    (self.of(controller).map(|d| d.join(file)), value)
                }
                _ => continue,
            };
            let Some(file) = file else { continue };
            fs::write(&file, value).with_context(|| format!("write {value:?} to {}", file.display()))?;
        }
        if let Some(unified) = resources.unified().as_ref().filter(|unified| !unified.is_empty()) {
            ensure!(self.unified, "config.json: linux.resources.unified: there is no unified hierarchy");
            for (name, value) in unified {
                ensure!(
                    !name.contains('/') && name.contains('.'),
                    "config.json: linux.resources.unified: bad name {name:?}"
                );
                for directory in &self.directories {
                    let file = directory.join(name);
                    fs::write(&file, value).with_context(|| file.display().to_string())?;
                }
            }
        }
        Ok(())
    }

    /// Where memory is limited.
    pub(crate) fn memory(&self) -> Option<&PathBuf> {
        if self.unified { self.directories.first() } else { self.of("memory") }
    }

    /// The directory of a controller of v1.
    fn of(&self, controller: &str) -> Option<&PathBuf> {
        let named = |part: &Component<'_>| part.as_os_str() == controller;
        self.directories.iter().find(|directory| directory.components().nth(4).as_ref().is_some_and(named))
    }

    /// Puts a process in.
    pub(crate) fn add(&self, pid: u32) -> Result<()> {
        for directory in &self.directories {
            let file = directory.join("cgroup.procs");
            fs::write(&file, pid.to_string()).with_context(|| file.display().to_string())?;
        }
        Ok(())
    }

    /// Ids of the processes that are in it.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let Some(directory) = self.directories.first() else { return Vec::new() };
        let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Removes it, and what was made below it.
    pub(crate) fn remove(&self) -> Result<()> {
        self.directories.iter().try_for_each(|directory| remove_tree(directory))
    }
}

/// Lets a cgroup have the controllers of the root, as far as those above it can be made to pass them on.
fn enable_controllers(directory: &Path) {
    let mut above: Vec<_> =
        directory.ancestors().skip(1).take_while(|path| path.starts_with(MOUNT)).collect();
    above.reverse();
    for path in above {
        let wanted = fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
        for controller in wanted.split_whitespace() {
            // One by one: a controller that cannot be passed on must not keep the others from it.
            let _ = fs::write(path.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}

fn remove_tree(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    // A process that was just killed leaves it only when the kernel is done with it.
    for _ in 0..200 {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error).with_context(|| directory.display().to_string()),
        }
    }
    bail!("cgroup {} stays busy", directory.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_mount() {
        let root = std::env::temp_dir().join(format!("ringfence-cgroup-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        assert_eq!(Cgroup::below(&root, Path::new("/a")).unwrap(), None, "no hierarchy");
        fs::write(root.join("cgroup.controllers"), "memory pids").unwrap();
        for bad in ["/", "", "/a/../b", "..", "."] {
            assert!(Cgroup::below(&root, Path::new(bad)).is_err(), "{bad:?}");
        }
        for good in ["/docker/x", "docker/x"] {
            let cgroup = Cgroup::below(&root, Path::new(good)).unwrap().unwrap();
            assert_eq!(cgroup.directories, [root.join("docker/x")]);
            cgroup.make(None, 1).unwrap();
            assert!(root.join("docker/x").is_dir());
            cgroup.remove().unwrap();
            cgroup.remove().unwrap();
            assert!(!root.join("docker/x").exists());
        }
        fs::remove_dir_all(root).unwrap();
    }
}
