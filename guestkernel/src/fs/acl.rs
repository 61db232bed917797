//! Access control lists, as acl(5) describes them: rights of named users and groups beside those of the mode, and what
//! a directory hands down to what is made in it.
//!
//! A list's entries for the owner, the mask (or the group, without a mask) and others are the mode's bits, and follow
//! it. A list that says no more than a mode can is not kept.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use hostcall::{Attr, SetAttr, SetAttrValid};
use linux_raw_sys::general::{S_IFDIR, S_IFLNK, S_IFMT, S_ISGID};

use super::{
    inode::Inode,
    perm::{Who, cap},
};
use crate::errno::{Errno, Result};

/// Version of the attribute's value.
const VERSION: u32 = 2;
/// The identity in entries that name none.
const NOBODY: u32 = u32::MAX;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The two lists that an inode may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Who may do what with it.
    Access,
    /// What a directory hands down.
    Default,
}

impl Which {
    /// The list that an extended attribute's name denotes.
    #[must_use]
    pub fn by_name(name: &[u8]) -> Option<Self> {
        [Self::Access, Self::Default].into_iter().find(|which| which.name() == name)
    }

    /// The name of the extended attribute.
    #[must_use]
    pub const fn name(self) -> &'static [u8] {
        match self {
            Self::Access => b"system.posix_acl_access",
            Self::Default => b"system.posix_acl_default",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u16,
    perm: u16,
    id: u32,
}

/// A list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl(Box<[Entry]>);

impl Acl {
    /// The list in an attribute's value; none in one without entries.
    ///
    /// # Errors
    /// `EINVAL`, `EOPNOTSUPP` for another version.
    pub fn parse(value: &[u8]) -> Result<Option<Self>> {
        let (version, entries) = value.split_first_chunk().ok_or(Errno::EINVAL)?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(Errno::EOPNOTSUPP);
        }
        let (entries, []) = entries.as_chunks::<8>() else { return Err(Errno::EINVAL) };
        let entries: Result<Box<[Entry]>> = entries
            .iter()
            .map(|&[t0, t1, p0, p1, i0, i1, i2, i3]| {
                let [tag, perm] = [[t0, t1], [p0, p1]].map(u16::from_le_bytes);
                let id = u32::from_le_bytes([i0, i1, i2, i3]);
                match tag {
                    USER_OBJ | GROUP_OBJ | MASK | OTHER => Ok(Entry { tag, perm, id: NOBODY }),
                    USER | GROUP if id != NOBODY => Ok(Entry { tag, perm, id }),
                    _ => Err(Errno::EINVAL),
                }
            })
            .collect();
        Ok(Some(Self(entries?)).filter(|acl| !acl.0.is_empty()))
    }

