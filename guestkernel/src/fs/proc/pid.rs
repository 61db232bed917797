//! `/proc/PID`: a process, and `/proc/PID/task/TID`: its threads.

use alloc::{
    boxed::Box,
    format,
    string::String,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{fmt::Write, sync::atomic::Ordering};
use linux_raw_sys::general::O_CLOEXEC;

use super::{
    DIR, FILE, LINK, MAGIC, memory,
    namespaces::NamespaceLinks,
    net, number, owner, pages,
    system::{HZ, boot_ns},
};
use crate::{
    errno::{Errno, Result},
    fs::{
        File, FsContext, Path,
        mount::{Namespace, show},
        static_fs::{Names, Node, Owner, What},
    },
    mm::{Marks, oom},
    task::{self, Process, Task, access},
};

/// A thread's directory: of the process (`/proc/PID`) or of the thread itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Id {
    tid: u32,
    thread: bool,
}

impl Id {
    /// A living thread of it.
    pub(super) fn task(self) -> Result<Arc<Task>> {
        if let Some(task) = task::task(self.tid) {
            return Ok(task);
        }
        task::process(self.tid).and_then(|process| process.any_thread()).ok_or(Errno::ESRCH)
    }

    pub(super) fn process(self) -> Result<Arc<Process>> {
        if let Some(process) = task::process(self.tid) {
            return Ok(process);
        }
        Ok(task::task(self.tid).ok_or(Errno::ESRCH)?.process.clone())
    }

    fn fs(self) -> Result<Arc<FsContext>> {
        self.task()?.fs()
    }

    fn ino(self, index: u64) -> u64 {
        (u64::from(self.tid) << 8 | index) << 1 | u64::from(self.thread) | 1 << 40
    }

    /// Whose its files are: its effective ids; root where only root may look into it, but for directories that
    /// everybody may look into.
    fn owner(self, public: bool) -> Owner {
        let ids =
            self.task().ok().filter(|task| public || task.process.dumpable.load(Ordering::Relaxed) == 1);
        let (uid, gid) = ids.map_or((0, 0), |task| task.with_cred(|cred| (cred.euid, cred.egid)));
        Owner { uid, gid, magic: MAGIC, ..owner() }
    }

    pub(super) fn node(self, index: u64, mode: u32, what: What) -> Arc<Node> {
        let public = mode == 0o555 && matches!(what, What::Dir(_));
        Node::new(self.owner(public), self.ino(index), mode, what)
    }

    /// Whether the caller may look into it.
    fn check(self) -> Result<()> {
        let allowed = access::may(&task::current(), &*self.task()?, access::Creds::Files);
        if allowed { Ok(()) } else { Err(Errno::EACCES) }
    }
}

/// `/proc/PID`, threads included.
pub(super) fn process(pid: u32) -> Result<Arc<Node>> {
    let id = Id { tid: pid, thread: false };
    let process = id.process().map_err(|_| Errno::ENOENT)?;
    let names = ProcessDir(id, Some(Arc::downgrade(&process)).filter(|_| process.pid == pid));
    Ok(id.node(0, 0o555, What::Dir(Box::new(names))))
}

type Read = fn(Id) -> Result<Vec<u8>>;

/// Texts: name, permission bits, contents.
const TEXTS: [(&[u8], u32, Read); 19] = [
    (b"auxv", 0o400, memory::auxv),
    (b"cgroup", 0o444, |_| Ok(b"0::/\n".to_vec())),
    (b"cmdline", 0o444, cmdline),
    (b"comm", 0o644, |id| Ok(format!("{}\n", comm(&*id.task()?)).into_bytes())),
    (b"environ", 0o400, environ),
    (b"limits", 0o444, limits),
    (b"loginuid", 0o644, |_| Ok(b"4294967295".to_vec())),
    (b"maps", 0o444, memory::maps),
    (b"mountinfo", 0o444, |id| mount_table(id, show::mountinfo)),
    (b"mounts", 0o444, |id| mount_table(id, show::mounts)),
    (b"mountstats", 0o400, |id| mount_table(id, show::mountstats)),
    (b"oom_score", 0o444, |id| Ok(format!("{}\n", oom::score(&*id.process()?)).into_bytes())),
    (b"personality", 0o400, |id| {
        Ok(format!("{:08x}\n", id.task()?.personality.load(Ordering::Relaxed)).into_bytes())
    }),
    (b"sessionid", 0o444, |_| Ok(b"4294967295".to_vec())),
    (b"smaps", 0o444, memory::smaps),
    (b"smaps_rollup", 0o444, memory::smaps_rollup),
    (b"stat", 0o444, stat),
    (b"statm", 0o444, memory::statm),
    (b"status", 0o444, status),
];

