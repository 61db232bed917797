//! sysfs: the directories that Linux has, and the CPUs, which libraries count there.

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use linux_raw_sys::general::{DT_DIR, DT_REG};

use super::{
    anon,
    inode::Inode,
    static_fs::{Node, Owner, Table, What},
};
use crate::arch;

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
            (b"class", DIR, || empty(4)),
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

fn system() -> Arc<Node> {
    let cpu = || {
        directory(
            14,
            Table::new([
                (b"online", FILE, || text(15, cpus)),
                (b"possible", FILE, || text(16, cpus)),
                (b"present", FILE, || text(17, cpus)),
            ]),
        )
    };
    directory(13, Table::new([(b"cpu", DIR, cpu)]))
}
