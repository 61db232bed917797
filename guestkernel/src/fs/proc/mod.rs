//! proc: the kernel's tables as files.
//!
//! Everything is computed when it is read. What belongs to a process is in [`pid`], what belongs to the system
//! in [`system`], settings in [`settings`].

mod memory;
mod namespaces;
mod net;
mod pages;
mod pid;
mod settings;
mod system;
mod sysvipc;

use alloc::{boxed::Box, format, sync::Arc, vec::Vec};

use super::{
    anon,
    inode::Inode,
    static_fs::{Names, Node, Owner, Table, What},
};
use crate::{
    errno::Result,
    sync::Once,
    task::{self, current},
};

const MAGIC: u64 = 0x9fa0;
const DIR: u8 = 4;
const FILE: u8 = 8;
const LINK: u8 = 10;

/// Root's entries of this proc.
fn owner() -> Owner {
    static DEV: Once<u64> = Once::new();
    Owner { dev: *DEV.call_once(anon::next_dev), magic: MAGIC, uid: 0, gid: 0 }
}

/// A read-only text for everybody.
fn text(ino: u64, read: fn() -> Vec<u8>) -> Arc<Node> {
    Node::new(owner(), ino, 0o444, What::Text(Box::new(move || Ok(read()))))
}

fn dir(ino: u64, names: impl Names + 'static) -> Arc<Node> {
    Node::new(owner(), ino, 0o555, What::Dir(Box::new(names)))
}

/// The root directory.
#[must_use]
pub fn root() -> Arc<dyn Inode> {
    dir(1, Root)
}

/// Changes a setting below `/proc/sys`, by its path there, as somebody outside who may.
///
/// # Errors
/// `ENOENT` when there is none of that name, `EACCES` when it cannot be changed, and those of changing it.
pub fn set(path: &[u8], value: &[u8]) -> Result<()> {
    let mut node = settings::root();
    for name in path.split(|&byte| byte == b'/') {
        node = node.child(name)?;
    }
    node.write(value)
}

static NAMES: Table<19> = Table::new([
    (b"cmdline", FILE, || text(10, || b"\n".to_vec())),
    (b"cpuinfo", FILE, || text(11, system::cpuinfo)),
    (b"filesystems", FILE, || text(12, system::filesystems)),
    (b"loadavg", FILE, || text(13, system::loadavg)),
    (b"meminfo", FILE, || text(14, system::meminfo)),
    (b"stat", FILE, || text(15, system::stat)),
    (b"swaps", FILE, || text(16, || b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".to_vec())),
    (b"uptime", FILE, || text(17, system::uptime)),
    (b"version", FILE, || text(18, system::version)),
    (b"vmstat", FILE, || text(19, system::vmstat)),
    (b"cgroups", FILE, || text(20, || b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n".to_vec())),
    (b"devices", FILE, || text(21, system::devices)),
    (b"partitions", FILE, || text(22, || b"major minor  #blocks  name\n\n".to_vec())),
    (b"sys", DIR, settings::root),
    (b"sysvipc", DIR, sysvipc::root),
    (b"self", LINK, || link(24, || format!("{}", current().process.pid))),
    (b"thread-self", LINK, || link(25, || format!("{}/task/{}", current().process.pid, current().tid()))),
    (b"mounts", LINK, || link(26, || "self/mounts".into())),
    (b"net", LINK, || link(27, || "self/net".into())),
]);

fn link(ino: u64, target: fn() -> alloc::string::String) -> Arc<Node> {
    Node::new(owner(), ino, 0o777, What::Link(Box::new(move || Ok(target().into_bytes()))))
}

/// Fixed names, then processes by number.
struct Root;

/// Cookies of processes start here.
const PIDS: u64 = 256;

/// A decimal number without leading zeros.
fn number(name: &[u8]) -> Option<u32> {
    if name.is_empty() || name[0] == b'0' || !name.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(name).ok()?.parse().ok()
}

impl Names for Root {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        if let Some(pid) = number(name) {
            // Threads are found too, though not listed.
            return pid::process(pid);
        }
        NAMES.lookup(name)
    }

    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool) {
        let mut going = true;
        if cookie < PIDS {
            NAMES.list(cookie, &mut |next, kind, name| {
                going = emit(next, kind, name);
                going
            });
        }
        if !going {
            return;
        }
        let mut pids = Vec::new();
        task::for_each_process(|process| pids.push(process.pid));
        pids.sort_unstable();
        for pid in pids.into_iter().filter(|&pid| u64::from(pid) + PIDS > cookie) {
            if !emit(u64::from(pid) + PIDS, DIR, format!("{pid}").as_bytes()) {
                return;
            }
        }
    }
}
