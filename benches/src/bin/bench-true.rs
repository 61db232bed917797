//! The smallest static program of this crate's tool chain: what the `fork_exec_static` row runs.
#![cfg_attr(not(test), no_main)]

/// Ends at once.
#[cfg(not(test))]
#[unsafe(no_mangle)]
pub extern "C" fn main() -> libc::c_int {
    0
}
