//! The sentry's ELF image: checking it and putting it into guest memory.
//!
//! The image is linked for a fixed address and position independent. `build.rs` has embedded it stripped,
//! with each segment's `p_paddr` rewritten to its offset from the lowest segment, which is what linux-loader
//! places segments by. Code is not copied but mapped from this program's own file, so that all sandboxes share it.

use std::{fs::File, io::Cursor, os::unix::fs::FileExt};

use linux_loader::loader::{KernelLoader, elf::Elf};
use vm_memory::{GuestAddress, VolatileMemory, VolatileSlice};

use crate::{
    error::{Context, Error},
    memory::{self, Memory},
};

/// On a page boundary in memory, and so in the program's file.
#[repr(C, align(4096))]
struct Aligned<T: ?Sized>(T);

static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/sentry.elf")));

/// The embedded image.
pub(crate) static SENTRY: &[u8] = &ALIGNED.0;

/// This program's own file.
#[derive(Debug)]
pub(crate) struct Program {
    file: File,
    /// Where the image is in it.
    image: u64,
}

impl Program {
    /// Opens it, while `/proc` is there.
    pub(crate) fn open() -> Result<Self, Error> {
        let file = File::open("/proc/self/exe").system("open this program's file")?;
        let image = memory::offset_in_program(SENTRY.as_ptr() as u64)
            .ok_or_else(|| bad("not where the program's headers say"))?;
        let mut start = [0; 64];
        file.read_exact_at(&mut start, image).system("read this program's file")?;
        if SENTRY.get(..start.len()) != Some(&start[..]) || image % PAGE != 0 {
            return Err(bad("not where the program's headers say"));
        }
        Ok(Self { file, image })
    }
}

const PAGE: u64 = hostcall::PAGE_SIZE as u64;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const R_X86_64_RELATIVE: u64 = 8;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_RELAENT: u64 = 9;
const DT_NEEDED: u64 = 1;
const DT_JMPREL: u64 = 23;
const DT_RELR: u64 = 36;
const RELA_SIZE: u64 = 24;

/// Rights of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) write: bool,
    pub(crate) execute: bool,
}

/// A loadable segment; addresses as linked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) start: u64,
    pub(crate) memory_len: u64,
    file_start: u64,
    file_len: u64,
    pub(crate) rights: Rights,
}

impl Segment {
    /// Whether its contents are in the file although its length there is 0: `build.rs` says so of code.
    fn is_code(&self) -> bool {
        self.rights.execute && self.file_len == 0
    }
}

/// A checked image.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    bytes: &'a [u8],
    /// Entry point, as linked.
    pub(crate) entry: u64,
    /// Loadable segments in address order.
    pub(crate) segments: Vec<Segment>,
    /// Offset in the file and count of the relocations.
    relocations: (u64, u64),
}

fn bad(message: &str) -> Error {
    Error::Image(message.into())
}

fn u16_at(bytes: &[u8], at: u64) -> Option<u16> {
    let at = usize::try_from(at).ok()?;
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: u64) -> Option<u32> {
    let at = usize::try_from(at).ok()?;
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: u64) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

