//! Extended attributes as the VFS sees them: kinds of names, who may use which, what values must look like.
//!
//! `user.` belongs to whoever may read or write the file, and exists on regular files and directories only;
//! `trusted.` to the administrator, from whom alone it is not hidden; `security.` may be read by all and
//! changed by the administrator, but for a file's capabilities, which are the affair of who may set those.
//! What is called `system.posix_acl_*` is the affair of [`acl`].

use alloc::{boxed::Box, vec::Vec};
use linux_raw_sys::general::{S_IFDIR, S_IFMT, S_IFREG, S_ISVTX, XATTR_CREATE, XATTR_REPLACE};

use super::{
    acl::{self, Which},
    inode::Inode,
    perm::{self, Who, cap},
};
use crate::errno::{Errno, Result};

/// Longest name in bytes.
pub const NAME_MAX: usize = 255;
/// Longest value, and longest list of names, in bytes.
pub const SIZE_MAX: usize = 65536;
/// A file's capabilities.
pub const CAPABILITY: &[u8] = b"security.capability";

/// What a name begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `user.`
    User,
    /// `trusted.`
    Trusted,
    /// `security.`
    Security,
    /// `system.`
    System,
}

const PREFIXES: [(&[u8], Kind); 4] = [
    (b"user.", Kind::User),
    (b"trusted.", Kind::Trusted),
    (b"security.", Kind::Security),
    (b"system.", Kind::System),
];

/// The kind of a name; none has been given to names that begin otherwise.
#[must_use]
pub fn kind(name: &[u8]) -> Option<Kind> {
    PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, kind)| *kind)
}

/// The kind of a name, for a file system that keeps all but those of `system.`.
///
/// # Errors
/// `EOPNOTSUPP` for a name of no kept kind, `EINVAL` for a prefix and nothing more.
pub fn kept_kind(name: &[u8]) -> Result<Kind> {
    match kind(name) {
        None | Some(Kind::System) => Err(Errno::EOPNOTSUPP),
        Some(_) if PREFIXES.iter().any(|(prefix, _)| *prefix == name) => Err(Errno::EINVAL),
        Some(kind) => Ok(kind),
    }
}

/// Whether `who` may read (`perm::READ`) or change (`perm::WRITE`) an attribute.
fn check(inode: &dyn Inode, who: &Who<'_>, name: &[u8], mask: u32) -> Result<()> {
    let attr = &inode.access()?;
    let writes = mask == perm::WRITE;
    let hidden = if writes { Errno::EPERM } else { Errno::ENODATA };
    match kind(name) {
        Some(Kind::Security | Kind::System) => return Ok(()),
        Some(Kind::Trusted) if who.capable(cap::SYS_ADMIN) => return Ok(()),
        Some(Kind::Trusted) => return Err(hidden),
        Some(Kind::User) => match attr.mode & S_IFMT {
            S_IFREG => {}
            S_IFDIR if writes && attr.mode & S_ISVTX != 0 && !who.owns(attr) => return Err(Errno::EPERM),
            S_IFDIR => {}
            _ => return Err(hidden),
        },
        None => {}
    }
    perm::check(inode, who, mask)
}

/// Whether `who` may change a security attribute.
fn check_security(who: &Who<'_>, name: &[u8]) -> Result<()> {
    let needed = match kind(name) {
        Some(Kind::Security) if name == CAPABILITY => cap::SETFCAP,
        Some(Kind::Security) => cap::SYS_ADMIN,
        _ => return Ok(()),
    };
    if who.capable(needed) { Ok(()) } else { Err(Errno::EPERM) }
}

/// Whether a value is one of `struct vfs_cap_data` of version 2. Version 3 names a user namespace's root,
/// which here is user 0: it is kept as version 2, as Linux does for the namespace that the caller is in.
fn capability_value(value: &[u8]) -> Result<Vec<u8>> {
    const VERSION: u32 = 0xff00_0000;
    const V2: u32 = 0x0200_0000;
    const V3: u32 = 0x0300_0000;
    let magic = value.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)).ok_or(Errno::EINVAL)?;
    match (magic & VERSION, value.len()) {
        (V2, 20) => Ok(value.to_vec()),
        (V3, 24) if value[20..] == [0; 4] => {
            let mut kept = value[..20].to_vec();
            kept[..4].copy_from_slice(&(magic & !VERSION | V2).to_le_bytes());
            Ok(kept)
        }
        (V3, 24) => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

/// The value of an attribute.
///
/// # Errors
/// As getxattr(2), sizes apart.
pub fn get(inode: &dyn Inode, who: &Who<'_>, name: &[u8]) -> Result<Vec<u8>> {
    if let Some(which) = Which::by_name(name) {
        return acl::get(inode, which);
    }
    check(inode, who, name, perm::READ)?;
    inode.get_xattr(name)
}

/// Sets an attribute.
///
/// # Errors
/// As setxattr(2), sizes apart.
pub fn set(inode: &dyn Inode, who: &Who<'_>, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
    if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL);
    }
    if let Some(which) = Which::by_name(name) {
        return acl::set(inode, who, which, Some(value));
    }
    let converted;
    let mut value = value;
    if name == CAPABILITY && !value.is_empty() {
        converted = capability_value(value)?;
        check_security(who, name)?;
        value = &converted;
    }
    check(inode, who, name, perm::WRITE)?;
    check_security(who, name)?;
    inode.set_xattr(name, Some(value), flags)
}

