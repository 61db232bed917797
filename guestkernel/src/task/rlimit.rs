//! Resource limits.

/// A soft and a hard limit; `u64::MAX` = unlimited.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable,
)]
#[repr(C)]
pub struct Rlimit {
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// No limit.
pub const INFINITY: u64 = u64::MAX;
/// Number of limits.
pub const COUNT: usize = 16;

/// Limits by their number in Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "getrlimit(2) names them")]
#[repr(usize)]
pub enum Resource {
    Cpu,
    FileSize,
    Data,
    Stack,
    Core,
    Rss,
    Processes,
    OpenFiles,
    Memlock,
    AddressSpace,
    Locks,
    SigPending,
    MessageQueue,
    Nice,
    RealtimePriority,
    RealtimeTime,
}

/// All limits of a process.
#[derive(Clone, Copy, Debug)]
pub struct Rlimits(pub [Rlimit; COUNT]);

impl Default for Rlimits {
    fn default() -> Self {
        let both = |value| Rlimit { soft: value, hard: value };
        let free = both(INFINITY);
        let mut all = [free; COUNT];
        all[Resource::Stack as usize].soft = 8 << 20;
        all[Resource::Core as usize].soft = 0;
        all[Resource::Processes as usize] = both(30_000);
        all[Resource::OpenFiles as usize] = Rlimit { soft: 1024, hard: 1 << 20 };
        all[Resource::Memlock as usize] = both(8 << 20);
        all[Resource::SigPending as usize] = both(30_000);
        all[Resource::MessageQueue as usize] = both(819_200);
        all[Resource::Nice as usize] = both(0);
        all[Resource::RealtimePriority as usize] = both(0);
        Self(all)
    }
}
