//! Namespaces. These cases run with `CAP_SYS_ADMIN`.

use crate::{
    Case, Out, case,
    sys::{self, call},
    task_pidfd::{open, waiting_child},
};

const NEWNS: i64 = 0x2_0000;
const NEWCGROUP: i64 = 0x200_0000;
const NEWUTS: i64 = 0x400_0000;
const NEWIPC: i64 = 0x800_0000;
const NEWNET: i64 = 0x4000_0000;
const KINDS: [&str; 3] = ["uts", "ipc", "cgroup"];

fn hostname() -> String {
    let mut names = [0u8; 390];
    call!(SYS_uname, names.as_mut_ptr());
    let text = |at: usize| {
        names[at..at + 65].split(|&byte| byte == 0).next().map(String::from_utf8_lossy).unwrap_or_default()
    };
    format!("{} {}", text(65), text(325))
}

fn link(pid: i32, kind: &str) -> String {
    let path = format!("/proc/{pid}/ns/{kind}");
    std::fs::read_link(path).map_or_else(|error| error.to_string(), |link| link.display().to_string())
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

/// Which namespaces are the parent's.
fn same(out: &mut Out) {
    let parent = call!(SYS_getppid) as i32;
    let shown = KINDS.map(|kind| format!("{kind} {}", link(parent, kind) == link(sys::getpid(), kind)));
    out.say(shown.join(", "));
}

pub(crate) const CASES: &[Case] = &[
    case("ns/links", &["readlink", "open", "fstat"], |out| {
        let names = std::fs::read_dir("/proc/self/ns").into_iter().flatten().flatten();
        let mut names: Vec<String> =
            names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        out.say(names.join(" "));
        for name in &names {
            let link = link(sys::getpid(), name);
            let number = link.split(['[', ']']).nth(1).unwrap_or_default().parse::<u64>().unwrap_or(0);
            out.say(format_args!("{name} {}", link.split(':').next().unwrap_or_default()));
            let fd = call!(SYS_open, sys::c(&format!("/proc/self/ns/{name}")), 0, 0);
            out.ok("open", fd);
            let mut stat = [0u64; 18];
            out.ret("fstat", call!(SYS_fstat, fd, stat.as_mut_ptr()));
            out.say(format_args!("number {} mode {:o}", stat[1] == number, stat[3] as u32));
            out.ret("type", call!(SYS_ioctl, fd, 0xb703, 0));
            let users = call!(SYS_ioctl, fd, 0xb701, 0);
            out.ok("its users", users);
            if users > 0 {
                out.ret("type", call!(SYS_ioctl, users, 0xb703, 0));
                out.ret("flags", call!(SYS_fcntl, users, libc::F_GETFD, 0));
                sys::close(users as i32);
            }
            out.ret("its parent", call!(SYS_ioctl, fd, 0xb702, 0));
            let mut owner = 7u32;
            out.ret("its owner", call!(SYS_ioctl, fd, 0xb704, &raw mut owner));
            out.ret("is", owner.into());
            out.ret("nothing", call!(SYS_ioctl, fd, 0xb7ff, 0));
            out.ret("read", sys::read(fd as i32, &mut [0; 8]));
            sys::close(fd as i32);
        }
        out.ret("for writing", call!(SYS_open, sys::c("/proc/self/ns/uts"), libc::O_WRONLY, 0));
        out.ret("nothing", call!(SYS_open, sys::c("/proc/self/ns/nothing"), 0, 0));
    }),
    case("ns/uts", &["unshare", "sethostname", "setdomainname", "setns"], |out| {
        out.ret("unshare", call!(SYS_unshare, NEWUTS));
        let first = call!(SYS_open, sys::c("/proc/self/ns/uts"), 0, 0);
        out.ret("set", call!(SYS_sethostname, sys::c("outer"), 5));
        out.ret("set domain", call!(SYS_setdomainname, sys::c("one"), 3));
        in_child(out, "child", |out| {
            out.say(hostname());
            out.ret("unshare", call!(SYS_unshare, NEWUTS));
            same(out);
            out.say(hostname());
            call!(SYS_sethostname, sys::c("inner"), 5);
            out.say(hostname());
            out.say(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim_end());
            out.ret("back", call!(SYS_setns, first, NEWUTS));
            out.say(hostname());
            same(out);
        });
        out.say(hostname());
        out.ret("empty", call!(SYS_sethostname, sys::c(""), 0));
        out.ret("too long", call!(SYS_sethostname, sys::c("x"), 65));
        out.ret("negative", call!(SYS_sethostname, sys::c("x"), -1));
        out.ret("bad address", call!(SYS_sethostname, 8, 3));
        out.say(hostname());
    }),
    case("ns/clone", &["clone", "clone3"], |out| {
        for flags in [NEWUTS, NEWIPC, NEWCGROUP, NEWUTS | NEWIPC | NEWCGROUP] {
            let pid = call!(SYS_clone, flags | 17, 0, 0, 0, 0);
            if pid == 0 {
                same(out);
                sys::exit(0);
            }
            let end = sys::status(sys::wait(pid as i32));
            out.ok(&format!("{flags:#x}"), pid);
            out.say(end);
        }
        let pid = sys::fork(|| {
            same(out);
            0
        });
        sys::wait(pid);
    }),
    case("ns/unshare-errors", &["unshare"], |out| {
        out.ret("nothing", call!(SYS_unshare, 0));
        out.ret("unknown", call!(SYS_unshare, 0x1000));
        out.ret("PIDFD", call!(SYS_unshare, 0x1000));
        out.ret("CSIGNAL", call!(SYS_unshare, 17));
        out.ret("files and so on", call!(SYS_unshare, 0x600));
        out.ret("SYSVSEM", call!(SYS_unshare, 0x4_0000));
        out.ret("alone", call!(SYS_unshare, 0x1_0900));
        in_child(out, "user", |out| {
            call!(SYS_setresuid, 1000, 1000, 1000);
            for flag in [NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWNET] {
                out.ret(&format!("{flag:#x}"), call!(SYS_unshare, flag));
                out.ret("clone", call!(SYS_clone, flag | 17, 0, 0, 0, 0));
            }
        });
    }),
    case("ns/setns-errors", &["setns"], |out| {
        let fd = call!(SYS_open, sys::c("/proc/self/ns/uts"), 0, 0);
        out.ret("closed", call!(SYS_setns, 77, 0));
        out.ret("a pipe", call!(SYS_setns, out.fd(), 0));
        out.ret("another kind", call!(SYS_setns, fd, NEWIPC));
        out.ret("several kinds", call!(SYS_setns, fd, NEWUTS | NEWIPC));
        out.ret("any kind", call!(SYS_setns, fd, 0));
        let user = call!(SYS_open, sys::c("/proc/self/ns/user"), 0, 0);
        out.ret("own users", call!(SYS_setns, user, 0));
        let pidfd = open(sys::getpid(), 0);
        out.ret("a pidfd and nothing", call!(SYS_setns, pidfd, 0));
        out.ret("a pidfd and rubbish", call!(SYS_setns, pidfd, 0x100));
        out.ret("own ids", call!(SYS_setns, call!(SYS_open, sys::c("/proc/self/ns/pid"), 0, 0), 0));
        out.ret("own network", call!(SYS_setns, call!(SYS_open, sys::c("/proc/self/ns/net"), 0, 0), 0));
        call!(SYS_setresuid, 1000, 1000, 1000);
        out.ret("as a user", call!(SYS_setns, fd, 0));
    }),
    case("ns/setns-by-pidfd", &["setns", "pidfd_open"], |out| {
        let (pid, to) = waiting_child();
        out.ret("unshare", call!(SYS_unshare, NEWUTS | NEWIPC));
        call!(SYS_sethostname, sys::c("mine"), 4);
        let shown = |pid: i32| KINDS.map(|kind| link(pid, kind) == link(sys::getpid(), kind));
        out.say(format_args!("{:?}", shown(pid)));
        let fd = open(pid, 0);
        out.ret("one", call!(SYS_setns, fd, NEWIPC));
        out.say(format_args!("{:?}", shown(pid)));
        out.ret("two", call!(SYS_setns, fd, NEWIPC | NEWUTS));
        out.say(format_args!("{:?} {}", shown(pid), hostname().starts_with("mine")));
        sys::close(to);
        sys::wait(pid);
        out.ret("of what is gone", call!(SYS_setns, fd, NEWUTS));
    }),
    case("ns/kept-by-a-descriptor", &["setns"], |out| {
        let (from, to) = sys::pipe();
        let (ready, set) = sys::pipe();
        let pid = sys::fork(|| {
            call!(SYS_unshare, NEWUTS);
            call!(SYS_sethostname, sys::c("kept"), 4);
            sys::write(set, &[0]);
            sys::close(to);
            sys::read(from, &mut [0]);
            0
        });
        sys::read(ready, &mut [0]);
        let fd = call!(SYS_open, sys::c(&format!("/proc/{pid}/ns/uts")), 0, 0);
        sys::close(to);
        out.say(sys::status(sys::wait(pid)));
        out.ret("setns", call!(SYS_setns, fd, 0));
        out.say(hostname().starts_with("kept "));
    }),
    case("ns/set-tid", &["clone3"], |out| {
        let free = sys::fork(|| 0);
        sys::wait(free);
        let mut with = |what: &str, id: i32, count: u64| {
            let ids = [id, 0];
            let mut args = [0u64; 11];
            (args[4], args[8], args[9]) = (17, ids.as_ptr() as u64, count);
            let result = call!(SYS_clone3, args.as_ptr(), 88);
            if result == 0 {
                sys::exit(0);
            }
            out.ok(what, result);
            if result > 0 {
                out.say(result == i64::from(id));
                sys::wait(result as i32);
            }
        };
        with("free", free, 1);
        with("free again", free, 1);
        with("its own", sys::getpid(), 1);
        with("init", 1, 1);
        with("zero", 0, 1);
        with("too high", 4_194_304, 1);
    }),
];
