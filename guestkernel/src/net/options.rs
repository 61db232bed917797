//! Options of `SOL_SOCKET`.
//!
//! What takes effect is read from here by the families; options that only remember what they were set to do so in
//! one word of bits, as in Linux.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Socket, inet::link};
use crate::{
    arch::{try_current, uaccess},
    errno::{Errno, Result},
    task::cred::Caps,
};

/// `SOL_SOCKET`.
pub const SOL_SOCKET: i32 = 1;
/// Largest buffer that an unprivileged caller may ask for, and the size of a new socket's.
pub const BUFFER_MAX: u32 = 212_992;
const MIN_RCVBUF: u32 = 2304;
const MIN_SNDBUF: u32 = 4608;
/// Timeouts are kept in ticks of this many nanoseconds, as a kernel of 250 Hz does.
const TICK: u64 = 4_000_000;

/// Numbers of options.
pub mod so {
    #![allow(missing_docs, reason = "socket(7) documents them")]
    pub const DEBUG: u32 = 1;
    pub const REUSEADDR: u32 = 2;
    pub const TYPE: u32 = 3;
    pub const ERROR: u32 = 4;
    pub const DONTROUTE: u32 = 5;
    pub const BROADCAST: u32 = 6;
    pub const SNDBUF: u32 = 7;
    pub const RCVBUF: u32 = 8;
    pub const KEEPALIVE: u32 = 9;
    pub const OOBINLINE: u32 = 10;
    pub const NO_CHECK: u32 = 11;
    pub const PRIORITY: u32 = 12;
    pub const LINGER: u32 = 13;
    pub const REUSEPORT: u32 = 15;
    pub const PASSCRED: u32 = 16;
    pub const PEERCRED: u32 = 17;
    pub const RCVLOWAT: u32 = 18;
    pub const SNDLOWAT: u32 = 19;
    pub const RCVTIMEO: u32 = 20;
    pub const SNDTIMEO: u32 = 21;
    pub const BINDTODEVICE: u32 = 25;
    pub const PEERNAME: u32 = 28;
    pub const TIMESTAMP: u32 = 29;
    pub const ACCEPTCONN: u32 = 30;
    pub const PEERSEC: u32 = 31;
    pub const SNDBUFFORCE: u32 = 32;
    pub const RCVBUFFORCE: u32 = 33;
    pub const MARK: u32 = 36;
    pub const PROTOCOL: u32 = 38;
    pub const DOMAIN: u32 = 39;
    pub const PEEK_OFF: u32 = 42;
    pub const PEERGROUPS: u32 = 59;
    pub const RCVTIMEO_NEW: u32 = 66;
    pub const SNDTIMEO_NEW: u32 = 67;
}

/// Options that are a bit: each its own of [`Options::bits`].
const BITS: [u32; 10] = [
    so::DEBUG,
    so::REUSEADDR,
    so::DONTROUTE,
    so::BROADCAST,
    so::KEEPALIVE,
    so::OOBINLINE,
    so::NO_CHECK,
    so::TIMESTAMP,
    so::REUSEPORT,
    so::PASSCRED,
];

fn bit(name: u32) -> Option<u32> {
    BITS.iter().position(|&known| known == name).map(|at| 1 << at)
}

/// A value to be set, in ring 3.
#[derive(Clone, Copy, Debug)]
pub struct OptionIn {
    /// Where.
    pub addr: u64,
    /// Bytes.
    pub len: usize,
}

impl OptionIn {
    /// Reads a `T` from its start.
    ///
    /// # Errors
    /// `EINVAL` when it is shorter, `EFAULT`.
    pub fn get<T: FromBytes + IntoBytes>(&self) -> Result<T> {
        if self.len < size_of::<T>() {
            return Err(Errno::EINVAL);
        }
        uaccess::get(self.addr)
    }
}

/// Where a value goes, in ring 3.
#[derive(Clone, Copy, Debug)]
pub struct OptionOut {
    /// Where.
    pub addr: u64,
    /// Where its length is, before and after.
    pub len_at: u64,
    /// Its space.
    pub len: usize,
}

impl OptionOut {
    /// With the space that ring 3 says it has.
    ///
    /// # Errors
    /// `EINVAL` for a negative one, `EFAULT`.
    pub fn measured(self) -> Result<Self> {
        let len: i32 = uaccess::get(self.len_at)?;
        Ok(Self { len: usize::try_from(len).map_err(|_| Errno::EINVAL)?, ..self })
    }

