//! What is told of TCP's sockets, and their lines of `/proc/net/tcp`.

use alloc::{collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use super::{PORTS, State, Tcp, options};
use crate::net::inet::{
    proc::end,
    shown::{LISTEN, Shown, TIME_WAIT},
    table::Flow,
};

/// Every socket that has a port, each once.
fn sockets() -> (Vec<Arc<Tcp>>, Vec<(Flow, u64)>) {
    let snapshot = PORTS.snapshot();
    let mut all = BTreeMap::new();
    for socket in snapshot.bound.into_iter().chain(snapshot.connected) {
        all.insert(Arc::as_ptr(&socket) as usize, socket);
    }
    (all.into_values().collect(), snapshot.ended)
}

/// Bytes in all queues.
pub(in crate::net::inet) fn memory() -> usize {
    sockets().0.iter().map(|socket| socket.queued()).sum()
}

/// Connections that are open at this end.
pub(in crate::net::inet) fn established() -> usize {
    let open = |socket: &&Arc<Tcp>| matches!(socket.state(), State::Established | State::CloseWait);
    sockets().0.iter().filter(open).count()
}

impl Tcp {
    /// What is told of it; nothing of one that has only a port.
    fn shown(&self) -> Option<Shown> {
        let (state, local, remote, backlog) = {
            let inner = self.inner.lock();
            (inner.state, inner.local, inner.remote, inner.backlog)
        };
        let (unsent, waiting) = match state {
            State::Closed => return None,
            State::Listen => (backlog as usize, self.acceptable.load(Ordering::SeqCst)),
            _ => (self.unsent(), self.queued()),
        };
        Some(Shown {
            v6: self.is_v6(),
            // Bound to an address of IPv6 it takes no other.
            v6only: self.v6only() || local.addr.is_ipv6() && !local.addr.is_unspecified(),
            local,
            remote,
            state: self.shown_state(),
            waiting,
            unsent,
            uid: self.uid.load(Ordering::Relaxed),
            ino: self.ino.load(Ordering::Relaxed),
            shut: self.core.shut(),
            buffers: (self.core.options.rcvbuf(), self.core.options.sndbuf()),
            dropped: 0,
            left: 0,
            info: Some((self.info(), options::CONGESTION)),
        })
    }
}

/// What is told of all: listeners first, ended connections last.
pub(in crate::net::inet) fn shown() -> Vec<Shown> {
    let (mut sockets, ended) = sockets();
    sockets.sort_by_key(|socket| socket.state() != State::Listen);
    let open = sockets.iter().filter_map(|socket| socket.shown());
    open.chain(ended.into_iter().map(|(flow, left)| Shown::ended(flow, left))).collect()
}

/// The lines, without their numbers.
pub(in crate::net::inet) fn lines(v6: bool) -> Vec<String> {
    shown().iter().filter(|socket| socket.v6 == v6).map(line).collect()
}

fn line(socket: &Shown) -> String {
    let ends = format!("{} {}", end(socket.local, socket.v6), end(socket.remote(), socket.v6));
    let (state, waiting, nothing) = (socket.state, socket.waiting, 0);
    if state == TIME_WAIT {
        // In hundredths of a second.
        let left = socket.left / 10_000_000;
        return format!(
            "{ends} {state:02X} 00000000:00000000 03:{left:08X} 00000000 {nothing:5} {nothing:8} 0 3 {nothing:016x}"
        );
    }
    let (unsent, timeout, window) = if state == LISTEN { (0, 100, 0) } else { (socket.unsent, 20, -1) };
    format!(
        "{ends} {state:02X} {unsent:08X}:{waiting:08X} 00:00000000 00000000 {:5} {nothing:8} {} 1 {nothing:016x} \
         {timeout} 0 0 10 {window}",
        socket.uid, socket.ino
    )
}
