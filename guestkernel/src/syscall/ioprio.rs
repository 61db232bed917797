//! I/O priorities. They are kept; the host, which does the I/O, does not see them.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use super::Args;
use crate::{
    errno::{Errno, Result},
    task::{self, Task, cred::Caps, current, tree},
};

const CLASS_SHIFT: u32 = 13;
const REALTIME: u32 = 1;
const BEST_EFFORT: u32 = 2;
const IDLE: u32 = 3;

/// The threads that `which` and `who` name.
fn named(which: i32, who: i32) -> Result<Vec<Arc<Task>>> {
    let me = current();
    let mut all = Vec::new();
    match which {
        1 if who == 0 => all.push(me.arc()),
        1 => all.extend(u32::try_from(who).ok().and_then(tree::task)),
        2 => {
            let tree = tree::lock();
            let own = tree.node(me.process.pid).map_or(0, |node| node.pgid);
            let group = if who == 0 { own } else { who as u32 };
            all.extend(tree.group(group).flat_map(|node| node.process.threads()));
        }
        3 => {
            let uid = if who == 0 { me.with_cred(|cred| cred.uid) } else { who as u32 };
            task::for_each_process(|process| {
                all.extend(
                    process.threads().into_iter().filter(|task| task.with_cred(|cred| cred.uid == uid)),
                );
            });
        }
        _ => return Err(Errno::EINVAL),
    }
    if all.is_empty() { Err(Errno::ESRCH) } else { Ok(all) }
}

/// What counts for a task: its own priority, or one that follows its nice value.
fn effective(task: &Task) -> u32 {
    match task.io_priority.load(Ordering::Relaxed) {
        own if own >> CLASS_SHIFT != 0 => own,
        _ => BEST_EFFORT << CLASS_SHIFT | ((task.nice.load(Ordering::Relaxed) + 20) / 5) as u32,
    }
}

/// `ioprio_get(2)`.
///
/// # Errors
/// As `ioprio_get(2)`.
pub fn ioprio_get(args: &Args) -> Result<u64> {
    let all = named(args.int(0), args.int(1))?;
    if args.int(0) == 1 {
        return Ok(all.first().map_or(0, |task| task.io_priority.load(Ordering::Relaxed)).into());
    }
    // The strictest class is the lowest number, and so is the best level.
    Ok(all.iter().map(|task| effective(task)).min().unwrap_or(0).into())
}

/// `ioprio_set(2)`.
///
/// # Errors
/// As `ioprio_set(2)`.
pub fn ioprio_set(args: &Args) -> Result<u64> {
    let wanted = args.uint(2);
    let own = current().cred();
    let (class, level) = (wanted >> CLASS_SHIFT, wanted & 7);
    match class {
        REALTIME if !own.capable(Caps::SYS_NICE) && !own.capable(Caps::SYS_ADMIN) => {
            return Err(Errno::EPERM);
        }
        REALTIME | BEST_EFFORT | IDLE => {}
        0 if level == 0 => {}
        _ => return Err(Errno::EINVAL),
    }
    for task in named(args.int(0), args.int(1))? {
        let owner = task.with_cred(|other| other.uid == own.euid || other.uid == own.uid);
        if !owner && !own.capable(Caps::SYS_NICE) {
            return Err(Errno::EPERM);
        }
        task.io_priority.store(wanted, Ordering::Relaxed);
    }
    Ok(0)
}
