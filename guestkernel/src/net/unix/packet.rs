//! Messages in a socket's queue.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering};

use super::{
    name::Binding,
    rights::{self, InFlight},
};
use crate::{
    arch::try_current,
    errno::{Errno, Result},
    fs::File,
    net::{
        Core,
        control::{self, MAX_FILES, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET, Ucred},
    },
    sync::SpinLock,
    task::{self, cred::Caps, current},
    uio::Source,
};

/// Who sent a message that nobody noted the sender of.
const NOBODY: Ucred = Ucred { pid: 0, uid: 65534, gid: 65534 };

/// What a sender passes besides bytes.
#[derive(Debug, Default)]
pub(super) struct Ancillary {
    pub(super) files: Option<InFlight>,
    pub(super) cred: Option<Ucred>,
}

impl Ancillary {
    /// Decodes and checks control data.
    pub(super) fn import(bytes: &[u8]) -> Result<Self> {
        let mut ancillary = Self::default();
        let mut files: Vec<Arc<File>> = Vec::new();
        for message in control::messages(bytes) {
            let message = message?;
            match (message.level, message.kind) {
                (SOL_SOCKET, SCM_RIGHTS) => import_files(message.data, &mut files)?,
                (SOL_SOCKET, SCM_CREDENTIALS) => ancillary.cred = Some(import_cred(message.data)?),
                (SOL_SOCKET, _) => return Err(Errno::EINVAL),
                _ => {}
            }
        }
        if !files.is_empty() {
            ancillary.files = Some(rights::attach(files)?);
        }
        Ok(ancillary)
    }
}

fn import_files(data: &[u8], files: &mut Vec<Arc<File>>) -> Result<()> {
    let (fds, _) = data.as_chunks::<4>();
    if files.len() + fds.len() > MAX_FILES {
        return Err(Errno::EINVAL);
    }
    for fd in fds {
        files.push(current().file(i32::from_ne_bytes(*fd))?);
    }
    Ok(())
}

/// Credentials that the caller may claim.
fn import_cred(data: &[u8]) -> Result<Ucred> {
    let data: &[u8; 12] = data.try_into().map_err(|_| Errno::EINVAL)?;
    let word = |at: usize| u32::from_ne_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
    let claimed = Ucred { pid: word(0), uid: word(4), gid: word(8) };
    let me = current();
    let allowed = me.with_cred(|cred| {
        (claimed.pid == me.process.pid || cred.capable(Caps::SYS_ADMIN))
            && ([cred.uid, cred.euid, cred.suid].contains(&claimed.uid) || cred.capable(Caps::SETUID))
            && ([cred.gid, cred.egid, cred.sgid].contains(&claimed.gid) || cred.capable(Caps::SETGID))
    });
    if claimed.uid == u32::MAX || claimed.gid == u32::MAX {
        return Err(Errno::EINVAL);
    }
    if !allowed {
        return Err(Errno::EPERM);
    }
    if claimed.pid != me.process.pid && task::process(claimed.pid).is_none() {
        return Err(Errno::ESRCH);
    }
    Ok(claimed)
}

/// The caller, as messages carry it.
fn sender() -> Option<Ucred> {
    try_current().map(|me| {
        let (uid, gid) = me.with_cred(|cred| (cred.uid, cred.gid));
        Ucred { pid: me.process.pid, uid, gid }
    })
}

/// A message. Its memory is charged to its sender until it goes.
#[derive(Debug)]
pub(super) struct Packet {
    data: Vec<u8>,
    /// Bytes of it that a stream's reader has.
    consumed: AtomicUsize,
    files: SpinLock<Option<InFlight>>,
    cred: Option<Ucred>,
    /// The sender's address.
    pub(super) name: Option<Arc<Binding>>,
    from: Arc<Core>,
    charge: usize,
}

/// What the smallest message takes besides its bytes.
const HEAD: usize = 320;

/// Memory of a message as Linux counts it: a descriptor, the first part in one piece, the rest in pages.
pub(super) fn memory(len: usize, paged: usize) -> usize {
    let head = len.saturating_sub(paged) + HEAD;
    let head = head.next_power_of_two().max(512);
    256 + head + paged
}

impl Packet {
    /// Copies `len` bytes from `source`.
    pub(super) fn new(
        from: &Arc<Core>,
        source: &mut Source<'_>,
        len: usize,
        paged: usize,
        name: Option<Arc<Binding>>,
    ) -> Result<Self> {
        let mut data = Vec::new();
        data.try_reserve_exact(len).map_err(|_| Errno::ENOBUFS)?;
        data.resize(len, 0);
        if len != 0 && source.read(&mut data)? != len {
            return Err(Errno::EFAULT);
        }
        let charge = memory(len, paged);
        from.charge(charge);
        Ok(Self {
            data,
            consumed: AtomicUsize::new(0),
            files: SpinLock::new(None),
            cred: None,
            name,
            from: from.clone(),
            charge,
        })
    }

    /// Adds what is passed with it.
    pub(super) fn carry(&mut self, ancillary: &mut Ancillary) {
        *self.files.get_mut() = ancillary.files.take();
        self.cred = ancillary.cred;
    }

    /// Notes the caller's credentials unless others were claimed.
    pub(super) fn sign(&mut self) {
        if self.cred.is_none() {
            self.cred = sender();
        }
    }

    /// Bytes that nobody has read.
    pub(super) fn bytes(&self) -> &[u8] {
        self.data.get(self.consumed.load(Ordering::Relaxed)..).unwrap_or_default()
    }

    /// Their number.
    pub(super) fn remaining(&self) -> usize {
        self.data.len().saturating_sub(self.consumed.load(Ordering::Relaxed))
    }

    /// A reader took the first `len` bytes; the readers' mutex is held.
    pub(super) fn consume(&self, len: usize) {
        self.consumed.fetch_add(len, Ordering::Relaxed);
    }

    /// The sender, as a receiver with `SO_PASSCRED` sees it.
    pub(super) fn cred(&self) -> Ucred {
        self.cred.unwrap_or(NOBODY)
    }

    /// Takes the files out.
    pub(super) fn take_files(&self) -> Option<Vec<Arc<File>>> {
        let files = self.files.lock().take();
        files.map(InFlight::land)
    }

    /// The files, which stay; `rights` is told.
    pub(super) fn peek_files(&self) -> Option<Vec<Arc<File>>> {
        rights::while_unchanged(|| self.files.lock().as_ref().map(|files| files.files().to_vec()))
    }

    /// Calls `f` for each file.
    pub(super) fn for_each_file(&self, mut f: impl FnMut(&Arc<File>)) {
        if let Some(files) = &*self.files.lock() {
            files.files().iter().for_each(&mut f);
        }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        self.from.uncharge(self.charge);
    }
}

#[cfg(test)]
mod tests {
    use super::memory;

    #[test]
    fn memory_is_counted_by_what_is_allocated() {
        assert_eq!(memory(1, 0), 768);
        assert_eq!(memory(384, 0), 256 + 1024);
        assert_eq!(memory(385, 0), 256 + 1024);
        assert_eq!(memory(5000, 4096), 256 + 2048 + 4096);
    }
}
