//! There is no host on the other side, unless a test installs one.

use core::cell::RefCell;
use hostcall::Hostcall;
use std::boxed::Box;

use crate::errno::{Errno, Result};

/// A test's VMM: takes number, arguments and input, fills the output.
pub type Server = Box<dyn FnMut(Hostcall, [u64; 6], &[u8], &mut [u8]) -> i64>;

std::thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// Serves this thread's hostcalls.
pub fn install(server: Server) {
    SERVER.with(|slot| *slot.borrow_mut() = Some(server));
}

/// A call without data.
///
/// # Errors
/// What the host answers.
pub fn call(nr: Hostcall, args: [u64; 6]) -> Result<u64> {
    call_data(nr, args, &[], &mut [])
}

/// A call with data in and out. Bytes past the call's own output are unspecified.
///
/// # Errors
/// What the host answers; `E2BIG` when the input does not fit.
pub fn call_data(nr: Hostcall, args: [u64; 6], input: &[&[u8]], output: &mut [u8]) -> Result<u64> {
    let input = input.concat();
    let ret = SERVER.with(|slot| match &mut *slot.borrow_mut() {
        Some(server) => server(nr, args, &input, output),
        None => -38,
    });
    if ret < 0 { Err(Errno::from_host(ret)) } else { Ok(ret as u64) }
}

/// There is no thread that moves frames.
pub const fn ring_network() {}

/// Takes what the host announced: event flags, ready streams.
#[must_use]
pub fn take_events() -> (u64, u64) {
    (0, 0)
}
