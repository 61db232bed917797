//! Processes that the host starts: the first one, and those of the runtime's `exec`.
//!
//! The first is made before anything runs. A further one is a task that finds its program itself, on its first way
//! to ring 3, because that may have to wait.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;
use hostcall::{Answer, Command, FilterSpec, Hostcall, ProcessSpec, SandboxSpec};
use linux_raw_sys::general::{O_NONBLOCK, O_RDONLY};

use super::{
    Parts, Process, Task, command,
    cred::{Caps, Cred},
    exec::{self, Prepared, Request},
    exit,
    rlimit::{COUNT, Resource, Rlimit, Rlimits},
    sched, tree, work,
};
use crate::{
    arch::{self, UserRegs, context::ThreadContext},
    errno::{Errno, Result},
    fs::{self, FdTable, FsContext, fdtable::MAX_FILES, mount::Namespace, perm::Who, walk::Lookup},
    mem::kstack::KernelStack,
    seccomp::{
        Filter,
        program::{Insn, Program},
    },
    sync::{Once, SpinLock},
    syscall::strace,
    tty,
};

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

/// The container's mounts, where further processes start.
static CONTAINER: Once<Arc<Namespace>> = Once::new();

/// What the container's processes may ask for.
static FILTER: Once<Arc<Filter>> = Once::new();

/// The first process while it waits to be let go.
static HELD: SpinLock<Option<Arc<Task>>> = SpinLock::new(None);

/// Takes the start command and makes the first process. When that fails, tells the host and ends the sandbox.
pub fn init() {
    if arch::boot_info().flags & hostcall::BootFlags::STRACE.bits() != 0 {
        strace::enable(true);
    }
    match start() {
        Ok((task, hold)) => {
            if hold {
                *HELD.lock() = Some(task);
                // A host that does not hear it never lets the process go.
                let _ = arch::hostcall::call(Hostcall::Created, [0; 6]);
            } else {
                sched::spawn(task);
            }
            // The start command was announced before this CPU could be interrupted. The host announces
            // nothing more until that is taken.
            command::on_host_event();
        }
        Err(failure) => report(&failure),
    }
}

/// Lets the first process go, if it waits.
pub(super) fn go() {
    let held = HELD.lock().take();
    match held {
        Some(task) => sched::spawn(task),
        None => log::warn!("the first process does not wait"),
    }
}

