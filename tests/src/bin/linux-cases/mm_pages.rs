//! Memory: sealing, where pages are, what is promised, what the out-of-memory killer is told.

use std::{fs::File, os::unix::fs::FileExt};

use libc::{
    MADV_DONTNEED, MADV_FREE, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, MREMAP_FIXED,
    MREMAP_MAYMOVE, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE,
};

use crate::{
    Case, Out, case,
    memory::{
        ANON, PAGE, RW, Try, anon, attempt, drop_capabilities, fine, in_child, map, peek, place, poke,
        proc_kb, put, room, shape, shared,
    },
    sys::{self, call, raw},
};

const SYS_MSEAL: i64 = 462;
const SYS_CACHESTAT: i64 = 451;
const SYS_HOME_NODE: i64 = 450;
const SYS_SHADOW_STACK: i64 = 453;

fn mseal(addr: i64, pages: i64) -> i64 {
    raw(SYS_MSEAL, &[addr, pages * PAGE, 0])
}

/// Sealed memory of some pages with a byte in the first.
fn sealed(pages: i64, prot: i32) -> i64 {
    let base = room(pages);
    put(base, pages, RW);
    poke(base, 7);
    call!(SYS_mprotect, base, pages * PAGE, prot);
    assert_eq!(mseal(base, pages), 0, "mseal");
    base
}

/// A file in memory with so many pages, the first byte of each its number.
fn memfd(pages: i64) -> i32 {
    let fd = call!(SYS_memfd_create, sys::c("pages"), 0) as i32;
    call!(SYS_ftruncate, fd, pages * PAGE);
    for page in 0..pages {
        call!(SYS_pwrite64, fd, [page as u8 + 1].as_ptr(), 1, page * PAGE);
    }
    fd
}

fn cachestat(out: &mut Out, what: &str, fd: i32, offset: i64, len: i64, flags: i64) {
    let (range, mut stat) = ([offset, len], [0u64; 5]);
    let result = raw(SYS_CACHESTAT, &[fd.into(), range.as_ptr() as i64, stat.as_mut_ptr() as i64, flags]);
    out.ret(what, result);
    if result == 0 {
        out.say(format_args!("cached {} evicted {}", stat[0], stat[3]));
    }
}

/// Writes a file of the process; the result.
fn set(name: &str, text: &str) -> i64 {
    let fd = call!(SYS_open, sys::c(name), libc::O_WRONLY) as i32;
    if fd < 0 {
        return i64::from(fd);
    }
    let written = sys::write(fd, text.as_bytes());
    sys::close(fd);
    written
}

fn show(out: &mut Out, name: &str) {
    match std::fs::read_to_string(name) {
        Ok(text) => out.say(format_args!("{name}: {}", text.trim_end())),
        Err(error) => out.say(format_args!("{name}: {}", error.raw_os_error().unwrap_or(0))),
    }
}

