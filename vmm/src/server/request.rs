//! Decoding a call page: a pure function from bytes that the guest controls to a checked request.
//!
//! Nothing here touches the host. Every length is checked against the page and every name against the rules
//! for one path component, so what follows can rely on both.

use hostcall::{
    CALL_DATA_LEN, CallPage, Handle, Hostcall, IoRange, MAX_GETATTRS, MAX_IO_RANGES, MAX_XATTR, SetAttr,
};
use rustix::io::Errno;
use zerocopy::FromBytes;

/// Longest path component in bytes.
const NAME_MAX: usize = 255;

/// One path component: not empty, not `.` or `..`, no slash, no NUL, at most 255 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks a name.
    ///
    /// # Errors
    /// `EINVAL`, `ENAMETOOLONG`.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Errno> {
        match bytes {
            [] | b"." | b".." => Err(Errno::INVAL),
            _ if bytes.len() > NAME_MAX => Err(Errno::NAMETOOLONG),
            _ if bytes.iter().any(|b| matches!(b, 0 | b'/')) => Err(Errno::INVAL),
            _ => Ok(Self(bytes)),
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Attributes that hold an access control list: who may do what, and what a directory hands down.
pub(crate) const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// The name of an extended attribute that a container may use: `user.` and more, `security.capability`, or one of
/// [`ACLS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XattrName<'a>(&'a [u8]);

impl<'a> XattrName<'a> {
    /// Checks a name.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `ENAMETOOLONG`, `EINVAL`.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Errno> {
        if bytes.len() > NAME_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        if bytes.contains(&0) {
            return Err(Errno::INVAL);
        }
        match bytes.strip_prefix(b"user.") {
            Some([_, ..]) => Ok(Self(bytes)),
            _ if bytes == b"security.capability" || ACLS.contains(&bytes) => Ok(Self(bytes)),
            _ => Err(Errno::OPNOTSUPP),
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// A range of guest memory for attributes: at most [`MAX_XATTR`] bytes.
fn xattr_room(len: u64) -> Result<usize, Errno> {
    if len > MAX_XATTR { Err(Errno::TOOBIG) } else { usize::try_from(len).map_err(|_| Errno::TOOBIG) }
}

/// Owner and group of a new object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A checked list of guest ranges.
#[derive(Clone, Copy, Debug)]
pub struct Ranges<'a>(&'a [u8]);

impl<'a> Ranges<'a> {
    fn new(data: &'a [u8], count: u64) -> Result<Self, Errno> {
        let count = usize::try_from(count).map_err(|_| Errno::INVAL)?;
        if count > MAX_IO_RANGES {
            return Err(Errno::INVAL);
        }
        data.get(..count * size_of::<IoRange>()).map(Self).ok_or(Errno::INVAL)
    }

    /// The ranges in order.
    pub fn iter(self) -> impl Iterator<Item = IoRange> + 'a {
        self.0.chunks_exact(size_of::<IoRange>()).filter_map(|bytes| IoRange::read_from_bytes(bytes).ok())
    }
}

/// A decoded hostcall. Field meanings are those of [`Hostcall`]'s entries.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are documented once, at the calls of the same names")]
pub enum Request<'a> {
    Exit { status: i32 },
    Log { level: u32, text: &'a [u8] },
    Panic { text: &'a [u8], rip: u64, rbp: u64 },
    StartFailed { errno: u32, text: &'a [u8] },
    TakeCommand { gpa: u64, capacity: u64 },
    StartCpu { cpu: u32, stack: u64 },
    ReleaseMemory { ranges: Ranges<'a> },
    OutOfMemory { kills: u64 },
    PopulateMemory { gpa: u64, len: u64 },
    Created,
    Answer { tag: u64, bytes: &'a [u8] },
    StreamRead { stream: u32, gpa: u64, len: u64 },
    StreamWrite { stream: u32, gpa: u64, len: u64 },
    StreamArm { stream: u32, events: u16 },
    StreamIoctl { stream: u32, request: u64 },
    StreamStat { stream: u32 },
    StreamClose { stream: u32 },
    Lookup { dir: Handle, name: Name<'a> },
    Getattr { file: Handle },
    Getattrs { files: HandleList<'a> },
    Setattr { file: Handle, attr: SetAttr },
    Open { file: Handle, read: bool, write: bool, acl: bool },
    Close { file: Handle, others: HandleList<'a> },
    Read { file: Handle, offset: u64, ranges: Ranges<'a> },
    Write { file: Handle, offset: u64, ranges: Ranges<'a>, append: bool },
    Readdir { dir: Handle, cookie: u64, gpa: u64, len: u64 },
    Readlink { file: Handle },
    Create { dir: Handle, name: Name<'a>, mode: u32, owner: Owner },
    Tmpfile { dir: Handle, mode: u32, owner: Owner },
    Mkdir { dir: Handle, name: Name<'a>, mode: u32, owner: Owner },
    Symlink { dir: Handle, name: Name<'a>, target: &'a [u8], owner: Owner },
    Mknod { dir: Handle, name: Name<'a>, mode: u32, owner: Owner },
    Link { file: Handle, dir: Handle, name: Name<'a> },
    Unlink { dir: Handle, name: Name<'a>, directory: bool },
    Rename { old_dir: Handle, old: Name<'a>, new_dir: Handle, new: Name<'a>, flags: u32 },
    Sync { file: Handle, data_only: bool },
    Statfs { file: Handle },
    Allocate { file: Handle, mode: u32, offset: u64, len: u64 },
    GetXattr { file: Handle, name: XattrName<'a>, gpa: u64, len: usize },
    SetXattr { file: Handle, name: XattrName<'a>, gpa: u64, len: usize, flags: u32 },
    ListXattr { file: Handle, gpa: u64, len: usize },
    RemoveXattr { file: Handle, name: XattrName<'a> },
    Seek { file: Handle, offset: u64, hole: bool },
    WindowMap { file: Handle, offset: u64, len: u64, window: u64, writable: bool },
    WindowUnmap { window: u64, len: u64 },
    WindowProbe { window: u64, len: u64, write: bool },
    NetworkStart { areas: [u64; 3] },
}

/// A checked list of handles.
#[derive(Clone, Copy, Debug)]
pub struct HandleList<'a>(&'a [u8]);

impl<'a> HandleList<'a> {
    fn new(data: &'a [u8], count: u64) -> Result<Self, Errno> {
        let count = usize::try_from(count).map_err(|_| Errno::INVAL)?;
        if count > MAX_GETATTRS {
            return Err(Errno::INVAL);
        }
        data.get(..count * size_of::<Handle>()).map(Self).ok_or(Errno::INVAL)
    }

    /// The handles in order.
    pub fn iter(self) -> impl Iterator<Item = Handle> + 'a {
        self.0.chunks_exact(size_of::<Handle>()).filter_map(|bytes| Handle::read_from_bytes(bytes).ok())
    }
}

fn narrow(value: u64) -> Result<u32, Errno> {
    u32::try_from(value).map_err(|_| Errno::INVAL)
}

fn boolean(value: u64) -> Result<bool, Errno> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno::INVAL),
    }
}

fn prefix(data: &[u8], len: u64) -> Result<&[u8], Errno> {
    usize::try_from(len).ok().and_then(|len| data.get(..len)).ok_or(Errno::INVAL)
}

impl<'a> Request<'a> {
    /// Decodes a page.
    ///
    /// # Errors
    /// `ENOSYS` for an unknown number, `EINVAL` or `ENAMETOOLONG` for bad arguments.
    pub fn decode(page: &'a CallPage) -> Result<Self, Errno> {
        let call = Hostcall::from_nr(page.header.nr).ok_or(Errno::NOSYS)?;
        let a = &page.header.args;
        let data: &[u8; CALL_DATA_LEN] = &page.data;
        let handle = |index: usize| Handle::try_from(a[index]).map_err(|_| Errno::BADF);
        let name = || Name::new(prefix(data, a[1])?);
        let owner = |at: usize| Ok::<_, Errno>(Owner { uid: narrow(a[at])?, gid: narrow(a[at + 1])? });
        Ok(match call {
            Hostcall::Exit => Self::Exit { status: narrow(a[0])?.cast_signed() },
            Hostcall::Log => Self::Log { level: narrow(a[0])?, text: prefix(data, a[1])? },
            Hostcall::Panic => {
                Self::Panic { text: prefix(data, a[0].min(CALL_DATA_LEN as u64))?, rip: a[1], rbp: a[2] }
            }
            Hostcall::StartFailed => Self::StartFailed { errno: narrow(a[0])?, text: prefix(data, a[1])? },
            Hostcall::TakeCommand => Self::TakeCommand { gpa: a[0], capacity: a[1] },
            Hostcall::StartCpu => Self::StartCpu { cpu: narrow(a[0])?, stack: a[1] },
            Hostcall::OutOfMemory => Self::OutOfMemory { kills: a[0] },
            Hostcall::PopulateMemory if a[1] > hostcall::MAX_POPULATE => return Err(Errno::INVAL),
            Hostcall::PopulateMemory => Self::PopulateMemory { gpa: a[0], len: a[1] },
            Hostcall::Created => Self::Created,
            Hostcall::Answer => Self::Answer { tag: a[0], bytes: prefix(data, a[1])? },
            Hostcall::ReleaseMemory => Self::ReleaseMemory { ranges: Ranges::new(data, a[0])? },
            Hostcall::StreamRead | Hostcall::StreamWrite => {
                let (stream, gpa, len) = (narrow(a[0])?, a[1], a[2]);
                if call == Hostcall::StreamRead {
                    Self::StreamRead { stream, gpa, len }
                } else {
                    Self::StreamWrite { stream, gpa, len }
                }
            }
            Hostcall::StreamArm => Self::StreamArm {
                stream: narrow(a[0])?,
                events: u16::try_from(a[1]).map_err(|_| Errno::INVAL)?,
            },
            Hostcall::StreamIoctl => Self::StreamIoctl { stream: narrow(a[0])?, request: a[1] },
            Hostcall::StreamStat => Self::StreamStat { stream: narrow(a[0])? },
            Hostcall::StreamClose => Self::StreamClose { stream: narrow(a[0])? },
            Hostcall::FsLookup => Self::Lookup { dir: handle(0)?, name: name()? },
            Hostcall::FsGetattrs => Self::Getattrs { files: HandleList::new(data, a[0])? },
            Hostcall::FsGetattr => Self::Getattr { file: handle(0)? },
            Hostcall::FsSetattr => {
                let (attr, _) = SetAttr::read_from_prefix(data).map_err(|_| Errno::INVAL)?;
                Self::Setattr { file: handle(0)?, attr }
            }
            Hostcall::FsOpen => match a[1] {
                1..=3 => Self::Open {
                    file: handle(0)?,
                    read: a[1] & 1 != 0,
                    write: a[1] & 2 != 0,
                    acl: boolean(a[2])?,
                },
                _ => return Err(Errno::INVAL),
            },
            Hostcall::FsClose => Self::Close { file: handle(0)?, others: HandleList::new(data, a[1])? },
            Hostcall::FsRead => {
                Self::Read { file: handle(0)?, offset: a[1], ranges: Ranges::new(data, a[2])? }
            }
            Hostcall::FsWrite => Self::Write {
                file: handle(0)?,
                offset: a[1],
                ranges: Ranges::new(data, a[2])?,
                append: boolean(a[3])?,
            },
            Hostcall::FsReaddir => Self::Readdir { dir: handle(0)?, cookie: a[1], gpa: a[2], len: a[3] },
            Hostcall::FsReadlink => Self::Readlink { file: handle(0)? },
            Hostcall::FsCreate => {
                Self::Create { dir: handle(0)?, name: name()?, mode: narrow(a[2])?, owner: owner(3)? }
            }
            Hostcall::FsMkdir => {
                Self::Mkdir { dir: handle(0)?, name: name()?, mode: narrow(a[2])?, owner: owner(3)? }
            }
            Hostcall::FsSymlink => {
                let name = name()?;
                let target = prefix(&data[name.bytes().len()..], a[2])?;
                if target.is_empty() || target.contains(&0) {
                    return Err(Errno::INVAL);
                }
                Self::Symlink { dir: handle(0)?, name, target, owner: owner(3)? }
            }
            Hostcall::FsTmpfile => Self::Tmpfile { dir: handle(0)?, mode: narrow(a[1])?, owner: owner(2)? },
            Hostcall::FsMknod => {
                Self::Mknod { dir: handle(0)?, name: name()?, mode: narrow(a[2])?, owner: owner(3)? }
            }
            Hostcall::FsLink => {
                Self::Link { file: handle(0)?, dir: handle(1)?, name: Name::new(prefix(data, a[2])?)? }
            }
            Hostcall::FsUnlink => Self::Unlink { dir: handle(0)?, name: name()?, directory: boolean(a[2])? },
            Hostcall::FsRename => {
                let old = name()?;
                let new = Name::new(prefix(&data[old.bytes().len()..], a[3])?)?;
                Self::Rename { old_dir: handle(0)?, old, new_dir: handle(2)?, new, flags: narrow(a[4])? }
            }
            Hostcall::FsSync => Self::Sync { file: handle(0)?, data_only: boolean(a[1])? },
            Hostcall::FsStatfs => Self::Statfs { file: handle(0)? },
            Hostcall::FsAllocate => {
                Self::Allocate { file: handle(0)?, mode: narrow(a[1])?, offset: a[2], len: a[3] }
            }
            Hostcall::FsGetXattr => {
                let name = XattrName::new(prefix(data, a[1])?)?;
                Self::GetXattr { file: handle(0)?, name, gpa: a[2], len: xattr_room(a[3])? }
            }
            Hostcall::FsSetXattr => {
                let name = XattrName::new(prefix(data, a[1])?)?;
                let (gpa, len, flags) = (a[2], xattr_room(a[3])?, narrow(a[4])?);
                Self::SetXattr { file: handle(0)?, name, gpa, len, flags }
            }
            Hostcall::FsListXattr => Self::ListXattr { file: handle(0)?, gpa: a[1], len: xattr_room(a[2])? },
            Hostcall::FsRemoveXattr => {
                Self::RemoveXattr { file: handle(0)?, name: XattrName::new(prefix(data, a[1])?)? }
            }
            Hostcall::FsSeek => match a[2] {
                3 | 4 => Self::Seek { file: handle(0)?, offset: a[1], hole: a[2] == 4 },
                _ => return Err(Errno::INVAL),
            },
            Hostcall::WindowMap => Self::WindowMap {
                file: handle(0)?,
                offset: a[1],
                len: a[2],
                window: a[3],
                writable: boolean(a[4])?,
            },
            Hostcall::WindowProbe => Self::WindowProbe { window: a[0], len: a[1], write: boolean(a[2])? },
            Hostcall::WindowUnmap => Self::WindowUnmap { window: a[0], len: a[1] },
            Hostcall::NetworkStart => Self::NetworkStart { areas: [a[0], a[1], a[2]] },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn page(nr: Hostcall, args: &[u64], data: &[u8]) -> CallPage {
        let mut page = CallPage::read_from_bytes(&[0; hostcall::PAGE_SIZE]).unwrap();
        page.header.nr = nr as u32;
        page.header.args[..args.len()].copy_from_slice(args);
        page.data[..data.len()].copy_from_slice(data);
        page
    }

    #[test]
    fn names_are_single_components() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
            let page = page(Hostcall::FsLookup, &[1, bad.len() as u64], bad);
            assert_eq!(Request::decode(&page).err(), Some(Errno::INVAL), "{bad:?}");
        }
        let long = page(Hostcall::FsLookup, &[1, 256], &[b'a'; 256]);
        assert_eq!(Request::decode(&long).err(), Some(Errno::NAMETOOLONG));
        let good = page(Hostcall::FsLookup, &[1, 3], b"...");
        assert!(matches!(Request::decode(&good), Ok(Request::Lookup { dir: 1, name }) if name.0 == b"..."));
    }

    #[test]
    fn two_names_share_the_data() {
        let page = page(Hostcall::FsRename, &[1, 3, 2, 2, 1], b"oldnw");
        let Ok(Request::Rename { old, new, .. }) = Request::decode(&page) else { panic!("not a rename") };
        assert_eq!((old.0, new.0), (&b"old"[..], &b"nw"[..]));
    }

    #[test]
    fn attributes_of_the_host_s_own_have_no_name() {
        for bad in [&b"trusted.overlay.opaque"[..], b"security.selinux", b"system.posix_acl_", b"user.", b""]
        {
            let page = page(Hostcall::FsGetXattr, &[1, bad.len() as u64, 0, 9], bad);
            assert_eq!(Request::decode(&page).err(), Some(Errno::OPNOTSUPP), "{bad:?}");
        }
        let long = page(Hostcall::FsSetXattr, &[1, 6, 0, 65537], b"user.a");
        assert_eq!(Request::decode(&long).err(), Some(Errno::TOOBIG));
        let good = page(Hostcall::FsRemoveXattr, &[1, 6], b"user.a");
        assert!(
            matches!(Request::decode(&good), Ok(Request::RemoveXattr { file: 1, name }) if name.0 == b"user.a")
        );
    }

    proptest::proptest! {
        #[test]
        fn any_page_decodes_or_errs(
            nr in 0u32..80,
            args: [u64; 6],
            small in proptest::array::uniform6(0u64..300),
            pick: [bool; 6],
            data in proptest::collection::vec(0u8.., 0..600),
        ) {
            let mut page = CallPage::read_from_bytes(&[0; hostcall::PAGE_SIZE]).unwrap();
            page.header.nr = nr;
            for index in 0..6 {
                page.header.args[index] = if pick[index] { args[index] } else { small[index] };
            }
            page.data[..data.len()].copy_from_slice(&data);
            let _ = Request::decode(&page);
            let _ = page.as_bytes();
        }
    }
}
