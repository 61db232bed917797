//! Futexes with priority inheritance whose owners wait themselves, and condition variables over them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use crate::{
    Case, Out, case,
    futex::{LOCK_PI, PRIVATE, UNLOCK_PI, WAIT, WAITERS, WAKE, from_now, futex, until, words},
    sys,
};

const REQUEUE: i32 = 3;
const WAIT_REQUEUE_PI: i32 = 11 | PRIVATE;
const CMP_REQUEUE_PI: i32 = 12 | PRIVATE;

fn lock(word: &AtomicU32) -> i64 {
    futex(word, LOCK_PI | PRIVATE, 0, 0, 0, 0)
}

fn unlock(word: &AtomicU32) -> i64 {
    futex(word, UNLOCK_PI | PRIVATE, 0, 0, 0, 0)
}

fn address(word: &AtomicU32) -> i64 {
    word.as_ptr() as i64
}

/// Waits for the condition until so many milliseconds from now; gives the lock back if it has got it.
fn await_condition(
    condition: &'static AtomicU32,
    mutex: &'static AtomicU32,
    time: Option<i64>,
) -> JoinHandle<(i64, i64)> {
    thread::spawn(move || {
        let time = time.map(|time| from_now(libc::CLOCK_MONOTONIC, time));
        let time = time.as_ref().map_or(0, |time| time.as_ptr() as i64);
        let result = futex(condition, WAIT_REQUEUE_PI, 0, time, address(mutex), 0);
        let mine = mutex.load(Ordering::SeqCst) & 0x3fff_ffff == sys::gettid() as u32;
        (result, if mine { unlock(mutex) } else { 1 })
    })
}

fn signal(condition: &AtomicU32, mutex: &AtomicU32, limit: i64) -> i64 {
    futex(condition, CMP_REQUEUE_PI, 1, limit, address(mutex), 0)
}

fn joined(out: &mut Out, what: &str, waiter: JoinHandle<(i64, i64)>) {
    let (result, unlocked) = waiter.join().unwrap_or((-1, -1));
    out.ret(what, result);
    out.ret("unlocked by it", unlocked);
}

/// Takes `first` and then waits for `second`.
fn holder(first: &'static AtomicU32, second: &'static AtomicU32) -> JoinHandle<(i64, i64)> {
    let thread = thread::spawn(move || {
        lock(first);
        let result = lock(second);
        unlock(second);
        (result, unlock(first))
    });
    while second.load(Ordering::SeqCst) & WAITERS == 0 {
        sys::sleep_ms(1);
    }
    sys::sleep_ms(20);
    thread
}

pub(crate) const CASES: &[Case] = &[
    case("futex/pi-deadlock", &["futex"], |out| {
        let [one, two] = words();
        out.ret("lock", lock(one));
        let other = holder(two, one);
        out.ret("lock what one holds who waits for me", lock(two));
        out.ret("unlock", unlock(one));
        joined(out, "the other", other);
        out.ret("lock", lock(two));
        out.ret("unlock", unlock(two));
    }),
    case("futex/pi-deadlock-of-four", &["futex"], |out| {
        let [one, two, three, four] = words();
        out.ret("lock", lock(one));
        let all = [holder(two, one), holder(three, two), holder(four, three)];
        out.ret("lock the last", lock(four));
        out.ret("unlock", unlock(one));
        for other in all {
            joined(out, "another", other);
        }
    }),
    case("futex/requeue-pi", &["futex"], |out| {
        let [condition, mutex] = words();
        out.ret("lock", lock(mutex));
        let all: Vec<_> = (0..5).map(|_| await_condition(condition, mutex, None)).collect();
        out.ret("moved", until(5, || signal(condition, mutex, 10)));
        out.say(format_args!("waited for {}", mutex.load(Ordering::SeqCst) & WAITERS != 0));
        out.ret("nobody is left", signal(condition, mutex, 10));
        out.ret("unlock", unlock(mutex));
        for waiter in all {
            joined(out, "waiter", waiter);
        }
        out.say(format_args!("free {}", mutex.load(Ordering::SeqCst)));
    }),
    case("futex/requeue-pi-a-free-one", &["futex"], |out| {
        let [condition, mutex] = words();
        let all: Vec<_> = (0..3).map(|_| await_condition(condition, mutex, None)).collect();
        out.ret("one by one", until(3, || signal(condition, mutex, 0)));
        for waiter in all {
            joined(out, "waiter", waiter);
        }
        out.say(format_args!("free {}", mutex.load(Ordering::SeqCst) & 0x3fff_ffff));
    }),
    case("futex/requeue-pi-times", &["futex"], |out| {
        let [condition, mutex] = words();
        out.ret("lock", lock(mutex));
        joined(out, "before", await_condition(condition, mutex, Some(20)));
        let waiter = await_condition(condition, mutex, Some(300));
        out.ret("moved", until(1, || signal(condition, mutex, 0)));
        joined(out, "after", waiter);
        out.ret("unlock", unlock(mutex));
        out.say(format_args!("free {}", mutex.load(Ordering::SeqCst)));
    }),
    case("futex/requeue-pi-refused", &["futex"], |out| {
        let [condition, mutex, other] = words();
        out.ret("value differs", futex(condition, WAIT_REQUEUE_PI, 1, 0, address(mutex), 0));
        out.ret("the same word", futex(condition, WAIT_REQUEUE_PI, 0, 0, address(condition), 0));
        out.ret("no mutex", futex(condition, WAIT_REQUEUE_PI, 0, 0, 0, 0));
        out.ret("unaligned", futex(condition, WAIT_REQUEUE_PI, 0, 0, address(mutex) + 1, 0));
        out.ret("nobody", signal(condition, mutex, 1));
        out.ret("expected another", futex(condition, CMP_REQUEUE_PI, 1, 1, address(mutex), 1));
        out.ret("wake two", futex(condition, CMP_REQUEUE_PI, 2, 1, address(mutex), 0));
        out.ret("wake none", futex(condition, CMP_REQUEUE_PI, 0, 1, address(mutex), 0));
        out.ret("to itself", signal(condition, condition, 1));
        out.ret("lock", lock(mutex));
        let waiter = await_condition(condition, mutex, None);
        while futex(condition, WAKE | PRIVATE, 1, 0, 0, 0) == 0 {
            sys::sleep_ms(1);
        }
        out.ret("woken otherwise", futex(condition, WAKE | PRIVATE, 1, 0, 0, 0));
        out.ret("moved otherwise", futex(condition, REQUEUE | PRIVATE, 1, 1, address(other), 0));
        out.ret("to another mutex", signal(condition, other, 1));
        out.ret("to the right one", signal(condition, mutex, 1));
        out.ret("unlock", unlock(mutex));
        joined(out, "waiter", waiter);
        let plain = thread::spawn(move || (futex(condition, WAIT | PRIVATE, 0, 0, 0, 0), 0));
        while signal(condition, mutex, 1) == 0 {
            sys::sleep_ms(1);
        }
        out.ret("one who waits otherwise", signal(condition, mutex, 1));
        out.ret("woken", until(1, || futex(condition, WAKE | PRIVATE, 1, 0, 0, 0)));
        joined(out, "waiter", plain);
    }),
];
