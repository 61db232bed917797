//! What the host says while the container runs, and what it is answered.
//!
//! Commands arrive in an interrupt, in whatever task or on an idle CPU, where nothing may wait. What may have to wait
//! is done by a task of its own.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use hostcall::{Answer, Command, EventFlags, Hostcall, Recipient, decode_command, encode_answer};

use super::{
    Process,
    report::{self, Report},
    start, tree,
};
use crate::{
    arch,
    errno::{Errno, Result},
    fs,
    mem::{PAGE_SIZE, frame},
    net::inet::wire,
    signal::{self, SIGWINCH, SigInfo},
    syscall::strace,
    tty,
};

/// Pages of the buffer for commands, as a power of two, from the first try to the last.
const COMMAND_ORDERS: core::ops::RangeInclusive<u32> = 4..=8;

/// Takes the next command of the host, if there is one.
pub(super) fn take() -> Result<Option<Command>> {
    for order in COMMAND_ORDERS {
        let (buffer, _) = frame::alloc_order(order).ok_or(Errno::ENOMEM)?;
        let capacity = PAGE_SIZE << order;
        let got = arch::hostcall::call(Hostcall::TakeCommand, [buffer.0, capacity, 0, 0, 0, 0]);
        let command = match got {
            Ok(0) => Ok(None),
            Ok(length) => {
                let mut bytes = alloc::vec![0; length.min(capacity) as usize];
                arch::read_phys(buffer, &mut bytes);
                decode_command(&bytes).map(Some).map_err(|_| Errno::EPROTO)
            }
            Err(errno) => Err(errno),
        };
        frame::free_order(buffer, order);
        if got != Err(Errno::EMSGSIZE) {
            return command;
        }
    }
    Err(Errno::EMSGSIZE)
}

/// Answers a command.
pub(super) fn answer(tag: u64, answer: &Answer) {
    let Ok(bytes) = encode_answer(answer) else { return };
    let args = [tag, bytes.len() as u64, 0, 0, 0, 0];
    if let Err(error) = arch::hostcall::call_data(Hostcall::Answer, args, &[&bytes], &mut []) {
        log::debug!("an answer to the host: {error}");
    }
}

/// The host announced something.
pub fn on_host_event() {
    let (flags, streams) = arch::hostcall::take_events();
    let flags = EventFlags::from_bits_truncate(flags);
    if flags.contains(EventFlags::STREAM) {
        fs::stream::on_event(streams);
    }
    if flags.contains(EventFlags::COMMAND) {
        // Who sends it may have changed files before.
        fs::fresh::end();
        run();
    }
    if flags.contains(EventFlags::NETWORK) {
        wire::on_event();
    }
}

fn run() {
    loop {
        match take() {
            Ok(Some(Command::Signal { signal, to })) => deliver(signal, to),
            Ok(Some(Command::Resize { of })) => resize(of),
            Ok(Some(Command::Tasks { most })) => tree::lock().limit(most),
            Ok(Some(Command::Limits(limits))) => fs::cgroupfs::limit(&limits),
            Ok(Some(Command::Go)) => start::go(),
            Ok(Some(Command::Exec { tag, process })) => start::exec(tag, process),
            Ok(Some(Command::Processes { tag })) => report::ask(tag, Report::Processes),
            Ok(Some(Command::Threads { tag })) => report::ask(tag, Report::Threads),
            Ok(Some(Command::Stats { tag })) => answer(tag, &Answer::Stats(report::stats().into())),
            Ok(Some(Command::LogLevel(level))) => arch::set_log_level(level),
            Ok(Some(Command::Trace(on))) => strace::enable(on),
            Ok(Some(Command::Network(spec))) => {
                if let Err(error) = wire::start(&spec) {
                    log::error!("the network interface: {error}");
                }
            }
            Ok(Some(Command::Start(_))) => log::warn!("a second start command is ignored"),
            Ok(None) => return,
            Err(error) => {
                log::warn!("a command of the host is refused: {error}");
                if error != Errno::EPROTO {
                    return;
                }
            }
        }
    }
}

/// The terminal of whoever attends to a process changed its size: the process's own terminal does as well. One that
/// has none gets the signal that says so, as it would if it were forwarded.
fn resize(of: Recipient) {
    let tag = match of {
        Recipient::Exec(tag) => tag,
        Recipient::First | Recipient::All => 0,
    };
    if !tty::joint::resize(tag) {
        deliver(SIGWINCH, of);
    }
}

/// A signal from outside of the container, as the runtime's `kill` sends it.
fn deliver(signo: u32, to: Recipient) {
    if !signal::is_valid(signo as i32) {
        log::warn!("signal {signo} from the host does not exist");
        return;
    }
    let send = |process: &Arc<Process>| {
        let info = SigInfo::user(signo, signal::info::SI_USER, 0, 0);
        if let Err(error) = signal::send::send_from_outside(process, info) {
            log::debug!("signal {signo} to {}: {error}", process.pid);
        }
    };
    match to {
        Recipient::First => {
            if let Some(first) = tree::process(1) {
                send(&first);
            }
        }
        Recipient::All => tree::for_each_process(send),
        Recipient::Exec(tag) => tree::for_each_process(|process| {
            if tag != 0 && process.tag.load(Ordering::Relaxed) == tag {
                send(process);
            }
        }),
    }
}

/// A process that the host started, and nobody here waits for, ended.
pub(super) fn ended(process: &Process, wait_status: i32) {
    let tag = process.tag.swap(0, Ordering::Relaxed);
    if tag != 0 {
        answer(tag, &Answer::Ended { wait_status });
    }
}
