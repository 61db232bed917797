//! Copies between I/O buffers and physical memory.

use crate::{
    arch::PhysAddr,
    errno::Result,
    uio::{Sink, Source},
};

/// Moves `len` bytes from RAM or a window to a sink; gives the bytes moved.
pub(super) fn to_sink(sink: &mut Sink<'_>, from: PhysAddr, len: usize) -> Result<usize> {
    sink.write_phys(from, len)
}

/// Moves at most `len` bytes from a source to RAM; gives the bytes moved.
pub(super) fn from_source(source: &mut Source<'_>, to: PhysAddr, len: usize) -> Result<usize> {
    source.read_phys(to, len)
}
