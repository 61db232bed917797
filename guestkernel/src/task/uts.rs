//! The names that `uname` tells.

use alloc::vec::Vec;

use crate::sync::SpinLock;

/// The kernel's release; at least the Linux that programs expect today.
pub const RELEASE: &str = "6.12.0-ringfence";
/// The kernel's version.
pub const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC ringfence";
/// Longest node or domain name.
pub const NAME_MAX: usize = 64;

struct Names {
    host: Vec<u8>,
    domain: Vec<u8>,
}

static NAMES: SpinLock<Names> = SpinLock::new(Names { host: Vec::new(), domain: Vec::new() });

fn cut(name: &[u8]) -> Vec<u8> {
    name.get(..NAME_MAX).unwrap_or(name).to_vec()
}

/// Sets both names at the start.
pub fn set_names(host: &[u8], domain: &[u8]) {
    set_hostname(cut(host));
    set_domainname(cut(if domain.is_empty() { b"(none)" } else { domain }));
}

/// Sets the node name.
pub fn set_hostname(name: Vec<u8>) {
    NAMES.lock().host = name;
}

/// Sets the domain name.
pub fn set_domainname(name: Vec<u8>) {
    NAMES.lock().domain = name;
}

/// The node name.
#[must_use]
pub fn hostname() -> Vec<u8> {
    NAMES.lock().host.clone()
}

/// The domain name.
#[must_use]
pub fn domainname() -> Vec<u8> {
    NAMES.lock().domain.clone()
}
