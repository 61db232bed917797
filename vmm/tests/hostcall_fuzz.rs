//! Throws random call pages at a hostcall server over a temporary directory: it must not panic, must not reach
//! anything outside the directory, and must not leak descriptors.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
};

use hostcall::{Attr, CallPage, Hostcall, IoRange, PAGE_SIZE};
use vmm::harness::Harness;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Calls of one run, and longest runs; `FUZZ_CALLS` in the environment asks for more.
const CALLS: u64 = 30_000;

/// xorshift64*: the same run for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A number that is likely to be on an edge of something.
    fn number(&mut self) -> u64 {
        match self.below(10) {
            0..=3 => self.below(8),
            4 => self.below(300),
            5 => self.below(8) * 4096,
            6 => u64::MAX - self.below(8192),
            7 => 1 << self.below(64),
            8 => (1 << 20) - self.below(4097),
            _ => self.next(),
        }
    }
}

const NAMES: &[&[u8]] = &[
    b"a",
    b"b",
    b"dir",
    b"file",
    b"escape",
    b"absolute",
    b"..",
    b".",
    b"",
    b"../secret",
    b"/etc/passwd",
    b"x/y",
    b"nul\0nul",
    b"fifo",
    b"new",
    b"loop",
];

const ATTRIBUTES: &[&[u8]] =
    &[b"user.a", b"user.b", b"user.", b"security.capability", b"security.x", b"trusted.x", b"user.a\0b", b""];

/// Makes the page one about an extended attribute.
fn about_attribute(page: &mut CallPage, random: &mut Random) {
    let name = ATTRIBUTES[usize::try_from(random.below(ATTRIBUTES.len() as u64)).unwrap()];
    page.data[..name.len()].copy_from_slice(name);
    page.header.args[1] = name.len() as u64;
    page.header.args[2] = random.below(64) * 4096;
    page.header.args[3] = random.below(70_000);
    page.header.args[4] %= 4;
}

fn page(random: &mut Random) -> CallPage {
    let mut page = CallPage::new_zeroed();
    let calls = Hostcall::ALL;
    page.header.nr = match random.below(20) {
        0 => u32::try_from(random.below(100)).unwrap(),
        _ => calls[usize::try_from(random.below(calls.len() as u64)).unwrap()] as u32,
    };
    for arg in &mut page.header.args {
        *arg = random.number();
    }
    if random.below(4) == 0 {
        for byte in &mut page.data[..512] {
            *byte = u8::try_from(random.below(256)).unwrap();
        }
        return page;
    }
    let call = Hostcall::from_nr(page.header.nr);
    if matches!(call, Some(Hostcall::FsRead | Hostcall::FsWrite | Hostcall::ReleaseMemory)) {
        for index in 0..4 {
            let range = IoRange { gpa: random.number(), len: random.number() };
            page.data[index * 16..][..16].copy_from_slice(range.as_bytes());
        }
        return page;
    }
    let mut name = || NAMES[usize::try_from(random.next() % NAMES.len() as u64).unwrap()];
    let (first, second) = (name(), name());
    page.data[..first.len()].copy_from_slice(first);
    page.data[first.len()..][..second.len()].copy_from_slice(second);
    page.header.args[0] = 1 + page.header.args[0] % 12;
    page.header.args[1] = first.len() as u64;
    match call {
        Some(Hostcall::FsSymlink) => page.header.args[2] = second.len() as u64,
        Some(Hostcall::FsRename) => {
            page.header.args[2] = 1 + page.header.args[2] % 12;
            page.header.args[3] = second.len() as u64;
            page.header.args[4] %= 4;
        }
        Some(Hostcall::FsLink) => {
            page.header.args[1] = 1 + page.header.args[2] % 12;
            page.header.args[2] = first.len() as u64;
        }
        Some(Hostcall::FsGetXattr | Hostcall::FsSetXattr | Hostcall::FsRemoveXattr) => {
            about_attribute(&mut page, random);
        }
        Some(Hostcall::FsListXattr) => page.header.args[1] = 4096 * (page.header.args[2] % 64),
        Some(Hostcall::FsSeek) => page.header.args[2] = 3 + page.header.args[2] % 2,
        Some(Hostcall::FsUnlink) => page.header.args[2] %= 2,
        Some(Hostcall::FsOpen) => page.header.args[1] = 1 + page.header.args[1] % 3,
        _ => {}
    }
    page
}

struct Scene {
    top: PathBuf,
    secret: (u64, u64),
}

