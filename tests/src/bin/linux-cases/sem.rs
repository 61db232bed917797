//! Semaphore sets. Each case has an IPC namespace of its own.
#![allow(unsafe_code, reason = "a signal's handler")]

use crate::{
    Case, Out, case,
    shm::{CREAT, EXCL, INFO, RMID, SET, STAT, become_user, fresh, in_child},
    sys::{self, call},
};

const NOWAIT: i16 = 0o4000;
const UNDO: i16 = 0x1000;
const GETPID: i64 = 11;
const GETVAL: i64 = 12;
const GETALL: i64 = 13;
const GETNCNT: i64 = 14;
const GETZCNT: i64 = 15;
const SETVAL: i64 = 16;
const SETALL: i64 = 17;
const SEM_STAT: i64 = 18;
const SEM_INFO: i64 = 19;
const STAT_ANY: i64 = 20;

#[repr(C)]
#[derive(Clone, Copy)]
struct Op(u16, i16, i16);

/// `struct semid64_ds` as words of 8 bytes.
type Stat = [u64; 13];

fn get(key: i64, len: i64, flags: i64) -> i64 {
    call!(SYS_semget, key, len, flags)
}

fn ctl(id: i64, num: i64, command: i64, arg: i64) -> i64 {
    call!(SYS_semctl, id, num, command, arg)
}

fn op(id: i64, ops: &[Op]) -> i64 {
    call!(SYS_semop, id, ops.as_ptr(), ops.len())
}

fn timed(id: i64, ops: &[Op], time: [i64; 2]) -> i64 {
    call!(SYS_semtimedop, id, ops.as_ptr(), ops.len(), time.as_ptr())
}

fn value(id: i64, num: i64) -> i64 {
    ctl(id, num, GETVAL, 0)
}

fn values(out: &mut Out, what: &str, id: i64, len: usize) {
    let mut all = vec![0u16; len];
    let result = ctl(id, 0, GETALL, all.as_mut_ptr() as i64);
    if result == 0 { out.say(format_args!("{what}: {all:?}")) } else { out.ret(what, result) }
}

fn show(out: &mut Out, what: &str, id: i64) {
    let mut stat: Stat = [0; 13];
    let result = ctl(id, 0, STAT, stat.as_mut_ptr() as i64);
    if result != 0 {
        return out.ret(what, result);
    }
    let halves = |word: u64| (word as u32, (word >> 32) as u32);
    let ((key, uid), (gid, cuid), (cgid, mode)) = (halves(stat[0]), halves(stat[1]), halves(stat[2]));
    out.say(format_args!(
        "{what}: key {key} owner {uid}:{gid} maker {cuid}:{cgid} mode {mode:o} length {} operated {} changed {}",
        stat[10],
        stat[6] != 0,
        stat[8] != 0
    ));
}

/// Waits until a semaphore has so many that wait.
fn until_waits(id: i64, num: i64, command: i64, count: i64) {
    for _ in 0..5000 {
        if ctl(id, num, command, 0) == count {
            return;
        }
        sys::sleep_ms(1);
    }
}

fn child(out: &Out, body: impl FnOnce(&mut Out)) -> i32 {
    let fd = out.fd();
    sys::fork(|| {
        body(&mut Out::new(fd));
        0
    })
}

fn ended(out: &mut Out, what: &str, pid: i32) {
    out.say(format_args!("{what}: {}", sys::status(sys::wait(pid))));
}

extern "C" fn nothing(_: i32) {}

