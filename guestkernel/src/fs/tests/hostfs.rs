use linux_raw_sys::general::{O_APPEND, O_RDWR};
use proptest::prelude::*;
use std::boxed::Box;

use super::{
    super::{
        acl::{self, Which},
        hostfs::{HostFs, window::Windows},
        perm,
    },
    host::FakeHost,
    *,
};
use crate::{errno::Errno, mm::PageSource, sync::SpinLock};

/// One test at a time: they share the window region.
pub(super) static TURN: SpinLock<()> = SpinLock::new(());

/// A walk over a fake host's tree; `window` bytes of windows.
pub(super) fn host(window: u64) -> (&'static FakeHost, Walk<'static>) {
    crate::mem::init_for_tests();
    let host = FakeHost::new();
    let windows = Box::leak(Box::new(Windows::new(window)));
    let fs = HostFs::new(host, windows, true);
    let root = Dentry::root(fs.root(1).expect("root"));
    let namespace = Namespace::new(Mount::new(root, "ext4", "/", 0, ""));
    let root = namespace.root();
    (host, Walk { start: root.clone(), root, who: Who::KERNEL, umask: 0 })
}

#[test]
fn warm_operations_ask_nobody() {
    let _turn = TURN.lock();
    let (host, walk) = host(16 << 20);
    walk.mkdir(b"/d", 0o755).expect("mkdir");
    let file = put(&walk, "/d/f", b"hello").expect("file");
    // Shown from the second time on.
    for _ in 0..2 {
        assert_eq!(pread(&file, 0, 9).expect("read"), b"hello");
    }
    walk.resolve(b"/d/none", Lookup::empty()).expect_err("absent");
    names(&walk, "/d").expect("names");
    // What time the host made of the write.
    file.attr().expect("attr");
    host.take_calls();
    for _ in 0..3 {
        let file = walk.open(b"/d/f", O_RDWR, 0, Lookup::empty()).expect("open");
        assert_eq!(pread(&file, 1, 9).expect("read"), b"ello");
        assert_eq!(file.attr().expect("attr").size, 5);
        assert_eq!(walk.resolve(b"/d/none", Lookup::empty()).map(drop), Err(Errno::ENOENT));
        assert_eq!(names(&walk, "/d").expect("names"), [b"f"]);
    }
    assert!(host.take_calls().is_empty(), "no hostcall when warm");
}

#[test]
fn handles_are_closed_with_their_inodes() {
    let _turn = TURN.lock();
    let (host, walk) = host(16 << 20);
    for index in 0..50 {
        drop(put(&walk, &std::format!("/f{index}"), b"x").expect("file"));
    }
    walk.link(&walk.resolve(b"/f1", Lookup::empty()).expect("f1"), b"/again").expect("link");
    walk.unlink(b"/f1", false).expect("unlink");
    assert_eq!(
        walk.resolve(b"/again", Lookup::empty())
            .expect("link")
            .inode()
            .expect("inode")
            .attr()
            .expect("attr")
            .nlink,
        1
    );
    for _ in 0..2 {
        super::super::dentry::sweep(20_000);
    }
    drop(walk);
    assert_eq!(host.open_handles(), 1);
}

#[test]
fn files_without_a_name_are_the_hosts() {
    let _turn = TURN.lock();
    let (host, walk) = host(16 << 20);
    super::unnamed::comes_and_goes(&walk);
    for _ in 0..2 {
        super::super::dentry::sweep(20_000);
    }
    drop(walk);
    assert_eq!(host.open_handles(), 1);
}

#[test]
fn a_mapping_shows_the_file_and_keeps_its_slot() {
    let _turn = TURN.lock();
    // One small slot only.
    let (_host, walk) = host(16 << 20);
    let file = put(&walk, "/f", &[7; 5000]).expect("file");
    let mapping = file.mappable().expect("mappable");
    assert!(matches!(mapping.page(1, false), Ok(PageSource::Window(_))));
    assert_eq!(mapping.page(2, false).err(), Some(Errno::ENXIO));
    let Ok(PageSource::Window(addr)) = mapping.page(0, true) else { panic!("a window") };
    for index in 0..20 {
        let other = put(&walk, &std::format!("/g{index}"), &[index; 10]).expect("other");
        assert_eq!(pread(&other, 0, 1).expect("read"), [index]);
    }
    let mut bytes = [0; 4];
    crate::arch::read_phys(addr, &mut bytes);
    assert_eq!(bytes, [7; 4]);
}

