//! devpts, and both ends of pseudo-terminals.

use linux_raw_sys::general::{O_NOCTTY, O_NONBLOCK, O_RDWR};
use proptest::prelude::*;
use std::{format, string::String, vec};

use super::{
    super::{devpts, file::PollMask},
    *,
};
use crate::{
    errno::Errno,
    tty::{
        file::End,
        pty::{CONTROLLING, PROGRAM},
        termios::Termios,
    },
};

const FLAGS: u32 = O_RDWR | O_NOCTTY | O_NONBLOCK;

/// A walk from the root of a new devpts.
fn world(options: &str) -> (Walk<'static>, String) {
    crate::mem::init_for_tests();
    let (root, shown) = devpts::mount(options.as_bytes()).expect("options");
    let root = Path::root_of(&Mount::new(Dentry::root(root), "devpts", "devpts", 0, &shown));
    (Walk { start: root.clone(), root, who: Who::KERNEL, umask: 0 }, shown)
}

fn open(walk: &Walk<'_>, name: &str) -> Result<Arc<File>> {
    walk.open(name.as_bytes(), FLAGS, 0, Lookup::empty())
}

/// A controlling end that is not locked, and the other end's name.
fn unlocked(walk: &Walk<'_>) -> (Arc<File>, String) {
    let master = open(walk, "ptmx").expect("ptmx");
    let end = master.downcast::<End>().expect("an end");
    end.pty().unlock();
    let name = format!("{}", end.pty().index);
    (master, name)
}

fn pair(walk: &Walk<'_>) -> (Arc<File>, Arc<File>) {
    let (master, name) = unlocked(walk);
    let slave = open(walk, &name).expect("slave");
    (master, slave)
}

#[test]
fn options_are_checked_and_shown() {
    let (walk, shown) = world("newinstance,ptmxmode=0666,mode=0620,gid=5");
    assert_eq!(shown, "gid=5,mode=620,ptmxmode=666");
    let (_master, name) = unlocked(&walk);
    let attr = walk.resolve(name.as_bytes(), Lookup::empty()).and_then(|path| path.inode()?.attr());
    assert_eq!(attr.map(|attr| (attr.mode, attr.gid)), Ok((0o20620, 5)));
    for bad in ["mode=9", "nonsense", "max=x", "gid=-1", "newinstance=1"] {
        assert!(devpts::mount(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn names_come_and_go_with_the_controlling_end() {
    let (walk, _) = world("max=3");
    let (first, second) = (unlocked(&walk), unlocked(&walk));
    assert_eq!(names(&walk, "/"), Ok(vec![b"0".to_vec(), b"1".to_vec(), b"ptmx".to_vec()]));
    let slave = open(&walk, &first.1).expect("slave");
    drop(first);
    assert_eq!(open(&walk, "0").map(drop), Err(Errno::ENOENT));
    let third = unlocked(&walk);
    assert_eq!(third.1, "2");
    assert_eq!(open(&walk, "ptmx").map(drop), Err(Errno::ENOSPC));
    drop(slave);
    assert_eq!(unlocked(&walk).1, "0");
    drop((second, third));
}

#[test]
fn ends_see_each_other_go() {
    let (walk, _) = world("");
    let (master, name) = unlocked(&walk);
    assert_eq!(read(&master, 9), Err(Errno::EAGAIN));
    let slave = open(&walk, &name).expect("slave");
    assert_eq!(write(&slave, b"text"), Ok(4));
    drop(slave);
    assert_eq!(master.poll(), PollMask::READABLE | PollMask::WRITABLE | PollMask::HUP);
    assert_eq!(read(&master, 9), Ok(b"text".to_vec()));
    assert_eq!(read(&master, 9), Err(Errno::EIO));
    let slave = open(&walk, &name).expect("slave");
    assert_eq!(read(&master, 9), Err(Errno::EAGAIN));
    drop(master);
    assert_eq!(read(&slave, 9), Ok(vec![]));
    assert_eq!(write(&slave, b"x"), Err(Errno::EIO));
}

#[test]
fn a_locked_one_cannot_be_opened() {
    let (walk, _) = world("");
    let _master = open(&walk, "ptmx").expect("ptmx");
    assert_eq!(open(&walk, "0").map(drop), Err(Errno::EIO));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Bytes arrive once and in order, whatever is full when; what is held is bounded.
    #[test]
    fn raw_bytes_arrive(
        down in any::<bool>(),
        steps in prop::collection::vec((any::<bool>(), 1usize..9000), 1..60),
    ) {
        let (walk, _) = world("");
        let (master, slave) = pair(&walk);
        let pty = slave.downcast::<End>().expect("end").pty().clone();
        pty.set_termios(Termios::RAW);
        let (from, to) = if down { (&master, &slave) } else { (&slave, &master) };
        let (mut sent, mut got) = (0usize, 0usize);
        let byte = |at: usize| (at % 251) as u8;
        for (writes, len) in steps {
            if writes {
                let bytes: Vec<u8> = (sent..sent + len).map(byte).collect();
                sent += write(from, &bytes).unwrap_or(0);
                prop_assert!(sent - got <= 4096 + 8192);
            } else {
                let bytes = read(to, len).unwrap_or_default();
                prop_assert!(bytes.iter().enumerate().all(|(at, b)| *b == byte(got + at)));
                got += bytes.len();
            }
        }
        while let Ok(bytes) = read(to, 5000) {
            prop_assert!(bytes.iter().enumerate().all(|(at, b)| *b == byte(got + at)));
            got += bytes.len();
        }
        prop_assert_eq!(sent, got);
        prop_assert_eq!((pty.waiting(CONTROLLING), pty.waiting(PROGRAM)), (0, 0));
    }
}
