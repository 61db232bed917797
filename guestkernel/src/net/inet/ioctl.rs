//! ioctls of interfaces (netdevice(7)).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use super::{capable, link};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    net::AF_INET,
    task::cred::Caps,
};

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCGIFMAP: u32 = 0x8970;
/// Those that change an interface or a route.
const CHANGES: [u32; 12] =
    [0x890b, 0x890c, 0x8914, 0x8916, 0x8918, 0x891a, 0x891c, 0x8922, 0x8923, 0x8924, 0x8936, 0x8943];

/// Bytes of a `struct ifreq`, and of the name in it.
const IFREQ: usize = 40;
const NAME: usize = 16;

/// An IPv4 address as a `struct sockaddr_in` in an ifreq.
fn put_address(request: &mut [u8; IFREQ], addr: Ipv4Addr) {
    request[NAME..].fill(0);
    request[NAME..NAME + 2].copy_from_slice(&AF_INET.to_ne_bytes());
    request[NAME + 4..NAME + 8].copy_from_slice(&addr.octets());
}

fn put_int(request: &mut [u8; IFREQ], value: i32) {
    request[NAME..NAME + 4].copy_from_slice(&value.to_ne_bytes());
}

/// The first IPv4 address of an interface and its bits of network.
fn address_of(interface: &link::Interface) -> Option<(Ipv4Addr, u8)> {
    interface.addresses.iter().find_map(|assigned| match assigned.addr {
        IpAddr::V4(addr) => Some((addr, assigned.prefix)),
        IpAddr::V6(_) => None,
    })
}

fn named(request: &[u8; IFREQ]) -> Result<&'static link::Interface> {
    let name = request[..NAME - 1].split(|&byte| byte == 0).next().unwrap_or_default();
    // An alias (`lo:1`) is the interface's.
    let name = name.split(|&byte| byte == b':').next().unwrap_or_default();
    link::by_name(name).ok_or(Errno::ENODEV)
}

/// Answers one request about one interface.
fn answer(request: u32, ifreq: &mut [u8; IFREQ]) -> Result<()> {
    if request == SIOCGIFNAME {
        let index = u32::from_ne_bytes([ifreq[NAME], ifreq[NAME + 1], ifreq[NAME + 2], ifreq[NAME + 3]]);
        let interface = link::by_index(index).ok_or(Errno::ENODEV)?;
        ifreq[..NAME].fill(0);
        ifreq[..interface.name.len()].copy_from_slice(interface.name.as_bytes());
        return Ok(());
    }
    let interface = named(ifreq)?;
    let (addr, prefix) = address_of(interface).unwrap_or((Ipv4Addr::UNSPECIFIED, 0));
    match request {
        SIOCGIFFLAGS => {
            let flags = (interface.flags & 0xffff) as u16;
            ifreq[NAME..NAME + 2].copy_from_slice(&flags.to_ne_bytes());
        }
        SIOCGIFADDR | SIOCGIFDSTADDR => put_address(ifreq, addr),
        SIOCGIFBRDADDR => {
            let broadcast = interface.addresses.iter().find_map(|assigned| match assigned.broadcast {
                Some(IpAddr::V4(addr)) => Some(addr),
                _ => None,
            });
            put_address(ifreq, broadcast.unwrap_or(Ipv4Addr::UNSPECIFIED));
        }
        SIOCGIFNETMASK => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            put_address(ifreq, Ipv4Addr::from(mask));
        }
        SIOCGIFMETRIC => put_int(ifreq, 0),
        SIOCGIFMTU => put_int(ifreq, interface.mtu as i32),
        SIOCGIFINDEX => put_int(ifreq, interface.index as i32),
        SIOCGIFTXQLEN => put_int(ifreq, interface.queue as i32),
        SIOCGIFMAP => ifreq[NAME..].fill(0),
        SIOCGIFHWADDR => {
            ifreq[NAME..].fill(0);
            ifreq[NAME..NAME + 2].copy_from_slice(&interface.hardware().to_ne_bytes());
            ifreq[NAME + 2..NAME + 8].copy_from_slice(&interface.mac);
        }
        _ => return Err(Errno::ENOTTY),
    }
    Ok(())
}

/// `SIOCGIFCONF`: the interfaces that have an IPv4 address.
fn configuration(arg: u64) -> Result<u64> {
    let [len, _, low, high]: [u32; 4] = uaccess::get(arg)?;
    let to = u64::from(low) | u64::from(high) << 32;
    let mut all = Vec::new();
    for interface in link::interfaces() {
        let Some((addr, _)) = address_of(interface) else { continue };
        let mut request = [0; IFREQ];
        request[..interface.name.len()].copy_from_slice(interface.name.as_bytes());
        put_address(&mut request, addr);
        all.extend_from_slice(&request);
    }
    // Whole ones, as many as fit; without a place for them only their size is told.
    if to != 0 {
        let space = usize::try_from(len as i32).unwrap_or(0);
        all.truncate(space / IFREQ * IFREQ);
        uaccess::copy_to_user(to, &all)?;
    }
    uaccess::put(arg, &(all.len() as i32))?;
    Ok(0)
}

/// What an Internet socket answers that is not about itself.
///
/// # Errors
/// `ENODEV` for an interface that there is not, `EPERM`, `ENOTTY`, `EFAULT`.
pub fn interface(request: u32, arg: u64) -> Result<u64> {
    if request == SIOCGIFCONF {
        return configuration(arg);
    }
    if CHANGES.contains(&request) {
        // Who may has nothing to change: the interface is as it is.
        return Err(if capable(Caps::NET_ADMIN) { Errno::EOPNOTSUPP } else { Errno::EPERM });
    }
    if request >> 8 != 0x89 {
        return Err(Errno::ENOTTY);
    }
    let mut ifreq: [u8; IFREQ] = uaccess::get(arg)?;
    answer(request, &mut ifreq)?;
    uaccess::copy_to_user(arg, &ifreq)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_interface_says_what_it_is() {
        let mut ifreq = [0; IFREQ];
        ifreq[..2].copy_from_slice(b"lo");
        assert_eq!(answer(SIOCGIFNETMASK, &mut ifreq), Ok(()));
        assert_eq!(ifreq[NAME + 4..NAME + 8], [255, 0, 0, 0]);
        assert_eq!(answer(SIOCGIFINDEX, &mut ifreq), Ok(()));
        assert_eq!(ifreq[NAME], 1);
        ifreq[0] = b'x';
        assert_eq!(answer(SIOCGIFINDEX, &mut ifreq), Err(Errno::ENODEV));
    }

    proptest! {
        #[test]
        fn hostile_requests_are_answered_or_refused(bytes: [u8; 32], request in 0x8900u32..0x8990) {
            let mut ifreq = [0; IFREQ];
            ifreq[..32].copy_from_slice(&bytes);
            let _ = answer(request, &mut ifreq);
        }
    }
}
