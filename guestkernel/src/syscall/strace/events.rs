//! What calls wait for: poll, select, epoll.

use alloc::string::String;

use super::{
    call::{ARRAY_MAX, Call},
    names::{EPOLL_EVENTS, POLL_EVENTS},
    out, signals, structs,
};
use crate::arch::uaccess;

/// `struct pollfd`: descriptor, wanted, found.
fn parts(word: u64) -> (i32, u64, u64) {
    (word as i32, word >> 32 & 0xffff, word >> 48)
}

/// What `poll` is to wait for.
pub(super) fn wanted(call: &mut Call, addr: u64, count: u64) {
    call.array(addr, count, |call, word: &u64| {
        let (fd, events, _) = parts(*word);
        out!(call, "{{fd={fd}");
        if fd >= 0 {
            call.push(", events=");
            call.bits(events, &POLL_EVENTS);
        }
        call.push("}");
    });
}

/// A note made by `show`, which says whether there is one.
fn note(call: &mut Call, show: impl FnOnce(&mut Call)) {
    let before = call.take();
    show(call);
    call.note = call.take();
    call.push(&before);
}

/// What `poll` found, for behind the result.
pub(super) fn found(call: &mut Call, timeout: u64) {
    match call.ret {
        Some(0) => call.note = String::from("Timeout"),
        Some(1..) => note(call, |call| {
            call.push("[");
            let mut shown = 0;
            for index in 0..call.args[1].min(1024) {
                let Ok(word) = uaccess::get::<u64>(call.args[0].wrapping_add(index * 8)) else { break };
                let (fd, _, events) = parts(word);
                if events != 0 && fd >= 0 {
                    if shown == ARRAY_MAX {
                        call.push(", ...");
                        break;
                    }
                    out!(call, "{}{{fd={fd}, revents=", if shown == 0 { "" } else { ", " });
                    call.bits(events, &POLL_EVENTS);
                    call.push("}");
                    shown += 1;
                }
            }
            call.push("]");
            left(call, timeout, ", ");
        }),
        _ => {}
    }
}

/// The time that a call has left in its time-out, after something else.
fn left(call: &mut Call, timeout: u64, comma: &str) {
    if timeout != 0 {
        out!(call, "{comma}left ");
        let part = if call.nr == 23 { "tv_usec" } else { "tv_nsec" };
        call.value(timeout, |call, time: &[i64; 2]| structs::time(call, time, part));
    }
}

/// Descriptors of a set.
pub(super) fn descriptors(call: &mut Call, addr: u64) {
    let count = (call.args[0] as i32).clamp(0, 1024) as usize;
    let mut words = [0u64; 16];
    let all = &mut words[..count.div_ceil(64)];
    for (index, word) in all.iter_mut().enumerate() {
        match uaccess::get(addr.wrapping_add(index as u64 * 8)) {
            Ok(bits) if addr != 0 => *word = bits,
            _ => return call.addr(addr),
        }
    }
    call.push("[");
    let mut space = "";
    for fd in (0..count).filter(|fd| words[fd / 64] >> (fd % 64) & 1 != 0) {
        out!(call, "{space}{fd}");
        space = " ";
    }
    call.push("]");
}

/// What `select` found, for behind the result.
pub(super) fn selected(call: &mut Call) {
    match call.ret {
        Some(0) => call.note = String::from("Timeout"),
        Some(1..) => note(call, |call| {
            let mut comma = "";
            for (index, name) in [(1, "in"), (2, "out"), (3, "except")] {
                let before = call.take();
                descriptors(call, call.args[index]);
                let set = call.take();
                call.push(&before);
                if set.starts_with('[') && set != "[]" {
                    out!(call, "{comma}{name} {set}");
                    comma = ", ";
                }
            }
            left(call, call.args[4], comma);
        }),
        _ => {}
    }
}

/// The set of `pselect6` with its size.
pub(super) fn select_mask(call: &mut Call, addr: u64) {
    call.value(addr, |call, [set, size]: &[u64; 2]| {
        if *set == 0 {
            return call.push("NULL");
        }
        call.push("{sigmask=");
        signals::set(call, *set);
        out!(call, ", sigsetsize={size}}}");
    });
}

/// `struct epoll_event`, which is packed.
fn epoll(call: &mut Call, event: &[u32; 3]) {
    call.push("{events=");
    call.bits(u64::from(event[0]), &EPOLL_EVENTS);
    let data = u64::from(event[1]) | u64::from(event[2]) << 32;
    out!(call, ", data={{u32={}, u64={data}}}}}", event[1]);
}

/// The event of `epoll_ctl`, which a removal does not look at.
pub(super) fn epoll_event(call: &mut Call, addr: u64) {
    match call.args[1] {
        2 => call.addr(addr),
        _ => call.value(addr, epoll),
    }
}

/// What `epoll_wait` found.
pub(super) fn epoll_found(call: &mut Call, addr: u64) {
    match call.ret {
        Some(0) => call.push("[]"),
        Some(count @ 1..) => call.array(addr, count as u64, epoll),
        _ => call.addr(addr),
    }
}
