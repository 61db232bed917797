//! The ends of connections: FIN, RST, shutdown(2), close(2), and starting afresh.

use core::sync::atomic::Ordering;

use super::{PORTS, Peer, Phase, State, Tcp};
use crate::{
    errno::{Errno, Result},
    net::{
        half,
        inet::{address::Endpoint, link},
    },
};

impl Tcp {
    /// This connection is no more: forgets the other end and gives up its numbers.
    fn finish(&self, lingers: bool) -> Option<Peer> {
        let (peer, flow, timer) = {
            let mut inner = self.inner.lock();
            inner.state = State::Closed;
            (inner.peer.take(), inner.flow.take(), inner.timer.take())
        };
        Self::stop_timer(timer);
        if let Some(flow) = flow {
            PORTS.disconnect(&flow, &self.me, lingers);
        }
        peer
    }

    /// The other end sends no more.
    pub(super) fn take_fin(&self) {
        let ended = {
            let mut inner = self.inner.lock();
            inner.done = true;
            match inner.state {
                State::Established => {
                    inner.state = State::CloseWait;
                    false
                }
                State::FinWait => true,
                _ => return,
            }
        };
        if ended {
            drop(self.finish(true));
        }
        self.core.shut_down(if ended { half::BOTH } else { half::RECEIVE });
    }

    /// The other end wants no more of this connection.
    pub(super) fn take_rst(&self) {
        let error = match self.state() {
            State::Closed | State::Listen => return,
            State::SynSent => Errno::ECONNREFUSED,
            State::CloseWait => Errno::EPIPE,
            State::Established | State::FinWait => Errno::ECONNRESET,
        };
        self.fail(error);
    }

    /// Ends with an error.
    pub(super) fn fail(&self, error: Errno) {
        drop(self.finish(false));
        self.core.set_error(error);
        self.core.shut_down(half::BOTH);
    }

    /// Ends a connection with a reset.
    pub(super) fn abort(&self) {
        self.reset_peer();
        self.core.shut_down(half::BOTH);
        self.forget_data();
    }

    /// Forgets the other end and tells it so.
    fn reset_peer(&self) {
        match self.finish(false) {
            Some(Peer::Here(peer)) => {
                link::LO.traffic.count(1, 40);
                peer.take_rst();
            }
            Some(Peer::Wire(flow)) => flow.abort(),
            None => {}
        }
    }

    /// Says that this end sends no more; with `orphan` there will be nobody to read either.
    fn send_fin(&self) {
        let (peer, ended) = {
            let mut inner = self.inner.lock();
            match inner.state {
                State::Established => {
                    inner.state = State::FinWait;
                    (inner.peer.clone(), false)
                }
                State::CloseWait => (inner.peer.clone(), true),
                _ => return,
            }
        };
        if ended {
            // The other end was first: it is the one that waits for stray packets.
            drop(self.finish(false));
            self.core.shut_down(half::BOTH);
        }
        match peer {
            Some(Peer::Here(peer)) => {
                link::LO.traffic.count(2, 104);
                peer.take_fin();
            }
            Some(Peer::Wire(flow)) => flow.finish(),
            None => {}
        }
    }

    pub(super) fn shut(&self, how: u32) -> Result<()> {
        {
            let mut inner = self.inner.lock();
            if inner.phase == Phase::Connecting
                && matches!(inner.state, State::Established | State::CloseWait)
            {
                inner.phase = Phase::Connected;
            }
        }
        match self.state() {
            State::Closed => {
                self.core.shut_down(how);
                return Err(Errno::ENOTCONN);
            }
            State::Listen => {
                if how & half::RECEIVE != 0 {
                    self.stop_listening();
                    self.leave_port();
                    self.core.reopen();
                    self.core.changed();
                }
            }
            State::SynSent => self.disconnect(),
            State::Established | State::FinWait | State::CloseWait => {
                self.core.shut_down(how);
                if how & half::SEND != 0 {
                    self.send_fin();
                }
            }
        }
        Ok(())
    }

    /// Back to a socket that was never connected; what it was bound to stays.
    pub(super) fn disconnect(&self) {
        let state = self.state();
        match state {
            State::Listen => self.stop_listening(),
            State::Closed => {}
            State::SynSent => self.reset_peer(),
            State::Established | State::FinWait | State::CloseWait => self.abort(),
        }
        if !matches!(state, State::Listen | State::Closed) {
            self.core.set_error(Errno::ECONNRESET);
        }
        self.forget_data();
        {
            let mut inner = self.inner.lock();
            inner.phase = Phase::Unconnected;
            inner.remote = None;
            inner.done = false;
        }
        self.leave_port();
        self.core.reopen();
        self.core.changed();
    }

    /// Gives up a port that it was given, and an address that a connection gave it.
    fn leave_port(&self) {
        let claim = {
            let mut inner = self.inner.lock();
            let bound = inner.claim.as_ref().map(|claim| claim.at);
            let keeps = bound.filter(|_| inner.has_own_port);
            inner.local = match (keeps, bound) {
                (Some(bound), _) => bound,
                (None, Some(bound)) if inner.has_own_address => Endpoint { port: 0, ..bound },
                _ => Endpoint::unspecified(self.is_v6()),
            };
            if keeps.is_some() { None } else { inner.claim.take() }
        };
        if let Some(claim) = claim {
            PORTS.unbind(&claim);
        }
    }

    /// Drops what nobody has read.
    fn forget_data(&self) {
        let mut reader = self.reader.lock();
        let inbox = {
            let mut inner = self.inner.lock();
            inner.urgent = None;
            inner.spare = None;
            core::mem::take(&mut inner.inbox)
        };
        let pushed = self.inner.lock().pushed;
        *reader = super::Reader::at(pushed);
        self.has_urgent.store(false, Ordering::SeqCst);
        self.queued.store(0, Ordering::SeqCst);
        drop(inbox);
    }

    /// The last descriptor is gone.
    pub(super) fn close(&self) {
        let (state, claim) = {
            let mut inner = self.inner.lock();
            inner.orphan = true;
            (inner.state, inner.claim.take())
        };
        match state {
            State::Listen => self.stop_listening(),
            State::SynSent => self.reset_peer(),
            State::Closed => {}
            State::Established | State::FinWait | State::CloseWait => {
                if self.queued() != 0 || self.core.options.linger() == Some(0) {
                    self.abort();
                } else {
                    let wire = self.wire();
                    self.send_fin();
                    // Nobody waits for the other end's FIN; its numbers are kept as long as one would.
                    drop(self.finish(true));
                    if let Some(flow) = wire {
                        flow.abandon();
                    }
                }
            }
        }
        self.forget_data();
        self.core.shut_down(half::BOTH);
        if let Some(claim) = claim {
            PORTS.unbind(&claim);
        }
    }
}
