//! Who exists: ids, parents and children, process groups and sessions.
//!
//! One table behind one lock, as Linux's task-list lock guards it. Ids are handed out in increasing order and
//! start over at `PID_MAX`, so that an id that was freed is not used again soon.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;
use hashbrown::HashMap;

use super::{
    Process, Task,
    children::{Children, Place},
    process::Phase,
    times::Usage,
};
use crate::{
    errno::{Errno, Result},
    signal::SIGCHLD,
    sync::{SpinLock, SpinLockGuard},
};

/// One more than the highest id, `/proc/sys/kernel/pid_max`.
pub const PID_MAX: u32 = 4_194_304;
/// Ids below this are not used again after starting over.
const RESERVED: u32 = 300;
/// Most tasks at once that a container may ask for, and that it has if it asks for no limit.
pub const TASKS_MAX: usize = 65_536;

/// A process's place in the tree.
#[derive(Debug)]
pub struct Node {
    /// The process.
    pub process: Arc<Process>,
    /// Its parent; 0 for the first process.
    pub parent: u32,
    /// The parent's thread that made it, or what took that one's place.
    pub parent_thread: u32,
    /// Its children, zombies included.
    pub children: Children,
    /// Its own place among its parent's.
    place: Place,
    /// Process group.
    pub pgid: u32,
    /// Session.
    pub sid: u32,
    zombie: Option<Zombie>,
}

impl Node {
    /// What is left of it, when it has ended and waits to be waited for.
    #[must_use]
    pub const fn zombie(&self) -> Option<&Zombie> {
        self.zombie.as_ref()
    }
}

/// What is left of a process that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Zombie {
    /// Wait status.
    pub status: i32,
    /// Real user id.
    pub uid: u32,
    /// What it used itself.
    pub usage: Usage,
}

/// The table.
#[derive(Debug)]
pub struct Tree {
    nodes: Option<HashMap<u32, Node>>,
    tasks: Option<HashMap<u32, Arc<Task>>>,
    last: u32,
    /// Something above `last` may be taken: ids have started over, or were asked for.
    wrapped: bool,
    /// Most tasks at once.
    most: usize,
}

static TREE: SpinLock<Tree> = SpinLock::new(Tree::empty());

/// Locks the table.
pub fn lock() -> SpinLockGuard<'static, Tree> {
    TREE.lock()
}

impl Tree {
    /// An empty table.
    pub(super) const fn empty() -> Self {
        Self { nodes: None, tasks: None, last: 0, wrapped: false, most: TASKS_MAX }
    }

    /// Sets how many tasks there may be at once, at most [`TASKS_MAX`]; 0 = no other limit than that.
    pub fn limit(&mut self, most: u64) {
        let most = if most == 0 { u64::MAX } else { most };
        self.most = usize::try_from(most).unwrap_or(usize::MAX).min(TASKS_MAX);
    }

