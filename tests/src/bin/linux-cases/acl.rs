//! Access control lists: what may be set, how mode and list follow each other, what is handed down, who may do what.

use crate::{
    Case, Out, case,
    files::{as_user, both, file, text},
    sys::{self, call},
};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// A list from its text: `u::rwx u:1000:r-x g::r-- m::r-x o::---`, in short.
fn list(text: &str) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for entry in text.split_whitespace() {
        let parts: Vec<&str> = entry.split(':').collect();
        let tag: u16 = match (parts[0], parts[1]) {
            ("u", "") => 1,
            ("u", _) => 2,
            ("g", "") => 4,
            ("g", _) => 8,
            ("m", _) => 16,
            ("o", _) => 32,
            (other, _) => other.parse().unwrap_or(0),
        };
        let perm = parts[2].bytes().fold(0u16, |all, byte| match byte {
            b'r' => all | 4,
            b'w' => all | 2,
            b'x' => all | 1,
            b'!' => all | 8,
            _ => all,
        });
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&perm.to_le_bytes());
        value.extend_from_slice(&parts[1].parse().unwrap_or(u32::MAX).to_le_bytes());
    }
    value
}

fn set_bytes(path: &str, name: &str, value: &[u8], flags: i32) -> i64 {
    call!(SYS_setxattr, sys::c(path), sys::c(name), value.as_ptr(), value.len(), flags)
}

fn set(path: &str, name: &str, entries: &str) -> i64 {
    set_bytes(path, name, &list(entries), 0)
}

fn remove(path: &str, name: &str) -> i64 {
    call!(SYS_removexattr, sys::c(path), sys::c(name))
}

fn mode(path: &str) -> u32 {
    let mut words = [0u32; 36];
    call!(SYS_lstat, sys::c(path), words.as_mut_ptr());
    words[6]
}

/// Mode and lists of a path.
fn show(out: &mut Out, path: &str) {
    out.say(format_args!("{path}: {:o}", mode(path)));
    for name in [ACCESS, DEFAULT] {
        let mut bytes = [0u8; 400];
        let got = call!(SYS_getxattr, sys::c(path), sys::c(name), bytes.as_mut_ptr(), bytes.len());
        let Ok(len) = usize::try_from(got) else {
            out.ret(&format!("  {name}"), got);
            continue;
        };
        let entries: Vec<String> = bytes[4..len]
            .chunks(8)
            .map(|entry| {
                let id = i32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
                format!("{}:{id}:{}", entry[0], entry[2])
            })
            .collect();
        out.say(format_args!("  {name}: {}", entries.join(" ")));
    }
}

fn names(out: &mut Out, path: &str) {
    let mut bytes = [0u8; 400];
    let got = call!(SYS_listxattr, sys::c(path), bytes.as_mut_ptr(), bytes.len());
    let len = usize::try_from(got).unwrap_or(0);
    let mut list: Vec<String> = bytes[..len].split(|&byte| byte == 0).map(text).collect();
    list.sort();
    out.say(format_args!("{path}: names {}", list.join(" ")));
}

fn chmod(path: &str, mode: u32) -> i64 {
    call!(SYS_chmod, sys::c(path), mode)
}

fn mkdir(path: &str) -> i64 {
    call!(SYS_mkdir, sys::c(path), 0o777)
}

fn ways(out: &mut Out, path: &str) {
    for (what, flags) in [("read", 0), ("write", 1), ("both", 2)] {
        let fd = call!(SYS_open, sys::c(path), flags, 0);
        out.ret(&format!("  {what}"), if fd >= 0 { sys::close(fd as i32) } else { fd });
    }
    for mode in [1, 2, 4, 5, 7] {
        out.ret(&format!("  access {mode}"), call!(SYS_access, sys::c(path), mode));
    }
}

/// As a user with groups, but not the superuser.
fn as_member(out: &mut Out, uid: u32, groups: &[u32], body: impl FnOnce(&mut Out)) {
    let to = out.fd();
    let pid = sys::fork(|| {
        call!(SYS_setgroups, groups.len(), groups.as_ptr());
        call!(SYS_setresgid, uid, uid, uid);
        call!(SYS_setresuid, uid, uid, uid);
        body(&mut Out::new(to));
        0
    });
    sys::wait(pid);
}

