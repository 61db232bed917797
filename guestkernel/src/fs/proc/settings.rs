//! `/proc/sys`: settings, each a line of text.

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};

use super::{DIR, FILE, dir, owner};
use crate::{
    errno::{Errno, Result},
    fs::{
        devpts, dnotify, inotify, lease, mount, protect,
        static_fs::{Node, Table, What},
    },
    mm::commit,
    net::inet::{
        settings::{self, Setting},
        table,
    },
    random,
    sync::{Once, SpinLock},
    task::{tree, uts},
};

/// Release that uname(2) tells.
pub(super) fn release() -> String {
    uts::RELEASE.into()
}

/// Version that uname(2) tells.
pub(super) fn version() -> String {
    uts::VERSION.into()
}

pub(super) fn root() -> Arc<Node> {
    static NAMES: Table<4> = Table::new([
        (b"fs", DIR, || dir(101, Ref(&FS))),
        (b"kernel", DIR, || dir(102, Ref(&KERNEL))),
        (b"net", DIR, || dir(104, Ref(&NET))),
        (b"vm", DIR, || dir(103, Ref(&VM))),
    ]);
    dir(100, Ref(&NAMES))
}

/// A table by reference.
pub(super) struct Ref<const N: usize>(pub(super) &'static Table<N>);

impl<const N: usize> crate::fs::static_fs::Names for Ref<N> {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        self.0.lookup(name)
    }

    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool) {
        self.0.list(cookie, emit);
    }
}

/// A line that cannot be changed.
fn line(ino: u64, read: fn() -> String) -> Arc<Node> {
    let read = move || Ok(format!("{}\n", read()).into_bytes());
    Node::new(owner(), ino, 0o444, What::Text(Box::new(read)))
}

/// A number of the sandbox that can be changed within limits.
struct Number {
    value: SpinLock<i64>,
    low: i64,
    high: i64,
}

impl Number {
    const fn new(value: i64, low: i64, high: i64) -> Self {
        Self { value: SpinLock::new(value), low, high }
    }
}

fn number(ino: u64, setting: &'static Number) -> Arc<Node> {
    let read = move || Ok(format!("{}\n", setting.value.lock()).into_bytes());
    let write = move |bytes: &[u8]| {
        let value: i64 = trimmed(bytes)?.parse().map_err(|_| Errno::EINVAL)?;
        if !(setting.low..=setting.high).contains(&value) {
            return Err(Errno::EINVAL);
        }
        *setting.value.lock() = value;
        Ok(())
    };
    Node::new(owner(), ino, 0o644, What::Setting(Box::new(read), Box::new(write)))
}

/// A number that is kept elsewhere.
fn kept(ino: u64, (low, high): (u32, u32), get: fn() -> u32, set: fn(u32)) -> Arc<Node> {
    let read = move || Ok(format!("{}\n", get()).into_bytes());
    let write = move |bytes: &[u8]| {
        let value: u32 = trimmed(bytes)?.parse().map_err(|_| Errno::EINVAL)?;
        if !(low..=high).contains(&value) {
            return Err(Errno::EINVAL);
        }
        set(value);
        Ok(())
    };
    Node::new(owner(), ino, 0o644, What::Setting(Box::new(read), Box::new(write)))
}

fn trimmed(bytes: &[u8]) -> Result<&str> {
    core::str::from_utf8(bytes).map(str::trim).map_err(|_| Errno::EINVAL)
}

/// Random bytes as a UUID of version 4.
fn uuid() -> String {
    let mut b = [0u8; 16];
    random::fill(&mut b);
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let hex: Vec<String> = b.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..4], &hex[4..6], &hex[6..8], &hex[8..10], &hex[10..]].map(<[String]>::concat).join("-")
}

fn boot_id() -> String {
    static ID: Once<String> = Once::new();
    ID.call_once(uuid).clone()
}

static RANDOM: Table<5> = Table::new([
    (b"boot_id", FILE, || line(151, boot_id)),
    (b"entropy_avail", FILE, || line(152, || "256".into())),
    (b"poolsize", FILE, || line(153, || "256".into())),
    (b"urandom_min_reseed_secs", FILE, || line(154, || "60".into())),
    (b"uuid", FILE, || line(155, uuid)),
]);

static PTY: Table<3> = Table::new([
    (b"max", FILE, || kept(131, (0, i32::MAX as u32), devpts::max, devpts::set_max)),
    (b"nr", FILE, || line(132, || format!("{}", devpts::count()))),
    (b"reserve", FILE, || kept(133, (0, i32::MAX as u32), devpts::reserve, devpts::set_reserve)),
]);

static KERNEL: Table<21> = Table::new([
    (b"cap_last_cap", FILE, || line(110, || "40".into())),
    (b"core_pattern", FILE, || line(111, || "core".into())),
    (b"domainname", FILE, || line(112, || text_of(&uts::domainname()))),
    (b"hostname", FILE, || line(113, || text_of(&uts::hostname()))),
    (b"msgmax", FILE, || line(114, || "8192".into())),
    (b"msgmnb", FILE, || line(115, || "16384".into())),
    (b"msgmni", FILE, || line(116, || "32000".into())),
    (b"ngroups_max", FILE, || line(117, || "65536".into())),
    (b"osrelease", FILE, || line(118, release)),
    (b"ostype", FILE, || line(119, || "Linux".into())),
    (b"overflowgid", FILE, || line(120, || "65534".into())),
    (b"overflowuid", FILE, || line(121, || "65534".into())),
    (b"pid_max", FILE, || line(122, || format!("{}", tree::PID_MAX))),
    (b"pty", DIR, || dir(130, Ref(&PTY))),
    (b"random", DIR, || dir(123, Ref(&RANDOM))),
    (b"randomize_va_space", FILE, || line(124, || "2".into())),
    (b"sem", FILE, || line(125, || "32000\t1024000000\t500\t32000".into())),
    (b"shmmax", FILE, || line(126, || "18446744073692774399".into())),
    (b"tainted", FILE, || line(127, || "0".into())),
    (b"threads-max", FILE, || line(128, || format!("{}", tree::TASKS_MAX))),
    (b"version", FILE, || line(129, version)),
]);

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

