//! inotify: what is told of changes.

use crate::{
    Case, Out, case,
    sys::{self, call},
};

const ALL: u32 = 0xfff;
const NAMES: [(u32, &str); 17] = [
    (1, "ACCESS"),
    (2, "MODIFY"),
    (4, "ATTRIB"),
    (8, "CLOSE_WRITE"),
    (0x10, "CLOSE_NOWRITE"),
    (0x20, "OPEN"),
    (0x40, "MOVED_FROM"),
    (0x80, "MOVED_TO"),
    (0x100, "CREATE"),
    (0x200, "DELETE"),
    (0x400, "DELETE_SELF"),
    (0x800, "MOVE_SELF"),
    (0x2000, "UNMOUNT"),
    (0x4000, "Q_OVERFLOW"),
    (0x8000, "IGNORED"),
    (0x4000_0000, "ISDIR"),
    (0x8000_0000, "ONESHOT"),
];

fn init() -> i32 {
    call!(SYS_inotify_init1, libc::O_NONBLOCK) as i32
}

fn add(fd: i32, path: &str, mask: u32) -> i64 {
    call!(SYS_inotify_add_watch, fd, sys::c(path), mask)
}

/// Everything that waits; cookies by the order in which they appear.
fn events(out: &mut Out, fd: i32) {
    let mut cookies: Vec<u32> = Vec::new();
    let mut bytes = [0u8; 4096];
    loop {
        let got = sys::read(fd, &mut bytes);
        if got <= 0 {
            if got != -i64::from(libc::EAGAIN) {
                out.ret("read", got);
            }
            return;
        }
        let mut rest = &bytes[..got as usize];
        while rest.len() >= 16 {
            let word = |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
            let (watch, mask, cookie, len) = (word(0) as i32, word(4), word(8), word(12) as usize);
            let name: Vec<u8> = rest[16..16 + len].iter().copied().take_while(|&byte| byte != 0).collect();
            let shown: Vec<_> =
                NAMES.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, name)| *name).collect();
            let mut line =
                format!("  {watch} {} {len} {:?}", shown.join("|"), String::from_utf8_lossy(&name));
            if cookie != 0 {
                let index = cookies.iter().position(|&known| known == cookie).unwrap_or_else(|| {
                    cookies.push(cookie);
                    cookies.len() - 1
                });
                line.push_str(&format!(" cookie {index}"));
            }
            out.say(line);
            rest = &rest[16 + len..];
        }
    }
}

fn open(path: &str, flags: i32) -> i32 {
    call!(SYS_open, sys::c(path), flags, 0o644) as i32
}

fn touch(path: &str) {
    sys::close(open(path, libc::O_CREAT | libc::O_WRONLY));
}

fn mkdir(path: &str) {
    call!(SYS_mkdir, sys::c(path), 0o755);
}

