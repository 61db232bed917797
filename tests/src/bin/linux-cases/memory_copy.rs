//! Bad buffers of system calls; membarrier(2), memory policies and what a container is not given.

use libc::{MAP_FIXED, MAP_SHARED, PROT_NONE, PROT_READ};

use crate::{
    Case, Out, case,
    memory::{PAGE, RW, each_file, file, fine, map, peek, put, room},
    sys::{self, call},
};

/// A page of memory with nothing behind it; the address of its end.
fn edge() -> i64 {
    let base = room(2);
    put(base, 1, RW);
    base + PAGE
}

/// What read(2) and write(2) do at the edge of memory.
fn at_edge(out: &mut Out, to: i32, from: i32) {
    let end = edge();
    out.ret("write, good", call!(SYS_write, to, end - 100, 100));
    out.ret("write, half good", call!(SYS_write, to, end - 100, 200));
    out.ret("write, bad", call!(SYS_write, to, end, 100));
    out.ret("read, half good", call!(SYS_read, from, end - 50, 100));
    out.ret("read, bad", call!(SYS_read, from, end, 10));
    out.ret("read after it", call!(SYS_read, from, end - 100, 100));
}

fn iov(pieces: &[(i64, i64)]) -> Vec<i64> {
    pieces.iter().flat_map(|&(base, len)| [base, len]).collect()
}

fn vectors(out: &mut Out, to: i32, from: i32) {
    let end = edge();
    let here = end - PAGE;
    let pieces = iov(&[(here, 10), (end - 5, 10), (here, 10)]);
    out.ret("writev, second half good", call!(SYS_writev, to, pieces.as_ptr(), 3));
    let pieces = iov(&[(end, 10), (here, 10)]);
    out.ret("writev, first bad", call!(SYS_writev, to, pieces.as_ptr(), 2));
    let pieces = iov(&[(here, 4), (0, 0), (end, 10)]);
    out.ret("writev, last bad", call!(SYS_writev, to, pieces.as_ptr(), 3));
    sys::write(to, &[7; 40]);
    let pieces = iov(&[(here, 10), (end - 5, 10), (here, 10)]);
    out.ret("readv, second half good", call!(SYS_readv, from, pieces.as_ptr(), 3));
    let pieces = iov(&[(end, 10), (here, 10)]);
    out.ret("readv, first bad", call!(SYS_readv, from, pieces.as_ptr(), 2));
}

