//! Scheduling: yielding, policies, priorities, affinity.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Args, time};
use crate::{
    arch::{self, uaccess},
    errno::{Errno, Result},
    mem::PAGE_SIZE,
    task::{self, Task, cred::Caps, current, rlimit::Resource, sched::policy, tree},
};

/// With a policy: children start with `SCHED_OTHER`.
const RESET_ON_FORK: u32 = 0x4000_0000;

/// Flags of `struct sched_attr`.
mod flag {
    pub(super) const RESET_ON_FORK: u64 = 1;
    pub(super) const KEEP_POLICY: u64 = 8;
    pub(super) const KEEP_PARAMS: u64 = 0x10;
    pub(super) const UTIL_CLAMP: u64 = 0x60;
    pub(super) const ALL: u64 = 0x7f;
}

/// `struct sched_attr`, as of its second version.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Attr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

const ATTR_SIZE: usize = size_of::<Attr>();
/// The size of its first version.
const ATTR_SIZE_0: usize = 48;

/// What a call asks for. `None`: as it is.
struct Wish {
    policy: Option<u32>,
    reset_on_fork: bool,
    priority: u32,
    nice: i32,
    /// Nothing is to change but what happens on a fork.
    keep: bool,
}

fn named(tid: i32) -> Result<Arc<Task>> {
    match tid {
        0 => Ok(current().arc()),
        tid if tid < 0 => Err(Errno::EINVAL),
        tid => tree::task(tid as u32).ok_or(Errno::ESRCH),
    }
}

/// As [`named`], but a negative number names nobody: so Linux has it for affinity.
fn anyone(tid: i32) -> Result<Arc<Task>> {
    if tid < 0 { Err(Errno::ESRCH) } else { named(tid) }
}

fn same_owner(target: &Task) -> bool {
    let own = current().cred();
    target.with_cred(|other| own.euid == other.euid || own.euid == other.uid)
}

fn may_nice() -> bool {
    current().with_cred(|cred| cred.capable(Caps::SYS_NICE))
}

/// Whether `RLIMIT_NICE` lets `target` have this nice value.
fn nice_allowed(target: &Task, nice: i32) -> bool {
    i64::try_from(target.process.rlimit(Resource::Nice).soft).is_ok_and(|limit| i64::from(20 - nice) <= limit)
        || target.process.rlimit(Resource::Nice).soft > i64::MAX as u64
}

/// `sched_yield(2)`.
pub fn sched_yield(_: &Args) -> Result<u64> {
    task::sched::yield_now();
    Ok(0)
}

/// Applies a wish, if it is valid and the caller may.
fn apply(target: &Arc<Task>, wish: &Wish) -> Result<()> {
    let share = &target.sched.share;
    let old = share.policy();
    let new = wish.policy.unwrap_or(old);
    let real_time = matches!(new, policy::FIFO | policy::RR);
    match new {
        policy::OTHER | policy::BATCH | policy::IDLE | policy::EXT | policy::FIFO | policy::RR => {}
        _ => return Err(Errno::EINVAL),
    }
    if wish.priority > 99 || real_time != (wish.priority != 0) {
        return Err(Errno::EINVAL);
    }
    let nice = target.nice.load(Ordering::Relaxed);
    let limit = target.process.rlimit(Resource::RealtimePriority).soft;
    let privileged = if real_time {
        new != old && limit == 0 || wish.priority > share.priority() && u64::from(wish.priority) > limit
    } else {
        wish.nice < nice && !nice_allowed(target, wish.nice)
            || old == policy::IDLE && new != policy::IDLE && !nice_allowed(target, nice)
    };
    let reset = target.reset_on_fork.load(Ordering::Relaxed);
    if (privileged || !same_owner(target) || reset && !wish.reset_on_fork) && !may_nice() {
        return Err(Errno::EPERM);
    }
    target.reset_on_fork.store(wish.reset_on_fork, Ordering::Relaxed);
    if wish.keep {
        return Ok(());
    }
    // A real-time task keeps its nice value for later.
    let nice = if real_time { nice } else { wish.nice };
    target.nice.store(nice, Ordering::Relaxed);
    task::sched::set_share(target, new, wish.priority, nice);
    Ok(())
}

