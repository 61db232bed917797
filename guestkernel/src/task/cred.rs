//! Credentials: user and group ids, supplementary groups, capabilities.
//!
//! A task's credentials are an immutable value behind an `Arc`; changing them installs a new value. Threads
//! of a process change theirs one by one, as Linux has it (the C library keeps them in step).

use alloc::vec::Vec;

bitflags::bitflags! {
    /// A set of capabilities, numbered as `linux/capability.h` does.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Caps: u64 {
        /// Change file owners.
        const CHOWN = 1 << 0;
        /// Ignore file permissions.
        const DAC_OVERRIDE = 1 << 1;
        /// Ignore read and search permissions.
        const DAC_READ_SEARCH = 1 << 2;
        /// Act as the owner of any file.
        const FOWNER = 1 << 3;
        /// Keep set-id bits.
        const FSETID = 1 << 4;
        /// Signal anybody.
        const KILL = 1 << 5;
        /// Change group ids.
        const SETGID = 1 << 6;
        /// Change user ids.
        const SETUID = 1 << 7;
        /// Change capability sets.
        const SETPCAP = 1 << 8;
        /// Change immutable files.
        const LINUX_IMMUTABLE = 1 << 9;
        /// Bind low ports.
        const NET_BIND_SERVICE = 1 << 10;
        /// Administer the network.
        const NET_ADMIN = 1 << 12;
        /// Raw sockets.
        const NET_RAW = 1 << 13;
        /// Lock memory.
        const IPC_LOCK = 1 << 14;
        /// Own any IPC object.
        const IPC_OWNER = 1 << 15;
        /// Load modules.
        const SYS_MODULE = 1 << 16;
        /// Use I/O ports.
        const SYS_RAWIO = 1 << 17;
        /// Change root.
        const SYS_CHROOT = 1 << 18;
        /// Trace anybody.
        const SYS_PTRACE = 1 << 19;
        /// Configure process accounting.
        const SYS_PACCT = 1 << 20;
        /// Administer the system.
        const SYS_ADMIN = 1 << 21;
        /// Reboot.
        const SYS_BOOT = 1 << 22;
        /// Raise priorities.
        const SYS_NICE = 1 << 23;
        /// Exceed limits.
        const SYS_RESOURCE = 1 << 24;
        /// Set clocks.
        const SYS_TIME = 1 << 25;
        /// Configure terminals.
        const SYS_TTY_CONFIG = 1 << 26;
        /// Make device nodes.
        const MKNOD = 1 << 27;
        /// Read the kernel's log.
        const SYSLOG = 1 << 34;
        /// Checkpoint and restore.
        const CHECKPOINT_RESTORE = 1 << 40;
        /// Every capability that exists (0 to `CAP_CHECKPOINT_RESTORE`).
        const ALL = (1 << 41) - 1;
        /// Arm timers that wake the machine.
        const WAKE_ALARM = 1 << 35;
    }
}

/// Number of the last capability.
pub const CAP_LAST: u64 = 40;

/// Who a task is.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "credentials(7) names them")]
pub struct Cred {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Vec<u32>,
    pub effective: Caps,
    pub permitted: Caps,
    pub inheritable: Caps,
    pub bounding: Caps,
    pub ambient: Caps,
    /// `SECBIT_*`.
    pub securebits: u32,
}

/// `SECBIT_NOROOT`.
pub const SECBIT_NOROOT: u32 = 1;
/// `SECBIT_NO_SETUID_FIXUP`.
pub const SECBIT_NO_SETUID_FIXUP: u32 = 1 << 2;
/// `SECBIT_KEEP_CAPS`.
pub const SECBIT_KEEP_CAPS: u32 = 1 << 4;
/// `SECBIT_NO_CAP_AMBIENT_RAISE`.
pub const SECBIT_NO_CAP_AMBIENT_RAISE: u32 = 1 << 6;

impl Default for Cred {
    /// Root with every capability.
    fn default() -> Self {
        Self {
            uid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            gid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            groups: Vec::new(),
            effective: Caps::ALL,
            permitted: Caps::ALL,
            inheritable: Caps::empty(),
            bounding: Caps::ALL,
            ambient: Caps::empty(),
            securebits: 0,
        }
    }
}

