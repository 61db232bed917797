//! Message queues: msgget(2), msgsnd(2), msgrcv(2), msgctl(2).
//!
//! A message takes room of its queue until somebody receives it. Who finds no room, or no message, waits; whatever
//! changes a queue lets all look again that wait at that side.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc};

use super::{
    Charge, Namespace, caller,
    ids::{Found, Ids, Object},
    now,
    perm::{Perm, READ, WRITE},
};
use crate::{
    errno::{Errno, Result},
    task::{
        cred::{Caps, Cred},
        current,
        wait::WaitQueue,
    },
};

/// Queues (`MSGMNI`).
pub const NUMBER: usize = 32_000;
/// Longest text, bytes (`MSGMAX`).
pub const LENGTH: usize = 8192;
/// Bytes of a queue, unless its owner set others (`MSGMNB`).
pub const SPACE: u64 = 16_384;

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Its type, above 0.
    pub kind: i64,
    /// Its text.
    pub text: Box<[u8]>,
    _charge: Charge,
}

impl Message {
    /// # Errors
    /// `ENOMEM`, `EINVAL` for a type that none has.
    pub fn new(kind: i64, text: Box<[u8]>) -> Result<Self> {
        if kind < 1 {
            return Err(Errno::EINVAL);
        }
        let charge = Charge::new((text.len() + size_of::<Self>()) as u64)?;
        Ok(Self { kind, text, _charge: charge })
    }
}

/// A queue.
#[derive(Debug)]
pub struct Queue {
    /// Owner and mode.
    pub perm: Perm,
    /// Last sending, last receiving, last change, seconds.
    pub times: [i64; 3],
    /// Who sent last, and who received.
    pub pids: [u32; 2],
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes that it has room for.
    pub space: u64,
    messages: VecDeque<Message>,
    changed: Arc<Sides>,
}

/// Who waits for room, and who for messages.
#[derive(Debug, Default)]
struct Sides {
    senders: WaitQueue,
    receivers: WaitQueue,
}

impl Object for Queue {
    fn perm(&self) -> &Perm {
        &self.perm
    }
}

impl Queue {
    /// Number of messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn has_room(&self, len: usize) -> bool {
        self.bytes + len as u64 <= self.space && (self.messages.len() as u64) < self.space
    }

    /// The place of the first message that is meant; of several that may be taken, that of the lowest type.
    fn find(&self, wanted: Wanted) -> Option<usize> {
        let kinds = || self.messages.iter().map(|message| message.kind).enumerate();
        let found = match wanted {
            Wanted::Any => kinds().next(),
            Wanted::Kind(kind) => kinds().find(|(_, other)| *other == kind),
            Wanted::Not(kind) => kinds().find(|(_, other)| *other != kind),
            Wanted::UpTo(kind) => {
                kinds().filter(|(_, other)| *other <= kind).min_by_key(|(place, other)| (*other, *place))
            }
            Wanted::Place(place) => {
                return usize::try_from(place).ok().filter(|&place| place < self.messages.len());
            }
        };
        found.map(|(place, _)| place)
    }
}

/// Which message a receiver wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first.
    Any,
    /// The first of this type.
    Kind(i64),
    /// The first of another type (`MSG_EXCEPT`).
    Not(i64),
    /// The first of the lowest type up to this one.
    UpTo(i64),
    /// A copy of the one in this place (`MSG_COPY`).
    Place(i64),
}

/// How a message is received.
#[derive(Clone, Copy, Debug)]
pub struct Receiving {
    /// Which.
    pub wanted: Wanted,
    /// Room for its text, bytes.
    pub room: usize,
    /// A text that is longer is cut (`MSG_NOERROR`).
    pub cut: bool,
    /// Not waited for (`IPC_NOWAIT`).
    pub nowait: bool,
}

