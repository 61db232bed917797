//! Message queues. Each case has an IPC namespace of its own.
#![allow(unsafe_code, reason = "a signal's handler")]

use crate::{
    Case, Out, case,
    shm::{CREAT, EXCL, INFO, RMID, SET, STAT, become_user, fresh, in_child},
    sys::{self, call},
};

const NOWAIT: i64 = 0o4000;
const NOERROR: i64 = 0o10000;
const EXCEPT: i64 = 0o20000;
const COPY: i64 = 0o40000;
const MSG_STAT: i64 = 11;
const MSG_INFO: i64 = 12;
const STAT_ANY: i64 = 13;

/// `struct msqid64_ds` as words of 8 bytes.
type Stat = [u64; 15];

fn get(key: i64, flags: i64) -> i64 {
    call!(SYS_msgget, key, flags)
}

fn ctl(id: i64, command: i64, arg: i64) -> i64 {
    call!(SYS_msgctl, id, command, arg)
}

fn send(id: i64, kind: i64, text: &[u8], flags: i64) -> i64 {
    let mut bytes = kind.to_ne_bytes().to_vec();
    bytes.extend_from_slice(text);
    call!(SYS_msgsnd, id, bytes.as_ptr(), text.len(), flags)
}

fn receive(out: &mut Out, what: &str, id: i64, room: usize, kind: i64, flags: i64) {
    let mut bytes = vec![0u8; room + 8];
    let result = call!(SYS_msgrcv, id, bytes.as_mut_ptr(), room, kind, flags);
    match usize::try_from(result) {
        Ok(len) => {
            let kind = i64::from_ne_bytes(bytes[..8].try_into().unwrap_or_default());
            let text = String::from_utf8_lossy(&bytes[8..8 + len.min(20)]).into_owned();
            out.say(format_args!("{what}: {len} bytes of type {kind}: {text:?}"));
        }
        Err(_) => out.ret(what, result),
    }
}

fn stat(id: i64) -> Option<Stat> {
    let mut stat: Stat = [0; 15];
    (ctl(id, STAT, stat.as_mut_ptr() as i64) == 0).then_some(stat)
}

fn show(out: &mut Out, what: &str, id: i64) {
    let Some(stat) = stat(id) else { return out.say(format_args!("{what}: none")) };
    let halves = |word: u64| (word as u32, (word >> 32) as u32);
    let ((key, uid), (gid, cuid), (cgid, mode)) = (halves(stat[0]), halves(stat[1]), halves(stat[2]));
    let times: Vec<bool> = stat[6..9].iter().map(|time| *time != 0).collect();
    let pids = [halves(stat[12]).0, halves(stat[12]).1].map(|pid| match pid {
        0 => "nobody",
        pid if pid as i32 == sys::getpid() => "me",
        _ => "another",
    });
    out.say(format_args!(
        "{what}: key {key} owner {uid}:{gid} maker {cuid}:{cgid} mode {mode:o} times {times:?} bytes {} messages {} \
         room {} {pids:?}",
        stat[9], stat[10], stat[11]
    ));
}

/// Waits until the queue has so many messages.
fn until(id: i64, count: u64) {
    for _ in 0..5000 {
        if stat(id).is_none_or(|stat| stat[10] == count) {
            return;
        }
        sys::sleep_ms(1);
    }
}

fn child(out: &Out, body: impl FnOnce(&mut Out)) -> i32 {
    let fd = out.fd();
    let pid = sys::fork(|| {
        body(&mut Out::new(fd));
        0
    });
    sys::sleep_ms(50);
    pid
}

fn ended(out: &mut Out, what: &str, pid: i32) {
    out.say(format_args!("{what}: {}", sys::status(sys::wait(pid))));
}

extern "C" fn nothing(_: i32) {}

