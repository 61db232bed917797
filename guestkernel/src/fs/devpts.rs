//! devpts: the names of pseudo-terminals, `/dev/pts`.
//!
//! Each mount is a file system of its own with numbers of its own, as on Linux. Names come with the controlling
//! end, which opening `ptmx` gives, and go with it.

use alloc::{
    collections::BTreeMap,
    format,
    string::String,
    sync::{Arc, Weak},
};
use core::sync::atomic::{AtomicU32, Ordering};
use hostcall::{Attr, FileSystemStat, SetAttr, SetAttrValid};
use linux_raw_sys::general::{S_IFCHR, S_IFDIR};

use super::{
    anon,
    dentry::Dentry,
    dev,
    file::{File, FileOps},
    inode::{Caching, Dirent, Inode, dirent_kind},
    mount::Path,
    stream::Stream,
};
use crate::{
    errno::{Errno, Result},
    sync::SpinLock,
    task::current,
    tty::pty::{CONTROLLING, PROGRAM, Pty},
};

const MAGIC: u64 = 0x1cd1;
/// Numbers that exist at all.
const NUMBERS: u32 = 1 << 20;
/// Inode numbers of the root and of `ptmx`; a pseudo-terminal's follow.
const ROOT_INO: u64 = 1;
const PTMX_INO: u64 = 2;

/// `/proc/sys/kernel/pty`: pseudo-terminals of the sandbox, the most of them, and how many of those only the
/// machine's own mount gives, which no container has.
static COUNT: AtomicU32 = AtomicU32::new(0);
static MAX: AtomicU32 = AtomicU32::new(4096);
static RESERVE: AtomicU32 = AtomicU32::new(1024);

/// Pseudo-terminals that there are.
#[must_use]
pub fn count() -> u32 {
    COUNT.load(Ordering::SeqCst)
}

/// Most pseudo-terminals.
#[must_use]
pub fn max() -> u32 {
    MAX.load(Ordering::Relaxed)
}

/// Changes it.
pub fn set_max(max: u32) {
    MAX.store(max, Ordering::Relaxed);
}

/// Those of them that containers do not get.
#[must_use]
pub fn reserve() -> u32 {
    RESERVE.load(Ordering::Relaxed)
}

/// Changes it.
pub fn set_reserve(reserve: u32) {
    RESERVE.store(reserve, Ordering::Relaxed);
}

/// Options of the mount.
#[derive(Clone, Copy, Debug)]
struct Options {
    uid: Option<u32>,
    gid: Option<u32>,
    mode: u32,
    ptmx_mode: u32,
    max: u32,
}

impl Options {
    fn parse(data: &[u8]) -> Result<Self> {
        let mut options = Self { uid: None, gid: None, mode: 0o600, ptmx_mode: 0, max: NUMBERS };
        let text = core::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let decimal = || value.parse().map_err(|_| Errno::EINVAL);
            let octal = || u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL);
            match name {
                "uid" => options.uid = Some(decimal()?),
                "gid" => options.gid = Some(decimal()?),
                "mode" => options.mode = octal()? & 0o7777,
                "ptmxmode" => options.ptmx_mode = octal()? & 0o7777,
                "max" => options.max = Some(decimal()?).filter(|max| *max <= NUMBERS).ok_or(Errno::EINVAL)?,
                // Every mount is one.
                "newinstance" if value.is_empty() => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }

    /// As `/proc/mounts` shows them.
    fn show(&self) -> String {
        let mut out = String::new();
        let mut add = |text: String| {
            if !out.is_empty() {
                out.push(',');
            }
            out.push_str(&text);
        };
        if let Some(uid) = self.uid {
            add(format!("uid={uid}"));
        }
        if let Some(gid) = self.gid {
            add(format!("gid={gid}"));
        }
        add(format!("mode={:03o}", self.mode));
        add(format!("ptmxmode={:03o}", self.ptmx_mode));
        if self.max < NUMBERS {
            add(format!("max={}", self.max));
        }
        out
    }
}

/// A pseudo-terminal's number: taken, and with a name as long as its controlling end is open.
type Slots = BTreeMap<u32, Option<Arc<Node>>>;

/// A mount's file system.
pub struct DevPts {
    options: Options,
    dev: u64,
    slots: SpinLock<Slots>,
    root: SpinLock<Weak<Node>>,
    ptmx: Arc<Node>,
}

