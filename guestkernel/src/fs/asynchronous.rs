//! `O_ASYNC`: an open file that tells its owner ([`super::owner`]) by a signal when it may be ready.
//!
//! Who has it set watches the file's queues, as epoll does. A signal is sent at each wake-up, whether the file is ready
//! then or not: who gets it has to look, as under Linux.

use alloc::{boxed::Box, sync::Arc};

use super::{
    file::File,
    owner::{Owner, Reason},
};
use crate::{
    errno::{Errno, Result},
    sync::SpinLock,
    task::wait::{WaitQueue, WatchId, Watcher},
};

/// What the watchers of a file share.
struct Shared {
    owner: SpinLock<Option<Owner>>,
    /// The descriptor that was used to ask for it.
    fd: i32,
}

/// The watcher of one queue.
struct Teller {
    shared: Arc<Shared>,
    reason: Reason,
}

impl Watcher for Teller {
    fn notify(&self) {
        let owner = self.shared.owner.lock().clone();
        if let Some(owner) = owner {
            owner.send(self.shared.fd, self.reason);
        }
    }
}

/// A file's watchers.
pub(super) struct Telling {
    shared: Arc<Shared>,
    ids: [Option<WatchId>; 2],
}

impl core::fmt::Debug for Telling {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Telling").field("fd", &self.shared.fd).finish_non_exhaustive()
    }
}

impl Telling {
    fn new(queues: [Option<&WaitQueue>; 2], fd: i32, owner: Option<Owner>) -> Box<Self> {
        let shared = Arc::new(Shared { owner: SpinLock::new(owner), fd });
        let mut ids = [None, None];
        for ((id, queue), reason) in ids.iter_mut().zip(queues).zip([Reason::Input, Reason::Output]) {
            *id = queue.map(|queue| queue.watch(Arc::new(Teller { shared: shared.clone(), reason })));
        }
        Box::new(Self { shared, ids })
    }

    /// Another owner is told.
    pub(super) fn set_owner(&self, owner: Owner) {
        let old = self.shared.owner.lock().replace(owner);
        drop(old);
    }

    /// Nobody is told any more.
    pub(super) fn end(&self, queues: [Option<&WaitQueue>; 2]) {
        for (id, queue) in self.ids.iter().zip(queues) {
            if let (Some(id), Some(queue)) = (id, queue) {
                queue.unwatch(*id);
            }
        }
    }
}

/// Has `file`, open as `fd`, tell its owner, or not.
///
/// # Errors
/// `ENOTTY` for a file of a kind that tells nobody.
pub fn set(file: &Arc<File>, fd: i32, on: bool) -> Result<()> {
    if file.is_asynchronous() == on {
        return Ok(());
    }
    if !file.ops().tells() {
        return Err(Errno::ENOTTY);
    }
    let queues = file.ops().queues();
    let new = on.then(|| Telling::new(queues, fd, file.owner()));
    if let Some(old) = file.set_telling(new) {
        old.end(queues);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_go_as_they_came() {
        let (one, other) = (WaitQueue::new(), WaitQueue::new());
        let telling = Telling::new([Some(&one), Some(&other)], 3, None);
        telling.set_owner(Owner::default());
        one.wake_all();
        telling.end([Some(&one), Some(&other)]);
        assert_eq!(Arc::strong_count(&telling.shared), 1);
    }
}