/// Removes an attribute.
///
/// # Errors
/// As removexattr(2).
pub fn remove(inode: &dyn Inode, who: &Who<'_>, name: &[u8]) -> Result<()> {
    if let Some(which) = Which::by_name(name) {
        return acl::set(inode, who, which, None);
    }
    check(inode, who, name, perm::WRITE)?;
    check_security(who, name)?;
    inode.set_xattr(name, None, XATTR_REPLACE)
}

/// The names that `who` may know, each with a zero after it.
///
/// # Errors
/// As listxattr(2), sizes apart; `E2BIG` for more than the call can give.
pub fn list(inode: &dyn Inode, who: &Who<'_>) -> Result<Vec<u8>> {
    let names: Vec<Box<[u8]>> = inode.list_xattr()?;
    let mut all = Vec::new();
    for name in &names {
        if kind(name) == Some(Kind::Trusted) && !who.capable(cap::SYS_ADMIN) {
            continue;
        }
        if all.len() + name.len() + 1 > SIZE_MAX {
            return Err(Errno::E2BIG);
        }
        all.extend_from_slice(name);
        all.push(0);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{inode::NewNode, tmpfs::Tmpfs};

    const USER: Who<'static> = Who { uid: 5, gid: 5, groups: &[], caps: 0 };

    fn file() -> alloc::sync::Arc<dyn Inode> {
        let root = Tmpfs::mount(1 << 20, 0o1777, 0, 0);
        root.create(b"file", NewNode { mode: 0o644, uid: 5, gid: 5 }).unwrap()
    }

    #[test]
    fn values_are_kept_replaced_and_removed() {
        let file = file();
        assert_eq!(get(&*file, &USER, b"user.a"), Err(Errno::ENODATA));
        assert_eq!(set(&*file, &USER, b"user.a", b"one", XATTR_REPLACE), Err(Errno::ENODATA));
        assert_eq!(set(&*file, &USER, b"user.a", b"one", XATTR_CREATE), Ok(()));
        assert_eq!(set(&*file, &USER, b"user.a", b"two", XATTR_CREATE), Err(Errno::EEXIST));
        assert_eq!(set(&*file, &USER, b"user.a", b"three", 0), Ok(()));
        assert_eq!(get(&*file, &USER, b"user.a").as_deref(), Ok(&b"three"[..]));
        assert_eq!(list(&*file, &USER).as_deref(), Ok(&b"user.a\0"[..]));
        assert_eq!(remove(&*file, &USER, b"user.a"), Ok(()));
        assert_eq!(remove(&*file, &USER, b"user.a"), Err(Errno::ENODATA));
    }

    #[test]
    fn kinds_have_their_keepers() {
        let file = file();
        assert_eq!(set(&*file, &USER, b"trusted.a", b"", 0), Err(Errno::EPERM));
        assert_eq!(get(&*file, &USER, b"trusted.a"), Err(Errno::ENODATA));
        assert_eq!(set(&*file, &USER, b"security.a", b"", 0), Err(Errno::EPERM));
        assert_eq!(set(&*file, &USER, b"other", b"", 0), Err(Errno::EOPNOTSUPP));
        assert_eq!(set(&*file, &USER, b"user.", b"", 0), Err(Errno::EINVAL));
        assert_eq!(set(&*file, &Who::KERNEL, b"trusted.a", b"x", 0), Ok(()));
        assert_eq!(list(&*file, &USER).as_deref(), Ok(&b""[..]));
        assert_eq!(list(&*file, &Who::KERNEL).as_deref(), Ok(&b"trusted.a\0"[..]));
        let other = Who { uid: 9, gid: 9, groups: &[], caps: 0 };
        assert_eq!(set(&*file, &other, b"user.a", b"", 0), Err(Errno::EACCES));
    }

    #[test]
    fn capabilities_must_be_well_formed() {
        let file = file();
        assert_eq!(set(&*file, &Who::KERNEL, CAPABILITY, b"bad", 0), Err(Errno::EINVAL));
        let mut value = [0; 24];
        value[3] = 3;
        assert_eq!(set(&*file, &Who::KERNEL, CAPABILITY, &value, 0), Ok(()));
        assert_eq!(get(&*file, &USER, CAPABILITY).unwrap()[..4], [0, 0, 0, 2]);
    }
}
