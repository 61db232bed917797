//! Device nodes that the sentry knows: what opening one gives.

use alloc::sync::Arc;
use linux_raw_sys::general::S_IFCHR;

use super::file::{File, FileOps};
use crate::{
    errno::{Errno, Result},
    task::current,
    uio::{Sink, Source},
};

/// Encodes a device number as stat(2) shows it.
#[must_use]
pub const fn make(major: u64, minor: u64) -> u64 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

/// Nodes that every container's `/dev` has: name, major, minor, permission bits.
pub const NODES: [(&[u8], u64, u64, u32); 6] = [
    (b"null", 1, 3, 0o666),
    (b"zero", 1, 5, 0o666),
    (b"full", 1, 7, 0o666),
    (b"random", 1, 8, 0o666),
    (b"urandom", 1, 9, 0o666),
    (b"tty", 5, 0, 0o666),
];

/// Symbolic links that every container's `/dev` has.
pub const LINKS: [(&[u8], &[u8]); 5] = [
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
    (b"ptmx", b"pts/ptmx"),
];

/// The numbers of `ptmx`, whichever pseudo-terminals it gives.
pub const PTMX: u64 = make(5, 2);
/// The major number of pseudo-terminals.
pub const PTS_MAJOR: u64 = 136;

/// Opens a device node.
///
/// # Errors
/// `ENXIO` for a device that does not exist, or for `/dev/tty` where there is no terminal; `EIO` for a
/// pseudo-terminal by its numbers, which are those of some devpts.
pub fn open(rdev: u64, kind: u32, _flags: u32) -> Result<Arc<dyn FileOps>> {
    const NULL: u64 = make(1, 3);
    const ZERO: u64 = make(1, 5);
    const FULL: u64 = make(1, 7);
    const RANDOM: u64 = make(1, 8);
    const URANDOM: u64 = make(1, 9);
    const TTY: u64 = make(5, 0);
    if kind != S_IFCHR {
        return Err(Errno::ENXIO);
    }
    match rdev {
        NULL => Ok(Arc::new(Null)),
        ZERO => Ok(Arc::new(Zero)),
        FULL => Ok(Arc::new(Full)),
        RANDOM | URANDOM => Ok(Arc::new(Random)),
        TTY => current().process.tty.terminal().ok_or(Errno::ENXIO)?.reopen(),
        _ if rdev >> 8 & 0xfff == PTS_MAJOR => Err(Errno::EIO),
        _ => Err(Errno::ENXIO),
    }
}

/// Takes everything a source has.
fn swallow(source: &mut Source<'_>) -> usize {
    let all = source.remaining();
    source.skip(all);
    all
}

struct Null;

impl FileOps for Null {
    fn read_at(&self, _file: &File, _sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        Ok(0)
    }

    fn write_at(&self, _file: &File, source: &mut Source<'_>, _offset: u64) -> Result<usize> {
        Ok(swallow(source))
    }

    fn append(&self, _file: &File, source: &mut Source<'_>) -> Result<(usize, u64)> {
        Ok((swallow(source), 0))
    }

    fn end(&self, _file: &File) -> Result<u64> {
        Ok(0)
    }
}

struct Zero;

impl FileOps for Zero {
    fn read_at(&self, _file: &File, sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        sink.write_zeros(sink.remaining())
    }

    fn write_at(&self, _file: &File, source: &mut Source<'_>, _offset: u64) -> Result<usize> {
        Ok(swallow(source))
    }

    fn is_zero(&self) -> bool {
        true
    }
}

struct Full;

impl FileOps for Full {
    fn read_at(&self, _file: &File, sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        sink.write_zeros(sink.remaining())
    }

    fn write_at(&self, _file: &File, _source: &mut Source<'_>, _offset: u64) -> Result<usize> {
        Err(Errno::ENOSPC)
    }
}

struct Random;

impl FileOps for Random {
    fn read_at(&self, _file: &File, sink: &mut Sink<'_>, _offset: u64) -> Result<usize> {
        let mut bytes = [0; 256];
        let mut done = 0;
        while sink.remaining() != 0 {
            let len = sink.remaining().min(bytes.len());
            crate::random::fill(&mut bytes[..len]);
            match sink.write(&bytes[..len]) {
                Ok(step) => {
                    done += step;
                    if step < len {
                        break;
                    }
                }
                Err(_) if done != 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, _file: &File, source: &mut Source<'_>, _offset: u64) -> Result<usize> {
        Ok(swallow(source))
    }
}
