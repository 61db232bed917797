//! What is known of a container outside it: the directory `ROOT/ID`.
//!
//! | file | is |
//! | --- | --- |
//! | `state.json` | the [`Record`]; replaced as a whole; a directory without it is what a killed command left |
//! | `alive` | locked by the sandbox process for as long as it lives, however it ends |
//! | `control` | the sandbox's control socket |
//!
//! The directory itself is locked by a command while it changes the container.
//!
//! What changes while the container lives is not written down but asked for: whether it lives is `alive`'s lock,
//! whether it runs is what the sandbox says, whether it is paused is what the kernel says of its process. So no
//! command that is killed half-way leaves a lie.
//!
//! Lock order: `ROOT`, which guards the making of directories, then a container's.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::ErrorKind,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use oci_spec::runtime::Hooks;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use vmm::control::{Client, Phase, Reply, Request};

use crate::{bundle::check_id, cgroup::Cgroup};

const STATE: &str = "state.json";
const ALIVE: &str = "alive";
const CONTROL: &str = "control";
/// How long a sandbox may take to answer what it is asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a killed sandbox may take to go.
const DEATH: Duration = Duration::from_secs(10);

/// What is written down of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Version of the runtime specification.
    pub(crate) oci_version: String,
    /// Its id.
    pub(crate) id: String,
    /// Process id of the sandbox; 0 before there is one.
    pub(crate) pid: u32,
    /// Whether `create` is done.
    pub(crate) complete: bool,
    /// Bundle directory.
    pub(crate) bundle: PathBuf,
    /// Root file system.
    pub(crate) rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub(crate) created: String,
    /// Name of who created it.
    pub(crate) owner: String,
    /// Annotations of the bundle.
    #[serde(default)]
    pub(crate) annotations: HashMap<String, String>,
    /// Hooks of the bundle: `delete` needs them when the bundle may be gone.
    #[serde(default)]
    pub(crate) hooks: Option<Hooks>,
    /// Its cgroup.
    #[serde(default)]
    pub(crate) cgroup: Option<Cgroup>,
    /// Memory of the guest, bytes; 0 before there is one.
    #[serde(default)]
    pub(crate) memory: u64,
    /// vCPUs of the guest.
    #[serde(default)]
    pub(crate) cpus: u32,
    /// It gets the interface in its network namespace when it is started.
    #[serde(default)]
    pub(crate) network: bool,
}

/// How far a container has come, in the specification's words and one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A container's directory.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    path: PathBuf,
    id: String,
}

