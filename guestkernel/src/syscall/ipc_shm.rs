//! Shared memory segments.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    Args,
    ipc::{IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, UserPerm, check, namespace},
    mm::rights,
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    ipc::{
        perm::READ,
        shm::{self, ALL, MAX, NUMBER, Record},
    },
    mem::PAGE_SIZE,
    mm::{MapFlags, MapRequest, Prot, VmaFlags},
    task::{cred::Caps, current, rlimit::Resource},
};

const SHM_HUGETLB: u32 = 0o4000;
const SHM_NORESERVE: u32 = 0o10000;
const SHM_HUGE_SHIFT: u32 = 26;
const SHM_HUGE_MASK: u32 = 63;
const SHM_RDONLY: u32 = 0o10000;
const SHM_RND: u32 = 0o20000;
const SHM_REMAP: u32 = 0o40000;
const SHM_EXEC: u32 = 0o100000;
const SHM_LOCK: i32 = 11;
const SHM_UNLOCK: i32 = 12;
const SHM_STAT: i32 = 13;
const SHM_INFO: i32 = 14;
const SHM_STAT_ANY: i32 = 15;

/// `struct shmid64_ds`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Stat {
    perm: UserPerm,
    size: u64,
    times: [i64; 3],
    pids: [u32; 2],
    attached: u64,
    unused: [u64; 2],
}

impl Stat {
    fn new(id: i32, record: &Record) -> Self {
        Self {
            perm: UserPerm::new(id, &record.perm),
            size: record.size,
            times: record.times,
            pids: record.pids,
            attached: record.attached,
            unused: [0; 2],
        }
    }
}

/// `struct shm_info`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Info {
    segments: u64,
    total: u64,
    resident: u64,
    swapped: [u64; 3],
}

/// shmget(2).
///
/// # Errors
/// As shmget(2).
pub fn shmget(args: &Args) -> Result<u64> {
    let (key, size, flags) = (args.int(0), args.0[1], args.uint(2));
    let admit = |len| {
        if flags & SHM_HUGETLB != 0 {
            return Err(no_huge_pages(flags >> SHM_HUGE_SHIFT & SHM_HUGE_MASK, len));
        }
        shm::admit(len, flags & SHM_NORESERVE == 0)
    };
    shm::get(&namespace(), key, size, flags, &current().cred(), admit).map(|id| id as u64)
}

/// Why a segment of huge pages, their size given as a power of two, cannot be: there is no pool of them, as on a
/// Linux with vm.nr_hugepages = 0.
fn no_huge_pages(size: u32, len: u64) -> Errno {
    const KNOWN: [u32; 3] = [0, 21, 30];
    const GROUP: u32 = 0;
    let me = current();
    let allowed = me.with_cred(|cred| cred.capable(Caps::IPC_LOCK) || cred.in_group(GROUP))
        || len <= me.process.rlimit(Resource::Memlock).soft;
    match () {
        () if !KNOWN.contains(&size) => Errno::EINVAL,
        () if !allowed => Errno::EPERM,
        () => Errno::ENOMEM,
    }
}

/// shmat(2).
///
/// # Errors
/// As shmat(2).
pub fn shmat(args: &Args) -> Result<u64> {
    let (id, mut addr, flags) = (args.int(0), args.addr(1), args.uint(2));
    let has = |flag| flags & flag != 0;
    let mut place = MapFlags::empty();
    if id < 0 || (addr == 0 && has(SHM_REMAP)) {
        return Err(Errno::EINVAL);
    }
    if addr != 0 {
        if has(SHM_RND) {
            addr -= addr % PAGE_SIZE;
        }
        if addr % PAGE_SIZE != 0 || (addr == 0 && has(SHM_REMAP)) {
            return Err(Errno::EINVAL);
        }
        place = if has(SHM_REMAP) { MapFlags::FIXED } else { MapFlags::NOREPLACE };
    }
    let mut prot = Prot::READ;
    prot.set(Prot::WRITE, !has(SHM_RDONLY));
    prot.set(Prot::EXEC, has(SHM_EXEC));
    let me = current();
    let attachment = namespace().shm.lock().take(id, &me.cred(), prot)?;
    if addr.checked_add(attachment.size).is_none() {
        return Err(Errno::EINVAL);
    }
    let mut area = VmaFlags::SHARED;
    area.set(VmaFlags::NEVER_WRITE, has(SHM_RDONLY));
    let request = MapRequest {
        addr,
        len: attachment.size,
        prot: rights(prot.bits()),
        place,
        flags: area,
        backing: attachment.hold.backing(),
        offset: 0,
    };
    let mm = me.mm()?;
    mm.map(request).map_err(|error| if error == Errno::EEXIST { Errno::EINVAL } else { error })
}

/// shmdt(2).
///
/// # Errors
/// As shmdt(2).
pub fn shmdt(args: &Args) -> Result<u64> {
    current().mm()?.detach(args.addr(0)).map(|()| 0)
}

/// shmctl(2).
///
/// # Errors
/// As shmctl(2).
pub fn shmctl(args: &Args) -> Result<u64> {
    let (id, command, addr) = (args.int(0), args.int(1), args.addr(2));
    check(id, command)?;
    let namespace = namespace();
    let me = current();
    let cred = me.cred();
    match command {
        IPC_INFO => {
            let number = NUMBER as u64;
            uaccess::put(addr, &[MAX, 1, number, number, ALL, 0, 0, 0, 0])?;
            Ok(namespace.shm.lock().ids().highest())
        }
        SHM_INFO => {
            let (usage, highest) = {
                let table = namespace.shm.lock();
                (table.usage(), table.ids().highest())
            };
            let shm::Usage { segments, total, resident } = usage;
            uaccess::put(addr, &Info { segments: segments.into(), total, resident, swapped: [0; 3] })?;
            Ok(highest)
        }
        IPC_STAT | SHM_STAT | SHM_STAT_ANY => {
            let (id, stat) = {
                let table = namespace.shm.lock();
                let found = if command == IPC_STAT {
                    table.ids().get(id).map(|record| (id, record))
                } else {
                    table.ids().at(id)
                };
                let (id, record) = found.ok_or(Errno::EINVAL)?;
                if command != SHM_STAT_ANY {
                    record.perm.check(&cred, READ)?;
                }
                (id, Stat::new(id, record))
            };
            uaccess::put(addr, &stat)?;
            Ok(if command == IPC_STAT { 0 } else { id as u64 })
        }
        IPC_SET => {
            let stat: Stat = uaccess::get(addr)?;
            namespace.shm.lock().set(id, &cred, stat.perm.to_set()).map(|()| 0)
        }
        IPC_RMID => namespace.shm.lock().remove(id, &cred).map(|()| 0),
        SHM_LOCK | SHM_UNLOCK => {
            let limit = me.process.rlimit(Resource::Memlock).soft;
            namespace.shm.lock().lock(id, &cred, command == SHM_LOCK, limit).map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}
