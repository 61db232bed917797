//! memfd_create(2) and seals; memory of other processes.

use libc::{
    F_ADD_SEALS, F_GET_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, MAP_PRIVATE, MAP_SHARED,
    MFD_ALLOW_SEALING, MFD_CLOEXEC, PROT_NONE, PROT_READ,
};

use crate::{
    Case, Out, case,
    memory::{PAGE, RW, Try, anon, attempt, fine, in_child, map, peek, poke, put, room, shape},
    sys::{self, call},
};

const F_SEAL_FUTURE_WRITE: i32 = 16;

fn memfd(flags: u32) -> i32 {
    let fd = call!(SYS_memfd_create, sys::c("case"), flags);
    assert!(fd >= 0, "memfd_create: {fd}");
    fd as i32
}

fn seal(fd: i32, seals: i32) -> i64 {
    call!(SYS_fcntl, fd, F_ADD_SEALS, seals)
}

fn seals(fd: i32) -> i64 {
    call!(SYS_fcntl, fd, F_GET_SEALS)
}

fn iov(pieces: &[(i64, i64)]) -> Vec<i64> {
    pieces.iter().flat_map(|&(base, len)| [base, len]).collect()
}

/// process_vm_readv(2) or process_vm_writev(2).
fn vm(out: &mut Out, what: &str, write: bool, pid: i32, local: &[(i64, i64)], remote: &[(i64, i64)]) {
    let (number, l, r) = (
        if write { libc::SYS_process_vm_writev } else { libc::SYS_process_vm_readv },
        iov(local),
        iov(remote),
    );
    let args = [pid.into(), l.as_ptr() as i64, local.len() as i64, r.as_ptr() as i64, remote.len() as i64, 0];
    out.ret(what, sys::raw(number, &args));
}

/// What each seal forbids.
fn effects(out: &mut Out, fd: i32) {
    out.ret("pwrite", call!(SYS_pwrite64, fd, b"abc".as_ptr(), 3, 10));
    out.ret("pwrite over the end", call!(SYS_pwrite64, fd, b"abcd".as_ptr(), 4, 2 * PAGE - 2));
    out.ret("pwrite at the end", call!(SYS_pwrite64, fd, b"abcd".as_ptr(), 4, 2 * PAGE));
    out.ret("grow", call!(SYS_ftruncate, fd, 3 * PAGE));
    out.ret("shrink", call!(SYS_ftruncate, fd, PAGE));
    out.ret("same size", call!(SYS_ftruncate, fd, PAGE));
    out.ret("fallocate inside", call!(SYS_fallocate, fd, 0, 0, PAGE));
    out.ret("fallocate beyond", call!(SYS_fallocate, fd, 0, 0, 4 * PAGE));
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    out.ret("punch", call!(SYS_fallocate, fd, punch, 0, PAGE));
    out.ok("map shared rw", map(0, 1, RW, MAP_SHARED, fd, 0));
    let base = map(0, 1, PROT_READ, MAP_SHARED, fd, 0);
    out.ok("map shared r", base);
    if base > 0 {
        out.ret("then rw", call!(SYS_mprotect, base, PAGE, RW));
    }
    out.ok("map private rw", map(0, 1, RW, MAP_PRIVATE, fd, 0));
}

