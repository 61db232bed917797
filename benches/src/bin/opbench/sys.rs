//! System calls, each behind a safe function that does no more than the call.
//!
//! The calls that are measured are made with the `syscall` instruction directly, so that a row holds the kernel's cost
//! and not the C library's. Everything `unsafe` of this program is here.

use std::arch::asm;
use std::ffi::{CStr, CString};
use std::io;
use std::ptr;

/// A file descriptor that is closed with its owner.
#[derive(Debug)]
pub(crate) struct Fd(pub(crate) i32);

impl Drop for Fd {
    fn drop(&mut self) {
        close(self.0);
    }
}

/// # Safety
/// The arguments must be what the call expects; pointers among them must be valid for what the call does.
#[inline(always)]
unsafe fn syscall(number: i64, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the instruction clobbers rcx and r11 only; the rest is the caller's promise.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result,
             in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
             in("r10") args[3], in("r8") args[4], in("r9") args[5],
             lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// Calls the kernel with up to six integers or pointers and returns its raw answer.
macro_rules! call {
    ($number:ident $(, $arg:expr)* $(,)?) => {{
        let given = [$($arg as usize),*];
        let mut args = [0usize; 6];
        args[..given.len()].copy_from_slice(&given);
        // SAFETY: every use in this module passes integers, or pointers to live objects of the size that it names.
        unsafe { syscall(libc::$number, args) }
    }};
}

#[inline(always)]
fn check(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(result as usize) }
}

pub(crate) fn path(text: &str) -> io::Result<CString> {
    Ok(CString::new(text)?)
}

#[inline(always)]
pub(crate) fn getpid() -> i32 {
    // SAFETY: getpid takes no arguments.
    unsafe { syscall(libc::SYS_getpid, [0; 6]) as i32 }
}

#[inline(always)]
pub(crate) fn sched_yield() -> io::Result<usize> {
    // SAFETY: sched_yield takes no arguments.
    check(unsafe { syscall(libc::SYS_sched_yield, [0; 6]) })
}

/// Nanoseconds of `CLOCK_MONOTONIC`, by the vDSO where the kernel offers one.
#[inline(always)]
pub(crate) fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// `clock_gettime(CLOCK_MONOTONIC)` by the system call.
#[inline(always)]
pub(crate) fn monotonic_by_call(now: &mut libc::timespec) -> io::Result<usize> {
    check(call!(SYS_clock_gettime, libc::CLOCK_MONOTONIC, ptr::from_mut(now)))
}

/// `clock_gettime(CLOCK_MONOTONIC)` through the C library, and so the vDSO.
#[inline(always)]
pub(crate) fn monotonic_by_library(now: &mut libc::timespec) {
    // SAFETY: `now` is a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now) };
}

pub(crate) fn sleep(seconds: u64) -> io::Result<()> {
    let request = libc::timespec { tv_sec: seconds as i64, tv_nsec: 0 };
    check(call!(SYS_nanosleep, ptr::from_ref(&request), 0)).map(drop)
}

// Files.

#[inline(always)]
pub(crate) fn open(path: &CStr, flags: i32) -> io::Result<i32> {
    check(call!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags | libc::O_CLOEXEC, 0o644))
        .map(|fd| fd as i32)
}

#[inline(always)]
pub(crate) fn close(fd: i32) {
    let _closed_or_never_open = call!(SYS_close, fd);
}

#[inline(always)]
pub(crate) fn read(fd: &Fd, buffer: &mut [u8]) -> io::Result<usize> {
    check(call!(SYS_read, fd.0, buffer.as_mut_ptr(), buffer.len()))
}

#[inline(always)]
pub(crate) fn write(fd: &Fd, bytes: &[u8]) -> io::Result<usize> {
    check(call!(SYS_write, fd.0, bytes.as_ptr(), bytes.len()))
}

#[inline(always)]
pub(crate) fn pread(fd: &Fd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    check(call!(SYS_pread64, fd.0, buffer.as_mut_ptr(), buffer.len(), offset))
}