impl Cred {
    /// Whether the capability is effective.
    #[must_use]
    pub const fn capable(&self, cap: Caps) -> bool {
        self.effective.contains(cap)
    }

    /// Whether the file-system group id or a supplementary group is `gid`.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }

    /// Whether the effective group id or a supplementary group is `gid`.
    #[must_use]
    pub fn in_egroup(&self, gid: u32) -> bool {
        self.egid == gid || self.groups.contains(&gid)
    }

    /// What changing user ids does to capabilities: losing the last root id clears them, unless kept; the
    /// effective set follows the effective id.
    pub fn fix_caps_after_setuid(&mut self, old: &Self) {
        if self.securebits & SECBIT_NO_SETUID_FIXUP != 0 {
            return;
        }
        let was_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
        let is_root = self.uid == 0 || self.euid == 0 || self.suid == 0;
        if was_root && !is_root {
            if self.securebits & SECBIT_KEEP_CAPS == 0 {
                self.permitted = Caps::empty();
                self.effective = Caps::empty();
            }
            self.ambient = Caps::empty();
        }
        if old.euid == 0 && self.euid != 0 {
            self.effective = Caps::empty();
        } else if old.euid != 0 && self.euid == 0 {
            self.effective = self.permitted;
        }
    }

    /// What changing the file-system user id does to capabilities.
    pub fn fix_caps_after_setfsuid(&mut self, old: &Self) {
        let of_files = Caps::CHOWN
            | Caps::DAC_OVERRIDE
            | Caps::DAC_READ_SEARCH
            | Caps::FOWNER
            | Caps::FSETID
            | Caps::LINUX_IMMUTABLE
            | Caps::MKNOD;
        if self.securebits & SECBIT_NO_SETUID_FIXUP != 0 {
            return;
        }
        if old.fsuid == 0 && self.fsuid != 0 {
            self.effective &= !of_files;
        } else if old.fsuid != 0 && self.fsuid == 0 {
            self.effective |= self.permitted & of_files;
        }
    }

    /// The credentials after exec of a file whose set-user-id and set-group-id owners are given, if those
    /// bits count.
    #[must_use]
    pub fn after_exec(&self, setuid: Option<u32>, setgid: Option<u32>) -> Self {
        let mut new = self.clone();
        if let Some(uid) = setuid {
            new.euid = uid;
        }
        if let Some(gid) = setgid {
            new.egid = gid;
        }
        let changed = new.euid != self.euid || new.egid != self.egid;
        if changed {
            new.ambient = Caps::empty();
        }
        let by_root = self.securebits & SECBIT_NOROOT == 0 && (new.euid == 0 || new.uid == 0);
        if by_root {
            new.permitted = self.inheritable | self.bounding;
            new.effective = if new.euid == 0 { new.permitted } else { new.ambient };
        } else {
            new.permitted = new.ambient;
            new.effective = new.ambient;
        }
        new.suid = new.euid;
        new.fsuid = new.euid;
        new.sgid = new.egid;
        new.fsgid = new.egid;
        new.securebits &= !SECBIT_KEEP_CAPS;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32) -> Cred {
        Cred { uid, euid: uid, suid: uid, fsuid: uid, ..Cred::default() }
    }

    #[test]
    fn leaving_root_clears_capabilities() {
        let old = Cred::default();
        let mut new = user(1000);
        new.fix_caps_after_setuid(&old);
        assert!(new.permitted.is_empty() && new.effective.is_empty());
        let mut kept = Cred { securebits: SECBIT_KEEP_CAPS, ..user(1000) };
        kept.fix_caps_after_setuid(&old);
        assert_eq!(kept.permitted, Caps::ALL);
        assert!(kept.effective.is_empty());
    }

    #[test]
    fn exec_by_a_user_drops_all_but_ambient() {
        let cred = Cred { ambient: Caps::NET_RAW, ..user(1000) };
        let after = cred.after_exec(None, None);
        assert_eq!((after.permitted, after.effective), (Caps::NET_RAW, Caps::NET_RAW));
        let root = cred.after_exec(Some(0), None);
        assert_eq!(root.effective, Caps::ALL);
        assert!(root.ambient.is_empty());
    }
}
