//! Main of a sandbox process.
//!
//! Order matters. Trees are cloned and the jail is entered while there is one thread; the file broker's thread starts
//! before the others lose their capabilities; the machine is made inside the jail; threads are started, which inherit the
//! empty capability sets; the filter is loaded into all of them; only then does the guest run. The main thread becomes the
//! I/O thread: it waits for armed streams and for the runtime.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    sync::{
        Arc, Barrier, Mutex, Once, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread,
};

use hostcall::{Command, MAX_CPUS, MAX_STREAMS, ROOT_HANDLE, Recipient};
use rustix::{event::epoll, io::Errno};

use crate::{
    boot::{Boot, Settings},
    broker::Broker,
    clients::{self, Clients},
    config::{self, FromSandbox, HostTree, MAX_MESSAGE, SandboxConfig, ToSandbox},
    control::Phase,
    counts::Counts,
    cpu::Start,
    error::{Context, Error},
    events::Events,
    filter,
    image::{Image, Program, SENTRY},
    jail,
    log::{Log, monotonic},
    marks,
    memory::Memory,
    network::Network,
    server::{
        Server,
        files::Files,
        fs::{attributes, kind},
        handles::{Handles, Object},
        stream::{Stream, Streams},
    },
    spawn::{self, send_packet},
    stand_in::StandIn,
    vcpu::{self, Waiting},
    vm::{self, Vm},
};

/// Smallest guest.
const MIN_MEMORY: u64 = 16 << 20;
/// Guest memory comes in pieces of this.
const MEMORY_STEP: u64 = 2 << 20;
/// Stack of a vCPU thread in bytes.
const THREAD_STACK: usize = 128 * 1024;

/// A running sandbox, as its threads see it.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) vm: Vm,
    pub(crate) server: Server,
    pub(crate) log: Arc<Log>,
    pub(crate) start: Start,
    pub(crate) slide: u64,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) clients: Clients,
    control: Control,
    stand_in: Option<StandIn>,
    /// A [`Phase`].
    phase: AtomicU8,
    /// It lives on without the process that started it.
    detached: AtomicBool,
    /// Where the kernel tells that its terminal changed its size, if it has one.
    signals: Option<OwnedFd>,
    /// For as long as it lives.
    _held: Vec<OwnedFd>,
}

/// The sandbox's end of the control socket; the last message is sent once.
#[derive(Debug)]
struct Control {
    socket: OwnedFd,
    over: Mutex<bool>,
}

impl Control {
    fn send(&self, message: &FromSandbox) {
        if let Ok(bytes) = config::encode(message) {
            // A runtime that is gone needs no answer.
            drop(send_packet(self.socket.as_fd(), &bytes));
        }
    }

    /// Sends the last message and ends the process. Of several threads that do so the first one wins.
    fn finish(&self, message: &FromSandbox, status: i32) -> ! {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if !*over {
            *over = true;
            self.send(message);
        }
        // SAFETY: exit_group takes no pointer. Nothing of this process needs tearing down.
        unsafe { libc::_exit(status) }
    }
}

