//! Telling the host's memory controller of processes that the sentry killed for want of memory.
//!
//! Who watches a container looks at the kernel's own count of its cgroup (`memory.events`), and the kernel counts only
//! what it kills itself. So a process of the runtime's waits in the cgroup, the *stand-in*: told of a kill in here, it has
//! a child of its own killed by the host for want of memory, and says when that is done. It is told how many kills there
//! were, and answers with the number that it had heard of.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::net::{RecvFlags, SendFlags};

/// The connection to it.
#[derive(Debug)]
pub(crate) struct StandIn {
    /// Its own waits are limited by who made it.
    socket: OwnedFd,
    told: AtomicU64,
}

impl StandIn {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, told: AtomicU64::new(0) }
    }

    /// There were so many kills.
    pub(crate) fn tell(&self, kills: u64) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // While many wait to be read, one more makes no difference.
        if rustix::net::send(self.socket.as_fd(), &kills.to_le_bytes(), flags).is_ok() {
            self.told.store(kills, Ordering::SeqCst);
        }
    }

    /// Waits until the host knows what this was told, or nobody answers any more.
    pub(crate) fn settle(&self) {
        let told = self.told.load(Ordering::SeqCst);
        let mut heard = 0;
        while heard < told {
            let mut number = [0; 8];
            match rustix::net::recv(self.socket.as_fd(), &mut number, RecvFlags::empty()) {
                Ok((_, 8)) => heard = u64::from_le_bytes(number),
                Err(rustix::io::Errno::INTR) => {}
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn it_waits_for_what_it_told() {
        let pair =
            || socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let (ours, theirs) = pair();
        let stand_in = StandIn::new(ours);
        stand_in.settle();
        stand_in.tell(1);
        stand_in.tell(2);
        for answer in [1u64, 2] {
            rustix::net::send(&theirs, &answer.to_le_bytes(), SendFlags::empty()).unwrap();
        }
        stand_in.settle();
        // One that is gone is not waited for.
        stand_in.tell(3);
        drop(theirs);
        stand_in.settle();
        stand_in.tell(4);
    }
}
