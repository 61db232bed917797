//! The first process, and what the host says afterwards.

use alloc::{string::String, sync::Arc, vec::Vec};
use hostcall::{Command, EventFlags, Hostcall, ProcessSpec, SandboxSpec, decode_command};
use linux_raw_sys::general::{O_NONBLOCK, O_RDONLY};

use super::{
    Parts, Process, Task,
    cred::{Caps, Cred},
    exec::{self, Request},
    rlimit::{COUNT, Resource, Rlimit, Rlimits},
    sched, tree,
};
use crate::{
    arch::{self, UserRegs, context::ThreadContext},
    errno::{Errno, Result},
    fs::{self, FdTable, FsContext, perm::Who, walk::Lookup},
    mem::{PAGE_SIZE, frame, kstack::KernelStack},
    signal::{self, SigInfo},
    syscall::strace,
};

/// Pages of the buffer for commands, as a power of two, from the first try to the last.
const COMMAND_ORDERS: core::ops::RangeInclusive<u32> = 4..=8;
/// Where programs are looked for when the environment has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of `/etc/passwd` is looked at.
const MAX_PASSWD: usize = 1 << 20;

/// Why the first process does not start.
struct Failure {
    errno: Errno,
    what: String,
}

fn failure(what: impl Into<String>) -> impl FnOnce(Errno) -> Failure {
    move |errno| Failure { errno, what: what.into() }
}

/// Takes the start command and makes the first process. When that fails, tells the host and ends the sandbox.
pub fn init() {
    if arch::boot_info().flags & hostcall::BootFlags::STRACE.bits() != 0 {
        strace::enable();
    }
    match start() {
        Ok(task) => {
            sched::spawn(task);
            // The start command was announced before this CPU could be interrupted. The host announces
            // nothing more until that is taken.
            on_host_event();
        }
        Err(failure) => report(&failure),
    }
}

fn start() -> core::result::Result<Arc<Task>, Failure> {
    match take_command().map_err(failure("the start command"))? {
        Some(Command::Start(spec)) => first_process(&spec),
        _ => Err(Failure { errno: Errno::EPROTO, what: "there is no start command".into() }),
    }
}

/// Tells the host; does not return.
fn report(failure: &Failure) -> ! {
    log::error!("{}: {}", failure.what, failure.errno);
    let text = failure.what.as_bytes();
    let text = &text[..text.len().min(hostcall::CALL_DATA_LEN)];
    let args = [failure.errno.code() as u64, text.len() as u64, 0, 0, 0, 0];
    let _ = arch::hostcall::call_data(Hostcall::StartFailed, args, &[text], &mut []);
    // The host does not come back from that; if it does, the status is that of a program that cannot be run.
    arch::exit_sandbox(if failure.errno == Errno::ENOENT { 127 << 8 } else { 126 << 8 })
}

/// Takes the next command of the host, if there is one.
fn take_command() -> Result<Option<Command>> {
    for order in COMMAND_ORDERS {
        let (buffer, _) = frame::alloc_order(order).ok_or(Errno::ENOMEM)?;
        let capacity = PAGE_SIZE << order;
        let got = arch::hostcall::call(Hostcall::TakeCommand, [buffer.0, capacity, 0, 0, 0, 0]);
        let command = match got {
            Ok(0) => Ok(None),
            Ok(length) => {
                let mut bytes = alloc::vec![0; length.min(capacity) as usize];
                arch::read_phys(buffer, &mut bytes);
                decode_command(&bytes).map(Some).map_err(|_| Errno::EPROTO)
            }
            Err(errno) => Err(errno),
        };
        frame::free_order(buffer, order);
        if got != Err(Errno::EMSGSIZE) {
            return command;
        }
    }
    Err(Errno::EMSGSIZE)
}

