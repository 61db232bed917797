//! `run`: a container in the foreground, from bundle to exit status.

use std::{
    fs::{self, File, OpenOptions},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::stat::fstat;
use oci_spec::runtime::{LinuxResources, Spec};
use vmm::{SandboxFds, SandboxProcess, SandboxSettings, Tree, config::FromSandbox};

use crate::{
    bundle::{Bundle, check_id},
    check,
    cli::{Global, Run},
    mountpoints,
    signals::Signals,
    state::{Owned, State},
    timing, translate,
};

/// Least guest memory, bytes: room for the sentry and one small program.
const MIN_MEMORY: u64 = 32 << 20;

/// Runs a container; gives the exit status of its first process.
pub(crate) fn run(global: &Global, options: &Run) -> Result<i32> {
    check_id(&options.id)?;
    let bundle = Bundle::open(&options.bundle)?;
    let kvm = check::open_kvm()?;
    let streams = streams(options.preserve_fds)?;
    let (start, trees) = translate::sandbox(&bundle, streams.len() as u32)?;
    let settings = settings(global, &bundle.spec, start)?;
    let log = sandbox_log(global, &options.id)?;
    if bundle.readonly() {
        make_mount_points(&bundle, &trees)?;
    }
    timing::phase("config-parsed");

    let owned = Owned::create(&global.root, &options.id, options.keep)?;
    let signals = Signals::block()?;
    let fds = SandboxFds {
        kvm: kvm.as_fd(),
        log: log.as_fd(),
        root: Tree { fd: bundle.rootfs.as_fd(), readonly: bundle.readonly() },
        mounts: trees.iter().map(|tree| Tree { fd: tree.fd.as_fd(), readonly: tree.readonly }).collect(),
        streams: streams.iter().map(AsFd::as_fd).collect(),
    };
    let mut sandbox = vmm::spawn(&settings, &fds).context("cannot start the sandbox process")?;
    timing::phase("sandbox-spawned");
    let result = attend(&mut sandbox, &owned, &bundle, options, &signals);
    if result.is_err() {
        let _ = sandbox.kill();
    }
    let ended = sandbox.wait().context("wait for the sandbox process")?;
    timing::phase("exited");
    drop(owned);
    if let Some(path) = &options.pid_file {
        let _ = fs::remove_file(path);
    }
    timing::phase("cleaned");
    match result? {
        Some(status) => Ok(status),
        // `kill ID KILL` and the host's OOM killer end the sandbox as runc's init would end.
        None if ended.signal() == Some(libc::SIGKILL) => Ok(128 + libc::SIGKILL),
        None => bail!("the sandbox ended without a word ({ended}); its log may tell more"),
    }
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

/// Records the container, then forwards signals until it ends. Its exit status, if the sandbox lived to tell it.
fn attend(
    sandbox: &mut SandboxProcess,
    owned: &Owned,
    bundle: &Bundle,
    options: &Run,
    signals: &Signals,
) -> Result<Option<i32>> {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    owned.write(&State {
        oci_version: bundle.spec.version().clone(),
        id: options.id.clone(),
        pid: sandbox.pid(),
        attendant: std::process::id(),
        bundle: bundle.path.clone(),
        created,
        annotations: bundle.spec.annotations().clone().unwrap_or_default(),
    })?;
    if let Some(path) = &options.pid_file {
        fs::write(path, sandbox.pid().to_string())
            .with_context(|| format!("--pid-file {}", path.display()))?;
    }
    loop {
        wait_for(sandbox.control().as_fd(), signals)?;
        while let Some(signal) = signals.next() {
            // The container may have ended meanwhile; its last message tells.
            let _ = sandbox.control().signal(signal, false);
        }
        if !readable(sandbox.control().as_fd()) {
            continue;
        }
        match sandbox.control().receive().context("sandbox")? {
            Some(FromSandbox::Ready) => timing::phase("ready"),
            Some(FromSandbox::OutOfMemory { kills }) => {
                log::warn!("the container has no memory left; {kills} processes were killed so far");
            }
            Some(FromSandbox::Exited { wait_status }) => return Ok(Some(exit_status(wait_status))),
            Some(FromSandbox::StartFailed { errno, message }) => {
                let error = std::io::Error::from_raw_os_error(errno.cast_signed());
                bail!("{message}: {}", check::message(&error))
            }
            Some(FromSandbox::Failed { message }) => bail!("{message}"),
            None => return Ok(None),
        }
    }
}

/// What a shell reports for a wait status.
const fn exit_status(wait_status: i32) -> i32 {
    let signal = wait_status & 0x7f;
    if signal == 0 { wait_status >> 8 & 0xff } else { 128 + signal }
}

fn poll(fds: &mut [libc::pollfd], timeout: i32) -> i32 {
    // SAFETY: the slice is valid for its length.
    #[allow(unsafe_code, reason = "poll(2) on borrowed descriptors")]
    unsafe {
        libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout)
    }
}

const fn entry(fd: i32) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Waits until the sandbox says something or a signal comes.
fn wait_for(control: BorrowedFd<'_>, signals: &Signals) -> Result<()> {
    let mut fds = [entry(control.as_raw_fd()), entry(signals.raw())];
    if poll(&mut fds, -1) < 0 {
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error).context("poll");
        }
    }
    Ok(())
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    poll(&mut [entry(fd.as_raw_fd())], 0) > 0
}

