//! Namespaces: which instance of a global thing a task sees.
//!
//! UTS, IPC, cgroup and mount namespaces can be made anew. Of networks, ids, users and clocks a sandbox has one each,
//! which shows in `/proc/PID/ns` all the same.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{clone::Flags, uts::Uts};
use crate::{
    errno::Result,
    fs::{FsContext, mount},
    ipc,
    sync::Once,
};

/// What a namespace is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The view of the tree of cgroups.
    Cgroup,
    /// System V and POSIX IPC.
    Ipc,
    /// Mounts.
    Mount,
    /// Network.
    Network,
    /// Process ids.
    Pid,
    /// Clocks.
    Time,
    /// Users and groups.
    User,
    /// Names of the system.
    Uts,
}

impl Kind {
    /// Its name in `/proc/PID/ns`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Mount => "mnt",
            Self::Network => "net",
            Self::Pid => "pid",
            Self::Time => "time",
            Self::User => "user",
            Self::Uts => "uts",
        }
    }

    /// The flag that makes one.
    #[must_use]
    pub const fn flag(self) -> Flags {
        match self {
            Self::Cgroup => Flags::NEWCGROUP,
            Self::Ipc => Flags::NEWIPC,
            Self::Mount => Flags::NEWNS,
            Self::Network => Flags::NEWNET,
            Self::Pid => Flags::NEWPID,
            Self::Time => Flags::NEWTIME,
            Self::User => Flags::NEWUSER,
            Self::Uts => Flags::NEWUTS,
        }
    }

    /// The number of the one that a sandbox starts with.
    const fn initial(self) -> u64 {
        match self {
            Self::Cgroup => 0xefff_fffb,
            Self::Ipc => 0xefff_ffff,
            Self::Mount => 0xf000_0001,
            Self::Network => 0xf000_0000,
            Self::Pid => 0xefff_fffc,
            Self::Time => 0xefff_fffa,
            Self::User => 0xefff_fffd,
            Self::Uts => 0xefff_fffe,
        }
    }
}

/// Namespaces that can be made anew.
pub const NEW: Flags = Flags::NEWUTS.union(Flags::NEWIPC).union(Flags::NEWCGROUP).union(Flags::NEWNS);

/// What tells a namespace from others: its inode number.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Identity(u64);

impl Identity {
    /// One that no other has.
    #[must_use]
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0xf000_0100);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// That of the mounts which a sandbox starts with.
    #[must_use]
    pub const fn initial_mounts() -> Self {
        Self(Kind::Mount.initial())
    }

    /// The number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.0
    }
}

/// What a task sees.
#[derive(Clone, Debug)]
pub struct Namespaces {
    /// Names of the system.
    pub uts: Arc<Uts>,
    /// IPC objects.
    pub ipc: Arc<ipc::Namespace>,
    /// The root of the tree of cgroups.
    pub cgroup: Arc<Identity>,
    /// Mounts.
    pub mounts: Arc<mount::Namespace>,
}

/// Those that a sandbox starts with.
#[must_use]
pub fn initial() -> Arc<Namespaces> {
    static INITIAL: Once<Arc<Namespaces>> = Once::new();
    let make = || {
        Arc::new(Namespaces {
            uts: Arc::new(Uts::initial(Identity(Kind::Uts.initial()))),
            ipc: Arc::new(ipc::Namespace::new(Identity(Kind::Ipc.initial()))),
            cgroup: Arc::new(Identity(Kind::Cgroup.initial())),
            mounts: mount::Namespace::empty(),
        })
    };
    INITIAL.call_once(make).clone()
}

impl Namespaces {
    /// With other mounts.
    #[must_use]
    pub fn with_mounts(&self, mounts: Arc<mount::Namespace>) -> Arc<Self> {
        Arc::new(Self { mounts, ..self.clone() })
    }

    /// With new ones where `flags` say so. `fs` moves to the new mounts.
    ///
    /// # Errors
    /// `ENOSPC`: there are too many mounts.
    pub fn unshare(&self, flags: Flags, fs: &FsContext) -> Result<Arc<Self>> {
        let mut new = self.clone();
        if flags.contains(Flags::NEWNS) {
            new.mounts = fs.copy_namespace(&self.mounts)?;
        }
        if flags.contains(Flags::NEWUTS) {
            new.uts = self.uts.copy();
        }
        if flags.contains(Flags::NEWIPC) {
            new.ipc = Arc::new(ipc::Namespace::new(Identity::fresh()));
        }
        if flags.contains(Flags::NEWCGROUP) {
            new.cgroup = Arc::new(Identity::fresh());
        }
        Ok(Arc::new(new))
    }

    /// With the one of `kind` that `from` has.
    #[must_use]
    pub fn join(&self, kind: Kind, from: &Self) -> Arc<Self> {
        let mut new = self.clone();
        match kind {
            Kind::Uts => new.uts = from.uts.clone(),
            Kind::Ipc => new.ipc = from.ipc.clone(),
            Kind::Cgroup => new.cgroup = from.cgroup.clone(),
            Kind::Mount => new.mounts = from.mounts.clone(),
            Kind::Network | Kind::Pid | Kind::Time | Kind::User => {}
        }
        Arc::new(new)
    }

    /// The number of the one of `kind`.
    #[must_use]
    pub fn number(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Uts => self.uts.identity.number(),
            Kind::Ipc => self.ipc.identity.number(),
            Kind::Cgroup => self.cgroup.number(),
            Kind::Mount => self.mounts.identity.number(),
            _ => kind.initial(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unshared_has_a_number_of_its_own() {
        let first = initial();
        let fs = FsContext::new(&first.mounts);
        let second = first.unshare(Flags::NEWUTS | Flags::NEWIPC, &fs).expect("no mounts");
        for kind in [Kind::Uts, Kind::Ipc] {
            assert_ne!(first.number(kind), second.number(kind));
        }
        for kind in [Kind::Cgroup, Kind::Mount, Kind::Pid] {
            assert_eq!(first.number(kind), second.number(kind));
        }
        let third = second.join(Kind::Uts, &first);
        assert_eq!(third.number(Kind::Uts), first.number(Kind::Uts));
        assert_eq!(third.number(Kind::Ipc), second.number(Kind::Ipc));
    }
}
