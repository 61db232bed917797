use linux_raw_sys::general::{
    O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDWR, O_WRONLY, RENAME_EXCHANGE, RENAME_NOREPLACE,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, string::String};

use super::*;
use crate::errno::Errno;

fn at(walk: &Walk<'_>, path: &str, flags: Lookup) -> Result<String> {
    let found = walk.resolve(path.as_bytes(), flags)?;
    Ok(String::from_utf8(found.absolute(&walk.root).0).expect("text"))
}

/// `/a/b/f`, `/a/up -> ..`, `/abs -> /a/b`, `/loop -> loop`, `/dangling -> a/none`.
fn tree() -> (Arc<Namespace>, Walk<'static>) {
    let (ns, walk) = world();
    walk.mkdir(b"/a", 0o755).expect("mkdir");
    walk.mkdir(b"/a/b", 0o755).expect("mkdir");
    put(&walk, "/a/b/f", b"hello").expect("file");
    for (target, name) in [("..", "/a/up"), ("/a/b", "/abs"), ("loop", "/loop"), ("a/none", "/dangling")] {
        walk.symlink(target.as_bytes(), name.as_bytes()).expect("symlink");
    }
    (ns, walk)
}

#[test]
fn links_dots_and_slashes() {
    let (_ns, walk) = tree();
    let follow = Lookup::FOLLOW;
    assert_eq!(at(&walk, "//a/./b//../b/f", follow).expect("found"), "/a/b/f");
    assert_eq!(at(&walk, "../../..", follow).expect("found"), "/");
    assert_eq!(at(&walk, "abs/f", follow).expect("found"), "/a/b/f");
    assert_eq!(at(&walk, "abs", Lookup::empty()).expect("found"), "/abs");
    assert_eq!(at(&walk, "abs/", Lookup::empty()).expect("found"), "/a/b");
    assert_eq!(at(&walk, "a/up/a/up", follow).expect("found"), "/");
    assert_eq!(at(&walk, "loop", follow), Err(Errno::ELOOP));
    assert_eq!(at(&walk, "dangling", follow), Err(Errno::ENOENT));
    assert_eq!(at(&walk, "a/b/f/", follow), Err(Errno::ENOTDIR));
    assert_eq!(at(&walk, "a/b/f/x", follow), Err(Errno::ENOTDIR));
    assert_eq!(at(&walk, "", follow), Err(Errno::ENOENT));
    assert_eq!(at(&walk, &"x".repeat(256), follow), Err(Errno::ENAMETOOLONG));
    assert_eq!(at(&walk, &"x".repeat(255), follow), Err(Errno::ENOENT));
}

#[test]
fn a_confined_walk_stays_inside() {
    let (_ns, mut walk) = tree();
    walk.start = walk.resolve(b"/a", Lookup::FOLLOW).expect("a");
    let (beneath, in_root) = (Lookup::FOLLOW | Lookup::BENEATH, Lookup::FOLLOW | Lookup::IN_ROOT);
    assert_eq!(at(&walk, "b/f", beneath).expect("found"), "/a/b/f");
    assert_eq!(at(&walk, "b/../b/f", beneath).expect("found"), "/a/b/f");
    assert_eq!(at(&walk, "..", beneath), Err(Errno::EXDEV));
    assert_eq!(at(&walk, "up", beneath), Err(Errno::EXDEV));
    assert_eq!(at(&walk, "/b", beneath), Err(Errno::EXDEV));
    assert_eq!(at(&walk, "/../../b", in_root).expect("found"), "/a/b");
    assert_eq!(at(&walk, "up/b", in_root).expect("found"), "/a/b");
    assert_eq!(at(&walk, "up", Lookup::FOLLOW | Lookup::NO_SYMLINKS), Err(Errno::ELOOP));
}

#[test]
fn open_creates_through_links() {
    let (_ns, walk) = tree();
    let open = |path: &str, flags| walk.open(path.as_bytes(), flags, 0o600, Lookup::empty()).map(drop);
    assert_eq!(open("dangling", O_CREAT | O_EXCL | O_WRONLY), Err(Errno::EEXIST));
    assert_eq!(open("dangling", O_CREAT | O_NOFOLLOW | O_WRONLY), Err(Errno::ELOOP));
    assert_eq!(open("dangling", O_CREAT | O_WRONLY), Ok(()));
    assert_eq!(at(&walk, "a/none", Lookup::empty()).expect("made"), "/a/none");
    assert_eq!(open("a", O_RDWR), Err(Errno::EISDIR));
    assert_eq!(open("a/b/f", O_DIRECTORY), Err(Errno::ENOTDIR));
    assert_eq!(open("new/", O_CREAT | O_WRONLY), Err(Errno::EISDIR));
    assert_eq!(open("none", O_RDWR), Err(Errno::ENOENT));
}

#[test]
fn mounts_are_crossed_both_ways() {
    let (ns, walk) = tree();
    let root = Dentry::root(Tmpfs::mount(1 << 20, 0o755, 0, 0));
    let mount = Mount::new(root, "tmpfs", "none", 1, "");
    ns.attach(&mount, &walk.resolve(b"/a/b", Lookup::FOLLOW).expect("b")).expect("attach");
    assert_eq!(at(&walk, "/a/b/f", Lookup::FOLLOW), Err(Errno::ENOENT));
    assert_eq!(at(&walk, "/a/b/../b", Lookup::FOLLOW).expect("found"), "/a/b");
    assert_eq!(at(&walk, "/a/b", Lookup::FOLLOW | Lookup::NO_XDEV), Err(Errno::EXDEV));
    assert_eq!(walk.mkdir(b"/a/b/x", 0o755), Err(Errno::EROFS));
    assert_eq!(walk.unlink(b"/a/b", true), Err(Errno::EBUSY));
    let top = Path::root_of(&mount);
    assert_eq!(ns.unmount(top.clone(), false), Err(Errno::EBUSY));
    drop(mount);
    ns.unmount(top, false).expect("unmount");
    assert_eq!(at(&walk, "/a/b/f", Lookup::FOLLOW).expect("back"), "/a/b/f");
}

