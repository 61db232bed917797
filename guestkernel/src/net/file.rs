//! Sockets as open files: what read(2), write(2), poll(2), ioctl(2) and close(2) see.

use alloc::sync::Arc;
use linux_raw_sys::general::{O_NONBLOCK, O_RDWR, S_IFSOCK};

use super::{MsgFlags, Receiving, Sending, Socket};
use crate::{
    arch::try_current,
    errno::{Errno, Result},
    fs::{
        File, FileOps, PollMask,
        anon::{self, AnonInode},
    },
    sync::Once,
    task::wait::WaitQueue,
    uio::{Sink, Source},
};

/// Number of the file system in statfs(2).
const MAGIC: u64 = 0x534F_434B;

/// The operations of a socket's file. The socket is released with it.
pub struct SocketFile {
    socket: Arc<dyn Socket>,
}

fn dev() -> u64 {
    static DEV: Once<u64> = Once::new();
    *DEV.call_once(anon::next_dev)
}

/// Puts `socket` behind a file; `flags` are status flags (`O_NONBLOCK`).
#[must_use]
pub fn open(socket: Arc<dyn Socket>, flags: u32) -> Arc<File> {
    let (uid, gid) = try_current().map_or((0, 0), |me| me.with_cred(|cred| (cred.fsuid, cred.fsgid)));
    let inode = AnonInode::new(S_IFSOCK | 0o777, uid, gid, dev(), MAGIC);
    let ino = crate::fs::Inode::attr(&*inode).map_or(0, |attr| attr.ino);
    socket.opened(ino);
    let name = anon::numbered("socket", ino);
    File::anonymous(Arc::new(SocketFile { socket }), inode, &name, O_RDWR | flags & O_NONBLOCK)
}

/// The socket behind a file.
///
/// # Errors
/// `ENOTSOCK`.
pub fn socket(file: &File) -> Result<&Arc<dyn Socket>> {
    file.downcast::<SocketFile>().map(|file| &file.socket).ok_or(Errno::ENOTSOCK)
}

/// Flags of a call by the file's.
pub(super) fn flags(file: &File, flags: MsgFlags) -> MsgFlags {
    if file.nonblocking() { flags | MsgFlags::DONTWAIT } else { flags }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.socket.release();
    }
}

impl FileOps for SocketFile {
    fn read_at(&self, file: &File, sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        let receiving = Receiving { flags: flags(file, MsgFlags::empty()), wants_address: false };
        let received = self.socket.receive(sink, receiving)?;
        Ok(received.len)
    }

    fn write_at(&self, file: &File, source: &mut Source<'_>, _offset: u64) -> Result<usize> {
        let flags = flags(file, MsgFlags::empty());
        self.socket.send(source, &Sending { flags, to: None, control: &[] })
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn poll(&self, _file: &File) -> PollMask {
        self.socket.poll()
    }

    fn queues(&self) -> [Option<&WaitQueue>; 2] {
        self.socket.queues()
    }

    fn tells(&self) -> bool {
        true
    }

    fn ioctl(&self, _file: &File, request: u32, arg: u64) -> Result<u64> {
        self.socket.ioctl(request, arg)
    }
}

impl core::fmt::Debug for SocketFile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.socket.fmt(f)
    }
}
