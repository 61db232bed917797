//! Wire types shared by the two sides of the guest boundary.
//!
//! The sentry asks the VMM for the few things that it cannot make out of memory. A **hostcall** is a
//! fixed-layout request in the calling vCPU's [`CallPage`] followed by one `out` to [`HOSTCALL_PORT`]; the
//! vCPU thread serves it and re-enters the guest with the answer in the same page. What happens on the host
//! without being asked for (input on a terminal, a command from the runtime) is announced through the
//! [`EventPage`] and one interrupt on [`EVENT_VECTOR`].
//!
//! Everything here is plain data with a fixed layout. The receiving side treats every field as hostile.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod boot;
mod call;
mod event;
mod fs;
mod inspect;
mod net;
mod spec;

pub use boot::{BOOT_MAGIC, BOOT_VERSION, BootFlags, BootInfo, MAX_CPUS, MAX_REGIONS, MemoryRegion};
pub use call::{
    CALL_DATA_LEN, CallHeader, CallPage, HOSTCALL_PORT, Hostcall, IoRange, LOG_TRACE, MAX_GETATTRS,
    MAX_IO_RANGES, MAX_POPULATE, MAX_XATTR, READDIR_END,
};
pub use event::{EVENT_VECTOR, EventFlags, EventPage, MAX_STREAMS, MISS_VECTOR, MissArea};
pub use fs::{Attr, DirentHeader, FileSystemStat, SetAttr, SetAttrValid, Timespec};
pub use inspect::{CgroupLimits, Stats, ThreadInfo};
pub use net::{
    NET_ALIGN, NET_CHECKSUM_VALID, NET_CONSUMED, NET_CONSUMER_WAITS, NET_DOORBELL_PORT, NET_FRAME_MAX,
    NET_FROM_SENTRY, NET_GSO_TCP4, NET_GSO_TCP6, NET_HOST_HEADER, NET_LIST_MAX, NET_NAMES,
    NET_NEEDS_CHECKSUM, NET_PORT_INNER, NET_PORT_WIRE, NET_PRODUCED, NET_PRODUCER_WAITS, NET_RING, NET_SKIP,
    NET_TO_SENTRY, NetAddress, NetFrame, NetNames, NetRoute, NetworkSpec, net_record,
};
pub use spec::{
    Answer, Command, FilterSpec, MountKind, MountSpec, NodeSpec, OverlaySize, ProcessInfo, ProcessSpec,
    Recipient, Rlimit, RootSpec, SandboxSpec, decode_answer, decode_command, encode_answer, encode_command,
};

/// A VMM-issued name for a host object. Small, dense, reused after close; 0 is never valid.
pub type Handle = u32;

/// Page size of guest and host, bytes.
pub const PAGE_SIZE: usize = 4096;

/// The handle of the container's root directory, valid from the start.
pub const ROOT_HANDLE: Handle = 1;

/// Stream numbers of the first process's standard input, output and error.
pub const STDIO_STREAMS: [u32; 3] = [0, 1, 2];
