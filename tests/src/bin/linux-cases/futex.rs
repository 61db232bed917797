//! Futexes: waiting, waking, moving, several at once, priority inheritance, robust lists.
#![allow(unsafe_code, reason = "words shared with the kernel")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::{
    Case, Out, case,
    sys::{self, call},
};

pub(crate) const WAIT: i32 = 0;
pub(crate) const WAKE: i32 = 1;
const REQUEUE: i32 = 3;
const CMP_REQUEUE: i32 = 4;
const WAKE_OP: i32 = 5;
pub(crate) const LOCK_PI: i32 = 6;
pub(crate) const UNLOCK_PI: i32 = 7;
const TRYLOCK_PI: i32 = 8;
const WAIT_BITSET: i32 = 9;
const WAKE_BITSET: i32 = 10;
const LOCK_PI2: i32 = 13;
pub(crate) const PRIVATE: i32 = 128;
const REALTIME: i32 = 256;
pub(crate) const WAITERS: u32 = 0x8000_0000;
const OWNER_DIED: u32 = 0x4000_0000;
const SYS_FUTEX_WAITV: i64 = 449;
const SYS_FUTEX_WAKE: i64 = 454;
const SYS_FUTEX_WAIT: i64 = 455;
const SYS_FUTEX_REQUEUE: i64 = 456;
/// `FUTEX2_SIZE_U32`.
const U32: i64 = 2;

/// Words that threads share; leaked, as cases are short.
pub(crate) fn words<const N: usize>() -> &'static [AtomicU32; N] {
    Box::leak(Box::new([const { AtomicU32::new(0) }; N]))
}

pub(crate) fn futex(word: &AtomicU32, op: i32, value: u32, four: i64, five: i64, six: i64) -> i64 {
    call!(SYS_futex, word.as_ptr(), op, value, four, five, six)
}

fn wait(word: &AtomicU32, value: u32) -> i64 {
    futex(word, WAIT | PRIVATE, value, 0, 0, 0)
}

fn wake(word: &AtomicU32, count: u32) -> i64 {
    futex(word, WAKE | PRIVATE, count, 0, 0, 0)
}

fn ms(milliseconds: i64) -> [i64; 2] {
    [milliseconds / 1000, milliseconds % 1000 * 1_000_000]
}

/// An absolute time so many milliseconds from now.
pub(crate) fn from_now(clock: i32, milliseconds: i64) -> [i64; 2] {
    let mut now = [0i64; 2];
    call!(SYS_clock_gettime, clock, now.as_mut_ptr());
    let ns = now[1] + milliseconds % 1000 * 1_000_000;
    [now[0] + milliseconds / 1000 + ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000)]
}

/// Repeats a call that wakes until it has woken as many; other threads come to wait in their own time.
pub(crate) fn until(count: i64, mut call: impl FnMut() -> i64) -> i64 {
    let mut sum = 0;
    for _ in 0..5000 {
        match call() {
            error if error < 0 => return error,
            woken => sum += woken,
        }
        if sum >= count {
            break;
        }
        sys::sleep_ms(1);
    }
    sum
}

#[repr(C)]
#[derive(Clone, Copy)]
struct WaitWord {
    value: u64,
    addr: u64,
    flags: u32,
    reserved: u32,
}

fn entry(word: &AtomicU32, value: u64, flags: u32) -> WaitWord {
    WaitWord { value, addr: word.as_ptr() as u64, flags, reserved: 0 }
}

fn waitv(entries: &[WaitWord], time: Option<&[i64; 2]>, clock: i32) -> i64 {
    let time = time.map_or(0, |time| time.as_ptr() as i64);
    sys::raw(SYS_FUTEX_WAITV, &[entries.as_ptr() as i64, entries.len() as i64, 0, time, clock.into()])
}

fn pi_word(out: &mut Out, what: &str, word: &AtomicU32, tid: i32) {
    let value = word.load(Ordering::SeqCst);
    let owner = match value & 0x3fff_ffff {
        0 => "nobody",
        owner if owner == tid as u32 => "me",
        _ => "another",
    };
    out.say(format_args!(
        "{what}: {owner}, waiters {}, owner died {}",
        value & WAITERS != 0,
        value & OWNER_DIED != 0
    ));
}

