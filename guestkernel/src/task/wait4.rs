//! Waiting for children to end, stop or continue.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::{
    Process, current,
    times::Usage,
    tree::{self, Node, Tree},
};
use crate::{
    errno::{Errno, Result},
    signal::{SIGCHLD, SIGCONT, info::cld},
};

bitflags::bitflags! {
    /// Options of `wait4` and `waitid`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Options: u32 {
        /// Do not block.
        const NOHANG = 1;
        /// Stopped children.
        const STOPPED = 2;
        /// Children that have ended.
        const EXITED = 4;
        /// Continued children.
        const CONTINUED = 8;
        /// Leave the child to be waited for again.
        const NOWAIT = 0x0100_0000;
        /// Not the children of other threads.
        const NOTHREAD = 0x2000_0000;
        /// Children of every kind.
        const ALL = 0x4000_0000;
        /// Children that do not send `SIGCHLD`.
        const CLONE = 0x8000_0000;
    }
}

/// Which children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    Any,
    /// The one with this id.
    Pid(u32),
    /// Those of this group.
    Group(u32),
}

/// What happened to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// Its process id.
    pub pid: u32,
    /// Its real user id.
    pub uid: u32,
    /// Wait status.
    pub status: i32,
    /// What it used.
    pub usage: Usage,
}

/// `si_code` and `si_status` of a wait status.
#[must_use]
pub const fn decode(status: i32) -> (i32, i32) {
    match status & 0x7f {
        _ if status == 0xffff => (cld::CONTINUED, SIGCONT as i32),
        0 => (cld::EXITED, status >> 8 & 0xff),
        0x7f => (cld::STOPPED, status >> 8 & 0xff),
        signo if status & 0x80 != 0 => (cld::DUMPED, signo),
        signo => (cld::KILLED, signo),
    }
}

/// Waits for a child of the current process. `None` when there is nothing yet and the call shall not block.
///
/// # Errors
/// `ECHILD` without such a child, `ERESTARTSYS`.
pub fn wait(which: Which, options: Options) -> Result<Option<Waited>> {
    let me = current();
    let process = me.process.clone();
    let thread = options.contains(Options::NOTHREAD).then(|| me.tid());
    let look = || match look(&mut tree::lock(), &process, thread, which, options) {
        Ok(None) if !options.contains(Options::NOHANG) => None,
        other => Some(other),
    };
    let (found, node) = process.child_wait.wait_until(look)?.map(|found| found.unzip())?;
    if let Some(node) = node.flatten() {
        node.process.ended.wake_all();
    }
    Ok(found)
}

/// Finds a child to report, of one `thread` alone or of any, and takes it off the table if it is over.
fn look(
    tree: &mut Tree,
    process: &Arc<Process>,
    thread: Option<u32>,
    which: Which,
    options: Options,
) -> Result<Option<(Waited, Option<Node>)>> {
    let children = &tree.node(process.pid).ok_or(Errno::ECHILD)?.children;
    let child = |pid| {
        tree.node(pid)
            .filter(|child| child.parent == process.pid && matches(child, thread, which, options))
            .and_then(|child| report(child, options))
    };
    let living = options.intersects(Options::STOPPED | Options::CONTINUED);
    let found = match which {
        Which::Pid(pid) => child(pid),
        // Only zombies have something to say, and they are few.
        _ if !living => children.ended().find_map(child),
        _ => children.iter().find_map(child),
    };
    let Some(waited) = found else {
        let eligible = |pid| {
            tree.node(pid)
                .is_some_and(|child| child.parent == process.pid && matches(child, thread, which, options))
        };
        let exists = match which {
            Which::Pid(pid) => eligible(pid),
            _ => children.iter().any(eligible),
        };
        return if exists { Ok(None) } else { Err(Errno::ECHILD) };
    };
    let over = tree.node(waited.pid).is_some_and(|child| child.zombie().is_some());
    let node =
        if over && !options.contains(Options::NOWAIT) { tree.remove_process(waited.pid) } else { None };
    if let Some(node) = &node {
        collect_usage(process, &node.process, &waited.usage);
    }
    Ok(Some((waited, node)))
}

fn matches(child: &Node, thread: Option<u32>, which: Which, options: Options) -> bool {
    let plain = child.process.exit_signal.load(Ordering::Relaxed) == SIGCHLD;
    let kind = options.contains(Options::ALL) || options.contains(Options::CLONE) != plain;
    let by = thread.is_none_or(|thread| child.parent_thread == thread);
    kind && by
        && match which {
            Which::Any => true,
            Which::Pid(pid) => child.process.pid == pid,
            Which::Group(pgid) => child.pgid == pgid,
        }
}

