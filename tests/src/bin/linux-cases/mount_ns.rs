//! Namespaces of mounts. These cases run with `CAP_SYS_ADMIN`.

use crate::{
    Case, Out, case,
    mount_tools::*,
    sys::{self, call},
};

fn link(pid: i32) -> String {
    let path = format!("/proc/{pid}/ns/mnt");
    std::fs::read_link(path).map_or_else(|error| error.to_string(), |link| link.display().to_string())
}

/// A child in mounts of its own that waits until the returned descriptor is closed.
fn waiting(prepare: impl FnOnce()) -> (i32, i32) {
    let (from, to) = sys::pipe();
    let (ready, set) = sys::pipe();
    let pid = sys::fork(|| {
        sys::close(to);
        call!(SYS_unshare, NEWNS);
        prepare();
        sys::write(set, &[0]);
        sys::read(from, &mut [0]);
        0
    });
    sys::read(ready, &mut [0]);
    (pid, to)
}

fn finish(out: &mut Out, (pid, to): (i32, i32)) {
    sys::close(to);
    out.say(sys::status(sys::wait(pid)));
}

pub(crate) const CASES: &[Case] = &[
    case("mntns/unshare", &["unshare"], |out| {
        own(out);
        mkdir("a");
        let before = link(sys::getpid());
        in_child(out, "child", |out| {
            out.ret("unshare", call!(SYS_unshare, NEWNS));
            out.say(link(sys::getpid()) == before);
            out.ret("mount", tmpfs("a"));
            touch("a/f");
            out.say(exists("a/f"));
        });
        out.say(exists("a/f"));
        show(out);
    }),
    case("mntns/clone", &["clone"], |out| {
        own(out);
        mkdir("a");
        let pid = call!(SYS_clone, NEWNS | 17, 0, 0, 0, 0);
        if pid == 0 {
            out.ret("mount", tmpfs("a"));
            show(out);
            sys::exit(0);
        }
        out.say(sys::status(sys::wait(pid as i32)));
        show(out);
        out.ret("with CLONE_FS", call!(SYS_clone, NEWNS | 0x200 | 17, 0, 0, 0, 0));
    }),
    case("mntns/shared-across", &["unshare", "mount"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        kind("a", SHARED);
        mkdir("a/1");
        mkdir("a/2");
        let child = waiting(|| {
            tmpfs("a/1");
        });
        show(out);
        out.ret("here", tmpfs("a/2"));
        let text = std::fs::read_to_string(format!("/proc/{}/mountinfo", child.0)).unwrap_or_default();
        out.say(text.lines().filter(|line| line.contains("across/a/")).count());
        finish(out, child);
        show(out);
    }),
    case("mntns/slave-across", &["unshare", "mount"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        kind("a", SHARED);
        mkdir("a/1");
        mkdir("a/2");
        let child = waiting(|| {
            kind("a", SLAVE);
            tmpfs("a/1");
        });
        show(out);
        out.ret("here", tmpfs("a/2"));
        let text = std::fs::read_to_string(format!("/proc/{}/mountinfo", child.0)).unwrap_or_default();
        for line in text.lines().filter(|line| line.contains("across/a")) {
            let tags = line.split(' ').skip(6).take_while(|word| *word != "-");
            let tags: Vec<_> = tags.map(|tag| tag.split(':').next().unwrap_or_default()).collect();
            let place = line.split(' ').nth(4).unwrap_or_default().rsplit('/').next();
            out.say(format_args!("{place:?} {}", tags.join(" ")));
        }
        finish(out, child);
    }),
    case("mntns/keeps-flags", &["unshare"], |out| {
        own(out);
        mkdir("a");
        mkdir("b");
        mount("m", "a", "tmpfs", RDONLY | NOEXEC, "size=1m");
        mount("m", "b", "tmpfs", 0, "");
        kind("b", UNBINDABLE);
        out.ret("unshare", call!(SYS_unshare, NEWNS));
        show(out);
    }),
    case("mntns/setns", &["setns"], |out| {
        own(out);
        mkdir("a");
        let here = std::env::current_dir().unwrap_or_default().display().to_string();
        let child = waiting(|| {
            tmpfs("a");
            touch("a/theirs");
        });
        let own_fd = open("/proc/self/ns/mnt", 0);
        let fd = open(&format!("/proc/{}/ns/mnt", child.0), 0);
        let mut kind = 0i64;
        kind += call!(SYS_ioctl, fd, 0xb703, 0);
        out.ret("type", kind);
        out.ret("setns", call!(SYS_setns, fd, 0));
        out.say(link(sys::getpid()) == link(child.0));
        out.say(std::env::current_dir().unwrap_or_default().display());
        out.say(exists(&format!("{here}/a/theirs")));
        out.ret("back", call!(SYS_setns, own_fd, NEWNS));
        out.say(exists(&format!("{here}/a/theirs")));
        finish(out, child);
    }),
    case("mntns/setns-errors", &["setns"], |out| {
        own(out);
        let fd = open("/proc/self/ns/mnt", 0);
        out.ret("another kind", call!(SYS_setns, fd, 0x400_0000));
        in_child(out, "with a thread's root", |out| {
            // A task that shares root and working directory.
            let pid = call!(SYS_clone, 0x200 | 17, 0, 0, 0, 0);
            if pid == 0 {
                sys::sleep_ms(300);
                sys::exit(0);
            }
            out.ret("shared", call!(SYS_setns, fd, 0));
            sys::wait(pid as i32);
            out.ret("alone", call!(SYS_setns, fd, 0));
        });
        in_child(out, "as a user", |out| {
            call!(SYS_setresuid, 1000, 1000, 1000);
            out.ret("setns", call!(SYS_setns, fd, 0));
            out.ret("unshare", call!(SYS_unshare, NEWNS));
        });
    }),
    case("mntns/kept-by-a-descriptor", &["setns"], |out| {
        own(out);
        let child = waiting(|| {
            mkdir("a");
            tmpfs("a");
            touch("a/kept");
        });
        let here = std::env::current_dir().unwrap_or_default().display().to_string();
        let fd = open(&format!("/proc/{}/ns/mnt", child.0), 0);
        finish(out, child);
        out.ret("setns", call!(SYS_setns, fd, 0));
        out.say(exists(&format!("{here}/a/kept")));
    }),
    case("mntns/kept-by-a-mount", &["mount", "setns"], |out| {
        own(out);
        touch("handle");
        let child = waiting(|| {});
        out.ret("bind", bind(&format!("/proc/{}/ns/mnt", child.0), "handle"));
        finish(out, child);
        let fd = open("handle", 0);
        out.ret("setns", call!(SYS_setns, fd, NEWNS));
    }),
    case("mntns/mount-of-another", &["mount", "umount2"], |out| {
        own(out);
        mkdir("a");
        mkdir("b");
        let child = waiting(|| {
            tmpfs("a");
        });
        let theirs = format!("/proc/{}/cwd/a", child.0);
        out.ret("mount there", tmpfs(&theirs));
        out.ret("bind from there", bind(&theirs, "b"));
        out.ret("umount there", umount(&theirs, 0));
        out.ret("remount there", mount("", &theirs, "", REMOUNT | BIND | RDONLY, ""));
        out.ret("move from there", mount(&theirs, "b", "", MOVE, ""));
        out.ok("open there", open(&theirs, 0));
        finish(out, child);
    }),
    case("mntns/removed-elsewhere", &["rmdir"], |out| {
        own(out);
        mkdir("a");
        let child = waiting(|| {
            tmpfs("a");
        });
        let count = || {
            let text = std::fs::read_to_string(format!("/proc/{}/mountinfo", child.0)).unwrap_or_default();
            text.lines().filter(|line| line.contains("elsewhere/a ")).count()
        };
        out.say(count());
        out.ret("rmdir", call!(SYS_rmdir, sys::c("a")));
        out.say(count());
        finish(out, child);
    }),
    case("mntns/working-directory-moves-too", &["unshare", "getcwd"], |out| {
        own(out);
        mkdir("a");
        tmpfs("a");
        call!(SYS_chdir, sys::c("a"));
        out.ret("unshare", call!(SYS_unshare, NEWNS));
        out.ret("umount", umount("../a", 0));
        call!(SYS_chdir, sys::c(".."));
        out.ret("umount", umount("a", 0));
    }),
];
