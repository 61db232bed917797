//! The calls that make mounts step by step: fsopen(2), fsconfig(2), fsmount(2), fspick(2), open_tree(2),
//! move_mount(2), mount_setattr(2).

use alloc::{string::String, sync::Arc, vec::Vec};
use linux_raw_sys::general::{
    AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW, FSOPEN_CLOEXEC, FSPICK_CLOEXEC,
    FSPICK_EMPTY_PATH, FSPICK_NO_AUTOMOUNT, FSPICK_SYMLINK_NOFOLLOW, MOUNT_ATTR__ATIME, MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_RELATIME, MOUNT_ATTR_STRICTATIME, MOVE_MOUNT__MASK,
    MOVE_MOUNT_BENEATH, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_F_SYMLINKS, MOVE_MOUNT_SET_GROUP,
    MOVE_MOUNT_T_EMPTY_PATH, MOVE_MOUNT_T_SYMLINKS, MS_NOATIME, MS_NODEV, MS_NODIRATIME, MS_NOEXEC,
    MS_NOSUID, MS_NOSYMFOLLOW, MS_RDONLY, MS_RELATIME, O_PATH, O_RDWR, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE,
    fsconfig_command,
};

use super::{
    Args,
    at::{self, Caller, FDCWD, install, only, path},
    mount::{check_right, namespace, sharing},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::{
        File, FileOps, Path, anon,
        fstypes::{Kind, Options},
        mount::{ATIME, Mount, Namespace, Super, tree},
        walk::Lookup,
    },
    sync::Mutex,
};

/// How far a file system in the making is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Options are taken.
    Options,
    /// It is there and waits to be mounted.
    Made,
    /// Options are taken for one that is mounted.
    Changing,
    /// Making or changing it failed.
    Failed,
}

/// A file system in the making: what fsopen(2) and fspick(2) give a descriptor of.
struct Context {
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    options: Options,
    fs: Option<Arc<Super>>,
}

impl FileOps for Context {
    fn is_stream(&self) -> bool {
        true
    }

    /// The log of what went wrong, which is not kept.
    fn read_at(&self, _file: &File, _sink: &mut crate::uio::Sink<'_>, _offset: u64) -> Result<usize> {
        Err(Errno::ENODATA)
    }
}

impl Context {
    fn open(phase: Phase, options: Options, fs: Option<Arc<Super>>, cloexec: bool) -> Result<u64> {
        let context = Arc::new(Self { state: Mutex::new(State { phase, options, fs }) });
        install(File::anonymous(context, anon::shared(), b"anon_inode:[fscontext]", O_RDWR), cloexec)
    }
}

/// A string of at most 255 bytes.
fn short_string(addr: u64) -> Result<String> {
    let bytes =
        path(addr).map_err(|error| if error == Errno::ENAMETOOLONG { Errno::EINVAL } else { error })?;
    if bytes.len() > 255 {
        return Err(Errno::EINVAL);
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| Errno::EINVAL)
}

/// fsopen(2).
///
/// # Errors
/// As fsopen(2).
pub fn fsopen(args: &Args) -> Result<u64> {
    check_right(&Caller::new()?)?;
    only(args.uint(1), FSOPEN_CLOEXEC)?;
    let name = path(args.addr(0))
        .map_err(|error| if error == Errno::ENAMETOOLONG { Errno::EINVAL } else { error })?;
    let options = Options::new(Kind::by_name(&name)?);
    Context::open(Phase::Options, options, None, args.uint(1) & FSOPEN_CLOEXEC != 0)
}

/// fspick(2).
///
/// # Errors
/// As fspick(2).
pub fn fspick(args: &Args) -> Result<u64> {
    let caller = Caller::new()?;
    check_right(&caller)?;
    let flags = args.uint(2);
    only(flags, FSPICK_CLOEXEC | FSPICK_SYMLINK_NOFOLLOW | FSPICK_NO_AUTOMOUNT | FSPICK_EMPTY_PATH)?;
    let follow = flags & FSPICK_SYMLINK_NOFOLLOW == 0;
    let at = place(&caller, args.int(0), args.addr(1), follow, flags & FSPICK_EMPTY_PATH != 0)?;
    if !at.is_mounted() {
        return Err(Errno::EINVAL);
    }
    let options = Options::of(&at.mount.fs).ok_or(Errno::EOPNOTSUPP)?;
    Context::open(Phase::Changing, options, Some(at.mount.fs.clone()), flags & FSPICK_CLOEXEC != 0)
}

