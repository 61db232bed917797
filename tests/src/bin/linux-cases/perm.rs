//! Who may do what with files. These cases run with `CAP_MKNOD` and `CAP_DAC_READ_SEARCH`.

use crate::{
    Case, Out, case,
    mount_tools::in_child,
    sys::{self, call},
};

fn make(path: &str, mode: u32, uid: u32, gid: u32) {
    let fd = call!(SYS_open, sys::c(path), libc::O_CREAT | libc::O_WRONLY, 0o600);
    sys::close(fd as i32);
    own(path, mode, uid, gid);
}

fn dir(path: &str, mode: u32, uid: u32, gid: u32) {
    call!(SYS_mkdir, sys::c(path), 0o700);
    own(path, mode, uid, gid);
}

fn own(path: &str, mode: u32, uid: u32, gid: u32) {
    call!(SYS_chown, sys::c(path), uid, gid);
    call!(SYS_chmod, sys::c(path), mode);
}

fn user(uid: u32, gid: u32, groups: &[u32]) {
    call!(SYS_setgroups, groups.len(), groups.as_ptr());
    call!(SYS_setresgid, gid, gid, gid);
    call!(SYS_setresuid, uid, uid, uid);
}

/// Leaves the user's identity as it is, with these effective capabilities alone.
fn only_caps(caps: u64) {
    let header = [0x2008_0522u32, 0];
    let (low, high) = (caps as u32, (caps >> 32) as u32);
    let sets = [low, low, 0, high, high, 0];
    call!(SYS_capset, header.as_ptr(), sets.as_ptr());
}

fn mode(path: &str) -> String {
    let mut words = [0u32; 36];
    let result = call!(SYS_lstat, sys::c(path), words.as_mut_ptr());
    if result < 0 {
        sys::errno_name(-result as u32)
    } else {
        format!("{:o} {}:{}", words[6], words[7], words[8])
    }
}

fn open(path: &str, flags: i32) -> i64 {
    let fd = call!(SYS_open, sys::c(path), flags, 0o644);
    if fd >= 0 { sys::close(fd as i32) } else { fd }
}

fn all_ways(out: &mut Out, path: &str) {
    out.ret("  read", open(path, 0));
    out.ret("  write", open(path, 1));
    out.ret("  both", open(path, 2));
    out.ret("  access rwx", call!(SYS_access, sys::c(path), 7));
    let argv = [sys::c("x"), std::ptr::null()];
    out.ret("  exec", call!(SYS_execve, sys::c(path), argv.as_ptr(), 0));
}

