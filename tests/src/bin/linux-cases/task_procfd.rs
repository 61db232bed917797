//! A process's directory in `/proc` in the place of a pidfd.

use crate::{
    Case, case,
    files::open,
    sys::{self, call},
    task_pidfd::waiting_child,
};

const DIRECTORY: i32 = libc::O_RDONLY | libc::O_DIRECTORY;

fn send(fd: i32, signal: i32, flags: u32) -> i64 {
    call!(SYS_pidfd_send_signal, fd, signal, 0, flags)
}

pub(crate) const CASES: &[Case] = &[
    case("pidfd/proc-directory", &["pidfd_send_signal"], |out| {
        let (pid, _end) = waiting_child();
        let fd = open(&format!("/proc/{pid}"), DIRECTORY);
        out.ret("nothing", send(fd, 0, 0));
        out.ret("bad signal", send(fd, 99, 0));
        out.ret("bad flags", send(fd, 0, 8));
        out.ret("to the thread", send(fd, 0, 1));
        out.ret("to the process", send(fd, 0, 2));
        out.ret("kill", send(fd, libc::SIGKILL, 0));
        out.say(sys::status(sys::wait(pid)));
        out.ret("gone", send(fd, 0, 0));
        out.ret("gone, to the thread", send(fd, 0, 1));
    }),
    case("pidfd/proc-other-files", &["pidfd_send_signal", "pidfd_getfd", "setns"], |out| {
        let own = open("/proc/self", DIRECTORY);
        out.ret("itself", send(own, 0, 0));
        for name in
            ["/proc", "/proc/self/fd", "/proc/self/task", "/proc/self/status", "/tmp", "/proc/thread-self"]
        {
            out.ret(name, send(open(name, libc::O_RDONLY), 0, 0));
        }
        out.ret("a place", send(open("/proc/self", libc::O_PATH), 0, 0));
        out.ret("pidfd_getfd", call!(SYS_pidfd_getfd, own, 0, 0));
        out.ret("setns", call!(SYS_setns, own, libc::CLONE_NEWUTS));
        out.ret("waitid", call!(SYS_waitid, 3, own, 0, libc::WEXITED, 0));
    }),
];
