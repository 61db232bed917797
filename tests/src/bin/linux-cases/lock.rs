//! Record locks, locks of open files, flock.

use crate::{
    Case, Out, case,
    files::{RDONLY, WRONLY, both, file, open},
    sys::{self, call},
};

const RD: i16 = libc::F_RDLCK as i16;
const WR: i16 = libc::F_WRLCK as i16;
const UN: i16 = libc::F_UNLCK as i16;

fn record(kind: i16, start: i64, len: i64) -> libc::flock {
    libc::flock { l_type: kind, l_whence: 0, l_start: start, l_len: len, l_pid: 0 }
}

fn lock(fd: i32, command: i32, kind: i16, start: i64, len: i64) -> i64 {
    let mut record = record(kind, start, len);
    call!(SYS_fcntl, fd, command, &raw mut record)
}

fn set(fd: i32, kind: i16, start: i64, len: i64) -> i64 {
    lock(fd, libc::F_SETLK, kind, start, len)
}

/// Who is in the way, as another process sees it.
fn look(out: &mut Out, what: &str, fd: i32, kind: i16, start: i64, len: i64) {
    let to = out.fd();
    let parent = sys::getpid();
    let pid = sys::fork(|| {
        let mut out = Out::new(to);
        let mut record = record(kind, start, len);
        let result = call!(SYS_fcntl, fd, libc::F_GETLK, &raw mut record);
        if result < 0 || record.l_type == UN {
            out.say(format_args!("{what}: {result} type {}", record.l_type));
        } else {
            let whose =
                if record.l_pid == parent { "the parent's".into() } else { format!("{}", record.l_pid) };
            let (kind, start, len) = (record.l_type, record.l_start, record.l_len);
            out.say(format_args!("{what}: type {kind} {start}+{len} {whose}"));
        }
        0
    });
    sys::wait(pid);
}

/// A child that takes a lock and holds it until it is told to go on by a byte; gives its end and the pipe.
fn holder(fd: i32, start: i64, then: impl FnOnce(i32) -> i32) -> (i32, i32) {
    let (ready, tell) = sys::pipe();
    let (go, let_go) = sys::pipe();
    let pid = sys::fork(|| {
        set(fd, WR, start, 1);
        sys::write(tell, b"x");
        sys::read(go, &mut [0]);
        then(fd)
    });
    sys::read(ready, &mut [0]);
    (pid, let_go)
}