static MAX_MAP_COUNT: Number = Number::new(65_530, 0, i32::MAX as i64);
static SWAPPINESS: Number = Number::new(60, 0, 200);

static VM: Table<5> = Table::new([
    (b"max_map_count", FILE, || number(160, &MAX_MAP_COUNT)),
    (b"mmap_min_addr", FILE, || line(161, || "65536".into())),
    (b"overcommit_memory", FILE, || kept(162, (0, 2), commit::mode, commit::set_mode)),
    (b"overcommit_ratio", FILE, || kept(164, (0, u32::MAX >> 1), commit::ratio, commit::set_ratio)),
    (b"swappiness", FILE, || number(163, &SWAPPINESS)),
]);

static PIPE_MAX: Number = Number::new(1 << 20, 4096, 1 << 31);

static INOTIFY: Table<3> = Table::new([
    (b"max_queued_events", FILE, || line(180, || format!("{}", inotify::QUEUE_MAX))),
    (b"max_user_instances", FILE, || line(181, || format!("{}", inotify::INSTANCES_MAX))),
    (b"max_user_watches", FILE, || line(182, || format!("{}", inotify::WATCHES_MAX))),
]);

/// Most of `fs.lease-break-time`.
const MOST_SECONDS: u32 = i32::MAX as u32;

/// A setting of `fs.protected_*` from 0 to `high`.
macro_rules! protected {
    ($ino:literal, $high:literal, $setting:ident) => {
        || kept($ino, (0, $high), || protect::$setting.get(), |value| protect::$setting.set(value))
    };
}

static FS: Table<13> = Table::new([
    (b"dir-notify-enable", FILE, || kept(196, (0, 1), dnotify::enabled, dnotify::set_enabled)),
    (b"file-max", FILE, || line(170, || "9223372036854775807".into())),
    (b"file-nr", FILE, || line(171, || "0\t0\t9223372036854775807".into())),
    (b"inotify", DIR, || dir(174, Ref(&INOTIFY))),
    (b"lease-break-time", FILE, || kept(197, (0, MOST_SECONDS), lease::break_time, lease::set_break_time)),
    (b"leases-enable", FILE, || kept(198, (0, 1), lease::enabled, lease::set_enabled)),
    (b"mount-max", FILE, || line(175, || format!("{}", mount::MOUNTS_MAX))),
    (b"nr_open", FILE, || line(172, || format!("{}", crate::fs::fdtable::MAX_FILES))),
    (b"protected_fifos", FILE, protected!(183, 2, FIFOS)),
    (b"protected_hardlinks", FILE, protected!(184, 1, HARD_LINKS)),
    (b"protected_regular", FILE, protected!(185, 2, REGULAR)),
    (b"protected_symlinks", FILE, protected!(186, 1, SYMBOLIC_LINKS)),
    (b"pipe-max-size", FILE, || number(173, &PIPE_MAX)),
]);

/// A number of the network.
fn of_network(ino: u64, setting: &'static Setting) -> Arc<Node> {
    let read = move || Ok(format!("{}\n", setting.get()).into_bytes());
    let write = move |bytes: &[u8]| setting.set(trimmed(bytes)?.parse().map_err(|_| Errno::EINVAL)?);
    Node::new(owner(), ino, 0o644, What::Setting(Box::new(read), Box::new(write)))
}

fn ping_groups(ino: u64) -> Arc<Node> {
    let read = || Ok(format!("{}\n", settings::ping_groups()).into_bytes());
    let write = |bytes: &[u8]| settings::set_ping_groups(trimmed(bytes)?);
    Node::new(owner(), ino, 0o644, What::Setting(Box::new(read), Box::new(write)))
}

static NET: Table<3> = Table::new([
    (b"core", DIR, || dir(180, Ref(&NET_CORE))),
    (b"ipv4", DIR, || dir(181, Ref(&NET_IPV4))),
    (b"ipv6", DIR, || dir(182, Ref(&NET_IPV6))),
]);

static NET_CORE: Table<1> = Table::new([(b"somaxconn", FILE, || of_network(183, &settings::SOMAXCONN))]);

static NET_IPV4: Table<11> = Table::new([
    (b"ip_default_ttl", FILE, || line(184, || "64".into())),
    (b"ip_forward", FILE, || line(185, || "0".into())),
    (b"ip_local_port_range", FILE, || {
        line(186, || format!("{}\t{}", table::EPHEMERAL.0, table::EPHEMERAL.1))
    }),
    (b"ip_unprivileged_port_start", FILE, || of_network(187, &settings::PORT_START)),
    (b"ping_group_range", FILE, || ping_groups(188)),
    (b"tcp_congestion_control", FILE, || line(189, || "cubic".into())),
    (b"tcp_fin_timeout", FILE, || line(190, || "60".into())),
    (b"tcp_keepalive_intvl", FILE, || line(191, || "75".into())),
    (b"tcp_keepalive_probes", FILE, || line(192, || "9".into())),
    (b"tcp_keepalive_time", FILE, || line(193, || "7200".into())),
    (b"tcp_syn_retries", FILE, || line(194, || "6".into())),
]);

static NET_IPV6: Table<1> = Table::new([(b"bindv6only", FILE, || line(195, || "0".into()))]);