impl Sandbox {
    /// How far the container has come.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Creating,
            1 => Phase::Created,
            _ => Phase::Running,
        }
    }

    /// The first process is ready and waits.
    pub(crate) fn created(&self) {
        let phases = (Phase::Creating as u8, Phase::Created as u8);
        if self.phase.compare_exchange(phases.0, phases.1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.log.timing("created");
            self.control.send(&FromSandbox::Created);
        }
    }

    /// Lets the first process go.
    pub(crate) fn go(&self) -> Result<(), Errno> {
        let phases = (Phase::Created as u8, Phase::Running as u8);
        match self.phase.compare_exchange(phases.0, phases.1, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => self.command(&Command::Go),
            Err(_) => Err(Errno::INVAL),
        }
    }

    fn watch_signals(&self) -> Result<(), Errno> {
        let Some(signals) = &self.signals else { return Ok(()) };
        let data = epoll::EventData::new_u64(marks::SIGNALS);
        epoll::add(&self.server.epoll, signals, data, epoll::EventFlags::IN)
    }

    /// The terminal changed its size.
    fn resized(&self) -> Result<(), Errno> {
        let Some(signals) = &self.signals else { return Ok(()) };
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        rustix::io::read(signals, &mut info)?;
        self.command(&Command::Resize { of: Recipient::First })
    }

    /// Queues a command for the sentry.
    pub(crate) fn command(&self, command: &Command) -> Result<(), Errno> {
        self.server.events.command(hostcall::encode_command(command).map_err(|_| Errno::NOMEM)?)
    }

    /// The first process ended.
    pub(crate) fn exit(&self, wait_status: i32) -> ! {
        self.log.timing("exit");
        if let Some(stand_in) = &self.stand_in {
            stand_in.settle();
        }
        self.control.finish(&FromSandbox::Exited { wait_status }, config::exit_status(wait_status))
    }

    /// A process was killed for want of memory.
    pub(crate) fn out_of_memory(&self, kills: u64) {
        self.control.send(&FromSandbox::OutOfMemory { kills });
        self.clients.out_of_memory(kills);
        if let Some(stand_in) = &self.stand_in {
            stand_in.tell(kills);
        }
    }

    /// The first process cannot be started.
    pub(crate) fn start_failed(&self, errno: u32, message: String) -> ! {
        self.control.finish(&FromSandbox::StartFailed { errno, message }, config::STATUS_FAILED)
    }

    /// The sandbox cannot go on.
    pub(crate) fn fail(&self, message: &str) -> ! {
        self.log.line(1, message);
        self.control.finish(&FromSandbox::Failed { message: message.into() }, config::STATUS_FAILED)
    }
}

/// Main of a sandbox process; `config_fd` is the number that [`config::SANDBOX_VARIABLE`] gives. Never returns.
pub fn sandbox_main(config_fd: i32) -> ! {
    let start = monotonic();
    block_signals();
    spawn::take_name();
    let Ok(config) = read_config(config_fd) else { std::process::exit(config::STATUS_FAILED) };
    let control = Control { socket: inherited(config.control), over: Mutex::new(false) };
    let timing = config.timing.then_some(start);
    let log = Arc::new(Log::new(File::from(inherited(config.log)), config.log_level, !config.strace, timing));
    log.timing("config");
    match prepare(&config, &log) {
        Ok(parts) => {
            let sandbox = Sandbox {
                vm: parts.vm,
                server: parts.server,
                start: parts.boot.start,
                slide: parts.boot.slide,
                waiting: (0..config.cpus).map(|_| Waiting::default()).collect(),
                clients: Clients::new(config.listener.map(inherited)),
                stand_in: config.stand_in.map(inherited).map(StandIn::new),
                phase: AtomicU8::new(if config.hold { Phase::Creating } else { Phase::Running } as u8),
                detached: AtomicBool::new(false),
                signals: if config.terminal { resizes() } else { None },
                _held: config.held.iter().map(|fd| inherited(*fd)).collect(),
                log,
                control,
            };
            serve(&Arc::new(sandbox), parts.vcpu)
        }
        Err(error) => {
            log.line(1, &error.to_string());
            control.finish(&FromSandbox::Failed { message: error.to_string() }, config::STATUS_FAILED)
        }
    }
}

/// Takes over a descriptor that the configuration names.
fn inherited(fd: i32) -> OwnedFd {
    // SAFETY: the runtime opened it for this process, and the configuration names each of them once.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // It must not survive; nothing is ever executed, but the sign is cheap and true.
    let _ = rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC);
    fd
}

fn read_config(fd: i32) -> Result<SandboxConfig, Error> {
    let file = File::from(inherited(fd));
    let len = file.metadata().system("read the configuration")?.len();
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).system("read the configuration")?;
    config::decode(&bytes).map_err(|e| Error::Config(e.to_string()))
}

/// What is made before threads start.
struct Parts {
    vm: Vm,
    server: Server,
    boot: Boot,
    vcpu: kvm_ioctls::VcpuFd,
}

