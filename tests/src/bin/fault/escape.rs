//! Attempts to leave the root. `escape all SECRET UP`: each by itself, where SECRET is the host's path of a file that holds
//! [`MARK`], and UP leads from the root to its directory. `escape race SECONDS`: while others rename.

use std::{
    ffi::{CStr, CString, OsStr},
    fs,
    io::Read,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{
            fs::{OpenOptionsExt, symlink},
            net::{UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// What the host's secret says.
const MARK: &str = "the secret of the host";

pub(crate) fn run(words: &[&str]) -> String {
    match *words {
        ["all", secret, up] => all(secret, up),
        ["race", seconds] => race(seconds.parse().unwrap_or(1)),
        _ => format!("no escape {words:?}"),
    }
}

fn c(path: &str) -> CString {
    CString::new(path).expect("a path")
}

/// Whether what is open is the secret, or a directory where it is.
fn leaks(fd: RawFd) -> bool {
    // SAFETY: the descriptor was made by the caller, who does not use it any more.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    let shown = format!("/proc/self/fd/{}", owned.as_raw_fd());
    let listed = fs::read_dir(&shown).is_ok_and(|mut names| {
        names.any(|entry| entry.is_ok_and(|entry| entry.file_name() == OsStr::new("secret")))
    });
    let mut bytes = [0; 64];
    let count = fs::File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&shown)
        .and_then(|mut file| file.read(&mut bytes))
        .unwrap_or(0);
    listed || String::from_utf8_lossy(&bytes[..count]).contains(MARK)
}

/// Opens relative to a descriptor, in several ways; whether any of them finds the secret.
fn reaches_at(dir: RawFd, path: &str) -> bool {
    let path = c(path);
    [libc::O_RDONLY, libc::O_PATH, libc::O_RDWR, libc::O_RDONLY | libc::O_DIRECTORY].iter().any(|flags| {
        // SAFETY: a string that lives on.
        let fd = unsafe { libc::openat(dir, path.as_ptr(), flags | libc::O_NONBLOCK | libc::O_CLOEXEC) };
        fd >= 0 && leaks(fd)
    })
}

fn reaches(path: &str) -> bool {
    reaches_at(libc::AT_FDCWD, path)
}

/// The same by openat2(2).
fn reaches_with(dir: RawFd, path: &str, resolve: u64) -> bool {
    let path = c(path);
    let how = [libc::O_RDONLY as u64, 0, resolve];
    // SAFETY: a string and a structure of three words that live on.
    let fd = unsafe { libc::syscall(libc::SYS_openat2, dir, path.as_ptr(), how.as_ptr(), size_of_val(&how)) };
    fd >= 0 && leaks(fd as RawFd)
}

fn open_path(path: &str) -> RawFd {
    // SAFETY: a string that lives on.
    unsafe { libc::open(c(path).as_ptr(), libc::O_PATH | libc::O_CLOEXEC) }
}

/// Whether a call on a path succeeds.
fn does(path: &str, call: impl FnOnce(*const libc::c_char) -> i32) -> bool {
    call(c(path).as_ptr()) >= 0
}

fn fresh(name: &str) -> String {
    let path = format!("/tmp/{name}");
    let _ = fs::remove_dir_all(&path);
    let _ = fs::remove_file(&path);
    path
}

fn link(name: &str, target: &str) -> String {
    let path = fresh(name);
    symlink(target, &path).expect("symlink");
    path
}

/// In a child, so that what it does to its root and directory ends with it. Whether it escaped.
fn apart(attempt: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child only does the attempt and ends.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(attempt().into());
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        status != 0
    }
}

/// Passes a descriptor through a socket.
fn passed(fd: RawFd) -> RawFd {
    let (one, other) = UnixStream::pair().expect("a pair");
    let mut byte = [0u8];
    let mut vector = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = [0u64; 4];
    // SAFETY: all structures live on; the control message is as long as its head says.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        (*head).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(head).cast::<i32>().write_unaligned(fd);
        libc::sendmsg(one.as_raw_fd(), &raw const message, 0);
        libc::recvmsg(other.as_raw_fd(), &raw mut message, 0);
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        if head.is_null() { -1 } else { libc::CMSG_DATA(head).cast::<i32>().read_unaligned() }
    }
}

