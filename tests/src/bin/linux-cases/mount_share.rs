//! What mounts share with each other. These cases run with `CAP_SYS_ADMIN`.

use crate::{
    Case, case,
    mount_tools::*,
    sys::{self, call},
};

fn dirs(names: &[&str]) {
    for name in names {
        mkdir(name);
    }
}

pub(crate) const CASES: &[Case] = &[
    case("mount/share-kinds", &["mount"], |out| {
        own(out);
        dirs(&["a"]);
        tmpfs("a");
        for (what, flags) in [
            ("shared", SHARED),
            ("shared again", SHARED),
            ("slave of nobody", SLAVE),
            ("unbindable", UNBINDABLE),
            ("shared", SHARED),
            ("private", PRIVATE),
            ("unbindable", UNBINDABLE),
            ("slave", SLAVE),
            ("private", PRIVATE),
        ] {
            out.ret(what, kind("a", flags));
            show(out);
        }
    }),
    case("mount/share-errors", &["mount"], |out| {
        own(out);
        dirs(&["a", "b"]);
        out.ret("not a mount", kind("a", SHARED));
        tmpfs("a");
        out.ret("two kinds", kind("a", SHARED | SLAVE));
        out.ret("with a flag", kind("a", SHARED | RDONLY));
        out.ret("silent", kind("a", SHARED | 32768));
        kind("a", UNBINDABLE);
        out.ret("bind of unbindable", bind("a", "b"));
        out.ret("rbind of unbindable", mount("a", "b", "", BIND | REC, ""));
    }),
    case("mount/share-recursive", &["mount"], |out| {
        own(out);
        dirs(&["a"]);
        tmpfs("a");
        dirs(&["a/b"]);
        tmpfs("a/b");
        out.ret("one", kind("a", SHARED));
        show(out);
        out.ret("all", kind("a", SHARED | REC));
        show(out);
        out.ret("all slaves", kind("a", SLAVE | REC));
        show(out);
    }),
    case("mount/peers", &["mount", "umount2"], |out| {
        own(out);
        dirs(&["a", "b"]);
        tmpfs("a");
        kind("a", SHARED);
        dirs(&["a/1", "a/2"]);
        bind("a", "b");
        show(out);
        out.ret("into one", tmpfs("a/1"));
        out.ret("into the other", tmpfs("b/2"));
        show(out);
        touch("a/1/x");
        out.say(exists("b/1/x"));
        out.ret("out of one", umount("b/1", 0));
        show(out);
        out.say(exists("a/1/x"));
    }),
    case("mount/slave", &["mount", "umount2"], |out| {
        own(out);
        dirs(&["a", "b"]);
        tmpfs("a");
        kind("a", SHARED);
        dirs(&["a/1", "a/2"]);
        bind("a", "b");
        kind("b", SLAVE);
        show(out);
        out.ret("into the master", tmpfs("a/1"));
        out.ret("into the slave", tmpfs("b/2"));
        show(out);
        out.ret("out of the slave", umount("b/1", 0));
        out.ret("out of the master", umount("a/1", 0));
        show(out);
        out.ret("slave and shared", kind("b", SHARED));
        show(out);
        out.ret("into the master", tmpfs("a/1"));
        show(out);
    }),
    case("mount/slave-of-slave", &["mount"], |out| {
        own(out);
        dirs(&["a", "b", "c", "d"]);
        tmpfs("a");
        kind("a", SHARED);
        dirs(&["a/1"]);
        bind("a", "b");
        kind("b", SLAVE);
        kind("b", SHARED);
        bind("b", "c");
        bind("c", "d");
        kind("d", SLAVE);
        show(out);
        out.ret("at the top", tmpfs("a/1"));
        show(out);
        out.ret("the middle goes", kind("b", PRIVATE));
        out.ret("the middle goes", kind("c", PRIVATE));
        show(out);
    }),
    case("mount/master-goes", &["mount", "umount2"], |out| {
        own(out);
        dirs(&["a", "b"]);
        tmpfs("a");
        kind("a", SHARED);
        bind("a", "b");
        kind("b", SLAVE);
        out.ret("umount", umount("a", 0));
        show(out);
    }),
    case("mount/private-copy", &["mount"], |out| {
        own(out);
        dirs(&["a", "b"]);
        tmpfs("a");
        kind("a", SHARED);
        dirs(&["a/1"]);
        bind("a", "b");
        kind("b", PRIVATE);
        tmpfs("a/1");
        show(out);
    }),
    case("mount/part-shared", &["mount"], |out| {
        own(out);
        dirs(&["a", "b", "c"]);
        tmpfs("a");
        kind("a", SHARED);
        dirs(&["a/in", "a/in/x", "a/out"]);
        bind("a/in", "b");
        out.ret("seen by both", tmpfs("a/in/x"));
        out.ret("seen by one", tmpfs("a/out"));
        show(out);
        out.ret("on its root", tmpfs("b"));
        show(out);
    }),
    case("mount/tree-into-shared", &["mount"], |out| {
        own(out);
        dirs(&["a", "b", "t"]);
        tmpfs("a");
        kind("a", SHARED);
        dirs(&["a/1"]);
        bind("a", "b");
        tmpfs("t");
        dirs(&["t/s"]);
        tmpfs("t/s");
        out.ret("rbind", mount("t", "a/1", "", BIND | REC, ""));
        show(out);
        out.ret("detach", umount("b/1", 2));
        show(out);
    }),
    case("mount/busy-elsewhere", &["umount2"], |out| {
        own(out);
        dirs(&["a", "b"]);
        tmpfs("a");
        kind("a", SHARED);
        dirs(&["a/1"]);
        bind("a", "b");
        tmpfs("a/1");
        touch("a/1/f");
        let fd = open("b/1/f", 0) as i32;
        out.ret("used through the peer", umount("a/1", 0));
        sys::close(fd);
        dirs(&["b/1/d"]);
        kind("b/1", PRIVATE);
        tmpfs("b/1/d");
        out.ret("mounted upon there", umount("a/1", 0));
        show(out);
    }),
    case("mount/unbindable-in-tree", &["mount"], |out| {
        own(out);
        dirs(&["a", "b"]);
        tmpfs("a");
        dirs(&["a/1", "a/2"]);
        tmpfs("a/1");
        dirs(&["a/1/x"]);
        tmpfs("a/1/x");
        tmpfs("a/2");
        kind("a/1", UNBINDABLE);
        out.ret("rbind", mount("a", "b", "", BIND | REC, ""));
        show(out);
    }),
    case("mount/pivot-root", &["pivot_root"], |out| {
        own(out);
        dirs(&["new"]);
        tmpfs("new");
        dirs(&["new/old", "new/proc"]);
        touch("new/mark");
        let child = sys::fork(|| {
            sys::sleep_ms(200);
            i32::from(!exists("/mark"))
        });
        out.ret("pivot_root", call!(SYS_pivot_root, sys::c("new"), sys::c("new/old")));
        out.say(exists("/mark"));
        out.say(exists("/old/bin/busybox"));
        out.say(std::env::current_dir().unwrap_or_default().starts_with("/old/tmp"));
        out.ret("proc", mount("proc", "/proc", "proc", 0, ""));
        out.ret("detach", umount("/old", 2));
        out.say(exists("/old/bin"));
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let places: Vec<_> = text.lines().filter_map(|line| line.split(' ').nth(4)).collect();
        out.say(places.join(" "));
        out.say(sys::status(sys::wait(child)));
    }),
    case("mount/pivot-root-in-place", &["pivot_root"], |out| {
        own(out);
        dirs(&["new"]);
        tmpfs("new");
        touch("new/mark");
        call!(SYS_chdir, sys::c("new"));
        out.ret("pivot_root", call!(SYS_pivot_root, sys::c("."), sys::c(".")));
        out.ret("detach", umount(".", 2));
        out.ret("chdir", call!(SYS_chdir, sys::c("/")));
        out.say(exists("/mark"));
        out.say(exists("/bin"));
    }),
    case("mount/pivot-root-errors", &["pivot_root"], |out| {
        own(out);
        dirs(&["new", "other", "new/below"]);
        touch("file");
        let pivot = |new: &str, old: &str| call!(SYS_pivot_root, sys::c(new), sys::c(old));
        out.ret("not a mount", pivot("new", "new/below"));
        tmpfs("new");
        dirs(&["new/below"]);
        out.ret("old elsewhere", pivot("new", "other"));
        out.ret("a file", pivot("file", "new"));
        out.ret("no such", pivot("no", "new/below"));
        out.ret("no such old", pivot("new", "new/no"));
        out.ret("the root", pivot("/", "/"));
        out.ret("the root as old", pivot("new", "/"));
        kind("new", SHARED);
        out.ret("shared old", pivot("new", "new/below"));
        kind("new", PRIVATE);
        kind(".", SHARED);
        out.ret("in a shared one", pivot("new", "new/below"));
        kind(".", PRIVATE);
        out.ret("at last", pivot("new", "new/below"));
    }),
];
