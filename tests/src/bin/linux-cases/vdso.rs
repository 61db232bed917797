//! The vDSO: what is in it, and that its clocks are the kernel's.
#![allow(unsafe_code, reason = "the cases call functions of an image that the kernel maps")]

use std::fs;

use crate::{
    Case, case,
    sys::{self, call},
};

const NAMES: [&str; 5] =
    ["__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time", "__vdso_clock_getres", "__vdso_getcpu"];
/// Clocks that the vDSO reads by itself.
const CLOCKS: [(&str, i32); 7] = [
    ("REALTIME", 0),
    ("MONOTONIC", 1),
    ("MONOTONIC_RAW", 4),
    ("REALTIME_COARSE", 5),
    ("MONOTONIC_COARSE", 6),
    ("BOOTTIME", 7),
    ("TAI", 11),
];
const ROUNDS: usize = 200;

type ClockFn = extern "C" fn(i32, *mut [i64; 2]) -> i32;
type DayFn = extern "C" fn(*mut [i64; 2], *mut [i32; 2]) -> i32;
type TimeFn = extern "C" fn(*mut i64) -> i64;
type CpuFn = extern "C" fn(*mut u32, *mut u32, *mut u8) -> i32;

/// A value of the auxiliary vector.
pub(crate) fn auxv(key: u64) -> Option<u64> {
    let bytes = fs::read("/proc/self/auxv").unwrap_or_default();
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or([0; 8]))).collect();
    words.chunks_exact(2).find(|pair| pair[0] == key).map(|pair| pair[1])
}

/// The image in memory.
struct Vdso {
    base: u64,
    /// Dynamic section.
    tags: Vec<(u64, u64)>,
}

impl Vdso {
    fn find() -> Self {
        let base = auxv(33).unwrap_or(0);
        assert_ne!(base, 0, "no AT_SYSINFO_EHDR");
        let mut vdso = Self { base, tags: Vec::new() };
        let headers = vdso.at::<u64>(32);
        let dynamic = (0..u64::from(vdso.at::<u16>(56)))
            .map(|index| headers + index * 56)
            .find(|&header| vdso.at::<u32>(header) == 2)
            .map_or(0, |header| vdso.at::<u64>(header + 16));
        vdso.tags = (0..)
            .map(|index| (vdso.at(dynamic + index * 16), vdso.at(dynamic + index * 16 + 8)))
            .take_while(|&(key, _)| key != 0)
            .collect();
        vdso
    }

    fn at<T: Copy>(&self, offset: u64) -> T {
        // SAFETY: an offset that the image gives; whatever it holds is plain data.
        unsafe { ((self.base + offset) as *const T).read_unaligned() }
    }

    fn tag(&self, key: u64) -> u64 {
        self.tags.iter().find(|(tag, _)| *tag == key).map_or(0, |(_, value)| *value)
    }

    fn text(&self, offset: u32) -> String {
        let start = self.tag(5) + u64::from(offset);
        (start..).map(|at| self.at::<u8>(at)).take_while(|&byte| byte != 0).map(char::from).collect()
    }

    /// Index of a symbol.
    fn symbol(&self, name: &str) -> Option<u64> {
        // The hash table's second word is the number of symbols.
        let count = u64::from(self.at::<u32>(self.tag(4) + 4));
        (1..count).find(|index| self.text(self.at(self.tag(6) + index * 24)) == name)
    }

    fn version(&self, symbol: u64) -> String {
        let wanted = self.at::<u16>(self.tag(0x6fff_fff0) + symbol * 2) & 0x7fff;
        let mut at = self.tag(0x6fff_fffc);
        loop {
            if self.at::<u16>(at + 4) == wanted {
                return self.text(self.at(at + u64::from(self.at::<u32>(at + 12))));
            }
            match self.at::<u32>(at + 16) {
                0 => return "none".into(),
                next => at += u64::from(next),
            }
        }
    }

    /// A function. `T` is its type.
    fn function<T>(&self, name: &str) -> T {
        let symbol = self.symbol(name).unwrap_or(0);
        assert_ne!(symbol, 0, "no {name}");
        let address = self.base + self.at::<u64>(self.tag(6) + symbol * 24 + 8);
        // SAFETY: a function of that type, as vdso(7) says.
        unsafe { std::mem::transmute_copy(&address) }
    }
}

