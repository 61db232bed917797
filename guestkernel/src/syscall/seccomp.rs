//! seccomp(2), and what the filters say at each call.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Args, at::install, number};
use crate::{
    arch::{UserRegs, uaccess},
    errno::{Errno, Result},
    seccomp::{
        ARCH, Action, Facts, Filter, Mode,
        notify::{Answer, Listener},
        program::{Insn, MAX_LEN, Program},
    },
    signal::{SIGKILL, SIGSYS, SigInfo, send},
    task::{Task, cred::Caps, current, exit, rlimit::Resource},
};

const SET_STRICT: u32 = 0;
const SET_FILTER: u32 = 1;
const GET_ACTION_AVAIL: u32 = 2;
const GET_NOTIF_SIZES: u32 = 3;

const TSYNC: u64 = 1;
const LOG: u64 = 1 << 1;
const SPEC_ALLOW: u64 = 1 << 2;
const NEW_LISTENER: u64 = 1 << 3;
const TSYNC_ESRCH: u64 = 1 << 4;
const WAIT_KILLABLE: u64 = 1 << 5;

/// Sizes of the structures of notifications: request, answer, facts.
const SIZES: [u16; 3] = [80, 24, 64];

/// seccomp(2).
///
/// # Errors
/// As seccomp(2).
pub fn seccomp(args: &Args) -> Result<u64> {
    let (flags, addr) = (u64::from(args.uint(1)), args.addr(2));
    match args.uint(0) {
        SET_STRICT if flags != 0 || addr != 0 => Err(Errno::EINVAL),
        SET_STRICT => set_strict(),
        SET_FILTER => set_filter(flags, addr),
        GET_ACTION_AVAIL | GET_NOTIF_SIZES if flags != 0 => Err(Errno::EINVAL),
        GET_ACTION_AVAIL => {
            let action: u32 = uaccess::get(addr)?;
            if Action::exists(action) { Ok(0) } else { Err(Errno::EOPNOTSUPP) }
        }
        GET_NOTIF_SIZES => uaccess::put(addr, &SIZES).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}

/// `prctl(PR_SET_SECCOMP)`.
pub(super) fn prctl(mode: u64, addr: u64) -> Result<u64> {
    match mode {
        1 => set_strict(),
        2 => set_filter(0, addr),
        _ => Err(Errno::EINVAL),
    }
}

fn set_strict() -> Result<u64> {
    current().seccomp.set_strict()?;
    Ok(0)
}

/// `struct sock_fprog`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct UserProgram {
    len: u16,
    pad: [u16; 3],
    addr: u64,
}

fn read_program(addr: u64) -> Result<Program> {
    let wanted: UserProgram = uaccess::get(addr)?;
    let len = usize::from(wanted.len);
    if len == 0 || len > MAX_LEN {
        return Err(Errno::EINVAL);
    }
    let me = current();
    if !me.no_new_privs.load(Ordering::Relaxed) && !me.with_cred(|cred| cred.capable(Caps::SYS_ADMIN)) {
        return Err(Errno::EACCES);
    }
    let mut insns: Vec<Insn> = Vec::new();
    insns.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    insns.resize(len, Insn::default());
    uaccess::copy_from_user(insns.as_mut_bytes(), wanted.addr)?;
    Program::new(&insns)
}

