//! The VMM: KVM, guest memory, the hostcall server and the jail.
//!
//! A sandbox is one process, `ringfence sandbox FD`. The runtime starts it with [`spawn`]; its main is
//! [`sandbox_main`].

pub mod config;
mod spawn;

pub use spawn::{Control, SandboxFds, SandboxProcess, SandboxSettings, Tree, spawn, spawn_program};

/// Main of a sandbox process; `config_fd` is the number given as its argument. Never returns.
pub fn sandbox_main(config_fd: i32) -> ! {
    let _ = config_fd;
    std::process::exit(config::STATUS_FAILED)
}