/// Standard input, output, error, and what `--preserve-fds` adds; a closed one becomes `/dev/null`.
fn streams(preserved: u32) -> Result<Vec<OwnedFd>> {
    (0..3 + preserved as i32)
        .map(|number| {
            // SAFETY: a number that is not open gives an error below and is not used.
            #[allow(unsafe_code, reason = "inherited descriptors are known by number only")]
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            match fd.try_clone_to_owned() {
                Ok(fd) => Ok(fd),
                Err(_) if number < 3 => {
                    Ok(OpenOptions::new().read(true).write(true).open("/dev/null")?.into())
                }
                Err(error) => Err(error).with_context(|| format!("--preserve-fds: descriptor {number}")),
            }
        })
        .collect()
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

fn settings(global: &Global, spec: &Spec, start: hostcall::SandboxSpec) -> Result<SandboxSettings> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    Ok(SandboxSettings {
        memory: memory(resources)?,
        cpus: cpus(resources),
        log_level: if global.debug { 4 } else { 3 },
        strace: global.strace,
        timing: timing::enabled(),
        exit_on_disconnect: true,
        start,
    })
}

/// Guest memory, backed only where it is used: the limit; without one that the host could hold, three quarters of what
/// the host has, so that a container without a limit runs out of memory before the host does.
fn memory(resources: Option<&LinuxResources>) -> Result<u64> {
    let limit =
        resources.and_then(|r| r.memory().as_ref()).and_then(|m| m.limit()).filter(|&limit| limit > 0);
    if let Some(limit) = limit
        && (limit as u64) < MIN_MEMORY
    {
        bail!(
            "config.json: linux.resources.memory.limit: {limit} is less than the {MIN_MEMORY} bytes needed"
        );
    }
    let pages = nix::unistd::sysconf(nix::unistd::SysconfVar::_PHYS_PAGES)?.unwrap_or(0).max(0) as u64;
    let host = pages * 4096;
    let share = (host / 4 * 3).max(MIN_MEMORY);
    Ok(limit.map(|limit| limit as u64).filter(|&limit| limit <= host).unwrap_or(share))
}

/// vCPUs: what the caller may use, cut by the quota.
fn cpus(resources: Option<&LinuxResources>) -> u32 {
    let here = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).map_or(1, |set| {
        (0..nix::sched::CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).count()
    });
    let quota = resources
        .and_then(|r| r.cpu().as_ref())
        .and_then(|cpu| Some((cpu.quota()?, cpu.period().unwrap_or(100_000))))
        .filter(|&(quota, period)| quota > 0 && period > 0)
        .map_or(usize::MAX, |(quota, period)| (quota as u64).div_ceil(period) as usize);
    here.min(quota).clamp(1, hostcall::MAX_CPUS) as u32
}

#[cfg(test)]
mod tests {
    use super::exit_status;

    #[test]
    fn statuses_are_a_shells() {
        assert_eq!(exit_status(0), 0);
        assert_eq!(exit_status(7 << 8), 7);
        assert_eq!(exit_status(9), 137);
        assert_eq!(exit_status(11 | 0x80), 139);
    }
}
