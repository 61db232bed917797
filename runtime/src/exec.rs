//! Processes that are started in a container that runs, seen from outside.
//!
//! Each has a process on the host that stands for it: it forwards the signals it gets, ends when the process ends,
//! with its status, and when it is killed the process is killed too. Of `exec` in the foreground that is the command
//! itself; of a detached one it is a child of the command, with the process's arguments, whose standard input is the
//! connection to the sandbox. The caller of `exec --detach` inherits it, as it would inherit runc's.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use hostcall::{Answer, ProcessSpec};
use oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm::{
    config::exit_status,
    control::{Client, Reply, Request, Target},
};

use crate::{container::Container, failure, hooks, signals::Signals};

/// The variable of the environment by which the program knows that it is to stand for a process.
pub(crate) const ATTEND_VARIABLE: &str = "RINGFENCE_ATTEND";

/// A process in a container.
#[derive(Debug)]
pub(crate) struct Process(Client);

impl Process {
    /// Starts it; waits until it runs.
    pub(crate) fn start(
        container: &Container,
        spec: ProcessSpec,
        streams: &[BorrowedFd<'_>],
    ) -> Result<Self> {
        let client = container.connect()?;
        client.send(&Request::Exec(Box::new(spec)), streams).context("ask the sandbox")?;
        loop {
            match client.receive().context("sandbox")? {
                Some(Reply::Answer(Answer::Started { .. })) => return Ok(Self(client)),
                Some(Reply::Answer(Answer::Failed { errno, message })) => {
                    bail!("exec failed: {}", failure::start(errno, &message))
                }
                Some(Reply::Refused(errno)) => {
                    return Err(std::io::Error::from_raw_os_error(errno)).context("exec failed: the sandbox");
                }
                Some(_) => {}
                None => bail!("exec failed: the container has stopped"),
            }
        }
    }

    /// Hands it to a process of its own, which stands for it; that one's id. `terminal`: the host's end of the process's
    /// terminal, which is the new one's as well.
    pub(crate) fn detach(self, args: &[Vec<u8>], terminal: Option<BorrowedFd<'_>>) -> Result<u32> {
        let mut command = Command::new("/proc/self/exe");
        vmm::entitle(&mut command, args);
        match terminal {
            Some(terminal) => vmm::lead_session(&mut command, terminal),
            None => drop(command.process_group(0)),
        }
        let mut child = command
            .env_clear()
            .env(ATTEND_VARIABLE, "1")
            .current_dir("/")
            .stdin(Stdio::from(self.0.into_socket()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start the process that attends to it")?;
        // A signal must not come before it is ready for one.
        if let Some(mut ready) = child.stdout.take() {
            ready.read_exact(&mut [0]).context("the process that attends to it")?;
        }
        Ok(child.id())
    }

    /// Forwards signals until it ends; its exit status.
    pub(crate) fn attend(&self, signals: &Signals) -> Result<i32> {
        loop {
            self.wait(Some(signals), None)?;
            while let Some(signal) = signals.next() {
                let request = if signal == libc::SIGWINCH.unsigned_abs() {
                    Request::Resize
                } else {
                    Request::Signal { signal, to: Target::Own }
                };
                // It may have ended meanwhile.
                let _ = self.0.send(&request, &[]);
            }
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
        }
    }

    /// Waits for what the sandbox says or a signal, no longer than `limit`; false when that has passed.
    fn wait(&self, signals: Option<&Signals>, limit: Option<Duration>) -> Result<bool> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        fds.extend(signals.map(|signals| PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)));
        let limit = limit.map(Timespec::try_from).transpose().context("time limit")?;
        match poll(&mut fds, limit.as_ref()) {
            Ok(0) => Ok(false),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(true),
            Err(errno) => Err(errno).context("poll"),
        }
    }

    /// Its status, if the sandbox has something to say and says that.
    fn ended(&self) -> Result<Option<i32>> {
        let mut fds = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut fds, Some(&now)).unwrap_or(0) == 0 {
            return Ok(None);
        }
        match self.0.receive().context("sandbox")? {
            Some(Reply::Answer(Answer::Ended { wait_status })) => Ok(Some(exit_status(wait_status))),
            Some(_) => Ok(None),
            // The container has ended, and every process of it was killed.
            None => Ok(Some(128 + libc::SIGKILL)),
        }
    }
}

/// Main of the process that stands for a detached one. Its standard input is the connection.
pub(crate) fn attend() -> i32 {
    let attended = std::io::stdin().as_fd().try_clone_to_owned().context("standard input").and_then(
        |socket: OwnedFd| {
            vmm::take_name();
            let signals = Signals::block()?;
            // Who started it waits for this.
            std::io::stdout().write_all(b"\n").and_then(|()| std::io::stdout().flush()).context("say so")?;
            Process(Client::new(socket)).attend(&signals)
        },
    );
    attended.unwrap_or(128 + libc::SIGKILL)
}

/// Runs a `startContainer` hook: inside, as the superuser, with the state on standard input.
pub(crate) fn hook(container: &Container, hook: &Hook, state: &[u8]) -> Result<()> {
    let bytes = |strings: &Option<Vec<String>>| {
        strings.iter().flatten().map(|text| text.clone().into_bytes()).collect::<Vec<_>>()
    };
    let mut args = bytes(hook.args());
    let path = hook.path().to_string_lossy().into_owned().into_bytes();
    match args.first_mut() {
        // The sentry finds the program by its name.
        Some(name) => *name = path,
        None => args.push(path),
    }
    let spec = ProcessSpec {
        args,
        env: bytes(hook.env()),
        cwd: b"/".to_vec(),
        umask: 0o022,
        capabilities: [(1 << 41) - 1; 5],
        ..ProcessSpec::default()
    };
    let mut input = state_file(state)?;
    input.seek(SeekFrom::Start(0)).context("state")?;
    let null = File::options().read(true).write(true).open("/dev/null").context("/dev/null")?;
    let process = Process::start(container, spec, &[input.as_fd(), null.as_fd(), null.as_fd()])?;
    let (started, limit) = (Instant::now(), hooks::limit(hook));
    loop {
        let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
        let said = process.wait(None, left)?;
        match process.ended()? {
            Some(0) => return Ok(()),
            Some(status) => bail!("exit status {status}"),
            // It is killed when the connection is closed.
            None if !said => {
                bail!("hook ran past specified timeout of {:.1}s", limit.unwrap_or_default().as_secs_f64())
            }
            None => {}
        }
    }
}

/// A file in memory that holds the state.
fn state_file(state: &[u8]) -> Result<File> {
    let fd = rustix::fs::memfd_create(c"state", rustix::fs::MemfdFlags::CLOEXEC).context("memfd_create")?;
    let mut file = File::from(fd);
    file.write_all(state).context("state")?;
    Ok(file)
}
