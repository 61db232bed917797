//! proc: the kernel's tables as files.

use alloc::{boxed::Box, sync::Arc};

use super::{
    anon,
    inode::Inode,
    static_fs::{Node, Owner, Table, What},
};

/// The root directory.
#[must_use]
pub fn root() -> Arc<dyn Inode> {
    empty_root(0x9fa0)
}

/// A file system of the given kind without any names.
#[must_use]
pub fn empty_root(magic: u64) -> Arc<dyn Inode> {
    let owner = Owner { dev: anon::next_dev(), magic, uid: 0, gid: 0 };
    Node::new(owner, 1, 0o555, What::Dir(Box::new(Table::new([]))))
}
