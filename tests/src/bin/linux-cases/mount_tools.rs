//! What cases of mounts share: calls by name, and the tables in `/proc` without what differs from run to run.

use crate::{
    Out,
    sys::{self, call},
};

pub(crate) const RDONLY: u64 = 1;
pub(crate) const NOSUID: u64 = 2;
pub(crate) const NODEV: u64 = 4;
pub(crate) const NOEXEC: u64 = 8;
pub(crate) const REMOUNT: u64 = 32;
pub(crate) const NOSYMFOLLOW: u64 = 256;
pub(crate) const NOATIME: u64 = 1024;
pub(crate) const NODIRATIME: u64 = 2048;
pub(crate) const BIND: u64 = 4096;
pub(crate) const MOVE: u64 = 8192;
pub(crate) const REC: u64 = 16384;
pub(crate) const UNBINDABLE: u64 = 1 << 17;
pub(crate) const PRIVATE: u64 = 1 << 18;
pub(crate) const SLAVE: u64 = 1 << 19;
pub(crate) const SHARED: u64 = 1 << 20;
pub(crate) const STRICTATIME: u64 = 1 << 24;
pub(crate) const NEWNS: i64 = 0x2_0000;

fn optional(text: &str) -> *const libc::c_char {
    if text.is_empty() { std::ptr::null() } else { sys::c(text) }
}

/// mount(2); an empty string is a null pointer.
pub(crate) fn mount(source: &str, target: &str, kind: &str, flags: u64, data: &str) -> i64 {
    call!(SYS_mount, optional(source), sys::c(target), optional(kind), flags, optional(data))
}

pub(crate) fn tmpfs(target: &str) -> i64 {
    mount("mem", target, "tmpfs", 0, "")
}

pub(crate) fn bind(from: &str, to: &str) -> i64 {
    mount(from, to, "", BIND, "")
}

pub(crate) fn kind(target: &str, flags: u64) -> i64 {
    mount("", target, "", flags, "")
}

pub(crate) fn umount(target: &str, flags: i32) -> i64 {
    call!(SYS_umount2, sys::c(target), flags)
}

pub(crate) fn mkdir(path: &str) -> i64 {
    call!(SYS_mkdir, sys::c(path), 0o755)
}

/// An empty file.
pub(crate) fn touch(path: &str) -> i64 {
    let fd = call!(SYS_open, sys::c(path), libc::O_CREAT | libc::O_WRONLY, 0o644);
    if fd < 0 { fd } else { sys::close(fd as i32) }
}

pub(crate) fn open(path: &str, flags: i32) -> i64 {
    call!(SYS_open, sys::c(path), flags, 0)
}

/// Whether there is something.
pub(crate) fn exists(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Mounts of the case's own: a namespace where nothing is shared, and a tmpfs as working directory.
pub(crate) fn own(out: &mut Out) {
    let mut step = |what: &str, result: i64| {
        if result != 0 {
            out.ret(what, result);
        }
    };
    step("unshare", call!(SYS_unshare, NEWNS));
    step("private", kind("/", PRIVATE | REC));
    step("tmpfs", tmpfs("."));
    let here = std::env::current_dir().unwrap_or_default();
    step("chdir", call!(SYS_chdir, sys::c(&here.display().to_string())));
}

/// The lines of a table whose mounts lie below the working directory.
fn lines(table: &str, place: usize) -> Vec<String> {
    let here = std::env::current_dir().unwrap_or_default().display().to_string();
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let below = |line: &&str| line.split(' ').nth(place).is_some_and(|at| at.starts_with(&here));
    text.lines().filter(below).map(|line| line.replace(&here, "*")).collect()
}

/// `mountinfo` below the working directory; groups are numbered in the order in which they appear.
pub(crate) fn show(out: &mut Out) {
    let mut groups: Vec<String> = Vec::new();
    for line in lines("/proc/self/mountinfo", 4) {
        let mut words: Vec<String> = line.split(' ').skip(3).map(str::to_owned).collect();
        for word in &mut words {
            if let Some((kind @ ("shared" | "master" | "propagate_from"), id)) = word.clone().split_once(':')
            {
                let index = groups.iter().position(|known| known == id).unwrap_or_else(|| {
                    groups.push(id.into());
                    groups.len() - 1
                });
                *word = format!("{kind}:{index}");
            }
        }
        out.say(format_args!("  {}", words.join(" ")));
    }
}

/// A table other than `mountinfo`.
pub(crate) fn show_table(out: &mut Out, table: &str, place: usize) {
    for line in lines(&format!("/proc/self/{table}"), place) {
        out.say(format_args!("  {line}"));
    }
}

/// Runs `body` in a child.
pub(crate) fn in_child(out: &mut Out, what: &str, body: impl FnOnce(&mut Out)) {
    out.say(what);
    let fd = out.fd();
    let pid = sys::fork(|| {
        body(&mut Out::new(fd));
        0
    });
    out.say(sys::status(sys::wait(pid)));
}
