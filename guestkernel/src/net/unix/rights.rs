//! Descriptors in flight: files that lie in sockets' queues.
//!
//! Sockets may lie in each other's queues, or their own, and then nobody can ever receive them. As in Linux such
//! rings are looked for when a socket is closed: a socket all of whose references are in flight, and whom no queue
//! leads to that somebody can still read, is dead, and its queue is emptied.
//!
//! Files are let go of one after another from a list, never one within another, however deep they are nested.

use alloc::{
    collections::VecDeque,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, Ordering};
use hashbrown::HashMap;

use super::{Packet, UnixSocket};
use crate::{
    arch::try_current,
    errno::{Errno, Result},
    fs::File,
    net::file,
    sync::{LazyLock, SpinLock},
    task::{cred::Caps, rlimit::Resource},
};

/// Most files in flight in all.
const MAX: usize = 1 << 18;
/// A search is due once for so many sockets in flight a socket was closed.
const CLOSES_PAY_FOR: usize = 16;

/// A socket in flight.
#[derive(Debug)]
struct Flying {
    file: Weak<File>,
    /// How many queues it is in, each as often as it is there.
    count: usize,
}

#[derive(Debug, Default)]
struct Registry {
    /// By the file's place in memory.
    sockets: HashMap<usize, Flying>,
    /// Files in flight of each user, and in all.
    users: HashMap<u32, usize>,
    total: usize,
    /// Sockets that may be searched for the closes since the last search.
    budget: usize,
}

static REGISTRY: LazyLock<SpinLock<Registry>> = LazyLock::new(SpinLock::default);

/// Files that travel.
#[derive(Debug)]
pub struct InFlight {
    files: Vec<Arc<File>>,
    uid: u32,
}

fn key(file: &Arc<File>) -> usize {
    Arc::as_ptr(file) as usize
}

/// The socket of this family behind a file.
fn unix(file: &File) -> Option<&UnixSocket> {
    file::socket(file).ok()?.downcast::<UnixSocket>()
}

/// Sends files off.
///
/// # Errors
/// `ETOOMANYREFS` when the caller has more in flight than it may have open.
pub(super) fn attach(files: Vec<Arc<File>>) -> Result<InFlight> {
    let (uid, limit) = try_current().map_or((0, u64::MAX), |me| {
        let (uid, privileged) =
            me.with_cred(|cred| (cred.uid, cred.effective.intersects(Caps::SYS_RESOURCE | Caps::SYS_ADMIN)));
        (uid, if privileged { u64::MAX } else { me.process.rlimit(Resource::OpenFiles).soft })
    });
    let mut registry = REGISTRY.lock();
    let mine = registry.users.get(&uid).copied().unwrap_or(0);
    if mine as u64 > limit || registry.total + files.len() > MAX {
        drop(registry);
        return Err(Errno::ETOOMANYREFS);
    }
    registry.total += files.len();
    *registry.users.entry(uid).or_insert(0) += files.len();
    for file in files.iter().filter(|file| unix(file).is_some()) {
        let flying = registry
            .sockets
            .entry(key(file))
            .or_insert_with(|| Flying { file: Arc::downgrade(file), count: 0 });
        flying.count += 1;
    }
    drop(registry);
    Ok(InFlight { files, uid })
}

impl InFlight {
    /// The files.
    pub(super) fn files(&self) -> &[Arc<File>] {
        &self.files
    }

    /// Ends the journey.
    pub(super) fn land(mut self) -> Vec<Arc<File>> {
        self.detach()
    }

    fn detach(&mut self) -> Vec<Arc<File>> {
        let files = core::mem::take(&mut self.files);
        if files.is_empty() {
            return files;
        }
        let mut registry = REGISTRY.lock();
        registry.total -= files.len();
        if let Some(count) = registry.users.get_mut(&self.uid) {
            *count -= files.len();
            if *count == 0 {
                registry.users.remove(&self.uid);
            }
        }
        for file in &files {
            if let Some(flying) = registry.sockets.get_mut(&key(file)) {
                flying.count -= 1;
                if flying.count == 0 {
                    registry.sockets.remove(&key(file));
                }
            }
        }
        files
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        discard(self.detach());
    }
}