fn ns(time: [i64; 2]) -> i64 {
    time[0] * 1_000_000_000 + time[1]
}

fn by_call(clock: i32) -> i64 {
    let mut time = [0; 2];
    call!(SYS_clock_gettime, clock, time.as_mut_ptr());
    ns(time)
}

fn by_vdso(read: ClockFn, clock: i32) -> i64 {
    let mut time = [0; 2];
    if read(clock, &raw mut time) != 0 || !(0..1_000_000_000).contains(&time[1]) {
        return -1;
    }
    ns(time)
}

/// A line of `/proc/self/maps`: from, to, the rest up to the name.
fn area(name: &str) -> Option<(u64, u64, String)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let line = maps.lines().find(|line| line.ends_with(name))?;
    let (range, rest) = line.split_once(' ')?;
    let (from, to) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
    Some((number(from), number(to), rest.into()))
}

pub(crate) const CASES: &[Case] = &[
    case("vdso/is-a-shared-object", &["execve"], |out| {
        let vdso = Vdso::find();
        out.say(format_args!(
            "magic {:x?} type {} machine {}",
            vdso.at::<[u8; 7]>(0),
            vdso.at::<u16>(16),
            vdso.at::<u16>(18)
        ));
        out.say(format_args!("header sizes {} {}", vdso.at::<u16>(52), vdso.at::<u16>(54)));
        let headers = vdso.at::<u64>(32);
        for index in 0..u64::from(vdso.at::<u16>(56)) {
            let header = headers + index * 56;
            if matches!(vdso.at::<u32>(header), 1 | 2) {
                out.say(format_args!(
                    "kind {} flags {} at its offset {}",
                    vdso.at::<u32>(header),
                    vdso.at::<u32>(header + 4),
                    vdso.at::<u64>(header + 8) == vdso.at::<u64>(header + 16)
                ));
            }
        }
        out.say(format_args!("name {}", vdso.text(vdso.tag(14) as u32)));
    }),
    case("vdso/symbols", &["execve"], |out| {
        let vdso = Vdso::find();
        for name in NAMES.iter().flat_map(|name| [*name, name.trim_start_matches("__vdso_")]) {
            let Some(symbol) = vdso.symbol(name) else {
                out.say(format_args!("no {name}"));
                continue;
            };
            let at = vdso.tag(6) + symbol * 24;
            out.say(format_args!(
                "{name} info {:#x} version {}",
                vdso.at::<u8>(at + 4),
                vdso.version(symbol)
            ));
        }
        out.say(format_args!("version {}", vdso.symbol("LINUX_2.6").is_some()));
        out.say(format_args!("nothing else {}", vdso.symbol("__vdso_nothing").is_none()));
    }),
    case("vdso/maps", &["execve"], |out| {
        let base = auxv(33);
        for name in ["[vvar]", "[vdso]"] {
            match area(name) {
                Some((from, to, rest)) => out.say(format_args!(
                    "{rest:?} starts the image {} pages {}",
                    Some(from) == base,
                    (to - from) / 4096 > 0
                )),
                None => out.say(format_args!("no {name}")),
            }
        }
        let below = area("[vvar]").map(|(from, ..)| from) < area("[vdso]").map(|(from, ..)| from);
        out.say(format_args!("parameters below code {below}"));
    }),
    case("vdso/clocks-agree-with-the-call", &["clock_gettime"], |out| {
        let read: ClockFn = Vdso::find().function("__vdso_clock_gettime");
        for (name, clock) in CLOCKS {
            let mut wrong = 0;
            let mut last = by_call(clock);
            for _ in 0..ROUNDS {
                let (inside, after) = (by_vdso(read, clock), by_call(clock));
                wrong += usize::from(!(last <= inside && inside <= after));
                last = after;
            }
            out.say(format_args!("{name}: {wrong} wrong"));
        }
    }),
    case("vdso/clocks-advance", &["clock_gettime"], |out| {
        let read: ClockFn = Vdso::find().function("__vdso_clock_gettime");
        for (name, clock) in CLOCKS {
            let before = by_vdso(read, clock);
            sys::sleep_ms(20);
            let passed = by_vdso(read, clock) - before;
            out.say(format_args!("{name}: {}", (10_000_000..5_000_000_000).contains(&passed)));
        }
    }),
    case("vdso/other-clocks-ask-the-kernel", &["clock_gettime"], |out| {
        let read: ClockFn = Vdso::find().function("__vdso_clock_gettime");
        for clock in [2, 3, 8, 9, 10, 12, 15, 16, 17, 31, 32, 33, 64, -1, -2, -6, i32::MIN, i32::MAX] {
            let mut time = [0; 2];
            let mut other = [0i64; 2];
            let made = i64::from(read(clock, &raw mut time));
            let called = call!(SYS_clock_gettime, clock, other.as_mut_ptr());
            out.say(format_args!("{clock}: the same as the call {}", made == called));
        }
        let mut time = [0; 2];
        out.ret("no such clock", read(12345, &raw mut time).into());
    }),
    case("vdso/resolutions", &["clock_getres"], |out| {
        let read: ClockFn = Vdso::find().function("__vdso_clock_getres");
        for (name, clock) in CLOCKS.into_iter().chain([("PROCESS_CPUTIME", 2), ("THREAD_CPUTIME", 3)]) {
            let (mut time, mut other) = ([0; 2], [0i64; 2]);
            let result = read(clock, &raw mut time);
            call!(SYS_clock_getres, clock, other.as_mut_ptr());
            out.say(format_args!("{name}: {result} {time:?} as the call {}", time == other));
            out.ret("without a place", read(clock, std::ptr::null_mut()).into());
        }
        let mut time = [0; 2];
        out.ret("no such clock", read(12345, &raw mut time).into());
        out.ret("negative", read(-1, &raw mut time).into());
    }),
    case("vdso/gettimeofday", &["gettimeofday"], |out| {
        let read: DayFn = Vdso::find().function("__vdso_gettimeofday");
        let us = |time: [i64; 2]| time[0] * 1_000_000 + time[1];
        let mut wrong = 0;
        for _ in 0..ROUNDS {
            let (mut before, mut inside, mut after, mut zone) = ([0i64; 2], [0; 2], [0i64; 2], [9; 2]);
            call!(SYS_gettimeofday, before.as_mut_ptr(), 0);
            let result = read(&raw mut inside, &raw mut zone);
            call!(SYS_gettimeofday, after.as_mut_ptr(), 0);
            let fine = result == 0
                && zone == [0; 2]
                && (0..1_000_000).contains(&inside[1])
                && us(before) <= us(inside)
                && us(inside) <= us(after);
            wrong += usize::from(!fine);
        }
        out.say(format_args!("{wrong} wrong"));
        let null = std::ptr::null_mut();
        let mut zone = [9; 2];
        out.ret("no time", read(null, &raw mut zone).into());
        out.say(format_args!("{zone:?}"));
        out.ret("nothing", read(null, std::ptr::null_mut()).into());
    }),
    case("vdso/time", &["time"], |out| {
        let read: TimeFn = Vdso::find().function("__vdso_time");
        let mut stored = 0;
        let before = call!(SYS_time, 0);
        let now = read(&raw mut stored);
        let after = call!(SYS_time, 0);
        out.say(format_args!("{} {}", before <= now && now <= after, stored == now));
        out.say(format_args!("{}", read(std::ptr::null_mut()) >= now));
    }),
    case("vdso/getcpu", &["getcpu", "sched_setaffinity"], |out| {
        let read: CpuFn = Vdso::find().function("__vdso_getcpu");
        let null = std::ptr::null_mut::<u32>();
        let (mut all, mut count) = ([0u64; 16], 0);
        call!(SYS_sched_getaffinity, 0, 128, all.as_mut_ptr());
        for cpu in 0..64u32 {
            if all[0] & 1 << cpu == 0 {
                continue;
            }
            let one = [1u64 << cpu];
            call!(SYS_sched_setaffinity, 0, 8, one.as_ptr());
            let (mut here, mut node, mut called) = (99, 99, 99u32);
            let result = read(&raw mut here, &raw mut node, std::ptr::null_mut());
            call!(SYS_getcpu, &raw mut called, 0, 0);
            count += usize::from(result != 0 || here != cpu || called != cpu || node != 0);
        }
        out.say(format_args!("{count} wrong"));
        out.ret("nowhere", read(null, null, std::ptr::null_mut()).into());
    }),
    case("vdso/cpu-from-a-segment", &["sched_setaffinity"], |out| {
        let one = [1u64];
        out.ret("to CPU 0", call!(SYS_sched_setaffinity, 0, 8, one.as_ptr()));
        let limit: u32;
        // SAFETY: reads a segment's limit.
        unsafe {
            std::arch::asm!("lsl {0:e}, {1:e}", out(reg) limit, in(reg) 0x7bu32, options(nomem, nostack))
        };
        out.say(format_args!("{limit}"));
    }),
    case("vdso/rights", &["mprotect"], |out| {
        let (Some(data), Some(code)) = (area("[vvar]"), area("[vdso]")) else { return };
        const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
        out.ret("parameters writable", call!(SYS_mprotect, data.0, 4096, READ_WRITE));
        out.ret("code writable", call!(SYS_mprotect, code.0, code.1 - code.0, READ_WRITE | libc::PROT_EXEC));
        // SAFETY: made writable just now; a private copy.
        unsafe { ((code.0 + 8) as *mut u8).write_volatile(7) };
        out.say(format_args!("changed {}", Vdso::find().at::<u8>(8)));
        let pid = sys::fork(|| i32::from(Vdso::find().at::<u8>(8)));
        out.say(sys::status(sys::wait(pid)));
    }),
    case("vdso/a-change-is-private", &["mprotect"], |out| {
        let fd = out.fd();
        let changer = sys::fork(|| {
            let Some(code) = area("[vdso]") else { return 1 };
            call!(
                SYS_mprotect,
                code.0,
                code.1 - code.0,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC
            );
            // SAFETY: as above.
            unsafe { ((code.0 + 8) as *mut u8).write_volatile(7) };
            0
        });
        out.say(sys::status(sys::wait(changer)));
        let pid = sys::fork(|| {
            call!(SYS_dup2, fd, 1);
            -sys::exec_self(&["vdso"]) as i32
        });
        out.say(sys::status(sys::wait(pid)));
    }),
    case("vdso/unmapped", &["munmap", "clock_gettime"], |out| {
        let (Some(data), Some(code)) = (area("[vvar]"), area("[vdso]")) else { return };
        let pid = sys::fork(|| {
            let read: ClockFn = Vdso::find().function("__vdso_clock_gettime");
            call!(SYS_munmap, data.0, data.1 - data.0);
            by_vdso(read, 1) as i32
        });
        out.say(format_args!("without parameters: {}", sys::status(sys::wait(pid) & !0x80)));
        out.ret("munmap", call!(SYS_munmap, code.0, code.1 - code.0));
        out.say(format_args!("gone {}", area("[vdso]").is_none()));
        out.say(format_args!("time goes on {}", by_call(1) > 0));
    }),
    case("vdso/bad-place", &["clock_gettime"], |out| {
        for clock in [1, 2] {
            let pid = sys::fork(|| {
                let read: ClockFn = Vdso::find().function("__vdso_clock_gettime");
                i32::from(read(clock, std::ptr::without_provenance_mut(16)) == -libc::EFAULT)
            });
            out.say(format_args!("{clock}: {}", sys::status(sys::wait(pid) & !0x80)));
        }
    }),
    case("vdso/never-backwards-between-threads", &["clock_gettime"], |out| {
        use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
        let read: ClockFn = Vdso::find().function("__vdso_clock_gettime");
        let (latest, wrong) = (AtomicI64::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (latest, wrong) = (&latest, &wrong);
                scope.spawn(move || {
                    for round in 0..2000 {
                        let seen = latest.load(Ordering::SeqCst);
                        let now = if (round + thread) % 2 == 0 { by_vdso(read, 1) } else { by_call(1) };
                        wrong.fetch_add(usize::from(now < seen), Ordering::SeqCst);
                        latest.fetch_max(now, Ordering::SeqCst);
                    }
                });
            }
        });
        out.say(format_args!("{} wrong", wrong.into_inner()));
    }),
    case("vdso/moved", &["mremap"], |out| {
        let Some(code) = area("[vdso]") else { return };
        let len = code.1 - code.0;
        let to = call!(SYS_mmap, 0, len, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        let moved = call!(SYS_mremap, code.0, len, len, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, to);
        out.say(format_args!("moved {}", moved == to));
        out.say(format_args!("found there {}", area("[vdso]").map(|(from, ..)| from as i64) == Some(to)));
    }),
];

/// What the program of [`CASES`] says of a fresh image.
pub(crate) fn child() -> i32 {
    println!("fresh {}", Vdso::find().at::<u8>(8));
    0
}
