use elf::{ElfBytes, abi, endian::LittleEndian};
use proptest::prelude::*;
use std::{format, sync::OnceLock};

use super::*;
use crate::arch::timescale::{Factors, scale};

fn parsed() -> ElfBytes<'static, LittleEndian> {
    ElfBytes::minimal_parse(image()).expect("an ELF file")
}

/// The value of a function's symbol, found as a program's loader does: by its name and version.
fn find(name: &str) -> u64 {
    let headers = parsed().segments().expect("program headers");
    let dynamic = headers.iter().find(|h| h.p_type == abi::PT_DYNAMIC).expect("a dynamic section");
    let word = |at: u64| u64::from_le_bytes(image()[at as usize..][..8].try_into().unwrap());
    let half = |at: u64| u16::from_le_bytes(image()[at as usize..][..2].try_into().unwrap());
    let long = |at: u64| u32::from_le_bytes(image()[at as usize..][..4].try_into().unwrap());
    let tag = |wanted: u64| {
        (dynamic.p_offset..dynamic.p_offset + dynamic.p_filesz)
            .step_by(16)
            .find(|&at| word(at) == wanted)
            .map(|at| word(at + 8))
            .unwrap_or_else(|| panic!("no tag {wanted:#x}"))
    };
    let text = |offset: u32| {
        let from = &image()[(tag(5) + u64::from(offset)) as usize..];
        std::str::from_utf8(from.split(|&byte| byte == 0).next().unwrap()).unwrap()
    };
    // The version that index 2 stands for.
    let second = tag(0x6fff_fffc) + u64::from(long(tag(0x6fff_fffc) + 16));
    assert_eq!((half(second + 4), long(second + 8)), (2, 0x03ae_75f6));
    assert_eq!(text(long(second + 20)), "LINUX_2.6");
    let (buckets, symbols) = (long(tag(4)), long(tag(4) + 4));
    assert_eq!(buckets, 1);
    let mut at = long(tag(4) + 8);
    while at != 0 && at < symbols {
        let symbol = tag(6) + u64::from(at) * 24;
        if text(long(symbol)) == name {
            assert_eq!(half(tag(0x6fff_fff0) + u64::from(at) * 2), 2, "version of {name}");
            assert!(word(symbol + 16) > 0);
            return word(symbol + 8);
        }
        at = long(tag(4) + 12 + u64::from(at) * 4);
    }
    panic!("no symbol {name}");
}

/// The image in executable memory above a page of parameters: address of the parameters, of the image.
fn mapped() -> (u64, u64) {
    static AT: OnceLock<(u64, u64)> = OnceLock::new();
    *AT.get_or_init(|| {
        let data = DATA_PAGES * PAGE_SIZE;
        let len = data + image().len() as u64;
        let at: u64;
        // SAFETY: a fresh private mapping (readable, writable, executable).
        unsafe {
            core::arch::asm!("syscall", inlateout("rax") 9u64 => at, in("rdi") 0u64, in("rsi") len, in("rdx") 7u64,
                in("r10") 0x22u64, in("r8") -1i64, in("r9") 0u64, lateout("rcx") _, lateout("r11") _);
        }
        assert!(at < 1 << 47, "mmap");
        // SAFETY: the mapping has room for it.
        unsafe { core::ptr::copy_nonoverlapping(image().as_ptr(), (at + data) as *mut u8, image().len()) };
        (at, at + data)
    })
}

fn set(params: ClockParams) {
    // SAFETY: as in `publish`: the page is the test's.
    let page = unsafe { &*(mapped().0 as *const TimePage) };
    page.tsc_base.store(params.tsc_base, Ordering::Relaxed);
    page.mult.store(params.mult, Ordering::Relaxed);
    page.monotonic_ns.store(params.monotonic_ns, Ordering::Relaxed);
    page.realtime_ns.store(params.realtime_ns, Ordering::Relaxed);
}

fn clock_gettime(clock: i32) -> u64 {
    // SAFETY: a function of the image.
    let function: extern "sysv64" fn(i32, *mut [u64; 2]) -> i32 =
        unsafe { core::mem::transmute(mapped().1 + find("__vdso_clock_gettime")) };
    let mut time = [0; 2];
    assert_eq!(function(clock, &raw mut time), 0);
    assert!(time[1] < 1_000_000_000);
    time[0] * 1_000_000_000 + time[1]
}

#[test]
fn the_image_is_a_shared_object_with_linuxs_symbols() {
    assert_eq!(parsed().ehdr.e_type, abi::ET_DYN);
    assert!(image().len().is_multiple_of(PAGE_SIZE as usize));
    for name in ["clock_gettime", "gettimeofday", "time", "clock_getres", "getcpu"] {
        assert_eq!(find(name), find(&format!("__vdso_{name}")));
    }
}

type Day = extern "sysv64" fn(*mut [u64; 2], *mut [u32; 2]) -> i32;
type Time = extern "sysv64" fn(*mut u64) -> u64;

// One test, since all share the page of parameters.
#[test]
fn clocks_are_those_of_the_time_scale() {
    proptest!(|(khz in 1_000u64..10_000_000, age in 0u64..1 << 52, monotonic in 0u64..1 << 60, real in 0u64..1 << 60)| {
        // SAFETY: reads a counter.
        let tsc = || unsafe { core::arch::x86_64::_rdtsc() };
        let factors = Factors::new(khz);
        let tsc_base = tsc().saturating_sub(age);
        set(ClockParams { tsc_base, mult: factors.to_ns, monotonic_ns: monotonic, realtime_ns: real });
        for (clock, base) in [(0, real), (1, monotonic), (4, monotonic), (5, real), (6, monotonic), (7, monotonic), (11, real)] {
            let tick = |ns: u64| if matches!(clock, 5 | 6) { ns / COARSE_NS * COARSE_NS } else { ns };
            let before = tick(base + scale(tsc() - tsc_base, factors.to_ns));
            let read = clock_gettime(clock);
            let after = tick(base + scale(tsc() - tsc_base, factors.to_ns));
            prop_assert!(before <= read && read <= after, "clock {}: {} {} {}", clock, before, read, after);
        }
        // SAFETY: functions of the image.
        let day = unsafe { core::mem::transmute::<u64, Day>(mapped().1 + find("__vdso_gettimeofday")) };
        // SAFETY: as above.
        let time = unsafe { core::mem::transmute::<u64, Time>(mapped().1 + find("__vdso_time")) };
        let (mut value, mut zone, mut seconds) = ([0; 2], [7; 2], 0);
        let before = clock_gettime(0);
        prop_assert_eq!(day(&raw mut value, &raw mut zone), 0);
        let now = time(&raw mut seconds);
        let after = clock_gettime(0);
        prop_assert_eq!((zone, now), ([0; 2], seconds));
        prop_assert!(before / 1000 <= value[0] * 1_000_000 + value[1] && value[0] * 1_000_000 + value[1] <= after / 1000);
        prop_assert!(before / 1_000_000_000 <= now && now <= after / 1_000_000_000);
    });
    // A counter behind the base is no time in the past.
    set(ClockParams { tsc_base: u64::MAX, mult: 1 << 32, monotonic_ns: 5, realtime_ns: 7 });
    assert_eq!((clock_gettime(1), clock_gettime(0)), (5, 7));
}
