//! Access control lists of tmpfs, charged as extended attributes are. A ramfs keeps none.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;
use linux_raw_sys::general::S_IFLNK;

use super::{RAMFS_MAGIC, TmpInode};
use crate::{
    errno::{Errno, Result},
    fs::{
        acl::{Acl, Which},
        anon,
    },
};

/// The lists of an inode.
#[derive(Debug, Default)]
pub(super) struct Acls {
    access: Option<Arc<Acl>>,
    default: Option<Arc<Acl>>,
}

impl Acls {
    fn slot(&mut self, which: Which) -> &mut Option<Arc<Acl>> {
        match which {
            Which::Access => &mut self.access,
            Which::Default => &mut self.default,
        }
    }
}

impl TmpInode {
    /// A list.
    ///
    /// # Errors
    /// `EOPNOTSUPP`.
    pub(super) fn kept_acl(&self, which: Which) -> Result<Option<Arc<Acl>>> {
        if self.fs.magic == RAMFS_MAGIC {
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(self.acls.lock().slot(which).clone())
    }

    fn put(&self, which: Which, acl: Option<Arc<Acl>>) -> Result<()> {
        if let Some(acl) = &acl {
            self.fs.charge_xattr(acl.size() as u64)?;
        }
        let old = core::mem::replace(self.acls.lock().slot(which), acl);
        if let Some(old) = old {
            self.fs.xattr_bytes.fetch_sub(old.size() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sets or removes a list.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(super) fn change_acl(&self, which: Which, acl: Option<Acl>) -> Result<()> {
        self.put(which, acl.map(Arc::new))?;
        self.attr.lock().ctime = anon::now();
        Ok(())
    }

    /// The mode is about to change: the list goes with it.
    pub(super) fn acl_follows(&self, mode: u32) {
        let mut acls = self.acls.lock();
        if let Some(acl) = &acls.access {
            acls.access = Some(Arc::new(acl.with_mode(mode)));
        }
    }

    /// Gives what is made in this directory the lists that it hands down; the mode has been adapted to them.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(in crate::fs) fn hand_down(&self, new: &Self) -> Result<()> {
        let Some(acl) = self.acls.lock().default.clone() else { return Ok(()) };
        if new.kind == S_IFLNK {
            return Ok(());
        }
        let mode = new.attr.lock().mode;
        let (own, _) = acl.handed_down(mode);
        new.put(Which::Access, own.map(Arc::new))?;
        if new.kind == linux_raw_sys::general::S_IFDIR {
            new.put(Which::Default, Some(acl))?;
        }
        Ok(())
    }

    /// The attributes' names of those that there are.
    pub(super) fn acl_names(&self) -> Vec<Box<[u8]>> {
        let mut acls = self.acls.lock();
        [Which::Access, Which::Default]
            .into_iter()
            .filter(|which| acls.slot(*which).is_some())
            .map(|which| which.name().into())
            .collect()
    }

    /// The inode goes.
    pub(super) fn drop_acls(&mut self) {
        let Acls { access, default } = core::mem::take(self.acls.get_mut());
        for acl in [access, default].into_iter().flatten() {
            self.fs.xattr_bytes.fetch_sub(acl.size() as u64, Ordering::Relaxed);
        }
    }
}