/// `sched_getscheduler(2)`.
pub fn sched_getscheduler(args: &Args) -> Result<u64> {
    let target = named(args.int(0))?;
    let reset = if target.reset_on_fork.load(Ordering::Relaxed) { RESET_ON_FORK } else { 0 };
    Ok(u64::from(target.sched.share.policy() | reset))
}

/// `sched_setscheduler(2)`.
pub fn sched_setscheduler(args: &Args) -> Result<u64> {
    let policy = args.uint(1);
    if args.int(1) < 0 || args.int(0) < 0 || args.addr(2) == 0 {
        return Err(Errno::EINVAL);
    }
    let priority: u32 = uaccess::get(args.addr(2))?;
    let target = named(args.int(0))?;
    let wish = Wish {
        policy: Some(policy & !RESET_ON_FORK),
        reset_on_fork: policy & RESET_ON_FORK != 0,
        priority,
        nice: target.nice.load(Ordering::Relaxed),
        keep: false,
    };
    apply(&target, &wish).map(|()| 0)
}

/// `sched_setparam(2)`.
pub fn sched_setparam(args: &Args) -> Result<u64> {
    if args.addr(1) == 0 || args.int(0) < 0 {
        return Err(Errno::EINVAL);
    }
    let priority: u32 = uaccess::get(args.addr(1))?;
    let target = named(args.int(0))?;
    let wish = Wish {
        policy: None,
        reset_on_fork: target.reset_on_fork.load(Ordering::Relaxed),
        priority,
        nice: target.nice.load(Ordering::Relaxed),
        keep: false,
    };
    apply(&target, &wish).map(|()| 0)
}

/// `sched_getparam(2)`.
pub fn sched_getparam(args: &Args) -> Result<u64> {
    if args.addr(1) == 0 {
        return Err(Errno::EINVAL);
    }
    let priority = named(args.int(0))?.sched.share.priority();
    uaccess::put(args.addr(1), &priority).map(|()| 0)
}

/// Copies a `struct sched_attr` of any version in. Tells the caller the size that is known when it cannot.
fn get_attr(addr: u64) -> Result<Attr> {
    let refuse = || {
        // As Linux, whose result does not depend on it.
        let _ = uaccess::put(addr, &(ATTR_SIZE as u32));
        Err(Errno::E2BIG)
    };
    let size = match uaccess::get::<u32>(addr)? as usize {
        0 => ATTR_SIZE_0,
        size => size,
    };
    if !(ATTR_SIZE_0..=PAGE_SIZE as usize).contains(&size) {
        return refuse();
    }
    let mut attr = Attr::default();
    let known = size.min(ATTR_SIZE);
    uaccess::copy_from_user(&mut attr.as_mut_bytes()[..known], addr)?;
    for at in ATTR_SIZE..size {
        if uaccess::get::<u8>(addr + at as u64)? != 0 {
            return refuse();
        }
    }
    if attr.flags & flag::UTIL_CLAMP != 0 && size < ATTR_SIZE {
        return Err(Errno::EINVAL);
    }
    Ok(attr)
}

