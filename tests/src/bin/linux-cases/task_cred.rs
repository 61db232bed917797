//! Users, groups, capabilities; resource limits.

use crate::{
    Case, Out, case,
    sys::{self, call},
    task_prctl::show_caps,
};

const KEEP: i32 = -1;

/// All ids, and who owns what it makes.
fn ids(out: &mut Out) {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("Uid") || line.starts_with("Gid"));
    out.say(lines.map(|line| line.replace('\t', " ")).collect::<Vec<_>>().join(", "));
}

fn in_child(out: &mut Out, what: &str, body: impl FnOnce(&mut Out)) {
    out.say(what);
    let fd = out.fd();
    let pid = sys::fork(|| {
        body(&mut Out::new(fd));
        0
    });
    out.say(sys::status(sys::wait(pid)));
}

fn limit(out: &mut Out, what: &str, resource: u32, soft: u64, hard: u64) {
    let value = [soft, hard];
    out.ret(what, call!(SYS_prlimit64, 0, resource, value.as_ptr(), 0));
}

pub(crate) const CASES: &[Case] = &[
    case("cred/setuid", &["setuid"], |out| {
        in_child(out, "root", |out| {
            out.ret("-1", call!(SYS_setuid, KEEP));
            out.ret("1000", call!(SYS_setuid, 1000));
            ids(out);
            show_caps(out);
            out.ret("back", call!(SYS_setuid, 0));
        });
        in_child(out, "saved root", |out| {
            call!(SYS_setresuid, KEEP, 1000, KEEP);
            ids(out);
            show_caps(out);
            out.ret("another", call!(SYS_setuid, 1001));
            out.ret("back", call!(SYS_setuid, 0));
            ids(out);
            show_caps(out);
        });
    }),
    case("cred/setreuid", &["setreuid", "setregid"], |out| {
        for pair in [[1000, KEEP], [KEEP, 1000], [1000, 1001], [KEEP, KEEP], [0, 1000]] {
            in_child(out, &format!("{pair:?}"), |out| {
                out.ret("gid", call!(SYS_setregid, pair[0], pair[1]));
                out.ret("uid", call!(SYS_setreuid, pair[0], pair[1]));
                ids(out);
                out.ret("swap", call!(SYS_setreuid, pair[1], pair[0]));
                ids(out);
                out.ret("another", call!(SYS_setreuid, 5, 6));
            });
        }
    }),
    case("cred/setresuid", &["setresuid", "getresuid", "setresgid", "getresgid"], |out| {
        in_child(out, "down and up", |out| {
            out.ret("gid", call!(SYS_setresgid, 10, 11, 12));
            out.ret("uid", call!(SYS_setresuid, 1000, 1001, 1002));
            ids(out);
            out.ret("permute", call!(SYS_setresuid, 1002, 1000, 1001));
            ids(out);
            out.ret("another", call!(SYS_setresuid, KEEP, 0, KEEP));
            out.ret("gid, permute", call!(SYS_setresgid, 11, 12, 10));
            out.ret("gid, another", call!(SYS_setresgid, 13, KEEP, KEEP));
            let mut three = [0u32; 3];
            let place = three.as_mut_ptr();
            out.ret("get", call!(SYS_getresuid, place, place.wrapping_add(1), place.wrapping_add(2)));
            out.say(format_args!("{three:?}"));
            out.ret("get to a bad address", call!(SYS_getresuid, place, 8, place));
        });
    }),
    case("cred/file-system-ids", &["setfsuid", "setfsgid"], |out| {
        out.ret("was", call!(SYS_setfsuid, 1000));
        out.ret("-1 asks", call!(SYS_setfsuid, KEEP));
        ids(out);
        show_caps(out);
        out.ret("back", call!(SYS_setfsuid, 0));
        show_caps(out);
        out.ret("group", call!(SYS_setfsgid, 50));
        out.ret("group", call!(SYS_setfsgid, KEEP));
        call!(SYS_setresuid, 1000, 1001, 1002);
        for uid in [1000, 1001, 1002, 5] {
            out.ret(&format!("to {uid}, was"), call!(SYS_setfsuid, uid));
        }
        out.ret("is", call!(SYS_setfsuid, KEEP));
    }),
    case("cred/groups", &["setgroups", "getgroups"], |out| {
        let mut groups = [30u32, 10, 20, 10];
        out.ret("set", call!(SYS_setgroups, 4, groups.as_ptr()));
        out.ret("count", call!(SYS_getgroups, 0, 0));
        groups = [0; 4];
        out.ret("get", call!(SYS_getgroups, 4, groups.as_mut_ptr()));
        out.say(format_args!("{groups:?}"));
        out.ret("too little room", call!(SYS_getgroups, 3, groups.as_mut_ptr()));
        out.ret("negative", call!(SYS_getgroups, -1, groups.as_mut_ptr()));
        out.ret("bad address", call!(SYS_getgroups, 4, 8));
        out.ret("too many", call!(SYS_setgroups, 65_537, groups.as_ptr()));
        out.ret("from a bad address", call!(SYS_setgroups, 1, 8));
        out.ret("none", call!(SYS_setgroups, 0, 0));
        out.ret("count", call!(SYS_getgroups, 0, 0));
        call!(SYS_setresuid, 1000, 1000, 1000);
        out.ret("as a user", call!(SYS_setgroups, 0, 0));
        out.ret("too many, as a user", call!(SYS_setgroups, 65_537, 0));
    }),
    case("cred/capability-versions", &["capget", "capset"], |out| {
        for version in [0x1998_0330u32, 0x2007_1026, 0x2008_0522, 0x1234] {
            let header = [version, 0];
            let mut sets = [0xeeee_eeeeu32; 6];
            out.ret(&format!("get {version:#x}"), call!(SYS_capget, header.as_ptr(), sets.as_mut_ptr()));
            out.say(format_args!("{:#x} {sets:x?}", header[0]));
            let header = [version, 0];
            out.ret("get nothing", call!(SYS_capget, header.as_ptr(), 0));
            let header = [version, 0];
            out.ret("set", call!(SYS_capset, header.as_ptr(), sets.as_ptr()).min(0));
        }
        let with = |pid: i32| [0x2008_0522u32, pid as u32];
        let mut sets = [0u32; 6];
        out.ret("of itself", call!(SYS_capget, with(sys::getpid()).as_ptr(), sets.as_mut_ptr()));
        out.ret("of init", call!(SYS_capget, with(1).as_ptr(), sets.as_mut_ptr()));
        out.ret("of nobody", call!(SYS_capget, with(0x3fff_ffff).as_ptr(), sets.as_mut_ptr()));
        out.ret("negative", call!(SYS_capget, with(-1).as_ptr(), sets.as_mut_ptr()));
        out.ret("set init's", call!(SYS_capset, with(1).as_ptr(), sets.as_ptr()));
        out.ret("bad header", call!(SYS_capget, 8, sets.as_mut_ptr()));
        out.ret("bad sets", call!(SYS_capget, with(0).as_ptr(), 8));
    }),
    case("cred/capset-rules", &["capset"], |out| {
        let header = [0x2008_0522u32, 0];
        let mut sets = [0u32; 6];
        call!(SYS_capget, header.as_ptr(), sets.as_mut_ptr());
        let all = sets;
        let mut set =
            |what: &str, sets: [u32; 6]| out.ret(what, call!(SYS_capset, header.as_ptr(), sets.as_ptr()));
        set("more permitted", [all[0], all[1] | 1 << 21, 0, 0, 0, 0]);
        set("effective that is not permitted", [1 << 5 | 1, 1, 0, 0, 0, 0]);
        set("inheritable outside of the bounding set", [all[0], all[1], 1 << 21, 0, 0, 0]);
        set("inheritable", [all[0], all[1], 1 << 5, 0, 0, 0]);
        set("only two", [1 << 5, 1 << 5 | 1 << 6, 1 << 5, 0, 0, 0]);
        set("effective again", [1 << 6, 1 << 5 | 1 << 6, 1 << 5, 0, 0, 0]);
        set("what was dropped", [1, 1, 0, 0, 0, 0]);
        set("inheritable without the right", [1 << 6, 1 << 6, 1 << 7, 0, 0, 0]);
        show_caps(out);
        out.ret("setuid without the right", call!(SYS_setuid, 1000));
        out.ret("setgid with the right", call!(SYS_setgid, 1000));
    }),
    case("cred/signals-between-users", &["kill", "setresuid"], |out| {
        let (from, to) = sys::pipe();
        let pid = sys::fork(|| {
            sys::close(to);
            call!(SYS_setresuid, 1000, 1001, 1002);
            sys::read(from, &mut [0]);
            0
        });
        sys::sleep_ms(100);
        for who in [
            [1000, 5, 5],
            [1001, 1001, 1001],
            [1002, 5, 5],
            [5, 1002, 5],
            [5, 5, 1002],
            [5, 1000, 5],
            [7, 7, 7],
        ] {
            in_child(out, &format!("{who:?}"), |out| {
                call!(SYS_setresuid, who[0], who[1], who[2]);
                out.ret("0", call!(SYS_kill, pid, 0));
                out.ret("CONT", call!(SYS_kill, pid, libc::SIGCONT));
            });
        }
        sys::close(to);
        out.say(sys::status(sys::wait(pid)));
    }),
    case("cred/names-of-the-system", &["sethostname", "setdomainname"], |out| {
        out.ret("set without the right", call!(SYS_sethostname, sys::c("x"), 1));
        out.ret("domain without the right", call!(SYS_setdomainname, sys::c("x"), 1));
        out.ret("too long without the right", call!(SYS_sethostname, sys::c("x"), 100));
    }),
    case("cred/random-flags", &["getrandom"], |out| {
        let mut bytes = [0u8; 16];
        for flags in 0..9 {
            out.ret(&format!("flags {flags}"), call!(SYS_getrandom, bytes.as_mut_ptr(), 16, flags));
        }
        out.ret("nothing", call!(SYS_getrandom, 8, 0, 0));
        out.ret("bad address", call!(SYS_getrandom, 8, 16, 0));
    }),
    case("cred/proc-of-others", &["open", "readlink"], |out| {
        let look = |out: &mut Out, pid: i32| {
            let text = |name: &str| format!("/proc/{pid}/{name}");
            for name in
                ["status", "cmdline", "limits", "environ", "maps", "smaps", "fdinfo/0", "stat", "comm"]
            {
                let mut bytes = [0; 64];
                let fd = call!(SYS_open, sys::c(&text(name)), 0, 0) as i32;
                let result = if fd < 0 { fd.into() } else { sys::read(fd, &mut bytes) };
                out.ok(name, result);
                sys::close(fd);
            }
            for name in ["exe", "cwd", "root", "ns/uts", "fd/0"] {
                let mut bytes = [0u8; 64];
                let result = call!(SYS_readlink, sys::c(&text(name)), bytes.as_mut_ptr(), 64);
                out.ok(name, result);
            }
            for name in ["", "environ", "fd", "exe", "task", "status"] {
                let mut stat = [0u32; 36];
                let result = call!(SYS_lstat, sys::c(&text(name)), stat.as_mut_ptr());
                out.ret(&format!("lstat {name:?}"), result);
                out.say(format_args!("mode {:o} of {} {}", stat[6], stat[7], stat[8]));
            }
        };
        let (from, to) = sys::pipe();
        let (ready, set) = sys::pipe();
        let pid = sys::fork(|| {
            sys::close(to);
            call!(SYS_setresgid, 1000, 1000, 1000);
            call!(SYS_setresuid, 1000, 1000, 1000);
            sys::write(set, &[0]);
            sys::read(from, &mut [0]);
            // To be looked into again.
            call!(SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
            sys::write(set, &[0]);
            sys::read(from, &mut [0]);
            0
        });
        sys::read(ready, &mut [0]);
        out.say("root, without ptrace's capability, at a user's");
        look(out, pid);
        let me = sys::getpid();
        in_child(out, "a user at root's", |out| {
            call!(SYS_setresgid, 1000, 1000, 1000);
            call!(SYS_setresuid, 1000, 1000, 1000);
            look(out, me);
        });
        sys::write(to, &[0]);
        sys::read(ready, &mut [0]);
        in_child(out, "a user at its own", |out| {
            call!(SYS_setresgid, 1000, 1000, 1000);
            call!(SYS_setresuid, 1000, 1000, 1000);
            look(out, pid);
            look(out, sys::getpid());
        });
        sys::close(to);
        sys::wait(pid);
    }),
    case("limit/prlimit-errors", &["prlimit64", "getrlimit", "setrlimit"], |out| {
        let mut now = [0u64; 2];
        let place = now.as_mut_ptr();
        out.ret("bad resource", call!(SYS_prlimit64, 0, 16, 0, place));
        out.ret("negative resource", call!(SYS_prlimit64, 0, -1, 0, place));
        out.ret("nobody", call!(SYS_prlimit64, 0x3fff_ffff, 0, 0, place));
        out.ret("negative", call!(SYS_prlimit64, -1, 0, 0, place));
        out.ret("nobody's bad resource", call!(SYS_prlimit64, 0x3fff_ffff, 16, 0, place));
        out.ret("bad new", call!(SYS_prlimit64, 0, 0, 8, 0));
        out.ret("bad old", call!(SYS_prlimit64, 0, 0, 0, 8));
        out.ret("nothing", call!(SYS_prlimit64, 0, 0, 0, 0));
        limit(out, "soft above hard", 0, 2, 1);
        out.ret("getrlimit", call!(SYS_getrlimit, 16, place));
        out.ret("getrlimit to a bad address", call!(SYS_getrlimit, 0, 8));
        out.ret("setrlimit from a bad address", call!(SYS_setrlimit, 16, 8));
        out.ret("setrlimit", call!(SYS_setrlimit, 16, place));
    }),
    case("limit/raising", &["prlimit64"], |out| {
        limit(out, "down", 6, 100, 1000);
        limit(out, "up", 6, 100, 2000);
        limit(out, "files beyond all", 7, 1 << 21, 1 << 31);
        call!(SYS_setresuid, 1000, 1000, 1000);
        limit(out, "soft up to the hard one", 6, 2000, 2000);
        limit(out, "hard up", 6, 2000, 2001);
        limit(out, "hard down", 6, 50, 50);
        limit(out, "soft up", 6, 51, 51);
    }),
    case("limit/of-others", &["prlimit64"], |out| {
        let (from, to) = sys::pipe();
        let pid = sys::fork(|| {
            sys::close(to);
            sys::read(from, &mut [0]);
            let mut now = [0u64; 2];
            call!(SYS_getrlimit, 4, now.as_mut_ptr());
            now[0] as i32
        });
        let new = [77u64, 88];
        let mut old = [0u64; 2];
        out.ret("set a child's", call!(SYS_prlimit64, pid, 4, new.as_ptr(), 0));
        out.ret("get it", call!(SYS_prlimit64, pid, 4, 0, old.as_mut_ptr()));
        out.say(format_args!("{old:?}"));
        in_child(out, "another user", |out| {
            call!(SYS_setresuid, 1000, 1000, 1000);
            out.ret("get", call!(SYS_prlimit64, pid, 4, 0, old.as_mut_ptr()));
            out.ret("set", call!(SYS_prlimit64, pid, 4, new.as_ptr(), 0));
        });
        sys::close(to);
        out.say(sys::status(sys::wait(pid)));
    }),
    case("limit/processes", &["prlimit64", "clone"], |out| {
        call!(SYS_setresuid, 4321, 4321, 4321);
        limit(out, "two", 6, 2, 2);
        let (from, to) = sys::pipe();
        let wait = || {
            sys::close(to);
            sys::read(from, &mut [0]);
            0
        };
        out.ok("the second", i64::from(sys::fork(wait)));
        let third = call!(SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
        if third == 0 {
            sys::exit(0);
        }
        out.ok("the third", third);
        sys::close(to);
        sys::wait(-1);
        let again = call!(SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
        if again == 0 {
            sys::exit(0);
        }
        out.ok("when one is gone", again);
    }),
    case("limit/open-files", &["prlimit64", "dup", "open", "pipe2"], |out| {
        let highest = call!(SYS_dup, out.fd()) as u64;
        limit(out, "as many as there are", 7, highest + 1, 4096);
        out.ret("dup", call!(SYS_dup, 0));
        out.ret("open", call!(SYS_open, sys::c("/"), 0, 0));
        let mut ends = [0i32; 2];
        out.ret("pipe", call!(SYS_pipe2, ends.as_mut_ptr(), 0));
        out.ret("dup2", call!(SYS_dup2, 0, highest + 1));
        out.ret("F_DUPFD", call!(SYS_fcntl, 0, libc::F_DUPFD, highest + 1));
        out.ret("pidfd", call!(SYS_pidfd_open, sys::getpid(), 0));
        out.ret("epoll", call!(SYS_epoll_create1, 0));
        let mut fd = 0i32;
        out.ret("clone with a pidfd", call!(SYS_clone, 0x1000 | libc::SIGCHLD, 0, &raw mut fd, 0, 0));
        out.ret("no child", sys::wait(-1));
    }),
    case("limit/file-size", &["prlimit64", "write", "ftruncate"], |out| {
        let fd = call!(SYS_open, sys::c("file"), libc::O_RDWR | libc::O_CREAT, 0o600) as i32;
        let mut action = [1u64, 0, 0, 0];
        call!(SYS_rt_sigaction, libc::SIGXFSZ, action.as_mut_ptr(), 0, 8);
        limit(out, "100", 1, 100, 100);
        out.ret("up to it", sys::write(fd, &[1; 60]));
        out.ret("across", sys::write(fd, &[1; 60]));
        out.ret("beyond", sys::write(fd, &[1]));
        out.ret("truncate beyond", call!(SYS_ftruncate, fd, 101));
        out.ret("truncate", call!(SYS_ftruncate, fd, 100));
        out.ret("fallocate", call!(SYS_fallocate, fd, 0, 0, 200));
        in_child(out, "signal", |_| {
            let action = [0u64; 4];
            call!(SYS_rt_sigaction, libc::SIGXFSZ, action.as_ptr(), 0, 8);
            sys::write(fd, &[1]);
        });
    }),
    case("limit/nice", &["prlimit64", "setpriority", "getpriority"], |out| {
        out.ret("get", call!(SYS_getpriority, 0, 0));
        limit(out, "up to -5", 13, 25, 25);
        call!(SYS_setresuid, 1000, 1000, 1000);
        for nice in [5, 0, -5, -6, 40, -40] {
            out.ret(&format!("to {nice}"), call!(SYS_setpriority, 0, 0, nice));
            out.ret("get", call!(SYS_getpriority, 0, 0));
        }
        out.ret("of init", call!(SYS_setpriority, 0, 1, 19));
        out.ret("bad kind", call!(SYS_setpriority, 3, 0, 0));
        out.ret("nobody", call!(SYS_getpriority, 0, 0x3fff_ffff));
        out.ret("nobody's group", call!(SYS_getpriority, 1, 0x3fff_ffff));
        out.ret("user", call!(SYS_getpriority, 2, 54_321));
    }),
    case("limit/pending-signals", &["prlimit64", "rt_sigqueueinfo", "kill"], |out| {
        call!(SYS_setresuid, 5432, 5432, 5432);
        let set = !0u64;
        call!(SYS_rt_sigprocmask, 0, &raw const set, 0, 8);
        limit(out, "three", 11, 3, 3);
        let mut info = [0i32; 32];
        info[2] = -1;
        for count in 0..5 {
            out.ret(&format!("{count}"), call!(SYS_rt_sigqueueinfo, sys::getpid(), 40, info.as_ptr()));
        }
        out.ret("a standard one", call!(SYS_kill, sys::getpid(), libc::SIGUSR1));
    }),
];
