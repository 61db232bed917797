//! What is told of AF_UNIX sockets, by `/proc/net/unix` and by sock_diag(7) alike.

use alloc::{
    collections::BTreeMap,
    format,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::Ordering;

use super::{State, UnixSocket};
use crate::sync::SpinLock;

/// States as Linux numbers them.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// Every socket, by its place in memory.
static ALL: SpinLock<BTreeMap<usize, Weak<UnixSocket>>> = SpinLock::new(BTreeMap::new());

fn place(socket: &UnixSocket) -> usize {
    core::ptr::from_ref(socket) as usize
}

pub(super) fn enter(socket: &Arc<UnixSocket>) {
    ALL.lock().insert(place(socket), Arc::downgrade(socket));
}

pub(super) fn leave(socket: &UnixSocket) {
    ALL.lock().remove(&place(socket));
}

/// A socket.
#[derive(Debug)]
pub struct Shown {
    /// `SOCK_*`.
    pub kind: u32,
    /// The state as Linux numbers it.
    pub state: u8,
    /// Inode number of its file; 0 while a connection is not accepted.
    pub ino: u64,
    /// `sun_path` of its name.
    pub name: Option<Vec<u8>>,
    /// The name as text.
    pub text: Option<Vec<u8>>,
    /// Inode and device that its name leads to.
    pub file: Option<(u64, u64)>,
    /// Inode number of the other end.
    pub peer: Option<u64>,
    /// Inode numbers of those whose connections wait to be accepted.
    pub pending: Vec<u32>,
    /// Bytes to be read and bytes that were sent and not read; of a listener the connections that wait, and how many
    /// may.
    pub queue: (u32, u32),
    /// What it sent and nobody has received, bytes of memory.
    pub charged: u32,
    /// Sizes of its buffers in bytes: of receiving, of sending.
    pub buffers: (u32, u32),
    /// Who made it.
    pub uid: u32,
    /// Halves that are shut ([`crate::net::half`]).
    pub shut: u32,
}

impl Shown {
    /// Whether connections come here.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.state == LISTEN
    }

    fn of(socket: &UnixSocket) -> Self {
        let ino_of = |socket: &Arc<UnixSocket>| socket.ino.load(Ordering::Relaxed);
        let (state, name, peer, pending, backlog) = {
            let inner = socket.inner.lock();
            (inner.state, inner.name.clone(), inner.peer.clone(), inner.pending.clone(), inner.backlog)
        };
        let charged = u32::try_from(socket.core.charged()).unwrap_or(u32::MAX);
        // What waits is the accepted end to be; who is told of is its other end.
        let connecting = |end: &Arc<UnixSocket>| end.inner.lock().peer.as_ref().map_or(0, ino_of) as u32;
        Self {
            kind: socket.kind(),
            state: match state {
                State::Connected => ESTABLISHED,
                State::Listening => LISTEN,
                State::Unconnected => CLOSE,
            },
            ino: socket.ino.load(Ordering::Relaxed),
            name: name.as_ref().map(|name| name.path().to_vec()),
            text: name.as_ref().map(|name| name.text()),
            file: name.as_ref().and_then(|name| name.file()),
            peer: peer.as_ref().map(ino_of),
            queue: match socket.readable_bytes() {
                Ok(bytes) => (u32::try_from(bytes).unwrap_or(u32::MAX), charged),
                Err(_) => (pending.len() as u32, backlog),
            },
            pending: pending.iter().map(connecting).collect(),
            charged,
            buffers: (socket.core.options.rcvbuf(), socket.core.options.sndbuf()),
            uid: socket.uid,
            shut: socket.core.shut(),
        }
    }
}

/// All sockets.
#[must_use]
pub fn shown() -> Vec<Shown> {
    let sockets: Vec<Arc<UnixSocket>> = ALL.lock().values().filter_map(Weak::upgrade).collect();
    sockets.iter().map(|socket| Shown::of(socket)).collect()
}

/// The table of sockets as text.
#[must_use]
pub fn table() -> Vec<u8> {
    const LISTENS: u32 = 0x1_0000;
    let mut out = b"Num       RefCount Protocol Flags    Type St Inode Path\n".to_vec();
    for socket in shown() {
        let connected = socket.state == ESTABLISHED;
        // A connection that was not accepted yet has no inode.
        let st = match (socket.ino != 0, connected) {
            (true, true) => 3,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 4,
        };
        let flags = if socket.is_listening() { LISTENS } else { 0 };
        let references = 2 + u32::from(connected);
        out.extend_from_slice(
            format!(
                "{:016x}: {references:08X} {:08X} {flags:08X} {:04X} {st:02X} {:5}",
                0, 0, socket.kind, socket.ino
            )
            .as_bytes(),
        );
        if let Some(text) = socket.text {
            out.push(b' ');
            out.extend_from_slice(&text);
        }
        out.push(b'\n');
    }
    out
}
