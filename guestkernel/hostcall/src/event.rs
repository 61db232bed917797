//! What the host announces unasked.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The interrupt vector by which the VMM asks for the event page to be looked at (always on vCPU 0).
pub const EVENT_VECTOR: u8 = 0x40;

/// Most streams of a sandbox; one bit each in [`EventPage::streams`].
pub const MAX_STREAMS: usize = 64;

bitflags::bitflags! {
    /// Bits of [`EventPage::flags`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EventFlags: u64 {
        /// A command waits for `TakeCommand`.
        const COMMAND = 1;
        /// [`EventPage::streams`] has bits set.
        const STREAM = 2;
    }
}

/// Shared page. The VMM sets bits with atomic or, then raises the interrupt; the sentry takes them with an
/// atomic swap to zero.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventPage {
    /// [`EventFlags`].
    pub flags: u64,
    /// One bit for each armed stream that has become ready.
    pub streams: u64,
}
