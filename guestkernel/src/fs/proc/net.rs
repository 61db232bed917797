//! `/proc/PID/net`: the network that the process sees, which is the sandbox's.

use alloc::sync::Arc;

use super::{FILE, text};
use crate::{
    errno::Result,
    fs::static_fs::{Names, Node, Table},
    net::unix,
};

static NAMES: Table<1> = Table::new([(b"unix", FILE, || text(101, unix::proc::table))]);

/// The directory.
pub(super) struct Net;

impl Names for Net {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Node>> {
        NAMES.lookup(name)
    }

    fn list(&self, cookie: u64, emit: &mut dyn FnMut(u64, u8, &[u8]) -> bool) {
        NAMES.list(cookie, emit);
    }
}