/// Every attempt with its name; `true` is an escape.
fn attempts(secret: &str, up: &str) -> Vec<(&'static str, bool)> {
    let climb = "../".repeat(40);
    let beneath = format!("{climb}{}", secret.trim_start_matches('/'));
    let near = format!("{up}/secret");
    let dir = fresh("dir");
    fs::create_dir_all(format!("{dir}/sub")).expect("directories");
    let kept = open_path(&format!("{dir}/sub"));
    let root = open_path("/");
    let mut list = vec![
        ("absolute path", reaches(secret)),
        (".. beyond the root", reaches(&format!("/{beneath}")) || reaches(&beneath)),
        (".. from a directory", reaches(&format!("/tmp/../{near}"))),
        (".. after a file", reaches(&format!("/etc/passwd/../../{near}"))),
        ("... of /proc/self/root", reaches(&format!("/proc/self/root/{near}"))),
        (
            "... of /proc/1/root",
            reaches(&format!("/proc/1/root/{near}")) || reaches(&format!("/proc/1/root{secret}")),
        ),
        ("... of /proc/self/cwd", reaches(&format!("/proc/self/cwd/{near}"))),
        ("... of /proc/self/fd", reaches(&format!("/proc/self/fd/{root}/{near}"))),
        ("... of /proc/thread-self/root", reaches(&format!("/proc/thread-self/root/{near}"))),
        ("descriptor of the root and ..", reaches_at(root, &near) || reaches_at(root, "..")),
        ("absolute link", reaches(&link("absolute", secret))),
        ("relative link", reaches(&link("relative", &format!("../{near}")))),
        ("link with many ..", reaches(&link("many", &beneath))),
        ("link to .. and on", reaches(&format!("{}/secret", link("upper", &format!("../{up}"))))),
        ("link through /proc/self/root", reaches(&link("proc", &format!("/proc/self/root/{near}")))),
        ("link through a descriptor", reaches(&link("descriptor", &format!("/proc/self/fd/{root}/{near}")))),
        ("chain of links", {
            link("chain1", "/tmp/chain2/..");
            link("chain2", "/tmp/../..");
            reaches(&format!("/tmp/chain1/{near}"))
        }),
        ("link made outside, absolute", reaches("/made/absolute")),
        ("link made outside, relative", reaches("/made/relative")),
        ("directory link made outside", reaches("/made/up/secret") || reaches("/made/up")),
        ("edge of a bind mount", reaches("/bind/../secret") || reaches("/bind/sub/../../secret")),
        ("link in a bind mount, absolute", reaches("/bind/absolute")),
        ("link in a bind mount, relative", reaches("/bind/relative")),
        ("directory link in a bind mount", reaches("/bind/up/secret")),
        ("a bind-mounted file and ..", reaches("/bindfile/../secret")),
        ("openat2 in root", reaches_with(root, &near, 0x10) || reaches_with(kept, &beneath, 0x10)),
        ("openat2 beneath", reaches_with(root, &near, 0x08) || reaches_with(kept, "../../../secret", 0x08)),
        ("openat2 on one mount", reaches_with(root, &near, 0x01)),
        ("openat2 without limits", reaches_with(root, &beneath, 0) || reaches_with(root, secret, 0)),
        ("openat2 from a link", reaches_with(libc::AT_FDCWD, "/made/absolute", 0x10)),
    ];
    fs::rename(&dir, fresh("moved")).expect("rename");
    list.push(("descriptor kept across a rename", reaches_at(kept, &format!("../../../{near}"))));
    fs::remove_dir_all("/tmp/moved").expect("remove");
    list.push((
        "descriptor of a removed directory",
        reaches_at(kept, &format!("../../{near}")) || reaches_at(kept, ".."),
    ));
    list.push((
        "descriptor passed by a socket",
        reaches_at(passed(root), &near) || reaches_at(passed(kept), &beneath),
    ));
    list.extend(changes(secret, up));
    list.extend(privileged(&near, root));
    list.extend(nodes());
    list
}