fn prepare(config: &SandboxConfig, log: &Arc<Log>) -> Result<Parts, Error> {
    if config.cpus == 0 || config.cpus as usize > MAX_CPUS {
        return Err(Error::Config(format!("{} CPUs; 1 to {MAX_CPUS} are possible", config.cpus)));
    }
    if config.streams.len() > MAX_STREAMS {
        return Err(Error::Config(format!("more than {MAX_STREAMS} streams")));
    }
    let bytes = config.memory.max(MIN_MEMORY).next_multiple_of(MEMORY_STEP);
    let descriptors = jail::descriptors()?;
    let program = Program::open()?;
    let root = tree(config.root)?;
    let mounts = config.mounts.iter().map(|mount| tree(*mount)).collect::<Result<Vec<_>, _>>()?;
    let kvm = inherited(config.kvm);
    let limit = jail::limits()?;
    jail::enter()?;
    let broker = Broker::start(descriptors.try_clone().system("duplicate a descriptor")?)?;
    jail::drop_capabilities()?;
    log.timing("jail");

    let vm = Vm::new(kvm, config.cpus)?;
    if let [first, ..] = vm.features.missing()[..] {
        return Err(Error::Config(format!("this CPU lacks {first}, which the sentry's protection needs")));
    }
    log.timing("vm");
    let memory = Arc::new(Memory::new(bytes, config.window_len)?);
    vm.map(&memory)?;
    log.timing("memory");
    let image = Image::parse(SENTRY)?;
    let settings = Settings { cpus: config.cpus, log_level: config.log_level, strace: config.strace };
    let mut boot = Boot::build(&memory, &image, &vm.features, settings, Some(&program))?;
    let vcpu = vcpu::boot(&vm, &boot.start)?;
    boot.finish(&memory, vm::clocks(&vcpu)?)?;
    log.timing("image");

    let handles = Handles::new(limit);
    for (expected, object) in (ROOT_HANDLE..).zip([root].into_iter().chain(mounts)) {
        if handles.insert(object).system("handle of a host tree")? != expected {
            return Err(Error::Config("host trees got unexpected handles".into()));
        }
    }
    let events = Events::new(memory.clone(), boot.events, vm.event_interrupt()?);
    events.command(config.start.clone()).system("queue the first command")?;
    let streams = config
        .streams
        .iter()
        .map(|fd| Stream::new(inherited(*fd)))
        .collect::<Result<Vec<_>, Errno>>()
        .system("examine a stream")?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).system("epoll_create")?;
    let server = Server {
        calls: boot.calls,
        cpus: config.cpus,
        counts: Counts::new(config.cpus),
        log: log.clone(),
        first_command: Once::new(),
        memory,
        events,
        handles,
        files: Files::new(descriptors, Some(broker)),
        streams: Streams::new(streams),
        epoll,
        network: config.network.then(|| vm.network_doorbell().map(Network::new)).transpose()?,
    };
    Ok(Parts { vm, server, boot, vcpu })
}

/// Clones a tree for the jail.
fn tree(tree: HostTree) -> Result<Object, Error> {
    let fd = jail::clone_tree(inherited(tree.fd))?;
    let attr = attributes(&fd).system("examine a host tree")?;
    Ok(Object::path(fd, kind(attr.mode), tree.readonly))
}

/// Starts the threads, closes the jail and becomes the I/O thread.
fn serve(sandbox: &Arc<Sandbox>, boot: kvm_ioctls::VcpuFd) -> ! {
    // The vCPU threads meet the main thread here twice: when each has done what a thread does at its start,
    // which the filter would not allow, and when the filter is loaded.
    let gate = Arc::new(Barrier::new(sandbox.waiting.len() + 1));
    let mut boot = Some(boot);
    for index in 0..sandbox.server.cpus {
        let (sandbox_of, gate, vcpu) = (sandbox.clone(), gate.clone(), boot.take());
        let body = move || {
            gate.wait();
            gate.wait();
            match vcpu {
                Some(vcpu) => vcpu::run(&sandbox_of, index, vcpu),
                None => vcpu::secondary(&sandbox_of, index),
            }
        };
        let made = thread::Builder::new().name(format!("vcpu{index}")).stack_size(THREAD_STACK).spawn(body);
        if let Err(error) = made {
            sandbox.fail(&format!("start a vCPU thread: {error}"));
        }
    }
    gate.wait();
    let data = epoll::EventData::new_u64(marks::CONTROL);
    let watched = epoll::add(
        &sandbox.server.epoll,
        &sandbox.control.socket,
        data,
        epoll::EventFlags::IN | epoll::EventFlags::RDHUP,
    );
    let closed = watched
        .system("watch the control socket")
        .and_then(|()| sandbox.clients.watch(&sandbox.server.epoll).system("watch for connections"))
        .and_then(|()| sandbox.watch_signals().system("watch for signals"))
        .and_then(|()| match &sandbox.server.network {
            Some(network) => network.watch(&sandbox.server.epoll).system("watch for frames"),
            None => Ok(()),
        })
        .and_then(|()| jail::no_more_threads())
        .and_then(|()| filter::load());
    if let Err(error) = closed {
        sandbox.fail(&error.to_string());
    }
    sandbox.log.timing("jailed");
    sandbox.control.send(&FromSandbox::Ready);
    sandbox.log.timing("run");
    gate.wait();
    watch(sandbox)
}