/// The right to change a container.
#[derive(Debug)]
pub(crate) struct Locked(#[allow(dead_code, reason = "held, not used")] Flock<File>);

impl Container {
    /// The container with this id, which has a record.
    pub(crate) fn find(root: &Path, id: &str) -> Result<(Self, Record)> {
        check_id(id)?;
        let container = Self { path: root.join(id), id: id.to_owned() };
        let record = container.read().context("container does not exist")?;
        Ok((container, record))
    }

    /// All containers that have a record, by id.
    pub(crate) fn all(root: &Path) -> Vec<(Self, Record)> {
        let mut all: Vec<_> = fs::read_dir(root)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Self::find(root, entry.file_name().to_str()?).ok())
            .collect();
        all.sort_by(|a, b| a.0.id.cmp(&b.0.id));
        all
    }

    /// Makes the directory of a new container: locked, and with what its sandbox is to hold while it lives.
    pub(crate) fn claim(root: &Path, id: &str) -> Result<(Self, Locked, OwnedFd)> {
        check_id(id)?;
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        builder.recursive(true).create(root).with_context(|| format!("--root {}", root.display()))?;
        let _root = wait_for(File::open(root).context("--root")?)?;
        let path = root.join(id);
        let container = Self { path, id: id.to_owned() };
        if let Err(error) = builder.recursive(false).create(&container.path) {
            if error.kind() != ErrorKind::AlreadyExists {
                return Err(error).with_context(|| container.path.display().to_string());
            }
            // What a command left that was killed may be taken over.
            let exists = "container with given ID already exists";
            ensure!(container.read().is_none() && !container.is_alive(), exists);
        }
        let directory = File::open(&container.path).context("container directory")?;
        let Ok(lock) = Flock::lock(directory, FlockArg::LockExclusiveNonblock) else {
            bail!("container with given ID already exists");
        };
        let _ = fs::remove_file(container.control_path());
        let path = container.path.join(ALIVE);
        File::create(&path).context(ALIVE)?;
        let alive = File::open(&path).context(ALIVE)?;
        // Let go only when the last descriptor of this open file is closed, in whatever process. Who only looks
        // whether it is locked lets go at once.
        rustix::io::retry_on_intr(|| rustix::fs::flock(&alive, rustix::fs::FlockOperation::LockExclusive))
            .context(ALIVE)?;
        Ok((container, Locked(lock), alive.into()))
    }

    /// Waits for the right to change it.
    pub(crate) fn lock(&self) -> Result<Locked> {
        loop {
            let Ok(directory) = File::open(&self.path) else { bail!("container does not exist") };
            let inode = directory.metadata().context("container directory")?.ino();
            let lock = wait_for(directory)?;
            // Whoever had it may have removed it.
            match fs::metadata(&self.path) {
                Ok(now) if now.ino() == inode => return Ok(Locked(lock)),
                _ => {}
            }
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn read(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.path.join(STATE)).ok()?).ok()
    }

    /// Replaces the record.
    pub(crate) fn write(&self, _: &Locked, record: &Record) -> Result<()> {
        let new = self.path.join("state.json.new");
        fs::write(&new, serde_json::to_vec(record)?).with_context(|| new.display().to_string())?;
        fs::rename(&new, self.path.join(STATE)).context(STATE)
    }

    /// Removes the directory, the record before what makes it one.
    pub(crate) fn remove(&self, _: &Locked) -> Result<()> {
        match fs::remove_file(self.path.join(STATE)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).context(STATE),
            _ => {}
        }
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| self.path.display().to_string())
            }
            _ => Ok(()),
        }
    }

    /// Removes what a killed command left; a container proper stays.
    pub(crate) fn remove_leftovers(root: &Path, id: &str) -> Result<()> {
        check_id(id)?;
        let container = Self { path: root.join(id), id: id.to_owned() };
        if container.path.exists() && container.read().is_none() {
            // One that is gone meanwhile leaves nothing.
            let Ok(lock) = container.lock() else { return Ok(()) };
            if container.read().is_none() && !container.is_alive() {
                return container.remove(&lock);
            }
        }
        Ok(())
    }

    /// Whether its sandbox process lives.
    pub(crate) fn is_alive(&self) -> bool {
        let Ok(file) = File::open(self.path.join(ALIVE)) else { return false };
        Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
    }

    pub(crate) fn control_path(&self) -> PathBuf {
        self.path.join(CONTROL)
    }

    /// Connects to the sandbox, by way of the directory's descriptor: the path may be too long for a socket's name.
    pub(crate) fn connect(&self) -> Result<Client> {
        let directory = File::open(&self.path).context("container does not exist")?;
        Client::connect(&short(&directory)).context("cannot reach the sandbox")
    }

    /// Asks the sandbox something; the connection, on which its replies come.
    pub(crate) fn ask(&self, request: &Request) -> Result<Client> {
        let client = self.connect()?;
        client.limit(Some(PATIENCE))?;
        client.send(request, &[]).context("ask the sandbox")?;
        Ok(client)
    }

    /// Makes the sandbox's control socket.
    pub(crate) fn listen(&self) -> Result<OwnedFd> {
        let directory = File::open(&self.path).context("container directory")?;
        vmm::control::listen(&short(&directory)).context("control socket")
    }

    /// How far it has come.
    pub(crate) fn status(&self, record: &Record) -> Result<Status> {
        if !self.is_alive() {
            return Ok(Status::Stopped);
        }
        if record.pid == 0 || !record.complete {
            return Ok(Status::Creating);
        }
        if is_stopped(record.pid) {
            return Ok(Status::Paused);
        }
        let asked = self
            .ask(&Request::Phase)
            .and_then(|client| client.receive().context("the sandbox does not answer"));
        match asked {
            Ok(Some(Reply::Phase(Phase::Creating))) => Ok(Status::Creating),
            Ok(Some(Reply::Phase(Phase::Created))) => Ok(Status::Created),
            Ok(Some(Reply::Phase(Phase::Running))) => Ok(Status::Running),
            _ if !self.is_alive() => Ok(Status::Stopped),
            _ if is_stopped(record.pid) => Ok(Status::Paused),
            Ok(reply) => bail!("the sandbox answers {reply:?}"),
            Err(error) => Err(error),
        }
    }

    /// Sends a signal to the sandbox process, and to no other; false when it is gone.
    pub(crate) fn signal_sandbox(&self, record: &Record, signal: Signal) -> Result<bool> {
        let pid = Pid::from_raw(record.pid.cast_signed()).context("the sandbox has no process yet")?;
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
        // It lives still, so the descriptor is its own and not that of one that got its id.
        if !self.is_alive() {
            return Ok(false);
        }
        pidfd_send_signal(process, signal).context("kill")?;
        Ok(true)
    }

    /// Kills the sandbox and waits until it is gone.
    pub(crate) fn kill(&self, record: &Record) -> Result<()> {
        if record.pid != 0 {
            self.signal_sandbox(record, Signal::KILL)?;
        }
        let step = Duration::from_millis(5);
        for _ in 0..DEATH.as_millis() / step.as_millis() {
            if !self.is_alive() {
                return Ok(());
            }
            std::thread::sleep(step);
        }
        bail!("the sandbox process {} does not end", record.pid)
    }
}

