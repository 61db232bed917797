//! Mounts: making, showing, changing and taking them away. These cases run with `CAP_SYS_ADMIN`.

use crate::{
    Case, Out, case,
    mount_tools::*,
    sys::{self, call},
};

fn statfs_flags(path: &str) -> String {
    let mut words = [0u64; 15];
    let result = call!(SYS_statfs, sys::c(path), words.as_mut_ptr());
    if result < 0 { sys::errno_name(-result as u32) } else { format!("{:#x} {:#x}", words[0], words[10]) }
}

/// Two directories and a file in each.
fn two() {
    mkdir("a");
    mkdir("b");
    touch("a/in-a");
    touch("b/in-b");
}

fn names(path: &str) -> String {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    format!("{path}: {}", names.join(" "))
}

fn remounts(out: &mut Out, at: &str, flags: &[(&str, u64)]) {
    for (what, flags) in flags {
        out.ret(what, mount("", at, "", REMOUNT | flags, ""));
        show(out);
    }
}

pub(crate) const CASES: &[Case] = &[
    case("mount/tmpfs", &["mount"], |out| {
        own(out);
        mkdir("a");
        touch("a/hidden");
        out.ret("mount", mount("what", "a", "tmpfs", 0, ""));
        show(out);
        show_table(out, "mounts", 1);
        out.say(names("a"));
        touch("a/seen");
        out.say(names("a"));
        out.ret("umount", umount("a", 0));
        out.say(names("a"));
        show(out);
    }),
    case("mount/tmpfs-options", &["mount"], |out| {
        own(out);
        for options in [
            "size=1m",
            "size=64k,mode=700",
            "mode=1777",
            "uid=5,gid=6",
            "nr_inodes=10",
            "ro",
            "size=8192",
            "size=5000",
            "nr_blocks=3",
            "size=0",
            "nr_inodes=2k,size=1g",
            "inode32",
            "huge=never",
            "sync,noswap",
            "mode=07777",
        ] {
            mkdir("a");
            out.ret(options, mount("m", "a", "tmpfs", 0, options));
            show(out);
            umount("a", 0);
        }
    }),
    case("mount/tmpfs-bad-options", &["mount"], |out| {
        own(out);
        for options in [
            "size=x",
            "size",
            "mode=9",
            "rubbish",
            "rubbish=1",
            "uid=-1",
            "uid=x",
            "inode64=1",
            "huge=maybe",
            "size=1z",
            "=",
            "size=",
        ] {
            out.ret(options, mount("m", ".", "tmpfs", 0, options));
        }
        out.ret("commas", mount("m", ".", "tmpfs", 0, ",,mode=755,,"));
        show(out);
    }),
    case("mount/tmpfs-limits", &["mount", "write", "statfs"], |out| {
        own(out);
        mkdir("a");
        out.ret("mount", mount("m", "a", "tmpfs", 0, "size=8k,nr_inodes=3"));
        let mut words = [0u64; 15];
        out.ret("statfs", call!(SYS_statfs, sys::c("a"), words.as_mut_ptr()));
        out.say(format_args!("{:?}", &words[1..7]));
        out.ret("one", touch("a/1"));
        out.ret("two", touch("a/2"));
        out.ret("three", touch("a/3"));
        let fd = call!(SYS_open, sys::c("a/1"), 1, 0) as i32;
        out.ret("write", sys::write(fd, &[1; 8192]));
        out.ret("more", sys::write(fd, &[1; 1]));
        sys::close(fd);
        out.ret("less than there is", mount("", "a", "", REMOUNT, "size=4k"));
        out.ret("more room", mount("", "a", "", REMOUNT, "size=16k"));
        show(out);
        let fd = call!(SYS_open, sys::c("a/2"), 1, 0) as i32;
        out.ret("write", sys::write(fd, &[1; 8192]));
    }),
    case("mount/flags-shown", &["mount", "statfs"], |out| {
        own(out);
        mkdir("a");
        for (what, flags) in [
            ("none", 0),
            ("all", RDONLY | NOSUID | NODEV | NOEXEC | NOATIME | NODIRATIME),
            ("strict", STRICTATIME),
            ("noatime and strict", STRICTATIME | NOATIME),
            ("nosymfollow", NOSYMFOLLOW),
            ("magic", 0xc0ed_0000 | NOSUID),
            ("sync", 16),
        ] {
            out.ret(what, mount("m", "a", "tmpfs", flags, ""));
            show(out);
            show_table(out, "mounts", 1);
            out.say(statfs_flags("a"));
            umount("a", 0);
        }
    }),
    case("mount/mountstats", &["mount"], |out| {
        own(out);
        mkdir("a b");
        out.ret("mount", mount("so urce#1", "a b", "tmpfs", 0, ""));
        out.ret("no source", mount("", "a b", "tmpfs", 0, ""));
        show_table(out, "mountstats", 4);
        show_table(out, "mounts", 1);
        show(out);
    }),
    case("mount/errors", &["mount"], |out| {
        own(out);
        two();
        out.ret("no such type", mount("x", "a", "nosuchfs", 0, ""));
        out.ret("no type", mount("x", "a", "", 0, ""));
        out.ret("no such place", mount("x", "c", "tmpfs", 0, ""));
        out.ret("a file", mount("x", "a/in-a", "tmpfs", 0, ""));
        out.ret("below a file", mount("x", "a/in-a/b", "tmpfs", 0, ""));
        out.ret("empty place", call!(SYS_mount, sys::c("x"), sys::c(""), sys::c("tmpfs"), 0, 0));
        out.ret("bad source", call!(SYS_mount, 8, sys::c("a"), sys::c("tmpfs"), 0, 0));
        out.ret("bad place", call!(SYS_mount, sys::c("x"), 8, sys::c("tmpfs"), 0, 0));
        out.ret("bad type", call!(SYS_mount, sys::c("x"), sys::c("a"), 8, 0, 0));
        out.ret("bad data", call!(SYS_mount, sys::c("x"), sys::c("a"), sys::c("tmpfs"), 0, 8));
        out.ret("MS_NOUSER", mount("x", "a", "tmpfs", 1 << 31, ""));
        out.ret("a link to nowhere", {
            call!(SYS_symlink, sys::c("nowhere"), sys::c("link"));
            mount("x", "link", "tmpfs", 0, "")
        });
        in_child(out, "as a user", |out| {
            call!(SYS_setresuid, 1000, 1000, 1000);
            out.ret("mount", mount("x", "a", "tmpfs", 0, ""));
            out.ret("bind", bind("a", "b"));
            out.ret("nowhere", mount("x", "c", "tmpfs", 0, ""));
            out.ret("umount", umount("a", 0));
            out.ret("umount of nothing", umount("c", 0));
            out.ret("bad flags", umount("a", 64));
            out.ret("pivot_root", call!(SYS_pivot_root, sys::c("a"), sys::c("c")));
        });
    }),
    case("mount/bind", &["mount"], |out| {
        own(out);
        two();
        out.ret("bind", bind("a", "b"));
        show(out);
        out.say(names("b"));
        touch("b/new");
        out.say(names("a"));
        out.ret("umount", umount("b", 0));
        out.say(names("b"));
        out.ret("a file", bind("a/in-a", "b/in-b"));
        show(out);
        std::fs::write("b/in-b", "through").unwrap_or_default();
        out.say(std::fs::read_to_string("a/in-a").unwrap_or_default());
        out.ret("unlink", call!(SYS_unlink, sys::c("b/in-b")));
        out.ret("rename", call!(SYS_rename, sys::c("b/in-b"), sys::c("b/x")));
        out.ret("over it", call!(SYS_rename, sys::c("b/new"), sys::c("b/in-b")));
        out.ret("umount", umount("b/in-b", 0));
        out.ret("unlink", call!(SYS_unlink, sys::c("b/in-b")));
    }),
    case("mount/bind-errors", &["mount"], |out| {
        own(out);
        two();
        out.ret("no source", mount("", "a", "", BIND, ""));
        out.ret("empty source", call!(SYS_mount, sys::c(""), sys::c("a"), 0, BIND, 0));
        out.ret("no such source", bind("c", "a"));
        out.ret("no such place", bind("a", "c"));
        out.ret("a file onto a directory", bind("a/in-a", "b"));
        out.ret("a directory onto a file", bind("a", "b/in-b"));
        out.ret("below a file", bind("a/in-a/x", "b"));
        out.ret("onto itself", bind("a", "a"));
        show(out);
    }),
    case("mount/bind-recursive", &["mount"], |out| {
        own(out);
        two();
        mkdir("a/sub");
        tmpfs("a/sub");
        mkdir("a/sub/deep");
        tmpfs("a/sub/deep");
        touch("a/sub/deep/x");
        out.ret("bind", bind("a", "b"));
        show(out);
        umount("b", 0);
        out.ret("rbind", mount("a", "b", "", BIND | REC, ""));
        show(out);
        out.say(exists("b/sub/deep/x"));
        out.ret("busy", umount("b", 0));
        out.ret("detach", umount("b", 2));
        show(out);
        out.ret("of a part", mount("a/sub", "b", "", BIND | REC, ""));
        show(out);
    }),
    case("mount/bind-ignores-flags", &["mount"], |out| {
        own(out);
        two();
        out.ret("bind", mount("a", "b", "", BIND | RDONLY | NOEXEC | NOSUID, "rubbish"));
        show(out);
        out.ret("remount", mount("", "b", "", REMOUNT | BIND | RDONLY | NOEXEC, ""));
        show(out);
        out.ret("a copy has them", {
            mkdir("c");
            bind("b", "c")
        });
        show(out);
    }),
    case("mount/remount-bind", &["mount"], |out| {
        own(out);
        two();
        bind("a", "b");
        remounts(
            out,
            "b",
            &[
                ("ro", BIND | RDONLY),
                ("nosuid", BIND | NOSUID),
                ("noatime", BIND | NOATIME),
                ("keeps atime", BIND | NODEV),
                ("strict", BIND | STRICTATIME),
                ("nodiratime", BIND | NODIRATIME),
                ("relatime", BIND | (1 << 21)),
            ],
        );
        out.ret("not a mount", mount("", "a", "", REMOUNT | BIND | RDONLY, ""));
        out.ret("a file", mount("", "a/in-a", "", REMOUNT | BIND | RDONLY, ""));
    }),
    case("mount/remount", &["mount"], |out| {
        own(out);
        two();
        tmpfs("a");
        bind("a", "b");
        remounts(out, "a", &[("ro", RDONLY), ("rw", 0), ("noexec", NOEXEC), ("sync", 16)]);
        out.ret("bad option", mount("", "a", "", REMOUNT, "rubbish"));
        out.ret("not a mount", mount("", "/etc", "", REMOUNT, ""));
        out.ret("mode", mount("", "a", "", REMOUNT, "mode=700"));
        show(out);
    }),
    case(
        "mount/read-only",
        &["mount", "open", "mkdir", "unlink", "chmod", "utimensat", "link", "access"],
        |out| {
            own(out);
            two();
            mkdir("a/d");
            call!(SYS_mknod, sys::c("a/fifo"), libc::S_IFIFO | 0o666, 0);
            bind("a", "b");
            mount("", "b", "", REMOUNT | BIND | RDONLY, "");
            let at = |name: &str| sys::c(&format!("b/{name}"));
            out.ret("create", touch("b/new"));
            out.ret("open for writing", open("b/in-a", 1));
            out.ret("open for both", open("b/in-a", 2));
            out.ret("truncate", call!(SYS_truncate, at("in-a"), 0));
            out.ret("O_TRUNC", open("b/in-a", libc::O_TRUNC));
            out.ok("open for reading", open("b/in-a", 0));
            out.ok("a fifo", open("b/fifo", 2));
            out.ret("O_CREAT of what is", call!(SYS_open, at("in-a"), libc::O_CREAT | libc::O_EXCL, 0));
            out.ret("mkdir", call!(SYS_mkdir, at("n"), 0o777));
            out.ret("mkdir of what is", call!(SYS_mkdir, at("d"), 0o777));
            out.ret("rmdir", call!(SYS_rmdir, at("d")));
            out.ret("unlink", call!(SYS_unlink, at("in-a")));
            out.ret("unlink of nothing", call!(SYS_unlink, at("n")));
            out.ret("rename", call!(SYS_rename, at("in-a"), at("n")));
            out.ret("link", call!(SYS_link, at("in-a"), at("n")));
            out.ret("symlink", call!(SYS_symlink, sys::c("x"), at("n")));
            out.ret("mknod", call!(SYS_mknod, at("n"), libc::S_IFIFO, 0));
            out.ret("chmod", call!(SYS_chmod, at("in-a"), 0o600));
            out.ret("chown", call!(SYS_chown, at("in-a"), 1, 1));
            out.ret("utimensat", call!(SYS_utimensat, libc::AT_FDCWD, at("in-a"), 0, 0));
            out.ret("access for writing", call!(SYS_access, at("in-a"), 2));
            out.ret("access for reading", call!(SYS_access, at("in-a"), 4));
            out.ret("access of a fifo", call!(SYS_access, at("fifo"), 2));
            out.ret("the other way in", touch("a/new"));
        },
    ),
    case("mount/read-only-busy", &["mount"], |out| {
        own(out);
        two();
        tmpfs("a");
        bind("a", "b");
        touch("a/f");
        let fd = open("a/f", 1) as i32;
        out.ret("the mount", mount("", "a", "", REMOUNT | BIND | RDONLY, ""));
        out.ret("the other", mount("", "b", "", REMOUNT | BIND | RDONLY, ""));
        out.ret("the file system", mount("", "a", "", REMOUNT | RDONLY, ""));
        sys::close(fd);
        out.ret("the file system", mount("", "a", "", REMOUNT | RDONLY, ""));
        show(out);
        out.ret("open", open("a/f", 1));
    }),
    case("mount/noexec", &["mount", "execve", "mmap", "access"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        out.ret("copy", std::fs::copy("/bin/busybox", "a/true").map_or(-1, |_| 0));
        let run = |out: &mut Out, what: &str| {
            let pid = sys::fork(|| {
                let argv = [sys::c("true"), std::ptr::null()];
                -call!(SYS_execve, sys::c("a/true"), argv.as_ptr(), 0) as i32
            });
            let end = sys::status(sys::wait(pid));
            out.say(format_args!("{what}: {end}"));
        };
        run(out, "allowed");
        mount("", "a", "", REMOUNT | BIND | NOEXEC, "");
        run(out, "noexec");
        out.ret("access", call!(SYS_access, sys::c("a/true"), 1));
        out.ret("access of a directory", call!(SYS_access, sys::c("a"), 1));
        let fd = open("a/true", 0);
        out.ok("mmap to read", call!(SYS_mmap, 0, 4096, 1, 2, fd, 0).min(1));
        out.ret("mmap to execute", call!(SYS_mmap, 0, 4096, 5, 2, fd, 0));
        let at = call!(SYS_mmap, 0, 4096, 1, 2, fd, 0);
        out.ret("mprotect", call!(SYS_mprotect, at, 4096, 5));
    }),
    case("mount/nodev", &["mount", "mknod", "open"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        out.ret("mknod", call!(SYS_mknod, sys::c("a/null"), libc::S_IFCHR | 0o666, 0x103));
        out.ok("open", open("a/null", 2));
        mount("", "a", "", REMOUNT | BIND | NODEV, "");
        out.ret("nodev", open("a/null", 2));
        out.ok("O_PATH", open("a/null", libc::O_PATH));
        out.ret("mknod even so", call!(SYS_mknod, sys::c("a/zero"), libc::S_IFCHR | 0o666, 0x105));
    }),
    case("mount/nosuid", &["mount", "execve"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        out.ret("copy", std::fs::copy("/proc/self/exe", "a/id").map_or(-1, |_| 0));
        let path = || sys::c("a/id");
        call!(SYS_chown, path(), 33, 44);
        call!(SYS_chmod, path(), 0o6755);
        for (what, flags) in [("suid", 0), ("nosuid", NOSUID)] {
            mount("", "a", "", REMOUNT | BIND | flags, "");
            in_child(out, what, |out| {
                call!(SYS_dup2, out.fd(), 1);
                let argv = [sys::c("linux-cases"), sys::c("child"), sys::c("ids"), std::ptr::null()];
                out.ret(
                    "execve",
                    call!(SYS_execve, path(), argv.as_ptr(), [std::ptr::null::<u8>(); 1].as_ptr()),
                );
            });
        }
    }),
    case("mount/nosymfollow", &["mount", "open", "readlink"], |out| {
        own(out);
        mkdir("a");
        mount("m", "a", "tmpfs", NOSYMFOLLOW, "");
        touch("a/f");
        out.ret("symlink", call!(SYS_symlink, sys::c("f"), sys::c("a/l")));
        out.ret("open", open("a/l", 0));
        out.ok("not followed", open("a/l", libc::O_PATH | libc::O_NOFOLLOW));
        out.ret("readlink", call!(SYS_readlink, sys::c("a/l"), [0u8; 9].as_mut_ptr(), 9));
        out.say(statfs_flags("a"));
    }),
    case("mount/stacked", &["mount", "umount2"], |out| {
        own(out);
        mkdir("a");
        for index in 0..3 {
            out.ret("mount", mount(&format!("m{index}"), "a", "tmpfs", 0, ""));
            touch(&format!("a/{index}"));
        }
        show(out);
        for _ in 0..4 {
            out.say(names("a"));
            out.ret("umount", umount("a", 0));
        }
    }),
    case("mount/same-again", &["mount"], |out| {
        own(out);
        mkdir("a");
        out.ret("proc", mount("p", "a", "proc", 0, ""));
        out.ret("again", mount("p", "a", "proc", 0, ""));
        out.ret("sysfs", mount("s", "a", "sysfs", RDONLY, ""));
        out.ret("again", mount("s", "a", "sysfs", RDONLY, ""));
        for _ in 0..3 {
            umount("a", 0);
        }
        out.ret("ramfs", mount("r", "a", "ramfs", 0, "rubbish,mode=700"));
        show(out);
        out.say(statfs_flags("a").split(' ').next().unwrap_or_default());
    }),
    case("mount/proc", &["mount"], |out| {
        own(out);
        mkdir("a");
        out.ret("proc", mount("proc", "a", "proc", NOSUID | NODEV | NOEXEC, ""));
        show(out);
        out.say(exists("a/self/status"));
        let link = std::fs::read_link("a/self").unwrap_or_default();
        out.say(link.display().to_string() == sys::getpid().to_string());
        out.ret("bad option", mount("proc", "a", "proc", 0, "rubbish=1"));
        mkdir("b");
        out.ret("a part", bind("a/sys", "b"));
        show(out);
        out.say(exists("b/kernel/ostype"));
        touch("c");
        out.ret("a file", bind("a/version", "c"));
        out.say(
            std::fs::read_to_string("c").unwrap_or_default()
                == std::fs::read_to_string("/proc/version").unwrap_or_default(),
        );
        out.ret("umount", umount("c", 0));
        out.ret("umount", umount("b", 0));
        out.ret("umount", umount("a", 0));
    }),
    case("mount/mask-a-file", &["mount"], |out| {
        own(out);
        touch("secret");
        std::fs::write("secret", "text").unwrap_or_default();
        out.ret("bind", bind("/dev/null", "secret"));
        out.say(format_args!("{:?}", std::fs::read("secret").unwrap_or_default()));
        out.ret("umount", umount("secret", 0));
        out.say(format_args!("{:?}", std::fs::read("secret").unwrap_or_default()));
    }),
    case("mount/move", &["mount"], |out| {
        own(out);
        two();
        tmpfs("a");
        mkdir("a/sub");
        tmpfs("a/sub");
        touch("a/sub/f");
        out.ret("move", mount("a", "b", "", MOVE, ""));
        show(out);
        out.say(exists("b/sub/f"));
        out.ret("not a mount", mount("a", "b", "", MOVE, ""));
        out.ret("into itself", mount("b", "b/sub", "", MOVE, ""));
        out.ret("onto a file", mount("b", "a/in-a", "", MOVE, ""));
        out.ret("no source", mount("", "a", "", MOVE, ""));
        out.ret("nowhere", mount("b", "c", "", MOVE, ""));
        out.ret("the part", mount("b/sub", "a", "", MOVE, ""));
        show(out);
    }),
    case("mount/move-shared", &["mount"], |out| {
        own(out);
        two();
        mkdir("c");
        tmpfs("a");
        kind("a", SHARED);
        mkdir("a/sub");
        tmpfs("a/sub");
        out.ret("out of a shared one", mount("a/sub", "b", "", MOVE, ""));
        tmpfs("b");
        kind("b", UNBINDABLE);
        out.ret("unbindable into a shared one", mount("b", "a/sub", "", MOVE, ""));
        out.ret("the shared one itself", mount("a", "c", "", MOVE, ""));
        show(out);
    }),
    case("mount/cross-device", &["link", "rename"], |out| {
        own(out);
        two();
        bind("a", "b");
        out.ret("rename", call!(SYS_rename, sys::c("a/in-a"), sys::c("b/x")));
        out.ret("link", call!(SYS_link, sys::c("a/in-a"), sys::c("b/x")));
        out.ret("within", call!(SYS_rename, sys::c("b/in-a"), sys::c("b/x")));
        out.say(names("a"));
    }),
    case("mount/dot-dot", &["chdir", "mount"], |out| {
        own(out);
        two();
        mkdir("a/sub");
        bind("a/sub", "b");
        out.say(names("b/.."));
        call!(SYS_chdir, sys::c("b"));
        out.say(names(".."));
        out.say(std::env::current_dir().is_ok_and(|dir| dir.ends_with("b")));
        tmpfs("../b");
        touch("../b/on-top");
        out.say(names("."));
        out.say(names("../b"));
    }),
    case("mount/removed-place", &["mount", "rmdir"], |out| {
        own(out);
        mkdir("a");
        let fd = open("a", libc::O_PATH);
        out.ret("rmdir", call!(SYS_rmdir, sys::c("a")));
        out.ret("mount", mount("m", &format!("/proc/self/fd/{fd}"), "tmpfs", 0, ""));
        out.ret("bind", bind("/dev", &format!("/proc/self/fd/{fd}")));
        mkdir("b");
        tmpfs("b");
        out.ret("rmdir of a mount", call!(SYS_rmdir, sys::c("b")));
        out.ret("rename of a mount", call!(SYS_rename, sys::c("b"), sys::c("c")));
        mkdir("d");
        out.ret("rename over a mount", call!(SYS_rename, sys::c("d"), sys::c("b")));
    }),
    case("mount/in-use-by-program", &["umount2"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        std::fs::write("a/f", [1; 4096]).unwrap_or_default();
        let fd = open("a/f", 0) as i32;
        let at = call!(SYS_mmap, 0, 4096, 1, 1, fd, 0);
        sys::close(fd);
        out.ret("mapped", umount("a", 0));
        call!(SYS_munmap, at, 4096);
        out.ret("not mapped", umount("a", 0));
    }),
    case("mount/chroot", &["chroot", "mount"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        mkdir("a/proc");
        mkdir("a/b");
        out.ret("proc", mount("proc", "a/proc", "proc", 0, ""));
        out.ret("chroot", call!(SYS_chroot, sys::c("a")));
        out.ret("chdir", call!(SYS_chdir, sys::c("/")));
        out.ret("mount", tmpfs("/b"));
        for table in ["mounts", "mountinfo"] {
            let text = std::fs::read_to_string(format!("/proc/self/{table}")).unwrap_or_default();
            let places: Vec<_> = text
                .lines()
                .filter_map(|line| line.split(' ').nth(if table == "mounts" { 1 } else { 4 }))
                .collect();
            out.say(places.join(" "));
        }
        out.ret("the root", umount("/b/..", 2));
        out.say(exists("/b"));
    }),
];
