//! Random system calls with random arguments.

use super::random::Random;
use std::{
    ptr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Processes that call at a time.
const PROCESSES: u64 = 4;
/// How long these live before new ones take their place.
const ROUND: Duration = Duration::from_millis(1500);
/// Numbers beyond the last call as well.
const NUMBERS: u64 = 480;

/// Numbers that turn up as arguments: edges of types, flags, signals, addresses of nobody and of the kernel.
pub(crate) const VALUES: &[u64] = &[
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    9,
    15,
    16,
    31,
    63,
    64,
    255,
    511,
    512,
    4095,
    4096,
    4097,
    65535,
    65536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_f000,
    0x7fff_ffff_ffff,
    0x8000_0000_0000,
    0xffff_8000_0000_0000,
    0xffff_ffff_8000_0000,
    0xffff_ffff_ffff_f000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
    u64::MAX - 1,
    u64::MAX - 4095,
    0x5413,
    0x5401,
    0o100,
    0o2000,
    0x8000,
    0x22,
    0x32,
    0x100,
    0x10000,
    0x20000,
];

/// Strings, ended, of which arguments are addresses.
const STRINGS: &[u8] = b"/\0.\0..\0/proc/self/mem\0/proc/self/fd/1\0/dev/zero\0/dev/full\0file\0/tmp/x\0/bin/busybox\0\
    /proc/self/maps\0/proc/1/status\0/sys\0a/b/c\0user.x\0/dev/null\0/etc/passwd\0/dev/shm/x\0/proc/self/oom_score_adj\0";

impl Random {
    /// An argument: of memory, a descriptor, a special value, or anything.
    fn argument(&mut self, memory: u64) -> u64 {
        match self.below(12) {
            0..=3 => memory + self.below(16384) / 8 * 8,
            4 => memory + 16384 - self.below(64),
            5 | 6 => self.below(12),
            7 | 8 => VALUES[self.below(VALUES.len() as u64) as usize],
            9 => STRINGS.as_ptr() as u64 + self.string(),
            10 => 1 << self.below(64),
            _ => self.next(),
        }
    }

    /// Where a string begins.
    fn string(&mut self) -> u64 {
        let skip = self.below(19) as usize;
        let ends =
            STRINGS.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(place, _)| place as u64 + 1);
        std::iter::once(0).chain(ends).nth(skip).unwrap_or(0)
    }
}

/// Calls until `end`; `seed` begins the random numbers.
pub(crate) fn run(end: Instant, seed: u64) {
    let made = super::bombs::shared();
    let mut random = Random::new(seed);
    while Instant::now() < end {
        for _ in 0..PROCESSES {
            let own = random.next() | 1;
            // SAFETY: the child of a program with one thread.
            match unsafe { libc::fork() } {
                0 => call(Random::new(own), made),
                -1 => std::thread::sleep(Duration::from_millis(20)),
                _ => {}
            }
        }
        let next = end.min(Instant::now() + ROUND);
        while Instant::now() < next {
            std::thread::sleep(Duration::from_millis(50));
        }
        super::clear();
    }
    let total: u64 = made.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    let numbers = made.iter().filter(|count| count.load(Ordering::Relaxed) != 0).count();
    println!("{total} calls of {numbers} numbers, seed {seed}");
}

/// Calls until something ends it.
fn call(mut random: Random, made: &[AtomicU64; 512]) -> ! {
    // SAFETY: nothing here is safe, on purpose: the process may lose its memory, its descriptors, its life.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // Some arguments point close to its end, beyond which there is nothing.
        let memory = libc::mmap(ptr::null_mut(), 32768, libc::PROT_NONE, flags, -1, 0) as u64;
        libc::mprotect((memory + 8192) as *mut libc::c_void, 16384, libc::PROT_READ | libc::PROT_WRITE);
        let memory = memory + 8192;
        let directory = c"/tmp";
        libc::chdir(directory.as_ptr());
        // What it writes by chance is for nobody, and not for the log.
        for stream in 0..3 {
            libc::close(stream);
            libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        }
        loop {
            // Some words of memory that a call may take for a structure.
            for _ in 0..8 {
                let place = memory + random.below(2048) * 8;
                let value = random.argument(memory);
                (place as *mut u64).write_volatile(value);
            }
            let number = random.below(NUMBERS);
            // What only ends or stops the caller teaches little each time.
            let ends = [
                libc::SYS_exit,
                libc::SYS_exit_group,
                libc::SYS_pause,
                libc::SYS_rt_sigsuspend,
                libc::SYS_rt_sigreturn,
            ];
            if ends.contains(&(number as i64)) && random.below(64) != 0 {
                continue;
            }
            let args: [u64; 6] = std::array::from_fn(|_| random.argument(memory));
            made[number as usize].fetch_add(1, Ordering::Relaxed);
            libc::syscall(number as i64, args[0], args[1], args[2], args[3], args[4], args[5]);
        }
    }
}
