//! Memory that several processes use at once; what comes of it does not depend on who is first.

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_READ};

use crate::{
    Case, case,
    memory::{
        PAGE, RW, Try, anon, attempt, each_file, file, fine, in_child, map, outcome, peek, poke, shared,
    },
    sys::{self, call},
};

const FUTEX_WAIT: i32 = 0;
const FUTEX_WAKE: i32 = 1;

/// A child waits at one address, the parent wakes it at another.
fn wake_across(there: i64, here: i64) -> String {
    let child = sys::fork(|| i32::from(call!(SYS_futex, there, FUTEX_WAIT, 0, 0) != 0));
    while call!(SYS_futex, here, FUTEX_WAKE, 1) == 0 {
        sys::sleep_ms(1);
    }
    sys::status(sys::wait(child))
}

pub(crate) const CASES: &[Case] = &[
    case("memory/futex-in-two-mappings", &["futex", "mmap"], |out| {
        each_file(out, 2, |out, fd| {
            call!(SYS_pwrite64, fd, [0u8; 8].as_ptr(), 8, 0);
            let here = fine(map(0, 1, RW, MAP_SHARED, fd, 0));
            let there = fine(map(0, 2, RW, MAP_SHARED, fd, 0));
            out.say(wake_across(there, here));
        });
        let memory = shared(1);
        let twin = call!(SYS_mremap, memory, 0, PAGE, libc::MREMAP_MAYMOVE);
        out.say(wake_across(memory, twin));
    }),
    case("memory/futex-in-memfd", &["futex", "memfd_create"], |out| {
        let fd = call!(SYS_memfd_create, sys::c("x"), 0) as i32;
        call!(SYS_ftruncate, fd, PAGE);
        let other = call!(SYS_open, sys::c(&format!("/proc/self/fd/{fd}")), libc::O_RDWR) as i32;
        let (here, there) =
            (fine(map(0, 1, RW, MAP_SHARED, fd, 0)), fine(map(0, 1, RW, MAP_SHARED, other, 0)));
        out.say(wake_across(there, here));
    }),
    case("memory/code-in-two-mappings", &["memfd_create", "mmap"], |out| {
        let fd = call!(SYS_memfd_create, sys::c("code"), 0) as i32;
        call!(SYS_ftruncate, fd, PAGE);
        let write = fine(map(0, 1, RW, MAP_SHARED, fd, 0));
        let run = fine(map(0, 1, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
        poke(write, 0xc3);
        attempt(out, "run", run, Try::Exec);
        attempt(out, "write there", run, Try::Write);
        attempt(out, "run the other", write, Try::Exec);
        poke(write, 0x90);
        poke(write + 1, 0xc3);
        attempt(out, "run again", run, Try::Exec);
    }),
    case("memory/file-cut-while-read", &["ftruncate", "pread64"], |out| {
        each_file(out, 4, |out, fd| {
            let readers = [0, 1].map(|_| {
                sys::fork(|| {
                    let mut bytes = vec![0; 4 * PAGE as usize];
                    loop {
                        call!(SYS_pread64, fd, bytes.as_mut_ptr(), bytes.len(), 0);
                    }
                })
            });
            for _ in 0..50 {
                call!(SYS_ftruncate, fd, 0);
                call!(SYS_ftruncate, fd, 4 * PAGE);
            }
            for reader in readers {
                call!(SYS_kill, reader, libc::SIGKILL);
                out.say(sys::status(sys::wait(reader)));
            }
        });
    }),
    case("memory/file-cut-while-touched", &["ftruncate", "mmap"], |out| {
        each_file(out, 4, |out, fd| {
            let base = fine(map(0, 4, RW, MAP_SHARED, fd, 0));
            let touching = sys::fork(|| {
                loop {
                    (0..2).for_each(|page| poke(base + page * PAGE, 1));
                }
            });
            for _ in 0..30 {
                call!(SYS_ftruncate, fd, 2 * PAGE);
                call!(SYS_ftruncate, fd, 4 * PAGE);
            }
            call!(SYS_ftruncate, fd, PAGE);
            out.say(sys::status(sys::wait(touching) & !0x80));
        });
    }),
    case("memory/file-cut-while-written-from", &["ftruncate", "write"], |out| {
        each_file(out, 4, |out, fd| {
            let base = fine(map(0, 4, RW, MAP_SHARED, fd, 0));
            let null = call!(SYS_open, sys::c("/dev/null"), libc::O_WRONLY);
            let (from, to) = sys::pipe();
            let copying = sys::fork(|| {
                loop {
                    let (wrote, mut bytes) = (call!(SYS_write, to, base + PAGE, PAGE), [0; 4096]);
                    match wrote {
                        1.. => sys::read(from, &mut bytes),
                        _ => return -wrote as i32,
                    };
                    call!(SYS_write, null, base, 1);
                }
            });
            for _ in 0..20 {
                call!(SYS_ftruncate, fd, 3 * PAGE);
                call!(SYS_ftruncate, fd, 4 * PAGE);
            }
            call!(SYS_ftruncate, fd, PAGE);
            out.say(sys::status(sys::wait(copying)));
        });
    }),
    case("memory/write-from-own-file", &["write", "mmap"], |out| {
        // The bytes written come from the file that they go to.
        each_file(out, 2, |out, fd| {
            let base = fine(map(0, 2, RW, MAP_SHARED, fd, 0));
            out.ret("append", call!(SYS_pwrite64, fd, base, 2 * PAGE, 2 * PAGE));
            out.ret("over itself", call!(SYS_pwrite64, fd, base + PAGE, PAGE, 0));
            out.say(format_args!("{} {}", peek(base), peek(base + PAGE)));
            out.ret("read into itself", call!(SYS_pread64, fd, base + PAGE, PAGE, 0));
            let mut bytes = [0; 1];
            call!(SYS_pread64, fd, bytes.as_mut_ptr(), 1, 3 * PAGE);
            out.say(bytes[0]);
        });
    }),
    case("memory/private-file-and-fork", &["mmap", "clone"], |out| {
        each_file(out, 3, |out, fd| {
            let base = fine(map(0, 3, RW, MAP_PRIVATE, fd, 0));
            poke(base, 50);
            in_child(out, |out| {
                poke(base + PAGE, 51);
                call!(SYS_pwrite64, fd, [60u8].as_ptr(), 1, 2 * PAGE);
                out.say(format_args!("{} {} {}", peek(base), peek(base + PAGE), peek(base + 2 * PAGE)));
            });
            out.say(format_args!("{} {} {}", peek(base), peek(base + PAGE), peek(base + 2 * PAGE)));
            call!(SYS_ftruncate, fd, PAGE);
            out.say(outcome(base, || peek(base + PAGE).into()));
            out.say(peek(base));
        });
    }),
    case("memory/madvise-huge-pages", &["madvise"], |out| {
        let base = anon(4);
        poke(base, 1);
        for (name, advice) in [("HUGEPAGE", 14), ("NOHUGEPAGE", 15), ("MERGEABLE", 12), ("UNMERGEABLE", 13)] {
            out.ret(name, call!(SYS_madvise, base, 4 * PAGE, advice));
        }
        let large = anon(2048);
        out.ret("HUGEPAGE", call!(SYS_madvise, large, 2048 * PAGE, 14));
        (0..2048).step_by(64).for_each(|page| poke(large + page * PAGE, page as u8));
        in_child(out, |out| {
            poke(large + 64 * PAGE, 1);
            out.say(peek(large + 128 * PAGE));
        });
        out.ret("a hole", call!(SYS_munmap, large + 64 * PAGE, PAGE));
        out.say(peek(large + 128 * PAGE));
        out.ret("DONTNEED", call!(SYS_madvise, large, 512 * PAGE, libc::MADV_DONTNEED));
        out.ret("with a hole", call!(SYS_madvise, large + 63 * PAGE, PAGE, libc::MADV_DONTNEED));
        out.say(format_args!("{} {}", peek(large + 128 * PAGE), peek(large + 1024 * PAGE + 64 * PAGE)));
        let fd = file("f", 1);
        out.ret("of a file", call!(SYS_madvise, fine(map(0, 1, RW, MAP_SHARED, fd, 0)), PAGE, 14));
    }),
];
