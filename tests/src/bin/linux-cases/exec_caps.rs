//! What a file's capabilities do when it is executed.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    Case, Out, case,
    exec_tools::{Run, copy_of_self, script},
    files::both,
    sys::{self, call},
};

const CHOWN: u64 = 1;
const DAC_OVERRIDE: u64 = 1 << 1;
const NET_BIND: u64 = 1 << 10;
/// Not in the bounding set of these cases.
const SYS_ADMIN: u64 = 1 << 21;

fn value(permitted: u64, inheritable: u64, effective: bool) -> Vec<u8> {
    let low = |set: u64| set as u32;
    let high = |set: u64| (set >> 32) as u32;
    let magic = 0x0200_0000 | u32::from(effective);
    [magic, low(permitted), low(inheritable), high(permitted), high(inheritable)]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect()
}

fn give(out: &mut Out, path: &str, value: &[u8]) {
    let name = sys::c("security.capability");
    out.ret("give", call!(SYS_setxattr, sys::c(path), name, value.as_ptr(), value.len(), 0));
}

/// A program with capabilities that says what it has.
fn program(out: &mut Out, permitted: u64, inheritable: u64, effective: bool) {
    copy_of_self("p");
    give(out, "p", &value(permitted, inheritable, effective));
}

fn run(out: &mut Out, who: &str, run: Run<'_>) {
    out.say(who);
    run.quiet(out);
}

/// Runs it as a user who kept some capabilities, of which some are inheritable and ambient.
fn run_with(out: &mut Out, held: u64, inheritable: u64, ambient: u64) {
    let fd = out.fd();
    let pid = sys::fork(|| {
        call!(SYS_dup2, fd, 1);
        call!(SYS_prctl, libc::PR_SET_KEEPCAPS, 1, 0, 0, 0);
        call!(SYS_setresgid, 1000, 1000, 1000);
        call!(SYS_setresuid, 1000, 1000, 1000);
        let header = [0x2008_0522u32, 0];
        let sets = [held as u32, held as u32, inheritable as u32, 0, 0, 0];
        call!(SYS_capset, header.as_ptr(), sets.as_ptr());
        for cap in (0..32u64).filter(|cap| ambient >> cap & 1 == 1) {
            call!(SYS_prctl, libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, cap, 0, 0);
        }
        let error = Run::new("./p", &["child", "ids"]).exec();
        Out::new(fd).ret("exec", error);
        100
    });
    out.say(sys::status(sys::wait(pid)));
}

fn ids() -> Run<'static> {
    Run::new("./p", &["child", "ids"])
}

pub(crate) const CASES: &[Case] = &[
    case("fcap/by-a-user", &["execve", "setxattr"], |out| {
        both(out, |out| {
            for effective in [true, false] {
                program(out, NET_BIND | CHOWN, 0, effective);
                run(out, "user", ids().by_user(1000));
                run(out, "held back", ids().by_user(1000).no_new_privs());
            }
        });
    }),
    case("fcap/by-root", &["execve"], |out| {
        program(out, NET_BIND, 0, true);
        run(out, "root", ids());
        run(out, "held back", ids().no_new_privs());
    }),
    case("fcap/beyond-the-bounding-set", &["execve"], |out| {
        for effective in [true, false] {
            program(out, NET_BIND | SYS_ADMIN, 0, effective);
            run(out, "user", ids().by_user(1000));
            run(out, "root", ids());
        }
    }),
    case("fcap/inheritable", &["execve", "capset"], |out| {
        for (permitted, inheritable, effective) in
            [(0, NET_BIND | CHOWN, true), (DAC_OVERRIDE, NET_BIND, true), (0, NET_BIND, false)]
        {
            program(out, permitted, inheritable, effective);
            run_with(out, NET_BIND | DAC_OVERRIDE, NET_BIND | DAC_OVERRIDE, 0);
            run_with(out, NET_BIND, 0, 0);
        }
    }),
    case("fcap/ambient", &["execve", "prctl"], |out| {
        copy_of_self("p");
        run_with(out, NET_BIND | CHOWN, NET_BIND | CHOWN, CHOWN);
        give(out, "p", &value(0, NET_BIND, true));
        run_with(out, NET_BIND | CHOWN, NET_BIND | CHOWN, CHOWN);
        give(out, "p", &value(0, 0, false));
        run_with(out, NET_BIND | CHOWN, NET_BIND | CHOWN, CHOWN);
    }),
    case("fcap/and-set-user-id", &["execve"], |out| {
        for owner in [0, 2000] {
            copy_of_self("p");
            call!(SYS_chown, sys::c("p"), owner, owner);
            let _ = fs::set_permissions("p", fs::Permissions::from_mode(0o4755));
            give(out, "p", &value(NET_BIND, 0, true));
            run(out, "user", ids().by_user(1000));
            run(out, "held back", ids().by_user(1000).no_new_privs());
            run(out, "root", ids());
        }
    }),
    case("fcap/other-effective-ids", &["execve", "setresuid", "prctl"], |out| {
        copy_of_self("p");
        let fd = out.fd();
        for (real, effective) in [(1000, 0), (0, 1000), (1000, 2000)] {
            for held_back in [false, true] {
                let pid = sys::fork(|| {
                    call!(SYS_setresuid, real, effective, 3000);
                    if held_back {
                        call!(SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                    }
                    call!(SYS_dup2, fd, 1);
                    -ids().exec() as i32
                });
                out.say(sys::status(sys::wait(pid)));
            }
        }
    }),
    case("fcap/lost-with-the-contents", &["execve", "write", "chown"], |out| {
        both(out, |out| {
            program(out, NET_BIND, 0, true);
            run(out, "first", ids().by_user(1000));
            let fd = call!(SYS_open, sys::c("p"), libc::O_WRONLY | libc::O_APPEND);
            out.ret("write", call!(SYS_write, fd, sys::c("x"), 1));
            sys::close(fd as i32);
            run(out, "written", ids().by_user(1000));
            give(out, "p", &value(NET_BIND, 0, true));
            out.ret("chown", call!(SYS_chown, sys::c("p"), 3, 3));
            run(out, "given away", ids().by_user(1000));
            give(out, "p", &value(NET_BIND, 0, true));
            run(out, "again", ids().by_user(1000));
            let name = sys::c("security.capability");
            out.ret("remove", call!(SYS_removexattr, sys::c("p"), name));
            run(out, "removed", ids().by_user(1000));
        });
    }),
    case("fcap/of-the-interpreter", &["execve"], |out| {
        program(out, NET_BIND, 0, true);
        let here = std::env::current_dir().unwrap_or_default();
        script("ids", &format!("#!{}/p child\n", here.display()));
        give(out, "ids", &value(CHOWN, 0, true));
        run(out, "script", Run::new("ids", &["zero"]).by_user(1000));
    }),
];
