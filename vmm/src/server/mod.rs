//! The hostcall server: what the sentry can make this process do.
//!
//! A vCPU thread calls [`Server::serve`] for its own call page. The page is copied once; what was decoded
//! from the copy is acted on, and the answer is written back. Every failure is an errno in the page.

pub mod request;

pub(crate) mod files;
pub(crate) mod fs;
pub(crate) mod handles;
mod names;
pub(crate) mod stream;
mod xattr;

use std::sync::Arc;

use hostcall::{Answer as SentryAnswer, Attr, CallPage, Handle, Hostcall, PAGE_SIZE};
use rustix::{fd::OwnedFd, io::Errno};
use zerocopy::{FromZeros, IntoBytes};

use crate::{counts::Counts, events::Events, log::Log, memory::Memory, network::Network};
use files::Files;
use handles::Handles;
use request::Request;
use stream::Streams;
use xattr::may_have_acl;

/// What a call asks of its caller, beyond the answer in the page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Re-enter the guest.
    Resume,
    /// The container ended with this wait status.
    Exit(i32),
    /// The sentry panicked.
    Panic { message: Vec<u8>, rip: u64, rbp: u64 },
    /// The first process cannot be started.
    StartFailed { errno: u32, message: String },
    /// A process was killed for want of memory; so many were so far.
    OutOfMemory { kills: u64 },
    /// The first process is ready and waits.
    Created,
    /// The sentry answers a command.
    Answer { tag: u64, answer: SentryAnswer },
    /// Map this much memory for the vCPU, then re-enter.
    Populate { gpa: u64, len: u64 },
    /// Start vCPU `cpu` on `stack`, then re-enter.
    StartCpu { cpu: u32, stack: u64 },
}

/// Everything that hostcalls work on.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) memory: Arc<Memory>,
    pub(crate) log: Arc<Log>,
    pub(crate) events: Events,
    pub(crate) handles: Handles,
    pub(crate) files: Files,
    pub(crate) streams: Streams,
    pub(crate) epoll: OwnedFd,
    /// Where the container may have a network.
    pub(crate) network: Option<Network>,
    /// Guest-physical address of the first call page.
    pub(crate) calls: u64,
    pub(crate) cpus: u32,
    pub(crate) counts: Counts,
    pub(crate) first_command: std::sync::Once,
}

/// A result and how many bytes of `data` belong to it.
struct Answer {
    ret: i64,
    len: usize,
    outcome: Outcome,
}

impl Answer {
    fn value(ret: u64) -> Result<Self, Errno> {
        let ret = i64::try_from(ret).map_err(|_| Errno::OVERFLOW)?;
        Ok(Self { ret, len: 0, outcome: Outcome::Resume })
    }

    fn outcome(outcome: Outcome) -> Result<Self, Errno> {
        Ok(Self { ret: 0, len: 0, outcome })
    }

    fn data(ret: u64, bytes: &[u8], data: &mut [u8]) -> Result<Self, Errno> {
        data.get_mut(..bytes.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(bytes);
        Ok(Self { len: bytes.len(), ..Self::value(ret)? })
    }

    fn inode((handle, attr): (Handle, Attr), data: &mut [u8]) -> Result<Self, Errno> {
        Self::data(u64::from(handle), attr.as_bytes(), data)
    }
}

impl Server {
    /// Serves the request in the call page of vCPU `cpu`.
    pub(crate) fn serve(&self, cpu: u32) -> Result<Outcome, Errno> {
        let gpa = self.calls + u64::from(cpu) * PAGE_SIZE as u64;
        let mut page = CallPage::new_zeroed();
        self.memory.read(gpa, page.as_mut_bytes())?;
        self.counts.hostcall(page.header.nr);
        let mut data = [0; 256];
        let mut long = Vec::new();
        let answer = self.answer(&page, &mut data, &mut long);
        let (ret, bytes, outcome) = match answer {
            Ok(answer) if long.is_empty() => (answer.ret, &data[..answer.len], answer.outcome),
            Ok(answer) => (answer.ret, &long[..], answer.outcome),
            Err(errno) => (-i64::from(errno.raw_os_error()), &[][..], Outcome::Resume),
        };
        let header = size_of::<hostcall::CallHeader>() as u64;
        if !bytes.is_empty() {
            self.memory.write(gpa + header, bytes)?;
        }
        self.memory.write(gpa + header - 8, &ret.to_le_bytes())?;
        Ok(outcome)
    }

