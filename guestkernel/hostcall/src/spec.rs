//! Commands from the runtime to the sentry: what to run, and what to do with it afterwards.
//!
//! Encoded with postcard. The VMM passes them through; the sentry trusts their form no more than any other
//! input (a bad one is refused with an error).

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

use crate::{CgroupLimits, Handle, NetworkSpec, Stats, ThreadInfo};

/// One resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*` number.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// A process to start in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Program and arguments; at least one. Bytes, as Linux has them.
    pub args: Vec<Vec<u8>>,
    /// `NAME=value` strings.
    pub env: Vec<Vec<u8>>,
    /// Absolute working directory.
    pub cwd: Vec<u8>,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Capability sets, one bit a capability: effective, permitted, inheritable, bounding, ambient.
    pub capabilities: [u64; 5],
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// The process gets a terminal of its own, which the first two streams are joined with; otherwise the streams are
    /// its standard input, output and error.
    pub terminal: bool,
    /// Stream numbers of descriptors 0, 1, 2 and further preserved ones.
    pub streams: Vec<u32>,
}

/// The container's root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootSpec {
    /// Handle of its directory.
    pub handle: Handle,
    /// Refuse changes with `EROFS`.
    pub readonly: bool,
    /// Changes stay in an overlay in memory.
    pub overlay: Option<OverlaySize>,
}

/// Most bytes of an overlay's changes; `None` is half of the memory.
pub type OverlaySize = Option<u64>;

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A host directory or file.
    Host {
        /// Its handle.
        handle: Handle,
        /// Changes stay in an overlay in memory.
        overlay: Option<OverlaySize>,
    },
    /// A file system of the sentry: `proc`, `tmpfs`, `devpts`, `sysfs`, `mqueue`, `cgroup`, …
    Internal {
        /// Linux's name of the type.
        fs: String,
    },
    /// Nothing: what is at the place is hidden, if there is something.
    Masked,
    /// What is at the place, read-only, if there is something.
    ReadOnly,
}

/// One mount of the bundle, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// Absolute path in the container.
    pub destination: Vec<u8>,
    /// What is mounted.
    pub kind: MountKind,
    /// Source as `/proc/mounts` shows it.
    pub source: Vec<u8>,
    /// `MS_*` flags.
    pub flags: u64,
    /// Remaining comma-separated options (`size=64k,mode=755`).
    pub data: Vec<u8>,
}

/// Which system calls the container's processes may make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterSpec {
    /// A classic BPF program for seccomp(2): each `struct sock_filter` as a little-endian number.
    pub program: Vec<u64>,
    /// What it does not allow is logged (`SECCOMP_FILTER_FLAG_LOG`).
    pub log: bool,
}

