//! `linux-cases`: small experiments on the kernel's behaviour.
//!
//! Each case makes a few system calls and writes down what came of them: results, errors, and what it can see
//! of the effects, never addresses, times or process ids as such. The conformance program runs all of them on
//! Linux and then in ringfence; whatever they write must agree. A case runs in a process of its own, in an
//! empty directory of its own, in a process group that is killed after it.
#![allow(missing_docs, reason = "a program of the tests")]

mod acl;
mod bomb;
mod clock;
mod exec;
mod exec_caps;
mod exec_tools;
mod fallocate;
mod fcntl_async;
mod fcntl_owner;
mod files;
mod futex;
mod futex_pi;
mod handle;
mod harness;
mod holes;
mod inet;
mod inet_diag;
mod inet_tables;
mod inet_tcp;
mod inet_tcp_data;
mod inet_udp;
mod inotify;
mod lease;
mod lock;
mod memory;
mod memory_advise;
mod memory_change;
mod memory_copy;
mod memory_file;
mod memory_fork;
mod memory_map;
mod memory_memfd;
mod memory_race;
mod mm_pages;
mod mount;
mod mount_api;
mod mount_ns;
mod mount_share;
mod mount_tools;
mod mount_umount;
mod msg;
mod out;
mod perm;
mod process;
mod pty;
mod pty_jobs;
mod pty_line;
mod pty_tools;
mod rseq;
mod sched;
mod sem;
mod shm;
mod signal;
mod signal_calls;
mod signal_faults;
mod signalfd;
mod signals;
mod splice;
mod sys;
mod task_clone;
mod task_cred;
mod task_ns;
mod task_pidfd;
mod task_prctl;
mod task_procfd;
mod task_seccomp;
mod task_wait;
mod timer;
mod timer_posix;
mod tmpfile;
mod unix;
mod unix_datagram;
mod unix_pass;
mod unix_stream;
mod unix_wait;
mod vdso;
mod xattr;

pub(crate) use out::Out;

/// One experiment.
#[derive(Debug)]
pub(crate) struct Case {
    /// Its name, `family/what-it-shows`.
    pub(crate) name: &'static str,
    /// The system calls that it is about.
    pub(crate) calls: &'static [&'static str],
    /// Does it.
    pub(crate) run: fn(&mut Out),
}

/// A case, for the families' lists.
pub(crate) const fn case(name: &'static str, calls: &'static [&'static str], run: fn(&mut Out)) -> Case {
    Case { name, calls, run }
}

/// Every family.
pub(crate) const FAMILIES: &[&[Case]] = &[
    process::CASES,
    sched::CASES,
    futex::CASES,
    futex_pi::CASES,
    timer::CASES,
    timer_posix::CASES,
    clock::CASES,
    signal::CASES,
    signal_calls::CASES,
    signal_faults::CASES,
    signalfd::CASES,
    memory_map::CASES,
    memory_file::CASES,
    memory_change::CASES,
    memory_advise::CASES,
    memory_memfd::CASES,
    memory_fork::CASES,
    memory_copy::CASES,
    memory_race::CASES,
    unix::CASES,
    unix_stream::CASES,
    unix_datagram::CASES,
    unix_pass::CASES,
    unix_wait::CASES,
    mm_pages::CASES,
    task_pidfd::CASES,
    task_clone::CASES,
    task_wait::CASES,
    task_seccomp::CASES,
    task_prctl::CASES,
    task_cred::CASES,
    task_ns::CASES,
    vdso::CASES,
    exec::CASES,
    exec_caps::CASES,
    rseq::CASES,
    pty::CASES,
    pty_line::CASES,
    pty_jobs::CASES,
    xattr::CASES,
    acl::CASES,
    holes::CASES,
    inet::CASES,
    inet_tcp::CASES,
    inet_tcp_data::CASES,
    inet_udp::CASES,
    inet_diag::CASES,
    inet_tables::CASES,
    splice::CASES,
    fallocate::CASES,
    lock::CASES,
    task_procfd::CASES,
    mount::CASES,
    inotify::CASES,
    perm::CASES,
    mount_umount::CASES,
    mount_share::CASES,
    mount_api::CASES,
    mount_ns::CASES,
    msg::CASES,
    sem::CASES,
    shm::CASES,
    fcntl_async::CASES,
    fcntl_owner::CASES,
    lease::CASES,
    tmpfile::CASES,
    handle::CASES,
];

fn main() -> std::process::ExitCode {
    if std::env::var_os("CASE_SHOW").is_some() {
        std::process::exit(exec_tools::say_given());
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("list", _)) => harness::list(),
        Some(("document", _)) => harness::document(),
        Some(("run", names)) => harness::run(names),
        // What cases of exec start: see `sys::exec_self`.
        Some(("child", rest)) => std::process::exit(harness::child(rest)),
        _ => {
            eprintln!("usage: linux-cases list | document | run [NAME…]");
            return std::process::ExitCode::from(2);
        }
    }
    std::process::ExitCode::SUCCESS
}