fn first_process(spec: &SandboxSpec) -> core::result::Result<Arc<Task>, Failure> {
    super::namespace::initial().uts.set_names(&spec.hostname, &spec.domainname);
    let namespace = fs::init(spec).map_err(failure("mounting the container's file systems"))?;
    let context = FsContext::new(namespace);
    let wanted = &spec.process;
    let cred = credentials(wanted);
    let limits = limits(wanted);
    let walk = context.walk(exec::who(&cred));
    let cwd = if wanted.cwd.is_empty() { b"/" } else { wanted.cwd.as_slice() };
    let cwd = walk
        .resolve(cwd, Lookup::FOLLOW | Lookup::DIRECTORY)
        .map_err(failure(alloc::format!("chdir to {}", String::from_utf8_lossy(cwd))))?;
    context.set_cwd(cwd);
    context.set_umask(wanted.umask);
    let name =
        wanted.args.first().ok_or(Failure { errno: Errno::EINVAL, what: "no program is named".into() })?;
    let shown = String::from_utf8_lossy(name);
    let (path, file) =
        find_program(&context, &cred, wanted, name).map_err(failure(alloc::format!("exec {shown}")))?;
    let request = Request {
        fs: &context,
        cred: &cred,
        limits: &limits,
        no_new_privs: wanted.no_new_privs,
        personality: 0,
        by_descriptor: false,
        inaccessible: false,
        path,
        argv: wanted.args.clone(),
        envp: environment(&context, wanted),
    };
    let traced = strace::enabled().then(|| (request.path.clone(), request.argv.clone(), request.envp.len()));
    let prepared = exec::prepare(request, file).map_err(failure(alloc::format!("exec {shown}")))?;
    let files = descriptors(&wanted.streams, wanted.uid, &limits).map_err(failure("the standard streams"))?;
    let mut stack = 0;
    let task = exec::adopt(prepared, |image, cred| {
        stack = image.stack;
        let parts = Parts { mm: Some(image.mm.clone()), files: Some(files), fs: Some(context.clone()) };
        let regs = UserRegs::entry(image.entry, image.stack);
        make(cred, parts, &regs, limits, wanted.no_new_privs)
    })
    .map_err(failure("the first process"))?;
    if let Some((path, argv, variables)) = traced {
        // The stack has the number of arguments, their addresses and a zero before the environment.
        strace::started(task.tid(), &path, &argv, stack + (argv.len() as u64 + 2) * 8, variables);
    }
    Ok(task)
}

/// The environment as given, with `HOME` added where it is not: as runc, from the container's own list of users.
fn environment(context: &FsContext, wanted: &ProcessSpec) -> Vec<Vec<u8>> {
    let mut env = wanted.env.clone();
    if !env.iter().any(|entry| entry.starts_with(b"HOME=")) {
        let home = home_of(context, wanted.uid).unwrap_or_else(|| b"/".to_vec());
        env.push([b"HOME=", home.as_slice()].concat());
    }
    env
}

fn home_of(context: &FsContext, uid: u32) -> Option<Vec<u8>> {
    let flags = O_RDONLY | O_NONBLOCK;
    let file = context.walk(Who::KERNEL).open(b"/etc/passwd", flags, 0, Lookup::empty()).ok()?;
    let text = file.read_to_vec(0, MAX_PASSWD).ok()?;
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let number: u32 = core::str::from_utf8(fields.nth(2)?).ok()?.parse().ok()?;
        let home = fields.nth(2)?;
        (number == uid && !home.is_empty()).then(|| home.to_vec())
    })
}