/// Those of them that not everybody may open.
const GUARDED: [&[u8]; 4] = [b"environ", b"maps", b"smaps", b"smaps_rollup"];

type Target = fn(Id) -> Result<Path>;

/// Links to objects.
const LINKS: [(&[u8], Target); 3] = [
    (b"cwd", |id| Ok(id.fs()?.cwd())),
    (b"exe", |id| {
        let process = id.process()?;
        let exe = process.inner.lock().exe.clone();
        Ok(exe.ok_or(Errno::ENOENT)?.path().clone())
    }),
    (b"root", |id| Ok(id.fs()?.root())),
];

/// Directories.
const DIRS: [&[u8]; 5] = [b"fd", b"fdinfo", b"net", b"ns", b"task"];

/// A link that shows where it leads and leads there.
pub(super) fn magic(
    id: Id,
    index: u64,
    mode: u32,
    target: impl Fn() -> Result<Path> + Clone + Send + Sync + 'static,
) -> Arc<Node> {
    let guarded = move || id.check().and_then(|()| target());
    let shown = guarded.clone();
    let text = move || Ok(shown()?.display(&task::current().fs()?.root()));
    id.node(index, mode, What::Magic(Box::new(text), Box::new(guarded)))
}

/// With the process itself where the directory is a process's: the number may be another's later.
struct ProcessDir(Id, Option<Weak<Process>>);

impl Names for ProcessDir {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        let id = self.0;
        id.process().map_err(|_| Errno::ENOENT)?;
        if let Some((index, (_, mode, read))) =
            TEXTS.iter().enumerate().find(|(_, (known, ..))| *known == name)
        {
            let (mode, read) = (*mode, *read);
            let index = index as u64 + 1;
            if name == b"comm" {
                let write = move |bytes: &[u8]| {
                    id.task()?.set_comm(bytes.strip_suffix(b"\n").unwrap_or(bytes));
                    Ok(())
                };
                return Ok(id.node(index, mode, What::Setting(Box::new(move || read(id)), Box::new(write))));
            }
            let read = Box::new(move || read(id));
            let guarded = GUARDED.contains(&name);
            let what =
                if guarded { What::Guarded(Box::new(move || id.check()), read) } else { What::Text(read) };
            return Ok(id.node(index, mode, what));
        }
        if let Some(node) = pages::lookup(id, name) {
            return Ok(node);
        }
        if let Some((index, (_, target))) = LINKS.iter().enumerate().find(|(_, (known, _))| *known == name) {
            let target = *target;
            return Ok(magic(id, 40 + index as u64, 0o777, move || target(id)));
        }
        match name {
            b"fd" => Ok(id.node(60, 0o500, What::Dir(Box::new(Descriptors { id, info: false })))),
            b"fdinfo" => Ok(id.node(61, 0o555, What::Dir(Box::new(Descriptors { id, info: true })))),
            b"net" => Ok(id.node(63, 0o555, What::Dir(Box::new(net::Net)))),
            b"ns" => Ok(id.node(64, 0o511, What::Dir(Box::new(NamespaceLinks(id))))),
            b"task" if !id.thread => Ok(id.node(62, 0o555, What::Dir(Box::new(Threads(id))))),
            _ => Err(Errno::ENOENT),
        }
    }

    fn process(&self) -> Option<Result<Arc<Process>>> {
        let process = self.1.as_ref().and_then(Weak::upgrade).ok_or(Errno::ESRCH);
        (!self.0.thread).then_some(process)
    }

    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool) {
        let dirs = DIRS.iter().take(if self.0.thread { 4 } else { 5 }).map(|name| (DIR, *name));
        let links = LINKS.iter().map(|(name, _)| (LINK, *name));
        let texts = TEXTS.iter().map(|(name, ..)| (FILE, *name));
        let texts = texts.chain(pages::NAMES.map(|name| (FILE, name)));
        for (index, (kind, name)) in dirs.chain(links).chain(texts).enumerate().skip(cookie as usize) {
            if !emit(index as u64 + 1, kind, name) {
                return;
            }
        }
    }
}

