//! Extended attributes.

use crate::{
    Case, Out, case,
    files::{CREATE, RDONLY, as_user, both, file, in_root, open, text},
    sys::{self, call},
};

const XCREATE: i32 = libc::XATTR_CREATE;
const XREPLACE: i32 = libc::XATTR_REPLACE;

fn set(path: &str, name: &str, value: &[u8], flags: i32) -> i64 {
    call!(SYS_setxattr, sys::c(path), sys::c(name), value.as_ptr(), value.len(), flags)
}

fn get(out: &mut Out, what: &str, path: &str, name: &str) {
    let mut bytes = vec![0u8; 70000];
    let got = call!(SYS_getxattr, sys::c(path), sys::c(name), bytes.as_mut_ptr(), bytes.len());
    taken(out, what, &bytes, got);
}

fn taken(out: &mut Out, what: &str, bytes: &[u8], got: i64) {
    match usize::try_from(got) {
        Ok(len) => out.say(format_args!("{what}: {}", text(&bytes[..len]))),
        Err(_) => out.ret(what, got),
    }
}

fn remove(path: &str, name: &str) -> i64 {
    call!(SYS_removexattr, sys::c(path), sys::c(name))
}

/// The names, sorted: some file systems give them in no order.
fn names(out: &mut Out, what: &str, path: &str) {
    let mut bytes = vec![0u8; 70000];
    let got = call!(SYS_listxattr, sys::c(path), bytes.as_mut_ptr(), bytes.len());
    let Ok(len) = usize::try_from(got) else { return out.ret(what, got) };
    let mut list: Vec<String> = bytes[..len]
        .split(|&byte| byte == 0)
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    list.sort();
    out.say(format_args!("{what} = {got} {list:?}"));
}

