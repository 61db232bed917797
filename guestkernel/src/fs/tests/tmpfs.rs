use hostcall::{SetAttr, SetAttrValid};
use proptest::prelude::*;

use super::{
    super::{
        acl::{self, Which},
        perm,
    },
    *,
};
use crate::errno::Errno;

fn resize(file: &File, size: u64) {
    let change = SetAttr { valid: SetAttrValid::SIZE.bits(), size, ..SetAttr::default() };
    file.inode().set_attr(&change).expect("resize");
}

proptest! {
    #[test]
    fn a_file_is_its_bytes(steps in prop::collection::vec((0u8..4, 0u64..40_000, 0usize..9000), 1..40)) {
        let (_ns, walk) = world();
        let file = put(&walk, "f", b"").expect("file");
        let mut model: Vec<u8> = Vec::new();
        for (index, (step, at, len)) in steps.into_iter().enumerate() {
            let byte = index as u8 + 1;
            match step {
                0 | 1 => {
                    let done = file.pwrite(&mut Source::Kernel(&std::vec![byte; len]), at).expect("write");
                    prop_assert_eq!(done, len);
                    if len != 0 {
                        let end = at as usize + len;
                        if model.len() < end {
                            model.resize(end, 0);
                        }
                        model[at as usize..end].fill(byte);
                    }
                }
                2 => {
                    resize(&file, at);
                    model.resize(at as usize, 0);
                }
                _ => {
                    // Keep the size, clear a range.
                    file.ops().allocate(3, at, len as u64 + 1).expect("punch");
                    let end = (at as usize + len + 1).min(model.len());
                    if (at as usize) < end {
                        model[at as usize..end].fill(0);
                    }
                }
            }
            prop_assert_eq!(file.attr().expect("attr").size, model.len() as u64);
            prop_assert_eq!(&pread(&file, 0, model.len() + 10).expect("read"), &model);
        }
    }
}

#[test]
fn a_full_one_says_so_and_gets_room_back() {
    crate::mem::init_for_tests();
    let root = Dentry::root(Tmpfs::mount(8192, 0o755, 0, 0));
    let namespace = Namespace::new(Mount::new(root, "tmpfs", "none", 0, ""));
    let walk = Walk { start: namespace.root(), root: namespace.root(), who: Who::KERNEL, umask: 0 };
    let file = put(&walk, "f", &[1; 8192]).expect("two pages");
    assert_eq!(write(&file, &[1]), Err(Errno::ENOSPC));
    walk.unlink(b"f", false).expect("unlink");
    drop(file);
    super::super::dentry::sweep(100);
    put(&walk, "g", &[1; 8192]).expect("room again");
}

#[test]
fn lists_are_charged_and_handed_down() {
    let (_ns, walk) = world();
    let walk = Walk { umask: 0o077, ..walk };
    walk.mkdir(b"d", 0o755).expect("mkdir");
    let dir = walk.resolve(b"d", Lookup::empty()).expect("d");
    let dir = dir.inode().expect("inode");
    let mut value = std::vec![2u8, 0, 0, 0];
    for (tag, perm, id) in
        [(1, 7, u32::MAX), (2, 7, 5), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 1, u32::MAX)]
    {
        value.extend([tag, 0, perm, 0].into_iter().chain(id.to_le_bytes()));
    }
    acl::set(&**dir, &Who::KERNEL, Which::Default, Some(&value)).expect("set");
    walk.mkdir(b"d/d", 0o777).expect("mkdir");
    let file = walk.open(b"d/d/f", linux_raw_sys::general::O_CREAT, 0o666, Lookup::empty()).expect("open");
    assert_eq!(file.attr().expect("attr").mode & 0o777, 0o660, "the mask does not count");
    let inode = &**file.inode();
    let user = Who { uid: 5, gid: 9, groups: &[], caps: 0 };
    assert_eq!(perm::check(inode, &user, perm::READ | perm::WRITE), Ok(()));
    assert_eq!(perm::check(inode, &Who { uid: 6, ..user }, perm::READ), Err(Errno::EACCES));
    assert_eq!(acl::get(inode, Which::Default), Err(Errno::ENODATA));
}
