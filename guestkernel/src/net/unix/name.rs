//! Names: paths of socket inodes, and abstract ones.
//!
//! One table tells which socket has a name; a bound path is known by its inode, so that links and renames do not
//! matter. Abstract names of different socket types are different names. The table is no part of the data path.

use alloc::{
    boxed::Box,
    format,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicU32, Ordering};
use hashbrown::{HashMap, hash_map::Entry};
use linux_raw_sys::general::S_IFSOCK;

use super::UnixSocket;
use crate::{
    errno::{Errno, Result},
    fs::{
        Path,
        perm::{self, Who},
        walk::Lookup,
    },
    net::{AF_UNIX, address::Address},
    sync::{LazyLock, SpinLock},
    task::{cred::Cred, current},
};

/// Where the path begins in `struct sockaddr_un`.
const PATH_AT: usize = 2;
/// Size of `struct sockaddr_un`.
const MAX_LEN: usize = 110;

/// What a name is found by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// The inode's place in memory; whoever is bound keeps it there.
    Inode(usize),
    /// Socket type and name.
    Abstract(u32, Box<[u8]>),
}

static NAMES: LazyLock<SpinLock<HashMap<Key, Weak<UnixSocket>>>> =
    LazyLock::new(|| SpinLock::new(HashMap::new()));

/// A name that a socket has; connections accepted from it show it too.
#[derive(Debug)]
pub(super) struct Binding {
    /// `struct sockaddr_un`, as getsockname(2) gives it.
    address: Address,
    key: Key,
    /// Keeps the inode.
    path: Option<Path>,
}

impl Binding {
    /// As getsockname(2) gives it.
    pub(super) fn address(&self) -> Address {
        self.address
    }

    /// The socket that was bound is gone.
    pub(super) fn forget(&self, socket: &UnixSocket) {
        let mut names = NAMES.lock();
        if names.get(&self.key).is_some_and(|known| core::ptr::eq(known.as_ptr(), socket)) {
            names.remove(&self.key);
        }
    }

    /// `sun_path`.
    pub(super) fn path(&self) -> &[u8] {
        &self.address.bytes()[PATH_AT..]
    }

    /// Inode and device that a path leads to.
    pub(super) fn file(&self) -> Option<(u64, u64)> {
        let attr = self.path.as_ref()?.inode().and_then(|inode| inode.attr()).ok()?;
        Some((attr.ino, attr.dev))
    }

    /// The name as `/proc/net/unix` shows it.
    pub(super) fn text(&self) -> Vec<u8> {
        let path = self.path();
        match self.key {
            Key::Inode(_) => path.strip_suffix(b"\0").unwrap_or(path).to_vec(),
            Key::Abstract(..) => path.iter().map(|&byte| if byte == 0 { b'@' } else { byte }).collect(),
        }
    }
}

/// The address of a socket that has a name, or has none.
pub(super) fn shown(name: Option<&Binding>) -> Result<Address> {
    name.map_or_else(|| Address::new(&AF_UNIX.to_ne_bytes()), |name| Ok(name.address))
}

/// Checks that an address is one of this family and long enough to name something.
pub(super) fn check(address: &Address) -> Result<()> {
    let len = address.bytes().len();
    if len <= PATH_AT || len > MAX_LEN || address.family() != Some(AF_UNIX) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// What an address names: a path, or an abstract name with its leading zero.
enum Named<'a> {
    Path(&'a [u8]),
    Abstract(&'a [u8]),
}

fn named(address: &Address) -> Named<'_> {
    let name = &address.bytes()[PATH_AT..];
    if name[0] == 0 {
        return Named::Abstract(name);
    }
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Named::Path(&name[..end])
}

fn who(cred: &Cred) -> Who<'_> {
    Who { uid: cred.fsuid, gid: cred.fsgid, groups: &cred.groups, caps: cred.effective.bits() }
}

fn inode_key(path: &Path) -> Result<Key> {
    Ok(Key::Inode(Arc::as_ptr(path.inode()?).cast::<()>() as usize))
}