impl Scene {
    fn new(name: &str) -> Self {
        let top = std::env::temp_dir().join(format!("ringfence-{name}-{}", std::process::id()));
        let root = top.join("root");
        fs::create_dir_all(root.join("dir")).unwrap();
        fs::write(top.join("secret"), "secret").unwrap();
        fs::write(root.join("file"), vec![7; 10_000]).unwrap();
        symlink("../secret", root.join("escape")).unwrap();
        symlink(top.join("secret"), root.join("absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let meta = fs::metadata(top.join("secret")).unwrap();
        Self { secret: (meta.dev(), meta.ino()), top }
    }

    fn root(&self) -> PathBuf {
        self.top.join("root")
    }

    fn check(&self) {
        assert_eq!(fs::read(self.top.join("secret")).unwrap(), b"secret");
        let mut names: Vec<_> = fs::read_dir(&self.top).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["root", "secret"]);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        make_removable(&self.root());
        let _ = fs::remove_dir_all(&self.top);
    }
}

/// The server may have been asked to take all rights from a directory.
fn make_removable(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_removable(&entry.path());
        }
    }
}

/// Keeps files small whatever sizes are asked for.
fn limit_file_size() {
    let limit = libc::rlimit { rlim_cur: 4 << 20, rlim_max: 4 << 20 };
    // SAFETY: `limit` is a valid structure; an ignored signal has no handler that could run.
    unsafe {
        libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

#[test]
fn random_calls_do_no_harm() {
    limit_file_size();
    let scene = Scene::new("fuzz");
    let harness = Harness::new(&scene.root()).unwrap();
    let before = Harness::descriptors().unwrap();
    let calls = std::env::var("FUZZ_CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(CALLS);
    let mut random = Random(0x5eed_0001);
    let mut served = 0;
    for _ in 0..calls {
        let request = page(&mut random);
        // Without the root, nothing that follows reaches a file.
        let others = request
            .data
            .chunks(size_of_val(&hostcall::ROOT_HANDLE))
            .take(request.header.args[1].min(64) as usize);
        let root = hostcall::ROOT_HANDLE;
        let closes_root = request.header.args[0] == u64::from(root)
            || others.into_iter().any(|bytes| bytes == root.to_le_bytes());
        if request.header.nr == Hostcall::FsClose as u32 && closes_root {
            continue;
        }
        let bytes: [u8; PAGE_SIZE] = request.as_bytes().try_into().unwrap();
        let Some(answer) = harness.call(&bytes).unwrap() else { continue };
        let answer = CallPage::read_from_bytes(&answer).unwrap();
        assert!(answer.header.ret >= -4095, "{:?}", request.header);
        if answer.header.ret < 0 {
            continue;
        }
        served += 1;
        let call = Hostcall::from_nr(request.header.nr);
        if matches!(call, Some(Hostcall::FsLookup | Hostcall::FsGetattr | Hostcall::FsCreate)) {
            let (attr, _) = Attr::read_from_prefix(&answer.data).unwrap();
            assert_ne!((attr.dev, attr.ino), scene.secret, "{:?}", request.header);
        }
    }
    assert!(served > calls / 20, "only {served} of {calls} calls did anything");
    scene.check();
    assert!(Harness::descriptors().unwrap() <= before + 512);
}

/// A call with up to two names in its data.
fn call(harness: &Harness, nr: Hostcall, args: [u64; 6], names: &[&[u8]]) -> i64 {
    let mut page = CallPage::new_zeroed();
    page.header.nr = nr as u32;
    page.header.args = args;
    let bytes = names.concat();
    page.data[..bytes.len()].copy_from_slice(&bytes);
    let answer = harness.call(page.as_bytes().try_into().unwrap()).unwrap().unwrap();
    CallPage::read_from_bytes(&answer).unwrap().header.ret
}

#[test]
fn names_that_are_not_one_component_are_refused_by_every_call() {
    let scene = Scene::new("names");
    let harness = Harness::new(&scene.root()).unwrap();
    let file = call(&harness, Hostcall::FsLookup, [1, 4, 0, 0, 0, 0], &[b"file"]) as u64;
    let long = [b'n'; 256];
    let bad: [&[u8]; 12] = [
        b"",
        b".",
        b"..",
        b"/",
        b"../secret",
        b"dir/../../secret",
        b"dir/",
        b"/etc/passwd",
        b"file\0",
        b"\0",
        b"..\0",
        &long,
    ];
    for name in bad {
        let len = name.len() as u64;
        let refused = |what: i64| {
            let errno = -what;
            assert!(
                [i64::from(libc::EINVAL), i64::from(libc::ENAMETOOLONG)].contains(&errno),
                "{name:?}: {what}"
            );
        };
        for nr in [Hostcall::FsLookup, Hostcall::FsCreate, Hostcall::FsMkdir, Hostcall::FsUnlink] {
            let third = if nr == Hostcall::FsUnlink { 0 } else { 0o644 };
            refused(call(&harness, nr, [1, len, third, 0, 0, 0], &[name]));
        }
        refused(call(&harness, Hostcall::FsMknod, [1, len, 0o010_644, 0, 0, 0], &[name]));
        refused(call(&harness, Hostcall::FsSymlink, [1, len, 1, 0, 0, 0], &[name, b"x"]));
        refused(call(&harness, Hostcall::FsLink, [file, 1, len, 0, 0, 0], &[name]));
        refused(call(&harness, Hostcall::FsRename, [1, len, 1, 3, 0, 0], &[name, b"new"]));
        refused(call(&harness, Hostcall::FsRename, [1, 4, 1, len, 0, 0], &[b"file", name]));
    }
    // Lengths that reach beyond the data, and links that lead out: looked up, they are links, never followed.
    for len in [4033, 4096, u64::from(u32::MAX), u64::MAX] {
        assert!(call(&harness, Hostcall::FsLookup, [1, len, 0, 0, 0, 0], &[b"file"]) < 0);
    }
    for name in [&b"escape"[..], b"absolute", b"loop"] {
        let link = call(&harness, Hostcall::FsLookup, [1, name.len() as u64, 0, 0, 0, 0], &[name]) as u64;
        assert_eq!(call(&harness, Hostcall::FsOpen, [link, 1, 0, 0, 0, 0], &[]), -i64::from(libc::ELOOP));
        let below = call(&harness, Hostcall::FsLookup, [link, 4, 0, 0, 0, 0], &[b"file"]);
        assert_eq!(below, -i64::from(libc::ENOTDIR));
        assert_eq!(call(&harness, Hostcall::FsClose, [link, 0, 0, 0, 0, 0], &[]), 0);
    }
    scene.check();
}

#[test]
fn handles_that_were_given_up_mean_nothing_or_what_took_their_place() {
    let scene = Scene::new("reuse");
    let harness = Harness::new(&scene.root()).unwrap();
    let look =
        |name: &[u8]| call(&harness, Hostcall::FsLookup, [1, name.len() as u64, 0, 0, 0, 0], &[name]) as u64;
    let bad = -i64::from(libc::EBADF);
    let file = look(b"file");
    assert_eq!(call(&harness, Hostcall::FsOpen, [file, 3, 0, 0, 0, 0], &[]), 0);
    assert_eq!(call(&harness, Hostcall::FsClose, [file, 0, 0, 0, 0, 0], &[]), 0);
    for nr in
        [Hostcall::FsGetattr, Hostcall::FsClose, Hostcall::FsReadlink, Hostcall::FsStatfs, Hostcall::FsRead]
    {
        assert_eq!(call(&harness, nr, [file, 0, 0, 0, 0, 0], &[]), bad, "{nr:?}");
    }
    // The number comes back for a directory, without the rights of the file.
    let dir = look(b"dir");
    assert_eq!(dir, file);
    assert_eq!(call(&harness, Hostcall::FsRead, [dir, 0, 0, 0, 0, 0], &[]), bad);
    assert_eq!(call(&harness, Hostcall::FsOpen, [dir, 2, 0, 0, 0, 0], &[]), -i64::from(libc::EISDIR));
    assert!(call(&harness, Hostcall::WindowMap, [dir, 0, 4096, 0, 0, 0], &[]) < 0);
    for number in [0, 2, 3, 511, 4096, u64::from(u32::MAX), u64::from(u32::MAX) + 2, u64::MAX] {
        if number != dir {
            assert_eq!(call(&harness, Hostcall::FsGetattr, [number, 0, 0, 0, 0, 0], &[]), bad, "{number}");
        }
    }
    // Lists of handles: each by itself.
    let list: Vec<u8> = [1u32, 999, 0, u32::MAX].iter().flat_map(|handle| handle.to_le_bytes()).collect();
    assert_eq!(call(&harness, Hostcall::FsGetattrs, [4, 0, 0, 0, 0, 0], &[&list]), 0);
    assert_eq!(call(&harness, Hostcall::FsGetattrs, [33, 0, 0, 0, 0, 0], &[]), -i64::from(libc::EINVAL));
    scene.check();
}
