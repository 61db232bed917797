//! What is told of Internet sockets, by `/proc/net` and by sock_diag(7) alike.

use alloc::{sync::Arc, vec::Vec};

use super::{
    IPPROTO_UDP,
    address::Endpoint,
    datagram::{self, Datagram},
    table::{Flow, Table},
    tcp::{self, IPPROTO_TCP},
};
use crate::net::Socket;

/// `TCP_ESTABLISHED`, which a datagram socket with a default destination shows as well.
const ESTABLISHED: u8 = 1;
/// `TCP_TIME_WAIT`.
pub const TIME_WAIT: u8 = 6;
/// `TCP_CLOSE`, which a datagram socket without a destination shows.
const CLOSE: u8 = 7;
/// `TCP_LISTEN`.
pub const LISTEN: u8 = 10;
/// `IPPROTO_RAW`, which stands for all raw sockets.
pub const IPPROTO_RAW: i32 = 255;

/// A socket, or what is left of a connection.
#[derive(Debug)]
pub struct Shown {
    /// It is one of AF_INET6.
    pub v6: bool,
    /// It takes no IPv4.
    pub v6only: bool,
    /// Its own end.
    pub local: Endpoint,
    /// The other end.
    pub remote: Option<Endpoint>,
    /// The state as Linux numbers it.
    pub state: u8,
    /// Bytes that wait to be read; a listener's connections that wait to be accepted.
    pub waiting: usize,
    /// Bytes that the other end has not got yet; most connections that wait for a listener.
    pub unsent: usize,
    /// Who made it.
    pub uid: u32,
    /// Inode number of its file; 0 when it has none.
    pub ino: u64,
    /// Halves that are shut ([`crate::net::half`]).
    pub shut: u32,
    /// Sizes of its buffers in bytes: of receiving, of sending.
    pub buffers: (u32, u32),
    /// Messages for which there was no room.
    pub dropped: u64,
    /// What is left of the time that an ended connection is remembered, ns.
    pub left: u64,
    /// `struct tcp_info` and the name of the congestion control, of TCP's.
    pub info: Option<([u8; 136], &'static str)>,
}

impl Shown {
    /// The other end, or nowhere.
    #[must_use]
    pub fn remote(&self) -> Endpoint {
        self.remote.unwrap_or_else(|| Endpoint::unspecified(self.v6))
    }

    /// Of a connection that has ended. Which family its socket was of is not kept: it is shown by its addresses.
    pub(in crate::net) fn ended(flow: Flow, left: u64) -> Self {
        Self {
            v6: flow.local.addr.is_ipv6(),
            v6only: false,
            local: flow.local,
            remote: Some(flow.remote),
            state: TIME_WAIT,
            waiting: 0,
            unsent: 0,
            uid: 0,
            ino: 0,
            shut: 0,
            buffers: (0, 0),
            dropped: 0,
            left,
            info: None,
        }
    }

    fn datagram(socket: &Datagram) -> Self {
        let shown = socket.shown();
        let options = &socket.core().options;
        Self {
            v6: shown.v6,
            v6only: false,
            local: shown.local,
            remote: shown.remote,
            state: if shown.remote.is_some() { ESTABLISHED } else { CLOSE },
            waiting: shown.waiting,
            unsent: 0,
            uid: shown.uid,
            ino: shown.ino,
            shut: socket.core().shut(),
            buffers: (options.rcvbuf(), options.sndbuf()),
            dropped: shown.dropped,
            left: 0,
            info: None,
        }
    }
}

/// The sockets of a table of datagrams.
#[must_use]
pub fn datagrams(table: &Table<Datagram>) -> Vec<Shown> {
    table.snapshot().bound.iter().map(|socket: &Arc<Datagram>| Shown::datagram(socket)).collect()
}

/// The sockets of a protocol; `None` when that is not one which sock_diag knows.
#[must_use]
pub fn of(protocol: i32) -> Option<Vec<Shown>> {
    match protocol {
        IPPROTO_TCP => Some(tcp::proc::shown()),
        IPPROTO_UDP => Some(datagrams(&datagram::UDP)),
        IPPROTO_RAW => Some(datagrams(&datagram::RAW)),
        _ => None,
    }
}
