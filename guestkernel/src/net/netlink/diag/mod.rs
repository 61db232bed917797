//! NETLINK_SOCK_DIAG (sock_diag(7)): what there is of sockets, as ss(8) asks for it.

mod filter;
mod inet;
mod unix;

use super::codec::{Messages, Request, flag};
use crate::{
    errno::{Errno, Result},
    net::{AF_INET, AF_INET6, AF_UNIX, inet::capable},
    task::cred::Caps,
};

/// Types of requests.
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
/// One more than the highest family.
const FAMILY_MAX: u8 = 46;

/// The answer to a request.
///
/// # Errors
/// `EINVAL`; `ENOENT`: nothing is told of sockets of this family or protocol, or there is no such socket; `ESTALE`: it
/// has another cookie; `EOPNOTSUPP`, `EPERM`: sockets are not destroyed.
pub(super) fn answer(request: &Request<'_>, port: u32) -> Result<Option<Messages>> {
    let payload = request.payload();
    match request.kind {
        BY_FAMILY | DESTROY => {}
        _ => return Err(Errno::EINVAL),
    }
    let &[family, protocol, ..] = payload else { return Err(Errno::EINVAL) };
    if family >= FAMILY_MAX {
        return Err(Errno::EINVAL);
    }
    if request.kind == DESTROY {
        return Err(if capable(Caps::NET_ADMIN) { Errno::EOPNOTSUPP } else { Errno::EPERM });
    }
    let mut writer = Writer {
        sequence: request.sequence,
        port,
        flags: if request.is_dump() { flag::MULTI } else { 0 },
        out: Messages::default(),
    };
    match u16::from(family) {
        AF_INET | AF_INET6 => inet::answer(&mut writer, payload, protocol.into(), request.is_dump())?,
        AF_UNIX => unix::answer(&mut writer, payload, request.is_dump())?,
        _ => return Err(Errno::ENOENT),
    }
    Ok(Some(writer.out))
}

/// Lays out the answer.
struct Writer {
    sequence: u32,
    port: u32,
    flags: u16,
    out: Messages,
}

impl Writer {
    fn begin(&mut self) {
        self.out.begin(BY_FAMILY, self.flags, self.sequence, self.port);
    }

    fn words(&mut self, words: &[u32]) {
        words.iter().for_each(|word| self.out.put(&word.to_ne_bytes()));
    }

    fn attribute_words(&mut self, kind: u16, words: &[u32]) {
        let bytes: alloc::vec::Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.out.attribute(kind, &bytes);
    }
}

/// The two words that tell a socket from a later one with the same number: its inode number serves, since none is used
/// twice.
fn cookie(ino: u64) -> [u32; 2] {
    [ino as u32, (ino >> 32) as u32]
}

/// Whether a request may mean the socket with this inode number.
///
/// # Errors
/// `ESTALE`.
fn check_cookie(asked: [u32; 2], ino: u64) -> Result<()> {
    const ANY: [u32; 2] = [u32::MAX; 2];
    if asked == ANY || asked == cookie(ino) { Ok(()) } else { Err(Errno::ESTALE) }
}

/// Sizes as `SK_MEMINFO_*` orders them: of what waits and of buffers.
fn memory(waiting: u32, unsent: u32, (receiving, sending): (u32, u32), dropped: u32) -> [u32; 9] {
    [waiting, receiving, 0, sending, 0, unsent, 0, 0, dropped]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::netlink::codec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn ask(flags: u16, kind: u16, payload: &[u8]) -> Result<Option<Messages>> {
        let mut whole = Messages::default();
        whole.begin(kind, flags, 1, 0);
        whole.put(payload);
        let whole = whole.into_bytes();
        answer(&codec::requests(&whole).next().expect("one"), 5)
    }

    #[test]
    fn families_and_protocols_are_known_or_not() {
        let mut request = Vec::from([0u8; 56]);
        for (family, protocol, expected) in [
            (2, 6, None),
            (10, 17, None),
            (2, 255, None),
            (2, 132, Some(Errno::ENOENT)),
            (1, 0, None),
            (16, 0, Some(Errno::ENOENT)),
            (46, 0, Some(Errno::EINVAL)),
        ] {
            request[..2].copy_from_slice(&[family, protocol]);
            assert_eq!(ask(0x301, BY_FAMILY, &request).err(), expected, "{family} {protocol}");
        }
        assert_eq!(ask(0x301, BY_FAMILY, &[2, 6, 0]).err(), Some(Errno::EINVAL));
        assert_eq!(ask(0x301, 30, &request).err(), Some(Errno::EINVAL));
    }

    proptest! {
        #[test]
        fn hostile_requests_are_answered_or_refused(
            flags: u16, family in 0u8..20, protocol: u8, rest in prop::collection::vec(any::<u8>(), 0..120)
        ) {
            let mut payload = Vec::from([family, protocol]);
            payload.extend(rest);
            let _ = ask(flags, BY_FAMILY, &payload);
        }
    }
}
