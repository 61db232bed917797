//! Memory: mmap(2) and its family.

use alloc::sync::Arc;
use linux_raw_sys::general::{
    MADV_COLD, MADV_DODUMP, MADV_DOFORK, MADV_DONTDUMP, MADV_DONTFORK, MADV_DONTNEED, MADV_FREE,
    MADV_HUGEPAGE, MADV_KEEPONFORK, MADV_NOHUGEPAGE, MADV_NORMAL, MADV_PAGEOUT, MADV_POPULATE_READ,
    MADV_POPULATE_WRITE, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_WIPEONFORK, MAP_32BIT,
    MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_GROWSDOWN, MAP_HUGETLB, MAP_LOCKED, MAP_NONBLOCK,
    MAP_POPULATE, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_SYNC, MAP_TYPE, MREMAP_DONTUNMAP,
    MREMAP_FIXED, MREMAP_MAYMOVE, MS_ASYNC, MS_INVALIDATE, MS_SYNC, O_ACCMODE, O_RDONLY, O_RDWR, PROT_EXEC,
    PROT_GROWSDOWN, PROT_GROWSUP, PROT_READ, PROT_SEM, PROT_WRITE,
};

use super::{Args, at::file};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    mem::PAGE_SIZE,
    mm::{AddressSpace, Advice, Backing, MapFlags, MapRequest, Prot, VmaFlags, page_up, shmem::SharedMemory},
    task::current,
};

/// The caller's address space.
fn space() -> Result<Arc<AddressSpace>> {
    current().address_space().ok_or(Errno::ENOMEM)
}

/// `PROT_*`; on this machine the right to write or to execute brings the right to read.
fn rights(value: u32) -> Prot {
    Prot::from_bits_truncate(value & (PROT_READ | PROT_WRITE | PROT_EXEC))
}

