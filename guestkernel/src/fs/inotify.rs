//! inotify(7): who watches which inode, and what happens to it.
//!
//! A watch keeps its inode, whose address is therefore its name in [`TABLE`]. Where nothing is watched an event
//! costs one look at [`WATCHES`]. The table and the queues are spinning leaves; nothing is dropped under them.

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use linux_raw_sys::general::{
    IN_ALL_EVENTS, IN_ATTRIB, IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, IN_CREATE, IN_DELETE, IN_DELETE_SELF,
    IN_DONT_FOLLOW, IN_EXCL_UNLINK, IN_IGNORED, IN_ISDIR, IN_MASK_ADD, IN_MASK_CREATE, IN_MOVE_SELF,
    IN_MOVED_FROM, IN_MOVED_TO, IN_ONESHOT, IN_ONLYDIR, IN_OPEN, IN_Q_OVERFLOW, IN_UNMOUNT, O_ACCMODE,
    O_RDONLY,
};

use super::{
    anon,
    dentry::Dentry,
    dnotify,
    file::{File, FileOps, PollMask},
    inode::Inode,
    mount::{Path, Super},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    sync::SpinLock,
    task::wait::WaitQueue,
    uio::Sink,
};

/// Every bit that inotify_add_watch(2) takes.
pub const KNOWN: u32 = IN_ALL_EVENTS
    | IN_UNMOUNT
    | IN_Q_OVERFLOW
    | IN_IGNORED
    | IN_ONLYDIR
    | IN_DONT_FOLLOW
    | IN_EXCL_UNLINK
    | IN_MASK_CREATE
    | IN_MASK_ADD
    | IN_ISDIR
    | IN_ONESHOT;
/// Most events that wait (`max_queued_events`).
pub const QUEUE_MAX: usize = 16_384;
/// Most instances (`max_user_instances`).
pub const INSTANCES_MAX: usize = 128;
/// Most watches (`max_user_watches`).
pub const WATCHES_MAX: usize = 65_536;
/// Bytes of an event without its name.
const HEAD: usize = 16;

/// Watches that there are.
static WATCHES: AtomicUsize = AtomicUsize::new(0);
static INSTANCES: AtomicUsize = AtomicUsize::new(0);
static COOKIE: AtomicU32 = AtomicU32::new(0);
/// Watches by the address of their inode.
static TABLE: SpinLock<BTreeMap<usize, Vec<Arc<Watch>>>> = SpinLock::new(BTreeMap::new());

/// One inode watched by one instance.
struct Watch {
    instance: Weak<Inotify>,
    number: i32,
    mask: AtomicU32,
    inode: Arc<dyn Inode>,
    /// Address of the file system that it was reached through.
    fs: usize,
}

#[derive(Clone, PartialEq, Eq)]
struct Event {
    watch: i32,
    mask: u32,
    cookie: u32,
    name: Vec<u8>,
}

impl Event {
    fn size(&self) -> usize {
        HEAD + if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(HEAD) }
    }
}

struct State {
    watches: BTreeMap<i32, Arc<Watch>>,
    next: i32,
    events: VecDeque<Event>,
    overflown: bool,
}

/// An instance.
pub struct Inotify {
    state: SpinLock<State>,
    readable: WaitQueue,
    weak: Weak<Self>,
}

impl core::fmt::Debug for Inotify {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Inotify")
    }
}

fn key(inode: &Arc<dyn Inode>) -> usize {
    Arc::as_ptr(inode).cast::<()>() as usize
}

/// A new instance. `flags` are status flags.
///
/// # Errors
/// `EMFILE`.
pub fn open(flags: u32) -> Result<Arc<File>> {
    if INSTANCES.fetch_add(1, Ordering::Relaxed) >= INSTANCES_MAX {
        INSTANCES.fetch_sub(1, Ordering::Relaxed);
        return Err(Errno::EMFILE);
    }
    let instance = Arc::new_cyclic(|weak| Inotify {
        state: SpinLock::new(State {
            watches: BTreeMap::new(),
            next: 1,
            events: VecDeque::new(),
            overflown: false,
        }),
        readable: WaitQueue::new(),
        weak: weak.clone(),
    });
    Ok(File::anonymous(instance, anon::shared(), b"anon_inode:inotify", O_RDONLY | flags))
}

