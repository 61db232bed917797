//! Building the address space of a new program: the ELF loader and the first stack.
//!
//! The new space is made aside and replaces the old one only when it is complete, so a bad file costs the
//! caller an errno and nothing else (Linux kills a process whose file turns out bad half-way). Every field of
//! the file is hostile.
//!
//! Sources: the System V ABI for x86-64 (process initialisation), `execve(2)`, `getauxval(3)`.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use super::{
    map::{MapFlags, MapRequest},
    page_down, page_up,
    space::{AddressSpace, Marks},
    vdso,
    vma::{Backing, Mappable, Prot, VmaFlags},
};
use crate::{
    arch::{self, USER_END},
    errno::{Errno, Result},
    mem::PAGE_SIZE,
    task::rseq,
};

/// Most program headers: what fits 64 KiB, as Linux.
const MAX_HEADERS: usize = 65536 / HEADER_LEN;
const HEADER_LEN: usize = 56;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;
/// Entries of the auxiliary vector whose values are addresses in the strings.
const AT_PLATFORM: u64 = 15;
const AT_RANDOM: u64 = 25;
const AT_EXECFN: u64 = 31;
/// Most that the stack's place differs from run to run.
const STACK_RANDOM_PAGES: u64 = (1 << 22) - 1;
/// Distance that a growing stack keeps from what is below.
const STACK_GUARD: u64 = 1 << 20;
/// Where position-independent programs go before randomisation: two thirds of user space.
const DYN_BASE: u64 = USER_END / 3 * 2;
/// Room below the arguments that the first stack area has from the start.
const STACK_ROOM: u64 = 128 << 10;

/// A file that holds a program.
pub trait Binary {
    /// Reads exactly `bytes.len()` bytes at `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// `EIO` and the like.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<usize>;

    /// Its pages.
    ///
    /// # Errors
    /// `ENODEV` when it cannot be mapped.
    fn object(&self) -> Result<Arc<dyn Mappable>>;
}

/// What a program is started with.
#[derive(Debug)]
pub struct Program<'a> {
    /// Arguments.
    pub argv: &'a [Vec<u8>],
    /// Environment.
    pub envp: &'a [Vec<u8>],
    /// The path that was executed (`AT_EXECFN`).
    pub path: &'a [u8],
    /// Real and effective user and group.
    pub ids: [u32; 4],
    /// Privileges were gained (`AT_SECURE`).
    pub secure: bool,
    /// Random bytes: 16 for `AT_RANDOM`, the rest for the layout.
    pub random: [u8; 48],
    /// Place areas at random.
    pub randomise: bool,
    /// `RLIMIT_STACK`, bytes.
    pub stack_limit: u64,
}

/// A program ready to run.
#[derive(Debug)]
pub struct Image {
    /// Its address space.
    pub mm: Arc<AddressSpace>,
    /// First instruction.
    pub entry: u64,
    /// First stack pointer.
    pub stack: u64,
}

/// A parsed ELF file.
struct Elf {
    kind: u16,
    entry: u64,
    headers_at: u64,
    headers: Vec<Header>,
}

/// One program header.
#[derive(Clone, Copy)]
struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    file_len: u64,
    memory_len: u64,
}