pub(crate) const CASES: &[Case] = &[
    case("memory/efault-file", &["read", "write"], |out| {
        each_file(out, 0, |out, fd| {
            let reader = call!(SYS_open, sys::c(&format!("/proc/self/fd/{fd}")), libc::O_RDONLY) as i32;
            at_edge(out, fd, reader);
            out.ret("size", call!(SYS_lseek, fd, 0, libc::SEEK_END));
        });
    }),
    case("memory/efault-pipe", &["read", "write"], |out| {
        let (from, to) = sys::pipe();
        sys::write(to, &[1; 100]);
        call!(SYS_fcntl, from, libc::F_SETFL, libc::O_NONBLOCK);
        at_edge(out, to, from);
    }),
    case("memory/efault-vectors-file", &["readv", "writev"], |out| {
        each_file(out, 0, |out, fd| {
            let reader = call!(SYS_open, sys::c(&format!("/proc/self/fd/{fd}")), libc::O_RDONLY) as i32;
            vectors(out, fd, reader);
            out.ret("size", call!(SYS_lseek, fd, 0, libc::SEEK_END));
        });
    }),
    case("memory/efault-vectors-pipe", &["readv", "writev"], |out| {
        let (from, to) = sys::pipe();
        vectors(out, to, from);
    }),
    case("memory/efault-large-file-io", &["pread64", "pwrite64"], |out| {
        each_file(out, 16, |out, fd| {
            let base = room(20);
            put(base, 8, RW);
            out.ret("pread", call!(SYS_pread64, fd, base, 16 * PAGE, 0));
            out.say(peek(base + 7 * PAGE));
            out.ret("pwrite", call!(SYS_pwrite64, fd, base, 16 * PAGE, 8 * PAGE));
            let mut bytes = [0u8; 2];
            call!(SYS_pread64, fd, bytes.as_mut_ptr(), 2, 15 * PAGE);
            out.say(format_args!("{bytes:?}"));
            out.ret("size", call!(SYS_lseek, fd, 0, libc::SEEK_END));
            // From a place that is read-only, and to it.
            put(base, 1, PROT_READ);
            out.ret("pread to read-only", call!(SYS_pread64, fd, base, 10, 0));
            out.ret("pwrite from read-only", call!(SYS_pwrite64, fd, base, 10, 0));
        });
    }),
    case("memory/efault-odd-places", &["read", "write"], |out| {
        let (from, to) = sys::pipe();
        sys::write(to, &[1; 100]);
        out.ret("null", call!(SYS_read, from, 0, 1));
        out.ret("null, length 0", call!(SYS_read, from, 0, 0));
        out.ret("kernel", call!(SYS_read, from, -PAGE, 1));
        out.ret("kernel, length 0", call!(SYS_read, from, -PAGE, 0));
        out.ret("no address", call!(SYS_read, from, 1i64 << 60, 1));
        out.ret("the end of addresses", call!(SYS_read, from, (1i64 << 47) - 1, 2));
        out.ret("wraps around", call!(SYS_read, from, -1i64, 2));
        out.ret("huge length", call!(SYS_write, to, 0x1000, -1i64));
        let memory = edge();
        out.ret("huge length, good start", call!(SYS_read, from, memory - 10, i64::MAX));
        put(memory - PAGE, 1, PROT_NONE);
        out.ret("without rights", call!(SYS_read, from, memory - 10, 1));
        out.ret("write, null", call!(SYS_write, to, 0, 1));
        out.ret("write, null, length 0", call!(SYS_write, to, 0, 0));
    }),
    case("memory/efault-vector-arrays", &["readv", "writev", "preadv", "pwritev"], |out| {
        let fd = file("f", 1);
        let end = edge();
        out.ret("null array", call!(SYS_readv, fd, 0, 1));
        out.ret("null array, none", call!(SYS_readv, fd, 0, 0));
        out.ret("array at the edge", call!(SYS_readv, fd, end - 8, 1));
        out.ret("too many", call!(SYS_readv, fd, end - PAGE, 1025));
        out.ret("negative count", call!(SYS_readv, fd, end - PAGE, -1i64));
        let pieces = iov(&[(end - PAGE, -1)]);
        out.ret("negative length", call!(SYS_readv, fd, pieces.as_ptr(), 1));
        let pieces = iov(&[(end - PAGE, 10), (-PAGE, 10)]);
        out.ret("kernel address", call!(SYS_readv, fd, pieces.as_ptr(), 2));
        out.ret("the same to write", call!(SYS_writev, fd, pieces.as_ptr(), 2));
        let pieces = iov(&[(end - PAGE, 10), (-PAGE, 0)]);
        out.ret("kernel address, length 0", call!(SYS_writev, fd, pieces.as_ptr(), 2));
        let pieces = iov(&[(end - PAGE, i64::MAX), (end - PAGE, i64::MAX)]);
        out.ret("long pieces", call!(SYS_preadv, fd, pieces.as_ptr(), 2, 0, 0));
        let pieces = iov(&[(end - 10, 20)]);
        out.ret("preadv, half good", call!(SYS_preadv, fd, pieces.as_ptr(), 1, 0, 0));
        out.ret("pwritev, half good", call!(SYS_pwritev, fd, pieces.as_ptr(), 1, 0, 0));
    }),
    case("memory/efault-of-structures", &["clock_gettime", "pipe2", "wait4", "fstat", "uname"], |out| {
        let end = edge();
        for (name, place) in [("null", 0), ("edge", end - 4), ("kernel", -PAGE)] {
            out.say(name);
            out.ret("pipe2", call!(SYS_pipe2, place, 0));
            out.ret("fstat", call!(SYS_fstat, 1, place));
            out.ret("uname", call!(SYS_uname, place));
            out.ret("sysinfo", call!(SYS_sysinfo, place));
            out.ret("getrlimit", call!(SYS_getrlimit, libc::RLIMIT_AS, place));
            out.ret("rt_sigprocmask", call!(SYS_rt_sigprocmask, 0, place, 0, 8));
            out.ret("nanosleep", call!(SYS_nanosleep, place, 0));
            out.ret("open", call!(SYS_open, if place == end - 4 { fill(end) } else { place }, 0));
            out.ret("getcwd", call!(SYS_getcwd, place, 100));
            out.ret("getrandom", call!(SYS_getrandom, place, 8, 0));
            out.ret("poll", call!(SYS_poll, place, 1, 0));
        }
        // The descriptors that pipe2 could not tell of are not kept.
        let (from, _) = sys::pipe();
        out.say(from < 20);
    }),
    case("memory/efault-file-mapped", &["read", "write"], |out| {
        // From and to a mapping of a file, beyond whose end nothing is.
        let fd = file("f", 1);
        let base = room(2);
        fine(map(base, 2, RW, MAP_SHARED | MAP_FIXED, fd, 0));
        let (from, to) = sys::pipe();
        out.ret("write", call!(SYS_write, to, base + PAGE - 10, 20));
        out.ret("write, beyond", call!(SYS_write, to, base + PAGE, 20));
        sys::write(to, &[1; 20]);
        out.ret("read", call!(SYS_read, from, base + PAGE - 10, 20));
        out.ret("a file into itself", call!(SYS_pread64, fd, base + PAGE - 10, 20, 0));
        out.ret("out of itself", call!(SYS_pwrite64, fd, base, 10, 100));
    }),
    case("memory/membarrier", &["membarrier"], |out| {
        let call = |command: i64, flags: i64| call!(SYS_membarrier, command, flags, 0);
        let known = call(0, 0);
        out.say(format_args!("global and private expedited: {}", known & 0b11001 == 0b11001));
        out.ret("query with flags", call(0, 1));
        out.ret("unknown", call(1 << 20, 0));
        out.ret("unknown flag", call(1, 4));
        out.ret("global", call(1, 0));
        out.ret("private, not registered", call(8, 0));
        out.ret("register", call(16, 0));
        out.ret("private", call(8, 0));
        out.ret("register again", call(16, 0));
        out.ret("global expedited", call(2, 0));
        out.ret("register for it", call(4, 0));
        out.ret("sync core, not registered", call(32, 0));
        out.ret("register", call(64, 0));
        out.ret("sync core", call(32, 0));
        out.ret("registrations", call(512, 0) & 16);
        let child = sys::fork(|| -call!(SYS_membarrier, 8, 0, 0) as i32);
        out.say(sys::status(sys::wait(child)));
    }),
    case("memory/policy", &["get_mempolicy", "set_mempolicy", "mbind"], |out| {
        let base = room(2);
        put(base, 1, RW);
        let (mut mode, mut nodes) = (77i32, [0u64; 16]);
        let at = &raw mut mode;
        out.ret("get", call!(SYS_get_mempolicy, at, nodes.as_mut_ptr(), 1024, 0, 0));
        out.say(format_args!("{mode} {}", nodes[0]));
        out.ret("allowed", call!(SYS_get_mempolicy, 0, nodes.as_mut_ptr(), 1024, 0, 4));
        out.say(nodes[0]);
        out.ret("of an address", call!(SYS_get_mempolicy, at, 0, 0, base, 2));
        out.say(mode);
        out.ret("node of an address", call!(SYS_get_mempolicy, at, 0, 0, base, 3));
        out.say(mode);
        out.ret("of nothing", call!(SYS_get_mempolicy, at, 0, 0, base + PAGE, 2));
        out.ret("an address without the flag", call!(SYS_get_mempolicy, at, 0, 0, base, 0));
        out.ret("unknown flag", call!(SYS_get_mempolicy, at, 0, 0, 0, 8));
        out.ret("few bits", call!(SYS_get_mempolicy, at, nodes.as_mut_ptr(), 0, 0, 0));
        out.ret("bad place", call!(SYS_get_mempolicy, 8, 0, 0, 0, 0));
        let (one, none, far) = ([1u64], [0u64], [2u64]);
        let set = |mode: i64, nodes: &[u64]| call!(SYS_set_mempolicy, mode, nodes.as_ptr(), 64);
        out.ret("default", call!(SYS_set_mempolicy, 0, 0, 0));
        out.ret("default with nodes", set(0, &one));
        out.ret("unknown", set(77, &one));
        out.ret("bind", set(2, &one));
        out.ret("get", call!(SYS_get_mempolicy, at, nodes.as_mut_ptr(), 1024, 0, 0));
        out.say(format_args!("{mode} {}", nodes[0]));
        out.ret("bind to nothing", set(2, &none));
        out.ret("bind to a node that is not", set(2, &far));
        out.ret("preferred", set(1, &one));
        out.ret("preferred, none", call!(SYS_set_mempolicy, 1, 0, 0));
        out.ret("interleave", set(3, &one));
        out.ret("local", call!(SYS_set_mempolicy, 4, 0, 0));
        out.ret("bad nodes", call!(SYS_set_mempolicy, 2, 8, 64));
        out.ret("default", call!(SYS_set_mempolicy, 0, 0, 0));
        let bind = |addr: i64, len: i64, mode: i64, nodes: &[u64], flags: i64| {
            call!(SYS_mbind, addr, len, mode, nodes.as_ptr(), 64, flags)
        };
        out.ret("mbind", bind(base, PAGE, 2, &one, 0));
        out.ret("of an address", call!(SYS_get_mempolicy, at, nodes.as_mut_ptr(), 1024, base, 2));
        out.say(format_args!("{mode} {}", nodes[0]));
        out.ret("odd address", bind(base + 1, PAGE, 2, &one, 0));
        out.ret("a hole", bind(base, 2 * PAGE, 2, &one, 0));
        out.ret("unknown flag", bind(base, PAGE, 2, &one, 64));
        out.ret("move all", bind(base, PAGE, 2, &one, 4));
        out.ret("length 0", bind(base, 0, 2, &one, 0));
        out.ret("default", call!(SYS_mbind, base, PAGE, 0, 0, 0, 0));
    }),
    case("memory/not-in-a-container", &["userfaultfd", "pkey_alloc", "pkey_free", "pkey_mprotect"], |out| {
        let base = room(1);
        put(base, 1, RW);
        out.ret("userfaultfd", call!(SYS_userfaultfd, 0));
        out.ret("userfaultfd, unknown flag", call!(SYS_userfaultfd, 0x100));
        out.ret("pkey_alloc, flags", call!(SYS_pkey_alloc, 1, 0));
        out.ret("pkey_alloc, unknown rights", call!(SYS_pkey_alloc, 0, 8));
        out.ret("pkey_free", call!(SYS_pkey_free, 5));
        out.ret("pkey_mprotect, no key", call!(SYS_pkey_mprotect, base, PAGE, PROT_READ, -1));
        out.ret("pkey_mprotect, unknown key", call!(SYS_pkey_mprotect, base, PAGE, PROT_READ, 9));
        out.ret("pkey_mprotect, odd", call!(SYS_pkey_mprotect, base + 1, PAGE, PROT_READ, -1));
        out.ret("swapon", call!(SYS_swapon, sys::c("/x"), 0));
        out.ret("swapoff", call!(SYS_swapoff, sys::c("/x")));
    }),
];

/// A path without an end, up to the edge.
fn fill(end: i64) -> i64 {
    (1..=4).for_each(|back| crate::memory::poke(end - back, b'a'));
    end - 4
}
