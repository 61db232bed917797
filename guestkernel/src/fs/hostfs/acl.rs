//! Access control lists of host files: the host keeps and inherits them, the sentry decides by them.
//!
//! A list is known for as long as the inode is not changed. That there is none is believed in an exclusive tree for as
//! long as the inode is known, or each new name in a directory would cost a question.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use hostcall::Timespec;

use super::inode::HostInode;
use crate::{
    errno::{Errno, Result},
    fs::{
        acl::{Acl, Which},
        inode::Inode,
    },
};

/// A list or that there is none.
type Known = Option<Arc<Acl>>;

/// What is known of an inode's lists.
#[derive(Debug, Default)]
pub(super) struct KnownAcls {
    /// The time of the inode's last change when the lists were asked for.
    changed: Timespec,
    access: Option<Known>,
    default: Option<Known>,
}

impl KnownAcls {
    fn slot(&mut self, which: Which) -> &mut Option<Known> {
        match which {
            Which::Access => &mut self.access,
            Which::Default => &mut self.default,
        }
    }
}

impl HostInode {
    /// A list.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, the host's.
    pub(super) fn known_acl(&self, which: Which) -> Result<Known> {
        let inode: &dyn Inode = self;
        let (dev, changed) = {
            let attr = self.attr.lock();
            (attr.dev, attr.ctime)
        };
        if self.fs.without_acls.load(Ordering::Relaxed) == dev {
            return Err(Errno::EOPNOTSUPP);
        }
        if !self.has_xattrs() || which == Which::Default && !inode.is_dir() {
            return Ok(None);
        }
        {
            let mut acls = self.acls.lock();
            let current = acls.changed == changed;
            match acls.slot(which) {
                Some(known) if current || known.is_none() && self.fs.exclusive => return Ok(known.clone()),
                _ => {}
            }
        }
        let found = match self.ready_saying_acl()? {
            Some(false) if which == Which::Access => Err(Errno::ENODATA),
            _ => self.fetch_xattr(which.name()),
        };
        let acl = match found {
            Ok(value) => Acl::parse(&value)?.map(Arc::new),
            Err(Errno::ENODATA) => None,
            Err(Errno::EOPNOTSUPP) => {
                self.fs.without_acls.store(dev, Ordering::Relaxed);
                return Err(Errno::EOPNOTSUPP);
            }
            Err(error) => return Err(error),
        };
        let mut acls = self.acls.lock();
        if acls.changed != changed {
            acls.changed = changed;
            for which in [Which::Access, Which::Default] {
                let slot = acls.slot(which);
                *slot = slot.take().filter(|known| known.is_none() && self.fs.exclusive);
            }
        }
        *acls.slot(which) = Some(acl.clone());
        Ok(acl)
    }

    /// Sets or removes a list.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, the host's.
    pub(super) fn change_acl(&self, which: Which, acl: Option<&Acl>) -> Result<()> {
        if !self.has_xattrs() {
            // What is never opened cannot be given one.
            return if acl.is_some() { Err(Errno::EOPNOTSUPP) } else { Ok(()) };
        }
        self.ready(1)?;
        *self.acls.lock().slot(which) = None;
        self.put_xattr(which.name(), acl.map(Acl::value).as_deref(), 0)?;
        // The mode goes with an access list.
        self.changed(self.fs.host.getattr(self.handle())?);
        *self.acls.lock().slot(which) = None;
        Ok(())
    }

    /// The mode was changed, and a list with it. The host's clock may be too coarse to show it.
    pub(super) fn mode_changed(&self) {
        let mut acls = self.acls.lock();
        acls.access = acls.access.take().filter(Option::is_none);
    }

    /// `new` was made in this directory: it has no list if none is handed down.
    pub(super) fn hands_down(&self, new: &Self) {
        if self.fs.exclusive && matches!(self.acls.lock().slot(Which::Default), Some(None)) {
            *new.acls.lock() = KnownAcls { access: Some(None), default: Some(None), ..KnownAcls::default() };
        }
    }
}