#[inline(always)]
pub(crate) fn pwrite(fd: &Fd, bytes: &[u8], offset: u64) -> io::Result<usize> {
    check(call!(SYS_pwrite64, fd.0, bytes.as_ptr(), bytes.len(), offset))
}

/// An empty answer for `stat` to fill.
pub(crate) fn blank_stat() -> libc::stat {
    // SAFETY: stat is plain numbers; all-zero is a valid value.
    unsafe { std::mem::zeroed() }
}

#[inline(always)]
pub(crate) fn stat(path: &CStr, status: &mut libc::stat) -> io::Result<usize> {
    check(call!(SYS_newfstatat, libc::AT_FDCWD, path.as_ptr(), ptr::from_mut(status), 0))
}

#[inline(always)]
pub(crate) fn fstat(fd: &Fd, status: &mut libc::stat) -> io::Result<usize> {
    check(call!(SYS_fstat, fd.0, ptr::from_mut(status)))
}

#[inline(always)]
pub(crate) fn unlink(path: &CStr) -> io::Result<usize> {
    check(call!(SYS_unlink, path.as_ptr()))
}

pub(crate) fn mkdir(path: &CStr) -> io::Result<usize> {
    check(call!(SYS_mkdir, path.as_ptr(), 0o755))
}

#[inline(always)]
pub(crate) fn getdents(fd: &Fd, buffer: &mut [u8]) -> io::Result<usize> {
    check(call!(SYS_getdents64, fd.0, buffer.as_mut_ptr(), buffer.len()))
}

// Memory.

/// A mapping that is unmapped with its owner.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: *mut u8,
    len: usize,
}

/// A page: the step at which mappings are touched.
pub(crate) const PAGE: usize = 4096;

impl Mapping {
    /// Fresh private memory.
    #[inline(always)]
    pub(crate) fn anonymous(len: usize) -> io::Result<Mapping> {
        Mapping::new(len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    /// The first bytes of a file, read-only and shared with the page cache.
    #[inline(always)]
    pub(crate) fn file(fd: &Fd, len: usize) -> io::Result<Mapping> {
        Mapping::new(len, libc::PROT_READ, libc::MAP_SHARED, fd.0)
    }

    #[inline(always)]
    fn new(len: usize, protection: i32, flags: i32, fd: i32) -> io::Result<Mapping> {
        let start = check(call!(SYS_mmap, 0, len, protection, flags, fd, 0))?;
        Ok(Mapping { start: start as *mut u8, len })
    }

    /// Asks for small pages.
    pub(crate) fn no_huge_pages(&self) -> io::Result<usize> {
        check(call!(SYS_madvise, self.start, self.len, libc::MADV_NOHUGEPAGE))
    }

    #[inline(always)]
    pub(crate) fn protect(&self, protection: i32) -> io::Result<usize> {
        check(call!(SYS_mprotect, self.start, self.len, protection))
    }

    /// Writes a byte to each page.
    #[inline(always)]
    pub(crate) fn write_pages(&self) {
        for offset in (0..self.len).step_by(PAGE) {
            // SAFETY: the address lies in this live mapping, which its users keep writable.
            unsafe { self.start.add(offset).write_volatile(1) };
        }
    }

    /// Reads a byte of each page.
    #[inline(always)]
    pub(crate) fn read_pages(&self) {
        for offset in (0..self.len).step_by(PAGE) {
            // SAFETY: the address lies in this live mapping of a file that is at least as long.
            unsafe { self.start.add(offset).read_volatile() };
        }
    }
}

impl Drop for Mapping {
    #[inline(always)]
    fn drop(&mut self) {
        let _unmapped = call!(SYS_munmap, self.start, self.len);
    }
}

// Processes.

/// Forks by the bare call: the C library's own would add its locks and handlers. The child runs `child` and ends with
/// its status.
pub(crate) fn fork(child: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: this program has no other thread while it forks, and the child only makes calls of this module until
    // it ends or becomes another program.
    match check(unsafe { syscall(libc::SYS_fork, [0; 6]) })? {
        0 => exit(child()),
        pid => Ok(pid as i32),
    }
}

/// Ends the process without running exit handlers or flushing what its parent buffered.
fn exit(status: i32) -> ! {
    loop {
        let _does_not_return = call!(SYS_exit_group, status);
    }
}

/// Waits for a child and says how it ended; anything but a plain exit 0 is an error.
pub(crate) fn wait(pid: i32) -> io::Result<()> {
    let mut status = 0i32;
    check(call!(SYS_wait4, pid, ptr::from_mut(&mut status), 0, 0))?;
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::other(format!("the child ended with status {status:#x}")))
    }
}

