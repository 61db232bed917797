//! Mappings of files: rights, sharing, growing and shrinking.

use libc::{MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE};

use crate::{
    Case, case,
    memory::{PAGE, RW, Try, attempt, core, each_file, fine, in_child, map, peek, poke, room, shape},
    sys::{self, call},
};

/// The first bytes of some pages.
fn firsts(base: i64, pages: i64) -> String {
    (0..pages).map(|page| peek(base + page * PAGE).to_string()).collect::<Vec<_>>().join(" ")
}

pub(crate) const CASES: &[Case] = &[
    case("memory/file-rights", &["mmap", "mprotect"], |out| {
        each_file(out, 1, |out, fd| {
            let path = sys::c(&format!("/proc/self/fd/{fd}"));
            for (name, mode) in [("read", libc::O_RDONLY), ("write", libc::O_WRONLY), ("both", libc::O_RDWR)]
            {
                let fd = call!(SYS_open, path, mode) as i32;
                for (kind_name, kind) in [("private", MAP_PRIVATE), ("shared", MAP_SHARED)] {
                    for (prot_name, prot) in [
                        ("none", PROT_NONE),
                        ("r", PROT_READ),
                        ("w", PROT_WRITE),
                        ("rw", RW),
                        ("x", PROT_EXEC),
                    ] {
                        let base = map(0, 1, prot, kind, fd, 0);
                        out.ok(&format!("{name} {kind_name} {prot_name}"), base);
                        if base > 0 {
                            out.ret("then rw", call!(SYS_mprotect, base, PAGE, RW));
                            call!(SYS_munmap, base, PAGE);
                        }
                    }
                }
                sys::close(fd);
            }
        });
    }),
    case("memory/file-closed", &["mmap", "close"], |out| {
        each_file(out, 2, |out, fd| {
            let other = call!(SYS_dup, fd) as i32;
            let base = fine(map(0, 2, RW, MAP_SHARED, other, 0));
            sys::close(other);
            out.say(firsts(base, 2));
            poke(base + PAGE, 9);
            let mut byte = [0];
            call!(SYS_pread64, fd, byte.as_mut_ptr(), 1, PAGE);
            out.say(byte[0]);
        });
    }),
    case("memory/file-offset", &["mmap"], |out| {
        each_file(out, 4, |out, fd| {
            let base = fine(map(0, 2, PROT_READ, MAP_PRIVATE, fd, 2));
            out.say(firsts(base, 2));
            out.ret("odd", call!(SYS_mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, fd, 100));
            out.ret("negative", call!(SYS_mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, fd, -PAGE));
            out.ret("far", call!(SYS_mmap, 0, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, i64::MAX - 4095));
            let beyond = map(0, 1, PROT_READ, MAP_PRIVATE, fd, 100);
            out.ok("beyond the end", beyond);
            attempt(out, "read there", beyond, Try::Read);
        });
    }),
    case("memory/file-shared-and-write", &["mmap", "pwrite64", "pread64"], |out| {
        each_file(out, 2, |out, fd| {
            let base = fine(map(0, 2, RW, MAP_SHARED, fd, 0));
            out.say(firsts(base, 2));
            out.ret("pwrite", call!(SYS_pwrite64, fd, [50u8; 3].as_ptr(), 3, PAGE));
            out.say(firsts(base, 2));
            poke(base + 1, 60);
            let mut bytes = [0u8; 3];
            out.ret("pread", call!(SYS_pread64, fd, bytes.as_mut_ptr(), 3, 0));
            out.say(format_args!("{bytes:?}"));
            let other = fine(map(0, 2, RW, MAP_SHARED, fd, 0));
            poke(other, 70);
            out.say(peek(base));
            call!(SYS_munmap, base, 2 * PAGE);
            call!(SYS_munmap, other, 2 * PAGE);
            out.ret("pread", call!(SYS_pread64, fd, bytes.as_mut_ptr(), 3, 0));
            out.say(format_args!("{bytes:?}"));
        });
    }),
    case("memory/file-private-and-write", &["mmap", "pwrite64"], |out| {
        each_file(out, 3, |out, fd| {
            let base = fine(map(0, 3, RW, MAP_PRIVATE, fd, 0));
            poke(base, 77);
            call!(SYS_pwrite64, fd, [50u8; 2].as_ptr(), 2, 0);
            call!(SYS_pwrite64, fd, [51u8; 2].as_ptr(), 2, PAGE);
            out.say(format_args!(
                "copied page {} {}, other {}",
                peek(base),
                peek(base + 1),
                peek(base + PAGE)
            ));
            let mut bytes = [0u8; 2];
            call!(SYS_pread64, fd, bytes.as_mut_ptr(), 2, 0);
            out.say(format_args!("{bytes:?}"));
            // What the file holds comes back when the copy is dropped.
            out.ret("DONTNEED", call!(SYS_madvise, base, 3 * PAGE, libc::MADV_DONTNEED));
            out.say(firsts(base, 3));
        });
    }),
    case("memory/file-private-and-shared", &["mmap"], |out| {
        each_file(out, 1, |out, fd| {
            let private = fine(map(0, 1, RW, MAP_PRIVATE, fd, 0));
            let shared = fine(map(0, 1, RW, MAP_SHARED, fd, 0));
            out.say(peek(private));
            poke(shared, 5);
            out.say(peek(private));
            poke(private, 6);
            poke(shared, 7);
            out.say(format_args!("{} {}", peek(private), peek(shared)));
        });
    }),
    case("memory/file-shared-after-fork", &["mmap", "clone"], |out| {
        each_file(out, 2, |out, fd| {
            let shared = fine(map(0, 1, RW, MAP_SHARED, fd, 0));
            let private = fine(map(0, 1, RW, MAP_PRIVATE, fd, 1));
            in_child(out, |_| {
                poke(shared, 10);
                poke(private, 11);
            });
            let mut bytes = [0u8; 1];
            call!(SYS_pread64, fd, bytes.as_mut_ptr(), 1, 0);
            out.say(format_args!("{} {} {}", peek(shared), peek(private), bytes[0]));
        });
    }),
    case("memory/file-end", &["mmap", "ftruncate"], |out| {
        each_file(out, 2, |out, fd| {
            out.ret("cut", call!(SYS_ftruncate, fd, PAGE + 100));
            let base = fine(map(0, 4, RW, MAP_SHARED, fd, 0));
            out.say(format_args!(
                "{} {} {}",
                peek(base + PAGE + 99),
                peek(base + PAGE + 100),
                peek(base + PAGE + 4095)
            ));
            attempt(out, "read beyond", base + 2 * PAGE, Try::Read);
            attempt(out, "write beyond", base + 3 * PAGE + 5, Try::Write);
            // Bytes in the last page beyond the end are not the file's.
            poke(base + PAGE + 200, 9);
            let mut byte = [77u8];
            out.ret("pread", call!(SYS_pread64, fd, byte.as_mut_ptr(), 1, PAGE + 200));
        });
    }),
    case("memory/file-grows", &["mmap", "ftruncate", "pwrite64"], |out| {
        each_file(out, 1, |out, fd| {
            let base = fine(map(0, 4, RW, MAP_SHARED, fd, 0));
            attempt(out, "before", base + PAGE, Try::Read);
            out.ret("ftruncate", call!(SYS_ftruncate, fd, 2 * PAGE));
            attempt(out, "after", base + PAGE, Try::Read);
            out.ret("pwrite", call!(SYS_pwrite64, fd, [8u8].as_ptr(), 1, 2 * PAGE));
            out.say(peek(base + 2 * PAGE));
            poke(base + 2 * PAGE + 5, 9);
            attempt(out, "still beyond", base + 3 * PAGE, Try::Write);
            out.ret("fallocate", call!(SYS_fallocate, fd, 0, 0, 4 * PAGE));
            attempt(out, "then", base + 3 * PAGE, Try::Write);
            out.say(firsts(base, 4));
        });
    }),
    case("memory/file-shrinks", &["mmap", "ftruncate"], |out| {
        each_file(out, 4, |out, fd| {
            let base = fine(map(0, 4, RW, MAP_SHARED, fd, 0));
            out.say(firsts(base, 4));
            poke(base + 2 * PAGE, 30);
            out.ret("cut", call!(SYS_ftruncate, fd, 2 * PAGE));
            attempt(out, "page 1", base + PAGE, Try::Read);
            attempt(out, "page 2", base + 2 * PAGE, Try::Read);
            attempt(out, "page 3", base + 3 * PAGE, Try::Write);
            let (from, to) = sys::pipe();
            out.ret("write from it", call!(SYS_write, to, base + 2 * PAGE, 10));
            out.ret("write from the border", call!(SYS_write, to, base + 2 * PAGE - 5, 10));
            sys::write(to, &[0; 20]);
            out.ret("read into it", call!(SYS_read, from, base + 2 * PAGE, 10));
            out.ret("grow", call!(SYS_ftruncate, fd, 4 * PAGE));
            out.say(firsts(base, 4));
        });
    }),
    case("memory/file-shrinks-within-page", &["mmap", "ftruncate"], |out| {
        each_file(out, 2, |out, fd| {
            let base = fine(map(0, 2, RW, MAP_SHARED, fd, 0));
            out.say(firsts(base, 2));
            out.ret("cut", call!(SYS_ftruncate, fd, 10));
            out.say(format_args!("{} {} {}", peek(base + 9), peek(base + 10), peek(base + 4095)));
            attempt(out, "page 1", base + PAGE, Try::Read);
            out.ret("grow", call!(SYS_ftruncate, fd, 2 * PAGE));
            out.say(format_args!("{} {} {}", peek(base + 9), peek(base + 10), peek(base + PAGE)));
        });
    }),
    case("memory/file-shrinks-private", &["mmap", "ftruncate"], |out| {
        each_file(out, 3, |out, fd| {
            let base = fine(map(0, 3, RW, MAP_PRIVATE, fd, 0));
            poke(base, 70);
            poke(base + PAGE, 71);
            out.say(firsts(base, 3));
            out.ret("cut", call!(SYS_ftruncate, fd, PAGE));
            out.say(peek(base));
            attempt(out, "the copy beyond", base + PAGE, Try::Read);
            attempt(out, "the file beyond", base + 2 * PAGE, Try::Read);
            out.ret("grow", call!(SYS_ftruncate, fd, 3 * PAGE));
            out.say(firsts(base, 3));
        });
    }),
    case("memory/file-shrinks-in-others", &["mmap", "ftruncate", "clone"], |out| {
        each_file(out, 2, |out, fd| {
            let base = fine(map(0, 2, RW, MAP_SHARED, fd, 0));
            out.say(firsts(base, 2));
            let (from, to) = sys::pipe();
            let (ready, set) = sys::pipe();
            let child = sys::fork(|| {
                let first = peek(base + PAGE);
                sys::write(set, &[first]);
                sys::read(from, &mut [0]);
                peek(base + PAGE).into()
            });
            let mut byte = [0];
            sys::read(ready, &mut byte);
            out.say(format_args!("child reads {}", byte[0]));
            call!(SYS_ftruncate, fd, PAGE);
            sys::write(to, &[0]);
            out.say(sys::status(sys::wait(child) & !0x80));
        });
    }),
    case("memory/file-truncate-by-path", &["mmap", "truncate", "open"], |out| {
        for (place, path) in crate::memory::PLACES {
            out.say(format_args!("on {place}:"));
            let fd = crate::memory::file(path, 2);
            let base = fine(map(0, 2, RW, MAP_SHARED, fd, 0));
            out.say(firsts(base, 2));
            out.ret("truncate", call!(SYS_truncate, sys::c(path), PAGE));
            attempt(out, "beyond", base + PAGE, Try::Read);
            out.say(peek(base));
            let other = call!(SYS_open, sys::c(path), libc::O_RDWR | libc::O_TRUNC) as i32;
            attempt(out, "after O_TRUNC", base, Try::Read);
            sys::write(other, b"x");
            out.say(peek(base));
            call!(SYS_unlink, sys::c(path));
            out.say(peek(base));
        }
    }),
    case("memory/file-punched", &["mmap", "fallocate"], |out| {
        let fd = crate::memory::file("f", 4);
        let base = fine(map(0, 4, RW, MAP_SHARED, fd, 0));
        let private = fine(map(0, 4, RW, MAP_PRIVATE, fd, 0));
        poke(private + PAGE, 99);
        out.say(firsts(base, 4));
        out.say(firsts(private, 4));
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        out.ret("punch", call!(SYS_fallocate, fd, mode, PAGE, 2 * PAGE));
        out.say(firsts(base, 4));
        out.say(firsts(private, 4));
        poke(base + PAGE, 5);
        let mut byte = [0];
        call!(SYS_pread64, fd, byte.as_mut_ptr(), 1, PAGE);
        out.say(byte[0]);
    }),
    case("memory/file-unlinked", &["mmap", "unlink"], |out| {
        let fd = crate::memory::file("f", 2);
        let base = room(2);
        fine(map(base, 2, RW, MAP_SHARED | MAP_FIXED, fd, 0));
        call!(SYS_unlink, sys::c("f"));
        sys::close(fd);
        out.say(firsts(base, 2));
        poke(base, 3);
        out.say(peek(base));
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let line = maps.lines().find(|line| line.starts_with(&format!("{base:x}-"))).unwrap_or_default();
        out.say(line.split_whitespace().skip(5).collect::<Vec<_>>().join(" "));
    }),
    case("memory/file-renamed", &["mmap", "rename"], |out| {
        let fd = crate::memory::file("f", 1);
        let base = room(1);
        fine(map(base, 1, RW, MAP_SHARED | MAP_FIXED, fd, 0));
        out.say(shape(base, 1));
        call!(SYS_rename, sys::c("f"), sys::c("g"));
        out.say(shape(base, 1));
    }),
    case("memory/file-areas", &["mmap", "munmap"], |out| {
        each_file(out, 4, |out, fd| {
            let base = room(8);
            fine(map(base, 2, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0));
            fine(map(base + 2 * PAGE, 2, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 2));
            out.say(shape(base, 8).replace("case-memory-file", "f"));
            fine(map(base + 4 * PAGE, 2, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0));
            call!(SYS_munmap, base + PAGE, PAGE);
            out.say(shape(base, 8).replace("case-memory-file", "f"));
            fine(map(base + 6 * PAGE, 1, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 2));
            out.say(shape(base, 8).replace("case-memory-file", "f"));
        });
    }),
    case("memory/file-msync", &["msync"], |out| {
        let base = room(4);
        each_file(out, 2, |out, fd| {
            fine(map(base, 2, RW, MAP_SHARED | MAP_FIXED, fd, 0));
            poke(base, 9);
            out.ret("MS_SYNC", call!(SYS_msync, base, 2 * PAGE, libc::MS_SYNC));
            out.ret("MS_ASYNC", call!(SYS_msync, base, 2 * PAGE, libc::MS_ASYNC));
            out.ret("MS_INVALIDATE", call!(SYS_msync, base, 2 * PAGE, libc::MS_INVALIDATE));
            out.ret("nothing", call!(SYS_msync, base, 2 * PAGE, 0));
        });
        out.ret("both", call!(SYS_msync, base, PAGE, libc::MS_SYNC | libc::MS_ASYNC));
        out.ret("unknown", call!(SYS_msync, base, PAGE, 8));
        out.ret("odd", call!(SYS_msync, base + 1, PAGE, libc::MS_SYNC));
        out.ret("odd length", call!(SYS_msync, base, 1, libc::MS_SYNC));
        out.ret("length 0", call!(SYS_msync, base, 0, libc::MS_SYNC));
        out.ret("a hole", call!(SYS_msync, base, 3 * PAGE, libc::MS_SYNC));
        out.ret("only a hole", call!(SYS_msync, base + 2 * PAGE, PAGE, libc::MS_SYNC));
        out.ret("overflow", call!(SYS_msync, base, -PAGE, libc::MS_SYNC));
        out.ret("low", call!(SYS_msync, 0, PAGE, libc::MS_ASYNC));
        let locked = fine(map(0, 1, RW, MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_LOCKED, -1, 0));
        out.ret("locked", call!(SYS_msync, locked, PAGE, libc::MS_SYNC));
        out.ret("locked, MS_INVALIDATE", call!(SYS_msync, locked, PAGE, libc::MS_INVALIDATE));
    }),
    case("memory/file-mincore", &["mincore"], |out| {
        let fd = crate::memory::file("f", 2);
        call!(SYS_ftruncate, fd, 4 * PAGE);
        let base = fine(map(0, 6, RW, MAP_SHARED, fd, 0));
        out.say(core(base, 6));
        poke(base + 3 * PAGE, 1);
        out.say(core(base, 6));
        let private = fine(map(0, 4, RW, MAP_PRIVATE, fd, 0));
        out.say(core(private, 4));
    }),
    case("memory/file-shared-in-two-processes", &["mmap", "open"], |out| {
        let fd = crate::memory::file("f", 1);
        let base = fine(map(0, 1, RW, MAP_SHARED, fd, 0));
        in_child(out, |_| {
            let fd = call!(SYS_open, sys::c("f"), libc::O_RDWR) as i32;
            let base = fine(map(0, 1, RW, MAP_SHARED, fd, 0));
            poke(base, 99);
        });
        out.say(peek(base));
    }),
];
