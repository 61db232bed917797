//! Which terminal controls which session: job control, credentials(7) and setsid(2).
//!
//! A session has at most one terminal and a terminal at most one session. Each process knows its terminal
//! (`Process::tty`); the terminal knows its session and which group of it is in the foreground.

use alloc::sync::Arc;

use crate::{
    errno::{Errno, Result},
    fs::FileOps,
    signal::{self, SIGCONT, SIGHUP, SIGTTIN, SIGTTOU, SigInfo, SigSet, action::SIG_IGN},
    sync::SpinLock,
    task::{
        Process,
        cred::Caps,
        current,
        tree::{self, Tree},
    },
};

/// What a terminal controls; 0 = nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    session: u32,
    group: u32,
}

/// A terminal's part of job control.
#[derive(Debug, Default)]
pub struct Control(SpinLock<Place>);

impl Control {
    fn place(&self) -> Place {
        *self.0.lock()
    }

    /// The group in the foreground; 0 = none.
    #[must_use]
    pub fn group(&self) -> u32 {
        self.place().group
    }
}

/// Something that can control a session.
pub trait Terminal: Send + Sync {
    /// Its part of job control.
    fn control(&self) -> &Control;

    /// Its device number, as stat(2) shows it.
    fn number(&self) -> u64;

    /// What opening `/dev/tty` gives.
    ///
    /// # Errors
    /// `EIO` when it is gone.
    fn reopen(self: Arc<Self>) -> Result<Arc<dyn FileOps>>;
}

impl core::fmt::Debug for dyn Terminal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Terminal({:#x})", self.number())
    }
}

/// What a process knows of its terminal.
#[derive(Debug, Default)]
pub struct Controlled {
    terminal: SpinLock<Option<Arc<dyn Terminal>>>,
    /// The group that was in the foreground of a session leader's terminal that was hung up; 0 = none.
    lost_group: SpinLock<u32>,
}

impl Controlled {
    /// The terminal.
    #[must_use]
    pub fn terminal(&self) -> Option<Arc<dyn Terminal>> {
        self.terminal.lock().clone()
    }

    /// Sets or takes it.
    pub fn set(&self, terminal: Option<Arc<dyn Terminal>>) {
        let old = core::mem::replace(&mut *self.terminal.lock(), terminal);
        drop(old);
    }

    fn is(&self, terminal: &dyn Terminal) -> bool {
        self.terminal.lock().as_deref().is_some_and(|own| core::ptr::addr_eq(own, terminal))
    }
}

/// Sends a signal of the kernel to a group; nobody may be in it.
fn send(group: u32, signo: u32) {
    if group != 0 {
        // Standard signals are always queued; an empty group is nobody to tell.
        let _ = signal::send_to_group(group, SigInfo::kernel(signo));
    }
}

/// Sends the signals of a set to the group in the foreground.
pub fn send_to_foreground(terminal: &dyn Terminal, signals: SigSet) {
    let group = terminal.control().group();
    (1..=signal::MAX).filter(|&signo| signals.has(signo)).for_each(|signo| send(group, signo));
}

/// Group and session of the caller.
fn family(tree: &Tree) -> (u32, u32) {
    tree.node(current().process.pid).map_or((0, 0), |node| (node.pgid, node.sid))
}

/// Whether it is the caller's terminal.
#[must_use]
pub fn is_own(terminal: &dyn Terminal) -> bool {
    current().process.tty.is(terminal)
}

/// What a process outside of the foreground meets that reads (`SIGTTIN`) or changes (`SIGTTOU`) its terminal.
///
/// # Errors
/// `ERESTARTSYS` when its group was sent the signal; `EIO` when that would stop nobody.
pub fn check(terminal: &dyn Terminal, signo: u32) -> Result<()> {
    let me = current();
    if !me.process.tty.is(terminal) {
        return Ok(());
    }
    let foreground = terminal.control().group();
    let (group, orphaned) = {
        let tree = tree::lock();
        let group = family(&tree).0;
        (group, group != foreground && tree.is_orphaned(group))
    };
    if foreground == 0 || group == foreground {
        return Ok(());
    }
    let action = me.process.with_handlers(|handlers| handlers.get(signo));
    if me.blocked().has(signo) || action.handler == SIG_IGN {
        return if signo == SIGTTIN { Err(Errno::EIO) } else { Ok(()) };
    }
    if orphaned {
        return Err(Errno::EIO);
    }
    send(group, signo);
    Err(Errno::ERESTARTSYS)
}

/// Gives a terminal to the session that `leader` leads.
fn take(terminal: Arc<dyn Terminal>, leader: &Process, (group, session): (u32, u32)) {
    *terminal.control().0.lock() = Place { session, group };
    *leader.tty.lost_group.lock() = 0;
    leader.tty.set(Some(terminal));
}

/// A session leader without a terminal opened this one.
pub fn opened(terminal: Arc<dyn Terminal>) {
    let me = current();
    let tree = tree::lock();
    let family = family(&tree);
    let free = me.process.tty.terminal.lock().is_none() && terminal.control().place().session == 0;
    if family.1 == me.process.pid && free {
        take(terminal, &me.process, family);
    }
}

/// Gives a terminal, unless it is another session's, to a process that the host starts.
pub fn give(terminal: Arc<dyn Terminal>, process: &Process) {
    let _tree = tree::lock();
    if terminal.control().place().session == 0 {
        take(terminal, process, (process.pid, process.pid));
    }
}