/// What a node is.
enum What {
    Root(Arc<DevPts>),
    Ptmx(Weak<DevPts>),
    Terminal(Arc<Pty>),
}

/// A name's inode.
struct Node {
    what: What,
    kind: u32,
    attr: SpinLock<Attr>,
}

impl Node {
    fn new(what: What, dev: u64, ino: u64, mode: u32, (uid, gid): (u32, u32), rdev: u64) -> Arc<Self> {
        let time = anon::now();
        let kind = if matches!(what, What::Root(_)) { S_IFDIR } else { S_IFCHR };
        let attr = Attr {
            ino,
            dev,
            rdev,
            mode: kind | mode,
            uid,
            gid,
            nlink: if kind == S_IFDIR { 2 } else { 1 },
            blksize: 1024,
            atime: time,
            mtime: time,
            ctime: time,
            ..Attr::default()
        };
        Arc::new(Self { what, kind, attr: SpinLock::new(attr) })
    }
}

/// A new file system: its root, and its options as they are shown.
///
/// # Errors
/// `EINVAL` for options that it does not have.
pub fn mount(data: &[u8]) -> Result<(Arc<dyn Inode>, String)> {
    let options = Options::parse(data)?;
    let dev = anon::next_dev();
    let fs = Arc::new_cyclic(|fs: &Weak<DevPts>| DevPts {
        options,
        dev,
        slots: SpinLock::default(),
        root: SpinLock::default(),
        ptmx: Node::new(What::Ptmx(fs.clone()), dev, PTMX_INO, options.ptmx_mode, (0, 0), dev::PTMX),
    });
    let root = Node::new(What::Root(fs.clone()), dev, ROOT_INO, 0o755, (0, 0), 0);
    *fs.root.lock() = Arc::downgrade(&root);
    Ok((root, options.show()))
}

impl DevPts {
    /// Opening `ptmx`: a new pseudo-terminal.
    fn open_ptmx(self: &Arc<Self>) -> Result<Arc<dyn FileOps>> {
        if COUNT.fetch_add(1, Ordering::SeqCst) + 1 >= max().saturating_sub(reserve()) {
            COUNT.fetch_sub(1, Ordering::SeqCst);
            return Err(Errno::ENOSPC);
        }
        let opened = self.take_number().and_then(|index| {
            self.add(index).inspect_err(|_| {
                self.slots.lock().remove(&index);
            })
        });
        if opened.is_err() {
            COUNT.fetch_sub(1, Ordering::SeqCst);
        }
        opened
    }

    /// The lowest free number.
    fn take_number(&self) -> Result<u32> {
        let mut slots = self.slots.lock();
        let mut free = 0;
        for &taken in slots.keys() {
            if taken != free {
                break;
            }
            free += 1;
        }
        if free >= self.options.max {
            return Err(Errno::ENOSPC);
        }
        slots.insert(free, None);
        Ok(free)
    }

    fn add(self: &Arc<Self>, index: u32) -> Result<Arc<dyn FileOps>> {
        let pty = Pty::new(index, self)?;
        let caller = current().with_cred(|cred| (cred.fsuid, cred.fsgid));
        let owner = (self.options.uid.unwrap_or(caller.0), self.options.gid.unwrap_or(caller.1));
        let rdev = dev::make(dev::PTS_MAJOR, index.into());
        let ino = u64::from(index) + PTMX_INO + 1;
        let node = Node::new(What::Terminal(pty.clone()), self.dev, ino, self.options.mode, owner, rdev);
        let end = pty.open(CONTROLLING)?;
        self.slots.lock().insert(index, Some(node));
        Ok(end)
    }

    /// Takes a name away: the controlling end is closed.
    pub fn remove(&self, index: u32) {
        let node = self.slots.lock().get_mut(&index).and_then(Option::take);
        if let Some(node) = node {
            node.attr.lock().nlink = 0;
        }
    }

    /// A number is free again: nobody has either end open.
    pub fn release(&self, index: u32) {
        let slot = self.slots.lock().remove(&index);
        if slot.is_some() {
            COUNT.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if name == b"ptmx" {
            return Ok(self.ptmx.clone());
        }
        let leading_zero = name.len() > 1 && name[0] == b'0';
        if leading_zero || name.is_empty() || !name.iter().all(u8::is_ascii_digit) {
            return Err(Errno::ENOENT);
        }
        let number = core::str::from_utf8(name).ok().and_then(|name| name.parse::<u32>().ok());
        let node = number.and_then(|number| self.slots.lock().get(&number).cloned().flatten());
        node.map(|node| node as Arc<dyn Inode>).ok_or(Errno::ENOENT)
    }
}

impl Inode for Node {
    fn attr(&self) -> Result<Attr> {
        Ok(*self.attr.lock())
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        if change.valid & SetAttrValid::SIZE.bits() != 0 {
            return Err(Errno::EINVAL);
        }
        anon::apply(&mut self.attr.lock(), change);
        Ok(())
    }