fn start() -> core::result::Result<(Arc<Task>, bool), Failure> {
    match command::take().map_err(failure("the start command"))? {
        Some(Command::Start(spec)) => Ok((first_process(&spec)?, spec.hold)),
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

fn first_process(spec: &SandboxSpec) -> core::result::Result<Arc<Task>, Failure> {
    super::namespace::initial().uts.set_names(&spec.hostname, &spec.domainname);
    let namespace = fs::init(spec).map_err(failure("mounting the container's file systems"))?;
    CONTAINER.call_once(|| namespace.clone());
    for (name, value) in &spec.settings {
        let what = || alloc::format!("open /proc/sys/{}", String::from_utf8_lossy(name));
        fs::proc::set(name, value).map_err(|errno| Failure { errno, what: what() })?;
    }
    if let Some(filter) = &spec.filter {
        let filter = filter_of(filter).map_err(failure("the filter of system calls"))?;
        FILTER.call_once(|| filter);
    }
    tree::lock().limit(spec.tasks);
    fs::cgroupfs::limit(&spec.limits);
    let context = FsContext::new(&namespace);
    let wanted = &spec.process;
    let limits = limits(wanted);
    let (prepared, traced) = load(&context, &credentials(wanted), &limits, wanted)?;
    let (files, terminal) = if wanted.terminal {
        let (files, terminal) = on_terminal(&context, 0, wanted, &limits)?;
        (files, Some(terminal))
    } else {
        (descriptors(&wanted.streams, wanted.uid, 0, &limits).map_err(failure("the standard streams"))?, None)
    };
    let mut stack = 0;
    let task = exec::adopt(prepared, |image, cred| {
        stack = image.stack;
        let parts = Parts { mm: Some(image.mm.clone()), files: Some(files), fs: Some(context.clone()) };
        let regs = UserRegs::entry(image.entry, image.stack);
        let task = make(cred, parts, &regs, limits, |process| {
            process.unkillable.store(true, Ordering::Relaxed);
        })?;
        task.no_new_privs.store(wanted.no_new_privs, Ordering::Relaxed);
        Ok(task)
    })
    .map_err(failure("the first process"))?;
    task.set_namespaces(super::namespace::initial().with_mounts(namespace.clone()));
    if let Some(terminal) = terminal {
        give_terminal(&task.process, &terminal);
        fs::init::add_console(&namespace, terminal.path()).map_err(failure("mount /dev/console"))?;
    }
    if let Some(traced) = traced {
        traced.started(task.tid(), stack);
    }
    Ok(task)
}

/// The container's filter of system calls.
fn filter_of(spec: &FilterSpec) -> Result<Arc<Filter>> {
    let insns: Vec<Insn> = spec
        .program
        .iter()
        .map(|word| Insn {
            code: *word as u16,
            jt: (*word >> 16) as u8,
            jf: (*word >> 24) as u8,
            k: (*word >> 32) as u32,
        })
        .collect();
    Filter::new(Program::new(&insns)?, None, spec.log, None)
}

/// What the trace says of a program that the host starts.
struct Traced {
    path: Vec<u8>,
    argv: Vec<Vec<u8>>,
    variables: usize,
}

impl Traced {
    fn started(&self, tid: u32, stack: u64) {
        // The stack has the number of arguments, their addresses and a zero before the environment.
        let environment = stack + (self.argv.len() as u64 + 2) * 8;
        strace::started(tid, &self.path, &self.argv, environment, self.variables);
    }
}

/// Finds and loads the program of a process, and gives `context` its working directory and mask.
fn load(
    context: &FsContext,
    cred: &Cred,
    limits: &Rlimits,
    wanted: &ProcessSpec,
) -> core::result::Result<(Prepared, Option<Traced>), Failure> {
    let cwd = if wanted.cwd.is_empty() { b"/" } else { wanted.cwd.as_slice() };
    let cwd = context
        .walk(exec::who(cred))
        .resolve(cwd, Lookup::FOLLOW | Lookup::DIRECTORY)
        .map_err(failure(alloc::format!("chdir to {}", String::from_utf8_lossy(cwd))))?;
    context.set_cwd(cwd);
    context.set_umask(wanted.umask);
    let name =
        wanted.args.first().ok_or(Failure { errno: Errno::EINVAL, what: "no program is named".into() })?;
    let shown = String::from_utf8_lossy(name);
    let (path, file) =
        find_program(context, cred, wanted, name).map_err(failure(alloc::format!("exec {shown}")))?;
    let request = Request {
        fs: context,
        cred,
        limits,
        no_new_privs: wanted.no_new_privs,
        personality: 0,
        by_descriptor: false,
        inaccessible: false,
        path,
        argv: wanted.args.clone(),
        envp: environment(context, wanted),
    };
    let traced = strace::enabled().then(|| Traced {
        path: request.path.clone(),
        argv: request.argv.clone(),
        variables: request.envp.len(),
    });
    let prepared = exec::prepare(request, file).map_err(failure(alloc::format!("exec {shown}")))?;
    Ok((prepared, traced))
}

/// Makes a further process; it answers by `tag`.
pub(super) fn exec(tag: u64, spec: Box<ProcessSpec>) {
    let make = || {
        let namespace = CONTAINER.get().ok_or(Errno::ESRCH)?.clone();
        let limits = limits(&spec);
        // A terminal is found later, in the container's own `/dev/pts`.
        let streams = if spec.terminal { &[][..] } else { &spec.streams };
        let files = descriptors(streams, spec.uid, 0, &limits)?;
        let parts = Parts { mm: None, files: Some(files), fs: Some(FsContext::new(&namespace)) };
        let cred = Arc::new(credentials(&spec));
        let task = make(cred, parts, &UserRegs::default(), limits, |process| {
            process.tag.store(tag, Ordering::Relaxed);
        })?;
        task.set_namespaces(super::namespace::initial().with_mounts(namespace));
        task.no_new_privs.store(spec.no_new_privs, Ordering::Relaxed);
        *task.process.birth.lock() = Some(spec);
        task.ctx.work.fetch_or(work::BIRTH, Ordering::SeqCst);
        sched::spawn(task);
        Ok(())
    };
    if let Err(errno) = make() {
        fail(tag, Failure { errno, what: "the process".into() });
    }
}

fn fail(tag: u64, failure: Failure) {
    let errno = failure.errno.code().unsigned_abs();
    command::answer(tag, &Answer::Failed { errno, message: failure.what });
}

/// The first way to ring 3 of a process that [`exec`] made: it finds its program.
pub(super) fn be_born(me: &Task, regs: &mut UserRegs) {
    let spec = me.process.birth.lock().take();
    let Some(spec) = spec else { return };
    let entered = me.fs().map_err(failure("the process")).and_then(|context| {
        let (cred, limits) = (me.cred(), me.process.rlimits());
        if spec.terminal {
            let tag = me.process.tag.load(Ordering::Relaxed);
            let (files, terminal) = on_terminal(&context, tag, &spec, &limits)?;
            drop(me.set_files(Some(files)));
            give_terminal(&me.process, &terminal);
        }
        let (prepared, traced) = load(&context, &cred, &limits, &spec)?;
        exec::enter(prepared, regs).map_err(failure("the process"))?;
        if let Some(traced) = traced {
            traced.started(me.tid(), regs.rsp);
        }
        Ok(())
    });
    drop(spec);
    let tag = me.process.tag.load(Ordering::Relaxed);
    match entered {
        Ok(()) => command::answer(tag, &Answer::Started { pid: me.process.pid }),
        Err(failure) => {
            // Not a process that ended, for whoever waits: one that never was.
            me.process.tag.store(0, Ordering::Relaxed);
            tty::joint::end(tag);
            fail(tag, failure);
            exit::exit_group(127 << 8)
        }
    }
}

/// A terminal for a process, which its first three descriptors are, and the streams that follow those three.
fn on_terminal(
    context: &FsContext,
    tag: u64,
    wanted: &ProcessSpec,
    limits: &Rlimits,
) -> core::result::Result<(Arc<FdTable>, Arc<fs::File>), Failure> {
    let open =
        |at: usize| wanted.streams.get(at).map_or(Err(Errno::EBADF), |number| fs::stream::raw(*number));
    let make = || {
        let (input, output) = (open(0)?, open(1)?);
        // Errors go where output goes.
        drop(open(2));
        let terminal = tty::joint::make(context, tag, wanted.uid, input, output)?;
        let files = descriptors(wanted.streams.get(3..).unwrap_or_default(), wanted.uid, 3, limits)?;
        let limit = limits.0[Resource::OpenFiles as usize].soft;
        for _ in 0..3 {
            files.install(terminal.clone(), false, 0, limit)?;
        }
        Ok((files, terminal))
    };
    make().map_err(failure("open /dev/ptmx"))
}

/// The process is the leader of the session that its terminal controls.
fn give_terminal(process: &Process, terminal: &fs::File) {
    if let Some(end) = terminal.downcast::<tty::file::End>() {
        tty::control::give(end.pty().clone(), process);
    }
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
        let opened = exec::open(context, cred, name);
        let directory = || context.walk(exec::who(cred)).resolve(name, Lookup::FOLLOW | Lookup::DIRECTORY);
        if opened.is_err() && directory().is_ok() {
            // execve(2) does not tell it apart; a runtime does.
            return Err(Errno::EISDIR);
        }
        return Ok((name.to_vec(), opened?));
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
            *slot = Rlimit { soft: one.soft.min(one.hard), hard: one.hard };
        }
    }
    // The host's ceiling may be another.
    let files = &mut limits.0[Resource::OpenFiles as usize];
    files.soft = files.soft.min(MAX_FILES);
    files.hard = files.hard.min(MAX_FILES);
    limits
}