    /// A fresh id.
    ///
    /// # Errors
    /// `EAGAIN` when there are too many tasks.
    pub fn allocate(&mut self) -> Result<u32> {
        if self.tasks.as_ref().is_some_and(|tasks| tasks.len() >= self.most) {
            return Err(Errno::EAGAIN);
        }
        for _ in 0..PID_MAX {
            self.last += 1;
            if self.last >= PID_MAX {
                self.last = RESERVED;
                self.wrapped = true;
            }
            if !self.wrapped || !self.in_use(self.last) {
                return Ok(self.last);
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Takes the id that a caller asks for.
    ///
    /// # Errors
    /// `EINVAL` for what is no id, `EEXIST` when it is taken, `EAGAIN` when there are too many tasks.
    pub fn claim(&mut self, id: u32) -> Result<u32> {
        if id == 0 || id >= PID_MAX {
            return Err(Errno::EINVAL);
        }
        if self.tasks.as_ref().is_some_and(|tasks| tasks.len() >= self.most) {
            return Err(Errno::EAGAIN);
        }
        if self.in_use(id) {
            return Err(Errno::EEXIST);
        }
        self.wrapped = true;
        Ok(id)
    }

    /// Whether an id that was given out was taken by somebody who asked for it meanwhile.
    #[must_use]
    pub fn was_taken(&self, id: u32) -> bool {
        self.wrapped && (self.task(id).is_some() || self.node(id).is_some())
    }

    /// Whether an id names a task, a process, a group or a session.
    fn in_use(&self, id: u32) -> bool {
        self.tasks.as_ref().is_some_and(|tasks| tasks.contains_key(&id))
            || self.node(id).is_some()
            || self.nodes().any(|node| node.pgid == id || node.sid == id)
    }

    /// Adds a process below `parent`, in its group and session (a first process: in its own).
    pub fn add_process(&mut self, process: Arc<Process>, parent: u32) {
        let pid = process.pid;
        let (pgid, sid) = self.node(parent).map_or((pid, pid), |node| (node.pgid, node.sid));
        let place = self.node_mut(parent).map_or(0, |node| node.children.add(pid, false));
        let children = Children::default();
        let node = Node { process, parent, parent_thread: parent, children, place, pgid, sid, zombie: None };
        self.nodes.get_or_insert_default().insert(pid, node);
    }

    /// Takes a process out. Its children must have other parents.
    pub fn remove_process(&mut self, pid: u32) -> Option<Node> {
        let node = self.nodes.as_mut()?.remove(&pid)?;
        node.process.set_phase(Phase::Reaped);
        if let Some(parent) = self.node_mut(node.parent) {
            parent.children.remove(node.place);
        }
        Some(node)
    }

    /// Makes a process a zombie.
    pub fn end(&mut self, pid: u32, zombie: Zombie) {
        let Some(node) = self.node_mut(pid) else { return };
        node.zombie = Some(zombie);
        node.process.set_phase(Phase::Ended);
        let (parent, place) = (node.parent, node.place);
        if let Some(parent) = self.node_mut(parent) {
            parent.children.end(place);
        }
    }

    /// Adds a thread.
    pub fn add_task(&mut self, task: Arc<Task>) {
        self.tasks.get_or_insert_default().insert(task.tid(), task);
    }

    /// Takes a thread out.
    pub fn remove_task(&mut self, tid: u32) -> Option<Arc<Task>> {
        self.tasks.as_mut()?.remove(&tid)
    }

    /// A thread.
    #[must_use]
    pub fn task(&self, tid: u32) -> Option<&Arc<Task>> {
        self.tasks.as_ref()?.get(&tid)
    }

    /// Number of threads.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.tasks.as_ref().map_or(0, HashMap::len)
    }

    /// Most threads at once.
    #[must_use]
    pub const fn most(&self) -> usize {
        self.most
    }

    /// All threads.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.iter().flat_map(HashMap::values)
    }

    /// Threads of a real user.
    #[must_use]
    pub fn tasks_of_user(&self, uid: u32) -> usize {
        self.tasks
            .as_ref()
            .map_or(0, |tasks| tasks.values().filter(|task| task.with_cred(|cred| cred.uid == uid)).count())
    }

    /// A process's place.
    #[must_use]
    pub fn node(&self, pid: u32) -> Option<&Node> {
        self.nodes.as_ref()?.get(&pid)
    }

    /// A process's place, to change.
    pub fn node_mut(&mut self, pid: u32) -> Option<&mut Node> {
        self.nodes.as_mut()?.get_mut(&pid)
    }

    /// All processes, zombies included.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flat_map(HashMap::values)
    }

    /// Parent's id; 0 for none.
    #[must_use]
    pub fn parent_of(&self, pid: u32) -> u32 {
        self.node(pid).map_or(0, |node| node.parent)
    }

    /// Processes of a group, zombies included.
    pub fn group(&self, pgid: u32) -> impl Iterator<Item = &Node> {
        self.nodes().filter(move |node| node.pgid == pgid)
    }

    /// Gives the children of `pid` to another process. Those that are zombies.
    pub fn reparent(&mut self, pid: u32, to: u32) -> Vec<u32> {
        let children = self.node_mut(pid).map(|node| core::mem::take(&mut node.children)).unwrap_or_default();
        let mut heir = self.node_mut(to).map(|node| core::mem::take(&mut node.children)).unwrap_or_default();
        for child in children.iter() {
            if let Some(node) = self.node_mut(child) {
                node.parent = to;
                node.parent_thread = to;
                node.process.exit_signal.store(SIGCHLD, Ordering::Relaxed);
                node.place = heir.add(child, node.zombie.is_some());
            }
        }
        if let Some(node) = self.node_mut(to) {
            node.children = heir;
        }
        children.ended().collect()
    }

