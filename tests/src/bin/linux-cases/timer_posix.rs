//! POSIX timers.

use crate::{
    Case, Out, case,
    signals::{self, Info, SIG_IGN, describe},
    sys::{self, call},
};

const RT: i32 = 40;
const MONOTONIC: i32 = libc::CLOCK_MONOTONIC;
const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD_ID: i32 = 4;
const ABSOLUTE: i32 = 1;

/// A `sigevent` of value, signal, notification and thread.
fn event(value: i64, signo: i32, notify: i32, thread: i32) -> [i32; 16] {
    let mut event = [0; 16];
    event[0] = value as i32;
    (event[2], event[3], event[4]) = (signo, notify, thread);
    event
}

fn create_with(clock: i32, event: &[i32; 16]) -> i64 {
    let mut id = -1i32;
    match call!(SYS_timer_create, clock, event.as_ptr(), &raw mut id) {
        0 => id.into(),
        error => error,
    }
}

fn create(clock: i32, signo: i32) -> i64 {
    create_with(clock, &event(77, signo, SIGEV_SIGNAL, 0))
}

fn set_us(id: i64, flags: i32, interval: i64, value: i64) -> i64 {
    let spec =
        [interval / 1_000_000, interval % 1_000_000 * 1000, value / 1_000_000, value % 1_000_000 * 1000];
    call!(SYS_timer_settime, id, flags, spec.as_ptr(), 0)
}

fn get(id: i64) -> ([i64; 4], i64) {
    let mut spec = [0i64; 4];
    let result = call!(SYS_timer_gettime, id, spec.as_mut_ptr());
    (spec, result)
}

fn show(out: &mut Out, what: &str, id: i64) {
    let ([s, ns, left_s, left_ns], result) = get(id);
    out.ret(what, result);
    out.say(format_args!("interval {} ms, armed {}", s * 1000 + ns / 1_000_000, left_s != 0 || left_ns != 0));
}

fn now_us(clock: i32) -> i64 {
    let mut time = [0i64; 2];
    call!(SYS_clock_gettime, clock, time.as_mut_ptr());
    time[0] * 1_000_000 + time[1] / 1000
}

