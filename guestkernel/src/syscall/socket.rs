//! Sockets: the calls that make, name, connect and use them.

use alloc::sync::Arc;
use linux_raw_sys::general::{O_CLOEXEC, O_NONBLOCK};

use super::{
    Args,
    at::{file, install, nofile, only},
};
use crate::{
    arch::{clock, is_user_range, uaccess},
    errno::{Errno, Result},
    fs::File,
    net::{
        self, MsgFlags, Receiving, Sending, Socket,
        address::{self, Address},
        file as socket_file,
        file::socket as socket_of,
        half,
        inet::settings::SOMAXCONN,
        message,
        options::{self, OptionIn, OptionOut, SOL_SOCKET},
    },
    task::current,
    uio::{IOV_MAX, Sink, Source},
};

/// Type without the flags.
const TYPE_MASK: u32 = 0xf;
/// Most bytes of one transfer.
const MAX_RW: usize = 0x7fff_f000;

/// Type and status flags of a `type` argument.
fn kind(arg: u32) -> Result<(u32, u32)> {
    let flags = arg & !TYPE_MASK;
    only(flags, O_CLOEXEC | O_NONBLOCK)?;
    Ok((arg & TYPE_MASK, flags))
}

fn make(socket: Arc<dyn Socket>, flags: u32) -> Result<u64> {
    install(socket_file::open(socket, flags & O_NONBLOCK), flags & O_CLOEXEC != 0)
}

/// socket(2).
///
/// # Errors
/// As socket(2).
pub fn socket(args: &Args) -> Result<u64> {
    let (kind, flags) = kind(args.uint(1))?;
    make(net::create(args.int(0), kind, args.int(2))?, flags)
}

/// socketpair(2).
///
/// # Errors
/// As socketpair(2).
pub fn socketpair(args: &Args) -> Result<u64> {
    let (kind, flags) = kind(args.uint(1))?;
    let [first, second] = net::pair(args.int(0), kind, args.int(2))?;
    let (first, second) = (socket_file::open(first, flags), socket_file::open(second, flags));
    let cloexec = flags & O_CLOEXEC != 0;
    let first = install(first, cloexec)? as i32;
    let done = install(second, cloexec).map(|fd| fd as i32).and_then(|second| {
        uaccess::put(args.addr(3), &[first, second]).inspect_err(|_| {
            drop(current().files().close(second));
        })
    });
    if let Err(error) = done {
        drop(current().files().close(first));
        return Err(error);
    }
    Ok(0)
}

/// bind(2).
///
/// # Errors
/// As bind(2).
pub fn bind(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    let socket = socket_of(&file)?;
    let to = Address::import(args.addr(1), args.int(2))?;
    socket.bind(&to, file.attr()?.mode & 0o7777).map(|()| 0)
}

/// listen(2).
///
/// # Errors
/// As listen(2).
pub fn listen(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    socket_of(&file)?.listen(args.uint(1).min(SOMAXCONN.get() as u32)).map(|()| 0)
}

/// connect(2).
///
/// # Errors
/// As connect(2).
pub fn connect(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    let socket = socket_of(&file)?;
    let to = Address::import(args.addr(1), args.int(2))?;
    socket.connect(&to, file.nonblocking()).map(|()| 0)
}

fn do_accept(args: &Args, flags: u32) -> Result<u64> {
    only(flags, O_CLOEXEC | O_NONBLOCK)?;
    let file = file(args.int(0))?;
    let socket = socket_of(&file)?;
    if !current().files().has_room(nofile()) {
        // Before a connection is taken, which would be lost.
        return Err(Errno::EMFILE);
    }
    let accepted = socket.accept(file.nonblocking())?;
    let peer = if args.addr(1) == 0 { None } else { Some(accepted.accepted_name()) };
    let opened = socket_file::open(accepted, flags);
    if let Some(peer) = peer {
        peer.map_err(|_| Errno::ECONNABORTED)?.export(args.addr(1), args.addr(2))?;
    }
    install(opened, flags & O_CLOEXEC != 0)
}

/// accept(2).
///
/// # Errors
/// As accept(2).
pub fn accept(args: &Args) -> Result<u64> {
    do_accept(args, 0)
}

/// accept4(2).
///
/// # Errors
/// As accept4(2).
pub fn accept4(args: &Args) -> Result<u64> {
    do_accept(args, args.uint(3))
}

/// getsockname(2).
///
/// # Errors
/// As getsockname(2).
pub fn getsockname(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    socket_of(&file)?.local_name()?.export(args.addr(1), args.addr(2)).map(|()| 0)
}

/// getpeername(2).
///
/// # Errors
/// As getpeername(2).
pub fn getpeername(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    socket_of(&file)?.peer_name()?.export(args.addr(1), args.addr(2)).map(|()| 0)
}

/// Flags of a call on `file`. Those that no family looks at are dropped.
fn flags(file: &File, flags: u32) -> MsgFlags {
    let flags = MsgFlags::from_bits_truncate(flags);
    if file.nonblocking() { flags | MsgFlags::DONTWAIT } else { flags }
}

fn buffer(args: &Args) -> Result<usize> {
    if is_user_range(args.addr(1), args.0[2]) { Ok(args.size(2).min(MAX_RW)) } else { Err(Errno::EFAULT) }
}

/// sendto(2).
///
/// # Errors
/// As sendto(2).
pub fn sendto(args: &Args) -> Result<u64> {
    let mut source = Source::user(args.addr(1), buffer(args)?);
    let file = file(args.int(0))?;
    let socket = socket_of(&file)?;
    let to = if args.addr(4) == 0 { None } else { Some(Address::import(args.addr(4), args.int(5))?) };
    let sending = Sending { flags: flags(&file, args.uint(3)), to: to.as_ref(), control: &[] };
    socket.send(&mut source, &sending).map(|len| len as u64)
}

