//! mmap(2) and munmap(2) of anonymous memory.

use libc::{
    MAP_32BIT, MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_GROWSDOWN, MAP_HUGETLB, MAP_LOCKED,
    MAP_NORESERVE, MAP_POPULATE, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_STACK, MAP_SYNC,
    PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE,
};

use crate::{
    Case, case,
    memory::{
        ANON, PAGE, RW, Try, anon, attempt, core, fine, in_child, limit, map, peek, place, poke, put, room,
        shape, shared,
    },
    sys::{self, call},
};

pub(crate) const CASES: &[Case] = &[
    case("memory/mmap-errors", &["mmap"], |out| {
        out.ret("length 0", call!(SYS_mmap, 0, 0, RW, ANON, -1, 0));
        out.ret("length overflows", call!(SYS_mmap, 0, -1i64, RW, ANON, -1, 0));
        out.ret("length almost overflows", call!(SYS_mmap, 0, -4096i64, RW, ANON, -1, 0));
        out.ret("length of all", call!(SYS_mmap, 0, 1i64 << 47, RW, ANON, -1, 0));
        out.ret("no kind", map(0, 1, RW, MAP_ANONYMOUS, -1, 0));
        out.ret("unknown kind", map(0, 1, RW, MAP_ANONYMOUS | 4, -1, 0));
        out.ret("bad descriptor", map(0, 1, RW, MAP_PRIVATE, -1, 0));
        out.ret("bad descriptor, no kind", map(0, 1, RW, 0, -1, 0));
        out.ret("bad descriptor, length 0", map(0, 0, RW, MAP_PRIVATE, -1, 0));
        out.ret("odd offset", call!(SYS_mmap, 0, PAGE, RW, ANON, -1, 1));
        out.ret("odd offset, bad descriptor", call!(SYS_mmap, 0, PAGE, RW, MAP_PRIVATE, -1, 7));
        out.ok("unknown rights", map(0, 1, RW | 0x100, ANON, -1, 0));
        out.ok("unknown flags", map(0, 1, RW, ANON | 0x200_0000, -1, 0));
        out.ok("an offset", map(0, 1, RW, ANON, -1, 5));
        out.ok("a descriptor", map(0, 1, RW, ANON, 77, 0));
    }),
    case("memory/mmap-validate", &["mmap"], |out| {
        let kind = MAP_SHARED_VALIDATE | MAP_ANONYMOUS;
        out.ok("shared, validated", map(0, 1, RW, kind, -1, 0));
        out.ok("unknown flag", map(0, 1, RW, kind | 0x200_0000, -1, 0));
        out.ok("MAP_SYNC", map(0, 1, RW, kind | MAP_SYNC, -1, 0));
    }),
    case("memory/mmap-validate-file", &["mmap"], |out| {
        crate::memory::each_file(out, 1, |out, fd| {
            out.ok("validated", map(0, 1, RW, MAP_SHARED_VALIDATE, fd, 0));
            out.ret("unknown flag", map(0, 1, RW, MAP_SHARED_VALIDATE | 0x200_0000, fd, 0));
            out.ret("MAP_SYNC", map(0, 1, RW, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0));
            out.ok("MAP_SYNC, not validated", map(0, 1, RW, MAP_SHARED | MAP_SYNC, fd, 0));
        });
    }),
    case("memory/mmap-fixed", &["mmap"], |out| {
        let base = room(8);
        place(out, "into nothing", map(base, 4, RW, ANON | MAP_FIXED, -1, 0), base);
        poke(base + PAGE, 7);
        place(out, "over the middle", map(base + PAGE, 2, PROT_READ, ANON | MAP_FIXED, -1, 0), base);
        out.say(peek(base + PAGE));
        out.say(shape(base, 8));
        out.ret("odd address", call!(SYS_mmap, base + 1, PAGE, RW, ANON | MAP_FIXED, -1, 0));
        out.ret("at 0", map(0, 1, RW, ANON | MAP_FIXED, -1, 0));
        out.ret("at a low address", map(PAGE, 1, RW, ANON | MAP_FIXED, -1, 0));
        out.ret("in the kernel", map(-PAGE, 1, RW, ANON | MAP_FIXED, -1, 0));
    }),
    case("memory/mmap-fixed-noreplace", &["mmap"], |out| {
        let base = room(8);
        let flags = ANON | MAP_FIXED_NOREPLACE;
        place(out, "into nothing", map(base + PAGE, 2, RW, flags, -1, 0), base);
        out.ret("exactly there", map(base + PAGE, 2, RW, flags, -1, 0));
        out.ret("over its start", map(base, 2, RW, flags, -1, 0));
        out.ret("over its end", map(base + 2 * PAGE, 4, RW, flags, -1, 0));
        out.ret("around it", map(base, 8, RW, flags, -1, 0));
        place(out, "before it", map(base, 1, RW, flags, -1, 0), base);
        place(out, "after it", map(base + 3 * PAGE, 1, RW, flags, -1, 0), base);
        out.ret("with MAP_FIXED", map(base + PAGE, 2, PROT_READ, flags | MAP_FIXED, -1, 0));
        out.ret("odd address", call!(SYS_mmap, base + 5 * PAGE + 1, PAGE, RW, flags, -1, 0));
        out.ret("low address", map(PAGE, 1, RW, flags, -1, 0));
        out.say(shape(base, 8));
    }),
    case("memory/mmap-hint", &["mmap"], |out| {
        let base = room(8);
        place(out, "free", map(base, 2, RW, ANON, -1, 0), base);
        let other = map(base, 2, RW, ANON, -1, 0);
        out.say(format_args!("taken: elsewhere {}", other > 0 && other != base));
        place(out, "odd", call!(SYS_mmap, base + 4 * PAGE + 5, PAGE, RW, ANON, -1, 0), base);
        out.say(shape(base, 8));
        out.ok("in the kernel", map(-4 * PAGE, 1, RW, ANON, -1, 0));
        out.ok("low", map(PAGE, 1, RW, ANON, -1, 0));
    }),
    case("memory/mmap-32bit", &["mmap"], |out| {
        let low = map(0, 16, RW, ANON | MAP_32BIT, -1, 0);
        out.say(format_args!("in the first 2 GiB: {}", low > 0 && low < 1 << 31));
        let base = room(2);
        place(out, "a hint is taken", map(base, 1, RW, ANON | MAP_32BIT, -1, 0), base);
        out.ret("too long", map(0, (1 << 31) / PAGE, PROT_NONE, ANON | MAP_32BIT | MAP_NORESERVE, -1, 0));
    }),
    case("memory/mmap-neighbours-join", &["mmap", "munmap"], |out| {
        let base = room(8);
        put(base, 1, RW);
        put(base + PAGE, 1, RW);
        put(base + 3 * PAGE, 1, RW);
        out.say(shape(base, 8));
        put(base + 2 * PAGE, 1, RW);
        out.say(shape(base, 8));
        put(base + 4 * PAGE, 1, PROT_READ);
        put(base + 5 * PAGE, 1, PROT_NONE);
        put(base + 6 * PAGE, 1, PROT_READ | PROT_EXEC);
        out.say(shape(base, 8));
        call!(SYS_munmap, base + PAGE, PAGE);
        out.say(shape(base, 8));
    }),
    case("memory/mmap-zeroes", &["mmap"], |out| {
        let base = anon(64);
        out.say((0..64).all(|page| peek(base + page * PAGE) == 0 && peek(base + page * PAGE + 4095) == 0));
        (0..64).for_each(|page| poke(base + page * PAGE, 9));
        call!(SYS_munmap, base, 64 * PAGE);
        fine(map(base, 64, RW, ANON | MAP_FIXED, -1, 0));
        out.say((0..64).all(|page| peek(base + page * PAGE) == 0));
    }),
    case("memory/mmap-prot-none", &["mmap"], |out| {
        let base = room(2);
        put(base, 1, PROT_NONE);
        attempt(out, "read", base, Try::Read);
        attempt(out, "write", base + 8, Try::Write);
        attempt(out, "next page", base + PAGE, Try::Read);
    }),
    case("memory/mmap-rights", &["mmap"], |out| {
        for (name, prot) in [
            ("none", PROT_NONE),
            ("read", PROT_READ),
            ("write", PROT_WRITE),
            ("read write", RW),
            ("read exec", PROT_READ | PROT_EXEC),
            ("all", RW | PROT_EXEC),
        ] {
            let base = room(1);
            put(base, 1, RW);
            poke(base, 0xc3);
            call!(SYS_mprotect, base, PAGE, prot);
            out.say(format_args!("{name} {}", shape(base, 1)));
            attempt(out, "read", base, Try::Read);
            attempt(out, "exec", base, Try::Exec);
            attempt(out, "write", base, Try::Write);
        }
    }),
    case("memory/mmap-write-and-execute", &["mmap"], |out| {
        let base = fine(map(0, 1, RW | PROT_EXEC, ANON, -1, 0));
        out.say(shape(base, 1));
        poke(base, 0xc3);
        attempt(out, "run", base, Try::Exec);
        // A change of the code is seen.
        poke(base, 0x90);
        poke(base + 1, 0xc3);
        attempt(out, "run again", base, Try::Exec);
    }),
    case("memory/mmap-populate", &["mmap", "mincore"], |out| {
        let base = fine(map(0, 8, RW, ANON | MAP_POPULATE, -1, 0));
        out.say(core(base, 8));
        let base = fine(map(0, 8, PROT_READ, ANON | MAP_POPULATE, -1, 0));
        out.say(core(base, 8));
        let base = fine(map(0, 8, PROT_NONE, ANON | MAP_POPULATE, -1, 0));
        out.say(core(base, 8));
        let base = fine(map(0, 8, RW, ANON | MAP_POPULATE | libc::MAP_NONBLOCK, -1, 0));
        out.say(core(base, 8));
        let base = fine(map(0, 8, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
        out.say(core(base, 8));
    }),
    case("memory/mmap-locked", &["mmap"], |out| {
        let base = fine(map(0, 8, RW, ANON | MAP_LOCKED, -1, 0));
        out.say(core(base, 8));
        out.ret("DONTNEED", call!(SYS_madvise, base, PAGE, libc::MADV_DONTNEED));
        in_child(out, |out| {
            crate::memory::drop_capabilities();
            out.ret("limit", limit(libc::RLIMIT_MEMLOCK, 4 * PAGE as u64));
            out.ok("4 pages", map(0, 4, RW, ANON | MAP_LOCKED, -1, 0));
            out.ret("one more", map(0, 1, RW, ANON | MAP_LOCKED, -1, 0));
            out.ret("no limit at all", limit(libc::RLIMIT_MEMLOCK, 0));
            out.ret("MAP_LOCKED", map(0, 1, RW, ANON | MAP_LOCKED, -1, 0));
        });
    }),
    case("memory/mmap-flags-without-effect", &["mmap"], |out| {
        for (name, flag) in [
            ("MAP_STACK", MAP_STACK),
            ("MAP_NORESERVE", MAP_NORESERVE),
            ("MAP_DENYWRITE", libc::MAP_DENYWRITE),
            ("MAP_EXECUTABLE", libc::MAP_EXECUTABLE),
        ] {
            let base = map(0, 1, RW, ANON | flag, -1, 0);
            out.ok(name, base);
            poke(base, 1);
        }
    }),
    case("memory/mmap-huge-pages", &["mmap"], |out| {
        out.ret("none reserved", map(0, 512, RW, ANON | MAP_HUGETLB, -1, 0));
        out.ret("an odd size", map(0, 512, RW, ANON | MAP_HUGETLB | 13 << 26, -1, 0));
        let fd = crate::memory::file("f", 1);
        out.ret("of a file", map(0, 512, RW, MAP_PRIVATE | MAP_HUGETLB, fd, 0));
    }),
    case("memory/mmap-growsdown", &["mmap"], |out| {
        let base = room(400);
        let top = base + 400 * PAGE;
        place(out, "made", map(top - PAGE, 1, RW, ANON | MAP_FIXED | MAP_GROWSDOWN, -1, 0), top);
        poke(top - 2 * PAGE, 1);
        poke(top - 5 * PAGE, 1);
        out.say(format_args!("grown by touching: {}", shape(top - 8 * PAGE, 8)));
        put(base, 1, RW);
        attempt(out, "in the gap below", base + 20 * PAGE, Try::Write);
        out.ret("shared", map(0, 1, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0));
    }),
    case("memory/mmap-no-overcommit", &["mmap"], |out| {
        out.ok("1 TiB not reserved", map(0, 1 << 28, RW, ANON | MAP_NORESERVE, -1, 0));
        out.ok("1 TiB without rights", map(0, 1 << 28, PROT_NONE, ANON, -1, 0));
        out.ret("64 TiB", map(0, 1 << 34, RW, ANON, -1, 0));
        out.ret("200 TiB", map(0, 50 << 30, RW, ANON | MAP_NORESERVE, -1, 0));
    }),
    case("memory/mmap-address-space-limit", &["mmap", "mremap", "brk", "prlimit64"], |out| {
        in_child(out, |out| {
            let base = anon(4);
            out.ret("limit", limit(libc::RLIMIT_AS, 0));
            out.ret("mmap", map(0, 1, RW, ANON, -1, 0));
            out.ret("without rights", map(0, 1, PROT_NONE, ANON, -1, 0));
            place(out, "over itself", map(base, 1, RW, ANON | MAP_FIXED, -1, 0), base);
            out.ret("mremap", call!(SYS_mremap, base, PAGE, 8 * PAGE, libc::MREMAP_MAYMOVE));
            place(out, "shrink", call!(SYS_mremap, base, 4 * PAGE, PAGE, 0), base);
            let end = call!(SYS_brk, 0);
            out.say(call!(SYS_brk, end + 4 * PAGE) == end);
        });
    }),
    case("memory/mmap-data-limit", &["mmap", "mprotect", "brk", "prlimit64"], |out| {
        in_child(out, |out| {
            let end = call!(SYS_brk, 0);
            let none = fine(map(0, 1, PROT_NONE, ANON, -1, 0));
            out.ret("limit", limit(libc::RLIMIT_DATA, PAGE as u64));
            out.ret("private, writable", map(0, 1, RW, ANON, -1, 0));
            out.ok("private, read-only", map(0, 1, PROT_READ, ANON, -1, 0));
            out.ok("shared", map(0, 1, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
            out.ret("made writable", call!(SYS_mprotect, none, PAGE, RW));
            out.say(call!(SYS_brk, end + 4 * PAGE) == end);
        });
    }),
    case("memory/munmap-errors", &["munmap"], |out| {
        let base = anon(4);
        out.ret("odd address", call!(SYS_munmap, base + 1, PAGE));
        out.ret("length 0", call!(SYS_munmap, base, 0));
        out.ret("overflow", call!(SYS_munmap, base, -PAGE));
        out.ret("in the kernel", call!(SYS_munmap, -PAGE, PAGE));
        out.ret("odd length", call!(SYS_munmap, base, 1));
        attempt(out, "first page", base, Try::Read);
        attempt(out, "second page", base + PAGE, Try::Read);
        out.ret("again", call!(SYS_munmap, base, PAGE));
        out.ret("low", call!(SYS_munmap, 0, PAGE));
    }),
    case("memory/munmap-holes", &["munmap"], |out| {
        let base = room(12);
        put(base, 12, RW);
        (0..12).for_each(|page| poke(base + page * PAGE, page as u8 + 1));
        out.ret("the middle", call!(SYS_munmap, base + 4 * PAGE, 2 * PAGE));
        out.say(shape(base, 12));
        out.ret("the start", call!(SYS_munmap, base, PAGE));
        out.ret("the end", call!(SYS_munmap, base + 11 * PAGE, PAGE));
        out.ret("across a hole", call!(SYS_munmap, base + 3 * PAGE, 4 * PAGE));
        out.say(shape(base, 12));
        for page in [1, 2, 7, 10] {
            out.say(peek(base + page * PAGE));
        }
        for page in [0, 3, 4, 6, 11] {
            attempt(out, "gone", base + page * PAGE, Try::Read);
        }
    }),
    case("memory/mmap-shared-anonymous", &["mmap", "clone"], |out| {
        let base = shared(4);
        poke(base, 1);
        in_child(out, |out| {
            out.say(format_args!("child sees {}", peek(base)));
            poke(base, 2);
            poke(base + PAGE, 3);
            in_child(out, |_| poke(base + 2 * PAGE, 4));
        });
        out.say([0, 1, 2, 3].map(|page| peek(base + page * PAGE)).map(|byte| byte.to_string()).join(" "));
        call!(SYS_munmap, base, PAGE);
        out.say(peek(base + PAGE));
        attempt(out, "gone", base, Try::Read);
    }),
    case("memory/mmap-dev-zero", &["mmap", "open"], |out| {
        let fd = call!(SYS_open, sys::c("/dev/zero"), libc::O_RDWR) as i32;
        for (name, kind) in [("private", MAP_PRIVATE), ("shared", MAP_SHARED)] {
            let base = map(0, 2, RW, kind, fd, 0);
            out.ok(name, base);
            if base > 0 {
                out.say(peek(base));
                in_child(out, |_| poke(base, 5));
                out.say(format_args!("after the child's write: {}", peek(base)));
            }
        }
        let full = call!(SYS_open, sys::c("/dev/full"), libc::O_RDWR) as i32;
        out.ok("/dev/full", map(0, 1, RW, MAP_PRIVATE, full, 0));
        let null = call!(SYS_open, sys::c("/dev/null"), libc::O_RDWR) as i32;
        out.ret("/dev/null", map(0, 1, RW, MAP_PRIVATE, null, 0));
        let random = call!(SYS_open, sys::c("/dev/urandom"), libc::O_RDONLY) as i32;
        out.ret("/dev/urandom", map(0, 1, PROT_READ, MAP_PRIVATE, random, 0));
    }),
    case("memory/mmap-what-cannot-be-mapped", &["mmap"], |out| {
        let (from, to) = sys::pipe();
        out.ret("a pipe", map(0, 1, PROT_READ, MAP_PRIVATE, from, 0));
        out.ret("a pipe's write end", map(0, 1, PROT_WRITE, MAP_PRIVATE, to, 0));
        let dir = call!(SYS_open, sys::c("."), libc::O_RDONLY) as i32;
        out.ret("a directory", map(0, 1, PROT_READ, MAP_PRIVATE, dir, 0));
        let root = call!(SYS_open, sys::c("/"), libc::O_RDONLY) as i32;
        out.ret("the root", map(0, 1, PROT_READ, MAP_PRIVATE, root, 0));
        let event = call!(SYS_eventfd2, 0, 0) as i32;
        out.ret("an eventfd", map(0, 1, RW, MAP_SHARED, event, 0));
        let epoll = call!(SYS_epoll_create1, 0) as i32;
        out.ret("an epoll", map(0, 1, RW, MAP_SHARED, epoll, 0));
        let proc = call!(SYS_open, sys::c("/proc/self/status"), libc::O_RDONLY) as i32;
        out.ret("a file of /proc", map(0, 1, PROT_READ, MAP_PRIVATE, proc, 0));
        crate::memory::file("f", 1);
        let path = call!(SYS_open, sys::c("f"), libc::O_PATH) as i32;
        out.ret("O_PATH", map(0, 1, PROT_READ, MAP_PRIVATE, path, 0));
    }),
];
