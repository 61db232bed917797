//! Semaphore sets: semget(2), semop(2), semctl(2).
//!
//! The operations of a call happen all at once or not at all. A call that cannot go on waits in its set's queue;
//! whatever changes a value goes through the queue, oldest first, and finishes what can be: those that only wait for
//! zero before those that change values. What a call with `SEM_UNDO` did is noted with the set, for its process, and
//! taken back when that ends.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    Charge, Namespace, caller,
    ids::{Found, Ids, Object},
    now,
    perm::{Perm, READ, WRITE},
};
use crate::{
    errno::{Errno, Result},
    sync::SpinLock,
    task::{
        Task,
        cred::Cred,
        current,
        sched::{self, BlockEnd},
    },
};

/// Sets (`SEMMNI`).
pub const NUMBER: usize = 32_000;
/// Semaphores of a set (`SEMMSL`).
pub const LENGTH: usize = 32_000;
/// Semaphores of all sets (`SEMMNS`).
pub const TOTAL: u64 = 1_024_000_000;
/// Operations of a call (`SEMOPM`).
pub const OPERATIONS: usize = 500;
/// Highest value (`SEMVMX`), and adjustment.
pub const HIGHEST: i32 = 32_767;

const IPC_NOWAIT: i16 = 0o4000;
const SEM_UNDO: i16 = 0x1000;

/// `struct sembuf`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Op {
    /// Which semaphore.
    pub num: u16,
    /// What is added; 0 = wait for zero.
    pub op: i16,
    /// `IPC_NOWAIT`, `SEM_UNDO`.
    pub flags: i16,
}

#[derive(Clone, Copy, Debug, Default)]
struct Semaphore {
    value: i32,
    /// Who changed it last.
    pid: u32,
}

/// How a waiting call ends.
#[derive(Debug)]
pub(super) struct Cell {
    task: Option<Arc<Task>>,
    result: SpinLock<Option<Result<()>>>,
}

impl Cell {
    pub(super) fn result(&self) -> Option<Result<()>> {
        *self.result.lock()
    }

    fn finish(&self, result: Result<()>) {
        *self.result.lock() = Some(result);
        if let Some(task) = &self.task {
            sched::wake(task);
        }
    }
}

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) ops: Box<[Op]>,
    /// Whose adjustments note it.
    pub(super) undo: Option<u64>,
    pub(super) pid: u32,
}

impl Call {
    fn alters(&self) -> bool {
        self.ops.iter().any(|op| op.op != 0)
    }
}

#[derive(Debug)]
struct Waiter {
    call: Call,
    /// The operation that it waits for.
    blocked: Op,
    cell: Arc<Cell>,
}

/// What came of trying a call.
enum Tried {
    Done,
    Blocked(Op),
    Failed(Errno),
}

#[derive(Debug)]
struct Adjustments {
    values: Box<[i16]>,
    _charge: Charge,
}

/// A set.
#[derive(Debug)]
pub struct Set {
    /// Owner and mode.
    pub perm: Perm,
    /// Last operation and last change, seconds.
    pub times: [i64; 2],
    semaphores: Box<[Semaphore]>,
    waiters: Vec<Waiter>,
    undo: BTreeMap<u64, Adjustments>,
    _charge: Charge,
}

impl Object for Set {
    fn perm(&self) -> &Perm {
        &self.perm
    }
}