    /// The attribute's value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            value.extend_from_slice(&entry.tag.to_le_bytes());
            value.extend_from_slice(&entry.perm.to_le_bytes());
            value.extend_from_slice(&entry.id.to_le_bytes());
        }
        value
    }

    /// Bytes of its value.
    #[must_use]
    pub const fn size(&self) -> usize {
        4 + 8 * self.0.len()
    }

    /// Whether its entries are in order and complete: one each for the owner, the group and others, and a mask where
    /// there are named users or groups.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn check_valid(&self) -> Result<()> {
        let mut expected = USER_OBJ;
        let mut needs_mask = false;
        for entry in &self.0 {
            if entry.perm & !7 != 0 {
                return Err(Errno::EINVAL);
            }
            expected = match (entry.tag, expected) {
                (USER_OBJ, USER_OBJ) => USER,
                (USER, USER) | (GROUP, GROUP) => {
                    needs_mask = true;
                    entry.tag
                }
                (GROUP_OBJ, USER) => GROUP,
                (MASK, GROUP) => OTHER,
                (OTHER, OTHER) => 0,
                (OTHER, GROUP) if !needs_mask => 0,
                _ => return Err(Errno::EINVAL),
            };
        }
        if expected == 0 { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn find(&self, tag: u16) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.tag == tag)
    }

    /// Permission bits of a valid list, and whether they say all that it says.
    #[must_use]
    pub fn mode(&self) -> (u32, bool) {
        let bits = |tag| self.find(tag).map_or(0, |entry| u32::from(entry.perm & 7));
        let group = if self.find(MASK).is_some() { MASK } else { GROUP_OBJ };
        let plain = self.0.iter().all(|entry| matches!(entry.tag, USER_OBJ | GROUP_OBJ | OTHER));
        (bits(USER_OBJ) << 6 | bits(group) << 3 | bits(OTHER), plain)
    }

    /// Sets owner, mask or group, and others by `change`, which gets the entry's bits and the mode's.
    fn adjusted(&self, mode: u32, change: impl Fn(u16, u16) -> u16) -> Self {
        let group = if self.find(MASK).is_some() { MASK } else { GROUP_OBJ };
        let mut entries = self.0.clone();
        for entry in &mut entries {
            let shift = match entry.tag {
                USER_OBJ => 6,
                OTHER => 0,
                tag if tag == group => 3,
                _ => continue,
            };
            entry.perm = change(entry.perm, (mode >> shift & 7) as u16);
        }
        Self(entries)
    }

    /// The list after chmod(2).
    #[must_use]
    pub fn with_mode(&self, mode: u32) -> Self {
        self.adjusted(mode, |_, bits| bits)
    }

    /// What a new object gets from its directory's default list when it is to have `mode`: its own list, if that says
    /// more than a mode, and its mode.
    #[must_use]
    pub fn handed_down(&self, mode: u32) -> (Option<Self>, u32) {
        let own = self.adjusted(mode, |perm, bits| perm & bits);
        let (bits, plain) = own.mode();
        ((!plain).then_some(own), mode & !0o777 | bits)
    }

    /// Whether it lets `who` do all of `mask` to an object with these attributes.
    ///
    /// # Errors
    /// `EACCES`.
    pub fn check(&self, attr: &Attr, who: &Who<'_>, mask: u32) -> Result<()> {
        let gives = |perm: u16| if u32::from(perm) & mask == mask { Ok(()) } else { Err(Errno::EACCES) };
        let most = self.find(MASK).map_or(7, |entry| entry.perm);
        let mut in_group = false;
        for entry in &self.0 {
            match entry.tag {
                USER_OBJ if who.uid == attr.uid => return gives(entry.perm),
                USER if who.uid == entry.id => return gives(entry.perm & most),
                GROUP_OBJ | GROUP => {
                    let group = if entry.tag == GROUP { entry.id } else { attr.gid };
                    if who.in_group(group) {
                        in_group = true;
                        if gives(entry.perm).is_ok() {
                            return gives(entry.perm & most);
                        }
                    }
                }
                OTHER if !in_group => return gives(entry.perm),
                _ => {}
            }
        }
        Err(Errno::EACCES)
    }
}

/// The list that decides on access, where the file system keeps lists and there is one.
///
/// # Errors
/// Those of the file system.
pub fn of(inode: &dyn Inode, which: Which) -> Result<Option<Arc<Acl>>> {
    match inode.acl(which) {
        Err(Errno::EOPNOTSUPP) => Ok(None),
        result => result,
    }
}

/// The mode of an object that is to be made in `dir`: a default list replaces the mask.
///
/// # Errors
/// Those of the file system.
pub fn creation_mode(dir: &dyn Inode, mode: u32, umask: u32) -> Result<u32> {
    Ok(match of(dir, Which::Default)? {
        Some(acl) => acl.handed_down(mode).1,
        None => mode & !umask,
    })
}

/// The value of the extended attribute.
///
/// # Errors
/// As getxattr(2).
pub fn get(inode: &dyn Inode, which: Which) -> Result<Vec<u8>> {
    if inode.kind() == S_IFLNK {
        return Err(Errno::EOPNOTSUPP);
    }
    inode.acl(which)?.map(|acl| acl.value()).ok_or(Errno::ENODATA)
}

