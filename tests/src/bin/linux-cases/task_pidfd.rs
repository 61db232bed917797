//! Processes as descriptors.

use crate::{
    Case, Out, case,
    sys::{self, call},
};

const THREAD: i32 = libc::O_EXCL;
const NONBLOCK: i32 = libc::O_NONBLOCK;
const P_PIDFD: i32 = 3;
const CLONE_PIDFD: i32 = 0x1000;
/// No process has this number.
const NOBODY: i32 = 0x3fff_ffff;

pub(crate) fn open(pid: i32, flags: i32) -> i64 {
    call!(SYS_pidfd_open, pid, flags)
}

/// A child that waits until the descriptor given back is closed.
pub(crate) fn waiting_child() -> (i32, i32) {
    let (from, to) = sys::pipe();
    let pid = sys::fork(|| {
        sys::close(to);
        sys::read(from, &mut [0]);
        7
    });
    sys::close(from);
    (pid, to)
}

pub(crate) fn poll(fd: i64, milliseconds: i32) -> String {
    let mut entry = libc::pollfd { fd: fd as i32, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
    let count = call!(SYS_poll, &raw mut entry, 1, milliseconds);
    format!("{count} {:#x}", entry.revents)
}

/// The lines of its own in fdinfo; ids that are the given one are shown as such.
fn info(fd: i64, pid: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let own =
        text.lines().filter(|line| line.contains("Pid") || line.contains("NSpid") || line.contains("flags"));
    own.map(|line| line.split_whitespace().map(|word| if word == pid.to_string() { "PID" } else { word }))
        .map(|words| words.collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What `waitid` stores: signal, code, whether it is the child, status.
pub(crate) fn waitid(out: &mut Out, what: &str, kind: i32, id: i64, options: i32) {
    let mut info = [0i32; 32];
    let result = call!(SYS_waitid, kind, id, info.as_mut_ptr(), options, 0);
    out.ret(what, result);
    if result == 0 {
        out.say(format_args!(
            "  signal {} code {} child {} status {}",
            info[0],
            info[2],
            info[4] != 0,
            info[6]
        ));
    }
}

pub(crate) const CASES: &[Case] = &[
    case("pidfd/open-errors", &["pidfd_open"], |out| {
        out.ret("0", open(0, 0));
        out.ret("negative", open(-1, 0));
        out.ret("nobody", open(NOBODY, 0));
        out.ret("bad flags", open(sys::getpid(), 1));
        out.ret("bad flags of nobody", open(NOBODY, 0x1000_0000));
        out.ok("itself", open(sys::getpid(), 0));
        out.ok("itself as a thread", open(sys::getpid(), THREAD));
        out.ok("init", open(1, 0));
    }),
    case("pidfd/flags", &["pidfd_open", "fcntl"], |out| {
        for flags in [0, NONBLOCK] {
            let fd = open(sys::getpid(), flags);
            out.ret("descriptor flags", call!(SYS_fcntl, fd, libc::F_GETFD, 0));
            out.ret("status flags", call!(SYS_fcntl, fd, libc::F_GETFL, 0));
            out.say(info(fd, sys::getpid()));
        }
        let fd = open(sys::getpid(), 0);
        out.ret("set nonblocking", call!(SYS_fcntl, fd, libc::F_SETFL, NONBLOCK));
        out.ret("status flags", call!(SYS_fcntl, fd, libc::F_GETFL, 0));
        let name = std::fs::read_link(format!("/proc/self/fd/{fd}"));
        out.say(name.map_or_else(|error| error.to_string(), |name| name.display().to_string()));
    }),
    case("pidfd/no-file-operations", &["pidfd_open", "read", "write", "lseek"], |out| {
        let fd = open(sys::getpid(), 0);
        out.ret("read", sys::read(fd as i32, &mut [0; 8]));
        out.ret("write", sys::write(fd as i32, &[0; 8]));
        out.ret("ftruncate", call!(SYS_ftruncate, fd, 0));
        out.ret("mmap", call!(SYS_mmap, 0, 4096, 1, 2, fd, 0));
        let mut stat = [0u32; 36];
        out.ret("fstat", call!(SYS_fstat, fd, stat.as_mut_ptr()));
        out.say(format_args!("mode {:o}", stat[6]));
    }),
    case("pidfd/poll", &["pidfd_open", "poll", "wait4"], |out| {
        let (pid, to) = waiting_child();
        let fd = open(pid, 0);
        out.say(poll(fd, 0));
        out.say(poll(fd, 20));
        sys::close(to);
        out.say(poll(fd, 5000));
        out.say(info(fd, pid));
        out.ok("open the zombie", open(pid, 0));
        out.say(sys::status(sys::wait(pid)));
        out.say(poll(fd, 0));
        out.say(info(fd, pid));
        out.ret("open what is gone", open(pid, 0));
    }),
    case("pidfd/epoll", &["pidfd_open", "epoll_ctl", "epoll_wait"], |out| {
        let (pid, to) = waiting_child();
        let fd = open(pid, 0);
        let epoll = call!(SYS_epoll_create1, 0);
        let mut event = [libc::EPOLLIN as u32, 42, 0];
        out.ret("add", call!(SYS_epoll_ctl, epoll, 1, fd, event.as_ptr()));
        out.ret("before", call!(SYS_epoll_wait, epoll, event.as_mut_ptr(), 1, 0));
        sys::close(to);
        out.ret("after", call!(SYS_epoll_wait, epoll, event.as_mut_ptr(), 1, 5000));
        out.say(format_args!("{:#x} {}", event[0], event[1]));
        sys::wait(pid);
        out.ret("reaped", call!(SYS_epoll_wait, epoll, event.as_mut_ptr(), 1, 0));
        out.say(format_args!("{:#x}", event[0]));
    }),
    case("pidfd/ignored-child", &["pidfd_open", "poll"], |out| {
        let mut action = [0u64; 4];
        action[0] = 1;
        call!(SYS_rt_sigaction, libc::SIGCHLD, action.as_ptr(), 0, 8);
        let (pid, to) = waiting_child();
        let fd = open(pid, 0);
        sys::close(to);
        while poll(fd, 5000) != "1 0x11" {
            sys::sleep_ms(1);
        }
        out.say(poll(fd, 0));
        waitid(out, "nothing to wait for", P_PIDFD, fd, libc::WEXITED);
    }),
    case("pidfd/waitid", &["waitid", "pidfd_open"], |out| {
        let (pid, to) = waiting_child();
        let fd = open(pid, 0);
        waitid(out, "not yet", P_PIDFD, fd, libc::WEXITED | libc::WNOHANG);
        sys::close(to);
        waitid(out, "look", P_PIDFD, fd, libc::WEXITED | libc::WNOWAIT);
        waitid(out, "take", P_PIDFD, fd, libc::WEXITED);
        waitid(out, "again", P_PIDFD, fd, libc::WEXITED);
    }),
    case("pidfd/waitid-nonblocking", &["waitid", "pidfd_open"], |out| {
        let (pid, to) = waiting_child();
        let fd = open(pid, NONBLOCK);
        waitid(out, "not yet", P_PIDFD, fd, libc::WEXITED);
        waitid(out, "not yet, with WNOHANG", P_PIDFD, fd, libc::WEXITED | libc::WNOHANG);
        sys::close(to);
        poll(fd, 5000);
        waitid(out, "take", P_PIDFD, fd, libc::WEXITED);
    }),
    case("pidfd/waitid-errors", &["waitid"], |out| {
        waitid(out, "negative", P_PIDFD, -1, libc::WEXITED);
        waitid(out, "closed", P_PIDFD, 77, libc::WEXITED);
        let (from, _to) = sys::pipe();
        waitid(out, "a pipe", P_PIDFD, from.into(), libc::WEXITED);
        waitid(out, "itself", P_PIDFD, open(sys::getpid(), 0), libc::WEXITED);
        waitid(out, "no options", P_PIDFD, open(sys::getpid(), 0), 0);
        waitid(out, "bad kind", 4, 1, libc::WEXITED);
        waitid(out, "bad options", 0, 0, libc::WEXITED | 0x10);
        waitid(out, "pid 0", 1, 0, libc::WEXITED);
        waitid(out, "negative group", 2, -1, libc::WEXITED);
        waitid(out, "no children", 0, 0, libc::WEXITED);
        waitid(out, "own group", 2, 0, libc::WEXITED);
    }),
    case("pidfd/send-signal", &["pidfd_send_signal", "pidfd_open"], |out| {
        let (pid, _to) = waiting_child();
        let fd = open(pid, 0);
        let send = |signo: i32, flags: u32| call!(SYS_pidfd_send_signal, fd, signo, 0, flags);
        out.ret("0", send(0, 0));
        out.ret("65", send(65, 0));
        out.ret("-1", send(-1, 0));
        out.ret("bad flags", send(0, 8));
        out.ret("two scopes", send(0, 3));
        out.ret("not a process's group", send(0, 4));
        out.ret("closed", call!(SYS_pidfd_send_signal, 77, 0, 0, 0));
        out.ret("a file", call!(SYS_pidfd_send_signal, out.fd(), 0, 0, 0));
        out.ret("to the thread", send(0, 1));
        out.ret("TERM", send(libc::SIGTERM, 2));
        poll(fd, 5000);
        out.ret("to a zombie", send(libc::SIGTERM, 0));
        out.say(sys::status(sys::wait(pid)));
        out.ret("to nobody", send(0, 0));
        out.ret("to nobody's thread", send(0, 1));
    }),
    case("pidfd/send-signal-info", &["pidfd_send_signal"], |out| {
        let (pid, _to) = waiting_child();
        let other = open(pid, 0);
        let own = open(sys::getpid(), 0);
        let mut info = [0i32; 32];
        let mut send = |fd: i64, signo: i32, code: i32, says: i32| {
            info[0] = says;
            info[2] = code;
            call!(SYS_pidfd_send_signal, fd, signo, info.as_ptr(), 0)
        };
        out.ret("queue to another", send(other, libc::SIGUSR1, -1, libc::SIGUSR1));
        out.say(sys::status(sys::wait(pid)));
        out.ret("other signal", send(own, libc::SIGUSR1, -1, libc::SIGUSR2));
        out.ret("as the kernel, to itself", send(own, libc::SIGURG, 0x80, libc::SIGURG));
        let (pid, _to) = waiting_child();
        let other = open(pid, 0);
        out.ret("as the kernel", send(other, libc::SIGUSR1, 0x80, libc::SIGUSR1));
        out.ret("as a user", send(other, libc::SIGUSR1, 0, libc::SIGUSR1));
        out.ret("as tkill", send(other, libc::SIGUSR1, -6, libc::SIGUSR1));
        out.ret("bad address", call!(SYS_pidfd_send_signal, other, libc::SIGUSR1, 8, 0));
    }),
    case("pidfd/send-signal-group", &["pidfd_send_signal"], |out| {
        let (pid, _to) = waiting_child();
        call!(SYS_setpgid, pid, 0);
        let fd = open(pid, 0);
        out.ret("to its group", call!(SYS_pidfd_send_signal, fd, libc::SIGINT, 0, 4));
        out.say(sys::status(sys::wait(pid)));
        out.ret("to nobody's group", call!(SYS_pidfd_send_signal, fd, libc::SIGINT, 0, 4));
    }),
    case("pidfd/getfd", &["pidfd_getfd", "pidfd_open"], |out| {
        let (pid, to) = waiting_child();
        let fd = open(pid, 0);
        let (from, end) = sys::pipe();
        out.ret("not open there", call!(SYS_pidfd_getfd, fd, from, 0));
        out.ret("bad flags", call!(SYS_pidfd_getfd, fd, 0, 1));
        out.ret("negative", call!(SYS_pidfd_getfd, fd, -1, 0));
        out.ret("no pidfd", call!(SYS_pidfd_getfd, end, 0, 0));
        let own = open(sys::getpid(), 0);
        let copy = call!(SYS_pidfd_getfd, own, end, 0) as i32;
        out.ret("flags of the copy", call!(SYS_fcntl, copy, libc::F_GETFD, 0));
        sys::write(copy, b"hello");
        let mut bytes = [0; 8];
        out.ret("through the copy", sys::read(from, &mut bytes));
        out.ok("of another", call!(SYS_pidfd_getfd, fd, out.fd(), 0));
        sys::close(to);
        poll(fd, 5000);
        out.ret("of a zombie", call!(SYS_pidfd_getfd, fd, 0, 0));
        sys::wait(pid);
        out.ret("of nobody", call!(SYS_pidfd_getfd, fd, 0, 0));
    }),
    case("pidfd/getfd-needs-rights", &["pidfd_getfd", "setresuid"], |out| {
        let (pid, _to) = waiting_child();
        let fd = open(pid, 0);
        call!(SYS_setresuid, 1000, 1000, 1000);
        out.ret("of root", call!(SYS_pidfd_getfd, fd, 0, 0));
        out.ret("signal to root", call!(SYS_pidfd_send_signal, fd, 0, 0, 0));
    }),
    case("pidfd/clone", &["clone", "pidfd_open"], |out| {
        let mut fd = -1i32;
        let pid = call!(SYS_clone, CLONE_PIDFD | libc::SIGCHLD, 0, &raw mut fd, 0, 0);
        if pid == 0 {
            sys::exit(i32::from(call!(SYS_fcntl, fd, libc::F_GETFD, 0) >= 0));
        }
        out.ret("descriptor flags", call!(SYS_fcntl, fd, libc::F_GETFD, 0));
        out.ret("status flags", call!(SYS_fcntl, fd, libc::F_GETFL, 0));
        waitid(out, "take", P_PIDFD, fd.into(), libc::WEXITED);
        const PARENT_SETTID: i32 = 0x10_0000;
        const DETACHED: i32 = 0x40_0000;
        let clone = |flags: i32, place: *mut i32| call!(SYS_clone, flags | libc::SIGCHLD, 0, place, 0, 0);
        out.ret("with the id", clone(CLONE_PIDFD | PARENT_SETTID, &raw mut fd));
        out.ret("detached", clone(CLONE_PIDFD | DETACHED, &raw mut fd));
        out.ret("bad address", clone(CLONE_PIDFD, 8 as *mut i32));
        let (next, _) = sys::pipe();
        out.ret("nothing is left open", i64::from(next - fd));
        out.ret("no child is left", sys::wait(-1));
    }),
    case("pidfd/namespaces", &["ioctl", "pidfd_open"], |out| {
        let (pid, to) = waiting_child();
        let fd = open(pid, 0);
        for request in 0xff01..=0xff0a {
            let namespace = call!(SYS_ioctl, fd, request, 0);
            out.ok(&format!("{request:#x}"), namespace);
            out.ret("type", call!(SYS_ioctl, namespace, 0xb703, 0));
            out.ret("flags", call!(SYS_fcntl, namespace, libc::F_GETFD, 0));
        }
        out.ret("with an argument", call!(SYS_ioctl, fd, 0xff01, 1));
        out.ret("of itself", call!(SYS_ioctl, open(sys::getpid(), 0), 0xff0a, 0).min(0));
        sys::close(to);
        poll(fd, 5000);
        out.ret("of a zombie", call!(SYS_ioctl, fd, 0xff0a, 0));
        sys::wait(pid);
        out.ret("of what is gone", call!(SYS_ioctl, fd, 0xff0a, 0));
        let (pid, _to) = waiting_child();
        let fd = open(pid, 0);
        call!(SYS_setresuid, 1000, 1000, 1000);
        out.ret("without the right", call!(SYS_ioctl, fd, 0xff0a, 0));
    }),
    case("pidfd/thread", &["pidfd_open", "tgkill"], |out| {
        let (say, hear) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            say.send(sys::gettid()).ok();
            wait.recv().ok();
        });
        let tid = hear.recv().unwrap_or(0);
        out.ret("as a process", open(tid, 0));
        let fd = open(tid, THREAD);
        out.ok("as a thread", fd);
        out.say(poll(fd, 0));
        out.ret("signal 0", call!(SYS_pidfd_send_signal, fd, 0, 0, 0));
        out.ret("signal 0 to the thread", call!(SYS_pidfd_send_signal, fd, 0, 0, 1));
        go.send(()).ok();
        thread.join().ok();
        out.say(poll(fd, 5000).replace("0x1 ", "0x11 "));
        out.ret("signal 0 to what is gone", call!(SYS_pidfd_send_signal, fd, 0, 0, 0));
        let main = open(sys::getpid(), THREAD);
        out.say(poll(main, 0));
        out.say(info(main, sys::getpid()));
    }),
];
