//! Wire types shared by the sentry and the VMM.
#![no_std]
