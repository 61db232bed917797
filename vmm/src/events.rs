//! Telling the sentry that something happened: the event page, its interrupt, and the command queue.
//!
//! The interrupt is raised only when the flags word was zero: while the sentry has not yet taken what is
//! there, more of it needs no second one.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hostcall::EventFlags;
use rustix::io::Errno;
use vm_memory::VolatileMemory;
use vmm_sys_util::eventfd::EventFd;

use crate::memory::Memory;

/// Most commands that wait at a time.
const MAX_COMMANDS: usize = 256;

/// The event page and the commands that it announces.
#[derive(Debug)]
pub(crate) struct Events {
    memory: Arc<Memory>,
    page: u64,
    interrupt: EventFd,
    commands: Mutex<VecDeque<Vec<u8>>>,
}

impl Events {
    /// Events through the page at `page`, announced by writing to `interrupt`.
    pub(crate) fn new(memory: Arc<Memory>, page: u64, interrupt: EventFd) -> Self {
        Self { memory, page, interrupt, commands: Mutex::default() }
    }

    /// Queues an encoded command.
    pub(crate) fn command(&self, command: Vec<u8>) -> Result<(), Errno> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if commands.len() >= MAX_COMMANDS {
            return Err(Errno::AGAIN);
        }
        commands.push_back(command);
        drop(commands);
        self.post(EventFlags::COMMAND, 0)
    }

    /// Marks a stream ready.
    pub(crate) fn stream(&self, stream: u32) -> Result<(), Errno> {
        self.post(EventFlags::STREAM, 1 << (stream & 63))
    }

    /// Says that there is something to do for the network.
    pub(crate) fn network(&self) -> Result<(), Errno> {
        self.post(EventFlags::NETWORK, 0)
    }

    /// Copies the first command to guest memory; its length, or 0.
    pub(crate) fn take_command(&self, gpa: u64, capacity: u64) -> Result<u64, Errno> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = commands.front() else { return Ok(0) };
        let len = first.len() as u64;
        if len > capacity {
            return Err(Errno::MSGSIZE);
        }
        self.memory.write(gpa, first)?;
        commands.pop_front();
        Ok(len)
    }

    fn post(&self, flag: EventFlags, streams: u64) -> Result<(), Errno> {
        let page = self.memory.slice(self.page, 16)?;
        let word = |at| page.get_atomic_ref::<AtomicU64>(at).map_err(|_| Errno::FAULT);
        word(8)?.fetch_or(streams, Ordering::Release);
        if word(0)?.fetch_or(flag.bits(), Ordering::AcqRel) == 0 {
            self.interrupt.write(1).map_err(|_| Errno::IO)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_interrupt_until_the_flags_are_taken() {
        let memory = Arc::new(Memory::new(1 << 20, 1 << 30).unwrap());
        let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let events = Events::new(memory.clone(), 0x2000, interrupt.try_clone().unwrap());
        events.stream(3).unwrap();
        events.command(vec![1, 2, 3]).unwrap();
        assert_eq!(interrupt.read().unwrap(), 1);
        let mut page = [0; 16];
        memory.read(0x2000, &mut page).unwrap();
        assert_eq!((page[0], page[8]), (3, 8));
        assert_eq!(events.take_command(0x3000, 2), Err(Errno::MSGSIZE));
        assert_eq!(events.take_command(0x3000, 3), Ok(3));
        assert_eq!(events.take_command(0x3000, 3), Ok(0));
    }
}
