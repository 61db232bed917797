//! Moving bytes between descriptors: sendfile, copy_file_range, splice, tee, vmsplice.

use alloc::{sync::Arc, vec::Vec};
use linux_raw_sys::general::{
    O_APPEND, S_IFCHR, S_IFIFO, S_IFREG, S_IFSOCK, SPLICE_F_GIFT, SPLICE_F_MORE, SPLICE_F_MOVE,
    SPLICE_F_NONBLOCK,
};

use super::{
    Args,
    at::{file, only, open_file},
    file::{MAX_RW, broken_pipe, position},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::{
        File, PollMask, dev,
        pipe::{Pipe, PipeEnd},
        poll,
    },
    uio::{self, Sink, Source},
};

/// How much one kernel buffer moves.
const PIECE: usize = 64 << 10;
/// Flags of splice(2) and its like.
const SPLICE_FLAGS: u32 = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;

/// Moves up to `count` bytes from one file to another through a kernel buffer.
fn transfer(
    from: &File,
    to: &File,
    count: usize,
    mut read: impl FnMut(&File, &mut Sink<'_>, u64) -> Result<usize>,
    mut write: impl FnMut(&File, &mut Source<'_>, u64) -> Result<usize>,
) -> Result<usize> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(count.min(PIECE)).map_err(|_| Errno::ENOMEM)?;
    buffer.resize(count.min(PIECE), 0);
    let mut done = 0;
    while done < count {
        let len = (count - done).min(PIECE);
        let step = (|| {
            let got = read(from, &mut Sink::Kernel(&mut buffer[..len]), done as u64)?;
            if got == 0 {
                return Ok((0, 0));
            }
            write(to, &mut Source::Kernel(&buffer[..got]), done as u64).map(|put| (got, put))
        })();
        match step {
            Ok((got, put)) => {
                done += put;
                if got == 0 || put < got {
                    break;
                }
            }
            Err(_) if done != 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Where a call reads or writes: at the user's offset, which it updates, or at the file's own.
struct Offset {
    place: u64,
    at: u64,
}

impl Offset {
    fn new(file: &File, place: u64) -> Result<Self> {
        let at = if place == 0 { file.position() } else { position(uaccess::get::<u64>(place)?)? };
        Ok(Self { place, at })
    }

    fn advance(&self, file: &File, moved: usize) -> Result<()> {
        let end = self.at + moved as u64;
        if self.place != 0 {
            uaccess::put(self.place, &end)
        } else {
            if moved != 0 && !file.ops().is_stream() {
                file.with_position(|position| *position = end);
            }
            Ok(())
        }
    }
}

fn pipe_of(file: &File) -> Option<Arc<Pipe>> {
    file.downcast::<PipeEnd>().map(|end| end.pipe().clone())
}

/// Whether a file can be one side of a splice: descriptors that are no files, and directories, cannot. A FIFO that is no
/// pipe of the sentry's is one of the host's: a standard stream of the container.
fn can_splice(file: &File) -> bool {
    matches!(file.inode().kind(), S_IFREG | S_IFCHR | S_IFSOCK | S_IFIFO)
}

/// Whether a file is this device of memory's.
fn is_device(file: &File, minor: u64) -> bool {
    file.inode().kind() == S_IFCHR && file.attr().is_ok_and(|attr| attr.rdev == dev::make(1, minor))
}

/// Whether bytes can come from it: `/dev/null` has none, and says so.
fn can_give(file: &File) -> bool {
    can_splice(file) && !is_device(file, 3)
}

/// Whether a pipe's bytes can go to it: `/dev/full` takes none.
fn can_take(file: &File) -> bool {
    can_splice(file) && !is_device(file, 7)
}

/// sendfile(2).
///
/// # Errors
/// As sendfile(2).
pub fn sendfile(args: &Args) -> Result<u64> {
    let (place, count) = (args.addr(2), args.size(3).min(MAX_RW));
    let given = if place == 0 { None } else { Some(uaccess::get::<u64>(place)?) };
    let (to, from) = (args.int(0), args.int(1));
    let from = file(from)?;
    from.check_readable()?;
    if given.is_some() && from.ops().is_stream() {
        return Err(Errno::ESPIPE);
    }
    let offset = match given {
        Some(at) => Offset { place, at: position(at)? },
        None => Offset { place, at: from.position() },
    };
    let to = file(to)?;
    to.check_writable()?;
    if count == 0 {
        return Ok(0);
    }
    if let Some(pipe) = pipe_of(&to) {
        let moved = file_to_pipe(&from, offset.at, &pipe, count, !to.nonblocking());
        let done = broken_pipe(&to, moved)?;
        offset.advance(&from, done)?;
        return Ok(done as u64);
    }
    if from.ops().is_stream() || !can_give(&from) || to.flags() & O_APPEND != 0 || !can_take(&to) {
        return Err(Errno::EINVAL);
    }
    let moved = transfer(
        &from,
        &to,
        count,
        |file, sink, done| file.pread(sink, offset.at + done),
        |file, source, _| file.write(source),
    );
    let done = broken_pipe(&to, moved)?;
    offset.advance(&from, done)?;
    Ok(done as u64)
}

/// copy_file_range(2).
///
/// # Errors
/// As copy_file_range(2).
pub fn copy_file_range(args: &Args) -> Result<u64> {
    let (from, to) = (open_file(args.int(0))?, open_file(args.int(2))?);
    let start = |file: &Arc<File>, place: u64| -> Result<Offset> {
        let at = if place == 0 { file.position() } else { uaccess::get::<u64>(place)? };
        Ok(Offset { place, at })
    };
    let (source, target) = (start(&from, args.addr(1))?, start(&to, args.addr(3))?);
    only(args.uint(5), 0)?;
    if from.inode().is_dir() || to.inode().is_dir() {
        return Err(Errno::EISDIR);
    }
    if !from.inode().is_regular() || !to.inode().is_regular() {
        return Err(Errno::EINVAL);
    }
    from.check_readable()?;
    to.check_writable()?;
    if to.flags() & O_APPEND != 0 {
        return Err(Errno::EBADF);
    }
    // A standard stream that is a file of the host has no file system here: programs then read and write.
    if from.ops().is_stream() || to.ops().is_stream() {
        return Err(Errno::EXDEV);
    }
    let (from_attr, to_attr) = (from.attr()?, to.attr()?);
    if from_attr.dev != to_attr.dev {
        return Err(Errno::EXDEV);
    }
    let count = args.size(4);
    if [source.at, target.at].iter().any(|at| at.checked_add(count as u64).is_none()) {
        return Err(Errno::EOVERFLOW);
    }
    let left = from_attr.size.saturating_sub(source.at).min(i64::MAX as u64);
    let count = (count as u64).min(left);
    let overlap = target.at.saturating_add(count) > source.at && target.at < source.at.saturating_add(count);
    if from_attr.ino == to_attr.ino && count != 0 && overlap {
        return Err(Errno::EINVAL);
    }
    position(source.at)?;
    position(target.at)?;
    // No file is longer than an offset can say.
    let room = i64::MAX as u64 - target.at;
    if room == 0 && count != 0 {
        return Err(Errno::EFBIG);
    }
    let done = transfer(
        &from,
        &to,
        count.min(room).min(MAX_RW as u64) as usize,
        |file, sink, done| file.pread(sink, source.at + done),
        |file, bytes, done| file.pwrite(bytes, target.at + done),
    )?;
    if done != 0 {
        source.advance(&from, done)?;
        target.advance(&to, done)?;
    }
    Ok(done as u64)
}

/// Waits until a file may have, or take, bytes.
fn wait_for(file: &Arc<File>, events: PollMask) -> Result<()> {
    let entry = poll::Entry { file: Some(file.clone()), events, ready: PollMask::empty(), ignored: false };
    poll::wait(&mut [entry], None).map(drop)
}

/// Reads into a pipe, once it has room: as much as fits.
fn file_to_pipe(from: &Arc<File>, at: u64, pipe: &Arc<Pipe>, len: usize, wait: bool) -> Result<usize> {
    pipe.wait_for_room(wait)?;
    if !can_give(from) {
        return Err(Errno::EINVAL);
    }
    let quiet = from.without_waiting();
    let stream = from.ops().is_stream();
    loop {
        pipe.wait_for_room(wait)?;
        let mut offset = at;
        let mut asked = false;
        let moved = pipe.fill(len, |space| {
            asked = true;
            let mut sink = Sink::Kernel(space);
            if stream {
                return from.ops().read_at(&quiet, &mut sink, 0);
            }
            let step = from.ops().read_at(from, &mut sink, offset)?;
            offset += step as u64;
            Ok(step)
        });
        match moved {
            Err(Errno::EAGAIN) if wait && stream && !from.nonblocking() => {
                wait_for(from, PollMask::READABLE)?
            }
            // Somebody else took the room.
            Ok(0) if !asked => {}
            moved => return moved,
        }
    }
}

/// Writes what a pipe has, once it has something, until it is empty.
fn pipe_to_file(pipe: &Arc<Pipe>, to: &Arc<File>, at: u64, len: usize, wait: bool) -> Result<usize> {
    let quiet = to.without_waiting();
    let stream = to.ops().is_stream();
    let mut done = 0;
    while done < len {
        match pipe.wait_for_data(wait && done == 0) {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) if done != 0 => break,
            Err(error) => return Err(error),
        }
        let mut offset = at + done as u64;
        let moved = pipe.drain(len - done, |piece| {
            let mut source = Source::Kernel(piece);
            if stream {
                return quiet.write(&mut source);
            }
            let step = to.pwrite(&mut source, offset)?;
            offset += step as u64;
            Ok(step)
        });
        match moved {
            Ok(step) => done += step,
            Err(Errno::EAGAIN) if wait && stream && !to.nonblocking() => wait_for(to, PollMask::WRITABLE)?,
            Err(_) if done != 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Moves or copies from pipe to pipe what there is and fits.
fn pipe_to_pipe(from: &Arc<Pipe>, to: &Arc<Pipe>, len: usize, wait: bool, keep: bool) -> Result<usize> {
    loop {
        let more = from.wait_for_data(wait)?;
        if !to.is_read() {
            return Err(Errno::EPIPE);
        }
        if !more {
            return Ok(0);
        }
        to.wait_for_room(wait)?;
        match from.pour(to, len, keep)? {
            // Others were faster.
            0 if wait => {}
            0 => return Err(Errno::EAGAIN),
            moved => return Ok(moved),
        }
    }
}

/// splice(2).
///
/// # Errors
/// As splice(2).
pub fn splice(args: &Args) -> Result<u64> {
    let (from_place, to_place) = (args.addr(1), args.addr(3));
    let (len, flags) = (args.size(4), args.uint(5));
    if len == 0 {
        return Ok(0);
    }
    only(flags, SPLICE_FLAGS)?;
    let (from, to) = (open_file(args.int(0))?, open_file(args.int(2))?);
    let (source, target) = (pipe_of(&from), pipe_of(&to));
    if source.is_some() && from_place != 0 || target.is_some() && to_place != 0 {
        return Err(Errno::ESPIPE);
    }
    for place in [to_place, from_place] {
        if place != 0 {
            uaccess::get::<u64>(place)?;
        }
    }
    from.check_readable()?;
    to.check_writable()?;
    let len = len.min(MAX_RW);
    let wait = flags & SPLICE_F_NONBLOCK == 0;
    let moved = match (source, target) {
        (Some(source), Some(target)) => {
            if Arc::ptr_eq(&source, &target) {
                return Err(Errno::EINVAL);
            }
            let wait = wait && !from.nonblocking() && !to.nonblocking();
            pipe_to_pipe(&source, &target, len, wait, false)
        }
        (Some(source), None) => {
            if to_place != 0 && to.ops().is_stream() {
                return Err(Errno::EINVAL);
            }
            let offset = Offset::new(&to, to_place)?;
            if to.flags() & O_APPEND != 0 || !can_take(&to) {
                return Err(Errno::EINVAL);
            }
            let moved = pipe_to_file(&source, &to, offset.at, len, wait && !from.nonblocking());
            if let Ok(done) = moved {
                offset.advance(&to, done)?;
            }
            moved
        }
        (None, Some(target)) => {
            if from_place != 0 && from.ops().is_stream() {
                return Err(Errno::EINVAL);
            }
            let offset = Offset::new(&from, from_place)?;
            let moved = file_to_pipe(&from, offset.at, &target, len, wait && !to.nonblocking());
            if let Ok(done) = moved {
                offset.advance(&from, done)?;
            }
            moved
        }
        (None, None) => return Err(Errno::EINVAL),
    };
    broken_pipe(&to, moved).map(|n| n as u64)
}

/// tee(2).
///
/// # Errors
/// As tee(2).
pub fn tee(args: &Args) -> Result<u64> {
    let (len, flags) = (args.size(2), args.uint(3));
    only(flags, SPLICE_FLAGS)?;
    if len == 0 {
        return Ok(0);
    }
    let (from, to) = (open_file(args.int(0))?, open_file(args.int(1))?);
    from.check_readable()?;
    to.check_writable()?;
    let (Some(source), Some(target)) = (pipe_of(&from), pipe_of(&to)) else { return Err(Errno::EINVAL) };
    if Arc::ptr_eq(&source, &target) {
        return Err(Errno::EINVAL);
    }
    let wait = flags & SPLICE_F_NONBLOCK == 0 && !from.nonblocking() && !to.nonblocking();
    let moved = pipe_to_pipe(&source, &target, len.min(MAX_RW), wait, true);
    broken_pipe(&to, moved).map(|n| n as u64)
}

/// vmsplice(2). The pages are copied: what the caller then writes to them does not show in the pipe.
///
/// # Errors
/// As vmsplice(2).
pub fn vmsplice(args: &Args) -> Result<u64> {
    let flags = args.uint(3);
    only(flags, SPLICE_FLAGS)?;
    let file = open_file(args.int(0))?;
    let writes = file.check_writable().is_ok();
    if !writes {
        file.check_readable()?;
    }
    let ranges = uio::import_iovec(args.addr(1), args.size(2))?;
    let wait = flags & SPLICE_F_NONBLOCK == 0;
    if writes {
        let mut source = Source::User(ranges);
        if source.remaining() == 0 {
            return Ok(0);
        }
        let pipe = pipe_of(&file).ok_or(Errno::EBADF)?;
        broken_pipe(&file, pipe.wait_for_room(wait))?;
        let len = source.remaining();
        return pipe.fill(len, |space| source.read(space)).map(|n| n as u64);
    }
    let mut sink = Sink::User(ranges);
    if sink.remaining() == 0 {
        return Ok(0);
    }
    let pipe = pipe_of(&file).ok_or(Errno::EBADF)?;
    if !pipe.wait_for_data(wait)? {
        return Ok(0);
    }
    let len = sink.remaining();
    pipe.drain(len, |piece| sink.write(piece)).map(|n| n as u64)
}
