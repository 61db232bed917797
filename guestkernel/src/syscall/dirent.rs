//! Reading directories.

use alloc::vec::Vec;

use super::{Args, at::open_file, file::MAX_RW};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::inode::Dirent,
    task::current,
};

/// Most bytes of entries that one call gives.
const PIECE: usize = 64 << 10;

/// How a directory entry is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Old,
    New,
}

/// Appends one entry when it fits into `limit` bytes.
fn push_entry(out: &mut Vec<u8>, limit: usize, layout: Layout, entry: &Dirent<'_>) -> bool {
    let head = if layout == Layout::New { 19 } else { 18 };
    // The old layout has the kind in the last byte.
    let tail = if layout == Layout::New { 1 } else { 2 };
    let len = (head + entry.name.len() + tail).next_multiple_of(8);
    if out.len() + len > limit {
        return false;
    }
    let start = out.len();
    out.extend_from_slice(&entry.ino.to_ne_bytes());
    out.extend_from_slice(&entry.next.to_ne_bytes());
    out.extend_from_slice(&(len as u16).to_ne_bytes());
    if layout == Layout::New {
        out.push(entry.kind);
    }
    out.extend_from_slice(entry.name);
    out.resize(start + len, 0);
    if layout == Layout::Old {
        out[start + len - 1] = entry.kind;
    }
    true
}

/// Position in a directory for a file system's cookie: 0 and 1 are before `.` and `..`.
fn to_position(cookie: u64) -> u64 {
    if cookie >= i64::MAX as u64 - 2 { cookie } else { cookie + 2 }
}

fn from_position(position: u64) -> u64 {
    if position >= i64::MAX as u64 - 2 { position } else { position - 2 }
}

fn entries(args: &Args, layout: Layout) -> Result<u64> {
    const DIR: u8 = 4;
    let file = open_file(args.int(0))?;
    let (buffer, limit) = (args.addr(1), args.size(2).min(MAX_RW));
    if !file.inode().is_dir() {
        return Err(Errno::ENOTDIR);
    }
    if file.path().dentry.is_dead() {
        return Err(Errno::ENOENT);
    }
    let mut out = Vec::new();
    out.try_reserve_exact(limit.min(PIECE)).map_err(|_| Errno::ENOMEM)?;
    let limit = limit.min(PIECE);
    file.with_position(|position| {
        let mut full = false;
        while *position < 2 && !full {
            let here = file.path();
            let (name, ino): (&[u8], u64) = if *position == 0 {
                (b".", file.attr()?.ino)
            } else {
                let up = here.up(&current().fs()?.root());
                (b"..", up.inode()?.attr()?.ino)
            };
            let entry = Dirent { ino, next: *position + 1, kind: DIR, name };
            full = !push_entry(&mut out, limit, layout, &entry);
            *position += u64::from(!full);
        }
        if !full {
            file.ops().read_dir(&file, from_position(*position), &mut |entry| {
                let next = to_position(entry.next);
                full = !push_entry(&mut out, limit, layout, &Dirent { next, ..*entry });
                if !full {
                    *position = next;
                }
                !full
            })?;
        }
        if full && out.is_empty() {
            return Err(Errno::EINVAL);
        }
        uaccess::copy_to_user(buffer, &out)?;
        file.note_event(linux_raw_sys::general::IN_ACCESS);
        Ok(out.len() as u64)
    })
}

/// getdents(2).
///
/// # Errors
/// As getdents(2).
pub fn getdents(args: &Args) -> Result<u64> {
    entries(args, Layout::Old)
}

/// getdents64(2).
///
/// # Errors
/// As getdents64(2).
pub fn getdents64(args: &Args) -> Result<u64> {
    entries(args, Layout::New)
}