/// Calls `f` while no file starts or ends a journey and no ring is looked for.
pub(super) fn while_unchanged<T>(f: impl FnOnce() -> T) -> T {
    let _registry = REGISTRY.lock();
    f()
}

/// Lets go of files: whoever is at it already takes these over.
fn discard(files: Vec<Arc<File>>) {
    static LIST: SpinLock<VecDeque<Arc<File>>> = SpinLock::new(VecDeque::new());
    static BUSY: AtomicBool = AtomicBool::new(false);
    if files.is_empty() {
        return;
    }
    LIST.lock().extend(files);
    while !BUSY.swap(true, Ordering::SeqCst) {
        loop {
            let next = LIST.lock().pop_front();
            match next {
                Some(file) => drop(file),
                None => break,
            }
        }
        BUSY.store(false, Ordering::SeqCst);
        // What came between the last look and here is nobody's yet.
        if LIST.lock().is_empty() {
            return;
        }
    }
}

/// A socket of which all references are in flight.
struct Candidate {
    file: Arc<File>,
    /// References from queues that are not of candidates.
    outside: usize,
    alive: bool,
}

/// Looks for rings if there are sockets in flight and enough closes have paid for it.
pub(super) fn collect_if_due() {
    static BUSY: AtomicBool = AtomicBool::new(false);
    {
        let mut registry = REGISTRY.lock();
        if registry.sockets.is_empty() {
            return;
        }
        registry.budget += CLOSES_PAY_FOR;
        if registry.budget < registry.sockets.len() {
            return;
        }
        registry.budget = 0;
    }
    if BUSY.swap(true, Ordering::SeqCst) {
        return;
    }
    let (packets, held) = find_rings();
    BUSY.store(false, Ordering::SeqCst);
    drop(packets);
    discard(held);
}

/// Empties the queues of dead sockets; gives what was in them, and references to be let go of.
fn find_rings() -> (Vec<Arc<Packet>>, Vec<Arc<File>>) {
    let registry = REGISTRY.lock();
    let mut candidates: HashMap<usize, Candidate> = HashMap::new();
    for (&key, flying) in &registry.sockets {
        if flying.file.strong_count() == flying.count
            && let Some(file) = flying.file.upgrade()
        {
            candidates.insert(key, Candidate { file, outside: flying.count, alive: false });
        }
    }
    let mut inside: Vec<usize> = Vec::new();
    for candidate in candidates.values() {
        for_each_queued(&candidate.file, &mut |file| inside.push(key(file)));
    }
    for key in inside {
        if let Some(candidate) = candidates.get_mut(&key) {
            candidate.outside = candidate.outside.saturating_sub(1);
        }
    }
    // Whoever is referred to from outside is alive, and whoever lies in a living one's queue.
    let mut living: Vec<usize> =
        candidates.iter().filter(|(_, candidate)| candidate.outside != 0).map(|(&key, _)| key).collect();
    while let Some(next) = living.pop() {
        if let Some(candidate) = candidates.get_mut(&next)
            && !candidate.alive
        {
            candidate.alive = true;
            let file = candidate.file.clone();
            for_each_queued(&file, &mut |file| living.push(key(file)));
            // Not the last reference: `candidates` has one.
            drop(file);
        }
    }
    let mut packets = Vec::new();
    for candidate in candidates.values().filter(|candidate| !candidate.alive) {
        for_each_socket(&candidate.file, &mut |socket| packets.extend(socket.purge()));
    }
    drop(registry);
    (packets, candidates.into_values().map(|candidate| candidate.file).collect())
}

/// Calls `f` for the socket and, of a listener, for connections that wait there.
fn for_each_socket(file: &File, f: &mut dyn FnMut(&UnixSocket)) {
    let Some(socket) = unix(file) else { return };
    f(socket);
    let pending: Vec<Arc<UnixSocket>> = socket.inner.lock().pending.iter().cloned().collect();
    pending.iter().for_each(|socket| f(socket));
}

/// Calls `f` for each file in the socket's queues.
fn for_each_queued(file: &File, f: &mut dyn FnMut(&Arc<File>)) {
    for_each_socket(file, &mut |socket| {
        socket.inner.lock().queue.iter().for_each(|packet| packet.for_each_file(&mut *f));
    });
}
