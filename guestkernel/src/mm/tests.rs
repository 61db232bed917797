//! Address spaces against a plain model, and the loader against hostile files.

use super::{
    AddressSpace, Advice, Backing, Fault, MapFlags, MapRequest, Mappable, Prot, Remap, VmaFlags,
    exec::{Binary, Program, load},
    shmem::SharedMemory,
};
use crate::{
    errno::{Errno, Result},
    mem::{self, PAGE_SIZE},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc, vec, vec::Vec};

const BASE: u64 = 0x4000_0000;
const PAGES: u64 = 24;

fn page(index: u64) -> u64 {
    BASE + index * PAGE_SIZE
}

fn map(space: &AddressSpace, first: u64, count: u64, prot: Prot) -> Result<u64> {
    space.map(MapRequest {
        addr: page(first),
        len: count * PAGE_SIZE,
        prot,
        place: MapFlags::FIXED,
        flags: VmaFlags::empty(),
        backing: Backing::Anonymous,
        offset: 0,
    })
}

/// One page of the model: rights and first byte.
type Model = BTreeMap<u64, (Prot, u8)>;

#[derive(Clone, Debug)]
enum Step {
    Map(u64, u64, u32),
    Unmap(u64, u64),
    Protect(u64, u64, u32),
    Forget(u64, u64),
    Write(u64, u8),
    Move(u64, u64, u64),
    Fork,
    Swap,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = (0..PAGES, 1..6u64);
    prop::collection::vec(
        prop_oneof![
            (range.clone(), 0..8u32).prop_map(|((a, n), p)| Step::Map(a, n, p)),
            range.clone().prop_map(|(a, n)| Step::Unmap(a, n)),
            (range.clone(), 0..8u32).prop_map(|((a, n), p)| Step::Protect(a, n, p)),
            range.clone().prop_map(|(a, n)| Step::Forget(a, n)),
            (0..PAGES, any::<u8>()).prop_map(|(a, b)| Step::Write(a, b)),
            (0..PAGES, any::<u8>()).prop_map(|(a, b)| Step::Write(a, b)),
            (0..PAGES, 1..4u64, 0..PAGES).prop_map(|(a, n, to)| Step::Move(a, n, to)),
            Just(Step::Fork),
            Just(Step::Swap),
        ],
        1..60,
    )
}

fn apply(space: &AddressSpace, model: &mut Model, step: &Step) {
    let all = |from: u64, count: u64, model: &Model| (from..from + count).all(|at| model.contains_key(&at));
    match *step {
        Step::Map(first, count, prot) => {
            let prot = Prot::from_bits_truncate(prot);
            map(space, first, count, prot).unwrap();
            model.extend((first..first + count).map(|at| (at, (prot, 0))));
        }
        Step::Unmap(first, count) => {
            space.unmap(page(first), count * PAGE_SIZE).unwrap();
            model.retain(|at, _| !(first..first + count).contains(at));
        }
        Step::Protect(first, count, prot) => {
            let prot = Prot::from_bits_truncate(prot);
            let result = space.protect(page(first), count * PAGE_SIZE, prot, false);
            assert_eq!(result.is_ok(), all(first, count, model));
            // Up to the first hole.
            for at in first..first + count {
                let Some(entry) = model.get_mut(&at) else { break };
                entry.0 = prot;
            }
        }
        Step::Forget(first, count) => {
            let result = space.advise(page(first), count * PAGE_SIZE, Advice::Forget(false));
            assert_eq!(result.is_ok(), all(first, count, model));
            for at in first..first + count {
                if let Some(entry) = model.get_mut(&at) {
                    entry.1 = 0;
                }
            }
        }
        Step::Write(at, byte) => {
            let result = space.write_memory(page(at), &[byte]);
            match model.get_mut(&at) {
                Some((prot, value)) if prot.contains(Prot::WRITE) => {
                    result.unwrap();
                    *value = byte;
                }
                other => assert_eq!(result, Err(Fault::Segv { mapped: other.is_some() })),
            }
        }
        Step::Move(from, count, to) => {
            let apart = to + count <= from || from + count <= to;
            // One area at the source, as mremap wants it.
            let one = space.areas().iter().any(|a| a.start <= page(from) && page(from + count) <= a.end);
            let result = space.remap(Remap {
                start: page(from),
                old_len: count * PAGE_SIZE,
                new_len: count * PAGE_SIZE,
                target: Some(page(to)),
                keep: false,
            });
            assert_eq!(result.is_ok(), apart && one);
            // What was there goes before the source is looked at closely.
            if apart && model.contains_key(&from) {
                model.retain(|at, _| !(to..to + count).contains(at));
            }
            if result.is_ok() {
                let moved: Vec<_> =
                    (0..count).map(|i| (to + i, model.remove(&(from + i)).unwrap())).collect();
                model.extend(moved);
            }
        }
        Step::Fork | Step::Swap => {}
    }
}

