//! Memory: mmap(2) and its family.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use linux_raw_sys::general::{
    MADV_COLD, MADV_DODUMP, MADV_DOFORK, MADV_DONTDUMP, MADV_DONTFORK, MADV_DONTNEED, MADV_DONTNEED_LOCKED,
    MADV_FREE, MADV_HUGEPAGE, MADV_HWPOISON, MADV_KEEPONFORK, MADV_MERGEABLE, MADV_NOHUGEPAGE, MADV_NORMAL,
    MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_RANDOM, MADV_REMOVE, MADV_SEQUENTIAL,
    MADV_SOFT_OFFLINE, MADV_UNMERGEABLE, MADV_WILLNEED, MADV_WIPEONFORK, MAP_32BIT, MAP_ANONYMOUS,
    MAP_DENYWRITE, MAP_EXECUTABLE, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_GROWSDOWN, MAP_HUGE_MASK,
    MAP_HUGE_SHIFT, MAP_HUGETLB, MAP_LOCKED, MAP_NONBLOCK, MAP_NORESERVE, MAP_POPULATE, MAP_PRIVATE,
    MAP_SHARED, MAP_SHARED_VALIDATE, MAP_STACK, MAP_TYPE, MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT,
    MLOCK_ONFAULT, MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE, MS_ASYNC, MS_INVALIDATE, MS_SYNC,
    O_ACCMODE, O_RDONLY, O_RDWR, PROT_EXEC, PROT_GROWSDOWN, PROT_GROWSUP, PROT_READ, PROT_SEM, PROT_WRITE,
};

use super::{Args, at::open_file};
use crate::{
    arch::{is_user_range, uaccess},
    errno::{Errno, Result},
    fs::File,
    mem::PAGE_SIZE,
    mm::{
        AddressSpace, Advice, Backing, MapFlags, MapRequest, Prot, Remap, VmaFlags, page_up,
        shmem::SharedMemory,
    },
    task::{current, personality::READ_IMPLIES_EXEC},
};

/// Flags that `MAP_SHARED_VALIDATE` knows.
const KNOWN_FLAGS: u32 = MAP_FIXED
    | MAP_ANONYMOUS
    | MAP_DENYWRITE
    | MAP_EXECUTABLE
    | MAP_GROWSDOWN
    | MAP_LOCKED
    | MAP_NORESERVE
    | MAP_POPULATE
    | MAP_NONBLOCK
    | MAP_STACK
    | MAP_HUGETLB
    | MAP_32BIT
    | MAP_FIXED_NOREPLACE;
/// Sizes of huge pages that the machine has, as mmap(2) encodes them.
const HUGE_2MIB: u32 = 21;
const HUGE_1GIB: u32 = 30;

/// The caller's address space.
fn space() -> Result<Arc<AddressSpace>> {
    current().address_space().ok_or(Errno::ENOMEM)
}

/// `PROT_*`; on this machine the right to write or to execute brings the right to read.
pub(super) fn rights(value: u32) -> Prot {
    let prot = Prot::from_bits_truncate(value & (PROT_READ | PROT_WRITE | PROT_EXEC));
    let old = current().personality.load(Ordering::Relaxed) & READ_IMPLIES_EXEC != 0;
    if old && prot.contains(Prot::READ) { prot | Prot::EXEC } else { prot }
}

