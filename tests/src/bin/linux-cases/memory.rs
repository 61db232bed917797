//! Memory: what the families of memory share.
#![allow(
    unsafe_code,
    reason = "the cases read and write memory that they mapped themselves, or fault on purpose"
)]

use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use libc::{
    MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE,
};

use crate::{
    Out,
    sys::{self, call},
};

pub(crate) const PAGE: i64 = 4096;
pub(crate) const RW: i32 = PROT_READ | PROT_WRITE;
pub(crate) const ANON: i32 = MAP_PRIVATE | MAP_ANONYMOUS;

/// How memory is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Try {
    Read,
    Write,
    Exec,
}

/// mmap(2), length and offset in pages.
pub(crate) fn map(addr: i64, pages: i64, prot: i32, flags: i32, fd: i32, offset: i64) -> i64 {
    call!(SYS_mmap, addr, pages * PAGE, prot, flags, fd, offset * PAGE)
}

/// Private memory.
pub(crate) fn anon(pages: i64) -> i64 {
    fine(map(0, pages, RW, ANON, -1, 0))
}

/// Shared memory.
pub(crate) fn shared(pages: i64) -> i64 {
    fine(map(0, pages, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0))
}

/// A range of addresses with nothing in it and nothing near it.
pub(crate) fn room(pages: i64) -> i64 {
    let all = fine(map(0, pages + 32, PROT_NONE, ANON | MAP_NORESERVE, -1, 0));
    let inside = all + 16 * PAGE;
    call!(SYS_munmap, inside, pages * PAGE);
    inside
}

/// Private memory exactly there.
pub(crate) fn put(addr: i64, pages: i64, prot: i32) -> i64 {
    fine(map(addr, pages, prot, ANON | MAP_FIXED, -1, 0))
}

/// A mapping that is only scenery for the case.
pub(crate) fn fine(addr: i64) -> i64 {
    assert!(!(-4095..0).contains(&addr), "mmap: {addr}");
    addr
}

pub(crate) fn peek(addr: i64) -> u8 {
    // SAFETY: the case mapped it, or wants the fault.
    unsafe { (addr as *const u8).read_volatile() }
}

pub(crate) fn poke(addr: i64, value: u8) {
    // SAFETY: the case mapped it, or wants the fault.
    unsafe { (addr as *mut u8).write_volatile(value) }
}

/// A result relative to a base: an address says where it lies, in pages.
pub(crate) fn place(out: &mut Out, what: &str, result: i64, base: i64) {
    match result {
        -4095..0 => out.ret(what, result),
        _ if (result - base) % PAGE == 0 && (result - base).abs() < 1 << 24 => {
            out.say(format_args!("{what} at {:+} pages", (result - base) / PAGE));
        }
        _ => out.say(format_args!("{what} elsewhere")),
    }
}

/// Bytes of the handler's stack; not mapped when it is needed, as that would change what a case looks at.
const ALT_STACK: usize = 65536;

static REPORT: AtomicI32 = AtomicI32::new(-1);
static BASE: AtomicI64 = AtomicI64::new(0);

extern "C" fn report(signo: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a siginfo.
    let (code, addr) = unsafe { ((*info).si_code, (*info).si_addr() as i64) };
    let words = [i64::from(signo), i64::from(code), addr.wrapping_sub(BASE.load(Ordering::Relaxed))];
    call!(SYS_write, REPORT.load(Ordering::Relaxed), words.as_ptr(), 24);
    sys::exit(0);
}

/// Reports faults to a descriptor from now on and ends the process at the first.
fn watch_faults(to: i32, base: i64) {
    REPORT.store(to, Ordering::Relaxed);
    BASE.store(base, Ordering::Relaxed);
    static STACK: [AtomicI64; ALT_STACK / 8] = [const { AtomicI64::new(0) }; ALT_STACK / 8];
    let stack = (&raw const STACK) as i64;
    // SAFETY: plain data, valid for the calls; the stack stays mapped.
    unsafe {
        let alternate = libc::stack_t { ss_sp: stack as *mut libc::c_void, ss_flags: 0, ss_size: ALT_STACK };
        libc::sigaltstack(&raw const alternate, std::ptr::null_mut());
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = report as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        for signo in [libc::SIGSEGV, libc::SIGBUS] {
            libc::sigaction(signo, &raw const action, std::ptr::null_mut());
        }
    }
}

