//! Stream hostcalls: the descriptors that the runtime passed, standard input and output first.
//!
//! The open file descriptions are shared with whoever started us, so `O_NONBLOCK` is never set on them.
//! Instead each transfer asks poll(2) first and moves no more than then goes through without blocking: on a
//! pipe that is writable `PIPE_BUF` bytes do. Waiting is done by the I/O thread (epoll, one shot).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hostcall::{Attr, MAX_STREAMS};
use rustix::{
    event::{PollFd, PollFlags, Timespec, epoll},
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::FileType,
    io::Errno,
};

use super::{Server, fs::attributes};

/// What a pipe or terminal that polls writable takes without blocking (Linux: `PIPE_BUF`).
const PIECE: u64 = 4096;

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A descriptor that the runtime passed.
#[derive(Debug)]
pub(crate) struct Stream {
    fd: OwnedFd,
    /// Never blocks, and epoll refuses it: a regular file or a memory device.
    always_ready: bool,
    armed: Mutex<bool>,
}

impl Stream {
    /// Wraps a descriptor.
    pub(crate) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        let always_ready = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Directory | FileType::BlockDevice => true,
            // /dev/null, /dev/zero and their like.
            FileType::CharacterDevice => rustix::fs::major(stat.st_rdev) == 1,
            _ => false,
        };
        Ok(Self { fd, always_ready, armed: Mutex::new(false) })
    }

    /// The bits among `wanted` (and error bits) that hold now.
    fn ready(&self, wanted: PollFlags) -> Result<PollFlags, Errno> {
        if self.always_ready {
            return Ok(wanted & (PollFlags::IN | PollFlags::OUT | PollFlags::RDNORM | PollFlags::WRNORM));
        }
        let mut poll = [PollFd::from_borrowed_fd(self.fd.as_fd(), wanted)];
        loop {
            match rustix::event::poll(&mut poll, Some(&NOW)) {
                Err(Errno::INTR) => {}
                result => {
                    result?;
                    return Ok(poll[0].revents());
                }
            }
        }
    }
}

/// All streams, by their numbers.
#[derive(Debug)]
pub(crate) struct Streams(Mutex<Vec<Option<Arc<Stream>>>>);

impl Streams {
    /// The streams that a sandbox starts with, numbered from 0.
    pub(crate) fn new(streams: Vec<Stream>) -> Self {
        Self(Mutex::new(streams.into_iter().map(|stream| Some(Arc::new(stream))).collect()))
    }

    fn table(&self) -> MutexGuard<'_, Vec<Option<Arc<Stream>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a stream of this number.
    pub(crate) fn has(&self, number: u32) -> bool {
        self.get(number).is_ok()
    }

    fn get(&self, number: u32) -> Result<Arc<Stream>, Errno> {
        self.table().get(number as usize).cloned().flatten().ok_or(Errno::BADF)
    }

    fn take(&self, number: u32) -> Result<Arc<Stream>, Errno> {
        self.table().get_mut(number as usize).and_then(Option::take).ok_or(Errno::BADF)
    }

    /// Adds streams under numbers that are free; all or none.
    fn add(&self, streams: Vec<Stream>) -> Result<Vec<u32>, Errno> {
        let mut table = self.table();
        let free = |table: &Vec<Option<Arc<Stream>>>| {
            (0..MAX_STREAMS).filter(|&at| table.get(at).is_none_or(Option::is_none)).collect::<Vec<_>>()
        };
        let numbers = free(&table);
        if numbers.len() < streams.len() {
            return Err(Errno::MFILE);
        }
        let mut given = Vec::new();
        for (stream, at) in streams.into_iter().zip(numbers) {
            if table.len() <= at {
                table.resize(at + 1, None);
            }
            table[at] = Some(Arc::new(stream));
            given.push(at as u32);
        }
        Ok(given)
    }
}

/// The `struct termios` and `struct winsize` of the kernel.
const TERMIOS: usize = 36;
const WINSIZE: usize = 8;

impl Server {
    fn stream(&self, stream: u32) -> Result<Arc<Stream>, Errno> {
        self.streams.get(stream)
    }

    /// Adds descriptors as streams; their numbers.
    pub(crate) fn add_streams(&self, descriptors: Vec<OwnedFd>) -> Result<Vec<u32>, Errno> {
        self.streams.add(descriptors.into_iter().map(Stream::new).collect::<Result<_, _>>()?)
    }

    /// Gives a stream up.
    pub(crate) fn stream_close(&self, stream: u32) -> Result<(), Errno> {
        let stream = self.streams.take(stream)?;
        // Others have the same open file, so that closing ours would not end the watch.
        if *stream.armed.lock().unwrap_or_else(PoisonError::into_inner) {
            epoll::delete(&self.epoll, &stream.fd)?;
        }
        Ok(())
    }

