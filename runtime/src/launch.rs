//! From a bundle to a sandbox: what `create` and `run` have in common.
//!
//! The sandbox ends with this process until it is told to live on, which is the last step. So a command that is
//! killed at any point leaves at most a container that has stopped.

use std::{
    fs::{self, File, OpenOptions},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::stat::fstat;
use vmm::{
    SandboxFds, SandboxProcess, SandboxSettings, Tree,
    config::{FromSandbox, ToSandbox},
};

use crate::{
    bundle::{Bundle, check_id},
    cgroup::Cgroup,
    check,
    cli::{Global, Launch},
    commands::delete,
    console::Caller,
    container::{Container, Locked, Record},
    failure,
    hooks::{self, Point},
    mountpoints,
    network::{self, Namespace},
    oom,
    overlay::Overlay,
    report, resources,
    streams::Streams,
    timing, translate,
};

/// A container that is created, or runs already when it need not be held.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) container: Container,
    pub(crate) lock: Locked,
    pub(crate) record: Record,
    pub(crate) sandbox: SandboxProcess,
    /// The first process waits to be let go.
    pub(crate) held: bool,
    /// The caller's terminal, if it is joined with the container's.
    pub(crate) caller: Option<Caller>,
}

/// Makes the container of a bundle. `detached`: the caller does not stay with it.
pub(crate) fn launch(global: &Global, options: &Launch, detached: bool) -> Result<Launched> {
    check_id(&options.id)?;
    let bundle = Bundle::open(&options.bundle)?;
    let kvm = check::open_kvm()?;
    let hooks = bundle.spec.hooks().clone();
    let linux = bundle.spec.linux().as_ref();
    let network = network::is_wanted(global.network, linux)?;
    let plugged = network && network::is_given(linux);
    let held = plugged || detached || options.pid_file.is_some() || hooks::before_start(hooks.as_ref());
    let log = sandbox_log(global, &options.id)?;
    let (container, lock, alive) = Container::claim(&global.root, &options.id)?;
    let record = Record {
        oci_version: bundle.spec.version().clone(),
        id: options.id.clone(),
        pid: 0,
        complete: false,
        bundle: bundle.path.clone(),
        rootfs: bundle.rootfs_path(),
        created: report::now(),
        owner: owner(),
        annotations: bundle.spec.annotations().clone().unwrap_or_default(),
        hooks,
        cgroup: None,
        memory: 0,
        cpus: 0,
        network,
    };
    let mut launching = Launching {
        global,
        options,
        bundle,
        container,
        lock,
        record,
        kvm,
        log,
        alive,
        detached,
        held,
        caller: None,
    };
    match launching.spawn().and_then(|mut sandbox| match launching.bring_up(&mut sandbox) {
        Ok(()) => Ok(sandbox),
        Err(error) => {
            let _ = sandbox.kill();
            let reason = last_words(&sandbox).unwrap_or(error);
            let _ = sandbox.wait();
            Err(reason)
        }
    }) {
        Ok(sandbox) => {
            let Launching { container, lock, record, caller, .. } = launching;
            Ok(Launched { container, lock, record, sandbox, held, caller })
        }
        Err(error) => {
            let Launching { container, lock, record, alive, .. } = launching;
            drop(alive);
            if let Err(left) = delete::destroy(&container, &lock, &record) {
                log::warn!("{left:#}");
            }
            Err(error)
        }
    }
}

struct Launching<'a> {
    global: &'a Global,
    options: &'a Launch,
    bundle: Bundle,
    container: Container,
    lock: Locked,
    record: Record,
    kvm: OwnedFd,
    log: OwnedFd,
    alive: OwnedFd,
    detached: bool,
    held: bool,
    caller: Option<Caller>,
}