/// mmap(2).
///
/// # Errors
/// As mmap(2).
pub fn mmap(args: &Args) -> Result<u64> {
    let (addr, len, prot, flags) = (args.addr(0), args.0[1], args.uint(2), args.uint(3));
    let offset = args.0[5];
    if !offset.is_multiple_of(PAGE_SIZE) || len == 0 {
        return Err(Errno::EINVAL);
    }
    let pages = page_up(len).ok_or(Errno::ENOMEM)? / PAGE_SIZE;
    let kind = flags & MAP_TYPE;
    let shared = match kind {
        MAP_PRIVATE => false,
        MAP_SHARED => true,
        MAP_SHARED_VALIDATE if flags & MAP_SYNC == 0 => true,
        MAP_SHARED_VALIDATE => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    };
    if flags & MAP_HUGETLB != 0 {
        // There is no pool of huge pages, as on a Linux with vm.nr_hugepages = 0.
        return Err(Errno::ENOMEM);
    }
    let mut vma = VmaFlags::empty();
    vma.set(VmaFlags::SHARED, shared);
    vma.set(VmaFlags::GROWSDOWN, flags & MAP_GROWSDOWN != 0);
    vma.set(VmaFlags::LOCKED, flags & MAP_LOCKED != 0);
    let backing = if flags & MAP_ANONYMOUS != 0 {
        if shared { Backing::Object(SharedMemory::new(pages)) } else { Backing::Anonymous }
    } else {
        let file = file(args.int(4))?;
        let mode = file.flags() & O_ACCMODE;
        if mode != O_RDONLY && mode != O_RDWR {
            return Err(Errno::EACCES);
        }
        if shared && mode != O_RDWR {
            if prot & PROT_WRITE != 0 {
                return Err(Errno::EACCES);
            }
            vma.insert(VmaFlags::NEVER_WRITE);
        }
        Backing::Object(file.mappable()?)
    };
    let mut place = MapFlags::empty();
    place.set(MapFlags::FIXED, flags & MAP_FIXED != 0);
    place.set(MapFlags::NOREPLACE, flags & MAP_FIXED_NOREPLACE != 0);
    place.set(MapFlags::LOW, flags & MAP_32BIT != 0);
    place.set(
        MapFlags::POPULATE,
        flags & MAP_LOCKED != 0 || flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE,
    );
    let offset = if flags & MAP_ANONYMOUS != 0 { 0 } else { offset };
    space()?.map(MapRequest { addr, len, prot: rights(prot), place, flags: vma, backing, offset })
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
    let prot = args.uint(2);
    if prot & !(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM | PROT_GROWSDOWN | PROT_GROWSUP) != 0
        || prot & (PROT_GROWSDOWN | PROT_GROWSUP) == PROT_GROWSDOWN | PROT_GROWSUP
    {
        return Err(Errno::EINVAL);
    }
    space()?.protect(args.addr(0), args.0[1], rights(prot))?;
    Ok(0)
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
    let flags = args.uint(3);
    if flags & !(MREMAP_MAYMOVE | MREMAP_FIXED) != 0
        || (flags & MREMAP_FIXED != 0 && flags & MREMAP_MAYMOVE == 0)
        || flags & MREMAP_DONTUNMAP != 0
    {
        return Err(Errno::EINVAL);
    }
    let target = match (flags & MREMAP_MAYMOVE != 0, flags & MREMAP_FIXED != 0) {
        (_, true) if args.addr(4) == 0 => return Err(Errno::EINVAL),
        (_, true) => Some(args.addr(4)),
        (true, false) => Some(0),
        (false, false) => None,
    };
    space()?.remap(args.addr(0), args.0[1], args.0[2], target)
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
        MADV_DONTNEED | MADV_FREE => Advice::Forget,
        MADV_DONTFORK => Advice::Flags(VmaFlags::DONTFORK, VmaFlags::empty()),
        MADV_DOFORK => Advice::Flags(VmaFlags::empty(), VmaFlags::DONTFORK),
        MADV_WIPEONFORK => Advice::Flags(VmaFlags::WIPEONFORK, VmaFlags::empty()),
        MADV_KEEPONFORK => Advice::Flags(VmaFlags::empty(), VmaFlags::WIPEONFORK),
        MADV_POPULATE_READ => Advice::Populate(false),
        MADV_POPULATE_WRITE => Advice::Populate(true),
        MADV_NORMAL | MADV_RANDOM | MADV_SEQUENTIAL | MADV_WILLNEED | MADV_HUGEPAGE | MADV_NOHUGEPAGE
        | MADV_DONTDUMP | MADV_DODUMP | MADV_COLD | MADV_PAGEOUT => Advice::Nothing,
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
    if len != 0 {
        space()?.advise(start, len, Advice::Nothing)?;
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
    let pages = page_up(len).ok_or(Errno::ENOMEM)? / PAGE_SIZE;
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

/// mlock(2) and mlock2(2): memory is never paged out, so locking is bringing in.
///
/// # Errors
/// As mlock(2).
pub fn mlock(args: &Args) -> Result<u64> {
    lock(args.addr(0), args.0[1], VmaFlags::LOCKED, VmaFlags::empty())
}

/// munlock(2).
///
/// # Errors
/// As munlock(2).
pub fn munlock(args: &Args) -> Result<u64> {
    lock(args.addr(0), args.0[1], VmaFlags::empty(), VmaFlags::LOCKED)
}

fn lock(start: u64, len: u64, set: VmaFlags, clear: VmaFlags) -> Result<u64> {
    let first = start & !(PAGE_SIZE - 1);
    let len = len.checked_add(start - first).ok_or(Errno::EINVAL)?;
    if len == 0 {
        return Ok(0);
    }
    let space = space()?;
    space.advise(first, len, Advice::Flags(set, clear)).map_err(|error| match error {
        Errno::EINVAL => Errno::ENOMEM,
        other => other,
    })?;
    if !set.is_empty() {
        space.advise(first, len, Advice::Populate(false))?;
    }
    Ok(0)
}

/// mlockall(2) and munlockall(2): nothing is ever paged out.
///
/// # Errors
/// `EINVAL`.
pub fn mlockall(args: &Args) -> Result<u64> {
    let flags = args.uint(0);
    if flags == 0 || flags & !7 != 0 || flags == 4 {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}

/// munlockall(2).
///
/// # Errors
/// None.
pub fn munlockall(_args: &Args) -> Result<u64> {
    Ok(0)
}