/// mmap(2).
///
/// # Errors
/// As mmap(2).
pub fn mmap(args: &Args) -> Result<u64> {
    let (addr, len, prot, flags) = (args.addr(0), args.0[1], args.uint(2), args.uint(3));
    let offset = args.0[5];
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let anonymous = flags & MAP_ANONYMOUS != 0;
    let opened = if anonymous { None } else { Some(open_file(args.int(4))?) };
    if flags & MAP_HUGETLB != 0 {
        // There is no pool of huge pages, as on a Linux with vm.nr_hugepages = 0.
        let size = flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK;
        let known = matches!(size, 0 | HUGE_2MIB | HUGE_1GIB);
        return Err(if anonymous && known { Errno::ENOMEM } else { Errno::EINVAL });
    }
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    let len = page_up(len).filter(|&len| len != 0).ok_or(Errno::ENOMEM)?;
    if offset / PAGE_SIZE + len / PAGE_SIZE > 1 << (64 - 12) {
        return Err(Errno::EOVERFLOW);
    }
    let regular = opened.as_ref().is_some_and(|file| file.inode().is_regular());
    if regular && offset > (i64::MAX as u64).saturating_sub(len) {
        return Err(Errno::EOVERFLOW);
    }
    let shared = match flags & MAP_TYPE {
        MAP_PRIVATE => false,
        MAP_SHARED => true,
        MAP_SHARED_VALIDATE if !anonymous => {
            // MAP_SYNC is not known: files are nowhere kept in memory that survives a loss of power.
            if flags & !(KNOWN_FLAGS | MAP_TYPE) != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            true
        }
        _ => return Err(Errno::EINVAL),
    };
    let mut vma = VmaFlags::empty();
    vma.set(VmaFlags::SHARED, shared);
    vma.set(VmaFlags::GROWSDOWN, flags & MAP_GROWSDOWN != 0);
    vma.set(VmaFlags::LOCKED, flags & MAP_LOCKED != 0);
    vma.set(VmaFlags::NORESERVE, flags & MAP_NORESERVE != 0);
    let backing = match opened {
        None if shared => Backing::Object(SharedMemory::new(len / PAGE_SIZE)),
        None => Backing::Anonymous,
        Some(file) => of_file(&file, shared, prot, len, &mut vma)?,
    };
    if vma.contains(VmaFlags::GROWSDOWN) && !matches!(backing, Backing::Anonymous) {
        return Err(Errno::EINVAL);
    }
    let mut place = MapFlags::empty();
    place.set(MapFlags::FIXED, flags & MAP_FIXED != 0);
    place.set(MapFlags::NOREPLACE, flags & MAP_FIXED_NOREPLACE != 0);
    place.set(MapFlags::LOW, flags & MAP_32BIT != 0);
    place.set(MapFlags::POPULATE, flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE);
    let offset = if anonymous { 0 } else { offset };
    space()?.map(MapRequest { addr, len, prot: rights(prot), place, flags: vma, backing, offset })
}

/// What a mapping of a file shows.
fn of_file(file: &File, shared: bool, prot: u32, len: u64, vma: &mut VmaFlags) -> Result<Backing> {
    let mode = file.flags() & O_ACCMODE;
    if shared && mode != O_RDWR {
        if prot & PROT_WRITE != 0 {
            return Err(Errno::EACCES);
        }
        vma.insert(VmaFlags::NEVER_WRITE);
    }
    if mode != O_RDONLY && mode != O_RDWR {
        return Err(Errno::EACCES);
    }
    if file.path().mount.is_noexec() {
        if prot & PROT_EXEC != 0 {
            return Err(Errno::EPERM);
        }
        vma.insert(VmaFlags::NEVER_EXEC);
    }
    if file.ops().is_zero() {
        // As if it were anonymous.
        return Ok(if shared {
            Backing::Object(SharedMemory::new(len / PAGE_SIZE))
        } else {
            Backing::Anonymous
        });
    }
    Ok(Backing::Object(file.mappable()?))
}

/// munmap(2).
///
/// # Errors
/// As munmap(2).
pub fn munmap(args: &Args) -> Result<u64> {
    space()?.unmap(args.addr(0), args.0[1])?;
    Ok(0)
}

