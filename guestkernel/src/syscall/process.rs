//! Processes: clone, exec, exit, wait, ids.

use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Args, pidfd, resource::rusage};
use crate::{
    arch::{USER_END, UserRegs, uaccess},
    errno::{Errno, Result},
    fs::walk::{Lookup, PATH_MAX},
    signal::SIGCHLD,
    task::{
        self,
        clone::{CloneArgs, Flags},
        current, exec, exit,
        rlimit::Resource,
        tree,
        wait4::{self, Options, Waited, Which},
    },
};

/// Longest argument or environment string with its zero.
const MAX_STRING: usize = 128 << 10;
/// Least room for arguments whatever the stack limit says.
const MIN_ARGUMENTS: u64 = 128 << 10;
/// `CSIGNAL`.
const EXIT_SIGNAL: u64 = 0xff;

/// getpid(2).
pub fn getpid(_: &Args) -> Result<u64> {
    Ok(u64::from(current().process.pid))
}

/// gettid(2).
pub fn gettid(_: &Args) -> Result<u64> {
    Ok(u64::from(current().tid()))
}

/// getppid(2).
pub fn getppid(_: &Args) -> Result<u64> {
    Ok(u64::from(current().process.ppid()))
}

/// fork(2).
pub fn fork(regs: &mut UserRegs) -> Result<u64> {
    task::clone::clone(regs, &CloneArgs::fork())
}

/// vfork(2).
pub fn vfork(regs: &mut UserRegs) -> Result<u64> {
    task::clone::clone(regs, &CloneArgs { flags: Flags::VFORK | Flags::VM, ..CloneArgs::fork() })
}

/// clone(2).
pub fn clone(regs: &mut UserRegs) -> Result<u64> {
    let [flags, stack, parent_tid, child_tid, tls, _] = regs.args();
    let args = CloneArgs {
        flags: Flags::from_bits_truncate(flags & 0xffff_ffff & !EXIT_SIGNAL),
        stack,
        parent_tid,
        child_tid,
        tls,
        exit_signal: (flags & EXIT_SIGNAL) as u32,
        pidfd: parent_tid,
        ..CloneArgs::fork()
    };
    // Both would go to the same place.
    if args.flags.contains(Flags::PIDFD | Flags::PARENT_SETTID) {
        return Err(Errno::EINVAL);
    }
    task::clone::clone(regs, &args)
}

/// `struct clone_args`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Clone3 {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Size of the first published `clone_args`.
const CLONE3_FIRST: usize = 64;
/// Size of the first one with a cgroup.
const CLONE3_CGROUP: usize = 88;

/// clone3(2).
pub fn clone3(regs: &mut UserRegs) -> Result<u64> {
    let [addr, size, ..] = regs.args();
    let args: Clone3 = sized_struct(addr, size as usize, CLONE3_FIRST)?;
    let flags = Flags::from_bits(args.flags).ok_or(Errno::EINVAL)?;
    let ids = set_tid(&args)?;
    let valid = args.exit_signal <= 64
        && args.flags & 0x7f == 0
        && !flags.contains(Flags::DETACHED)
        && (args.stack == 0) == (args.stack_size == 0)
        && args.stack.checked_add(args.stack_size).is_some_and(|end| end <= USER_END)
        && !(flags.contains(Flags::INTO_CGROUP)
            && (args.cgroup > i32::MAX as u64 || (size as usize) < CLONE3_CGROUP))
        && !(flags.intersects(Flags::THREAD | Flags::PARENT) && args.exit_signal != 0);
    if !valid {
        return Err(Errno::EINVAL);
    }
    let stack = if args.stack == 0 { 0 } else { args.stack.wrapping_add(args.stack_size) };
    let clone = CloneArgs {
        flags,
        stack,
        parent_tid: args.parent_tid,
        child_tid: args.child_tid,
        tls: args.tls,
        exit_signal: args.exit_signal as u32,
        pidfd: args.pidfd,
        wanted_tid: ids,
        cgroup: args.cgroup as i32,
    };
    task::clone::clone(regs, &clone)
}

