//! Taking mounts away. These cases run with `CAP_SYS_ADMIN`.

use crate::{
    Case, case,
    mount_tools::*,
    sys::{self, call},
};

pub(crate) const CASES: &[Case] = &[
    case("mount/umount-errors", &["umount2"], |out| {
        own(out);
        mkdir("a");
        mkdir("b");
        tmpfs("a");
        call!(SYS_symlink, sys::c("a"), sys::c("link"));
        out.ret("unknown flag", umount("a", 16));
        out.ret("not a mount", umount("b", 0));
        out.ret("no such", umount("c", 0));
        out.ret("a bad address", call!(SYS_umount2, 8, 0));
        out.ret("nofollow", umount("link", 8));
        mkdir("a/sub");
        out.ret("a directory of it", umount("a/sub", 0));
        let fd = open("a/sub", 0) as i32;
        out.ret("in use", umount("a", 0));
        sys::close(fd);
        tmpfs("a/sub");
        out.ret("with a mount", umount("a", 0));
        out.ret("force", umount("a", 1));
        umount("a/sub", 0);
        out.ret("by a link", umount("link", 0));
        show(out);
    }),
    case("mount/umount-working-directory", &["umount2", "getcwd"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        mkdir("a/b");
        call!(SYS_chdir, sys::c("a/b"));
        out.ret("in use", umount("../../a", 0));
        out.ret("detach", umount("../../a", 2));
        let mut name = [0u8; 200];
        let len = call!(SYS_getcwd, name.as_mut_ptr(), 200);
        out.ret("getcwd", len);
        out.say(String::from_utf8_lossy(&name[..len.max(1) as usize - 1]));
        out.say(std::fs::read_link("/proc/self/cwd").unwrap_or_default().display());
        out.ret("mkdir", mkdir("c"));
        out.ret("up", call!(SYS_chdir, sys::c("..")));
        out.say(exists("b"));
        out.ret("up", call!(SYS_chdir, sys::c("..")));
        out.say(exists("b"));
        out.ret("mount in it", tmpfs("b"));
        out.ret("bind from it", bind("b", "/tmp"));
    }),
    case("mount/umount-expire", &["umount2"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        touch("a/f");
        out.ret("with force", umount("a", 4 | 1));
        out.ret("with detach", umount("a", 4 | 2));
        let fd = open("a/f", 0) as i32;
        out.ret("in use", umount("a", 4));
        sys::close(fd);
        out.ret("first", umount("a", 4));
        out.ret("second", umount("a", 4));
        out.ret("third", umount("a", 4));
    }),
    case("mount/detach-keeps-files", &["umount2", "read"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        std::fs::write("a/f", "kept").unwrap_or_default();
        let fd = open("a/f", 0) as i32;
        let dir = open("a", 0) as i32;
        out.ret("detach", umount("a", 2));
        out.say(exists("a/f"));
        let mut bytes = [0; 4];
        out.ret("read", sys::read(fd, &mut bytes));
        out.say(String::from_utf8_lossy(&bytes));
        out.ret("create", call!(SYS_openat, dir, sys::c("new"), libc::O_CREAT | 1, 0o600).min(0));
        out.say(std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default().display());
    }),
];
