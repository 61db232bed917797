//! Names, facts about the system, random bytes.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use super::Args;
use crate::{
    arch::{clock, fpu, uaccess},
    errno::{Errno, Result},
    mem::frame,
    random,
    task::{
        cred::Caps,
        current, personality, tree,
        uts::{self, NAME_MAX},
    },
    time::NSEC_PER_SEC,
};

/// One field of `struct new_utsname`.
const FIELD: usize = NAME_MAX + 1;
const ARCH_SET_GS: i32 = 0x1001;
const ARCH_SET_FS: i32 = 0x1002;
const ARCH_GET_FS: i32 = 0x1003;
const ARCH_GET_GS: i32 = 0x1004;
const ARCH_GET_CPUID: i32 = 0x1011;
const ARCH_SET_CPUID: i32 = 0x1012;
const ARCH_GET_XCOMP_SUPP: i32 = 0x1021;
const ARCH_GET_XCOMP_PERM: i32 = 0x1022;
const ARCH_REQ_XCOMP_PERM: i32 = 0x1023;
const ARCH_GET_XCOMP_GUEST_PERM: i32 = 0x1024;
const ARCH_REQ_XCOMP_GUEST_PERM: i32 = 0x1025;
/// Number of the one state component that a program must ask for.
const XFEATURE_XTILE_DATA: u64 = 18;
/// Most bytes of `getrandom` made at a time.
const RANDOM_PIECE: usize = 1024;
const PERSONALITY_QUERY: u32 = u32::MAX;

/// uname(2).
pub fn uname(args: &Args) -> Result<u64> {
    let (host, domain) = (uts::hostname(), uts::domainname());
    let personality = current().personality.load(Ordering::Relaxed);
    let release = personality::release(personality);
    let mut out = [0; 6 * FIELD];
    let fields: [&[u8]; 6] = [
        b"Linux",
        &host,
        release.as_bytes(),
        uts::VERSION.as_bytes(),
        personality::machine(personality),
        &domain,
    ];
    for (place, field) in out.chunks_exact_mut(FIELD).zip(fields) {
        place.iter_mut().zip(field).for_each(|(to, from)| *to = *from);
    }
    uaccess::copy_to_user(args.addr(0), &out).map(|()| 0)
}

fn set_name(args: &Args, set: fn(Vec<u8>)) -> Result<u64> {
    if !current().with_cred(|cred| cred.capable(Caps::SYS_ADMIN)) {
        return Err(Errno::EPERM);
    }
    let length = usize::try_from(args.int(1)).ok().filter(|&n| n <= NAME_MAX).ok_or(Errno::EINVAL)?;
    let mut name = alloc::vec![0; length];
    uaccess::copy_from_user(&mut name, args.addr(0))?;
    set(name);
    Ok(0)
}

/// sethostname(2).
pub fn sethostname(args: &Args) -> Result<u64> {
    set_name(args, uts::set_hostname)
}

/// setdomainname(2).
pub fn setdomainname(args: &Args) -> Result<u64> {
    set_name(args, uts::set_domainname)
}

/// sysinfo(2).
pub fn sysinfo(args: &Args) -> Result<u64> {
    let memory = frame::stats();
    let mut out = [0u64; 14];
    out[0] = clock::monotonic_ns() / NSEC_PER_SEC;
    out[4] = memory.total;
    out[5] = memory.free;
    let tasks = tree::lock().task_count().min(usize::from(u16::MAX));
    out[10] = tasks as u64;
    // `mem_unit`, after the two numbers of high memory.
    out[13] = 1;
    uaccess::put(args.addr(0), &out).map(|()| 0)
}

/// getrandom(2).
pub fn getrandom(args: &Args) -> Result<u64> {
    const KNOWN: u32 = 7;
    let (addr, length, flags) = (args.addr(0), args.size(1).min(i32::MAX as usize), args.uint(2));
    // GRND_RANDOM and GRND_INSECURE exclude each other.
    if flags & !KNOWN != 0 || flags & 6 == 6 {
        return Err(Errno::EINVAL);
    }
    let mut piece = [0; RANDOM_PIECE];
    let mut done = 0;
    while done < length {
        let count = (length - done).min(RANDOM_PIECE);
        let piece = &mut piece[..count];
        random::fill(piece);
        let copied = uaccess::copy_to_user_partial(addr.wrapping_add(done as u64), piece);
        done += copied;
        if copied < count {
            return if done == 0 { Err(Errno::EFAULT) } else { Ok(done as u64) };
        }
        if done % 65_536 == 0 && current().signal_pending() {
            break;
        }
    }
    Ok(done as u64)
}

/// personality(2).
pub fn personality(args: &Args) -> Result<u64> {
    let own = &current().personality;
    Ok(u64::from(match args.uint(0) {
        PERSONALITY_QUERY => own.load(Ordering::Relaxed),
        new => own.swap(new, Ordering::Relaxed),
    }))
}

/// `arch_prctl(2)`.
pub fn arch_prctl(args: &Args) -> Result<u64> {
    let me = current();
    let addr = args.addr(1);
    match args.int(0) {
        ARCH_SET_FS => me.ctx.set_fs_base(addr),
        ARCH_SET_GS => me.ctx.set_gs_base(addr),
        ARCH_GET_FS => uaccess::put(addr, &me.ctx.fs_base()),
        ARCH_GET_GS => uaccess::put(addr, &me.ctx.gs_base()),
        // CPUID never faults here, and cannot be made to.
        ARCH_GET_CPUID => return Ok(1),
        ARCH_SET_CPUID => Err(Errno::ENODEV),
        ARCH_GET_XCOMP_SUPP | ARCH_GET_XCOMP_PERM | ARCH_GET_XCOMP_GUEST_PERM => {
            uaccess::put(addr, &fpu::components())
        }
        // No component has to be asked for.
        ARCH_REQ_XCOMP_PERM | ARCH_REQ_XCOMP_GUEST_PERM if addr > XFEATURE_XTILE_DATA => Err(Errno::EINVAL),
        ARCH_REQ_XCOMP_PERM | ARCH_REQ_XCOMP_GUEST_PERM => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EINVAL),
    }
    .map(|()| 0)
}
