//! An overlay over a tmpfs: what is below never changes, and what shows is as if it had.

use std::{string::String, sync::Arc, vec, vec::Vec};

use linux_raw_sys::general::{O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR, O_TRUNC, RENAME_EXCHANGE};
use proptest::prelude::*;

use super::{names, pread, put, read, write};
use crate::{
    errno::Errno,
    fs::{
        acl::Which,
        dentry::Dentry,
        inode::Inode,
        mount::{Mount, Path},
        overlay::Overlay,
        perm::Who,
        tmpfs::{TmpInode, Tmpfs},
        walk::{Lookup, Walk},
    },
};

fn walk_of(root: Arc<dyn Inode>) -> Walk<'static> {
    let mount = Mount::new(Dentry::root(root), "x", "none", 0, "");
    let root = Path::root_of(&mount);
    Walk { start: root.clone(), root, who: Who::KERNEL, umask: 0 }
}

/// A tree, and an overlay over it.
fn world() -> (Walk<'static>, Walk<'static>) {
    crate::mem::init_for_tests();
    let below: Arc<TmpInode> = Tmpfs::mount(16 << 20, 0o755, 0, 0);
    let lower = walk_of(below.clone());
    lower.mkdir(b"/d", 0o755).unwrap();
    lower.mkdir(b"/d/e", 0o755).unwrap();
    for name in ["/a", "/b", "/d/x", "/d/y", "/d/e/z"] {
        put(&lower, name, name.as_bytes()).unwrap();
    }
    lower.link(&lower.resolve(b"/a", Lookup::empty()).unwrap(), b"/a2").unwrap();
    lower.symlink(b"d/x", b"/s").unwrap();
    (lower, walk_of(Overlay::mount(below, Some(1 << 20)).unwrap()))
}

fn contents(walk: &Walk<'_>, path: &str) -> Result<String, Errno> {
    let file = walk.open(path.as_bytes(), O_RDONLY, 0, Lookup::empty())?;
    read(&file, 100).map(|bytes| String::from_utf8(bytes).unwrap())
}

fn list(walk: &Walk<'_>, path: &str) -> Vec<String> {
    names(walk, path).unwrap().into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
}

fn attr(walk: &Walk<'_>, path: &str) -> hostcall::Attr {
    walk.resolve(path.as_bytes(), Lookup::empty()).unwrap().inode().unwrap().attr().unwrap()
}

#[test]
fn a_file_is_copied_when_it_may_be_written() {
    let (lower, over) = world();
    let before = attr(&over, "/a");
    let reader = over.open(b"/a", O_RDONLY, 0, Lookup::empty()).unwrap();
    let file = over.open(b"/a", O_RDWR, 0, Lookup::empty()).unwrap();
    write(&file, b"XY").unwrap();
    assert_eq!(contents(&over, "/a").as_deref(), Ok("XY"));
    assert_eq!(pread(&reader, 0, 9).unwrap(), b"XY");
    // The other name of the same file shows the same.
    assert_eq!(contents(&over, "/a2").as_deref(), Ok("XY"));
    assert_eq!(contents(&lower, "/a").as_deref(), Ok("/a"));
    let after = attr(&over, "/a2");
    assert_eq!((after.dev, after.ino, after.nlink), (before.dev, before.ino, 2));
}

#[test]
fn attributes_change_without_the_contents() {
    let (lower, over) = world();
    let inode = over.resolve(b"/d/x", Lookup::empty()).unwrap().inode().unwrap().clone();
    let change = hostcall::SetAttr { valid: 1, mode: 0o600, ..Default::default() };
    assert_eq!(change.valid, hostcall::SetAttrValid::MODE.bits());
    inode.set_attr(&change).unwrap();
    assert_eq!((attr(&over, "/d/x").mode & 0o7777, attr(&lower, "/d/x").mode & 0o7777), (0o600, 0o644));
    assert_eq!(contents(&over, "/d/x").as_deref(), Ok("/d/x"));
    inode.set_xattr(b"user.k", Some(b"v"), 0).unwrap();
    assert_eq!(inode.get_xattr(b"user.k").as_deref(), Ok(&b"v"[..]));
    assert_eq!(inode.acl(Which::Access), Ok(None));
    let below = lower.resolve(b"/d/x", Lookup::empty()).unwrap().inode().unwrap().clone();
    assert_eq!(below.get_xattr(b"user.k"), Err(Errno::ENODATA));
}