/// Streams on descriptors from `first` on.
fn descriptors(streams: &[u32], uid: u32, first: u32, limits: &Rlimits) -> Result<Arc<FdTable>> {
    let table = FdTable::new();
    let limit = limits.0[Resource::OpenFiles as usize].soft;
    for &number in streams {
        table.install(fs::stream::open(number, uid)?, false, first, limit)?;
    }
    Ok(table)
}

/// Makes the task and enters it in the table.
fn make(
    cred: Arc<Cred>,
    parts: Parts,
    regs: &UserRegs,
    limits: Rlimits,
    prepare: impl FnOnce(&Process),
) -> Result<Arc<Task>> {
    let stack = KernelStack::new()?;
    let ctx = ThreadContext::new_user(stack.top(), regs)?;
    let mut tree = tree::lock();
    let pid = tree.allocate()?;
    let process = Arc::new(Process::new(pid, Arc::default(), limits));
    process.unwaited.store(true, Ordering::Relaxed);
    prepare(&process);
    let task = Arc::new(Task::build(pid, process.clone(), ctx, Some(stack), cred, parts));
    if let Some(filter) = FILTER.get() {
        drop(task.seccomp.set_filters(filter.clone()));
    }
    process.inner.lock().threads.push(task.clone());
    tree.add_process(process, 0);
    tree.add_task(task.clone());
    Ok(task)
}
