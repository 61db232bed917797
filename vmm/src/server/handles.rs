//! The table of file handles: what the sentry may name on the host.
//!
//! A handle denotes an inode beneath one of the trees that the runtime gave. It starts as an `O_PATH`
//! descriptor, which can do nothing but be looked at and walked from; `FsOpen` replaces it by one that can do
//! I/O. Each handle costs one descriptor. Lock order: table, then an object's descriptor.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hostcall::Handle;
use rustix::{
    fd::OwnedFd,
    fs::{FileType, OFlags},
    io::Errno,
};

use super::files::{FileOp, Files, raw};

/// An inode of the host and the ability to use it.
#[derive(Debug)]
pub(crate) struct Object {
    state: RwLock<State>,
    /// Type of the inode; fixed for its life.
    pub(crate) kind: FileType,
    /// Changes are refused.
    pub(crate) readonly: bool,
    /// Serialises users of a directory's position.
    pub(crate) position: Mutex<()>,
}

#[derive(Clone, Debug)]
struct State {
    fd: Arc<OwnedFd>,
    read: bool,
    write: bool,
}

impl Object {
    /// An inode that can be looked at.
    pub(crate) fn path(fd: OwnedFd, kind: FileType, readonly: bool) -> Self {
        Self::new(State { fd: Arc::new(fd), read: false, write: false }, kind, readonly)
    }

    /// A file that is open for reading and writing.
    pub(crate) fn open_file(fd: OwnedFd, kind: FileType) -> Self {
        Self::new(State { fd: Arc::new(fd), read: true, write: true }, kind, false)
    }

    fn new(state: State, kind: FileType, readonly: bool) -> Self {
        Self { state: RwLock::new(state), kind, readonly, position: Mutex::new(()) }
    }

    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A descriptor that denotes the inode.
    pub(crate) fn fd(&self) -> Arc<OwnedFd> {
        self.state().fd
    }

    /// The descriptor, if it can do what is asked for.
    pub(crate) fn io(&self, read: bool, write: bool) -> Result<Arc<OwnedFd>, Errno> {
        let state = self.state();
        if (read && !state.read) || (write && !state.write) { Err(Errno::BADF) } else { Ok(state.fd) }
    }

    /// Refuses changes below a read-only tree.
    pub(crate) fn writable(&self) -> Result<(), Errno> {
        if self.readonly { Err(Errno::ROFS) } else { Ok(()) }
    }

    /// Makes the object able to read or write. Only regular files and directories are ever opened: a FIFO,
    /// socket or device of the host is none of the sentry's business.
    pub(crate) fn open(&self, files: &Files, read: bool, write: bool) -> Result<(), Errno> {
        if write {
            self.writable()?;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let (read, write) = (read || state.read, write || state.write);
        if read == state.read && write == state.write {
            return Ok(());
        }
        let flags = match (self.kind, read, write) {
            (FileType::Directory, _, true) => return Err(Errno::ISDIR),
            (FileType::Directory, ..) => OFlags::RDONLY | OFlags::DIRECTORY,
            (FileType::RegularFile, true, true) => OFlags::RDWR,
            (FileType::RegularFile, false, true) => OFlags::WRONLY,
            (FileType::RegularFile, ..) => OFlags::RDONLY,
            (FileType::Symlink, ..) => return Err(Errno::LOOP),
            _ => return Err(Errno::NXIO),
        };
        let fd = files.open(&FileOp::Reopen { file: raw(&state.fd), flags: flags.bits() })?;
        *state = State { fd: Arc::new(fd), read, write };
        Ok(())
    }
}

/// Handle numbers and their objects.
#[derive(Debug)]
pub(crate) struct Handles {
    table: Mutex<Table>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Table {
    /// Entry `i` is handle `i + 1`.
    entries: Vec<Option<Arc<Object>>>,
    free: Vec<Handle>,
}

impl Handles {
    /// An empty table for at most `limit` handles.
    pub(crate) fn new(limit: usize) -> Self {
        Self { table: Mutex::default(), limit }
    }

    /// Gives an object the lowest handle that is known to be free.
    pub(crate) fn insert(&self, object: Object) -> Result<Handle, Errno> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = table.free.pop() {
            table.entries[handle as usize - 1] = Some(Arc::new(object));
            return Ok(handle);
        }
        if table.entries.len() >= self.limit {
            return Err(Errno::MFILE);
        }
        table.entries.push(Some(Arc::new(object)));
        Handle::try_from(table.entries.len()).map_err(|_| Errno::MFILE)
    }

    /// The object of a handle.
    pub(crate) fn get(&self, handle: Handle) -> Result<Arc<Object>, Errno> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let index = (handle as usize).checked_sub(1).ok_or(Errno::BADF)?;
        table.entries.get(index).cloned().flatten().ok_or(Errno::BADF)
    }

    /// Forgets a handle.
    pub(crate) fn remove(&self, handle: Handle) -> Result<(), Errno> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let index = (handle as usize).checked_sub(1).ok_or(Errno::BADF)?;
        let object = table.entries.get_mut(index).and_then(Option::take).ok_or(Errno::BADF)?;
        table.free.push(handle);
        drop(table);
        drop(object);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::Mode;

    use super::*;

    fn object() -> Object {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/", flags, Mode::empty()).unwrap();
        Object::path(fd, FileType::Directory, false)
    }

    #[test]
    fn handles_are_dense_and_reused() {
        let handles = Handles::new(2);
        assert_eq!(handles.insert(object()), Ok(1));
        assert_eq!(handles.insert(object()), Ok(2));
        assert_eq!(handles.insert(object()), Err(Errno::MFILE));
        assert_eq!(handles.remove(1), Ok(()));
        assert_eq!(handles.remove(1), Err(Errno::BADF));
        assert_eq!(handles.get(1).err(), Some(Errno::BADF));
        assert_eq!(handles.get(0).err(), Some(Errno::BADF));
        assert_eq!(handles.insert(object()), Ok(1));
    }
}