#[test]
fn truncation_copies_what_stays() {
    let (lower, over) = world();
    drop(over.open(b"/d/x", O_RDWR | O_TRUNC, 0, Lookup::empty()).unwrap());
    assert_eq!((attr(&over, "/d/x").size, attr(&lower, "/d/x").size), (0, 4));
    let inode = over.resolve(b"/d/y", Lookup::empty()).unwrap().inode().unwrap().clone();
    let size = |size| hostcall::SetAttr {
        valid: hostcall::SetAttrValid::SIZE.bits(),
        size,
        ..hostcall::SetAttr::default()
    };
    inode.set_attr(&size(2)).unwrap();
    inode.set_attr(&size(6)).unwrap();
    assert_eq!(contents(&over, "/d/y").as_deref(), Ok("/d\0\0\0\0"));
}

#[test]
fn names_go_and_come() {
    let (lower, over) = world();
    over.unlink(b"/d/x", false).unwrap();
    assert_eq!(contents(&over, "/d/x"), Err(Errno::ENOENT));
    assert_eq!(list(&over, "/d"), ["e", "y"]);
    put(&over, "/d/x", b"new").unwrap();
    put(&over, "/d/n", b"new").unwrap();
    assert_eq!(list(&over, "/d"), ["e", "n", "x", "y"]);
    assert_eq!(over.unlink(b"/d", true), Err(Errno::ENOTEMPTY));
    for name in ["/d/x", "/d/n", "/d/y", "/d/e/z"] {
        over.unlink(name.as_bytes(), false).unwrap();
    }
    over.unlink(b"/d/e", true).unwrap();
    over.unlink(b"/d", true).unwrap();
    // A new directory in the place of the old one is empty.
    over.mkdir(b"/d", 0o755).unwrap();
    assert!(list(&over, "/d").is_empty());
    assert_eq!(contents(&over, "/d/x"), Err(Errno::ENOENT));
    assert_eq!(list(&lower, "/d"), ["e", "x", "y"]);
}

#[test]
fn links_are_counted() {
    let (_, over) = world();
    over.unlink(b"/a", false).unwrap();
    assert_eq!(attr(&over, "/a2").nlink, 1);
    let found = over.resolve(b"/a2", Lookup::empty()).unwrap();
    over.link(&found, b"/a3").unwrap();
    assert_eq!(attr(&over, "/a3").nlink, 2);
    assert_eq!(attr(&over, "/a3").ino, attr(&over, "/a2").ino);
    let file = over.open(b"/a2", O_RDONLY, 0, Lookup::empty()).unwrap();
    over.unlink(b"/a2", false).unwrap();
    over.unlink(b"/a3", false).unwrap();
    assert_eq!(file.attr().unwrap().nlink, 0);
    assert_eq!(read(&file, 9).unwrap(), b"/a");
}

#[test]
fn directories_move_with_what_is_in_them() {
    let (_, over) = world();
    put(&over, "/d/n", b"new").unwrap();
    over.unlink(b"/d/x", false).unwrap();
    over.rename(b"/d", &over, b"/moved", 0).unwrap();
    assert_eq!(list(&over, "/"), ["a", "a2", "b", "moved", "s"]);
    assert_eq!(list(&over, "/moved"), ["e", "n", "y"]);
    assert_eq!(contents(&over, "/moved/e/z").as_deref(), Ok("/d/e/z"));
    over.rename(b"/moved", &over, b"/a", RENAME_EXCHANGE).unwrap();
    assert_eq!(list(&over, "/a"), ["e", "n", "y"]);
    assert_eq!(contents(&over, "/moved").as_deref(), Ok("/a"));
    over.rename(b"/moved", &over, b"/b", 0).unwrap();
    assert_eq!(contents(&over, "/b").as_deref(), Ok("/a"));
    assert_eq!(list(&over, "/"), ["a", "a2", "b", "s"]);
}

