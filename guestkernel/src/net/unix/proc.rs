//! `/proc/net/unix`.

use alloc::{
    collections::BTreeMap,
    format,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::Ordering;

use super::{State, UnixSocket};
use crate::sync::SpinLock;

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

/// The table of sockets as text.
#[must_use]
pub fn table() -> Vec<u8> {
    const LISTENS: u32 = 0x1_0000;
    let sockets: Vec<Arc<UnixSocket>> = ALL.lock().values().filter_map(Weak::upgrade).collect();
    let mut out = b"Num       RefCount Protocol Flags    Type St Inode Path\n".to_vec();
    for socket in sockets {
        let (state, name) = {
            let inner = socket.inner.lock();
            (inner.state, inner.name.clone())
        };
        let ino = socket.ino.load(Ordering::Relaxed);
        let connected = state == State::Connected;
        // A connection that was not accepted yet has no inode.
        let st = match (ino != 0, connected) {
            (true, true) => 3,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 4,
        };
        let flags = if state == State::Listening { LISTENS } else { 0 };
        let references = 2 + u32::from(connected);
        out.extend_from_slice(
            format!(
                "{:016x}: {references:08X} {:08X} {flags:08X} {:04X} {st:02X} {ino:5}",
                0,
                0,
                socket.kind()
            )
            .as_bytes(),
        );
        if let Some(name) = name {
            out.push(b' ');
            out.extend_from_slice(&name.text());
        }
        out.push(b'\n');
    }
    out
}