/// `sched_setattr(2)`.
pub fn sched_setattr(args: &Args) -> Result<u64> {
    if args.addr(1) == 0 || args.int(0) < 0 || args.uint(2) != 0 {
        return Err(Errno::EINVAL);
    }
    let attr = get_attr(args.addr(1))?;
    if attr.policy.cast_signed() < 0 {
        return Err(Errno::EINVAL);
    }
    let target = named(args.int(0))?;
    if attr.flags & !flag::ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let keep = attr.flags & flag::KEEP_PARAMS != 0;
    let policy = if keep || attr.flags & flag::KEEP_POLICY != 0 { None } else { Some(attr.policy) };
    if policy == Some(policy::DEADLINE) {
        return deadline(&attr);
    }
    if attr.flags & flag::UTIL_CLAMP != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let wish = Wish {
        policy,
        reset_on_fork: attr.flags & flag::RESET_ON_FORK != 0,
        priority: if keep { target.sched.share.priority() } else { attr.priority },
        nice: if keep { target.nice.load(Ordering::Relaxed) } else { attr.nice.clamp(-20, 19) },
        keep,
    };
    apply(&target, &wish).map(|()| 0)
}

/// `SCHED_DEADLINE`: no bandwidth is set aside for it, so who may ask is told that there is none left.
fn deadline(attr: &Attr) -> Result<u64> {
    let period = if attr.period == 0 { attr.deadline } else { attr.period };
    let ordered = (1 << 10..=attr.deadline).contains(&attr.runtime) && attr.deadline <= period;
    if attr.priority != 0 || attr.deadline == 0 || !ordered || (attr.deadline | period) >> 63 != 0 {
        return Err(Errno::EINVAL);
    }
    Err(if may_nice() { Errno::EBUSY } else { Errno::EPERM })
}

/// `sched_getattr(2)`.
pub fn sched_getattr(args: &Args) -> Result<u64> {
    let size = args.uint(2) as usize;
    if args.addr(1) == 0
        || args.int(0) < 0
        || !(ATTR_SIZE_0..=PAGE_SIZE as usize).contains(&size)
        || args.uint(3) != 0
    {
        return Err(Errno::EINVAL);
    }
    let target = named(args.int(0))?;
    let share = &target.sched.share;
    let fair = share.priority() == 0;
    let reset = target.reset_on_fork.load(Ordering::Relaxed);
    let known = size.min(ATTR_SIZE);
    let attr = Attr {
        size: known as u32,
        policy: share.policy(),
        flags: if reset { flag::RESET_ON_FORK } else { 0 },
        nice: if fair { target.nice.load(Ordering::Relaxed) } else { 0 },
        priority: share.priority(),
        runtime: if fair { task::sched::SLICE_NS } else { 0 },
        ..Attr::default()
    };
    uaccess::copy_to_user(args.addr(1), &attr.as_bytes()[..known]).map(|()| 0)
}

fn priorities(of: u32) -> Result<(u64, u64)> {
    match of {
        policy::FIFO | policy::RR => Ok((1, 99)),
        policy::OTHER | policy::BATCH | policy::IDLE | policy::DEADLINE | policy::EXT => Ok((0, 0)),
        _ => Err(Errno::EINVAL),
    }
}

/// `sched_get_priority_max(2)`.
pub fn sched_get_priority_max(args: &Args) -> Result<u64> {
    priorities(args.uint(0)).map(|(_, max)| max)
}

/// `sched_get_priority_min(2)`.
pub fn sched_get_priority_min(args: &Args) -> Result<u64> {
    priorities(args.uint(0)).map(|(min, _)| min)
}

/// `sched_rr_get_interval(2)`.
pub fn sched_rr_get_interval(args: &Args) -> Result<u64> {
    let slice = named(args.int(0))?.sched.share.slice_ns().unwrap_or(0);
    uaccess::put(args.addr(1), &time::timespec(slice)).map(|()| 0)
}

