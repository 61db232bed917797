//! memfd_create(2): files without a name, and seals.

use alloc::{sync::Arc, vec::Vec};
use linux_raw_sys::general::{O_LARGEFILE, O_RDWR};

use super::{
    file::File,
    tmpfs::{TmpInode, Tmpfs},
};
use crate::{
    errno::{Errno, Result},
    sync::Once,
};

/// No more seals.
pub const F_SEAL_SEAL: u32 = 1;
/// The file does not get shorter.
pub const F_SEAL_SHRINK: u32 = 2;
/// The file does not get longer.
pub const F_SEAL_GROW: u32 = 4;
/// The contents do not change.
pub const F_SEAL_WRITE: u32 = 8;
/// As [`F_SEAL_WRITE`], but for mappings that exist.
pub const F_SEAL_FUTURE_WRITE: u32 = 16;
/// The executable bits do not change.
pub const F_SEAL_EXEC: u32 = 32;
const ALL: u32 = 63;

/// A new file. `name` is only shown; `executable`: its mode has these bits, and they may change.
#[must_use]
pub fn create(name: &[u8], sealing: bool, executable: bool, uid: u32, gid: u32) -> Arc<File> {
    static FILES: Once<Arc<Tmpfs>> = Once::new();
    let seals = match (executable, sealing) {
        (false, _) => F_SEAL_EXEC,
        (true, true) => 0,
        (true, false) => F_SEAL_SEAL,
    };
    let mode = if executable { 0o777 } else { 0o666 };
    let inode = FILES.call_once(Tmpfs::unmounted).unnamed(mode, uid, gid, seals);
    let mut shown = Vec::from(b"/memfd:");
    shown.extend_from_slice(name);
    shown.extend_from_slice(b" (deleted)");
    File::anonymous(inode.clone(), inode, &shown, O_RDWR | O_LARGEFILE)
}

/// `F_GET_SEALS`.
///
/// # Errors
/// `EINVAL` for what cannot be sealed.
pub fn seals(file: &File) -> Result<u32> {
    file.inode().downcast::<TmpInode>().and_then(TmpInode::seals).ok_or(Errno::EINVAL)
}

/// `F_ADD_SEALS`.
///
/// # Errors
/// `EPERM`, `EBUSY`, `EINVAL` as fcntl(2) has them.
pub fn add_seals(file: &File, seals: u32) -> Result<()> {
    let inode = file.inode().downcast::<TmpInode>().filter(|inode| inode.seals().is_some());
    file.check_writable().map_err(|_| Errno::EPERM)?;
    if seals & !ALL != 0 {
        return Err(Errno::EINVAL);
    }
    inode.ok_or(Errno::EINVAL)?.add_seals(seals)
}
