//! Files without a name: `O_TMPFILE`.

use crate::{
    Case, Out, case,
    files::{RDONLY, RDWR, WRONLY, as_user, both, file, open, show},
    sys::{self, call},
};

const UNNAMED: i32 = libc::O_TMPFILE;
const BARE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;
const EMPTY: i32 = libc::AT_EMPTY_PATH;

fn make(place: &str, flags: i32, mode: u32) -> i32 {
    call!(SYS_open, sys::c(place), flags, mode) as i32
}

fn stat(fd: i32) -> libc::stat {
    // SAFETY: plain data, for which zeros are a value.
    #[allow(unsafe_code, reason = "a structure for the kernel to fill")]
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    call!(SYS_fstat, fd, &raw mut stat);
    stat
}

fn show_stat(out: &mut Out, what: &str, fd: i32) {
    let stat = stat(fd);
    out.say(format_args!(
        "{what}: mode {:o} links {} size {} owner {}:{}",
        stat.st_mode, stat.st_nlink, stat.st_size, stat.st_uid, stat.st_gid
    ));
}

/// By the link in `/proc`.
fn link(fd: i32, name: &str) -> i64 {
    let from = format!("/proc/self/fd/{fd}");
    call!(SYS_linkat, libc::AT_FDCWD, sys::c(&from), libc::AT_FDCWD, sys::c(name), libc::AT_SYMLINK_FOLLOW)
}

fn link_by_number(fd: i32, name: &str) -> i64 {
    call!(SYS_linkat, fd, sys::c(""), libc::AT_FDCWD, sys::c(name), EMPTY)
}

fn entries() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(".")
        .map(|all| all.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort_unstable();
    names
}

/// The events that wait at an inotify descriptor: masks and names, an inode's number as `INO`.
fn events(fd: i32) -> Vec<String> {
    let mut all = Vec::new();
    let mut bytes = [0u8; 4096];
    let got = sys::read(fd, &mut bytes);
    let mut rest = &bytes[..usize::try_from(got).unwrap_or(0)];
    while rest.len() >= 16 {
        let word = |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        let (mask, len) = (word(4), word(12) as usize);
        let name: Vec<u8> = rest[16..16 + len].iter().copied().take_while(|&byte| byte != 0).collect();
        let name = if name.starts_with(b"#") { "INO".into() } else { String::from_utf8_lossy(&name) };
        all.push(format!("{mask:#x} {name:?}"));
        rest = &rest[16 + len..];
    }
    all
}