    /// Stores what fits of a value, and how much that was.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn put(&self, value: &(impl IntoBytes + Immutable + ?Sized)) -> Result<()> {
        let bytes = value.as_bytes();
        let len = bytes.len().min(self.len);
        uaccess::copy_to_user(self.addr, &bytes[..len])?;
        self.put_len(len)
    }

    /// Stores a length.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn put_len(&self, len: usize) -> Result<()> {
        uaccess::put(self.len_at, &(len as i32))
    }
}

/// The values.
#[derive(Debug)]
pub struct Options {
    bits: AtomicU32,
    sndbuf: AtomicU32,
    rcvbuf: AtomicU32,
    low_water: AtomicI32,
    /// Ns; `u64::MAX` = none.
    receive_timeout: AtomicU64,
    send_timeout: AtomicU64,
    /// The size of the sending buffer was asked for.
    sized: AtomicBool,
    linger: AtomicBool,
    linger_seconds: AtomicI32,
    priority: AtomicI32,
    mark: AtomicU32,
    /// The interface that it is bound to; 0 = none.
    device: AtomicU32,
    /// Where the next peek starts; negative = at the front, always.
    pub peek_offset: AtomicI32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bits: AtomicU32::new(0),
            sndbuf: AtomicU32::new(BUFFER_MAX),
            rcvbuf: AtomicU32::new(BUFFER_MAX),
            low_water: AtomicI32::new(1),
            receive_timeout: AtomicU64::new(u64::MAX),
            send_timeout: AtomicU64::new(u64::MAX),
            sized: AtomicBool::new(false),
            linger: AtomicBool::new(false),
            linger_seconds: AtomicI32::new(0),
            priority: AtomicI32::new(0),
            mark: AtomicU32::new(0),
            device: AtomicU32::new(0),
            peek_offset: AtomicI32::new(-1),
        }
    }
}

/// What a buffer size asked for becomes: twice as much, for the kernel's own part of it.
#[must_use]
pub fn buffer_size(asked: u32, most: u32, least: u32) -> u32 {
    (asked.min(most).min(i32::MAX as u32 / 2) * 2).max(least)
}

/// A timeout in ns from a `struct timeval`.
///
/// # Errors
/// `EDOM`.
pub fn timeout(sec: i64, usec: i64) -> Result<u64> {
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EDOM);
    }
    if sec < 0 {
        return Ok(0);
    }
    if sec == 0 && usec == 0 {
        return Ok(u64::MAX);
    }
    let ns = (sec as u64).saturating_mul(1_000_000_000).saturating_add(usec as u64 * 1000);
    // What cannot be counted in ticks is no limit.
    if ns > i64::MAX as u64 - TICK { Ok(u64::MAX) } else { Ok(ns.next_multiple_of(TICK)) }
}

/// The `struct timeval` of a timeout.
fn timeval(ns: u64) -> [i64; 2] {
    if ns == u64::MAX { [0, 0] } else { [(ns / 1_000_000_000) as i64, (ns % 1_000_000_000 / 1000) as i64] }
}

fn capable(caps: Caps) -> bool {
    try_current().is_some_and(|me| me.with_cred(|cred| cred.effective.intersects(caps)))
}

/// How often an option that we do not have was asked for.
static UNKNOWN: AtomicU32 = AtomicU32::new(0);

#[cold]
fn unknown(name: u32) -> Errno {
    if UNKNOWN.fetch_add(1, Ordering::Relaxed) == 0 {
        log::warn!("socket option {name} is absent");
    }
    Errno::ENOPROTOOPT
}

impl Options {
    /// Whether a flag is on.
    #[must_use]
    pub fn flag(&self, name: u32) -> bool {
        bit(name).is_some_and(|bit| self.bits.load(Ordering::Relaxed) & bit != 0)
    }

    /// Sends carry and receives show credentials.
    #[must_use]
    #[inline]
    pub fn passcred(&self) -> bool {
        self.bits.load(Ordering::Relaxed) & 1 << (BITS.len() - 1) != 0
    }

    /// The buffers of a new socket of a family with its own, bytes.
    pub fn start_with(&self, sndbuf: u32, rcvbuf: u32) {
        self.sndbuf.store(sndbuf, Ordering::Relaxed);
        self.rcvbuf.store(rcvbuf, Ordering::Relaxed);
    }

