//! A host in memory, for hostfs.

use hostcall::{Attr, DirentHeader, FileSystemStat, Handle, IoRange, SetAttr, SetAttrValid};
use linux_raw_sys::general::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};
use std::{collections::BTreeMap, collections::HashMap, sync::Arc, sync::Mutex, vec::Vec};
use zerocopy::IntoBytes;

use super::super::hostfs::host::Host;
use crate::{
    arch::{PhysAddr, read_phys, window_phys, write_phys},
    errno::{Errno, Result},
};

#[derive(Default)]
struct Node {
    attr: Attr,
    data: Vec<u8>,
    names: BTreeMap<Vec<u8>, usize>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    handles: HashMap<Handle, usize>,
    next: Handle,
    windows: Vec<(usize, u64, u64, u64)>,
    ticks: i64,
}

/// The double; counts calls by name.
#[derive(Default)]
pub(super) struct FakeHost {
    state: Mutex<State>,
    calls: Mutex<BTreeMap<&'static str, usize>>,
}

impl State {
    fn node(&mut self, handle: Handle) -> Result<usize> {
        self.handles.get(&handle).copied().ok_or(Errno::EBADF)
    }

    fn handle(&mut self, node: usize) -> (Handle, Attr) {
        self.next += 1;
        self.handles.insert(self.next, node);
        (self.next, self.nodes[node].attr)
    }

    fn make(&mut self, dir: Handle, name: &[u8], mode: u32, data: &[u8]) -> Result<(Handle, Attr)> {
        let dir = self.node(dir)?;
        if self.nodes[dir].names.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let ino = self.nodes.len() as u64 + 1;
        let attr = Attr { ino, dev: 7, mode, nlink: 1, size: data.len() as u64, ..Attr::default() };
        self.nodes.push(Node { attr, data: data.to_vec(), ..Node::default() });
        let node = self.nodes.len() - 1;
        self.nodes[dir].names.insert(name.to_vec(), node);
        self.tick(dir);
        Ok(self.handle(node))
    }

    /// A node changes now.
    fn tick(&mut self, node: usize) {
        self.ticks += 1;
        self.nodes[node].attr.ctime.nsec = self.ticks;
        self.nodes[node].attr.mtime.nsec = self.ticks;
    }

    /// Shows what a node holds in its windows.
    fn show(&self, node: usize) {
        for (_, offset, len, window) in self.windows.iter().filter(|(n, ..)| *n == node) {
            let data = &self.nodes[node].data;
            let from = (*offset as usize).min(data.len());
            let to = ((offset + len) as usize).min(data.len());
            write_phys(window_phys(*window), &data[from..to]);
        }
    }
}

impl FakeHost {
    pub(super) fn new() -> &'static Self {
        let host = Self::default();
        {
            let mut state = host.state.lock().expect("state");
            let attr = Attr { ino: 1, dev: 7, mode: S_IFDIR | 0o755, nlink: 2, ..Attr::default() };
            state.nodes.push(Node { attr, ..Node::default() });
            state.handles.insert(1, 0);
            state.next = 1;
        }
        std::boxed::Box::leak(std::boxed::Box::new(host))
    }

    fn count(&self, name: &'static str) -> std::sync::MutexGuard<'_, State> {
        *self.calls.lock().expect("calls").entry(name).or_default() += 1;
        self.state.lock().expect("state")
    }

    /// Calls since the last time this was asked.
    pub(super) fn take_calls(&self) -> BTreeMap<&'static str, usize> {
        std::mem::take(&mut *self.calls.lock().expect("calls"))
    }

    pub(super) fn open_handles(&self) -> usize {
        self.state.lock().expect("state").handles.len()
    }
}