impl Drop for Inotify {
    fn drop(&mut self) {
        INSTANCES.fetch_sub(1, Ordering::Relaxed);
        let watches = core::mem::take(&mut self.state.get_mut().watches);
        watches.values().for_each(forget);
    }
}

/// Takes a watch out of the table.
fn forget(watch: &Arc<Watch>) {
    let mut table = TABLE.lock();
    let Some(list) = table.get_mut(&key(&watch.inode)) else { return };
    let before = list.len();
    list.retain(|other| !Arc::ptr_eq(other, watch));
    WATCHES.fetch_sub(before - list.len(), Ordering::Relaxed);
    if list.is_empty() {
        table.remove(&key(&watch.inode));
    }
}

impl Inotify {
    /// Watches what is at `path`, or changes how it is watched. The watch's number.
    ///
    /// # Errors
    /// `EEXIST` with `IN_MASK_CREATE` where it is watched, `ENOSPC`.
    pub fn add(&self, path: &Path, mask: u32) -> Result<i32> {
        let inode = path.inode()?;
        let wanted = mask & (IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT) | IN_UNMOUNT;
        let mut state = self.state.lock();
        if let Some(watch) = state.watches.values().find(|watch| Arc::ptr_eq(&watch.inode, inode)) {
            if mask & IN_MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            let kept = if mask & IN_MASK_ADD != 0 { watch.mask.load(Ordering::Relaxed) } else { 0 };
            watch.mask.store(kept | wanted, Ordering::Relaxed);
            return Ok(watch.number);
        }
        if WATCHES.fetch_add(1, Ordering::SeqCst) >= WATCHES_MAX {
            WATCHES.fetch_sub(1, Ordering::SeqCst);
            return Err(Errno::ENOSPC);
        }
        let number = state.next;
        state.next = number.checked_add(1).unwrap_or(1);
        let watch = Arc::new(Watch {
            instance: self.weak.clone(),
            number,
            mask: AtomicU32::new(wanted),
            inode: inode.clone(),
            fs: Arc::as_ptr(&path.mount.fs) as usize,
        });
        state.watches.insert(number, watch.clone());
        TABLE.lock().entry(key(inode)).or_default().push(watch);
        Ok(number)
    }

    /// Ends a watch.
    ///
    /// # Errors
    /// `EINVAL` when there is none of this number.
    pub fn remove(&self, number: i32) -> Result<()> {
        let watch = self.state.lock().watches.remove(&number).ok_or(Errno::EINVAL)?;
        forget(&watch);
        self.put(Event { watch: number, mask: IN_IGNORED, cookie: 0, name: Vec::new() });
        Ok(())
    }

    fn put(&self, event: Event) {
        {
            let mut state = self.state.lock();
            let same =
                |last: &Event| (last.watch, last.mask, &last.name) == (event.watch, event.mask, &event.name);
            if state.events.back().is_some_and(same) {
                return;
            }
            if state.events.len() >= QUEUE_MAX {
                if core::mem::replace(&mut state.overflown, true) {
                    return;
                }
                state.events.push_back(Event { watch: -1, mask: IN_Q_OVERFLOW, cookie: 0, name: Vec::new() });
            } else {
                state.events.push_back(event);
            }
        }
        self.readable.wake_one();
    }

    fn take(&self, room: usize) -> Option<Result<Event>> {
        let mut state = self.state.lock();
        if state.events.front()?.size() > room {
            return Some(Err(Errno::EINVAL));
        }
        let event = state.events.pop_front()?;
        if event.mask & IN_Q_OVERFLOW != 0 {
            state.overflown = false;
        }
        Some(Ok(event))
    }
}

