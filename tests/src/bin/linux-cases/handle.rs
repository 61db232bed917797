//! File handles: what is refused, and handles that tell files apart. Which file systems can open a handle is theirs.

use crate::{
    Case, case,
    files::{both, file, open},
    sys::{self, call},
};

const FID: i32 = 0x200;
const HERE: i32 = libc::AT_FDCWD;

/// `struct file_handle` with the longest handle.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Handle {
    bytes: u32,
    kind: i32,
    handle: [u8; 128],
}

impl Handle {
    fn room(bytes: u32) -> Self {
        Self { bytes, kind: 0, handle: [0; 128] }
    }
}

/// The handle of a name, its mount, and the result.
fn named(dir: i32, name: &str, flags: i32) -> (Handle, i32, i64) {
    let mut handle = Handle::room(128);
    let mut mount = -1;
    let result = call!(SYS_name_to_handle_at, dir, sys::c(name), &raw mut handle, &raw mut mount, flags);
    (handle, mount, result)
}

pub(crate) const CASES: &[Case] = &[
    case("handle/tells-apart", &["name_to_handle_at"], |out| {
        both(out, |out| {
            let fd = file("a", b"");
            file("b", b"");
            call!(SYS_link, sys::c("a"), sys::c("c"));
            call!(SYS_symlink, sys::c("a"), sys::c("d"));
            let (a, mount, result) = named(HERE, "a", FID);
            out.ret("handle", result);
            out.say(format_args!("has bytes {} mount {}", a.bytes > 0, mount > 0));
            let mut same = |what: &str, (handle, other, result): (Handle, i32, i64)| {
                out.say(format_args!("{what}: {result} same {} mount {}", handle == a, other == mount));
            };
            same("again", named(HERE, "a", FID));
            same("another file", named(HERE, "b", FID));
            same("another name", named(HERE, "c", FID));
            same("a link", named(HERE, "d", FID));
            same("what a link names", named(HERE, "d", FID | libc::AT_SYMLINK_FOLLOW));
            same("a descriptor", named(fd, "", FID | libc::AT_EMPTY_PATH));
            same("elsewhere", named(HERE, "/proc", FID));
        });
    }),
    case("handle/room", &["name_to_handle_at"], |out| {
        file("a", b"");
        for bytes in [0, 4, 129] {
            let mut handle = Handle::room(bytes);
            let mut mount = -1;
            let result =
                call!(SYS_name_to_handle_at, HERE, sys::c("a"), &raw mut handle, &raw mut mount, FID);
            out.ret(&format!("{bytes} bytes"), result);
            let filled = handle.handle.iter().any(|byte| *byte != 0);
            out.say(format_args!("wants more {} filled {filled} mount {}", handle.bytes > bytes, mount > 0));
        }
    }),
    case("handle/errors", &["name_to_handle_at", "open_by_handle_at"], |out| {
        file("a", b"");
        out.ret("flags", named(HERE, "a", 4).2);
        out.ret("no such", named(HERE, "none", 0).2);
        out.ret("no name", named(HERE, "", FID).2);
        out.ret("not open", named(999, "a", FID).2);
        out.ret("of a file", named(open("a", 0), "a", FID).2);
        out.ret("of /proc", named(HERE, "/proc/self", 0).2);
        let (mut handle, mut mount) = (Handle::room(128), 0i32);
        out.ret("name", call!(SYS_name_to_handle_at, HERE, 8, &raw mut handle, &raw mut mount, FID));
        out.ret("handle", call!(SYS_name_to_handle_at, HERE, sys::c("a"), 8, &raw mut mount, FID));
        out.ret("mount", call!(SYS_name_to_handle_at, HERE, sys::c("a"), &raw mut handle, 8, FID));
        let open_by = |dir: i32, handle: *const Handle| call!(SYS_open_by_handle_at, dir, handle, 0);
        out.ret("open, unprivileged", open_by(HERE, &raw const handle));
        out.ret("open, not open", open_by(999, &raw const handle));
        out.ret("open, a place", open_by(open(".", libc::O_PATH), &raw const handle));
        out.ret("open, address", open_by(HERE, 8 as *const Handle));
    }),
];