/// The id that the child is to have; there is one level of ids.
fn set_tid(args: &Clone3) -> Result<Option<i32>> {
    const LEVELS: u64 = 32;
    if args.set_tid_size > LEVELS || (args.set_tid == 0) != (args.set_tid_size == 0) {
        return Err(Errno::EINVAL);
    }
    if args.set_tid == 0 {
        return Ok(None);
    }
    let mut ids = [0i32; LEVELS as usize];
    let wanted = ids.get_mut(..args.set_tid_size as usize).unwrap_or_default();
    uaccess::copy_from_user(wanted.as_mut_bytes(), args.set_tid)?;
    Ok(Some(if args.set_tid_size == 1 { ids[0] } else { i32::MIN }))
}

/// Reads a structure that grows with time: what is missing is zero, what we do not know must be.
fn sized_struct<T: FromBytes + IntoBytes>(addr: u64, size: usize, least: usize) -> Result<T> {
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    if size < least {
        return Err(Errno::EINVAL);
    }
    let mut value = T::new_zeroed();
    let known = size.min(size_of::<T>());
    uaccess::copy_from_user(value.as_mut_bytes().get_mut(..known).unwrap_or(&mut []), addr)?;
    for at in known..size {
        if uaccess::get::<u8>(addr + at as u64)? != 0 {
            return Err(Errno::E2BIG);
        }
    }
    Ok(value)
}

/// A path argument.
///
/// # Errors
/// `EFAULT`, `ENAMETOOLONG`.
pub(super) fn path_argument(addr: u64) -> Result<Vec<u8>> {
    let mut buffer = alloc::vec![0; PATH_MAX];
    let length = uaccess::strncpy_from_user(&mut buffer, addr)?;
    if length == PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    buffer.truncate(length);
    Ok(buffer)
}

/// Reads an array of strings; `room` is what may still be used, pointers included.
fn strings(array: u64, room: &mut u64) -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    if array == 0 {
        return Ok(all);
    }
    let mut buffer = Vec::new();
    for index in 0.. {
        let pointer: u64 = uaccess::get(array.wrapping_add(index * 8))?;
        if pointer == 0 {
            break;
        }
        let string = one_string(pointer, &mut buffer)?;
        take(room, string.len() + 9)?;
        all.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        all.push(string);
    }
    Ok(all)
}

/// Uses up `bytes` of the room for arguments.
fn take(room: &mut u64, bytes: usize) -> Result<()> {
    *room = room.checked_sub(bytes as u64).ok_or(Errno::E2BIG)?;
    Ok(())
}

/// Reads a string of any length up to the limit.
fn one_string(addr: u64, buffer: &mut Vec<u8>) -> Result<Vec<u8>> {
    let mut size = 256;
    loop {
        buffer.resize(size, 0);
        let length = uaccess::strncpy_from_user(buffer, addr)?;
        if length < size {
            return Ok(buffer[..length].to_vec());
        }
        if size >= MAX_STRING {
            return Err(Errno::E2BIG);
        }
        size = (size * 8).min(MAX_STRING);
    }
}

/// execve(2).
pub fn execve(regs: &mut UserRegs) -> Result<u64> {
    let [path, argv, envp, ..] = regs.args();
    let path = path_argument(path)?;
    let me = current();
    let file = exec::open(&*me.fs()?, &me.cred(), &path)?;
    run(regs, file, path, (false, false), argv, envp)
}