impl FileOps for Inotify {
    fn read_at(&self, file: &File, sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        let mut done = 0;
        loop {
            let event = match self.take(sink.remaining()) {
                Some(Ok(event)) => event,
                Some(Err(_)) | None if done != 0 => return Ok(done),
                Some(Err(error)) => return Err(error),
                None if file.nonblocking() => return Err(Errno::EAGAIN),
                None => self.readable.wait_until(|| self.take(sink.remaining()))??,
            };
            let size = event.size();
            let mut bytes = Vec::with_capacity(size);
            bytes.extend_from_slice(&event.watch.to_ne_bytes());
            for word in [event.mask, event.cookie, (size - HEAD) as u32] {
                bytes.extend_from_slice(&word.to_ne_bytes());
            }
            bytes.extend_from_slice(&event.name);
            bytes.resize(size, 0);
            done += sink.write(&bytes)?;
        }
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn ignores_seeks(&self) -> bool {
        true
    }

    fn poll(&self, _file: &File) -> PollMask {
        if self.state.lock().events.is_empty() { PollMask::empty() } else { PollMask::READABLE }
    }

    fn queues(&self) -> [Option<&WaitQueue>; 2] {
        [Some(&self.readable), None]
    }

    fn tells(&self) -> bool {
        true
    }

    fn ioctl(&self, _file: &File, request: u32, arg: u64) -> Result<u64> {
        const FIONREAD: u32 = 0x541b;
        if request != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes: usize = self.state.lock().events.iter().map(Event::size).sum();
        uaccess::put(arg, &(bytes as u32)).map(|()| 0)
    }
}

/// Tells those who watch `inode`. `name` is that of the child that it happened to, `gone` that the child has no
/// name any more.
fn tell(inode: &Arc<dyn Inode>, mask: u32, cookie: u32, name: &[u8], gone: bool) {
    dnotify::happened(inode, mask);
    let watches = TABLE.lock().get(&key(inode)).cloned().unwrap_or_default();
    for watch in watches {
        let wanted = watch.mask.load(Ordering::Relaxed);
        let events = IN_ALL_EVENTS | IN_UNMOUNT;
        if wanted & mask & events == 0 || gone && wanted & IN_EXCL_UNLINK != 0 {
            continue;
        }
        let Some(instance) = watch.instance.upgrade() else { continue };
        instance.put(Event { watch: watch.number, mask, cookie, name: name.to_vec() });
        if wanted & IN_ONESHOT != 0 {
            // Somebody else may have ended it.
            let _ = instance.remove(watch.number);
        }
    }
}

fn watched() -> bool {
    WATCHES.load(Ordering::Relaxed) != 0 || dnotify::any()
}

fn directory(inode: &Arc<dyn Inode>) -> u32 {
    if inode.is_dir() { IN_ISDIR } else { 0 }
}

/// Something happened to what `dentry` names: its directory is told, and those who watch it.
pub fn happened(dentry: &Arc<Dentry>, mask: u32) {
    if watched() {
        tell_both(dentry, mask);
    }
}

#[cold]
fn tell_both(dentry: &Arc<Dentry>, mask: u32) {
    let Ok(inode) = dentry.inode() else { return };
    let mask = mask | directory(inode);
    let (parent, name) = dentry.with_place(|parent, name| (parent.cloned(), name.to_vec()));
    if let Some(Ok(parent)) = parent.as_ref().map(|parent| parent.inode()) {
        tell(parent, mask, 0, &name, dentry.is_dead());
    }
    tell(inode, mask, 0, b"", false);
}

/// A name came to be in `dir`; `linked` is what got one name more.
pub fn created(dir: &Arc<dyn Inode>, name: &[u8], inode: &Arc<dyn Inode>, linked: bool) {
    if !watched() {
        return;
    }
    if linked {
        tell(inode, IN_ATTRIB, 0, b"", false);
    }
    tell(dir, IN_CREATE | directory(inode), 0, name, false);
}

/// `victim` lost its name in `dir`. `users` are references to it besides those of open descriptions.
pub fn removed(dir: &Arc<dyn Inode>, name: &[u8], victim: &Arc<Dentry>, users: usize) {
    if !watched() {
        return;
    }
    let Ok(inode) = victim.inode() else { return };
    if !inode.is_dir() {
        tell(inode, IN_ATTRIB, 0, b"", false);
    }
    end_if_unused(victim, users);
    tell(dir, IN_DELETE | directory(inode), 0, name, false);
}

/// The inode of a dead dentry ends when nothing else refers to it.
fn end_if_unused(dentry: &Arc<Dentry>, users: usize) {
    let Ok(inode) = dentry.inode() else { return };
    let linked = inode.access().is_ok_and(|attr| attr.nlink != 0 && !inode.is_dir());
    if !dentry.is_dead() || linked || Arc::strong_count(dentry) > users {
        return;
    }
    tell(inode, IN_DELETE_SELF, 0, b"", false);
    end_watches(|watch| Arc::ptr_eq(&watch.inode, inode), key(inode)..=key(inode));
}

fn end_watches(which: impl Fn(&Watch) -> bool, keys: core::ops::RangeInclusive<usize>) {
    let ended: Vec<Arc<Watch>> = {
        let table = TABLE.lock();
        table.range(keys).flat_map(|(_, list)| list.iter().filter(|watch| which(watch)).cloned()).collect()
    };
    for watch in ended {
        if let Some(instance) = watch.instance.upgrade() {
            // Somebody else may have ended it.
            let _ = instance.remove(watch.number);
        }
    }
}

/// One move between directories: what moved, and what it replaced with references to that one.
pub fn moved(
    from: (&Arc<dyn Inode>, &[u8]),
    to: (&Arc<dyn Inode>, &[u8]),
    inode: &Arc<dyn Inode>,
    replaced: Option<(&Arc<Dentry>, usize)>,
) {
    if !watched() {
        return;
    }
    let cookie = COOKIE.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    let kind = directory(inode);
    if Arc::ptr_eq(from.0, to.0) {
        dnotify::renamed(from.0);
    }
    tell(from.0, IN_MOVED_FROM | kind, cookie, from.1, false);
    tell(to.0, IN_MOVED_TO | kind, cookie, to.1, false);
    if let Some(Ok(gone)) = replaced.map(|(dentry, _)| dentry.inode()) {
        tell(gone, IN_ATTRIB, 0, b"", false);
    }
    tell(inode, IN_MOVE_SELF, 0, b"", false);
    if let Some((dentry, users)) = replaced {
        end_if_unused(dentry, users);
    }
}

/// A description was opened.
pub fn opened(path: &Path) {
    happened(&path.dentry, IN_OPEN);
}

/// The last descriptor of a description is closed.
pub fn closed(path: &Path, flags: u32) {
    if !watched() {
        return;
    }
    let wrote = flags & O_ACCMODE != O_RDONLY;
    tell_both(&path.dentry, if wrote { IN_CLOSE_WRITE } else { IN_CLOSE_NOWRITE });
    if path.dentry.is_dead() {
        end_if_unused(&path.dentry, 1);
    }
}

/// A file system is not mounted anywhere any more.
pub fn unmounted(fs: *const Super) {
    if !watched() {
        return;
    }
    let fs = fs as usize;
    let inodes: Vec<Arc<dyn Inode>> = {
        let table = TABLE.lock();
        let of_it = |list: &&Vec<Arc<Watch>>| list.first().is_some_and(|watch| watch.fs == fs);
        table
            .values()
            .filter(of_it)
            .filter_map(|list| list.first().map(|watch| watch.inode.clone()))
            .collect()
    };
    for inode in inodes {
        tell(&inode, IN_UNMOUNT, 0, b"", false);
        end_watches(|watch| watch.fs == fs, key(&inode)..=key(&inode));
    }
}
