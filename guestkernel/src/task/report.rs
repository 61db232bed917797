//! What the host is told of processes and threads when it asks.
//!
//! A task of the kernel makes the lists: to show arguments it reads the memory of processes, which may have to wait.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;
use hostcall::{Answer, CALL_DATA_LEN, ProcessInfo, Stats, ThreadInfo, encode_answer};

use super::{Process, Task, command::answer, sched, tree};
use crate::{arch, errno::Errno, mem::frame, mm, sync::SpinLock, syscall::absent_counts};

/// Longest list of arguments that is shown, bytes.
const MAX_ARGUMENTS: usize = 1024;
/// Most lists that are asked for at once.
const MAX_LISTS: usize = 64;

/// A kind of list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Processes,
    Threads,
}

/// Figures.
pub(super) fn stats() -> Stats {
    let memory = frame::stats();
    let tree = tree::lock();
    Stats {
        tasks: tree.task_count() as u64,
        most_tasks: tree.most() as u64,
        memory: memory.total,
        memory_free: memory.free,
        memory_fresh: memory.fresh,
        oom_kills: mm::oom::kills(),
        absent: absent_counts().map(|(nr, count)| (nr as u32, count)).collect(),
    }
}

/// Lists that are asked for.
static LISTS: SpinLock<Vec<(u64, Report)>> = SpinLock::new(Vec::new());

/// Has a list made.
pub(super) fn ask(tag: u64, report: Report) {
    {
        let mut lists = LISTS.lock();
        if lists.len() >= MAX_LISTS {
            return refuse(tag, Errno::EAGAIN);
        }
        lists.push((tag, report));
    }
    if let Err(errno) = super::spawn_kernel(lister) {
        LISTS.lock().retain(|&(other, _)| other != tag);
        refuse(tag, errno);
    }
}

fn refuse(tag: u64, errno: Errno) {
    let errno = errno.code().unsigned_abs();
    answer(tag, &Answer::Failed { errno, message: "make a list".into() });
}

/// Body of the task that answers.
fn lister(_: usize) -> ! {
    let asked = LISTS.lock().pop();
    match asked {
        Some((tag, Report::Processes)) => {
            let mut pages = Pages::new(tag, |list, more| Answer::Processes { list, more });
            tree::for_each_process(|process| pages.push(describe(process)));
            pages.finish();
        }
        Some((tag, Report::Threads)) => {
            let mut tasks: Vec<_> = tree::lock().tasks().cloned().collect();
            tasks.sort_unstable_by_key(|task| (task.process.pid, task.tid()));
            let mut pages = Pages::new(tag, |list, more| Answer::Threads { list, more });
            tasks.iter().for_each(|task| pages.push(look_at(task)));
            pages.finish();
        }
        None => {}
    }
    sched::exit_current()
}

/// A list that goes out in as many answers as it takes.
struct Pages<T, F> {
    tag: u64,
    list: Vec<T>,
    make: F,
}

impl<T: Clone, F: Fn(Vec<T>, bool) -> Answer> Pages<T, F> {
    fn new(tag: u64, make: F) -> Self {
        Self { tag, list: Vec::new(), make }
    }

    fn push(&mut self, next: T) {
        self.list.push(next);
        let fits = encode_answer(&(self.make)(self.list.clone(), true))
            .is_ok_and(|bytes| bytes.len() <= CALL_DATA_LEN);
        if !fits && let Some(next) = self.list.pop() {
            let full = core::mem::replace(&mut self.list, alloc::vec![next]);
            answer(self.tag, &(self.make)(full, true));
        }
    }

    fn finish(self) {
        answer(self.tag, &(self.make)(self.list, false));
    }
}

fn describe(process: &Arc<Process>) -> ProcessInfo {
    let (usage, now) = (process.usage(), arch::clock::monotonic_ns());
    let task = process.any_thread();
    let arguments = task.as_ref().and_then(|task| task.address_space()).map_or_else(Vec::new, |mm| {
        let marks = mm.marks();
        let len = marks.arg_end.saturating_sub(marks.arg_start).min(MAX_ARGUMENTS as u64);
        let mut bytes = alloc::vec![0; len as usize];
        let read = mm.read_memory(marks.arg_start, &mut bytes);
        bytes.truncate(read);
        bytes
    });
    let name = task.as_ref().map_or_else(Vec::new, |task| {
        task.comm().split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
    });
    let (ppid, uid) = {
        let tree = tree::lock();
        let node = tree.node(process.pid);
        (
            node.map_or(0, |node| node.parent),
            node.and_then(|node| node.zombie()).map_or(0, |zombie| zombie.uid),
        )
    };
    ProcessInfo {
        pid: process.pid,
        ppid,
        uid: task.map_or(uid, |task| task.with_cred(|cred| cred.uid)),
        state: process.state(),
        age_ms: now.saturating_sub(process.start_ns) / 1_000_000,
        cpu_ms: (usage.user_ns + usage.system_ns) / 1_000_000,
        arguments,
        name,
    }
}

/// What a thread does. One that is woken meanwhile may be shown with a stack that it has left.
fn look_at(task: &Arc<Task>) -> ThreadInfo {
    let state = task.sched.letter();
    let on_cpu = task.sched.is_running();
    // A CPU with nothing to do stays on the stack of the task that blocked there last.
    let (running, idle) = (on_cpu && state == b'R', on_cpu && state != b'R');
    let waits = !running && state != b'X';
    let nr = task.ctx.user_regs().orig_rax as u32;
    ThreadInfo {
        pid: task.process.pid,
        tid: task.tid(),
        state,
        cpu: task.sched.cpu() as u32,
        running,
        call: (waits && task.ctx.is_in_syscall()).then_some(nr),
        stack: if waits { task.ctx.backtrace(idle) } else { Vec::new() },
        cpu_ms: task.sched.clock.read(arch::clock::monotonic_ns()) / 1_000_000,
        switches: (
            task.sched.switches[0].load(Ordering::Relaxed),
            task.sched.switches[1].load(Ordering::Relaxed),
        ),
        name: task.comm().split(|&byte| byte == 0).next().unwrap_or_default().to_vec(),
    }
}