/// `/proc/PID/task`.
struct Threads(Id);

impl Names for Threads {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        let tid = number(name).ok_or(Errno::ENOENT)?;
        let process = self.0.process().map_err(|_| Errno::ENOENT)?;
        if !process.threads().iter().any(|task| task.tid() == tid) {
            return Err(Errno::ENOENT);
        }
        let id = Id { tid, thread: true };
        Ok(id.node(0, 0o555, What::Dir(Box::new(ProcessDir(id, None)))))
    }

    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool) {
        let Ok(process) = self.0.process() else { return };
        let mut tids: Vec<u32> = process.threads().iter().map(|task| task.tid()).collect();
        tids.sort_unstable();
        for tid in tids.into_iter().filter(|&tid| u64::from(tid) > cookie) {
            if !emit(tid.into(), DIR, format!("{tid}").as_bytes()) {
                return;
            }
        }
    }
}

/// `/proc/PID/fd` and `/proc/PID/fdinfo`.
struct Descriptors {
    id: Id,
    info: bool,
}

fn descriptor(id: Id, fd: i32) -> Result<Arc<File>> {
    id.task()?.file(fd).map_err(|_| Errno::ENOENT)
}

impl Names for Descriptors {
    fn is_callers_own(&self) -> bool {
        self.id.process().is_ok_and(|process| Arc::ptr_eq(&process, &task::current().process))
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        let id = self.id;
        let fd = if name == b"0" { 0 } else { number(name).ok_or(Errno::ENOENT)? as i32 };
        let file = descriptor(id, fd)?;
        let index = 128 + (fd as u64 % 64);
        if self.info {
            let read = move || {
                let file = descriptor(id, fd)?;
                let mount = file.path().mount.id;
                let ino = file.attr()?.ino;
                let cloexec = id.task()?.files().cloexec(fd).unwrap_or(false);
                let (position, flags) = (file.position(), file.flags() | if cloexec { O_CLOEXEC } else { 0 });
                let own = file.ops().info();
                Ok(format!("pos:\t{position}\nflags:\t0{flags:o}\nmnt_id:\t{mount}\nino:\t{ino}\n{own}")
                    .into_bytes())
            };
            return Ok(id.node(index, 0o444, What::Guarded(Box::new(move || id.check()), Box::new(read))));
        }
        let mut mode = 0o100;
        mode |= if file.check_readable().is_ok() { 0o400 } else { 0 };
        mode |= if file.check_writable().is_ok() { 0o200 } else { 0 };
        Ok(magic(id, index, mode, move || Ok(descriptor(id, fd)?.path().clone())))
    }

    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool) {
        let Ok(task) = self.id.task() else { return };
        let kind = if self.info { FILE } else { LINK };
        for fd in task.files().list().into_iter().filter(|&fd| fd as u64 >= cookie) {
            if !emit(fd as u64 + 1, kind, format!("{fd}").as_bytes()) {
                return;
            }
        }
    }
}

fn comm(task: &Task) -> String {
    let comm = task.comm();
    let len = comm.iter().position(|&b| b == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..len]).into_owned()
}

/// Most bytes of arguments or environment that are shown.
const MAX_ARGUMENTS: u64 = 2 << 20;

/// Bytes of a process's memory; a process that is over has none.
fn memory(id: Id, range: impl Fn(&Marks) -> (u64, u64)) -> Result<Vec<u8>> {
    let Some(mm) = id.task()?.address_space() else { return Ok(Vec::new()) };
    let (start, end) = range(&mm.marks());
    let len = end.saturating_sub(start).min(MAX_ARGUMENTS) as usize;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    let read = mm.read_memory(start, &mut bytes);
    bytes.truncate(read);
    Ok(bytes)
}

fn cmdline(id: Id) -> Result<Vec<u8>> {
    if id.task().is_err() {
        return Ok(Vec::new());
    }
    memory(id, |marks| (marks.arg_start, marks.arg_end))
}