/// The queues of a namespace.
#[derive(Debug)]
pub struct Table {
    ids: Ids<Queue>,
    /// Messages and bytes in all of them.
    usage: (u64, u64),
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
        Self { ids: Ids::new(), usage: (0, 0) }
    }

    /// The queues.
    #[must_use]
    pub const fn ids(&self) -> &Ids<Queue> {
        &self.ids
    }

    /// Messages and bytes in all queues.
    #[must_use]
    pub const fn usage(&self) -> (u64, u64) {
        self.usage
    }

    /// msgget(2).
    ///
    /// # Errors
    /// As msgget(2).
    pub fn get(&mut self, key: i32, flags: u32, cred: &Cred) -> Result<i32> {
        if let Found::Old(id) = self.ids.find(key, flags, cred, |_| Ok(()))? {
            return Ok(id);
        }
        self.ids.add(key, NUMBER, |_| Queue {
            perm: Perm::new(key, flags, cred),
            times: [0, 0, now()],
            pids: [0; 2],
            bytes: 0,
            space: SPACE,
            messages: VecDeque::new(),
            changed: Arc::default(),
        })
    }

    /// `IPC_RMID`: whoever waits is told.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn remove(&mut self, id: i32, cred: &Cred) -> Result<Queue> {
        self.ids.get(id).ok_or(Errno::EINVAL)?.perm.check_owner(cred)?;
        let queue = self.ids.remove(id).ok_or(Errno::EINVAL)?;
        self.usage.0 -= queue.len() as u64;
        self.usage.1 -= queue.bytes;
        queue.changed.senders.wake_all();
        queue.changed.receivers.wake_all();
        Ok(queue)
    }

    /// `IPC_SET`: owner, mode and room become those given.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn set(&mut self, id: i32, cred: &Cred, (uid, gid, mode): (u32, u32, u32), space: u64) -> Result<()> {
        let queue = self.ids.get_mut(id).ok_or(Errno::EINVAL)?;
        queue.perm.check_owner(cred)?;
        if space > SPACE && !cred.capable(Caps::SYS_RESOURCE) {
            return Err(Errno::EPERM);
        }
        queue.perm.set(uid, gid, mode)?;
        queue.space = space;
        queue.times[2] = now();
        // Who waits may have lost the right to, or there may be room now.
        queue.changed.senders.wake_all();
        queue.changed.receivers.wake_all();
        Ok(())
    }

    /// Puts the message in, if there is room.
    fn put(&mut self, id: i32, message: &mut Option<Message>, cred: &Cred) -> Result<Option<()>> {
        let queue = self.ids.get_mut(id).ok_or(Errno::EINVAL)?;
        queue.perm.check(cred, WRITE)?;
        let Some(new) = message.take_if(|message| queue.has_room(message.text.len())) else {
            return Ok(None);
        };
        let len = new.text.len() as u64;
        queue.bytes += len;
        queue.messages.push_back(new);
        (queue.pids[0], queue.times[0]) = (caller(), now());
        queue.changed.receivers.wake_all();
        self.usage.0 += 1;
        self.usage.1 += len;
        Ok(Some(()))
    }

    /// Takes the message that is wanted out, if there is one.
    fn take(&mut self, id: i32, how: &Receiving, cred: &Cred) -> Result<Option<Message>> {
        let queue = self.ids.get_mut(id).ok_or(Errno::EINVAL)?;
        queue.perm.check(cred, READ)?;
        let Some(place) = queue.find(how.wanted) else { return Ok(None) };
        let Some(message) = queue.messages.get(place) else { return Ok(None) };
        if message.text.len() > how.room && !how.cut {
            return Err(Errno::E2BIG);
        }
        if let Wanted::Place(_) = how.wanted {
            // A copy is whole.
            if message.text.len() > how.room {
                return Err(Errno::EINVAL);
            }
            return Message::new(message.kind, message.text.clone()).map(Some);
        }
        let Some(message) = queue.messages.remove(place) else { return Ok(None) };
        let len = message.text.len() as u64;
        queue.bytes -= len;
        (queue.pids[1], queue.times[1]) = (caller(), now());
        queue.changed.senders.wake_all();
        self.usage.0 -= 1;
        self.usage.1 -= len;
        Ok(Some(message))
    }

    fn sides(&self, id: i32) -> Result<Arc<Sides>> {
        self.ids.get(id).map(|queue| queue.changed.clone()).ok_or(Errno::EINVAL)
    }
}

/// What an attempt gave, of a queue that was there before.
fn removed<T>(result: Result<Option<T>>) -> Option<Result<T>> {
    match result {
        Err(Errno::EINVAL) => Some(Err(Errno::EIDRM)),
        result => result.transpose(),
    }
}

/// A signal ends the wait; the call begins again if no handler ran.
fn interrupted(error: Errno) -> Errno {
    if error == Errno::ERESTARTSYS { Errno::ERESTARTNOHAND } else { error }
}

/// msgsnd(2).
///
/// # Errors
/// As msgsnd(2).
pub fn send(namespace: &Namespace, id: i32, message: Message, nowait: bool) -> Result<()> {
    let cred = current().cred();
    let mut message = Some(message);
    let sides = {
        let mut table = namespace.msg.lock();
        if table.put(id, &mut message, &cred)?.is_some() {
            return Ok(());
        }
        table.sides(id)?
    };
    if nowait {
        return Err(Errno::EAGAIN);
    }
    sides
        .senders
        .wait_until(|| removed(namespace.msg.lock().put(id, &mut message, &cred)))
        .map_err(interrupted)?
}

/// msgrcv(2).
///
/// # Errors
/// As msgrcv(2).
pub fn receive(namespace: &Namespace, id: i32, how: &Receiving) -> Result<Message> {
    let cred = current().cred();
    let sides = {
        let mut table = namespace.msg.lock();
        if let Some(message) = table.take(id, how, &cred)? {
            return Ok(message);
        }
        table.sides(id)?
    };
    if how.nowait {
        return Err(Errno::ENOMSG);
    }
    sides.receivers.wait_until(|| removed(namespace.msg.lock().take(id, how, &cred))).map_err(interrupted)?
}
