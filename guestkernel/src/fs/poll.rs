//! Waiting for several files at once: what poll(2) and select(2) share.
//!
//! A [`Poller`] watches the queues of all files and looks at each again whenever one was woken. The first
//! look happens without watching anything; a call that finds something ready costs no more than that.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering};

use super::file::{File, PollMask};
use crate::{
    errno::Result,
    task::wait::{WaitError, WaitQueue, WatchId, Watcher},
};

/// Told of wake-ups; holds the queue that the polling task sleeps on.
#[derive(Debug, Default)]
pub struct Signal {
    woken: AtomicBool,
    queue: WaitQueue,
}

impl Watcher for Signal {
    fn notify(&self) {
        self.woken.store(true, Ordering::SeqCst);
        self.queue.wake_all();
    }
}

/// Registrations of one watcher with a file's queues; taken back when dropped.
pub struct Watch {
    file: Arc<File>,
    ids: [Option<WatchId>; 2],
}

impl Watch {
    /// Registers `watcher` with all queues of `file`.
    #[must_use]
    pub fn new(file: Arc<File>, watcher: &Arc<impl Watcher + 'static>) -> Self {
        let mut ids = [None, None];
        for (slot, queue) in ids.iter_mut().zip(file.ops().queues()) {
            *slot = queue.map(|queue| queue.watch(watcher.clone()));
        }
        Self { file, ids }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for (id, queue) in self.ids.iter().zip(self.file.ops().queues()) {
            if let (Some(id), Some(queue)) = (id, queue) {
                queue.unwatch(*id);
            }
        }
    }
}

/// One file of a poll: `None` when the descriptor is not open.
#[derive(Debug)]
pub struct Entry {
    /// The file.
    pub file: Option<Arc<File>>,
    /// What is asked for.
    pub events: PollMask,
    /// What is ready.
    pub ready: PollMask,
    /// The descriptor is to be skipped.
    pub ignored: bool,
}

impl Entry {
    fn look(&mut self) -> bool {
        self.ready = match &self.file {
            None if self.ignored => PollMask::empty(),
            None => PollMask::NVAL,
            Some(file) => file.poll() & (self.events | PollMask::ERR | PollMask::HUP),
        };
        !self.ready.is_empty()
    }
}

fn look(entries: &mut [Entry]) -> usize {
    entries.iter_mut().map(|entry| usize::from(entry.look())).sum()
}

/// Waits until something is ready or `deadline` (CLOCK_MONOTONIC, ns; `Some(0)` = only look). Gives the number
/// of ready entries.
///
/// # Errors
/// `ERESTARTSYS` when a signal comes first.
pub fn wait(entries: &mut [Entry], deadline: Option<u64>) -> Result<usize> {
    let ready = look(entries);
    if ready != 0 || deadline == Some(0) {
        return Ok(ready);
    }
    let signal = Arc::new(Signal::default());
    let watches: Vec<Watch> =
        entries.iter().filter_map(|entry| entry.file.clone()).map(|file| Watch::new(file, &signal)).collect();
    let result = loop {
        let ready = look(entries);
        if ready != 0 {
            break Ok(ready);
        }
        let woken = signal
            .queue
            .wait_until_deadline(deadline, || signal.woken.swap(false, Ordering::SeqCst).then_some(()));
        match woken {
            Ok(()) => {}
            Err(WaitError::TimedOut) => break Ok(look(entries)),
            Err(error @ WaitError::Interrupted) => break Err(error.into()),
        }
    };
    drop(watches);
    result
}

impl core::fmt::Debug for Watch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Watch")
    }
}