pub(crate) const CASES: &[Case] = &[
    case(
        "inotify/create",
        &["inotify_add_watch", "inotify_init1", "open", "mkdir", "symlink", "mknod", "link"],
        |out| {
            let fd = init();
            out.ret("watch", add(fd, ".", ALL));
            touch("file");
            events(out, fd);
            mkdir("dir");
            call!(SYS_symlink, sys::c("file"), sys::c("link"));
            call!(SYS_mknod, sys::c("fifo"), libc::S_IFIFO | 0o600, 0);
            call!(SYS_link, sys::c("file"), sys::c("hard"));
            events(out, fd);
            sys::close(open("file", libc::O_CREAT | 1));
            events(out, fd);
        },
    ),
    case(
        "inotify/read-and-write",
        &["inotify_add_watch", "read", "write", "truncate", "ftruncate", "pwrite64"],
        |out| {
            let fd = init();
            touch("f");
            out.ret("directory", add(fd, ".", ALL));
            out.ret("file", add(fd, "f", ALL));
            let file = open("f", libc::O_RDWR);
            events(out, fd);
            sys::write(file, b"text");
            events(out, fd);
            call!(SYS_pwrite64, file, sys::c("x"), 1, 9);
            call!(SYS_lseek, file, 0, 0);
            sys::read(file, &mut [0; 4]);
            events(out, fd);
            call!(SYS_pread64, file, [0u8; 4].as_mut_ptr(), 4, 0);
            call!(SYS_pread64, file, [0u8; 4].as_mut_ptr(), 4, 100);
            events(out, fd);
            call!(SYS_ftruncate, file, 2);
            call!(SYS_truncate, sys::c("f"), 1);
            events(out, fd);
            sys::close(file);
            events(out, fd);
            sys::close(open("f", libc::O_WRONLY | libc::O_TRUNC));
            events(out, fd);
            sys::close(open("f", libc::O_PATH));
            call!(SYS_stat, sys::c("f"), [0u8; 144].as_mut_ptr());
            call!(SYS_access, sys::c("f"), 0);
            events(out, fd);
        },
    ),
    case("inotify/attributes", &["inotify_add_watch", "chmod", "chown", "utimensat"], |out| {
        let fd = init();
        touch("f");
        mkdir("d");
        out.ret("watch", add(fd, ".", ALL));
        call!(SYS_chmod, sys::c("f"), 0o600);
        call!(SYS_chmod, sys::c("d"), 0o700);
        events(out, fd);
        call!(SYS_chown, sys::c("f"), 5, 5);
        events(out, fd);
        call!(SYS_utimensat, -100, sys::c("f"), 0, 0);
        events(out, fd);
        for times in [[0, libc::UTIME_OMIT], [libc::UTIME_OMIT, 0]] {
            let times = [0, times[0], 0, times[1]];
            call!(SYS_utimensat, -100, sys::c("f"), times.as_ptr(), 0);
            events(out, fd);
        }
        call!(SYS_chmod, sys::c("."), 0o755);
        events(out, fd);
    }),
    case("inotify/unlink", &["inotify_add_watch", "unlink", "rmdir"], |out| {
        let fd = init();
        touch("f");
        mkdir("d");
        out.ret("directory", add(fd, ".", ALL));
        out.ret("file", add(fd, "f", ALL));
        out.ret("sub", add(fd, "d", ALL));
        call!(SYS_unlink, sys::c("f"));
        events(out, fd);
        call!(SYS_rmdir, sys::c("d"));
        events(out, fd);
        out.ret("watch is gone", call!(SYS_inotify_rm_watch, fd, 2));
    }),
    case("inotify/unlink-while-open", &["inotify_add_watch", "unlink", "close"], |out| {
        let fd = init();
        touch("f");
        out.ret("file", add(fd, "f", ALL));
        let file = open("f", libc::O_RDWR);
        call!(SYS_unlink, sys::c("f"));
        events(out, fd);
        sys::write(file, b"x");
        events(out, fd);
        sys::close(file);
        events(out, fd);
    }),
    case("inotify/unlink-of-several-names", &["inotify_add_watch", "unlink", "link"], |out| {
        let fd = init();
        touch("f");
        call!(SYS_link, sys::c("f"), sys::c("g"));
        out.ret("file", add(fd, "f", ALL));
        out.ret("the same", add(fd, "g", ALL));
        call!(SYS_unlink, sys::c("f"));
        events(out, fd);
        call!(SYS_link, sys::c("g"), sys::c("h"));
        events(out, fd);
        call!(SYS_unlink, sys::c("g"));
        call!(SYS_unlink, sys::c("h"));
        events(out, fd);
    }),
    case("inotify/rename", &["inotify_add_watch", "rename", "renameat2"], |out| {
        let fd = init();
        mkdir("a");
        mkdir("b");
        touch("a/f");
        out.ret("a", add(fd, "a", ALL));
        out.ret("b", add(fd, "b", ALL));
        out.ret("f", add(fd, "a/f", ALL));
        call!(SYS_rename, sys::c("a/f"), sys::c("a/g"));
        events(out, fd);
        call!(SYS_rename, sys::c("a/g"), sys::c("b/g"));
        events(out, fd);
        touch("a/other");
        events(out, fd);
        call!(SYS_rename, sys::c("a/other"), sys::c("b/g"));
        events(out, fd);
        touch("a/x");
        touch("b/y");
        events(out, fd);
        call!(SYS_renameat2, -100, sys::c("a/x"), -100, sys::c("b/y"), 2);
        events(out, fd);
        mkdir("a/dir");
        call!(SYS_rename, sys::c("a/dir"), sys::c("b/dir"));
        events(out, fd);
        out.ret("onto itself", call!(SYS_rename, sys::c("b/dir"), sys::c("b/dir")));
        events(out, fd);
    }),
    case("inotify/one-side-of-a-move", &["inotify_add_watch", "rename"], |out| {
        let fd = init();
        mkdir("a");
        touch("f");
        out.ret("a", add(fd, "a", ALL));
        call!(SYS_rename, sys::c("f"), sys::c("a/f"));
        call!(SYS_rename, sys::c("a/f"), sys::c("g"));
        events(out, fd);
        call!(SYS_rename, sys::c("a"), sys::c("b"));
        events(out, fd);
    }),
    case("inotify/directory-itself", &["inotify_add_watch", "getdents64"], |out| {
        let fd = init();
        mkdir("d");
        touch("d/f");
        out.ret("parent", add(fd, ".", ALL));
        out.ret("d", add(fd, "d", ALL));
        let dir = open("d", libc::O_DIRECTORY);
        events(out, fd);
        let mut bytes = [0u8; 1024];
        out.ok("getdents", call!(SYS_getdents64, dir, bytes.as_mut_ptr(), 1024));
        events(out, fd);
        out.ok("at the end", call!(SYS_getdents64, dir, bytes.as_mut_ptr(), 1024));
        events(out, fd);
        sys::close(dir);
        events(out, fd);
    }),
    case("inotify/chosen-events", &["inotify_add_watch"], |out| {
        let fd = init();
        out.ret("create", add(fd, ".", 0x100));
        touch("a");
        events(out, fd);
        out.ret("and delete", add(fd, ".", 0x200 | 0x2000_0000));
        touch("b");
        call!(SYS_unlink, sys::c("b"));
        events(out, fd);
        out.ret("delete alone", add(fd, ".", 0x200));
        touch("b");
        call!(SYS_unlink, sys::c("b"));
        events(out, fd);
        out.ret("once only", add(fd, ".", 0x200 | 0x1000_0000));
        out.ret("both", add(fd, ".", 0x200 | 0x3000_0000));
    }),
    case("inotify/oneshot", &["inotify_add_watch"], |out| {
        let fd = init();
        out.ret("watch", add(fd, ".", 0x100 | 0x8000_0000));
        touch("a");
        touch("b");
        events(out, fd);
        out.ret("again", add(fd, ".", 0x100 | 0x8000_0000));
        touch("c");
        events(out, fd);
    }),
    case("inotify/excl-unlink", &["inotify_add_watch"], |out| {
        for mask in [ALL, ALL | 0x400_0000] {
            let fd = init();
            touch("f");
            let file = open("f", 2);
            out.ret("watch", add(fd, ".", mask));
            call!(SYS_unlink, sys::c("f"));
            sys::write(file, b"x");
            sys::close(file);
            events(out, fd);
            sys::close(fd);
        }
    }),
    case("inotify/links", &["inotify_add_watch"], |out| {
        let fd = init();
        touch("f");
        call!(SYS_symlink, sys::c("f"), sys::c("l"));
        out.ret("followed", add(fd, "l", ALL));
        out.ret("the same", add(fd, "f", ALL));
        out.ret("not followed", add(fd, "l", ALL | 0x200_0000));
        sys::close(open("l", 0));
        events(out, fd);
        call!(SYS_unlink, sys::c("l"));
        events(out, fd);
    }),
    case("inotify/errors", &["inotify_init1", "inotify_add_watch", "inotify_rm_watch"], |out| {
        out.ret("bad flags", call!(SYS_inotify_init1, 1));
        let fd = init();
        touch("f");
        out.ret("no events", add(fd, ".", 0));
        out.ret("unknown bits", add(fd, ".", 0x1000));
        out.ret("nowhere", add(fd, "n", ALL));
        out.ret("a file, onlydir", add(fd, "f", ALL | 0x100_0000));
        out.ret("closed", add(99, ".", ALL));
        out.ret("a pipe", add(out.fd(), ".", ALL));
        out.ret("bad address", call!(SYS_inotify_add_watch, fd, 8, ALL));
        out.ret("empty", add(fd, "", ALL));
        out.ret("only flags", add(fd, ".", 0x100_0000));
        out.ret("rm of nothing", call!(SYS_inotify_rm_watch, fd, 9));
        out.ret("rm of closed", call!(SYS_inotify_rm_watch, 99, 1));
        out.ret("rm of a pipe", call!(SYS_inotify_rm_watch, out.fd(), 1));
        out.ret("write", sys::write(fd, b"x"));
        out.ret("seek", call!(SYS_lseek, fd, 0, 0));
        call!(SYS_chmod, sys::c("f"), 0o300);
        call!(SYS_setresuid, 1000, 1000, 1000);
        out.ret("may not be read", add(fd, "f", ALL));
    }),
    case("inotify/numbers", &["inotify_add_watch", "inotify_rm_watch"], |out| {
        let fd = init();
        for name in ["a", "b", "c"] {
            touch(name);
            out.ret(name, add(fd, name, ALL));
        }
        out.ret("rm", call!(SYS_inotify_rm_watch, fd, 2));
        events(out, fd);
        out.ret("again", add(fd, "b", ALL));
        out.ret("rm", call!(SYS_inotify_rm_watch, fd, 4));
        out.ret("once more", add(fd, "b", ALL));
        sys::close(open("b", 0));
        events(out, fd);
        out.ret("rm twice", call!(SYS_inotify_rm_watch, fd, 4));
    }),
    case("inotify/reading", &["read", "ioctl", "poll"], |out| {
        let fd = init();
        add(fd, ".", 0x100);
        let poll = |out: &mut Out| {
            let mut entry = libc::pollfd { fd, events: 0x7f, revents: 0 };
            call!(SYS_poll, &raw mut entry, 1, 0);
            out.say(format_args!("poll {:#x}", entry.revents));
        };
        let waiting = |out: &mut Out| {
            let mut count = 0i32;
            out.ret("FIONREAD", call!(SYS_ioctl, fd, 0x541b, &raw mut count));
            out.say(count);
        };
        poll(out);
        out.ret("nothing", sys::read(fd, &mut [0; 100]));
        touch("a");
        touch("a-name-of-sixteen");
        poll(out);
        waiting(out);
        out.ret("no room", sys::read(fd, &mut [0; 16]));
        out.ret("room for one", sys::read(fd, &mut [0; 40]));
        waiting(out);
        events(out, fd);
        poll(out);
        let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        out.say(link.display());
    }),
    case("inotify/same-twice", &["read"], |out| {
        let fd = init();
        touch("f");
        add(fd, "f", 2 | 4);
        let file = open("f", 1);
        for _ in 0..3 {
            sys::write(file, b"x");
        }
        call!(SYS_fchmod, file, 0o600);
        sys::write(file, b"x");
        events(out, fd);
    }),
    case("inotify/blocking-read", &["read"], |out| {
        let fd = call!(SYS_inotify_init) as i32;
        add(fd, ".", 0x100);
        let pid = sys::fork(|| {
            sys::sleep_ms(50);
            touch("late");
            0
        });
        out.ret("read", sys::read(fd, &mut [0; 100]));
        sys::wait(pid);
    }),
    case("inotify/overflow", &["read"], |out| {
        let fd = init();
        let text = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap_or_default();
        let most: usize = text.trim().parse().unwrap_or(0);
        out.say(most);
        add(fd, ".", 0x20 | 0x10);
        touch("f");
        // Two events each, which alternate.
        for _ in 0..most / 2 + 10 {
            sys::close(open("f", 0));
        }
        let mut count = 0;
        let mut last = 0;
        let mut bytes = vec![0u8; 1 << 16];
        loop {
            let got = sys::read(fd, &mut bytes);
            if got <= 0 {
                break;
            }
            for event in bytes[..got as usize].chunks(32) {
                count += 1;
                last = event
                    .get(4..8)
                    .map_or(0, |word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
            }
        }
        out.say(format_args!("{count} events, last {last:#x}"));
        sys::close(open("f", 0));
        events(out, fd);
    }),
    case("inotify/two-instances", &["inotify_init1"], |out| {
        let (one, two) = (init(), init());
        add(one, ".", 0x100);
        add(two, ".", 0x300);
        touch("f");
        call!(SYS_unlink, sys::c("f"));
        events(out, one);
        events(out, two);
        sys::close(one);
        touch("f");
        events(out, two);
    }),
    case("inotify/exec", &["execve"], |out| {
        let fd = init();
        out.ret("copy", std::fs::copy("/bin/busybox", "true").map_or(-1, |_| 0));
        add(fd, "true", 0x20 | 0x10 | 8);
        let pid = sys::fork(|| {
            let argv = [sys::c("true"), std::ptr::null()];
            call!(SYS_execve, sys::c("true"), argv.as_ptr(), 0) as i32
        });
        out.say(sys::status(sys::wait(pid)));
        events(out, fd);
    }),
    case("inotify/host-directory", &["inotify_add_watch"], |out| {
        let fd = init();
        call!(SYS_mkdir, sys::c("/root/watched"), 0o755);
        out.ret("watch", add(fd, "/root/watched", ALL));
        touch("/root/watched/f");
        call!(SYS_rename, sys::c("/root/watched/f"), sys::c("/root/watched/g"));
        call!(SYS_unlink, sys::c("/root/watched/g"));
        events(out, fd);
        call!(SYS_rmdir, sys::c("/root/watched"));
        events(out, fd);
    }),
    case("inotify/limits", &["inotify_init1"], |out| {
        for name in ["max_user_instances", "max_queued_events"] {
            let text = std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).unwrap_or_default();
            out.say(format_args!("{name} {text}"));
        }
        out.ret("fanotify", call!(SYS_fanotify_init, 0, 0));
    }),
];
