//! System calls, and accesses that may fail.

use std::{
    arch::asm,
    ffi::CStr,
    sync::{
        Once,
        atomic::{AtomicI32, Ordering},
    },
};

/// The error of the last call.
pub(crate) fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn result(value: i64) -> Result<i64, i32> {
    if value < 0 { Err(errno()) } else { Ok(value) }
}

/// The name of an error.
pub(crate) fn name(errno: i32) -> String {
    const NAMES: &[(i32, &str)] = &[
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::EBADF, "EBADF"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::EXDEV, "EXDEV"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENFILE, "ENFILE"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EROFS, "EROFS"),
        (libc::ELOOP, "ELOOP"),
        (libc::ENOTEMPTY, "ENOTEMPTY"),
        (libc::ESTALE, "ESTALE"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    ];
    let known = NAMES.iter().find(|(number, _)| *number == errno);
    known.map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).into())
}

pub(crate) fn flags(word: &str) -> i32 {
    match word {
        "read" => libc::O_RDONLY,
        "write" => libc::O_WRONLY,
        "create" => libc::O_RDWR | libc::O_CREAT,
        "append" => libc::O_WRONLY | libc::O_APPEND,
        _ => libc::O_RDWR,
    }
}

pub(crate) fn open(path: &CStr, flags: i32) -> Result<i32, i32> {
    // SAFETY: a string that lives on.
    result(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o644) }.into()).map(|fd| fd as i32)
}

pub(crate) fn close(fd: i32) -> Result<i64, i32> {
    // SAFETY: no pointers.
    result(unsafe { libc::close(fd) }.into())
}

pub(crate) fn pread(fd: i32, offset: u64, len: u64) -> Result<Vec<u8>, i32> {
    let mut bytes = vec![0; len as usize];
    // SAFETY: the vector has room for as much.
    let count =
        result(unsafe { libc::pread(fd, bytes.as_mut_ptr().cast(), bytes.len(), offset as i64) } as i64)?;
    bytes.truncate(count as usize);
    Ok(bytes)
}

pub(crate) fn pwrite(fd: i32, offset: u64, bytes: &[u8]) -> Result<i64, i32> {
    // SAFETY: the slice is as long.
    result(unsafe { libc::pwrite(fd, bytes.as_ptr().cast(), bytes.len(), offset as i64) } as i64)
}

pub(crate) fn fsync(fd: i32) -> Result<i64, i32> {
    // SAFETY: no pointers.
    result(unsafe { libc::fsync(fd) }.into())
}

pub(crate) fn truncate(fd: i32, len: u64) -> Result<i64, i32> {
    // SAFETY: no pointers.
    result(unsafe { libc::ftruncate(fd, len as i64) }.into())
}

fn status(call: impl FnOnce(*mut libc::stat) -> i32) -> Result<i64, i32> {
    // SAFETY: zeroes are valid for this structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    result(call(&raw mut stat).into()).map(|_| stat.st_size)
}

pub(crate) fn size(fd: i32) -> Result<i64, i32> {
    // SAFETY: a valid structure.
    status(|stat| unsafe { libc::fstat(fd, stat) })
}

/// The size of what a path names.
pub(crate) fn stat(path: &CStr) -> Result<i64, i32> {
    // SAFETY: a string and a valid structure.
    status(|stat| unsafe { libc::lstat(path.as_ptr(), stat) })
}

pub(crate) fn unlink(path: &CStr) -> Result<i64, i32> {
    // SAFETY: a string that lives on.
    result(unsafe { libc::unlink(path.as_ptr()) }.into())
}

pub(crate) fn mkdir(path: &CStr) -> Result<i64, i32> {
    // SAFETY: a string that lives on.
    result(unsafe { libc::mkdir(path.as_ptr(), 0o755) }.into())
}

/// Maps a file: shared for reading and writing, or a private copy.
pub(crate) fn map(fd: i32, len: u64, shared: bool) -> Result<usize, i32> {
    let how = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a mapping at an address of the kernel's choice.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), len as usize, rights, how, fd, 0) };
    if address == libc::MAP_FAILED { Err(errno()) } else { Ok(address as usize) }
}

pub(crate) fn sync_map(address: usize, len: usize) -> Result<i64, i32> {
    // SAFETY: the kernel checks the range.
    result(unsafe { libc::msync(address as *mut libc::c_void, len, libc::MS_SYNC) }.into())
}

/// Writes mapped memory to a pipe.
pub(crate) fn send(address: usize, len: usize) -> Result<i64, i32> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors; the kernel checks the range that is written.
    unsafe {
        libc::pipe(ends.as_mut_ptr());
        let sent = result(libc::write(ends[1], address as *const libc::c_void, len) as i64);
        for fd in ends {
            libc::close(fd);
        }
        sent
    }
}

/// Reads zeroes into mapped memory.
pub(crate) fn receive(address: usize, len: usize) -> Result<i64, i32> {
    let zero = open(c"/dev/zero", libc::O_RDONLY)?;
    // SAFETY: the kernel checks the range that is read into.
    let got = result(unsafe { libc::read(zero, address as *mut libc::c_void, len) } as i64);
    close(zero)?;
    got
}

/// The signal that the last access raised.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// Length of the instructions of [`load`] and [`store`].
const INSTRUCTION: i64 = 2;

/// Goes on after the instruction.
extern "C" fn caught(signal: i32, _: *const libc::siginfo_t, context: *mut libc::ucontext_t) {
    SIGNAL.store(signal, Ordering::SeqCst);
    // SAFETY: the kernel passes a valid context; what raised the signal is one of our two instructions.
    unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] += INSTRUCTION };
}

/// Does an access that may raise a signal.
fn attempt<T>(access: impl FnOnce() -> T) -> Result<T, i32> {
    static HANDLERS: Once = Once::new();
    HANDLERS.call_once(|| {
        for signal in [libc::SIGBUS, libc::SIGSEGV] {
            // SAFETY: zeroes are valid for the structure; the handler is async-signal-safe.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = caught as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO;
                libc::sigaction(signal, &raw const action, std::ptr::null_mut());
            }
        }
    });
    SIGNAL.store(0, Ordering::SeqCst);
    let value = access();
    match SIGNAL.load(Ordering::SeqCst) {
        0 => Ok(value),
        signal => Err(signal),
    }
}

pub(crate) fn load(address: usize) -> Result<u8, i32> {
    attempt(|| {
        let mut value = 0u8;
        // SAFETY: an access that fails is caught.
        unsafe { asm!("mov al, [rdi]", in("rdi") address, inout("al") value, options(nostack)) };
        value
    })
}

pub(crate) fn store(address: usize, value: u8) -> Result<(), i32> {
    // SAFETY: an access that fails is caught; the memory is nobody else's.
    attempt(|| unsafe { asm!("mov [rdi], al", in("rdi") address, in("al") value, options(nostack)) })
}
