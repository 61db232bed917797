//! Sockets of AF_UNIX: `struct unix_diag_req` and `struct unix_diag_msg`.

use super::{Writer, check_cookie, cookie, memory};
use crate::{
    errno::{Errno, Result},
    net::{
        AF_UNIX,
        netlink::codec::word,
        unix::proc::{self, Shown},
    },
};

/// Bytes of a request.
const REQUEST: usize = 24;

/// What a request may want, and the attribute that tells it.
mod show {
    pub(super) const NAME: u32 = 1;
    pub(super) const VFS: u32 = 2;
    pub(super) const PEER: u32 = 4;
    pub(super) const ICONS: u32 = 8;
    pub(super) const RQLEN: u32 = 0x10;
    pub(super) const MEMINFO: u32 = 0x20;
    pub(super) const UID: u32 = 0x40;
}

/// Answers a request.
pub(super) fn answer(writer: &mut Writer, payload: &[u8], dump: bool) -> Result<()> {
    let request = payload.get(..REQUEST).ok_or(Errno::EINVAL)?;
    let (states, ino, wanted) = (word(request, 4), word(request, 8), word(request, 12));
    let sockets = proc::shown();
    if dump {
        let sockets = sockets.iter().filter(|socket| socket.ino != 0 && states >> socket.state & 1 != 0);
        sockets.for_each(|socket| write(writer, socket, wanted));
        return Ok(());
    }
    if ino == 0 {
        return Err(Errno::EINVAL);
    }
    let found = sockets.iter().find(|socket| socket.ino as u32 == ino).ok_or(Errno::ENOENT)?;
    check_cookie([word(request, 16), word(request, 20)], found.ino)?;
    write(writer, found, wanted);
    Ok(())
}

fn write(writer: &mut Writer, socket: &Shown, wanted: u32) {
    let wants = |what: u32| wanted & what != 0;
    writer.begin();
    writer.out.put(&[AF_UNIX as u8, socket.kind as u8, socket.state, 0]);
    writer.words(&[socket.ino as u32]);
    writer.words(&cookie(socket.ino));
    if let Some(name) = socket.name.as_ref().filter(|_| wants(show::NAME)) {
        writer.out.attribute(0, name);
    }
    if let Some((ino, dev)) = socket.file.filter(|_| wants(show::VFS)) {
        writer.attribute_words(1, &[ino as u32, dev as u32]);
    }
    if let Some(peer) = socket.peer.filter(|_| wants(show::PEER)) {
        writer.attribute_words(2, &[peer as u32]);
    }
    if socket.is_listening() && wants(show::ICONS) && !socket.pending.is_empty() {
        writer.attribute_words(3, &socket.pending);
    }
    if wants(show::RQLEN) {
        writer.attribute_words(4, &[socket.queue.0, socket.queue.1]);
    }
    if wants(show::MEMINFO) {
        writer.attribute_words(5, &memory(0, socket.charged, socket.buffers, 0));
    }
    if wants(show::UID) {
        writer.attribute_words(7, &[socket.uid]);
    }
    writer.out.attribute(6, &[socket.shut as u8]);
}