fn check(space: &AddressSpace, model: &Model) {
    for at in 0..PAGES + 8 {
        let mut byte = [0xaa];
        let got = space.read_memory(page(at), &mut byte);
        match model.get(&at) {
            Some((prot, value)) if !prot.is_empty() => assert_eq!((got, byte[0]), (1, *value), "page {at}"),
            _ => assert_eq!(got, 0, "page {at}"),
        }
    }
    let pages: u64 = space.areas().iter().map(|area| (area.end - area.start) / PAGE_SIZE).sum();
    assert_eq!(pages, model.len() as u64);
    assert_eq!(space.usage().0, pages);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn spaces_behave_like_the_model(steps in steps()) {
        mem::init_for_tests();
        let mut spaces = vec![(AddressSpace::new().unwrap(), Model::new())];
        for step in &steps {
            match step {
                Step::Fork if spaces.len() < 3 => {
                    let (space, model) = &spaces[0];
                    let copy = (space.fork().unwrap(), model.clone());
                    spaces.push(copy);
                }
                Step::Swap => spaces.rotate_left(1),
                step => {
                    let (space, model) = &mut spaces[0];
                    apply(space, model, step);
                }
            }
        }
        for (space, model) in &spaces {
            check(space, model);
        }
    }

    #[test]
    fn hostile_files_are_refused_or_loaded(
        damage in prop::collection::vec((0usize..256, any::<u8>()), 0..12),
        cut in prop::option::of(0usize..8192),
    ) {
        mem::init_for_tests();
        let mut file = good_elf();
        for (at, byte) in damage {
            file[at] = byte;
        }
        file.truncate(cut.unwrap_or(file.len()));
        let _ = load_file(file);
    }
}

#[test]
fn memory_comes_back() {
    mem::init_for_tests();
    let space = AddressSpace::new().unwrap();
    map(&space, 0, 16, Prot::READ | Prot::WRITE).unwrap();
    space.write_memory(page(0), &vec![1; 16 * PAGE_SIZE as usize]).unwrap();
    assert_eq!(space.usage().1, 16);
    let child = space.fork().unwrap();
    child.write_memory(page(3), &[2]).unwrap();
    let mut byte = [0];
    space.read_memory(page(3), &mut byte);
    assert_eq!(byte, [1]);
    space.unmap(page(0), 16 * PAGE_SIZE).unwrap();
    assert_eq!(space.usage(), (0, 0, 16));
    child.read_memory(page(15), &mut byte);
    assert_eq!(byte, [1]);
}

#[test]
fn shared_memory_is_shared() {
    mem::init_for_tests();
    let space = AddressSpace::new().unwrap();
    let request = MapRequest {
        addr: 0,
        len: 4 * PAGE_SIZE,
        prot: Prot::READ | Prot::WRITE,
        place: MapFlags::empty(),
        flags: VmaFlags::SHARED,
        backing: Backing::Object(SharedMemory::new(2)),
        offset: 0,
    };
    let at = space.map(request).unwrap();
    let child = space.fork().unwrap();
    child.write_memory(at + PAGE_SIZE, b"x").unwrap();
    let mut byte = [0];
    assert_eq!(space.read_memory(at + PAGE_SIZE, &mut byte), 1);
    assert_eq!(byte, *b"x");
    // Beyond the object's end there is SIGBUS.
    assert_eq!(space.write_memory(at + 2 * PAGE_SIZE, b"x"), Err(Fault::Bus));
}