fn set_filter(flags: u64, addr: u64) -> Result<u64> {
    let known = TSYNC | LOG | SPEC_ALLOW | NEW_LISTENER | TSYNC_ESRCH | WAIT_KILLABLE;
    // Both would be told by the result.
    let ambiguous = flags & (TSYNC | NEW_LISTENER | TSYNC_ESRCH) == TSYNC | NEW_LISTENER;
    let pointless = flags & (NEW_LISTENER | WAIT_KILLABLE) == WAIT_KILLABLE;
    if flags & !known != 0 || ambiguous || pointless {
        return Err(Errno::EINVAL);
    }
    let program = read_program(addr)?;
    let me = current();
    if me.seccomp.mode() == Mode::Strict {
        return Err(Errno::EINVAL);
    }
    let old = me.seccomp.filters();
    let listener = (flags & NEW_LISTENER != 0).then(Arc::<Listener>::default);
    if listener.is_some() && old.as_ref().is_some_and(|filter| filter.has_listener()) {
        return Err(Errno::EBUSY);
    }
    let filter = Filter::new(program, old.clone(), flags & LOG != 0, listener.clone())?;
    let fd = match &listener {
        Some(listener) => Some(install(listener.open(), true)?),
        None => None,
    };
    let undo = |fd: u64| drop(me.files().close(fd as i32));
    if flags & TSYNC != 0
        && let Some(tid) = synchronise(&me, &filter, old.as_ref())
    {
        fd.into_iter().for_each(undo);
        return if flags & TSYNC_ESRCH != 0 { Err(Errno::ESRCH) } else { Ok(tid.into()) };
    }
    drop(me.seccomp.set_filters(filter));
    Ok(fd.unwrap_or(0))
}

/// Gives the list to the other threads; the id of one that has another.
fn synchronise(me: &Task, filter: &Arc<Filter>, old: Option<&Arc<Filter>>) -> Option<u32> {
    let mut dropped = Vec::new();
    {
        let inner = me.process.inner.lock();
        let others = || inner.threads.iter().filter(|task| !core::ptr::eq(Arc::as_ptr(task), me));
        if let Some(other) = others().find(|task| !task.seccomp.can_follow(old)) {
            return Some(other.tid());
        }
        let no_new_privs = me.no_new_privs.load(Ordering::Relaxed);
        for task in others() {
            if no_new_privs {
                task.no_new_privs.store(true, Ordering::Relaxed);
            }
            dropped.extend(task.seccomp.set_filters(filter.clone()));
        }
    }
    None
}

/// Judges the call that `regs` ask for. Whether it is to be made; else its result is in `regs`.
#[inline]
pub(super) fn allows(me: &Task, regs: &mut UserRegs) -> bool {
    match me.seccomp.mode() {
        Mode::Disabled => true,
        Mode::Filter if me.seccomp.always_allows(number(regs) as u64) => true,
        Mode::Filter => judge(regs),
        Mode::Strict => is_strictly_allowed(regs.orig_rax),
    }
}

/// `read`, `write`, `exit` and `rt_sigreturn`; anything else ends the thread.
fn is_strictly_allowed(nr: u64) -> bool {
    if matches!(nr as u32, 0 | 1 | 15 | 60) {
        return true;
    }
    exit::exit_thread(SIGKILL as i32)
}

fn judge(regs: &mut UserRegs) -> bool {
    let me = current().arc();
    let Some(filters) = me.seccomp.filters() else { return true };
    let facts = Facts::of(regs);
    let (action, by) = filters.judge(&facts);
    if action == Action::Log || by.logs() && action != Action::Allow {
        log::info!("[{}] seccomp: system call {}: {action:?}", me.tid(), regs.orig_rax as i32);
    }
    let listener = by.listener().cloned();
    match action {
        Action::Allow | Action::Log => return true,
        Action::Errno(errno) => regs.rax = (-i64::from(errno)) as u64,
        // Nobody traces.
        Action::Trace(_) => regs.rax = Errno::ENOSYS.to_ret() as u64,
        Action::UserNotify => {
            let answer = listener.ok_or(Errno::ENOSYS).and_then(|listener| listener.ask(&me, facts));
            match answer {
                Ok(Answer::Continue) => return true,
                Ok(Answer::Return(value)) => regs.rax = value as u64,
                Err(errno) => regs.rax = errno.to_ret() as u64,
            }
        }
        Action::Trap(number) => {
            // The handler finds the registers as they were at the call.
            regs.rax = regs.orig_rax;
            send::force_signal(SigInfo::seccomp(regs.rip, regs.orig_rax as u32, ARCH, number));
        }
        Action::KillProcess | Action::KillThread => {
            let alone = me.process.inner.lock().threads.len() == 1;
            drop((filters, listener, me));
            if action == Action::KillThread && !alone {
                exit::exit_thread(SIGSYS as i32);
            }
            exit::exit_group(SIGSYS as i32);
        }
    }
    false
}

