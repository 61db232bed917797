//! A terminal of the container whose controlling end is the host's.
//!
//! The pseudo-terminal and its line discipline are the container's own; the host's, where there is one, passes bytes on.
//! Two tasks of the kernel carry them, one each way. A joint is over when either side is gone: the host's terminal was
//! hung up, which hangs up the container's, or nobody has the program's end of a process that `exec` started any more.

use alloc::{format, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering};
use hostcall::{SetAttr, SetAttrValid};
use linux_raw_sys::general::{O_NOCTTY, O_NONBLOCK, O_RDWR};

use super::{
    file::End,
    pty::{CONTROLLING, PROGRAM, Pty},
};
use crate::{
    arch::clock,
    errno::{Errno, Result},
    fs::{File, FsContext, PollMask, perm::Who, stream::Stream, walk::Lookup},
    sync::SpinLock,
    task::{self, sched, wait::WaitQueue},
    uio::{Sink, Source},
};

/// Bytes that are carried at once.
const PIECE: usize = 4096;
/// How long the end of a process waits until the host has taken what it printed, ns.
const PATIENCE: u64 = 5_000_000_000;

/// A joined terminal.
#[derive(Debug)]
struct Joint {
    /// The process's: 0 for the first one.
    tag: u64,
    pty: Arc<Pty>,
    controlling: Arc<File>,
    /// Keeps the program's end open: the first process's terminal may be opened again when nobody has it.
    _kept: Option<Arc<File>>,
    input: Arc<Stream>,
    output: Arc<Stream>,
    over: AtomicBool,
    /// What is printed may be on its way.
    carrying: AtomicBool,
    /// Waits until nothing is.
    idle: WaitQueue,
}

static JOINTS: SpinLock<Vec<Arc<Joint>>> = SpinLock::new(Vec::new());

/// What a carrier is to do.
type Carry = fn(&Joint);

/// Carriers that are to start: each takes the last one.
static CARRIERS: SpinLock<Vec<(Arc<Joint>, Carry)>> = SpinLock::new(Vec::new());

/// A new terminal in the container, joined with streams of the host: the program's end, and its path.
///
/// # Errors
/// Those of opening `/dev/pts/ptmx` and the terminal beside it; `ENOTTY` when they are something else.
pub fn make(
    context: &FsContext,
    tag: u64,
    uid: u32,
    input: Arc<Stream>,
    output: Arc<Stream>,
) -> Result<Arc<File>> {
    let walk = context.walk(Who::KERNEL);
    let flags = O_RDWR | O_NOCTTY | O_NONBLOCK;
    let controlling = walk.open(b"/dev/pts/ptmx", flags, 0, Lookup::empty())?;
    let end = controlling.downcast::<End>().filter(|end| end.side() == CONTROLLING).ok_or(Errno::ENOTTY)?;
    let pty = end.pty().clone();
    pty.unlock();
    let path = format!("/dev/pts/{}", pty.index);
    let program = walk.open(path.as_bytes(), O_RDWR | O_NOCTTY, 0, Lookup::empty())?;
    let same = |end: &&End| end.side() == PROGRAM && Arc::ptr_eq(end.pty(), &pty);
    program.downcast::<End>().filter(same).ok_or(Errno::ENOTTY)?;
    let owner = SetAttr { valid: SetAttrValid::UID.bits(), uid, ..SetAttr::default() };
    program.inode().set_attr(&owner)?;
    let joint = Arc::new(Joint {
        tag,
        pty,
        controlling,
        _kept: (tag == 0).then(|| program.clone()),
        input,
        output,
        over: AtomicBool::new(false),
        carrying: AtomicBool::new(false),
        idle: WaitQueue::new(),
    });
    joint.measure();
    start(&joint, Joint::carry_out)?;
    if let Err(error) = start(&joint, Joint::carry_in) {
        joint.finish();
        return Err(error);
    }
    JOINTS.lock().push(joint);
    Ok(program)
}

fn start(joint: &Arc<Joint>, carry: Carry) -> Result<()> {
    CARRIERS.lock().push((joint.clone(), carry));
    let started = task::spawn_kernel(carrier);
    if started.is_err() {
        // Whichever of them is left over: a task that was started takes the other.
        drop(CARRIERS.lock().pop());
    }
    started
}

/// Body of a task that carries.
fn carrier(_: usize) -> ! {
    let next = CARRIERS.lock().pop();
    if let Some((joint, carry)) = next {
        carry(&joint);
    }
    sched::exit_current()
}

