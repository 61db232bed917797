//! poll, select, epoll.

use alloc::vec::Vec;
use linux_raw_sys::general::O_CLOEXEC;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    Args,
    at::{file, install, only},
};
use crate::{
    arch::{clock, uaccess},
    errno::{Errno, Result},
    fs::{
        PollMask,
        epoll::{self, Epoll, Interest},
        poll::{self, Entry},
    },
    signal::SigSet,
    task::{Restart, current, rlimit::Resource},
};

/// `struct pollfd`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct PollFd {
    fd: i32,
    events: u16,
    ready: u16,
}

/// A timeout in ns as a deadline; 0 = only look.
fn deadline(timeout: Option<u64>) -> Option<u64> {
    match timeout {
        Some(0) => Some(0),
        Some(ns) => Some(clock::monotonic_ns().saturating_add(ns)),
        None => None,
    }
}

fn millis(timeout: i32) -> Option<u64> {
    u64::try_from(timeout).ok().map(|ms| ms * 1_000_000)
}

/// A `struct timespec` as ns; a null pointer means no limit.
fn timespec(addr: u64) -> Result<Option<u64>> {
    if addr == 0 {
        return Ok(None);
    }
    let [sec, nsec]: [i64; 2] = uaccess::get(addr)?;
    if sec < 0 || !(0..1_000_000_000).contains(&nsec) {
        return Err(Errno::EINVAL);
    }
    Ok(Some((sec as u64).saturating_mul(1_000_000_000).saturating_add(nsec as u64)))
}

/// Runs `f` with the signal mask at `mask`, if any.
fn with_mask<T>(mask: u64, size: usize, f: impl FnOnce() -> Result<T>) -> Result<T> {
    if mask == 0 {
        return f();
    }
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    let task = current();
    task.set_blocked_for_call(SigSet(uaccess::get(mask)?));
    let result = f();
    // An interrupted call leaves the mask to the handler; the old one comes back after it.
    if !matches!(result, Err(Errno::EINTR | Errno::ERESTARTNOHAND)) {
        task.restore_blocked();
    }
    result
}

/// Polls `count` descriptors at `fds`.
fn poll_once(fds: u64, count: u32, deadline: Option<u64>) -> Result<u64> {
    if u64::from(count) > current().process.rlimit(Resource::OpenFiles).soft {
        return Err(Errno::EINVAL);
    }
    let mut list: Vec<PollFd> = Vec::new();
    list.try_reserve_exact(count as usize).map_err(|_| Errno::ENOMEM)?;
    list.resize(count as usize, PollFd::default());
    uaccess::copy_from_user(list.as_mut_slice().as_mut_bytes(), fds)?;
    let mut entries: Vec<Entry> = Vec::with_capacity(list.len());
    for one in &list {
        entries.push(Entry {
            file: if one.fd < 0 { None } else { file(one.fd).ok().filter(|file| !file.is_path()) },
            events: PollMask::from_bits_truncate(one.events.into()),
            ready: PollMask::empty(),
            ignored: one.fd < 0,
        });
    }
    let ready = poll::wait(&mut entries, deadline)?;
    for (one, entry) in list.iter_mut().zip(&entries) {
        one.ready = entry.ready.bits() as u16;
    }
    uaccess::copy_to_user(fds, list.as_slice().as_bytes())?;
    Ok(ready as u64)
}

