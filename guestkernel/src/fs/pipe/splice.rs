//! Moving bytes between a pipe and something else without a stop in ring 3: what splice(2) and tee(2) do.
//!
//! The other side reads or writes the ring's own memory, under the ring's mutex: it must not wait. Two rings are
//! locked in the order of their addresses.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::{Pipe, Ring};
use crate::{
    errno::{Errno, Result},
    sync::MutexGuard,
};

impl Ring {
    /// Adds what `read` puts into free space, at most `len` bytes, until it gives less than it could.
    fn fill(&mut self, len: usize, read: &mut dyn FnMut(&mut [u8]) -> Result<usize>) -> Result<usize> {
        let len = len.min(self.room());
        self.grow(len)?;
        let mut done = 0;
        while done < len {
            let mut space = self.space();
            space.end = space.end.min(space.start + len - done);
            let wanted = space.len();
            let step = match read(&mut self.bytes[space]) {
                Ok(step) => step.min(wanted),
                Err(_) if done != 0 => break,
                Err(error) => return Err(error),
            };
            self.len += step;
            done += step;
            if step < wanted || wanted == 0 {
                break;
            }
        }
        Ok(done)
    }

    /// Gives at most `len` bytes from the front to `write`, until it takes less; they stay.
    fn offer(&self, len: usize, write: &mut dyn FnMut(&[u8]) -> Result<usize>) -> Result<usize> {
        let (first, second) = self.filled();
        let mut done = 0;
        for piece in [first, second] {
            let piece = &piece[..piece.len().min(len - done)];
            if piece.is_empty() {
                break;
            }
            let step = match write(piece) {
                Ok(step) => step.min(piece.len()),
                Err(_) if done != 0 => break,
                Err(error) => return Err(error),
            };
            done += step;
            if step < piece.len() {
                break;
            }
        }
        Ok(done)
    }
}

impl Pipe {
    /// Waits until something can be put in.
    ///
    /// # Errors
    /// `EPIPE` when nobody reads, `EAGAIN` where it must not wait, `ERESTARTSYS`.
    pub fn wait_for_room(&self, wait: bool) -> Result<()> {
        loop {
            if !self.has_readers() {
                return Err(Errno::EPIPE);
            }
            if self.room() != 0 {
                return Ok(());
            }
            if !wait {
                return Err(Errno::EAGAIN);
            }
            self.writable.wait_until(|| (self.room() != 0 || !self.has_readers()).then_some(()))?;
        }
    }

    /// Waits until there is something, or nobody writes any more, which is `false`.
    ///
    /// # Errors
    /// `EAGAIN` where it must not wait, `ERESTARTSYS`.
    pub fn wait_for_data(&self, wait: bool) -> Result<bool> {
        loop {
            if self.filled() != 0 {
                return Ok(true);
            }
            if !self.has_writers() {
                return Ok(false);
            }
            if !wait {
                return Err(Errno::EAGAIN);
            }
            self.readable.wait_until(|| (self.filled() != 0 || !self.has_writers()).then_some(()))?;
        }
    }

    /// Tells those who wait that the ring is not as it was: `before` bytes were in it.
    fn changed(&self, ring: MutexGuard<'_, Ring>, before: usize) {
        let (len, room) = (ring.len, ring.room());
        self.filled.store(len as u32, Ordering::SeqCst);
        drop(ring);
        if len != 0 && before != len {
            self.readable.wake_one();
        }
        if room != 0 && before != len {
            self.writable.wake_one();
        }
    }

    /// Adds at most `len` bytes that `read` puts into the ring. Gives 0 when there is no room.
    ///
    /// # Errors
    /// Those of `read`; `ENOMEM`.
    pub fn fill(&self, len: usize, mut read: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<usize> {
        let mut ring = self.ring.lock();
        let before = ring.len;
        let result = ring.fill(len, &mut read);
        self.changed(ring, before);
        result
    }

    /// Takes at most `len` bytes out, as many as `write` takes.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn drain(&self, len: usize, mut write: impl FnMut(&[u8]) -> Result<usize>) -> Result<usize> {
        let mut ring = self.ring.lock();
        let before = ring.len;
        let result = ring.offer(len, &mut write);
        if let Ok(done) = result {
            ring.consume(done);
        }
        self.changed(ring, before);
        result
    }

    /// Moves at most `len` bytes to another pipe, or copies them when they are to be kept. Gives 0 when there is
    /// nothing or no room.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn pour(self: &Arc<Self>, to: &Arc<Self>, len: usize, keep: bool) -> Result<usize> {
        let (mut source, mut target);
        if Arc::as_ptr(self) < Arc::as_ptr(to) {
            source = self.ring.lock();
            target = to.ring.lock();
        } else {
            target = to.ring.lock();
            source = self.ring.lock();
        }
        let before = (source.len, target.len);
        let room = target.room();
        let result = source.offer(len.min(room), &mut |piece| {
            let mut rest = piece;
            target.fill(piece.len(), &mut |space| {
                let count = space.len().min(rest.len());
                space[..count].copy_from_slice(&rest[..count]);
                rest = &rest[count..];
                Ok(count)
            })
        });
        if let (Ok(done), false) = (&result, keep) {
            source.consume(*done);
        }
        self.changed(source, before.0);
        to.changed(target, before.1);
        result
    }

    /// Whether anybody reads.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.has_readers()
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;

    /// A pipe with these bytes, both of whose ends count as open.
    fn pipe(bytes: &[u8]) -> Arc<Pipe> {
        let pipe = Pipe::new();
        let mut rest = bytes;
        pipe.fill(bytes.len(), |space| {
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            Ok(count)
        })
        .unwrap();
        pipe
    }

    fn drained(pipe: &Pipe) -> Vec<u8> {
        let mut all = Vec::new();
        pipe.drain(usize::MAX, |piece| {
            all.extend_from_slice(piece);
            Ok(piece.len())
        })
        .unwrap();
        all
    }

    #[test]
    fn a_ring_takes_what_it_has_room_for_also_around_its_end() {
        let pipe = pipe(&vec![1; 65536]);
        assert_eq!(pipe.fill(10, |_| unreachable!()), Ok(0));
        assert_eq!(pipe.drain(5000, |piece| Ok(piece.len())), Ok(5000));
        assert_eq!(
            pipe.fill(9000, |space| {
                space.fill(2);
                Ok(space.len())
            }),
            Ok(5000)
        );
        let all = drained(&pipe);
        assert_eq!((all.len(), all[60535], all[60536]), (65536, 1, 2));
    }

    #[test]
    fn what_is_kept_is_in_both() {
        let (from, to) = (pipe(b"12345"), pipe(b"x"));
        assert_eq!(from.pour(&to, 3, true), Ok(3));
        assert_eq!(from.pour(&to, 9, false), Ok(5));
        assert_eq!(drained(&to), b"x12312345");
        assert_eq!(drained(&from), b"");
    }

    #[test]
    fn an_error_after_some_bytes_is_kept_for_later() {
        let pipe = pipe(b"abc");
        let mut calls = 0;
        let taken = pipe.drain(3, |_| {
            calls += 1;
            if calls == 1 { Ok(1) } else { Err(Errno::EIO) }
        });
        assert_eq!((taken, calls), (Ok(1), 1));
        assert_eq!(pipe.drain(9, |_| Err(Errno::EIO)), Err(Errno::EIO));
        assert_eq!(drained(&pipe), b"bc");
    }
}