/// A device node that the bundle asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Absolute path in the container.
    pub path: Vec<u8>,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`, and permission bits.
    pub mode: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A container: its file systems, names and first process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// UTS node name.
    pub hostname: Vec<u8>,
    /// UTS domain name.
    pub domainname: Vec<u8>,
    /// Root file system.
    pub root: RootSpec,
    /// Further mounts.
    pub mounts: Vec<MountSpec>,
    /// The first process.
    pub process: ProcessSpec,
    /// Most tasks at once, as a control group's limit of processes counts them; 0 = no limit of the container's own.
    pub tasks: u64,
    /// What the control group's files show of other limits.
    pub limits: CgroupLimits,
    /// The first process is made, but waits for [`Command::Go`].
    pub hold: bool,
    /// The filter of every process.
    pub filter: Option<FilterSpec>,
    /// Settings below `/proc/sys`: path there, and what is written.
    pub settings: Vec<(Vec<u8>, Vec<u8>)>,
    /// Device nodes beside those that every `/dev` has.
    pub nodes: Vec<NodeSpec>,
}

/// What `TakeCommand` delivers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Start the container. Always the first command.
    Start(alloc::boxed::Box<SandboxSpec>),
    /// Send a signal.
    Signal {
        /// Signal number.
        signal: u32,
        /// Who gets it.
        to: Recipient,
    },
    /// The terminal of whoever attends to a process changed its size.
    Resize {
        /// Whose terminal is to change with it.
        of: Recipient,
    },
    /// Set the most tasks at once.
    Tasks {
        /// As [`SandboxSpec::tasks`].
        most: u64,
    },
    /// Change what the control group's files show.
    Limits(CgroupLimits),
    /// Let the first process go.
    Go,
    /// Start a further process. Its answers are [`Answer::Started`] and [`Answer::Ended`], or [`Answer::Failed`].
    Exec {
        /// Names the command in its answers; not 0, and not that of another process that lives.
        tag: u64,
        /// The process.
        process: alloc::boxed::Box<ProcessSpec>,
    },
    /// List the processes. The answers are [`Answer::Processes`].
    Processes {
        /// Names the command in its answers.
        tag: u64,
    },
    /// There is a network interface.
    Network(alloc::boxed::Box<NetworkSpec>),
    /// Give figures. The answer is [`Answer::Stats`].
    Stats {
        /// Names the command in its answer.
        tag: u64,
    },
    /// List the threads. The answers are [`Answer::Threads`].
    Threads {
        /// Names the command in its answers.
        tag: u64,
    },
    /// Log up to this level from now on, 0 (off) to 5 (trace).
    LogLevel(u32),
    /// Print system calls from now on, or do not.
    Trace(bool),
}

/// Who gets a signal from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recipient {
    /// The container's first process.
    First,
    /// Every process of the container.
    All,
    /// The process that the `Exec` with this tag started.
    Exec(u64),
}

/// A process, as a list shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its id.
    pub pid: u32,
    /// Its parent's; 0 for one that was started from outside.
    pub ppid: u32,
    /// Real user.
    pub uid: u32,
    /// The letter of `/proc/PID/stat`.
    pub state: u8,
    /// How long ago it started, ms.
    pub age_ms: u64,
    /// CPU time used, ms.
    pub cpu_ms: u64,
    /// Arguments, each ended by NUL, possibly cut; empty for one that has no memory any more.
    pub arguments: Vec<u8>,
    /// Name.
    pub name: Vec<u8>,
}

/// What the sentry answers to a command that has a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The process runs.
    Started {
        /// Its id in the container.
        pid: u32,
    },
    /// It ended. The last answer.
    Ended {
        /// Wait status, as `wait4` encodes it.
        wait_status: i32,
    },
    /// The command failed. The last answer.
    Failed {
        /// Linux errno.
        errno: u32,
        /// What failed.
        message: String,
    },
    /// Some processes.
    Processes {
        /// They.
        list: Vec<ProcessInfo>,
        /// Whether there are more to come; if not, it is the last answer.
        more: bool,
    },
    /// Figures. The last answer.
    Stats(alloc::boxed::Box<Stats>),
    /// Some threads.
    Threads {
        /// They.
        list: Vec<ThreadInfo>,
        /// Whether there are more to come; if not, it is the last answer.
        more: bool,
    },
}

impl Answer {
    /// Whether no further answer to the command follows.
    #[must_use]
    pub fn is_last(&self) -> bool {
        !matches!(
            self,
            Self::Started { .. } | Self::Processes { more: true, .. } | Self::Threads { more: true, .. }
        )
    }
}

/// Encodes an answer.
///
/// # Errors
/// When memory runs out.
pub fn encode_answer(answer: &Answer) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_allocvec(answer)
}

/// Decodes an answer.
///
/// # Errors
/// When the bytes are not exactly one answer.
pub fn decode_answer(bytes: &[u8]) -> Result<Answer, postcard::Error> {
    let (answer, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() { Ok(answer) } else { Err(postcard::Error::DeserializeBadEncoding) }
}

/// Encodes a command.
///
/// # Errors
/// When memory runs out.
pub fn encode_command(command: &Command) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_allocvec(command)
}

/// Decodes a command.
///
/// # Errors
/// When the bytes are not exactly one command.
pub fn decode_command(bytes: &[u8]) -> Result<Command, postcard::Error> {
    let (command, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() { Ok(command) } else { Err(postcard::Error::DeserializeBadEncoding) }
}

#[cfg(test)]
mod tests {
    use alloc::{boxed::Box, vec};

    use proptest::{collection, prelude::*};

    use super::*;
    use crate::{NET_NAMES, NetAddress, NetNames, NetRoute};

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        collection::vec(any::<u8>(), 0..40)
    }

    prop_compose! {
        fn process()(
            args in collection::vec(bytes(), 0..5),
            env in collection::vec(bytes(), 0..5),
            cwd in bytes(),
            ids in any::<(u32, u32, u32)>(),
            groups in collection::vec(any::<u32>(), 0..5),
            limits in collection::vec(any::<(u32, u64, u64)>(), 0..4),
            capabilities in any::<[u64; 5]>(),
            flags in any::<(bool, bool)>(),
            streams in collection::vec(any::<u32>(), 0..4),
        ) -> ProcessSpec {
            ProcessSpec {
                args,
                env,
                cwd,
                uid: ids.0,
                gid: ids.1,
                groups,
                umask: ids.2,
                rlimits: limits.into_iter().map(|(resource, soft, hard)| Rlimit { resource, soft, hard }).collect(),
                capabilities,
                no_new_privs: flags.0,
                terminal: flags.1,
                streams,
            }
        }
    }

    prop_compose! {
        fn mount()(
            paths in (bytes(), bytes(), bytes()),
            flags in any::<u64>(),
            handle in any::<Option<Handle>>(),
            fs in "[a-z0-9]{0,12}",
        ) -> MountSpec {
            let kind = match (handle, flags % 4) {
                (Some(handle), _) => MountKind::Host { handle, overlay: None },
                (None, 0) => MountKind::Masked,
                (None, 1) => MountKind::ReadOnly,
                (None, _) => MountKind::Internal { fs },
            };
            MountSpec { destination: paths.0, kind, source: paths.1, flags, data: paths.2 }
        }
    }

    prop_compose! {
        fn extras()(
            program in proptest::option::of((collection::vec(any::<u64>(), 0..5), any::<bool>())),
            settings in collection::vec((bytes(), bytes()), 0..3),
            nodes in collection::vec((bytes(), any::<[u32; 5]>()), 0..3),
        ) -> SandboxSpec {
            let node = |(path, [mode, major, minor, uid, gid]): (_, [u32; 5])| NodeSpec { path, mode, major, minor, uid, gid };
            SandboxSpec {
                filter: program.map(|(program, log)| FilterSpec { program, log }),
                settings,
                nodes: nodes.into_iter().map(node).collect(),
                ..SandboxSpec::default()
            }
        }
    }

    fn recipient() -> impl Strategy<Value = Recipient> {
        prop_oneof![Just(Recipient::First), Just(Recipient::All), any::<u64>().prop_map(Recipient::Exec)]
    }

    prop_compose! {
        fn info()(
            ids in any::<(u32, u32, u32, u8)>(),
            times in any::<(u64, u64)>(),
            texts in (bytes(), bytes()),
        ) -> ProcessInfo {
            ProcessInfo {
                pid: ids.0,
                ppid: ids.1,
                uid: ids.2,
                state: ids.3,
                age_ms: times.0,
                cpu_ms: times.1,
                arguments: texts.0,
                name: texts.1,
            }
        }
    }

    prop_compose! {
        fn thread()(
            ids in any::<(u32, u32, u8, u32, bool)>(),
            call in any::<Option<u32>>(),
            stack in collection::vec(any::<u64>(), 0..5),
            times in any::<(u64, u64, u64)>(),
            name in bytes(),
        ) -> ThreadInfo {
            ThreadInfo {
                pid: ids.0,
                tid: ids.1,
                state: ids.2,
                cpu: ids.3,
                running: ids.4,
                call,
                stack,
                cpu_ms: times.0,
                switches: (times.1, times.2),
                name,
            }
        }
    }

    fn stats((numbers, absent): ([u64; 6], Vec<(u32, u32)>)) -> Answer {
        let [tasks, most_tasks, memory, memory_free, memory_fresh, oom_kills] = numbers;
        let stats = Stats { tasks, most_tasks, memory, memory_free, memory_fresh, oom_kills, absent };
        Answer::Stats(Box::new(stats))
    }

    fn answer() -> impl Strategy<Value = Answer> {
        prop_oneof![
            any::<u32>().prop_map(|pid| Answer::Started { pid }),
            any::<i32>().prop_map(|wait_status| Answer::Ended { wait_status }),
            any::<(u32, String)>().prop_map(|(errno, message)| Answer::Failed { errno, message }),
            (collection::vec(info(), 0..4), any::<bool>())
                .prop_map(|(list, more)| Answer::Processes { list, more }),
            (collection::vec(thread(), 0..4), any::<bool>())
                .prop_map(|(list, more)| Answer::Threads { list, more }),
            (any::<[u64; 6]>(), collection::vec(any::<(u32, u32)>(), 0..3)).prop_map(stats),
        ]
    }

    prop_compose! {
        fn network()(
            name in bytes(),
            numbers in any::<(u32, [u8; 6], u32)>(),
            addresses in collection::vec(any::<(core::net::IpAddr, u8)>(), 0..4),
            gateways in collection::vec(any::<(core::net::IpAddr, Option<core::net::IpAddr>)>(), 0..4),
        ) -> NetworkSpec {
            NetworkSpec {
                name,
                index: numbers.0,
                mac: numbers.1,
                mtu: numbers.2,
                queue: numbers.0,
                names: addresses.first().map(|_| NetNames { udp: 3, tcp: 4, own: NET_NAMES }),
                peer: addresses.first().map(|_| (numbers.2, numbers.0)),
                neighbours: addresses.iter().map(|(addr, _)| (*addr, numbers.1)).collect(),
                addresses: addresses
                    .iter()
                    .map(|&(addr, prefix)| NetAddress { addr, prefix, scope: 0, broadcast: None })
                    .collect(),
                routes: gateways
                    .iter()
                    .map(|&(to, gateway)| NetRoute {
                        to,
                        bits: 0,
                        gateway,
                        metric: numbers.0,
                        source: gateway,
                        scope: 0,
                        protocol: 3,
                    })
                    .collect(),
            }
        }
    }

    fn command() -> impl Strategy<Value = Command> {
        let names = (bytes(), bytes());
        let start = (names, any::<(Handle, bool)>(), collection::vec(mount(), 0..4), process(), extras());
        prop_oneof![
            (any::<u32>(), recipient()).prop_map(|(signal, to)| Command::Signal { signal, to }),
            recipient().prop_map(|of| Command::Resize { of }),
            any::<u64>().prop_map(|most| Command::Tasks { most }),
            any::<(Option<u64>, Option<(u64, u64)>)>()
                .prop_map(|(memory, cpu)| Command::Limits(CgroupLimits { memory, cpu })),
            Just(Command::Go),
            (any::<u64>(), process())
                .prop_map(|(tag, process)| Command::Exec { tag, process: Box::new(process) }),
            any::<u64>().prop_map(|tag| Command::Processes { tag }),
            any::<u64>().prop_map(|tag| Command::Stats { tag }),
            any::<u64>().prop_map(|tag| Command::Threads { tag }),
            any::<u32>().prop_map(Command::LogLevel),
            any::<bool>().prop_map(Command::Trace),
            network().prop_map(|spec| Command::Network(Box::new(spec))),
            start.prop_map(|((hostname, domainname), (handle, readonly), mounts, process, extras)| {
                let root = RootSpec { handle, readonly, overlay: readonly.then_some(Some(7)) };
                let (hold, tasks) = (readonly, u64::from(handle));
                Command::Start(Box::new(SandboxSpec {
                    hostname,
                    domainname,
                    root,
                    mounts,
                    process,
                    tasks,
                    hold,
                    ..extras
                }))
            }),
        ]
    }

    proptest! {
        #[test]
        fn commands_round_trip(command in command()) {
            let bytes = encode_command(&command).unwrap();
            prop_assert_eq!(decode_command(&bytes).unwrap(), command);
        }

        #[test]
        fn answers_round_trip(answer in answer(), cut in any::<prop::sample::Index>()) {
            let mut bytes = encode_answer(&answer).unwrap();
            prop_assert_eq!(decode_answer(&bytes).unwrap(), answer);
            bytes.truncate(cut.index(bytes.len()));
            let _ = decode_answer(&bytes);
        }

        #[test]
        fn any_bytes_are_an_answer_or_refused(bytes in collection::vec(any::<u8>(), 0..400)) {
            if let Ok(answer) = decode_answer(&bytes) {
                prop_assert!(encode_answer(&answer).is_ok());
            }
        }

        #[test]
        fn any_bytes_are_a_command_or_refused(bytes in collection::vec(any::<u8>(), 0..400)) {
            if let Ok(command) = decode_command(&bytes) {
                prop_assert!(encode_command(&command).is_ok());
            }
        }

        #[test]
        fn damaged_commands_are_commands_or_refused(
            command in command(),
            damage in collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encode_command(&command).unwrap();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = decode_command(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            let _ = decode_command(&bytes);
        }
    }

    #[test]
    fn a_huge_length_is_refused_without_memory_for_it() {
        // Start, then a hostname of 2^63 bytes.
        let mut bytes = vec![0];
        bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        assert!(decode_command(&bytes).is_err());
    }
}
