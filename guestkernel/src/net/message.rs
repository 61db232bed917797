//! `struct msghdr`: one place where the message calls read and write ring 3's structures.

use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    MsgFlags, Received, Receiving, Sending, Socket,
    address::{self, Address, MAX_LEN},
    control::Writer,
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    uio::{self, IOV_MAX, Sink, Source, UserRanges},
};

/// Most bytes of control data that a sender may pass.
const MAX_CONTROL: u64 = 131_072;

/// `struct msghdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    name: u64,
    name_len: i32,
    pad: u32,
    iov: u64,
    iov_len: u64,
    control: u64,
    control_len: u64,
    flags: u32,
    pad2: u32,
}

const _: () = assert!(size_of::<Header>() == 56);
/// Where its fields are that a receiver stores.
const NAME_LEN_AT: u64 = 8;
const CONTROL_LEN_AT: u64 = 40;
const FLAGS_AT: u64 = 48;

impl Header {
    fn read(addr: u64) -> Result<Self> {
        let mut header: Self = uaccess::get(addr)?;
        if header.name == 0 {
            header.name_len = 0;
        }
        if header.name_len < 0 {
            return Err(Errno::EINVAL);
        }
        header.name_len = header.name_len.min(MAX_LEN as i32);
        Ok(header)
    }

    fn ranges(&self) -> Result<UserRanges> {
        if self.iov_len > IOV_MAX as u64 {
            return Err(Errno::EMSGSIZE);
        }
        uio::import_iovec(self.iov, self.iov_len as usize)
    }

    fn control(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let len = self.control_len;
        if len > i32::MAX as u64 || len >= MAX_CONTROL {
            return Err(Errno::ENOBUFS);
        }
        if len != 0 {
            bytes.try_reserve_exact(len as usize).map_err(|_| Errno::ENOBUFS)?;
            bytes.resize(len as usize, 0);
            uaccess::copy_from_user(&mut bytes, self.control)?;
        }
        Ok(bytes)
    }
}

/// sendmsg(2) of the header at `addr`.
///
/// # Errors
/// As sendmsg(2).
pub fn send(socket: &dyn Socket, addr: u64, flags: MsgFlags) -> Result<usize> {
    let header = Header::read(addr)?;
    let to = if header.name != 0 && header.name_len != 0 {
        Some(Address::import(header.name, header.name_len)?)
    } else {
        None
    };
    let mut source = Source::User(header.ranges()?);
    let control = header.control()?;
    socket.send(&mut source, &Sending { flags, to: to.as_ref(), control: &control })
}

/// recvmsg(2) into the header at `addr`.
///
/// # Errors
/// As recvmsg(2).
pub fn receive(socket: &dyn Socket, addr: u64, flags: MsgFlags) -> Result<usize> {
    let header = Header::read(addr)?;
    let mut sink = Sink::User(header.ranges()?);
    let received = socket.receive(&mut sink, Receiving { flags, wants_address: header.name != 0 })?;
    finish(addr, &header, &received, flags)?;
    Ok(received.len)
}

fn finish(addr: u64, header: &Header, received: &Received, flags: MsgFlags) -> Result<()> {
    let mut writer = Writer::new(header.control, usize::try_from(header.control_len).unwrap_or(usize::MAX));
    for item in &received.control {
        writer.store(item, flags)?;
    }
    if header.name != 0 {
        address::export(received.from.as_ref(), header.name, addr + NAME_LEN_AT)?;
    }
    let answered = received.flags | writer.flags() | flags & MsgFlags::CMSG_CLOEXEC;
    uaccess::put(addr + FLAGS_AT, &answered.bits())?;
    uaccess::put(addr + CONTROL_LEN_AT, &(writer.used() as u64))
}
