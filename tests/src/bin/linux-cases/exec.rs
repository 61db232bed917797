//! exec: what is run, with what, and what stays.
#![allow(unsafe_code, reason = "the cases set handlers")]

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    Case, case,
    exec_tools::{ME, Run, copy_of_self, script, show, write_program},
    sys::{self, call},
};

extern "C" fn nothing(_: i32) {}

pub(crate) const CASES: &[Case] = &[
    case("exec/script-arguments", &["execve"], |out| {
        let heads = [
            format!("#!{ME}\n"),
            format!("#!{ME} one\n"),
            format!("#! \t{ME}  one two \t\n"),
            format!("#!{ME}\targ\t\nmore\n"),
            format!("#!{ME} no-newline"),
            format!("#!{ME}"),
            format!("#!{ME} cut\0off\n"),
            format!("#!{ME}\r\n"),
            format!("#!{ME} a\r\n"),
        ];
        for head in heads {
            script("s", &head);
            out.say(format_args!("{:?}", head.replace(ME, "ME")));
            show(out, "./s", &["zero", "x", "y z", ""]);
        }
    }),
    case("exec/script-without-arguments", &["execve"], |out| {
        script("s", &format!("#!{ME} one\n"));
        show(out, "./s", &[]);
        show(out, "./s", &["zero"]);
    }),
    case("exec/script-nesting", &["execve"], |out| {
        for depth in 1..=8 {
            let interpreter = if depth == 1 { ME.into() } else { format!("./s{}", depth - 1) };
            script(&format!("s{depth}"), &format!("#!{interpreter} a{depth}\n"));
            out.say(depth);
            show(out, &format!("./s{depth}"), &["zero", "x"]);
        }
    }),
    case("exec/script-loop", &["execve"], |out| {
        script("s", "#!./s\n");
        show(out, "./s", &["zero"]);
    }),
    case("exec/script-errors", &["execve"], |out| {
        let _ = fs::create_dir("dir");
        let _ = fs::write("plain", "text");
        for head in [
            "#!",
            "#!\n",
            "#! \t \n",
            "#! ",
            "#!/nothing\n",
            "#!./dir\n",
            "#!./plain\n",
            "#!./plain/x\n",
            "# !/bin/sh\n",
            "#",
            " #!/bin/sh\n",
            "!#",
        ] {
            script("s", head);
            out.say(format_args!("{head:?}"));
            show(out, "./s", &["zero"]);
        }
    }),
    case("exec/script-long-line", &["execve"], |out| {
        for spaces in [200, 235, 236, 237, 238, 239, 240, 241, 242, 250, 252, 253, 254, 255, 300] {
            script("s", &format!("#!{}{ME}", " ".repeat(spaces)));
            out.say(spaces);
            show(out, "./s", &["zero"]);
        }
        for length in [230, 239, 240, 241, 250, 300] {
            script("s", &format!("#!{ME} {}\n", "x".repeat(length)));
            out.say(length);
            show(out, "./s", &["zero"]);
        }
        script("s", &format!("#!/{}\n", "x".repeat(252)));
        show(out, "./s", &["zero"]);
        script("s", &format!("#!/{}\n", "x".repeat(260)));
        show(out, "./s", &["zero"]);
    }),
    case("exec/no-program", &["execve"], |out| {
        for (what, bytes) in
            [("empty", &b""[..]), ("text", b"echo hello\n"), ("magic", b"\x7fELF"), ("zeroes", &[0; 300])]
        {
            write_program("p", bytes);
            out.say(what);
            show(out, "./p", &["zero"]);
        }
    }),
    case("exec/rights", &["execve"], |out| {
        copy_of_self("p");
        for mode in [0o755, 0o111, 0o001, 0o644, 0o000, 0o100] {
            let _ = fs::set_permissions("p", fs::Permissions::from_mode(mode));
            out.say(format_args!("{mode:o}"));
            show(out, "./p", &["zero"]);
            Run::new("./p", &["zero"]).by_user(1000).show(out);
        }
        let _ = fs::create_dir("closed");
        let _ = fs::rename("p", "closed/p");
        let _ = fs::set_permissions("closed/p", fs::Permissions::from_mode(0o755));
        let _ = fs::set_permissions("closed", fs::Permissions::from_mode(0o600));
        show(out, "closed/p", &["zero"]);
        Run::new("closed/p", &["zero"]).by_user(1000).show(out);
    }),
    case("exec/script-needs-no-read", &["execve"], |out| {
        script("s", &format!("#!{ME} x\n"));
        let _ = fs::set_permissions("s", fs::Permissions::from_mode(0o111));
        Run::new("./s", &["zero"]).by_user(1000).show(out);
    }),
    case("exec/paths", &["execve"], |out| {
        copy_of_self("p");
        let _ = std::os::unix::fs::symlink("loop", "loop");
        let _ = std::os::unix::fs::symlink("p", "link");
        let _ = fs::create_dir("dir");
        let long = "x".repeat(256);
        let longer = "./".repeat(2100);
        for path in [
            "p/",
            "p/x",
            "loop",
            "link",
            "dir",
            "dir/",
            ".",
            "",
            "/",
            &long,
            &longer,
            "dir/../p",
            "./nothing/p",
        ] {
            out.say(format_args!("{:?}", &path[..path.len().min(20)]));
            show(out, path, &["zero"]);
        }
    }),
    case("exec/kinds-of-files", &["execve"], |out| {
        call!(SYS_mknod, sys::c("fifo"), libc::S_IFIFO | 0o777, 0);
        for path in ["fifo", "/dev/null", "/proc/self", "/proc/self/maps", "/dev/stdin"] {
            out.say(path);
            show(out, path, &["zero"]);
        }
    }),
    case("exec/busy-text", &["execve", "open"], |out| {
        copy_of_self("p");
        let writer = call!(SYS_open, sys::c("p"), libc::O_RDWR);
        show(out, "./p", &["zero"]);
        sys::close(writer as i32);
        let (from, to) = sys::pipe();
        let pid = sys::fork(|| {
            call!(SYS_dup2, from, 0);
            sys::close(to);
            Run::new("./p", &["child", "wait"]).exec();
            1
        });
        sys::close(from);
        while fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| !path.ends_with("p")) {
            sys::sleep_ms(2);
        }
        for flags in [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR, libc::O_WRONLY | libc::O_TRUNC] {
            let fd = call!(SYS_open, sys::c("p"), flags);
            out.ret("open", fd.min(0));
            sys::close(fd as i32);
            if flags & libc::O_TRUNC != 0 && fd >= 0 {
                copy_of_self("p2");
            }
        }
        out.ret("rename", call!(SYS_rename, sys::c("p"), sys::c("q")));
        out.ret("unlink", call!(SYS_unlink, sys::c("q")));
        call!(SYS_kill, pid, libc::SIGKILL);
        sys::wait(pid);
        sys::close(to);
    }),
    case("exec/argument-length", &["execve"], |out| {
        for length in [1000, 131_070, 131_071, 131_072, 200_000] {
            let long = "a".repeat(length);
            out.say(length);
            Run::new(ME, &["child", "count", &long]).quiet(out);
            Run::new(ME, &["child", "count"]).env(&format!("X={}", &long[2..])).quiet(out);
        }
    }),
    case("exec/argument-sum", &["execve", "setrlimit"], |out| {
        let word = "a".repeat(4095);
        for (stack, count) in [
            (0u64, 20),
            (0, 40),
            (1 << 20, 50),
            (1 << 20, 70),
            (8 << 20, 500),
            (8 << 20, 520),
            (64 << 20, 1500),
            (64 << 20, 1550),
        ] {
            let words: Vec<&str> =
                ["child", "count"].into_iter().chain(std::iter::repeat_n(&*word, count)).collect();
            out.say(format_args!("{stack} {count}"));
            Run::new(ME, &words).stack(stack).quiet(out);
        }
    }),
    case("exec/edge-of-the-sum", &["execve", "setrlimit"], |out| {
        // 128 KiB are for the path, the strings and the pointers.
        for length in [130_950, 131_000, 131_010, 131_020, 131_030, 131_040] {
            let long = "a".repeat(length);
            out.say(length);
            Run::new(ME, &["child", &long]).no_env().stack(0).quiet(out);
        }
    }),
    case("exec/no-arguments", &["execve"], |out| {
        let fd = out.fd();
        for null in [true, false] {
            let pid = sys::fork(|| {
                call!(SYS_dup2, fd, 1);
                let argv: [*const libc::c_char; 1] = [std::ptr::null()];
                let envp: [*const libc::c_char; 2] = [sys::c("CASE_SHOW=1"), std::ptr::null()];
                let argv = if null { std::ptr::null() } else { argv.as_ptr() };
                -call!(SYS_execve, sys::c(ME), argv, envp.as_ptr()) as i32
            });
            out.say(sys::status(sys::wait(pid)));
        }
    }),
    case("exec/bad-addresses", &["execve"], |out| {
        let words = [sys::c("a"), 8 as *const libc::c_char, std::ptr::null()];
        let path = sys::c(ME);
        out.ret("array", call!(SYS_execve, path, 8, 0));
        out.ret("environment", call!(SYS_execve, path, 0, 8));
        out.ret("string", call!(SYS_execve, path, words.as_ptr(), 0));
        out.ret("string of the environment", call!(SYS_execve, path, 0, words.as_ptr()));
        out.ret("kernel's", call!(SYS_execve, path, 1u64 << 63, 0));
        out.ret("no file first", call!(SYS_execve, sys::c("/nothing"), 8, 8));
    }),
    case("exec/execveat", &["execveat"], |out| {
        copy_of_self("p");
        let _ = std::os::unix::fs::symlink("p", "link");
        script("s", &format!("#!{ME} one\n"));
        let dir = call!(SYS_open, sys::c("."), libc::O_RDONLY | libc::O_DIRECTORY) as i32;
        let file = call!(SYS_open, sys::c("p"), libc::O_RDONLY) as i32;
        let path_only = call!(SYS_open, sys::c("p"), libc::O_PATH) as i32;
        let link = call!(SYS_open, sys::c("link"), libc::O_PATH | libc::O_NOFOLLOW) as i32;
        let closed = call!(SYS_open, sys::c("p"), libc::O_RDONLY | libc::O_CLOEXEC) as i32;
        for (what, dir, path, flags) in [
            ("by directory", dir, "p", 0),
            ("by working directory", libc::AT_FDCWD, "./p", 0),
            ("absolute", 77, ME, 0),
            ("link", dir, "link", 0),
            ("link not followed", dir, "link", libc::AT_SYMLINK_NOFOLLOW),
            ("file not followed", dir, "p", libc::AT_SYMLINK_NOFOLLOW),
            ("empty", file, "", libc::AT_EMPTY_PATH),
            ("empty, path only", path_only, "", libc::AT_EMPTY_PATH),
            ("empty, a link", link, "", libc::AT_EMPTY_PATH),
            ("empty, closed on exec", closed, "", libc::AT_EMPTY_PATH),
            ("empty without the flag", file, "", 0),
            ("empty, a directory", dir, "", libc::AT_EMPTY_PATH),
            ("empty, working directory", libc::AT_FDCWD, "", libc::AT_EMPTY_PATH),
            ("bad flags", dir, "p", 0x2000_0000),
            ("bad descriptor", 77, "p", 0),
            ("empty, bad descriptor", 77, "", libc::AT_EMPTY_PATH),
            ("not a directory", file, "p", 0),
            ("script", dir, "s", 0),
        ] {
            out.say(what);
            Run::new(path, &["zero", "x"]).at(dir, flags).show(out);
        }
    }),
    case("exec/execveat-script-by-descriptor", &["execveat"], |out| {
        script("s", &format!("#!{ME} one\n"));
        for flags in [0, libc::O_CLOEXEC] {
            let file = call!(SYS_open, sys::c("s"), libc::O_RDONLY | flags) as i32;
            call!(SYS_dup3, file, 30, flags);
            Run::new("", &["zero", "x"]).at(30, libc::AT_EMPTY_PATH).show(out);
            let dir = call!(SYS_open, sys::c("."), libc::O_RDONLY | flags) as i32;
            call!(SYS_dup3, dir, 31, flags);
            Run::new("s", &["zero", "x"]).at(31, 0).show(out);
        }
    }),
    case("exec/a-name-of-a-descriptor", &["execve"], |out| {
        let file = call!(SYS_open, sys::c(ME), libc::O_RDONLY) as i32;
        call!(SYS_dup2, file, 30);
        show(out, "/proc/self/fd/30", &["zero"]);
        show(out, "/dev/fd/30", &["zero"]);
    }),
    case("exec/memfd", &["memfd_create", "execveat"], |out| {
        let fd = call!(SYS_memfd_create, sys::c("name"), libc::MFD_CLOEXEC) as i32;
        let bytes = fs::read(ME).unwrap_or_default();
        let mut done = 0;
        while done < bytes.len() {
            done += sys::write(fd, &bytes[done..]).max(1) as usize;
        }
        call!(SYS_dup3, fd, 30, libc::O_CLOEXEC);
        sys::close(fd);
        Run::new("", &["zero"]).at(30, libc::AT_EMPTY_PATH).show(out);
    }),
    case("exec/deleted", &["execveat"], |out| {
        copy_of_self("p");
        let file = call!(SYS_open, sys::c("p"), libc::O_RDONLY) as i32;
        call!(SYS_dup2, file, 30);
        let _ = fs::remove_file("p");
        Run::new("", &["zero"]).at(30, libc::AT_EMPTY_PATH).show(out);
    }),
    case("exec/long-name", &["execve"], |out| {
        copy_of_self("a-name-that-is-longer-than-fifteen");
        show(out, "./a-name-that-is-longer-than-fifteen", &["zero"]);
        let _ = std::os::unix::fs::symlink("a-name-that-is-longer-than-fifteen", "short");
        show(out, "./short", &["zero"]);
    }),
    case("exec/close-on-exec", &["execve", "dup3"], |out| {
        let fd = call!(SYS_open, sys::c("/dev/null"), libc::O_RDONLY) as i32;
        for to in 40..60 {
            call!(SYS_dup3, fd, to, if to % 3 == 0 { libc::O_CLOEXEC } else { 0 });
        }
        Run::new(ME, &["child", "descriptors"]).quiet(out);
    }),
    case("exec/signals", &["execve", "rt_sigaction", "rt_sigprocmask", "sigaltstack"], |out| {
        let fd = out.fd();
        let pid = sys::fork(|| {
            // SAFETY: handlers that do nothing.
            unsafe {
                libc::signal(libc::SIGUSR1, libc::SIG_IGN);
                libc::signal(libc::SIGUSR2, nothing as *const () as usize);
                libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                let stack = libc::stack_t {
                    ss_sp: vec![0u8; 65536].leak().as_mut_ptr().cast(),
                    ss_flags: 0,
                    ss_size: 65536,
                };
                libc::sigaltstack(&raw const stack, std::ptr::null_mut());
            }
            let set = [1u64 << (libc::SIGHUP - 1) | 1 << (libc::SIGTERM - 1)];
            call!(SYS_rt_sigprocmask, libc::SIG_BLOCK, set.as_ptr(), 0, 8);
            call!(SYS_kill, sys::getpid(), libc::SIGHUP);
            call!(SYS_dup2, fd, 1);
            -sys::exec_self(&["signals"]) as i32
        });
        out.say(sys::status(sys::wait(pid)));
    }),
    case("exec/by-another-thread", &["execve", "gettid"], |out| {
        let fd = out.fd();
        let pid = sys::fork(|| {
            let thread = std::thread::spawn(move || {
                std::thread::spawn(|| sys::sleep_ms(60_000));
                call!(SYS_dup2, fd, 1);
                sys::exec_self(&["threads"])
            });
            let _ = thread.join();
            1
        });
        out.say(sys::status(sys::wait(pid)));
    }),
    case("exec/auxv", &["execve"], |out| Run::new(ME, &["child", "auxv"]).quiet(out)),
    case("exec/auxv-of-a-user", &["execve"], |out| {
        Run::new(ME, &["child", "auxv"]).by_user(1000).quiet(out);
    }),
    case("exec/stack-at-the-start", &["execve"], |out| Run::new(ME, &["child", "stack"]).quiet(out)),
    case("exec/set-user-id", &["execve", "setuid"], |out| {
        copy_of_self("p");
        for (owner, mode) in
            [(0, 0o4755), (2000, 0o4755), (2000, 0o4644), (2000, 0o6755), (2000, 0o2755), (2000, 0o2745)]
        {
            call!(SYS_chown, sys::c("p"), owner, owner);
            let _ = fs::set_permissions("p", fs::Permissions::from_mode(mode));
            out.say(format_args!("{owner} {mode:o}"));
            Run::new("./p", &["child", "ids"]).by_user(1000).quiet(out);
            Run::new("./p", &["child", "ids"]).by_user(1000).no_new_privs().quiet(out);
            Run::new("./p", &["child", "ids"]).quiet(out);
        }
    }),
    case("exec/set-user-id-script", &["execve"], |out| {
        script("s", &format!("#!{ME} child\n"));
        call!(SYS_chown, sys::c("s"), 2000, 2000);
        let _ = fs::set_permissions("s", fs::Permissions::from_mode(0o4755));
        let _ = fs::rename("s", "ids");
        Run::new("ids", &["zero"]).by_user(1000).quiet(out);
    }),
    case("exec/effective-ids", &["execve", "setresuid"], |out| {
        let fd = out.fd();
        for (real, effective) in [(1000, 0), (0, 1000), (1000, 2000)] {
            let pid = sys::fork(|| {
                call!(SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGUSR1, 0, 0, 0);
                call!(SYS_setresuid, real, effective, 3000);
                call!(SYS_dup2, fd, 1);
                -sys::exec_self(&["ids"]) as i32
            });
            out.say(sys::status(sys::wait(pid)));
        }
    }),
    case("exec/unreadable-is-not-dumpable", &["execve", "prctl"], |out| {
        copy_of_self("p");
        for mode in [0o755, 0o711] {
            let _ = fs::set_permissions("p", fs::Permissions::from_mode(mode));
            Run::new("./p", &["child", "ids"]).by_user(1000).quiet(out);
        }
    }),
    case("exec/random-layout", &["execve", "personality"], |out| {
        let layouts: Vec<Vec<String>> = [0, 0, 0, 0x40000, 0x40000]
            .iter()
            .map(|&personality| Run::new(ME, &["child", "layout"]).personality(personality).output())
            .collect();
        for index in 0..layouts[0].len() {
            let at = |run: usize| layouts[run].get(index);
            let name = at(0).and_then(|line| line.split_whitespace().next()).unwrap_or_default();
            let differ = at(0) != at(1) || at(1) != at(2);
            out.say(format_args!("{name} differs {differ} fixed {}", at(3) == at(4)));
        }
        layouts[3].iter().filter(|line| line.starts_with("stack")).for_each(|line| out.say(line));
    }),
    case("exec/executable-stack", &["execve"], |out| {
        let Ok(mut bytes) = fs::read(ME) else { return };
        let headers = u64::from_le_bytes(bytes[32..40].try_into().unwrap_or_default()) as usize;
        for flags in [6u8, 7] {
            for at in (headers..).step_by(56).take(usize::from(bytes[56])) {
                if bytes[at..at + 4] == 0x6474_e551u32.to_le_bytes() {
                    bytes[at + 4] = flags;
                }
            }
            write_program("p", &bytes);
            Run::new("./p", &["child", "stack-rights"]).quiet(out);
        }
    }),
    case("exec/what-stays", &["execve", "umask", "setpriority", "chdir"], |out| {
        let _ = fs::create_dir("here");
        let fd = out.fd();
        let pid = sys::fork(|| {
            call!(SYS_chdir, sys::c("here"));
            call!(SYS_umask, 0o27);
            call!(SYS_setpriority, 0, 0, 7);
            call!(SYS_prctl, 38, 1, 0, 0, 0);
            call!(SYS_prctl, libc::PR_SET_NAME, sys::c("other"), 0, 0, 0);
            let limit = [123u64, 456];
            call!(SYS_setrlimit, libc::RLIMIT_NOFILE, limit.as_ptr());
            call!(SYS_dup2, fd, 1);
            -sys::exec_self(&["stays"]) as i32
        });
        out.say(sys::status(sys::wait(pid)));
    }),
    case("exec/timers", &["execve", "setitimer", "alarm"], |out| {
        let fd = out.fd();
        let pid = sys::fork(|| {
            call!(SYS_alarm, 1000);
            call!(SYS_dup2, fd, 1);
            -sys::exec_self(&["alarm"]) as i32
        });
        out.say(sys::status(sys::wait(pid)));
    }),
    case("exec/vfork", &["vfork", "execve"], |out| {
        let status = std::process::Command::new(ME).args(["child", "exit", "7"]).status();
        out.say(format_args!("{:?}", status.ok().and_then(|status| status.code())));
        let missing = std::process::Command::new("/nothing").status();
        out.say(format_args!("{:?}", missing.map_err(|error| error.raw_os_error()).err()));
    }),
];