    /// Children that the thread `from` of process `pid` made belong to its thread `to` from now on. Those children.
    pub fn hand_over(&mut self, pid: u32, from: u32, to: u32) -> Vec<Arc<Process>> {
        let children: Vec<u32> =
            self.node(pid).map(|node| node.children.iter().collect()).unwrap_or_default();
        let mut moved = Vec::new();
        for child in children {
            if let Some(node) = self.node_mut(child).filter(|node| node.parent_thread == from) {
                node.parent_thread = to;
                moved.push(node.process.clone());
            }
        }
        moved
    }

    /// Who becomes the parent of the children of `pid`: the nearest living ancestor that is a subreaper, else
    /// the first process.
    #[must_use]
    pub fn reaper_of(&self, pid: u32) -> u32 {
        let mut at = self.parent_of(pid);
        while at > 1 {
            let Some(node) = self.node(at) else { break };
            if node.zombie.is_none() && node.process.subreaper.load(Ordering::Relaxed) {
                return at;
            }
            at = node.parent;
        }
        1
    }

    /// Whether no process of the group has a parent outside of the group and inside its session, so that
    /// nobody can continue it.
    #[must_use]
    pub fn is_orphaned(&self, pgid: u32) -> bool {
        self.would_be_orphaned(pgid, 0)
    }

    /// [`Self::is_orphaned`] once the process `without`, neither member nor parent then, is gone.
    #[must_use]
    pub fn would_be_orphaned(&self, pgid: u32, without: u32) -> bool {
        !self.group(pgid).any(|node| {
            let parent = self.node(node.parent).filter(|parent| parent.process.pid != without);
            node.process.pid != without
                && node.zombie.is_none()
                && parent.is_some_and(|parent| parent.pgid != pgid && parent.sid == node.sid)
        })
    }

    /// `setpgid`: moves `pid` to a group of its session, or to one of its own.
    ///
    /// # Errors
    /// As setpgid(2).
    pub fn set_group(&mut self, caller: u32, pid: u32, pgid: u32) -> Result<()> {
        let sid = self.node(caller).ok_or(Errno::ESRCH)?.sid;
        let node = self.node(pid).ok_or(Errno::ESRCH)?;
        if node.parent == caller {
            if node.sid != sid {
                return Err(Errno::EPERM);
            }
            if node.process.did_exec.load(Ordering::Relaxed) {
                return Err(Errno::EACCES);
            }
        } else if pid != caller {
            return Err(Errno::ESRCH);
        }
        if node.sid == pid {
            return Err(Errno::EPERM);
        }
        if pgid != pid && !self.group(pgid).any(|other| other.sid == sid) {
            return Err(Errno::EPERM);
        }
        if let Some(node) = self.node_mut(pid) {
            node.pgid = pgid;
        }
        Ok(())
    }

    /// `setsid`: a new session with `pid` as its leader.
    ///
    /// # Errors
    /// `EPERM` when it leads a group.
    pub fn new_session(&mut self, pid: u32) -> Result<u32> {
        if self.group(pid).next().is_some() {
            return Err(Errno::EPERM);
        }
        let node = self.node_mut(pid).ok_or(Errno::ESRCH)?;
        (node.pgid, node.sid) = (pid, pid);
        Ok(pid)
    }
}

/// The process with this id, zombies included.
#[must_use]
pub fn process(pid: u32) -> Option<Arc<Process>> {
    lock().node(pid).map(|node| node.process.clone())
}

/// The thread with this id.
#[must_use]
pub fn task(tid: u32) -> Option<Arc<Task>> {
    lock().task(tid).cloned()
}

