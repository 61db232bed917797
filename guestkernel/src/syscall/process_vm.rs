//! Memory across processes: process_vm_readv(2), memfd_create(2), membarrier(2).

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{Ordering, fence};

use super::{Args, at::install};
use crate::{
    arch::{tlb, uaccess},
    errno::{Errno, Result},
    fs::memfd,
    mem::PAGE_SIZE,
    mm::AddressSpace,
    task::{self, Task, access, current},
    uio::{self, Sink, Source},
};

/// One piece of the other process's memory.
type Piece = (u64, u64);

/// The pieces of the other side; their addresses are checked when they are used.
fn remote(addr: u64, count: u64) -> Result<Vec<Piece>> {
    if count > uio::IOV_MAX as u64 {
        return Err(Errno::EINVAL);
    }
    let mut pieces = Vec::new();
    pieces.try_reserve_exact(count as usize).map_err(|_| Errno::ENOMEM)?;
    for index in 0..count {
        let [base, len]: [u64; 2] = uaccess::get(addr.checked_add(index * 16).ok_or(Errno::EFAULT)?)?;
        if len > i64::MAX as u64 {
            return Err(Errno::EINVAL);
        }
        pieces.push((base, len));
    }
    Ok(pieces)
}

/// Whether `me` may read and write `other`'s memory, as for ptrace(2).
pub(super) fn may_access(me: &Task, other: &Task) -> bool {
    access::may(me, other, access::Creds::Real)
}

/// The memory of another process.
pub(super) fn space_of(pid: i32) -> Result<Arc<AddressSpace>> {
    let pid = u32::try_from(pid).map_err(|_| Errno::ESRCH)?;
    let other = task::task(pid).ok_or(Errno::ESRCH)?;
    if !may_access(&current(), &other) {
        return Err(Errno::EPERM);
    }
    other.address_space().ok_or(Errno::ESRCH)
}

/// Moves bytes page by page until a side ends; `step` moves at most so many at an address.
fn transfer(
    pid: i32,
    pieces: &[Piece],
    total: usize,
    mut step: impl FnMut(&AddressSpace, u64, &mut [u8]) -> Result<usize>,
) -> Result<u64> {
    if pieces.iter().all(|piece| piece.1 == 0) {
        return Ok(0);
    }
    let space = space_of(pid)?;
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(PAGE_SIZE as usize).map_err(|_| Errno::ENOMEM)?;
    buffer.resize(PAGE_SIZE as usize, 0);
    let mut done = 0;
    for &(base, len) in pieces {
        let mut at = 0;
        while at < len && done < total {
            let addr = base.wrapping_add(at);
            let count = (PAGE_SIZE - addr % PAGE_SIZE).min(len - at).min((total - done) as u64) as usize;
            let moved = match step(&space, addr, &mut buffer[..count]) {
                Ok(moved) => moved,
                Err(_) if done != 0 => return Ok(done as u64),
                Err(error) => return Err(error),
            };
            done += moved;
            at += moved as u64;
            if moved < count {
                return if done == 0 { Err(Errno::EFAULT) } else { Ok(done as u64) };
            }
        }
    }
    Ok(done as u64)
}

/// process_vm_readv(2).
///
/// # Errors
/// As process_vm_readv(2).
pub fn process_vm_readv(args: &Args) -> Result<u64> {
    if args.0[5] != 0 {
        return Err(Errno::EINVAL);
    }
    let mut sink = Sink::User(uio::import_iovec(args.addr(1), args.size(2))?);
    let total = sink.remaining();
    if total == 0 {
        return Ok(0);
    }
    let pieces = remote(args.addr(3), args.0[4])?;
    transfer(args.int(0), &pieces, total, |space, addr, buffer| {
        let read = space.read_memory(addr, buffer);
        if read == 0 { Err(Errno::EFAULT) } else { sink.write(&buffer[..read]) }
    })
}

/// process_vm_writev(2).
///
/// # Errors
/// As process_vm_writev(2).
pub fn process_vm_writev(args: &Args) -> Result<u64> {
    if args.0[5] != 0 {
        return Err(Errno::EINVAL);
    }
    let mut source = Source::User(uio::import_iovec(args.addr(1), args.size(2))?);
    let total = source.remaining();
    if total == 0 {
        return Ok(0);
    }
    let pieces = remote(args.addr(3), args.0[4])?;
    transfer(args.int(0), &pieces, total, |space, addr, buffer| {
        let read = source.read(buffer)?;
        Ok(space.write_part(addr, &buffer[..read]).0)
    })
}