impl Launching<'_> {
    /// Starts the sandbox process.
    fn spawn(&mut self) -> Result<SandboxProcess> {
        let spec = &self.bundle.spec;
        let process = self.bundle.process()?;
        let socket = self.options.console_socket.as_deref();
        let streams = Streams::of(process, socket, self.detached, self.options.preserve_fds)?;
        let overlay = Overlay::of(self.global.overlay2, spec)?;
        let (mut start, trees) = translate::sandbox(&self.bundle, overlay, streams.all.len() as u32)?;
        start.hold = self.held;
        let linux = spec.linux().as_ref();
        let limits = linux.and_then(|linux| linux.resources().as_ref());
        let settings = SandboxSettings {
            memory: resources::memory(limits)?,
            cpus: resources::cpus(limits),
            log_level: if self.global.debug { 4 } else { 3 },
            strace: self.global.strace,
            timing: timing::enabled(),
            network: self.record.network && self.held,
            start,
        };
        // Over a read-only root mount points can still be made where an overlay takes them.
        let overlaid = overlay.root().is_some();
        if self.bundle.readonly() && !overlaid {
            make_mount_points(&self.bundle, &trees)?;
        }
        timing::phase("config-parsed");
        self.record.cgroup = self.cgroup()?;
        (self.record.memory, self.record.cpus) = (settings.memory, settings.cpus);
        // Known before it is made, so that it is found again whatever happens.
        self.container.write(&self.lock, &self.record)?;
        if let Some(cgroup) = &self.record.cgroup {
            cgroup.make(limits, settings.cpus)?;
        }
        let listener = self.container.listen()?;
        // A limit beyond the host's memory is none that the sentry could meet.
        let limit = limits.and_then(|limits| limits.memory().as_ref()).and_then(|memory| memory.limit());
        let stand_in = match &self.record.cgroup {
            Some(cgroup) if limit == Some(settings.memory.cast_signed()) => oom::start(cgroup)?,
            _ => None,
        };
        let fds = SandboxFds {
            kvm: self.kvm.as_fd(),
            log: self.log.as_fd(),
            root: Tree { fd: self.bundle.rootfs.as_fd(), readonly: self.bundle.readonly() || overlaid },
            mounts: trees.iter().map(|tree| Tree { fd: tree.fd.as_fd(), readonly: tree.readonly }).collect(),
            streams: streams.all.iter().map(AsFd::as_fd).collect(),
            terminal: streams.terminal.as_ref().map(AsFd::as_fd),
            listener: Some(listener.as_fd()),
            held: vec![self.alive.as_fd()],
            stand_in: stand_in.as_ref().map(AsFd::as_fd),
        };
        // Only who looks at the process from outside needs it to have a network namespace.
        let _namespace = self.held.then(|| Namespace::enter(linux)).transpose()?;
        let sandbox = vmm::spawn(&settings, &fds).context("cannot start the sandbox process")?;
        timing::phase("sandbox-spawned");
        self.caller = streams.caller;
        Ok(sandbox)
    }

    /// Records the sandbox, runs the hooks, and waits until the first process is ready.
    fn bring_up(&mut self, sandbox: &mut SandboxProcess) -> Result<()> {
        self.record.pid = sandbox.pid();
        if let Some(cgroup) = &self.record.cgroup {
            cgroup.add(sandbox.pid())?;
        }
        self.container.write(&self.lock, &self.record)?;
        for point in [Point::Prestart, Point::CreateRuntime, Point::CreateContainer] {
            hooks::run(&self.container, &self.record, point)?;
        }
        if self.held {
            await_creation(sandbox)?;
        }
        self.record.complete = true;
        self.container.write(&self.lock, &self.record)?;
        if let Some(path) = &self.options.pid_file {
            write_pid_file(path, sandbox.pid())?;
        }
        if self.detached {
            sandbox.control().send(&ToSandbox::Detach).context("sandbox")?;
        }
        Ok(())
    }

    /// Its cgroup: where the bundle says, or where limits need one.
    fn cgroup(&self) -> Result<Option<Cgroup>> {
        let Some(linux) = self.bundle.spec.linux() else { return Ok(None) };
        let limited = linux.resources().as_ref().is_some_and(|resources| {
            resources.memory().is_some() || resources.pids().is_some() || resources.cpu().is_some()
        });
        match linux.cgroups_path() {
            Some(path) if !path.as_os_str().is_empty() => match systemd_scope(path) {
                Some(path) => Cgroup::at(&path),
                None => Cgroup::at(path),
            },
            _ if limited => Cgroup::at(Path::new(&self.options.id)),
            _ => Ok(None),
        }
    }
}

