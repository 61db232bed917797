//! Mounts made step by step. These cases run with `CAP_SYS_ADMIN`.

use crate::{
    Case, Out, case,
    mount_tools::*,
    sys::{self, call},
};

const FD_EMPTY: i64 = 4;

fn fsopen(kind: &str) -> i64 {
    call!(SYS_fsopen, sys::c(kind), 0)
}

fn set(fd: i64, key: &str, value: &str) -> i64 {
    call!(SYS_fsconfig, fd, 1, sys::c(key), sys::c(value), 0)
}

fn flag(fd: i64, key: &str) -> i64 {
    call!(SYS_fsconfig, fd, 0, sys::c(key), 0, 0)
}

fn create(fd: i64) -> i64 {
    call!(SYS_fsconfig, fd, 6, 0, 0, 0)
}

fn attach(fd: i64, to: &str) -> i64 {
    call!(SYS_move_mount, fd, sys::c(""), libc::AT_FDCWD, sys::c(to), FD_EMPTY)
}

fn open_tree(path: &str, flags: i64) -> i64 {
    call!(SYS_open_tree, libc::AT_FDCWD, sys::c(path), flags)
}

fn setattr(path: &str, flags: i32, words: [u64; 4]) -> i64 {
    call!(SYS_mount_setattr, libc::AT_FDCWD, sys::c(path), flags, words.as_ptr(), 32)
}

/// A mount of a new tmpfs, attached nowhere.
fn made(attributes: i64) -> i64 {
    let fd = fsopen("tmpfs");
    create(fd);
    call!(SYS_fsmount, fd, 0, attributes)
}

fn step(out: &mut Out, what: &str, result: i64) {
    out.ok(what, result);
}

