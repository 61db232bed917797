//! Bombs: as many of something as there can be.

use std::{
    ptr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// What is written.
static BLOCK: [u8; 65536] = [1; 65536];

/// A counter that all processes share.
pub(crate) fn shared() -> &'static [AtomicU64; 512] {
    // SAFETY: a new mapping of 4096 bytes that stays; zeroes are valid counters.
    unsafe {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let place = libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        assert!(place != libc::MAP_FAILED);
        &*place.cast()
    }
}

/// Forks, without ever waiting.
pub(crate) fn fork(end: Instant) {
    let made = shared();
    // SAFETY: the child of a program with one thread.
    if unsafe { libc::fork() } == 0 {
        loop {
            // SAFETY: as above.
            if unsafe { libc::fork() } >= 0 {
                made[0].fetch_add(1, Ordering::Relaxed);
            } else {
                made[1].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    until(end);
    super::clear();
    println!("{} forks, {} refused", made[0].load(Ordering::Relaxed), made[1].load(Ordering::Relaxed));
}

extern "C" fn forever(_: *mut libc::c_void) -> *mut libc::c_void {
    loop {
        // SAFETY: no pointers.
        unsafe { libc::pause() };
    }
}

/// Makes threads that stay, in several processes.
pub(crate) fn threads(end: Instant) {
    let made = shared();
    for _ in 0..4 {
        // SAFETY: the child of a program with one thread.
        if unsafe { libc::fork() } == 0 {
            loop {
                let mut thread = 0;
                // SAFETY: `forever` takes no argument.
                let failed =
                    unsafe { libc::pthread_create(&raw mut thread, ptr::null(), forever, ptr::null_mut()) };
                made[usize::from(failed != 0)].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    until(end);
    super::clear();
    println!("{} threads, {} refused", made[0].load(Ordering::Relaxed), made[1].load(Ordering::Relaxed));
}

/// Takes and touches memory of every kind, in several processes that are replaced when they are killed.
pub(crate) fn memory(end: Instant) {
    let made = shared();
    while Instant::now() < end {
        for kind in 0..4 {
            // SAFETY: the child of a program with one thread.
            if unsafe { libc::fork() } == 0 {
                eat(kind, made);
            }
        }
        let mut status = 0;
        // SAFETY: a place for the status.
        while Instant::now() < end && unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } >= 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    super::clear();
    println!("{} MiB", made[0].load(Ordering::Relaxed));
}

fn eat(kind: u32, made: &[AtomicU64; 512]) -> ! {
    let flags = if kind == 1 { libc::MAP_SHARED } else { libc::MAP_PRIVATE } | libc::MAP_ANONYMOUS;
    // SAFETY: memory of its own; a descriptor of its own.
    unsafe {
        let file = libc::memfd_create(c"eat".as_ptr(), 0);
        loop {
            match kind {
                2 => {
                    for _ in 0..16 {
                        if libc::write(file, BLOCK.as_ptr().cast(), BLOCK.len()) < 0 {
                            libc::_exit(1);
                        }
                    }
                }
                3 => {
                    let mut ends = [0; 2];
                    if libc::pipe(ends.as_mut_ptr()) < 0 {
                        libc::_exit(1);
                    }
                    libc::fcntl(ends[1], libc::F_SETFL, libc::O_NONBLOCK);
                    libc::write(ends[1], BLOCK.as_ptr().cast(), BLOCK.len());
                }
                _ => {
                    let place = libc::mmap(
                        ptr::null_mut(),
                        1 << 20,
                        libc::PROT_READ | libc::PROT_WRITE,
                        flags,
                        -1,
                        0,
                    );
                    if place == libc::MAP_FAILED {
                        libc::_exit(1);
                    }
                    for page in 0..256 {
                        place.cast::<u8>().add(page * 4096).write_volatile(1);
                    }
                }
            }
            made[0].fetch_add(1, Ordering::Relaxed);
        }
    }
}

static CAUGHT: AtomicU64 = AtomicU64::new(0);

extern "C" fn caught(_: libc::c_int) {
    CAUGHT.fetch_add(1, Ordering::Relaxed);
}

/// Processes and threads that send every signal to all others, with handlers on small alternate stacks or none.
pub(crate) fn signals(end: Instant) {
    let made = shared();
    while Instant::now() < end {
        for number in 0..12u32 {
            // SAFETY: the child of a program with one thread.
            if unsafe { libc::fork() } == 0 {
                storm(number, made);
            }
        }
        until(end.min(Instant::now() + Duration::from_secs(2)));
        super::clear();
    }
    println!("{} signals", made[0].load(Ordering::Relaxed));
}

fn storm(number: u32, made: &[AtomicU64; 512]) -> ! {
    // SAFETY: handlers that only count; stacks that stay.
    unsafe {
        for signal in 1..=64 {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = caught as *const () as usize;
            action.sa_flags = [libc::SA_RESTART, libc::SA_NODEFER, libc::SA_ONSTACK, 0][number as usize % 4];
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
        if number.is_multiple_of(3) {
            for _ in 0..4 {
                let mut thread = 0;
                libc::pthread_create(&raw mut thread, ptr::null(), forever, ptr::null_mut());
            }
        }
        let (mut random, me) = (u64::from(number) + 1, libc::getpid());
        loop {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let signal = (random % 64) as libc::c_int + 1;
            // The killing ones now and then: a process that is gone leaves the storm until the next round.
            if [libc::SIGKILL, libc::SIGSTOP].contains(&signal) && random >> 20 & 63 != 0 {
                continue;
            }
            let target = if random >> 40 & 3 == 0 { me } else { 2 + (random >> 32) as i32 % 40 };
            let value = libc::sigval { sival_ptr: ptr::null_mut() };
            match random >> 50 & 3 {
                0 => libc::kill(target, signal),
                1 => libc::sigqueue(target, signal, value),
                2 => libc::kill(0, libc::SIGCONT),
                _ => libc::syscall(libc::SYS_tkill, target, signal) as i32,
            };
            made[0].fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn until(end: Instant) {
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
}
