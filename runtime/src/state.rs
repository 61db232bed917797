//! What is known of a container outside it: `ROOT/ID/state.json`.
//!
//! The directory is locked by the process that runs the container, for as long as it runs; a directory whose
//! lock is free belongs to a container that has stopped, however it did.

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

const STATE: &str = "state.json";
const LOCK: &str = "lock";

/// A container's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    /// Version of the runtime specification.
    pub(crate) oci_version: String,
    /// Its id.
    pub(crate) id: String,
    /// Process id of the sandbox.
    pub(crate) pid: u32,
    /// Process id of the `run` that waits for it and forwards signals.
    pub(crate) attendant: u32,
    /// Bundle directory.
    pub(crate) bundle: PathBuf,
    /// Seconds since the epoch.
    pub(crate) created: u64,
    /// Annotations of the bundle.
    #[serde(default)]
    pub(crate) annotations: std::collections::HashMap<String, String>,
}

/// The state directory of a container that this process runs.
#[derive(Debug)]
pub(crate) struct Owned {
    path: PathBuf,
    keep: bool,
    _lock: Flock<File>,
}

impl Owned {
    /// Claims an id.
    pub(crate) fn create(root: &Path, id: &str, keep: bool) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(root)
            .with_context(|| format!("--root {}", root.display()))?;
        let path = root.join(id);
        for _ in 0..2 {
            match fs::DirBuilder::new().mode(0o711).create(&path) {
                Ok(()) => {
                    let lock = lock(&path, true)?.context("the container's lock is taken")?;
                    return Ok(Self { path, keep, _lock: lock });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if read(root, id).is_some() || is_running(&path) {
                        bail!("container with given ID already exists");
                    }
                    // A run that was killed before it had written anything.
                    fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
                }
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
        }
        bail!("container with given ID already exists")
    }

    /// Writes the record.
    pub(crate) fn write(&self, state: &State) -> Result<()> {
        let new = self.path.join("state.json.new");
        fs::write(&new, serde_json::to_vec(state)?).with_context(|| new.display().to_string())?;
        fs::rename(&new, self.path.join(STATE)).context("state.json")
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn lock(path: &Path, create: bool) -> Result<Option<Flock<File>>> {
    let file = File::options().read(true).write(true).create(create).truncate(false).open(path.join(LOCK))?;
    Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
}

/// Whether somebody runs the container whose directory this is.
pub(crate) fn is_running(path: &Path) -> bool {
    matches!(lock(path, false), Ok(None))
}

/// The record of a container, if it has one.
pub(crate) fn read(root: &Path, id: &str) -> Option<State> {
    serde_json::from_slice(&fs::read(root.join(id).join(STATE)).ok()?).ok()
}

/// All records, with whether each runs.
pub(crate) fn all(root: &Path) -> Vec<(State, bool)> {
    let mut states: Vec<_> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let state = read(root, entry.file_name().to_str()?)?;
            let running = is_running(&entry.path());
            Some((state, running))
        })
        .collect();
    states.sort_by(|a, b| a.0.id.cmp(&b.0.id));
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(id: &str) -> State {
        State {
            oci_version: "1.2.0".into(),
            id: id.into(),
            pid: 1,
            attendant: 1,
            bundle: "/b".into(),
            created: 0,
            annotations: Default::default(),
        }
    }

    #[test]
    fn an_id_is_taken_once_and_free_again() {
        let root = std::env::temp_dir().join(format!("ringfence-state-{}", std::process::id()));
        let owned = Owned::create(&root, "a", false).unwrap();
        owned.write(&state("a")).unwrap();
        assert!(Owned::create(&root, "a", false).is_err());
        assert_eq!(all(&root).len(), 1);
        assert!(all(&root)[0].1);
        drop(owned);
        assert!(all(&root).is_empty());
        // What a killed run leaves: a directory without a record, or one with a record and a free lock.
        fs::create_dir(root.join("b")).unwrap();
        drop(Owned::create(&root, "b", false).unwrap());
        let owned = Owned::create(&root, "c", true).unwrap();
        owned.write(&state("c")).unwrap();
        drop(owned);
        assert!(!all(&root)[0].1);
        assert!(Owned::create(&root, "c", false).is_err());
        fs::remove_dir_all(&root).unwrap();
    }
}
