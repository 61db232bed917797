//! Whom an open file tells of what happens to it by signals, and by which: `F_SETOWN`, `F_SETSIG` of fcntl(2).
//!
//! Threads and processes are held weakly, so that a number that is given out again is somebody else. A group is its
//! number: it is nobody's as long as no process is in it.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use crate::{
    errno::{Errno, Result},
    signal::{self, SigInfo},
    task::{Process, Task, current, tree},
};

/// What a number of `F_SETOWN_EX` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Kind {
    /// A thread.
    Thread = 0,
    /// A process.
    Process = 1,
    /// A group of processes.
    Group = 2,
}

impl Kind {
    /// From `struct f_owner_ex`.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn new(number: i32) -> Result<Self> {
        match number {
            0 => Ok(Self::Thread),
            1 => Ok(Self::Process),
            2 => Ok(Self::Group),
            _ => Err(Errno::EINVAL),
        }
    }
}

#[derive(Clone, Debug, Default)]
enum Who {
    #[default]
    Nobody,
    /// A process, and whether it was named by its own number rather than a thread's.
    Process(Weak<Process>, bool),
    Thread(Weak<Task>),
    Group(u32),
}

/// Why a signal is sent, as `si_code` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Reason {
    /// There may be something to read.
    Input = 1,
    /// There may be room to write.
    Output = 2,
    /// Something is to be read that is no data.
    Message = 3,
}

impl Reason {
    /// The poll(2) bits that go with it.
    const fn band(self) -> u64 {
        const MESSAGE: u64 = 0x400;
        match self {
            Self::Input => 0x41,
            Self::Output => 0x304,
            Self::Message => MESSAGE | 0x41,
        }
    }
}

/// The owner of an open file description.
#[derive(Clone, Debug)]
pub struct Owner {
    who: Who,
    kind: Kind,
    /// Real and effective user of who set it: signals go where those may send them.
    uid: u32,
    euid: u32,
    /// 0 for `SIGIO` without details.
    signal: u32,
}

impl Default for Owner {
    fn default() -> Self {
        Self { who: Who::Nobody, kind: Kind::Thread, uid: 0, euid: 0, signal: 0 }
    }
}

impl Owner {
    /// Sets who is told, in the name of the caller; 0 is nobody.
    ///
    /// # Errors
    /// `ESRCH`.
    pub fn set(&mut self, kind: Kind, id: u32) -> Result<()> {
        let who = if id == 0 { Who::Nobody } else { find(kind, id).ok_or(Errno::ESRCH)? };
        self.put(kind, who);
        Ok(())
    }

    /// The calling process is told, if nobody is so far.
    pub fn set_default(&mut self) {
        if matches!(self.who, Who::Nobody) {
            self.put(Kind::Process, Who::Process(Arc::downgrade(&current().process), true));
        }
    }

    fn put(&mut self, kind: Kind, who: Who) {
        if !matches!(who, Who::Nobody) {
            (self.uid, self.euid) = current().with_cred(|cred| (cred.uid, cred.euid));
        }
        (self.kind, self.who) = (kind, who);
    }

    /// What the owner's number names, and the number; 0 when it is gone or there never was one.
    #[must_use]
    pub fn get(&self) -> (Kind, u32) {
        let id = match &self.who {
            Who::Nobody | Who::Process(_, false) => None,
            Who::Process(process, true) => process.upgrade().map(|process| process.pid).filter(|&pid| {
                tree::process(pid).is_some_and(|now| core::ptr::eq(Arc::as_ptr(&now), process.as_ptr()))
            }),
            Who::Thread(task) => task.upgrade().map(|task| task.tid()).filter(|&tid| {
                tree::task(tid).is_some_and(|now| core::ptr::eq(Arc::as_ptr(&now), task.as_ptr()))
            }),
            Who::Group(group) => tree::lock().group(*group).next().map(|_| *group),
        };
        (self.kind, id.unwrap_or(0))
    }

    /// The signal; 0 for `SIGIO` without details.
    #[must_use]
    pub fn signal(&self) -> u32 {
        self.signal
    }

    /// Sets the signal.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn set_signal(&mut self, signal: u64) -> Result<()> {
        self.signal = u32::try_from(signal).ok().filter(|&no| no <= signal::MAX).ok_or(Errno::EINVAL)?;
        Ok(())
    }

    /// Sends the signal, about descriptor `fd`.
    pub fn send(&self, fd: i32, reason: Reason) {
        match &self.who {
            Who::Nobody => {}
            Who::Thread(task) => {
                if let Some(task) = task.upgrade() {
                    self.send_as(&task, |info| signal::send_to_task(&task, info), fd, reason);
                }
            }
            Who::Process(process, _) => {
                if let Some(process) = process.upgrade() {
                    self.send_to(&process, fd, reason);
                }
            }
            Who::Group(group) => {
                let members: Vec<Arc<Process>> =
                    tree::lock().group(*group).map(|node| node.process.clone()).collect();
                for process in &members {
                    self.send_to(process, fd, reason);
                }
            }
        }
    }

    fn send_to(&self, process: &Arc<Process>, fd: i32, reason: Reason) {
        if let Some(thread) = process.any_thread() {
            self.send_as(&thread, |info| signal::send_to_process(process, info), fd, reason);
        }
    }

    fn send_as(&self, target: &Task, send: impl Fn(SigInfo) -> Result<()>, fd: i32, reason: Reason) {
        let may = target.with_cred(|to| {
            self.euid == 0 || [self.uid, self.euid].iter().any(|id| *id == to.uid || *id == to.suid)
        });
        if !may {
            return;
        }
        let details = SigInfo::poll(self.signal, reason as i32, reason.band(), fd);
        // Where there is no room for the details, SIGIO says that something was lost.
        if self.signal == 0 || send(details).is_err() {
            let _ = send(SigInfo::kernel(signal::SIGIO));
        }
    }
}

fn find(kind: Kind, id: u32) -> Option<Who> {
    let tree = tree::lock();
    let thread = tree.task(id);
    match kind {
        Kind::Group => tree.group(id).next().map(|_| Who::Group(id)),
        Kind::Thread => thread.map(|task| Who::Thread(Arc::downgrade(task))),
        Kind::Process => match tree.node(id) {
            Some(node) => Some(Who::Process(Arc::downgrade(&node.process), true)),
            None => thread.map(|task| Who::Process(Arc::downgrade(&task.process), false)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_beyond_the_last_are_refused() {
        let mut owner = Owner::default();
        assert_eq!(owner.set_signal(65), Err(Errno::EINVAL));
        assert_eq!(owner.set_signal(u64::MAX), Err(Errno::EINVAL));
        assert_eq!(owner.set_signal(64), Ok(()));
        assert_eq!(owner.signal(), 64);
        assert_eq!(owner.get(), (Kind::Thread, 0));
    }
}
