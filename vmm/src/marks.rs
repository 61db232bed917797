//! What marks each descriptor among the events of the I/O thread. The numbers of the container's streams lie below.

/// The control socket.
pub(crate) const CONTROL: u64 = u64::MAX;
/// The socket that clients connect to.
pub(crate) const LISTENER: u64 = u64::MAX - 1;
/// The descriptor of signals.
pub(crate) const SIGNALS: u64 = u64::MAX - 2;
/// The network interface's socket.
pub(crate) const FRAMES: u64 = u64::MAX - 3;
/// The doorbell that the sentry rings for frames.
pub(crate) const DOORBELL: u64 = u64::MAX - 4;
/// Added to a client's number, it marks the client's socket.
pub(crate) const FIRST_CLIENT: u64 = 1 << 32;
