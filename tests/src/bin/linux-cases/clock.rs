//! Clocks: reading them, sleeping by them, CPU time.

use std::sync::atomic::Ordering;

use crate::{
    Case, Out, case,
    signals::{self, COUNT},
    sys::{self, call},
};

const ABSOLUTE: i32 = 1;
const NOBODY: i32 = 0x0fff_ffff;

/// The id of a CPU clock: which (0 all, 1 user, 2 scheduler), of a thread or process.
fn cpu_clock(pid: i32, which: i32, thread: bool) -> i32 {
    !pid << 3 | which | i32::from(thread) << 2
}

fn gettime(clock: i32) -> (i64, i64) {
    let mut time = [0i64; 2];
    let result = call!(SYS_clock_gettime, clock, time.as_mut_ptr());
    (result, time[0] * 1_000_000_000 + time[1])
}

fn spec(ns: i64) -> [i64; 2] {
    [ns / 1_000_000_000, ns % 1_000_000_000]
}

/// Interrupts the process with a signal every few milliseconds, until `body` is over.
fn interrupted<T>(flags: u64, body: impl FnOnce() -> T) -> T {
    signals::catch(libc::SIGALRM, flags);
    let timer = [0i64, 0, 0, 20_000];
    call!(SYS_setitimer, 0, timer.as_ptr(), 0);
    body()
}

fn rlimit_cpu(out: &mut Out, soft: u64, hard: u64) {
    out.ret("limit", call!(SYS_prlimit64, 0, libc::RLIMIT_CPU, [soft, hard].as_ptr(), 0));
}

