//! Running programs.
//!
//! The new address space is complete before the old one is given up, so a bad file costs the caller an errno.
//! Then the group shrinks to the calling thread, and what a program must not inherit is reset.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use super::{
    AltStack, Task,
    cred::{AfterExec, Cred, ExecFile, FileCaps},
    current, personality,
    process::GroupEnd,
    rlimit::{Resource, Rlimits},
    tree,
};
use crate::{
    arch::UserRegs,
    errno::{Errno, Result},
    fs::{
        File, FsContext, Path,
        perm::{self, Who},
        walk::Lookup,
        xattr,
    },
    mm::{
        Mappable,
        exec::{Binary, Image, Program, load},
    },
    signal::send,
    uio::Sink,
};

/// `#!` lines that may name a script each.
const MAX_SCRIPTS: u32 = 5;
/// Bytes of a file that are looked at for `#!`.
const SCRIPT_HEAD: usize = 256;

/// The file-system rights of credentials.
#[must_use]
pub fn who(cred: &Cred) -> Who<'_> {
    Who { uid: cred.fsuid, gid: cred.fsgid, groups: &cred.groups, caps: cred.effective.bits() }
}

/// A program's file for the loader.
struct ProgramFile(Arc<File>);

impl Binary for ProgramFile {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            let mut sink = Sink::Kernel(&mut bytes[done..]);
            let step = self.0.ops().read_at(&self.0, &mut sink, offset + done as u64)?;
            if step == 0 {
                break;
            }
            done += step;
        }
        Ok(done)
    }

    fn object(&self) -> Result<Arc<dyn Mappable>> {
        self.0.mappable()
    }
}

/// What to run and in whose name.
#[derive(Debug)]
pub struct Request<'a> {
    /// Root and working directory.
    pub fs: &'a FsContext,
    /// The caller's credentials.
    pub cred: &'a Cred,
    /// Limits of the process.
    pub limits: &'a Rlimits,
    /// Set-id bits do not count.
    pub no_new_privs: bool,
    /// The caller's `personality(2)`.
    pub personality: u32,
    /// The program was named by a descriptor alone.
    pub by_descriptor: bool,
    /// The path leads through a descriptor that the program will not have.
    pub inaccessible: bool,
    /// The program's path as the caller named it.
    pub path: Vec<u8>,
    /// Arguments.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
}

/// A program that only has to be entered.
#[derive(Debug)]
pub struct Prepared {
    image: Image,
    file: Arc<File>,
    cred: Cred,
    secure: bool,
    hidden: bool,
    personality: u32,
    comm: Vec<u8>,
}

/// Opens a program by path.
///
/// # Errors
/// As execve(2).
pub fn open(fs: &FsContext, cred: &Cred, path: &[u8]) -> Result<Arc<File>> {
    let who = who(cred);
    let found = fs.walk(who).resolve(path, Lookup::FOLLOW)?;
    open_found(found, cred)
}

/// Opens a program that a walk found.
///
/// # Errors
/// `EACCES` for what is not a regular file or may not be executed, `ETXTBSY` for one that is open for writing.
pub fn open_found(found: Path, cred: &Cred) -> Result<Arc<File>> {
    let inode = found.inode()?.clone();
    let attr = inode.attr()?;
    if attr.mode & linux_raw_sys::general::S_IFMT != linux_raw_sys::general::S_IFREG
        || found.mount.is_noexec()
    {
        return Err(Errno::EACCES);
    }
    perm::check(&*inode, &who(cred), perm::EXEC)?;
    File::open_program(found)
}

/// Loads the program, or the interpreter that its `#!` line names.
///
/// # Errors
/// As execve(2).
pub fn prepare(request: Request<'_>, file: Arc<File>) -> Result<Prepared> {
    let comm = request.path.rsplit(|&byte| byte == b'/').next().unwrap_or(b"").to_vec();
    let Request {
        fs,
        cred,
        limits,
        no_new_privs,
        personality,
        by_descriptor,
        inaccessible,
        path,
        mut argv,
        envp,
    } = request;
    let (mut file, mut name) = (file, path.clone());
    let mut scripts = 0;
    while let Some(head) = script_head(&file)? {
        let (interpreter, argument) = parse_script(&head)?;
        if inaccessible {
            return Err(Errno::ENOENT);
        }
        scripts += 1;
        if scripts > MAX_SCRIPTS {
            return Err(Errno::ELOOP);
        }
        let mut front = alloc::vec![interpreter.to_vec()];
        front.extend(argument.map(<[u8]>::to_vec));
        front.push(name);
        argv.splice(..argv.len().min(1), front);
        name = interpreter.to_vec();
        if name.is_empty() {
            // As on Linux: no name is that of the working directory.
            return Err(Errno::EACCES);
        }
        file = open(fs, cred, &name)?;
    }
    let comm = if by_descriptor {
        let name = file.path().dentry.name();
        // A memfd's name is shown as a path that is gone.
        let name = name.strip_prefix(b"/").unwrap_or(&name);
        name.strip_suffix(b" (deleted)").unwrap_or(name).to_vec()
    } else {
        comm
    };
    let Privileges { cred: new_cred, set_id, secure, hidden } = credentials(&file, cred, no_new_privs)?;
    let personality = match personality & !personality::READ_IMPLIES_EXEC {
        kept if set_id => kept & !personality::CLEARED_ON_SETID,
        kept => kept,
    };
    let mut random = [0; 48];
    crate::random::fill(&mut random);
    let stack_limit = limits.0[Resource::Stack as usize].soft;
    let program = Program {
        argv: &argv,
        envp: &envp,
        path: &path,
        ids: [new_cred.uid, new_cred.euid, new_cred.gid, new_cred.egid],
        secure,
        random,
        randomise: personality & personality::ADDR_NO_RANDOMIZE == 0,
        stack_limit,
    };
    let image = load(&ProgramFile(file.clone()), &program, |path| open(fs, cred, path).map(ProgramFile))?;
    image.mm.limits.space.store(limits.0[Resource::AddressSpace as usize].soft, Ordering::Relaxed);
    image.mm.limits.data.store(limits.0[Resource::Data as usize].soft, Ordering::Relaxed);
    Ok(Prepared { image, file, cred: new_cred, secure, hidden, personality, comm })
}

