//! The runtime's side: starting a sandbox process and talking to it.
//!
//! The child is made by re-executing this very program, so it has a fresh, separately randomised address
//! space and nothing but the descriptors listed in its configuration.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
};

use crate::config::{self, FromSandbox, HostTree, MAX_MESSAGE, SANDBOX_VARIABLE, SandboxConfig, ToSandbox};

/// A tree that the sandbox may reach.
#[derive(Debug)]
pub struct Tree<'a> {
    /// `O_PATH` descriptor of a directory or file.
    pub fd: BorrowedFd<'a>,
    /// Refuse changes.
    pub readonly: bool,
}

/// The descriptors of a sandbox.
#[derive(Debug)]
pub struct SandboxFds<'a> {
    /// `/dev/kvm`, read-write.
    pub kvm: BorrowedFd<'a>,
    /// Where the sandbox log goes.
    pub log: BorrowedFd<'a>,
    /// The container's root directory.
    pub root: Tree<'a>,
    /// Further trees, in the order of their handles.
    pub mounts: Vec<Tree<'a>>,
    /// Streams; the first three are standard input, output and error.
    pub streams: Vec<BorrowedFd<'a>>,
    /// The listening [control socket](crate::control), if there is one.
    pub listener: Option<BorrowedFd<'a>>,
    /// What the sandbox only holds for as long as it lives.
    pub held: Vec<BorrowedFd<'a>>,
    /// Socket to the process that is killed by the host when the sentry kills one for want of memory, if there is one:
    /// packets of eight bytes each way, and a time limit for receiving.
    pub stand_in: Option<BorrowedFd<'a>>,
    /// The terminal of the host that the first streams are, if it is the sandbox's alone: that of its session.
    pub terminal: Option<BorrowedFd<'a>>,
}

/// The parts of a [`SandboxConfig`] that are not descriptors.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// Guest memory in bytes.
    pub memory: u64,
    /// vCPUs.
    pub cpus: u32,
    /// Log level, 0 off … 5 trace.
    pub log_level: u32,
    /// Print every system call to the log.
    pub strace: bool,
    /// Print `timing` lines to the log.
    pub timing: bool,
    /// It may get a network interface.
    pub network: bool,
    /// What to run. The first process's arguments are the sandbox process's own as well.
    pub start: hostcall::SandboxSpec,
}

/// A running sandbox process, seen by the process that started it.
#[derive(Debug)]
pub struct SandboxProcess {
    child: Child,
    control: Control,
}

/// The runtime's end of a control socket.
#[derive(Debug)]
pub struct Control(OwnedFd);

impl Control {
    /// Wraps a connected `SOCK_SEQPACKET` socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Waits for the next message; `None` when the sandbox is gone.
    ///
    /// # Errors
    /// When the socket fails or the message is malformed.
    pub fn receive(&self) -> io::Result<Option<FromSandbox>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            // SAFETY: the buffer is valid for writes of its length.
            let n = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            match usize::try_from(n) {
                Ok(0) => return Ok(None),
                Ok(n) => return config::decode(&buffer[..n]).map(shown).map(Some).map_err(io::Error::other),
                Err(_) => {
                    let error = io::Error::last_os_error();
                    match error.kind() {
                        io::ErrorKind::Interrupted => {}
                        io::ErrorKind::ConnectionReset => return Ok(None),
                        _ => return Err(error),
                    }
                }
            }
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the sandbox is gone.
    pub fn send(&self, message: &ToSandbox) -> io::Result<()> {
        send_packet(self.0.as_fd(), &config::encode(message).map_err(io::Error::other)?)
    }
}

