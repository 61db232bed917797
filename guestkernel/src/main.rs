//! The sentry image's entry; all code is in the library.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
use guestkernel as _;

#[cfg(not(target_os = "none"))]
fn main() {}
