//! Names, facts about the system, `prctl`, random bytes.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use linux_raw_sys::prctl as pr;

use super::Args;
use crate::{
    arch::{clock, uaccess},
    errno::{Errno, Result},
    mem::frame,
    random, signal,
    task::{
        Task,
        cred::{CAP_LAST, Caps, SECBIT_KEEP_CAPS, SECBIT_NO_CAP_AMBIENT_RAISE},
        current, tree,
        uts::{self, NAME_MAX},
    },
    time::NSEC_PER_SEC,
};

/// One field of `struct new_utsname`.
const FIELD: usize = NAME_MAX + 1;
const ARCH_SET_GS: i32 = 0x1001;
const ARCH_SET_FS: i32 = 0x1002;
const ARCH_GET_FS: i32 = 0x1003;
const ARCH_GET_GS: i32 = 0x1004;
/// Most bytes of `getrandom` made at a time.
const RANDOM_PIECE: usize = 1024;
const PERSONALITY_QUERY: u32 = u32::MAX;

/// uname(2).
pub fn uname(args: &Args) -> Result<u64> {
    let (host, domain) = (uts::hostname(), uts::domainname());
    let mut out = [0; 6 * FIELD];
    let fields: [&[u8]; 6] =
        [b"Linux", &host, uts::RELEASE.as_bytes(), uts::VERSION.as_bytes(), b"x86_64", &domain];
    for (place, field) in out.chunks_exact_mut(FIELD).zip(fields) {
        place.iter_mut().zip(field).for_each(|(to, from)| *to = *from);
    }
    uaccess::copy_to_user(args.addr(0), &out).map(|()| 0)
}

fn set_name(args: &Args, set: fn(Vec<u8>)) -> Result<u64> {
    if !current().with_cred(|cred| cred.capable(Caps::SYS_ADMIN)) {
        return Err(Errno::EPERM);
    }
    let length = usize::try_from(args.int(1)).ok().filter(|&n| n <= NAME_MAX).ok_or(Errno::EINVAL)?;
    let mut name = alloc::vec![0; length];
    uaccess::copy_from_user(&mut name, args.addr(0))?;
    set(name);
    Ok(0)
}

/// sethostname(2).
pub fn sethostname(args: &Args) -> Result<u64> {
    set_name(args, uts::set_hostname)
}

/// setdomainname(2).
pub fn setdomainname(args: &Args) -> Result<u64> {
    set_name(args, uts::set_domainname)
}

/// sysinfo(2).
pub fn sysinfo(args: &Args) -> Result<u64> {
    let memory = frame::stats();
    let mut out = [0u64; 14];
    out[0] = clock::monotonic_ns() / NSEC_PER_SEC;
    out[4] = memory.total;
    out[5] = memory.free;
    let tasks = tree::lock().task_count().min(usize::from(u16::MAX));
    out[10] = tasks as u64;
    // `mem_unit`, after the two numbers of high memory.
    out[13] = 1;
    uaccess::put(args.addr(0), &out).map(|()| 0)
}

/// getrandom(2).
pub fn getrandom(args: &Args) -> Result<u64> {
    const KNOWN: u32 = 7;
    let (addr, length, flags) = (args.addr(0), args.size(1).min(i32::MAX as usize), args.uint(2));
    // GRND_RANDOM and GRND_INSECURE exclude each other.
    if flags & !KNOWN != 0 || flags & 6 == 6 {
        return Err(Errno::EINVAL);
    }
    let mut piece = [0; RANDOM_PIECE];
    let mut done = 0;
    while done < length {
        let count = (length - done).min(RANDOM_PIECE);
        let piece = &mut piece[..count];
        random::fill(piece);
        let copied = uaccess::copy_to_user_partial(addr.wrapping_add(done as u64), piece);
        done += copied;
        if copied < count {
            return if done == 0 { Err(Errno::EFAULT) } else { Ok(done as u64) };
        }
        if done % 65_536 == 0 && current().signal_pending() {
            break;
        }
    }
    Ok(done as u64)
}