/// Polls until `until` (CLOCK_MONOTONIC, ns); how `restart_syscall` goes on with an interrupted poll.
///
/// # Errors
/// As poll(2).
pub fn poll_until(fds: u64, count: u32, until: u64) -> Result<u64> {
    match poll_once(fds, count, Some(until)) {
        Err(Errno::ERESTARTSYS) => {
            *current().signals.restart.lock() = Some(Restart::Poll { fds, count, until });
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
        result => result,
    }
}

/// poll(2).
///
/// # Errors
/// As poll(2).
pub fn poll(args: &Args) -> Result<u64> {
    let (fds, count) = (args.addr(0), args.uint(1));
    match deadline(millis(args.int(2))) {
        Some(until) if until != 0 => poll_until(fds, count, until),
        deadline => poll_once(fds, count, deadline).map_err(no_hand),
    }
}

/// What an interruption gives where a handler always ends the call.
fn no_hand(error: Errno) -> Errno {
    if error == Errno::ERESTARTSYS { Errno::ERESTARTNOHAND } else { error }
}

/// ppoll(2).
///
/// # Errors
/// As ppoll(2).
pub fn ppoll(args: &Args) -> Result<u64> {
    let limit = timespec(args.addr(2))?;
    let end = deadline(limit);
    let result =
        with_mask(args.addr(3), args.size(4), || poll_once(args.addr(0), args.uint(1), end).map_err(no_hand));
    put_remaining(args.addr(2), end)?;
    result
}

/// Stores what is left of a timeout, as Linux does.
fn put_remaining(addr: u64, end: Option<u64>) -> Result<()> {
    if let (Some(end), true) = (end, addr != 0) {
        let left = end.saturating_sub(clock::monotonic_ns());
        uaccess::put(addr, &[left / 1_000_000_000, left % 1_000_000_000])?;
    }
    Ok(())
}

/// What each of select's three sets asks for and is answered by.
const SETS: [(PollMask, PollMask); 3] = [
    (
        PollMask::READABLE.union(PollMask::RDBAND),
        PollMask::READABLE.union(PollMask::RDBAND).union(PollMask::HUP).union(PollMask::ERR),
    ),
    (
        PollMask::WRITABLE.union(PollMask::WRBAND),
        PollMask::WRITABLE.union(PollMask::WRBAND).union(PollMask::ERR),
    ),
    (PollMask::PRI, PollMask::PRI),
];

/// Selects among descriptors below `count`; `sets` are the addresses of the three sets.
fn select_once(count: i32, sets: [u64; 3], deadline: Option<u64>) -> Result<u64> {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let count = count.min(current().process.rlimit(Resource::OpenFiles).hard.min(1 << 20) as usize);
    let words = count.div_ceil(64);
    let mut asked: [Vec<u64>; 3] = Default::default();
    for (set, addr) in asked.iter_mut().zip(sets) {
        set.try_reserve_exact(words).map_err(|_| Errno::ENOMEM)?;
        set.resize(words, 0);
        if addr != 0 {
            uaccess::copy_from_user(set.as_mut_slice().as_mut_bytes(), addr)?;
        }
    }
    let bit = |set: &[u64], fd: usize| set[fd / 64] & 1 << (fd % 64) != 0;
    let (mut fds, mut entries) = (Vec::new(), Vec::new());
    for fd in 0..count {
        let events = SETS
            .iter()
            .zip(&asked)
            .filter(|(_, set)| bit(set, fd))
            .fold(PollMask::empty(), |all, ((events, _), _)| all | *events);
        if !events.is_empty() {
            fds.push(fd);
            entries.push(Entry {
                file: Some(file(fd as i32)?),
                events,
                ready: PollMask::empty(),
                ignored: false,
            });
        }
    }
    poll::wait(&mut entries, deadline)?;
    let mut ready = 0;
    for (((_, answers), set), addr) in SETS.iter().zip(&asked).zip(sets) {
        let mut answer = alloc::vec![0u64; words];
        for (&fd, entry) in fds.iter().zip(&entries) {
            if bit(set, fd) && entry.ready.intersects(*answers) {
                answer[fd / 64] |= 1 << (fd % 64);
                ready += 1;
            }
        }
        if addr != 0 {
            uaccess::copy_to_user(addr, answer.as_slice().as_bytes())?;
        }
    }
    Ok(ready)
}

/// select(2).
///
/// # Errors
/// As select(2).
pub fn select(args: &Args) -> Result<u64> {
    let addr = args.addr(4);
    let limit = if addr == 0 {
        None
    } else {
        let [sec, usec]: [i64; 2] = uaccess::get(addr)?;
        if sec < 0 || usec < 0 {
            return Err(Errno::EINVAL);
        }
        Some((sec as u64).saturating_mul(1_000_000_000).saturating_add(usec as u64 * 1000))
    };
    let end = deadline(limit);
    let result = select_once(args.int(0), [args.addr(1), args.addr(2), args.addr(3)], end).map_err(no_hand);
    if let (Some(end), true) = (end, addr != 0) {
        let left = end.saturating_sub(clock::monotonic_ns());
        uaccess::put(addr, &[left / 1_000_000_000, left % 1_000_000_000 / 1000])?;
    }
    result
}

/// pselect6(2).
///
/// # Errors
/// As pselect(2).
pub fn pselect6(args: &Args) -> Result<u64> {
    let end = deadline(timespec(args.addr(4))?);
    let [mask, size]: [u64; 2] = if args.addr(5) == 0 { [0, 0] } else { uaccess::get(args.addr(5))? };
    let sets = [args.addr(1), args.addr(2), args.addr(3)];
    let result = with_mask(mask, size as usize, || select_once(args.int(0), sets, end).map_err(no_hand));
    put_remaining(args.addr(4), end)?;
    result
}

/// epoll_create(2).
///
/// # Errors
/// As epoll_create(2).
pub fn epoll_create(args: &Args) -> Result<u64> {
    if args.int(0) <= 0 {
        return Err(Errno::EINVAL);
    }
    install(epoll::open(), false)
}

/// epoll_create1(2).
///
/// # Errors
/// As epoll_create1(2).
pub fn epoll_create1(args: &Args) -> Result<u64> {
    only(args.uint(0), O_CLOEXEC)?;
    install(epoll::open(), args.uint(0) & O_CLOEXEC != 0)
}

/// `struct epoll_event`, which is packed on x86-64.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct EpollEvent {
    events: u32,
    data: [u8; 8],
}

