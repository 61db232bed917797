//! What others change in an exclusive tree. Periods end by hand here.

use hostcall::{SetAttr, SetAttrValid};
use linux_raw_sys::general::{O_RDONLY, S_IFDIR};

use super::{
    super::{fresh, hostfs::host::Host},
    hostfs::{TURN, host},
    *,
};
use crate::errno::Errno;

fn exists(walk: &Walk<'_>, path: &str) -> bool {
    match walk.resolve(path.as_bytes(), Lookup::empty()) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error, Errno::ENOENT);
            false
        }
    }
}

#[test]
fn names_that_others_make_and_remove_are_seen() {
    let _turn = TURN.lock();
    let (host, walk) = host(16 << 20);
    walk.mkdir(b"/d", 0o755).expect("mkdir");
    put(&walk, "/d/mine", b"x").expect("file");
    assert!(!exists(&walk, "/d/new") && names(&walk, "/d").expect("names") == [b"mine"]);
    let (dir, _) = host.lookup(1, b"d").expect("d");
    host.create(dir, b"new", 0o644, 0, 0).expect("outside");
    host.unlink(dir, b"mine", false).expect("outside");
    fresh::end();
    assert!(exists(&walk, "/d/new") && !exists(&walk, "/d/mine"));
    assert_eq!(names(&walk, "/d").expect("names"), [b"new"]);
}

#[test]
fn another_file_under_a_name_is_seen_and_the_old_one_stays_usable() {
    let _turn = TURN.lock();
    let (host, walk) = host(16 << 20);
    let old = put(&walk, "/f", b"old").expect("file");
    host.create(1, b"g", 0o644, 0, 0).expect("outside");
    host.rename(1, b"g", 1, b"f", 0).expect("outside");
    fresh::end();
    let new = walk.open(b"/f", O_RDONLY, 0, Lookup::empty()).expect("open");
    assert_eq!(pread(&new, 0, 9).expect("read"), b"");
    assert_eq!(pread(&old, 0, 9).expect("read"), b"old");
}

#[test]
fn a_directory_that_others_move_goes_on_working() {
    let _turn = TURN.lock();
    let (host, walk) = host(16 << 20);
    walk.mkdir(b"/a", 0o755).expect("mkdir");
    walk.mkdir(b"/a/b", 0o755).expect("mkdir");
    let cwd = walk.resolve(b"/a/b", Lookup::empty()).expect("b");
    assert!(!exists(&walk, "/a/b/f"));
    let (dir, _) = host.lookup(1, b"a").expect("a");
    host.rename(dir, b"b", 1, b"c", 0).expect("outside");
    fresh::end();
    assert!(exists(&walk, "/c") && !exists(&walk, "/a/b"));
    let inside = Walk { start: cwd, ..walk.clone() };
    put(&walk, "/c/f", b"x").expect("file");
    inside.resolve(b"f", Lookup::empty()).expect("the same directory");
    inside.mkdir(b"sub", 0o755).expect("mkdir");
    assert!(exists(&walk, "/c/sub"));
}

#[test]
fn sizes_and_rights_that_others_change_are_seen() {
    let _turn = TURN.lock();
    let (host, walk) = host(16 << 20);
    let file = put(&walk, "/f", &[7; 9000]).expect("file");
    let (handle, _) = host.lookup(1, b"f").expect("f");
    let change = |valid: SetAttrValid, size, mode| {
        let change = SetAttr { valid: valid.bits(), size, mode, ..SetAttr::default() };
        host.setattr(handle, &change).expect("outside");
        fresh::end();
    };
    assert_eq!(pread(&file, 0, 9001).expect("read").len(), 9000);
    change(SetAttrValid::SIZE, 5000, 0);
    assert_eq!(pread(&file, 0, 9001).expect("read").len(), 5000);
    change(SetAttrValid::SIZE, 6000, 0);
    assert_eq!(pread(&file, 4990, 9001).expect("read").len(), 1010);
    change(SetAttrValid::MODE, 0, 0o600);
    assert_eq!(file.inode().access().expect("attr").mode & 0o777, 0o600);
    assert_eq!(file.attr().expect("attr").size, 6000);
}

#[test]
fn one_question_stands_for_many_inodes() {
    let _turn = TURN.lock();
    let (host, walk) = host(16 << 20);
    walk.mkdir(b"/d", 0o755).expect("mkdir");
    let files: Vec<_> = (0..20).map(|n| put(&walk, &std::format!("/d/f{n}"), b"x").expect("file")).collect();
    let use_all = || {
        files.iter().for_each(|file| assert_eq!(file.attr().expect("attr").size, 1));
        assert!(exists(&walk, "/d/f3") && !exists(&walk, "/d/none"));
    };
    // The first two periods learn who is in use, and look the names up once more.
    for _ in 0..3 {
        fresh::end();
        use_all();
    }
    host.take_calls();
    fresh::end();
    use_all();
    use_all();
    assert_eq!(host.take_calls().into_iter().collect::<Vec<_>>(), [("getattrs", 1)]);
}

#[test]
fn our_own_names_are_looked_up_again_twice() {
    let _turn = TURN.lock();
    let (host, walk) = host(16 << 20);
    walk.mkdir(b"/d", 0o755).expect("mkdir");
    fresh::end();
    assert!(!exists(&walk, "/d/none"));
    put(&walk, "/d/f", b"x").expect("file");
    host.take_calls();
    assert!(exists(&walk, "/d/f") && !exists(&walk, "/d/none"));
    assert!(host.take_calls().is_empty(), "in the same period");
    // Once since we changed them, once since the host says so. The directory above has a new name from before.
    for expected in [Some(&3), Some(&2), None] {
        fresh::end();
        assert!(exists(&walk, "/d/f") && !exists(&walk, "/d/none"));
        assert_eq!(host.take_calls().get("lookup"), expected);
    }
    assert_eq!(walk.resolve(b"/d", Lookup::empty()).expect("d").inode().expect("inode").kind(), S_IFDIR);
}

#[test]
fn a_removal_asks_for_little() {
    let _turn = TURN.lock();
    let (host, walk) = host(16 << 20);
    walk.mkdir(b"/d", 0o755).expect("mkdir");
    let (dir, _) = host.lookup(1, b"d").expect("d");
    for name in [b"f1", b"f2"] {
        host.create(dir, name, 0o644, 0, 0).expect("outside");
    }
    fresh::end();
    assert_eq!(names(&walk, "/d").expect("names").len(), 2);
    host.take_calls();
    for name in ["/d/f1", "/d/f2"] {
        walk.resolve(name.as_bytes(), Lookup::empty()).expect("file");
        walk.unlink(name.as_bytes(), false).expect("unlink");
    }
    let calls: Vec<_> = host.take_calls().into_iter().collect();
    assert_eq!(calls, [("lookup", 2), ("unlink", 2)]);
}