/// A message with its text made fit to be shown.
fn shown(message: FromSandbox) -> FromSandbox {
    match message {
        FromSandbox::StartFailed { errno, message } => {
            FromSandbox::StartFailed { errno, message: config::one_line(&message) }
        }
        FromSandbox::Failed { message } => FromSandbox::Failed { message: config::one_line(&message) },
        message => message,
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl SandboxProcess {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its control socket; readable when there is a message or the sandbox is gone.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Waits for the process to end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Ends the process at once.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }
}

/// Starts a sandbox process: this program, with [`SANDBOX_VARIABLE`] in its environment.
///
/// # Errors
/// When a descriptor cannot be made or the program cannot be started.
pub fn spawn(settings: &SandboxSettings, fds: &SandboxFds<'_>) -> io::Result<SandboxProcess> {
    spawn_program("/proc/self/exe".into(), settings, fds)
}

/// [`spawn`] with another program that calls [`sandbox_main`](crate::sandbox_main); for tests.
///
/// # Errors
/// When a descriptor cannot be made or the program cannot be started.
pub fn spawn_program(
    program: OsString,
    settings: &SandboxSettings,
    fds: &SandboxFds<'_>,
) -> io::Result<SandboxProcess> {
    let (ours, theirs) = socket_pair()?;
    let mut inherited = Inherited::default();
    let root = inherited.tree(&fds.root)?;
    let mounts = fds.mounts.iter().map(|tree| inherited.tree(tree)).collect::<io::Result<_>>()?;
    let start = hostcall::Command::Start(Box::new(settings.start.clone()));
    let config = SandboxConfig {
        memory: settings.memory,
        cpus: settings.cpus,
        window_len: config::DEFAULT_WINDOW_LEN,
        log_level: settings.log_level,
        strace: settings.strace,
        timing: settings.timing,
        listener: fds.listener.map(|fd| inherited.add(fd)).transpose()?,
        held: fds.held.iter().map(|fd| inherited.add(*fd)).collect::<io::Result<_>>()?,
        control: inherited.add(theirs.as_fd())?,
        log: inherited.add(fds.log)?,
        kvm: inherited.add(fds.kvm)?,
        root,
        mounts,
        streams: fds.streams.iter().map(|fd| inherited.add(*fd)).collect::<io::Result<_>>()?,
        hold: settings.start.hold,
        terminal: fds.terminal.is_some(),
        network: settings.network,
        stand_in: fds.stand_in.map(|fd| inherited.add(fd)).transpose()?,
        start: hostcall::encode_command(&start).map_err(io::Error::other)?,
    };
    let memfd = config_memfd(&config::encode(&config).map_err(io::Error::other)?)?;
    let config_fd = inherited.add(memfd.as_fd())?;
    let mut command = Command::new(program);
    entitle(&mut command, &settings.start.process.args);
    command
        .env_clear()
        .env(SANDBOX_VARIABLE, config_fd.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(terminal) = fds.terminal {
        lead_session(&mut command, terminal);
    }
    let child = command.spawn()?;
    Ok(SandboxProcess { child, control: Control(ours) })
}

/// Gives a program that is to stand for a process of a container that one's arguments.
pub fn entitle(command: &mut Command, args: &[Vec<u8>]) {
    let mut words = args.iter().map(|word| OsStr::from_bytes(word));
    command.arg0(words.next().unwrap_or_default()).args(words);
}

/// The other half of [`entitle`], in the program: its name follows from its arguments.
pub fn take_name() {
    let title = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&title).file_name().unwrap_or(&title).as_bytes().to_vec();
    if let Ok(name) = std::ffi::CString::new(name) {
        // A name is cut where it is too long.
        let _ = rustix::thread::set_name(&name);
    }
}

/// Makes a program the leader of a session with this terminal: the kernel tells it of changes of its size.
pub fn lead_session(command: &mut Command, terminal: BorrowedFd<'_>) {
    let terminal = terminal.as_raw_fd();
    let lead = move || {
        // SAFETY: neither call takes a pointer, and the descriptor stays open until the program is started.
        let led = unsafe { libc::setsid() >= 0 && libc::ioctl(terminal, libc::TIOCSCTTY, 0) == 0 };
        if led { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: two system calls and nothing else: safe between fork and exec.
    unsafe { command.pre_exec(lead) };
}

fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut pair = [-1; 2];
    // SAFETY: `pair` has room for the two descriptors.
    let result = unsafe {
        libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, pair.as_mut_ptr())
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so both are open and ours alone.
    Ok(pair.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).into())
}

/// Duplicates without close-on-exec. They live until the child has been started.
#[derive(Default)]
struct Inherited(Vec<OwnedFd>);

impl Inherited {
    fn add(&mut self, fd: BorrowedFd<'_>) -> io::Result<i32> {
        // SAFETY: F_DUPFD takes no pointer.
        let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD, 3) };
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, ours alone.
        self.0.push(unsafe { OwnedFd::from_raw_fd(copy) });
        Ok(copy)
    }

    fn tree(&mut self, tree: &Tree<'_>) -> io::Result<HostTree> {
        Ok(HostTree { fd: self.add(tree.fd)?, readonly: tree.readonly })
    }
}

fn config_memfd(bytes: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the name is a valid C string.
    let fd = unsafe { libc::memfd_create(c"ringfence-config".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, ours alone.
    let file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0)?;
    Ok(file.into())
}

/// Sends one packet without raising SIGPIPE.
pub(crate) fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    loop {
        // SAFETY: the buffer is valid for reads of its length.
        let n =
            unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
        if n >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
