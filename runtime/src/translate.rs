//! From config.json to what the sentry is told.

use std::{
    ffi::OsStr,
    fs::File,
    os::fd::{AsFd, OwnedFd},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
};

use anyhow::{Context, Result, bail, ensure};
use hostcall::{
    CgroupLimits, MountKind, MountSpec, NodeSpec, ProcessSpec, ROOT_HANDLE, Rlimit, RootSpec, SandboxSpec,
};
use oci_spec::runtime::{
    Capabilities, Linux, LinuxDevice, LinuxDeviceType, LinuxPids, LinuxResources, Mount, PosixRlimitType,
    Process, Spec,
};

use crate::{bundle::Bundle, mountpoints, overlay::Overlay, seccomp};

/// A host tree that a bind mount shows.
#[derive(Debug)]
pub(crate) struct BindTree {
    /// `O_PATH` descriptor of the source.
    pub(crate) fd: OwnedFd,
    /// Refuse changes.
    pub(crate) readonly: bool,
}

/// What the sentry is told, and the trees that it names by handle.
pub(crate) fn sandbox(
    bundle: &Bundle,
    overlay: Overlay,
    streams: u32,
) -> Result<(SandboxSpec, Vec<BindTree>)> {
    let spec = &bundle.spec;
    let mut trees = Vec::new();
    let mut mounts = Vec::new();
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        mounts.push(
            translate_mount(bundle, mount, overlay, &mut trees)
                .with_context(|| format!("config.json: mounts[{index}]"))?,
        );
    }
    if let Some(linux) = spec.linux() {
        let cover = |kind: &MountKind, paths: &Option<Vec<String>>| {
            let one = |path: &String| MountSpec {
                destination: path.as_bytes().to_vec(),
                kind: kind.clone(),
                source: Vec::new(),
                flags: 0,
                data: Vec::new(),
            };
            paths.iter().flatten().map(one).collect::<Vec<_>>()
        };
        mounts.extend(cover(&MountKind::ReadOnly, linux.readonly_paths()));
        mounts.extend(cover(&MountKind::Masked, linux.masked_paths()));
    }
    let linux = spec.linux().as_ref();
    // A new namespace begins with the host's names.
    let host = nix::sys::utsname::uname().context("uname")?;
    let name = |text: &Option<String>, hosts: &OsStr| {
        text.as_ref()
            .filter(|text| !text.is_empty())
            .map_or(hosts.as_bytes(), |text| text.as_bytes())
            .to_vec()
    };
    let sandbox = SandboxSpec {
        hostname: name(spec.hostname(), host.nodename()),
        domainname: name(spec.domainname(), host.domainname()),
        root: RootSpec { handle: ROOT_HANDLE, readonly: bundle.readonly(), overlay: overlay.root() },
        mounts,
        process: process(bundle.process()?, streams),
        tasks: tasks(spec),
        limits: linux.and_then(|linux| linux.resources().as_ref()).map(limits).unwrap_or_default(),
        hold: false,
        filter: linux.and_then(|linux| linux.seccomp().as_ref()).map(seccomp::compile).transpose()?,
        settings: settings(linux),
        nodes: devices(linux)?,
    };
    Ok((sandbox, trees))
}

/// `linux.sysctl`: names may be written with dots or with slashes.
fn settings(linux: Option<&Linux>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = linux.and_then(|linux| linux.sysctl().as_ref());
    let mut settings: Vec<_> = all
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.replace('.', "/").into_bytes(), value.clone().into_bytes()))
        .collect();
    settings.sort();
    settings
}

/// `linux.devices`.
fn devices(linux: Option<&Linux>) -> Result<Vec<NodeSpec>> {
    let all = linux.and_then(|linux| linux.devices().as_ref());
    let one = |(index, device): (usize, &LinuxDevice)| {
        let field = |name: &str| format!("config.json: linux.devices[{index}].{name}");
        ensure!(device.path().is_absolute(), "{}: must be an absolute path", field("path"));
        let kind = match device.typ() {
            LinuxDeviceType::B => libc::S_IFBLK,
            LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
            LinuxDeviceType::P => libc::S_IFIFO,
            LinuxDeviceType::A => bail!("{}: names no kind of device", field("type")),
        };
        let number = |name: &str, value: i64| {
            u32::try_from(value).with_context(|| format!("{}: {value}", field(name)))
        };
        Ok(NodeSpec {
            path: device.path().as_os_str().as_bytes().to_vec(),
            mode: kind | device.file_mode().unwrap_or(0o666) & 0o7777,
            major: number("major", device.major())?,
            minor: number("minor", device.minor())?,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        })
    };
    all.into_iter().flatten().enumerate().map(one).collect()
}