pub(crate) const CASES: &[Case] = &[
    case("tmpfile/make", &["open"], |out| {
        both(out, |out| {
            let fd = make(".", UNNAMED | RDWR, 0o666);
            out.ok("make", fd.into());
            show_stat(out, "it", fd);
            out.say(format_args!("names {:?}", entries()));
            out.ret("write", sys::write(fd, b"some text"));
            let mut bytes = [0; 4];
            out.ret("read", call!(SYS_pread64, fd, bytes.as_mut_ptr(), 4, 5));
            out.say(format_args!("{}", bytes.escape_ascii()));
            show_stat(out, "it", fd);
            let flags = call!(SYS_fcntl, fd, libc::F_GETFL);
            out.say(format_args!("flags {flags:#o}"));
            let again = open(&format!("/proc/self/fd/{fd}"), RDONLY);
            out.ok("opened again", again.into());
            show_stat(out, "it", again);
            let writer = make(".", UNNAMED | WRONLY, 0o600);
            out.ret("read of a writer", sys::read(writer, &mut [0]));
            sys::close(fd);
            sys::close(again);
            sys::close(writer);
        });
    }),
    case("tmpfile/shown", &["open", "readlink"], |out| {
        both(out, |out| {
            let fd = make(".", UNNAMED | RDWR, 0o600);
            let ino = stat(fd).st_ino.to_string();
            let shown = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
            let here = std::env::current_dir().unwrap_or_default();
            let shown = shown.strip_prefix(&here).map(|path| path.display().to_string().replace(&ino, "INO"));
            out.say(format_args!("{shown:?}"));
            link(fd, "a");
            let shown = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
            let shown = shown.strip_prefix(&here).map(|path| path.display().to_string().replace(&ino, "INO"));
            out.say(format_args!("with a name: {shown:?}"));
            sys::close(fd);
        });
    }),
    case("tmpfile/link", &["open", "linkat"], |out| {
        both(out, |out| {
            let fd = make(".", UNNAMED | RDWR, 0o640);
            sys::write(fd, b"text");
            out.ret("link", link(fd, "a"));
            show_stat(out, "it", fd);
            show(out, "a", "a");
            out.ret("the same name", link(fd, "a"));
            out.ret("another", link(fd, "b"));
            show_stat(out, "it", fd);
            sys::write(fd, b" and more");
            show(out, "b", "b");
            call!(SYS_unlink, sys::c("a"));
            show_stat(out, "one name less", fd);
            out.ret("another", link(fd, "c"));
            call!(SYS_unlink, sys::c("b"));
            call!(SYS_unlink, sys::c("c"));
            show_stat(out, "none left", fd);
            out.ret("once more", link(fd, "d"));
            out.say(format_args!("names {:?}", entries()));
            sys::close(fd);
            let other = file("e", b"x");
            call!(SYS_unlink, sys::c("e"));
            out.ret("of what lost its name", link(other, "f"));
            sys::close(other);
        });
    }),
    case("tmpfile/link-by-number", &["open", "linkat"], |out| {
        both(out, |out| {
            let fd = make(".", UNNAMED | RDWR, 0o640);
            out.ret("link", link_by_number(fd, "a"));
            out.ret("link", link_by_number(fd, "b"));
            show_stat(out, "it", fd);
            sys::close(fd);
            let fd = make(".", UNNAMED | RDWR | libc::O_EXCL, 0o640);
            out.ret("exclusive", link_by_number(fd, "c"));
            out.ret("exclusive", link(fd, "c"));
            show_stat(out, "it", fd);
            out.ret("no name at all", call!(SYS_linkat, fd, sys::c(""), libc::AT_FDCWD, sys::c("d"), 0));
            out.say(format_args!("names {:?}", entries()));
            sys::close(fd);
        });
    }),
    case("tmpfile/link-by-others", &["open", "linkat"], |out| {
        both(out, |out| {
            call!(SYS_chmod, sys::c("."), 0o777);
            let fd = make(".", UNNAMED | RDWR, 0o666);
            let to = out.fd();
            let pid = sys::fork(|| {
                let mut out = Out::new(to);
                out.ret("a child by number", link_by_number(fd, "a"));
                0
            });
            sys::wait(pid);
            as_user(out, 1000, |out| {
                out.ret("a user by number", link_by_number(fd, "b"));
                out.ret("a user by name", link(fd, "c"));
                let own = make(".", UNNAMED | RDWR, 0o600);
                out.ret("the user's own", link_by_number(own, "d"));
            });
            sys::close(fd);
        });
    }),
    case("tmpfile/flags", &["open", "openat2"], |out| {
        let two = |flags: i32, mode: u64| {
            let how = [u64::from(flags as u32), mode, 0];
            call!(SYS_openat2, libc::AT_FDCWD, sys::c("."), how.as_ptr(), 24)
        };
        out.ok("read only", make(".", UNNAMED | RDONLY, 0o600).into());
        out.ok("with both bits", make(".", UNNAMED | 3, 0o600).into());
        out.ok("without the directory", make(".", BARE | RDWR, 0o600).into());
        out.ok("with creation", make(".", UNNAMED | RDWR | libc::O_CREAT, 0o600).into());
        out.ok("a directory to create", make("x", libc::O_CREAT | libc::O_DIRECTORY, 0o600).into());
        out.ok("of a place", make(".", UNNAMED | RDWR | libc::O_PATH, 0o600).into());
        out.ok("truncated", make(".", UNNAMED | RDWR | libc::O_TRUNC, 0o600).into());
        out.ok("to append", make(".", UNNAMED | WRONLY | libc::O_APPEND, 0o600).into());
        out.ok("openat2", two(UNNAMED | RDWR, 0o600));
        out.ok("openat2, mode", two(UNNAMED | RDWR, 0o10600));
        out.ok("openat2, without the directory", two(BARE | RDWR, 0o600));
        out.ok("openat2, a place", two(UNNAMED | RDWR | libc::O_PATH, 0));
        out.ok("openat2, a directory to create", two(libc::O_CREAT | libc::O_DIRECTORY | RDWR, 0o600));
    }),
    case("tmpfile/places", &["open"], |out| {
        both(out, |out| {
            file("a", b"");
            call!(SYS_symlink, sys::c("."), sys::c("here"));
            call!(SYS_symlink, sys::c("a"), sys::c("there"));
            out.ok("no such", make("none", UNNAMED | RDWR, 0o600).into());
            out.ok("a file", make("a", UNNAMED | RDWR, 0o600).into());
            out.ok("below a file", make("a/b", UNNAMED | RDWR, 0o600).into());
            out.ok("by a link", make("here", UNNAMED | RDWR, 0o600).into());
            out.ok("a link itself", make("here", UNNAMED | RDWR | libc::O_NOFOLLOW, 0o600).into());
            out.ok("a link to a file", make("there", UNNAMED | RDWR, 0o600).into());
            out.ok("nothing", make("", UNNAMED | RDWR, 0o600).into());
            call!(SYS_mkdir, sys::c("dir"), 0o700);
            let dir = open("dir", RDONLY);
            let at = |flags: i32| call!(SYS_openat, dir, sys::c("."), UNNAMED | flags, 0o600);
            out.ok("in a directory", at(RDWR));
            as_user(out, 1000, |out| out.ok("another's", make("dir", UNNAMED | RDWR, 0o600).into()));
            call!(SYS_chmod, sys::c("dir"), 0o555);
            as_user(out, 1000, |out| out.ok("that is read only", make("dir", UNNAMED | RDWR, 0o600).into()));
            call!(SYS_chmod, sys::c("dir"), 0o777);
            as_user(out, 1000, |out| {
                let fd = make("dir", UNNAMED | RDWR, 0o604);
                show_stat(out, "a user's", fd);
                out.ret("link", link(fd, "dir/mine"));
            });
            call!(SYS_unlink, sys::c("dir/mine"));
            call!(SYS_chown, sys::c("dir"), 5, 6);
            call!(SYS_chmod, sys::c("dir"), 0o2777);
            call!(SYS_umask, 0o027);
            let fd = make("dir", UNNAMED | RDWR, 0o6777);
            show_stat(out, "in a directory that gives its group", fd);
            call!(SYS_umask, 0o022);
        });
        out.ok("/proc", make("/proc", UNNAMED | RDWR, 0o600).into());
        out.ok("/dev", make("/dev", UNNAMED | RDWR, 0o600).into());
        out.ok("/dev/null", make("/dev/null", UNNAMED | RDWR, 0o600).into());
    }),
    case("tmpfile/other-file-system", &["open", "linkat"], |out| {
        let fd = make(".", UNNAMED | RDWR, 0o600);
        out.ret("link elsewhere", link(fd, "/root/elsewhere"));
        let root = make("/root", UNNAMED | RDWR, 0o600);
        out.ret("and back", link(root, "back"));
    }),
    case("tmpfile/space", &["open", "statfs"], |out| {
        let used = || std::fs::metadata(".").is_ok();
        // Many, each of which goes when it is closed.
        let mut made = 0;
        for _ in 0..300 {
            let fd = make(".", UNNAMED | RDWR, 0o600);
            if fd < 0 || sys::write(fd, &[b'x'; 5000]) != 5000 {
                break;
            }
            made += 1;
            sys::close(fd);
        }
        out.say(format_args!("{made} {}", used()));
        let fd = make(".", UNNAMED | RDWR, 0o600);
        out.ret("truncate", call!(SYS_ftruncate, fd, 100_000));
        let map = call!(SYS_mmap, 0, 4096, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, 4096);
        out.say(format_args!("mapped {}", map > 0));
        sys::close(fd);
        out.ret("unmap", call!(SYS_munmap, map, 4096));
    }),
    case("tmpfile/watched", &["open", "linkat", "inotify_add_watch"], |out| {
        both(out, |out| {
            let watch = call!(SYS_inotify_init1, libc::O_NONBLOCK) as i32;
            call!(SYS_inotify_add_watch, watch, sys::c("."), 0xfff);
            let fd = make(".", UNNAMED | RDWR, 0o600);
            out.say(format_args!("made: {:?}", events(watch)));
            sys::write(fd, b"text");
            out.say(format_args!("written: {:?}", events(watch)));
            link(fd, "a");
            out.say(format_args!("linked: {:?}", events(watch)));
            sys::write(fd, b"text");
            out.say(format_args!("written: {:?}", events(watch)));
            sys::close(fd);
            out.say(format_args!("closed: {:?}", events(watch)));
            let fd = make(".", UNNAMED | RDWR, 0o600);
            sys::close(fd);
            out.say(format_args!("made and closed: {:?}", events(watch)));
            sys::close(watch);
        });
    }),
];