pub(crate) const CASES: &[Case] = &[
    case("lock/records", &["fcntl"], |out| {
        both(out, |out| {
            let fd = file("a", b"0123456789");
            out.ret("write lock", set(fd, WR, 2, 4));
            look(out, "inside", fd, WR, 3, 1);
            look(out, "around", fd, RD, 0, 100);
            look(out, "before", fd, WR, 0, 2);
            look(out, "after", fd, WR, 6, 0);
            out.ret("unlock the middle", set(fd, UN, 3, 1));
            look(out, "first", fd, WR, 0, 3);
            look(out, "second", fd, WR, 3, 100);
            look(out, "the hole", fd, WR, 3, 1);
            out.ret("read lock over all", set(fd, RD, 0, 0));
            look(out, "readers", fd, RD, 0, 0);
            look(out, "a writer", fd, WR, 0, 0);
            out.ret("unlock", set(fd, UN, 0, 0));
            look(out, "free", fd, WR, 0, 0);
        });
    }),
    case("lock/joined", &["fcntl"], |out| {
        let fd = file("a", b"0123456789");
        set(fd, WR, 0, 2);
        set(fd, WR, 2, 2);
        look(out, "two that touch", fd, WR, 0, 0);
        set(fd, WR, 6, 2);
        look(out, "from three on", fd, WR, 3, 0);
        set(fd, WR, 1, 8);
        look(out, "one over all", fd, WR, 0, 0);
        set(fd, RD, 3, 2);
        look(out, "a part to read", fd, WR, 3, 1);
        look(out, "before it", fd, RD, 0, 0);
        look(out, "after it", fd, RD, 4, 0);
    }),
    case("lock/ranges", &["fcntl"], |out| {
        let fd = file("a", b"0123456789");
        call!(SYS_lseek, fd, 4, 0);
        let with = |whence: i32, start: i64, len: i64| {
            let mut record = record(WR, start, len);
            record.l_whence = whence as i16;
            call!(SYS_fcntl, fd, libc::F_SETLK, &raw mut record)
        };
        out.ret("from here", with(1, 1, 2));
        look(out, "there", fd, WR, 0, 0);
        out.ret("backwards", with(1, 0, -2));
        look(out, "there", fd, WR, 0, 0);
        out.ret("from the end", with(2, -1, 1));
        look(out, "there", fd, WR, 8, 0);
        out.ret("before the start", with(0, -1, 1));
        out.ret("back beyond the start", with(0, 2, -3));
        out.ret("whence", with(3, 0, 1));
        out.ret("too far", with(0, i64::MAX, 2));
        out.ret("to the last byte", with(0, i64::MAX, 1));
        look(out, "there", fd, WR, 100, 0);
    }),
    case("lock/errors", &["fcntl"], |out| {
        let fd = file("a", b"0123456789");
        let mut bad = record(9, 0, 1);
        out.ret("type", call!(SYS_fcntl, fd, libc::F_SETLK, &raw mut bad));
        out.ret("type to look for", call!(SYS_fcntl, fd, libc::F_GETLK, &raw mut bad));
        let mut none = record(UN, 0, 1);
        out.ret("unlock to look for", call!(SYS_fcntl, fd, libc::F_GETLK, &raw mut none));
        out.ret("address", call!(SYS_fcntl, fd, libc::F_SETLK, 8));
        out.ret("not open", set(999, WR, 0, 1));
        out.ret("write lock of a reader", set(open("a", RDONLY), WR, 0, 1));
        out.ret("read lock of a writer", set(open("a", WRONLY), RD, 0, 1));
        out.ret("unlock by a reader", set(open("a", RDONLY), UN, 0, 1));
        out.ret("a place", set(open("a", libc::O_PATH), RD, 0, 1));
        let mut owned = record(WR, 0, 1);
        owned.l_pid = 5;
        out.ret("with a process", call!(SYS_fcntl, fd, libc::F_OFD_SETLK, &raw mut owned));
    }),
    case("lock/conflict", &["fcntl"], |out| {
        both(out, |out| {
            let fd = file("a", b"0123456789");
            let (pid, go) = holder(fd, 3, |_| 0);
            out.ret("the same byte", set(fd, WR, 3, 1));
            out.ret("to read", set(fd, RD, 0, 0));
            out.ret("beside it", set(fd, WR, 4, 1));
            sys::write(go, b"x");
            sys::wait(pid);
            out.ret("when it has ended", set(fd, WR, 3, 1));
        });
    }),
    case("lock/waits", &["fcntl"], |out| {
        let fd = file("a", b"0123456789");
        let (pid, go) = holder(fd, 3, |fd| {
            sys::sleep_ms(50);
            set(fd, UN, 3, 1) as i32
        });
        sys::write(go, b"x");
        out.ret("waits", lock(fd, libc::F_SETLKW, WR, 0, 0));
        out.say(sys::status(sys::wait(pid)));
    }),
    case("lock/closing", &["fcntl", "close"], |out| {
        let fd = file("a", b"0123456789");
        set(fd, WR, 0, 1);
        look(out, "locked", fd, WR, 0, 0);
        let other = open("a", RDONLY);
        sys::close(other);
        look(out, "another descriptor closed", fd, WR, 0, 0);
        lock(fd, libc::F_OFD_SETLK, WR, 0, 1);
        look(out, "the open file's", fd, WR, 0, 0);
        sys::close(open("a", RDONLY));
        let third = open("a", libc::O_RDWR);
        out.ret("another open file", lock(third, libc::F_OFD_SETLK, WR, 0, 1));
        let copy = call!(SYS_dup, fd) as i32;
        sys::close(fd);
        out.ret("a copy is open", lock(third, libc::F_OFD_SETLK, WR, 0, 1));
        sys::close(copy);
        out.ret("all closed", lock(third, libc::F_OFD_SETLK, WR, 0, 1));
    }),
    case("lock/open-files-and-processes", &["fcntl"], |out| {
        let fd = file("a", b"0123456789");
        let other = open("a", libc::O_RDWR);
        out.ret("the open file's", lock(fd, libc::F_OFD_SETLK, WR, 0, 4));
        out.ret("the process's", set(fd, WR, 0, 4));
        out.ret("the process's elsewhere", set(fd, WR, 6, 1));
        out.ret("over the process's", lock(fd, libc::F_OFD_SETLK, RD, 6, 1));
        out.ret("another's", lock(other, libc::F_OFD_SETLK, RD, 0, 1));
        let mut found = record(WR, 0, 1);
        out.ret("look", call!(SYS_fcntl, other, libc::F_OFD_GETLK, &raw mut found));
        out.say(format_args!("{} {}+{} {}", found.l_type, found.l_start, found.l_len, found.l_pid));
    }),
    case("lock/deadlock", &["fcntl"], |out| {
        both(out, |out| {
            let fd = file("a", b"0123456789");
            let (pid, go) = holder(fd, 1, |fd| {
                let result = lock(fd, libc::F_SETLKW, WR, 0, 1);
                i32::from(result != 0)
            });
            set(fd, WR, 0, 1);
            sys::write(go, b"x");
            sys::sleep_ms(100);
            out.ret("each waits for the other", lock(fd, libc::F_SETLKW, WR, 1, 1));
            out.ret("give up", set(fd, UN, 0, 1));
            out.say(sys::status(sys::wait(pid)));
        });
    }),
    case("lock/deadlock-of-three", &["fcntl"], |out| {
        let fd = file("a", b"0123456789");
        let (first, go_first) = holder(fd, 1, |fd| i32::from(lock(fd, libc::F_SETLKW, WR, 2, 1) != 0));
        let (second, go_second) = holder(fd, 2, |fd| i32::from(lock(fd, libc::F_SETLKW, WR, 0, 1) != 0));
        set(fd, WR, 0, 1);
        sys::write(go_first, b"x");
        sys::write(go_second, b"x");
        sys::sleep_ms(100);
        out.ret("the circle closes", lock(fd, libc::F_SETLKW, WR, 1, 1));
        set(fd, UN, 0, 1);
        out.say(sys::status(sys::wait(second)));
        out.say(sys::status(sys::wait(first)));
    }),
    case("lock/flock", &["flock"], |out| {
        both(out, |out| {
            let fd = file("a", b"");
            let other = open("a", RDONLY);
            let flock = |fd: i32, how: i32| call!(SYS_flock, fd, how);
            out.ret("shared", flock(fd, libc::LOCK_SH));
            out.ret("shared too", flock(other, libc::LOCK_SH | libc::LOCK_NB));
            out.ret("exclusive", flock(fd, libc::LOCK_EX | libc::LOCK_NB));
            out.ret("what it had is", flock(other, libc::LOCK_EX | libc::LOCK_NB));
            out.ret("unlock", flock(other, libc::LOCK_UN));
            out.ret("exclusive", flock(fd, libc::LOCK_EX | libc::LOCK_NB));
            out.ret("nothing beside it", flock(other, libc::LOCK_SH | libc::LOCK_NB));
            out.ret("a record is another matter", set(fd, WR, 0, 0));
            out.ret("operation", flock(fd, 3));
            out.ret("not open", flock(999, libc::LOCK_SH));
            out.ret("a place", flock(open("a", libc::O_PATH), libc::LOCK_SH));
            let copy = call!(SYS_dup, fd) as i32;
            sys::close(fd);
            out.ret("a copy holds it", flock(other, libc::LOCK_EX | libc::LOCK_NB));
            sys::close(copy);
            out.ret("free", flock(other, libc::LOCK_EX | libc::LOCK_NB));
        });
    }),
];