/// `/proc/self/fd/N/control`.
fn short(directory: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}/{CONTROL}", directory.as_raw_fd()))
}

/// Whether the process is stopped by a signal, as `pause` does.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

fn wait_for(file: File) -> Result<Flock<File>> {
    let mut file = file;
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => return Ok(lock),
            Err((back, nix::errno::Errno::EINTR)) => file = back,
            Err((_, errno)) => return Err(errno).context("lock"),
        }
    }
}

/// The sandbox's next reply to what it was asked; `None` when it has ended.
pub(crate) fn answer(client: &Client) -> Result<Option<Reply>> {
    match client.receive().context("the sandbox does not answer")? {
        Some(Reply::Refused(errno)) => Err(std::io::Error::from_raw_os_error(errno)).context("the sandbox"),
        reply => Ok(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> Record {
        Record {
            oci_version: "1.2.0".into(),
            id: id.into(),
            pid: 0,
            complete: false,
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: String::new(),
            owner: String::new(),
            annotations: HashMap::new(),
            hooks: None,
            cgroup: None,
            memory: 0,
            cpus: 0,
            network: false,
        }
    }

    /// Waits until nothing holds the container: a process that another test is starting has copies of this one's
    /// descriptors until it runs its program.
    fn let_go(container: &Container) {
        for _ in 0..1000 {
            let free = File::open(&container.path).is_ok_and(|directory| {
                !container.is_alive() && Flock::lock(directory, FlockArg::LockExclusiveNonblock).is_ok()
            });
            if free {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} is still held", container.path.display());
    }

    #[test]
    fn an_id_is_taken_once_and_free_again() {
        let root = std::env::temp_dir().join(format!("ringfence-state-{}", std::process::id()));
        let (container, lock, alive) = Container::claim(&root, "a").unwrap();
        assert!(Container::find(&root, "a").is_err(), "there is no record yet");
        assert!(Container::claim(&root, "a").is_err());
        container.write(&lock, &record("a")).unwrap();
        assert!(Container::claim(&root, "a").is_err());
        let (found, known) = Container::find(&root, "a").unwrap();
        assert_eq!(found.status(&known).unwrap(), Status::Creating);
        drop((alive, lock));
        let_go(&container);
        assert_eq!(found.status(&known).unwrap(), Status::Stopped);
        assert!(Container::claim(&root, "a").is_err(), "it has a record");
        assert_eq!(Container::all(&root).len(), 1);
        let lock = container.lock().unwrap();
        container.remove(&lock).unwrap();
        drop(lock);
        assert!(container.lock().is_err());
        assert!(Container::all(&root).is_empty());
        // What killed commands leave: a directory with nothing, or with all but the record.
        fs::create_dir(root.join("b")).unwrap();
        let (container, lock, alive) = Container::claim(&root, "b").unwrap();
        assert!(Container::remove_leftovers(&root, "c").is_ok());
        drop((lock, alive));
        let_go(&container);
        drop(Container::claim(&root, "b").unwrap());
        let_go(&container);
        Container::remove_leftovers(&root, "b").unwrap();
        assert!(!root.join("b").exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
