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
mod oom;
mod overlay;
mod report;
mod resources;
mod seccomp;
mod signals;
mod streams;
mod timing;
mod translate;

/// Runs the program; gives its exit status.
#[must_use]
pub fn main() -> i32 {
    // The hidden forms that a sandbox process and who stands for a process are started in; before anything else, for it
    // has its own needs. Their arguments are those of the process that they run or stand for.
    if let Some(fd) = std::env::var_os(vmm::config::SANDBOX_VARIABLE)
        && let Some(fd) = fd.to_str().and_then(|fd| fd.parse().ok())
    {
        vmm::sandbox_main(fd);
    }
    if std::env::var_os(exec::ATTEND_VARIABLE).is_some() {
        return exec::attend();
    }
    if let Some(directory) = std::env::var_os(oom::STAND_IN_VARIABLE) {
        return oom::stand_in(directory.into());
    }
    if let Some(directory) = std::env::var_os(oom::VICTIM_VARIABLE) {
        return oom::victim(directory.as_ref());
    }
    cli::run()
}