/// CPUs that exist, a bit each.
fn all_cpus() -> u64 {
    let count = arch::cpu::count();
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// `sched_setaffinity(2)`.
pub fn sched_setaffinity(args: &Args) -> Result<u64> {
    let mut bytes = [0; 8];
    let length = args.size(1).min(bytes.len());
    uaccess::copy_from_user(&mut bytes[..length], args.addr(2))?;
    let target = anyone(args.int(0))?;
    if !same_owner(&target) && !may_nice() {
        return Err(Errno::EPERM);
    }
    let wanted = u64::from_le_bytes(bytes) & all_cpus();
    if wanted == 0 {
        return Err(Errno::EINVAL);
    }
    task::sched::set_affinity(&target, wanted);
    Ok(0)
}

/// `sched_getaffinity(2)`.
pub fn sched_getaffinity(args: &Args) -> Result<u64> {
    let length = args.size(1);
    if length * 8 < arch::cpu::count() || !length.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let target = anyone(args.int(0))?;
    let set = target.sched.affinity() & all_cpus();
    uaccess::put(args.addr(2), &set)?;
    Ok(8)
}

/// rseq(2).
pub fn rseq(args: &Args) -> Result<u64> {
    task::rseq::register(&current(), args.addr(0), args.uint(1), args.uint(2), args.uint(3)).map(|()| 0)
}

/// getcpu(2).
pub fn getcpu(args: &Args) -> Result<u64> {
    if args.addr(0) != 0 {
        uaccess::put(args.addr(0), &(arch::cpu::current_index() as u32))?;
    }
    if args.addr(1) != 0 {
        uaccess::put(args.addr(1), &0u32)?;
    }
    Ok(0)
}

/// Calls `f` for every thread that `which` and `who` name; whether there was one.
fn for_each_named(which: i32, who: i32, mut f: impl FnMut(&Arc<Task>) -> Result<()>) -> Result<bool> {
    let id = u32::try_from(who).map_err(|_| Errno::ESRCH)?;
    let me = current();
    let mut any = false;
    let mut each = |task: &Arc<Task>| {
        any = true;
        f(task)
    };
    match which {
        0 => each(&named(who)?)?,
        1 => {
            let tree = tree::lock();
            let own = tree.node(me.process.pid).map_or(0, |node| node.pgid);
            let group = if id == 0 { own } else { id };
            let all: alloc::vec::Vec<_> = tree.group(group).flat_map(|node| node.process.threads()).collect();
            drop(tree);
            all.iter().try_for_each(each)?;
        }
        2 => {
            let uid = if id == 0 { me.with_cred(|cred| cred.uid) } else { id };
            let mut all = alloc::vec::Vec::new();
            task::for_each_process(|process| all.extend(process.threads()));
            all.iter().filter(|task| task.with_cred(|cred| cred.uid == uid)).try_for_each(each)?;
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(any)
}

/// getpriority(2): 20 less the highest nice value's rank.
pub fn getpriority(args: &Args) -> Result<u64> {
    let mut best = 0;
    let any = for_each_named(args.int(0), args.int(1), |task| {
        best = best.max(20 - task.nice.load(Ordering::Relaxed));
        Ok(())
    })?;
    if any { Ok(best as u64) } else { Err(Errno::ESRCH) }
}

/// setpriority(2).
pub fn setpriority(args: &Args) -> Result<u64> {
    let nice = args.int(2).clamp(-20, 19);
    let own = current().cred();
    let any = for_each_named(args.int(0), args.int(1), |task| {
        let owner = task.with_cred(|other| own.euid == other.euid || own.euid == other.uid);
        if !owner && !own.capable(Caps::SYS_NICE) {
            return Err(Errno::EPERM);
        }
        let floor = 20 - i64::try_from(task.process.rlimit(Resource::Nice).soft).unwrap_or(40);
        let old = task.nice.load(Ordering::Relaxed);
        if nice < old && i64::from(nice) < floor && !own.capable(Caps::SYS_NICE) {
            return Err(Errno::EACCES);
        }
        task.nice.store(nice, Ordering::Relaxed);
        let share = &task.sched.share;
        task::sched::set_share(task, share.policy(), share.priority(), nice);
        Ok(())
    })?;
    if any { Ok(0) } else { Err(Errno::ESRCH) }
}