/// recvfrom(2).
///
/// # Errors
/// As recvfrom(2).
pub fn recvfrom(args: &Args) -> Result<u64> {
    let mut sink = Sink::user(args.addr(1), buffer(args)?);
    let file = file(args.int(0))?;
    let socket = socket_of(&file)?;
    let wants_address = args.addr(4) != 0;
    let received =
        socket.receive(&mut sink, Receiving { flags: flags(&file, args.uint(3)), wants_address })?;
    if wants_address {
        address::export(received.from.as_ref(), args.addr(4), args.addr(5))?;
    }
    Ok(received.len as u64)
}

/// sendmsg(2).
///
/// # Errors
/// As sendmsg(2).
pub fn sendmsg(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    message::send(&**socket_of(&file)?, args.addr(1), flags(&file, args.uint(2))).map(|len| len as u64)
}

/// recvmsg(2).
///
/// # Errors
/// As recvmsg(2).
pub fn recvmsg(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    message::receive(&**socket_of(&file)?, args.addr(1), flags(&file, args.uint(2))).map(|len| len as u64)
}

/// `struct mmsghdr`: a header and what its message moved.
const MMSGHDR: u64 = 64;
const MMSG_LEN_AT: u64 = 56;

/// Calls `each` for the headers of an array until one fails; the number that did not, or the first's error.
fn for_each_message(
    args: &Args,
    mut each: impl FnMut(u64, usize) -> Result<usize>,
    mut go_on: impl FnMut() -> bool,
) -> Result<u64> {
    let count = args.size(2).min(IOV_MAX);
    let mut done = 0;
    while done < count {
        let at = args.addr(1).wrapping_add(done as u64 * MMSGHDR);
        let step = each(at, done).and_then(|len| uaccess::put(at.wrapping_add(MMSG_LEN_AT), &(len as u32)));
        match step {
            Ok(()) => done += 1,
            Err(_) if done != 0 => break,
            Err(error) => return Err(error),
        }
        if !go_on() {
            break;
        }
    }
    Ok(done as u64)
}

/// sendmmsg(2).
///
/// # Errors
/// As sendmmsg(2).
pub fn sendmmsg(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    let socket = socket_of(&file)?;
    let flags = flags(&file, args.uint(3));
    for_each_message(args, |at, _| message::send(&**socket, at, flags), || true)
}

/// recvmmsg(2). The time limit is looked at between messages, as Linux does.
///
/// # Errors
/// As recvmmsg(2).
pub fn recvmmsg(args: &Args) -> Result<u64> {
    let limit = args.addr(4);
    let end = if limit == 0 {
        None
    } else {
        let [sec, nsec]: [i64; 2] = uaccess::get(limit)?;
        if sec < 0 || !(0..1_000_000_000).contains(&nsec) {
            return Err(Errno::EINVAL);
        }
        let ns = (sec as u64).saturating_mul(1_000_000_000).saturating_add(nsec as u64);
        Some(clock::monotonic_ns().saturating_add(ns))
    };
    let file = file(args.int(0))?;
    let socket = socket_of(&file)?;
    let flags = flags(&file, args.uint(3));
    socket.core().take_error()?;
    let result = for_each_message(
        args,
        |at, done| {
            let later = done != 0 && flags.contains(MsgFlags::WAITFORONE);
            let flags = if later { flags | MsgFlags::DONTWAIT } else { flags };
            message::receive(&**socket, at, flags)
        },
        || end.is_none_or(|end| clock::monotonic_ns() < end),
    )?;
    if let Some(end) = end {
        let left = end.saturating_sub(clock::monotonic_ns());
        uaccess::put(limit, &[left / 1_000_000_000, left % 1_000_000_000])?;
    }
    Ok(result)
}

/// shutdown(2).
///
/// # Errors
/// As shutdown(2).
pub fn shutdown(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    let socket = socket_of(&file)?;
    let how = match args.int(1) {
        0 => half::RECEIVE,
        1 => half::SEND,
        2 => half::BOTH,
        _ => return Err(Errno::EINVAL),
    };
    socket.shutdown(how).map(|()| 0)
}

/// setsockopt(2).
///
/// # Errors
/// As setsockopt(2).
pub fn setsockopt(args: &Args) -> Result<u64> {
    let len = usize::try_from(args.int(4)).map_err(|_| Errno::EINVAL)?;
    let file = file(args.int(0))?;
    let socket = socket_of(&file)?;
    let value = OptionIn { addr: args.addr(3), len };
    if args.int(1) == SOL_SOCKET {
        options::set(&**socket, args.uint(2), value)?;
    } else {
        socket.set_option(args.int(1), args.uint(2), value)?;
    }
    Ok(0)
}

/// getsockopt(2).
///
/// # Errors
/// As getsockopt(2).
pub fn getsockopt(args: &Args) -> Result<u64> {
    let file = file(args.int(0))?;
    let socket = socket_of(&file)?;
    let (level, name) = (args.int(1), args.uint(2));
    let out = |len| OptionOut { addr: args.addr(3), len_at: args.addr(4), len };
    if level != SOL_SOCKET {
        return socket.option(level, name, out(0)).map(|()| 0);
    }
    let len: i32 = uaccess::get(args.addr(4))?;
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    options::get(&**socket, name, out(len)).map(|()| 0)
}