/// What a path from a directory names.
fn place(caller: &Caller, dirfd: i32, name: u64, follow: bool, empty: bool) -> Result<Path> {
    let name = path(name)?;
    let mut lookup = if follow { Lookup::FOLLOW } else { Lookup::empty() };
    if empty {
        lookup |= Lookup::EMPTY;
    }
    caller.walk(dirfd, &name)?.resolve(&name, lookup)
}

/// fsconfig(2).
///
/// # Errors
/// As fsconfig(2).
pub fn fsconfig(args: &Args) -> Result<u64> {
    use fsconfig_command as command;
    let (fd, what, key, value, aux) = (args.int(0), args.uint(1), args.addr(2), args.addr(3), args.int(4));
    if fd < 0 {
        return Err(Errno::EINVAL);
    }
    let is = |command: fsconfig_command| what == command as u32;
    let fits = if is(command::FSCONFIG_SET_FLAG) {
        key != 0 && value == 0 && aux == 0
    } else if is(command::FSCONFIG_SET_STRING) {
        key != 0 && value != 0 && aux == 0
    } else if is(command::FSCONFIG_SET_BINARY) {
        key != 0 && value != 0 && (1..=1 << 20).contains(&aux)
    } else if is(command::FSCONFIG_SET_PATH) || is(command::FSCONFIG_SET_PATH_EMPTY) {
        key != 0 && value != 0 && (aux == FDCWD || aux >= 0)
    } else if is(command::FSCONFIG_SET_FD) {
        key != 0 && value == 0 && aux >= 0
    } else if is(command::FSCONFIG_CMD_CREATE)
        || is(command::FSCONFIG_CMD_CREATE_EXCL)
        || is(command::FSCONFIG_CMD_RECONFIGURE)
    {
        key == 0 && value == 0 && aux == 0
    } else {
        return Err(Errno::EOPNOTSUPP);
    };
    if !fits {
        return Err(Errno::EINVAL);
    }
    let file = at::open_file(fd)?;
    let context = file.downcast::<Context>().ok_or(Errno::EINVAL)?;
    let key = if key == 0 { String::new() } else { short_string(key)? };
    let value = if is(command::FSCONFIG_SET_STRING) { Some(short_string(value)?) } else { None };
    let mut state = context.state.lock();
    if is(command::FSCONFIG_CMD_RECONFIGURE) {
        return reconfigure(&mut state).map(|()| 0);
    }
    if is(command::FSCONFIG_CMD_CREATE) || is(command::FSCONFIG_CMD_CREATE_EXCL) {
        return create(&mut state, is(command::FSCONFIG_CMD_CREATE_EXCL)).map(|()| 0);
    }
    if !matches!(state.phase, Phase::Options | Phase::Changing) {
        return Err(Errno::EBUSY);
    }
    if !is(command::FSCONFIG_SET_STRING) && !is(command::FSCONFIG_SET_FLAG) {
        // No type takes other kinds of values.
        return Err(Errno::EINVAL);
    }
    state.options.set(&key, value.as_deref()).map(|()| 0)
}

fn create(state: &mut State, new: bool) -> Result<()> {
    if state.phase != Phase::Options {
        return Err(Errno::EBUSY);
    }
    check_right(&Caller::new()?)?;
    if new && state.options.kind() == Kind::Sysfs {
        state.phase = Phase::Failed;
        return Err(Errno::EBUSY);
    }
    state.fs = Some(state.options.create().inspect_err(|_| state.phase = Phase::Failed)?);
    state.phase = Phase::Made;
    Ok(())
}

fn reconfigure(state: &mut State) -> Result<()> {
    if state.phase != Phase::Changing {
        return Err(Errno::EBUSY);
    }
    check_right(&Caller::new()?)?;
    let fs = state.fs.clone().ok_or(Errno::EINVAL)?;
    let old = Options::of(&fs).ok_or(Errno::EINVAL)?;
    state.options.apply(&fs, &old).inspect_err(|_| state.phase = Phase::Failed)
}

