//! Programs that take all memory of one kind. They are no cases, since a Linux without limits would suffer: the
//! integration tests start them with `child bomb KIND`.
#![allow(unsafe_code, reason = "reads and writes memory that it mapped itself")]

use crate::{
    memory::{ANON, PAGE, RW, map},
    sys::{self, call},
};

const MIB: usize = 1 << 20;
/// More than any test's container holds, in MiB, or in objects.
const MANY: usize = 1 << 16;

/// Takes memory until something stops it; says what.
pub(crate) fn explode(kind: &str) -> i32 {
    let stopped = match kind {
        "malloc" => malloc(),
        "fork" => fork(),
        "memfd" => memfd(),
        "threads" => threads(),
        "areas" => areas(),
        "pipes" => pipes(),
        "files" => files(),
        _ => return 98,
    };
    println!("{kind}: {stopped}");
    0
}

fn named(result: i64) -> String {
    if result < 0 { sys::errno_name(-result as u32) } else { "no end".into() }
}

/// Touches so much.
fn touch(pages: i64) -> i64 {
    let base = map(0, pages, RW, ANON, -1, 0);
    if base > 0 {
        (0..pages).for_each(|page| crate::memory::poke(base + page * PAGE, 1));
    }
    base
}

fn malloc() -> String {
    (0..MANY).map(|_| touch(256)).find(|&base| base < 0).map_or_else(|| "no end".into(), named)
}

/// Children of 2 MiB each, until one is killed.
fn fork() -> String {
    let mut end = String::from("no end");
    for _ in 0..2000 {
        let pid = sys::fork(|| {
            call!(SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            touch(512);
            sys::sleep_ms(60_000);
            0
        });
        let mut status = 0i32;
        let gone = call!(SYS_wait4, -1, &raw mut status, libc::WNOHANG, 0);
        if gone > 0 {
            end = format!("a child {}", sys::status(i64::from(status)));
            break;
        }
        if pid < 0 {
            end = named(i64::from(pid));
            break;
        }
    }
    // The others end with this process.
    end
}

fn memfd() -> String {
    let fd = call!(SYS_memfd_create, sys::c("bomb"), 0) as i32;
    let bytes = vec![1; MIB];
    (0..MANY).map(|_| sys::write(fd, &bytes)).find(|&n| n < 0).map_or_else(|| "no end".into(), named)
}

fn threads() -> String {
    for _ in 0..MANY {
        let made = std::thread::Builder::new().stack_size(64 << 10).spawn(|| sys::sleep_ms(60_000));
        if made.is_err() {
            return "no more".into();
        }
    }
    "no end".into()
}

/// Areas that cannot be joined.
fn areas() -> String {
    let base = map(0, 2 * MANY as i64 + 2, libc::PROT_NONE, ANON | libc::MAP_NORESERVE, -1, 0);
    for index in 0..MANY as i64 {
        let result = call!(SYS_mprotect, base + 2 * index * PAGE, PAGE, RW);
        if result < 0 {
            return named(result);
        }
    }
    "no end".into()
}

fn pipes() -> String {
    let mut ends = [0i32; 2];
    let bytes = vec![1; MIB];
    for _ in 0..MANY {
        let made = call!(SYS_pipe2, ends.as_mut_ptr(), libc::O_NONBLOCK);
        if made < 0 {
            return named(made);
        }
        call!(SYS_fcntl, ends[1], libc::F_SETPIPE_SZ, MIB);
        let written = sys::write(ends[1], &bytes);
        if written < 0 {
            return named(written);
        }
    }
    "no end".into()
}

/// Empty files in memory.
fn files() -> String {
    for index in 0..MANY * 16 {
        let fd = call!(SYS_open, sys::c(&format!("/dev/shm/{index}")), libc::O_CREAT | libc::O_RDWR, 0o600);
        if fd < 0 {
            return named(fd);
        }
        sys::close(fd as i32);
    }
    "no end".into()
}

/// Touches so many MiB, says so, gives them back after a line of input, says so, and waits for another.
pub(crate) fn come_and_go(mib: &str) -> i32 {
    let pages = mib.parse::<i64>().unwrap_or(0) * 256;
    let mut line = String::new();
    let base = touch(pages);
    println!("touched");
    let _ = std::io::stdin().read_line(&mut line);
    call!(SYS_munmap, base, pages * PAGE);
    println!("freed");
    let _ = std::io::stdin().read_line(&mut line);
    0
}
