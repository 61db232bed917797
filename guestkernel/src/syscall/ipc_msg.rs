//! Message queues.

use alloc::vec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    Args,
    ipc::{IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, UserPerm, check, namespace},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    ipc::{
        msg::{self, LENGTH, Message, NUMBER, Queue, Receiving, SPACE, Wanted},
        perm::READ,
    },
    task::current,
};

const IPC_NOWAIT: u32 = 0o4000;
const MSG_NOERROR: u32 = 0o10000;
const MSG_EXCEPT: u32 = 0o20000;
const MSG_COPY: u32 = 0o40000;
const MSG_STAT: i32 = 11;
const MSG_INFO: i32 = 12;
const MSG_STAT_ANY: i32 = 13;
/// `MSGSSZ`: what Linux says of segments, which it has not had for long.
const SEGMENT: i32 = 16;

/// `struct msqid64_ds`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Stat {
    perm: UserPerm,
    times: [i64; 3],
    bytes: u64,
    number: u64,
    space: u64,
    pids: [u32; 2],
    unused: [u64; 2],
}

impl Stat {
    fn new(id: i32, queue: &Queue) -> Self {
        Self {
            perm: UserPerm::new(id, &queue.perm),
            times: queue.times,
            bytes: queue.bytes,
            number: queue.len() as u64,
            space: queue.space,
            pids: queue.pids,
            unused: [0; 2],
        }
    }
}

/// `struct msginfo`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Info {
    /// Room of all queues in KiB, or the number of queues.
    pool: i32,
    /// A queue's room, or the number of messages.
    map: i32,
    longest: i32,
    space: i32,
    number: i32,
    segment: i32,
    /// A queue's room, or the bytes of all messages.
    headers: i32,
    segments: u16,
    pad: u16,
}

/// msgget(2).
///
/// # Errors
/// As msgget(2).
pub fn msgget(args: &Args) -> Result<u64> {
    let cred = current().cred();
    namespace().msg.lock().get(args.int(0), args.uint(1), &cred).map(|id| id as u64)
}

/// msgsnd(2).
///
/// # Errors
/// As msgsnd(2).
pub fn msgsnd(args: &Args) -> Result<u64> {
    let (id, addr, flags) = (args.int(0), args.addr(1), args.uint(3));
    let kind: i64 = uaccess::get(addr)?;
    let len = usize::try_from(args.0[2]).ok().filter(|&len| len <= LENGTH).ok_or(Errno::EINVAL)?;
    if id < 0 || kind < 1 {
        return Err(Errno::EINVAL);
    }
    let mut text = vec![0; len];
    uaccess::copy_from_user(&mut text, addr.wrapping_add(8))?;
    msg::send(&namespace(), id, Message::new(kind, text.into())?, flags & IPC_NOWAIT != 0).map(|()| 0)
}

/// msgrcv(2).
///
/// # Errors
/// As msgrcv(2).
pub fn msgrcv(args: &Args) -> Result<u64> {
    let (id, addr, kind, flags) = (args.int(0), args.addr(1), args.0[3].cast_signed(), args.uint(4));
    let room = args.0[2].cast_signed();
    let room = usize::try_from(room).ok().filter(|_| id >= 0).ok_or(Errno::EINVAL)?;
    let nowait = flags & IPC_NOWAIT != 0;
    if flags & MSG_COPY != 0 && (flags & MSG_EXCEPT != 0 || !nowait) {
        return Err(Errno::EINVAL);
    }
    let wanted = match kind {
        _ if flags & MSG_COPY != 0 => Wanted::Place(kind),
        0 => Wanted::Any,
        kind if kind < 0 => Wanted::UpTo(kind.checked_neg().unwrap_or(i64::MAX)),
        kind if flags & MSG_EXCEPT != 0 => Wanted::Not(kind),
        kind => Wanted::Kind(kind),
    };
    let how = Receiving { wanted, room, cut: flags & MSG_NOERROR != 0, nowait };
    let message = msg::receive(&namespace(), id, &how)?;
    let text = &message.text[..message.text.len().min(room)];
    uaccess::put(addr, &message.kind)?;
    uaccess::copy_to_user(addr.wrapping_add(8), text)?;
    Ok(text.len() as u64)
}

/// msgctl(2).
///
/// # Errors
/// As msgctl(2).
pub fn msgctl(args: &Args) -> Result<u64> {
    let (id, command, addr) = (args.int(0), args.int(1), args.addr(2));
    check(id, command)?;
    let namespace = namespace();
    let cred = current().cred();
    match command {
        IPC_INFO | MSG_INFO => {
            let (queues, (messages, bytes), highest) = {
                let table = namespace.msg.lock();
                (table.ids().len(), table.usage(), table.ids().highest())
            };
            let space = SPACE as i32;
            let (pool, map, headers) = if command == MSG_INFO {
                (queues as i32, messages as i32, bytes as i32)
            } else {
                ((NUMBER as u64 * SPACE / 1024) as i32, space, space)
            };
            let (longest, number) = (LENGTH as i32, NUMBER as i32);
            let segments = u16::MAX;
            let info =
                Info { pool, map, longest, space, number, segment: SEGMENT, headers, segments, pad: 0 };
            uaccess::put(addr, &info)?;
            Ok(highest)
        }
        IPC_STAT | MSG_STAT | MSG_STAT_ANY => {
            let (id, stat) = {
                let table = namespace.msg.lock();
                let found = if command == IPC_STAT {
                    table.ids().get(id).map(|queue| (id, queue))
                } else {
                    table.ids().at(id)
                };
                let (id, queue) = found.ok_or(Errno::EINVAL)?;
                if command != MSG_STAT_ANY {
                    queue.perm.check(&cred, READ)?;
                }
                (id, Stat::new(id, queue))
            };
            uaccess::put(addr, &stat)?;
            Ok(if command == IPC_STAT { 0 } else { id as u64 })
        }
        IPC_SET => {
            let stat: Stat = uaccess::get(addr)?;
            namespace.msg.lock().set(id, &cred, stat.perm.to_set(), stat.space).map(|()| 0)
        }
        IPC_RMID => {
            let queue = namespace.msg.lock().remove(id, &cred)?;
            drop(queue);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}
