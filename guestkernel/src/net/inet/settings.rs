//! Settings of the network, as `/proc/sys/net` shows them.

use alloc::{format, string::String};
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::{
    arch::try_current,
    errno::{Errno, Result},
};

/// A number within limits.
#[derive(Debug)]
pub struct Setting {
    value: AtomicI64,
    low: i64,
    high: i64,
}

impl Setting {
    const fn new(value: i64, low: i64, high: i64) -> Self {
        Self { value: AtomicI64::new(value), low, high }
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.value.load(Ordering::Relaxed)
    }

    /// Sets it.
    ///
    /// # Errors
    /// `EINVAL` outside its limits.
    pub fn set(&self, value: i64) -> Result<()> {
        if !(self.low..=self.high).contains(&value) {
            return Err(Errno::EINVAL);
        }
        self.value.store(value, Ordering::Relaxed);
        Ok(())
    }
}

/// Most connections that may wait to be accepted.
pub static SOMAXCONN: Setting = Setting::new(4096, 0, i32::MAX as i64);
/// The first port that anybody may bind to.
pub static PORT_START: Setting = Setting::new(1024, 0, 65535);

/// Groups that may make ICMP echo sockets, the first in the upper half; by default nobody.
static PING_GROUPS: AtomicU64 = AtomicU64::new(1 << 32);

/// The groups that may make ICMP echo sockets, as a line.
#[must_use]
pub fn ping_groups() -> String {
    let word = PING_GROUPS.load(Ordering::Relaxed);
    format!("{}\t{}", word >> 32, word & 0xffff_ffff)
}

/// Sets them.
///
/// # Errors
/// `EINVAL`.
pub fn set_ping_groups(text: &str) -> Result<()> {
    let mut words = text.split_ascii_whitespace().map(str::parse::<u32>);
    let (Some(Ok(low)), Some(Ok(high))) = (words.next(), words.next()) else { return Err(Errno::EINVAL) };
    // A range that has no group in it lets nobody.
    let (low, high) = if high < low { (1, 0) } else { (low, high) };
    PING_GROUPS.store(u64::from(low) << 32 | u64::from(high), Ordering::Relaxed);
    Ok(())
}

/// Whether the caller may make an ICMP echo socket.
///
/// # Errors
/// `EACCES`.
pub fn check_ping_group() -> Result<()> {
    let word = PING_GROUPS.load(Ordering::Relaxed);
    let range = (word >> 32) as u32..=word as u32;
    let allowed = try_current().is_none_or(|me| {
        me.with_cred(|cred| {
            range.contains(&cred.egid) || cred.groups.as_slice().iter().any(|group| range.contains(group))
        })
    });
    if allowed { Ok(()) } else { Err(Errno::EACCES) }
}