#[test]
fn room_is_limited() {
    let (_, over) = world();
    let file = put(&over, "/big", b"").unwrap();
    let block = vec![1; 64 << 10];
    let mut written = 0;
    let error = loop {
        match write(&file, &block) {
            Ok(more) => written += more,
            Err(error) => break error,
        }
    };
    assert_eq!((error, written), (Errno::ENOSPC, 1 << 20));
    assert_eq!(over.open(b"/b", O_RDWR, 0, Lookup::empty()).map(drop), Err(Errno::ENOSPC));
    assert_eq!(contents(&over, "/b").as_deref(), Ok("/b"));
    drop(file);
    over.unlink(b"/big", false).unwrap();
    assert!(over.open(b"/b", O_RDWR, 0, Lookup::empty()).is_ok());
}

#[test]
fn a_long_chain_of_directories_goes() {
    crate::mem::init_for_tests();
    let below: Arc<dyn Inode> = Tmpfs::mount(16 << 20, 0o755, 0, 0);
    let root: Arc<dyn Inode> = Overlay::mount(below, None).unwrap();
    let mut at = root.clone();
    for _ in 0..1500 {
        at = at.mkdir(b"d", crate::fs::inode::NewNode { mode: 0o755, uid: 0, gid: 0 }).unwrap();
    }
    at = root;
    drop(at);
}

#[test]
fn nothing_is_left_of_one_that_goes() {
    crate::mem::init_for_tests();
    let below: Arc<TmpInode> = Tmpfs::mount(1 << 20, 0o755, 0, 0);
    let lower = walk_of(below.clone());
    lower.mkdir(b"/d", 0o755).unwrap();
    put(&lower, "/d/x", b"x").unwrap();
    let root = Overlay::mount(below, None).unwrap();
    let gone = Arc::downgrade(&root);
    let over = walk_of(root);
    put(&over, "/d/x", b"y").unwrap();
    put(&over, "/d/y", b"y").unwrap();
    drop(over);
    // Cached names hold it still.
    crate::fs::dentry::make_room();
    assert!(gone.upgrade().is_none());
}

/// What a sequence of changes does, to a tree and to an overlay over such a tree.
fn change(walk: &Walk<'_>, what: (u8, usize, usize)) -> Result<(), Errno> {
    const NAMES: [&str; 8] = ["/a", "/b", "/d", "/d/x", "/d/e", "/d/e/z", "/new", "/d/new"];
    let (one, other) = (NAMES[what.1 % 8].as_bytes(), NAMES[what.2 % 8].as_bytes());
    match what.0 % 8 {
        0 => walk.unlink(one, false),
        1 => walk.unlink(one, true),
        2 => walk.mkdir(one, 0o755),
        3 | 4 => walk.rename(one, walk, other, 0),
        5 => walk.rename(one, walk, other, RENAME_EXCHANGE),
        6 => walk.resolve(one, Lookup::empty()).and_then(|found| walk.link(&found, other)),
        _ => {
            let file = walk.open(one, O_RDWR | O_CREAT, 0o644, Lookup::empty())?;
            write(&file, other).map(drop)
        }
    }
}

/// The whole tree: names, types, contents, links of files.
fn picture(walk: &Walk<'_>, path: &str, out: &mut Vec<String>) {
    for name in list(walk, if path.is_empty() { "/" } else { path }) {
        let at = std::format!("{path}/{name}");
        let found = attr(walk, &at);
        if walk.open(at.as_bytes(), O_DIRECTORY, 0, Lookup::empty()).is_ok()
            && found.mode & 0o170_000 == 0o040_000
        {
            out.push(std::format!("{at}: {}", found.nlink));
            picture(walk, &at, out);
        } else {
            out.push(std::format!("{at}: {} {:?}", found.nlink, contents(walk, &at)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// An overlay shows what the tree would show.
    #[test]
    fn an_overlay_is_as_the_tree(changes in prop::collection::vec((any::<u8>(), 0..8usize, 0..8usize), 0..24)) {
        let (lower, over) = world();
        let (plain, _) = world();
        let mut untouched = Vec::new();
        picture(&lower, "", &mut untouched);
        for what in changes {
            prop_assert_eq!(change(&plain, what), change(&over, what));
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            picture(&plain, "", &mut expected);
            picture(&over, "", &mut found);
            prop_assert_eq!(expected, found);
        }
        let mut after = Vec::new();
        picture(&lower, "", &mut after);
        prop_assert_eq!(untouched, after);
    }
}