#[test]
fn stacks_grow_within_their_limit() {
    mem::init_for_tests();
    let space = AddressSpace::new().unwrap();
    space.limits.stack.store(64 * PAGE_SIZE, core::sync::atomic::Ordering::Relaxed);
    let top = BASE + (1 << 30);
    let request = MapRequest {
        addr: top - 2 * PAGE_SIZE,
        len: 2 * PAGE_SIZE,
        prot: Prot::READ | Prot::WRITE,
        place: MapFlags::FIXED,
        flags: VmaFlags::GROWSDOWN,
        backing: Backing::Anonymous,
        offset: 0,
    };
    space.map(request).unwrap();
    space.write_memory(top - 60 * PAGE_SIZE, &[1]).unwrap();
    assert_eq!(space.areas()[0].start, top - 60 * PAGE_SIZE);
    assert!(space.write_memory(top - 65 * PAGE_SIZE, &[1]).is_err());
}

#[test]
fn brk_moves_and_refuses() {
    mem::init_for_tests();
    let space = AddressSpace::new().unwrap();
    space.set_marks(|marks| (marks.start_brk, marks.brk) = (BASE, BASE));
    assert_eq!(space.brk(BASE + 5000), BASE + 5000);
    space.write_memory(BASE + 4999, &[9]).unwrap();
    assert_eq!(space.brk(BASE - 1), BASE + 5000);
    map(&space, 8, 1, Prot::READ).unwrap();
    assert_eq!(space.brk(page(8)), BASE + 5000);
    assert_eq!(space.brk(BASE + 1), BASE + 1);
    assert!(space.write_memory(BASE + 4999, &[9]).is_err());
}

/// A file in memory.
pub(super) struct Bytes(pub(super) Arc<Vec<u8>>);

struct Pages(Arc<Vec<u8>>);

impl Mappable for Pages {
    fn page(&self, index: u64, _write: bool) -> Result<super::PageSource> {
        let start = usize::try_from(index).ok().and_then(|i| i.checked_mul(4096)).ok_or(Errno::ENXIO)?;
        let bytes = self.0.get(start..).filter(|bytes| !bytes.is_empty()).ok_or(Errno::ENXIO)?;
        let frame = mem::frame::alloc_zeroed().ok_or(Errno::ENOMEM)?;
        crate::arch::write_phys(frame.addr(), &bytes[..bytes.len().min(4096)]);
        Ok(super::PageSource::Frame(frame))
    }
}

impl Binary for Bytes {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn object(&self) -> Result<Arc<dyn Mappable>> {
        Ok(Arc::new(Pages(self.0.clone())))
    }
}

/// A program of one text and one data segment.
pub(super) fn good_elf() -> Vec<u8> {
    let mut file = vec![0; 8192];
    file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &2u16.to_le_bytes());
    put(18, &62u16.to_le_bytes());
    put(24, &0x40_0100u64.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &2u16.to_le_bytes());
    let mut header = |index: usize, flags: u32, offset: u64, vaddr: u64, file_len: u64, memory_len: u64| {
        let at = 64 + index * 56;
        put(at, &1u32.to_le_bytes());
        put(at + 4, &flags.to_le_bytes());
        for (field, value) in
            [(8, offset), (16, vaddr), (24, vaddr), (32, file_len), (40, memory_len), (48, 4096)]
        {
            put(at + field, &value.to_le_bytes());
        }
    };
    header(0, 5, 0, 0x40_0000, 4096, 4096);
    header(1, 6, 4096, 0x40_1000, 100, 5000);
    file[4096 + 99] = 7;
    file[4096 + 100..].fill(0xee);
    file
}

fn load_file(bytes: Vec<u8>) -> Result<super::exec::Image> {
    let program = Program {
        argv: &[b"prog".to_vec(), b"arg".to_vec()],
        envp: &[b"A=b".to_vec()],
        path: b"/bin/prog",
        ids: [0; 4],
        secure: false,
        random: [7; 48],
        randomise: true,
        stack_limit: 8 << 20,
    };
    load(&Bytes(Arc::new(bytes)), &program, |_| Err::<Bytes, _>(Errno::ENOENT))
}