impl Host for FakeHost {
    fn lookup(&self, dir: Handle, name: &[u8]) -> Result<(Handle, Attr)> {
        let mut state = self.count("lookup");
        let dir = state.node(dir)?;
        let node = *state.nodes[dir].names.get(name).ok_or(Errno::ENOENT)?;
        Ok(state.handle(node))
    }
    fn getattr(&self, inode: Handle) -> Result<Attr> {
        let mut state = self.count("getattr");
        let node = state.node(inode)?;
        Ok(state.nodes[node].attr)
    }
    fn getattrs(&self, inodes: &[Handle], attrs: &mut [Attr]) -> Result<()> {
        let mut state = self.count("getattrs");
        for (inode, attr) in inodes.iter().zip(attrs) {
            *attr = state.node(*inode).map_or(Attr::default(), |node| state.nodes[node].attr);
        }
        Ok(())
    }
    fn setattr(&self, inode: Handle, change: &SetAttr) -> Result<Attr> {
        let mut state = self.count("setattr");
        let node = state.node(inode)?;
        if change.valid & SetAttrValid::SIZE.bits() != 0 {
            state.nodes[node].data.resize(change.size as usize, 0);
            state.nodes[node].attr.size = change.size;
            state.show(node);
        }
        state.tick(node);
        if change.valid & SetAttrValid::MODE.bits() != 0 {
            let attr = &mut state.nodes[node].attr;
            attr.mode = attr.mode & S_IFMT | change.mode;
        }
        Ok(state.nodes[node].attr)
    }
    fn open(&self, inode: Handle, _access: u64, _acl: bool) -> Result<bool> {
        let mut state = self.count("open");
        let node = state.node(inode)?;
        Ok(state.nodes[node].xattrs.contains_key(&b"system.posix_acl_access"[..]))
    }
    fn close(&self, inodes: &[Handle]) {
        let mut state = self.count("close");
        for inode in inodes {
            assert!(state.handles.remove(inode).is_some(), "closed twice");
        }
    }
    fn read(&self, file: Handle, offset: u64, ranges: &[IoRange]) -> Result<usize> {
        let mut state = self.count("read");
        let node = state.node(file)?;
        let data = &state.nodes[node].data;
        let from = (offset as usize).min(data.len());
        let len = (data.len() - from).min(ranges[0].len as usize);
        write_phys(PhysAddr(ranges[0].gpa), &data[from..from + len]);
        Ok(len)
    }
    fn write(&self, file: Handle, offset: u64, ranges: &[IoRange]) -> Result<usize> {
        let mut state = self.count("write");
        let node = state.node(file)?;
        let mut bytes = std::vec![0; ranges[0].len as usize];
        read_phys(PhysAddr(ranges[0].gpa), &mut bytes);
        let end = offset as usize + bytes.len();
        if state.nodes[node].data.len() < end {
            state.nodes[node].data.resize(end, 0);
        }
        state.nodes[node].data[offset as usize..end].copy_from_slice(&bytes);
        state.nodes[node].attr.size = state.nodes[node].data.len() as u64;
        state.tick(node);
        state.show(node);
        Ok(bytes.len())
    }
    fn append(&self, file: Handle, ranges: &[IoRange]) -> Result<(usize, u64)> {
        let size = self.getattr(file)?.size;
        let done = self.write(file, size, ranges)?;
        Ok((done, size + done as u64))
    }
    fn readdir(&self, dir: Handle, cookie: u64, gpa: u64, len: u64) -> Result<(usize, bool)> {
        let mut state = self.count("readdir");
        let dir = state.node(dir)?;
        let mut out = Vec::new();
        for (index, (name, node)) in state.nodes[dir].names.iter().enumerate().skip(cookie as usize) {
            let attr = &state.nodes[*node].attr;
            let head = DirentHeader {
                ino: attr.ino,
                next: index as u64 + 1,
                kind: attr.mode >> 12,
                name_len: name.len() as u32,
            };
            let size = (size_of::<DirentHeader>() + name.len()).next_multiple_of(8);
            // Few at a time, so that a listing takes several calls.
            if out.len() + size > (len as usize).min(200) {
                break;
            }
            let start = out.len();
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(name);
            out.resize(start + size, 0);
        }
        write_phys(PhysAddr(gpa), &out);
        Ok((out.len(), false))
    }
    fn readlink(&self, link: Handle) -> Result<Arc<[u8]>> {
        let mut state = self.count("readlink");
        let node = state.node(link)?;
        Ok(state.nodes[node].data.as_slice().into())
    }
    fn create(&self, dir: Handle, name: &[u8], mode: u32, _uid: u32, _gid: u32) -> Result<(Handle, Attr)> {
        self.count("create").make(dir, name, S_IFREG | mode, b"")
    }
    fn tmpfile(&self, dir: Handle, mode: u32, _uid: u32, _gid: u32) -> Result<(Handle, Attr)> {
        let (handle, attr) = self.count("tmpfile").make(dir, b"#", S_IFREG | mode, b"")?;
        self.unlink(dir, b"#", false)?;
        Ok((handle, Attr { nlink: 0, ..attr }))
    }
    fn mkdir(&self, dir: Handle, name: &[u8], mode: u32, _uid: u32, _gid: u32) -> Result<(Handle, Attr)> {
        self.count("mkdir").make(dir, name, S_IFDIR | mode, b"")
    }
    fn symlink(
        &self,
        dir: Handle,
        name: &[u8],
        target: &[u8],
        _uid: u32,
        _gid: u32,
    ) -> Result<(Handle, Attr)> {
        self.count("symlink").make(dir, name, S_IFLNK | 0o777, target)
    }
    fn mknod(&self, dir: Handle, name: &[u8], mode: u32, _uid: u32, _gid: u32) -> Result<(Handle, Attr)> {
        self.count("mknod").make(dir, name, mode, b"")
    }
    fn link(&self, inode: Handle, dir: Handle, name: &[u8]) -> Result<()> {
        let mut state = self.count("link");
        let (node, dir) = (state.node(inode)?, state.node(dir)?);
        state.nodes[node].attr.nlink += 1;
        state.nodes[dir].names.insert(name.to_vec(), node);
        state.tick(dir);
        Ok(())
    }
    fn unlink(&self, dir: Handle, name: &[u8], directory: bool) -> Result<()> {
        let mut state = self.count("unlink");
        let dir = state.node(dir)?;
        let node = *state.nodes[dir].names.get(name).ok_or(Errno::ENOENT)?;
        if directory && !state.nodes[node].names.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        state.nodes[dir].names.remove(name);
        state.nodes[node].attr.nlink -= 1;
        state.tick(dir);
        Ok(())
    }
    fn rename(&self, dir: Handle, old: &[u8], to: Handle, new: &[u8], _flags: u32) -> Result<()> {
        let mut state = self.count("rename");
        let (dir, to) = (state.node(dir)?, state.node(to)?);
        let node = state.nodes[dir].names.remove(old).ok_or(Errno::ENOENT)?;
        state.nodes[to].names.insert(new.to_vec(), node);
        state.tick(dir);
        state.tick(to);
        Ok(())
    }
    fn sync(&self, _file: Handle, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn statfs(&self, _inode: Handle) -> Result<FileSystemStat> {
        Ok(FileSystemStat::default())
    }
    fn allocate(&self, _file: Handle, _mode: u32, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    fn get_xattr(&self, inode: Handle, name: &[u8], gpa: u64, len: usize) -> Result<usize> {
        let mut state = self.count("get_xattr");
        let node = state.node(inode)?;
        let value = state.nodes[node].xattrs.get(name).ok_or(Errno::ENODATA)?;
        if value.len() > len {
            return Err(Errno::ERANGE);
        }
        write_phys(PhysAddr(gpa), value);
        Ok(value.len())
    }
    fn set_xattr(&self, inode: Handle, name: &[u8], gpa: u64, len: usize, _flags: u32) -> Result<()> {
        let mut state = self.count("set_xattr");
        let node = state.node(inode)?;
        let mut value = std::vec![0; len];
        read_phys(PhysAddr(gpa), &mut value);
        state.nodes[node].xattrs.insert(name.to_vec(), value);
        Ok(())
    }
    fn list_xattr(&self, _inode: Handle, _gpa: u64, _len: usize) -> Result<usize> {
        Ok(0)
    }
    fn remove_xattr(&self, inode: Handle, name: &[u8]) -> Result<()> {
        let mut state = self.count("remove_xattr");
        let node = state.node(inode)?;
        state.nodes[node].xattrs.remove(name).map(drop).ok_or(Errno::ENODATA)
    }
    fn seek(&self, _file: Handle, offset: u64, _whence: u32) -> Result<u64> {
        Ok(offset)
    }
    fn window_map(&self, file: Handle, offset: u64, len: u64, window: u64, _writable: bool) -> Result<()> {
        let mut state = self.count("window_map");
        let node = state.node(file)?;
        state.windows.retain(|(.., other)| *other != window);
        state.windows.push((node, offset, len, window));
        state.show(node);
        Ok(())
    }
    fn window_probe(&self, _window: u64, _len: u64, _write: bool) -> Result<()> {
        Ok(())
    }
}