pub(crate) const CASES: &[Case] = &[
    case("acl/set-and-get", &["setxattr", "getxattr", "listxattr", "removexattr"], |out| {
        both(out, |out| {
            file("a", b"");
            chmod("a", 0o640);
            show(out, "a");
            out.ret("remove none", remove("a", ACCESS));
            out.ret("set", set("a", ACCESS, "u::rw- u:1000:rwx g::r-- g:50:-w- m::rw- o::---"));
            show(out, "a");
            set_bytes("a", "user.x", b"1", 0);
            names(out, "a");
            out.ret("create, though there", set_bytes("a", ACCESS, &list("u::r-- g::r-- o::---"), 1));
            show(out, "a");
            names(out, "a");
            out.ret(
                "replace, though none",
                set_bytes("a", ACCESS, &list("u::rw- u:5:r-- g::--- m::r-- o::r--"), 2),
            );
            out.ret("unknown flag", set_bytes("a", ACCESS, &list("u::rw- g::--- o::r--"), 4));
            show(out, "a");
            out.ret("remove", remove("a", ACCESS));
            show(out, "a");
            let mut bytes = [0u8; 40];
            set("a", ACCESS, "u::rw- u:5:r-- g::--- m::r-- o::r--");
            let (path, name) = (sys::c("a"), sys::c(ACCESS));
            out.ret("length", call!(SYS_getxattr, path, name, 0, 0));
            out.ret("too small", call!(SYS_getxattr, path, name, bytes.as_mut_ptr(), 43));
            out.ret("no value", set_bytes("a", ACCESS, b"", 0));
            show(out, "a");
        });
    }),
    case("acl/plain", &["setxattr"], |out| {
        both(out, |out| {
            file("a", b"");
            out.ret("as a mode", set("a", ACCESS, "u::rwx g::r-x o::--x"));
            show(out, "a");
            out.ret("with a mask", set("a", ACCESS, "u::rwx g::rwx m::r-- o::--x"));
            show(out, "a");
            out.ret("empty", set("a", ACCESS, ""));
            show(out, "a");
        });
    }),
    case("acl/invalid", &["setxattr"], |out| {
        both(out, |out| {
            file("a", b"");
            mkdir("d");
            for entries in [
                "u::rw- g::r--",
                "g::r-- u::rw- o::r--",
                "u::rw- u:5:rw- g::r-- o::r--",
                "u::rw- g::r-- u:5:rw- m::rw- o::r--",
                "u::rw- g::r-- o::r-- o::r--",
                "u::rw! g::r-- o::r--",
                "u::rw- u:-1:rw- g::r-- m::rw- o::r--",
                "3::rw- g::r-- o::r--",
                "u::rw- u:5:rw- u:5:r-- g::r-- m::rw- o::r--",
            ] {
                out.ret(&format!("{entries:?}"), set("a", ACCESS, entries));
                out.ret("  as default", set("d", DEFAULT, entries));
            }
            let good = list("u::rw- g::r-- o::r--");
            out.ret("cut", set_bytes("a", ACCESS, &good[..good.len() - 1], 0));
            out.ret("head alone", set_bytes("a", ACCESS, &good[..4], 0));
            out.ret("half a head", set_bytes("a", ACCESS, &good[..3], 0));
            out.ret("another version", set_bytes("a", ACCESS, &[&[1, 0, 0, 0], &good[4..]].concat(), 0));
            out.ret("default of a file", set("a", DEFAULT, "u::rw- g::r-- o::r--"));
            out.ret("no default of a file", remove("a", DEFAULT));
            out.ret("empty default of a file", set("a", DEFAULT, ""));
            show(out, "a");
            show(out, "d");
        });
    }),
    case("acl/chmod", &["chmod", "setxattr"], |out| {
        both(out, |out| {
            file("a", b"");
            set("a", ACCESS, "u::rw- u:1000:rwx g::rwx m::rwx o::---");
            for bits in [0o600, 0o777, 0o4714, 0o050] {
                out.ret("chmod", chmod("a", bits));
                show(out, "a");
            }
            out.ret("chown", call!(SYS_chown, sys::c("a"), 7, 8));
            show(out, "a");
        });
    }),
    case("acl/handed-down", &["open", "mkdir", "mknod", "symlink"], |out| {
        both(out, |out| {
            mkdir("d");
            out.ret("set", set("d", DEFAULT, "u::rwx u:1000:rwx g::r-x m::rwx o::--x"));
            show(out, "d");
            call!(SYS_umask, 0o077);
            for bits in [0o666, 0o640, 0o777, 0o4711] {
                let path = format!("d/f{bits:o}");
                sys::close(call!(SYS_open, sys::c(&path), libc::O_CREAT | libc::O_RDWR, bits) as i32);
                show(out, &path);
            }
            mkdir("d/d");
            show(out, "d/d");
            sys::close(call!(SYS_open, sys::c("d/d/f"), libc::O_CREAT | libc::O_RDWR, 0o666) as i32);
            show(out, "d/d/f");
            call!(SYS_mknod, sys::c("d/regular"), libc::S_IFREG | 0o666, 0);
            show(out, "d/regular");
            call!(SYS_symlink, sys::c("f666"), sys::c("d/link"));
            show(out, "d/link");
            out.ret("rename out", call!(SYS_rename, sys::c("d/f666"), sys::c("f666")));
            show(out, "f666");
            out.ret("plain", set("d", DEFAULT, "u::rwx g::r-x o::r--"));
            show(out, "d");
            sys::close(call!(SYS_open, sys::c("d/plain"), libc::O_CREAT | libc::O_RDWR, 0o666) as i32);
            show(out, "d/plain");
            names(out, "d");
            out.ret("remove", remove("d", DEFAULT));
            sys::close(call!(SYS_open, sys::c("d/none"), libc::O_CREAT | libc::O_RDWR, 0o666) as i32);
            show(out, "d/none");
            call!(SYS_umask, 0o022);
        });
    }),
    case("acl/access", &["open", "access"], |out| {
        both(out, |out| {
            file("a", b"x");
            call!(SYS_chown, sys::c("a"), 500, 10);
            set("a", ACCESS, "u::rw- u:1000:rwx u:1001:--- g::r-- g:50:r-x g:51:-w- m::r-x o::r--");
            for (uid, groups) in [
                (500, &[50][..]),
                (1000, &[]),
                (1001, &[50]),
                (7, &[10]),
                (7, &[50]),
                (7, &[51]),
                (7, &[10, 50, 51]),
                (7, &[]),
            ] {
                out.say(format_args!("{uid} {groups:?}"));
                as_member(out, uid, groups, |out| ways(out, "a"));
            }
            out.say("without the group's bits");
            chmod("a", 0o604);
            as_member(out, 1000, &[], |out| ways(out, "a"));
            as_member(out, 7, &[50], |out| ways(out, "a"));
        });
    }),
    case("acl/directories", &["open", "unlink", "mkdir", "chdir"], |out| {
        both(out, |out| {
            mkdir("d");
            file("d/f", b"x");
            chmod("d", 0o700);
            out.ret("set", set("d", ACCESS, "u::rwx u:1000:rwx u:1001:r-x g::--- m::rwx o::---"));
            for uid in [1000, 1001, 1002] {
                as_user(out, uid, |out| {
                    out.say(format_args!("{uid}"));
                    ways(out, "d/f");
                    out.ret("  chdir", call!(SYS_chdir, sys::c("d")));
                    out.ret("  mkdir", mkdir(&format!("new{uid}")));
                    out.ret("  rename", call!(SYS_rename, sys::c("f"), sys::c("g")));
                    out.ret("  back", call!(SYS_rename, sys::c("g"), sys::c("f")));
                    out.ret("  unlink", call!(SYS_unlink, sys::c("none")));
                });
            }
        });
    }),
    case("acl/whose", &["setxattr", "removexattr", "lsetxattr"], |out| {
        both(out, |out| {
            file("a", b"");
            call!(SYS_symlink, sys::c("a"), sys::c("link"));
            call!(SYS_chown, sys::c("a"), 1000, 10);
            let value = list("u::rw- u:5:rw- g::r-- m::rw- o::r--");
            as_user(out, 1001, |out| {
                out.ret("other sets", set_bytes("a", ACCESS, &value, 0));
                out.ret("other removes", remove("a", ACCESS));
                out.ret("other sets nonsense", set_bytes("a", ACCESS, &value[..5], 0));
                out.ret("other sets disorder", set("a", ACCESS, "g::r-- o::r--"));
            });
            as_user(out, 1000, |out| out.ret("owner", set_bytes("a", ACCESS, &value, 0)));
            show(out, "a");
            let (link, name) = (sys::c("link"), sys::c(ACCESS));
            out.ret("of a link", call!(SYS_lsetxattr, link, name, value.as_ptr(), value.len(), 0));
            out.ret("link's", call!(SYS_lgetxattr, link, name, 0, 0));
            call!(SYS_chown, sys::c("a"), 1000, 10);
            chmod("a", 0o2660);
            as_user(out, 1000, |out| {
                out.ret("owner, of a foreign group", set_bytes("a", ACCESS, &value, 0));
            });
            show(out, "a");
        });
    }),
    case("acl/descriptors", &["fsetxattr", "fgetxattr", "flistxattr", "fremovexattr"], |out| {
        both(out, |out| {
            let fd = file("a", b"");
            let (name, value) = (sys::c(ACCESS), list("u::rw- u:5:rw- g::r-- m::rw- o::r--"));
            out.ret("set", call!(SYS_fsetxattr, fd, name, value.as_ptr(), value.len(), 0));
            let mut bytes = [0u8; 100];
            let got = call!(SYS_fgetxattr, fd, name, bytes.as_mut_ptr(), 100);
            out.say(format_args!("{got} {}", bytes[..value.len()] == value[..]));
            out.ret("list", call!(SYS_flistxattr, fd, 0, 0));
            out.ret("remove", call!(SYS_fremovexattr, fd, name));
            out.ret("gone", call!(SYS_fgetxattr, fd, name, bytes.as_mut_ptr(), 100));
            let mut pipe = [0i32; 2];
            call!(SYS_pipe, pipe.as_mut_ptr());
            out.ret("of a pipe", call!(SYS_fsetxattr, pipe[0], name, value.as_ptr(), value.len(), 0));
            out.ret("pipe's", call!(SYS_fgetxattr, pipe[0], name, bytes.as_mut_ptr(), 100));
        });
    }),
    case("acl/elsewhere", &["setxattr", "getxattr"], |out| {
        for path in ["/proc/self/status", "/proc", "/dev/null"] {
            out.ret(path, call!(SYS_getxattr, sys::c(path), sys::c(ACCESS), 0, 0));
        }
        out.ret("proc", set("/proc/self/status", ACCESS, "u::rw- g::r-- o::r--"));
    }),
];