/// What comes of `body` in a child: its number, or the fault, with its address relative to `base`.
pub(crate) fn outcome(base: i64, body: impl FnOnce() -> i64) -> String {
    let (from, to) = sys::pipe();
    let child = sys::fork(|| {
        watch_faults(to, base);
        let words = [0, 0, body()];
        call!(SYS_write, to, words.as_ptr(), 24);
        0
    });
    sys::close(to);
    let mut words = [0i64; 3];
    let got = call!(SYS_read, from, words.as_mut_ptr(), 24);
    sys::close(from);
    let end = sys::wait(child);
    match (got, words) {
        (24, [0, _, value]) => format!("{value}"),
        (24, [signo, code, addr]) => {
            let code = match (signo as i32, code) {
                (libc::SIGSEGV, 1) => "MAPERR".into(),
                (libc::SIGSEGV, 2) => "ACCERR".into(),
                (libc::SIGBUS, 2) => "ADRERR".into(),
                (_, code) => format!("code {code}"),
            };
            format!("{} {code} at {addr:+#x}", sys::signal_name(signo as i32))
        }
        _ => sys::status(end),
    }
}

/// Tries memory in a child and says what came of it.
pub(crate) fn attempt(out: &mut Out, what: &str, addr: i64, how: Try) {
    let end = outcome(addr, || {
        match how {
            Try::Read => return peek(addr).into(),
            Try::Write => poke(addr, 1),
            // SAFETY: the case put a `ret` there, or wants the fault.
            Try::Exec => unsafe { std::mem::transmute::<i64, extern "C" fn()>(addr)() },
        }
        0
    });
    out.say(format_args!("{what}: {end}"));
}

/// The areas of `/proc/self/maps` in a range: pages from its start, rights, offset in pages, file's last name.
pub(crate) fn shape(addr: i64, pages: i64) -> String {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let end = addr + pages * PAGE;
    let mut words = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let Some((low, high)) = fields[0].split_once('-') else { continue };
        let number = |text| i64::from_str_radix(text, 16).unwrap_or(i64::MAX);
        let (low, high) = (number(low), number(high));
        if high <= addr || low >= end {
            continue;
        }
        let (low, high) = ((low.max(addr) - addr) / PAGE, (high.min(end) - addr) / PAGE);
        let name = fields.get(5).map_or("", |name| name.rsplit('/').next().unwrap_or(name));
        let offset = number(fields[2]) / PAGE;
        words.push(format!("{low}-{high} {} @{offset} {name}", fields[1]).trim_end().to_owned());
    }
    format!("[{}]", words.join(", "))
}

/// Which pages mincore(2) sees.
pub(crate) fn core(addr: i64, pages: i64) -> String {
    let mut seen = vec![0xeeu8; pages as usize];
    match call!(SYS_mincore, addr, pages * PAGE, seen.as_mut_ptr()) {
        0 => seen.iter().map(|byte| if byte & 1 == 1 { '1' } else { '0' }).collect(),
        error => sys::errno_name(-error as u32),
    }
}

/// A new file of some pages, each filled with its number plus 1; open for reading and writing.
pub(crate) fn file(name: &str, pages: i64) -> i32 {
    let fd = call!(SYS_open, sys::c(name), libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC, 0o600) as i32;
    assert!(fd >= 0, "open: {fd}");
    for page in 0..pages {
        assert_eq!(sys::write(fd, &[page as u8 + 1; PAGE as usize]), PAGE, "write");
    }
    fd
}

/// Where files can be: in the case's directory, which is a tmpfs, and on the root file system.
pub(crate) const PLACES: [(&str, &str); 2] = [("tmpfs", "f"), ("root", "/case-memory-file")];

/// Does the same with a file of some pages in each place.
pub(crate) fn each_file(out: &mut Out, pages: i64, mut body: impl FnMut(&mut Out, i32)) {
    for (place, path) in PLACES {
        out.say(format_args!("on {place}:"));
        let fd = file(path, pages);
        body(out, fd);
        sys::close(fd);
        call!(SYS_unlink, sys::c(path));
    }
}

/// A resource limit's soft value; the hard one stays.
pub(crate) fn limit(resource: u32, soft: u64) -> i64 {
    let mut both = [0u64; 2];
    call!(SYS_prlimit64, 0, resource, 0, both.as_mut_ptr());
    both[0] = soft;
    call!(SYS_prlimit64, 0, resource, both.as_ptr(), 0)
}

/// Runs `body` in a child that writes to the same place.
pub(crate) fn in_child(out: &mut Out, body: impl FnOnce(&mut Out)) {
    let fd = out.fd();
    let child = sys::fork(|| {
        body(&mut Out::new(fd));
        0
    });
    let end = sys::status(sys::wait(child));
    if end != "exited 0" {
        out.say(end);
    }
}

/// The number of kB in a line of a file of `/proc`.
pub(crate) fn proc_kb(file: &str, field: &str) -> Option<i64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Drops everything but what cases of a kind need: no capabilities at all.
pub(crate) fn drop_capabilities() {
    let header = [0x2008_0522u32, 0];
    let none = [0u32; 6];
    assert_eq!(call!(SYS_capset, header.as_ptr(), none.as_ptr()), 0, "capset");
}
