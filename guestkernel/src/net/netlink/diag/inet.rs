//! Sockets of AF_INET and AF_INET6: `struct inet_diag_req_v2` and `struct inet_diag_msg`.

use core::net::IpAddr;

use super::{Writer, check_cookie, cookie, filter, memory};
use crate::{
    errno::{Errno, Result},
    net::{
        AF_INET, AF_INET6,
        inet::{
            address::{Endpoint, to_v6},
            shown::{self, LISTEN, Shown, TIME_WAIT},
        },
        netlink::codec::{self, word},
    },
};

/// Bytes of a request.
const REQUEST: usize = 56;
/// Where in a request: what else is wanted, which states, and the ends.
const EXTENSIONS: usize = 2;
const STATES: usize = 4;
const ENDS: usize = 8;
/// Where behind there: the interface and the cookie.
const COOKIE: usize = 40;
/// The attribute with a filter.
const BYTECODE: u16 = 1;

/// Attributes of an answer.
mod attribute {
    pub(super) const MEMINFO: u16 = 1;
    pub(super) const INFO: u16 = 2;
    pub(super) const CONG: u16 = 4;
    pub(super) const TOS: u16 = 5;
    pub(super) const TCLASS: u16 = 6;
    pub(super) const SKMEMINFO: u16 = 7;
    pub(super) const SHUTDOWN: u16 = 8;
    pub(super) const SKV6ONLY: u16 = 11;
}

/// What a request says of an end: network order.
fn port(ends: &[u8], at: usize) -> u16 {
    ends.get(at..at + 2).and_then(|port| port.try_into().ok()).map_or(0, u16::from_be_bytes)
}

/// Whether `end` is the one that lies as 16 bytes at `at`.
fn is_end(ends: &[u8], at: usize, port_at: usize, end: Endpoint, v6: bool) -> bool {
    port(ends, port_at) == end.port && ends.get(at..at + 16) == Some(&octets(end.addr, v6)[..])
}

/// An address in 16 bytes.
fn octets(addr: IpAddr, v6: bool) -> [u8; 16] {
    let mut bytes = [0; 16];
    match addr {
        IpAddr::V4(addr) if !v6 => bytes[..4].copy_from_slice(&addr.octets()),
        _ => bytes = to_v6(addr).octets(),
    }
    bytes
}

/// Answers a request for sockets of `protocol`.
pub(super) fn answer(writer: &mut Writer, payload: &[u8], protocol: i32, dump: bool) -> Result<()> {
    let request = payload.get(..REQUEST).ok_or(Errno::EINVAL)?;
    let v6 = u16::from(request[0]) == AF_INET6;
    let (extensions, states, ends) = (request[EXTENSIONS], word(request, STATES), &request[ENDS..]);
    let sockets = shown::of(protocol).ok_or(Errno::ENOENT)?;
    let mut sockets = sockets.iter().filter(|socket| socket.v6 == v6);
    if !dump {
        let found = sockets
            .find(|socket| is_end(ends, 4, 0, socket.local, v6) && is_end(ends, 20, 2, socket.remote(), v6));
        let found = found.ok_or(Errno::ENOENT)?;
        check_cookie([word(ends, COOKIE), word(ends, COOKIE + 4)], found.ino)?;
        write(writer, found, extensions);
        return Ok(());
    }
    let code = codec::attributes(payload, REQUEST).find(|(kind, _)| *kind == BYTECODE).map(|(_, code)| code);
    let filter = code.map(filter::Filter::new).transpose()?;
    let (local, remote) = (port(ends, 0), port(ends, 2));
    for socket in sockets {
        let wanted = states >> socket.state & 1 != 0
            && (local == 0 || local == socket.local.port)
            && (remote == 0 || remote == socket.remote().port)
            && filter.as_ref().is_none_or(|filter| filter.takes(socket));
        if wanted {
            write(writer, socket, extensions);
        }
    }
    Ok(())
}

fn write(writer: &mut Writer, socket: &Shown, extensions: u8) {
    /// `timer` of one that waits for the end of its time.
    const ENDING: u8 = 3;
    let (ended, v6) = (socket.state == TIME_WAIT, socket.v6);
    let wants = |attribute: u16| extensions >> (attribute - 1) & 1 != 0;
    let (waiting, unsent) = (socket.waiting as u32, socket.unsent as u32);
    writer.begin();
    let family = if v6 { AF_INET6 } else { AF_INET };
    writer.out.put(&[family as u8, socket.state, if ended { ENDING } else { 0 }, 0]);
    let remote = socket.remote();
    writer.out.put(&socket.local.port.to_be_bytes());
    writer.out.put(&remote.port.to_be_bytes());
    writer.out.put(&octets(socket.local.addr, v6));
    writer.out.put(&octets(remote.addr, v6));
    writer.words(&[0]);
    writer.words(&cookie(socket.ino));
    writer.words(&[(socket.left / 1_000_000) as u32, waiting, unsent, socket.uid, socket.ino as u32]);
    if ended {
        return;
    }
    writer.out.attribute(attribute::SHUTDOWN, &[socket.shut as u8]);
    if wants(attribute::TOS) {
        writer.out.attribute(attribute::TOS, &[0]);
    }
    if v6 {
        if wants(attribute::TCLASS) {
            writer.out.attribute(attribute::TCLASS, &[0]);
        }
        if matches!(socket.state, LISTEN | 7) {
            writer.out.attribute(attribute::SKV6ONLY, &[u8::from(socket.v6only)]);
        }
    }
    if wants(attribute::MEMINFO) {
        writer.attribute_words(attribute::MEMINFO, &[waiting, unsent, 0, 0]);
    }
    if wants(attribute::SKMEMINFO) {
        let sizes = memory(waiting, unsent, socket.buffers, socket.dropped as u32);
        writer.attribute_words(attribute::SKMEMINFO, &sizes);
    }
    if let Some((info, congestion)) = &socket.info {
        if wants(attribute::INFO) {
            writer.out.attribute(attribute::INFO, info);
        }
        if wants(attribute::CONG) {
            writer.out.text(attribute::CONG, congestion);
        }
    }
}
