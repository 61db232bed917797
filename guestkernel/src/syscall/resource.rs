//! Resource limits and usage.

use core::sync::atomic::Ordering;

use super::Args;
use crate::{
    arch::{clock, uaccess},
    errno::{Errno, Result},
    task::{
        Process, Task,
        cred::Caps,
        current,
        rlimit::{COUNT, Resource, Rlimit},
        times::Usage,
        tree,
    },
    time::cpu_timer,
};

/// Highest `RLIMIT_NOFILE`, `fs.nr_open`.
const NR_OPEN: u64 = 1 << 20;

/// The limit of a number.
fn number(number: i32) -> Result<usize> {
    usize::try_from(number).ok().filter(|&number| number < COUNT).ok_or(Errno::EINVAL)
}

/// getrlimit(2).
pub fn getrlimit(args: &Args) -> Result<u64> {
    let limit = current().process.rlimits().0[number(args.int(0))?];
    uaccess::put(args.addr(1), &limit).map(|()| 0)
}

/// setrlimit(2).
pub fn setrlimit(args: &Args) -> Result<u64> {
    let new = uaccess::get(args.addr(1))?;
    change_limit(&current().process, number(args.int(0))?, Some(new)).map(|_| 0)
}

/// prlimit64(2).
pub fn prlimit64(args: &Args) -> Result<u64> {
    let new = if args.addr(2) == 0 { None } else { Some(uaccess::get(args.addr(2))?) };
    let me = current();
    let target = match args.int(0) {
        0 => me.arc(),
        tid => tree::task(u32::try_from(tid).map_err(|_| Errno::ESRCH)?).ok_or(Errno::ESRCH)?,
    };
    if !alloc::sync::Arc::ptr_eq(&target.process, &me.process) && !may_limit(&me, &target) {
        return Err(Errno::EPERM);
    }
    let old = change_limit(&target.process, number(args.int(1))?, new)?;
    if args.addr(3) != 0 {
        uaccess::put(args.addr(3), &old)?;
    }
    Ok(0)
}

fn may_limit(me: &Task, target: &Task) -> bool {
    let (own, other) = (me.cred(), target.cred());
    own.capable(Caps::SYS_RESOURCE)
        || [other.uid, other.euid, other.suid] == [own.uid; 3]
            && [other.gid, other.egid, other.sgid] == [own.gid; 3]
}

fn change_limit(process: &Process, number: usize, new: Option<Rlimit>) -> Result<Rlimit> {
    let may_raise = current().with_cred(|cred| cred.capable(Caps::SYS_RESOURCE));
    let old = process.with_rlimits(|limits| {
        let slot = &mut limits.0[number];
        let old = *slot;
        if let Some(new) = new {
            if new.soft > new.hard {
                return Err(Errno::EINVAL);
            }
            let too_many_files = number == Resource::OpenFiles as usize && new.hard > NR_OPEN;
            if too_many_files || new.hard > old.hard && !may_raise {
                return Err(Errno::EPERM);
            }
            *slot = new;
        }
        Ok(old)
    })?;
    if number == Resource::Cpu as usize
        && let Some(new) = new
    {
        process.cpu_timers.on_limit(new);
        cpu_timer::look_again(process);
    }
    if let (Some(new), Some(mm)) = (new, process.any_thread().and_then(|task| task.address_space())) {
        let limits = &mm.limits;
        let field = match number {
            n if n == Resource::AddressSpace as usize => &limits.space,
            n if n == Resource::Data as usize => &limits.data,
            n if n == Resource::Stack as usize => &limits.stack,
            _ => return Ok(old),
        };
        field.store(new.soft, Ordering::Relaxed);
    }
    Ok(old)
}

/// `struct rusage`.
pub(super) fn rusage(usage: &Usage) -> [u64; 18] {
    let seconds = |ns: u64| [ns / 1_000_000_000, ns % 1_000_000_000 / 1000];
    let ([user_s, user_us], [system_s, system_us]) = (seconds(usage.user_ns), seconds(usage.system_ns));
    let mut all = [0; 18];
    all[..5].copy_from_slice(&[user_s, user_us, system_s, system_us, usage.max_rss]);
    all[8..10].copy_from_slice(&[usage.minor_faults, usage.major_faults]);
    all[16..].copy_from_slice(&[usage.voluntary, usage.involuntary]);
    all
}

/// Who asks for user and system time has them sampled from now on.
fn sample(me: &Task) {
    if !me.process.cpu_timers.is_sampled() {
        me.process.cpu_timers.sample();
        cpu_timer::arm_for(me, clock::monotonic_ns());
    }
}

/// getrusage(2).
pub fn getrusage(args: &Args) -> Result<u64> {
    let me = current();
    sample(&me);
    let mut usage = match args.int(0) {
        0 => me.process.usage(),
        -1 => me.process.children_usage(),
        1 => me.usage(),
        _ => return Err(Errno::EINVAL),
    };
    if args.int(0) >= 0 {
        usage.max_rss = usage.max_rss.max(me.mm()?.usage().2 * 4);
    }
    uaccess::put(args.addr(1), &rusage(&usage)).map(|()| 0)
}

/// times(2).
pub fn times(args: &Args) -> Result<u64> {
    let me = current();
    sample(&me);
    let process = &me.process;
    if args.addr(0) != 0 {
        let ([user, system], [children_user, children_system]) =
            (process.usage().ticks(), process.children_usage().ticks());
        uaccess::put(args.addr(0), &[user, system, children_user, children_system])?;
    }
    Ok(clock::monotonic_ns() / 10_000_000)
}
