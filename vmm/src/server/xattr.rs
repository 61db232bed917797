//! Hostcalls on extended attributes.

use hostcall::Handle;
use rustix::{fd::AsFd, io::Errno};

use super::{
    Server,
    files::{FileOp, raw},
    request::{ACLS, XattrName},
};

/// Whether an open file has an access control list, or cannot be asked for one.
pub(super) fn may_have_acl(fd: impl AsFd) -> bool {
    rustix::fs::fgetxattr(fd, ACLS[0], &mut [0u8; 0][..]) != Err(Errno::NODATA)
}

impl Server {
    pub(super) fn get_xattr(
        &self,
        file: Handle,
        name: XattrName<'_>,
        gpa: u64,
        len: usize,
    ) -> Result<u64, Errno> {
        let fd = self.handles.get(file)?.io(true, false)?;
        let mut bytes = vec![0; len];
        self.files.exchange(&FileOp::GetXattr { file: raw(&fd), name: name.bytes() }, &mut bytes)?;
        self.memory.write(gpa, &bytes)?;
        Ok(bytes.len() as u64)
    }

    pub(super) fn set_xattr(
        &self,
        file: Handle,
        name: XattrName<'_>,
        gpa: u64,
        len: usize,
        flags: u32,
    ) -> Result<(), Errno> {
        let object = self.handles.get(file)?;
        object.writable()?;
        let fd = object.io(true, false)?;
        let mut bytes = vec![0; len];
        self.memory.read(gpa, &mut bytes)?;
        self.files.exchange(&FileOp::SetXattr { file: raw(&fd), name: name.bytes(), flags }, &mut bytes)
    }

    pub(super) fn list_xattr(&self, file: Handle, gpa: u64, len: usize) -> Result<u64, Errno> {
        let fd = self.handles.get(file)?.io(true, false)?;
        let mut bytes = vec![0; len];
        let len = rustix::fs::flistxattr(&fd, &mut bytes[..])?;
        self.memory.write(gpa, &bytes[..len])?;
        Ok(len as u64)
    }

    pub(super) fn remove_xattr(&self, file: Handle, name: XattrName<'_>) -> Result<(), Errno> {
        let object = self.handles.get(file)?;
        object.writable()?;
        let fd = object.io(true, false)?;
        self.files.call(&FileOp::RemoveXattr { file: raw(&fd), name: name.bytes() })
    }
}
