//! What a socket is to its flow, and a flow to its socket.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::{
    super::{Peer, Phase, RCVBUF, State as SocketState, control::Choices},
    Flow, RECEIVE_MOST, Tcp,
};
use crate::{
    mem::frame,
    net::{
        inet::{
            options::{SOL_TCP, tcp},
            table,
        },
        options::so,
    },
    time::NSEC_PER_SEC,
};

impl Tcp {
    /// Takes bytes of the stream from the wire; `false` when nobody will read them.
    pub(super) fn take_segment(&self, data: &[u8]) -> bool {
        // Nobody reads a half that is shut, but it is no error to send there.
        matches!(self.take_bytes(data), Ok(Ok(())))
    }

    /// Bytes that may come from the wire.
    pub(super) fn wire_room(&self) -> usize {
        let own = self.core.options.rcvbuf() != RCVBUF;
        let most = if own || frame::is_short() { self.window() } else { RECEIVE_MOST };
        most.saturating_sub(self.queued())
    }

    /// What the options say of how a flow sends.
    pub(in super::super) fn choices(&self) -> Choices {
        let number = |name| self.values.number(SOL_TCP, name);
        let seconds = |name| number(name) as u64 * NSEC_PER_SEC;
        let keepalive = if self.core.options.flag(so::KEEPALIVE) {
            (seconds(tcp::KEEPIDLE), seconds(tcp::KEEPINTVL), number(tcp::KEEPCNT) as u32)
        } else {
            (0, 0, 0)
        };
        Choices { nodelay: number(tcp::NODELAY) != 0, cork: number(tcp::CORK) != 0, keepalive }
    }

    /// The other end has answered: the connection is open.
    pub(super) fn opened_by_wire(&self) {
        {
            let mut inner = self.inner.lock();
            if inner.state != SocketState::SynSent {
                return;
            }
            inner.state = SocketState::Established;
        }
        self.core.changed();
    }

    /// A connection that a listener is about to have.
    pub(super) fn child(&self, flow: table::Flow) -> Arc<Self> {
        let child = self.offspring();
        let mut inner = child.inner.lock();
        (inner.state, inner.phase) = (SocketState::Established, Phase::Connected);
        (inner.local, inner.remote) = (flow.local, Some(flow.remote));
        drop(inner);
        child
    }

    /// Queues a connection to be accepted. `false` when this does not listen any more.
    pub(super) fn take_child(&self, child: &Arc<Self>) -> bool {
        {
            let mut inner = self.inner.lock();
            if inner.state != SocketState::Listen || inner.pending.try_reserve(1).is_err() {
                return false;
            }
            inner.pending.push_back(child.clone());
            self.acceptable.store(inner.pending.len(), Ordering::SeqCst);
        }
        self.core.readable.wake_all();
        true
    }

    /// The other end is this flow's, unless the connection has ended meanwhile.
    pub(in super::super) fn join_wire(&self, flow: Arc<Flow>) {
        let mut inner = self.inner.lock();
        if inner.state != SocketState::Closed {
            self.by_wire.store(true, Ordering::Relaxed);
            inner.peer = Some(Peer::Wire(flow));
        }
    }

    /// The reader has made room.
    pub(in super::super) fn note_room(&self) {
        if let Some(flow) = self.wire() {
            flow.opened();
        }
    }

    /// A peer over the wire.
    pub(in super::super) fn wire(&self) -> Option<Arc<Flow>> {
        match &self.inner.lock().peer {
            Some(Peer::Wire(flow)) => Some(flow.clone()),
            _ => None,
        }
    }
}
