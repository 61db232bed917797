//! Who writes a file and who runs it: never both, `ETXTBSY`.
//!
//! An open file description that may write counts as a writer; one that exec made for a program (or its `#!`
//! interpreter, or dynamic linker) counts against writers as long as it lives, a program's until its process ends.

use alloc::{collections::BTreeMap, sync::Arc};

use super::inode::Inode;
use crate::{
    errno::{Errno, Result},
    sync::SpinLock,
};

/// Inodes by address, which is theirs while somebody counts: writers, or runners as a negative number.
static COUNTS: SpinLock<BTreeMap<usize, i64>> = SpinLock::new(BTreeMap::new());

fn key(inode: &Arc<dyn Inode>) -> usize {
    Arc::as_ptr(inode).cast::<()>() as usize
}

fn change(inode: &Arc<dyn Inode>, by: i64) -> Result<()> {
    let mut counts = COUNTS.lock();
    let count = counts.entry(key(inode)).or_insert(0);
    if *count != 0 && (*count < 0) != (by < 0) {
        return Err(Errno::ETXTBSY);
    }
    *count += by;
    Ok(())
}

fn undo(inode: &Arc<dyn Inode>, by: i64) {
    let mut counts = COUNTS.lock();
    if let Some(count) = counts.get_mut(&key(inode)) {
        *count -= by;
        if *count == 0 {
            counts.remove(&key(inode));
        }
    }
}

/// One more writes it.
///
/// # Errors
/// `ETXTBSY`: it is being run.
pub(super) fn begin_write(inode: &Arc<dyn Inode>) -> Result<()> {
    change(inode, 1)
}

/// One less.
pub(super) fn end_write(inode: &Arc<dyn Inode>) {
    undo(inode, 1);
}

/// One more runs it.
///
/// # Errors
/// `ETXTBSY`: it is open for writing.
pub(super) fn begin_run(inode: &Arc<dyn Inode>) -> Result<()> {
    change(inode, -1)
}

/// One less.
pub(super) fn end_run(inode: &Arc<dyn Inode>) {
    undo(inode, -1);
}

/// How many write it; those who run it as a negative number.
pub(super) fn writers(inode: &Arc<dyn Inode>) -> i64 {
    COUNTS.lock().get(&key(inode)).copied().unwrap_or(0)
}

/// Whether it may be changed now.
///
/// # Errors
/// `ETXTBSY`: it is being run.
pub fn check_idle(inode: &Arc<dyn Inode>) -> Result<()> {
    match COUNTS.lock().get(&key(inode)) {
        Some(count) if *count < 0 => Err(Errno::ETXTBSY),
        _ => Ok(()),
    }
}
