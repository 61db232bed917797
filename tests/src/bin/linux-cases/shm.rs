//! Shared memory segments. Each case has an IPC namespace of its own, so that ids are the same everywhere.

use crate::{
    Case, Out, case,
    sys::{self, call},
};

const NEWIPC: i64 = 0x800_0000;
pub(crate) const CREAT: i64 = 0o1000;
pub(crate) const EXCL: i64 = 0o2000;
pub(crate) const RMID: i64 = 0;
pub(crate) const SET: i64 = 1;
pub(crate) const STAT: i64 = 2;
pub(crate) const INFO: i64 = 3;
const LOCK: i64 = 11;
const UNLOCK: i64 = 12;
const SHM_STAT: i64 = 13;
const SHM_INFO: i64 = 14;
const STAT_ANY: i64 = 15;
const RDONLY: i64 = 0o10000;
const RND: i64 = 0o20000;
const REMAP: i64 = 0o40000;
const EXEC: i64 = 0o100000;
const PAGE: i64 = 4096;

/// `struct shmid64_ds`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Stat {
    key: i32,
    uid: u32,
    gid: u32,
    cuid: u32,
    cgid: u32,
    mode: u32,
    round: u16,
    pad: [u16; 3],
    unused: [u64; 2],
    size: u64,
    times: [i64; 3],
    cpid: i32,
    lpid: i32,
    attached: u64,
    rest: [u64; 2],
}

/// Enters a namespace of IPC objects of its own.
pub(crate) fn fresh(out: &mut Out) {
    out.ret("a namespace", call!(SYS_unshare, NEWIPC));
}

/// Becomes a user without capabilities.
pub(crate) fn become_user(id: i64) {
    call!(SYS_setgroups, 0, 0);
    call!(SYS_setresgid, id, id, id);
    call!(SYS_setresuid, id, id, id);
}

/// Runs `body` in a child and says how that ended.
pub(crate) fn in_child(out: &mut Out, what: &str, body: impl FnOnce(&mut Out)) {
    out.say(what);
    let fd = out.fd();
    let pid = sys::fork(|| {
        body(&mut Out::new(fd));
        0
    });
    out.say(sys::status(sys::wait(pid)));
}

fn get(key: i64, size: i64, flags: i64) -> i64 {
    call!(SYS_shmget, key, size, flags)
}

fn stat(id: i64) -> (i64, Stat) {
    let mut stat = Stat::default();
    (call!(SYS_shmctl, id, STAT, &raw mut stat), stat)
}

/// Writes down what a segment says of itself, but for times and processes as such.
fn show(out: &mut Out, what: &str, id: i64) {
    let (result, stat) = stat(id);
    if result != 0 {
        return out.ret(what, result);
    }
    let Stat { key, uid, gid, cuid, cgid, mode, round, size, attached, .. } = stat;
    let times = stat.times.map(|time| time != 0);
    let pids = [stat.cpid, stat.lpid].map(|pid| match pid {
        0 => "nobody",
        pid if pid == sys::getpid() => "me",
        pid if i64::from(pid) == call!(SYS_getppid) => "my parent",
        _ => "another",
    });
    out.say(format_args!(
        "{what}: key {key} owner {uid}:{gid} maker {cuid}:{cgid} mode {mode:o} round {round} size {size} \
         attached {attached} times {times:?} {pids:?}"
    ));
}

fn attached(out: &mut Out, what: &str, id: i64) {
    let (result, stat) = stat(id);
    out.ret(what, if result == 0 { stat.attached as i64 } else { result });
}

fn at(id: i64, addr: i64, flags: i64) -> i64 {
    call!(SYS_shmat, id, addr, flags)
}

fn dt(addr: i64) -> i64 {
    call!(SYS_shmdt, addr)
}

/// Stores with a system call, so that a bad place is an error.
fn poke(out: &mut Out, what: &str, addr: i64, text: &str) {
    let (from, to) = sys::pipe();
    sys::write(to, text.as_bytes());
    out.ret(what, call!(SYS_read, from, addr, text.len()));
    sys::close(from);
    sys::close(to);
}

