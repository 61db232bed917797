//! The out-of-memory killer.
//!
//! What Linux does: the process that has most memory, shifted by its `oom_score_adj`, is killed, and its private memory
//! is taken at once, without waiting for it to end. What we do: the same. It runs where no lock is held: for a page
//! fault that cannot be served, and for a task that went below the reserve, before it goes on in ring 3.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use crate::{
    arch,
    mem::{self, PAGE_SIZE, frame, kstack},
    signal::{self, SIGKILL, SigInfo},
    sync::Mutex,
    task::{self, Process, current, sched, wait::WaitQueue},
};

/// Bounds of `oom_score_adj`; the least exempts.
pub const ADJ_MIN: i32 = -1000;
/// See [`ADJ_MIN`].
pub const ADJ_MAX: i32 = 1000;
/// How long a victim is waited for before there is another one, ns.
const PATIENCE_NS: u64 = 500_000_000;
/// How long a wait for it is at a time, ns.
const WAIT_NS: u64 = 2_000_000;

/// What the killer knows of a process.
#[derive(Debug, Default)]
pub struct OomState {
    /// `oom_score_adj`.
    pub adj: AtomicI32,
    /// Least value that it may be given without `CAP_SYS_RESOURCE`.
    pub adj_min: AtomicI32,
    victim: AtomicBool,
}

impl OomState {
    /// Whether it was chosen.
    #[must_use]
    pub fn is_victim(&self) -> bool {
        self.victim.load(Ordering::Relaxed)
    }

    /// A forked child's.
    pub fn inherit(&self, parent: &Self) {
        self.adj.store(parent.adj.load(Ordering::Relaxed), Ordering::Relaxed);
        self.adj_min.store(parent.adj_min.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// The last victim.
#[derive(Debug, Default)]
struct Turn {
    victim: Option<(u32, u64)>,
}

/// Held by the task that makes room, also while it waits for its victim to end.
static TURN: Mutex<Turn> = Mutex::new(Turn { victim: None });
/// The others that need it.
static WAITING: WaitQueue = WaitQueue::new();
static KILLS: AtomicU64 = AtomicU64::new(0);

/// How many processes were killed for want of memory.
#[must_use]
pub fn kills() -> u64 {
    KILLS.load(Ordering::Relaxed)
}

/// Pages that programs can have altogether.
fn total_pages() -> i64 {
    (frame::stats().total / PAGE_SIZE) as i64
}

/// What killing a process would bring, in pages, shifted by its adjustment; `None` when it is exempt.
#[must_use]
pub fn badness(process: &Process) -> Option<i64> {
    let adj = process.oom.adj.load(Ordering::Relaxed);
    let (mm, threads) = {
        let inner = process.inner.lock();
        (inner.threads.iter().find_map(|task| task.address_space())?, inner.threads.len())
    };
    let stacks = threads as u64 * kstack::STACK_SIZE / PAGE_SIZE;
    (adj > ADJ_MIN).then(|| (mm.footprint() + stacks) as i64 + i64::from(adj) * total_pages() / 1000)
}

/// `/proc/PID/oom_score`.
#[must_use]
pub fn score(process: &Process) -> i64 {
    badness(process).map_or(0, |points| (1000 + points * 1000 / total_pages().max(1)) * 2 / 3)
}

/// Tries to make memory free; whether the caller should try again. It holds no lock but sleeping ones that no page
/// fault takes. One task at a time does it; the others wait here, and not for a time: there may be very many of them,
/// and the victim needs the CPU.
pub fn relieve() -> bool {
    let me = current();
    let is_over = || me.process.oom.is_victim() || !frame::is_short();
    let turn =
        WAITING.wait_uninterruptible(|| if is_over() { Some(None) } else { TURN.try_lock().map(Some) });
    let useful = turn.is_none_or(|mut turn| make_room(&mut turn));
    // Whoever waits longest is next: it goes on, or does it in its turn.
    WAITING.wake_one();
    useful && !me.process.oom.is_victim()
}

/// Kills until memory is not short, or until the current task is to end itself; whether the first came.
fn make_room(turn: &mut Turn) -> bool {
    while frame::is_short() {
        if current().process.oom.is_victim() {
            return false;
        }
        if mem::trim() {
            continue;
        }
        if let Some((pid, since)) = turn.victim {
            let alive = task::process(pid).is_some_and(|process| process.any_thread().is_some());
            if alive && arch::clock::monotonic_ns() - since < PATIENCE_NS {
                wait_a_little();
                continue;
            }
            turn.victim = None;
        }
        let Some(victim) = choose() else {
            log::error!("out of memory, and there is no process to kill");
            return false;
        };
        turn.victim = Some((victim.pid, arch::clock::monotonic_ns()));
        kill(&victim);
    }
    true
}

fn wait_a_little() {
    let me = current().arc();
    sched::prepare_to_block(&me, false);
    sched::block(&me, false, Some(arch::clock::monotonic_ns() + WAIT_NS));
}

/// The process with most badness.
fn choose() -> Option<Arc<Process>> {
    let mut best: Option<(i64, Arc<Process>)> = None;
    task::for_each_process(|process| {
        if process.oom.is_victim() {
            return;
        }
        if let Some(points) = badness(process)
            && best.as_ref().is_none_or(|(most, _)| points > *most)
        {
            best = Some((points, process.clone()));
        }
    });
    best.map(|(_, process)| process)
}

/// Kills a process and all others that use its memory, and takes that memory.
fn kill(victim: &Arc<Process>) {
    let kills = KILLS.fetch_add(1, Ordering::Relaxed) + 1;
    let task = victim.any_thread();
    let Some((task, mm)) = task.and_then(|task| task.address_space().map(|mm| (task, mm))) else { return };
    let comm = task.comm();
    let name = comm.split(|&byte| byte == 0).next().unwrap_or_default();
    let (total, resident, _) = mm.usage();
    log::warn!(
        "out of memory: killed process {} ({}), total-vm {} kB, rss {} kB, oom_score_adj {}",
        victim.pid,
        alloc::string::String::from_utf8_lossy(name),
        total * PAGE_SIZE / 1024,
        resident * PAGE_SIZE / 1024,
        victim.oom.adj.load(Ordering::Relaxed)
    );
    task::for_each_process(|process| {
        let shares = process
            .threads()
            .iter()
            .any(|task| task.address_space().is_some_and(|other| Arc::ptr_eq(&other, &mm)));
        if shares {
            process.oom.victim.store(true, Ordering::Relaxed);
            // A kill is merged with one that waits already.
            let _ = signal::send::send_from_outside(process, SigInfo::kernel(SIGKILL));
        }
    });
    WAITING.wake_those(|task| task.process.oom.is_victim());
    mm.reap();
    if let Err(error) = arch::hostcall::call(hostcall::Hostcall::OutOfMemory, [kills, 0, 0, 0, 0, 0]) {
        log::warn!("the host is not told of it: {error}");
    }
}
