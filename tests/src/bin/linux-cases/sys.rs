//! System calls without a C library between: results as the kernel gives them, errors negative.
#![allow(dead_code, reason = "a tool box: not every family uses every tool")]
#![allow(unsafe_code, reason = "the cases try the kernel, wrong arguments included")]

use std::ffi::CString;

/// A system call with up to six arguments.
macro_rules! call {
    ($name:ident $(, $arg:expr)* $(,)?) => {
        $crate::sys::raw(libc::$name, &[$(($arg) as i64),*])
    };
}
pub(crate) use call;

/// The call with this number.
pub(crate) fn raw(number: i64, args: &[i64]) -> i64 {
    let mut six = [0; 6];
    six[..args.len()].copy_from_slice(args);
    let result: i64;
    // SAFETY: what the call does to memory is the case's affair: it passes its own buffers, or wrong addresses on
    // purpose, which the kernel refuses.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") six[0],
            in("rsi") six[1],
            in("rdx") six[2],
            in("r10") six[3],
            in("r8") six[4],
            in("r9") six[5],
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

pub(crate) fn write(fd: i32, bytes: &[u8]) -> i64 {
    call!(SYS_write, fd, bytes.as_ptr(), bytes.len())
}

pub(crate) fn read(fd: i32, bytes: &mut [u8]) -> i64 {
    call!(SYS_read, fd, bytes.as_mut_ptr(), bytes.len())
}

pub(crate) fn close(fd: i32) -> i64 {
    call!(SYS_close, fd)
}

/// A pipe: read end, write end.
pub(crate) fn pipe() -> (i32, i32) {
    let mut ends = [0i32; 2];
    assert_eq!(call!(SYS_pipe2, ends.as_mut_ptr(), 0), 0, "pipe");
    (ends[0], ends[1])
}

/// A C string for a path; leaked, as cases are short.
pub(crate) fn c(text: &str) -> *const libc::c_char {
    CString::new(text).unwrap_or_default().into_raw()
}

pub(crate) fn getpid() -> i32 {
    call!(SYS_getpid) as i32
}

pub(crate) fn gettid() -> i32 {
    call!(SYS_gettid) as i32
}

/// Ends the process at once.
pub(crate) fn exit(status: i32) -> ! {
    call!(SYS_exit_group, status);
    unreachable!("exit_group returned")
}

/// Forks; the child runs `body` and exits with what it gives.
pub(crate) fn fork(body: impl FnOnce() -> i32) -> i32 {
    match call!(SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) {
        0 => exit(body()),
        pid => pid as i32,
    }
}

/// Waits for a child; wait status as Linux encodes it, or a negative error.
pub(crate) fn wait(pid: i32) -> i64 {
    let mut status = 0i32;
    match call!(SYS_wait4, pid, &raw mut status, 0, 0) {
        error if error < 0 => error,
        _ => i64::from(status),
    }
}

/// A wait status in words.
pub(crate) fn status(status: i64) -> String {
    let word = status as i32;
    match () {
        () if status < 0 => errno_name(-status as u32),
        () if libc::WIFEXITED(word) => format!("exited {}", libc::WEXITSTATUS(word)),
        () if libc::WIFSIGNALED(word) => {
            let core = if libc::WCOREDUMP(word) { " (core)" } else { "" };
            format!("killed by {}{core}", signal_name(libc::WTERMSIG(word)))
        }
        () if libc::WIFSTOPPED(word) => format!("stopped by {}", signal_name(libc::WSTOPSIG(word))),
        () if libc::WIFCONTINUED(word) => "continued".into(),
        () => format!("status {word:#x}"),
    }
}

/// Sleeps.
pub(crate) fn sleep_ms(milliseconds: u64) {
    let time = [(milliseconds / 1000) as i64, (milliseconds % 1000 * 1_000_000) as i64];
    call!(SYS_nanosleep, time.as_ptr(), 0);
}

/// Milliseconds of the monotonic clock.
pub(crate) fn now_ms() -> i64 {
    let mut time = [0i64; 2];
    call!(SYS_clock_gettime, libc::CLOCK_MONOTONIC, time.as_mut_ptr());
    time[0] * 1000 + time[1] / 1_000_000
}

/// Replaces the program by this one, in its `child` mode.
pub(crate) fn exec_self(words: &[&str]) -> i64 {
    let argv: Vec<_> =
        ["linux-cases", "child"].iter().chain(words).map(|word| c(word)).chain([std::ptr::null()]).collect();
    let envp: [*const libc::c_char; 2] = [c("CASE=1"), std::ptr::null()];
    call!(SYS_execve, c("/proc/self/exe"), argv.as_ptr(), envp.as_ptr())
}

/// A signal's name.
pub(crate) fn signal_name(signo: i32) -> String {
    const NAMES: [&str; 32] = [
        "0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU",
        "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match NAMES.get(signo as usize) {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {signo}"),
    }
}

/// An error's name, as `errno.h` has it.
pub(crate) fn errno_name(errno: u32) -> String {
    const NAMES: [(i32, &str); 70] = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EINTR, "EINTR"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::E2BIG, "E2BIG"),
        (libc::ENOEXEC, "ENOEXEC"),
        (libc::EBADF, "EBADF"),
        (libc::ECHILD, "ECHILD"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::ENOTBLK, "ENOTBLK"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::EXDEV, "EXDEV"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENFILE, "ENFILE"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::ETXTBSY, "ETXTBSY"),
        (libc::EFBIG, "EFBIG"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::ESPIPE, "ESPIPE"),
        (libc::EROFS, "EROFS"),
        (libc::EMLINK, "EMLINK"),
        (libc::EPIPE, "EPIPE"),
        (libc::EDOM, "EDOM"),
        (libc::ERANGE, "ERANGE"),
        (libc::EDEADLK, "EDEADLK"),
        (libc::ENAMETOOLONG, "ENAMETOOLONG"),
        (libc::ENOLCK, "ENOLCK"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ENOTEMPTY, "ENOTEMPTY"),
        (libc::ELOOP, "ELOOP"),
        (libc::ENODATA, "ENODATA"),
        (libc::ETIME, "ETIME"),
        (libc::EOVERFLOW, "EOVERFLOW"),
        (libc::EBADFD, "EBADFD"),
        (libc::EUSERS, "EUSERS"),
        (libc::ENOTSOCK, "ENOTSOCK"),
        (libc::EDESTADDRREQ, "EDESTADDRREQ"),
        (libc::EMSGSIZE, "EMSGSIZE"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::EADDRINUSE, "EADDRINUSE"),
        (libc::ECONNRESET, "ECONNRESET"),
        (libc::ENOBUFS, "ENOBUFS"),
        (libc::EISCONN, "EISCONN"),
        (libc::ENOTCONN, "ENOTCONN"),
        (libc::ETIMEDOUT, "ETIMEDOUT"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::EALREADY, "EALREADY"),
        (libc::EINPROGRESS, "EINPROGRESS"),
        (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (libc::ENETUNREACH, "ENETUNREACH"),
        (libc::ECONNABORTED, "ECONNABORTED"),
        (libc::ENOPROTOOPT, "ENOPROTOOPT"),
        (libc::ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"),
        (libc::EPROTO, "EPROTO"),
        (libc::ESTALE, "ESTALE"),
        (libc::EDQUOT, "EDQUOT"),
        (libc::ECANCELED, "ECANCELED"),
        (libc::EOWNERDEAD, "EOWNERDEAD"),
    ];
    match NAMES.iter().find(|(number, _)| *number as u32 == errno) {
        Some((_, name)) => (*name).into(),
        None => format!("errno {errno}"),
    }
}