pub(crate) const CASES: &[Case] = &[
    case("futex/errors", &["futex"], |out| {
        let [word, other] = words();
        let raw = |addr: i64, op: i32| call!(SYS_futex, addr, op, 0, 0, 0, 0);
        for op in [WAIT, WAKE, REQUEUE, WAKE_OP, LOCK_PI, UNLOCK_PI] {
            out.ret(&format!("odd address, {op}"), raw(word.as_ptr() as i64 + 1, op));
            out.ret(&format!("kernel address, {op}"), raw(-4096, op | PRIVATE));
        }
        out.ret("no memory, wait", raw(8, WAIT));
        out.ret("no memory, wake", raw(8, WAKE));
        out.ret("no memory, wake private", raw(8, WAKE | PRIVATE));
        out.ret("unknown", raw(word.as_ptr() as i64, 99));
        out.ret("wait with the clock", futex(word, WAIT | REALTIME, 1, 0, 0, 0));
        out.ret("wake with the clock", futex(word, WAKE | REALTIME, 1, 0, 0, 0));
        out.ret("no bits to wait for", futex(word, WAIT_BITSET, 0, 0, 0, 0));
        out.ret("no bits to wake", futex(word, WAKE_BITSET, 1, 0, 0, 0));
        out.ret("negative count to wake", futex(word, REQUEUE, -1i32 as u32, 0, other.as_ptr() as i64, 0));
        out.ret("negative count to move", futex(word, REQUEUE, 0, -1, other.as_ptr() as i64, 0));
    }),
    case("futex/wait-differs", &["futex"], |out| {
        let [word] = words();
        out.ret("other value", wait(word, 1));
        out.ret("other value, shared", futex(word, WAIT, 7, 0, 0, 0));
        out.ret("nobody to wake", wake(word, 1));
    }),
    case("futex/wait-times", &["futex"], |out| {
        let [word] = words();
        let start = sys::now_ms();
        out.ret("20 ms", futex(word, WAIT, 0, ms(20).as_ptr() as i64, 0, 0));
        out.say(format_args!("waited: {}", sys::now_ms() - start >= 20));
        out.ret("none", futex(word, WAIT, 0, ms(0).as_ptr() as i64, 0, 0));
        out.ret("negative seconds", futex(word, WAIT, 0, [-1i64, 0].as_ptr() as i64, 0, 0));
        out.ret("too many ns", futex(word, WAIT, 0, [0i64, 1_000_000_000].as_ptr() as i64, 0, 0));
        out.ret("bad address", futex(word, WAIT, 0, 8, 0, 0));
        out.ret("value before time", futex(word, WAIT, 1, ms(0).as_ptr() as i64, 0, 0));
    }),
    case("futex/wait-absolute", &["futex"], |out| {
        let [word] = words();
        for (what, op, clock) in [
            ("monotonic", WAIT_BITSET, libc::CLOCK_MONOTONIC),
            ("realtime", WAIT_BITSET | REALTIME, libc::CLOCK_REALTIME),
        ] {
            let start = sys::now_ms();
            let time = from_now(clock, 30);
            out.ret(what, futex(word, op, 0, time.as_ptr() as i64, 0, -1));
            out.say(format_args!("waited: {}", (29..2000).contains(&(sys::now_ms() - start))));
            let time = from_now(clock, -1000);
            out.ret("in the past", futex(word, op, 0, time.as_ptr() as i64, 0, -1));
        }
    }),
    case("futex/wake-counts", &["futex"], |out| {
        let [word] = words();
        let threads: Vec<_> = (0..5).map(|_| thread::spawn(|| wait(word, 0))).collect();
        out.ret("two", until(2, || wake(word, 1)));
        out.ret("three", until(3, || wake(word, 3)));
        out.ret("none left", wake(word, 9));
        for thread in threads {
            out.ret("woken", thread.join().unwrap_or(-1));
        }
    }),
    case("futex/bits", &["futex"], |out| {
        let [word] = words();
        let waiter = |bits: i64| move || futex(word, WAIT_BITSET | PRIVATE, 0, 0, 0, bits);
        let (one, two) = (thread::spawn(waiter(1)), thread::spawn(waiter(2)));
        let wake_bits = |bits: i64| futex(word, WAKE_BITSET | PRIVATE, 9, 0, 0, bits);
        out.ret("bit 4", {
            sys::sleep_ms(50);
            wake_bits(4)
        });
        out.ret("bit 2", until(1, || wake_bits(2)));
        out.ret("its waiter", two.join().unwrap_or(-1));
        out.ret("all bits", until(1, || wake_bits(-1)));
        out.ret("the other", one.join().unwrap_or(-1));
    }),
    case("futex/requeue", &["futex"], |out| {
        let [from, to] = words();
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(|| wait(from, 0))).collect();
        out.ret("one is woken", until(1, || wake(from, 1)));
        let requeue = |limit: i64| futex(from, REQUEUE | PRIVATE, 0, limit, to.as_ptr() as i64, 0);
        out.ret("requeue counts those it moves", until(2, || requeue(1)));
        let moved = until(1, || futex(from, CMP_REQUEUE | PRIVATE, 0, 1, to.as_ptr() as i64, 0));
        out.ret("cmp_requeue counts", moved);
        out.ret("other value", futex(from, CMP_REQUEUE | PRIVATE, 0, 1, to.as_ptr() as i64, 1));
        let all = until(3, || wake(to, 9) + wake(from, 9));
        out.ret("woken in all", all);
        for thread in threads {
            out.ret("waiter", thread.join().unwrap_or(-1));
        }
    }),
    case("futex/wake-op", &["futex"], |out| {
        let [one, two] = words();
        let op = |op: u32, argument: u32, comparison: u32, against: u32| {
            i64::from(op << 28 | comparison << 24 | argument << 12 | against)
        };
        for code in 0..5 {
            two.store(6, Ordering::SeqCst);
            out.ret("operation", futex(one, WAKE_OP, 1, 1, two.as_ptr() as i64, op(code, 3, 0, 0)));
            out.say(two.load(Ordering::SeqCst));
        }
        two.store(1, Ordering::SeqCst);
        out.ret("shifted", futex(one, WAKE_OP, 1, 1, two.as_ptr() as i64, op(9, 4, 0, 0)));
        out.say(two.load(Ordering::SeqCst));
        out.ret("bad operation", futex(one, WAKE_OP, 1, 1, two.as_ptr() as i64, op(5, 0, 0, 0)));
        out.ret("bad comparison", futex(one, WAKE_OP, 1, 1, two.as_ptr() as i64, op(0, 0, 7, 0)));
        let (first, second) = (thread::spawn(|| wait(one, 0)), thread::spawn(|| wait(two, 9)));
        two.store(9, Ordering::SeqCst);
        sys::sleep_ms(1);
        let woken = until(1, || futex(one, WAKE_OP | PRIVATE, 1, 1, two.as_ptr() as i64, op(2, 0, 1, 9)));
        out.ret("the second does not compare", woken);
        first.join().unwrap_or(-1);
        let result = second.is_finished();
        wake(two, 1);
        out.say(format_args!("second waited or saw another value: {}", !result || second.join().is_ok()));
    }),
    case("futex/shared-between-processes", &["futex", "mmap"], |out| {
        let page = call!(SYS_mmap, 0, 4096, 3, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0);
        // SAFETY: the page was just mapped.
        let word = unsafe { AtomicU32::from_ptr(page as *mut u32) };
        let child = sys::fork(|| i32::from(futex(word, WAIT, 0, 0, 0, 0) != 0));
        out.ret("a private wake does not reach it", {
            sys::sleep_ms(30);
            wake(word, 1)
        });
        out.ret("a shared one does", until(1, || futex(word, WAKE, 1, 0, 0, 0)));
        out.say(sys::status(sys::wait(child)));
    }),
    case("futex/signal-interrupts", &["futex"], |out| {
        let [word] = words();
        extern "C" fn nothing(_: i32) {}
        // SAFETY: the handler does nothing; no restart flag.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = nothing as *const () as usize;
            libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        }
        let alarm = || call!(SYS_setitimer, 0, [0i64, 0, 0, 20_000].as_ptr(), 0);
        alarm();
        out.ret("without time", wait(word, 0));
        alarm();
        out.ret("with time", futex(word, WAIT, 0, ms(5000).as_ptr() as i64, 0, 0));
        alarm();
        let entries = [entry(word, 0, 2)];
        out.ret("vector", waitv(&entries, None, 0));
    }),
    case("futex/vector-errors", &["futex_waitv"], |out| {
        let [word] = words();
        let one = entry(word, 0, 2);
        let raw = |addr: *const WaitWord, count: i64, flags: i64, time: i64, clock: i64| {
            sys::raw(SYS_FUTEX_WAITV, &[addr as i64, count, flags, time, clock])
        };
        out.ret("none", raw(&one, 0, 0, 0, 0));
        out.ret("too many", raw(&one, 129, 0, 0, 0));
        out.ret("null", raw(std::ptr::null(), 1, 0, 0, 0));
        out.ret("bad address", raw(std::ptr::dangling(), 1, 0, 0, 0));
        out.ret("flags", raw(&one, 1, 1, 0, 0));
        out.ret("clock", raw(&one, 1, 0, ms(1).as_ptr() as i64, 2));
        out.ret("bad time", raw(&one, 1, 0, [0i64, -1].as_ptr() as i64, 1));
        for flags in [0, 1, 3, 128, 2 | 256] {
            out.ret(
                &format!("word flags {flags:#x}"),
                raw(&entry(word, 0, flags), 1, 0, ms(0).as_ptr() as i64, 1),
            );
        }
        out.ret("reserved", raw(&WaitWord { reserved: 1, ..one }, 1, 0, 0, 0));
        out.ret("64-bit value", raw(&WaitWord { value: 1 << 32, ..one }, 1, 0, 0, 0));
        out.ret("no word", raw(&WaitWord { addr: 0, ..one }, 1, 0, 0, 0));
        out.ret("odd word", raw(&WaitWord { addr: one.addr + 2, ..one }, 1, 0, 0, 0));
        out.ret("other value", raw(&WaitWord { value: 5, ..one }, 1, 0, 0, 0));
    }),
    case("futex/vector-wakes", &["futex_waitv", "futex"], |out| {
        let all = words::<3>();
        let entries: Vec<_> = all.iter().map(|word| entry(word, 0, 2 | 128)).collect();
        for index in 0..3 {
            let entries = entries.clone();
            let waiter = thread::spawn(move || waitv(&entries, None, 0));
            out.ret("woken", until(1, || wake(&all[index], 1)));
            out.ret("index", waiter.join().unwrap_or(-1));
            out.ret("nothing left of it", wake(&all[(index + 1) % 3], 1));
        }
        let time = from_now(libc::CLOCK_MONOTONIC, 20);
        out.ret("time", waitv(&entries, Some(&time), libc::CLOCK_MONOTONIC));
        let time = from_now(libc::CLOCK_REALTIME, 20);
        out.ret("time of day", waitv(&entries, Some(&time), libc::CLOCK_REALTIME));
        let twice = [entries[0], entries[0]];
        let waiter = thread::spawn(move || waitv(&twice, None, 0));
        out.ret("both entries of one word", until(2, || wake(&all[0], 2)));
        out.ret("index", waiter.join().unwrap_or(-1));
    }),
    case("futex/new-calls", &["futex_wake", "futex_wait", "futex_requeue"], |out| {
        let [word, other] = words();
        let addr = word.as_ptr() as i64;
        let wait = |value: i64, mask: i64, flags: i64, time: i64, clock: i64| {
            sys::raw(SYS_FUTEX_WAIT, &[addr, value, mask, flags, time, clock])
        };
        let wake = |mask: i64, count: i64, flags: i64| sys::raw(SYS_FUTEX_WAKE, &[addr, mask, count, flags]);
        out.ret("wait, no size", wait(0, 1, 0, 0, 0));
        out.ret("wait, no mask", wait(0, 0, U32, 0, 0));
        out.ret("wait, wide mask", wait(0, 1 << 32, U32, 0, 0));
        out.ret("wait, wide value", wait(1 << 32, 1, U32, 0, 0));
        out.ret("wait, other value", wait(3, 1, U32, 0, 0));
        out.ret("wait, bad clock", wait(0, 1, U32, ms(0).as_ptr() as i64, 7));
        out.ret("wait, past", wait(0, 1, U32, ms(0).as_ptr() as i64, 1));
        out.ret("wake, no size", wake(1, 1, 0));
        out.ret("wake, no mask", wake(0, 1, U32));
        out.ret("wake, none", wake(1, 0, U32));
        out.ret("wake, nobody", wake(1, 1, U32));
        let waiter = thread::spawn(move || sys::raw(SYS_FUTEX_WAIT, &[addr, 0, 4, U32 | 128, 0, 0]));
        out.ret("wake another bit", {
            sys::sleep_ms(30);
            wake(3, 1, U32 | 128)
        });
        out.ret("wake its bit", until(1, || wake(4, 1, U32 | 128)));
        out.ret("waiter", waiter.join().unwrap_or(-1));
        let pair = [entry(word, 0, 2 | 128), entry(other, 0, 2 | 128)];
        let requeue = |flags: i64, wake: i64, limit: i64| {
            sys::raw(SYS_FUTEX_REQUEUE, &[pair.as_ptr() as i64, flags, wake, limit])
        };
        out.ret("requeue, flags", requeue(1, 0, 0));
        out.ret("requeue, negative", requeue(0, -1, 0));
        out.ret("requeue, nobody", requeue(0, 1, 1));
        let waiter =
            thread::spawn(move || sys::raw(SYS_FUTEX_WAIT, &[addr, 0, 0xffff_ffff, U32 | 128, 0, 0]));
        out.ret("requeue, one", until(1, || requeue(0, 0, 1)));
        out.ret("wake it there", until(1, || futex(other, WAKE | PRIVATE, 1, 0, 0, 0)));
        out.ret("waiter", waiter.join().unwrap_or(-1));
    }),
    case("futex/pi-free", &["futex"], |out| {
        let [word] = words();
        let tid = sys::gettid();
        out.ret("unlock what nobody holds", futex(word, UNLOCK_PI, 0, 0, 0, 0));
        out.ret("lock", futex(word, LOCK_PI, 0, 0, 0, 0));
        pi_word(out, "locked", word, tid);
        out.ret("lock again", futex(word, LOCK_PI, 0, 0, 0, 0));
        out.ret("try again", futex(word, TRYLOCK_PI, 0, 0, 0, 0));
        out.ret("unlock", futex(word, UNLOCK_PI, 0, 0, 0, 0));
        pi_word(out, "unlocked", word, tid);
        out.ret("try", futex(word, TRYLOCK_PI, 0, 0, 0, 0));
        pi_word(out, "locked", word, tid);
        out.ret("unlock", futex(word, UNLOCK_PI, 0, 0, 0, 0));
        word.store(OWNER_DIED, Ordering::SeqCst);
        out.ret("lock what a dead one left", futex(word, LOCK_PI2, 0, 0, 0, 0));
        pi_word(out, "locked", word, tid);
        word.store(0x3fff_fff0, Ordering::SeqCst);
        out.ret("lock what no task holds", futex(word, LOCK_PI, 0, 0, 0, 0));
        word.store(1, Ordering::SeqCst);
        out.ret("unlock another's", futex(word, UNLOCK_PI, 0, 0, 0, 0));
    }),
    case("futex/pi-hand-over", &["futex"], |out| {
        let [word] = words();
        out.ret("lock", futex(word, LOCK_PI | PRIVATE, 0, 0, 0, 0));
        let waiter = thread::spawn(|| {
            let result = futex(word, LOCK_PI | PRIVATE, 0, 0, 0, 0);
            let mine = word.load(Ordering::SeqCst) & 0x3fff_ffff == sys::gettid() as u32;
            let unlock = futex(word, UNLOCK_PI | PRIVATE, 0, 0, 0, 0);
            (result, mine, unlock)
        });
        while word.load(Ordering::SeqCst) & WAITERS == 0 {
            sys::sleep_ms(1);
        }
        sys::sleep_ms(20);
        pi_word(out, "waited for", word, sys::gettid());
        let other = thread::spawn(|| {
            let time = from_now(libc::CLOCK_MONOTONIC, 20);
            let second = futex(word, LOCK_PI2 | PRIVATE, 0, time.as_ptr() as i64, 0, 0);
            (
                futex(word, TRYLOCK_PI | PRIVATE, 0, 0, 0, 0),
                second,
                futex(word, UNLOCK_PI | PRIVATE, 0, 0, 0, 0),
            )
        });
        let (tried, timed, unlocked) = other.join().unwrap_or((-1, -1, -1));
        out.ret("another tries", tried);
        out.ret("another waits for a time", timed);
        out.ret("another unlocks", unlocked);
        out.ret("unlock", futex(word, UNLOCK_PI | PRIVATE, 0, 0, 0, 0));
        let (result, mine, unlock) = waiter.join().unwrap_or((-1, false, -1));
        out.ret("waiter", result);
        out.say(format_args!("in the word: {mine}"));
        out.ret("unlocked by it", unlock);
        pi_word(out, "at the end", word, sys::gettid());
    }),
    case("futex/pi-realtime-clock", &["futex"], |out| {
        let [word] = words();
        out.ret("lock", futex(word, LOCK_PI, 0, 0, 0, 0));
        let waiter = thread::spawn(|| {
            let time = from_now(libc::CLOCK_REALTIME, 20);
            let one = futex(word, LOCK_PI, 0, time.as_ptr() as i64, 0, 0);
            let time = from_now(libc::CLOCK_REALTIME, 20);
            (one, futex(word, LOCK_PI2 | REALTIME, 0, time.as_ptr() as i64, 0, 0))
        });
        let (one, two) = waiter.join().unwrap_or((-1, -1));
        out.ret("lock_pi", one);
        out.ret("lock_pi2", two);
        out.ret("unlock", futex(word, UNLOCK_PI, 0, 0, 0, 0));
    }),
    case("futex/pi-owner-ends", &["futex", "exit"], |out| {
        let [word] = words();
        let owner = thread::spawn(|| {
            futex(word, LOCK_PI | PRIVATE, 0, 0, 0, 0);
            while word.load(Ordering::SeqCst) & WAITERS == 0 {
                sys::sleep_ms(1);
            }
            sys::sleep_ms(30);
        });
        while word.load(Ordering::SeqCst) == 0 {
            sys::sleep_ms(1);
        }
        out.ret("lock", futex(word, LOCK_PI | PRIVATE, 0, 0, 0, 0));
        pi_word(out, "inherited", word, sys::gettid());
        owner.join().unwrap_or(());
        out.ret("unlock", futex(word, UNLOCK_PI | PRIVATE, 0, 0, 0, 0));
    }),
    case("futex/pi-mutex-of-the-library", &["futex"], |out| {
        // SAFETY: the mutex is initialised before it is used, and outlives its users.
        unsafe {
            let mutex: &'static mut libc::pthread_mutex_t = Box::leak(Box::new(core::mem::zeroed()));
            let mut kind: libc::pthread_mutexattr_t = core::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut kind);
            let protocol = libc::pthread_mutexattr_setprotocol(&raw mut kind, libc::PTHREAD_PRIO_INHERIT);
            out.say(format_args!(
                "protocol {protocol}, init {}",
                libc::pthread_mutex_init(mutex, &raw const kind)
            ));
            let place = core::ptr::from_mut(mutex) as usize;
            let counter = Box::leak(Box::new(AtomicU32::new(0))) as &AtomicU32;
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    thread::spawn(move || {
                        for _ in 0..500 {
                            libc::pthread_mutex_lock(place as *mut _);
                            let value = counter.load(Ordering::Relaxed);
                            std::hint::spin_loop();
                            counter.store(value + 1, Ordering::Relaxed);
                            libc::pthread_mutex_unlock(place as *mut _);
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap_or(());
            }
            out.say(counter.load(Ordering::Relaxed));
        }
    }),
    case("futex/robust-list", &["set_robust_list", "get_robust_list", "futex"], |out| {
        let [next, offset_low, offset_high, pending, pending_high, spare] = words::<6>();
        let _ = (next, offset_low, offset_high, pending, pending_high, spare);
        out.ret("bad size", call!(SYS_set_robust_list, 0x1000, 8));
        let mut head = [0u64; 2];
        out.ret("get", call!(SYS_get_robust_list, 0, &raw mut head[0], &raw mut head[1]));
        out.say(format_args!("size {}", head[1]));
        out.ret("of nobody", call!(SYS_get_robust_list, 0x3fff_fff0, &raw mut head[0], &raw mut head[1]));
        out.ret("bad address", call!(SYS_get_robust_list, 0, 8, 8));
    }),
    case("futex/robust-mutex-of-the-library", &["set_robust_list", "futex"], |out| {
        {
            // SAFETY: the mutex is initialised before it is used, and outlives its users.
            unsafe {
                let mutex: &'static mut libc::pthread_mutex_t = Box::leak(Box::new(core::mem::zeroed()));
                let mut kind: libc::pthread_mutexattr_t = core::mem::zeroed();
                libc::pthread_mutexattr_init(&raw mut kind);

                libc::pthread_mutexattr_setrobust(&raw mut kind, libc::PTHREAD_MUTEX_ROBUST);
                libc::pthread_mutex_init(mutex, &raw const kind);
                let place = core::ptr::from_mut(mutex) as usize;
                thread::spawn(move || libc::pthread_mutex_lock(place as *mut _)).join().unwrap_or(-1);
                let result = libc::pthread_mutex_lock(place as *mut _);
                out.say(format_args!("after its owner's end: {}", sys::errno_name(result as u32)));
                out.say(libc::pthread_mutex_consistent(place as *mut _));
                out.say(libc::pthread_mutex_unlock(place as *mut _));
            }
        }
    }),
    case("futex/join-clears-the-id", &["clone", "futex"], |out| {
        let mut count = 0;
        for _ in 0..50 {
            count += thread::spawn(|| 1).join().unwrap_or(0);
        }
        out.say(count);
    }),
];
