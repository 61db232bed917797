//! What strace 6 prints of the same values.

use super::{super::table::TABLE, *};
use crate::arch::{uaccess, user_buffer};
use alloc::string::String;

/// A call's whole text with a result.
fn shown(nr: usize, args: [u64; 6], ret: i64) -> String {
    let mut call = Call::new(nr, args);
    let next = args::begin(&mut call, entry(nr));
    call.finish(ret);
    args::end(&mut call, entry(nr), next);
    call.push(") = ");
    outcome::print(&mut call);
    call.take()
}

const CWD: u64 = -100i64 as u64;

#[test]
fn plain_arguments_and_results() {
    let protection = [0, 4096, 3, 0x22, u64::MAX, 0];
    assert_eq!(
        shown(9, protection, 0x7000_0000),
        "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x70000000"
    );
    assert_eq!(shown(95, [0o22, 0, 0, 0, 0, 0], 0), "umask(022) = 000");
    assert_eq!(shown(3, [9, 0, 0, 0, 0, 0], -9), "close(9) = -1 EBADF (Bad file descriptor)");
    let restarted = "read(0, 0x10, 1) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)";
    assert_eq!(shown(0, [0, 0x10, 1, 0, 0, 0], -512), restarted);
    assert_eq!(
        shown(72, [8, 3, 0, 0, 0, 0], 0x2_8002),
        "fcntl(8, F_GETFL) = 0x28002 (flags O_RDWR|O_LARGEFILE|O_NOFOLLOW)"
    );
    assert_eq!(shown(72, [1, 1030, 10, 0, 0, 0], 11), "fcntl(1, F_DUPFD_CLOEXEC, 10) = 11");
    assert_eq!(
        shown(16, [8, 0x1234, 0, 0, 0, 0], -25),
        "ioctl(8, _IOC(_IOC_NONE, 0x12, 0x34, 0), 0) = -1 ENOTTY (Inappropriate ioctl for device)"
    );
    assert_eq!(
        shown(56, [0x120_0011, 0, 0, 0x500, 0, 0], 7),
        "clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x500) = 7"
    );
    assert_eq!(shown(202, [0x40, 0x81, 1, 0, 0, 0], 0), "futex(0x40, FUTEX_WAKE_PRIVATE, 1) = 0");
    assert_eq!(shown(158, [0x1002, 0x50, 0, 0, 0, 0], 0), "arch_prctl(ARCH_SET_FS, 0x50) = 0");
}

#[test]
fn memory_that_is_not_there_is_an_address() {
    for (nr, entry) in TABLE.iter().enumerate().filter(|(_, entry)| !entry.name.is_empty()) {
        for ret in [0, 3, -14, -512] {
            for value in [0, 0x10, u64::MAX, u64::MAX - 7] {
                assert!(shown(nr, [value; 6], ret).starts_with(entry.name), "{}", entry.name);
            }
        }
    }
}

#[test]
fn strings_are_cut_and_escaped() {
    let at = user_buffer(64);
    uaccess::copy_to_user(at, b"a\"b\n\x01x\x001\0").unwrap();
    assert_eq!(shown(1, [1, at, 9, 0, 0, 0], 9), "write(1, \"a\\\"b\\n\\1x\\0001\\0\", 9) = 9");
    uaccess::copy_to_user(at, &[b'x'; 40]).unwrap();
    let cut = alloc::format!("read(3, \"{}\"..., 64) = 40", "x".repeat(32));
    assert_eq!(shown(0, [3, at, 64, 0, 0, 0], 40), cut);
    uaccess::copy_to_user(at, b"/etc\0").unwrap();
    assert_eq!(
        shown(257, [CWD, at, 0x9_0800, 0, 0, 0], 3),
        "openat(AT_FDCWD, \"/etc\", O_RDONLY|O_NONBLOCK|O_CLOEXEC|O_DIRECTORY) = 3"
    );
    assert_eq!(
        shown(257, [CWD, at, 0x241, 0o666, 0, 0], 3),
        "openat(AT_FDCWD, \"/etc\", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3"
    );
}

#[test]
fn structures_are_shown_when_they_were_stored() {
    let at = user_buffer(160);
    uaccess::put(at, &[3i32, 4]).unwrap();
    assert_eq!(shown(293, [at, 0x8_0800, 0, 0, 0, 0], 0), "pipe2([3, 4], O_NONBLOCK|O_CLOEXEC) = 0");
    assert!(
        shown(293, [at, 0, 0, 0, 0, 0], -22).starts_with(&alloc::format!("pipe2({at:#x}, 0) = -1 EINVAL"))
    );
    uaccess::put(at, &0x300i32).unwrap();
    let waited = "wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], WNOHANG, NULL) = 5";
    assert_eq!(shown(61, [u64::MAX, at, 1, 0, 0, 0], 5), waited);
    uaccess::put(at, &!(3u64 << 31)).unwrap();
    assert_eq!(shown(14, [2, at, 0, 8, 0, 0], 0), "rt_sigprocmask(SIG_SETMASK, ~[RTMIN RT_1], NULL, 8) = 0");
    uaccess::put(at, &[0x40_1000u64, 0x1400_0000, 0x40_2000, 1]).unwrap();
    assert_eq!(
        shown(13, [14, at, 0, 8, 0, 0], 0),
        "rt_sigaction(SIGALRM, {sa_handler=0x401000, sa_mask=[HUP], sa_flags=SA_RESTORER|SA_RESTART, \
         sa_restorer=0x402000}, NULL, 8) = 0"
    );
    uaccess::put(at, &[8u64 << 20, u64::MAX]).unwrap();
    assert_eq!(
        shown(302, [0, 3, 0, at, 0, 0], 0),
        "prlimit64(0, RLIMIT_STACK, NULL, {rlim_cur=8192*1024, rlim_max=RLIM64_INFINITY}) = 0"
    );
    uaccess::put(at, &[1u64 << 32, 4u64 << 32 | 4 << 48 | 6]).unwrap();
    assert_eq!(
        shown(7, [at, 2, 0, 0, 0, 0], 1),
        "poll([{fd=0, events=POLLIN}, {fd=6, events=POLLOUT}], 2, 0) = 1 ([{fd=6, revents=POLLOUT}])"
    );
    uaccess::put(at, &[0x3fff_ffffi64, 0x3fff_ffff, 5, 6]).unwrap();
    assert!(
        shown(280, [CWD, 0, at, 0, 0, 0], 0)
            .contains("[UTIME_NOW, {tv_sec=5, tv_nsec=6} /* 1970-01-01T00:00:05.000000006+0000 */]")
    );
}

#[test]
fn dates_are_right() {
    let mut call = Call::new(0, [0; 6]);
    structs::date(&mut call, 1_795_491_041, 0, 0);
    assert_eq!(call.take(), "2026-11-24T03:30:41+0000");
}