fn environ(id: Id) -> Result<Vec<u8>> {
    memory(id, |marks| (marks.env_start, marks.env_end))
}

/// Parent, group and session.
fn family(pid: u32) -> (u32, u32, u32) {
    let tree = task::tree::lock();
    tree.node(pid).map_or((0, 0, 0), |node| (node.parent, node.pgid, node.sid))
}

/// Name and state of a process, alive or not.
fn name_and_state(id: Id) -> Result<(String, char)> {
    let process = id.process()?;
    let state = if id.thread { id.task()?.sched.letter() } else { process.state() };
    let name = id.task().map_or_else(|_| String::new(), |task| comm(&task));
    Ok((name, state as char))
}

fn stat(id: Id) -> Result<Vec<u8>> {
    let process = id.process()?;
    let (name, state) = name_and_state(id)?;
    let (ppid, pgid, sid) = family(process.pid);
    let task = id.task().ok();
    let mm = task.as_ref().and_then(|task| task.address_space());
    let nice = task.as_ref().map_or(0, |task| task.nice.load(Ordering::Relaxed));
    let (policy, real_time) = task.as_ref().map_or((0, 0), |task| {
        let share = &task.sched.share;
        (share.policy(), share.priority())
    });
    let priority = if real_time == 0 { i64::from(20 + nice) } else { -1 - i64::from(real_time) };
    let start = process.start_ns.saturating_sub(boot_ns()) / (1_000_000_000 / HZ);
    let (size, rss) = mm.as_ref().map_or((0, 0), |mm| (mm.usage().0 << 12, mm.usage().1));
    let marks = mm.as_ref().map_or_else(Marks::default, |mm| mm.marks());
    let most = process.rlimit(task::rlimit::Resource::Rss).soft;
    let (blocked, pending) = task.as_ref().map_or((0, 0), |task| (task.blocked().0, 0u64));
    let [user, system] = process.usage().ticks();
    let (tty, foreground) =
        process.tty.terminal().map_or((0, -1), |tty| (tty.number(), i64::from(tty.control().group())));
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} ({name}) {state} {ppid} {pgid} {sid} {tty} {foreground} 4194304 {} 0 {} 0 {user} {system} 0 0 {priority} {nice} {} 0 {start} {size} {rss} \
         {most} {} {} {} 0 0 {pending} {blocked} 0 0 0 0 0 17 {} {real_time} {policy} 0 0 0 {} {} {} {} {} {} {} 0",
        if id.thread { id.tid } else { process.pid },
        process.faults[0].load(Ordering::Relaxed),
        process.faults[1].load(Ordering::Relaxed),
        process.threads().len().max(1),
        marks.start_code,
        marks.end_code,
        marks.start_stack,
        task.as_ref().map_or(0, |task| task.sched.cpu()),
        marks.start_data,
        marks.end_data,
        marks.start_brk,
        marks.arg_start,
        marks.arg_end,
        marks.env_start,
        marks.env_end,
    );
    Ok(out.into_bytes())
}

