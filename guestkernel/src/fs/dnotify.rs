//! `F_NOTIFY` of fcntl(2): signals about what happens in a directory.
//!
//! A notice belongs to an open directory and to the descriptor table that asked for it; it goes when a descriptor of
//! the directory in that table is closed. [`super::inotify`] says what happens, and where nothing is watched at all
//! costs one look at [`COUNT`]. The table is a spinning leaf; nothing is dropped under it.

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use linux_raw_sys::general::{
    DN_ACCESS, DN_ATTRIB, DN_CREATE, DN_DELETE, DN_MODIFY, DN_MULTISHOT, DN_RENAME, IN_ACCESS, IN_ATTRIB,
    IN_CREATE, IN_DELETE, IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO,
};

use super::{file::File, inode::Inode, owner::Reason};
use crate::{
    errno::{Errno, Result},
    sync::SpinLock,
};

/// What `F_NOTIFY` can ask for, and the events of inotify(7) that it is about. A rename within one directory is told
/// apart by [`renamed`].
const EVENTS: [(u32, u32); 5] = [
    (DN_ACCESS, IN_ACCESS),
    (DN_MODIFY, IN_MODIFY),
    (DN_CREATE, IN_CREATE | IN_MOVED_TO),
    (DN_DELETE, IN_DELETE | IN_MOVED_FROM),
    (DN_ATTRIB, IN_ATTRIB),
];

/// `fs.dir-notify-enable`.
static ENABLED: AtomicU32 = AtomicU32::new(1);
/// Notices that there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Notices by the address of their directory's inode, which their file keeps; newest last.
static TABLE: SpinLock<BTreeMap<usize, Vec<Notice>>> = SpinLock::new(BTreeMap::new());

#[derive(Clone)]
struct Notice {
    file: Weak<File>,
    /// Address of the descriptor table that asked.
    table: usize,
    /// The descriptor that it was asked for by.
    fd: i32,
    /// `DN_*`.
    wants: u32,
}

impl Notice {
    fn is_of(&self, file: *const File, table: usize) -> bool {
        self.table == table && core::ptr::eq(self.file.as_ptr(), file)
    }
}

fn key(inode: &Arc<dyn Inode>) -> usize {
    Arc::as_ptr(inode).cast::<()>() as usize
}

/// Whether there are any notices.
pub(super) fn any() -> bool {
    COUNT.load(Ordering::SeqCst) != 0
}

/// `fs.dir-notify-enable`.
#[must_use]
pub fn enabled() -> u32 {
    ENABLED.load(Ordering::Relaxed)
}

/// Changes it.
pub fn set_enabled(value: u32) {
    ENABLED.store(value, Ordering::Relaxed);
}

/// Changes the notices of one directory; gives what `f` gives.
fn with_notices<T>(key: usize, f: impl FnOnce(&mut Vec<Notice>) -> T) -> T {
    let mut table = TABLE.lock();
    let notices = table.entry(key).or_default();
    let before = notices.len();
    let result = f(notices);
    let after = notices.len();
    if after == 0 {
        table.remove(&key);
    }
    COUNT.fetch_add(after.wrapping_sub(before), Ordering::SeqCst);
    result
}

/// `F_NOTIFY` for descriptor `fd` of the descriptor table at `table`. `wants` are `DN_*`, added to those asked for
/// before; none ends the notice.
///
/// # Errors
/// `EINVAL` where notices are disabled, `ENOTDIR`, `ENOMEM`.
pub fn control(file: &Arc<File>, table: usize, fd: i32, wants: u32) -> Result<()> {
    if enabled() == 0 {
        return Err(Errno::EINVAL);
    }
    if wants & !DN_MULTISHOT == 0 {
        end(file, table);
        return Ok(());
    }
    if !file.inode().is_dir() {
        return Err(Errno::ENOTDIR);
    }
    file.with_owner(|owner| {
        owner.set_default();
        Ok(())
    })?;
    with_notices(key(file.inode()), |notices| {
        if let Some(known) = notices.iter_mut().find(|notice| notice.is_of(Arc::as_ptr(file), table)) {
            known.fd = fd;
            known.wants |= wants;
            return Ok(());
        }
        notices.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        notices.push(Notice { file: Arc::downgrade(file), table, fd, wants });
        Ok(())
    })
}

/// A descriptor of `file` in the table at `table` is closed.
pub fn end(file: &Arc<File>, table: usize) {
    if any() && file.inode().is_dir() {
        let gone: Vec<Notice> = with_notices(key(file.inode()), |notices| {
            notices.extract_if(.., |notice| notice.is_of(Arc::as_ptr(file), table)).collect()
        });
        drop(gone);
    }
}

/// Tells those who asked for `matching` of the directory `inode`; a notice for one event ends.
fn tell(inode: &Arc<dyn Inode>, matching: u32) {
    let told: Vec<Notice> = with_notices(key(inode), |notices| {
        let told = notices.iter().filter(|notice| notice.wants & matching != 0).cloned().collect();
        notices.retain(|notice| notice.wants & matching == 0 || notice.wants & DN_MULTISHOT != 0);
        told
    });
    for notice in told.iter().rev() {
        if let Some(owner) = notice.file.upgrade().and_then(|file| file.owner()) {
            owner.send(notice.fd, Reason::Message);
        }
    }
}

/// An event of inotify(7) happened to `inode`, or to something in it.
pub(super) fn happened(inode: &Arc<dyn Inode>, event: u32) {
    if !any() || !inode.is_dir() {
        return;
    }
    let matching =
        EVENTS.iter().filter(|(_, events)| event & events != 0).fold(0, |all, (wants, _)| all | wants);
    if matching != 0 {
        tell(inode, matching);
    }
}

/// Something got another name in `inode`.
pub(super) fn renamed(inode: &Arc<dyn Inode>) {
    if any() {
        tell(inode, DN_RENAME);
    }
}