/// Attempts to change something outside. What they would have changed the host looks at as well.
fn changes(secret: &str, up: &str) -> Vec<(&'static str, bool)> {
    let file = fresh("file");
    fs::write(&file, "mine").expect("a file");
    let paths =
        [secret.to_owned(), format!("/{up}/secret"), "/made/up/secret".into(), "/bind/up/secret".into()];
    let any = |mut attempt: Box<dyn FnMut(&str) -> bool>| paths.iter().any(|path| attempt(path));
    let target = || "/made/up/planted".to_owned();
    vec![
        (
            "hard link to it",
            any(Box::new(|path| fs::hard_link(path, fresh("hard")).is_ok() && reaches("/tmp/hard"))),
        ),
        (
            "rename of it",
            any(Box::new(|path| fs::rename(path, fresh("stolen")).is_ok() && reaches("/tmp/stolen"))),
        ),
        ("unlink", any(Box::new(|path| fs::remove_file(path).is_ok() && path != "/secret"))),
        (
            "truncate",
            any(Box::new(|path| {
                does(path, |path| {
                    // SAFETY: a string that lives on.
                    unsafe { libc::truncate(path, 0) }
                })
            })),
        ),
        (
            "chmod",
            any(Box::new(|path| {
                does(path, |path| {
                    // SAFETY: a string that lives on.
                    unsafe { libc::chmod(path, 0o777) }
                })
            })),
        ),
        (
            "chown",
            any(Box::new(|path| {
                does(path, |path| {
                    // SAFETY: a string that lives on.
                    unsafe { libc::chown(path, 1, 1) }
                })
            })),
        ),
        ("execve", any(Box::new(|path| Command::new(path).arg0("x").spawn().is_ok()))),
        ("new file outside", fs::write(target(), "planted").is_ok()),
        ("new directory outside", fs::create_dir(target()).is_ok()),
        ("new link outside", symlink("x", target()).is_ok()),
        ("rename to outside", fs::rename(&file, target()).is_ok()),
        ("hard link to outside", fs::hard_link(&file, target()).is_ok()),
        ("socket outside", UnixListener::bind(target()).is_ok()),
        (
            "FIFO outside",
            does(&target(), |path| {
                // SAFETY: a string that lives on.
                unsafe { libc::mkfifo(path, 0o600) }
            }),
        ),
        // The host looks at its own.
        ("core pattern", fs::write("/proc/sys/kernel/core_pattern", "|/planted").is_ok_and(|()| false)),
    ]
}

/// Calls that lead out where they are allowed.
fn privileged(near: &str, root: RawFd) -> Vec<(&'static str, bool)> {
    let classic = || {
        let _ = fs::create_dir("/tmp/jail");
        // SAFETY: strings that live on.
        unsafe {
            libc::chroot(c"/tmp/jail".as_ptr());
            for _ in 0..40 {
                libc::chdir(c"..".as_ptr());
            }
            libc::chroot(c".".as_ptr());
        }
        reaches("secret") || reaches(near) || reaches_at(root, near)
    };
    let namespaces = || {
        // SAFETY: strings that live on.
        unsafe {
            libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS);
            libc::mount(
                c"/".as_ptr(),
                c"/tmp".as_ptr(),
                std::ptr::null(),
                libc::MS_BIND | libc::MS_REC,
                std::ptr::null(),
            );
            libc::umount2(c"/".as_ptr(), libc::MNT_DETACH);
            libc::umount2(c"/bind".as_ptr(), libc::MNT_DETACH);
        }
        reaches(near) || reaches(&format!("/tmp/{near}")) || reaches("/tmp/../../secret")
    };
    let first = || {
        let mount = fs::File::open("/proc/1/ns/mnt");
        // SAFETY: no pointers.
        mount.is_ok_and(|file| unsafe { libc::setns(file.as_raw_fd(), 0) } == 0 && reaches(near))
    };
    let handle = || {
        // A handle of inode 2, the root directory of most file systems: length 8, type 1.
        let handle: [u32; 4] = [8, 1, 2, 0];
        // SAFETY: the structure is as long as it says.
        let fd = unsafe { libc::syscall(libc::SYS_open_by_handle_at, root, handle.as_ptr(), libc::O_RDONLY) };
        fd >= 0 && leaks(fd as RawFd)
    };
    vec![
        ("chroot and ..", apart(classic)),
        ("namespaces and mounts", apart(namespaces)),
        ("namespace of the first process", apart(first)),
        ("open by handle", apart(handle)),
    ]
}

