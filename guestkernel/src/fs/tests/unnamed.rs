use linux_raw_sys::general::{O_EXCL, O_RDONLY, O_RDWR, O_TMPFILE};

use super::*;
use crate::errno::Errno;

/// Makes a file without a name in `/`, gives it two, takes them away; `links` tells its link count.
pub(super) fn comes_and_goes(walk: &Walk<'_>) {
    let make =
        |flags: u32| walk.open(b"/", O_TMPFILE | O_RDWR | flags, 0o640, Lookup::empty()).expect("file");
    let file = make(0);
    let links = || file.attr().expect("attr").nlink;
    write(&file, b"text").expect("write");
    assert_eq!((links(), names(walk, "/").expect("names")), (0, Vec::new()));
    walk.link(file.path(), b"/a").expect("link");
    walk.link(file.path(), b"/b").expect("link");
    assert_eq!(links(), 2);
    let named = walk.open(b"/a", O_RDONLY, 0, Lookup::empty()).expect("open");
    assert_eq!(read(&named, 9).expect("read"), b"text");
    walk.unlink(b"/a", false).expect("unlink");
    walk.unlink(b"/b", false).expect("unlink");
    assert_eq!(links(), 0);
    assert_eq!(walk.link(file.path(), b"/c"), Err(Errno::ENOENT));
    assert_eq!(walk.link(make(O_EXCL).path(), b"/c"), Err(Errno::ENOENT));
    assert_eq!(names(walk, "/").expect("names"), Vec::<Vec<u8>>::new());
}

#[test]
fn a_file_without_a_name_gets_one_only_while_it_never_lost_one() {
    let (_ns, walk) = world();
    comes_and_goes(&walk);
}

#[test]
fn each_counts_as_an_inode() {
    crate::mem::init_for_tests();
    let root = Tmpfs::mount(16 << 20, 0o755, 0, 0);
    root.file_system().set_limits(None, Some(2)).expect("limits");
    let namespace = Namespace::new(Mount::new(Dentry::root(root), "tmpfs", "none", 0, ""));
    let walk = Walk { start: namespace.root(), root: namespace.root(), who: Who::KERNEL, umask: 0 };
    let make = || walk.open(b"/", O_TMPFILE | O_RDWR, 0o600, Lookup::empty());
    let first = make().expect("one");
    assert_eq!(make().map(drop), Err(Errno::ENOSPC));
    drop(first);
    make().expect("room again");
}