/// Where a path in systemd's form, `slice:prefix:name`, lies in the tree. Without systemd's help: the directories are
/// made by hand.
fn systemd_scope(path: &Path) -> Option<PathBuf> {
    let text = path.to_str()?;
    let [slice, prefix, name] = text.split(':').collect::<Vec<_>>().try_into().ok()?;
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    let stem = slice.strip_suffix(".slice").unwrap_or(slice);
    // `a-b.slice` lies in `a.slice`.
    let mut path = PathBuf::new();
    let mut so_far = String::new();
    for part in stem.split('-').filter(|part| !part.is_empty()) {
        if !so_far.is_empty() {
            so_far.push('-');
        }
        so_far.push_str(part);
        path.push(format!("{so_far}.slice"));
    }
    path.push(if prefix.is_empty() { name.to_owned() } else { format!("{prefix}-{name}.scope") });
    Some(path)
}

/// Waits until the first process is ready to go.
fn await_creation(sandbox: &mut SandboxProcess) -> Result<()> {
    loop {
        match sandbox.control().receive().context("sandbox")? {
            Some(FromSandbox::Created) => return Ok(()),
            Some(FromSandbox::Ready | FromSandbox::OutOfMemory { .. }) => {}
            Some(FromSandbox::StartFailed { errno, message }) => bail!(failure::start(errno, &message)),
            Some(FromSandbox::Failed { message }) => bail!("{message}"),
            Some(FromSandbox::Exited { .. }) => bail!("the container ended before it was started"),
            None => {
                let ended = sandbox.wait().context("wait for the sandbox process")?;
                bail!("the sandbox ended without a word ({ended}); its log may tell more")
            }
        }
    }
}

/// Why a sandbox that was killed would have ended anyway. A hook may have failed for no other reason than that it was
/// gone.
fn last_words(sandbox: &SandboxProcess) -> Option<anyhow::Error> {
    loop {
        match sandbox.control().receive().ok()?? {
            FromSandbox::StartFailed { errno, message } => {
                return Some(anyhow!(failure::start(errno, &message)));
            }
            FromSandbox::Failed { message } => return Some(anyhow!(message)),
            _ => {}
        }
    }
}

/// Writes a process id as a whole.
pub(crate) fn write_pid_file(path: &Path, pid: u32) -> Result<()> {
    let name = path.file_name().context("--pid-file: not a file")?.to_string_lossy();
    let new = path.with_file_name(format!(".{name}"));
    fs::write(&new, pid.to_string())
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("--pid-file {}", path.display()))
}

/// The name of the caller.
fn owner() -> String {
    let uid = nix::unistd::getuid();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// What the sentry cannot make itself on a read-only root.
fn make_mount_points(bundle: &Bundle, trees: &[translate::BindTree]) -> Result<()> {
    let mut trees = trees.iter();
    let mut points = Vec::new();
    for mount in bundle.spec.mounts().iter().flatten() {
        let directory = !translate::is_bind(mount)
            || trees.next().is_none_or(|tree| {
                fstat(&tree.fd).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
            });
        points.push((mount.destination().clone(), directory));
    }
    mountpoints::make(bundle.rootfs.as_fd(), &points).map_err(|(index, errno)| {
        anyhow!("config.json: mounts[{index}].destination: {}: {}", points[index].0.display(), errno.desc())
    })
}

/// Where the sandbox log goes.
fn sandbox_log(global: &Global, id: &str) -> Result<OwnedFd> {
    if let Some(path) = &global.sandbox_log {
        let path = path.to_string_lossy().replace("%ID%", id);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        return Ok(file.with_context(|| format!("--sandbox-log {path}"))?.into());
    }
    if global.debug || global.strace || timing::enabled() {
        return Ok(std::io::stderr().as_fd().try_clone_to_owned()?);
    }
    Ok(File::options().write(true).open(Path::new("/dev/null"))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_lie_in_their_slices() {
        let place = |text: &str| systemd_scope(Path::new(text));
        assert_eq!(place("/docker/x"), None);
        assert_eq!(place("system.slice:docker:x"), Some("system.slice/docker-x.scope".into()));
        assert_eq!(place("a-b.slice:cri:x"), Some("a.slice/a-b.slice/cri-x.scope".into()));
        assert_eq!(place(":docker:x"), Some("system.slice/docker-x.scope".into()));
    }
}