/// What the program may do.
struct Privileges {
    cred: Cred,
    /// The file has a set-id bit that counts, or capabilities that the caller has not.
    set_id: bool,
    /// More than its caller (`AT_SECURE`).
    secure: bool,
    /// Others may not look at its memory.
    hidden: bool,
}

/// The credentials that the program runs with, and whether they are more than the caller's.
fn credentials(file: &Arc<File>, cred: &Cred, no_new_privs: bool) -> Result<Privileges> {
    let attr = file.attr()?;
    let counts = !file.path().mount.is_nosuid();
    let honoured = counts && !no_new_privs;
    let of_file = ExecFile {
        setuid: (honoured && attr.mode & 0o4000 != 0).then_some(attr.uid),
        setgid: (honoured && attr.mode & 0o2010 == 0o2010).then_some(attr.gid),
        caps: if counts { capabilities(file)? } else { None },
        no_new_privs,
    };
    let AfterExec { cred: new, secure, gained } = cred.after_exec(&of_file)?;
    let changed = new.euid != cred.euid
        || new.egid != cred.egid
        || new.fsuid != cred.fsuid
        || new.fsgid != cred.fsgid
        || !cred.permitted.contains(new.permitted);
    let unreadable = perm::check(&**file.inode(), &who(cred), perm::READ).is_err();
    Ok(Privileges {
        set_id: of_file.setuid.is_some() || of_file.setgid.is_some() || gained,
        secure,
        hidden: new.euid != new.uid || new.egid != new.gid || changed || unreadable,
        cred: new,
    })
}

