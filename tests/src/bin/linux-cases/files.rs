//! What the families on files share: the same experiment on a tmpfs and on the container's root.
#![allow(dead_code, reason = "a tool box: not every family uses every tool")]

use crate::{
    Out,
    sys::{self, call},
};

pub(crate) const RDWR: i32 = libc::O_RDWR;
pub(crate) const RDONLY: i32 = libc::O_RDONLY;
pub(crate) const WRONLY: i32 = libc::O_WRONLY;
pub(crate) const CREATE: i32 = libc::O_CREAT | libc::O_RDWR;

/// Runs `body` in an empty directory of a tmpfs, then in one of the root file system.
pub(crate) fn both(out: &mut Out, body: fn(&mut Out)) {
    out.say("tmpfs");
    body(out);
    out.say("root");
    in_root(|| body(out));
}

/// Runs `body` in an empty directory of the root file system.
pub(crate) fn in_root(body: impl FnOnce()) {
    let place = format!("/root/case-{}", sys::getpid());
    call!(SYS_mkdir, sys::c(&place), 0o777);
    call!(SYS_chmod, sys::c("/root"), 0o755);
    call!(SYS_chmod, sys::c(&place), 0o777);
    call!(SYS_chdir, sys::c(&place));
    body();
    let _ = std::fs::remove_dir_all(&place);
}

pub(crate) fn open(name: &str, flags: i32) -> i32 {
    call!(SYS_open, sys::c(name), flags, 0o644) as i32
}

/// A new file with these bytes, open for reading and writing at its start.
pub(crate) fn file(name: &str, bytes: &[u8]) -> i32 {
    let fd = open(name, CREATE | libc::O_TRUNC);
    sys::write(fd, bytes);
    call!(SYS_lseek, fd, 0, 0);
    fd
}

/// What a file holds, short.
pub(crate) fn show(out: &mut Out, what: &str, name: &str) {
    match std::fs::read(name) {
        Ok(bytes) => out.say(format_args!("{what}: {}", text(&bytes))),
        Err(error) => out.say(format_args!("{what}: {error}")),
    }
}

/// Bytes as text; long runs of one byte as a count.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut shown = String::new();
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        let run = rest.iter().take_while(|&&byte| byte == first).count();
        let one = first.escape_ascii().to_string();
        if run > 3 {
            shown.push_str(&format!("<{run}*{one}>"));
        } else {
            shown.push_str(&one.repeat(run));
        }
        rest = &rest[run..];
    }
    format!("{} bytes \"{shown}\"", bytes.len())
}

/// Runs `body` in a child that is an ordinary user.
pub(crate) fn as_user(out: &mut Out, id: u32, body: impl FnOnce(&mut Out)) {
    let to = out.fd();
    let pid = sys::fork(|| {
        call!(SYS_setgroups, 0, 0);
        call!(SYS_setresgid, id, id, id);
        call!(SYS_setresuid, id, id, id);
        body(&mut Out::new(to));
        0
    });
    sys::wait(pid);
}
