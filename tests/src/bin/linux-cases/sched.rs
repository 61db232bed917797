//! Scheduling: policies, priorities, affinity, yielding.
#![allow(unsafe_code, reason = "structures for the kernel")]

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use crate::{
    Case, Out, case,
    sys::{self, call},
};

const NOBODY: i32 = 0x3fff_fff0;
const RESET: i32 = 0x4000_0000;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util: [u32; 2],
    more: [u64; 4],
}

fn set(policy: i32, priority: i32) -> i64 {
    call!(SYS_sched_setscheduler, 0, policy, &raw const priority)
}

fn set_attr(attr: &Attr) -> i64 {
    call!(SYS_sched_setattr, 0, std::ptr::from_ref(attr), 0)
}

fn show(out: &mut Out) {
    let mut attr = Attr::default();
    out.ret("getattr", call!(SYS_sched_getattr, 0, &raw mut attr, 56, 0));
    out.say(format_args!(
        "size {} policy {} flags {} nice {} priority {}",
        attr.size, attr.policy, attr.flags, attr.nice, attr.priority
    ));
    out.ret("getscheduler", call!(SYS_sched_getscheduler, 0));
    let mut priority = -1i32;
    out.ret("getparam", call!(SYS_sched_getparam, 0, &raw mut priority));
    out.say(priority);
    out.ret("getpriority", call!(SYS_getpriority, 0, 0));
}

fn affinity(bits: u64) -> i64 {
    call!(SYS_sched_setaffinity, 0, 8, &raw const bits)
}

fn cpu() -> i64 {
    let mut cpu = 99u32;
    call!(SYS_getcpu, &raw mut cpu, 0, 0);
    cpu.into()
}

/// Gives up privileges, so that limits count.
fn become_user() {
    call!(SYS_setresuid, 1000, 1000, 1000);
}

fn limit(resource: i64, value: u64) -> i64 {
    call!(SYS_prlimit64, 0, resource, [value, value].as_ptr(), 0)
}

/// Runs `body` in a child, which writes to the same place.
fn child(out: &mut Out, body: impl FnOnce(&mut Out)) {
    let pid = sys::fork(|| {
        body(out);
        0
    });
    sys::wait(pid);
}

/// How much of a CPU, in per cent, the first of two that spin has, the second having `other` done to it.
fn share(
    out: &mut Out,
    what: &str,
    other: impl FnOnce() + Send + 'static,
    between: std::ops::RangeInclusive<u64>,
) {
    static STOP: AtomicBool = AtomicBool::new(false);
    fn spin(count: &AtomicU64) {
        while !STOP.load(Ordering::Relaxed) {
            let mut time = [0i64; 2];
            call!(SYS_clock_gettime, libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr());
            count.store((time[0] * 1_000_000_000 + time[1]) as u64, Ordering::Relaxed);
        }
    }
    STOP.store(false, Ordering::Relaxed);
    affinity(1);
    let counts: &'static [AtomicU64; 2] = Box::leak(Box::default());
    let one = thread::spawn(|| spin(&counts[0]));
    let two = thread::spawn(move || {
        other();
        spin(&counts[1]);
    });
    sys::sleep_ms(50);
    let start = [counts[0].load(Ordering::Relaxed), counts[1].load(Ordering::Relaxed)];
    sys::sleep_ms(600);
    let used: Vec<u64> = (0..2).map(|at| counts[at].load(Ordering::Relaxed) - start[at]).collect();
    STOP.store(true, Ordering::Relaxed);
    one.join().unwrap_or(());
    two.join().unwrap_or(());
    let percent = used[0] * 100 / (used[0] + used[1]).max(1);
    let fits = between.contains(&percent);
    out.say(format_args!(
        "{what}: {}",
        if fits { "as expected".into() } else { format!("{percent} per cent") }
    ));
}