pub(crate) const CASES: &[Case] = &[
    case("perm/classes", &["open", "access", "execve"], |out| {
        for (name, mode) in [
            ("owner", 0o600),
            ("group", 0o060),
            ("other", 0o006),
            ("none", 0),
            ("not-owner", 0o077),
            ("exec", 0o111),
        ] {
            make(name, mode, 1000, 100);
        }
        for (who, uid, gid, groups) in [
            ("owner", 1000, 5, &[][..]),
            ("group", 5, 100, &[][..]),
            ("another group", 5, 5, &[7, 100][..]),
            ("other", 5, 5, &[7][..]),
        ] {
            in_child(out, who, |out| {
                user(uid, gid, groups);
                for name in ["owner", "group", "other", "none", "not-owner", "exec"] {
                    out.say(name);
                    all_ways(out, name);
                }
            });
        }
    }),
    case("perm/capabilities", &["open", "access", "execve"], |out| {
        make("none", 0, 1000, 100);
        make("exec", 0o001, 1000, 100);
        dir("closed", 0, 1000, 100);
        make("closed/f", 0o666, 1000, 100);
        for (what, caps) in [("no capability", 0), ("override", 2), ("read and search", 4)] {
            in_child(out, what, |out| {
                only_caps(caps);
                for name in ["none", "exec", "closed/f"] {
                    out.say(name);
                    all_ways(out, name);
                }
                out.ret("list", open("closed", 0));
                out.ret("create", open("closed/g", libc::O_CREAT | 1));
                out.ret("unlink", call!(SYS_unlink, sys::c("closed/g")));
            });
        }
    }),
    case("perm/directories", &["mkdir", "unlink", "rename", "open"], |out| {
        dir("r", 0o444, 0, 0);
        dir("x", 0o111, 0, 0);
        dir("wx", 0o333, 0, 0);
        for name in ["r/f", "x/f", "wx/f"] {
            make(name, 0o666, 0, 0);
        }
        in_child(out, "other", |out| {
            user(5, 5, &[]);
            for name in ["r", "x", "wx"] {
                let at = |file: &str| sys::c(&format!("{name}/{file}"));
                out.say(name);
                out.ret("  list", open(name, 0));
                out.ret("  stat", call!(SYS_stat, at("f"), [0u8; 144].as_mut_ptr()));
                out.ret("  stat of nothing", call!(SYS_stat, at("g"), [0u8; 144].as_mut_ptr()));
                out.ret("  mkdir", call!(SYS_mkdir, at("d"), 0o777));
                out.ret("  mkdir of what is", call!(SYS_mkdir, at("f"), 0o777));
                out.ret("  symlink", call!(SYS_symlink, sys::c("f"), at("l")));
                out.ret("  rename", call!(SYS_rename, at("f"), at("g")));
                out.ret("  unlink", call!(SYS_unlink, at("g")));
                out.ret("  chdir", call!(SYS_chdir, sys::c(name)));
                call!(SYS_chdir, sys::c("/tmp/case-perm-directories"));
            }
        });
    }),
    case("perm/sticky", &["unlink", "rename", "rmdir"], |out| {
        own(".", 0o755, 0, 0);
        dir("s", 0o1777, 7, 7);
        for name in ["s/mine", "s/theirs"] {
            make(name, 0o666, if name == "s/mine" { 5 } else { 6 }, 5);
        }
        dir("s/dir", 0o777, 6, 6);
        dir("s/owndir", 0o777, 5, 5);
        in_child(out, "user", |out| {
            user(5, 5, &[]);
            out.ret("rename theirs", call!(SYS_rename, sys::c("s/theirs"), sys::c("s/x")));
            out.ret("over theirs", call!(SYS_rename, sys::c("s/mine"), sys::c("s/theirs")));
            out.ret("exchange", call!(SYS_renameat2, -100, sys::c("s/mine"), -100, sys::c("s/theirs"), 2));
            out.ret("unlink theirs", call!(SYS_unlink, sys::c("s/theirs")));
            out.ret("rmdir theirs", call!(SYS_rmdir, sys::c("s/dir")));
            out.ret("rename mine", call!(SYS_rename, sys::c("s/mine"), sys::c("s/m")));
            out.ret("unlink mine", call!(SYS_unlink, sys::c("s/m")));
            out.ret("rmdir mine", call!(SYS_rmdir, sys::c("s/owndir")));
        });
        in_child(out, "owner of the directory", |out| {
            user(7, 7, &[]);
            out.ret("unlink", call!(SYS_unlink, sys::c("s/theirs")));
        });
        in_child(out, "with CAP_FOWNER", |out| {
            call!(SYS_prctl, libc::PR_SET_KEEPCAPS, 1, 0, 0, 0);
            user(9, 9, &[]);
            only_caps(8);
            out.ret("rmdir", call!(SYS_rmdir, sys::c("s/dir")));
        });
    }),
    case("perm/setgid-directory", &["mkdir", "open", "mknod", "symlink"], |out| {
        dir("d", 0o2777, 50, 60);
        in_child(out, "user", |out| {
            user(5, 6, &[]);
            call!(SYS_umask, 0);
            call!(SYS_mkdir, sys::c("d/sub"), 0o755);
            call!(SYS_mkdir, sys::c("d/sub/sub"), 0o700);
            for (name, mode) in [("d/f", 0o644), ("d/g", 0o2755), ("d/h", 0o2745), ("d/u", 0o4755)] {
                sys::close(call!(SYS_open, sys::c(name), libc::O_CREAT | 1, mode) as i32);
            }
            call!(SYS_mknod, sys::c("d/fifo"), libc::S_IFIFO | 0o644, 0);
            call!(SYS_symlink, sys::c("f"), sys::c("d/l"));
            for name in ["d/sub", "d/sub/sub", "d/f", "d/g", "d/h", "d/u", "d/fifo", "d/l"] {
                out.say(format_args!("{name} {}", mode(name)));
            }
        });
        in_child(out, "member", |out| {
            user(5, 6, &[60]);
            call!(SYS_umask, 0);
            sys::close(call!(SYS_open, sys::c("d/member"), libc::O_CREAT | 1, 0o2755) as i32);
            out.say(mode("d/member"));
        });
        sys::close(call!(SYS_open, sys::c("d/root"), libc::O_CREAT | 1, 0o2755) as i32);
        out.say(mode("d/root"));
    }),
    case("perm/umask", &["umask", "open", "mkdir", "mknod"], |out| {
        for mask in [0, 0o22, 0o77, 0o777, 0o7777] {
            out.ret("umask", call!(SYS_umask, mask));
            sys::close(call!(SYS_open, sys::c("f"), libc::O_CREAT | 1, 0o7777) as i32);
            call!(SYS_mkdir, sys::c("d"), 0o7777);
            call!(SYS_mknod, sys::c("n"), libc::S_IFIFO | 0o7777, 0);
            out.say(format_args!("{} {} {}", mode("f"), mode("d"), mode("n")));
            call!(SYS_unlink, sys::c("f"));
            call!(SYS_unlink, sys::c("n"));
            call!(SYS_rmdir, sys::c("d"));
        }
    }),
    case("perm/chmod", &["chmod", "fchmod", "fchmodat"], |out| {
        make("mine", 0o644, 5, 50);
        make("theirs", 0o666, 6, 5);
        dir("d", 0o755, 5, 50);
        call!(SYS_symlink, sys::c("mine"), sys::c("l"));
        in_child(out, "user", |out| {
            user(5, 5, &[]);
            for bits in [0o4755, 0o2755, 0o1777, 0o2644, 0] {
                out.ret("chmod", call!(SYS_chmod, sys::c("mine"), bits));
                out.say(mode("mine"));
                out.ret("directory", call!(SYS_chmod, sys::c("d"), bits));
                out.say(mode("d"));
            }
            out.ret("theirs", call!(SYS_chmod, sys::c("theirs"), 0o777));
            out.ret("through a link", call!(SYS_chmod, sys::c("l"), 0o600));
            out.say(mode("mine"));
            out.ret("nowhere", call!(SYS_chmod, sys::c("n"), 0));
        });
        in_child(out, "with CAP_FOWNER", |out| {
            only_caps(8);
            out.ret("theirs", call!(SYS_chmod, sys::c("theirs"), 0o2770));
            out.say(mode("theirs"));
        });
    }),
    case("perm/chown", &["chown", "lchown", "fchownat"], |out| {
        make("mine", 0o644, 5, 50);
        make("theirs", 0o644, 6, 50);
        in_child(out, "user", |out| {
            user(5, 5, &[51]);
            let chown = |path: &str, uid: i32, gid: i32| call!(SYS_chown, sys::c(path), uid, gid);
            out.ret("nothing", chown("mine", -1, -1));
            out.ret("nothing of theirs", chown("theirs", -1, -1));
            out.ret("to itself", chown("mine", 5, -1));
            out.ret("to another", chown("mine", 6, -1));
            out.ret("own group", chown("mine", -1, 5));
            out.ret("another own group", chown("mine", -1, 51));
            out.ret("not a group", chown("mine", -1, 52));
            out.ret("theirs", chown("theirs", -1, 5));
            out.say(mode("mine"));
        });
        in_child(out, "with CAP_CHOWN", |out| {
            only_caps(1);
            out.ret("theirs", call!(SYS_chown, sys::c("theirs"), 9, 9));
            out.say(mode("theirs"));
        });
    }),
    case("perm/chown-clears-bits", &["chown", "lchown", "fchown"], |out| {
        for bits in [0o6755, 0o6745, 0o4755, 0o2644, 0o1755] {
            for ids in [[5, -1], [-1, 5], [-1, -1], [0, 0]] {
                make("f", bits, 0, 0);
                out.ret(&format!("{bits:o} {ids:?}"), call!(SYS_chown, sys::c("f"), ids[0], ids[1]));
                out.say(mode("f"));
            }
        }
        dir("d", 0o6755, 0, 0);
        out.ret("directory", call!(SYS_chown, sys::c("d"), 5, 5));
        out.say(mode("d"));
        make("f", 0o6755, 5, 5);
        in_child(out, "by the owner", |out| {
            user(5, 6, &[]);
            out.ret("group", call!(SYS_chown, sys::c("f"), -1, 6));
            out.say(mode("f"));
        });
    }),
    case("perm/write-clears-bits", &["write", "truncate", "ftruncate"], |out| {
        for (what, bits) in [("both", 0o6777), ("set-group-id alone", 0o2767), ("set-user-id", 0o4777)] {
            make("f", bits, 0, 0);
            in_child(out, what, |out| {
                user(5, 5, &[]);
                let fd = call!(SYS_open, sys::c("f"), 1, 0) as i32;
                out.say(mode("f"));
                out.ret("write", sys::write(fd, b"x"));
                out.say(mode("f"));
            });
            own("f", bits, 0, 0);
            in_child(out, "truncate", |out| {
                user(5, 5, &[]);
                out.ret("truncate", call!(SYS_truncate, sys::c("f"), 0));
                out.say(mode("f"));
            });
        }
        make("f", 0o6777, 0, 0);
        let fd = call!(SYS_open, sys::c("f"), 1, 0) as i32;
        out.ret("by root", sys::write(fd, b"x"));
        out.say(mode("f"));
    }),
    case("perm/file-system-ids", &["setfsuid", "open"], |out| {
        make("f", 0o600, 5, 50);
        in_child(out, "fsuid", |out| {
            call!(SYS_setfsuid, 5);
            out.ret("read", open("f", 0));
            out.ret("access, by the real id", call!(SYS_access, sys::c("f"), 4));
            sys::close(call!(SYS_open, sys::c("new"), libc::O_CREAT | 1, 0o600) as i32);
            out.say(mode("new"));
            call!(SYS_setfsuid, 6);
            out.ret("another", open("f", 0));
        });
        in_child(out, "effective and real", |out| {
            call!(SYS_setresuid, 6, 5, 0);
            out.ret("open, by the effective id", open("f", 0));
            out.ret("access, by the real id", call!(SYS_access, sys::c("f"), 4));
            out.ret("with AT_EACCESS", call!(SYS_faccessat2, -100, sys::c("f"), 4, 0x200));
        });
    }),
    case("perm/mknod", &["mknod"], |out| {
        let null = 0x103;
        out.ret("root", call!(SYS_mknod, sys::c("a"), libc::S_IFCHR | 0o666, null));
        out.say(mode("a"));
        in_child(out, "without CAP_MKNOD", |out| {
            only_caps(0);
            out.ret("device", call!(SYS_mknod, sys::c("b"), libc::S_IFCHR | 0o666, null));
            out.ret("what is", call!(SYS_mknod, sys::c("a"), libc::S_IFCHR | 0o666, null));
            out.ret("fifo", call!(SYS_mknod, sys::c("c"), libc::S_IFIFO | 0o666, 0));
            out.ret("socket", call!(SYS_mknod, sys::c("d"), libc::S_IFSOCK | 0o666, 0));
            out.ret("file", call!(SYS_mknod, sys::c("e"), 0o666, 0));
            out.ret("directory", call!(SYS_mknod, sys::c("f"), libc::S_IFDIR | 0o666, 0));
            out.ret("link", call!(SYS_mknod, sys::c("f"), libc::S_IFLNK | 0o666, 0));
        });
    }),
    case("perm/times", &["utimensat"], |out| {
        make("theirs", 0o666, 6, 6);
        make("closed", 0o644, 6, 6);
        make("mine", 0, 5, 5);
        in_child(out, "user", |out| {
            user(5, 5, &[]);
            let times = [1i64, 0, 1, 0];
            for name in ["theirs", "closed", "mine"] {
                out.ret(&format!("{name} now"), call!(SYS_utimensat, -100, sys::c(name), 0, 0));
                out.ret("  then", call!(SYS_utimensat, -100, sys::c(name), times.as_ptr(), 0));
                let omit = [0, libc::UTIME_OMIT, 0, libc::UTIME_NOW];
                out.ret("  one", call!(SYS_utimensat, -100, sys::c(name), omit.as_ptr(), 0));
                out.ret("  O_NOATIME", open(name, libc::O_NOATIME));
            }
        });
    }),
    case("perm/protected-links", &["link", "linkat"], |out| {
        own(".", 0o777, 0, 0);
        for (name, mode) in
            [("plain", 0o666), ("closed", 0o644), ("suid", 0o4666), ("sgid", 0o2676), ("sgid-plain", 0o2666)]
        {
            make(name, mode, 6, 6);
        }
        make("mine", 0, 5, 5);
        call!(SYS_symlink, sys::c("mine"), sys::c("link"));
        in_child(out, "user", |out| {
            user(5, 5, &[]);
            for name in ["plain", "closed", "suid", "sgid", "sgid-plain", "mine", "link", "."] {
                out.ret(name, call!(SYS_link, sys::c(name), sys::c(&format!("new-{}", name.len()))));
            }
        });
        in_child(out, "with CAP_FOWNER", |out| {
            only_caps(8 | 2);
            out.ret("closed", call!(SYS_link, sys::c("closed"), sys::c("other")));
        });
    }),
    case("perm/protected-symlinks", &["open", "stat", "readlink"], |out| {
        own(".", 0o755, 0, 0);
        dir("s", 0o1777, 7, 7);
        make("target", 0o666, 0, 0);
        dir("dir", 0o777, 0, 0);
        make("dir/f", 0o666, 0, 0);
        for (name, uid) in [("s/mine", 5), ("s/theirs", 6), ("s/owners", 7)] {
            call!(SYS_symlink, sys::c("../target"), sys::c(name));
            call!(SYS_lchown, sys::c(name), uid, uid);
        }
        call!(SYS_symlink, sys::c("../dir"), sys::c("s/dir"));
        call!(SYS_lchown, sys::c("s/dir"), 6, 6);
        for (who, uid) in [("user", 5), ("root", 0)] {
            in_child(out, who, |out| {
                if uid != 0 {
                    user(uid, uid, &[]);
                }
                for name in ["s/mine", "s/theirs", "s/owners", "s/dir", "s/dir/", "s/dir/f"] {
                    out.ret(name, open(name, 0));
                    out.ret("  stat", call!(SYS_stat, sys::c(name), [0u8; 144].as_mut_ptr()));
                    out.ret("  lstat", call!(SYS_lstat, sys::c(name), [0u8; 144].as_mut_ptr()));
                }
                out.ret("readlink", call!(SYS_readlink, sys::c("s/theirs"), [0u8; 20].as_mut_ptr(), 20));
            });
        }
        own("s", 0o777, 7, 7);
        in_child(out, "without sticky bit", |out| {
            user(5, 5, &[]);
            out.ret("theirs", open("s/theirs", 0));
        });
    }),
];