pub(crate) const CASES: &[Case] = &[
    case("timer/posix-clocks", &["timer_create"], |out| {
        for clock in -1..14 {
            out.ok(&format!("clock {clock}"), create(clock, RT));
        }
    }),
    case("timer/posix-ids", &["timer_create", "timer_delete"], |out| {
        out.ret("first", create(MONOTONIC, RT));
        out.ret("second", create(MONOTONIC, RT));
        out.ret("delete", call!(SYS_timer_delete, 1));
        out.ret("third", create(MONOTONIC, RT));
        out.ret("delete twice", call!(SYS_timer_delete, 1));
        out.ret("delete negative", call!(SYS_timer_delete, -1));
    }),
    case("timer/posix-create-errors", &["timer_create"], |out| {
        out.ret("signal 0", create(MONOTONIC, 0));
        out.ret("signal 65", create(MONOTONIC, 65));
        out.ret("signal -1", create(MONOTONIC, -1));
        out.ret("signal 65, none", create_with(MONOTONIC, &event(0, 65, SIGEV_NONE, 0)));
        out.ret("notify 3", create_with(MONOTONIC, &event(0, RT, 3, 0)));
        out.ret("notify 9", create_with(MONOTONIC, &event(0, RT, 9, 0)));
        out.ret("thread nobody", create_with(MONOTONIC, &event(0, RT, SIGEV_THREAD_ID, 0x3fff_ffff)));
        out.ret("thread 0", create_with(MONOTONIC, &event(0, RT, SIGEV_THREAD_ID, 0)));
        out.ret("thread of init", create_with(MONOTONIC, &event(0, RT, SIGEV_THREAD_ID, 1)));
        out.ret("own thread", create_with(MONOTONIC, &event(0, RT, SIGEV_THREAD_ID, sys::gettid())));
        out.ret("bad event", call!(SYS_timer_create, MONOTONIC, 8, [0i32; 1].as_mut_ptr()));
        out.ret("bad id address", call!(SYS_timer_create, MONOTONIC, 0, 8));
        out.ret("bad clock and event", call!(SYS_timer_create, 99, 8, 8));
        out.ret("the next id", create(MONOTONIC, RT));
    }),
    case("timer/posix-default-event", &["timer_create", "rt_sigtimedwait"], |out| {
        signals::block(&[libc::SIGALRM]);
        let mut ids = [0i32; 2];
        for id in &mut ids {
            out.ret("create", call!(SYS_timer_create, MONOTONIC, 0, &raw mut *id));
        }
        out.ret("set", set_us(ids[1].into(), 0, 0, 1000));
        let mut info: Info = [0; 32];
        out.ret("signal", signals::wait(&[libc::SIGALRM], 3000, &mut info));
        out.say(format_args!("{} timer {} overrun {} value {}", describe(&info), info[4], info[5], info[6]));
    }),
    case("timer/posix-once", &["timer_settime", "timer_gettime", "rt_sigtimedwait"], |out| {
        signals::block(&[RT]);
        let id = create(MONOTONIC, RT);
        show(out, "new", id);
        out.ret("set", set_us(id, 0, 0, 600_000_000));
        show(out, "armed", id);
        let left = get(id).0[2];
        out.say(format_args!("left {}", (590..=600).contains(&left)));
        out.ret("set", set_us(id, 0, 0, 2000));
        let mut info: Info = [0; 32];
        out.ret("signal", signals::wait(&[RT], 3000, &mut info));
        out.say(format_args!(
            "{} errno {} timer {} overrun {} value {}",
            describe(&info),
            info[1],
            info[4],
            info[5],
            info[6]
        ));
        show(out, "fired", id);
        out.ret("overrun", call!(SYS_timer_getoverrun, id));
        out.ret("no more", signals::wait(&[RT], 5, &mut info));
    }),
    case("timer/posix-periodic", &["timer_settime", "timer_getoverrun"], |out| {
        signals::block(&[RT]);
        let id = create(MONOTONIC, RT);
        out.ret("set", set_us(id, 0, 1000, 1000));
        sys::sleep_ms(60);
        let mut info: Info = [0; 32];
        out.ret("one signal", signals::wait(&[RT], 3000, &mut info));
        let overrun = call!(SYS_timer_getoverrun, id);
        out.say(format_args!("many {} as the signal says {}", overrun >= 20, overrun == i64::from(info[5])));
        let mut taken = 0;
        for _ in 0..5 {
            taken += i32::from(signals::wait(&[RT], 3000, &mut info) > 0);
        }
        out.say(format_args!("it goes on: {taken}"));
        show(out, "armed", id);
        out.ret("stop", set_us(id, 0, 1000, 0));
        show(out, "stopped", id);
        out.ret("overrun", call!(SYS_timer_getoverrun, id));
        signals::wait(&[RT], 0, &mut info);
        out.ret("no more", signals::wait(&[RT], 10, &mut info));
    }),
    case("timer/posix-overrun-ignored", &["timer_settime", "timer_getoverrun"], |out| {
        signals::action(RT, SIG_IGN, 0, 0);
        let id = create(MONOTONIC, RT);
        out.ret("set", set_us(id, 0, 2000, 2000));
        sys::sleep_ms(40);
        show(out, "still runs", id);
        out.ret("overrun", call!(SYS_timer_getoverrun, id));
        signals::catch(RT, 0);
        let end = sys::now_ms() + 5000;
        while signals::COUNT.load(std::sync::atomic::Ordering::SeqCst) == 0 && sys::now_ms() < end {
            sys::sleep_ms(1);
        }
        out.say(format_args!("caught {}", signals::COUNT.load(std::sync::atomic::Ordering::SeqCst) > 0));
    }),
    case("timer/posix-none", &["timer_create", "timer_gettime"], |out| {
        let id = create_with(MONOTONIC, &event(0, 0, SIGEV_NONE, 0));
        out.ret("create", id);
        out.ret("set", set_us(id, 0, 0, 30_000));
        show(out, "armed", id);
        sys::sleep_ms(60);
        show(out, "over", id);
        out.ret("periodic", set_us(id, 0, 10_000, 10_000));
        sys::sleep_ms(60);
        show(out, "periodic", id);
        out.ret("overrun", call!(SYS_timer_getoverrun, id));
    }),
    case("timer/posix-absolute", &["timer_settime"], |out| {
        signals::block(&[RT]);
        for clock in [libc::CLOCK_REALTIME, MONOTONIC, libc::CLOCK_BOOTTIME, libc::CLOCK_TAI] {
            let id = create(clock, RT);
            let mut info: Info = [0; 32];
            out.ret("past", set_us(id, ABSOLUTE, 0, 1));
            out.ret("signal", signals::wait(&[RT], 3000, &mut info));
            out.ret("soon", set_us(id, ABSOLUTE, 0, now_us(clock) + 300_000));
            let left = get(id).0;
            out.say(format_args!("left {}", left[2] == 0 && left[3] > 0));
            out.ret("not yet", signals::wait(&[RT], 0, &mut info));
            out.ret("signal", signals::wait(&[RT], 3000, &mut info));
            out.say(format_args!("not early {}", get(id).0 == [0; 4]));
        }
    }),
    case("timer/posix-thread", &["timer_create", "rt_sigtimedwait"], |out| {
        signals::block(&[RT]);
        let (from, to) = sys::pipe();
        let other = signals::thread(move || {
            sys::write(to, &sys::gettid().to_ne_bytes());
            let mut info: Info = [0; 32];
            let got = signals::wait(&[RT], 5000, &mut info);
            sys::write(to, &(got as i32).to_ne_bytes());
        });
        let mut word = [0; 4];
        sys::read(from, &mut word);
        let id = create_with(MONOTONIC, &event(5, RT, SIGEV_THREAD_ID, i32::from_ne_bytes(word)));
        out.ret("create", id);
        out.ret("set", set_us(id, 0, 0, 1000));
        sys::read(from, &mut word);
        out.say(format_args!("the thread took {}", i32::from_ne_bytes(word)));
        // Its thread ends; the timer is there all the same.
        let _ = other.join();
        out.ret("set", set_us(id, 0, 0, 1000));
        sys::sleep_ms(20);
        let mut info: Info = [0; 32];
        out.ret("nobody takes it", signals::wait(&[RT], 0, &mut info));
        out.ret("delete", call!(SYS_timer_delete, id));
    }),
    case("timer/posix-settime-errors", &["timer_settime", "timer_gettime", "timer_getoverrun"], |out| {
        let id = create(MONOTONIC, RT);
        let set = |spec: [i64; 4]| call!(SYS_timer_settime, id, 0, spec.as_ptr(), 0);
        out.ret("no setting", call!(SYS_timer_settime, id, 0, 0, 0));
        out.ret("bad address", call!(SYS_timer_settime, id, 0, 8, 0));
        out.ret("negative", set([0, 0, -1, 0]));
        out.ret("a second of ns", set([0, 0, 0, 1_000_000_000]));
        out.ret("bad interval", set([0, -1, 1, 0]));
        out.ret("bad interval, disarmed", set([-1, 0, 0, 0]));
        out.ret("other flags", call!(SYS_timer_settime, id, 0x70, [0i64; 4].as_ptr(), 0));
        out.ret("no timer", call!(SYS_timer_settime, 9, 0, [0i64; 4].as_ptr(), 0));
        out.ret("no timer, bad address", call!(SYS_timer_settime, 9, 0, 8, 0));
        out.ret("gettime of none", call!(SYS_timer_gettime, 9, 8));
        out.ret("gettime, bad address", call!(SYS_timer_gettime, id, 8));
        out.ret("overrun of none", call!(SYS_timer_getoverrun, 9));
        let mut old = [0i64; 4];
        let spec = [7i64, 0, 1000, 0];
        out.ret("set", call!(SYS_timer_settime, id, 0, spec.as_ptr(), old.as_mut_ptr()));
        out.say(format_args!("{old:?}"));
        out.ret("old, bad address", call!(SYS_timer_settime, id, 0, [0i64; 4].as_ptr(), 8));
        show(out, "was set all the same", id);
        out.ret("largest", set([0, 0, i64::MAX, 999_999_999]));
        show(out, "largest", id);
    }),
    case("timer/posix-old-value", &["timer_settime"], |out| {
        let id = create(MONOTONIC, RT);
        set_us(id, 0, 3_000_000, 500_000_000);
        let mut old = [0i64; 4];
        out.ret("set", call!(SYS_timer_settime, id, 0, [0i64; 4].as_ptr(), old.as_mut_ptr()));
        out.say(format_args!("interval {} left {}", old[0], (490..=500).contains(&old[2])));
        out.ret("again", call!(SYS_timer_settime, id, 0, [0i64; 4].as_ptr(), old.as_mut_ptr()));
        out.say(format_args!("{old:?}"));
    }),
    case("timer/posix-not-inherited", &["timer_create", "clone"], |out| {
        let id = create(MONOTONIC, RT);
        set_us(id, 0, 0, 900_000_000);
        let fd = out.fd();
        let pid = sys::fork(|| {
            let mut out = Out::new(fd);
            out.ret("in the child", get(id).1);
            out.ret("its first", create(MONOTONIC, RT));
            0
        });
        sys::wait(pid);
        show(out, "in the parent", id);
    }),
    case("timer/posix-limit", &["timer_create", "prlimit64"], |out| {
        let limit = [3u64, 3];
        // A user of its own, so that nobody else's signals count.
        out.ret("user", call!(SYS_setresuid, 4321, 4321, 4321));
        out.ret("limit", call!(SYS_prlimit64, 0, libc::RLIMIT_SIGPENDING, limit.as_ptr(), 0));
        for _ in 0..4 {
            out.ok("create", create(MONOTONIC, RT));
        }
        out.ret("delete", call!(SYS_timer_delete, 0));
        out.ok("create", create(MONOTONIC, RT));
        signals::block(&[RT]);
        out.ret("a signal besides", signals::queue(sys::getpid(), RT, 1));
        set_us(1, 0, 0, 1);
        let mut info: Info = [0; 32];
        out.ret("a timer's own", signals::wait(&[RT], 3000, &mut info));
    }),
    case("timer/posix-delete-pending", &["timer_delete"], |out| {
        signals::block(&[RT]);
        let id = create(MONOTONIC, RT);
        set_us(id, 0, 1000, 1000);
        sys::sleep_ms(20);
        out.ret("pending", i64::from(signals::pending() == signals::set(&[RT])));
        out.ret("delete", call!(SYS_timer_delete, id));
        let mut info: Info = [0; 32];
        signals::wait(&[RT], 0, &mut info);
        out.ret("no more", signals::wait(&[RT], 20, &mut info));
    }),
    case("timer/posix-standard-signal", &["timer_settime", "kill"], |out| {
        signals::block(&[libc::SIGUSR1]);
        let id = create(MONOTONIC, libc::SIGUSR1);
        signals::kill(sys::getpid(), libc::SIGUSR1);
        set_us(id, 0, 0, 1);
        sys::sleep_ms(20);
        signals::drain(out, &[libc::SIGUSR1]);
    }),
    case("timer/posix-many", &["timer_create", "timer_settime"], |out| {
        signals::block(&[RT]);
        let start = now_us(MONOTONIC) + 500_000;
        for number in 0..40 {
            let id = create_with(MONOTONIC, &event(number, RT, SIGEV_SIGNAL, 0));
            set_us(id, ABSOLUTE, 0, start - 1000 * number);
        }
        let mut info: Info = [0; 32];
        let mut values = Vec::new();
        while signals::wait(&[RT], 1000, &mut info) > 0 {
            values.push(info[6]);
        }
        let sorted = values.windows(2).all(|pair| pair[0] > pair[1]);
        out.say(format_args!("{} in order {sorted}", values.len()));
    }),
    case("timer/posix-process-cpu", &["timer_create", "timer_settime"], |out| {
        signals::catch(RT, 0);
        let id = create(libc::CLOCK_PROCESS_CPUTIME_ID, RT);
        out.ret("create", id);
        out.ret("set", set_us(id, 0, 0, 30_000));
        sys::sleep_ms(80);
        let count = || signals::COUNT.load(std::sync::atomic::Ordering::SeqCst);
        out.say(format_args!("asleep {}", count()));
        signals::burn_ms(100);
        out.say(format_args!("awake {}", count()));
        show(out, "over", id);
        out.ret("periodic", set_us(id, 0, 10_000, 10_000));
        signals::burn_ms(120);
        out.say(format_args!("several {}", count() >= 5));
        show(out, "goes on", id);
    }),
    case("timer/posix-thread-cpu", &["timer_create", "timer_settime"], |out| {
        signals::catch(RT, 0);
        let id = create(libc::CLOCK_THREAD_CPUTIME_ID, RT);
        out.ret("set", set_us(id, 0, 0, 40_000));
        let count = || signals::COUNT.load(std::sync::atomic::Ordering::SeqCst);
        let _ = signals::thread(|| signals::burn_ms(80)).join();
        out.say(format_args!("another thread's time {}", count()));
        signals::burn_ms(100);
        out.say(format_args!("own time {}", count()));
    }),
];