#[test]
fn appends_go_to_the_end() {
    let _turn = TURN.lock();
    let (_host, walk) = host(16 << 20);
    put(&walk, "/log", b"one").expect("file");
    let log = walk.open(b"/log", O_RDWR | O_APPEND, 0, Lookup::empty()).expect("open");
    write(&log, b"two").expect("append");
    assert_eq!(log.position(), 6);
    assert_eq!(pread(&log, 0, 9).expect("read"), b"onetwo");
}

#[test]
fn long_listings_are_complete() {
    let _turn = TURN.lock();
    let (_host, walk) = host(0);
    let mut expected: Vec<Vec<u8>> = (0..40).map(|n| std::format!("name{n}").into_bytes()).collect();
    for name in &expected {
        walk.mkdir(name, 0o755).expect("mkdir");
    }
    expected.sort();
    assert_eq!(names(&walk, "/").expect("names"), expected);
    walk.unlink(b"name7", true).expect("rmdir");
    assert_eq!(names(&walk, "/").expect("names").len(), 39);
}

#[test]
fn the_host_is_asked_for_lists_once() {
    let _turn = TURN.lock();
    let (host, walk) = host(16 << 20);
    walk.mkdir(b"/d", 0o755).expect("mkdir");
    host.take_calls();
    for name in ["/d/a", "/d/b"] {
        put(&walk, name, b"x").expect("file");
    }
    assert!(!host.take_calls().contains_key("get_xattr"), "the root hands nothing down to its new directory");

    let user = Who { uid: 5, gid: 5, groups: &[], caps: 0 };
    let found = walk.resolve(b"/d/a", Lookup::empty()).expect("a");
    let inode = &**found.inode().expect("inode");
    assert_eq!(perm::check(inode, &user, perm::WRITE), Err(Errno::EACCES));
    // For the owner, user 5, the group, the mask and others.
    let value =
        [[2u8, 0, 0, 0].as_slice(), &entry(1, 6), &entry(2, 6), &entry(4, 4), &entry(16, 6), &entry(32, 0)];
    acl::set(inode, &Who::KERNEL, Which::Access, Some(&value.concat())).expect("set");
    assert_eq!(inode.access().expect("attr").mode & 0o777, 0o660);
    assert_eq!(perm::check(inode, &user, perm::WRITE), Ok(()));
    host.take_calls();
    assert_eq!(perm::check(inode, &user, perm::EXEC), Err(Errno::EACCES));
    assert_eq!(acl::get(inode, Which::Access), Ok(value.concat()));
    assert!(host.take_calls().is_empty(), "the list is known");
}

/// An entry of an access control list, for user 5 where it is a named user's.
fn entry(tag: u8, perm: u8) -> [u8; 8] {
    let id = if tag == 2 { 5u32 } else { u32::MAX }.to_le_bytes();
    [tag, 0, perm, 0, id[0], id[1], id[2], id[3]]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// With windows and without.
    #[test]
    fn a_file_is_its_bytes(window in prop::sample::select(std::vec![0u64, 16 << 20]), steps in prop::collection::vec((0u8..3, 0u64..300_000, 0usize..9000), 1..30)) {
        let _turn = TURN.lock();
        let (_host, walk) = host(window);
        let file = put(&walk, "/f", b"").expect("file");
        let mut model: Vec<u8> = Vec::new();
        for (index, (step, at, len)) in steps.into_iter().enumerate() {
            let byte = index as u8 + 1;
            if step == 2 {
                let change = hostcall::SetAttr { valid: 8, size: at, ..hostcall::SetAttr::default() };
                file.inode().set_attr(&change).expect("resize");
                model.resize(at as usize, 0);
            } else {
                file.pwrite(&mut Source::Kernel(&std::vec![byte; len]), at).expect("write");
                if len != 0 {
                    let end = at as usize + len;
                    if model.len() < end {
                        model.resize(end, 0);
                    }
                    model[at as usize..end].fill(byte);
                }
            }
            prop_assert_eq!(&pread(&file, 0, model.len() + 10).expect("read"), &model);
        }
    }
}