impl Set {
    /// Number of semaphores.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.semaphores.len()
    }

    /// Whether it has none, which no set is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.semaphores.is_empty()
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> Vec<u16> {
        self.semaphores.iter().map(|semaphore| semaphore.value as u16).collect()
    }

    fn semaphore(&self, num: i32) -> Result<&Semaphore> {
        usize::try_from(num).ok().and_then(|num| self.semaphores.get(num)).ok_or(Errno::EINVAL)
    }

    /// `GETVAL`.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn value(&self, num: i32) -> Result<u64> {
        self.semaphore(num).map(|semaphore| semaphore.value as u64)
    }

    /// `GETPID`.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn pid(&self, num: i32) -> Result<u64> {
        self.semaphore(num).map(|semaphore| semaphore.pid.into())
    }

    /// `GETNCNT`, or (`zero`) `GETZCNT`: calls that wait for a semaphore.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn waiting(&self, num: i32, zero: bool) -> Result<u64> {
        self.semaphore(num)?;
        let waits = |op: &Op| i32::from(op.num) == num && if zero { op.op == 0 } else { op.op < 0 };
        Ok(self.waiters.iter().filter(|waiter| waits(&waiter.blocked)).count() as u64)
    }

    /// Sets the values from `first` on, as `SETVAL` and `SETALL` do: what would be taken back is forgotten.
    fn assign(&mut self, first: usize, values: &[u16], pid: u32) {
        for (semaphore, &value) in self.semaphores.iter_mut().skip(first).zip(values) {
            *semaphore = Semaphore { value: value.into(), pid };
        }
        for adjustments in self.undo.values_mut() {
            adjustments.values.iter_mut().skip(first).take(values.len()).for_each(|value| *value = 0);
        }
        self.times[1] = now();
        self.settle(false);
    }

    /// Does a call's operations, or none.
    fn attempt(&mut self, call: &Call) -> Tried {
        for (index, op) in call.ops.iter().enumerate() {
            let failed = match self.step(call.undo, *op) {
                None => continue,
                Some(failed) => failed,
            };
            for done in call.ops[..index].iter().rev() {
                self.take_back(call.undo, *done);
            }
            return failed;
        }
        for op in &call.ops {
            if let Some(semaphore) = self.semaphores.get_mut(usize::from(op.num)) {
                semaphore.pid = call.pid;
            }
        }
        Tried::Done
    }

    /// One operation; why it cannot be.
    fn step(&mut self, undo: Option<u64>, op: Op) -> Option<Tried> {
        let Some(semaphore) = self.semaphores.get_mut(usize::from(op.num)) else {
            return Some(Tried::Failed(Errno::EFBIG));
        };
        let value = semaphore.value + i32::from(op.op);
        if value < 0 || (op.op == 0 && value != 0) {
            let nowait = op.flags & IPC_NOWAIT != 0;
            return Some(if nowait { Tried::Failed(Errno::EAGAIN) } else { Tried::Blocked(op) });
        }
        if value > HIGHEST {
            return Some(Tried::Failed(Errno::ERANGE));
        }
        if let Some(adjustment) = adjustment(&mut self.undo, undo, op) {
            match i16::try_from(i32::from(*adjustment) - i32::from(op.op)) {
                Ok(new) => *adjustment = new,
                Err(_) => return Some(Tried::Failed(Errno::ERANGE)),
            }
        }
        semaphore.value = value;
        None
    }

    fn take_back(&mut self, undo: Option<u64>, op: Op) {
        if let Some(semaphore) = self.semaphores.get_mut(usize::from(op.num)) {
            semaphore.value -= i32::from(op.op);
        }
        if let Some(adjustment) = adjustment(&mut self.undo, undo, op) {
            *adjustment = adjustment.wrapping_add(op.op);
        }
    }

    /// Finishes what can be after a change; `operated`: the change was an operation.
    fn settle(&mut self, mut operated: bool) {
        loop {
            // Those that wait for zero alone change nothing.
            operated |= self.finish_some(|call| !call.alters(), |_| false);
            // Only what a call of several operations did can let an older one go on.
            let mut again = false;
            operated |= self.finish_some(Call::alters, |call| {
                again = true;
                call.ops.len() > 1
            });
            if !again {
                break;
            }
        }
        if operated {
            self.times[0] = now();
        }
    }

    /// Tries the waiting calls that `which` names, oldest first; after one that `stop` names, the rest must wait.
    fn finish_some(&mut self, which: impl Fn(&Call) -> bool, mut stop: impl FnMut(&Call) -> bool) -> bool {
        let mut any = false;
        let mut left = Vec::with_capacity(self.waiters.len());
        let mut waiters = core::mem::take(&mut self.waiters).into_iter();
        for mut waiter in waiters.by_ref() {
            if !which(&waiter.call) {
                left.push(waiter);
                continue;
            }
            match self.attempt(&waiter.call) {
                Tried::Blocked(op) => {
                    waiter.blocked = op;
                    left.push(waiter);
                }
                Tried::Failed(error) => waiter.cell.finish(Err(error)),
                Tried::Done => {
                    any = true;
                    waiter.cell.finish(Ok(()));
                    if stop(&waiter.call) {
                        break;
                    }
                }
            }
        }
        left.extend(waiters);
        self.waiters = left;
        any
    }

    /// A process that noted adjustments is over.
    fn undo(&mut self, list: u64, pid: u32) {
        let Some(adjustments) = self.undo.remove(&list) else { return };
        for (semaphore, &by) in self.semaphores.iter_mut().zip(&adjustments.values) {
            if by != 0 {
                let value = (semaphore.value + i32::from(by)).clamp(0, HIGHEST);
                *semaphore = Semaphore { value, pid };
            }
        }
        self.settle(true);
    }
}