/// The limit of processes; 0 = none.
fn tasks(spec: &Spec) -> u64 {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let limit = resources.and_then(|resources| resources.pids().as_ref()).map_or(0, LinuxPids::limit);
    u64::try_from(limit).unwrap_or(0)
}

/// What the files of the container's control group show.
pub(crate) fn limits(resources: &LinuxResources) -> CgroupLimits {
    // Zero says nothing, and less is no limit.
    let limit = |value: i64| (value != 0).then(|| u64::try_from(value).unwrap_or(u64::MAX));
    let cpu = resources.cpu().as_ref();
    CgroupLimits {
        memory: resources.memory().as_ref().and_then(|memory| memory.limit()).and_then(limit),
        cpu: cpu.and_then(|cpu| cpu.quota()).and_then(limit).map(|quota| {
            let period = cpu.and_then(|cpu| cpu.period()).filter(|&period| period != 0);
            (quota, period.unwrap_or(100_000))
        }),
    }
}

/// A process as the sentry is told.
pub(crate) fn process(process: &Process, streams: u32) -> ProcessSpec {
    let bytes = |strings: &Option<Vec<String>>| {
        strings.iter().flatten().map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>()
    };
    let user = process.user();
    let caps = process.capabilities().as_ref();
    let set = |caps: Option<&Capabilities>| caps.map_or(0, bits);
    ProcessSpec {
        args: bytes(process.args()),
        env: bytes(process.env()),
        cwd: process.cwd().as_os_str().as_bytes().to_vec(),
        uid: user.uid(),
        gid: user.gid(),
        groups: groups(user.additional_gids().as_deref().unwrap_or_default()),
        umask: user.umask().unwrap_or(0o022),
        rlimits: rlimits(process),
        capabilities: [
            set(caps.and_then(|c| c.effective().as_ref())),
            set(caps.and_then(|c| c.permitted().as_ref())),
            set(caps.and_then(|c| c.inheritable().as_ref())),
            set(caps.and_then(|c| c.bounding().as_ref())),
            set(caps.and_then(|c| c.ambient().as_ref())),
        ],
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        terminal: process.terminal().unwrap_or(false),
        streams: (0..streams).collect(),
    }
}

/// Groups without those that are named twice, as runc has them.
fn groups(named: &[u32]) -> Vec<u32> {
    let mut groups = named.to_vec();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// The caller's limits, as a child process would have them, and over them those of the bundle.
fn rlimits(process: &Process) -> Vec<Rlimit> {
    let own = (0..RLIMITS).filter_map(|resource| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the structure is valid for writes; a resource that does not exist is refused.
        #[allow(unsafe_code, reason = "resources are known by number here")]
        let result = unsafe { libc::getrlimit(resource, &raw mut limit) };
        (result == 0).then_some(Rlimit { resource, soft: limit.rlim_cur, hard: limit.rlim_max })
    });
    let named = process.rlimits().iter().flatten().map(|limit| Rlimit {
        resource: resource(limit.typ()),
        soft: limit.soft(),
        hard: limit.hard(),
    });
    own.chain(named).collect()
}

/// Number of resources that have limits, getrlimit(2).
const RLIMITS: u32 = 16;

/// Names in the order of their numbers, capabilities(7).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Names of all capabilities.
pub(crate) fn capability_names() -> Vec<String> {
    CAPABILITIES.iter().map(|name| format!("CAP_{name}")).collect()
}

/// Whether there is a capability of this name.
pub(crate) fn is_capability(name: &str) -> bool {
    name.strip_prefix("CAP_").is_some_and(|name| CAPABILITIES.contains(&name))
}

/// A set as a bit mask.
fn bits(caps: &Capabilities) -> u64 {
    caps.iter().fold(0, |mask, cap| {
        let name = cap.to_string();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        CAPABILITIES.iter().position(|known| *known == name).map_or(mask, |number| mask | 1 << number)
    })
}

/// The number of a resource, getrlimit(2).
const fn resource(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}

