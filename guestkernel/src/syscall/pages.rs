//! Calls about where pages are, and the rarer ones of memory.

use core::mem::offset_of;

use super::{Args, at::open_file, mempolicy::nodes, process_vm::space_of};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    mem::PAGE_SIZE,
    mm::page_up,
    task::{cred::Caps, current},
};

const MOVE: u32 = 2;
const MOVE_ALL: u32 = 4;

fn may_administer() -> bool {
    current().with_cred(|cred| cred.capable(Caps::SYS_NICE))
}

/// mseal(2).
///
/// # Errors
/// As mseal(2).
pub fn mseal(args: &Args) -> Result<u64> {
    if args.0[2] != 0 {
        return Err(Errno::EINVAL);
    }
    current().mm()?.seal(args.addr(0), args.0[1]).map(|()| 0)
}

/// remap_file_pages(2), by a new mapping in the place of the old one, as Linux does since it has no other.
///
/// # Errors
/// As remap_file_pages(2).
pub fn remap_file_pages(args: &Args) -> Result<u64> {
    let (start, len, prot) = (args.addr(0), args.0[1] & !(PAGE_SIZE - 1), args.0[2]);
    let (index, flags) = (args.0[3], args.uint(4));
    let start = start & !(PAGE_SIZE - 1);
    let end = start.checked_add(len).filter(|&end| end > start).ok_or(Errno::EINVAL)?;
    if prot != 0 || index.checked_add(len / PAGE_SIZE).is_none_or(|end| end > u64::MAX / PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let wait = flags & linux_raw_sys::general::MAP_NONBLOCK == 0;
    current().mm()?.remap_object(start, end, index * PAGE_SIZE, wait).map(|()| 0)
}

/// What cachestat(2) writes.
#[derive(Clone, Copy, Debug, Default, zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(C)]
struct CacheStat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

const _: () = assert!(size_of::<CacheStat>() == 40 && offset_of!(CacheStat, evicted) == 24);

/// cachestat(2): of files in memory what they hold; files of the host are in the host's page cache, of which nothing
/// is known.
///
/// # Errors
/// As cachestat(2).
pub fn cachestat(args: &Args) -> Result<u64> {
    let file = open_file(args.int(0))?;
    let [offset, len]: [u64; 2] = uaccess::get(args.addr(1))?;
    if args.uint(3) != 0 {
        return Err(Errno::EINVAL);
    }
    let last = if len == 0 { u64::MAX } else { offset.wrapping_add(len - 1) };
    let pages = (offset / PAGE_SIZE)..(last / PAGE_SIZE).saturating_add(1);
    let cached = file.mappable().map_or(0, |object| object.resident_in(pages));
    uaccess::put(args.addr(2), &CacheStat { cached, ..CacheStat::default() })?;
    Ok(0)
}

/// move_pages(2): all memory is on node 0.
///
/// # Errors
/// As move_pages(2).
pub fn move_pages(args: &Args) -> Result<u64> {
    let (count, pages, nodes, status) = (args.0[1], args.addr(2), args.addr(3), args.addr(4));
    let flags = args.uint(5);
    if flags & !(MOVE | MOVE_ALL) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & MOVE_ALL != 0 && !may_administer() {
        return Err(Errno::EPERM);
    }
    let mm = if args.int(0) == 0 { current().mm()? } else { space_of(args.int(0))? };
    let at = |base: u64, index: u64, size: u64| {
        index.checked_mul(size).and_then(|offset| base.checked_add(offset)).ok_or(Errno::EFAULT)
    };
    for index in 0..count {
        let page: u64 = uaccess::get(at(pages, index, 8)?)?;
        if nodes != 0 {
            let node: i32 = uaccess::get(at(nodes, index, 4)?)?;
            if node != 0 {
                return Err(Errno::ENODEV);
            }
        }
        let found = match mm.page_at(page) {
            Ok(true) => 0,
            Ok(false) => Errno::ENOENT.to_ret() as i32,
            Err(error) => error.to_ret() as i32,
        };
        uaccess::put(at(status, index, 4)?, &found)?;
        if current().signal_pending() && index % 4096 == 4095 {
            return Err(Errno::ERESTARTNOHAND);
        }
    }
    Ok(0)
}

/// migrate_pages(2): there is nowhere to migrate to.
///
/// # Errors
/// As migrate_pages(2).
pub fn migrate_pages(args: &Args) -> Result<u64> {
    let _old = nodes(args.addr(2), args.0[1])?;
    let (first, others) = nodes(args.addr(3), args.0[1])?;
    let _mm = if args.int(0) == 0 { current().mm()? } else { space_of(args.int(0))? };
    if others && !may_administer() {
        return Err(Errno::EPERM);
    }
    if first { Ok(0) } else { Err(Errno::EINVAL) }
}

/// set_mempolicy_home_node(2).
///
/// # Errors
/// As set_mempolicy_home_node(2).
pub fn set_mempolicy_home_node(args: &Args) -> Result<u64> {
    const BIND: u32 = 2;
    const PREFERRED_MANY: u32 = 5;
    let (start, len, node) = (args.addr(0), args.0[1], args.0[2]);
    if start % PAGE_SIZE != 0 || args.0[3] != 0 || node != 0 {
        return Err(Errno::EINVAL);
    }
    let end = page_up(len).and_then(|len| start.checked_add(len)).ok_or(Errno::EINVAL)?;
    if start == end {
        return Ok(0);
    }
    let mut result = Err(Errno::ENOENT);
    for policy in current().mm()?.policies(start, end) {
        match policy {
            0 => {}
            BIND | PREFERRED_MANY => result = Ok(0),
            _ => return Err(Errno::EOPNOTSUPP),
        }
    }
    result
}

/// map_shadow_stack(2), as on a processor without shadow stacks.
///
/// # Errors
/// `EOPNOTSUPP`.
pub fn map_shadow_stack(_args: &Args) -> Result<u64> {
    Err(Errno::EOPNOTSUPP)
}
