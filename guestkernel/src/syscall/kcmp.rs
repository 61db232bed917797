//! kcmp(2): whether two tasks share something.

use alloc::sync::Arc;

use super::{Args, process_vm::may_access};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    task::{Task, current, tree},
};

const FILE: i32 = 0;
const MEMORY: i32 = 1;
const FILES: i32 = 2;
const FS: i32 = 3;
const HANDLERS: i32 = 4;
const IO: i32 = 5;
const UNDO: i32 = 6;
const TARGET: i32 = 7;

fn named(tid: i32) -> Result<Arc<Task>> {
    u32::try_from(tid).ok().and_then(tree::task).ok_or(Errno::ESRCH)
}

/// The same, before, or after. What is compared are addresses, whose order says nothing to the caller.
fn compare<T: ?Sized>(one: &Arc<T>, other: &Arc<T>) -> u64 {
    let place = |arc: &Arc<T>| Arc::as_ptr(arc).cast::<u8>().addr();
    match place(one).cmp(&place(other)) {
        core::cmp::Ordering::Equal => 0,
        core::cmp::Ordering::Less => 1,
        core::cmp::Ordering::Greater => 2,
    }
}

/// kcmp(2).
///
/// # Errors
/// As kcmp(2).
pub fn kcmp(args: &Args) -> Result<u64> {
    let (one, other) = (named(args.int(0))?, named(args.int(1))?);
    let me = current();
    if !may_access(&me, &one) || !may_access(&me, &other) {
        return Err(Errno::EPERM);
    }
    match args.int(2) {
        FILE => Ok(compare(&one.file(args.int(3))?, &other.file(args.int(4))?)),
        MEMORY => Ok(compare(&one.mm()?, &other.mm()?)),
        FILES => Ok(compare(&one.files(), &other.files())),
        FS => Ok(compare(&one.fs()?, &other.fs()?)),
        HANDLERS => Ok(compare(&one.process.handlers(), &other.process.handlers())),
        // Nobody has any, which is the same.
        IO | UNDO => Ok(0),
        TARGET => {
            let _: [u32; 3] = uaccess::get(args.0[4])?;
            one.file(args.int(3))?;
            Err(Errno::EINVAL)
        }
        _ => Err(Errno::EINVAL),
    }
}