/// mprotect(2).
///
/// # Errors
/// As mprotect(2).
pub fn mprotect(args: &Args) -> Result<u64> {
    let (start, len, prot) = (args.addr(0), args.0[1], args.uint(2));
    let grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
    if grows == PROT_GROWSDOWN | PROT_GROWSUP || !start.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    if page_up(len).and_then(|len| start.checked_add(len)).is_none_or(|end| end <= start) {
        return Err(Errno::ENOMEM);
    }
    // Nothing grows upwards on this machine.
    if prot & !(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM | PROT_GROWSDOWN) != 0 {
        return Err(Errno::EINVAL);
    }
    space()?.protect(start, len, rights(prot), grows != 0)?;
    Ok(0)
}

/// pkey_mprotect(2): there are no protection keys, so only the call without one does something.
///
/// # Errors
/// As mprotect(2); `EINVAL` for a key.
pub fn pkey_mprotect(args: &Args) -> Result<u64> {
    if args.int(3) == -1 { mprotect(args) } else { Err(Errno::EINVAL) }
}

/// pkey_alloc(2): as on a processor without protection keys.
///
/// # Errors
/// `EINVAL`, `ENOSPC`.
pub fn pkey_alloc(args: &Args) -> Result<u64> {
    const RIGHTS: u64 = 3;
    if args.0[0] != 0 || args.0[1] & !RIGHTS != 0 { Err(Errno::EINVAL) } else { Err(Errno::ENOSPC) }
}

/// pkey_free(2).
///
/// # Errors
/// `EINVAL`: no key is allocated.
pub fn pkey_free(_args: &Args) -> Result<u64> {
    Err(Errno::EINVAL)
}

/// brk(2): the raw call, which gives the end of the heap.
///
/// # Errors
/// None.
pub fn brk(args: &Args) -> Result<u64> {
    Ok(space()?.brk(args.addr(0)))
}

/// mremap(2).
///
/// # Errors
/// As mremap(2).
pub fn mremap(args: &Args) -> Result<u64> {
    let (old_len, new_len, flags) = (args.0[1], args.0[2], args.uint(3));
    let (moves, fixed, keep) =
        (flags & MREMAP_MAYMOVE != 0, flags & MREMAP_FIXED != 0, flags & MREMAP_DONTUNMAP != 0);
    if flags & !(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) != 0
        || (fixed && !moves)
        || (keep && (!moves || old_len != new_len))
    {
        return Err(Errno::EINVAL);
    }
    let target = match (moves, fixed) {
        (_, true) if args.addr(4) == 0 => return Err(Errno::EPERM),
        (_, true) => Some(args.addr(4)),
        (true, false) => Some(0),
        (false, false) => None,
    };
    space()?.remap(Remap { start: args.addr(0), old_len, new_len, target, keep })
}

/// madvise(2).
///
/// # Errors
/// As madvise(2).
pub fn madvise(args: &Args) -> Result<u64> {
    let (start, len) = (args.addr(0), args.0[1]);
    if start % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL);
    }
    let advice = match args.uint(2) {
        MADV_DONTNEED => Advice::Forget(false),
        MADV_DONTNEED_LOCKED => Advice::Forget(true),
        MADV_FREE => Advice::Free,
        MADV_REMOVE => Advice::Remove,
        MADV_COLD | MADV_PAGEOUT => Advice::Cold,
        MADV_DONTFORK => Advice::Flags(VmaFlags::DONTFORK, VmaFlags::empty()),
        MADV_DOFORK => Advice::Flags(VmaFlags::empty(), VmaFlags::DONTFORK),
        MADV_WIPEONFORK => Advice::Flags(VmaFlags::WIPEONFORK, VmaFlags::empty()),
        MADV_KEEPONFORK => Advice::Flags(VmaFlags::empty(), VmaFlags::WIPEONFORK),
        MADV_POPULATE_READ => Advice::Populate(false),
        MADV_POPULATE_WRITE => Advice::Populate(true),
        MADV_NORMAL | MADV_RANDOM | MADV_SEQUENTIAL | MADV_WILLNEED | MADV_HUGEPAGE | MADV_NOHUGEPAGE
        | MADV_MERGEABLE | MADV_UNMERGEABLE | MADV_DONTDUMP | MADV_DODUMP => Advice::Nothing,
        // Nobody here administers the machine's memory.
        MADV_HWPOISON | MADV_SOFT_OFFLINE => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    };
    if len == 0 {
        return Ok(0);
    }
    space()?.advise(start, len, advice)?;
    Ok(0)
}