/// Replaces the process; returns only when that fails.
pub(crate) fn exec(program: &CStr, args: &[&CStr]) -> io::Error {
    let mut pointers: Vec<_> = args.iter().map(|arg| arg.as_ptr()).collect();
    pointers.push(ptr::null());
    let environment: [*const libc::c_char; 1] = [ptr::null()];
    match check(call!(SYS_execve, program.as_ptr(), pointers.as_ptr(), environment.as_ptr())) {
        Err(error) => error,
        Ok(_) => io::Error::other("execve returned"),
    }
}

// Threads.

#[inline(always)]
pub(crate) fn futex_wait(word: &std::sync::atomic::AtomicU32, expected: u32) {
    let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // The caller looks at the word again, whatever the answer.
    let _woken = call!(SYS_futex, word.as_ptr(), op, expected, 0);
}

#[inline(always)]
pub(crate) fn futex_wake(word: &std::sync::atomic::AtomicU32) -> io::Result<usize> {
    let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    check(call!(SYS_futex, word.as_ptr(), op, 1))
}

extern "C" fn return_at_once(argument: *mut libc::c_void) -> *mut libc::c_void {
    argument
}

/// Creates a thread that returns at once, and joins it.
pub(crate) fn create_and_join_thread() -> io::Result<()> {
    let mut thread: libc::pthread_t = 0;
    // SAFETY: the start routine touches nothing, `thread` is live, default attributes are asked for.
    let created = unsafe { libc::pthread_create(&mut thread, ptr::null(), return_at_once, ptr::null_mut()) };
    if created != 0 {
        return Err(io::Error::from_raw_os_error(created));
    }
    // SAFETY: `thread` was created above and is joined once.
    match unsafe { libc::pthread_join(thread, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

// Signals.

static SIGNALS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

extern "C" fn count_signal(_signal: i32) {
    SIGNALS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}

/// Signals that the handler has seen.
pub(crate) fn signals_seen() -> u64 {
    SIGNALS.load(std::sync::atomic::Ordering::Relaxed)
}

/// Has `SIGUSR1` counted by a handler.
pub(crate) fn count_signals() -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction: no flags, empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count_signal as extern "C" fn(i32) as usize;
    // SAFETY: the handler only adds to an atomic.
    match unsafe { libc::sigaction(libc::SIGUSR1, &action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[inline(always)]
pub(crate) fn signal(pid: i32) -> io::Result<usize> {
    check(call!(SYS_kill, pid, libc::SIGUSR1))
}

// Descriptors that are not files.

pub(crate) fn pipe() -> io::Result<(Fd, Fd)> {
    let mut ends = [0i32; 2];
    check(call!(SYS_pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC))?;
    Ok((Fd(ends[0]), Fd(ends[1])))
}

pub(crate) fn eventfd() -> io::Result<Fd> {
    check(call!(SYS_eventfd2, 0, libc::EFD_CLOEXEC)).map(|fd| Fd(fd as i32))
}

pub(crate) fn epoll_of(watched: &Fd) -> io::Result<Fd> {
    let epoll = check(call!(SYS_epoll_create1, libc::EPOLL_CLOEXEC)).map(|fd| Fd(fd as i32))?;
    let event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
    check(call!(SYS_epoll_ctl, epoll.0, libc::EPOLL_CTL_ADD, watched.0, ptr::from_ref(&event)))?;
    Ok(epoll)
}

const FOREVER: i32 = -1;

/// Waits until the watched descriptor is readable.
#[inline(always)]
pub(crate) fn epoll_wait(epoll: &Fd) -> io::Result<usize> {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    check(call!(SYS_epoll_wait, epoll.0, ptr::from_mut(&mut event), 1, FOREVER))
}
