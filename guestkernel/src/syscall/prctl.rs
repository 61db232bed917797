//! prctl(2).

use core::sync::atomic::{AtomicU32, Ordering};
use linux_raw_sys::prctl as pr;

use super::Args;
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    signal,
    task::{
        Task,
        cred::{CAP_LAST, Caps, SECBIT_KEEP_CAPS, SECBIT_NO_CAP_AMBIENT_RAISE},
        current, trait_bits,
    },
};

/// How often options were asked for that there are not.
static ABSENT: AtomicU32 = AtomicU32::new(0);

/// Refuses arguments that must be zero.
fn unused(args: &[u64]) -> Result<()> {
    if args.iter().all(|&arg| arg == 0) { Ok(()) } else { Err(Errno::EINVAL) }
}

/// prctl(2).
///
/// # Errors
/// As prctl(2).
pub fn prctl(args: &Args) -> Result<u64> {
    let me = current();
    let (value, rest) = (args.0[1], &args.0[2..5]);
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
            let slack = if value == 0 { me.default_timer_slack.load(Ordering::Relaxed) } else { value };
            me.timer_slack.store(slack, Ordering::Relaxed);
            Ok(0)
        }
        pr::PR_GET_TIMERSLACK => Ok(me.timer_slack.load(Ordering::Relaxed)),
        pr::PR_GET_SECCOMP => Ok(me.seccomp.mode() as u64),
        pr::PR_SET_SECCOMP => super::seccomp::prctl(value, args.0[2]),
        _ => machine_prctl(&me, args),
    }
}

/// What concerns the machine and its memory.
fn machine_prctl(me: &Task, args: &Args) -> Result<u64> {
    let (value, rest) = (args.0[1], &args.0[2..5]);
    match args.uint(0) {
        pr::PR_GET_TSC => uaccess::put(value, &pr::PR_TSC_ENABLE).map(|()| 0),
        pr::PR_SET_TSC if value == u64::from(pr::PR_TSC_ENABLE) => Ok(0),
        // There is one way of accounting time.
        pr::PR_GET_TIMING => Ok(0),
        pr::PR_SET_TIMING if value == 0 => Ok(0),
        // There are no events to count.
        pr::PR_TASK_PERF_EVENTS_DISABLE | pr::PR_TASK_PERF_EVENTS_ENABLE => Ok(0),
        pr::PR_GET_TID_ADDRESS => {
            uaccess::put(value, &me.clear_child_tid.load(Ordering::Relaxed)).map(|()| 0)
        }
        pr::PR_SET_THP_DISABLE => {
            unused(rest)?;
            me.process.no_huge_pages.store(value != 0, Ordering::Relaxed);
            Ok(0)
        }
        pr::PR_GET_THP_DISABLE => {
            unused(&args.0[1..5])?;
            Ok(u64::from(me.process.no_huge_pages.load(Ordering::Relaxed)))
        }
        pr::PR_MCE_KILL => machine_check(me, args),
        pr::PR_MCE_KILL_GET => {
            unused(&args.0[1..5])?;
            Ok(u64::from(match me.traits() {
                bits if bits & trait_bits::MCE_OWN == 0 => pr::PR_MCE_KILL_DEFAULT,
                bits if bits & trait_bits::MCE_EARLY != 0 => pr::PR_MCE_KILL_EARLY,
                _ => pr::PR_MCE_KILL_LATE,
            }))
        }
        pr::PR_SET_IO_FLUSHER | pr::PR_GET_IO_FLUSHER
            if !me.with_cred(|cred| cred.capable(Caps::SYS_RESOURCE)) =>
        {
            Err(Errno::EPERM)
        }
        pr::PR_SET_IO_FLUSHER => {
            unused(rest)?;
            if value > 1 {
                return Err(Errno::EINVAL);
            }
            me.set_traits(trait_bits::IO_FLUSHER, if value == 1 { trait_bits::IO_FLUSHER } else { 0 });
            Ok(0)
        }
        pr::PR_GET_IO_FLUSHER => {
            unused(&args.0[1..5])?;
            Ok(u64::from(me.traits() & trait_bits::IO_FLUSHER != 0))
        }
        pr::PR_GET_SPECULATION_CTRL | pr::PR_SET_SPECULATION_CTRL => speculation(args),
        pr::PR_SET_MM if !me.with_cred(|cred| cred.capable(Caps::SYS_RESOURCE)) => {
            let of_arrays =
                matches!(args.uint(1), pr::PR_SET_MM_AUXV | pr::PR_SET_MM_MAP | pr::PR_SET_MM_MAP_SIZE);
            let valid = args.0[4] == 0 && (args.0[3] == 0 || of_arrays);
            Err(if valid { Errno::EPERM } else { Errno::EINVAL })
        }
        pr::PR_SET_SYSCALL_USER_DISPATCH if value == 0 => unused(rest).map(|()| 0),
        _ => capability_prctl(me, args),
    }
}

/// `PR_MCE_KILL`: when a process learns of broken memory. It never does: the host handles that.
fn machine_check(me: &Task, args: &Args) -> Result<u64> {
    use trait_bits::{MCE_EARLY, MCE_OWN};
    unused(&args.0[3..5])?;
    let bits = match (args.uint(1), args.uint(2)) {
        _ if args.0[1] > 1 => return Err(Errno::EINVAL),
        (pr::PR_MCE_KILL_CLEAR, _) if args.0[2] != 0 => return Err(Errno::EINVAL),
        (pr::PR_MCE_KILL_CLEAR, _) | (_, pr::PR_MCE_KILL_DEFAULT) => 0,
        (_, pr::PR_MCE_KILL_EARLY) => MCE_OWN | MCE_EARLY,
        (_, pr::PR_MCE_KILL_LATE) => MCE_OWN,
        _ => {
            // As on Linux it has a policy of its own from the first try on.
            me.set_traits(MCE_OWN, MCE_OWN);
            return Err(Errno::EINVAL);
        }
    };
    me.set_traits(MCE_OWN | MCE_EARLY, bits);
    Ok(0)
}

/// Speculation is as the host has set it; a task cannot change it.
fn speculation(args: &Args) -> Result<u64> {
    const MISFEATURES: u64 = 3;
    /// The least control that there is to ask for, without "not affected".
    const CONTROLS: [u64; 4] = [2, 4, 8, 16];
    let set = args.uint(0) == pr::PR_SET_SPECULATION_CTRL;
    unused(if set { &args.0[3..5] } else { &args.0[2..5] })?;
    match args.0[1] {
        MISFEATURES.. => Err(Errno::ENODEV),
        _ if !set => Ok(u64::from(pr::PR_SPEC_ENABLE)),
        _ if CONTROLS.contains(&args.0[2]) => Err(Errno::ENXIO),
        _ => Err(Errno::ERANGE),
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
        option => {
            if ABSENT.fetch_add(1, Ordering::Relaxed) == 0 {
                log::info!("[{}] prctl option {option} is refused", me.tid());
            }
            Err(Errno::EINVAL)
        }
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