impl Joint {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Nothing is carried any more. The controlling end is closed with the last carrier.
    fn finish(&self) {
        self.over.store(true, Ordering::SeqCst);
        let known: Vec<_> = {
            let mut all = JOINTS.lock();
            let (gone, left) =
                core::mem::take(&mut *all).into_iter().partition(|one| core::ptr::eq(&raw const **one, self));
            *all = left;
            gone
        };
        drop(known);
        self.controlling.ops().queues().into_iter().flatten().for_each(WaitQueue::wake_all);
        self.input.wake();
        self.output.wake();
        self.idle.wake_all();
    }

    /// The size of the host's terminal becomes this one's.
    fn measure(&self) {
        if let Ok(size) = self.output.size().or_else(|_| self.input.size()) {
            self.pty.set_size(size);
        }
    }

    fn await_end(&self, events: PollMask) {
        let queue = usize::from(!events.contains(PollMask::IN));
        let Some(queue) = self.controlling.ops().queues()[queue] else { return };
        queue.wait_uninterruptible(|| {
            let ready = self.controlling.ops().poll(&self.controlling);
            (self.is_over() || ready.intersects(events | PollMask::HUP)).then_some(())
        });
    }

    /// What is typed.
    fn carry_in(&self) {
        let mut buffer = alloc::vec![0; PIECE];
        while !self.is_over() {
            match self.input.take(&mut buffer) {
                // A pipe's end is the end of input only; a terminal ends when it is hung up.
                Ok(0) | Err(Errno::EIO) if self.input.is_terminal_end() => break,
                Ok(0) => return,
                Ok(count) => self.type_in(&buffer[..count]),
                Err(Errno::EAGAIN) => self.input.await_ready(PollMask::IN, || self.is_over()),
                Err(_) => break,
            }
        }
        self.finish();
    }

    fn type_in(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_over() {
            match self.controlling.write(&mut Source::Kernel(bytes)) {
                Ok(count) => bytes = &bytes[count.min(bytes.len())..],
                Err(Errno::EAGAIN) => self.await_end(PollMask::OUT),
                // Nobody has the other end open: what is typed is typed to nobody.
                Err(_) => return,
            }
        }
    }

    /// What is printed.
    fn carry_out(&self) {
        let mut buffer = alloc::vec![0; PIECE];
        while !self.is_over() {
            self.carrying.store(true, Ordering::SeqCst);
            match self.controlling.read(&mut Sink::Kernel(&mut buffer)) {
                Ok(count) if count != 0 => {
                    if self.print(&buffer[..count]).is_err() {
                        break;
                    }
                }
                Ok(_) | Err(Errno::EAGAIN) => {
                    self.carrying.store(false, Ordering::SeqCst);
                    self.idle.wake_all();
                    self.await_end(PollMask::IN);
                }
                Err(_) => break,
            }
        }
        self.carrying.store(false, Ordering::SeqCst);
        self.finish();
    }

    fn print(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() && !self.is_over() {
            match self.output.give(bytes) {
                Ok(count) => bytes = &bytes[count.min(bytes.len())..],
                Err(Errno::EAGAIN) => self.output.await_ready(PollMask::OUT, || self.is_over()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        let printed = || self.controlling.ops().poll(&self.controlling).contains(PollMask::IN);
        self.is_over() || !self.carrying.load(Ordering::SeqCst) && !printed()
    }
}

fn of(tag: u64) -> Option<Arc<Joint>> {
    JOINTS.lock().iter().find(|joint| joint.tag == tag).cloned()
}

/// A process that the host started ends: waits, for some seconds at most, until the host has taken what was printed to
/// its terminal; with the first process, to any.
pub fn drain(tag: u64) {
    let deadline = clock::monotonic_ns() + PATIENCE;
    let all: Vec<_> = JOINTS.lock().iter().filter(|joint| tag == 0 || joint.tag == tag).cloned().collect();
    for joint in all {
        joint.idle.wait_at_most(deadline, || joint.is_idle().then_some(()));
    }
}

/// The terminal of a process that has ended is the host's no longer.
pub fn end(tag: u64) {
    if let Some(joint) = of(tag) {
        joint.finish();
    }
}

/// The host's terminal changed its size; false if the process has none.
pub fn resize(tag: u64) -> bool {
    let joint = of(tag);
    if let Some(joint) = &joint {
        joint.measure();
    }
    joint.is_some()
}
