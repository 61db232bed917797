//! Scheduling: yielding, policies, priorities, affinity.
//!
//! One class exists, time sharing without weights. Policies and nice values are kept so that programs read
//! back what they set.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::{Args, time};
use crate::{
    arch::{self, uaccess},
    errno::{Errno, Result},
    task::{self, Task, cred::Caps, current, rlimit::Resource, tree},
};

const SCHED_OTHER: u32 = 0;
const SCHED_FIFO: u32 = 1;
const SCHED_RR: u32 = 2;
const SCHED_BATCH: u32 = 3;
const SCHED_IDLE: u32 = 5;
const SCHED_DEADLINE: u32 = 6;
const SCHED_RESET_ON_FORK: u32 = 0x4000_0000;

fn named(tid: i32) -> Result<Arc<Task>> {
    match tid {
        0 => Ok(current().arc()),
        tid if tid < 0 => Err(Errno::EINVAL),
        tid => tree::task(tid as u32).ok_or(Errno::ESRCH),
    }
}

/// Whether the caller may change how `target` is scheduled.
fn may_change(target: &Task) -> bool {
    let own = current().cred();
    own.capable(Caps::SYS_NICE) || target.with_cred(|other| own.euid == other.euid || own.euid == other.uid)
}

/// `sched_yield(2)`.
pub fn sched_yield(_: &Args) -> Result<u64> {
    task::sched::yield_now();
    Ok(0)
}

/// `sched_getscheduler(2)`.
pub fn sched_getscheduler(args: &Args) -> Result<u64> {
    Ok(u64::from(named(args.int(0))?.policy.load(Ordering::Relaxed)))
}

/// `sched_setscheduler(2)`.
pub fn sched_setscheduler(args: &Args) -> Result<u64> {
    let policy = args.uint(1);
    if args.int(1) < 0 || args.addr(2) == 0 {
        return Err(Errno::EINVAL);
    }
    let priority: i32 = uaccess::get(args.addr(2))?;
    let target = named(args.int(0))?;
    match policy & !SCHED_RESET_ON_FORK {
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE if priority == 0 => {}
        SCHED_FIFO | SCHED_RR if (1..=99).contains(&priority) => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    }
    if !may_change(&target) {
        return Err(Errno::EPERM);
    }
    target.policy.store(policy, Ordering::Relaxed);
    Ok(0)
}

/// `sched_setparam(2)`.
pub fn sched_setparam(args: &Args) -> Result<u64> {
    if args.addr(1) == 0 {
        return Err(Errno::EINVAL);
    }
    let priority: i32 = uaccess::get(args.addr(1))?;
    named(args.int(0))?;
    if priority == 0 { Ok(0) } else { Err(Errno::EINVAL) }
}

/// `sched_getparam(2)`.
pub fn sched_getparam(args: &Args) -> Result<u64> {
    if args.addr(1) == 0 {
        return Err(Errno::EINVAL);
    }
    named(args.int(0))?;
    uaccess::put(args.addr(1), &0i32).map(|()| 0)
}

fn priorities(policy: u32) -> Result<(u64, u64)> {
    match policy {
        SCHED_FIFO | SCHED_RR => Ok((1, 99)),
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok((0, 0)),
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
    named(args.int(0))?;
    uaccess::put(args.addr(1), &time::timespec(task::sched::SLICE_NS)).map(|()| 0)
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
    let target = named(args.int(0))?;
    if !may_change(&target) {
        return Err(Errno::EPERM);
    }
    let wanted = u64::from_le_bytes(bytes) & all_cpus();
    if wanted == 0 {
        return Err(Errno::EINVAL);
    }
    target.sched.affinity.store(wanted, Ordering::Relaxed);
    target.request_resched();
    Ok(0)
}

/// `sched_getaffinity(2)`.
pub fn sched_getaffinity(args: &Args) -> Result<u64> {
    let length = args.size(1);
    if length * 8 < arch::cpu::count() || !length.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let target = named(args.int(0))?;
    let set = target.sched.affinity.load(Ordering::Relaxed) & all_cpus();
    uaccess::put(args.addr(2), &set)?;
    Ok(8)
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
        Ok(())
    })?;
    if any { Ok(0) } else { Err(Errno::ESRCH) }
}