/// Nodes that the host has put into the root, and devices.
fn nodes() -> Vec<(&'static str, bool)> {
    let opens = |path: &str| {
        let mut bytes = [0; 16];
        let file = fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        file.and_then(|mut file| file.read(&mut bytes)).is_ok_and(|count| count > 0)
    };
    let whole = |path: &str| {
        fs::File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path).is_ok()
    };
    let makes = |kind: libc::mode_t, major, minor| {
        let path = fresh("node");
        let made = does(&path, |path| {
            // SAFETY: a string that lives on.
            unsafe { libc::mknod(path, kind | 0o600, libc::makedev(major, minor)) }
        });
        made && opens(&path)
    };
    let told = fs::File::options().write(true).custom_flags(libc::O_NONBLOCK).open("/made/fifo");
    vec![
        ("disk of the host", opens("/made/disk")),
        ("kernel log of the host", opens("/made/kmsg")),
        ("memory of the host", opens("/made/mem")),
        ("KVM of the host", whole("/made/kvm")),
        ("loop control of the host", whole("/made/loop")),
        ("new disk node", makes(libc::S_IFBLK, 254, 0)),
        ("new memory node", makes(libc::S_IFCHR, 1, 1)),
        (
            "/dev/mem, /dev/kvm, /proc/kcore",
            ["/dev/mem", "/dev/kvm", "/proc/kcore"].iter().any(|path| opens(path) || whole(path)),
        ),
        ("FIFO with a reader outside", told.is_ok()),
        ("socket with a listener outside", UnixStream::connect("/made/socket").is_ok()),
    ]
}

fn all(secret: &str, up: &str) -> String {
    let list = attempts(secret, up);
    let escaped: Vec<_> = list.iter().filter(|(_, escaped)| *escaped).map(|(name, _)| *name).collect();
    format!("{} attempts, escaped: {escaped:?}", list.len())
}

/// Resolves paths whose directories others rename, exchange for links and move out.
fn race(seconds: u64) -> String {
    let end = Instant::now() + Duration::from_secs(seconds);
    let inside = open_path("/race/moving/deep");
    // SAFETY: a string that lives on.
    unsafe { libc::chdir(c"/race/moving/deep".as_ptr()) };
    let here = |path: &CStr| {
        // SAFETY: a string that lives on.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        fd >= 0 && leaks(fd)
    };
    let (mut rounds, mut found) = (0, 0);
    let mut escaped = std::collections::BTreeSet::new();
    while Instant::now() < end {
        rounds += 1;
        let attempts = [
            ("exchanged for an absolute link", reaches("/race/absolute/secret")),
            ("exchanged for a relative link", reaches("/race/relative/secret")),
            ("file exchanged for a link", reaches("/race/file")),
            ("moved out and ..", reaches("/race/moving/deep/../../../secret")),
            (
                "moved out beneath a descriptor",
                reaches_at(inside, "../../secret") || reaches_at(inside, "../../../secret"),
            ),
            ("moved out beneath the working directory", here(c"../../secret") || here(c"../../../secret")),
            // What is made outside the host sees.
            ("new file where a link may be", fs::write("/race/absolute/planted", "x").is_ok_and(|()| false)),
            (
                "new directory where a link may be",
                fs::create_dir("/race/relative/planted").is_ok_and(|()| false),
            ),
            (
                "rename where a link may be",
                fs::rename("/race/absolute/planted", "/race/relative/other").is_ok_and(|()| false),
            ),
            ("removal where a link may be", fs::remove_file("/race/absolute/secret").is_ok()),
        ];
        found += u32::from(Path::new("/race/absolute/inner").exists());
        escaped.extend(attempts.iter().filter(|(_, escaped)| *escaped).map(|(name, _)| *name));
    }
    // SAFETY: a string that lives on.
    unsafe { libc::chdir(c"/".as_ptr()) };
    let run = if rounds > 10 && found > 0 { "run" } else { "not run" };
    format!("10 races {run}, escaped: {escaped:?}")
}