/// Flags of a mount by their `MOUNT_ATTR_*`, those of access times apart.
const ATTRIBUTES: [(u32, u32); 6] = [
    (MOUNT_ATTR_RDONLY, MS_RDONLY),
    (MOUNT_ATTR_NOSUID, MS_NOSUID),
    (MOUNT_ATTR_NODEV, MS_NODEV),
    (MOUNT_ATTR_NOEXEC, MS_NOEXEC),
    (MOUNT_ATTR_NODIRATIME, MS_NODIRATIME),
    (MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW),
];
const KNOWN: u64 = (MOUNT_ATTR_RDONLY
    | MOUNT_ATTR_NOSUID
    | MOUNT_ATTR_NODEV
    | MOUNT_ATTR_NOEXEC
    | MOUNT_ATTR__ATIME
    | MOUNT_ATTR_NODIRATIME
    | MOUNT_ATTR_NOSYMFOLLOW) as u64;

/// `MS_*` for `MOUNT_ATTR_*`, access times apart.
fn flags_of(attributes: u64) -> u64 {
    let chosen = ATTRIBUTES.iter().filter(|(attribute, _)| attributes & u64::from(*attribute) != 0);
    chosen.fold(0, |all, (_, flag)| all | u64::from(*flag))
}

/// `MS_*` for how access times are kept.
fn atime_of(attributes: u64) -> Result<u64> {
    match (attributes & u64::from(MOUNT_ATTR__ATIME)) as u32 {
        MOUNT_ATTR_RELATIME => Ok(MS_RELATIME.into()),
        MOUNT_ATTR_NOATIME => Ok(MS_NOATIME.into()),
        MOUNT_ATTR_STRICTATIME => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// Keeps a tree of mounts that no namespace has, until it is mounted or the descriptor is closed.
struct Tree {
    _keeps: Arc<Namespace>,
}

impl FileOps for Tree {}

impl Tree {
    fn open(namespace: Arc<Namespace>, cloexec: bool) -> Result<u64> {
        let root = namespace.root();
        install(File::open_path_with(root, O_PATH, Arc::new(Self { _keeps: namespace }))?, cloexec)
    }
}

/// fsmount(2).
///
/// # Errors
/// As fsmount(2).
pub fn fsmount(args: &Args) -> Result<u64> {
    check_right(&Caller::new()?)?;
    only(args.uint(1), FSOPEN_CLOEXEC)?;
    let attributes = u64::from(args.uint(2));
    if attributes & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let flags = flags_of(attributes) | atime_of(attributes)?;
    let file = at::open_file(args.int(0))?;
    let context = file.downcast::<Context>().ok_or(Errno::EINVAL)?;
    let mut state = context.state.lock();
    let fs = state.fs.clone().ok_or(Errno::EINVAL)?;
    if state.phase != Phase::Made {
        return Err(Errno::EBUSY);
    }
    let source = state.options.source.clone();
    let mount = Mount::of(fs.clone(), fs.root.clone(), source.as_deref().unwrap_or("none"), flags);
    let fd = Tree::open(Namespace::of_descriptor(mount), args.uint(1) & FSOPEN_CLOEXEC != 0)?;
    state.phase = Phase::Changing;
    state.options = Options::of(&fs).ok_or(Errno::EINVAL)?;
    Ok(fd)
}

/// open_tree(2).
///
/// # Errors
/// As open_tree(2).
pub fn open_tree(args: &Args) -> Result<u64> {
    let flags = args.uint(2);
    only(
        flags,
        AT_EMPTY_PATH
            | AT_NO_AUTOMOUNT
            | AT_RECURSIVE
            | AT_SYMLINK_NOFOLLOW
            | OPEN_TREE_CLONE
            | OPEN_TREE_CLOEXEC,
    )?;
    if flags & (AT_RECURSIVE | OPEN_TREE_CLONE) == AT_RECURSIVE {
        return Err(Errno::EINVAL);
    }
    let caller = Caller::new()?;
    let cloexec = flags & OPEN_TREE_CLOEXEC != 0;
    if flags & OPEN_TREE_CLONE != 0 {
        check_right(&caller)?;
    }
    let follow = flags & AT_SYMLINK_NOFOLLOW == 0;
    let at = place(&caller, args.int(0), args.addr(1), follow, flags & AT_EMPTY_PATH != 0)?;
    if flags & OPEN_TREE_CLONE == 0 {
        return install(File::open_path(at, O_PATH)?, cloexec);
    }
    Tree::open(namespace().detached_copy(&at, flags & AT_RECURSIVE != 0)?, cloexec)
}

/// move_mount(2).
///
/// # Errors
/// As move_mount(2).
pub fn move_mount(args: &Args) -> Result<u64> {
    let caller = Caller::new()?;
    check_right(&caller)?;
    let flags = args.uint(4);
    only(flags, MOVE_MOUNT__MASK)?;
    if flags & (MOVE_MOUNT_BENEATH | MOVE_MOUNT_SET_GROUP) != 0 {
        return Err(Errno::EINVAL);
    }
    let has = |flag| flags & flag != 0;
    let from =
        place(&caller, args.int(0), args.addr(1), has(MOVE_MOUNT_F_SYMLINKS), has(MOVE_MOUNT_F_EMPTY_PATH))?;
    let to =
        place(&caller, args.int(2), args.addr(3), has(MOVE_MOUNT_T_SYMLINKS), has(MOVE_MOUNT_T_EMPTY_PATH))?;
    namespace().relocate(&from, &to)?;
    Ok(0)
}

/// What `struct mount_attr` asks for.
struct Change {
    set: u64,
    clear: u64,
    kind: u64,
}

impl Change {
    /// Reads it; `None` when it asks for nothing.
    fn read(addr: u64, size: usize) -> Result<Option<Self>> {
        let [set, clear, kind, _users]: [u64; 4] = uaccess::get(addr)?;
        for at in 32..size {
            if uaccess::get::<u8>(addr + at as u64)? != 0 {
                return Err(Errno::E2BIG);
            }
        }
        if set == 0 && clear == 0 && kind == 0 {
            return Ok(None);
        }
        if kind != 0 {
            sharing(kind)?;
        }
        // No file system here maps owners.
        if (set | clear) & !KNOWN != 0 || (set | clear) & u64::from(MOUNT_ATTR_IDMAP) != 0 {
            return Err(Errno::EINVAL);
        }
        let atime = u64::from(MOUNT_ATTR__ATIME);
        let mut change = Self { set: flags_of(set), clear: flags_of(clear), kind };
        if clear & atime != 0 {
            if clear & atime != atime {
                return Err(Errno::EINVAL);
            }
            change.clear |= ATIME & !u64::from(MS_NODIRATIME);
            change.set |= atime_of(set)?;
        } else if set & atime != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Some(change))
    }

    /// Changes all of `mounts`, or none.
    fn apply(&self, mounts: &[Arc<Mount>]) -> Result<()> {
        let mut done: Vec<(&Arc<Mount>, u64)> = Vec::new();
        for mount in mounts {
            let old = mount.flags();
            if let Err(error) = mount.set_flags(old & !self.clear | self.set) {
                // Giving rights back is never refused.
                for (mount, old) in done {
                    let _ = mount.set_flags(old);
                }
                return Err(error);
            }
            done.push((mount, old));
        }
        Ok(())
    }
}

/// mount_setattr(2).
///
/// # Errors
/// As mount_setattr(2).
pub fn mount_setattr(args: &Args) -> Result<u64> {
    let (flags, size) = (args.uint(2), args.size(4));
    only(flags, AT_EMPTY_PATH | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT)?;
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    if size < 32 {
        return Err(Errno::EINVAL);
    }
    let caller = Caller::new()?;
    check_right(&caller)?;
    let Some(change) = Change::read(args.addr(3), size)? else { return Ok(0) };
    let follow = flags & AT_SYMLINK_NOFOLLOW == 0;
    let at = place(&caller, args.int(0), args.addr(1), follow, flags & AT_EMPTY_PATH != 0)?;
    let detached = at.mount.namespace().is_some_and(|namespace| namespace.is_anonymous());
    if !at.is_mounted() || !detached && !at.mount.is_in(&namespace()) {
        return Err(Errno::EINVAL);
    }
    let recursive = flags & AT_RECURSIVE != 0;
    let mounts = if recursive { tree::with_those_on(&at.mount) } else { alloc::vec![at.mount.clone()] };
    change.apply(&mounts)?;
    if change.kind != 0 {
        tree::change_sharing(&at, sharing(change.kind)?, recursive)?;
    }
    Ok(0)
}
