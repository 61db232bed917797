//! prctl(2), kcmp(2), I/O priorities.

use crate::{
    Case, Out, case,
    sys::{self, call},
};

fn prctl(option: u32, args: &[i64]) -> i64 {
    let mut five = [i64::from(option), 0, 0, 0, 0];
    five[1..=args.len()].copy_from_slice(args);
    sys::raw(libc::SYS_prctl, &five)
}

fn in_child(out: &mut Out, what: &str, body: impl FnOnce(&mut Out)) {
    let fd = out.fd();
    let pid = sys::fork(|| {
        body(&mut Out::new(fd));
        0
    });
    out.say(format_args!("{what}: {}", sys::status(sys::wait(pid))));
}

fn as_user(uid: u32) {
    call!(SYS_setresuid, uid, uid, uid);
}

pub(crate) const CASES: &[Case] = &[
    case("prctl/name", &["prctl"], |out| {
        let show = |out: &mut Out| {
            let mut name = [0xffu8; 20];
            out.ret("get", prctl(16, &[name.as_mut_ptr() as i64]));
            out.say(format_args!("{:?}", String::from_utf8_lossy(&name)));
            out.say(std::fs::read_to_string("/proc/self/comm").unwrap_or_default().trim_end());
        };
        for name in ["short", "exactly-fifteen", "much-longer-than-fifteen", ""] {
            out.ret("set", prctl(15, &[sys::c(name) as i64]));
            show(out);
        }
        out.ret("bad address", prctl(15, &[8]));
        out.ret("get to a bad address", prctl(16, &[8]));
    }),
    case("prctl/dumpable", &["prctl", "setresuid"], |out| {
        out.ret("get", prctl(3, &[]));
        for value in [0, 1, 2, 3, -1] {
            out.ret(&format!("set {value}"), prctl(4, &[value]));
        }
        out.ret("get", prctl(3, &[]));
        in_child(out, "another user", |out| {
            out.ret("inherited", prctl(3, &[]));
            as_user(1000);
            out.ret("after setresuid", prctl(3, &[]));
            let own = std::fs::metadata("/proc/self/environ");
            out.say(own.map_or_else(|error| error.kind().to_string(), |_| "there".into()));
        });
    }),
    case("prctl/death-signal", &["prctl", "setresuid"], |out| {
        for signo in [0, 1, 64, 65, -1] {
            out.ret(&format!("set {signo}"), prctl(1, &[signo]));
        }
        out.ret("bad address", prctl(2, &[8]));
        prctl(1, &[15]);
        as_user(1000);
        let mut signo = 7i32;
        prctl(2, &[&raw mut signo as i64]);
        out.say(format_args!("after a change of ids {signo}"));
    }),
    case("prctl/no-new-privs", &["prctl"], |out| {
        out.ret("get", prctl(39, &[]));
        out.ret("get with rubbish", prctl(39, &[1]));
        out.ret("set 0", prctl(38, &[0]));
        out.ret("set 2", prctl(38, &[2]));
        out.ret("set with rubbish", prctl(38, &[1, 0, 0, 1]));
        out.ret("set", prctl(38, &[1]));
        out.ret("get", prctl(39, &[]));
        in_child(out, "child", |out| out.ret("inherited", prctl(39, &[])));
        out.ret("set 0", prctl(38, &[0]));
    }),
    case("prctl/timer-slack", &["prctl"], |out| {
        out.ret("get", prctl(30, &[]));
        out.ret("set", prctl(29, &[70_000]));
        out.ret("get", prctl(30, &[]));
        in_child(out, "child", |out| {
            out.ret("inherited", prctl(30, &[]));
            out.ret("set", prctl(29, &[1]));
            out.ret("back", prctl(29, &[0]));
            out.ret("get", prctl(30, &[]));
        });
        out.ret("back", prctl(29, &[0]));
        out.ret("get", prctl(30, &[]));
    }),
    case("prctl/huge-pages", &["prctl"], |out| {
        out.ret("get", prctl(42, &[]));
        out.ret("get with rubbish", prctl(42, &[0, 1]));
        out.ret("set", prctl(41, &[1]));
        out.ret("set with rubbish", prctl(41, &[1, 0, 1]));
        out.ret("get", prctl(42, &[]));
        in_child(out, "child", |out| out.ret("inherited", prctl(42, &[])));
        out.ret("clear", prctl(41, &[0]));
        out.ret("get", prctl(42, &[]));
    }),
    case("prctl/machine-checks", &["prctl"], |out| {
        out.ret("get", prctl(34, &[]));
        out.ret("get with rubbish", prctl(34, &[1]));
        for args in [[1, 1, 0, 0], [1, 0, 0, 0], [1, 2, 0, 0], [1, 3, 0, 0], [1, 1, 1, 0], [2, 0, 0, 0]] {
            out.ret(&format!("set {args:?}"), prctl(33, &args));
            out.ret("get", prctl(34, &[]));
        }
        out.ret("clear with rubbish", prctl(33, &[0, 1]));
        out.ret("clear", prctl(33, &[0]));
        out.ret("get", prctl(34, &[]));
    }),
    case("prctl/io-flusher", &["prctl"], |out| {
        out.ret("get", prctl(58, &[]));
        out.ret("set 2", prctl(57, &[2]));
        out.ret("set", prctl(57, &[1]));
        out.ret("set with rubbish", prctl(57, &[1, 1]));
        out.ret("get", prctl(58, &[]));
        out.ret("get with rubbish", prctl(58, &[1]));
        prctl(57, &[0]);
        in_child(out, "user", |out| {
            as_user(1000);
            out.ret("get", prctl(58, &[]));
            out.ret("set", prctl(57, &[1]));
        });
    }),
    case("prctl/other-machines", &["prctl"], |out| {
        for option in
            [5, 6, 9, 10, 11, 12, 17, 18, 19, 20, 43, 44, 45, 46, 50, 51, 54, 55, 56, 60, 61, 63, 64, 9999]
        {
            out.ret(&format!("{option}"), prctl(option, &[1]));
        }
    }),
    case("prctl/small-ones", &["prctl"], |out| {
        out.ret("timing", prctl(13, &[]));
        out.ret("set timing 0", prctl(14, &[0]));
        out.ret("set timing 1", prctl(14, &[1]));
        out.ret("events off", prctl(31, &[]));
        out.ret("events on", prctl(32, &[]));
        let mut word = 0u32;
        out.ret("tsc", prctl(25, &[&raw mut word as i64]));
        out.ret("is", word.into());
        out.ret("set tsc 1", prctl(26, &[1]));
        out.ret("set tsc 3", prctl(26, &[3]));
        out.ret("tsc to a bad address", prctl(25, &[8]));
        let mut place = 0u64;
        let mut tid = 0i32;
        call!(SYS_set_tid_address, &raw mut tid);
        out.ret("tid address", prctl(40, &[&raw mut place as i64]));
        out.say(place == &raw const tid as u64);
        call!(SYS_set_tid_address, 0);
        out.ret("core scheduling", prctl(62, &[0, 0, 0, &raw mut place as i64]));
        out.ret("speculation of nothing", prctl(52, &[9]));
        out.ret("speculation with rubbish", prctl(52, &[0, 1]));
        out.ret("user dispatch off", prctl(59, &[0]));
        out.ret("user dispatch off with rubbish", prctl(59, &[0, 1]));
        out.ret("user dispatch of nothing", prctl(59, &[7]));
        out.ret("mdwe bits", prctl(65, &[8]));
        out.ret("mdwe no-inherit alone", prctl(65, &[2]));
        out.ret("vma name of nothing", prctl(0x5356_4d41, &[9]));
    }),
    case("prctl/mm-needs-rights", &["prctl"], |out| {
        as_user(1000);
        for option in [1, 2, 5, 8, 9, 10, 11] {
            out.ret(&format!("{option}"), prctl(35, &[option, 0x1000]));
        }
        out.ret("rubbish", prctl(35, &[1, 0x1000, 1]));
        out.ret("more rubbish", prctl(35, &[1, 0x1000, 0, 1]));
    }),
    case("prctl/keep-capabilities", &["prctl", "setresuid", "capget"], |out| {
        out.ret("get", prctl(7, &[]));
        out.ret("set 2", prctl(8, &[2]));
        out.ret("set", prctl(8, &[1]));
        out.ret("get", prctl(7, &[]));
        out.ret("securebits", prctl(27, &[]));
        as_user(1000);
        show_caps(out);
        let pid = sys::fork(|| -sys::exec_self(&["exit", "0"]) as i32);
        out.say(sys::status(sys::wait(pid)));
    }),
    case("prctl/securebits", &["prctl"], |out| {
        out.ret("get", prctl(27, &[]));
        for bits in [0x100, 0x4, 0xc, 0x8, 0x40, 0xc0, 0x0] {
            out.ret(&format!("set {bits:#x}"), prctl(28, &[bits]));
            out.ret("get", prctl(27, &[]));
        }
        out.ret("keep capabilities", prctl(8, &[1]));
        in_child(out, "locked", |out| {
            out.ret("lock", prctl(28, &[0xfc]));
            out.ret("keep capabilities", prctl(8, &[1]));
            out.ret("unlock", prctl(28, &[0x54]));
        });
        as_user(1000);
        out.ret("as a user", prctl(28, &[0]));
    }),
    case("prctl/bounding-set", &["prctl"], |out| {
        for cap in [0, 5, 21, 40, 41, 63, 64, -1] {
            out.ret(&format!("read {cap}"), prctl(23, &[cap]));
        }
        out.ret("drop 5", prctl(24, &[5]));
        out.ret("read 5", prctl(23, &[5]));
        out.ret("drop 41", prctl(24, &[41]));
        show_caps(out);
        as_user(1000);
        out.ret("drop as a user", prctl(24, &[6]));
        out.ret("drop what there is not", prctl(24, &[41]));
    }),
    case("prctl/ambient-set", &["prctl", "capset"], |out| {
        let ambient = |operation: i64, cap: i64| prctl(47, &[operation, cap]);
        out.ret("is set", ambient(1, 5));
        out.ret("raise what cannot be inherited", ambient(2, 5));
        let header = [0x2008_0522u32, 0];
        let mut sets = [0u32; 6];
        call!(SYS_capget, header.as_ptr(), sets.as_mut_ptr());
        sets[2] = 1 << 5;
        out.ret("capset", call!(SYS_capset, header.as_ptr(), sets.as_ptr()));
        out.ret("raise", ambient(2, 5));
        out.ret("is set", ambient(1, 5));
        show_caps(out);
        out.ret("lower", ambient(3, 5));
        out.ret("raise", ambient(2, 5));
        out.ret("clear all with rubbish", prctl(47, &[4, 1]));
        out.ret("clear all", ambient(4, 0));
        out.ret("is set", ambient(1, 5));
        out.ret("no such capability", ambient(2, 41));
        out.ret("no such operation", ambient(9, 5));
        out.ret("rubbish", prctl(47, &[2, 5, 1]));
        ambient(2, 5);
        sets[2] = 0;
        out.ret("no longer to be inherited", call!(SYS_capset, header.as_ptr(), sets.as_ptr()));
        out.ret("is set", ambient(1, 5));
    }),
    case("prctl/kcmp", &["kcmp"], |out| {
        let me = sys::getpid();
        let pid = sys::fork(|| {
            sys::sleep_ms(5000);
            0
        });
        for kind in 0..9 {
            let result = call!(SYS_kcmp, me, me, kind, 0, 0);
            out.ret(&format!("itself {kind}"), result);
            let other = call!(SYS_kcmp, me, pid, kind, out.fd(), out.fd());
            out.ret(&format!("a child {kind}"), other.min(1));
        }
        let copy = call!(SYS_dup, out.fd());
        out.ret("a copy", call!(SYS_kcmp, me, me, 0, out.fd(), copy));
        out.ret("another file", call!(SYS_kcmp, me, me, 0, 0, copy).min(1));
        out.ret("no file", call!(SYS_kcmp, me, me, 0, 0, 77));
        out.ret("nobody", call!(SYS_kcmp, me, 0x3fff_ffff, 1, 0, 0));
        out.ret("zero", call!(SYS_kcmp, 0, me, 1, 0, 0));
        as_user(1000);
        out.ret("without the right", call!(SYS_kcmp, me, pid, 1, 0, 0));
        call!(SYS_kill, pid, libc::SIGKILL);
    }),
    case("prctl/io-priority", &["ioprio_get", "ioprio_set"], |out| {
        let get = |which: i32, who: i32| call!(SYS_ioprio_get, which, who);
        let set = |which: i32, who: i32, value: i32| call!(SYS_ioprio_set, which, who, value);
        out.ret("get", get(1, 0));
        out.ret("of its group", get(2, 0));
        for value in [2 << 13 | 3, 3 << 13, 3 << 13 | 7, 1 << 13 | 2, 0, 1, 4 << 13, 7 << 13] {
            out.ret(&format!("set {value:#x}"), set(1, 0, value));
            out.ret("get", get(1, 0));
        }
        set(1, 0, 2 << 13 | 5);
        in_child(out, "child", |out| out.ret("inherited", get(1, 0)));
        out.ret("of its group", get(2, 0));
        out.ret("bad kind", get(4, 0));
        out.ret("nobody", get(1, 0x3fff_ffff));
        out.ret("nobody's group", get(2, 0x3fff_ffff));
        out.ret("nobody's", set(1, 0x3fff_ffff, 2 << 13));
        as_user(1000);
        out.ret("real time as a user", set(1, 0, 1 << 13));
        out.ret("idle as a user", set(1, 0, 3 << 13));
        out.ret("of init", set(1, 1, 3 << 13));
    }),
];

/// The sets of capabilities, as /proc shows them.
pub(crate) fn show_caps(out: &mut Out) {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let caps = text.lines().filter(|line| line.starts_with("Cap"));
    out.say(caps.map(|line| line.replace('\t', " ")).collect::<Vec<_>>().join(", "));
}