/// `struct vfs_cap_data` of version 2 with one capability.
fn capabilities() -> Vec<u8> {
    [0x0200_0001u32, 1 << 10, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(crate) const CASES: &[Case] = &[
    case("xattr/set-and-get", &["setxattr", "getxattr", "listxattr"], |out| {
        both(out, |out| {
            file("a", b"");
            names(out, "none", "a");
            out.ret("set", set("a", "user.one", b"1", 0));
            out.ret("set another", set("a", "user.two", b"two", 0));
            get(out, "one", "a", "user.one");
            get(out, "two", "a", "user.two");
            get(out, "absent", "a", "user.three");
            names(out, "names", "a");
            out.ret("again", set("a", "user.one", b"longer than before", 0));
            get(out, "one", "a", "user.one");
            out.ret("empty", set("a", "user.one", b"", 0));
            get(out, "one", "a", "user.one");
        });
    }),
    case("xattr/create-and-replace", &["setxattr"], |out| {
        both(out, |out| {
            file("a", b"");
            out.ret("replace none", set("a", "user.x", b"1", XREPLACE));
            out.ret("create", set("a", "user.x", b"2", XCREATE));
            out.ret("create again", set("a", "user.x", b"3", XCREATE));
            out.ret("replace", set("a", "user.x", b"4", XREPLACE));
            out.ret("both, there", set("a", "user.x", b"5", XCREATE | XREPLACE));
            out.ret("both, absent", set("a", "user.y", b"5", XCREATE | XREPLACE));
            out.ret("unknown flag", set("a", "user.x", b"6", 4));
            get(out, "value", "a", "user.x");
        });
    }),
    case("xattr/remove", &["removexattr", "listxattr"], |out| {
        both(out, |out| {
            file("a", b"");
            out.ret("absent", remove("a", "user.x"));
            set("a", "user.x", b"1", 0);
            set("a", "user.y", b"2", 0);
            out.ret("there", remove("a", "user.x"));
            out.ret("once more", remove("a", "user.x"));
            names(out, "left", "a");
            get(out, "gone", "a", "user.x");
            out.ret("no file", remove("b", "user.x"));
        });
    }),
    case("xattr/sizes", &["getxattr", "listxattr", "setxattr"], |out| {
        both(out, |out| {
            file("a", b"");
            set("a", "user.x", b"12345", 0);
            let mut bytes = [b'#'; 16];
            let (path, name, to) = (sys::c("a"), sys::c("user.x"), bytes.as_mut_ptr());
            out.ret("length", call!(SYS_getxattr, path, name, 0, 0));
            out.ret("too small", call!(SYS_getxattr, path, name, to, 4));
            out.ret("exact", call!(SYS_getxattr, path, name, to, 5));
            out.ret("list length", call!(SYS_listxattr, path, 0, 0));
            out.ret("list too small", call!(SYS_listxattr, path, to, 6));
            out.ret("list exact", call!(SYS_listxattr, path, to, 7));
            out.say(text(&bytes));
            let long = vec![b'v'; 65537];
            out.ret("too long", set("a", "user.long", &long, 0));
            out.ret("3000 bytes", set("a", "user.long", &long[..3000], 0));
            get(out, "long", "a", "user.long");
        });
    }),
    case("xattr/long-values", &["setxattr", "getxattr"], |out| {
        file("a", b"");
        let long: Vec<u8> = (0..65536u32).map(|at| (at / 7) as u8).collect();
        for len in [4095, 4096, 4097, 40000, 65536] {
            out.ret("set", set("a", "user.long", &long[..len], 0));
            let mut bytes = vec![0u8; 70000];
            let got = call!(SYS_getxattr, sys::c("a"), sys::c("user.long"), bytes.as_mut_ptr(), bytes.len());
            out.say(format_args!("{got} {}", bytes[..len] == long[..len]));
        }
    }),
    case("xattr/names", &["setxattr", "getxattr", "removexattr"], |out| {
        both(out, |out| {
            file("a", b"");
            let longest = format!("user.{}", "n".repeat(250));
            let over = format!("user.{}", "n".repeat(251));
            for name in
                ["", "user", "user.", "other.x", "x", "system.", "system.x", "trusted.", "security.", &over]
            {
                let shown = &name[..name.len().min(12)];
                out.ret(&format!("set {shown:?}"), set("a", name, b"1", 0));
                get(out, &format!("get {shown:?}"), "a", name);
                out.ret(&format!("remove {shown:?}"), remove("a", name));
            }
            out.ret("longest", set("a", &longest, b"1", 0));
            get(out, "longest", "a", &longest);
            let mut bytes = [0u8; 300];
            out.ret("list", call!(SYS_listxattr, sys::c("a"), bytes.as_mut_ptr(), 300));
        });
    }),
    case("xattr/addresses", &["setxattr", "getxattr", "listxattr", "removexattr"], |out| {
        both(out, |out| {
            file("a", b"");
            let (path, name) = (sys::c("a"), sys::c("user.x"));
            set("a", "user.x", b"12", 0);
            out.ret("set, bad path", call!(SYS_setxattr, 8, name, name, 1, 0));
            out.ret("set, bad name", call!(SYS_setxattr, path, 8, name, 1, 0));
            out.ret("set, bad value", call!(SYS_setxattr, path, name, 8, 1, 0));
            out.ret("set, no value", call!(SYS_setxattr, path, name, 8, 0, 0));
            out.ret("set back", set("a", "user.x", b"12", 0));
            out.ret("get, bad path", call!(SYS_getxattr, 8, name, 0, 0));
            out.ret("get, bad name", call!(SYS_getxattr, path, 8, 0, 0));
            out.ret("get, bad value", call!(SYS_getxattr, path, name, 8, 2));
            out.ret("get, bad value too small", call!(SYS_getxattr, path, name, 8, 1));
            out.ret("list, bad list", call!(SYS_listxattr, path, 8, 100));
            out.ret("remove, bad name", call!(SYS_removexattr, path, 8));
        });
    }),
    case("xattr/paths", &["setxattr", "getxattr", "listxattr", "lgetxattr"], |out| {
        both(out, |out| {
            file("a", b"");
            out.ret("nothing there", set("none", "user.x", b"1", 0));
            out.ret("empty path", set("", "user.x", b"1", 0));
            out.ret("below a file", set("a/b", "user.x", b"1", 0));
            get(out, "nothing there", "none", "user.x");
            names(out, "nothing there", "none");
            call!(SYS_symlink, sys::c("a"), sys::c("link"));
            call!(SYS_symlink, sys::c("none"), sys::c("dangling"));
            out.ret("through a link", set("link", "user.x", b"linked", 0));
            get(out, "the target", "a", "user.x");
            out.ret("through a dangling one", set("dangling", "user.x", b"", 0));
        });
    }),
    case("xattr/links", &["lsetxattr", "lgetxattr", "llistxattr", "lremovexattr"], |out| {
        both(out, |out| {
            file("a", b"");
            call!(SYS_symlink, sys::c("a"), sys::c("link"));
            let link = sys::c("link");
            for name in ["user.x", "trusted.x", "security.x", "security.capability", "other"] {
                let at = sys::c(name);
                out.ret(&format!("set {name}"), call!(SYS_lsetxattr, link, at, link, 1, 0));
                out.ret(&format!("get {name}"), call!(SYS_lgetxattr, link, at, 0, 0));
                out.ret(&format!("remove {name}"), call!(SYS_lremovexattr, link, at));
            }
            out.ret("list", call!(SYS_llistxattr, link, 0, 0));
            out.ret("set on a file", call!(SYS_lsetxattr, sys::c("a"), sys::c("user.x"), link, 2, 0));
            out.ret("get from a file", call!(SYS_lgetxattr, sys::c("a"), sys::c("user.x"), 0, 0));
            out.ret("list of a file", call!(SYS_llistxattr, sys::c("a"), 0, 0));
            out.ret("remove from a file", call!(SYS_lremovexattr, sys::c("a"), sys::c("user.x")));
        });
    }),
    case("xattr/descriptors", &["fsetxattr", "fgetxattr", "flistxattr", "fremovexattr"], |out| {
        both(out, |out| {
            file("a", b"");
            let fd = open("a", RDONLY);
            let name = sys::c("user.x");
            out.ret("set by a reader", call!(SYS_fsetxattr, fd, name, name, 4, 0));
            let mut bytes = [0u8; 8];
            let got = call!(SYS_fgetxattr, fd, name, bytes.as_mut_ptr(), 8);
            taken(out, "get", &bytes, got);
            out.ret("list", call!(SYS_flistxattr, fd, 0, 0));
            call!(SYS_unlink, sys::c("a"));
            out.ret("without a name", call!(SYS_fgetxattr, fd, name, 0, 0));
            out.ret("remove", call!(SYS_fremovexattr, fd, name));
            out.ret("remove again", call!(SYS_fremovexattr, fd, name));
            out.ret("closed", call!(SYS_fgetxattr, 999, name, 0, 0));
            out.ret("closed, bad name", call!(SYS_fsetxattr, 999, 8, name, 4, 0));
            out.ret("closed, flags", call!(SYS_fsetxattr, 999, name, name, 4, 77));
            file("b", b"");
            let place = open("b", libc::O_PATH);
            out.ret("set by path", call!(SYS_fsetxattr, place, name, name, 4, 0));
            out.ret("get by path", call!(SYS_fgetxattr, place, name, 0, 0));
            out.ret("list by path", call!(SYS_flistxattr, place, 0, 0));
            out.ret("remove by path", call!(SYS_fremovexattr, place, name));
        });
    }),
    case("xattr/directories", &["setxattr", "getxattr", "fsetxattr"], |out| {
        both(out, |out| {
            call!(SYS_mkdir, sys::c("dir"), 0o755);
            out.ret("set", set("dir", "user.x", b"value", 0));
            get(out, "get", "dir", "user.x");
            let fd = open("dir", RDONLY | libc::O_DIRECTORY);
            out.ret("by descriptor", call!(SYS_fsetxattr, fd, sys::c("user.y"), sys::c("y"), 1, 0));
            names(out, "names", "dir");
            out.ret("remove", remove("dir", "user.x"));
        });
    }),
    case("xattr/special-files", &["setxattr", "getxattr", "listxattr", "removexattr"], |out| {
        both(out, |out| {
            call!(SYS_mknod, sys::c("fifo"), libc::S_IFIFO | 0o644, 0);
            call!(SYS_mknod, sys::c("socket"), libc::S_IFSOCK | 0o644, 0);
            for path in ["fifo", "socket", "/dev/null"] {
                for name in ["user.x", "trusted.x", "security.x"] {
                    out.ret(&format!("{path} set {name}"), set(path, name, b"1", 0));
                    get(out, &format!("{path} get {name}"), path, name);
                    out.ret(&format!("{path} remove {name}"), remove(path, name));
                }
            }
            names(out, "fifo", "fifo");
        });
    }),
    case("xattr/other-objects", &["fgetxattr", "fsetxattr", "flistxattr"], |out| {
        let (pipe, _) = sys::pipe();
        let name = sys::c("user.x");
        out.ret("pipe set", call!(SYS_fsetxattr, pipe, name, name, 1, 0));
        out.ret("pipe get", call!(SYS_fgetxattr, pipe, name, 0, 0));
        out.ret("pipe list", call!(SYS_flistxattr, pipe, 0, 0));
        let fd = call!(SYS_memfd_create, name, 0);
        out.ret("memfd set", call!(SYS_fsetxattr, fd, name, name, 4, 0));
        out.ret("memfd get", call!(SYS_fgetxattr, fd, name, 0, 0));
        out.ret("memfd list", call!(SYS_flistxattr, fd, 0, 0));
        get(out, "proc", "/proc/self/status", "user.x");
        out.ret("proc set", set("/proc/self/status", "user.x", b"1", 0));
        names(out, "proc", "/proc/self/status");
    }),
    case("xattr/trusted-without-privilege", &["setxattr", "getxattr", "removexattr"], |out| {
        both(out, |out| {
            file("a", b"");
            out.ret("set", set("a", "trusted.x", b"1", 0));
            get(out, "get", "a", "trusted.x");
            out.ret("remove", remove("a", "trusted.x"));
            names(out, "names", "a");
        });
    }),
    case("ns/xattr-trusted", &["setxattr", "getxattr", "listxattr", "removexattr"], |out| {
        file("a", b"");
        out.ret("set", set("a", "trusted.x", b"1", 0));
        get(out, "get", "a", "trusted.x");
        set("a", "user.x", b"2", 0);
        out.ret("security", set("a", "security.x", b"3", 0));
        names(out, "names", "a");
        let pid = sys::fork(|| 0);
        sys::wait(pid);
        as_user(out, 1000, |out| {
            get(out, "a user's get", "a", "trusted.x");
            get(out, "a user's get of security", "a", "security.x");
            out.ret("a user's set", set("a", "trusted.x", b"1", 0));
            names(out, "a user's names", "a");
        });
        out.ret("remove", remove("a", "trusted.x"));
        out.ret("remove security", remove("a", "security.x"));
        call!(SYS_symlink, sys::c("a"), sys::c("link"));
        out.ret("on a link", call!(SYS_lsetxattr, sys::c("link"), sys::c("trusted.x"), sys::c("x"), 1, 0));
        out.ret("list of a link", call!(SYS_llistxattr, sys::c("link"), 0, 0));
    }),
    case("xattr/security", &["setxattr", "getxattr", "removexattr"], |out| {
        both(out, |out| {
            file("a", b"");
            out.ret("set", set("a", "security.x", b"1", 0));
            get(out, "get", "a", "security.x");
            out.ret("remove", remove("a", "security.x"));
            get(out, "no capabilities", "a", "security.capability");
            out.ret("remove none", remove("a", "security.capability"));
        });
    }),
    case("xattr/file-capabilities", &["setxattr", "getxattr", "removexattr"], |out| {
        both(out, |out| {
            file("a", b"text");
            let value = capabilities();
            out.ret("set", set("a", "security.capability", &value, 0));
            get(out, "get", "a", "security.capability");
            names(out, "names", "a");
            for (what, bad) in [
                ("empty", &b""[..]),
                ("short", &value[..19]),
                ("version 1", &[&[1, 0, 0, 1], &value[4..12]].concat()),
                ("version 9", &[&[1, 0, 0, 9], &value[4..]].concat()),
                ("long", &[&value[..], &[0; 4]].concat()),
            ] {
                file("b", b"");
                out.ret(what, set("b", "security.capability", bad, 0));
            }
            as_user(out, 1000, |out| {
                out.ret("a user's set", set("a", "security.capability", &value, 0));
                get(out, "a user's get", "a", "security.capability");
                out.ret("a user's removal", remove("a", "security.capability"));
            });
            out.ret("remove", remove("a", "security.capability"));
            get(out, "gone", "a", "security.capability");
        });
    }),
    case("xattr/file-capabilities-lost", &["setxattr", "write", "fchown", "ftruncate"], |out| {
        both(out, |out| {
            let value = capabilities();
            let fd = file("a", b"text");
            set("a", "security.capability", &value, 0);
            sys::write(fd, b"x");
            get(out, "after a write", "a", "security.capability");
            set("a", "security.capability", &value, 0);
            call!(SYS_fchown, fd, 1000, 1000);
            get(out, "after a change of owner", "a", "security.capability");
            set("a", "security.capability", &value, 0);
            call!(SYS_ftruncate, fd, 1);
            get(out, "after a cut", "a", "security.capability");
            set("a", "security.capability", &value, 0);
            call!(SYS_fchmod, fd, 0o600);
            get(out, "after a change of mode", "a", "security.capability");
        });
    }),
    case("xattr/permissions", &["setxattr", "getxattr", "listxattr"], |out| {
        both(out, |out| {
            file("a", b"");
            set("a", "user.x", b"value", 0);
            for mode in [0o600, 0o604, 0o602, 0o606] {
                call!(SYS_chmod, sys::c("a"), mode);
                out.say(format_args!("mode {mode:o}"));
                as_user(out, 1000, |out| {
                    get(out, "get", "a", "user.x");
                    get(out, "get absent", "a", "user.absent");
                    get(out, "get other kind", "a", "other");
                    out.ret("set", set("a", "user.x", b"value", 0));
                    out.ret("remove absent", remove("a", "user.absent"));
                    out.ret("set other kind", set("a", "other", b"value", 0));
                    names(out, "names", "a");
                });
            }
        });
    }),
    case("xattr/files-of-others", &["setxattr", "getxattr", "listxattr", "removexattr"], |out| {
        both(out, |out| {
            file("a", b"");
            call!(SYS_chown, sys::c("a"), 1000, 1000);
            call!(SYS_chmod, sys::c("a"), 0o600);
            out.ret("set", set("a", "user.x", &[b'v'; 2000], 0));
            get(out, "get", "a", "user.x");
            names(out, "names", "a");
            as_user(out, 1000, |out| {
                get(out, "the owner's get", "a", "user.x");
                out.ret("the owner's set", set("a", "user.y", b"own", 0));
            });
            get(out, "what the owner set", "a", "user.y");
            out.ret("remove", remove("a", "user.y"));
        });
    }),
    case("xattr/sticky-directories", &["setxattr"], |out| {
        both(out, |out| {
            call!(SYS_mkdir, sys::c("dir"), 0o777);
            call!(SYS_chmod, sys::c("dir"), 0o1777);
            call!(SYS_mkdir, sys::c("own"), 0o777);
            call!(SYS_chown, sys::c("own"), 1000, 1000);
            call!(SYS_chmod, sys::c("own"), 0o1777);
            out.ret("the owner", set("dir", "user.x", b"1", 0));
            as_user(out, 1000, |out| {
                out.ret("another", set("dir", "user.x", b"1", 0));
                out.ret("another's removal", remove("dir", "user.x"));
                get(out, "another's get", "dir", "user.x");
                out.ret("its own", set("own", "user.x", b"1", 0));
            });
        });
    }),
    case("xattr/with-the-file", &["setxattr", "rename", "link"], |out| {
        both(out, |out| {
            file("a", b"");
            set("a", "user.x", b"kept", 0);
            call!(SYS_link, sys::c("a"), sys::c("b"));
            call!(SYS_rename, sys::c("a"), sys::c("c"));
            get(out, "by its second name", "b", "user.x");
            get(out, "by its new name", "c", "user.x");
            open("d", CREATE);
            get(out, "a new file", "d", "user.x");
            let before = std::fs::metadata("c").map(|meta| meta.modified().ok());
            set("c", "user.y", b"more", 0);
            let after = std::fs::metadata("c").map(|meta| meta.modified().ok());
            out.say(format_args!("contents not modified: {}", before.ok() == after.ok()));
        });
    }),
    case("xattr/many", &["setxattr", "listxattr", "removexattr"], |out| {
        both(out, |out| {
            file("a", b"");
            for index in 0..40 {
                let done = set("a", &format!("user.name-{index}"), format!("value {index}").as_bytes(), 0);
                if done != 0 {
                    out.ret("set", done);
                }
            }
            names(out, "names", "a");
            get(out, "one", "a", "user.name-17");
            for index in (0..40).step_by(2) {
                remove("a", &format!("user.name-{index}"));
            }
            names(out, "left", "a");
        });
    }),
    case("xattr/read-only", &["setxattr", "removexattr", "getxattr"], |out| {
        out.ret("set", set("/sys", "user.x", b"1", 0));
        out.ret("remove", remove("/sys", "user.x"));
        out.ret("no such name", set("/sys/none", "user.x", b"1", 0));
    }),
    case("xattr/in-root", &["setxattr", "getxattr"], |out| {
        in_root(|| {
            file("a", b"");
            let long: Vec<u8> = (0..65536u32).map(|at| (at / 7) as u8).collect();
            for len in [4095, 4096, 4097, 20000, 65536] {
                out.ret("set", set("a", "user.long", &long[..len], 0));
                let mut bytes = vec![0u8; 70000];
                let (path, name) = (sys::c("a"), sys::c("user.long"));
                let got = call!(SYS_getxattr, path, name, bytes.as_mut_ptr(), bytes.len());
                out.say(format_args!("{got} {}", bytes[..len] == long[..len]));
                out.ret("small", call!(SYS_getxattr, path, name, bytes.as_mut_ptr(), 4000));
            }
        });
    }),
];