#[test]
fn renames_keep_the_tree_a_tree() {
    let (_ns, walk) = tree();
    let rename = |from: &str, to: &str, flags| walk.rename(from.as_bytes(), &walk, to.as_bytes(), flags);
    assert_eq!(rename("/a", "/a/b/c", 0), Err(Errno::EINVAL));
    assert_eq!(rename("/a/b", "/a", 0), Err(Errno::ENOTEMPTY));
    assert_eq!(rename("/a/b/f", "/a", 0), Err(Errno::ENOTEMPTY));
    put(&walk, "/g", b"g").expect("g");
    assert_eq!(rename("/g", "/a/b/f", RENAME_NOREPLACE), Err(Errno::EEXIST));
    assert_eq!(rename("/g", "/a", 0), Err(Errno::EISDIR));
    assert_eq!(rename("/a", "/g", 0), Err(Errno::ENOTDIR));
    assert_eq!(rename("/g", "/a/b/f", RENAME_EXCHANGE), Ok(()));
    let file = walk.open(b"/g", 0, 0, Lookup::empty()).expect("g");
    assert_eq!(read(&file, 9).expect("read"), b"hello");
    assert_eq!(rename("/a/b", "/b", 0), Ok(()));
    assert_eq!(at(&walk, "/b/f", Lookup::FOLLOW).expect("moved"), "/b/f");
    assert_eq!(at(&walk, "/a/b", Lookup::FOLLOW), Err(Errno::ENOENT));
}

/// What a model of the tree says of making, removing and moving names.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Dir,
    File,
}

proptest! {
    #[test]
    fn names_follow_a_model(steps in prop::collection::vec((0u8..6, 0usize..12, 0usize..12), 1..80)) {
        const PATHS: [&str; 12] =
            ["/a", "/b", "/c", "/a/a", "/a/b", "/b/a", "/b/b", "/a/a/a", "/a/a/b", "/b/a/a", "/b/b/c", "/c/a"];
        let (_ns, walk) = world();
        let mut model: BTreeMap<String, Node> = BTreeMap::new();
        let parent_ok = |model: &BTreeMap<String, Node>, path: &str| {
            let parent = &path[..path.rfind('/').expect("slash")];
            parent.is_empty() || model.get(parent) == Some(&Node::Dir)
        };
        let has_children = |model: &BTreeMap<String, Node>, path: &str| {
            let prefix = std::format!("{path}/");
            model.keys().any(|key| key.starts_with(&prefix))
        };
        for (step, one, two) in steps {
            let (path, other) = (PATHS[one], PATHS[two]);
            let free = parent_ok(&model, path) && !model.contains_key(path);
            match step {
                0 => {
                    let got = walk.mkdir(path.as_bytes(), 0o755);
                    prop_assert_eq!(got.is_ok(), free);
                    if free { model.insert(path.into(), Node::Dir); }
                }
                1 => {
                    let got = walk.open(path.as_bytes(), O_CREAT | O_EXCL | O_RDWR, 0o644, Lookup::empty());
                    prop_assert_eq!(got.is_ok(), free);
                    if free { model.insert(path.into(), Node::File); }
                }
                2 => {
                    let expected = model.get(path) == Some(&Node::File);
                    prop_assert_eq!(walk.unlink(path.as_bytes(), false).is_ok(), expected);
                    if expected { model.remove(path); }
                }
                3 => {
                    let expected = model.get(path) == Some(&Node::Dir) && !has_children(&model, path);
                    prop_assert_eq!(walk.unlink(path.as_bytes(), true).is_ok(), expected);
                    if expected { model.remove(path); }
                }
                4 => {
                    let same_kind = model.get(other).is_none_or(|to| model.get(path) == Some(to));
                    let expected = model.contains_key(path)
                        && parent_ok(&model, other)
                        && same_kind
                        && !other.starts_with(&std::format!("{path}/"))
                        && (path == other || !has_children(&model, other));
                    let got = walk.rename(path.as_bytes(), &walk.clone(), other.as_bytes(), 0);
                    prop_assert_eq!(got.is_ok(), expected, "{} to {}: {:?}", path, other, got);
                    if expected && path != other {
                        model.remove(other);
                        let moved: Vec<(String, Node)> = model
                            .iter()
                            .filter(|(key, _)| *key == path || key.starts_with(&std::format!("{path}/")))
                            .map(|(key, node)| (key.clone(), node.clone()))
                            .collect();
                        for (key, node) in moved {
                            model.remove(&key);
                            model.insert(std::format!("{other}{}", &key[path.len()..]), node);
                        }
                    }
                }
                _ => super::super::dentry::sweep(20),
            }
            for path in PATHS {
                let found = walk.resolve(path.as_bytes(), Lookup::empty());
                prop_assert_eq!(found.is_ok(), model.contains_key(path), "{}", path);
            }
        }
        let top: Vec<Vec<u8>> =
            model.keys().filter(|key| key.rfind('/') == Some(0)).map(|key| key.as_bytes()[1..].to_vec()).collect();
        prop_assert_eq!(names(&walk, "/").expect("names"), top);
    }
}