/// Calls `f` for every process in order of their ids, zombies included. The table is not locked meanwhile.
pub fn for_each_process(mut f: impl FnMut(&Arc<Process>)) {
    let mut all: Vec<Arc<Process>> = lock().nodes().map(|node| node.process.clone()).collect();
    all.sort_unstable_by_key(|process| process.pid);
    all.iter().for_each(&mut f);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(processes: &[(u32, u32)]) -> Tree {
        let mut tree = Tree::empty();
        for &(pid, parent) in processes {
            tree.add_process(Arc::new(Process::new(pid, Arc::default(), Default::default())), parent);
        }
        tree
    }

    #[test]
    fn ids_rise_and_skip_what_is_taken_after_starting_over() {
        let mut tree = tree(&[(300, 0), (301, 300)]);
        assert_eq!((tree.allocate(), tree.allocate()), (Ok(1), Ok(2)));
        tree.last = PID_MAX - 1;
        assert_eq!(tree.allocate(), Ok(302));
    }

    #[test]
    fn a_group_id_that_outlives_its_leader_is_taken() {
        let mut tree = tree(&[(1, 0), (300, 1), (301, 300)]);
        tree.set_group(300, 300, 300).unwrap();
        tree.set_group(300, 301, 300).unwrap();
        tree.reparent(300, 1);
        tree.remove_process(300);
        tree.last = PID_MAX - 1;
        assert_eq!(tree.allocate(), Ok(302));
    }

    #[test]
    fn orphans_go_to_the_nearest_subreaper() {
        let mut tree = tree(&[(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)]);
        assert_eq!(tree.reaper_of(4), 1);
        let flag = &tree.node(2).unwrap().process.subreaper;
        flag.store(true, Ordering::Relaxed);
        assert_eq!(tree.reaper_of(4), 2);
        assert!(tree.reparent(4, 2).is_empty());
        assert_eq!(tree.parent_of(5), 2);
        assert_eq!(tree.node(2).unwrap().children.iter().collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn ids_that_are_asked_for_are_free_and_not_given_out_again() {
        let mut tree = tree(&[(1, 0), (7, 1)]);
        assert_eq!(tree.claim(7), Err(Errno::EEXIST));
        assert_eq!((tree.claim(0), tree.claim(PID_MAX)), (Err(Errno::EINVAL), Err(Errno::EINVAL)));
        assert_eq!(tree.claim(2), Ok(2));
        tree.add_process(Arc::new(Process::new(2, Arc::default(), Default::default())), 1);
        assert!(tree.was_taken(2) && !tree.was_taken(3));
        assert_eq!(tree.allocate(), Ok(3));
    }

    #[test]
    fn children_of_a_thread_are_handed_over() {
        let mut tree = tree(&[(1, 0), (2, 1), (3, 1)]);
        tree.node_mut(3).unwrap().parent_thread = 9;
        let moved: Vec<u32> = tree.hand_over(1, 9, 1).iter().map(|process| process.pid).collect();
        assert_eq!(moved, [3]);
        assert_eq!(tree.node(3).unwrap().parent_thread, 1);
    }

    #[test]
    fn groups_and_sessions_follow_setpgid_and_setsid() {
        let mut tree = tree(&[(1, 0), (2, 1), (3, 2), (4, 2)]);
        assert_eq!(tree.new_session(1), Err(Errno::EPERM));
        assert_eq!(tree.new_session(2), Ok(2));
        assert_eq!(tree.set_group(1, 2, 1), Err(Errno::EPERM));
        assert_eq!(tree.set_group(2, 3, 3), Err(Errno::EPERM), "other session");
        assert_eq!(tree.set_group(3, 3, 3), Ok(()));
        assert_eq!(tree.set_group(4, 4, 3), Ok(()));
        assert_eq!(tree.set_group(4, 4, 99), Err(Errno::EPERM));
        assert_eq!(tree.set_group(4, 3, 4), Err(Errno::ESRCH));
    }

    #[test]
    fn a_group_without_outside_parents_is_orphaned() {
        let mut tree = tree(&[(1, 0), (2, 1), (3, 2)]);
        tree.new_session(2).unwrap();
        tree.node_mut(3).unwrap().sid = 2;
        tree.node_mut(3).unwrap().pgid = 3;
        assert!(!tree.is_orphaned(3));
        assert!(tree.would_be_orphaned(3, 2));
        assert!(tree.is_orphaned(2));
        tree.reparent(2, 1);
        assert!(tree.is_orphaned(3));
    }
}
