//! The sandbox's side of the control socket: who is connected, and what each waits for.
//!
//! The table's lock is a leaf. Nothing here waits: a client that does not take its replies loses them.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hostcall::{Answer, Command, Recipient};
use rustix::{
    event::epoll,
    io::Errno,
    net::{SendFlags, SocketFlags},
};

use crate::{
    config,
    control::{Counters, Phase, Reply, Request, Target, receive_request},
    marks,
    sandbox::Sandbox,
};

/// The highest level of the log: everything.
const MAX_LEVEL: u32 = 5;
/// Most connections at a time.
const MAX_CLIENTS: usize = 64;

/// Everybody who is connected.
#[derive(Debug)]
pub(crate) struct Clients {
    listener: Option<OwnedFd>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// The number of the last one; it is also the tag of what it asks the sentry.
    last: u64,
    clients: HashMap<u64, Client>,
}

#[derive(Debug)]
struct Client {
    socket: Arc<OwnedFd>,
    /// What it waits for: one thing at a time.
    waits: Option<Waits>,
    /// It is told when a process was killed for want of memory.
    watches: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Process,
    Report,
}

impl Clients {
    pub(crate) fn new(listener: Option<OwnedFd>) -> Self {
        Self { listener, table: Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches for connections.
    pub(crate) fn watch(&self, epoll: &OwnedFd) -> Result<(), Errno> {
        let Some(listener) = &self.listener else { return Ok(()) };
        epoll::add(epoll, listener, epoll::EventData::new_u64(marks::LISTENER), epoll::EventFlags::IN)
    }

    /// Takes one connection.
    pub(crate) fn accept(&self, epoll: &OwnedFd) -> Result<(), Errno> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let socket = rustix::net::accept_with(listener, SocketFlags::CLOEXEC)?;
        let mut table = self.table();
        if table.clients.len() >= MAX_CLIENTS {
            return Err(Errno::MFILE);
        }
        table.last += 1;
        let number = table.last;
        let data = epoll::EventData::new_u64(marks::FIRST_CLIENT + number);
        epoll::add(epoll, &socket, data, epoll::EventFlags::IN | epoll::EventFlags::RDHUP)?;
        table.clients.insert(number, Client { socket: Arc::new(socket), waits: None, watches: false });
        Ok(())
    }

    /// Hands an answer of the sentry on to whoever waits for it.
    pub(crate) fn answer(&self, tag: u64, answer: Answer) {
        let mut table = self.table();
        let Some(client) = table.clients.get_mut(&tag) else { return };
        let expected = match client.waits {
            Some(Waits::Process) => is_of_process(&answer),
            Some(Waits::Report) => matches!(answer, Answer::Failed { .. }) || !is_of_process(&answer),
            None => false,
        };
        if expected {
            if answer.is_last() {
                client.waits = None;
            }
            say(&client.socket, &Reply::Answer(answer));
        }
    }
}

impl Clients {
    /// A process was killed for want of memory.
    pub(crate) fn out_of_memory(&self, kills: u64) {
        for client in self.table().clients.values().filter(|client| client.watches) {
            say(&client.socket, &Reply::OutOfMemory { kills });
        }
    }
}

/// Whether it is an answer to the start of a process.
const fn is_of_process(answer: &Answer) -> bool {
    matches!(answer, Answer::Started { .. } | Answer::Ended { .. } | Answer::Failed { .. })
}

fn say(socket: &OwnedFd, reply: &Reply) {
    if let Ok(bytes) = config::encode(reply) {
        // A client that is gone, or that takes nothing, needs no reply.
        let _ = rustix::net::send(socket, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

/// Takes one packet of client `number`, or its end.
pub(crate) fn serve(sandbox: &Sandbox, number: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    let socket = sandbox.clients.table().clients.get(&number).map(|client| client.socket.clone());
    let Some(socket) = socket else { return Ok(()) };
    match receive_request(&socket, buffer) {
        Ok((0, _)) => forget(sandbox, number),
        Ok((count, descriptors)) => {
            let reply = config::decode(&buffer[..count])
                .map_err(|_| Errno::BADMSG)
                .and_then(|request| act(sandbox, number, request, descriptors));
            match reply {
                Ok(Some(reply)) => say(&socket, &reply),
                Ok(None) => {}
                Err(errno) => say(&socket, &Reply::Refused(errno.raw_os_error())),
            }
            Ok(())
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(Errno::MSGSIZE) => {
            say(&socket, &Reply::Refused(Errno::MSGSIZE.raw_os_error()));
            Ok(())
        }
        Err(_) => forget(sandbox, number),
    }
}

/// A client is gone, and with it the process that it started.
fn forget(sandbox: &Sandbox, number: u64) -> Result<(), Errno> {
    let Some(client) = sandbox.clients.table().clients.remove(&number) else { return Ok(()) };
    // What was passed on may keep the socket open elsewhere.
    epoll::delete(&sandbox.server.epoll, client.socket.as_fd())?;
    if client.waits == Some(Waits::Process) {
        sandbox.command(&Command::Signal { signal: libc::SIGKILL as u32, to: Recipient::Exec(number) })?;
    }
    if sandbox.log.remove_tracer(number) {
        sandbox.command(&Command::Trace(false))?;
    }
    Ok(())
}

fn act(
    sandbox: &Sandbox,
    number: u64,
    request: Request,
    descriptors: Vec<OwnedFd>,
) -> Result<Option<Reply>, Errno> {
    match request {
        Request::Phase => Ok(Some(Reply::Phase(sandbox.phase()))),
        Request::Go => sandbox.go().map(|()| Some(Reply::Done)),
        Request::Signal { signal, to } => {
            let to = match to {
                Target::First => Recipient::First,
                Target::All => Recipient::All,
                Target::Own => Recipient::Exec(number),
            };
            sandbox.command(&Command::Signal { signal, to })?;
            Ok(Some(Reply::Done))
        }
        Request::Resize => {
            sandbox.command(&Command::Resize { of: Recipient::Exec(number) })?;
            Ok(Some(Reply::Done))
        }
        Request::Tasks { most } => {
            sandbox.command(&Command::Tasks { most })?;
            Ok(Some(Reply::Done))
        }
        Request::Limits(limits) => {
            sandbox.command(&Command::Limits(limits))?;
            Ok(Some(Reply::Done))
        }
        Request::Exec(mut process) => {
            begin(sandbox, number, Waits::Process)?;
            let started = sandbox.server.add_streams(descriptors).and_then(|streams| {
                process.streams.clone_from(&streams);
                let queued = sandbox.command(&Command::Exec { tag: number, process });
                if queued.is_err() {
                    for stream in streams {
                        let _ = sandbox.server.stream_close(stream);
                    }
                }
                queued
            });
            started.inspect_err(|_| end(sandbox, number)).map(|()| None)
        }
        Request::Network(spec) => {
            let network = sandbox.server.network.as_ref().ok_or(Errno::NODEV)?;
            let mut sockets = descriptors.into_iter();
            let socket = sockets.next().ok_or(Errno::INVAL)?;
            let inner = spec.names.map(|names| sockets.next().map(|socket| (socket, names.own)));
            let inner = inner.map(|inner| inner.ok_or(Errno::INVAL)).transpose()?;
            if sockets.next().is_some() {
                return Err(Errno::INVAL);
            }
            if sandbox.phase() != Phase::Created {
                return Err(Errno::INVAL);
            }
            network.attach(socket, inner)?;
            sandbox.command(&Command::Network(spec))?;
            Ok(Some(Reply::Done))
        }
        Request::Processes => report(sandbox, number, &Command::Processes { tag: number }),
        Request::Threads => report(sandbox, number, &Command::Threads { tag: number }),
        Request::Stats => report(sandbox, number, &Command::Stats { tag: number }),
        Request::Counters => Ok(Some(Reply::Counters(Counters {
            exits: sandbox.server.counts.exits(),
            hostcalls: sandbox.server.counts.hostcalls(),
            log_level: sandbox.log.level(),
        }))),
        Request::LogLevel(level) => {
            let level = level.min(MAX_LEVEL);
            sandbox.command(&Command::LogLevel(level))?;
            sandbox.log.set_level(level);
            Ok(Some(Reply::Done))
        }
        Request::Trace => {
            let [file] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| Errno::INVAL)?;
            sandbox.command(&Command::Trace(true))?;
            sandbox.log.add_tracer(number, file.into());
            Ok(Some(Reply::Done))
        }
        Request::Watch => {
            let mut table = sandbox.clients.table();
            table.clients.get_mut(&number).ok_or(Errno::BADF)?.watches = true;
            Ok(Some(Reply::Done))
        }
    }
}

/// Asks the sentry for a report.
fn report(sandbox: &Sandbox, number: u64, command: &Command) -> Result<Option<Reply>, Errno> {
    begin(sandbox, number, Waits::Report)?;
    sandbox.command(command).inspect_err(|_| end(sandbox, number)).map(|()| None)
}

/// From now on the client waits.
fn begin(sandbox: &Sandbox, number: u64, waits: Waits) -> Result<(), Errno> {
    if sandbox.phase() == Phase::Creating {
        return Err(Errno::AGAIN);
    }
    let mut table = sandbox.clients.table();
    let client = table.clients.get_mut(&number).ok_or(Errno::BADF)?;
    if client.waits.is_some() {
        return Err(Errno::BUSY);
    }
    client.waits = Some(waits);
    Ok(())
}

fn end(sandbox: &Sandbox, number: u64) {
    if let Some(client) = sandbox.clients.table().clients.get_mut(&number) {
        client.waits = None;
    }
}
