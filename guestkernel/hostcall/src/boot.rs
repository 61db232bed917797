//! What the VMM tells the sentry at its first instruction.
//!
//! The sentry ELF is linked for a fixed higher-half address and is position independent
//! (`R_X86_64_RELATIVE` relocations only); the VMM picks a random slide, applies the relocations and builds
//! the first page tables: the image with its segments' rights (no page both writable and executable), and a
//! writable, non-executable direct map of all guest-physical memory, windows included. The first vCPU starts
//! at the ELF entry point in 64-bit mode, interrupts off, `rdi` = virtual address of [`BootInfo`], `rsi` = 0
//! (its index), `rsp` = the top of a boot stack of at least 32 KiB. Others start at the same place when asked for by `StartCpu`, with
//! `rsi` = their index and the stack that the call named.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BootInfo::magic`.
pub const BOOT_MAGIC: u64 = u64::from_le_bytes(*b"ringfnce");
/// Bumped whenever a shared layout changes.
pub const BOOT_VERSION: u32 = 1;
/// Most RAM regions.
pub const MAX_REGIONS: usize = 8;
/// Most vCPUs of a sandbox.
pub const MAX_CPUS: usize = 64;

/// A region of guest-physical RAM, page aligned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryRegion {
    /// Guest-physical start.
    pub start: u64,
    /// Length in bytes; 0 ends the list.
    pub len: u64,
}

bitflags::bitflags! {
    /// Bits of [`BootInfo::flags`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct BootFlags: u32 {
        /// Print every system call to the log as strace does.
        const STRACE = 1;
    }
}

/// One page of facts. All addresses are guest-physical unless they say otherwise.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BootInfo {
    /// [`BOOT_MAGIC`].
    pub magic: u64,
    /// [`BOOT_VERSION`].
    pub version: u32,
    /// [`BootFlags`].
    pub flags: u32,
    /// vCPUs that exist.
    pub cpus: u32,
    /// Log level, 0 off … 5 trace.
    pub log_level: u32,
    /// RAM.
    pub regions: [MemoryRegion; MAX_REGIONS],
    /// RAM below this address in the first region is taken (image, page tables, this page, call pages…);
    /// everything else in `regions` is free and reads as zero.
    pub free_start: u64,
    /// Virtual base of the direct map.
    pub direct_map: u64,
    /// Virtual address and length of the sentry image, and where it lies in RAM.
    pub image_virt: u64,
    /// Length of the image in bytes.
    pub image_len: u64,
    /// Its guest-physical start.
    pub image_phys: u64,
    /// `cpus` consecutive [`CallPage`](crate::CallPage)s.
    pub calls: u64,
    /// The [`EventPage`](crate::EventPage).
    pub events: u64,
    /// A [`MissArea`](crate::MissArea) for each vCPU. KVM writes them where it can.
    pub misses: u64,
    /// File windows: start and length of the region, page aligned, inside the direct map.
    pub window_start: u64,
    /// Length of the window region in bytes.
    pub window_len: u64,
    /// TSC frequency, kHz.
    pub tsc_khz: u64,
    /// Guest TSC value at which the two clocks below were read.
    pub tsc_base: u64,
    /// CLOCK_REALTIME at `tsc_base`, ns.
    pub realtime_ns: u64,
    /// CLOCK_MONOTONIC at `tsc_base`, ns; the sandbox's clock goes on from the host's.
    pub monotonic_ns: u64,
    /// XCR0 bits that KVM reports as supported.
    pub xcr0: u64,
    /// Random bytes for the sentry's generator. The sentry zeroes them after use.
    pub seed: [u8; 32],
}

const _: () = assert!(size_of::<BootInfo>() <= crate::PAGE_SIZE);