pub(crate) const CASES: &[Case] = &[
    case("sched/ranges", &["sched_get_priority_max", "sched_get_priority_min"], |out| {
        for policy in -1..9 {
            out.ret("max", call!(SYS_sched_get_priority_max, policy));
            out.ret("min", call!(SYS_sched_get_priority_min, policy));
        }
    }),
    case(
        "sched/errors",
        &["sched_setscheduler", "sched_setparam", "sched_getparam", "sched_getscheduler"],
        |out| {
            let priority = 0i32;
            let at = &raw const priority;
            out.ret("nobody", call!(SYS_sched_setscheduler, NOBODY, 0, at));
            out.ret("negative id", call!(SYS_sched_setscheduler, -1, 0, at));
            out.ret("negative policy", call!(SYS_sched_setscheduler, 0, -1, at));
            out.ret("no parameters", call!(SYS_sched_setscheduler, 0, 0, 0));
            out.ret("bad address", call!(SYS_sched_setscheduler, 0, 0, 8));
            for policy in 0..9 {
                out.ret(&format!("policy {policy}, priority -1"), set(policy, -1));
                out.ret(&format!("policy {policy}, priority 100"), set(policy, 100));
            }
            out.ret("other with priority", set(0, 1));
            out.ret("fifo without", set(1, 0));
            out.ret("deadline this way", set(6, 0));
            out.ret("setparam nobody", call!(SYS_sched_setparam, NOBODY, at));
            out.ret("setparam negative", call!(SYS_sched_setparam, -1, at));
            out.ret("setparam null", call!(SYS_sched_setparam, 0, 0));
            out.ret("getparam nobody", call!(SYS_sched_getparam, NOBODY, at));
            out.ret("getparam negative", call!(SYS_sched_getparam, -1, at));
            out.ret("getparam null", call!(SYS_sched_getparam, 0, 0));
            out.ret("getscheduler nobody", call!(SYS_sched_getscheduler, NOBODY));
            out.ret("getscheduler negative", call!(SYS_sched_getscheduler, -1));
            out.ret("interval nobody", call!(SYS_sched_rr_get_interval, NOBODY, at));
            out.ret("interval negative", call!(SYS_sched_rr_get_interval, -1, at));
            out.ret("interval bad address", call!(SYS_sched_rr_get_interval, 0, 8));
        },
    ),
    case("sched/time-sharing", &["sched_setscheduler", "sched_getattr"], |out| {
        for policy in [3, 5, 0, 3 | RESET, 0] {
            out.ret("set", set(policy, 0));
            show(out);
        }
    }),
    case("sched/attr-errors", &["sched_setattr", "sched_getattr"], |out| {
        let mut attr = Attr { size: 48, ..Attr::default() };
        let at = &raw mut attr;
        out.ret("null", call!(SYS_sched_setattr, 0, 0, 0));
        out.ret("bad address", call!(SYS_sched_setattr, 0, 8, 0));
        out.ret("flags", call!(SYS_sched_setattr, 0, at, 1));
        out.ret("nobody", call!(SYS_sched_setattr, NOBODY, at, 0));
        out.ret("negative", call!(SYS_sched_setattr, -1, at, 0));
        for size in [0, 1, 47, 48, 52, 56, 64, 4096, 4097] {
            let mut attr = Attr { size, ..Attr::default() };
            // Beyond the structure lies whatever the stack holds: only sizes within it are tried, and wrong ones.
            if size <= 88 || size > 4096 {
                out.ret(&format!("size {size}"), call!(SYS_sched_setattr, 0, &raw mut attr, 0));
                out.say(attr.size);
            }
        }
        let mut attr = Attr { size: 88, more: [0, 0, 1, 0], ..Attr::default() };
        out.ret("more than is known", call!(SYS_sched_setattr, 0, &raw mut attr, 0));
        out.say(attr.size);
        out.ret("unknown flag", set_attr(&Attr { size: 48, flags: 0x80, ..Attr::default() }));
        out.ret("negative policy", set_attr(&Attr { size: 48, policy: u32::MAX, ..Attr::default() }));
        out.ret("unknown policy", set_attr(&Attr { size: 48, policy: 4, ..Attr::default() }));
        out.ret("clamp in a small one", set_attr(&Attr { size: 48, flags: 0x20, ..Attr::default() }));
        for size in [0, 47, 48, 56, 88, 4097] {
            let mut attr = Attr { more: [7; 4], ..Attr::default() };
            out.ret(&format!("get, size {size}"), call!(SYS_sched_getattr, 0, &raw mut attr, size, 0));
            out.say(format_args!("{} {:?}", attr.size, attr.more));
        }
        out.ret("get, flags", call!(SYS_sched_getattr, 0, &raw mut attr, 48, 1));
        out.ret("get, nobody", call!(SYS_sched_getattr, NOBODY, &raw mut attr, 48, 0));
        out.ret("get, null", call!(SYS_sched_getattr, 0, 0, 48, 0));
        out.ret("get, bad address", call!(SYS_sched_getattr, 0, 8, 48, 0));
    }),
    case("sched/attr-nice", &["sched_setattr", "sched_getattr"], |out| {
        for nice in [5, 19, 40, 7] {
            out.ret("set", set_attr(&Attr { size: 48, nice, ..Attr::default() }));
            show(out);
        }
        out.ret(
            "keep parameters",
            set_attr(&Attr { size: 48, policy: 3, flags: 0x10, nice: 1, ..Attr::default() }),
        );
        show(out);
        out.ret("keep policy", set_attr(&Attr { size: 48, policy: 0, flags: 8, nice: 9, ..Attr::default() }));
        show(out);
        out.ret(
            "reset on fork",
            set_attr(&Attr { size: 48, policy: 5, flags: 1, nice: 9, ..Attr::default() }),
        );
        show(out);
        child(out, show);
    }),
    case("sched/unprivileged", &["sched_setscheduler", "setpriority"], |out| {
        child(out, |out| {
            limit(14, 0);
            limit(13, 0);
            become_user();
            out.ret("fifo", set(1, 1));
            out.ret("nice 5", call!(SYS_setpriority, 0, 0, 5));
            out.ret("nice 4", call!(SYS_setpriority, 0, 0, 4));
            out.ret("nice 6 by attr", set_attr(&Attr { size: 48, nice: 6, ..Attr::default() }));
            out.ret("nice 5 by attr", set_attr(&Attr { size: 48, nice: 5, ..Attr::default() }));
            out.ret("idle", set(5, 0));
            out.ret("back from idle", set(0, 0));
            out.ret("init's", call!(SYS_setpriority, 0, 1, 19));
            out.ret("init's policy", {
                let p = 0i32;
                call!(SYS_sched_setscheduler, 1, 5, &raw const p)
            });
            out.ret(
                "deadline",
                set_attr(&Attr {
                    size: 48,
                    policy: 6,
                    runtime: 1_000_000,
                    deadline: 10_000_000,
                    period: 10_000_000,
                    ..Attr::default()
                }),
            );
            out.ret("reset on fork", set(5 | RESET, 0));
            out.ret("take that back", set(5, 0));
            show(out);
        });
    }),
    case("sched/limit-of-nice", &["setpriority", "prlimit64"], |out| {
        child(out, |out| {
            out.ret("limit", limit(13, 18));
            become_user();
            for nice in [3, 2, 1, 10, 2] {
                out.ret(&format!("nice {nice}"), call!(SYS_setpriority, 0, 0, nice));
            }
            out.ret("get", call!(SYS_getpriority, 0, 0));
        });
    }),
    case("sched/priority-of-others", &["setpriority", "getpriority"], |out| {
        out.ret("unknown kind", call!(SYS_getpriority, 3, 0));
        out.ret("nobody", call!(SYS_getpriority, 0, NOBODY));
        out.ret("no group", call!(SYS_getpriority, 1, NOBODY));
        out.ret("no user", call!(SYS_getpriority, 2, 54321));
        out.ret("own group", call!(SYS_getpriority, 1, 0));
        out.ret("set own", call!(SYS_setpriority, 0, 0, 30));
        out.ret("get own", call!(SYS_getpriority, 0, 0));
        child(out, |out| out.ret("inherited", call!(SYS_getpriority, 0, 0)));
        let other = thread::spawn(|| {
            call!(SYS_setpriority, 0, 0, 11);
            call!(SYS_getpriority, 0, 0)
        });
        out.ret("a thread's own", other.join().unwrap_or(-1));
        out.ret("not this one's", call!(SYS_getpriority, 0, 0));
    }),
    case("sched/affinity", &["sched_setaffinity", "sched_getaffinity"], |out| {
        let mut bits = [0u64; 16];
        out.ret("get, short", call!(SYS_sched_getaffinity, 0, 4, bits.as_mut_ptr()));
        out.ret("get, odd", call!(SYS_sched_getaffinity, 0, 12, bits.as_mut_ptr()));
        out.ret("get, nobody", call!(SYS_sched_getaffinity, NOBODY, 128, bits.as_mut_ptr()));
        out.ret("get, negative", call!(SYS_sched_getaffinity, -1, 128, bits.as_mut_ptr()));
        out.ret("set, negative", call!(SYS_sched_setaffinity, -1, 8, &raw const bits));
        out.ret("get, bad address", call!(SYS_sched_getaffinity, 0, 128, 8));
        out.ret("none", affinity(0));
        out.ret("only absent ones", affinity(1 << 60));
        out.ret("bad address", call!(SYS_sched_setaffinity, 0, 8, 8));
        out.ret("nobody", call!(SYS_sched_setaffinity, NOBODY, 8, bits.as_ptr()));
        out.ret("first", affinity(1));
        out.say(format_args!("on {}", cpu()));
        child(out, |out| {
            let mut bits = 0u64;
            call!(SYS_sched_getaffinity, 0, 8, &raw mut bits);
            out.say(format_args!("inherited {bits:#x}"));
        });
        out.ret("zero length", call!(SYS_sched_setaffinity, 0, 0, bits.as_ptr()));
    }),
    case("sched/affinity-moves-at-once", &["sched_setaffinity", "getcpu"], |out| {
        let mut wrong = 0;
        for turn in 0..40u64 {
            affinity(1 << (turn % 2));
            wrong += i64::from(cpu() != (turn % 2) as i64);
            sys::sleep_ms(turn % 2);
            wrong += i64::from(cpu() != (turn % 2) as i64);
        }
        out.say(format_args!("wrong: {wrong}"));
    }),
    case("sched/affinity-of-another", &["sched_setaffinity"], |out| {
        let tid: &'static AtomicU64 = Box::leak(Box::default());
        let stop: &'static AtomicBool = Box::leak(Box::default());
        let at: &'static AtomicU64 = Box::leak(Box::default());
        let other = thread::spawn(|| {
            tid.store(sys::gettid() as u64, Ordering::SeqCst);
            while !stop.load(Ordering::SeqCst) {
                at.store(cpu() as u64, Ordering::SeqCst);
            }
        });
        while tid.load(Ordering::SeqCst) == 0 {
            sys::sleep_ms(1);
        }
        let mut wrong = 0;
        for turn in 0..10u64 {
            let bits = 1u64 << (turn % 2);
            call!(SYS_sched_setaffinity, tid.load(Ordering::SeqCst), 8, &raw const bits);
            sys::sleep_ms(20);
            wrong += i64::from(at.load(Ordering::SeqCst) != turn % 2);
        }
        stop.store(true, Ordering::SeqCst);
        other.join().unwrap_or(());
        out.say(format_args!("wrong: {wrong}"));
    }),
    case("sched/equal-shares", &["sched_setaffinity"], |out| {
        share(out, "two equals", || {}, 25..=75);
    }),
    case("sched/nice-weighs", &["setpriority"], |out| {
        share(
            out,
            "nice 0 and 5",
            || {
                call!(SYS_setpriority, 0, 0, 5);
            },
            55..=93,
        );
        share(
            out,
            "nice 0 and 19",
            || {
                call!(SYS_setpriority, 0, 0, 19);
            },
            85..=100,
        );
    }),
    case("sched/idle-policy-yields", &["sched_setscheduler"], |out| {
        share(
            out,
            "other and idle",
            || {
                set(5, 0);
            },
            85..=100,
        );
    }),
    case("sched/yield-lets-others-run", &["sched_yield"], |out| {
        affinity(1);
        let turns: &'static AtomicU64 = Box::leak(Box::default());
        let other = thread::spawn(|| {
            for _ in 0..20_000 {
                turns.fetch_add(1, Ordering::SeqCst);
                call!(SYS_sched_yield);
            }
        });
        while turns.load(Ordering::SeqCst) == 0 {
            call!(SYS_sched_yield);
        }
        let before = turns.load(Ordering::SeqCst);
        for _ in 0..1000 {
            call!(SYS_sched_yield);
        }
        out.say(format_args!("it ran: {}", turns.load(Ordering::SeqCst) - before >= 300));
        other.join().unwrap_or(());
    }),
    case("sched/a-sleeper-preempts", &["sched_setaffinity", "nanosleep"], |out| {
        affinity(1);
        let stop: &'static AtomicBool = Box::leak(Box::default());
        let spinners: Vec<_> =
            (0..2).map(|_| thread::spawn(|| while !stop.load(Ordering::Relaxed) {})).collect();
        let start = sys::now_ms();
        for _ in 0..20 {
            sys::sleep_ms(2);
        }
        let took = sys::now_ms() - start;
        stop.store(true, Ordering::Relaxed);
        for spinner in spinners {
            spinner.join().unwrap_or(());
        }
        out.say(format_args!("soon: {}", if took < 2000 { "yes".into() } else { format!("{took} ms") }));
    }),
    case("sched/many-threads-finish", &["clone", "sched_yield"], |out| {
        let sum: &'static AtomicU64 = Box::leak(Box::default());
        let threads: Vec<_> = (0..60u64)
            .map(|index| {
                thread::spawn(move || {
                    for turn in 0..50 {
                        sum.fetch_add(1, Ordering::Relaxed);
                        if (turn + index) % 3 == 0 {
                            call!(SYS_sched_yield);
                        } else if (turn + index) % 17 == 0 {
                            sys::sleep_ms(1);
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap_or(());
        }
        out.say(sum.load(Ordering::Relaxed));
    }),
];
