//! Why a sandbox could not be made or go on.

use rustix::io::Errno;

/// A failure of the VMM itself; the runtime gets its text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A KVM call failed.
    #[error("kvm: {what}: {source}")]
    Kvm {
        /// The call.
        what: &'static str,
        /// Its errno.
        source: std::io::Error,
    },
    /// Another system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Its errno.
        source: std::io::Error,
    },
    /// The sentry image is not what it should be.
    #[error("sentry image: {0}")]
    Image(String),
    /// The configuration cannot be served.
    #[error("sandbox configuration: {0}")]
    Config(String),
}

/// Gives a failing call its name.
pub(crate) trait Context<T> {
    /// Names a KVM call.
    fn kvm(self, what: &'static str) -> Result<T, Error>;
    /// Names another call.
    fn system(self, what: &'static str) -> Result<T, Error>;
}

impl<T> Context<T> for Result<T, kvm_ioctls::Error> {
    fn kvm(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|e| Error::Kvm { what, source: std::io::Error::from_raw_os_error(e.errno()) })
    }
    fn system(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|e| Error::System { what, source: std::io::Error::from_raw_os_error(e.errno()) })
    }
}

impl<T> Context<T> for Result<T, Errno> {
    fn kvm(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|e| Error::Kvm { what, source: e.into() })
    }
    fn system(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|e| Error::System { what, source: e.into() })
    }
}

impl<T> Context<T> for Result<T, std::io::Error> {
    fn kvm(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Kvm { what, source })
    }
    fn system(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::System { what, source })
    }
}