/// The socket that an address names, if the caller may send there.
pub(super) fn find(address: &Address, kind: u32) -> Result<Arc<UnixSocket>> {
    let key = match named(address) {
        Named::Abstract(name) => Key::Abstract(kind, name.into()),
        Named::Path(path) => {
            let me = current();
            let cred = me.cred();
            let who = who(&cred);
            let found = me.fs()?.walk(who).resolve(path, Lookup::FOLLOW)?;
            perm::check(&**found.inode()?, &who, perm::WRITE)?;
            inode_key(&found)?
        }
    };
    let socket = NAMES.lock().get(&key).and_then(Weak::upgrade).ok_or(Errno::ECONNREFUSED)?;
    if socket.kind() == kind { Ok(socket) } else { Err(Errno::EPROTOTYPE) }
}

impl UnixSocket {
    /// Takes a name; `mode` are the permission bits of a new path.
    pub(super) fn bind_name(&self, to: &Address, mode: u32) -> Result<()> {
        if to.bytes().len() == PATH_AT && to.family() == Some(AF_UNIX) {
            return self.autobind();
        }
        check(to)?;
        match named(to) {
            Named::Abstract(name) => {
                if self.inner.lock().name.is_some() {
                    return Err(Errno::EINVAL);
                }
                self.take_name(*to, Key::Abstract(self.kind(), name.into()), None)
            }
            Named::Path(path) => self.bind_path(path, mode),
        }
    }

    fn bind_path(&self, path: &[u8], mode: u32) -> Result<()> {
        let me = current();
        let (cred, fs) = (me.cred(), me.fs()?);
        let walk = fs.walk(who(&cred));
        let mode = S_IFSOCK | mode;
        let made = walk.mknod(path, mode, 0).map_err(|error| match error {
            Errno::EEXIST => Errno::EADDRINUSE,
            error => error,
        })?;
        let mut bytes = AF_UNIX.to_ne_bytes().to_vec();
        bytes.extend_from_slice(path);
        bytes.push(0);
        let bound = Address::new(&bytes).and_then(|address| {
            let key = inode_key(&made)?;
            self.take_name(address, key, Some(made))
        });
        if bound.is_err()
            && let Err(error) = walk.unlink(path, false)
        {
            log::debug!("taking back a socket's name: {error}");
        }
        bound
    }

    /// Enters the name into the table, unless the socket or another one has one.
    fn take_name(&self, address: Address, key: Key, path: Option<Path>) -> Result<()> {
        let binding = Arc::new(Binding { address, key: key.clone(), path });
        {
            let mut names = NAMES.lock();
            match names.entry(key) {
                Entry::Occupied(old) if old.get().strong_count() != 0 => return Err(Errno::EADDRINUSE),
                Entry::Occupied(mut old) => drop(old.insert(self.me.clone())),
                Entry::Vacant(place) => drop(place.insert(self.me.clone())),
            }
        }
        let taken = {
            let mut inner = self.inner.lock();
            let free = inner.name.is_none() && !inner.dead;
            if free {
                inner.name = Some(binding.clone());
            }
            free
        };
        if !taken {
            // Another thread named it meanwhile.
            binding.forget(self);
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Gives the socket an abstract name of five digits if it has none.
    pub(super) fn autobind(&self) -> Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        const NUMBERS: u32 = 1 << 20;
        if self.inner.lock().name.is_some() {
            return Ok(());
        }
        for _ in 0..NUMBERS {
            let number = NEXT.fetch_add(1, Ordering::Relaxed) % NUMBERS;
            let name = format!("\0{number:05x}");
            let mut bytes = AF_UNIX.to_ne_bytes().to_vec();
            bytes.extend_from_slice(name.as_bytes());
            let key = Key::Abstract(self.kind(), name.as_bytes().into());
            match self.take_name(Address::new(&bytes)?, key, None) {
                Err(Errno::EADDRINUSE) => {}
                // It got a name meanwhile.
                Err(Errno::EINVAL) => return Ok(()),
                result => return result,
            }
        }
        Err(Errno::ENOSPC)
    }
}