/// Sets the extended attribute, or removes it.
///
/// # Errors
/// As setxattr(2) and removexattr(2); that there is none to be removed is no error.
pub fn set(inode: &dyn Inode, who: &Who<'_>, which: Which, value: Option<&[u8]>) -> Result<()> {
    let acl = match value {
        None | Some([]) => None,
        Some(value) => Acl::parse(value)?,
    };
    if inode.kind() == S_IFLNK {
        return Err(Errno::EOPNOTSUPP);
    }
    // Whether the file system keeps any.
    inode.acl(Which::Access)?;
    if which == Which::Default && inode.kind() != S_IFDIR {
        return if acl.is_some() { Err(Errno::EACCES) } else { Ok(()) };
    }
    let attr = inode.access()?;
    if !who.owns(&attr) {
        return Err(Errno::EPERM);
    }
    if let Some(acl) = &acl {
        acl.check_valid()?;
    }
    if which == Which::Default {
        return inode.set_acl(which, acl);
    }
    let (bits, plain) = acl.as_ref().map_or((attr.mode & 0o777, true), Acl::mode);
    let mut mode = attr.mode & 0o7000 | bits;
    if !who.in_group(attr.gid) && !who.capable(cap::FSETID) {
        mode &= !S_ISGID;
    }
    inode.set_acl(which, acl.filter(|_| !plain))?;
    if inode.access()?.mode & !S_IFMT != mode {
        let valid = SetAttrValid::MODE.bits();
        inode.set_attr(&SetAttr { valid, mode, ..SetAttr::default() })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(entries: &[(u16, u16, u32)]) -> Acl {
        Acl(entries.iter().map(|&(tag, perm, id)| Entry { tag, perm, id }).collect())
    }

    fn full() -> Acl {
        list(&[
            (USER_OBJ, 6, NOBODY),
            (USER, 7, 5),
            (USER, 0, 6),
            (GROUP_OBJ, 4, NOBODY),
            (GROUP, 5, 50),
            (MASK, 5, NOBODY),
            (OTHER, 1, NOBODY),
        ])
    }

    #[test]
    fn values_are_parsed_and_written() {
        assert_eq!(Acl::parse(&full().value()), Ok(Some(full())));
        assert_eq!(full().size(), full().value().len());
        assert_eq!(Acl::parse(&[2, 0, 0, 0]), Ok(None));
        assert_eq!(Acl::parse(&[]), Err(Errno::EINVAL));
        assert_eq!(Acl::parse(&[1, 0, 0, 0]), Err(Errno::EOPNOTSUPP));
        assert_eq!(Acl::parse(&full().value()[..11]), Err(Errno::EINVAL));
        assert_eq!(Acl::parse(&list(&[(3, 0, 0)]).value()), Err(Errno::EINVAL));
        assert_eq!(Acl::parse(&list(&[(USER, 0, NOBODY)]).value()), Err(Errno::EINVAL));
    }

    #[test]
    fn lists_must_be_complete_and_in_order() {
        let (owner, group, other) = ((USER_OBJ, 7, NOBODY), (GROUP_OBJ, 5, NOBODY), (OTHER, 1, NOBODY));
        let (user, mask) = ((USER, 7, 5), (MASK, 7, NOBODY));
        for (entries, valid) in [
            (&[owner, group, other][..], true),
            (&[owner, group, mask, other], true),
            (&[owner, user, user, group, mask, other], true),
            (&[owner, user, group, other], false),
            (&[owner, group, user, mask, other], false),
            (&[owner, other, group], false),
            (&[group, other], false),
            (&[owner, group], false),
            (&[owner, group, other, other], false),
            (&[(USER_OBJ, 8, NOBODY), group, other], false),
        ] {
            assert_eq!(list(entries).check_valid().is_ok(), valid, "{entries:?}");
        }
    }

    #[test]
    fn the_most_particular_entry_decides() {
        let attr = Attr { uid: 1, gid: 10, ..Attr::default() };
        let may = |uid, groups: &[u32], mask| {
            let who = Who { uid, gid: 99, groups, caps: 0 };
            full().check(&attr, &who, mask).is_ok()
        };
        assert!(may(1, &[50], 6) && !may(1, &[50], 1));
        assert!(may(5, &[], 5) && !may(5, &[], 2), "a named user is limited by the mask");
        assert!(!may(6, &[10, 50], 1));
        assert!(may(7, &[10], 4) && !may(7, &[10], 1), "a group's member is not among the others");
        assert!(may(7, &[10, 50], 5));
        assert!(may(8, &[], 1) && !may(8, &[], 4));
    }

    #[test]
    fn a_mode_and_a_list_follow_each_other() {
        assert_eq!(full().mode(), (0o651, false));
        assert_eq!(full().with_mode(0o4720).mode(), (0o720, false));
        assert_eq!(full().handed_down(0o100_640), (Some(full().with_mode(0o640)), 0o100_640));
        let plain = list(&[(USER_OBJ, 7, NOBODY), (GROUP_OBJ, 5, NOBODY), (OTHER, 0, NOBODY)]);
        assert_eq!(plain.handed_down(0o666), (None, 0o640));
    }

    proptest! {
        /// A file system that applies the list itself to the mode that it is given comes to the same.
        #[test]
        fn handing_down_twice_changes_nothing(mode in 0u32..0o7777, perms in proptest::array::uniform7(0u16..8)) {
            let mut acl = full();
            for (entry, perm) in acl.0.iter_mut().zip(perms) {
                entry.perm = perm;
            }
            let (own, bits) = acl.handed_down(mode);
            prop_assert_eq!(acl.handed_down(bits), (own, bits));
        }

        #[test]
        fn any_value_is_refused_or_understood(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(Some(acl)) = Acl::parse(&value) {
                let _ = (acl.check_valid(), acl.mode(), acl.with_mode(0o7777), acl.handed_down(0));
                prop_assert_eq!(acl.size(), value.len());
            }
        }
    }
}