#[test]
fn a_program_is_laid_out_as_the_abi_says() {
    mem::init_for_tests();
    let image = load_file(good_elf()).unwrap();
    assert_eq!((image.entry, image.stack % 16), (0x40_0100, 0));
    let word = |at: u64| {
        let mut bytes = [0; 8];
        assert_eq!(image.mm.read_memory(at, &mut bytes), 8);
        u64::from_le_bytes(bytes)
    };
    let text = |at: u64| {
        let mut bytes = [0; 16];
        let got = image.mm.read_memory(at, &mut bytes);
        bytes[..got].split(|&b| b == 0).next().unwrap_or_default().to_vec()
    };
    assert_eq!(word(image.stack), 2);
    assert_eq!(text(word(image.stack + 8)), b"prog");
    assert_eq!(text(word(image.stack + 16)), b"arg");
    assert_eq!(word(image.stack + 24), 0);
    assert_eq!(text(word(image.stack + 32)), b"A=b");
    assert_eq!(word(image.stack + 40), 0);
    let mut auxv = BTreeMap::new();
    for index in 0.. {
        let at = image.stack + 48 + index * 16;
        auxv.insert(word(at), word(at + 8));
        if word(at) == 0 {
            break;
        }
    }
    assert_eq!((auxv[&3], auxv[&5], auxv[&9]), (0x40_0040, 2, 0x40_0100));
    assert_eq!(text(auxv[&31]), b"/bin/prog");
    assert_eq!(text(auxv[&15]), b"x86_64");
    // The zero-initialised part starts within the file's last page.
    let mut byte = [0xff; 2];
    image.mm.read_memory(0x40_1063, &mut byte);
    assert_eq!(byte, [7, 0]);
    assert!(image.mm.write_memory(0x40_0000, &[0]).is_err());
}

#[test]
fn files_that_are_no_programs_are_refused() {
    mem::init_for_tests();
    let change = |at: usize, byte: u8| {
        let mut file = good_elf();
        file[at] = byte;
        load_file(file).err()
    };
    assert_eq!(load_file(Vec::new()).err(), Some(Errno::ENOEXEC));
    assert_eq!(change(0, 0), Some(Errno::ENOEXEC));
    assert_eq!(change(4, 1), Some(Errno::ENOEXEC));
    assert_eq!(change(18, 40), Some(Errno::ENOEXEC));
    assert_eq!(change(54, 55), Some(Errno::ENOEXEC));
    assert_eq!(change(56, 0), Some(Errno::ENOEXEC));
    // More in the file than in memory.
    assert_eq!(change(64 + 37, 1), Some(Errno::EINVAL));
    let mut cut = good_elf();
    cut.truncate(100);
    assert_eq!(load_file(cut).err(), Some(Errno::ENOEXEC));
}

#[test]
fn shrinking_takes_pages_out_everywhere() {
    mem::init_for_tests();
    let object = SharedMemory::new(4);
    let map = |space: &AddressSpace, flags| {
        let request = MapRequest {
            addr: 0,
            len: 4 * PAGE_SIZE,
            prot: Prot::READ | Prot::WRITE,
            place: MapFlags::empty(),
            flags,
            backing: Backing::Object(object.clone()),
            offset: 0,
        };
        space.map(request).unwrap()
    };
    let space = AddressSpace::new().unwrap();
    let (shared, private) = (map(&space, VmaFlags::SHARED), map(&space, VmaFlags::empty()));
    space.write_memory(shared, &[1; 4 * PAGE_SIZE as usize]).unwrap();
    space.write_memory(private + PAGE_SIZE, &[2]).unwrap();
    let mut bytes = [0; 4 * PAGE_SIZE as usize];
    assert_eq!(space.read_memory(private, &mut bytes), bytes.len());
    let child = space.fork().unwrap();
    // A hole leaves private copies alone.
    object.remove(PAGE_SIZE, 2 * PAGE_SIZE).unwrap();
    for space in [&space, &child] {
        let firsts = |start: u64| {
            [0, 1, 2, 3].map(|page| {
                let mut byte = [9];
                space.read_memory(start + page * PAGE_SIZE, &mut byte);
                byte[0]
            })
        };
        assert_eq!(firsts(shared), [1, 0, 0, 1]);
        assert_eq!(firsts(private), [1, 2, 0, 1]);
    }
    assert_eq!(space.sizes().shared, 8);
}