/// Loads with a system call.
fn peek(out: &mut Out, what: &str, addr: i64, len: usize) {
    let (from, to) = sys::pipe();
    let result = call!(SYS_write, to, addr, len);
    let mut bytes = vec![0; len];
    if result > 0 {
        sys::read(from, &mut bytes);
        out.say(format_args!("{what}: {:?}", String::from_utf8_lossy(&bytes)));
    } else {
        out.ret(what, result);
    }
    sys::close(from);
    sys::close(to);
}

/// The lines of `/proc/self/maps` that show a segment: rights, length, offset, name.
fn maps(out: &mut Out) {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in text.lines().filter(|line| line.contains("SYSV")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ends: Vec<i64> =
            words[0].split('-').map(|end| i64::from_str_radix(end, 16).unwrap_or(0)).collect();
        out.say(format_args!(
            "{} bytes {} {}",
            ends[1] - ends[0],
            words[1..3].join(" "),
            words[4..].join(" ")
        ));
    }
}

/// A free range of eight pages.
fn free_range() -> i64 {
    let addr = call!(SYS_mmap, 0, 8 * PAGE, 0, 0x22, -1, 0);
    call!(SYS_munmap, addr, 8 * PAGE);
    addr
}

pub(crate) const CASES: &[Case] = &[
    case("shm/get", &["shmget", "shmctl"], |out| {
        fresh(out);
        out.ret("missing", get(7, 100, 0o600));
        let id = get(7, 100, CREAT | 0o640);
        out.ret("made", id);
        show(out, "it", id);
        out.ret("again", get(7, 100, CREAT | 0o600));
        out.ret("smaller", get(7, 1, 0));
        out.ret("any size", get(7, 0, 0));
        out.ret("longer", get(7, 101, 0));
        out.ret("exclusive", get(7, 100, CREAT | EXCL | 0o600));
        out.ret("exclusive alone", get(7, 100, EXCL));
        out.ret("longer and exclusive", get(7, 5000, CREAT | EXCL));
        out.ret("private", get(0, 100, 0));
        out.ret("private again", get(0, 100, CREAT | EXCL | 0o777));
        show(out, "it", 2);
        out.ret("negative key", get(-5, 100, CREAT | 0o600));
        show(out, "it", 3);
    }),
    case("shm/get-sizes", &["shmget"], |out| {
        fresh(out);
        out.ret("nothing", get(0, 0, 0o600));
        out.ret("negative", get(0, -1, 0o600));
        out.ret("the highest", get(0, i64::MIN, 0o600));
        out.ret("2^62", get(0, 1 << 62, 0o600));
        out.ret("2^46", get(0, 1 << 46, 0o600));
        out.ret("a page and a byte", get(0, PAGE + 1, 0o600));
        show(out, "it", 0);
        out.ret("not reserved", get(0, 1 << 40, 0o10600));
        show(out, "it", 1);
    }),
    case("shm/huge-pages", &["shmget"], |out| {
        fresh(out);
        let flag = 0o4000;
        out.ret("default", get(0, 2 << 20, flag | 0o600));
        out.ret("2 MiB", get(0, 2 << 20, flag | 21 << 26 | 0o600));
        out.ret("no such size", get(0, 2 << 20, flag | 13 << 26 | 0o600));
        out.ret("nothing", get(0, 0, flag | 0o600));
    }),
    case("shm/ids", &["shmget", "shmctl"], |out| {
        fresh(out);
        for round in 0..3 {
            let ids: Vec<i64> = (0..4).map(|_| get(0, 1, 0o600)).collect();
            out.say(format_args!("{round}: {ids:?}"));
            for id in ids {
                out.ret("remove", call!(SYS_shmctl, id, RMID, 0));
            }
        }
        let mut last = 0;
        for _ in 0..100 {
            last = get(0, 1, 0o600);
            call!(SYS_shmctl, last, RMID, 0);
        }
        out.ret("after many", last);
        let id = get(0, 1, 0o600);
        show(out, "it", id);
        out.ret("its place", call!(SYS_shmctl, id & 0x7fff, RMID, 0));
    }),
    case("shm/attach", &["shmat", "shmdt", "shmctl"], |out| {
        fresh(out);
        let id = get(9, 2 * PAGE - 7, CREAT | 0o600);
        show(out, "new", id);
        let first = at(id, 0, 0);
        out.ok("attach", first);
        show(out, "attached", id);
        let second = at(id, 0, RDONLY);
        out.ok("to read", second);
        poke(out, "write", first, "hello");
        peek(out, "read", second, 5);
        poke(out, "write to the second", second, "x");
        poke(out, "write at the end", first + 2 * PAGE - 2, "ab");
        out.ret("protect", call!(SYS_mprotect, second, PAGE, 3));
        maps(out);
        attached(out, "attachments", id);
        out.ret("detach", dt(first));
        peek(out, "gone", first, 1);
        peek(out, "there", second, 5);
        out.ret("again", dt(first));
        show(out, "detached", id);
        out.ret("detach", dt(second));
        let again = at(id, 0, 0);
        peek(out, "kept", again, 5);
        show(out, "attached", id);
    }),
    case("shm/attach-errors", &["shmat", "shmdt"], |out| {
        fresh(out);
        let id = get(0, 3 * PAGE, 0o600);
        let addr = free_range();
        out.ret("no id", at(77, 0, 0));
        out.ret("negative id", at(-1, 0, 0));
        out.ret("in a page", at(id, addr + 1, 0));
        out.ret("remap nowhere", at(id, 0, REMAP));
        out.ret("remap at nearly nothing", at(id, 5, REMAP | RND));
        out.ret("kernel", at(id, -4096, 0));
        out.ret("kernel, rounded", at(id, -1, RND));
        attached(out, "attachments", id);
        out.ret("detach nothing", dt(0));
        out.ret("detach in a page", dt(addr + 1));
        out.ret("detach what is free", dt(addr));
        let other = call!(SYS_mmap, 0, PAGE, 3, 0x21, -1, 0);
        out.ret("detach another mapping", dt(other));
    }),
    case("shm/attach-at", &["shmat", "shmdt"], |out| {
        fresh(out);
        let id = get(0, 2 * PAGE, 0o600);
        let addr = free_range();
        out.ret("at", at(id, addr, 0) - addr);
        out.ret("taken", at(id, addr, 0));
        out.ret("taken in part", at(id, addr - PAGE, 0));
        out.ret("rounded", at(id, addr + 2 * PAGE + 100, RND) - addr);
        attached(out, "attachments", id);
        out.ret("over both", at(id, addr + PAGE, REMAP) - addr);
        attached(out, "attachments", id);
        maps(out);
        out.ret("detach", dt(addr + PAGE));
        out.ret("detach", dt(addr));
        attached(out, "attachments", id);
        out.ret("detach", dt(addr + 2 * PAGE));
        attached(out, "attachments", id);
        maps(out);
    }),
    case("shm/split", &["shmat", "shmdt", "mprotect", "munmap"], |out| {
        fresh(out);
        let id = get(0, 6 * PAGE, 0o600);
        let addr = at(id, 0, 0);
        call!(SYS_mprotect, addr + PAGE, PAGE, 1);
        attached(out, "protected", id);
        maps(out);
        call!(SYS_munmap, addr + 3 * PAGE, PAGE);
        attached(out, "a hole", id);
        maps(out);
        out.ret("detach in the middle", dt(addr + PAGE));
        out.ret("detach", dt(addr));
        attached(out, "detached", id);
        maps(out);
        let addr = at(id, 0, 0);
        call!(SYS_munmap, addr, PAGE);
        attached(out, "the start is gone", id);
        out.ret("detach", dt(addr));
        attached(out, "detached", id);
        let addr = at(id, 0, 0);
        call!(SYS_munmap, addr, 6 * PAGE);
        attached(out, "unmapped", id);
        out.ret("detach", dt(addr));
    }),
    case("shm/moved", &["shmat", "mremap"], |out| {
        fresh(out);
        let id = get(0, 3 * PAGE, 0o600);
        let addr = at(id, 0, 0);
        poke(out, "write", addr, "moved");
        let room = free_range();
        let to = call!(SYS_mremap, addr, 3 * PAGE, 3 * PAGE, 3, room);
        out.ret("move", to - room);
        attached(out, "moved", id);
        peek(out, "there", to, 5);
        out.ret("detach old", dt(addr));
        out.ret("detach", dt(to));
        attached(out, "detached", id);
    }),
    case("shm/remove", &["shmctl", "shmat"], |out| {
        fresh(out);
        let id = get(5, PAGE, CREAT | 0o600);
        let addr = at(id, 0, 0);
        poke(out, "write", addr, "still");
        out.ret("remove", call!(SYS_shmctl, id, RMID, 0));
        show(out, "it", id);
        out.ret("by key", get(5, PAGE, 0));
        out.ret("a new one", get(5, PAGE, CREAT | 0o600));
        let second = at(id, 0, 0);
        out.ok("attach", second);
        peek(out, "read", second, 5);
        out.ret("remove again", call!(SYS_shmctl, id, RMID, 0));
        maps(out);
        out.ret("detach", dt(addr));
        show(out, "it", id);
        out.ret("detach", dt(second));
        show(out, "it", id);
        out.ret("attach", at(id, 0, 0));
        out.ret("remove", call!(SYS_shmctl, id, RMID, 0));
        show(out, "the new one", 1);
        out.ret("remove", call!(SYS_shmctl, 1, RMID, 0));
        show(out, "the new one", 1);
    }),
    case("shm/fork", &["shmat", "fork", "exit", "wait4"], |out| {
        fresh(out);
        let id = get(0, PAGE, 0o600);
        let addr = at(id, 0, 0);
        in_child(out, "child", |out| {
            show(out, "in the child", id);
            poke(out, "write", addr, "child");
        });
        show(out, "after it", id);
        peek(out, "read", addr, 5);
        in_child(out, "detaches", |out| {
            out.ret("detach", dt(addr));
            show(out, "in the child", id);
        });
        in_child(out, "removes", |out| {
            out.ret("remove", call!(SYS_shmctl, id, RMID, 0));
            out.ret("detach", dt(addr));
            show(out, "in the child", id);
        });
        show(out, "after it", id);
        out.ret("detach", dt(addr));
        show(out, "detached", id);
    }),
    case("shm/exec", &["shmat", "execve"], |out| {
        fresh(out);
        let id = get(0, PAGE, 0o600);
        let addr = at(id, 0, 0);
        poke(out, "write", addr, "x");
        in_child(out, "exec", |out| {
            attached(out, "before", id);
            out.ret("exec", sys::exec_self(&["exit", "3"]));
        });
        attached(out, "after", id);
        let (from, to) = sys::pipe();
        let (ready, set) = sys::pipe();
        let pid = sys::fork(|| {
            // A program that waits: the segment is let go at exec, not at the end.
            call!(SYS_dup2, from, 0);
            call!(SYS_dup2, set, 1);
            [from, to, ready, set].into_iter().for_each(|fd| {
                sys::close(fd);
            });
            let argv = [sys::c("cat"), std::ptr::null()];
            call!(SYS_execve, sys::c("/bin/cat"), argv.as_ptr(), argv[1..].as_ptr());
            9
        });
        sys::close(set);
        sys::write(to, b"x");
        sys::read(ready, &mut [0]);
        attached(out, "while it runs", id);
        sys::close(to);
        out.say(sys::status(sys::wait(pid)));
    }),
    case("shm/killed", &["shmat", "kill"], |out| {
        fresh(out);
        let id = get(0, PAGE, 0o600);
        let (from, to) = sys::pipe();
        let pid = sys::fork(|| {
            at(id, 0, 0);
            call!(SYS_shmctl, id, RMID, 0);
            sys::write(to, b"x");
            loop {
                call!(SYS_pause);
            }
        });
        sys::read(from, &mut [0]);
        show(out, "alive", id);
        call!(SYS_kill, pid, libc::SIGKILL);
        out.say(sys::status(sys::wait(pid)));
        show(out, "dead", id);
    }),
    case("shm/permissions", &["shmget", "shmat", "shmctl"], |out| {
        fresh(out);
        let modes = [0o600, 0o604, 0o606, 0o400, 0o004, 0o007, 0o001, 0o640];
        let ids = modes.map(|mode| get(mode + 1, PAGE, CREAT | mode));
        in_child(out, "another user", |out| {
            become_user(1000);
            let mut seen = Stat::default();
            for (id, mode) in ids.into_iter().zip(modes) {
                out.say(format_args!("mode {mode:o}"));
                out.ret("find", get(mode + 1, PAGE, 0));
                out.ret("find to read", get(mode + 1, PAGE, 0o444));
                out.ret("find to write", get(mode + 1, PAGE, 0o222));
                out.ok("attach", at(id, 0, 0));
                out.ok("attach to read", at(id, 0, RDONLY));
                out.ok("attach to run", at(id, 0, EXEC));
                out.ok("attach to read and run", at(id, 0, EXEC | RDONLY));
                out.ret("stat", call!(SYS_shmctl, id, STAT, &raw mut seen));
                out.ret("stat by place", call!(SYS_shmctl, id, SHM_STAT, &raw mut seen));
                out.ret("stat any", call!(SYS_shmctl, id, STAT_ANY, &raw mut seen));
                let mut new = Stat::default();
                out.ret("set", call!(SYS_shmctl, id, SET, &raw mut new));
                out.ret("lock", call!(SYS_shmctl, id, LOCK, 0));
                out.ret("remove", call!(SYS_shmctl, id, RMID, 0));
            }
        });
        in_child(out, "of the group", |out| {
            call!(SYS_setresuid, 1000, 1000, 1000);
            out.ok("attach to read", at(ids[7], 0, RDONLY));
            out.ok("attach", at(ids[7], 0, 0));
        });
        in_child(out, "its owner without capabilities", |out| {
            become_user(1001);
            let own = get(1, PAGE, CREAT | 0o477);
            out.ret("made", own);
            out.ok("attach", at(own, 0, 0));
            out.ok("attach to read", at(own, 0, RDONLY));
            out.ret("lock", call!(SYS_shmctl, own, LOCK, 0));
            show(out, "locked", own);
            out.ret("unlock", call!(SYS_shmctl, own, UNLOCK, 0));
            out.ret("remove", call!(SYS_shmctl, own, RMID, 0));
        });
    }),
    case("shm/set", &["shmctl"], |out| {
        fresh(out);
        let id = get(3, PAGE, CREAT | 0o600);
        let mut new =
            Stat { key: 99, uid: 1000, gid: 1001, cuid: 5, mode: 0o7666, size: 3, ..Stat::default() };
        out.ret("set", call!(SYS_shmctl, id, SET, &raw mut new));
        show(out, "it", id);
        in_child(out, "the new owner", |out| {
            become_user(1000);
            out.ok("attach", at(id, 0, 0));
            new.mode = 0o400;
            out.ret("set", call!(SYS_shmctl, id, SET, &raw mut new));
            show(out, "it", id);
            new.uid = 7;
            out.ret("give away", call!(SYS_shmctl, id, SET, &raw mut new));
            out.ret("set", call!(SYS_shmctl, id, SET, &raw mut new));
        });
        new.uid = u32::MAX;
        out.ret("nobody", call!(SYS_shmctl, id, SET, &raw mut new));
        out.ret("bad address", call!(SYS_shmctl, id, SET, 8));
        out.ret("bad address and id", call!(SYS_shmctl, 55, SET, 8));
        out.ret("bad id", call!(SYS_shmctl, 55, SET, &raw mut new));
    }),
    case("shm/lock", &["shmctl"], |out| {
        fresh(out);
        let id = get(0, PAGE, 0o600);
        out.ret("lock", call!(SYS_shmctl, id, LOCK, 0));
        show(out, "it", id);
        out.ret("again", call!(SYS_shmctl, id, LOCK, 0));
        out.ret("unlock", call!(SYS_shmctl, id, UNLOCK, 0));
        out.ret("again", call!(SYS_shmctl, id, UNLOCK, 0));
        show(out, "it", id);
        out.ret("no id", call!(SYS_shmctl, 9, LOCK, 0));
        in_child(out, "with limits", |out| {
            let limit = [PAGE as u64, PAGE as u64];
            call!(SYS_setrlimit, 8, limit.as_ptr());
            become_user(1000);
            let small = get(0, PAGE, 0o600);
            let large = get(0, 2 * PAGE, 0o600);
            out.ret("large", call!(SYS_shmctl, large, LOCK, 0));
            out.ret("small", call!(SYS_shmctl, small, LOCK, 0));
            let none = [0u64, 0];
            call!(SYS_setrlimit, 8, none.as_ptr());
            out.ret("none allowed", call!(SYS_shmctl, large, LOCK, 0));
            out.ret("unlock", call!(SYS_shmctl, small, UNLOCK, 0));
            show(out, "small", small);
        });
    }),
    case("shm/info", &["shmctl"], |out| {
        fresh(out);
        let mut limits = [0u64; 9];
        out.ret("limits", call!(SYS_shmctl, 0, INFO, limits.as_mut_ptr()));
        out.say(format_args!("{limits:?}"));
        let mut info = [0u64; 6];
        let mut show = |out: &mut Out| {
            out.ret("info", call!(SYS_shmctl, 0, SHM_INFO, info.as_mut_ptr()));
            out.say(format_args!("{:?}", &info[..4]));
        };
        show(out);
        let ids: Vec<i64> = (1..=5).map(|pages| get(0, pages * PAGE - 1, 0o600)).collect();
        let addr = at(ids[4], 0, 0);
        poke(out, "write", addr, "x");
        poke(out, "write", addr + 3 * PAGE, "x");
        show(out);
        for id in [ids[1], ids[4]] {
            out.ret("remove", call!(SYS_shmctl, id, RMID, 0));
        }
        show(out);
        out.ret("limits", call!(SYS_shmctl, 0, INFO, limits.as_mut_ptr()));
        dt(addr);
        show(out);
        let mut stat = Stat::default();
        for place in 0..6 {
            out.ret("place", call!(SYS_shmctl, place, SHM_STAT, &raw mut stat));
            out.say(stat.size);
        }
    }),
    case("shm/control-errors", &["shmctl"], |out| {
        fresh(out);
        let id = get(0, PAGE, 0o600);
        let mut stat = Stat::default();
        for command in [RMID, SET, STAT, LOCK, UNLOCK, SHM_STAT, STAT_ANY] {
            out.ret("no id", call!(SYS_shmctl, 50, command, &raw mut stat));
            out.ret("negative id", call!(SYS_shmctl, -1, command, &raw mut stat));
        }
        for command in [SET, STAT, INFO, SHM_STAT, SHM_INFO, STAT_ANY] {
            out.ret("bad address", call!(SYS_shmctl, id, command, 8));
        }
        out.ret("negative id", call!(SYS_shmctl, -1, INFO, &raw mut stat));
        for command in [-1, 4, 10, 16, 0x100, 0x102] {
            out.ret("no command", call!(SYS_shmctl, id, command, &raw mut stat));
        }
    }),
    case("shm/namespace", &["unshare", "shmget", "shmat"], |out| {
        fresh(out);
        let id = get(4, PAGE, CREAT | 0o600);
        let addr = at(id, 0, 0);
        poke(out, "write", addr, "outer");
        in_child(out, "inside", |out| {
            fresh(out);
            out.ret("find", get(4, PAGE, 0));
            out.ok("attach", at(id, 0, 0));
            show(out, "it", id);
            peek(out, "still mapped", addr, 5);
            out.ret("make", get(4, 2 * PAGE, CREAT | 0o600));
            show(out, "it", id);
            out.ret("detach", dt(addr));
            peek(out, "gone", addr, 5);
        });
        show(out, "outside", id);
    }),
    case("shm/futex", &["shmat", "futex"], |out| {
        fresh(out);
        let id = get(0, PAGE, 0o600);
        let addr = at(id, 0, 0);
        let pid = sys::fork(|| {
            let own = at(id, 0, 0);
            call!(SYS_munmap, addr, PAGE);
            call!(SYS_futex, own, 0, 0, 0, 0, 0) as i32
        });
        let mut woken = 0;
        while woken == 0 {
            sys::sleep_ms(5);
            woken = call!(SYS_futex, addr, 1, 1, 0, 0, 0);
        }
        out.ret("woken", woken);
        out.say(sys::status(sys::wait(pid)));
    }),
    case("shm/numbers", &["shmget"], |out| {
        fresh(out);
        let mut count = 0;
        let end = loop {
            match get(0, 1, 0o600) {
                error if error < 0 => break error,
                _ => count += 1,
            }
        };
        out.ret("made", count);
        out.ret("one more", end);
        out.ret("remove", call!(SYS_shmctl, 17, RMID, 0));
        out.ok("one more", get(0, 1, 0o600));
        out.ret("one more", get(0, 1, 0o600));
    }),
];