fn status(id: Id) -> Result<Vec<u8>> {
    let process = id.process()?;
    let (name, state) = name_and_state(id)?;
    let word = match state {
        'R' => "running",
        'S' => "sleeping",
        'D' => "disk sleep",
        'T' => "stopped",
        'Z' => "zombie",
        _ => "dead",
    };
    let (ppid, pgid, sid) = family(process.pid);
    let pid = if id.thread { id.tid } else { process.pid };
    let mut out = String::new();
    let task = id.task().ok();
    let umask = task.as_ref().and_then(|task| task.fs().ok()).map_or(0, |fs| fs.umask());
    let _ = write!(
        out,
        "Name:\t{name}\nUmask:\t{umask:04o}\nState:\t{state} ({word})\nTgid:\t{}\nNgid:\t0\nPid:\t{pid}\nPPid:\t{ppid}\nTracerPid:\t0\n",
        process.pid
    );
    let Some(task) = task else { return Ok(out.into_bytes()) };
    let cred = task.cred();
    let _ = writeln!(out, "Uid:\t{}\t{}\t{}\t{}", cred.uid, cred.euid, cred.suid, cred.fsuid);
    let _ = writeln!(out, "Gid:\t{}\t{}\t{}\t{}", cred.gid, cred.egid, cred.sgid, cred.fsgid);
    let _ = write!(out, "FDSize:\t{}\nGroups:\t", task.files().list().len().next_multiple_of(64).max(64));
    for (index, group) in cred.groups.iter().enumerate() {
        let _ = write!(out, "{}{group}", if index == 0 { "" } else { " " });
    }
    let _ = write!(out, " \nNStgid:\t{}\nNSpid:\t{pid}\nNSpgid:\t{pgid}\nNSsid:\t{sid}\n", process.pid);
    if let Some(mm) = task.address_space() {
        memory::status(&mm, &mut out);
    }
    let (ignored, caught) = process.with_handlers(|handlers| handlers.summary());
    let shared = process.inner.lock().pending.set().0;
    let own = task.signals.pending.lock().set().0;
    let _ = write!(
        out,
        "Threads:\t{}\nSigQ:\t{}/{}\nSigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{:016x}\nSigIgn:\t{:016x}\nSigCgt:\t{:016x}\n",
        process.threads().len(),
        crate::signal::charge::count(cred.uid),
        process.rlimit(task::rlimit::Resource::SigPending).soft,
        task.blocked().0,
        ignored.0,
        caught.0,
    );
    for (label, caps) in [
        ("CapInh", cred.inheritable),
        ("CapPrm", cred.permitted),
        ("CapEff", cred.effective),
        ("CapBnd", cred.bounding),
        ("CapAmb", cred.ambient),
    ] {
        let _ = writeln!(out, "{label}:\t{:016x}", caps.bits());
    }
    let cpus = crate::arch::cpu::count();
    let mask = task.sched.affinity() & u64::MAX.checked_shr(64 - cpus as u32).unwrap_or(u64::MAX);
    let _ = write!(
        out,
        "NoNewPrivs:\t{}\nSeccomp:\t{}\nSeccomp_filters:\t{}\nCpus_allowed:\t{mask:x}\nCpus_allowed_list:\t{}\nMems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n",
        u8::from(task.no_new_privs.load(Ordering::Relaxed)),
        task.seccomp.mode() as u8,
        task.seccomp.count(),
        ranges(mask),
        task.sched.switches[0].load(Ordering::Relaxed),
        task.sched.switches[1].load(Ordering::Relaxed),
    );
    Ok(out.into_bytes())
}

/// The bits of a mask as a list of ranges: `0-2,5`.
fn ranges(mask: u64) -> String {
    let mut list = String::new();
    let mut bit = 0;
    while bit < u64::BITS {
        let len = (mask >> bit).trailing_ones();
        if len != 0 {
            let comma = if list.is_empty() { "" } else { "," };
            let _ = write!(list, "{comma}{bit}");
            if len > 1 {
                let _ = write!(list, "-{}", bit + len - 1);
            }
        }
        bit += len + 1;
    }
    list
}

fn limits(id: Id) -> Result<Vec<u8>> {
    const ROWS: [(&str, &str); 16] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    let limits = id.process()?.rlimits();
    let shown = |value: u64| if value == u64::MAX { "unlimited".into() } else { format!("{value}") };
    let mut out = format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for ((name, unit), limit) in ROWS.iter().zip(limits.0.iter()) {
        let _ = write!(out, "{name:<25} {:<20} {:<20} ", shown(limit.soft), shown(limit.hard));
        let _ = if unit.is_empty() { writeln!(out) } else { writeln!(out, "{unit:<10}") };
    }
    Ok(out.into_bytes())
}

/// One of the tables of mounts, as the process sees them.
fn mount_table(id: Id, table: fn(&Namespace, &Path) -> Vec<u8>) -> Result<Vec<u8>> {
    Ok(table(&id.task()?.namespaces().mounts, &id.fs()?.root()))
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn masks_are_shown_as_ranges() {
        let cases = [
            (0, ""),
            (1, "0"),
            (2, "1"),
            (3, "0-1"),
            (0b10_0111, "0-2,5"),
            (u64::MAX, "0-63"),
            (1 << 63, "63"),
        ];
        for (mask, text) in cases {
            assert_eq!(ranges(mask), text);
        }
    }
}