/// The capabilities that the file has.
fn capabilities(file: &Arc<File>) -> Result<Option<FileCaps>> {
    match file.inode().get_xattr(xattr::CAPABILITY) {
        Ok(value) => FileCaps::decode(&value),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The beginning of a script, filled up with zeroes.
type ScriptHead = [u8; SCRIPT_HEAD];

/// The beginning of the file, if it is a script.
fn script_head(file: &Arc<File>) -> Result<Option<ScriptHead>> {
    let mut head = [0; SCRIPT_HEAD];
    let count = ProgramFile(file.clone()).read_at(0, &mut head)?;
    Ok((count >= 2 && head.starts_with(b"#!")).then_some(head))
}

const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Interpreter and its one argument. A line that is cut counts only if the interpreter's name is whole.
fn parse_script(head: &ScriptHead) -> Result<(&[u8], Option<&[u8]>)> {
    const LAST: usize = SCRIPT_HEAD - 1;
    let find = |from: usize, to: usize, test: fn(u8) -> bool| (from..=to).find(|&at| test(head[at]));
    let ends = |byte: u8| is_blank(byte) || byte == 0;
    let newline = find(2, LAST, |byte| byte == b'\n' || byte == 0).filter(|&at| head[at] == b'\n');
    let mut end = match newline {
        Some(at) => at,
        None => {
            let first = find(2, LAST, |byte| !is_blank(byte)).ok_or(Errno::ENOEXEC)?;
            find(first, LAST, ends).ok_or(Errno::ENOEXEC)?;
            LAST
        }
    };
    while end > 2 && is_blank(head[end - 1]) {
        end -= 1;
    }
    let name = find(2, end, |byte| !is_blank(byte)).filter(|&at| at < end).ok_or(Errno::ENOEXEC)?;
    let after = find(name, end, ends).unwrap_or(end);
    let argument = (after < end && head[after] != 0)
        .then(|| find(after, end, |byte| !is_blank(byte)))
        .flatten()
        .map(|from| head[from..end].split(|&byte| byte == 0).next().unwrap_or(b""));
    Ok((&head[name..after], argument))
}

/// Runs the program in place of the current one: the point of no return.
///
/// # Errors
/// `EAGAIN` when the group ends meanwhile.
pub fn enter(prepared: Prepared, regs: &mut UserRegs) -> Result<()> {
    let me = current();
    become_single(&me)?;
    let Prepared { image, file, cred, secure, hidden, personality, comm } = prepared;
    super::exit::release_memory(&me);
    image.mm.activate();
    *me.mm.lock() = Some(image.mm.clone());
    own_what_is_shared(&me);
    reset(&me, secure, hidden);
    me.personality.store(personality, Ordering::Relaxed);
    me.set_comm(&comm);
    me.set_cred(cred);
    let old = me.process.inner.lock().exe.replace(file);
    drop(old);
    me.ctx.reset();
    *regs = UserRegs::entry(image.entry, image.stack);
    Ok(())
}

/// A new task's part of [`enter`].
pub(super) fn adopt(
    prepared: Prepared,
    build: impl FnOnce(&Image, Arc<Cred>) -> Result<Arc<Task>>,
) -> Result<Arc<Task>> {
    let task = build(&prepared.image, Arc::new(prepared.cred))?;
    task.set_comm(&prepared.comm);
    task.process.inner.lock().exe = Some(prepared.file);
    Ok(task)
}

/// Files and handlers that other processes share become the caller's own.
fn own_what_is_shared(me: &Task) {
    let files = me.files();
    if Arc::strong_count(&files) > 2 {
        drop(me.set_files(Some(files.fork())));
    }
    me.files().close_on_exec();
    let handlers = me.process.handlers();
    if Arc::strong_count(&handlers) > 2 {
        me.process.set_handlers(Arc::new(handlers.fork()));
    }
    me.process.with_handlers(|handlers| handlers.reset(true));
}

/// State that does not survive.
fn reset(me: &Task, secure: bool, hidden: bool) {
    *me.signals.alt_stack.lock() = AltStack::default();
    *me.signals.restart.lock() = None;
    me.robust_list.store(0, Ordering::Relaxed);
    me.rseq.clear();
    if secure || hidden {
        me.death_signal.store(0, Ordering::Relaxed);
    }
    me.process.dumpable.store(u32::from(!hidden), Ordering::Relaxed);
    me.process.did_exec.store(true, Ordering::Relaxed);
}

/// Ends all other threads; the caller takes the leader's place.
fn become_single(me: &Task) -> Result<()> {
    let process = me.process.clone();
    let tid = me.tid();
    {
        let mut inner = process.inner.lock();
        if inner.end.is_some() {
            return Err(Errno::EAGAIN);
        }
        if inner.threads.len() > 1 {
            inner.end = Some(GroupEnd::Exec(tid));
            inner.threads.iter().filter(|task| task.tid() != tid).for_each(|task| send::wake(task, true));
        }
    }
    process.threads_wait.wait_uninterruptible(|| (process.inner.lock().threads.len() == 1).then_some(()));
    if tid != process.pid {
        let mut tree = tree::lock();
        if let Some(task) = tree.remove_task(tid) {
            me.tid.store(process.pid, Ordering::Relaxed);
            tree.hand_over(process.pid, tid, process.pid);
            tree.add_task(task);
        }
    }
    process.inner.lock().end = None;
    crate::time::posix::clear(&process);
    process.exit_signal.store(crate::signal::SIGCHLD, Ordering::Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        let mut head = [0; SCRIPT_HEAD];
        head[..2].copy_from_slice(b"#!");
        head[2..].iter_mut().zip(line).for_each(|(to, from)| *to = *from);
        parse_script(&head).map(|(name, argument)| (name.to_vec(), argument.map(<[u8]>::to_vec)))
    }

    #[test]
    fn script_lines_split_into_interpreter_and_one_argument() {
        let both = |name: &[u8], argument: Option<&[u8]>| Ok((name.to_vec(), argument.map(<[u8]>::to_vec)));
        assert_eq!(parse(b"/bin/sh"), both(b"/bin/sh", None));
        assert_eq!(parse(b"/bin/sh\nx y"), both(b"/bin/sh", None));
        assert_eq!(parse(b"  /bin/sh -e  x \t\n"), both(b"/bin/sh", Some(b"-e  x")));
        assert_eq!(parse(b"/usr/bin/env python3"), both(b"/usr/bin/env", Some(b"python3")));
        assert_eq!(parse(b"/bin/sh a\0b\n"), both(b"/bin/sh", Some(b"a")));
        assert_eq!(parse(b"   \n"), Err(Errno::ENOEXEC));
        assert_eq!(parse(&[b' '; 300]), Err(Errno::ENOEXEC));
        assert_eq!(parse(&[b'x'; 300]), Err(Errno::ENOEXEC));
        assert_eq!(parse(&[b'\t'; 1]), both(b"", None));
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_parsed(line in proptest::collection::vec(proptest::prop_oneof![
            proptest::prelude::Just(b' '), proptest::prelude::Just(0u8), proptest::prelude::Just(b'\n'),
            proptest::prelude::Just(b'x')
        ], 0..300)) {
            if let Ok((name, argument)) = parse(&line) {
                proptest::prop_assert!(!name.iter().any(|&byte| is_blank(byte) || byte == 0));
                proptest::prop_assert!(argument.is_none_or(|argument| !argument.contains(&b'\n')));
            }
        }
    }
}