/// Bits 63 (present), 61 (of a file) and 56 (ours alone) of pages, from pagemap.
fn pagemap(base: i64, pages: i64) -> String {
    let Ok(file) = File::open("/proc/self/pagemap") else { return "no pagemap".into() };
    let mut bytes = vec![0; pages as usize * 8];
    if let Err(error) = file.read_exact_at(&mut bytes, (base / PAGE * 8) as u64) {
        return error.to_string();
    }
    let shown = bytes.chunks(8).map(|entry| {
        let entry = u64::from_le_bytes(entry.try_into().unwrap_or_default());
        [(63, 'p'), (61, 'f'), (56, 'x')]
            .map(|(bit, letter)| if entry >> bit & 1 != 0 { letter } else { '-' })
    });
    shown.map(|letters| letters.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// Where pages are, by move_pages(2) without nodes.
fn where_are(out: &mut Out, what: &str, pages: &[i64]) {
    let mut status = vec![-99i32; pages.len()];
    out.ret(what, call!(SYS_move_pages, 0, pages.len(), pages.as_ptr(), 0, status.as_mut_ptr(), 0));
    let shown: Vec<_> =
        status.iter().map(|&s| if s < 0 { sys::errno_name(-s as u32) } else { s.to_string() }).collect();
    out.say(shown.join(" "));
}

pub(crate) const CASES: &[Case] = &[
    case("mm/mseal-errors", &["mseal"], |out| {
        let base = room(4);
        put(base, 1, RW);
        put(base + 2 * PAGE, 1, RW);
        out.ret("odd address", raw(SYS_MSEAL, &[base + 1, PAGE, 0]));
        out.ret("flags", raw(SYS_MSEAL, &[base, PAGE, 1]));
        out.ret("a hole", mseal(base, 3));
        out.ret("nothing there", mseal(base + PAGE, 1));
        out.ret("length 0", mseal(base, 0));
        out.ret("overflow", raw(SYS_MSEAL, &[base, -1, 0]));
        out.ret("wraps", raw(SYS_MSEAL, &[base, -PAGE, 0]));
        out.ret("still free", call!(SYS_mprotect, base, PAGE, PROT_READ));
        out.ret("odd length", raw(SYS_MSEAL, &[base, 1, 0]));
        out.ret("again", mseal(base, 1));
        out.ret("sealed", call!(SYS_mprotect, base, PAGE, RW));
    }),
    case("mm/mseal-mprotect", &["mseal", "mprotect"], |out| {
        let base = sealed(2, RW);
        out.ret("to read", call!(SYS_mprotect, base, PAGE, PROT_READ));
        out.ret("the same", call!(SYS_mprotect, base, PAGE, RW));
        out.ret("pkey", call!(SYS_pkey_mprotect, base, PAGE, PROT_READ, -1));
        poke(base, 9);
        out.say(peek(base));
    }),
    case("mm/mseal-munmap", &["mseal", "munmap"], |out| {
        let base = room(4);
        put(base, 4, RW);
        mseal(base + PAGE, 1);
        out.ret("sealed page", call!(SYS_munmap, base + PAGE, PAGE));
        out.ret("all", call!(SYS_munmap, base, 4 * PAGE));
        out.say(shape(base, 4));
        out.ret("before it", call!(SYS_munmap, base, PAGE));
        out.ret("after it", call!(SYS_munmap, base + 2 * PAGE, 2 * PAGE));
        out.say(shape(base, 4));
    }),
    case("mm/mseal-mmap-over", &["mseal", "mmap"], |out| {
        let base = sealed(2, RW);
        out.ret("fixed", map(base, 1, RW, ANON | MAP_FIXED, -1, 0));
        out.ret("no replace", map(base, 1, RW, ANON | libc::MAP_FIXED_NOREPLACE, -1, 0));
        out.say(peek(base));
    }),
    case("mm/mseal-mremap", &["mseal", "mremap"], |out| {
        let base = sealed(2, RW);
        let other = room(4);
        put(other, 2, RW);
        out.ret("shrink", call!(SYS_mremap, base, 2 * PAGE, PAGE, 0, 0));
        out.ret("grow", call!(SYS_mremap, base, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE, 0));
        out.ret("move", call!(SYS_mremap, base, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, other));
        out.ret("onto it", call!(SYS_mremap, other, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, base));
        out.say(peek(base));
    }),
    case("mm/mseal-madvise-writable", &["mseal", "madvise"], |out| {
        let base = sealed(2, RW);
        out.ret("dontneed", call!(SYS_madvise, base, PAGE, MADV_DONTNEED));
        out.say(peek(base));
        out.ret("free", call!(SYS_madvise, base, PAGE, MADV_FREE));
        out.ret("willneed", call!(SYS_madvise, base, PAGE, libc::MADV_WILLNEED));
    }),
    case("mm/mseal-madvise-read-only", &["mseal", "madvise"], |out| {
        let base = sealed(2, PROT_READ);
        for (name, advice) in [
            ("dontneed", MADV_DONTNEED),
            ("free", MADV_FREE),
            ("remove", libc::MADV_REMOVE),
            ("dontneed locked", 24),
            ("dontfork", libc::MADV_DONTFORK),
            ("wipeonfork", libc::MADV_WIPEONFORK),
            ("dofork", libc::MADV_DOFORK),
            ("cold", 20),
            ("normal", libc::MADV_NORMAL),
        ] {
            out.ret(name, call!(SYS_madvise, base, PAGE, advice));
        }
        out.say(peek(base));
    }),
    case("mm/mseal-file", &["mseal", "madvise"], |out| {
        let fd = memfd(2);
        let base = fine(map(0, 2, PROT_READ, MAP_SHARED, fd, 0));
        out.ret("seal", mseal(base, 2));
        out.ret("dontneed", call!(SYS_madvise, base, PAGE, MADV_DONTNEED));
        out.ret("unmap", call!(SYS_munmap, base, PAGE));
        out.say(peek(base));
    }),
    case("mm/mseal-fork", &["mseal", "fork"], |out| {
        let base = sealed(1, RW);
        in_child(out, |out| {
            out.ret("child unmaps", call!(SYS_munmap, base, PAGE));
            out.ret("child protects", call!(SYS_mprotect, base, PAGE, PROT_READ));
            poke(base, 3);
            out.say(peek(base));
        });
        out.say(peek(base));
    }),
    case("mm/mseal-mlock", &["mseal", "mlock"], |out| {
        let base = sealed(1, RW);
        out.ret("lock", call!(SYS_mlock, base, PAGE));
        out.ret("unlock", call!(SYS_munlock, base, PAGE));
    }),
    case("mm/mseal-part-protect", &["mseal", "mprotect"], |out| {
        let base = room(3);
        put(base, 3, RW);
        mseal(base + PAGE, 1);
        out.ret("protect all", call!(SYS_mprotect, base, 3 * PAGE, PROT_NONE));
        (0..3).for_each(|page| attempt(out, "page", base + page * PAGE, Try::Write));
    }),
    case("mm/mseal-brk", &["mseal", "brk"], |out| {
        in_child(out, |out| {
            let end = call!(SYS_brk, 0);
            let start = (end + PAGE - 1) / PAGE * PAGE;
            call!(SYS_brk, start + 2 * PAGE);
            out.ret("seal", mseal(start + PAGE, 1));
            place(out, "shrink", call!(SYS_brk, start), start);
            place(out, "grow", call!(SYS_brk, start + 3 * PAGE), start);
        });
    }),
    case("mm/remap-file-pages", &["remap_file_pages"], |out| {
        let fd = memfd(4);
        let base = fine(map(0, 4, RW, MAP_SHARED, fd, 0));
        out.ret("last first", call!(SYS_remap_file_pages, base, PAGE, 0, 3, 0));
        out.ret("first last", call!(SYS_remap_file_pages, base + 3 * PAGE, PAGE, 0, 0, 0));
        out.say((0..4).map(|page| peek(base + page * PAGE).to_string()).collect::<Vec<_>>().join(" "));
        poke(base, 44);
        let mut byte = [0];
        call!(SYS_pread64, fd, byte.as_mut_ptr(), 1, 3 * PAGE);
        out.say(byte[0]);
    }),
    case("mm/remap-file-pages-errors", &["remap_file_pages"], |out| {
        let fd = memfd(4);
        let base = fine(map(0, 4, RW, MAP_SHARED, fd, 0));
        out.ret("rights", call!(SYS_remap_file_pages, base, PAGE, PROT_READ, 0, 0));
        out.ret("no length", call!(SYS_remap_file_pages, base, 0, 0, 0, 0));
        out.ret("less than a page", call!(SYS_remap_file_pages, base, 100, 0, 0, 0));
        out.ret("nothing there", call!(SYS_remap_file_pages, room(1), PAGE, 0, 0, 0));
        let private = fine(map(0, 1, RW, MAP_PRIVATE, fd, 0));
        out.ret("private", call!(SYS_remap_file_pages, private, PAGE, 0, 0, 0));
        out.ret("private memory", call!(SYS_remap_file_pages, anon(1), PAGE, 0, 0, 0));
        out.ret("huge offset", call!(SYS_remap_file_pages, base, PAGE, 0, -1, 0));
        out.ret("wraps", call!(SYS_remap_file_pages, base, -PAGE, 0, 0, 0));
        out.ret("odd address", call!(SYS_remap_file_pages, base + 8, PAGE, 0, 2, 0));
        out.say(peek(base));
    }),
    case("mm/remap-file-pages-beyond", &["remap_file_pages"], |out| {
        let fd = memfd(2);
        let base = fine(map(0, 2, RW, MAP_SHARED, fd, 0));
        out.ret("beyond the end", call!(SYS_remap_file_pages, base, PAGE, 0, 7, 0));
        attempt(out, "there", base, Try::Read);
        attempt(out, "next", base + PAGE, Try::Read);
    }),
    case("mm/remap-file-pages-anonymous", &["remap_file_pages"], |out| {
        let base = shared(4);
        (0..4).for_each(|page| poke(base + page * PAGE, page as u8 + 1));
        out.ret("swap", call!(SYS_remap_file_pages, base, 2 * PAGE, 0, 2, 0));
        out.say((0..4).map(|page| peek(base + page * PAGE).to_string()).collect::<Vec<_>>().join(" "));
        out.ret("across", call!(SYS_remap_file_pages, base, 4 * PAGE, 0, 0, 0));
        out.say((0..4).map(|page| peek(base + page * PAGE).to_string()).collect::<Vec<_>>().join(" "));
    }),
    case("mm/remap-file-pages-read-only", &["remap_file_pages"], |out| {
        let fd = memfd(2);
        let base = fine(map(0, 2, PROT_READ, MAP_SHARED, fd, 0));
        out.ret("remap", call!(SYS_remap_file_pages, base, PAGE, 0, 1, 0));
        attempt(out, "read", base, Try::Read);
        attempt(out, "write", base, Try::Write);
    }),
    case("mm/cachestat", &["cachestat"], |out| {
        let fd = memfd(4);
        call!(SYS_ftruncate, fd, 10 * PAGE);
        cachestat(out, "all", fd, 0, 0, 0);
        cachestat(out, "two", fd, PAGE, 2 * PAGE, 0);
        cachestat(out, "one byte", fd, PAGE + 5, 1, 0);
        cachestat(out, "two bytes of two pages", fd, PAGE - 1, 2, 0);
        cachestat(out, "hole", fd, 5 * PAGE, PAGE, 0);
        cachestat(out, "beyond", fd, 100 * PAGE, 0, 0);
        call!(SYS_fallocate, fd, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, PAGE, PAGE);
        cachestat(out, "punched", fd, 0, 0, 0);
    }),
    case("mm/cachestat-errors", &["cachestat"], |out| {
        let fd = memfd(1);
        cachestat(out, "flags", fd, 0, 0, 1);
        cachestat(out, "bad descriptor", 99, 0, 0, 0);
        cachestat(out, "bad descriptor and flags", 99, 0, 0, 1);
        let range = [0u64; 2];
        out.ret("no range", raw(SYS_CACHESTAT, &[fd.into(), 8, 8, 0]));
        out.ret("no place", raw(SYS_CACHESTAT, &[fd.into(), range.as_ptr() as i64, 8, 0]));
        out.ret("no range, flags", raw(SYS_CACHESTAT, &[fd.into(), 8, 8, 1]));
    }),
    case("mm/move-pages-where", &["move_pages"], |out| {
        let base = room(4);
        put(base, 4, RW);
        poke(base, 1);
        std::hint::black_box(peek(base + 2 * PAGE));
        where_are(out, "where", &[base, base + 2 * PAGE, base + PAGE, base + 3 * PAGE, base + 5]);
        where_are(out, "none", &[]);
        where_are(out, "low", &[0]);
    }),
    case("mm/move-pages-move", &["move_pages"], |out| {
        let base = room(4);
        put(base, 4, RW);
        poke(base, 1);
        let pages = [base, base + PAGE, base + 4 * PAGE];
        let mut status = [-99i32; 3];
        let nodes = [0i32; 3];
        for flags in [0, 2] {
            status.fill(-99);
            let moved =
                call!(SYS_move_pages, 0, 3, pages.as_ptr(), nodes.as_ptr(), status.as_mut_ptr(), flags);
            out.ret("to node 0", moved);
            out.say(format_args!("{status:?}"));
        }
        let far = [99i32; 3];
        out.ret(
            "to node 99",
            call!(SYS_move_pages, 0, 1, pages.as_ptr(), far.as_ptr(), status.as_mut_ptr(), 2),
        );
    }),
    case("mm/move-pages-errors", &["move_pages"], |out| {
        let pages = [anon(1)];
        let mut status = [0i32];
        out.ret("flags", call!(SYS_move_pages, 0, 1, pages.as_ptr(), 0, status.as_mut_ptr(), 1));
        out.ret("nobody", call!(SYS_move_pages, 4_000_000, 1, pages.as_ptr(), 0, status.as_mut_ptr(), 0));
        out.ret("no pages", call!(SYS_move_pages, 0, 1, 8, 0, status.as_mut_ptr(), 0));
        out.ret("no status", call!(SYS_move_pages, 0, 1, pages.as_ptr(), 0, 8, 0));
        drop_capabilities();
        out.ret("all, no right", call!(SYS_move_pages, 0, 1, pages.as_ptr(), 0, status.as_mut_ptr(), 4));
        out.ret("own", call!(SYS_move_pages, 0, 1, pages.as_ptr(), 0, status.as_mut_ptr(), 0));
    }),
    case("mm/migrate-pages", &["migrate_pages"], |out| {
        let (one, none, two) = ([1u64], [0u64], [2u64]);
        out.ret("0 to 0", call!(SYS_migrate_pages, 0, 64, one.as_ptr(), one.as_ptr()));
        out.ret("to none", call!(SYS_migrate_pages, 0, 64, one.as_ptr(), none.as_ptr()));
        out.ret("from none", call!(SYS_migrate_pages, 0, 64, none.as_ptr(), one.as_ptr()));
        out.ret("to 1", call!(SYS_migrate_pages, 0, 64, one.as_ptr(), two.as_ptr()));
        out.ret("nobody", call!(SYS_migrate_pages, 4_000_000, 64, one.as_ptr(), one.as_ptr()));
        out.ret("bad address", call!(SYS_migrate_pages, 0, 64, 8, one.as_ptr()));
        out.ret("no nodes", call!(SYS_migrate_pages, 0, 0, 0, 0));
    }),
    case("mm/home-node", &["set_mempolicy_home_node", "mbind"], |out| {
        let base = anon(2);
        let nodes = [1u64];
        let home = |len: i64, node: i64, flags: i64| raw(SYS_HOME_NODE, &[base, len, node, flags]);
        out.ret("no policy", home(PAGE, 0, 0));
        out.ret("flags", home(PAGE, 0, 1));
        out.ret("no such node", home(PAGE, 9999, 0));
        out.ret("length 0", home(0, 0, 0));
        out.ret("odd address", raw(SYS_HOME_NODE, &[base + 1, PAGE, 0, 0]));
        out.ret("wraps", home(-PAGE, 0, 0));
        for (name, mode) in [("bind", 2), ("interleave", 3), ("preferred many", 5)] {
            out.ret(name, call!(SYS_mbind, base, PAGE, mode, nodes.as_ptr(), 64, 0));
            out.ret("home", home(PAGE, 0, 0));
        }
    }),
    case("mm/shadow-stack", &["map_shadow_stack"], |out| {
        out.ret("none", raw(SYS_SHADOW_STACK, &[0, PAGE, 0]));
    }),
    case("mm/oom-score-adj", &["/proc/PID/oom_score_adj"], |out| {
        let name = "/proc/self/oom_score_adj";
        for text in ["0", "500", "-500\n", "1000", "-1000", " 7 \n", "1001", "-1001", "x", "", "3 4"] {
            out.ret(text.trim(), set(name, text));
            show(out, name);
        }
    }),
    case("mm/oom-score-adj-rights", &["/proc/PID/oom_score_adj"], |out| {
        let name = "/proc/self/oom_score_adj";
        out.ret("100", set(name, "100"));
        in_child(out, |out| {
            drop_capabilities();
            show(out, name);
            for text in ["200", "150", "100", "99", "0", "-1"] {
                out.ret(text, set(name, text));
                show(out, name);
            }
        });
        show(out, name);
    }),
    case("mm/oom-adj", &["/proc/PID/oom_adj"], |out| {
        for text in ["0", "15", "-17", "8", "-16", "16", "-18", "y"] {
            out.ret(text, set("/proc/self/oom_adj", text));
            show(out, "/proc/self/oom_adj");
            show(out, "/proc/self/oom_score_adj");
        }
        out.ret("999", set("/proc/self/oom_score_adj", "999"));
        show(out, "/proc/self/oom_adj");
    }),
    case("mm/oom-adj-inherited", &["/proc/PID/oom_score_adj", "fork"], |out| {
        out.ret("set", set("/proc/self/oom_score_adj", "333"));
        in_child(out, |out| {
            show(out, "/proc/self/oom_score_adj");
            out.ret("own", set("/proc/self/oom_score_adj", "444"));
            show(out, "/proc/self/oom_score_adj");
        });
        show(out, "/proc/self/oom_score_adj");
    }),
    case("mm/oom-score", &["/proc/PID/oom_score"], |out| {
        let score = || {
            std::fs::read_to_string("/proc/self/oom_score").unwrap_or_default().trim().parse().unwrap_or(-1)
        };
        for (adj, least, most) in
            [("0", 660, 690), ("1000", 1325, 1360), ("500", 990, 1020), ("-1000", 0, 0), ("-999", 0, 20)]
        {
            set("/proc/self/oom_score_adj", adj);
            let score: i64 = score();
            out.say(format_args!("{adj}: {}", (least..=most).contains(&score)));
        }
    }),
    case("mm/oom-modes", &["/proc/PID/oom_score_adj"], |out| {
        for name in ["oom_score", "oom_score_adj", "oom_adj", "pagemap", "clear_refs"] {
            let mut stat = [0u8; 256];
            let path = format!("/proc/self/{name}");
            let done = call!(SYS_stat, sys::c(&path), stat.as_mut_ptr());
            let mode = u32::from_le_bytes([stat[24], stat[25], stat[26], stat[27]]);
            out.say(format_args!("{name}: {done} {mode:o}"));
        }
    }),
    case("mm/pagemap-private", &["/proc/PID/pagemap"], |out| {
        let base = room(4);
        put(base, 4, RW);
        out.say(pagemap(base, 4));
        poke(base + PAGE, 1);
        poke(base + 3 * PAGE, 1);
        out.say(pagemap(base, 4));
        call!(SYS_madvise, base + PAGE, PAGE, MADV_DONTNEED);
        out.say(pagemap(base, 5));
    }),
    case("mm/pagemap-shared", &["/proc/PID/pagemap"], |out| {
        let fd = memfd(3);
        let base = fine(map(0, 3, RW, MAP_SHARED, fd, 0));
        poke(base, 1);
        out.say(pagemap(base, 1));
        let private = fine(map(0, 3, RW, MAP_PRIVATE, fd, 0));
        poke(private + PAGE, 1);
        out.say(pagemap(private + PAGE, 1));
    }),
    case("mm/pagemap-after-fork", &["/proc/PID/pagemap", "fork"], |out| {
        let base = room(2);
        put(base, 2, RW);
        poke(base, 1);
        poke(base + PAGE, 1);
        in_child(out, |out| {
            out.say(pagemap(base, 2));
            poke(base, 2);
            out.say(pagemap(base, 2));
        });
    }),
    case("mm/pagemap-reads", &["/proc/PID/pagemap"], |out| {
        let fd = call!(SYS_open, sys::c("/proc/self/pagemap"), libc::O_RDONLY) as i32;
        let mut bytes = [0u8; 64];
        let at = anon(8) / PAGE * 8;
        for (what, len, offset) in
            [("8", 8, at), ("64", 64, at), ("odd length", 7, at), ("odd offset", 8, at + 1), ("0", 0, at)]
        {
            out.ret(what, call!(SYS_pread64, fd, bytes.as_mut_ptr(), len, offset));
        }
        out.ret("the end", call!(SYS_pread64, fd, bytes.as_mut_ptr(), 64, 1i64 << 50));
    }),
    case("mm/clear-refs", &["/proc/PID/clear_refs"], |out| {
        let name = "/proc/self/clear_refs";
        for text in ["1", "2", "3", "4\n", "5", "0", "6", "x", ""] {
            out.ret(text.trim(), set(name, text));
        }
        out.ret("read", call!(SYS_open, sys::c(name), libc::O_RDONLY).min(0));
    }),
    case("mm/clear-refs-references", &["/proc/PID/clear_refs", "/proc/PID/smaps"], |out| {
        let base = room(8);
        put(base, 8, RW);
        (0..8).for_each(|page| poke(base + page * PAGE, 1));
        let referenced = || {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
            let mut lines = maps.lines().skip_while(|line| !line.starts_with(&format!("{base:x}-")));
            lines.find(|line| line.starts_with("Referenced:")).unwrap_or_default().to_owned()
        };
        out.say(referenced());
        // What is used next is not compared: Linux flushes no TLB for this, so the CPU may not tell it.
        for what in ["3", "2", "1"] {
            out.ret(what, set("/proc/self/clear_refs", what));
            out.say(referenced());
        }
    }),
    case("mm/clear-refs-peak", &["/proc/PID/clear_refs"], |out| {
        let base = anon(2048);
        (0..2048).for_each(|page| poke(base + page * PAGE, 1));
        call!(SYS_munmap, base, 2048 * PAGE);
        let over = || {
            let status = |name| proc_kb("/proc/self/status", name).unwrap_or(0);
            status("VmHWM") - status("VmRSS") > 4096
        };
        out.say(format_args!("peak is higher: {}", over()));
        out.ret("reset", set("/proc/self/clear_refs", "5"));
        out.say(format_args!("peak is higher: {}", over()));
    }),
    case("mm/overcommit-settings", &["/proc/sys/vm/overcommit_memory"], |out| {
        show(out, "/proc/sys/vm/overcommit_memory");
        show(out, "/proc/sys/vm/overcommit_ratio");
    }),
    case("mm/overcommit-heuristic", &["mmap"], |out| {
        let total = proc_kb("/proc/meminfo", "MemTotal").unwrap_or(0);
        let beyond = (total / 4 + 4096) * 2;
        for (what, flags) in [("private", ANON), ("without reserve", ANON | libc::MAP_NORESERVE)] {
            out.ret(what, map(0, beyond, RW, flags, -1, 0).min(0));
        }
        out.ret("read only", map(0, beyond, PROT_READ, ANON, -1, 0).min(0));
        out.ret("half", map(0, total / 8, RW, ANON, -1, 0).min(0));
        out.ret("executable", map(0, beyond, PROT_READ | PROT_EXEC, ANON, -1, 0).min(0));
        let none = map(0, beyond, PROT_NONE, ANON, -1, 0);
        out.ret("none", none.min(0));
        out.ret("given rights", call!(SYS_mprotect, none, beyond * PAGE, PROT_READ | PROT_WRITE));
    }),
    case("mm/committed", &["/proc/meminfo"], |out| {
        let committed = || proc_kb("/proc/meminfo", "Committed_AS").unwrap_or(0);
        let before = committed();
        let base = anon(65536);
        let with = committed();
        call!(SYS_munmap, base, 65536 * PAGE);
        let after = committed();
        out.say(format_args!("{} {}", with - before > 200_000, with - after > 200_000));
        let limit = proc_kb("/proc/meminfo", "CommitLimit").unwrap_or(0);
        let total = proc_kb("/proc/meminfo", "MemTotal").unwrap_or(0);
        out.say(format_args!("half of memory: {}", (limit * 2 - total).abs() < total / 50));
    }),
    case("mm/many-areas", &["mprotect"], |out| {
        let base = map(0, 140_000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | libc::MAP_NORESERVE, -1, 0);
        let end =
            (0..70_000).map(|index| call!(SYS_mprotect, base + 2 * index * PAGE, PAGE, RW)).find(|&r| r < 0);
        out.ret("the end", end.unwrap_or(0));
        out.ret("a new area", map(0, 1, PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS, -1, 0).min(0));
        out.ret("less", call!(SYS_munmap, base, 140_000 * PAGE));
        out.ret("then", map(0, 1, PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS, -1, 0).min(0));
    }),
    case("mm/peaks", &["/proc/PID/status"], |out| {
        let status = |name| proc_kb("/proc/self/status", name).unwrap_or(0);
        let (size, peak, rss, high) = (status("VmSize"), status("VmPeak"), status("VmRSS"), status("VmHWM"));
        let base = anon(4096);
        (0..2048).for_each(|page| poke(base + page * PAGE, 1));
        out.say(format_args!("size {}", status("VmSize") - size == 16384));
        out.say(format_args!("resident {}", (8192 - 256..8192 + 256).contains(&(status("VmRSS") - rss))));
        call!(SYS_munmap, base, 4096 * PAGE);
        out.say(format_args!("size again {}", status("VmSize") == size));
        out.say(format_args!(
            "peaks {} {}",
            status("VmPeak") >= peak.max(size + 16384),
            status("VmHWM") >= high.max(rss + 7900)
        ));
    }),
];