pub(crate) const CASES: &[Case] = &[
    case("clock/gettime-ids", &["clock_gettime"], |out| {
        for clock in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 99, -1, -2, -3, -4, -5, -6, -7, -8] {
            out.ret(&format!("clock {clock}"), gettime(clock).0);
        }
        out.ret("bad address", call!(SYS_clock_gettime, 1, 8));
        out.ret("bad clock and address", call!(SYS_clock_gettime, 99, 8));
    }),
    case("clock/getres", &["clock_getres"], |out| {
        for clock in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, -1, -2, -3, -4, -5, -6, -7, -8] {
            let mut time = [-1i64; 2];
            out.ret(&format!("clock {clock}"), call!(SYS_clock_getres, clock, time.as_mut_ptr()));
            out.say(format_args!("{time:?}"));
        }
        out.ret("no address", call!(SYS_clock_getres, 1, 0));
        out.ret("bad address", call!(SYS_clock_getres, 1, 8));
    }),
    case("clock/settime", &["clock_settime"], |out| {
        for clock in [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, -1, -2, -5, -6, cpu_clock(NOBODY, 2, false)] {
            out.ret(&format!("clock {clock}"), call!(SYS_clock_settime, clock, [1i64, 0].as_ptr()));
        }
        out.ret("bad time", call!(SYS_clock_settime, 0, [1i64, -1].as_ptr()));
        out.ret("bad address", call!(SYS_clock_settime, 0, 8));
        out.ret("bad address, no such clock", call!(SYS_clock_settime, 99, 8));
    }),
    case("clock/order", &["clock_gettime"], |out| {
        for (what, fine, coarse) in [("realtime", 0, 5), ("monotonic", 1, 6)] {
            let (before, rough, after) = (gettime(fine).1, gettime(coarse).1, gettime(fine).1);
            out.say(format_args!(
                "{what}: {}",
                before <= after && after - rough < 1_000_000_000 && rough <= after
            ));
        }
        let (a, b, c) = (gettime(1).1, gettime(7).1, gettime(1).1);
        out.say(format_args!("boottime {}", (a..=c + 3_600_000_000_000_000).contains(&b)));
        let (a, b) = (gettime(0).1, gettime(11).1);
        out.say(format_args!("tai {}", (b - a).abs() < 60_000_000_000));
    }),
    case("clock/cpu-of-others", &["clock_gettime"], |out| {
        let (from, to) = sys::pipe();
        let pid = sys::fork(|| {
            signals::burn_ms(30);
            sys::write(to, &[1]);
            sys::sleep_ms(100_000);
            0
        });
        sys::read(from, &mut [0]);
        for which in 0..4 {
            out.ret(&format!("process, which {which}"), gettime(cpu_clock(pid, which, false)).0);
            out.ret(&format!("thread, which {which}"), gettime(cpu_clock(pid, which, true)).0);
        }
        let used = gettime(cpu_clock(pid, 2, false)).1;
        out.say(format_args!("used {}", (25_000_000..2_000_000_000).contains(&used)));
        out.ret("nobody", gettime(cpu_clock(NOBODY, 2, false)).0);
        out.ret("nobody's thread", gettime(cpu_clock(NOBODY, 2, true)).0);
        out.ret("resolution of nobody's", call!(SYS_clock_getres, cpu_clock(NOBODY, 2, false), 0));
        signals::kill(pid, libc::SIGKILL);
        sys::wait(pid);
        out.ret("gone", gettime(cpu_clock(pid, 2, false)).0);
    }),
    case("clock/cpu-of-threads", &["clock_gettime"], |out| {
        let (from, to) = sys::pipe();
        let (wait, end) = sys::pipe();
        let fd = out.fd();
        let other = signals::thread(move || {
            signals::burn_ms(60);
            let mut out = Out::new(fd);
            out.ret("process by a thread's id", gettime(cpu_clock(sys::gettid(), 2, false)).0);
            out.ret("its resolution", call!(SYS_clock_getres, cpu_clock(sys::gettid(), 2, false), 0));
            sys::write(to, &sys::gettid().to_ne_bytes());
            sys::read(wait, &mut [0]);
        });
        let mut word = [0; 4];
        sys::read(from, &mut word);
        let tid = i32::from_ne_bytes(word);
        let (result, used) = gettime(cpu_clock(tid, 2, true));
        out.ret("its time", result);
        let own = gettime(3).1;
        let all = gettime(2).1;
        out.say(format_args!("its {} all {}", used >= 50_000_000, all >= used && all >= own));
        out.say(format_args!("own less {}", own < used));
        sys::write(end, &[0]);
        let _ = other.join();
        out.say(format_args!("counts on {}", gettime(2).1 >= used));
    }),
    case("clock/sleep-is-no-cpu-time", &["clock_gettime", "nanosleep"], |out| {
        let (thread, process) = (gettime(3).1, gettime(2).1);
        sys::sleep_ms(400);
        out.say(format_args!("thread {}", gettime(3).1 - thread < 150_000_000));
        out.say(format_args!("process {}", gettime(2).1 - process < 150_000_000));
    }),
    case("clock/nanosleep-ids", &["clock_nanosleep"], |out| {
        for clock in [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 99, -3, -5, cpu_clock(NOBODY, 2, false)] {
            let result = call!(SYS_clock_nanosleep, clock, 0, spec(1000).as_ptr(), 0);
            out.ret(&format!("clock {clock}"), result);
        }
        for clock in [-1, -2, -6, cpu_clock(sys::gettid(), 2, true), cpu_clock(sys::getpid(), 2, false)] {
            let result = call!(SYS_clock_nanosleep, clock, ABSOLUTE, spec(1).as_ptr(), 0);
            out.ret(&format!("CPU clock {}", clock & 7), result);
        }
    }),
    case("clock/nanosleep-errors", &["clock_nanosleep", "nanosleep"], |out| {
        for (seconds, ns) in [(-1, 0), (0, -1), (0, 1_000_000_000), (-1, 1_000_000_000)] {
            out.ret("nanosleep", call!(SYS_nanosleep, [seconds, ns].as_ptr(), 0));
            out.ret("relative", call!(SYS_clock_nanosleep, 1, 0, [seconds, ns].as_ptr(), 0));
            out.ret("absolute", call!(SYS_clock_nanosleep, 0, ABSOLUTE, [seconds, ns].as_ptr(), 0));
        }
        out.ret("bad address", call!(SYS_nanosleep, 8, 0));
        out.ret("no address", call!(SYS_nanosleep, 0, 0));
        out.ret("bad address", call!(SYS_clock_nanosleep, 1, 0, 8, 0));
        out.ret("bad address, no clock", call!(SYS_clock_nanosleep, 99, 0, 8, 0));
        out.ret("bad address, no sleep", call!(SYS_clock_nanosleep, 4, 0, 8, 0));
        out.ret("bad rest is not touched", call!(SYS_nanosleep, spec(1).as_ptr(), 8));
        out.ret("other flags", call!(SYS_clock_nanosleep, 1, 0x10, spec(1).as_ptr(), 0));
        out.ret("nothing", call!(SYS_nanosleep, spec(0).as_ptr(), 0));
    }),
    case("clock/nanosleep-not-early", &["clock_nanosleep", "nanosleep"], |out| {
        for clock in [0, 1, 7, 11] {
            for ns in [1, 50_000, 1_000_000, 20_000_000] {
                let before = gettime(clock).1;
                call!(SYS_clock_nanosleep, clock, 0, spec(ns).as_ptr(), 0);
                let slept = gettime(clock).1 - before;
                out.say(format_args!("{clock} {ns}: {}", slept >= ns && slept < ns + 2_000_000_000));
                let until = gettime(clock).1 + ns;
                let result = call!(SYS_clock_nanosleep, clock, ABSOLUTE, spec(until).as_ptr(), 0);
                out.say(format_args!("until: {result} {}", gettime(clock).1 >= until));
            }
            out.ret("past", call!(SYS_clock_nanosleep, clock, ABSOLUTE, spec(1).as_ptr(), 0));
        }
    }),
    case("clock/nanosleep-interrupted", &["nanosleep", "clock_nanosleep"], |out| {
        let mut rest = [0i64; 2];
        let rest_is_right = |rest: [i64; 2]| (950..=1000).contains(&rest[0]);
        let result =
            interrupted(0, || call!(SYS_nanosleep, spec(1_000_000_000_000).as_ptr(), rest.as_mut_ptr()));
        out.ret("nanosleep", result);
        out.say(format_args!("rest {}", rest_is_right(rest)));
        let restart = libc::SA_RESTART as u64;
        rest = [0; 2];
        let result = interrupted(restart, || {
            call!(SYS_clock_nanosleep, 1, 0, spec(1_000_000_000_000).as_ptr(), &raw mut rest)
        });
        out.ret("clock_nanosleep, SA_RESTART", result);
        out.say(format_args!("rest {}", rest_is_right(rest)));
        rest = [7; 2];
        let until = gettime(1).1 + 1_000_000_000_000;
        let result = interrupted(restart, || {
            call!(SYS_clock_nanosleep, 1, ABSOLUTE, spec(until).as_ptr(), &raw mut rest)
        });
        out.ret("absolute", result);
        out.say(format_args!("rest {rest:?}"));
        let result = interrupted(0, || call!(SYS_nanosleep, spec(1_000_000_000_000).as_ptr(), 8));
        out.ret("bad address for the rest", result);
        out.say(format_args!("handlers {}", COUNT.load(Ordering::SeqCst)));
    }),
    case("clock/nanosleep-continues-after-stop", &["nanosleep", "restart_syscall"], |out| {
        let fd = out.fd();
        let pid = sys::fork(|| {
            let before = sys::now_ms();
            let result = call!(SYS_nanosleep, spec(300_000_000).as_ptr(), 0);
            let mut out = Out::new(fd);
            out.ret("slept", result);
            out.say(format_args!("whole {}", sys::now_ms() - before >= 300));
            0
        });
        for _ in 0..3 {
            sys::sleep_ms(20);
            signals::kill(pid, libc::SIGSTOP);
            call!(SYS_wait4, pid, 0, libc::WUNTRACED, 0);
            signals::kill(pid, libc::SIGCONT);
        }
        out.say(sys::status(sys::wait(pid)));
    }),
    case("clock/nanosleep-process-cpu", &["clock_nanosleep"], |out| {
        let end = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = end.clone();
        let other = signals::thread(move || {
            while !seen.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let before = gettime(2).1;
        out.ret("relative", call!(SYS_clock_nanosleep, 2, 0, spec(30_000_000).as_ptr(), 0));
        let used = gettime(2).1 - before;
        out.say(format_args!("used {}", used >= 30_000_000));
        let mut rest = [0i64; 2];
        let result = interrupted(0, || {
            call!(SYS_clock_nanosleep, 2, 0, spec(1_000_000_000_000).as_ptr(), rest.as_mut_ptr())
        });
        out.ret("interrupted", result);
        out.say(format_args!("rest {}", (900..=1000).contains(&rest[0])));
        end.store(true, Ordering::Relaxed);
        let _ = other.join();
    }),
    case("clock/timeofday", &["gettimeofday", "settimeofday", "time"], |out| {
        let mut time = [0i64; 2];
        out.ret("gettimeofday", call!(SYS_gettimeofday, time.as_mut_ptr(), 0));
        let seconds = call!(SYS_time, 0);
        out.say(format_args!("time {}", (time[0]..time[0] + 30).contains(&seconds)));
        out.ret("time, bad address", call!(SYS_time, 8));
        out.ret("gettimeofday, bad address", call!(SYS_gettimeofday, 8, 0));
        out.ret("nothing", call!(SYS_gettimeofday, 0, 0));
        out.ret("settimeofday", call!(SYS_settimeofday, time.as_ptr(), 0));
        out.ret("settimeofday, bad time", call!(SYS_settimeofday, [0i64, 1_000_000].as_ptr(), 0));
        out.ret("settimeofday, bad address", call!(SYS_settimeofday, 8, 0));
    }),
    case("clock/itimer-errors", &["setitimer", "getitimer"], |out| {
        let set = |which: i32, spec: [i64; 4]| call!(SYS_setitimer, which, spec.as_ptr(), 0);
        for which in [-1, 3, 99] {
            out.ret(&format!("which {which}"), set(which, [0; 4]));
            out.ret("get", call!(SYS_getitimer, which, [0i64; 4].as_mut_ptr()));
        }
        for which in 0..3 {
            out.ret("negative", set(which, [0, 0, -1, 0]));
            out.ret("a second of us", set(which, [0, 0, 0, 1_000_000]));
            out.ret("bad interval", set(which, [0, -1, 1, 0]));
            out.ret("bad address", call!(SYS_setitimer, which, 8, 0));
            out.ret("get, bad address", call!(SYS_getitimer, which, 8));
            out.ret("set", set(which, [7, 0, 1000, 0]));
            let mut now = [0i64; 4];
            out.ret("get", call!(SYS_getitimer, which, now.as_mut_ptr()));
            out.say(format_args!("{} {}", now[0], (990..=1000).contains(&now[2])));
            out.ret("no address", call!(SYS_setitimer, which, 0, now.as_mut_ptr()));
            out.say(format_args!("{} {}", now[0], (990..=1000).contains(&now[2])));
            out.ret("get", call!(SYS_getitimer, which, now.as_mut_ptr()));
            out.say(format_args!("{now:?}"));
        }
    }),
    case("clock/itimer-prof", &["setitimer", "getitimer"], |out| {
        signals::catch(libc::SIGPROF, 0);
        out.ret("set", call!(SYS_setitimer, 2, [0i64, 0, 0, 50_000].as_ptr(), 0));
        sys::sleep_ms(150);
        out.ret("asleep", COUNT.load(Ordering::SeqCst).into());
        signals::burn_ms(150);
        out.ret("awake", COUNT.load(Ordering::SeqCst).into());
        let mut now = [7i64; 4];
        out.ret("get", call!(SYS_getitimer, 2, now.as_mut_ptr()));
        out.say(format_args!("{now:?}"));
        out.ret("periodic", call!(SYS_setitimer, 2, [0i64, 10_000, 0, 10_000].as_ptr(), 0));
        signals::burn_ms(200);
        out.say(format_args!("several {}", COUNT.load(Ordering::SeqCst) > 5));
        out.say(format_args!("code {}", signals::WORDS[2].load(Ordering::SeqCst)));
    }),
    case("clock/itimer-virtual", &["setitimer"], |out| {
        signals::catch(libc::SIGVTALRM, 0);
        out.ret("periodic", call!(SYS_setitimer, 1, [0i64, 10_000, 0, 10_000].as_ptr(), 0));
        sys::sleep_ms(100);
        out.ret("asleep", COUNT.load(Ordering::SeqCst).into());
        let end = gettime(3).1 + 300_000_000;
        while gettime(3).1 < end {
            for _ in 0..200_000 {
                std::hint::spin_loop();
            }
        }
        out.say(format_args!("several {}", COUNT.load(Ordering::SeqCst) > 5));
    }),
    case("clock/itimer-inheritance", &["setitimer", "clone", "execve"], |out| {
        for which in 0..3 {
            call!(SYS_setitimer, which, [0i64, 0, 1000, 0].as_ptr(), 0);
        }
        let fd = out.fd();
        let pid = sys::fork(|| {
            for which in 0..3 {
                let mut now = [7i64; 4];
                call!(SYS_getitimer, which, now.as_mut_ptr());
                Out::new(fd).say(format_args!("child {now:?}"));
            }
            0
        });
        sys::wait(pid);
    }),
    case("clock/alarm", &["alarm"], |out| {
        signals::catch(libc::SIGALRM, 0);
        out.ret("none", call!(SYS_alarm, 100));
        let left = call!(SYS_alarm, 1);
        out.say(format_args!("left {}", (95..=100).contains(&left)));
        out.ret("pause", call!(SYS_pause));
        out.ret("count", COUNT.load(Ordering::SeqCst).into());
        out.ret("none", call!(SYS_alarm, 0));
        call!(SYS_setitimer, 0, [5i64, 0, 0, 900_000].as_ptr(), 0);
        out.ret("a part of a second", call!(SYS_alarm, 0));
        call!(SYS_alarm, u32::MAX);
        let left = call!(SYS_alarm, 0);
        out.say(format_args!("longest {}", left > 4_000_000_000));
    }),
    case("clock/rlimit-cpu", &["prlimit64"], |out| {
        let fd = out.fd();
        let pid = sys::fork(|| {
            let mut out = Out::new(fd);
            signals::catch(libc::SIGXCPU, 0);
            rlimit_cpu(&mut out, 1, 3);
            let start = sys::now_ms();
            while COUNT.load(Ordering::SeqCst) == 0 && sys::now_ms() < start + 10_000 {}
            let used = gettime(2).1;
            out.say(format_args!("first at {}", used >= 900_000_000));
            let mut limit = [0u64; 2];
            call!(SYS_prlimit64, 0, libc::RLIMIT_CPU, 0, limit.as_mut_ptr());
            out.say(format_args!("then {limit:?} code {}", signals::WORDS[2].load(Ordering::SeqCst)));
            while COUNT.load(Ordering::SeqCst) == 1 && sys::now_ms() < start + 10_000 {}
            out.say(format_args!("second at {}", gettime(2).1 >= 1_900_000_000));
            while sys::now_ms() < start + 15_000 {}
            0
        });
        out.say(sys::status(sys::wait(pid)));
    }),
    case("clock/rlimit-cpu-default", &["prlimit64"], |out| {
        let fd = out.fd();
        let pid = sys::fork(|| {
            rlimit_cpu(&mut Out::new(fd), 1, u64::MAX);
            let pid = sys::fork(|| {
                signals::burn_ms(5000);
                0
            });
            Out::new(fd).say(sys::status(sys::wait(pid) & !0x80));
            0
        });
        out.say(sys::status(sys::wait(pid)));
    }),
    case("clock/rusage-split", &["getrusage", "times"], |out| {
        let mut usage = [0i64; 18];
        let times = |usage: &[i64; 18]| (usage[0] * 1_000_000 + usage[1], usage[2] * 1_000_000 + usage[3]);
        call!(SYS_getrusage, 0, usage.as_mut_ptr());
        let before = times(&usage);
        let end = sys::now_ms() + 400;
        while sys::now_ms() < end {
            for _ in 0..200_000 {
                std::hint::spin_loop();
            }
        }
        call!(SYS_getrusage, 0, usage.as_mut_ptr());
        let user = times(&usage);
        out.say(format_args!("mostly user {}", user.0 - before.0 > 4 * (user.1 - before.1)));
        let end = sys::now_ms() + 600;
        while sys::now_ms() < end {
            for _ in 0..200 {
                call!(SYS_getppid);
                call!(SYS_read, -1, 0, 0);
            }
        }
        call!(SYS_getrusage, 0, usage.as_mut_ptr());
        let system = times(&usage);
        out.say(format_args!("some system {}", system.1 - user.1 > 50_000));
        out.ret("bad who", call!(SYS_getrusage, 2, usage.as_mut_ptr()));
        out.ret("bad address", call!(SYS_getrusage, 0, 8));
    }),
    case("clock/rusage-counters", &["getrusage", "wait4"], |out| {
        let mut usage = [0i64; 18];
        let pid = sys::fork(|| {
            signals::burn_ms(50);
            let pages = vec![1u8; 20 << 20];
            std::hint::black_box(&pages);
            for _ in 0..20 {
                sys::sleep_ms(1);
            }
            0
        });
        let mut status = 0i32;
        call!(SYS_wait4, pid, &raw mut status, 0, usage.as_mut_ptr());
        let time = usage[0] + usage[2] + usage[1] + usage[3];
        out.say(format_args!("time {} rss {}", time >= 40_000, (20 << 10..60 << 10).contains(&usage[4])));
        out.say(format_args!("switches {} faults {}", usage[16] >= 20, usage[8] > 0));
        let mut children = [0i64; 18];
        out.ret("children", call!(SYS_getrusage, -1, children.as_mut_ptr()));
        out.say(format_args!(
            "the same rss {} switches {}",
            children[4] == usage[4],
            children[16] >= usage[16]
        ));
        out.ret("thread", call!(SYS_getrusage, 1, usage.as_mut_ptr()));
        out.say(format_args!("rss {}", usage[4] > 0));
        let mut ticks = [0i64; 4];
        out.ok("times", call!(SYS_times, ticks.as_mut_ptr()));
        out.say(format_args!("children's ticks {}", ticks[2] + ticks[3] >= 4));
        out.ok("times, no address", call!(SYS_times, 0));
        out.ret("times, bad address", call!(SYS_times, 8));
    }),
    case("clock/adjtimex", &["adjtimex", "clock_adjtime"], |out| {
        let show = |out: &mut Out, what: &str, result: i64, time: &[i64; 26]| {
            out.ret(what, result);
            out.say(format_args!("status {:x} precision {} tick {}", time[5] as i32, time[7], time[11]));
            out.say(format_args!(
                "tolerance {} time {}",
                time[8],
                (time[9] - gettime(0).1 / 1_000_000_000).abs() < 30
            ));
        };
        let mut time = [0i64; 26];
        let result = call!(SYS_adjtimex, time.as_mut_ptr());
        show(out, "read", result, &time);
        for modes in [1, 2, 0x4000, 0x8000, 0x8001, 0xa001, 0x10, 0x80] {
            let mut time = [0i64; 26];
            time[0] = modes;
            out.ret(&format!("modes {modes:x}"), call!(SYS_adjtimex, time.as_mut_ptr()));
        }
        out.ret("bad address", call!(SYS_adjtimex, 8));
        for clock in [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, -1, -2, -5, -6] {
            let mut time = [0i64; 26];
            out.ret(&format!("clock {clock}"), call!(SYS_clock_adjtime, clock, time.as_mut_ptr()));
        }
        out.ret("bad address, no clock", call!(SYS_clock_adjtime, 99, 8));
    }),
    case("clock/timer-slack", &["prctl", "nanosleep"], |out| {
        const SET: i32 = 29;
        const GET: i32 = 30;
        out.ret("get", call!(SYS_prctl, GET, 0, 0, 0, 0));
        out.ret("set", call!(SYS_prctl, SET, 1, 0, 0, 0));
        out.ret("get", call!(SYS_prctl, GET, 0, 0, 0, 0));
        let fd = out.fd();
        let pid = sys::fork(|| {
            Out::new(fd).ret("inherited", call!(SYS_prctl, GET, 0, 0, 0, 0));
            call!(SYS_prctl, SET, 0, 0, 0, 0);
            Out::new(fd).ret("its default", call!(SYS_prctl, GET, 0, 0, 0, 0));
            0
        });
        sys::wait(pid);
    }),
    case("clock/no-timer-is-lost", &["nanosleep", "setitimer"], |out| {
        let children: Vec<i32> = (0..6)
            .map(|number| {
                sys::fork(|| {
                    for round in 0..150 {
                        let ns = (number * 37 + round * 11) % 400 * 1000 + 1;
                        call!(SYS_nanosleep, spec(ns).as_ptr(), 0);
                        if round % 10 == 0 {
                            signals::burn_ms(1);
                        }
                    }
                    0
                })
            })
            .collect();
        for pid in children {
            out.say(sys::status(sys::wait(pid)));
        }
    }),
    case("clock/threads-sleep-side-by-side", &["clock_nanosleep"], |out| {
        let start = sys::now_ms();
        let threads: Vec<_> = (0..8)
            .map(|number| {
                signals::thread(move || {
                    for _ in 0..20 {
                        let until = gettime(1).1 + 1_000_000 * (number + 1);
                        call!(SYS_clock_nanosleep, 1, ABSOLUTE, spec(until).as_ptr(), 0);
                    }
                })
            })
            .collect();
        let ended = threads.into_iter().map(std::thread::JoinHandle::join).filter(Result::is_ok).count();
        let took = sys::now_ms() - start;
        out.say(format_args!("{ended} in time {}", (160..10_000).contains(&took)));
    }),
];