/// execveat(2).
pub fn execveat(regs: &mut UserRegs) -> Result<u64> {
    use linux_raw_sys::general::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW};
    let [dir, path, argv, envp, flags, _] = regs.args();
    if flags & !u64::from(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = path_argument(path)?;
    let me = current();
    let (fs, cred) = (me.fs()?, me.cred());
    let dir = dir as i32;
    let mut walk = fs.walk(exec::who(&cred));
    if dir != AT_FDCWD && !path.starts_with(b"/") {
        walk.start = me.file(dir)?.path().clone();
    }
    let empty = path.is_empty() && flags & u64::from(AT_EMPTY_PATH) != 0;
    let mut lookup = if empty { Lookup::EMPTY } else { Lookup::empty() };
    if flags & u64::from(AT_SYMLINK_NOFOLLOW) == 0 {
        lookup |= Lookup::FOLLOW;
    }
    let found = walk.resolve(&path, lookup)?;
    if found.inode()?.is_link() {
        return Err(Errno::ELOOP);
    }
    let file = exec::open_found(found, &cred)?;
    let inaccessible = dir != AT_FDCWD && !path.starts_with(b"/") && me.files().cloexec(dir)?;
    let by_descriptor = path.is_empty();
    let shown = match (dir, path.is_empty()) {
        (AT_FDCWD, _) => path,
        _ if path.starts_with(b"/") => path,
        (_, true) => alloc::format!("/dev/fd/{dir}").into_bytes(),
        (_, false) => [alloc::format!("/dev/fd/{dir}/").as_bytes(), &path].concat(),
    };
    run(regs, file, shown, (by_descriptor, inaccessible), argv, envp)
}

fn run(
    regs: &mut UserRegs,
    file: alloc::sync::Arc<crate::fs::File>,
    path: Vec<u8>,
    (by_descriptor, inaccessible): (bool, bool),
    argv: u64,
    envp: u64,
) -> Result<u64> {
    let me = current();
    let limits = me.process.rlimits();
    let mut room = (limits.0[Resource::Stack as usize].soft / 4).clamp(MIN_ARGUMENTS, 6 << 20);
    take(&mut room, path.len() + 1)?;
    let mut argv = strings(argv, &mut room)?;
    let envp = strings(envp, &mut room)?;
    if argv.is_empty() {
        // Programs rely on a first argument; Linux adds an empty one, too.
        take(&mut room, 9)?;
        argv.push(Vec::new());
    }
    let prepared = {
        let (fs, cred) = (me.fs()?, me.cred());
        let request = exec::Request {
            fs: &fs,
            cred: &cred,
            limits: &limits,
            no_new_privs: me.no_new_privs.load(core::sync::atomic::Ordering::Relaxed),
            personality: me.personality.load(core::sync::atomic::Ordering::Relaxed),
            by_descriptor,
            inaccessible,
            path,
            argv,
            envp,
        };
        exec::prepare(request, file)?
    };
    exec::enter(prepared, regs)?;
    Ok(0)
}

/// exit(2).
pub fn exit(args: &Args) -> Result<u64> {
    exit::exit_thread((args.int(0) & 0xff) << 8)
}

/// `exit_group(2)`.
pub fn exit_group(args: &Args) -> Result<u64> {
    exit::exit_group((args.int(0) & 0xff) << 8)
}

/// wait4(2).
pub fn wait4(args: &Args) -> Result<u64> {
    let known = Options::NOHANG
        | Options::STOPPED
        | Options::CONTINUED
        | Options::NOTHREAD
        | Options::ALL
        | Options::CLONE;
    let options = Options::from_bits(args.uint(2)).filter(|o| known.contains(*o)).ok_or(Errno::EINVAL)?;
    let which = match args.int(0) {
        -1 => Which::Any,
        0 => Which::Group(own_group()?),
        i32::MIN => return Err(Errno::ESRCH),
        pid if pid < 0 => Which::Group(pid.unsigned_abs()),
        pid => Which::Pid(pid as u32),
    };
    let Some(waited) = wait4::wait(which, options | Options::EXITED)? else { return Ok(0) };
    if args.addr(1) != 0 {
        uaccess::put(args.addr(1), &waited.status)?;
    }
    if args.addr(3) != 0 {
        uaccess::put(args.addr(3), &rusage(&waited.usage))?;
    }
    Ok(u64::from(waited.pid))
}

