//! madvise(2), mlock(2) and its family, mincore(2).

use libc::{
    MADV_DONTNEED, MAP_ANONYMOUS, MAP_FIXED, MAP_GROWSDOWN, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ,
};

use crate::{
    Case, case,
    memory::{
        ANON, PAGE, RW, Try, anon, attempt, core, drop_capabilities, file, fine, in_child, limit, map, peek,
        poke, proc_kb, put, room, shape, shared,
    },
    sys::call,
};

fn advise(addr: i64, pages: i64, advice: i32) -> i64 {
    call!(SYS_madvise, addr, pages * PAGE, advice)
}

/// Private memory with something in each of some pages, and nothing around it.
fn filled(pages: i64) -> i64 {
    let base = room(pages + 2);
    put(base, pages, RW);
    (0..pages).for_each(|page| poke(base + page * PAGE, page as u8 + 1));
    base
}

fn firsts(base: i64, pages: i64) -> String {
    (0..pages).map(|page| peek(base + page * PAGE).to_string()).collect::<Vec<_>>().join(" ")
}

pub(crate) const CASES: &[Case] = &[
    case("memory/madvise-errors", &["madvise"], |out| {
        let base = filled(2);
        out.ret("odd address", call!(SYS_madvise, base + 1, PAGE, MADV_DONTNEED));
        out.ret("unknown", advise(base, 1, 7));
        out.ret("unknown, large", advise(base, 1, 12345));
        out.ret("unknown, unmapped", advise(base + 2 * PAGE, 1, 12345));
        out.ret("length 0", advise(base, 0, MADV_DONTNEED));
        out.ret("length 0, unmapped", advise(base + 2 * PAGE, 0, MADV_DONTNEED));
        out.ret("length 0, unknown", advise(base, 0, 12345));
        out.ret("overflow", call!(SYS_madvise, base, -PAGE, MADV_DONTNEED));
        out.ret("huge length", call!(SYS_madvise, base, -1i64, MADV_DONTNEED));
        out.ret("unmapped", advise(base + 2 * PAGE, 1, MADV_DONTNEED));
        out.ret("low", advise(0, 1, MADV_DONTNEED));
        out.ret("across a hole", advise(base, 3, MADV_DONTNEED));
        out.say(firsts(base, 2));
        out.ret("hwpoison", advise(base, 1, 100));
        out.ret("soft offline", advise(base, 1, 101));
    }),
    case("memory/madvise-each", &["madvise"], |out| {
        let base = filled(2);
        for (name, advice) in [
            ("NORMAL", 0),
            ("RANDOM", 1),
            ("SEQUENTIAL", 2),
            ("WILLNEED", 3),
            ("DONTDUMP", 16),
            ("DODUMP", 17),
            ("COLD", 20),
            ("PAGEOUT", 21),
            ("POPULATE_READ", 22),
            ("POPULATE_WRITE", 23),
            ("guard install and remove", 7),
        ] {
            out.ret(name, advise(base, 2, advice));
            out.ret("with a hole", advise(base, 3, advice));
            out.say(firsts(base, 2));
        }
    }),
    case("memory/madvise-dontneed", &["madvise"], |out| {
        let base = filled(4);
        out.ret("two", advise(base + PAGE, 2, MADV_DONTNEED));
        out.say(core(base, 4));
        out.say(firsts(base, 4));
        out.ret("odd length", call!(SYS_madvise, base, 1, MADV_DONTNEED));
        out.say(firsts(base, 4));
        let memory = shared(2);
        poke(memory, 5);
        out.ret("shared", advise(memory, 2, MADV_DONTNEED));
        out.say(firsts(memory, 2));
        let read_only = filled(1);
        call!(SYS_mprotect, read_only, PAGE, PROT_READ);
        out.ret("read-only", advise(read_only, 1, MADV_DONTNEED));
        out.say(peek(read_only));
        let none = filled(1);
        call!(SYS_mprotect, none, PAGE, PROT_NONE);
        out.ret("without rights", advise(none, 1, MADV_DONTNEED));
        call!(SYS_mprotect, none, PAGE, RW);
        out.say(peek(none));
    }),
    case("memory/madvise-dontneed-after-fork", &["madvise", "clone"], |out| {
        let base = filled(2);
        in_child(out, |out| {
            out.ret("in the child", advise(base, 2, MADV_DONTNEED));
            out.say(firsts(base, 2));
        });
        out.say(firsts(base, 2));
    }),
    case("memory/madvise-dontneed-locked", &["madvise", "mlock"], |out| {
        const DONTNEED_LOCKED: i32 = 24;
        let base = filled(3);
        out.ret("lock", call!(SYS_mlock, base + PAGE, PAGE));
        out.ret("DONTNEED", advise(base + PAGE, 1, MADV_DONTNEED));
        out.ret("DONTNEED all", advise(base, 3, MADV_DONTNEED));
        out.say(firsts(base, 3));
        out.ret("FREE", advise(base + PAGE, 1, libc::MADV_FREE));
        out.ret("COLD", advise(base + PAGE, 1, libc::MADV_COLD));
        out.ret("PAGEOUT", advise(base + PAGE, 1, libc::MADV_PAGEOUT));
        out.ret("DONTNEED_LOCKED", advise(base + PAGE, 1, DONTNEED_LOCKED));
        out.say(firsts(base, 3));
    }),
    case("memory/madvise-free", &["madvise"], |out| {
        let base = filled(2);
        out.ret("private", advise(base, 1, libc::MADV_FREE));
        // A write keeps the page; without one it may stay or be empty.
        poke(base, 9);
        out.say(firsts(base, 2));
        out.ret("with a hole", advise(base, 3, libc::MADV_FREE));
        let memory = shared(1);
        out.ret("shared", advise(memory, 1, libc::MADV_FREE));
        let fd = file("f", 1);
        out.ret("private file", advise(fine(map(0, 1, RW, MAP_PRIVATE, fd, 0)), 1, libc::MADV_FREE));
    }),
    case("memory/madvise-remove", &["madvise"], |out| {
        let memory = shared(3);
        (0..3).for_each(|page| poke(memory + page * PAGE, 5));
        out.ret("shared", advise(memory + PAGE, 1, libc::MADV_REMOVE));
        out.say(firsts(memory, 3));
        let base = filled(1);
        out.ret("private", advise(base, 1, libc::MADV_REMOVE));
        let fd = file("f", 3);
        let base = fine(map(0, 3, RW, MAP_SHARED, fd, 0));
        out.say(firsts(base, 3));
        out.ret("file", advise(base + PAGE, 1, libc::MADV_REMOVE));
        out.say(firsts(base, 3));
        let mut byte = [9u8];
        call!(SYS_pread64, fd, byte.as_mut_ptr(), 1, PAGE);
        out.say(byte[0]);
        let base = fine(map(0, 1, PROT_READ, MAP_SHARED, fd, 0));
        out.ret("file mapped for reading", advise(base, 1, libc::MADV_REMOVE));
        let base = fine(map(0, 1, RW, MAP_PRIVATE, fd, 0));
        out.ret("file mapped privately", advise(base, 1, libc::MADV_REMOVE));
    }),
    case("memory/madvise-dontfork", &["madvise", "clone"], |out| {
        let base = filled(3);
        out.ret("DONTFORK", advise(base + PAGE, 1, libc::MADV_DONTFORK));
        out.say(shape(base, 3));
        in_child(out, |out| {
            out.say(shape(base, 3));
            attempt(out, "page 1", base + PAGE, Try::Read);
            out.say(peek(base + 2 * PAGE));
        });
        out.ret("DOFORK", advise(base, 3, libc::MADV_DOFORK));
        in_child(out, |out| out.say(firsts(base, 3)));
        out.say(shape(base, 3));
    }),
    case("memory/madvise-wipeonfork", &["madvise", "clone"], |out| {
        let base = filled(3);
        out.ret("WIPEONFORK", advise(base + PAGE, 1, libc::MADV_WIPEONFORK));
        in_child(out, |out| {
            out.say(firsts(base, 3));
            poke(base + PAGE, 8);
            in_child(out, |out| out.say(firsts(base, 3)));
        });
        out.say(firsts(base, 3));
        out.ret("KEEPONFORK", advise(base, 3, libc::MADV_KEEPONFORK));
        in_child(out, |out| out.say(firsts(base, 3)));
        out.ret("shared", advise(shared(1), 1, libc::MADV_WIPEONFORK));
        let fd = file("f", 1);
        out.ret("file", advise(fine(map(0, 1, RW, MAP_PRIVATE, fd, 0)), 1, libc::MADV_WIPEONFORK));
    }),
    case("memory/madvise-populate", &["madvise", "mincore"], |out| {
        let base = room(8);
        put(base, 4, RW);
        out.ret("read", advise(base, 2, libc::MADV_POPULATE_READ));
        out.say(core(base, 4));
        out.ret("write", advise(base + 2 * PAGE, 1, libc::MADV_POPULATE_WRITE));
        out.say(core(base, 4));
        put(base + 4 * PAGE, 1, PROT_READ);
        out.ret("write, read-only", advise(base + 4 * PAGE, 1, libc::MADV_POPULATE_WRITE));
        put(base + 4 * PAGE, 1, PROT_NONE);
        out.ret("read, without rights", advise(base + 4 * PAGE, 1, libc::MADV_POPULATE_READ));
        out.ret("a hole", advise(base + 3 * PAGE, 4, libc::MADV_POPULATE_READ));
        out.ret("only a hole", advise(base + 6 * PAGE, 1, libc::MADV_POPULATE_READ));
        let fd = file("f", 1);
        let mapped = fine(map(0, 3, RW, MAP_SHARED, fd, 0));
        out.ret("file", advise(mapped, 1, libc::MADV_POPULATE_WRITE));
        out.ret("beyond its end", advise(mapped, 3, libc::MADV_POPULATE_READ));
    }),
    case("memory/madvise-of-files", &["madvise"], |out| {
        let fd = file("f", 2);
        let base = fine(map(0, 2, RW, MAP_SHARED, fd, 0));
        for (name, advice) in
            [("WILLNEED", 3), ("DONTNEED", 4), ("COLD", 20), ("PAGEOUT", 21), ("DONTFORK", 10), ("RANDOM", 1)]
        {
            out.ret(name, advise(base, 2, advice));
            out.say(firsts(base, 2));
        }
    }),
    case("memory/mlock", &["mlock", "munlock", "mincore"], |out| {
        let base = room(8);
        put(base, 4, RW);
        out.ret("two", call!(SYS_mlock, base + PAGE, 2 * PAGE));
        out.say(core(base, 4));
        out.say(shape(base, 8));
        out.ret("odd", call!(SYS_mlock, base + 100, 1));
        out.say(core(base, 4));
        out.ret("length 0", call!(SYS_mlock, base, 0));
        out.ret("a hole", call!(SYS_mlock, base + 3 * PAGE, 2 * PAGE));
        out.ret("only a hole", call!(SYS_mlock, base + 5 * PAGE, PAGE));
        out.ret("overflow", call!(SYS_mlock, base, -1i64));
        out.ret("unlock", call!(SYS_munlock, base, 4 * PAGE));
        out.say(shape(base, 8));
        out.ret("unlock a hole", call!(SYS_munlock, base + 3 * PAGE, 2 * PAGE));
        out.ret("unlock, overflow", call!(SYS_munlock, base, -1i64));
        put(base + 6 * PAGE, 1, PROT_NONE);
        out.ret("without rights", call!(SYS_mlock, base + 6 * PAGE, PAGE));
    }),
    case("memory/mlock2", &["mlock2", "mincore"], |out| {
        let base = anon(4);
        out.ret("on fault", call!(SYS_mlock2, base, 2 * PAGE, 1));
        out.say(core(base, 4));
        out.ret("at once", call!(SYS_mlock2, base, 2 * PAGE, 0));
        out.say(core(base, 4));
        out.ret("unknown flag", call!(SYS_mlock2, base, PAGE, 2));
        out.ret("unknown flag, length 0", call!(SYS_mlock2, base, 0, 2));
    }),
    case("memory/mlock-limit", &["mlock", "mlock2", "mlockall", "prlimit64"], |out| {
        let base = anon(16);
        in_child(out, |out| {
            out.ret("limit", limit(libc::RLIMIT_MEMLOCK, 8 * PAGE as u64));
            out.ret("with CAP_IPC_LOCK", call!(SYS_mlock, base, 16 * PAGE));
            call!(SYS_munlock, base, 16 * PAGE);
            drop_capabilities();
            out.ret("without", call!(SYS_mlock, base, 16 * PAGE));
            out.ret("within", call!(SYS_mlock, base, 8 * PAGE));
            out.ret("the same again", call!(SYS_mlock, base, 8 * PAGE));
            out.ret("one more", call!(SYS_mlock2, base + 8 * PAGE, PAGE, 0));
            out.ret("overlapping", call!(SYS_mlock, base + 4 * PAGE, 5 * PAGE));
            out.ret("unlock", call!(SYS_munlock, base, PAGE));
            out.ret("then one more", call!(SYS_mlock2, base + 8 * PAGE, PAGE, 1));
            out.ret("all", call!(SYS_mlockall, 1));
            out.ret("future", call!(SYS_mlockall, 2));
            out.ret("no limit", limit(libc::RLIMIT_MEMLOCK, 0));
            out.ret("mlock", call!(SYS_mlock, base, PAGE));
            out.ret("mlockall", call!(SYS_mlockall, 2));
            out.ret("munlock", call!(SYS_munlock, base, 16 * PAGE));
            out.ret("munlockall", call!(SYS_munlockall));
        });
    }),
    case("memory/mlock-counted", &["mlock", "munlock", "munmap", "clone"], |out| {
        let locked = || proc_kb("/proc/self/status", "VmLck");
        let base = anon(8);
        call!(SYS_mlock, base, 4 * PAGE);
        out.say(format_args!("{:?}", locked()));
        call!(SYS_munmap, base, PAGE);
        out.say(format_args!("{:?}", locked()));
        call!(SYS_munlock, base + PAGE, PAGE);
        out.say(format_args!("{:?}", locked()));
        in_child(out, |out| out.say(format_args!("child {:?}", locked())));
        let to = call!(SYS_mremap, base + 2 * PAGE, 2 * PAGE, 4 * PAGE, libc::MREMAP_MAYMOVE);
        out.say(format_args!("grown {:?}", locked()));
        out.say(core(to, 4));
    }),
    case("memory/mlockall", &["mlockall", "munlockall", "mincore"], |out| {
        out.ret("nothing", call!(SYS_mlockall, 0));
        out.ret("unknown", call!(SYS_mlockall, 8));
        out.ret("on fault alone", call!(SYS_mlockall, 4));
        let old = anon(2);
        out.ret("future", call!(SYS_mlockall, 2));
        out.say(core(old, 2));
        let new = anon(2);
        out.say(core(new, 2));
        in_child(out, |out| {
            let new = anon(2);
            out.say(format_args!("child {}", core(new, 2)));
        });
        out.ret("current", call!(SYS_mlockall, 1));
        out.say(core(old, 2));
        let new = anon(2);
        out.say(core(new, 2));
        out.ret("future, on fault", call!(SYS_mlockall, 6));
        let new = anon(2);
        out.say(core(new, 2));
        out.ret("munlockall", call!(SYS_munlockall));
        out.say(format_args!("{:?}", proc_kb("/proc/self/status", "VmLck")));
        let new = anon(2);
        out.say(core(new, 2));
    }),
    case("memory/mincore", &["mincore"], |out| {
        let base = room(8);
        put(base, 4, RW);
        out.say(core(base, 4));
        poke(base, 1);
        peek(base + 2 * PAGE);
        out.say(core(base, 4));
        let mut seen = [0u8; 8];
        out.ret("odd address", call!(SYS_mincore, base + 1, PAGE, seen.as_mut_ptr()));
        out.ret("a hole", call!(SYS_mincore, base, 5 * PAGE, seen.as_mut_ptr()));
        out.ret("only a hole", call!(SYS_mincore, base + 5 * PAGE, PAGE, seen.as_mut_ptr()));
        out.ret("bad vector", call!(SYS_mincore, base, PAGE, 8));
        out.ret("length 0", call!(SYS_mincore, base, 0, seen.as_mut_ptr()));
        out.ret("huge", call!(SYS_mincore, base, -1i64, seen.as_mut_ptr()));
        out.ret("in the kernel", call!(SYS_mincore, -2 * PAGE, PAGE, seen.as_mut_ptr()));
        out.ret("odd length", call!(SYS_mincore, base, 1, seen.as_mut_ptr()));
        let memory = shared(3);
        poke(memory + PAGE, 1);
        out.say(core(memory, 3));
    }),
    case("memory/growsdown-locked", &["mlock", "mmap"], |out| {
        let base = room(64);
        let top = base + 64 * PAGE;
        fine(map(top - PAGE, 1, RW, ANON | MAP_FIXED | MAP_GROWSDOWN, -1, 0));
        poke(top - PAGE, 1);
        poke(top - 3 * PAGE, 1);
        out.say(core(top - 3 * PAGE, 3));
        let plain = fine(map(0, 1, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
        out.ret("hugepage, shared", advise(plain, 1, libc::MADV_NOHUGEPAGE));
    }),
];
