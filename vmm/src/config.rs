//! What the runtime tells a sandbox process, and what the two say to each other afterwards.
//!
//! The runtime starts itself with [`SANDBOX_VARIABLE`]`=FD` and everything that the sandbox may touch already open; FD
//! is a memfd that holds a postcard-encoded [`SandboxConfig`], which names the other inherited descriptors. While
//! the sandbox lives, the two exchange [`ToSandbox`] and [`FromSandbox`] messages, one a packet, over a
//! `SOCK_SEQPACKET` pair.

use hostcall::Handle;
use serde::{Deserialize, Serialize};

/// The variable of the environment by which the program knows that it is to be a sandbox; its value is the number of a
/// descriptor. Its arguments are those of the container's first process, so that lists of processes show them.
pub const SANDBOX_VARIABLE: &str = "RINGFENCE_SANDBOX";

/// Handle of the first entry of [`SandboxConfig::mounts`]; the others follow in order.
pub const FIRST_MOUNT_HANDLE: Handle = hostcall::ROOT_HANDLE + 1;

/// Longest control message in bytes.
pub const MAX_MESSAGE: usize = 160 * 1024;

/// Default length of the file-window region in bytes.
pub const DEFAULT_WINDOW_LEN: u64 = 8 << 30;

/// A host directory or file that the container may reach, with everything beneath it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostTree {
    /// Inherited `O_PATH` descriptor.
    pub fd: i32,
    /// Refuse changes with `EROFS`, whatever the sentry asks for.
    pub readonly: bool,
}

/// Everything that a sandbox process needs to know. Descriptor numbers are those of the sandbox process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// Guest memory in bytes; rounded up to 2 MiB.
    pub memory: u64,
    /// vCPUs, 1…[`hostcall::MAX_CPUS`].
    pub cpus: u32,
    /// Length of the file-window region in bytes; [`DEFAULT_WINDOW_LEN`] unless there is a reason.
    pub window_len: u64,
    /// Log level, 0 off … 5 trace.
    pub log_level: u32,
    /// Print every system call to the log.
    pub strace: bool,
    /// Print `timing` lines to the log.
    pub timing: bool,
    /// The socket to the process that started it.
    pub control: i32,
    /// The listening [control socket](crate::control), if there is one.
    pub listener: Option<i32>,
    /// What it only holds: the lock that says that it lives.
    pub held: Vec<i32>,
    /// The sandbox log.
    pub log: i32,
    /// `/dev/kvm`, opened by the runtime.
    pub kvm: i32,
    /// The container's root directory; becomes [`hostcall::ROOT_HANDLE`].
    pub root: HostTree,
    /// Further trees; entry `i` becomes handle [`FIRST_MOUNT_HANDLE`]` + i`.
    pub mounts: Vec<HostTree>,
    /// Stream `i` is `streams[i]`; the first three are standard input, output and error.
    pub streams: Vec<i32>,
    /// The first process waits to be let go.
    pub hold: bool,
    /// It leads a session whose terminal the first streams are, and tells the sentry when that changes its size.
    pub terminal: bool,
    /// The container may get a network interface.
    pub network: bool,
    /// Socket to the process that the host kills for those that the sentry kills for want of memory.
    pub stand_in: Option<i32>,
    /// The first command, encoded with [`hostcall::encode_command`].
    pub start: Vec<u8>,
}

/// From the process that started the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSandbox {
    /// Send a signal to the first process.
    Signal(u32),
    /// The caller's terminal changed its size.
    Resize,
    /// Let the first process go.
    Go,
    /// Live on when this socket closes; until then the sandbox ends with the process that started it.
    Detach,
}

/// From the sandbox to the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSandbox {
    /// The VM is made and jailed; the sentry starts now.
    Ready,
    /// The first process is ready and waits to be let go.
    Created,
    /// The sentry's out-of-memory killer ended a process.
    OutOfMemory {
        /// How many processes it has ended so far.
        kills: u64,
    },
    /// The first process ended; wait status as `wait4` encodes it. The last message.
    Exited {
        /// The status.
        wait_status: i32,
    },
    /// The first process cannot be started (no such program, not an ELF file). The last message.
    StartFailed {
        /// Linux errno.
        errno: u32,
        /// What failed, as the sentry says it.
        message: String,
    },
    /// The sandbox failed; one line that says why. The last message.
    Failed {
        /// The reason.
        message: String,
    },
}

/// What a shell reports for a wait status; the exit status of a sandbox process whose first process ended with it.
#[must_use]
pub const fn exit_status(wait_status: i32) -> i32 {
    let signal = wait_status & 0x7f;
    if signal == 0 { wait_status >> 8 & 0xff } else { 128 + signal }
}

/// Exit status of a sandbox process that has sent (or tried to send) [`FromSandbox::Failed`] or
/// [`FromSandbox::StartFailed`].
pub const STATUS_FAILED: i32 = 125;

/// Longest text of a sandbox that is shown, characters.
const MAX_LINE: usize = 1000;

/// A text from a sandbox, which may have been taken over, as it may be shown: one line, no control characters.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_LINE).collect()
}

/// Encodes a message or a configuration.
///
/// # Errors
/// When it cannot be represented.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_allocvec(value)
}

/// Decodes a message or a configuration; trailing bytes are an error.
///
/// # Errors
/// When the bytes are not exactly one value.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, postcard::Error> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    #[test]
    fn messages_round_trip_and_reject_trailing_bytes() {
        let message = FromSandbox::Exited { wait_status: 256 };
        let mut bytes = encode(&message).unwrap();
        assert_eq!(decode::<FromSandbox>(&bytes).unwrap(), message);
        bytes.push(0);
        assert!(decode::<FromSandbox>(&bytes).is_err());
    }

    fn configuration() -> impl Strategy<Value = SandboxConfig> {
        let tree = || any::<(i32, bool)>().prop_map(|(fd, readonly)| HostTree { fd, readonly });
        let numbers = any::<(u64, u32, u64, u32, i32, i32, i32)>();
        let switches = any::<(bool, bool)>();
        let lists = (collection::vec(tree(), 0..5), collection::vec(any::<i32>(), 0..5));
        (numbers, switches, tree(), lists, collection::vec(any::<u8>(), 0..60)).prop_map(
            |(numbers, switches, root, (mounts, streams), start)| SandboxConfig {
                memory: numbers.0,
                cpus: numbers.1,
                window_len: numbers.2,
                log_level: numbers.3,
                strace: switches.0,
                timing: switches.1,
                control: numbers.4,
                listener: switches.0.then_some(numbers.4),
                held: streams.clone(),
                log: numbers.5,
                kvm: numbers.6,
                root,
                mounts,
                streams,
                hold: switches.1,
                terminal: switches.0,
                network: switches.0,
                stand_in: switches.1.then_some(numbers.5),
                start,
            },
        )
    }

    proptest! {
        #[test]
        fn any_bytes_are_messages_or_refused(bytes in collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<ToSandbox>(&bytes);
            let _ = decode::<FromSandbox>(&bytes);
            let _ = decode::<SandboxConfig>(&bytes);
        }

        #[test]
        fn damaged_configurations_are_refused_or_read(
            config in configuration(),
            damage in collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encode(&config).unwrap();
            prop_assert_eq!(decode::<SandboxConfig>(&bytes).unwrap(), config);
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = decode::<SandboxConfig>(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            let _ = decode::<SandboxConfig>(&bytes);
        }

        #[test]
        fn what_a_sandbox_says_shows_as_one_line(message in any::<String>()) {
            let line = one_line(&message);
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(line.chars().count() <= MAX_LINE);
        }
    }
}