/// The program: as named when the name has a slash, else the first of `PATH` that can be executed.
fn find_program(
    context: &FsContext,
    cred: &Cred,
    spec: &ProcessSpec,
    name: &[u8],
) -> Result<(Vec<u8>, Arc<fs::File>)> {
    if name.contains(&b'/') {
        return Ok((name.to_vec(), exec::open(context, cred, name)?));
    }
    let path = spec.env.iter().rev().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let mut error = Errno::ENOENT;
    for dir in path.split(|&byte| byte == b':') {
        let dir = if dir.is_empty() { b"." } else { dir };
        let full = [dir, name].join(&b'/');
        match exec::open(context, cred, &full) {
            Ok(file) => return Ok((full, file)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(other) => error = other,
        }
    }
    Err(error)
}

fn credentials(spec: &ProcessSpec) -> Cred {
    let [effective, permitted, inheritable, bounding, ambient] =
        spec.capabilities.map(Caps::from_bits_truncate);
    let (uid, gid) = (spec.uid, spec.gid);
    Cred {
        uid,
        euid: uid,
        suid: uid,
        fsuid: uid,
        gid,
        egid: gid,
        sgid: gid,
        fsgid: gid,
        groups: spec.groups.clone(),
        effective,
        permitted,
        inheritable,
        bounding,
        // The kernel lets only capabilities be ambient that are in both of these.
        ambient: ambient & permitted & inheritable,
        securebits: 0,
    }
}

fn limits(spec: &ProcessSpec) -> Rlimits {
    let mut limits = Rlimits::default();
    for one in &spec.rlimits {
        if let Some(slot) = limits.0.get_mut((one.resource as usize).min(COUNT)) {
            *slot = Rlimit { soft: one.soft, hard: one.hard };
        }
    }
    limits
}

/// Streams on descriptors 0, 1, 2 and so on.
fn descriptors(streams: &[u32], uid: u32, limits: &Rlimits) -> Result<Arc<FdTable>> {
    let table = FdTable::new();
    let limit = limits.0[Resource::OpenFiles as usize].soft;
    for &number in streams {
        table.install(fs::stream::open(number, uid)?, false, 0, limit)?;
    }
    Ok(table)
}

/// Makes the task and enters it in the table.
fn make(
    cred: Arc<Cred>,
    parts: Parts,
    regs: &UserRegs,
    limits: Rlimits,
    no_new_privs: bool,
) -> Result<Arc<Task>> {
    let stack = KernelStack::new()?;
    let ctx = ThreadContext::new_user(stack.top(), regs)?;
    let mut tree = tree::lock();
    let pid = tree.allocate()?;
    let process = Arc::new(Process::new(pid, Arc::default(), limits));
    process.unkillable.store(true, core::sync::atomic::Ordering::Relaxed);
    let task = Task::build(pid, process.clone(), ctx, Some(stack), cred, parts);
    task.no_new_privs.store(no_new_privs, core::sync::atomic::Ordering::Relaxed);
    let task = Arc::new(task);
    process.inner.lock().threads.push(task.clone());
    tree.add_process(process, 0);
    tree.add_task(task.clone());
    Ok(task)
}

/// The host announced something.
pub fn on_host_event() {
    let (flags, streams) = arch::hostcall::take_events();
    let flags = EventFlags::from_bits_truncate(flags);
    if flags.contains(EventFlags::STREAM) {
        fs::stream::on_event(streams);
    }
    if flags.contains(EventFlags::COMMAND) {
        run_commands();
    }
}

fn run_commands() {
    loop {
        match take_command() {
            Ok(Some(Command::Signal { signal, all })) => deliver(signal, all),
            Ok(Some(Command::Start(_))) => log::warn!("a second start command is ignored"),
            Ok(None) => return,
            Err(error) => {
                log::warn!("a command of the host is refused: {error}");
                if error != Errno::EPROTO {
                    return;
                }
            }
        }
    }
}

/// A signal from outside of the container, as the runtime's `kill` sends it.
fn deliver(signo: u32, all: bool) {
    if !signal::is_valid(signo as i32) {
        log::warn!("signal {signo} from the host does not exist");
        return;
    }
    let send = |process: &Arc<Process>| {
        let info = SigInfo::user(signo, signal::info::SI_USER, 0, 0);
        if let Err(error) = signal::send::send_from_outside(process, info) {
            log::debug!("signal {signo} to {}: {error}", process.pid);
        }
    };
    if all {
        tree::for_each_process(send);
    } else if let Some(first) = tree::process(1) {
        send(&first);
    }
}
