//! The socket through which a container's frames go.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Bytes of the socket's buffers: a burst of the longest frames.
const BUFFER: i32 = 4 << 20;
/// `SOL_PACKET` and its options (packet(7)); libc names not all of them.
const PACKET_VNET_HDR: i32 = 15;
const PACKET_IGNORE_OUTGOING: i32 = 23;

/// Opens a packet socket bound to the interface of this number in the caller's network namespace. Frames that it
/// receives and sends stand behind a `struct virtio_net_hdr`.
///
/// # Errors
/// Without `CAP_NET_RAW`, or when there is no such interface.
pub fn open(index: u32) -> io::Result<OwnedFd> {
    let checked = |result: i32| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    // No protocol yet: nothing comes in from other interfaces before it is bound.
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket takes no pointer.
    let fd = checked(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: just made, ours alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let set = |level: i32, name: i32, value: i32| {
        // SAFETY: the value is an int, as these options take it.
        checked(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                size_of::<i32>() as u32,
            )
        })
    };
    set(libc::SOL_PACKET, PACKET_VNET_HDR, 1)?;
    // From Linux 4.20 on; before, the sentry drops what did not come for it.
    let _ = set(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    // Larger buffers are a matter of speed.
    let _ = set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, BUFFER);
    let _ = set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER);
    // SAFETY: all zeroes are a valid address.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    // SAFETY: the address is valid and of the length that is said.
    checked(unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32)
    })?;
    Ok(socket)
}
