use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const RW: PteFlags = PteFlags::PRESENT.union(PteFlags::WRITE).union(PteFlags::USER).union(PteFlags::FRAME);

fn setup() -> PageTable {
    crate::mem::init_for_tests();
    PageTable::new().unwrap()
}

#[test]
fn map_translate_unmap() {
    let mut table = setup();
    assert_eq!(table.translate(0x1000), None);
    table.map(0x7fff_ffff_e000, PhysAddr(0x5000), PteFlags::PRESENT | PteFlags::NX).unwrap();
    assert_eq!(table.translate(0x7fff_ffff_e123), Some((PhysAddr(0x5000), PteFlags::PRESENT | PteFlags::NX)));
    assert!(table.protect(0x7fff_ffff_e000, PteFlags::PRESENT));
    assert_eq!(table.unmap(0x7fff_ffff_e000), Some((PhysAddr(0x5000), PteFlags::PRESENT)));
    assert_eq!(table.unmap(0x7fff_ffff_e000), None);
    assert!(!table.protect(0x7fff_ffff_e000, PteFlags::PRESENT));
}

#[test]
fn copy_on_write_shares_frames_and_drop_releases_them() {
    let mut parent = setup();
    let frame = frame::alloc().unwrap();
    parent.map(0x40_0000, frame.clone().into_raw(), RW | PteFlags::DIRTY).unwrap();
    let mut child = PageTable::new().unwrap();
    child.copy_range(&mut parent, 0, super::super::USER_END, CopyMode::CopyOnWrite).unwrap();
    assert_eq!(frame.refcount(), 3);
    let (_, flags) = parent.translate(0x40_0000).unwrap();
    assert!(flags.contains(PteFlags::COW) && !flags.contains(PteFlags::WRITE));
    let (addr, flags) = child.translate(0x40_0000).unwrap();
    assert_eq!(addr, frame.addr());
    assert!(flags.contains(PteFlags::COW | PteFlags::FRAME) && !flags.contains(PteFlags::WRITE));
    drop(child);
    assert_eq!(frame.refcount(), 2);
    drop(parent);
    assert!(frame.is_unique());
}

#[test]
fn sharing_keeps_rights() {
    let mut parent = setup();
    parent.map(0x1000, PhysAddr(0x9000), PteFlags::PRESENT | PteFlags::WRITE).unwrap();
    let mut child = PageTable::new().unwrap();
    child.copy_range(&mut parent, 0x1000, 0x2000, CopyMode::Share).unwrap();
    assert_eq!(child.translate(0x1000), Some((PhysAddr(0x9000), PteFlags::PRESENT | PteFlags::WRITE)));
}

#[test]
fn a_page_without_rights_is_kept() {
    let mut table = setup();
    let frame = frame::alloc().unwrap();
    table.map(0x1000, frame.clone().into_raw(), RW).unwrap();
    assert!(table.protect(0x1000, PteFlags::PROT_NONE | PteFlags::FRAME | PteFlags::NX));
    let (addr, flags) = table.translate(0x1000).unwrap();
    assert_eq!((addr, flags.contains(PteFlags::PRESENT)), (frame.addr(), false));
    let mut child = PageTable::new().unwrap();
    child.copy_range(&mut table, 0, 0x2000, CopyMode::CopyOnWrite).unwrap();
    assert_eq!(frame.refcount(), 3);
    drop((table, child));
    assert!(frame.is_unique());
}

#[test]
fn large_pages_are_split_around_what_is_protected() {
    const GIB: u64 = 1 << 30;
    let mut page_table = setup();
    // The tables above are made for a neighbour; then a 1 GiB page is put beside it.
    page_table.map(0, PhysAddr(0x1000), PteFlags::PRESENT).unwrap();
    let upper = table(page_table.root())[0].addr();
    let bits = PteFlags::PRESENT | PteFlags::WRITE | PteFlags::NX;
    table(upper)[1].set(PhysAddr(2 * GIB), bits | PteFlags::from_bits_retain(LARGE));
    let start = GIB + (3 << 21) + 5 * PAGE;
    write_protect_kernel(page_table.root(), start, 2 * PAGE).unwrap();
    for (page, writable) in [(4, true), (5, false), (6, false), (7, true)] {
        let va = GIB + (3 << 21) + page * PAGE;
        let (addr, flags) = page_table.translate(va).unwrap();
        assert_eq!(addr.0, va + GIB);
        assert_eq!(flags.contains(PteFlags::WRITE), writable, "page {page}");
        assert!(flags.contains(PteFlags::NX));
    }
    assert_eq!(write_protect_kernel(page_table.root(), 1 << 40, PAGE), Err(Errno::EFAULT));
    // What is left of it is not frames of RAM.
    table(upper)[1].take();
}

/// Addresses that fall into few tables, and into far ones.
fn any_page() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..2048, (1u64 << 18)..(1 << 18) + 1024, (1u64 << 35) - 512..(1 << 35) - 1]
        .prop_map(|page| page * PAGE)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn behaves_as_a_map(
        steps in proptest::collection::vec((any_page(), 1u64..1 << 30, any::<bool>()), 1..200),
        range in (any_page(), any_page()),
    ) {
        let mut table = setup();
        let mut model = BTreeMap::new();
        for (va, page, insert) in steps {
            if insert {
                table.map(va, PhysAddr(page * PAGE), PteFlags::PRESENT | PteFlags::USER).unwrap();
                model.insert(va, page * PAGE);
            } else {
                prop_assert_eq!(table.unmap(va).map(|(addr, _)| addr.0), model.remove(&va));
            }
        }
        for (va, page) in &model {
            prop_assert_eq!(table.translate(*va).unwrap().0.0, *page);
        }
        let (start, end) = (range.0.min(range.1), range.0.max(range.1));
        let mut seen = Vec::new();
        table.for_range(start, end, |va, entry| seen.push((va, entry.addr().0)));
        let expected: Vec<_> = model.range(start..end).map(|(va, page)| (*va, *page)).collect();
        prop_assert_eq!(seen, expected);
    }
}

use std::vec::Vec;