    fn answer(&self, page: &CallPage, data: &mut [u8], long: &mut Vec<u8>) -> Result<Answer, Errno> {
        let request = Request::decode(page)?;
        let done = |result: Result<(), Errno>| result.and_then(|()| Answer::value(0));
        match request {
            Request::Exit { status } => Answer::outcome(Outcome::Exit(status)),
            Request::Panic { text, rip, rbp } => {
                Answer::outcome(Outcome::Panic { message: text.to_vec(), rip, rbp })
            }
            Request::StartFailed { errno, text } => {
                let message = String::from_utf8_lossy(text).into_owned();
                Answer::outcome(Outcome::StartFailed { errno, message })
            }
            Request::StartCpu { cpu, stack } if (1..self.cpus).contains(&cpu) => {
                Answer::outcome(Outcome::StartCpu { cpu, stack })
            }
            Request::StartCpu { .. } => Err(Errno::INVAL),
            Request::Log { level, text } => {
                self.log.guest(level, text);
                Answer::value(0)
            }
            Request::TakeCommand { gpa, capacity } => {
                let len = self.events.take_command(gpa, capacity)?;
                self.first_command.call_once(|| self.log.timing("first-command"));
                Answer::value(len)
            }
            Request::Created => Answer::outcome(Outcome::Created),
            Request::Answer { tag, bytes } => {
                let answer = hostcall::decode_answer(bytes).map_err(|_| Errno::INVAL)?;
                Answer::outcome(Outcome::Answer { tag, answer })
            }
            Request::OutOfMemory { kills } => Answer::outcome(Outcome::OutOfMemory { kills }),
            Request::PopulateMemory { gpa, len } => {
                self.memory.populate(gpa, len)?;
                Answer::outcome(Outcome::Populate { gpa, len })
            }
            Request::ReleaseMemory { ranges } => {
                done(ranges.iter().try_for_each(|range| self.memory.release(range.gpa, range.len)))
            }
            Request::StreamRead { stream, gpa, len } => Answer::value(self.stream_read(stream, gpa, len)?),
            Request::StreamWrite { stream, gpa, len } => Answer::value(self.stream_write(stream, gpa, len)?),
            Request::StreamArm { stream, events } => Answer::value(self.stream_arm(stream, events)?),
            Request::StreamIoctl { stream, request, .. } => {
                let len = data.len();
                data.copy_from_slice(&page.data[..len]);
                let len = self.stream_ioctl(stream, request, data)?;
                Ok(Answer { len, ..Answer::value(0)? })
            }
            Request::StreamStat { stream } => Answer::data(0, self.stream_stat(stream)?.as_bytes(), data),
            Request::StreamClose { stream } => done(self.stream_close(stream)),
            Request::Lookup { dir, name } => Answer::inode(self.lookup(dir, name)?, data),
            Request::Getattr { file } => Answer::data(0, self.getattr(file)?.as_bytes(), data),
            Request::Getattrs { files } => {
                *long = files.iter().flat_map(|file| self.attr_or_none(file).as_bytes().to_vec()).collect();
                Answer::value(0)
            }
            Request::Setattr { file, attr } => Answer::data(0, self.setattr(file, &attr)?.as_bytes(), data),
            Request::Open { file, read, write, acl } => {
                let object = self.handles.get(file)?;
                object.open(&self.files, read, write)?;
                Answer::value((acl && may_have_acl(object.fd())).into())
            }
            // Trees are the sandbox's for good.
            Request::Close { file, others } => {
                let others = others.iter().map(|file| self.handles.remove(file)).collect::<Vec<_>>();
                done(others.into_iter().fold(self.handles.remove(file), Result::and))
            }
            Request::Read { file, offset, ranges } => Answer::value(self.read_file(file, offset, ranges)?),
            Request::Write { file, offset, ranges, append } => {
                match self.write_file(file, offset, ranges, append)? {
                    (n, Some(size)) => Answer::data(n, &size.to_le_bytes(), data),
                    (n, None) => Answer::value(n),
                }
            }
            Request::Readdir { dir, cookie, gpa, len } => Answer::value(self.readdir(dir, cookie, gpa, len)?),
            Request::Readlink { file } => {
                *long = self.readlink(file)?;
                long.truncate(hostcall::CALL_DATA_LEN);
                Answer::value(long.len() as u64)
            }
            Request::Create { dir, name, mode, owner } => {
                Answer::inode(self.create(dir, name, mode, owner)?, data)
            }
            Request::Tmpfile { dir, mode, owner } => Answer::inode(self.tmpfile(dir, mode, owner)?, data),
            Request::Mkdir { dir, name, mode, owner } => {
                Answer::inode(self.mkdir(dir, name, mode, owner)?, data)
            }
            Request::Symlink { dir, name, target, owner } => {
                Answer::inode(self.symlink(dir, name, target, owner)?, data)
            }
            Request::Mknod { dir, name, mode, owner } => {
                Answer::inode(self.mknod(dir, name, mode, owner)?, data)
            }
            Request::Link { file, dir, name } => done(self.link(file, dir, name)),
            Request::Unlink { dir, name, directory } => done(self.unlink(dir, name, directory)),
            Request::Rename { old_dir, old, new_dir, new, flags } => {
                done(self.rename(old_dir, old, new_dir, new, flags))
            }
            Request::Sync { file, data_only } => done(self.sync(file, data_only)),
            Request::Statfs { file } => Answer::data(0, self.statfs(file)?.as_bytes(), data),
            Request::Allocate { file, mode, offset, len } => done(self.allocate(file, mode, offset, len)),
            Request::GetXattr { file, name, gpa, len } => {
                Answer::value(self.get_xattr(file, name, gpa, len)?)
            }
            Request::SetXattr { file, name, gpa, len, flags } => {
                done(self.set_xattr(file, name, gpa, len, flags))
            }
            Request::ListXattr { file, gpa, len } => Answer::value(self.list_xattr(file, gpa, len)?),
            Request::RemoveXattr { file, name } => done(self.remove_xattr(file, name)),
            Request::Seek { file, offset, hole } => Answer::value(self.seek(file, offset, hole)?),
            Request::WindowMap { file, offset, len, window, writable } => {
                done(self.window_map(file, offset, len, window, writable))
            }
            Request::WindowProbe { window, len, write } => {
                self.memory.probe_window(window, len, write)?;
                Answer::outcome(Outcome::Populate { gpa: self.memory.window().0 + window, len })
            }
            Request::WindowUnmap { window, len } => done(self.memory.unmap_window(window, len)),
            Request::NetworkStart { areas } => {
                let network = self.network.as_ref().ok_or(Errno::NODEV)?;
                done(network.start(&self.memory, areas))
            }
        }
    }
}

/// The name of a call, for messages.
pub(crate) fn call_name(nr: u32) -> &'static str {
    Hostcall::from_nr(nr).map_or("unknown", Hostcall::name)
}
