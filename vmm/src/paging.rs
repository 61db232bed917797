//! The first page tables of a guest: the sentry's image and a direct map, in 4-level format.

use vm_memory::VolatileMemory;

use crate::{error::Error, memory::Memory};

const PAGE: u64 = hostcall::PAGE_SIZE as u64;
/// Entries of a table.
const TABLE: u64 = 512;
const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Page sizes by level: a table entry of level 0 maps 4 KiB, of level 1 2 MiB, of level 2 1 GiB.
const SIZES: [u64; 3] = [1 << 12, 1 << 21, 1 << 30];

/// Rights of a mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    Read,
    ReadWrite,
    ReadExecute,
}

impl Access {
    fn bits(self) -> u64 {
        let base = PRESENT | ACCESSED | DIRTY | GLOBAL;
        match self {
            Self::Read => base | NO_EXECUTE,
            Self::ReadWrite => base | WRITE | NO_EXECUTE,
            Self::ReadExecute => base,
        }
    }
}

/// Builds tables in guest memory; table pages are taken from `next` upwards.
#[derive(Debug)]
pub(crate) struct Tables<'a> {
    memory: &'a Memory,
    root: u64,
    next: u64,
}

impl<'a> Tables<'a> {
    /// Starts with an empty root table at `start`.
    pub(crate) fn new(memory: &'a Memory, start: u64) -> Self {
        Self { memory, root: start, next: start + PAGE }
    }

    /// Guest-physical address of the root table.
    pub(crate) fn root(&self) -> u64 {
        self.root
    }

    /// The first address after the tables.
    pub(crate) fn end(&self) -> u64 {
        self.next
    }

    /// Maps `len` bytes with pages of level `level`. Fresh guest memory reads as zero, so tables need no
    /// clearing.
    pub(crate) fn map(
        &mut self,
        virt: u64,
        phys: u64,
        len: u64,
        level: usize,
        access: Access,
    ) -> Result<(), Error> {
        let size = SIZES[level];
        let large = if level > 0 { LARGE } else { 0 };
        let mut done = 0;
        while done < len {
            let from = virt.wrapping_add(done);
            let table = self.table(from, level)?;
            let first = slot(from, level);
            // As many as this table has room for.
            let count = (len - done).div_ceil(size).min(TABLE - first);
            let entries = self.memory.slice(table + first * 8, count * 8).map_err(|_| too_small())?;
            for index in 0..count {
                let entry = (phys + done + index * size) | large | access.bits();
                let at = usize::try_from(index * 8).map_err(|_| too_small())?;
                entries.get_ref(at).map_err(|_| too_small())?.store(entry);
            }
            done += count * size;
        }
        Ok(())
    }

    /// The table of `level` on the way to `virt`, made if it is not there.
    fn table(&mut self, virt: u64, level: usize) -> Result<u64, Error> {
        let mut table = self.root;
        for upper in (level + 1..4).rev() {
            let at = table + slot(virt, upper) * 8;
            let entry = self.get(at)?;
            table = if entry & PRESENT == 0 {
                let new = self.next;
                self.next += PAGE;
                self.put(at, new | PRESENT | WRITE | ACCESSED)?;
                new
            } else {
                entry & ADDRESS
            };
        }
        Ok(table)
    }

    fn get(&self, at: u64) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        self.memory.read(at, &mut bytes).map_err(|_| too_small())?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn put(&self, at: u64, entry: u64) -> Result<(), Error> {
        self.memory.write(at, &entry.to_le_bytes()).map_err(|_| too_small())
    }
}

fn slot(virt: u64, level: usize) -> u64 {
    (virt >> (12 + 9 * level)) % TABLE
}

fn too_small() -> Error {
    Error::Config("guest memory is too small for its page tables".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(memory: &Memory, root: u64, virt: u64) -> Option<(u64, u64)> {
        let mut table = root;
        for level in (0..4).rev() {
            let mut bytes = [0; 8];
            memory.read(table + slot(virt, level) * 8, &mut bytes).unwrap();
            let entry = u64::from_le_bytes(bytes);
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 0 || entry & LARGE != 0 {
                let mask = SIZES[level] - 1;
                return Some(((entry & ADDRESS & !mask) | (virt & mask), entry));
            }
            table = entry & ADDRESS;
        }
        None
    }

    #[test]
    fn maps_pages_of_all_sizes() {
        let memory = Memory::new(4 << 20, 1 << 30).unwrap();
        let mut tables = Tables::new(&memory, 0x10_0000);
        tables.map(0xffff_8880_0000_0000, 0, 3 << 30, 2, Access::ReadWrite).unwrap();
        tables.map(0xffff_8980_0000_0000, 0, 4 << 20, 1, Access::ReadWrite).unwrap();
        tables.map(0xffff_ffff_8020_0000, 0x5000, 0x3000, 0, Access::ReadExecute).unwrap();
        let root = tables.root();
        let (phys, entry) = walk(&memory, root, 0xffff_8880_8000_1234).unwrap();
        assert_eq!((phys, entry & NO_EXECUTE != 0), (0x8000_1234, true));
        assert_eq!(walk(&memory, root, 0xffff_8980_0020_0001).unwrap().0, 0x20_0001);
        let (phys, entry) = walk(&memory, root, 0xffff_ffff_8020_2010).unwrap();
        assert_eq!((phys, entry & (WRITE | NO_EXECUTE)), (0x7010, 0));
        assert!(walk(&memory, root, 0xffff_ffff_8020_3000).is_none());
        assert_eq!(tables.end(), 0x10_0000 + 7 * PAGE);
    }
}
