//! Files of `/proc/PID` about pages that can be written, or are not texts: `pagemap`, `clear_refs`, and what the
//! out-of-memory killer is told.

use alloc::{boxed::Box, format, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use super::pid::Id;
use crate::{
    errno::{Errno, Result},
    fs::static_fs::{Node, What},
    mm::oom::{ADJ_MAX, ADJ_MIN},
    task::{cred::Caps, current},
};

/// The names.
pub(super) const NAMES: [&[u8]; 4] = [b"clear_refs", b"oom_adj", b"oom_score_adj", b"pagemap"];

/// Ends of the older scale, `oom_adj`.
const OLD_MIN: i32 = -17;
const OLD_MAX: i32 = 15;
/// Bytes of an entry of `pagemap`, and most of them read at once.
const ENTRY: u64 = 8;
const MOST: u64 = 512;

pub(super) fn lookup(id: Id, name: &[u8]) -> Option<Arc<Node>> {
    let index = 32 + NAMES.iter().position(|known| *known == name)? as u64;
    let nothing = || Err(Errno::EINVAL);
    Some(match name {
        b"clear_refs" => {
            id.node(index, 0o200, What::Setting(Box::new(nothing), Box::new(move |bytes| clear(id, bytes))))
        }
        b"oom_adj" => {
            let read = move || {
                let adj = id.process()?.oom.adj.load(Ordering::Relaxed);
                let old = if adj == ADJ_MAX { OLD_MAX } else { (adj * -OLD_MIN / ADJ_MAX).min(OLD_MAX) };
                Ok(format!("{old}\n").into_bytes())
            };
            let write = move |bytes: &[u8]| {
                let old = number(bytes)?;
                if !(OLD_MIN..=OLD_MAX).contains(&old) {
                    return Err(Errno::EINVAL);
                }
                adjust(id, if old == OLD_MAX { ADJ_MAX } else { old * ADJ_MAX / -OLD_MIN }, true)
            };
            id.node(index, 0o644, What::Setting(Box::new(read), Box::new(write)))
        }
        b"oom_score_adj" => {
            let read =
                move || Ok(format!("{}\n", id.process()?.oom.adj.load(Ordering::Relaxed)).into_bytes());
            let write = move |bytes: &[u8]| {
                let adj = number(bytes)?;
                if !(ADJ_MIN..=ADJ_MAX).contains(&adj) {
                    return Err(Errno::EINVAL);
                }
                adjust(id, adj, false)
            };
            id.node(index, 0o644, What::Setting(Box::new(read), Box::new(write)))
        }
        _ => id.node(index, 0o400, What::Bytes(Box::new(move |offset, len| pagemap(id, offset, len)))),
    })
}

fn number(bytes: &[u8]) -> Result<i32> {
    core::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok()).ok_or(Errno::EINVAL)
}

/// Sets the adjustment; lower than before takes a right.
fn adjust(id: Id, adj: i32, old_scale: bool) -> Result<()> {
    let process = id.process()?;
    let oom = &process.oom;
    let floor = if old_scale { &oom.adj } else { &oom.adj_min }.load(Ordering::Relaxed);
    let may = current().with_cred(|cred| cred.capable(Caps::SYS_RESOURCE));
    if adj < floor && !may {
        return Err(Errno::EACCES);
    }
    oom.adj.store(adj, Ordering::Relaxed);
    if may && !old_scale {
        oom.adj_min.store(adj, Ordering::Relaxed);
    }
    Ok(())
}

/// A write to `clear_refs`.
fn clear(id: Id, bytes: &[u8]) -> Result<()> {
    let what = number(bytes)?;
    if !(1..=5).contains(&what) {
        return Err(Errno::EINVAL);
    }
    let Some(mm) = id.task()?.address_space() else { return Ok(()) };
    match what {
        1 => mm.forget_references(None),
        2 => mm.forget_references(Some(true)),
        3 => mm.forget_references(Some(false)),
        // Soft-dirty bits: as on a kernel without them, `pagemap` never shows any.
        4 => {}
        _ => mm.reset_peak(),
    }
    Ok(())
}

/// Entries of `pagemap` from a byte offset on.
fn pagemap(id: Id, offset: u64, len: usize) -> Result<Vec<u8>> {
    if !offset.is_multiple_of(ENTRY) || !(len as u64).is_multiple_of(ENTRY) {
        return Err(Errno::EINVAL);
    }
    let Some(mm) = id.task()?.address_space() else { return Ok(Vec::new()) };
    let entries = mm.page_entries(offset / ENTRY, (len as u64 / ENTRY).min(MOST));
    Ok(entries.into_iter().flat_map(u64::to_le_bytes).collect())
}
