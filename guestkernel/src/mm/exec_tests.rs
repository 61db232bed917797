//! The loader against program headers made of the numbers that programs for attacking loaders are made of.

use super::{
    MMAP_MIN_ADDR,
    exec::{Program, load},
    tests::{Bytes, good_elf},
};
use crate::{arch::USER_END, errno::Errno, mem};
use proptest::prelude::*;
use std::{sync::Arc, vec, vec::Vec};

/// Most memory that a program's start may take whatever its file says: its stack, and pages that are cleared.
const MOST_PAGES: u64 = 256;

/// Sizes, offsets and addresses near the edges of things.
fn number() -> impl Strategy<Value = u64> {
    let edge = prop_oneof![
        Just(0u64),
        Just(64),
        Just(4096),
        Just(8192),
        Just(0x40_0000),
        Just(0x1_0000),
        Just(1 << 21),
        Just(1 << 31),
        Just(1 << 32),
        Just(0x5555_5555_4000),
        Just(USER_END),
        Just(1 << 47),
        Just(1 << 63),
        Just(u64::MAX - 4095),
        Just(u64::MAX),
    ];
    (edge, -4097i64..4097, any::<bool>())
        .prop_map(|(edge, by, exact)| if exact { edge } else { edge.wrapping_add_signed(by) })
}

/// `p_type`, `p_flags`, offset, address, sizes; whether the offset is made to fit the address.
type Header = (u32, u32, u64, u64, u64, u64, bool);

fn header() -> impl Strategy<Value = Header> {
    let kind = prop_oneof![
        8 => Just(1u32),
        1 => Just(2u32),
        2 => Just(3u32),
        1 => Just(6u32),
        1 => Just(0x6474_e551u32),
        1 => any::<u32>(),
    ];
    (kind, 0u32..8, number(), number(), number(), number(), any::<bool>())
}

fn file(kind: u16, entry: u64, headers: &[Header]) -> Vec<u8> {
    let mut file = good_elf();
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &kind.to_le_bytes());
    put(24, &entry.to_le_bytes());
    put(56, &(headers.len() as u16).to_le_bytes());
    for (index, &(kind, flags, mut offset, vaddr, file_len, memory_len, fits)) in headers.iter().enumerate() {
        if fits {
            offset = offset & !4095 | vaddr & 4095;
        }
        let at = 64 + index * 56;
        put(at, &kind.to_le_bytes());
        put(at + 4, &flags.to_le_bytes());
        for (field, value) in
            [(8, offset), (16, vaddr), (24, vaddr), (32, file_len), (40, memory_len), (48, 4096)]
        {
            put(at + field, &value.to_le_bytes());
        }
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn whatever_the_headers_say_areas_stay_in_user_space(
        kind in prop_oneof![Just(2u16), Just(3)],
        entry in number(),
        headers in prop::collection::vec(header(), 0..10),
        linker in prop::option::of(prop::collection::vec(header(), 0..4)),
        randomise in any::<bool>(),
        random in any::<[u8; 48]>(),
        stack_limit in number(),
    ) {
        mem::init_for_tests();
        let program = Program {
            argv: &[b"prog".to_vec()],
            envp: &[],
            path: b"/bin/prog",
            ids: [0; 4],
            secure: false,
            random,
            randomise,
            stack_limit,
        };
        let linker = linker.map(|headers| file(3, entry, &headers)).ok_or(Errno::ENOENT);
        let open = |_: &[u8]| linker.map(|bytes| Bytes(Arc::new(bytes)));
        if let Ok(image) = load(&Bytes(Arc::new(file(kind, entry, &headers))), &program, open) {
            let mut last = MMAP_MIN_ADDR;
            for area in image.mm.areas() {
                prop_assert!(last <= area.start && area.start < area.end && area.end <= USER_END);
                last = area.end;
            }
            prop_assert!(image.mm.usage().1 <= MOST_PAGES);
            prop_assert!(image.stack < USER_END && image.stack % 16 == 0);
        }
    }
}

#[test]
fn both_areas_of_the_kernel_are_there() {
    mem::init_for_tests();
    let program = Program {
        argv: &[b"prog".to_vec()],
        envp: &[],
        path: b"/bin/prog",
        ids: [0; 4],
        secure: false,
        random: [0; 48],
        randomise: false,
        stack_limit: 8 << 20,
    };
    let file = Bytes(Arc::new(good_elf()));
    let image = load(&file, &program, |_| Err::<Bytes, _>(Errno::ENOENT)).unwrap();
    let areas = image.mm.areas();
    let named = |wanted: &[u8]| {
        areas.iter().find(|area| area.name.as_ref().is_some_and(|name| name.path == wanted)).unwrap()
    };
    assert_eq!(named(b"[vvar]").end, named(b"[vdso]").start);
    let mut magic = [0; 4];
    assert_eq!(image.mm.read_memory(named(b"[vdso]").start, &mut magic), 4);
    assert_eq!(&magic, b"\x7fELF");
    let auxv = image.mm.auxv().unwrap();
    assert_eq!(auxv[..8], 33u64.to_le_bytes());
    assert_eq!(auxv[8..16], named(b"[vdso]").start.to_le_bytes());
    assert_eq!(auxv[auxv.len() - 16..], [0; 16]);
}