    pub(super) fn stream_read(&self, stream: u32, gpa: u64, len: u64) -> Result<u64, Errno> {
        let stream = self.stream(stream)?;
        let slice = self.memory.slice(gpa, len)?;
        if stream.ready(PollFlags::IN)?.is_empty() {
            return Err(Errno::AGAIN);
        }
        let guard = slice.ptr_guard_mut();
        // SAFETY: a checked range of guest RAM, which stays mapped for the life of the process; the guest
        // expects it to change.
        let n = unsafe { libc::read(stream.fd.as_raw_fd(), guard.as_ptr().cast(), slice.len()) };
        transferred(n)
    }

    pub(super) fn stream_write(&self, stream: u32, gpa: u64, len: u64) -> Result<u64, Errno> {
        let stream = self.stream(stream)?;
        self.memory.slice(gpa, len)?;
        let mut done = 0;
        while done < len {
            let ready = stream.ready(PollFlags::OUT)?;
            if !ready.intersects(PollFlags::OUT | PollFlags::ERR | PollFlags::HUP) {
                break;
            }
            let piece = if stream.always_ready { len - done } else { (len - done).min(PIECE) };
            let slice = self.memory.slice(gpa + done, piece)?;
            let guard = slice.ptr_guard();
            // SAFETY: a checked range of guest RAM, which stays mapped for the life of the process; that the
            // guest may change it meanwhile only changes what is written.
            let n = unsafe { libc::write(stream.fd.as_raw_fd(), guard.as_ptr().cast(), slice.len()) };
            match transferred(n) {
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        if done == 0 && len > 0 { Err(Errno::AGAIN) } else { Ok(done) }
    }

    pub(super) fn stream_arm(&self, number: u32, events: u16) -> Result<u64, Errno> {
        let stream = self.stream(number)?;
        let wanted = PollFlags::from_bits_truncate(events);
        let ready = stream.ready(wanted)?;
        if !ready.is_empty() {
            return Ok(u64::from(ready.bits()));
        }
        let flags = epoll::EventFlags::from_bits_truncate(u32::from(events)) | epoll::EventFlags::ONESHOT;
        let data = epoll::EventData::new_u64(u64::from(number));
        let mut armed = stream.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if *armed {
            epoll::modify(&self.epoll, &stream.fd, data, flags)?;
        } else {
            epoll::add(&self.epoll, &stream.fd, data, flags)?;
            *armed = true;
        }
        Ok(0)
    }

    /// Serves a terminal operation; says how many bytes of `data` are the answer.
    pub(super) fn stream_ioctl(&self, stream: u32, request: u64, data: &mut [u8]) -> Result<usize, Errno> {
        let stream = self.stream(stream)?;
        let (len, answer) = match request {
            libc::TCGETS => (TERMIOS, TERMIOS),
            libc::TCSETS | libc::TCSETSW | libc::TCSETSF => (TERMIOS, 0),
            libc::TIOCGWINSZ => (WINSIZE, WINSIZE),
            libc::TIOCSWINSZ => (WINSIZE, 0),
            _ => return Err(Errno::INVAL),
        };
        let bytes = data.get_mut(..len).ok_or(Errno::INVAL)?;
        // SAFETY: `bytes` is as long as the structure that each of these requests reads or writes.
        let result = unsafe { libc::ioctl(stream.fd.as_raw_fd(), request, bytes.as_mut_ptr()) };
        transferred(result as isize)?;
        Ok(answer)
    }

    pub(super) fn stream_stat(&self, stream: u32) -> Result<Attr, Errno> {
        attributes(&self.stream(stream)?.fd)
    }
}

fn transferred(n: isize) -> Result<u64, Errno> {
    u64::try_from(n).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::IO)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> Stream {
        Stream::new(std::fs::File::open("/dev/null").unwrap().into()).unwrap()
    }

    #[test]
    fn numbers_are_used_again_and_run_out() {
        let streams = Streams::new(vec![null(), null(), null()]);
        assert_eq!(streams.add(vec![null(), null()]), Ok(vec![3, 4]));
        assert!(streams.take(1).is_ok());
        assert_eq!(streams.take(1).err(), Some(Errno::BADF));
        assert_eq!(streams.get(64).err(), Some(Errno::BADF));
        assert_eq!(streams.add(vec![null(), null()]), Ok(vec![1, 5]));
        assert_eq!(streams.add((0..59).map(|_| null()).collect()), Err(Errno::MFILE));
        assert_eq!(streams.add((0..58).map(|_| null()).collect()).map(|numbers| numbers.len()), Ok(58));
    }
}
