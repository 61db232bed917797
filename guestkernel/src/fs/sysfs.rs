//! sysfs: the directories that Linux has, and the CPUs, which libraries count there.

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use linux_raw_sys::general::{DT_DIR, DT_REG};

use super::{
    anon,
    inode::Inode,
    static_fs::{Names, Node, Owner, Table, What},
};
use crate::{
    arch,
    errno::{Errno, Result},
    net::inet::link,
};

/// `SYSFS_MAGIC`.
const MAGIC: u64 = 0x6265_6572;
const DIR: u8 = DT_DIR as u8;
const FILE: u8 = DT_REG as u8;

/// One device number for every sysfs of the sandbox, as Linux has one instance.
fn owner() -> Owner {
    static DEV: spin::Once<u64> = spin::Once::new();
    Owner { dev: *DEV.call_once(anon::next_dev), magic: MAGIC, uid: 0, gid: 0 }
}

fn directory<const N: usize>(ino: u64, names: Table<N>) -> Arc<Node> {
    Node::new(owner(), ino, 0o755, What::Dir(Box::new(names)))
}

fn empty(ino: u64) -> Arc<Node> {
    directory(ino, Table::new([]))
}

fn text(ino: u64, read: fn() -> Vec<u8>) -> Arc<Node> {
    Node::new(owner(), ino, 0o444, What::Text(Box::new(move || Ok(read()))))
}

/// The range of CPU numbers, as `online` and its like show it.
fn cpus() -> Vec<u8> {
    let last = arch::cpu::count().saturating_sub(1);
    let range: String = if last == 0 { "0\n".into() } else { format!("0-{last}\n") };
    range.into_bytes()
}

/// The root of a sysfs.
#[must_use]
pub fn root() -> Arc<dyn Inode> {
    directory(
        1,
        Table::new([
            (b"block", DIR, || empty(2)),
            (b"bus", DIR, || empty(3)),
            (b"class", DIR, || directory(4, Table::new([(b"net", DIR, interfaces)]))),
            (b"dev", DIR, || empty(5)),
            (b"devices", DIR, || directory(6, Table::new([(b"system", DIR, system)]))),
            (b"firmware", DIR, || empty(7)),
            (b"fs", DIR, || directory(8, Table::new([(b"cgroup", DIR, || empty(9))]))),
            (b"kernel", DIR, || empty(10)),
            (b"module", DIR, || empty(11)),
            (b"power", DIR, || empty(12)),
        ]),
    )
}

/// Inode number of the first interface's directory.
const FIRST_INTERFACE: u64 = 1000;

fn interfaces() -> Arc<Node> {
    Node::new(owner(), 18, 0o755, What::Dir(Box::new(Interfaces)))
}

/// The directory with all network interfaces.
struct Interfaces;

impl Names for Interfaces {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        let interface = link::by_name(name).ok_or(Errno::ENOENT)?;
        let ino = FIRST_INTERFACE + u64::from(interface.index) * 100;
        Ok(Node::new(owner(), ino, 0o755, What::Dir(Box::new(OneInterface(interface)))))
    }

    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool) {
        for (place, interface) in link::interfaces().iter().enumerate().skip(cookie as usize) {
            if !emit(place as u64 + 1, DIR, interface.name.as_bytes()) {
                return;
            }
        }
    }
}