/// personality(2).
pub fn personality(args: &Args) -> Result<u64> {
    match args.uint(0) {
        0 | PERSONALITY_QUERY => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// `arch_prctl(2)`.
pub fn arch_prctl(args: &Args) -> Result<u64> {
    let me = current();
    let addr = args.addr(1);
    match args.int(0) {
        ARCH_SET_FS => me.ctx.set_fs_base(addr),
        ARCH_SET_GS => me.ctx.set_gs_base(addr),
        ARCH_GET_FS => uaccess::put(addr, &me.ctx.fs_base()),
        ARCH_GET_GS => uaccess::put(addr, &me.ctx.gs_base()),
        _ => Err(Errno::EINVAL),
    }
    .map(|()| 0)
}

/// prctl(2).
pub fn prctl(args: &Args) -> Result<u64> {
    let me = current();
    let (value, rest) = (args.0[1], &args.0[2..5]);
    let unused = |rest: &[u64]| if rest.iter().all(|&arg| arg == 0) { Ok(()) } else { Err(Errno::EINVAL) };
    match args.uint(0) {
        pr::PR_SET_NAME => set_comm(&me, value),
        pr::PR_GET_NAME => uaccess::copy_to_user(value, &me.comm()).map(|()| 0),
        pr::PR_SET_PDEATHSIG if value > u64::from(signal::MAX) => Err(Errno::EINVAL),
        pr::PR_SET_PDEATHSIG => {
            me.death_signal.store(value as u32, Ordering::Relaxed);
            Ok(0)
        }
        pr::PR_GET_PDEATHSIG => uaccess::put(value, &me.death_signal.load(Ordering::Relaxed)).map(|()| 0),
        pr::PR_GET_DUMPABLE => Ok(u64::from(me.process.dumpable.load(Ordering::Relaxed))),
        pr::PR_SET_DUMPABLE if value > 1 => Err(Errno::EINVAL),
        pr::PR_SET_DUMPABLE => {
            me.process.dumpable.store(value as u32, Ordering::Relaxed);
            Ok(0)
        }
        pr::PR_SET_NO_NEW_PRIVS => {
            unused(rest)?;
            if value != 1 {
                return Err(Errno::EINVAL);
            }
            me.no_new_privs.store(true, Ordering::Relaxed);
            Ok(0)
        }
        pr::PR_GET_NO_NEW_PRIVS => {
            unused(&args.0[1..5])?;
            Ok(u64::from(me.no_new_privs.load(Ordering::Relaxed)))
        }
        pr::PR_SET_CHILD_SUBREAPER => {
            me.process.subreaper.store(value != 0, Ordering::Relaxed);
            Ok(0)
        }
        pr::PR_GET_CHILD_SUBREAPER => {
            uaccess::put(value, &u32::from(me.process.subreaper.load(Ordering::Relaxed))).map(|()| 0)
        }
        pr::PR_SET_TIMERSLACK => {
            me.timer_slack.store(if value == 0 { 50_000 } else { value }, Ordering::Relaxed);
            Ok(0)
        }
        pr::PR_GET_TIMERSLACK => Ok(me.timer_slack.load(Ordering::Relaxed)),
        pr::PR_GET_SECCOMP => Ok(me.seccomp.mode() as u64),
        pr::PR_SET_SECCOMP => super::seccomp::prctl(value, args.0[2]),
        pr::PR_GET_TSC => uaccess::put(value, &1u32).map(|()| 0),
        pr::PR_SET_TSC if value == 1 => Ok(0),
        _ => capability_prctl(&me, args),
    }
}

fn set_comm(me: &Task, addr: u64) -> Result<u64> {
    let mut name = [0; 15];
    let length = uaccess::strncpy_from_user(&mut name, addr)?;
    me.set_comm(&name[..length]);
    Ok(0)
}

/// A capability by number.
fn capability(number: u64) -> Result<Caps> {
    if number > CAP_LAST { Err(Errno::EINVAL) } else { Ok(Caps::from_bits_truncate(1 << number)) }
}

fn capability_prctl(me: &Task, args: &Args) -> Result<u64> {
    let value = args.0[1];
    let cred = me.cred();
    let change = |f: &mut dyn FnMut(&mut crate::task::cred::Cred)| {
        let mut new = (*cred).clone();
        f(&mut new);
        me.set_cred(new);
        Ok(0)
    };
    match args.uint(0) {
        pr::PR_CAPBSET_READ => Ok(u64::from(cred.bounding.contains(capability(value)?))),
        pr::PR_CAPBSET_DROP => {
            if !cred.capable(Caps::SETPCAP) {
                return Err(Errno::EPERM);
            }
            let dropped = capability(value)?;
            change(&mut |new| new.bounding &= !dropped)
        }
        pr::PR_GET_KEEPCAPS => Ok(u64::from(cred.securebits & SECBIT_KEEP_CAPS != 0)),
        // Linux refuses more than 1, and to change the bit once it is locked.
        pr::PR_SET_KEEPCAPS if value > 1 => Err(Errno::EINVAL),
        pr::PR_SET_KEEPCAPS if cred.securebits & (SECBIT_KEEP_CAPS << 1) != 0 => Err(Errno::EPERM),
        pr::PR_SET_KEEPCAPS => change(&mut |new| {
            new.securebits =
                new.securebits & !SECBIT_KEEP_CAPS | if value == 1 { SECBIT_KEEP_CAPS } else { 0 };
        }),
        pr::PR_GET_SECUREBITS => Ok(u64::from(cred.securebits)),
        pr::PR_SET_SECUREBITS => {
            let (old, new) = (cred.securebits, value as u32);
            let locked = (old & 0xaa) >> 1;
            if value & !0xff != 0 || locked & (old ^ new) != 0 || old & 0xaa & !new != 0 {
                return Err(Errno::EPERM);
            }
            if !cred.capable(Caps::SETPCAP) {
                return Err(Errno::EPERM);
            }
            change(&mut |cred| cred.securebits = new)
        }
        pr::PR_CAP_AMBIENT => ambient(me, args),
        _ => Err(Errno::EINVAL),
    }
}

fn ambient(me: &Task, args: &Args) -> Result<u64> {
    let mut new = (*me.cred()).clone();
    if args.0[3] != 0 || args.0[4] != 0 {
        return Err(Errno::EINVAL);
    }
    let operation = args.uint(1);
    if operation == pr::PR_CAP_AMBIENT_CLEAR_ALL {
        if args.0[2] != 0 {
            return Err(Errno::EINVAL);
        }
        new.ambient = Caps::empty();
        me.set_cred(new);
        return Ok(0);
    }
    let cap = capability(args.0[2])?;
    match operation {
        pr::PR_CAP_AMBIENT_IS_SET => return Ok(u64::from(new.ambient.contains(cap))),
        pr::PR_CAP_AMBIENT_RAISE => {
            let allowed = new.permitted.contains(cap)
                && new.inheritable.contains(cap)
                && new.securebits & SECBIT_NO_CAP_AMBIENT_RAISE == 0;
            if !allowed {
                return Err(Errno::EPERM);
            }
            new.ambient |= cap;
        }
        pr::PR_CAP_AMBIENT_LOWER => new.ambient &= !cap,
        _ => return Err(Errno::EINVAL),
    }
    me.set_cred(new);
    Ok(0)
}