impl<'a> Image<'a> {
    /// Checks an image.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.get(..6) != Some(b"\x7fELF\x02\x01") || u16_at(bytes, 18) != Some(62) {
            return Err(bad("not a 64-bit x86 ELF file"));
        }
        let truncated = || bad("truncated");
        let entry = u64_at(bytes, 24).ok_or_else(truncated)?;
        let table = u64_at(bytes, 32).ok_or_else(truncated)?;
        let count = u16_at(bytes, 56).ok_or_else(truncated)?;
        let mut segments = Vec::new();
        let mut dynamic = None;
        for index in 0..u64::from(count) {
            let header = table.checked_add(index * 56).ok_or_else(truncated)?;
            let field =
                |at: u64| header.checked_add(at).and_then(|at| u64_at(bytes, at)).ok_or_else(truncated);
            let kind = u32_at(bytes, header).ok_or_else(truncated)?;
            let flags = u32_at(bytes, header + 4).ok_or_else(truncated)?;
            let segment = Segment {
                start: field(16)?,
                memory_len: field(40)?,
                file_start: field(8)?,
                file_len: field(32)?,
                rights: Rights { write: flags & 2 != 0, execute: flags & 1 != 0 },
            };
            match kind {
                PT_LOAD if segment.memory_len > 0 => segments.push(segment),
                PT_DYNAMIC => dynamic = Some(segment),
                _ => {}
            }
        }
        Self::check_segments(bytes, &mut segments, entry)?;
        let mut image = Self { bytes, entry, segments, relocations: (0, 0) };
        if let Some(dynamic) = dynamic {
            image.relocations = image.find_relocations(&dynamic)?;
        }
        Ok(image)
    }

    fn check_segments(bytes: &[u8], segments: &mut [Segment], entry: u64) -> Result<(), Error> {
        segments.sort_by_key(|segment| segment.start);
        for segment in &*segments {
            let in_file = if segment.is_code() { segment.memory_len } else { segment.file_len };
            let file_end = segment.file_start.checked_add(in_file);
            if segment.is_code() && (segment.start | segment.file_start) % PAGE != 0 {
                return Err(bad("code is not on a page boundary"));
            }
            if segment.file_len > segment.memory_len || file_end.is_none_or(|end| end > bytes.len() as u64) {
                return Err(bad("segment outside the file"));
            }
            if segment.start.checked_add(segment.memory_len + PAGE).is_none() {
                return Err(bad("segment outside the address space"));
            }
            if segment.rights.write && segment.rights.execute {
                return Err(bad("a segment is writable and executable"));
            }
        }
        for pair in segments.windows(2) {
            if (pair[0].start + pair[0].memory_len).next_multiple_of(PAGE) > pair[1].start / PAGE * PAGE {
                return Err(bad("segments share a page"));
            }
        }
        let inside = |s: &Segment| s.rights.execute && (s.start..s.start + s.memory_len).contains(&entry);
        if !segments.iter().any(inside) {
            return Err(bad("the entry point is not in an executable segment"));
        }
        Ok(())
    }

    fn find_relocations(&self, dynamic: &Segment) -> Result<(u64, u64), Error> {
        let (mut address, mut size) = (0, 0);
        for index in 0..dynamic.file_len / 16 {
            let at = dynamic.file_start + index * 16;
            let (Some(tag), Some(value)) = (u64_at(self.bytes, at), u64_at(self.bytes, at + 8)) else {
                return Err(bad("truncated dynamic section"));
            };
            match tag {
                0 => break,
                DT_RELA => address = value,
                DT_RELASZ => size = value,
                DT_RELAENT if value != RELA_SIZE => return Err(bad("odd relocation size")),
                DT_NEEDED | DT_JMPREL | DT_RELR => return Err(bad("needs a dynamic linker")),
                _ => {}
            }
        }
        if size == 0 {
            return Ok((0, 0));
        }
        let offset = self
            .segments
            .iter()
            .find(|s| address >= s.start && address - s.start <= s.file_len)
            .map(|s| s.file_start + (address - s.start))
            .ok_or_else(|| bad("relocations outside the file"))?;
        if offset.checked_add(size).is_none_or(|end| end > self.bytes.len() as u64) {
            return Err(bad("relocations outside the file"));
        }
        Ok((offset, size / RELA_SIZE))
    }

    /// Lowest address, rounded down to a page.
    pub(crate) fn start(&self) -> u64 {
        self.segments.first().map_or(0, |s| s.start / PAGE * PAGE)
    }

    /// Length in memory from [`start`](Self::start), whole pages.
    pub(crate) fn len(&self) -> u64 {
        self.segments.last().map_or(0, |s| (s.start + s.memory_len).next_multiple_of(PAGE) - self.start())
    }

    /// Puts the image to `phys` and relocates it by `slide` (wrapping). Its code is mapped from the program's file, if
    /// that is given and the image is the embedded one.
    pub(crate) fn load(
        &self,
        memory: &Memory,
        phys: u64,
        slide: u64,
        program: Option<&Program>,
    ) -> Result<(), Error> {
        let place = memory.slice(phys, self.len()).map_err(|_| bad("guest memory is too small for it"))?;
        Elf::load(memory.ram(), Some(GuestAddress(phys)), &mut Cursor::new(self.bytes), None)
            .map_err(|e| Error::Image(e.to_string()))?;
        for code in self.segments.iter().filter(|segment| segment.is_code()) {
            let start = phys + (code.start - self.start());
            match program {
                Some(program) => memory
                    .map_file(start, &program.file, program.image + code.file_start, code.memory_len)
                    .system("map the sentry's code")?,
                None => {
                    let at = code.file_start as usize;
                    let bytes = self.bytes.get(at..at + code.memory_len as usize);
                    let bytes = bytes.ok_or_else(|| bad("truncated code"))?;
                    memory.write(start, bytes).map_err(|_| bad("code outside memory"))?;
                }
            }
        }
        self.relocate(&place, slide)
    }

    /// Adds `slide` to the words that are addresses, in the image at `place`.
    fn relocate(&self, place: &VolatileSlice<'_>, slide: u64) -> Result<(), Error> {
        let start = usize::try_from(self.relocations.0).map_err(|_| bad("truncated relocation"))?;
        let table = self.bytes.get(start..).unwrap_or_default();
        let count = usize::try_from(self.relocations.1).map_err(|_| bad("truncated relocation"))?;
        let (entries, _) = table.as_chunks::<{ RELA_SIZE as usize }>();
        let entries = entries.get(..count).ok_or_else(|| bad("truncated relocation"))?;
        for entry in entries {
            let (words, _) = entry.as_chunks::<8>();
            let [address, info, addend] = [words[0], words[1], words[2]].map(u64::from_le_bytes);
            if info != R_X86_64_RELATIVE {
                return Err(bad("has relocations other than R_X86_64_RELATIVE"));
            }
            usize::try_from(address.wrapping_sub(self.start()))
                .ok()
                .and_then(|offset| place.get_ref::<u64>(offset).ok())
                .ok_or_else(|| bad("relocation outside the image"))?
                .store(addend.wrapping_add(slide));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junk_is_refused() {
        assert!(Image::parse(b"").is_err());
        assert!(Image::parse(&[0x7f; 64]).is_err());
        let mut header = vec![0; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[18] = 62;
        header[56] = 3;
        assert!(Image::parse(&header).is_err());
    }

    proptest::proptest! {
        #[test]
        fn damaged_images_never_panic(at in 0usize..4096, value: u8, cut in 0usize..8192) {
            let mut bytes = SENTRY.get(..cut.max(64)).unwrap_or(SENTRY).to_vec();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            let _ = Image::parse(&bytes);
        }
    }
}
