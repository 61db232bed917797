//! What clone(2) and clone3(2) are asked for.

use super::{super::current, check_namespaces};
use crate::{
    errno::{Errno, Result},
    signal::SIGCHLD,
};

bitflags::bitflags! {
    /// `CLONE_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u64 {
        /// Share memory.
        const VM = 0x100;
        /// Share root, working directory and mask.
        const FS = 0x200;
        /// Share descriptors.
        const FILES = 0x400;
        /// Share signal actions.
        const SIGHAND = 0x800;
        /// Make a descriptor of the child.
        const PIDFD = 0x1000;
        /// Trace the child too.
        const PTRACE = 0x2000;
        /// Wait until the child lets go of the memory.
        const VFORK = 0x4000;
        /// Be a sibling.
        const PARENT = 0x8000;
        /// Be a thread of the group.
        const THREAD = 0x1_0000;
        /// New mount namespace.
        const NEWNS = 0x2_0000;
        /// Share semaphore undo values.
        const SYSVSEM = 0x4_0000;
        /// Set the base of FS.
        const SETTLS = 0x8_0000;
        /// Store the id in the parent's memory.
        const PARENT_SETTID = 0x10_0000;
        /// Clear the id and wake at the end.
        const CHILD_CLEARTID = 0x20_0000;
        /// Nothing any more.
        const DETACHED = 0x40_0000;
        /// Never traced.
        const UNTRACED = 0x80_0000;
        /// Store the id in the child's memory.
        const CHILD_SETTID = 0x100_0000;
        /// New cgroup namespace.
        const NEWCGROUP = 0x200_0000;
        /// New UTS namespace.
        const NEWUTS = 0x400_0000;
        /// New IPC namespace.
        const NEWIPC = 0x800_0000;
        /// New user namespace.
        const NEWUSER = 0x1000_0000;
        /// New PID namespace.
        const NEWPID = 0x2000_0000;
        /// New network namespace.
        const NEWNET = 0x4000_0000;
        /// Share the I/O context.
        const IO = 0x8000_0000;
        /// Default signal actions.
        const CLEAR_SIGHAND = 0x1_0000_0000;
        /// Start in another cgroup.
        const INTO_CGROUP = 0x2_0000_0000;
        /// New time namespace.
        const NEWTIME = 0x80;
        /// All that make namespaces.
        const NAMESPACES = Self::NEWNS.bits() | Self::NEWCGROUP.bits() | Self::NEWUTS.bits()
            | Self::NEWIPC.bits() | Self::NEWUSER.bits() | Self::NEWPID.bits() | Self::NEWNET.bits();
    }
}

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct CloneArgs {
    /// What is shared.
    pub flags: Flags,
    /// Stack pointer of the child, 0 = the parent's.
    pub stack: u64,
    /// Where the id goes in the parent's memory.
    pub parent_tid: u64,
    /// Where the id goes in the child's memory, or what is cleared at its end.
    pub child_tid: u64,
    /// Base of FS.
    pub tls: u64,
    /// Signal to the parent at the child's end; 0 = none.
    pub exit_signal: u32,
    /// Where the descriptor of the child goes in the parent's memory.
    pub pidfd: u64,
    /// The id that the child is to have.
    pub wanted_tid: Option<i32>,
    /// Descriptor of the cgroup to start in.
    pub cgroup: i32,
}

impl CloneArgs {
    /// fork(2).
    #[must_use]
    pub const fn fork() -> Self {
        Self {
            flags: Flags::empty(),
            stack: 0,
            parent_tid: 0,
            child_tid: 0,
            tls: 0,
            exit_signal: SIGCHLD,
            pidfd: 0,
            wanted_tid: None,
            cgroup: -1,
        }
    }

    /// Refuses the combinations that Linux refuses.
    ///
    /// # Errors
    /// `EINVAL`; `EPERM` for namespaces without the right.
    pub fn check(&self) -> Result<()> {
        let flags = self.flags;
        let needs = |have: Flags, need: Flags| !flags.contains(have) || flags.contains(need);
        let excludes = |one: Flags, other: Flags| !(flags.contains(one) && flags.intersects(other));
        let valid = needs(Flags::THREAD, Flags::SIGHAND)
            && needs(Flags::SIGHAND, Flags::VM)
            && excludes(Flags::NEWNS, Flags::FS)
            && excludes(Flags::NEWUSER, Flags::FS)
            && excludes(Flags::THREAD, Flags::NEWUSER | Flags::NEWPID)
            && excludes(Flags::NEWIPC, Flags::SYSVSEM)
            && excludes(Flags::CLEAR_SIGHAND, Flags::SIGHAND)
            && excludes(Flags::PIDFD, Flags::DETACHED);
        if !valid {
            return Err(Errno::EINVAL);
        }
        check_namespaces(flags)?;
        // The first process cannot have siblings.
        if flags.contains(Flags::PARENT) && current().process.pid == 1 {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flags: Flags) -> Result<()> {
        CloneArgs { flags, ..CloneArgs::fork() }.check()
    }

    #[test]
    fn invalid_combinations_are_refused() {
        assert_eq!(check(Flags::empty()), Ok(()));
        assert_eq!(check(Flags::THREAD), Err(Errno::EINVAL));
        assert_eq!(check(Flags::SIGHAND), Err(Errno::EINVAL));
        assert_eq!(check(Flags::SIGHAND | Flags::VM | Flags::CLEAR_SIGHAND), Err(Errno::EINVAL));
        assert_eq!(check(Flags::NEWNS | Flags::FS), Err(Errno::EINVAL));
        let pthread = Flags::VM | Flags::FS | Flags::FILES | Flags::SIGHAND | Flags::THREAD | Flags::SYSVSEM;
        assert_eq!(check(pthread | Flags::SETTLS | Flags::PARENT_SETTID | Flags::CHILD_CLEARTID), Ok(()));
        assert_eq!(check(Flags::VM | Flags::VFORK), Ok(()));
    }
}
