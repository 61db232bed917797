//! Semaphore sets.

use alloc::{boxed::Box, vec};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    Args,
    ipc::{IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, UserPerm, check, namespace},
    time,
};
use crate::{
    arch::{clock, uaccess},
    errno::{Errno, Result},
    ipc::{
        perm::READ,
        sem::{self, HIGHEST, LENGTH, NUMBER, OPERATIONS, Op, Set, TOTAL},
    },
    task::current,
};

const GETPID: i32 = 11;
const GETVAL: i32 = 12;
const GETALL: i32 = 13;
const GETNCNT: i32 = 14;
const GETZCNT: i32 = 15;
const SETVAL: i32 = 16;
const SETALL: i32 = 17;
const SEM_STAT: i32 = 18;
const SEM_INFO: i32 = 19;
const SEM_STAT_ANY: i32 = 20;
/// `SEMUSZ`: bytes that noting what is to be taken back takes, as Linux says.
const UNDO_SIZE: i32 = 20;

/// `struct semid64_ds`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Stat {
    perm: UserPerm,
    /// Last operation and last change, each with an unused word.
    times: [[i64; 2]; 2],
    len: u64,
    unused: [u64; 2],
}

impl Stat {
    fn new(id: i32, set: &Set) -> Self {
        let times = set.times.map(|time| [time, 0]);
        Self { perm: UserPerm::new(id, &set.perm), times, len: set.len() as u64, unused: [0; 2] }
    }
}

/// semget(2).
///
/// # Errors
/// As semget(2).
pub fn semget(args: &Args) -> Result<u64> {
    let cred = current().cred();
    namespace().sem.lock().get(args.int(0), args.int(1), args.uint(2), &cred).map(|id| id as u64)
}

/// semop(2).
///
/// # Errors
/// As semop(2).
pub fn semop(args: &Args) -> Result<u64> {
    operate(args, None)
}

/// semtimedop(2).
///
/// # Errors
/// As semop(2).
pub fn semtimedop(args: &Args) -> Result<u64> {
    let time: Option<[i64; 2]> = match args.addr(3) {
        0 => None,
        addr => Some(uaccess::get(addr)?),
    };
    operate(args, time)
}

fn operate(args: &Args, time: Option<[i64; 2]>) -> Result<u64> {
    let (id, count) = (args.int(0), args.uint(2) as usize);
    if count > OPERATIONS {
        return Err(Errno::E2BIG);
    }
    if count == 0 {
        return Err(Errno::EINVAL);
    }
    let mut ops: Box<[Op]> = vec![Op { num: 0, op: 0, flags: 0 }; count].into();
    uaccess::copy_from_user(ops.as_mut_bytes(), args.addr(1))?;
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    let time = time.map(time::check_timespec).transpose()?;
    let deadline = time.map(|time| clock::monotonic_ns().saturating_add(time));
    sem::operate(&namespace(), id, ops, deadline).map(|()| 0)
}

/// semctl(2).
///
/// # Errors
/// As semctl(2).
pub fn semctl(args: &Args) -> Result<u64> {
    let (id, num, command, addr) = (args.int(0), args.int(1), args.int(2), args.addr(3));
    check(id, command)?;
    let namespace = namespace();
    let cred = current().cred();
    match command {
        IPC_INFO | SEM_INFO => {
            let (sets, total, highest) = {
                let table = namespace.sem.lock();
                (table.ids().len() as i32, table.total() as i32, table.ids().highest())
            };
            let all = TOTAL as i32;
            let (sets, total) = if command == SEM_INFO { (sets, total) } else { (UNDO_SIZE, HIGHEST) };
            let (length, ops) = (LENGTH as i32, OPERATIONS as i32);
            uaccess::put(addr, &[all, NUMBER as i32, all, all, length, ops, ops, sets, HIGHEST, total])?;
            Ok(highest)
        }
        IPC_STAT | SEM_STAT | SEM_STAT_ANY => {
            let (id, stat) = {
                let table = namespace.sem.lock();
                let found = if command == IPC_STAT {
                    table.ids().get(id).map(|set| (id, set))
                } else {
                    table.ids().at(id)
                };
                let (id, set) = found.ok_or(Errno::EINVAL)?;
                if command != SEM_STAT_ANY {
                    set.perm.check(&cred, READ)?;
                }
                (id, Stat::new(id, set))
            };
            uaccess::put(addr, &stat)?;
            Ok(if command == IPC_STAT { 0 } else { id as u64 })
        }
        GETALL => {
            let values = {
                let table = namespace.sem.lock();
                let set = table.ids().get(id).ok_or(Errno::EINVAL)?;
                set.perm.check(&cred, READ)?;
                set.values()
            };
            uaccess::put(addr, values.as_slice()).map(|()| 0)
        }
        GETVAL | GETPID | GETNCNT | GETZCNT => {
            let table = namespace.sem.lock();
            let set = table.ids().get(id).ok_or(Errno::EINVAL)?;
            set.perm.check(&cred, READ)?;
            match command {
                GETVAL => set.value(num),
                GETPID => set.pid(num),
                _ => set.waiting(num, command == GETZCNT),
            }
        }
        SETVAL => namespace.sem.lock().set_value(id, num, addr as i32, &cred).map(|()| 0),
        SETALL => {
            let len = {
                let table = namespace.sem.lock();
                let set = table.ids().get(id).ok_or(Errno::EINVAL)?;
                set.perm.check(&cred, crate::ipc::perm::WRITE)?;
                set.len()
            };
            let mut values = vec![0u16; len];
            uaccess::copy_from_user(values.as_mut_bytes(), addr)?;
            namespace.sem.lock().set_values(id, &values, &cred).map(|()| 0)
        }
        IPC_SET => {
            let stat: Stat = uaccess::get(addr)?;
            namespace.sem.lock().set(id, &cred, stat.perm.to_set()).map(|()| 0)
        }
        IPC_RMID => namespace.sem.lock().remove(id, &cred).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}