/// Where what an operation does is noted.
fn adjustment(lists: &mut BTreeMap<u64, Adjustments>, list: Option<u64>, op: Op) -> Option<&mut i16> {
    if op.flags & SEM_UNDO == 0 {
        return None;
    }
    lists.get_mut(&list?)?.values.get_mut(usize::from(op.num))
}

/// The sets of a namespace.
#[derive(Debug)]
pub struct Table {
    ids: Ids<Set>,
    /// Semaphores of all of them.
    total: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { ids: Ids::new(), total: 0 }
    }

    /// The sets.
    #[must_use]
    pub const fn ids(&self) -> &Ids<Set> {
        &self.ids
    }

    /// Semaphores of all sets.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// semget(2).
    ///
    /// # Errors
    /// As semget(2).
    pub fn get(&mut self, key: i32, len: i32, flags: u32, cred: &Cred) -> Result<i32> {
        let len = usize::try_from(len).ok().filter(|&len| len <= LENGTH).ok_or(Errno::EINVAL)?;
        let fits = |set: &Set| if set.len() < len { Err(Errno::EINVAL) } else { Ok(()) };
        if let Found::Old(id) = self.ids.find(key, flags, cred, fits)? {
            return Ok(id);
        }
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        if self.total + len as u64 > TOTAL {
            return Err(Errno::ENOSPC);
        }
        let charge = Charge::new((len * size_of::<Semaphore>()) as u64)?;
        let id = self.ids.add(key, NUMBER, |_| Set {
            perm: Perm::new(key, flags, cred),
            times: [0, now()],
            semaphores: vec![Semaphore::default(); len].into(),
            waiters: Vec::new(),
            undo: BTreeMap::new(),
            _charge: charge,
        })?;
        self.total += len as u64;
        Ok(id)
    }

    /// `IPC_RMID`: whoever waits is told.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn remove(&mut self, id: i32, cred: &Cred) -> Result<()> {
        self.ids.get(id).ok_or(Errno::EINVAL)?.perm.check_owner(cred)?;
        if let Some(set) = self.ids.remove(id) {
            self.total -= set.len() as u64;
            set.waiters.iter().for_each(|waiter| waiter.cell.finish(Err(Errno::EIDRM)));
        }
        Ok(())
    }

    /// `IPC_SET`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn set(&mut self, id: i32, cred: &Cred, (uid, gid, mode): (u32, u32, u32)) -> Result<()> {
        let set = self.ids.get_mut(id).ok_or(Errno::EINVAL)?;
        set.perm.check_owner(cred)?;
        set.perm.set(uid, gid, mode)?;
        set.times[1] = now();
        Ok(())
    }

    /// `SETVAL`.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`, `ERANGE`.
    pub fn set_value(&mut self, id: i32, num: i32, value: i32, cred: &Cred) -> Result<()> {
        let value = u16::try_from(value).ok().filter(|&value| i32::from(value) <= HIGHEST);
        let value = value.ok_or(Errno::ERANGE)?;
        let set = self.ids.get_mut(id).ok_or(Errno::EINVAL)?;
        set.semaphore(num)?;
        set.perm.check(cred, WRITE)?;
        set.assign(num as usize, &[value], caller());
        Ok(())
    }

    /// `SETALL`.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`, `ERANGE`.
    pub fn set_values(&mut self, id: i32, values: &[u16], cred: &Cred) -> Result<()> {
        let set = self.ids.get_mut(id).ok_or(Errno::EINVAL)?;
        set.perm.check(cred, WRITE)?;
        if values.iter().any(|&value| i32::from(value) > HIGHEST) {
            return Err(Errno::ERANGE);
        }
        set.assign(0, values, caller());
        Ok(())
    }

    /// Begins a call: `None` when it is done at once, else how it will end.
    pub(super) fn begin(
        &mut self,
        id: i32,
        call: Call,
        cred: &Cred,
        task: Option<Arc<Task>>,
    ) -> Result<Option<Arc<Cell>>> {
        let set = self.ids.get_mut(id).ok_or(Errno::EINVAL)?;
        let alters = call.alters();
        if call.ops.iter().any(|op| usize::from(op.num) >= set.len()) {
            return Err(Errno::EFBIG);
        }
        set.perm.check(cred, if alters { WRITE } else { READ })?;
        if let Some(list) = call.undo
            && !set.undo.contains_key(&list)
        {
            let charge = Charge::new((set.len() * size_of::<i16>()) as u64)?;
            let values = vec![0; set.len()].into();
            set.undo.insert(list, Adjustments { values, _charge: charge });
        }
        match set.attempt(&call) {
            Tried::Done if alters => set.settle(true),
            Tried::Done => set.times[0] = now(),
            Tried::Failed(error) => return Err(error),
            Tried::Blocked(blocked) => {
                let cell = Arc::new(Cell { task, result: SpinLock::new(None) });
                set.waiters.push(Waiter { call, blocked, cell: cell.clone() });
                return Ok(Some(cell));
            }
        }
        Ok(None)
    }

    /// Takes a waiting call back, unless it has ended.
    fn leave(&mut self, id: i32, cell: &Arc<Cell>, error: Errno) -> Result<()> {
        if let Some(result) = cell.result() {
            return result;
        }
        if let Some(set) = self.ids.get_mut(id) {
            set.waiters.retain(|waiter| !Arc::ptr_eq(&waiter.cell, cell));
        }
        Err(error)
    }

    pub(super) fn undo(&mut self, list: u64, pid: u32) {
        self.ids.iter_mut().for_each(|set| set.undo(list, pid));
    }
}

