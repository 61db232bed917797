//! `/proc/PID/ns`.

use alloc::sync::Arc;

use super::{
    LINK,
    pid::{Id, magic},
};
use crate::{
    errno::{Errno, Result},
    fs::{
        nsfs,
        static_fs::{Names, Node},
    },
    task::namespace::Kind,
};

/// Names and what they lead to.
const NAMESPACES: [(&str, Kind); 10] = [
    ("cgroup", Kind::Cgroup),
    ("ipc", Kind::Ipc),
    ("mnt", Kind::Mount),
    ("net", Kind::Network),
    ("pid", Kind::Pid),
    ("pid_for_children", Kind::Pid),
    ("time", Kind::Time),
    ("time_for_children", Kind::Time),
    ("user", Kind::User),
    ("uts", Kind::Uts),
];

/// The directory.
pub(super) struct NamespaceLinks(pub(super) Id);

impl Names for NamespaceLinks {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        let id = self.0;
        let known = NAMESPACES.iter().enumerate().find(|(_, (known, _))| known.as_bytes() == name);
        let (index, (_, kind)) = known.ok_or(Errno::ENOENT)?;
        let kind = *kind;
        let target = move || Ok(nsfs::place(kind, id.task()?.namespaces()));
        Ok(magic(id, 64 + index as u64, 0o777, target))
    }

    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool) {
        for (index, (name, _)) in NAMESPACES.iter().enumerate().skip(cookie as usize) {
            if !emit(index as u64 + 1, LINK, name.as_bytes()) {
                return;
            }
        }
    }
}
