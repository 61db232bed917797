//! The sentry: a small Linux-ABI kernel that runs in guest ring 0.
//!
//! The library holds all of Linux's semantics and builds for the host too, where its logic is unit-tested;
//! `arch` alone touches the hardware and has a host double.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(any(test, not(target_os = "none")))]
extern crate std;

pub mod arch;
pub mod errno;
pub mod fs;
pub mod futex;
pub mod ipc;
pub mod mem;
pub mod mm;
pub mod net;
pub mod random;
pub mod seccomp;
pub mod signal;
pub mod sync;
pub mod syscall;
pub mod task;
pub mod time;
pub mod tty;
pub mod uio;