    /// Takes over another socket's, as an accepted connection does.
    pub fn copy(&self, from: &Self) {
        let pairs = [
            (&self.bits, &from.bits),
            (&self.sndbuf, &from.sndbuf),
            (&self.rcvbuf, &from.rcvbuf),
            (&self.mark, &from.mark),
            (&self.device, &from.device),
        ];
        for (to, from) in pairs {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        for (to, from) in [
            (&self.low_water, &from.low_water),
            (&self.linger_seconds, &from.linger_seconds),
            (&self.priority, &from.priority),
        ] {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        for (to, from) in
            [(&self.receive_timeout, &from.receive_timeout), (&self.send_timeout, &from.send_timeout)]
        {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.linger.store(from.linger.load(Ordering::Relaxed), Ordering::Relaxed);
        self.sized.store(from.sized.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// `SO_LINGER`: how long closing waits, seconds.
    #[must_use]
    pub fn linger(&self) -> Option<u32> {
        let on = self.linger.load(Ordering::Relaxed);
        on.then(|| self.linger_seconds.load(Ordering::Relaxed).max(0) as u32)
    }

    /// `SO_SNDBUF` was set: it does not grow by itself.
    #[must_use]
    pub fn has_own_sndbuf(&self) -> bool {
        self.sized.load(Ordering::Relaxed)
    }

    /// Most bytes of memory that may be sent and not received.
    #[must_use]
    pub fn sndbuf(&self) -> u32 {
        self.sndbuf.load(Ordering::Relaxed)
    }

    /// Most bytes of memory that may be received and not read.
    #[must_use]
    pub fn rcvbuf(&self) -> u32 {
        self.rcvbuf.load(Ordering::Relaxed)
    }

    /// How long receiving may block, ns; `u64::MAX` = for ever.
    #[must_use]
    pub fn receive_timeout(&self) -> u64 {
        self.receive_timeout.load(Ordering::Relaxed)
    }

    /// How long sending may block, ns; `u64::MAX` = for ever.
    #[must_use]
    pub fn send_timeout(&self) -> u64 {
        self.send_timeout.load(Ordering::Relaxed)
    }

    /// How many bytes a receive of `len` waits for.
    #[must_use]
    pub fn target(&self, len: usize, wait_all: bool) -> usize {
        let least = if wait_all { len } else { len.min(self.low_water.load(Ordering::Relaxed) as usize) };
        least.max(1)
    }
}

/// setsockopt(2) at `SOL_SOCKET`.
///
/// # Errors
/// As setsockopt(2).
pub fn set(socket: &dyn Socket, name: u32, value: OptionIn) -> Result<()> {
    let core = socket.core();
    let options = &core.options;
    if name == so::BINDTODEVICE {
        return bind_to_device(options, value);
    }
    let int: i32 = value.get()?;
    if let Some(bit) = bit(name) {
        if name == so::DEBUG && int != 0 && !capable(Caps::NET_ADMIN) {
            return Err(Errno::EACCES);
        }
        if int != 0 {
            options.bits.fetch_or(bit, Ordering::Relaxed);
        } else {
            options.bits.fetch_and(!bit, Ordering::Relaxed);
        }
        socket.option_changed(name);
        return Ok(());
    }
    match name {
        so::SNDBUF => set_sndbuf(socket, buffer_size(int as u32, BUFFER_MAX, MIN_SNDBUF)),
        so::RCVBUF => {
            options.rcvbuf.store(buffer_size(int as u32, BUFFER_MAX, MIN_RCVBUF), Ordering::Relaxed);
        }
        so::SNDBUFFORCE | so::RCVBUFFORCE if !capable(Caps::NET_ADMIN) => return Err(Errno::EPERM),
        so::SNDBUFFORCE => set_sndbuf(socket, buffer_size(int.max(0) as u32, u32::MAX, MIN_SNDBUF)),
        so::RCVBUFFORCE => {
            options.rcvbuf.store(buffer_size(int.max(0) as u32, u32::MAX, MIN_RCVBUF), Ordering::Relaxed);
        }
        so::PRIORITY if (0..=6).contains(&int) || capable(Caps::NET_RAW | Caps::NET_ADMIN) => {
            options.priority.store(int, Ordering::Relaxed);
        }
        so::MARK if capable(Caps::NET_RAW | Caps::NET_ADMIN) => {
            options.mark.store(int as u32, Ordering::Relaxed);
        }
        so::PRIORITY | so::MARK => return Err(Errno::EPERM),
        so::LINGER => {
            let [on, seconds]: [i32; 2] = value.get()?;
            options.linger.store(on != 0, Ordering::Relaxed);
            if on != 0 {
                options.linger_seconds.store(seconds, Ordering::Relaxed);
            }
        }
        so::RCVLOWAT => {
            let least = if int < 0 { i32::MAX } else { int.max(1) };
            options.low_water.store(least, Ordering::Relaxed);
        }
        so::RCVTIMEO | so::RCVTIMEO_NEW => {
            let [sec, usec]: [i64; 2] = value.get()?;
            options.receive_timeout.store(timeout(sec, usec)?, Ordering::Relaxed);
        }
        so::SNDTIMEO | so::SNDTIMEO_NEW => {
            let [sec, usec]: [i64; 2] = value.get()?;
            options.send_timeout.store(timeout(sec, usec)?, Ordering::Relaxed);
        }
        so::PEEK_OFF if socket.has_peek_offset() => options.peek_offset.store(int, Ordering::Relaxed),
        so::PEEK_OFF => return Err(Errno::EOPNOTSUPP),
        so::TYPE | so::PROTOCOL | so::DOMAIN | so::ERROR | so::SNDLOWAT | so::PEERCRED | so::ACCEPTCONN => {
            return Err(Errno::ENOPROTOOPT);
        }
        name => return Err(unknown(name)),
    }
    Ok(())
}

/// `SO_BINDTODEVICE`: the name of an interface, or none.
fn bind_to_device(options: &Options, value: OptionIn) -> Result<()> {
    let mut name = [0; 15];
    let len = value.len.min(name.len());
    uaccess::copy_from_user(&mut name[..len], value.addr)?;
    let name = name[..len].split(|&byte| byte == 0).next().unwrap_or_default();
    let index = if name.is_empty() { 0 } else { link::by_name(name).ok_or(Errno::ENODEV)?.index };
    let old = options.device.load(Ordering::Relaxed);
    if old != 0 && old != index && !capable(Caps::NET_RAW) {
        return Err(Errno::EPERM);
    }
    options.device.store(index, Ordering::Relaxed);
    Ok(())
}

fn set_sndbuf(socket: &dyn Socket, size: u32) {
    let core = socket.core();
    core.options.sndbuf.store(size, Ordering::Relaxed);
    core.options.sized.store(true, Ordering::Relaxed);
    core.writable.wake_all();
}

/// getsockopt(2) at `SOL_SOCKET`.
///
/// # Errors
/// As getsockopt(2).
pub fn get(socket: &dyn Socket, name: u32, to: OptionOut) -> Result<()> {
    let core = socket.core();
    let options = &core.options;
    let int = match name {
        name if bit(name).is_some() => i32::from(options.flag(name)),
        so::TYPE => core.kind as i32,
        so::PROTOCOL => core.protocol,
        so::DOMAIN => core.family.into(),
        so::ERROR => core.take_error_code(),
        so::SNDBUF => options.sndbuf() as i32,
        so::RCVBUF => options.rcvbuf() as i32,
        so::PRIORITY => options.priority.load(Ordering::Relaxed),
        so::MARK => options.mark.load(Ordering::Relaxed) as i32,
        so::RCVLOWAT => options.low_water.load(Ordering::Relaxed),
        so::SNDLOWAT => 1,
        so::ACCEPTCONN => socket.is_listening().into(),
        so::PEEK_OFF if socket.has_peek_offset() => options.peek_offset.load(Ordering::Relaxed),
        so::PEEK_OFF => return Err(Errno::EOPNOTSUPP),
        so::LINGER => {
            let linger = options.linger.load(Ordering::Relaxed);
            return to.put(&[i32::from(linger), options.linger_seconds.load(Ordering::Relaxed)]);
        }
        so::RCVTIMEO | so::RCVTIMEO_NEW => return to.put(&timeval(options.receive_timeout())),
        so::SNDTIMEO | so::SNDTIMEO_NEW => return to.put(&timeval(options.send_timeout())),
        so::PEERCRED => {
            let peer = core.peer.lock().as_ref().map(super::PeerCred::ucred);
            return to.put(&peer.map_or([0, u32::MAX, u32::MAX], |peer| [peer.pid, peer.uid, peer.gid]));
        }
        so::PEERGROUPS => {
            let cred = core.peer.lock().as_ref().map(|peer| peer.cred.clone()).ok_or(Errno::ENODATA)?;
            let groups = cred.groups.as_slice().as_bytes();
            if to.len < groups.len() {
                to.put_len(groups.len())?;
                return Err(Errno::ERANGE);
            }
            return to.put(groups);
        }
        so::PEERNAME => {
            let name = socket.peer_name()?;
            // Unlike other options it is not cut.
            if name.bytes().len() < to.len {
                return Err(Errno::EINVAL);
            }
            uaccess::copy_to_user(to.addr, &name.bytes()[..to.len])?;
            return to.put_len(to.len);
        }
        so::BINDTODEVICE => {
            let Some(interface) = link::by_index(options.device.load(Ordering::Relaxed)) else {
                return to.put_len(0);
            };
            if to.len < 16 {
                return Err(Errno::EINVAL);
            }
            let mut name = interface.name.as_bytes().to_vec();
            name.push(0);
            return to.put(name.as_slice());
        }
        so::PEERSEC => return Err(Errno::ENOPROTOOPT),
        name => return Err(unknown(name)),
    };
    to.put(&int)
}
