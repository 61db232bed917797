//! Listening, connecting a stream or sequence of packets, accepting.

use alloc::sync::Arc;

use super::{State, UnixSocket, name, wait};
use crate::{
    errno::{Errno, Result},
    net::{PeerCred, address::Address, half},
};

/// How an attempt to connect ended.
enum Attempt {
    Made,
    /// The listener's queue is full.
    Full,
    /// The listener went meanwhile; another may have its name.
    Gone,
}

impl UnixSocket {
    pub(super) fn start_listening(&self, backlog: u32) -> Result<()> {
        if !self.has_connections() {
            return Err(Errno::EOPNOTSUPP);
        }
        {
            let mut inner = self.inner.lock();
            if inner.name.is_none() || inner.state == State::Connected {
                return Err(Errno::EINVAL);
            }
            inner.backlog = backlog;
            inner.state = State::Listening;
        }
        *self.core.peer.lock() = PeerCred::current();
        // More may fit now.
        self.wake_waiting();
        Ok(())
    }

    pub(super) fn connect_stream(&self, to: &Address, nonblocking: bool) -> Result<()> {
        name::check(to)?;
        if self.core.options.passcred() {
            self.autobind()?;
        }
        let deadline = self.core.send_deadline(nonblocking);
        loop {
            let listener = name::find(to, self.kind())?;
            match self.attempt(&listener)? {
                Attempt::Made => {
                    listener.core.readable.wake_all();
                    return Ok(());
                }
                Attempt::Gone => {}
                Attempt::Full => wait(&self.core.writable, deadline, || {
                    let mut inner = listener.inner.lock();
                    let blocked = inner.state == State::Listening
                        && inner.is_full()
                        && !listener.core.is_shut(half::RECEIVE);
                    if blocked {
                        Self::note_waiting(&mut inner, &self.core);
                    }
                    (!blocked).then_some(())
                })?,
            }
        }
    }

    fn attempt(&self, listener: &Arc<Self>) -> Result<Attempt> {
        let me = self.me.upgrade().ok_or(Errno::ECONNREFUSED)?;
        // Made before anything is locked; most attempts succeed.
        let accepted = Self::new(self.kind(), self.core.protocol);
        *accepted.core.peer.lock() = PeerCred::current();
        let made = self.enter_queue(listener, &me, &accepted);
        if !matches!(made, Ok(Attempt::Made)) {
            accepted.inner.lock().peer = None;
            accepted.end(false);
        }
        made
    }

    fn enter_queue(&self, listener: &Arc<Self>, me: &Arc<Self>, accepted: &Arc<Self>) -> Result<Attempt> {
        let own_state = self.inner.lock().state;
        let binding = {
            let inner = listener.inner.lock();
            if inner.dead {
                return Ok(Attempt::Gone);
            }
            if inner.state != State::Listening || listener.core.is_shut(half::RECEIVE) {
                return Err(Errno::ECONNREFUSED);
            }
            if inner.is_full() {
                return Ok(Attempt::Full);
            }
            inner.name.clone()
        };
        match own_state {
            State::Unconnected => {}
            State::Connected => return Err(Errno::EISCONN),
            State::Listening => return Err(Errno::EINVAL),
        }
        {
            let mut inner = accepted.inner.lock();
            inner.name = binding;
            inner.peer = Some(me.clone());
            inner.state = State::Connected;
        }
        {
            // Only one of several attempts on this socket wins.
            let mut inner = self.inner.lock();
            if inner.state != State::Unconnected || inner.dead {
                return Err(Errno::EISCONN);
            }
            inner.state = State::Connected;
            inner.peer = Some(accepted.clone());
        }
        let entered = {
            let mut inner = listener.inner.lock();
            let room = !inner.dead && inner.state == State::Listening && !inner.is_full();
            if room {
                inner.pending.push_back(accepted.clone());
                listener.count(&inner);
            }
            room
        };
        if !entered {
            let mut inner = self.inner.lock();
            inner.state = State::Unconnected;
            inner.peer = None;
            return Ok(Attempt::Gone);
        }
        let theirs = listener.core.peer.lock().clone();
        *self.core.peer.lock() = theirs;
        Ok(Attempt::Made)
    }

    pub(super) fn take_connection(&self, nonblocking: bool) -> Result<Arc<Self>> {
        if !self.has_connections() {
            return Err(Errno::EOPNOTSUPP);
        }
        let deadline = self.core.receive_deadline(nonblocking);
        loop {
            let taken = {
                let mut inner = self.inner.lock();
                if inner.state != State::Listening {
                    return Err(Errno::EINVAL);
                }
                let taken = inner.pending.pop_front();
                self.count(&inner);
                taken
            };
            if let Some(socket) = taken {
                self.wake_waiting();
                return Ok(socket);
            }
            if self.core.is_shut(half::RECEIVE) {
                return Err(Errno::EINVAL);
            }
            wait(&self.core.readable, deadline, || {
                (self.has_queued() || self.core.is_shut(half::RECEIVE)).then_some(())
            })?;
        }
    }
}
