use hostcall::{SetAttr, SetAttrValid};
use proptest::prelude::*;

use super::*;
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
    let walk = Walk { start: namespace.root(), root: namespace.root(), who: Who::KERNEL };
    let file = put(&walk, "f", &[1; 8192]).expect("two pages");
    assert_eq!(write(&file, &[1]), Err(Errno::ENOSPC));
    walk.unlink(b"f", false).expect("unlink");
    drop(file);
    super::super::dentry::sweep(100);
    put(&walk, "g", &[1; 8192]).expect("room again");
}
