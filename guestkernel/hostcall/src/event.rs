//! What the host announces unasked.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The interrupt vector by which the VMM asks for the event page to be looked at (always on vCPU 0).
pub const EVENT_VECTOR: u8 = 0x40;

/// The interrupt vector by which KVM tells a vCPU that a page is there which ring 3 has missed.
pub const MISS_VECTOR: u8 = 0x41;

/// What KVM tells a vCPU about pages that the host does not have at hand (`struct kvm_vcpu_pv_apf_data` of Linux,
/// Documentation/virt/kvm/x86/msr.rst).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MissArea {
    /// Not zero: the page fault just raised is none, the host fetches the page. The sentry makes it zero.
    pub missing: u32,
    /// Not zero: the page is there. The sentry makes it zero.
    pub ready: u32,
    /// Unused.
    pub reserved: [u8; 56],
}

const _: () = assert!(size_of::<MissArea>() * crate::MAX_CPUS <= crate::PAGE_SIZE);

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
        /// Frames have come, or there is room for more.
        const NETWORK = 4;
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
