//! The names that `uname` tells. Each UTS namespace has its own.

use alloc::{sync::Arc, vec::Vec};

use super::{current, namespace::Identity};
use crate::sync::SpinLock;

/// The kernel's release; at least the Linux that programs expect today.
pub const RELEASE: &str = "6.12.0-ringfence";
/// The kernel's version.
pub const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC ringfence";
/// Longest node or domain name.
pub const NAME_MAX: usize = 64;

#[derive(Clone, Debug, Default)]
struct Names {
    host: Vec<u8>,
    domain: Vec<u8>,
}

/// A UTS namespace.
#[derive(Debug, Default)]
pub struct Uts {
    /// What it is.
    pub identity: Identity,
    names: SpinLock<Names>,
}

fn cut(name: &[u8]) -> Vec<u8> {
    name.get(..NAME_MAX).unwrap_or(name).to_vec()
}

impl Uts {
    /// The one that a sandbox starts with.
    #[must_use]
    pub const fn initial(identity: Identity) -> Self {
        Self { identity, names: SpinLock::new(Names { host: Vec::new(), domain: Vec::new() }) }
    }

    /// A copy with an identity of its own.
    #[must_use]
    pub fn copy(&self) -> Arc<Self> {
        let names = self.names.lock().clone();
        Arc::new(Self { identity: Identity::fresh(), names: SpinLock::new(names) })
    }

    /// Sets both names at the start.
    pub fn set_names(&self, host: &[u8], domain: &[u8]) {
        let domain = cut(if domain.is_empty() { b"(none)" } else { domain });
        *self.names.lock() = Names { host: cut(host), domain };
    }
}

/// Sets the node name of the caller's namespace.
pub fn set_hostname(name: Vec<u8>) {
    current().namespaces().uts.names.lock().host = name;
}

/// Sets the domain name of the caller's namespace.
pub fn set_domainname(name: Vec<u8>) {
    current().namespaces().uts.names.lock().domain = name;
}

/// The node name in the caller's namespace.
#[must_use]
pub fn hostname() -> Vec<u8> {
    current().namespaces().uts.names.lock().host.clone()
}

/// The domain name in the caller's namespace.
#[must_use]
pub fn domainname() -> Vec<u8> {
    current().namespaces().uts.names.lock().domain.clone()
}
