//! Memory policies of a machine with one node of memory.

use core::sync::atomic::Ordering;

use super::Args;
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    mem::PAGE_SIZE,
    mm::{Advice, VmaFlags, page_up},
    task::{cred::Caps, current},
};

const MPOL_DEFAULT: u32 = 0;
const MPOL_PREFERRED: u32 = 1;
const MPOL_BIND: u32 = 2;
const MPOL_INTERLEAVE: u32 = 3;
const MPOL_LOCAL: u32 = 4;
const MPOL_PREFERRED_MANY: u32 = 5;
const MPOL_WEIGHTED_INTERLEAVE: u32 = 6;
const MPOL_F_STATIC_NODES: u32 = 1 << 15;
const MPOL_F_RELATIVE_NODES: u32 = 1 << 14;
const MPOL_F_NODE: u32 = 1;
const MPOL_F_ADDR: u32 = 2;
const MPOL_F_MEMS_ALLOWED: u32 = 4;
const MPOL_MF_STRICT: u32 = 1;
const MPOL_MF_MOVE: u32 = 2;
const MPOL_MF_MOVE_ALL: u32 = 4;

/// Flags that go with a mode.
const MODE_FLAGS: u32 = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES;
/// Nodes that there may be, in bits; only the first is there.
const NODES: u64 = 1024;

/// The nodes of a call, as a bit for node 0 and whether there are others.
pub(super) fn nodes(addr: u64, count: u64) -> Result<(bool, bool)> {
    let bits = count.wrapping_sub(1);
    if bits == 0 || count == 0 || addr == 0 {
        return Ok((false, false));
    }
    if bits > PAGE_SIZE * 8 {
        return Err(Errno::EINVAL);
    }
    let (mut first, mut others) = (false, false);
    for index in 0..bits.div_ceil(64) {
        let mut word: u64 = uaccess::get(addr + index * 8)?;
        if bits < (index + 1) * 64 {
            word &= (1 << (bits % 64)) - 1;
        }
        if index * 64 >= NODES && word != 0 {
            return Err(Errno::EINVAL);
        }
        first |= index == 0 && word & 1 != 0;
        others |= word & if index == 0 { !1 } else { u64::MAX } != 0;
    }
    Ok((first, others))
}

/// Checks a policy; gives its mode as it is kept.
fn policy(mode: u32, (first, others): (bool, bool)) -> Result<u32> {
    let (kind, flags) = (mode & !MODE_FLAGS, mode & MODE_FLAGS);
    if flags == MODE_FLAGS {
        return Err(Errno::EINVAL);
    }
    let empty = !first && !others;
    match kind {
        MPOL_DEFAULT | MPOL_LOCAL if !empty || flags != 0 => Err(Errno::EINVAL),
        MPOL_DEFAULT | MPOL_LOCAL => Ok(kind),
        MPOL_PREFERRED if empty && flags == 0 => Ok(MPOL_LOCAL),
        MPOL_PREFERRED | MPOL_BIND | MPOL_INTERLEAVE | MPOL_PREFERRED_MANY | MPOL_WEIGHTED_INTERLEAVE
            if first =>
        {
            Ok(mode)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// set_mempolicy(2).
///
/// # Errors
/// As set_mempolicy(2).
pub fn set_mempolicy(args: &Args) -> Result<u64> {
    let mode = args.uint(0);
    if mode & !MODE_FLAGS > MPOL_WEIGHTED_INTERLEAVE {
        return Err(Errno::EINVAL);
    }
    let mode = policy(mode, nodes(args.addr(1), args.0[2])?)?;
    current().memory_policy.store(mode, Ordering::Relaxed);
    Ok(0)
}

/// mbind(2).
///
/// # Errors
/// As mbind(2).
pub fn mbind(args: &Args) -> Result<u64> {
    let (start, len, mode, flags) = (args.addr(0), args.0[1], args.uint(2), args.uint(5));
    if mode & !MODE_FLAGS > MPOL_WEIGHTED_INTERLEAVE {
        return Err(Errno::EINVAL);
    }
    let nodes = nodes(args.addr(3), args.0[4])?;
    if flags & !(MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) != 0 {
        return Err(Errno::EINVAL);
    }
    let me = current();
    if flags & MPOL_MF_MOVE_ALL != 0 && !me.with_cred(|cred| cred.capable(Caps::SYS_NICE)) {
        return Err(Errno::EPERM);
    }
    if !start.is_multiple_of(PAGE_SIZE) || page_up(len).and_then(|len| start.checked_add(len)).is_none() {
        return Err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let mode = policy(mode, nodes)?;
    let space = me.mm()?;
    // Holes first: a policy is set for all of the range or for nothing.
    space.advise(start, len, Advice::Nothing).map_err(|_| Errno::EFAULT)?;
    space
        .advise(start, len, Advice::Flags(VmaFlags::of_policy(mode), VmaFlags::POLICY))
        .map_err(|_| Errno::EFAULT)?;
    Ok(0)
}

/// get_mempolicy(2).
///
/// # Errors
/// As get_mempolicy(2).
pub fn get_mempolicy(args: &Args) -> Result<u64> {
    let (mode_at, nodes_at, count) = (args.addr(0), args.addr(1), args.0[2]);
    let (addr, flags) = (args.addr(3), args.uint(4));
    if nodes_at != 0 && count < 1 || flags & !(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED) != 0 {
        return Err(Errno::EINVAL);
    }
    let me = current();
    let (mode, first) = if flags & MPOL_F_MEMS_ALLOWED != 0 {
        if flags & (MPOL_F_NODE | MPOL_F_ADDR) != 0 {
            return Err(Errno::EINVAL);
        }
        (MPOL_DEFAULT, true)
    } else {
        let own = me.memory_policy.load(Ordering::Relaxed);
        let mode = if flags & MPOL_F_ADDR != 0 {
            let area = me.mm()?.flags_at(addr).ok_or(Errno::EFAULT)?.policy();
            if area == MPOL_DEFAULT { own } else { area }
        } else if addr != 0 {
            return Err(Errno::EINVAL);
        } else {
            own
        };
        let kind = mode & !MODE_FLAGS;
        let first = !matches!(kind, MPOL_DEFAULT | MPOL_LOCAL);
        match flags & MPOL_F_NODE != 0 {
            // Everything lies on node 0, the next page to be interleaved as well.
            true if flags & MPOL_F_ADDR != 0 || kind == MPOL_INTERLEAVE => (0, first),
            true => return Err(Errno::EINVAL),
            false => (mode, first),
        }
    };
    if mode_at != 0 {
        uaccess::put(mode_at, &mode)?;
    }
    if nodes_at != 0 {
        let words = count.saturating_sub(1).div_ceil(64);
        if words * 8 > PAGE_SIZE {
            return Err(Errno::EINVAL);
        }
        for index in 0..words {
            uaccess::put(nodes_at + index * 8, &u64::from(index == 0 && first))?;
        }
    }
    Ok(0)
}