/// Mount options that are flags: name, bits set, bits cleared (mount(8); values of mount(2)).
const FLAGS: [(&str, u64, u64); 38] = [
    ("defaults", 0, 0),
    ("ro", 1, 0),
    ("rw", 0, 1),
    ("nosuid", 2, 0),
    ("suid", 0, 2),
    ("nodev", 4, 0),
    ("dev", 0, 4),
    ("noexec", 8, 0),
    ("exec", 0, 8),
    ("sync", 16, 0),
    ("async", 0, 16),
    ("dirsync", 128, 0),
    ("nosymfollow", 256, 0),
    ("noatime", 1024, 0),
    ("atime", 0, 1024),
    ("nodiratime", 2048, 0),
    ("diratime", 0, 2048),
    ("bind", 4096, 0),
    ("rbind", 4096 | 16384, 0),
    ("relatime", 1 << 21, 0),
    ("norelatime", 0, 1 << 21),
    ("strictatime", 1 << 24, 0),
    ("nostrictatime", 0, 1 << 24),
    ("private", 1 << 18, 0),
    ("rprivate", 1 << 18 | 16384, 0),
    ("slave", 1 << 19, 0),
    ("rslave", 1 << 19 | 16384, 0),
    ("shared", 1 << 20, 0),
    ("rshared", 1 << 20 | 16384, 0),
    ("unbindable", 1 << 17, 0),
    ("runbindable", 1 << 17 | 16384, 0),
    ("symfollow", 0, 256),
    ("mand", 64, 0),
    ("nomand", 0, 64),
    ("lazytime", 1 << 25, 0),
    ("nolazytime", 0, 1 << 25),
    ("silent", 32768, 0),
    ("loud", 0, 32768),
];

/// Names of all mount options that are flags.
pub(crate) fn mount_options() -> Vec<&'static str> {
    FLAGS.iter().map(|(name, ..)| *name).collect()
}

const MS_RDONLY: u64 = 1;
const MS_BIND: u64 = 4096;

/// Flags and the remaining options.
fn options(options: &[String]) -> (u64, String) {
    let mut flags = 0;
    let mut data = Vec::new();
    for option in options {
        match FLAGS.iter().find(|(name, ..)| name == option) {
            Some((_, set, clear)) => flags = flags & !clear | set,
            None => data.push(option.as_str()),
        }
    }
    (flags, data.join(","))
}

/// The option of a tmpfs that asks for what was at the place before.
const COPY_UP: &str = "tmpcopyup";

/// Options without this one; `None` when it is not among them.
fn without(data: &str, option: &str) -> Option<String> {
    let others: Vec<_> = data.split(',').filter(|one| *one != option).collect();
    (others.len() < data.split(',').count()).then(|| others.join(","))
}

/// Whether a mount shows a tree of the host.
pub(crate) fn is_bind(mount: &Mount) -> bool {
    let (flags, _) = options(mount.options().as_deref().unwrap_or_default());
    flags & MS_BIND != 0 || mount.typ().as_deref() == Some("bind")
}

fn translate_mount(
    bundle: &Bundle,
    mount: &Mount,
    overlay: Overlay,
    trees: &mut Vec<BindTree>,
) -> Result<MountSpec> {
    let (flags, mut data) = options(mount.options().as_deref().unwrap_or_default());
    if let Some(others) = without(&data, COPY_UP) {
        ensure!(
            mountpoints::is_empty(bundle.rootfs.as_fd(), mount.destination()),
            "options: {COPY_UP}: {} has contents in the root file system, which cannot be copied",
            mount.destination().display()
        );
        data = others;
    }
    let fs = mount.typ().clone().unwrap_or_default();
    let source = mount.source().clone().unwrap_or_default();
    let kind = if is_bind(mount) {
        let path = bundle.path.join(&source);
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
            .open(&path)
            .with_context(|| format!("source: {}", path.display()))?;
        let readonly = flags & MS_RDONLY != 0;
        let overlay = overlay.mount().filter(|_| !readonly);
        trees.push(BindTree { fd: file.into(), readonly: readonly || overlay.is_some() });
        let handle = vmm::config::FIRST_MOUNT_HANDLE + trees.len() as u32 - 1;
        MountKind::Host { handle, overlay }
    } else {
        MountKind::Internal { fs }
    };
    Ok(MountSpec {
        destination: mount.destination().as_os_str().as_bytes().to_vec(),
        kind,
        source: source.as_os_str().as_bytes().to_vec(),
        flags,
        data: data.into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Capability;

    #[test]
    fn capabilities_have_their_numbers() {
        assert_eq!(bits(&[Capability::Chown, Capability::Kill].into_iter().collect()), 1 | 1 << 5);
        assert_eq!(bits(&[Capability::CheckpointRestore].into_iter().collect()), 1 << 40);
    }

    #[test]
    fn options_become_flags_and_data() {
        let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            options(&words("nosuid,strictatime,mode=755,size=65536k")),
            (2 | 1 << 24, "mode=755,size=65536k".into())
        );
        assert_eq!(options(&words("ro,rw")), (0, String::new()));
        assert_eq!(without("size=1k,tmpcopyup", COPY_UP), Some("size=1k".into()));
        assert_eq!(without("size=1k", COPY_UP), None);
        assert_eq!(options(&words("rbind,rprivate,ro")).0, 4096 | 16384 | 1 << 18 | 1);
    }
}
