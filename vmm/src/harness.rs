//! A hostcall server without a machine around it, for tests and fuzzing of the guest boundary.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Once},
};

use hostcall::PAGE_SIZE;
use rustix::event::epoll;
use vmm_sys_util::eventfd::EventFd;

use crate::{
    events::Events,
    log::Log,
    memory::Memory,
    server::{
        Outcome, Server,
        files::Files,
        fs::{attributes, kind},
        handles::{Handles, Object},
        stream::{Stream, Streams},
    },
};

/// Where the call page is.
const CALLS: u64 = 0x3000;
const EVENTS: u64 = 0x2000;

/// A server over a directory, 1 MiB of guest RAM and one stream (`/dev/null`).
#[derive(Debug)]
pub struct Harness {
    server: Server,
}

impl Harness {
    /// Serves `root`.
    ///
    /// # Errors
    /// When the host refuses a descriptor or memory.
    pub fn new(root: &Path) -> io::Result<Self> {
        let other = |error: crate::Error| io::Error::other(error);
        let memory = Arc::new(Memory::new(1 << 20, 1 << 30).map_err(other)?);
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let directory: OwnedFd = File::open(root)?.into();
        let attr = attributes(&directory)?;
        let handles = Handles::new(512);
        handles.insert(Object::path(directory, kind(attr.mode), false))?;
        let interrupt = EventFd::new(libc::EFD_NONBLOCK)?;
        let server = Server {
            counts: crate::counts::Counts::new(1),
            events: Events::new(memory.clone(), EVENTS, interrupt),
            memory,
            log: Arc::new(Log::new(null.try_clone()?, 5, true, None)),
            handles,
            files: Files::new(File::open("/proc/self/fd")?.into(), None),
            streams: Streams::new(vec![Stream::new(null.into())?]),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            network: None,
            calls: CALLS,
            cpus: 1,
            first_command: Once::new(),
        };
        Ok(Self { server })
    }

    /// Gives stream 0 again if the guest has closed it.
    fn restore_stream(&self) -> io::Result<()> {
        if !self.server.streams.has(0) {
            let null = File::options().read(true).write(true).open("/dev/null")?;
            self.server.add_streams(vec![null.into()])?;
        }
        Ok(())
    }

    /// Serves one call page; the page afterwards, or `None` when the call ends the sandbox.
    ///
    /// # Errors
    /// Never, unless guest memory is broken.
    pub fn call(&self, page: &[u8; PAGE_SIZE]) -> io::Result<Option<[u8; PAGE_SIZE]>> {
        self.restore_stream()?;
        self.server.memory.write(CALLS, page)?;
        if self.server.serve(0)? != Outcome::Resume {
            return Ok(None);
        }
        let mut answer = [0; PAGE_SIZE];
        self.server.memory.read(CALLS, &mut answer)?;
        Ok(Some(answer))
    }

    /// Reads guest memory.
    ///
    /// # Errors
    /// When the range is not RAM.
    pub fn memory(&self, gpa: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.server.memory.read(gpa, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes guest memory.
    ///
    /// # Errors
    /// When the range is not RAM.
    pub fn set_memory(&self, gpa: u64, bytes: &[u8]) -> io::Result<()> {
        Ok(self.server.memory.write(gpa, bytes)?)
    }

    /// Descriptors that the process has now.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn descriptors() -> io::Result<usize> {
        Ok(fs::read_dir("/proc/self/fd")?.count())
    }
}