/// `TIOCSCTTY`: makes it the terminal of the caller's session. `force`: from another one. `readable`: whether it
/// is open for reading.
///
/// # Errors
/// `EPERM`.
pub fn acquire(terminal: Arc<dyn Terminal>, force: bool, readable: bool) -> Result<()> {
    let me = current();
    let admin = me.with_cred(|cred| cred.capable(Caps::SYS_ADMIN));
    let tree = tree::lock();
    let family = family(&tree);
    let leads = family.1 == me.process.pid;
    let session = terminal.control().place().session;
    if leads && session == family.1 {
        return Ok(());
    }
    if !leads || me.process.tty.terminal.lock().is_some() {
        return Err(Errno::EPERM);
    }
    if session != 0 && !(force && admin) {
        return Err(Errno::EPERM);
    }
    if !readable && !admin {
        return Err(Errno::EPERM);
    }
    if session != 0 {
        clear_session(&tree, session);
    }
    take(terminal, &me.process, family);
    Ok(())
}

/// Takes their terminal from all processes of a session.
fn clear_session(tree: &Tree, session: u32) {
    tree.nodes().filter(|node| node.sid == session).for_each(|node| node.process.tty.set(None));
}

/// `TIOCGPGRP`. `controlling`: asked at the other end of a pseudo-terminal, where it need not be the caller's.
///
/// # Errors
/// `ENOTTY`.
pub fn foreground(terminal: &dyn Terminal, controlling: bool) -> Result<u32> {
    if !controlling && !is_own(terminal) {
        return Err(Errno::ENOTTY);
    }
    Ok(terminal.control().group())
}

/// `TIOCGSID`.
///
/// # Errors
/// `ENOTTY`.
pub fn session(terminal: &dyn Terminal, controlling: bool) -> Result<u32> {
    if !controlling && !is_own(terminal) {
        return Err(Errno::ENOTTY);
    }
    match terminal.control().place().session {
        0 => Err(Errno::ENOTTY),
        session => Ok(session),
    }
}

/// `TIOCSPGRP`; `group` gives the group that is asked for, once the caller may change the terminal.
///
/// # Errors
/// `ENOTTY`, `EINVAL`, `ESRCH`, `EPERM`; those of [`check`] and of `group`.
pub fn set_foreground(terminal: &dyn Terminal, group: impl FnOnce() -> Result<i32>) -> Result<()> {
    check(terminal, SIGTTOU).map_err(|error| if error == Errno::EIO { Errno::ENOTTY } else { error })?;
    let group = u32::try_from(group()?).map_err(|_| Errno::EINVAL)?;
    let tree = tree::lock();
    let (_, session) = family(&tree);
    if !is_own(terminal) || terminal.control().place().session != session {
        return Err(Errno::ENOTTY);
    }
    let member = tree.group(group).next().or_else(|| tree.node(group));
    match member {
        Some(member) if member.sid == session => {
            terminal.control().0.lock().group = group;
            Ok(())
        }
        Some(_) => Err(Errno::EPERM),
        // A thread, or a session whose leader is gone: names something, and no group.
        None if tree.task(group).is_some() || tree.nodes().any(|node| node.sid == group) => Err(Errno::EPERM),
        None => Err(Errno::ESRCH),
    }
}

/// `TIOCNOTTY`: the caller gives its terminal up; a session leader for its whole session.
///
/// # Errors
/// `ENOTTY` when it is not the caller's.
pub fn give_up(terminal: &dyn Terminal) -> Result<()> {
    if !is_own(terminal) {
        return Err(Errno::ENOTTY);
    }
    leave(&current().process, false);
    current().process.tty.set(None);
    Ok(())
}

/// A session leader lets go of its terminal, at its end or before.
pub fn leave(process: &Process, at_end: bool) {
    let group = {
        let tree = tree::lock();
        let Some(node) = tree.node(process.pid).filter(|node| node.sid == process.pid) else {
            return;
        };
        let session = node.sid;
        match process.tty.terminal() {
            Some(terminal) => {
                let group = core::mem::take(&mut *terminal.control().0.lock()).group;
                clear_session(&tree, session);
                (group, !at_end)
            }
            None if at_end => (core::mem::take(&mut *process.tty.lost_group.lock()), true),
            None => return,
        }
    };
    send(group.0, SIGHUP);
    if group.1 {
        send(group.0, SIGCONT);
    }
}

/// The terminal is hung up: nobody's any more, and the leader of its session is told.
pub fn hang_up(terminal: &dyn Terminal) {
    let leader = {
        let tree = tree::lock();
        let place = core::mem::take(&mut *terminal.control().0.lock());
        if place.session == 0 {
            return;
        }
        for node in tree.nodes().filter(|node| node.sid == place.session) {
            if node.process.tty.is(terminal) {
                node.process.tty.set(None);
            }
        }
        let leader =
            tree.node(place.session).filter(|node| node.sid == place.session && node.zombie().is_none());
        if let Some(leader) = leader {
            *leader.process.tty.lost_group.lock() = place.group;
        }
        leader.map(|node| node.process.clone())
    };
    if let Some(leader) = leader {
        for signo in [SIGHUP, SIGCONT] {
            // Standard signals are always queued.
            let _ = signal::send_to_process(&leader, SigInfo::kernel(signo));
        }
    }
}