/// waitid(2).
pub fn waitid(args: &Args) -> Result<u64> {
    let options = Options::from_bits(args.uint(3)).ok_or(Errno::EINVAL)?;
    if !options.intersects(Options::EXITED | Options::STOPPED | Options::CONTINUED) {
        return Err(Errno::EINVAL);
    }
    let id = args.int(1);
    let mut nonblocking = false;
    let which = match args.int(0) {
        0 => Which::Any,
        3 if id >= 0 => {
            let (pid, nonblock) = pidfd::waited_for(id)?;
            nonblocking = nonblock && !options.contains(Options::NOHANG);
            Which::Pid(pid)
        }
        1 if id > 0 => Which::Pid(id as u32),
        2 if id > 0 => Which::Group(id as u32),
        2 if id == 0 => Which::Group(own_group()?),
        _ => return Err(Errno::EINVAL),
    };
    let options = if nonblocking { options | Options::NOHANG } else { options };
    let waited = wait4::wait(which, options)?;
    if nonblocking && waited.is_none() {
        return Err(Errno::EAGAIN);
    }
    if args.addr(2) != 0 {
        put_waited(args.addr(2), waited.as_ref())?;
    }
    if let Some(waited) = waited
        && args.addr(4) != 0
    {
        uaccess::put(args.addr(4), &rusage(&waited.usage))?;
    }
    Ok(0)
}

/// Writes the fields of a `siginfo_t` that `waitid` sets.
fn put_waited(addr: u64, waited: Option<&Waited>) -> Result<()> {
    let (signo, code, pid, uid, status) = match waited {
        None => (0, 0, 0, 0, 0),
        Some(waited) => {
            let (code, status) = wait4::decode(waited.status);
            (SIGCHLD as i32, code, waited.pid as i32, waited.uid as i32, status)
        }
    };
    uaccess::put(addr, &[signo, 0, code])?;
    uaccess::put(addr + 16, &[pid, uid, status])
}

fn own_group() -> Result<u32> {
    let pid = current().process.pid;
    tree::lock().node(pid).map(|node| node.pgid).ok_or(Errno::ESRCH)
}

/// The process that an id names; 0 = the caller's.
fn named(pid: i32) -> Result<u32> {
    match u32::try_from(pid) {
        Ok(0) => Ok(current().process.pid),
        Ok(pid) => tree::task(pid).map(|task| task.process.pid).or(Some(pid)).ok_or(Errno::ESRCH),
        Err(_) => Err(Errno::ESRCH),
    }
}

/// setpgid(2).
pub fn setpgid(args: &Args) -> Result<u64> {
    let caller = current().process.pid;
    if args.int(1) < 0 {
        return Err(Errno::EINVAL);
    }
    let pid = match args.int(0) {
        0 => caller,
        pid => u32::try_from(pid).map_err(|_| Errno::ESRCH)?,
    };
    let pgid = if args.int(1) == 0 { pid } else { args.uint(1) };
    tree::lock().set_group(caller, pid, pgid).map(|()| 0)
}

/// getpgid(2).
pub fn getpgid(args: &Args) -> Result<u64> {
    let pid = named(args.int(0))?;
    tree::lock().node(pid).map(|node| u64::from(node.pgid)).ok_or(Errno::ESRCH)
}

/// getpgrp(2).
pub fn getpgrp(_: &Args) -> Result<u64> {
    own_group().map(u64::from)
}

/// getsid(2).
pub fn getsid(args: &Args) -> Result<u64> {
    let pid = named(args.int(0))?;
    tree::lock().node(pid).map(|node| u64::from(node.sid)).ok_or(Errno::ESRCH)
}

/// setsid(2).
pub fn setsid(_: &Args) -> Result<u64> {
    let me = current();
    let session = tree::lock().new_session(me.process.pid)?;
    me.process.tty.set(None);
    Ok(u64::from(session))
}

/// `set_tid_address(2)`.
pub fn set_tid_address(args: &Args) -> Result<u64> {
    let me = current();
    me.clear_child_tid.store(args.addr(0), core::sync::atomic::Ordering::Relaxed);
    Ok(u64::from(me.tid()))
}