pub(crate) const CASES: &[Case] = &[
    case("sem/get", &["semget"], |out| {
        fresh(out);
        out.ret("none", get(7, 1, 0));
        out.ret("no semaphores", get(7, 0, CREAT | 0o600));
        out.ret("below none", get(7, -1, CREAT | 0o600));
        out.ret("too many", get(7, 32001, CREAT | 0o600));
        let id = get(7, 3, CREAT | 0o640);
        out.ret("new", id);
        show(out, "it", id);
        out.ret("again", get(7, 3, CREAT | 0o640));
        out.ret("with fewer", get(7, 2, 0));
        out.ret("with any", get(7, 0, 0));
        out.ret("with more", get(7, 4, 0));
        out.ret("only new", get(7, 3, CREAT | EXCL | 0o640));
        out.ret("private", get(0, 1, 0o600));
        out.ret("private again", get(0, 1, 0o600));
        values(out, "values", id, 3);
        in_child(out, "a user", |out| {
            become_user(1000);
            out.ret("get", get(7, 3, 0));
            out.ret("get to read", get(7, 3, 0o4));
            values(out, "values", id, 3);
            out.ret("set", ctl(id, 0, SETVAL, 1));
            out.ret("add", op(id, &[Op(0, 1, 0)]));
            out.ret("remove", ctl(id, 0, RMID, 0));
        });
        out.ret("remove", ctl(id, 0, RMID, 0));
        out.ret("remove again", ctl(id, 0, RMID, 0));
        out.ret("get", get(7, 0, 0));
    }),
    case("sem/values", &["semctl"], |out| {
        fresh(out);
        let id = get(0, 4, 0o600);
        out.ret("set", ctl(id, 2, SETVAL, 5));
        out.ret("get", value(id, 2));
        out.ret("too high", ctl(id, 2, SETVAL, 32768));
        out.ret("highest", ctl(id, 2, SETVAL, 32767));
        out.ret("below 0", ctl(id, 2, SETVAL, -1));
        out.ret("no such one", ctl(id, 4, SETVAL, 1));
        out.ret("nor below", ctl(id, -1, SETVAL, 1));
        out.ret("of no such one", value(id, 4));
        out.say(format_args!("by me {}", ctl(id, 2, GETPID, 0) == i64::from(sys::getpid())));
        out.ret("by nobody", ctl(id, 1, GETPID, 0));
        let all = [1u16, 2, 3, 4];
        out.ret("set all", ctl(id, 0, SETALL, all.as_ptr() as i64));
        values(out, "all", id, 4);
        let all = [1u16, 2, 40000, 4];
        out.ret("one too high", ctl(id, 0, SETALL, all.as_ptr() as i64));
        values(out, "all", id, 4);
        out.ret("bad address", ctl(id, 0, SETALL, 8));
        out.ret("bad address", ctl(id, 0, GETALL, 8));
        out.ret("bad command", ctl(id, 0, 99, 0));
        out.ret("command below 0", ctl(id, 0, -1, 0));
        out.ret("bad id", ctl(id + 1, 0, GETVAL, 0));
        out.ret("id below 0", ctl(-1, 0, GETVAL, 0));
    }),
    case("sem/operations", &["semop"], |out| {
        fresh(out);
        let id = get(0, 3, 0o600);
        out.ret("add", op(id, &[Op(0, 3, 0), Op(1, 1, 0)]));
        values(out, "values", id, 3);
        out.ret("take", op(id, &[Op(0, -2, 0), Op(1, -1, 0)]));
        values(out, "values", id, 3);
        out.ret("all or none", op(id, &[Op(2, 5, 0), Op(0, -2, NOWAIT)]));
        values(out, "values", id, 3);
        out.ret("one after the other", op(id, &[Op(1, 2, 0), Op(1, -2, 0), Op(1, 0, 0)]));
        out.ret("is it zero", op(id, &[Op(0, 0, NOWAIT)]));
        out.ret("this is", op(id, &[Op(2, 0, NOWAIT)]));
        out.ret("too high", op(id, &[Op(0, 32767, 0)]));
        out.ret("none", op(id, &[]));
        out.ret("too many", op(id, &[Op(0, 1, 0); 501]));
        out.ret("as many as may be", op(id, &[Op(1, 1, 0); 500]));
        out.ret("no such one", op(id, &[Op(3, 1, 0)]));
        out.ret("bad address", call!(SYS_semop, id, 8, 1));
        out.ret("bad id", op(77, &[Op(0, 1, 0)]));
        out.ret("id below 0", op(-1, &[Op(0, 1, 0)]));
        values(out, "values", id, 3);
        show(out, "it", id);
    }),
    case("sem/waiting", &["semop", "semctl"], |out| {
        fresh(out);
        let id = get(0, 2, 0o600);
        let taker = child(out, |out| out.ret("take two", op(id, &[Op(0, -2, 0)])));
        until_waits(id, 0, GETNCNT, 1);
        out.ret("wait for it", ctl(id, 0, GETNCNT, 0));
        out.ret("for zero", ctl(id, 0, GETZCNT, 0));
        out.ret("add one", op(id, &[Op(0, 1, 0)]));
        out.ret("still", ctl(id, 0, GETNCNT, 0));
        let result = op(id, &[Op(0, 1, 0)]);
        ended(out, "taker", taker);
        out.ret("and another", result);
        out.ret("left", value(id, 0));
        out.ret("set", ctl(id, 1, SETVAL, 2));
        let zero = child(out, |out| out.ret("zero", op(id, &[Op(1, 0, 0)])));
        until_waits(id, 1, GETZCNT, 1);
        out.ret("for zero", ctl(id, 1, GETZCNT, 0));
        let result = ctl(id, 1, SETVAL, 0);
        ended(out, "who waited", zero);
        out.ret("set to zero", result);
        let both = child(out, |out| out.ret("both", op(id, &[Op(0, -1, 0), Op(1, -1, 0)])));
        until_waits(id, 0, GETNCNT, 1);
        out.ret("the first", op(id, &[Op(0, 1, 0)]));
        until_waits(id, 1, GETNCNT, 1);
        values(out, "not taken", id, 2);
        let result = op(id, &[Op(1, 1, 0)]);
        ended(out, "who wanted both", both);
        out.ret("the second", result);
        values(out, "taken", id, 2);
    }),
    case("sem/order", &["semop"], |out| {
        fresh(out);
        let id = get(0, 2, 0o600);
        let mut all = Vec::new();
        for count in [3, 1, 2] {
            all.push(child(out, |_| {
                op(id, &[Op(0, -count, 0)]);
                op(id, &[Op(1, 1, 0)]);
            }));
            until_waits(id, 0, GETNCNT, all.len() as i64);
        }
        out.ret("one", op(id, &[Op(0, 1, 0)]));
        until_waits(id, 0, GETNCNT, 2);
        out.ret("wait", ctl(id, 0, GETNCNT, 0));
        out.ret("five", op(id, &[Op(0, 5, 0)]));
        for pid in all {
            ended(out, "one of them", pid);
        }
        values(out, "left", id, 2);
    }),
    case("sem/interrupted", &["semop", "semtimedop"], |out| {
        fresh(out);
        let id = get(0, 1, 0o600);
        out.ret("for a time", timed(id, &[Op(0, -1, 0)], [0, 20_000_000]));
        out.ret("bad time", timed(id, &[Op(0, -1, 0)], [0, 1_000_000_000]));
        out.ret("time below 0", timed(id, &[Op(0, -1, 0)], [-1, 0]));
        out.ret("bad time, not needed", timed(id, &[Op(0, 1, 0)], [0, -1]));
        out.ret("at once", timed(id, &[Op(0, 1, 0)], [0, 0]));
        out.ret("set", ctl(id, 0, SETVAL, 0));
        let pid = child(out, |out| {
            // SAFETY: the handler does nothing.
            unsafe { libc::signal(libc::SIGUSR1, nothing as extern "C" fn(i32) as usize) };
            out.ret("interrupted", op(id, &[Op(0, -1, 0)]));
        });
        until_waits(id, 0, GETNCNT, 1);
        call!(SYS_kill, pid, libc::SIGUSR1);
        ended(out, "it", pid);
        out.ret("wait", ctl(id, 0, GETNCNT, 0));
        let pid = child(out, |out| out.ret("removed", op(id, &[Op(0, -1, 0)])));
        until_waits(id, 0, GETNCNT, 1);
        let result = ctl(id, 0, RMID, 0);
        ended(out, "it", pid);
        out.ret("remove", result);
    }),
    case("sem/undo", &["semop", "exit"], |out| {
        fresh(out);
        let id = get(0, 3, 0o600);
        out.ret("set", ctl(id, 0, SETVAL, 5));
        in_child(out, "a child", |out| {
            out.ret("take", op(id, &[Op(0, -3, UNDO), Op(1, 2, UNDO), Op(2, 4, 0)]));
            values(out, "values", id, 3);
        });
        values(out, "taken back", id, 3);
        in_child(out, "whose value is set", |out| {
            out.ret("take", op(id, &[Op(0, -3, UNDO)]));
            out.ret("set", ctl(id, 0, SETVAL, 9));
        });
        values(out, "not taken back", id, 3);
        in_child(out, "below zero", |out| {
            out.ret("add", op(id, &[Op(1, 5, UNDO)]));
            out.ret("take", op(id, &[Op(1, -3, 0)]));
        });
        values(out, "no further than zero", id, 3);
        in_child(out, "who forks", |out| {
            out.ret("add", op(id, &[Op(1, 5, UNDO)]));
            in_child(out, "its child", |out| values(out, "values", id, 3));
            values(out, "values", id, 3);
        });
        values(out, "values", id, 3);
        in_child(out, "who parts with it", |out| {
            out.ret("add", op(id, &[Op(1, 5, UNDO)]));
            out.ret("unshare", call!(SYS_unshare, 0x4_0000));
            values(out, "values", id, 3);
        });
        in_child(out, "with threads", |out| {
            std::thread::spawn(move || op(id, &[Op(1, 7, UNDO)])).join().unwrap_or(0);
            values(out, "values", id, 3);
        });
        values(out, "values", id, 3);
        in_child(out, "too much", |out| {
            out.ret("add", op(id, &[Op(2, 20000, UNDO)]));
            out.ret("take", op(id, &[Op(2, -20000, 0)]));
            out.ret("add", op(id, &[Op(2, 20000, UNDO)]));
        });
    }),
    case("sem/tell", &["semctl"], |out| {
        fresh(out);
        let mut info = [0i32; 10];
        out.ret("limits", ctl(0, 0, INFO, info.as_mut_ptr() as i64));
        out.say(format_args!("{info:?}"));
        let ids = [get(1, 2, CREAT | 0o600), get(2, 3, CREAT | 0o400), get(3, 4, CREAT)];
        out.say(format_args!("{ids:?}"));
        out.ret("usage", ctl(0, 0, SEM_INFO, info.as_mut_ptr() as i64));
        out.say(format_args!("{info:?}"));
        let mut stat: Stat = [0; 13];
        for place in -1..4 {
            out.ret("by place", ctl(place, 0, SEM_STAT, stat.as_mut_ptr() as i64));
        }
        in_child(out, "a user", |out| {
            become_user(1000);
            let mut stat: Stat = [0; 13];
            for place in 0..3 {
                out.ret("by place", ctl(place, 0, SEM_STAT, stat.as_mut_ptr() as i64));
                out.ret("whoever", ctl(place, 0, STAT_ANY, stat.as_mut_ptr() as i64));
            }
        });
        ctl(ids[0], 0, STAT, stat.as_mut_ptr() as i64);
        stat[0] = stat[0] & 0xffff_ffff | 1000 << 32;
        stat[1] = stat[1] & !0xffff_ffff | 1001;
        stat[2] = stat[2] & 0xffff_ffff | 0o6666 << 32;
        out.ret("set", ctl(ids[0], 0, SET, stat.as_mut_ptr() as i64));
        show(out, "it", ids[0]);
        out.ret("bad address", ctl(ids[0], 0, SET, 8));
        out.ret("bad address", ctl(ids[0], 0, STAT, 8));
        let text = std::fs::read_to_string("/proc/sysvipc/sem").unwrap_or_default();
        for line in text.lines() {
            // Without the times.
            out.say(&line[..line.len().min(62)]);
        }
    }),
];