/// The I/O thread.
fn watch(sandbox: &Sandbox) -> ! {
    let mut buffer = vec![0; MAX_MESSAGE];
    let mut events = Vec::with_capacity(MAX_STREAMS + 1);
    loop {
        events.clear();
        let waited = epoll::wait(&sandbox.server.epoll, rustix::buffer::spare_capacity(&mut events), None);
        match waited {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => sandbox.fail(&format!("epoll_wait: {error}")),
        }
        for event in &events {
            let done = match event.data.u64() {
                marks::CONTROL => control(sandbox, &mut buffer),
                marks::FRAMES | marks::DOORBELL => frames(sandbox),
                marks::LISTENER => sandbox.clients.accept(&sandbox.server.epoll),
                marks::SIGNALS => sandbox.resized(),
                client @ marks::FIRST_CLIENT.. => {
                    clients::serve(sandbox, client - marks::FIRST_CLIENT, &mut buffer)
                }
                stream => sandbox.server.events.stream(u32::try_from(stream).unwrap_or(0)),
            };
            if let Err(error) = done {
                sandbox.log.line(2, &format!("event not delivered: {error}"));
            }
        }
    }
}

/// Moves frames.
fn frames(sandbox: &Sandbox) -> Result<(), Errno> {
    let server = &sandbox.server;
    match &server.network {
        Some(network) => network.serve(&server.memory, &server.events, &server.epoll),
        None => Ok(()),
    }
}

/// Takes one message of the runtime.
fn control(sandbox: &Sandbox, buffer: &mut [u8]) -> Result<(), Errno> {
    let socket = &sandbox.control.socket;
    // SAFETY: the buffer is valid for writes of its length.
    let n = unsafe {
        libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
    };
    match usize::try_from(n) {
        Ok(n) if n > 0 => match config::decode(&buffer[..n]) {
            Ok(ToSandbox::Signal(signal)) => {
                sandbox.command(&Command::Signal { signal, to: Recipient::First })
            }
            Ok(ToSandbox::Resize) => sandbox.command(&Command::Resize { of: Recipient::First }),
            Ok(ToSandbox::Go) => sandbox.go(),
            Ok(ToSandbox::Detach) => {
                sandbox.detached.store(true, Ordering::SeqCst);
                Ok(())
            }
            Err(_) => Err(Errno::BADMSG),
        },
        _ if n < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock => Ok(()),
        _ if !sandbox.detached.load(Ordering::SeqCst) => sandbox.fail("the runtime is gone"),
        _ => epoll::delete(&sandbox.server.epoll, socket),
    }
}

/// A descriptor that becomes readable when the terminal of this process's session changes its size.
fn resizes() -> Option<OwnedFd> {
    // SAFETY: the calls only write to the set that they are given, and an all-zero set is valid storage; signalfd makes
    // a new descriptor, which is nobody else's.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigaddset(&mut set, libc::SIGWINCH);
        let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    }
}

/// Blocks every signal for the threads that follow: a sandbox is told things by messages, or killed.
fn block_signals() {
    // SAFETY: both calls only write to the set that they are given; an all-zero set is valid storage.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&mut set);
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}