    fn statfs(&self) -> Result<FileSystemStat> {
        Ok(anon::plain_statfs(MAGIC))
    }

    fn caching(&self) -> Caching {
        Caching::None
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        match &self.what {
            What::Root(fs) => fs.lookup(name),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn FileOps>> {
        match &self.what {
            What::Root(_) => Ok(Arc::new(OpenRoot(self))),
            What::Ptmx(fs) => fs.upgrade().ok_or(Errno::ENODEV)?.open_ptmx(),
            What::Terminal(pty) => Ok(pty.open(PROGRAM)?),
        }
    }
}

/// The open directory.
struct OpenRoot(Arc<Node>);

impl FileOps for OpenRoot {
    fn read_at(&self, _file: &File, _sink: &mut crate::uio::Sink<'_>, _offset: u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn read_dir(&self, _file: &File, cookie: u64, emit: &mut dyn FnMut(&Dirent<'_>) -> bool) -> Result<()> {
        let What::Root(fs) = &self.0.what else { return Err(Errno::ENOTDIR) };
        let kind = dirent_kind(S_IFCHR);
        if cookie == 0 && !emit(&Dirent { ino: PTMX_INO, next: 1, kind, name: b"ptmx" }) {
            return Ok(());
        }
        let mut from = cookie.saturating_sub(1) as u32;
        loop {
            let next =
                fs.slots.lock().range(from..).find(|(_, node)| node.is_some()).map(|(index, _)| *index);
            let Some(index) = next else { return Ok(()) };
            let ino = u64::from(index) + PTMX_INO + 1;
            let name = format!("{index}");
            if !emit(&Dirent { ino, next: u64::from(index) + 2, kind, name: name.as_bytes() }) {
                return Ok(());
            }
            from = index + 1;
        }
    }
}

/// The file system of a directory, if it is the root of a devpts.
fn root_of(dentry: &Dentry) -> Option<Arc<DevPts>> {
    match &dentry.inode().ok()?.downcast::<Node>()?.what {
        What::Root(fs) => Some(fs.clone()),
        _ => None,
    }
}

/// The devpts that a `ptmx` at `path` belongs to, by its root: the one it is in, or the one called `pts` beside it.
fn root_for(path: &Path) -> Option<(Path, Arc<DevPts>)> {
    let parent = path.dentry.parent()?;
    if let Some(fs) = root_of(&parent) {
        return Some((Path { mount: path.mount.clone(), dentry: parent }, fs));
    }
    let root = Path { mount: path.mount.clone(), dentry: parent.lookup(b"pts").ok()? }.cross();
    root_of(&root.dentry).map(|fs| (root, fs))
}

/// Opening a node with the numbers of `ptmx` that is in another file system; `None` for anything else.
pub fn open_foreign_ptmx(path: &Path, inode: &Arc<dyn Inode>) -> Option<Result<Arc<dyn FileOps>>> {
    let foreign = inode.kind() == S_IFCHR
        && inode.downcast::<Node>().is_none()
        && inode.downcast::<Stream>().is_none()
        && inode.access().is_ok_and(|attr| attr.rdev == dev::PTMX);
    foreign.then(|| root_for(path).ok_or(Errno::ENODEV)?.1.open_ptmx())
}

/// Where the program's end of a pseudo-terminal is whose controlling end was opened at `ptmx`.
///
/// # Errors
/// `ENODEV` when its file system is not there, `EIO` when the name is gone.
pub fn path_of(ptmx: &Path, pty: &Pty) -> Result<Path> {
    let (root, fs) = root_for(ptmx).ok_or(Errno::ENODEV)?;
    if !pty.is_in(&fs) {
        return Err(Errno::ENODEV);
    }
    let dentry = root.dentry.lookup(format!("{}", pty.index).as_bytes())?;
    if dentry.is_negative() { Err(Errno::EIO) } else { Ok(Path { mount: root.mount, dentry }) }
}

impl core::fmt::Debug for DevPts {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "DevPts({:?})", self.options)
    }
}