pub(crate) const CASES: &[Case] = &[
    case("memory/memfd", &["memfd_create"], |out| {
        let fd = memfd(0);
        let mut stat = [0u64; 18];
        out.ret("fstat", call!(SYS_fstat, fd, stat.as_mut_ptr()));
        out.say(format_args!("links {} mode {:o} size {}", stat[2], stat[3] as u32, stat[6]));
        out.ret("flags", call!(SYS_fcntl, fd, libc::F_GETFL));
        out.ret("descriptor flags", call!(SYS_fcntl, fd, libc::F_GETFD));
        out.ret("close-on-exec", call!(SYS_fcntl, memfd(MFD_CLOEXEC), libc::F_GETFD));
        out.ret("seals", seals(fd));
        out.ret("seals when allowed", seals(memfd(MFD_ALLOW_SEALING)));
        out.ret("write", sys::write(fd, b"hello"));
        out.ret("seek", call!(SYS_lseek, fd, 0, 0));
        let mut bytes = [0; 8];
        out.ret("read", sys::read(fd, &mut bytes));
        out.say(format_args!("{:?}", std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()));
        let other = call!(SYS_open, sys::c(&format!("/proc/self/fd/{fd}")), libc::O_RDONLY) as i32;
        out.ret("read through /proc", call!(SYS_pread64, other, bytes.as_mut_ptr(), 8, 1));
        let base = map(0, 1, RW, MAP_SHARED, fd, 0);
        out.say(peek(base));
        out.say(shape(base, 1));
        poke(base, b'j');
        call!(SYS_pread64, fd, bytes.as_mut_ptr(), 1, 0);
        out.say(bytes[0]);
    }),
    case("memory/memfd-errors", &["memfd_create", "fcntl"], |out| {
        out.ret("unknown flag", call!(SYS_memfd_create, sys::c("a"), 0x100));
        out.ret("bad name", call!(SYS_memfd_create, 8, 0));
        out.ok("empty name", call!(SYS_memfd_create, sys::c(""), 0));
        out.ok("longest name", call!(SYS_memfd_create, sys::c(&"n".repeat(249)), 0));
        out.ret("too long", call!(SYS_memfd_create, sys::c(&"n".repeat(250)), 0));
        out.ok("with a slash", call!(SYS_memfd_create, sys::c("a/b"), 0));
        out.ret("exec and not", call!(SYS_memfd_create, sys::c("a"), 8 | 16));
        let (from, _) = sys::pipe();
        out.ret("seals of a pipe", seals(from));
        let fd = crate::memory::file("f", 1);
        out.ret("seals of a file", seals(fd));
        out.ret("sealing a file", seal(fd, F_SEAL_SEAL));
        let fd = memfd(0);
        out.ret("sealing what was not to be", seal(fd, F_SEAL_GROW));
        let fd = memfd(MFD_ALLOW_SEALING);
        out.ret("unknown seal", seal(fd, 0x100));
        out.ret("no seal", seal(fd, 0));
        let reader = call!(SYS_open, sys::c(&format!("/proc/self/fd/{fd}")), libc::O_RDONLY) as i32;
        out.ret("through a reader", seal(reader, F_SEAL_GROW));
        out.ret("seals", seals(fd));
    }),
    case("memory/memfd-noexec", &["memfd_create", "fcntl", "fchmod"], |out| {
        for (name, flags) in [("NOEXEC_SEAL", 8), ("EXEC", 16)] {
            let fd = memfd(flags);
            let mut stat = [0u64; 18];
            call!(SYS_fstat, fd, stat.as_mut_ptr());
            out.say(format_args!("{name} mode {:o}", stat[3] as u32));
            out.ret("seals", seals(fd));
            out.ret("make executable", call!(SYS_fchmod, fd, 0o755));
            out.ret("make readable", call!(SYS_fchmod, fd, 0o644));
        }
    }),
    case("memory/memfd-seal-each", &["memfd_create", "fcntl", "fallocate", "ftruncate"], |out| {
        for (name, set) in [
            ("none", 0),
            ("SHRINK", F_SEAL_SHRINK),
            ("GROW", F_SEAL_GROW),
            ("WRITE", F_SEAL_WRITE),
            ("FUTURE_WRITE", F_SEAL_FUTURE_WRITE),
            ("SHRINK GROW", F_SEAL_SHRINK | F_SEAL_GROW),
        ] {
            let fd = memfd(MFD_ALLOW_SEALING);
            call!(SYS_ftruncate, fd, 2 * PAGE);
            out.ret(name, seal(fd, set));
            out.ret("seals", seals(fd));
            effects(out, fd);
        }
    }),
    case("memory/memfd-seal-seal", &["fcntl"], |out| {
        let fd = memfd(MFD_ALLOW_SEALING);
        out.ret("GROW", seal(fd, F_SEAL_GROW));
        out.ret("SEAL", seal(fd, F_SEAL_SEAL));
        out.ret("SHRINK", seal(fd, F_SEAL_SHRINK));
        out.ret("the same", seal(fd, F_SEAL_GROW));
        out.ret("seals", seals(fd));
    }),
    case("memory/memfd-seal-while-mapped", &["fcntl", "munmap"], |out| {
        let fd = memfd(MFD_ALLOW_SEALING);
        call!(SYS_ftruncate, fd, PAGE);
        let read_only = fine(map(0, 1, PROT_READ, MAP_SHARED, fd, 0));
        let base = fine(map(0, 1, RW, MAP_SHARED, fd, 0));
        out.ret("WRITE, mapped to write", seal(fd, F_SEAL_WRITE));
        out.ret("FUTURE_WRITE", seal(fd, F_SEAL_FUTURE_WRITE));
        poke(base, 7);
        out.say(peek(read_only));
        out.ret("the old one, again rw", call!(SYS_mprotect, base, PAGE, RW));
        out.ret("made read-only", call!(SYS_mprotect, base, PAGE, PROT_READ));
        out.ret("still", seal(fd, F_SEAL_WRITE));
        call!(SYS_munmap, base, PAGE);
        let other = memfd(MFD_ALLOW_SEALING);
        call!(SYS_ftruncate, other, PAGE);
        let base = fine(map(0, 1, RW, MAP_SHARED, other, 0));
        out.ret("WRITE", seal(other, F_SEAL_WRITE));
        call!(SYS_munmap, base, PAGE);
        out.ret("after munmap", seal(other, F_SEAL_WRITE));
        fine(map(0, 1, RW, MAP_PRIVATE, other, 0));
    }),
    case("memory/memfd-shared-with-child", &["memfd_create", "clone"], |out| {
        let fd = memfd(0);
        call!(SYS_ftruncate, fd, PAGE);
        in_child(out, |_| poke(fine(map(0, 1, RW, MAP_SHARED, fd, 0)), 5));
        out.say(peek(fine(map(0, 1, PROT_READ, MAP_SHARED, fd, 0))));
    }),
    case("memory/memfd-truncated", &["memfd_create", "ftruncate"], |out| {
        let fd = memfd(0);
        call!(SYS_ftruncate, fd, 2 * PAGE);
        let base = fine(map(0, 2, RW, MAP_SHARED, fd, 0));
        poke(base + PAGE, 1);
        call!(SYS_ftruncate, fd, PAGE);
        attempt(out, "beyond", base + PAGE, Try::Read);
        call!(SYS_ftruncate, fd, 2 * PAGE);
        out.say(peek(base + PAGE));
    }),
    case("memory/vm-own", &["process_vm_readv", "process_vm_writev"], |out| {
        let base = anon(4);
        let text = b"0123456789";
        let (from, to) = (text.as_ptr() as i64, base);
        vm(out, "read", false, sys::getpid(), &[(to, 10)], &[(from, 10)]);
        out.say((0..10).map(|at| peek(base + at) as char).collect::<String>());
        vm(
            out,
            "pieces",
            false,
            sys::getpid(),
            &[(to, 3), (to + 100, 4)],
            &[(from + 5, 1), (from, 2), (from + 7, 3)],
        );
        out.say([0, 1, 2, 100, 101, 102, 103].map(|at| peek(base + at) as char).iter().collect::<String>());
        vm(out, "local shorter", false, sys::getpid(), &[(to, 3)], &[(from, 10)]);
        vm(out, "remote shorter", false, sys::getpid(), &[(to, 30)], &[(from, 10)]);
        vm(out, "nothing", false, sys::getpid(), &[], &[]);
        vm(out, "no local", false, sys::getpid(), &[], &[(from, 1)]);
        vm(out, "write", true, sys::getpid(), &[(from, 10)], &[(to + PAGE, 10)]);
        out.say(peek(base + PAGE + 9) as char);
    }),
    case("memory/vm-child", &["process_vm_readv", "process_vm_writev"], |out| {
        let base = anon(2);
        poke(base, 1);
        let (from, to) = sys::pipe();
        let (ready, set) = sys::pipe();
        let child = sys::fork(|| {
            poke(base, 9);
            sys::write(set, &[0]);
            sys::read(from, &mut [0]);
            peek(base + 1).into()
        });
        sys::read(ready, &mut [0]);
        let here = anon(1);
        poke(here + 1, 44);
        vm(out, "read", false, child, &[(here, 1)], &[(base, 1)]);
        out.say(format_args!("{} here {}", peek(here), peek(base)));
        vm(out, "write", true, child, &[(here + 1, 1)], &[(base + 1, 1)]);
        sys::write(to, &[0]);
        out.say(sys::status(sys::wait(child)));
        out.say(peek(base + 1));
        vm(out, "when it is gone", false, child, &[(here, 1)], &[(base, 1)]);
    }),
    case("memory/vm-partial", &["process_vm_readv", "process_vm_writev"], |out| {
        let base = room(4);
        put(base, 1, RW);
        let here = anon(4);
        let me = sys::getpid();
        vm(out, "over the end of the area", false, me, &[(here, 200)], &[(base + PAGE - 100, 200)]);
        vm(out, "second piece bad", false, me, &[(here, 200)], &[(base, 100), (base + PAGE, 100)]);
        vm(out, "first piece bad", false, me, &[(here, 200)], &[(base + PAGE, 100), (base, 100)]);
        vm(out, "local bad", false, me, &[(base + PAGE, 10)], &[(here, 10)]);
        vm(out, "local partly bad", false, me, &[(base + PAGE - 10, 20)], &[(here, 20)]);
        call!(SYS_mprotect, base, PAGE, PROT_READ);
        vm(out, "write to read-only", true, me, &[(here, 10)], &[(base, 10)]);
        call!(SYS_mprotect, base, PAGE, PROT_NONE);
        vm(out, "read without rights", false, me, &[(here, 10)], &[(base, 10)]);
        vm(out, "kernel address", false, me, &[(here, 10)], &[(-PAGE, 10)]);
        vm(out, "local kernel address", false, me, &[(-PAGE, 10)], &[(here, 10)]);
    }),
    case("memory/vm-errors", &["process_vm_readv", "process_vm_writev"], |out| {
        let base = anon(1);
        let good = [base, 1];
        let me = sys::getpid();
        let read = |pid: i32, l: i64, ln: i64, r: i64, rn: i64, flags: i64| {
            call!(SYS_process_vm_readv, pid, l, ln, r, rn, flags)
        };
        let at = good.as_ptr() as i64;
        out.ret("flags", read(me, at, 1, at, 1, 1));
        out.ret("no such process", read(0x3fff_ffff, at, 1, at, 1, 0));
        out.ret("process 0", read(0, at, 1, at, 1, 0));
        out.ret("negative process", read(-1, at, 1, at, 1, 0));
        out.ret("bad local array", read(me, 8, 1, at, 1, 0));
        out.ret("bad remote array", read(me, at, 1, 8, 1, 0));
        out.ret("too many local", read(me, at, 1025, at, 1, 0));
        out.ret("too many remote", read(me, at, 1, at, 1025, 0));
        out.ret("no such process, nothing to do", read(0x3fff_ffff, at, 0, at, 1, 0));
        let negative = [base, -1];
        out.ret("negative local", read(me, negative.as_ptr() as i64, 1, at, 1, 0));
        out.ret("negative remote", read(me, at, 1, negative.as_ptr() as i64, 1, 0));
        in_child(out, |out| {
            let parent = call!(SYS_getppid);
            call!(SYS_setresuid, 1000, 1000, 1000);
            out.ret("another user's", read(parent as i32, at, 1, at, 1, 0));
        });
    }),
];