pub(crate) const CASES: &[Case] = &[
    case("msg/get", &["msgget", "msgctl"], |out| {
        fresh(out);
        out.ret("none", get(7, 0));
        let id = get(7, CREAT | 0o640);
        out.ret("new", id);
        show(out, "it", id);
        out.ret("again", get(7, CREAT | 0o640));
        out.ret("only new", get(7, CREAT | EXCL | 0o640));
        out.ret("private", get(0, 0o600));
        in_child(out, "a user", |out| {
            become_user(1000);
            out.ret("get", get(7, 0));
            out.ret("get to read", get(7, 0o4));
            out.ret("send", send(id, 1, b"x", 0));
            receive(out, "receive", id, 10, 0, NOWAIT);
            out.ret("remove", ctl(id, RMID, 0));
        });
        out.ret("remove", ctl(id, RMID, 0));
        out.ret("remove again", ctl(id, RMID, 0));
        out.ret("get", get(7, 0));
    }),
    case("msg/send-and-receive", &["msgsnd", "msgrcv"], |out| {
        fresh(out);
        let id = get(0, 0o600);
        receive(out, "nothing", id, 10, 0, NOWAIT);
        for (kind, text) in [(3, "three"), (1, "one"), (2, "two"), (1, "one more"), (5, "")] {
            out.ret("send", send(id, kind, text.as_bytes(), 0));
        }
        show(out, "it", id);
        receive(out, "of type 2", id, 10, 2, NOWAIT);
        receive(out, "of type 9", id, 10, 9, NOWAIT);
        receive(out, "up to 2", id, 10, -2, NOWAIT);
        receive(out, "up to 2", id, 10, -2, NOWAIT);
        receive(out, "up to 2", id, 10, -2, NOWAIT);
        receive(out, "another than 3", id, 10, 3, NOWAIT | EXCEPT);
        receive(out, "too long", id, 3, 0, NOWAIT);
        receive(out, "cut", id, 3, 0, NOWAIT | NOERROR);
        receive(out, "nothing", id, 10, 0, NOWAIT);
        out.ret("send", send(id, i64::MAX, b"last", 0));
        receive(out, "up to all", id, 10, i64::MIN, NOWAIT);
        show(out, "it", id);
    }),
    case("msg/copies", &["msgrcv"], |out| {
        fresh(out);
        let id = get(0, 0o600);
        for (kind, text) in [(3, "three"), (1, "one")] {
            out.ret("send", send(id, kind, text.as_bytes(), 0));
        }
        for place in [0, 1, 2, -1] {
            receive(out, "copy", id, 10, place, NOWAIT | COPY);
        }
        receive(out, "too long", id, 2, 0, NOWAIT | COPY);
        receive(out, "cut", id, 2, 0, NOWAIT | COPY | NOERROR);
        receive(out, "waiting", id, 10, 0, COPY);
        receive(out, "another", id, 10, 0, COPY | NOWAIT | EXCEPT);
        show(out, "it", id);
    }),
    case("msg/refused", &["msgsnd", "msgrcv"], |out| {
        fresh(out);
        let id = get(0, 0o600);
        out.ret("type 0", send(id, 0, b"x", 0));
        out.ret("type below 0", send(id, -1, b"x", 0));
        out.ret("too long", send(id, 1, &[0; 8193], 0));
        out.ret("longest", send(id, 1, &[65; 8192], 0));
        out.ret("bad id", send(id + 1, 1, b"x", 0));
        out.ret("id below 0", send(-1, 1, b"x", 0));
        out.ret("bad address", call!(SYS_msgsnd, id, 8, 1, 0));
        out.ret("length below 0", call!(SYS_msgsnd, id, [1i64, 0].as_ptr(), -1, 0));
        receive(out, "bad id", id + 1, 10, 0, NOWAIT);
        receive(out, "id below 0", -1, 10, 0, NOWAIT);
        out.ret("room below 0", call!(SYS_msgrcv, id, [0i64; 2].as_mut_ptr(), -1, 0, NOWAIT));
        out.ret("to a bad address", call!(SYS_msgrcv, id, 8, 8192, 0, NOWAIT));
        show(out, "it", id);
    }),
    case("msg/waiting", &["msgsnd", "msgrcv"], |out| {
        fresh(out);
        let id = get(0, 0o600);
        let pid = child(out, |out| receive(out, "of type 2", id, 10, 2, 0));
        out.ret("another type", send(id, 1, b"one", 0));
        sys::sleep_ms(20);
        let result = send(id, 2, b"two", 0);
        ended(out, "receiver", pid);
        out.ret("its type", result);
        receive(out, "left", id, 10, 0, NOWAIT);
        for _ in 0..2 {
            out.ret("fill", send(id, 1, &[66; 8192], NOWAIT));
        }
        out.ret("full", send(id, 1, b"x", NOWAIT));
        out.ret("even of nothing", send(id, 1, b"", NOWAIT));
        let pid = child(out, |out| out.ret("send", send(id, 7, b"late", 0)));
        receive(&mut Out::new(-1), "make room", id, 8192, 0, NOWAIT);
        ended(out, "sender", pid);
        until(id, 2);
        show(out, "it", id);
        let pid = child(out, |out| receive(out, "too long for it", id, 2, 9, 0));
        let result = send(id, 9, b"long", 0);
        ended(out, "receiver", pid);
        out.ret("send", result);
        receive(out, "still there", id, 10, 9, NOWAIT);
    }),
    case("msg/interrupted", &["msgsnd", "msgrcv"], |out| {
        fresh(out);
        let id = get(0, 0o600);
        let pid = child(out, |out| {
            // SAFETY: the handler does nothing.
            unsafe { libc::signal(libc::SIGUSR1, nothing as extern "C" fn(i32) as usize) };
            receive(out, "interrupted", id, 10, 0, 0);
        });
        call!(SYS_kill, pid, libc::SIGUSR1);
        ended(out, "it", pid);
        let pid = child(out, |out| receive(out, "removed", id, 10, 0, 0));
        let result = ctl(id, RMID, 0);
        ended(out, "it", pid);
        out.ret("remove", result);
        let id = get(0, 0o600);
        for _ in 0..2 {
            out.ret("fill", send(id, 1, &[66; 8192], NOWAIT));
        }
        let pid = child(out, |out| out.ret("removed", send(id, 1, b"x", 0)));
        let result = ctl(id, RMID, 0);
        ended(out, "it", pid);
        out.ret("remove", result);
    }),
    case("msg/tell", &["msgctl"], |out| {
        fresh(out);
        let mut info = [0i32; 8];
        out.ret("limits", ctl(0, INFO, info.as_mut_ptr() as i64));
        out.say(format_args!("{:?} {}", &info[..7], info[7] as u16));
        let ids = [get(1, CREAT | 0o600), get(2, CREAT | 0o400), get(3, CREAT)];
        out.say(format_args!("{ids:?}"));
        out.ret("send", send(ids[0], 1, b"text", 0));
        out.ret("usage", ctl(0, MSG_INFO, info.as_mut_ptr() as i64));
        out.say(format_args!("{:?} {}", &info[..7], info[7] as u16));
        let mut stat: Stat = [0; 15];
        for place in -1..4 {
            out.ret("by place", ctl(place, MSG_STAT, stat.as_mut_ptr() as i64));
        }
        in_child(out, "a user", |out| {
            become_user(1000);
            let mut stat: Stat = [0; 15];
            for place in 0..3 {
                out.ret("by place", ctl(place, MSG_STAT, stat.as_mut_ptr() as i64));
                out.ret("whoever", ctl(place, STAT_ANY, stat.as_mut_ptr() as i64));
            }
        });
        ctl(ids[0], STAT, stat.as_mut_ptr() as i64);
        stat[0] = stat[0] & 0xffff_ffff | 1000 << 32;
        stat[2] = stat[2] & 0xffff_ffff | 0o6666 << 32;
        stat[11] = 10;
        out.ret("set", ctl(ids[0], SET, stat.as_mut_ptr() as i64));
        show(out, "it", ids[0]);
        out.ret("send what fits", send(ids[0], 1, b"sixsix", NOWAIT));
        out.ret("send more", send(ids[0], 1, b"x", NOWAIT));
        stat[11] = 20000;
        out.ret("more than usual", ctl(ids[0], SET, stat.as_mut_ptr() as i64));
        let text = std::fs::read_to_string("/proc/sysvipc/msg").unwrap_or_default();
        for line in text.lines() {
            // Without processes and times.
            let words: Vec<&str> = line.split_whitespace().collect();
            out.say(format_args!("{:?} {:?}", &words[..5.min(words.len())], words.get(7..11)));
        }
    }),
];