const NOTIF_RECV: u32 = 0xc050_2100;
const NOTIF_SEND: u32 = 0xc018_2101;
const NOTIF_ID_VALID: u32 = 0x4008_2102;
const NOTIF_ADDFD: u32 = 0x4018_2103;
const NOTIF_SET_FLAGS: u32 = 0x4008_2104;

/// An operation on a listener's descriptor.
///
/// # Errors
/// As `seccomp_unotify(2)`.
pub(crate) fn notify_ioctl(listener: &Listener, request: u32, arg: u64) -> Result<u64> {
    const CONTINUE: u32 = 1;
    match request {
        NOTIF_RECV => receive(listener, arg),
        NOTIF_SEND => {
            let [id, value, rest]: [u64; 3] = uaccess::get(arg)?;
            let (error, flags) = (rest as i32, (rest >> 32) as u32);
            let answer = match flags {
                0 if error != 0 => Answer::Return(error.into()),
                0 => Answer::Return(value.cast_signed()),
                CONTINUE if error == 0 && value == 0 => Answer::Continue,
                _ => return Err(Errno::EINVAL),
            };
            listener.answer(id, answer).map(|()| 0)
        }
        NOTIF_ID_VALID => {
            let id: u64 = uaccess::get(arg)?;
            listener.task_of(id).map(|_| 0).map_err(|_| Errno::ENOENT)
        }
        NOTIF_ADDFD => add_descriptor(listener, arg),
        // Wake-ups are synchronous or not as the scheduler sees fit.
        NOTIF_SET_FLAGS if arg & !1 == 0 => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

fn receive(listener: &Listener, arg: u64) -> Result<u64> {
    let before: [u64; 10] = uaccess::get(arg)?;
    if before != [0; 10] {
        return Err(Errno::EINVAL);
    }
    let (id, task, facts) = listener.take()?;
    let mut out = [0u32; 20];
    (out[0], out[1], out[2]) = (id as u32, (id >> 32) as u32, task.tid());
    out[4..].copy_from_slice(&facts.0);
    drop(task);
    uaccess::put(arg, &out).inspect_err(|_| listener.put_back(id)).map(|()| 0)
}

/// Gives a copy of a descriptor of the caller to the task that waits.
fn add_descriptor(listener: &Listener, arg: u64) -> Result<u64> {
    const AT: u32 = 1;
    const ANSWER: u32 = 2;
    let [id, first, second]: [u64; 3] = uaccess::get(arg)?;
    let (flags, from) = (first as u32, (first >> 32) as i32);
    let (to, to_flags) = (second as u32, (second >> 32) as u32);
    let cloexec = linux_raw_sys::general::O_CLOEXEC;
    if to_flags & !cloexec != 0 || flags & !(AT | ANSWER) != 0 || to != 0 && flags & AT == 0 {
        return Err(Errno::EINVAL);
    }
    let file = current().file(from)?;
    let task = listener.task_of(id)?;
    let limit = task.process.rlimit(Resource::OpenFiles).soft;
    let files = task.files();
    let fd = if flags & AT != 0 {
        let fd = i32::try_from(to).map_err(|_| Errno::EBADF)?;
        files.install_at(fd, file, to_flags & cloexec != 0, limit)?;
        fd
    } else {
        files.install(file, to_flags & cloexec != 0, 0, limit)?
    };
    if flags & ANSWER != 0 {
        listener.answer(id, Answer::Return(fd.into()))?;
    }
    Ok(fd as u64)
}