/// What there is to say of a child.
fn report(child: &Node, options: Options) -> Option<Waited> {
    let pid = child.process.pid;
    if let Some(zombie) = child.zombie() {
        let waited = Waited { pid, uid: zombie.uid, status: zombie.status, usage: zombie.usage };
        return options.contains(Options::EXITED).then_some(waited);
    }
    let mut inner = child.process.inner.lock();
    let keep = options.contains(Options::NOWAIT);
    let status = if inner.job.report_stop && options.contains(Options::STOPPED) {
        inner.job.report_stop = keep;
        (inner.job.stop << 8 | 0x7f) as i32
    } else if inner.job.report_continue && options.contains(Options::CONTINUED) {
        inner.job.report_continue = keep;
        0xffff
    } else {
        return None;
    };
    let uid = inner.threads.first().map_or(0, |task| task.with_cred(|cred| cred.uid));
    Some(Waited { pid, uid, status, usage: inner.dead })
}

/// A child's usage becomes its parent's.
fn collect_usage(parent: &Process, child: &Process, own: &Usage) {
    let of_grandchildren = child.children_usage();
    let mut inner = parent.inner.lock();
    inner.children.add(own);
    inner.children.add(&of_grandchildren);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::tree::Zombie;

    fn family() -> (Tree, Arc<Process>) {
        let mut tree = Tree::empty();
        for (pid, parent) in [(1, 0), (2, 1), (3, 1)] {
            tree.add_process(Arc::new(Process::new(pid, Arc::default(), Default::default())), parent);
        }
        let first = tree.node(1).unwrap().process.clone();
        (tree, first)
    }

    fn end(tree: &mut Tree, pid: u32, status: i32) {
        tree.end(pid, Zombie { status, uid: 0, usage: Usage::default() });
    }

    #[test]
    fn a_zombie_is_reported_once() {
        let (mut tree, first) = family();
        assert!(look(&mut tree, &first, None, Which::Any, Options::EXITED).unwrap().is_none());
        end(&mut tree, 3, 0x300);
        let again =
            look(&mut tree, &first, None, Which::Any, Options::EXITED | Options::NOWAIT).unwrap().unwrap();
        assert_eq!((again.0.pid, again.1.is_none()), (3, true));
        let found = look(&mut tree, &first, None, Which::Any, Options::EXITED).unwrap().unwrap();
        assert_eq!((found.0.pid, found.0.status), (3, 0x300));
        assert_eq!(look(&mut tree, &first, None, Which::Pid(3), Options::EXITED).err(), Some(Errno::ECHILD));
    }

    #[test]
    fn stops_and_continuations_need_their_options() {
        let (mut tree, first) = family();
        {
            let child = &tree.node(2).unwrap().process;
            let mut inner = child.inner.lock();
            (inner.job.stop, inner.job.report_stop) = (19, true);
        }
        assert!(look(&mut tree, &first, None, Which::Any, Options::EXITED).unwrap().is_none());
        let options = Options::EXITED | Options::STOPPED;
        assert_eq!(look(&mut tree, &first, None, Which::Pid(2), options).unwrap().unwrap().0.status, 0x137f);
        assert!(look(&mut tree, &first, None, Which::Pid(2), options).unwrap().is_none());
    }

    #[test]
    fn children_without_sigchld_need_wclone_or_wall() {
        let (mut tree, first) = family();
        tree.node(2).unwrap().process.exit_signal.store(0, Ordering::Relaxed);
        end(&mut tree, 2, 0);
        assert_eq!(look(&mut tree, &first, None, Which::Pid(2), Options::EXITED).err(), Some(Errno::ECHILD));
        let options = Options::EXITED | Options::ALL | Options::NOWAIT;
        assert!(look(&mut tree, &first, None, Which::Pid(2), options).unwrap().is_some());
        let options = Options::EXITED | Options::CLONE;
        assert!(look(&mut tree, &first, None, Which::Pid(2), options).unwrap().is_some());
    }

    #[test]
    fn statuses_decode() {
        assert_eq!(decode(0x0300), (cld::EXITED, 3));
        assert_eq!(decode(9), (cld::KILLED, 9));
        assert_eq!(decode(0x8b), (cld::DUMPED, 11));
        assert_eq!(decode(0x137f), (cld::STOPPED, 19));
        assert_eq!(decode(0xffff), (cld::CONTINUED, 18));
    }
}
