//! The `ringfence` program: OCI bundles, the life of a container as its callers see it, the doctor.
//!
//! Everything that a sandbox may touch is opened here, as the caller; the sandbox process is started with
//! those descriptors and nothing else.

mod bundle;
mod check;
mod cli;
mod commands;
mod mountpoints;
mod report;
mod run;
mod signals;
mod state;
mod timing;
mod translate;

/// Runs the program; gives its exit status.
#[must_use]
pub fn main() -> i32 {
    // The hidden form that a sandbox process is started with; before anything else, for it has its own needs.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == vmm::config::SANDBOX_ARGUMENT)
        && let Some(fd) = arguments.next().and_then(|fd| fd.to_str()?.parse().ok())
    {
        vmm::sandbox_main(fd);
    }
    cli::run()
}
