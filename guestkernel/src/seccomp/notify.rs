//! Verdicts by another process (`SECCOMP_RET_USER_NOTIF`).
//!
//! The task whose call is to be judged waits in a [`Listener`]'s list; whoever has the descriptor takes the request
//! and answers it. A list is as long as there are tasks that wait.

use alloc::{sync::Arc, vec::Vec};
use linux_raw_sys::general::O_RDWR;

use super::Facts;
use crate::{
    errno::{Errno, Result},
    fs::{
        File, anon,
        file::{FileOps, PollMask},
    },
    sync::SpinLock,
    task::{Task, wait::WaitQueue},
};

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The call is made.
    Continue,
    /// The call gives this.
    Return(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    New,
    Taken,
    Answered(Answer),
}

#[derive(Debug)]
struct Request {
    id: u64,
    task: Arc<Task>,
    facts: Facts,
    progress: Progress,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    requests: Vec<Request>,
    /// Nobody has the descriptor any more.
    closed: bool,
    /// No task has the filter any more.
    unused: bool,
}

/// Where requests wait.
#[derive(Debug, Default)]
pub struct Listener {
    state: SpinLock<State>,
    changed: WaitQueue,
    answered: WaitQueue,
}

impl Listener {
    /// Asks about a call of the task `me` and waits for the answer.
    ///
    /// # Errors
    /// `ENOSYS` when nobody listens, `ERESTARTSYS` when a signal comes first.
    pub fn ask(&self, me: &Arc<Task>, facts: Facts) -> Result<Answer> {
        let id = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(Errno::ENOSYS);
            }
            state.requests.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            state.last_id += 1;
            let id = state.last_id;
            state.requests.push(Request { id, task: me.clone(), facts, progress: Progress::New });
            id
        };
        self.changed.wake_all();
        let answer = self.answered.wait_until(|| {
            let state = self.state.lock();
            let progress =
                state.requests.iter().find(|request| request.id == id).map(|request| request.progress);
            match progress {
                Some(Progress::Answered(answer)) => Some(Ok(answer)),
                _ if state.closed => Some(Err(Errno::ENOSYS)),
                _ => None,
            }
        });
        let gone = {
            let mut state = self.state.lock();
            let place = state.requests.iter().position(|request| request.id == id);
            place.map(|place| state.requests.swap_remove(place))
        };
        drop(gone);
        self.changed.wake_all();
        answer?
    }

    /// Waits for a request: its id, the task, the facts.
    ///
    /// # Errors
    /// `ERESTARTSYS`; `ENOENT` when no task has the filter any more.
    pub fn take(&self) -> Result<(u64, Arc<Task>, Facts)> {
        self.changed.wait_until(|| {
            let mut state = self.state.lock();
            let unused = state.unused;
            match state.requests.iter_mut().find(|request| request.progress == Progress::New) {
                Some(request) => {
                    request.progress = Progress::Taken;
                    Some(Ok((request.id, request.task.clone(), request.facts)))
                }
                None => unused.then_some(Err(Errno::ENOENT)),
            }
        })?
    }

    /// A request that was taken could not be told of: it waits again.
    pub fn put_back(&self, id: u64) {
        if let Some(request) = self.state.lock().requests.iter_mut().find(|request| request.id == id) {
            request.progress = Progress::New;
        }
    }

    /// The task of a request that was taken and not answered.
    ///
    /// # Errors
    /// `ENOENT`, `EINPROGRESS` for one in another state.
    pub fn task_of(&self, id: u64) -> Result<Arc<Task>> {
        let state = self.state.lock();
        let request = state.requests.iter().find(|request| request.id == id).ok_or(Errno::ENOENT)?;
        if request.progress == Progress::Taken { Ok(request.task.clone()) } else { Err(Errno::EINPROGRESS) }
    }

    /// Answers.
    ///
    /// # Errors
    /// As [`Self::task_of`].
    pub fn answer(&self, id: u64, answer: Answer) -> Result<()> {
        {
            let mut state = self.state.lock();
            let request = state.requests.iter_mut().find(|request| request.id == id).ok_or(Errno::ENOENT)?;
            if request.progress != Progress::Taken {
                return Err(Errno::EINPROGRESS);
            }
            request.progress = Progress::Answered(answer);
        }
        self.answered.wake_all();
        Ok(())
    }

    /// No task has the filter any more.
    pub(super) fn filter_gone(&self) {
        self.state.lock().unused = true;
        self.changed.wake_all();
    }

    /// A descriptor that answers its requests.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> Arc<File> {
        let ops = Arc::new(ListenerFile(self.clone()));
        File::anonymous(ops, anon::shared(), b"anon_inode:seccomp notify", O_RDWR)
    }
}

/// The descriptor's side.
#[derive(Debug)]
pub struct ListenerFile(Arc<Listener>);

impl Drop for ListenerFile {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.answered.wake_all();
    }
}

impl FileOps for ListenerFile {
    fn poll(&self, _file: &File) -> PollMask {
        let state = self.0.state.lock();
        let has = |progress| state.requests.iter().any(|request| request.progress == progress);
        let mut mask = PollMask::empty();
        if has(Progress::New) {
            mask |= PollMask::READABLE;
        }
        if has(Progress::Taken) {
            mask |= PollMask::WRITABLE;
        }
        if state.unused {
            mask |= PollMask::HUP;
        }
        mask
    }

    fn queues(&self) -> [Option<&WaitQueue>; 2] {
        [Some(&self.0.changed), None]
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn ignores_seeks(&self) -> bool {
        true
    }

    fn ioctl(&self, _file: &File, request: u32, arg: u64) -> Result<u64> {
        crate::syscall::seccomp::notify_ioctl(&self.0, request, arg)
    }
}
