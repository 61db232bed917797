//! The `ringfence` program: OCI bundles, the life of a container as its callers see it, the doctor.
//!
//! Everything that a sandbox may touch is opened here, as the caller; the sandbox process is started with
//! those descriptors and nothing else.

mod bundle;
mod cgroup;
mod check;
mod cli;
mod commands;
mod console;
mod container;
mod exec;
mod failure;
mod hooks;
mod launch;
mod mountpoints;
mod network;
mod report;
mod resources;
mod signals;
mod streams;
mod timing;
mod translate;

/// Runs the program; gives its exit status.
#[must_use]
pub fn main() -> i32 {
    // The hidden forms that a sandbox process and who stands for a process are started with; before anything else, for it has its own needs.
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    if first.as_ref().is_some_and(|first| first == vmm::config::SANDBOX_ARGUMENT)
        && let Some(fd) = arguments.next().and_then(|fd| fd.to_str()?.parse().ok())
    {
        vmm::sandbox_main(fd);
    }
    if first.is_some_and(|first| first == exec::ATTEND_ARGUMENT) && arguments.next().is_none() {
        return exec::attend();
    }
    cli::run()
}