/// memfd_create(2).
///
/// # Errors
/// As memfd_create(2); `ENOSYS` for huge pages, as a Linux without them has it.
pub fn memfd_create(args: &Args) -> Result<u64> {
    const CLOEXEC: u32 = 1;
    const ALLOW_SEALING: u32 = 2;
    const HUGETLB: u32 = 4;
    const NOEXEC_SEAL: u32 = 8;
    const EXEC: u32 = 16;
    /// Longest name: a file name less `memfd:`.
    const NAME_MAX: usize = 249;
    let flags = args.uint(1);
    let known = CLOEXEC | ALLOW_SEALING | HUGETLB | NOEXEC_SEAL | EXEC;
    let sizes = if flags & HUGETLB != 0 { 63 << 26 } else { 0 };
    if flags & !(known | sizes) != 0 || flags & (EXEC | NOEXEC_SEAL) == EXEC | NOEXEC_SEAL {
        return Err(Errno::EINVAL);
    }
    let mut name = [0; NAME_MAX + 1];
    let len = uaccess::strncpy_from_user(&mut name, args.addr(0))?;
    if len > NAME_MAX {
        return Err(Errno::EINVAL);
    }
    if flags & HUGETLB != 0 {
        return Err(Errno::ENOSYS);
    }
    let (uid, gid) = current().with_cred(|cred| (cred.fsuid, cred.fsgid));
    let executable = flags & NOEXEC_SEAL == 0;
    let file = memfd::create(&name[..len], flags & ALLOW_SEALING != 0, executable, uid, gid);
    install(file, flags & CLOEXEC != 0)
}

/// membarrier(2). A CPU that runs the space in ring 3 takes an interrupt and reloads its page table, which orders
/// everything; one in the kernel does so before it goes back.
///
/// # Errors
/// As membarrier(2).
pub fn membarrier(args: &Args) -> Result<u64> {
    const QUERY: u32 = 0;
    const GLOBAL: u32 = 1;
    const GLOBAL_EXPEDITED: u32 = 2;
    const REGISTER_GLOBAL_EXPEDITED: u32 = 4;
    const PRIVATE_EXPEDITED: u32 = 8;
    const REGISTER_PRIVATE_EXPEDITED: u32 = 16;
    const PRIVATE_EXPEDITED_SYNC_CORE: u32 = 32;
    const REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: u32 = 64;
    const PRIVATE_EXPEDITED_RSEQ: u32 = 128;
    const REGISTER_PRIVATE_EXPEDITED_RSEQ: u32 = 256;
    const GET_REGISTRATIONS: u32 = 512;
    const FLAG_CPU: u32 = 1;
    let (command, flags) = (args.uint(0), args.uint(1));
    if flags != 0 && !(command == PRIVATE_EXPEDITED_RSEQ && flags == FLAG_CPU) {
        return Err(Errno::EINVAL);
    }
    let space = current().mm()?;
    match command {
        QUERY => Ok(u64::from(GET_REGISTRATIONS * 2 - 1)),
        GLOBAL | GLOBAL_EXPEDITED => {
            fence(Ordering::SeqCst);
            let mut spaces = Vec::new();
            task::for_each_process(|process| {
                let space = process.any_thread().and_then(|task| task.address_space());
                spaces.extend(space.filter(|space| {
                    command == GLOBAL
                        || space.barriers.load(Ordering::Relaxed) & REGISTER_GLOBAL_EXPEDITED != 0
                }));
            });
            spaces.iter().for_each(|space| tlb::flush_mm(space.id()));
            Ok(0)
        }
        PRIVATE_EXPEDITED | PRIVATE_EXPEDITED_SYNC_CORE | PRIVATE_EXPEDITED_RSEQ => {
            if space.barriers.load(Ordering::Relaxed) & command << 1 == 0 {
                return Err(Errno::EPERM);
            }
            if command == PRIVATE_EXPEDITED_RSEQ {
                task::rseq::interrupt_all(&current().process);
            }
            fence(Ordering::SeqCst);
            tlb::flush_mm(space.id());
            Ok(0)
        }
        REGISTER_GLOBAL_EXPEDITED
        | REGISTER_PRIVATE_EXPEDITED
        | REGISTER_PRIVATE_EXPEDITED_SYNC_CORE
        | REGISTER_PRIVATE_EXPEDITED_RSEQ => {
            space.barriers.fetch_or(command, Ordering::Relaxed);
            Ok(0)
        }
        GET_REGISTRATIONS => Ok(space.barriers.load(Ordering::Relaxed).into()),
        _ => Err(Errno::EINVAL),
    }
}
