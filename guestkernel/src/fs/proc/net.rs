//! `/proc/PID/net`: the network that the process sees, which is the sandbox's.

use alloc::sync::Arc;

use super::{FILE, text};
use crate::{
    errno::Result,
    fs::static_fs::{Names, Node, Table},
    net::{inet::proc, unix},
};

static NAMES: Table<14> = Table::new([
    (b"arp", FILE, || text(200, proc::arp)),
    (b"dev", FILE, || text(201, proc::dev)),
    (b"if_inet6", FILE, || text(202, proc::if_inet6)),
    (b"raw", FILE, || text(203, || proc::raw(false))),
    (b"raw6", FILE, || text(204, || proc::raw(true))),
    (b"route", FILE, || text(205, proc::route)),
    (b"sockstat", FILE, || text(206, proc::sockstat)),
    (b"sockstat6", FILE, || text(207, proc::sockstat6)),
    (b"tcp", FILE, || text(208, || proc::tcp(false))),
    (b"tcp6", FILE, || text(209, || proc::tcp(true))),
    (b"udp", FILE, || text(210, || proc::udp(false))),
    (b"udp6", FILE, || text(211, || proc::udp(true))),
    (b"unix", FILE, || text(101, unix::proc::table)),
    (b"snmp", FILE, || text(212, proc::snmp)),
]);

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
