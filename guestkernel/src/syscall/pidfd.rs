//! Processes by descriptor.

use alloc::sync::Arc;
use linux_raw_sys::general::O_NONBLOCK;

use super::{
    Args,
    at::{install, only, open_file},
    process_vm::may_access,
    signal::{may_signal, own_info, send_checked, signal_number},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::{
        File, nsfs,
        pidfd::{self, PidFd},
        static_fs::Node,
    },
    signal::{
        SigInfo,
        info::{SI_TKILL, SI_USER},
        send,
    },
    task::{Process, access, current, namespace::Kind, tree},
};

/// `PIDFD_THREAD`, which is `O_EXCL`.
const THREAD: u32 = 0o200;

/// `PIDFD_SIGNAL_*`.
const TO_THREAD: u32 = 1;
const TO_PROCESS: u32 = 2;
const TO_GROUP: u32 = 4;

/// pidfd_open(2).
///
/// # Errors
/// As pidfd_open(2).
pub fn pidfd_open(args: &Args) -> Result<u64> {
    let flags = args.uint(1);
    only(flags, O_NONBLOCK | THREAD)?;
    let id = u32::try_from(args.int(0)).ok().filter(|&id| id != 0).ok_or(Errno::EINVAL)?;
    let status = flags & O_NONBLOCK;
    let file = match (tree::task(id), tree::process(id)) {
        (Some(task), _) if flags & THREAD != 0 => pidfd::open(&task, true, status),
        (_, Some(process)) => pidfd::open_process(&process, status),
        (Some(_), None) => return Err(Errno::EINVAL),
        (None, None) => return Err(Errno::ESRCH),
    };
    install(file, true)
}

/// Calls `f` with what a descriptor is about.
fn with<T>(file: &File, f: impl FnOnce(&PidFd) -> Result<T>) -> Result<T> {
    f(file.downcast().ok_or(Errno::EBADF)?)
}

/// As [`with`]; a process's directory in `/proc` will do as well.
fn with_directory<T>(file: &File, f: impl FnOnce(&PidFd) -> Result<T>) -> Result<T> {
    match file.inode().downcast::<Node>().and_then(Node::process) {
        Some(process) => f(&PidFd::of(process?)),
        None => with(file, f),
    }
}

/// The process of a descriptor that `waitid` waits for, and whether the wait shall not block.
///
/// # Errors
/// `EBADF`.
pub(super) fn waited_for(fd: i32) -> Result<(u32, bool)> {
    let file = open_file(fd)?;
    // The number of one that is gone may belong to another child by now.
    let id = with(&file, |pidfd| Ok(if pidfd.is_gone() { 0 } else { pidfd.id() }))?;
    Ok((id, file.nonblocking()))
}

/// The caller's own `siginfo_t`. Nobody pretends to be the kernel, or an ordinary sender, towards others.
fn own_words(addr: u64, signo: u32, to_itself: bool) -> Result<SigInfo> {
    let info: SigInfo = uaccess::get(addr)?;
    if info.signo() != signo {
        return Err(Errno::EINVAL);
    }
    if !to_itself && (info.code() >= 0 || info.code() == SI_TKILL) {
        return Err(Errno::EPERM);
    }
    Ok(info)
}

/// pidfd_send_signal(2).
///
/// # Errors
/// As pidfd_send_signal(2).
pub fn pidfd_send_signal(args: &Args) -> Result<u64> {
    let flags = args.uint(3);
    only(flags, TO_THREAD | TO_PROCESS | TO_GROUP)?;
    if flags.count_ones() > 1 {
        return Err(Errno::EINVAL);
    }
    let file = open_file(args.int(0))?;
    with_directory(&file, |pidfd| {
        let scope = match flags {
            0 if pidfd.is_thread() => TO_THREAD,
            0 => TO_PROCESS,
            scope => scope,
        };
        let me = current();
        let signo = args.uint(1);
        let info = if args.addr(2) == 0 {
            own_info(signo, if scope == TO_THREAD { SI_TKILL } else { SI_USER })
        } else {
            own_words(args.addr(2), signo, me.tid() == pidfd.id() && scope != TO_GROUP)?
        };
        signal_number(args.int(1))?;
        match scope {
            TO_GROUP => send_to_group(pidfd.id(), info, signo),
            TO_THREAD => send_to_thread(pidfd, info, signo),
            _ if pidfd.is_gone() => Err(Errno::ESRCH),
            // A descriptor of a thread that does not lead a process names no process.
            _ if pidfd.id() != pidfd.process().pid => Err(Errno::ESRCH),
            _ => send_checked(pidfd.process(), info, signo),
        }
    })
    .map(|()| 0)
}

fn send_to_thread(pidfd: &PidFd, info: SigInfo, signo: u32) -> Result<()> {
    if pidfd.is_gone() {
        return Err(Errno::ESRCH);
    }
    // What has ended and was not waited for takes everything.
    let Ok(task) = pidfd.task() else { return Ok(()) };
    if !may_signal(&current().cred(), &task, signo) {
        return Err(Errno::EPERM);
    }
    if signo == 0 { Ok(()) } else { send::send_to_task(&task, info) }
}

fn send_to_group(pgid: u32, info: SigInfo, signo: u32) -> Result<()> {
    let members: alloc::vec::Vec<Arc<Process>> =
        tree::lock().group(pgid).map(|node| node.process.clone()).collect();
    let mut result = Err(Errno::ESRCH);
    for process in &members {
        let sent = send_checked(process, info, signo);
        result = if result.is_ok() { result } else { sent };
    }
    result
}

/// An operation on a descriptor: it opens a namespace of the process.
///
/// # Errors
/// As `ioctl_pidfd(2)`.
pub(crate) fn ioctl(pidfd: &PidFd, request: u32, arg: u64) -> Result<u64> {
    const KINDS: [Kind; 10] = [
        Kind::Cgroup,
        Kind::Ipc,
        Kind::Mount,
        Kind::Network,
        Kind::Pid,
        Kind::Pid,
        Kind::Time,
        Kind::Time,
        Kind::User,
        Kind::Uts,
    ];
    let task = pidfd.task()?;
    let kind =
        request.checked_sub(0xff01).and_then(|index| KINDS.get(index as usize)).ok_or(Errno::ENOTTY)?;
    if arg != 0 {
        return Err(Errno::EINVAL);
    }
    if !access::may(&current(), &task, access::Creds::Files) {
        return Err(Errno::EACCES);
    }
    install(nsfs::open(*kind, task.namespaces())?, true)
}

/// pidfd_getfd(2).
///
/// # Errors
/// As pidfd_getfd(2).
pub fn pidfd_getfd(args: &Args) -> Result<u64> {
    only(args.uint(2), 0)?;
    let file = open_file(args.int(0))?;
    let wanted = with(&file, |pidfd| {
        let task = pidfd.task()?;
        if !may_access(&current(), &task) {
            return Err(Errno::EPERM);
        }
        task.files_if_alive().ok_or(Errno::ESRCH)?.get(args.int(1))
    })?;
    install(wanted, true)
}