/// What a process's calls with `SEM_UNDO` did, by which its adjustments are found; shared by its threads.
#[derive(Debug)]
pub struct Undo {
    of: Arc<Namespace>,
    list: u64,
    used: AtomicBool,
}

impl Undo {
    /// For sets of this namespace.
    #[must_use]
    pub fn new(of: Arc<Namespace>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let list = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { of, list, used: AtomicBool::new(false) })
    }

    fn note(&self) -> u64 {
        self.used.store(true, Ordering::Relaxed);
        self.list
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if *self.used.get_mut() {
            self.of.sem.lock().undo(self.list, caller());
        }
    }
}

/// semtimedop(2), until `deadline` (CLOCK_MONOTONIC, ns).
///
/// # Errors
/// As semop(2).
pub fn operate(namespace: &Namespace, id: i32, ops: Box<[Op]>, deadline: Option<u64>) -> Result<()> {
    let me = current().arc();
    let noted = ops.iter().any(|op| op.flags & SEM_UNDO != 0);
    let undo = noted.then(|| me.sem_undo().note());
    let call = Call { ops, undo, pid: me.process.pid };
    let cred = me.cred();
    let begun = namespace.sem.lock().begin(id, call, &cred, Some(me.clone()))?;
    let Some(cell) = begun else { return Ok(()) };
    loop {
        sched::prepare_to_block(&me, true);
        if let Some(result) = cell.result() {
            sched::cancel_block(&me);
            return result;
        }
        let error = match sched::block(&me, true, deadline) {
            BlockEnd::Woken => match cell.result() {
                Some(result) => return result,
                None => continue,
            },
            BlockEnd::TimedOut => Errno::EAGAIN,
            BlockEnd::Interrupted => Errno::EINTR,
        };
        return namespace.sem.lock().leave(id, &cell, error);
    }
}