/// What loading one file gave.
struct Loaded {
    bias: u64,
    entry: u64,
    headers: u64,
    code: (u64, u64),
    data: (u64, u64),
    end: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

impl Elf {
    fn parse(file: &dyn Binary) -> Result<Self> {
        let mut head = [0; 64];
        let got = file.read_at(0, &mut head)?;
        // 64-bit, little endian, for x86-64.
        if got < head.len() || head[..6] != *b"\x7fELF\x02\x01" || u16_at(&head, 18) != 62 {
            return Err(Errno::ENOEXEC);
        }
        let kind = u16_at(&head, 16);
        let count = usize::from(u16_at(&head, 56));
        let table = u64_at(&head, 32);
        if !matches!(kind, ET_EXEC | ET_DYN)
            || usize::from(u16_at(&head, 54)) != HEADER_LEN
            || count == 0
            || count > MAX_HEADERS
        {
            return Err(Errno::ENOEXEC);
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(count * HEADER_LEN).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(count * HEADER_LEN, 0);
        if file.read_at(table, &mut bytes)? < bytes.len() {
            return Err(Errno::ENOEXEC);
        }
        let headers = bytes
            .chunks_exact(HEADER_LEN)
            .map(|b| Header {
                kind: u32_at(b, 0),
                flags: u32_at(b, 4),
                offset: u64_at(b, 8),
                vaddr: u64_at(b, 16),
                file_len: u64_at(b, 32),
                memory_len: u64_at(b, 40),
            })
            .collect();
        Ok(Self { kind, entry: u64_at(&head, 24), headers_at: table, headers })
    }

    fn segments(&self) -> impl Iterator<Item = &Header> {
        self.headers.iter().filter(|header| header.kind == PT_LOAD)
    }

    /// The lowest and the highest address of the segments, page aligned, as linked.
    fn extent(&self) -> Result<(u64, u64)> {
        let mut extent: Option<(u64, u64)> = None;
        for header in self.segments() {
            let end = header.vaddr.checked_add(header.memory_len).and_then(page_up);
            let end = end.filter(|&end| end <= USER_END).ok_or(Errno::EINVAL)?;
            if header.file_len > header.memory_len
                || header.vaddr % PAGE_SIZE != header.offset % PAGE_SIZE
                || header.offset.checked_add(header.file_len).is_none()
            {
                return Err(Errno::EINVAL);
            }
            let start = page_down(header.vaddr);
            extent = Some(extent.map_or((start, end), |(low, high)| (low.min(start), high.max(end))));
        }
        extent.filter(|(low, high)| low < high).ok_or(Errno::ENOEXEC)
    }

    /// The path of the dynamic linker.
    fn interpreter(&self, file: &dyn Binary) -> Result<Option<Vec<u8>>> {
        let Some(header) = self.headers.iter().find(|header| header.kind == PT_INTERP) else {
            return Ok(None);
        };
        if header.file_len < 2 || header.file_len > PAGE_SIZE {
            return Err(Errno::ENOEXEC);
        }
        let mut path = alloc::vec![0; header.file_len as usize];
        if file.read_at(header.offset, &mut path)? < path.len() {
            return Err(Errno::EIO);
        }
        if path.pop() != Some(0) {
            return Err(Errno::ENOEXEC);
        }
        let len = path.iter().position(|&byte| byte == 0).unwrap_or(path.len());
        path.truncate(len);
        Ok(Some(path))
    }
}

/// A number below 2^`bits` out of the layout's random bytes.
fn random_bits(program: &Program<'_>, word: usize, bits: u32) -> u64 {
    if program.randomise { u64_at(&program.random, 16 + word * 8) & ((1 << bits) - 1) } else { 0 }
}

/// Loads a program. `open` opens its dynamic linker, if it names one.
///
/// # Errors
/// `ENOEXEC` (not a program for this machine), `EINVAL`, `ENOMEM`, `E2BIG`, `ELIBBAD` (bad dynamic linker), and
/// what reading and opening give.
pub fn load<B: Binary>(
    file: &dyn Binary,
    program: &Program<'_>,
    open: impl FnOnce(&[u8]) -> Result<B>,
) -> Result<Image> {
    let elf = Elf::parse(file)?;
    let (low, high) = elf.extent()?;
    let linker = match elf.interpreter(file)? {
        Some(path) => {
            let file = open(&path)?;
            let mut head = [0; 64];
            if file.read_at(0, &mut head)? < head.len() {
                return Err(Errno::EIO);
            }
            let elf = Elf::parse(&file).map_err(|_| Errno::ELIBBAD)?;
            Some((file, elf))
        }
        None => None,
    };

    let mm = AddressSpace::new()?;
    mm.limits.stack.store(program.stack_limit, Ordering::Relaxed);
    let stack_top = USER_END - random_bits(program, 0, 22) * PAGE_SIZE;
    let shift = if program.randomise { STACK_RANDOM_PAGES * PAGE_SIZE } else { 0 };
    let gap = program.stack_limit.saturating_add(shift + STACK_GUARD).clamp(128 << 20, USER_END / 6 * 5);
    let mmap_base = page_down(USER_END - gap - random_bits(program, 1, 28) * PAGE_SIZE);
    mm.inner.lock().mmap_base = mmap_base;

    let bias = match elf.kind {
        // What is no dynamic linker's program may be one itself, and leaves the programs' place to others.
        ET_DYN if linker.is_none() => free_place(&mm, high - low)?.wrapping_sub(low),
        ET_DYN => page_down(DYN_BASE + random_bits(program, 2, 28) * PAGE_SIZE).wrapping_sub(low),
        _ => 0,
    };
    let main = load_segments(&mm, file, &elf, bias)?;
    let (entry, base) = match &linker {
        Some((file, elf)) => {
            let (low, high) = elf.extent().map_err(|_| Errno::ELIBBAD)?;
            let bias = if elf.kind == ET_DYN { free_place(&mm, high - low)?.wrapping_sub(low) } else { 0 };
            let loaded = load_segments(&mm, file, elf, bias)?;
            (loaded.entry, bias)
        }
        None => (main.entry, 0),
    };

    let vdso = vdso::map(&mm)?;
    let heap = if elf.kind == ET_DYN && linker.is_none() { page_down(DYN_BASE) } else { main.end };
    let brk = heap + random_bits(program, 3, 13) * PAGE_SIZE;
    let executable_stack =
        elf.headers.iter().any(|header| header.kind == PT_GNU_STACK && header.flags & 1 != 0);
    let auxv = [
        (33, vdso),
        // The signal frame: the XSAVE area and what is around it.
        (51, arch::fpu::size() as u64 + 1024),
        (16, u64::from(arch::cpu::features_edx())),
        (6, PAGE_SIZE),
        (17, 100),
        (3, main.headers),
        (4, HEADER_LEN as u64),
        (5, elf.headers.len() as u64),
        (7, base),
        (8, 0),
        (9, main.entry),
        (11, u64::from(program.ids[0])),
        (12, u64::from(program.ids[1])),
        (13, u64::from(program.ids[2])),
        (14, u64::from(program.ids[3])),
        (23, u64::from(program.secure)),
        (AT_RANDOM, 0),
        // Ring 3 may use RDFSBASE and its like.
        (26, u64::from(arch::cpu::has_fsgsbase()) << 1),
        (AT_EXECFN, 0),
        (AT_PLATFORM, 0),
        (27, rseq::FEATURE_SIZE),
        (28, rseq::ALIGN),
    ];
    let (stack, mut marks) = build_stack(&mm, program, stack_top, executable_stack, &auxv)?;
    marks.start_code = main.code.0;
    marks.end_code = main.code.1;
    marks.start_data = main.data.0;
    marks.end_data = main.data.1;
    marks.start_brk = brk;
    marks.brk = brk;
    mm.set_marks(|all| *all = marks);
    Ok(Image { mm, entry, stack })
}

/// Where a range that goes anywhere goes.
pub(super) fn free_place(mm: &AddressSpace, len: u64) -> Result<u64> {
    let inner = mm.inner.lock();
    inner.find_gap(len, inner.mmap_base).ok_or(Errno::ENOMEM)
}

/// Maps the segments of one file, moved by `bias`.
fn load_segments(mm: &AddressSpace, file: &dyn Binary, elf: &Elf, bias: u64) -> Result<Loaded> {
    let object = file.object()?;
    let mut loaded = Loaded {
        bias,
        entry: elf.entry.wrapping_add(bias),
        headers: 0,
        code: (u64::MAX, 0),
        data: (0, 0),
        end: 0,
    };
    for header in elf.segments().filter(|header| header.memory_len != 0) {
        let start = header.vaddr.wrapping_add(bias);
        let file_end = start.checked_add(header.file_len).ok_or(Errno::EINVAL)?;
        let end = start.checked_add(header.memory_len).filter(|&end| end <= USER_END).ok_or(Errno::EINVAL)?;
        let mut prot = Prot::empty();
        prot.set(Prot::READ, header.flags & 4 != 0);
        prot.set(Prot::WRITE, header.flags & 2 != 0);
        prot.set(Prot::EXEC, header.flags & 1 != 0);
        let map = |addr: u64, end: u64, backing: Backing, offset: u64| {
            mm.map(MapRequest {
                addr,
                len: end - addr,
                prot,
                place: MapFlags::FIXED,
                flags: VmaFlags::empty(),
                backing,
                offset,
            })
        };
        let mut anonymous_from = page_down(start);
        if header.file_len != 0 {
            let page_end = page_up(file_end).ok_or(Errno::EINVAL)?;
            map(page_down(start), page_end, Backing::Object(object.clone()), page_down(header.offset))?;
            anonymous_from = page_end;
            if header.memory_len > header.file_len && prot.contains(Prot::WRITE) {
                // The rest of the last page belongs to the zero-initialised part. A file that ends before
                // that page is left to fault at its first use.
                let zeroes = [0; PAGE_SIZE as usize];
                let _ = mm.write_memory(file_end, &zeroes[..(page_end - file_end) as usize]);
            }
        }
        let memory_end = page_up(end).ok_or(Errno::EINVAL)?;
        if memory_end > anonymous_from {
            map(anonymous_from, memory_end, Backing::Anonymous, 0)?;
        }
        if (header.offset..header.offset + header.file_len).contains(&elf.headers_at) {
            loaded.headers = start + (elf.headers_at - header.offset);
        }
        if prot.contains(Prot::EXEC) {
            loaded.code = (loaded.code.0.min(start), loaded.code.1.max(file_end));
        } else if prot.contains(Prot::WRITE) {
            loaded.data = (start, file_end);
        }
        loaded.end = loaded.end.max(memory_end);
    }
    let _ = loaded.bias;
    Ok(loaded)
}

/// Adds a string with its terminator; gives its offset.
fn push_string(to: &mut Vec<u8>, string: &[u8]) -> Result<u64> {
    to.try_reserve(string.len() + 1).map_err(|_| Errno::ENOMEM)?;
    let at = to.len() as u64;
    to.extend_from_slice(string);
    to.push(0);
    Ok(at)
}

/// Lays the first stack out below `top`: strings at its upper end, then the auxiliary vector, the environment,
/// the arguments and their count.
fn build_stack(
    mm: &AddressSpace,
    program: &Program<'_>,
    top: u64,
    executable: bool,
    auxv: &[(u64, u64)],
) -> Result<(u64, Marks)> {
    let mut strings = Vec::new();
    let mut pointers = Vec::new();
    pointers.try_reserve(program.argv.len() + program.envp.len()).map_err(|_| Errno::E2BIG)?;
    for string in program.argv {
        pointers.push(push_string(&mut strings, string)?);
    }
    let arg_len = strings.len() as u64;
    for string in program.envp {
        pointers.push(push_string(&mut strings, string)?);
    }
    let env_len = strings.len() as u64;
    let path_at = push_string(&mut strings, program.path)?;
    // As Linux, the very last word is zero.
    let strings_start = top - 8 - strings.len() as u64;
    let platform = strings_start - 16;
    let random = platform - 16;
    let random_down = random_bits(program, 0, 9) << 4;
    let words = 1 + pointers.len() + 2 + (auxv.len() + 1) * 2;
    let stack = (random - random_down - words as u64 * 8) & !15;
    let len = page_up(top - stack).and_then(|len| len.checked_add(STACK_ROOM)).ok_or(Errno::E2BIG)?;
    // The strings are what the stack's limit is for; there is always one page.
    if page_up(top - strings_start).is_none_or(|used| used > program.stack_limit.max(PAGE_SIZE)) {
        return Err(Errno::E2BIG);
    }
    let mut prot = Prot::READ | Prot::WRITE;
    prot.set(Prot::EXEC, executable);
    mm.map(MapRequest {
        addr: page_down(top) - len,
        len,
        prot,
        place: MapFlags::FIXED,
        flags: VmaFlags::GROWSDOWN,
        backing: Backing::Anonymous,
        offset: 0,
    })?;

    let mut image: Vec<u8> = Vec::new();
    image.try_reserve_exact((top - stack) as usize).map_err(|_| Errno::ENOMEM)?;
    let mut word = |value: u64| image.extend_from_slice(&value.to_le_bytes());
    word(program.argv.len() as u64);
    for (index, offset) in pointers.iter().enumerate() {
        if index == program.argv.len() {
            word(0);
        }
        word(strings_start + offset);
    }
    if program.envp.is_empty() {
        word(0);
    }
    word(0);
    for &(key, value) in auxv.iter().chain(&[(0, 0)]) {
        word(key);
        word(match key {
            AT_RANDOM => random,
            AT_EXECFN => strings_start + path_at,
            AT_PLATFORM => platform,
            _ => value,
        });
    }
    let auxv_len = (auxv.len() + 1) * 16;
    mm.inner.lock().auxv = Some(Arc::from(&image[image.len() - auxv_len..]));
    image.resize((random - stack) as usize, 0);
    image.extend_from_slice(&program.random[..16]);
    image.extend_from_slice(b"x86_64\0\0\0\0\0\0\0\0\0\0");
    image.extend_from_slice(&strings);
    mm.write_memory(stack, &image).map_err(|_| Errno::ENOMEM)?;
    let marks = Marks {
        start_stack: stack,
        arg_start: strings_start,
        arg_end: strings_start + arg_len,
        env_start: strings_start + arg_len,
        env_end: strings_start + env_len,
        ..Marks::default()
    };
    Ok((stack, marks))
}