/// An interface.
struct OneInterface(&'static link::Interface);

/// The files of an interface.
const OF_INTERFACE: [&[u8]; 10] = [
    b"address",
    b"addr_len",
    b"carrier",
    b"flags",
    b"ifindex",
    b"iflink",
    b"mtu",
    b"operstate",
    b"tx_queue_len",
    b"type",
];

impl Names for OneInterface {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        let place = OF_INTERFACE.iter().position(|known| *known == name).ok_or(Errno::ENOENT)?;
        let interface = self.0;
        let read = move || {
            let loops = interface.flags & link::flag::LOOPBACK != 0;
            let text = match OF_INTERFACE[place] {
                b"address" => link::mac_text(interface.mac),
                b"addr_len" => format!("{}", interface.mac.len()),
                b"carrier" => "1".into(),
                // Only what was asked for is shown here: that it runs is not.
                b"flags" => format!("0x{:x}", interface.flags & !link::flag::RUNNING),
                b"mtu" => format!("{}", interface.mtu),
                b"operstate" => if loops { "unknown" } else { "up" }.into(),
                b"iflink" => format!("{}", interface.peer.map_or(interface.index, |(index, _)| index)),
                b"tx_queue_len" => format!("{}", interface.queue),
                b"type" => format!("{}", interface.hardware()),
                _ => format!("{}", interface.index),
            };
            format!("{text}\n").into_bytes()
        };
        let ino = FIRST_INTERFACE + u64::from(interface.index) * 100 + 1 + place as u64;
        Ok(Node::new(owner(), ino, 0o444, What::Text(Box::new(move || Ok(read())))))
    }

    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool) {
        for (place, name) in OF_INTERFACE.iter().enumerate().skip(cookie as usize) {
            if !emit(place as u64 + 1, FILE, name) {
                return;
            }
        }
    }
}

fn system() -> Arc<Node> {
    let cpus = || Node::new(owner(), 14, 0o755, What::Dir(Box::new(Cpus)));
    directory(13, Table::new([(b"cpu", DIR, cpus)]))
}

/// What concerns all CPUs.
static ALL_CPUS: Table<3> = Table::new([
    (b"online", FILE, || text(15, cpus)),
    (b"possible", FILE, || text(16, cpus)),
    (b"present", FILE, || text(17, cpus)),
]);

/// Inode number of the first CPU's directory; each has ten.
const FIRST_CPU: u64 = 100;

/// The directory with all CPUs.
struct Cpus;

impl Names for Cpus {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        let number = name.strip_prefix(b"cpu").and_then(|digits| str::from_utf8(digits).ok());
        match number.and_then(|digits| digits.parse().ok()) {
            // Only the name that is listed, not one with zeroes before it.
            Some(number) if number < arch::cpu::count() && format!("cpu{number}").as_bytes() == name => {
                Ok(cpu(number))
            }
            _ => ALL_CPUS.lookup(name),
        }
    }

    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool) {
        for number in cookie..arch::cpu::count() as u64 {
            if !emit(number + 1, DIR, format!("cpu{number}").as_bytes()) {
                return;
            }
        }
        let first = arch::cpu::count() as u64;
        ALL_CPUS.list(cookie.saturating_sub(first), &mut |next, kind, name| emit(first + next, kind, name));
    }
}

/// The directory of one CPU: a core of its own, all in one package.
fn cpu(number: usize) -> Arc<Node> {
    let ino = FIRST_CPU + number as u64 * 10;
    Node::new(owner(), ino, 0o755, What::Dir(Box::new(Cpu(number))))
}

/// A CPU; its directory has one name.
struct Cpu(usize);

impl Names for Cpu {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        if name != b"topology" {
            return Err(Errno::ENOENT);
        }
        Ok(Node::new(
            owner(),
            FIRST_CPU + self.0 as u64 * 10 + 1,
            0o755,
            What::Dir(Box::new(Topology(self.0))),
        ))
    }

    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool) {
        if cookie == 0 {
            emit(1, DIR, b"topology");
        }
    }
}

/// Where a CPU is.
struct Topology(usize);

/// The files of a topology.
const TOPOLOGY: [&[u8]; 4] =
    [b"core_id", b"physical_package_id", b"thread_siblings_list", b"core_siblings_list"];

impl Names for Topology {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        let place = TOPOLOGY.iter().position(|known| *known == name).ok_or(Errno::ENOENT)?;
        let number = self.0;
        let read = move || match place {
            0 | 2 => format!("{number}\n").into_bytes(),
            1 => b"0\n".to_vec(),
            _ => cpus(),
        };
        let ino = FIRST_CPU + number as u64 * 10 + 2 + place as u64;
        Ok(Node::new(owner(), ino, 0o444, What::Text(Box::new(move || Ok(read())))))
    }

    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool) {
        for (index, name) in TOPOLOGY.iter().enumerate().skip(cookie as usize) {
            if !emit(index as u64 + 1, FILE, name) {
                return;
            }
        }
    }
}
