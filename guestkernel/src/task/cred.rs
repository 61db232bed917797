//! Credentials: user and group ids, supplementary groups, capabilities.
//!
//! A task's credentials are an immutable value behind an `Arc`; changing them installs a new value. Threads
//! of a process change theirs one by one, as Linux has it (the C library keeps them in step).

use alloc::vec::Vec;

use crate::errno::{Errno, Result};

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
        /// Take leases on anybody's files.
        const LEASE = 1 << 28;
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

    /// The credentials after exec of a file, and whether they are more than the caller's ("Transformation of
    /// capabilities during execve()" of capabilities(7)).
    ///
    /// # Errors
    /// `EPERM` when the bounding set withholds what a program needs that does not know of capabilities.
    pub fn after_exec(&self, file: &ExecFile) -> Result<AfterExec> {
        let mut new = self.clone();
        new.euid = file.setuid.unwrap_or(new.euid);
        new.egid = file.setgid.unwrap_or(new.egid);
        let (mut permitted, mut effective) = (Caps::empty(), false);
        if let Some(caps) = file.caps {
            permitted = self.bounding & caps.permitted | self.inheritable & caps.inheritable;
            effective = caps.effective;
            if effective && !permitted.contains(caps.permitted) {
                return Err(Errno::EPERM);
            }
        }
        // A file with capabilities that makes another user root gives that user its capabilities and no more.
        let mixed = file.caps.is_some() && new.uid != 0 && new.euid == 0;
        if self.securebits & SECBIT_NOROOT == 0 && (new.uid == 0 || new.euid == 0) && !mixed {
            permitted = self.bounding | self.inheritable;
            effective |= new.euid == 0;
        }
        let other_ids = new.euid != self.uid || new.egid != self.gid;
        let gained = !self.permitted.contains(permitted);
        if file.no_new_privs && (other_ids || gained) {
            (new.euid, new.egid) = (new.uid, new.gid);
            permitted &= self.permitted;
        }
        (new.suid, new.fsuid) = (new.euid, new.euid);
        (new.sgid, new.fsgid) = (new.egid, new.egid);
        if file.caps.is_some() || other_ids {
            new.ambient = Caps::empty();
        }
        new.permitted = permitted | new.ambient;
        new.effective = if effective { new.permitted } else { new.ambient };
        new.securebits &= !SECBIT_KEEP_CAPS;
        let grown = effective || !new.ambient.contains(new.permitted);
        Ok(AfterExec { secure: other_ids || new.uid != 0 && grown, gained, cred: new })
    }
}

/// What a file that is executed says of privileges, as far as it counts where it lies.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExecFile {
    /// Owner by whose set-user-id bit it runs.
    pub setuid: Option<u32>,
    /// Group by whose set-group-id bit it runs.
    pub setgid: Option<u32>,
    /// Its capabilities.
    pub caps: Option<FileCaps>,
    /// The caller may not gain privileges.
    pub no_new_privs: bool,
}

/// See [`Cred::after_exec`].
#[derive(Clone, Debug)]
pub struct AfterExec {
    /// What the program runs with.
    pub cred: Cred,
    /// More than its caller (`AT_SECURE`).
    pub secure: bool,
    /// More capabilities than its caller.
    pub gained: bool,
}

/// A file's capabilities (capabilities(7), "File capabilities").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCaps {
    permitted: Caps,
    inheritable: Caps,
    effective: bool,
}

impl FileCaps {
    /// Decodes `security.capability`, a `struct vfs_cap_data`; `None` for those of another user namespace.
    ///
    /// # Errors
    /// `EINVAL` for a value that is none.
    pub fn decode(value: &[u8]) -> Result<Option<Self>> {
        const VERSION: u32 = 0xff00_0000;
        const EFFECTIVE: u32 = 1;
        let (words, rest) = value.as_chunks::<4>();
        let word = |at: usize| words.get(at).copied().map_or(0, u32::from_le_bytes);
        let magic = word(0);
        let pairs = match (magic & VERSION, words.len()) {
            (0x0100_0000, 3) => 1,
            (0x0200_0000, 5) | (0x0300_0000, 6) => 2,
            _ => return Err(Errno::EINVAL),
        };
        if !rest.is_empty() {
            return Err(Errno::EINVAL);
        }
        if word(5) != 0 {
            return Ok(None);
        }
        let set = |first: usize| {
            let high = if pairs == 2 { word(first + 2) } else { 0 };
            Caps::from_bits_truncate(u64::from(high) << 32 | u64::from(word(first)))
        };
        Ok(Some(Self { permitted: set(1), inheritable: set(2), effective: magic & EFFECTIVE != 0 }))
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

    fn exec(cred: &Cred, file: ExecFile) -> AfterExec {
        cred.after_exec(&file).unwrap()
    }

    #[test]
    fn exec_by_a_user_drops_all_but_ambient() {
        let cred = Cred { ambient: Caps::NET_RAW, ..user(1000) };
        let after = exec(&cred, ExecFile::default()).cred;
        assert_eq!((after.permitted, after.effective), (Caps::NET_RAW, Caps::NET_RAW));
        let root = exec(&cred, ExecFile { setuid: Some(0), ..ExecFile::default() }).cred;
        assert_eq!(root.effective, Caps::ALL);
        assert!(root.ambient.is_empty());
    }

    fn caps(permitted: Caps, inheritable: Caps, effective: bool) -> ExecFile {
        ExecFile { caps: Some(FileCaps { permitted, inheritable, effective }), ..ExecFile::default() }
    }

    #[test]
    fn a_files_capabilities_are_given_as_far_as_they_may() {
        let none = Caps::empty();
        let cred = Cred {
            permitted: none,
            effective: none,
            inheritable: Caps::CHOWN,
            bounding: Caps::NET_RAW,
            ..user(1000)
        };
        let after = exec(&cred, caps(Caps::NET_RAW, Caps::CHOWN | Caps::FOWNER, true));
        assert_eq!(after.cred.effective, Caps::NET_RAW | Caps::CHOWN);
        assert!(after.secure && after.gained);
        let quiet = exec(&cred, caps(Caps::NET_RAW | Caps::FOWNER, none, false)).cred;
        assert_eq!((quiet.permitted, quiet.effective), (Caps::NET_RAW, none));
        assert!(cred.after_exec(&caps(Caps::NET_RAW | Caps::FOWNER, none, true)).is_err());
        let held = ExecFile { no_new_privs: true, ..caps(Caps::NET_RAW, none, true) };
        assert!(exec(&cred, held).cred.permitted.is_empty());
    }

    #[test]
    fn values_of_capabilities_are_decoded() {
        let value = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let decoded = FileCaps::decode(&value(&[0x0200_0001, 1, 2, 4, 0])).unwrap().unwrap();
        assert!(decoded.effective && decoded.permitted.contains(Caps::CHOWN));
        assert_eq!(decoded.permitted.bits(), 1 | 1 << 34);
        assert_eq!(decoded.inheritable.bits(), 2);
        assert_eq!(FileCaps::decode(&value(&[0x0300_0000, 1, 0, 0, 0, 1000])), Ok(None));
        for bad in [&[][..], &[0x0200_0000, 1], &[0x0400_0000, 1, 2, 3, 4], &[0x0100_0000, 1, 2, 3]] {
            assert_eq!(FileCaps::decode(&value(bad)), Err(Errno::EINVAL));
        }
        assert_eq!(FileCaps::decode(&[1; 21]), Err(Errno::EINVAL));
    }
}
