//! The sentry: a small Linux-ABI kernel for guest ring 0.
#![cfg_attr(target_os = "none", no_std)]