/// msync(2). Shared file mappings are the host's page cache itself, so only the range is checked.
///
/// # Errors
/// As msync(2).
pub fn msync(args: &Args) -> Result<u64> {
    let (start, len, flags) = (args.addr(0), args.0[1], args.uint(2));
    if flags & !(MS_ASYNC | MS_INVALIDATE | MS_SYNC) != 0
        || flags & (MS_ASYNC | MS_SYNC) == MS_ASYNC | MS_SYNC
        || start % PAGE_SIZE != 0
    {
        return Err(Errno::EINVAL);
    }
    if page_up(len).and_then(|len| start.checked_add(len)).is_none() {
        return Err(Errno::ENOMEM);
    }
    if len != 0 {
        space()?.advise(start, len, Advice::Sync(flags & MS_INVALIDATE != 0))?;
    }
    Ok(0)
}

/// mincore(2).
///
/// # Errors
/// As mincore(2).
pub fn mincore(args: &Args) -> Result<u64> {
    let (start, len, vector) = (args.addr(0), args.0[1], args.addr(2));
    if start % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL);
    }
    if !is_user_range(start, len) {
        return Err(Errno::ENOMEM);
    }
    let pages = page_up(len).ok_or(Errno::ENOMEM)? / PAGE_SIZE;
    if !is_user_range(vector, pages) {
        return Err(Errno::EFAULT);
    }
    let space = space()?;
    let mut bytes = [0; 256];
    let mut done = 0;
    while done < pages {
        let count = (pages - done).min(bytes.len() as u64) as usize;
        let at = start.checked_add(done * PAGE_SIZE).ok_or(Errno::ENOMEM)?;
        space.residency(at, &mut bytes[..count])?;
        uaccess::copy_to_user(vector + done, &bytes[..count])?;
        done += count as u64;
    }
    Ok(0)
}

/// mlock(2): memory is never paged out, so locking is bringing in and accounting.
///
/// # Errors
/// As mlock(2).
pub fn mlock(args: &Args) -> Result<u64> {
    space()?.lock_range(args.addr(0), args.0[1], VmaFlags::LOCKED).map(|()| 0)
}

/// mlock2(2).
///
/// # Errors
/// As mlock2(2).
pub fn mlock2(args: &Args) -> Result<u64> {
    let mut how = VmaFlags::LOCKED;
    match args.uint(2) {
        0 => {}
        MLOCK_ONFAULT => how |= VmaFlags::ONFAULT,
        _ => return Err(Errno::EINVAL),
    }
    space()?.lock_range(args.addr(0), args.0[1], how).map(|()| 0)
}

/// munlock(2).
///
/// # Errors
/// As munlock(2).
pub fn munlock(args: &Args) -> Result<u64> {
    space()?.lock_range(args.addr(0), args.0[1], VmaFlags::empty()).map(|()| 0)
}

/// mlockall(2).
///
/// # Errors
/// As mlockall(2).
pub fn mlockall(args: &Args) -> Result<u64> {
    let flags = args.uint(0);
    if flags == 0 || flags & !(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0 || flags == MCL_ONFAULT {
        return Err(Errno::EINVAL);
    }
    let has = |bit| flags & bit != 0;
    space()?.lock_all(has(MCL_CURRENT), has(MCL_FUTURE), has(MCL_ONFAULT)).map(|()| 0)
}

/// munlockall(2).
///
/// # Errors
/// None.
pub fn munlockall(_args: &Args) -> Result<u64> {
    space()?.lock_all(false, false, false).map(|()| 0)
}