pub(crate) const CASES: &[Case] = &[
    case("mount/api-new", &["fsopen", "fsconfig", "fsmount", "move_mount"], |out| {
        own(out);
        mkdir("a");
        let fd = fsopen("tmpfs");
        step(out, "fsopen", fd);
        out.ret("source", set(fd, "source", "what"));
        out.ret("size", set(fd, "size", "1m"));
        out.ret("mode", set(fd, "mode", "700"));
        out.ret("create", create(fd));
        let mount = call!(SYS_fsmount, fd, 0, 1 | 8 | 0x10);
        step(out, "fsmount", mount);
        show(out);
        out.ret("openat in it", call!(SYS_openat, mount, sys::c("f"), libc::O_CREAT | 1, 0o600));
        out.ret("attach", attach(mount, "a"));
        show(out);
        out.ret("attach again", attach(mount, "a"));
        let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        out.say(link.display());
    }),
    case("mount/api-order", &["fsopen", "fsconfig", "fsmount"], |out| {
        own(out);
        let fd = fsopen("tmpfs");
        out.ret("fsmount too early", call!(SYS_fsmount, fd, 0, 0));
        out.ret("reconfigure too early", call!(SYS_fsconfig, fd, 7, 0, 0, 0));
        out.ret("create", create(fd));
        out.ret("create again", create(fd));
        out.ret("option too late", set(fd, "size", "1m"));
        step(out, "fsmount", call!(SYS_fsmount, fd, 0, 0));
        out.ret("fsmount again", call!(SYS_fsmount, fd, 0, 0));
        out.ret("option for a change", set(fd, "size", "2m"));
        out.ret("reconfigure", call!(SYS_fsconfig, fd, 7, 0, 0, 0));
    }),
    case("mount/api-errors", &["fsopen", "fsconfig", "fsmount"], |out| {
        own(out);
        out.ret("no such type", fsopen("nosuchfs"));
        out.ret("bad flags", call!(SYS_fsopen, sys::c("tmpfs"), 2));
        out.ret("bad name", call!(SYS_fsopen, 8, 0));
        let fd = fsopen("tmpfs");
        out.ret("unknown option", set(fd, "rubbish", "1"));
        out.ret("unknown flag", flag(fd, "rubbish"));
        out.ret("bad value", set(fd, "size", "x"));
        out.ret("flag with value", set(fd, "inode64", "1"));
        out.ret("value without", flag(fd, "size"));
        out.ret("two sources", set(fd, "source", "a"));
        out.ret("two sources", set(fd, "source", "b"));
        out.ret("ro", flag(fd, "ro"));
        out.ret("command", call!(SYS_fsconfig, fd, 99, 0, 0, 0));
        out.ret("flag with aux", call!(SYS_fsconfig, fd, 0, sys::c("ro"), 0, 1));
        out.ret("string without value", call!(SYS_fsconfig, fd, 1, sys::c("size"), 0, 0));
        out.ret("no key", call!(SYS_fsconfig, fd, 1, 0, sys::c("1"), 0));
        out.ret("create with key", call!(SYS_fsconfig, fd, 6, sys::c("x"), 0, 0));
        out.ret("negative descriptor", create(-1));
        out.ret("closed descriptor", create(99));
        out.ret("another descriptor", create(out.fd().into()));
        out.ret("bad key", call!(SYS_fsconfig, fd, 0, 8, 0, 0));
        out.ret("create", create(fd));
        out.ret("bad attributes", call!(SYS_fsmount, fd, 0, 0x4000));
        out.ret("two kinds of time", call!(SYS_fsmount, fd, 0, 0x30));
        out.ret("bad flags", call!(SYS_fsmount, fd, 8, 0));
        out.ret("another descriptor", call!(SYS_fsmount, out.fd(), 0, 0));
        in_child(out, "as a user", |out| {
            call!(SYS_setresuid, 1000, 1000, 1000);
            out.ret("fsopen", fsopen("tmpfs"));
            out.ret("fsmount", call!(SYS_fsmount, fd, 0, 0));
            out.ret("move_mount", attach(fd, "a"));
            out.ret("fspick", call!(SYS_fspick, libc::AT_FDCWD, sys::c("/"), 0));
            out.ret("open_tree clone", open_tree("/", 1));
            step(out, "open_tree", open_tree("/", 0));
            out.ret("mount_setattr", setattr("/", 0, [1, 0, 0, 0]));
        });
    }),
    case("mount/api-pick", &["fspick", "fsconfig"], |out| {
        own(out);
        mkdir("a");
        mkdir("b");
        tmpfs("a");
        bind("a", "b");
        let fd = call!(SYS_fspick, libc::AT_FDCWD, sys::c("a"), 0);
        step(out, "fspick", fd);
        out.ret("ro", flag(fd, "ro"));
        out.ret("size", set(fd, "size", "64k"));
        out.ret("create", create(fd));
        out.ret("reconfigure", call!(SYS_fsconfig, fd, 7, 0, 0, 0));
        show(out);
        out.ret("not a mount", call!(SYS_fspick, libc::AT_FDCWD, sys::c("/etc"), 0));
        out.ret("bad flags", call!(SYS_fspick, libc::AT_FDCWD, sys::c("a"), 16));
        out.ret("nowhere", call!(SYS_fspick, libc::AT_FDCWD, sys::c("c"), 0));
    }),
    case("mount/api-clone", &["open_tree", "move_mount"], |out| {
        own(out);
        mkdir("a");
        mkdir("b");
        tmpfs("a");
        mkdir("a/sub");
        tmpfs("a/sub");
        touch("a/sub/f");
        let one = open_tree("a", 1);
        step(out, "one", one);
        out.ret("attach", attach(one, "b"));
        show(out);
        umount("b", 0);
        let all = open_tree("a", 1 | 0x8000);
        step(out, "all", all);
        umount("a", 2);
        out.ret("attach", attach(all, "b"));
        show(out);
        out.say(exists("b/sub/f"));
    }),
    case("mount/api-clone-errors", &["open_tree", "move_mount"], |out| {
        own(out);
        mkdir("a");
        touch("f");
        tmpfs("a");
        out.ret("recursive without clone", open_tree("a", 0x8000));
        out.ret("bad flags", open_tree("a", 2));
        out.ret("nowhere", open_tree("c", 1));
        let plain = open_tree("a", 0);
        step(out, "plain", plain);
        mkdir("b");
        out.ret("move by a plain one", attach(plain, "b"));
        show(out);
        let clone = open_tree("b", 1);
        out.ret("onto a file", attach(clone, "f"));
        out.ret("bad flags", call!(SYS_move_mount, clone, sys::c(""), libc::AT_FDCWD, sys::c("a"), 0x80));
        out.ret("empty path", call!(SYS_move_mount, clone, sys::c(""), libc::AT_FDCWD, sys::c("a"), 0));
        kind("b", UNBINDABLE);
        out.ret("unbindable", open_tree("b", 1));
        let part = made(0);
        call!(SYS_mkdirat, part, sys::c("d"), 0o755);
        out.ret("a part of it", call!(SYS_move_mount, part, sys::c("d"), libc::AT_FDCWD, sys::c("a"), 0));
        out.ret("bind from it", bind(&format!("/proc/self/fd/{part}"), "a"));
        out.ret("mount in it", tmpfs(&format!("/proc/self/fd/{part}/d")));
    }),
    case("mount/api-tree-closed", &["open_tree", "fsmount"], |out| {
        own(out);
        let fd = made(0);
        let file = call!(SYS_openat, fd, sys::c("f"), libc::O_CREAT | libc::O_RDWR, 0o600);
        step(out, "file", file);
        out.ret("close", sys::close(fd as i32));
        out.ret("write", sys::write(file as i32, b"x"));
        let link = std::fs::read_link(format!("/proc/self/fd/{file}")).unwrap_or_default();
        out.say(link.display());
    }),
    case("mount/api-move-attached", &["move_mount"], |out| {
        own(out);
        mkdir("a");
        mkdir("b");
        tmpfs("a");
        let path = |from: &str, to: &str| {
            call!(SYS_move_mount, libc::AT_FDCWD, sys::c(from), libc::AT_FDCWD, sys::c(to), 0)
        };
        out.ret("by path", path("a", "b"));
        show(out);
        out.ret("not a mount", path("a", "b"));
        call!(SYS_symlink, sys::c("a"), sys::c("link"));
        out.ret("a link is not followed", path("b", "link"));
        out.ret(
            "unless asked",
            call!(SYS_move_mount, libc::AT_FDCWD, sys::c("b"), libc::AT_FDCWD, sys::c("link"), 0x10),
        );
        show(out);
    }),
    case("mount/api-setattr", &["mount_setattr"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        mkdir("a/sub");
        tmpfs("a/sub");
        for (what, words) in [
            ("ro", [1, 0, 0, 0]),
            ("rw and nosuid", [2, 1, 0, 0]),
            ("noatime", [0x10, 0x70, 0, 0]),
            ("strict", [0x20, 0x70, 0, 0]),
            ("relatime", [0, 0x70, 0, 0]),
            ("nodiratime, noexec, nodev", [0x8c, 0, 0, 0]),
            ("nosymfollow", [0x20_0000, 0x8e, 0, 0]),
            ("shared", [0, 0x20_0000, SHARED, 0]),
            ("private", [0, 0, PRIVATE, 0]),
        ] {
            out.ret(what, setattr("a", 0, words));
            show(out);
        }
        out.ret("all", setattr("a", 0x8000, [8, 0, 0, 0]));
        show(out);
    }),
    case("mount/api-setattr-errors", &["mount_setattr"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        mkdir("a/d");
        out.ret("nothing", setattr("a", 0, [0; 4]));
        out.ret("nothing nowhere", setattr("c", 0, [0; 4]));
        out.ret("not a mount", setattr("a/d", 0, [1, 0, 0, 0]));
        out.ret("nowhere", setattr("c", 0, [1, 0, 0, 0]));
        out.ret("unknown", setattr("a", 0, [0x4000, 0, 0, 0]));
        out.ret("time not cleared", setattr("a", 0, [0x10, 0, 0, 0]));
        out.ret("time half cleared", setattr("a", 0, [0x10, 0x10, 0, 0]));
        out.ret("two kinds", setattr("a", 0, [0, 0, SHARED | PRIVATE, 0]));
        out.ret("bad kind", setattr("a", 0, [0, 0, 1, 0]));
        out.ret("bad flags", setattr("a", 2, [1, 0, 0, 0]));
        let words = [1u64, 0, 0, 0, 0, 1];
        let sized =
            |size: usize| call!(SYS_mount_setattr, libc::AT_FDCWD, sys::c("a"), 0, words.as_ptr(), size);
        out.ret("too small", sized(24));
        out.ret("too large", sized(5000));
        out.ret("zero tail", sized(40));
        out.ret("other tail", sized(48));
        out.ret("bad address", call!(SYS_mount_setattr, libc::AT_FDCWD, sys::c("a"), 0, 8, 32));
        touch("a/f");
    }),
    case("mount/api-setattr-busy", &["mount_setattr"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        mkdir("a/sub");
        tmpfs("a/sub");
        touch("a/sub/f");
        let fd = open("a/sub/f", 1) as i32;
        out.ret("one below is written", setattr("a", 0x8000, [1, 0, 0, 0]));
        show(out);
        sys::close(fd);
        out.ret("not any more", setattr("a", 0x8000, [1, 0, 0, 0]));
        show(out);
    }),
    case("mount/api-setattr-detached", &["mount_setattr", "open_tree"], |out| {
        own(out);
        mkdir("a");
        mkdir("b");
        tmpfs("a");
        let fd = open_tree("a", 1);
        let words = [1u64, 0, 0, 0];
        out.ret("setattr", call!(SYS_mount_setattr, fd, sys::c(""), libc::AT_EMPTY_PATH, words.as_ptr(), 32));
        out.ret("attach", attach(fd, "b"));
        show(out);
    }),
    case("mount/api-other-types", &["fsopen", "fsconfig"], |out| {
        own(out);
        mkdir("a");
        for kind in ["proc", "sysfs", "ramfs"] {
            let fd = fsopen(kind);
            step(out, kind, fd);
            out.ret("unknown", set(fd, "rubbish", "1"));
            out.ret("create", create(fd));
            let mount = call!(SYS_fsmount, fd, 0, 0);
            step(out, "fsmount", mount);
            out.ret("attach", attach(mount, "a"));
            show(out);
            out.ret("umount", umount("a", 0));
            sys::close(mount as i32);
            sys::close(fd as i32);
        }
    }),
];
