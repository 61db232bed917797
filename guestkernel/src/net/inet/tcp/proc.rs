//! TCP's lines of `/proc/net/tcp`.

use alloc::{collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use super::{Endpoint, PORTS, State, Tcp};
use crate::net::inet::{proc::end, table::Flow};

/// `TCP_TIME_WAIT`.
const TIME_WAIT: u8 = 6;

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

/// The lines, without their numbers: listeners first.
pub(in crate::net::inet) fn lines(v6: bool) -> Vec<String> {
    let (mut sockets, ended) = sockets();
    sockets.sort_by_key(|socket| socket.state() != State::Listen);
    let mut lines = Vec::new();
    for socket in sockets.iter().filter(|socket| socket.is_v6() == v6) {
        let (state, local, remote) = {
            let inner = socket.inner.lock();
            (inner.state, inner.local, inner.remote)
        };
        if state == State::Closed {
            continue;
        }
        let (unsent, waiting) = match state {
            State::Listen => (0, socket.acceptable.load(Ordering::SeqCst)),
            _ => (socket.unsent(), socket.queued()),
        };
        lines.push(format!(
            "{} {} {:02X} {unsent:08X}:{waiting:08X} 00:00000000 00000000 {:5} {:8} {} 1 {:016x} {} 0 0 10 {}",
            end(local, v6),
            end(remote.unwrap_or_else(|| Endpoint::unspecified(v6)), v6),
            socket.shown_state(),
            socket.uid.load(Ordering::Relaxed),
            0,
            socket.ino.load(Ordering::Relaxed),
            0,
            if state == State::Listen { 100 } else { 20 },
            if state == State::Listen { 0 } else { -1 },
        ));
    }
    // Which family an ended connection's socket was of is not kept: it is shown by its addresses.
    for (flow, left) in ended.into_iter().filter(|(flow, _)| flow.local.addr.is_ipv6() == v6) {
        lines.push(format!(
            "{} {} {TIME_WAIT:02X} 00000000:00000000 03:{:08X} 00000000 {:5} {:8} 0 3 {:016x}",
            end(flow.local, v6),
            end(flow.remote, v6),
            // In hundredths of a second.
            left / 10_000_000,
            0,
            0,
            0
        ));
    }
    lines
}