const _: () = assert!(size_of::<EpollEvent>() == 12);

/// epoll_ctl(2).
///
/// # Errors
/// As epoll_ctl(2).
pub fn epoll_ctl(args: &Args) -> Result<u64> {
    const ADD: i32 = 1;
    const DEL: i32 = 2;
    const MOD: i32 = 3;
    let (operation, fd) = (args.int(1), args.int(2));
    let interest = if operation == DEL {
        None
    } else {
        let event: EpollEvent = uaccess::get(args.addr(3))?;
        Some(Interest { events: event.events, data: u64::from_ne_bytes(event.data) })
    };
    let outer = file(args.int(0))?;
    let target = file(fd)?;
    if target.is_path() {
        return Err(Errno::EBADF);
    }
    let epoll = outer.downcast::<Epoll>().ok_or(Errno::EINVAL)?;
    if alloc::sync::Arc::ptr_eq(&outer, &target) {
        return Err(Errno::EINVAL);
    }
    match (operation, interest) {
        (ADD, Some(interest)) => epoll.add(fd, &target, interest)?,
        (MOD, Some(interest)) => epoll.modify(fd, &target, interest)?,
        (DEL, _) => epoll.remove(fd, &target)?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

fn wait(epfd: i32, events: u64, max: i32, timeout: Option<u64>) -> Result<u64> {
    let max = usize::try_from(max).ok().filter(|&max| max > 0).ok_or(Errno::EINVAL)?;
    let file = file(epfd)?;
    let epoll = file.downcast::<Epoll>().ok_or(Errno::EINVAL)?;
    let mut at = events;
    let count = epoll.wait(max, deadline(timeout), |events, data| {
        uaccess::put(at, &EpollEvent { events, data: data.to_ne_bytes() })?;
        at += size_of::<EpollEvent>() as u64;
        Ok(())
    })?;
    Ok(count as u64)
}

/// epoll_wait(2).
///
/// # Errors
/// As epoll_wait(2).
pub fn epoll_wait(args: &Args) -> Result<u64> {
    wait(args.int(0), args.addr(1), args.int(2), millis(args.int(3)))
}

/// epoll_pwait(2).
///
/// # Errors
/// As epoll_pwait(2).
pub fn epoll_pwait(args: &Args) -> Result<u64> {
    with_mask(args.addr(4), args.size(5), || {
        wait(args.int(0), args.addr(1), args.int(2), millis(args.int(3)))
    })
}

/// epoll_pwait2(2).
///
/// # Errors
/// As epoll_pwait2(2).
pub fn epoll_pwait2(args: &Args) -> Result<u64> {
    let timeout = timespec(args.addr(3))?;
    with_mask(args.addr(4), args.size(5), || wait(args.int(0), args.addr(1), args.int(2), timeout))
}
