//! The bytes of a stream between the one who sends and the one who reads.
//!
//! A sender copies into a [`Chunk`] with nothing locked and hands it over; a reader takes chunks over in bulk and
//! copies out with nothing but the readers' mutex held. Small pieces are put together in one chunk.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use crate::errno::{Errno, Result};

/// Most bytes of a chunk.
pub(super) const CHUNK_MAX: usize = 32 << 10;
/// Bytes of a chunk of small pieces.
const CHUNK_SMALL: usize = 2048;

/// Memory with bytes of the stream.
#[derive(Debug)]
pub(super) struct Chunk {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Chunk {
    /// With room for `len` bytes.
    pub(super) fn new(len: usize) -> Result<Self> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(len).map_err(|_| Errno::ENOBUFS)?;
        memory.resize(len, 0);
        Ok(Self { memory: memory.into_boxed_slice(), start: 0, end: 0 })
    }

    /// For pieces that are put together.
    pub(super) fn small() -> Result<Self> {
        Self::new(CHUNK_SMALL)
    }

    /// As good as new.
    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    pub(super) fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Fills it with what `f` puts into the first `len` bytes.
    pub(super) fn fill(&mut self, len: usize, f: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        self.clear();
        let len = len.min(self.memory.len());
        self.end = f(&mut self.memory[..len])?.min(len);
        Ok(())
    }

    /// Adds bytes if there is room for all of them.
    pub(super) fn append(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.memory.get_mut(self.end..self.end + bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.end += bytes.len();
        true
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    fn len(&self) -> usize {
        self.end - self.start
    }
}

/// What a reader has taken over; `offset` is the place of its first byte in the stream, `seen` how much of the stream
/// had come then.
#[derive(Debug, Default)]
pub(super) struct Reader {
    chunks: VecDeque<Chunk>,
    pub(super) offset: u64,
    pub(super) seen: u64,
}

impl Reader {
    /// Has read what came before `offset`.
    pub(super) fn at(offset: u64) -> Self {
        Self { chunks: VecDeque::new(), offset, seen: offset }
    }

    /// Takes over what has come.
    pub(super) fn take_over(&mut self, inbox: &mut VecDeque<Chunk>) {
        if self.chunks.is_empty() {
            core::mem::swap(&mut self.chunks, inbox);
        } else {
            self.chunks.append(inbox);
        }
    }

    /// The bytes that lie together `skip` bytes after the first.
    pub(super) fn piece(&self, mut skip: usize) -> Option<&[u8]> {
        for chunk in &self.chunks {
            let len = chunk.len();
            if skip < len {
                return Some(&chunk.bytes()[skip..]);
            }
            skip -= len;
        }
        None
    }

    /// Forgets the first `len` bytes; gives a large chunk that this emptied, to be used again.
    pub(super) fn consume(&mut self, mut len: usize) -> Option<Chunk> {
        let mut spare = None;
        self.offset += len as u64;
        while let Some(front) = self.chunks.front_mut() {
            let step = len.min(front.len());
            front.start += step;
            len -= step;
            if front.len() != 0 {
                break;
            }
            spare = self.chunks.pop_front().filter(|chunk| chunk.capacity() == CHUNK_MAX);
        }
        spare
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(steps in prop::collection::vec((any::<bool>(), 1usize..700), 1..80)) {
            let (mut inbox, mut reader) = (VecDeque::new(), Reader::default());
            let (mut model, mut next) = (VecDeque::new(), 0u8);
            for (sends, len) in steps {
                if sends {
                    let bytes: Vec<u8> = (0..len).map(|_| { next = next.wrapping_add(1); next }).collect();
                    model.extend(bytes.iter().copied());
                    if !inbox.back_mut().is_some_and(|chunk: &mut Chunk| chunk.append(&bytes)) {
                        let mut chunk = Chunk::small().expect("memory");
                        prop_assert!(chunk.append(&bytes));
                        inbox.push_back(chunk);
                    }
                } else {
                    reader.take_over(&mut inbox);
                    let mut out = Vec::new();
                    while let Some(piece) = reader.piece(out.len()).filter(|_| out.len() < len) {
                        out.extend_from_slice(&piece[..piece.len().min(len - out.len())]);
                    }
                    let expected: Vec<u8> = model.drain(..len.min(model.len())).collect();
                    prop_assert_eq!(&out, &expected);
                    reader.consume(out.len());
                }
            }
        }
    }
}
